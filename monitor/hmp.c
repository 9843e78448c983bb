/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: which command a line means, help, completion, and the sessions of people. */
#include "monitor/hmp.h"

#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "util/error.h"
#include "util/trace.h"

/* A subject a line. */
static const HmpCommand *const tables[] = {
    hmp_base_commands,
    hmp_block_commands,
    hmp_char_commands,
    hmp_cpu_commands,
    hmp_export_commands,
    hmp_info_commands,
    hmp_input_commands,
    hmp_io_commands,
    hmp_interrupt_commands,
    hmp_machine_commands,
    hmp_mce_commands,
    hmp_memory_commands,
    hmp_net_commands,
    hmp_objects_commands,
    hmp_paging_commands,
    hmp_pci_commands,
    hmp_run_commands,
    hmp_stats_commands,
    hmp_trace_commands,
};

/* ---- the tables ------------------------------------------------------------------------- */

void hmp_foreach_command(void (*fn)(const HmpCommand *command, void *opaque), void *opaque)
{
    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const HmpCommand *command = tables[t]; command->name; command++) {
            fn(command, opaque);
        }
    }
}

/* Is name one of "stop|s"? */
static bool has_name(const HmpCommand *command, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = command->name; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
        if (!strncmp(p, name, len) && (!p[len] || p[len] == '|')) {
            return true;
        }
    }
    return false;
}

static const HmpCommand *find_command(const char *name)
{
    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const HmpCommand *command = tables[t]; command->name; command++) {
            if (has_name(command, name)) {
                return command;
            }
        }
    }
    return NULL;
}

/* The command's name at the line's start: "info status", "x" of "x/4i". The caller frees. *rest: behind it. */
static char *command_name(const char *line, const char **rest)
{
    const char *start = line + strspn(line, " \t\r\n"), *end = start + strcspn(start, " \t\r\n/");

    if (end - start == 4 && !strncmp(start, "info", 4)) {
        const char *word = end + strspn(end, " \t\r\n");
        size_t len = strcspn(word, " \t\r\n");

        *rest = word + len;
        return len ? g_strdup_printf("info %.*s", (int)len, word) : g_strdup("info");
    }
    *rest = end;
    return g_strndup(start, (gsize)(end - start));
}

/* ---- one line ----------------------------------------------------------------------------- */

void hmp_printf(HmpCall *call, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    g_string_append_vprintf(call->out, fmt, args);
    va_end(args);
}

void hmp_error(HmpCall *call, GError *err)
{
    hmp_printf(call, "Error: %s\n", err->message);
    g_error_free(err);
}

static void run_line(HmpCall *call, const char *line)
{
    g_autoptr(GError) err = NULL;
    const char *rest;
    g_autofree char *name = command_name(line, &rest);

    if (!*name) {
        return;
    }
    const HmpCommand *command = find_command(name);
    if (!command) {
        hmp_printf(call, "unknown command: '%s'\n", name);
        return;
    }
    trace(hmp_command, "%s", line);
    call->args = hmp_args_parse(call, command->args, rest, &err);
    if (!call->args) {
        hmp_printf(call, "%s: %s\nTry \"help %s\" for more information\n", command->name, err->message, name);
        return;
    }
    hmp_run(call, command, rest);
    hmp_args_free(call->args);
}

char *hmp_terminal_text(const char *text)
{
    GString *out = g_string_new(NULL);

    for (const char *p = text; *p; p++) {
        if (*p == '\n') {
            g_string_append_c(out, '\r');
        }
        g_string_append_c(out, *p);
    }
    return g_string_free(out, false);
}

char *hmp_run_line(Vm *vm, Monitor *mon, QmpCall *qmp, int *cpu_index, const char *line)
{
    g_autoptr(GString) out = g_string_new(NULL);
    HmpCall call = {.vm = vm, .mon = mon, .out = out, .cpu_index = cpu_index, .qmp = qmp};

    run_line(&call, line);
    if (call.later) {
        return qmp ? NULL : monitor_later_text(call.later);
    }
    return hmp_terminal_text(out->str);
}

/* ---- help ----------------------------------------------------------------------------------- */

typedef struct HelpList {
    GPtrArray *commands;     /* const HmpCommand * */
    const char *prefix;      /* names must begin so */
} HelpList;

static void collect_help(const HmpCommand *command, void *opaque)
{
    HelpList *list = opaque;
    bool is_info = g_str_has_prefix(command->name, "info ");

    if (list->prefix ? g_str_has_prefix(command->name, list->prefix) : !is_info) {
        g_ptr_array_add(list->commands, (void *)command);
    }
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const HmpCommand *const *)a)->name, (*(const HmpCommand *const *)b)->name);
}

static void print_help(HmpCall *call, const HmpCommand *command)
{
    g_autofree char *params = command->params ? g_strdup(command->params) : hmp_args_describe(command->args);

    hmp_printf(call, "%s %s -- %s\n", command->name, params, command->help);
}

static void print_list(HmpCall *call, const char *prefix)
{
    HelpList list = {g_ptr_array_new(), prefix};

    hmp_foreach_command(collect_help, &list);
    g_ptr_array_sort(list.commands, by_name);
    for (unsigned i = 0; i < list.commands->len; i++) {
        print_help(call, list.commands->pdata[i]);
    }
    g_ptr_array_free(list.commands, true);
}

