/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATA commands of disks (ATA/ATAPI-7, chapter 6; DATA SET MANAGEMENT from ACS-2) and the table of
 * all commands.
 *
 * Address and count registers advance when a piece has been transferred, so after an error they
 * name where it happened. Not done: security (absent from IDENTIFY; SECURITY FREEZE LOCK is
 * accepted as QEMU does), the CFA set, READ LONG, streaming, queued commands.
 */
#include "hw/ide/ide.h"
#include "util/trace.h"

/* ---- addresses ------------------------------------------------------------------------------ */

/* Out of range in any mode gives a number beyond the capacity. */
static uint64_t get_sector(const IdeDrive *d)
{
    uint64_t low = (uint64_t)d->hcyl << 16 | (uint64_t)d->lcyl << 8 | d->sector;

    if (!(d->select & 0x40)) {
        uint64_t cylinder = (uint64_t)d->hcyl << 8 | d->lcyl;

        return d->sector ? (cylinder * d->heads + (d->select & 0xf)) * d->secs + d->sector - 1
                         : UINT64_MAX;
    }
    if (!d->lba48) {
        return (uint64_t)(d->select & 0xf) << 24 | low;
    }
    return (uint64_t)d->hob_hcyl << 40 | (uint64_t)d->hob_lcyl << 32 |
           (uint64_t)d->hob_sector << 24 | low;
}

static void set_sector(IdeDrive *d, uint64_t n)
{
    if (!(d->select & 0x40)) {
        uint64_t track = n / d->secs;

        d->sector = (uint8_t)(n % d->secs + 1);
        d->select = (uint8_t)((d->select & 0xf0) | (track % d->heads));
        d->lcyl = (uint8_t)(track / d->heads);
        d->hcyl = (uint8_t)((track / d->heads) >> 8);
        return;
    }
    d->sector = (uint8_t)n;
    d->lcyl = (uint8_t)(n >> 8);
    d->hcyl = (uint8_t)(n >> 16);
    if (d->lba48) {
        d->hob_sector = (uint8_t)(n >> 24);
        d->hob_lcyl = (uint8_t)(n >> 32);
        d->hob_hcyl = (uint8_t)(n >> 40);
    } else {
        d->select = (uint8_t)((d->select & 0xf0) | ((n >> 24) & 0xf));
    }
}

/* Takes the count register: 0 stands for all that it can hold. */
static void begin(IdeDrive *d, bool lba48)
{
    IdeBus *bus = d->bus;

    d->lba48 = lba48;
    d->nsector &= 0xff;
    if (lba48) {
        d->nsector |= (uint32_t)d->hob_nsector << 8;
    }
    if (!d->nsector) {
        d->nsector = lba48 ? 65536 : 256;
    }
    d->fua = false;
    bus->retry_unit = d->unit;
    bus->retry_sector_num = (int64_t)get_sector(d);
    bus->retry_nsector = d->nsector;
}

static void advance(IdeDrive *d, uint32_t n)
{
    set_sector(d, get_sector(d) + n);
    d->nsector -= MIN(n, d->nsector);
}

static bool in_range(const IdeDrive *d, uint32_t n)
{
    return range_fits(get_sector(d), n, d->sectors);
}

/* Counted if it is not. */
static bool is_possible(IdeDrive *d, uint32_t n, BlkStatKind kind)
{
    if (!in_range(d, n)) {
        blk_count_invalid(d->blk, kind);
        return false;
    }
    return true;
}

/* ---- PIO ------------------------------------------------------------------------------------ */

static uint32_t next_piece(const IdeDrive *d)
{
    uint32_t most = (uint32_t)CLAMP(d->req_nb_sectors, 1, IDE_MAX_MULT);

    return MIN(d->nsector, most);
}

static void fail_now(IdeDrive *d)
{
    ide_abort(d);
    ide_raise_irq(d->bus);
}

static void sector_read_done(IdeDrive *d, int result)
{
    if (result < 0 && ide_handle_error(d, result, IDE_RETRY_PIO | IDE_RETRY_READ)) {
        return;
    }
    d->status = IDE_DRDY | IDE_DSC;
    advance(d, d->io_sectors);
    ide_start_transfer(d, 0, d->io_sectors * IDE_SECTOR, IDE_NEXT_SECTOR_READ, false);
    ide_raise_irq(d->bus);
}

