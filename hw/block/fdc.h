/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The floppy controller as a board sees it.
 *
 * "isa-fdc" provides the bus "floppy-bus.0" with room for two "floppy" devices (unit 0 is A:). A
 * drive's type comes from its medium unless the user names it; an empty drive has the controller's
 * fallback.
 */
#ifndef HW_BLOCK_FDC_H
#define HW_BLOCK_FDC_H

#include "core/device.h"

typedef enum FloppyType { FLOPPY_144, FLOPPY_288, FLOPPY_120, FLOPPY_NONE, FLOPPY_AUTO } FloppyType;

/* Of the drive with this unit of a realized "isa-fdc"; FLOPPY_NONE when there is none. */
FloppyType fdc_drive_type(Device *fdc, unsigned unit);
/* A nibble of CMOS byte 10h: 0 no drive, 2 1.2 MB, 4 1.44 MB, 5 2.88 MB. */
uint8_t fdc_cmos_type(FloppyType type);
/* The last cylinder and the last sector of the formats that drives of this type read; 0: no drive. */
void fdc_type_limits(FloppyType type, uint8_t *cylinder, uint8_t *sector);

#endif
