/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img map: where in which file of the chain the content lies. */
#include "img/img.h"

typedef struct Map {
    const char *format, *output, *start_text, *length_text;
    bool image_opts, force_share, json;
    uint64_t start, length;
} Map;

/* One stretch that is the same throughout. */
typedef struct Extent {
    uint64_t start, length;
    BlockStatus status;
    int depth;
    bool present;
    const char *file;
} Extent;

static int status_of(BlockNode *node, uint64_t at, uint64_t len, BlockStatus *status)
{
    uint64_t size = block_node_size(node);

    if (at < size) {
        return block_pstatus(node, at, MIN(len, size - at), BLOCK_FLAG_PRECISE, status);
    }
    /* What a raw file's last sector lacks. */
    *status = (BlockStatus){.bytes = block_node_disk_size(node) - at, .allocated = true, .zero = true, .has_offset = true,
                            .host_offset = at, .file = node};
    return 0;
}

/* A layer that says nothing leaves it to the next one, as far as that reaches. */
static int find_extent(BlockNode *node, uint64_t at, uint64_t end, Extent *e)
{
    BlockNode *below;
    int ret;

    *e = (Extent){.start = at, .length = end - at};
    for (;; node = below, e->depth++) {
        ret = status_of(node, at, e->length, &e->status);
        if (ret < 0) {
            return ret;
        }
        e->length = MIN(e->length, e->status.bytes);
        e->present = e->status.allocated;
        below = block_node_backing(node);
        if (e->present || !below) {
            break;
        }
        if (at >= block_node_disk_size(below)) {
            e->status.zero = true;
            break;
        }
    }
    if (e->status.has_offset && e->status.file) {
        e->file = e->status.file->filename;
    }
    return e->length ? 0 : -EIO;
}

static bool continues(const Extent *a, const Extent *b)
{
    return a->depth == b->depth && a->present == b->present && a->status.zero == b->status.zero &&
           a->status.data == b->status.data && a->status.has_offset == b->status.has_offset &&
           (!a->status.has_offset || a->status.host_offset + a->length == b->status.host_offset) &&
           !g_strcmp0(a->file, b->file);
}

static void print_json(const Extent *e, bool first, bool last)
{
    printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %d, \"present\": %s, "
           "\"zero\": %s, \"data\": %s", first ? "[" : "", e->start, e->length, e->depth,
           e->present ? "true" : "false", e->status.zero ? "true" : "false",
           e->status.data ? "true" : "false");
    if (e->status.has_offset && (e->status.data || e->present)) {
        printf(", \"offset\": %" PRIu64, e->status.host_offset);
    }
    printf("}%s\n", last ? "]" : ",");
}

static bool print_human(const Extent *e)
{
    if (e->status.data && !e->status.has_offset) {
        report_error("File contains external, encrypted or compressed clusters.");
        return false;
    }
    if (e->status.data && !e->status.zero) {
        g_autofree char *length = g_strdup_printf("%#" PRIx64, e->length);

        printf("%#-16" PRIx64 "%-16s%#-16" PRIx64 "%s\n", e->start, length, e->status.host_offset,
               e->file ? e->file : "");
    }
    return true;
}

static bool print_extent(const Map *m, const Extent *e, bool *first, bool last)
{
    bool ok = true;

    if (m->json) {
        print_json(e, *first, last);
    } else {
        ok = print_human(e);
    }
    *first = false;
    return ok;
}

static int map_image(BlockNode *node, const void *opaque)
{
    const Map *m = opaque;
    uint64_t size = block_node_disk_size(node), at = m->start;
    uint64_t end = m->length_text && m->length < size - MIN(at, size) ? at + m->length : size;
    Extent pending = {.start = at}, next;
    bool first = true;

    if (!m->json) {
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    }
    while (at < end) {
        int ret = find_extent(node, at, end, &next);

        if (ret < 0) {
            return img_fail_errno(ret, "Failed to read image metadata");
        }
        at += next.length;
        if (pending.length && continues(&pending, &next)) {
            pending.length += next.length;
            continue;
        }
        if (pending.length && !print_extent(m, &pending, &first, false)) {
            return 1;
        }
        pending = next;
    }
    return print_extent(m, &pending, &first, true) ? 0 : 1;
}

static bool read_numbers(Map *m)
{
    return (!m->start_text || img_parse_number("start offset", m->start_text, INT64_MAX, &m->start)) &&
           (!m->length_text || img_parse_number("max length", m->length_text, INT64_MAX, &m->length));
}

static int map_main(Vm *vm, int argc, char **argv)
{
    Map m = {0};
    const ImgOption options[] = {
        {'f', "format", IMG_TEXT, &m.format},
        {0, "output", IMG_TEXT, &m.output},
        {0, "image-opts", IMG_FLAG, &m.image_opts},
        {'U', "force-share", IMG_FLAG, &m.force_share},
        {'s', "start-offset", IMG_TEXT, &m.start_text},
        {'l', "max-length", IMG_TEXT, &m.length_text},
        {0},
    };
    ImgOpen how;
    int at;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    if (at != argc - 1) {
        return img_usage_error("Expecting one image file name");
    }
    if (!img_output_is_json(m.output, &m.json) || !read_numbers(&m)) {
        return 1;
    }
    how = (ImgOpen){.format = m.format, .image_opts = m.image_opts, .force_share = m.force_share};
    return img_with_image(vm, argv[at], &how, map_image, &m);
}

const ImgCommand img_map = {
    .name = "map",
    .usage = "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] "
             "[--output=ofmt] [-U] filename",
    .run = map_main,
};
