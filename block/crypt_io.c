/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests to an encrypted child. Data passes through a private buffer: the guest never sees ciphertext
 * in its memory, and what is written is what was there when it was encrypted. Small requests are
 * computed at once, larger ones by a worker.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/crypto.h"
#include "core/object.h"
#include "util/error.h"
#include "util/util.h"

#define INLINE_MAX (16 * KIB)
#define WINDOW MIB

struct BlockCrypt {
    const BlockCipherOps *ops;
    CryptSpec spec; /* its strings are literals, except ivgen_hash */
    char *ivgen_hash;
    uint8_t key[CRYPT_MAX_KEY];
    pthread_mutex_t lock;
    GPtrArray *idle;    /* ciphers that nobody uses; lock */
    GQueue changes;     /* Change *, under way or waiting; owner */
    unsigned partial, waiting; /* of these: that change parts of sectors; that wait */
};

const BlockCipherOps *block_cipher_ops(GError **err)
{
    const Type *type = type_load("block-cipher", err);

    return type ? type_ops(type) : NULL;
}

/* ---- ciphers -------------------------------------------------------------------------------- */

BlockCrypt *block_crypt_new(const BlockCipherOps *ops, const CryptSpec *spec, const uint8_t *key, GError **err)
{
    void *first = ops->open(spec, key, err);
    BlockCrypt *c;

    if (!first) {
        return NULL;
    }
    c = g_new0(BlockCrypt, 1);
    c->ops = ops;
    c->spec = *spec;
    c->spec.ivgen_hash = c->ivgen_hash = g_strdup(spec->ivgen_hash);
    memcpy(c->key, key, spec->key_len);
    pthread_mutex_init(&c->lock, NULL);
    c->idle = g_ptr_array_new_with_free_func(ops->close);
    g_ptr_array_add(c->idle, first);
    g_queue_init(&c->changes);
    return c;
}

void block_crypt_free(BlockCrypt *c)
{
    if (c) {
        g_ptr_array_unref(c->idle);
        pthread_mutex_destroy(&c->lock);
        explicit_bzero(c->key, sizeof c->key);
        g_free(c->ivgen_hash);
        g_free(c);
    }
}

const uint8_t *block_crypt_key(const BlockCrypt *c)
{
    return c->key;
}

int block_crypt_run(BlockCrypt *c, bool encrypt, uint64_t sector, uint8_t *data, size_t len)
{
    void *cipher = NULL;
    int ret;

    pthread_mutex_lock(&c->lock);
    if (c->idle->len) {
        cipher = g_ptr_array_steal_index_fast(c->idle, c->idle->len - 1);
    }
    pthread_mutex_unlock(&c->lock);
    cipher = cipher ? cipher : c->ops->open(&c->spec, c->key, NULL);
    if (!cipher) {
        return -EIO;
    }
    ret = c->ops->crypt(cipher, encrypt, sector, data, len);
    pthread_mutex_lock(&c->lock);
    g_ptr_array_add(c->idle, cipher);
    pthread_mutex_unlock(&c->lock);
    return ret;
}

/* ---- whole sectors --------------------------------------------------------------------------- */

/* Longer requests go through their buffer a window at a time. */
typedef struct CryptIo {
    BlockIo io;   /* to the child */
    BlockIo work; /* in a worker */
    BlockCrypt *crypt;
    BlockNode *node, *child;
    BlockIo *outer;
    uint64_t sector; /* of the window, for the cipher */
    uint64_t offset; /* of outer in the child */
    uint64_t pos;    /* of the window in outer */
    uint8_t *buf;
    struct iovec iov; /* the window */
} CryptIo;

static void crypt_end(CryptIo *c, int result)
{
    BlockIo *outer = c->outer;

    free(c->buf);
    g_free(c);
    outer->done(outer, result);
}

static void window_run(CryptIo *c);

static void window_end(CryptIo *c, int result)
{
    c->pos += c->iov.iov_len;
    c->sector += c->iov.iov_len / CRYPT_SECTOR;
    if (result < 0 || c->pos == c->outer->len) {
        crypt_end(c, MIN(result, 0));
    } else {
        window_run(c);
    }
}

static void child_written(BlockIo *io, int result)
{
    window_end(container_of(io, CryptIo, io), result);
}

static int work(BlockIo *io)
{
    CryptIo *c = container_of(io, CryptIo, work);

    return block_crypt_run(c->crypt, c->io.op == BLOCK_WRITE, c->sector, c->buf, c->iov.iov_len);
}

/* The buffer is computed. */
static void worked(BlockIo *io, int result)
{
    CryptIo *c = container_of(io, CryptIo, work);

    if (result < 0) {
        crypt_end(c, result);
    } else if (c->io.op == BLOCK_WRITE) {
        block_node_submit(c->child, &c->io);
    } else {
        iov_from_buf(c->outer->iov, c->outer->iov_count, c->pos, c->buf, c->iov.iov_len);
        window_end(c, 0);
    }
}

