/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of a qcow2 image for tests that take the power away or make requests fail: random requests and
 * operations on images on one or two disks in memory (qcow2-disk.h), with notes in the disks' log of what was
 * asked for and what had ended. qcow2-judge.h then says what an image must hold at a point of that log.
 *
 * When requests may fail (World.failing), an operation on the whole image that fails is the last: the
 * image is closed and judged.
 */
#ifndef TESTS_UNIT_QCOW2_MODEL_H
#define TESTS_UNIT_QCOW2_MODEL_H

#include <glib/gstdio.h>

#include "block/dirty_bitmap.h"
#include "tests/unit/qcow2-disk.h"
#include "tests/unit/qcow2-image.h"

#define SECTORS 512u

/* What DISK_NOTE events say. */
enum {
    NOTE_OP,          /* id, first, count: sectors will hold it */
    NOTE_OP_END,      /* the op'th such has ended; first, count: settled with it when id */
    NOTE_FLUSH,       /* asked for */
    NOTE_FLUSH_END,   /* the op'th such has ended */
    NOTE_SNAPSHOT,    /* first: create, apply, delete; count: which; content: of the disk */
    NOTE_SNAPSHOT_END,
    NOTE_RESIZE,      /* count: sectors; an op as well, which ends with it */
    NOTE_RESIZE_END,
    NOTE_COMMIT,      /* the base is about to change */
    NOTE_COPIED,      /* it holds content */
    NOTE_SYNCED,      /* all that has ended is safe */
    NOTE_BITMAP,      /* the bitmap is there from now on */
};
enum { CREATE, APPLY, DELETE };

typedef struct World {
    Vm *vm;
    const Config *config;
    Disk *disks[2];
    BlockNode *base, *node;
    GPtrArray *log;
    GRand *rand;
    uint32_t next_id, now[SECTORS];
    bool busy[SECTORS];
    unsigned sectors, in_flight, ops, flushes;
    bool failing;    /* requests may fail */
    unsigned errors; /* how many have */
    uint32_t *snapshots[2];
    unsigned snapshot_sectors[2];
    char *dir, *file, *data;
} World;

static inline DiskEvent *note(World *w, unsigned what, unsigned first, unsigned count)
{
    DiskEvent *e = disk_event(w->log, DISK_NOTE, NULL);

    e->what = what;
    e->first = first;
    e->count = count;
    return e;
}

/* ---- images --------------------------------------------------------------------------------- */

static inline BlockNode *try_open(Vm *vm, const char *text, GError **err)
{
    BlockOpts *opts = block_opts_parse(text, NULL, err);
    BlockNode *node = block_node_open(vm, opts, NULL, err);

    block_opts_free(opts);
    return node;
}

static inline BlockNode *open_node(Vm *vm, const char *text)
{
    GError *err = NULL;
    BlockNode *node = try_open(vm, text, &err);

    g_assert_no_error(err);
    return node;
}

/* names: of the two disks' nodes, and of the base that is made of the second. */
static inline BlockNode *try_open_image(World *w, const char *disk, const char *second, const char *base, GError **err)
{
    const Config *c = w->config;
    g_autofree char *text =
        g_strdup_printf("driver=qcow2,file=%s,discard=unmap%s%s%s%s%s%s", disk,
                        c->luks ? ",encrypt.key-secret=s" : "", c->data_file ? ",data-file=" : "",
                        c->data_file ? second : "", c->backed ? ",backing=" : "", c->backed ? base : "",
                        c->tiny_cache ? ",l2-cache-size=2048,l2-cache-entry-size=512,"
                                        "refcount-cache-size=2048" : "");

    return try_open(w->vm, text, err);
}

static inline BlockNode *open_image(World *w, const char *disk, const char *second, const char *base)
{
    GError *err = NULL;
    BlockNode *node = try_open_image(w, disk, second, base, &err);

    g_assert_no_error(err);
    return node;
}

static inline BlockNode *open_base(World *w, const char *disk, const char *name)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,file=%s,node-name=%s,discard=unmap", disk, name);

    return open_node(w->vm, text);
}

static inline void format(World *w, Disk *disk, bool is_base)
{
    BlockNode *data = w->config->data_file && !is_base ? w->disks[1]->node : NULL;

    format_image(w->vm, w->config, disk->node, data, SECTORS * SECTOR);
    disk->node->size = disk->content->len;
    block_pflush(disk->node);
}

/* ---- requests ------------------------------------------------------------------------------- */

typedef struct Op {
    World *w;
    BlockIo io;
    struct iovec iov;
    unsigned number, first, count;
    uint32_t id;
    bool fua;
} Op;

static inline void op_done(BlockIo *io, int result)
{
    Op *op = container_of(io, Op, io);
    World *w = op->w;

    g_assert_true(result == 0 || w->failing);
    w->errors += result < 0;
    if (result < 0) {
        /* Any part of it may have been done. */
    } else if (op->count) {
        note(w, NOTE_OP_END, op->first, op->count)->id = op->number;
        ((DiskEvent *)g_ptr_array_index(w->log, w->log->len - 1))->fua = op->fua;
    } else {
        note(w, NOTE_FLUSH_END, 0, 0)->id = op->number;
    }
    for (unsigned s = op->first; s < op->first + op->count; s++) {
        w->busy[s] = false;
        w->now[s] = result < 0 ? w->now[s] : op->id;
    }
    w->in_flight--;
    g_free(op->iov.iov_base);
    g_free(op);
}

