/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The victim of tests/image/test-qcow2-kill.py: random requests, many at once, and snapshots on a
 * qcow2 file until somebody kills it. Each step is told to a log first, line by line, which outlives
 * the process as the image does:
 *
 *   W ID FIRST COUNT     sectors will hold this number (0: zeros)     D N   the Nth such line has ended
 *   U ID FIRST COUNT     likewise, to be on stable storage when it has ended
 *   f N                  a flush was asked for, after N lines W or U  F N   it has ended
 *   S create|apply|delete NAME, s                                     a snapshot operation, its end
 *   R, r                                                              the image is closed, it is
 *
 * usage: qcow2-kill IMAGE OPTIONS LOG SEED FIRST-ID [SNAPSHOT-EVERY [REOPEN-EVERY]]
 *
 * The secret "s" is "pass".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/qcow2-image.h"

#define DEPTH 16

typedef struct Victim {
    BlockNode *node;
    GRand *rand;
    int log;
    uint32_t next_id;
    unsigned sectors, per_cluster, lines, in_flight;
    bool encrypted; /* nothing is compressed then */
    uint8_t *busy; /* by sector */
    bool snapshots[2];
} Victim;

typedef struct Op {
    Victim *v;
    BlockIo io;
    struct iovec iov;
    unsigned line, first, count;
} Op;

static void die(const char *what, int ret)
{
    fprintf(stderr, "qcow2-kill: %s: %s\n", what, g_strerror(-ret));
    exit(1);
}

static void tell(Victim *v, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void tell(Victim *v, const char *fmt, ...)
{
    char line[80];
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (write(v->log, line, (size_t)len) != len) {
        die("log", -errno);
    }
}

static void op_done(BlockIo *io, int result)
{
    Op *op = container_of(io, Op, io);
    Victim *v = op->v;

    if (result < 0) {
        die("request", result);
    }
    if (op->count) {
        tell(v, "D %u\n", op->line);
        memset(v->busy + op->first, 0, op->count);
    } else {
        tell(v, "F %u\n", op->line);
    }
    v->in_flight--;
    g_free(op->iov.iov_base);
    g_free(op);
}

static void start(Victim *v, BlockOp kind, unsigned first, unsigned count, bool compressed)
{
    Op *op = g_new0(Op, 1);
    size_t len = (size_t)count * SECTOR;
    bool fua = count && kind != BLOCK_DISCARD && !g_rand_int_range(v->rand, 0, 20);
    uint32_t id = kind == BLOCK_WRITE ? v->next_id++ : 0;

    *op = (Op){.v = v, .line = v->lines, .first = first, .count = count};
    op->iov = (struct iovec){g_malloc(MAX(len, 1)), len};
    fill_sectors(op->iov.iov_base, len, id);
    if (count) {
        tell(v, "%c %u %u %u\n", fua ? 'U' : 'W', id, first, count);
        memset(v->busy + first, 1, count);
        v->lines++;
    } else {
        tell(v, "f %u\n", v->lines);
    }
    op->io = sectors_io(kind, first, count, &op->iov, 1);
    op->io.compressed = compressed;
    op->io.may_unmap = g_rand_boolean(v->rand);
    op->io.fua = fua;
    op->io.done = op_done;
    v->in_flight++;
    block_node_submit(v->node, &op->io);
}

static void random_request(Victim *v)
{
    unsigned per = v->per_cluster, kind = (unsigned)g_rand_int_range(v->rand, 0, 24);
    unsigned first = (unsigned)g_rand_int_range(v->rand, 0, (gint32)v->sectors);
    unsigned count = (unsigned)g_rand_int_range(v->rand, 1, (gint32)per * 3);

    if (kind == 0) {
        start(v, BLOCK_FLUSH, 0, 0, false);
        return;
    }
    if (kind > 18) { /* whole clusters, whose fate is known */
        first = first / per * per;
        count = per * (1 + kind % 2);
    }
    count = MIN(count, v->sectors - first);
    if (memchr(v->busy + first, 1, count)) {
        return;
    }
    /* What a discard leaves of a backing file's content is nobody's promise. */
    start(v, kind < 14 || kind >= 22 ? BLOCK_WRITE : kind < 19 || v->node->backing ? BLOCK_ZERO : BLOCK_DISCARD,
          first, count, kind >= 22 && !v->encrypted);
}

static void wait_all(Victim *v, unsigned left)
{
    wait_in_flight(v->node, &v->in_flight, left);
}

static void snapshot(Victim *v)
{
    unsigned i = (unsigned)g_rand_int_range(v->rand, 0, 2);
    bool apply = v->snapshots[i] && g_rand_boolean(v->rand);
    BlockSnapshot s = {.name = (char *)(i ? "two" : "one"), .icount = UINT64_MAX};
    GError *err = NULL;
    bool ok;

    wait_all(v, 0);
    tell(v, "S %s %s\n", apply ? "apply" : v->snapshots[i] ? "delete" : "create", s.name);
    if (apply) {
        ok = v->node->drv->snapshot_apply(v->node, s.name, &err);
    } else {
        ok = v->snapshots[i] ? v->node->drv->snapshot_delete(v->node, s.name, &err)
                             : v->node->drv->snapshot_create(v->node, &s, &err);
        v->snapshots[i] = !v->snapshots[i];
    }
    if (!ok) {
        fprintf(stderr, "qcow2-kill: %s\n", err->message);
        exit(1);
    }
    tell(v, "s\n");
    g_free(s.id);
}

static BlockNode *open_image(Vm *vm, const char *file, const char *more)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,file.driver=file,discard=unmap%s%s",
                                            *more ? "," : "", more);
    GError *err = NULL;
    BlockOpts *opts = block_opts_parse(text, NULL, &err);
    BlockNode *node;

    block_opts_set(opts, "file.filename", file);
    node = block_node_open(vm, opts, NULL, &err);
    if (!node) {
        fprintf(stderr, "qcow2-kill: %s\n", err->message);
        exit(1);
    }
    block_opts_free(opts);
    return node;
}

