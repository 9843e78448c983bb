/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What managers ask about CPU models: which there are, which of their features this host lacks, and
 * what a model with changes comes to. VM lock.
 */
#ifndef ACCEL_X86_QUERY_H
#define ACCEL_X86_QUERY_H

#include "accel/x86/cpu.h"

typedef struct CpuModelDescription {
    char *name;           /* "Haswell-noTSX" */
    const char *typename; /* "Haswell-noTSX-x86_64-cpu" */
    char *alias_of;       /* "Haswell-v2"; NULL: a name of its own */
    bool is_static;       /* the same for ever: "base" */
    bool migration_safe;  /* the same on every host */
    GPtrArray *unavailable; /* of char *: features that the host lacks, once each */
} CpuModelDescription;

/* All models in the order of -cpu help, of CpuModelDescription *; the caller frees the array. */
GPtrArray *cpu_models_query(Vm *vm);

/*
 * A model with props (an object of JSON, or NULL) set over it: *expanded becomes its properties by
 * name, for the caller to put; full: all properties, else those that describe it as "base" with
 * changes. Nothing is made that stays. False: the model, a property or a value is not known.
 */
bool cpu_model_expand(Vm *vm, const char *name, json_object *props, bool full,
                      json_object **expanded, GError **err);

/* Names of the features in cpu->missing, of char *; the caller frees. */
GPtrArray *cpu_unavailable_features(const Cpu *cpu);

#endif
