/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of a virtio device in QEMU 7.2's form: one field "virtio", whose bytes its table does not describe. In order:
 *
 *   transport     PCI function, MSI-X table, configuration vector
 *   device        status, ISR, queue_sel, low features, configuration, each queue's size, address, position, vector
 *   the device's own (virtio-blk: requests that wait for a retry)
 *   subsections   virtio/64bit_features, /virtqueues, /ringsize, /broken, /extra_state (virtio_pci/modern_state inside),
 *                 /started, /packed_virtqueues, /disabled; arrays have VIRTIO_QUEUES_MAX elements
 *
 * Loading takes everything into a copy first. What cannot be is refused with its name and changes nothing.
 */
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtqueue_int.h"

#define SUBSECTION 0x05

static bool is_modern(const VirtioDevice *vdev) { return (vdev->host_features >> VIRTIO_F_VERSION_1) & 1; }

/* ---- transport ------------------------------------------------------------------------------------ */

static void pci_save_config(void *opaque, StateBuf *buf)
{
    VirtioPci *p = opaque;
    uint8_t config[PCI_CONFIG_SIZE];

    memcpy(config, p->pci.config, sizeof config);
    config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT; /* irq_state says it */
    state_put_be(buf, (uint32_t)p->pci.state_version, 4);
    state_put(buf, config, sizeof config);
    for (unsigned pin = 0; pin < 4; pin++) {
        state_put_be(buf, (p->pci.irq_state >> pin) & 1, 4);
    }
    if (p->n_vectors) {
        msix_put(&p->pci, buf);
        state_put_be(buf, p->vdev->config_vector, 2);
    }
}

static void put_setup(StateBuf *buf, const VirtioPciQueue *q)
{
    state_put_be(buf, q->num, 2);
    state_put_be(buf, 0, 1);
    state_put_be(buf, q->enabled, 1);
    for (unsigned i = 0; i < 2; i++) {
        state_put_be(buf, q->desc[i], 4);
    }
    for (unsigned i = 0; i < 2; i++) {
        state_put_be(buf, q->avail[i], 4);
    }
    for (unsigned i = 0; i < 2; i++) {
        state_put_be(buf, q->used[i], 4);
    }
}

void virtio_put_part(StateBuf *buf, const char *name)
{
    state_put_be(buf, SUBSECTION, 1);
    state_put_be(buf, strlen(name), 1);
    state_put(buf, name, strlen(name));
    state_put_be(buf, 1, 4);
}

bool virtio_begins_part(const StateBuf *buf, const char *prefix)
{
    const uint8_t *at = buf->in + buf->in_pos;
    const size_t left = buf->in_len - buf->in_pos, len = strlen(prefix);

    return left >= 2 + len && at[0] == SUBSECTION && at[1] >= len && !memcmp(at + 2, prefix, len);
}

bool virtio_get_part(StateBuf *buf, char *name, GError **err)
{
    uint64_t len;

    state_get_be(buf, 1);
    len = state_get_be(buf, 1);
    state_get(buf, name, len);
    name[len] = 0;
    return state_get_be(buf, 4) == 1 || buf->failed || error_set(err, "an unknown version of '%s'", name);
}

static void pci_save_extra(void *opaque, StateBuf *buf)
{
    const VirtioPci *p = opaque;
    static const VirtioPciQueue none;

    if (!p->has_modern) {
        return;
    }
    virtio_put_part(buf, "virtio_pci/modern_state");
    state_put_be(buf, p->feature_select, 4);
    state_put_be(buf, p->guest_feature_select, 4);
    state_put_be(buf, (uint32_t)p->driver_features, 4);
    state_put_be(buf, p->driver_features >> 32, 4);
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        put_setup(buf, i < p->vdev->n_queues ? &p->setup[i] : &none);
    }
}

/* ---- saving ----------------------------------------------------------------------------------------- */

