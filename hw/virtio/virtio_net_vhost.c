/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net whose packets the kernel moves (vhost-net; the netdev has a descriptor of /dev/vhost-net for each queue).
 *
 * The kernel serves the pairs while the driver runs, the link is up and nobody holds the links (set_link, netdev_del). It is
 * started with the pairs in the main loop, which needs no thread for what the kernel's does. When it refuses, and while the
 * link is down, the queues run here, in iothreads as any card's; so a card whose link is down loses what the guest sends, as
 * any card does. The control queue is always ours: address and VLAN filters and hashes are not applied by the kernel, which
 * passes all packets of the tap on, as with QEMU.
 */
#include <errno.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>

#include "hw/virtio/vhost.h"
#include "hw/virtio/virtio_net.h"
#include "util/log.h"
#include "util/trace.h"

#define BIT(n) (UINT64_C(1) << (n))
#define HASHES (BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT))

typedef struct VirtioNetVhost {
    VhostDev dev;
    NetPort *port;                /* the card's, of this pair */
} VirtioNetVhost;

static bool set_backend(const VhostDev *dev, unsigned vring, int fd, GError **err)
{
    const struct vhost_vring_file file = {.index = vring, .fd = fd};

    return ioctl(dev->fd, VHOST_NET_SET_BACKEND, &file) >= 0 ||
           error_set_errno(err, errno, "vhost-net: the kernel does not %s queue %u", fd >= 0 ? "start" : "stop", dev->first + vring);
}

static bool run(VhostDev *dev, bool on, GError **err)
{
    const int tap = on ? net_peer_fd(container_of(dev, VirtioNetVhost, dev)->port) : VHOST_FILE_UNBIND;
    bool ok = true;

    for (unsigned i = 0; i < dev->count; i++) {
        if (vhost_serves(dev, i) && !set_backend(dev, i, tap, ok ? err : NULL)) {
            ok = false;
        }
    }
    return ok;
}

static const VhostKind net_kind = {.name = "vhost-net", .run = run};

bool virtio_net_vhost_init(VirtioNet *s, GError **err)
{
    NetVhost how;
    uint32_t offloads;

    if (!net_peer_vhost(s->pairs[0].port, &how)) {
        return true;
    }
    s->vhost = g_new0(VirtioNetVhost, s->max_pairs);
    for (unsigned i = 0; i < s->max_pairs; i++) {
        VirtioNetVhost *v = &s->vhost[i];

        v->port = s->pairs[i].port;
        if (!net_peer_vhost(v->port, &how) || !vhost_init(&v->dev, &net_kind, &s->vdev, how.fd, 2 * i, 2, err)) {
            virtio_net_vhost_cleanup(s);
            return false;
        }
        v->dev.busyloop_us = how.poll_us;
        v->dev.own_features = net_peer_vnet_caps(v->port, &offloads) ? 0 : BIT(VHOST_NET_F_VIRTIO_NET_HDR);
    }
    s->vdev.together = true;
    return true;
}

void virtio_net_vhost_cleanup(VirtioNet *s)
{
    for (unsigned i = 0; s->vhost && i < s->max_pairs; i++) {
        vhost_cleanup(&s->vhost[i].dev);
    }
    g_clear_pointer(&s->vhost, g_free);
    s->vdev.together = false;
}

uint64_t virtio_net_vhost_features(const VirtioNet *s, uint64_t features)
{
    if (!s->vhost) {
        return features;
    }
    if (features & HASHES) {
        report_warning("%s: rss=on and hash=on are not offered to the guest: the kernel, which moves its packets (vhost=on), "
                       "computes no hashes; use vhost=off with them", nic_name(s->nic));
    }
    return vhost_offer(&s->vhost[0].dev, features & ~HASHES, BIT(VIRTIO_NET_F_MRG_RXBUF));
}

static bool start_all(VirtioNet *s, GError **err)
{
    for (unsigned i = 0; i < s->max_pairs; i++) {
        net_set_kernel(s->vhost[i].port, true);
        if (!vhost_start(&s->vhost[i].dev, err)) {
            return false;
        }
    }
    return true;
}

/* Does it serve the pairs now? */
static bool start_kernel(VirtioNet *s)
{
    g_autoptr(GError) reason = NULL;

    virtio_net_place(s, false);
    s->in_kernel = true;
    if (start_all(s, &reason)) {
        return true;
    }
    virtio_net_vhost_stop(s);
    if (!s->vdev.broken && !s->warned) {
        report_warning("%s: %s; packets go through Kiln", nic_name(s->nic), reason->message);
        s->warned = true;
    }
    return false;
}

void virtio_net_vhost_start(VirtioNet *s)
{
    if (!s->vhost || s->held) {
        return;
    }
    if (!net_link_is_up(s->pairs[0].port) || !start_kernel(s)) {
        virtio_net_place(s, true);
    }
    trace(virtio_net_vhost, "%s kernel %d", nic_name(s->nic), s->in_kernel);
}

void virtio_net_vhost_stop(VirtioNet *s)
{
    if (!s->in_kernel) {
        return;
    }
    for (unsigned i = 0; i < s->max_pairs; i++) {
        vhost_stop(&s->vhost[i].dev);
        net_set_kernel(s->vhost[i].port, false);
    }
    s->in_kernel = false;
}

void virtio_net_vhost_call_fds_changed(VirtioDevice *vdev)
{
    VirtioNet *s = virtio_net(vdev);

    for (unsigned i = 0; s->vhost && i < s->max_pairs; i++) {
        vhost_update_calls(&s->vhost[i].dev);
    }
}

void virtio_net_vhost_hold(VirtioNet *s)
{
    if (s->vhost) {
        virtio_restart(&s->vdev);
    }
}

void virtio_net_vhost_release(VirtioNet *s)
{
    NetVhost how;

    if (s->vhost && !net_peer_vhost(s->pairs[0].port, &how)) { /* the netdev has gone */
        virtio_net_vhost_cleanup(s);
    }
    virtio_net_vhost_hold(s);
}
