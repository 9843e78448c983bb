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

/* What the first of two models is to the second; the values are QAPI's CpuModelCompareResult. */
typedef enum CpuModelOrder {
    CPU_MODEL_INCOMPATIBLE, /* each has what the other lacks, or their vendors differ */
    CPU_MODEL_IDENTICAL,
    CPU_MODEL_SUPERSET, /* it has all that the second has; family, model, stepping and name may differ */
    CPU_MODEL_SUBSET,
} CpuModelOrder;

/*
 * Two expansions (static ones, of cpu_model_expand) beside each other. differing: names of the properties with different
 * values are added to it, of char *, the caller's.
 */
CpuModelOrder cpu_models_compare(json_object *a, json_object *b, GPtrArray *differing);

/*
 * The features that both have, with the lower family, model and stepping: properties of a "base", for the caller to put.
 * NULL: the vendors differ.
 */
json_object *cpu_models_baseline(json_object *a, json_object *b, GError **err);

/* Names of the features in cpu->missing, of char *; the caller frees. */
GPtrArray *cpu_unavailable_features(const Cpu *cpu);

#endif
