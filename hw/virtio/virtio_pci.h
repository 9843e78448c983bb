/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio on PCI (Virtual I/O Device 1.2, 4.1), as QEMU 7.2 lays it out.
 *
 *   BAR 0  ports, legacy and transitional: the old registers, then the device's configuration
 *   BAR 1  MSI-X, unless vectors=0
 *   BAR 4  memory, modern: common configuration at 0, ISR at 1000h, device configuration at 2000h, notifications from
 *          3000h on (a word each queue; with page-per-vq=on a page each)
 *   BAR 2  ports, modern-pio-notify=on: notifications
 *
 * A front is a type with parent "virtio-pci" (or "virtio-pci-transitional", "-non-transitional"), ops VirtioPciInfo,
 * and deputy VIRTIO_PCI_DEPUTY("virtio-X-device"): its VirtioDevice, whose properties are the front's too. Three names a
 * device: VIRTIO_PCI_TYPES.
 */
#ifndef HW_VIRTIO_VIRTIO_PCI_H
#define HW_VIRTIO_VIRTIO_PCI_H

#include "hw/pci/msix.h"
#include "hw/virtio/virtio.h"

typedef struct VirtioPci VirtioPci;

typedef struct VirtioPciInfo {
    PciInfo pci;                  /* its ids are filled in by the kind; device_id: the transitional one, 0: has none */
    const char *device_type;      /* "virtio-blk-device" */
    uint16_t virtio_id;           /* VIRTIO_ID_* */
    uint16_t class_id;
    enum { VIRTIO_PCI_GENERIC, VIRTIO_PCI_TRANSITIONAL, VIRTIO_PCI_NON_TRANSITIONAL } kind;
    /* Vectors when the user named no number; the device is realized. NULL: 2. */
    unsigned (*vectors)(const VirtioPci *pci);
    /* Before the device is realized and its modes are chosen. NULL: nothing to do. */
    bool (*prepare)(VirtioPci *pci, GError **err);
} VirtioPciInfo;

/* Of vectors, and one for INTx: what an interrupt is written to. */
typedef struct VirtioPciVector {
    VirtioPci *proxy;
    unsigned index;
    int fd;                       /* eventfd; -1: not used yet */
    int route;                    /* the accelerator injects it; -1: the main loop does */
    LoopFd *source;               /* the main loop's */
} VirtioPciVector;

struct VirtioPci {
    PciDevice pci;
    const VirtioPciInfo *vinfo;
    VirtioDevice *vdev;           /* NULL: it has gone */
    GError *vdev_error;           /* why it could not be made */
    Bus *bus;
    Region legacy, modern, common, isr, device, notify, pio_notify;
    Bus *vbus;
    uint8_t cfg_cap;              /* offset of the configuration access capability; 0: none */
    VirtioPciVector *vectors;     /* n_vectors + 1; the last is INTx's */
    unsigned n_vectors;           /* MSI-X's; 0: none */
    bool msix_on;                 /* as the queues' users of call_fd were told last */
    uint32_t vectors_prop;        /* property; UINT32_MAX: as many as the device wants */
    int disable_legacy;           /* OnOffAuto */
    bool disable_modern;
    bool has_legacy, has_modern;
    bool ioeventfd, page_per_vq, pio_notify_on, migrate_extra, notification_data;
    uint32_t class_code;
    uint32_t feature_select, guest_feature_select; /* modern registers */
    uint64_t driver_features;
    struct VirtioPciQueue *setup; /* what the driver wrote for each queue, until it enables it */
    uint32_t compat_flags;        /* properties without effect here */
};

Object *virtio_pci_deputy(Object *obj);
extern const Property virtio_pci_class_props[];

