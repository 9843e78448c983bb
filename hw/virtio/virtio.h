/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every virtio device has, whatever its transport: features, status, configuration, queues and their thread
 * (Virtual I/O Device 1.2, chapter 2). hw/virtio/virtqueue.h tells how the queues work.
 *
 *   driver --- transport (virtio_pci.c: registers, vectors) --- VirtioDevice --- virtio_blk.c, virtio_rng.c, ...
 *
 * Writing a device: a type with parent "virtio-device" and ops VirtioOps. Its realize calls virtio_init, then
 * virtio_add_queue for each queue, and may choose a loop; its unrealize calls virtio_cleanup first. A queue's handler pops
 * buffers, and pushes each sooner or later. A front for PCI is one more type: see virtio_pci.h.
 *
 * Threads. Registers, status and configuration: VM lock. Queues run in vdev->loop: the main loop (with the VM lock) or an
 * iothread's (no lock is held, and nothing there may wait for the VM lock); or some in iothreads of their own
 * (virtio_queue_set_loop): then handlers of several queues run at the same time. Only then may others touch the queues:
 * from inside ops->quiesce's end until virtio_update starts them again, all is still.
 *
 * Life of a driver: it resets the device (status 0), reads features and writes those it takes, sets FEATURES_OK, sets up
 * queues, and with DRIVER_OK they start. They stop while the VM does, when the bus may not be mastered, and when the
 * device is broken: it then has DEVICE_NEEDS_RESET and takes nothing more until the driver resets it.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "core/vm.h"
#include "hw/virtio/virtqueue.h"

#define VIRTIO_QUEUES_MAX 1024
#define VIRTIO_NO_VECTOR 0xffff
#define VIRTIO_F_BAD_FEATURE 30 /* of legacy hosts: a driver that takes it takes everything */

typedef struct VirtioOps {
    uint16_t device_id;           /* VIRTIO_ID_* */
    bool fewer_queues;            /* a state without its last queues is taken */
    uint64_t legacy_features;     /* offered to drivers of before 1.0 only */
    /* The driver's features are known. NULL: nothing to do. VM lock. */
    void (*features_set)(VirtioDevice *vdev);
    /* How many queues a driver with these features sees, at most those that were added. NULL: these. */
    unsigned (*count_queues)(const VirtioDevice *vdev, uint64_t features);
    /* Fills vdev->config for the driver to read. NULL: it is as it is. VM lock. */
    void (*get_config)(VirtioDevice *vdev);
    /* The driver wrote config: look at what it may change, and put the rest right. NULL: writes are dropped. VM lock. */
    void (*set_config)(VirtioDevice *vdev, const uint8_t *config);
    /* Queues are about to start / have stopped taking buffers. quiesce waits until no request of vq (NULL: of any) is
     * being worked on; they were pushed, dropped or are kept. VM lock. NULL: nothing to do. */
    void (*start)(VirtioDevice *vdev);
    /* Queues have started. NULL: nothing to do. VM lock. */
    void (*started)(VirtioDevice *vdev);
    /* The device runs, and virtio_call_fd of its queues may give others now. NULL: nobody uses that. VM lock. */
    void (*call_fds_changed)(VirtioDevice *vdev);
    void (*quiesce)(VirtioDevice *vdev, VirtQueue *vq);
    /* Drops all requests that are kept; back to power-on. Stopped. VM lock. */
    void (*reset)(VirtioDevice *vdev);
    /* As reset, for one queue (RING_RESET). NULL: quiesce does it. */
    void (*queue_reset)(VirtioDevice *vdev, VirtQueue *vq);
    /* The device's own part of its state in QEMU's form, behind the queues. load reads and checks it, into memory of its
     * own; when all else was accepted (if ever) take_loaded takes it from there, the queues having been loaded. */
    void (*save)(VirtioDevice *vdev, StateBuf *buf);
    bool (*load)(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err);
    /* Does what load read agree with the driver's features, of which it was told the low half? NULL: it does. */
    bool (*check_loaded)(const VirtioDevice *vdev, uint64_t features, GError **err);
    void (*take_loaded)(VirtioDevice *vdev);
} VirtioOps;

