/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Data of packet commands (SFF-8020i).
 *
 * A reply lies in io_buffer and is offered in pieces of at most the byte count that the host wrote
 * to the cylinder registers, each with an interrupt; or it goes to memory by DMA. Sectors read by
 * DMA go to the guest's memory directly.
 *
 * QEMU 7.2's stream has io_buffer and what is left of the reply, but not which sectors come next.
 * Kiln notes that in the last bytes of the buffer, which it leaves free. Where the note is missing
 * (QEMU wrote the state), a read of the medium ends with an error at the end of the sector that is
 * in the buffer, and the guest reads again.
 */
#include <errno.h>

#include "hw/ide/atapi.h"
#include "hw/scsi/mmc.h"
#include "util/iov.h"
#include "util/trace.h"

#define BUFFER_BYTES (256 * 512) /* of the buffer, for data and the note */
/* The note: magic, next sector, sectors left, bytes of a block, bytes in the buffer. */
#define NOTE_MAGIC UINT64_C(0x61746170694b696c)
#define NOTE_BYTES 32
#define NOTE_AT (BUFFER_BYTES - NOTE_BYTES)
#define LARGEST_REPLY 2052 /* READ DVD STRUCTURE; a longer one is of the medium */

/* ---- ends ----------------------------------------------------------------------------------- */

void ide_atapi_ok(IdeDrive *d)
{
    d->error = 0;
    d->status = IDE_DRDY | IDE_DSC;
    d->nsector = (d->nsector & ~7u) | 3; /* to host, command */
    ide_raise_irq(d->bus);
}

void ide_atapi_error(IdeDrive *d, uint8_t key, uint8_t asc)
{
    trace(atapi_error, "bus %u unit %u key %x asc %02x", d->bus->index, d->unit, key, asc);
    ide_stop_transfer(d);
    d->atapi_block = 0;
    d->error = (uint8_t)(key << 4);
    d->status = IDE_DRDY | IDE_ERR;
    d->nsector = (d->nsector & ~7u) | 3;
    d->sense_key = key;
    d->asc = asc;
    if (d->bus->dma_drive == d) {
        ide_dma_finish(d, IDE_DMA_DRIVE_ERROR);
    }
    ide_raise_irq(d->bus);
}

bool ide_atapi_has_medium(const IdeDrive *d)
{
    return !d->tray_open && blk_is_inserted(d->blk) && blk_size(d->blk) > 0;
}
uint64_t ide_atapi_sectors(const IdeDrive *d)
{
    return blk_size(d->blk) / CD_SECTOR;
}

/* ---- reading the medium --------------------------------------------------------------------- */

/* count sectors of 2048 bytes at base become raw frames there, from the last to the first. */
static void add_raw_frames(IdeDrive *d, uint8_t *base, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;) {
        uint8_t *frame = base + (size_t)i * CD_RAW_SECTOR;

        memmove(frame + 16, base + (size_t)i * CD_SECTOR, CD_SECTOR);
        memset(frame, 0xff, 12);
        frame[0] = frame[11] = 0;
        mmc_put_msf(frame + 12, d->atapi_sector + i);
        frame[15] = 1;                                                     /* mode 1 */
        memset(frame + 16 + CD_SECTOR, 0, CD_RAW_SECTOR - CD_SECTOR - 16); /* no EDC/ECC */
    }
}

static bool read_failed(IdeDrive *d, int result, int kind)
{
    IdeBus *bus = d->bus;

    if (result == -ENOMEDIUM || !ide_atapi_has_medium(d)) {
        ide_atapi_error(d, SENSE_NOT_READY, ASC_NO_MEDIUM);
        return true;
    }
    switch (blk_error_action(d->blk, true, result)) {
    case BLK_ERROR_IGNORE:
        return false;
    case BLK_ERROR_STOP:
        bus->error_status = kind | IDE_RETRY_READ;
        bus->retry_unit = d->unit;
        return true;
    case BLK_ERROR_REPORT:
        break;
    }
    ide_atapi_error(d, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ);
    return true;
}

static void reply_refilled(IdeDrive *d, int result)
{
    if (result < 0 && read_failed(d, result, IDE_RETRY_PIO)) {
        return;
    }
    if (d->atapi_block == CD_RAW_SECTOR) {
        add_raw_frames(d, d->io_buffer + d->buf_end, d->io_sectors);
    }
    d->buf_end += d->io_sectors * d->atapi_block;
    d->atapi_sector += d->io_sectors;
    d->atapi_sectors_left -= d->io_sectors;
    ide_atapi_reply_next(d);
}

