/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State tables: what a device saves, in QEMU 7.2's names, order, types and sizes (big-endian on the
 * wire). One table is read by saving, loading, --print-state and the tests that compare with QEMU.
 *
 * Loading takes all fields of a section first; then timers are armed and the post_loads run, subsections
 * and nested structs before what they are in. A value outside [min, max], an index that does not fit, bytes
 * missing or left over, or a post_load that refuses, puts fields and timers back as they were and names the
 * field. .post_load validates what ranges cannot say, and only then acts; it may correct a timer.
 */
#ifndef CORE_STATE_H
#define CORE_STATE_H

#include <json-c/json_object.h>

#include "util/util.h"

typedef struct StateDesc StateDesc;
typedef struct StateField StateField;
typedef struct StateKind StateKind;
typedef struct StateJournal StateJournal;
typedef struct Timer Timer;

/* Bytes being written, or read with bounds. */
typedef struct StateBuf {
    GByteArray *out;         /* saving */
    const uint8_t *in;       /* loading */
    size_t in_len, in_pos;
    bool failed;             /* a read went past the end */
    StateJournal *journal;   /* core's: what to put back when loading fails */
} StateBuf;

void state_put(StateBuf *buf, const void *data, size_t len);
void state_put_be(StateBuf *buf, uint64_t value, unsigned size);
/* Zeros and failed when there is not enough. */
bool state_get(StateBuf *buf, void *data, size_t len);
uint64_t state_get_be(StateBuf *buf, unsigned size);

/* How one element goes to the wire. elem points at it; size is its bytes on the wire. */
struct StateKind {
    const char *type;        /* as in QEMU's description: "uint8", "buffer", "timer" */
    bool is_signed;
    void (*put)(StateBuf *buf, const StateField *field, const void *elem, size_t size);
    /* False with *err for a value that is not allowed. Writes elem, and only [elem, elem + stride): core
     * puts those bytes back when the section is refused. */
    bool (*get)(StateBuf *buf, const StateField *field, void *elem, size_t size, GError **err);
};

extern const StateKind state_kind_u8, state_kind_u16, state_kind_u32, state_kind_u64, state_kind_i8,
    state_kind_i16, state_kind_i32, state_kind_i64, state_kind_bool, state_kind_buffer, state_kind_unused,
    state_kind_timer, state_kind_u8_equal, state_kind_u16_equal, state_kind_u32_equal,
    state_kind_i32_equal, state_kind_i32_le, state_kind_struct;

struct StateField {
    const char *name;        /* QEMU's: "env.regs", "channels[0].irq_disabled" */
    const StateKind *kind;
    uint32_t offset;         /* of the first element in the struct */
    uint32_t size;           /* bytes of one element on the wire (and, for plain kinds, in memory) */
    uint32_t stride;         /* bytes between elements in memory */
    uint32_t count;          /* elements; 0 and 1: one, not shown as an array unless .array */
    uint32_t count_offset;   /* .var_array: offset of a uint8_t/uint16_t/uint32_t count ... */
    uint8_t count_size;      /* ... of this many bytes; count is then its upper limit */
    uint8_t since;           /* version of the table that brought the field; 0: always */
    bool array : 1;          /* shown with array_len (or index) even when count is 1 */
    bool pointer : 1;        /* the struct holds a pointer to the element(s) */
    uint8_t desc_version;    /* version of desc that is written when not its current one */
    uint64_t min, max;       /* range when loading; max 0: no limit (signed kinds cast) */
    const StateDesc *desc;   /* STATE_STRUCT */
    bool (*exists)(const void *obj, unsigned version); /* NULL: always */
    const void *extra;       /* for kinds of other rooms */
};

struct StateDesc {
    const char *name;        /* QEMU's: "mc146818rtc" */
    unsigned version, min_version;
    const StateField *fields;             /* ends with {} */
    const StateDesc *const *subsections;  /* NULL, or ends with NULL */
    bool (*needed)(void *obj);            /* subsections (and sections): NULL means always */
    void (*pre_save)(void *obj);          /* computes wire-only fields */
    /* Defaults of what an older stream, or one without a subsection, does not bring. What it changes
     * it keeps first, with state_keep: a section that is refused changes nothing. */
    bool (*pre_load)(void *obj, GError **err);
    /* version: what the stream had. Validates, then acts. */
    bool (*post_load)(void *obj, unsigned version, GError **err);
    int priority;            /* higher ones are saved first; 0: order of realizing */
};

/* Of pre_load: [at, at + len) is put back when the section is refused. Plain data, no timers. */
void state_keep(void *at, size_t len);
#define STATE_KEEP(field) state_keep(&(field), sizeof(field))
/* Of pre_load: off, unless the section arms it; armed again when the section is refused. */
void state_cancel_timer(Timer *timer);

