/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's sockets: listening, accepting, disconnecting, bytes in and out. Peers are not trusted:
 * there is a limit to their number, to the time that a handshake takes, to the requests of each that are
 * under way and to what is kept for one that does not read.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/authz.h"
#include "core/vm.h"
#include "nbd/server_int.h"
#include "util/log.h"
#include "util/trace.h"

#define HANDSHAKE_NS (10 * NSEC_PER_SEC)
/* A peer that goes on with it is given more time, this often: not it may be slow, but this process. */
#define EXTENSION_NS NSEC_PER_SEC
#define EXTENSIONS_MAX 20
#define RETRY_NS NSEC_PER_SEC
#define MAX_IOV 64
#define DEFAULT_PEERS 100

/* Who comes while there are enough, or while there is no descriptor for another, waits in the kernel's queue. */
static void update_listeners(NbdServer *server)
{
    bool full = server->starved || server->peers->len >= server->max_peers;

    for (unsigned i = 0; i < server->n_listeners; i++) {
        loop_fd_set_events(server->listeners[i].source, full ? 0 : EPOLLIN);
    }
}

static void tell_peers(NbdServer *server)
{
    if (server->peers_changed) {
        server->peers_changed(server->opaque, server->peers->len, server->served);
    }
}

/* ---- peers go -------------------------------------------------------------------------------- */

static void out_free(NbdOut *out)
{
    g_free(out->body);
    g_free(out);
}

static void peer_free(NbdPeer *peer)
{
    NbdOut *out;

    while ((out = g_queue_pop_head(&peer->out)) != NULL) {
        out_free(out);
    }
    if (peer->writing) {
        nbd_served_free(peer->writing);
    }
    nbd_export_unref(peer->export);
    g_byte_array_unref(peer->data);
    g_free(peer->in);
    g_free(peer);
}

/* Its requests that are under way end later and free it then. */
static void peer_disconnect(NbdPeer *peer)
{
    NbdServer *server = peer->server;

    if (!server) {
        return;
    }
    if (server->verbose && peer->why) {
        report_info("a client is disconnected: %s", peer->why);
    }
    trace(nbd_peer_gone, "%s", peer->why ? peer->why : "");
    loop_fd_remove(peer->source);
    loop_timer_free(peer->timer);
    nbd_conn_free(peer->conn);
    peer->source = NULL;
    peer->timer = NULL;
    peer->conn = NULL;
    peer->server = NULL;
    g_ptr_array_remove(server->peers, peer);
    if (!peer->requests) {
        peer_free(peer);
    }
    server->starved = false;
    update_listeners(server);
    tell_peers(server);
}

void nbd_peer_fail(NbdPeer *peer, const char *why)
{
    if (!peer->why) {
        peer->why = why;
    }
}

/* ---- sending ------------------------------------------------------------------------------------ */

void nbd_peer_send(NbdPeer *peer, NbdOut *out)
{
    g_queue_push_tail(&peer->out, out);
}

static unsigned out_gather(NbdPeer *peer, struct iovec *iov)
{
    size_t skip = peer->out_done;
    unsigned n = 0;

    for (GList *l = peer->out.head; l && n + 2 <= MAX_IOV; l = l->next) {
        NbdOut *out = l->data;

        if (skip < out->head_len) {
            iov[n++] = (struct iovec){out->head + skip, out->head_len - skip};
            skip = out->head_len;
        }
        if (out->body_len && skip - out->head_len < out->body_len) {
            iov[n++] = (struct iovec){out->body + (skip - out->head_len),
                                      out->body_len - (skip - out->head_len)};
        }
        skip = 0;
    }
    return n;
}

static void out_advance(NbdPeer *peer, size_t sent)
{
    NbdOut *out;

    peer->out_done += sent;
    while ((out = g_queue_peek_head(&peer->out)) && peer->out_done >= out->head_len + out->body_len) {
        peer->out_done -= out->head_len + out->body_len;
        peer->active -= out->ends_request;
        out_free(g_queue_pop_head(&peer->out));
    }
}

