/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Modules: parts of Kiln that most VMs do not need, in shared objects of their own, so that their
 * code and their libraries are loaded only when an option asks for them.
 *
 * meson.build's table `kiln_modules` says which sources, libraries and types a module has. Its
 * sources look like all others: a Type at the end of the file. Who needs one of its types asks
 * type_load() (core/object.h), which loads the module and has it register what it brings. What a module
 * offers to others it offers through a Type's ops; nothing names its symbols.
 *
 * A module is kiln-NAME.so, searched in $KILN_MODULE_DIR if that is set; else beside the program
 * (an uninstalled build) and then in LIBDIR/kiln. It must come from the very build of the program: it
 * carries a digest of all headers, which is compared before anything in it is used. Configured with
 * -Dmodules=disabled all of it is linked into the program.
 */
#ifndef UTIL_MODULE_H
#define UTIL_MODULE_H

#include <glib.h>
#include <stdbool.h>

/* What a module exports, under the name kiln_module. */
typedef struct ModuleInfo {
    const char *name;   /* "testdev" */
    const char *abi;    /* MODULE_ABI of its build */
    void (*init)(void); /* registers its types and trace points; called once */
} ModuleInfo;

/* Loads kiln-NAME.so; one that is loaded stays. The main thread, before privileges are given up.
 * what names who needs it and begins the message. */
bool module_load(const char *name, const char *what, GError **err);
/* The module that brings this type; NULL when none does. */
const char *module_of_type(const char *type);
/* For lists of everything: loads each module that can be loaded. */
void module_load_all(void);

#endif
