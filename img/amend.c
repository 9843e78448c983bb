/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img amend: changes options of an image that is there. */
#include "img/img.h"

typedef struct Amend {
    const char *format, *cache;
    GPtrArray *options;
    bool image_opts, progress, quiet, force;
} Amend;

static bool amend_image(BlockNode *node, const Amend *a, GError **err)
{
    BlockOpts *opts;
    const char *left;
    bool ok;

    if (!node->drv->amend) {
        return error_set(err, "Format driver '%s' does not support option amendment", node->drv->name);
    }
    if (img_wants_help(a->options)) {
        img_print_create_options(node->drv, true, false);
        return true;
    }
    if (!img_check_create_options(node->drv, a->options, err)) {
        return false;
    }
    opts = img_merge_options(a->options, err);
    ok = node->drv->amend(node, opts, a->force, err);
    left = ok ? block_opts_left(opts) : NULL;
    if (left) {
        ok = error_set(err, "Cannot amend option '%s': it is decided when the image is made (kiln-img "
                            "convert)", left);
    }
    block_opts_free(opts);
    return ok;
}

static int run_amend(Vm *vm, const Amend *a, const char *filename)
{
    ImgOpen how = {.format = a->format, .cache = a->cache, .image_opts = a->image_opts,
                   .writable = true, .resize = true, .quiet = a->quiet};
    GError *err = NULL;
    ImgImage image;
    bool ok;

    if (!img_open(vm, filename, &how, &image, &err)) {
        return img_fail(err);
    }
    img_progress_start(a->progress && !a->quiet);
    ok = amend_image(image.node, a, &err);
    img_progress(ok ? 1 : 0, 1);
    img_progress_end();
    img_close(&image);
    return ok ? 0 : img_fail(err);
}

static int amend_main(Vm *vm, int argc, char **argv)
{
    Amend a = {0};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &a.format},   {'t', NULL, IMG_TEXT, &a.cache},
        {'o', NULL, IMG_LIST, &a.options},  {'p', NULL, IMG_FLAG, &a.progress},
        {'q', NULL, IMG_FLAG, &a.quiet},    {0, "force", IMG_FLAG, &a.force},
        {0, "image-opts", IMG_FLAG, &a.image_opts},
        {0},
    };
    const BlockDriver *drv;
    int at, ret = 1;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    if (!a.options) {
        return img_usage_error("Must specify options (-o)");
    }
    drv = a.format ? block_driver_find(a.format) : NULL;
    if (a.format && !drv) {
        report_error("Unknown file format '%s'", a.format);
    } else if (drv && !drv->amend) {
        report_error("Format driver '%s' does not support option amendment", a.format);
    } else if (drv && img_wants_help(a.options)) {
        img_print_create_options(drv, true, false);
        ret = 0;
    } else if (at != argc - 1) {
        ret = img_usage_error("Expecting one image file name");
    } else {
        ret = run_amend(vm, &a, argv[at]);
    }
    g_ptr_array_free(a.options, TRUE);
    return ret;
}

const ImgCommand img_amend = {
    .name = "amend",
    .usage = "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options "
             "filename",
    .run = amend_main,
};
