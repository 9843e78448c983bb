/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tap descriptor as a port. With IFF_VNET_HDR each packet has a struct virtio_net_hdr before it;
 * towards cards that do not want one it is taken off and put on here, and the kernel is told that
 * packets must be complete.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net/tap.h"
#include "util/trace.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define BATCH 32
#define ROUNDS 4
#define AREA (4 * NET_MAX_PACKET)   /* bytes of a batch */
#define TURN_PACKETS 128            /* and bytes, before the loop's others have their turn */
#define TURN_BYTES (1 << 20)
#define LENT_MAX 255                /* pieces of the card's memory for a packet */
#define HEADER_MAX 20
#define USO (NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6)

struct NetTap {
    NetPort *port;
    int fd;
    LoopFd *source;
    bool reading, want_write;
    int vhost_fd;               /* of /dev/vhost-net; -1: none */
    unsigned poll_us;
    bool kernel;                /* vhost moves the packets: nothing is read here */
    Loop *loop;                 /* the link's */
    bool active;                /* of several queues: the kernel uses it */
    bool vnet;                  /* the kernel's packets have a header ... */
    unsigned kernel_len;        /* ... of so many bytes */
    unsigned link_len;          /* of the link's packets */
    uint32_t offloads;          /* that the kernel can do: NET_OFFLOAD_* */
    uint8_t *area;              /* AREA bytes */
    struct iovec iov[BATCH];
    NetPacket packets[BATCH];   /* [pos, count) wait for the port */
    unsigned pos, count;
};

static void update_events(NetTap *t)
{
    if (t->source) {
        loop_fd_set_events(t->source, (t->reading ? EPOLLIN : 0) | (t->want_write ? EPOLLOUT : 0));
    }
}

/* ---- in ---------------------------------------------------------------------------------- */

static void add_packet(NetTap *t, uint8_t *buf, size_t size)
{
    t->iov[t->count] = (struct iovec){buf, size};
    t->packets[t->count] = (NetPacket){&t->iov[t->count], 1, size};
    t->count++;
}

static void read_batch(NetTap *t)
{
    const unsigned strip = t->vnet && !t->link_len ? t->kernel_len : 0;
    uint8_t *buf = t->area;

    t->pos = t->count = 0;
    while (t->count < BATCH && buf + NET_MAX_PACKET <= t->area + AREA) {
        const ssize_t n = read(t->fd, buf, NET_MAX_PACKET);

        if (n <= 0) {
            return;
        }
        if ((size_t)n > strip) {
            add_packet(t, buf + strip, (size_t)n - strip);
            buf += align_up((size_t)n, 64);
        }
    }
}

static bool pass_on(NetTap *t)
{
    t->pos += net_send_now(t->port, t->packets + t->pos, t->count - t->pos);
    return t->pos == t->count && net_can_send(t->port);
}

/* To the card's memory, and the second half of the area. */
static ssize_t read_packet(NetTap *t, struct iovec *iov, unsigned n)
{
    iov[n] = (struct iovec){t->area + NET_MAX_PACKET, NET_MAX_PACKET};
    return readv(t->fd, iov, (int)n + 1);
}

/* Packets as long as there are some, and the card takes them, straight to the card's memory. What does not fit there is put
 * together in the area. True: the area, or nothing, is to be passed on; false: nothing came, or it is others' turn. */
static bool read_to_card(NetTap *t)
{
    struct iovec iov[LENT_MAX + 1];
    size_t room, sum = 0;

    for (unsigned packets = 0; packets < TURN_PACKETS && sum < TURN_BYTES; packets++) {
        const unsigned n = net_borrow(t->port, iov, LENT_MAX, &room);

        if (!n) {
            return true;
        }
        const ssize_t got = read_packet(t, iov, n);
        if (got <= 0) {
            return false;
        }
        if ((size_t)got > room) {
            const size_t size = MIN((size_t)got, NET_MAX_PACKET);

            iov_to_buf(iov, n + 1, 0, t->area, size);
            t->pos = t->count = 0;
            add_packet(t, t->area, size);
            return true;
        }
        net_borrowed(t->port, iov, n, (size_t)got);
        sum += (size_t)got;
    }
    return false;
}

static void readable(NetTap *t)
{
    const bool direct = !t->vnet || t->link_len;

    for (unsigned round = 0; round < ROUNDS; round++) {
        if (!pass_on(t)) {
            t->reading = false;
            return;
        }
        if (direct && !read_to_card(t)) {
            return;
        }
        if (t->pos < t->count) {
            continue;
        }
        if (!net_can_send(t->port)) {
            t->reading = false;
            return;
        }
        read_batch(t);
        if (!t->count) {
            return;
        }
    }
    t->reading = pass_on(t);
}

