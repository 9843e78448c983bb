/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kiln-nbd: serves a disk image to NBD clients, lists another server's exports, or connects an image to
 * a device of the kernel's NBD driver; options, texts and exit statuses of qemu-nbd 7.2.
 *
 * Not done: --selinux-label.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/vm.h"
#include "img/img.h"
#include "img/nbd/tool.h"
#include "nbd/proto.h"
#include "nbd/server.h"
#include "nbd/setup.h"
#include "util/keyval.h"
#include "util/pidfile.h"

#define MAX_PASSED 8 /* sockets: as many as a server listens on */

typedef struct Options {
    const char *port, *bind, *socket, *format, *export, *description, *offset, *shared, *creds, *authz,
        *pid_file, *cache, *aio, *discard, *detect_zeroes, *snapshot, *connect, *label,
        *hostname, *trace;
    GPtrArray *bitmaps;
    bool read_only, persistent, verbose, fork, image_opts, list, no_cache, overlay, depth, version, disconnect;
} Options;

typedef struct Tool {
    Vm *vm;
    Options o;
    ImgImage image;
    BlockNode *node;      /* what is exported: the image's, or one with an offset over it */
    NbdServer *server;
    NbdKernelDevice *device;
    int ready_fd;         /* --fork: tells the parent; -1: none */
    int signal_fd;
    bool told, over;      /* told: by a signal to end */
} Tool;

void img_help(void)
{
    printf("Usage: kiln-nbd [OPTIONS] FILE\n"
           "  or:  kiln-nbd -L [OPTIONS]\n"
           "  or:  kiln-nbd -d DEV\n"
           "Serves a disk image over the Network Block Device protocol\n\n"
           "  -h, --help                display this help and exit\n"
           "  -V, --version             output version information and exit\n"
           "  -T, --trace=POINTS        [[enable=]PATTERN][,events=FILE][,file=FILE]; help lists them\n\n"
           "Connections:\n"
           "  -p, --port=PORT           TCP port (default 10809)\n"
           "  -b, --bind=IFACE          address to listen on (default 0.0.0.0)\n"
           "  -k, --socket=PATH         unix socket instead of TCP\n"
           "  -e, --shared=NUM          clients at once (default 1; 0: up to 100)\n"
           "  -t, --persistent          do not end with the last client\n"
           "  -v, --verbose             tell why clients go\n"
           "  -x, --export-name=NAME    name of the export (default: empty)\n"
           "  -D, --description=TEXT    what clients are told of it\n\n"
           "What is exported:\n"
           "  -o, --offset=OFFSET       the image from this byte on\n"
           "  -A, --allocation-depth    offer qemu:allocation-depth\n"
           "  -B, --bitmap=NAME         offer a dirty bitmap (may be repeated)\n\n"
           "General:\n"
           "  -L, --list                list the exports of another server\n"
           "      --object TYPE,id=ID   make an object: secret, tls-creds-*, authz-*\n"
           "      --tls-creds=ID        TLS with these credentials\n"
           "      --tls-hostname=NAME   -L: what the server's certificate must name\n"
           "      --tls-authz=ID        an authz-* object judges the clients\n"
           "      --fork                go to the background when clients can connect\n"
           "      --pid-file=PATH       write the process's number there\n\n"
           "The kernel's client:\n"
           "  -c, --connect=DEV         connect FILE to this device (in the background; with -v in the foreground)\n"
           "  -d, --disconnect          disconnect the device DEV\n\n"
           "The image:\n"
           "  -f, --format=FORMAT       its format\n"
           "  -r, --read-only           nobody writes\n"
           "  -s, --snapshot            writes go to a temporary overlay\n"
           "  -l, --load-snapshot=NAME  serves this internal snapshot, read-only\n"
           "  -n, --nocache             as --cache=none\n"
           "      --cache=MODE          none, writeback (default), writethrough, directsync, unsafe\n"
           "      --aio=MODE            threads, native or io_uring\n"
           "      --discard=MODE        ignore (default), unmap\n"
           "      --detect-zeroes=MODE  off, on, unmap\n"
           "      --image-opts          FILE is a list of options\n\n"
           "kiln-nbd(8) explains the rest.\n");
}

/* ---- where ----------------------------------------------------------------------------------- */

