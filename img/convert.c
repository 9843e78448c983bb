/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kiln-img convert: one or several images, one after the other, into a new image or (-n) one that is
 * there. With -l the target gets the size that the disk had in the snapshot (qemu-img: that it has now).
 * -C has the kernel copy between files (raw targets), which shares blocks where the file system can; what it does
 * not take is copied as without -C.
 */
#include <stdlib.h>

#include "img/img.h"

/* QEMU would leave packed clusters unencrypted where the image was encrypted already (-n). */
#define ENCRYPTED_AND_PACKED "Compression and encryption not supported at the same time"

typedef struct Source {
    ImgImage image;
    uint64_t start, size; /* bytes of the whole */
} Source;

typedef struct Convert {
    const char *format, *out_format, *backing, *backing_format, *cache, *source_cache;
    const char *sparse_text, *parallel_text, *rate_text, *snapshot, *target;
    GPtrArray *options;
    bool image_opts, target_image_opts, target_is_zero, no_create, compress, copy_range, progress,
        quiet, out_of_order, force_share, salvage, bitmaps, skip_broken_bitmaps;
    uint64_t sparse, parallel, rate;

    Source *sources;
    unsigned count;
    uint64_t size;
    ImgImage out;
    bool target_has_backing;
    bool over_backing; /* with what the source's backing file has, too: that is not copied */
    const Source *last; /* of the extent that is known */
    uint64_t extent_start, extent_end;
    ImgPiece extent_kind;
} Convert;

/* ---- arguments ------------------------------------------------------------------------------ */

static bool read_numbers(Convert *c)
{
    c->sparse = 4096;
    c->parallel = 8;
    if (c->sparse_text) {
        if (!img_parse_number("buffer size for sparse output", c->sparse_text, INT64_MAX, &c->sparse)) {
            return false;
        }
        if (c->sparse % BLOCK_SECTOR || c->sparse > 16 * MIB) {
            report_error("Invalid buffer size for sparse output specified. Valid sizes are multiples "
                         "of %d up to %" PRIu64 ". Select 0 to disable sparse detection (fully "
                         "allocates output).", BLOCK_SECTOR, 16 * MIB);
            return false;
        }
    }
    if (c->parallel_text) {
        char *end;

        c->parallel = g_ascii_strtoull(c->parallel_text, &end, 10);
        if (*end || end == c->parallel_text || c->parallel < 1 || c->parallel > 16) {
            report_error("Invalid number of coroutines. Allowed number of coroutines is between 1 and "
                         "16");
            return false;
        }
    }
    return !c->rate_text || img_parse_number("rate limit", c->rate_text, INT64_MAX, &c->rate);
}

static bool check_caches(const Convert *c)
{
    g_autoptr(GError) err = NULL;
    bool through;

    if (!img_cache_options(NULL, c->cache, &through, &err)) {
        report_error("%s", err->message);
        return false;
    }
    if (!img_cache_options(NULL, c->source_cache, &through, NULL)) {
        report_error("Invalid source cache option: %s", c->source_cache);
        return false;
    }
    return true;
}

static const char *find_contradiction(const Convert *c)
{
    return c->image_opts && c->format ? "--image-opts and --format are mutually exclusive"
           : c->target_image_opts && !c->no_create
               ? "--target-image-opts requires use of -n flag"
           : c->target_image_opts && c->out_format
               ? "--target-image-opts and -O are mutually exclusive"
           : c->target_is_zero && !c->no_create ? "--target-is-zero requires use of -n flag"
           : c->copy_range && c->compress ? "Cannot enable copy offloading when -c is used"
           : c->copy_range && c->sparse_text ? "Cannot enable copy offloading when -S is used"
           : c->copy_range && c->salvage ? "Cannot use copy offloading in salvaging mode"
           : c->options && c->no_create ? "-o has no effect when skipping image creation"
           : c->snapshot && c->bitmaps ? "--bitmaps and -l are mutually exclusive: bitmaps are about the image's "
                                         "present content"
           : c->skip_broken_bitmaps && !c->bitmaps
               ? "Use of --skip-broken-bitmaps requires --bitmaps"
                        : NULL;
}

/* ---- sources -------------------------------------------------------------------------------- */

