/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PS/2 keyboard and mouse, without their controller.
 *
 * A device sends bytes to the controller through a queue: events go to its back as whole packets
 * or, when there is no room, not at all; the reply to a command goes to its front and takes the
 * place of a reply that was not read yet. Output pin 0 says that the queue holds something.
 */
#ifndef HW_INPUT_PS2_H
#define HW_INPUT_PS2_H

#include "core/vm.h"

#define PS2_BUFFER_SIZE 256 /* the ring; its size is in the saved state */
#define PS2_QUEUE_SIZE 16   /* bytes that events may fill */
#define PS2_REPLY_MAX 8

typedef struct Ps2Queue {
    int32_t rptr, wptr,
        count;     /* ring indices and bytes held: wptr is (rptr + count) modulo the ring */
    int32_t cwptr; /* ring index after the reply at the front; -1: there is none */
    uint8_t data[PS2_BUFFER_SIZE];
} Ps2Queue;

/* What both have in common: first member of their structs. */
typedef struct Ps2Device {
    Device dev;
    Irq *irq;
    Ps2Queue queue;
    int32_t write_cmd; /* command whose parameter comes next; -1: none */
} Ps2Device;

extern const StateDesc ps2_common_state;

/* Whole or not at all; false when there was no room. Raises the pin. */
bool ps2_queue_event(Ps2Device *s, const uint8_t *bytes, unsigned n);
/* n up to PS2_REPLY_MAX. Raises the pin. */
void ps2_queue_reply(Ps2Device *s, const uint8_t *bytes, unsigned n);
void ps2_queue_clear(Ps2Device *s);
/* Of the subsection "command_reply_queue". */
bool ps2_reply_pending(const Ps2Device *s);
/* Of .post_load: refuses indices that do not fit together, clips what QEMU 5 could queue. */
bool ps2_queue_check(Ps2Device *s, GError **err);

/* ---- the controller's side; dev is a "ps2-kbd" or "ps2-mouse" ---------------------- */

/* The next byte; when there is none, the last one again. */
uint8_t ps2_read(Device *dev);
void ps2_keyboard_write(Device *dev, uint8_t value);
void ps2_mouse_write(Device *dev, uint8_t value);
/* The controller turns set 2 into set 1 (mode bit 6). */
void ps2_keyboard_set_translation(Device *dev, bool on);

/* ---- the user's side: VM lock ------------------------------------------------------ */

/*
 * A key goes down or up. qnum: its set 1 make code, or 80h + code for those with prefix E0 (QEMU's
 * "number" keys); C6h is Pause, B7h Print, 54h SysRq. Auto-repeat is the user's.
 */
#define PS2_KEY_PAUSE 0xc6
#define PS2_KEY_PRINT 0xb7
#define PS2_KEY_SYSRQ 0x54
void ps2_keyboard_key(Device *dev, unsigned qnum, bool down);

/* Buttons of ps2_mouse_event. */
#define PS2_MOUSE_LEFT 0x01
#define PS2_MOUSE_RIGHT 0x02
#define PS2_MOUSE_MIDDLE 0x04
#define PS2_MOUSE_SIDE 0x08
#define PS2_MOUSE_EXTRA 0x10
/* The mouse moved by (dx to the right, dy down, dz wheel towards the user); buttons that are down.
 */
void ps2_mouse_event(Device *dev, int dx, int dy, int dz, uint8_t buttons);

#endif
