/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "i440FX-pcihost" and its function 00.0 "i440FX". Datasheet: Intel 82441FX (PMC), 290549.
 *
 * Programmable attribute map (registers 0x59 to 0x5f): 13 segments from 0xc0000 to 0xfffff, each
 * readable and writable from RAM or from PCI by two bits:
 *
 *   bits  reads  writes   here
 *   00    PCI    PCI      the alias of PCI memory
 *   01    RAM    nothing  the alias of RAM, read-only
 *   10    PCI    RAM      the alias of PCI memory: its writes are lost (as in QEMU 7.2)
 *   11    RAM    RAM      the alias of RAM
 *
 * SMRAM (register 0x72): D_OPEN shows the RAM at 0xa0000 to everyone, G_SMRAME to CPUs in SMM.
 * D_LCK and D_CLS are stored only, as in QEMU 7.2.
 *
 * Not done: DRAM timing and row registers (stored, without effect), error reporting, AGP.
 */
#include "hw/pci/i440fx.h"

#include "util/trace.h"

#define REG_DRAM 0x57      /* RAM in units of 8 MiB, at most 255: where QEMU tells it */
#define REG_PAM 0x59
#define REG_PAM_COUNT 7
#define REG_SMRAM 0x72
#define SMRAM_G_SMRAME 0x08
#define SMRAM_D_OPEN 0x40
#define SMRAM_RESET 0x02

#define PAM_SEGMENTS 13
#define PAM_READ 1
#define PAM_WRITE 2

#define SMRAM_BASE 0xa0000
#define SMRAM_SIZE 0x20000
#define PCI_HOLE_END 0xfec00000u /* the I/O APIC */

typedef struct I440fx {
    PciDevice pci;
    I440fxParams params;
    Region pam_pci[PAM_SEGMENTS];
    Region pam_ram[PAM_SEGMENTS];
    uint8_t pam_mode[PAM_SEGMENTS]; /* as mapped now */
    Region smram_pci;               /* 0xa0000 as others see it while SMRAM is closed */
    Region smram;                   /* container for SMM */
    Region smram_low;
} I440fx;

struct I440fxHost {
    PciHost host;
    I440fx *function;
    uint64_t pci_hole64_size;
    uint32_t short_root_bus;
    bool pci_hole64_fix;
    bool config_reg_migration;
    bool bypass_iommu;
};

/* ---- windows below 1 MiB --------------------------------------------------------------- */

/* Segment 0 is the BIOS's 64 KiB; the others are 16 KiB each. */
static uint64_t pam_base(unsigned n) { return n == 0 ? 0xf0000 : 0xc0000 + (n - 1) * 0x4000ull; }
static uint64_t pam_size(unsigned n) { return n == 0 ? 0x10000 : 0x4000; }

/* Segment 0 is the high half of the first register; then low and high halves in order. */
static uint8_t pam_wanted(const I440fx *d, unsigned n)
{
    uint8_t value = d->pci.config[REG_PAM + (n + 1) / 2];

    return (n % 2 ? value : value >> 4) & (PAM_READ | PAM_WRITE);
}

static void pam_apply(I440fx *d, unsigned n)
{
    uint8_t mode = pam_wanted(d, n);
    bool ram = mode != 0; /* write-only is read as RAM too, as with QEMU: reads from PCI cannot be had */

    if (mode == d->pam_mode[n]) {
        return;
    }
    trace(i440fx_pam, "0x%05x mode %u", (unsigned)pam_base(n), mode);
    d->pam_mode[n] = mode;
    region_set_readonly(&d->pam_ram[n], !(mode & PAM_WRITE));
    region_set_enabled(&d->pam_ram[n], ram);
    region_set_enabled(&d->pam_pci[n], !ram);
}

