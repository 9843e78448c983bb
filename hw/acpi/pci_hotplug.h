/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers through which ACPI's AML plugs and ejects PCI slots. */
#ifndef HW_ACPI_PCI_HOTPLUG_H
#define HW_ACPI_PCI_HOTPLUG_H

#include "hw/acpi/acpi_regs.h"
#include "hw/pci/pci.h"

#define ACPI_PCIHP_BASE 0xae00
#define ACPI_PCIHP_PORTS 0x18
#define ACPI_PCIHP_BUSES 256

typedef struct AcpiPciSlots {
    /* a bit a slot: plugged, to be ejected; the guest has not seen it yet */
    uint32_t up, down;
} AcpiPciSlots;

typedef struct AcpiPciHotplug {
    AcpiRegs *regs;          /* where the event goes */
    PciBus *root;
    bool bridges;            /* buses behind bridges too */
    bool root_bus;           /* the root bus takes part */
    uint32_t select;         /* bus number (BSEL) of the slot registers */
    uint32_t acpi_index;     /* answer of the index register */
    AcpiPciSlots slots[ACPI_PCIHP_BUSES];
    Region io;
} AcpiPciHotplug;

void acpi_pcihp_init(AcpiPciHotplug *hp, AcpiRegs *regs, PciBus *root, bool bridges, bool root_bus);
/* Gives each bus its number (PciBus.acpi_bsel) and completes ejects that the guest did not do. */
void acpi_pcihp_reset(AcpiPciHotplug *hp);
/* A device was plugged while the VM lives: the guest is told. */
void acpi_pcihp_plugged(AcpiPciHotplug *hp, PciDevice *pci);
/* Asks the guest to eject a device. False with *err when it cannot. */
bool acpi_pcihp_request_unplug(AcpiPciHotplug *hp, PciDevice *pci, GError **err);

extern const StateDesc acpi_pci_slots_state;

#endif
