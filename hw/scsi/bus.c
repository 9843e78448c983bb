/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SCSI bus: addresses, what a target answers for all of its units (REPORT LUNS, units that are not there), sense data
 * and unit attentions, and the life of requests.
 */
#include "hw/scsi/scsi.h"

#include "util/iov.h"
#include "util/trace.h"

enum { OP_REQUEST_SENSE = 0x03, OP_INQUIRY = 0x12, OP_GET_CONFIGURATION = 0x46, OP_GET_EVENT_STATUS = 0x4a, OP_REPORT_LUNS = 0xa0 };

/* ---- finding ------------------------------------------------------------------------------------ */

ScsiDevice *scsi_nth(const ScsiBus *bus, unsigned n)
{
    return n < bus->units->len ? g_ptr_array_index(bus->units, n) : NULL;
}

ScsiDevice *scsi_find(ScsiBus *bus, unsigned channel, unsigned id, unsigned lun)
{
    ScsiDevice *dev, *other = NULL;

    for (unsigned n = 0; (dev = scsi_nth(bus, n)); n++) {
        if (dev->channel == channel && dev->id == id) {
            if (dev->lun == lun) {
                return dev;
            }
            other = dev;
        }
    }
    return other;
}

/* ---- ending ------------------------------------------------------------------------------------- */

size_t scsi_put_sense(uint8_t *buf, ScsiSense sense)
{
    memset(buf, 0, 18);
    buf[0] = 0x70;
    buf[2] = sense.key;
    buf[7] = 10;
    buf[12] = sense.asc;
    buf[13] = sense.ascq;
    return 18;
}

static void forget(ScsiRequest *req)
{
    if (req->link) {
        *req->link = req->next;
        if (req->next) {
            req->next->link = req->link;
        }
        req->link = NULL;
    }
}

void scsi_request_clear(ScsiRequest *req)
{
    g_clear_pointer(&req->buf, g_free);
    g_clear_pointer(&req->cut, g_free);
}

void scsi_complete(ScsiRequest *req, uint8_t status)
{
    ScsiDevice *dev = req->dev;

    trace(scsi_complete, "%u:%u:%u op %02x status %02x moved %" PRIu64, dev->channel, dev->id, req->lun, req->cdb[0], status,
          req->moved);
    req->status = status;
    if (status == SCSI_GOOD && req->direction == SCSI_TO_DEVICE && !dev->ops->guest_lengths) {
        req->moved = req->xfer;
    }
    memcpy(dev->sense, req->sense, req->sense_len);
    __atomic_store_n(&dev->sense_len, req->sense_len, __ATOMIC_RELAXED);
    dev->sense_is_ua = req->sense_len && (req->sense[2] & 15) == 6;
    forget(req);
    dev->sbus->ops->complete(req);
}

void scsi_fail(ScsiRequest *req, ScsiSense sense)
{
    req->sense_len = (uint8_t)scsi_put_sense(req->sense, sense);
    req->moved = 0;
    scsi_complete(req, SCSI_CHECK_CONDITION);
}

void scsi_reply(ScsiRequest *req, const void *data, size_t len)
{
    req->moved = iov_from_buf(req->iov, req->iov_count, 0, data, MIN(len, req->xfer));
    scsi_complete(req, SCSI_GOOD);
}

size_t scsi_request_read(const ScsiRequest *req, uint64_t pos, void *data, size_t len)
{
    return pos < req->xfer ? iov_to_buf(req->iov, req->iov_count, pos, data, MIN(len, req->xfer - pos)) : 0;
}

/* ---- the target ----------------------------------------------------------------------------------- */

