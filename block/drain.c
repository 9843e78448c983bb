/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drained sections, and moving a tree from one loop to another.
 *
 * In a drained section nothing is in flight anywhere in the tree, and nothing new starts: back ends
 * keep what their devices submit until the section ends.
 */
#include "block/backend_int.h"
#include "util/log.h"

static void collect(GPtrArray *tree, BlockNode *node)
{
    if (g_ptr_array_find(tree, node, NULL)) {
        return;
    }
    g_ptr_array_add(tree, node);
    for (unsigned i = 0; i < node->children->len; i++) {
        collect(tree, ((BlockChild *)g_ptr_array_index(node->children, i))->node);
    }
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->parents, i);

        if (child->parent) {
            collect(tree, child->parent);
        }
    }
}

GPtrArray *block_node_tree(BlockNode *node)
{
    GPtrArray *tree = g_ptr_array_new();

    collect(tree, node);
    return tree;
}

/* ---- drained sections ----------------------------------------------------------------------- */

typedef void BackendFn(BlockBackend *blk);

static void each_backend(const BlockNode *node, BackendFn *fn)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->parents, i);

        if (child->blk) {
            fn(child->blk);
        }
    }
}

static bool node_is_busy(BlockNode *node)
{
    if (node->extern_flight || (node->drv->drain_busy && node->drv->drain_busy(node))) {
        return true;
    }
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->parents, i);

        if (child->blk && blk_root_busy(child->blk)) {
            return true;
        }
    }
    return false;
}

static bool tree_is_busy(const GPtrArray *tree)
{
    for (unsigned i = 0; i < tree->len; i++) {
        if (node_is_busy(g_ptr_array_index(tree, i))) {
            return true;
        }
    }
    return false;
}

static bool gates_are_busy(const GPtrArray *tree)
{
    for (unsigned i = 0; i < tree->len; i++) {
        const BlockNode *node = g_ptr_array_index(tree, i);

        for (unsigned j = 0; j < node->parents->len; j++) {
            const BlockChild *child = g_ptr_array_index(node->parents, j);

            if (child->blk && blk_root_gates_busy(child->blk)) {
                return true;
            }
        }
    }
    return false;
}

static void wait_while(bool (*busy)(const GPtrArray *tree), const GPtrArray *tree, BlockLoop *loop)
{
    loop->draining++;
    while (busy(tree)) {
        bool waited = block_loop_wait(loop);

        g_assert(waited); /* a request that nothing will end */
    }
    loop->draining--;
}

/* Drivers hear of it when all requests that this section waits for have come: gates' too. */
static void begin_in_owner(void *opaque)
{
    BlockNode *node = opaque;
    g_autoptr(GPtrArray) tree = block_node_tree(node);

    for (unsigned i = 0; i < tree->len; i++) {
        each_backend(g_ptr_array_index(tree, i), blk_root_drain_begin);
    }
    wait_while(gates_are_busy, tree, node->loop);
    for (unsigned i = 0; i < tree->len; i++) {
        BlockNode *n = g_ptr_array_index(tree, i);

        if (!n->quiesced++ && n->drv->drain_begin) {
            n->drv->drain_begin(n);
        }
    }
    wait_while(tree_is_busy, tree, node->loop);
}

static void end_nodes(void *opaque)
{
    const GPtrArray *tree = opaque;

    for (unsigned i = 0; i < tree->len; i++) {
        BlockNode *n = g_ptr_array_index(tree, i);

        if (n->quiesced && !--n->quiesced) {
            if (n->drv->drain_end) {
                n->drv->drain_end(n);
            }
            block_node_start_extern(n);
        }
    }
    for (unsigned i = 0; i < tree->len; i++) {
        each_backend(g_ptr_array_index(tree, i), blk_root_drain_end);
    }
}

static void end_in_owner(void *opaque)
{
    g_autoptr(GPtrArray) tree = block_node_tree(opaque);

    end_nodes(tree);
}

void block_drain_begin(BlockNode *node)
{
    block_loop_call(node->loop, begin_in_owner, node);
}

void block_drain_end(BlockNode *node)
{
    block_loop_call(node->loop, end_in_owner, node);
}

GPtrArray *block_drain_tree(BlockNode *node)
{
    GPtrArray *tree = block_node_tree(node);

    block_drain_begin(node);
    for (unsigned i = 0; i < tree->len; i++) {
        block_node_ref(g_ptr_array_index(tree, i));
    }
    return tree;
}

void block_undrain_tree(GPtrArray *tree)
{
    block_loop_call(((BlockNode *)g_ptr_array_index(tree, 0))->loop, end_nodes, tree);
    for (unsigned i = 0; i < tree->len; i++) {
        block_node_unref(g_ptr_array_index(tree, i));
    }
    g_ptr_array_free(tree, TRUE);
}

/* ---- moving --------------------------------------------------------------------------------- */

static void set_backend_loops(BlockNode *node, BlockLoop *loop)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->parents, i);

        if (child->blk) {
            blk_root_set_loop(child->blk, loop);
        }
    }
}