/* Moves what is left to the front and reads sectors behind it. */
static void refill(IdeDrive *d)
{
    uint32_t left = d->buf_end - d->buf_pos;
    uint32_t room = (NOTE_AT - left) / d->atapi_block;

    memmove(d->io_buffer, d->io_buffer + d->buf_pos, left);
    d->io_sectors = MIN(d->atapi_sectors_left, room);
    d->buf_pos = 0;
    d->buf_end = left;
    d->status = IDE_DRDY | IDE_DSC | IDE_BSY;
    d->iov = (struct iovec){d->io_buffer + left, (size_t)d->io_sectors * CD_SECTOR};
    ide_submit_read(d, d->atapi_sector * CD_SECTOR, &d->iov, 1, reply_refilled);
}

/* The size of the next piece: the host's byte count, even unless it is the last. */
static uint32_t piece_size(const IdeDrive *d, uint32_t total)
{
    uint32_t limit = (uint32_t)d->hcyl << 8 | d->lcyl;

    limit = limit == 0xffff ? 0xfffe : limit;
    if (total <= limit) {
        return total;
    }
    return limit > 1 ? limit & ~1u : limit;
}

/* A piece was taken, or the reply begins, or the buffer was refilled. packet_transfer_size: bytes
 * of the reply that were not offered yet. */
void ide_atapi_reply_next(IdeDrive *d)
{
    uint32_t total = (uint32_t)d->packet_transfer_size, size;

    if (!total) {
        ide_stop_transfer(d);
        ide_atapi_ok(d);
        return;
    }
    size =
        d->elementary_transfer_size ? (uint32_t)d->elementary_transfer_size : piece_size(d, total);
    size = MIN(size, total);
    if (d->buf_end - d->buf_pos < size) {
        if (!d->atapi_block || !d->atapi_sectors_left) {
            /* A state was loaded in the middle of a long read that does not say which sector. */
            ide_atapi_error(d, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ);
            return;
        }
        if (!range_fits(d->atapi_sector, d->atapi_sectors_left, ide_atapi_sectors(d))) {
            ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE); /* a loaded note */
            return;
        }
        refill(d);
        return;
    }
    d->elementary_transfer_size = 0;
    d->packet_transfer_size -= (int32_t)size;
    d->lcyl = (uint8_t)size;
    d->hcyl = (uint8_t)(size >> 8);
    d->nsector = (d->nsector & ~7u) | 2; /* to host, data */
    d->status = IDE_DRDY | IDE_DSC;
    ide_start_transfer(d, d->buf_pos, size, IDE_NEXT_PACKET_REPLY, false);
    d->buf_pos += size;
    ide_raise_irq(d->bus);
}

/* ---- by DMA --------------------------------------------------------------------------------- */

static void medium_dma_done(IdeDrive *d, int result)
{
    if (result < 0 && read_failed(d, result, IDE_RETRY_DMA)) {
        return;
    }
    d->atapi_sector += d->io_sectors;
    d->atapi_sectors_left -= d->io_sectors;
    if (d->atapi_sectors_left) {
        ide_atapi_dma(d);
        return;
    }
    ide_dma_finish(d, IDE_DMA_DONE);
    ide_atapi_ok(d);
}

static void raw_dma_done(IdeDrive *d, int result)
{
    uint32_t len = d->io_sectors * CD_RAW_SECTOR;
    int64_t mapped;

    if (result < 0 && read_failed(d, result, IDE_RETRY_DMA)) {
        return;
    }
    add_raw_frames(d, d->io_buffer, d->io_sectors);
    mapped = ide_dma_map(d, len, true);
    if (mapped >= 0) {
        iov_from_buf(d->dma_vec.iov, d->dma_vec.count, 0, d->io_buffer, len);
        ide_dma_unmap(d, true);
    }
    if (mapped < (int64_t)len) {
        ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
    }
    medium_dma_done(d, 0);
}

static void reply_dma(IdeDrive *d)
{
    int64_t mapped = ide_dma_map(d, d->buf_end, true);

    if (mapped < 0) {
        ide_abort(d);
        ide_dma_finish(d, IDE_DMA_BUS_ERROR);
        ide_raise_irq(d->bus);
        return;
    }
    iov_from_buf(d->dma_vec.iov, d->dma_vec.count, 0, d->io_buffer, d->buf_end);
    ide_dma_unmap(d, true);
    ide_dma_finish(d, IDE_DMA_DONE);
    ide_atapi_ok(d);
}

