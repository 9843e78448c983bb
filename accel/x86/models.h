/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the tables of CPU models (models_*.c) are written: a row a version, each with its Type, in the
 * order of the processors' generations. Private to accel/x86.
 *
 *   MODEL(ident, "Name", VENDOR, family, model, stepping, level, xlevel, &base or NULL,
 *         "name string", " [what -cpu help adds]", "features", ...)     version 1 and the bare name
 *   VERSION(ident, number, ...the same...)                              later versions
 *   ALIAS(ident, "Other-Name", ident_vN, "Name-vN")                     a version's second name
 *
 * level and xlevel are the lowest that the model shows: features may raise them.
 */
#ifndef ACCEL_X86_MODELS_H
#define ACCEL_X86_MODELS_H

#include "accel/x86/cpu_config.h"

#define CPU_TYPE_SUFFIX "-x86_64-cpu"

#define INTEL "GenuineIntel"
#define AMD "AuthenticAMD"
#define HYGON "HygonGenuine"

#define CPU_TYPE(ident, type_name, description, model_)                                            \
    KILN_TYPE(cpu_##ident) = {.name = type_name CPU_TYPE_SUFFIX,                                   \
                              .parent = "x86_64-cpu",                                              \
                              .desc = (description),                                               \
                              .ops = &(model_)}

#define CPU_MODEL_ROW(ident, number, name_, vendor_, family_, model_, stepping_, level_, xlevel_,  \
                      base_, id, features_, ...)                                                   \
    static const CpuModel ident = {.name = (name_),                                                \
                                   .version = (number),                                            \
                                   .base = (base_),                                                \
                                   .features = (features_),                                        \
                                   .model_id = (id),                                               \
                                   .vendor = (vendor_),                                            \
                                   .family = (family_),                                            \
                                   .model = (model_),                                              \
                                   .stepping = (stepping_),                                        \
                                   .min_level = (level_),                                          \
                                   .min_xlevel = (xlevel_),                                        \
                                   ##__VA_ARGS__}

#define VERSION(ident, number, name_, vendor_, family_, model_, stepping_, level_, xlevel_, base_, \
                id, note, features_, ...)                                                          \
    CPU_MODEL_ROW(ident##_v##number, number, name_, vendor_, family_, model_, stepping_, level_,   \
                  xlevel_, base_, id, features_, ##__VA_ARGS__);                                   \
    CPU_TYPE(ident##_v##number, name_ "-v" #number, id note, ident##_v##number)

#define MODEL(ident, name_, vendor_, family_, model_, stepping_, level_, xlevel_, base_, id, note, \
              features_, ...)                                                                      \
    VERSION(ident, 1, name_, vendor_, family_, model_, stepping_, level_, xlevel_, base_, id,      \
            note, features_, ##__VA_ARGS__);                                                       \
    CPU_TYPE(ident, name_, "(alias configured by machine type)", ident##_v1)

#define ALIAS(ident, type_name, version_ident, version_name)                                       \
    CPU_TYPE(ident, type_name, "(alias of " version_name ")", version_ident)

#endif
