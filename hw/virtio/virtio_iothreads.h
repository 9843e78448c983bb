/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iothread-vq-mapping: which iothread serves which queues of a device, as QEMU 9.0 has it:
 *
 *   [{"iothread": "io0", "vqs": [0, 2]}, {"iothread": "io1", "vqs": [1]}]     each queue once
 *   [{"iothread": "io0"}, {"iothread": "io1"}]                                in turn
 */
#ifndef HW_VIRTIO_VIRTIO_IOTHREADS_H
#define HW_VIRTIO_VIRTIO_IOTHREADS_H

#include "core/object.h"
#include "util/loop.h"

typedef struct VirtioIoThreads VirtioIoThreads;

/* PROP_IOTHREAD_VQ_MAPPING("iothread-vq-mapping", Type, field): VirtioIoThreads * field; NULL: not given. */
extern const PropKind prop_kind_iothread_vq_mapping;
#define PROP_IOTHREAD_VQ_MAPPING(n, st, f, ...) PROP_ANY(n, &prop_kind_iothread_vq_mapping, st, f, ##__VA_ARGS__)

/* Where each of n_queues queues shall run: where the user says (properties iothread and iothread-vq-mapping; NULL: not given),
 * else in a thread of Kiln's own; loops[0] NULL: in the main loop. The iothreads of a mapping are referenced from then on. False
 * with *err: the mapping does not fit. In realize. */
bool virtio_iothreads_choose(Object *iothread, VirtioIoThreads *map, Vm *vm, unsigned n_queues, Loop **loops, GError **err);
/* The iothreads may go. In unrealize, or when realize fails behind this; NULL is fine. */
void virtio_iothreads_release(VirtioIoThreads *map);

#endif
