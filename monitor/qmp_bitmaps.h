/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty bitmaps by the names that QMP's commands have, for commands that are about several of them. */
#ifndef MONITOR_QMP_BITMAPS_H
#define MONITOR_QMP_BITMAPS_H

#include "block/dirty_bitmap.h"

/* The node, or the drive's, of this name; the bitmap of that node. NULL with *err. VM lock. */
DirtyBitmap *qmp_find_bitmap(Vm *vm, const char *node_name, const char *name, GError **err);

#endif
