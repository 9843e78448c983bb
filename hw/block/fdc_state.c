/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The saved state of the floppy controller and its drives. A sector that is fetched ahead is not in
 * it: the position is that of the bytes that the guest took, and fdc_resume_transfer fetches again.
 */
#include "hw/block/fdc_internal.h"

static bool drive_media_changed_needed(void *obj)
{
    FdcDrive *drive = obj;

    return drive->blk && drive->media_changed != 1;
}
static bool drive_perpendicular_needed(void *obj)
{
    return ((FdcDrive *)obj)->perpendicular != 0;
}

static bool drive_pre_load(void *obj, GError **err)
{
    FdcDrive *drive = obj;

    STATE_KEEP(drive->media_changed);
    STATE_KEEP(drive->perpendicular);
    drive->media_changed = 1;
    drive->perpendicular = 0;
    return true;
}

static const StateField media_changed_fields[] = {STATE_U8(FdcDrive, media_changed, .max = 1), {}};
static const StateDesc media_changed_state = {
    .name = "fdrive/media_changed",
    .version = 1,
    .min_version = 1,
    .needed = drive_media_changed_needed,
    .fields = media_changed_fields,
};
static const StateField media_rate_fields[] = {STATE_U8(FdcDrive, media_rate, .max = 3), {}};
static const StateDesc media_rate_state = {
    .name = "fdrive/media_rate",
    .version = 1,
    .min_version = 1,
    .fields = media_rate_fields,
};
static const StateField perpendicular_fields[] = {STATE_U8(FdcDrive, perpendicular, .max = 15), {}};
static const StateDesc perpendicular_state = {
    .name = "fdrive/perpendicular",
    .version = 1,
    .min_version = 1,
    .needed = drive_perpendicular_needed,
    .fields = perpendicular_fields,
};
static const StateDesc *const drive_subsections[] = {&media_changed_state, &media_rate_state,
                                                     &perpendicular_state, NULL};
static const StateField drive_fields[] = {
    STATE_U8(FdcDrive, head, .max = 1), STATE_U8(FdcDrive, track), STATE_U8(FdcDrive, sect), {}};
static const StateDesc drive_state = {
    .name = "fdrive",
    .version = 1,
    .min_version = 1,
    .fields = drive_fields,
    .subsections = drive_subsections,
    .pre_load = drive_pre_load,
};

/* The phase that the registers tell; where it is another one the stream says so. */
static FdcPhase reconstruct_phase(const Fdc *s)
{
    if ((s->msr & MSR_NONDMA) || !(s->msr & MSR_RQM)) {
        return PHASE_EXECUTION;
    }
    return s->msr & MSR_DIO ? PHASE_RESULT : PHASE_COMMAND;
}

static bool reset_sensei_needed(void *obj)
{
    return ((Fdc *)obj)->reset_sensei != 0;
}
static bool result_timer_needed(void *obj)
{
    return timer_pending(&((Fdc *)obj)->result_timer);
}
static bool phase_needed(void *obj)
{
    Fdc *s = obj;

    return reconstruct_phase(s) != s->phase;
}

static const StateField reset_sensei_fields[] = {
    STATE_I32(Fdc, reset_sensei, .max = FDC_RESET_SENSEI), {}};
static const StateDesc reset_sensei_state = {
    .name = "fdc/reset_sensei",
    .version = 1,
    .min_version = 1,
    .needed = reset_sensei_needed,
    .fields = reset_sensei_fields,
};
static const StateField result_timer_fields[] = {STATE_TIMER(Fdc, result_timer), {}};
static const StateDesc result_timer_state = {
    .name = "fdc/result_timer",
    .version = 1,
    .min_version = 1,
    .needed = result_timer_needed,
    .fields = result_timer_fields,
};
static const StateField phase_fields[] = {
    STATE_U8(Fdc, phase, .min = PHASE_COMMAND, .max = PHASE_RESULT), {}};
