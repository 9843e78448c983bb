/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keyboard controller's pins and what stands behind it, for the board and the user's side.
 */
#ifndef HW_INPUT_I8042_H
#define HW_INPUT_I8042_H

#include "core/device.h"

/* Outputs: realize connects the two interrupts to the ISA lines of its properties. */
enum { I8042_OUT_KBD, I8042_OUT_MOUSE, I8042_OUT_A20, I8042_NUM_OUTPUTS };

/* "ps2-kbd" and "ps2-mouse" of a realized "i8042" (for hw/input/ps2.h). */
Device *i8042_keyboard(Device *dev);
Device *i8042_mouse(Device *dev);

#endif
