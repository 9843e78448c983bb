/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-img: makes, converts and repairs disk images; a drop-in for qemu-img 7.2. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "core/vm.h"
#include "img/img.h"

static const ImgCommand *const commands[] = {
    &img_amend,   &img_bench,   &img_bitmap, &img_check, &img_commit,
    &img_compare, &img_convert, &img_create, &img_dd,    &img_info,
    &img_map,     &img_measure, &img_rebase, &img_resize, &img_snapshot, NULL,
};

static void print_version(void)
{
    printf("kiln-img version %s (does what qemu-img 7.2 does)\n", KILN_VERSION);
}

void img_help(void)
{
    print_version();
    printf("usage: kiln-img [standard options] command [command options]\n"
           "\n    '-h', '--help'       display this help and exit\n"
           "    '-V', '--version'    output version information and exit\n"
           "    '-T', '--trace'      [[enable=]PATTERN][,events=FILE][,file=FILE]: trace points (help lists them)\n"
           "\nCommand syntax:\n");
    for (unsigned i = 0; commands[i]; i++) {
        printf("  %s %s\n", commands[i]->name, commands[i]->usage);
    }
    printf("\nSizes are bytes, or have a suffix k, M, G, T, P or E (powers of 1024).\n"
           "Cache modes (-t, -T): none, writeback, writethrough, directsync, unsafe.\n"
           "-o help lists the options of a format. kiln-img(1) explains everything else.\n"
           "\n");
    blk_drivers_help();
}

static int unknown_command(const char *name)
{
    const char *names[G_N_ELEMENTS(commands)] = {NULL};
    g_autofree char *near = NULL;

    for (unsigned i = 0; commands[i]; i++) {
        names[i] = commands[i]->name;
    }
    near = suggest_names(name, names);
    return img_usage_error("Command not found: %s%s", name, near);
}

static int run_command(const ImgCommand *command, int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Vm *vm = img_vm_new(&err);
    int status;

    if (!vm) {
        report_error("%s", err->message);
        return 1;
    }
    block_loop_main(vm)->lone = true;
    status = command->run(vm, argc, argv);
    blk_cleanup(vm);
    vm_free(vm);
    errno = 0; /* a write that failed before has left no reason */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        report_error("Could not write to standard output%s%s", errno ? ": " : "", errno ? g_strerror(errno) : "");
        return 1;
    }
    return status;
}

/* -T, --trace before the command, in each of getopt's spellings. How many words; 0: it is none; -1: there is none behind. */
static int find_trace(int argc, char **argv, const char **text)
{
    const char *word = argv[1];

    if (!strcmp(word, "-T") || !strcmp(word, "--trace")) {
        *text = argc > 2 ? argv[2] : NULL;
        return *text ? 2 : -1;
    }
    *text = g_str_has_prefix(word, "--trace=") ? word + strlen("--trace=") : g_str_has_prefix(word, "-T") ? word + 2 : NULL;
    return *text != NULL;
}

/* The standard options. False: *status is the tool's. */
static bool take_standard(int *argc, char ***argv, int *status)
{
    while (*argc > 1 && (*argv)[1][0] == '-') {
        const char *word = (*argv)[1], *text = NULL;
        int words = find_trace(*argc, *argv, &text);

        if (!strcmp(word, "-h") || !strcmp(word, "--help")) {
            img_help();
            *status = 0;
        } else if (!strcmp(word, "-V") || !strcmp(word, "--version")) {
            print_version();
            *status = 0;
        } else if (words <= 0) {
            *status = words ? img_usage_error("option '%s' needs an argument", word)
                            : img_usage_error("unrecognized option '%s'", word);
        } else {
            *status = img_trace(text);
        }
        if (words <= 0 || *status >= 0) {
            return false;
        }
        *argc -= words;
        *argv += words;
    }
    return true;
}

int main(int argc, char **argv)
{
    int status = -1;

    log_set_program("kiln-img");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* writes fail with EFBIG */
    if (!take_standard(&argc, &argv, &status)) {
        return status;
    }
    if (argc < 2) {
        return img_usage_error("Not enough arguments");
    }
    for (unsigned i = 0; commands[i]; i++) {
        if (!strcmp(commands[i]->name, argv[1])) {
            return run_command(commands[i], argc - 1, argv + 1);
        }
    }
    return unknown_command(argv[1]);
}
