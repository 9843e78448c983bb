/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kiln-img commit: what an overlay has goes into an image below it; the overlay is emptied afterwards
 * unless -d, or a base that is named (-b), leaves it as it is.
 *
 * The layers are opened from the bottom up, because the base must be writable and all others not.
 */
#include "img/img.h"

typedef struct Commit {
    const char *format, *cache, *base, *rate_text;
    bool image_opts, keep, progress, quiet;
    uint64_t rate;

    GPtrArray *paths, *formats; /* of the layers, top first */
    unsigned base_index;
    ImgImage *layers;           /* likewise */
} Commit;

/* ---- which layers there are ------------------------------------------------------------------ */

static bool find_layers(Vm *vm, Commit *c, const char *filename, GError **err)
{
    g_autofree char *name = g_strdup(filename), *format = g_strdup(c->format);

    while (name) {
        ImgOpen how = {.format = format, .image_opts = c->image_opts && !c->paths->len,
                       .no_backing = true, .no_perm = true, .quiet = true};
        ImgImage image;
        BlockNode *node;

        if (!img_open(vm, name, &how, &image, err)) {
            return false;
        }
        node = image.node;
        g_ptr_array_add(c->paths, g_strdup(how.image_opts ? node->filename : name));
        g_ptr_array_add(c->formats, g_strdup(node->drv->name));
        g_free(name);
        g_free(format);
        name = node->backing_filename && *node->backing_filename
                   ? block_path_beside(node->filename, node->backing_filename)
                   : NULL;
        format = g_strdup(node->backing_format);
        img_close(&image);
        if (c->paths->len > 256) {
            return error_set(err, "The backing chain of '%s' has no end", filename);
        }
    }
    return true;
}

/* The layer that -b names, as it is written anywhere or by its path. */
static bool find_base(Commit *c, const char *filename, GError **err)
{
    if (c->paths->len < 2) {
        return error_set(err, "Image does not have a backing file");
    }
    c->base_index = c->base ? 0 : 1;
    c->keep |= c->base != NULL;
    for (unsigned i = 1; i < c->paths->len && !c->base_index; i++) {
        const char *path = g_ptr_array_index(c->paths, i);
        g_autofree char *beside = block_path_beside(filename, c->base);

        if (!strcmp(path, c->base) || !strcmp(path, beside) || img_same_file(path, c->base) || img_same_file(path, beside)) {
            c->base_index = i;
        }
    }
    return c->base_index ||
           error_set(err, "Did not find '%s' in the backing chain of '%s'", c->base, filename);
}

static bool open_layers(Vm *vm, Commit *c, GError **err)
{
    g_autofree char *below = NULL;

    c->layers = g_new0(ImgImage, c->paths->len);
    for (unsigned i = c->paths->len; i-- > 0;) {
        const char *path = g_ptr_array_index(c->paths, i);
        /* Only what changes is opened for writing. */
        bool writable = i == c->base_index || (i == 0 && !c->keep);
        ImgOpen how = {.format = g_ptr_array_index(c->formats, i), .cache = c->cache,
                       .writable = writable, .resize = writable, .quiet = true, .backing_node = below};

        if (!img_open(vm, path, &how, &c->layers[i], err)) {
            return false;
        }
        g_free(below);
        below = g_strdup(c->layers[i].node->name);
    }
    return true;
}

/* ---- copying -------------------------------------------------------------------------------- */

static int commit_piece(void *opaque, uint64_t offset, uint64_t *len, ImgPiece *kind,
                        BlockNode **source, uint64_t *source_offset)
{
    const Commit *c = opaque;
    BlockStatus status;
    int depth, ret;

    ret = block_pstatus_above(c->layers[0].node, c->layers[c->base_index].node, offset, *len, 0,
                              &status, &depth);
    if (ret < 0) {
        return ret;
    }
    *len = MIN(*len, status.bytes);
    *kind = depth < 0 ? IMG_PIECE_SKIP : status.zero ? IMG_PIECE_ZERO : IMG_PIECE_DATA;
    *source = c->layers[0].node;
    *source_offset = offset;
    return *len ? 0 : -EIO;
}

