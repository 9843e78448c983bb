/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SMART (ATA/ATAPI-7, 6.54): a healthy disk, with the attributes that QEMU 7.2's has. The
 * self-tests of this disk end at once and well.
 */
#include "hw/ide/ide.h"

/* Attribute: id, flags, current, worst, six raw bytes; its threshold. */
static const struct {
    uint8_t id, flags, current, worst, raw[6], threshold;
} attributes[] = {
    {0x01, 0x03, 0x64, 0x64, {0}, 0x06},                   /* raw read errors */
    {0x03, 0x03, 0x64, 0x64, {0x10}, 0x00},                /* spin up */
    {0x04, 0x02, 0x64, 0x64, {0x14}, 0x14},                /* start/stop count */
    {0x05, 0x03, 0x64, 0x64, {0}, 0x24},                   /* remapped sectors */
    {0x09, 0x03, 0x64, 0x64, {0x01}, 0x00},                /* power-on hours */
    {0x0c, 0x03, 0x64, 0x64, {0}, 0x00},                   /* power cycles */
    {0xbe, 0x03, 0x45, 0x45, {0x1f, 0, 0x1f, 0x1f}, 0x32}, /* air flow temperature */
};

static void set_checksum(uint8_t *page)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < 511; i++) {
        sum += page[i];
    }
    page[511] = (uint8_t)-sum;
}

static void fill_data(const IdeDrive *d, uint8_t *page)
{
    page[0] = 0x01;
    for (unsigned i = 0; i < G_N_ELEMENTS(attributes); i++) {
        uint8_t *entry = page + 2 + 12 * i;

        entry[0] = attributes[i].id;
        entry[1] = attributes[i].flags;
        entry[3] = attributes[i].current;
        entry[4] = attributes[i].worst;
        memcpy(entry + 5, attributes[i].raw, 6);
    }
    page[362] = 0x02 | (d->smart_autosave ? 0x80 : 0); /* off-line collection ended well */
    page[363] = 0;                                     /* self-test ended well */
    page[364] = 0x20;                                  /* off-line collection takes 288 s */
    page[365] = 0x01;
    page[367] = 1 << 4 | 1 << 3 | 1; /* capabilities: off-line, self-test */
    page[368] = 0x03;                /* saves attributes before power goes */
    page[370] = 0x01;                /* error log */
    page[372] = 2;                   /* minutes of a short self-test */
    page[373] = 54;                  /* of an extended one */
    page[374] = 1;                   /* of a conveyance one */
}

static void fill_thresholds(uint8_t *page)
{
    page[0] = 0x01;
    for (unsigned i = 0; i < G_N_ELEMENTS(attributes); i++) {
        page[2 + 12 * i] = attributes[i].id;
        page[3 + 12 * i] = attributes[i].threshold;
    }
}

static bool fill_log(const IdeDrive *d, uint8_t *page)
{
    switch (d->sector) {
    case 0x01: /* summary error log */
        page[0] = 0x01;
        page[452] = d->smart_errors;
        return true;
    case 0x06: /* self-test log */
        page[0] = 0x01;
        page[508] = d->smart_selftests;
        return true;
    default:
        return false;
    }
}

static bool send_page(IdeDrive *d)
{
    uint8_t *page = d->io_buffer;
    bool ok = true;

    memset(page, 0, IDE_SECTOR);
    if (d->feature == 0xd0) {
        fill_data(d, page);
    } else if (d->feature == 0xd1) {
        fill_thresholds(page);
    } else {
        ok = fill_log(d, page);
    }
    if (!ok) {
        ide_abort(d);
        return true;
    }
    set_checksum(page);
    d->status = IDE_DRDY | IDE_DSC;
    ide_start_transfer(d, 0, IDE_SECTOR, IDE_NEXT_STOP, false);
    ide_raise_irq(d->bus);
    return false;
}

bool ide_cmd_smart(IdeDrive *d, uint8_t cmd)
{
    (void)cmd;
    if (d->hcyl != 0xc2 || d->lcyl != 0x4f || (!d->smart_enabled && d->feature != 0xd8)) {
        ide_abort(d);
        return true;
    }
    switch (d->feature) {
    case 0xd0: /* READ DATA */
    case 0xd1: /* READ THRESHOLDS */
    case 0xd5: /* READ LOG */
        return send_page(d);
    case 0xd2: /* ATTRIBUTE AUTOSAVE */
        if ((uint8_t)d->nsector == 0xf1) {
            d->smart_autosave = true;
        } else if ((uint8_t)d->nsector == 0) {
            d->smart_autosave = false;
        }
        return true;
    case 0xd4: /* EXECUTE OFF-LINE IMMEDIATE */
        if (d->sector > 3 && d->sector != 0x7f && d->sector < 0x81) {
            ide_abort(d);
        } else if (d->sector >= 1 && d->sector <= 3) {
            d->smart_selftests = (uint8_t)(d->smart_selftests % 21 + 1);
        }
        return true;
    case 0xd8: /* ENABLE */
        d->smart_enabled = true;
        return true;
    case 0xd9: /* DISABLE */
        d->smart_enabled = false;
        return true;
    case 0xda: /* RETURN STATUS: 4fh/c2h stays, nothing is exceeded */
        return true;
    default:
        ide_abort(d);
        return true;
    }
}
