/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cylinders, heads and sectors of a disk that has none: what its partition table was made with, or what its size suggests. */
#ifndef HW_BLOCK_GEOMETRY_H
#define HW_BLOCK_GEOMETRY_H

#include "block/block.h"

typedef struct DiskGeometry {
    uint32_t cylinders, heads, sectors;
} DiskGeometry;

/* The geometry that the partition table was made with: the last head and sector of a partition. False: it does not say.
 * Reads the first sector. A device is attached; VM lock. */
bool disk_geometry_from_mbr(BlockBackend *blk, DiskGeometry *g);
/* 16 heads, 63 sectors, 2 to 16383 cylinders. */
DiskGeometry disk_geometry_by_size(uint64_t bytes);
/* The partition table's if a disk can have it (16 heads at most: more are a BIOS's invention), else by size. */
DiskGeometry disk_geometry_guess(BlockBackend *blk);

#endif
