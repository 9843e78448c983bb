/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reopening: open nodes get new options, all of them or none (blockdev-reopen).
 *
 * Options are complete: what is left out gets its default. A driver changes what it can
 * (reopen_prepare); any other option has to stay as it is. "file" and "backing" may name another
 * open node, backing also null. A child that was opened with its parent, from options nested in the
 * parent's, is reopened with those that are nested here. The trees are drained from the first
 * prepare to the last commit.
 */
#include "block/block_int.h"

typedef struct Entry {
    BlockReopen r;
    BlockNode *new_file, *new_backing; /* NULL: as it is */
    bool drop_backing;
    BlockReopen before; /* the common options, to go back to */
    BlockNode *old_file, *old_backing; /* references, while it runs */
    BlockOpts *own_opts; /* NULL: the caller's */
    bool applied;
} Entry;

static void entry_free(void *opaque)
{
    Entry *e = opaque;

    block_opts_free(e->own_opts);
    g_free(e);
}

/* ---- what is asked for ---------------------------------------------------------------------- */

static bool take_common(Entry *e, GError **err)
{
    static const char *const discard[] = {"ignore", "unmap", "off", "on", NULL};
    static const char *const zeroes[] = {"off", "on", "unmap", NULL};
    BlockReopen *r = &e->r;
    bool detect = block_opts_peek(r->opts, "detect-zeroes");
    int unmap = r->discard_unmap;

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
    if (detect && r->detect_zeroes == BLOCK_DETECT_ZEROES_UNMAP && !r->discard_unmap) {
        return error_set(err, "setting detect-zeroes to unmap is not allowed without setting "
                              "discard operation to unmap");
    }
    return !r->force_share || r->read_only ||
           error_set(err, "force-share=on can only be used with read-only images");
}

static bool parse_entry(GPtrArray *entries, BlockNode *node, const Entry *above, const BlockChild *as, BlockOpts *opts,
                        GError **err);

/* The child's own options, nested in those of e; nested is taken over. Its node is reopened with them when it was opened so. */
static bool take_nested(GPtrArray *entries, Entry *e, const char *name, BlockOpts *nested, GError **err)
{
    BlockNode *node = e->r.node;
    const BlockChild *child = block_child_find(node, name);

    if (!child || child->node->made_for != node->serial) {
        error_set(err, "Cannot change the option '%s.%s': %s", name, block_opts_left(nested),
                  child ? "the child was not opened with these; reopen it by its own name, or name another node"
                        : "there is no such child; name a node");
        block_opts_free(nested);
        return false;
    }
    return parse_entry(entries, child->node, e, child, nested, err);
}