void ide_sector_read(IdeDrive *d)
{
    uint32_t n = next_piece(d);

    d->status = IDE_DRDY | IDE_DSC;
    d->error = 0;
    if (!n) {
        ide_stop_transfer(d);
        return;
    }
    if (!is_possible(d, n, BLK_STAT_READ)) {
        fail_now(d);
        return;
    }
    d->status |= IDE_BSY;
    d->io_sectors = n;
    d->iov = (struct iovec){d->io_buffer, n * IDE_SECTOR};
    ide_submit_read(d, get_sector(d) * IDE_SECTOR, &d->iov, 1, sector_read_done);
}

static void sector_write_done(IdeDrive *d, int result)
{
    if (result < 0 && ide_handle_error(d, result, IDE_RETRY_PIO)) {
        return;
    }
    d->status = IDE_DRDY | IDE_DSC;
    advance(d, d->io_sectors);
    if (d->nsector) {
        ide_start_transfer(d, 0, next_piece(d) * IDE_SECTOR, IDE_NEXT_SECTOR_WRITE, true);
    } else {
        ide_stop_transfer(d);
    }
    ide_raise_irq(d->bus);
}

/* The window is full of data. */
void ide_sector_write(IdeDrive *d)
{
    uint32_t n = next_piece(d);

    d->error = 0;
    if (!n || !is_possible(d, n, BLK_STAT_WRITE)) {
        fail_now(d);
        return;
    }
    d->status = IDE_DRDY | IDE_DSC | IDE_BSY;
    d->io_sectors = n;
    d->iov = (struct iovec){d->io_buffer, n * IDE_SECTOR};
    ide_submit_write(d, get_sector(d) * IDE_SECTOR, &d->iov, 1, d->fua, sector_write_done);
}

static bool pio_read(IdeDrive *d, bool lba48, int piece)
{
    begin(d, lba48);
    d->req_nb_sectors = piece;
    ide_sector_read(d);
    return false;
}

static bool pio_write(IdeDrive *d, bool lba48, int piece, bool fua)
{
    begin(d, lba48);
    d->fua = fua;
    d->req_nb_sectors = piece;
    d->status = IDE_DRDY | IDE_DSC;
    ide_start_transfer(d, 0, next_piece(d) * IDE_SECTOR, IDE_NEXT_SECTOR_WRITE, true);
    return false;
}

static bool cmd_read_pio(IdeDrive *d, uint8_t cmd)
{
    return pio_read(d, cmd == 0x24, 1);
}
static bool cmd_write_pio(IdeDrive *d, uint8_t cmd)
{
    return pio_write(d, cmd == 0x34, 1, false);
}

static bool cmd_read_multiple(IdeDrive *d, uint8_t cmd)
{
    if (!d->mult_sectors) {
        ide_abort(d);
        return true;
    }
    return pio_read(d, cmd == 0x29, d->mult_sectors);
}

static bool cmd_write_multiple(IdeDrive *d, uint8_t cmd)
{
    if (!d->mult_sectors) {
        ide_abort(d);
        return true;
    }
    return pio_write(d, cmd != 0xc5, d->mult_sectors, cmd == 0xce);
}

/* ---- DMA ------------------------------------------------------------------------------------ */

static void dma_fail(IdeDrive *d, IdeDmaEnd end)
{
    ide_abort(d);
    ide_dma_finish(d, end);
    ide_raise_irq(d->bus);
}

/* Maps up to limit bytes, in whole sectors. 0: the guest's table is too short (no interrupt, as on
 * hardware: the transfer just never ends). */