/* Three names of a device: -pci, -pci-transitional, -pci-non-transitional. trans: PCI id of the transitional device. */
#define VIRTIO_PCI_TYPE_(ident, suffix, parent_name, kind_, stem, trans, vid, cls, text, cat, pcls, vec, prep, more, rom)    \
    static const VirtioPciInfo ident##suffix##_info = {                                            \
        .pci = {.vendor_id = 0x1af4, .device_id = (trans), .class_id = (cls), .romfile = (rom)},   \
        .device_type = stem "-device",                                                             \
        .virtio_id = (vid),                                                                        \
        .class_id = (cls),                                                                         \
        .kind = (kind_),                                                                           \
        .vectors = (vec),                                                                          \
        .prepare = (prep)};                                                                        \
    DEVICE_TYPE(ident##suffix) = {                                                                 \
        .name = stem "-pci" more,                                                                  \
        .parent = parent_name,                                                                     \
        .desc = text,                                                                              \
        .category = (cat),                                                                         \
        .props = (pcls),                                                                           \
        .ops = &ident##suffix##_info,                                                              \
        .deputy_type = stem "-device",                                                             \
        .deputy = virtio_pci_deputy};
#define VIRTIO_PCI_TYPES_ROM(ident, stem, trans, vid, cls, text, cat, props, vec, prep, rom)       \
    VIRTIO_PCI_TYPE_(ident, _generic, "virtio-pci-generic", VIRTIO_PCI_GENERIC, stem, trans, vid, cls, text, cat, props, vec, prep, "", rom)   \
    VIRTIO_PCI_TYPE_(ident, _transitional, "virtio-pci", VIRTIO_PCI_TRANSITIONAL, stem, trans, vid, cls, text, cat, props, vec, prep, "-transitional", rom) \
    VIRTIO_PCI_TYPE_(ident, _modern, "virtio-pci", VIRTIO_PCI_NON_TRANSITIONAL, stem, trans, vid, cls, text, cat, props, vec, prep, "-non-transitional", rom)
#define VIRTIO_PCI_TYPES(ident, stem, trans, vid, cls, text, cat, props, vec, prep)                \
    VIRTIO_PCI_TYPES_ROM(ident, stem, trans, vid, cls, text, cat, props, vec, prep, NULL)

/* ---- between the files of virtio_pci ---------------------------------------------------------- */

/* What the driver wrote of a queue, as QEMU keeps it. */
typedef struct VirtioPciQueue {
    uint16_t num;
    bool enabled, reset;
    uint32_t desc[2], avail[2], used[2];
} VirtioPciQueue;

/* virtio_pci_irq.c: VM lock, but notify: any thread. */
bool virtio_pci_vectors_init(VirtioPci *p, unsigned vectors, GError **err);
void virtio_pci_vectors_cleanup(VirtioPci *p);
void virtio_pci_notify(void *opaque, uint16_t vector, bool config);
int virtio_pci_call_fd(void *opaque, uint16_t vector);
/* The driver gives something this vector: counts its users. Returns it, or VIRTIO_NO_VECTOR when there is none such. */
uint16_t virtio_pci_use_vector(VirtioPci *p, uint16_t old, uint16_t vector);
void virtio_pci_unuse_vectors(VirtioPci *p);
uint8_t virtio_pci_read_isr(VirtioPci *p);
/* The level of INTx follows the ISR. */
void virtio_pci_update_intx(VirtioPci *p);

/* virtio_pci_legacy.c, virtio_pci_modern.c: registers. */
extern const RegionOps virtio_pci_legacy_ops;
bool virtio_pci_modern_init(VirtioPci *p, GError **err);
void virtio_pci_modern_cleanup(VirtioPci *p);
uint64_t virtio_pci_modern_features(const VirtioPci *p);
uint32_t virtio_pci_config_read(PciDevice *pci, uint32_t addr, unsigned size);
void virtio_pci_config_written(PciDevice *pci, uint32_t addr, unsigned size);
void virtio_pci_reset_setup(VirtioPci *p);

/* virtio_state.c */
extern const VirtioTransport virtio_pci_transport;

#endif