/* What a transport does for its device. */
typedef struct VirtioTransport {
    /* Interrupt of a queue or of the configuration (VIRTIO_NO_VECTOR: MSI-X without one). config: it is the latter. Any
     * thread. */
    void (*notify)(void *opaque, uint16_t vector, bool config);
    /* The eventfd that stands for a queue's interrupt by this vector; -1: there is none. VM lock. */
    int (*call_fd)(void *opaque, uint16_t vector);
    /* The transport's parts of the state: before all else, and "virtio/extra_state". */
    void (*save_config)(void *opaque, StateBuf *buf);
    void (*save_extra)(void *opaque, StateBuf *buf);
} VirtioTransport;

typedef struct VirtioMailbox VirtioMailbox;

/* Type "virtio-device". */
struct VirtioDevice {
    Device dev;
    const VirtioOps *ops;         /* of its type */
    const VirtioTransport *transport;
    void *transport_opaque;
    Device *dma;                  /* whose DMA it is: the PCI function */
    Loop *loop;                   /* of its queues */
    Object *loop_held;            /* virtio_stay_in; NULL: nothing to hold */
    VirtQueue *queues;
    unsigned n_queues;            /* that the driver sees */
    unsigned n_added;             /* by virtio_add_queue */
    uint8_t *config;              /* config_size bytes, little-endian */
    size_t config_size;
    uint64_t host_features, guest_features; /* bit n: feature n; guest's: a subset */
    uint8_t status;               /* VIRTIO_CONFIG_S_* */
    uint8_t isr;                  /* atomic */
    uint16_t queue_sel;
    uint16_t config_vector;
    uint8_t generation;           /* of the configuration */
    bool broken;                  /* atomic */
    bool disabled;                /* bus mastering was taken away */
    bool started_early;           /* legacy drivers use queues before DRIVER_OK */
    bool running;                 /* its queues are in the loop */
    bool spread;                  /* queues have loops of their own */
    bool together;                /* a single queue is not started or stopped: all are */
    bool kernel;                  /* atomic; the kernel serves some of its queues (vhost.h) */
    bool vm_running;
    bool use_started, use_disabled_flag, disable_legacy_check; /* properties */
    VirtioMailbox *mailbox;
    struct VirtLending *lending;  /* virtqueue_lent.c; NULL: no queue is lent */
    struct Incoming *incoming;    /* virtio_state.c: read, not yet taken */
    uint8_t *incoming_config;
};

static inline bool virtio_has_feature(const VirtioDevice *vdev, unsigned bit) { return (vdev->guest_features >> bit) & 1; }
static inline VirtioDevice *virtio_device(Device *dev) { return container_of(dev, VirtioDevice, dev); }

/* ---- for devices ------------------------------------------------------------------------------ */

/* First in realize. */
void virtio_init(VirtioDevice *vdev, size_t config_size);
/* size: descriptors, 2 to VIRTQUEUE_MAX_SIZE. request_size: of the struct that begins with the VirtElement. */
VirtQueue *virtio_add_queue(VirtioDevice *vdev, unsigned size, VirtQueueFn *handler, size_t request_size);
/* The handler does not pop all there is: it waits for data, time or the like, and is called again through virtio_kick. */
void virtio_queue_set_lazy(VirtQueue *vq);
/* Seldom busy, a guest in a thread that others keep busy: it is not waited for busily, and its turns are short. */
void virtio_queue_set_quiet(VirtQueue *vq);
/* The queue runs in this loop rather than in vdev->loop; NULL: there after all. Stopped. */
void virtio_queue_set_loop(VirtQueue *vq, Loop *loop);
Loop *virtio_queue_loop(const VirtQueue *vq);
/* The queue's ring stays where it is, but its buffers, at most max at once, are lent to the main loop: its handler runs there
 * under the VM lock, and only there may the device use virtqueue_pop, push, unpop, drop and again. What the ring holds comes
 * by itself, also when nothing was asked for. Needs vdev->loop to be another loop. In realize. See virtqueue.h. */
