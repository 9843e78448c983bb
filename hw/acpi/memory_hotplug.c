/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI memory hot-plug. Interface: QEMU's docs/specs/acpi_mem_hotplug, double words at
 *
 *   00 W  selects a slot                00 R, 04 R  address of its module, low and high half
 *   04 W  _OST event                    08 R, 0c R  its size
 *   08 W  _OST status                   10 R  its NUMA node
 *   14 R  flags: 1 there, 2 plugged, 4 to be ejected;  14 W  2 and 4 clear them, 8 ejects
 *
 * The guest may eject every module, also one that nobody wants to go.
 */
#include "hw/acpi/memory_hotplug.h"

#include "core/event.h"
#include "qapi/qapi-acpi.h"
#include "util/trace.h"

#define MAX_SLOTS 256

enum {
    REG_ADDR_LOW = 0x0, REG_ADDR_HIGH = 0x4, REG_SIZE_LOW = 0x8, REG_SIZE_HIGH = 0xc, REG_NODE = 0x10, REG_FLAGS = 0x14,
    REG_SELECT = 0x0, REG_OST_EVENT = 0x4, REG_OST_STATUS = 0x8
};

#define FLAG_ENABLED 0x01
#define FLAG_INSERTING 0x02
#define FLAG_REMOVING 0x04
#define FLAG_EJECT 0x08

/* The selector stores anything; every access asks again whether there is such a slot. */
static AcpiMemSlot *selected(AcpiMemHotplug *hp)
{
    return hp->selector < hp->dev_count ? &hp->devs[hp->selector] : NULL;
}

/* ---- registers ----------------------------------------------------------------------------- */

static uint32_t read_slot(const AcpiMemSlot *slot, uint64_t offset)
{
    switch (offset) {
    case REG_ADDR_LOW:
        return (uint32_t)slot->addr;
    case REG_ADDR_HIGH:
        return (uint32_t)(slot->addr >> 32);
    case REG_SIZE_LOW:
        return (uint32_t)slot->size;
    case REG_SIZE_HIGH:
        return (uint32_t)(slot->size >> 32);
    case REG_NODE:
        return slot->node;
    case REG_FLAGS:
        return (slot->enabled ? FLAG_ENABLED : 0) | (slot->is_inserting ? FLAG_INSERTING : 0) |
               (slot->is_removing ? FLAG_REMOVING : 0);
    default:
        return UINT32_MAX;
    }
}

static uint64_t memhp_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiMemHotplug *hp = opaque;
    const AcpiMemSlot *slot = selected(hp);
    uint32_t value = slot ? read_slot(slot, offset) : 0;

    trace(acpi_memhp_read, "slot %u @0x%02x -> 0x%x", hp->selector, (unsigned)offset, value);
    return value;
}

static void write_flags(AcpiMemHotplug *hp, AcpiMemSlot *slot, uint32_t value)
{
    if (value & FLAG_INSERTING) {
        slot->is_inserting = false;
    } else if (value & FLAG_REMOVING) {
        slot->is_removing = false;
    } else if (value & FLAG_EJECT) {
        if (!slot->enabled) {
            guest_error(hp->regs->dev, "memory slot %u is empty, nothing to eject", hp->selector);
            return;
        }
        trace(acpi_memhp_eject, "slot %u", hp->selector);
        hp->ops->eject(hp->opaque, hp->selector);
        slot->enabled = slot->is_removing = false;
        slot->addr = slot->size = slot->node = 0;
    }
}

ACPIOSTInfo *acpi_memhp_status(const AcpiMemHotplug *hp, unsigned slot)
{
    ACPIOSTInfo *info = g_new0(ACPIOSTInfo, 1);

    info->device = g_strdup(hp->ops->id(hp->opaque, slot));
    info->slot = g_strdup_printf("%u", slot);
    info->slot_type = ACPI_SLOT_TYPE_DIMM;
    info->source = hp->devs[slot].ost_event;
    info->status = hp->devs[slot].ost_status;
    return info;
}

