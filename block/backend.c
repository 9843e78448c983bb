/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BlockBackend: what a device holds. Checks each request against the medium, counts it, sends it
 * into the node, and keeps the error policy.
 */
#include <errno.h>

#include "block/block_int.h"
#include "util/log.h"
#include "util/trace.h"

struct BlockBackend {
    Vm *vm;
    char *name;           /* -drive's id; NULL: none */
    BlockNode *node;      /* NULL: no medium */
    DriveInfo *info;      /* -drive's; NULL: none */
    Device *dev;          /* attached; NULL: none */
    const BlkDevOps *ops; /* the device's; NULL: none */
    void *opaque;
    unsigned in_flight;
    bool write_cache;  /* writes may stay in caches until a flush */
    bool retry_wanted; /* stopped the VM: tell the device when it runs again */
    bool locked;       /* the guest locked the tray */
    BlkOnError on_read_error, on_write_error;
    const char *io_status;
    BlkStats stats;
};

struct BlkRequest {
    BlockIo io;
    BlockBackend *blk;
    BlkStatKind kind;
    uint64_t bytes;
    int64_t start_ns; /* monotonic */
    BlkDone *done;
    void *opaque;
};

/* ---- life ----------------------------------------------------------------------------------- */

BlockBackend *blk_new(Vm *vm, const char *name, BlockNode *node)
{
    BlockBackend *blk = g_new0(BlockBackend, 1);

    blk->vm = vm;
    blk->name = g_strdup(name);
    blk->node = node ? block_node_ref(node) : NULL;
    blk->write_cache = true;
    blk->on_read_error = BLK_ON_ERROR_REPORT;
    blk->on_write_error = BLK_ON_ERROR_ENOSPC;
    blk->io_status = "ok";
    g_ptr_array_add(block_state(vm)->backends, blk);
    return blk;
}

BlockBackend *blk_new_empty(Vm *vm)
{
    return blk_new(vm, NULL, NULL);
}

bool blk_is_alive(Vm *vm, const BlockBackend *blk)
{
    return blk && vm->block && g_ptr_array_find(vm->block->backends, blk, NULL);
}

void blk_free(BlockBackend *blk)
{
    if (!blk) {
        return;
    }
    blk_detach(blk);
    g_ptr_array_remove(blk->vm->block->backends, blk);
    block_node_unref(blk->node);
    g_free(blk->name);
    g_free(blk);
}

void blk_set_drive_info(BlockBackend *blk, DriveInfo *info)
{
    blk->info = info;
}

BlockBackend *blk_find(Vm *vm, const char *name)
{
    for (unsigned i = 0; vm->block && i < vm->block->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);

        if (blk->name ? !strcmp(blk->name, name) : blk->node && !strcmp(blk->node->name, name)) {
            return blk;
        }
    }
    return NULL;
}

/* ---- attaching ------------------------------------------------------------------------------ */

static bool attach(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque,
                   bool need_write, bool share, GError **err)
{
    uint32_t used = BLOCK_PERM_CONSISTENT_READ | (need_write ? BLOCK_PERM_WRITE : 0);
    uint32_t unshared = (share ? 0 : BLOCK_PERM_WRITE) | (need_write ? 0 : BLOCK_PERM_RESIZE);

    if (blk->dev || blk->ops) {
        return error_set(
            err,
            blk->info && strcmp(blk->info->interface, "none")
                ? "Drive '%s' is already in use because it has been automatically connected to "
                  "another device (did you need 'if=none' in the drive options?)"
                : "Drive '%s' is already in use by another device",
            blk->name ? blk->name : blk_node_name(blk));
    }
    if (need_write && blk->node && blk->node->read_only) {
        return error_set(
            err,
            "Block node is read-only: image '%s' was opened for reading only (asked so, or its "
            "permissions allow no more), but the device writes to it",
            blk_filename(blk));
    }
    if (blk->node && !block_node_set_perm(blk->node, used, unshared, err)) {
        return false;
    }
    blk->dev = dev;
    blk->ops = ops;
    blk->opaque = opaque;
    if (blk->info) {
        blk->info->connected = true;
    }
    return true;
}

bool blk_attach(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque, bool need_write,
                GError **err)
{
    return attach(blk, dev, ops, opaque, need_write, false, err);
}

bool blk_attach_shared(BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque,
                       bool need_write, GError **err)
{
    return attach(blk, dev, ops, opaque, need_write, true, err);
}

void blk_detach(BlockBackend *blk)
{
    if (!blk->dev && !blk->ops) {
        return;
    }
    blk_drain(blk);
    blk->dev = NULL;
    blk->ops = NULL;
    blk->retry_wanted = false;
    if (blk->node) {
        block_node_set_perm(blk->node, BLOCK_PERM_CONSISTENT_READ, 0, NULL);
    }
}

/* ---- facts ---------------------------------------------------------------------------------- */

