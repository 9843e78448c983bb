/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The execution phase of the floppy controller's reads, writes, scans, verifies and formats.
 *
 * DMA: step() is called by the DMA controller whenever it may move bytes, and after each sector
 * that came or went. It does one sector's worth at a time and ends the transfer when the DMA
 * controller's count or the command's own is reached.
 *
 * PIO: while the guest reads a sector the next one is fetched into next_sector; the position moves
 * to it only when the guest takes its first byte, so the saved state is what QEMU's would be.
 */
#include "hw/block/fdc_internal.h"
#include "hw/dma/i8257.h"
#include "util/log.h"
#include "util/trace.h"

static bool uses_dma(const Fdc *s)
{
    return s->phase == PHASE_EXECUTION && !(s->msr & MSR_NONDMA);
}

/* ---- sectors on their way ---------------------------------------------------------- */

static void sector_done(void *opaque, int result);

static void submit(Fdc *s, bool is_write, uint64_t offset, const uint8_t *data, uint32_t chunk)
{
    FdcDrive *drive = fdc_current(s);
    FdcRequest *r = g_new0(FdcRequest, 1);

    *r = (FdcRequest){.fdc = s, .transfer = s->transfer, .is_write = is_write, .chunk = chunk};
    r->iov = (struct iovec){r->data, FDC_SECTOR};
    s->io_busy = true;
    trace(fdc_sector, "write %d offset %" PRIu64, is_write, offset);
    if (is_write) {
        memcpy(r->data, data, FDC_SECTOR);
        blk_writev(drive->blk, offset, &r->iov, 1, false, sector_done, r);
    } else {
        blk_readv(drive->blk, offset, &r->iov, 1, sector_done, r);
    }
}

static bool on_medium(const FdcDrive *drive, uint64_t offset)
{
    return fdc_drive_inserted(drive) && offset != UINT64_MAX &&
           range_fits(offset, FDC_SECTOR, blk_size(drive->blk));
}

/* ---- position ---------------------------------------------------------------------- */

typedef struct Position {
    uint8_t head, track, sect;
    bool new_track, end; /* end: it is past what the command may touch */
} Position;

/* The sector after the current one, as the command's EOT and MT bit lead there. */
static Position next_position(Fdc *s)
{
    FdcDrive *drive = fdc_current(s);
    Position p = {drive->head, drive->track, drive->sect, false, false};

    if (p.sect < drive->last_sect && p.sect != s->eot) {
        p.sect++;
        return p;
    }
    p.sect = 1;
    if ((s->data_state & STATE_MULTI) && p.head == 0 && drive->sides == 2) {
        p.head = 1;
        return p;
    }
    p.end = !(s->data_state & STATE_MULTI) || drive->sides < 2;
    if (s->data_state & STATE_MULTI) {
        p.head = 0;
    }
    p.track++;
    p.new_track = true;
    return p;
}

static void move_to(Fdc *s, Position p)
{
    if (p.new_track) {
        s->status0 |= SR0_SEEK;
    }
    s->track_end |= p.end;
    if (fdc_drive_seek(fdc_current(s), p.head, p.track, p.sect, true) >= SEEK_NO_TRACK) {
        s->track_end = true; /* past the last cylinder */
        s->status0 |= SR0_ABNTERM;
        s->status1 |= SR1_EC;
    }
}

/* chunk bytes of the sector in fifo are done. */
static void advance(Fdc *s, uint32_t chunk)
{
    s->data_pos += chunk;
    if (s->data_pos % FDC_SECTOR == 0) {
        s->sector_ready = false;
        move_to(s, next_position(s));
    }
}

/* ---- DMA --------------------------------------------------------------------------- */

static void finish(Fdc *s)
{
    if (s->data_dir >= DIR_SCAN_EQUAL && s->data_dir <= DIR_SCAN_HIGH) {
        s->status2 = SR2_SEH;
    }
    fdc_stop_transfer(s, s->status0, s->status1, s->status2);
}

