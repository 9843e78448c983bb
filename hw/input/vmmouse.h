/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmmouse: VMware's absolute pointer, for the user's side. All under the VM lock. */
#ifndef HW_INPUT_VMMOUSE_H
#define HW_INPUT_VMMOUSE_H

#include "core/device.h"

typedef enum VmmouseMode {
    VMMOUSE_OFF,      /* the guest does not listen: events belong to the PS/2 mouse */
    VMMOUSE_RELATIVE,
    VMMOUSE_ABSOLUTE,
} VmmouseMode;

VmmouseMode vmmouse_mode(Device *dev);
/*
 * The pointer is at (x, y), each 0 to 7FFFh from the left upper corner (absolute), or moved by that
 * (relative: right, down); dz wheel towards the user; buttons: PS2_MOUSE_ bits (hw/input/ps2.h) that
 * are down. Dropped while the mode is off, and when the guest left the queue full.
 */
void vmmouse_event(Device *dev, int x, int y, int dz, uint8_t buttons);

#endif
