/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-scsi-device": configuration, properties and life of a virtio SCSI adapter; its fronts on PCI.
 *
 * Its queues and the block nodes of all its units run in one thread: that of iothread=, else one of Kiln's own, or that
 * where the nodes of a unit are because another device uses them, too. With iothread-vq-mapping= command queues run in
 * several (virtio_scsi_lanes.c); the control and event queues, and the block nodes, are in the first command queue's.
 */
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_scsi.h"

#define AUTO_QUEUES UINT32_MAX
#define SENSE_DEFAULT 96
#define CDB_DEFAULT 32
#define CONFIG(field) (config + offsetof(struct virtio_scsi_config, field))

/* ---- configuration --------------------------------------------------------------------------------- */

static void get_config(VirtioDevice *vdev)
{
    const VirtioScsi *s = virtio_scsi(vdev);
    uint8_t *config = vdev->config;

    store32_le(CONFIG(num_queues), s->num_queues);
    store32_le(CONFIG(seg_max), s->seg_max_adjust ? s->queue_size - 2 : 128 - 2);
    store32_le(CONFIG(max_sectors), s->max_sectors);
    store32_le(CONFIG(cmd_per_lun), s->cmd_per_lun);
    store32_le(CONFIG(event_info_size), 16);
    store32_le(CONFIG(sense_size), s->sense_size);
    store32_le(CONFIG(cdb_size), s->cdb_size);
    store16_le(CONFIG(max_channel), VIRTIO_SCSI_MAX_CHANNEL);
    store16_le(CONFIG(max_target), VIRTIO_SCSI_MAX_TARGET);
    store32_le(CONFIG(max_lun), VIRTIO_SCSI_MAX_LUN);
}

/* The sizes of sense data and CDBs are the driver's to choose. */
static void set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioScsi *s = virtio_scsi(vdev);
    const uint32_t sense = load32_le(CONFIG(sense_size)), cdb = load32_le(CONFIG(cdb_size));

    if (sense > UINT16_MAX || cdb > UINT8_MAX) {
        virtio_broken(vdev, "sense data of %u bytes and CDBs of %u are too large", sense, cdb);
        return;
    }
    __atomic_store_n(&s->sense_size, sense, __ATOMIC_RELAXED);
    __atomic_store_n(&s->cdb_size, cdb, __ATOMIC_RELAXED);
}

/* ---- running ------------------------------------------------------------------------------------------- */

static void retry_all(void *opaque)
{
    VirtioScsi *s = opaque;

    if (s->vdev.running) {
        virtio_scsi_end_orphans(s);
        scsi_bus_retry(&s->bus);
    }
}

static void started(VirtioDevice *vdev) { virtio_call(vdev, retry_all, virtio_scsi(vdev)); }

static void quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioScsi *s = virtio_scsi(vdev);

    if (s->lanes) {
        virtio_scsi_lanes_settle(s);
    } else {
        scsi_bus_drain(&s->bus);
    }
}

static void scsi_reset(VirtioDevice *vdev)
{
    VirtioScsi *s = virtio_scsi(vdev);
    ScsiDevice *dev;

    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    s->events_dropped = false;
    for (unsigned n = 0; (dev = scsi_nth(&s->bus, n)); n++) {
        scsi_device_reset(dev);
    }
    virtio_scsi_drop_orphans(s, NULL);
    scsi_put_attention(&s->bus.unit_attention, (ScsiSense){0});
}

/* Requests of the queue that wait for the VM. */
static void queue_reset(VirtioDevice *vdev, VirtQueue *vq)
{
    ScsiDevice *dev;

    for (unsigned n = 0; (dev = scsi_nth(&virtio_scsi(vdev)->bus, n)); n++) {
        for (ScsiRequest *req = dev->requests, *next; req; req = next) {
            next = req->next;
            if (virtio_scsi_request(req)->elem.queue == vq) {
                scsi_request_abort(req);
            }
        }
    }
    virtio_scsi_drop_orphans(virtio_scsi(vdev), vq);
}