/* Asks for the current sector, or fills in zeros for one that is not on the medium. True: it is
 * there. */
static bool fetch_sector(Fdc *s)
{
    FdcDrive *drive = fdc_current(s);
    uint64_t offset = fdc_drive_offset(drive, drive->head, drive->track, drive->sect);

    if (s->sector_ready) {
        return true;
    }
    if (on_medium(drive, offset)) {
        submit(s, false, offset, NULL, 0);
        return false;
    }
    memset(s->fifo, 0, FDC_SECTOR);
    s->sector_ready = true;
    return true;
}

/* False: it is under way (or failed), and its completion goes on. */
static bool store_sector(Fdc *s, uint32_t chunk)
{
    FdcDrive *drive = fdc_current(s);
    uint64_t offset = fdc_drive_offset(drive, drive->head, drive->track, drive->sect);

    if (!on_medium(drive, offset)) {
        fdc_stop_transfer(s, SR0_ABNTERM | SR0_SEEK, 0, 0);
        return false;
    }
    submit(s, true, offset, s->fifo, chunk);
    return false;
}

/* True when the scan's condition is met and the transfer ends here. */
static bool scan_hit(Fdc *s, const uint8_t *data, uint32_t at, uint32_t n)
{
    int order = memcmp(data, s->fifo + at, n);

    return (s->data_dir == DIR_SCAN_EQUAL && order == 0) ||
           (s->data_dir == DIR_SCAN_LOW && order < 0) ||
           (s->data_dir == DIR_SCAN_HIGH && order > 0);
}

/* Up to the end of one sector. False: wait for a completion, or the transfer has ended. */
static bool step_sector(Fdc *s, uint32_t len)
{
    uint32_t at = s->data_pos % FDC_SECTOR, n = MIN(len - s->data_pos, FDC_SECTOR - at);
    IsaBus *bus = isa_bus(&s->isa);
    uint8_t data[FDC_SECTOR];

    if ((s->data_dir != DIR_WRITE || n < FDC_SECTOR) && !fetch_sector(s)) {
        return false;
    }
    switch (s->data_dir) {
    case DIR_READ:
        if (!isa_dma_write(bus, s->dma, s->fifo + at, s->data_pos, n)) {
            guest_error(&s->isa.dev, "DMA to memory that is no RAM");
        }
        break;
    case DIR_WRITE:
        isa_dma_read(bus, s->dma, s->fifo + at, s->data_pos, n);
        return store_sector(s, n);
    case DIR_VERIFY:
        break;
    default:
        isa_dma_read(bus, s->dma, data, s->data_pos, n);
        if (scan_hit(s, data, at, n)) {
            finish(s);
            return false;
        }
    }
    advance(s, n);
    return true;
}

/* The DMA controller's call; also without it for VERIFY, which moves nothing. */
static uint32_t step(void *opaque, unsigned channel, uint32_t pos, uint32_t dma_len)
{
    Fdc *s = opaque;
    uint32_t len = MIN(dma_len, s->data_len);

    if (!uses_dma(s) || s->io_busy || timer_pending(&s->result_timer)) {
        return pos;
    }
    /* Each turn moves data_pos on or returns. */
    for (pos = s->data_pos; pos < len && !s->track_end; pos = s->data_pos) {
        if (!step_sector(s, len)) {
            return pos;
        }
    }
    finish(s);
    return pos;
}

static void go_on(Fdc *s)
{
    if (s->data_dir == DIR_VERIFY) {
        step(s, s->dma, 0, s->data_len);
    } else {
        isa_dma_kick(isa_bus(&s->isa), s->dma);
    }
}

/* ---- PIO --------------------------------------------------------------------------- */

static void pio_ready(Fdc *s)
{
    s->msr |= MSR_RQM;
}

