/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhost: the kernel serves a device's rings (linux/vhost.h). The guest sees no difference.
 *
 *              guest memory: rings and buffers
 *                 |                      |
 *   driver ---- ring --- kick_fd ---> kernel's thread ---> tap, vsock, ...
 *     ^                                  |
 *     +--- irqfd <--- vector's eventfd <-+      (masked vector, INTx: the main loop takes the eventfd's events)
 *
 * One descriptor of /dev/vhost-* serves one or more neighbouring queues, its vrings, from start to stop. Start tells the
 * kernel the features, the guest's memory (and again each time the map changes), and of each vring its size, position,
 * addresses and eventfds; then the kind's run sets it to work. Stop takes all that back and leaves the position with the
 * queue, from where a handler, a saved state or the next start goes on. Vrings are split ones: the kernel has no others.
 *
 * Interrupts go through the transport's eventfds (virtio_call_fd), whose masking and routing are not changed by vhost.
 * While pages are being tracked (DIRTY_MIGRATION) the kernel sets bits in a log, which address_space_dirty_sync collects.
 * When the kernel finds a ring malformed the device is broken, as it is when Kiln finds that.
 *
 * Not done: IOTLB (there is no IOMMU), and therefore backend features, which are about nothing else here.
 *
 * Everything under the VM lock.
 */
#ifndef HW_VIRTIO_VHOST_H
#define HW_VIRTIO_VHOST_H

#include "hw/virtio/virtio.h"

typedef struct VhostDev VhostDev;
typedef struct VhostVring VhostVring;

typedef struct VhostKind {
    const char *name;             /* "vhost-vsock", for messages */
    /* The kernel begins to serve those vrings that vhost_serves names / serves none any more. A failure is undone by the
     * caller's run(false). */
    bool (*run)(VhostDev *dev, bool on, GError **err);
} VhostKind;

struct VhostDev {
    const VhostKind *kind;
    VirtioDevice *vdev;
    int fd;                       /* borrowed */
    unsigned first, count;        /* vring i is queue first + i */
    uint64_t features;            /* the kernel's: VIRTIO_* and VHOST_* bits */
    uint64_t own_features;        /* that the kernel is told beside the driver's: set between init and start */
    unsigned busyloop_us;         /* the kernel looks for so long before it sleeps */
    /* ---- vhost.c ---- */
    VhostVring *vrings;           /* NULL: not initialized */
    bool running;
    MemoryListener listener;
    struct vhost_memory *table;   /* as the kernel has it; running */
    uint64_t *log;                /* bit n: page n of guest memory was written; NULL: nobody tracks */
    size_t log_words;
};

/* Makes fd ours (VHOST_SET_OWNER): once for each open descriptor. name: VhostKind.name. */
bool vhost_own(int fd, const char *name, GError **err);
/* Of an owned descriptor. count queues from first on; they exist. On failure there is nothing to clean up. */
bool vhost_init(VhostDev *dev, const VhostKind *kind, VirtioDevice *vdev, int fd, unsigned first, unsigned count, GError **err);
/* Stopped, or never initialized. */
void vhost_cleanup(VhostDev *dev);
/* Of these features, those that may be offered: ring features (and more: bits of the device that the kernel must know) that
 * the kernel lacks are left out. */
uint64_t vhost_offer(const VhostDev *dev, uint64_t features, uint64_t more);
/* In VirtioOps.start. False: nothing was started. The guest's faults break the device; *err is set in any case. */
bool vhost_start(VhostDev *dev, GError **err);
/* In VirtioOps.quiesce. Nothing happens when it does not run. */
void vhost_stop(VhostDev *dev);
/* In VirtioOps.call_fds_changed. */
void vhost_update_calls(VhostDev *dev);
/* Has the driver set up this vring? For run. */
bool vhost_serves(const VhostDev *dev, unsigned vring);

#endif
