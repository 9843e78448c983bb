/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qemu-io commands that move data: read, write, their vectored and asynchronous forms, discard. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "block/io/shell.h"
#include "util/keyval.h"
#include "util/util.h"

#define LEN_MAX ((int64_t)INT_MAX / BLOCK_SECTOR * BLOCK_SECTOR)

typedef struct Transfer {
    IoShell *shell;   /* NULL once it may be gone (aio) */
    FILE *out;
    BlockNode *node;  /* a reference */
    const char *name; /* the command's */
    BlockOp op;
    bool async, vectored;
    bool compressed, fua, zero, unmap, no_fallback, quiet, machine, verbose, vm_state, has_pattern,
        has_part_offset, has_part_len;
    int64_t pattern, part_offset, part_len, offset, len;
    const char *source; /* -s of write */
    uint8_t *buf;
    GArray *iov; /* struct iovec */
    int64_t begin; /* us */
    BlockIo request;
} Transfer;

static void transfer_free(Transfer *t)
{
    g_aligned_free(t->buf);
    g_array_free(t->iov, TRUE);
    block_node_unref(t->node);
    g_free(t);
}

static bool writes(const Transfer *t)
{
    return t->op == BLOCK_WRITE || t->op == BLOCK_ZERO;
}

/* ---- reports -------------------------------------------------------------------------------- */

static void print_dump(const Transfer *t)
{
    for (int64_t at = 0; at < t->len; at += 16) {
        int64_t n = MIN(16, t->len - at);

        fprintf(t->out, "%08" PRIx64 ":  ", t->offset + at);
        for (int64_t i = 0; i < n; i++) {
            fprintf(t->out, "%02x ", t->buf[at + i]);
        }
        fputc(' ', t->out);
        for (int64_t i = 0; i < n; i++) {
            fputc(g_ascii_isalnum(t->buf[at + i]) ? t->buf[at + i] : '.', t->out);
        }
        fputc('\n', t->out);
    }
}

static void print_report(const Transfer *t, const char *verb)
{
    const int64_t passed = g_get_monotonic_time() - t->begin, us = MAX(passed, 1), hundredths = us / 10000;
    double rate = (double)t->len * 1e6 / (double)us, ops = 1e6 / (double)us;
    g_autofree char *size = io_size_text((double)t->len), *speed = io_size_text(rate), *span = NULL;

    if (t->machine || hundredths >= 360000) {
        span = g_strdup_printf("%u:%02u:%02u.%02u", (unsigned)(hundredths / 360000),
                               (unsigned)(hundredths / 6000 % 60), (unsigned)(hundredths / 100 % 60),
                               (unsigned)(hundredths % 100));
    } else {
        span = g_strdup_printf("%02u.%02u sec", (unsigned)(hundredths / 100), (unsigned)(hundredths % 100));
    }
    if (t->machine) {
        fprintf(t->out, "%" PRId64 ",1,%s,%.3f,%.3f\n", t->len, span, rate, ops);
        return;
    }
    fprintf(t->out, "%s %" PRId64 "/%" PRId64 " bytes at offset %" PRId64 "\n", verb, t->len, t->len, t->offset);
    fprintf(t->out, "%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", size, span, speed, ops);
}

static int verify(const Transfer *t)
{
    int64_t len = t->has_part_len ? t->part_len : t->len - t->part_offset;

    for (int64_t i = 0; t->has_pattern && i < len; i++) {
        if (t->buf[t->part_offset + i] != t->pattern) {
            fprintf(t->out, "Pattern verification failed at offset %" PRId64 ", %" PRId64 " bytes\n",
                    t->offset + t->part_offset, len);
            return -EINVAL;
        }
    }
    return 0;
}

