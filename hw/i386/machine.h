/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Machines: the board types that -machine names, and what the command line tells a board before it is
 * built. Types are "NAME-machine" with parent "machine" and ops = MachineOps.
 */
#ifndef HW_I386_MACHINE_H
#define HW_I386_MACHINE_H

#include "accel/accel.h"
#include "core/vm.h"

struct SmbiosOptions;
struct MemoryBackend;
struct NumaConfig;

typedef struct MachineOps {
    const char *name;            /* "pc-i440fx-7.2" */
    const char *alias;           /* "pc"; NULL: none */
    bool is_default;
    bool has_ram;                /* false: -m and CPUs mean nothing (none) */
    unsigned max_cpus;
    const char *default_cpu;     /* -cpu's default */
    const char *default_ram_id;  /* what its RAM is called; NULL: it has none */
    /* Builds everything; the accelerator is open, no CPU runs. */
    bool (*init)(Machine *machine, GError **err);
    /* All devices of the command line exist: firmware tables, boot order, kernel. */
    bool (*done)(Machine *machine, GError **err);
    /* How often each line of the interrupt controllers has risen: *n numbers. Lines that the kernel raises by
     * itself (irqfd, its timer) are not counted. NULL: it has none. VM lock. */
    const uint64_t *(*irq_counts)(Machine *machine, unsigned *n);
    /* What the next boot tries, as -boot order=; NULL: there is no such list. False with *err. */
    bool (*set_boot_order)(Machine *machine, const char *order, GError **err);
} MachineOps;

/* -smp, complete and consistent: sockets * dies * cores * threads == max_cpus >= cpus >= 1. */
typedef struct SmpConfig {
    unsigned cpus, max_cpus, sockets, dies, cores, threads;
} SmpConfig;

/* -boot */
typedef struct BootConfig {
    char order[8];               /* "cad"; empty: the machine's */
    char once[8];                /* empty: none */
    bool menu, has_menu, strict;
    int32_t splash_time, reboot_timeout; /* ms; -1: not given */
    const char *splash;          /* NULL: none */
} BootConfig;

/* -rtc */
typedef struct RtcConfig {
    bool localtime;
    int64_t base;                /* seconds since 1970 for base=DATE; 0: now */
    ClockKind clock;
    bool slew;                   /* driftfix=slew */
} RtcConfig;

/* What the command line says of the board. Strings live as long as the command line. */
typedef struct MachineConfig {
    uint64_t ram_size;           /* bytes */
    bool has_ram_size;           /* -m size= was given */
    uint64_t max_ram_size;       /* bytes with all modules; machine_find_ram makes 0 (not given) ram_size */
    unsigned ram_slots;          /* for modules */
    bool has_max_ram, has_slots; /* -m maxmem=, slots= */
    const char *mem_path;        /* NULL: RAM is memory of the process */
    bool mem_prealloc;
    SmpConfig smp;
    BootConfig boot;
    RtcConfig rtc;
    const char *cpu_model;       /* NULL: the machine's default */
    const char *bios;            /* NULL: default */
    const char *kernel, *initrd, *append, *dtb;
    struct NumaConfig *numa;     /* hw/i386/numa.h; NULL: no -numa */
    struct SmbiosOptions *smbios;
    GPtrArray *fw_cfg_items;     /* const char *: the texts of -fw_cfg */
    char **serial_ids;           /* chardev ids of COM1..4, NULL entries: no port */
    char **parallel_ids;         /* of LPT1..3 */
    unsigned n_serials, n_parallels;
    bool default_cdrom, default_floppy; /* empty drives when none were given */
    bool graphics;               /* not -nographic */
    bool vga_none;
} MachineConfig;

struct Machine {
    Object obj;
    Vm *vm;
    const MachineOps *ops;
    MachineConfig config;
    char *memory_backend;        /* property: id of the back end of its RAM; NULL: the machine makes one */
    bool hmat;                   /* property: tell the guest how fast its nodes' memory is */
    bool mem_merge, dump_guest_core; /* properties: defaults of all memory back ends */
    struct MemoryBackend *ram_backend; /* claimed; NULL before machine_init_ram, and for machines without RAM */
};

/* The machine type with this name or alias, the default for NULL. NULL with *err: none; older versions
 * of a machine that we have are refused with that reason. */
const Type *machine_type_find(const char *name, GError **err);
/* An instance at /machine, not built: its properties can be set. */
Machine *machine_new(Vm *vm, const Type *type, GError **err);
/* hw/i386/machine_memory.c. After config was set and the objects were made: looks at memory-backend=, and takes its size
 * when -m gave none; checks -m maxmem= and slots=. */
bool machine_find_ram(Machine *machine, GError **err);
/* All RAM as one region. */
bool machine_init_ram(Machine *machine, Region *ram, GError **err);
/* Prints what -machine help prints. */
void machine_help(void);

#endif
