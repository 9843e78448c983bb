/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img create: a new image, empty or over a backing file. */
#include "img/img.h"
#include "util/keyval.h"

typedef struct Create {
    const char *format, *backing, *backing_format, *filename;
    GPtrArray *options;
    bool quiet, unchecked; /* -q, -u */
    uint64_t size;
    bool has_size;
} Create;

/* ---- the line that says what is made --------------------------------------------------------- */

/* Names in the order of the line; those with a default are always said. */
static const struct {
    const char *name;
    bool has_default;
} said_options[] = {
    {"encrypt.format", false}, {"encrypt.key-secret", false}, {"encrypt.cipher-alg", false},
    {"encrypt.cipher-mode", false}, {"encrypt.ivgen-alg", false}, {"encrypt.ivgen-hash-alg", false},
    {"encrypt.hash-alg", false}, {"encrypt.iter-time", false}, {"cluster_size", true}, {"extended_l2", true}, {"preallocation", false},
    {"compression_type", true}, {"size", false}, {"compat", false}, {"backing_file", false},
    {"backing_fmt", false}, {"data_file", false}, {"data_file_raw", false},
    {"lazy_refcounts", true}, {"refcount_bits", true}, {"key-secret", false}, {"cipher-alg", false},
    {"cipher-mode", false}, {"ivgen-alg", false}, {"ivgen-hash-alg", false}, {"hash-alg", false},
    {"iter-time", false}, {"preallocation", false}, {"nocow", false}, {"extent_size_hint", false},
};

static void say_option(const BlockCreateOpt *o, const char *value)
{
    uint64_t bytes;

    if (!strcmp(o->type, "size") && parse_size(value, 1, &bytes)) {
        printf(" %s=%" PRIu64, o->name, bytes);
    } else {
        printf(" %s=%s", o->name, value);
    }
}

/* Other programs' formats: in the order of their options. */
static void say_in_order(const BlockDriver *drv, const BlockOpts *opts)
{
    for (const BlockCreateOpt *o = drv->create_opts; o && o->name; o++) {
        const char *value = block_opts_peek(opts, o->name);

        if (value || o->def) {
            say_option(o, value ? value : o->def);
        }
    }
}

static bool is_foreign(const BlockDriver *drv)
{
    return drv == &block_driver_vmdk || drv == &block_driver_vdi || drv == &block_driver_vpc || drv == &block_driver_vhdx;
}

static void say_formatting(const BlockDriver *drv, const char *filename, const BlockOpts *opts)
{
    static const char raw_order[] = "size";

    printf("Formatting '%s', fmt=%s", filename, drv->name);
    if (drv == &block_driver_raw && block_opts_peek(opts, raw_order)) {
        say_option(img_find_create_option(drv, raw_order), block_opts_peek(opts, raw_order));
    }
    if (is_foreign(drv)) {
        say_in_order(drv, opts);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(said_options) && !is_foreign(drv); i++) {
        bool last = i == G_N_ELEMENTS(said_options) - 3; /* what a file has is said behind luks' own options */
        bool twice = !strcmp(said_options[i].name, "preallocation") && last != (drv == &block_driver_luks);
        const BlockCreateOpt *o = twice ? NULL : img_find_create_option(drv, said_options[i].name);
        const char *value = o ? block_opts_peek(opts, o->name) : NULL;

        if (o && !value && said_options[i].has_default) {
            value = o->def;
        }
        if (value && !(drv == &block_driver_raw && !strcmp(o->name, raw_order))) {
            say_option(o, value);
        }
    }
    putchar('\n');
    fflush(stdout);
}

/* ---- options -------------------------------------------------------------------------------- */

/* The backing file's format and size, where they are not given, are its own. */
static bool look_at_backing(Vm *vm, const Create *c, BlockOpts *opts, GError **err)
{
    const char *name = block_opts_peek(opts, "backing_file");
    const char *format = block_opts_peek(opts, "backing_fmt");
    ImgOpen how = {.format = format, .no_io = true};
    ImgImage image;
    g_autofree char *path = NULL, *size = NULL;
    g_autoptr(GError) why = NULL;
    bool same;

    if (!name) {
        return true;
    }
    if (!*name) {
        return error_set(err, "Expected backing file name, got empty string");
    }
    if (!format) {
        path = block_path_beside(block_local_path(c->filename), name);
        return g_file_test(path, G_FILE_TEST_EXISTS)
                   ? error_set(err, "Backing file specified without backing format\n"
                                    "Detected format of %s.", block_probe_path(path))
                   : error_set(err, "Backing file specified without backing format");
    }
    if (c->unchecked) {
        return true;
    }
    path = block_path_beside(block_local_path(c->filename), name);
    if (!strcmp(path, block_local_path(c->filename))) {
        return error_set(err, "Error: Trying to create an image with the same filename as the backing "
                              "file");
    }
    if (!img_open(vm, path, &how, &image, &why)) {
        return error_set(err, "%s\nCould not open backing image.", why->message);
    }
    size = g_strdup_printf("%" PRIu64, block_node_disk_size(image.node));
    if (!block_opts_peek(opts, "size")) {
        block_opts_set(opts, "size", size);
    }
    same = img_is_part_of(c->filename, image.node);
    img_close(&image);
    return !same || error_set(err, "the image would be the same file as its backing file '%s' or one "
                                   "below that", path);
}

