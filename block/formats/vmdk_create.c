/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New VMware disks: the descriptor and the empty extents of the subformats that qemu-img makes, with the same bytes.
 *
 * An extent that is not the image itself has the image's name with a word before the last dot ("disk-s001.vmdk"), and
 * lies beside it. Whatever goes into the descriptor between quotes must not end them.
 */
#include "block/formats/vmdk.h"

#define EXTENT_MAX (2 * GIB) /* of the subformats that split */
#define DEFAULT_TOOLS_VERSION "2147483647"
#define SECTORS_OF_TRACK 63

typedef struct VmdkSubformat {
    const char *name;
    bool flat, split, compressed;
} VmdkSubformat;

static const VmdkSubformat subformats[] = {
    {"monolithicSparse", false, false, false}, {"monolithicFlat", true, false, false},
    {"twoGbMaxExtentSparse", false, true, false}, {"twoGbMaxExtentFlat", true, true, false},
    {"streamOptimized", false, false, true},
};

typedef struct VmdkCreate {
    const VmdkSubformat *subformat;
    uint64_t size;
    char *adapter, *hw_version, *tools_version, *backing, *backing_format;
    char *nocow, *extent_size_hint; /* the extents' files', as they are */
    BlockPrealloc preallocation;
    uint32_t parent_cid;
    bool zeroed_grain;
} VmdkCreate;

const BlockCreateOpt vmdk_create_opts[] = {
    {"size", "size", "Virtual disk size"},
    {"adapter_type", "str", "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"},
    {"backing_file", "str", "File name of a base image"},
    {"backing_fmt", "str", "Must be 'vmdk' if present"},
    {"compat6", "bool (on/off)", "VMDK version 6 image", "off"},
    {"hwversion", "str", "VMDK hardware version", "undefined"},
    {"toolsversion", "str", "VMware guest tools version"},
    {"subformat", "str",
     "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | "
     "twoGbMaxExtentFlat | streamOptimized} "},
    {"zeroed_grain", "bool (on/off)", "Enable efficient zero writes using the zeroed-grain GTE feature"},
    {"nocow", "bool (on/off)", "Turn off copy-on-write (valid only on btrfs)"},
    {"preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)"},
    {"extent_size_hint", "size", "Extent size hint for the image file, 0 to disable"},
    {0},
};

/* ---- options --------------------------------------------------------------------------------- */

static bool fits_quotes(const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || g_ascii_iscntrl(*text)) {
            return false;
        }
    }
    return true;
}

static bool check_quoted(const char *what, const char *text, GError **err)
{
    return !text || fits_quotes(text) ||
           error_set(err, "%s '%s' cannot be written into a vmdk descriptor: it has a quote, a line break or another "
                          "control character", what, text);
}

static bool choose_subformat(VmdkCreate *c, const char *name, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(subformats); i++) {
        if (!strcmp(name ? name : subformats[0].name, subformats[i].name)) {
            c->subformat = &subformats[i];
            return true;
        }
    }
    return error_set(err, "invalid parameter value: %s", name);
}

static bool check_adapter(const char *name, GError **err)
{
    static const char *const known[] = {"ide", "lsilogic", "buslogic", "legacyESX", NULL};

    return g_strv_contains(known, name) || error_set(err, "invalid parameter value: %s", name);
}

static bool choose_hw_version(VmdkCreate *c, bool compat6, GError **err)
{
    bool given = c->hw_version && strcmp(c->hw_version, "undefined");

    if (compat6 && given) {
        return error_set(err, "compat6 cannot be enabled with hwversion set");
    }
    if (!given) {
        g_free(c->hw_version);
        c->hw_version = g_strdup(compat6 ? "6" : "4");
    }
    return check_quoted("hwversion", c->hw_version, err);
}

static bool check_flat(const VmdkCreate *c, GError **err)
{
    if (c->subformat->flat && c->backing) {
        return error_set(err, "Flat image can't have backing file");
    }
    return !(c->subformat->flat && c->zeroed_grain) || error_set(err, "Flat image can't enable zeroed grain");
}

