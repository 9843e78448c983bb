/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "pci-device": configuration space, base address registers, INTx and the state of every PCI
 * function. Spec: PCI Local Bus 3.0, chapter 6.
 *
 * A write goes through three masks: wmask (bits that are stored), w1cmask (bits that a 1 clears)
 * and all others keep their value. Bits of cmask that the guest cannot write must be equal in a
 * state that is loaded: it would be another device.
 *
 * Reads are the hot path (a guest enumerates with thousands of them): no type walk, one copy.
 *
 * Not done: parity and master abort status bits (no model sets them), PCI Express.
 */
#include "hw/pci/pci.h"

#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "util/trace.h"

#define COMMAND_WRITABLE                                                                           \
    (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR |                 \
     PCI_COMMAND_INTX_DISABLE)
#define STATUS_CLEARABLE                                                                           \
    (PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |               \
     PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

static inline uint16_t pci_command(const PciDevice *pci)
{
    return load16_le(pci->config + PCI_COMMAND);
}

static inline bool touches(uint32_t addr, unsigned size, uint32_t first, unsigned count)
{
    return addr < first + count && first < addr + size;
}

/* ---- INTx -------------------------------------------------------------------------- */

static void pci_update_status(PciDevice *pci)
{
    uint8_t *status = pci->config + PCI_STATUS;

    *status = pci->irq_state ? *status | PCI_STATUS_INTERRUPT : *status & ~PCI_STATUS_INTERRUPT;
}

/* Up to the root: each bridge turns the pins by its own rule. */
static void pci_change_line(PciDevice *pci, unsigned pin, int change)
{
    PciBus *bus = pci_bus_of(pci);

    for (;;) {
        if (bus->map_irq) {
            pin = bus->map_irq(pci, pin);
        }
        if (bus->set_irq || !bus->bridge) {
            break;
        }
        pci = bus->bridge;
        bus = pci_bus_of(pci);
    }
    if (bus->set_irq && pin < (unsigned)bus->nirq) {
        bus->irq_count[pin] += change;
        bus->set_irq(bus->irq_opaque, pin, bus->irq_count[pin] != 0);
    }
}

static void pci_set_pin(PciDevice *pci, unsigned pin, int level)
{
    uint8_t bit = 1u << pin;

    if (!!(pci->irq_state & bit) == level) {
        return;
    }
    pci->irq_state ^= bit;
    pci_update_status(pci);
    if (!(pci_command(pci) & PCI_COMMAND_INTX_DISABLE)) {
        pci_change_line(pci, pin, level ? 1 : -1);
    }
}

void pci_set_irq(PciDevice *pci, int level)
{
    unsigned pin = pci->config[PCI_INTERRUPT_PIN];

    if (pin >= 1 && pin <= 4) {
        pci_set_pin(pci, pin - 1, !!level);
    }
}

/* INTX_DISABLE changed: asserted pins leave or join their lines. */
static void pci_gate_irqs(PciDevice *pci, bool disabled)
{
    for (unsigned pin = 0; pin < 4; pin++) {
        if (pci->irq_state & (1u << pin)) {
            pci_change_line(pci, pin, disabled ? -1 : 1);
        }
    }
}

/* ---- base address registers -------------------------------------------------------- */

static uint8_t pci_bar_offset(const PciDevice *pci, unsigned n)
{
    if (n != PCI_ROM_SLOT) {
        return PCI_BASE_ADDRESS_0 + 4 * n;
    }
    return pci->info->is_bridge ? PCI_ROM_ADDRESS1 : PCI_ROM_ADDRESS;
}

/* Where the register says the region is; unmapped for what no decoder would accept. */
static uint64_t pci_bar_address(const PciDevice *pci, unsigned n)
{
    const PciBar *bar = &pci->bars[n];
    const uint8_t *reg = pci->config + pci_bar_offset(pci, n);
    uint16_t command = pci_command(pci);
    bool wide = false;
    uint64_t addr, last;

    if (bar->type & PCI_BASE_ADDRESS_SPACE_IO) {
        if (!(command & PCI_COMMAND_IO)) {
            return PCI_BAR_UNMAPPED;
        }
        addr = load32_le(reg) & ~(bar->size - 1);
        last = addr + bar->size - 1;
        return addr == 0 || last > 0xffff ? PCI_BAR_UNMAPPED : addr;
    }
    if (!(command & PCI_COMMAND_MEMORY) ||
        (n == PCI_ROM_SLOT && !(load32_le(reg) & PCI_ROM_ADDRESS_ENABLE))) {
        return PCI_BAR_UNMAPPED;
    }
    wide = bar->type & PCI_BASE_ADDRESS_MEM_TYPE_64;
    addr = (wide ? load64_le(reg) : load32_le(reg)) & ~(bar->size - 1);
    last = addr + bar->size - 1;
    /* A register that was written all ones to learn its size is at the very top: not there. */
    if (addr == 0 || last < addr || last == UINT64_MAX || (!wide && last >= UINT32_MAX)) {
        return PCI_BAR_UNMAPPED;
    }
    return addr;
}

void pci_update_mappings(PciDevice *pci)
{
    PciBus *bus = pci_bus_of(pci);
    bool open = false;

    for (unsigned n = 0; n <= PCI_ROM_SLOT; n++) {
        PciBar *bar = &pci->bars[n];
        uint64_t addr = bar->region ? pci_bar_address(pci, n) : PCI_BAR_UNMAPPED;

        if (addr == bar->addr || !bar->region) {
            continue;
        }
        trace(pci_bar_map, "%s %02x.%x bar %u at 0x%" PRIx64 " size 0x%" PRIx64,
              pci->dev.obj.type->name, PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn), n, addr,
              bar->size);
        if (!open) {
            region_begin(pci->dev.vm);
            open = true;
        }
        if (bar->addr != PCI_BAR_UNMAPPED) {
            region_remove(bar->region);
        }
        if (addr != PCI_BAR_UNMAPPED) {
            bool io = bar->type & PCI_BASE_ADDRESS_SPACE_IO;
            region_add_overlap(io ? bus->io : bus->memory, addr, bar->region, 1);
        }
        bar->addr = addr;
    }
    if (open) {
        region_commit(pci->dev.vm);
    }
}

