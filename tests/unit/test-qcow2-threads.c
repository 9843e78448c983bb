/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One disk that several threads work on at once, against a model (sector-model.h): a device with queues in three iothreads,
 * one of which owns the nodes, and two threads that wait for each of their requests, as jobs and the monitor do. They
 * write, zero, discard, pack and read sectors of the same few clusters, beside each other and over each other, while this
 * thread takes snapshots, resizes, commits, reopens, flushes, drains and limits. At each end all is read, checked by the
 * driver, closed, and judged by qemu-img check and compare. Made to be run under the sanitizers as well.
 *
 * KILN_IMAGE_FACTOR=N makes it N times longer, KILN_IMAGE_SEED=N makes other requests.
 */
#include <glib/gstdio.h>
#include <pthread.h>

#include "block/dirty_bitmap.h"
#include "block/gates.h"
#include "block/throttle.h"
#include "tests/unit/qcow2-image.h"
#include "tests/unit/sector-model.h"

#define LOOPS 3   /* the first is the owner's */
#define DEPTH 8   /* of each */
#define WAITERS 2 /* threads that wait for each request */
#define SLOTS (LOOPS * DEPTH + WAITERS)
#define CLUSTERS 48 /* of a disk, at least */
#define MIN_SECTORS 2048
#define BASE_ID UINT32_C(0xf0000000)
#define LIMIT_NS (120 * NSEC_PER_SEC)

typedef struct Setting {
    Config image;
    const char *above; /* filters, the uppermost first: "throttle", "copy-on-read" */
} Setting;

typedef struct World World;

typedef struct Slot {
    World *w;
    unsigned n;
    BlkGate *gate; /* NULL: the owner's loop, or a thread that waits */
    Loop *loop;
    pthread_t thread; /* a waiter's */
    uint64_t random;
    uint32_t requests;
    /* the request */
    BlockIo io;
    bool changes, maybe, compressed;
    unsigned first, count;       /* as asked for */
    unsigned effect, affected;   /* sectors that it changes */
    uint64_t started;
    uint64_t *buf;
    struct iovec iov[3];
    unsigned iov_count;
    uint32_t *seen, *found;
    BlockStatus status;
    int depth;
    uint64_t ended, checked;     /* relaxed */
    bool idle;                   /* relaxed */
} Slot;

struct World {
    const Setting *setting;
    const Config *image;
    Vm *vm;
    char *dir;
    Loop *loops[LOOPS];
    pthread_t threads[LOOPS];
    SectorModel model;
    ModelSector *snapshots[2];
    unsigned snapshot_sectors[2];
    GRand *rand;
    BlockNode *root, *node, *base;
    BlockBackend *blk;
    DirtyBitmap *bitmap;
    Slot slots[SLOTS];
    unsigned cluster; /* sectors */
    unsigned max_count;
    bool parked;      /* relaxed */
    unsigned hot;     /* relaxed: the cluster where most of it happens */
    unsigned acts;
};

static uint64_t next_random(Slot *slot)
{
    slot->random ^= slot->random << 13;
    slot->random ^= slot->random >> 7;
    slot->random ^= slot->random << 17;
    return slot->random;
}

static unsigned below(Slot *slot, unsigned n)
{
    return (unsigned)((next_random(slot) >> 16) % n);
}

/* ---- requests --------------------------------------------------------------------------------- */

static bool is_waiter(const Slot *slot)
{
    return slot->n >= LOOPS * DEPTH;
}

static BlockOp choose_op(Slot *slot)
{
    unsigned kind = below(slot, 100);

    return kind < 45   ? BLOCK_WRITE
           : kind < 70 ? BLOCK_READ
           : kind < 80 ? BLOCK_ZERO
           : kind < 93 ? BLOCK_DISCARD
           : kind < 98 ? BLOCK_STATUS
                       : BLOCK_FLUSH;
}

/* Most of it in a few clusters. */
static void choose_range(Slot *slot)
{
    World *w = slot->w;
    unsigned limit = __atomic_load_n(&w->model.limit, __ATOMIC_RELAXED);
    unsigned hot = __atomic_load_n(&w->hot, __ATOMIC_RELAXED) * w->cluster, place = hot + below(slot, w->cluster * 4);

    slot->first = below(slot, 5) ? place % limit : below(slot, limit);
    slot->count = 1 + below(slot, below(slot, 3) ? MIN(w->cluster, 16) : w->max_count);
}