static bool open_sources(Vm *vm, Convert *c, char **names, unsigned count)
{
    ImgOpen how = {.format = c->format, .cache = c->source_cache, .image_opts = c->image_opts,
                   .force_share = c->force_share, .quiet = c->quiet};

    c->sources = g_new0(Source, count);
    for (; c->count < count; c->count++) {
        Source *s = &c->sources[c->count];
        GError *err = NULL;

        if (!img_open(vm, names[c->count], &how, &s->image, &err)) {
            img_fail(err);
            return false;
        }
        if (c->snapshot && !img_load_snapshot(s->image.node, c->snapshot, &err)) {
            c->count++; /* it is open */
            img_fail(err);
            return false;
        }
        s->start = c->size;
        s->size = block_node_disk_size(s->image.node);
        c->size += s->size;
        if (c->size > INT64_MAX) {
            report_error("The images are too large to be put together");
            return false;
        }
    }
    return true;
}

/* ---- the target ------------------------------------------------------------------------------ */

static bool target_options(const Convert *c, const BlockDriver *drv, BlockOpts *opts, GError **err)
{
    g_autofree char *size = g_strdup_printf("%" PRIu64, c->size);
    bool can_back = img_find_create_option(drv, "backing_file") != NULL;
    const char *backing;

    block_opts_set(opts, "size", size); /* whatever -o says, as qemu-img */
    if ((c->backing || c->backing_format) && !can_back) {
        return error_set(err, "Backing file%s not supported for file format '%s'",
                         c->backing ? "" : " format", drv->name);
    }
    if (c->backing) {
        block_opts_set(opts, "backing_file", c->backing);
    }
    if (c->backing_format) {
        block_opts_set(opts, "backing_fmt", c->backing_format);
    }
    backing = block_opts_peek(opts, "backing_file");
    if (backing && *backing && !block_opts_peek(opts, "backing_fmt")) {
        return error_set(err, "Use of backing file requires explicit backing format");
    }
    if (backing && *backing && c->count > 1) {
        return error_set(err, "Having a backing file for the target makes no sense when concatenating "
                              "multiple input images");
    }
    return true;
}

static bool create_target(Vm *vm, const Convert *c, const BlockDriver *drv, GError **err)
{
    BlockOpts *opts;
    GError *why = NULL;
    bool ok;

    if (!block_create_check_name(c->target, err) || !img_check_create_options(drv, c->options, err)) {
        return false;
    }
    opts = img_merge_options(c->options, err);
    ok = target_options(c, drv, opts, err);
    if (ok && c->compress && block_opts_has_prefix(opts, "encrypt")) {
        ok = error_set(err, ENCRYPTED_AND_PACKED);
    }
    if (ok && c->compress && g_strcmp0(block_opts_peek(opts, "preallocation") ?: "off", "off")) {
        ok = error_set(err, "Compression and preallocation not supported at the same time");
    }
    ok = ok && (!c->bitmaps || img_bitmaps_check_options(drv, opts, err));
    if (ok && !drv->create(vm, c->target, opts, &why)) {
        ok = error_set(err, "%s: error while converting %s: %s", c->target, drv->name, why->message);
        g_error_free(why);
    }
    block_opts_free(opts);
    return ok;
}

/* What opens a new encrypted image is what it was made with. */
static BlockOpts *key_secrets(const Convert *c)
{
    static const char *const names[] = {"key-secret", "encrypt.key-secret"};
    BlockOpts *given = img_merge_options(c->options, NULL), *opts = block_opts_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *value = block_opts_peek(given, names[i]);

        if (value) {
            block_opts_set(opts, names[i], value);
        }
    }
    block_opts_free(given);
    return opts;
}

static BlockInfo get_info(BlockNode *node)
{
    BlockInfo info = {0};

    if (node->drv->get_info) {
        node->drv->get_info(node, &info);
    }
    return info;
}

static bool open_made_target(Vm *vm, Convert *c, const char *format, GError **err)
{
    BlockOpts *secrets = key_secrets(c);
    ImgOpen how = {.format = c->target_image_opts ? NULL : format, .cache = c->cache,
                   .image_opts = c->target_image_opts, .writable = true, .quiet = c->quiet,
                   .more = secrets};
    bool ok = img_open(vm, c->target, &how, &c->out, err);

    block_opts_free(secrets);
    return ok;
}

