/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-blk-device": configuration, properties and life of a virtio disk; its fronts on PCI.
 *
 * Its queues run in the threads that iothread-vq-mapping= or iothread= names, else in Kiln's own: in several when its block
 * nodes take requests in any loop, so that no queue waits for another one's thread. The nodes belong to the first queue's
 * thread; other queues reach them through gates (block/gates.h). Nodes that another device uses too stay in its thread, and
 * the queues go there.
 */
#include "backends/iothread.h"
#include "hw/virtio/virtio_blk.h"
#include "hw/virtio/virtio_pci.h"

#define SECTORS_MAX (UINT32_MAX / VIRTIO_BLK_SECTOR / 2)
#define AUTO_QUEUES 0xffff
#define CONFIG(field) (config + offsetof(struct virtio_blk_config, field))

/* ---- configuration ---------------------------------------------------------------------------- */

static void put_topology(const DiskOptions *o, uint8_t *config)
{
    const uint32_t block = (uint32_t)o->logical_block_size;

    store16_le(CONFIG(geometry.cylinders), o->cyls);
    config[offsetof(struct virtio_blk_config, geometry.heads)] = (uint8_t)o->heads;
    config[offsetof(struct virtio_blk_config, geometry.sectors)] = (uint8_t)o->secs;
    store32_le(CONFIG(blk_size), block);
    *CONFIG(physical_block_exp) = (uint8_t)__builtin_ctzll(o->physical_block_size / block);
    *CONFIG(alignment_offset) = 0;
    store16_le(CONFIG(min_io_size), (uint16_t)(o->min_io_size / block));
    store32_le(CONFIG(opt_io_size), (uint32_t)(o->opt_io_size / block));
}

static void put_discard(const VirtioBlk *s, uint8_t *config)
{
    uint64_t granularity = s->options.discard_granularity;

    if (granularity == UINT32_MAX || !s->report_discard_granularity) {
        granularity = s->options.logical_block_size;
    }
    if ((s->vdev.host_features >> VIRTIO_BLK_F_DISCARD) & 1) {
        store32_le(CONFIG(max_discard_sectors), s->max_discard_sectors);
        store32_le(CONFIG(discard_sector_alignment), (uint32_t)(granularity / VIRTIO_BLK_SECTOR));
        store32_le(CONFIG(max_discard_seg), 1);
    }
    if ((s->vdev.host_features >> VIRTIO_BLK_F_WRITE_ZEROES) & 1) {
        store32_le(CONFIG(max_write_zeroes_sectors), s->max_write_zeroes_sectors);
        store32_le(CONFIG(max_write_zeroes_seg), 1);
        *CONFIG(write_zeroes_may_unmap) = 1;
    }
}

static void get_config(VirtioDevice *vdev)
{
    VirtioBlk *s = virtio_blk(vdev);
    uint8_t *config = vdev->config;
    uint8_t full[sizeof(struct virtio_blk_config)] = {0};

    config = full;
    store64_le(CONFIG(capacity), __atomic_load_n(&s->capacity, __ATOMIC_RELAXED) / VIRTIO_BLK_SECTOR);
    store32_le(CONFIG(seg_max), s->seg_max_adjust ? s->queue_size - 2u : 128 - 2);
    put_topology(&s->options, config);
    *CONFIG(wce) = blk_write_cache(s->blk);
    store16_le(CONFIG(num_queues), s->num_queues);
    put_discard(s, config);
    memcpy(vdev->config, full, vdev->config_size);
}

/* The write cache is all that the driver may change. */
static void set_config(VirtioDevice *vdev, const uint8_t *config)
{
    if (virtio_has_feature(vdev, VIRTIO_BLK_F_CONFIG_WCE)) {
        blk_set_write_cache(virtio_blk(vdev)->blk, *CONFIG(wce) & 1);
    }
}

static void capacity_changed(VirtioDevice *vdev) { virtio_notify_config(vdev); }

static void resized(void *opaque)
{
    VirtioBlk *s = opaque;

    __atomic_store_n(&s->capacity, blk_size(s->blk), __ATOMIC_RELAXED);
    virtio_post_main(&s->vdev, capacity_changed);
}

static const BlkDevOps blk_ops = {.any_loop = true, .resized = resized, .retry = virtio_blk_retry};

