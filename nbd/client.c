/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbd: an export of an NBD server as a block node. Options as QEMU 7.2's: server.*, export, tls-creds,
 * tls-hostname, x-dirty-bitmap, reconnect-delay, open-timeout; or one name, as block_nbd_parse_name
 * takes it apart.
 *
 * Not done: names that a manager gave to descriptors with getfd; growing exports.
 */
#include <unistd.h>

#include "core/vm.h"
#include "nbd/client.h"

/* ---- options ------------------------------------------------------------------------------------ */

/* "filename", or the host, port and path of old command lines, become server.*. */
static bool complete_server(BlockOpts *opts, GError **err)
{
    g_autofree char *name = block_opts_take(opts, "filename"), *host = block_opts_take(opts, "host"),
                    *port = block_opts_take(opts, "port"), *path = block_opts_take(opts, "path");

    if ((name || host || path) && block_opts_has_prefix(opts, "server")) {
        return error_set(err, "Cannot use 'server' and path/host/port/filename at the same time");
    }
    if (path && (host || port)) {
        return error_set(err, "path and host may not be used at the same time");
    }
    if (port && !host) {
        return error_set(err, "port may not be used without host");
    }
    if (name) {
        return block_nbd_parse_name(opts, "", name, err);
    }
    if (path) {
        block_opts_set(opts, "server.type", "unix");
        block_opts_set(opts, "server.path", path);
    } else if (host) {
        block_opts_set(opts, "server.type", "inet");
        block_opts_set(opts, "server.host", host);
        block_opts_set(opts, "server.port", port ? port : NBD_PORT);
    }
    return block_opts_has_prefix(opts, "server") ||
           error_set(err, "NBD server address missing: give server.type=unix,server.path=..., or host=...");
}

static bool take_server(NbdClient *c, BlockOpts *opts, GError **err)
{
    BlockOpts *server;
    const char *left;
    bool ok;

    if (!complete_server(opts, err)) {
        return false;
    }
    server = block_opts_take_prefix(opts, "server");
    ok = nbd_address_take(&c->setup.address, server, err);
    left = ok ? block_opts_left(server) : NULL;
    if (left) {
        ok = error_set(err, "Parameter 'server.%s' is unexpected", left);
    }
    block_opts_free(server);
    return ok;
}

static bool take_seconds(BlockOpts *opts, const char *key, uint32_t *value, GError **err)
{
    uint64_t seconds = 0;

    if (!block_opts_take_size(opts, key, &seconds, NULL, err)) {
        return false;
    }
    *value = (uint32_t)seconds;
    return seconds <= UINT32_MAX || error_set(err, "%s is at most %u seconds", key, UINT32_MAX);
}

static bool take_tls(NbdClient *c, BlockOpts *opts, GError **err)
{
    g_autofree char *id = block_opts_take(opts, "tls-creds");
    Object *creds;

    c->setup.hostname = block_opts_take(opts, "tls-hostname");
    if (!id) {
        return !c->setup.hostname || error_set(err, "tls-hostname needs tls-creds");
    }
    creds = tls_creds_find(c->node->vm, id, false, err);
    c->setup.creds = creds ? object_ref(creds) : NULL;
    return creds != NULL;
}

static bool take_options(NbdClient *c, BlockOpts *opts, uint32_t *open_timeout, GError **err)
{
    g_autofree char *bitmap = block_opts_take(opts, "x-dirty-bitmap");

    if (!take_server(c, opts, err) || !take_tls(c, opts, err) ||
        !take_seconds(opts, "reconnect-delay", &c->reconnect_delay, err) ||
        !take_seconds(opts, "open-timeout", open_timeout, err)) {
        return false;
    }
    c->setup.export = block_opts_take(opts, "export");
    if (!c->setup.export) {
        c->setup.export = g_strdup("");
    }
    if (strlen(c->setup.export) > NBD_MAX_NAME || (bitmap && strlen(bitmap) > NBD_MAX_NAME)) {
        return error_set(err, "%s name too long to send to server", bitmap ? "x-dirty-bitmap" : "export");
    }
    c->setup.context_required = bitmap != NULL;
    c->setup.context = bitmap ? g_steal_pointer(&bitmap) : g_strdup("base:allocation");
    return true;
}

/* ---- opening ------------------------------------------------------------------------------------- */

static char *filename_of(const NbdSetup *s)
{
    g_autofree char *name = g_uri_escape_string(s->export, "/", TRUE);
    const NbdAddress *a = &s->address;
    bool named = *s->export;

    switch (a->type) {
    case NBD_UNIX:
        return a->abstract ? NULL
                           : g_strdup_printf(named ? "nbd+unix:///%2$s?socket=%1$s" : "nbd+unix://?socket=%s",
                                             a->path, name);
    case NBD_INET:
        return g_strdup_printf(strchr(a->host, ':') ? "nbd://[%s]:%s%s%s" : "nbd://%s:%s%s%s", a->host,
                               a->port, named ? "/" : "", name);
    default:
        return NULL;
    }
}

