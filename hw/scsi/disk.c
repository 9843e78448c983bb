/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Disks and CDs: the table of commands, and those that reach the medium (SBC-3). READ and WRITE move data between guest
 * memory and the block layer as it is. Those that take several block requests (UNMAP's ranges, WRITE SAME with a pattern,
 * READ with FUA) run them one after another; after an error that stops the VM only what is left is done again.
 *
 * Not done, as in QEMU 7.2: persistent reservations, comparing VERIFY, logs, protection information.
 */
#include "hw/scsi/disk.h"

#include <errno.h>

#include "util/trace.h"

#define PATTERN_MAX (64 * KIB) /* each command that is under way has one */
#define ZEROS_PART (2 * GIB)   /* what the limits' page says a command takes goes in one */

/* ---- errors ------------------------------------------------------------------------------------- */

static ScsiSense sense_of(int result)
{
    switch (-result) {
    case ENOMEDIUM:
        return SENSE_NO_MEDIUM;
    case ENOMEM:
        return SENSE_TARGET_FAILURE;
    case EINVAL:
        return SENSE_INVALID_FIELD;
    case ENOSPC:
        return SENSE_SPACE_ALLOCATION;
    default:
        return SENSE_IO_ERROR;
    }
}

static bool is_read(const ScsiRequest *req) { return req->direction == SCSI_FROM_DEVICE; }

static void end_aborted(ScsiRequest *req)
{
    req->aborted = true;
    scsi_fail(req, SENSE_IO_ERROR);
}

/* A block request ended. True: go on. */
static bool block_ended(ScsiRequest *req, int result)
{
    req->blk_request = NULL;
    if (req->aborting) {
        end_aborted(req);
        return false;
    }
    if (result >= 0) {
        return true;
    }
    switch (blk_error_action(req->dev->blk, is_read(req), result)) {
    case BLK_ERROR_STOP:
        req->is_retry = true;
        return false;
    case BLK_ERROR_REPORT:
        scsi_fail(req, sense_of(result));
        return false;
    default:
        return true;
    }
}

/* ---- reading and writing ------------------------------------------------------------------------- */

/* All of it, as a rule. */
const struct iovec *scsi_request_data(ScsiRequest *req, unsigned *count)
{
    uint64_t left = req->xfer;

    for (unsigned i = 0; i < req->iov_count; i++) {
        if (req->iov[i].iov_len >= left) {
            *count = i + 1;
            if (req->iov[i].iov_len == left) {
                return req->iov;
            }
            if (!req->cut) {
                req->cut = g_memdup2(req->iov, *count * sizeof *req->iov);
                req->cut[i].iov_len = left;
            }
            return req->cut;
        }
        left -= req->iov[i].iov_len;
    }
    g_assert_not_reached(); /* the adapter compared */
}

static void flushed(void *opaque, int result)
{
    ScsiRequest *req = opaque;

    if (block_ended(req, result)) {
        scsi_complete(req, SCSI_GOOD);
    }
}

static void do_flush(ScsiRequest *req) { req->blk_request = blk_flush(req->dev->blk, flushed, req); }

static void moved(void *opaque, int result)
{
    ScsiRequest *req = opaque;

    if (block_ended(req, result)) {
        req->moved = req->xfer;
        scsi_complete(req, SCSI_GOOD);
    }
}

static void do_read(ScsiRequest *req)
{
    unsigned count;
    const struct iovec *iov = scsi_request_data(req, &count);

    req->blk_request = blk_readv(req->dev->blk, req->offset, iov, count, moved, req);
}

static void flushed_first(void *opaque, int result)
{
    ScsiRequest *req = opaque;

    if (block_ended(req, result)) {
        req->fua = false;
        do_read(req);
    }
}

static void move(ScsiRequest *req)
{
    unsigned count;
    const struct iovec *iov;

    if (req->direction == SCSI_TO_DEVICE) {
        iov = scsi_request_data(req, &count);
        req->blk_request = blk_writev(req->dev->blk, req->offset, iov, count, req->fua, moved, req);
    } else if (req->fua) {
        req->blk_request = blk_flush(req->dev->blk, flushed_first, req);
    } else {
        do_read(req);
    }
}

static bool set_range_of(const ScsiDisk *s, ScsiRequest *req, uint64_t lba, uint64_t blocks, uint64_t all)
{
    if (!range_fits(lba, blocks, all)) {
        return false;
    }
    req->offset = lba * s->block_size;
    req->len = blocks * s->block_size;
    return true;
}

