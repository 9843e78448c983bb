/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmdk: VMware's disks: one sparse file (plain or stream-optimized), a descriptor with flat or sparse extents beside
 * it, with a parent (backing file) or without. seSparse extents and those of which the descriptor or the header says so
 * are only read; extents on devices are refused.
 */
#include "block/formats/vmdk.h"

unsigned vmdk_find_extent(const Vmdk *v, uint64_t offset)
{
    unsigned low = 0, high = v->count;

    while (high - low > 1) {
        unsigned middle = (low + high) / 2;

        if (v->extents[middle].start <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static MappedPiece vmdk_map(BlockNode *node, uint64_t offset)
{
    const Vmdk *v = node->state;
    const VmdkExtent *e = &v->extents[vmdk_find_extent(v, offset)];
    uint64_t within = offset - e->start;
    MappedPiece piece;

    if (!e->child) {
        return (MappedPiece){.kind = MAPPED_ZERO, .len = e->len - within};
    }
    if (!e->sparse) {
        return (MappedPiece){.kind = MAPPED_DATA,
                             .len = e->len - within,
                             .file = e->child->node,
                             .offset = e->offset + within};
    }
    piece = vmdk_sparse_map(e->sparse, e->child->node, within);
    piece.len = MIN(piece.len, e->len - within);
    return piece;
}

/* Zeroed grains have an entry of their own, or not. */
static const MappedFormat formats[] = {
    {.map = vmdk_map, .start_writing = vmdk_start_writing, .place = vmdk_place, .enter = vmdk_enter,
     .give_back = vmdk_give_back},
    {.map = vmdk_map, .start_writing = vmdk_start_writing, .place = vmdk_place, .enter = vmdk_enter,
     .give_back = vmdk_give_back, .enter_zeros = vmdk_enter_zeros},
};

static const MappedFormat *choose_format(const Vmdk *v)
{
    bool zeroed = v->count > 0;

    for (unsigned i = 0; i < v->count; i++) {
        zeroed &= !v->extents[i].sparse || v->extents[i].sparse->zeroed;
    }
    return &formats[zeroed];
}

/* ---- extents --------------------------------------------------------------------------------- */

/* Takes type and sparse over. False: the disk would be too large. */
static bool add_extent(BlockNode *node, VmdkExtent extent, GError **err)
{
    Vmdk *v = node->state;

    extent.start = node->size;
    v->extents[v->count++] = extent;
    if (extent.len > INT64_MAX - node->size) {
        return mapped_damaged(node, err, "it is larger than any disk");
    }
    node->size += extent.len;
    v->compressed |= extent.sparse && extent.sparse->compressed;
    return true;
}

/* The extent's own file, beside the descriptor; a child "extents.N". */
static BlockChild *open_extent_file(BlockNode *node, BlockOpts *opts, const VmdkLine *line,
                                   unsigned index, GError **err)
{
    g_autofree char *name = g_strdup_printf("extents.%u", index);
    g_autofree char *prefix = g_strdup_printf("%s.", name);
    unsigned role;

    if (!block_opts_peek(opts, name) && !block_opts_has_prefix(opts, name)) {
        g_autofree char *path = block_path_beside(node->filename, line->filename);
        g_autofree char *driver_key = g_strconcat(prefix, "driver", NULL);
        g_autofree char *name_key = g_strconcat(prefix, "filename", NULL);

        block_opts_set(opts, driver_key, "file");
        block_opts_set(opts, name_key, path);
    }
    role = g_str_has_suffix(line->type, "SPARSE") ? BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA : BLOCK_ROLE_DATA;
    return block_open_child(node, opts, name, role, false, err);
}

static bool open_sparse(BlockNode *node, const VmdkLine *line, VmdkExtent extent, GError **err)
{
    Vmdk *v = node->state;
    VmdkSparse *sparse = (strcmp(line->type, "SESPARSE") ? vmdk_sparse_load : vmdk_sesparse_load)(extent.child->node,
                                                                                                  &v->tables_left, err);

    if (!sparse) {
        return false;
    }
    if (sparse->len < line->len) {
        vmdk_sparse_free(sparse);
        return mapped_damaged(node, err, "extent '%s' is smaller than the descriptor says",
                              line->filename);
    }
    extent.sparse = sparse;
    extent.type = g_strdup(line->type);
    return add_extent(node, extent, err);
}

static bool open_extent(BlockNode *node, BlockOpts *opts, const VmdkLine *line, unsigned index,
                        GError **err)
{
    static const char *const known[] = {"FLAT", "VMFS", "SPARSE", "VMFSSPARSE", "SESPARSE", NULL};
    VmdkExtent extent = {.len = line->len, .offset = line->offset, .only_read = strcmp(line->access, "RW") != 0};

    if (!strcmp(line->type, "ZERO")) {
        extent.type = g_strdup(line->type);
        return add_extent(node, extent, err);
    }
    if (!g_strv_contains(known, line->type)) {
        return mapped_damaged(node, err, "extent '%s' is of type %s, known are FLAT, VMFS, SPARSE, VMFSSPARSE, SESPARSE and "
                              "ZERO", line->filename, line->type);
    }
    extent.child = open_extent_file(node, opts, line, index, err);
    if (!extent.child) {
        return false;
    }
    if (g_str_has_suffix(line->type, "SPARSE")) {
        return open_sparse(node, line, extent, err);
    }
    if (!range_fits(line->offset, line->len, extent.child->node->size)) {
        return mapped_damaged(node, err, "extent '%s' ends before the descriptor says",
                              line->filename);
    }
    extent.type = g_strdup(line->type);
    return add_extent(node, extent, err);
}

static bool open_extents(BlockNode *node, BlockOpts *opts, GError **err)
{
    Vmdk *v = node->state;
    const GPtrArray *lines = v->descriptor->lines;

    if (!lines->len) {
        return mapped_damaged(node, err, "its descriptor lists no extents");
    }
    v->extents = g_new0(VmdkExtent, lines->len);
    for (unsigned i = 0; i < lines->len; i++) {
        if (!open_extent(node, opts, lines->pdata[i], i, err)) {
            return false;
        }
    }
    return true;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool read_descriptor(BlockNode *node, uint64_t offset, uint64_t len, GError **err)
{
    Vmdk *v = node->state;
    g_autofree char *text = NULL;
    g_autoptr(GError) why = NULL;
    char *bytes;

    if (len > MIB) {
        return mapped_damaged(node, err, "its descriptor has %" PRIu64 " bytes", len);
    }
    bytes = mapped_read_table(node->file->node, offset, len, "descriptor", err);
    if (!bytes) {
        return false;
    }
    text = g_strndup(bytes, len); /* up to the first zero */
    g_free(bytes);
    v->descriptor_offset = offset;
    v->descriptor_room = offset ? len : 0;
    v->descriptor = vmdk_descriptor_parse(text, &why);
    return v->descriptor || mapped_damaged(node, err, "%s", why->message);
}

static bool open_descriptor_file(BlockNode *node, BlockOpts *opts, GError **err)
{
    static const char first[] = "# Disk DescriptorFile";
    char start[sizeof first - 1];

    if (!mapped_read(node->file->node, 0, start, sizeof start, "header", err)) {
        return false;
    }
    if (memcmp(start, first, sizeof start)) {
        return mapped_damaged(node, err, "it begins neither as a sparse extent nor as a descriptor; is format= right?");
    }
    return read_descriptor(node, 0, node->file->node->size, err) && open_extents(node, opts, err);
}

/* All in one file: the extent, and in it the descriptor. */
static bool open_monolithic(BlockNode *node, GError **err)
{
    Vmdk *v = node->state;
    VmdkSparse *sparse = vmdk_sparse_load(node->file->node, &v->tables_left, err);

    if (!sparse) {
        return false;
    }
    v->extents = g_new0(VmdkExtent, 1);
    if (!add_extent(node,
                    (VmdkExtent){.child = node->file,
                                 .sparse = sparse,
                                 .len = sparse->len,
                                 .type = g_strdup("")},
                    err)) {
        return false;
    }
    if (!sparse->descriptor_len) { /* an extent by itself */
        v->descriptor = g_new0(VmdkDescriptor, 1);
        v->descriptor->text = g_strdup("");
        v->descriptor->parent_cid = VMDK_NO_PARENT;
        v->descriptor->create_type = g_strdup("");
        v->descriptor->lines = g_ptr_array_new();
        return true;
    }
    return read_descriptor(node, sparse->descriptor_offset, sparse->descriptor_len, err);
}

/* The parent must be as it was when this image was made from it: its content id says so. */
static bool open_parent(BlockNode *node, BlockOpts *opts, GError **err)
{
    Vmdk *v = node->state;
    const VmdkDescriptor *d = v->descriptor;
    bool has_parent = d->parent_cid != VMDK_NO_PARENT;
    const BlockNode *parent;

    if (has_parent) {
        node->backing_filename = g_strdup(d->parent ? d->parent : "");
        node->backing_format = g_strdup("vmdk");
    }
    if (!block_open_backing(node, opts, has_parent ? d->parent : NULL, "vmdk", err)) {
        return false;
    }
    parent = node->backing ? node->backing->node : NULL;
    if (has_parent && parent && parent->drv == &block_driver_vmdk) {
        const Vmdk *p = parent->state;

        if (p->descriptor->cid != d->parent_cid) {
            return mapped_damaged(node, err, "its parent '%s' was changed after it (content id "
                                  "%08x, not %08x)", parent->filename, p->descriptor->cid,
                                  d->parent_cid);
        }
    }
    return true;
}

static void free_state(Vmdk *v)
{
    for (unsigned i = 0; i < v->count; i++) {
        vmdk_sparse_free(v->extents[i].sparse);
        g_free(v->extents[i].type);
    }
    g_free(v->extents);
    vmdk_stream_free(v->stream);
    vmdk_descriptor_free(v->descriptor);
}

static void vmdk_close(BlockNode *node)
{
    mapped_close(node);
    free_state(node->state);
}

/* What can only be read is refused, or made so where that will do. */
static bool settle_read_only(BlockNode *node, GError **err)
{
    Vmdk *v = node->state;

    v->mapped.format = choose_format(v);
    if (!node->read_only && node->auto_read_only && vmdk_why_only_read(v)) {
        node->read_only = true;
    }
    return mapped_opened(node, err);
}

static bool vmdk_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    Vmdk *v = node->state;
    bool sparse = false;

    v->tables_left = MAPPED_TABLES_MAX;
    if (mapped_open(node, opts, formats, err) && vmdk_is_sparse(node->file->node, &sparse, err) &&
        (sparse ? open_monolithic(node, err) : open_descriptor_file(node, opts, err)) && open_parent(node, opts, err) &&
        settle_read_only(node, err)) {
        return true;
    }
    free_state(v);
    return false;
}

uint32_t vmdk_cid(const BlockNode *node) { return ((const Vmdk *)node->state)->descriptor->cid; }

/* While it is read-only, children may be made from it: the next write changes the content id again. */
static bool vmdk_reopen_prepare(BlockReopen *reopen, GError **err)
{
    Vmdk *v = reopen->node->state;

    if (!mapped_reopen_prepare(reopen, err)) {
        return false;
    }
    v->cid_changed &= !reopen->read_only;
    return true;
}

/* ---- facts ----------------------------------------------------------------------------------- */

static void vmdk_get_info(BlockNode *node, BlockInfo *info)
{
    const Vmdk *v = node->state;

    info->needs_packing = v->compressed;
    info->cluster_size = v->count && v->extents[0].sparse ? (uint32_t)v->extents[0].sparse->grain : 0;
}

static int64_t vmdk_allocated_size(BlockNode *node)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < node->children->len; i++) {
        const BlockChild *child = node->children->pdata[i];
        int64_t size = child == node->backing ? 0 : block_node_allocated_size(child->node);

        if (size < 0) {
            return size;
        }
        sum += size;
    }
    return sum;
}

static json_object *extent_info(const BlockNode *node, const VmdkExtent *e)
{
    json_object *info = json_object_new_object();
    const char *filename = e->child && e->child->node->filename ? e->child->node->filename : node->filename;

    if (e->sparse && e->sparse->compressed) {
        json_object_object_add(info, "compressed", json_object_new_boolean(true));
    }
    json_object_object_add(info, "virtual-size", json_object_new_int64((int64_t)e->len));
    json_object_object_add(info, "filename", json_object_new_string(filename ? filename : ""));
    if (e->sparse) {
        json_object_object_add(info, "cluster-size",
                               json_object_new_int64((int64_t)e->sparse->grain));
    }
    json_object_object_add(info, "format", json_object_new_string(e->type));
    return info;
}

static json_object *vmdk_specific_info(BlockNode *node)
{
    const Vmdk *v = node->state;
    json_object *info = json_object_new_object(), *data = json_object_new_object();
    json_object *extents = json_object_new_array();

    for (unsigned i = 0; i < v->count; i++) {
        json_object_array_add(extents, extent_info(node, &v->extents[i]));
    }
    json_object_object_add(data, "cid", json_object_new_int64(v->descriptor->cid));
    json_object_object_add(data, "parent-cid", json_object_new_int64(v->descriptor->parent_cid));
    json_object_object_add(data, "create-type",
                           json_object_new_string(v->descriptor->create_type));
    json_object_object_add(data, "extents", extents);
    json_object_object_add(info, "type", json_object_new_string("vmdk"));
    json_object_object_add(info, "data", data);
    return info;
}

/* Are all grains of the extent in its file? */
static bool check_extent(const VmdkExtent *e, GError **err)
{
    BlockNode *file = e->child->node;

    for (uint64_t at = 0; at < e->len; at += e->sparse->grain) {
        MappedPiece piece = vmdk_sparse_map(e->sparse, file, at);

        if (piece.kind >= MAPPED_DATA && piece.offset >= block_node_size(file)) {
            return error_set(err, "Check failed: cluster offset for sector %" PRIu64 " of '%s' points after EOF",
                             (e->start + at) / BLOCK_SECTOR, file->filename ? file->filename : file->name);
        }
    }
    return true;
}

static bool vmdk_check(BlockNode *node, unsigned fix, BlockCheck *result, GError **err)
{
    const Vmdk *v = node->state;

    (void)fix;
    *result = (BlockCheck){0};
    for (unsigned i = 0; i < v->count; i++) {
        if (v->extents[i].sparse && !check_extent(&v->extents[i], err)) {
            return false;
        }
    }
    return true;
}

const BlockDriver block_driver_vmdk = {
    .name = "vmdk",
    .is_format = true,
    .state_size = sizeof(Vmdk),
    .open = vmdk_open,
    .close = vmdk_close,
    .reopen_prepare = vmdk_reopen_prepare,
    .submit = vmdk_submit,
    .packs = true,
    .check_only = true,
    .create_opts = vmdk_create_opts,
    .create = vmdk_create,
    .format_prepare = vmdk_driver_format_prepare,
    .format = vmdk_driver_format,
    .format_free = vmdk_driver_format_free,
    .check = vmdk_check,
    .get_info = vmdk_get_info,
    .allocated_size = vmdk_allocated_size,
    .specific_info = vmdk_specific_info,
};