static inline void start(World *w, BlockOp kind, unsigned first, unsigned count, bool compressed)
{
    Op *op = g_new0(Op, 1);
    size_t len = (size_t)count * SECTOR;

    *op = (Op){.w = w, .first = first, .count = count};
    op->id = kind == BLOCK_WRITE ? ++w->next_id : 0;
    op->number = kind == BLOCK_FLUSH ? w->flushes++ : w->ops++;
    op->fua = (kind == BLOCK_WRITE || kind == BLOCK_ZERO) && !g_rand_int_range(w->rand, 0, 10) != w->config->synced;
    op->iov = (struct iovec){g_malloc0(MAX(len, 1)), len};
    fill_sectors(op->iov.iov_base, len, op->id);
    for (unsigned s = first; s < first + count; s++) {
        w->busy[s] = true;
    }
    note(w, count ? NOTE_OP : NOTE_FLUSH, first, count)->id = op->id;
    op->io = sectors_io(kind, first, count, &op->iov, 1);
    op->io.compressed = compressed;
    op->io.may_unmap = g_rand_boolean(w->rand);
    op->io.fua = op->fua;
    op->io.done = op_done;
    w->in_flight++;
    block_node_submit(w->node, &op->io);
}

static inline bool is_busy(const World *w, unsigned first, unsigned count)
{
    for (unsigned s = first; s < first + count; s++) {
        if (w->busy[s]) {
            return true;
        }
    }
    return false;
}

static inline void random_op(World *w)
{
    const Config *c = w->config;
    unsigned per = MAX((unsigned)(c->cluster / SECTOR), 1), kind = (unsigned)g_rand_int_range(w->rand, 0, 24);
    unsigned first = (unsigned)g_rand_int_range(w->rand, 0, (gint32)w->sectors);
    unsigned count = (unsigned)g_rand_int_range(w->rand, 1, (gint32)MAX(per * 3, 8));
    bool packed = kind >= 21 && !c->luks && !c->data_file && !c->unpacked;

    if (kind == 0) {
        start(w, BLOCK_FLUSH, 0, 0, false);
        return;
    }
    if (packed || kind >= 18) { /* whole clusters: it is known what a discard leaves */
        first = first / per * per;
        count = per * (1 + kind % 2);
    }
    count = MIN(count, w->sectors - first);
    if (is_busy(w, first, count)) {
        return;
    }
    /* A discard shows the backing file where nothing was written: zeros are what is known. */
    start(w, kind < 13 || packed ? BLOCK_WRITE : kind < 18 || c->backed ? BLOCK_ZERO : BLOCK_DISCARD,
          first, count, packed);
}

static inline void wait_all(World *w, unsigned left)
{
    wait_in_flight(w->node, &w->in_flight, left);
}

/* ---- operations on the whole image ----------------------------------------------------------- */

/* An operation has ended; false: it failed. */
static inline bool step_ended(World *w, GError *err)
{
    bool ok = !err;

    if (!w->failing) {
        g_assert_no_error(err);
    }
    w->errors += !ok;
    g_clear_error(&err);
    return ok;
}

static inline uint32_t *read_ids(BlockNode *node)
{
    unsigned n = (unsigned)(node->size / SECTOR);
    g_autofree uint8_t *buf = g_malloc(MAX(node->size, 1));
    uint32_t *ids = g_new0(uint32_t, MAX(n, SECTORS));

    if (block_pread(node, 0, buf, node->size) < 0) { /* one failure is forgiven */
        g_assert_cmpint(block_pread(node, 0, buf, node->size), ==, 0);
    }
    for (unsigned s = 0; s < n; s++) {
        ids[s] = sector_id(buf + s * SECTOR);
    }
    return ids;
}

/* Where requests have failed, only reading tells. */
static inline void look(World *w)
{
    g_autofree uint32_t *ids = w->errors ? read_ids(w->node) : NULL;

    if (ids) {
        memcpy(w->now, ids, sizeof w->now);
    }
}

