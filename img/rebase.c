/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kiln-img rebase: another backing file. Safe mode first copies into the image what the two backing
 * files do not have in common; -u only writes the name.
 */
#include "img/img.h"

typedef struct Rebase {
    const char *format, *cache, *source_cache, *backing, *backing_format;
    bool image_opts, unsafe, progress, quiet, force_share;

    ImgImage image, below; /* the new backing file; no node: none */
    uint64_t piece; /* bytes that are read at once */
    uint8_t *old_data, *new_data;
} Rebase;

/* Zeros behind the end of a backing file. */
static int read_backing(BlockNode *node, uint64_t at, uint8_t *buf, uint64_t len)
{
    uint64_t size = node ? block_node_size(node) : 0;
    uint64_t there = at < size ? MIN(len, size - at) : 0;

    memset(buf + there, 0, len - there);
    return there ? block_pread(node, at, buf, there) : 0;
}

/* Writes the sectors that differ; zeros as data: asked for zeros, an image leaves out what reads as zeros over its old backing
 * file, which is about to go. */
static int write_differences(const Rebase *r, uint64_t at, uint64_t len)
{
    for (uint64_t pos = 0, end; pos < len; pos = end) {
        bool differs = false;
        int ret = 0;

        for (end = pos; end < len; end = MIN(len, end + 4096)) {
            uint64_t n = MIN(4096, len - end);
            bool now = memcmp(r->old_data + end, r->new_data + end, n) != 0;

            if (end == pos) {
                differs = now;
            } else if (now != differs) {
                break;
            }
        }
        if (differs) {
            ret = block_pwrite(r->image.node, at + pos, r->old_data + pos, end - pos, 0);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* Are both zeros from at on? *len gets shorter in any case. */
static int both_zero(const Rebase *r, uint64_t at, uint64_t *len, bool *zero)
{
    BlockNode *nodes[] = {block_node_backing(r->image.node), r->below.node};

    *zero = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(nodes); i++) {
        BlockStatus status;
        int ret;

        if (!nodes[i] || at >= block_node_size(nodes[i])) {
            continue;
        }
        ret = block_pstatus_above(nodes[i], NULL, at, *len, 0, &status, NULL);
        if (ret < 0 || !status.bytes) {
            return ret < 0 ? ret : -EIO;
        }
        *zero &= status.zero;
        *len = MIN(*len, status.bytes);
    }
    return 0;
}

/* What the image does not have itself, at this place; *len gets shorter. */
static int rebase_piece(const Rebase *r, uint64_t at, uint64_t *len)
{
    BlockNode *old = block_node_backing(r->image.node);
    BlockStatus status;
    bool zero;
    int ret = block_pstatus(r->image.node, at, *len, 0, &status);

    if (ret < 0 || !status.bytes) {
        return ret < 0 ? ret : -EIO;
    }
    *len = MIN(*len, status.bytes);
    if (status.allocated) {
        return 0;
    }
    ret = both_zero(r, at, len, &zero);
    if (ret < 0 || zero) {
        return ret;
    }
    *len = MIN(*len, r->piece);
    ret = read_backing(old, at, r->old_data, *len);
    ret = ret < 0 ? ret : read_backing(r->below.node, at, r->new_data, *len);
    return ret < 0 ? ret : write_differences(r, at, *len);
}

static bool copy_differences(Rebase *r, GError **err)
{
    uint64_t size = block_node_size(r->image.node);
    int ret = 0;

    r->piece = img_piece_size(r->image.node);
    if (r->below.node) {
        r->piece = MAX(r->piece, img_piece_size(r->below.node));
    }
    r->old_data = g_aligned_alloc(r->piece, 1, 4096);
    r->new_data = g_aligned_alloc(r->piece, 1, 4096);
    for (uint64_t at = 0, len; at < size && ret >= 0; at += len) {
        len = size - at;
        ret = rebase_piece(r, at, &len);
        if (ret < 0) {
            error_set_errno(err, -ret, "error while copying at byte %" PRIu64, at);
        }
        img_progress(at + len, size);
    }
    g_aligned_free(r->old_data);
    g_aligned_free(r->new_data);
    if (ret >= 0) {
        ret = block_pflush(r->image.node);
        if (ret < 0) {
            error_set_errno(err, -ret, "error while flushing");
        }
    }
    return ret >= 0;
}

static bool open_new_backing(Vm *vm, Rebase *r, GError **err)
{
    ImgOpen how = {.format = r->backing_format, .cache = r->source_cache, .force_share = r->force_share,
                   .quiet = true};
    g_autofree char *path = NULL;
    GError *why = NULL;

    if (!*r->backing) {
        return true;
    }
    path = block_path_beside(r->image.node->filename, r->backing);
    if (!img_open(vm, path, &how, &r->below, &why)) {
        error_set(err, "Could not open new backing file '%s': %s", r->backing, why->message);
        g_error_free(why);
        return false;
    }
    r->below.name = NULL; /* path ends here */
    return !img_is_part_of(r->image.node->filename, r->below.node) ||
           error_set(err, "'%s' lies on '%s' itself: it cannot be its backing file", r->backing,
                     r->image.node->filename);
}

static bool change_name(const Rebase *r, GError **err)
{
    BlockNode *node = r->image.node;

    if (!node->drv->change_backing_file) {
        return error_set(err, "Could not change the backing file to '%s': Operation not supported",
                         r->backing);
    }
    if (*r->backing && !r->backing_format) {
        return error_set(err, "Could not change the backing file to '%s': backing format must be "
                              "specified", r->backing);
    }
    return node->drv->change_backing_file(node, *r->backing ? r->backing : NULL,
                                          *r->backing ? r->backing_format : NULL, err);
}

static bool rebase_image(Vm *vm, Rebase *r, GError **err)
{
    if (r->backing_format && !block_driver_find(r->backing_format) &&
        !(r->unsafe && block_format_is_planned(r->backing_format))) {
        return error_set(err, "Invalid format name: '%s'", r->backing_format);
    }
    if (r->unsafe) {
        return change_name(r, err);
    }
    if (!r->image.node->drv->change_backing_file || (*r->backing && !r->backing_format)) {
        return change_name(r, err); /* says why not, before anything is copied */
    }
    return open_new_backing(vm, r, err) && copy_differences(r, err) && change_name(r, err);
}

static int run_rebase(Vm *vm, Rebase *r, const char *filename)
{
    ImgOpen how = {.format = r->format, .cache = r->cache, .image_opts = r->image_opts,
                   .writable = true, .no_backing = r->unsafe, .quiet = r->quiet};
    GError *err = NULL;
    bool through, ok;

    if (!img_cache_options(NULL, r->source_cache, &through, NULL)) {
        report_error("Invalid source cache option: %s", r->source_cache);
        return 1;
    }
    if (!img_open(vm, filename, &how, &r->image, &err)) {
        return img_fail(err);
    }
    img_progress_start(r->progress && !r->quiet);
    ok = rebase_image(vm, r, &err);
    img_progress(ok ? 1 : 0, 1);
    img_progress_end();
    img_close(&r->image);
    img_close(&r->below);
    return ok ? 0 : img_fail(err);
}

static int rebase_main(Vm *vm, int argc, char **argv)
{
    Rebase r = {0};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &r.format},        {'F', NULL, IMG_TEXT, &r.backing_format},
        {'b', NULL, IMG_TEXT, &r.backing},       {'t', NULL, IMG_TEXT, &r.cache},
        {'T', NULL, IMG_TEXT, &r.source_cache},  {'u', NULL, IMG_FLAG, &r.unsafe},
        {'p', NULL, IMG_FLAG, &r.progress},      {'q', NULL, IMG_FLAG, &r.quiet},
        {'U', "force-share", IMG_FLAG, &r.force_share},
        {0, "image-opts", IMG_FLAG, &r.image_opts},
        {0},
    };
    int at;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    if (at != argc - 1) {
        return img_usage_error("Expecting one image file name");
    }
    if (!r.backing && !r.unsafe) {
        return img_usage_error("Must specify backing file (-b) or use unsafe mode (-u)");
    }
    r.backing = r.backing ? r.backing : "";
    return run_rebase(vm, &r, argv[at]);
}

const ImgCommand img_rebase = {
    .name = "rebase",
    .usage = "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] "
             "[-u] -b backing_file [-F backing_fmt] filename",
    .run = rebase_main,
};
