/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cache of L2 slices and of refcount blocks: least recently used first out, dirty and pinned
 * tables stay. A dirty table leaves through a cycle only (cycle.c), so a full cache starts one.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "util/trace.h"

#define PART ((size_t)4096) /* of a table: what is written at least */

/* ---- waiting -------------------------------------------------------------------------------- */

void wait_list_add(WaitList *list, Waiter *w)
{
    w->next = NULL;
    if (list->head) {
        list->last->next = w;
    } else {
        list->head = w;
    }
    list->last = w;
}

void wait_list_wake(WaitList *list, int result)
{
    Waiter *w = list->head;

    list->head = NULL;
    while (w) {
        Waiter *next = w->next;

        w->resume(w, result);
        w = next;
    }
}

void wait_list_move(WaitList *to, WaitList *from)
{
    if (!from->head) {
        return;
    }
    if (to->head) {
        to->last->next = from->head;
    } else {
        to->head = from->head;
    }
    to->last = from->last;
    from->head = NULL;
}

/* ---- tables --------------------------------------------------------------------------------- */

static uint8_t *table_memory(size_t size)
{
    void *p = NULL;

    if (posix_memalign(&p, 4096, size)) {
        g_error("qcow2: no memory for a table of %zu bytes", size);
    }
    return p;
}

static Table *table_add(TableCache *cache, uint64_t offset)
{
    Table *t = g_new0(Table, 1);

    t->cache = cache;
    t->offset = offset;
    t->data = table_memory(cache->size);
    t->link.data = t;
    g_hash_table_insert(cache->tables, &t->offset, t);
    return t;
}

static void table_free(Table *t)
{
    free(t->data);
    free(t->image);
    g_free(t);
}

static void table_drop(Table *t)
{
    TableCache *cache = t->cache;

    g_hash_table_remove(cache->tables, &t->offset);
    if (t->ready) {
        g_queue_unlink(&cache->lru, &t->link);
    }
    if (t->dirty) {
        t->dirty = false;
        cache->dirty--;
    }
    t->forgotten = true;
    if (!t->pins) {
        table_free(t);
    }
}

void table_pin(Table *t)
{
    t->pins++;
}

void table_unpin(Table *t)
{
    if (!--t->pins && t->forgotten) {
        table_free(t);
    }
}

void table_split(Table *t)
{
    if (!t->image) {
        t->image = t->data;
        t->data = table_memory(t->cache->size);
        memcpy(t->data, t->image, t->cache->size);
    }
}

void table_change_part(Table *t, size_t from, size_t len)
{
    const size_t part = MIN(PART, t->cache->size), begin = from & ~(part - 1), end = align_up(from + len, part);

    if (t->in_cycle) {
        table_split(t);
    }
    t->from = t->dirty ? MIN(t->from, begin) : begin;
    t->to = t->dirty ? MAX(t->to, end) : end;
    if (!t->dirty && !t->forgotten) {
        t->dirty = true;
        t->cache->dirty++;
    }
}

void table_change(Table *t) { table_change_part(t, 0, t->cache->size); }

static void make_ready(Table *t)
{
    t->ready = true;
    t->used = true;
    g_queue_push_tail_link(&t->cache->lru, &t->link);
}

/* ---- room ----------------------------------------------------------------------------------- */

static void evict(TableCache *cache)
{
    GList *next;

    for (GList *l = cache->lru.head; l && g_hash_table_size(cache->tables) >= cache->limit;
         l = next) {
        Table *t = l->data;

        next = l->next;
        if (!t->pins && !t->dirty) {
            table_drop(t);
        }
    }
}

/* False: everything is dirty or pinned and the cache has already twice its size. */
static bool make_room(TableCache *cache)
{
    if (cache->dirty * 2 > cache->limit) {
        cache->q->cycle_wanted = true; /* not now: a decision may be half done */
    }
    if (g_hash_table_size(cache->tables) < cache->limit) {
        return true;
    }
    /* A long row of unevictable tables is not searched again for every newcomer. */
    if (cache->dirty < cache->limit) {
        evict(cache);
    }
    return g_hash_table_size(cache->tables) < 2 * cache->limit || !cache->dirty ||
           !cache->q->cycle.stage;
}