/* ---- running ------------------------------------------------------------------------------------ */

/* A driver that knows no cache needs none: its writes are then safe when they end. What is kept is tried again. */
static void before_start(VirtioDevice *vdev)
{
    VirtioBlk *s = virtio_blk(vdev);

    for (unsigned i = 0; i < s->num_queues; i++) {
        __atomic_store_n(&s->queues[i].retry, s->queues[i].kept != NULL, __ATOMIC_RELAXED);
    }
    if (!virtio_has_feature(vdev, VIRTIO_BLK_F_CONFIG_WCE) && (vdev->host_features >> VIRTIO_BLK_F_FLUSH) & 1) {
        blk_set_write_cache(s->blk, virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH));
    }
}

static void quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioBlk *s = virtio_blk(vdev);

    if (blk_is_alive(vdev->dev.vm, s->blk)) {
        blk_drain(s->blk);
    }
}

static void blk_reset(VirtioDevice *vdev) { virtio_blk_drop_kept(virtio_blk(vdev), NULL); }
static void blk_queue_reset(VirtioDevice *vdev, VirtQueue *vq) { virtio_blk_drop_kept(virtio_blk(vdev), vq); }

/* ---- realize -------------------------------------------------------------------------------------- */

static bool check_queues(VirtioBlk *s, GError **err)
{
    if (s->num_queues == AUTO_QUEUES) {
        s->num_queues = (uint16_t)CLAMP(s->vdev.dev.vm->cpus->len, 1, VIRTIO_QUEUES_MAX);
    }
    if (!s->num_queues || s->num_queues > VIRTIO_QUEUES_MAX) {
        return error_set(err, "num-queues=%u must be between 1 and %u", s->num_queues, VIRTIO_QUEUES_MAX);
    }
    if (s->queue_size <= 2 || !is_power_of_two(s->queue_size) || s->queue_size > VIRTQUEUE_MAX_SIZE) {
        return error_set(err, "invalid queue-size property (%u), must be a power of 2 between 4 and %u", s->queue_size,
                         VIRTQUEUE_MAX_SIZE);
    }
    if (!s->max_discard_sectors || s->max_discard_sectors > SECTORS_MAX) {
        return error_set(err, "invalid max-discard-sectors property (%u), must be between 1 and %u", s->max_discard_sectors,
                         SECTORS_MAX);
    }
    if (!s->max_write_zeroes_sectors || s->max_write_zeroes_sectors > SECTORS_MAX) {
        return error_set(err, "invalid max-write-zeroes-sectors property (%u), must be between 1 and %u",
                         s->max_write_zeroes_sectors, SECTORS_MAX);
    }
    return true;
}

static void set_features(VirtioBlk *s)
{
    uint64_t *f = &s->vdev.host_features;
    const bool modern = (*f >> VIRTIO_F_VERSION_1) & 1;

    *f |= s->features_prop | 1u << VIRTIO_BLK_F_SEG_MAX | 1u << VIRTIO_BLK_F_GEOMETRY | 1u << VIRTIO_BLK_F_TOPOLOGY |
          1u << VIRTIO_BLK_F_BLK_SIZE;
    if (!modern) {
        *f &= ~(UINT64_C(1) << VIRTIO_F_ANY_LAYOUT);
        *f |= 1u << VIRTIO_BLK_F_SCSI; /* as QEMU: such commands fail */
    }
    if (blk_write_cache(s->blk) || (s->wce_if_config_wce && (*f >> VIRTIO_BLK_F_CONFIG_WCE) & 1)) {
        *f |= 1u << VIRTIO_BLK_F_FLUSH;
    }
    if (blk_is_read_only(s->blk)) {
        *f |= 1u << VIRTIO_BLK_F_RO;
    }
    if (s->num_queues > 1) {
        *f |= 1u << VIRTIO_BLK_F_MQ;
    }
}

static bool attach(VirtioBlk *s, GError **err)
{
    s->attached = disk_options_attach(&s->options, s->blk, &s->vdev.dev, &blk_ops, s, !blk_is_read_only(s->blk), err);
    if (s->attached) {
        blk_set_merging(s->blk, s->request_merging);
    }
    return s->attached;
}

