/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "scsi-block" and "scsi-generic": a SCSI unit of the host that the guest talks to itself. Every command goes to the host's
 * device by SG_IO (block/sg.c), with the guest's memory for its data; scsi-block wants the block device of a disk or CD
 * drive, scsi-generic takes any unit, by its block device or /dev/sgN.
 *
 * What is changed on the way: REPORT LUNS and commands to other units are the bus's own; the Block Limits page says no more
 * than one SG_IO can move, and is there even when the unit has none.
 *
 * The kernel filters commands unless the process has CAP_SYS_RAWIO. Not done: retries after a stop (werror=stop).
 */
#include <limits.h>
#include <scsi/sg.h>

#include "hw/block/disk_options.h"
#include "hw/scsi/disk.h"
#include "util/log.h"
#include "util/trace.h"

#define PROBE_TIMEOUT_MS 6000
#define PAGE_LIMITS 0xb0
#define PAGES_MAX 255
#define COPY_MAX MIB /* bytes of a command that do not go to guest memory in place */

enum { OP_INQUIRY = 0x12, OP_READ_CAPACITY = 0x25 };
enum { HOST_NO_CONNECT = 1, HOST_TIME_OUT = 3, HOST_ABORT = 5, HOST_RESET = 8 }; /* sg(4): host_status */

typedef struct ScsiPass {
    ScsiDisk disk;             /* of it: sdev, block_size, attached and what the state has */
    uint8_t type;              /* of the unit: SPC-4, peripheral device type */
    bool lacks_limits;         /* no page B0h of its own */
    uint32_t max_transfer;     /* bytes of one command */
    /* ---- properties */
    uint32_t io_timeout;       /* seconds */
    uint64_t max_io_size;      /* bytes */
    bool share_rw;
    int rerror, werror;        /* BlkOnError */
} ScsiPass;

/* Of a request, in its buf. */
typedef struct PassIo {
    sg_io_hdr_t hdr;
    uint8_t sense[SCSI_SENSE_SIZE];
    uint8_t cdb[SCSI_CDB_SIZE];
    uint8_t data[];            /* where it does not go to guest memory */
} PassIo;

static ScsiPass *pass_of(ScsiDevice *dev) { return container_of(scsi_disk(dev), ScsiPass, disk); }

/* ---- what the guest sees differently ------------------------------------------------------------------ */

/* Blocks that a field of the Block Limits page may say at most, given what it says (0: no limit). */
static uint32_t limited(uint32_t value, uint64_t limit) { return !value || value > limit ? (uint32_t)limit : value; }

static uint64_t transfer_limit(const ScsiPass *s)
{
    return MAX(MIN(s->max_io_size, s->max_transfer) / s->disk.block_size, 1);
}

static void limit_transfers(const ScsiPass *s, uint8_t *page, size_t len)
{
    const uint64_t limit = transfer_limit(s);

    if (len >= 16) {
        store32_be(page + 8, limited(load32_be(page + 8), limit));
        store32_be(page + 12, MIN(load32_be(page + 12), (uint32_t)limit));
    }
}

/* Block Limits of a unit that has no such page (SBC-3). Returns its length. */
static size_t make_limits(const ScsiPass *s, uint8_t *page)
{
    memset(page, 0, 64);
    page[0] = s->type;
    page[1] = PAGE_LIMITS;
    page[3] = 60;
    limit_transfers(s, page, 64);
    return 64;
}

/* Adds the page to a list of pages, in order, if there is room. Returns the list's length. */
static size_t add_to_list(uint8_t *list, size_t len, size_t room)
{
    const unsigned count = load16_be(list + 2);
    unsigned i = 0;

    if (len < 4 + count || count >= PAGES_MAX || len + 1 > room) {
        return len;
    }
    while (i < count && list[4 + i] < PAGE_LIMITS) {
        i++;
    }
    memmove(list + 4 + i + 1, list + 4 + i, count - i);
    list[4 + i] = PAGE_LIMITS;
    store16_be(list + 2, (uint16_t)(count + 1));
    return len + 1;
}

