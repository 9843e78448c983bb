/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fw_cfg_io: the firmware configuration device at ports 0x510 to 0x51b. Spec: QEMU's
 * docs/specs/fw_cfg; the header has the overview.
 *
 * The selector and data ports run without the VM lock: firmware and old option ROMs read megabytes
 * through them, a byte an exit. The device's own mutex guards the contents and the position.
 *
 * Not done: writing through the data port (QEMU dropped it, too), the memory-mapped variant, and
 * deprecated keys that no firmware of PCs reads.
 */
#include "hw/nvram/fw_cfg_internal.h"

#include <inttypes.h>

#include "core/dma.h"
#include "util/iov.h"
#include "util/trace.h"

#define FW_CFG_IO_BASE 0x510
#define FW_CFG_DMA_BASE 0x514
#define FW_CFG_FILE_SLOTS 0x20u     /* default; the least that firmware relies on is 0x10 */

#define FW_CFG_VERSION 1u           /* bits of FW_CFG_ID */
#define FW_CFG_VERSION_DMA 2u

/* The control word of a DMA request. */
#define DMA_ERROR 1u
#define DMA_READ 2u
#define DMA_SKIP 4u
#define DMA_SELECT 8u
#define DMA_WRITE 16u
#define DMA_SIGNATURE UINT64_C(0x51454d5520434647) /* "QEMU CFG" */

/* Reads past an item's end give zeros; one request may not ask for more of them than this. */
#define ZERO_FILL_MAX (64 * MIB)
#define FD_CACHE_SIZE 4096u
#define FD_CHUNK MIB

/* ---- reading file-backed items -------------------------------------------------------- */

/* Mutex. */
static uint8_t fd_read_byte(FwCfg *fw, FwCfgItem *item, uint32_t offset)
{
    if (fw->cached != item || offset < fw->cache_offset || offset - fw->cache_offset >= fw->cache_len) {
        if (!fw->cache) {
            fw->cache = g_malloc(FD_CACHE_SIZE);
        }
        fw->cached = item;
        fw->cache_offset = offset;
        fw->cache_len = MIN(FD_CACHE_SIZE, item->fd_size - offset);
        fw_cfg_item_fd_read(item, offset, fw->cache, fw->cache_len);
    }
    return fw->cache[offset - fw->cache_offset];
}

/* File to guest memory without a copy in between. */
static bool fd_read_dma(FwCfg *fw, const FwCfgItem *item, uint32_t offset, uint64_t addr, uint32_t len)
{
    while (len) {
        uint32_t chunk = (uint32_t)MIN(len, FD_CHUNK);
        IoVec vec = {0};
        size_t done = 0;

        if (!dma_map(&fw->dev, addr, chunk, true, &vec)) {
            return false;
        }
        for (unsigned i = 0; i < vec.count; i++) {
            fw_cfg_item_fd_read(item, offset + (uint32_t)done, vec.iov[i].iov_base, vec.iov[i].iov_len);
            done += vec.iov[i].iov_len;
        }
        dma_unmap(&fw->dev, &vec, true, chunk);
        offset += chunk;
        addr += chunk;
        len -= chunk;
    }
    return true;
}

/* ---- selector and data port --------------------------------------------------------------- */

static void fw_cfg_select(FwCfg *fw, uint16_t key)
{
    unsigned limit = key & FW_CFG_KEY_ARCH ? FW_CFG_ARCH_ITEMS : (unsigned)FW_CFG_FILE_FIRST + fw->file_slots;
    bool valid = (key & FW_CFG_KEY_MASK) < limit;

    key &= (uint16_t)~0x4000u;
    if (valid) {
        fw_cfg_item_prepare(fw, key);
    }
    lock_acquire(&fw->mutex);
    fw->cur_entry = valid ? key : FW_CFG_INVALID;
    fw->cur_offset = 0;
    lock_release(&fw->mutex);
    trace(fw_cfg_select, "key 0x%x %s", key, valid ? "" : "(invalid)");
}

static uint64_t fw_cfg_data_read(void *opaque, uint64_t offset, unsigned size)
{
    FwCfg *fw = opaque;
    FwCfgItem *item;
    uint8_t value = 0;

    lock_acquire(&fw->mutex);
    item = fw_cfg_item_find(fw, fw->cur_entry);
    if (item && (fw_cfg_item_unmade(item) || (fw->cur_entry == FW_CFG_FILE_DIR && !item->bytes))) {
        /* Only after a reset or a load between selecting and reading. */
        uint16_t key = fw->cur_entry;
        lock_release(&fw->mutex);
        fw_cfg_item_prepare(fw, key);
        lock_acquire(&fw->mutex);
        item = fw_cfg_item_find(fw, fw->cur_entry);
    }
    if (item && fw->cur_offset < fw_cfg_item_size(item)) {
        if (item->fd >= 0) {
            value = fd_read_byte(fw, item, fw->cur_offset);
        } else {
            value = ((const uint8_t *)g_bytes_get_data(item->bytes, NULL))[fw->cur_offset];
        }
        fw->cur_offset++;
    }
    trace(fw_cfg_read, "key 0x%x = 0x%02x", fw->cur_entry, value);
    lock_release(&fw->mutex);
    return value;
}

