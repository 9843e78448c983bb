/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-balloon: memory that the guest gives back (Virtual I/O Device 1.2, 5.5). The guest's driver is told how large its
 * balloon should be; pages in it are the host's until the driver takes them out again.
 */
#ifndef HW_VIRTIO_VIRTIO_BALLOON_H
#define HW_VIRTIO_VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>

#include "hw/virtio/balloon_pages.h"
#include "hw/virtio/virtio.h"
#include "util/lock.h"

/* A buffer that is being dealt with, in turns. */
typedef struct BalloonWork {
    VirtElement *elem;        /* NULL: none */
    uint64_t done;            /* of its page numbers; reports: of the bytes of a piece */
    unsigned piece;           /* reports only */
} BalloonWork;

typedef struct BalloonStats {
    uint64_t value[VIRTIO_BALLOON_S_NR]; /* all ones: not known */
    int64_t time;             /* seconds of the realtime clock; 0: never */
} BalloonStats;

/* VM lock, unless said otherwise. */
typedef struct VirtioBalloon {
    VirtioDevice vdev;
    VirtQueue *inflate, *deflate, *stats_queue, *hints, *reports; /* the last two: NULL without their features */
    Object *iothread;         /* property: of the queues; NULL: a thread of Kiln's own */
    bool full_config;         /* property qemu-4-0-config-size */
    uint32_t num_pages;       /* that the balloon should have */
    uint32_t actual;          /* that it has, the driver says */
    uint32_t poison;          /* atomic; what free pages of the guest are filled with; reported pages stay then */
    uint32_t hint_id, hint_status; /* of free page hints: QEMU's, which ends migrations with them; the latter atomic */
    /* ---- of the queues' thread; while they are stopped, of who holds the VM lock ---- */
    BalloonPages *pages;
    BalloonWork giving, taking, reporting; /* of the inflate and the deflate queue, and that of reports */
    VirtElement *stats_elem;  /* the driver's last statistics; giving it back asks for new ones. NULL: not there yet */
    /* ---- from there to the main thread ---- */
    Lock fresh_lock;
    BalloonStats fresh;       /* fresh_lock */
    bool fresh_posted;        /* atomic; a message that there are some is on its way */
    bool stats_wanted;        /* atomic; and back: stats_elem is to go to the driver */
    /* ---- statistics; VM lock ---- */
    int64_t poll_seconds;     /* property; 0: not asked for */
    Timer poll_timer;
    bool stats_rewind;        /* a state was loaded: what its device kept is to be popped again */
    bool stats_again;         /* so it was done; before anything else it is popped */
    BalloonStats stats;
    struct BalloonLoaded *loaded; /* of a stream, until it is taken; NULL: none */
} VirtioBalloon;

/* The VM's balloon. NULL with *err (DeviceNotActive): it has none. VM lock. */
VirtioBalloon *virtio_balloon_find(Vm *vm, GError **err);
/* The guest is to have so many bytes; more than there are: all. */
void virtio_balloon_set_target(VirtioBalloon *s, uint64_t bytes);
/* Bytes that the guest has now. */
uint64_t virtio_balloon_memory(const VirtioBalloon *s);

/* virtio_balloon_state.c */
void virtio_balloon_save(VirtioDevice *vdev, StateBuf *buf);
bool virtio_balloon_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err);
void virtio_balloon_take_loaded(VirtioDevice *vdev);

#endif