/* ---- units ------------------------------------------------------------------------------------------------ */

static bool is_running(ScsiBus *bus) { return ((VirtioScsi *)bus->opaque)->vdev.running; }

static bool check_move(VirtioScsi *s, const Loop *loop, GError **err)
{
    const char *why = s->iothread ? "this controller's, which iothread= names"
                      : s->mapping ? "this controller's, which iothread-vq-mapping= names" : NULL;
    ScsiDevice *dev;

    for (unsigned n = 0; !why && (dev = scsi_nth(&s->bus, n)); n++) {
        why = blk_can_set_loop(dev->blk, loop) ? NULL : "where nodes of this controller's other units have to stay";
    }
    return !why || error_set(err, "Cannot change iothread of active block backend: its nodes are in use in another thread than %s; "
                             "open the image a second time", why);
}

/* All of it goes to a loop that is not ours to choose: nodes of a unit have to stay there, for another device's sake. */
static bool go_to(VirtioScsi *s, Loop *loop, GError **err)
{
    ScsiDevice *dev;

    if (!check_move(s, loop, err)) {
        return false;
    }
    virtio_stop(&s->vdev);
    for (unsigned n = 0; (dev = scsi_nth(&s->bus, n)); n++) {
        blk_set_loop(dev->blk, loop, NULL);
    }
    virtio_stay_in(&s->vdev, loop);
    s->bus.loop = loop;
    virtio_update(&s->vdev);
    return true;
}

static bool follow(ScsiBus *bus, Loop *loop, GError **err)
{
    VirtioScsi *s = bus->opaque;

    return loop == s->vdev.loop || go_to(s, loop, err);
}

static bool place(ScsiBus *bus, ScsiDevice *dev, GError **err)
{
    VirtioScsi *s = bus->opaque;

    return (blk_set_loop(dev->blk, s->vdev.loop, NULL) || go_to(s, blk_loop(dev->blk), err)) &&
           virtio_scsi_lanes_gates(s, dev, err);
}

static void arrived(ScsiBus *bus, ScsiDevice *dev) { virtio_scsi_lanes_add(bus->opaque, dev); }
static void leaving(ScsiBus *bus, ScsiDevice *dev) { virtio_scsi_lanes_close(bus->opaque, dev); }
static void take_over(ScsiBus *bus) { virtio_scsi_take_mail(bus->opaque); }

typedef struct UnitEvent {
    VirtioScsi *s;
    const ScsiDevice *dev;
    uint32_t event, reason;
} UnitEvent;

static void tell_unit(void *opaque)
{
    const UnitEvent *u = opaque;

    if (virtio_has_feature(&u->s->vdev, VIRTIO_SCSI_F_HOTPLUG)) {
        virtio_scsi_push_event(u->s, u->dev, u->event, u->reason);
    }
    scsi_put_attention(&u->s->bus.unit_attention, SENSE_UNITS_CHANGED);
}

static void plugged(void *opaque, Device *dev)
{
    VirtioScsi *s = opaque;

    scsi_bus_call(&s->bus, tell_unit, &(UnitEvent){s, scsi_device(dev), VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_RESCAN});
}

static void unplugged(ScsiBus *bus, ScsiDevice *dev)
{
    virtio_scsi_lanes_remove(bus->opaque, dev);
    scsi_bus_call(bus, tell_unit, &(UnitEvent){bus->opaque, dev, VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_REMOVED});
}

static void changed(ScsiBus *bus, ScsiDevice *dev, ScsiSense sense)
{
    VirtioScsi *s = bus->opaque;

    if (virtio_has_feature(&s->vdev, VIRTIO_SCSI_F_CHANGE) && dev->ops->type != SCSI_TYPE_ROM) {
        virtio_scsi_push_event(s, dev, VIRTIO_SCSI_T_PARAM_CHANGE, sense.asc | (uint32_t)sense.ascq << 8);
    }
}

