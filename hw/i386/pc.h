/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pc machine's own state and what its files share. */
#ifndef HW_I386_PC_H
#define HW_I386_PC_H

#include "hw/i386/firmware.h"
#include "hw/i386/machine.h"
#include "hw/i386/pc_info.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/isa.h"
#include "hw/pci/i440fx.h"

#define PC_NUM_GSIS IOAPIC_PINS

typedef struct PcMachine {
    Machine machine;
    /* Properties. */
    bool hpet, acpi, pit, smbus, graphics;
    int smm, vmport;                 /* OnOffAuto */
    int smbios_entry_point;          /* 0: 32, 1: 64 bits */
    uint64_t max_ram_below_4g;       /* bytes; 0: the default */
    char *oem_id, *oem_table_id;

    Region ram, ram_below_4g, ram_above_4g; /* "pc.ram" and its two windows */
    Region pci_memory;
    Region option_roms;              /* "pc.rom": RAM at c0000h to dffffh, where ROMs are copied */
    Region smm_root, smm_memory;     /* what a CPU in SMM sees */
    AddressSpace smm_space;
    PcFirmware firmware;
    PcInfo info;
    I440fxHost *host;
    PciDevice *piix3;
    IsaBus *isa;
    Irq gsi[PC_NUM_GSIS];            /* inputs: one for each line of the interrupt controllers */
    Irq *pic_in[ISA_NUM_IRQS];       /* 8259 inputs; number 2 is the cascade */
    Device *ioapic, *rtc, *hpet_dev, *pit_dev, *ide;
    Device *fdc;
    PciDevice *pm;                   /* NULL without ACPI */
} PcMachine;

static inline PcMachine *pc_of(Machine *machine) { return container_of(machine, PcMachine, machine); }

/* hw/i386/pc_irq.c: 8259 pair, IOAPIC and the GSI lines, in the kernel or here. */
bool pc_create_irqchips(PcMachine *pc, GError **err);
/* hw/i386/pc_isa.c: what hangs on the ISA bus. */
bool pc_create_isa_devices(PcMachine *pc, GError **err);
/* hw/i386/pc_cmos.c: the bytes that firmware reads; after all drives are connected. */
void pc_fill_cmos(PcMachine *pc);
/* hw/i386/pc_drives.c: IDE and floppy drives of -drive, -hda, -cdrom and the defaults. */
bool pc_connect_drives(PcMachine *pc, GError **err);

#endif