static void align_range(Slot *slot)
{
    World *w = slot->w;

    slot->first = slot->first / w->cluster * w->cluster;
    slot->count = w->cluster * (w->cluster * 2 <= w->max_count ? 1 + below(slot, 2) : 1);
}

/* Which sectors the request changes. A discard leaves parts of clusters alone, but for the last cluster of the disk, whose end
 * may move meanwhile; what one leaves that shows a backing file is either. */
static void find_effect(Slot *slot, unsigned limit)
{
    World *w = slot->w;
    unsigned first = slot->first, end = first + slot->count;

    slot->maybe = false;
    if (slot->io.op == BLOCK_DISCARD) {
        first = (first + w->cluster - 1) / w->cluster * w->cluster;
        slot->maybe = w->image->backed || (end == limit && end % w->cluster);
        end = MAX(first, end == limit ? end : end / w->cluster * w->cluster);
    }
    slot->effect = first;
    slot->affected = end - first;
}

static void make_io(Slot *slot, BlockOp op)
{
    World *w = slot->w;
    unsigned limit = __atomic_load_n(&w->model.limit, __ATOMIC_RELAXED);
    bool may_pack = !w->image->luks && !w->image->data_file;

    slot->io = (BlockIo){.op = op};
    slot->compressed = op == BLOCK_WRITE && may_pack && !below(slot, 6);
    choose_range(slot);
    if (slot->compressed || (op == BLOCK_DISCARD && below(slot, 3))) {
        align_range(slot);
    }
    if (op == BLOCK_FLUSH) {
        slot->count = 0;
    }
    if (slot->first >= limit) {
        slot->first = 0;
    }
    slot->count = MIN(slot->count, limit - slot->first);
    slot->compressed &= !(slot->count % w->cluster); /* which only the end of the disk excuses, and it moves */
    slot->changes = op == BLOCK_WRITE || op == BLOCK_ZERO || op == BLOCK_DISCARD;
    find_effect(slot, limit);
}

/* In pieces, as a guest gives it. */
static void make_iov(Slot *slot)
{
    size_t len = (size_t)slot->count * SECTOR, at = 0;

    slot->iov_count = 1 + below(slot, 3);
    for (unsigned i = 0; i < slot->iov_count; i++) {
        size_t n = i + 1 == slot->iov_count ? len - at : below(slot, (unsigned)(len - at) / SECTOR + 1) * SECTOR;

        slot->iov[i] = (struct iovec){(uint8_t *)slot->buf + at, n};
        at += n;
    }
}

/* False: not now. */
static bool claim(Slot *slot)
{
    World *w = slot->w;
    uint32_t id = slot->io.op == BLOCK_WRITE ? slot->requests * SLOTS + slot->n + 1 : 0;

    if (!slot->changes) {
        return model_read_begin(&w->model, slot->first, slot->count, slot->seen);
    }
    if (slot->io.op == BLOCK_WRITE) {
        model_fill(slot->buf, slot->first, slot->count, id);
    }
    slot->started = model_begin(&w->model, slot->effect, slot->affected, id, !below(slot, 4));
    return slot->started;
}

