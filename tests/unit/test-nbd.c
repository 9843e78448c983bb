/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Our NBD client and server with each other, each in a VM of its own: nodes in the main loop and in iothreads, on both
 * sides, the server gone and back. Made to be run under the thread sanitizer.
 */
#include <glib/gstdio.h>
#include <pthread.h>
#include <unistd.h>

#include "core/vm.h"
#include "nbd/server.h"

#define THREADS 4
#define REGION (256 * KIB) /* of each thread */
#define OPERATIONS 150

typedef struct IoThread {
    Loop *loop;
    pthread_t thread;
} IoThread;

typedef struct Fixture {
    char *dir, *path, *disk;
    bool server_iothread, client_iothread;
    GThread *server;
    atomic_bool ready, stop;
    atomic_uint working;
    BlockNode *node; /* the client's */
} Fixture;

static void *run_loop(void *opaque)
{
    loop_run(((IoThread *)opaque)->loop);
    return NULL;
}

static void iothread_start(IoThread *io)
{
    io->loop = loop_new("iothread", NULL);
    g_assert_cmpint(pthread_create(&io->thread, NULL, run_loop, io), ==, 0);
}

static void iothread_end(IoThread *io, Vm *vm)
{
    blk_release_loop(vm, io->loop);
    loop_quit(io->loop);
    pthread_join(io->thread, NULL);
    loop_free(io->loop);
}

static BlockNode *open_node(Vm *vm, const char *fmt, const char *name)
{
    g_autofree char *text = g_strdup_printf(fmt, name);
    GError *err = NULL;
    BlockOpts *opts = block_opts_parse(text, NULL, &err);
    BlockNode *node = block_node_open(vm, opts, NULL, &err);

    g_assert_no_error(err);
    block_opts_free(opts);
    return node;
}

/* ---- the server's VM ------------------------------------------------------------------------ */

static gpointer serve(gpointer opaque)
{
    Fixture *f = opaque;
    GError *err = NULL;
    Vm *vm = vm_new(&err);
    IoThread io;
    BlockNode *node = open_node(vm, "driver=file,filename=%s", f->disk);
    NbdServer *server = nbd_server_new(vm, &(NbdServerConfig){0});
    NbdAddress address = {.type = NBD_UNIX, .path = f->path, .tight = true, .fd = -1};

    iothread_start(&io);
    if (f->server_iothread) {
        block_node_set_loop(node, block_loop_get(vm, io.loop, &err));
    }
    nbd_export_add(server, &(NbdExportConfig){.name = "", .node = node, .writable = true, .multi_conn = true}, &err);
    g_assert_no_error(err);
    g_assert_true(nbd_server_listen(server, &address, &err));
    atomic_store(&f->ready, true);
    while (!atomic_load(&f->stop)) {
        loop_run_once(vm->loop, 20 * NSEC_PER_MSEC);
    }
    nbd_server_free(server);
    block_node_unref(node);
    iothread_end(&io, vm);
    blk_cleanup(vm);
    vm_free(vm);
    return NULL;
}

static void server_start(Fixture *f)
{
    atomic_store(&f->ready, false);
    atomic_store(&f->stop, false);
    f->server = g_thread_new("server", serve, f);
    while (!atomic_load(&f->ready)) {
        g_usleep(1000);
    }
}

static void server_end(Fixture *f)
{
    atomic_store(&f->stop, true);
    g_thread_join(f->server);
}

static void setup(Fixture *f, const void *data)
{
    g_autofree char *zeros = g_malloc0(THREADS * REGION);

    f->dir = g_strdup("test-nbd-XXXXXX");
    g_assert_nonnull(g_mkdtemp(f->dir));
    f->path = g_strdup_printf("%s/socket", f->dir);
    f->disk = g_strdup_printf("%s/disk", f->dir);
    g_assert_true(g_file_set_contents(f->disk, zeros, THREADS * REGION, NULL));
    f->server_iothread = GPOINTER_TO_UINT(data) & 1;
    f->client_iothread = GPOINTER_TO_UINT(data) & 2;
    server_start(f);
}