/* Also for one that is about to be disconnected: what it was told before is told. */
static void peer_transmit(NbdPeer *peer)
{
    while (peer->out.head) {
        struct iovec iov[MAX_IOV];
        ssize_t ret = nbd_conn_writev(peer->conn, iov, out_gather(peer, iov));

        if (ret == -EAGAIN) {
            return;
        }
        if (ret < 0) {
            nbd_peer_fail(peer, g_strerror((int)-ret));
            return;
        }
        out_advance(peer, (size_t)ret);
    }
}

/* ---- receiving ------------------------------------------------------------------------------------ */

/* May something be read now? */
static bool wants_input(const NbdPeer *peer)
{
    switch (peer->state) {
    case NBD_PEER_TLS_ACK:
    case NBD_PEER_TLS:
    case NBD_PEER_LEAVING:
        return false;
    case NBD_PEER_REQUEST:
        return peer->active < NBD_MAX_ACTIVE;
    case NBD_PEER_DATA:
        return true;
    default:
        return peer->out.length <= NBD_MAX_OUT + peer->server->exports->len;
    }
}

static void take_option(NbdPeer *peer, const uint8_t *p)
{
    if (!nbd_get_option(p, &peer->option)) {
        nbd_peer_fail(peer, "it does not speak the protocol");
    } else if (peer->option.len > NBD_MAX_DATA) {
        nbd_peer_fail(peer, "an option is too long");
    } else {
        peer->left = peer->option.len;
        g_byte_array_set_size(peer->data, 0);
        peer->state = peer->left > NBD_MAX_OPTION ? NBD_PEER_OPTION_SKIP : NBD_PEER_OPTION_DATA;
    }
}

static void take_option_data(NbdPeer *peer, size_t n)
{
    if (peer->state == NBD_PEER_OPTION_DATA) {
        g_byte_array_append(peer->data, peer->in + peer->in_pos, (guint)n);
    }
    peer->in_pos += n;
    peer->left -= n;
    if (peer->left) {
        return;
    }
    if (peer->state == NBD_PEER_OPTION_SKIP) {
        nbd_option_reply(peer, NBD_REP_ERR_TOO_BIG, NULL, 0);
        peer->state = NBD_PEER_OPTION;
    } else {
        nbd_peer_option(peer);
    }
}

static void take_write_data(NbdPeer *peer, size_t n)
{
    NbdServed *served = peer->writing;

    if (n && !served->discard_data) {
        memcpy(served->data + (served->request.len - peer->left), peer->in + peer->in_pos, n);
    }
    peer->in_pos += n;
    peer->left -= n;
    if (!peer->left) {
        peer->state = NBD_PEER_REQUEST;
        nbd_peer_write_data(peer);
    }
}

static void take_request(NbdPeer *peer, const uint8_t *p)
{
    NbdRequest request;

    if (nbd_get_request(p, &request)) {
        nbd_peer_request(peer, &request);
    } else {
        nbd_peer_fail(peer, "it sent something that is no request");
    }
}

/* True: something happened. */
static bool peer_step(NbdPeer *peer)
{
    const uint8_t *p = peer->in + peer->in_pos;
    size_t have = peer->in_len - peer->in_pos, n = (size_t)MIN(have, peer->left);

    if (peer->why || !wants_input(peer)) {
        return false;
    }
    switch (peer->state) {
    case NBD_PEER_FLAGS:
        if (have < 4) {
            return false;
        }
        peer->in_pos += 4;
        nbd_peer_flags(peer, load32_be(p));
        return true;
    case NBD_PEER_OPTION:
        if (have < NBD_OPTION_LEN) {
            return false;
        }
        peer->in_pos += NBD_OPTION_LEN;
        take_option(peer, p);
        return true;
    case NBD_PEER_OPTION_DATA:
    case NBD_PEER_OPTION_SKIP:
        if (!n && peer->left) {
            return false;
        }
        take_option_data(peer, n);
        return true;
    case NBD_PEER_REQUEST:
        if (have < NBD_REQUEST_LEN) {
            return false;
        }
        peer->in_pos += NBD_REQUEST_LEN;
        take_request(peer, p);
        return true;
    case NBD_PEER_DATA:
        if (!n && peer->left) {
            return false;
        }
        take_write_data(peer, n);
        return true;
    default:
        return false;
    }
}

