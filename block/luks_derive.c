/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS: keys derived from passphrases, which takes seconds on purpose: by a thread where a monitor's command opens the
 * node (block/slow.h).
 */
#include "block/crypto.h"
#include "block/slow.h"

#define FEW_ITERATIONS 20000 /* take less than 20 ms of any host of today: no thread for those */

typedef struct DeriveTask {
    BlockSlowTask task;
    LuksDerive what;    /* pass is its own */
    const BlockCipherOps *ops;
    uint8_t out[CRYPT_MAX_KEY];
} DeriveTask;

static bool derive(const BlockCipherOps *ops, const LuksDerive *d, uint8_t *out, GError **err)
{
    return ops->pbkdf2(d->hash, d->pass, d->pass_len, d->salt, sizeof d->salt, d->iterations, out, d->out_len, err);
}

static bool derive_run(BlockSlowTask *task, int cancel_fd, GError **err)
{
    DeriveTask *t = container_of(task, DeriveTask, task);

    return derive(t->ops, &t->what, t->out, err);
}

static bool derive_same(const BlockSlowTask *one, const BlockSlowTask *other)
{
    const LuksDerive *a = &container_of(one, DeriveTask, task)->what, *b = &container_of(other, DeriveTask, task)->what;

    return !strcmp(a->hash, b->hash) && a->pass_len == b->pass_len && !memcmp(a->pass, b->pass, a->pass_len) &&
           !memcmp(a->salt, b->salt, sizeof a->salt) && a->iterations == b->iterations && a->out_len == b->out_len;
}

/* Any thread: it has nothing but memory. */
static void derive_free(BlockSlowTask *task)
{
    DeriveTask *t = container_of(task, DeriveTask, task);

    explicit_bzero((void *)(uintptr_t)t->what.pass, t->what.pass_len);
    explicit_bzero(t->out, sizeof t->out);
    g_free((void *)(uintptr_t)t->what.pass);
    g_free(t);
}

static const BlockSlowOps derive_ops = {.run = derive_run, .same = derive_same, .free = derive_free};

bool luks_derive(Vm *vm, const BlockCipherOps *ops, const LuksDerive *what, uint8_t *out, GError **err)
{
    DeriveTask *t;
    BlockSlowTask *done;

    if (what->iterations < FEW_ITERATIONS || !vm_locked(vm)) {
        return derive(ops, what, out, err);
    }
    t = g_new0(DeriveTask, 1);
    t->task.ops = &derive_ops;
    t->what = *what;
    t->what.pass = g_memdup2(what->pass, what->pass_len);
    t->ops = ops;
    done = block_slow_get(vm, &t->task, err);
    if (!done) {
        return false;
    }
    memcpy(out, container_of(done, DeriveTask, task)->out, what->out_len);
    block_slow_keep(vm, done);
    return true;
}