static bool take_preallocation(VmdkCreate *c, BlockOpts *opts, GError **err)
{
    int mode = BLOCK_PREALLOC_OFF;

    if (!block_opts_take_enum(opts, "preallocation", block_prealloc_names, &mode, err)) {
        return false;
    }
    c->preallocation = (BlockPrealloc)mode;
    return mode != BLOCK_PREALLOC_METADATA || error_set(err, "Unsupported preallocation mode 'metadata'");
}

static bool take_create_opts(VmdkCreate *c, BlockOpts *opts, GError **err)
{
    g_autofree char *subformat = block_opts_take(opts, "subformat");
    bool compat6 = false;

    if (!block_opts_take_size(opts, "size", &c->size, NULL, err) ||
        !block_opts_take_bool(opts, "compat6", &compat6, err) ||
        !block_opts_take_bool(opts, "zeroed_grain", &c->zeroed_grain, err) || !take_preallocation(c, opts, err)) {
        return false;
    }
    c->adapter = block_opts_take(opts, "adapter_type");
    c->adapter = c->adapter ? c->adapter : g_strdup("ide");
    c->hw_version = block_opts_take(opts, "hwversion");
    c->tools_version = block_opts_take(opts, "toolsversion");
    c->tools_version = c->tools_version ? c->tools_version : g_strdup(DEFAULT_TOOLS_VERSION);
    c->backing = block_opts_take(opts, "backing_file");
    c->backing_format = block_opts_take(opts, "backing_fmt");
    c->nocow = g_strdup(block_opts_peek(opts, "nocow"));
    c->extent_size_hint = g_strdup(block_opts_peek(opts, "extent_size_hint"));
    if (c->backing_format && strcmp(c->backing_format, "vmdk")) {
        return error_set(err, "backing_file must be a vmdk image");
    }
    return choose_subformat(c, subformat, err) && check_adapter(c->adapter, err) && choose_hw_version(c, compat6, err) &&
           check_quoted("toolsversion", c->tools_version, err) && check_quoted("Backing file", c->backing, err) &&
           check_flat(c, err);
}

void vmdk_driver_format_free(BlockFormat *f)
{
    VmdkCreate *c = f->plan;

    g_free(c->adapter);
    g_free(c->hw_version);
    g_free(c->tools_version);
    g_free(c->backing);
    g_free(c->backing_format);
    g_free(c->nocow);
    g_free(c->extent_size_hint);
    g_free(c);
}

