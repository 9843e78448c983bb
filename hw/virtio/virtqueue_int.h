/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between virtqueue.c (common), virtqueue_split.c, virtqueue_packed.c and virtio.c. */
#ifndef HW_VIRTIO_VIRTQUEUE_INT_H
#define HW_VIRTIO_VIRTQUEUE_INT_H

#include "hw/virtio/virtio.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_AVAIL = 1 << 7, DESC_USED = 1 << 15 };
#define DESC_SIZE 16

/* A descriptor as it was read, once. */
typedef struct VirtDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next; /* packed: the buffer's id */
} VirtDesc;

/* One of a ring's areas, in host memory. */
typedef struct RingArea {
    uint8_t *host;
    RamBlock *block;
    uint64_t offset; /* in block */
} RingArea;

typedef struct VirtLent VirtLent;

/* What differs between the two forms. In the queue's thread, areas mapped. */
typedef struct RingOps {
    bool (*is_empty)(VirtQueue *vq);
    /* Fills elem; false: none there, or broken. */
    bool (*pop)(VirtQueue *vq, DmaWindow *w, VirtElement *elem);
    /* Takes back the last pop. */
    void (*unpop)(VirtQueue *vq, const VirtElement *elem);
    void (*put_used)(VirtQueue *vq, const VirtElement *elem);
    /* Makes visible what put_used wrote. */
    void (*publish)(VirtQueue *vq);
    /* Does the driver want an interrupt for what was published since the last one? */
    bool (*wants_interrupt)(VirtQueue *vq);
    void (*set_notification)(VirtQueue *vq, bool on);
} RingOps;

struct VirtQueue {
    VirtioDevice *vdev;
    unsigned index;
    VirtQueueFn *handler;
    bool lazy;                /* virtio_queue_set_lazy */
    bool quiet;               /* virtio_queue_set_quiet */
    size_t request_size;      /* of what starts with a VirtElement */
    uint16_t num_default;     /* descriptors offered */
    Loop *loop;               /* of its own; NULL: the device's */
    VirtLent *lent;           /* its buffers are lent to the main loop; NULL: they are not */
    /* ---- what the driver set up; VM lock, stopped ---- */
    uint16_t num;             /* descriptors; 0: not there */
    uint64_t desc, avail, used; /* guest addresses of the areas; 0: not set */
    bool enabled;             /* modern: queue_enable */
    uint16_t vector;          /* MSI-X; atomic */
    /* ---- waking ---- */
    int kick_fd;              /* eventfd */
    LoopFd *kick_source;      /* NULL: nobody listens */
    LoopPoll *poll;
    LoopTimer *flush_timer;
    LoopFd *early_source;     /* in the main loop: a legacy driver may use the queue before DRIVER_OK; VM lock */
    bool running;             /* in the device's loop */
    bool kernel;              /* vhost serves it; not running then; VM lock */
    bool hushed;              /* takes no buffers any more, gives back those it has */
    bool polling;             /* LoopPoll looks: no notifications are wanted */
    bool paused;              /* virtqueue_pause */
    bool flush_armed;
    /* ---- position; of the queue's thread ---- */
    const RingOps *ops;
    RingArea areas[3];        /* desc, avail, used */
    bool mapped;
    uint64_t map_generation;  /* AddressSpace.generation of areas */
    uint16_t last_avail, shadow_avail, used_idx;
    uint16_t signalled;       /* used index at the last decision about an interrupt */
    bool signalled_valid;
    unsigned slots_since;     /* packed: descriptors used since then */
    bool avail_wrap, used_wrap;
    uint16_t published;       /* split: used index that the driver sees */
    bool notification;        /* the driver is to tell of new buffers */
    unsigned in_flight, slots_in_flight;
    unsigned unpublished;     /* buffers pushed since the last publish */
    VirtElement *free_elems;
    unsigned n_free;
    unsigned budget;          /* buffers that the handler may still take this time; VIRTQUEUE_NO_BUDGET: not in it */
    VirtElement *order_head, **order_tail; /* in order: given and not yet shown as used */
};

#define VIRTQUEUE_NO_BUDGET UINT32_MAX

