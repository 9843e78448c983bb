/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlays in a running VM (overlay.h). */
#include "block/overlay.h"

#include <inttypes.h>

#include "block/file_int.h"
#include "util/log.h"

struct BlockOverlay {
    BlockNode *base, *overlay; /* references */
    BlockLoop *home;           /* where base's tree was */
    GPtrArray *sections;       /* drained sections of block_drain_tree: base's, then overlay's */
    GPtrArray *moved;          /* BlockChild *: base's, now overlay's */
};

/* ---- what the new image is called and names ------------------------------------------------------ */

static bool makes_backing(const BlockDriver *drv)
{
    return drv && drv->create && drv->change_backing_file;
}

static bool names_backing(const BlockNode *node, const BlockNode *backing)
{
    g_autofree char *path = NULL;

    if (!node->backing_filename || !*node->backing_filename || !backing->filename) {
        return false;
    }
    path = block_path_beside(node->filename, node->backing_filename);
    return block_same_file(path, backing->filename);
}

/* Whoever opens the overlay later has its path and format only: they have to lead to what is open now. */
static bool check_chain(const BlockNode *base, GError **err)
{
    for (const BlockNode *n = base; n; n = n->backing ? n->backing->node : NULL) {
        const BlockNode *file = n->file ? n->file->node : NULL;
        bool plain = n->drv->is_format && file && (file->drv == &block_driver_file || file->drv == &block_driver_host_device) &&
                     (n->drv != &block_driver_raw || raw_shows_all(n));
        bool as_named = n->backing ? names_backing(n, n->backing->node) : !n->backing_filename || !*n->backing_filename;

        if (!plain || !as_named) {
            return error_set(err,
                             "A new image cannot name '%s' as its backing file: %s. Make the image yourself, open it with "
                             "blockdev-add and \"backing\": null, and use blockdev-snapshot",
                             base->name,
                             plain ? "it, or what is below, has another backing file than its image names"
                                   : "it, or what is below, is not just an image in a file");
        }
    }
    return true;
}

/* What an image at filename calls base: a path, to those too who take "a:b" for a protocol. The caller frees. */
static char *backing_name(const BlockNode *base, const char *filename)
{
    bool beside = !strpbrk(base->filename, "/:") && !strchr(filename, '/');

    return beside ? g_strdup(base->filename) : g_canonicalize_filename(base->filename, NULL);
}

static bool make_image(const BlockNode *base, const BlockOverlayImage *image, const BlockDriver *drv, GError **err)
{
    g_autofree char *size = g_strdup_printf("%" PRIu64, block_node_disk_size(base)), *backing = NULL;
    const char *path = block_local_path(image->filename);
    BlockOpts *opts;
    bool ok;

    if (!makes_backing(drv)) {
        return error_set(err, "Backing file not supported for file format '%s'", image->format);
    }
    if (!block_create_check_name(image->filename, err)) {
        return false;
    }
    if (!block_create_makes_file(image->filename)) {
        return error_set(err, "'%s' is no file: make the image yourself and use mode=existing", image->filename);
    }
    if (!check_chain(base, err)) {
        return false;
    }
    if (block_same_file(path, base->filename)) {
        return error_set(err, "Error: Trying to create an image with the same filename as the backing file");
    }
    backing = backing_name(base, path);
    opts = block_opts_new();
    block_opts_set(opts, "size", size);
    block_opts_set(opts, "backing_file", backing);
    block_opts_set(opts, "backing_fmt", base->drv->name);
    ok = drv->create(base->vm, path, opts, err);
    block_opts_free(opts);
    return ok;
}

/* The file that holds base, below all formats and filters. */
static const BlockNode *protocol_node(const BlockNode *base)
{
    while (base->file) {
        base = base->file->node;
    }
    return base;
}

