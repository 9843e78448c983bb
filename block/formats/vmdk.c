/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmdk: VMware's disks, read only: one sparse file (plain or stream-optimized), a descriptor with flat
 * or sparse extents beside it, with a parent (backing file) or without. ESX's seSparse extents and
 * extents on devices are refused.
 */
#include "block/formats/vmdk.h"

typedef struct VmdkExtent {
    BlockNode *file; /* NULL: zeros */
    VmdkSparse *sparse; /* NULL: flat */
    uint64_t start, len; /* bytes, of the disk */
    uint64_t offset;     /* bytes, in a flat file */
    char *type;
} VmdkExtent;

typedef struct Vmdk {
    MappedState mapped;
    VmdkDescriptor *descriptor;
    VmdkExtent *extents;
    unsigned count;
    uint64_t tables_left; /* bytes */
    bool compressed;
} Vmdk;

static const VmdkExtent *find_extent(const Vmdk *v, uint64_t offset)
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
    return &v->extents[low];
}

static MappedPiece vmdk_map(BlockNode *node, uint64_t offset)
{
    const VmdkExtent *e = find_extent(node->state, offset);
    uint64_t within = offset - e->start;
    MappedPiece piece;

    if (!e->file) {
        return (MappedPiece){.kind = MAPPED_ZERO, .len = e->len - within};
    }
    if (!e->sparse) {
        return (MappedPiece){.kind = MAPPED_DATA,
                             .len = e->len - within,
                             .file = e->file,
                             .offset = e->offset + within};
    }
    piece = vmdk_sparse_map(e->sparse, e->file, within);
    piece.len = MIN(piece.len, e->len - within);
    return piece;
}

static const MappedFormat vmdk_format = {.map = vmdk_map};

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
static BlockNode *open_extent_file(BlockNode *node, BlockOpts *opts, const VmdkLine *line,
                                   unsigned index, GError **err)
{
    g_autofree char *name = g_strdup_printf("extents.%u", index);
    g_autofree char *prefix = g_strdup_printf("%s.", name);
    BlockChild *child;

    if (!block_opts_peek(opts, name) && !block_opts_has_prefix(opts, name)) {
        g_autofree char *path = block_path_beside(node->filename, line->filename);
        g_autofree char *driver_key = g_strconcat(prefix, "driver", NULL);
        g_autofree char *name_key = g_strconcat(prefix, "filename", NULL);

        block_opts_set(opts, driver_key, "file");
        block_opts_set(opts, name_key, path);
    }
    child = block_open_child(node, opts, name, BLOCK_ROLE_DATA, false, err);
    return child ? child->node : NULL;
}

static bool open_sparse(BlockNode *node, const VmdkLine *line, BlockNode *file, GError **err)
{
    Vmdk *v = node->state;
    VmdkSparse *sparse = vmdk_sparse_load(file, &v->tables_left, err);

    if (!sparse) {
        return false;
    }
    if (sparse->len < line->len) {
        vmdk_sparse_free(sparse);
        return mapped_damaged(node, err, "extent '%s' is smaller than the descriptor says",
                              line->filename);
    }
    return add_extent(node,
                      (VmdkExtent){.file = file,
                                   .sparse = sparse,
                                   .len = line->len,
                                   .type = g_strdup(line->type)},
                      err);
}

static bool open_extent(BlockNode *node, BlockOpts *opts, const VmdkLine *line, unsigned index,
                        GError **err)
{
    BlockNode *file;

    if (!strcmp(line->type, "ZERO")) {
        return add_extent(node, (VmdkExtent){.len = line->len, .type = g_strdup(line->type)}, err);
    }
    if (strcmp(line->type, "FLAT") && strcmp(line->type, "VMFS") && strcmp(line->type, "SPARSE") &&
        strcmp(line->type, "VMFSSPARSE")) {
        return mapped_damaged(node, err, "extent '%s' is of type %s, known are FLAT, VMFS, SPARSE, "
                              "VMFSSPARSE and ZERO", line->filename, line->type);
    }
    file = open_extent_file(node, opts, line, index, err);
    if (!file) {
        return false;
    }
    if (g_str_has_suffix(line->type, "SPARSE")) {
        return open_sparse(node, line, file, err);
    }
    if (!range_fits(line->offset, line->len, file->size)) {
        return mapped_damaged(node, err, "extent '%s' ends before the descriptor says",
                              line->filename);
    }
    return add_extent(node,
                      (VmdkExtent){.file = file,
                                   .len = line->len,
                                   .offset = line->offset,
                                   .type = g_strdup(line->type)},
                      err);
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
                    (VmdkExtent){.file = node->file->node,
                                 .sparse = sparse,
                                 .len = sparse->len,
                                 .type = g_strdup("")},
                    err)) {
        return false;
    }
    if (!sparse->descriptor_len) { /* an extent by itself */
        v->descriptor = g_new0(VmdkDescriptor, 1);
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

static void vmdk_close(BlockNode *node)
{
    Vmdk *v = node->state;

    for (unsigned i = 0; i < v->count; i++) {
        vmdk_sparse_free(v->extents[i].sparse);
        g_free(v->extents[i].type);
    }
    g_free(v->extents);
    vmdk_descriptor_free(v->descriptor);
}

static bool vmdk_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    Vmdk *v = node->state;
    bool sparse = false, ok;

    v->tables_left = MAPPED_TABLES_MAX;
    ok = mapped_open(node, opts, &vmdk_format, err) &&
         vmdk_is_sparse(node->file->node, &sparse, err) &&
         (sparse ? open_monolithic(node, err) : open_descriptor_file(node, opts, err)) &&
         open_parent(node, opts, err);
    if (!ok) {
        vmdk_close(node);
    }
    return ok;
}

/* ---- facts ----------------------------------------------------------------------------------- */

static void vmdk_get_info(BlockNode *node, BlockInfo *info)
{
    const Vmdk *v = node->state;

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
    const char *filename = e->file && e->file->filename ? e->file->filename : node->filename;

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

const BlockDriver block_driver_vmdk = {
    .name = "vmdk",
    .is_format = true,
    .state_size = sizeof(Vmdk),
    .open = vmdk_open,
    .close = vmdk_close,
    .submit = mapped_submit,
    .get_info = vmdk_get_info,
    .allocated_size = vmdk_allocated_size,
    .specific_info = vmdk_specific_info,
};
