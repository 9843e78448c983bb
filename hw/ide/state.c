/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State of channels and drives in QEMU 7.2's layout. Requests are drained before a save (the VM's
 * stop does it), so what remains is registers, a data window, or a request that waits for a retry.
 */
#include "hw/ide/ide.h"

/* ---- drives --------------------------------------------------------------------------------- */

static bool has_identify(const void *obj, unsigned version)
{
    const IdeDrive *d = obj;

    (void)version;
    return d->identify_set != 0;
}

static bool pio_needed(void *obj)
{
    const IdeDrive *d = obj;

    return d->kind != IDE_NONE && ((d->status & IDE_DRQ) || (d->bus->error_status & IDE_RETRY_PIO));
}

static void pio_pre_save(void *obj)
{
    IdeDrive *d = obj;

    d->cur_io_buffer_offset = (int32_t)d->data_pos;
    d->cur_io_buffer_len = (int32_t)(d->data_end - d->data_pos);
    if (d->kind == IDE_CD) {
        ide_atapi_save_note(d);
    }
}

static bool pio_post_load(void *obj, unsigned version, GError **err)
{
    IdeDrive *d = obj;

    (void)version;
    if (d->end_transfer_fn_idx >= IDE_NEXT_KINDS ||
        (d->kind != IDE_CD && (d->end_transfer_fn_idx == IDE_NEXT_PACKET_REPLY ||
                               d->end_transfer_fn_idx == IDE_NEXT_PACKET_COMMAND))) {
        return error_set(err, "ide_drive: end_transfer_fn_idx %u is not possible here",
                         d->end_transfer_fn_idx);
    }
    if (!range_fits((uint32_t)d->cur_io_buffer_offset, (uint32_t)d->cur_io_buffer_len,
                    IDE_BUFFER_SIZE)) {
        return error_set(err, "ide_drive: data window %d + %d is not in the buffer",
                         d->cur_io_buffer_offset, d->cur_io_buffer_len);
    }
    d->data_pos = (uint32_t)d->cur_io_buffer_offset;
    d->data_end = d->data_pos + (uint32_t)d->cur_io_buffer_len;
    d->data_to_device = d->end_transfer_fn_idx == IDE_NEXT_SECTOR_WRITE ||
                        d->end_transfer_fn_idx == IDE_NEXT_PACKET_COMMAND;
    d->buf_pos = d->buf_end = d->data_end;
    if (d->kind == IDE_CD) {
        ide_atapi_load_note(d);
    }
    return true;
}

/* An empty place has no buffer to load into. */
static bool pio_pre_load(void *obj, GError **err)
{
    const IdeDrive *d = obj;

    return d->io_buffer ? true
                        : error_set(err, "ide_drive: data for unit %u, where no drive is", d->unit);
}

static const StateField pio_fields[] = {
    STATE_I32(IdeDrive, req_nb_sectors, .max = IDE_MAX_MULT),
    {.name = "io_buffer",
     .kind = &state_kind_u8,
     .offset = offsetof(IdeDrive, io_buffer),
     .size = 1,
     .stride = 1,
     .count = IDE_BUFFER_SIZE,
     .array = true,
     .pointer = true},
    STATE_I32(IdeDrive, cur_io_buffer_offset, .max = IDE_BUFFER_SIZE),
    STATE_I32(IdeDrive, cur_io_buffer_len, .max = IDE_BUFFER_SIZE),
    STATE_U8(IdeDrive, end_transfer_fn_idx, .max = IDE_NEXT_KINDS - 1),
    STATE_I32(IdeDrive, elementary_transfer_size, .max = 0xffff),
    STATE_I32(IdeDrive, packet_transfer_size, .max = INT32_MAX),
    {}};
static const StateDesc pio_state = {
    .name = "ide_drive/pio_state",
    .version = 1,
    .min_version = 1,
    .fields = pio_fields,
    .needed = pio_needed,
    .pre_save = pio_pre_save,
    .pre_load = pio_pre_load,
    .post_load = pio_post_load,
};

static bool gesn_needed(void *obj)
{
    const IdeDrive *d = obj;

    return d->new_media || d->eject_request;
}

static const StateField gesn_fields[] = {
    STATE_BOOL(IdeDrive, new_media, .name = "events.new_media"),
    STATE_BOOL(IdeDrive, eject_request, .name = "events.eject_request"),
    {}};
static const StateDesc gesn_state = {
    .name = "ide_drive/atapi/gesn_state",
    .version = 1,
    .min_version = 1,
    .fields = gesn_fields,
    .needed = gesn_needed,
};

