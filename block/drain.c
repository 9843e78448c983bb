/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drained sections, and moving a tree from one loop to another.
 *
 * In a drained section nothing is in flight anywhere in the tree, and nothing new starts: back ends
 * keep what their devices submit until the section ends.
 */
#include "block/block_int.h"

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
    Move move;

    if (node->loop == loop) {
        return;
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
