/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI CPU hot-plug. Interface: QEMU's docs/specs/acpi_cpu_hotplug. The machine starts with the old
 * one, a read-only bitmap of the APIC ids that are present; a 0 written to its first byte, which no
 * old firmware does, changes over to the modern one:
 *
 *   00 W  selects a CPU by index           00 R  high half of the data (command 3), else 0
 *   04 R  flags: 1 present, 2 plugged, 4 to be ejected;  04 W  2 and 4 clear them, 8 ejects
 *   05 W  command: 0 next CPU with an event, 1 and 2 _OST event and status, 3 APIC id
 *   08 RW data of the command
 *
 * The guest may eject every CPU but the first, also one that nobody wants to go.
 */
#include "hw/acpi/cpu_hotplug.h"

#include "core/event.h"
#include "qapi/qapi-acpi.h"
#include "util/trace.h"

#define MAX_CPUS 4096

enum { REG_SELECT = 0x0, REG_FLAGS = 0x4, REG_COMMAND = 0x5, REG_DATA = 0x8 };
enum { CMD_NEXT = 0, CMD_OST_EVENT = 1, CMD_OST_STATUS = 2, CMD_APIC_ID = 3, CMD_COUNT };

#define FLAG_PRESENT 0x01
#define FLAG_INSERTING 0x02
#define FLAG_REMOVING 0x04
#define FLAG_EJECT 0x08

/* The selector stores anything; every access asks again whether there is such a CPU. */
static AcpiCpu *selected(AcpiCpuHotplug *hp)
{
    return hp->selector < hp->dev_count ? &hp->devs[hp->selector] : NULL;
}

/* ---- modern interface -------------------------------------------------------------------- */

static void select_next_event(AcpiCpuHotplug *hp)
{
    for (uint32_t i = 0; i < hp->dev_count; i++) {
        uint32_t n = (hp->selector + i) % hp->dev_count;

        if (hp->devs[n].is_inserting || hp->devs[n].is_removing) {
            hp->selector = n;
            return;
        }
    }
}

static uint64_t cpuhp_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiCpuHotplug *hp = opaque;
    const AcpiCpu *cpu = selected(hp);
    uint64_t value = 0;

    if (cpu && offset == REG_FLAGS) {
        value = (cpu->present ? FLAG_PRESENT : 0) | (cpu->is_inserting ? FLAG_INSERTING : 0) |
                (cpu->is_removing ? FLAG_REMOVING : 0);
    } else if (cpu && offset == REG_DATA && hp->command == CMD_NEXT) {
        value = hp->selector;
    } else if (cpu && offset == REG_DATA && hp->command == CMD_APIC_ID) {
        value = cpu->apic_id;
    }
    trace(acpi_cpuhp_read, "cpu %u @%u -> 0x%x", hp->selector, (unsigned)offset, (unsigned)value);
    return value;
}

static void write_flags(AcpiCpuHotplug *hp, AcpiCpu *cpu, uint8_t value)
{
    if (value & FLAG_INSERTING) {
        cpu->is_inserting = false;
    }
    if (value & FLAG_REMOVING) {
        cpu->is_removing = false;
    }
    if (!(value & FLAG_EJECT)) {
        return;
    }
    if (!cpu->present || hp->selector == 0 || !hp->ops) {
        guest_error(hp->regs->dev, "CPU %u cannot be ejected", hp->selector);
        return;
    }
    trace(acpi_cpuhp_eject, "cpu %u", hp->selector);
    cpu->present = cpu->is_inserting = cpu->is_removing = false;
    hp->ops->eject(hp->opaque, hp->selector);
}

ACPIOSTInfo *acpi_cpuhp_status(const AcpiCpuHotplug *hp, unsigned index)
{
    ACPIOSTInfo *info = g_new0(ACPIOSTInfo, 1);

    info->device = g_strdup(hp->ops ? hp->ops->id(hp->opaque, index) : NULL);
    info->slot = g_strdup_printf("%u", index);
    info->slot_type = ACPI_SLOT_TYPE_CPU;
    info->source = hp->devs[index].ost_event;
    info->status = hp->devs[index].ost_status;
    return info;
}

static void tell_status(AcpiCpuHotplug *hp)
{
    AcpiDeviceOstEvent event = {.info = acpi_cpuhp_status(hp, hp->selector)};

    vm_post_event(hp->regs->dev->vm, &qapi_event_ACPI_DEVICE_OST, &event);
    g_free(event.info->device);
    g_free(event.info->slot);
    g_free(event.info);
}

static void write_data(AcpiCpuHotplug *hp, AcpiCpu *cpu, uint32_t value)
{
    if (hp->command == CMD_OST_EVENT) {
        cpu->ost_event = value;
    } else if (hp->command == CMD_OST_STATUS) {
        cpu->ost_status = value;
        tell_status(hp);
    }
}

static void cpuhp_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiCpuHotplug *hp = opaque;
    AcpiCpu *cpu = selected(hp);

    trace(acpi_cpuhp_write, "cpu %u @%u <- 0x%x", hp->selector, (unsigned)offset, (unsigned)value);
    if (offset == REG_SELECT) {
        hp->selector = value;
    } else if (!cpu) {
        return;
    } else if (offset == REG_FLAGS) {
        write_flags(hp, cpu, value);
    } else if (offset == REG_COMMAND && value < CMD_COUNT) {
        hp->command = value;
        if (value == CMD_NEXT) {
            select_next_event(hp);
        }
    } else if (offset == REG_DATA) {
        write_data(hp, cpu, value);
    }
}

