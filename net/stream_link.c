/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets over a stream: each behind its length, four bytes big-endian. A length beyond
 * NET_MAX_PACKET cannot be passed over, so it ends the connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/sockets.h"
#include "util/log.h"
#include "util/trace.h"

#define HEADER 4
#define BUFFER_SIZE (2 * (HEADER + NET_MAX_PACKET))
#define MAX_LISTENERS 4
#define MAX_PARTS 512           /* of one gathered write */
#define BATCH 32

struct NetStream {
    Netdev *netdev;
    NetPort *port;
    NetStreamFn *changed;
    void *opaque;
    int fd;                     /* connection, or one being made; -1: none */
    LoopFd *source;
    bool connecting, reading;
    bool blocked;               /* the socket takes nothing now */
    SockAddr target;            /* connecting to */
    uint8_t *in;                /* [in_pos, in_end) is to be passed on */
    size_t in_pos, in_end;
    GByteArray *out;            /* the rest of a packet that did not go out whole */
    int listeners[MAX_LISTENERS];
    LoopFd *listen_sources[MAX_LISTENERS];
    unsigned n_listeners;
    char *made_path;            /* unix socket that we made; NULL: none */
};

static void update_events(NetStream *s)
{
    if (s->source) {
        bool write = s->connecting || s->blocked || s->out->len;

        loop_fd_set_events(s->source, (s->reading && !s->connecting ? EPOLLIN | EPOLLRDHUP : 0) |
                                          (write ? EPOLLOUT : 0));
    }
}

static void listen_for_next(NetStream *s, bool on)
{
    for (unsigned i = 0; i < s->n_listeners; i++) {
        loop_fd_set_events(s->listen_sources[i], on ? EPOLLIN : 0);
    }
}

static void drop_connection(NetStream *s)
{
    if (s->fd < 0) {
        return;
    }
    bool was = !s->connecting;
    loop_fd_remove(s->source);
    s->source = NULL;
    close(s->fd);
    s->fd = -1;
    s->connecting = s->blocked = false;
    s->in_pos = s->in_end = 0;
    g_byte_array_set_size(s->out, 0);
    listen_for_next(s, true);
    if (was) {
        s->changed(s->opaque, NULL);
    }
    net_port_ready(s->port); /* packets are lost now, not held back */
}

/* ---- in ---------------------------------------------------------------------------------- */

/* Packets in the buffer, at most BATCH. -1: what is there is no packet. */
static int cut_packets(NetStream *s, NetPacket *packets, struct iovec *iov)
{
    size_t at = s->in_pos;
    int n = 0;

    while (n < BATCH && s->in_end - at >= HEADER) {
        uint32_t len = load32_be(s->in + at);

        if (len > NET_MAX_PACKET) {
            return -1;
        }
        if (s->in_end - at - HEADER < len) {
            break;
        }
        iov[n] = (struct iovec){s->in + at + HEADER, len};
        packets[n] = (NetPacket){&iov[n], 1, len};
        n++;
        at += HEADER + len;
    }
    return n;
}

/* False: the port takes no more, or the connection has gone. */
static bool pass_on(NetStream *s)
{
    NetPacket packets[BATCH];
    struct iovec iov[BATCH];
    int n;

    while ((n = cut_packets(s, packets, iov)) > 0) {
        unsigned taken = net_send_now(s->port, packets, (unsigned)n);

        for (unsigned i = 0; i < taken; i++) {
            s->in_pos += HEADER + packets[i].size;
        }
        if (taken < (unsigned)n) {
            s->reading = false;
            return false;
        }
    }
    if (n < 0) {
        report_warning("netdev %s: a packet of more than %u bytes came; the connection is closed",
                       s->netdev->id, NET_MAX_PACKET);
        drop_connection(s);
        return false;
    }
    memmove(s->in, s->in + s->in_pos, s->in_end - s->in_pos);
    s->in_end -= s->in_pos;
    s->in_pos = 0;
    s->reading = net_can_send(s->port);
    return s->reading;
}

static void readable(NetStream *s)
{
    if (!pass_on(s)) {
        return;
    }
    ssize_t n = recv(s->fd, s->in + s->in_end, BUFFER_SIZE - s->in_end, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        drop_connection(s);
        return;
    }
    s->in_end += n > 0 ? (size_t)n : 0;
    pass_on(s);
}

