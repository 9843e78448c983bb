/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gates (block/gates.h): a device that submits from several iothreads at once, while the main thread drains, moves, limits,
 * reopens and resizes what is below it. Made to be run under the thread sanitizer as well. */
#include <glib/gstdio.h>
#include <pthread.h>

#include "block/dirty_bitmap.h"
#include "block/gates.h"
#include "block/throttle.h"

#define LOOPS 3   /* the first is the owner's */
#define DEPTH 6   /* of each */
#define SLOTS (LOOPS * DEPTH)
#define DISK_SIZE (2 * MIB)
#define SECTORS (DISK_SIZE / 512)

typedef struct Fixture {
    Vm *vm;
    char *dir;
    Loop *loops[LOOPS];
    pthread_t threads[LOOPS];
} Fixture;

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

static void setup(Fixture *f, const void *data)
{
    GError *err = NULL;

    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->dir = g_strdup("test-block-gates-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    for (unsigned i = 0; i < LOOPS; i++) {
        f->loops[i] = loop_new("iothread", &err);
        g_assert_no_error(err);
        loop_set_polling(f->loops[i], (LoopPolling){.max_ns = i == 1 ? 20000 : 0});
        g_assert_cmpint(pthread_create(&f->threads[i], NULL, run_loop, f->loops[i]), ==, 0);
    }
}

static void teardown(Fixture *f, const void *data)
{
    g_autofree char *path = g_strdup_printf("%s/disk", f->dir);

    for (unsigned i = LOOPS; i-- > 0;) {
        if (!f->loops[i]) {
            continue;
        }
        blk_release_loop(f->vm, f->loops[i]);
        loop_quit(f->loops[i]);
        pthread_join(f->threads[i], NULL);
        loop_free(f->loops[i]);
    }
    blk_cleanup(f->vm);
    vm_free(f->vm);
    g_unlink(path);
    g_rmdir(f->dir);
    g_free(f->dir);
}

/* options with a %s for the path, or without. */
static BlockBackend *add_disk(Fixture *f, const char *options)
{
    g_autofree char *path = g_strdup_printf("%s/disk", f->dir), *text = NULL, *zeros = g_malloc0(DISK_SIZE);
    char **parts = g_strsplit(options, "%s", 2);
    GError *err = NULL;
    DriveInfo *info = NULL;

    if (!g_str_has_prefix(options, "format=qcow2")) {
        g_assert_true(g_file_set_contents(path, zeros, DISK_SIZE, NULL));
    } else {
        BlockOpts *opts = block_opts_new();

        block_opts_set(opts, "size", "2M");
        block_driver_qcow2.create(f->vm, path, opts, &err);
        g_assert_no_error(err);
        block_opts_free(opts);
    }
    text = g_strjoinv(path, parts);
    g_strfreev(parts);
    blk_add_drive(f->vm, text, NULL, &info, &err);
    g_assert_no_error(err);
    return info->blk;
}

/* ---- the device ------------------------------------------------------------------------------- */

typedef struct Slot {
    struct Worker *worker;
    unsigned n;
    BlkGate *gate;      /* NULL: the owner's */
    Loop *loop;
    unsigned seed;
    bool writing, is_data, changes;
    uint64_t stamp, sector;
    struct iovec iov;
    uint64_t buf[64];
} Slot;

typedef struct Worker {
    BlockBackend *blk;
    bool forgets;       /* null-co: what was written does not come back */
    Slot slots[SLOTS];
    uint64_t stamps[SECTORS]; /* what the disk has; each slot has sectors of its own */
    bool written[SECTORS];    /* since somebody cleared it */
    atomic_uint ended[LOOPS], running, resized;
    atomic_bool stop;
} Worker;

static void slot_start(Slot *slot);

static void slot_done(void *opaque, int result)
{
    Slot *slot = opaque;
    Worker *w = slot->worker;

    g_assert_cmpint(result, ==, 0);
    g_assert_true(loop_is_current(slot->loop));
    for (unsigned i = 0; i < 64 && slot->is_data && (slot->writing || !w->forgets); i++) {
        g_assert_cmpuint(slot->buf[i], ==, slot->stamp);
    }
    w->written[slot->sector] |= slot->changes;
    atomic_fetch_add(&w->ended[slot->n % LOOPS], 1);
    if (!atomic_load(&w->stop)) {
        slot_start(slot);
    } else {
        atomic_fetch_sub(&w->running, 1);
    }
}

