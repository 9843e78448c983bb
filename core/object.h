/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Types, objects and properties.
 *
 * Every device, bus, back end object, machine, accelerator and CPU model is a Type: one static const
 * descriptor at the end of its file, found through a linker section. A type names its parent; its
 * struct embeds the parent's struct as its first member, so a pointer to an instance is also a
 * pointer to each of its ancestors, and container_of() leads back.
 *
 *   Object <- Device <- IsaDevice <- DebugExit
 *
 * Hooks (init, realize, reset) run from the root of the parent chain to the leaf; unrealize and
 * finalize from the leaf to the root. A type that leaves a hook NULL has none of its own.
 *
 * Objects stand in one tree with QEMU's paths (/machine/peripheral/ID, /objects/ID). All functions
 * here want the VM lock.
 */
#ifndef CORE_OBJECT_H
#define CORE_OBJECT_H

#include <json-c/json_object.h>

#include "util/error.h"
#include "util/util.h"

typedef struct Object Object;
typedef struct Property Property;
typedef struct PropKind PropKind;
typedef struct QapiType QapiType;
typedef struct Type Type;
typedef struct Device Device;
typedef struct Bus Bus;
typedef struct StateDesc StateDesc;
typedef struct Vm Vm;

/* ---- types ------------------------------------------------------------------------ */

struct Type {
    const char *name;         /* as users know it: "isa-serial" */
    const char *parent;       /* name of the parent type; NULL only for "object" */
    const char *desc;         /* one line for -device help */
    uint32_t size;            /* of the instance struct; 0 means the parent's */
    bool abstract : 1;        /* cannot be instantiated */
    /* ---- what -object and object-add make (core/user_object.h) ---- */
    bool user_object : 1;     /* they may make it; inherited */
    bool late : 1;            /* names chardevs, network or block devices: made after those; inherited */
    const char *not_user;     /* why -device/-object refuses it (NULL: allowed), inherited */
    const char *bus;          /* devices: type name of the bus it plugs into, inherited */
    const char *category;     /* -device help: "storage", "network", "input", "misc"..., inherited */
    const Property *props;    /* ends with {} */
    const StateDesc *state;   /* guest-visible state in QEMU 7.2's layout; children override */
    const void *ops;          /* what the type's family asks of it: PciInfo, BusOps, MachineOps, ... */
    void (*init)(Object *obj);                      /* after the properties got their defaults */
    /* Properties of this type are also this one's: they are set on, and read from, the object that deputy
     * returns. It is made by init and lives as long as obj, or deputy returns NULL. Not inherited. */
    const char *deputy_type;
    Object *(*deputy)(Object *obj);
    void (*finalize)(Object *obj);                  /* before the memory is freed */
    bool (*realize)(Device *dev, GError **err);     /* devices: resources, wiring; undo on failure */
    void (*unrealize)(Device *dev);
    /* First of all, before the devices on its buses go: the guest no longer finds the device. Leaf to root. */
    void (*leave)(Device *dev);
    void (*reset)(Device *dev);                     /* to power-on state; may run at any time */
    bool (*complete)(Object *obj, GError **err);    /* user objects: all properties are set; root first */
    /* An anytime property of a complete object has a new value. False: it cannot be had (the value stays
     * what it was set to, so hooks check before they act). NULL: nothing to do. Inherited. */
    bool (*changed)(Object *obj, const Property *prop, GError **err);
    /* User objects: somebody works by it who has no reference to the object, so it is not deleted. NULL: nobody does. */
    bool (*is_used)(const Object *obj);
};

/* KILN_TYPE(x) = {...}; at the end of a file, or DEVICE_TYPE for a device: the same thing. */
#define KILN_TYPE(ident)                                                                           \
    static const Type ident##_type;                                                                \
    static const Type *const ident##_type_link                                                     \
        __attribute__((section("kiln_types"), used)) = &ident##_type;                              \
    static const Type ident##_type
#define DEVICE_TYPE(ident) KILN_TYPE(ident)

/* NULL when there is none. The first call is made before there are other threads. */
const Type *type_find(const char *name);
/* Like type_find, and loads the module that brings the type. NULL when there is no such type, or, with
 * *err, when its module cannot be loaded: the message names the type, the module and where it should be. */
