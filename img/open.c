/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images as the user of a tool names them: a path, json:{...}, or with --image-opts options; format
 * and cache mode; and -o lists.
 */
#include <sys/stat.h>

#include "img/img.h"
#include "util/keyval.h"

/* ---- cache modes ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool direct, no_flush, write_through;
} cache_modes[] = {
    {"none", true, false, false},         {"off", true, false, false},
    {"writeback", false, false, false},   {"writethrough", false, false, true},
    {"directsync", true, false, true},    {"unsafe", false, true, false},
};

bool img_cache_options(BlockOpts *opts, const char *cache, bool *write_through, GError **err)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cache_modes); i++) {
        if (!strcmp(cache ? cache : "writeback", cache_modes[i].name)) {
            if (opts && cache_modes[i].direct) {
                block_opts_set(opts, "cache.direct", "on");
            }
            if (opts && cache_modes[i].no_flush) {
                block_opts_set(opts, "cache.no-flush", "on");
            }
            *write_through = cache_modes[i].write_through;
            return true;
        }
    }
    return error_set(err, "Invalid cache option: %s", cache);
}

/* ---- names become options ------------------------------------------------------------------- */

/* The name is complete in itself (a path, a tree of options); the driver may still be missing. */
static BlockOpts *name_options(const char *name, const ImgOpen *how, GError **err)
{
    BlockOpts *opts;

    if (how->image_opts) {
        return block_opts_parse(name, NULL, err);
    }
    opts = block_opts_new();
    if (!block_opts_set_filename(opts, name, err)) {
        block_opts_free(opts);
        return NULL;
    }
    return opts;
}

/* "filename=x" without a driver of its own is a file, as with qemu-img. */
static void complete_file(BlockOpts *opts)
{
    const char *path = block_opts_peek(opts, "file.filename");

    if (path && !block_opts_peek(opts, "file.driver")) {
        block_opts_set(opts, "file.driver", block_path_driver(path));
    }
}

static bool choose_driver(BlockOpts *opts, const char *name, const char *format, bool *probed,
                          GError **err)
{
    const char *path = block_opts_peek(opts, "file.filename");
    const char *driver = block_opts_peek(opts, "driver");

    if (driver && format && strcmp(driver, format)) {
        return error_set(err, "Driver specified twice: '%s' and '%s'", driver, format);
    }
    if (!driver) {
        driver = format ? format : path ? block_probe_path(path) : "raw";
        block_opts_set(opts, "driver", driver);
        *probed = !format;
    }
    if (!block_driver_find(driver) && block_format_is_planned(driver)) {
        return error_set(err, "format '%s' is not supported yet; convert the image with QEMU's tool: "
                              "qemu-img convert -O qcow2", driver);
    }
    return block_driver_find(driver) || error_set(err, "Unknown driver '%s'", driver);
}

/* A protocol by itself ("-f file") has no child. */
static void flatten_protocol(BlockOpts *opts)
{
    const BlockDriver *drv = block_driver_find(block_opts_peek(opts, "driver"));
    g_autofree char *path = NULL;

    if (drv && !drv->is_format && !drv->is_filter && block_opts_peek(opts, "file.filename")) {
        path = block_opts_take(opts, "file.filename");
        g_free(block_opts_take(opts, "file.driver"));
        block_opts_set(opts, "filename", path);
    }
}

static void set_default(BlockOpts *opts, const char *key, bool value)
{
    if (!block_opts_peek(opts, key)) {
        block_opts_set(opts, key, value ? "on" : "off");
    }
}

static bool add_open_options(BlockOpts *opts, const ImgOpen *how, ImgImage *image, GError **err)
{
    const BlockDriver *drv = block_driver_find(block_opts_peek(opts, "driver"));

    if (how->more) {
        block_opts_merge(opts, how->more);
    }
    set_default(opts, "read-only", !how->writable || how->snapshot);
    if (how->discard) {
        block_opts_set(opts, "discard", how->discard);
    } else {
        set_default(opts, "discard", how->writable);
    }
    if (how->aio) {
        block_opts_set(opts, drv->is_format || drv->is_filter ? "file.aio" : "aio", how->aio);
    }
    if (how->no_io && (drv == &block_driver_qcow2 || drv == &block_driver_luks)) {
        block_opts_set(opts, drv == &block_driver_qcow2 ? "x-facts-only" : "x-no-io", "on");
    }
    if (how->force_share) {
        set_default(opts, "force-share", true);
    }
    if (how->node_name) {
        block_opts_set(opts, "node-name", how->node_name);
    }
    if (how->no_backing && (drv == &block_driver_qcow2 || drv == &block_driver_vmdk)) {
        g_free(block_opts_take(opts, "backing"));
        block_opts_free(block_opts_take_prefix(opts, "backing"));
        block_opts_set(opts, "backing", "");
    }
    if (how->backing_node) {
        block_opts_set(opts, "backing", how->backing_node);
    }
    if (how->check && drv == &block_driver_qcow2) {
        block_opts_set(opts, "x-open-for-check", "on");
    }
    return img_cache_options(opts, how->cache, &image->write_through, err);
}