static uint32_t map_sectors(IdeDrive *d, uint64_t limit, bool to_guest)
{
    int64_t bytes = ide_dma_map(d, limit, to_guest);
    size_t excess;

    if (bytes < 0) {
        dma_fail(d, IDE_DMA_BUS_ERROR);
        return 0;
    }
    excess = (size_t)bytes % IDE_SECTOR;
    while (excess) {
        struct iovec *last = &d->dma_vec.iov[d->dma_vec.count - 1];
        size_t cut = MIN(excess, last->iov_len);

        last->iov_len -= cut;
        d->dma_vec.size -= cut;
        excess -= cut;
        if (!last->iov_len) {
            d->dma_vec.count--;
        }
    }
    if (d->dma_vec.size == 0) {
        ide_dma_unmap(d, true);
        d->status = IDE_DRDY | IDE_DSC;
        ide_dma_finish(d, IDE_DMA_DONE);
    }
    return (uint32_t)(bytes / IDE_SECTOR);
}

static void dma_step(IdeDrive *d, bool read);

static void dma_done(IdeDrive *d, int result, bool read)
{
    if (result < 0 && ide_handle_error(d, result, IDE_RETRY_DMA | (read ? IDE_RETRY_READ : 0))) {
        return;
    }
    advance(d, d->io_sectors);
    if (d->nsector) {
        dma_step(d, read);
        return;
    }
    d->status = IDE_DRDY | IDE_DSC;
    ide_dma_finish(d, IDE_DMA_DONE);
    ide_raise_irq(d->bus);
}

static void dma_read_done(IdeDrive *d, int result)
{
    dma_done(d, result, true);
}
static void dma_write_done(IdeDrive *d, int result)
{
    dma_done(d, result, false);
}

static void dma_step(IdeDrive *d, bool read)
{
    if (!is_possible(d, d->nsector, read ? BLK_STAT_READ : BLK_STAT_WRITE)) {
        dma_fail(d, IDE_DMA_DRIVE_ERROR);
        return;
    }
    d->io_sectors = map_sectors(d, (uint64_t)d->nsector * IDE_SECTOR, read);
    if (!d->io_sectors) {
        return;
    }
    if (read) {
        ide_submit_read(d, get_sector(d) * IDE_SECTOR, d->dma_vec.iov, d->dma_vec.count,
                        dma_read_done);
    } else {
        ide_submit_write(d, get_sector(d) * IDE_SECTOR, d->dma_vec.iov, d->dma_vec.count, d->fua,
                         dma_write_done);
    }
}

static void dma_read_ready(IdeDrive *d)
{
    dma_step(d, true);
}
static void dma_write_ready(IdeDrive *d)
{
    dma_step(d, false);
}

static bool dma_command(IdeDrive *d, bool lba48, bool fua, void (*fn)(IdeDrive *d))
{
    if (!d->bus->dma_ops) {
        ide_abort(d);
        return true;
    }
    begin(d, lba48);
    d->fua = fua;
    d->status = IDE_DRDY | IDE_DSC | IDE_DRQ | IDE_BSY;
    ide_dma_begin(d, fn);
    return false;
}

static bool cmd_read_dma(IdeDrive *d, uint8_t cmd)
{
    return dma_command(d, cmd == 0x25, false, dma_read_ready);
}

static bool cmd_write_dma(IdeDrive *d, uint8_t cmd)
{
    return dma_command(d, cmd == 0x35 || cmd == 0x3d, cmd == 0x3d, dma_write_ready);
}

/* ---- TRIM ----------------------------------------------------------------------------------- */

static void trim_next(IdeDrive *d);

static void trim_done(IdeDrive *d, int result)
{
    if (result < 0 && ide_handle_error(d, result, IDE_RETRY_DMA | IDE_RETRY_TRIM)) {
        return;
    }
    trim_next(d);
}

/* io_buffer holds a private copy of the ranges: 48 bits of address, 16 of count. */
static void trim_next(IdeDrive *d)
{
    while (d->buf_pos < d->buf_end) {
        uint64_t range = load64_le(d->io_buffer + d->buf_pos);
        uint64_t sector = range & UINT64_C(0xffffffffffff), count = range >> 48;

        d->buf_pos += 8;
        if (!count) {
            continue;
        }
        if (!range_fits(sector, count, d->sectors)) {
            blk_count_invalid(d->blk, BLK_STAT_DISCARD);
            dma_fail(d, IDE_DMA_DRIVE_ERROR);
            return;
        }
        ide_submit_discard(d, sector * IDE_SECTOR, count * IDE_SECTOR, trim_done);
        return;
    }
    d->nsector = 0;
    d->status = IDE_DRDY | IDE_DSC;
    ide_dma_finish(d, IDE_DMA_DONE);
    ide_raise_irq(d->bus);
}