const Type *type_load(const char *name, GError **err);
const Type *type_parent(const Type *type);
bool type_is_a(const Type *type, const char *ancestor);
/* The first non-NULL value along the parent chain. */
const char *type_bus(const Type *type);
const char *type_category(const Type *type);
const char *type_not_user(const Type *type);
const void *type_ops(const Type *type);
const StateDesc *type_state(const Type *type);
bool type_is_user_object(const Type *type);
bool type_is_late(const Type *type);
/* Calls fn with each type that is_a ancestor (NULL: all), abstract ones included, sorted by name. Types
 * of modules count when they are loaded: a list for people calls module_load_all() first. */
void type_foreach(const char *ancestor, void (*fn)(const Type *type, void *opaque), void *opaque);
/* For core/module_entry.c. Registers the types of a loaded module: its section's bounds. */
void type_register_module(const Type *const *begin, const Type *const *end);

/* ---- properties ------------------------------------------------------------------- */

/*
 * How one kind of property is read from text (-device k=v), from JSON, shown and released. Rooms
 * that own handles define their own kinds (PROP_DRIVE in block/, PROP_CHARDEV in chardev/).
 */
struct PropKind {
    const char *type;  /* as device-list-properties says it: "uint32", "str", "bool", ... */
    enum json_type json; /* JSON type that is taken besides a string; json_type_null: only string */
    /* field points into the object. False with *err when text is not a value in range. */
    bool (*set)(Object *obj, const Property *prop, void *field, const char *text, GError **err);
    /* A new JSON value (the caller puts it); NULL stands for JSON null. */
    json_object *(*get)(Object *obj, const Property *prop, const void *field);
    void (*set_default)(const Property *prop, void *field); /* NULL: memory stays zero */
    void (*release)(Object *obj, const Property *prop, void *field); /* NULL: nothing to free */
    /* Lists and structs: takes any JSON value instead of set. NULL: there is only set. */
    bool (*set_json)(Object *obj, const Property *prop, void *field, json_object *value, GError **err);
    const QapiType *schema; /* lists and structs: the shape of their JSON. NULL: a plain value */
};

struct Property {
    const char *name;
    const PropKind *kind;
    uint32_t offset;
    uint8_t bit;                 /* PROP_BIT: bit number in the field */
    bool read_only : 1;          /* users cannot set it */
    bool anytime : 1;            /* may be set after realize, or after complete */
    bool required : 1;           /* -object must give it */
    uint64_t def;                /* default of numbers, bool, enum */
    const char *def_str;         /* default of strings */
    uint64_t min, max;           /* numbers (signed kinds cast); max 0 stands for the kind's maximum */
    const char *const *values;   /* PROP_ENUM: names by value, ends with NULL */
    const char *link_type;       /* PROP_LINK: type the object must be */
    const char *help;
    const char *type;            /* as qom-list says it; NULL: the kind's */
};

extern const PropKind prop_kind_bool, prop_kind_u8, prop_kind_u16, prop_kind_u32, prop_kind_u64,
    prop_kind_i32, prop_kind_i64, prop_kind_size, prop_kind_size32, prop_kind_string, prop_kind_enum,
    prop_kind_bit32, prop_kind_bit64, prop_kind_on_off_auto, prop_kind_link, prop_kind_mac,
    prop_kind_uuid, prop_kind_object_id;

