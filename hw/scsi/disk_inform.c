/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What disks and CDs tell of themselves: INQUIRY with vital product data (SPC-4, 6.4 and 7.8; SBC-3, 6.5), and their
 * capacity. The values are those that QEMU 7.2's units show.
 */
#include "hw/scsi/disk.h"

#define VPD_MAX 256

static void put_padded(uint8_t *p, const char *text, size_t n)
{
    const size_t len = MIN(strlen(text), n);

    memcpy(p, text, len);
    memset(p + len, ' ', n - len);
}

/* ---- vital product data: each fills p (zeros) behind the 4 bytes of the header, returns the length ---- */

static size_t page_list(const ScsiDisk *s, uint8_t *p)
{
    size_t n = 0;

    p[n++] = 0x00;
    if (s->serial) {
        p[n++] = 0x80;
    }
    p[n++] = 0x83;
    if (!s->is_cd) {
        p[n++] = 0xb0;
        p[n++] = 0xb1;
        p[n++] = 0xb2;
    }
    return n;
}

static size_t page_serial(const ScsiDisk *s, uint8_t *p)
{
    const size_t n = MIN(strlen(s->serial), 36);

    memcpy(p, s->serial, n);
    return n;
}

static size_t page_identification(const ScsiDisk *s, uint8_t *p)
{
    const char *id = scsi_disk_device_id(s);
    size_t n = 0;

    if (id) {
        const size_t len = MIN(strlen(id), 255 - 8);

        p[0] = 2; /* ASCII, vendor's */
        p[3] = (uint8_t)len;
        memcpy(p + 4, id, len);
        n = 4 + len;
    }
    if (s->wwn && n + 12 < VPD_MAX - 4) {
        p[n] = 1;
        p[n + 1] = 3; /* NAA, of the unit */
        p[n + 3] = 8;
        store64_be(p + n + 4, s->wwn);
        n += 12;
    }
    if (s->port_wwn && n + 12 < VPD_MAX - 4) {
        p[n] = 0x61;
        p[n + 1] = 0x93; /* NAA, of the port */
        p[n + 3] = 8;
        store64_be(p + n + 4, s->port_wwn);
        n += 12;
    }
    if (s->port_index && n + 8 < VPD_MAX - 4) {
        p[n] = 0x61;
        p[n + 1] = 0x94; /* relative port */
        p[n + 3] = 4;
        store16_be(p + n + 6, s->port_index);
        n += 8;
    }
    return n;
}

static uint32_t in_blocks(const ScsiDisk *s, uint64_t bytes) { return (uint32_t)MIN(bytes / s->block_size, UINT32_MAX); }

static size_t page_limits(const ScsiDisk *s, uint8_t *p)
{
    const uint64_t io = MIN(s->max_io_size, s->options.opt_io_size ? s->max_io_size : UINT64_MAX);

    p[0] = 1; /* WRITE SAME of no blocks is refused */
    store16_be(p + 2, (uint16_t)in_blocks(s, s->options.min_io_size));
    store32_be(p + 4, in_blocks(s, io));
    store32_be(p + 8, in_blocks(s, s->options.opt_io_size));
    store32_be(p + 16, in_blocks(s, s->max_unmap_size));
    store32_be(p + 20, 255); /* ranges of an UNMAP */
    store32_be(p + 24, in_blocks(s, scsi_disk_unmap_granularity(s)));
    store64_be(p + 32, in_blocks(s, s->max_io_size));
    return 0x3c;
}

static size_t page_characteristics(const ScsiDisk *s, uint8_t *p)
{
    store16_be(p, s->rotation_rate);
    return 0x3c;
}

static size_t page_provisioning(const ScsiDisk *s, uint8_t *p)
{
    p[1] = 0xe0; /* UNMAP, both WRITE SAME */
    p[2] = scsi_disk_unmap_granularity(s) ? 2 : 1; /* thin: fully provisioned */
    return 4;
}

