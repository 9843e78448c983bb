/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptors, described: what query-qmp-schema answers. Made when somebody asks, from the tables alone. */
#ifndef QAPI_INTROSPECT_H
#define QAPI_INTROSPECT_H

#include "qapi/qapi-introspect.h"

/* Arguments that a command really takes, where tables outside the schema say so (object-add). */
typedef struct QapiSubstitute {
    const char *command;        /* NULL ends the list */
    const QapiType *args;       /* only used during the call */
} QapiSubstitute;

/* SchemaInfo pointers: the commands, the events, then each type that they reach, once. commands and events end with
 * NULL; substitutes may be NULL. The caller frees with qapi_free(&qapi_list_SchemaInfo, ...). */
GPtrArray *qapi_introspect(const QapiCommand *const *commands, const QapiEvent *const *events,
                           const QapiSubstitute *substitutes);

#endif
