/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kiln-io: reads and writes disk images by commands, for tests and for looking into them; the commands
 * of qemu-io 7.2 (block/io/shell.h) and those that open and close images.
 */
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "block/io/shell.h"
#include "core/vm.h"
#include "img/img.h"

typedef struct Options {
    const char *format, *cache, *aio, *discard, *trace;
    GPtrArray *commands;
    bool read_only, snapshot, no_cache, copy_on_read, misalign, native, image_opts, force_share,
        version;
} Options;

typedef struct Tool {
    IoShell shell;
    ImgImage image;
    char *name; /* of the image; image.name */
} Tool;

void img_help(void)
{
    printf("Usage: kiln-io [OPTIONS]... [-c STRING]... [file]\n"
           "Reads and writes disk images by commands\n\n"
           "  --object OBJECTDEF   define an object such as 'secret'\n"
           "  --image-opts         treat file as option string\n"
           "  -c, --cmd STRING     execute this command\n"
           "  -f, --format FMT     the format of the image\n"
           "  -r, --read-only      open it read-only\n"
           "  -s, --snapshot       writes go to a temporary overlay\n"
           "  -n, --nocache        as -t none\n"
           "  -C, --copy-on-read   keep what is read from backing files\n"
           "  -m, --misalign       accepted; buffers are always aligned\n"
           "  -k, --native-aio     as -i native\n"
           "  -i, --aio=MODE       threads, native or io_uring\n"
           "  -t, --cache=MODE     none, writeback, writethrough (default), directsync, unsafe\n"
           "  -d, --discard=MODE   unmap (default) or ignore\n"
           "  -U, --force-share    others may write meanwhile; needs -r\n"
           "  -T, --trace=POINTS   [[enable=]PATTERN][,events=FILE][,file=FILE]; help lists them\n"
           "  -h, --help           display this help and exit\n"
           "  -V, --version        output version information and exit\n\n"
           "See 'kiln-io -c help' for information on available commands.\n");
}

/* ---- the image ------------------------------------------------------------------------------ */

static void close_image(Tool *t)
{
    if (t->image.node) {
        io_shell_wait(&t->shell);
        img_close(&t->image);
    }
    t->shell.node = NULL;
    g_clear_pointer(&t->name, g_free);
}

/* False: the message is out. */
static bool open_image(Tool *t, const char *name, const char *shown, const ImgOpen *how)
{
    g_autoptr(GError) err = NULL;

    t->name = g_strdup(name);
    if (how->copy_on_read && !how->writable) {
        error_set(&err, "Can't use copy-on-read on read-only device");
    }
    if (err || !img_open_as_is(t->shell.vm, t->name, how, &t->image, &err)) {
        report_error("can't open%s%s: %s", shown ? " device " : "", shown ? shown : "", err->message);
        g_clear_pointer(&t->name, g_free);
        return false;
    }
    t->shell.node = t->image.node;
    t->shell.blk = t->image.blk;
    t->shell.write_through = t->image.write_through;
    return true;
}

/* What the options of the program and of "open" have in common. False: said so. */
static bool make_how(const Options *o, ImgOpen *how)
{
    static const char *const discards[] = {"ignore", "off", "unmap", "on", NULL};
    static const char *const engines[] = {"threads", "native", "io_uring", NULL};
    const char *aio = o->native ? "native" : o->aio;

    *how = (ImgOpen){.format = o->format, .cache = o->no_cache ? "none" : o->cache, .aio = aio,
                     .discard = o->discard, .image_opts = o->image_opts, .writable = !o->read_only,
                     .resize = !o->read_only, .force_share = o->force_share, .snapshot = o->snapshot,
                     .copy_on_read = o->copy_on_read};
    if (!img_cache_options(NULL, how->cache, &(bool){false}, NULL)) {
        report_error("Invalid cache option: %s", how->cache);
    } else if (o->discard && !g_strv_contains(discards, o->discard)) {
        report_error("Invalid discard option: %s", o->discard);
    } else if (aio && !g_strv_contains(engines, aio)) {
        report_error("Invalid aio option: %s", aio);
    } else {
        return true;
    }
    return false;
}

/* ---- open, close, quit ---------------------------------------------------------------------- */

static bool take_open_option(Options *o, GString *opts, int c)
{
    switch (c) {
    case 'r': o->read_only = true; return true;
    case 's': o->snapshot = true; return true;
    case 'C': o->copy_on_read = true; return true;
    case 'n': o->no_cache = true; return true;
    case 'k': o->native = true; return true;
    case 'U': o->force_share = true; return true;
    case 'i': o->aio = optarg; return true;
    case 't': o->cache = optarg; return true;
    case 'd': o->discard = optarg; return true;
    case 'o':
        g_string_append_printf(opts, "%s%s", opts->len ? "," : "", optarg);
        return true;
    default:
        return false;
    }
}

/* -o beside a path: the options of "driver=...,file.filename=PATH". */
static void add_path(GString *opts, const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, ",", -1);
    g_autofree char *escaped = g_strjoinv(",,", parts);

    g_string_append_printf(opts, ",file.filename=%s", escaped);
}

