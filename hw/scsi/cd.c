/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of CD and DVD drives (MMC-6), and trays. Not done, as in QEMU 7.2: audio, READ CD, writing.
 */
#include "hw/scsi/disk.h"
#include "hw/scsi/mmc.h"

static uint64_t sectors(const ScsiDisk *s) { return scsi_disk_has_medium(s) ? blk_size(s->sdev.blk) / 2048 : 0; }

void scsi_cd_read_toc(ScsiDisk *s, ScsiRequest *req)
{
    const bool msf = req->cdb[1] & 2;
    const unsigned format = req->cdb[2] & 15, start = req->cdb[6];
    uint8_t buf[MMC_BUFFER];
    size_t n;

    if (format > 2 || (format == 0 && start > 1 && start != 0xaa)) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    n = format == 0 ? mmc_toc(buf, sectors(s), msf, start) : format == 1 ? mmc_sessions(buf) : mmc_raw_toc(buf, sectors(s), msf);
    scsi_disk_reply_padded(req, buf, n);
}

/* Profiles, core, removable medium. */
void scsi_cd_get_configuration(ScsiDisk *s, ScsiRequest *req)
{
    uint8_t buf[40] = {0};

    mmc_profiles(buf, sectors(s));
    store32_be(buf, sizeof buf - 4);
    buf[21] = 0x01; /* core: version 2, persistent, current */
    buf[22] = 0x0b;
    buf[23] = 8;
    buf[27] = 0x01; /* interface: SCSI */
    buf[28] = 0x01; /* device busy events */
    buf[33] = 0x03; /* removable medium */
    buf[34] = 0x0b;
    buf[35] = 4;
    buf[36] = 0x39; /* tray, can be locked, ejects */
    scsi_disk_reply_padded(req, buf, sizeof buf);
}

/* Event and status. While the tray is open events wait. */
static void put_media_event(ScsiDisk *s, uint8_t *p)
{
    p[1] = s->tray_open ? 1 : blk_is_inserted(s->sdev.blk) ? 2 : 0;
    if (s->tray_open) {
        return;
    }
    if (s->media_event) {
        p[0] = 2; /* new medium */
        s->media_event = false;
    } else if (s->eject_request) {
        p[0] = 1;
        s->eject_request = false;
    }
}

/* Media events by polling. */
void scsi_cd_get_event_status(ScsiDisk *s, ScsiRequest *req)
{
    uint8_t buf[8] = {0};
    size_t n = 4;

    if (!(req->cdb[1] & 1)) {
        scsi_fail(req, SENSE_INVALID_FIELD); /* asynchronous notification */
        return;
    }
    buf[3] = 1 << 4; /* classes that there are: media */
    if (req->cdb[4] & 1 << 4) {
        n = 8;
        store16_be(buf, 4);
        buf[2] = 4;
        put_media_event(s, buf + 4);
    } else {
        buf[2] = 0x80; /* no event */
    }
    scsi_disk_reply_padded(req, buf, n);
}

void scsi_cd_mechanism_status(ScsiDisk *s, ScsiRequest *req)
{
    const uint8_t buf[8] = {[5] = 1}; /* one slot */

    (void)s;
    scsi_disk_reply_padded(req, buf, sizeof buf);
}

void scsi_cd_read_disc_information(ScsiDisk *s, ScsiRequest *req)
{
    uint8_t buf[MMC_BUFFER];

    (void)s;
    if (req->cdb[1] & 7) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    scsi_disk_reply_padded(req, buf, mmc_disc_information(buf));
}

void scsi_cd_read_disc_structure(ScsiDisk *s, ScsiRequest *req)
{
    const unsigned format = req->cdb[7];
    uint8_t buf[MMC_BUFFER];
    size_t n;

    if (req->cdb[1] & 15) { /* of other media than DVDs */
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    if (format != 0xff && sectors(s) <= MMC_CD_SECTORS) {
        scsi_fail(req, SENSE_INCOMPATIBLE_FORMAT);
        return;
    }
    n = format == 0xff ? mmc_dvd_formats(buf) : mmc_dvd_structure(buf, sectors(s), format, req->cdb[6]);
    if (!n) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    scsi_disk_reply_padded(req, buf, n);
}

/* ---- trays -------------------------------------------------------------------------------------------- */

void scsi_cd_prevent_removal(ScsiDisk *s, ScsiRequest *req)
{
    s->tray_locked = req->cdb[4] & 1;
    blk_lock_medium(s->sdev.blk, s->tray_locked);
    scsi_complete(req, SCSI_GOOD);
}

void scsi_cd_start_stop(ScsiDisk *s, ScsiRequest *req)
{
    const bool start = req->cdb[4] & 1, load_eject = req->cdb[4] & 2;

    if ((req->cdb[4] >> 4) || !load_eject || !s->removable) {
        scsi_complete(req, SCSI_GOOD); /* power conditions, spinning: nothing to do */
        return;
    }
    if (!start && !s->tray_open && s->tray_locked) {
        scsi_fail(req, blk_is_inserted(s->sdev.blk) ? SENSE_REMOVAL_PREVENTED : SENSE_REMOVAL_PREVENTED_EMPTY);
        return;
    }
    if (s->tray_open == start) {
        scsi_disk_set_tray(s, !start);
        blk_eject(s->sdev.blk, !start);
    }
    scsi_complete(req, SCSI_GOOD);
}

/* A new medium is told of in two steps: first none, then one that may be another. */
void scsi_cd_media_changed(ScsiDisk *s, bool loaded)
{
    s->media_changed = loaded;
    scsi_disk_set_tray(s, !loaded);
    s->media_event = true;
    s->eject_request = false;
    scsi_set_unit_attention(&s->sdev, SENSE_MEDIUM_GONE);
}
