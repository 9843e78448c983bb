/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What filters over one child "file" have in common. */
#include "block/block_int.h"

bool block_filter_open_file(BlockNode *node, BlockOpts *opts, GError **err)
{
    if (!block_open_child(node, opts, "file", BLOCK_ROLE_FILTERED | BLOCK_ROLE_PRIMARY, false,
                          err)) {
        return false;
    }
    node->size = block_node_size(node->file->node);
    node->filename = g_strdup(node->file->node->filename);
    return true;
}

void block_filter_child_resized(BlockNode *node, BlockChild *child)
{
    if (child == node->file) {
        block_node_set_size(node, block_node_size(child->node));
    }
}

void block_filter_refresh_limits(BlockNode *node)
{
    node->limits = node->file->node->limits;
}

bool block_filter_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                           GError **err)
{
    return block_ptruncate(node->file->node, size, exact, prealloc, err);
}