static void report_luns(ScsiRequest *req)
{
    const ScsiDevice *dev = req->dev;
    g_autoptr(GByteArray) list = g_byte_array_new();
    const uint8_t zeros[8] = {0};
    ScsiDevice *other;

    if (req->xfer < 16 || req->cdb[2] > 2) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    g_byte_array_append(list, zeros, 8);
    g_byte_array_append(list, zeros, 8); /* unit 0 is always there */
    for (unsigned n = 0; (other = scsi_nth(dev->sbus, n)); n++) {
        if (other->channel == dev->channel && other->id == dev->id && other->lun) {
            uint8_t entry[8] = {0};

            if (other->lun < 256) {
                entry[1] = (uint8_t)other->lun;
            } else {
                store16_be(entry, (uint16_t)(0x4000 | other->lun));
            }
            g_byte_array_append(list, entry, 8);
        }
    }
    store32_be(list->data, list->len - 8);
    scsi_reply(req, list->data, list->len);
}

/* Of a unit that is not there. */
static void target_inquiry(ScsiRequest *req)
{
    uint8_t buf[36] = {0};

    if (req->cdb[1] & 1) {
        if (req->cdb[2]) {
            scsi_fail(req, SENSE_INVALID_FIELD);
            return;
        }
        buf[3] = 1;
        scsi_reply(req, buf, 5);
        return;
    }
    if (req->cdb[2]) {
        scsi_fail(req, SENSE_INVALID_FIELD);
        return;
    }
    if (req->lun) {
        buf[0] = 0x7f;
    } else {
        buf[0] = 0x3f; /* could be connected, is not */
        buf[2] = 5;
        buf[3] = 0x12;
        buf[4] = 31;
        buf[7] = (uint8_t)(0x10 | (req->dev->sbus->ops->tcq ? 2 : 0));
        memcpy(buf + 8, "QEMU    ", 8);
        memcpy(buf + 16, "QEMU TARGET     ", 16);
        memcpy(buf + 32, "2.5", 3);
    }
    scsi_reply(req, buf, sizeof buf);
}

static void target_sense(ScsiRequest *req)
{
    ScsiDevice *dev = req->dev;
    uint8_t buf[SCSI_SENSE_SIZE];
    size_t len;

    if (req->lun != dev->lun) {
        len = scsi_put_sense(buf, SENSE_NO_SUCH_LUN);
    } else {
        len = dev->sense_len;
        memcpy(buf, dev->sense, len);
    }
    scsi_reply(req, buf, len);
}

static void run_for_target(ScsiRequest *req)
{
    if (req->cdb[0] == OP_REPORT_LUNS && (!req->lun || req->lun == req->dev->lun)) {
        if (req->lun) {
            scsi_fail(req, SENSE_NO_SUCH_LUN);
        } else {
            report_luns(req);
        }
    } else if (req->cdb[0] == OP_INQUIRY) {
        target_inquiry(req);
    } else if (req->cdb[0] == OP_REQUEST_SENSE) {
        target_sense(req);
    } else if (req->cdb[0] == 0 && !req->lun) {
        scsi_complete(req, SCSI_GOOD);
    } else {
        scsi_fail(req, req->lun ? SENSE_NO_SUCH_LUN : SENSE_INVALID_COMMAND);
    }
}

/* ---- starting and stopping ------------------------------------------------------------------------ */

/* True: it was told, and the command with it is over. */
static bool tell_attention(ScsiRequest *req)
{
    ScsiDevice *dev = req->dev;
    const uint8_t op = req->cdb[0];
    ScsiSense *pending = dev->unit_attention.key ? &dev->unit_attention : dev->sbus->unit_attention.key
        ? &dev->sbus->unit_attention : NULL;
    ScsiSense sense;

    if (!pending || op == OP_INQUIRY || op == OP_REPORT_LUNS || op == OP_GET_CONFIGURATION || op == OP_GET_EVENT_STATUS ||
        (op == OP_REQUEST_SENSE && dev->sense_is_ua)) {
        return false;
    }
    sense = *pending;
    scsi_put_attention(pending, (ScsiSense){0});
    if (pending == &dev->unit_attention && dev->ops->attention_told) {
        dev->ops->attention_told(dev);
    }
    scsi_fail(req, sense);
    return true;
}