void pci_register_bar(PciDevice *pci, unsigned n, uint8_t type, Region *region)
{
    unsigned offset = pci_bar_offset(pci, n);
    uint64_t wmask = ~(region->size - 1);
    bool wide = !(type & PCI_BASE_ADDRESS_SPACE_IO) && (type & PCI_BASE_ADDRESS_MEM_TYPE_64);

    g_assert(n <= PCI_ROM_SLOT && is_power_of_two(region->size));
    pci->bars[n] = (PciBar){.region = region, .size = region->size, .type = type,
                            .addr = PCI_BAR_UNMAPPED};
    region_set_owner(region, &pci->dev);
    if (n == PCI_ROM_SLOT) {
        wmask |= PCI_ROM_ADDRESS_ENABLE;
        type = 0;
    }
    store32_le(pci->config + offset, type);
    if (wide) {
        store64_le(pci->wmask + offset, wmask);
        store64_le(pci->cmask + offset, UINT64_MAX);
    } else {
        store32_le(pci->wmask + offset, wmask);
        store32_le(pci->cmask + offset, UINT32_MAX);
    }
}

/* ---- capabilities ------------------------------------------------------------------ */

static bool cap_space_free(const PciDevice *pci, unsigned offset, unsigned size)
{
    for (unsigned i = offset; i < offset + size; i++) {
        if (pci->used[i / 8] & (1u << (i % 8))) {
            return false;
        }
    }
    return true;
}

uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t offset, uint8_t size)
{
    if (offset == 0) {
        offset = PCI_STD_HEADER_SIZEOF;
        while (offset + size <= PCI_CONFIG_SIZE && !cap_space_free(pci, offset, size)) {
            offset += 4;
            if (offset < PCI_STD_HEADER_SIZEOF) {
                return 0; /* wrapped */
            }
        }
    }
    if (offset < PCI_STD_HEADER_SIZEOF || offset + size > PCI_CONFIG_SIZE ||
        !cap_space_free(pci, offset, size)) {
        return 0;
    }
    pci->config[offset + PCI_CAP_LIST_ID] = id;
    pci->config[offset + PCI_CAP_LIST_NEXT] = pci->config[PCI_CAPABILITY_LIST];
    pci->config[PCI_CAPABILITY_LIST] = offset;
    pci->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    for (unsigned i = offset; i < offset + (unsigned)size; i++) {
        pci->used[i / 8] |= 1u << (i % 8);
        pci->wmask[i] = 0; /* the owner opens what the guest may write */
        pci->cmask[i] = 0xff;
    }
    return offset;
}

/* ---- configuration space ----------------------------------------------------------- */

uint32_t pci_config_read(PciDevice *pci, uint32_t addr, unsigned size)
{
    uint32_t value;

    if (!range_fits(addr, size, PCI_CONFIG_SIZE)) {
        return all_ones(size);
    }
    if (__builtin_expect(pci->info->config_read != NULL, 0)) {
        value = pci->info->config_read(pci, addr, size);
    } else {
        value = load_le(pci->config + addr, size);
    }
    trace(pci_config_read, "%s %02x.%x @0x%02x size %u -> 0x%x", pci->dev.obj.type->name,
          PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn), addr, size, value);
    return value;
}

static void pci_store_bytes(PciDevice *pci, uint32_t addr, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++, addr++, value >>= 8) {
        uint8_t wmask = pci->wmask[addr];

        pci->config[addr] = (pci->config[addr] & ~wmask) | (value & wmask);
        pci->config[addr] &= ~(value & pci->w1cmask[addr]);
    }
}

/* Queue threads read it. */
static void set_dma_off(PciDevice *pci, bool off) { __atomic_store_n(&pci->dev.dma_off, off, __ATOMIC_RELAXED); }

void pci_config_write(PciDevice *pci, uint32_t addr, uint32_t value, unsigned size)
{
    uint16_t old_command = pci_command(pci), changed;

    if (!range_fits(addr, size, PCI_CONFIG_SIZE)) {
        return;
    }
    trace(pci_config_write, "%s %02x.%x @0x%02x size %u <- 0x%x", pci->dev.obj.type->name,
          PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn), addr, size, value);
    pci_store_bytes(pci, addr, value, size);
    changed = old_command ^ pci_command(pci);
    if (changed & PCI_COMMAND_INTX_DISABLE) {
        pci_gate_irqs(pci, pci_command(pci) & PCI_COMMAND_INTX_DISABLE);
    }
    set_dma_off(pci, !(pci_command(pci) & PCI_COMMAND_MASTER));
    if (changed || touches(addr, size, PCI_BASE_ADDRESS_0, 24) ||
        touches(addr, size, pci_bar_offset(pci, PCI_ROM_SLOT), 4)) {
        pci_update_mappings(pci);
    }
    if (pci->info->is_bridge) {
        pci_bridge_config_written(pci, addr, size);
    }
    if (pci->cap_msi) {
        msi_config_written(pci, addr, size);
    }
    if (pci->cap_msix) {
        msix_config_written(pci, addr, size, changed);
    }
    if (pci->info->config_written) {
        pci->info->config_written(pci, addr, size);
    }
}

/* ---- lifecycle ------------------------------------------------------------------------ */

