/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: keys and pointers. */
#include <stdlib.h>

#include "monitor/hmp_internal.h"
#include "qapi/qapi-input.h"
#include "ui/input.h"

#define MAX_KEYS 16
#define HOLD_MS 100

/* A key's name or number; 0: there is none. */
static unsigned parse_key(const char *name)
{
    char *end;
    unsigned long number = g_str_has_prefix(name, "0x") ? strtoul(name, &end, 16) : 0;

    if (number) {
        return *end || number > 0xff ? 0 : (unsigned)number;
    }
    int code = qapi_enum_value(&qapi_type_QKeyCode, !strcmp(name, "<") ? "less" : name);
    return code < 0 ? 0 : input_key_number((QKeyCode)code);
}

static void hmp_sendkey(HmpCall *call)
{
    g_auto(GStrv) names = g_strsplit(hmp_str(call->args, "keys"), "-", -1);
    int64_t hold = hmp_has(call->args, "hold_ms") ? hmp_int(call->args, "hold_ms") : HOLD_MS;
    unsigned numbers[MAX_KEYS], n = 0;
    GError *err = NULL;

    for (; names[n]; n++) {
        if (n == MAX_KEYS) {
            hmp_printf(call, "more than %u keys at once\n", MAX_KEYS);
            return;
        }
        numbers[n] = parse_key(names[n]);
        if (!numbers[n]) {
            hmp_printf(call, "invalid parameter: %s\n", names[n]);
            return;
        }
    }
    if (hold < 0 || hold > 60000) {
        hmp_printf(call, "hold_ms is from 0 to 60000\n");
    } else if (!input_send_keys(call->vm, numbers, n, (unsigned)hold, &err)) {
        hmp_error(call, err);
    }
}

/* Behind the last '-': names of keys. */
static void complete_keys(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    const char *dash = strrchr(word, '-');
    g_autofree char *before = g_strndup(word, dash ? (size_t)(dash - word) + 1 : 0);

    for (unsigned code = 0; n == 0 && code < qapi_type_QKeyCode.count; code++) {
        g_autofree char *text = g_strconcat(before, qapi_enum_name(&qapi_type_QKeyCode, (int)code), NULL);

        if (input_key_number((QKeyCode)code)) {
            hmp_offer(c, word, text);
        }
    }
}

static void hmp_mouse_move(HmpCall *call)
{
    int64_t dz = hmp_has(call->args, "dz") ? hmp_int(call->args, "dz") : 0;

    input_relative(call->vm, INPUT_AXIS_X, hmp_int(call->args, "dx"));
    input_relative(call->vm, INPUT_AXIS_Y, hmp_int(call->args, "dy"));
    if (dz) {
        InputButton button = dz > 0 ? INPUT_BUTTON_WHEEL_UP : INPUT_BUTTON_WHEEL_DOWN;

        input_button(call->vm, button, true);
        input_button(call->vm, button, false);
    }
    input_sync(call->vm);
}

static void hmp_mouse_button(HmpCall *call)
{
    int64_t state = hmp_int(call->args, "state");

    input_button(call->vm, INPUT_BUTTON_LEFT, state & 1);
    input_button(call->vm, INPUT_BUTTON_MIDDLE, state & 2);
    input_button(call->vm, INPUT_BUTTON_RIGHT, state & 4);
    input_sync(call->vm);
}

static void hmp_mouse_set(HmpCall *call)
{
    int64_t index = hmp_int(call->args, "index");

    if (index < 0 || index > UINT32_MAX || !input_activate_index(call->vm, (unsigned)index)) {
        hmp_printf(call, "Mouse at index '%" PRId64 "' not found\n", index);
    }
}

static void print_mouse(void *opaque, const InputOps *ops, unsigned index, bool current)
{
    hmp_printf(opaque, "%c Mouse #%u: %s%s\n", current ? '*' : ' ', index, ops->name,
               ops->kinds & INPUT_ABSOLUTE ? " (absolute)" : "");
}

static void hmp_info_mice(HmpCall *call) { input_foreach_pointer(call->vm, print_mouse, call); }

const HmpCommand hmp_input_commands[] = {
    {"sendkey", "keys:word,hold_ms:int?", "keys [hold_ms]", "presses keys together (ctrl-alt-f1), for 100 ms", hmp_sendkey,
     complete_keys},
    {"mouse_move", "dx:int,dy:int,dz:int?", NULL, "moves the pointer, and its wheel", hmp_mouse_move},
    {"mouse_button", "state:int", NULL, "presses and releases: 1 left, 2 middle, 4 right, added up", hmp_mouse_button},
    {"mouse_set", "index:int", NULL, "chooses the pointer that gets the events", hmp_mouse_set},
    {"info mice", .run = hmp_info_mice, .help = "the guest's pointers"},
    {}};
