/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qemu-io commands that transfer no data: sizes, what is allocated, flush, reopen, break points. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "block/io/shell.h"
#include "util/util.h"

static int run_flush(IoShell *s, int argc, char **argv)
{
    return block_pflush(s->node);
}

static int run_length(IoShell *s, int argc, char **argv)
{
    g_autofree char *text = io_size_text((double)block_node_disk_size(s->node));

    fprintf(s->out, "%s\n", text);
    return 0;
}

static int run_truncate(IoShell *s, int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    unsigned prealloc = 0;
    int64_t size;
    int c;

    while ((c = getopt(argc, argv, "m:")) != -1) {
        if (c != 'm') {
            return io_shell_bad_option(s, argv[0]);
        }
        for (prealloc = 0; block_prealloc_names[prealloc] && strcmp(block_prealloc_names[prealloc], optarg);) {
            prealloc++;
        }
        if (!block_prealloc_names[prealloc]) {
            io_shell_error(s, "Invalid preallocation mode '%s'", optarg);
            return -EINVAL;
        }
    }
    size = optind == argc - 1 ? io_parse_number(s, argv[optind]) : io_shell_usage(s, argv[0]);
    if (size < 0) {
        return -EINVAL;
    }
    if (!block_ptruncate(s->node, (uint64_t)size, false, (BlockPrealloc)prealloc, &err)) {
        io_shell_error(s, "%s", err->message);
        return -EINVAL;
    }
    return 0;
}

/* ---- what is there -------------------------------------------------------------------------- */

static int next_extent(IoShell *s, uint64_t at, uint64_t len, uint64_t *bytes, bool *allocated)
{
    BlockStatus status;
    BlockNode *node = block_node_skip_filters(s->node);
    int ret = block_pstatus(node, MIN(at, block_node_size(node) - 1), len, 0, &status);

    /* What is missing of the last sector is as the byte before. */
    *bytes = at + status.bytes >= block_node_size(node) ? len : MIN(status.bytes, len);
    *allocated = status.allocated;
    return ret < 0 ? ret : *bytes ? 0 : -EIO;
}

static int run_alloc(IoShell *s, int argc, char **argv)
{
    int64_t at = io_parse_number(s, argv[1]), len = BLOCK_SECTOR;
    uint64_t size = block_node_disk_size(s->node), end, sum = 0, bytes;
    g_autofree char *where = NULL;
    bool allocated;

    if (at < 0 || (argc > 2 && (len = io_parse_number(s, argv[2])) < 0)) {
        return -EINVAL;
    }
    end = (uint64_t)at < size ? (uint64_t)at + MIN((uint64_t)len, size - (uint64_t)at) : (uint64_t)at;
    for (uint64_t pos = (uint64_t)at; pos < end; pos += bytes) {
        int ret = next_extent(s, pos, end - pos, &bytes, &allocated);

        if (ret < 0) {
            fprintf(s->out, "is_allocated failed: %s\n", g_strerror(-ret));
            return ret;
        }
        sum += allocated ? bytes : 0;
    }
    where = io_size_text((double)at);
    fprintf(s->out, "%" PRIu64 "/%" PRIu64 " bytes allocated at offset %s\n", sum, end - (uint64_t)at, where);
    return 0;
}

static void print_extent(IoShell *s, uint64_t start, uint64_t len, bool allocated)
{
    g_autofree char *size = io_size_text((double)len), *where = io_size_text((double)start);

    fprintf(s->out, "%s (0x%" PRIx64 ") bytes %s allocated at offset %s (0x%" PRIx64 ")\n", size, len,
            allocated ? "   " : "not", where, start);
}

static int run_map(IoShell *s, int argc, char **argv)
{
    uint64_t size = block_node_disk_size(s->node), start = 0, bytes;
    bool before = false, allocated;

    for (uint64_t at = 0; at < size; at += bytes) {
        int ret = next_extent(s, at, size - at, &bytes, &allocated);

        if (ret < 0) {
            io_shell_error(s, "Failed to get allocation status: %s", g_strerror(-ret));
            return ret;
        }
        if (at && allocated != before) {
            print_extent(s, start, at - start, before);
            start = at;
        }
        before = allocated;
    }
    if (size > start) {
        print_extent(s, start, size - start, before);
    }
    return 0;
}

