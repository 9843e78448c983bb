/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The power management function of the 82371AB (PIIX4), as the pc machine has it beside a PIIX3. */
#ifndef HW_ACPI_PIIX4_PM_H
#define HW_ACPI_PIIX4_PM_H

#include "hw/acpi/acpi_regs.h"
#include "hw/acpi/cpu_hotplug.h"
#include "hw/acpi/memory_hotplug.h"
#include "hw/acpi/pci_hotplug.h"
#include "hw/i2c/i2c.h"

/* Output pin 0 is the SCI (GSI 9). SMIs go to the accelerator when smm is on. */

/* Makes "PIIX4_PM" at devfn with its bus "i2c". smb_io_base: 0xb100. NULL with *err. */
PciDevice *piix4_pm_create(PciBus *bus, int devfn, uint32_t smb_io_base, bool smm, GError **err);
I2cBus *piix4_pm_i2c(PciDevice *pm);
AcpiRegs *piix4_pm_regs(PciDevice *pm);
AcpiPciHotplug *piix4_pm_pci_hotplug(PciDevice *pm);
AcpiCpuHotplug *piix4_pm_cpu_hotplug(PciDevice *pm);
/* The board makes its registers when there are slots. */
AcpiMemHotplug *piix4_pm_memory_hotplug(PciDevice *pm);

/* What the ACPI tables and fw_cfg must say. */
typedef struct Piix4PmConfig {
    bool disable_s3, disable_s4;
    uint8_t s4_val;
    bool pci_hotplug_bridges, pci_hotplug_root;
} Piix4PmConfig;
Piix4PmConfig piix4_pm_config(const PciDevice *pm);

#endif
