/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-input: keyboards and pointers whose events are Linux's (Virtual I/O Device 1.2, 5.8; linux/input-event-codes.h).
 *
 * The driver writes select and subsel into the configuration and reads what the device is behind them. Events go into
 * buffers of queue 0, one each; a report ends with SYN and is delivered whole or, when the driver has no buffers for it,
 * not at all. Queue 1 brings events of the guest: the keyboard's lights.
 */
#ifndef HW_VIRTIO_VIRTIO_INPUT_H
#define HW_VIRTIO_VIRTIO_INPUT_H

#include <linux/virtio_input.h>

#include "hw/virtio/virtio.h"
#include "ui/input.h"

/* One thing that the driver can read. */
typedef struct VirtioInputConfig {
    uint8_t select, subsel, size;
    uint8_t data[44];
} VirtioInputConfig;

/* What a kind of device is. */
typedef struct VirtioInputInfo {
    VirtioOps virtio;              /* first: the family's */
    const VirtioInputConfig *config; /* ends with size 0 */
    const InputOps *input;
} VirtioInputInfo;

/* Linux's code of a key of a PC (ui/input.h's number); 0: it has none. */
uint16_t virtio_input_key_code(unsigned qnum);

#endif