BlockNode *block_overlay_open(const BlockNode *base, const BlockOverlayImage *image, GError **err)
{
    const BlockDriver *drv = block_driver_find(image->format);
    const char *aio = file_aio_name(protocol_node(base));
    BlockNode inherit = {.direct = base->direct, .no_flush = base->no_flush, .discard_unmap = base->discard_unmap};
    BlockNode *node = NULL;
    BlockOpts *opts;

    if (!drv || !drv->is_format) {
        error_set(err, "Unknown file format '%s'", image->format);
        return NULL;
    }
    if (!image->existing && !make_image(base, image, drv, err)) {
        return NULL;
    }
    opts = block_opts_new();
    if (block_opts_set_filename(opts, image->filename, err)) {
        block_opts_set(opts, "driver", image->format);
        if (image->node_name) {
            block_opts_set(opts, "node-name", image->node_name);
        }
        if (drv->change_backing_file) {
            block_opts_set(opts, "backing", "");
        }
        if (aio && block_opts_peek(opts, "file.filename")) {
            block_opts_set(opts, "file.aio", aio);
        }
        node = block_node_open(base->vm, opts, &inherit, err);
    }
    block_opts_free(opts);
    return node;
}

/* ---- over and off --------------------------------------------------------------------------------- */

bool block_overlay_check_base(const BlockNode *base, GError **err)
{
    for (unsigned i = 0; i < base->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(base->parents, i);

        if (child->role & BLOCK_ROLE_COW) {
            return error_set(err, "Node '%s' is busy: node is used as backing hd of '%s'", base->name, child->parent->name);
        }
    }
    return true;
}

static bool check_overlay(const BlockNode *base, const BlockNode *overlay, GError **err)
{
    if (base != overlay && block_node_reaches(overlay, base)) { /* the users of base are below the overlay then */
        return error_set(err, "Node '%s' is below the overlay '%s' already", base->name, overlay->name);
    }
    for (unsigned i = 0; i < overlay->parents->len; i++) {
        if (((const BlockChild *)g_ptr_array_index(overlay->parents, i))->used & BLOCK_PERM_CONSISTENT_READ) {
            return error_set(err, "The overlay is already in use");
        }
    }
    if (overlay->backing) {
        return error_set(err, "The overlay already has a backing image");
    }
    return overlay->drv->change_backing_file || error_set(err, "The overlay does not support backing images");
}

/* Nobody starts anything in the overlay before base's own section ends: whoever comes over from base has as many sections
 * to wait for here as there. */
static void drain(BlockOverlay *o)
{
    BlockLoop *main = block_loop_main(o->base->vm);
    GPtrArray *tree = block_drain_tree(o->base);
    bool connected = g_ptr_array_find(tree, o->overlay, NULL);

    g_ptr_array_add(o->sections, tree);
    block_node_set_loop(o->base, main);
    for (unsigned i = 0, n = connected ? 0 : o->base->quiesced; i < n; i++) {
        g_ptr_array_add(o->sections, block_drain_tree(o->overlay));
    }
    block_node_set_loop(o->overlay, main);
}

static void go_home(BlockOverlay *o)
{
    if (!o->home->is_main) {
        block_node_set_loop(o->base, o->home);
    }
    for (unsigned i = o->sections->len; i-- > 0;) {
        block_undrain_tree(g_ptr_array_index(o->sections, i));
    }
    block_node_unref(o->base);
    block_node_unref(o->overlay);
    g_ptr_array_free(o->sections, TRUE);
    g_ptr_array_free(o->moved, TRUE);
    g_free(o);
}

/* Those that show from show to from now on; permissions are not looked at. */
static void move_children(const GPtrArray *children, BlockNode *from, BlockNode *to)
{
    for (unsigned i = 0; i < children->len; i++) {
        BlockChild *child = g_ptr_array_index(children, i);

        g_ptr_array_remove(from->parents, child);
        g_ptr_array_add(to->parents, child);
        child->node = block_node_ref(to);
        block_node_unref(from);
    }
}

