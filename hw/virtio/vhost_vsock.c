/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "vhost-vsock-device" (Virtual I/O Device 1.2, 5.10): sockets between the guest and the host, which the kernel carries
 * (/dev/vhost-vsock, module vhost_vsock). The guest's address is guest-cid, the host's 2.
 *
 *   queue 0  receive   \ served by the kernel
 *   queue 1  transmit  /
 *   queue 2  events: after a state was loaded the driver is told that its connections are gone
 *
 * Without vhost it could do nothing, so what keeps the kernel from serving the rings breaks the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_vsock.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/fdset.h"
#include "hw/virtio/vhost.h"
#include "hw/virtio/virtio_pci.h"
#include "net/net.h"
#include "util/log.h"

#define VSOCK_DEVICE "/dev/vhost-vsock"
#define NAME "vhost-vsock"
#define QUEUE_SIZE 128
#define KERNEL_QUEUES 2
#define FIRST_FREE_CID 3          /* 0: hypervisor, 1: local, 2: host */
#define PCI_CLASS_COMMUNICATION 0x0780 /* a communication controller of no special kind */
#define SEQPACKET (UINT64_C(1) << VIRTIO_VSOCK_F_SEQPACKET)

typedef struct VhostVsock {
    VirtioDevice vdev;
    VhostDev vhost;
    int fd;                       /* of /dev/vhost-vsock; -1: none */
    VirtQueue *events;
    bool warned;                  /* of a start that failed */
    bool reset_due;               /* TRANSPORT_RESET waits for a buffer of the driver's */
    uint64_t guest_cid;           /* properties */
    char *vhostfd;
    int seqpacket;                /* OnOffAuto */
} VhostVsock;

static VhostVsock *vsock(VirtioDevice *vdev) { return container_of(vdev, VhostVsock, vdev); }

/* ---- the kernel's part --------------------------------------------------------------------------- */

/* The kernel takes both rings or none: a driver that has set up one so far sees nothing happen. */
static bool run(VhostDev *dev, bool on, GError **err)
{
    const int running = on;

    return (on && !(vhost_serves(dev, 0) && vhost_serves(dev, 1))) ||
           ioctl(dev->fd, VHOST_VSOCK_SET_RUNNING, &running) >= 0 ||
           error_set_errno(err, errno, NAME ": the kernel does not %s", on ? "start" : "stop");
}

static const VhostKind vsock_kind = {.name = NAME, .run = run};

static void vsock_start(VirtioDevice *vdev)
{
    VhostVsock *s = vsock(vdev);
    g_autoptr(GError) reason = NULL;

    if (!vhost_start(&s->vhost, &reason) && !vdev->broken) {
        if (!s->warned) { /* once: a driver can try again and again */
            report_warning("%s; the guest's sockets do not work", reason->message);
        }
        s->warned = true;
        virtio_broken(vdev, "%s", reason->message);
    }
}

/* The queues are either the kernel's, or done with at once. */
static void vsock_quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    if (!vq) {
        vhost_stop(&vsock(vdev)->vhost);
    }
}

static void call_fds_changed(VirtioDevice *vdev) { vhost_update_calls(&vsock(vdev)->vhost); }

/* ---- ours ------------------------------------------------------------------------------------------ */

static void vsock_get_config(VirtioDevice *vdev)
{
    store64_le(vdev->config, vsock(vdev)->guest_cid);
}

static void handle_events(VirtioDevice *vdev, VirtQueue *vq)
{
    static const struct virtio_vsock_event reset = {.id = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET};
    VhostVsock *s = vsock(vdev);
    VirtElement *e = s->reset_due ? virtqueue_pop(vq) : NULL;

    if (!e) {
        return;
    }
    if (e->in_size < sizeof reset) {
        virtio_broken(vdev, "a buffer of %" PRIu64 " bytes for an event of %zu", e->in_size, sizeof reset);
        virtqueue_drop(e);
        return;
    }
    virtqueue_push(e, virt_element_write(e, 0, &reset, sizeof reset));
    s->reset_due = false;
}

/* Nothing is called for the first two: the kernel takes their buffers. */
static void handle_none(VirtioDevice *vdev, VirtQueue *vq) {}

static void vsock_reset(VirtioDevice *vdev) { vsock(vdev)->reset_due = false; }
static void take_loaded(VirtioDevice *vdev) { vsock(vdev)->reset_due = virtio_queue_areas(vsock(vdev)->events).desc != 0; }

/* ---- life -------------------------------------------------------------------------------------------- */

static bool check_cid(const VhostVsock *s, GError **err)
{
    if (s->guest_cid < FIRST_FREE_CID) {
        return error_set(err, "guest-cid property must be greater than 2 (0 to 2 are the host's), such as guest-cid=3: "
                              "each guest of a host has one of its own");
    }
    return s->guest_cid <= UINT32_MAX || error_set(err, "guest-cid property must be a 32-bit number");
}

static bool open_kernel(VhostVsock *s, GError **err)
{
    Vm *vm = s->vdev.dev.vm;

    if (s->vhostfd) {
        s->fd = net_take_fd(vm, s->vhostfd, err);
        if (s->fd < 0) {
            g_prefix_error(err, "vhostfd=: ");
            return false;
        }
        if (fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) | O_NONBLOCK) < 0) {
            return error_set_errno(err, errno, NAME ": unable to set non-blocking mode");
        }
    } else {
        s->fd = vm_open(vm, VSOCK_DEVICE, O_RDWR | O_NONBLOCK, 0);
        if (s->fd < 0) {
            return error_set_errno(err, errno, NAME ": cannot open " VSOCK_DEVICE " (the host's kernel module vhost_vsock "
                                               "makes it; or pass an open one with vhostfd=)");
        }
    }
    return vhost_own(s->fd, NAME, err);
}