static void append(ScsiRequest *req)
{
    ScsiRequest **tail = &req->dev->requests;

    while (*tail) {
        tail = &(*tail)->next;
    }
    req->next = NULL;
    req->link = tail;
    *tail = req;
}

void scsi_request_start(ScsiRequest *req)
{
    ScsiDevice *dev = req->dev;

    trace(scsi_request, "%u:%u:%u op %02x xfer %" PRIu64 " direction %d", dev->channel, dev->id, req->lun, req->cdb[0], req->xfer,
          req->direction);
    append(req);
    if (!scsi_cdb_size(req->cdb[0])) {
        scsi_fail(req, SENSE_INVALID_COMMAND);
    } else if (!tell_attention(req)) {
        if (req->lun != dev->lun || req->cdb[0] == OP_REPORT_LUNS || (req->cdb[0] == OP_REQUEST_SENSE && dev->sense_len)) {
            run_for_target(req);
        } else {
            dev->ops->run(req);
        }
    }
}

ScsiDirect scsi_request_direct(ScsiRequest *req)
{
    const ScsiDevice *dev = req->dev;

    if (req->lun != dev->lun || __atomic_load_n(&dev->sense_len, __ATOMIC_RELAXED) ||
        __atomic_load_n(&dev->unit_attention.key, __ATOMIC_RELAXED) ||
        __atomic_load_n(&dev->sbus->unit_attention.key, __ATOMIC_RELAXED)) {
        return SCSI_NOT_DIRECT;
    }
    return dev->ops->direct(req);
}

void scsi_request_failed(ScsiRequest *req, int result)
{
    append(req);
    req->dev->ops->failed(req, result);
}

void scsi_request_abort(ScsiRequest *req)
{
    if (req->blk_request) {
        if (!req->aborting) {
            req->aborting = true;
            blk_cancel(req->blk_request);
        }
        return;
    }
    g_assert(req->is_retry);
    req->aborted = true;
    forget(req);
    req->dev->sbus->ops->complete(req);
}

/* Resets come first. */
static unsigned precedence(ScsiSense sense) { return sense.asc == 0x29 ? sense.ascq : sense.asc << 8 | sense.ascq; }

void scsi_put_attention(ScsiSense *slot, ScsiSense sense)
{
    slot->asc = sense.asc;
    slot->ascq = sense.ascq;
    __atomic_store_n(&slot->key, sense.key, __ATOMIC_RELAXED);
}

void scsi_set_unit_attention(ScsiDevice *dev, ScsiSense sense)
{
    if (!dev->unit_attention.key || precedence(sense) < precedence(dev->unit_attention)) {
        scsi_put_attention(&dev->unit_attention, sense);
    }
}

void scsi_device_reset(ScsiDevice *dev)
{
    for (ScsiRequest *req = dev->requests, *next; req; req = next) {
        next = req->next;
        scsi_request_abort(req);
    }
    if (dev->ops->reset) {
        dev->ops->reset(dev);
    }
    __atomic_store_n(&dev->sense_len, 0, __ATOMIC_RELAXED);
    dev->sense_is_ua = false;
    scsi_set_unit_attention(dev, SENSE_RESET);
}

void scsi_bus_retry(ScsiBus *bus)
{
    ScsiDevice *dev;

    for (unsigned n = 0; (dev = scsi_nth(bus, n)); n++) {
        for (ScsiRequest *req = dev->requests, *next; req; req = next) {
            next = req->next;
            if (req->is_retry) {
                req->is_retry = false;
                dev->ops->retry(req);
            }
        }
    }
}

/* ---- plugging ------------------------------------------------------------------------------------- */

/* Among those that are plugged, whether they take commands yet or not. */
static ScsiDevice *find_exact(ScsiBus *bus, const ScsiDevice *but, unsigned channel, unsigned id, unsigned lun)
{
    for (unsigned n = 0; bus->bus.devices && n < bus->bus.devices->len; n++) {
        ScsiDevice *dev = scsi_device(g_ptr_array_index(bus->bus.devices, n));

        if (dev != but && dev->channel == channel && dev->id == id && dev->lun == lun) {
            return dev;
        }
    }
    return NULL;
}

