/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where firmware and option ROMs are searched. */
#ifndef CORE_DATA_DIRS_H
#define CORE_DATA_DIRS_H

typedef struct Vm Vm;

/*
 * A file named NAME: the name itself when such a file exists, else in the -L directories
 * (vm->data_dirs), in Kiln's data directory and where the distribution puts firmware
 * (/usr/share/kiln, /usr/share/seabios, /usr/share/qemu, /usr/lib/ipxe/qemu). NULL when there is
 * none; the caller frees.
 */
char *find_firmware(const Vm *vm, const char *name);
/* Its directories in order, for -L help; ends with NULL, g_strfreev frees. */
char **firmware_dirs(const Vm *vm);

#endif