const char *blk_name(const BlockBackend *blk)
{
    return blk->name ? blk->name : "";
}
const char *blk_node_name(const BlockBackend *blk)
{
    return blk->node ? blk->node->name : "";
}
DriveInfo *blk_drive_info(const BlockBackend *blk)
{
    return blk->info;
}
bool blk_is_inserted(const BlockBackend *blk)
{
    return blk->node != NULL;
}
bool blk_is_read_only(const BlockBackend *blk)
{
    return blk->node && blk->node->read_only;
}
bool blk_write_cache(const BlockBackend *blk)
{
    return blk->write_cache;
}
void blk_set_write_cache(BlockBackend *blk, bool on)
{
    blk->write_cache = on;
}
unsigned blk_in_flight(const BlockBackend *blk)
{
    return blk->in_flight;
}
const BlkStats *blk_stats(const BlockBackend *blk)
{
    return &blk->stats;
}
const char *blk_io_status(const BlockBackend *blk)
{
    return blk->io_status;
}

const char *blk_filename(const BlockBackend *blk)
{
    return blk->node && blk->node->filename ? blk->node->filename : "";
}

uint64_t blk_size(const BlockBackend *blk)
{
    return blk->node ? align_up(blk->node->size, BLOCK_SECTOR) : 0;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void count_request(BlkRequest *request, int result)
{
    BlkStats *stats = &request->blk->stats;
    BlkStatKind kind = request->kind;
    uint64_t ns = (uint64_t)(clock_monotonic_ns() - request->start_ns);

    stats->total_ns[kind] += ns;
    stats->max_ns[kind] = MAX(stats->max_ns[kind], ns);
    if (result < 0) {
        stats->failed[kind]++;
        return;
    }
    stats->ops[kind]++;
    stats->bytes[kind] += request->bytes;
}

static void request_done(BlockIo *io, int result)
{
    BlkRequest *request = container_of(io, BlkRequest, io);
    BlockBackend *blk = request->blk;

    trace(blk_done, "blk %s kind %d result %d", blk_name(blk), request->kind, result);
    count_request(request, result);
    blk->in_flight--;
    request->done(request->opaque, result);
    g_free(request);
}

static int check_request(const BlockBackend *blk, const BlkRequest *request)
{
    if (!blk->node) {
        return -ENOMEDIUM;
    }
    if (request->io.op == BLOCK_FLUSH) {
        return 0;
    }
    if (!range_fits(request->io.offset, request->io.len, blk_size(blk))) {
        return -EIO;
    }
    return request->io.op != BLOCK_READ && blk->node->read_only ? -EACCES : 0;
}

static BlkRequest *submit(BlockBackend *blk, BlkStatKind kind, BlockIo io, BlkDone *done,
                          void *opaque)
{
    BlkRequest *request = g_new0(BlkRequest, 1);
    int ret;

    *request = (BlkRequest){
        .io = io, .blk = blk, .kind = kind, .bytes = io.len, .done = done, .opaque = opaque};
    request->io.done = request_done;
    request->start_ns = clock_monotonic_ns();
    trace(blk_submit, "blk %s kind %d offset %" PRIu64 " len %" PRIu64, blk_name(blk), kind,
          io.offset, io.len);
    blk->in_flight++;
    ret = check_request(blk, request);
    if (ret < 0) {
        request->io.finish = request_done;
        block_io_finish_later(blk->vm, &request->io, ret);
        return request;
    }
    if (io.op == BLOCK_WRITE || io.op == BLOCK_ZERO) {
        blk->stats.wr_highest_offset = MAX(blk->stats.wr_highest_offset, io.offset + io.len);
        request->io.fua |= !blk->write_cache;
    }
    block_node_submit(blk->node, &request->io);
    return request;
}

BlkRequest *blk_readv(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                      BlkDone *done, void *opaque)
{
    BlockIo io = {.op = BLOCK_READ,
                  .offset = offset,
                  .len = iov_size(iov, count),
                  .iov = iov,
                  .iov_count = count};

    return submit(blk, BLK_STAT_READ, io, done, opaque);
}

BlkRequest *blk_writev(BlockBackend *blk, uint64_t offset, const struct iovec *iov, unsigned count,
                       bool fua, BlkDone *done, void *opaque)
{
    BlockIo io = {.op = BLOCK_WRITE,
                  .offset = offset,
                  .len = iov_size(iov, count),
                  .iov = iov,
                  .iov_count = count,
                  .fua = fua};

    return submit(blk, BLK_STAT_WRITE, io, done, opaque);
}

BlkRequest *blk_flush(BlockBackend *blk, BlkDone *done, void *opaque)
{
    return submit(blk, BLK_STAT_FLUSH, (BlockIo){.op = BLOCK_FLUSH}, done, opaque);
}

BlkRequest *blk_discard(BlockBackend *blk, uint64_t offset, uint64_t len, BlkDone *done,
                        void *opaque)
{
    return submit(blk, BLK_STAT_DISCARD,
                  (BlockIo){.op = BLOCK_DISCARD, .offset = offset, .len = len}, done, opaque);
}

BlkRequest *blk_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t len, bool may_unmap,
                             BlkDone *done, void *opaque)
{
    BlockIo io = {.op = BLOCK_ZERO, .offset = offset, .len = len, .may_unmap = may_unmap};

    return submit(blk, BLK_STAT_WRITE, io, done, opaque);
}