static void teardown(Fixture *f, const void *data)
{
    server_end(f);
    g_unlink(f->disk);
    g_rmdir(f->dir);
    g_free(f->dir);
    g_free(f->path);
    g_free(f->disk);
}

/* ---- the client's --------------------------------------------------------------------------- */

typedef struct User {
    Fixture *f;
    unsigned number;
} User;

/* Writes, zeroes and reads its own part of the disk, and compares with what it should be. */
static gpointer use(gpointer opaque)
{
    const User *u = opaque;
    BlockNode *node = u->f->node;
    GRand *rand = g_rand_new_with_seed(u->number + 1);
    g_autofree uint8_t *model = g_malloc0(REGION), *buf = g_malloc(REGION);
    uint64_t base = u->number * REGION;

    for (unsigned i = 0; i < OPERATIONS; i++) {
        uint32_t at = (uint32_t)g_rand_int_range(rand, 0, REGION - 1);
        uint32_t len = (uint32_t)g_rand_int_range(rand, 1, (gint32)MIN(REGION - at, 40000) + 1);
        BlockStatus status;

        switch (g_rand_int_range(rand, 0, 5)) {
        case 0:
            memset(model + at, 0, len);
            g_assert_cmpint(block_pzero(node, base + at, len, BLOCK_FLAG_MAY_UNMAP), ==, 0);
            break;
        case 1:
            g_assert_cmpint(block_pstatus(node, base + at, len, 0, &status), ==, 0);
            g_assert_cmpuint(status.bytes, >, 0);
            break;
        case 2:
            g_assert_cmpint(block_pread(node, base + at, buf, len), ==, 0);
            g_assert_cmpmem(buf, len, model + at, len);
            break;
        default:
            memset(model + at, (int)i, len);
            g_assert_cmpint(block_pwrite(node, base + at, model + at, len, i % 7 ? 0 : BLOCK_FLAG_FUA), ==, 0);
        }
    }
    g_assert_cmpint(block_pread(node, base, buf, REGION), ==, 0);
    g_assert_cmpmem(buf, REGION, model, REGION);
    g_rand_free(rand);
    atomic_fetch_sub(&u->f->working, 1);
    return NULL;
}

static void work(Fixture *f, bool restart)
{
    GError *err = NULL;
    Vm *vm = vm_new(&err);
    GThread *threads[THREADS];
    User users[THREADS];
    IoThread io;

    iothread_start(&io);
    f->node = open_node(vm, "driver=nbd,discard=unmap,reconnect-delay=100,server.type=unix,server.path=%s", f->path);
    if (f->client_iothread) {
        block_node_set_loop(f->node, block_loop_get(vm, io.loop, &err));
        g_assert_no_error(err);
    }
    atomic_store(&f->working, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        users[i] = (User){f, i};
        threads[i] = g_thread_new("user", use, &users[i]);
    }
    for (unsigned turn = 0; atomic_load(&f->working); turn++) {
        loop_run_once(vm->loop, 2 * NSEC_PER_MSEC);
        if (restart && turn == 3) {
            server_end(f);
            server_start(f);
        }
    }
    for (unsigned i = 0; i < THREADS; i++) {
        g_thread_join(threads[i]);
    }
    g_assert_cmpint(block_pflush(f->node), ==, 0);
    block_node_unref(f->node);
    iothread_end(&io, vm);
    blk_cleanup(vm);
    vm_free(vm);
}

static void test_many(Fixture *f, const void *data) { work(f, false); }

static void test_restart(Fixture *f, const void *data) { work(f, true); }

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL);
#define ADD(name, iothreads, fn) \
    g_test_add("/nbd/" name, Fixture, GUINT_TO_POINTER(iothreads), setup, fn, teardown)
    ADD("main-loops", 0, test_many);
    ADD("server-iothread", 1, test_many);
    ADD("client-iothread", 2, test_many);
    ADD("both-iothreads", 3, test_many);
    ADD("restart", 0, test_restart);
    ADD("restart-iothreads", 3, test_restart);
    return g_test_run();
}
