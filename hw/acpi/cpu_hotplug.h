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

typedef struct AcpiCpuHotplug {
    AcpiRegs *regs;
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
/* The possible CPUs in order of their index; before the guest runs. */
void acpi_cpuhp_set_cpus(AcpiCpuHotplug *hp, const AcpiCpu *cpus, unsigned count);
/* The ports as hp->modern says, after loading. */
void acpi_cpuhp_map(AcpiCpuHotplug *hp);

extern const StateDesc acpi_cpuhp_state; /* "CPU hotplug state" */

#endif