void blk_cancel(BlkRequest *request)
{
    BlockState *s = request->blk->vm->block;

    for (unsigned i = 0; i < BLOCK_AIO_KINDS; i++) {
        if (s->engines[i] && s->engines[i]->ops->cancel(s->engines[i], &request->io)) {
            return;
        }
    }
}

void blk_drain(BlockBackend *blk)
{
    while (blk->in_flight && block_wait_one(blk->vm)) {
    }
}

void blk_drain_all(Vm *vm)
{
    while (block_wait_one(vm)) {
    }
}

static void flush_done(void *opaque, int result)
{
    int *first_error = opaque;

    if (result < 0 && *first_error == 0) {
        *first_error = result;
    }
}

int blk_flush_all(Vm *vm)
{
    int first_error = 0;

    for (unsigned i = 0; vm->block && i < vm->block->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);

        if (blk->node && !blk->node->read_only) {
            blk_flush(blk, flush_done, &first_error);
            blk_drain(blk);
        }
    }
    return first_error;
}

/* ---- errors --------------------------------------------------------------------------------- */

void blk_set_on_error(BlockBackend *blk, BlkOnError on_read, BlkOnError on_write)
{
    if (on_read != BLK_ON_ERROR_AUTO) {
        blk->on_read_error = on_read;
    }
    if (on_write != BLK_ON_ERROR_AUTO) {
        blk->on_write_error = on_write;
    }
}

BlkErrorAction blk_error_action(BlockBackend *blk, bool is_read, int error)
{
    BlkOnError policy = is_read ? blk->on_read_error : blk->on_write_error;
    bool no_space = error == -ENOSPC;

    if (policy == BLK_ON_ERROR_ENOSPC) {
        policy = no_space ? BLK_ON_ERROR_STOP : BLK_ON_ERROR_REPORT;
    }
    trace(blk_error, "blk %s %s error %d policy %d", blk_name(blk), is_read ? "read" : "write",
          error, policy);
    switch (policy) {
    case BLK_ON_ERROR_IGNORE:
        return BLK_ERROR_IGNORE;
    case BLK_ON_ERROR_STOP:
        if (!strcmp(blk->io_status, "ok")) {
            report_warning("%s error on '%s' (%s): the VM is stopped; 'cont' tries again",
                           is_read ? "Read" : "Write", blk_filename(blk), g_strerror(-error));
        }
        blk->io_status = no_space ? "nospace" : "failed";
        blk->retry_wanted = true;
        vm_request_stop(blk->vm, RUN_STATE_IO_ERROR);
        return BLK_ERROR_STOP;
    default:
        return BLK_ERROR_REPORT;
    }
}

void blk_want_retry(BlockBackend *blk)
{
    blk->retry_wanted = true;
}

void blk_retry_all(Vm *vm)
{
    for (unsigned i = 0; vm->block && i < vm->block->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);

        blk->io_status = "ok";
        if (blk->retry_wanted) {
            blk->retry_wanted = false;
            if (blk->ops && blk->ops->retry) {
                blk->ops->retry(blk->opaque);
            }
        }
    }
}

/* ---- removable media ------------------------------------------------------------------------ */

/* Changing media by command comes with QMP; a file needs nothing done for the tray. */
void blk_eject(BlockBackend *blk, bool eject)
{
    trace(blk_eject, "blk %s eject %d", blk_name(blk), eject);
}

void blk_lock_medium(BlockBackend *blk, bool locked)
{
    trace(blk_lock_medium, "blk %s locked %d", blk_name(blk), locked);
    blk->locked = locked;
}

/* ---- property kind -------------------------------------------------------------------------- */

static void drive_release(Object *obj, const Property *prop, void *field)
{
    BlockBackend **slot = field;

    (void)prop;
    /* Back ends of -blockdev nodes live as long as their device; the VM's cleanup may have come
     * first. */
    if (blk_is_alive(obj->vm, *slot)) {
        if (!(*slot)->name) {
            blk_free(*slot);
        } else {
            blk_detach(*slot);
        }
    }
    *slot = NULL;
}

static bool drive_set(Object *obj, const Property *prop, void *field, const char *text,
                      GError **err)
{
    BlockBackend *blk = blk_find(obj->vm, text);
    BlockBackend **slot = field;
    BlockNode *node = block_node_find(obj->vm, text);

    if (!(blk && blk->name) && !node) {
        return error_set(err, "Property '%s.%s' can't find value '%s'", obj->type->name, prop->name,
                         text);
    }
    drive_release(obj, prop, field);
    *slot = blk && blk->name ? blk : blk_new(obj->vm, NULL, node);
    return true;
}

static json_object *drive_get(Object *obj, const Property *prop, const void *field)
{
    BlockBackend *const *slot = field;

    (void)obj;
    (void)prop;
    return json_object_new_string(!*slot          ? ""
                                  : (*slot)->name ? (*slot)->name
                                                  : blk_node_name(*slot));
}

const PropKind prop_kind_drive = {
    .type = "str",
    .json = json_type_null,
    .set = drive_set,
    .get = drive_get,
    .release = drive_release,
};