/* One read; the data of a write go straight to where they belong. */
static ssize_t peer_fill(NbdPeer *peer)
{
    struct iovec iov[2];
    unsigned n = 0;
    size_t direct = 0;
    ssize_t ret;

    memmove(peer->in, peer->in + peer->in_pos, peer->in_len - peer->in_pos);
    peer->in_len -= peer->in_pos;
    peer->in_pos = 0;
    if (peer->state == NBD_PEER_DATA && !peer->in_len && !peer->writing->discard_data) {
        direct = (size_t)peer->left;
        iov[n++] = (struct iovec){peer->writing->data + (peer->writing->request.len - direct), direct};
    }
    iov[n++] = (struct iovec){peer->in + peer->in_len, NBD_PEER_INPUT - peer->in_len};
    ret = nbd_conn_readv(peer->conn, iov, n);
    if (ret > 0) {
        size_t placed = MIN((size_t)ret, direct);

        peer->left -= placed;
        peer->in_len += (size_t)ret - placed;
    }
    return ret;
}

static void peer_receive(NbdPeer *peer)
{
    for (unsigned budget = 64; budget && !peer->why; budget--) {
        ssize_t ret;

        while (peer_step(peer)) {
        }
        if (peer->why || !wants_input(peer)) {
            return;
        }
        ret = peer_fill(peer);
        if (ret == -EAGAIN) {
            return;
        }
        if (!ret && peer->state == NBD_PEER_REQUEST && peer->in_len == 0) {
            peer->state = NBD_PEER_LEAVING; /* it sends no more, but may wait for answers */
            return;
        }
        if (ret <= 0) {
            nbd_peer_fail(peer, ret ? g_strerror((int)-ret) : "it closed the connection");
            return;
        }
    }
}

/* ---- TLS ------------------------------------------------------------------------------------------- */

static bool is_authorized(NbdPeer *peer)
{
    const NbdServer *server = peer->server;
    g_autoptr(GError) why = NULL;
    g_autofree char *identity = NULL;
    bool ok = tls_session_check_peer(peer->conn->tls, &identity, &why);

    if (ok && server->authz) {
        ok = identity && authz_is_allowed(server->vm, server->authz, identity, &why);
    }
    if (!ok && server->verbose) {
        report_info("TLS client '%s' refused: %s", identity ? identity : "",
                    why ? why->message : "it is not authorized");
    }
    return ok;
}

static void peer_handshake(NbdPeer *peer)
{
    g_autoptr(GError) why = NULL;
    int ret = tls_session_handshake(peer->conn->tls, &why);

    if (ret < 0) {
        if (peer->server->verbose) {
            report_info("%s", why->message);
        }
        nbd_peer_fail(peer, "the TLS handshake failed");
    } else if (ret > 0) {
        if (is_authorized(peer)) {
            peer->state = NBD_PEER_OPTION;
        } else {
            nbd_peer_fail(peer, "it is not authorized");
        }
    }
}

static void peer_start_tls(NbdPeer *peer)
{
    if (peer->in_pos != peer->in_len) {
        /* Somebody put plain text before the handshake. */
        nbd_peer_fail(peer, "it sent something before TLS began");
        return;
    }
    peer->conn->tls = tls_session_new(peer->server->creds, peer->conn->fd, NULL, NULL);
    if (peer->conn->tls) {
        peer->state = NBD_PEER_TLS;
    } else {
        nbd_peer_fail(peer, "TLS cannot be started");
    }
}

/* ---- events ------------------------------------------------------------------------------------------ */