static void print_members(IoShell *s, json_object *object, int indent)
{
    json_object_object_foreach(object, key, value)
    {
        g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

        if (json_object_is_type(value, json_type_object)) {
            fprintf(s->out, "%*s%s:\n", indent, "", name);
            print_members(s, value, indent + 4);
        } else {
            fprintf(s->out, "%*s%s: %s\n", indent, "", name, json_object_get_string(value));
        }
    }
}

static int run_info(IoShell *s, int argc, char **argv)
{
    BlockNode *node = block_node_skip_filters(s->node);
    BlockInfo info = {0};
    g_autofree char *cluster = NULL, *state = NULL;
    json_object *more, *data;

    if (node->drv->get_info) {
        node->drv->get_info(node, &info);
    }
    cluster = io_size_text(info.cluster_size);
    state = io_size_text((double)info.vm_state_offset);
    fprintf(s->out, "format name: %s\ncluster size: %s\nvm state offset: %s\n", node->drv->name, cluster,
            state);
    more = node->drv->is_format && node->drv->specific_info ? node->drv->specific_info(node) : NULL;
    if (more) {
        fprintf(s->out, "Format specific information:\n");
        if (json_object_object_get_ex(more, "data", &data)) {
            print_members(s, data, 4);
        }
        json_object_put(more);
    }
    return 0;
}

/* ---- reopen --------------------------------------------------------------------------------- */

typedef struct Reopen {
    bool read_only, direct, no_flush;
    BlockOpts *more; /* -o */
} Reopen;

static void set_bool(BlockOpts *opts, const char *key, bool value)
{
    block_opts_set(opts, key, value ? "on" : "off");
}

/* A node's present options, but for what changes. */
static BlockOpts *options_of(const BlockNode *node, const Reopen *r)
{
    static const char *const zeroes[] = {"off", "on", "unmap"};
    BlockOpts *opts = block_opts_new();

    block_opts_set(opts, "driver", node->drv->name);
    block_opts_set(opts, "node-name", node->name);
    set_bool(opts, "read-only", r->read_only);
    set_bool(opts, "auto-read-only", node->auto_read_only);
    set_bool(opts, "cache.direct", r->direct);
    set_bool(opts, "cache.no-flush", r->no_flush);
    set_bool(opts, "force-share", node->force_share);
    block_opts_set(opts, "discard", node->discard_unmap ? "unmap" : "ignore");
    block_opts_set(opts, "detect-zeroes", zeroes[node->detect_zeroes]);
    if (node->backing) {
        block_opts_set(opts, "backing", node->backing->node->name);
    } else if (node->backing_filename) {
        block_opts_set(opts, "backing", "");
    }
    if (node->file) {
        block_opts_set(opts, "file", node->file->node->name);
    } else if (node->filename) {
        block_opts_set(opts, "filename", node->filename);
    }
    return opts;
}

static void opts_free(gpointer opts)
{
    block_opts_free(opts);
}

/* The image and the file below it. */
static int reopen(IoShell *s, const Reopen *r)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(opts_free);
    g_autoptr(GError) err = NULL;

    for (BlockNode *node = s->node; node; node = node->file ? node->file->node : NULL) {
        g_ptr_array_add(list, options_of(node, r));
    }
    if (r->read_only && !io_shell_use(s, ~(uint32_t)(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE), 0)) {
        return -EINVAL;
    }
    if (r->more) {
        block_opts_merge(g_ptr_array_index(list, 0), r->more);
    }
    if (!block_reopen(s->vm, list, &err)) {
        io_shell_error(s, "%s", err->message);
        return -EINVAL;
    }
    return 0;
}

static bool add_options(IoShell *s, Reopen *r, const char *text)
{
    g_autoptr(GError) err = NULL;
    BlockOpts *opts = block_opts_parse(text, NULL, &err);

    if (!opts) {
        io_shell_error(s, "%s", err->message);
        return false;
    }
    block_opts_free(r->more);
    r->more = opts;
    return true;
}

