/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * isa-fdc: floppy disk controller (Intel 82078, datasheet 290475) with two drives, ports 3f1h-3f5h
 * and 3f7h, IRQ 6, DMA channel 2. fdc_internal.h tells how its phases work.
 *
 * As QEMU 7.2: commands complete at once but for READ ID (20 ms) and what waits for the medium;
 * deleted data is not supported; sectors are 512 bytes whatever size code the guest names.
 * Not done: perpendicular mode and step rates have no effect; FORMAT wants DMA.
 */
#include "hw/block/fdc_internal.h"
#include "hw/dma/i8257.h"
#include "util/log.h"
#include "util/trace.h"

/* Offsets of the registers. */
enum {
    REG_SRB = 1,
    REG_DOR,
    REG_TDR,
    REG_MSR,
    REG_FIFO,
    REG_DIR = 7,
    REG_DSR = REG_MSR,
    REG_CCR = REG_DIR
};

#define SRA_NDRV2 0x40
#define SRA_INTPEND 0x80
#define SRB_MTR0 0x01
#define SRB_MTR1 0x02
#define SRB_DR0 0x20
#define SRB_RESERVED 0xc0
#define DOR_MOTOR0 0x10
#define DOR_MOTOR1 0x20
#define DSR_PWRDOWN 0x40
#define DSR_SWRESET 0x80
#define TDR_BOOTSEL 0x04
#define DIR_DSKCHG 0x80
#define CONFIG_DEFAULT 0x60 /* implied seeks, no FIFO */
#define READ_ID_NS (NSEC_PER_SEC / 50)

/* ---- interrupt --------------------------------------------------------------------- */

void fdc_raise_irq(Fdc *s)
{
    if (!(s->sra & SRA_INTPEND)) {
        irq_raise(s->irq);
        s->sra |= SRA_INTPEND;
    }
    s->reset_sensei = 0;
}

static void lower_irq(Fdc *s)
{
    s->status0 = 0;
    if (s->sra & SRA_INTPEND) {
        irq_lower(s->irq);
        s->sra &= ~SRA_INTPEND;
    }
}

/* ---- phases ------------------------------------------------------------------------ */

void fdc_to_command_phase(Fdc *s)
{
    s->phase = PHASE_COMMAND;
    s->data_dir = DIR_WRITE;
    s->data_state = 0;
    s->data_pos = 0;
    s->data_len = 1; /* the command byte says how many more */
    s->msr &= ~(MSR_CMDBUSY | MSR_DIO | MSR_NONDMA);
    s->msr |= MSR_RQM;
}

void fdc_to_result_phase(Fdc *s, unsigned len)
{
    g_assert(len && len <= sizeof s->fifo);
    s->phase = PHASE_RESULT;
    s->data_dir = DIR_READ;
    s->data_pos = 0;
    s->data_len = len;
    s->msr &= ~MSR_NONDMA;
    s->msr |= MSR_CMDBUSY | MSR_RQM | MSR_DIO;
}

void fdc_stop_transfer(Fdc *s, uint8_t status0, uint8_t status1, uint8_t status2)
{
    FdcDrive *drive = fdc_current(s);

    fdc_abort_transfer(s);
    s->status0 = (s->status0 & SR0_SEEK) | status0;
    s->status0 = (s->status0 & ~(SR0_HEAD | 0x03)) | (drive->head ? SR0_HEAD : 0) | s->cur_drv;
    s->status1 = status1;
    s->status2 = status2;
    s->fifo[0] = s->status0;
    s->fifo[1] = status1;
    s->fifo[2] = status2;
    s->fifo[3] = drive->track;
    s->fifo[4] = drive->head;
    s->fifo[5] = drive->sect;
    s->fifo[6] = SECTOR_SIZE_CODE;
    trace(fdc_result, "st0 0x%02x st1 0x%02x track %u head %u sector %u", s->status0, status1,
          drive->track, drive->head, drive->sect);
    fdc_to_result_phase(s, 7);
    fdc_raise_irq(s);
}