static bool accept_export(NbdClient *c, GError **err)
{
    BlockNode *node = c->node;

    if (c->info.flags & NBD_FLAG_READ_ONLY && !node->read_only) {
        if (!node->auto_read_only) {
            return error_set(err, "request on write denied without write permission: the export is "
                                  "read-only; say read-only=on");
        }
        node->read_only = true;
    }
    node->size = c->info.size;
    node->filename = filename_of(&c->setup);
    return true;
}

static void client_free(NbdClient *c)
{
    nbd_client_detach(c);
    nbd_conn_free(c->conn);
    c->conn = NULL;
    nbd_client_ahead_free(c);
    if (c->word_fd >= 0) {
        close(c->word_fd);
    }
    nbd_setup_clear(&c->setup);
    nbd_info_clear(&c->info);
    g_free(c->where);
    g_free(c->in);
    if (c->payload) {
        g_byte_array_unref(c->payload);
    }
    for (unsigned i = 0; i < NBD_SLOTS; i++) {
        if (c->slots[i].received) {
            g_array_unref(c->slots[i].received);
        }
    }
}

static bool nbd_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    NbdClient *c = node->state;
    uint32_t open_timeout = 0;

    c->node = node;
    c->word_fd = -1;
    c->waiting_tail = &c->waiting;
    c->serial_tail = &c->serial_queue;
    if (!take_options(c, opts, &open_timeout, err)) {
        client_free(c);
        return false;
    }
    c->where = nbd_address_text(&c->setup.address);
    if (!nbd_client_connect_first(c, open_timeout, err) || !accept_export(c, err) || !nbd_client_begin(c, err)) {
        client_free(c);
        return false;
    }
    c->in = g_malloc(NBD_INPUT);
    c->payload = g_byte_array_new();
    return true;
}

static void nbd_close(BlockNode *node)
{
    static const NbdRequest bye = {.type = NBD_CMD_DISC};
    NbdClient *c = node->state;
    uint8_t header[NBD_REQUEST_LEN];
    struct iovec iov = {header, sizeof header};

    if (c->conn) {
        nbd_put_request(header, &bye);
        nbd_conn_writev(c->conn, &iov, 1); /* a courtesy: nothing waits for it */
    }
    nbd_client_stop_connecting(c);
    if (nbd_client_ahead_pending(c)) {
        nbd_client_end_requests(c);
    }
    client_free(c);
}

/* ---- the node --------------------------------------------------------------------------------------- */

static void nbd_refresh_limits(BlockNode *node)
{
    const NbdClient *c = node->state;

    node->limits.request_align = MAX(c->info.min_block, 1);
    node->limits.zero_align = c->info.best_block;
}

static bool nbd_drain_busy(BlockNode *node)
{
    const NbdClient *c = node->state;

    return c->jobs || c->in_flight + c->n_waiting > nbd_client_ahead_pending(c);
}

static void nbd_detach_loop(BlockNode *node)
{
    NbdClient *c = node->state;

    nbd_client_ahead_leave(c);
    nbd_client_detach(c);
}

static void nbd_attach_loop(BlockNode *node) { nbd_client_attach(node->state); }

static bool nbd_set_perm(BlockNode *node, uint32_t used, uint32_t unshared, GError **err)
{
    const NbdClient *c = node->state;

    if (used & BLOCK_PERM_WRITE && c->info.flags & NBD_FLAG_READ_ONLY) {
        return error_set(err, "NBD server %s: the export is read-only", c->where);
    }
    return true;
}

static bool nbd_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc, GError **err)
{
    if (size > node->size) {
        return error_set(err, "Cannot grow NBD nodes");
    }
    return !exact || size == node->size || error_set(err, "Cannot resize NBD nodes");
}

static int64_t nbd_allocated_size(BlockNode *node) { return -1; }

const BlockDriver block_driver_nbd = {
    .name = "nbd",
    .state_size = sizeof(NbdClient),
    .open = nbd_open,
    .close = nbd_close,
    .submit = nbd_client_submit,
    .set_perm = nbd_set_perm,
    .refresh_limits = nbd_refresh_limits,
    .drain_busy = nbd_drain_busy,
    .yank = nbd_client_yank,
    .vm_ends = nbd_client_vm_ends,
    .cut_off = nbd_client_cut_off,
    .detach_loop = nbd_detach_loop,
    .attach_loop = nbd_attach_loop,
    .truncate = nbd_truncate,
    .allocated_size = nbd_allocated_size,
};