static bool request_unplug(void *opaque, Device *dev, GError **err)
{
    device_unrealize(dev);
    return true;
}

static const HotplugOps hotplug_ops = {.plugged = plugged, .request_unplug = request_unplug};

static const ScsiBusOps bus_ops = {
    .max_channel = VIRTIO_SCSI_MAX_CHANNEL,
    .max_target = VIRTIO_SCSI_MAX_TARGET,
    .max_lun = VIRTIO_SCSI_MAX_LUN,
    .tcq = true,
    .complete = virtio_scsi_complete,
    .place = place,
    .follow = follow,
    .arrived = arrived,
    .leaving = leaving,
    .take_over = take_over,
    .unplugged = unplugged,
    .changed = changed,
    .is_running = is_running,
    .save_request = virtio_scsi_save_request,
    .load_request = virtio_scsi_load_request,
    .take_loaded = virtio_scsi_take_loaded,
    .free_loaded = virtio_scsi_free_loaded,
};

/* ---- realize ------------------------------------------------------------------------------------------------ */

static bool check_options(VirtioScsi *s, GError **err)
{
    if (s->num_queues == AUTO_QUEUES) {
        s->num_queues = CLAMP(s->vdev.dev.vm->cpus->len, 1, VIRTIO_QUEUES_MAX - VIRTIO_SCSI_QUEUES_FIXED);
    }
    if (!s->num_queues || s->num_queues > VIRTIO_QUEUES_MAX - VIRTIO_SCSI_QUEUES_FIXED) {
        return error_set(err, "Invalid number of queues (= %u), must be a positive integer less than %u.", s->num_queues,
                         VIRTIO_QUEUES_MAX - VIRTIO_SCSI_QUEUES_FIXED + 1);
    }
    if (s->queue_size <= 2 || !is_power_of_two(s->queue_size) || s->queue_size > VIRTQUEUE_MAX_SIZE) {
        return error_set(err, "invalid virtqueue_size property (= %u), must be a power of 2 between 4 and %u", s->queue_size,
                         VIRTQUEUE_MAX_SIZE);
    }
    return true;
}

static void add_queues(VirtioScsi *s)
{
    VirtioDevice *vdev = &s->vdev;

    virtio_add_queue(vdev, s->queue_size, virtio_scsi_handle_control, sizeof(VirtioScsiTmf));
    virtio_queue_set_lazy(virtio_add_queue(vdev, s->queue_size, virtio_scsi_handle_events, sizeof(VirtElement)));
    for (unsigned i = 0; i < s->num_queues; i++) {
        virtio_add_queue(vdev, s->queue_size, virtio_scsi_handle_commands, sizeof(VirtioScsiRequest));
    }
}

static bool scsi_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioScsi *s = virtio_scsi(vdev);
    g_autofree Loop **loops = NULL;

    if (!check_options(s, err)) {
        return false;
    }
    loops = g_new0(Loop *, s->num_queues);
    if (!virtio_iothreads_choose(s->iothread, s->mapping, dev->vm, s->num_queues, loops, err)) {
        return false;
    }
    vdev->host_features |= s->features_prop;
    if (!((vdev->host_features >> VIRTIO_F_VERSION_1) & 1)) {
        vdev->host_features &= ~(UINT64_C(1) << VIRTIO_F_ANY_LAYOUT);
    }
    scsi_bus_init(&s->bus, dev->vm, dev, dev->bus->owner->id, &bus_ops, s);
    virtio_init(vdev, VIRTIO_SCSI_CONFIG_SIZE);
    vdev->loop = loops[0] ? loops[0] : dev->vm->loop;
    s->bus.loop = vdev->loop;
    if ((s->features_prop >> VIRTIO_SCSI_F_HOTPLUG) & 1) {
        s->bus.bus.hotplug = &hotplug_ops;
        s->bus.bus.hotplug_opaque = s;
    }
    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    add_queues(s);
    if (s->mapping) {
        virtio_scsi_make_lanes(s, loops);
    }
    return true;
}