static void slot_ended(Slot *slot, int result)
{
    World *w = slot->w;
    unsigned wrong;

    if (result) {
        g_error("request of kind %d at sector %u + %u: %s", slot->io.op, slot->first, slot->count, g_strerror(-result));
    }
    if (slot->changes) {
        model_end(&w->model, slot->effect, slot->affected, slot->started, slot->maybe);
    } else {
        bool read = slot->io.op == BLOCK_READ;
        uint64_t checked = slot->checked;

        for (unsigned i = 0; read && i < slot->count; i++) {
            slot->found[i] = model_id(slot->buf + i * (SECTOR / 8), slot->first + i);
        }
        wrong = model_read_end(&w->model, slot->first, slot->count, slot->seen, read ? slot->found : NULL, &checked);
        if (wrong < slot->count) {
            g_error("sector %u (%u of a read of %u) holds %x", slot->first + wrong, wrong, slot->count, slot->found[wrong]);
        }
        __atomic_store_n(&slot->checked, checked, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&slot->ended, slot->ended + 1, __ATOMIC_RELAXED);
}

/* What to do next; false: nothing more. */
static bool choose(Slot *slot)
{
    World *w = slot->w;

    for (unsigned tries = 0; !__atomic_load_n(&w->parked, __ATOMIC_RELAXED); tries++) {
        slot->requests++;
        make_io(slot, tries < 20 ? choose_op(slot) : tries & 1 ? BLOCK_FLUSH : BLOCK_READ);
        if (slot->io.op == BLOCK_STATUS && slot->gate) {
            slot->io.op = BLOCK_READ; /* gates have none */
        }
        if (claim(slot)) {
            make_iov(slot);
            slot->io.offset = (uint64_t)slot->first * SECTOR;
            slot->io.len = (uint64_t)slot->count * SECTOR;
            slot->io.may_unmap = below(slot, 2);
            slot->io.fua = (slot->io.op == BLOCK_WRITE || slot->io.op == BLOCK_ZERO) && !below(slot, 16);
            slot->io.compressed = slot->compressed;
            return true;
        }
    }
    return false;
}

static void loop_slot_done(void *opaque, int result);

static void start(Slot *slot)
{
    BlockBackend *blk = slot->w->blk;
    BlockIo *io = &slot->io;

    if (!choose(slot)) {
        __atomic_store_n(&slot->idle, true, __ATOMIC_RELAXED);
        return;
    }
    if (io->op == BLOCK_READ || io->op == BLOCK_WRITE) {
        io->iov = slot->iov;
        io->iov_count = slot->iov_count;
    }
    if (io->op == BLOCK_STATUS) {
        blk_status_above(blk, io->offset, io->len, &slot->status, &slot->depth, loop_slot_done, slot);
    } else {
        blk_gate_submit(blk, slot->gate, io, loop_slot_done, slot);
    }
}

static void loop_slot_done(void *opaque, int result)
{
    Slot *slot = opaque;

    g_assert_true(loop_is_current(slot->loop));
    slot_ended(slot, result);
    start(slot);
}

static void start_loop(void *opaque)
{
    Slot *first = opaque;

    blk_gate_plug(first->w->blk, first->gate);
    for (unsigned i = first->n; i < LOOPS * DEPTH; i += LOOPS) {
        start(&first->w->slots[i]);
    }
    blk_gate_unplug(first->w->blk, first->gate);
}

static void *run_waiter(void *opaque)
{
    Slot *slot = opaque;
    BlockNode *node = slot->w->root;

    while (choose(slot)) {
        BlockIo *io = &slot->io;

        if (io->op == BLOCK_STATUS) {
            slot_ended(slot, block_pstatus(node, io->offset, io->len, 0, &slot->status));
        } else {
            io->iov = slot->iov;
            io->iov_count = slot->iov_count;
            slot_ended(slot, block_psubmit(node, io));
        }
    }
    __atomic_store_n(&slot->idle, true, __ATOMIC_RELAXED);
    return NULL;
}

/* ---- letting them work ---------------------------------------------------------------------------- */

static uint64_t all_ended(const World *w)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        sum += __atomic_load_n(&w->slots[i].ended, __ATOMIC_RELAXED);
    }
    return sum;
}

/* The main loop runs meanwhile, without the VM lock most of the time: both are wanted by those whose request finds that the
 * disk has just moved there. */
static void rest(World *w, int64_t until, const char *what)
{
    if (clock_monotonic_ns() > until) {
        g_error("%s: nothing for two minutes", what);
    }
    loop_run_once(w->vm->loop, NSEC_PER_SEC / 10000);
}

static void let_work(World *w, unsigned requests)
{
    uint64_t goal = all_ended(w) + requests;

    for (int64_t until = clock_monotonic_ns() + LIMIT_NS; all_ended(w) < goal;) {
        rest(w, until, "requests");
    }
    __atomic_store_n(&w->hot, (unsigned)g_rand_int_range(w->rand, 0, CLUSTERS), __ATOMIC_RELAXED);
}

static void wait_for_rest(World *w)
{
    for (int64_t until = clock_monotonic_ns() + LIMIT_NS; model_is_busy(&w->model);) {
        rest(w, until, "requests beyond what is allowed now");
    }
}

static void unpark(World *w)
{
    __atomic_store_n(&w->parked, false, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < SLOTS; i++) {
        __atomic_store_n(&w->slots[i].idle, false, __ATOMIC_RELAXED);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        loop_post(w->loops[i], start_loop, &w->slots[i]);
    }
    for (unsigned i = LOOPS * DEPTH; i < SLOTS; i++) {
        g_assert_cmpint(pthread_create(&w->slots[i].thread, NULL, run_waiter, &w->slots[i]), ==, 0);
    }
}

