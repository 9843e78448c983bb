/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file in memory for tests of image formats: requests end in a random order, any of them can be
 * made to fail, and at any moment the power can be cut: what was not flushed is then there in part,
 * sector by sector, as chance wants it. What reaches it can be recorded, to be replayed later.
 */
#ifndef TESTS_UNIT_QCOW2_DISK_H
#define TESTS_UNIT_QCOW2_DISK_H

#include <errno.h>

#include "block/block_int.h"
#include "util/util.h"

#define DISK_MAX (96 * MIB) /* what hostile images name lies beyond */

typedef struct DiskWrite {
    uint64_t offset, len;
    uint8_t *data; /* NULL: zeros */
    bool cut;      /* none: the file ends at offset */
} DiskWrite;

typedef struct DiskIo {
    BlockIo *io;
    unsigned flushed_from; /* flush: volatile writes that it covers */
    DiskWrite *recorded;   /* the log's; NULL: none */
} DiskIo;

/* What happened to the disks that share a log, and notes of whoever drives them in between. */
typedef enum DiskEventKind {
    DISK_SUBMIT, /* write may be there, whole or in part, from now on */
    DISK_DONE,   /* write is there, but not yet for good unless fua */
    DISK_FLUSH,  /* the first count of those that were done and not flushed are there for good */
    DISK_NOTE,   /* not the disk's: the rest is whoever's who adds it */
} DiskEventKind;

typedef struct DiskEvent {
    DiskEventKind kind;
    struct Disk *disk;
    DiskWrite *write; /* SUBMIT: owned; DONE */
    bool fua;
    unsigned what, first, count;
    uint32_t id;
    void *content; /* g_free'd */
} DiskEvent;

typedef struct Disk {
    BlockNode *node;
    GByteArray *content, *stable;
    GPtrArray *volatile_writes; /* DiskWrite *, ended, not flushed */
    GArray *pending;            /* DiskIo */
    GRand *rand;
    BlockIo pump;
    bool pumping;
    bool in_order;
    GPtrArray *log; /* DiskEvent *, to be recorded into; the test's. NULL: none */
    unsigned writes, reads, flushes; /* ended */
    /* The n-th from now fails (1: the next); 0: none. */
    unsigned fail_write, fail_read, fail_flush;
} Disk;

static Disk *disk_of_node(BlockNode *node)
{
    return *(Disk **)node->state;
}

static void disk_apply(GByteArray *content, uint64_t offset, const uint8_t *data, uint64_t len)
{
    if (content->len < offset + len) {
        guint before = content->len;

        g_byte_array_set_size(content, (guint)(offset + len));
        memset(content->data + before, 0, content->len - before);
    }
    if (data) {
        memcpy(content->data + offset, data, len);
    } else {
        memset(content->data + offset, 0, len);
    }
}

static void disk_apply_write(GByteArray *content, const DiskWrite *w)
{
    if (!w->cut) {
        disk_apply(content, w->offset, w->data, w->len);
    } else if (content->len > w->offset) {
        g_byte_array_set_size(content, (guint)w->offset);
    }
}

static void disk_write_free(void *opaque)
{
    DiskWrite *w = opaque;

    g_free(w->data);
    g_free(w);
}

static void disk_event_free(void *opaque)
{
    DiskEvent *e = opaque;

    if (e->kind == DISK_SUBMIT) {
        disk_write_free(e->write);
    }
    g_free(e->content);
    g_free(e);
}

/* A new event at the end of the log. */
static DiskEvent *disk_event(GPtrArray *log, DiskEventKind kind, Disk *d)
{
    DiskEvent *e = g_new0(DiskEvent, 1);

    e->kind = kind;
    e->disk = d;
    g_ptr_array_add(log, e);
    return e;
}

G_GNUC_UNUSED static GPtrArray *disk_log_new(void)
{
    return g_ptr_array_new_with_free_func(disk_event_free);
}

static DiskWrite *disk_write_of(const BlockIo *io)
{
    DiskWrite *w = g_new0(DiskWrite, 1);

    w->offset = io->offset;
    w->len = io->len;
    if (io->op == BLOCK_WRITE) {
        w->data = g_malloc(io->len);
        iov_to_buf(io->iov, io->iov_count, 0, w->data, io->len);
    }
    return w;
}

static bool disk_due(unsigned *counter)
{
    return *counter && !--*counter;
}

