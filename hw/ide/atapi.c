/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packet commands of a CD/DVD-ROM drive (SFF-8020i, MMC-5, SPC-3).
 *
 * Not done: audio, subchannels, writing. Kept of QEMU 7.2: sense stays until the next error (unit
 * attention aside), REQUEST SENSE always gives 18 bytes, no unit attention after power on.
 */
#include "hw/ide/atapi.h"
#include "hw/scsi/mmc.h"
#include "util/trace.h"

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

static void invalid_field(IdeDrive *d)
{
    ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD);
}

/* ---- commands ------------------------------------------------------------------------------- */

static void cmd_test_unit_ready(IdeDrive *d, uint8_t *cdb)
{
    (void)cdb;
    ide_atapi_ok(d);
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
    ide_atapi_reply(d, 18, max);
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
    ide_atapi_reply(d, len, max);
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
    ide_atapi_reply(d, 36, max);
}

static void cmd_read(IdeDrive *d, uint8_t *cdb)
{
    bool twelve = cdb[0] == 0xa8;

    ide_atapi_read_medium(d, load32_be(cdb + 2), twelve ? load32_be(cdb + 6) : load16_be(cdb + 7), CD_SECTOR);
}

static void cmd_read_cd(IdeDrive *d, uint8_t *cdb)
{
    uint32_t lba = load32_be(cdb + 2), count = load32_be(cdb + 5) & 0xffffff;

    switch (cdb[9] & 0xf8) {
    case 0x00:
        ide_atapi_ok(d); /* no data is asked for */
        break;
    case 0x10:
        ide_atapi_read_medium(d, lba, count, CD_SECTOR);
        break;
    case 0xf8:
        ide_atapi_read_medium(d, lba, count, CD_RAW_SECTOR);
        break;
    default:
        invalid_field(d);
    }
}

static void cmd_seek(IdeDrive *d, uint8_t *cdb)
{
    if (load32_be(cdb + 2) > ide_atapi_sectors(d)) {
        ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE);
        return;
    }
    ide_atapi_ok(d);
}

static void cmd_read_capacity(IdeDrive *d, uint8_t *cdb)
{
    (void)cdb;
    store32_be(d->io_buffer, (uint32_t)(MIN(ide_atapi_sectors(d), UINT32_MAX) - 1));
    store32_be(d->io_buffer + 4, CD_SECTOR);
    ide_atapi_reply(d, 8, 8);
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
        ide_atapi_reply(d, (uint32_t)mmc_toc(d->io_buffer, ide_atapi_sectors(d), msf, start), max);
        break;
    case 1:
        ide_atapi_reply(d, (uint32_t)mmc_sessions(d->io_buffer), max);
        break;
    case 2:
        ide_atapi_reply(d, (uint32_t)mmc_raw_toc(d->io_buffer, ide_atapi_sectors(d), msf), max);
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
        ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_SAVING_NOT_SUPPORTED);
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
    ide_atapi_reply(d, len, max);
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
        buf[5] = (uint8_t)((d->tray_open ? 1 : 0) | (ide_atapi_has_medium(d) ? 2 : 0));
        d->new_media = false;
        d->eject_request = false;
        len = 8;
        store16_be(buf, 4);
    } else {
        buf[2] = 0x80; /* no event */
    }
    ide_atapi_reply(d, len, max);
}

static void cmd_get_configuration(IdeDrive *d, uint8_t *cdb)
{
    const uint32_t max = load16_be(cdb + 7);

    /* MMC: a drive that has no feature beyond the starting one may answer with the header alone;
     * this one only starts at feature 0. */
    if (cdb[2] || cdb[3]) {
        invalid_field(d);
        return;
    }
    ide_atapi_reply(d, (uint32_t)mmc_profiles(d->io_buffer, ide_atapi_has_medium(d) ? ide_atapi_sectors(d) : 0), max);
}

static void cmd_mechanism_status(IdeDrive *d, uint8_t *cdb)
{
    memset(d->io_buffer, 0, 8);
    d->io_buffer[5] = 1;
    ide_atapi_reply(d, 8, load16_be(cdb + 8));
}

static void cmd_read_disc_information(IdeDrive *d, uint8_t *cdb)
{
    if (cdb[1] & 7) {
        invalid_field(d); /* standard information only */
        return;
    }
    ide_atapi_reply(d, (uint32_t)mmc_disc_information(d->io_buffer), load16_be(cdb + 7));
}

static void cmd_read_dvd_structure(IdeDrive *d, uint8_t *cdb)
{
    const uint8_t layer = cdb[6], format = cdb[7];
    uint32_t max = load16_be(cdb + 8);
    size_t len;

    if (cdb[1] & 0xf) { /* a DVD is what we are asked about */
        invalid_field(d);
        return;
    }
    if (format != 0xff && ide_atapi_sectors(d) <= MMC_CD_SECTORS) {
        ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_INCOMPATIBLE_FORMAT);
        return;
    }
    len = format == 0xff ? mmc_dvd_formats(d->io_buffer)
                         : mmc_dvd_structure(d->io_buffer, ide_atapi_sectors(d), format, layer);
    if (!len) {
        invalid_field(d);
        return;
    }
    ide_atapi_reply(d, (uint32_t)len, max);
}

static void cmd_prevent_removal(IdeDrive *d, uint8_t *cdb)
{
    d->tray_locked = cdb[4] & 1;
    blk_lock_medium(d->blk, d->tray_locked);
    ide_atapi_ok(d);
}

static void cmd_start_stop(IdeDrive *d, uint8_t *cdb)
{
    bool start = cdb[4] & 1, load_eject = cdb[4] & 2;

    if ((cdb[4] >> 4) || !load_eject) {
        ide_atapi_ok(d); /* power conditions, spinning: nothing to do */
        return;
    }
    if (!start && d->tray_locked) {
        ide_atapi_error(d, ide_atapi_has_medium(d) ? SENSE_NOT_READY : SENSE_ILLEGAL_REQUEST,
                      ASC_REMOVAL_PREVENTED);
        return;
    }
    if (d->tray_open != !start) {
        d->tray_open = !start;
        blk_eject(d->blk, !start);
    }
    ide_atapi_ok(d);
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
        ide_atapi_error(d, SENSE_NOT_READY, ASC_NO_MEDIUM);
        return false;
    }
    if (d->cdrom_changed == 2) {
        d->cdrom_changed = 0;
        ide_atapi_error(d, SENSE_UNIT_ATTENTION, ASC_MEDIUM_CHANGED);
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
        ide_atapi_error(d, SENSE_UNIT_ATTENTION, d->asc);
        return;
    }
    if (!(command->flags & ALLOW_ATTENTION) && !d->tray_open && blk_is_inserted(d->blk) &&
        !report_change(d)) {
        return;
    }
    if (!command->fn) {
        ide_atapi_error(d, SENSE_ILLEGAL_REQUEST, ASC_INVALID_COMMAND);
        return;
    }
    if ((command->flags & NEEDS_MEDIUM) && !ide_atapi_has_medium(d)) {
        ide_atapi_error(d, SENSE_NOT_READY, ASC_NO_MEDIUM);
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
