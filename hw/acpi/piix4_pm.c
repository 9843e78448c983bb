/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "PIIX4_PM": function 3 of the 82371AB. Datasheet: Intel 290562, chapter 7.
 *
 *   PMBASE (config 0x40), enabled by PMREGMISC (0x80) bit 0: PM1 events +0, control +4, timer +8
 *   SMBBA (config 0x90), enabled by SMBHSTCFG (0xd2) bit 0: SMBus host
 *   fixed: APM control and status at 0xb2 and 0xb3, GPE0 at 0xafe0, hot-plug at 0xa00, 0xae00 and 0xaf00
 *
 * GPE0 and hot-plug stand where QEMU 7.2's machine and its AML have them, not where the chip has
 * them.
 *
 * APM control: a write of 0xf1 or 0xf0 turns SCI_EN on or off, and any write is an SMI while
 * DEVACTB (config 0x58) bit 25 lets it. Without SMM the bit reads set, which tells firmware that
 * somebody already did what it would do in SMM.
 *
 * Not done: general purpose I/O, device monitors, clock control.
 */
#include "hw/acpi/piix4_pm.h"

#include "accel/accel.h"
#include "hw/i2c/pm_smbus.h"
#include "util/trace.h"

#define REG_PMBASE 0x40
#define REG_DEVACTB 0x58
#define DEVACTB_APMC_EN 0x02     /* in byte 3 */
/* Bits for the legacy ports that are there: AML and firmware read them. */
#define REG_PORT_5F 0x5f
#define REG_PORT_63 0x63
#define REG_PORT_67 0x67
#define REG_PMREGMISC 0x80
#define REG_SMBBA 0x90
#define REG_SMBHSTCFG 0xd2

#define PM_PORTS 64
#define PM_BASE_MASK 0xffc0
#define GPE_BASE 0xafe0
#define APM_PORT 0xb2
#define APM_ACPI_ENABLE 0xf1
#define APM_ACPI_DISABLE 0xf0

typedef struct Piix4Pm {
    PciDevice pci;
    AcpiRegs regs;
    PmSmbus smb;
    AcpiPciHotplug pcihp;
    AcpiCpuHotplug cpuhp;
    AcpiMemHotplug memhp;        /* without slots only its selector, on the wire */
    Region io;                   /* container of the PM1 block */
    Region apm;
    uint8_t apmc, apms;
    bool ports_seen;             /* the presence bits were set, once all devices were there */
    Irq *sci;
    uint32_t smb_io_base;
    uint8_t disable_s3, disable_s4, s4_val;
    bool pcihp_bridges, pcihp_root, memory_hotplug;
    bool smm_compat, smm_enabled, not_migrate_acpi_index;
} Piix4Pm;

static Piix4Pm *to_pm(PciDevice *pci) { return container_of(pci, Piix4Pm, pci); }

/* ---- configuration ------------------------------------------------------------------------- */

static void move_ports(Region *region, uint16_t base, bool enabled)
{
    if (region->enabled == enabled && region->addr == base) {
        return;
    }
    trace(piix4_pm_map, "%s at 0x%04x enabled %d", region->name, base, enabled);
    region_set_enabled(region, enabled);
    region_set_address(region, base);
}

static void update_ports(Piix4Pm *pm)
{
    const uint8_t *config = pm->pci.config;

    region_begin(pm->pci.dev.vm);
    move_ports(&pm->io, load16_le(config + REG_PMBASE) & PM_BASE_MASK, config[REG_PMREGMISC] & 1);
    move_ports(&pm->smb.io, load16_le(config + REG_SMBBA) & PM_BASE_MASK,
               config[REG_SMBHSTCFG] & 1);
    region_commit(pm->pci.dev.vm);
}

static void pm_config_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    static const uint8_t regs[] = {REG_PMBASE, REG_PMBASE + 1, REG_PMREGMISC,
                                   REG_SMBBA, REG_SMBBA + 1, REG_SMBHSTCFG};

    for (unsigned i = 0; i < G_N_ELEMENTS(regs); i++) {
        if (regs[i] >= addr && regs[i] < addr + size) {
            update_ports(to_pm(pci));
            return;
        }
    }
}

static bool is_decoded(const Piix4Pm *pm, uint16_t port)
{
    return flat_view_find(address_space_view(&pm->pci.dev.vm->io), port) != NULL;
}

/* Serial and parallel ports are told apart by what answers at their addresses. */
static void note_ports(Piix4Pm *pm)
{
    uint8_t *config = pm->pci.config;

    config[REG_PORT_5F] = 0x10 | (is_decoded(pm, 0x378) ? 0x80 : 0);
    config[REG_PORT_63] = 0x60;
    config[REG_PORT_67] = (is_decoded(pm, 0x3f8) ? 0x08 : 0) | (is_decoded(pm, 0x2f8) ? 0x90 : 0);
}