static void slot_start(Slot *slot)
{
    Worker *w = slot->worker;
    uint64_t sector;

    slot->seed = slot->seed * 1103515245 + 12345;
    sector = (slot->seed >> 8) % (SECTORS / SLOTS) * SLOTS + slot->n;
    slot->iov = (struct iovec){slot->buf, 512};
    slot->writing = slot->seed & 0x40;
    slot->is_data = true;
    slot->changes = false;
    slot->sector = sector;
    if ((slot->seed & 0x3f00) == 0x300) {
        slot->is_data = false;
        blk_gate_flush(w->blk, slot->gate, slot_done, slot);
    } else if ((slot->seed & 0x3f00) == 0x500) {
        slot->is_data = false;
        w->stamps[sector] = 0;
        slot->changes = true;
        blk_gate_write_zeroes(w->blk, slot->gate, sector * 512, 512, false, slot_done, slot);
    } else if (slot->writing) {
        w->stamps[sector] = slot->stamp = slot->seed;
        slot->changes = true;
        for (unsigned i = 0; i < 64; i++) {
            slot->buf[i] = slot->stamp;
        }
        blk_gate_writev(w->blk, slot->gate, sector * 512, &slot->iov, 1, slot_done, slot);
    } else {
        slot->stamp = w->stamps[sector];
        blk_gate_readv(w->blk, slot->gate, sector * 512, &slot->iov, 1, slot_done, slot);
    }
}

/* Those of the loop of this slot. */
static void start_slots(void *opaque)
{
    Slot *first = opaque;
    Worker *w = first->worker;

    blk_gate_plug(w->blk, first->gate);
    for (unsigned i = first->n; i < SLOTS; i += LOOPS) {
        slot_start(&w->slots[i]);
    }
    blk_gate_unplug(w->blk, first->gate);
}

static void on_resized(void *opaque) { atomic_fetch_add(&((Worker *)opaque)->resized, 1); }

static const BlkDevOps device_ops = {.any_loop = true, .resized = on_resized};

typedef void BeforeMove(Fixture *f, BlockBackend *blk, void *opaque);

static Worker *worker_new_with(Fixture *f, const char *options, BeforeMove *before, void *opaque)
{
    Worker *w = g_new0(Worker, 1);
    GError *err = NULL;

    w->blk = add_disk(f, options);
    w->forgets = !strstr(options, "%s");
    blk_attach_shared(w->blk, NULL, &device_ops, w, true, &err);
    g_assert_no_error(err);
    if (before) {
        before(f, w->blk, opaque);
    }
    blk_set_loop(w->blk, f->loops[0], &err);
    g_assert_no_error(err);
    atomic_store(&w->running, SLOTS);
    for (unsigned i = 0; i < SLOTS; i++) {
        Loop *loop = f->loops[i % LOOPS];

        w->slots[i] = (Slot){.worker = w, .n = i, .seed = i * 7919, .loop = loop};
        w->slots[i].gate = i % LOOPS ? blk_gate(w->blk, loop, &err) : NULL;
        g_assert_no_error(err);
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        loop_post(f->loops[i], start_slots, &w->slots[i]);
    }
    return w;
}

static Worker *worker_new(Fixture *f, const char *options) { return worker_new_with(f, options, NULL, NULL); }

static void let_work(Worker *w, unsigned requests)
{
    for (unsigned i = 0; i < LOOPS; i++) {
        unsigned until = atomic_load(&w->ended[i]) + requests;

        while (atomic_load(&w->ended[i]) < until) {
            g_usleep(50);
        }
    }
}

static unsigned ended(Worker *w)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < LOOPS; i++) {
        sum += atomic_load(&w->ended[i]);
    }
    return sum;
}

static void worker_end(Fixture *f, Worker *w)
{
    unsigned all;
    BlkStats stats;

    atomic_store(&w->stop, true);
    while (atomic_load(&w->running)) {
        blk_drain(w->blk);
    }
    all = ended(w);
    blk_get_stats(w->blk, &stats);
    g_assert_cmpuint(stats.ops[BLK_STAT_READ] + stats.ops[BLK_STAT_WRITE] + stats.ops[BLK_STAT_FLUSH], ==, all);
    g_assert_cmpuint(stats.failed[BLK_STAT_READ] + stats.failed[BLK_STAT_WRITE], ==, 0);
    blk_detach(w->blk);
    g_assert_true(blk_loop(w->blk) == f->vm->loop);
    g_free(w);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void test_work(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, options);

    g_assert_true(blk_any_loop(w->blk) == !strstr(options, "format=qcow2"));
    let_work(w, 300);
    worker_end(f, w);
}

