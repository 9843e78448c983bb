/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: keys and pointers. */
#include "core/device.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "ui/input.h"
#include "util/error.h"

#define MAX_KEYS 16 /* of one send-key, as libvirt's */
#define HOLD_MS 100

static unsigned key_number(const KeyValue *key)
{
    return key->type == KEY_VALUE_KIND_QCODE ? input_key_number(key->u.qcode.data) : (unsigned)key->u.number.data;
}

static bool check_key(const KeyValue *key, GError **err)
{
    if (key->type == KEY_VALUE_KIND_NUMBER && (key->u.number.data < 1 || key->u.number.data > 0xff)) {
        return error_set(err, "Parameter 'data' expects a key number from 1 to 255, not %" PRId64, key->u.number.data);
    }
    return key->type == KEY_VALUE_KIND_NUMBER || key_number(key) ||
           error_set(err, "PC keyboards have no key '%s'", qapi_enum_name(&qapi_type_QKeyCode, (int)key->u.qcode.data));
}

bool qmp_send_key(QmpCall *call, GError **err)
{
    const SendKeyArgs *args = call->args;
    unsigned numbers[MAX_KEYS];

    if (args->keys->len > MAX_KEYS) {
        return error_set(err, "Parameter 'keys' expects at most %u keys", MAX_KEYS);
    }
    if (args->has_hold_time && (args->hold_time < 0 || args->hold_time > 60000)) {
        return error_set(err, "Parameter 'hold-time' expects milliseconds from 0 to 60000");
    }
    for (unsigned i = 0; i < args->keys->len; i++) {
        const KeyValue *key = args->keys->pdata[i];

        if (!check_key(key, err)) {
            return false;
        }
        numbers[i] = key_number(key);
    }
    return input_send_keys(call->vm, numbers, args->keys->len, args->has_hold_time ? (unsigned)args->hold_time : HOLD_MS,
                           err);
}

/* All of it is looked at before anything is sent. */
static bool check_events(Vm *vm, const GPtrArray *events, GError **err)
{
    static const unsigned kinds[] = {
        [INPUT_EVENT_KIND_KEY] = INPUT_KEYS,
        [INPUT_EVENT_KIND_BTN] = INPUT_RELATIVE | INPUT_ABSOLUTE,
        [INPUT_EVENT_KIND_REL] = INPUT_RELATIVE,
        [INPUT_EVENT_KIND_ABS] = INPUT_ABSOLUTE,
    };

    for (unsigned i = 0; i < events->len; i++) {
        const InputEvent *event = events->pdata[i];

        if (!input_has(vm, kinds[event->type])) {
            return error_set(err, "Input handler not found for event type %s",
                             qapi_enum_name(&qapi_type_InputEventKind, (int)event->type));
        }
        if (event->type == INPUT_EVENT_KIND_KEY && !check_key(event->u.key.data->key, err)) {
            return false;
        }
    }
    return true;
}

static void send_event(Vm *vm, const InputEvent *event)
{
    switch (event->type) {
    case INPUT_EVENT_KIND_KEY:
        input_key(vm, key_number(event->u.key.data->key), event->u.key.data->down);
        break;
    case INPUT_EVENT_KIND_BTN:
        input_button(vm, event->u.btn.data->button, event->u.btn.data->down);
        break;
    case INPUT_EVENT_KIND_REL:
        input_relative(vm, event->u.rel.data->axis, event->u.rel.data->value);
        break;
    default:
        input_absolute(vm, event->u.abs.data->axis, event->u.abs.data->value);
    }
}

bool qmp_input_send_event(QmpCall *call, GError **err)
{
    const InputSendEventArgs *args = call->args;

    if (args->device) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", args->device);
    }
    RunState state = vm_run_state(call->vm);
    if (!run_state_is_running(state) && state != RUN_STATE_SUSPENDED) {
        return error_set(err, "VM not running");
    }
    if (!check_events(call->vm, args->events, err)) {
        return false;
    }
    for (unsigned i = 0; i < args->events->len; i++) {
        send_event(call->vm, args->events->pdata[i]);
    }
    input_sync(call->vm);
    return true;
}

static void add_mouse(void *opaque, const InputOps *ops, unsigned index, bool current)
{
    MouseInfo *info = g_new0(MouseInfo, 1);

    info->name = g_strdup(ops->name);
    info->index = index;
    info->current = current;
    info->absolute = ops->kinds & INPUT_ABSOLUTE;
    g_ptr_array_add(opaque, info);
}

bool qmp_query_mice(QmpCall *call, GError **err)
{
    (void)err;
    call->result = g_ptr_array_new();
    input_foreach_pointer(call->vm, add_mouse, call->result);
    return true;
}
