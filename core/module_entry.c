/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Linked into each module and never into the program: hands over the module's own sections of types
 * and trace points. The linker defines their bounds for each shared object apart.
 */
#include "core/object.h"
#include "module-abi.h"
#include "util/module.h"
#include "util/trace.h"

extern const Type *const __start_kiln_types[] __attribute__((weak, visibility("hidden")));
extern const Type *const __stop_kiln_types[] __attribute__((weak, visibility("hidden")));
extern TracePoint *const __start_kiln_trace[] __attribute__((weak, visibility("hidden")));
extern TracePoint *const __stop_kiln_trace[] __attribute__((weak, visibility("hidden")));

static void module_init(void)
{
    type_register_module(__start_kiln_types, __stop_kiln_types);
    trace_register_module(__start_kiln_trace, __stop_kiln_trace);
}

extern const ModuleInfo kiln_module;
const ModuleInfo kiln_module = {.name = MODULE_NAME, .abi = MODULE_ABI, .init = module_init};