static void soft_reset(Fdc *s, bool interrupt)
{
    fdc_abort_transfer(s);
    lower_irq(s);
    s->sra = s->drives[1].dev ? 0 : SRA_NDRV2;
    s->srb = SRB_RESERVED;
    s->cur_drv = 0;
    s->dor = DOR_NRESET | DOR_DMAEN;
    s->msr = 0;
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        fdc_drive_recalibrate(&s->drives[i]);
    }
    fdc_to_command_phase(s);
    if (interrupt) {
        fdc_raise_irq(s);
        s->status0 = SR0_RDYCHG;
        s->reset_sensei = FDC_RESET_SENSEI;
    }
}

/* ---- commands: parameters are in fifo[1]... ---------------------------------------- */

static FdcDrive *select_drive(Fdc *s)
{
    s->cur_drv = s->fifo[1] & DOR_SELMASK;
    return fdc_current(s);
}

static void result_byte(Fdc *s, uint8_t value)
{
    s->fifo[0] = value;
    fdc_to_result_phase(s, 1);
}

static void cmd_invalid(Fdc *s)
{
    guest_error(&s->isa.dev, "unknown command 0x%02x", s->fifo[0]);
    result_byte(s, SR0_INVCMD);
}

static void cmd_read(Fdc *s)
{
    fdc_start_transfer(s, DIR_READ);
}
static void cmd_write(Fdc *s)
{
    fdc_start_transfer(s, DIR_WRITE);
}
static void cmd_verify(Fdc *s)
{
    fdc_start_transfer(s, DIR_VERIFY);
}
static void cmd_scan_equal(Fdc *s)
{
    fdc_start_transfer(s, DIR_SCAN_EQUAL);
}
static void cmd_scan_low(Fdc *s)
{
    fdc_start_transfer(s, DIR_SCAN_LOW);
}
static void cmd_scan_high(Fdc *s)
{
    fdc_start_transfer(s, DIR_SCAN_HIGH);
}
static void cmd_format(Fdc *s)
{
    fdc_start_format(s);
}

/* An image has no deleted address marks. */
static void cmd_deleted(Fdc *s)
{
    select_drive(s);
    fdc_stop_transfer(s, SR0_ABNTERM | SR0_SEEK, 0, 0);
}

static void seek_done(Fdc *s)
{
    fdc_to_command_phase(s);
    s->status0 |= SR0_SEEK;
    fdc_raise_irq(s);
}

static void cmd_seek(Fdc *s)
{
    FdcDrive *drive = select_drive(s);

    fdc_drive_seek(drive, drive->head, s->fifo[2], drive->sect, true);
    seek_done(s);
}

static void cmd_seek_in(Fdc *s)
{
    FdcDrive *drive = select_drive(s);
    unsigned track = drive->track + s->fifo[2];

    if (track >= drive->max_track) {
        track = drive->max_track ? drive->max_track - 1u : 0;
    }
    fdc_drive_seek(drive, drive->head, track, drive->sect, true);
    seek_done(s);
}

static void cmd_seek_out(Fdc *s)
{
    FdcDrive *drive = select_drive(s);

    fdc_drive_seek(drive, drive->head, drive->track - MIN(drive->track, s->fifo[2]), drive->sect,
                   true);
    seek_done(s);
}

static void cmd_recalibrate(Fdc *s)
{
    fdc_drive_recalibrate(select_drive(s));
    seek_done(s);
}

static void cmd_sense_interrupt(Fdc *s)
{
    FdcDrive *drive = fdc_current(s);

    if (s->reset_sensei > 0) {
        /* After a reset each of four drives reports that its ready line changed. */
        s->fifo[0] = SR0_RDYCHG + FDC_RESET_SENSEI - s->reset_sensei;
        s->reset_sensei--;
    } else if (!(s->sra & SRA_INTPEND)) {
        result_byte(s, SR0_INVCMD);
        return;
    } else {
        s->fifo[0] = (s->status0 & ~(SR0_HEAD | 0x03)) | s->cur_drv;
    }
    s->fifo[1] = drive->track;
    fdc_to_result_phase(s, 2);
    lower_irq(s);
    s->status0 = SR0_RDYCHG;
}

static void cmd_sense_drive(Fdc *s)
{
    FdcDrive *drive = select_drive(s);

    drive->head = (s->fifo[1] >> 2) & 1;
    /* Write protect, track 0, head, drive; ready and two-sided are always there. */
    result_byte(s, (drive->read_only ? 0x40 : 0) | (drive->track == 0 ? 0x10 : 0) |
                       drive->head << 2 | s->cur_drv | 0x28);
}

