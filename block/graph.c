/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The graph: children of nodes and back ends, and the permissions that flow down along them.
 *
 * A node's users together use the union of what each uses and share the intersection of what each
 * shares; each of them must be content with what the others do. The node tells its driver (which
 * locks the file) and works out what it needs of its own children, as QEMU does.
 */
#include <sys/stat.h>

#include "block/block_int.h"
#include "util/log.h"

/* ---- permissions ---------------------------------------------------------------------------- */

static const char *const perm_names[] = {"consistent read", "write", "write unchanged", "resize"};

static char *describe_perms(uint32_t perms)
{
    GString *text = g_string_new(NULL);

    for (unsigned bit = 0; bit < G_N_ELEMENTS(perm_names); bit++) {
        if (perms & (1u << bit)) {
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", perm_names[bit]);
        }
    }
    return g_string_free(text, FALSE);
}

static char *describe_parent(const BlockChild *child)
{
    if (child->parent) {
        return g_strdup_printf("node '%s'", child->parent->name);
    }
    g_autofree char *device = *blk_name(child->blk) ? g_strdup(blk_name(child->blk)) : blk_qdev(child->blk);

    return device ? g_strdup_printf("block device '%s'", device) : g_strdup("an unnamed block device");
}

/* Does a use what b does not share? */
static bool check_pair(const BlockChild *a, const BlockChild *b, GError **err)
{
    uint32_t conflict = a->used & ~b->shared;
    g_autofree char *perms = NULL, *user = NULL, *other = NULL;

    if (!conflict) {
        return true;
    }
    perms = describe_perms(conflict);
    user = describe_parent(a);
    other = describe_parent(b);
    return error_set(err,
                     "Permission conflict on node '%s': permissions '%s' are both required by %s "
                     "(uses node '%s' as '%s' child) and unshared by %s (uses node '%s' as '%s' "
                     "child).",
                     a->node->name, perms, user, a->node->name, a->name, other, b->node->name,
                     b->name);
}

static bool check_parents(const BlockNode *node, GError **err)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        for (unsigned j = 0; j < node->parents->len; j++) {
            if (i != j && !check_pair(g_ptr_array_index(node->parents, i),
                                      g_ptr_array_index(node->parents, j), err)) {
                return false;
            }
        }
    }
    return true;
}

static void parents_perm(const BlockNode *node, uint32_t *used, uint32_t *shared)
{
    *used = 0;
    *shared = BLOCK_PERM_ALL;
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->parents, i);

        *used |= child->used;
        *shared &= child->shared;
    }
}

void block_child_default_perm(BlockNode *node, const BlockChild *child, uint32_t used,
                              uint32_t shared, uint32_t *child_used, uint32_t *child_shared)
{
    bool writable = !node->read_only && !node->inactive;

    if (child->role & BLOCK_ROLE_COW) {
        /* Who can stand changing data can stand them in the backing file too. */
        *child_used = used & BLOCK_PERM_CONSISTENT_READ;
        *child_shared = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE_UNCHANGED |
                        (shared & BLOCK_PERM_WRITE ? BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE : 0);
        return;
    }
    *child_used = used;
    *child_shared = shared;
    if (child->role & BLOCK_ROLE_METADATA) {
        /* Tables are read in any case, and written even if the guest does not write. */
        *child_used |=
            BLOCK_PERM_CONSISTENT_READ | (writable ? BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE : 0);
        *child_shared &= ~(uint32_t)(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE);
    } else if (child->role & BLOCK_ROLE_DATA) {
        *child_used |= used & BLOCK_PERM_WRITE ? BLOCK_PERM_RESIZE : 0;
        *child_shared &= ~(uint32_t)BLOCK_PERM_RESIZE;
    }
    if (node->inactive) {
        *child_used &= ~(uint32_t)(BLOCK_PERM_WRITE | BLOCK_PERM_WRITE_UNCHANGED |
                                   BLOCK_PERM_RESIZE);
        *child_shared = BLOCK_PERM_ALL;
    }
}

