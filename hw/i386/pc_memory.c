/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pc's memory: where RAM lies, and the modules (DIMMs) that come and go above it.
 *
 * RAM lies below 3.5 GiB, or below 3 GiB when there is more than fits there; the rest starts at 4 GiB, or at 1 TiB where
 * it would reach into what AMD's IOMMUs keep for HyperTransport. Behind it, from the next whole GiB on, is the window
 * for modules: -m maxmem= less the RAM, and 1 GiB a slot, so that each can be aligned to 1 GiB.
 *
 * Plugging: device_add names the module's memory, the guest gets a general purpose event. Unplugging: device_del asks
 * the guest; when its _EJ0 writes the register, the module is gone for the guest at once, and the main loop takes away
 * what is left of it.
 */
#include <inttypes.h>
#include <urcu-bp.h>

#include "accel/x86/cpu.h"
#include "hw/acpi/piix4_pm.h"
#include "hw/i386/numa.h"
#include "hw/i386/pc.h"

#define PC_DEFAULT_BELOW_4G (UINT64_C(0xe0000000))
#define PC_ALIGNED_BELOW_4G (UINT64_C(0xc0000000)) /* whole GiB, when some RAM is above 4 GiB */
#define PC_OPTION_ROMS_SIZE 0x20000
/* AMD IOMMUs keep the range below 1 TiB for HyperTransport: no DMA reaches what is there. */
#define AMD_HYPERTRANSPORT UINT64_C(0xfd00000000)
#define AMD_HYPERTRANSPORT_SIZE UINT64_C(0x0300000000)
#define AMD_ABOVE_4G (UINT64_C(1) << 40)

/* ---- where it lies ---------------------------------------------------------------------- */

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

/* Places what is above 4 GiB from base on; returns where PCI's 64-bit window begins. */
static uint64_t lay_out(PcMachine *pc, uint64_t base)
{
    const MachineConfig *c = &pc->machine.config;
    PcInfo *info = &pc->info;
    uint64_t end = base + info->above_4g;

    info->above_4g_base = base;
    info->ram_slots = c->ram_slots;
    if (c->max_ram_size > c->ram_size) {
        info->device_memory_base = align_up(end, GIB);
        info->device_memory_size = c->max_ram_size - c->ram_size + GIB * c->ram_slots;
        end = info->device_memory_base + info->device_memory_size;
    }
    return align_up(end, GIB);
}

static const Cpu *first_cpu(const PcMachine *pc)
{
    const GPtrArray *cpus = pc->machine.vm->cpus;

    return cpus && cpus->len ? g_ptr_array_index(cpus, 0) : NULL;
}

static bool is_amd(const Cpu *cpu) { return !g_strcmp0(cpu->vendor, "AuthenticAMD"); }

static bool check_width(const PcInfo *info, const Cpu *cpu, uint64_t hole, GError **err)
{
    uint64_t limit = (UINT64_C(1) << cpu->phys_bits) - 1, used = hole + info->pci_hole64_size - 1;

    return cpu->phys_bits <= 32 || used <= limit ||
           error_set(err, "-m: Address space limit 0x%" PRIx64 " < 0x%" PRIx64 " phys-bits too low (%u); take a smaller "
                          "maxmem=, fewer slots=, or -cpu MODEL,phys-bits=", limit, used, cpu->phys_bits);
}

bool pc_place_memory(PcMachine *pc, GError **err)
{
    PcInfo *info = &pc->info;
    uint64_t hole;

    if (!split_ram(pc, err)) {
        return false;
    }
    hole = lay_out(pc, 4 * GIB);
    /* The CPUs come after the memory, for KVM's sake, but where the map depends on their kind. */
    if (hole + info->pci_hole64_size > AMD_HYPERTRANSPORT) {
        if (!pc_create_cpus(pc, err)) {
            return false;
        }
        hole = is_amd(first_cpu(pc)) ? lay_out(pc, AMD_ABOVE_4G) : hole;
    }
    info->hole64_start = hole;
    return true;
}

bool pc_check_memory(const PcMachine *pc, GError **err)
{
    return check_width(&pc->info, first_cpu(pc), pc->info.hole64_start, err);
}