static void save_queues(const VirtioDevice *vdev, StateBuf *buf)
{
    state_put_be(buf, vdev->n_queues, 4);
    for (unsigned i = 0; i < vdev->n_queues; i++) {
        const VirtQueue *vq = &vdev->queues[i];

        state_put_be(buf, vq->num, 4);
        state_put_be(buf, vq->desc, 8);
        state_put_be(buf, vq->last_avail, 2);
        if (((const VirtioPci *)vdev->transport_opaque)->n_vectors) {
            state_put_be(buf, vq->vector, 2);
        }
    }
}

static void each_queue(const VirtioDevice *vdev, StateBuf *buf, void (*put)(StateBuf *buf, const VirtQueue *vq))
{
    static const VirtQueue none = {.avail_wrap = true, .used_wrap = true};

    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        put(buf, i < vdev->n_queues ? &vdev->queues[i] : &none);
    }
}

static void put_areas(StateBuf *buf, const VirtQueue *vq)
{
    state_put_be(buf, vq->avail, 8);
    state_put_be(buf, vq->used, 8);
}

static void put_ringsize(StateBuf *buf, const VirtQueue *vq) { state_put_be(buf, vq->num_default, 4); }

static void put_packed(StateBuf *buf, const VirtQueue *vq)
{
    state_put_be(buf, vq->last_avail, 2);
    state_put_be(buf, vq->avail_wrap, 1);
    state_put_be(buf, vq->used_idx, 2);
    state_put_be(buf, vq->used_wrap, 1);
    state_put_be(buf, vq->slots_in_flight, 4);
}

static bool other_sizes(const VirtioDevice *vdev)
{
    bool other = false;

    for (unsigned i = 0; i < vdev->n_queues; i++) {
        other |= vdev->queues[i].num != vdev->queues[i].num_default;
    }
    return other;
}

static void save_subsections(VirtioDevice *vdev, StateBuf *buf)
{
    if (vdev->host_features >> 32) {
        virtio_put_part(buf, "virtio/64bit_features");
        state_put_be(buf, vdev->guest_features, 8);
    }
    if (is_modern(vdev)) {
        virtio_put_part(buf, "virtio/virtqueues");
        each_queue(vdev, buf, put_areas);
    }
    if (other_sizes(vdev)) {
        virtio_put_part(buf, "virtio/ringsize");
        each_queue(vdev, buf, put_ringsize);
    }
    if (vdev->broken) {
        virtio_put_part(buf, "virtio/broken");
        state_put_be(buf, 1, 1);
    }
    if (((const VirtioPci *)vdev->transport_opaque)->migrate_extra) {
        virtio_put_part(buf, "virtio/extra_state");
        vdev->transport->save_extra(vdev->transport_opaque, buf);
    }
    if (vdev->use_started && ((vdev->status & VIRTIO_CONFIG_S_DRIVER_OK) || vdev->started_early)) {
        virtio_put_part(buf, "virtio/started");
        state_put_be(buf, 1, 1);
    }
    if ((vdev->host_features >> VIRTIO_F_RING_PACKED) & 1) {
        virtio_put_part(buf, "virtio/packed_virtqueues");
        each_queue(vdev, buf, put_packed);
    }
    if (vdev->disabled) {
        virtio_put_part(buf, "virtio/disabled");
        state_put_be(buf, 1, 1);
    }
}

static void put_virtio(StateBuf *buf, const StateField *field, const void *elem, size_t size)
{
    VirtioDevice *vdev = (VirtioDevice *)(uintptr_t)elem;

    if (vdev->ops->get_config) {
        vdev->ops->get_config(vdev);
    }
    vdev->transport->save_config(vdev->transport_opaque, buf);
    state_put_be(buf, vdev->status, 1);
    state_put_be(buf, vdev->isr, 1);
    state_put_be(buf, vdev->queue_sel, 2);
    state_put_be(buf, (uint32_t)vdev->guest_features, 4);
    state_put_be(buf, vdev->config_size, 4);
    state_put(buf, vdev->config, vdev->config_size);
    save_queues(vdev, buf);
    if (vdev->ops->save) {
        vdev->ops->save(vdev, buf);
    }
    save_subsections(vdev, buf);
}