static bool add_arguments(const Create *c, const BlockDriver *drv, BlockOpts *opts, GError **err)
{
    g_autofree char *size = g_strdup_printf("%" PRIu64, c->size);
    const char *backing;

    if (c->has_size && block_opts_peek(opts, "size")) {
        return error_set(err, "The image size must be specified only once");
    }
    if (c->has_size) {
        block_opts_set(opts, "size", size);
    }
    if (c->backing) {
        if (!img_find_create_option(drv, "backing_file")) {
            return error_set(err, "Backing file not supported for file format '%s'", drv->name);
        }
        block_opts_set(opts, "backing_file", c->backing);
    }
    if (c->backing_format) {
        if (!img_find_create_option(drv, "backing_fmt")) {
            return error_set(err, "Backing format not supported for file format '%s'", drv->name);
        }
        block_opts_set(opts, "backing_fmt", c->backing_format);
    }
    backing = block_opts_peek(opts, "backing_fmt");
    if (backing && !block_driver_find(backing) && !block_format_is_planned(backing)) {
        return error_set(err, "Unknown backing file format '%s'", backing);
    }
    return true;
}

static bool create_image(Vm *vm, const Create *c, const BlockDriver *drv, GError **err)
{
    BlockOpts *opts;
    const char *left;
    bool ok;

    if (!block_create_check_name(c->filename, err) || !img_check_create_options(drv, c->options, err)) {
        return false;
    }
    opts = img_merge_options(c->options, err);
    ok = add_arguments(c, drv, opts, err) && look_at_backing(vm, c, opts, err);
    if (ok && !block_opts_peek(opts, "size")) {
        ok = error_set(err, "Image creation needs a size parameter");
    }
    if (ok) {
        if (!c->quiet) {
            say_formatting(drv, c->filename, opts);
        }
        ok = drv->create(vm, c->filename, opts, err);
    }
    left = ok ? block_opts_left(opts) : NULL;
    if (left) {
        ok = error_set(err, "Invalid parameter '%s'", left);
    }
    block_opts_free(opts);
    return ok;
}

/* ---- the command ---------------------------------------------------------------------------- */

static bool find_driver(const char *format, const BlockDriver **drv, GError **err)
{
    *drv = block_driver_find(format);
    if (!*drv && block_format_is_planned(format)) {
        return error_set(err, "Format driver '%s' does not support image creation yet (qcow2, raw, luks, vdi, "
                              "vpc, vhdx and vmdk do)", format);
    }
    if (!*drv) {
        return error_set(err, "Unknown file format '%s'", format);
    }
    return (*drv)->create ||
           error_set(err, "Format driver '%s' does not support image creation", format);
}

static int finish(Vm *vm, Create *c)
{
    const BlockDriver *drv;
    g_autoptr(GError) err = NULL;

    if (!find_driver(c->format, &drv, &err)) {
        report_error("%s%s%s", c->filename ? c->filename : "", c->filename ? ": " : "", err->message);
        return 1;
    }
    if (img_wants_help(c->options)) {
        img_print_create_options(drv, false, c->filename != NULL);
        return 0;
    }
    if (!c->filename) {
        return img_usage_error("Expecting image file name");
    }
    if (!create_image(vm, c, drv, &err)) {
        report_error("%s: %s", c->filename, err->message);
        return 1;
    }
    return 0;
}

static int create_main(Vm *vm, int argc, char **argv)
{
    Create c = {.format = "raw"};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &c.format},         {'b', NULL, IMG_TEXT, &c.backing},
        {'F', NULL, IMG_TEXT, &c.backing_format}, {'o', NULL, IMG_LIST, &c.options},
        {'q', NULL, IMG_FLAG, &c.quiet},          {'u', NULL, IMG_FLAG, &c.unchecked},
        {0},
    };
    int at, status = 1;

    if (img_parse(vm, argc, argv, options, &at)) {
        c.filename = at < argc ? argv[at++] : NULL;
        c.has_size = at < argc;
        if (at + 1 < argc) {
            status = img_usage_error("Unexpected argument: %s", argv[at + 1]);
        } else if (!c.has_size || img_wants_help(c.options) ||
                   img_parse_number("image size", argv[at], INT64_MAX, &c.size)) {
            status = finish(vm, &c);
        }
    }
    if (c.options) {
        g_ptr_array_free(c.options, TRUE);
    }
    return status;
}

const ImgCommand img_create = {
    .name = "create",
    .usage = "[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] "
             "filename [size]",
    .run = create_main,
};
