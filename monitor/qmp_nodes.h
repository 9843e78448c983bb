/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block nodes by the names that QMP's commands have. VM lock. */
#ifndef MONITOR_QMP_NODES_H
#define MONITOR_QMP_NODES_H

#include "block/block_int.h"

/* The medium of the drive called device, or else the node called node_name (NULL: not that). NULL with *err. */
BlockNode *qmp_find_node(Vm *vm, const char *device, const char *node_name, GError **err);

#endif