static void stream_writable(void *opaque)
{
    NetStream *s = opaque;

    s->reading = true;
    if (s->fd >= 0 && !s->connecting) {
        pass_on(s);
    }
    update_events(s);
}

/* ---- out --------------------------------------------------------------------------------- */

static void write_rest(NetStream *s)
{
    if (!s->out->len) {
        net_port_ready(s->port);
        return;
    }
    ssize_t n = send(s->fd, s->out->data, s->out->len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        drop_connection(s);
    } else if (n > 0) {
        g_byte_array_remove_range(s->out, 0, (guint)n);
        if (!s->out->len) {
            net_port_ready(s->port);
        }
    }
}

/* How many packets begin below `sent`; what is left of the last of them is kept. */
static unsigned keep_rest(NetStream *s, const NetPacket *packets, unsigned n, size_t sent)
{
    unsigned i;

    for (i = 0; i < n && sent > 0; i++) {
        size_t whole = HEADER + packets[i].size;
        uint8_t header[HEADER];

        if (sent < whole) {
            size_t skip = sent > HEADER ? sent - HEADER : 0, left = packets[i].size - skip;

            store32_be(header, (uint32_t)packets[i].size);
            if (sent < HEADER) {
                g_byte_array_append(s->out, header + sent, (guint)(HEADER - sent));
            }
            guint at = s->out->len;
            g_byte_array_set_size(s->out, at + (guint)left);
            net_packet_copy(&packets[i], skip, s->out->data + at, left);
            sent = whole;
        }
        sent -= whole;
    }
    return i;
}

static unsigned stream_receive_many(void *opaque, const NetPacket *packets, unsigned n)
{
    NetStream *s = opaque;
    struct iovec iov[MAX_PARTS];
    uint8_t headers[NET_BATCH][HEADER];
    unsigned parts = 0, i;

    if (s->fd < 0 || s->connecting) {
        return n; /* lost */
    }
    if (s->out->len || s->blocked) {
        return 0;
    }
    for (i = 0; i < n && parts + 1 + packets[i].count <= MAX_PARTS; i++) {
        store32_be(headers[i], (uint32_t)packets[i].size);
        iov[parts++] = (struct iovec){headers[i], HEADER};
        memcpy(iov + parts, packets[i].iov, packets[i].count * sizeof *iov);
        parts += packets[i].count;
    }
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = parts};
    ssize_t sent = i ? sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (!i) {
        return 1; /* a packet of more parts than any card makes */
    }
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        drop_connection(s);
        return n;
    }
    if (sent <= 0) {
        s->blocked = true;
        update_events(s);
        return 0;
    }
    unsigned done = keep_rest(s, packets, i, (size_t)sent);
    update_events(s);
    return done;
}

static bool stream_receive(void *opaque, const NetPacket *packet)
{
    return stream_receive_many(opaque, packet, 1) == 1;
}
static bool stream_can_receive(void *opaque) {
    const NetStream *s = opaque;

    return !s->out->len && !s->blocked;
}

/* ---- the connection ---------------------------------------------------------------------- */

