/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where keys and pointers go: from screens and monitors to the guest's keyboards and mice.
 *
 * An input device says which kinds of events it takes; an event goes to the device that was activated last among those
 * that take its kind. Pointer events gather until input_sync. While the VM neither runs nor sleeps nobody gets any.
 * Main thread, VM lock.
 */
#ifndef UI_INPUT_H
#define UI_INPUT_H

#include "core/vm.h"
#include "qapi/qapi-input.h"

typedef struct InputDevice InputDevice;

enum {
    INPUT_KEYS = 1 << 0,
    INPUT_RELATIVE = 1 << 1,
    INPUT_ABSOLUTE = 1 << 2,
};

/* Buttons that are down. */
enum {
    INPUT_LEFT = 1 << 0,
    INPUT_RIGHT = 1 << 1,
    INPUT_MIDDLE = 1 << 2,
    INPUT_SIDE = 1 << 3,
    INPUT_EXTRA = 1 << 4,
};

#define INPUT_ABSOLUTE_MAX 0x7fff /* right and lower edge of the screen */

typedef struct InputOps {
    const char *name; /* as query-mice says it: "QEMU PS/2 Mouse" */
    unsigned kinds;   /* INPUT_KEYS ... */
    /* qnum: set 1 make code, with bit 7 for the prefix E0 (hw/input/ps2.h). */
    void (*key)(void *opaque, unsigned qnum, bool down);
    /* Relative: dx to the right, dy down. Absolute: x, y from 0 to INPUT_ABSOLUTE_MAX. dz: wheel steps towards the
     * user. */
    void (*move)(void *opaque, int dx, int dy, int dz, unsigned buttons);
    void (*point)(void *opaque, int x, int y, int dz, unsigned buttons);
} InputOps;

/* A new device, behind those that are active already but before none of its kind. ops and opaque live as long as it. */
InputDevice *input_add(Vm *vm, const InputOps *ops, void *opaque);
/* NULL is fine. */
void input_remove(InputDevice *device);
/* It gets its kinds' events from now on; off: whoever was before it. */
void input_activate(InputDevice *device, bool on);

/* ---- events -------------------------------------------------------------------------- */

void input_key(Vm *vm, unsigned qnum, bool down);
void input_button(Vm *vm, InputButton button, bool down);
void input_relative(Vm *vm, InputAxis axis, int64_t delta);
void input_absolute(Vm *vm, InputAxis axis, int64_t value);
/* What the pointer did since the last call is one event for its device. */
void input_sync(Vm *vm);
/* Presses the keys one after the other, each for hold_ms, and releases them in reverse. Later calls wait for earlier
 * ones; false with *err when too many wait. */
bool input_send_keys(Vm *vm, const unsigned *qnums, unsigned count, unsigned hold_ms, GError **err);

/* The key's number; 0: PCs have no such key. */
unsigned input_key_number(QKeyCode code);

/* ---- information ----------------------------------------------------------------------- */

/* Is there a device for this kind? */
bool input_has(Vm *vm, unsigned kind);
typedef void InputFn(void *opaque, const InputOps *ops, unsigned index, bool current);
/* The pointers, the current one first. index: of the order of adding, keyboards counted. */
void input_foreach_pointer(Vm *vm, InputFn *fn, void *opaque);
/* mouse_set: false when there is no pointer of this index. */
bool input_activate_index(Vm *vm, unsigned index);

#endif
