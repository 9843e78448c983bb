/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Routing of keys and pointers. */
#include "ui/input.h"

#include "util/error.h"
#include "util/loop.h"
#include "util/trace.h"

#define MAX_WAITING 1024 /* keys of input_send_keys */
#define POINTER (INPUT_RELATIVE | INPUT_ABSOLUTE)

struct InputDevice {
    Vm *vm;
    const InputOps *ops;
    void *opaque;
    unsigned index;
};

/* A key of input_send_keys that is to come. */
typedef struct WaitingKey {
    unsigned qnum;
    bool down;
    unsigned hold_ms; /* until the next one */
} WaitingKey;

/* vm->input */
typedef struct InputState {
    Vm *vm;
    GPtrArray *devices; /* InputDevice *, the active ones first */
    unsigned next_index;
    /* The pointer since the last sync. */
    int64_t dx, dy, dz, x, y;
    unsigned buttons;
    bool moved, pointed, pressed;
    GQueue waiting;     /* WaitingKey * */
    LoopTimer *timer;   /* of the first one that waits */
    bool ended;         /* the VM has: goes with its last device */
} InputState;

static void free_state(InputState *s)
{
    s->vm->input = NULL;
    g_ptr_array_free(s->devices, true);
    g_free(s);
}

static void end_state(void *opaque)
{
    InputState *s = opaque;

    loop_timer_free(s->timer);
    s->timer = NULL;
    g_queue_clear_full(&s->waiting, g_free);
    s->ended = true;
    if (!s->devices->len) {
        free_state(s);
    }
}

static InputState *input_state(Vm *vm)
{
    InputState *s = vm->input;

    if (!s) {
        s = vm->input = g_new0(InputState, 1);
        s->vm = vm;
        s->devices = g_ptr_array_new();
        g_queue_init(&s->waiting);
        vm_on_exit(vm, end_state, s);
    }
    return s;
}

/* ---- devices --------------------------------------------------------------------------------- */

InputDevice *input_add(Vm *vm, const InputOps *ops, void *opaque)
{
    InputState *s = input_state(vm);
    InputDevice *device = g_new(InputDevice, 1);

    *device = (InputDevice){vm, ops, opaque, ++s->next_index};
    g_ptr_array_add(s->devices, device);
    return device;
}

void input_remove(InputDevice *device)
{
    if (!device) {
        return;
    }
    InputState *s = input_state(device->vm);
    g_ptr_array_remove(s->devices, device);
    g_free(device);
    if (s->ended && !s->devices->len) {
        free_state(s);
    }
}

void input_activate(InputDevice *device, bool on)
{
    GPtrArray *devices = input_state(device->vm)->devices;

    g_ptr_array_remove(devices, device);
    g_ptr_array_insert(devices, on ? 0 : -1, device);
}

static InputDevice *find(InputState *s, unsigned kinds)
{
    for (unsigned i = 0; i < s->devices->len; i++) {
        InputDevice *device = s->devices->pdata[i];

        if (device->ops->kinds & kinds) {
            return device;
        }
    }
    return NULL;
}

bool input_has(Vm *vm, unsigned kind) { return find(input_state(vm), kind) != NULL; }

void input_foreach_pointer(Vm *vm, InputFn *fn, void *opaque)
{
    InputState *s = input_state(vm);
    bool current = true;

    for (unsigned i = 0; i < s->devices->len; i++) {
        InputDevice *device = s->devices->pdata[i];

        if (device->ops->kinds & POINTER) {
            fn(opaque, device->ops, device->index, current);
            current = false;
        }
    }
}

bool input_activate_index(Vm *vm, unsigned index)
{
    InputState *s = input_state(vm);

    for (unsigned i = 0; i < s->devices->len; i++) {
        InputDevice *device = s->devices->pdata[i];

        if (device->index == index && device->ops->kinds & POINTER) {
            input_activate(device, true);
            return true;
        }
    }
    return false;
}

/* ---- events -------------------------------------------------------------------------------------- */

static bool listens(Vm *vm)
{
    return run_state_is_running(vm_run_state(vm)) || vm_run_state(vm) == RUN_STATE_SUSPENDED;
}