static void trim_ready(IdeDrive *d)
{
    uint32_t n = map_sectors(d, (uint64_t)d->nsector * IDE_SECTOR, false);

    if (!n) {
        return;
    }
    d->buf_pos = 0;
    d->buf_end =
        (uint32_t)iov_to_buf(d->dma_vec.iov, d->dma_vec.count, 0, d->io_buffer, n * IDE_SECTOR);
    ide_dma_unmap(d, true);
    trim_next(d);
}

static bool cmd_data_set_management(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    if (!(d->feature & 1) || !d->trim || d->hob_nsector > 1 ||
        (d->hob_nsector == 1 && (uint8_t)d->nsector)) {
        ide_abort(d);
        return true;
    }
    if (!d->hob_nsector && !(uint8_t)d->nsector) {
        ide_abort(d); /* 65536 blocks of ranges */
        return true;
    }
    return dma_command(d, true, false, trim_ready);
}

/* ---- flush, verify, power, small ones ------------------------------------------------------- */

static void flush_done(IdeDrive *d, int result)
{
    if (result < 0 && ide_handle_error(d, result, IDE_RETRY_FLUSH)) {
        return;
    }
    d->status = IDE_DRDY | IDE_DSC;
    ide_raise_irq(d->bus);
}

static void start_flush(IdeDrive *d)
{
    d->status |= IDE_BSY;
    d->bus->retry_unit = d->unit;
    ide_submit_flush(d, flush_done);
}

static bool cmd_flush(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    if (d->kind == IDE_CD) {
        return true; /* nothing is ever unwritten */
    }
    start_flush(d);
    return false;
}

static bool cmd_verify(IdeDrive *d, uint8_t cmd)
{
    uint32_t count = d->nsector;

    begin(d, cmd == 0x42);
    if (!in_range(d, d->nsector)) {
        ide_abort(d);
    }
    d->nsector = count & 0xff;
    return true;
}

static bool cmd_nop(IdeDrive *d, uint8_t cmd)
{
    (void)d;
    (void)cmd;
    return true;
}

static bool cmd_abort(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    ide_abort(d);
    return true;
}

static bool cmd_set_multiple(IdeDrive *d, uint8_t cmd)
{
    uint32_t n = d->nsector & 0xff;

    (void)cmd;
    if (n > IDE_MAX_MULT || (n && !is_power_of_two(n))) {
        ide_abort(d);
        return true;
    }
    d->mult_sectors = (int32_t)n;
    store16_le(d->identify_data + 2 * 59, (uint16_t)(n ? 0x100 | n : 0));
    return true;
}

static bool cmd_check_power(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    d->nsector = 0xff; /* active */
    return true;
}

static bool cmd_native_max(IdeDrive *d, uint8_t cmd)
{
    bool lba48 = cmd == 0x27;

    if (!d->sectors) {
        ide_abort(d);
        return true;
    }
    d->lba48 = lba48;
    if (d->select & 0x40) {
        set_sector(d, lba48 ? d->sectors - 1 : MIN(d->sectors, 1u << 28) - 1);
    } else {
        set_sector(d, (uint64_t)d->cylinders * d->heads * d->secs - 1);
    }
    d->lba48 = 0;
    return true;
}

static void reset_after_diagnostic(IdeDrive *d, uint8_t error)
{
    ide_cancel(d);
    ide_stop_transfer(d);
    d->select &= 0xf0;
    ide_set_signature(d);
    d->error = error;
    d->status = d->kind == IDE_CD ? 0 : IDE_DRDY | IDE_DSC;
}

static bool cmd_diagnostic(IdeDrive *d, uint8_t cmd)
{
    IdeBus *bus = d->bus;

    (void)cmd;
    for (unsigned i = 0; i < 2; i++) {
        if (bus->ifs[i].kind != IDE_NONE) {
            reset_after_diagnostic(&bus->ifs[i], 0x01);
        }
        bus->ifs[i].select = 0xa0;
    }
    bus->unit = 0;
    ide_raise_irq(bus);
    return false;
}

