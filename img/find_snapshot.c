/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internal snapshots by the words of a command line, and showing one instead of the image's present content. */
#include "img/img.h"
#include "util/keyval.h"

/* "snapshot.id=1,snapshot.name=a", rather than an id or a name. */
static bool is_typed(const char *text)
{
    return g_str_has_prefix(text, "snapshot.");
}

static bool check_typed(const char *text, GError **err)
{
    const char *rest = text;

    while (is_typed(text) && *rest) {
        g_autofree char *part = keyval_next_part(&rest);

        if (!g_str_has_prefix(part, "snapshot.id=") && !g_str_has_prefix(part, "snapshot.name=")) {
            return error_set(err, "Failed in parsing snapshot param '%s': '%s' is neither snapshot.id= nor snapshot.name=",
                             text, part);
        }
    }
    return true;
}

BlockSnapshot *img_find_snapshot(GPtrArray *list, const char *text)
{
    g_autofree char *id = NULL, *name = NULL;
    bool typed = is_typed(text);

    while (typed && *text) {
        g_autofree char *part = keyval_next_part(&text);

        if (g_str_has_prefix(part, "snapshot.id=")) {
            id = g_strdup(part + strlen("snapshot.id="));
        } else if (g_str_has_prefix(part, "snapshot.name=")) {
            name = g_strdup(part + strlen("snapshot.name="));
        }
    }
    for (unsigned pass = 0; pass < (typed ? 1 : 2); pass++) {
        for (unsigned i = 0; i < list->len; i++) {
            BlockSnapshot *s = g_ptr_array_index(list, i);

            if (typed ? (!id || !strcmp(id, s->id)) && (!name || !strcmp(name, s->name))
                      : !strcmp(text, pass ? s->name : s->id)) {
                return s;
            }
        }
    }
    return NULL;
}

bool img_load_snapshot(BlockNode *node, const char *text, GError **err)
{
    GPtrArray *list;
    const BlockSnapshot *s;
    bool ok = false;

    if (!check_typed(text, err)) {
        return false;
    }
    list = node->drv->snapshot_list && node->drv->snapshot_load ? node->drv->snapshot_list(node, err) : NULL;
    s = list ? img_find_snapshot(list, text) : NULL;
    if (s) {
        ok = node->drv->snapshot_load(node, s->id, err);
    } else if (list) {
        error_set(err, "Can't find snapshot");
    } else if (!node->drv->snapshot_load) {
        error_set(err, "Block format '%s' has no internal snapshots", node->drv->name);
    }
    if (list) {
        g_ptr_array_free(list, TRUE);
    }
    g_prefix_error(err, "Failed to load snapshot: ");
    return ok;
}
