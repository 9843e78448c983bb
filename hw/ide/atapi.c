/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packet commands of a CD/DVD-ROM drive (SFF-8020i, MMC-5, SPC-3).
 *
 * A reply lies in io_buffer and is offered in pieces of at most the byte count that the host wrote
 * to the cylinder registers, each with an interrupt; or it goes to memory by DMA. Sectors read by
 * DMA go to the guest's memory directly.
 *
 * Not done: audio, subchannels, writing. Kept of QEMU 7.2: sense stays until the next error (unit
 * attention aside), REQUEST SENSE always gives 18 bytes, no unit attention after power on.
 */
#include <errno.h>

#include "hw/ide/ide.h"
#include "util/iov.h"
#include "util/trace.h"

#define CD_SECTOR 2048
#define CD_RAW_SECTOR 2352
#define MAX_CD_SECTORS (80u * 60 * 75) /* more, and it is a DVD */

enum {
    SENSE_NOT_READY = 2,
    SENSE_MEDIUM_ERROR = 3,
    SENSE_ILLEGAL_REQUEST = 5,
    SENSE_UNIT_ATTENTION = 6
};
enum {
    ASC_UNRECOVERED_READ = 0x11,
    ASC_INVALID_COMMAND = 0x20,
    ASC_LBA_OUT_OF_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_INCOMPATIBLE_FORMAT = 0x30,
    ASC_SAVING_NOT_SUPPORTED = 0x39,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL_PREVENTED = 0x53,
};

typedef struct PacketCommand {
    void (*fn)(IdeDrive *d, uint8_t *cdb);
    uint8_t flags;
} PacketCommand;
enum {
    ALLOW_ATTENTION = 1, /* runs while a unit attention is pending */
    NEEDS_MEDIUM = 2,
    NO_DATA = 4,    /* a byte count of 0 is fine */
    MAYBE_DATA = 8, /* may turn out to have none */
};

/* ---- ends ----------------------------------------------------------------------------------- */

static void command_ok(IdeDrive *d)
{
    d->error = 0;
    d->status = IDE_DRDY | IDE_DSC;
    d->nsector = (d->nsector & ~7u) | 3; /* to host, command */
    ide_raise_irq(d->bus);
}

static void command_error(IdeDrive *d, uint8_t key, uint8_t asc)
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
        ide_dma_finish(d, false);
    }
    ide_raise_irq(d->bus);
}

static void invalid_field(IdeDrive *d)
{
    command_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
}

static bool has_medium(const IdeDrive *d)
{
    return !d->tray_open && blk_is_inserted(d->blk) && blk_size(d->blk) > 0;
}
static uint64_t total_sectors(const IdeDrive *d)
{
    return blk_size(d->blk) / CD_SECTOR;
}

/* ---- reading the medium --------------------------------------------------------------------- */

/* Minute, second, frame of a sector, 2 seconds of lead-in included. */
static void put_msf(uint8_t *p, uint64_t lba)
{
    lba += 150;
    p[0] = (uint8_t)(lba / 75 / 60);
    p[1] = (uint8_t)(lba / 75 % 60);
    p[2] = (uint8_t)(lba % 75);
}

/* count sectors of 2048 bytes at base become raw frames there, from the last to the first. */
static void add_raw_frames(IdeDrive *d, uint8_t *base, uint32_t count)
{

    for (uint32_t i = count; i-- > 0;) {
        uint8_t *frame = base + (size_t)i * CD_RAW_SECTOR;

        memmove(frame + 16, base + (size_t)i * CD_SECTOR, CD_SECTOR);
        memset(frame, 0xff, 12);
        frame[0] = frame[11] = 0;
        put_msf(frame + 12, d->atapi_sector + i);
        frame[15] = 1;                                                     /* mode 1 */
        memset(frame + 16 + CD_SECTOR, 0, CD_RAW_SECTOR - CD_SECTOR - 16); /* no EDC/ECC */
    }
}