static void peer_update_events(NbdPeer *peer)
{
    bool tls_write = peer->conn->tls && tls_session_wants_write(peer->conn->tls);
    bool write = peer->state == NBD_PEER_TLS ? tls_write : peer->out.head != NULL;
    bool read = peer->state == NBD_PEER_TLS ? !tls_write : wants_input(peer);

    loop_fd_set_events(peer->source, (read ? EPOLLIN : 0) | (write ? EPOLLOUT : 0));
}

/* Does all that can be done now. Afterwards the peer may be gone. */
static void peer_run(NbdPeer *peer)
{
    bool again;

    do {
        NbdPeerState before = peer->state;
        unsigned active = peer->active;

        if (peer->state == NBD_PEER_TLS) {
            peer_handshake(peer);
        } else {
            peer_receive(peer);
            peer_transmit(peer);
        }
        if (!peer->why && peer->state == NBD_PEER_TLS_ACK && !peer->out.head) {
            peer_start_tls(peer);
        }
        if (!peer->why && peer->state == NBD_PEER_LEAVING && !peer->out.head && !peer->active) {
            peer->why = "";
        }
        again = !peer->why && (peer->state != before || (active >= NBD_MAX_ACTIVE && wants_input(peer)) ||
                               (wants_input(peer) && nbd_conn_pending(peer->conn)));
    } while (again);
    if (peer->why) {
        peer->why = *peer->why ? peer->why : NULL;
        peer_disconnect(peer);
    } else {
        peer_update_events(peer);
    }
}

static void on_peer(void *opaque, uint32_t events)
{
    NbdPeer *peer = opaque;

    peer->heard |= !!(events & EPOLLIN);
    if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN) && !wants_input(peer)) {
        nbd_peer_fail(peer, "the connection broke");
    }
    peer_run(peer);
}

static void on_deadline(void *opaque)
{
    NbdPeer *peer = opaque;

    if (peer->heard && peer->extensions++ < EXTENSIONS_MAX) {
        peer->heard = false;
        loop_timer_arm(peer->timer, clock_monotonic_ns() + EXTENSION_NS);
        return;
    }
    nbd_peer_fail(peer, "its handshake took too long");
    peer_disconnect(peer);
}

/* ---- requests in the owner's loop ---------------------------------------------------------------------- */

void nbd_served_free(NbdServed *served)
{
    g_free(served->data);
    for (unsigned i = 0; i < G_N_ELEMENTS(served->extents); i++) {
        if (served->extents[i]) {
            g_byte_array_unref(served->extents[i]);
        }
    }
    g_free(served);
}

/* In the main loop. */
static void served_ended(NbdServed *served)
{
    NbdPeer *peer = served->peer;

    peer->requests--;
    if (!peer->server) {
        nbd_served_free(served);
        if (!peer->requests) {
            peer_free(peer);
        }
        return;
    }
    served->next(served);
    peer_run(peer);
}

static void on_finished(void *opaque, uint32_t events)
{
    NbdServer *server = opaque;
    NbdServed *served;
    eventfd_t n;

    eventfd_read(server->finished_fd, &n);
    while ((served = g_async_queue_try_pop(server->finished)) != NULL) {
        served_ended(served);
    }
}

static void io_ended(void *opaque, int result)
{
    NbdServed *served = opaque;
    NbdServer *server = served->server;

    served->result = result;
    if (vm_locked(server->vm)) {
        served_ended(served);
    } else {
        g_async_queue_push(server->finished, served);
        eventfd_write(server->finished_fd, 1);
    }
}

/* The node may have moved to another loop since this was posted. */
static void submit_in_owner(void *opaque)
{
    NbdServed *served = opaque;
    Loop *loop = blk_loop(served->blk);

    if (loop == served->server->vm->loop ? vm_locked(served->server->vm) : loop_is_current(loop)) {
        if (served->io.op == BLOCK_STATUS) {
            blk_status_above(served->blk, served->io.offset, served->io.len, &served->status,
                             &served->depth, io_ended, served);
        } else {
            blk_submit(served->blk, &served->io, io_ended, served);
        }
    } else {
        loop_post(loop, submit_in_owner, served);
    }
}

