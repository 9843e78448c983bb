/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The registers of virtio 1.0 and later (Virtual I/O Device 1.2, 4.1.4): memory, found through vendor capabilities; and
 * the capability through which firmware reaches them from configuration space.
 */
#include <linux/virtio_pci.h>

#include "hw/virtio/virtio_pci.h"
#include "util/trace.h"

#define BAR_PIO 2
#define BAR_MODERN 4
#define WINDOW 0x1000
#define ISR_OFFSET 0x1000
#define DEVICE_OFFSET 0x2000
#define NOTIFY_OFFSET 0x3000
#define VIRTIO_F_NOTIFICATION_DATA 38

/* Common configuration (4.1.4.3), sizes in bytes. */
enum {
    C_DFSELECT = 0,
    C_DF = 4,
    C_GFSELECT = 8,
    C_GF = 12,
    C_MSIX = 16,
    C_NUMQ = 18,
    C_STATUS = 20,
    C_GENERATION = 21,
    C_Q_SELECT = 22,
    C_Q_SIZE = 24,
    C_Q_MSIX = 26,
    C_Q_ENABLE = 28,
    C_Q_NOFF = 30,
    C_Q_DESCLO = 32,
    C_Q_DESCHI = 36,
    C_Q_AVAILLO = 40,
    C_Q_AVAILHI = 44,
    C_Q_USEDLO = 48,
    C_Q_USEDHI = 52,
    C_Q_NDATA = 56,
    C_Q_RESET = 58,
};

static inline unsigned notify_step(const VirtioPci *p) { return p->page_per_vq ? 4096 : 4; }

/* Features that only the transport before 1.0 has. */
#define LEGACY_FEATURES (UINT64_C(1) << VIRTIO_F_NOTIFY_ON_EMPTY | UINT64_C(1) << VIRTIO_F_ANY_LAYOUT)

uint64_t virtio_pci_modern_features(const VirtioPci *p)
{
    return p->vdev->host_features & ~(LEGACY_FEATURES | p->vdev->ops->legacy_features);
}

void virtio_pci_reset_setup(VirtioPci *p)
{
    p->feature_select = p->guest_feature_select = 0;
    p->driver_features = 0;
    for (unsigned i = 0; p->setup && i < p->vdev->n_added; i++) {
        p->setup[i] = (VirtioPciQueue){0};
    }
}

/* ---- common configuration ---------------------------------------------------------------------- */

static uint64_t read_queue(VirtioPci *p, uint64_t offset)
{
    VirtQueue *vq = virtio_queue(p->vdev, p->vdev->queue_sel);
    const VirtioPciQueue *setup = vq ? &p->setup[p->vdev->queue_sel] : NULL;

    if (!vq) {
        return 0;
    }
    switch (offset) {
    case C_Q_SIZE:
        return virtio_queue_num(vq);
    case C_Q_MSIX:
        return virtio_queue_vector(vq);
    case C_Q_ENABLE:
        return setup->enabled;
    case C_Q_NOFF:
    case C_Q_NDATA:
        return p->vdev->queue_sel;
    case C_Q_DESCLO:
    case C_Q_DESCHI:
        return setup->desc[offset == C_Q_DESCHI];
    case C_Q_AVAILLO:
    case C_Q_AVAILHI:
        return setup->avail[offset == C_Q_AVAILHI];
    case C_Q_USEDLO:
    case C_Q_USEDHI:
        return setup->used[offset == C_Q_USEDHI];
    case C_Q_RESET:
        return setup->reset;
    default:
        return 0;
    }
}

static uint64_t common_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *vdev = p->vdev;
    uint64_t value = 0;

    if (!vdev) {
        return all_ones(size);
    }
    switch (offset) {
    case C_DFSELECT:
        value = p->feature_select;
        break;
    case C_DF:
        value = p->feature_select <= 1 ? (uint32_t)(virtio_pci_modern_features(p) >> (32 * p->feature_select)) : 0;
        break;
    case C_GFSELECT:
        value = p->guest_feature_select;
        break;
    case C_GF:
        value = p->guest_feature_select <= 1 ? (uint32_t)(p->driver_features >> (32 * p->guest_feature_select)) : 0;
        break;
    case C_MSIX:
        value = vdev->config_vector;
        break;
    case C_NUMQ:
        value = vdev->n_queues;
        break;
    case C_STATUS:
        value = vdev->status;
        break;
    case C_GENERATION:
        value = vdev->generation;
        break;
    case C_Q_SELECT:
        value = vdev->queue_sel;
        break;
    default:
        value = read_queue(p, offset);
    }
    value &= all_ones(size);
    trace(virtio_pci_common_read, "@%u size %u -> 0x%" PRIx64, (unsigned)offset, size, value);
    return value;
}