/* Fetches the sector that the guest takes next. */
static void pio_prefetch(Fdc *s)
{
    FdcDrive *drive = fdc_current(s);
    Position p = {drive->head, drive->track, drive->sect, false, false};

    if (s->data_pos) {
        p = next_position(s);
    }
    uint64_t offset = fdc_drive_offset(drive, p.head, p.track, p.sect);
    if (p.end) {
        fdc_stop_transfer(s, SR0_ABNTERM, SR1_EC, 0);
    } else if (on_medium(drive, offset)) {
        s->msr &= ~MSR_RQM;
        submit(s, false, offset, NULL, 0);
    } else {
        memset(s->next_sector, 0, FDC_SECTOR);
        s->sector_ready = true;
        pio_ready(s);
    }
}

uint8_t fdc_pio_read(Fdc *s)
{
    uint32_t at = s->data_pos % FDC_SECTOR;
    uint8_t value;

    if (at == 0) {
        if (!s->sector_ready) {
            return 0;
        }
        if (s->data_pos) {
            move_to(s, next_position(s));
        }
        memcpy(s->fifo, s->next_sector, FDC_SECTOR);
        s->sector_ready = false;
    }
    value = s->fifo[at];
    s->data_pos++;
    if (s->data_pos >= s->data_len) {
        fdc_stop_transfer(s, 0, 0, 0);
    } else if (s->data_pos % FDC_SECTOR == 0) {
        pio_prefetch(s);
    }
    return value;
}

void fdc_pio_write(Fdc *s, uint8_t value)
{
    uint32_t at = s->data_pos % FDC_SECTOR;

    if (at == 0) {
        memset(s->fifo, 0, FDC_SECTOR); /* a short last sector is filled up with zeros */
    }
    s->fifo[at] = value;
    s->data_pos++;
    if (at == FDC_SECTOR - 1 || s->data_pos >= s->data_len) {
        s->msr &= ~MSR_RQM;
        store_sector(s, 0);
    }
}

static void pio_written(Fdc *s)
{
    move_to(s, next_position(s));
    if (s->data_pos >= s->data_len || s->track_end) {
        fdc_stop_transfer(s, s->status0, s->status1, 0);
    } else {
        pio_ready(s);
    }
}

/* ---- formatting -------------------------------------------------------------------- */

/*
 * fifo[]: command, drive and head, N, sectors, gap, fill byte. The DMA channel brings C, H, R, N of
 * each sector. The sectors of an image are where they are: only the fill byte is written.
 */
static uint32_t format_step(Fdc *s, uint32_t pos)
{
    FdcDrive *drive = fdc_current(s);
    uint32_t len = s->data_len;
    uint8_t id[4], fill[FDC_SECTOR];

    while (pos < len) {
        isa_dma_read(isa_bus(&s->isa), s->dma, id, pos, sizeof id);
        uint64_t offset = fdc_drive_offset(drive, drive->head, drive->track, id[2]);
        pos += sizeof id;
        if (id[2] == 0 || id[2] > drive->last_sect || !on_medium(drive, offset)) {
            s->data_pos = pos;
            fdc_stop_transfer(s, SR0_ABNTERM, SR1_MA, 0);
            return pos;
        }
        memset(fill, s->fifo[5], sizeof fill);
        submit(s, true, offset, fill, sizeof id);
        return pos - sizeof id; /* counted when it is written */
    }
    fdc_stop_transfer(s, 0, 0, 0);
    return pos;
}

static uint32_t dma_transfer(void *opaque, unsigned channel, uint32_t pos, uint32_t len)
{
    Fdc *s = opaque;

    if (!(s->data_state & STATE_FORMAT) || !uses_dma(s)) {
        return step(opaque, channel, pos, len);
    }
    if (s->io_busy) {
        return s->data_pos;
    }
    s->data_len = MIN(s->data_len, len & ~3u);
    return format_step(s, s->data_pos);
}

