/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The standard hot-plug controller of a conventional bridge. Spec: PCI Standard Hot-Plug Controller
 * and Subsystem 1.0. VM lock.
 *
 * Slot n (1 to 31) is device n of the secondary bus. Slots are powered at reset when a device is in
 * them; the guest can give a device up by powering its slot off with the power indicator off.
 * Plugging devices in is ACPI's business on this machine, as in QEMU 7.2.
 */
#ifndef HW_PCI_SHPC_H
#define HW_PCI_SHPC_H

#include "hw/pci/pci.h"

#define SHPC_SLOTS 31
#define SHPC_REGISTERS (0x24 + 4 * SHPC_SLOTS) /* bytes of the register set, and of its state */
#define SHPC_BAR_SIZE 256

typedef struct Shpc {
    PciDevice *bridge;
    PciBus *bus;                      /* behind it */
    Region bar;                       /* for the bridge to register */
    Region region;                    /* the registers at its start */
    uint8_t cap;                      /* offset of the capability */
    uint8_t registers[SHPC_REGISTERS]; /* as the guest reads them */
    bool interrupting;                /* pin or message was given */
} Shpc;

/* Adds the capability, needs the interrupt pin. The caller registers the BAR. */
bool shpc_init(Shpc *shpc, PciDevice *bridge, PciBus *bus, GError **err);
void shpc_cleanup(Shpc *shpc);
void shpc_reset(Shpc *shpc);
/* Of PciInfo.config_written: the registers are also reached through configuration space. */
void shpc_config_written(Shpc *shpc, uint32_t addr, unsigned size);
/* After a load: the pin, which PCI's own state brings, is not changed. */
void shpc_loaded(Shpc *shpc);
/* For a state field with .offset of registers. */
extern const StateKind shpc_state_kind;

#endif
