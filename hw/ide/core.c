/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IDE channel: task file and control registers, the PIO data phase, resets, and the sending of
 * requests to the block layer (ATA/ATAPI-7 volume 1 and 2).
 *
 * Observed of QEMU 7.2 and kept: SRST takes effect when it is set; an absent drive 1 reads status
 * 0; a byte read of the data port takes a word.
 */
#include "hw/ide/ide.h"
#include "util/iov.h"
#include "util/trace.h"

/* ---- interrupts and data phase -------------------------------------------------------------- */

void ide_raise_irq(IdeBus *bus)
{
    if (bus->cmd & IDE_NIEN) {
        return;
    }
    if (bus->dma_ops) {
        bus->dma_ops->interrupt(bus);
    }
    irq_set(bus->irq, 1);
}

void ide_abort(IdeDrive *d)
{
    ide_stop_transfer(d);
    d->status = IDE_DRDY | IDE_ERR;
    d->error = IDE_ABRT;
}

void ide_stop_transfer(IdeDrive *d)
{
    d->data_pos = d->data_end = 0;
    d->end_transfer_fn_idx = IDE_NEXT_STOP;
    d->data_to_device = false;
    d->status &= (uint8_t)~IDE_DRQ;
}

void ide_start_transfer(IdeDrive *d, uint32_t pos, uint32_t len, IdeNext next, bool to_device)
{
    g_assert(range_fits(pos, len, IDE_BUFFER_SIZE));
    d->data_pos = pos;
    d->data_end = pos + len;
    d->end_transfer_fn_idx = (uint8_t)next;
    d->data_to_device = to_device;
    if (!(d->status & IDE_ERR)) {
        d->status |= IDE_DRQ;
    }
}

static void end_of_window(IdeDrive *d)
{
    d->status &= (uint8_t)~IDE_DRQ;
    switch ((IdeNext)d->end_transfer_fn_idx) {
    case IDE_NEXT_SECTOR_READ:
        ide_sector_read(d);
        break;
    case IDE_NEXT_SECTOR_WRITE:
        ide_sector_write(d);
        break;
    case IDE_NEXT_PACKET_REPLY:
        ide_atapi_reply_next(d);
        break;
    case IDE_NEXT_PACKET_COMMAND:
        ide_atapi_command(d);
        break;
    default:
        ide_stop_transfer(d);
        break;
    }
}

/* size is 2 or 4; the last word of an odd transfer is padded. */
static uint32_t data_read(IdeDrive *d, unsigned size)
{
    uint32_t value;

    if (!(d->status & IDE_DRQ) || d->data_to_device || d->data_pos >= d->data_end) {
        return 0;
    }
    size = MIN(size, d->data_end - d->data_pos);
    value = (uint32_t)load_le(d->io_buffer + d->data_pos, size);
    d->data_pos += size;
    if (d->data_pos == d->data_end) {
        end_of_window(d);
    }
    return value;
}

