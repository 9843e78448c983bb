/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 82371SB (PIIX3): bridge to the ISA bus and router of the PCI interrupt lines. */
#ifndef HW_ISA_PIIX3_H
#define HW_ISA_PIIX3_H

#include "hw/isa/isa.h"
#include "hw/pci/pci.h"

/*
 * Makes "PIIX3" at devfn (its slot has more functions) with its ISA bus "isa.0" and the reset port
 * 0xcf9, and lets it route the root bus's four lines. The board then fills the ISA bus's IRQ
 * lines: the router drives those. NULL with *err.
 */
PciDevice *piix3_create(PciBus *bus, int devfn, GError **err);
IsaBus *piix3_isa_bus(PciDevice *piix3);

#endif