void nbd_served_submit(NbdServed *served)
{
    served->peer->requests++;
    submit_in_owner(served);
}

/* ---- peers come ------------------------------------------------------------------------------------------ */

void nbd_server_add_peer(NbdServer *server, int fd)
{
    NbdPeer *peer = g_new0(NbdPeer, 1);

    peer->server = server;
    peer->conn = nbd_conn_new(fd);
    peer->in = g_malloc(NBD_PEER_INPUT);
    peer->data = g_byte_array_new();
    g_queue_init(&peer->out);
    peer->source = loop_fd_add(server->vm->loop, fd, EPOLLIN, on_peer, peer);
    peer->timer = loop_timer_new(server->vm->loop, on_deadline, peer);
    loop_timer_arm(peer->timer, clock_monotonic_ns() + HANDSHAKE_NS);
    g_ptr_array_add(server->peers, peer);
    trace(nbd_peer_come, "%u", server->peers->len);
    update_listeners(server);
    tell_peers(server);
    nbd_peer_greet(peer);
    peer_run(peer);
}

static void on_retry(void *opaque)
{
    NbdServer *server = opaque;

    server->starved = false;
    update_listeners(server);
}

/* The client stays in the kernel's queue, so the listener stays ready: asking again at once would be a busy loop. */
static void accept_failed(NbdServer *server, int error)
{
    if (error != EMFILE && error != ENFILE && error != ENOBUFS && error != ENOMEM) {
        return; /* it has gone again */
    }
    if (!server->starved_told) {
        report_warning("an NBD client waits, with %u connected: %s; see ulimit -n", server->peers->len, g_strerror(error));
    }
    server->starved = server->starved_told = true;
    update_listeners(server);
    loop_timer_arm(server->retry, clock_monotonic_ns() + RETRY_NS);
}

static void on_listener(void *opaque, uint32_t events)
{
    NbdServer *server = opaque;

    for (unsigned i = 0; i < server->n_listeners; i++) {
        int on = 1, fd;

        if (server->starved || server->peers->len >= server->max_peers) {
            return;
        }
        fd = accept4(server->listeners[i].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* unix: refused, no matter */
            nbd_server_add_peer(server, fd);
        } else {
            accept_failed(server, errno);
        }
    }
}

void nbd_server_listen_fd(NbdServer *server, int fd)
{
    unsigned i = server->n_listeners;

    g_assert(i < NBD_MAX_LISTENERS);
    nbd_set_nonblocking(fd);
    server->listeners[i].fd = fd;
    server->listeners[i].source = loop_fd_add(server->vm->loop, fd, EPOLLIN, on_listener, server);
    server->n_listeners++;
    update_listeners(server);
}

bool nbd_server_listen(NbdServer *server, NbdAddress *address, GError **err)
{
    int fds[NBD_MAX_LISTENERS];
    unsigned n, first = server->n_listeners;

    if (address->type == NBD_FD) {
        nbd_server_listen_fd(server, address->fd);
        return true;
    }
    if (!nbd_address_listen(address, fds, NBD_MAX_LISTENERS - first, &n, err)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        nbd_server_listen_fd(server, fds[i]);
    }
    if (address->type == NBD_UNIX && !address->abstract) {
        server->listeners[first].path = g_canonicalize_filename(address->path, NULL);
    }
    return true;
}

typedef struct NbdListening {
    NbdServer *server;
    NbdAddress address;
    NbdListenDone *done;
    void *opaque;
} NbdListening;

/* err: why it cannot listen, the callee's; NULL: it is tried. */
static void end_listening(void *opaque, const HostNames *names, GError *err)
{
    NbdListening *l = opaque;

    l->server->listening = NULL;
    if (!err) {
        nbd_address_known(&l->address, names);
        nbd_server_listen(l->server, &l->address, &err);
    }
    nbd_address_clear(&l->address);
    l->done(l->opaque, err);
    g_free(l);
}

