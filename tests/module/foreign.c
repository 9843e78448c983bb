/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A module of another build: it must be refused before its init runs. */
#include <stdlib.h>

#include "util/module.h"

static void foreign_init(void) { abort(); }

extern const ModuleInfo kiln_module;
const ModuleInfo kiln_module = {.name = "testdev", .abi = "0.0-of-another-build", .init = foreign_init};