/* data: len bytes of the unit's answer, room for room. Returns how many they are now. */
static size_t edit_inquiry(ScsiPass *s, const uint8_t *cdb, uint8_t *data, size_t len, size_t room)
{
    if (!(cdb[1] & 1)) {
        if (s->disk.scsi_version >= 0 && len > 2) {
            data[2] = (uint8_t)s->disk.scsi_version;
        }
        return len;
    }
    if (s->type != SCSI_TYPE_DISK || len < 4 || data[1] != cdb[2]) {
        return len;
    }
    if (cdb[2] == PAGE_LIMITS) {
        limit_transfers(s, data, len);
    } else if (cdb[2] == 0 && s->lacks_limits) {
        return add_to_list(data, len, room);
    }
    return len;
}

static bool answers_limits(const ScsiPass *s, const ScsiRequest *req)
{
    return s->lacks_limits && s->type == SCSI_TYPE_DISK && req->cdb[0] == OP_INQUIRY && req->cdb[1] & 1 &&
           req->cdb[2] == PAGE_LIMITS;
}

/* ---- commands --------------------------------------------------------------------------------------------- */

static void fail_result(ScsiRequest *req, int result)
{
    switch (result) {
    case -ENOMEDIUM:
        scsi_fail(req, SENSE_NO_MEDIUM);
        break;
    case -ENOMEM:
    case -EINVAL:
    case -EPERM:
        scsi_fail(req, SENSE_INVALID_FIELD); /* the kernel did not send it */
        break;
    default:
        scsi_fail(req, SENSE_IO_ERROR);
    }
}

/* One descriptor of so many bytes. What does not fit the fixed format is left out. */
static void add_descriptor(uint8_t *fixed, const uint8_t *d, unsigned len)
{
    enum { INFORMATION = 0, COMMAND = 1, KEY = 2, STREAM = 4, BLOCK = 5, VALID = 0x80, ILI = 0x20, MARKS = 0xe0 };

    if (d[0] == INFORMATION && len >= 12 && d[2] & VALID && load64_be(d + 4) <= UINT32_MAX) {
        fixed[0] |= VALID;
        store32_be(fixed + 3, (uint32_t)load64_be(d + 4));
    } else if (d[0] == COMMAND && len >= 12 && load64_be(d + 4) <= UINT32_MAX) {
        store32_be(fixed + 8, (uint32_t)load64_be(d + 4));
    } else if (d[0] == KEY && len >= 7) {
        memcpy(fixed + 15, d + 4, 3);
    } else if ((d[0] == STREAM || d[0] == BLOCK) && len >= 4) {
        fixed[2] |= d[3] & (d[0] == STREAM ? MARKS : ILI);
    }
}

/* The guest is given the fixed format, whichever the unit uses, as by QEMU, which leaves out all descriptors (SPC-4, 4.5.2). Bytes
 * of fixed, of which there are SCSI_SENSE_SIZE. */
static uint8_t put_fixed(uint8_t *fixed, const uint8_t *sense, unsigned len)
{
    enum { CURRENT = 0x72, DEFERRED = 0x73, SHORTEST = 4, HEAD = 8 };
    const uint8_t code = len ? sense[0] & 0x7f : 0;
    unsigned end = 0;

    if (code != CURRENT && code != DEFERRED) {
        memcpy(fixed, sense, len);
        return (uint8_t)len;
    }
    if (len < SHORTEST) {
        return (uint8_t)scsi_put_sense(fixed, SENSE_IO_ERROR);
    }
    const uint8_t size = (uint8_t)scsi_put_sense(fixed, (ScsiSense){sense[1] & 15, sense[2], sense[3]});
    fixed[0] |= code == DEFERRED;
    if (len > HEAD) {
        end = MIN(len, HEAD + (unsigned)sense[7]);
    }
    for (unsigned at = HEAD; at + 2 <= end && at + 2 + sense[at + 1] <= end; at += 2u + sense[at + 1]) {
        add_descriptor(fixed, sense + at, 2u + sense[at + 1]);
    }
    return size;
}