static void make_address(const Options *o, const char *host, NbdAddress *a)
{
    *a = (NbdAddress){.fd = -1, .tight = true, .ipv4 = true, .ipv6 = true};
    if (o->socket) {
        a->type = NBD_UNIX;
        a->path = g_strdup(o->socket);
    } else {
        a->type = NBD_INET;
        a->host = g_strdup(o->bind ? o->bind : host);
        a->port = g_strdup(o->port ? o->port : "10809");
    }
}

/* ---- listing ---------------------------------------------------------------------------------- */

static void print_flags(uint16_t flags)
{
    static const char *const names[] = {"readonly", "flush", "fua", "rotational", "trim", "zeroes", "df",
                                        "multi", "resize", "cache", "fast-zero"};

    printf("  flags: 0x%x (", flags);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (flags & 2u << i) {
            printf(" %s", names[i]);
        }
    }
    printf(" )\n");
}

static void print_export(const NbdInfo *info)
{
    g_autofree char *name = nbd_printable(info->name, strlen(info->name));

    printf(" export: '%s'\n", name);
    if (info->description && *info->description) {
        printf("  description: %s\n", info->description);
    }
    if (info->flags & NBD_FLAG_HAS_FLAGS) {
        printf("  size:  %" PRIu64 "\n", info->size);
        print_flags(info->flags);
    }
    if (info->min_block) {
        printf("  min block: %u\n  opt block: %u\n  max block: %u\n", info->min_block, info->best_block,
               info->max_block);
    }
    if (info->contexts->len) {
        printf("  available meta contexts: %u\n", info->contexts->len);
        for (unsigned i = 0; i < info->contexts->len; i++) {
            printf("   %s\n", (char *)g_ptr_array_index(info->contexts, i));
        }
    }
}

static bool list_exports(Tool *t, GError **err)
{
    NbdSetup setup = {.hostname = g_strdup(t->o.hostname)};
    NbdWait wait = {clock_monotonic_ns() + 30 * NSEC_PER_SEC, -1};
    Object *creds = t->o.creds ? tls_creds_find(t->vm, t->o.creds, false, err) : NULL;
    GPtrArray *list = NULL;

    if (creds || !t->o.creds) {
        make_address(&t->o, "localhost", &setup.address);
        setup.creds = creds ? object_ref(creds) : NULL;
        list = nbd_setup_list(&setup, &wait, err);
    }
    if (list) {
        printf("exports available: %u\n", list->len);
        for (unsigned i = 0; i < list->len; i++) {
            print_export(g_ptr_array_index(list, i));
        }
        g_ptr_array_free(list, TRUE);
    }
    nbd_setup_clear(&setup);
    return list != NULL;
}

/* ---- the image --------------------------------------------------------------------------------- */

static bool set_detect_zeroes(Tool *t, BlockNode *node, GError **err)
{
    static const char *const modes[] = {"off", "on", "unmap"};

    for (unsigned i = 0; t->o.detect_zeroes && i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(modes[i], t->o.detect_zeroes)) {
            node->detect_zeroes = (BlockDetectZeroes)i;
            return i != BLOCK_DETECT_ZEROES_UNMAP || node->discard_unmap ||
                   error_set(err, "setting detect-zeroes to unmap is not allowed without setting "
                                  "discard operation to unmap");
        }
    }
    return !t->o.detect_zeroes || error_set(err, "Failed to parse detect_zeroes mode: invalid parameter "
                                                 "value: %s", t->o.detect_zeroes);
}

/* The image from an offset on: a raw node over it. */
static bool apply_offset(Tool *t, GError **err)
{
    g_autofree char *text = NULL;
    BlockOpts *opts;
    uint64_t offset;

    if (!parse_size(t->o.offset, 1, &offset)) {
        return error_set(err, "Invalid offset '%s': a number of bytes is needed (65536, 64k)", t->o.offset);
    }
    if (offset > t->image.node->size) {
        return error_set(err, "Offset (%" PRIu64 ") cannot be greater than size of the containing file (%" PRIu64
                              ")", offset, t->image.node->size);
    }
    text = g_strdup_printf("%" PRIu64, offset);
    opts = block_opts_new();
    block_opts_set(opts, "driver", "raw");
    block_opts_set(opts, "file", t->image.node->name);
    block_opts_set(opts, "offset", text);
    block_opts_set(opts, "read-only", t->image.node->read_only ? "on" : "off");
    block_opts_set(opts, "discard", t->image.node->discard_unmap ? "unmap" : "ignore");
    t->node = block_node_open(t->vm, opts, NULL, err);
    block_opts_free(opts);
    return t->node != NULL;
}

