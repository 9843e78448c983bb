/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img dd: part of an image into a new one, with dd's operands. */
#include "img/img.h"

typedef struct Dd {
    const char *format, *out_format, *in, *out;
    bool image_opts, force_share;
    uint64_t bs, count, skip;
    bool has_count;
} Dd;

static bool read_operand(Dd *d, const char *text)
{
    const char *eq = strchr(text, '=');
    size_t len = eq ? (size_t)(eq - text) : 0;

    if (len == 2 && !strncmp(text, "if", 2)) {
        d->in = eq + 1;
    } else if (len == 2 && !strncmp(text, "of", 2)) {
        d->out = eq + 1;
    } else if (len == 2 && !strncmp(text, "bs", 2)) {
        if (!img_parse_number("bs", eq + 1, INT32_MAX, &d->bs)) {
            return false;
        }
        if (!d->bs) {
            report_error("Invalid bs specified. Must be between 1 and %d.", INT32_MAX);
            return false;
        }
    } else if (len == 5 && !strncmp(text, "count", 5)) {
        d->has_count = true;
        return img_parse_number("count", eq + 1, INT64_MAX, &d->count);
    } else if (len == 4 && !strncmp(text, "skip", 4)) {
        return img_parse_number("skip", eq + 1, INT64_MAX, &d->skip);
    } else {
        report_error("unrecognized operand %.*s", (int)strcspn(text, "="), text);
        return false;
    }
    return true;
}

static bool create_out(Vm *vm, const Dd *d, const BlockDriver *drv, uint64_t size, GError **err)
{
    BlockOpts *opts = block_opts_new();
    g_autofree char *text = g_strdup_printf("%" PRIu64, size);
    GError *why = NULL;
    bool ok;

    block_opts_set(opts, "size", text);
    ok = block_create_check_name(d->out, &why) && drv->create(vm, d->out, opts, &why);
    block_opts_free(opts);
    if (!ok) {
        error_set(err, "%s: error while creating output image of type '%s': %s", d->out, drv->name,
                  why->message);
        g_error_free(why);
    }
    return ok;
}

static int copy_blocks(const Dd *d, BlockNode *in, BlockNode *out, uint64_t from, uint64_t size)
{
    g_autofree uint8_t *buf = g_malloc(d->bs);

    for (uint64_t pos = 0, n; pos < size; pos += n) {
        int ret;

        n = MIN(d->bs, size - pos);
        ret = block_pread(in, from + pos, buf, n);
        if (ret < 0) {
            return img_fail_errno(ret, "error while reading from input image file");
        }
        n = MIN(n, block_node_size(out) - pos);
        ret = block_pwrite(out, pos, buf, n, 0);
        if (ret < 0) {
            return img_fail_errno(ret, "error while writing to output image file");
        }
    }
    return 0;
}

static int copy_part(Vm *vm, const Dd *d, const BlockDriver *drv, BlockNode *in)
{
    uint64_t size = block_node_size(in), from;
    ImgOpen how = {.format = drv->name, .writable = true, .quiet = true};
    GError *err = NULL;
    ImgImage out;
    int ret;

    if (d->has_count && d->count <= INT64_MAX / d->bs && d->skip <= INT64_MAX / d->bs - d->count) {
        size = MIN(size, (d->count + d->skip) * d->bs);
    }
    from = d->skip > size / d->bs ? size : d->skip * d->bs;
    if (d->skip && d->skip > block_node_size(in) / d->bs) {
        report_error("%s: cannot skip to specified offset", d->in);
    }
    if (img_is_part_of(d->out, in)) {
        report_error("%s: this file is part of the source '%s': choose another name", d->out, d->in);
        return 1;
    }
    if (!create_out(vm, d, drv, size - from, &err) || !img_open(vm, d->out, &how, &out, &err)) {
        return img_fail(err);
    }
    ret = copy_blocks(d, in, out.node, from, size - from);
    img_close(&out);
    return ret;
}

static int dd_main(Vm *vm, int argc, char **argv)
{
    Dd d = {.bs = 512, .out_format = "raw"};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &d.format},
        {'O', NULL, IMG_TEXT, &d.out_format},
        {'U', "force-share", IMG_FLAG, &d.force_share},
        {0, "image-opts", IMG_FLAG, &d.image_opts},
        {0},
    };
    const BlockDriver *drv;
    GError *err = NULL;
    ImgImage in;
    ImgOpen how;
    int at, ret;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    for (; at < argc; at++) {
        if (!read_operand(&d, argv[at])) {
            return 1;
        }
    }
    if (!d.in || !d.out) {
        report_error("Must specify both input and output files");
        return 1;
    }
    how = (ImgOpen){.format = d.format, .image_opts = d.image_opts, .force_share = d.force_share};
    if (!img_open(vm, d.in, &how, &in, &err)) {
        return img_fail(err);
    }
    drv = block_driver_find(d.out_format);
    if (drv && drv->create) {
        ret = copy_part(vm, &d, drv, in.node);
    } else {
        report_error("Unknown file format");
        ret = 1;
    }
    img_close(&in);
    return ret;
}

const ImgCommand img_dd = {
    .name = "dd",
    .usage = "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] "
             "[skip=blocks] if=input of=output",
    .run = dd_main,
};