static void data_write(IdeDrive *d, uint32_t value, unsigned size)
{
    if (!(d->status & IDE_DRQ) || !d->data_to_device || d->data_pos >= d->data_end) {
        return;
    }
    size = MIN(size, d->data_end - d->data_pos);
    store_le(d->io_buffer + d->data_pos, value, size);
    d->data_pos += size;
    if (d->data_pos == d->data_end) {
        end_of_window(d);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static void request_done(void *opaque, int result)
{
    IdeDrive *d = opaque;

    d->request = NULL;
    if (d->dma_vec.count) {
        ide_dma_unmap(d, result == 0);
    }
    if (!d->cancelling) {
        d->io_done(d, result);
    }
}

void ide_submit_read(IdeDrive *d, uint64_t offset, const struct iovec *iov, unsigned count,
                     IdeIoDone *done)
{
    g_assert(!d->request);
    d->io_done = done;
    d->request = blk_readv(d->blk, offset, iov, count, request_done, d);
}

void ide_submit_write(IdeDrive *d, uint64_t offset, const struct iovec *iov, unsigned count,
                      bool fua, IdeIoDone *done)
{
    g_assert(!d->request);
    d->io_done = done;
    d->request = blk_writev(d->blk, offset, iov, count, fua, request_done, d);
}

void ide_submit_flush(IdeDrive *d, IdeIoDone *done)
{
    g_assert(!d->request);
    d->io_done = done;
    d->request = blk_flush(d->blk, request_done, d);
}

void ide_submit_discard(IdeDrive *d, uint64_t offset, uint64_t len, IdeIoDone *done)
{
    g_assert(!d->request);
    d->io_done = done;
    d->request = blk_discard(d->blk, offset, len, request_done, d);
}

void ide_cancel(IdeDrive *d)
{
    IdeBus *bus = d->bus;

    if (d->request) {
        d->cancelling = true;
        blk_cancel(d->request);
        blk_drain(d->blk);
        d->cancelling = false;
        g_assert(!d->request);
    }
    if (bus->dma_drive == d) {
        bus->dma_drive = NULL;
        bus->dma_fn = NULL;
    }
    if (bus->error_status && bus->retry_unit == d->unit) {
        bus->error_status = 0;
    }
}

bool ide_handle_error(IdeDrive *d, int error, int kind)
{
    IdeBus *bus = d->bus;

    switch (blk_error_action(d->blk, kind & IDE_RETRY_READ, error)) {
    case BLK_ERROR_IGNORE:
        return false;
    case BLK_ERROR_STOP:
        bus->error_status = kind;
        bus->retry_unit = d->unit;
        return true;
    case BLK_ERROR_REPORT:
        break;
    }
    ide_abort(d);
    if (bus->dma_drive == d) {
        ide_dma_finish(d, IDE_DMA_DRIVE_ERROR);
    }
    ide_raise_irq(bus);
    return true;
}

/* BlkDevOps.retry: the VM runs again. */
void ide_retry(void *opaque)
{
    IdeDrive *d = opaque;
    IdeBus *bus = d->bus;
    int kind = bus->error_status;

    if (kind && bus->retry_unit == d->unit) {
        bus->error_status = 0;
        ide_ata_retry(d, kind);
    }
}

/* ---- DMA ------------------------------------------------------------------------------------ */

void ide_dma_begin(IdeDrive *d, void (*fn)(IdeDrive *d))
{
    IdeBus *bus = d->bus;

    bus->dma_drive = d;
    bus->dma_fn = fn;
    bus->dma_more = false;
    bus->dma_ops->start(bus);
}

void ide_dma_ready(IdeBus *bus)
{
    void (*fn)(IdeDrive * d) = bus->dma_fn;

    if (bus->dma_drive && fn) {
        bus->dma_fn = NULL; /* runs once; the drive goes on by itself */
        fn(bus->dma_drive);
    }
}

int64_t ide_dma_map(IdeDrive *d, uint64_t limit, bool to_guest)
{
    d->dma_to_guest = to_guest;
    return d->bus->dma_ops->map(d->bus, limit, to_guest, &d->dma_vec, &d->bus->dma_more);
}

void ide_dma_unmap(IdeDrive *d, bool ok)
{
    /* A read that failed may have written some of it. */
    d->bus->dma_ops->unmap(d->bus, &d->dma_vec, d->dma_to_guest,
                           d->dma_to_guest ? d->dma_vec.size : 0);
    (void)ok;
}

void ide_dma_finish(IdeDrive *d, IdeDmaEnd end)
{
    IdeBus *bus = d->bus;

    bus->dma_drive = NULL;
    bus->dma_fn = NULL;
    bus->dma_ops->finish(bus, end == IDE_DMA_DONE && bus->dma_more, end == IDE_DMA_BUS_ERROR);
}

/* ---- resets --------------------------------------------------------------------------------- */

void ide_set_signature(IdeDrive *d)
{
    d->select &= 0xf0;
    d->nsector = 1;
    d->sector = 1;
    d->lcyl = d->kind == IDE_CD ? 0x14 : d->kind == IDE_HD ? 0 : 0xff;
    d->hcyl = d->kind == IDE_CD ? 0xeb : d->kind == IDE_HD ? 0 : 0xff;
}

/* Power-on state. */
void ide_drive_reset(IdeDrive *d)
{
    ide_cancel(d);
    ide_stop_transfer(d);
    d->mult_sectors = d->kind == IDE_CD ? 0 : IDE_MAX_MULT;
    d->feature = d->error = 0;
    d->hob_feature = d->hob_nsector = d->hob_sector = d->hob_lcyl = d->hob_hcyl = 0;
    d->select = 0xa0;
    d->status = IDE_DRDY | IDE_DSC;
    d->lba48 = 0;
    d->sense_key = d->asc = 0;
    d->cdrom_changed = 0;
    d->packet_transfer_size = d->elementary_transfer_size = 0;
    d->atapi_dma = false;
    d->atapi_block = d->atapi_sectors_left = 0;
    d->buf_pos = d->buf_end = 0;
    d->req_nb_sectors = 0;
    d->identify_set = 0;
    d->smart_enabled = d->smart_autosave = true;
    d->smart_errors = d->smart_selftests = 0;
    ide_set_signature(d);
}

/* The machine is reset: trays close. */
static void close_tray(IdeDrive *d)
{
    d->tray_open = d->tray_locked = false;
    if (d->kind == IDE_CD) {
        blk_lock_medium(d->blk, false);
    }
}

void ide_bus_reset(IdeBus *bus)
{
    bus->unit = 0;
    bus->cmd = 0;
    for (unsigned i = 0; i < 2; i++) {
        ide_drive_reset(&bus->ifs[i]);
        close_tray(&bus->ifs[i]);
    }
    bus->error_status = 0;
    if (bus->dma_ops) {
        bus->dma_ops->reset(bus);
    }
    irq_set_level(bus->irq, 0);
}

static void soft_reset(IdeBus *bus)
{
    for (unsigned i = 0; i < 2; i++) {
        IdeDrive *d = &bus->ifs[i];

        ide_cancel(d);
        ide_stop_transfer(d);
        d->select = 0xa0;
        ide_set_signature(d);
        if (d->kind == IDE_NONE) {
            continue;
        }
        d->status = d->kind == IDE_CD ? 0 : IDE_DRDY | IDE_DSC;
        d->error = 0x01; /* diagnostics passed */
        d->sense_key = d->asc = 0;
    }
    if (bus->dma_ops) {
        bus->dma_ops->finish(bus, false, false);
    }
    bus->unit = 0;
}

/* ---- registers ------------------------------------------------------------------------------ */

static bool bus_is_empty(const IdeBus *bus)
{
    return bus->ifs[0].kind == IDE_NONE && bus->ifs[1].kind == IDE_NONE;
}

static uint8_t read_status(IdeBus *bus)
{
    const IdeDrive *d = ide_active(bus);

    return bus_is_empty(bus) || (bus->unit == 1 && d->kind == IDE_NONE) ? 0 : d->status;
}

static uint8_t register_read(IdeBus *bus, unsigned reg)
{
    const IdeDrive *d = ide_active(bus);
    bool hob = bus->cmd & IDE_HOB;

    if (reg == 7) {
        irq_set_level(bus->irq, 0);
        return read_status(bus);
    }
    if (bus_is_empty(bus)) {
        return 0;
    }
    switch (reg) {
    case 1:
        return bus->unit == 1 && d->kind == IDE_NONE ? 0 : hob ? d->hob_feature : d->error;
    case 2:
        return hob ? d->hob_nsector : (uint8_t)d->nsector;
    case 3:
        return hob ? d->hob_sector : d->sector;
    case 4:
        return hob ? d->hob_lcyl : d->lcyl;
    case 5:
        return hob ? d->hob_hcyl : d->hcyl;
    case 6:
        return d->select;
    default:
        return 0;
    }
}

static void run_command(IdeBus *bus, uint8_t cmd)
{
    IdeDrive *d = ide_active(bus);
    const IdeCommand *command = &ide_commands[cmd];

    trace(ide_command, "bus %u unit %u kind %d command %02x", bus->index, bus->unit, d->kind, cmd);
    if (d->kind == IDE_NONE) {
        return;
    }
    /* While it is busy, only DEVICE RESET is heard, by packet devices. */
    if ((d->status & (IDE_BSY | IDE_DRQ)) && !(cmd == 0x08 && d->kind == IDE_CD)) {
        return;
    }
    if (bus->error_status && bus->retry_unit == d->unit) {
        return; /* its request waits for the VM to run again */
    }
    irq_set_level(bus->irq, 0);
    if (!command->fn || !(command->kinds & (1u << d->kind))) {
        ide_abort(d);
        ide_raise_irq(bus);
        return;
    }
    if (cmd != 0x08) {
        d->status = IDE_DRDY | IDE_BSY;
    }
    d->error = 0;
    d->lba48 = 0;
    d->atapi_block = 0;
    if (command->fn(d, cmd)) {
        d->status &= (uint8_t)~IDE_BSY;
        if (command->sets_dsc && !(d->status & IDE_ERR)) {
            d->status |= IDE_DSC;
        }
        ide_raise_irq(bus);
    }
}

/* Both drives see writes to the task file, unless they are at work. */
static void task_file_write(IdeBus *bus, unsigned reg, uint8_t value)
{
    for (unsigned i = 0; i < 2; i++) {
        IdeDrive *d = &bus->ifs[i];

        if (d->status & (IDE_BSY | IDE_DRQ)) {
            continue;
        }
        switch (reg) {
        case 1:
            d->hob_feature = d->feature;
            d->feature = value;
            break;
        case 2:
            d->hob_nsector = (uint8_t)d->nsector;
            d->nsector = value;
            break;
        case 3:
            d->hob_sector = d->sector;
            d->sector = value;
            break;
        case 4:
            d->hob_lcyl = d->lcyl;
            d->lcyl = value;
            break;
        case 5:
            d->hob_hcyl = d->hcyl;
            d->hcyl = value;
            break;
        default:
            d->select = value | 0xa0;
            break;
        }
    }
    if (reg == 6) {
        bus->unit = (value >> 4) & 1;
    }
}

static void register_write(IdeBus *bus, unsigned reg, uint8_t value)
{
    bus->cmd &= (uint8_t)~IDE_HOB;
    if (reg == 7) {
        run_command(bus, value);
    } else if (reg != 0 && !(ide_active(bus)->status & (IDE_BSY | IDE_DRQ))) {
        task_file_write(bus, reg, value);
    }
}

static uint64_t command_read(void *opaque, uint64_t offset, unsigned size)
{
    IdeBus *bus = opaque;
    uint64_t value = 0;

    if (offset == 0) {
        value = data_read(ide_active(bus), size == 1 ? 2 : size) & all_ones(size);
    } else {
        for (unsigned i = 0; i < size && offset + i < 8; i++) {
            value |= (uint64_t)register_read(bus, (unsigned)offset + i) << (8 * i);
        }
    }
    trace(ide_read, "bus %u reg %u size %u value %" PRIx64, bus->index, (unsigned)offset, size,
          value);
    return value;
}

static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    IdeBus *bus = opaque;

    trace(ide_write, "bus %u reg %u size %u value %" PRIx64, bus->index, (unsigned)offset, size,
          value);
    if (offset == 0 && size > 1) {
        data_write(ide_active(bus), (uint32_t)value, size);
        return;
    }
    for (unsigned i = 0; i < size && offset + i < 8; i++) {
        register_write(bus, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
    }
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    IdeBus *bus = opaque;

    (void)offset;
    (void)size;
    trace(ide_alt_status, "bus %u value %02x", bus->index, read_status(bus));
    return read_status(bus);
}

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    IdeBus *bus = opaque;
    bool rises = (value & IDE_SRST) && !(bus->cmd & IDE_SRST);

    (void)offset;
    (void)size;
    trace(ide_control, "bus %u value %02x", bus->index, (unsigned)value);
    bus->cmd = (uint8_t)value;
    if (rises) {
        soft_reset(bus);
    }
}

static const RegionOps command_ops = {
    .read = command_read,
    .write = command_write,
    .valid = {.min_size = 1, .max_size = 4, .unaligned = true},
    .impl = {.min_size = 1, .max_size = 4, .unaligned = true},
};

static const RegionOps control_ops = {
    .read = control_read,
    .write = control_write,
    .valid = {.min_size = 1, .max_size = 1},
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- making --------------------------------------------------------------------------------- */

void ide_bus_init(IdeBus *bus, Vm *vm, Device *owner, unsigned index)
{
    g_autofree char *name = g_strdup_printf("ide.%u", index);

    bus_init_embedded(&bus->bus, vm, "IDE", owner, name);
    bus->index = (uint8_t)index;
    bus->dma_device = owner;
    for (unsigned i = 0; i < 2; i++) {
        bus->ifs[i].bus = bus;
        bus->ifs[i].unit = (uint8_t)i;
        ide_drive_reset(&bus->ifs[i]);
    }
}

void ide_bus_map_ports(IdeBus *bus, Region *io, Device *owner, uint16_t command, uint16_t control)
{
    region_init_io(&bus->command_ports, &command_ops, bus, "ide", 8);
    region_init_io(&bus->control_port, &control_ops, bus, "ide-control", 1);
    region_set_owner(&bus->command_ports, owner);
    region_set_owner(&bus->control_port, owner);
    region_add(io, command, &bus->command_ports);
    region_add(io, control, &bus->control_port);
}

void ide_bus_cleanup(IdeBus *bus)
{
    ide_cancel(&bus->ifs[0]);
    ide_cancel(&bus->ifs[1]);
    region_remove(&bus->command_ports);
    region_remove(&bus->control_port);
}