static bool open_target(Vm *vm, Convert *c, GError **err)
{
    const char *format = c->out_format ? c->out_format : "raw";
    const BlockDriver *drv = block_driver_find(format);
    BlockInfo info;

    if (!c->target_image_opts && (!drv || !drv->create)) {
        return !drv && !block_format_is_planned(format)
                   ? error_set(err, "Unknown file format '%s'", format)
                   : error_set(err, "Format driver '%s' does not support image creation%s", format,
                               drv ? "" : " yet (qcow2, raw, luks, vdi, vpc, vhdx and vmdk do)");
    }
    if (c->compress && !c->target_image_opts && !drv->packs) {
        return error_set(err, "Compression not supported for this file format");
    }
    for (unsigned i = 0; i < c->count && !c->target_image_opts; i++) {
        if (img_is_part_of(c->target, c->sources[i].image.node)) {
            return error_set(err, "%s: this file is part of the source '%s': choose another name", c->target,
                             c->sources[i].image.name);
        }
    }
    if (!c->no_create && !create_target(vm, c, drv, err)) {
        return false;
    }
    if (!open_made_target(vm, c, format, err)) {
        return false;
    }
    if (c->compress && !block_node_packs(c->out.node)) {
        return error_set(err, "Compression not supported for this file format");
    }
    info = get_info(c->out.node);
    c->compress |= info.needs_packing;
    if (c->compress && info.encrypted) {
        return error_set(err, ENCRYPTED_AND_PACKED);
    }
    if (c->compress && !info.cluster_size) {
        return error_set(err, "invalid cluster size");
    }
    if (block_node_size(c->out.node) < c->size) {
        return error_set(err, "output file is smaller than input file");
    }
    c->target_has_backing = block_node_backing(c->out.node) != NULL;
    c->over_backing = c->target_has_backing && (c->backing || !c->no_create);
    return true;
}

static bool is_new_file(const Convert *c)
{
    return !c->no_create && block_create_makes_file(c->target);
}

/* Zeros need no writing where the target has them already, or can be made so at once. What it has behind the source's end
 * is not ours. */
static bool make_target_zero(const Convert *c)
{
    if (c->target_has_backing || !c->sparse || c->out.node->drv == &block_driver_luks) {
        return false; /* (a hole in an encrypted file is noise) */
    }
    return c->target_is_zero || is_new_file(c) ||
           block_pzero(c->out.node, 0, c->size,
                       BLOCK_FLAG_MAY_UNMAP | BLOCK_FLAG_NO_FALLBACK) == 0;
}

/* ---- copying -------------------------------------------------------------------------------- */

static const Source *source_at(const Convert *c, uint64_t offset)
{
    unsigned i = 0;

    while (i + 1 < c->count && offset >= c->sources[i + 1].start) {
        i++;
    }
    return &c->sources[i];
}

/* Asks the source anew; the answer is kept, for it is longer than one piece. */
static int find_extent(Convert *c, uint64_t offset)
{
    const Source *s = source_at(c, offset);
    uint64_t at = offset - s->start;
    BlockStatus status = {0};
    int depth = 0, ret;

    if (c->over_backing) {
        ret = block_pstatus(s->image.node, at, s->size - at, BLOCK_FLAG_PRECISE, &status);
        depth = status.allocated ? 0 : -1;
    } else {
        ret = block_pstatus_above(s->image.node, NULL, at, s->size - at, BLOCK_FLAG_PRECISE, &status, &depth);
    }
    if (ret < 0 && c->salvage) {
        status = (BlockStatus){.bytes = BLOCK_SECTOR, .data = true};
        depth = ret = 0;
    }
    c->last = s;
    c->extent_start = offset;
    c->extent_end = offset + (status.bytes ? status.bytes : s->size - at);
    c->extent_kind = status.zero                      ? (c->sparse ? IMG_PIECE_ZERO : IMG_PIECE_DATA)
                     : depth < 0 && c->over_backing   ? IMG_PIECE_SKIP
                                                      : IMG_PIECE_DATA;
    return ret;
}

static int convert_piece(void *opaque, uint64_t offset, uint64_t *len, ImgPiece *kind,
                         BlockNode **source, uint64_t *source_offset)
{
    Convert *c = opaque;

    if (!c->last || offset < c->extent_start || offset >= c->extent_end) {
        int ret = find_extent(c, offset);

        if (ret < 0) {
            return ret;
        }
    }
    *len = MIN(*len, c->extent_end - offset);
    *kind = c->extent_kind;
    *source = c->last->image.node;
    *source_offset = offset - c->last->start;
    return 0;
}