/* ---- loading ------------------------------------------------------------------------------------------ */

typedef struct LoadedQueue {
    uint32_t num, slots;
    uint64_t desc, avail, used;
    uint16_t last_avail, vector, used_idx;
    bool avail_wrap, used_wrap;
    VirtioPciQueue setup;
} LoadedQueue;

/* All of a device's stream, checked. */
typedef struct Incoming {
    uint8_t pci_config[PCI_CONFIG_SIZE];
    uint8_t irq_state;
    uint16_t config_vector, queue_sel;
    uint8_t status, isr;
    uint64_t features;
    bool broken, disabled, started, has_modern, has_areas, has_packed;
    uint32_t feature_select, guest_feature_select;
    uint64_t driver_features;
    unsigned n_queues;
    GByteArray *msix;             /* as it came */
    LoadedQueue queues[];
} Incoming;

static void incoming_free(Incoming *in)
{
    if (in) {
        g_byte_array_unref(in->msix);
        g_free(in);
    }
}

static bool cut(StateBuf *buf, GError **err)
{
    return !buf->failed || error_set(err, "the state of a virtio device is cut short");
}

static bool load_pci(VirtioPci *p, Incoming *in, StateBuf *buf, GError **err)
{
    state_get_be(buf, 4);
    state_get(buf, in->pci_config, PCI_CONFIG_SIZE);
    for (unsigned i = 0; i < PCI_CONFIG_SIZE && !buf->failed; i++) {
        uint8_t fixed = p->pci.cmask[i] & ~p->pci.wmask[i] & ~p->pci.w1cmask[i];

        if ((in->pci_config[i] ^ p->pci.config[i]) & fixed) {
            return error_set(err, "PCI configuration byte 0x%02x is 0x%02x in the state and 0x%02x here: the other side has "
                                  "another device", i, in->pci_config[i], p->pci.config[i]);
        }
    }
    for (unsigned pin = 0; pin < 4; pin++) {
        uint64_t level = state_get_be(buf, 4);

        if (level > 1) {
            return error_set(err, "PCI interrupt pin %u has the level %" PRIu64, pin, level);
        }
        in->irq_state |= (uint8_t)(level << pin);
    }
    if (p->n_vectors) {
        g_byte_array_set_size(in->msix, (guint)msix_wire_size(&p->pci));
        state_get(buf, in->msix->data, in->msix->len);
        in->config_vector = (uint16_t)state_get_be(buf, 2);
    }
    return cut(buf, err);
}

static bool vector_ok(const VirtioPci *p, uint16_t vector, GError **err)
{
    return vector == VIRTIO_NO_VECTOR || vector < p->n_vectors ||
           error_set(err, "interrupt vector %u of %u", vector, p->n_vectors);
}

static bool load_queues(const VirtioDevice *vdev, const VirtioPci *p, Incoming *in, StateBuf *buf, GError **err)
{
    uint64_t n = state_get_be(buf, 4);

    if (n > vdev->n_added || (n != vdev->n_added && !vdev->ops->count_queues && !vdev->ops->fewer_queues)) {
        return error_set(err, "%" PRIu64 " queues in the state, %u here", n, vdev->n_added);
    }
    in->n_queues = (unsigned)n;
    for (unsigned i = 0; i < n; i++) {
        LoadedQueue *q = &in->queues[i];

        q->num = (uint32_t)state_get_be(buf, 4);
        q->desc = state_get_be(buf, 8);
        q->last_avail = (uint16_t)state_get_be(buf, 2);
        q->vector = p->n_vectors ? (uint16_t)state_get_be(buf, 2) : VIRTIO_NO_VECTOR;
        q->avail_wrap = q->used_wrap = true;
        if (!q->num || q->num > VIRTQUEUE_MAX_SIZE) {
            return error_set(err, "queue %u has %u descriptors: 1 to %u are possible", i, q->num, VIRTQUEUE_MAX_SIZE);
        }
        if (!vector_ok(p, q->vector, err)) {
            return false;
        }
    }
    return cut(buf, err) && vector_ok(p, in->config_vector, err);
}