static const StateDesc phase_state = {
    .name = "fdc/phase",
    .version = 1,
    .min_version = 1,
    .needed = phase_needed,
    .fields = phase_fields,
};
static const StateDesc *const fdc_subsections[] = {&reset_sensei_state, &result_timer_state,
                                                   &phase_state, NULL};

static void fdc_pre_save(void *obj)
{
    Fdc *s = obj;

    s->dor_vmstate = s->dor | s->cur_drv;
}

static bool fdc_pre_load(void *obj, GError **err)
{
    Fdc *s = obj;

    STATE_KEEP(s->phase);
    STATE_KEEP(s->reset_sensei);
    STATE_KEEP(s->io_busy);
    STATE_KEEP(s->sector_ready);
    STATE_KEEP(s->track_end);
    state_cancel_timer(&s->result_timer);
    s->io_busy = s->sector_ready = s->track_end = false;
    s->phase = PHASE_RECONSTRUCT;
    s->reset_sensei = 0;
    return true;
}

static bool fdc_post_load(void *obj, unsigned version, GError **err)
{
    Fdc *s = obj;

    if (s->phase == PHASE_RECONSTRUCT) {
        s->phase = reconstruct_phase(s);
    }
    if (s->phase != PHASE_EXECUTION &&
        (s->data_len > sizeof s->fifo || s->data_pos > s->data_len)) {
        return error_set(err, "data_pos %u of data_len %u in the fifo", s->data_pos, s->data_len);
    }
    if (s->data_pos > s->data_len) {
        return error_set(err, "data_pos %u is past data_len %u", s->data_pos, s->data_len);
    }
    fdc_forget_transfer(s);
    s->cur_drv = s->dor_vmstate & DOR_SELMASK;
    s->dor = s->dor_vmstate & ~DOR_SELMASK;
    return true;
}

#define FDC_MAX_LEN (16384u * 511u)
static const StateField fdc_inner_fields[] = {
    STATE_U8(Fdc, sra),
    STATE_U8(Fdc, srb),
    STATE_U8(Fdc, dor_vmstate),
    STATE_U8(Fdc, tdr),
    STATE_U8(Fdc, dsr),
    STATE_U8(Fdc, msr),
    STATE_U8(Fdc, status0),
    STATE_U8(Fdc, status1),
    STATE_U8(Fdc, status2),
    STATE_ARRAY(Fdc, fifo, u8, FDC_SECTOR),
    STATE_U32(Fdc, data_pos, .max = FDC_MAX_LEN),
    STATE_U32(Fdc, data_len, .max = FDC_MAX_LEN),
    STATE_U8(Fdc, data_state),
    STATE_U8(Fdc, data_dir, .max = DIR_VERIFY),
    STATE_U8(Fdc, eot),
    STATE_U8(Fdc, timer0),
    STATE_U8(Fdc, timer1),
    STATE_U8(Fdc, precomp_trk),
    STATE_U8(Fdc, config),
    STATE_U8(Fdc, lock),
    STATE_U8(Fdc, pwrd),
    {.name = "num_floppies",
     .kind = &state_kind_u8_equal,
     .offset = offsetof(Fdc, num_floppies),
     .size = 1,
     .count = 1},
    STATE_STRUCT_ARRAY(Fdc, drives, &drive_state, FDC_DRIVES),
    {}};
static const StateDesc fdc_inner_state = {
    .name = "fdc",
    .version = 2,
    .min_version = 2,
    .fields = fdc_inner_fields,
    .subsections = fdc_subsections,
    .pre_save = fdc_pre_save,
    .pre_load = fdc_pre_load,
    .post_load = fdc_post_load,
};
/* QEMU's controller core is a part of its ISA device. */
static const StateField fdc_fields[] = {{.name = "state",
                                         .kind = &state_kind_struct,
                                         .offset = 0,
                                         .count = 1,
                                         .desc = &fdc_inner_state},
                                        {}};
const StateDesc fdc_state = {
    .name = "fdc",
    .version = 2,
    .min_version = 2,
    .fields = fdc_fields,
};