static void warn_probed(const char *name)
{
    fprintf(stderr,
            "WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
            "         Automatically detecting the format is dangerous for raw images, write "
            "operations on block 0 will be restricted.\n"
            "         Specify the 'raw' format explicitly to remove the restrictions.\n", name);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* What is no path is opened first, to see what format it has. */
static bool probe_remote(Vm *vm, BlockOpts *opts, const ImgOpen *how, BlockNode **child, GError **err)
{
    BlockNode inherit = {.read_only = !how->writable, .discard_unmap = how->writable};

    if (how->format || block_opts_peek(opts, "driver") || block_opts_peek(opts, "file.filename") ||
        !block_opts_peek(opts, "file.driver")) {
        return true;
    }
    *child = block_probe_child(vm, opts, &inherit, err);
    return *child != NULL;
}

static bool open_node(Vm *vm, BlockOpts *opts, const ImgOpen *how, ImgImage *image, GError **err)
{
    bool probed = false;
    BlockNode *child = NULL;
    uint32_t perm = how->no_perm ? 0 : BLOCK_PERM_CONSISTENT_READ;

    if (!how->image_opts || how->format || block_opts_peek(opts, "file.filename")) {
        complete_file(opts);
    }
    if (!probe_remote(vm, opts, how, &child, err)) {
        return false;
    }
    if (choose_driver(opts, image->name, how->format, &probed, err)) {
        flatten_protocol(opts);
        if (add_open_options(opts, how, image, err)) {
            image->node = block_node_open(vm, opts, NULL, err);
        }
    }
    if (image->node && how->snapshot) {
        image->node = block_add_snapshot(vm, image->node, err);
    }
    if (image->node && how->copy_on_read) {
        image->node = block_add_copy_on_read(vm, image->node, err);
    }
    probed |= child != NULL;
    block_node_unref(child);
    if (!image->node) {
        return false;
    }
    if (probed && how->writable && image->node->drv == &block_driver_raw) {
        image->node->probed = true;
        if (!how->quiet) {
            warn_probed(image->name);
        }
    }
    perm |= how->writable && !image->node->read_only ? BLOCK_PERM_WRITE : 0;
    perm |= how->resize && !image->node->read_only ? BLOCK_PERM_RESIZE : 0;
    image->blk = blk_new(vm, NULL, image->node, perm, err);
    return image->blk != NULL;
}

bool img_open_as_is(Vm *vm, const char *name, const ImgOpen *how, ImgImage *image, GError **err)
{
    BlockOpts *opts;
    bool ok = false;

    *image = (ImgImage){.name = name};
    if (how->image_opts && how->format) {
        return error_set(err, "--image-opts and --format are mutually exclusive");
    }
    opts = name_options(name, how, err);
    if (opts) {
        ok = open_node(vm, opts, how, image, err);
        block_opts_free(opts);
    }
    if (!ok) {
        img_close(image);
    }
    return ok;
}

bool img_open(Vm *vm, const char *name, const ImgOpen *how, ImgImage *image, GError **err)
{
    g_autoptr(GError) why = NULL;

    if (img_open_as_is(vm, name, how, image, &why)) {
        return true;
    }
    /* Messages that already say so are not wrapped once more. */
    if (g_str_has_prefix(why->message, "Could not open '") || (how->image_opts && how->format)) {
        return error_set(err, "%s", why->message);
    }
    return error_set(err, "Could not open '%s': %s", name, why->message);
}

void img_close(ImgImage *image)
{
    if (image->node && !image->node->read_only && image->blk) {
        block_pflush(image->node);
    }
    blk_free(image->blk);
    block_node_unref(image->node);
    image->blk = NULL;
    image->node = NULL;
}

int img_with_image(Vm *vm, const char *name, const ImgOpen *how, int (*fn)(BlockNode *node, const void *opaque),
                   const void *opaque)
{
    GError *err = NULL;
    ImgImage image;
    int status;

    if (!img_open(vm, name, how, &image, &err)) {
        return img_fail(err);
    }
    status = fn(image.node, opaque);
    img_close(&image);
    return status;
}

bool img_same_file(const char *a, const char *b)
{
    struct stat one, other;

    return stat(block_local_path(a), &one) == 0 && stat(block_local_path(b), &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

bool img_is_part_of(const char *path, BlockNode *node)
{
    GPtrArray *tree = block_node_tree(node);
    bool found = false;

    for (unsigned i = 0; i < tree->len; i++) {
        const BlockNode *n = g_ptr_array_index(tree, i);

        found |= n->filename && img_same_file(path, n->filename);
    }
    g_ptr_array_free(tree, TRUE);
    return found;
}

/* ---- -o lists ------------------------------------------------------------------------------- */

/* Calls fn with each name and value; false at the first error. */
static bool each_option(GPtrArray *lists,
                        bool (*fn)(const char *name, const char *value, void *opaque, GError **err),
                        void *opaque, GError **err)
{
    for (unsigned i = 0; lists && i < lists->len; i++) {
        const char *text = g_ptr_array_index(lists, i);

        while (*text) {
            g_autofree char *part = keyval_next_part(&text);
            char *eq = strchr(part, '=');

            if (eq) {
                *eq++ = 0;
            }
            if (*part && !fn(part, eq, opaque, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool is_help(const char *name, const char *value, void *opaque, GError **err)
{
    return value || (strcmp(name, "help") && strcmp(name, "?"));
}

bool img_wants_help(GPtrArray *lists)
{
    return !each_option(lists, is_help, NULL, NULL);
}

static bool add_option(const char *name, const char *value, void *opaque, GError **err)
{
    block_opts_set(opaque, name, value ? value : "on");
    return true;
}

BlockOpts *img_merge_options(GPtrArray *lists, GError **err)
{
    BlockOpts *opts = block_opts_new();

    each_option(lists, add_option, opts, err);
    return opts;
}

const BlockCreateOpt *img_find_create_option(const BlockDriver *drv, const char *name)
{
    for (const BlockCreateOpt *o = drv->create_opts; o && o->name; o++) {
        if (!strcmp(o->name, name)) {
            return o;
        }
    }
    return NULL;
}

static bool check_option(const char *name, const char *value, void *opaque, GError **err)
{
    const BlockDriver *drv = opaque;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *near = NULL;

    if (img_find_create_option(drv, name)) {
        return true;
    }
    for (const BlockCreateOpt *o = drv->create_opts; o && o->name; o++) {
        g_ptr_array_add(names, (void *)o->name);
    }
    g_ptr_array_add(names, NULL);
    near = suggest_names(name, (const char *const *)names->pdata);
    return error_set(err, "Invalid parameter '%s'%s", name, near);
}

/* A comma at an end is one too many, or half of one in a name. */
static bool is_option_list(const char *text)
{
    size_t len = strlen(text), commas = 0;

    while (commas < len && text[len - 1 - commas] == ',') {
        commas++;
    }
    return *text && *text != ',' && commas % 2 == 0;
}

bool img_check_create_options(const BlockDriver *drv, GPtrArray *lists, GError **err)
{
    for (unsigned i = 0; lists && i < lists->len; i++) {
        if (!is_option_list(g_ptr_array_index(lists, i))) {
            return error_set(err, "Invalid option list: %s", (const char *)g_ptr_array_index(lists, i));
        }
    }
    return each_option(lists, check_option, (void *)drv, err);
}

static int compare_options(const void *a, const void *b)
{
    return strcmp((*(const BlockCreateOpt *const *)a)->name, (*(const BlockCreateOpt *const *)b)->name);
}

void img_print_create_options(const BlockDriver *drv, bool amend, bool with_protocol)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();

    if (amend) {
        printf("Amend options for '%s':\n", drv->name);
    } else if (with_protocol) {
        printf("Supported options:\n");
    } else {
        printf("Supported %s options:\n", drv->name);
    }
    for (const BlockCreateOpt *o = drv->create_opts; o && o->name; o++) {
        bool of_protocol = !strcmp(o->name, "nocow") || !strcmp(o->name, "extent_size_hint") ||
                           (drv != &block_driver_qcow2 && !strcmp(o->name, "preallocation"));

        if (amend ? o->amendable : !o->amend_only && (with_protocol || !of_protocol)) {
            g_ptr_array_add(list, (void *)o);
        }
    }
    g_ptr_array_sort(list, compare_options);
    for (unsigned i = 0; i < list->len; i++) {
        const BlockCreateOpt *o = g_ptr_array_index(list, i);
        g_autofree char *left = g_strdup_printf("  %s=<%s>", o->name, o->type);

        printf("%-24s - %s\n", left, o->help);
    }
    if (!amend && !with_protocol) {
        printf("\nThe protocol level may support further options.\n"
               "Specify the target filename to include those options.\n");
    }
}