/* ---- loading -------------------------------------------------------------------------------- */

static void table_loaded(BlockIo *io, int result)
{
    Table *t = container_of(io, Table, io);
    WaitList waiters = t->waiters;

    t->waiters.head = NULL;
    if (t->forgotten) {
        table_unpin(t);
        wait_list_wake(&waiters, 0);
        return;
    }
    if (result < 0) {
        table_drop(t);
        table_unpin(t);
        wait_list_wake(&waiters, result);
        return;
    }
    make_ready(t);
    wait_list_wake(&waiters, 0);
    table_unpin(t);
}

static void table_load(Table *t)
{
    TableCache *cache = t->cache;

    cache->misses++;
    t->iov = (struct iovec){t->data, cache->size};
    t->io = (BlockIo){.op = BLOCK_READ,
                      .offset = t->offset,
                      .len = cache->size,
                      .iov = &t->iov,
                      .iov_count = 1,
                      .done = table_loaded};
    table_pin(t);
    qcow2_event(cache->q, cache == &cache->q->l2 ? "l2_load" : "refblock_load");
    block_node_submit(cache->q->file, &t->io);
}

Table *table_get(TableCache *cache, uint64_t offset, Waiter *w)
{
    Table *t = g_hash_table_lookup(cache->tables, &offset);

    if (t && t->ready) {
        cache->hits++;
        t->used = true;
        if (cache->lru.tail != &t->link) {
            g_queue_unlink(&cache->lru, &t->link);
            g_queue_push_tail_link(&cache->lru, &t->link);
        }
        return t;
    }
    if (!t) {
        if (!make_room(cache)) {
            wait_list_add(&cache->q->cycle_end, w);
            return NULL;
        }
        t = table_add(cache, offset);
        table_load(t);
    }
    wait_list_add(&t->waiters, w);
    return NULL;
}

Table *table_peek(const TableCache *cache, uint64_t offset)
{
    Table *t = g_hash_table_lookup(cache->tables, &offset);

    return t && t->ready ? t : NULL;
}

Table *table_new(TableCache *cache, uint64_t offset)
{
    Table *t;

    table_forget(cache, offset, cache->size);
    make_room(cache);
    t = table_add(cache, offset);
    memset(t->data, 0, cache->size);
    make_ready(t);
    table_change(t);
    return t;
}

void table_forget(TableCache *cache, uint64_t offset, uint64_t len)
{
    for (uint64_t at = offset; at < offset + len; at += cache->size) {
        Table *t = g_hash_table_lookup(cache->tables, &at);

        if (t) {
            table_drop(t);
        }
    }
}

void table_forget_all(TableCache *cache)
{
    GList *next;

    for (GList *l = cache->lru.head; l; l = next) {
        Table *t = l->data;

        next = l->next;
        if (!t->pins && !t->dirty) {
            table_drop(t);
        }
    }
}

void table_cache_tick(TableCache *cache)
{
    GList *next;

    for (GList *l = cache->lru.head; l; l = next) {
        Table *t = l->data;

        next = l->next;
        if (!t->used && !t->pins && !t->dirty) {
            table_drop(t);
        } else {
            t->used = false;
        }
    }
}

void table_cache_init(TableCache *cache, Qcow2 *q, size_t table_size, uint64_t bytes)
{
    cache->q = q;
    cache->tables = g_hash_table_new(g_int64_hash, g_int64_equal);
    g_queue_init(&cache->lru);
    cache->size = table_size;
    cache->limit = (unsigned)MAX(bytes / table_size, 4);
}

void table_cache_clear(TableCache *cache)
{
    GHashTableIter iter;
    void *t;

    if (!cache->tables) {
        return;
    }
    g_hash_table_iter_init(&iter, cache->tables);
    while (g_hash_table_iter_next(&iter, NULL, &t)) {
        g_hash_table_iter_remove(&iter);
        table_free(t);
    }
    g_queue_init(&cache->lru);
    g_clear_pointer(&cache->tables, g_hash_table_unref);
}