static void fw_cfg_io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    if (size == 2) {
        fw_cfg_select(opaque, (uint16_t)value);
    } else {
        trace(fw_cfg_write_ignored, "value 0x%02x", (unsigned)value);
    }
}

/* Any one port reads data; only the selector takes 16 bits. */
static bool fw_cfg_io_accepts(void *opaque, uint64_t offset, unsigned size, bool is_write)
{
    return size == 1 || (is_write && size == 2);
}

static const RegionOps fw_cfg_io_ops = {
    .read = fw_cfg_data_read,
    .write = fw_cfg_io_write,
    .valid = {.min_size = 1, .max_size = 2, .accepts = fw_cfg_io_accepts},
    .impl = {.min_size = 1, .max_size = 2},
    .lockless = true,
};

/* ---- DMA ---------------------------------------------------------------------------------- */

/* A request, and the item and position it applies to: taken once, because the data port moves the
 * position without the VM lock. */
typedef struct DmaRequest {
    uint32_t control, length;
    uint64_t address;
    FwCfgItem *item;        /* NULL: none is selected */
    uint32_t offset, left;  /* position in the item, bytes from there to its end */
} DmaRequest;

/* The guest writes an item. Whole and exact, or refused. */
static bool dma_item_write(FwCfg *fw, const DmaRequest *req)
{
    FwCfgItem *item = req->item;
    GBytes *old;
    uint8_t *copy;
    gsize size;
    bool ok = false;

    if (!item || !item->source || !item->source->written || req->length > req->left) {
        return false;
    }
    old = item->bytes;
    copy = g_memdup2(g_bytes_get_data(old, &size), g_bytes_get_size(old));
    if (dma_read(&fw->dev, req->address, copy + req->offset, req->length)) {
        lock_acquire(&fw->mutex);
        item->bytes = g_bytes_new(copy, size);
        g_bytes_unref(old);
        lock_release(&fw->mutex);
        item->source->written(item->opaque, req->offset, req->length, copy);
        ok = true;
    }
    g_free(copy);
    return ok;
}

static bool dma_item_read(FwCfg *fw, const DmaRequest *req)
{
    uint32_t have = MIN(req->length, req->left);
    bool ok = true;

    if (have && req->item->fd >= 0) {
        ok = fd_read_dma(fw, req->item, req->offset, req->address, have);
    } else if (have) {
        const uint8_t *data = g_bytes_get_data(req->item->bytes, NULL);
        ok = dma_write(&fw->dev, req->address, data + req->offset, have);
    }
    if (ok && have < req->length) {
        if (req->length - have > ZERO_FILL_MAX) {
            guest_error(&fw->dev, "DMA read of %u bytes past the end of an item", req->length - have);
            return false;
        }
        ok = dma_fill(&fw->dev, req->address + have, 0, req->length - have);
    }
    return ok;
}

/* VM lock. The position moves by what the item had, as with the data port. */
static bool dma_run(FwCfg *fw, DmaRequest *req)
{
    uint16_t key;
    bool ok = true;

    if (req->control & DMA_SELECT) {
        fw_cfg_select(fw, (uint16_t)(req->control >> 16));
    }
    if (!(req->control & (DMA_READ | DMA_WRITE | DMA_SKIP))) {
        return true;
    }
    lock_acquire(&fw->mutex);
    key = fw->cur_entry;
    lock_release(&fw->mutex);
    fw_cfg_item_prepare(fw, key);
    lock_acquire(&fw->mutex);
    req->item = fw_cfg_item_find(fw, key);
    req->offset = fw->cur_offset;
    req->left = req->item && req->offset < fw_cfg_item_size(req->item) ? fw_cfg_item_size(req->item) - req->offset : 0;
    fw->cur_offset += MIN(req->length, req->left);
    lock_release(&fw->mutex);
    if (req->control & DMA_READ) {
        ok = dma_item_read(fw, req);
    } else if (req->control & DMA_WRITE) {
        ok = dma_item_write(fw, req);
    }
    return ok;
}

