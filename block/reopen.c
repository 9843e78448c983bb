/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening: open nodes get new options, all of them or none (blockdev-reopen).
 *
 * Options are complete: what is left out gets its default. A driver changes what it can
 * (reopen_prepare); any other option has to stay as it is. "file" and "backing" may name another
 * open node, backing also null. The trees are drained from the first prepare to the last commit.
 */
#include "block/block_int.h"

typedef struct Entry {
    BlockReopen r;
    BlockNode *new_file, *new_backing; /* NULL: as it is */
    bool drop_backing;
    BlockReopen before; /* the common options, to go back to */
    bool applied;
} Entry;

/* ---- what is asked for ---------------------------------------------------------------------- */

static bool take_common(Entry *e, GError **err)
{
    static const char *const discard[] = {"ignore", "unmap", "off", "on", NULL};
    static const char *const zeroes[] = {"off", "on", "unmap", NULL};
    BlockReopen *r = &e->r;
    int unmap = 0;

    if (!block_opts_take_bool(r->opts, "read-only", &r->read_only, err) ||
        !block_opts_take_bool(r->opts, "auto-read-only", &r->auto_read_only, err) ||
        !block_opts_take_bool(r->opts, "cache.direct", &r->direct, err) ||
        !block_opts_take_bool(r->opts, "cache.no-flush", &r->no_flush, err) ||
        !block_opts_take_bool(r->opts, "force-share", &r->force_share, err) ||
        !block_opts_take_enum(r->opts, "discard", discard, &unmap, err) ||
        !block_opts_take_enum(r->opts, "detect-zeroes", zeroes, &r->detect_zeroes, err)) {
        return false;
    }
    r->discard_unmap = unmap & 1;
    if (r->detect_zeroes == BLOCK_DETECT_ZEROES_UNMAP && !r->discard_unmap) {
        return error_set(err, "setting detect-zeroes to unmap is not allowed without setting "
                              "discard operation to unmap");
    }
    return !r->force_share || r->read_only ||
           error_set(err, "force-share=on can only be used with read-only images");
}

/* A child's option: the node's name, or (not changed) options of a node opened with it. */
static bool take_child(Entry *e, const char *name, BlockNode **new_node, bool *drop, GError **err)
{
    BlockNode *node = e->r.node;
    const BlockChild *child = block_child_find(node, name);
    g_autofree char *ref = block_opts_take(e->r.opts, name);
    BlockOpts *nested = block_opts_take_prefix(e->r.opts, name);
    bool has_nested = block_opts_left(nested) != NULL;
    BlockNode *to;

    block_opts_free(nested);
    if (!ref) {
        return !has_nested ||
               error_set(err,
                         "Cannot change the options of '%s' of node '%s' in place: reopen the child "
                         "node by its name, or name another one",
                         name, node->name);
    }
    if (!*ref && drop) {
        *drop = child != NULL;
        return true;
    }
    to = block_node_find(node->vm, ref);
    if (!to) {
        return error_set(err, "Cannot find device='' nor node-name='%s'", ref);
    }
    if (!child && strcmp(name, "backing")) {
        return error_set(err, "Cannot change the option '%s'", name);
    }
    *new_node = child && child->node == to ? NULL : to;
    return true;
}

static bool parse_entry(Vm *vm, Entry *e, BlockOpts *opts, GError **err)
{
    g_autofree char *name = block_opts_take(opts, "node-name");
    g_autofree char *driver = block_opts_take(opts, "driver");
    BlockNode *node = name ? block_node_find(vm, name) : NULL;

    if (!name) {
        return error_set(err, "node-name not specified");
    }
    if (!node) {
        return error_set(err, "Failed to find node with node-name='%s'", name);
    }
    if (node->backing_filename && !block_opts_peek(opts, "backing") &&
        !block_opts_has_prefix(opts, "backing")) {
        return error_set(err, "backing is missing for '%s'", name);
    }
    e->r.node = node;
    e->r.opts = opts;
    e->before = (BlockReopen){.read_only = node->read_only,
                              .auto_read_only = node->auto_read_only,
                              .direct = node->direct,
                              .no_flush = node->no_flush,
                              .discard_unmap = node->discard_unmap,
                              .force_share = node->force_share,
                              .detect_zeroes = node->detect_zeroes};
    if (!driver || strcmp(driver, node->drv->name)) {
        return error_set(err, "Cannot change the option 'driver'");
    }
    return take_common(e, err) && take_child(e, "file", &e->new_file, NULL, err) &&
           take_child(e, "backing", &e->new_backing, &e->drop_backing, err);
}

/* ---- prepare, commit, abort ----------------------------------------------------------------- */

static void set_common(BlockNode *node, const BlockReopen *r)
{
    node->read_only = r->read_only;
    node->auto_read_only = r->auto_read_only;
    node->direct = r->direct;
    node->no_flush = r->no_flush;
    node->discard_unmap = r->discard_unmap;
    node->force_share = r->force_share;
    node->detect_zeroes = (BlockDetectZeroes)r->detect_zeroes;
}

static bool prepare(Entry *e, GError **err)
{
    BlockReopen *r = &e->r;
    const char *left;

    if (r->node->drv->reopen_prepare) {
        if (!r->node->drv->reopen_prepare(r, err)) {
            return false;
        }
        r->prepared = true;
    }
    left = block_opts_left(r->opts);
    if (left) {
        return error_set(err, "Cannot change the option '%s'", left);
    }
    return true;
}