/* The nodes take requests in any loop: so many own threads as there are queues, if there may be. */
static void spread(VirtioBlk *s, Loop **loops)
{
    const unsigned n = MIN(s->num_queues, iothread_own_max());

    for (unsigned i = 1; i < s->num_queues; i++) {
        loops[i] = i < n ? iothread_own_loop(s->vdev.dev.vm, NULL) : loops[i % n];
        loops[i] = loops[i] ? loops[i] : loops[0];
    }
}

/* The queues are there. */
static bool use_loops(VirtioBlk *s, Loop *const *loops, GError **err)
{
    for (unsigned i = 0; i < s->num_queues; i++) {
        if (loops[i] == s->vdev.loop) {
            continue;
        }
        s->queues[i].gate = blk_gate(s->blk, loops[i], err);
        if (!s->queues[i].gate) {
            return false;
        }
        virtio_queue_set_loop(virtio_queue(&s->vdev, i), loops[i]);
    }
    return true;
}

static bool add_queues(VirtioBlk *s, GError **err)
{
    g_autofree Loop **loops = g_new0(Loop *, s->num_queues);
    const bool asked = s->iothread || s->mapping;
    bool moved;

    if (!virtio_iothreads_choose(s->iothread, s->mapping, s->vdev.dev.vm, s->num_queues, loops, err)) {
        return false;
    }
    moved = loops[0] && blk_set_loop(s->blk, loops[0], asked ? err : NULL);
    if (asked && !moved) {
        return false;
    }
    for (unsigned i = 0; i < s->num_queues; i++) {
        virtio_add_queue(&s->vdev, s->queue_size, virtio_blk_handle, sizeof(VirtioBlkRequest));
    }
    if (!moved) {
        virtio_stay_in(&s->vdev, blk_loop(s->blk));
        return true;
    }
    s->vdev.loop = loops[0];
    if (!asked && blk_any_loop(s->blk)) {
        spread(s, loops);
    }
    return use_loops(s, loops, err);
}

static void detach(VirtioBlk *s)
{
    if (s->attached && blk_is_alive(s->vdev.dev.vm, s->blk)) {
        blk_detach(s->blk);
    }
    s->attached = false;
    virtio_iothreads_release(s->mapping);
    g_clear_pointer(&s->queues, g_free);
}

static bool check_drive(const VirtioBlk *s, GError **err)
{
    if (!s->blk) {
        return error_set(err, "drive property not set: give the device drive=ID of a -drive or -blockdev");
    }
    if (!blk_check_disk(s->blk, err)) {
        return false;
    }
    if (s->scsi) {
        return error_set(err, "scsi=on: SCSI commands are not passed through; set scsi=off, or use virtio-scsi");
    }
    return true;
}

static bool blk_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioBlk *s = virtio_blk(vdev);

    if (!check_drive(s, err) || !check_queues(s, err) || !disk_options_check_sizes(&s->options, err) ||
        !attach(s, err)) {
        return false;
    }
    if (!disk_options_set_geometry(&s->options, s->blk, 255, err)) {
        detach(s);
        return false;
    }
    virtio_init(vdev, VIRTIO_BLK_CONFIG_SIZE);
    s->queues = g_new0(VirtioBlkQueue, s->num_queues);
    s->capacity = blk_size(s->blk);
    if (!add_queues(s, err)) {
        virtio_cleanup(vdev);
        detach(s);
        return false;
    }
    set_features(s);
    return true;
}

static void blk_unrealize(Device *dev)
{
    VirtioDevice *vdev = virtio_device(dev);

    virtio_cleanup(vdev);
    detach(virtio_blk(vdev));
}

static void blk_finalize(Object *obj) { virtio_blk_free_loaded(virtio_blk(virtio_device((Device *)(void *)obj))); }

/* ---- what users and managers see ---------------------------------------------------------------------- */

#define FEATURE(pname, number, text) PROP_BIT64(pname, VirtioBlk, features_prop, .bit = (number), .def = 1, .help = text)