void virtio_queue_lend(VirtQueue *vq, unsigned max);
/* The handler of this lent queue may be called in its thread, too, which saves a wake-up there and one back: under the VM lock,
 * if that is free, and brief says so (with that lock): nothing will be waited for, and there is little to do. bytes are to be
 * read. */
typedef bool VirtBriefFn(VirtioDevice *vdev, VirtQueue *vq, uint64_t bytes);
void virtio_queue_set_brief(VirtQueue *vq, VirtBriefFn *brief);
/* From now on the queue is not lent: handler runs in its thread, without the VM lock, and only there may the device use
 * virtqueue_pop and all the others. NULL: it is lent again. Buffers that the device has not popped go back into the ring before;
 * others it keeps. VM lock. */
void virtio_queue_keep(VirtQueue *vq, VirtQueueFn *handler);
/* A queue's descriptors offered, from now on. Stopped, not set up by the driver. */
void virtio_queue_resize(VirtQueue *vq, unsigned size);
/* Moves the queues to another loop: stops them if they run, calls leave(opaque) in the old thread and enter(opaque) in the
 * new one, and starts them again. VM lock. */
void virtio_move(VirtioDevice *vdev, Loop *loop, LoopFn *leave, LoopFn *enter, void *opaque);
/* Stops the queues, if they run; virtio_update starts them again. VM lock. */
void virtio_stop(VirtioDevice *vdev);
/* Stops the queues, if they run, and starts them again. VM lock. */
void virtio_restart(VirtioDevice *vdev);
/* The queues' loop, from now on: one that others have chosen, and that stays while this device is there. Stopped. */
void virtio_stay_in(VirtioDevice *vdev, Loop *loop);
/* First in unrealize, and when realize fails after virtio_init. The loop is not used any more. */
void virtio_cleanup(VirtioDevice *vdev);
VirtQueue *virtio_queue(VirtioDevice *vdev, unsigned index);
unsigned virtqueue_index(const VirtQueue *vq);
unsigned virtqueue_size(const VirtQueue *vq);