/* A child's option: a node's name, "" for none (drop), or nested ones. */
static bool take_child(GPtrArray *entries, Entry *e, const char *name, BlockNode **new_node, bool *drop, GError **err)
{
    BlockNode *node = e->r.node;
    const BlockChild *child = block_child_find(node, name);
    g_autofree char *ref = block_opts_take(e->r.opts, name);
    BlockNode *to;

    if (!ref) {
        BlockOpts *nested = block_opts_take_prefix(e->r.opts, name);

        if (!block_opts_left(nested)) {
            block_opts_free(nested);
            return true;
        }
        return take_nested(entries, e, name, nested, err);
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
    return !*new_node || drop || !strcmp(name, "file") || error_set(err, "Cannot change the option '%s'", name);
}

static void keep_before(Entry *e)
{
    const BlockNode *node = e->r.node;

    e->before = (BlockReopen){.read_only = node->read_only,
                              .auto_read_only = node->auto_read_only,
                              .direct = node->direct,
                              .no_flush = node->no_flush,
                              .discard_unmap = node->discard_unmap,
                              .force_share = node->force_share,
                              .detect_zeroes = node->detect_zeroes};
}

/* What a nested node starts from, as when it was opened. */
static void inherit(Entry *e, const Entry *above, const BlockChild *as)
{
    const BlockReopen *r = &above->r;
    const bool cow = as->role & BLOCK_ROLE_COW;

    e->r.read_only = cow || r->read_only;
    e->r.auto_read_only = !cow && r->auto_read_only;
    e->r.direct = r->direct;
    e->r.no_flush = r->no_flush;
    e->r.discard_unmap = r->discard_unmap;
    e->r.force_share = r->force_share;
}

/* An entry whose driver keeps its own options. */
static Entry *entry_keeps(BlockNode *node)
{
    Entry *e = g_new0(Entry, 1);

    e->r.node = node;
    keep_before(e);
    e->own_opts = block_opts_new();
    e->r = e->before;
    e->r.node = node;
    e->r.opts = e->own_opts;
    e->r.keep = true;
    return e;
}

/* What the driver opened of its own accord, such as the extents that a descriptor names, is written and cached as the image is. */
static void follow(GPtrArray *entries, const Entry *e, const BlockChild *child)
{
    BlockNode *node = child->node;
    Entry *own;

    if (child == e->r.node->file || (child->role & BLOCK_ROLE_COW) || node->made_for != e->r.node->serial) {
        return;
    }
    own = entry_keeps(node);
    inherit(own, e, child);
    g_ptr_array_add(entries, own);
}

static bool take_children(GPtrArray *entries, Entry *e, GError **err)
{
    const GPtrArray *children = e->r.node->children;
    bool ok = take_child(entries, e, "file", &e->new_file, NULL, err) &&
              take_child(entries, e, "backing", &e->new_backing, &e->drop_backing, err);

    for (unsigned i = 0; ok && i < children->len; i++) {
        const BlockChild *child = g_ptr_array_index(children, i);
        bool said = block_opts_peek(e->r.opts, child->name) || block_opts_has_prefix(e->r.opts, child->name);
        BlockNode *other = NULL;

        if (said) {
            ok = take_child(entries, e, child->name, &other, NULL, err);
        } else {
            follow(entries, e, child);
        }
    }
    return ok;
}

/* above, as: the node is its child, and opts (which are taken over then) were nested. */
static bool parse_entry(GPtrArray *entries, BlockNode *node, const Entry *above, const BlockChild *as, BlockOpts *opts,
                        GError **err)
{
    g_autofree char *name = block_opts_take(opts, "node-name"), *driver = block_opts_take(opts, "driver");
    Entry *e = g_new0(Entry, 1);

    g_ptr_array_add(entries, e);
    e->r.node = node;
    e->r.opts = opts;
    e->own_opts = above ? opts : NULL;
    keep_before(e);
    if (name && strcmp(name, node->name)) {
        return error_set(err, "Cannot change the option 'node-name'");
    }
    if (node->backing_filename && !block_opts_peek(opts, "backing") && !block_opts_has_prefix(opts, "backing")) {
        return error_set(err, "backing is missing for '%s'", node->name);
    }
    if (driver ? strcmp(driver, node->drv->name) != 0 : !above) {
        return error_set(err, "Cannot change the option 'driver'");
    }
    if (above) {
        inherit(e, above, as);
    }
    return take_common(e, err) && take_children(entries, e, err);
}

static bool parse_named(Vm *vm, GPtrArray *entries, BlockOpts *opts, GError **err)
{
    const char *name = block_opts_peek(opts, "node-name");
    BlockNode *node = name ? block_node_find(vm, name) : NULL;

    if (!name) {
        return error_set(err, "node-name not specified");
    }
    return node ? parse_entry(entries, node, NULL, NULL, opts, err)
                : error_set(err, "Failed to find node with node-name='%s'", name);
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

static void undo(Entry *e)
{
    BlockNode *node = e->r.node, *old_file = e->old_file, *old_backing = e->old_backing;

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

static bool prepare_all(const GPtrArray *entries, GError **err)
{
    bool ok = true;

    for (unsigned i = 0; ok && i < entries->len; i++) {
        ok = prepare(entries->pdata[i], err);
    }
    for (unsigned i = 0; ok && i < entries->len; i++) {
        Entry *e = entries->pdata[i];

        set_common(e->r.node, &e->r);
        e->applied = true;
    }
    for (unsigned i = 0; ok && i < entries->len; i++) {
        ok = apply(entries->pdata[i], err);
    }
    return ok;
}

/* An image is called after its file, and so is what stands on it. */
static void follow_name(BlockNode *node)
{
    g_free(node->filename);
    node->filename = g_strdup(node->file->node->filename);
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->parents, i);

        if (child->parent && child->parent->file == child) {
            follow_name(child->parent);
        }
    }
}

static void finish(Entry *e, bool ok)
{
    const BlockDriver *drv = e->r.node->drv;

    if (ok && e->r.prepared && drv->reopen_commit) {
        drv->reopen_commit(&e->r);
    } else if (!ok && e->r.prepared && drv->reopen_abort) {
        drv->reopen_abort(&e->r);
    }
    if (!ok && e->applied) {
        undo(e);
    }
    if (ok && drv->refresh_limits) {
        drv->refresh_limits(e->r.node);
    }
    if (ok && e->new_file) {
        follow_name(e->r.node);
    }
}

static bool run(const GPtrArray *entries, GError **err)
{
    bool ok;

    for (unsigned i = 0; i < entries->len; i++) {
        Entry *e = entries->pdata[i];

        e->old_file = child_ref(e->r.node->file);
        e->old_backing = child_ref(e->r.node->backing);
        block_node_ref(e->r.node); /* one may drop another */
    }
    ok = prepare_all(entries, err);
    for (unsigned i = 0; i < entries->len; i++) {
        finish(entries->pdata[i], ok);
    }
    for (unsigned i = 0; i < entries->len; i++) {
        Entry *e = entries->pdata[i];

        block_node_unref(e->old_file);
        block_node_unref(e->old_backing);
        block_node_unref(e->r.node);
    }
    return ok;
}

/* ---- without options ------------------------------------------------------------------------ */

/* What writes goes before what it writes to when that ends, and behind it when it begins. */
static void keep_entry(GPtrArray *entries, BlockNode *node, bool read_only)
{
    Entry *e = entry_keeps(node);

    e->r.read_only = read_only;
    if (read_only) {
        g_ptr_array_add(entries, e);
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->children, i);

        if (!(child->role & BLOCK_ROLE_COW) && child->node->made_for == node->serial) {
            keep_entry(entries, child->node, read_only);
        }
    }
    if (!read_only) {
        g_ptr_array_add(entries, e);
    }
}

bool block_reopen_read_only(BlockNode *node, bool read_only, GError **err)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(entry_free);

    keep_entry(entries, node, read_only);
    return run(entries, err);
}

/* ---- all of them -------------------------------------------------------------------------------- */

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
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(entry_free);
    g_autoptr(GPtrArray) sections = g_ptr_array_new();
    g_autofree BlockLoop **loops = NULL;
    bool ok = true;

    for (unsigned i = 0; ok && i < opts->len; i++) {
        ok = parse_named(vm, entries, g_ptr_array_index(opts, i), err);
    }
    for (unsigned i = 0; ok && i < entries->len; i++) {
        const Entry *e = entries->pdata[i];

        drain(sections, e->own_opts ? NULL : e->r.node);
        drain(sections, e->new_file);
        drain(sections, e->new_backing);
    }
    loops = borrow(vm, sections);
    ok = ok && run(entries, err);
    give_back(vm, sections, loops);
    for (unsigned i = sections->len; i-- > 0;) {
        block_undrain_tree(g_ptr_array_index(sections, i));
    }
    return ok;
}