static void write_driver_features(VirtioPci *p, uint32_t value)
{
    const unsigned shift = 32 * p->guest_feature_select;

    if (p->guest_feature_select > 1) {
        return;
    }
    p->driver_features = (p->driver_features & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;
    virtio_set_features(p->vdev, p->driver_features & virtio_pci_modern_features(p));
}

/* Features that were not offered, or that do not go together, are refused: FEATURES_OK does not stick. */
static uint8_t check_status(VirtioPci *p, uint8_t status)
{
    const uint64_t version = UINT64_C(1) << VIRTIO_F_VERSION_1;

    if ((status & VIRTIO_CONFIG_S_FEATURES_OK) && !(p->vdev->status & VIRTIO_CONFIG_S_FEATURES_OK) &&
        ((p->driver_features & ~virtio_pci_modern_features(p)) || !(p->driver_features & version))) {
        guest_error(&p->vdev->dev, "the driver's features 0x%" PRIx64 " are refused", p->driver_features);
        return status & (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    }
    return status;
}

static void write_status(VirtioPci *p, uint8_t status)
{
    virtio_set_status(p->vdev, check_status(p, status));
    if (!status) {
        virtio_pci_unuse_vectors(p);
        virtio_pci_reset_setup(p);
        virtio_pci_update_intx(p);
    }
}

static void enable_queue(VirtioPci *p, VirtQueue *vq, VirtioPciQueue *setup)
{
    setup->enabled = true;
    setup->reset = false;
    virtio_queue_set_num(vq, setup->num ? setup->num : virtio_queue_num(vq));
    virtio_queue_enable(vq, (VirtQueueAreas){(uint64_t)setup->desc[1] << 32 | setup->desc[0],
                                             (uint64_t)setup->avail[1] << 32 | setup->avail[0],
                                             (uint64_t)setup->used[1] << 32 | setup->used[0]});
}

static void reset_queue(VirtioPci *p, VirtQueue *vq, VirtioPciQueue *setup)
{
    const uint16_t vector = virtio_queue_vector(vq);

    if (!virtio_has_feature(p->vdev, VIRTIO_F_RING_RESET)) {
        return;
    }
    virtio_queue_reset(vq);
    virtio_pci_use_vector(p, vector, VIRTIO_NO_VECTOR);
    *setup = (VirtioPciQueue){0};
}

static void write_queue(VirtioPci *p, uint64_t offset, uint32_t value)
{
    VirtQueue *vq = virtio_queue(p->vdev, p->vdev->queue_sel);
    VirtioPciQueue *setup = vq ? &p->setup[p->vdev->queue_sel] : NULL;

    if (!vq) {
        return;
    }
    switch (offset) {
    case C_Q_SIZE:
        if (value && value <= VIRTQUEUE_MAX_SIZE && !setup->enabled) {
            setup->num = (uint16_t)value;
            virtio_queue_set_num(vq, value);
        }
        break;
    case C_Q_MSIX:
        virtio_queue_set_vector(vq, virtio_pci_use_vector(p, virtio_queue_vector(vq), (uint16_t)value));
        break;
    case C_Q_ENABLE:
        if (value == 1) {
            enable_queue(p, vq, setup);
        }
        break;
    case C_Q_DESCLO:
    case C_Q_DESCHI:
        setup->desc[offset == C_Q_DESCHI] = value;
        break;
    case C_Q_AVAILLO:
    case C_Q_AVAILHI:
        setup->avail[offset == C_Q_AVAILHI] = value;
        break;
    case C_Q_USEDLO:
    case C_Q_USEDHI:
        setup->used[offset == C_Q_USEDHI] = value;
        break;
    case C_Q_RESET:
        if (value == 1) {
            reset_queue(p, vq, setup);
        }
        break;
    default:
        break;
    }
}

static void common_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *vdev = p->vdev;

    if (!vdev) {
        return;
    }
    trace(virtio_pci_common_write, "@%u size %u <- 0x%" PRIx64, (unsigned)offset, size, value);
    switch (offset) {
    case C_DFSELECT:
        p->feature_select = (uint32_t)value;
        break;
    case C_GFSELECT:
        p->guest_feature_select = (uint32_t)value;
        break;
    case C_GF:
        write_driver_features(p, (uint32_t)value);
        break;
    case C_MSIX:
        vdev->config_vector = virtio_pci_use_vector(p, vdev->config_vector, (uint16_t)value);
        break;
    case C_STATUS:
        write_status(p, (uint8_t)value);
        break;
    case C_Q_SELECT:
        if (value < VIRTIO_QUEUES_MAX) {
            vdev->queue_sel = (uint16_t)value;
        }
        break;
    default:
        write_queue(p, offset, (uint32_t)value);
    }
}

/* ---- ISR, device configuration, notifications --------------------------------------------------- */

static uint64_t isr_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *p = opaque;

    return p->vdev ? virtio_pci_read_isr(p) : all_ones(size);
}