static void pci_init_ids(PciDevice *pci)
{
    const PciInfo *info = pci->info;
    uint8_t *config = pci->config;

    store16_le(config + PCI_VENDOR_ID, info->vendor_id);
    store16_le(config + PCI_DEVICE_ID, info->device_id);
    config[PCI_REVISION_ID] = info->revision;
    store16_le(config + PCI_CLASS_DEVICE, info->class_id);
    if (!info->is_bridge) {
        bool given = info->subsystem_vendor_id || info->subsystem_id;
        store16_le(config + PCI_SUBSYSTEM_VENDOR_ID,
                   given ? info->subsystem_vendor_id : PCI_SUBVENDOR_QUMRANET);
        store16_le(config + PCI_SUBSYSTEM_ID, given ? info->subsystem_id : PCI_SUBDEVICE_QEMU);
    }
    config[PCI_HEADER_TYPE] = info->is_bridge ? PCI_HEADER_TYPE_BRIDGE : PCI_HEADER_TYPE_NORMAL;
    if (pci->multifunction) {
        config[PCI_HEADER_TYPE] |= 0x80;
    }
}

static void pci_init_masks(PciDevice *pci)
{
    memset(pci->wmask + PCI_STD_HEADER_SIZEOF, 0xff, PCI_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF);
    pci->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    pci->wmask[PCI_INTERRUPT_LINE] = 0xff;
    store16_le(pci->wmask + PCI_COMMAND, COMMAND_WRITABLE);
    store16_le(pci->w1cmask + PCI_STATUS, STATUS_CLEARABLE);

    store16_le(pci->cmask + PCI_VENDOR_ID, 0xffff);
    store16_le(pci->cmask + PCI_DEVICE_ID, 0xffff);
    store16_le(pci->cmask + PCI_STATUS, PCI_STATUS_CAP_LIST);
    pci->cmask[PCI_REVISION_ID] = 0xff;
    pci->cmask[PCI_CLASS_PROG] = 0xff;
    store16_le(pci->cmask + PCI_CLASS_DEVICE, 0xffff);
    pci->cmask[PCI_HEADER_TYPE] = 0xff;
    pci->cmask[PCI_CAPABILITY_LIST] = 0xff;
}

static bool pci_device_realize(Device *dev, GError **err)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);

    if (pci->failover_pair_id && *pci->failover_pair_id) {
        return error_set(err,
                         "failover_pair_id=%s: standby failover of network devices is not "
                         "supported; leave the property out",
                         pci->failover_pair_id);
    }
    if (pci->romsize != UINT32_MAX && !is_power_of_two(pci->romsize)) {
        return error_set(err, "romsize=%u is not a power of two", pci->romsize);
    }
    for (unsigned n = 0; n <= PCI_ROM_SLOT; n++) {
        pci->bars[n].addr = PCI_BAR_UNMAPPED;
    }
    pci_init_ids(pci);
    pci_init_masks(pci);
    dev->dma_off = true;
    return pci_rom_init(pci, err);
}

/* While all parts of the device are still there: the accelerator takes ioeventfds back by descriptors that are open. */
static void pci_device_leave(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);

    region_begin(dev->vm);
    for (unsigned n = 0; n <= PCI_ROM_SLOT; n++) {
        if (pci->bars[n].region && pci->bars[n].addr != PCI_BAR_UNMAPPED) {
            region_remove(pci->bars[n].region);
            pci->bars[n].addr = PCI_BAR_UNMAPPED;
        }
    }
    region_commit(dev->vm);
}

static void pci_device_unrealize(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);

    for (unsigned pin = 0; pin < 4; pin++) {
        pci_set_pin(pci, pin, 0);
    }
    msix_cleanup(pci);
    pci_rom_cleanup(pci);
}