static bool set_cid(const VhostVsock *s, GError **err)
{
    return ioctl(s->fd, VHOST_VSOCK_SET_GUEST_CID, &s->guest_cid) >= 0 ||
           error_set_errno(err, errno, NAME ": unable to set guest cid %" PRIu64 "%s", s->guest_cid,
                           errno == EADDRINUSE ? " (another VM on this host has it)" : "");
}

static void close_kernel(VhostVsock *s)
{
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}

static bool offer_features(VhostVsock *s, GError **err)
{
    VirtioDevice *vdev = &s->vdev;

    vdev->host_features = vhost_offer(&s->vhost, vdev->host_features | (s->seqpacket != ON_OFF_AUTO_OFF ? SEQPACKET : 0), SEQPACKET);
    return s->seqpacket != ON_OFF_AUTO_ON || (vdev->host_features & SEQPACKET) ||
           error_set(err, "seqpacket=on: vhost-vsock backend doesn't support seqpacket; leave it at auto");
}

static bool vsock_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VhostVsock *s = vsock(vdev);

    if (!check_cid(s, err)) {
        return false;
    }
    if (!open_kernel(s, err)) {
        close_kernel(s);
        return false;
    }
    virtio_init(vdev, sizeof(struct virtio_vsock_config));
    vdev->together = true;
    for (unsigned i = 0; i < KERNEL_QUEUES; i++) {
        virtio_add_queue(vdev, QUEUE_SIZE, handle_none, sizeof(VirtElement));
    }
    s->events = virtio_add_queue(vdev, QUEUE_SIZE, handle_events, sizeof(VirtElement));
    virtio_queue_set_lazy(s->events);
    if (vhost_init(&s->vhost, &vsock_kind, vdev, s->fd, 0, KERNEL_QUEUES, err) && offer_features(s, err) && set_cid(s, err)) {
        return true;
    }
    virtio_cleanup(vdev);
    vhost_cleanup(&s->vhost);
    close_kernel(s);
    return false;
}

static void vsock_unrealize(Device *dev)
{
    VhostVsock *s = vsock(virtio_device(dev));

    virtio_cleanup(&s->vdev);
    vhost_cleanup(&s->vhost);
    close_kernel(s);
}

static void vsock_init(Object *obj) { vsock(virtio_device((Device *)(void *)obj))->fd = -1; }

/* ---- what users and managers see ---------------------------------------------------------------------- */

static const Property vsock_props[] = {
    PROP_U64("guest-cid", VhostVsock, guest_cid, .help = "the guest's address, 3 or more; each VM of a host has its own"),
    PROP_STRING("vhostfd", VhostVsock, vhostfd, .help = "an open descriptor of /dev/vhost-vsock"),
    PROP_ON_OFF_AUTO("seqpacket", VhostVsock, seqpacket, .help = "offer sockets of messages; auto: if the kernel can do it"),
    {}};

static const StateField vsock_fields[] = {STATE_VIRTIO(VhostVsock, vdev), {}};
static const StateDesc vsock_state = {
    .name = "virtio-vhost_vsock", .version = 0, .min_version = 0, .fields = vsock_fields, .post_load = virtio_post_load};

static const VirtioOps vsock_ops = {
    .device_id = VIRTIO_ID_VSOCK,
    .get_config = vsock_get_config,
    .start = vsock_start,
    .call_fds_changed = call_fds_changed,
    .quiesce = vsock_quiesce,
    .reset = vsock_reset,
    .take_loaded = take_loaded,
};

DEVICE_TYPE(vhost_vsock_device) = {
    .name = "vhost-vsock-device",
    .parent = "virtio-device",
    .size = sizeof(VhostVsock),
    .category = "misc",
    .props = vsock_props,
    .state = &vsock_state,
    .ops = &vsock_ops,
    .init = vsock_init,
    .realize = vsock_realize,
    .unrealize = vsock_unrealize,
};

/* ---- on PCI ---------------------------------------------------------------------------------------------- */

static unsigned pci_vectors(const VirtioPci *pci) { return 3; }

/* Machines of before QEMU 5.1 offered it to old drivers too. */
static bool pci_prepare(VirtioPci *pci, GError **err)
{
    if (!pci->vdev->disable_legacy_check) {
        pci->disable_legacy = ON_OFF_AUTO_ON;
        pci->disable_modern = false;
    }
    return true;
}

#define VSOCK_PCI(suffix, parent_name, kind, more)                                                 \
    VIRTIO_PCI_TYPE_(vhost_vsock_pci, suffix, parent_name, kind, NAME, 0x1012, VIRTIO_ID_VSOCK, PCI_CLASS_COMMUNICATION,  \
                     "Sockets between guest and host (virtio, vhost)", "misc", NULL, pci_vectors, pci_prepare, more, NULL)

VSOCK_PCI(_generic, "virtio-pci-generic", VIRTIO_PCI_GENERIC, "")
VSOCK_PCI(_modern, "virtio-pci", VIRTIO_PCI_NON_TRANSITIONAL, "-non-transitional")
