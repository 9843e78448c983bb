/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What "-device NAME,help", "-object help" and "-object TYPE,help" print, for all programs. */
#ifndef CORE_TYPE_HELP_H
#define CORE_TYPE_HELP_H

#include "core/object.h"

/* The properties that a user can set, by name; or that there are none. */
void type_print_properties(const Type *type);
/* text is what follows -object. *helped: it asked for help, which is printed; false with *err: for an unknown type's. */
bool user_object_help(const char *text, bool *helped, GError **err);

#endif