static bool open_image(Tool *t, const char *name, GError **err)
{
    const Options *o = &t->o;
    g_autoptr(GError) why = NULL;
    ImgOpen how = {.format = o->format, .cache = o->no_cache ? "none" : o->cache, .aio = o->aio,
                   .discard = o->discard ? o->discard : "ignore", .image_opts = o->image_opts,
                   .writable = !o->read_only, .snapshot = o->overlay};

    if (!img_open(t->vm, name, &how, &t->image, &why)) {
        return error_set(err, "Failed to open '%s': %s", name, why->message);
    }
    if (o->snapshot && !img_load_snapshot(t->image.node, o->snapshot, err)) {
        return false;
    }
    t->node = block_node_ref(t->image.node);
    if (o->offset) {
        block_node_unref(t->node);
        t->node = NULL;
        if (!apply_offset(t, err)) {
            return false;
        }
    }
    return set_detect_zeroes(t, t->node, err);
}

/* ---- serving ------------------------------------------------------------------------------------ */

static void on_peers(void *opaque, unsigned n, bool served)
{
    Tool *t = opaque;

    if (served && !n && !t->o.persistent && !t->o.connect) { /* a device says itself when it is gone */
        t->over = true;
    }
}

/* A device is first written out; who says it again does not want to wait for that. */
static void on_signal(void *opaque, uint32_t events)
{
    Tool *t = opaque;
    struct signalfd_siginfo info;

    while (read(t->signal_fd, &info, sizeof info) == sizeof info) {
        t->over |= t->told || !t->device || nbd_kernel_state(t->device) != NBD_KERNEL_CONNECTED;
        t->told = true;
        if (!t->over) {
            nbd_kernel_disconnect(t->device);
        }
    }
}

static bool is_listening(int fd, GError **err)
{
    int on = 0;
    socklen_t len = sizeof on;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) < 0) {
        return error_set_errno(err, errno, "Socket activation failed: descriptor %d (LISTEN_FDS)", fd);
    }
    return on || error_set(err, "Socket activation failed: descriptor %d (LISTEN_FDS) is no listening socket", fd);
}

/* systemd's sockets (sd_listen_fds(3)); *n 0: none are for this process. */
static bool take_passed_sockets(unsigned *n, GError **err)
{
    g_autofree char *pid = g_strdup(g_getenv("LISTEN_PID")), *count = g_strdup(g_getenv("LISTEN_FDS"));
    guint64 number;

    *n = 0;
    g_unsetenv("LISTEN_PID");
    g_unsetenv("LISTEN_FDS");
    if (!pid || !count || !g_ascii_string_to_unsigned(pid, 10, 1, INT_MAX, &number, NULL) || number != (guint64)getpid()) {
        return true;
    }
    if (!g_ascii_string_to_unsigned(count, 10, 0, MAX_PASSED, &number, NULL)) {
        return error_set(err, "Socket activation failed: LISTEN_FDS is '%s', not a number up to %d", count, MAX_PASSED);
    }
    for (*n = (unsigned)number; number > 0; number--) {
        if (!is_listening(2 + (int)number, err)) {
            return false;
        }
    }
    return true;
}

static bool start_listening(Tool *t, unsigned passed, GError **err)
{
    NbdAddress address = {0};
    bool ok = true;

    for (unsigned i = 0; i < passed; i++) {
        fcntl(3 + (int)i, F_SETFD, FD_CLOEXEC);
        nbd_server_listen_fd(t->server, 3 + (int)i);
    }
    if (!passed && (!t->o.connect || t->o.socket)) {
        make_address(&t->o, "0.0.0.0", &address);
        ok = nbd_server_listen(t->server, &address, err);
        nbd_address_clear(&address);
    }
    return ok;
}