static bool append(BlockOverlay *o, GError **err)
{
    BlockNode *base = o->base, *overlay = o->overlay;
    BlockChild *backing;

    for (unsigned i = 0; i < base->parents->len; i++) {
        g_ptr_array_add(o->moved, g_ptr_array_index(base->parents, i));
    }
    backing = block_attach_child(overlay, NULL, base, "backing", BLOCK_ROLE_COW, 0, BLOCK_PERM_ALL, err);
    if (!backing) {
        return false;
    }
    move_children(o->moved, base, overlay);
    if (!block_node_refresh_perm(overlay, err)) {
        move_children(o->moved, overlay, base);
        block_detach_child(backing);
        return block_node_refresh_perm(base, NULL) && false;
    }
    return true;
}

/* Those above see another disk. */
static void tell_parents(BlockNode *node, uint64_t size_before)
{
    for (unsigned i = 0; i < node->parents->len; i++) {
        BlockNode *parent = ((BlockChild *)g_ptr_array_index(node->parents, i))->parent;

        if (parent && parent->drv->refresh_limits) {
            parent->drv->refresh_limits(parent);
        }
    }
    if (node->size != size_before) {
        block_node_set_size(node, node->size);
    }
}

BlockOverlay *block_overlay_put(BlockNode *base, BlockNode *overlay, GError **err)
{
    BlockOverlay *o;
    int ret;

    if (!block_overlay_check_base(base, err) || !check_overlay(base, overlay, err)) {
        return NULL;
    }
    o = g_new(BlockOverlay, 1);
    *o = (BlockOverlay){.base = block_node_ref(base),
                        .overlay = block_node_ref(overlay),
                        .home = base->loop,
                        .sections = g_ptr_array_new(),
                        .moved = g_ptr_array_new()};
    drain(o);
    ret = base->read_only ? 0 : block_pflush(base);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not write out '%s'", base->name);
    }
    if (ret < 0 || !append(o, err)) {
        go_home(o);
        return NULL;
    }
    tell_parents(overlay, base->size);
    return o;
}

void block_overlay_commit(BlockOverlay *o)
{
    g_autoptr(GError) err = NULL;

    if (!o->base->loop->is_main) { /* one that was put first has taken the tree home */
        o->home = o->base->loop;
        block_node_set_loop(o->base, block_loop_main(o->base->vm));
    }
    if (!o->base->read_only && !block_reopen_read_only(o->base, true, &err)) {
        report_warning("'%s' stays open for writing, although it is a backing file now: %s", o->base->name, err->message);
    }
    go_home(o);
}

void block_overlay_abort(BlockOverlay *o)
{
    g_autoptr(GError) err = NULL;

    move_children(o->moved, o->overlay, o->base);
    block_detach_child(o->overlay->backing);
    if (!block_node_refresh_perm(o->base, &err)) {
        report_warning("Could not go back to the former locks: %s", err->message);
    }
    tell_parents(o->base, o->overlay->size);
    go_home(o);
}

/* ---- what an image calls its backing file --------------------------------------------------------- */

static bool change_name(BlockNode *node, void *filename, GError **err)
{
    const char *format = block_node_skip_filters(node->backing->node)->drv->name;
    bool read_only = node->read_only, ok;

    if (read_only && !block_reopen_read_only(node, false, err)) {
        return false;
    }
    ok = node->drv->change_backing_file(node, filename, format, err);
    if (read_only && !block_reopen_read_only(node, true, ok ? err : NULL)) {
        return false;
    }
    return ok;
}

bool block_overlay_rename_backing(BlockNode *node, const char *filename, GError **err)
{
    if (!node->drv->change_backing_file) {
        return error_set(err, "Could not change backing file to '%s': Operation not supported by images of format '%s'; make a new "
                              "one over it (blockdev-create, kiln-img create -b)", filename, node->drv->name);
    }
    return block_in_main(node, change_name, (void *)(uintptr_t)filename, err);
}
