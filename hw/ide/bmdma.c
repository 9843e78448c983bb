/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bus master IDE; see bmdma.h. A table is at most 4 KiB (512 entries) here, as in QEMU: enough for
 * the largest command, and a bound for the walk. Each entry is read once.
 */
#include "hw/ide/bmdma.h"
#include "core/dma.h"
#include "util/trace.h"

#define BM_TABLE_MAX 4096

/* ---- the table ------------------------------------------------------------------------------ */

/* False: the table ended. */
static bool next_entry(BmDma *bm, bool *failed)
{
    uint8_t raw[8];
    uint32_t len;

    if (bm->cur_prd_last || bm->cur_addr - bm->addr >= BM_TABLE_MAX) {
        return false;
    }
    if (!dma_read(bm->dev, bm->cur_addr, raw, sizeof raw)) {
        *failed = true;
        return false;
    }
    bm->cur_addr += 8;
    len = load32_le(raw + 4);
    bm->cur_prd_addr = load32_le(raw);
    bm->cur_prd_len = (len & 0xfffe) ? len & 0xfffe : 0x10000;
    bm->cur_prd_last = len >> 31;
    return true;
}

static int64_t bm_map(IdeBus *bus, uint64_t limit, bool to_guest, IoVec *vec, bool *more)
{
    BmDma *bm = bus->dma_opaque;
    uint64_t total = 0;
    bool failed = false;

    while (total < limit && (bm->cur_prd_len || next_entry(bm, &failed))) {
        uint32_t len = (uint32_t)MIN(limit - total, bm->cur_prd_len);

        if (!dma_map(bm->dev, bm->cur_prd_addr, len, to_guest, vec)) {
            guest_error(bm->dev, "bus master table points at %08x, which is no RAM",
                        bm->cur_prd_addr);
            failed = true;
            break;
        }
        bm->cur_prd_addr += len;
        bm->cur_prd_len -= len;
        total += len;
    }
    if (failed) {
        dma_unmap(bm->dev, vec, to_guest, 0);
        return -1;
    }
    *more = bm->cur_prd_len || !bm->cur_prd_last;
    return (int64_t)total;
}

static void bm_unmap(IdeBus *bus, IoVec *vec, bool to_guest, uint64_t written)
{
    BmDma *bm = bus->dma_opaque;

    dma_unmap(bm->dev, vec, to_guest, written);
}

/* ---- the engine ----------------------------------------------------------------------------- */

static void rewind_table(BmDma *bm)
{
    bm->cur_addr = bm->addr;
    bm->cur_prd_last = bm->cur_prd_addr = bm->cur_prd_len = 0;
}

static void bm_start(IdeBus *bus)
{
    BmDma *bm = bus->dma_opaque;

    rewind_table(bm);
    if (bm->status & BM_STATUS_ACTIVE) {
        ide_dma_ready(bus);
    } else {
        bm->waiting = true;
    }
}

static void bm_finish(IdeBus *bus, bool stay_active, bool bus_error)
{
    BmDma *bm = bus->dma_opaque;

    bm->waiting = false;
    if (!stay_active) {
        bm->status &= (uint8_t)~BM_STATUS_ACTIVE;
    }
    if (bus_error) {
        bm->status |= BM_STATUS_ERROR;
    }
}

static void bm_interrupt(IdeBus *bus)
{
    BmDma *bm = bus->dma_opaque;

    bm->status |= BM_STATUS_INT;
}

static void bm_reset(IdeBus *bus)
{
    BmDma *bm = bus->dma_opaque;

    bm->cmd = bm->status = 0;
    bm->addr = 0;
    bm->waiting = false;
    rewind_table(bm);
}

static const IdeDmaOps bm_ops = {
    .start = bm_start,
    .map = bm_map,
    .unmap = bm_unmap,
    .finish = bm_finish,
    .interrupt = bm_interrupt,
    .reset = bm_reset,
};

/* ---- registers ------------------------------------------------------------------------------ */

static void stop_engine(BmDma *bm)
{
    IdeDrive *d = bm->bus->dma_drive;

    /* The guest takes the transfer back: what was sent to the host is waited for and forgotten. */
    if (d && d->request) {
        blk_drain(d->blk);
    }
    bm->waiting = bm->bus->dma_drive != NULL;
    bm->status &= (uint8_t)~BM_STATUS_ACTIVE;
}

static void write_command(BmDma *bm, uint8_t value)
{
    bool starts = (value & BM_CMD_START) && !(bm->cmd & BM_CMD_START);
    bool stops = !(value & BM_CMD_START) && (bm->cmd & BM_CMD_START);

    bm->cmd = value & (BM_CMD_START | BM_CMD_READ);
    if (stops) {
        stop_engine(bm);
    } else if (starts) {
        rewind_table(bm);
        bm->status |= BM_STATUS_ACTIVE;
        if (bm->waiting) {
            bm->waiting = false;
            ide_dma_ready(bm->bus);
        }
    }
}

static uint64_t bm_read(void *opaque, uint64_t offset, unsigned size)
{
    const BmDma *bm = opaque;
    uint64_t value = all_ones(size);

    if (size == 1 && offset == 0) {
        value = bm->cmd;
    } else if (size == 1 && offset == 2) {
        value = bm->status;
    }
    trace(bmdma_read, "bus %u offset %u size %u value %" PRIx64, bm->bus->index, (unsigned)offset,
          size, value);
    return value;
}

