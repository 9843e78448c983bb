/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The schema at run time: const descriptors that qapi/generate.py writes from qapi/schema/, and the one reader and
 * writer that walk them.
 *
 * What a value is in C, by its type in the schema:
 *   int, int8 ... uint64, size, number, bool, enums   in place; optional: beside a `bool has_NAME`
 *   str                 char *, UTF-8                 optional: NULL
 *   structs, unions, alternates                       a pointer; optional: NULL
 *   [T]                 GPtrArray * of pointers, or GArray * when T stands in place; optional: NULL
 *   any                 json_object *, a reference; optional: NULL (JSON null then cannot be told from "not given")
 *   a union's branches and an alternate's             in place, in the member u
 * Everything in a value is its own: made with g_new0, g_strdup, g_ptr_array_new (without a free function) or
 * g_array_new, and freed with qapi_free.
 *
 * All functions may be called in any thread, on values that the caller owns.
 */
#ifndef QAPI_QAPI_H
#define QAPI_QAPI_H

#include <glib.h>
#include <json-c/json_object.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

typedef struct QapiType QapiType;
typedef struct QapiMember QapiMember;
typedef struct QapiCommand QapiCommand;
typedef struct QapiEvent QapiEvent;
typedef struct QmpCall QmpCall;

/* ---- descriptors -------------------------------------------------------------------- */

typedef enum QapiKind {
    QAPI_INT,       /* signed, size bytes */
    QAPI_UINT,
    QAPI_SIZE,      /* uint64_t; text may say "4G" */
    QAPI_NUMBER,    /* double */
    QAPI_BOOL,
    QAPI_ENUM,
    QAPI_NULL,
    QAPI_STR,
    QAPI_ANY,
    QAPI_LIST,
    QAPI_STRUCT,
    QAPI_UNION,
    QAPI_ALTERNATE,
} QapiKind;

struct QapiType {
    const char *name;                   /* as in the schema; "[T]" for lists */
    QapiKind kind;
    uint32_t size;                      /* of the C struct or of the value in place */
    uint32_t count;                     /* values of an enum; members, inherited ones included */
    const char *const *names;           /* enum: by value, ends with NULL */
    const char *const *const *value_features; /* enum: by value, each NULL or ended by NULL; NULL: none at all */
    const QapiType *element;            /* list */
    const QapiMember *members;          /* struct, union; alternate: its branches by kind */
    const QapiMember *tag;              /* union */
    const QapiType *const *variants;    /* union: by the tag's value; NULL: that value adds nothing */
    uint32_t variant_offset;            /* union: of u */
    const char *const *features;        /* NULL: none */
    const char *doc;
};

struct QapiMember {
    const char *name;
    const QapiType *type;
    uint32_t offset;
    uint32_t has_offset : 31;           /* of has_NAME: optional and in place */
    bool optional : 1;
    const char *const *features;        /* "deprecated", ...; NULL: none */
    const char *doc;
};

struct QapiCommand {
    const char *name;
    const QapiType *args;               /* NULL: takes none */
    const QapiType *result;             /* NULL: returns nothing */
    bool (*handler)(QmpCall *call, GError **err);
    bool oob;                           /* may run out of band */
    bool preconfig;                     /* works before the machine is made */
    bool raw;                           /* the handler's args are the json_object as it came; args describes only */
    const char *const *features;
    const char *doc;
};

struct QapiEvent {
    const char *name;
    const QapiType *data;               /* NULL: none */
    const char *const *features;
    const char *doc;
};

/* Builtin types, and lists of them. */
#define QAPI_DECLARE_BUILTIN(name) extern const QapiType qapi_type_##name, qapi_list_##name
QAPI_DECLARE_BUILTIN(int);
QAPI_DECLARE_BUILTIN(int8);
QAPI_DECLARE_BUILTIN(int16);
QAPI_DECLARE_BUILTIN(int32);
QAPI_DECLARE_BUILTIN(int64);
QAPI_DECLARE_BUILTIN(uint8);
QAPI_DECLARE_BUILTIN(uint16);
QAPI_DECLARE_BUILTIN(uint32);
QAPI_DECLARE_BUILTIN(uint64);
QAPI_DECLARE_BUILTIN(size);
QAPI_DECLARE_BUILTIN(number);
QAPI_DECLARE_BUILTIN(bool);
QAPI_DECLARE_BUILTIN(str);
QAPI_DECLARE_BUILTIN(any);
extern const QapiType qapi_type_null;

/* Does a value of this type stand in place (true), or behind a pointer? */
static inline bool qapi_in_place(const QapiType *type) { return type->kind <= QAPI_NULL; }

/* An enum's value by name; -1: no such one. */
int qapi_enum_value(const QapiType *type, const char *name);
/* The name of a value that is in range. */
static inline const char *qapi_enum_name(const QapiType *type, int value) { return type->names[value]; }

/* In a member of type any: JSON null that is written, where NULL means that the member is absent. Reading never gives
 * it, and only qapi_write, qapi_free and qapi_clone understand it. */
extern const char qapi_json_null;
#define QAPI_JSON_NULL ((json_object *)(void *)&qapi_json_null)

/* ---- reading and writing -------------------------------------------------------------- */

#define QAPI_KEYVAL 1u  /* leaves are text: "on", "0x10", "4G" stand for what the type wants */

/*
 * A new value of this type from json (borrowed; NULL is JSON null). In place types give a pointer to memory of their
 * size. False with *err, which names the member with its path in QEMU 7.2's words: what is missing, of the wrong
 * type, out of range, or unknown (with the nearest names).
 */
bool qapi_read(const QapiType *type, json_object *json, unsigned flags, void **value, GError **err);
/* As qapi_read, from an option's text: JSON when it begins with '{', else key=value. implied: the key of a first word
 * without one; NULL: none. */
bool qapi_read_option(const QapiType *type, const char *text, const char *implied, void **value, GError **err);
/* Of an option whose JSON text could not be parsed: adds to *err how such a text is given. Returns false. */
bool qapi_advise_quoting(GError **err);
/* A new JSON value; the caller puts it. NULL is JSON null. Text that is no UTF-8 is repaired. */
json_object *qapi_write(const QapiType *type, const void *value);
/* NULL is fine. */
void qapi_free(const QapiType *type, void *value);
/* A deep copy; any values are shared. NULL gives NULL. */
void *qapi_clone(const QapiType *type, const void *value);

/* ---- text ----------------------------------------------------------------------------- */

#define QAPI_JSON_MAX_DEPTH 1024
#define QAPI_JSON_MAX_BYTES (64u << 20)

/*
 * One JSON value of len bytes, blanks around it. Strict: RFC 8259, UTF-8, no NUL in strings, numbers within range, at
 * most QAPI_JSON_MAX_DEPTH deep and QAPI_JSON_MAX_BYTES long; but strings may stand in 'single quotes', as QEMU takes
 * them. False with *err saying what is wrong and at which byte. *json is NULL for JSON null.
 */
bool qapi_parse_json(const char *text, size_t len, json_object **json, GError **err);

/*
 * "a.b=c,a.l.0=x,..." as nested JSON whose leaves are strings (read it with QAPI_KEYVAL). A comma in a value is
 * doubled; the last of equal keys counts; keys that are numbers from 0 on make a list. NULL with *err.
 */
json_object *qapi_parse_keyval(const char *text, const char *implied, GError **err);

#endif