static int run_open(IoShell *s, int argc, char **argv)
{
    Tool *t = s->opaque;
    Options o = {.cache = "writethrough"};
    g_autoptr(GString) opts = g_string_new(NULL);
    ImgOpen how;
    int c;

    while ((c = getopt(argc, argv, "rsCnkUi:t:d:o:")) != -1) {
        if (!take_open_option(&o, opts, c)) {
            return io_shell_bad_option(s, argv[0]);
        }
    }
    if (!make_how(&o, &how)) {
        return -EINVAL;
    }
    if (optind < argc - 1 || (optind == argc && !opts->len)) {
        return io_shell_usage(s, argv[0]);
    }
    if (s->node) {
        report_error("file open already, try 'help close'");
        return -EINVAL;
    }
    if (opts->len && optind < argc) {
        add_path(opts, argv[optind]);
    }
    how.image_opts = opts->len > 0;
    return open_image(t, opts->len ? opts->str : argv[optind], argv[optind], &how) ? 0 : -EINVAL;
}

static int run_close(IoShell *s, int argc, char **argv)
{
    close_image(s->opaque);
    return 0;
}

static int run_quit(IoShell *s, int argc, char **argv)
{
    s->quit = true;
    return 0;
}

static const IoCommand tool_commands[] = {
    {"close", "c", "", "close the current open file", 0, 0, false, false, false, run_close},
    {"open", "o", "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]", "open the file specified by path",
     1, -1, true, false, false, run_open,
     " open -n -o driver=raw disk.raw   a raw image, past the host's cache\n"
     " -r         for reading only\n"
     " -s         writes go to a temporary overlay\n"
     " -C         keep what is read from backing files\n"
     " -n         as -t none\n"
     " -U         others may write meanwhile\n"
     " -k         as -i native\n"
     " -i engine  threads, native or io_uring\n"
     " -t cache   none, writeback, writethrough, directsync or unsafe\n"
     " -d discard unmap or ignore\n"
     " -o options of the driver; the path may be left out then\n"},
    {"quit", "q", "", "exit the program", 0, -1, true, false, false, run_quit},
    {0},
};

/* ---- running -------------------------------------------------------------------------------- */

static int run_stdin(IoShell *s)
{
    char *line = NULL;
    size_t size = 0;
    int ret = 0;

    while (!s->quit) {
        printf("kiln-io> ");
        fflush(stdout);
        if (getline(&line, &size, stdin) < 0) {
            break;
        }
        ret |= io_shell_run(s, line);
    }
    if (isatty(0) && !s->quit) {
        putchar('\n');
    }
    free(line);
    return ret;
}

static int run_commands(IoShell *s, const Options *o)
{
    int ret = 0;

    if (!o->commands) {
        return run_stdin(s);
    }
    for (unsigned i = 0; i < o->commands->len && !s->quit; i++) {
        ret |= io_shell_run(s, g_ptr_array_index(o->commands, i));
    }
    return ret;
}

static int run_io(Vm *vm, const Options *o, int argc, char **argv)
{
    Tool t = {.shell = {.vm = vm, .program = "kiln-io", .out = stdout, .err = stderr,
                        .more = tool_commands, .opaque = &t}};
    ImgOpen how;
    int ret;

    if (argc > 1) {
        return img_usage_error("only one image at a time, not also '%s'", argv[1]);
    }
    if (o->image_opts && o->format) {
        report_error("--image-opts and -f are mutually exclusive");
        return 1;
    }
    if (!make_how(o, &how) || (argc && !open_image(&t, argv[0], o->image_opts ? NULL : argv[0], &how))) {
        return 1;
    }
    ret = run_commands(&t.shell, o);
    close_image(&t);
    return ret ? 1 : 0;
}

static int parse_and_run(Vm *vm, int argc, char **argv)
{
    Options o = {.cache = "writethrough"};
    const ImgOption options[] = {
        {'c', "cmd", IMG_LIST, &o.commands},      {'f', "format", IMG_TEXT, &o.format},
        {'r', "read-only", IMG_FLAG, &o.read_only}, {'s', "snapshot", IMG_FLAG, &o.snapshot},
        {'n', "nocache", IMG_FLAG, &o.no_cache},  {'C', "copy-on-read", IMG_FLAG, &o.copy_on_read},
        {'m', "misalign", IMG_FLAG, &o.misalign}, {'k', "native-aio", IMG_FLAG, &o.native},
        {'i', "aio", IMG_TEXT, &o.aio},           {'t', "cache", IMG_TEXT, &o.cache},
        {'d', "discard", IMG_TEXT, &o.discard},   {'U', "force-share", IMG_FLAG, &o.force_share},
        {'T', "trace", IMG_TEXT, &o.trace},       {'V', "version", IMG_FLAG, &o.version},   {0, "image-opts", IMG_FLAG, &o.image_opts},
        {0},
    };
    int at, ret = 1;

    if (img_parse(vm, argc, argv, options, &at)) {
        if (o.version) {
            printf("kiln-io version %s (does what qemu-io 7.2 does)\n", KILN_VERSION);
            ret = 0;
        } else if ((ret = img_trace(o.trace)) < 0) {
            ret = run_io(vm, &o, argc - at, argv + at);
        }
    }
    if (o.commands) {
        g_ptr_array_free(o.commands, TRUE);
    }
    return ret;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    Vm *vm;
    int ret;

    log_set_program("kiln-io");
    vm = img_vm_new(&err);
    if (!vm) {
        report_error("%s", err->message);
        return 1;
    }
    img_program_name = "kiln-io";
    block_loop_main(vm)->lone = true;
    ret = parse_and_run(vm, argc, argv);
    blk_cleanup(vm);
    vm_free(vm);
    return ret;
}
