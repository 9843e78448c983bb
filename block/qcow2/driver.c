/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block driver "qcow2": options, children, and the graph's operations given to the image.
 */
#include <stdio.h>
#include <stdlib.h>

#include "block/crypto.h"
#include "block/dirty_bitmap.h"
#include "block/qcow2/qcow2.h"
#include "util/log.h"

typedef struct Qcow2State {
    Qcow2 *q;
    BlockCrypt *crypt; /* q->crypto; outlives q when the image is opened anew */
} Qcow2State;

static Qcow2 *image(const BlockNode *node)
{
    return ((Qcow2State *)node->state)->q;
}

Qcow2 *qcow2_of(const BlockNode *node)
{
    return image(node);
}

/* ---- options -------------------------------------------------------------------------------- */

static bool take_cache_sizes(BlockOpts *opts, Qcow2Options *o, GError **err)
{
    bool both = false, l2 = false, rb = false;
    uint64_t total = 0, interval = o->clean_interval;

    if (!block_opts_take_size(opts, "cache-size", &total, &both, err) ||
        !block_opts_take_size(opts, "l2-cache-size", &o->l2_cache_size, &l2, err) ||
        !block_opts_take_size(opts, "refcount-cache-size", &o->refcount_cache_size, &rb, err) ||
        !block_opts_take_size(opts, "l2-cache-entry-size", &o->l2_entry_size, NULL, err) ||
        !block_opts_take_size(opts, "cache-clean-interval", &interval, NULL, err)) {
        return false;
    }
    if (both && l2 && rb) {
        return error_set(err, "cache-size, l2-cache-size and refcount-cache-size may not be set at "
                              "the same time");
    }
    if (both && ((l2 && o->l2_cache_size > total) || (rb && o->refcount_cache_size > total))) {
        return error_set(err, "%s may not exceed cache-size", l2 ? "l2-cache-size"
                                                                 : "refcount-cache-size");
    }
    if (interval > UINT32_MAX) {
        return error_set(err, "Cache clean interval too big");
    }
    o->clean_interval = (unsigned)interval;
    if (both && l2) {
        o->refcount_cache_size = MAX(total - o->l2_cache_size, 1);
    } else if (both) {
        /* L2 tables are asked for every request, refcounts for allocations only. */
        o->refcount_cache_size = rb ? o->refcount_cache_size : MAX(total / 16, 1);
        o->l2_cache_size = MAX(total - MIN(total, o->refcount_cache_size), 1);
    }
    return true;
}

static bool take_overlap(BlockOpts *opts, Qcow2Options *o, GError **err)
{
    static const char *const templates[] = {"none", "constant", "cached", "all", NULL};
    static const unsigned masks[] = {
        0, QCOW2_OVERLAP_HEADER | QCOW2_OVERLAP_REFTABLE | QCOW2_OVERLAP_SNAPSHOTS,
        0x1ff & ~QCOW2_OVERLAP_INACTIVE_L2, 0x1ff};
    static const char *const names[] = {"main-header",    "active-l1",   "active-l2",
                                        "refcount-block", "refcount-table", "snapshot-table",
                                        "inactive-l1",    "inactive-l2", "bitmap-directory"};
    int template = 2;

    if (!block_opts_take_enum(opts, "overlap-check", templates, &template, err) ||
        !block_opts_take_enum(opts, "overlap-check.template", templates, &template, err)) {
        return false;
    }
    o->overlap = masks[template];
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *key = g_strdup_printf("overlap-check.%s", names[i]);
        bool on = o->overlap >> i & 1;

        if (!block_opts_take_bool(opts, key, &on, err)) {
            return false;
        }
        o->overlap = (o->overlap & ~(1u << i)) | (unsigned)on << i;
    }
    return true;
}

/* What opens an encrypted image; *secret: the id, or NULL; *format: the user says that it is encrypted so, or NULL. */
static bool take_encryption(BlockOpts *opts, char **secret, char **format, GError **err)
{
    *format = block_opts_take(opts, "encrypt.format");
    if (*format && strcmp(*format, "luks")) {
        return error_set(err, "encrypt.format=%s is not supported (luks is); convert the image with QEMU's "
                              "tool: qemu-img convert",
                         *format);
    }
    *secret = block_opts_take(opts, "encrypt.key-secret");
    return true;
}