static void dma_start(FwCfg *fw)
{
    uint64_t addr = fw->dma_addr;
    uint8_t raw[16], result[4];
    DmaRequest req;
    bool ok = false;

    fw->dma_addr = 0;
    if (dma_read(&fw->dev, addr, raw, sizeof raw)) {
        req = (DmaRequest){
            .control = load32_be(raw), .length = load32_be(raw + 4), .address = load64_be(raw + 8)};
        trace(fw_cfg_dma, "control 0x%x length %u address 0x%" PRIx64, req.control, req.length, req.address);
        ok = dma_run(fw, &req);
    }
    if (!ok) {
        guest_error(&fw->dev, "DMA request at 0x%" PRIx64 " failed", addr);
    }
    store32_be(result, ok ? 0 : DMA_ERROR);
    dma_write(&fw->dev, addr, result, sizeof result);
}

static uint64_t fw_cfg_dma_read(void *opaque, uint64_t offset, unsigned size)
{
    return extract_bits(DMA_SIGNATURE, (unsigned)(8 - offset - size) * 8, size * 8);
}

static void fw_cfg_dma_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    FwCfg *fw = opaque;

    trace(fw_cfg_dma_write, "offset %u value 0x%" PRIx64, (unsigned)offset, value);
    if (size == 4 && offset == 0) {
        fw->dma_addr = value << 32;
    } else if (size == 4 && offset == 4) {
        fw->dma_addr |= value;
        dma_start(fw);
    } else if (size == 8 && offset == 0) {
        fw->dma_addr = value;
        dma_start(fw);
    }
}

static bool fw_cfg_dma_accepts(void *opaque, uint64_t offset, unsigned size, bool is_write)
{
    return !is_write || (size == 4 && (offset == 0 || offset == 4)) || (size == 8 && offset == 0);
}

static const RegionOps fw_cfg_dma_ops = {
    .read = fw_cfg_dma_read,
    .write = fw_cfg_dma_write,
    .valid = {.min_size = 1, .max_size = 8, .accepts = fw_cfg_dma_accepts},
    .impl = {.min_size = 1, .max_size = 8},
    .big_endian = true,
};

/* ---- lifecycle ----------------------------------------------------------------------------- */

static void fw_cfg_init(Object *obj)
{
    FwCfg *fw = container_of(obj, FwCfg, dev.obj);

    lock_init(&fw->mutex, "fw_cfg", LOCK_RANK_DEVICE);
    fw->files = g_ptr_array_new_with_free_func(fw_cfg_file_free);
    fw->cur_entry = 0;
}

static void fw_cfg_finalize(Object *obj)
{
    FwCfg *fw = container_of(obj, FwCfg, dev.obj);

    for (unsigned i = 0; i < G_N_ELEMENTS(fw->common); i++) {
        fw_cfg_item_free(fw->common[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(fw->arch); i++) {
        fw_cfg_item_free(fw->arch[i]);
    }
    g_ptr_array_unref(fw->files);
    g_free(fw->cache);
    lock_destroy(&fw->mutex);
}

static bool fw_cfg_realize(Device *dev, GError **err)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);

    fw->common[FW_CFG_FILE_DIR] = fw_cfg_item_new();
    fw_cfg_add_bytes(fw, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_set_u32(fw, FW_CFG_ID, FW_CFG_VERSION | (fw->dma_enabled ? FW_CFG_VERSION_DMA : 0));
    region_init_io(&fw->io, &fw_cfg_io_ops, fw, "fwcfg", 2);
    region_set_owner(&fw->io, dev);
    region_add(&dev->vm->system_io, FW_CFG_IO_BASE, &fw->io);
    if (fw->dma_enabled) {
        region_init_io(&fw->dma, &fw_cfg_dma_ops, fw, "fwcfg.dma", 8);
        region_set_owner(&fw->dma, dev);
        region_add(&dev->vm->system_io, FW_CFG_DMA_BASE, &fw->dma);
    }
    return true;
}

static void fw_cfg_unrealize(Device *dev)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);

    region_remove(&fw->io);
    region_destroy(&fw->io);
    if (fw->dma_enabled) {
        region_remove(&fw->dma);
        region_destroy(&fw->dma);
    }
}

/* What is made on demand is made again, from the machine as it then is. */
static void item_forget(FwCfgItem *item)
{
    if (item && item->source) {
        g_clear_pointer(&item->bytes, g_bytes_unref);
    }
}