static void park(World *w)
{
    __atomic_store_n(&w->parked, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < SLOTS; i++) {
        for (int64_t until = clock_monotonic_ns() + LIMIT_NS; !__atomic_load_n(&w->slots[i].idle, __ATOMIC_RELAXED);) {
            rest(w, until, "parking");
        }
    }
    for (unsigned i = LOOPS * DEPTH; i < SLOTS; i++) {
        pthread_join(w->slots[i].thread, NULL);
    }
}

/* ---- acts of this thread while they work -------------------------------------------------------- */

typedef struct Call {
    World *w;
    bool (*fn)(World *w, const void *what, GError **err);
    const void *what;
    bool ok;
    GError *err;
} Call;

static void run_call(void *opaque)
{
    Call *c = opaque;

    c->ok = c->fn(c->w, c->what, &c->err);
}

/* In the owner, in a drained section. */
static bool in_owner(World *w, bool (*fn)(World *w, const void *what, GError **err), const void *what, GError **err)
{
    Call c = {.w = w, .fn = fn, .what = what};

    block_drain_begin(w->node);
    block_loop_call(w->node->loop, run_call, &c);
    block_drain_end(w->node);
    if (c.err) {
        g_propagate_error(err, c.err);
    }
    return c.ok;
}

static void read_all(World *w)
{
    unsigned step = MIN(w->max_count, 256);
    g_autofree uint64_t *buf = g_malloc(step * SECTOR);
    g_autofree uint32_t *seen = g_new(uint32_t, step), *found = g_new(uint32_t, step);
    uint64_t checked = 0;

    for (unsigned s = 0; s < w->model.limit; s += step) {
        unsigned n = MIN(step, w->model.limit - s), wrong;

        g_assert_true(model_read_begin(&w->model, s, n, seen));
        g_assert_cmpint(block_pread(w->root, (uint64_t)s * SECTOR, buf, n * SECTOR), ==, 0);
        for (unsigned i = 0; i < n; i++) {
            found[i] = model_id(buf + i * (SECTOR / 8), s + i);
        }
        wrong = model_read_end(&w->model, s, n, seen, found, &checked);
        if (wrong < n) {
            g_error("sector %u holds %x, the model has %x (one of %u)", s + wrong, found[wrong],
                    w->model.sectors[s + wrong].list[0].id, w->model.sectors[s + wrong].count);
        }
    }
}

static bool own_check(World *w, const void *what, GError **err)
{
    BlockCheck r = {0};

    (void)what;
    g_assert_true(w->node->drv->check(w->node, 0, &r, err));
    g_assert_cmpuint(r.corruptions, ==, 0);
    g_assert_cmpuint(r.leaks, ==, 0);
    g_assert_cmpuint(r.check_errors, ==, 0);
    return true;
}

static bool snapshot_create(World *w, const void *what, GError **err)
{
    const unsigned *which = what;
    BlockSnapshot s = {.name = (char *)(*which ? "s1" : "s0")};
    bool ok;

    w->snapshots[*which] = model_copy(&w->model);
    w->snapshot_sectors[*which] = w->model.limit;
    ok = w->node->drv->snapshot_create(w->node, &s, err);
    g_free(s.id);
    if (!ok) {
        g_clear_pointer(&w->snapshots[*which], g_free);
    }
    return ok;
}

static bool snapshot_delete(World *w, const void *what, GError **err)
{
    const unsigned *which = what;

    g_clear_pointer(&w->snapshots[*which], g_free);
    return w->node->drv->snapshot_delete(w->node, *which ? "s1" : "s0", err);
}

static bool snapshot_apply(World *w, const void *what, GError **err)
{
    const unsigned *which = what;

    model_replace(&w->model, 0, w->snapshots[*which]);
    return w->node->drv->snapshot_apply(w->node, *which ? "s1" : "s0", err);
}

static void act_snapshot(World *w)
{
    unsigned which = (unsigned)g_rand_int_range(w->rand, 0, 2);
    GError *err = NULL;

    if (w->image->data_file) {
        return;
    }
    if (!w->snapshots[which]) {
        if (!in_owner(w, snapshot_create, &which, &err)) {
            /* Clusters that several packed ones share may have no room for as many again. */
            g_assert_cmpuint(w->image->refcount_bits, <, 16);
            g_assert_nonnull(strstr(err->message, "refcount_bits"));
            g_clear_error(&err);
        }
    } else if (g_rand_boolean(w->rand)) {
        /* Nobody may be at work where the disk ends afterwards. */
        model_set_limit(&w->model, MIN(w->model.limit, w->snapshot_sectors[which]));
        wait_for_rest(w);
        in_owner(w, snapshot_apply, &which, &err);
        model_set_limit(&w->model, w->snapshot_sectors[which]);
    } else {
        in_owner(w, snapshot_delete, &which, &err);
    }
    g_assert_no_error(err);
}