#define PROP_ANY(pname, k, st, field, ...)                                                         \
    {.name = (pname), .kind = (k), .offset = offsetof(st, field), ##__VA_ARGS__}
#define PROP_BOOL(n, st, f, ...) PROP_ANY(n, &prop_kind_bool, st, f, ##__VA_ARGS__)
#define PROP_U8(n, st, f, ...) PROP_ANY(n, &prop_kind_u8, st, f, ##__VA_ARGS__)
#define PROP_U16(n, st, f, ...) PROP_ANY(n, &prop_kind_u16, st, f, ##__VA_ARGS__)
#define PROP_U32(n, st, f, ...) PROP_ANY(n, &prop_kind_u32, st, f, ##__VA_ARGS__)
#define PROP_U64(n, st, f, ...) PROP_ANY(n, &prop_kind_u64, st, f, ##__VA_ARGS__)
#define PROP_I32(n, st, f, ...) PROP_ANY(n, &prop_kind_i32, st, f, ##__VA_ARGS__)
#define PROP_I64(n, st, f, ...) PROP_ANY(n, &prop_kind_i64, st, f, ##__VA_ARGS__)
/* Takes K, M, G, T suffixes: uint64_t and uint32_t fields. */
#define PROP_SIZE(n, st, f, ...) PROP_ANY(n, &prop_kind_size, st, f, ##__VA_ARGS__)
#define PROP_SIZE32(n, st, f, ...) PROP_ANY(n, &prop_kind_size32, st, f, ##__VA_ARGS__)
/* char * field, owned by the object. */
#define PROP_STRING(n, st, f, ...) PROP_ANY(n, &prop_kind_string, st, f, ##__VA_ARGS__)
/* int field; values gives the names. */
#define PROP_ENUM(n, st, f, ...) PROP_ANY(n, &prop_kind_enum, st, f, ##__VA_ARGS__)
/* One bit of a uint32_t or uint64_t field: .bit = N. */
#define PROP_BIT32(n, st, f, ...) PROP_ANY(n, &prop_kind_bit32, st, f, ##__VA_ARGS__)
#define PROP_BIT64(n, st, f, ...) PROP_ANY(n, &prop_kind_bit64, st, f, ##__VA_ARGS__)
/* int field holding an OnOffAuto. */
#define PROP_ON_OFF_AUTO(n, st, f, ...) PROP_ANY(n, &prop_kind_on_off_auto, st, f, ##__VA_ARGS__)
/* char * field: the id of another -object, which is made first. No reference is held. */
#define PROP_OBJECT_ID(n, st, f, ...) PROP_ANY(n, &prop_kind_object_id, st, f, ##__VA_ARGS__)
/* Object * field; text is a path or an id; a reference is held. */
#define PROP_LINK(n, st, f, ...) PROP_ANY(n, &prop_kind_link, st, f, ##__VA_ARGS__)

typedef enum OnOffAuto { ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON, ON_OFF_AUTO_OFF } OnOffAuto;

/* The property of the type or an ancestor, deputies left out. NULL when there is none. */
const Property *type_own_property(const Type *type, const char *name);
/* The property of the type, an ancestor or a deputy, NULL when there is none. */
const Property *type_property(const Type *type, const char *name);
/* Each property once, the leaf's first. */
void type_foreach_property(const Type *type, void (*fn)(const Type *owner, const Property *prop, void *opaque),
                           void *opaque);

/* ---- objects ---------------------------------------------------------------------- */

struct Object {
    const Type *type;
    Vm *vm;
    Object *parent;   /* in the tree; NULL while it is nowhere */
    char *name;       /* last part of its path */
    GPtrArray *children; /* of Object *, in order of adding; NULL while there is none */
    unsigned refs;
    bool completed;   /* complete has run: only anytime properties may change */
};

/* A new instance with defaults and the VM's -global values applied, one reference, in no tree. The
 * type must exist and not be abstract (our own invariant). A -global value that is refused sets *err. */
Object *object_new(Vm *vm, const Type *type, GError **err);
Object *object_ref(Object *obj);
/* The last one finalizes. NULL is fine. */
void object_unref(void *obj);
/* Prepares an object embedded in another struct (no allocation; freed with its container). */
void object_init_embedded(Object *obj, Vm *vm, const char *type_name);

bool object_is_a(const void *obj, const char *type_name);
/* Takes a reference. name is copied; a "[*]" at its end becomes the first free "[n]". */
void object_add_child(Object *parent, const char *name, Object *child);
/* Drops the parent's reference. */
void object_unparent(Object *obj);
Object *object_child(const Object *parent, const char *name);
/* The child named so, made as a plain container if it is not there. */
Object *object_container(Object *parent, const char *name);
/* "/machine/peripheral/disk0". The caller frees. */
char *object_path(const void *obj);
/* An absolute path, or a partial one that is unique ("ioapic"). NULL when none or several match. */
Object *object_resolve(Vm *vm, const char *path);

/* Sets from a command line's text, or from JSON. False with *err naming the property and value. */
bool object_set(Object *obj, const char *name, const char *text, GError **err);
bool object_set_json(Object *obj, const char *name, json_object *value, GError **err);
/* A new value; the caller puts it. NULL with *err, or NULL without for JSON null. */
json_object *object_get(Object *obj, const char *name, GError **err);
/* For our own code: the property exists and the value is in range. obj is any object. */
void object_set_str(void *obj, const char *name, const char *value);
void object_set_uint(void *obj, const char *name, uint64_t value);
void object_set_bool(void *obj, const char *name, bool value);

#endif