/* What letters say is not said by -o, too. */
static bool check_twice(IoShell *s, const Reopen *r, bool access, bool cache)
{
    if (access && r->more && block_opts_peek(r->more, "read-only")) {
        io_shell_error(s, "Cannot set both -r/-w and 'read-only'");
        return false;
    }
    if (cache && r->more && (block_opts_peek(r->more, "cache.direct") || block_opts_peek(r->more, "cache.no-flush"))) {
        io_shell_error(s, "Cannot set both -c and the cache options");
        return false;
    }
    return true;
}

static int run_reopen(IoShell *s, int argc, char **argv)
{
    Reopen r = {.read_only = s->node->read_only, .direct = s->node->direct, .no_flush = s->node->no_flush};
    bool write_through = s->write_through, chosen = false, cached = false, ok = true;
    int c, ret = -EINVAL;

    while (ok && (c = getopt(argc, argv, "c:o:rw")) != -1) {
        if (c == 'c') {
            cached = true;
            ok = io_shell_cache_mode(optarg, &r.direct, &r.no_flush, &write_through);
            if (!ok) {
                io_shell_error(s, "Invalid cache option: %s", optarg);
            }
        } else if (c == 'o') {
            ok = add_options(s, &r, optarg);
        } else if (c == '?') {
            io_shell_bad_option(s, argv[0]);
            ok = false;
        } else {
            ok = !chosen;
            if (chosen) {
                io_shell_error(s, "Only one -r/-w option may be given");
            }
            chosen = true;
            r.read_only = c == 'r';
        }
    }
    if (ok && optind < argc) {
        io_shell_usage(s, argv[0]);
        ok = false;
    }
    if (ok && check_twice(s, &r, chosen, cached) && (ret = reopen(s, &r)) == 0) {
        s->write_through = write_through;
    }
    block_opts_free(r.more);
    return ret;
}

/* ---- break points of blkdebug ---------------------------------------------------------------- */

typedef struct BreakCall {
    BlockNode *node; /* the blkdebug node, or NULL */
    const char *event, *tag;
    bool (*fn)(struct BreakCall *call);
    bool result;
} BreakCall;

static bool set_break(BreakCall *call)
{
    return block_debug_break(call->node, call->event, call->tag);
}

static bool resume_break(BreakCall *call)
{
    return block_debug_resume(call->node, call->tag);
}

static bool is_suspended(BreakCall *call)
{
    return block_debug_is_suspended(call->node, call->tag);
}

static void break_in_owner(void *opaque)
{
    BreakCall *call = opaque;

    call->result = call->fn(call);
}

static BlockNode *find_blkdebug(const IoShell *s)
{
    BlockNode *n = s->node;

    while (n && n->drv != &block_driver_blkdebug) {
        n = n->file ? n->file->node : NULL;
    }
    return n;
}

static bool call_break(IoShell *s, bool (*fn)(BreakCall *call), const char *event, const char *tag)
{
    BreakCall call = {.node = find_blkdebug(s), .event = event, .tag = tag, .fn = fn};

    if (call.node) {
        block_loop_call(call.node->loop, break_in_owner, &call);
    }
    return call.result;
}

static int run_break(IoShell *s, int argc, char **argv)
{
    if (!call_break(s, set_break, argv[1], argv[2])) {
        int error = find_blkdebug(s) ? ENOENT : ENOTSUP; /* no such event, or nothing that knows events */

        fprintf(s->out, "Could not set breakpoint: %s\n", g_strerror(error));
        return -error;
    }
    return 0;
}

static int end_break(IoShell *s, const char *tag)
{
    if (!find_blkdebug(s)) {
        return -ENOTSUP;
    }
    if (call_break(s, is_suspended, NULL, tag)) {
        fprintf(s->out, "blkdebug: Resuming request '%s'\n", tag);
    }
    return call_break(s, resume_break, NULL, tag) ? 0 : -ENOENT;
}

