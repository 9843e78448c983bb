/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines, arguments and help of the qemu-io commands (block/io/shell.h). */
#include "block/io/shell.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "util/keyval.h"
#include "util/util.h"

/* ---- messages ------------------------------------------------------------------------------- */

void io_shell_error(IoShell *s, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (s->program) {
        fprintf(s->err, "%s: ", s->program);
    }
    vfprintf(s->err, fmt, args);
    fputc('\n', s->err);
    va_end(args);
}

static bool is_bare_number(const char *text)
{
    const char *end = text + strspn(text, "0123456789.");

    return g_ascii_isdigit(*text) && (!*end || (strchr("bkmgtpeBKMGTPE", *end) && !end[1]));
}

int64_t io_parse_number(IoShell *s, const char *text)
{
    uint64_t value;

    if (parse_size(text, 1, &value) && value <= INT64_MAX) {
        return (int64_t)value;
    }
    fprintf(s->out, is_bare_number(text)
                        ? "Parsing error: argument too large -- %s\n"
                        : "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n",
            text);
    return -1;
}

char *io_size_text(double value)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    g_autofree char *text = NULL;
    unsigned unit = 0;

    while (value >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    text = g_strdup_printf(unit ? "%.3f" : "%f", value);
    if (g_str_has_suffix(text, unit ? ".000" : ".000000")) {
        *strchr(text, '.') = 0;
    }
    return g_strconcat(text, " ", units[unit], NULL);
}

bool io_shell_cache_mode(const char *name, bool *direct, bool *no_flush, bool *write_through)
{
    static const struct {
        const char *name;
        bool direct, no_flush, write_through;
    } modes[] = {
        {"none", true, false, false},      {"off", true, false, false},
        {"writeback", false, false, false}, {"writethrough", false, false, true},
        {"directsync", true, false, true}, {"unsafe", false, true, false},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(name, modes[i].name)) {
            *direct = modes[i].direct;
            *no_flush = modes[i].no_flush;
            *write_through = modes[i].write_through;
            return true;
        }
    }
    return false;
}

/* ---- commands and help ---------------------------------------------------------------------- */

static void print_help(IoShell *s, const IoCommand *c)
{
    fprintf(s->out, "%s %s%s-- %s\n", c->name, c->args, *c->args ? " " : "", c->help);
}

static int run_help(IoShell *s, int argc, char **argv);

static const IoCommand help_command[] = {
    {"help", "?", "[command]", "help for one or all commands", 0, 1, true, false, false, run_help}, {0}};

/* Command number n of all, or NULL. */
static const IoCommand *nth_command(const IoShell *s, unsigned n)
{
    const IoCommand *const tables[] = {io_transfer_commands, io_image_commands, help_command, s->more};

    for (unsigned t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const IoCommand *c = tables[t]; c && c->name; c++) {
            if (!n--) {
                return c;
            }
        }
    }
    return NULL;
}

static const IoCommand *find_command(const IoShell *s, const char *name)
{
    const IoCommand *c;

    for (unsigned n = 0; (c = nth_command(s, n)); n++) {
        if (!strcmp(c->name, name) || !g_strcmp0(c->alias, name)) {
            return c;
        }
    }
    return NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const IoCommand *const *)a)->name, (*(const IoCommand *const *)b)->name);
}

static int run_help(IoShell *s, int argc, char **argv)
{
    const IoCommand *c = argc > 1 ? find_command(s, argv[1]) : NULL;
    g_autoptr(GPtrArray) all = g_ptr_array_new();

    if (c) {
        print_help(s, c);
        if (c->details) {
            fprintf(s->out, "\n%s\n", c->details);
        }
        return 0;
    }
    if (argc > 1) {
        fprintf(s->out, "command %s not found\n", argv[1]);
        return -EINVAL;
    }
    for (unsigned n = 0; (c = nth_command(s, n)); n++) {
        g_ptr_array_add(all, (void *)(uintptr_t)c);
    }
    g_ptr_array_sort(all, compare_names);
    for (unsigned n = 0; n < all->len; n++) {
        print_help(s, g_ptr_array_index(all, n));
    }
    fprintf(s->out, "\nUse 'help commandname' for extended help.\n");
    return 0;
}

int io_shell_usage(IoShell *s, const char *name)
{
    print_help(s, find_command(s, name));
    return -EINVAL;
}

int io_shell_bad_option(IoShell *s, const char *name)
{
    const IoCommand *c = find_command(s, name);
    bool known = c && optopt && strchr(c->args, optopt);

    fprintf(s->err, "%s: %s -- '%c'\n", name,
            known ? "option requires an argument" : "invalid option", optopt);
    return io_shell_usage(s, name);
}

/* ---- permissions ---------------------------------------------------------------------------- */

bool io_shell_use(IoShell *s, uint32_t keep, uint32_t more)
{
    BlockChild *root = NULL;
    g_autoptr(GError) err = NULL;

    for (unsigned i = 0; i < s->node->parents->len && !root; i++) {
        BlockChild *child = g_ptr_array_index(s->node->parents, i);

        root = child->blk == s->blk ? child : NULL;
    }
    if (root && root->used != ((root->used & keep) | more) &&
        !block_child_set_perm(root, (root->used & keep) | more, root->shared, &err)) {
        io_shell_error(s, "%s", err->message);
        return false;
    }
    return true;
}

/* ---- lines ---------------------------------------------------------------------------------- */

static bool count_fits(IoShell *s, const IoCommand *c, int count, const char *name)
{
    if (count >= c->min && (c->max < 0 || count <= c->max)) {
        return true;
    }
    fprintf(s->err, "bad argument count %d to %s, expected ", count, name);
    if (c->max < 0) {
        fprintf(s->err, "at least %d arguments\n", c->min);
    } else if (c->min == c->max) {
        fprintf(s->err, "%d arguments\n", c->min);
    } else {
        fprintf(s->err, "between %d and %d arguments\n", c->min, c->max);
    }
    return false;
}

static int run_words(IoShell *s, int argc, char **argv)
{
    const IoCommand *c = find_command(s, argv[0]);

    if (!c) {
        fprintf(s->err, "command \"%s\" not found\n", argv[0]);
        return -EINVAL;
    }
    if (!c->closed && !s->node) {
        fprintf(s->err, "no file open, try 'help open'\n");
        return -EINVAL;
    }
    if (!count_fits(s, c, argc - 1, argv[0])) {
        return -EINVAL;
    }
    if (c->writes && s->node->read_only) {
        io_shell_error(s, "Block node is read-only");
        return -EPERM;
    }
    if (c->writes && !io_shell_use(s, BLOCK_PERM_ALL,
                                   BLOCK_PERM_WRITE | (c->resizes ? BLOCK_PERM_RESIZE : 0))) {
        return -EPERM;
    }
    optind = 0; /* GNU: from the beginning */
    opterr = 0;
    return c->run(s, argc, argv);
}

int io_shell_run(IoShell *s, const char *line)
{
    g_auto(GStrv) words = g_strsplit_set(line, " \r\n", -1);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    int ret;

    for (unsigned i = 0; words[i]; i++) {
        if (*words[i]) {
            g_ptr_array_add(argv, words[i]);
        }
    }
    if (!argv->len) {
        return 0;
    }
    g_ptr_array_add(argv, NULL);
    ret = run_words(s, (int)argv->len - 1, (char **)argv->pdata);
    fflush(s->out);
    return ret;
}
