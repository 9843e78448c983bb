/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtqueues: how a driver hands buffers to a device and gets them back (Virtual I/O Device 1.2, 2.6 to 2.9).
 *
 * A buffer is a chain of pieces of guest memory: first those that the device reads ("out"), then those that it writes
 * ("in"). There are two forms of the ring; both sides share memory and no lock.
 *
 *   Split: three areas, each written by one side only.
 *
 *     descriptors (driver)      available (driver)              used (device)
 *     +-----------------+       +----------------------+        +---------------------------+
 *   0 | addr len fl next|<--+   | flags                |        | flags                     |
 *   1 | addr len fl next|   |   | idx: heads put so far|        | idx: buffers done so far  |
 *   2 | addr len fl next|   +---| ring[idx % num]=head |        | ring[idx % num] = {head,  |
 *     | ...             |       | used_event           |        |   bytes written}          |
 *     +-----------------+       +----------------------+        | avail_event               |
 *                                                               +---------------------------+
 *     The driver writes a head and then idx; the device reads idx and then the heads. used runs the other way.
 *
 *   Packed: one ring of descriptors that both sides write, in turns. Its two flag bits AVAIL and USED say whose turn it
 *     is: a descriptor is the device's when AVAIL is the lap's number (mod 2) and USED is not; handing it back sets both
 *     to the lap. A chain lies in neighbouring descriptors; its last one names the buffer (id).
 *
 *     +---------------------------+   driver event area: when the driver wants an interrupt
 *     | addr len id flags (A, U)  |   device event area: when the device wants a notification
 *     | ...                       |     (always, never, or at one position: EVENT_IDX)
 *     +---------------------------+
 *
 * Indirect: a descriptor may name a table of descriptors instead of data. Event index: each side says at which index it
 * wants to be woken next. In order: buffers come back in the order in which they were given.
 *
 * The guest is not trusted. Every descriptor is copied once into locals; a walk is bounded by the ring's size and by
 * VIRTQUEUE_MAX_SIZE; lengths, positions, areas outside RAM and more requests than the ring can hold are refused. What is
 * malformed breaks the device (virtio_broken): it takes nothing more until it is reset.
 *
 * Threads: a running queue belongs to its loop: its device's (VirtioDevice.loop), or one of its own (virtio_queue_set_loop).
 * While it is stopped, to who holds the VM lock.
 *
 * Lent queues (virtio_queue_lend) are for devices whose other side lives in the main loop, as character devices do:
 *
 *     the queue's thread                                   main loop, VM lock
 *     ring -> take ----- a few buffers at a time --------> virtqueue_pop ... virtqueue_push
 *     ring <----------------- give, interrupt ---------------------+
 *
 *   (If there is little to do and the VM lock is free, the thread takes it and does so itself: virtio_queue_set_brief. While the
 *   device needs nothing of the main loop for a queue, it takes that one back: virtio_queue_keep.)
 *
 *   The thread alone is notified and takes buffers; it treats the main loop as a disk's queue treats the disk. Who gives buffers
 *   back shows them to the driver himself, unless the thread is at the ring just then, which then does so: waking it would cost
 *   more than all else. So one at a time is at the rings of a device that are lent, and nobody waits for another. No data is
 *   copied. A message is on its way at a time in each direction. When the queue stops, buffers that were not
 *   popped, or unpopped, go back into the ring in their order, so the device keeps what it would keep without a thread between.
 */
#ifndef HW_VIRTIO_VIRTQUEUE_H
#define HW_VIRTIO_VIRTQUEUE_H

#include "core/dma.h"
#include "core/region.h"
#include "util/loop.h"

#define VIRTQUEUE_MAX_SIZE 1024   /* descriptors of a ring, and pieces of one buffer */
#define VIRTQUEUE_INLINE_PIECES 8 /* of a buffer, without memory of their own */

typedef struct VirtioDevice VirtioDevice;
typedef struct VirtQueue VirtQueue;
typedef struct VirtElement VirtElement;
/* Buffers may have come: take them with virtqueue_pop until there is none. In the queue's thread. */
typedef void VirtQueueFn(VirtioDevice *vdev, VirtQueue *vq);