static bool choose_address(ScsiBus *bus, ScsiDevice *dev, GError **err)
{
    const ScsiBusOps *ops = bus->ops;

    if (dev->id == UINT32_MAX) {
        const unsigned lun = dev->lun == UINT32_MAX ? 0 : dev->lun;

        for (dev->id = 0; find_exact(bus, dev, dev->channel, dev->id, lun); dev->id++) {
            if (dev->id == ops->max_target) {
                dev->id = UINT32_MAX;
                return error_set(err, "no free target");
            }
        }
        dev->lun = lun;
    } else if (dev->lun == UINT32_MAX) {
        for (dev->lun = 0; find_exact(bus, dev, dev->channel, dev->id, dev->lun); dev->lun++) {
            if (dev->lun == ops->max_lun) {
                dev->lun = UINT32_MAX;
                return error_set(err, "no free lun");
            }
        }
    }
    return true;
}

static bool bus_plug(Bus *bus, Device *plugged, GError **err)
{
    ScsiBus *sbus = scsi_bus_of(bus);
    ScsiDevice *dev = scsi_device(plugged);
    const ScsiBusOps *ops = sbus->ops;

    if (dev->channel > ops->max_channel) {
        return error_set(err, "bad scsi channel id: %u", dev->channel);
    }
    if (dev->id != UINT32_MAX && dev->id > ops->max_target) {
        return error_set(err, "bad scsi device id: %u", dev->id);
    }
    if (dev->lun != UINT32_MAX && dev->lun > ops->max_lun) {
        return error_set(err, "bad scsi device lun: %u", dev->lun);
    }
    if (!choose_address(sbus, dev, err)) {
        return false;
    }
    if (find_exact(sbus, dev, dev->channel, dev->id, dev->lun)) {
        return error_set(err, "lun already used by '%s'", find_exact(sbus, dev, dev->channel, dev->id, dev->lun)->dev.id
                         ? find_exact(sbus, dev, dev->channel, dev->id, dev->lun)->dev.id : "");
    }
    dev->sbus = sbus;
    return true;
}

static char *bus_state_path(Bus *bus, Device *dev)
{
    const ScsiDevice *s = scsi_device(dev);
    Bus *outer = bus->owner ? bus->owner->bus : NULL;
    const BusOps *ops = outer ? type_ops(outer->obj.type) : NULL;
    g_autofree char *prefix = ops && ops->state_path ? ops->state_path(outer, bus->owner) : NULL;

    return prefix ? g_strdup_printf("%s/%u:%u:%u", prefix, s->channel, s->id, s->lun)
                  : g_strdup_printf("%u:%u:%u", s->channel, s->id, s->lun);
}

static char *bus_fw_path(Bus *bus, Device *dev)
{
    const ScsiDevice *s = scsi_device(dev);

    return g_strdup_printf("channel@%x/disk@%x,%x", s->channel, s->id, s->lun);
}

static const BusOps bus_ops = {.plug = bus_plug, .state_path = bus_state_path, .fw_path = bus_fw_path};

void scsi_bus_init(ScsiBus *bus, Vm *vm, Device *owner, const char *id, const ScsiBusOps *ops, void *opaque)
{
    g_autofree char *name = id ? g_strdup_printf("%s.0", id) : NULL;

    for (unsigned n = 0; !name; n++) {
        name = g_strdup_printf("scsi.%u", n);
        if (bus_find(vm, name)) {
            g_clear_pointer(&name, g_free);
        }
    }
    bus_init_embedded(&bus->bus, vm, "SCSI", owner, name);
    bus->ops = ops;
    bus->opaque = opaque;
    bus->loop = vm->loop;
    bus->units = g_ptr_array_new();
    bus->unit_attention = (ScsiSense){0};
}

void scsi_bus_cleanup(ScsiBus *bus) { g_clear_pointer(&bus->units, g_ptr_array_unref); }

