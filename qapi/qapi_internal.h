/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a value lies in memory, for those who walk it. A "slot" is the place of one member: the value itself, or the
 * pointer to it.
 */
#ifndef QAPI_QAPI_INTERNAL_H
#define QAPI_QAPI_INTERNAL_H

#include "qapi/qapi.h"

static inline void *qapi_at(const void *value, uint32_t offset) { return (char *)value + offset; }

static inline bool qapi_is_struct(const QapiType *type)
{
    return type->kind == QAPI_STRUCT || type->kind == QAPI_UNION || type->kind == QAPI_ALTERNATE;
}

/* The branch that a union's tag names; NULL when that has no members, or type is no union. */
static inline const QapiType *qapi_variant(const QapiType *type, const void *value)
{
    if (type->kind != QAPI_UNION) {
        return NULL;
    }
    return type->variants[*(int *)qapi_at(value, type->tag->offset)];
}

/* Is the member there in this value? Mandatory ones are, but a mandatory pointer may be NULL in a broken value. */
static inline bool qapi_has(const QapiMember *member, const void *value)
{
    if (qapi_in_place(member->type)) {
        return !member->optional || *(bool *)qapi_at(value, member->has_offset);
    }
    return !member->optional || *(void **)qapi_at(value, member->offset);
}

#endif