/* Options that say something of the image, or need something in it. */
static bool options_fit(const Qcow2 *q, const Qcow2Options *o, const char *encryption, GError **err)
{
    if (encryption && !q->h.crypt_method) {
        return error_set(err, "No encryption in image header, but options specified format '%s': what is written there "
                              "could be read by anybody; convert it, or leave encrypt.format out",
                         encryption);
    }
    return o->lazy_refcounts <= 0 || q->h.version >= 3 ||
           error_set(err, "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level "
                          "(kiln-img amend -o compat=1.1 makes it one)");
}

static bool take_options(BlockNode *node, BlockOpts *opts, Qcow2Options *o, GError **err)
{
    bool lazy = false, has_lazy = block_opts_peek(opts, "lazy-refcounts");

    qcow2_options_init(o);
    o->discard_request = node->discard_unmap;
    if (!block_opts_take_bool(opts, "lazy-refcounts", &lazy, err) ||
        !block_opts_take_bool(opts, "pass-discard-request", &o->discard_request, err) ||
        !block_opts_take_bool(opts, "pass-discard-snapshot", &o->discard_snapshot, err) ||
        !block_opts_take_bool(opts, "pass-discard-other", &o->discard_other, err) ||
        !block_opts_take_bool(opts, "x-open-for-check", &o->for_check, err) ||
        !block_opts_take_bool(opts, "x-no-io", &o->no_io, err) ||
        !block_opts_take_bool(opts, "x-facts-only", &o->facts_only, err)) {
        return false;
    }
    o->no_io |= o->facts_only;
    if (has_lazy) {
        o->lazy_refcounts = lazy;
    }
    return take_cache_sizes(opts, o, err) && take_overlap(opts, o, err);
}

/* ---- children ------------------------------------------------------------------------------- */

static bool open_data_file(BlockNode *node, BlockOpts *opts, GError **err)
{
    Qcow2 *q = image(node);
    bool named = block_opts_peek(opts, "data-file") || block_opts_has_prefix(opts, "data-file");
    BlockChild *child;

    if (!qcow2_has_data_file(&q->h)) {
        return !named || error_set(err, "'data-file' can only be set for images with an external data "
                                        "file");
    }
    if (!named && q->opt.facts_only) {
        return true; /* an image that somebody else made is looked at, and may name any file of ours (CVE-2024-4467) */
    }
    if (!named) {
        if (!q->h.data_file) {
            return error_set(err, "'data-file' is required for this image");
        }
        g_autofree char *path = block_path_beside(node->filename, q->h.data_file);

        block_opts_set(opts, "data-file.driver", block_path_driver(path));
        block_opts_set(opts, "data-file.filename", path);
    }
    child = block_open_child(node, opts, "data-file", BLOCK_ROLE_DATA, false, err);
    if (child) {
        q->data = child->node;
    }
    return child != NULL;
}

static void follow_children(BlockNode *node)
{
    Qcow2 *q = image(node);
    BlockChild *data = q->data != q->file ? block_child_find(node, "data-file") : NULL;

    q->file = node->file->node;
    q->data = data ? data->node : q->file;
    q->backing = node->backing ? node->backing->node : NULL;
}

static bool open_children(BlockNode *node, BlockOpts *opts, GError **err)
{
    Qcow2 *q = image(node);

    if (!open_data_file(node, opts, err) ||
        !block_open_backing(node, opts, q->h.backing_file, q->h.backing_format, err)) {
        return false;
    }
    follow_children(node);
    node->backing_filename = g_strdup(q->h.backing_file);
    node->backing_format = g_strdup(q->h.backing_format);
    return true;
}

static bool driver_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    g_autofree char *secret = NULL, *encryption = NULL;
    Qcow2State *s = node->state;
    Qcow2Options options;

    if (!take_options(node, opts, &options, err) || !take_encryption(opts, &secret, &encryption, err) ||
        !block_open_child(node, opts, "file",
                          BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA | BLOCK_ROLE_PRIMARY, false, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->node->filename);
    options.key_secret = secret;
    options.crypt = &s->crypt;
    s->q = qcow2_open(node, node->file->node, &options, node->read_only || node->inactive, err);
    if (!s->q) {
        g_clear_pointer(&s->crypt, block_crypt_free);
        return false;
    }
    s->q->opt.key_secret = NULL; /* not needed again, and about to be freed */
    if (!options_fit(s->q, &options, encryption, err) || !open_children(node, opts, err)) {
        if (!s->q->read_only && !s->q->opt.for_check) {
            qcow2_bitmaps_store(s->q); /* opening marked them in use */
        }
        s->q->read_only = true;
        qcow2_close(s->q);
        s->q = NULL;
        g_clear_pointer(&s->crypt, block_crypt_free);
        return false;
    }
    node->size = s->q->h.size;
    return true;
}