static void update_windows(I440fx *d)
{
    uint8_t smram = d->pci.config[REG_SMRAM];

    region_begin(d->pci.dev.vm);
    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        pam_apply(d, n);
    }
    if (d->smram_pci.enabled != !(smram & SMRAM_D_OPEN)) {
        region_set_enabled(&d->smram_pci, !(smram & SMRAM_D_OPEN));
    }
    if (d->smram.enabled != !!(smram & SMRAM_G_SMRAME)) {
        region_set_enabled(&d->smram, !!(smram & SMRAM_G_SMRAME));
    }
    region_commit(d->pci.dev.vm);
}

static void init_windows(I440fx *d)
{
    Region *system = &d->pci.dev.vm->system_memory;

    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        region_init_alias(&d->pam_pci[n], "pam-pci", d->params.pci_memory, pam_base(n),
                          pam_size(n));
        region_init_alias(&d->pam_ram[n], "pam-ram", d->params.ram, pam_base(n), pam_size(n));
        region_set_enabled(&d->pam_ram[n], false);
        region_add_overlap(system, pam_base(n), &d->pam_pci[n], 1);
        region_add_overlap(system, pam_base(n), &d->pam_ram[n], 1);
    }
    region_init_alias(&d->smram_pci, "smram-region", d->params.pci_memory, SMRAM_BASE, SMRAM_SIZE);
    region_add_overlap(system, SMRAM_BASE, &d->smram_pci, 1);

    region_init_container(&d->smram, "smram", 4 * GIB);
    region_init_alias(&d->smram_low, "smram-low", d->params.ram, SMRAM_BASE, SMRAM_SIZE);
    region_add(&d->smram, SMRAM_BASE, &d->smram_low);
    region_set_enabled(&d->smram, false);
}

/* ---- the function ------------------------------------------------------------------------ */

static void i440fx_config_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    if ((addr < REG_PAM + REG_PAM_COUNT && addr + size > REG_PAM) ||
        (addr <= REG_SMRAM && addr + size > REG_SMRAM)) {
        update_windows(container_of(pci, I440fx, pci));
    }
}

static bool i440fx_realize(Device *dev, GError **err)
{
    I440fx *d = container_of(dev, I440fx, pci.dev);

    d->pci.config[REG_DRAM] = MIN(d->params.ram_size / (8 * MIB), 255);
    init_windows(d);
    return true;
}

static void i440fx_unrealize(Device *dev)
{
    I440fx *d = container_of(dev, I440fx, pci.dev);

    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        region_destroy(&d->pam_pci[n]);
        region_destroy(&d->pam_ram[n]);
    }
    region_destroy(&d->smram_pci);
    region_destroy(&d->smram_low);
    region_destroy(&d->smram);
}

static void i440fx_reset(Device *dev)
{
    I440fx *d = container_of(dev, I440fx, pci.dev);

    memset(d->pci.config + REG_PAM, 0, REG_PAM_COUNT);
    d->pci.config[REG_SMRAM] = SMRAM_RESET;
    update_windows(d);
}

static bool i440fx_post_load(void *obj, unsigned version, GError **err)
{
    update_windows(obj);
    return true;
}

static const StateField i440fx_fields[] = {
    STATE_PCI_DEVICE(I440fx, pci, .name = "parent_obj"),
    STATE_UNUSED(1),
    {}
};
static const StateDesc i440fx_state = {
    .name = "I440FX", .version = 3, .min_version = 3, .fields = i440fx_fields,
    .post_load = i440fx_post_load};

static const PciInfo i440fx_info = {
    .vendor_id = 0x8086,
    .device_id = 0x1237,
    .revision = 2,
    .class_id = PCI_CLASS_BRIDGE_HOST,
    .not_hotpluggable = true,
    .config_written = i440fx_config_written,
};

DEVICE_TYPE(i440fx) = {
    .name = "i440FX",
    .parent = "pci-device",
    .desc = "Host bridge",
    .size = sizeof(I440fx),
    .not_user = "it is part of the machine; leave it out",
    .category = "bridge",
    .state = &i440fx_state,
    .ops = &i440fx_info,
    .realize = i440fx_realize,
    .unrealize = i440fx_unrealize,
    .reset = i440fx_reset,
};

