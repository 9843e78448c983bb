/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img bitmap: persistent dirty bitmaps of an image, several actions in order. */
#include "block/dirty_bitmap.h"
#include "img/img.h"

typedef struct Bitmap {
    const char *format, *granularity_text, *source, *source_format, *name;
    GPtrArray *actions;
    bool image_opts;
    uint64_t granularity;
} Bitmap;

static DirtyBitmap *find(BlockNode *node, const char *name, GError **err)
{
    DirtyBitmap *bitmap = block_dirty_bitmap_find(node, name);

    if (!bitmap) {
        error_set(err, "Dirty bitmap '%s' not found", name);
    }
    return bitmap;
}

static bool merge(const Bitmap *b, BlockNode *node, BlockNode *from, const char *name, GError **err)
{
    DirtyBitmap *target = find(node, b->name, err);
    const DirtyBitmap *source = target ? find(from, name, err) : NULL;

    return source && block_dirty_bitmap_merge(target, source, err);
}

/* from: where bitmaps to merge are. */
static bool act(const Bitmap *b, BlockNode *node, BlockNode *from, const char *action, GError **err)
{
    DirtyBitmap *bitmap;

    if (g_str_has_prefix(action, "merge=")) {
        return merge(b, node, from, action + strlen("merge="), err);
    }
    if (!strcmp(action, "add")) {
        return block_dirty_bitmap_add(node, b->name, b->granularity, true, true, err) != NULL;
    }
    bitmap = find(node, b->name, err);
    return bitmap && (!strcmp(action, "remove")   ? block_dirty_bitmap_remove(bitmap, err)
                      : !strcmp(action, "clear")  ? block_dirty_bitmap_clear(bitmap, err)
                      : !strcmp(action, "enable") ? block_dirty_bitmap_set_enabled(bitmap, true, err)
                                                  : block_dirty_bitmap_set_enabled(bitmap, false, err));
}

static int act_all(const Bitmap *b, BlockNode *node, BlockNode *from)
{
    for (unsigned i = 0; i < b->actions->len; i++) {
        const char *action = g_ptr_array_index(b->actions, i);
        g_autoptr(GError) err = NULL;

        if (!act(b, node, from, action, &err)) {
            report_error("Operation %.*s on bitmap %s failed: %s", (int)strcspn(action, "="), action,
                         b->name, err->message);
            return 1;
        }
    }
    return 0;
}

static int run_bitmap(Vm *vm, const Bitmap *b, const char *filename)
{
    ImgOpen how = {.format = b->format, .image_opts = b->image_opts, .writable = true};
    ImgOpen how_source = {.format = b->source_format};
    GError *err = NULL;
    ImgImage image, source = {0};
    int ret;

    if (!img_open(vm, filename, &how, &image, &err)) {
        return img_fail(err);
    }
    /* Before the first action: one that fails halfway leaves a bitmap behind. */
    if (b->source && !img_open(vm, b->source, &how_source, &source, &err)) {
        ret = img_fail(err);
    } else {
        ret = act_all(b, image.node, b->source ? source.node : image.node);
    }
    img_close(&source);
    img_close(&image);
    return ret;
}

static const char *find_contradiction(const Bitmap *b)
{
    bool adds = false, merges = false;

    for (unsigned i = 0; b->actions && i < b->actions->len; i++) {
        adds |= !strcmp(g_ptr_array_index(b->actions, i), "add");
        merges |= g_str_has_prefix(g_ptr_array_index(b->actions, i), "merge=");
    }
    return !b->actions ? "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge"
           : b->granularity_text && !adds ? "granularity only supported with --add"
           : b->source_format && !b->source ? "-F only supported with -b"
           : b->source && !merges ? "Merge bitmap source file only supported with --merge"
                                  : NULL;
}

static int bitmap_main(Vm *vm, int argc, char **argv)
{
    Bitmap b = {0};
    const ImgOption options[] = {
        {'f', NULL, IMG_TEXT, &b.format},
        {'b', "source-file", IMG_TEXT, &b.source},
        {'F', "source-format", IMG_TEXT, &b.source_format},
        {'g', "granularity", IMG_TEXT, &b.granularity_text},
        {0, "image-opts", IMG_FLAG, &b.image_opts},
        {0, "add", IMG_ACTION, &b.actions},
        {0, "remove", IMG_ACTION, &b.actions},
        {0, "clear", IMG_ACTION, &b.actions},
        {0, "enable", IMG_ACTION, &b.actions},
        {0, "disable", IMG_ACTION, &b.actions},
        {0, "merge", IMG_ACTION_VALUE, &b.actions},
        {0},
    };
    const char *wrong;
    int at, ret = 1;

    if (img_parse(vm, argc, argv, options, &at)) {
        wrong = find_contradiction(&b);
        if (wrong) {
            report_error("%s", wrong);
        } else if (at != argc - 2) {
            report_error("Expecting filename and bitmap name");
        } else if (!b.granularity_text ||
                   img_parse_number("granularity", b.granularity_text, INT64_MAX, &b.granularity)) {
            b.name = argv[at + 1];
            ret = run_bitmap(vm, &b, argv[at]);
        }
    }
    img_actions_free(b.actions);
    return ret;
}

const ImgCommand img_bitmap = {
    .name = "bitmap",
    .usage = "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file "
             "[-F source_fmt]] [-g granularity] [--object objectdef] [--image-opts | -f fmt] filename "
             "bitmap",
    .run = bitmap_main,
};