void input_key(Vm *vm, unsigned qnum, bool down)
{
    InputDevice *device = find(input_state(vm), INPUT_KEYS);

    trace(input_key, "qnum 0x%x %s", qnum, down ? "down" : "up");
    if (device && qnum && listens(vm)) {
        device->ops->key(device->opaque, qnum, down);
    }
}

void input_button(Vm *vm, InputButton button, bool down)
{
    static const unsigned bits[INPUT_BUTTON__COUNT] = {
        [INPUT_BUTTON_LEFT] = INPUT_LEFT, [INPUT_BUTTON_RIGHT] = INPUT_RIGHT, [INPUT_BUTTON_MIDDLE] = INPUT_MIDDLE,
        [INPUT_BUTTON_SIDE] = INPUT_SIDE, [INPUT_BUTTON_EXTRA] = INPUT_EXTRA,
    };
    InputState *s = input_state(vm);

    if (bits[button]) {
        s->buttons = down ? s->buttons | bits[button] : s->buttons & ~bits[button];
        s->pressed = true;
    } else if (down && (button == INPUT_BUTTON_WHEEL_UP || button == INPUT_BUTTON_WHEEL_DOWN)) {
        s->dz += button == INPUT_BUTTON_WHEEL_UP ? -1 : 1;
        s->pressed = true;
    }
}

void input_relative(Vm *vm, InputAxis axis, int64_t delta)
{
    InputState *s = input_state(vm);
    int64_t *sum = axis == INPUT_AXIS_X ? &s->dx : &s->dy;

    *sum = CLAMP(*sum + CLAMP(delta, -INT32_MAX, INT32_MAX), -INT32_MAX, INT32_MAX);
    s->moved = true;
}

void input_absolute(Vm *vm, InputAxis axis, int64_t value)
{
    InputState *s = input_state(vm);

    *(axis == INPUT_AXIS_X ? &s->x : &s->y) = CLAMP(value, 0, INPUT_ABSOLUTE_MAX);
    s->pointed = true;
}

void input_sync(Vm *vm)
{
    InputState *s = input_state(vm);
    InputDevice *device = find(s, s->pointed ? INPUT_ABSOLUTE : s->moved ? INPUT_RELATIVE : POINTER);

    trace(input_sync, "dx %d dy %d dz %d x %d y %d buttons 0x%x", (int)s->dx, (int)s->dy, (int)s->dz, (int)s->x, (int)s->y,
          s->buttons);
    if (device && (s->pointed || s->moved || s->pressed) && listens(vm)) {
        if (device->ops->kinds & INPUT_ABSOLUTE) {
            device->ops->point(device->opaque, (int)s->x, (int)s->y, (int)s->dz, s->buttons);
        } else {
            device->ops->move(device->opaque, (int)s->dx, (int)s->dy, (int)s->dz, s->buttons);
        }
    }
    s->dx = s->dy = s->dz = 0;
    s->moved = s->pointed = s->pressed = false;
}

/* ---- keys with a rhythm ------------------------------------------------------------------------------ */

/* The first that waits happens, and the next one after its time. */
static void next_key(void *opaque)
{
    InputState *s = opaque;
    g_autofree WaitingKey *key = g_queue_pop_head(&s->waiting);

    if (key) {
        input_key(s->vm, key->qnum, key->down);
        loop_timer_arm(s->timer, clock_monotonic_ns() + (int64_t)key->hold_ms * 1000000);
    }
}

static void append_key(InputState *s, unsigned qnum, bool down, unsigned hold_ms)
{
    WaitingKey *key = g_new(WaitingKey, 1);

    *key = (WaitingKey){qnum, down, hold_ms};
    g_queue_push_tail(&s->waiting, key);
}

bool input_send_keys(Vm *vm, const unsigned *qnums, unsigned count, unsigned hold_ms, GError **err)
{
    InputState *s = input_state(vm);

    if (s->waiting.length + 2 * count > MAX_WAITING) {
        return error_set(err, "more than %u keys wait to be pressed; try again when they were", MAX_WAITING / 2);
    }
    if (!s->timer) {
        s->timer = loop_timer_new(vm->loop, next_key, s);
    }
    for (unsigned i = 0; i < count; i++) {
        append_key(s, qnums[i], true, hold_ms);
    }
    for (unsigned i = count; i-- > 0;) {
        append_key(s, qnums[i], false, hold_ms);
    }
    if (!loop_timer_pending(s->timer)) {
        next_key(s);
    }
    return true;
}