#define STATE_ANY(st, f, k, n, ...)                                                                \
    {.name = #f, .kind = (k), .offset = offsetof(st, f), .size = (n), .stride = (n), .count = 1, ##__VA_ARGS__}
#define STATE_U8(st, f, ...) STATE_ANY(st, f, &state_kind_u8, 1, ##__VA_ARGS__)
#define STATE_U16(st, f, ...) STATE_ANY(st, f, &state_kind_u16, 2, ##__VA_ARGS__)
#define STATE_U32(st, f, ...) STATE_ANY(st, f, &state_kind_u32, 4, ##__VA_ARGS__)
#define STATE_U64(st, f, ...) STATE_ANY(st, f, &state_kind_u64, 8, ##__VA_ARGS__)
#define STATE_I8(st, f, ...) STATE_ANY(st, f, &state_kind_i8, 1, ##__VA_ARGS__)
#define STATE_I16(st, f, ...) STATE_ANY(st, f, &state_kind_i16, 2, ##__VA_ARGS__)
#define STATE_I32(st, f, ...) STATE_ANY(st, f, &state_kind_i32, 4, ##__VA_ARGS__)
#define STATE_I64(st, f, ...) STATE_ANY(st, f, &state_kind_i64, 8, ##__VA_ARGS__)
#define STATE_BOOL(st, f, ...) STATE_ANY(st, f, &state_kind_bool, 1, ##__VA_ARGS__)
/* Must equal what is there when loading. */
#define STATE_U8_EQUAL(st, f, ...) STATE_ANY(st, f, &state_kind_u8_equal, 1, ##__VA_ARGS__)
#define STATE_I32_EQUAL(st, f, ...) STATE_ANY(st, f, &state_kind_i32_equal, 4, ##__VA_ARGS__)
#define STATE_I32_LE(st, f, ...) STATE_ANY(st, f, &state_kind_i32_le, 4, ##__VA_ARGS__)
/* A Timer: its deadline, or -1. */
#define STATE_TIMER(st, f, ...)                                                                    \
    {.name = #f, .kind = &state_kind_timer, .offset = offsetof(st, f), .size = 8, .count = 1, ##__VA_ARGS__}
/* Arrays of numbers: STATE_ARRAY(Type, field, u32, 4) for uint32_t field[4]. */
#define STATE_ARRAY(st, f, k, n, ...)                                                              \
    {.name = #f,                                                                                   \
     .kind = &state_kind_##k,                                                                      \
     .offset = offsetof(st, f),                                                                    \
     .size = sizeof(((st *)0)->f[0]),                                                              \
     .stride = sizeof(((st *)0)->f[0]),                                                            \
     .count = (n),                                                                                 \
     .array = true,                                                                                \
     ##__VA_ARGS__}
/* Raw bytes of an array field. */
#define STATE_BUFFER(st, f, ...) STATE_ANY(st, f, &state_kind_buffer, sizeof(((st *)0)->f), ##__VA_ARGS__)
/* n zero bytes that QEMU keeps for older versions. */
#define STATE_UNUSED(n, ...) {.name = "unused", .kind = &state_kind_unused, .size = (n), .count = 1, ##__VA_ARGS__}
#define STATE_STRUCT(st, f, d, ...)                                                                \
    {.name = #f, .kind = &state_kind_struct, .offset = offsetof(st, f), .count = 1, .desc = (d), ##__VA_ARGS__}
#define STATE_STRUCT_ARRAY(st, f, d, n, ...)                                                       \
    {.name = #f,                                                                                   \
     .kind = &state_kind_struct,                                                                   \
     .offset = offsetof(st, f),                                                                    \
     .stride = sizeof(((st *)0)->f[0]),                                                            \
     .count = (n),                                                                                 \
     .array = true,                                                                                \
     .desc = (d),                                                                                  \
     ##__VA_ARGS__}

/* ---- sections of a VM -------------------------------------------------------------- */

typedef struct Vm Vm;

/*
 * Adds a section to the stream: name (copied) and instance (-1: next free number of that name).
 * Devices with a state table get theirs in device_realize. Returns the instance id.
 */
int state_register(Vm *vm, const char *name, int instance, const StateDesc *desc, void *obj);
void state_unregister(Vm *vm, const void *obj);
/* What the stream's configuration section calls the machine ("pc-i440fx-7.2"). */
void state_set_machine_name(Vm *vm, const char *name);

/* One section's fields (no header), appended to out. */
void state_save_fields(const StateDesc *desc, void *obj, GByteArray *out);
bool state_load_fields(const StateDesc *desc, void *obj, unsigned version, const uint8_t *data, size_t len,
                       GError **err);
/* The whole machine in QEMU's stream form (no RAM): header, full sections with footers, end mark, and
 * the JSON description. VM stopped or vCPUs paused. */
void state_save_vm(Vm *vm, GByteArray *out);
/* After a refusal the sections before the refused one stand as loaded: reset the machine, or end it. */
bool state_load_vm(Vm *vm, const uint8_t *data, size_t len, GError **err);
/* {"page_size": 4096, "devices": [...]} as QEMU 7.2 describes its stream. The caller puts it. */
json_object *state_describe_vm(Vm *vm);

#endif
