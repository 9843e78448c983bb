/* SPDX-License-Identifier: GPL-2.0-or-later */
/* throttle: a filter whose requests are limited by a group (block/throttle.h). */
#include "block/throttle.h"

typedef struct ThrottleState {
    ThrottleMember *member;
} ThrottleState;

static void pass_on(void *opaque, BlockIo *io)
{
    BlockNode *node = opaque;

    block_node_submit(node->file->node, io);
}

static bool throttle_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    ThrottleState *t = node->state;
    g_autofree char *name = block_opts_take(opts, "throttle-group");
    ThrottleGroup *group = name ? throttle_group_find(node->vm, name) : NULL;

    if (!name) {
        return error_set(err, "Parameter 'throttle-group' is missing");
    }
    if (!group) {
        return error_set(err, "Throttle group '%s' does not exist", name);
    }
    if (!block_filter_open_file(node, opts, err)) {
        return false;
    }
    t->member = throttle_member_new(group, node->loop, pass_on, node);
    return true;
}

static void throttle_close(BlockNode *node)
{
    throttle_member_free(((ThrottleState *)node->state)->member);
}

static void throttle_submit(BlockNode *node, BlockIo *io)
{
    if (throttle_member_pass(((ThrottleState *)node->state)->member, io)) {
        block_node_submit(node->file->node, io);
    }
}

static void throttle_drain_begin(BlockNode *node)
{
    throttle_member_drain_begin(((ThrottleState *)node->state)->member);
}

static void throttle_drain_end(BlockNode *node)
{
    throttle_member_drain_end(((ThrottleState *)node->state)->member);
}

static void throttle_detach_loop(BlockNode *node)
{
    throttle_member_detach_loop(((ThrottleState *)node->state)->member);
}

static void throttle_attach_loop(BlockNode *node)
{
    throttle_member_attach_loop(((ThrottleState *)node->state)->member, node->loop);
}

/* A replaced group: the node moves over when the reopen commits. */
static bool throttle_reopen_prepare(BlockReopen *reopen, GError **err)
{
    g_autofree char *name = block_opts_take(reopen->opts, "throttle-group");
    const ThrottleState *t = reopen->node->state;
    ThrottleGroup *group = reopen->keep ? throttle_member_group(t->member)
                           : name       ? throttle_group_find(reopen->node->vm, name) : NULL;

    reopen->state = group;
    return group || error_set(err, "Throttle group '%s' does not exist", name ? name : "");
}

static void throttle_reopen_commit(BlockReopen *reopen)
{
    BlockNode *node = reopen->node;
    ThrottleState *t = node->state;
    ThrottleMember *old = t->member;

    t->member = throttle_member_new(reopen->state, node->loop, pass_on, node);
    throttle_member_drain_begin(t->member); /* the section that we are in ends with drain_end */
    throttle_member_free(old);
}

const BlockDriver block_driver_throttle = {
    .name = "throttle",
    .is_filter = true,
    .state_size = sizeof(ThrottleState),
    .open = throttle_open,
    .close = throttle_close,
    .reopen_prepare = throttle_reopen_prepare,
    .reopen_commit = throttle_reopen_commit,
    .submit = throttle_submit,
    .child_resized = block_filter_child_resized,
    .refresh_limits = block_filter_refresh_limits,
    .drain_begin = throttle_drain_begin,
    .drain_end = throttle_drain_end,
    .detach_loop = throttle_detach_loop,
    .attach_loop = throttle_attach_loop,
    .truncate = block_filter_truncate,
};