/* w is on stable storage; older writes that are not must not come after it. */
static void disk_make_stable(GByteArray *stable, GPtrArray *volatile_writes, const DiskWrite *w)
{
    disk_apply_write(stable, w);
    for (unsigned i = 0; i < volatile_writes->len; i++) {
        DiskWrite *v = g_ptr_array_index(volatile_writes, i);
        uint64_t from = MAX(v->offset, w->offset), to = MIN(v->offset + v->len, w->offset + w->len);

        if (from >= to) {
            continue;
        }
        v->data = v->data ? v->data : g_malloc0(v->len);
        if (w->data) {
            memcpy(v->data + (from - v->offset), w->data + (from - w->offset), to - from);
        } else {
            memset(v->data + (from - v->offset), 0, to - from);
        }
    }
}

static int disk_do_write(Disk *d, const BlockIo *io)
{
    DiskWrite *w;

    d->writes++;
    if (disk_due(&d->fail_write)) {
        return -EIO;
    }
    if (!range_fits(io->offset, io->len, DISK_MAX)) {
        return -EFBIG;
    }
    w = disk_write_of(io);
    disk_apply_write(d->content, w);
    if (d->content->len > d->node->size) {
        block_node_set_size(d->node, d->content->len);
    }
    if (io->fua) {
        disk_make_stable(d->stable, d->volatile_writes, w);
        disk_write_free(w);
    } else {
        g_ptr_array_add(d->volatile_writes, w);
    }
    return 0;
}

static int disk_do_flush(Disk *d, const DiskIo *p)
{
    d->flushes++;
    if (disk_due(&d->fail_flush)) {
        return -EIO;
    }
    /* Flushes end in order (disk_pump), so the first of the list are covered still. */
    for (unsigned i = 0; i < p->flushed_from; i++) {
        const DiskWrite *w = g_ptr_array_index(d->volatile_writes, i);

        disk_apply_write(d->stable, w);
    }
    if (p->flushed_from) {
        g_ptr_array_remove_range(d->volatile_writes, 0, p->flushed_from);
    }
    for (unsigned i = 0; i < d->pending->len; i++) {
        DiskIo *other = &g_array_index(d->pending, DiskIo, i);

        other->flushed_from -= MIN(other->flushed_from, p->flushed_from);
    }
    return 0;
}

static int disk_do_read(Disk *d, const BlockIo *io)
{
    uint64_t there = io->offset < d->content->len ? MIN(io->len, d->content->len - io->offset) : 0;

    d->reads++;
    if (disk_due(&d->fail_read)) {
        return -EIO;
    }
    iov_fill(io->iov, io->iov_count, 0, 0, io->len);
    iov_from_buf(io->iov, io->iov_count, 0, d->content->data + io->offset, there);
    return 0;
}

static void disk_record_end(Disk *d, const DiskIo *p)
{
    if (p->recorded) {
        DiskEvent *e = disk_event(d->log, DISK_DONE, d);

        e->write = p->recorded;
        e->fua = p->io->fua;
    } else if (d->log && p->io->op == BLOCK_FLUSH) {
        disk_event(d->log, DISK_FLUSH, d)->count = p->flushed_from;
    }
}

static void disk_pump(BlockIo *pump, int result)
{
    Disk *d = container_of(pump, Disk, pump);
    unsigned i = d->in_order ? 0 : g_rand_int_range(d->rand, 0, (gint32)d->pending->len);
    DiskIo p = g_array_index(d->pending, DiskIo, i);
    int ret;

    (void)result;
    g_array_remove_index(d->pending, i);
    ret = p.io->op == BLOCK_READ    ? disk_do_read(d, p.io)
          : p.io->op == BLOCK_FLUSH ? disk_do_flush(d, &p)
                                    : disk_do_write(d, p.io);
    if (ret == 0) {
        disk_record_end(d, &p);
    }
    d->pumping = d->pending->len;
    if (d->pumping) {
        block_io_finish_later(d->node, &d->pump, 0);
    }
    p.io->done(p.io, ret);
}

static void disk_submit(BlockNode *node, BlockIo *io)
{
    Disk *d = disk_of_node(node);
    DiskIo p = {.io = io, .flushed_from = d->volatile_writes->len};

    if (d->log && (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD) &&
        range_fits(io->offset, io->len, DISK_MAX)) {
        p.recorded = disk_event(d->log, DISK_SUBMIT, d)->write = disk_write_of(io);
    }
    g_array_append_val(d->pending, p);
    if (!d->pumping) {
        d->pumping = true;
        d->pump.done = disk_pump;
        block_io_finish_later(node, &d->pump, 0);
    }
}

static bool disk_busy(BlockNode *node)
{
    return disk_of_node(node)->pending->len;
}