static void tap_event(void *opaque, uint32_t events)
{
    NetTap *t = opaque;

    if (events & EPOLLOUT) {
        t->want_write = false;
        net_port_ready(t->port);
    }
    if (events & EPOLLIN) {
        readable(t);
    } else if (events & (EPOLLERR | EPOLLHUP) &&
               !(events & EPOLLOUT)) { /* the interface was deleted */
        trace(net_tap_gone, "%p", t);
        loop_fd_remove(t->source);
        t->source = NULL;
    }
    update_events(t);
}

static void tap_writable(void *opaque)
{
    NetTap *t = opaque;

    t->reading = t->pos == t->count || pass_on(t);
    update_events(t);
}

/* ---- out --------------------------------------------------------------------------------- */

static ssize_t write_packet(const NetTap *t, const struct iovec *iov, unsigned count)
{
    return writev(t->fd, iov, (int)MIN(count, IOV_MAX));
}

static bool tap_receive(void *opaque, const NetPacket *packet)
{
    NetTap *t = opaque;
    static const uint8_t none[HEADER_MAX];
    g_autofree struct iovec *parts = NULL;
    const struct iovec *iov = packet->iov;
    unsigned count = packet->count;

    if (t->vnet && !t->link_len) {
        parts = g_new(struct iovec, count + 1);
        parts[0] = (struct iovec){(void *)(uintptr_t)none, t->kernel_len};
        memcpy(parts + 1, packet->iov, count * sizeof *parts);
        iov = parts;
        count++;
    }
    ssize_t n = write_packet(t, iov, count);
    if (n < 0 && errno == EAGAIN) {
        t->want_write = true;
        update_events(t);
        return false;
    }
    if (n < 0) { /* down, or no packet: lost */
        trace(net_tap_lost, "%p: %d", t, errno);
    }
    return true;
}

static bool tap_can_receive(void *opaque) { return !((NetTap *)opaque)->want_write; }

/* ---- offloads ---------------------------------------------------------------------------- */

static const struct {
    uint32_t net;
    unsigned tun;
} offload_bits[] = {
    {NET_OFFLOAD_CSUM, TUN_F_CSUM}, {NET_OFFLOAD_TSO4, TUN_F_TSO4}, {NET_OFFLOAD_TSO6, TUN_F_TSO6},
    {NET_OFFLOAD_ECN, TUN_F_TSO_ECN}, {NET_OFFLOAD_UFO, TUN_F_UFO}, {NET_OFFLOAD_USO4, TUN_F_USO4},
    {NET_OFFLOAD_USO6, TUN_F_USO6},
};

static unsigned to_tun(uint32_t offloads)
{
    unsigned tun = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(offload_bits); i++) {
        tun |= offloads & offload_bits[i].net ? offload_bits[i].tun : 0;
    }
    return tun;
}

/* What the kernel takes as a whole or refuses as a whole, which would leave it at what was set before: nothing without
 * checksums, marks of congestion with TCP, and bundles over IPv4 and IPv6 together or not at all. */
static uint32_t possible(uint32_t offloads)
{
    if (!(offloads & NET_OFFLOAD_CSUM)) {
        return 0;
    }
    if (!(offloads & (NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6))) {
        offloads &= ~NET_OFFLOAD_ECN;
    }
    return (offloads & USO) == USO ? offloads : offloads & ~USO;
}

/* The kernel says what it knows. */
static uint32_t ask_offloads(NetTap *t)
{
    static const uint32_t basic =
        NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
    static const uint32_t optional[] = {NET_OFFLOAD_UFO, USO};
    uint32_t offloads = basic;

    for (unsigned i = 0; i < G_N_ELEMENTS(optional); i++) {
        if (ioctl(t->fd, TUNSETOFFLOAD, to_tun(NET_OFFLOAD_CSUM | optional[i])) == 0) {
            offloads |= optional[i];
        }
    }
    ioctl(t->fd, TUNSETOFFLOAD, 0);
    return offloads;
}

static unsigned tap_vnet_caps(void *opaque, uint32_t *offloads)
{
    const NetTap *t = opaque;

    *offloads = t->vnet ? t->offloads : 0;
    return t->vnet ? HEADER_MAX : 0;
}