/* Nothing moves in a section; afterwards all goes on. */
static void test_drain(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, options);
    BlockNode *node = blk_node(w->blk);

    for (unsigned round = 0; round < 20; round++) {
        unsigned before;

        let_work(w, 10);
        block_drain_begin(node);
        block_drain_begin(node);
        before = ended(w);
        block_drain_end(node);
        g_usleep(200);
        g_assert_cmpuint(ended(w), ==, before);
        block_drain_end(node);
    }
    let_work(w, 20);
    worker_end(f, w);
}

static void limit(Worker *w, double iops)
{
    ThrottleConfig config = throttle_config_default();
    GError *err = NULL;

    config.avg[THROTTLE_IOPS_TOTAL] = (uint64_t)iops;
    blk_set_throttle(w->blk, NULL, &config, &err);
    g_assert_no_error(err);
}

/* What looks at requests on their way sees all of them, and none pass it when it has gone. */
static void test_watchers(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, options);
    BlockNode *node = blk_node(w->blk);
    const bool any = blk_any_loop(w->blk);
    GError *err = NULL;

    for (unsigned round = 0; round < 5; round++) {
        DirtyBitmap *b;

        let_work(w, 20);
        block_drain_begin(node);
        b = block_dirty_bitmap_add(node, "b", 512, false, true, &err);
        g_assert_no_error(err);
        memset(w->written, 0, sizeof w->written);
        block_drain_end(node);
        g_assert_false(blk_any_loop(w->blk));
        let_work(w, 40);
        block_drain_begin(node);
        for (unsigned i = 0; i < SECTORS; i++) {
            g_assert_true(!w->written[i] || block_dirty_bitmap_next(b, i * 512, true) == i * 512);
        }
        block_dirty_bitmap_remove(b, &err);
        block_drain_end(node);
        g_assert_true(blk_any_loop(w->blk) == any);
        limit(w, 100000);
        g_assert_false(blk_any_loop(w->blk));
        let_work(w, 20);
        limit(w, 0);
        g_assert_true(blk_any_loop(w->blk) == any);
    }
    worker_end(f, w);
}

/* The tree goes through other owners, a gate's loop among them, and is resized. */
static void test_moving(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, options);
    BlockNode *node = blk_node(w->blk);
    BlockLoop *home = node->loop;
    GError *err = NULL;

    for (unsigned round = 0; round < 10; round++) {
        let_work(w, 10);
        block_drain_begin(node);
        block_node_set_loop(node, round % 3 ? block_loop_main(f->vm) : block_loop_get(f->vm, f->loops[1], &err));
        block_node_set_loop(node, home);
        block_drain_end(node);
        block_ptruncate(node, DISK_SIZE + (round + 1) * 4096, true, BLOCK_PREALLOC_OFF, &err);
        g_assert_no_error(err);
    }
    g_assert_cmpuint(atomic_load(&w->resized), ==, 10);
    let_work(w, 10);
    worker_end(f, w);
}

static void reopen(Fixture *f, BlockNode *node, bool direct)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)block_opts_free);
    g_autofree char *text = g_strdup_printf("driver=file,node-name=%s,filename=%s,cache.direct=%s", node->file->node->name,
                                            node->file->node->filename, direct ? "on" : "off");
    GError *err = NULL;

    g_ptr_array_add(list, block_opts_parse(text, NULL, &err));
    g_assert_no_error(err);
    block_reopen(f->vm, list, &err);
    g_assert_no_error(err);
}

static void test_reopen(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, options);

    for (unsigned round = 0; round < 6; round++) {
        let_work(w, 10);
        reopen(f, blk_node(w->blk), round & 1);
    }
    let_work(w, 10);
    worker_end(f, w);
}

/* A loop's thread ends: what is there afterwards is the owner's way. */
static void test_release(Fixture *f, const void *options)
{
    Worker *w = worker_new(f, options);

    let_work(w, 10);
    atomic_store(&w->stop, true);
    while (atomic_load(&w->running)) {
        g_usleep(50);
    }
    blk_release_loop(f->vm, f->loops[2]);
    blk_drain(w->blk);
    blk_detach(w->blk);
    g_free(w);
}

/* ---- a device of the main loop on the same nodes ------------------------------------------------ */

