/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: logs and trace points. */
#include "monitor/hmp_internal.h"
#include "util/error.h"
#include "util/log.h"
#include "util/trace.h"

static void print_item(const char *name, const char *help, void *opaque)
{
    hmp_printf(opaque, "%-15s %s\n", name, help);
}

/* The items replace those that were on. */
static void hmp_log(HmpCall *call)
{
    const char *items = hmp_str(call->args, "items");
    uint32_t before = log_items;
    GError *err = NULL;
    bool helped;

    if (!strcmp(items, "help") || !strcmp(items, "?")) {
        hmp_printf(call, "Log items (comma separated):\n%-15s %s\n", "none", "nothing");
        log_foreach_item(print_item, call);
        return;
    }
    log_items = 0;
    if (strcmp(items, "none") && !log_enable(items, &helped, &err)) {
        log_items = before;
        hmp_error(call, err);
    }
}

static void hmp_logfile(HmpCall *call)
{
    GError *err = NULL;

    if (!log_set_file(hmp_str(call->args, "filename"), &err)) {
        hmp_error(call, err);
    }
}

static void hmp_trace_event(HmpCall *call)
{
    const char *name = hmp_str(call->args, "name");

    if (!trace_set(name, hmp_bool(call->args, "option")) && !strpbrk(name, "*?")) {
        hmp_printf(call, "unknown event \"%s\"\n", name);
    }
}

typedef struct Offer {
    HmpCompletion *c;
    const char *word;
} Offer;

static void offer_point(const char *name, bool enabled, void *opaque)
{
    Offer *offer = opaque;

    hmp_offer(offer->c, offer->word, name);
}

static void complete_trace_event(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    Offer offer = {c, word};

    if (n == 0) {
        trace_list(offer_point, &offer);
    } else if (n == 1) {
        hmp_offer(c, word, "on");
        hmp_offer(c, word, "off");
    }
}

typedef struct PointPrinter {
    HmpCall *call;
    const char *pattern;
} PointPrinter;

static void print_point(const char *name, bool enabled, void *opaque)
{
    PointPrinter *p = opaque;

    if (!p->pattern || g_pattern_match_simple(p->pattern, name)) {
        hmp_printf(p->call, "%s : state %d\n", name, enabled);
    }
}

static void info_trace_events(HmpCall *call)
{
    PointPrinter p = {call, hmp_str(call->args, "name")};
    size_t before = call->out->len;

    trace_list(print_point, &p);
    if (p.pattern && call->out->len == before && !strpbrk(p.pattern, "*?")) {
        hmp_printf(call, "unknown event \"%s\"\n", p.pattern);
    }
}

const HmpCommand hmp_trace_commands[] = {
    {"log", "items:word", "item1[,...]", "what to log, as -d (help lists it); none: nothing", hmp_log},
    {"logfile", "filename:word", NULL, "the file that logs go to", hmp_logfile},
    {"trace-event", "name:word,option:bool", "name on|off", "switches trace points (a shell pattern) on or off",
     hmp_trace_event, complete_trace_event},
    {"info trace-events", "name:word?", "[name]", "trace points and whether they are on", info_trace_events,
     complete_trace_event},
    {}};