static bool swap_child(BlockNode *node, const char *name, unsigned role, BlockNode *to, GError **err)
{
    BlockChild *child = block_child_find(node, name);

    if (child) {
        return block_replace_child(child, to, err);
    }
    return block_attach_child(node, NULL, to, name, role, 0, BLOCK_PERM_ALL, err) &&
           block_node_refresh_perm(node, err);
}

/* All drivers are prepared, all common fields are new: children and permissions. */
static bool apply(Entry *e, GError **err)
{
    BlockNode *node = e->r.node;
    const BlockNode *below = e->new_file ? e->new_file : node->file ? node->file->node : NULL;

    if (!node->read_only && below && below->read_only) {
        if (!node->auto_read_only) {
            return error_set(err, "Block node is read-only: '%s', which '%s' writes to",
                             below->name, node->name);
        }
        node->read_only = true;
    }
    if (e->drop_backing) {
        block_detach_child(node->backing);
    }
    return (!e->new_file || swap_child(node, "file", 0, e->new_file, err)) &&
           (!e->new_backing || swap_child(node, "backing", BLOCK_ROLE_COW, e->new_backing, err)) &&
           block_node_refresh_perm(node, err);
}

static void undo(Entry *e, BlockNode *old_file, BlockNode *old_backing)
{
    BlockNode *node = e->r.node;

    set_common(node, &e->before);
    if (old_file && node->file && node->file->node != old_file) {
        block_replace_child(node->file, old_file, NULL);
    }
    if (old_backing && (!node->backing || node->backing->node != old_backing)) {
        swap_child(node, "backing", BLOCK_ROLE_COW, old_backing, NULL);
    } else if (!old_backing && node->backing) {
        block_detach_child(node->backing);
    }
    block_node_refresh_perm(node, NULL);
}

static BlockNode *child_ref(BlockChild *child)
{
    return child ? block_node_ref(child->node) : NULL;
}

static bool run(Entry *entries, unsigned n, GError **err)
{
    g_autofree BlockNode **files = g_new0(BlockNode *, n), **backings = g_new0(BlockNode *, n);
    bool ok = true;

    for (unsigned i = 0; i < n; i++) {
        files[i] = child_ref(entries[i].r.node->file);
        backings[i] = child_ref(entries[i].r.node->backing);
    }
    for (unsigned i = 0; ok && i < n; i++) {
        ok = prepare(&entries[i], err);
    }
    for (unsigned i = 0; ok && i < n; i++) {
        set_common(entries[i].r.node, &entries[i].r);
        entries[i].applied = true;
    }
    for (unsigned i = 0; ok && i < n; i++) {
        ok = apply(&entries[i], err);
    }
    for (unsigned i = 0; i < n; i++) {
        Entry *e = &entries[i];
        const BlockDriver *drv = e->r.node->drv;

        if (ok && e->r.prepared && drv->reopen_commit) {
            drv->reopen_commit(&e->r);
        } else if (!ok && e->r.prepared && drv->reopen_abort) {
            drv->reopen_abort(&e->r);
        }
        if (!ok && e->applied) {
            undo(e, files[i], backings[i]);
        }
        if (ok && drv->refresh_limits) {
            drv->refresh_limits(e->r.node);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        block_node_unref(files[i]);
        block_node_unref(backings[i]);
    }
    return ok;
}

/* Whole trees are drained, those of nodes that become children too. */
static void drain(GPtrArray *sections, BlockNode *node)
{
    if (node) {
        g_ptr_array_add(sections, block_drain_tree(node));
    }
}

/* Drivers write out and open files in the main thread: the drained trees come to its loop for that long. Returns
 * where they were. */
static BlockLoop **borrow(Vm *vm, const GPtrArray *sections)
{
    BlockLoop **loops = g_new0(BlockLoop *, sections->len + 1);

    for (unsigned i = 0; i < sections->len; i++) {
        loops[i] = ((BlockNode *)g_ptr_array_index((GPtrArray *)g_ptr_array_index(sections, i), 0))->loop;
    }
    for (unsigned i = 0; i < sections->len; i++) {
        block_node_set_loop(g_ptr_array_index((GPtrArray *)g_ptr_array_index(sections, i), 0), block_loop_main(vm));
    }
    return loops;
}

/* Nodes that have become children go where their parents, whose section was first, are. */
static void give_back(Vm *vm, const GPtrArray *sections, BlockLoop *const *loops)
{
    for (unsigned i = sections->len; i-- > 0;) {
        const GPtrArray *tree = g_ptr_array_index(sections, i);

        for (unsigned n = 0; loops[i] != block_loop_main(vm) && n < tree->len; n++) {
            block_node_set_loop(g_ptr_array_index(tree, n), loops[i]);
        }
    }
}

bool block_reopen(Vm *vm, GPtrArray *opts, GError **err)
{
    g_autofree Entry *entries = g_new0(Entry, opts->len);
    g_autoptr(GPtrArray) sections = g_ptr_array_new();
    g_autofree BlockLoop **loops = NULL;
    bool ok = true;

    for (unsigned i = 0; ok && i < opts->len; i++) {
        ok = parse_entry(vm, &entries[i], g_ptr_array_index(opts, i), err);
    }
    for (unsigned i = 0; ok && i < opts->len; i++) {
        drain(sections, entries[i].r.node);
        drain(sections, entries[i].new_file);
        drain(sections, entries[i].new_backing);
    }
    loops = borrow(vm, sections);
    ok = ok && run(entries, opts->len, err);
    give_back(vm, sections, loops);
    for (unsigned i = sections->len; i-- > 0;) {
        block_undrain_tree(g_ptr_array_index(sections, i));
    }
    return ok;
}