void fdc_start_format(Fdc *s)
{
    FdcDrive *drive;

    s->cur_drv = s->fifo[1] & DOR_SELMASK;
    drive = fdc_current(s);
    drive->head = drive->sides == 2 ? (s->fifo[1] >> 2) & 1 : 0;
    if (!fdc_drive_inserted(drive) || !drive->last_sect || s->fifo[2] != SECTOR_SIZE_CODE ||
        (s->dsr & DSR_RATE) != drive->media_rate) {
        fdc_stop_transfer(s, SR0_ABNTERM, SR1_MA, 0);
        return;
    }
    if (drive->read_only) {
        fdc_stop_transfer(s, SR0_ABNTERM | SR0_SEEK, SR1_NW, 0);
        return;
    }
    if (!(s->dor & DOR_DMAEN)) {
        guest_error(&s->isa.dev, "FORMAT TRACK without DMA is not supported");
        fdc_stop_transfer(s, SR0_ABNTERM, 0, 0);
        return;
    }
    s->transfer++;
    s->io_busy = s->track_end = false;
    s->data_dir = DIR_WRITE;
    s->data_state = STATE_FORMAT;
    s->data_pos = 0;
    s->data_len = 4u * s->fifo[3];
    s->msr = MSR_CMDBUSY;
    isa_dma_hold(isa_bus(&s->isa), s->dma);
}

/* ---- completions ------------------------------------------------------------------- */

static void read_done(Fdc *s, const FdcRequest *r)
{
    s->sector_ready = true;
    if (uses_dma(s)) {
        memcpy(s->fifo, r->data, FDC_SECTOR);
        go_on(s);
    } else {
        memcpy(s->next_sector, r->data, FDC_SECTOR);
        pio_ready(s);
    }
}

static void write_done(Fdc *s, const FdcRequest *r)
{
    if (s->data_state & STATE_FORMAT) {
        s->data_pos += r->chunk;
        go_on(s);
    } else if (uses_dma(s)) {
        advance(s, r->chunk);
        go_on(s);
    } else {
        pio_written(s);
    }
}

static void sector_done(void *opaque, int result)
{
    FdcRequest *r = opaque;
    Fdc *s = r->fdc;

    if (r->transfer == s->transfer) { /* not of a transfer that was reset */
        s->io_busy = false;
        if (result < 0) {
            trace(fdc_io_error, "write %d error %d", r->is_write, -result);
            fdc_stop_transfer(s, SR0_ABNTERM | SR0_SEEK, r->is_write ? 0 : SR1_DE, 0);
        } else if (r->is_write) {
            write_done(s, r);
        } else {
            read_done(s, r);
        }
    }
    g_free(r);
}

/* ---- start and end ----------------------------------------------------------------- */

/* The result names the position that the command asked for. */
static void refuse(Fdc *s, uint8_t status0, uint8_t status1)
{
    uint8_t track = s->fifo[2], head = s->fifo[3], sect = s->fifo[4];

    fdc_stop_transfer(s, status0, status1, 0);
    s->fifo[3] = track;
    s->fifo[4] = head;
    s->fifo[5] = sect;
}

/* Bytes that the command wants; false for an end of track before its first sector. */
static bool command_length(Fdc *s, uint32_t *len)
{
    uint8_t n = s->fifo[5], first = s->fifo[4], eot = s->fifo[6];

    if (n == 0) {
        *len = s->fifo[8];
        return true;
    }
    if (eot + 1 < first) {
        return false;
    }
    *len = (128u << MIN(n, 7)) * (uint32_t)(eot + 1 - first + (s->fifo[0] & 0x80 ? eot : 0));
    return true;
}

