/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups: whose turn it is. The clock is the test's own, as are the timers: it goes from one deadline to the next.
 * With members in several threads, which take turns by the real clock, only the order is looked at.
 */
#include <pthread.h>

#include "block/throttle.h"

#define MEMBERS 3

/* ---- the clock --------------------------------------------------------------------------------- */

typedef struct FakeTimer {
    LoopFn *fn;
    void *opaque;
    int64_t deadline; /* 0: none */
} FakeTimer;

static bool fake;
static int64_t now_ns;
static GPtrArray *timers;

int64_t __real_clock_monotonic_ns(void);
int64_t __wrap_clock_monotonic_ns(void);
BlockTimer *__real_block_timer_new(BlockLoop *loop, LoopFn *fn, void *opaque);
BlockTimer *__wrap_block_timer_new(BlockLoop *loop, LoopFn *fn, void *opaque);
void __real_block_timer_arm(BlockTimer *timer, int64_t deadline_ns);
void __wrap_block_timer_arm(BlockTimer *timer, int64_t deadline_ns);
void __real_block_timer_cancel(BlockTimer *timer);
void __wrap_block_timer_cancel(BlockTimer *timer);
void __real_block_timer_free(BlockTimer *timer);
void __wrap_block_timer_free(BlockTimer *timer);

int64_t __wrap_clock_monotonic_ns(void)
{
    return fake ? now_ns : __real_clock_monotonic_ns();
}

BlockTimer *__wrap_block_timer_new(BlockLoop *loop, LoopFn *fn, void *opaque)
{
    FakeTimer *t;

    if (!fake) {
        return __real_block_timer_new(loop, fn, opaque);
    }
    t = g_new0(FakeTimer, 1);
    t->fn = fn;
    t->opaque = opaque;
    g_ptr_array_add(timers, t);
    return (BlockTimer *)(void *)t;
}

void __wrap_block_timer_arm(BlockTimer *timer, int64_t deadline_ns)
{
    if (fake) {
        ((FakeTimer *)(void *)timer)->deadline = deadline_ns;
    } else {
        __real_block_timer_arm(timer, deadline_ns);
    }
}

void __wrap_block_timer_cancel(BlockTimer *timer)
{
    if (fake) {
        ((FakeTimer *)(void *)timer)->deadline = 0;
    } else {
        __real_block_timer_cancel(timer);
    }
}

void __wrap_block_timer_free(BlockTimer *timer)
{
    if (fake) {
        g_ptr_array_remove(timers, timer);
        g_free(timer);
    } else {
        __real_block_timer_free(timer);
    }
}

/* To the next deadline; false: there is none. */
static bool step(void)
{
    FakeTimer *first = NULL;

    for (unsigned i = 0; i < timers->len; i++) {
        FakeTimer *t = g_ptr_array_index(timers, i);

        first = t->deadline && (!first || t->deadline < first->deadline) ? t : first;
    }
    if (first) {
        now_ns = MAX(now_ns, first->deadline);
        first->deadline = 0;
        first->fn(first->opaque);
    }
    return first;
}

/* ---- members ------------------------------------------------------------------------------------- */

typedef struct Fixture {
    Vm *vm;
    ThrottleGroup *group;
    ThrottleMember *members[MEMBERS];
    BlockLoop *loops[MEMBERS];
    GString *order;   /* a letter for each request that went on, in lower case for reads */
    int64_t last;     /* when that was */
    pthread_mutex_t lock; /* of order */
    GPtrArray *ios;
} Fixture;

typedef struct Target {
    Fixture *f;
    char letter;
} Target;

static void gone(void *opaque, BlockIo *io)
{
    Target *t = opaque;

    pthread_mutex_lock(&t->f->lock);
    g_string_append_c(t->f->order, io->op == BLOCK_READ ? (char)g_ascii_tolower(t->letter) : t->letter);
    t->f->last = now_ns;
    pthread_mutex_unlock(&t->f->lock);
}

static Target targets[MEMBERS];

static void make_group(Fixture *f, uint64_t iops, uint64_t bps)
{
    ThrottleConfig config = throttle_config_default();
    GError *err = NULL;

    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->order = g_string_new("");
    pthread_mutex_init(&f->lock, NULL);
    f->ios = g_ptr_array_new_with_free_func(g_free);
    f->group = throttle_group_get(f->vm, "g");
    config.avg[THROTTLE_IOPS_TOTAL] = iops;
    config.avg[THROTTLE_BPS_TOTAL] = bps;
    throttle_group_set_config(f->group, &config);
}

