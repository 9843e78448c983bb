/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arguments of object-add, made of the registry's property tables: a union by qom-type with a branch for each type
 * that users may make. So the schema tells what the types themselves say, and nothing is declared twice.
 */
#ifndef CORE_OBJECT_SCHEMA_H
#define CORE_OBJECT_SCHEMA_H

#include "qapi/qapi.h"

typedef struct ObjectSchema ObjectSchema;

/* For describing only (qapi_introspect): values of this type have no layout in C. The caller frees. */
ObjectSchema *object_schema_new(void);
void object_schema_free(ObjectSchema *schema);
const QapiType *object_schema_type(const ObjectSchema *schema);

#endif
