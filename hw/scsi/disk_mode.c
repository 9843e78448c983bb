/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MODE SENSE and MODE SELECT (SPC-4, 6.9 to 6.12 and 7.5; SBC-3, 6.4; MMC-6, 7). The write cache is all that a guest may
 * change.
 */
#include "hw/scsi/disk.h"

#define PAGES_MAX 256

typedef struct ModePage {
    uint8_t code, len, flags;         /* SCSI_FOR_* */
    /* Fills p, len zeros. */
    void (*fill)(const ScsiDisk *s, uint8_t *p, bool changeable);
} ModePage;

static void fill_recovery(const ScsiDisk *s, uint8_t *p, bool changeable)
{
    p[0] = changeable && !s->is_cd ? 0 : 0x80; /* writes are reallocated */
    p[1] = s->is_cd && !changeable ? 0x20 : 0;
}

static void put_cylinders(uint8_t *p, uint32_t cylinders)
{
    p[0] = (uint8_t)(cylinders >> 16);
    store16_be(p + 1, (uint16_t)cylinders);
}

static void fill_rigid(const ScsiDisk *s, uint8_t *p, bool changeable)
{
    if (changeable) {
        return;
    }
    put_cylinders(p, s->options.cyls);
    p[3] = (uint8_t)s->options.heads;
    put_cylinders(p + 4, s->options.cyls);  /* write precompensation starts there: never */
    put_cylinders(p + 7, s->options.cyls);  /* reduced current, too */
    store16_be(p + 10, 200);        /* step rate */
    memset(p + 12, 0xff, 3);        /* landing zone */
    store16_be(p + 18, 5400);       /* turns a minute */
}

static void fill_flexible(const ScsiDisk *s, uint8_t *p, bool changeable)
{
    if (changeable) {
        return;
    }
    store16_be(p, 5000);            /* kbit/s */
    p[2] = (uint8_t)s->options.heads;
    p[3] = (uint8_t)s->options.secs;
    store16_be(p + 4, (uint16_t)s->block_size);
    store16_be(p + 6, (uint16_t)s->options.cyls);
    store16_be(p + 8, (uint16_t)s->options.cyls);
    store16_be(p + 10, (uint16_t)s->options.cyls);
    store16_be(p + 12, 1);          /* step rate, pulse, settling */
    p[14] = 1;
    store16_be(p + 15, 1);          /* motor delays */
    p[17] = 1;
    p[18] = 1;
    store16_be(p + 26, 5400);
}

static void fill_caching(const ScsiDisk *s, uint8_t *p, bool changeable)
{
    p[0] = changeable || blk_write_cache(s->sdev.blk) ? 4 : 0;
}

static void fill_audio(const ScsiDisk *s, uint8_t *p, bool changeable) {}

static void fill_capabilities(const ScsiDisk *s, uint8_t *p, bool changeable)
{
    static const uint8_t values[20] = {0x3b, 0x00, 0x7f, 0xff, 0x2d, 0x00, 0x22, 0x60, 0x00, 0x02,
                                       0x08, 0x00, 0x0b, 0x00, 0x00, 0x00, 0x0b, 0x00, 0x0b, 0x00};

    if (!changeable) {
        memcpy(p, values, sizeof values);
        p[4] |= s->tray_locked ? 2 : 0;
    }
}

static const ModePage pages[] = {
    {0x01, 10, SCSI_FOR_DISK | SCSI_FOR_CD, fill_recovery},
    {0x04, 22, SCSI_FOR_DISK, fill_rigid},
    {0x05, 30, SCSI_FOR_DISK, fill_flexible},
    {0x08, 18, SCSI_FOR_DISK | SCSI_FOR_CD, fill_caching},
    {0x0e, 14, SCSI_FOR_CD, fill_audio},
    {0x2a, 20, SCSI_FOR_CD, fill_capabilities},
};

/* Appends page i; returns its length. */
static size_t put_page(const ScsiDisk *s, const ModePage *page, uint8_t *p, bool changeable)
{
    memset(p, 0, page->len + 2u);
    p[0] = page->code;
    p[1] = page->len;
    page->fill(s, p + 2, changeable);
    return page->len + 2u;
}

static bool has_page(const ScsiDisk *s, const ModePage *page) { return page->flags & (s->is_cd ? SCSI_FOR_CD : SCSI_FOR_DISK); }

/* 0: no such page. */
static size_t put_pages(const ScsiDisk *s, uint8_t code, uint8_t *p, bool changeable)
{
    size_t n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++) {
        if (has_page(s, &pages[i]) && (code == 0x3f || code == pages[i].code)) {
            n += put_page(s, &pages[i], p + n, changeable);
        }
    }
    return n;
}