static void tap_set_vnet(void *opaque, unsigned len, uint32_t offloads)
{
    NetTap *t = opaque;
    int size = len ? (int)len : (int)sizeof(struct virtio_net_hdr), little = 1;

    if (!t->vnet) {
        return;
    }
    if (ioctl(t->fd, TUNSETVNETHDRSZ, &size) == 0) {
        t->kernel_len = (unsigned)size;
    }
    ioctl(t->fd, TUNSETVNETLE, &little);
    if (ioctl(t->fd, TUNSETOFFLOAD, to_tun(possible(offloads))) < 0) {
        trace(net_tap_offload, "%p: 0x%x: %d", t, offloads, errno);
    }
    t->link_len = len;
    t->pos = t->count = 0;
}

/* ---- life -------------------------------------------------------------------------------- */

static void tap_detach(void *opaque)
{
    NetTap *t = opaque;

    loop_fd_remove(t->source);
    t->source = NULL;
}

static void tap_attach(void *opaque, Loop *loop)
{
    NetTap *t = opaque;

    t->loop = loop;
    if (!t->kernel) {
        t->source = loop_fd_add(loop, t->fd, 0, tap_event, t);
        t->reading = true;
        update_events(t);
    }
}

static bool tap_vhost(void *opaque, NetVhost *vhost)
{
    const NetTap *t = opaque;

    *vhost = (NetVhost){t->vhost_fd, t->poll_us};
    return t->vhost_fd >= 0;
}

/* What was read before and not yet taken is older than what the kernel brings: it is lost. */
static void tap_set_kernel(void *opaque, bool on)
{
    NetTap *t = opaque;

    if (t->kernel == on) {
        return;
    }
    t->kernel = on;
    if (on) {
        tap_detach(t);
        t->pos = t->count = 0;
    } else {
        tap_attach(t, t->loop);
    }
}

/* Packets of a queue that is detached come in by the others. */
static void tap_set_active(void *opaque, bool active)
{
    struct ifreq ifr = {.ifr_flags = active ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
    NetTap *t = opaque;

    if (t->active != active && ioctl(t->fd, TUNSETQUEUE, &ifr) < 0) {
        trace(net_tap_queue, "%p: %d: %d", t, active, errno);
    }
    t->active = active;
}

static int tap_fd(void *opaque) { return ((NetTap *)opaque)->fd; }

static const NetPortOps tap_port_ops = {
    .can_receive = tap_can_receive,
    .receive = tap_receive,
    .writable = tap_writable,
    .vnet_caps = tap_vnet_caps,
    .set_vnet = tap_set_vnet,
    .set_active = tap_set_active,
    .detach = tap_detach,
    .attach = tap_attach,
    .fd = tap_fd,
    .vhost = tap_vhost,
    .set_kernel = tap_set_kernel,
};

bool net_tap_check(int fd, char *name, bool *vnet_hdr, GError **err)
{
    struct ifreq ifr = {0};

    if (ioctl(fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP)) {
        return error_set(err, "descriptor %d is no tap interface", fd);
    }
    if (!(ifr.ifr_flags & IFF_NO_PI)) {
        return error_set(err, "descriptor %d was opened without IFF_NO_PI", fd);
    }
    memcpy(name, ifr.ifr_name, IFNAMSIZ);
    *vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
    return true;
}

bool net_tap_set_sndbuf(int fd, uint64_t size, GError **err)
{
    int value = size == 0 || size > INT_MAX ? INT_MAX : (int)size;

    return ioctl(fd, TUNSETSNDBUF, &value) == 0 || size == 0 ||
           error_set_errno(err, errno, "sndbuf=%" G_GUINT64_FORMAT, size);
}

NetTap *net_tap_new(Netdev *netdev, int fd)
{
    NetTap *t = g_new0(NetTap, 1);
    char name[IFNAMSIZ];

    t->fd = fd;
    t->vhost_fd = -1;
    if (!net_tap_check(fd, name, &t->vnet, NULL)) {
        t->vnet = false;
    }
    t->area = g_malloc(AREA);
    if (t->vnet) {
        t->offloads = ask_offloads(t);
    }
    t->active = true;
    tap_set_vnet(t, 0, 0);
    t->port = netdev_add_port(netdev, &tap_port_ops, t);
    tap_attach(t, netdev->obj.vm->loop);
    return t;
}

void net_tap_set_vhost(NetTap *t, int vhost, unsigned poll_us)
{
    t->vhost_fd = vhost;
    t->poll_us = poll_us;
}

void net_tap_free(NetTap *t)
{
    if (t) {
        tap_detach(t);
        if (t->vhost_fd >= 0) {
            close(t->vhost_fd);
        }
        close(t->fd);
        g_free(t->area);
        g_free(t);
    }
}