static int run_resume(IoShell *s, int argc, char **argv)
{
    int ret = end_break(s, argv[1]);

    if (ret) {
        fprintf(s->out, "Could not resume request: %s\n", g_strerror(-ret));
        return ret;
    }
    return 0;
}

static int run_remove_break(IoShell *s, int argc, char **argv)
{
    int ret = end_break(s, argv[1]);

    if (ret) {
        fprintf(s->out, "Could not remove breakpoint %s: %s\n", argv[1], g_strerror(-ret));
        return ret;
    }
    return 0;
}

static int run_wait_break(IoShell *s, int argc, char **argv)
{
    while (!call_break(s, is_suspended, NULL, argv[1])) {
        if (!block_loop_is_owner(s->node->loop)) {
            g_usleep(1000);
        } else if (!block_loop_wait(s->node->loop)) {
            fprintf(s->out, "No request is on its way that could reach %s\n", argv[1]);
            return -ENOENT;
        }
    }
    fprintf(s->out, "blkdebug: Suspended request '%s'\n", argv[1]);
    return 0;
}

/* ---- the process ----------------------------------------------------------------------------- */

static bool read_int(IoShell *s, const char *text, int *value)
{
    char *end;
    gint64 n = g_ascii_strtoll(text, &end, 0);

    *value = (int)n;
    if (*end || end == text || n < 0 || n > G_MAXINT) {
        fprintf(s->out, "%s is not a valid number\n", text);
        return false;
    }
    return true;
}

static int run_sleep(IoShell *s, int argc, char **argv)
{
    int ms;

    if (!read_int(s, argv[1], &ms)) {
        return -EINVAL;
    }
    g_usleep((gulong)ms * 1000);
    return 0;
}

static int run_sigraise(IoShell *s, int argc, char **argv)
{
    int64_t number = io_parse_number(s, argv[1]);

    if (number < 0) {
        return -EINVAL;
    }
    fflush(s->out); /* the signal may end us */
    raise((int)MIN(number, INT_MAX));
    return 0;
}

static int run_abort(IoShell *s, int argc, char **argv)
{
    abort();
}

const IoCommand io_image_commands[] = {
    {"abort", NULL, "", "simulate a program crash using abort(3)", 0, 0, true, false, false, run_abort},
    {"alloc", NULL, "offset [count]", "checks if offset is allocated in the file", 1, 2, false, false,
     false, run_alloc},
    {"break", NULL, "event tag", "sets a breakpoint on event and tags the stopped request as tag", 2, 2,
     false, false, false, run_break},
    {"flush", "f", "", "flush all in-core file state to disk", 0, 0, false, false, false, run_flush},
    {"info", "i", "", "prints information about the current file", 0, 0, false, false, false, run_info},
    {"length", "l", "", "gets the length of the current file", 0, 0, false, false, false, run_length},
    {"map", NULL, "", "prints the allocated areas of a file", 0, 0, false, false, false, run_map},
    {"remove_break", NULL, "tag", "remove a breakpoint by tag", 1, 1, false, false, false,
     run_remove_break},
    {"reopen", NULL, "[(-r|-w)] [-c cache] [-o options]", "reopens an image with new options", 0, -1,
     false, false, false, run_reopen,
     " reopen -o lazy-refcounts=on   changes what the image was opened with\n"
     " -r         for reading only\n"
     " -w         for writing, too\n"
     " -c cache   none, writeback, writethrough, directsync or unsafe\n"
     " -o options of the driver, as open has them\n"},
    {"resume", NULL, "tag", "resumes the request tagged as tag", 1, 1, false, false, false, run_resume},
    {"sigraise", NULL, "signal", "raises a signal", 1, 1, true, false, false, run_sigraise,
     " sigraise 15   sends this process SIGTERM\n"},
    {"sleep", NULL, "", "waits for the given value in milliseconds", 1, 1, true, false, false,
     run_sleep},
    {"truncate", "t", "[-m prealloc_mode] off", "truncates the current file at the given offset", 1, 3,
     false, true, true, run_truncate},
    {"wait_break", NULL, "tag", "waits for the suspension of a request", 1, 1, false, false, false,
     run_wait_break},
    {0},
};
