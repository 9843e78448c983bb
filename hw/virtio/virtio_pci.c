/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-pci": the front of a virtio device on PCI. It makes its device, gives it the identity that QEMU 7.2 gives it,
 * and registers, vectors and notifications. Not done: PCI Express capabilities (there is no express bus yet), ATS, IOMMU.
 */
#include "hw/virtio/virtio_pci.h"

#include "util/trace.h"

#define DEVICE_ID_MODERN 0x1040 /* + the device's number */

static VirtioPci *virtio_pci(Device *dev) { return container_of(dev, VirtioPci, pci.dev); }

Object *virtio_pci_deputy(Object *obj)
{
    VirtioPci *p = container_of(obj, VirtioPci, pci.dev.obj);

    return p->vdev ? &p->vdev->dev.obj : NULL;
}

/* ---- identity ---------------------------------------------------------------------------------- */

static bool choose_modes(VirtioPci *p, GError **err)
{
    const bool has_legacy_id = p->vinfo->pci.device_id != 0;

    p->has_modern = !p->disable_modern;
    p->has_legacy = p->disable_legacy != ON_OFF_AUTO_ON && has_legacy_id;
    if (p->vinfo->kind == VIRTIO_PCI_TRANSITIONAL) {
        p->has_legacy = p->has_modern = true;
    } else if (p->vinfo->kind == VIRTIO_PCI_NON_TRANSITIONAL) {
        p->has_legacy = false;
        p->has_modern = true;
    } else if (p->disable_legacy == ON_OFF_AUTO_OFF && !has_legacy_id && !p->vdev->disable_legacy_check) {
        return error_set(err, "device is modern-only, use disable-legacy=on");
    }
    return (p->has_legacy || p->has_modern) ||
           error_set(err, "device cannot work as neither modern nor legacy mode is enabled; set either disable-modern or "
                          "disable-legacy to off");
}

static void set_identity(VirtioPci *p)
{
    uint8_t *config = p->pci.config;

    if (p->has_legacy) {
        store16_le(config + PCI_SUBSYSTEM_VENDOR_ID, PCI_SUBVENDOR_QUMRANET);
        store16_le(config + PCI_SUBSYSTEM_ID, p->vinfo->virtio_id);
    } else {
        store16_le(config + PCI_DEVICE_ID, DEVICE_ID_MODERN + p->vinfo->virtio_id);
        config[PCI_REVISION_ID] = 1;
    }
    if (p->class_code) {
        store16_le(config + PCI_CLASS_DEVICE, p->class_code);
    }
    config[PCI_INTERRUPT_PIN] = 1;
}

/* ---- realize ------------------------------------------------------------------------------------- */

static bool check_options(VirtioPci *p, GError **err)
{
    if (p->vdev_error) {
        g_propagate_error(err, g_steal_pointer(&p->vdev_error));
        return false;
    }
    if (p->vdev->host_features & (UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM)) {
        return error_set(err, "iommu_platform=on is not supported: this machine has no IOMMU; leave it off");
    }
    if (p->vectors_prop != UINT32_MAX && p->vectors_prop > MSIX_MAX_VECTORS) {
        return error_set(err, "vectors=%u: at most %u are possible", p->vectors_prop, MSIX_MAX_VECTORS);
    }
    return (!p->vinfo->prepare || p->vinfo->prepare(p, err)) && choose_modes(p, err);
}

static bool init_legacy(VirtioPci *p, GError **err)
{
    uint64_t size = 32;

    while (size < (p->n_vectors ? 24 : 20) + p->vdev->config_size) {
        size *= 2;
    }
    region_init_io(&p->legacy, &virtio_pci_legacy_ops, p, "virtio-pci", size);
    pci_register_bar(&p->pci, 0, PCI_BASE_ADDRESS_SPACE_IO, &p->legacy);
    for (unsigned i = 0; p->ioeventfd && i < p->vdev->n_added; i++) {
        region_add_eventfd(&p->legacy, (RegionEventFd){.offset = 16, .size = 2, .match = true, .value = i,
                                                       .fd = virtio_kick_fd(p->vdev, i)});
    }
    return true;
}

static void cleanup(VirtioPci *p)
{
    virtio_pci_vectors_cleanup(p);
    if (p->legacy.ops) {
        region_destroy(&p->legacy);
    }
    if (p->modern.size) {
        virtio_pci_modern_cleanup(p);
    }
    p->vdev = NULL;
}

static bool realize_device(VirtioPci *p, GError **err)
{
    virtio_set_transport(p->vdev, &virtio_pci_transport, p, &p->pci.dev);
    if (p->has_modern) {
        p->vdev->host_features |= UINT64_C(1) << VIRTIO_F_VERSION_1;
        p->vdev->host_features |= p->notification_data ? UINT64_C(1) << 38 : 0;
    }
    p->vdev->dev.hotplugged = p->pci.dev.hotplugged;
    object_ref(&p->vdev->dev.obj); /* for device_realize to drop */
    if (!device_realize(&p->vdev->dev, p->vbus, err)) {
        object_unref(&p->vdev->dev.obj);
        return false;
    }
    return true;
}