static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *p = opaque;

    return p->vdev ? virtio_config_read(p->vdev, offset, size) : all_ones(size);
}

static void device_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *p = opaque;

    if (p->vdev) {
        virtio_config_write(p->vdev, offset, value, size);
    }
}

/* With NOTIFICATION_DATA the upper half says how far the driver is, which we see in the ring. */
static void notify_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *p = opaque;
    VirtQueue *vq = p->vdev ? virtio_queue(p->vdev, (unsigned)(offset / notify_step(p))) : NULL;

    if (vq) {
        virtio_kick(vq);
    }
}

static uint64_t notify_read(void *opaque, uint64_t offset, unsigned size) { return 0; }

static void pio_notify_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *p = opaque;
    VirtQueue *vq = p->vdev ? virtio_queue(p->vdev, (uint16_t)value) : NULL;

    if (vq) {
        virtio_kick(vq);
    }
}

static const RegionOps common_ops = {.read = common_read, .write = common_write, .valid = {1, 4}, .impl = {1, 4}};
static const RegionOps isr_ops = {.read = isr_read, .valid = {1, 4}, .impl = {1, 4}};
static const RegionOps device_ops = {
    .read = device_read, .write = device_write, .valid = {1, 4}, .impl = {1, 4}};
static const RegionOps notify_ops = {
    .read = notify_read, .write = notify_write, .valid = {1, 4}, .impl = {1, 4}};
static const RegionOps pio_notify_ops = {
    .read = notify_read, .write = pio_notify_write, .valid = {1, 4}, .impl = {1, 4}};

/* ---- configuration space ------------------------------------------------------------------------- */

/* The window that the access capability names now; false: none that there is. */
static bool cfg_window(const VirtioPci *p, uint64_t *offset, unsigned *size)
{
    const uint8_t *cap = p->pci.config + p->cfg_cap;
    const uint32_t length = load32_le(cap + offsetof(struct virtio_pci_cap, length));

    *offset = load32_le(cap + offsetof(struct virtio_pci_cap, offset));
    *size = length;
    return p->vdev && cap[offsetof(struct virtio_pci_cap, bar)] == BAR_MODERN && (length == 1 || length == 2 || length == 4) &&
           *offset % length == 0;
}

static uint64_t window_read(VirtioPci *p, uint64_t offset, unsigned size)
{
    const uint64_t in = offset % WINDOW;

    switch (offset / WINDOW) {
    case 0:
        return common_read(p, in, size);
    case ISR_OFFSET / WINDOW:
        return isr_read(p, in, size);
    case DEVICE_OFFSET / WINDOW:
        return device_read(p, in, size);
    default:
        return 0;
    }
}

static void window_write(VirtioPci *p, uint64_t offset, uint64_t value, unsigned size)
{
    if (offset / WINDOW == 0) {
        common_write(p, offset, value, size);
    } else if (offset / WINDOW == DEVICE_OFFSET / WINDOW) {
        device_write(p, offset % WINDOW, value, size);
    } else if (offset >= NOTIFY_OFFSET) {
        notify_write(p, offset - NOTIFY_OFFSET, value, size);
    }
}

static bool touches_data(const VirtioPci *p, uint32_t addr, unsigned size)
{
    const unsigned data = p->cfg_cap + sizeof(struct virtio_pci_cap);

    return p->cfg_cap && addr < data + 4 && data < addr + size;
}

uint32_t virtio_pci_config_read(PciDevice *pci, uint32_t addr, unsigned size)
{
    VirtioPci *p = container_of(pci, VirtioPci, pci);
    uint64_t offset;
    unsigned length;

    if (touches_data(p, addr, size) && cfg_window(p, &offset, &length)) {
        store_le(pci->config + p->cfg_cap + sizeof(struct virtio_pci_cap), window_read(p, offset, length), length);
    }
    return (uint32_t)load_le(pci->config + addr, size);
}

void virtio_pci_config_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    VirtioPci *p = container_of(pci, VirtioPci, pci);
    uint64_t offset;
    unsigned length;

    if (addr <= PCI_COMMAND && addr + size > PCI_COMMAND && p->vdev) {
        virtio_set_disabled(p->vdev, !(load16_le(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER));
    }
    if (p->vdev && p->msix_on != msix_enabled(pci)) {
        p->msix_on = !p->msix_on;
        virtio_call_fds_changed(p->vdev);
    }
    if (touches_data(p, addr, size) && cfg_window(p, &offset, &length)) {
        window_write(p, offset, load_le(pci->config + p->cfg_cap + sizeof(struct virtio_pci_cap), length), length);
    }
}