static void load_setup(StateBuf *buf, VirtioPciQueue *q)
{
    q->num = (uint16_t)state_get_be(buf, 2);
    state_get_be(buf, 1);
    q->enabled = state_get_be(buf, 1) & 1;
    for (unsigned i = 0; i < 2; i++) {
        q->desc[i] = (uint32_t)state_get_be(buf, 4);
    }
    for (unsigned i = 0; i < 2; i++) {
        q->avail[i] = (uint32_t)state_get_be(buf, 4);
    }
    for (unsigned i = 0; i < 2; i++) {
        q->used[i] = (uint32_t)state_get_be(buf, 4);
    }
}

static void load_modern(Incoming *in, StateBuf *buf)
{
    VirtioPciQueue skipped;

    in->has_modern = true;
    in->feature_select = (uint32_t)state_get_be(buf, 4);
    in->guest_feature_select = (uint32_t)state_get_be(buf, 4);
    in->driver_features = state_get_be(buf, 4);
    in->driver_features |= state_get_be(buf, 4) << 32;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        load_setup(buf, i < in->n_queues ? &in->queues[i].setup : &skipped);
    }
}

static void load_areas(Incoming *in, StateBuf *buf)
{
    in->has_areas = true;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        uint64_t avail = state_get_be(buf, 8), used = state_get_be(buf, 8);

        if (i < in->n_queues) {
            in->queues[i].avail = avail;
            in->queues[i].used = used;
        }
    }
}

static void load_packed(Incoming *in, StateBuf *buf)
{
    in->has_packed = true;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        uint16_t last = (uint16_t)state_get_be(buf, 2);
        bool avail_wrap = state_get_be(buf, 1) & 1;
        uint16_t used = (uint16_t)state_get_be(buf, 2);
        bool used_wrap = state_get_be(buf, 1) & 1;
        uint32_t slots = (uint32_t)state_get_be(buf, 4);

        if (i >= in->n_queues) {
            continue;
        }
        LoadedQueue *q = &in->queues[i];
        q->last_avail = last;
        q->avail_wrap = avail_wrap;
        q->used_idx = used;
        q->used_wrap = used_wrap;
        q->slots = slots;
    }
}

static bool load_subsection(VirtioDevice *vdev, Incoming *in, StateBuf *buf, const char *name, GError **err)
{
    if (!strcmp(name, "virtio/64bit_features")) {
        in->features = state_get_be(buf, 8);
    } else if (!strcmp(name, "virtio/virtqueues")) {
        load_areas(in, buf);
    } else if (!strcmp(name, "virtio/ringsize")) {
        for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
            state_get_be(buf, 4);
        }
    } else if (!strcmp(name, "virtio/broken")) {
        in->broken = state_get_be(buf, 1) & 1;
    } else if (!strcmp(name, "virtio/extra_state")) {
        return true; /* what is in it follows */
    } else if (!strcmp(name, "virtio_pci/modern_state")) {
        load_modern(in, buf);
    } else if (!strcmp(name, "virtio/started")) {
        in->started = state_get_be(buf, 1) & 1;
    } else if (!strcmp(name, "virtio/packed_virtqueues")) {
        load_packed(in, buf);
    } else if (!strcmp(name, "virtio/disabled")) {
        in->disabled = state_get_be(buf, 1) & 1;
    } else {
        return error_set(err, "a virtio device has no part '%s'", name);
    }
    return true;
}