static void pci_device_reset(Device *dev)
{
    PciDevice *pci = container_of(dev, PciDevice, dev);
    uint8_t *config = pci->config;

    for (unsigned pin = 0; pin < 4; pin++) {
        pci_set_pin(pci, pin, 0);
    }
    store16_le(config + PCI_COMMAND, pci_command(pci) & ~load16_le(pci->wmask + PCI_COMMAND));
    store16_le(config + PCI_STATUS,
               load16_le(config + PCI_STATUS) & ~load16_le(pci->w1cmask + PCI_STATUS));
    config[PCI_INTERRUPT_LINE] = 0;
    config[PCI_CACHE_LINE_SIZE] = 0;
    for (unsigned n = 0; n <= PCI_ROM_SLOT; n++) {
        const PciBar *bar = &pci->bars[n];
        uint8_t *reg = config + pci_bar_offset(pci, n);

        if (!bar->region) {
            continue;
        }
        if (!(bar->type & PCI_BASE_ADDRESS_SPACE_IO) &&
            (bar->type & PCI_BASE_ADDRESS_MEM_TYPE_64)) {
            store64_le(reg, bar->type);
        } else {
            store32_le(reg, n == PCI_ROM_SLOT ? 0 : bar->type);
        }
    }
    set_dma_off(pci, true);
    pci_update_mappings(pci);
    msi_reset(pci);
    msix_reset(pci);
}

/* ---- state --------------------------------------------------------------------------- */

static void put_config(StateBuf *buf, const StateField *field, const void *elem, size_t size)
{
    state_put(buf, elem, size);
}

static bool get_config(StateBuf *buf, const StateField *field, void *elem, size_t size,
                       GError **err)
{
    PciDevice *pci = container_of(elem, PciDevice, config);
    uint8_t config[PCI_CONFIG_SIZE];

    if (!state_get(buf, config, sizeof config)) {
        return error_set(err, "PCI configuration space is cut short");
    }
    for (unsigned i = 0; i < sizeof config; i++) {
        uint8_t fixed = pci->cmask[i] & ~pci->wmask[i] & ~pci->w1cmask[i];

        if ((config[i] ^ pci->config[i]) & fixed) {
            return error_set(err,
                             "PCI configuration byte 0x%02x is 0x%02x in the state and 0x%02x "
                             "here: the other side has another device",
                             i, config[i], pci->config[i]);
        }
    }
    memcpy(pci->config, config, sizeof config);
    return true;
}

static void put_irq_state(StateBuf *buf, const StateField *field, const void *elem, size_t size)
{
    const uint8_t *irq_state = elem;

    for (unsigned pin = 0; pin < 4; pin++) {
        state_put_be(buf, (*irq_state >> pin) & 1, 4);
    }
}

static bool get_irq_state(StateBuf *buf, const StateField *field, void *elem, size_t size,
                          GError **err)
{
    uint8_t *irq_state = elem, value = 0;

    for (unsigned pin = 0; pin < 4; pin++) {
        uint64_t level = state_get_be(buf, 4);

        if (level > 1) {
            return error_set(err, "PCI interrupt pin %u has the level %" PRIu64, pin, level);
        }
        value |= level << pin;
    }
    *irq_state = value;
    return true;
}

static const StateKind kind_config = {.type = "pci config", .put = put_config, .get = get_config};
static const StateKind kind_irq_state = {.type = "pci irq state", .put = put_irq_state,
                                         .get = get_irq_state};

/* The lines' counts come with the bus ("PCIBUS"); nothing is asserted here. */
static bool pci_post_load(void *obj, unsigned version, GError **err)
{
    PciDevice *pci = obj;

    pci_update_status(pci);
    set_dma_off(pci, !(pci_command(pci) & PCI_COMMAND_MASTER));
    pci_update_mappings(pci);
    if (pci->info->is_bridge) {
        pci_bridge_config_written(pci, 0, PCI_CONFIG_SIZE);
    }
    return true;
}