/* Does [lba, lba + blocks) lie on the medium? Sets offset and len, in bytes. */
static bool set_range(const ScsiDisk *s, ScsiRequest *req, uint64_t lba, uint64_t blocks)
{
    return set_range_of(s, req, lba, blocks, scsi_disk_blocks(s));
}

static void cmd_read_write(ScsiDisk *s, ScsiRequest *req)
{
    const uint8_t *cdb = req->cdb;
    const bool six = cdb[0] >> 5 == 0, verify = (cdb[0] & 0x1f) == 0x0e;

    if (!six && (cdb[1] & 0xe0)) {
        scsi_fail(req, SENSE_INVALID_FIELD); /* protection information */
    } else if (req->direction == SCSI_TO_DEVICE && blk_is_read_only(s->sdev.blk)) {
        scsi_fail(req, SENSE_WRITE_PROTECTED);
    } else if (!set_range(s, req, scsi_cdb_lba(cdb), scsi_cdb_blocks(cdb))) {
        scsi_fail(req, SENSE_LBA_OUT_OF_RANGE);
    } else if (!req->xfer) {
        scsi_complete(req, SCSI_GOOD);
    } else {
        req->fua = verify || (!six && (cdb[1] & 8));
        move(req);
    }
}

static void cmd_synchronize_cache(ScsiDisk *s, ScsiRequest *req)
{
    (void)s;
    do_flush(req);
}

static void cmd_verify(ScsiDisk *s, ScsiRequest *req)
{
    (void)s;
    if (req->cdb[1] & 6) {
        scsi_fail(req, SENSE_INVALID_FIELD); /* nothing is compared */
        return;
    }
    scsi_complete(req, SCSI_GOOD);
}

static void cmd_seek(ScsiDisk *s, ScsiRequest *req)
{
    if (scsi_cdb_lba(req->cdb) > scsi_disk_blocks(s) - 1) {
        scsi_fail(req, SENSE_LBA_OUT_OF_RANGE);
        return;
    }
    scsi_complete(req, SCSI_GOOD);
}

/* ---- UNMAP -------------------------------------------------------------------------------------------- */

static void unmap_next(ScsiRequest *req);

static void unmapped(void *opaque, int result)
{
    ScsiRequest *req = opaque;

    if (!block_ended(req, result)) {
        return;
    }
    req->buf_pos += 16;
    if (req->buf_pos + 16 > req->buf_len || scsi_request_goes_on(req)) {
        unmap_next(req);
    }
}

/* The range at buf_pos. */
static void unmap_next(ScsiRequest *req)
{
    ScsiDisk *s = scsi_disk(req->dev);

    for (; req->buf_pos + 16 <= req->buf_len; req->buf_pos += 16) {
        const uint8_t *range = req->buf + req->buf_pos;

        if (!set_range(s, req, load64_be(range), load32_be(range + 8))) {
            blk_count_invalid(s->sdev.blk, BLK_STAT_DISCARD);
            scsi_fail(req, SENSE_LBA_OUT_OF_RANGE);
            return;
        }
        if (req->len) {
            req->blk_request = blk_discard(s->sdev.blk, req->offset, req->len, unmapped, req);
            return;
        }
    }
    scsi_complete(req, SCSI_GOOD);
}

static void cmd_unmap(ScsiDisk *s, ScsiRequest *req)
{
    uint8_t head[8] = {0};
    size_t n;

    if (req->cdb[1] & 1) {
        scsi_fail(req, SENSE_INVALID_FIELD); /* anchored blocks */
        return;
    }
    if (!req->xfer) {
        scsi_complete(req, SCSI_GOOD);
        return;
    }
    n = scsi_request_read(req, 0, head, sizeof head);
    if (n < 8 || req->xfer < load16_be(head) + 2u || req->xfer < load16_be(head + 2) + 8u || load16_be(head + 2) % 16) {
        scsi_fail(req, SENSE_PARAMETER_LENGTH);
        return;
    }
    if (blk_is_read_only(s->sdev.blk)) {
        scsi_fail(req, SENSE_WRITE_PROTECTED);
        return;
    }
    req->buf_len = load16_be(head + 2);
    req->buf = g_malloc(req->buf_len + 1);
    req->buf_pos = 0;
    scsi_request_read(req, 8, req->buf, req->buf_len);
    unmap_next(req);
}

/* ---- WRITE SAME ------------------------------------------------------------------------------------------ */

static void same_next(ScsiRequest *req);

