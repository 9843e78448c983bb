/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What new images lie on: files, which are made; devices of the host and NBD exports, which are there and stay as long
 * as they are.
 */
#include "block/format.h"

#include <inttypes.h>

const char *block_local_path(const char *text)
{
    return g_str_has_prefix(text, "file:") ? text + strlen("file:") : text;
}

bool block_create_check_name(const char *text, GError **err)
{
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');

    if (block_local_path(text) != text || block_nbd_is_name(text) || !colon || (slash && slash < colon)) {
        return true;
    }
    return error_set(err, "Unknown protocol '%.*s' (write ./%s for a file of that name)", (int)(colon - text), text, text);
}

bool block_create_makes_file(const char *text)
{
    return !block_nbd_is_name(text) && !strcmp(block_path_driver(block_local_path(text)), "file");
}

bool block_opts_set_protocol(BlockOpts *opts, const char *prefix, const char *text, GError **err)
{
    g_autofree char *driver = g_strconcat(prefix, "driver", NULL), *filename = g_strconcat(prefix, "filename", NULL);

    if (block_nbd_is_name(text)) {
        block_opts_set(opts, driver, "nbd");
        return block_nbd_parse_name(opts, prefix, text, err);
    }
    text = block_local_path(text);
    block_opts_set(opts, driver, block_path_driver(text));
    block_opts_set(opts, filename, text);
    return true;
}

BlockNode *block_open_protocol(Vm *vm, const char *text, GError **err)
{
    BlockOpts *opts = block_opts_new();
    BlockNode *node = block_opts_set_protocol(opts, "", text, err) ? block_node_open(vm, opts, NULL, err) : NULL;

    block_opts_free(opts);
    return node;
}

static bool take_export(Vm *vm, const char *text, BlockOpts *opts, GError **err)
{
    uint64_t size = 0;
    BlockNode *node;
    bool ok;

    if (!block_opts_take_size(opts, "size", &size, NULL, err)) {
        return false;
    }
    node = block_open_protocol(vm, text, err);
    if (!node) {
        return false;
    }
    ok = block_node_size(node) >= size
             ? block_format_forget(node, err)
             : error_set(err, "The export has %" PRIu64 " bytes, the image needs %" PRIu64 ", and NBD exports do not grow",
                         block_node_size(node), size);
    block_node_unref(node);
    return ok;
}

bool block_create_protocol(Vm *vm, const char *text, BlockOpts *opts, GError **err)
{
    return block_nbd_is_name(text) ? take_export(vm, text, opts, err)
                                   : block_driver_file.create(vm, block_local_path(text), opts, err);
}
