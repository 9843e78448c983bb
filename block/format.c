/* SPDX-License-Identifier: GPL-2.0-or-later */
/* New images on nodes that are open (format.h). */
#include "block/format.h"

#include <inttypes.h>

#define ZERO_PIECE (1 * MIB)         /* written at once */
#define FALLOCATE_PIECE (1024 * MIB) /* asked for at once */

/* ---- files --------------------------------------------------------------------------------------- */

BlockNode *block_format_create_file(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    static const char *const passed[] = {"nocow", "extent_size_hint"};
    const bool is_device = !strcmp(block_path_driver(block_local_path(filename)), "host_device");
    BlockOpts *own = block_opts_new();
    BlockNode *node;
    bool ok;

    block_opts_set(own, "size", "0");
    for (unsigned i = 0; i < G_N_ELEMENTS(passed); i++) {
        g_autofree char *value = block_opts_take(opts, passed[i]);

        if (value) {
            block_opts_set(own, passed[i], value);
        }
    }
    ok = is_device || block_create_protocol(vm, filename, own, err);
    block_opts_free(own);
    node = ok ? block_open_protocol(vm, filename, err) : NULL;
    if (node && is_device && !block_node_size(node)) {
        error_set(err, "A device of 0 bytes has no room for an image");
        g_clear_pointer(&node, block_node_unref);
    }
    return node;
}

bool block_format_new_file(Vm *vm, const BlockDriver *drv, const char *filename, BlockOpts *opts, GError **err)
{
    BlockFormat f = {.vm = vm, .filename = block_local_path(filename)};
    bool ok = drv->format_prepare(&f, opts, err);

    if (ok) {
        f.file = block_format_create_file(vm, filename, opts, err);
        ok = f.file && block_format(drv, &f, err);
    }
    block_node_unref(f.file);
    drv->format_free(&f);
    return ok;
}

/* ---- sizes --------------------------------------------------------------------------------------- */

static const char *name_of(const BlockNode *node) { return node->filename ? node->filename : node->name; }

/* Truncating is the owner's, and a file's is over at once. */
static bool set_length(BlockNode *file, uint64_t size, GError **err)
{
    bool locked = vm_locked(file->vm), ok;

    if (!locked) {
        vm_lock(file->vm);
    }
    ok = block_ptruncate(file, size, false, BLOCK_PREALLOC_OFF, err);
    if (!locked) {
        vm_unlock(file->vm);
    }
    return ok;
}

bool block_format_grow(BlockNode *file, uint64_t size, GError **err)
{
    uint64_t has = block_node_size(file);

    if (has >= size) {
        return true;
    }
    return file->drv->truncate ? set_length(file, size, err)
                               : error_set(err, "'%s' has %" PRIu64 " bytes, the image needs %" PRIu64 ", and a node of driver '%s' "
                                                "does not grow", name_of(file), has, size, file->drv->name);
}

static int write_zeros(BlockNode *file, uint64_t from, uint64_t to)
{
    size_t piece = (size_t)MIN(to - from, ZERO_PIECE);
    g_autofree uint8_t *zeros = g_malloc0(piece);
    int ret = 0;

    for (; from < to && ret >= 0; from += MIN(to - from, piece)) {
        ret = block_pwrite(file, from, zeros, MIN(to - from, piece), 0);
    }
    return ret;
}

static int zero(BlockNode *file, uint64_t from, uint64_t to, unsigned flags)
{
    int ret = 0;

    for (; from < to && ret >= 0; from += MIN(to - from, FALLOCATE_PIECE)) {
        ret = block_pzero(file, from, MIN(to - from, FALLOCATE_PIECE), flags);
    }
    return ret;
}

bool block_format_zeros(BlockNode *file, uint64_t from, uint64_t to, BlockPrealloc mode, GError **err)
{
    uint64_t has = block_node_size(file);
    int ret;

    if (mode < BLOCK_PREALLOC_FALLOC) {
        ret = zero(file, from, MIN(to, has), BLOCK_FLAG_MAY_UNMAP);
    } else {
        ret = mode == BLOCK_PREALLOC_FULL ? write_zeros(file, from, to) : zero(file, from, to, 0);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not write zeros to '%s'", name_of(file));
    }
    return block_format_grow(file, to, err);
}

bool block_format_clear(BlockNode *file, uint64_t len, GError **err)
{
    return (!block_node_size(file) || !file->drv->truncate || set_length(file, 0, err)) &&
           block_format_zeros(file, 0, len, BLOCK_PREALLOC_OFF, err);
}

/* ---- making it ----------------------------------------------------------------------------------- */

bool block_format_forget(BlockNode *node, GError **err)
{
    static const uint8_t zeros[BLOCK_SECTOR];
    int ret = block_pwrite(node, 0, zeros, MIN(sizeof zeros, block_node_size(node)), 0);

    return ret >= 0 || error_set_errno(err, -ret, "Could not clear the first sector of '%s'", name_of(node));
}

bool block_format(const BlockDriver *drv, BlockFormat *f, GError **err)
{
    bool ok = block_format_forget(f->file, err);

    if (ok && !drv->format(f, err)) {
        ok = false;
        block_format_forget(f->file, NULL); /* nor what was half made */
    }
    return ok;
}