static void read_id_timer(void *opaque)
{
    Fdc *s = opaque;
    FdcDrive *drive = fdc_current(s);

    if (drive->last_sect) {
        drive->sect = drive->sect % drive->last_sect + 1; /* the next one that comes by */
    }
    if ((s->dsr & DSR_RATE) != drive->media_rate) {
        fdc_stop_transfer(s, SR0_ABNTERM, SR1_MA, 0);
    } else {
        fdc_stop_transfer(s, 0, 0, 0);
    }
}

static void cmd_read_id(Fdc *s)
{
    fdc_current(s)->head = (s->fifo[1] >> 2) & 1;
    timer_arm(&s->result_timer, clock_now(s->isa.dev.vm, CLOCK_VIRTUAL) + READ_ID_NS);
}

static void cmd_specify(Fdc *s)
{
    s->timer0 = s->fifo[1] >> 4;
    s->timer1 = s->fifo[2] >> 1;
    s->dor = s->fifo[2] & 1 ? s->dor & ~DOR_DMAEN : s->dor | DOR_DMAEN;
    fdc_to_command_phase(s);
}

static void cmd_perpendicular(Fdc *s)
{
    if (s->fifo[1] & 0x80) {
        fdc_current(s)->perpendicular = s->fifo[1] & 0x07;
    }
    fdc_to_command_phase(s);
}

static void cmd_configure(Fdc *s)
{
    s->config = s->fifo[2];
    s->precomp_trk = s->fifo[3];
    fdc_to_command_phase(s);
}

static void cmd_option(Fdc *s)
{
    fdc_to_command_phase(s);
}

static void cmd_powerdown(Fdc *s)
{
    s->pwrd = s->fifo[1];
    result_byte(s, s->fifo[1]);
}

static void cmd_drive_specification(Fdc *s)
{
    if ((s->fifo[5] & 0xc0) == 0xc0) {
        const uint8_t result[] = {s->fifo[1], s->fifo[1], 0, 0};

        memcpy(s->fifo, result, sizeof result);
        fdc_to_result_phase(s, sizeof result);
    } else {
        fdc_to_command_phase(s);
    }
}

static void cmd_lock(Fdc *s)
{
    s->lock = s->fifo[0] >> 7;
    result_byte(s, s->lock << 4);
}

static void cmd_dumpreg(Fdc *s)
{
    FdcDrive *drive = fdc_current(s);
    const uint8_t result[] = {
        s->drives[0].track,
        s->drives[1].track,
        0,
        0,
        s->timer0,
        s->timer1 << 1 | (s->dor & DOR_DMAEN ? 1 : 0),
        drive->last_sect,
        s->lock << 7 | drive->perpendicular << 2,
        s->config,
        s->precomp_trk,
    };

    memcpy(s->fifo, result, sizeof result);
    fdc_to_result_phase(s, sizeof result);
}

static void cmd_version(Fdc *s)
{
    result_byte(s, 0x90);
}
static void cmd_part_id(Fdc *s)
{
    result_byte(s, 0x41);
}

static void cmd_save(Fdc *s)
{
    FdcDrive *drive = fdc_current(s);
    const uint8_t result[15] = {
        [2] = s->drives[0].track, [3] = s->drives[1].track,
        [6] = s->timer0,          [7] = s->timer1,
        [8] = drive->last_sect,   [9] = s->lock << 7 | drive->perpendicular << 2,
        [10] = s->config,         [11] = s->precomp_trk,
        [12] = s->pwrd,
    };

    memcpy(s->fifo, result, sizeof result);
    fdc_to_result_phase(s, sizeof result);
}

static void cmd_restore(Fdc *s)
{
    /* The tracks may be any bytes: a drive stays where it can be. */
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        s->drives[i].track = MIN(s->fifo[3 + i], MAX(s->drives[i].max_track, 80));
    }
    s->timer0 = s->fifo[7];
    s->timer1 = s->fifo[8];
    s->lock = s->fifo[10] >> 7;
    fdc_current(s)->perpendicular = (s->fifo[10] >> 2) & 0x0f;
    s->config = s->fifo[11];
    s->precomp_trk = s->fifo[12];
    s->pwrd = s->fifo[13];
    fdc_to_command_phase(s);
}

/* The first row whose bits match wins; the last one matches all. */
typedef struct Command {
    uint8_t value, mask;
    uint8_t parameters;
    const char *name;
    void (*run)(Fdc *s);
} Command;

