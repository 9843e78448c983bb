/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets as datagrams. Several leave, and come in, with one system call, and by UDP those of one
 * size in one pass through the kernel (udp_bundle.h). A datagram that nobody
 * takes is lost, as on a wire; only a full socket buffer holds the sender back. A unix socket that
 * is not connected is always writable for poll(2), even when the other side's queue is full: there
 * a second socket, which is connected and sends nothing, tells of room; where it cannot be
 * connected, a timer tries again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/sockets.h"
#include "net/udp_bundle.h"
#include "util/trace.h"

#define BATCH 32                /* messages a system call */
#define RETRY_TIME NSEC_PER_MSEC
#define PROBE_TIME (100 * NSEC_PER_MSEC) /* without a word of room: who is at the address is looked up again */
#define ROUNDS 4                /* calls before others have their turn */

typedef struct DgramMessage {
    uint8_t *data;
    size_t left, packet;        /* bytes; of each packet, the last one perhaps fewer */
} DgramMessage;

struct NetDgram {
    NetPort *port;
    int fd;
    LoopFd *source;
    LoopTimer *retry;           /* unix, not connected; else NULL */
    int probe;                  /* the same: connected to dest; -1: not needed so far */
    LoopFd *probe_source;
    bool probe_stale;           /* what it says of room may be wrong */
    bool reading, want_write;
    SockAddr dest;              /* len 0: connected */
    /* Out: packets of fewer bytes go in bundles. 0: none. */
    size_t bundle_below;
    /* In: messages, each of one packet or several, and some of those packets. */
    bool gives_bundles;
    uint8_t *buffers;           /* BATCH of NET_MAX_PACKET; pages are touched as they are used */
    DgramMessage messages[BATCH];
    unsigned message, message_count; /* [message, message_count) are not all among the packets yet */
    struct iovec iov[NET_BATCH];
    NetPacket packets[NET_BATCH];
    unsigned pos, count;        /* [pos, count) wait for the port */
};

static void update_events(NetDgram *d)
{
    if (d->source) {
        loop_fd_set_events(d->source, (d->reading ? EPOLLIN : 0) |
                                          (d->want_write && !d->retry ? EPOLLOUT : 0));
    }
}

/* ---- in ---------------------------------------------------------------------------------- */

/* False: nothing came. */
static bool receive_batch(NetDgram *d)
{
    struct mmsghdr msgs[BATCH] = {0};
    struct iovec iov[BATCH];
    UdpControl control[BATCH];
    int n;

    for (unsigned i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){d->buffers + (size_t)i * NET_MAX_PACKET, NET_MAX_PACKET};
        msgs[i].msg_hdr.msg_iov = &iov[i];
        msgs[i].msg_hdr.msg_iovlen = 1;
        if (d->gives_bundles) {
            msgs[i].msg_hdr.msg_control = &control[i];
            msgs[i].msg_hdr.msg_controllen = sizeof control[i];
        }
    }
    n = recvmmsg(d->fd, msgs, BATCH, MSG_DONTWAIT, NULL);
    d->message = 0;
    d->message_count = n > 0 ? (unsigned)n : 0;
    for (unsigned i = 0; i < d->message_count; i++) {
        const size_t size = d->gives_bundles ? udp_bundle_size(&msgs[i].msg_hdr) : 0;

        d->messages[i] = (DgramMessage){iov[i].iov_base, msgs[i].msg_len, size ? size : msgs[i].msg_len};
    }
    return n > 0;
}

/* The next packets of what came. False: there are none. */
static bool next_packets(NetDgram *d)
{
    d->pos = d->count = 0;
    while (d->message < d->message_count && d->count < NET_BATCH) {
        DgramMessage *m = &d->messages[d->message];
        const size_t size = MIN(m->left, m->packet);

        if (size) {
            d->iov[d->count] = (struct iovec){m->data, size};
            d->packets[d->count] = (NetPacket){&d->iov[d->count], 1, size};
            d->count++;
            m->data += size;
            m->left -= size;
        }
        d->message += !m->left;
    }
    return d->count > 0;
}