typedef struct Move {
    const GPtrArray *tree;
    BlockLoop *to;
} Move;

/* The nodes change hands here, in the old owner: what other threads post to it finds them either still its own or
 * gone (block/sync.c). */
static void detach_tree(void *opaque)
{
    const Move *move = opaque;
    const GPtrArray *tree = move->tree;

    for (unsigned i = 0; i < tree->len; i++) {
        BlockNode *node = g_ptr_array_index(tree, i);

        each_backend(node, blk_root_detach_loop);
        if (node->drv->detach_loop) {
            node->drv->detach_loop(node);
        }
    }
    pthread_mutex_lock(&move->to->state->loops_lock);
    for (unsigned i = 0; i < tree->len; i++) {
        ((BlockNode *)g_ptr_array_index(tree, i))->loop = move->to;
    }
    pthread_mutex_unlock(&move->to->state->loops_lock);
}

static void attach_tree(void *opaque)
{
    const GPtrArray *tree = opaque;

    for (unsigned i = tree->len; i-- > 0;) {
        BlockNode *node = g_ptr_array_index(tree, i);

        each_backend(node, blk_root_attach_loop);
        if (node->drv->attach_loop) {
            node->drv->attach_loop(node);
        }
    }
}

void block_node_set_loop(BlockNode *node, BlockLoop *loop)
{
    g_autoptr(GPtrArray) tree = NULL;
    g_autoptr(GError) err = NULL;
    Move move;

    if (node->loop == loop) {
        return;
    }
    if (!blk_roots_need_homes(node, loop, &err)) {
        report_error("node '%s' goes to another thread: %s; devices of the main thread cannot follow", node->name, err->message);
    }
    tree = block_node_tree(node);
    block_drain_begin(node);
    move = (Move){tree, loop};
    block_loop_call(node->loop, detach_tree, &move);
    for (unsigned i = 0; i < tree->len; i++) {
        set_backend_loops(g_ptr_array_index(tree, i), loop);
    }
    block_loop_call(loop, attach_tree, tree);
    block_drain_end(node);
}

bool block_in_main(BlockNode *node, BlockInMainFn *fn, void *opaque, GError **err)
{
    BlockLoop *home = node->loop;
    GPtrArray *section = block_drain_tree(node);
    bool ok;

    block_node_set_loop(node, block_loop_main(node->vm));
    ok = fn(node, opaque, err);
    block_node_set_loop(node, home);
    block_undrain_tree(section);
    return ok;
}

/* ---- for as long as something is opened or closed ------------------------------------------------ */

typedef struct Borrowed {
    GPtrArray *tree; /* with a reference to each */
    BlockLoop *loop; /* where it was */
} Borrowed;

void block_change_begin(Vm *vm) { block_state(vm)->changing++; }

bool block_borrow(BlockNode *node, BlockNode *but, GError **err)
{
    BlockState *s = block_state(node->vm);
    Borrowed *b;

    if (!s->changing || node->loop->is_main || !block_tree_has_device(node, NULL)) {
        return true;
    }
    for (unsigned i = 0; i < s->borrowed->len; i++) {
        if (((const Borrowed *)g_ptr_array_index(s->borrowed, i))->loop != node->loop) {
            return error_set(err, "node '%s' is in use in another iothread than others below the same node; put their devices into one",
                             node->name);
        }
    }
    b = g_new(Borrowed, 1);
    *b = (Borrowed){block_node_tree(node), node->loop};
    block_drain_begin(node);
    if (but) {
        GPtrArray *alone = g_ptr_array_new();

        g_ptr_array_add(alone, but);
        block_loop_call(but->loop, end_nodes, alone);
        g_ptr_array_free(alone, TRUE);
        g_ptr_array_remove(b->tree, but);
    }
    for (unsigned i = 0; i < b->tree->len; i++) {
        block_node_ref(g_ptr_array_index(b->tree, i));
    }
    g_ptr_array_add(s->borrowed, b);
    return true;
}

static void give_back(Borrowed *b)
{
    for (unsigned i = 0; i < b->tree->len; i++) {
        block_node_set_loop(g_ptr_array_index(b->tree, i), b->loop);
    }
    block_loop_call(b->loop, end_nodes, b->tree);
    for (unsigned i = 0; i < b->tree->len; i++) {
        BlockNode *node = g_ptr_array_index(b->tree, i);

        if (!block_tree_has_device(node, NULL)) {
            block_node_set_loop(node, block_loop_main(node->vm));
        }
    }
    for (unsigned i = 0; i < b->tree->len; i++) {
        block_node_unref(g_ptr_array_index(b->tree, i));
    }
    g_ptr_array_free(b->tree, TRUE);
    g_free(b);
}

void block_change_end(Vm *vm)
{
    BlockState *s = vm->block;

    if (--s->changing) {
        return;
    }
    while (s->borrowed->len) {
        give_back(g_ptr_array_steal_index(s->borrowed, s->borrowed->len - 1));
    }
}