static int copy_all(Convert *c)
{
    ImgCopy copy = {.target = c->out.node, .size = c->size, .parallel = (unsigned)c->parallel,
                    .in_order = !c->out_of_order, .ahead = true, .compressed = c->compress, .offload = c->copy_range, .salvage = c->salvage,
                    .quiet = c->quiet, .sparse = c->sparse, .rate = c->rate, .piece = convert_piece,
                    .opaque = c};
    uint64_t at;
    bool reading;
    int ret;

    for (unsigned i = 0; i < c->count; i++) {
        copy.piece_size = MAX(copy.piece_size, img_piece_size(c->sources[i].image.node));
    }
    copy.target_is_zero = make_target_zero(c);
    ret = img_copy(&copy, &at, &reading);
    if (ret < 0) {
        report_error("error while %s at byte %" PRIu64 ": %s", reading ? "reading" : "writing", at,
                     g_strerror(-ret));
        return 1;
    }
    ret = block_pflush(c->out.node);
    return ret < 0 ? img_fail_errno(ret, "error while flushing '%s'", c->target) : 0;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int convert(Vm *vm, Convert *c, char **names, unsigned count)
{
    GError *err = NULL;
    int ret;

    if (c->snapshot && count > 1) {
        report_error("No support for concatenating multiple snapshot");
        return 1;
    }
    if (c->bitmaps && count > 1) {
        report_error("Copying bitmaps only possible with single source");
        return 1;
    }
    if (!open_sources(vm, c, names, count)) {
        return 1;
    }
    if (c->bitmaps && !img_bitmaps_check(c->sources[0].image.node, c->skip_broken_bitmaps, &err)) {
        return img_fail(err);
    }
    if (!open_target(vm, c, &err) || (c->bitmaps && !img_bitmaps_check_target(c->out.node, &err))) {
        return img_fail(err);
    }
    img_progress_start(c->progress && !c->quiet);
    ret = copy_all(c);
    img_progress_end();
    if (!ret && c->bitmaps && !img_bitmaps_copy(c->out.node, c->sources[0].image.node, &err)) {
        return img_fail(err);
    }
    return ret;
}

static int check_and_convert(Vm *vm, Convert *c, char **names, int count)
{
    const char *wrong = find_contradiction(c);
    const BlockDriver *drv = block_driver_find(c->out_format ? c->out_format : "raw");
    int ret;

    if (wrong) {
        report_error("%s", wrong);
        return 1;
    }
    if (img_wants_help(c->options) && drv) {
        img_print_create_options(drv, false, count > 0);
        return 0;
    }
    if (count < 2) {
        report_error("Must specify image file name");
        return 1;
    }
    if (!read_numbers(c) || !check_caches(c)) {
        return 1;
    }
    c->target = names[count - 1];
    ret = convert(vm, c, names, (unsigned)count - 1);
    img_close(&c->out);
    for (unsigned i = 0; i < c->count; i++) {
        img_close(&c->sources[i].image);
    }
    g_free(c->sources);
    return ret;
}

static int convert_main(Vm *vm, int argc, char **argv)
{
    Convert c = {.cache = "unsafe"};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &c.format},          {'O', NULL, IMG_TEXT, &c.out_format},
        {'B', NULL, IMG_TEXT, &c.backing},         {'F', NULL, IMG_TEXT, &c.backing_format},
        {'t', NULL, IMG_TEXT, &c.cache},           {'T', NULL, IMG_TEXT, &c.source_cache},
        {'S', NULL, IMG_TEXT, &c.sparse_text},     {'m', NULL, IMG_TEXT, &c.parallel_text},
        {'r', NULL, IMG_TEXT, &c.rate_text},       {'l', NULL, IMG_TEXT, &c.snapshot},
        {'o', NULL, IMG_LIST, &c.options},         {'c', NULL, IMG_FLAG, &c.compress},
        {'n', NULL, IMG_FLAG, &c.no_create},       {'p', NULL, IMG_FLAG, &c.progress},
        {'q', NULL, IMG_FLAG, &c.quiet},           {'C', NULL, IMG_FLAG, &c.copy_range},
        {'W', NULL, IMG_FLAG, &c.out_of_order},    {'U', "force-share", IMG_FLAG, &c.force_share},
        {0, "image-opts", IMG_FLAG, &c.image_opts}, {0, "salvage", IMG_FLAG, &c.salvage},
        {0, "target-image-opts", IMG_FLAG, &c.target_image_opts},
        {0, "target-is-zero", IMG_FLAG, &c.target_is_zero},
        {0, "bitmaps", IMG_FLAG, &c.bitmaps},
        {0, "skip-broken-bitmaps", IMG_FLAG, &c.skip_broken_bitmaps},
        {0},
    };
    int at, ret = 1;

    if (img_parse(vm, argc, argv, options, &at)) {
        ret = check_and_convert(vm, &c, argv + at, argc - at);
    }
    if (c.options) {
        g_ptr_array_free(c.options, TRUE);
    }
    return ret;
}

const ImgCommand img_convert = {
    .name = "convert",
    .usage = "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [-U] [-C] "
             "[-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file "
             "[-F backing_fmt]] [-o options] [-S sparse_size] [-r rate_limit] [-m num_coroutines] "
             "[-W] [--salvage] [--bitmaps [--skip-broken-bitmaps]] filename [filename2 [...]] output_filename",
    .run = convert_main,
};
