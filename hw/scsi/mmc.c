/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/scsi/mmc.h"

void mmc_put_msf(uint8_t *p, uint64_t sector)
{
    sector += 150;
    p[0] = (uint8_t)(sector / 75 / 60);
    p[1] = (uint8_t)(sector / 75 % 60);
    p[2] = (uint8_t)(sector % 75);
}

static void put_address(uint8_t *p, bool msf, uint64_t sector)
{
    if (msf) {
        p[0] = 0;
        mmc_put_msf(p + 1, sector);
    } else {
        store32_be(p, (uint32_t)sector);
    }
}

/* Track 1 and the lead-out. */
size_t mmc_toc(uint8_t *buf, uint64_t sectors, bool msf, unsigned start_track)
{
    size_t len = 4;

    memset(buf, 0, 20);
    buf[2] = buf[3] = 1;
    if (start_track <= 1) {
        buf[len + 1] = 0x14; /* data track */
        buf[len + 2] = 1;
        put_address(buf + len + 4, msf, 0);
        len += 8;
    }
    buf[len + 1] = 0x16;
    buf[len + 2] = 0xaa;
    put_address(buf + len + 4, msf, sectors);
    len += 8;
    store16_be(buf, (uint16_t)(len - 2));
    return len;
}

size_t mmc_sessions(uint8_t *buf)
{
    memset(buf, 0, 12);
    buf[1] = 0x0a;
    buf[2] = buf[3] = 1;
    return 12;
}

/* First and last track, lead-out, track 1, in session 1. */
size_t mmc_raw_toc(uint8_t *buf, uint64_t sectors, bool msf)
{
    static const uint8_t points[] = {0xa0, 0xa1, 0xa2, 1};
    size_t len = 4;

    memset(buf, 0, 4 + 11 * sizeof points);
    buf[2] = buf[3] = 1;
    for (unsigned i = 0; i < sizeof points; i++, len += 11) {
        uint8_t *entry = buf + len;

        entry[0] = 1;
        entry[1] = 0x14;
        entry[3] = points[i];
        if (points[i] == 0xa2) {
            if (msf) {
                mmc_put_msf(entry + 8, sectors);
            } else {
                store32_be(entry + 7, (uint32_t)sectors);
            }
        } else if (points[i] == 1) {
            if (msf) {
                mmc_put_msf(entry + 8, 0);
            }
        } else {
            entry[8] = 1;
        }
    }
    store16_be(buf, (uint16_t)(len - 2));
    return len;
}

size_t mmc_disc_information(uint8_t *buf)
{
    memset(buf, 0, 34);
    buf[1] = 32;
    buf[2] = 0x0e; /* last session complete, disc finalized */
    buf[3] = buf[4] = buf[5] = buf[6] = 1;
    buf[7] = 0x20; /* unrestricted use */
    return 34;
}

/* Physical format: one layer of the image's size. */
static size_t dvd_physical(uint8_t *buf, uint64_t sectors)
{
    const uint32_t last = (uint32_t)sectors - 1;

    buf[4] = 1;                   /* DVD-ROM, part version 1 */
    buf[5] = 0x0f;                /* 120 mm, rate not specified */
    buf[6] = 1;                   /* one layer, read only */
    store32_be(buf + 8, 0x30000); /* data starts here */
    store32_be(buf + 12, 0x30000 + last);
    store32_be(buf + 16, 0x30000 + last);
    return 2048 + 4;
}

size_t mmc_dvd_structure(uint8_t *buf, uint64_t sectors, unsigned format, unsigned layer)
{
    size_t len = 0;

    memset(buf, 0, MMC_BUFFER);
    if (format == 0x00 && layer == 0) {
        len = dvd_physical(buf, sectors);
    } else if (format == 0x01) {
        len = 4 + 4; /* no copyright protection */
    } else if (format == 0x04) {
        len = 2048 + 4; /* no manufacturing information */
    }
    if (len) {
        store16_be(buf, (uint16_t)(len - 2));
    }
    return len;
}

size_t mmc_dvd_formats(uint8_t *buf)
{
    static const uint8_t list[] = {0x00, 0x40, 0x08, 0x04, 0x01, 0x40, 0x00, 0x08,
                                   0x03, 0x40, 0x00, 0xc0, 0x04, 0x40, 0x08, 0x04};

    memset(buf, 0, 4);
    memcpy(buf + 4, list, sizeof list);
    store16_be(buf, 4 + sizeof list - 2);
    return 4 + sizeof list;
}

size_t mmc_profiles(uint8_t *buf, uint64_t sectors)
{
    const bool dvd = sectors > MMC_CD_SECTORS, cd = sectors && !dvd;
    const size_t len = 20;

    memset(buf, 0, len);
    store32_be(buf, (uint32_t)len - 4);
    store16_be(buf + 6, dvd ? 0x10 : cd ? 0x08 : 0); /* current profile */
    buf[10] = 0x03;                                  /* profile list: persistent, current */
    buf[11] = 8;
    store16_be(buf + 12, 0x10); /* DVD-ROM */
    buf[14] = dvd;
    store16_be(buf + 16, 0x08); /* CD-ROM */
    buf[18] = cd;
    return len;
}
