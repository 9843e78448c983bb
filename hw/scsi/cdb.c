/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a CDB says of its data: length and direction (SPC-4, SBC-3, MMC-6). The first three bits of the operation code give
 * the CDB's size and so where the count stands; exceptions are in a table.
 */
#include "hw/scsi/scsi.h"

typedef enum Length {
    LEN_GROUP,      /* where the group has it */
    LEN_NONE,
    LEN_BLOCKS,     /* the group's count, in blocks */
    LEN_16_AT_3,
    LEN_24_AT_6,
    LEN_16_AT_8,
    LEN_VERIFY,     /* blocks, if bytes are to be compared */
    LEN_SAME,       /* one block, or none */
    LEN_CAPACITY,   /* 8 */
    LEN_FORMAT,
} Length;

typedef struct CdbInfo {
    uint8_t op, length;
    bool to_device;
} CdbInfo;

static const CdbInfo infos[] = {
    {0x00, LEN_NONE, false},    /* TEST UNIT READY */
    {0x01, LEN_NONE, false},    /* REZERO UNIT */
    {0x04, LEN_FORMAT, true},   /* FORMAT UNIT */
    {0x07, LEN_GROUP, true},    /* REASSIGN BLOCKS */
    {0x08, LEN_BLOCKS, false},  /* READ (6) */
    {0x0a, LEN_BLOCKS, true},   /* WRITE (6) */
    {0x12, LEN_16_AT_3, false}, /* INQUIRY */
    {0x15, LEN_GROUP, true},    /* MODE SELECT (6) */
    {0x16, LEN_NONE, false},    /* RESERVE (6) */
    {0x17, LEN_NONE, false},    /* RELEASE (6) */
    {0x1b, LEN_NONE, false},    /* START STOP UNIT */
    {0x1c, LEN_16_AT_3, false}, /* RECEIVE DIAGNOSTIC RESULTS */
    {0x1d, LEN_16_AT_3, true},  /* SEND DIAGNOSTIC */
    {0x1e, LEN_NONE, false},    /* PREVENT ALLOW MEDIUM REMOVAL */
    {0x25, LEN_CAPACITY, false}, /* READ CAPACITY (10) */
    {0x28, LEN_BLOCKS, false},  /* READ (10) */
    {0x2a, LEN_BLOCKS, true},   /* WRITE (10) */
    {0x2b, LEN_NONE, false},    /* SEEK (10) */
    {0x2e, LEN_BLOCKS, true},   /* WRITE AND VERIFY (10) */
    {0x2f, LEN_VERIFY, true},   /* VERIFY (10) */
    {0x34, LEN_NONE, false},    /* PRE-FETCH (10) */
    {0x35, LEN_NONE, false},    /* SYNCHRONIZE CACHE (10) */
    {0x36, LEN_NONE, false},    /* LOCK UNLOCK CACHE */
    {0x3b, LEN_24_AT_6, true},  /* WRITE BUFFER */
    {0x3c, LEN_24_AT_6, false}, /* READ BUFFER */
    {0x41, LEN_SAME, true},     /* WRITE SAME (10) */
    {0x42, LEN_GROUP, true},    /* UNMAP */
    {0x4c, LEN_GROUP, true},    /* LOG SELECT */
    {0x55, LEN_GROUP, true},    /* MODE SELECT (10) */
    {0x56, LEN_NONE, false},    /* RESERVE (10) */
    {0x57, LEN_NONE, false},    /* RELEASE (10) */
    {0x5f, LEN_GROUP, true},    /* PERSISTENT RESERVE OUT */
    {0x88, LEN_BLOCKS, false},  /* READ (16) */
    {0x8a, LEN_BLOCKS, true},   /* WRITE (16) */
    {0x8e, LEN_BLOCKS, true},   /* WRITE AND VERIFY (16) */
    {0x8f, LEN_VERIFY, true},   /* VERIFY (16) */
    {0x90, LEN_NONE, false},    /* PRE-FETCH (16) */
    {0x91, LEN_NONE, false},    /* SYNCHRONIZE CACHE (16) */
    {0x93, LEN_SAME, true},     /* WRITE SAME (16) */
    {0xa4, LEN_GROUP, true},    /* MAINTENANCE OUT */
    {0xa8, LEN_BLOCKS, false},  /* READ (12) */
    {0xaa, LEN_BLOCKS, true},   /* WRITE (12) */
    {0xad, LEN_16_AT_8, false}, /* READ DISC STRUCTURE */
    {0xae, LEN_BLOCKS, true},   /* WRITE AND VERIFY (12) */
    {0xaf, LEN_VERIFY, true},   /* VERIFY (12) */
    {0xbb, LEN_NONE, false},    /* SET CD SPEED */
    {0xbd, LEN_16_AT_8, false}, /* MECHANISM STATUS */
    {0xbe, LEN_24_AT_6, false}, /* READ CD */
};

