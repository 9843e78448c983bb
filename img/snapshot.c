/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img snapshot: lists, makes, applies and deletes internal snapshots. */
#include <time.h>

#include "img/img.h"

typedef struct Snapshot {
    const char *apply, *create, *delete;
    bool list, image_opts, force_share, quiet;
} Snapshot;

static int list_snapshots(BlockNode *node)
{
    GError *err = NULL;
    GPtrArray *list;

    if (!node->drv->snapshot_list) {
        return 0; /* as qemu-img: nothing to list is no error */
    }
    list = node->drv->snapshot_list(node, &err);
    if (!list) {
        return img_fail(err);
    }
    if (list->len) {
        printf("Snapshot list:\n");
        img_print_snapshots(list);
    }
    g_ptr_array_free(list, TRUE);
    return 0;
}

static int create_snapshot(BlockNode *node, const char *name)
{
    struct timespec now;
    BlockSnapshot s = {.name = (char *)name, .has_icount = true};
    GError *err = NULL;
    bool ok;

    if (!node->drv->snapshot_create) {
        report_error("Could not create snapshot '%s': format '%s' has no internal snapshots", name,
                     node->drv->name);
        return 1;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    s.date_sec = (uint64_t)now.tv_sec;
    s.date_nsec = (uint64_t)now.tv_nsec;
    ok = node->drv->snapshot_create(node, &s, &err);
    g_free(s.id);
    if (!ok) {
        g_prefix_error(&err, "Could not create snapshot '%s': ", name);
        return img_fail(err);
    }
    return 0;
}

static bool is_named(const BlockSnapshot *s, const char *word, bool by_id)
{
    return !strcmp(s->name, word) || (by_id && !strcmp(s->id, word));
}

/* The id of the snapshot that is called so (by_id: or has this id), which is the caller's; NULL: there is none. */
static char *find_id(BlockNode *node, const char *what, const char *name, bool by_id, const char *missing)
{
    GPtrArray *list = node->drv->snapshot_list ? node->drv->snapshot_list(node, NULL) : NULL;
    char *id = NULL;

    if (!list) {
        report_error("Could not %s snapshot '%s': format '%s' has no internal snapshots", what, name,
                     node->drv->name);
        return NULL;
    }
    for (unsigned i = 0; i < list->len && !id; i++) {
        const BlockSnapshot *s = g_ptr_array_index(list, i);

        if (is_named(s, name, by_id)) {
            id = g_strdup(s->id);
        }
    }
    if (!id) {
        report_error("Could not %s snapshot '%s': %s", what, name, missing);
    }
    g_ptr_array_free(list, TRUE);
    return id;
}

static int apply_snapshot(BlockNode *node, const char *name)
{
    g_autofree char *id = find_id(node, "apply", name, true, "Failed to load snapshot: No such file or directory");
    GError *err = NULL;

    if (!id) {
        return 1;
    }
    if (!node->drv->snapshot_apply(node, name, &err)) {
        g_prefix_error(&err, "Could not apply snapshot '%s': ", name);
        return img_fail(err);
    }
    return 0;
}

/* By name only: an id that looks like a name would take another snapshot away. */
static int delete_snapshot(BlockNode *node, const char *name)
{
    g_autofree char *id = find_id(node, "delete", name, false, "snapshot not found");
    GError *err = NULL;

    if (!id) {
        return 1;
    }
    if (!node->drv->snapshot_delete(node, id, &err)) {
        g_prefix_error(&err, "Could not delete snapshot '%s': ", name);
        return img_fail(err);
    }
    return 0;
}

static int act(BlockNode *node, const void *opaque)
{
    const Snapshot *s = opaque;
    int ret = s->create   ? create_snapshot(node, s->create)
              : s->apply  ? apply_snapshot(node, s->apply)
              : s->delete ? delete_snapshot(node, s->delete)
              : s->list   ? list_snapshots(node)
                          : 0; /* as qemu-img */

    if (!ret && !node->read_only && block_pflush(node) < 0) {
        report_error("Could not write out '%s'", node->filename);
        return 1;
    }
    return ret;
}

/* Its only value, or NULL; *actions: how many there were. */
static const char *one_of(GPtrArray *list, unsigned *actions)
{
    const char *name = list ? g_ptr_array_index(list, 0) : NULL;

    *actions += list ? list->len : 0;
    if (list) {
        g_ptr_array_unref(list);
    }
    return name;
}

static int snapshot_main(Vm *vm, int argc, char **argv)
{
    Snapshot s = {0};
    GPtrArray *apply = NULL, *create = NULL, *delete = NULL;
    const ImgOption options[] = {
        {'l', NULL, IMG_FLAG, &s.list},   {'a', NULL, IMG_LIST, &apply},
        {'c', NULL, IMG_LIST, &create},   {'d', NULL, IMG_LIST, &delete},
        {'q', NULL, IMG_FLAG, &s.quiet},  {'U', "force-share", IMG_FLAG, &s.force_share},
        {0, "image-opts", IMG_FLAG, &s.image_opts},
        {0},
    };
    ImgOpen how;
    unsigned actions;
    int at;

    if (!img_parse(vm, argc, argv, options, &at)) {
        return 1;
    }
    actions = s.list;
    s.apply = one_of(apply, &actions);
    s.create = one_of(create, &actions);
    s.delete = one_of(delete, &actions);
    if (actions > 1) {
        return img_usage_error("Cannot mix '-l', '-a', '-c', '-d'");
    }
    if (at != argc - 1) {
        return img_usage_error("Expecting one image file name");
    }
    how = (ImgOpen){.image_opts = s.image_opts, .writable = s.apply || s.create || s.delete,
                    .force_share = s.force_share, .quiet = s.quiet, .no_perm = true};
    return img_with_image(vm, argv[at], &how, act, &s);
}

const ImgCommand img_snapshot = {
    .name = "snapshot",
    .usage = "[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | "
             "-d snapshot] filename",
    .run = snapshot_main,
};