static void same_written(void *opaque, int result)
{
    ScsiRequest *req = opaque;

    if (block_ended(req, result)) {
        req->offset += req->part;
        req->len -= req->part;
        if (!req->len || scsi_request_goes_on(req)) {
            same_next(req);
        }
    }
}

/* buf holds the block several times; NULL: zeros. */
static void same_next(ScsiRequest *req)
{
    BlockBackend *blk = req->dev->blk;

    if (!req->len) {
        scsi_complete(req, SCSI_GOOD);
    } else if (!req->buf) {
        req->part = MIN(req->len, ZEROS_PART);
        req->blk_request = blk_write_zeroes(blk, req->offset, req->part, req->cdb[1] & 8, same_written, req);
    } else {
        req->part = MIN(req->len, req->buf_len);
        req->own_iov = (struct iovec){req->buf, req->part};
        req->blk_request = blk_writev(blk, req->offset, &req->own_iov, 1, false, same_written, req);
    }
}

static void cmd_write_same(ScsiDisk *s, ScsiRequest *req)
{
    const uint64_t blocks = scsi_cdb_blocks(req->cdb);
    g_autofree uint8_t *block = g_malloc0(s->block_size);

    if (!blocks || (req->cdb[1] & 0x16)) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    if (blk_is_read_only(s->sdev.blk)) {
        scsi_fail(req, SENSE_WRITE_PROTECTED);
        return;
    }
    if (!set_range(s, req, scsi_cdb_lba(req->cdb), blocks)) {
        blk_count_invalid(s->sdev.blk, BLK_STAT_WRITE);
        scsi_fail(req, SENSE_LBA_OUT_OF_RANGE);
        return;
    }
    if (req->xfer) {
        scsi_request_read(req, 0, block, s->block_size);
    }
    if (block[0] || memcmp(block, block + 1, s->block_size - 1)) {
        req->buf_len = MIN(req->len, MAX(PATTERN_MAX, s->block_size));
        req->buf = g_malloc(req->buf_len);
        for (size_t at = 0; at < req->buf_len; at += s->block_size) {
            memcpy(req->buf + at, block, s->block_size);
        }
    }
    same_next(req);
}

/* ---- small ones ------------------------------------------------------------------------------------------- */

void scsi_disk_reply_padded(ScsiRequest *req, const void *data, size_t len)
{
    g_autofree uint8_t *buf = NULL;

    if (req->xfer > SCSI_REPLY_MAX) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    buf = g_malloc0(req->xfer + 1);
    memcpy(buf, data, MIN(len, req->xfer));
    scsi_reply(req, buf, req->xfer);
}

/* Nothing is to be done for it. */
static void cmd_nothing(ScsiDisk *s, ScsiRequest *req)
{
    (void)s;
    scsi_complete(req, SCSI_GOOD);
}

/* There is nothing to tell: what there is, the target tells. */
static void cmd_request_sense(ScsiDisk *s, ScsiRequest *req)
{
    uint8_t buf[18];

    (void)s;
    scsi_reply(req, buf, scsi_put_sense(buf, (ScsiSense){0}));
}

/* ---- dispatch ------------------------------------------------------------------------------------------- */

#define BOTH (SCSI_FOR_DISK | SCSI_FOR_CD)