static const Command commands[] = {
    {0x06, 0x1f, 8, "read", cmd_read},
    {0x05, 0x1f, 8, "write", cmd_write},
    {0x0f, 0xff, 2, "seek", cmd_seek},
    {0x08, 0xff, 0, "sense interrupt", cmd_sense_interrupt},
    {0x07, 0xff, 1, "recalibrate", cmd_recalibrate},
    {0x0d, 0xbf, 5, "format track", cmd_format},
    {0x02, 0xbf, 8, "read track", cmd_read},
    {0x4e, 0xff, 17, "restore", cmd_restore},
    {0x2e, 0xff, 0, "save", cmd_save},
    {0x0c, 0x1f, 8, "read deleted", cmd_deleted},
    {0x11, 0x1f, 8, "scan equal", cmd_scan_equal},
    {0x16, 0x1f, 8, "verify", cmd_verify},
    {0x19, 0x1f, 8, "scan low", cmd_scan_low},
    {0x1d, 0x1f, 8, "scan high", cmd_scan_high},
    {0x09, 0x3f, 8, "write deleted", cmd_deleted},
    {0x0a, 0xbf, 1, "read id", cmd_read_id},
    {0x03, 0xff, 2, "specify", cmd_specify},
    {0x04, 0xff, 1, "sense drive", cmd_sense_drive},
    {0x12, 0xff, 1, "perpendicular", cmd_perpendicular},
    {0x13, 0xff, 3, "configure", cmd_configure},
    {0x17, 0xff, 2, "powerdown", cmd_powerdown},
    {0x33, 0xff, 1, "option", cmd_option},
    {0x8e, 0xff, 5, "drive specification", cmd_drive_specification},
    {0x8f, 0xff, 2, "relative seek out", cmd_seek_out},
    {0xcf, 0xff, 2, "relative seek in", cmd_seek_in},
    {0xcd, 0xff, 10, "format and write", cmd_invalid},
    {0x14, 0x7f, 0, "lock", cmd_lock},
    {0x0e, 0xff, 0, "dumpreg", cmd_dumpreg},
    {0x10, 0xff, 0, "version", cmd_version},
    {0x18, 0xff, 0, "part id", cmd_part_id},
    {0x00, 0x00, 0, "invalid", cmd_invalid},
};

static const Command *find_command(uint8_t value)
{
    const Command *c = commands;

    while ((value & c->mask) != c->value) {
        c++;
    }
    return c;
}

/* ---- the data register ------------------------------------------------------------- */

static void command_byte(Fdc *s, uint8_t value)
{
    if (s->data_pos == 0) {
        s->data_len = 1u + find_command(value)->parameters;
        s->msr |= MSR_CMDBUSY;
    }
    if (s->data_pos >= sizeof s->fifo) {
        fdc_to_command_phase(s);
        return;
    }
    s->fifo[s->data_pos++] = value;
    if (s->data_pos >= s->data_len) {
        const Command *c = find_command(s->fifo[0]);

        trace(fdc_command, "%s 0x%02x 0x%02x 0x%02x", c->name, s->fifo[0], s->fifo[1], s->fifo[2]);
        s->phase = PHASE_EXECUTION;
        s->msr &= ~MSR_RQM;
        c->run(s);
    }
}

static void fifo_write(Fdc *s, uint8_t value)
{
    if (!(s->dor & DOR_NRESET)) {
        guest_error(&s->isa.dev, "data written during reset");
        return;
    }
    if (!(s->msr & MSR_RQM) || (s->msr & MSR_DIO)) {
        guest_error(&s->isa.dev, "data written while the controller has msr 0x%02x", s->msr);
        return;
    }
    s->dsr &= ~DSR_PWRDOWN;
    if (s->phase == PHASE_EXECUTION) {
        fdc_pio_write(s, value);
    } else {
        command_byte(s, value);
    }
}

static uint8_t fifo_read(Fdc *s)
{
    uint8_t value;

    s->dsr &= ~DSR_PWRDOWN;
    if (!(s->msr & MSR_RQM) || !(s->msr & MSR_DIO)) {
        guest_error(&s->isa.dev, "data read while the controller has msr 0x%02x", s->msr);
        return 0;
    }
    if (s->phase == PHASE_EXECUTION) {
        return fdc_pio_read(s);
    }
    if (s->data_pos >= s->data_len || s->data_pos >= sizeof s->fifo) {
        fdc_to_command_phase(s);
        return 0;
    }
    value = s->fifo[s->data_pos++];
    if (s->data_pos == s->data_len) {
        fdc_to_command_phase(s);
        lower_irq(s);
    }
    return value;
}

