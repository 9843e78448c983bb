/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replies of CD and DVD drives that do not depend on how the drive is attached (MMC-6): of hw/ide/atapi.c and cd.c.
 * Each fills buf from its start and returns the length. sectors: of the medium, 2048 bytes each.
 */
#ifndef HW_SCSI_MMC_H
#define HW_SCSI_MMC_H

#include "util/util.h"

#define MMC_CD_SECTORS (80u * 60 * 75) /* more, and it is a DVD */
#define MMC_BUFFER 2052                /* the longest of these replies */

/* Three bytes: minute, second, frame of a sector, 2 seconds of lead-in included. */
void mmc_put_msf(uint8_t *p, uint64_t sector);
/* READ TOC format 0, 1 (sessions: one) and 2 (raw). */
size_t mmc_toc(uint8_t *buf, uint64_t sectors, bool msf, unsigned start_track);
size_t mmc_sessions(uint8_t *buf);
size_t mmc_raw_toc(uint8_t *buf, uint64_t sectors, bool msf);
size_t mmc_disc_information(uint8_t *buf);
/* GET CONFIGURATION: header and profile list. More features may follow: then the length at its start is the caller's. */
size_t mmc_profiles(uint8_t *buf, uint64_t sectors);
/* READ DISC STRUCTURE of a DVD. 0: no such format or layer. */
size_t mmc_dvd_structure(uint8_t *buf, uint64_t sectors, unsigned format, unsigned layer);
/* The formats that there are: for any medium. */
size_t mmc_dvd_formats(uint8_t *buf);

#endif