static void add_member(Fixture *f, unsigned i, BlockLoop *loop)
{
    targets[i] = (Target){f, (char)('A' + i)};
    f->loops[i] = loop;
    f->members[i] = throttle_member_new(f->group, loop, gone, &targets[i]);
}

static void setup(Fixture *f, const void *data)
{
    (void)data;
    timers = g_ptr_array_new();
    now_ns = 1000 * NSEC_PER_SEC;
    make_group(f, 10, 0);
    fake = true;
    block_loop_main(f->vm);
    throttle_group_set_config(f->group, &(ThrottleConfig){.avg[THROTTLE_IOPS_TOTAL] = 10, .length = {1, 1, 1, 1, 1, 1}});
    for (unsigned i = 0; i < MEMBERS; i++) {
        add_member(f, i, block_loop_main(f->vm));
    }
}

static void free_group(Fixture *f)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        throttle_member_free(f->members[i]);
    }
    fake = false;
    throttle_group_unref(f->group);
    blk_cleanup(f->vm);
    vm_free(f->vm);
    g_string_free(f->order, TRUE);
    g_ptr_array_unref(f->ios);
    pthread_mutex_destroy(&f->lock);
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    free_group(f);
    g_assert_cmpuint(timers->len, ==, 0);
    g_ptr_array_unref(timers);
}

static BlockIo *submit(Fixture *f, unsigned i, BlockOp op, uint64_t len)
{
    BlockIo *io = g_new0(BlockIo, 1);

    io->op = op;
    io->len = len;
    pthread_mutex_lock(&f->lock);
    g_ptr_array_add(f->ios, io);
    pthread_mutex_unlock(&f->lock);
    if (throttle_member_pass(f->members[i], io)) {
        gone(&targets[i], io);
    }
    return io;
}

static void submit_many(Fixture *f, unsigned i, BlockOp op, unsigned count)
{
    while (count--) {
        submit(f, i, op, 512);
    }
}

/* Until nothing waits; messages have their turn before the clock goes on. */
static void run(Fixture *f, size_t until)
{
    BlockLoop *loop = block_loop_main(f->vm);

    while (f->order->len < until) {
        size_t before;

        do {
            before = f->order->len;
            loop_run_once(loop->loop, 0);
        } while (f->order->len > before || loop->mail || loop->mail_in);
        if (f->order->len < until) {
            g_assert_true(step());
        }
    }
}

/* ---- tests ---------------------------------------------------------------------------------------- */

/* Two that are always busy: each the other's turn, a tenth of a second after it. */
static void test_turns(Fixture *f, const void *data)
{
    int64_t start;

    (void)data;
    submit_many(f, 0, BLOCK_WRITE, 20);
    submit_many(f, 1, BLOCK_WRITE, 20);
    run(f, 4);
    start = f->last;
    run(f, 34);
    g_assert_cmpint(f->last - start, >=, 29 * (NSEC_PER_SEC / 10));
    g_assert_cmpint(f->last - start, <=, 31 * (NSEC_PER_SEC / 10));
    run(f, 40);
    /* The bucket has room for one more than it lets go at once. */
    g_assert_cmpstr(f->order->str, ==, "AA" "ABABABABABAB" "ABABABABABAB" "ABABABABABAB" "BB");
}

/* Who comes late does not wait for all who came before. */
static void test_late(Fixture *f, const void *data)
{
    (void)data;
    submit_many(f, 0, BLOCK_WRITE, 10);
    run(f, 4);
    submit_many(f, 2, BLOCK_WRITE, 1);
    submit_many(f, 1, BLOCK_WRITE, 3);
    run(f, 14);
    g_assert_cmpstr(f->order->str, ==, "AAAAACBABABAAA");
}

/* Turns go by requests, not by bytes; what is long makes all wait. */
static void test_long(Fixture *f, const void *data)
{
    ThrottleConfig config = throttle_config_default();
    int64_t start;

    (void)data;
    config.avg[THROTTLE_BPS_TOTAL] = 10000;
    throttle_group_set_config(f->group, &config);
    for (unsigned i = 0; i < 6; i++) {
        submit(f, 0, BLOCK_WRITE, 10000);
        submit(f, 1, BLOCK_WRITE, 100);
    }
    run(f, 2);
    start = f->last;
    run(f, 12);
    g_assert_cmpstr(f->order->str, ==, "ABABABABABAB");
    g_assert_cmpint(f->last - start, >=, 5 * NSEC_PER_SEC);
}

