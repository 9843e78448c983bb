/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "pc" machine: i440FX and PIIX3 of 1996, with QEMU 7.2's guest-visible identity.
 *
 * RAM lies below 3.5 GiB, or below 3 GiB when there is more than fits there; the rest starts at 4 GiB.
 * PCI memory fills every address that RAM leaves free.
 */
#include "hw/i386/pc.h"

#include "accel/x86/cpu.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/i386/smbios.h"
#include "hw/isa/piix3.h"
#include "hw/timer/hpet.h"

#define PC_DEFAULT_BELOW_4G (UINT64_C(0xe0000000))
#define PC_ALIGNED_BELOW_4G (UINT64_C(0xc0000000)) /* whole GiB, when some RAM is above 4 GiB */
#define PC_PCI_HOLE64_SIZE (2 * GIB)
#define PC_OPTION_ROMS 0xc0000
#define PC_OPTION_ROMS_SIZE 0x20000
/* AMD IOMMUs keep the range below 1 TiB for HyperTransport: no DMA reaches what is there. */
#define AMD_HYPERTRANSPORT UINT64_C(0xfd00000000)
#define AMD_HYPERTRANSPORT_SIZE UINT64_C(0x0300000000)
#define PC_SMI_PRIORITY 1
#define PC_SMBUS_BASE 0xb100
#define PC_SCI_GSI 9
#define PC_SMBUS_EEPROMS 8

/* ---- memory -------------------------------------------------------------------------- */

static bool split_ram(PcMachine *pc, GError **err)
{
    uint64_t size = pc->machine.config.ram_size, limit = pc->max_ram_below_4g;

    if (!limit) {
        limit = size >= PC_DEFAULT_BELOW_4G ? PC_ALIGNED_BELOW_4G : PC_DEFAULT_BELOW_4G;
    }
    if (limit > 4 * GIB || limit < MIB) {
        return error_set(err, "-machine max-ram-below-4g: allowed is 1 MiB to 4 GiB");
    }
    pc->info.below_4g = MIN(size, limit);
    pc->info.above_4g = size - pc->info.below_4g;
    return true;
}

static bool make_memory(PcMachine *pc, GError **err)
{
    Vm *vm = pc->machine.vm;
    PcInfo *info = &pc->info;

    if (!split_ram(pc, err)) {
        return false;
    }
    if (!region_init_ram(&pc->ram, vm, "pc.ram", pc->machine.config.ram_size, err)) {
        g_prefix_error(err, "-m: ");
        return false;
    }
    region_init_alias(&pc->ram_below_4g, "ram-below-4g", &pc->ram, 0, info->below_4g);
    region_add(&vm->system_memory, 0, &pc->ram_below_4g);
    if (info->above_4g) {
        region_init_alias(&pc->ram_above_4g, "ram-above-4g", &pc->ram, info->below_4g, info->above_4g);
        region_add(&vm->system_memory, 4 * GIB, &pc->ram_above_4g);
    }
    region_init_container(&pc->pci_memory, "pci", UINT64_MAX);
    return region_init_ram(&pc->option_roms, vm, "pc.rom", PC_OPTION_ROMS_SIZE, err);
}

static bool make_firmware(PcMachine *pc, GError **err)
{
    if (!firmware_load(&pc->firmware, pc->machine.vm, pc->machine.config.bios, &pc->pci_memory, err)) {
        return false;
    }
    region_set_readonly(&pc->option_roms, true); /* PAM opens it */
    region_add_overlap(&pc->pci_memory, PC_OPTION_ROMS, &pc->option_roms, 1);
    return true;
}

