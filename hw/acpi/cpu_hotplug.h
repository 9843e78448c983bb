/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers through which ACPI's AML finds, plugs and ejects CPUs. */
#ifndef HW_ACPI_CPU_HOTPLUG_H
#define HW_ACPI_CPU_HOTPLUG_H

#include "hw/acpi/acpi_regs.h"

#define ACPI_CPUHP_BASE 0xaf00
#define ACPI_CPUHP_PORTS 0x20        /* the old interface: a bitmap of APIC ids */
#define ACPI_CPUHP_MODERN_PORTS 0x0c

/* A possible CPU. */
typedef struct AcpiCpu {
    uint32_t apic_id;
    bool present;
    bool is_inserting, is_removing;
    uint32_t ost_event, ost_status;
} AcpiCpu;

/* What the board does. VM lock, any thread. */
typedef struct AcpiCpuOps {
    /* The guest ejected this CPU, which is not the first: it is gone for the guest now. */
    void (*eject)(void *opaque, unsigned index);
    /* The id of -device or device_add, for events; NULL: none. */
    const char *(*id)(void *opaque, unsigned index);
} AcpiCpuOps;

typedef struct AcpiCpuHotplug {
    AcpiRegs *regs;
    const AcpiCpuOps *ops;   /* NULL: no CPU goes */
    void *opaque;
    bool modern;
    uint32_t selector;
    uint8_t command;
    uint32_t dev_count;
    AcpiCpu *devs;
    Region bitmap, io;       /* one of them is mapped */
    Region *parent;
} AcpiCpuHotplug;

/* Maps the ports in parent. */
void acpi_cpuhp_init(AcpiCpuHotplug *hp, AcpiRegs *regs, Region *parent);
void acpi_cpuhp_cleanup(AcpiCpuHotplug *hp);
/* The possible CPUs in order of their index; before the guest runs. ops may be NULL. */
void acpi_cpuhp_set_cpus(AcpiCpuHotplug *hp, const AcpiCpu *cpus, unsigned count, const AcpiCpuOps *ops, void *opaque);
/* A CPU is there; hot: the guest is told. VM lock. */
void acpi_cpuhp_plugged(AcpiCpuHotplug *hp, unsigned index, bool hot);
/* Asks the guest to eject a CPU. False with *err: it uses the old interface, which cannot. VM lock. */
bool acpi_cpuhp_request_unplug(AcpiCpuHotplug *hp, unsigned index, GError **err);
/* What the guest reported last, as the event and query-acpi-ospm-status have it; strings are the caller's. */
struct ACPIOSTInfo *acpi_cpuhp_status(const AcpiCpuHotplug *hp, unsigned index);
/* The ports as hp->modern says, after loading. */
void acpi_cpuhp_map(AcpiCpuHotplug *hp);

extern const StateDesc acpi_cpuhp_state; /* "CPU hotplug state" */

#endif