static bool cmd_device_reset(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    reset_after_diagnostic(d, 0);
    return false;
}

static void set_identify_word(IdeDrive *d, unsigned word, uint16_t value)
{
    store16_le(d->identify_data + 2 * word, value);
}

/* SET FEATURES 03h: count is type (upper five bits) and mode. */
static bool set_transfer_mode(IdeDrive *d)
{
    unsigned mode = d->nsector & 7, type = (d->nsector >> 3) & 0x1f;
    uint16_t single = 7, multi = 7, ultra = 0x3f;

    switch (type) {
    case 0:
    case 1: /* PIO default, PIO flow control */
        break;
    case 2:
        single |= (uint16_t)(1 << (mode + 8));
        break;
    case 4:
        multi |= (uint16_t)(1 << (mode + 8));
        break;
    case 8:
        ultra |= (uint16_t)(1 << (mode + 8));
        break;
    default:
        return false;
    }
    set_identify_word(d, 62, single);
    set_identify_word(d, 63, multi);
    set_identify_word(d, 88, ultra);
    return true;
}

static bool cmd_set_features(IdeDrive *d, uint8_t cmd)
{
    bool ok = true;

    (void)cmd;
    if (!d->identify_set) {
        if (d->kind == IDE_HD) {
            ide_identify_hd(d);
        } else {
            ide_identify_cd(d);
        }
    }
    switch (d->feature) {
    case 0x02: /* write cache on */
        blk_set_write_cache(d->blk, true);
        set_identify_word(d, 85, 0x4021);
        break;
    case 0x82: /* write cache off: nothing may be left in it */
        blk_set_write_cache(d->blk, false);
        set_identify_word(d, 85, 0x4001);
        if (d->kind == IDE_HD) {
            start_flush(d);
            return false;
        }
        break;
    case 0x03:
        ok = set_transfer_mode(d);
        break;
    case 0xcc: /* keep or revert to power-on defaults, read ahead, power and noise management */
    case 0x66:
    case 0xaa:
    case 0x55:
    case 0x05:
    case 0x85:
    case 0x69:
    case 0x67:
    case 0x96:
    case 0x9a:
    case 0x42:
    case 0xc2:
        break;
    default:
        ok = false;
    }
    if (!ok) {
        ide_abort(d);
    }
    return true;
}

/* ---- after the VM was stopped by an error --------------------------------------------------- */

void ide_ata_retry(IdeDrive *d, int kind)
{
    IdeBus *bus = d->bus;

    trace(ide_retry, "bus %u unit %u kind %02x", bus->index, d->unit, kind);
    if (d->kind == IDE_CD) {
        if (kind & IDE_RETRY_DMA) {
            d->atapi_sector = (uint64_t)bus->retry_sector_num;
            d->atapi_sectors_left = bus->retry_nsector;
            ide_dma_begin(d, ide_atapi_dma);
        } else {
            ide_atapi_reply_next(d);
        }
    } else if (kind & IDE_RETRY_FLUSH) {
        start_flush(d);
    } else if (kind & IDE_RETRY_DMA) {
        /* From the start: the bus master begins its table anew. */
        set_sector(d, (uint64_t)bus->retry_sector_num);
        d->nsector = bus->retry_nsector;
        ide_dma_begin(d, kind & IDE_RETRY_TRIM   ? trim_ready
                         : kind & IDE_RETRY_READ ? dma_read_ready
                                                 : dma_write_ready);
    } else if (kind & IDE_RETRY_READ) {
        ide_sector_read(d);
    } else {
        ide_sector_write(d);
    }
}

/* ---- the table ------------------------------------------------------------------------------ */

#define HD (1u << IDE_HD)
#define CD (1u << IDE_CD)

