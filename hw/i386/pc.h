/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pc machine's own state and what its files share. */
#ifndef HW_I386_PC_H
#define HW_I386_PC_H

#include "hw/i386/firmware.h"
#include "hw/i386/machine.h"
#include "hw/i386/pc_info.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/isa.h"
#include "hw/mem/pc_dimm.h"
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
    DeviceMemory device_memory;      /* modules of memory; not there without -m maxmem= */
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
    uint64_t gsi_count[PC_NUM_GSIS]; /* how often each has risen */
    uint32_t gsi_level;              /* bit n: line n is high */
    Irq *pic_in[ISA_NUM_IRQS];       /* 8259 inputs; number 2 is the cascade */
    Device *ioapic, *rtc, *hpet_dev, *pit_dev, *ide;
    Device *fdc;
    Device *vmmouse;                 /* NULL with vmport=off */
    PciDevice *pm;                   /* NULL without ACPI */
} PcMachine;

static inline PcMachine *pc_of(Machine *machine) { return container_of(machine, PcMachine, machine); }

/* hw/i386/pc_irq.c: 8259 pair, IOAPIC and the GSI lines, in the kernel or here. */
bool pc_create_irqchips(PcMachine *pc, GError **err);
/* For MachineOps.irq_counts. */
const uint64_t *pc_irq_counts(Machine *machine, unsigned *n);
/* hw/i386/pc_memory.c, in this order: decides where memory lies (making the CPUs first when that depends on them), makes
 * RAM and the window for modules; then, with CPUs, checks that they can address all of it, and fills e820. */
bool pc_place_memory(PcMachine *pc, GError **err);
bool pc_create_memory(PcMachine *pc, GError **err);
bool pc_check_memory(const PcMachine *pc, GError **err);
void pc_make_e820(PcMachine *pc);
/* The registers from which AML learns what modules there are; pc->pm is there. */
void pc_make_memory_slots(PcMachine *pc);
bool pc_dimm_pre_plug(PcMachine *pc, PcDimm *dimm, GError **err);
void pc_dimm_plugged(PcMachine *pc, PcDimm *dimm);
void pc_dimm_request_unplug(PcMachine *pc, PcDimm *dimm);
/* hw/i386/pc_hotplug.c: CPUs and modules may come and go (Vm.board_hotplug). */
void pc_enable_hotplug(PcMachine *pc);
/* hw/i386/pc_cpus.c: the CPUs of -smp; later ones are the board's hot-plug. */
bool pc_create_cpus(PcMachine *pc, GError **err);
bool pc_cpu_pre_plug(PcMachine *pc, Cpu *cpu, GError **err);
void pc_cpu_plugged(PcMachine *pc, Cpu *cpu);
bool pc_cpu_request_unplug(PcMachine *pc, Cpu *cpu, GError **err);
/* The registers from which AML learns what CPUs there are; pc->pm is there. */
void pc_tell_cpus(PcMachine *pc);
/* hw/i386/pc_isa.c: what hangs on the ISA bus. */
bool pc_create_isa_devices(PcMachine *pc, GError **err);
/* hw/i386/pc_cmos.c: the bytes that firmware reads; after all drives are connected. */
void pc_fill_cmos(PcMachine *pc);
/* The number of CPUs only. */
void pc_fill_cmos_cpus(PcMachine *pc);
/* hw/i386/pc_drives.c: IDE and floppy drives of -drive, -hda, -cdrom and the defaults. */
bool pc_connect_drives(PcMachine *pc, GError **err);

#endif