static bool make_export(Tool *t, unsigned max_peers, GError **err)
{
    const Options *o = &t->o;
    NbdExportConfig config = {.name = o->export ? o->export : "", .description = o->description,
                              .node = t->node, .writable = !o->read_only,
                              .write_through = t->image.write_through, .allocation_depth = o->depth,
                              .multi_conn = max_peers != 1};

    if (o->bitmaps) {
        g_ptr_array_add(o->bitmaps, NULL);
        config.bitmaps = (const char *const *)o->bitmaps->pdata;
    }
    return nbd_export_add(t->server, &config, err) != NULL;
}

static bool make_server(Tool *t, unsigned passed, GError **err)
{
    const Options *o = &t->o;
    Object *creds = o->creds ? tls_creds_find(t->vm, o->creds, true, err) : NULL;
    guint64 shared = 1;
    NbdServerConfig config = {.creds = creds, .authz = o->authz, .verbose = o->verbose,
                              .peers_changed = on_peers, .opaque = t};

    if (o->creds && !creds) {
        g_prefix_error(err, "Failed to get TLS creds: ");
        return false;
    }
    if (o->authz && !o->creds) {
        return error_set(err, "--tls-authz is not permitted without --tls-creds");
    }
    if (o->authz && !tls_creds_have_identity(creds)) {
        return error_set(err, "--tls-authz needs credentials that show who a client is: tls-creds-x509 or tls-creds-psk");
    }
    if (o->shared && !g_ascii_string_to_unsigned(o->shared, 10, 0, INT_MAX, &shared, NULL)) {
        return error_set(err, "Invalid shared device number '%s': so many clients at once, or 0", o->shared);
    }
    config.max_peers = (unsigned)shared;
    t->server = nbd_server_new(t->vm, &config);
    return make_export(t, (unsigned)shared, err) && start_listening(t, passed, err);
}

/* ---- the process ---------------------------------------------------------------------------------- */

/* The parent ends when the child can serve, or with the child's status. */
static bool go_to_background(Tool *t, int *status)
{
    int fds[2];
    char byte;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        *status = img_fail_errno(-errno, "Failed to fork");
        return false;
    }
    if (pid == 0) {
        close(fds[0]);
        setsid();
        t->ready_fd = fds[1];
        return true;
    }
    close(fds[1]);
    if (read(fds[0], &byte, 1) == 1) {
        *status = 0;
    } else {
        int how;

        *status = waitpid(pid, &how, 0) == pid && WIFEXITED(how) ? WEXITSTATUS(how) : 1;
    }
    return false;
}

static void tell_parent(Tool *t)
{
    int null;

    if (t->ready_fd < 0) {
        return;
    }
    null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++) {
        dup2(null, fd);
    }
    if (null > 2) {
        close(null);
    }
    if (write(t->ready_fd, "", 1) == 1) {
        close(t->ready_fd);
    }
    t->ready_fd = -1;
}

static bool connect_device(Tool *t, GError **err)
{
    NbdKernelState state = NBD_KERNEL_CONNECTING;

    t->device = nbd_kernel_connect(t->server, t->vm->loop, t->o.connect, t->o.export ? t->o.export : "", err);
    if (!t->device) {
        return false;
    }
    while (!t->over && (state = nbd_kernel_state(t->device)) == NBD_KERNEL_CONNECTING) {
        loop_run_once(t->vm->loop, -1);
    }
    if (state == NBD_KERNEL_GONE && nbd_kernel_error(t->device, err)) {
        return false;
    }
    return state == NBD_KERNEL_CONNECTED ||
           error_set(err, "%s was disconnected before it was ready", t->o.connect);
}

static bool get_ready(Tool *t, const char *image, GError **err)
{
    if (t->o.connect) {
        if (!connect_device(t, err)) {
            return false;
        }
        if (t->o.verbose) {
            fprintf(stderr, "NBD device %s is now connected to %s\n", t->o.connect, image);
        }
    }
    return !t->o.pid_file || pidfile_create("--pid-file", t->o.pid_file, err); /* it stays, as qemu-nbd's does */
}

static bool run(Tool *t, const char *image, GError **err)
{
    sigset_t signals;
    LoopFd *source;
    bool ok;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    t->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    source = loop_fd_add(t->vm->loop, t->signal_fd, EPOLLIN, on_signal, t);
    ok = get_ready(t, image, err);
    if (ok) {
        tell_parent(t);
    }
    while (ok && !t->over && !(t->device && nbd_kernel_state(t->device) == NBD_KERNEL_GONE)) {
        loop_run_once(t->vm->loop, -1);
    }
    nbd_kernel_cut(t->device);
    loop_fd_remove(source);
    close(t->signal_fd);
    return ok && !(t->device && nbd_kernel_error(t->device, err));
}

