/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 82441FX host bridge (PMC) of the pc machine: PCI root bus, memory windows below 1 MiB and the
 * holes that PCI devices' memory lies in.
 */
#ifndef HW_PCI_I440FX_H
#define HW_PCI_I440FX_H

#include "hw/pci/pci.h"

typedef struct I440fxHost I440fxHost;

typedef struct I440fxParams {
    Region *ram;            /* all RAM, from guest address 0 up ("pc.ram") */
    /* container of 2^64 bytes; mapped below RAM's priority by i440fx_create */
    Region *pci_memory;
    uint64_t ram_size;      /* all of it, for the DRAM register */
    uint64_t below_4g;      /* bytes of RAM there */
    uint64_t hole64_start;  /* PCI memory above all RAM; whole GiB */
} I440fxParams;

/*
 * The board makes the host first, so that -global sets its properties, then completes it:
 * "i440FX-pcihost" at /machine/i440fx, ports 0xcf8 and 0xcfc, bus "pci.0", function 00.0, and
 * pci_memory in the system memory with priority -1. The regions of params must outlive the VM's
 * devices.
 */
I440fxHost *i440fx_create(Vm *vm, const I440fxParams *params, GError **err);
PciBus *i440fx_bus(I440fxHost *host);

/* Where PCI memory may lie: [start, end). What ACPI's _CRS tells the guest. */
typedef struct I440fxHoles {
    uint64_t low_start, low_end;    /* below 4 GiB */
    uint64_t high_start, high_end;  /* above 4 GiB; equal: none */
} I440fxHoles;
I440fxHoles i440fx_holes(const I440fxHost *host);
/* What only CPUs in system management mode see over the memory: a container of 4 GiB. */
Region *i440fx_smram(I440fxHost *host);

#endif