static int finish(const Transfer *t, int ret)
{
    const char *what = !t->async ? t->name : t->op == BLOCK_READ ? "readv" : "aio_write";

    if (ret < 0) {
        fprintf(t->out, "%s failed: %s\n", what, g_strerror(-ret));
        return ret;
    }
    ret = t->op == BLOCK_READ ? verify(t) : 0;
    if (!t->quiet) {
        if (t->verbose) {
            print_dump(t);
        }
        print_report(t, t->op == BLOCK_READ ? "read" : t->op == BLOCK_DISCARD ? "discard" : "wrote");
    }
    return ret;
}

/* ---- options -------------------------------------------------------------------------------- */

static bool read_pattern(Transfer *t, const char *text)
{
    char *end;
    guint64 value = g_ascii_strtoull(text, &end, 0);

    t->pattern = (int64_t)value;
    t->has_pattern = true;
    if (*end || end == text || value > 255) {
        fprintf(t->out, "%s is not a valid pattern byte\n", text);
        return false;
    }
    return true;
}

static bool take_option(Transfer *t, int c)
{
    switch (c) {
    case 'b': t->vm_state = true; return true;
    case 'c': t->compressed = true; return true;
    case 'C': t->machine = true; return true;
    case 'f': t->fua = true; return true;
    case 'i':
        io_shell_error(t->shell, "-i is not supported: Kiln has no statistics of invalid requests");
        return false;
    case 'n': t->no_fallback = true; return true;
    case 'p': return true; /* of old */
    case 'q': t->quiet = true; return true;
    case 'u': t->unmap = true; return true;
    case 'v': t->verbose = true; return true;
    case 'z': t->zero = true; return true;
    case 'P': return read_pattern(t, optarg);
    case 'l':
        t->has_part_len = true;
        t->part_len = io_parse_number(t->shell, optarg);
        return t->part_len >= 0;
    case 's':
        if (t->op == BLOCK_WRITE) {
            t->source = optarg;
            return true;
        }
        t->has_part_offset = true;
        t->part_offset = io_parse_number(t->shell, optarg);
        return t->part_offset >= 0;
    default:
        io_shell_bad_option(t->shell, t->name);
        return false;
    }
}

/* Before the offset is looked at. */
static bool check_options(const Transfer *t)
{
    const char *wrong =
        t->vm_state && t->zero ? "-b and -z cannot be specified at the same time"
        : t->fua && (t->vm_state || t->compressed) && !t->async
            ? "-f and -b or -c cannot be specified at the same time"
        : t->no_fallback && !t->zero ? "-n requires -z to be specified"
        : t->unmap && !t->zero       ? "-u requires -z to be specified"
        : t->zero + t->has_pattern + (t->source != NULL) > 1 && !t->async
            ? "Only one of -z, -P, and -s can be specified at the same time"
            : NULL;

    if (wrong) {
        fprintf(t->out, "%s\n", wrong);
    }
    return !wrong;
}

/* ---- the range ------------------------------------------------------------------------------ */

static bool add_length(Transfer *t, const char *text)
{
    int64_t len = io_parse_number(t->shell, text);

    if (len < 0) {
        return false;
    }
    if (len > LEN_MAX && !t->no_fallback && !(t->async && t->zero)) {
        fprintf(t->out, t->vectored ? "Argument '%1$s' exceeds maximum size %2$" PRId64 "%3$s\n"
                                    : "length cannot exceed %2$" PRId64 "%3$s, given %1$s\n", text, LEN_MAX,
                t->op == BLOCK_WRITE && !t->vectored ? " without -n" : "");
        return false;
    }
    if (t->vectored && len > LEN_MAX - t->len && !t->zero) {
        fprintf(t->out, "The total number of bytes exceed the maximum size %" PRId64 "\n", LEN_MAX);
        return false;
    }
    t->len += len;
    return true;
}

/* One request of several buffers; -P -s -l of read only come with one. */
static bool read_range(Transfer *t, int argc, char **argv)
{
    if (argc < 2 || (argc > 2 && !t->vectored)) {
        io_shell_usage(t->shell, t->name);
        return false;
    }
    t->offset = io_parse_number(t->shell, argv[0]);
    if (t->offset < 0) {
        return false;
    }
    if (t->async && t->zero && argc > 2) {
        fprintf(t->out, "-z supports only a single length parameter\n");
        return false;
    }
    for (int i = 1; i < argc; i++) {
        struct iovec iov = {NULL, (size_t)t->len};

        if (!add_length(t, argv[i])) {
            return false;
        }
        iov.iov_len = (size_t)t->len - iov.iov_len;
        g_array_append_val(t->iov, iov);
    }
    return true;
}