static void act_resize(World *w)
{
    unsigned sectors = (unsigned)g_rand_int_range(w->rand, (gint32)w->model.max / 2, (gint32)w->model.max + 1);
    GError *err = NULL;

    if (w->image->v2 && (w->snapshots[0] || w->snapshots[1])) {
        return;
    }
    if (sectors < w->model.limit) {
        model_set_limit(&w->model, sectors);
        wait_for_rest(w);
    }
    block_ptruncate(w->root, (uint64_t)sectors * SECTOR, true, BLOCK_PREALLOC_OFF, &err);
    g_assert_no_error(err);
    model_replace(&w->model, MIN(sectors, w->model.limit), NULL);
    model_set_limit(&w->model, sectors);
    g_assert_cmpuint(w->root->size, ==, (uint64_t)sectors * SECTOR);
}

static bool make_empty(World *w, const void *what, GError **err)
{
    (void)what;
    return w->node->drv->make_empty(w->node, err);
}

/* While they read. */
static void act_commit(World *w)
{
    GError *err = NULL;

    if (!w->base) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) { /* their content would change with the base's */
        if (w->snapshots[i]) {
            in_owner(w, snapshot_delete, &i, &err);
            g_assert_no_error(err);
        }
    }
    model_set_read_only(&w->model, true);
    wait_for_rest(w);
    if (w->base->size < w->node->size) {
        block_ptruncate(w->base, w->node->size, true, BLOCK_PREALLOC_OFF, &err);
        g_assert_no_error(err);
    }
    g_assert_cmpint(copy_down(w->node, w->base), ==, 0);
    in_owner(w, make_empty, NULL, &err);
    g_assert_no_error(err);
    read_all(w);
    model_set_read_only(&w->model, false);
}

static void act_move(World *w)
{
    BlockLoop *home = w->node->loop;
    GError *err = NULL;

    block_drain_begin(w->root);
    block_node_set_loop(w->root, g_rand_boolean(w->rand) ? block_loop_main(w->vm)
                                                         : block_loop_get(w->vm, w->loops[1], &err));
    block_node_set_loop(w->root, home);
    block_drain_end(w->root);
    g_assert_no_error(err);
}

/* Limits of its own, or those of the group that a throttle node below may be a member of, too. */
static void act_limit(World *w)
{
    const char *group = g_rand_boolean(w->rand) ? "tg" : NULL;
    ThrottleConfig config = throttle_config_default();
    GError *err = NULL;

    config.avg[THROTTLE_IOPS_TOTAL] = 40000;
    blk_set_throttle(w->blk, group, &config, &err);
    g_assert_no_error(err);
    let_work(w, 100);
    config.avg[THROTTLE_IOPS_TOTAL] = 0;
    blk_set_throttle(w->blk, group, &config, &err);
    g_assert_no_error(err);
}

static char *path_of(const World *w, const char *name)
{
    return g_build_filename(w->dir, name, NULL);
}

/* Any of those that a file can have; waiting for the disk at each flush takes longest. */
static const char *file_options(World *w)
{
    static const char *const options[] = {",cache.no-flush=on", "", ",cache.no-flush=on,cache.direct=on,aio=native",
                                          ",cache.no-flush=on,aio=io_uring", ",cache.no-flush=on,cache.direct=on"};

    return options[g_rand_int_range(w->rand, 0, G_N_ELEMENTS(options))];
}

/* Any of those that the image can have. */
static char *image_options(World *w)
{
    return g_strdup_printf("driver=qcow2,node-name=top,file=disk,discard=unmap%s%s%s%s%s", w->image->luks ? ",encrypt.key-secret=s" : "",
                           w->image->data_file ? ",data-file=data" : "", w->image->backed ? ",backing=base" : "",
                           w->image->tiny_cache ? ",l2-cache-size=2048,l2-cache-entry-size=512,refcount-cache-size=2048"
                           : g_rand_boolean(w->rand) ? ",l2-cache-size=512K" : "",
                           g_rand_boolean(w->rand) ? ",detect-zeroes=unmap" : "");
}