void nbd_server_listen_later(NbdServer *server, NbdAddress address, NbdListenDone *done, void *opaque)
{
    NbdListening *l = g_new(NbdListening, 1);
    HostNames *names = host_names_new();

    *l = (NbdListening){server, address, done, opaque};
    if (address.type == NBD_INET) {
        host_names_add(names, address.host);
    }
    HostWait *wait = host_wait(server->vm->loop, names, NULL, end_listening, l);
    if (wait) {
        server->listening = wait; /* else it has ended, and the server may be gone */
    }
}

unsigned nbd_server_peers(const NbdServer *server) { return server->peers->len; }

/* ---- life --------------------------------------------------------------------------------------------------- */

NbdServer *nbd_server_new(Vm *vm, const NbdServerConfig *config)
{
    NbdServer *server = g_new0(NbdServer, 1);

    server->vm = vm;
    server->creds = config->creds ? object_ref(config->creds) : NULL;
    server->authz = g_strdup(config->authz);
    server->max_peers = config->max_peers ? config->max_peers : DEFAULT_PEERS;
    server->verbose = config->verbose;
    server->export_gone = config->export_gone;
    server->peers_changed = config->peers_changed;
    server->opaque = config->opaque;
    server->retry = loop_timer_new(vm->loop, on_retry, server);
    server->peers = g_ptr_array_new();
    server->exports = g_ptr_array_new();
    server->finished = g_async_queue_new();
    server->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->finished_source = loop_fd_add(vm->loop, server->finished_fd, EPOLLIN, on_finished, server);
    return server;
}

static void nothing(void *opaque) {}

/* Waits until no request of a disconnected peer is under way in this back end. */
static void settle(NbdServer *server, BlockBackend *blk)
{
    Loop *loop = blk_loop(blk);

    if (loop != server->vm->loop) {
        /* What was posted to it starts first. */
        block_loop_call(block_loop_get(server->vm, loop, NULL), nothing, NULL);
    }
    blk_drain(blk);
    on_finished(server, 0);
}

static void disconnect_users(NbdServer *server, const NbdExport *export)
{
    for (unsigned i = server->peers->len; i-- > 0;) {
        NbdPeer *peer = g_ptr_array_index(server->peers, i);

        if (peer->meta_export == export) {
            peer->meta_export = NULL;
            peer->contexts = 0;
        }
        if (!export || peer->export == export) {
            peer_disconnect(peer);
        }
    }
}

bool nbd_export_remove(NbdExport *export, bool hard, GError **err)
{
    NbdServer *server = export->server;

    if (!hard && export->refs > 1) {
        return error_set(err, "export '%s' still in use by %u client%s; mode=hard disconnects them", export->id,
                         export->refs - 1, export->refs > 2 ? "s" : "");
    }
    disconnect_users(server, export);
    settle(server, export->blk);
    g_ptr_array_remove(server->exports, export);
    export->server = NULL;
    if (server->export_gone) {
        server->export_gone(server->opaque, export->id);
    }
    nbd_export_unref(export);
    return true;
}

static void close_listeners(NbdServer *server)
{
    for (unsigned i = 0; i < server->n_listeners; i++) {
        loop_fd_remove(server->listeners[i].source);
        close(server->listeners[i].fd);
        if (server->listeners[i].path) {
            unlink(server->listeners[i].path);
            g_free(server->listeners[i].path);
        }
    }
    server->n_listeners = 0;
}

void nbd_server_free(NbdServer *server)
{
    if (!server) {
        return;
    }
    server->peers_changed = NULL;
    host_wait_cancel(server->listening, "the NBD server was stopped");
    close_listeners(server);
    disconnect_users(server, NULL);
    while (server->exports->len) {
        nbd_export_remove(g_ptr_array_index(server->exports, server->exports->len - 1), true, NULL);
    }
    loop_timer_free(server->retry);
    loop_fd_remove(server->finished_source);
    close(server->finished_fd);
    g_async_queue_unref(server->finished);
    g_ptr_array_free(server->peers, TRUE);
    g_ptr_array_free(server->exports, TRUE);
    if (server->creds) {
        object_unref(server->creds);
    }
    g_free(server->authz);
    g_free(server);
}