static void scsi_unrealize(Device *dev)
{
    VirtioDevice *vdev = virtio_device(dev);

    virtio_scsi_drop_orphans(virtio_scsi(vdev), NULL);
    virtio_cleanup(vdev);
    virtio_scsi_free_lanes(virtio_scsi(vdev));
    virtio_iothreads_release(virtio_scsi(vdev)->mapping);
    scsi_bus_cleanup(&virtio_scsi(vdev)->bus);
}

/* ---- what users and managers see ------------------------------------------------------------------------------ */

#define FEATURE(pname, number, text) PROP_BIT64(pname, VirtioScsi, features_prop, .bit = (number), .def = 1, .help = text)

static const Property scsi_props[] = {
    PROP_LINK("iothread", VirtioScsi, iothread, .link_type = "iothread", .type = "link<iothread>",
              .help = "thread of its queues; default: one of Kiln's own"),
    PROP_IOTHREAD_VQ_MAPPING("iothread-vq-mapping", VirtioScsi, mapping,
                             .help = "JSON: threads of its command queues, [{\"iothread\": ..., \"vqs\": [...]}, ...]"),
    PROP_U32("num_queues", VirtioScsi, num_queues, .def = AUTO_QUEUES, .help = "for commands; default: one for each CPU"),
    PROP_U32("virtqueue_size", VirtioScsi, queue_size, .def = 256, .help = "descriptors of a queue, a power of two"),
    PROP_BOOL("seg_max_adjust", VirtioScsi, seg_max_adjust, .def = 1, .help = "requests may fill the queue; off: 126 pieces"),
    PROP_U32("max_sectors", VirtioScsi, max_sectors, .def = 0xffff, .help = "of one request, for the driver"),
    PROP_U32("cmd_per_lun", VirtioScsi, cmd_per_lun, .def = 128, .help = "commands of a unit at once, for the driver"),
    FEATURE("hotplug", VIRTIO_SCSI_F_HOTPLUG, "units may come and go"),
    FEATURE("param_change", VIRTIO_SCSI_F_CHANGE, "the guest is told of new capacities"),
    {}};

static const StateField scsi_fields[] = {STATE_VIRTIO(VirtioScsi, vdev), {}};
static const StateDesc scsi_state = {
    .name = "virtio-scsi", .version = 1, .min_version = 1, .fields = scsi_fields, .post_load = virtio_post_load};

static const VirtioOps scsi_virtio_ops = {
    .device_id = VIRTIO_ID_SCSI,
    .get_config = get_config,
    .set_config = set_config,
    .started = started,
    .quiesce = quiesce,
    .reset = scsi_reset,
    .queue_reset = queue_reset,
};

DEVICE_TYPE(virtio_scsi_device) = {
    .name = "virtio-scsi-device",
    .parent = "virtio-device",
    .size = sizeof(VirtioScsi),
    .category = "storage",
    .props = scsi_props,
    .state = &scsi_state,
    .ops = &scsi_virtio_ops,
    .realize = scsi_realize,
    .unrealize = scsi_unrealize,
};

/* ---- on PCI ---------------------------------------------------------------------------------------------------- */

/* One for each queue and one for the configuration. */
static unsigned pci_vectors(const VirtioPci *pci) { return MIN(pci->vdev->n_queues + 1, (unsigned)MSIX_MAX_VECTORS); }

VIRTIO_PCI_TYPES(virtio_scsi_pci, "virtio-scsi", 0x1004, VIRTIO_ID_SCSI, 0x0100, "Virtio SCSI host adapter", "storage", NULL,
                 pci_vectors, NULL)