static void begin_execution(Fdc *s)
{
    if (s->data_dir == DIR_VERIFY && (s->dor & DOR_DMAEN)) {
        go_on(s);
    } else if (s->dor & DOR_DMAEN) {
        isa_dma_hold(isa_bus(&s->isa), s->dma);
    } else if (s->data_dir >= DIR_SCAN_EQUAL) {
        guest_error(&s->isa.dev, "scan and verify without DMA are not supported");
        fdc_stop_transfer(s, SR0_ABNTERM, 0, 0);
    } else {
        s->msr |= MSR_NONDMA;
        if (s->data_dir == DIR_WRITE) {
            pio_ready(s);
        } else {
            s->msr |= MSR_DIO;
            pio_prefetch(s);
        }
        if (s->phase == PHASE_EXECUTION) {
            fdc_raise_irq(s);
        }
    }
}

void fdc_start_transfer(Fdc *s, FdcDirection dir)
{
    FdcDrive *drive;
    uint32_t len;

    s->status1 = s->status2 = 0;
    s->cur_drv = s->fifo[1] & DOR_SELMASK;
    drive = fdc_current(s);
    switch (fdc_drive_seek(drive, s->fifo[3], s->fifo[2], s->fifo[4], s->config & CONFIG_EIS)) {
    case SEEK_NO_TRACK:
    case SEEK_FORBIDDEN:
        refuse(s, SR0_ABNTERM, 0);
        return;
    case SEEK_NO_SECTOR:
        refuse(s, SR0_ABNTERM, SR1_EC);
        return;
    case SEEK_MOVED:
        s->status0 |= SR0_SEEK;
        break;
    case SEEK_SAME:
        break;
    }
    if ((s->dsr & DSR_RATE) != drive->media_rate || !command_length(s, &len)) {
        refuse(s, SR0_ABNTERM, SR1_MA);
        return;
    }
    if (dir == DIR_WRITE && drive->read_only) {
        fdc_stop_transfer(s, SR0_ABNTERM | SR0_SEEK, SR1_NW, 0);
        return;
    }
    s->transfer++;
    s->io_busy = s->sector_ready = s->track_end = false;
    s->data_dir = dir;
    s->data_state = s->fifo[0] & 0x80 ? STATE_MULTI : 0;
    s->eot = s->fifo[6];
    s->data_pos = 0;
    s->data_len = len;
    s->msr = MSR_CMDBUSY;
    if (len == 0) {
        fdc_stop_transfer(s, 0, 0, 0);
        return;
    }
    begin_execution(s);
}

void fdc_forget_transfer(Fdc *s)
{
    s->transfer++;
    isa_dma_release(isa_bus(&s->isa), s->dma);
}

void fdc_abort_transfer(Fdc *s)
{
    fdc_forget_transfer(s);
    s->io_busy = s->sector_ready = s->track_end = false;
    timer_cancel(&s->result_timer);
}

void fdc_resume_transfer(Fdc *s)
{
    if (s->phase != PHASE_EXECUTION || s->io_busy || timer_pending(&s->result_timer)) {
        return;
    }
    if (uses_dma(s)) {
        if (s->data_dir == DIR_VERIFY) {
            go_on(s);
        } else {
            isa_dma_hold(isa_bus(&s->isa), s->dma);
        }
    } else if (s->data_dir == DIR_READ && s->data_pos % FDC_SECTOR == 0 && !s->sector_ready) {
        pio_prefetch(s);
    }
}

bool fdc_transfer_init(Fdc *s, GError **err)
{
    if (s->dma >= ISA_DMA_CHANNELS ||
        !isa_dma_register(isa_bus(&s->isa), s->dma, dma_transfer, s)) {
        return error_set(err, "isa-fdc: dma=%u: the bus has no such DMA channel", s->dma);
    }
    return true;
}

void fdc_transfer_finish(Fdc *s)
{
    fdc_abort_transfer(s);
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        if (s->drives[i].blk) {
            blk_drain(s->drives[i].blk);
        }
    }
    isa_dma_register(isa_bus(&s->isa), s->dma, NULL, NULL);
}