static void bm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    BmDma *bm = opaque;

    trace(bmdma_write, "bus %u offset %u size %u value %" PRIx64, bm->bus->index, (unsigned)offset,
          size, value);
    if (size != 1) {
        return;
    }
    if (offset == 0) {
        write_command(bm, (uint8_t)value);
    } else if (offset == 2) {
        /* Bits 5 and 6 are the BIOS's, 1 and 2 are cleared by ones. */
        bm->status = (uint8_t)((value & 0x60) | (bm->status & 1) | (bm->status & ~value & 0x06));
    }
}

static uint64_t addr_read(void *opaque, uint64_t offset, unsigned size)
{
    const BmDma *bm = opaque;
    uint64_t value = (bm->addr >> (8 * offset)) & all_ones(size);

    trace(bmdma_addr_read, "bus %u offset %u value %" PRIx64, bm->bus->index, (unsigned)offset,
          value);
    return value;
}

static void addr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    BmDma *bm = opaque;
    uint32_t mask = (uint32_t)(all_ones(size) << (8 * offset));

    trace(bmdma_addr_write, "bus %u offset %u value %" PRIx64, bm->bus->index, (unsigned)offset,
          value);
    bm->addr = ((bm->addr & ~mask) | ((uint32_t)(value << (8 * offset)) & mask)) & ~3u;
}

static const RegionOps regs_ops = {
    .read = bm_read,
    .write = bm_write,
    .valid = {.min_size = 1, .max_size = 4, .unaligned = true},
    .impl = {.min_size = 1, .max_size = 4, .unaligned = true},
};

static const RegionOps addr_ops = {
    .read = addr_read,
    .write = addr_write,
    .valid = {.min_size = 1, .max_size = 4},
    .impl = {.min_size = 1, .max_size = 4},
};

void bmdma_init(BmDma *bm, IdeBus *bus, Device *dev, Region *bar, uint32_t offset)
{
    bm->bus = bus;
    bm->dev = dev;
    bus->dma_ops = &bm_ops;
    bus->dma_opaque = bm;
    region_init_io(&bm->regs, &regs_ops, bm, "piix-bmdma", 4);
    region_init_io(&bm->addr_regs, &addr_ops, bm, "bmdma", 4);
    region_set_owner(&bm->regs, dev);
    region_set_owner(&bm->addr_regs, dev);
    region_add(bar, offset, &bm->regs);
    region_add(bar, offset + 4, &bm->addr_regs);
}

/* ---- state ---------------------------------------------------------------------------------- */

static bool current_needed(void *obj)
{
    const BmDma *bm = obj;

    return bm->cur_prd_len != 0;
}

static const StateField current_fields[] = {STATE_U32(BmDma, cur_addr),
                                            STATE_U32(BmDma, cur_prd_last),
                                            STATE_U32(BmDma, cur_prd_addr),
                                            STATE_U32(BmDma, cur_prd_len, .max = 0x10000),
                                            {}};
static const StateDesc current_state = {
    .name = "ide bmdma_addr/current",
    .version = 1,
    .min_version = 1,
    .fields = current_fields,
    .needed = current_needed,
};

/* The older field shows the retry bits of a request that stopped the VM in place of these bits of
 * the status; when the status has any of them, it goes here. */
#define SHARED_BITS (IDE_RETRY_DMA | IDE_RETRY_PIO | IDE_RETRY_READ | IDE_RETRY_FLUSH)

static bool status_needed(void *obj)
{
    const BmDma *bm = obj;

    return (bm->status & SHARED_BITS) != 0;
}

static const StateField status_fields[] = {STATE_U8(BmDma, status), {}};
static const StateDesc status_state = {
    .name = "ide bmdma/status",
    .version = 1,
    .min_version = 1,
    .fields = status_fields,
    .needed = status_needed,
};

static void bm_pre_save(void *obj)
{
    BmDma *bm = obj;
    const IdeBus *bus = bm->bus;

    bm->migration_compat_status =
        (uint8_t)((bm->status & ~SHARED_BITS) | (bus->error_status & SHARED_BITS));
    bm->migration_retry_sector_num = bus->retry_sector_num;
    bm->migration_retry_nsector = bus->retry_nsector;
    bm->migration_retry_unit = bus->retry_unit;
}

static bool bm_pre_load(void *obj, GError **err)
{
    (void)err;
    STATE_KEEP(((BmDma *)obj)->status);
    ((BmDma *)obj)->status = 0;
    return true;
}

static bool bm_post_load(void *obj, unsigned version, GError **err)
{
    BmDma *bm = obj;
    IdeBus *bus = bm->bus;

    (void)version;
    (void)err;
    if (!bm->status) {
        bm->status = bm->migration_compat_status & (uint8_t)~SHARED_BITS;
    }
    bm->status &= 0x67;
    bus->error_status |= bm->migration_compat_status & SHARED_BITS;
    bus->retry_sector_num = bm->migration_retry_sector_num;
    bus->retry_nsector = bm->migration_retry_nsector;
    bus->retry_unit = bm->migration_retry_unit;
    return true;
}

static const StateField bm_fields[] = {STATE_U8(BmDma, cmd),
                                       STATE_U8(BmDma, migration_compat_status),
                                       STATE_U32(BmDma, addr),
                                       STATE_I64(BmDma, migration_retry_sector_num),
                                       STATE_U32(BmDma, migration_retry_nsector, .max = 65536),
                                       STATE_U8(BmDma, migration_retry_unit), /* 255: none */
                                       {}};
static const StateDesc *const bm_subsections[] = {&current_state, &status_state, NULL};
const StateDesc bmdma_state = {
    .name = "ide bmdma",
    .version = 3,
    .fields = bm_fields,
    .subsections = bm_subsections,
    .pre_save = bm_pre_save,
    .pre_load = bm_pre_load,
    .post_load = bm_post_load,
};