static void fw_cfg_reset(Device *dev)
{
    FwCfg *fw = container_of(dev, FwCfg, dev);

    lock_acquire(&fw->mutex);
    for (unsigned i = 0; i < fw->files->len; i++) {
        item_forget(((FwCfgFile *)g_ptr_array_index(fw->files, i))->item);
    }
    g_clear_pointer(&fw->common[FW_CFG_FILE_DIR]->bytes, g_bytes_unref);
    fw->cur_entry = 0;
    fw->cur_offset = 0;
    fw->dma_addr = 0;
    lock_release(&fw->mutex);
}

FwCfg *fw_cfg_io_create(Vm *vm, GError **err)
{
    Device *dev = device_new(vm, "fw_cfg_io");

    if (!device_realize_board(dev, "fw_cfg", NULL, err)) {
        object_unref(dev);
        return NULL;
    }
    return container_of(dev, FwCfg, dev);
}

FwCfg *fw_cfg_find(Vm *vm)
{
    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(vm->devices, i);
        if (object_is_a(dev, "fw_cfg_io")) {
            return container_of(dev, FwCfg, dev);
        }
    }
    return NULL;
}

/* ---- tables -------------------------------------------------------------------------------- */

static const Property fw_cfg_props[] = {
    PROP_BOOL("dma_enabled", FwCfg, dma_enabled, .def = true, .help = "offer the DMA interface"),
    PROP_U16("x-file-slots", FwCfg, file_slots, .def = FW_CFG_FILE_SLOTS, .min = 0x10, .max = 0x3fdf,
             .help = "how many files the directory has room for"),
    PROP_BOOL("acpi-mr-restore", FwCfg, acpi_mr_restore, .def = true,
              .help = "migrate the sizes of the ACPI files"),
    {}
};

static bool fw_cfg_dma_needed(void *obj)
{
    return ((FwCfg *)obj)->dma_enabled;
}

static const StateField fw_cfg_dma_fields[] = {STATE_U64(FwCfg, dma_addr), {}};
static const StateDesc fw_cfg_dma_state = {
    .name = "fw_cfg/dma", .needed = fw_cfg_dma_needed, .fields = fw_cfg_dma_fields};

static uint64_t file_size(FwCfg *fw, const char *name)
{
    GBytes *content = fw_cfg_file_content(fw, name);
    uint64_t size = content ? g_bytes_get_size(content) : 0;

    g_clear_pointer(&content, g_bytes_unref);
    return size;
}

static void acpi_mr_sizes(FwCfg *fw)
{
    fw->table_mr_size = file_size(fw, "etc/acpi/tables");
    fw->linker_mr_size = file_size(fw, "etc/table-loader");
    fw->rsdp_mr_size = file_size(fw, "etc/acpi/rsdp");
}

/* As QEMU: only sizes that are no whole pages need telling. */
static bool fw_cfg_acpi_mr_needed(void *obj)
{
    FwCfg *fw = obj;

    if (!fw->acpi_mr_restore) {
        return false;
    }
    acpi_mr_sizes(fw);
    return (fw->table_mr_size | fw->linker_mr_size | fw->rsdp_mr_size) & 0xfff;
}

static const StateField fw_cfg_acpi_mr_fields[] = {
    STATE_U64(FwCfg, table_mr_size),
    STATE_U64(FwCfg, linker_mr_size),
    STATE_U64(FwCfg, rsdp_mr_size),
    {}
};
static const StateDesc fw_cfg_acpi_mr_state = {
    .name = "fw_cfg/acpi_mr", .version = 1, .min_version = 1, .needed = fw_cfg_acpi_mr_needed,
    .fields = fw_cfg_acpi_mr_fields};

static const StateField fw_cfg_fields[] = {
    STATE_U16(FwCfg, cur_entry),
    /* QEMU describes it as the second of two alternatives of one name. */
    {.name = "cur_offset[1]", .kind = &state_kind_u32, .offset = offsetof(FwCfg, cur_offset), .size = 4,
     .stride = 4, .count = 1},
    {}
};
static const StateDesc *const fw_cfg_subsections[] = {&fw_cfg_dma_state, &fw_cfg_acpi_mr_state, NULL};
static const StateDesc fw_cfg_state = {
    .name = "fw_cfg", .version = 2, .min_version = 2, .fields = fw_cfg_fields, .subsections = fw_cfg_subsections};

DEVICE_TYPE(fw_cfg_io) = {
    .name = "fw_cfg_io",
    .parent = "device",
    .desc = "firmware configuration device",
    .not_user = "it is a part of the board",
    .size = sizeof(FwCfg),
    .props = fw_cfg_props,
    .state = &fw_cfg_state,
    .init = fw_cfg_init,
    .finalize = fw_cfg_finalize,
    .realize = fw_cfg_realize,
    .unrealize = fw_cfg_unrealize,
    .reset = fw_cfg_reset,
};