/* Runs fn(opaque) in the queues' thread (vdev->loop's) and waits for it. VM lock. */
void virtio_call(VirtioDevice *vdev, LoopFn *fn, void *opaque);
/* The same in this loop: an iothread's or the main loop. VM lock. */
void virtio_call_loop(VirtioDevice *vdev, Loop *loop, LoopFn *fn, void *opaque);
/* Runs fn(vdev) in the main loop, soon; not when the device has gone by then. Any thread. */
void virtio_post_main(VirtioDevice *vdev, void (*fn)(VirtioDevice *vdev));
/* The guest's fault: the device takes nothing more until it is reset. Any thread; the first one is logged. */
void virtio_broken(VirtioDevice *vdev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Interrupts the driver: config changed. VM lock. */
void virtio_notify_config(VirtioDevice *vdev);
/* Calls the queue's handler soon. Any thread. */
void virtio_kick(VirtQueue *vq);

/* ---- for transports; VM lock unless said otherwise ---------------------------------------------- */

void virtio_set_transport(VirtioDevice *vdev, const VirtioTransport *transport, void *opaque, Device *dma);
/* The driver writes the status register. 0 resets. */
void virtio_set_status(VirtioDevice *vdev, uint8_t status);
void virtio_reset(VirtioDevice *vdev);
/* What the driver takes; those that were not offered are left out (and FEATURES_OK will be refused). */
void virtio_set_features(VirtioDevice *vdev, uint64_t features);
void virtio_set_disabled(VirtioDevice *vdev, bool disabled);
/* size 1, 2, 4 or 8. What lies outside reads as ones. little: modern; else in the order of the guest's CPU, which is the
 * same. */
uint64_t virtio_config_read(VirtioDevice *vdev, uint64_t offset, unsigned size);
void virtio_config_write(VirtioDevice *vdev, uint64_t offset, uint64_t value, unsigned size);
/* Starts or stops queues, as status and VM are now. */
void virtio_update(VirtioDevice *vdev);

/* A queue's setup. */
uint16_t virtio_queue_num(const VirtQueue *vq);
/* 0 and more than VIRTQUEUE_MAX_SIZE are refused: nothing happens. */
void virtio_queue_set_num(VirtQueue *vq, uint64_t num);
bool virtio_queue_enabled(const VirtQueue *vq);
typedef struct VirtQueueAreas {
    uint64_t desc, avail, used;
} VirtQueueAreas;
VirtQueueAreas virtio_queue_areas(const VirtQueue *vq);
/* Modern: enables the queue there. */
void virtio_queue_enable(VirtQueue *vq, VirtQueueAreas areas);
/* Legacy: all areas lie from addr on (0: none). */
void virtio_queue_set_legacy(VirtQueue *vq, uint64_t addr);
void virtio_queue_reset(VirtQueue *vq);
uint16_t virtio_queue_vector(const VirtQueue *vq);
void virtio_queue_set_vector(VirtQueue *vq, uint16_t vector);
/* index: below vdev->n_added. */
int virtio_kick_fd(const VirtioDevice *vdev, unsigned index);
/* MSI-X was switched on or off. */
void virtio_call_fds_changed(VirtioDevice *vdev);

/* ---- for virtqueue.c ------------------------------------------------------------------------------ */

/* Any thread. */
void virtio_notify_queue(VirtQueue *vq);

/* For vhost.c: writing to it interrupts the driver for this queue; -1: it wants none. */
int virtio_call_fd(const VirtQueue *vq);
/* For virtio_state.c: guest_features are those of a stream. */
void virtio_features_loaded(VirtioDevice *vdev);
/* virtio_state.c */
void virtio_incoming_free(VirtioDevice *vdev);

/* ---- subsections in a device's own state (virtio_state.c) -------------------------------------------- */

/* The head: name, version 1. */
void virtio_put_part(StateBuf *buf, const char *name);
/* Comes one whose name begins so? */
bool virtio_begins_part(const StateBuf *buf, const char *prefix);
/* The head of the one that comes: its name, 256 bytes. False: another version. */
bool virtio_get_part(StateBuf *buf, char *name, GError **err);

/* ---- buffers in a device's own state (virtqueue_saved.c) --------------------------------------------- */

typedef struct VirtSavedElement {
    uint16_t id, slots;
    unsigned out, in;             /* pieces */
    uint64_t *addrs, *lens;       /* out's, then in's */
} VirtSavedElement;

/* In VirtioOps.save: a buffer that the device keeps. */
void virt_element_save(const VirtioDevice *vdev, StateBuf *buf, const VirtElement *elem);
/* In VirtioOps.load. On success the caller clears it some time. */
bool virt_element_load(const VirtioDevice *vdev, StateBuf *buf, VirtSavedElement *saved, GError **err);
void virt_saved_element_clear(VirtSavedElement *saved);
/* In VirtioOps.take_loaded: the device holds the buffer again. NULL with *err: its memory is not RAM. */
VirtElement *virt_saved_element_adopt(VirtQueue *vq, const VirtSavedElement *saved, GError **err);

/* ---- properties and state --------------------------------------------------------------------------- */

/* Each device's table has STATE_VIRTIO(Type, vdev) and nothing else: QEMU's "virtio" field, which is the whole state. */
extern const StateKind state_kind_virtio;
#define STATE_VIRTIO(st, f)                                                                        \
    {.name = "virtio", .kind = &state_kind_virtio, .offset = offsetof(st, f), .size = 1, .stride = 0, .count = 1}
/* .post_load of those tables. */
bool virtio_post_load(void *vdev, unsigned version, GError **err);

#endif