static bool tray_needed(void *obj)
{
    const IdeDrive *d = obj;

    return d->tray_open || d->tray_locked;
}

static const StateField tray_fields[] = {
    STATE_BOOL(IdeDrive, tray_open), STATE_BOOL(IdeDrive, tray_locked), {}};
static const StateDesc tray_state = {
    .name = "ide_drive/tray_state",
    .version = 1,
    .min_version = 1,
    .fields = tray_fields,
    .needed = tray_needed,
};

static bool drive_pre_load(void *obj, GError **err)
{
    IdeDrive *d = obj;

    (void)err;
    STATE_KEEP(d->data_pos);
    STATE_KEEP(d->data_end);
    STATE_KEEP(d->data_to_device);
    STATE_KEEP(d->end_transfer_fn_idx);
    STATE_KEEP(d->status);
    STATE_KEEP(d->new_media);
    STATE_KEEP(d->eject_request);
    STATE_KEEP(d->tray_open);
    STATE_KEEP(d->tray_locked);
    ide_cancel(d); /* there is none while the VM is stopped */
    ide_stop_transfer(d);
    d->new_media = d->eject_request = d->tray_open = d->tray_locked = false;
    return true;
}

static bool drive_post_load(void *obj, unsigned version, GError **err)
{
    IdeDrive *d = obj;

    (void)version;
    if (d->mult_sectors && !is_power_of_two((uint32_t)d->mult_sectors)) {
        return error_set(err, "ide_drive: mult_sectors %d is no power of two", d->mult_sectors);
    }
    if (d->kind == IDE_HD && d->identify_set) {
        blk_set_write_cache(d->blk, load16_le(d->identify_data + 2 * 85) & 0x20);
    }
    if ((d->status & IDE_DRQ) && d->data_pos >= d->data_end) {
        d->status &= (uint8_t)~IDE_DRQ; /* a window of nothing */
    }
    return true;
}

static const StateField drive_fields[] = {
    STATE_I32(IdeDrive, mult_sectors, .max = IDE_MAX_MULT),
    STATE_I32(IdeDrive, identify_set, .max = 1),
    STATE_BUFFER(IdeDrive, identify_data, .exists = has_identify),
    STATE_U8(IdeDrive, feature),
    STATE_U8(IdeDrive, error),
    STATE_U32(IdeDrive, nsector, .max = 65536),
    STATE_U8(IdeDrive, sector),
    STATE_U8(IdeDrive, lcyl),
    STATE_U8(IdeDrive, hcyl),
    STATE_U8(IdeDrive, hob_feature),
    STATE_U8(IdeDrive, hob_sector),
    STATE_U8(IdeDrive, hob_nsector),
    STATE_U8(IdeDrive, hob_lcyl),
    STATE_U8(IdeDrive, hob_hcyl),
    STATE_U8(IdeDrive, select),
    STATE_U8(IdeDrive, status),
    STATE_U8(IdeDrive, lba48, .max = 1),
    STATE_U8(IdeDrive, sense_key, .max = 15),
    STATE_U8(IdeDrive, asc),
    STATE_U8(IdeDrive, cdrom_changed, .since = 3, .max = 2),
    {}};
static const StateDesc *const drive_subsections[] = {&pio_state, &tray_state, &gesn_state, NULL};
const StateDesc ide_drive_state = {
    .name = "ide_drive",
    .version = 3,
    .fields = drive_fields,
    .subsections = drive_subsections,
    .pre_load = drive_pre_load,
    .post_load = drive_post_load,
};

/* ---- channels ------------------------------------------------------------------------------- */

static bool error_needed(void *obj)
{
    const IdeBus *bus = obj;

    return bus->error_status != 0;
}

static const StateField error_fields[] = {
    STATE_I32(IdeBus, error_status, .max = 0x1ff),
    STATE_I64(IdeBus, retry_sector_num, .since = 2),
    STATE_U32(IdeBus, retry_nsector, .since = 2, .max = 65536),
    STATE_U8(IdeBus, retry_unit, .since = 2), /* 255: none */
    {}};
static const StateDesc error_state = {
    .name = "ide_bus/error",
    .version = 2,
    .min_version = 1,
    .fields = error_fields,
    .needed = error_needed,
};

static const StateField bus_fields[] = {
    STATE_U8(IdeBus, cmd), STATE_U8(IdeBus, unit, .max = 1), {}};
static const StateDesc *const bus_subsections[] = {&error_state, NULL};
const StateDesc ide_bus_state = {
    .name = "ide_bus",
    .version = 1,
    .min_version = 1,
    .fields = bus_fields,
    .subsections = bus_subsections,
};