/* Shorter at once, for good with the next flush. Longer: by writing only. */
static bool disk_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc, GError **err)
{
    Disk *d = disk_of_node(node);
    DiskWrite *w;

    (void)exact;
    (void)prealloc;
    if (size > d->content->len) {
        return error_set(err, "it grows by being written to");
    }
    w = g_new0(DiskWrite, 1);
    *w = (DiskWrite){.offset = size, .cut = true};
    if (d->log) {
        DiskWrite *recorded = g_memdup2(w, sizeof *w);

        disk_event(d->log, DISK_SUBMIT, d)->write = recorded;
        disk_event(d->log, DISK_DONE, d)->write = recorded;
    }
    disk_apply_write(d->content, w);
    g_ptr_array_add(d->volatile_writes, w);
    block_node_set_size(node, size);
    return true;
}

/* A regular file in the eyes of formats. */
static const BlockDriver disk_driver = {
    .name = "file",
    .state_size = sizeof(Disk *),
    .submit = disk_submit,
    .truncate = disk_truncate,
    .drain_busy = disk_busy,
};

/* The node is called name; content may be NULL. */
static Disk *disk_new(Vm *vm, const char *name, const GByteArray *content, unsigned seed)
{
    Disk *d = g_new0(Disk, 1);
    BlockOpts *opts = block_opts_new();
    GError *err = NULL;

    block_opts_set(opts, "driver", "null-co");
    block_opts_set(opts, "node-name", name);
    d->node = block_node_open(vm, opts, NULL, &err);
    g_assert_no_error(err);
    block_opts_free(opts);
    d->node->drv = &disk_driver;
    *(Disk **)d->node->state = d;
    d->content = g_byte_array_new();
    if (content) {
        g_byte_array_append(d->content, content->data, content->len);
    }
    d->stable = g_byte_array_new();
    g_byte_array_append(d->stable, d->content->data, d->content->len);
    d->volatile_writes = g_ptr_array_new_with_free_func(disk_write_free);
    d->pending = g_array_new(FALSE, FALSE, sizeof(DiskIo));
    d->rand = g_rand_new_with_seed(seed);
    d->node->size = d->content->len;
    return d;
}

static void disk_free(Disk *d)
{
    g_assert_cmpuint(d->pending->len, ==, 0);
    block_node_unref(d->node);
    g_byte_array_unref(d->content);
    g_byte_array_unref(d->stable);
    g_ptr_array_unref(d->volatile_writes);
    g_array_unref(d->pending);
    g_rand_free(d->rand);
    g_free(d);
}

/* As new, with this content; nobody has the node. */
G_GNUC_UNUSED static void disk_reset(Disk *d, const GByteArray *content)
{
    g_assert_cmpuint(d->pending->len, ==, 0);
    g_byte_array_set_size(d->content, content->len);
    memcpy(d->content->data, content->data, content->len);
    g_byte_array_set_size(d->stable, content->len);
    memcpy(d->stable->data, content->data, content->len);
    g_ptr_array_set_size(d->volatile_writes, 0);
    d->node->size = content->len;
}

/* Some of it, in sectors. */
static void disk_tear(GRand *rand, GByteArray *content, const DiskWrite *w)
{
    int how = g_rand_int_range(rand, 0, 3);

    if (how == 0) {
        return;
    }
    if (how == 1 || w->cut) {
        disk_apply_write(content, w);
        return;
    }
    for (uint64_t at = 0; at < w->len;) {
        uint64_t n = MIN(512 - (w->offset + at) % 512, w->len - at);

        if (g_rand_boolean(rand)) {
            disk_apply(content, w->offset + at, w->data ? w->data + at : NULL, n);
        }
        at += n;
    }
}

/* What the file may hold if the power fails now. */
G_GNUC_UNUSED static GByteArray *disk_cut(Disk *d)
{
    GByteArray *content = g_byte_array_new();

    g_byte_array_append(content, d->stable->data, d->stable->len);
    for (unsigned i = 0; i < d->volatile_writes->len; i++) {
        disk_tear(d->rand, content, g_ptr_array_index(d->volatile_writes, i));
    }
    for (unsigned i = 0; i < d->pending->len; i++) {
        const BlockIo *io = g_array_index(d->pending, DiskIo, i).io;

        if ((io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) &&
            range_fits(io->offset, io->len, DISK_MAX)) {
            DiskWrite *w = disk_write_of(io);

            disk_tear(d->rand, content, w);
            disk_write_free(w);
        }
    }
    return content;
}

#endif
