/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img measure: how large a new image will be. */
#include "img/img.h"

typedef struct Measure {
    const char *format, *out_format, *output, *size_text, *snapshot;
    GPtrArray *options;
    bool image_opts, force_share, json;
    uint64_t size;
} Measure;

static void print_measure(const Measure *m, const BlockMeasure *r)
{
    json_object *o;

    if (!m->json) {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", r->required,
               r->fully_allocated);
        if (r->has_bitmaps) {
            printf("bitmaps size: %" PRIu64 "\n", r->bitmaps);
        }
        return;
    }
    o = json_object_new_object();
    if (r->has_bitmaps) {
        json_object_object_add(o, "bitmaps", json_object_new_int64((int64_t)r->bitmaps));
    }
    json_object_object_add(o, "required", json_object_new_int64((int64_t)r->required));
    json_object_object_add(o, "fully-allocated", json_object_new_int64((int64_t)r->fully_allocated));
    img_print_json(o);
}

static bool measure_image(Vm *vm, const Measure *m, const BlockDriver *drv, BlockNode *in,
                          BlockMeasure *r, GError **err)
{
    BlockOpts *opts = img_merge_options(m->options, err);
    g_autofree char *size = g_strdup_printf("%" PRIu64, in ? block_node_disk_size(in) : m->size);
    bool ok = img_check_create_options(drv, m->options, err);

    if (in || m->size_text) {
        block_opts_set(opts, "size", size);
    }
    ok = ok && drv->measure(vm, opts, in, r, err);
    block_opts_free(opts);
    return ok;
}

static int run_measure(Vm *vm, const Measure *m, const char *filename)
{
    const BlockDriver *drv = block_driver_find(m->out_format ? m->out_format : "raw");
    ImgOpen how = {.format = m->format, .image_opts = m->image_opts, .force_share = m->force_share};
    g_autoptr(GError) err = NULL;
    ImgImage image = {0};
    BlockMeasure r = {0};
    bool ok;

    if (!drv || !drv->measure) {
        report_error(drv ? "Block driver '%s' does not support size measurement" : "Unknown file format '%s'",
                     m->out_format);
        return 1;
    }
    ok = (!filename || img_open(vm, filename, &how, &image, &err)) &&
         (!m->snapshot || img_load_snapshot(image.node, m->snapshot, &err)) &&
         measure_image(vm, m, drv, image.node, &r, &err);
    img_close(&image);
    if (!ok) {
        report_error("%s", err->message);
        return 1;
    }
    print_measure(m, &r);
    return 0;
}

static int check_arguments(Vm *vm, Measure *m, int argc, char **argv)
{
    if (!img_output_is_json(m->output, &m->json) ||
        (m->size_text && !img_parse_number("image size", m->size_text, INT64_MAX, &m->size))) {
        return 1;
    }
    if (argc > 1) {
        report_error("At most one filename argument is allowed.");
    } else if (argc && m->size_text) {
        report_error("--size N cannot be used together with a filename.");
    } else if (!argc && !m->size_text) {
        report_error("Either --size N or one filename must be specified.");
    } else if (!argc && (m->image_opts || m->format || m->snapshot)) {
        report_error("--image-opts, -f, and -l can only be used with a filename argument.");
    } else {
        return run_measure(vm, m, argc ? argv[0] : NULL);
    }
    return 1;
}

static int measure_main(Vm *vm, int argc, char **argv)
{
    Measure m = {0};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &m.format},        {'O', NULL, IMG_TEXT, &m.out_format},
        {'o', NULL, IMG_LIST, &m.options},       {'l', NULL, IMG_TEXT, &m.snapshot},
        {0, "output", IMG_TEXT, &m.output},      {0, "size", IMG_TEXT, &m.size_text},
        {0, "image-opts", IMG_FLAG, &m.image_opts}, {'U', "force-share", IMG_FLAG, &m.force_share},
        {0},
    };
    int at, ret = 1;

    if (img_parse(vm, argc, argv, options, &at)) {
        ret = check_arguments(vm, &m, argc - at, argv + at);
    }
    if (m.options) {
        g_ptr_array_free(m.options, TRUE);
    }
    return ret;
}

const ImgCommand img_measure = {
    .name = "measure",
    .usage = "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] "
             "[--image-opts] [-f fmt] [-l snapshot_param] filename]",
    .run = measure_main,
};