static const ScsiCommand commands[256] = {
    [0x00] = {cmd_nothing, BOTH}, /* TEST UNIT READY */
    [0x03] = {cmd_request_sense, BOTH | SCSI_WITHOUT_MEDIUM},
    [0x04] = {cmd_nothing, BOTH}, /* FORMAT UNIT */
    [0x08] = {cmd_read_write, BOTH},
    [0x0a] = {cmd_read_write, BOTH},
    [0x12] = {scsi_disk_inquiry, BOTH | SCSI_WITHOUT_MEDIUM},
    [0x15] = {scsi_disk_mode_select, BOTH},
    [0x16] = {cmd_nothing, BOTH | SCSI_WITHOUT_MEDIUM}, /* RESERVE (6): there is one initiator */
    [0x17] = {cmd_nothing, BOTH | SCSI_WITHOUT_MEDIUM}, /* RELEASE (6) */
    [0x1a] = {scsi_disk_mode_sense, BOTH | SCSI_WITHOUT_MEDIUM},
    [0x1b] = {scsi_cd_start_stop, BOTH | SCSI_WITHOUT_MEDIUM},
    [0x1e] = {scsi_cd_prevent_removal, BOTH | SCSI_WITHOUT_MEDIUM},
    [0x25] = {scsi_disk_read_capacity_10, BOTH},
    [0x28] = {cmd_read_write, BOTH},
    [0x2a] = {cmd_read_write, BOTH},
    [0x2b] = {cmd_seek, BOTH},
    [0x2e] = {cmd_read_write, BOTH},
    [0x2f] = {cmd_verify, BOTH},
    [0x35] = {cmd_synchronize_cache, BOTH},
    [0x41] = {cmd_write_same, BOTH},
    [0x42] = {cmd_unmap, BOTH},
    [0x43] = {scsi_cd_read_toc, SCSI_FOR_CD},
    [0x46] = {scsi_cd_get_configuration, SCSI_FOR_CD | SCSI_WITHOUT_MEDIUM},
    [0x4a] = {scsi_cd_get_event_status, SCSI_FOR_CD | SCSI_WITHOUT_MEDIUM},
    [0x51] = {scsi_cd_read_disc_information, SCSI_FOR_CD},
    [0x55] = {scsi_disk_mode_select, BOTH},
    [0x56] = {cmd_nothing, BOTH | SCSI_WITHOUT_MEDIUM}, /* RESERVE (10) */
    [0x57] = {cmd_nothing, BOTH | SCSI_WITHOUT_MEDIUM}, /* RELEASE (10) */
    [0x5a] = {scsi_disk_mode_sense, BOTH | SCSI_WITHOUT_MEDIUM},
    [0x88] = {cmd_read_write, BOTH},
    [0x8a] = {cmd_read_write, BOTH},
    [0x8e] = {cmd_read_write, BOTH},
    [0x8f] = {cmd_verify, BOTH},
    [0x93] = {cmd_write_same, BOTH},
    [0x9e] = {scsi_disk_service_action_in_16, BOTH},
    [0xa8] = {cmd_read_write, BOTH},
    [0xaa] = {cmd_read_write, BOTH},
    [0xad] = {scsi_cd_read_disc_structure, SCSI_FOR_CD},
    [0xae] = {cmd_read_write, BOTH},
    [0xaf] = {cmd_verify, BOTH},
    [0xbd] = {scsi_cd_mechanism_status, SCSI_FOR_CD | SCSI_WITHOUT_MEDIUM},
};

void scsi_disk_run(ScsiRequest *req)
{
    ScsiDisk *s = scsi_disk(req->dev);
    const ScsiCommand *command = &commands[req->cdb[0]];

    if (!(command->flags & SCSI_WITHOUT_MEDIUM) && !scsi_disk_has_medium(s)) {
        scsi_fail(req, SENSE_NO_MEDIUM);
    } else if (!(command->flags & (s->is_cd ? SCSI_FOR_CD : SCSI_FOR_DISK))) {
        scsi_fail(req, SENSE_INVALID_COMMAND);
    } else {
        command->fn(s, req);
    }
}

void scsi_disk_retry(ScsiRequest *req)
{
    ScsiCommandFn *fn = commands[req->cdb[0]].fn;

    if (req->anew) {
        req->anew = false;
        scsi_disk_run(req);
    } else if (fn == cmd_read_write && scsi_disk_has_medium(scsi_disk(req->dev)) && req->len) {
        move(req);
    } else if (fn == cmd_unmap && req->buf) {
        unmap_next(req);
    } else if (fn == cmd_write_same && req->len) {
        same_next(req);
    } else {
        scsi_disk_run(req);
    }
}

/* ---- in other threads ----------------------------------------------------------------------------------- */

ScsiDirect scsi_disk_direct(ScsiRequest *req)
{
    const ScsiDisk *s = scsi_disk(req->dev);
    const uint8_t *cdb = req->cdb;
    const bool six = cdb[0] >> 5 == 0, verify = (cdb[0] & 0x1f) == 0x0e;
    const uint64_t all = __atomic_load_n(&s->capacity, __ATOMIC_RELAXED) / s->block_size;

    if (commands[cdb[0]].fn == cmd_synchronize_cache) {
        return SCSI_DIRECT_FLUSH;
    }
    if (commands[cdb[0]].fn != cmd_read_write || !req->xfer || verify || (!six && (cdb[1] & 0xe8)) ||
        (!is_read(req) && !s->direct_writes) || !set_range_of(s, req, scsi_cdb_lba(cdb), scsi_cdb_blocks(cdb), all)) {
        return SCSI_NOT_DIRECT;
    }
    return is_read(req) ? SCSI_DIRECT_READ : SCSI_DIRECT_WRITE;
}

void scsi_disk_failed(ScsiRequest *req, int result) { moved(req, result); }