bool pc_create_memory(PcMachine *pc, GError **err)
{
    Vm *vm = pc->machine.vm;
    const MachineConfig *c = &pc->machine.config;
    PcInfo *info = &pc->info;

    if (!machine_init_ram(&pc->machine, &pc->ram, err)) {
        return false;
    }
    region_init_alias(&pc->ram_below_4g, "ram-below-4g", &pc->ram, 0, info->below_4g);
    region_add(&vm->system_memory, 0, &pc->ram_below_4g);
    if (info->above_4g) {
        region_init_alias(&pc->ram_above_4g, "ram-above-4g", &pc->ram, info->below_4g, info->above_4g);
        region_add(&vm->system_memory, info->above_4g_base, &pc->ram_above_4g);
    }
    if (info->device_memory_size) {
        device_memory_init(&pc->device_memory, vm, info->device_memory_base, info->device_memory_size,
                           c->max_ram_size - c->ram_size, c->ram_slots);
    }
    region_init_container(&pc->pci_memory, "pci", UINT64_MAX);
    return region_init_ram(&pc->option_roms, vm, "pc.rom", PC_OPTION_ROMS_SIZE, err);
}

void pc_make_e820(PcMachine *pc)
{
    const Accel *accel = pc->machine.vm->accel;
    const Cpu *cpu = first_cpu(pc);
    PcInfo *info = &pc->info;

    if (accel->reserved_size) {
        e820_add(&info->e820, accel->reserved_addr, accel->reserved_size, E820_RESERVED);
    }
    if (is_amd(cpu) && cpu->phys_bits >= 40) {
        e820_add(&info->e820, AMD_HYPERTRANSPORT, AMD_HYPERTRANSPORT_SIZE, E820_RESERVED);
    }
    e820_add(&info->e820, 0, info->below_4g, E820_RAM);
    if (info->above_4g) {
        e820_add(&info->e820, info->above_4g_base, info->above_4g, E820_RAM);
    }
}

/* ---- modules: what HotplugOps ask ------------------------------------------------------------ */

static bool check_node(const PcMachine *pc, const PcDimm *dimm, GError **err)
{
    unsigned nodes = pc->info.n_nodes;

    return dimm->node < MAX(nodes, 1) ||
           error_set(err, "'DIMM property node has value %u' which exceeds the number of numa nodes: %u", dimm->node, nodes);
}

bool pc_dimm_pre_plug(PcMachine *pc, PcDimm *dimm, GError **err)
{
    if (!pc->pm) {
        return error_set(err, "memory hotplug is not enabled: missing acpi device or acpi disabled");
    }
    return pc_dimm_place(&pc->device_memory, dimm, err) && check_node(pc, dimm, err);
}

void pc_dimm_plugged(PcMachine *pc, PcDimm *dimm)
{
    pc_dimm_map(&pc->device_memory, dimm);
    acpi_memhp_plugged(piix4_pm_memory_hotplug(pc->pm), (unsigned)dimm->slot, dimm->addr, pc_dimm_size(dimm), dimm->node,
                       dimm->dev.hotplugged);
}

void pc_dimm_request_unplug(PcMachine *pc, PcDimm *dimm)
{
    acpi_memhp_request_unplug(piix4_pm_memory_hotplug(pc->pm), (unsigned)dimm->slot);
}

/* ---- modules: what the guest's AML does ---------------------------------------------------------- */

/* Main loop: of each module that the guest ejected. */
static void remove_ejected(void *opaque)
{
    PcMachine *pc = opaque;
    const AcpiMemHotplug *hp = piix4_pm_memory_hotplug(pc->pm);
    g_autoptr(GPtrArray) dimms = pc_dimms(pc->machine.vm);

    for (unsigned i = 0; i < dimms->len; i++) {
        PcDimm *dimm = g_ptr_array_index(dimms, i);

        if (!hp->devs[dimm->slot].enabled) {
            pc_dimm_unmap(dimm);
            synchronize_rcu(); /* DMA of an iothread may have looked it up just before */
            device_unrealize(&dimm->dev); /* frees it */
        }
    }
}

static void eject(void *opaque, unsigned slot)
{
    PcMachine *pc = opaque;

    loop_post(pc->machine.vm->loop, remove_ejected, pc);
}

static const char *dimm_id(void *opaque, unsigned slot)
{
    const PcMachine *pc = opaque;
    g_autoptr(GPtrArray) dimms = pc_dimms(pc->machine.vm);

    for (unsigned i = 0; i < dimms->len; i++) {
        const PcDimm *dimm = g_ptr_array_index(dimms, i);

        if ((unsigned)dimm->slot == slot) {
            return dimm->dev.id;
        }
    }
    return NULL;
}

void pc_make_memory_slots(PcMachine *pc)
{
    static const AcpiMemOps ops = {.eject = eject, .id = dimm_id};

    if (pc->info.ram_slots) {
        acpi_memhp_init(piix4_pm_memory_hotplug(pc->pm), piix4_pm_regs(pc->pm), &pc->machine.vm->system_io,
                        pc->info.ram_slots, &ops, pc);
    }
}
