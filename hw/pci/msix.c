/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X. An entry is address (8 bytes), data (4) and control (4, bit 0 masks it). The function's
 * control word can mask all of them. A vector that goes from masked to usable sends what is
 * pending.
 */
#include "hw/pci/msix.h"

#include "hw/pci/msi.h"
#include "util/trace.h"

struct Msix {
    unsigned vectors;
    uint8_t *table;              /* vectors * MSIX_ENTRY_SIZE bytes */
    uint8_t *pending;            /* a bit a vector, padded to 8 bytes */
    uint16_t *used;              /* users of each vector */
    bool function_masked;        /* disabled or MASKALL, as last seen */
    bool enabled;                /* atomic: queue threads read it */
    const MsixNotifiers *notifiers;
    Region table_region, pba_region;
    Region *bar;                 /* msix_init_exclusive_bar's own, else NULL */
    PciDevice *pci;
};

static inline uint8_t *entry(const Msix *msix, unsigned vector)
{
    return msix->table + (size_t)vector * MSIX_ENTRY_SIZE;
}

static inline size_t pba_bytes(unsigned vectors) { return align_up(vectors, 64) / 8; }

static inline uint16_t msix_control(const PciDevice *pci)
{
    return load16_le(pci->config + pci->cap_msix + PCI_MSIX_FLAGS);
}

bool msix_enabled(const PciDevice *pci)
{
    return pci->msix && __atomic_load_n(&pci->msix->enabled, __ATOMIC_RELAXED);
}

static void update_enabled(PciDevice *pci)
{
    __atomic_store_n(&pci->msix->enabled, (msix_control(pci) & PCI_MSIX_FLAGS_ENABLE) != 0, __ATOMIC_RELAXED);
}

unsigned msix_vectors(const PciDevice *pci) { return pci->msix ? pci->msix->vectors : 0; }

static bool function_masked(const PciDevice *pci)
{
    uint16_t control = msix_control(pci);

    return !(control & PCI_MSIX_FLAGS_ENABLE) || (control & PCI_MSIX_FLAGS_MASKALL) ||
        pci->dev.dma_off;
}