static void give_answer(ScsiRequest *req, PassIo *io)
{
    ScsiPass *s = pass_of(req->dev);

    req->moved = req->xfer - MIN(req->xfer, (uint64_t)MAX(io->hdr.resid, 0));
    req->sense_len = put_fixed(req->sense, io->sense, MIN(io->hdr.sb_len_wr, SCSI_SENSE_SIZE));
    if (!io->hdr.iovec_count && req->direction == SCSI_FROM_DEVICE) {
        if (req->cdb[0] == OP_INQUIRY && !io->hdr.status) {
            req->moved = edit_inquiry(s, req->cdb, io->data, req->moved, req->xfer);
        }
        iov_from_buf(req->iov, req->iov_count, 0, io->data, req->moved);
    }
    scsi_complete(req, io->hdr.status);
}

static void sg_done(void *opaque, int result)
{
    ScsiRequest *req = opaque;
    PassIo *io = (void *)req->buf;

    trace(scsi_pass_done, "op %02x result %d status %02x host %x driver %x resid %d", req->cdb[0], result, io->hdr.status,
          io->hdr.host_status, io->hdr.driver_status, io->hdr.resid);
    req->blk_request = NULL;
    if (req->aborting) {
        req->aborted = true;
        scsi_complete(req, SCSI_TASK_ABORTED);
    } else if (result < 0) {
        fail_result(req, result);
    } else if (io->hdr.host_status && !io->hdr.status) {
        scsi_fail(req, io->hdr.host_status == HOST_NO_CONNECT ? SENSE_NO_SUCH_LUN : SENSE_TARGET_FAILURE);
    } else {
        give_answer(req, io);
    }
}

/* Where the data goes: guest memory in place, or io->data. */
static void describe_data(ScsiRequest *req, PassIo *io, bool in_place)
{
    io->hdr.dxfer_len = (uint32_t)req->xfer;
    io->hdr.dxfer_direction = req->direction == SCSI_NO_DATA ? SG_DXFER_NONE
                              : req->direction == SCSI_TO_DEVICE ? SG_DXFER_TO_DEV : SG_DXFER_FROM_DEV;
    if (!req->xfer) {
        return;
    }
    if (in_place) {
        io->hdr.dxferp = (void *)req->iov; /* sg_iovec_t is laid out as struct iovec */
        io->hdr.iovec_count = (unsigned short)req->iov_count;
        return;
    }
    io->hdr.dxferp = io->data;
    if (req->direction == SCSI_TO_DEVICE) {
        iov_to_buf(req->iov, req->iov_count, 0, io->data, req->xfer);
    }
}

static void pass_run(ScsiRequest *req)
{
    ScsiPass *s = pass_of(req->dev);
    const bool in_place = req->cdb[0] != OP_INQUIRY && req->iov_count <= IOV_MAX;
    PassIo *io;

    if (!scsi_cdb_size(req->cdb[0])) { /* a stream's may be anything */
        scsi_fail(req, SENSE_INVALID_COMMAND);
        return;
    }
    if (req->xfer > s->max_transfer || (!in_place && req->xfer > COPY_MAX)) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    if (answers_limits(s, req)) {
        uint8_t page[64];

        scsi_reply(req, page, make_limits(s, page));
        return;
    }
    req->buf_len = sizeof *io + (in_place ? 0 : req->xfer);
    req->buf = g_malloc0(req->buf_len);
    io = (void *)req->buf;
    memcpy(io->cdb, req->cdb, sizeof io->cdb);
    io->hdr = (sg_io_hdr_t){.interface_id = 'S',
                            .cmd_len = (uint8_t)scsi_cdb_size(req->cdb[0]),
                            .cmdp = io->cdb,
                            .mx_sb_len = sizeof io->sense,
                            .sbp = io->sense,
                            .timeout = s->io_timeout * 1000,
                            .usr_ptr = req};
    describe_data(req, io, in_place);
    req->blk_request = blk_sg_io(req->dev->blk, &io->hdr, sg_done, req);
}

/* ---- realize ---------------------------------------------------------------------------------------------- */

/* Sends a command that answers with at most len bytes. Returns how many, or negative. */
static int ask(ScsiPass *s, const uint8_t *cdb, uint8_t *data, unsigned len)
{
    uint8_t sense[SCSI_SENSE_SIZE], copy[16] = {0};
    sg_io_hdr_t hdr = {.interface_id = 'S',
                       .cmd_len = (uint8_t)scsi_cdb_size(cdb[0]),
                       .cmdp = copy,
                       .dxfer_direction = SG_DXFER_FROM_DEV,
                       .dxfer_len = len,
                       .dxferp = data,
                       .mx_sb_len = sizeof sense,
                       .sbp = sense,
                       .timeout = PROBE_TIMEOUT_MS};
    int ret;

    memcpy(copy, cdb, scsi_cdb_size(cdb[0]));
    ret = blk_sg_io_wait(s->disk.sdev.blk, &hdr);
    return ret < 0 ? ret : hdr.status || hdr.host_status ? -EIO : (int)len - MIN(MAX(hdr.resid, 0), (int)len);
}