/* The image with other options, or its file. */
static void act_reopen(World *w)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)block_opts_free);
    g_autofree char *path = path_of(w, "disk"), *text = NULL;
    GError *err = NULL;

    text = g_rand_boolean(w->rand)
               ? image_options(w)
               : g_strdup_printf("driver=file,node-name=disk,discard=unmap,filename=%s%s", path, file_options(w));
    g_ptr_array_add(list, block_opts_parse(text, NULL, &err));
    g_assert_no_error(err);
    block_reopen(w->vm, list, &err);
    g_assert_no_error(err);
}

static void act_bitmap(World *w)
{
    GError *err = NULL;

    block_drain_begin(w->root);
    if (w->bitmap) {
        block_dirty_bitmap_remove(g_steal_pointer(&w->bitmap), &err);
    } else {
        w->bitmap = block_dirty_bitmap_add(w->node, "b", 4096, false, true, &err);
    }
    block_drain_end(w->root);
    g_assert_no_error(err);
}

static void act(World *w)
{
    w->acts++;
    switch (g_rand_int_range(w->rand, 0, 11)) {
    case 0:
    case 1:
        act_snapshot(w);
        break;
    case 2:
        act_resize(w);
        break;
    case 3:
        act_commit(w);
        break;
    case 4:
        act_move(w);
        break;
    case 5:
        act_limit(w);
        break;
    case 6:
        act_bitmap(w);
        break;
    case 7:
        g_assert_cmpint(block_pflush(w->root), ==, 0);
        break;
    case 8:
        act_reopen(w);
        break;
    case 9:
        in_owner(w, own_check, NULL, NULL);
        break;
    default:
        read_all(w);
    }
}

/* ---- images ----------------------------------------------------------------------------------- */

static BlockNode *open_text(World *w, const char *text)
{
    GError *err = NULL;
    BlockOpts *opts = block_opts_parse(text, NULL, &err);
    BlockNode *node = block_node_open(w->vm, opts, NULL, &err);

    block_opts_free(opts);
    g_assert_no_error(err);
    return node;
}

static BlockNode *open_file(World *w, const char *name, const char *more)
{
    g_autofree char *path = path_of(w, name);
    g_autofree char *text = g_strdup_printf("driver=file,node-name=%s,discard=unmap,filename=%s%s", name, path, more);

    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        g_assert_true(g_file_set_contents(path, "", 0, NULL));
    }
    return open_text(w, text);
}

/* Opens what it made of them, which is kept by who names it. */
static BlockNode *open_tree(World *w)
{
    const char *cache = file_options(w);
    BlockNode *files[] = {open_file(w, "disk", cache), w->image->data_file ? open_file(w, "data", cache) : NULL};
    BlockNode *base_file = w->image->backed ? open_file(w, "lower", cache) : NULL;
    g_autofree char *text = image_options(w);
    BlockNode *root;

    if (base_file) {
        w->base = open_text(w, "driver=qcow2,node-name=base,file=lower,discard=unmap");
    }
    root = w->node = open_text(w, text);
    for (const char *above = w->setting->above; above && *above; above = strchr(above, ' ') ? strchr(above, ' ') + 1 : "") {
        g_autofree char *name = g_strndup(above, strcspn(above, " "));
        g_autofree char *filter = g_strdup_printf("driver=%s,discard=unmap%s,file=%s", name,
                                                  strcmp(name, "throttle") ? "" : ",throttle-group=tg", root->name);
        BlockNode *upper = open_text(w, filter);

        block_node_unref(root);
        root = upper;
    }
    block_node_unref(files[0]);
    block_node_unref(files[1]);
    block_node_unref(base_file);
    return root;
}

static const BlkDevOps device_ops = {.any_loop = true};

static void open_disk(World *w)
{
    GError *err = NULL;

    w->root = open_tree(w);
    w->blk = blk_new(w->vm, NULL, w->root, 0, &err);
    g_assert_no_error(err);
    blk_attach(w->blk, NULL, &device_ops, w, true, &err);
    g_assert_no_error(err);
    blk_set_loop(w->blk, w->loops[0], &err);
    g_assert_no_error(err);
    for (unsigned i = 0; i < LOOPS * DEPTH; i++) {
        w->slots[i].gate = i % LOOPS ? blk_gate(w->blk, w->loops[i % LOOPS], &err) : NULL;
        g_assert_no_error(err);
    }
    unpark(w);
}