static void driver_close(BlockNode *node)
{
    Qcow2State *s = node->state;
    int ret = s->q ? qcow2_close(s->q) : 0;

    s->q = NULL;
    g_clear_pointer(&s->crypt, block_crypt_free);
    if (ret < 0) {
        report_error("qcow2: could not write out '%s' when it was closed: %s",
                     node->filename ? node->filename : node->name, g_strerror(-ret));
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static void outer_done(Request *r, int result)
{
    BlockIo *io = r->outer;

    free(r->packed);
    g_free(r);
    io->done(io, result);
}

static RequestKind kind_of(const BlockIo *io)
{
    switch (io->op) {
    case BLOCK_READ:
        return REQ_READ;
    case BLOCK_WRITE:
        return io->compressed ? REQ_COMPRESSED : REQ_WRITE;
    case BLOCK_ZERO:
        return REQ_ZERO;
    case BLOCK_DISCARD:
        return REQ_DISCARD;
    case BLOCK_STATUS:
        return REQ_STATUS;
    default:
        return REQ_FLUSH;
    }
}

/* Requests that end without a look at the image. 1: it needs one. */
static int screen(const BlockNode *node, const Qcow2 *q, const BlockIo *io)
{
    bool changes = io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD;

    if (io->op == BLOCK_FLUSH) {
        return q->read_only ? 0 : 1;
    }
    if (changes && q->read_only) {
        return -EPERM;
    }
    if (!range_fits(io->offset, io->len, align_up(q->h.size, BLOCK_SECTOR))) {
        return -EIO;
    }
    if ((q->opt.facts_only || (q->h.crypt_method && !q->crypto)) && (changes || io->op == BLOCK_READ)) {
        return -EIO; /* opened for facts only */
    }
    if (!io->len || (io->op == BLOCK_DISCARD && !node->discard_unmap)) {
        return 0;
    }
    return 1;
}

static void driver_submit(BlockNode *node, BlockIo *io)
{
    Qcow2 *q = image(node);
    int verdict = screen(node, q, io);
    Request *r;

    follow_children(node);
    if (verdict <= 0) {
        if (io->op == BLOCK_STATUS) {
            *io->status = (BlockStatus){0};
        }
        block_io_finish_later(node, io, verdict);
        return;
    }
    if (q->crypto && block_crypt_take(q->crypto, node, io)) {
        return;
    }
    r = g_new0(Request, 1);
    r->kind = kind_of(io);
    r->outer = io;
    r->start = io->op == BLOCK_FLUSH ? 0 : io->offset;
    r->end = r->start + (io->op == BLOCK_FLUSH ? 1 : io->len);
    r->fua = io->fua && !node->no_flush;
    r->unmap = io->may_unmap && node->discard_unmap;
    r->no_fallback = io->no_fallback;
    r->iov = io->iov;
    r->iov_count = io->iov_count;
    r->done = outer_done;
    request_submit(q, r);
}

/* ---- drains and loops ----------------------------------------------------------------------- */

static bool driver_drain_busy(BlockNode *node)
{
    Qcow2 *q = image(node);

    return q && (q->active.head || q->cycle.stage || q->reclaiming || q->marking);
}

static void driver_detach_loop(BlockNode *node)
{
    qcow2_stop_timer(image(node));
}

static void driver_attach_loop(BlockNode *node)
{
    qcow2_start_timer(image(node));
}

/* ---- facts ---------------------------------------------------------------------------------- */

static void driver_get_info(BlockNode *node, BlockInfo *info)
{
    Qcow2 *q = image(node);

    *info = (BlockInfo){.cluster_size = (uint32_t)q->cluster,
                        .vm_state_offset = (int64_t)qcow2_vm_state_offset(q),
                        .is_dirty = q->h.incompatible & QCOW2_INCOMPAT_DIRTY,
                        .unallocated_is_zero = true,
                        .encrypted = q->h.crypt_method};
}

static void driver_refresh_limits(BlockNode *node)
{
    Qcow2 *q = image(node);

    node->limits = (BlockLimits){.request_align = 1,
                                 .mem_align = node->file->node->limits.mem_align,
                                 .zero_align = q ? 1u << q->sub_bits : 0};
}

static json_object *driver_specific_info(BlockNode *node)
{
    const Qcow2 *q = image(node);
    json_object *data = json_object_new_object(), *all = json_object_new_object();
    bool v3 = q->h.version >= 3;

    json_object_object_add(data, "compat", json_object_new_string(v3 ? "1.1" : "0.10"));
    json_object_object_add(data, "compression-type",
                           json_object_new_string(q->h.compression_type ? "zstd" : "zlib"));
    if (v3) {
        json_object_object_add(data, "lazy-refcounts", json_object_new_boolean(
                               q->h.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS ? 1 : 0));
    }
    if (q->h.has_bitmaps) {
        json_object_object_add(data, "bitmaps", qcow2_bitmaps_info(q));
    }
    json_object_object_add(data, "refcount-bits", json_object_new_int(1 << q->h.refcount_order));
    if (q->h.data_file) {
        json_object_object_add(data, "data-file", json_object_new_string(q->h.data_file));
    }
    if (q->luks) {
        json_object_object_add(data, "encrypt", luks_info(q->luks, "luks"));
    }
    if (qcow2_has_data_file(&q->h)) {
        json_object_object_add(data, "data-file-raw", json_object_new_boolean(qcow2_data_file_is_raw(&q->h)));
    }
    if (v3) {
        json_object_object_add(data, "corrupt", json_object_new_boolean(
                               q->h.incompatible & QCOW2_INCOMPAT_CORRUPT ? 1 : 0));
        json_object_object_add(data, "extended-l2", json_object_new_boolean(q->subs > 1));
    }
    json_object_object_add(all, "type", json_object_new_string("qcow2"));
    json_object_object_add(all, "data", data);
    return all;
}

/* ---- operations on the whole image ----------------------------------------------------------- */

static void say_line(void *opaque, const char *line)
{
    (void)opaque;
    fprintf(stderr, "%s\n", line);
}

static bool driver_check(BlockNode *node, unsigned fix, BlockCheck *result, GError **err)
{
    Qcow2CheckResult r = {.say = say_line};
    int ret = qcow2_check(image(node), fix, &r);

    *result = r.n;
    return ret >= 0 || error_set_errno(err, -ret, "Check failed");
}

static bool driver_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                            GError **err)
{
    (void)exact;
    if (!qcow2_resize(image(node), size, prealloc, err)) {
        return false;
    }
    block_node_set_size(node, size);
    return true;
}

static bool driver_make_empty(BlockNode *node, GError **err)
{
    return qcow2_make_empty(image(node), err);
}

static bool driver_change_backing(BlockNode *node, const char *filename, const char *format,
                                  GError **err)
{
    filename = filename && *filename ? filename : NULL; /* change-backing-file knows "" only */
    if (!qcow2_change_backing(image(node), filename, format, err)) {
        return false;
    }
    g_free(node->backing_filename);
    g_free(node->backing_format);
    node->backing_filename = g_strdup(filename);
    node->backing_format = filename ? g_strdup(format) : NULL;
    return true;
}

static bool driver_inactivate(BlockNode *node, GError **err)
{
    Qcow2State *s = node->state;
    Qcow2Options options = s->q->opt;
    int ret;

    for (unsigned i = 0; node->bitmaps && i < node->bitmaps->len; i++) {
        const DirtyBitmap *b = g_ptr_array_index(node->bitmaps, i);

        if (b->persistent && b->busy) {
            return error_set(err, "Bitmap '%s' of '%s' is in use by another operation: end that first",
                             b->name, node->name);
        }
    }
    ret = qcow2_close(s->q);

    s->q = qcow2_open(node, node->file->node, &options, true, err);
    if (s->q) {
        follow_children(node);
    }
    return s->q && (ret >= 0 || error_set_errno(err, -ret, "Could not write out '%s'", node->name));
}

static bool driver_activate(BlockNode *node, GError **err)
{
    Qcow2State *s = node->state;
    Qcow2Options options = s->q->opt;
    Qcow2 *fresh;

    qcow2_bitmaps_clear(s->q);
    fresh = qcow2_open(node, node->file->node, &options, node->read_only, err);
    if (!fresh) {
        return false;
    }
    qcow2_close(s->q);
    s->q = fresh;
    follow_children(node);
    block_node_set_size(node, fresh->h.size);
    return true;
}

/* ---- snapshots ------------------------------------------------------------------------------ */

static void snapshot_free(void *opaque)
{
    BlockSnapshot *s = opaque;

    g_free(s->id);
    g_free(s->name);
    g_free(s);
}

static GPtrArray *driver_snapshot_list(BlockNode *node, GError **err)
{
    Qcow2 *q = image(node);
    GPtrArray *list = g_ptr_array_new_with_free_func(snapshot_free);

    (void)err;
    for (unsigned i = 0; i < q->snapshots->len; i++) {
        const Qcow2Snapshot *from = g_ptr_array_index(q->snapshots, i);
        BlockSnapshot *s = g_new0(BlockSnapshot, 1);

        *s = (BlockSnapshot){.id = g_strdup(from->id),
                             .name = g_strdup(from->name),
                             .vm_state_size = from->vm_state_size,
                             .date_sec = from->date_sec,
                             .date_nsec = from->date_nsec,
                             .vm_clock_ns = from->vm_clock_nsec,
                             .icount = from->icount,
                             .has_icount = from->icount != UINT64_MAX,
                             .disk_size = from->disk_size,
                             .has_disk_size = true};
        g_ptr_array_add(list, s);
    }
    return list;
}

static bool driver_snapshot_create(BlockNode *node, BlockSnapshot *s, GError **err)
{
    Qcow2Snapshot info = {.name = s->name,
                          .date_sec = (uint32_t)s->date_sec,
                          .date_nsec = (uint32_t)s->date_nsec,
                          .vm_clock_nsec = s->vm_clock_ns,
                          .vm_state_size = s->vm_state_size,
                          .icount = s->has_icount ? s->icount : UINT64_MAX};
    Qcow2 *q = image(node);
    const Qcow2Snapshot *made;

    if (!qcow2_snapshot_create(q, &info, err)) {
        return false;
    }
    made = g_ptr_array_index(q->snapshots, q->snapshots->len - 1);
    g_free(s->id);
    s->id = g_strdup(made->id);
    s->disk_size = made->disk_size;
    s->has_disk_size = true;
    return true;
}

static bool driver_snapshot_apply(BlockNode *node, const char *id_or_name, GError **err)
{
    Qcow2 *q = image(node);

    if (!qcow2_snapshot_apply(q, id_or_name, err)) {
        return false;
    }
    if (node->size != q->h.size) {
        block_node_set_size(node, q->h.size);
    }
    block_dirty_bitmaps_record(node, 0, q->h.size);
    return true;
}

static bool driver_snapshot_delete(BlockNode *node, const char *id_or_name, GError **err)
{
    return qcow2_snapshot_delete(image(node), id_or_name, err);
}

static bool driver_snapshot_load(BlockNode *node, const char *id_or_name, GError **err)
{
    const Qcow2 *q = image(node);

    if (!qcow2_snapshot_load(image(node), id_or_name, err)) {
        return false;
    }
    block_node_set_size(node, q->h.size);
    return true;
}

static int driver_vm_state_pread(BlockNode *node, uint64_t offset, void *buf, size_t len)
{
    Qcow2 *q = image(node);

    qcow2_event(q, "vmstate_load");
    return qcow2_do(q, REQ_READ, qcow2_vm_state_offset(q) + offset, buf, len);
}

static int driver_vm_state_pwrite(BlockNode *node, uint64_t offset, const void *buf, size_t len)
{
    Qcow2 *q = image(node);
    uint64_t at = qcow2_vm_state_offset(q) + offset;
    bool ok;

    if (!range_fits(offset, len, QCOW2_MAX_SIZE)) {
        return -EFBIG;
    }
    if (qcow2_l1_entries(&q->h, at + len) > q->l1_size) {
        qcow2_quiesce(q);
        ok = qcow2_grow_l1(q, qcow2_l1_entries(&q->h, at + len), NULL);
        qcow2_resume(q);
        if (!ok) {
            return -EFBIG;
        }
    }
    qcow2_event(q, "vmstate_save");
    return qcow2_do(q, REQ_WRITE, at, (void *)buf, len);
}

/* ---- reopen --------------------------------------------------------------------------------- */

typedef struct Reopened {
    Qcow2Options options;
} Reopened;

/* From read-write to read-only everything must be on the disk before the file is reopened. */
static bool driver_reopen_prepare(BlockReopen *reopen, GError **err)
{
    Qcow2 *q = image(reopen->node);
    Reopened *r = g_new0(Reopened, 1);
    g_autofree char *secret = NULL, *encryption = NULL; /* the volume key is known and stays */
    int ret = 0;

    if (reopen->keep) {
        r->options = q->opt;
    } else if (!take_options(reopen->node, reopen->opts, &r->options, err) ||
               !take_encryption(reopen->opts, &secret, &encryption, err) || !options_fit(q, &r->options, encryption, err)) {
        g_free(r);
        return false;
    }
    if (q->read_only && !reopen->read_only && !qcow2_may_write(q, err)) {
        g_free(r);
        return false;
    }
    if (!q->read_only) {
        qcow2_quiesce(q);
        ret = qcow2_sync_all(q);
        if (ret >= 0 && reopen->read_only) {
            ret = qcow2_bitmaps_store(q);
            ret = ret < 0 ? ret : qcow2_sync_all(q);
            ret = ret < 0 ? ret : qcow2_set_incompatible(q, 0, QCOW2_INCOMPAT_DIRTY);
        }
        qcow2_resume(q);
    }
    if (ret < 0) {
        g_free(r);
        return error_set_errno(err, -ret, "Could not write out '%s'", reopen->node->name);
    }
    reopen->state = r;
    return true;
}

static void driver_reopen_commit(BlockReopen *reopen)
{
    Qcow2 *q = image(reopen->node);
    Reopened *r = reopen->state;

    follow_children(reopen->node);
    qcow2_reopened(q, &r->options, reopen->read_only);
    g_free(r);
}

static void driver_reopen_abort(BlockReopen *reopen)
{
    Qcow2 *q = image(reopen->node);

    if (!q->read_only && reopen->read_only) {
        qcow2_bitmaps_begin(q); /* on failure they stay as they were stored, with what follows missing */
    }
    g_free(reopen->state);
}

/* ---- persistent dirty bitmaps ------------------------------------------------------------------ */

static bool driver_bitmap_can_store(BlockNode *node, const char *name, GError **err)
{
    return qcow2_bitmap_can_store(image(node), name, err);
}

static void driver_bitmap_forget(BlockNode *node, DirtyBitmap *bitmap)
{
    qcow2_bitmap_forget(image(node), bitmap);
}

/* ---- the driver ----------------------------------------------------------------------------- */

const BlockDriver block_driver_qcow2 = {
    .name = "qcow2",
    .is_format = true,
    .packs = true,
    .state_size = sizeof(Qcow2State),
    .create_opts = qcow2_create_opts,
    .open = driver_open,
    .close = driver_close,
    .submit = driver_submit,
    .refresh_limits = driver_refresh_limits,
    .drain_busy = driver_drain_busy,
    .detach_loop = driver_detach_loop,
    .attach_loop = driver_attach_loop,
    .truncate = driver_truncate,
    .get_info = driver_get_info,
    .specific_info = driver_specific_info,
    .create = qcow2_driver_create,
    .format_prepare = qcow2_driver_format_prepare,
    .format = qcow2_driver_format,
    .format_free = qcow2_driver_format_free,
    .measure = qcow2_driver_measure,
    .amend = qcow2_driver_amend,
    .reopen_prepare = driver_reopen_prepare,
    .reopen_commit = driver_reopen_commit,
    .reopen_abort = driver_reopen_abort,
    .check = driver_check,
    .make_empty = driver_make_empty,
    .change_backing_file = driver_change_backing,
    .snapshot_create = driver_snapshot_create,
    .snapshot_list = driver_snapshot_list,
    .snapshot_apply = driver_snapshot_apply,
    .snapshot_delete = driver_snapshot_delete,
    .snapshot_load = driver_snapshot_load,
    .vm_state_pread = driver_vm_state_pread,
    .vm_state_pwrite = driver_vm_state_pwrite,
    .bitmap_can_store = driver_bitmap_can_store,
    .bitmap_forget = driver_bitmap_forget,
    .inactivate = driver_inactivate,
    .activate = driver_activate,
};
