/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors of the types that need no declaration, and what any descriptor answers. */
#include <string.h>

#include "qapi/qapi.h"

#define BUILTIN(ident, knd, ctype)                                                                 \
    const QapiType qapi_type_##ident = {.name = #ident, .kind = (knd), .size = sizeof(ctype)};     \
    const QapiType qapi_list_##ident = {                                                           \
        .name = "[" #ident "]", .kind = QAPI_LIST, .size = sizeof(void *), .element = &qapi_type_##ident}

BUILTIN(int, QAPI_INT, int64_t);
BUILTIN(int8, QAPI_INT, int8_t);
BUILTIN(int16, QAPI_INT, int16_t);
BUILTIN(int32, QAPI_INT, int32_t);
BUILTIN(int64, QAPI_INT, int64_t);
BUILTIN(uint8, QAPI_UINT, uint8_t);
BUILTIN(uint16, QAPI_UINT, uint16_t);
BUILTIN(uint32, QAPI_UINT, uint32_t);
BUILTIN(uint64, QAPI_UINT, uint64_t);
BUILTIN(size, QAPI_SIZE, uint64_t);
BUILTIN(number, QAPI_NUMBER, double);
BUILTIN(bool, QAPI_BOOL, bool);
BUILTIN(str, QAPI_STR, char *);
BUILTIN(any, QAPI_ANY, json_object *);
const QapiType qapi_type_null = {.name = "null", .kind = QAPI_NULL, .size = sizeof(bool)};

const char qapi_json_null;

int qapi_enum_value(const QapiType *type, const char *name)
{
    for (uint32_t i = 0; i < type->count; i++) {
        if (strcmp(type->names[i], name) == 0) {
            return (int)i;
        }
    }
    return -1;
}