static void judge(World *w, const char *const *argv)
{
    g_autofree char *out = NULL, *err = NULL;
    int status = run_program(argv, &out, &err);

    if (status) {
        g_error("qemu-img %s: %d\n%s%s", argv[1], status, out, err);
    }
}

static void judge_all(World *w)
{
    g_autofree char *program = g_find_program_in_path("qemu-img"), *raw = path_of(w, "raw");
    g_autofree char *top = g_strdup_printf(
        "driver=qcow2,file.driver=file,file.filename=%s/disk%s%s%s%s%s%s", w->dir, w->image->luks ? ",encrypt.key-secret=s" : "",
        w->image->data_file ? ",data-file.driver=file,data-file.filename=" : "", w->image->data_file ? w->dir : "",
        w->image->data_file ? "/data" : "",
        w->image->backed ? ",backing.driver=qcow2,backing.file.driver=file,backing.file.filename=" : "",
        w->image->backed ? w->dir : "");
    g_autofree char *all = w->image->backed ? g_strconcat(top, "/lower", NULL) : g_strdup(top);
    g_autofree char *lower = g_strdup_printf("driver=qcow2,file.driver=file,file.filename=%s/lower", w->dir);
    g_autofree char *plain = g_strdup_printf("driver=raw,file.driver=file,file.filename=%s", raw);
    g_autofree uint64_t *buf = g_malloc(w->model.limit * SECTOR);

    if (!program) {
        return;
    }
    for (unsigned s = 0; s < w->model.limit; s++) {
        g_assert_cmpuint(w->model.sectors[s].count, ==, 1);
        model_fill(buf + s * (SECTOR / 8), s, 1, w->model.sectors[s].list[0].id);
    }
    g_assert_true(g_file_set_contents(raw, (char *)buf, w->model.limit * SECTOR, NULL));
    judge(w, (const char *[]){program, "check", "--object", SECRET, "--image-opts", all, NULL});
    judge(w, (const char *[]){program, "compare", "--object", SECRET, "--image-opts", all, plain, NULL});
    if (w->image->backed) {
        judge(w, (const char *[]){program, "check", "--image-opts", lower, NULL});
    }
    g_unlink(raw);
}

static void close_disk(World *w)
{
    GError *err = NULL;

    park(w);
    read_all(w);
    in_owner(w, own_check, NULL, &err);
    g_assert_no_error(err);
    if (w->bitmap) {
        act_bitmap(w);
    }
    blk_free(w->blk);
    block_node_unref(w->root);
    block_node_unref(g_steal_pointer(&w->base));
    judge_all(w);
}

/* ---- building up, tearing down --------------------------------------------------------------- */

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

static void make_slots(World *w, unsigned seed)
{
    size_t len = w->max_count * SECTOR;

    for (unsigned i = 0; i < SLOTS; i++) {
        Slot *slot = &w->slots[i];

        slot->w = w;
        slot->n = i;
        slot->loop = is_waiter(slot) ? NULL : w->loops[i % LOOPS];
        slot->random = ((uint64_t)seed << 32 | (i + 1)) * UINT64_C(0x9e3779b97f4a7c15);
        slot->buf = aligned_alloc(4096, align_up(len, 4096));
        slot->seen = g_new0(uint32_t, w->max_count);
        slot->found = g_new0(uint32_t, w->max_count);
    }
}

static void format(World *w, const char *name, bool is_base, uint64_t size)
{
    BlockNode *file = open_file(w, name, ""), *data = w->image->data_file ? open_file(w, "data", "") : NULL;
    Config plain = *w->image;

    plain.luks &= !is_base;
    format_image(w->vm, &plain, file, is_base ? NULL : data, size);
    block_node_unref(file);
    block_node_unref(data);
}

/* A base that is shorter than what lies over it. */
static void make_base(World *w)
{
    unsigned sectors = w->model.max / 4 * 3;
    g_autofree uint64_t *buf = g_malloc(SECTOR * 8);
    BlockNode *file, *node;

    format(w, "lower", true, (uint64_t)sectors * SECTOR);
    file = open_file(w, "lower", ",cache.no-flush=on");
    node = open_text(w, "driver=qcow2,node-name=base,file=lower,discard=unmap");
    for (unsigned s = 0; s + 8 <= sectors; s += 8) {
        if (g_rand_int_range(w->rand, 0, 3)) {
            model_fill(buf, s, 8, BASE_ID + s);
            g_assert_cmpint(block_pwrite(node, (uint64_t)s * SECTOR, buf, SECTOR * 8, 0), ==, 0);
            for (unsigned i = s; i < s + 8; i++) {
                w->model.sectors[i].list[0].id = BASE_ID + s;
            }
        }
    }
    block_node_unref(node);
    block_node_unref(file);
}