static void block_signals(void)
{
    sigset_t signals;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* writes fail with EFBIG */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
}

static int serve(Tool *t, const char *name, unsigned passed)
{
    GError *err = NULL;
    bool ok = open_image(t, name, &err) && make_server(t, passed, &err) && run(t, name, &err);

    nbd_server_free(t->server);
    block_node_unref(t->node);
    img_close(&t->image);
    nbd_kernel_free(t->device);
    return ok ? 0 : img_fail(err);
}

/* ---- options ---------------------------------------------------------------------------------------- */

static int refuse(const char *what, const char *value)
{
    report_error("%s'%s'", what, value);
    return 1;
}

static int check_modes(const Options *o)
{
    static const char *const discards[] = {"ignore", "off", "unmap", "on", NULL};
    static const char *const engines[] = {"threads", "native", "io_uring", NULL};

    if (o->cache && !img_cache_options(NULL, o->cache, &(bool){false}, NULL)) {
        return refuse("Invalid cache mode ", o->cache);
    }
    if (o->aio && !g_strv_contains(engines, o->aio)) {
        return refuse("Invalid aio mode ", o->aio);
    }
    if (o->discard && !g_strv_contains(discards, o->discard)) {
        return refuse("Invalid discard mode ", o->discard);
    }
    if (o->snapshot && o->bitmaps) {
        return refuse("dirty bitmaps are about the image's present content, not about --load-snapshot=", o->snapshot);
    }
    return o->label ? refuse("there is no support for SELinux in this build: --selinux-label=", o->label) : 0;
}

/* What -L is told that is about an image of ours. */
static bool about_an_image(const Options *o)
{
    return o->export || o->description || o->offset || o->connect || o->disconnect || o->format || o->snapshot ||
           o->bitmaps || o->depth || o->aio || o->discard || o->cache || o->no_cache;
}

static const char *find_conflict(const Options *o, int words, unsigned passed)
{
    if (o->list) {
        return words               ? "List mode is incompatible with a file name"
               : about_an_image(o) ? "List mode is incompatible with per-device settings"
               : o->fork           ? "List mode is incompatible with forking"
               : passed            ? "List mode is incompatible with socket activation"
               : o->authz          ? "TLS authorization is incompatible with export list: leave --tls-authz out"
               : o->hostname && !o->creds ? "--tls-hostname is not permitted without --tls-creds"
                                   : NULL;
    }
    if (o->hostname) {
        return "TLS hostname is only supported with export list (--list): leave --tls-hostname out";
    }
    if (passed && !o->disconnect) {
        return o->connect  ? "NBD device can't be set when using socket activation: leave --connect out"
               : o->socket ? "Unix socket can't be set when using socket activation: leave --socket out"
               : o->bind   ? "The interface can't be set when using socket activation: leave --bind out"
               : o->port   ? "TCP port number can't be set when using socket activation: leave --port out"
                           : NULL;
    }
    return o->connect && o->creds ? "TLS is not supported with a host device: leave --tls-creds or --connect out" : NULL;
}

static int check_conflicts(const Options *o, int words, unsigned passed)
{
    const char *conflict = find_conflict(o, words, passed);

    if (conflict) {
        report_error("%s", conflict);
        return 1;
    }
    if (!o->list && words != 1) {
        return img_usage_error("Invalid number of arguments");
    }
    if (!o->disconnect && (o->socket || o->connect) && (o->port || o->bind)) {
        report_warning("%s: TCP is not used, so --port and --bind have no effect", o->socket ? "--socket" : "--connect");
    }
    return 0;
}

