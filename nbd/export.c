/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exports: a back end, a name, and what clients may do with it. */
#include "nbd/server_int.h"

/* ---- bitmaps -------------------------------------------------------------------------------- */

/* In the node or below it. */
static DirtyBitmap *find_bitmap(BlockNode *node, const char *name)
{
    for (BlockNode *at = node; at;) {
        DirtyBitmap *b = block_dirty_bitmap_find(at, name);

        if (b) {
            return b;
        }
        at = at->drv->is_filter && at->children->len
                 ? ((BlockChild *)g_ptr_array_index(at->children, 0))->node
                 : block_node_backing(at);
    }
    return NULL;
}

/* owner: the name of the bitmap's node; NULL: node or below it. */
static bool add_bitmap(NbdExport *export, BlockNode *node, const char *owner, const char *name, GError **err)
{
    BlockNode *other = owner ? block_node_find(node->vm, owner) : NULL;
    DirtyBitmap *b = other ? block_dirty_bitmap_find(other, name) : owner ? NULL : find_bitmap(node, name);

    if (owner && !other) {
        return error_set(err, "Cannot find device='' nor node-name='%s'", owner);
    }
    if (!b) {
        return error_set(err, "Bitmap '%s' is not found", name);
    }
    if (!block_dirty_bitmap_check(b, false, err)) {
        return false;
    }
    if (export->flags & NBD_FLAG_READ_ONLY && b->enabled && b->node == node && !node->read_only) {
        return error_set(err, "Enabled bitmap '%s' incompatible with readonly export", name);
    }
    if (export->bitmaps->len == NBD_MAX_CONTEXTS - NBD_CONTEXT_BITMAPS) {
        return error_set(err, "An export has at most %u bitmaps", export->bitmaps->len);
    }
    b->busy++;
    g_ptr_array_add(export->bitmaps, b);
    return true;
}

static bool add_bitmaps(NbdExport *export, const NbdExportConfig *config, GError **err)
{
    for (unsigned i = 0; config->bitmaps && config->bitmaps[i]; i++) {
        if (!add_bitmap(export, config->node, config->bitmap_nodes ? config->bitmap_nodes[i] : NULL,
                        config->bitmaps[i], err)) {
            return false;
        }
    }
    return true;
}

/* ---- contexts -------------------------------------------------------------------------------- */

char *nbd_export_context_name(const NbdExport *export, unsigned number)
{
    if (number == NBD_CONTEXT_ALLOCATION) {
        return g_strdup(NBD_BASE_ALLOCATION);
    }
    if (number == NBD_CONTEXT_DEPTH) {
        return g_strdup(export->depth ? NBD_ALLOCATION_DEPTH : "");
    }
    number -= NBD_CONTEXT_BITMAPS;
    return number < export->bitmaps->len
               ? g_strconcat(NBD_DIRTY_BITMAP,
                             ((DirtyBitmap *)g_ptr_array_index(export->bitmaps, number))->name, NULL)
               : NULL;
}

int nbd_export_context(const NbdExport *export, const char *name)
{
    char *have;

    for (unsigned i = 0; *name && (have = nbd_export_context_name(export, i)) != NULL; i++) {
        bool equal = !strcmp(have, name);

        g_free(have);
        if (equal) {
            return (int)i;
        }
    }
    return -1;
}

/* ---- life ------------------------------------------------------------------------------------ */

void nbd_export_ref(NbdExport *export) { export->refs++; }

void nbd_export_unref(NbdExport *export)
{
    if (!export || --export->refs) {
        return;
    }
    for (unsigned i = 0; i < export->bitmaps->len; i++) {
        ((DirtyBitmap *)g_ptr_array_index(export->bitmaps, i))->busy--;
    }
    g_ptr_array_free(export->bitmaps, TRUE);
    blk_free(export->blk);
    g_free(export->id);
    g_free(export->name);
    g_free(export->description);
    g_free(export);
}

static uint16_t export_flags(const NbdExportConfig *config)
{
    uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_DF |
                     NBD_FLAG_SEND_CACHE;

    flags |= config->multi_conn ? NBD_FLAG_CAN_MULTI_CONN : 0;
    return flags | (config->writable ? NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
                                           NBD_FLAG_SEND_FAST_ZERO
                                     : NBD_FLAG_READ_ONLY);
}

static bool check_names(NbdServer *server, const NbdExportConfig *config, const char *id, GError **err)
{
    if (strlen(config->name) > NBD_MAX_NAME) {
        return error_set(err, "export name '%.40s...' too long", config->name);
    }
    if (config->description && strlen(config->description) > NBD_MAX_NAME) {
        return error_set(err, "description '%.40s...' too long", config->description);
    }
    if (nbd_export_find_id(server, id)) {
        return error_set(err, "Block export id '%s' is already in use", id);
    }
    if (nbd_export_find(server, config->name)) {
        return error_set(err, "NBD server already has export named '%s'", config->name);
    }
    if (config->writable && config->node->read_only) {
        return error_set(err, "Cannot export read-only node as writable: node '%s' is read-only",
                         config->node->name);
    }
    return true;
}

NbdExport *nbd_export_add(NbdServer *server, const NbdExportConfig *config, GError **err)
{
    const char *id = config->id ? config->id : config->name;
    uint32_t used = BLOCK_PERM_CONSISTENT_READ | (config->writable ? BLOCK_PERM_WRITE : 0);
    NbdExport *export;

    if (!check_names(server, config, id, err)) {
        return NULL;
    }
    export = g_new0(NbdExport, 1);
    export->refs = 1;
    export->id = g_strdup(id);
    export->name = g_strdup(config->name);
    export->description = g_strdup(config->description);
    export->flags = export_flags(config);
    export->depth = config->allocation_depth;
    export->bitmaps = g_ptr_array_new();
    export->blk = blk_new(server->vm, NULL, config->node, used, err);
    if (!export->blk || !add_bitmaps(export, config, err)) {
        nbd_export_unref(export);
        return NULL;
    }
    blk_set_write_cache(export->blk, !config->write_through);
    export->size = blk_size(export->blk);
    export->best_block = MIN(MAX(config->node->limits.request_align, 4 * KIB), 64 * KIB);
    export->server = server;
    g_ptr_array_add(server->exports, export);
    return export;
}

NbdExport *nbd_export_find(NbdServer *server, const char *name)
{
    for (unsigned i = 0; i < server->exports->len; i++) {
        NbdExport *export = g_ptr_array_index(server->exports, i);

        if (!strcmp(export->name, name)) {
            return export;
        }
    }
    return NULL;
}

NbdExport *nbd_export_find_id(NbdServer *server, const char *id)
{
    for (unsigned i = 0; i < server->exports->len; i++) {
        NbdExport *export = g_ptr_array_index(server->exports, i);

        if (!strcmp(export->id, id)) {
            return export;
        }
    }
    return NULL;
}

void nbd_export_foreach(NbdServer *server, void (*fn)(NbdExport *export, void *opaque), void *opaque)
{
    for (unsigned i = 0; i < server->exports->len; i++) {
        fn(g_ptr_array_index(server->exports, i), opaque);
    }
}

const char *nbd_export_id(const NbdExport *export) { return export->id; }

const char *nbd_export_name(const NbdExport *export) { return export->name; }

const char *nbd_export_node_name(const NbdExport *export) { return blk_node_name(export->blk); }