static bool entry_masked(const Msix *msix, unsigned vector)
{
    return entry(msix, vector)[PCI_MSIX_ENTRY_VECTOR_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

bool msix_vector_masked(const PciDevice *pci, unsigned vector)
{
    return pci->msix->function_masked || entry_masked(pci->msix, vector);
}

MsiMessage msix_message(const PciDevice *pci, unsigned vector)
{
    const uint8_t *e = entry(pci->msix, vector);

    return (MsiMessage){.address = load64_le(e), .data = load32_le(e + PCI_MSIX_ENTRY_DATA)};
}

/* ---- pending and masks --------------------------------------------------------------- */

static inline bool is_pending(const Msix *msix, unsigned vector)
{
    return (msix->pending[vector / 8] >> (vector % 8)) & 1;
}
static inline void set_pending(Msix *msix, unsigned vector)
{
    msix->pending[vector / 8] |= 1u << (vector % 8);
}
static inline void clear_pending(Msix *msix, unsigned vector)
{
    msix->pending[vector / 8] &= ~(1u << (vector % 8));
}

/* The vector was masked or not, and its entry or the function's word was written. */
static void vector_changed(PciDevice *pci, unsigned vector, bool was_masked)
{
    Msix *msix = pci->msix;
    bool masked = msix_vector_masked(pci, vector);

    if (msix->notifiers && msix->used[vector]) {
        if (!masked) {
            msix->notifiers->use(pci, vector, msix_message(pci, vector));
        } else if (!was_masked) {
            msix->notifiers->release(pci, vector);
        }
    }
    if (was_masked && !masked && is_pending(msix, vector)) {
        clear_pending(msix, vector);
        pci_send_msi(pci, msix_message(pci, vector));
    }
}

static void update_function_mask(PciDevice *pci)
{
    Msix *msix = pci->msix;
    bool was = msix->function_masked;

    update_enabled(pci);
    msix->function_masked = function_masked(pci);
    if (was == msix->function_masked) {
        return;
    }
    for (unsigned vector = 0; vector < msix->vectors; vector++) {
        vector_changed(pci, vector, was || entry_masked(msix, vector));
    }
}

void msix_notify(PciDevice *pci, unsigned vector)
{
    Msix *msix = pci->msix;

    if (!msix_enabled(pci) || vector >= msix->vectors || !msix->used[vector]) {
        return;
    }
    if (msix_vector_masked(pci, vector)) {
        set_pending(msix, vector);
        return;
    }
    pci_send_msi(pci, msix_message(pci, vector));
}

bool msix_vector_use(PciDevice *pci, unsigned vector)
{
    Msix *msix = pci->msix;

    if (!msix || vector >= msix->vectors || msix->used[vector] == UINT16_MAX) {
        return false;
    }
    if (msix->used[vector]++ == 0 && msix->notifiers && !msix_vector_masked(pci, vector)) {
        msix->notifiers->use(pci, vector, msix_message(pci, vector));
    }
    return true;
}

void msix_vector_unuse(PciDevice *pci, unsigned vector)
{
    Msix *msix = pci->msix;

    if (!msix || vector >= msix->vectors || !msix->used[vector] || --msix->used[vector]) {
        return;
    }
    if (msix->notifiers && !msix_vector_masked(pci, vector)) {
        msix->notifiers->release(pci, vector);
    }
    clear_pending(msix, vector);
}

void msix_unuse_all(PciDevice *pci)
{
    for (unsigned vector = 0; vector < msix_vectors(pci); vector++) {
        while (pci->msix->used[vector]) {
            msix_vector_unuse(pci, vector);
        }
    }
}

void msix_set_notifiers(PciDevice *pci, const MsixNotifiers *notifiers)
{
    Msix *msix = pci->msix;
    const MsixNotifiers *old = msix->notifiers;

    for (unsigned vector = 0; vector < msix->vectors; vector++) {
        if (!msix->used[vector] || msix_vector_masked(pci, vector)) {
            continue;
        }
        if (old) {
            old->release(pci, vector);
        }
        if (notifiers) {
            notifiers->use(pci, vector, msix_message(pci, vector));
        }
    }
    msix->notifiers = notifiers;
}

/* ---- table and pending bits as memory -------------------------------------------------- */

static uint64_t table_read(void *opaque, uint64_t offset, unsigned size)
{
    const Msix *msix = opaque;
    uint64_t value = load_le(msix->table + offset, size);

    trace(msix_table_read, "@0x%" PRIx64 " size %u -> 0x%" PRIx64, offset, size, value);
    return value;
}

static void table_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Msix *msix = opaque;
    unsigned vector = offset / MSIX_ENTRY_SIZE;
    bool was_masked = msix_vector_masked(msix->pci, vector);

    trace(msix_table_write, "@0x%" PRIx64 " size %u <- 0x%" PRIx64, offset, size, value);
    store_le(msix->table + offset, value, size);
    vector_changed(msix->pci, vector, was_masked);
}

static uint64_t pba_read(void *opaque, uint64_t offset, unsigned size)
{
    Msix *msix = opaque;

    if (msix->notifiers && msix->notifiers->poll) {
        unsigned end = MIN((unsigned)(offset + size) * 8, msix->vectors);

        for (unsigned vector = offset * 8; vector < end; vector++) {
            if (msix->used[vector] && msix_vector_masked(msix->pci, vector) &&
                msix->notifiers->poll(msix->pci, vector)) {
                set_pending(msix, vector);
            }
        }
    }
    return load_le(msix->pending + offset, size);
}

static const RegionOps table_ops = {
    .read = table_read,
    .write = table_write,
    .valid = {.min_size = 4, .max_size = 8},
    .impl = {.min_size = 4, .max_size = 8},
};

static const RegionOps pba_ops = {
    .read = pba_read, /* writes are undefined by the specification: dropped */
    .valid = {.min_size = 4, .max_size = 8},
    .impl = {.min_size = 4, .max_size = 8},
};

/* ---- lifecycle ------------------------------------------------------------------------- */

static void mask_all(Msix *msix)
{
    for (unsigned vector = 0; vector < msix->vectors; vector++) {
        entry(msix, vector)[PCI_MSIX_ENTRY_VECTOR_CTRL] |= PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
}

bool msix_init(PciDevice *pci, unsigned vectors, Region *table_bar, unsigned table_bar_nr,
               uint32_t table_offset, Region *pba_bar, unsigned pba_bar_nr, uint32_t pba_offset,
               uint8_t offset, GError **err)
{
    Msix *msix;

    if (vectors < 1 || vectors > MSIX_MAX_VECTORS) {
        return error_set(err, "%s: %u MSI-X vectors: between 1 and %d are possible",
                         pci->dev.obj.type->name, vectors, MSIX_MAX_VECTORS);
    }
    if (!range_fits(table_offset, vectors * MSIX_ENTRY_SIZE, table_bar->size) ||
        !range_fits(pba_offset, pba_bytes(vectors), pba_bar->size) ||
        ((table_offset | pba_offset) & 7)) {
        return error_set(err, "%s: the MSI-X table of %u vectors does not fit its BAR",
                         pci->dev.obj.type->name, vectors);
    }
    offset = pci_add_capability(pci, PCI_CAP_ID_MSIX, offset, PCI_CAP_MSIX_SIZEOF);
    if (!offset) {
        return error_set(err, "no room for the MSI-X capability in the configuration space of %s",
                         pci->dev.obj.type->name);
    }
    store16_le(pci->config + offset + PCI_MSIX_FLAGS, vectors - 1);
    store32_le(pci->config + offset + PCI_MSIX_TABLE, table_offset | table_bar_nr);
    store32_le(pci->config + offset + PCI_MSIX_PBA, pba_offset | pba_bar_nr);
    store16_le(pci->wmask + offset + PCI_MSIX_FLAGS,
               PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    pci->cap_msix = offset;

    msix = pci->msix = g_new0(Msix, 1);
    msix->pci = pci;
    msix->vectors = vectors;
    msix->table = g_malloc0((size_t)vectors * MSIX_ENTRY_SIZE);
    msix->pending = g_malloc0(pba_bytes(vectors));
    msix->used = g_new0(uint16_t, vectors);
    msix->function_masked = true;
    mask_all(msix);
    region_init_io(&msix->table_region, &table_ops, msix, "msix-table",
                   (uint64_t)vectors * MSIX_ENTRY_SIZE);
    region_init_io(&msix->pba_region, &pba_ops, msix, "msix-pba", pba_bytes(vectors));
    region_set_owner(&msix->table_region, &pci->dev);
    region_set_owner(&msix->pba_region, &pci->dev);
    region_add(table_bar, table_offset, &msix->table_region);
    region_add(pba_bar, pba_offset, &msix->pba_region);
    return true;
}

bool msix_init_exclusive_bar(PciDevice *pci, unsigned vectors, unsigned bar_nr, GError **err)
{
    uint32_t size = 4096, pba_offset = size / 2;
    g_autofree Region *bar = g_new0(Region, 1);

    if (vectors * MSIX_ENTRY_SIZE > pba_offset) {
        pba_offset = vectors * MSIX_ENTRY_SIZE;
    }
    while (size < pba_offset + pba_bytes(vectors)) {
        size *= 2;
    }
    region_init_container(bar, "msix-bar", size);
    if (!msix_init(pci, vectors, bar, bar_nr, 0, bar, bar_nr, pba_offset, 0, err)) {
        region_destroy(bar);
        return false;
    }
    pci->msix->bar = g_steal_pointer(&bar);
    pci_register_bar(pci, bar_nr, PCI_BASE_ADDRESS_SPACE_MEMORY, pci->msix->bar);
    return true;
}

void msix_cleanup(PciDevice *pci)
{
    Msix *msix = pci->msix;

    if (!msix) {
        return;
    }
    msix_unuse_all(pci);
    region_destroy(&msix->table_region);
    region_destroy(&msix->pba_region);
    if (msix->bar) {
        region_destroy(msix->bar);
        g_free(msix->bar);
    }
    g_free(msix->table);
    g_free(msix->pending);
    g_free(msix->used);
    g_free(msix);
    pci->msix = NULL;
    pci->cap_msix = 0;
}

void msix_config_written(PciDevice *pci, uint32_t addr, unsigned size, uint16_t command_changed)
{
    uint32_t flags = pci->cap_msix + PCI_MSIX_FLAGS;
    bool touched = addr < flags + 2 && flags < addr + size;

    if (!touched && !(command_changed & PCI_COMMAND_MASTER)) {
        return;
    }
    update_function_mask(pci);
    if (msix_enabled(pci)) {
        pci_set_irq(pci, 0);
    }
}

void msix_reset(PciDevice *pci)
{
    Msix *msix = pci->msix;
    uint8_t *flags = pci->config + pci->cap_msix + PCI_MSIX_FLAGS;

    if (!msix) {
        return;
    }
    memset(msix->pending, 0, pba_bytes(msix->vectors)); /* before the mask: nothing is to be sent */
    store16_le(flags, load16_le(flags) & ~(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL));
    update_function_mask(pci);
    memset(msix->table, 0, (size_t)msix->vectors * MSIX_ENTRY_SIZE);
    mask_all(msix);
}

/* ---- state ------------------------------------------------------------------------------- */

static size_t wire_pending(const Msix *msix) { return (msix->vectors + 7) / 8; }

size_t msix_wire_size(const PciDevice *pci)
{
    const Msix *msix = pci->msix;

    return msix ? (size_t)msix->vectors * MSIX_ENTRY_SIZE + wire_pending(msix) : 0;
}

void msix_put(const PciDevice *pci, StateBuf *buf)
{
    const Msix *msix = pci->msix;

    if (msix) {
        state_put(buf, msix->table, (size_t)msix->vectors * MSIX_ENTRY_SIZE);
        state_put(buf, msix->pending, wire_pending(msix));
    }
}

bool msix_get(PciDevice *pci, StateBuf *buf)
{
    Msix *msix = pci->msix;

    if (!msix) {
        return true;
    }
    if (!state_get(buf, msix->table, (size_t)msix->vectors * MSIX_ENTRY_SIZE) ||
        !state_get(buf, msix->pending, wire_pending(msix))) {
        return false;
    }
    if (msix->vectors % 8) {
        msix->pending[msix->vectors / 8] &= (1u << (msix->vectors % 8)) - 1;
    }
    update_enabled(pci);
    msix->function_masked = function_masked(pci);
    for (unsigned vector = 0; vector < msix->vectors; vector++) {
        vector_changed(pci, vector, true);
    }
    return true;
}