/* Reads and writes have lines of their own. */
static void test_directions(Fixture *f, const void *data)
{
    ThrottleConfig config = throttle_config_default();

    (void)data;
    config.avg[THROTTLE_IOPS_READ] = 10;
    throttle_group_set_config(f->group, &config);
    submit_many(f, 0, BLOCK_READ, 6);
    submit_many(f, 1, BLOCK_READ, 3);
    submit_many(f, 0, BLOCK_WRITE, 5);
    g_assert_cmpstr(f->order->str, ==, "aaAAAAA");
    run(f, 14);
    g_assert_cmpstr(f->order->str, ==, "aaAAAAAabababa");
}

/* The first of the line goes away: others have their turns. */
static void test_leaving(Fixture *f, const void *data)
{
    BlockIo *last;

    (void)data;
    submit_many(f, 0, BLOCK_WRITE, 2);
    last = submit(f, 0, BLOCK_WRITE, 512);
    submit_many(f, 1, BLOCK_WRITE, 2);
    g_assert_cmpstr(f->order->str, ==, "AA");
    g_assert_true(throttle_member_cancel(f->members[0], last));
    g_assert_false(throttle_member_cancel(f->members[0], last));
    run(f, 4);
    submit_many(f, 2, BLOCK_WRITE, 3);
    submit_many(f, 1, BLOCK_WRITE, 2);
    throttle_member_drain_begin(f->members[2]);
    run(f, 9);
    throttle_member_drain_end(f->members[2]);
    g_assert_cmpstr(f->order->str, ==, "AABBCCCBB");
}

/* No limit any more: all go, in turns or not. */
static void test_no_limit(Fixture *f, const void *data)
{
    ThrottleConfig config = throttle_config_default();
    int64_t start = now_ns;

    (void)data;
    submit_many(f, 0, BLOCK_WRITE, 10);
    submit_many(f, 1, BLOCK_WRITE, 10);
    throttle_group_set_config(f->group, &config);
    run(f, 20);
    g_assert_cmpint(now_ns, ==, start);
}

/* ---- several threads ------------------------------------------------------------------------------- */

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

typedef struct Burst {
    Fixture *f;
    unsigned i, count;
} Burst;

static void submit_burst(void *opaque)
{
    Burst *b = opaque;

    submit_many(b->f, b->i, BLOCK_WRITE, b->count);
}

static unsigned went_on(Fixture *f)
{
    unsigned len;

    pthread_mutex_lock(&f->lock);
    len = (unsigned)f->order->len;
    pthread_mutex_unlock(&f->lock);
    return len;
}

/* Each in a thread of its own, all with much to do: nobody is two turns ahead of another. */
static void test_threads(void)
{
    ThrottleConfig config = throttle_config_default();
    Loop *loops[MEMBERS];
    pthread_t threads[MEMBERS];
    Burst bursts[MEMBERS];
    unsigned counts[MEMBERS] = {0}, before;
    Fixture f = {0};
    GError *err = NULL;

    make_group(&f, 1, 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        loops[i] = loop_new("iothread", &err);
        g_assert_no_error(err);
        g_assert_cmpint(pthread_create(&threads[i], NULL, run_loop, loops[i]), ==, 0);
        add_member(&f, i, block_loop_get(f.vm, loops[i], &err));
        g_assert_no_error(err);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        bursts[i] = (Burst){&f, i, 500};
        block_loop_call(f.loops[i], submit_burst, &bursts[i]);
    }
    before = went_on(&f); /* what the bucket had room for */
    config.avg[THROTTLE_IOPS_TOTAL] = 3000;
    throttle_group_set_config(f.group, &config);
    for (int64_t until = clock_monotonic_ns() + 120 * NSEC_PER_SEC; went_on(&f) < MEMBERS * 500;) {
        g_assert_cmpint(clock_monotonic_ns(), <, until);
        g_usleep(1000);
    }
    for (unsigned n = before; n < before + 1400; n++) { /* then the first has nothing left */
        counts[f.order->str[n] - 'A']++;
        for (unsigned i = 0; i < MEMBERS; i++) {
            for (unsigned j = 0; j < MEMBERS; j++) {
                g_assert_cmpuint(counts[i], <=, counts[j] + 2);
            }
        }
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        throttle_member_free(g_steal_pointer(&f.members[i]));
        block_loop_release(f.loops[i]);
        loop_quit(loops[i]);
        pthread_join(threads[i], NULL);
        loop_free(loops[i]);
    }
    free_group(&f);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Fixture *f, const void *data);
    } tests[] = {{"turns", test_turns}, {"late", test_late},         {"long", test_long}, {"directions", test_directions},
                 {"leaving", test_leaving}, {"no-limit", test_no_limit}};

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/throttle/%s", tests[i].name);

        g_test_add(path, Fixture, NULL, setup, tests[i].fn, teardown);
    }
    g_test_add_func("/throttle/threads", test_threads);
    return g_test_run();
}