static inline bool snapshot_step(World *w)
{
    unsigned i = (unsigned)g_rand_int_range(w->rand, 0, 2);
    /* A bitmap would not know of what an applied one changes. */
    unsigned what = !w->snapshots[i] ? CREATE : !w->config->bitmap && g_rand_boolean(w->rand) ? APPLY : DELETE;
    Qcow2Snapshot info = {.name = (char *)(i ? "s1" : "s0"), .icount = UINT64_MAX};
    Qcow2 *q = qcow2_of(w->node);
    GError *err = NULL;

    look(w);
    note(w, NOTE_SNAPSHOT, what, i)->content = g_memdup2(w->now, sizeof w->now);
    if (what == CREATE) {
        w->snapshots[i] = g_memdup2(w->now, sizeof w->now);
        w->snapshot_sectors[i] = w->sectors;
        qcow2_snapshot_create(q, &info, &err);
    } else if (what == APPLY) {
        qcow2_snapshot_apply(q, info.name, &err);
        memcpy(w->now, w->snapshots[i], sizeof w->now);
        w->sectors = w->snapshot_sectors[i];
        block_node_set_size(w->node, q->h.size);
    } else {
        qcow2_snapshot_delete(q, info.name, &err);
        g_clear_pointer(&w->snapshots[i], g_free);
    }
    if (!step_ended(w, err)) {
        return false;
    }
    note(w, NOTE_SNAPSHOT_END, what, i);
    return true;
}

static inline bool resize_step(World *w)
{
    unsigned sectors = (unsigned)g_rand_int_range(w->rand, 64, SECTORS + 1);
    GError *err = NULL;

    if (w->config->v2 && (w->config->backed || w->snapshots[0] || w->snapshots[1])) {
        return true; /* v2 cannot hide the backing file while it shrinks, nor resize with snapshots */
    }
    note(w, NOTE_RESIZE, 0, sectors)->id = w->ops++;
    block_ptruncate(w->node, (uint64_t)sectors * SECTOR, true, BLOCK_PREALLOC_OFF, &err);
    if (!step_ended(w, err)) {
        return false;
    }
    for (unsigned s = MIN(sectors, w->sectors); s < SECTORS; s++) {
        w->now[s] = 0;
    }
    w->sectors = sectors;
    note(w, NOTE_RESIZE_END, 0, sectors);
    note(w, NOTE_SYNCED, 0, 0);
    return true;
}

/* As kiln-img does it: the base is written and flushed, then the overlay emptied. */
static inline bool commit_step(World *w)
{
    GError *err = NULL;
    int ret;

    look(w);
    note(w, NOTE_COMMIT, 0, 0);
    ret = copy_down(w->node, w->base); /* which never fails */
    if (ret) {
        error_set_errno(&err, -ret, "copy");
        return step_ended(w, err);
    }
    note(w, NOTE_COPIED, 0, w->sectors)->content = g_memdup2(w->now, sizeof w->now);
    qcow2_make_empty(qcow2_of(w->node), &err);
    if (!step_ended(w, err)) {
        return false;
    }
    note(w, NOTE_SYNCED, 0, 0);
    return true;
}

/* ---- life ------------------------------------------------------------------------------------- */

static inline GByteArray *copy_of(const GByteArray *from)
{
    GByteArray *to = g_byte_array_new();

    return g_byte_array_append(to, from->data, from->len);
}

static inline void fill_image(World *w)
{
    BlockNode *node = open_image(w, "disk0", "disk1", "base");
    uint64_t host;

    g_assert_cmpint(alloc_contiguous(qcow2_of(node), w->config->fill, &host), ==, 0);
    block_node_unref(node);
    w->disks[0]->node->size = w->disks[0]->content->len;
    block_pflush(w->disks[0]->node);
}

/* Two disks; content (may be NULL) is the first one's. */
static inline void world_new(World *w, const Config *config, const GByteArray *content)
{
    GError *err = NULL;

    *w = (World){.config = config, .sectors = SECTORS, .rand = g_rand_new_with_seed(99)};
    w->vm = vm_new(&err);
    g_assert_no_error(err);
    w->dir = g_strdup("test-qcow2-XXXXXX");
    g_assert_nonnull(g_mkdtemp(w->dir));
    w->file = g_build_filename(w->dir, "image", NULL);
    w->data = g_build_filename(w->dir, "data", NULL);
    w->log = disk_log_new();
    w->disks[0] = disk_new(w->vm, "disk0", content, 1);
    w->disks[1] = disk_new(w->vm, "disk1", NULL, 2);
}

/* From now on what reaches the disks is recorded; before: their content. */
static inline void world_record(World *w, GByteArray **before)
{
    for (unsigned d = 0; d < 2; d++) {
        before[d] = copy_of(w->disks[d]->content);
        w->disks[d]->log = w->log;
    }
}

/* A new image, open no longer; before: the disks' content. */
static inline void world_init(World *w, const Config *config, GByteArray **before)
{
    world_new(w, config, NULL);
    format(w, w->disks[0], false);
    if (config->backed) {
        format(w, w->disks[1], true);
        w->base = open_base(w, "disk1", "base");
    }
    if (config->fill) {
        fill_image(w);
    }
    world_record(w, before);
}

static inline void world_clear(World *w)
{
    block_node_unref(w->base);
    for (unsigned d = 0; d < 2; d++) {
        disk_free(w->disks[d]);
        g_free(w->snapshots[d]);
    }
    g_ptr_array_unref(w->log);
    blk_cleanup(w->vm);
    vm_free(w->vm);
    g_rand_free(w->rand);
    g_unlink(w->file);
    g_unlink(w->data);
    g_rmdir(w->dir);
    g_free(w->dir);
    g_free(w->file);
    g_free(w->data);
}

#endif