#define HOME_DEPTH 4
#define HOME_FIRST (SECTORS / SLOTS * SLOTS) /* behind what the worker uses */

typedef struct HomeSlot {
    struct Home *home;
    uint64_t buf[64], sector, stamp;
    struct iovec iov;
    bool writing, busy;
} HomeSlot;

typedef struct Home {
    Vm *vm;
    BlockBackend *blk;
    bool forgets, stop;
    HomeSlot slots[HOME_DEPTH];
    uint64_t stamps[SECTORS];
    unsigned ended, resized;
} Home;

static void home_start(HomeSlot *slot);

static void home_done(void *opaque, int result)
{
    HomeSlot *slot = opaque;
    Home *h = slot->home;

    g_assert_cmpint(result, ==, 0);
    g_assert_true(vm_locked(h->vm));
    for (unsigned i = 0; i < 64 && !slot->writing && !h->forgets; i++) {
        g_assert_cmpuint(slot->buf[i], ==, h->stamps[slot->sector]);
    }
    slot->busy = false;
    h->ended++;
    if (!h->stop) {
        home_start(slot);
    }
}

static void home_start(HomeSlot *slot)
{
    Home *h = slot->home;

    slot->sector = HOME_FIRST + (unsigned)(slot - h->slots) * 2 + (h->ended & 1);
    slot->iov = (struct iovec){slot->buf, 512};
    slot->writing = ++slot->stamp % 3;
    slot->busy = true;
    if (slot->writing) {
        h->stamps[slot->sector] = slot->stamp;
        for (unsigned i = 0; i < 64; i++) {
            slot->buf[i] = slot->stamp;
        }
        blk_writev(h->blk, slot->sector * 512, &slot->iov, 1, slot->stamp % 7 == 0, home_done, slot);
    } else {
        blk_readv(h->blk, slot->sector * 512, &slot->iov, 1, home_done, slot);
    }
}

static void home_resized(void *opaque)
{
    Home *h = opaque;

    g_assert_true(vm_locked(h->vm));
    h->resized++;
}

static const BlkDevOps home_ops = {.resized = home_resized};

static void home_go(Home *h)
{
    h->stop = false;
    for (unsigned i = 0; i < HOME_DEPTH; i++) {
        h->slots[i].home = h;
        home_start(&h->slots[i]);
    }
}

static void home_stop(Home *h)
{
    h->stop = true;
    blk_drain(h->blk);
    for (unsigned i = 0; i < HOME_DEPTH; i++) {
        g_assert_false(h->slots[i].busy);
    }
}

static void home_attach(Fixture *f, BlockBackend *other, void *opaque)
{
    Home *h = opaque;
    GError *err = NULL;

    h->vm = f->vm;
    h->blk = blk_new(f->vm, "home", blk_node(other), 0, &err);
    g_assert_no_error(err);
    blk_attach_shared(h->blk, NULL, &home_ops, h, true, &err);
    g_assert_no_error(err);
    home_go(h);
}

static void home_work(Fixture *f, Home *h, unsigned requests)
{
    for (unsigned until = h->ended + requests; h->ended < until;) {
        loop_run_once(f->vm->loop, NSEC_PER_MSEC);
    }
}

static void home_end(Home *h)
{
    home_stop(h);
    blk_free(h->blk);
}

static void home_in_section(Fixture *f, Home *h, BlockNode *node)
{
    unsigned before;

    block_drain_begin(node);
    before = h->ended;
    for (unsigned i = 0; i < 5; i++) {
        loop_run_once(f->vm->loop, 0);
    }
    g_assert_cmpuint(h->ended, ==, before);
    block_drain_end(node);
}