static const CdbInfo *find(uint8_t op)
{
    static const CdbInfo other = {0, LEN_GROUP, false};

    for (unsigned i = 0; i < G_N_ELEMENTS(infos); i++) {
        if (infos[i].op == op) {
            return &infos[i];
        }
    }
    return &other;
}

static uint64_t group_count(const uint8_t *cdb)
{
    switch (cdb[0] >> 5) {
    case 0:
        return cdb[4];
    case 1:
    case 2:
        return load16_be(cdb + 7);
    case 4:
        return load32_be(cdb + 10);
    case 5:
        return load32_be(cdb + 6);
    default:
        return 0;
    }
}

uint64_t scsi_cdb_blocks(const uint8_t *cdb)
{
    const uint64_t count = group_count(cdb);

    return cdb[0] >> 5 == 0 && !count ? 256 : count;
}

unsigned scsi_cdb_size(uint8_t op)
{
    static const uint8_t sizes[8] = {6, 10, 10, 0, 16, 12, 0, 0};

    return sizes[op >> 5];
}

uint64_t scsi_cdb_lba(const uint8_t *cdb)
{
    switch (cdb[0] >> 5) {
    case 0:
        return load32_be(cdb) & 0x1fffff;
    case 4:
        return load64_be(cdb + 2);
    default:
        return load32_be(cdb + 2);
    }
}

static uint64_t length(const CdbInfo *info, const uint8_t *cdb, uint32_t block, bool rom)
{
    switch ((Length)info->length) {
    case LEN_NONE:
        return 0;
    case LEN_BLOCKS:
        return scsi_cdb_blocks(cdb) * block;
    case LEN_16_AT_3:
        return load16_be(cdb + 3);
    case LEN_24_AT_6:
        return load32_be(cdb + 5) & 0xffffff;
    case LEN_16_AT_8:
        return load16_be(cdb + 8);
    case LEN_VERIFY:
        return !(cdb[1] & 2) ? 0 : cdb[1] & 4 ? block : group_count(cdb) * block;
    case LEN_SAME:
        return cdb[1] & 1 ? 0 : block;
    case LEN_CAPACITY:
        return 8;
    case LEN_FORMAT:
        return !(cdb[1] & 16) ? 0 : rom ? 12 : cdb[1] & 32 ? 8 : 4;
    default:
        return group_count(cdb);
    }
}

void scsi_request_init(ScsiRequest *req)
{
    const ScsiDevice *dev = req->dev;
    const CdbInfo *info = find(req->cdb[0]);

    if (dev->ops->guest_lengths) {
        req->xfer = iov_size(req->iov, req->iov_count);
        req->direction = !req->xfer ? SCSI_NO_DATA : req->from_guest ? SCSI_TO_DEVICE : SCSI_FROM_DEVICE;
        return;
    }
    req->xfer = length(info, req->cdb, dev->ops->block_size(dev), dev->ops->type == SCSI_TYPE_ROM);
    req->direction = !req->xfer ? SCSI_NO_DATA : info->to_device ? SCSI_TO_DEVICE : SCSI_FROM_DEVICE;
}
