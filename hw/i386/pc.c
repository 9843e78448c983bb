/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "pc" machine: i440FX and PIIX3 of 1996, with QEMU 7.2's guest-visible identity.
 *
 * PCI memory fills every address that RAM (pc_memory.c) leaves free.
 */
#include "hw/i386/pc.h"

#include "accel/x86/cpu.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/i386/numa.h"
#include "hw/i386/smbios.h"
#include "hw/isa/piix3.h"
#include "hw/timer/hpet.h"
#include "net/net.h"

#define PC_PCI_HOLE64_SIZE (2 * GIB)
#define PC_OPTION_ROMS 0xc0000
#define PC_SMI_PRIORITY 1
#define PC_DEFAULT_CARD "e1000"
#define PC_SMBUS_BASE 0xb100
#define PC_SCI_GSI 9
#define PC_SMBUS_EEPROMS 8

/* ---- memory -------------------------------------------------------------------------- */

static bool make_firmware(PcMachine *pc, GError **err)
{
    if (!firmware_load(&pc->firmware, pc->machine.vm, pc->machine.config.bios, &pc->pci_memory, err)) {
        return false;
    }
    region_set_readonly(&pc->option_roms, true); /* PAM opens it */
    region_add_overlap(&pc->pci_memory, PC_OPTION_ROMS, &pc->option_roms, 1);
    return true;
}

/* A CPU in SMM sees the chipset's SMRAM over everything else. */
static void make_smm_space(PcMachine *pc)
{
    Vm *vm = pc->machine.vm;
    bool able = vm->accel->ops->has_smm && vm->accel->ops->has_smm(vm->accel);

    pc->info.smm = pc->smm == ON_OFF_AUTO_ON || (pc->smm == ON_OFF_AUTO_AUTO && able);
    if (!pc->info.smm || !able) {
        return;
    }
    region_init_container(&pc->smm_root, "smm", UINT64_MAX);
    region_init_alias(&pc->smm_memory, "smm-memory", &vm->system_memory, 0, UINT64_MAX);
    region_add(&pc->smm_root, 0, &pc->smm_memory);
    region_add_overlap(&pc->smm_root, 0, i440fx_smram(pc->host), PC_SMI_PRIORITY);
    address_space_init(&pc->smm_space, vm, &pc->smm_root, "SMM");
    vm->accel->smm_space = &pc->smm_space;
}

/* ---- chipset ------------------------------------------------------------------------------- */

static bool make_chipset(PcMachine *pc, GError **err)
{
    PcInfo *info = &pc->info;
    I440fxParams params = {
        .ram = &pc->ram,
        .pci_memory = &pc->pci_memory,
        .ram_size = pc->machine.config.ram_size,
        .below_4g = info->below_4g,
        .hole64_start = info->hole64_start,
    };

    pc->host = i440fx_create(pc->machine.vm, &params, err);
    if (!pc->host) {
        return false;
    }
    pc->piix3 = piix3_create(i440fx_bus(pc->host), PCI_DEVFN(1, 0), err);
    if (!pc->piix3) {
        return false;
    }
    pc->isa = piix3_isa_bus(pc->piix3);
    return true;
}

/* -nic and -net nic. */
static bool make_cards(PcMachine *pc, GError **err)
{
    Vm *vm = pc->machine.vm;

    for (const NicRequest *r; vm->net && (r = net_next_nic_request(vm));) {
        GError *reason = NULL;
        Device *dev = device_new_user(vm, r->model ? r->model : PC_DEFAULT_CARD, &reason);

        if (!dev || !object_is_a(dev, "pci-device") || !type_property(dev->obj.type, "netdev")) {
            g_clear_error(&reason);
            if (dev) {
                object_unref(dev);
            }
            return error_set(err, "%s: Unsupported NIC model: %s; -nic model=help lists them", r->option, r->model);
        }
        g_autofree char *vectors = r->vectors < 0 ? NULL : g_strdup_printf("%" PRId64, r->vectors);
        if ((r->mac && !object_set(&dev->obj, "mac", r->mac, &reason)) ||
            (vectors && type_property(dev->obj.type, "vectors") && !object_set(&dev->obj, "vectors", vectors, &reason)) ||
            (r->addr && !object_set(&dev->obj, "addr", r->addr, &reason)) ||
            (r->netdev && !object_set(&dev->obj, "netdev", r->netdev, &reason)) ||
            !device_realize(dev, &i440fx_bus(pc->host)->bus, &reason)) {
            g_propagate_prefixed_error(err, reason, "%s: ", r->option);
            object_unref(dev);
            return false;
        }
    }
    return true;
}