static void compute_child_perm(BlockNode *node, BlockChild *child, uint32_t used, uint32_t shared)
{
    (node->drv->child_perm ? node->drv->child_perm
                           : block_child_default_perm)(node, child, used, shared, &child->used,
                                                       &child->shared);
    if (child->node->force_share) {
        child->shared = BLOCK_PERM_ALL;
    }
}

bool block_node_refresh_perm(BlockNode *node, GError **err)
{
    uint32_t used, shared;

    parents_perm(node, &used, &shared);
    if (!check_parents(node, err)) {
        return false;
    }
    if ((used & BLOCK_PERM_WRITE) && node->read_only) {
        return error_set(err, "Block node is read-only: '%s'%s%s%s", node->name,
                         node->filename ? " ('" : "", node->filename ? node->filename : "",
                         node->filename ? "')" : "");
    }
    if (node->drv->set_perm &&
        !node->drv->set_perm(node, node->inactive ? 0 : used,
                             node->force_share || node->inactive ? 0 : ~shared & BLOCK_PERM_ALL,
                             err)) {
        return false;
    }
    for (unsigned i = 0; i < node->children->len; i++) {
        BlockChild *child = g_ptr_array_index(node->children, i);

        compute_child_perm(node, child, used, shared);
        if (!block_node_refresh_perm(child->node, err)) {
            return false;
        }
    }
    return true;
}

/* What was in force before is allowed again: locks that another process took meanwhile aside. */
static void restore_perm(BlockNode *node)
{
    g_autoptr(GError) err = NULL;

    if (!block_node_refresh_perm(node, &err)) {
        report_warning("Could not go back to the former locks: %s", err->message);
    }
}

bool block_child_set_perm(BlockChild *child, uint32_t used, uint32_t shared, GError **err)
{
    uint32_t old_used = child->used, old_shared = child->shared;

    child->used = used;
    child->shared = shared;
    if (!block_node_refresh_perm(child->node, err)) {
        child->used = old_used;
        child->shared = old_shared;
        restore_perm(child->node);
        return false;
    }
    return true;
}

/* ---- children ------------------------------------------------------------------------------- */

bool block_node_reaches(const BlockNode *from, const BlockNode *node)
{
    for (unsigned i = 0; i < from->children->len; i++) {
        const BlockChild *child = g_ptr_array_index(from->children, i);

        if (child->node == node || block_node_reaches(child->node, node)) {
            return true;
        }
    }
    return from == node;
}

static bool check_cycle(const BlockNode *parent, const BlockNode *node, const char *name, GError **err)
{
    return !parent || !block_node_reaches(node, parent) ||
           error_set(err, "Making '%s' a %s child of '%s' would create a cycle", node->name, name, parent->name);
}

BlockChild *block_child_find(const BlockNode *node, const char *name)
{
    for (unsigned i = 0; i < node->children->len; i++) {
        BlockChild *child = g_ptr_array_index(node->children, i);

        if (!strcmp(child->name, name)) {
            return child;
        }
    }
    return NULL;
}

static void link_parent(BlockChild *child, BlockNode *parent)
{
    g_ptr_array_add(parent->children, child);
    if (!strcmp(child->name, "file")) {
        parent->file = child;
    } else if (!strcmp(child->name, "backing")) {
        parent->backing = child;
    }
}

static void unlink_parent(BlockChild *child, BlockNode *parent)
{
    g_ptr_array_remove(parent->children, child);
    if (parent->file == child) {
        parent->file = NULL;
    } else if (parent->backing == child) {
        parent->backing = NULL;
    }
}

BlockChild *block_attach_child(BlockNode *parent, BlockBackend *blk, BlockNode *node,
                               const char *name, unsigned role, uint32_t used, uint32_t shared,
                               GError **err)
{
    BlockLoop *loop = parent ? parent->loop : node->loop;
    BlockChild *child;

    if (!check_cycle(parent, node, name, err) ||
        (node->loop != loop && (!block_borrow(node, NULL, err) || !blk_roots_need_homes(node, loop, err)))) {
        return NULL;
    }
    block_node_set_loop(node, loop);
    child = g_new0(BlockChild, 1);
    *child = (BlockChild){.node = block_node_ref(node),
                          .parent = parent,
                          .blk = blk,
                          .name = g_strdup(name),
                          .role = role,
                          .used = used,
                          .shared = shared};
    g_ptr_array_add(node->parents, child);
    if (parent) {
        link_parent(child, parent);
    }
    if (!block_node_refresh_perm(node, err)) {
        block_detach_child(child);
        return NULL;
    }
    return child;
}

