/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI tables of the pc machine, as three fw_cfg files that are made when firmware first asks for
 * one of them after a reset: the tables, the RSDP and the loader script.
 */
#ifndef HW_I386_ACPI_BUILD_H
#define HW_I386_ACPI_BUILD_H

#include "hw/i386/acpi_table.h"
#include "hw/i386/pc_info.h"

/* Builds all tables from the machine as it is now. t was initialised. VM lock. */
void acpi_build(const PcInfo *info, AcpiTables *t);

/* hw/i386/acpi_hmat.c: the HMAT. There are nodes. */
void acpi_put_hmat(const PcInfo *info, AcpiTables *t);

/* Adds the three files. info must live as long as the device. */
bool acpi_add_files(PcInfo *info, GError **err);

#endif