void scsi_bus_call(ScsiBus *bus, LoopFn *fn, void *opaque)
{
    if (bus->loop == bus->bus.obj.vm->loop) {
        fn(opaque);
    } else {
        loop_call_locked(bus->loop, fn, opaque);
    }
}

/* ---- waiting ---------------------------------------------------------------------------------------- */

static void hold(void *dev) { ((ScsiDevice *)dev)->holding = true; }
static void let_go(void *dev) { ((ScsiDevice *)dev)->holding = false; }

bool scsi_request_goes_on(ScsiRequest *req)
{
    req->is_retry = req->dev->holding;
    return !req->is_retry;
}

/* Then fn(dev), while commands are still held. */
static void drain_unit(ScsiDevice *dev, LoopFn *fn)
{
    scsi_bus_call(dev->sbus, hold, dev);
    if (blk_is_alive(dev->dev.vm, dev->blk)) {
        blk_drain(dev->blk);
    }
    if (fn) {
        scsi_bus_call(dev->sbus, fn, dev);
    }
    scsi_bus_call(dev->sbus, let_go, dev);
}

void scsi_bus_drain(ScsiBus *bus)
{
    ScsiDevice *dev;

    for (unsigned n = 0; (dev = scsi_nth(bus, n)); n++) {
        drain_unit(dev, NULL);
    }
}

/* ---- life of a unit --------------------------------------------------------------------------------- */

static void do_reset(void *opaque) { scsi_device_reset(opaque); }

static void do_go(void *opaque)
{
    ScsiDevice *dev = opaque;

    g_ptr_array_add(dev->sbus->units, dev);
    scsi_set_unit_attention(dev, SENSE_RESET);
}

/* No command finds it any more. */
static void hide(void *opaque)
{
    ScsiDevice *dev = opaque;

    g_ptr_array_remove(dev->sbus->units, dev);
}

/* Block requests have ended; what waits for the VM is left. */
static void do_leave(void *opaque)
{
    ScsiDevice *dev = opaque;

    if (dev->sbus->ops->take_over) {
        dev->sbus->ops->take_over(dev->sbus);
    }
    while (dev->requests) {
        scsi_request_abort(dev->requests);
    }
}

void scsi_device_go(ScsiDevice *dev)
{
    scsi_bus_call(dev->sbus, do_go, dev);
    if (dev->sbus->ops->arrived) {
        dev->sbus->ops->arrived(dev->sbus, dev);
    }
}

void scsi_device_leave(ScsiDevice *dev)
{
    if (dev->sbus->ops->leaving) {
        dev->sbus->ops->leaving(dev->sbus, dev);
    }
    scsi_bus_call(dev->sbus, hide, dev);
    drain_unit(dev, do_leave);
    if (dev->sbus->ops->unplugged) {
        dev->sbus->ops->unplugged(dev->sbus, dev);
    }
}

static void scsi_device_on_reset(Device *dev)
{
    drain_unit(scsi_device(dev), do_reset);
}

static void scsi_device_finalize(Object *obj) { scsi_loaded_free(scsi_device((Device *)(void *)obj)); }

static const Property scsi_props[] = {
    PROP_U32("channel", ScsiDevice, channel, .help = "of the bus"),
    PROP_U32("scsi-id", ScsiDevice, id, .def = UINT32_MAX, .help = "target; default: the first that is free"),
    PROP_U32("lun", ScsiDevice, lun, .def = UINT32_MAX, .help = "logical unit; default: 0, or the first that is free"),
    {}};

KILN_TYPE(scsi_bus) = {
    .name = "SCSI",
    .parent = "bus",
    .size = sizeof(ScsiBus),
    .ops = &bus_ops,
};

DEVICE_TYPE(scsi_device) = {
    .name = "scsi-device",
    .parent = "device",
    .size = sizeof(ScsiDevice),
    .abstract = true,
    .bus = "SCSI",
    .category = "storage",
    .props = scsi_props,
    .reset = scsi_device_on_reset,
    .finalize = scsi_device_finalize,
};