/* The new image says what its parent's content is now. */
static bool find_parent_cid(const BlockFormat *f, GError **err)
{
    VmdkCreate *c = f->plan;
    g_autofree char *path = c->backing ? block_path_beside(f->filename, c->backing) : NULL;
    BlockOpts *opts;
    BlockNode *parent;

    c->parent_cid = VMDK_NO_PARENT;
    if (!path) {
        return true;
    }
    opts = block_opts_new();
    block_opts_set(opts, "driver", "vmdk");
    block_opts_set(opts, "file.driver", block_path_driver(path));
    block_opts_set(opts, "file.filename", path);
    block_opts_set(opts, "read-only", "on");
    block_opts_set(opts, "backing", "");
    parent = block_node_open(f->vm, opts, NULL, err);
    block_opts_free(opts);
    if (!parent) {
        return false;
    }
    c->parent_cid = vmdk_cid(parent);
    block_node_unref(parent);
    return true;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A file of the image may be there, and is emptied: not when it is open here, as the source of a conversion is. */
static bool check_unused(Vm *vm, const char *path, GError **err)
{
    const GPtrArray *nodes = block_state(vm)->nodes;

    for (unsigned i = 0; i < nodes->len; i++) {
        const BlockNode *node = nodes->pdata[i];

        if (node->filename && block_same_file(node->filename, path)) {
            return error_set(err, "%s: this file is in use, and would be an extent of the new image: choose another name",
                             path);
        }
    }
    return true;
}

static BlockNode *create_extent(Vm *vm, const VmdkCreate *c, const char *path, GError **err)
{
    BlockOpts *opts;
    BlockNode *node;

    if (!check_unused(vm, path, err)) {
        return NULL;
    }
    opts = block_opts_new();
    if (c->nocow) {
        block_opts_set(opts, "nocow", c->nocow);
    }
    if (c->extent_size_hint) {
        block_opts_set(opts, "extent_size_hint", c->extent_size_hint);
    }
    node = block_format_create_file(vm, path, opts, err);
    block_opts_free(opts);
    return node;
}

/* Where things are in a new sparse extent; sectors. */
typedef struct SparsePlan {
    uint64_t tables, directory, first, second, grains;
} SparsePlan;

static bool plan_sparse(uint64_t len, SparsePlan *p, GError **err)
{
    uint64_t table_len = VMDK_GTES * 4, table_sectors = table_len / BLOCK_SECTOR;

    *p = (SparsePlan){.tables = (len + VMDK_GRAIN * VMDK_GTES - 1) / (VMDK_GRAIN * VMDK_GTES)};
    if (p->tables > MAPPED_TABLES_MAX / (table_len + 12)) {
        return error_set(err, "A sparse VMware disk of %" PRIu64 " bytes has more tables than can be kept in memory: choose "
                              "a flat subformat, or a smaller size", len);
    }
    p->directory = (p->tables * 4 + BLOCK_SECTOR - 1) / BLOCK_SECTOR;
    p->first = VMDK_DESCRIPTOR_SECTOR + VMDK_DESCRIPTOR_SECTORS;
    p->second = p->first + p->directory + p->tables * table_sectors;
    p->grains = align_up(p->second + p->directory + p->tables * table_sectors, VMDK_GRAIN / BLOCK_SECTOR);
    return true;
}

static void fill_header(uint8_t *h, const VmdkCreate *c, uint64_t len, const SparsePlan *p)
{
    uint32_t flags = KDMV_FLAG_NEWLINES | KDMV_FLAG_SECOND | (c->zeroed_grain ? KDMV_FLAG_ZEROED : 0) |
                     (c->subformat->compressed ? KDMV_FLAG_COMPRESSED | KDMV_FLAG_MARKERS : 0);

    memcpy(h, "KDMV", 4);
    store32_le(h + KDMV_VERSION, c->subformat->compressed ? 3 : c->zeroed_grain ? 2 : 1);
    store32_le(h + KDMV_FLAGS, flags);
    store64_le(h + KDMV_CAPACITY, len / BLOCK_SECTOR);
    store64_le(h + KDMV_GRAIN, VMDK_GRAIN / BLOCK_SECTOR);
    store64_le(h + KDMV_DESC_OFFSET, VMDK_DESCRIPTOR_SECTOR);
    store64_le(h + KDMV_DESC_SIZE, VMDK_DESCRIPTOR_SECTORS);
    store32_le(h + KDMV_GTES, VMDK_GTES);
    store64_le(h + KDMV_SECOND_OFFSET, p->first);
    store64_le(h + KDMV_GD_OFFSET, p->second);
    store64_le(h + KDMV_GRAINS_OFFSET, p->grains);
    memcpy(h + KDMV_NEWLINES, "\n \r\n", 4);
    store16_le(h + KDMV_COMPRESSION, c->subformat->compressed);
}

/* A directory of tables that follow it. */
static bool write_directory(BlockNode *file, uint64_t sector, const SparsePlan *p, GError **err)
{
    uint64_t table_sectors = VMDK_GTES * 4 / BLOCK_SECTOR;
    g_autofree uint8_t *gd = g_malloc0(MAX(p->directory, 1) * BLOCK_SECTOR);

    for (uint64_t i = 0; i < p->tables; i++) {
        store32_le(gd + 4 * i, (uint32_t)(sector + p->directory + i * table_sectors));
    }
    return mapped_create_write(file, sector * BLOCK_SECTOR, gd, p->directory * BLOCK_SECTOR, err);
}

/* file becomes an extent for len bytes of the disk, without any grain. */
static bool format_sparse(BlockNode *file, const VmdkCreate *c, uint64_t len, GError **err)
{
    uint8_t header[BLOCK_SECTOR] = {0};
    SparsePlan plan;

    if (!plan_sparse(len, &plan, err) || !block_format_clear(file, 0, err) ||
        !block_format_zeros(file, 0, plan.grains * BLOCK_SECTOR, c->preallocation, err)) {
        return false;
    }
    fill_header(header, c, len, &plan);
    return (!plan.tables || (write_directory(file, plan.first, &plan, err) && write_directory(file, plan.second, &plan, err))) &&
           mapped_create_write(file, 0, header, sizeof header, err);
}

/* ---- the descriptor and what it lists ----------------------------------------------------------- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Of the file that a node's filters lead to; NULL: it has none. */
static const char *path_of(BlockNode *node) { return block_node_skip_filters(node)->filename; }

/* The name of the extent of this index (from 0), beside the image. The caller frees. */
static char *extent_name(const VmdkCreate *c, const char *filename, unsigned index)
{
    const char *name = last_part(filename), *dot = strrchr(name, '.');
    int stem = dot ? (int)(dot - name) : (int)strlen(name);

    if (!c->subformat->split) {
        return g_strdup_printf("%.*s-flat%s", stem, name, dot ? dot : "");
    }
    return g_strdup_printf("%.*s-%c%03u%s", stem, name, c->subformat->flat ? 'f' : 's', index + 1, dot ? dot : "");
}

static bool has_own_files(const VmdkCreate *c) { return c->subformat->flat || c->subformat->split; }

/* How many files the image has besides the descriptor's. */
static uint64_t extent_count(const VmdkCreate *c)
{
    uint64_t split = (c->size + EXTENT_MAX - 1) / EXTENT_MAX;

    return !has_own_files(c) ? 0 : c->subformat->split ? split : c->size > 0;
}

static BlockNode *get_extent(const BlockFormat *f, unsigned index, GError **err)
{
    g_autofree char *name = NULL, *path = NULL;

    if (f->extents) {
        return block_node_ref(g_ptr_array_index(f->extents, index));
    }
    name = extent_name(f->plan, f->filename, index);
    path = block_path_beside(f->filename, name);
    return create_extent(f->vm, f->plan, path, err);
}

/* The extents, and their lines in the descriptor. */
static bool format_extents(const BlockFormat *f, GString *lines, GError **err)
{
    const VmdkCreate *c = f->plan;
    uint64_t count = MAX(extent_count(c), !has_own_files(c)), done = 0, len;

    for (unsigned i = 0; i < count; i++, done += len) {
        BlockNode *node = has_own_files(c) ? get_extent(f, i, err) : block_node_ref(f->file);
        bool ok = node != NULL;

        len = c->subformat->split ? MIN(c->size - done, EXTENT_MAX) : c->size;
        if (ok && c->subformat->flat) {
            ok = block_format_clear(node, 0, err) && block_format_zeros(node, 0, len, c->preallocation, err);
        } else if (ok) {
            ok = format_sparse(node, c, len, err);
        }
        if (ok) {
            g_string_append_printf(lines, "RW %" PRIu64 " %s \"%s\"%s\n", len / BLOCK_SECTOR, c->subformat->flat ? "FLAT" : "SPARSE",
                                   last_part(has_own_files(c) ? path_of(node) : f->filename), c->subformat->flat ? " 0" : "");
        }
        block_node_unref(node);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static char *descriptor_text(const VmdkCreate *c, const char *lines)
{
    g_autofree char *parent = c->backing ? g_strdup_printf("parentFileNameHint=\"%s\"", c->backing) : NULL;
    unsigned heads = strcmp(c->adapter, "ide") ? 255 : 16;

    return g_strdup_printf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%x\ncreateType=\"%s\"\n%s\n"
                           "# Extent description\n%s\n# The Disk Data Base\n#DDB\n\n"
                           "ddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"%u\"\n"
                           "ddb.adapterType = \"%s\"\nddb.toolsVersion = \"%s\"\n",
                           vmdk_new_cid(VMDK_NO_PARENT), c->parent_cid, c->subformat->name, parent ? parent : "", lines,
                           c->hw_version, c->size / BLOCK_SECTOR / (heads * SECTORS_OF_TRACK), heads, SECTORS_OF_TRACK,
                           c->adapter, c->tools_version);
}

static bool write_descriptor(const BlockFormat *f, const char *text, GError **err)
{
    const VmdkCreate *c = f->plan;
    uint64_t room = VMDK_DESCRIPTOR_SECTORS * BLOCK_SECTOR, len = strlen(text);

    if (has_own_files(c)) {
        return block_format_clear(f->file, len, err) && mapped_create_write(f->file, 0, text, len, err);
    }
    return len <= room ? mapped_create_write(f->file, VMDK_DESCRIPTOR_SECTOR * BLOCK_SECTOR, text, len, err)
                       : error_set(err, "The descriptor has %" PRIu64 " bytes, there is room for %" PRIu64 ": choose shorter names",
                                   len, room);
}

/* ---- the driver's ------------------------------------------------------------------------------- */

/* Nodes that the operator gives as extents lie beside the image, which knows their names only. */
static bool check_given_extents(const BlockFormat *f, GError **err)
{
    uint64_t count = extent_count(f->plan);

    if (f->extents->len < count) {
        return error_set(err, "Extent [%u] not specified: this image has %" PRIu64 " besides 'file'", f->extents->len, count);
    }
    if (f->extents->len > count) {
        return error_set(err, "List of extents contains unused extents: this image has %" PRIu64 " besides 'file'", count);
    }
    for (unsigned i = 0; i < count; i++) {
        const char *path = path_of(g_ptr_array_index(f->extents, i));
        g_autofree char *beside = path ? block_path_beside(f->filename, last_part(path)) : NULL;

        if (!path || !block_same_file(path, beside)) {
            return error_set(err, "Extent [%u], '%s', is no file beside '%s': the image would not find it", i, path ? path : "", f->filename);
        }
        if (!check_quoted("File name", last_part(path), err)) {
            return false;
        }
    }
    return true;
}

static bool check_size(const BlockFormat *f, GError **err)
{
    const VmdkCreate *c = f->plan;
    SparsePlan plan;

    if (c->subformat->split && extent_count(c) > VMDK_EXTENTS_MAX) {
        return error_set(err, "A VMware disk of %" PRIu64 " bytes would have %" PRIu64 " extents; at most are %u", c->size,
                         extent_count(c), VMDK_EXTENTS_MAX);
    }
    return c->subformat->flat || plan_sparse(c->subformat->split ? MIN(c->size, EXTENT_MAX) : c->size, &plan, err);
}

bool vmdk_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err)
{
    VmdkCreate *c = f->plan = g_new0(VmdkCreate, 1);

    if (!take_create_opts(c, opts, err)) {
        return false;
    }
    if (f->exact && c->size % BLOCK_SECTOR) {
        return error_set(err, "Image size must be a multiple of %u bytes", BLOCK_SECTOR);
    }
    c->size = align_up(c->size, BLOCK_SECTOR);
    if (!f->filename) {
        return error_set(err, "A VMware disk knows its own file's name, and this node has none: take a file's");
    }
    return check_quoted("File name", last_part(f->filename), err) && check_size(f, err) &&
           (!f->extents || check_given_extents(f, err)) && find_parent_cid(f, err);
}

bool vmdk_driver_format(BlockFormat *f, GError **err)
{
    g_autoptr(GString) lines = g_string_new(NULL);
    g_autofree char *text = NULL;

    if (!format_extents(f, lines, err)) {
        return false;
    }
    text = descriptor_text(f->plan, lines->str);
    return write_descriptor(f, text, err);
}

bool vmdk_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    if (!block_create_makes_file(filename)) {
        return error_set(err, "New VMware disks grow: they are made in files, not on devices or exports");
    }
    return check_unused(vm, block_local_path(filename), err) &&
           block_format_new_file(vm, &block_driver_vmdk, filename, opts, err);
}
