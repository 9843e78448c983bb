/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers of virtio before 1.0 (Virtual I/O Device 1.2, 4.1.4.8): ports.
 *
 *   0 u32 device features   4 u32 driver features   8 u32 queue address (page)   12 u16 queue size   14 u16 queue select
 *   16 u16 notify   18 u8 status   19 u8 ISR   with MSI-X: 20 u16 configuration vector   22 u16 queue vector
 *   then the device's configuration
 *
 * A Linux before 2.6.34 does not let the device master the bus; writing ACKNOWLEDGE|DRIVER does it for it, as in QEMU.
 */
#include "hw/virtio/virtio_pci.h"
#include "util/trace.h"

enum {
    REG_HOST_FEATURES = 0,
    REG_GUEST_FEATURES = 4,
    REG_QUEUE_PFN = 8,
    REG_QUEUE_NUM = 12,
    REG_QUEUE_SEL = 14,
    REG_QUEUE_NOTIFY = 16,
    REG_STATUS = 18,
    REG_ISR = 19,
    REG_CONFIG_VECTOR = 20,
    REG_QUEUE_VECTOR = 22,
};
#define PAGE_SHIFT 12

static unsigned config_start(const VirtioPci *p) { return msix_enabled(&p->pci) ? 24 : 20; }

static uint64_t read_register(VirtioPci *p, uint64_t offset)
{
    VirtioDevice *vdev = p->vdev;
    VirtQueue *vq = virtio_queue(vdev, vdev->queue_sel);

    switch (offset) {
    case REG_HOST_FEATURES:
        return (uint32_t)(vdev->host_features | 1u << VIRTIO_F_BAD_FEATURE);
    case REG_GUEST_FEATURES:
        return (uint32_t)vdev->guest_features;
    case REG_QUEUE_PFN:
        return vq ? virtio_queue_areas(vq).desc >> PAGE_SHIFT : 0;
    case REG_QUEUE_NUM:
        return vq ? virtio_queue_num(vq) : 0;
    case REG_QUEUE_SEL:
        return vdev->queue_sel;
    case REG_STATUS:
        return vdev->status;
    case REG_ISR:
        return virtio_pci_read_isr(p);
    case REG_CONFIG_VECTOR:
        return vdev->config_vector;
    case REG_QUEUE_VECTOR:
        return vq ? virtio_queue_vector(vq) : VIRTIO_NO_VECTOR;
    default:
        return UINT32_MAX;
    }
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *p = opaque;
    const unsigned start = config_start(p);
    uint64_t value;

    if (!p->vdev) {
        return all_ones(size);
    }
    if (offset >= start) {
        return virtio_config_read(p->vdev, offset - start, size);
    }
    value = read_register(p, offset) & all_ones(size);
    trace(virtio_pci_legacy_read, "@%u size %u -> 0x%" PRIx64, (unsigned)offset, size, value);
    return value;
}

static void set_pfn(VirtioPci *p, VirtQueue *vq, uint64_t pfn)
{
    if (!vq) {
        return;
    }
    if (pfn) {
        virtio_queue_set_legacy(vq, pfn << PAGE_SHIFT);
    } else {
        virtio_set_status(p->vdev, 0); /* as QEMU: freeing a queue resets the device */
        virtio_pci_unuse_vectors(p);
        virtio_pci_update_intx(p);
    }
}

static void set_status(VirtioPci *p, uint8_t status)
{
    virtio_set_status(p->vdev, status);
    if (!status) {
        virtio_pci_unuse_vectors(p);
        virtio_pci_reset_setup(p);
        virtio_pci_update_intx(p);
    }
    if (status == (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)) {
        pci_config_write(&p->pci, PCI_COMMAND, load16_le(p->pci.config + PCI_COMMAND) | PCI_COMMAND_MASTER, 2);
    }
}

static void write_features(VirtioPci *p, uint32_t value)
{
    VirtioDevice *vdev = p->vdev;

    /* A driver that takes everything takes what was meant for none: then it gets the oldest set. */
    virtio_set_features(vdev, value & (1u << VIRTIO_F_BAD_FEATURE) ? 0 : value);
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *vdev = p->vdev;
    const unsigned start = config_start(p);

    if (!vdev) {
        return;
    }
    if (offset >= start) {
        virtio_config_write(vdev, offset - start, value, size);
        return;
    }
    trace(virtio_pci_legacy_write, "@%u size %u <- 0x%" PRIx64, (unsigned)offset, size, value);
    VirtQueue *vq = virtio_queue(vdev, vdev->queue_sel);
    switch (offset) {
    case REG_GUEST_FEATURES:
        write_features(p, (uint32_t)value);
        break;
    case REG_QUEUE_PFN:
        set_pfn(p, vq, (uint32_t)value);
        break;
    case REG_QUEUE_SEL:
        if (value < VIRTIO_QUEUES_MAX) {
            vdev->queue_sel = (uint16_t)value;
        }
        break;
    case REG_QUEUE_NOTIFY:
        vq = virtio_queue(vdev, (uint16_t)value);
        if (vq) {
            virtio_kick(vq);
        }
        break;
    case REG_STATUS:
        set_status(p, (uint8_t)value);
        break;
    case REG_CONFIG_VECTOR:
        vdev->config_vector = virtio_pci_use_vector(p, vdev->config_vector, (uint16_t)value);
        break;
    case REG_QUEUE_VECTOR:
        if (vq) {
            virtio_queue_set_vector(vq, virtio_pci_use_vector(p, virtio_queue_vector(vq), (uint16_t)value));
        }
        break;
    default:
        guest_error(&vdev->dev, "write of 0x%" PRIx64 " to register %u, which there is not", value, (unsigned)offset);
    }
}

const RegionOps virtio_pci_legacy_ops = {
    .read = legacy_read,
    .write = legacy_write,
    .valid = {.min_size = 1, .max_size = 4, .unaligned = true},
    .impl = {.min_size = 1, .max_size = 4, .unaligned = true},
};