static void inquiry_page(const ScsiDisk *s, ScsiRequest *req)
{
    uint8_t buf[VPD_MAX + 4] = {s->is_cd ? SCSI_TYPE_ROM : SCSI_TYPE_DISK, req->cdb[2]};
    size_t n;

    switch (req->cdb[2]) {
    case 0x00:
        n = page_list(s, buf + 4);
        break;
    case 0x80:
        if (!s->serial) {
            scsi_fail(req, SENSE_INVALID_FIELD);
            return;
        }
        n = page_serial(s, buf + 4);
        break;
    case 0x83:
        n = page_identification(s, buf + 4);
        break;
    case 0xb0:
        if (s->is_cd) {
            scsi_fail(req, SENSE_INVALID_FIELD);
            return;
        }
        n = page_limits(s, buf + 4);
        break;
    case 0xb1:
        n = page_characteristics(s, buf + 4);
        break;
    case 0xb2:
        n = page_provisioning(s, buf + 4);
        break;
    default:
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    store16_be(buf + 2, (uint16_t)n);
    scsi_disk_reply_padded(req, buf, n + 4);
}

void scsi_disk_inquiry(ScsiDisk *s, ScsiRequest *req)
{
    const char *version = s->version ? s->version : "2.5+";
    uint8_t buf[36] = {0};

    if (req->cdb[1] & 1) {
        inquiry_page(s, req);
        return;
    }
    if (req->cdb[2]) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    buf[0] = s->is_cd ? SCSI_TYPE_ROM : SCSI_TYPE_DISK;
    buf[1] = s->removable ? 0x80 : 0;
    buf[2] = (uint8_t)s->scsi_version;
    buf[3] = 0x12; /* hierarchical addresses, this format */
    buf[4] = (uint8_t)(req->xfer > 36 ? MIN(req->xfer, SCSI_REPLY_MAX) - 5 : 31);
    buf[7] = (uint8_t)(0x10 | (s->sdev.sbus->ops->tcq ? 2 : 0));
    put_padded(buf + 8, s->vendor ? s->vendor : "QEMU", 8);
    put_padded(buf + 16, s->product ? s->product : s->is_cd ? "QEMU CD-ROM" : "QEMU HARDDISK", 16);
    memcpy(buf + 32, version, MIN(strlen(version), 4)); /* not padded, as QEMU */
    scsi_disk_reply_padded(req, buf, sizeof buf);
}

/* ---- capacity --------------------------------------------------------------------------------------- */

void scsi_disk_read_capacity_10(ScsiDisk *s, ScsiRequest *req)
{
    uint8_t buf[8];

    if (!(req->cdb[8] & 1) && scsi_cdb_lba(req->cdb)) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    if (!scsi_disk_blocks(s)) {
        scsi_fail(req, (ScsiSense){2, 4, 0});
        return;
    }
    store32_be(buf, (uint32_t)MIN(scsi_disk_blocks(s) - 1, UINT32_MAX));
    store32_be(buf + 4, s->block_size);
    scsi_disk_reply_padded(req, buf, sizeof buf);
}

void scsi_disk_service_action_in_16(ScsiDisk *s, ScsiRequest *req)
{
    uint8_t buf[32] = {0};

    if ((req->cdb[1] & 0x1f) != 0x10) { /* READ CAPACITY (16) */
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    if (!scsi_disk_blocks(s)) {
        scsi_fail(req, (ScsiSense){2, 4, 0});
        return;
    }
    store64_be(buf, scsi_disk_blocks(s) - 1);
    store32_be(buf + 8, s->block_size);
    buf[13] = (uint8_t)__builtin_ctzll(MAX(s->options.physical_block_size / s->options.logical_block_size, 1));
    buf[14] = scsi_disk_unmap_granularity(s) ? 0x80 : 0; /* blocks may be unmapped */
    scsi_disk_reply_padded(req, buf, sizeof buf);
}