static uint8_t add_cap(VirtioPci *p, uint8_t type, uint8_t bar, uint32_t offset, uint32_t length, uint8_t size)
{
    const uint8_t at = pci_add_capability(&p->pci, PCI_CAP_ID_VNDR, 0, size);
    uint8_t *cap = p->pci.config + at;

    cap[offsetof(struct virtio_pci_cap, cap_len)] = size;
    cap[offsetof(struct virtio_pci_cap, cfg_type)] = type;
    cap[offsetof(struct virtio_pci_cap, bar)] = bar;
    store32_le(cap + offsetof(struct virtio_pci_cap, offset), offset);
    store32_le(cap + offsetof(struct virtio_pci_cap, length), length);
    return at;
}

static void add_caps(VirtioPci *p, uint32_t notify_size)
{
    const uint8_t cap = sizeof(struct virtio_pci_cap), cap20 = cap + 4;
    uint8_t at;

    add_cap(p, VIRTIO_PCI_CAP_COMMON_CFG, BAR_MODERN, 0, WINDOW, cap);
    add_cap(p, VIRTIO_PCI_CAP_ISR_CFG, BAR_MODERN, ISR_OFFSET, WINDOW, cap);
    add_cap(p, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_MODERN, DEVICE_OFFSET, WINDOW, cap);
    at = add_cap(p, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_MODERN, NOTIFY_OFFSET, notify_size, cap20);
    store32_le(p->pci.config + at + cap, notify_step(p));
    if (p->pio_notify_on) {
        at = add_cap(p, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_PIO, 0, 4, cap20);
        store32_le(p->pci.config + at + cap, 0);
    }
    p->cfg_cap = add_cap(p, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0, cap20);
    p->pci.wmask[p->cfg_cap + offsetof(struct virtio_pci_cap, bar)] = 0xff;
    memset(p->pci.wmask + p->cfg_cap + offsetof(struct virtio_pci_cap, offset), 0xff, 12);
}

static void add_part(VirtioPci *p, Region *region, const RegionOps *ops, const char *name, uint64_t offset, uint64_t size)
{
    region_init_io(region, ops, p, name, size);
    region_set_owner(region, &p->pci.dev);
    region_add(&p->modern, offset, region);
}

bool virtio_pci_modern_init(VirtioPci *p, GError **err)
{
    const uint32_t notify_size = p->page_per_vq ? 4096 * VIRTIO_QUEUES_MAX : WINDOW;
    uint64_t size = 4 * WINDOW;

    while (size < NOTIFY_OFFSET + (uint64_t)notify_size) {
        size *= 2;
    }
    region_init_container(&p->modern, "virtio-pci", size);
    add_part(p, &p->common, &common_ops, "virtio-pci-common", 0, WINDOW);
    add_part(p, &p->isr, &isr_ops, "virtio-pci-isr", ISR_OFFSET, WINDOW);
    add_part(p, &p->device, &device_ops, "virtio-pci-device", DEVICE_OFFSET, WINDOW);
    add_part(p, &p->notify, &notify_ops, "virtio-pci-notify", NOTIFY_OFFSET, notify_size);
    pci_register_bar(&p->pci, BAR_MODERN,
                     PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_PREFETCH | PCI_BASE_ADDRESS_MEM_TYPE_64, &p->modern);
    if (p->pio_notify_on) {
        region_init_io(&p->pio_notify, &pio_notify_ops, p, "virtio-pci-notify-pio", 4);
        pci_register_bar(&p->pci, BAR_PIO, PCI_BASE_ADDRESS_SPACE_IO, &p->pio_notify);
    }
    add_caps(p, notify_size);
    p->setup = g_new0(VirtioPciQueue, MAX(p->vdev->n_added, 1u));
    for (unsigned i = 0; p->ioeventfd && i < p->vdev->n_added; i++) {
        const int fd = virtio_kick_fd(p->vdev, i);

        region_add_eventfd(&p->notify, (RegionEventFd){.offset = (uint64_t)i * notify_step(p), .fd = fd});
        if (p->pio_notify_on) {
            region_add_eventfd(&p->pio_notify, (RegionEventFd){.size = 2, .match = true, .value = i, .fd = fd});
        }
    }
    return true;
}

void virtio_pci_modern_cleanup(VirtioPci *p)
{
    Region *const parts[] = {&p->common, &p->isr, &p->device, &p->notify, &p->modern};

    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        region_destroy(parts[i]);
    }
    if (p->pio_notify_on) {
        region_destroy(&p->pio_notify);
    }
    g_clear_pointer(&p->setup, g_free);
}
