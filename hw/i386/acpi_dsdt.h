/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The DSDT of the pc machine as AML assembler text (hw/i386/aml.h). */
#ifndef HW_I386_ACPI_DSDT_H
#define HW_I386_ACPI_DSDT_H

#include "hw/i386/pc_info.h"

/* Ports of the board's ACPI hardware. */
#define ACPI_GPE0_PORT 0xafe0
#define ACPI_GPE0_LENGTH 4
#define ACPI_PCI_HOTPLUG_PORT 0xae00
#define ACPI_PCI_HOTPLUG_LENGTH 0x18
#define ACPI_CPU_HOTPLUG_PORT 0xaf00
#define ACPI_CPU_HOTPLUG_LENGTH 0x0c
#define ACPI_MEMORY_HOTPLUG_PORT 0x0a00
#define ACPI_MEMORY_HOTPLUG_LENGTH 0x18

/* Appends the whole DSDT's text. VM lock: it looks at the devices that are there now. */
void acpi_dsdt_text(const PcInfo *info, GString *text);
/* Its parts that have files of their own. */
void acpi_dsdt_cpus(const PcInfo *info, GString *text);
void acpi_dsdt_memory(const PcInfo *info, GString *text);
void acpi_dsdt_isa_devices(const PcInfo *info, GString *text);
void acpi_dsdt_pci_slots(const PcInfo *info, GString *text);

/* The entry of a processor in the MADT and in its _MAT: 8 or 16 bytes; returns how many. */
unsigned acpi_madt_cpu_entry(const PcInfo *info, unsigned index, bool in_mat, uint8_t entry[16]);

/* The first realized device of this type, NULL when there is none. */
Device *acpi_find_device(const PcInfo *info, const char *type);
/* A number of a property; 0 when there is none. */
uint64_t acpi_property(Device *dev, const char *name);

#endif