void ide_atapi_dma(IdeDrive *d)
{
    uint64_t limit = (uint64_t)d->atapi_sectors_left * CD_SECTOR;
    int64_t mapped;

    if (!d->atapi_block) {
        reply_dma(d);
        return;
    }
    if (d->atapi_block == CD_RAW_SECTOR) {
        d->io_sectors = MIN(d->atapi_sectors_left, BUFFER_BYTES / CD_RAW_SECTOR);
        d->iov = (struct iovec){d->io_buffer, (size_t)d->io_sectors * CD_SECTOR};
        ide_submit_read(d, d->atapi_sector * CD_SECTOR, &d->iov, 1, raw_dma_done);
        return;
    }
    mapped = ide_dma_map(d, limit, true);
    if (mapped < 0 || mapped % CD_SECTOR || !mapped) {
        if (mapped >= 0) {
            ide_dma_unmap(d, true);
        }
        guest_error(d->bus->dma_device, "DMA table of a CD read is bad or not whole sectors");
        ide_abort(d);
        ide_dma_finish(d, IDE_DMA_BUS_ERROR);
        ide_raise_irq(d->bus);
        return;
    }
    d->io_sectors = (uint32_t)(mapped / CD_SECTOR);
    ide_submit_read(d, d->atapi_sector * CD_SECTOR, d->dma_vec.iov, d->dma_vec.count,
                    medium_dma_done);
}

static void begin_dma(IdeDrive *d)
{
    IdeBus *bus = d->bus;

    bus->retry_unit = d->unit;
    bus->retry_sector_num = (int64_t)d->atapi_sector;
    bus->retry_nsector = d->atapi_sectors_left;
    d->status = IDE_DRDY | IDE_DSC | IDE_DRQ | IDE_BSY;
    ide_dma_begin(d, ide_atapi_dma);
}

void ide_atapi_reply(IdeDrive *d, uint32_t len, uint32_t max)
{
    d->atapi_block = d->atapi_sectors_left = 0;
    d->buf_pos = 0;
    d->buf_end = MIN(len, max);
    d->packet_transfer_size = (int32_t)d->buf_end;
    d->elementary_transfer_size = 0;
    if (d->buf_end && d->atapi_dma) {
        begin_dma(d);
    } else {
        ide_atapi_reply_next(d);
    }
}

void ide_atapi_read_medium(IdeDrive *d, uint32_t lba, uint32_t count, uint32_t block)
{
    if (!count) {
        ide_atapi_ok(d);
        return;
    }
    if (!range_fits(lba, count, ide_atapi_sectors(d)) || (uint64_t)count * block > INT32_MAX) {
        ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
        return;
    }
    d->atapi_sector = lba;
    d->atapi_sectors_left = count;
    d->atapi_block = block;
    d->buf_pos = d->buf_end = 0;
    d->packet_transfer_size = (int32_t)(count * block);
    d->elementary_transfer_size = 0;
    if (d->atapi_dma) {
        begin_dma(d);
    } else {
        ide_atapi_reply_next(d);
    }
}

/* ---- state ---------------------------------------------------------------------------------- */

void ide_atapi_save_note(IdeDrive *d)
{
    uint8_t *note = d->io_buffer + NOTE_AT;

    if (load64_be(note) == NOTE_MAGIC) {
        memset(note, 0, NOTE_BYTES);
    }
    if (d->atapi_block && (d->end_transfer_fn_idx == IDE_NEXT_PACKET_REPLY ||
                           (d->bus->error_status & IDE_RETRY_PIO))) {
        store64_be(note, NOTE_MAGIC);
        store64_be(note + 8, d->atapi_sector);
        store32_be(note + 16, d->atapi_sectors_left);
        store32_be(note + 20, d->atapi_block);
        store32_be(note + 24, d->buf_end);
    }
}

/* The host's bytes are checked as the guest's are: a note that cannot be is none. */
static bool load_note(IdeDrive *d)
{
    const uint8_t *note = d->io_buffer + NOTE_AT;
    const uint64_t sector = load64_be(note + 8);
    const uint32_t left = load32_be(note + 16), block = load32_be(note + 20), end = load32_be(note + 24);

    if (load64_be(note) != NOTE_MAGIC || end < d->data_end || end > NOTE_AT ||
        (block != 0 && block != CD_SECTOR && block != CD_RAW_SECTOR) || (!block && left) ||
        sector > UINT32_MAX || left > INT32_MAX / CD_SECTOR) {
        return false;
    }
    d->atapi_sector = sector;
    d->atapi_sectors_left = left;
    d->atapi_block = block;
    d->buf_end = end;
    return true;
}

void ide_atapi_load_note(IdeDrive *d)
{
    const uint64_t end = (uint64_t)d->data_end + (uint32_t)d->packet_transfer_size +
                         (uint32_t)d->elementary_transfer_size;

    d->buf_pos = d->data_end;
    d->atapi_sector = 0;
    d->atapi_block = d->atapi_sectors_left = 0;
    if (!load_note(d)) {
        d->buf_end = end <= LARGEST_REPLY ? (uint32_t)end : d->data_end;
    }
}