/* The memory map, in QEMU's order. After the CPUs: it depends on their kind. */
static void make_e820(PcMachine *pc)
{
    const Accel *accel = pc->machine.vm->accel;
    const Cpu *cpu = g_ptr_array_index(pc->machine.vm->cpus, 0);
    PcInfo *info = &pc->info;

    if (accel->reserved_size) {
        e820_add(&info->e820, accel->reserved_addr, accel->reserved_size, E820_RESERVED);
    }
    if (!g_strcmp0(cpu->vendor, "AuthenticAMD") && cpu->phys_bits >= 40) {
        e820_add(&info->e820, AMD_HYPERTRANSPORT, AMD_HYPERTRANSPORT_SIZE, E820_RESERVED);
    }
    e820_add(&info->e820, 0, info->below_4g, E820_RAM);
    if (info->above_4g) {
        e820_add(&info->e820, 4 * GIB, info->above_4g, E820_RAM);
    }
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

/* ---- CPUs ------------------------------------------------------------------------------- */

static bool make_cpus(PcMachine *pc, GError **err)
{
    Vm *vm = pc->machine.vm;
    const SmpConfig *smp = &pc->machine.config.smp;
    CpuTopology topology = {smp->sockets, smp->dies, smp->cores, smp->threads};
    PcInfo *info = &pc->info;

    cpu_set_topology(vm, &topology);
    info->n_cpus = smp->cpus;
    info->max_cpus = smp->max_cpus;
    info->sockets = smp->sockets;
    info->dies = smp->dies;
    info->cores = smp->cores;
    info->threads = smp->threads;
    info->cpus = g_new0(PcCpuSlot, smp->max_cpus);
    for (unsigned i = 0; i < smp->max_cpus; i++) {
        uint32_t apic_id = cpu_topology_apic_id(&topology, i);

        info->cpus[i] = (PcCpuSlot){.apic_id = apic_id, .node = -1, .present = i < smp->cpus};
        info->apic_id_limit = MAX(info->apic_id_limit, apic_id + 1);
        if (i < smp->cpus && !cpu_new(vm, i, apic_id, err)) {
            return false;
        }
    }
    const Cpu *cpu = g_ptr_array_index(vm->cpus, 0);
    info->cpuid_1_eax = cpu->cpuid_version;
    info->cpuid_1_edx = (uint32_t)cpu->features[FEAT_1_EDX]; /* without what the topology adds */
    /* Locked, with VMX and LMCE as far as the CPU has them. */
    info->feature_control = (cpu_has_feature(cpu, FEAT_1_ECX, 5) ? 4 : 0) | (cpu->lmce ? 1 << 20 : 0);
    info->feature_control |= info->feature_control ? 1 : 0;
    return true;
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
        .above_4g = info->above_4g,
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

/* The registers from which AML learns what CPUs there are. */
static void tell_cpus(PcMachine *pc)
{
    const PcInfo *info = &pc->info;
    g_autofree AcpiCpu *cpus = g_new0(AcpiCpu, info->max_cpus);

    for (unsigned i = 0; i < info->max_cpus; i++) {
        cpus[i].apic_id = info->cpus[i].apic_id;
        cpus[i].present = info->cpus[i].present;
    }
    acpi_cpuhp_set_cpus(piix4_pm_cpu_hotplug(pc->pm), cpus, info->max_cpus);
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
    tell_cpus(pc);
    Piix4PmConfig config = piix4_pm_config(pc->pm);
    pc->info.disable_s3 = config.disable_s3;
    pc->info.disable_s4 = config.disable_s4;
    pc->info.s4_val = config.s4_val;
    pc->info.acpi_pci_hotplug = config.pci_hotplug_root;
    return smbus_eeproms_create(piix4_pm_i2c(pc->pm), PC_SMBUS_EEPROMS, err);
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
    if (!make_memory(pc, err) || !make_cpus(pc, err) || !make_kvmclock(pc, err)) {
        return false;
    }
    make_e820(pc);
    pc->info.fw_cfg = fw_cfg_io_create(machine->vm, err);
    if (!pc->info.fw_cfg || !make_chipset(pc, err)) {
        return false;
    }
    make_smm_space(pc);
    return make_firmware(pc, err) && pc_create_irqchips(pc, err) && pc_create_isa_devices(pc, err) &&
           make_pci_functions(pc, err) && pc_connect_drives(pc, err);
}

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

/* ---- the type --------------------------------------------------------------------------------------- */

static const char *const smbios_entry_points[] = {"32", "64", NULL};

static const Property pc_props[] = {
    PROP_BOOL("hpet", PcMachine, hpet, .def = true, .help = "high precision event timer"),
    PROP_BOOL("acpi", PcMachine, acpi, .def = true, .help = "ACPI tables and power management"),
    PROP_BOOL("pit", PcMachine, pit, .def = true, .help = "8254 interval timer"),
    PROP_BOOL("graphics", PcMachine, graphics, .def = true, .help = "tell firmware that there is a screen"),
    PROP_ON_OFF_AUTO("smm", PcMachine, smm, .help = "system management mode"),
    PROP_SIZE("max-ram-below-4g", PcMachine, max_ram_below_4g, .help = "RAM below 4 GiB at most; 0: 3 or 3.5 GiB"),
    PROP_ENUM("smbios-entry-point-type", PcMachine, smbios_entry_point, .values = smbios_entry_points,
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
    .init = pc_init,
    .done = pc_done,
};

KILN_TYPE(pc_i440fx_7_2_machine) = {
    .name = "pc-i440fx-7.2-machine",
    .parent = "machine",
    .desc = "Standard PC (i440FX + PIIX, 1996)",
    .size = sizeof(PcMachine),
    .props = pc_props,
    .ops = &pc_i440fx_7_2_ops,
};
