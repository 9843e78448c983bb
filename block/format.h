/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * New images on nodes that are open: what kiln-img create and the job blockdev-create have in common.
 *
 * A driver does it in two steps: format_prepare, in the main thread, reads the options and looks up what the VM knows
 * (secrets, the parent of a disk), and refuses what cannot be; format writes. The latter may be a job's thread, so it
 * uses block_p* and the functions below only.
 */
#ifndef BLOCK_FORMAT_H
#define BLOCK_FORMAT_H

#include "block/block_int.h"

struct BlockFormat {
    Vm *vm;
    const char *filename;  /* file's path; NULL: it has none */
    bool exact;            /* sizes that the format cannot have are refused, not rounded up */
    BlockNode *file;       /* what the image lies in, for writing; nobody else writes to it. format_prepare does without */
    BlockNode *data;       /* qcow2's external data file, likewise; NULL: there is none */
    GPtrArray *extents;    /* vmdk: BlockNode *, likewise, those that the operator named; NULL: files are made (main thread) */
    void *plan;            /* the driver's own, from format_prepare to format_free */
};

/* Runs drv->format: what was in f->file before is no image any more, even if that fails. Any thread; without the VM lock,
 * or the main one. */
bool block_format(const BlockDriver *drv, BlockFormat *f, GError **err);
/* A whole drv->create: the file is made, and the image on it. */
bool block_format_new_file(Vm *vm, const BlockDriver *drv, const char *filename, BlockOpts *opts, GError **err);

/* What node holds must not be taken for an image. */
bool block_format_forget(BlockNode *node, GError **err);

/* ---- for drivers; any thread -------------------------------------------------------------------- */

/* file has size bytes at least. */
bool block_format_grow(BlockNode *file, uint64_t size, GError **err);
/* file has len bytes, all zeros, and nothing behind; a device stays as long as it is. */
bool block_format_clear(BlockNode *file, uint64_t len, GError **err);
/* The bytes from..to are zeros and have their room as mode says (METADATA: none). */
bool block_format_zeros(BlockNode *file, uint64_t from, uint64_t to, BlockPrealloc mode, GError **err);

/* The new file of an image, empty (a device or an export as it is), open for writing. What options of a file opts has are
 * taken out: BLOCK_FORMAT_FILE_OPTS belong at the end of create_opts. */
BlockNode *block_format_create_file(Vm *vm, const char *filename, BlockOpts *opts, GError **err);
#define BLOCK_FORMAT_FILE_OPTS \
    {"nocow", "bool (on/off)", "Turn off copy-on-write (valid only on btrfs)"}, \
    {"extent_size_hint", "size", "Extent size hint for the image file, 0 to disable"}

#endif
