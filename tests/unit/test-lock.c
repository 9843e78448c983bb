/* SPDX-License-Identifier: GPL-2.0-or-later */
/* util/lock: what builds with lock checks find; loop_call. The fatal finds are made in subprocesses. */
#include "core/vm.h"
#include "util/lock.h"
#include "util/log.h"

/* ---- calls to another loop ------------------------------------------------------------------ */

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

typedef struct Seen {
    Loop *loop;
    bool in_loop;
    unsigned calls;
} Seen;

static void look(void *opaque)
{
    Seen *seen = opaque;

    seen->in_loop = loop_is_current(seen->loop);
    seen->calls++;
}

static void look_twice(void *opaque)
{
    look(opaque);
    loop_call(((Seen *)opaque)->loop, look, opaque); /* in its own thread: at once */
}

static void test_loop_call(void)
{
    Seen seen = {.loop = loop_new("other", NULL)};
    pthread_t thread;

    g_assert_cmpint(pthread_create(&thread, NULL, run_loop, seen.loop), ==, 0);
    loop_call(seen.loop, look, &seen);
    g_assert_true(seen.in_loop);
    g_assert_cmpuint(seen.calls, ==, 1);
    loop_call(seen.loop, look_twice, &seen);
    g_assert_cmpuint(seen.calls, ==, 3);
    loop_quit(seen.loop);
    pthread_join(thread, NULL);
    loop_free(seen.loop);
}

static void test_nesting(void)
{
    Vm *vm = vm_new(NULL); /* with its lock held */
    Lock device, leaf;

    lock_init(&device, "device", LOCK_RANK_DEVICE);
    lock_init(&leaf, "leaf", LOCK_RANK_LEAF);
    lock_acquire(&device);
    lock_acquire(&leaf);
    lock_release(&device); /* the order of giving back is free */
    lock_release(&leaf);
    lock_acquire(&device);
    lock_release(&device);
    lock_destroy(&device);
    lock_destroy(&leaf);
    vm_free(vm);
}

#ifdef CONFIG_LOCK_CHECKS
/* ---- what is fatal ---------------------------------------------------------------------------- */

static void test_order_child(void)
{
    Lock device;

    lock_init(&device, "the device", LOCK_RANK_DEVICE);
    Vm *vm = vm_new(NULL);
    vm_unlock(vm);
    lock_acquire(&device);
    vm_lock(vm);
}

static void test_same_rank_child(void)
{
    Lock a, b;

    lock_init(&a, "one", LOCK_RANK_LEAF);
    lock_init(&b, "another", LOCK_RANK_LEAF);
    lock_acquire(&a);
    lock_acquire(&b);
}

static void test_twice_child(void) { vm_lock(vm_new(NULL)); }

static void test_not_held_child(void)
{
    Lock lock;

    lock_init(&lock, "free", LOCK_RANK_LEAF);
    lock_release(&lock);
}

static void test_wait_child(void)
{
    Loop *loop = loop_new("other", NULL);
    pthread_t thread;

    vm_new(NULL);
    pthread_create(&thread, NULL, run_loop, loop);
    loop_call(loop, look, NULL);
}

static void dies(const char *child, const char *message)
{
    g_test_trap_subprocess(child, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr(message);
}

static void test_fatal(void)
{
    dies("/lock/subprocess/order", "*lock order: 'VM' is taken at *test-lock.c:* while 'the device', taken at *test-lock.c:*");
    dies("/lock/subprocess/same-rank", "*lock order: 'another' is taken *while 'one'*");
    dies("/lock/subprocess/twice", "*lock order: 'VM' is taken *while 'VM'*");
    dies("/lock/subprocess/not-held", "*'free' is released by a thread that does not hold it*");
    dies("/lock/subprocess/wait", "*waiting for other while 'VM', taken at *core/vm.c:*");
}

/* ---- held too long ---------------------------------------------------------------------------- */

static void dawdle(void *opaque)
{
    g_usleep(20000);
    loop_quit(((Vm *)opaque)->loop);
}

static void test_long_child(void)
{
    Vm *vm = vm_new(NULL);

    loop_post(vm->loop, dawdle, vm);
    vm_unlock(vm);
    loop_run(vm->loop);
}

static void test_long(void)
{
    g_setenv("KILN_LOCK_LIMIT_MS", "10", true);
    g_test_trap_subprocess("/lock/subprocess/long", 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr("*lock 'VM' was held for * ms by thread '*', taken at *core/vm.c:*; * ms of it in *");
    g_setenv("KILN_LOCK_LIMIT_MS", "3600000", true);
    g_test_trap_subprocess("/lock/subprocess/long", 0, 0);
    g_test_trap_assert_passed();
    g_test_trap_assert_stderr_unmatched("*was held for*");
    g_unsetenv("KILN_LOCK_LIMIT_MS");
}
#else
static void test_not_built(void) { g_test_skip("this build has no lock checks (-Ddebug_locks=enabled)"); }
#endif

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loop/call", test_loop_call);
    g_test_add_func("/lock/nesting", test_nesting);
#ifdef CONFIG_LOCK_CHECKS
    g_test_add_func("/lock/subprocess/order", test_order_child);
    g_test_add_func("/lock/subprocess/same-rank", test_same_rank_child);
    g_test_add_func("/lock/subprocess/twice", test_twice_child);
    g_test_add_func("/lock/subprocess/not-held", test_not_held_child);
    g_test_add_func("/lock/subprocess/wait", test_wait_child);
    g_test_add_func("/lock/subprocess/long", test_long_child);
    g_test_add_func("/lock/fatal", test_fatal);
    g_test_add_func("/lock/long", test_long);
#else
    g_test_add_func("/lock/checks", test_not_built);
#endif
    return g_test_run();
}
