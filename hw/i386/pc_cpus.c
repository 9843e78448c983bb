/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pc's CPUs: those of -smp, those of -device and those that come and go while the VM lives.
 *
 * A CPU has its place by its number in the -smp topology; the number is also its index in the registers through which
 * ACPI's AML finds it (hw/acpi/cpu_hotplug.h). Plugging: device_add names the place, the guest gets a general purpose
 * event. Unplugging: device_del asks the guest; when its _EJ0 writes the register, the CPU is gone for the guest at
 * once, and the main loop takes away what is left of it.
 */
#include "accel/x86/cpu.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/i386/numa.h"
#include "hw/i386/pc.h"

/* ---- where a CPU goes ------------------------------------------------------------------ */

/* An id that a user gave (-1: none), or the one that the APIC id stands for. */
static bool check_id(const char *name, int32_t id, unsigned count, GError **err)
{
    if (id < 0) {
        return error_set(err, "CPU %s is not set", name);
    }
    return (unsigned)id < count || error_set(err, "Invalid CPU %s: %d must be in range 0:%u", name, id, count - 1);
}

static bool find_by_place(const SmpConfig *smp, Cpu *cpu, unsigned *index, GError **err)
{
    if (cpu->die_id < 0 && smp->dies == 1) {
        cpu->die_id = 0;
    }
    if (!check_id("socket-id", cpu->socket_id, smp->sockets, err) || !check_id("die-id", cpu->die_id, smp->dies, err) ||
        !check_id("core-id", cpu->core_id, smp->cores, err) || !check_id("thread-id", cpu->thread_id, smp->threads, err)) {
        return false;
    }
    *index = (((unsigned)cpu->socket_id * smp->dies + (unsigned)cpu->die_id) * smp->cores + (unsigned)cpu->core_id) *
                 smp->threads + (unsigned)cpu->thread_id;
    return true;
}

static bool find_by_apic_id(const PcInfo *info, uint32_t apic_id, unsigned *index, GError **err)
{
    for (unsigned i = 0; i < info->max_cpus; i++) {
        if (info->cpus[i].apic_id == apic_id) {
            *index = i;
            return true;
        }
    }
    return error_set(err, "Invalid CPU with APIC ID %u, valid index range 0:%u", apic_id, info->max_cpus - 1);
}

static bool find_slot(const PcMachine *pc, Cpu *cpu, unsigned *index, GError **err)
{
    return cpu->apic_id == UINT32_MAX ? find_by_place(&pc->machine.config.smp, cpu, index, err)
                                      : find_by_apic_id(&pc->info, cpu->apic_id, index, err);
}

/* ---- what HotplugOps ask (pc_hotplug.c) ---------------------------------------------------- */

bool pc_cpu_pre_plug(PcMachine *pc, Cpu *cpu, GError **err)
{
    unsigned index = 0;

    if (!find_slot(pc, cpu, &index, err)) {
        return false;
    }
    const PcCpuSlot *slot = &pc->info.cpus[index];
    const GPtrArray *cpus = pc->machine.vm->cpus;
    if (index < cpus->len && g_ptr_array_index(cpus, index)) {
        return error_set(err, "CPU[%u] with APIC ID %u exists", index, slot->apic_id);
    }
    if (cpu->node_id >= 0 && cpu->node_id != MAX(slot->node, 0)) {
        return error_set(err, "invalid node-id, must be %d", MAX(slot->node, 0));
    }
    cpu->node_id = slot->node;
    cpu_set_place(cpu, index, slot->apic_id);
    return true;
}

/* What firmware is told of the number of CPUs; it waits for so many. */
static void tell_firmware(PcMachine *pc)
{
    pc_fill_cmos_cpus(pc);
    fw_cfg_set_u16(pc->info.fw_cfg, FW_CFG_NB_CPUS, (uint16_t)pc->info.n_cpus);
}

void pc_cpu_plugged(PcMachine *pc, Cpu *cpu)
{
    const Device *dev = &cpu->dev;
    const Accel *accel = dev->vm->accel;

    pc->info.cpus[cpu->index].present = true;
    pc->info.n_cpus++;
    if (dev->hotplugged) {
        tell_firmware(pc);
    }
    if (cpu->apic && dev->hotplugged) {
        device_reset(cpu->apic);
    }
    if (accel->ops->cpu_run) {
        accel->ops->cpu_run(cpu);
    }
    if (pc->pm) {
        acpi_cpuhp_plugged(piix4_pm_cpu_hotplug(pc->pm), cpu->index, dev->hotplugged);
    }
}

bool pc_cpu_request_unplug(PcMachine *pc, Cpu *cpu, GError **err)
{
    if (!pc->pm) {
        return error_set(err, "CPU hot unplug not supported without ACPI");
    }
    if (cpu->index == 0) {
        return error_set(err, "Boot CPU is unpluggable");
    }
    return acpi_cpuhp_request_unplug(piix4_pm_cpu_hotplug(pc->pm), cpu->index, err);
}

/* ---- what the guest's AML does -------------------------------------------------------------- */

/* Main loop: of each CPU that the guest ejected. Its thread, too, may have been the one that wrote the register. */
static void remove_ejected(void *opaque)
{
    PcMachine *pc = opaque;
    Vm *vm = pc->machine.vm;

    for (unsigned i = 1; i < vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(vm->cpus, i);

        if (cpu && !pc->info.cpus[i].present) {
            if (vm->accel->ops->cpu_remove) {
                vm->accel->ops->cpu_remove(cpu);
            }
            device_unrealize(&cpu->dev); /* frees it */
        }
    }
}

static void eject(void *opaque, unsigned index)
{
    PcMachine *pc = opaque;

    pc->info.cpus[index].present = false;
    pc->info.n_cpus--;
    tell_firmware(pc);
    loop_post(pc->machine.vm->loop, remove_ejected, pc);
}

static const char *cpu_id(void *opaque, unsigned index)
{
    const PcMachine *pc = opaque;
    const GPtrArray *cpus = pc->machine.vm->cpus;
    const Cpu *cpu = index < cpus->len ? g_ptr_array_index(cpus, index) : NULL;

    return cpu ? cpu->dev.id : NULL;
}

static const AcpiCpuOps acpi_ops = {.eject = eject, .id = cpu_id};

/* ---- building ------------------------------------------------------------------------------ */

bool pc_create_cpus(PcMachine *pc, GError **err)
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
        int node = numa_cpu_node(pc->machine.config.numa, i);

        info->cpus[i] = (PcCpuSlot){.apic_id = apic_id, .node = node, .present = i < smp->cpus};
        info->apic_id_limit = MAX(info->apic_id_limit, apic_id + 1);
        Cpu *cpu = i < smp->cpus ? cpu_new(vm, i, apic_id, err) : NULL;
        if (i < smp->cpus && !cpu) {
            return false;
        }
        if (cpu) {
            cpu->node_id = node;
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

void pc_tell_cpus(PcMachine *pc)
{
    const PcInfo *info = &pc->info;
    g_autofree AcpiCpu *cpus = g_new0(AcpiCpu, info->max_cpus);

    for (unsigned i = 0; i < info->max_cpus; i++) {
        cpus[i].apic_id = info->cpus[i].apic_id;
        cpus[i].present = info->cpus[i].present;
    }
    acpi_cpuhp_set_cpus(piix4_pm_cpu_hotplug(pc->pm), cpus, info->max_cpus, &acpi_ops, pc);
}