static bool read_failed(IdeDrive *d, int result, int kind)
{
    IdeBus *bus = d->bus;

    if (result == -ENOMEDIUM || !has_medium(d)) {
        command_error(d, SENSE_NOT_READY, ASC_NO_MEDIUM);
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
    command_error(d, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ);
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
    uint32_t room = (256 * 512 - left) / d->atapi_block;

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
        command_ok(d);
        return;
    }
    size =
        d->elementary_transfer_size ? (uint32_t)d->elementary_transfer_size : piece_size(d, total);
    size = MIN(size, total);
    if (d->buf_end - d->buf_pos < size) {
        if (!d->atapi_block || !d->atapi_sectors_left) {
            /* A state was loaded in the middle of a long read: the stream does not name the sector.
             */
            command_error(d, SENSE_MEDIUM_ERROR, ASC_UNRECOVERED_READ);
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
    ide_dma_finish(d, false);
    command_ok(d);
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
        command_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
        return;
    }
    medium_dma_done(d, 0);
}

static void reply_dma(IdeDrive *d)
{
    int64_t mapped = ide_dma_map(d, d->buf_end, true);

    if (mapped < 0) {
        ide_abort(d);
        ide_dma_finish(d, true);
        ide_raise_irq(d->bus);
        return;
    }
    iov_from_buf(d->dma_vec.iov, d->dma_vec.count, 0, d->io_buffer, d->buf_end);
    ide_dma_unmap(d, true);
    ide_dma_finish(d, false);
    command_ok(d);
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
        d->io_sectors = MIN(d->atapi_sectors_left, 256 * 512 / CD_RAW_SECTOR);
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
        ide_dma_finish(d, true);
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

/* Sends len bytes that stand at the start of io_buffer, at most max. */
static void reply(IdeDrive *d, uint32_t len, uint32_t max)
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

static void read_medium(IdeDrive *d, uint32_t lba, uint32_t count, uint32_t block)
{
    if (!count) {
        command_ok(d);
        return;
    }
    if (!range_fits(lba, count, total_sectors(d)) || (uint64_t)count * block > INT32_MAX) {
        command_error(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
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

/* ---- commands ------------------------------------------------------------------------------- */

static void cmd_test_unit_ready(IdeDrive *d, uint8_t *cdb)
{
    (void)cdb;
    command_ok(d);
}

static void cmd_request_sense(IdeDrive *d, uint8_t *cdb)
{
    uint8_t *buf = d->io_buffer;
    uint32_t max = cdb[4];

    memset(buf, 0, 18);
    buf[0] = 0x70 | 0x80;
    buf[2] = d->sense_key;
    buf[7] = 10;
    buf[12] = d->asc;
    if (d->sense_key == SENSE_UNIT_ATTENTION) {
        d->sense_key = 0;
    }
    reply(d, 18, max);
}

/* Left-justified, padded with spaces. */
static void put_padded(uint8_t *p, const char *text, size_t n)
{
    size_t len = MIN(strlen(text), n);

    memcpy(p, text, len);
    memset(p + len, ' ', n - len);
}

static void inquiry_page(IdeDrive *d, uint8_t page, uint32_t max)
{
    uint8_t *buf = d->io_buffer;
    uint32_t len = 4;

    memset(buf, 0, 64);
    buf[0] = 0x05;
    buf[1] = page;
    if (page == 0x00) {
        buf[len++] = 0x00;
        buf[len++] = 0x83;
    } else if (page == 0x83) {
        /* A vendor-specific ASCII designator: the serial number. */
        buf[4] = 0x02;
        buf[7] = 20;
        put_padded(buf + 8, d->serial, 20);
        len = 28;
        if (d->wwn) {
            buf[28] = 0x01;
            buf[29] = 0x03; /* NAA */
            buf[31] = 8;
            store64_be(buf + 32, d->wwn);
            len = 40;
        }
    } else {
        invalid_field(d);
        return;
    }
    buf[3] = (uint8_t)(len - 4);
    reply(d, len, max);
}

static void cmd_inquiry(IdeDrive *d, uint8_t *cdb)
{
    uint8_t *buf = d->io_buffer, page = cdb[2];
    uint32_t max = load16_be(cdb + 3);
    bool vital = cdb[1] & 1;

    if (vital) {
        inquiry_page(d, page, max);
        return;
    }
    if (page) {
        invalid_field(d);
        return;
    }
    memset(buf, 0, 36);
    buf[0] = 0x05; /* CD-ROM */
    buf[1] = 0x80; /* removable */
    buf[3] = 0x21; /* ATAPI-2, response format 1 */
    buf[4] = 36 - 5;
    put_padded(buf + 8, "QEMU", 8);
    put_padded(buf + 16, "QEMU DVD-ROM", 16);
    put_padded(buf + 32, d->version, 4);
    reply(d, 36, max);
}

static void cmd_read(IdeDrive *d, uint8_t *cdb)
{
    bool twelve = cdb[0] == 0xa8;

    read_medium(d, load32_be(cdb + 2), twelve ? load32_be(cdb + 6) : load16_be(cdb + 7), CD_SECTOR);
}

static void cmd_read_cd(IdeDrive *d, uint8_t *cdb)
{
    uint32_t lba = load32_be(cdb + 2), count = load32_be(cdb + 5) & 0xffffff;

    switch (cdb[9] & 0xf8) {
    case 0x00:
        command_ok(d); /* no data is asked for */
        break;
    case 0x10:
        read_medium(d, lba, count, CD_SECTOR);
        break;
    case 0xf8:
        read_medium(d, lba, count, CD_RAW_SECTOR);
        break;
    default:
        invalid_field(d);
    }
}

static void cmd_seek(IdeDrive *d, uint8_t *cdb)
{
    if (load32_be(cdb + 2) > total_sectors(d)) {
        command_error(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
        return;
    }
    command_ok(d);
}

static void cmd_read_capacity(IdeDrive *d, uint8_t *cdb)
{
    (void)cdb;
    store32_be(d->io_buffer, (uint32_t)(MIN(total_sectors(d), UINT32_MAX) - 1));
    store32_be(d->io_buffer + 4, CD_SECTOR);
    reply(d, 8, 8);
}

static void put_address(uint8_t *p, bool msf, uint64_t lba)
{
    if (msf) {
        p[0] = 0;
        put_msf(p + 1, lba);
    } else {
        store32_be(p, (uint32_t)lba);
    }
}

/* Format 0: track 1 and the lead-out. */
static uint32_t make_toc(IdeDrive *d, bool msf, unsigned start_track)
{
    uint8_t *buf = d->io_buffer;
    uint32_t len = 4;

    memset(buf, 0, 64);
    buf[2] = buf[3] = 1;
    if (start_track <= 1) {
        buf[len + 1] = 0x14; /* data track */
        buf[len + 2] = 1;
        put_address(buf + len + 4, msf, 0);
        len += 8;
    }
    buf[len + 1] = 0x16;
    buf[len + 2] = 0xaa;
    put_address(buf + len + 4, msf, total_sectors(d));
    len += 8;
    store16_be(buf, (uint16_t)(len - 2));
    return len;
}

/* Format 2: first and last track, lead-out, track 1, in session 1. */
static uint32_t make_raw_toc(IdeDrive *d, bool msf)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
    uint8_t *buf = d->io_buffer;
    uint32_t len = 4;

    memset(buf, 0, 64);
    buf[2] = buf[3] = 1;
    for (unsigned i = 0; i < G_N_ELEMENTS(points); i++, len += 11) {
        uint8_t *entry = buf + len;

        entry[0] = 1;
        entry[1] = 0x14;
        entry[3] = points[i];
        if (points[i] == 0xa2) {
            if (msf) {
                put_msf(entry + 8, total_sectors(d));
            } else {
                store32_be(entry + 7, (uint32_t)total_sectors(d));
            }
        } else if (points[i] == 1) {
            if (msf) {
                put_msf(entry + 8, 0);
            }
        } else {
            entry[8] = 1;
        }
    }
    store16_be(buf, (uint16_t)(len - 2));
    return len;
}

static void cmd_read_toc(IdeDrive *d, uint8_t *cdb)
{
    uint32_t max = load16_be(cdb + 7);
    bool msf = cdb[1] & 2;
    unsigned start = cdb[6];

    switch (cdb[9] >> 6) {
    case 0:
        if (start > 1 && start != 0xaa) {
            invalid_field(d);
            return;
        }
        reply(d, make_toc(d, msf, start), max);
        break;
    case 1: /* sessions: one */
        memset(d->io_buffer, 0, 12);
        d->io_buffer[1] = 0x0a;
        d->io_buffer[2] = d->io_buffer[3] = 1;
        reply(d, 12, max);
        break;
    case 2:
        reply(d, make_raw_toc(d, msf), max);
        break;
    default:
        invalid_field(d);
    }
}

static uint8_t medium_type(const IdeDrive *d)
{
    (void)d;
    return 0x70; /* door closed, no medium information: what QEMU always says */
}

static void cmd_mode_sense(IdeDrive *d, uint8_t *cdb)
{
    static const uint8_t recovery[] = {0x01, 0x06, 0x00, 0x05};
    static const uint8_t audio[] = {0x0e, 0x0e};
    static const uint8_t capabilities[] = {0x2a, 0x14, 0x3b, 0x00, 0x71, 0x60, 0x29, 0x00,
                                           0x02, 0xc0, 0x00, 0x02, 0x02, 0x00, 0x02, 0xc0};
    uint8_t *buf = d->io_buffer, *page = buf + 8;
    uint32_t max = load16_be(cdb + 7), len = 16;
    unsigned control = cdb[2] >> 6, code = cdb[2] & 0x3f;

    if (control == 3) {
        command_error(d, SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
        return;
    }
    memset(buf, 0, 64);
    if (control == 0 && code == 0x01) {
        memcpy(page, recovery, sizeof recovery);
    } else if (control == 0 && code == 0x0e) {
        memcpy(page, audio, sizeof audio);
        len = 24;
    } else if (control == 0 && code == 0x2a) {
        memcpy(page, capabilities, sizeof capabilities);
        page[6] |= d->tray_locked ? 2 : 0;
        len = 30;
    } else {
        invalid_field(d);
        return;
    }
    buf[1] = (uint8_t)(len - 2);
    buf[2] = medium_type(d);
    reply(d, len, max);
}

/* Media events by polling. */
static void cmd_get_event_status(IdeDrive *d, uint8_t *cdb)
{
    uint8_t *buf = d->io_buffer;
    uint32_t max = load16_be(cdb + 7), len = 4;
    bool polled = cdb[1] & 1, media = cdb[4] & 0x10;

    if (!polled) {
        invalid_field(d); /* asynchronous notification is optional */
        return;
    }
    memset(buf, 0, 8);
    buf[3] = 1 << 4; /* classes that we have: media */
    if (media) {
        buf[2] = 4;
        buf[4] = d->new_media ? 2 : d->eject_request ? 1 : 0;
        buf[5] = (uint8_t)((d->tray_open ? 1 : 0) | (has_medium(d) ? 2 : 0));
        d->new_media = false;
        d->eject_request = false;
        len = 8;
        store16_be(buf, 4);
    } else {
        buf[2] = 0x80; /* no event */
    }
    reply(d, len, max);
}

static void cmd_get_configuration(IdeDrive *d, uint8_t *cdb)
{
    uint8_t *buf = d->io_buffer;
    uint32_t max = load16_be(cdb + 7);
    bool dvd = has_medium(d) && total_sectors(d) > MAX_CD_SECTORS, cd = has_medium(d) && !dvd;

    /* MMC: a drive that has no feature beyond the starting one may answer with the header alone;
     * this one only starts at feature 0. */
    if (cdb[2] || cdb[3]) {
        invalid_field(d);
        return;
    }
    memset(buf, 0, 20);
    store16_be(buf + 6, dvd ? 0x10 : cd ? 0x08 : 0); /* current profile */
    buf[10] = 0x03;                                  /* profile list: persistent, current */
    buf[11] = 8;
    store16_be(buf + 12, 0x10); /* DVD-ROM */
    buf[14] = dvd;
    store16_be(buf + 16, 0x08); /* CD-ROM */
    buf[18] = cd;
    store32_be(buf, 20 - 4);
    reply(d, 20, max);
}

static void cmd_mechanism_status(IdeDrive *d, uint8_t *cdb)
{
    memset(d->io_buffer, 0, 8);
    d->io_buffer[5] = 1;
    reply(d, 8, load16_be(cdb + 8));
}

static void cmd_read_disc_information(IdeDrive *d, uint8_t *cdb)
{
    uint8_t *buf = d->io_buffer;

    if (cdb[1] & 7) {
        invalid_field(d); /* standard information only */
        return;
    }
    memset(buf, 0, 34);
    buf[1] = 32;
    buf[2] = 0x0e; /* last session complete, disc finalized */
    buf[3] = buf[4] = buf[5] = buf[6] = 1;
    buf[7] = 0x20; /* unrestricted use */
    reply(d, 34, load16_be(cdb + 7));
}

/* Physical format: one layer of the image's size. */
static uint32_t dvd_physical(IdeDrive *d)
{
    uint8_t *buf = d->io_buffer;
    uint32_t last = (uint32_t)total_sectors(d) - 1;

    buf[4] = 1;                   /* DVD-ROM, part version 1 */
    buf[5] = 0x0f;                /* 120 mm, rate not specified */
    buf[6] = 1;                   /* one layer, read only */
    store32_be(buf + 8, 0x30000); /* data starts here */
    store32_be(buf + 12, 0x30000 + last);
    store32_be(buf + 16, 0x30000 + last);
    return 2048 + 4;
}

static void cmd_read_dvd_structure(IdeDrive *d, uint8_t *cdb)
{
    static const uint8_t list[] = {0x00, 0x40, 0x08, 0x04, 0x01, 0x40, 0x00, 0x08,
                                   0x03, 0x40, 0x00, 0xc0, 0x04, 0x40, 0x08, 0x04};
    uint8_t *buf = d->io_buffer, layer = cdb[6], format = cdb[7];
    uint32_t max = load16_be(cdb + 8), len;

    if (cdb[1] & 0xf) { /* a DVD is what we are asked about */
        invalid_field(d);
        return;
    }
    memset(buf, 0, 2048 + 4);
    if (format == 0xff) {
        memcpy(buf + 4, list, sizeof list);
        len = 4 + sizeof list;
    } else if (total_sectors(d) <= MAX_CD_SECTORS) {
        command_error(d, SENSE_ILLEGAL_REQUEST, ASC_INCOMPATIBLE_FORMAT);
        return;
    } else if (format == 0x00 && layer == 0) {
        len = dvd_physical(d);
    } else if (format == 0x01) {
        len = 4 + 4; /* no copyright protection */
    } else if (format == 0x04) {
        len = 2048 + 4; /* no manufacturing information */
    } else {
        invalid_field(d);
        return;
    }
    store16_be(buf, (uint16_t)(len - 2));
    reply(d, len, max);
}

static void cmd_prevent_removal(IdeDrive *d, uint8_t *cdb)
{
    d->tray_locked = cdb[4] & 1;
    blk_lock_medium(d->blk, d->tray_locked);
    command_ok(d);
}

static void cmd_start_stop(IdeDrive *d, uint8_t *cdb)
{
    bool start = cdb[4] & 1, load_eject = cdb[4] & 2;

    if ((cdb[4] >> 4) || !load_eject) {
        command_ok(d); /* power conditions, spinning: nothing to do */
        return;
    }
    if (!start && d->tray_locked) {
        command_error(d, has_medium(d) ? SENSE_NOT_READY : SENSE_ILLEGAL_REQUEST,
                      ASC_REMOVAL_PREVENTED);
        return;
    }
    if (d->tray_open != !start) {
        d->tray_open = !start;
        blk_eject(d->blk, !start);
    }
    command_ok(d);
}

static const PacketCommand packet_commands[256] = {
    [0x00] = {cmd_test_unit_ready, NEEDS_MEDIUM | NO_DATA},
    [0x03] = {cmd_request_sense, ALLOW_ATTENTION},
    [0x12] = {cmd_inquiry, ALLOW_ATTENTION},
    [0x1b] = {cmd_start_stop, NO_DATA},
    [0x1e] = {cmd_prevent_removal, NO_DATA},
    [0x25] = {cmd_read_capacity, NEEDS_MEDIUM},
    [0x28] = {cmd_read, NEEDS_MEDIUM},
    [0x2b] = {cmd_seek, NEEDS_MEDIUM | NO_DATA},
    [0x43] = {cmd_read_toc, NEEDS_MEDIUM},
    [0x46] = {cmd_get_configuration, ALLOW_ATTENTION},
    [0x4a] = {cmd_get_event_status, ALLOW_ATTENTION},
    [0x51] = {cmd_read_disc_information, NEEDS_MEDIUM},
    [0x5a] = {cmd_mode_sense, 0},
    [0xa8] = {cmd_read, NEEDS_MEDIUM},
    [0xad] = {cmd_read_dvd_structure, NEEDS_MEDIUM},
    [0xbb] = {cmd_test_unit_ready, NO_DATA}, /* SET SPEED */
    [0xbd] = {cmd_mechanism_status, 0},
    [0xbe] = {cmd_read_cd, NEEDS_MEDIUM | MAYBE_DATA},
};

/* ---- dispatch ------------------------------------------------------------------------------- */

/* After a change the guest sees "no medium" once, then "may have changed" once. False: reported. */
static bool report_change(IdeDrive *d)
{
    if (d->cdrom_changed == 1) {
        d->cdrom_changed = 2;
        command_error(d, SENSE_NOT_READY, ASC_NO_MEDIUM);
        return false;
    }
    if (d->cdrom_changed == 2) {
        d->cdrom_changed = 0;
        command_error(d, SENSE_UNIT_ATTENTION, ASC_MEDIUM_CHANGED);
        return false;
    }
    return true;
}

/* The 12 bytes of the packet are in io_buffer. */
void ide_atapi_command(IdeDrive *d)
{
    uint8_t cdb[12];
    const PacketCommand *command;

    memcpy(cdb, d->io_buffer, sizeof cdb);
    command = &packet_commands[cdb[0]];
    trace(atapi_command, "bus %u unit %u command %02x", d->bus->index, d->unit, cdb[0]);
    ide_stop_transfer(d);
    d->packet_transfer_size = d->elementary_transfer_size = 0;
    if (d->sense_key == SENSE_UNIT_ATTENTION && !(command->flags & ALLOW_ATTENTION)) {
        command_error(d, SENSE_UNIT_ATTENTION, d->asc);
        return;
    }
    if (!(command->flags & ALLOW_ATTENTION) && !d->tray_open && blk_is_inserted(d->blk) &&
        !report_change(d)) {
        return;
    }
    if (!command->fn) {
        command_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_COMMAND);
        return;
    }
    if ((command->flags & NEEDS_MEDIUM) && !has_medium(d)) {
        command_error(d, SENSE_NOT_READY, ASC_NO_MEDIUM);
        return;
    }
    /* ATA/ATAPI-7, 6.24.4: data by PIO needs a byte count. */
    if (!(command->flags & (NO_DATA | MAYBE_DATA)) && !d->atapi_dma && !d->lcyl && !d->hcyl) {
        ide_abort(d);
        ide_raise_irq(d->bus);
        return;
    }
    if ((command->flags & MAYBE_DATA) && (cdb[9] & 0xf8) && !d->atapi_dma && !d->lcyl && !d->hcyl) {
        ide_abort(d);
        ide_raise_irq(d->bus);
        return;
    }
    command->fn(d, cdb);
}

bool ide_cmd_packet(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    d->atapi_dma = d->feature & 1;
    if ((d->feature & 2) || (d->atapi_dma && !d->bus->dma_ops)) {
        ide_abort(d); /* overlapped */
        return true;
    }
    d->status = IDE_DRDY | IDE_DSC;
    d->nsector = 1; /* to device, command */
    ide_start_transfer(d, 0, 12, IDE_NEXT_PACKET_COMMAND, true);
    return false;
}

void ide_atapi_media_changed(IdeDrive *d, bool loaded)
{
    d->tray_open = !loaded;
    d->sectors = blk_size(d->blk) / IDE_SECTOR;
    d->cdrom_changed = 1;
    d->new_media = loaded;
    d->eject_request = false;
}