static bool virtio_pci_realize(Device *dev, GError **err)
{
    VirtioPci *p = virtio_pci(dev);
    unsigned vectors;

    if (!check_options(p, err)) {
        return false;
    }
    set_identity(p);
    p->vbus = bus_new(dev->vm, "virtio-pci-bus", dev, "virtio-bus");
    if (!realize_device(p, err)) {
        return false;
    }
    vectors = p->vectors_prop != UINT32_MAX ? p->vectors_prop : p->vinfo->vectors ? p->vinfo->vectors(p) : 2;
    if ((p->has_modern && !virtio_pci_modern_init(p, err)) || !virtio_pci_vectors_init(p, vectors, err) ||
        (p->has_legacy && !init_legacy(p, err))) {
        device_unrealize(&p->vdev->dev);
        cleanup(p);
        return false;
    }
    return true;
}

/* The device itself has gone before: devices on buses do. */
static void virtio_pci_unrealize(Device *dev) { cleanup(virtio_pci(dev)); }

static void virtio_pci_reset(Device *dev)
{
    VirtioPci *p = virtio_pci(dev);

    if (p->vdev) {
        virtio_reset(p->vdev);
        virtio_pci_unuse_vectors(p);
        virtio_pci_reset_setup(p);
    }
}

static void virtio_pci_init(Object *obj)
{
    VirtioPci *p = container_of(obj, VirtioPci, pci.dev.obj);
    Object *vdev;

    p->vinfo = type_ops(obj->type);
    p->pci.info = &p->vinfo->pci;
    vdev = object_new(obj->vm, type_find(p->vinfo->device_type), &p->vdev_error);
    if (vdev) {
        p->vdev = virtio_device((Device *)(void *)vdev);
        object_add_child(obj, "virtio-backend", vdev);
        object_unref(vdev);
    }
}

static void virtio_pci_finalize(Object *obj)
{
    VirtioPci *p = container_of(obj, VirtioPci, pci.dev.obj);

    g_clear_error(&p->vdev_error);
}

/* ---- what users and managers see -------------------------------------------------------------------- */

#define NO_EFFECT(pname, n, on)                                                                    \
    PROP_BIT32(pname, VirtioPci, compat_flags, .bit = (n), .def = (on), .help = "accepted, no effect on this bus")

static const Property virtio_pci_props[] = {
    PROP_BOOL("ioeventfd", VirtioPci, ioeventfd, .def = 1, .help = "KVM wakes the queues' thread by itself"),
    PROP_U32("vectors", VirtioPci, vectors_prop, .def = UINT32_MAX, .help = "MSI-X vectors; 0: INTx; default: the device's"),
    PROP_BOOL("page-per-vq", VirtioPci, page_per_vq, .help = "each queue's notification has a page of its own"),
    PROP_BOOL("modern-pio-notify", VirtioPci, pio_notify_on, .help = "notifications by port too"),
    PROP_BOOL("migrate-extra", VirtioPci, migrate_extra, .def = 1, .help = "the modern registers are part of the state"),
    PROP_BOOL("notification_data", VirtioPci, notification_data,
              .help = "offer the driver to say with a notification how far it is"),
    NO_EFFECT("virtio-pci-bus-master-bug-migration", 0, 0),
    NO_EFFECT("x-disable-pcie", 1, 0),
    NO_EFFECT("x-ignore-backend-features", 2, 0),
    NO_EFFECT("ats", 3, 0),
    NO_EFFECT("x-ats-page-aligned", 4, 1),
    NO_EFFECT("x-pcie-deverr-init", 5, 1),
    NO_EFFECT("x-pcie-lnkctl-init", 6, 1),
    NO_EFFECT("x-pcie-pm-init", 7, 1),
    NO_EFFECT("x-pcie-flr-init", 8, 1),
    NO_EFFECT("aer", 9, 0),
    {}};

static const Property virtio_pci_generic_props[] = {
    PROP_ON_OFF_AUTO("disable-legacy", VirtioPci, disable_legacy, .help = "on: only drivers of 1.0 and later find it"),
    PROP_BOOL("disable-modern", VirtioPci, disable_modern, .help = "only the interface of before 1.0"),
    {}};

/* Of devices whose class the user may choose. */
const Property virtio_pci_class_props[] = {
    PROP_U32("class", VirtioPci, class_code,
             .help = "PCI class code; 0: the device's"),
    {}};

static char *vbus_state_path(Bus *bus, Device *dev)
{
    Device *front = bus->owner;
    const BusOps *ops = front->bus ? type_ops(front->bus->obj.type) : NULL;

    return ops && ops->state_path ? ops->state_path(front->bus, front) : NULL;
}

static char *vbus_fw_path(Bus *bus, Device *dev)
{
    return object_is_a(dev, "virtio-blk-device") ? g_strdup("disk@0,0") : NULL;
}

static const BusOps vbus_ops = {.state_path = vbus_state_path, .fw_path = vbus_fw_path, .max_devices = 1};

KILN_TYPE(virtio_pci_bus) = {
    .name = "virtio-pci-bus",
    .parent = "virtio-bus",
    .size = sizeof(Bus),
    .ops = &vbus_ops,
};

DEVICE_TYPE(virtio_pci) = {
    .name = "virtio-pci",
    .parent = "pci-device",
    .size = sizeof(VirtioPci),
    .abstract = true,
    .props = virtio_pci_props,
    .init = virtio_pci_init,
    .finalize = virtio_pci_finalize,
    .realize = virtio_pci_realize,
    .unrealize = virtio_pci_unrealize,
    .reset = virtio_pci_reset,
};

DEVICE_TYPE(virtio_pci_generic) = {
    .name = "virtio-pci-generic",
    .parent = "virtio-pci",
    .abstract = true,
    .props = virtio_pci_generic_props,
};