static void connected(NetStream *s)
{
    SockAddr peer = {.len = sizeof peer.addr};
    int on = 1;

    s->connecting = false;
    s->reading = true;
    listen_for_next(s, false);
    if (getpeername(s->fd, (struct sockaddr *)&peer.addr, &peer.len) < 0) {
        peer.len = 0;
    } else if (peer.addr.ss_family != AF_UNIX) {
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    s->changed(s->opaque, &peer);
    update_events(s);
}

static void stream_event(void *opaque, uint32_t events)
{
    NetStream *s = opaque;
    g_autoptr(GError) reason = NULL;

    if (s->connecting) {
        if (!socket_connected(s->fd, &s->target, &reason)) {
            report_error("netdev %s: %s", s->netdev->id, reason->message);
            drop_connection(s);
        } else {
            connected(s);
        }
        return;
    }
    if (events & EPOLLOUT) {
        s->blocked = false;
        write_rest(s);
    }
    if (s->fd >= 0 && events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        if (s->reading) {
            readable(s);
        } else if (events & (EPOLLHUP | EPOLLERR)) {
            drop_connection(s);
        }
    }
    update_events(s);
}

static void start(NetStream *s, int fd, bool connecting)
{
    s->fd = fd;
    s->connecting = connecting;
    s->source = loop_fd_add(net_port_loop(s->port), fd, 0, stream_event, s);
    if (connecting) {
        update_events(s);
    } else {
        connected(s);
    }
}

void net_stream_use(NetStream *s, int fd)
{
    net_set_nonblock(fd, NULL);
    start(s, fd, false);
}

bool net_stream_connect(NetStream *s, const GArray *addrs, GError **err)
{
    for (unsigned i = 0; i < addrs->len; i++) {
        bool pending;
        int fd;

        s->target = g_array_index(addrs, SockAddr, i);
        g_clear_error(err);
        fd = socket_connect(&s->target, &pending, err);
        if (fd >= 0) {
            start(s, fd, pending);
            return true;
        }
    }
    return false;
}

static void listener_event(void *opaque, uint32_t events)
{
    NetStream *s = opaque;

    for (unsigned i = 0; i < s->n_listeners && s->fd < 0; i++) {
        int fd = accept4(s->listeners[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            start(s, fd, false);
        }
    }
}

static void stream_detach(void *opaque)
{
    NetStream *s = opaque;

    loop_fd_remove(g_steal_pointer(&s->source));
    for (unsigned i = 0; i < s->n_listeners; i++) {
        loop_fd_remove(g_steal_pointer(&s->listen_sources[i]));
    }
}

static void stream_attach(void *opaque, Loop *loop)
{
    NetStream *s = opaque;

    if (s->fd >= 0) {
        s->source = loop_fd_add(loop, s->fd, 0, stream_event, s);
        update_events(s);
    }
    for (unsigned i = 0; i < s->n_listeners; i++) {
        s->listen_sources[i] = loop_fd_add(loop, s->listeners[i], s->fd < 0 ? EPOLLIN : 0, listener_event, s);
    }
}

void net_stream_listen_fd(NetStream *s, int fd)
{
    unsigned i = s->n_listeners++;

    net_set_nonblock(fd, NULL);
    s->listeners[i] = fd;
    s->listen_sources[i] = loop_fd_add(net_port_loop(s->port), fd, EPOLLIN, listener_event, s);
}

bool net_stream_listen(NetStream *s, const GArray *addrs, GError **err)
{
    for (unsigned i = 0; i < addrs->len && s->n_listeners < MAX_LISTENERS; i++) {
        const SockAddr *addr = &g_array_index(addrs, SockAddr, i);
        int fd;

        g_clear_error(err);
        fd = socket_listen(addr, err);
        if (fd >= 0) {
            net_stream_listen_fd(s, fd);
            if (addr->addr.ss_family == AF_UNIX &&
                ((const struct sockaddr_un *)&addr->addr)->sun_path[0]) {
                s->made_path = sockaddr_text(addr);
            }
        }
    }
    if (s->n_listeners) {
        g_clear_error(err);
    }
    return s->n_listeners != 0;
}

/* ---- life -------------------------------------------------------------------------------- */

static const NetPortOps stream_port_ops = {
    .can_receive = stream_can_receive,
    .receive = stream_receive,
    .receive_many = stream_receive_many,
    .writable = stream_writable,
    .detach = stream_detach,
    .attach = stream_attach,
};

NetStream *net_stream_new(Netdev *netdev, NetStreamFn *changed, void *opaque)
{
    NetStream *s = g_new0(NetStream, 1);

    s->netdev = netdev;
    s->changed = changed;
    s->opaque = opaque;
    s->fd = -1;
    s->in = g_malloc(BUFFER_SIZE);
    s->out = g_byte_array_new();
    s->port = netdev_add_port(netdev, &stream_port_ops, s);
    return s;
}

void net_stream_free(NetStream *s)
{
    if (!s) {
        return;
    }
    stream_detach(s);
    for (unsigned i = 0; i < s->n_listeners; i++) {
        close(s->listeners[i]);
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    if (s->made_path) {
        unlink(s->made_path);
    }
    g_free(s->made_path);
    g_byte_array_unref(s->out);
    g_free(s->in);
    g_free(s);
}
