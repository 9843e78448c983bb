/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions on character devices: input, output, who may run a command now. */
#include "monitor/internal.h"

#include "qapi/qapi-commands.h"
#include "util/error.h"
#include "util/keyval.h"
#include "util/trace.h"

#define INPUT_ROOM 4096      /* bytes read ahead */
#define TURN_TIME NSEC_PER_MSEC  /* of one monitor, then the loop goes round; a command is not interrupted */

MonitorState *monitor_state(Vm *vm)
{
    if (!vm->monitors) {
        MonitorState *state = g_new0(MonitorState, 1);

        state->monitors = g_ptr_array_new();
        while (qapi_commands[state->n_commands]) {
            state->n_commands++;
        }
        vm->monitors = (struct MonitorState *)state;
        monitor_events_init(vm);
    }
    return (MonitorState *)vm->monitors;
}

/* ---- output ---------------------------------------------------------------------------- */

static void output_writable(void *opaque)
{
    Monitor *mon = opaque;

    mon->output_full = false;
    monitor_drain(mon);
}

static void check_output(Monitor *mon)
{
    if (!mon->output_full && charport_pending(mon->port) > MONITOR_OUTPUT_LIMIT) {
        mon->output_full = true;
        charport_on_writable(mon->port, output_writable, mon);
    }
}

void monitor_write(Monitor *mon, const char *data, size_t len)
{
    charport_write_all(mon->port, data, len);
    check_output(mon);
}

/* ---- input ----------------------------------------------------------------------------- */

static bool step(Monitor *mon)
{
    return mon->control ? qmp_session_step(mon) : hmp_session_step(mon);
}

/* Steps until nothing is left to do now. False: the turn's time is over before that. */
static bool drain_for_a_turn(Monitor *mon)
{
    int64_t end = clock_monotonic_ns() + TURN_TIME;
    bool progress;

    do {
        progress = false;
        while (!mon->output_full && !vm_end_requested(mon->vm) && step(mon)) {
            progress = true;
            if (clock_monotonic_ns() > end) {
                return false;
            }
        }
        charport_flush(mon->port); /* which may make room */
    } while (progress && !mon->output_full);
    return true;
}

/* A peer that always asks leaves the others, and the guest, their turns. */
static void drain_later(void *opaque)
{
    Vm *vm = opaque;

    if (vm->monitors) {
        monitor_drain_all(vm);
    }
}

void monitor_drain(Monitor *mon)
{
    if (mon->draining) {
        return; /* whoever drains goes on after this */
    }
    mon->draining = true;
    if (!drain_for_a_turn(mon)) {
        charport_flush(mon->port);
        loop_post(mon->vm->loop, drain_later, mon->vm);
    }
    mon->draining = false;
    charport_accept_input(mon->port);
}

void monitor_drain_all(Vm *vm)
{
    GPtrArray *monitors = monitor_state(vm)->monitors;

    for (unsigned i = 0; i < monitors->len; i++) {
        Monitor *mon = monitors->pdata[i];

        if (mon->input->len || mon->requests.length) {
            monitor_drain(mon);
        }
    }
}

bool monitor_may_command(Vm *vm)
{
    MonitorState *state = monitor_state(vm);

    state->refused |= state->in_command;
    return !state->in_command;
}

void monitor_begin_command(Vm *vm) { monitor_state(vm)->in_command = true; }

void monitor_end_command(Vm *vm)
{
    MonitorState *state = monitor_state(vm);

    state->in_command = false;
    if (state->refused) {
        state->refused = false;
        loop_post(vm->loop, drain_later, vm);
    }
}

void monitor_hold(Vm *vm, bool hold) { (hold ? monitor_begin_command : monitor_end_command)(vm); }

static size_t can_receive(void *opaque)
{
    const Monitor *mon = opaque;

    return mon->input->len < INPUT_ROOM && !mon->output_full ? INPUT_ROOM - mon->input->len : 0;
}

static void receive(void *opaque, const uint8_t *data, size_t len)
{
    Monitor *mon = opaque;

    g_byte_array_append(mon->input, data, (guint)len);
    if (monitor_state(mon->vm)->hearing) {
        qmp_session_hear(mon);
    } else {
        monitor_drain(mon);
    }
}

/* What else has come waits until the wait is over. */
static void hear(Vm *vm)
{
    MonitorState *state = monitor_state(vm);
    bool queued = false;

    if (state->hearing) {
        return;
    }
    state->hearing = true;
    for (unsigned i = 0; i < state->monitors->len; i++) {
        Monitor *mon = state->monitors->pdata[i];

        if (mon->oob) {
            charport_read_now(mon->port);
            charport_flush(mon->port);
            queued |= mon->requests.length > 0;
        }
    }
    state->hearing = false;
    if (queued) {
        loop_post(vm->loop, drain_later, vm);
    }
}