static void setup(World *w, const Setting *setting, unsigned seed)
{
    const char *const limits[] = {"x-iops-total", "40000", NULL};
    GError *err = NULL;

    *w = (World){.setting = setting, .image = &setting->image, .rand = g_rand_new_with_seed(seed), .parked = true};
    w->vm = vm_new(&err);
    g_assert_no_error(err);
    w->dir = g_strdup("test-qcow2-threads-XXXXXX");
    g_assert_nonnull(g_mkdtemp(w->dir));
    w->cluster = (unsigned)(w->image->cluster / SECTOR);
    w->max_count = MAX(w->cluster * 3 / 2, 64);
    w->model.max = w->model.limit = MAX(CLUSTERS * w->cluster, MIN_SECTORS) + 3; /* which is no multiple of anything */
    w->model.sectors = g_new0(ModelSector, w->model.max);
    model_replace(&w->model, 0, NULL);
    for (unsigned i = 0; i < LOOPS; i++) {
        w->loops[i] = loop_new("iothread", &err);
        g_assert_no_error(err);
        loop_set_polling(w->loops[i], (LoopPolling){.max_ns = i == 1 ? 20000 : 0});
        g_assert_cmpint(pthread_create(&w->threads[i], NULL, run_loop, w->loops[i]), ==, 0);
    }
    make_slots(w, seed);
    user_object_new(w->vm, "throttle-group", "tg", limits, &err);
    g_assert_no_error(err);
    format(w, "disk", false, (uint64_t)w->model.max * SECTOR);
    if (w->image->backed) {
        make_base(w);
    }
}

static void teardown(World *w)
{
    static const char *const names[] = {"disk", "data", "lower", "raw"};

    for (unsigned i = LOOPS; i-- > 0;) {
        blk_release_loop(w->vm, w->loops[i]);
        loop_quit(w->loops[i]);
        pthread_join(w->threads[i], NULL);
        loop_free(w->loops[i]);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        free(w->slots[i].buf);
        g_free(w->slots[i].seen);
        g_free(w->slots[i].found);
    }
    blk_cleanup(w->vm);
    vm_free(w->vm);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = path_of(w, names[i]);

        g_unlink(path);
    }
    g_rmdir(w->dir);
    g_free(w->dir);
    g_free(w->model.sectors);
    g_free(w->snapshots[0]);
    g_free(w->snapshots[1]);
    g_rand_free(w->rand);
}

static void test_threads(const void *data)
{
    const Setting *setting = data;
    unsigned seed = image_seed(4321);
    uint64_t checked = 0;
    World w;

    g_test_message("seed %u", seed);
    setup(&w, setting, seed);
    for (unsigned round = 0; round < 3 * factor(); round++) {
        open_disk(&w);
        for (unsigned i = 0; i < 12; i++) {
            let_work(&w, 400);
            act(&w);
        }
        close_disk(&w);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        checked += w.slots[i].checked;
    }
    g_test_message("%" PRIu64 " requests, %u acts between them, %" PRIu64 " sectors read and compared", all_ended(&w), w.acts, checked);
    teardown(&w);
}

static const Setting settings[] = {
    {{"64k", 65536, 16}, NULL},
    {{"4k", 4096, 16}, NULL},
    {{"512", 512, 16, .tiny_cache = true}, NULL},
    {{"2bit", 4096, 2}, NULL},
    {{"v2", 4096, 16, .v2 = true}, NULL},
    {{"lazy", 4096, 16, .lazy = true}, "throttle"},
    {{"subclusters", 16384, 16, .extended = true}, NULL},
    {{"subclusters-zstd-backed", 65536, 8, .extended = true, .zstd = true, .backed = true}, "throttle copy-on-read"},
    {{"backed", 4096, 16, .backed = true}, NULL},
    {{"copy-on-read", 8192, 16, .backed = true}, "copy-on-read"},
    {{"data-file", 4096, 16, .data_file = true}, "throttle"},
    {{"subclusters-data-file", 16384, 16, .extended = true, .data_file = true}, NULL},
    {{"luks", 4096, 16, .luks = true}, NULL},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2/threads/%s", settings[i].image.name);

        g_test_add_data_func(path, &settings[i], test_threads);
    }
    return g_test_run();
}