/* ---- the other registers ----------------------------------------------------------- */

static void write_dor(Fdc *s, uint8_t value)
{
    bool leaves_reset = (value & DOR_NRESET) && !(s->dor & DOR_NRESET);

    s->srb &= ~(SRB_MTR0 | SRB_MTR1 | SRB_DR0);
    s->srb |= (value & DOR_MOTOR0 ? SRB_MTR0 : 0) | (value & DOR_MOTOR1 ? SRB_MTR1 : 0) |
              (value & DOR_SELMASK ? SRB_DR0 : 0);
    if (leaves_reset) {
        soft_reset(s, true);
        s->dsr &= ~DSR_SWRESET;
    } else if (!(value & DOR_NRESET) && (s->dor & DOR_NRESET)) {
        if (s->phase == PHASE_EXECUTION) { /* a result stays readable, as in QEMU */
            fdc_abort_transfer(s);
            fdc_to_command_phase(s);
        }
    }
    s->cur_drv = value & DOR_SELMASK;
    s->dor = value;
}

static void write_dsr(Fdc *s, uint8_t value)
{
    if (!(s->dor & DOR_NRESET)) {
        return;
    }
    if (value & (DSR_SWRESET | DSR_PWRDOWN)) {
        soft_reset(s, true);
    }
    s->dsr = value;
}

static uint8_t read_msr(Fdc *s)
{
    s->dsr &= ~DSR_PWRDOWN;
    s->dor |= DOR_NRESET;
    return s->msr;
}

static uint64_t fdc_read(void *opaque, uint64_t offset, unsigned size)
{
    Fdc *s = opaque;
    uint8_t value = 0;

    switch (offset) {
    case REG_SRB:
        value = s->srb;
        break;
    case REG_DOR:
        value = s->dor | s->cur_drv;
        break;
    case REG_TDR:
        value = s->tdr;
        break;
    case REG_MSR:
        value = read_msr(s);
        break;
    case REG_FIFO:
        value = fifo_read(s);
        break;
    case REG_DIR: {
        FdcDrive *drive = fdc_current(s);

        value = !fdc_drive_inserted(drive) || drive->media_changed ? DIR_DSKCHG : 0;
        break;
    }
    }
    trace(fdc_read, "register %u value 0x%02x", (unsigned)offset, value);
    return value;
}

static void fdc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Fdc *s = opaque;

    trace(fdc_write, "register %u value 0x%02x", (unsigned)offset, (unsigned)value);
    switch (offset) {
    case REG_DOR:
        write_dor(s, value);
        break;
    case REG_TDR:
        if (s->dor & DOR_NRESET) {
            s->tdr = value & TDR_BOOTSEL;
        }
        break;
    case REG_DSR:
        write_dsr(s, value);
        break;
    case REG_FIFO:
        fifo_write(s, value);
        break;
    case REG_CCR:
        if (s->dor & DOR_NRESET) {
            s->dsr = (s->dsr & ~DSR_RATE) | (value & DSR_RATE);
        }
        break;
    }
}

static uint64_t fdc_read_low(void *opaque, uint64_t offset, unsigned size)
{
    return fdc_read(opaque, offset + REG_SRB, size);
}
static void fdc_write_low(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    fdc_write(opaque, offset + REG_SRB, value, size);
}
static uint64_t fdc_read_dir(void *opaque, uint64_t offset, unsigned size)
{
    return fdc_read(opaque, REG_DIR, size);
}
static void fdc_write_ccr(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    fdc_write(opaque, REG_CCR, value, size);
}