/* Those that are there, up to what is none. */
static bool load_subsections(VirtioDevice *vdev, Incoming *in, StateBuf *buf, GError **err)
{
    while (virtio_begins_part(buf, "")) {
        char name[256];

        if (!virtio_get_part(buf, name, err) || !cut(buf, err) || !load_subsection(vdev, in, buf, name, err) || !cut(buf, err)) {
            return false;
        }
    }
    return true;
}

static bool check_incoming(const VirtioDevice *vdev, Incoming *in, GError **err)
{
    const bool packed = (in->features >> VIRTIO_F_RING_PACKED) & 1;
    const uint64_t unknown = in->features & ~vdev->host_features & ~(UINT64_C(1) << VIRTIO_F_BAD_FEATURE);

    if (unknown) {
        return error_set(err, "features 0x%" PRIx64 " of 0x%" PRIx64 " are not offered here (0x%" PRIx64 ")", unknown,
                         in->features, vdev->host_features);
    }
    if (vdev->ops->count_queues && in->n_queues != vdev->ops->count_queues(vdev, in->features)) {
        return error_set(err, "%u queues in the state, %u by its features", in->n_queues,
                         vdev->ops->count_queues(vdev, in->features));
    }
    if (vdev->ops->check_loaded && !vdev->ops->check_loaded(vdev, in->features, err)) {
        return false;
    }
    for (unsigned i = 0; i < in->n_queues; i++) {
        const LoadedQueue *q = &in->queues[i];

        if (packed && (q->last_avail >= q->num || q->used_idx >= q->num || q->slots > q->num)) {
            return error_set(err, "packed queue %u is at %u, %u with %u in flight, of %u", i, q->last_avail, q->used_idx,
                             q->slots, q->num);
        }
        if (!q->desc && q->last_avail && !packed) {
            return error_set(err, "queue %u has no address and is at %u", i, q->last_avail);
        }
    }
    return true;
}

static bool load_all(VirtioDevice *vdev, Incoming *in, StateBuf *buf, GError **err)
{
    VirtioPci *p = vdev->transport_opaque;
    uint64_t config_len;

    if (!load_pci(p, in, buf, err)) {
        return false;
    }
    in->status = (uint8_t)state_get_be(buf, 1);
    in->isr = (uint8_t)state_get_be(buf, 1);
    in->queue_sel = (uint16_t)state_get_be(buf, 2);
    in->features = state_get_be(buf, 4);
    config_len = state_get_be(buf, 4);
    if (in->queue_sel >= VIRTIO_QUEUES_MAX || config_len > 4096) {
        return error_set(err, "queue_sel %u, %" PRIu64 " bytes of configuration", in->queue_sel, config_len);
    }
    for (uint64_t i = 0; i < config_len && !buf->failed; i++) {
        uint64_t byte = state_get_be(buf, 1);

        if (i < vdev->config_size) {
            vdev->incoming_config[i] = (uint8_t)byte;
        }
    }
    if (!cut(buf, err) || !load_queues(vdev, p, in, buf, err)) {
        return false;
    }
    if (vdev->ops->load && !vdev->ops->load(vdev, buf, in->features, err)) {
        return false;
    }
    return cut(buf, err) && load_subsections(vdev, in, buf, err) && check_incoming(vdev, in, err);
}

static bool get_virtio(StateBuf *buf, const StateField *field, void *elem, size_t size, GError **err)
{
    VirtioDevice *vdev = elem;
    Incoming *in = g_malloc0(sizeof *in + vdev->n_added * sizeof in->queues[0]);

    in->msix = g_byte_array_new();
    in->config_vector = VIRTIO_NO_VECTOR;
    if (!load_all(vdev, in, buf, err)) {
        incoming_free(in);
        return false;
    }
    incoming_free(vdev->incoming);
    vdev->incoming = in;
    return true;
}

const StateKind state_kind_virtio = {.type = "virtio", .put = put_virtio, .get = get_virtio};

void virtio_incoming_free(VirtioDevice *vdev) { incoming_free(g_steal_pointer(&vdev->incoming)); }