static bool make_pci_functions(PcMachine *pc, GError **err)
{
    PciBus *bus = i440fx_bus(pc->host);
    PciDevice *ide = pci_create(bus, PCI_DEVFN(1, 1), false, "piix3-ide", err);

    if (!ide) {
        return false;
    }
    pc->ide = &ide->dev;
    if (!pc->acpi) {
        return true;
    }
    pc->pm = piix4_pm_create(bus, PCI_DEVFN(1, 3), PC_SMBUS_BASE, pc->info.smm, err);
    if (!pc->pm) {
        return false;
    }
    device_connect(&pc->pm->dev, 0, &pc->gsi[PC_SCI_GSI]);
    pc_tell_cpus(pc);
    pc_make_memory_slots(pc);
    Piix4PmConfig config = piix4_pm_config(pc->pm);
    pc->info.disable_s3 = config.disable_s3;
    pc->info.disable_s4 = config.disable_s4;
    pc->info.s4_val = config.s4_val;
    pc->info.acpi_pci_hotplug = config.pci_hotplug_root;
    return smbus_eeproms_create(piix4_pm_i2c(pc->pm), PC_SMBUS_EEPROMS, err);
}

static void describe_numa(PcMachine *pc)
{
    NumaConfig *numa = pc->machine.config.numa;
    PcInfo *info = &pc->info;

    info->numa = numa;
    info->hmat = pc->machine.hmat;
    info->n_nodes = numa_node_count(numa);
    info->has_distances = numa_has_distances(numa);
    info->nodes = g_new0(PcNumaNode, info->n_nodes);
    for (unsigned i = 0; i < info->n_nodes; i++) {
        info->nodes[i].mem = numa_node(numa, i)->size;
        for (unsigned j = 0; info->has_distances && j < info->n_nodes; j++) {
            info->nodes[i].distance[j] = numa_distance(numa, i, j);
        }
    }
}

/* ---- building --------------------------------------------------------------------------------- */

static void describe(PcMachine *pc)
{
    const MachineConfig *c = &pc->machine.config;
    PcInfo *info = &pc->info;

    info->vm = pc->machine.vm;
    info->machine_name = pc->machine.ops->name;
    info->machine_desc = pc->machine.obj.type->desc;
    info->pci_hole64_size = PC_PCI_HOLE64_SIZE;
    info->hpet = pc->hpet;
    info->acpi = pc->acpi;
    info->graphics = c->graphics && pc->graphics;
    g_strlcpy(info->boot_order, *c->boot.order ? c->boot.order : "cad", sizeof info->boot_order);
    info->boot_menu = c->boot.menu;
    info->boot_strict = c->boot.strict;
    info->boot_splash = c->boot.splash;
    info->boot_splash_time = c->boot.splash_time;
    info->reboot_timeout = c->boot.reboot_timeout;
    info->kernel = c->kernel;
    info->initrd = c->initrd;
    info->append = c->append;
    info->smbios = c->smbios;
    info->smbios_ep64 = pc->smbios_entry_point;
    if (smbios_options_uuid(c->smbios, info->vm->uuid)) {
        info->vm->has_uuid = true;
    }
    if (pc->oem_id) {
        g_strlcpy(info->oem_id, pc->oem_id, sizeof info->oem_id);
    }
    if (pc->oem_table_id) {
        g_strlcpy(info->oem_table_id, pc->oem_table_id, sizeof info->oem_table_id);
    }
}

/* The in-kernel clock that guests read has its state here. */
static bool make_kvmclock(PcMachine *pc, GError **err)
{
    Vm *vm = pc->machine.vm;

    return strcmp(vm->accel->ops->name, "kvm") || !type_find("kvmclock") ||
           device_realize_board(device_new(vm, "kvmclock"), NULL, NULL, err);
}

static bool pc_init(Machine *machine, GError **err)
{
    PcMachine *pc = pc_of(machine);

    state_set_machine_name(machine->vm, machine->ops->name);
    describe(pc);
    describe_numa(pc);
    if (!pc_place_memory(pc, err) || !pc_create_memory(pc, err) ||
        (!pc->info.cpus && !pc_create_cpus(pc, err)) || !pc_check_memory(pc, err) || !make_kvmclock(pc, err)) {
        return false;
    }
    pc_enable_hotplug(pc);
    pc_make_e820(pc);
    pc->info.fw_cfg = fw_cfg_io_create(machine->vm, err);
    if (!pc->info.fw_cfg || !make_chipset(pc, err)) {
        return false;
    }
    make_smm_space(pc);
    return make_firmware(pc, err) && pc_create_irqchips(pc, err) && pc_create_isa_devices(pc, err) &&
           make_cards(pc, err) && make_pci_functions(pc, err) && pc_connect_drives(pc, err);
}

#define PC_BOOT_DEVICES 3    /* that CMOS memory has room for */

/* ---- once all devices are there ------------------------------------------------------------------ */

