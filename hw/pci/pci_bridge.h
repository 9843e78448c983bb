/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI-to-PCI bridges: what all of them share. Spec: PCI-to-PCI Bridge Architecture 1.2.
 */
#ifndef HW_PCI_PCI_BRIDGE_H
#define HW_PCI_PCI_BRIDGE_H

#include "hw/pci/pci.h"

typedef enum PciWindow { PCI_WINDOW_IO, PCI_WINDOW_MEM, PCI_WINDOW_PREF, PCI_WINDOWS } PciWindow;

/* Type "base-pci-bridge": first member of a bridge's struct. */
typedef struct PciBridge {
    PciDevice pci;
    PciBus secondary;
    Region memory, io;              /* address space of the secondary bus */
    Region windows[PCI_WINDOWS];    /* aliases of them on the primary bus */
    bool is_open[PCI_WINDOWS];
} PciBridge;

#endif