/* Bitmaps are stored, everything is written out. */
static void reopen(Victim *v, Vm *vm, char **argv)
{
    wait_all(v, 0);
    tell(v, "R\n");
    block_node_unref(v->node);
    tell(v, "r\n");
    v->node = open_image(vm, argv[1], argv[2]);
}

static void find_snapshots(Victim *v)
{
    GPtrArray *list = v->node->drv->snapshot_list(v->node, NULL);

    for (unsigned i = 0; i < list->len; i++) {
        v->snapshots[!strcmp(((BlockSnapshot *)g_ptr_array_index(list, i))->name, "two")] = true;
    }
    g_ptr_array_unref(list);
}

int main(int argc, char **argv)
{
    int snapshot_every = argc > 6 ? atoi(argv[6]) : 200, reopen_every = argc > 7 ? atoi(argv[7]) : 0;
    Victim v = {0};
    BlockInfo info;
    Vm *vm;

    if (argc < 6 || !(vm = vm_new(NULL))) {
        fprintf(stderr, "usage: qcow2-kill IMAGE OPTIONS LOG SEED FIRST-ID [SNAPSHOT-EVERY [REOPEN-EVERY]]\n");
        return 2;
    }
    add_secret(vm);
    v.node = open_image(vm, argv[1], argv[2]);
    v.log = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    v.rand = g_rand_new_with_seed((guint32)atoi(argv[4]));
    v.next_id = (uint32_t)atoi(argv[5]);
    v.sectors = (unsigned)(v.node->size / SECTOR);
    v.busy = g_malloc0(v.sectors);
    v.node->drv->get_info(v.node, &info);
    v.encrypted = info.encrypted;
    v.per_cluster = info.cluster_size / SECTOR;
    find_snapshots(&v);
    if (v.log < 0) {
        die("log", -errno);
    }
    for (;;) {
        if (snapshot_every && g_rand_int_range(v.rand, 0, snapshot_every) == 0) {
            snapshot(&v);
        }
        if (reopen_every && g_rand_int_range(v.rand, 0, reopen_every) == 0) {
            reopen(&v, vm, argv);
        }
        random_request(&v);
        wait_all(&v, DEPTH);
    }
}