/* From the second boot on, -boot once= no longer counts. */
static void forget_boot_once(void *opaque)
{
    PcMachine *pc = opaque;

    if (pc->machine.config.boot.once[0]) {
        pc->machine.config.boot.once[0] = '\0';
        const char *order = pc->machine.config.boot.order;

        g_strlcpy(pc->info.boot_order, *order ? order : "cad", sizeof pc->info.boot_order);
        pc_fill_cmos(pc);
    }
}

static void skip_first_reset(void *opaque)
{
    PcMachine *pc = opaque;

    /* Start-up is a reset too: the one after it is the first reboot. */
    if (vm_run_state(pc->machine.vm) != RUN_STATE_PRELAUNCH) {
        forget_boot_once(pc);
    }
}

static bool pc_done(Machine *machine, GError **err)
{
    PcMachine *pc = pc_of(machine);

    for (unsigned i = 0; i < machine->config.fw_cfg_items->len; i++) {
        if (!fw_cfg_add_option(pc->info.fw_cfg, machine->config.fw_cfg_items->pdata[i], err)) {
            return false;
        }
    }
    if (machine->config.boot.once[0]) {
        g_strlcpy(pc->info.boot_order, machine->config.boot.once, sizeof pc->info.boot_order);
        vm_on_reset(machine->vm, skip_first_reset, pc);
    }
    pc_fill_cmos(pc);
    return pc_fw_cfg_populate(&pc->info, err);
}

static bool check_boot_order(const char *order, GError **err)
{
    for (const char *c = order; *c; c++) {
        if (*c < 'a' || *c > 'p') {
            return error_set(err, "Invalid boot device '%c'", *c);
        }
        if (strchr(c + 1, *c)) {
            return error_set(err, "Boot device '%c' was given twice", *c);
        }
    }
    if (strlen(order) > PC_BOOT_DEVICES) {
        return error_set(err, "Too many boot devices for PC");
    }
    size_t known = strspn(order, "abcdn");
    return !order[known] || error_set(err, "Invalid boot device for PC: '%c'", order[known]);
}

static bool pc_set_boot_order(Machine *machine, const char *order, GError **err)
{
    PcMachine *pc = pc_of(machine);

    if (!check_boot_order(order, err)) {
        return false;
    }
    g_strlcpy(pc->info.boot_order, order, sizeof pc->info.boot_order);
    pc_fill_cmos(pc);
    return true;
}

/* ---- the type --------------------------------------------------------------------------------------- */

static const char *const smbios_entry_points[] = {"32", "64", NULL};

static const Property pc_props[] = {
    PROP_BOOL("hpet", PcMachine, hpet, .def = true, .help = "high precision event timer"),
    PROP_BOOL("acpi", PcMachine, acpi, .def = true, .help = "ACPI tables and power management"),
    PROP_BOOL("pit", PcMachine, pit, .def = true, .help = "8254 interval timer"),
    PROP_BOOL("graphics", PcMachine, graphics, .def = true, .help = "tell firmware that there is a screen"),
    PROP_ON_OFF_AUTO("smm", PcMachine, smm, .help = "system management mode"),
    PROP_ON_OFF_AUTO("vmport", PcMachine, vmport, .help = "VMware's port and absolute pointer; auto: on"),
    PROP_SIZE("max-ram-below-4g", PcMachine, max_ram_below_4g, .help = "RAM below 4 GiB at most; 0: 3 or 3.5 GiB"),
    PROP_ENUM("smbios-entry-point-type", PcMachine, smbios_entry_point, .type = "SmbiosEntryPointType", .values = smbios_entry_points,
              .help = "SMBIOS entry point: 2.8 or 3.0"),
    PROP_STRING("x-oem-id", PcMachine, oem_id, .help = "OEM id of the ACPI tables, 6 characters"),
    PROP_STRING("x-oem-table-id", PcMachine, oem_table_id, .help = "OEM table id of the ACPI tables, 8 characters"),
    {}
};

static const MachineOps pc_i440fx_7_2_ops = {
    .name = "pc-i440fx-7.2",
    .alias = "pc",
    .is_default = true,
    .has_ram = true,
    .max_cpus = 255,
    .default_cpu = "qemu64",
    .default_ram_id = "pc.ram",
    .init = pc_init,
    .done = pc_done,
    .irq_counts = pc_irq_counts,
    .set_boot_order = pc_set_boot_order,
};

KILN_TYPE(pc_i440fx_7_2_machine) = {
    .name = "pc-i440fx-7.2-machine",
    .parent = "machine",
    .desc = "Standard PC (i440FX + PIIX, 1996)",
    .size = sizeof(PcMachine),
    .props = pc_props,
    .ops = &pc_i440fx_7_2_ops,
};