static bool find_type(ScsiPass *s, GError **err)
{
    uint8_t data[36] = {0};

    if (ask(s, (const uint8_t[6]){OP_INQUIRY, 0, 0, 0, sizeof data, 0}, data, sizeof data) < 1) {
        return error_set(err, "'%s' does not answer INQUIRY", blk_filename(s->disk.sdev.blk));
    }
    s->type = data[0] & 31;
    return true;
}

static void find_block_size(ScsiPass *s)
{
    uint8_t data[8];

    s->disk.block_size = s->type == SCSI_TYPE_ROM ? 2048 : 512;
    if ((s->type == SCSI_TYPE_DISK || s->type == SCSI_TYPE_ROM) &&
        ask(s, (const uint8_t[10]){OP_READ_CAPACITY}, data, sizeof data) == sizeof data && load32_be(data + 4)) {
        s->disk.block_size = load32_be(data + 4);
    }
}

static void find_limits(ScsiPass *s)
{
    uint8_t list[4 + PAGES_MAX] = {0};
    int len = ask(s, (const uint8_t[6]){OP_INQUIRY, 1, 0, 0, PAGES_MAX, 0}, list, PAGES_MAX);

    s->lacks_limits = len < 4 || !memchr(list + 4, PAGE_LIMITS, (size_t)MIN(len - 4, (int)load16_be(list + 2)));
    s->max_transfer = blk_sg_max_transfer(s->disk.sdev.blk);
}

static bool check_options(const ScsiPass *s, bool block, GError **err)
{
    const ScsiDisk *disk = &s->disk;

    if (!disk->sdev.blk) {
        return error_set(err, "drive property not set");
    }
    if (s->rerror == BLK_ON_ERROR_STOP || s->rerror == BLK_ON_ERROR_IGNORE || s->werror == BLK_ON_ERROR_STOP ||
        s->werror == BLK_ON_ERROR_IGNORE || !blk_only_reports_errors(disk->sdev.blk)) {
        return error_set(err, "errors of the host's device go to the guest as they are: use rerror= and werror= report or auto");
    }
    if (s->io_timeout < 1 || s->io_timeout > UINT32_MAX / 1000) {
        return error_set(err, "io_timeout=%u must be between 1 and %u seconds", s->io_timeout, UINT32_MAX / 1000);
    }
    if (disk->scsi_version < -1 || disk->scsi_version > 255) {
        return error_set(err, "scsi_version=%d must be between -1 and 255", disk->scsi_version);
    }
    if (block && blk_is_sg_char(disk->sdev.blk)) {
        return error_set(err, "'%s' is no block device: use scsi-generic, or the disk's block device", blk_filename(disk->sdev.blk));
    }
    return blk_check_sg(disk->sdev.blk, err);
}

static bool probe(ScsiPass *s, bool block, GError **err)
{
    if (!find_type(s, err)) {
        return false;
    }
    if (block && s->type != SCSI_TYPE_DISK && s->type != SCSI_TYPE_ROM) {
        return error_set(err, "'%s' is neither a disk nor a CD drive (type %u): use scsi-generic", blk_filename(s->disk.sdev.blk),
                         s->type);
    }
    find_block_size(s);
    find_limits(s);
    trace(scsi_pass_probe, "type %u block %u most %u limits %d", s->type, s->disk.block_size, s->max_transfer, !s->lacks_limits);
    return true;
}

static const BlkDevOps pass_blk_ops = {.any_loop = true};