static bool parse(Tool *t, int argc, char **argv, int *first)
{
    Options *o = &t->o;
    const ImgOption options[] = {
        {'p', "port", IMG_TEXT, &o->port},
        {'b', "bind", IMG_TEXT, &o->bind},
        {'k', "socket", IMG_TEXT, &o->socket},
        {'o', "offset", IMG_TEXT, &o->offset},
        {'r', "read-only", IMG_FLAG, &o->read_only},
        {'c', "connect", IMG_TEXT, &o->connect},
        {'B', "bitmap", IMG_LIST, &o->bitmaps},
        {'d', "disconnect", IMG_FLAG, &o->disconnect},
        {'s', "snapshot", IMG_FLAG, &o->overlay},
        {'l', "load-snapshot", IMG_TEXT, &o->snapshot},
        {'n', "nocache", IMG_FLAG, &o->no_cache},
        {0, "cache", IMG_TEXT, &o->cache},
        {0, "aio", IMG_TEXT, &o->aio},
        {0, "discard", IMG_TEXT, &o->discard},
        {0, "detect-zeroes", IMG_TEXT, &o->detect_zeroes},
        {'e', "shared", IMG_TEXT, &o->shared},
        {'f', "format", IMG_TEXT, &o->format},
        {'t', "persistent", IMG_FLAG, &o->persistent},
        {'v', "verbose", IMG_FLAG, &o->verbose},
        {'x', "export-name", IMG_TEXT, &o->export},
        {'D', "description", IMG_TEXT, &o->description},
        {'A', "allocation-depth", IMG_FLAG, &o->depth},
        {0, "tls-creds", IMG_TEXT, &o->creds},
        {0, "tls-hostname", IMG_TEXT, &o->hostname},
        {0, "tls-authz", IMG_TEXT, &o->authz},
        {0, "image-opts", IMG_FLAG, &o->image_opts},
        {0, "fork", IMG_FLAG, &o->fork},
        {0, "pid-file", IMG_TEXT, &o->pid_file},
        {0, "selinux-label", IMG_TEXT, &o->label},
        {'L', "list", IMG_FLAG, &o->list},
        {'T', "trace", IMG_TEXT, &o->trace},
        {'V', "version", IMG_FLAG, &o->version},
        {0, NULL, IMG_FLAG, NULL},
    };

    return img_parse(t->vm, argc, argv, options, first);
}

static int run_tool(Tool *t, int argc, char **argv, unsigned passed)
{
    GError *err = NULL;
    Options *o = &t->o;
    int first, status;

    if (!parse(t, argc, argv, &first)) {
        return 1;
    }
    status = img_trace(o->trace);
    if (status >= 0) {
        return status;
    }
    o->read_only |= o->snapshot != NULL;
    if (o->version) {
        printf("kiln-nbd version %s (does what qemu-nbd 7.2 does)\n", KILN_VERSION);
        return 0;
    }
    if (check_conflicts(o, argc - first, passed)) {
        return 1;
    }
    if (o->list) {
        return list_exports(t, &err) ? 0 : img_fail(err);
    }
    if (o->disconnect) {
        return nbd_kernel_clear(argv[first], &err) ? 0 : img_fail(err);
    }
    return check_modes(o) ? 1 : serve(t, argv[first], passed);
}

/* Reads the options without doing anything; they are read again. */
static bool wants_fork(int argc, char **argv, bool *fork)
{
    Tool t = {.vm = NULL};
    Options *o = &t.o;
    int first;
    bool ok = parse(&t, argc, argv, &first);

    *fork = (o->fork || (o->connect && !o->verbose)) && !o->list && !o->disconnect && !o->version;
    if (o->bitmaps) {
        g_ptr_array_free(o->bitmaps, TRUE);
    }
    return ok;
}

int main(int argc, char **argv)
{
    Tool t = {.ready_fd = -1};
    unsigned passed;
    GError *err = NULL;
    bool fork = false;
    int status;

    log_set_program("kiln-nbd");
    img_program_name = "kiln-nbd";
    block_signals();
    if (!take_passed_sockets(&passed, &err)) {
        return img_fail(err);
    }
    /* Before there are threads. */
    if (!wants_fork(argc, argv, &fork)) {
        return 1;
    }
    if (fork && !go_to_background(&t, &status)) {
        return status;
    }
    t.vm = img_vm_new(&err);
    if (!t.vm) {
        return img_fail(err);
    }
    status = run_tool(&t, argc, argv, passed);
    blk_cleanup(t.vm);
    vm_free(t.vm);
    if (t.o.bitmaps) {
        g_ptr_array_free(t.o.bitmaps, TRUE);
    }
    return status;
}