extern const RingOps virtqueue_split_ops, virtqueue_packed_ops;

static inline VirtDesc desc_decode(const uint8_t *raw, bool packed)
{
    return (VirtDesc){.addr = load64_le(raw),
                      .len = load32_le(raw + 8),
                      .flags = load16_le(raw + (packed ? 14 : 12)),
                      .next = load16_le(raw + (packed ? 12 : 14))};
}

/* Adds a descriptor's memory to the buffer. False: the device is broken now. */
bool virtqueue_add_piece(VirtQueue *vq, DmaWindow *w, VirtElement *elem, const VirtDesc *desc);
/* Copies entry i of an indirect table. False: not in RAM, broken. */
bool virtqueue_read_indirect(VirtQueue *vq, DmaWindow *w, const VirtDesc *table, unsigned i, bool packed, VirtDesc *desc);
/* Entries of an indirect table; 0: malformed, broken. */
unsigned virtqueue_indirect_count(VirtQueue *vq, const VirtDesc *table);
static inline void virtqueue_area_dirty(const RingArea *area, uint64_t at, uint64_t len)
{
    ram_block_set_dirty(area->block, area->offset + at, len);
}
/* Was event passed when the index went from old to now? */
static inline bool virtqueue_event_passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}
static inline uint16_t ring_load16(const uint8_t *p, int order)
{
    return GUINT16_FROM_LE(order == __ATOMIC_ACQUIRE ? __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE)
                                                     : __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED));
}
static inline void ring_store16(uint8_t *p, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)p, GUINT16_TO_LE(value), __ATOMIC_RELEASE);
}

/* ---- virtqueue.c for virtqueue_lent.c: pop, push, ... of the ring; in the queue's thread ---- */

VirtElement *virtqueue_ring_pop(VirtQueue *vq);
void virtqueue_ring_push(VirtElement *elem, uint64_t written);
void virtqueue_ring_drop(VirtElement *elem);
void virtqueue_ring_unpop(VirtElement *elem);

/* ---- virtqueue_lent.c for virtqueue.c and virtio.c; VM lock ---- */

VirtElement *virtqueue_lent_pop(VirtQueue *vq);
void virtqueue_lent_push(VirtElement *elem, uint64_t written);
void virtqueue_lent_drop(VirtElement *elem);
void virtqueue_lent_unpop(VirtElement *elem);
/* Any thread. */
void virtqueue_lent_again(VirtQueue *vq);
/* In the queue's thread: look(vq), now or when nobody else is at the ring. */
void virtqueue_lent_look(VirtQueue *vq, void (*look)(VirtQueue *vq));
/* When the VM stops, before the queues do: what the driver told of gets to the device, as far as it takes it. */
void virtqueue_lent_last_look(VirtioDevice *vdev);
/* Of this queue, which takes no buffers any more, or of all (NULL): those that were pushed are given back, and the others
 * unpopped, except those that the device keeps. */
void virtqueue_lent_recall(VirtioDevice *vdev, const VirtQueue *vq);
void virtqueue_lent_end(VirtioDevice *vdev);

/* ---- for virtio.c ---- */

void virtqueue_init(VirtQueue *vq, VirtioDevice *vdev, unsigned index, uint16_t size, VirtQueueFn *handler, size_t request_size);
void virtqueue_free(VirtQueue *vq);
/* Back to what it was before the driver came. VM lock, stopped. */
void virtqueue_reset(VirtQueue *vq);
/* In the queue's loop. start: listens, and looks once; hush: listens no more; stop (after hush): shows what was pushed. */
void virtqueue_start(VirtQueue *vq);
void virtqueue_hush(VirtQueue *vq);
void virtqueue_stop(VirtQueue *vq);
/* Is it set up by the driver? */
bool virtqueue_is_ready(const VirtQueue *vq);
/* For vhost.c; VM lock, not running: finds the areas in host memory (which stays until they are unmapped) and keeps them in
 * vq->areas. False: the device is broken now. */
bool virtqueue_map(VirtQueue *vq);
void virtqueue_unmap(VirtQueue *vq);

#endif
