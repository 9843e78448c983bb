/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img info: facts about an image and, when asked, about what lies below it. */
#include "img/img.h"
#include "util/image_text.h"

typedef struct Info {
    const char *format, *output;
    bool image_opts, chain, force_share, json;
    GHashTable *seen; /* names of the chain so far */
} Info;

/* ---- what is known of one image --------------------------------------------------------------- */

static void add_string(json_object *to, const char *key, const char *value)
{
    if (value) {
        json_object_object_add(to, key, json_object_new_string(value));
    }
}

static void add_int(json_object *to, const char *key, uint64_t value)
{
    json_object_object_add(to, key, json_object_new_int64((int64_t)value));
}

static json_object *snapshot_json(const BlockSnapshot *s)
{
    json_object *o = json_object_new_object();

    if (s->has_icount) {
        add_int(o, "icount", s->icount);
    }
    add_int(o, "vm-clock-nsec", s->vm_clock_ns % 1000000000);
    add_string(o, "name", s->name);
    add_int(o, "date-sec", s->date_sec);
    add_int(o, "date-nsec", s->date_nsec);
    add_int(o, "vm-clock-sec", s->vm_clock_ns / 1000000000);
    add_string(o, "id", s->id);
    add_int(o, "vm-state-size", s->vm_state_size);
    return o;
}

static json_object *snapshots_json(GPtrArray *snapshots)
{
    json_object *list = json_object_new_array();

    for (unsigned i = 0; i < snapshots->len; i++) {
        json_object_array_add(list, snapshot_json(g_ptr_array_index(snapshots, i)));
    }
    return list;
}

static GPtrArray *list_snapshots(BlockNode *node)
{
    return node->drv->snapshot_list ? node->drv->snapshot_list(node, NULL) : NULL;
}

/* given: how the user calls it, which is what nodes without a file are known by. */
static json_object *image_json(BlockNode *node, const char *given, GPtrArray *snapshots, const char *full_backing)
{
    json_object *o = json_object_new_object();
    int64_t allocated = block_node_allocated_size(node);
    BlockInfo info = {0};

    if (snapshots && snapshots->len) {
        json_object_object_add(o, "snapshots", snapshots_json(snapshots));
    }
    if (full_backing) {
        add_string(o, "backing-filename-format", node->backing_format);
    }
    add_int(o, "virtual-size", block_node_disk_size(node));
    add_string(o, "filename", node->filename ? node->filename : given);
    if (node->drv->get_info) {
        node->drv->get_info(node, &info);
    }
    if (info.cluster_size) {
        add_int(o, "cluster-size", info.cluster_size);
    }
    add_string(o, "format", node->drv->name);
    if (allocated >= 0) {
        add_int(o, "actual-size", (uint64_t)allocated);
    }
    if (node->drv->specific_info) {
        json_object_object_add(o, "format-specific", node->drv->specific_info(node));
    }
    if (full_backing) {
        add_string(o, "full-backing-filename", full_backing);
        add_string(o, "backing-filename", node->backing_filename);
    }
    if (info.encrypted) {
        json_object_object_add(o, "encrypted", json_object_new_boolean(true));
    }
    json_object_object_add(o, "dirty-flag", json_object_new_boolean(info.is_dirty));
    return o;
}

/* ---- for people ------------------------------------------------------------------------------ */

void img_print_snapshots(GPtrArray *list)
{
    json_object *snapshots = snapshots_json(list);
    g_autoptr(GString) text = g_string_new(NULL);

    snapshots_text(text, snapshots);
    fputs(text->str, stdout);
    json_object_put(snapshots);
}

static void print_images(json_object *all)
{
    for (size_t i = 0; i < json_object_array_length(all); i++) {
        g_autoptr(GString) text = g_string_new(i ? "\n" : NULL);

        image_text(text, json_object_array_get_idx(all, i));
        fputs(text->str, stdout);
    }
}

/* ---- along the chain ------------------------------------------------------------------------- */

/* *next and *format become the image below; NULL: there is none. */
static bool one_image(Vm *vm, Info *info, const char *name, const char *given_format, json_object *all,
                      char **next, char **format)
{
    ImgOpen how = {.format = given_format, .image_opts = info->image_opts,
                   .force_share = info->force_share, .no_backing = true, .no_perm = true, .no_io = true};
    g_autoptr(GError) err = NULL;
    GPtrArray *snapshots;
    ImgImage image;
    BlockNode *node;

    if (!g_hash_table_add(info->seen, g_strdup(name))) {
        report_error("Backing file '%s' creates an infinite loop.", name);
        return false;
    }
    if (!img_open(vm, name, &how, &image, &err)) {
        report_error("%s", err->message);
        return false;
    }
    node = image.node;
    snapshots = list_snapshots(node);
    if (node->backing_filename && *node->backing_filename) {
        *next = block_path_beside(node->filename, node->backing_filename);
        *format = g_strdup(node->backing_format);
    }
    json_object_array_add(all, image_json(node, image.name, snapshots, *next));
    if (snapshots) {
        g_ptr_array_free(snapshots, TRUE);
    }
    img_close(&image);
    return true;
}

static bool walk(Vm *vm, Info *info, const char *filename, json_object *all)
{
    g_autofree char *name = g_strdup(filename), *format = g_strdup(info->format);

    while (name) {
        char *next = NULL, *next_format = NULL;

        if (!one_image(vm, info, name, format, all, &next, &next_format)) {
            return false;
        }
        g_free(name);
        g_free(format);
        name = info->chain ? next : NULL;
        format = info->chain ? next_format : NULL;
        if (!info->chain) {
            g_free(next);
            g_free(next_format);
        }
        info->image_opts = false; /* names inside images are paths */
    }
    return true;
}

static int info_main(Vm *vm, int argc, char **argv)
{
    Info info = {0};
    const ImgOption options[] = {
        {'f', "format", IMG_TEXT, &info.format},
        {0, "output", IMG_TEXT, &info.output},
        {0, "backing-chain", IMG_FLAG, &info.chain},
        {0, "image-opts", IMG_FLAG, &info.image_opts},
        {'U', "force-share", IMG_FLAG, &info.force_share},
        {0},
    };
    json_object *all = NULL;
    bool ok;
    int at;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    if (at != argc - 1) {
        return img_usage_error("Expecting one image file name");
    }
    if (!img_output_is_json(info.output, &info.json)) {
        return 1;
    }
    info.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    all = json_object_new_array();
    ok = walk(vm, &info, argv[at], all); /* of a chain that cannot be read to its end nothing is said */
    g_hash_table_destroy(info.seen);
    if (ok && info.json) {
        json_object *first = json_object_array_get_idx(all, 0);

        img_print_json(json_object_get(info.chain ? all : first));
    } else if (ok) {
        print_images(all);
    }
    json_object_put(all);
    return ok ? 0 : 1;
}

const ImgCommand img_info = {
    .name = "info",
    .usage = "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] "
             "filename",
    .run = info_main,
};
