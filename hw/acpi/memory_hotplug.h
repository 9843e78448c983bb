/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers through which ACPI's AML finds, plugs and ejects modules of memory. */
#ifndef HW_ACPI_MEMORY_HOTPLUG_H
#define HW_ACPI_MEMORY_HOTPLUG_H

#include "hw/acpi/acpi_regs.h"

#define ACPI_MEMHP_BASE 0xa00
#define ACPI_MEMHP_PORTS 0x18

/* A slot; all zero when nothing is in it. */
typedef struct AcpiMemSlot {
    bool enabled;                /* there is a module */
    uint64_t addr, size;
    uint32_t node;
    bool is_inserting, is_removing;
    uint32_t ost_event, ost_status;
} AcpiMemSlot;

/* What the board does. VM lock, any thread. */
typedef struct AcpiMemOps {
    /* The guest ejected the module in this slot: it is gone for the guest now. */
    void (*eject)(void *opaque, unsigned slot);
    /* The id of -device or device_add, for events; NULL: none. */
    const char *(*id)(void *opaque, unsigned slot);
} AcpiMemOps;

typedef struct AcpiMemHotplug {
    AcpiRegs *regs;
    const AcpiMemOps *ops;
    void *opaque;
    uint32_t selector;
    uint32_t dev_count;          /* slots; 0: no registers */
    AcpiMemSlot *devs;
    Region io;
} AcpiMemHotplug;

/* Maps the ports in parent, for this many slots, which are empty. ops lives as long. */
void acpi_memhp_init(AcpiMemHotplug *hp, AcpiRegs *regs, Region *parent, unsigned slots, const AcpiMemOps *ops, void *opaque);
void acpi_memhp_cleanup(AcpiMemHotplug *hp);
/* A module is there; hot: the guest is told. VM lock. */
void acpi_memhp_plugged(AcpiMemHotplug *hp, unsigned slot, uint64_t addr, uint64_t size, uint32_t node, bool hot);
/* Asks the guest to eject a module. VM lock. */
void acpi_memhp_request_unplug(AcpiMemHotplug *hp, unsigned slot);
/* What the guest reported last, as the event and query-acpi-ospm-status have it; strings are the caller's. */
struct ACPIOSTInfo *acpi_memhp_status(const AcpiMemHotplug *hp, unsigned slot);

extern const StateDesc acpi_memhp_state; /* "memory hotplug state" */

#endif