static bool check_part(Transfer *t)
{
    if (!t->has_pattern && (t->has_part_offset || t->has_part_len)) {
        io_shell_usage(t->shell, t->name);
        return false;
    }
    if (t->part_offset > t->len || (t->has_part_len && t->part_len > t->len - t->part_offset)) {
        fprintf(t->out, "pattern verification range exceeds end of read data\n");
        return false;
    }
    return true;
}

static bool check_alignment(const Transfer *t)
{
    bool offset = t->offset % BLOCK_SECTOR;

    if ((t->vm_state || t->compressed) && (offset || t->len % BLOCK_SECTOR)) {
        fprintf(t->out, "%" PRId64 " is not a sector-aligned value for '%s'\n", offset ? t->offset : t->len,
                offset ? "offset" : "count");
        return false;
    }
    return true;
}

/* ---- buffers -------------------------------------------------------------------------------- */

/* The bytes of a file, repeated. */
static bool fill_from_file(Transfer *t)
{
    g_autofree char *content = NULL;
    gsize size;
    int64_t n;

    errno = 0;
    if (!g_file_get_contents(t->source, &content, &size, NULL)) {
        fprintf(t->shell->err, "%s: %s\n", t->source, g_strerror(errno ? errno : EIO));
        return false;
    }
    if (!size) {
        fprintf(t->shell->err, "%s: file is empty\n", t->source);
        return false;
    }
    for (int64_t at = 0; at < t->len; at += n) {
        n = MIN((int64_t)size, t->len - at);
        memcpy(t->buf + at, content, (size_t)n);
    }
    return true;
}

static bool make_buffer(Transfer *t)
{
    size_t pos = 0;

    if (t->zero || t->op == BLOCK_DISCARD) {
        return true;
    }
    t->buf = g_aligned_alloc(MAX((size_t)t->len, 1), 1, 4096);
    memset(t->buf, writes(t) ? t->has_pattern ? (int)t->pattern : 0xcd : 0xab, (size_t)t->len);
    for (unsigned i = 0; i < t->iov->len; i++) {
        struct iovec *iov = &g_array_index(t->iov, struct iovec, i);

        iov->iov_base = t->buf + pos;
        pos += iov->iov_len;
    }
    return !t->source || fill_from_file(t);
}