/* ---- the host ------------------------------------------------------------------------------ */

PciBus *i440fx_bus(I440fxHost *host) { return host->host.bus; }

Region *i440fx_smram(I440fxHost *host) { return &host->function->smram; }

I440fxHoles i440fx_holes(const I440fxHost *host)
{
    const I440fxParams *params = &host->function->params;
    uint64_t high = params->hole64_start;

    return (I440fxHoles){
        .low_start = MIN(params->below_4g, PCI_HOLE_END),
        .low_end = PCI_HOLE_END,
        .high_start = high,
        .high_end = high + align_up(host->pci_hole64_size, GIB),
    };
}

static bool create_function(I440fxHost *host, const I440fxParams *params, GError **err)
{
    PciBus *bus = host->host.bus;
    Device *dev = device_new(bus->bus.obj.vm, "i440FX");
    I440fx *d = container_of(dev, I440fx, pci.dev);

    d->params = *params;
    d->pci.devfn = 0;
    host->function = d;
    if (!device_realize(dev, &bus->bus, err)) {
        object_unref(dev);
        return false;
    }
    return true;
}

I440fxHost *i440fx_create(Vm *vm, const I440fxParams *params, GError **err)
{
    Device *dev = device_new(vm, "i440FX-pcihost");
    I440fxHost *host = container_of(dev, I440fxHost, host.dev);

    if (!device_realize_board(dev, "i440fx", NULL, err)) {
        return NULL;
    }
    region_add_overlap(&vm->system_memory, 0, params->pci_memory, -1);
    region_add(&vm->system_io, 0xcf8, &host->host.conf);
    region_add(&vm->system_io, 0xcfc, &host->host.data);
    host->host.bus = pci_root_bus_new(vm, dev, "pci.0", params->pci_memory, &vm->system_io, 0);
    return create_function(host, params, err) ? host : NULL;
}

static bool host_realize(Device *dev, GError **err)
{
    I440fxHost *host = container_of(dev, I440fxHost, host.dev);

    if (host->bypass_iommu) {
        return error_set(err,
                         "bypass-iommu=on: there is no IOMMU to bypass; leave the property out");
    }
    pci_host_init_regions(&host->host);
    return true;
}

static void host_unrealize(Device *dev)
{
    I440fxHost *host = container_of(dev, I440fxHost, host.dev);

    if (host->host.bus) {
        pci_bus_cleanup(host->host.bus);
    }
    region_destroy(&host->host.conf);
    region_destroy(&host->host.data);
}

static const Property host_props[] = {
    PROP_SIZE("pci-hole64-size", I440fxHost, pci_hole64_size, .def = 2 * GIB,
              .help = "bytes above RAM that 64-bit BARs may use"),
    PROP_U32("short_root_bus", I440fxHost, short_root_bus,
             .help = "not 0: the root bus is '0000:00' in device paths (always so here)"),
    PROP_BOOL("x-pci-hole64-fix", I440fxHost, pci_hole64_fix, .def = true,
              .help = "the 64-bit hole is rounded to GiB"),
    PROP_BOOL("x-config-reg-migration-enabled", I440fxHost, config_reg_migration, .def = true,
              .help = "CONFIG_ADDRESS is part of the state"),
    PROP_BOOL("bypass-iommu", I440fxHost, bypass_iommu, .help = "not supported"),
    {}
};

DEVICE_TYPE(i440fx_host) = {
    .name = "i440FX-pcihost",
    .parent = "pci-host-bridge",
    .desc = "Host bridge of the pc machine",
    .size = sizeof(I440fxHost),
    .props = host_props,
    .realize = host_realize,
    .unrealize = host_unrealize,
};