static void compute(CryptIo *c)
{
    c->work = (BlockIo){.op = BLOCK_READ, .run = work, .finish = worked};
    block_io_run_in_thread(c->node, &c->work);
}

static void child_read(BlockIo *io, int result)
{
    CryptIo *c = container_of(io, CryptIo, io);

    if (result < 0) {
        crypt_end(c, result);
    } else if (c->iov.iov_len <= INLINE_MAX) {
        worked(&c->work, work(&c->work));
    } else {
        compute(c);
    }
}

static void window_prepare(CryptIo *c)
{
    const BlockIo *outer = c->outer;

    c->iov = (struct iovec){c->buf, MIN(outer->len - c->pos, WINDOW)};
    c->io = (BlockIo){.op = outer->op,
                      .fua = outer->fua,
                      .unchanged = outer->unchanged,
                      .alone = outer->alone,
                      .offset = c->offset + c->pos,
                      .len = c->iov.iov_len,
                      .iov = &c->iov,
                      .iov_count = 1,
                      .done = outer->op == BLOCK_WRITE ? child_written : child_read};
    if (outer->op == BLOCK_WRITE) {
        iov_to_buf(outer->iov, outer->iov_count, c->pos, c->buf, c->iov.iov_len);
    }
}

/* All windows but the first. */
static void window_run(CryptIo *c)
{
    window_prepare(c);
    if (c->io.op == BLOCK_READ) {
        block_node_submit(c->child, &c->io);
    } else {
        compute(c);
    }
}

void block_crypt_submit(BlockCrypt *crypt, BlockNode *node, BlockNode *child, BlockIo *io, uint64_t sector)
{
    CryptIo *c = g_new(CryptIo, 1);
    void *buf = NULL;

    g_assert(!(io->len & (CRYPT_SECTOR - 1)));
    if (posix_memalign(&buf, 4096, CLAMP(io->len, 1, WINDOW))) {
        g_free(c);
        block_io_finish_later(node, io, -ENOMEM);
        return;
    }
    *c = (CryptIo){.crypt = crypt, .node = node, .child = child, .outer = io, .sector = sector, .offset = io->offset, .buf = buf};
    window_prepare(c);
    if (io->op == BLOCK_READ) {
        block_node_submit(child, &c->io);
        return;
    }
    if (io->len > INLINE_MAX) {
        compute(c);
        return;
    }
    if (work(&c->work) < 0) {
        free(buf);
        g_free(c);
        block_io_finish_later(node, io, -EIO);
        return;
    }
    block_node_submit(child, &c->io);
}

/* ---- changes, and parts of sectors --------------------------------------------------------------- */

/* A write, zeroing or discard of an encrypted node, or a read of parts of sectors. Whoever changes part of
 * a sector reads it first: it shares no sector with any other change that is under way. */
typedef struct Change {
    BlockIo io;    /* under way: all of outer, or one step of it */
    BlockIo *outer;
    BlockCrypt *crypt;
    BlockNode *node;
    bool partial;  /* begins or ends within a sector: done step by step */
    bool waiting;
    bool writing;  /* the sector that was read */
    uint64_t pos;  /* done up to here */
    uint64_t step; /* bytes under way */
    uint8_t *sector;
    struct iovec iov;
    GList link; /* in the crypt's changes, in the order in which they came */
} Change;

static void change_run(Change *c);

static bool is_partial(const BlockIo *io)
{
    return (io->offset | io->len) & (CRYPT_SECTOR - 1);
}

static bool collide(const Change *a, const Change *b)
{
    const BlockIo *x = a->outer, *y = b->outer;

    return (a->partial || b->partial) &&
           x->offset / CRYPT_SECTOR <= (y->offset + y->len - 1) / CRYPT_SECTOR &&
           y->offset / CRYPT_SECTOR <= (x->offset + x->len - 1) / CRYPT_SECTOR;
}

/* Is there an earlier change that c has to let pass? */
static bool must_wait(const Change *c)
{
    for (const GList *l = c->crypt->partial || c->partial ? c->link.prev : NULL; l; l = l->prev) {
        if (collide(c, l->data)) {
            return true;
        }
    }
    return false;
}

/* Starts those that waited for what has ended. */
static void start_waiting(BlockCrypt *crypt)
{
    for (GList *l = crypt->changes.head, *next; l && crypt->waiting; l = next) {
        Change *c = l->data;

        next = l->next;
        if (c->waiting && !must_wait(c)) {
            c->waiting = false;
            crypt->waiting--;
            change_run(c);
            next = crypt->changes.head; /* whatever ended meanwhile */
        }
    }
}