/* A buffer that the device holds, first member of the device's request. The memory of out and in stays valid until
 * virtqueue_push or virtqueue_drop. */
struct VirtElement {
    VirtQueue *queue;
    const struct iovec *out, *in;   /* host addresses; guest memory that may change at any time */
    unsigned out_count, in_count;
    uint64_t out_size, in_size;     /* bytes */
    /* ---- of the ring ---- */
    uint16_t id;                    /* split: head; packed: the buffer's id */
    uint16_t slots;                 /* descriptors that it takes in a packed ring */
    bool done;                      /* in order: waits for those before it */
    uint32_t written;
    unsigned capacity;              /* of iov and addrs */
    struct iovec *iov;              /* out, then in */
    uint64_t *addrs;                /* guest addresses of iov's pieces */
    struct iovec inline_iov[VIRTQUEUE_INLINE_PIECES];
    uint64_t inline_addrs[VIRTQUEUE_INLINE_PIECES];
    RamBlock *block;                /* keeps the memory there ... */
    GPtrArray *more_blocks;         /* ... when it is in several blocks; NULL: none */
    VirtElement *next;              /* free ones; in order: the next one given */
    VirtElement *lent_next;         /* in a list of lent ones */
};

/* ---- for devices; in the queue's thread, those of lent queues in the main loop ------------------- */

/* The next buffer, NULL when there is none (or the device is broken). The bytes behind VirtElement in the request are
 * not cleared. */
VirtElement *virtqueue_pop(VirtQueue *vq);
/* Gives it back with this many bytes written to in. The driver sees it at the next virtqueue_flush, which runs by itself
 * at the end of the loop's turn. The request is not the device's any more. */
void virtqueue_push(VirtElement *elem, uint64_t written);
/* Forgets it: the driver will not see it again before a reset. */
void virtqueue_drop(VirtElement *elem);
/* Puts back the buffer that was popped last, unused: the next pop gives it again. */
void virtqueue_unpop(VirtElement *elem);
/* The handler is called again soon, although the driver gave nothing new. Any thread. */
void virtqueue_again(VirtQueue *vq);
/* Not while the queue is lent. The device waits for something else than the driver: the handler is not called, and the driver need not notify, until
 * virtqueue_resume. That calls the handler (later, from the loop) if there are buffers. Starting the queue resumes. */
void virtqueue_pause(VirtQueue *vq);
void virtqueue_resume(VirtQueue *vq);
/* Shows the driver what was pushed, and interrupts it if it wants that. */
void virtqueue_flush(VirtQueue *vq);
/* Are there buffers to pop? */
bool virtqueue_is_empty(VirtQueue *vq);
/* Does it run, and may it take buffers? VM lock. */
bool virtqueue_takes(const VirtQueue *vq);
/* Buffers that the device holds. */
unsigned virtqueue_in_flight(const VirtQueue *vq);
/* Copies to in, from byte offset on; marks the pages dirty when it is pushed. Returns what fitted. */
size_t virt_element_write(VirtElement *elem, uint64_t offset, const void *buf, size_t len);
size_t virt_element_read(const VirtElement *elem, uint64_t offset, void *buf, size_t len);
/* The host memory of piece i of in, from byte at on, is freed as far as whole pages lie in it (balloon_pages.h), and reads
 * as zeros. After max bytes (or a few more, to the end of a page of the host) it ends; returns where. */
uint64_t virt_element_discard(VirtElement *elem, unsigned i, uint64_t at, uint64_t max);
/* After loading a state: what was popped before and not given back is to be popped again. */
void virtqueue_rewind(VirtQueue *vq);
/* For loading a state: the buffer id of these pieces, which an earlier device held. NULL with *err: they are not RAM. */
VirtElement *virtqueue_adopt(VirtQueue *vq, uint16_t id, uint16_t slots, const uint64_t *addrs, const uint64_t *lens,
                             unsigned out_count, unsigned in_count, GError **err);

#endif