static void run_help(HmpCall *call)
{
    const char *text = hmp_str(call->args, "name"), *rest;
    g_autofree char *name = text ? command_name(text, &rest) : NULL;
    const HmpCommand *command = name ? find_command(name) : NULL;

    if (!name || !strcmp(name, "info")) {
        print_list(call, name ? "info " : NULL);
    } else if (command) {
        print_help(call, command);
    } else {
        hmp_printf(call, "unknown command: '%s'\n", name);
    }
}

static void run_info(HmpCall *call) { print_list(call, "info "); }

static void print_history(const char *line, void *opaque) { hmp_printf(opaque, "%s\n", line); }

static void run_history(HmpCall *call)
{
    if (call->mon && call->mon->readline) {
        readline_foreach_history(call->mon->readline, print_history, call);
    }
}

/* ---- completion -------------------------------------------------------------------------------- */

struct HmpCompletion {
    GPtrArray *words;
    const char *word, *prefix; /* names of commands: what was typed, and what their names begin with */
};

void hmp_offer(HmpCompletion *c, const char *word, const char *text)
{
    if (g_str_has_prefix(text, word)) {
        g_ptr_array_add(c->words, g_strdup(text));
    }
}

static void offer_command(const HmpCommand *command, void *opaque)
{
    HmpCompletion *c = opaque;
    g_auto(GStrv) names = g_strsplit(command->name, "|", -1);

    if (c->prefix ? g_str_has_prefix(command->name, c->prefix) : !g_str_has_prefix(command->name, "info ")) {
        for (char **name = names; *name; name++) {
            hmp_offer(c, c->word, *name + (c->prefix ? strlen(c->prefix) : 0));
        }
    }
}

static void offer_commands(HmpCompletion *c, const char *prefix, const char *word)
{
    c->word = word;
    c->prefix = prefix;
    hmp_foreach_command(offer_command, c);
}

static void complete_help(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    if (n == 0) {
        offer_commands(c, NULL, word);
    } else if (n == 1) {
        offer_commands(c, "info ", word);
    }
}

static void complete_line(void *opaque, const char *start, GPtrArray *found)
{
    Monitor *mon = opaque;
    HmpCompletion c = {.words = found};
    g_auto(GStrv) words = g_strsplit_set(start + strspn(start, " "), " ", -1);
    unsigned n = g_strv_length(words);
    const char *word = n ? words[n - 1] : "", *rest;

    if (n <= 1) {
        offer_commands(&c, NULL, word);
        return;
    }
    if (!strcmp(words[0], "info") && n == 2) {
        offer_commands(&c, "info ", word);
        return;
    }
    g_autofree char *name = command_name(start, &rest);
    const HmpCommand *command = find_command(name);
    if (command && command->complete) {
        command->complete(mon->vm, &c, n - (g_str_has_prefix(name, "info ") ? 3 : 2), word);
    }
}

/* ---- sessions ------------------------------------------------------------------------------------ */

static void session_write(void *opaque, const char *data, size_t len)
{
    monitor_write(opaque, data, len);
}

void hmp_session_answer(Monitor *mon, const char *text)
{
    monitor_write(mon, text, strlen(text));
    if (!vm_end_requested(mon->vm)) {
        readline_show_prompt(mon->readline);
    }
}

static void session_line(void *opaque, const char *line)
{
    Monitor *mon = opaque;
    unsigned connection = mon->connection;

    monitor_begin_command(mon->vm);
    g_autofree char *text = hmp_run_line(mon->vm, mon, NULL, &mon->cpu_index, line);
    monitor_end_command(mon->vm);
    if (text && connection == mon->connection) {
        hmp_session_answer(mon, text);
    }
}

static const ReadlineOps session_ops = {
    .write = session_write,
    .line = session_line,
    .complete = complete_line,
};

Readline *hmp_readline_new(Monitor *mon) { return readline_new("(qemu) ", &session_ops, mon); }

void hmp_session_open(Monitor *mon)
{
    /* The words of QEMU's greeting, for what waits for them. */
    static const char greeting[] =
        "QEMU 7.2.22 monitor (Kiln " KILN_VERSION ") - type 'help' for more information\r\n";

    readline_reset(mon->readline);
    mon->cpu_index = 0;
    monitor_write(mon, greeting, sizeof greeting - 1);
    readline_show_prompt(mon->readline);
}

bool hmp_session_step(Monitor *mon)
{
    if (!mon->input->len || mon->later || !monitor_may_command(mon->vm)) {
        return false;
    }
    uint8_t byte = mon->input->data[0];
    g_byte_array_remove_index(mon->input, 0);
    readline_byte(mon->readline, byte);
    return true;
}

const HmpCommand hmp_base_commands[] = {
    {"help|?", "name:rest?", "[cmd]", "lists the commands, or explains one", run_help, complete_help},
    {"info", NULL, "[subcommand]", "shows the state of something; lists what it can show", run_info},
    {"info history", .help = "lines typed in this monitor", .run = run_history},
    {}};