static void tell_status(AcpiMemHotplug *hp)
{
    AcpiDeviceOstEvent event = {.info = acpi_memhp_status(hp, hp->selector)};

    vm_post_event(hp->regs->dev->vm, &qapi_event_ACPI_DEVICE_OST, &event);
    g_free(event.info->device);
    g_free(event.info->slot);
    g_free(event.info);
}

static void memhp_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiMemHotplug *hp = opaque;
    AcpiMemSlot *slot = selected(hp);

    trace(acpi_memhp_write, "slot %u @0x%02x <- 0x%x", hp->selector, (unsigned)offset, (unsigned)value);
    if (offset == REG_SELECT) {
        hp->selector = (uint32_t)value;
    } else if (!slot) {
        return;
    } else if (offset == REG_OST_EVENT) {
        slot->ost_event = (uint32_t)value;
    } else if (offset == REG_OST_STATUS) {
        slot->ost_status = (uint32_t)value;
        tell_status(hp);
    } else if (offset == REG_FLAGS) {
        write_flags(hp, slot, (uint32_t)value);
    }
}

static const RegionOps memhp_ops = {
    .read = memhp_read,
    .write = memhp_write,
    .valid = {.min_size = 1, .max_size = 4},
};

/* ---- lifecycle ------------------------------------------------------------------------------- */

void acpi_memhp_init(AcpiMemHotplug *hp, AcpiRegs *regs, Region *parent, unsigned slots, const AcpiMemOps *ops, void *opaque)
{
    g_assert(slots && slots <= MAX_SLOTS && !hp->dev_count);
    hp->regs = regs;
    hp->ops = ops;
    hp->opaque = opaque;
    hp->dev_count = slots;
    hp->devs = g_new0(AcpiMemSlot, slots);
    region_init_io(&hp->io, &memhp_ops, hp, "acpi-mem-hotplug", ACPI_MEMHP_PORTS);
    region_set_owner(&hp->io, regs->dev);
    region_add(parent, ACPI_MEMHP_BASE, &hp->io);
}

void acpi_memhp_cleanup(AcpiMemHotplug *hp)
{
    if (hp->dev_count) {
        region_destroy(&hp->io);
        g_clear_pointer(&hp->devs, g_free);
        hp->dev_count = 0;
    }
}

void acpi_memhp_plugged(AcpiMemHotplug *hp, unsigned slot, uint64_t addr, uint64_t size, uint32_t node, bool hot)
{
    hp->devs[slot] = (AcpiMemSlot){.enabled = true, .addr = addr, .size = size, .node = node, .is_inserting = hot,
                                   .ost_event = hp->devs[slot].ost_event, .ost_status = hp->devs[slot].ost_status};
    if (hot) {
        acpi_gpe_raise(hp->regs, ACPI_GPE_MEMORY_HOTPLUG);
    }
}

void acpi_memhp_request_unplug(AcpiMemHotplug *hp, unsigned slot)
{
    hp->devs[slot].is_removing = true;
    acpi_gpe_raise(hp->regs, ACPI_GPE_MEMORY_HOTPLUG);
}

static const StateField slot_fields[] = {
    STATE_BOOL(AcpiMemSlot, enabled, .name = "is_enabled"),
    STATE_BOOL(AcpiMemSlot, is_inserting),
    STATE_U32(AcpiMemSlot, ost_event),
    STATE_U32(AcpiMemSlot, ost_status),
    {}
};
static const StateDesc slot_state = {
    .name = "memory hotplug device state", .version = 1, .min_version = 1, .fields = slot_fields};

static const StateField memhp_fields[] = {
    STATE_U32(AcpiMemHotplug, selector),
    {.name = "devs", .kind = &state_kind_struct, .offset = offsetof(AcpiMemHotplug, devs),
     .stride = sizeof(AcpiMemSlot), .count = MAX_SLOTS, .array = true, .pointer = true,
     .count_offset = offsetof(AcpiMemHotplug, dev_count), .count_size = 4, .desc = &slot_state},
    {}
};
const StateDesc acpi_memhp_state = {
    .name = "memory hotplug state", .version = 1, .min_version = 1, .fields = memhp_fields};
