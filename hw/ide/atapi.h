/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the packet commands (atapi.c) and what moves their data (atapi_data.c). */
#ifndef HW_IDE_ATAPI_H
#define HW_IDE_ATAPI_H

#include "hw/ide/ide.h"

#define CD_SECTOR 2048
#define CD_RAW_SECTOR 2352

enum {
    SENSE_NOT_READY = 2,
    SENSE_MEDIUM_ERROR = 3,
    SENSE_ILLEGAL_REQUEST = 5,
    SENSE_UNIT_ATTENTION = 6
};
enum {
    ASC_UNRECOVERED_READ = 0x11,
    ASC_INVALID_COMMAND = 0x20,
    ASC_LBA_OUT_OF_RANGE = 0x21,
    ASC_INVALID_FIELD = 0x24,
    ASC_MEDIUM_CHANGED = 0x28,
    ASC_INCOMPATIBLE_FORMAT = 0x30,
    ASC_SAVING_NOT_SUPPORTED = 0x39,
    ASC_NO_MEDIUM = 0x3a,
    ASC_REMOVAL_PREVENTED = 0x53,
};

/* A command's end: status and interrupt. */
void ide_atapi_ok(IdeDrive *d);
void ide_atapi_error(IdeDrive *d, uint8_t key, uint8_t asc);
/* Sends len bytes that stand at the start of io_buffer, at most max. */
void ide_atapi_reply(IdeDrive *d, uint32_t len, uint32_t max);
/* Sends count sectors as blocks of 2048 bytes, or as raw frames of 2352. */
void ide_atapi_read_medium(IdeDrive *d, uint32_t lba, uint32_t count, uint32_t block);
bool ide_atapi_has_medium(const IdeDrive *d);
/* Of the medium, 2048 bytes each. */
uint64_t ide_atapi_sectors(const IdeDrive *d);

#endif