/* False: the port takes no more now. */
static bool pass_on(NetDgram *d)
{
    do {
        d->pos += net_send_now(d->port, d->packets + d->pos, d->count - d->pos);
        if (d->pos < d->count) {
            return false;
        }
    } while (next_packets(d));
    return net_can_send(d->port);
}

static void readable(NetDgram *d)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (!pass_on(d)) {
            d->reading = false;
            return;
        }
        if (!receive_batch(d)) {
            return;
        }
    }
    d->reading = pass_on(d);
}

static void dgram_event(void *opaque, uint32_t events)
{
    NetDgram *d = opaque;

    if (events & EPOLLOUT) {
        d->want_write = false;
        net_port_ready(d->port);
    }
    if (events & (EPOLLIN | EPOLLERR)) { /* an error is taken by reading it */
        readable(d);
    }
    update_events(d);
}

static void dgram_writable(void *opaque)
{
    NetDgram *d = opaque;

    d->reading = true;
    update_events(d);
    if (d->pos < d->count && !pass_on(d)) {
        d->reading = false;
        update_events(d);
    }
}

/* ---- out --------------------------------------------------------------------------------- */

static void retry(NetDgram *d)
{
    d->want_write = false;
    net_port_ready(d->port);
}

static void timed_out(void *opaque)
{
    NetDgram *d = opaque;

    d->probe_stale = true;
    retry(d);
}

static void probe_event(void *opaque, uint32_t events)
{
    NetDgram *d = opaque;

    if (events & (EPOLLERR | EPOLLHUP)) { /* these come whatever is asked for */
        loop_fd_remove(g_steal_pointer(&d->probe_source));
    } else {
        loop_fd_set_events(d->probe_source, 0);
    }
    loop_timer_cancel(d->retry);
    d->probe_stale = true; /* until something goes */
    if (d->want_write) {
        retry(d);
    }
}

