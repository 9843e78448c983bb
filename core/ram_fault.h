/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SIGBUS on guest memory: its file was truncated or its file system is full, the host has no huge page left, or the
 * memory itself is broken (hwpoison).
 *
 * The page that cannot be had is replaced by zeros, so that whoever touched it (a device's DMA, the monitor) gets to an
 * end; the VM then stops in internal-error with a message, because what it would go on with is not its memory. A CPU
 * that touches a truncated file itself is stopped by the accelerator (KVM_RUN fails).
 *
 * Signal handlers belong to the process: this file's table is shared by all VMs in it.
 */
#ifndef CORE_RAM_FAULT_H
#define CORE_RAM_FAULT_H

#include "core/region.h"

/* Watches a block from now on, until it is freed. VM lock. Past the 256th block nothing is watched. */
void ram_fault_watch(Vm *vm, RamBlock *block);
/* For ram_block_unref. Any thread. */
void ram_fault_unwatch(RamBlock *block);

#endif
