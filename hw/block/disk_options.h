/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all disks and drives can be told: sizes of blocks and requests, geometry, write cache, what errors do. */
#ifndef HW_BLOCK_DISK_OPTIONS_H
#define HW_BLOCK_DISK_OPTIONS_H

#include "block/block.h"
#include "core/device.h"

typedef struct DiskOptions {
    uint64_t logical_block_size, physical_block_size; /* bytes; 0: the default, until disk_options_check_sizes */
    uint64_t min_io_size, opt_io_size;                /* bytes; 0: not said */
    uint64_t discard_granularity;                     /* bytes; UINT32_MAX: the device's default */
    uint32_t cyls, heads, secs;                       /* 0: to be guessed, until disk_options_set_geometry */
    uint32_t lcyls, lheads, lsecs;                    /* what firmware is to show (hw/i386/boot_order.c asks by name) */
    int write_cache;                                  /* OnOffAuto */
    int rerror, werror;                               /* BlkOnError */
    int account_invalid, account_failed, backend_defaults;
    bool share_rw;
} DiskOptions;

extern const char *const disk_on_error_names[]; /* of BlkOnError */

/* Properties of the DiskOptions f in a st. */
#define DISK_PROPS(st, f, discard_text)                                                            \
    PROP_SIZE("logical_block_size", st, f.logical_block_size,                                      \
              .help = "A power of two between 512 B and 2 MiB; IDE and floppy drives: 512"),       \
    PROP_SIZE("physical_block_size", st, f.physical_block_size, .help = "A power of two between 512 B and 2 MiB"), \
    PROP_SIZE("min_io_size", st, f.min_io_size,                                                    \
              .help = "smallest request that is efficient; 0: not said. IDE and floppy drives cannot say it"), \
    PROP_SIZE("opt_io_size", st, f.opt_io_size,                                                    \
              .help = "best size of large requests; 0: not said. IDE and floppy drives cannot say it"), \
    PROP_SIZE("discard_granularity", st, f.discard_granularity, .def = UINT32_MAX, .help = discard_text), \
    PROP_ON_OFF_AUTO("write-cache", st, f.write_cache, .help = "on/off; auto: as the drive's cache="), \
    PROP_BOOL("share-rw", st, f.share_rw, .help = "others may write to the image too"),            \
    PROP_ON_OFF_AUTO("account-invalid", st, f.account_invalid,                                     \
                     .help = "requests beyond the end count as the last ones in statistics; auto: as -drive says, or on"), \
    PROP_ON_OFF_AUTO("account-failed", st, f.account_failed,                                       \
                     .help = "failed requests count in the times of statistics; auto: as -drive says, or on"), \
    PROP_ON_OFF_AUTO("backend_defaults", st, f.backend_defaults,                                   \
                     .help = "sizes of blocks as a DASD of s390 below has them; other disks have none to give, so no effect")

#define DISK_ERROR_PROPS(st, f)                                                                    \
    PROP_ENUM("rerror", st, f.rerror, .values = disk_on_error_names, .def = BLK_ON_ERROR_AUTO, .type = "BlockdevOnError", \
              .help = "what a failed read does: report/ignore/stop/auto"),                         \
    PROP_ENUM("werror", st, f.werror, .values = disk_on_error_names, .def = BLK_ON_ERROR_AUTO, .type = "BlockdevOnError", \
              .help = "what a failed write does: report/ignore/enospc/stop/auto")

#define DISK_GEOMETRY_PROPS(st, f)                                                                 \
    PROP_U32("cyls", st, f.cyls, .help = "cylinders; 0: guess"),                                   \
    PROP_U32("heads", st, f.heads, .help = "heads; 0: guess"),                                     \
    PROP_U32("secs", st, f.secs, .help = "sectors a track; 0: guess"),                             \
    PROP_U32("lcyls", st, f.lcyls, .help = "cylinders that firmware shows; 0: as it likes"),       \
    PROP_U32("lheads", st, f.lheads, .help = "heads that firmware shows"),                         \
    PROP_U32("lsecs", st, f.lsecs, .help = "sectors a track that firmware shows")

/* Fills in the defaults of the sizes, and refuses what cannot be told to a guest. */
bool disk_options_check_sizes(DiskOptions *o, GError **err);
/* Guesses the geometry when the user named no part of it, and refuses what is out of range. heads_max: 16 or 255. A device is
 * attached to blk; VM lock. */
bool disk_options_set_geometry(DiskOptions *o, BlockBackend *blk, uint32_t heads_max, GError **err);
/* blk_attach or blk_attach_shared, then what errors do and the write cache. */
bool disk_options_attach(const DiskOptions *o, BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque,
                         bool need_write, GError **err);
/* A drive that begins without a medium has a back end of its own, for what is put in later: *blk is made if it is NULL, and
 * gone after disk_options_drop_empty if it was made (detached before). Main thread, VM lock. */
void disk_options_need_blk(Vm *vm, BlockBackend **blk, bool *owned);
void disk_options_drop_empty(Vm *vm, BlockBackend **blk, bool *owned);

#endif
