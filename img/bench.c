/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img bench: many requests of one kind, and how long they took. */
#include "img/img.h"

typedef struct Slot {
    BlockIo io;
    struct iovec iov;
    struct Bench *bench;
    struct Slot *next;
} Slot;

typedef struct Bench {
    const char *count_text, *depth_text, *format, *aio, *offset_text, *size_text, *step_text, *cache,
        *flush_text, *pattern_text;
    bool native, no_drain, quiet, write, image_opts, force_share;
    uint64_t count, depth, offset, size, step, flush_every, pattern;

    BlockNode *node;
    uint64_t image_size, at, left;
    unsigned in_flight, since_flush;
    bool flushing, flush_failed, write_through;
    int error;
    uint8_t *buf;
    Slot *slots, *idle;
} Bench;

static bool is_flush_due(const Bench *b)
{
    return b->write && b->flush_every && b->since_flush >= b->flush_every;
}

static void request_done(BlockIo *io, int result)
{
    Slot *slot = io->opaque;
    Bench *b = slot->bench;

    if (result < 0 && !b->error) {
        b->error = result;
    }
    if (io->op == BLOCK_FLUSH) {
        b->flushing = false;
    }
    b->in_flight--;
    slot->next = b->idle;
    b->idle = slot;
}

static void submit(Bench *b, BlockOp op)
{
    Slot *slot = b->idle;
    BlockIo *io = &slot->io;

    b->idle = slot->next;
    *io = (BlockIo){.op = op, .iov = &slot->iov, .done = request_done, .opaque = slot};
    if (op != BLOCK_FLUSH) {
        io->offset = b->at;
        io->len = b->size;
        io->iov_count = 1;
        io->fua = op == BLOCK_WRITE && b->write_through;
        b->at += b->step;
        if (b->at >= b->image_size) {
            b->at %= MAX(b->image_size, 1);
        }
        b->left--;
        b->since_flush++;
    }
    b->in_flight++;
    if (!range_fits(io->offset, io->len, b->image_size)) {
        block_io_finish_later(b->node, io, -EIO);
        return;
    }
    block_node_submit(b->node, io);
}

static void start_requests(Bench *b)
{
    block_loop_plug(b->node->loop);
    while (!b->error && b->left && b->in_flight < b->depth) {
        if (is_flush_due(b)) {
            if (!b->no_drain && b->in_flight) {
                break;
            }
            b->since_flush = 0;
            b->flushing = true;
            submit(b, BLOCK_FLUSH);
        } else if (b->flushing && !b->no_drain) {
            break;
        } else {
            submit(b, b->write ? BLOCK_WRITE : BLOCK_READ);
        }
    }
    block_loop_unplug(b->node->loop);
}

static int run_bench(Bench *b)
{
    int64_t begin, end;

    printf("Sending %" PRIu64 " %s requests, %" PRIu64 " bytes each, %" PRIu64 " in parallel "
           "(starting at offset %" PRIu64 ", step size %" PRIu64 ")\n", b->count,
           b->write ? "write" : "read", b->size, b->depth, b->offset, b->step);
    if (b->flush_every) {
        printf("Sending %sflush every %" PRIu64 " requests\n", b->no_drain ? "in-flight " : "",
               b->flush_every);
    }
    fflush(stdout);
    b->buf = g_aligned_alloc(MAX(b->size, 1), b->depth, 4096); /* -s 0, too, has an address */
    memset(b->buf, (int)b->pattern, b->size * b->depth);
    b->slots = g_new0(Slot, b->depth);
    for (uint64_t i = 0; i < b->depth; i++) {
        b->slots[i] = (Slot){.iov = {b->buf + i * b->size, b->size}, .bench = b, .next = b->idle};
        b->idle = &b->slots[i];
    }
    b->left = b->count;
    b->at = b->offset;
    begin = g_get_monotonic_time();
    do {
        start_requests(b);
        if (b->in_flight) {
            block_loop_wait(b->node->loop);
        }
    } while (b->in_flight || (b->left && !b->error));
    end = g_get_monotonic_time();
    g_aligned_free(b->buf);
    g_free(b->slots);
    if (b->error) {
        return img_fail_errno(b->error, "Failed request");
    }
    printf("Run completed in %3.3f seconds.\n", (double)(end - begin) / 1e6);
    return 0;
}

