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

/* Page numbers that are being dealt with. */
typedef struct BalloonWork {
    VirtElement *elem;        /* NULL: none */
    uint64_t done;            /* of its page numbers */
} BalloonWork;

typedef struct VirtioBalloon {
    VirtioDevice vdev;
    VirtQueue *inflate, *deflate, *stats_queue, *hints, *reports; /* the last two: NULL without their features */
    Object *iothread;         /* property; the queues are in the main loop all the same */
    bool full_config;         /* property qemu-4-0-config-size */
    uint32_t num_pages;       /* that the balloon should have */
    uint32_t actual;          /* that it has, the driver says */
    uint32_t poison;          /* what free pages of the guest are filled with; reported pages stay then */
    uint32_t hint_id, hint_status; /* of free page hints: QEMU's, which ends migrations with them */
    BalloonPages *pages;
    BalloonWork giving, taking; /* of the inflate and the deflate queue */
    /* ---- statistics ---- */
    int64_t poll_seconds;     /* property; 0: not asked for */
    Timer poll_timer;
    VirtElement *stats_elem;  /* the driver's last statistics; giving it back asks for new ones. NULL: not there yet */
    bool stats_rewind;        /* a state was loaded: what its device kept is to be popped again */
    uint64_t stats[VIRTIO_BALLOON_S_NR]; /* all ones: not known */
    int64_t stats_time;       /* seconds of the realtime clock; 0: never */
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