void block_detach_child(BlockChild *child)
{
    if (!child) {
        return;
    }
    g_ptr_array_remove(child->node->parents, child);
    if (child->parent) {
        unlink_parent(child, child->parent);
    }
    if (child->node->refs > 1) {
        restore_perm(child->node);
    }
    block_node_unref(child->node);
    g_free(child->name);
    g_free(child);
}

bool block_replace_child(BlockChild *child, BlockNode *node, GError **err)
{
    BlockNode *old = child->node;
    uint32_t used = child->used, shared = child->shared;

    if (!check_cycle(child->parent, node, child->name, err)) {
        return false;
    }
    block_node_set_loop(node, old->loop);
    g_ptr_array_remove(old->parents, child);
    g_ptr_array_add(node->parents, child);
    child->node = node;
    if (!block_node_refresh_perm(node, err)) {
        g_ptr_array_remove(node->parents, child);
        g_ptr_array_add(old->parents, child);
        child->node = old;
        child->used = used;
        child->shared = shared;
        restore_perm(node);
        restore_perm(old);
        return false;
    }
    block_node_ref(node);
    if (old->refs > 1) {
        restore_perm(old);
    }
    block_node_unref(old);
    return true;
}

/* ---- opening children ----------------------------------------------------------------------- */

/* A format over something that can only be read is read-only itself, where that will do. */
static bool adopt_read_only(BlockNode *node, const BlockNode *child, unsigned role, GError **err)
{
    /* A format with tables writes to them in any case, so only its own auto-read-only= makes it read-only; raw is as its file is. */
    bool follows = node->auto_read_only || (child->auto_read_only && !(role & BLOCK_ROLE_METADATA));

    if (!child->read_only || node->read_only) {
        return true;
    }
    if (!follows) {
        return error_set(err,
                         "Block node is read-only: '%s' was opened so; use read-only=on here too",
                         child->name);
    }
    node->read_only = true;
    return true;
}

static BlockNode *named_child(BlockNode *node, BlockOpts *opts, const char *name, const char *ref,
                              GError **err)
{
    BlockNode *child = block_node_find(node->vm, ref);

    if (!child) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'; make it with -blockdev or blockdev-add first", ref, ref);
        return NULL;
    }
    if (block_opts_has_prefix(opts, name)) {
        error_set(err, "Cannot reference an existing block device with additional options or a new "
                       "filename");
        return NULL;
    }
    return block_node_ref(child);
}

/* "file.filename=x" without a driver of its own is what lies at x, at any depth. */
static void complete_protocol(BlockOpts *opts, unsigned role)
{
    const char *path = block_opts_peek(opts, "filename");

    if (path && !(role & BLOCK_ROLE_COW) && !block_opts_peek(opts, "driver")) {
        block_opts_set(opts, "driver", block_path_driver(path));
    }
}

static BlockNode *nested_child(BlockNode *node, BlockOpts *opts, const char *name, unsigned role,
                               GError **err)
{
    BlockOpts *sub = block_opts_take_prefix(opts, name);
    BlockNode inherit = *node, *child;

    if (role & BLOCK_ROLE_COW) {
        inherit.read_only = true;
        inherit.auto_read_only = false;
    }
    complete_protocol(sub, role);
    child = block_node_open(node->vm, sub, &inherit, err);
    block_opts_free(sub);
    return child;
}

static BlockChild *adopt(BlockNode *node, BlockNode *child, const char *name, unsigned role,
                         GError **err)
{
    BlockChild shape = {.node = child, .name = (char *)name, .role = role}, *made = NULL;

    if (!(role & BLOCK_ROLE_PRIMARY) || adopt_read_only(node, child, role, err)) {
        compute_child_perm(node, &shape, 0, BLOCK_PERM_ALL);
        made = block_attach_child(node, NULL, child, name, role, shape.used, shape.shared, err);
    }
    block_node_unref(child);
    return made;
}

