/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a format reads while a monitor's command opens it (block/slow.h): the read that was asked for gets a moment, then it
 * fails, and so does the command, which runs again when the server has answered, and finds the answer here. A server that
 * falls silent holds up that command only.
 *
 * Answers are the command's: another one reads anew, and a write to the same place makes them void.
 */
#include <errno.h>

#include "block/slow.h"
#include "nbd/client.h"

#define MOMENT_NS (10 * NSEC_PER_MSEC) /* the VM waits for it: what a server nearby needs */

typedef struct NbdAhead {
    NbdClient *c;
    uint64_t command;      /* whose it is; 0: nobody's any more */
    BlockIo io;            /* what the server is asked: one wire request, in whole blocks */
    struct iovec iov;
    uint64_t from;         /* where io begins */
    uint64_t offset, len;  /* what was wanted */
    bool done;
    int result;
    BlockIo *waiter;       /* that is to be ended; NULL: none */
    BlockTimer *moment;    /* while there is one */
} NbdAhead;

static void ahead_free(gpointer data)
{
    NbdAhead *a = data;

    block_timer_free(a->moment);
    g_free(a->iov.iov_base);
    g_free(a);
}

static bool overlaps(const NbdAhead *a, const BlockIo *io) { return io->offset < a->offset + a->len && a->offset < io->offset + io->len; }

/* Those that are of no use any more; one that is under way goes when it ends. */
static void forget(NbdClient *c, uint64_t command, const BlockIo *io)
{
    for (unsigned i = c->ahead->len; i-- > 0;) {
        NbdAhead *a = g_ptr_array_index(c->ahead, i);

        if (a->command == command && (io->op == BLOCK_READ || io->op == BLOCK_STATUS || io->op == BLOCK_FLUSH || !overlaps(a, io))) {
            continue;
        }
        a->command = 0;
        if (a->done) {
            g_ptr_array_remove_index(c->ahead, i);
        }
    }
    if (!c->ahead->len) {
        g_clear_pointer(&c->ahead, g_ptr_array_unref);
    }
}

static NbdAhead *find(const NbdClient *c, uint64_t command, const BlockIo *io)
{
    for (unsigned i = 0; c->ahead && i < c->ahead->len; i++) {
        NbdAhead *a = g_ptr_array_index(c->ahead, i);

        if (a->command == command && a->offset == io->offset && a->len == io->len && !a->waiter) {
            return a;
        }
    }
    return NULL;
}

static int take(const NbdAhead *a, const BlockIo *io)
{
    if (a->result >= 0) {
        iov_from_buf(io->iov, io->iov_count, 0, (const char *)a->iov.iov_base + (a->offset - a->from), a->len);
    }
    return a->result;
}

static void ahead_done(BlockIo *io, int result)
{
    NbdAhead *a = container_of(io, NbdAhead, io);
    BlockIo *waiter = g_steal_pointer(&a->waiter);
    NbdClient *c = a->c;

    a->done = true;
    a->result = result;
    block_timer_free(g_steal_pointer(&a->moment));
    if (waiter) {
        result = take(a, waiter);
    } else if (a->command) {
        block_slow_answered(c->node->vm, a->command);
    }
    if (!a->command) {
        g_ptr_array_remove(c->ahead, a);
    }
    if (waiter) {
        waiter->done(waiter, result);
    }
}

static void on_moment(void *opaque)
{
    NbdAhead *a = opaque;
    const NbdClient *c = a->c;
    g_autofree char *what = g_strdup_printf("NBD server %s was asked for %" PRIu64 " bytes from %" PRIu64 " on", c->where, a->len, a->offset);
    BlockIo *waiter;

    if (block_slow_await(c->node, a->command, what)) {
        waiter = g_steal_pointer(&a->waiter);
        waiter->done(waiter, -EINPROGRESS);
    }
}

static void wait_a_moment(NbdAhead *a, BlockIo *io)
{
    a->waiter = io;
    if (!a->moment) {
        a->moment = block_timer_new(a->c->node->loop, on_moment, a);
    }
    block_timer_arm(a->moment, clock_monotonic_ns() + MOMENT_NS);
}

/* NULL: it takes several requests. */
static NbdAhead *ahead_new(NbdClient *c, uint64_t command, const BlockIo *io)
{
    const uint64_t block = MAX(c->info.min_block, 1), from = align_down(io->offset, block);
    NbdAhead *a = g_new0(NbdAhead, 1);

    *a = (NbdAhead){.c = c, .command = command, .from = from, .offset = io->offset, .len = io->len};
    a->iov.iov_len = MIN(align_up(io->offset + io->len, block), c->info.size) - from;
    a->io = (BlockIo){.op = BLOCK_READ, .offset = from, .len = a->iov.iov_len, .iov = &a->iov, .iov_count = 1, .done = ahead_done};
    if (!nbd_client_fits_wire(c, &a->io)) {
        g_free(a);
        return NULL;
    }
    a->iov.iov_base = g_malloc(a->iov.iov_len);
    c->ahead = c->ahead ? c->ahead : g_ptr_array_new_with_free_func(ahead_free);
    g_ptr_array_add(c->ahead, a);
    nbd_client_send(c, &a->io);
    return a;
}

bool nbd_client_ahead(NbdClient *c, BlockIo *io)
{
    const uint64_t command = block_slow_reads(c->node);
    NbdAhead *a;

    if (c->ahead) {
        forget(c, command, io);
    }
    if (!command || io->op != BLOCK_READ) {
        return false;
    }
    a = find(c, command, io);
    a = a ? a : ahead_new(c, command, io);
    if (!a) {
        return false;
    }
    if (a->done) {
        block_io_finish_later(c->node, io, take(a, io));
    } else {
        wait_a_moment(a, io);
    }
    return true;
}

/* Those that nobody waits for: a drained section need not either. */
unsigned nbd_client_ahead_pending(const NbdClient *c)
{
    unsigned n = 0;

    for (unsigned i = 0; c->ahead && i < c->ahead->len; i++) {
        const NbdAhead *a = g_ptr_array_index(c->ahead, i);

        n += !a->done && !a->waiter;
    }
    return n;
}

/* The node goes to a thread that does not serve monitors: the command asks anew, and waits. */
void nbd_client_ahead_leave(NbdClient *c)
{
    for (unsigned i = 0; c->ahead && i < c->ahead->len; i++) {
        NbdAhead *a = g_ptr_array_index(c->ahead, i);

        if (!a->done && a->command) {
            block_slow_answered(c->node->vm, a->command);
        }
        a->command = 0;
        block_timer_free(g_steal_pointer(&a->moment));
    }
}

void nbd_client_ahead_free(NbdClient *c)
{
    g_clear_pointer(&c->ahead, g_ptr_array_unref);
}