static bool read_number(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    if (!text) {
        return true;
    }
    if (!img_parse_number(what, text, max, value)) {
        return false;
    }
    if (*value < min) {
        report_error("Invalid %s specified. Must be between %" PRIu64 " and %" PRIu64 ".", what, min, max);
        return false;
    }
    return true;
}

static bool read_numbers(Bench *b)
{
    char *end;

    if (b->count_text) {
        b->count = g_ascii_strtoull(b->count_text, &end, 0);
        if (*end || end == b->count_text || b->count > INT32_MAX) {
            report_error("Invalid request count specified");
            return false;
        }
    }
    if (b->pattern_text) {
        b->pattern = g_ascii_strtoull(b->pattern_text, &end, 0);
        if (*end || end == b->pattern_text || b->pattern > 255) {
            report_error("Invalid pattern byte specified");
            return false;
        }
    }
    if (!read_number("queue depth", b->depth_text, 1, 65536, &b->depth) ||
        !read_number("offset", b->offset_text, 0, INT64_MAX, &b->offset) ||
        !read_number("buffer size", b->size_text, 0, 64 * MIB, &b->size) ||
        !read_number("flush interval", b->flush_text, 1, INT32_MAX, &b->flush_every)) {
        return false;
    }
    b->step = b->size;
    if (!read_number("step size", b->step_text, 0, INT64_MAX, &b->step)) {
        return false;
    }
    b->step = b->step ? b->step : b->size;
    return true;
}

static const char *find_contradiction(const Bench *b)
{
    return b->aio && strcmp(b->aio, "threads") && strcmp(b->aio, "native") && strcmp(b->aio, "io_uring")
               ? "Invalid aio option (threads, native, io_uring)"
           : !b->write && b->flush_every ? "--flush-interval is only available in write tests"
           : b->flush_every && b->flush_every < b->depth ? "Flush interval can't be smaller than depth"
                                                          : NULL;
}

static int open_and_bench(Vm *vm, Bench *b, const char *filename)
{
    ImgOpen how = {.format = b->format, .cache = b->cache, .writable = b->write,
                   .image_opts = b->image_opts, .force_share = b->force_share, .quiet = b->quiet,
                   .aio = b->aio ? b->aio : b->native ? "native" : NULL};
    GError *err = NULL;
    ImgImage image;
    int ret;

    if (!img_open(vm, filename, &how, &image, &err)) {
        return img_fail(err);
    }
    b->node = image.node;
    b->image_size = block_node_size(image.node);
    b->write_through = image.write_through;
    ret = run_bench(b);
    img_close(&image);
    return ret;
}

static int bench_main(Vm *vm, int argc, char **argv)
{
    Bench b = {.count = 75000, .depth = 64, .size = 4096};
    const ImgOption options[] = {
        {'c', NULL, IMG_TEXT, &b.count_text},  {'d', NULL, IMG_TEXT, &b.depth_text},
        {'f', NULL, IMG_TEXT, &b.format},      {'i', NULL, IMG_TEXT, &b.aio},
        {'o', NULL, IMG_TEXT, &b.offset_text}, {'s', NULL, IMG_TEXT, &b.size_text},
        {'S', NULL, IMG_TEXT, &b.step_text},   {'t', NULL, IMG_TEXT, &b.cache},
        {'n', NULL, IMG_FLAG, &b.native},      {'q', NULL, IMG_FLAG, &b.quiet},
        {'w', NULL, IMG_FLAG, &b.write},       {'U', "force-share", IMG_FLAG, &b.force_share},
        {0, "flush-interval", IMG_TEXT, &b.flush_text},
        {0, "pattern", IMG_TEXT, &b.pattern_text},
        {0, "no-drain", IMG_FLAG, &b.no_drain},
        {0, "image-opts", IMG_FLAG, &b.image_opts},
        {0},
    };
    const char *wrong;
    int at;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    if (at != argc - 1) {
        return img_usage_error("Expecting one image file name");
    }
    if (!read_numbers(&b)) {
        return 1;
    }
    wrong = find_contradiction(&b);
    if (wrong) {
        report_error("%s", wrong);
        return 1;
    }
    return open_and_bench(vm, &b, argv[at]);
}

const ImgCommand img_bench = {
    .name = "bench",
    .usage = "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] "
             "[--no-drain] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] "
             "[-t cache] [-w] [-U] filename",
    .run = bench_main,
};