/* ---- taking what was loaded ---------------------------------------------------------------------------- */

static void take_queue(VirtioDevice *vdev, const Incoming *in, unsigned i)
{
    const LoadedQueue *q = &in->queues[i];
    VirtQueue *vq = &vdev->queues[i];
    const bool packed = (in->features >> VIRTIO_F_RING_PACKED) & 1;

    vq->num = (uint16_t)q->num;
    vq->desc = q->desc;
    if (in->has_areas) {
        vq->avail = q->avail;
        vq->used = q->used;
    } else {
        vq->avail = q->desc + (uint64_t)q->num * DESC_SIZE;
        vq->used = align_up(vq->avail + 4 + 2 * (q->num + 1u), 4096);
    }
    vq->enabled = in->has_modern ? q->setup.enabled : q->desc != 0;
    vq->last_avail = vq->shadow_avail = q->last_avail;
    vq->avail_wrap = q->avail_wrap;
    vq->used_wrap = q->used_wrap;
    vq->used_idx = q->used_idx;
    vq->vector = q->vector;
    if (!packed && q->desc) {
        /* The ring itself says how far it was used. */
        uint8_t idx[2] = {0};
        Device probe = *vdev->dma;

        probe.dma_off = false;
        dma_read(&probe, vq->used + 2, idx, 2);
        vq->used_idx = vq->published = load16_le(idx);
    }
}

static void take_pci(VirtioPci *p, const Incoming *in)
{
    memcpy(p->pci.config, in->pci_config, PCI_CONFIG_SIZE);
    p->pci.irq_state = in->irq_state;
    pci_device_state.post_load(&p->pci, 2, NULL);
    if (p->n_vectors) {
        StateBuf buf = {.in = in->msix->data, .in_len = in->msix->len};

        virtio_pci_unuse_vectors(p);
        msix_get(&p->pci, &buf);
    }
    p->feature_select = in->feature_select;
    p->guest_feature_select = in->guest_feature_select;
    p->driver_features = in->driver_features;
    for (unsigned i = 0; p->setup && i < in->n_queues; i++) { /* the driver's features are not known yet */
        p->setup[i] = in->queues[i].setup; /* what the state does not have is zero */
    }
}

bool virtio_post_load(void *obj, unsigned version, GError **err)
{
    VirtioDevice *vdev = obj;
    VirtioPci *p = vdev->transport_opaque;
    g_autofree Incoming *in = g_steal_pointer(&vdev->incoming);

    virtio_reset(vdev);
    take_pci(p, in);
    vdev->guest_features = in->features;
    virtio_features_loaded(vdev);
    vdev->isr = in->isr;
    vdev->queue_sel = in->queue_sel;
    vdev->broken = in->broken;
    vdev->disabled = in->disabled;
    memcpy(vdev->config, vdev->incoming_config, vdev->config_size);
    for (unsigned i = 0; i < in->n_queues; i++) {
        take_queue(vdev, in, i);
    }
    if (p->n_vectors) {
        vdev->config_vector = virtio_pci_use_vector(p, VIRTIO_NO_VECTOR, in->config_vector);
        for (unsigned i = 0; i < in->n_queues; i++) {
            vdev->queues[i].vector = virtio_pci_use_vector(p, VIRTIO_NO_VECTOR, in->queues[i].vector);
        }
    }
    if (vdev->ops->take_loaded) {
        vdev->ops->take_loaded(vdev);
    }
    vdev->status = in->status;
    vdev->started_early = in->started && !(in->status & VIRTIO_CONFIG_S_DRIVER_OK);
    g_byte_array_unref(in->msix);
    virtio_update(vdev);
    return true;
}

const VirtioTransport virtio_pci_transport = {
    .notify = virtio_pci_notify,
    .call_fd = virtio_pci_call_fd,
    .save_config = pci_save_config,
    .save_extra = pci_save_extra,
};
