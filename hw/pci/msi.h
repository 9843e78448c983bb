/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Message signalled interrupts in configuration space (PCI Local Bus 3.0, 6.8.1). Everything is in
 * config space: there is no state besides PCIDevice's. VM lock.
 */
#ifndef HW_PCI_MSI_H
#define HW_PCI_MSI_H

#include "hw/pci/pci.h"

/* Adds the capability at offset (0: next free) with 1 to 32 vectors (a power of two). In
 * realize. */
bool msi_init(PciDevice *pci, uint8_t offset, unsigned vectors, bool wide, bool per_vector_mask,
              GError **err);
bool msi_enabled(const PciDevice *pci);
/* Vectors that the guest allowed. */
unsigned msi_vectors_enabled(const PciDevice *pci);
/* Address and data of a vector, for routes. */
MsiMessage msi_message(const PciDevice *pci, unsigned vector);
bool msi_vector_masked(const PciDevice *pci, unsigned vector);
/* Sends it, or marks it pending when it is masked. Nothing when MSI is disabled. */
void msi_notify(PciDevice *pci, unsigned vector);

/* For pci.c. */
void msi_config_written(PciDevice *pci, uint32_t addr, unsigned size);
void msi_reset(PciDevice *pci);

/* The message through the accelerator, if the device may master the bus (for msi.c and msix.c). */
void pci_send_msi(PciDevice *pci, MsiMessage msi);

#endif