/* ---- advanced power management ports --------------------------------------------------------- */

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned size)
{
    const Piix4Pm *pm = opaque;
    uint8_t value = offset ? pm->apms : pm->apmc;

    trace(apm_read, "@0x%02x -> 0x%02x", (unsigned)(APM_PORT + offset), value);
    return value;
}

static void apm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Piix4Pm *pm = opaque;
    Accel *accel = pm->pci.dev.vm->accel;

    trace(apm_write, "@0x%02x <- 0x%02x", (unsigned)(APM_PORT + offset), (unsigned)value);
    if (offset) {
        pm->apms = value;
        return;
    }
    pm->apmc = value;
    if (value == APM_ACPI_ENABLE || value == APM_ACPI_DISABLE) {
        acpi_set_sci_enabled(&pm->regs, value == APM_ACPI_ENABLE);
    }
    if ((pm->pci.config[REG_DEVACTB + 3] & DEVACTB_APMC_EN) && pm->smm_enabled && accel &&
        accel->ops->inject_smi) {
        accel->ops->inject_smi(accel, NULL);
    }
}

static const RegionOps apm_ops = {
    .read = apm_read,
    .write = apm_write,
    .valid = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle ------------------------------------------------------------------------------- */

static void on_powerdown(void *opaque)
{
    acpi_power_button(&((Piix4Pm *)opaque)->regs);
}

static void on_wakeup(void *opaque)
{
    acpi_wake(&((Piix4Pm *)opaque)->regs);
}

static void init_ports(Piix4Pm *pm)
{
    Vm *vm = pm->pci.dev.vm;
    Region *io = &vm->system_io;

    region_init_container(&pm->io, "piix4-pm", PM_PORTS);
    region_add(&pm->io, 0, &pm->regs.evt);
    region_add(&pm->io, 4, &pm->regs.cnt);
    region_add(&pm->io, 8, &pm->regs.tmr);
    region_set_enabled(&pm->io, false);
    region_add(io, 0, &pm->io);
    region_add(io, pm->smb_io_base, &pm->smb.io);
    region_init_io(&pm->apm, &apm_ops, pm, "apm-io", 2);
    region_set_owner(&pm->apm, &pm->pci.dev);
    region_add(io, APM_PORT, &pm->apm);
    region_add(io, GPE_BASE, &pm->regs.gpe);
    region_add(io, ACPI_PCIHP_BASE, &pm->pcihp.io);
}

static bool pm_realize(Device *dev, GError **err)
{
    Piix4Pm *pm = container_of(dev, Piix4Pm, pci.dev);
    uint8_t *config = pm->pci.config;

    if (pm->smm_compat) {
        return error_set(err, "smm-compat=on belongs to machine types older than 7.2; leave it out");
    }
    if (pm->smb_io_base & ~PM_BASE_MASK) {
        return error_set(err, "smb_io_base=0x%x: it must be a multiple of 64 below 0x10000",
                         pm->smb_io_base);
    }
    config[PCI_STATUS] |= PCI_STATUS_FAST_BACK;
    config[PCI_STATUS + 1] |= PCI_STATUS_DEVSEL_MEDIUM >> 8;
    config[PCI_INTERRUPT_PIN] = 1;
    config[REG_PMBASE] = 1; /* an I/O address */
    store32_le(config + REG_SMBBA, pm->smb_io_base | 1);
    config[REG_SMBHSTCFG] = 0x09; /* enabled, interrupt 9 */

    device_init_irq_out(dev, &pm->sci, 1);
    acpi_regs_init(&pm->regs, dev, &pm->sci, pm->s4_val);
    pm_smbus_init(&pm->smb, dev->vm, dev);
    acpi_pcihp_init(&pm->pcihp, &pm->regs, pci_bus_of(&pm->pci), pm->pcihp_bridges, pm->pcihp_root);
    init_ports(pm);
    acpi_cpuhp_init(&pm->cpuhp, &pm->regs, &dev->vm->system_io);
    vm_on_powerdown(dev->vm, on_powerdown, pm);
    vm_on_wakeup(dev->vm, on_wakeup, pm);
    return true;
}

static void pm_unrealize(Device *dev)
{
    Piix4Pm *pm = container_of(dev, Piix4Pm, pci.dev);

    acpi_cpuhp_cleanup(&pm->cpuhp);
    acpi_memhp_cleanup(&pm->memhp);
    region_destroy(&pm->pcihp.io);
    pm_smbus_cleanup(&pm->smb);
    acpi_regs_cleanup(&pm->regs);
    region_destroy(&pm->apm);
    region_destroy(&pm->io);
}

static void pm_reset(Device *dev)
{
    Piix4Pm *pm = container_of(dev, Piix4Pm, pci.dev);
    uint8_t *config = pm->pci.config;

    store32_le(config + REG_DEVACTB, 0);
    store32_le(config + REG_PMBASE, 1);
    config[REG_PMREGMISC] = 0;
    if (!pm->smm_enabled) {
        config[REG_DEVACTB + 3] = DEVACTB_APMC_EN;
    }
    acpi_regs_reset(&pm->regs);
    pm_smbus_reset(&pm->smb);
    update_ports(pm);
    acpi_pcihp_reset(&pm->pcihp);
    if (!pm->ports_seen) {
        note_ports(pm);
        pm->ports_seen = true;
    }
}

/* ---- state ----------------------------------------------------------------------------------- */

static bool pm_post_load(void *obj, unsigned version, GError **err)
{
    Piix4Pm *pm = obj;

    if (pm->pcihp.select >= ACPI_PCIHP_BUSES && pm->pcihp.select != UINT32_MAX) {
        return error_set(err, "acpi_pci_hotplug.hotplug_select is %u", pm->pcihp.select);
    }
    pm->ports_seen = true;
    update_ports(pm);
    acpi_cpuhp_map(&pm->cpuhp);
    acpi_regs_loaded(&pm->regs);
    return true;
}

/* Without the subsection the guest has not changed over to the modern interface. */
static bool pm_pre_load(void *obj, GError **err)
{
    STATE_KEEP(((Piix4Pm *)obj)->cpuhp.modern);
    ((Piix4Pm *)obj)->cpuhp.modern = false;
    return true;
}

static bool has_bridges(const void *obj, unsigned version)
{
    return ((const Piix4Pm *)obj)->pcihp_bridges;
}

static bool has_no_bridges(const void *obj, unsigned version)
{
    return !((const Piix4Pm *)obj)->pcihp_bridges;
}

static bool has_acpi_index(const void *obj, unsigned version)
{
    const Piix4Pm *pm = obj;

    return pm->pcihp_bridges && !pm->not_migrate_acpi_index;
}

static bool memhp_needed(void *obj) { return ((const Piix4Pm *)obj)->memory_hotplug; }
static bool cpuhp_needed(void *obj) { return ((const Piix4Pm *)obj)->cpuhp.modern; }

static bool cpuhp_pre_load(void *obj, GError **err)
{
    STATE_KEEP(((Piix4Pm *)obj)->cpuhp.modern);
    ((Piix4Pm *)obj)->cpuhp.modern = true;
    return true;
}

static const StateField memhp_fields[] = {
    STATE_STRUCT(Piix4Pm, memhp, &acpi_memhp_state, .name = "acpi_memory_hotplug"),
    {}
};
static const StateDesc memhp_state = {
    .name = "piix4_pm/memhp", .version = 1, .min_version = 1, .fields = memhp_fields,
    .needed = memhp_needed};

static const StateField cpuhp_fields[] = {
    STATE_STRUCT(Piix4Pm, cpuhp, &acpi_cpuhp_state, .name = "cpuhp_state"),
    {}
};
static const StateDesc cpuhp_state = {.name = "piix4_pm/cpuhp", .version = 1, .min_version = 1,
                                      .fields = cpuhp_fields, .needed = cpuhp_needed,
                                      .pre_load = cpuhp_pre_load};

static const StateField apm_fields[] = {
    STATE_U8(Piix4Pm, apmc),
    STATE_U8(Piix4Pm, apms),
    {}
};
static const StateDesc apm_state = {.name = "APM State", .version = 1, .min_version = 1,
                                    .fields = apm_fields};

static const StateField pm_fields[] = {
    STATE_PCI_DEVICE(Piix4Pm, pci, .name = "parent_obj"),
    STATE_U16(Piix4Pm, regs.pm1_sts, .name = "ar.pm1.evt.sts"),
    STATE_U16(Piix4Pm, regs.pm1_en, .name = "ar.pm1.evt.en"),
    STATE_U16(Piix4Pm, regs.pm1_cnt, .name = "ar.pm1.cnt.cnt"),
    {.name = "apm", .kind = &state_kind_struct, .count = 1, .desc = &apm_state},
    STATE_STRUCT(Piix4Pm, smb, &pm_smbus_state, .since = 3),
    STATE_TIMER(Piix4Pm, regs.timer, .name = "ar.tmr.timer"),
    STATE_I64(Piix4Pm, regs.overflow_time, .name = "ar.tmr.overflow_time", .max = INT64_MAX / 300),
    STATE_STRUCT(Piix4Pm, regs, &acpi_gpe_state, .name = "ar.gpe"),
    STATE_STRUCT(Piix4Pm, pcihp.slots[0], &acpi_pci_slots_state,
                 .name = "acpi_pci_hotplug.acpi_pcihp_pci_status[0x0]", .exists = has_no_bridges),
    STATE_U32(Piix4Pm, pcihp.select, .name = "acpi_pci_hotplug.hotplug_select",
              .exists = has_bridges),
    STATE_STRUCT_ARRAY(Piix4Pm, pcihp.slots, &acpi_pci_slots_state, ACPI_PCIHP_BUSES,
                       .name = "acpi_pci_hotplug.acpi_pcihp_pci_status", .exists = has_bridges),
    STATE_U32(Piix4Pm, pcihp.acpi_index, .name = "acpi_pci_hotplug.acpi_index",
              .exists = has_acpi_index),
    {}
};
static const StateDesc pm_state = {
    .name = "piix4_pm",
    .version = 3,
    .min_version = 3,
    .fields = pm_fields,
    .subsections = (const StateDesc *const[]){&memhp_state, &cpuhp_state, NULL},
    .pre_load = pm_pre_load,
    .post_load = pm_post_load,
};

/* ---- what the board uses --------------------------------------------------------------------- */

PciDevice *piix4_pm_create(PciBus *bus, int devfn, uint32_t smb_io_base, bool smm, GError **err)
{
    Device *dev = device_new(bus->bus.obj.vm, "PIIX4_PM");
    Piix4Pm *pm = container_of(dev, Piix4Pm, pci.dev);

    pm->pci.devfn = devfn;
    pm->smb_io_base = smb_io_base;
    pm->smm_enabled = smm;
    if (!device_realize(dev, &bus->bus, err)) {
        object_unref(dev);
        return NULL;
    }
    return &pm->pci;
}

I2cBus *piix4_pm_i2c(PciDevice *pm) { return to_pm(pm)->smb.bus; }
AcpiRegs *piix4_pm_regs(PciDevice *pm) { return &to_pm(pm)->regs; }
AcpiPciHotplug *piix4_pm_pci_hotplug(PciDevice *pm) { return &to_pm(pm)->pcihp; }
AcpiCpuHotplug *piix4_pm_cpu_hotplug(PciDevice *pm) { return &to_pm(pm)->cpuhp; }
AcpiMemHotplug *piix4_pm_memory_hotplug(PciDevice *pm) { return &to_pm(pm)->memhp; }

Piix4PmConfig piix4_pm_config(const PciDevice *pci)
{
    const Piix4Pm *pm = container_of(pci, Piix4Pm, pci);

    return (Piix4PmConfig){
        .disable_s3 = pm->disable_s3,
        .disable_s4 = pm->disable_s4,
        .s4_val = pm->s4_val,
        .pci_hotplug_bridges = pm->pcihp_bridges,
        .pci_hotplug_root = pm->pcihp_root,
    };
}

static const Property pm_props[] = {
    PROP_U32("smb_io_base", Piix4Pm, smb_io_base, .help = "first port of the SMBus host"),
    PROP_U8("disable_s3", Piix4Pm, disable_s3, .max = 1, .help = "1: the guest is not offered S3"),
    PROP_U8("disable_s4", Piix4Pm, disable_s4, .max = 1, .help = "1: the guest is not offered S4"),
    PROP_U8("s4_val", Piix4Pm, s4_val, .def = 2, .max = 7, .help = "sleep type of S4"),
    PROP_BOOL("acpi-pci-hotplug-with-bridge-support", Piix4Pm, pcihp_bridges, .def = true,
              .help = "ACPI PCI hot-plug works behind bridges"),
    PROP_BOOL("acpi-root-pci-hotplug", Piix4Pm, pcihp_root, .def = true,
              .help = "ACPI PCI hot-plug works on the root bus"),
    PROP_BOOL("memory-hotplug-support", Piix4Pm, memory_hotplug, .def = true,
              .help = "the state carries memory hot-plug's"),
    PROP_BOOL("smm-compat", Piix4Pm, smm_compat, .help = "not supported"),
    PROP_BOOL("smm-enabled", Piix4Pm, smm_enabled, .help = "system management mode is available"),
    PROP_BOOL("x-not-migrate-acpi-index", Piix4Pm, not_migrate_acpi_index,
              .help = "leaves the index register out of the state"),
    {}
};

static const PciInfo pm_info = {
    .vendor_id = 0x8086,
    .device_id = 0x7113,
    .revision = 3,
    .class_id = PCI_CLASS_BRIDGE_OTHER,
    .not_hotpluggable = true,
    .config_written = pm_config_written,
};

DEVICE_TYPE(piix4_pm) = {
    .name = "PIIX4_PM",
    .parent = "pci-device",
    .desc = "PM",
    .size = sizeof(Piix4Pm),
    .not_user = "it is part of the machine; leave it out",
    .category = "bridge",
    .props = pm_props,
    .state = &pm_state,
    .ops = &pm_info,
    .realize = pm_realize,
    .unrealize = pm_unrealize,
    .reset = pm_reset,
};
