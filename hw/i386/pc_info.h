/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the board tells those who describe it to firmware and guest: ACPI, SMBIOS, E820, fw_cfg keys
 * and the kernel loader. The board fills one and keeps it for the life of the VM; fields that change
 * while the VM lives (cpus[].present) are looked at again when tables are built after a reset.
 */
#ifndef HW_I386_PC_INFO_H
#define HW_I386_PC_INFO_H

#include "core/vm.h"
#include "hw/i386/e820.h"
#include "hw/nvram/fw_cfg.h"

#define PC_MAX_NUMA_NODES 128

/* One possible CPU, in order of its index. */
typedef struct PcCpuSlot {
    uint32_t apic_id;
    int node;                    /* NUMA node, -1: none */
    bool present;
} PcCpuSlot;

typedef struct PcNumaNode {
    uint64_t mem;                /* bytes */
    uint8_t distance[PC_MAX_NUMA_NODES]; /* 10 for itself; 0: no -numa dist given */
} PcNumaNode;

typedef struct PcInfo {
    Vm *vm;
    FwCfg *fw_cfg;
    const char *machine_name;    /* "pc-i440fx-7.2" */
    const char *machine_desc;    /* "Standard PC (i440FX + PIIX, 1996)" */
    char oem_id[7], oem_table_id[9]; /* -machine x-oem-id=, x-oem-table-id=; empty: "BOCHS ", "BXPC    " */

    /* Memory. */
    uint64_t below_4g, above_4g; /* bytes of RAM */
    uint64_t above_4g_base;      /* where above_4g starts: 4 GiB, or 1 TiB */
    uint64_t hole64_start;       /* PCI memory above all RAM; whole GiB */
    uint64_t pci_hole64_size;    /* 2 GiB for pc */
    uint64_t device_memory_base, device_memory_size; /* hotplug area; size 0: none */
    unsigned ram_slots;          /* -m slots= */
    E820 e820;

    /* Processors. */
    unsigned n_cpus, max_cpus;   /* present at boot; possible */
    unsigned sockets, dies, cores, threads;
    PcCpuSlot *cpus;             /* max_cpus of them */
    uint32_t apic_id_limit;      /* highest APIC id + 1 */
    uint32_t cpuid_1_eax, cpuid_1_edx; /* SMBIOS type 4 processor id */
    uint64_t feature_control;    /* IA32_FEATURE_CONTROL that firmware sets (VMX: 5); 0: none */
    bool smm;                    /* SMM available: FADT names the SMI port */

    /* NUMA. */
    unsigned n_nodes;
    PcNumaNode *nodes;
    bool has_distances;
    struct NumaConfig *numa;     /* hw/i386/numa.h; for the HMAT */
    bool hmat;                   /* -machine hmat=on */

    bool acpi;                   /* not -no-acpi */
    bool graphics;               /* not -nographic */

    /* Found out by pc_fw_cfg_populate from the devices that are there. */
    bool hpet;
    bool acpi_pci_hotplug, disable_s3, disable_s4;
    uint8_t s4_val;

    /* -boot. */
    char boot_order[8];          /* "cad" */
    bool boot_menu, boot_strict;
    int32_t boot_splash_time;    /* ms, -1: not given */
    const char *boot_splash;     /* picture file; NULL: none */
    int32_t reboot_timeout;      /* ms, -1: not given */

    /* -kernel and friends; NULL: not given. */
    const char *kernel, *initrd, *append, *dtb;
    GPtrArray *option_roms;      /* names of genroms in order of adding; the kernel loader's is first */

    struct SmbiosOptions *smbios; /* hw/i386/smbios.h; NULL: no -smbios */
    bool smbios_ep64;            /* 3.0 entry point (-machine smbios-entry-point-type=64) */
} PcInfo;

/*
 * Adds everything to fw_cfg that QEMU 7.2's pc has there: keys, e820, ACPI and SMBIOS files (made
 * on demand), boot order. After all devices of the command line exist. Loads -kernel too.
 */
bool pc_fw_cfg_populate(PcInfo *info, GError **err);

#endif
