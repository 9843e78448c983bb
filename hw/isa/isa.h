/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA bus: ports and IRQ lines 0 to 15 by number. A board makes one with isa_bus_new and fills
 * its IRQ lines; a device's realize claims ports and takes a line.
 */
#ifndef HW_ISA_ISA_H
#define HW_ISA_ISA_H

#include "core/vm.h"

#define ISA_NUM_IRQS 16

typedef struct IsaDma IsaDma; /* hw/dma/i8257.h */

typedef struct IsaBus {
    Bus bus;
    Region *io;                  /* where ports are mapped */
    Region *memory;
    Irq *irqs[ISA_NUM_IRQS];     /* inputs of the interrupt controllers; set by the board */
    IsaDma *dma[2];              /* 8-bit and 16-bit controllers; NULL until the board made them */
} IsaBus;

/* Type "isa-device": first member of each ISA device's struct. Bus type "ISA". */
typedef struct IsaDevice {
    Device dev;
    bool has_ports;      /* isa_map_ports was called */
    uint16_t first_port; /* base of the first call: the device's address in OpenFirmware paths */
} IsaDevice;

IsaBus *isa_bus_new(Vm *vm, Device *owner, Region *memory, Region *io);
/* The VM's ISA bus; NULL when the board has none. */
IsaBus *isa_bus_find(Vm *vm);
static inline IsaBus *isa_bus(const IsaDevice *isa) { return container_of(isa->dev.bus, IsaBus, bus); }
/* Line 0 to 15 of the device's bus. */
Irq *isa_irq(IsaDevice *isa, unsigned irq);
/* Maps ports at base (owner: the device). False when they pass 64 KiB. */
bool isa_map_ports(IsaDevice *isa, Region *region, uint32_t base, GError **err);
/* Maps a region at an address of the bus's memory. */
void isa_map_memory(IsaDevice *isa, Region *region, uint32_t base);

#endif