BlockChild *block_open_child(BlockNode *node, BlockOpts *opts, const char *name, unsigned role,
                             bool optional, GError **err)
{
    g_autofree char *ref = block_opts_take(opts, name);
    BlockNode *child;

    if (!ref && !block_opts_has_prefix(opts, name)) {
        if (!optional) {
            error_set(err, "A block device must be specified for \"%s\"", name);
        }
        return NULL;
    }
    child = ref ? named_child(node, opts, name, ref, err)
                : nested_child(node, opts, name, role, err);
    return child ? adopt(node, child, name, role, err) : NULL;
}

char *block_path_beside(const char *base, const char *filename)
{
    g_autofree char *dir = NULL;

    if (g_path_is_absolute(filename) || !base || !strchr(base, '/')) {
        return g_strdup(filename);
    }
    dir = g_path_get_dirname(base);
    return g_build_filename(dir, filename, NULL);
}

bool block_same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* Images that name each other would be opened for ever. */
static bool check_loop(const BlockNode *node, const char *path, GError **err)
{
    for (const BlockNode *n = node; n; n = n->opened_for) {
        if (n->filename && block_same_file(n->filename, path)) {
            return error_set(err, "Backing file '%s' creates an infinite loop.", path);
        }
    }
    return true;
}

/* What the image names, with what opts say of it besides (backing.encrypt.key-secret=...). */
static BlockNode *open_named_backing(BlockNode *node, BlockOpts *opts, const char *path, const char *format,
                                     const BlockNode *inherit, GError **err)
{
    BlockOpts *all = block_opts_take_prefix(opts, "backing");
    BlockNode *child;

    if (!block_opts_peek(all, "driver")) {
        block_opts_set(all, "driver", format ? format : block_probe_path(path));
    }
    if (!block_opts_has_prefix(all, "file")) {
        block_opts_set(all, "file.driver", block_path_driver(path));
        block_opts_set(all, "file.filename", path);
    }
    child = block_node_open(node->vm, all, inherit, err);
    block_opts_free(all);
    return child;
}

/* Does "backing.driver=" go with options that say where the image is; else it says only what format the named file has. */
static bool backing_is_told(const BlockOpts *opts)
{
    const char *driver = block_opts_peek(opts, "backing.driver");
    const BlockDriver *drv = driver ? block_driver_find(driver) : NULL;

    return driver && (!drv || !drv->is_format || block_opts_peek(opts, "backing.file") || block_opts_has_prefix(opts, "backing.file"));
}

bool block_open_backing(BlockNode *node, BlockOpts *opts, const char *filename, const char *format,
                        GError **err)
{
    const char *said = block_opts_peek(opts, "backing");
    g_autofree char *path = NULL;
    BlockNode inherit = *node, *child;
    g_autoptr(GError) why = NULL;
    bool told;

    if (said && !*said) { /* "backing": null */
        g_free(block_opts_take(opts, "backing"));
        return true;
    }
    if (said || backing_is_told(opts) || (block_opts_peek(opts, "backing.driver") && (!filename || !*filename))) {
        if (!block_open_child(node, opts, "backing", BLOCK_ROLE_COW, false, err)) {
            g_prefix_error(err, "Could not open backing file: ");
            return false;
        }
        return true;
    }
    if (!filename || !*filename) {
        return true;
    }
    path = block_path_beside(node->filename, filename);
    if (!check_loop(node, path, err)) {
        return false;
    }
    inherit.read_only = true;
    inherit.auto_read_only = false;
    told = block_opts_peek(opts, "backing.driver") != NULL;
    child = open_named_backing(node, opts, path, format, &inherit, &why);
    if (!child) {
        return error_set_from(err, why, "Could not open backing file '%s' of '%s': %s", path,
                              node->filename ? node->filename : node->name, why->message);
    }
    if (!format && !told) {
        report_warning("Image '%s' does not say what format its backing file has: taken as %s "
                       "(kiln-img rebase -u -F FORMAT writes it down)",
                       node->filename, child->drv->name);
    }
    node->backing_implicit = true;
    return adopt(node, child, "backing", BLOCK_ROLE_COW, err) != NULL;
}
