/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: run control. */
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"

void hmp_call_qmp(HmpCall *call, QmpHandler *handler, const void *args)
{
    QmpCall qmp = {.vm = call->vm, .mon = call->mon, .args = args};
    GError *err = NULL;

    if (!handler(&qmp, &err)) {
        hmp_error(call, err);
    }
}

bool hmp_text_result(QmpCall *call, void (*run)(HmpCall *call))
{
    HumanReadableText *text = call->result = g_new0(HumanReadableText, 1);
    int cpu_index = 0;
    HmpCall hmp = {.vm = call->vm, .mon = call->mon, .out = g_string_new(NULL), .cpu_index = &cpu_index};

    run(&hmp);
    text->human_readable_text = g_string_free(hmp.out, false);
    return true;
}

static void hmp_stop(HmpCall *call) { hmp_call_qmp(call, qmp_stop, NULL); }
static void hmp_cont(HmpCall *call) { hmp_call_qmp(call, qmp_cont, NULL); }
static void hmp_quit(HmpCall *call) { hmp_call_qmp(call, qmp_quit, NULL); }
static void hmp_system_reset(HmpCall *call) { hmp_call_qmp(call, qmp_system_reset, NULL); }
static void hmp_system_powerdown(HmpCall *call) { hmp_call_qmp(call, qmp_system_powerdown, NULL); }
static void hmp_system_wakeup(HmpCall *call) { hmp_call_qmp(call, qmp_system_wakeup, NULL); }
static void hmp_nmi(HmpCall *call) { hmp_call_qmp(call, qmp_inject_nmi, NULL); }
static void hmp_watchdog_action(HmpCall *call)
{
    const char *name = hmp_str(call->args, "action");
    int action = qapi_enum_value(&qapi_type_WatchdogAction, name);

    if (action < 0) {
        hmp_printf(call, "Error: invalid parameter value: %s\n", name);
        return;
    }
    vm_actions(call->vm)->watchdog = (WatchdogAction)action;
}

static void complete_watchdog_action(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    for (unsigned i = 0; n == 0 && i < qapi_type_WatchdogAction.count; i++) {
        hmp_offer(c, word, qapi_type_WatchdogAction.names[i]);
    }
}

static void hmp_exit_preconfig(HmpCall *call) { hmp_call_qmp(call, qmp_x_exit_preconfig, NULL); }

static void hmp_getfd(HmpCall *call)
{
    GetfdArgs args = {.fdname = (char *)(uintptr_t)hmp_str(call->args, "name")};

    hmp_call_qmp(call, qmp_getfd, &args);
}

static void hmp_closefd(HmpCall *call)
{
    ClosefdArgs args = {.fdname = (char *)(uintptr_t)hmp_str(call->args, "name")};

    hmp_call_qmp(call, qmp_closefd, &args);
}

const HmpCommand hmp_run_commands[] = {
    {"stop|s", .run = hmp_stop, .help = "stops the machine"},
    {"cont|c", .run = hmp_cont, .help = "lets the machine run"},
    {"quit|q", .run = hmp_quit, .help = "ends the process"},
    {"system_reset", .run = hmp_system_reset, .help = "resets the machine"},
    {"system_powerdown", .run = hmp_system_powerdown, .help = "presses the power button"},
    {"system_wakeup", .run = hmp_system_wakeup, .help = "wakes a guest that sleeps"},
    {"nmi", .run = hmp_nmi, .help = "gives all CPUs a non-maskable interrupt"},
    {"watchdog_action", "action:word", NULL, "what happens when the watchdog's time has run out", hmp_watchdog_action,
     complete_watchdog_action},
    {"exit_preconfig", .run = hmp_exit_preconfig, .help = "makes the machine after --preconfig"},
    {"getfd", "name:word", NULL, "keeps the descriptor that came with this command, under a name", hmp_getfd},
    {"closefd", "name:word", NULL, "closes a descriptor that getfd kept", hmp_closefd},
    {}};