static const RegionOps fdc_ops = {
    .read = fdc_read_low,
    .write = fdc_write_low,
    .impl = {.min_size = 1, .max_size = 1},
};
static const RegionOps fdc_ops2 = {
    .read = fdc_read_dir,
    .write = fdc_write_ccr,
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle --------------------------------------------------------------------- */

static void fdc_run_state(void *opaque, bool running, RunState state)
{
    Fdc *s = opaque;

    if (running) {
        fdc_resume_transfer(s);
        return;
    }
    /* A stopped machine has nothing under way that its state does not show. */
    for (unsigned i = 0; i < FDC_DRIVES && s->io_busy; i++) {
        if (s->drives[i].blk) {
            blk_drain(s->drives[i].blk);
        }
    }
}

static bool fdc_realize(Device *dev, GError **err)
{
    Fdc *s = container_of(dev, Fdc, isa.dev);

    if (s->fallback == FLOPPY_AUTO) {
        return error_set(
            err, "isa-fdc: fallback=auto: name the type of an empty drive (144, 288, 120 or none)");
    }
    s->num_floppies = FDC_DRIVES;
    s->config = CONFIG_DEFAULT;
    timer_init(&s->result_timer, dev->vm, CLOCK_VIRTUAL, read_id_timer, s);
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        s->drives[i].fdc = s;
        s->drives[i].media_changed = 1;
        fdc_drive_revalidate(&s->drives[i]);
    }
    device_init_irq_out(dev, &s->irq, 1);
    device_connect(dev, 0, isa_irq(&s->isa, s->irq_number));
    if (!fdc_transfer_init(s, err)) {
        return false;
    }
    region_init_io(&s->ports, &fdc_ops, s, "fdc", 5);
    region_init_io(&s->ports2, &fdc_ops2, s, "fdc", 1);
    if (!isa_map_ports(&s->isa, &s->ports, s->iobase + REG_SRB, err) ||
        !isa_map_ports(&s->isa, &s->ports2, s->iobase + REG_DIR, err)) {
        fdc_transfer_finish(s);
        return false;
    }
    s->isa.first_port = (uint16_t)s->iobase; /* its name in firmware paths */
    bus_init_embedded(&s->bus, dev->vm, "floppy-bus", dev, "floppy-bus.0");
    vm_on_run_state(dev->vm, fdc_run_state, s);
    return true;
}

static void fdc_unrealize(Device *dev)
{
    Fdc *s = container_of(dev, Fdc, isa.dev);

    vm_off_run_state(dev->vm, fdc_run_state, s);
    fdc_transfer_finish(s);
    region_remove(&s->ports);
    region_remove(&s->ports2);
    region_destroy(&s->ports);
    region_destroy(&s->ports2);
}

static void fdc_reset(Device *dev)
{
    soft_reset(container_of(dev, Fdc, isa.dev), false);
}

static const Property fdc_props[] = {
    PROP_U32("iobase", Fdc, iobase, .def = 0x3f0, .max = 0xfff8, .help = "first I/O port"),
    PROP_U32("irq", Fdc, irq_number, .def = 6, .max = ISA_NUM_IRQS - 1,
             .help = "ISA interrupt line"),
    PROP_U32("dma", Fdc, dma, .def = 2, .max = ISA_DMA_CHANNELS - 1, .help = "ISA DMA channel"),
    PROP_ENUM("fdtypeA", Fdc, fdtype[0], .type = "FdcDriveType", .def = FLOPPY_AUTO, .values = floppy_type_names,
              .help = "type of drive A:"),
    PROP_ENUM("fdtypeB", Fdc, fdtype[1], .type = "FdcDriveType", .def = FLOPPY_AUTO, .values = floppy_type_names,
              .help = "type of drive B:"),
    PROP_ENUM("fallback", Fdc, fallback, .type = "FdcDriveType", .def = FLOPPY_288, .values = floppy_type_names,
              .help = "type of a drive whose medium does not tell"),
    PROP_I32("bootindexA", Fdc, bootindex[0], .def = (uint64_t)-1, .min = (uint64_t)-1,
             .max = INT32_MAX, .help = "place of drive A: in the boot order"),
    PROP_I32("bootindexB", Fdc, bootindex[1], .def = (uint64_t)-1, .min = (uint64_t)-1,
             .max = INT32_MAX, .help = "place of drive B: in the boot order"),
    {}};

DEVICE_TYPE(fdc) = {
    .name = "isa-fdc",
    .parent = "isa-device",
    .desc = "Floppy disk controller",
    .size = sizeof(Fdc),
    .category = "storage",
    .props = fdc_props,
    .state = &fdc_state,
    .realize = fdc_realize,
    .unrealize = fdc_unrealize,
    .reset = fdc_reset,
};