/* NULL: the message is out. */
static Transfer *transfer_new(IoShell *s, BlockOp op, const char *letters, bool async, bool vectored,
                              int argc, char **argv)
{
    Transfer *t = g_new0(Transfer, 1);
    bool ok = true;
    int c;

    t->shell = s;
    t->out = s->out;
    t->node = block_node_ref(s->node);
    t->name = argv[0];
    t->op = op;
    t->async = async;
    t->vectored = vectored;
    t->iov = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    while (ok && (c = getopt(argc, argv, letters)) != -1) {
        ok = take_option(t, c);
    }
    ok = ok && (async ? true : check_options(t)) && read_range(t, argc - optind, argv + optind) &&
         (!async || check_options(t)) && check_part(t) && check_alignment(t) && make_buffer(t);
    if (!ok) {
        transfer_free(t);
        return NULL;
    }
    t->op = t->zero ? BLOCK_ZERO : t->op;
    return t;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void fill_request(Transfer *t)
{
    BlockIo *r = &t->request;

    r->op = t->op;
    r->offset = (uint64_t)t->offset;
    r->len = (uint64_t)t->len;
    r->compressed = t->compressed && !t->zero;
    r->may_unmap = t->unmap;
    r->no_fallback = t->no_fallback;
    r->fua = writes(t) && (t->fua || t->shell->write_through);
    r->iov = t->buf ? (const struct iovec *)(const void *)t->iov->data : NULL;
    r->iov_count = t->buf ? t->iov->len : 0;
    t->begin = g_get_monotonic_time();
}

static bool is_in_node(const Transfer *t)
{
    return range_fits((uint64_t)t->offset, (uint64_t)t->len, block_node_disk_size(t->node));
}

static void run_vm_state(void *opaque)
{
    Transfer *t = opaque;
    BlockNode *node = block_node_skip_filters(t->node);
    size_t len = (size_t)t->len;

    if (writes(t)) {
        t->request.result = node->drv->vm_state_pwrite
                                ? node->drv->vm_state_pwrite(node, (uint64_t)t->offset, t->buf, len) : -ENOTSUP;
    } else {
        t->request.result = node->drv->vm_state_pread
                                ? node->drv->vm_state_pread(node, (uint64_t)t->offset, t->buf, len) : -ENOTSUP;
    }
}

static int transfer(IoShell *s, BlockOp op, const char *letters, bool vectored, int argc, char **argv)
{
    Transfer *t = transfer_new(s, op, letters, false, vectored, argc, argv);
    int ret = 0;

    if (!t) {
        return -EINVAL;
    }
    fill_request(t);
    if (t->vm_state) {
        block_loop_call(t->node->loop, run_vm_state, t);
        ret = t->request.result;
    } else if (!is_in_node(t)) {
        ret = -EIO;
    } else if (t->request.compressed && !block_node_packs(t->node)) {
        ret = -ENOTSUP;
    } else if (t->len) {
        ret = block_psubmit(t->node, &t->request);
    }
    ret = finish(t, ret);
    transfer_free(t);
    return ret;
}

static void free_in_main(void *opaque)
{
    transfer_free(opaque);
}

static void aio_done(BlockIo *request, int result)
{
    Transfer *t = request->opaque;
    BlockNode *node = t->node;

    finish(t, result);
    fflush(t->out);
    node->extern_flight--;
    if (node->loop->is_main) {
        transfer_free(t);
    } else {
        loop_post(node->vm->loop, free_in_main, t); /* the node may go with it */
    }
}

static void aio_start(void *opaque)
{
    Transfer *t = opaque;

    t->request.done = aio_done;
    t->request.opaque = t;
    t->node->extern_flight++;
    if (!t->len) {
        block_loop_finish_later(t->node->loop, &t->request, 0);
    } else if (!is_in_node(t)) {
        block_loop_finish_later(t->node->loop, &t->request, -EIO);
    } else {
        block_node_submit(t->node, &t->request);
    }
}

/* Ends later, with its report on stdout; that it could be started is all that counts. */
static int start_aio(IoShell *s, BlockOp op, const char *letters, int argc, char **argv)
{
    Transfer *t = transfer_new(s, op, letters, true, true, argc, argv);

    if (!t) {
        return -EINVAL;
    }
    fill_request(t);
    t->name = op == BLOCK_READ ? "aio_read" : "aio_write";
    t->shell = NULL;
    t->out = stdout;
    block_loop_call(t->node->loop, aio_start, t);
    return 0;
}

void io_shell_wait(IoShell *s)
{
    GPtrArray *tree = block_drain_tree(s->node);

    block_undrain_tree(tree);
}

/* ---- commands ------------------------------------------------------------------------------- */

static int run_read(IoShell *s, int argc, char **argv)
{
    return transfer(s, BLOCK_READ, "bCl:pP:qs:v", false, argc, argv);
}

static int run_readv(IoShell *s, int argc, char **argv)
{
    return transfer(s, BLOCK_READ, "CP:qv", true, argc, argv);
}

static int run_write(IoShell *s, int argc, char **argv)
{
    return transfer(s, BLOCK_WRITE, "bcCfnpP:qs:uz", false, argc, argv);
}

static int run_writev(IoShell *s, int argc, char **argv)
{
    return transfer(s, BLOCK_WRITE, "CfqP:", true, argc, argv);
}

static int run_discard(IoShell *s, int argc, char **argv)
{
    return transfer(s, BLOCK_DISCARD, "Cq", false, argc, argv);
}

static int run_aio_read(IoShell *s, int argc, char **argv)
{
    return start_aio(s, BLOCK_READ, "CP:iqv", argc, argv);
}

static int run_aio_write(IoShell *s, int argc, char **argv)
{
    return start_aio(s, BLOCK_WRITE, "CfiP:quz", argc, argv);
}

static int run_aio_flush(IoShell *s, int argc, char **argv)
{
    io_shell_wait(s);
    return 0;
}

#define STATISTICS \
    " -C         the figures in one line, for programs: bytes,requests,time,bytes per second,requests per second\n" \
    " -q         no figures\n"
#define READS \
    " -P pattern each byte read must be this\n" \
    " -v         show what was read, as bytes and as text\n" STATISTICS
#define WRITES \
    " -f         it is on the disk when it ends (FUA)\n" \
    " -P pattern the byte that is written (0xcd)\n" STATISTICS
#define ZEROS \
    " -z         write zeros without data\n" \
    " -u         with -z: the clusters may be given up\n"
#define IN_FLIGHT \
    " Others may be in flight meanwhile: aio_flush waits for all. What fails is told when it ends; the command itself\n" \
    " succeeds when the request is on its way.\n"

const IoCommand io_transfer_commands[] = {
    {"aio_flush", NULL, "", "completes all outstanding aio requests", 0, 0, false, false, false,
     run_aio_flush},
    {"aio_read", NULL, "[-Ciqv] [-P pattern] off len [len..]",
     "asynchronously reads a number of bytes", 2, -1, false, false, false, run_aio_read,
     " aio_read -P 7 64k 4k 4k   reads 8 KiB into two buffers\n" IN_FLIGHT READS},
    {"aio_write", NULL, "[-Cfiquz] [-P pattern] off len [len..]",
     "asynchronously writes a number of bytes", 2, -1, false, true, false, run_aio_write,
     " aio_write -P 7 64k 4k 4k   writes 8 KiB from two buffers\n" IN_FLIGHT ZEROS WRITES},
    {"discard", "d", "[-Cq] off len", "discards a number of bytes at a specified offset", 2, -1, false,
     true, false, run_discard, " discard 64k 1M   the image need not keep this MiB\n" STATISTICS},
    {"read", "r", "[-abCqv] [-P pattern [-s off] [-l len]] off len",
     "reads a number of bytes at a specified offset", 2, -1, false, false, false, run_read,
     " read -P 7 64k 4k   reads 4 KiB, which must be bytes of 7\n"
     " -b         from what lies behind the disk: the state of a machine\n"
     " -l len     with -P: so many bytes must have the pattern\n"
     " -p         nothing: as of old\n"
     " -s off     with -P: from here on in what was read\n" READS},
    {"readv", "rv", "[-Cqv] [-P pattern] off len [len..]",
     "reads a number of bytes at a specified offset", 2, -1, false, false, false, run_readv,
     " readv -v 64k 16 16   reads 32 bytes into two buffers\n" READS},
    {"write", "w", "[-bcCfnquz] [-P pattern | -s source_file] off len",
     "writes a number of bytes at a specified offset", 2, -1, false, true, false, run_write,
     " write -P 7 64k 4k   writes 4 KiB of bytes of 7\n"
     " -b         to what lies behind the disk: the state of a machine\n"
     " -c         compressed\n"
     " -n         with -z: fail rather than write data\n"
     " -p         nothing: as of old\n"
     " -s file    the bytes of this file, again and again\n" ZEROS WRITES},
    {"writev", "wv", "[-Cfq] [-P pattern] off len [len..]",
     "writes a number of bytes at a specified offset", 2, -1, false, true, false, run_writev,
     " writev 64k 1k 1k   writes 2 KiB from two buffers\n" WRITES},
    {0},
};
