/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kiln-img compare. Exit status: 0 equal, 1 different, 2 and more: could not be compared (2 opening,
 * 3 status of a piece, 4 reading).
 */
#include "img/img.h"

enum { SAME = 0, DIFFERENT = 1, ERROR_OPEN = 2, ERROR_STATUS = 3, ERROR_READ = 4 };

/* What is known of an image from where it was asked last up to end. */
typedef struct Extent {
    uint64_t end;
    bool zero, allocated;
} Extent;

typedef struct Compare {
    const char *format[2], *cache;
    bool image_opts, strict, progress, quiet, force_share;
    uint64_t piece; /* bytes that are read at once */
    uint8_t *buf[2];
    Extent extent[2];
} Compare;

static void say(const Compare *c, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static void say(const Compare *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (!c->quiet) {
        vprintf(fmt, args);
    }
    va_end(args);
}

static int mismatch(const Compare *c, uint64_t at)
{
    say(c, "Content mismatch at offset %" PRIu64 "!\n", at);
    return DIFFERENT;
}

static int read_failed(const ImgImage *image, uint64_t at, int ret)
{
    report_error("Error while reading offset %" PRIu64 " of %s: %s", at, image->name, g_strerror(-ret));
    return ERROR_READ;
}

/* Both have data there. */
static int compare_data(const Compare *c, ImgImage *images, uint64_t at, uint64_t len)
{
    for (unsigned i = 0; i < 2; i++) {
        int ret = block_pread(images[i].node, at, c->buf[i], len);

        if (ret < 0) {
            return read_failed(&images[i], at, ret);
        }
    }
    if (memcmp(c->buf[0], c->buf[1], len)) {
        uint64_t first = 0;

        while (c->buf[0][first] == c->buf[1][first]) {
            first++;
        }
        return mismatch(c, at + align_down(first, BLOCK_SECTOR));
    }
    return SAME;
}

static int expect_zeros(const Compare *c, const ImgImage *image, uint64_t at, uint64_t len)
{
    int ret = block_pread(image->node, at, c->buf[0], len);

    if (ret < 0) {
        return read_failed(image, at, ret);
    }
    if (!block_iov_is_zero(&(struct iovec){c->buf[0], len}, 1)) {
        uint64_t first = 0;

        while (!c->buf[0][first]) {
            first++;
        }
        return mismatch(c, at + align_down(first, BLOCK_SECTOR));
    }
    return SAME;
}

/* Brings c->extent[i] up to at. */
static int find_extent(Compare *c, const ImgImage *images, unsigned i, uint64_t at)
{
    Extent *e = &c->extent[i];
    BlockNode *node = images[i].node;
    BlockStatus s;
    int depth, ret;

    if (at < e->end) {
        return SAME;
    }
    ret = block_pstatus_above(node, NULL, at, block_node_size(node) - at, BLOCK_FLAG_PRECISE, &s, &depth);
    if (ret < 0 || !s.bytes) {
        report_error("Sector allocation test failed for %s", images[i].name);
        return ERROR_STATUS;
    }
    *e = (Extent){at + s.bytes, s.zero, depth >= 0 && s.allocated};
    return SAME;
}

static int compare_piece(Compare *c, ImgImage *images, uint64_t at, uint64_t *len)
{
    const Extent *e = c->extent;

    for (unsigned i = 0; i < 2; i++) {
        int ret = find_extent(c, images, i, at);

        if (ret) {
            return ret;
        }
    }
    *len = MIN(*len, MIN(e[0].end, e[1].end) - at);
    if (c->strict && e[0].allocated != e[1].allocated) {
        say(c, "Strict mode: Offset %" PRIu64 " block status mismatch!\n", at);
        return DIFFERENT;
    }
    if ((e[0].zero && e[1].zero) || (!e[0].allocated && !e[1].allocated)) {
        return SAME;
    }
    *len = MIN(*len, c->piece);
    if (e[0].zero || e[1].zero) {
        return expect_zeros(c, &images[e[0].zero ? 1 : 0], at, *len);
    }
    return compare_data(c, images, at, *len);
}

/* What one has more than the other must be zeros. */
static int compare_tail(Compare *c, const ImgImage *images, unsigned longer, uint64_t from, uint64_t size)
{
    const Extent *e = &c->extent[longer];

    while (from < size) {
        uint64_t len;
        int ret = find_extent(c, images, longer, from);

        if (ret) {
            return ret;
        }
        len = MIN(e->end, size) - from;
        if (e->allocated && !e->zero) {
            len = MIN(len, c->piece);
            ret = expect_zeros(c, &images[longer], from, len);
        }
        if (ret) {
            return ret;
        }
        from += len;
        img_progress(from, size);
    }
    return SAME;
}

static int compare_images(Compare *c, ImgImage *images)
{
    uint64_t size[2] = {block_node_size(images[0].node), block_node_size(images[1].node)};
    uint64_t both = MIN(size[0], size[1]), all = MAX(size[0], size[1]), len;
    int ret = SAME;

    bool unequal = block_node_disk_size(images[0].node) != block_node_disk_size(images[1].node);

    if (c->strict && unequal) {
        say(c, "Strict mode: Image size mismatch!\n");
        return DIFFERENT;
    }
    for (uint64_t at = 0; at < both && ret == SAME; at += len) {
        len = both - at;
        ret = compare_piece(c, images, at, &len);
        img_progress(at + len, all);
    }
    if (ret == SAME && size[0] != size[1]) {
        if (unequal) {
            say(c, "Warning: Image size mismatch!\n");
        }
        ret = compare_tail(c, images, size[0] > size[1] ? 0 : 1, both, all);
    }
    if (ret == SAME) {
        say(c, "Images are identical.\n");
    }
    return ret;
}

static int open_and_compare(Vm *vm, Compare *c, char **names)
{
    ImgImage images[2] = {0};
    GError *err = NULL;
    int ret = SAME;

    for (unsigned i = 0; i < 2 && ret == SAME; i++) {
        ImgOpen how = {.format = c->format[i], .cache = c->cache, .image_opts = c->image_opts,
                       .force_share = c->force_share, .quiet = c->quiet};

        if (!img_open(vm, names[i], &how, &images[i], &err)) {
            img_fail(err);
            ret = ERROR_OPEN;
        }
    }
    if (ret == SAME) {
        c->piece = MAX(img_piece_size(images[0].node), img_piece_size(images[1].node));
        c->buf[0] = g_aligned_alloc(c->piece, 1, 4096);
        c->buf[1] = g_aligned_alloc(c->piece, 1, 4096);
        img_progress_start(c->progress && !c->quiet);
        ret = compare_images(c, images);
        img_progress_end();
        g_aligned_free(c->buf[0]);
        g_aligned_free(c->buf[1]);
    }
    img_close(&images[1]);
    img_close(&images[0]);
    return ret;
}

static int compare_main(Vm *vm, int argc, char **argv)
{
    Compare c = {0};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &c.format[0]}, {'F', NULL, IMG_TEXT, &c.format[1]},
        {'T', NULL, IMG_TEXT, &c.cache},     {'p', NULL, IMG_FLAG, &c.progress},
        {'q', NULL, IMG_FLAG, &c.quiet},     {'s', NULL, IMG_FLAG, &c.strict},
        {'U', "force-share", IMG_FLAG, &c.force_share},
        {0, "image-opts", IMG_FLAG, &c.image_opts},
        {0},
    };
    GError *err = NULL;
    bool through;
    int at;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return DIFFERENT; /* as qemu-img */
    }
    if (at != argc - 2) {
        return img_usage_error("Expecting two image file names");
    }
    if (!img_cache_options(NULL, c.cache, &through, &err)) {
        g_error_free(err);
        report_error("Invalid source cache option: %s", c.cache);
        return ERROR_OPEN;
    }
    return open_and_compare(vm, &c, argv + at);
}

const ImgCommand img_compare = {
    .name = "compare",
    .usage = "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] "
             "filename1 filename2",
    .run = compare_main,
};