/* Who is at that address may have changed: where the last word of room was wrong, or none came, it is looked up. */
static bool connect_probe(NetDgram *d, Loop *loop)
{
    loop_fd_remove(d->probe_source);
    d->probe_source = NULL;
    if (d->probe < 0) {
        d->probe = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    if (d->probe < 0 ||
        connect(d->probe, (const struct sockaddr *)&d->dest.addr, d->dest.len) < 0) {
        return false;
    }
    d->probe_source = loop_fd_add(loop, d->probe, EPOLLOUT, probe_event, d);
    d->probe_stale = false;
    return d->probe_source != NULL;
}

static bool probe_room(NetDgram *d, Loop *loop)
{
    if (!d->probe_source || d->probe_stale) {
        return connect_probe(d, loop);
    }
    loop_fd_set_events(d->probe_source, EPOLLOUT);
    return true;
}

static void wait_for_room(NetDgram *d)
{
    d->want_write = true;
    if (d->retry) {
        const bool told = probe_room(d, net_port_loop(d->port));

        loop_timer_arm(d->retry, clock_monotonic_ns() + (told ? PROBE_TIME : RETRY_TIME));
    } else {
        update_events(d);
    }
}

/* A bundle was not taken: its packets go alone, and if it is their size, or that the way cannot cut them, all such do. */
static void bundle_refused(NetDgram *d, size_t size, int error)
{
    trace(net_dgram_refused, "%p: a bundle of %zu bytes each: %d", d, size, error);
    if (error == EINVAL || error == EIO || error == EMSGSIZE) {
        d->bundle_below = size;
    }
}

static unsigned dgram_receive_many(void *opaque, const NetPacket *packets, unsigned n)
{
    NetDgram *d = opaque;
    UdpMessages m;
    unsigned done = 0, alone = 0;

    while (done < n && !d->want_write) {
        int sent;

        udp_make_messages(&m, packets + done, alone ? alone : n - done, alone ? 0 : d->bundle_below);
        for (unsigned i = 0; i < m.count && d->dest.len; i++) {
            m.msgs[i].msg_hdr.msg_name = &d->dest.addr;
            m.msgs[i].msg_hdr.msg_namelen = d->dest.len;
        }
        sent = sendmmsg(d->fd, m.msgs, m.count, MSG_DONTWAIT | MSG_NOSIGNAL);
        for (int i = 0; i < sent; i++) {
            done += m.packets[i];
            alone -= MIN(alone, m.packets[i]);
            d->probe_stale = false;
        }
        if (sent < 0 && errno == EAGAIN) {
            wait_for_room(d);
        } else if (sent < 0 && errno != EINTR && m.packets[0] > 1) {
            bundle_refused(d, packets[done].size, errno);
            alone = m.packets[0];
        } else if (sent < 0 && errno != EINTR) { /* nobody there, or too long: this one is lost */
            trace(net_dgram_lost, "%p: %d", d, errno);
            done++;
            alone -= MIN(alone, 1);
        }
    }
    return done;
}

static bool dgram_receive(void *opaque, const NetPacket *packet)
{
    return dgram_receive_many(opaque, packet, 1) == 1;
}
static bool dgram_can_receive(void *opaque) { return !((NetDgram *)opaque)->want_write; }

/* ---- life -------------------------------------------------------------------------------- */

static void dgram_detach(void *opaque)
{
    NetDgram *d = opaque;

    loop_fd_remove(d->source);
    loop_fd_remove(d->probe_source);
    d->source = d->probe_source = NULL;
    loop_timer_free(d->retry);
    d->retry = NULL;
}

static void dgram_attach(void *opaque, Loop *loop)
{
    NetDgram *d = opaque;

    d->source = loop_fd_add(loop, d->fd, 0, dgram_event, d);
    d->reading = true;
    if (d->dest.addr.ss_family == AF_UNIX) {
        d->retry = loop_timer_new(loop, timed_out, d);
    }
    if (d->want_write) {
        wait_for_room(d);
    }
    update_events(d);
}

static const NetPortOps dgram_port_ops = {
    .can_receive = dgram_can_receive,
    .receive = dgram_receive,
    .receive_many = dgram_receive_many,
    .writable = dgram_writable,
    .detach = dgram_detach,
    .attach = dgram_attach,
};

NetDgram *net_dgram_new(Netdev *netdev, int fd, const SockAddr *dest)
{
    NetDgram *d = g_new0(NetDgram, 1);

    d->fd = fd;
    d->probe = -1;
    if (dest) {
        d->dest = *dest;
    }
    d->bundle_below = udp_takes_bundles(fd) ? SIZE_MAX : 0;
    d->gives_bundles = udp_gives_bundles(fd);
    d->buffers = g_malloc((size_t)BATCH * NET_MAX_PACKET);
    net_set_nonblock(fd, NULL);
    d->port = netdev_add_port(netdev, &dgram_port_ops, d);
    dgram_attach(d, netdev->obj.vm->loop);
    return d;
}

void net_dgram_free(NetDgram *d)
{
    if (d) {
        dgram_detach(d);
        close(d->fd);
        if (d->probe >= 0) {
            close(d->probe);
        }
        g_free(d->buffers);
        g_free(d);
    }
}

/* ---- multicast --------------------------------------------------------------------------- */

bool net_is_multicast(const SockAddr *addr)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&addr->addr;

    return addr->addr.ss_family == AF_INET && IN_MULTICAST(ntohl(in->sin_addr.s_addr));
}

/* Several members on one host have the same port. */
static bool join(int fd, const SockAddr *group, const struct in_addr *local)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&group->addr;
    struct ip_mreq member = {.imr_multiaddr = in->sin_addr};
    uint8_t loopback = 1;
    int on = 1;

    if (local) {
        member.imr_interface = *local;
    }
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           bind(fd, (const struct sockaddr *)&group->addr, group->len) == 0 &&
           setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &member, sizeof member) == 0 &&
           setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &loopback, sizeof loopback) == 0 &&
           (!local || setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, local, sizeof *local) == 0);
}

int net_multicast_socket(const SockAddr *group, const struct in_addr *local, GError **err)
{
    g_autofree char *text = sockaddr_text(group);

    if (!net_is_multicast(group)) {
        error_set(err, "%s is no multicast address (224.0.0.0 to 239.255.255.255)", text);
        return -1;
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || !join(fd, group, local)) {
        error_set_errno(err, errno, "the multicast group %s cannot be joined", text);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}