static const StateField pci_fields[] = {
    STATE_I32_LE(PciDevice, state_version, .name = "version_id"),
    {.name = "config[0]", .kind = &kind_config, .offset = offsetof(PciDevice, config),
     .size = PCI_CONFIG_SIZE, .stride = PCI_CONFIG_SIZE, .count = 1},
    {.name = "irq_state", .kind = &kind_irq_state, .offset = offsetof(PciDevice, irq_state),
     .size = 16, .stride = 1, .count = 1},
    {}
};
const StateDesc pci_device_state = {
    .name = "PCIDevice", .version = 2, .min_version = 1, .fields = pci_fields,
    .post_load = pci_post_load};

/* ---- properties ---------------------------------------------------------------------- */

/* "SLOT[.FUNCTION]", both hexadecimal. */
static bool devfn_set(Object *obj, const Property *prop, void *field, const char *text,
                      GError **err)
{
    char *end;
    unsigned long slot, function = 0;

    if (!strcmp(text, "-1")) {
        *(int32_t *)field = -1;
        return true;
    }
    slot = g_ascii_isxdigit(*text) ? strtoul(text, &end, 16) : ULONG_MAX;
    if (slot <= 31 && *end == '.' && g_ascii_isxdigit(end[1])) {
        function = strtoul(end + 1, &end, 16);
    }
    if (slot > 31 || function > 7 || *end) {
        return error_set(err,
                         "property %s: '%s' is no PCI address: give SLOT[.FUNCTION] in "
                         "hexadecimal, from 0.0 to 1f.7",
                         prop->name, text);
    }
    *(int32_t *)field = PCI_DEVFN(slot, function);
    return true;
}

static json_object *devfn_get(Object *obj, const Property *prop, const void *field)
{
    return json_object_new_int(*(const int32_t *)field);
}

static void devfn_default(const Property *prop, void *field)
{
    *(int32_t *)field = -1;
}

static const PropKind prop_kind_devfn = {
    .type = "int32", .json = json_type_null, .set = devfn_set, .get = devfn_get,
    .set_default = devfn_default};

static const Property pci_props[] = {
    PROP_ANY("addr", &prop_kind_devfn, PciDevice, devfn,
             .help = "slot and optional function number, example: 06.0 or 06"),
    PROP_STRING("romfile", PciDevice, romfile, .help = "option ROM image; empty for none"),
    PROP_U32("romsize", PciDevice, romsize, .def = UINT32_MAX,
             .help = "bytes of the ROM BAR, a power of two; default: the image's, rounded up"),
    PROP_U32("rombar", PciDevice, rombar, .def = 1, .help = "0: the device has no ROM BAR"),
    PROP_BOOL("multifunction", PciDevice, multifunction,
              .help = "the slot has more functions than 0"),
    PROP_BIT32("x-pcie-lnksta-dllla", PciDevice, express_flags, .bit = 0, .def = 1,
               .help = "PCI Express ports report an active data link"),
    PROP_BIT32("x-pcie-extcap-init", PciDevice, express_flags, .bit = 1, .def = 1,
               .help = "PCI Express devices have an empty extended capability"),
    PROP_STRING("failover_pair_id", PciDevice, failover_pair_id, .help = "not supported"),
    PROP_U32("acpi-index", PciDevice, acpi_index,
             .help = "index that the guest names its interface by; 0: none"),
    {}
};

static void pci_device_init(Object *obj)
{
    PciDevice *pci = container_of(obj, PciDevice, dev.obj);

    pci->info = type_ops(obj->type);
    pci->state_version = 2;
}

DEVICE_TYPE(pci_device) = {
    .name = "pci-device",
    .parent = "device",
    .desc = "PCI function",
    .size = sizeof(PciDevice),
    .abstract = true,
    .bus = "PCI",
    .props = pci_props,
    .init = pci_device_init,
    .realize = pci_device_realize,
    .unrealize = pci_device_unrealize,
    .leave = pci_device_leave,
    .reset = pci_device_reset,
};