static void change_end(Change *c, int result)
{
    BlockCrypt *crypt = c->crypt;
    BlockIo *outer = c->outer;

    if (outer->op != BLOCK_READ) {
        g_queue_unlink(&crypt->changes, &c->link);
        crypt->partial -= c->partial;
        start_waiting(crypt);
    }
    g_free(c->io.own_iov);
    free(c->sector);
    g_free(c);
    outer->done(outer, result);
}

static void whole_done(BlockIo *io, int result)
{
    change_end(container_of(io, Change, io), result);
}

static void sector_io(Change *c, BlockOp op);

/* One step has ended: what it was about goes on, or the next one begins. */
static void step_done(BlockIo *io, int result)
{
    Change *c = container_of(io, Change, io);
    const BlockIo *outer = c->outer;
    bool within = io->iov == &c->iov;
    uint64_t skip = c->pos & (CRYPT_SECTOR - 1), at = c->pos - outer->offset;

    if (result < 0) {
        change_end(c, result);
        return;
    }
    if (within && outer->op == BLOCK_READ) {
        iov_from_buf(outer->iov, outer->iov_count, at, c->sector + skip, c->step);
    } else if (within && !c->writing) {
        if (outer->op == BLOCK_ZERO) {
            memset(c->sector + skip, 0, c->step);
        } else {
            iov_to_buf(outer->iov, outer->iov_count, at, c->sector + skip, c->step);
        }
        c->writing = true;
        sector_io(c, BLOCK_WRITE);
        return;
    }
    c->writing = false;
    c->pos += c->step;
    change_run(c);
}

static void step_submit(Change *c, BlockOp op, uint64_t offset)
{
    c->io.op = op;
    c->io.fua = op != BLOCK_READ && c->outer->fua;
    c->io.offset = offset;
    c->io.done = step_done;
    c->node->drv->submit(c->node, &c->io);
}

static void sector_io(Change *c, BlockOp op)
{
    g_free(c->io.own_iov);
    c->iov = (struct iovec){c->sector, CRYPT_SECTOR};
    c->io = (BlockIo){.len = CRYPT_SECTOR, .iov = &c->iov, .iov_count = 1};
    step_submit(c, op, c->pos & ~(uint64_t)(CRYPT_SECTOR - 1));
}

/* Whole sectors in the middle. */
static void middle_io(Change *c)
{
    const BlockIo *outer = c->outer;

    g_free(c->io.own_iov);
    c->io = (BlockIo){.len = c->step, .may_unmap = outer->may_unmap};
    if (outer->op != BLOCK_ZERO) {
        block_io_slice(&c->io, outer, c->pos - outer->offset, c->step);
    }
    step_submit(c, outer->op, c->pos);
}

static void change_run(Change *c)
{
    uint64_t left = c->outer->offset + c->outer->len - c->pos, skip = c->pos & (CRYPT_SECTOR - 1);

    if (!c->partial) {
        c->io = *c->outer;
        c->io.own_iov = NULL; /* outer keeps it */
        c->io.done = whole_done;
        c->node->drv->submit(c->node, &c->io);
    } else if (!left) {
        change_end(c, 0);
    } else if (skip || left < CRYPT_SECTOR) {
        c->step = MIN(left, CRYPT_SECTOR - skip);
        sector_io(c, BLOCK_READ);
    } else {
        c->step = left & ~(uint64_t)(CRYPT_SECTOR - 1);
        middle_io(c);
    }
}

/* False: it goes on as it is, being whole sectors to read, or a part of a change already. */
static bool is_taken(const BlockIo *io)
{
    bool changes = io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD;

    return io->len && io->done != whole_done && io->done != step_done &&
           (changes || (io->op == BLOCK_READ && is_partial(io)));
}

bool block_crypt_take(BlockCrypt *crypt, BlockNode *node, BlockIo *io)
{
    Change *c;

    if (!is_taken(io)) {
        return false;
    }
    c = g_new0(Change, 1);
    c->outer = io;
    c->crypt = crypt;
    c->node = node;
    c->pos = io->offset;
    c->partial = io->op != BLOCK_DISCARD && is_partial(io); /* of discards only whole clusters count */
    c->link.data = c;
    if (c->partial && posix_memalign((void **)&c->sector, CRYPT_SECTOR, CRYPT_SECTOR)) {
        g_free(c);
        block_io_finish_later(node, io, -ENOMEM);
        return true;
    }
    if (io->op != BLOCK_READ) {
        g_queue_push_tail_link(&crypt->changes, &c->link);
        crypt->partial += c->partial;
        c->waiting = must_wait(c);
        crypt->waiting += c->waiting;
    }
    if (!c->waiting) {
        change_run(c);
    }
    return true;
}