static bool copy_down(const Commit *c, GError **err)
{
    BlockNode *top = c->layers[0].node, *base = c->layers[c->base_index].node;
    uint64_t size = block_node_size(top), at;
    ImgCopy copy = {.target = base, .size = size, .piece_size = img_piece_size(top), .parallel = 8, .in_order = true, .rate = c->rate,
                    .piece = commit_piece, .opaque = (void *)c};
    bool reading;
    int ret;

    if (block_node_disk_size(base) < size &&
        !block_ptruncate(base, size, true, BLOCK_PREALLOC_OFF, err)) {
        return false;
    }
    ret = img_copy(&copy, &at, &reading);
    if (ret < 0) {
        return error_set_errno(err, -ret, "error while %s at byte %" PRIu64,
                               reading ? "reading" : "writing", at);
    }
    /* The overlay may only be emptied when the base is safe. */
    ret = block_pflush(base);
    return ret >= 0 || error_set_errno(err, -ret, "Could not write out the base image");
}

static bool empty_top(const Commit *c, GError **err)
{
    BlockNode *top = c->layers[0].node;

    if (c->keep) {
        return true;
    }
    return top->drv->make_empty ? top->drv->make_empty(top, err)
                                : error_set(err, "Could not empty %s: format '%s' cannot be emptied",
                                            c->layers[0].name, top->drv->name);
}

static int commit_image(Vm *vm, Commit *c, const char *filename)
{
    GError *err = NULL;
    bool ok;

    if (!find_layers(vm, c, filename, &err) || !find_base(c, filename, &err) ||
        !open_layers(vm, c, &err)) {
        return img_fail(err);
    }
    img_progress_start(c->progress && !c->quiet);
    ok = copy_down(c, &err) && empty_top(c, &err);
    img_progress_end();
    if (!ok) {
        return img_fail(err);
    }
    if (!c->quiet) {
        printf("Image committed.\n");
    }
    return 0;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int run_commit(Vm *vm, Commit *c, const char *filename)
{
    GError *err = NULL;
    bool through;
    int ret;

    if (!img_cache_options(NULL, c->cache, &through, &err)) {
        return img_fail(err);
    }
    c->paths = g_ptr_array_new_with_free_func(g_free);
    c->formats = g_ptr_array_new_with_free_func(g_free);
    ret = commit_image(vm, c, filename);
    for (unsigned i = 0; c->layers && i < c->paths->len; i++) {
        img_close(&c->layers[i]);
    }
    g_free(c->layers);
    g_ptr_array_free(c->paths, TRUE);
    g_ptr_array_free(c->formats, TRUE);
    return ret;
}

static int commit_main(Vm *vm, int argc, char **argv)
{
    Commit c = {0};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &c.format},    {'t', NULL, IMG_TEXT, &c.cache},
        {'b', NULL, IMG_TEXT, &c.base},      {'r', NULL, IMG_TEXT, &c.rate_text},
        {'d', NULL, IMG_FLAG, &c.keep},      {'p', NULL, IMG_FLAG, &c.progress},
        {'q', NULL, IMG_FLAG, &c.quiet},     {0, "image-opts", IMG_FLAG, &c.image_opts},
        {0},
    };
    int at;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    if (at != argc - 1) {
        return img_usage_error("Expecting one image file name");
    }
    if (c.rate_text && !img_parse_number("rate limit", c.rate_text, INT64_MAX, &c.rate)) {
        return 1;
    }
    if (c.image_opts && c.format) {
        report_error("--image-opts and --format are mutually exclusive");
        return 1;
    }
    return run_commit(vm, &c, argv[at]);
}

const ImgCommand img_commit = {
    .name = "commit",
    .usage = "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] "
             "[-d] [-p] filename",
    .run = commit_main,
};