static const Property blk_props[] = {
    PROP_DRIVE("drive", VirtioBlk, blk, .help = "Node name or ID of a block device to use as a backend"),
    PROP_LINK("iothread", VirtioBlk, iothread, .link_type = "iothread", .type = "link<iothread>",
              .help = "thread of its queues; default: one of Kiln's own, or several"),
    PROP_IOTHREAD_VQ_MAPPING("iothread-vq-mapping", VirtioBlk, mapping,
                             .help = "JSON: threads of its queues, [{\"iothread\": ..., \"vqs\": [...]}, ...]"),
    PROP_U16("num-queues", VirtioBlk, num_queues, .def = AUTO_QUEUES, .help = "queues; default: one for each CPU"),
    PROP_U16("queue-size", VirtioBlk, queue_size, .def = 256, .help = "descriptors of a queue, a power of two"),
    PROP_STRING("serial", VirtioBlk, serial, .help = "the first 20 characters are shown to the guest"),
    DISK_PROPS(VirtioBlk, options, "discards work on multiples of it; default: a block"),
    DISK_ERROR_PROPS(VirtioBlk, options),
    DISK_GEOMETRY_PROPS(VirtioBlk, options),
    FEATURE("config-wce", VIRTIO_BLK_F_CONFIG_WCE, "the guest may switch the write cache"),
    FEATURE("discard", VIRTIO_BLK_F_DISCARD, "offer discard"),
    FEATURE("write-zeroes", VIRTIO_BLK_F_WRITE_ZEROES, "offer writing of zeroes"),
    PROP_BOOL("scsi", VirtioBlk, scsi, .help = "not supported: use virtio-scsi"),
    PROP_BOOL("request-merging", VirtioBlk, request_merging, .def = 1,
              .help = "neighbours of one notification go to the kernel as one request"),
    PROP_BOOL("seg-max-adjust", VirtioBlk, seg_max_adjust, .def = 1, .help = "requests may fill the queue; off: 126 pieces"),
    PROP_U32("max-discard-sectors", VirtioBlk, max_discard_sectors, .def = SECTORS_MAX, .help = "of one request"),
    PROP_U32("max-write-zeroes-sectors", VirtioBlk, max_write_zeroes_sectors, .def = SECTORS_MAX, .help = "of one request"),
    PROP_BOOL("report-discard-granularity", VirtioBlk, report_discard_granularity, .def = 1,
              .help = "the guest is told of discard_granularity"),
    PROP_BOOL("x-enable-wce-if-config-wce", VirtioBlk, wce_if_config_wce, .def = 1,
              .help = "offer flushes whenever the cache can be switched"),
    PROP_I32("bootindex", VirtioBlk, bootindex, .def = (uint64_t)-1, .anytime = true,
             .help = "place in the boot order; -1: none"),
    {}};

static const StateField blk_fields[] = {STATE_VIRTIO(VirtioBlk, vdev), {}};
static const StateDesc blk_state = {
    .name = "virtio-blk", .version = 2, .min_version = 2, .fields = blk_fields, .post_load = virtio_post_load};

static const VirtioOps blk_virtio_ops = {
    .device_id = VIRTIO_ID_BLOCK,
    .get_config = get_config,
    .set_config = set_config,
    .start = before_start,
    .quiesce = quiesce,
    .reset = blk_reset,
    .queue_reset = blk_queue_reset,
    .save = virtio_blk_save,
    .load = virtio_blk_load,
    .take_loaded = virtio_blk_take_loaded,
};

DEVICE_TYPE(virtio_blk_device) = {
    .name = "virtio-blk-device",
    .parent = "virtio-device",
    .size = sizeof(VirtioBlk),
    .category = "storage",
    .props = blk_props,
    .state = &blk_state,
    .ops = &blk_virtio_ops,
    .realize = blk_realize,
    .unrealize = blk_unrealize,
    .finalize = blk_finalize,
};

/* ---- on PCI ------------------------------------------------------------------------------------------ */

/* One for each queue and one for the configuration. */
static unsigned pci_vectors(const VirtioPci *pci) { return MIN(pci->vdev->n_queues + 1, (unsigned)MSIX_MAX_VECTORS); }

VIRTIO_PCI_TYPES(virtio_blk_pci, "virtio-blk", 0x1001, VIRTIO_ID_BLOCK, 0x0100, "Virtio block device", "storage",
                 virtio_pci_class_props, pci_vectors, NULL)
