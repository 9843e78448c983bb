/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What -object, object-add and object-del make and remove: objects at /objects/ID of types that say
 * user_object.
 *
 * Their order on the command line does not matter: an object that another one names (a link or
 * PROP_OBJECT_ID) is made before it; "late" types, which name character devices or the like, are made
 * after those exist. Every other part of the VM is made after the early ones.
 *
 * An object in use cannot be deleted. In use is what anyone but the tree holds a reference of.
 * All functions want the VM lock.
 */
#ifndef CORE_USER_OBJECT_H
#define CORE_USER_OBJECT_H

#include "core/object.h"

/* The type -object NAME makes; NULL with *err, which suggests others. */
const Type *user_object_type(const char *name, GError **err);

/* One -object, parsed: its type is known and its id well-formed. Values are not looked at yet. */
typedef struct ObjectArgs ObjectArgs;

/* "TYPE,id=ID,key=value" or a JSON object. NULL with *err, which begins with "-object". */
ObjectArgs *object_args_parse(const char *text, GError **err);
void object_args_free(ObjectArgs *args);

/* Makes those of args (of ObjectArgs *) whose type is late, or is not. False with *err at the first that fails;
 * the ones before it stay. */
bool user_objects_create(Vm *vm, GPtrArray *args, bool late, GError **err);

/* Makes one from a JSON object with "qom-type" and "id". The tree holds the reference. NULL with *err. */
Object *user_object_add(Vm *vm, json_object *json, GError **err);
/* The same from the text of -object. */
Object *user_object_add_text(Vm *vm, const char *text, GError **err);
/* Makes one of our own, as if the user had: pairs are name, value, ..., NULL. */
Object *user_object_new(Vm *vm, const char *type_name, const char *id, const char *const *pairs, GError **err);
/* Puts a ready object of our own at /objects/ID and runs its complete hooks. The tree's reference is new. */
bool user_object_place(Vm *vm, Object *obj, const char *id, GError **err);
bool user_object_del(Vm *vm, const char *id, GError **err);
/* By id, of this type or a descendant (NULL: any). NULL when there is none. */
Object *user_object_find(Vm *vm, const char *id, const char *type_name);

/* A letter, then letters, digits, '-', '.', '_'. */
bool object_id_is_valid(const char *id);

#endif