/* Whatever happens to the nodes, requests of both go on. */
static void home_round(Fixture *f, Worker *w, Home *h, unsigned round)
{
    BlockNode *node = blk_node(w->blk);
    BlockLoop *owner = node->loop;
    GError *err = NULL;

    home_work(f, h, 30);
    let_work(w, 10);
    home_in_section(f, h, node);
    block_drain_begin(node);
    block_node_set_loop(node, round % 3 ? block_loop_main(f->vm) : block_loop_get(f->vm, f->loops[1], &err));
    block_node_set_loop(node, owner); /* the worker's first slots are for this loop only */
    block_drain_end(node);
    home_work(f, h, 10);
    block_ptruncate(node, DISK_SIZE + (round + 1) * 4096, true, BLOCK_PREALLOC_OFF, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(h->resized, ==, round + 1);
    limit(w, round % 2 ? 0 : 100000);
    home_work(f, h, 10);
    home_stop(h);
    home_go(h);
}

static void test_home(Fixture *f, const void *options, bool first)
{
    Home h = {.forgets = !strstr(options, "%s")};
    Worker *w = worker_new_with(f, options, first ? home_attach : NULL, &h);
    BlkStats stats;

    if (!first) {
        home_attach(f, w->blk, &h);
    }
    for (unsigned round = 0; round < 6; round++) {
        home_round(f, w, &h, round);
    }
    blk_get_stats(h.blk, &stats);
    g_assert_cmpuint(stats.ops[BLK_STAT_READ] + stats.ops[BLK_STAT_WRITE], ==, h.ended);
    if (first) { /* the other one goes: the nodes come */
        BlockBackend *other = w->blk;

        worker_end(f, w);
        g_assert_true(blk_loop(other) == f->vm->loop);
        home_work(f, &h, 30);
        home_end(&h);
    } else { /* it goes, and comes again */
        home_end(&h);
        let_work(w, 10);
        home_attach(f, w->blk, &h);
        home_work(f, &h, 30);
        home_end(&h);
        worker_end(f, w);
    }
}

static void test_home_first(Fixture *f, const void *options) { test_home(f, options, true); }
static void test_home_second(Fixture *f, const void *options) { test_home(f, options, false); }

/* ---- cancelled ---- */

typedef struct Single {
    BlkRequest *request;
    struct iovec iov;
    char buf[512];
    bool ended;
    int result;
} Single;

static void single_done(void *opaque, int result)
{
    Single *s = opaque;

    g_assert_false(s->ended);
    s->ended = true;
    s->result = result;
}

static Single *single_read(Home *h)
{
    Single *s = g_new0(Single, 1);

    s->iov = (struct iovec){s->buf, sizeof s->buf};
    s->request = blk_readv(h->blk, 0, &s->iov, 1, single_done, s);
    return s;
}

/* Its end comes; not inside the call. */
static int single_cancel(Fixture *f, Single *s, bool drain, Home *h)
{
    const int64_t limit = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    int result;

    g_assert_false(s->ended);
    blk_cancel(s->request);
    g_assert_false(s->ended);
    if (drain) {
        blk_drain(h->blk);
        g_assert_true(s->ended);
    }
    while (!s->ended) {
        loop_run_once(f->vm->loop, NSEC_PER_MSEC);
        g_assert_cmpint(g_get_monotonic_time(), <, limit);
    }
    result = s->result;
    g_free(s);
    return result;
}

/* What waits for its turn in the owner, what a section keeps, and what is on its way anywhere. */
static void cancel_round(Fixture *f, Home *h, BlockNode *node)
{
    ThrottleConfig config = throttle_config_default();
    GError *err = NULL;
    Single *first, *second, *full[70];

    for (unsigned i = 0; i < 200; i++) {
        int result = single_cancel(f, single_read(h), i % 2, h);

        g_assert_true(result == 0 || result == -ECANCELED);
    }
    block_drain_begin(node);
    loop_run_once(f->vm->loop, 0);
    for (unsigned i = 0; i < 4; i++) { /* the last one, and the first one, of two that are kept */
        first = single_read(h);
        second = single_read(h);
        g_assert_cmpint(single_cancel(f, i & 1 ? first : second, i & 2, h), ==, -ECANCELED);
        g_assert_cmpint(single_cancel(f, i & 1 ? second : first, i & 2, h), ==, -ECANCELED);
    }
    first = single_read(h);
    block_drain_end(node);
    blk_drain(h->blk);
    g_assert_true(first->ended && first->result == 0);
    g_free(first);
    config.avg[THROTTLE_IOPS_TOTAL] = 1;
    blk_set_throttle(h->blk, NULL, &config, &err);
    g_assert_no_error(err);
    for (unsigned i = 0; i < G_N_ELEMENTS(full); i++) { /* those that cannot go wait for a second each */
        full[i] = single_read(h);
    }
    for (unsigned i = 0; i < 20; i++) {
        second = single_read(h);
        for (unsigned j = 0; j < i; j++) {
            loop_run_once(f->vm->loop, 0);
        }
        g_assert_cmpint(single_cancel(f, second, false, h), ==, -ECANCELED);
    }
    blk_drain(h->blk); /* limits end for it */
    for (unsigned i = 0; i < G_N_ELEMENTS(full); i++) {
        g_assert_true(full[i]->ended && full[i]->result == 0);
        g_free(full[i]);
    }
    config = throttle_config_default();
    blk_set_throttle(h->blk, NULL, &config, &err);
    g_assert_no_error(err);
}

static void test_home_cancel(Fixture *f, const void *options)
{
    Home h = {.forgets = true};
    Worker *w = worker_new_with(f, options, home_attach, &h);
    BlockNode *node = blk_node(w->blk);

    home_stop(&h);
    for (unsigned round = 0; round < 3; round++) {
        cancel_round(f, &h, node);
        let_work(w, 10);
    }
    worker_end(f, w);
    g_assert_true(blk_loop(h.blk) == f->vm->loop); /* the same, with the nodes here */
    cancel_round(f, &h, node);
    home_end(&h);
}

/* An iothread ends while its nodes are used from the main loop. */
static void test_home_release(Fixture *f, const void *options)
{
    Home h = {.forgets = !strstr(options, "%s")};
    BlockBackend *blk = add_disk(f, options);

    home_attach(f, blk, &h);
    for (unsigned i = 0; i < LOOPS; i++) {
        GError *err = NULL;

        block_node_set_loop(blk_node(blk), block_loop_get(f->vm, f->loops[i], &err));
        g_assert_no_error(err);
        home_work(f, &h, 30);
        if (i == 1) { /* who frees the loop stands in for its thread */
            loop_quit(f->loops[i]);
            pthread_join(f->threads[i], NULL);
            loop_free(f->loops[i]);
            f->loops[i] = NULL;
        } else {
            blk_release_loop(f->vm, f->loops[i]);
        }
        g_assert_true(blk_loop(h.blk) == f->vm->loop);
        home_work(f, &h, 30);
    }
    home_end(&h);
}

/* Requests that fail in the owner fail in the gate. */
static void failed(void *opaque, int result) { atomic_store((atomic_int *)opaque, result); }

typedef struct Beyond {
    BlockBackend *blk;
    BlkGate *gate;
    struct iovec iov;
    char buf[512];
    atomic_int result;
} Beyond;

static void read_beyond(void *opaque)
{
    Beyond *b = opaque;

    b->iov = (struct iovec){b->buf, sizeof b->buf};
    blk_gate_readv(b->blk, b->gate, 1 * GIB, &b->iov, 1, failed, &b->result);
}

static void test_errors(Fixture *f, const void *options)
{
    Beyond b = {.blk = add_disk(f, options)};
    GError *err = NULL;

    blk_attach(b.blk, NULL, &device_ops, NULL, true, &err);
    blk_set_loop(b.blk, f->loops[0], &err);
    g_assert_no_error(err);
    b.gate = blk_gate(b.blk, f->loops[1], &err);
    g_assert_true(b.gate == blk_gate(b.blk, f->loops[1], &err));
    loop_post(f->loops[1], read_beyond, &b);
    while (!atomic_load(&b.result)) {
        g_usleep(50);
    }
    g_assert_cmpint(atomic_load(&b.result), ==, -EIO);
    blk_detach(b.blk);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *options;
    } kinds[] = {
        {"threads", "id=d,if=none,format=raw,aio=threads,file=%s"},
        {"native", "id=d,if=none,format=raw,aio=native,cache=none,file=%s"},
        {"io_uring", "id=d,if=none,format=raw,aio=io_uring,file=%s"},
        {"null-co", "id=d,if=none,driver=null-co,size=2M"},
        {"qcow2", "format=qcow2,id=d,if=none,file=%s"},
    };
    static const struct {
        const char *name;
        void (*fn)(Fixture *f, const void *options);
        bool file_only;
    } tests[] = {{"work", test_work, false},     {"drain", test_drain, false},   {"watchers", test_watchers, true},
                 {"moving", test_moving, false}, {"reopen", test_reopen, true},  {"release", test_release, false},
                 {"errors", test_errors, false}, {"home-first", test_home_first, false},
                 {"home-second", test_home_second, false}, {"home-release", test_home_release, false},
                 {"home-cancel", test_home_cancel, false}};

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(tests); j++) {
            g_autofree char *path = g_strdup_printf("/block-gates/%s/%s", kinds[i].name, tests[j].name);

            if (!tests[j].file_only || strstr(kinds[i].options, "%s")) {
                g_test_add(path, Fixture, kinds[i].options, setup, tests[j].fn, teardown);
            }
        }
    }
    return g_test_run();
}