static const RegionOps cpuhp_ops = {
    .read = cpuhp_read,
    .write = cpuhp_write,
    .valid = {.min_size = 1, .max_size = 4},
};

/* ---- old interface --------------------------------------------------------------------------- */

static uint64_t bitmap_read(void *opaque, uint64_t offset, unsigned size)
{
    const AcpiCpuHotplug *hp = opaque;
    uint8_t value = 0;

    for (uint32_t i = 0; i < hp->dev_count; i++) {
        if (hp->devs[i].present && hp->devs[i].apic_id / 8 == offset) {
            value |= 1u << (hp->devs[i].apic_id % 8);
        }
    }
    trace(acpi_cpuhp_bitmap_read, "@%u -> 0x%02x", (unsigned)offset, value);
    return value;
}

static void bitmap_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiCpuHotplug *hp = opaque;

    if (offset == 0 && value == 0) {
        trace(acpi_cpuhp_modern, "the guest uses the modern interface");
        hp->modern = true;
        acpi_cpuhp_map(hp);
    }
}

static const RegionOps bitmap_ops = {
    .read = bitmap_read,
    .write = bitmap_write,
    .valid = {.min_size = 1, .max_size = 4},
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle ------------------------------------------------------------------------------- */

void acpi_cpuhp_map(AcpiCpuHotplug *hp)
{
    Region *wanted = hp->modern ? &hp->io : &hp->bitmap;
    Region *other = hp->modern ? &hp->bitmap : &hp->io;

    if (wanted->parent) {
        return;
    }
    region_begin(hp->regs->dev->vm);
    if (other->parent) {
        region_remove(other);
    }
    region_add(hp->parent, ACPI_CPUHP_BASE, wanted);
    region_commit(hp->regs->dev->vm);
}

void acpi_cpuhp_init(AcpiCpuHotplug *hp, AcpiRegs *regs, Region *parent)
{
    hp->regs = regs;
    hp->parent = parent;
    region_init_io(&hp->bitmap, &bitmap_ops, hp, "acpi-cpu-hotplug", ACPI_CPUHP_PORTS);
    region_init_io(&hp->io, &cpuhp_ops, hp, "acpi-cpu-hotplug", ACPI_CPUHP_MODERN_PORTS);
    region_set_owner(&hp->bitmap, regs->dev);
    region_set_owner(&hp->io, regs->dev);
    acpi_cpuhp_map(hp);
}

void acpi_cpuhp_cleanup(AcpiCpuHotplug *hp)
{
    region_destroy(&hp->bitmap);
    region_destroy(&hp->io);
    g_free(hp->devs);
}

void acpi_cpuhp_set_cpus(AcpiCpuHotplug *hp, const AcpiCpu *cpus, unsigned count, const AcpiCpuOps *ops, void *opaque)
{
    g_assert(count <= MAX_CPUS);
    g_free(hp->devs);
    hp->devs = g_memdup2(cpus, count * sizeof *cpus);
    hp->dev_count = count;
    hp->ops = ops;
    hp->opaque = opaque;
}

void acpi_cpuhp_plugged(AcpiCpuHotplug *hp, unsigned index, bool hot)
{
    hp->devs[index].present = true;
    if (hot) {
        hp->devs[index].is_inserting = hp->modern; /* the old interface shows what is there, not what came */
        acpi_gpe_raise(hp->regs, ACPI_GPE_CPU_HOTPLUG);
    }
}

bool acpi_cpuhp_request_unplug(AcpiCpuHotplug *hp, unsigned index, GError **err)
{
    if (!hp->modern) {
        return error_set(err, "CPU %u cannot be unplugged: no guest runs that uses ACPI's CPU hot-plug", index);
    }
    hp->devs[index].is_removing = true;
    acpi_gpe_raise(hp->regs, ACPI_GPE_CPU_HOTPLUG);
    return true;
}

static const StateField cpu_fields[] = {
    STATE_BOOL(AcpiCpu, is_inserting),
    STATE_BOOL(AcpiCpu, is_removing),
    STATE_U32(AcpiCpu, ost_event),
    STATE_U32(AcpiCpu, ost_status),
    {}
};
static const StateDesc cpu_state = {
    .name = "CPU hotplug device state", .version = 1, .min_version = 1, .fields = cpu_fields};

static const StateField cpuhp_fields[] = {
    STATE_U32(AcpiCpuHotplug, selector),
    STATE_U8(AcpiCpuHotplug, command),
    {.name = "devs", .kind = &state_kind_struct, .offset = offsetof(AcpiCpuHotplug, devs),
     .stride = sizeof(AcpiCpu), .count = MAX_CPUS, .array = true, .pointer = true,
     .count_offset = offsetof(AcpiCpuHotplug, dev_count), .count_size = 4, .desc = &cpu_state},
    {}
};
const StateDesc acpi_cpuhp_state = {
    .name = "CPU hotplug state", .version = 1, .min_version = 1, .fields = cpuhp_fields};