static bool pass_realize(ScsiPass *s, bool block, GError **err)
{
    ScsiDevice *dev = &s->disk.sdev;
    bool (*attach)(BlockBackend *, Device *, const BlkDevOps *, void *, bool, GError **) =
        s->share_rw ? blk_attach_shared : blk_attach;

    dev->ops = type_ops(dev->dev.obj.type);
    if (!check_options(s, block, err) || !attach(dev->blk, &dev->dev, &pass_blk_ops, s, !blk_is_read_only(dev->blk), err)) {
        return false;
    }
    if (!probe(s, block, err) || !dev->sbus->ops->place(dev->sbus, dev, err)) {
        blk_detach(dev->blk);
        return false;
    }
    s->disk.attached = true;
    scsi_device_go(dev);
    return true;
}

static bool block_realize(Device *dev, GError **err) { return pass_realize(pass_of(scsi_device(dev)), true, err); }
static bool generic_realize(Device *dev, GError **err) { return pass_realize(pass_of(scsi_device(dev)), false, err); }

static void pass_unrealize(Device *dev)
{
    ScsiDevice *sdev = scsi_device(dev);

    scsi_device_leave(sdev);
    if (blk_is_alive(dev->vm, sdev->blk)) {
        blk_detach(sdev->blk);
    }
    scsi_disk(sdev)->attached = false;
}

static uint32_t pass_block_size(const ScsiDevice *dev) { return container_of(dev, ScsiDisk, sdev)->block_size; }

/* ---- what users and managers see -------------------------------------------------------------------------- */

#define COMMON_PROPS                                                                               \
    PROP_DRIVE("drive", ScsiPass, disk.sdev.blk, .help = "Node name or ID of a block device to use as a backend"), \
    PROP_BOOL("share-rw", ScsiPass, share_rw, .help = "others may write to the device too"),  \
    PROP_U32("io_timeout", ScsiPass, io_timeout, .def = 30, .help = "seconds until the host gives a command up"), \
    PROP_I32("bootindex", ScsiPass, disk.bootindex, .def = (uint64_t)-1, .anytime = true, .help = "place in the boot order; -1: none")

static const Property block_props[] = {
    COMMON_PROPS,
    PROP_ENUM("rerror", ScsiPass, rerror, .values = disk_on_error_names, .def = BLK_ON_ERROR_AUTO, .type = "BlockdevOnError",
              .help = "what a failed read does: report/auto: the guest is told"),
    PROP_ENUM("werror", ScsiPass, werror, .values = disk_on_error_names, .def = BLK_ON_ERROR_AUTO, .type = "BlockdevOnError",
              .help = "what a failed write does: report/enospc/auto: the guest is told"),
    PROP_U64("max_io_size", ScsiPass, max_io_size, .def = INT32_MAX, .help = "bytes of a command that the guest is told"),
    PROP_U64("max_unmap_size", ScsiPass, disk.max_unmap_size, .def = GIB, .help = "no effect: the device says it"),
    PROP_U16("rotation_rate", ScsiPass, disk.rotation_rate, .help = "no effect: the device says it"),
    PROP_I32("scsi_version", ScsiPass, disk.scsi_version, .def = (uint64_t)-1, .help = "in INQUIRY; -1: the device's"),
    {}};

static const Property generic_props[] = {COMMON_PROPS, {}};

static void generic_init(Object *obj)
{
    ScsiPass *s = pass_of(scsi_device((Device *)(void *)obj));

    s->max_io_size = INT32_MAX;
    s->disk.scsi_version = -1;
    s->rerror = s->werror = BLK_ON_ERROR_AUTO;
}

static const ScsiDeviceOps pass_ops = {.run = pass_run, .retry = pass_run, .block_size = pass_block_size, .guest_lengths = true};

DEVICE_TYPE(scsi_block) = {
    .name = "scsi-block",
    .parent = "scsi-device",
    .desc = "SCSI block device passthrough",
    .size = sizeof(ScsiPass),
    .props = block_props,
    .state = &scsi_disk_state,
    .ops = &pass_ops,
    .realize = block_realize,
    .unrealize = pass_unrealize,
};

DEVICE_TYPE(scsi_generic) = {
    .name = "scsi-generic",
    .parent = "scsi-device",
    .desc = "pass through generic scsi device (/dev/sg*)",
    .size = sizeof(ScsiPass),
    .props = generic_props,
    .state = &scsi_generic_state,
    .ops = &pass_ops,
    .init = generic_init,
    .realize = generic_realize,
    .unrealize = pass_unrealize,
};