const IdeCommand ide_commands[256] = {
    [0x00] = {cmd_abort, HD | CD, false}, /* NOP */
    [0x06] = {cmd_data_set_management, HD, true},
    [0x08] = {cmd_device_reset, CD, false},
    [0x10] = {cmd_nop, HD, true},       /* RECALIBRATE */
    [0x20] = {cmd_read_pio, HD, false}, /* READ SECTORS */
    [0x21] = {cmd_read_pio, HD, false},
    [0x24] = {cmd_read_pio, HD, false},      /* READ SECTORS EXT */
    [0x25] = {cmd_read_dma, HD, false},      /* READ DMA EXT */
    [0x27] = {cmd_native_max, HD, true},     /* READ NATIVE MAX ADDRESS EXT */
    [0x29] = {cmd_read_multiple, HD, false}, /* READ MULTIPLE EXT */
    [0x30] = {cmd_write_pio, HD, false},     /* WRITE SECTORS */
    [0x31] = {cmd_write_pio, HD, false},
    [0x34] = {cmd_write_pio, HD, false},      /* WRITE SECTORS EXT */
    [0x35] = {cmd_write_dma, HD, false},      /* WRITE DMA EXT */
    [0x39] = {cmd_write_multiple, HD, false}, /* WRITE MULTIPLE EXT */
    [0x3c] = {cmd_write_pio, HD, false},      /* WRITE VERIFY */
    [0x3d] = {cmd_write_dma, HD, false},      /* WRITE DMA FUA EXT */
    [0x40] = {cmd_verify, HD, true},          /* READ VERIFY SECTORS */
    [0x41] = {cmd_verify, HD, true},
    [0x42] = {cmd_verify, HD, true},           /* READ VERIFY SECTORS EXT */
    [0x70] = {cmd_nop, HD, true},              /* SEEK */
    [0x90] = {cmd_diagnostic, HD | CD, false}, /* EXECUTE DEVICE DIAGNOSTIC */
    [0x91] = {cmd_nop, HD, true},              /* INITIALIZE DEVICE PARAMETERS */
    [0x94] = {cmd_nop, HD, false},             /* STANDBY IMMEDIATE (old code) */
    [0x95] = {cmd_nop, HD, false},             /* IDLE IMMEDIATE (old) */
    [0x96] = {cmd_nop, HD, false},             /* STANDBY (old) */
    [0x97] = {cmd_nop, HD, false},             /* IDLE (old) */
    [0x98] = {cmd_check_power, HD, true},      /* CHECK POWER MODE (old) */
    [0x99] = {cmd_nop, HD, false},             /* SLEEP (old) */
    [0xa0] = {ide_cmd_packet, CD, false},
    [0xa1] = {ide_cmd_identify_packet, CD, false},
    [0xb0] = {ide_cmd_smart, HD, true},
    [0xc4] = {cmd_read_multiple, HD, false},
    [0xc5] = {cmd_write_multiple, HD, false},
    [0xc6] = {cmd_set_multiple, HD, true},
    [0xc8] = {cmd_read_dma, HD, false},
    [0xc9] = {cmd_read_dma, HD, false},
    [0xca] = {cmd_write_dma, HD, false},
    [0xcb] = {cmd_write_dma, HD, false},
    [0xce] = {cmd_write_multiple, HD, false}, /* WRITE MULTIPLE FUA EXT */
    [0xe0] = {cmd_nop, HD, false},            /* STANDBY IMMEDIATE */
    [0xe1] = {cmd_nop, HD, false},            /* IDLE IMMEDIATE */
    [0xe2] = {cmd_nop, HD, false},            /* STANDBY */
    [0xe3] = {cmd_nop, HD, false},            /* IDLE */
    [0xe5] = {cmd_check_power, HD, true},
    [0xe6] = {cmd_nop, HD, false},       /* SLEEP */
    [0xe7] = {cmd_flush, HD | CD, true}, /* FLUSH CACHE */
    [0xea] = {cmd_flush, HD, true},      /* FLUSH CACHE EXT */
    [0xec] = {ide_cmd_identify, HD | CD, true},
    [0xef] = {cmd_set_features, HD | CD, true},
    [0xf5] = {cmd_nop, HD, true},        /* SECURITY FREEZE LOCK */
    [0xf8] = {cmd_native_max, HD, true}, /* READ NATIVE MAX ADDRESS */
};
