/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img resize: a new size, absolute or by how much. */
#include "img/img.h"
#include "util/keyval.h"

typedef struct Resize {
    const char *format, *prealloc_name;
    bool image_opts, shrink, quiet;
    BlockPrealloc prealloc;
    int sign; /* 0: the size itself */
    uint64_t size;
} Resize;

/* The last argument, whatever it looks like: "-1G" is no option. */
static bool read_size(Resize *r, const char *text)
{
    const char *digits = text;

    if (*text == '+' || *text == '-') {
        r->sign = *digits++ == '+' ? 1 : -1;
    }
    if (!parse_size(digits, 1, &r->size)) {
        report_error("Parameter 'size' expects a non-negative number below 2^64\n"
                     "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
                     "and exabytes, respectively.");
        return false;
    }
    return true;
}

static bool read_prealloc(Resize *r)
{
    for (unsigned i = 0; block_prealloc_names[i]; i++) {
        if (!r->prealloc_name || !strcmp(r->prealloc_name, block_prealloc_names[i])) {
            r->prealloc = (BlockPrealloc)i;
            return true;
        }
    }
    report_error("Invalid preallocation mode '%s'", r->prealloc_name);
    return false;
}

static bool new_size(const Resize *r, uint64_t old, uint64_t *size)
{
    *size = r->size;
    if ((r->sign < 0 && r->size >= old) || (!r->sign && !r->size)) {
        report_error("New image size must be positive");
        return false;
    }
    if (r->size > INT64_MAX || (r->sign > 0 && r->size > INT64_MAX - old)) {
        report_error("New image size is too large: at most %" PRId64 " bytes", INT64_MAX);
        return false;
    }
    if (r->sign) {
        *size = r->sign > 0 ? old + r->size : old - r->size;
    }
    return true;
}

static int resize_image(BlockNode *node, const void *opaque)
{
    const Resize *r = opaque;
    uint64_t old = block_node_disk_size(node), size;
    GError *err = NULL;

    if (!new_size(r, old, &size)) {
        return 1;
    }
    if (size <= old && r->prealloc) {
        report_error("Preallocation can only be used for growing images");
        return 1;
    }
    if (size < old && !r->shrink) {
        report_error("Use the --shrink option to perform a shrink operation.");
        report_warning("Shrinking an image will delete all data beyond the shrunken image's end. "
                       "Before performing such an operation, make sure there is no important data "
                       "there.");
        return 1;
    }
    if (!block_ptruncate(node, size, true, r->prealloc, &err)) {
        return img_fail(err);
    }
    if (!r->quiet) {
        printf("Image resized.\n");
    }
    return 0;
}

static int resize_main(Vm *vm, int argc, char **argv)
{
    Resize r = {0};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &r.format},
        {'q', NULL, IMG_FLAG, &r.quiet},
        {0, "image-opts", IMG_FLAG, &r.image_opts},
        {0, "preallocation", IMG_TEXT, &r.prealloc_name},
        {0, "shrink", IMG_FLAG, &r.shrink},
        {0},
    };
    ImgOpen how;
    char *size = argv[argc - 1];
    int at;

    if (argc < 2 || !strcmp(size, "-h") || !strcmp(size, "--help")) {
        return argc < 2 ? img_usage_error("Not enough arguments") : (img_help(), 0);
    }
    argv[--argc] = NULL;
    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    if (at != argc - 1) {
        return img_usage_error(at == argc ? "Not enough arguments" : "Expecting image file name and size");
    }
    if (!read_size(&r, size) || !read_prealloc(&r)) {
        return 1;
    }
    how = (ImgOpen){.format = r.format, .image_opts = r.image_opts, .writable = true, .resize = true,
                    .quiet = r.quiet};
    return img_with_image(vm, argv[at], &how, resize_image, &r);
}

const ImgCommand img_resize = {
    .name = "resize",
    .usage = "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] "
             "filename [+ | -]size",
    .run = resize_main,
};
