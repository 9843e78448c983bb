/* SPDX-License-Identifier: GPL-2.0-or-later */
/* authz-* objects: may a peer with this identity (a TLS distinguished name, a SASL user) use a service? */
#ifndef BACKENDS_AUTHZ_H
#define BACKENDS_AUTHZ_H

#include "core/object.h"

/* Asks the authz object of this id. *err only when it cannot be asked; then the answer is no. */
bool authz_is_allowed(Vm *vm, const char *id, const char *identity, GError **err);

/* What each authz type's ops are. */
typedef struct AuthzOps {
    /* As authz_is_allowed. VM lock. */
    bool (*is_allowed)(Object *obj, const char *identity, GError **err);
} AuthzOps;

#endif
