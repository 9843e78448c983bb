/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of file descriptors that a manager passed (-add-fd, QMP add-fd). The path /dev/fdset/N names set N wherever
 * a file name may stand: vm_open duplicates the descriptor of the set that was opened for the same kind of access.
 * VM lock.
 */
#ifndef CORE_FDSET_H
#define CORE_FDSET_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Vm Vm;

/* As open(2) with O_CLOEXEC; -1 with errno. For /dev/fdset/N: ENOENT, there is no such set; EACCES, no descriptor of
 * it allows this access. */
int vm_open(Vm *vm, const char *path, int flags, mode_t mode);

/* Takes fd over. set: -1 for a new one, whose number is the lowest free. Returns the set's number. */
int64_t fdset_add(Vm *vm, int64_t set, int fd, const char *opaque);
/* Closes one descriptor of the set, or all (fd -1). False: there is none. What was opened from it stays open. */
bool fdset_remove(Vm *vm, int64_t set, int fd);

/* Calls fn with each descriptor, sets in order. opaque_text may be NULL. */
void fdset_foreach(Vm *vm, void (*fn)(int64_t set, int fd, const char *opaque_text, void *opaque), void *opaque);

/* "set=N,fd=N[,opaque=text]", the argument of -add-fd; the descriptor is an inherited one. */
bool fdset_add_option(Vm *vm, const char *text, GError **err);
void fdset_cleanup(Vm *vm);

#endif