static void port_event(void *opaque, CharEvent event)
{
    Monitor *mon = opaque;

    if (event == CHAR_EVENT_OPENED || event == CHAR_EVENT_CLOSED) {
        trace(monitor_connection, "%s: %s", charport_label(mon->port), event == CHAR_EVENT_OPENED ? "open" : "closed");
        mon->connection++;
        monitor_forget_later(mon);
        g_byte_array_set_size(mon->input, 0);
        mon->output_full = false;
        charport_on_writable(mon->port, NULL, NULL);
    }
    if (event == CHAR_EVENT_OPENED) {
        (mon->control ? qmp_session_open : hmp_session_open)(mon);
        charport_flush(mon->port);
    } else if (event == CHAR_EVENT_CLOSED && mon->control) {
        qmp_session_close(mon);
    } else if (event == CHAR_EVENT_MUX_IN && !mon->control) {
        readline_show_prompt(mon->readline);
    }
}

/* ---- life ------------------------------------------------------------------------------ */

static const CharPortOps port_ops = {
    .can_receive = can_receive,
    .receive = receive,
    .event = port_event,
};

static Monitor *monitor_new(Vm *vm, const char *chardev, bool control, GError **err)
{
    CharPort *port = charport_open(vm, chardev, err);

    if (!port) {
        return NULL;
    }
    Monitor *mon = g_new0(Monitor, 1);
    mon->vm = vm;
    mon->port = port;
    mon->control = control;
    mon->input = g_byte_array_new();
    mon->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_queue_init(&mon->requests);
    json_frames_init(&mon->frames);
    g_ptr_array_add(monitor_state(vm)->monitors, mon);
    vm->hear = hear;
    return mon;
}

static void monitor_free(Monitor *mon)
{
    charport_set_ops(mon->port, NULL, NULL);
    charport_close(mon->port);
    monitor_forget_later(mon);
    qmp_session_close(mon);
    monitor_close_fds(mon);
    json_frames_free(&mon->frames);
    readline_free(mon->readline);
    g_hash_table_unref(mon->fds);
    g_byte_array_unref(mon->input);
    g_free(mon);
}

bool monitor_add_qmp(Vm *vm, const char *chardev, bool pretty, GError **err)
{
    Monitor *mon = monitor_new(vm, chardev, true, err);

    if (!mon) {
        return false;
    }
    mon->pretty = pretty;
    charport_set_ops(mon->port, &port_ops, mon);
    return true;
}

bool monitor_add_hmp(Vm *vm, const char *chardev, GError **err)
{
    Monitor *mon = monitor_new(vm, chardev, false, err);

    if (!mon) {
        return false;
    }
    mon->readline = hmp_readline_new(mon);
    charport_set_ops(mon->port, &port_ops, mon);
    return true;
}

bool monitor_add_option(Vm *vm, const char *text, GError **err)
{
    static const char *const modes[] = {"readline", "control", NULL};
    g_autoptr(KeyVals) kv = keyvals_parse("-mon", text, "chardev", err);
    bool pretty = false;
    int mode = 0;

    if (!kv) {
        return false;
    }
    const char *chardev = keyvals_get(kv, "chardev");
    keyvals_get(kv, "id");
    if (!keyvals_enum(kv, "mode", modes, &mode, err) || !keyvals_bool(kv, "pretty", &pretty, err) ||
        !keyvals_finish(kv, err)) {
        return false;
    }
    if (!chardev) {
        return error_set(err, "-mon %s: chardev is missing: -mon chardev=ID,mode=control", text);
    }
    if (pretty && mode == 0) {
        return error_set(err, "-mon %s: pretty is for mode=control; leave it out", text);
    }
    if (!(mode ? monitor_add_qmp(vm, chardev, pretty, err) : monitor_add_hmp(vm, chardev, err))) {
        g_prefix_error(err, "-mon %s: ", text);
        return false;
    }
    return true;
}

void monitor_set_options_source(Vm *vm, MonitorOptionsFn *fn) { monitor_state(vm)->options = fn; }

void monitor_run_preconfig(Vm *vm)
{
    MonitorState *state = monitor_state(vm);

    state->preconfig = true;
    while (state->preconfig && !vm_end_requested(vm)) {
        loop_run_once(vm->loop, -1);
    }
    state->preconfig = false;
}

void monitor_cleanup(Vm *vm)
{
    MonitorState *state = (MonitorState *)vm->monitors;

    if (!state) {
        return;
    }
    monitor_events_cleanup(vm);
    for (unsigned i = 0; i < state->monitors->len; i++) {
        monitor_free(state->monitors->pdata[i]);
    }
    g_ptr_array_free(state->monitors, true);
    g_free(state);
    vm->monitors = NULL;
    vm->hear = NULL;
}