static size_t put_block_descriptor(const ScsiDisk *s, uint8_t *p)
{
    const uint64_t blocks = scsi_disk_blocks(s);

    store32_be(p, blocks > 0xffffff ? 0 : (uint32_t)blocks);
    store32_be(p + 4, s->block_size);
    return 8;
}

void scsi_disk_mode_sense(ScsiDisk *s, ScsiRequest *req)
{
    const bool ten = req->cdb[0] == 0x5a, no_descriptor = s->is_cd || (req->cdb[1] & 8);
    const unsigned control = req->cdb[2] >> 6, header = ten ? 8 : 4;
    uint8_t buf[PAGES_MAX] = {0};
    uint8_t specific = s->is_cd ? 0 : (uint8_t)((s->dpofua ? 0x10 : 0) | (blk_is_read_only(s->sdev.blk) ? 0x80 : 0));
    size_t n = header, len;

    if (!no_descriptor && scsi_disk_blocks(s)) {
        buf[ten ? 7 : 3] = 8;
        n += put_block_descriptor(s, buf + n);
    }
    if (control == 3) {
        scsi_fail(req, SENSE_SAVING_NOT_SUPPORTED);
        return;
    }
    len = put_pages(s, req->cdb[2] & 0x3f, buf + n, control == 1);
    if (!len) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    n += len;
    buf[ten ? 3 : 2] = specific;
    if (ten) {
        store16_be(buf, (uint16_t)(n - 2));
    } else {
        buf[0] = (uint8_t)(n - 1);
    }
    scsi_disk_reply_padded(req, buf, n);
}

/* ---- MODE SELECT ------------------------------------------------------------------------------------- */

static const ModePage *find_page(const ScsiDisk *s, uint8_t code)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++) {
        if (pages[i].code == code && has_page(s, &pages[i])) {
            return &pages[i];
        }
    }
    return NULL;
}

/* Only what may be changed is different. */
static bool page_fits(const ScsiDisk *s, const ModePage *page, const uint8_t *p)
{
    uint8_t now[PAGES_MAX], may[PAGES_MAX];

    put_page(s, page, now, false);
    put_page(s, page, may, true);
    for (unsigned i = 2; i < page->len + 2u; i++) {
        if ((p[i] ^ now[i]) & ~may[i]) {
            return false;
        }
    }
    return true;
}

/* Checks pages, or (apply) takes what they say. False: *sense says why. */
static bool select_pages(ScsiDisk *s, const uint8_t *p, size_t len, bool apply, ScsiSense *sense)
{
    while (len) {
        const ModePage *page = len >= 2 && !(p[0] & 0x40) ? find_page(s, p[0] & 0x3f) : NULL;

        if (len < 2 || (page && len < page->len + 2u)) {
            *sense = SENSE_PARAMETER_LENGTH;
            return false;
        }
        if (!page || p[1] != page->len || (!apply && !page_fits(s, page, p))) {
            *sense = SENSE_INVALID_PARAMETER;
            return false;
        }
        if (apply && page->code == 0x08) {
            blk_set_write_cache(s->sdev.blk, p[2] & 4);
        }
        p += page->len + 2;
        len -= page->len + 2u;
    }
    return true;
}

void scsi_disk_mode_select(ScsiDisk *s, ScsiRequest *req)
{
    const bool ten = req->cdb[0] == 0x55;
    const size_t header = ten ? 8 : 4;
    g_autofree uint8_t *buf = NULL;
    size_t descriptors;
    ScsiSense sense;

    if ((req->cdb[1] & 0x11) != 0x10) { /* pages as the standard has them, not saved */
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    if (!req->xfer) {
        scsi_complete(req, SCSI_GOOD);
        return;
    }
    if (req->xfer < header || req->xfer > SCSI_REPLY_MAX) {
        scsi_fail(req, SENSE_PARAMETER_LENGTH);
        return;
    }
    buf = g_malloc0(req->xfer);
    scsi_request_read(req, 0, buf, req->xfer);
    descriptors = ten ? load16_be(buf + 6) : buf[3];
    if (req->xfer - header < descriptors) {
        scsi_fail(req, SENSE_PARAMETER_LENGTH);
        return;
    }
    if (descriptors && descriptors != 8) {
        scsi_fail(req, SENSE_INVALID_PARAMETER);
        return;
    }
    const uint8_t *p = buf + header + descriptors;
    const size_t len = req->xfer - header - descriptors;

    if (!select_pages(s, p, len, false, &sense)) {
        scsi_fail(req, sense);
        return;
    }
    select_pages(s, p, len, true, &sense);
    scsi_complete(req, SCSI_GOOD);
}
