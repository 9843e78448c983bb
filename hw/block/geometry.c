/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/block/geometry.h"

#define SECTOR 512

bool disk_geometry_from_mbr(BlockBackend *blk, DiskGeometry *g)
{
    uint8_t mbr[SECTOR] __attribute__((aligned(SECTOR))) = {0}; /* null-co leaves it as it is */

    if (blk_read_now(blk, 0, mbr, sizeof mbr) < 0 || load16_le(mbr + 510) != 0xaa55) {
        return false;
    }
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *part = mbr + 0x1be + 16 * i;
        const uint32_t head = part[5], sector = part[6] & 63;
        uint64_t cylinders;

        if (!load32_le(part + 12) || !head || !sector) {
            continue;
        }
        cylinders = blk_size(blk) / SECTOR / ((head + 1) * sector);
        if (cylinders >= 1 && cylinders <= 16383) {
            *g = (DiskGeometry){(uint32_t)cylinders, head + 1, sector};
            return true;
        }
    }
    return false;
}

DiskGeometry disk_geometry_by_size(uint64_t bytes)
{
    return (DiskGeometry){(uint32_t)CLAMP(bytes / SECTOR / (16 * 63), 2, 16383), 16, 63};
}

DiskGeometry disk_geometry_guess(BlockBackend *blk)
{
    DiskGeometry g;

    return disk_geometry_from_mbr(blk, &g) && g.heads <= 16 ? g : disk_geometry_by_size(blk_size(blk));
}
