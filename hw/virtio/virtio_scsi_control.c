/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control and event queues of virtio-scsi (Virtual I/O Device 1.2, 5.6.6.2 and 5.6.6.3).
 *
 * Task management functions abort requests; they are answered when the last of these has ended. Asynchronous notification
 * queries are answered: no events. Events are units that come, go or change.
 */
#include "hw/virtio/virtio_scsi.h"

#include "util/trace.h"

enum { TMF_OUT = sizeof ((VirtioScsiTmf *)NULL)->raw, AN_OUT = 16, AN_IN = 5, EVENT_SIZE = 16 };

/* Who is told that requests are over may use their memory: so that they are is to be seen first. */
void virtio_scsi_answer_tmf(VirtioScsiTmf *t)
{
    trace(virtio_scsi_tmf_done, "response %u", t->response);
    virtio_scsi_flush_queues(t->s, NULL);
    virt_element_write(&t->elem, 0, &t->response, 1);
    virtqueue_push(&t->elem, 1);
}

static void answer(VirtioScsiTmf *t, uint8_t response)
{
    t->response = response;
    if (t->s->lanes) {
        virtio_scsi_flush_lanes(t);
    } else {
        virtio_scsi_answer_tmf(t);
    }
}

void virtio_scsi_tell_waiters(GSList *waiters)
{
    while (waiters) {
        VirtioScsiTmf *t = waiters->data;

        waiters = g_slist_delete_link(waiters, waiters);
        if (!--t->remaining) {
            answer(t, VIRTIO_SCSI_S_OK);
        }
    }
}

/* ---- task management ----------------------------------------------------------------------------------- */

static void abort_request(VirtioScsiTmf *t, ScsiRequest *req, bool reset)
{
    VirtioScsiRequest *r = virtio_scsi_request(req);

    r->waiters = g_slist_prepend(r->waiters, t);
    r->reset |= reset;
    t->remaining++;
    scsi_request_abort(req);
}

/* Aborts the requests of dev; all: whatever their tag. */
static void abort_requests(VirtioScsiTmf *t, ScsiDevice *dev, bool all, uint64_t tag, bool reset)
{
    for (ScsiRequest *req = dev->requests, *next; req; req = next) {
        next = req->next;
        if (all || req->tag == tag) {
            abort_request(t, req, reset);
        }
    }
}

static void reset_unit(VirtioScsiTmf *t, ScsiDevice *dev)
{
    abort_requests(t, dev, true, 0, true);
    scsi_device_reset(dev);
}

static void reset_target(VirtioScsi *s, VirtioScsiTmf *t, unsigned target)
{
    ScsiDevice *dev;

    for (unsigned n = 0; (dev = scsi_nth(&s->bus, n)); n++) {
        if (dev->id == target) {
            reset_unit(t, dev);
        }
    }
}

static uint8_t query(const VirtioScsiTmf *t, const ScsiDevice *dev, bool any, uint64_t tag)
{
    if (t->found) {
        return VIRTIO_SCSI_S_FUNCTION_SUCCEEDED;
    }
    for (const ScsiRequest *req = dev->requests; req; req = req->next) {
        if (any || req->tag == tag) {
            return VIRTIO_SCSI_S_FUNCTION_SUCCEEDED;
        }
    }
    return VIRTIO_SCSI_S_OK;
}

/* What the answer is, if nothing is to be waited for. */
static uint8_t run_for_unit(VirtioScsiTmf *t, ScsiDevice *dev, uint32_t subtype, uint64_t tag)
{
    switch (subtype) {
    case VIRTIO_SCSI_T_TMF_ABORT_TASK:
        abort_requests(t, dev, false, tag, false);
        break;
    case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
    case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
        abort_requests(t, dev, true, 0, false);
        break;
    case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
        reset_unit(t, dev);
        break;
    default:
        return query(t, dev, subtype == VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, tag);
    }
    return VIRTIO_SCSI_S_OK;
}

static uint8_t run_tmf(VirtioScsi *s, VirtioScsiTmf *t, const uint8_t *raw)
{
    const uint32_t subtype = load32_le(raw + 4);
    unsigned target, lun;
    const bool valid = virtio_scsi_lun(raw + 8, &target, &lun);
    ScsiDevice *dev = valid ? scsi_find(&s->bus, 0, target, lun) : NULL;

    trace(virtio_scsi_tmf, "subtype %u target %u lun %u", subtype, target, lun);
    if (subtype == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET) {
        reset_target(s, t, target);
        return VIRTIO_SCSI_S_OK;
    }
    if (subtype > VIRTIO_SCSI_T_TMF_QUERY_TASK_SET || subtype == VIRTIO_SCSI_T_TMF_CLEAR_ACA) {
        return VIRTIO_SCSI_S_FUNCTION_REJECTED;
    }
    if (!dev) {
        return VIRTIO_SCSI_S_BAD_TARGET;
    }
    return dev->lun == lun ? run_for_unit(t, dev, subtype, load64_le(raw + 16)) : VIRTIO_SCSI_S_INCORRECT_LUN;
}

void virtio_scsi_run_tmf(VirtioScsiTmf *t)
{
    uint8_t response;

    t->remaining = 1; /* until all were asked */
    response = run_tmf(t->s, t, t->raw);
    if (!--t->remaining) {
        answer(t, response);
    }
}

/* False: broken. */
static bool handle_one(VirtioScsi *s, VirtioScsiTmf *t)
{
    VirtElement *e = &t->elem;
    uint8_t nothing[AN_IN] = {0};
    uint32_t type;

    memset(t->raw, 0, sizeof t->raw);
    virt_element_read(e, 0, t->raw, sizeof t->raw);
    type = load32_le(t->raw);
    if (e->out_size < 4 || (type == VIRTIO_SCSI_T_TMF && (e->out_size < TMF_OUT || e->in_size < 1)) ||
        ((type == VIRTIO_SCSI_T_AN_QUERY || type == VIRTIO_SCSI_T_AN_SUBSCRIBE) && (e->out_size < AN_OUT || e->in_size < AN_IN))) {
        virtio_broken(&s->vdev, "a control request of %" PRIu64 " bytes to read and %" PRIu64 " to write", e->out_size, e->in_size);
        return false;
    }
    if (type != VIRTIO_SCSI_T_TMF) {
        virtqueue_push(e, type <= VIRTIO_SCSI_T_AN_SUBSCRIBE ? virt_element_write(e, 0, nothing, sizeof nothing) : 0);
        return true;
    }
    t->s = s;
    t->found = false;
    if (s->lanes) {
        virtio_scsi_ask_lanes(t);
    } else {
        virtio_scsi_run_tmf(t);
    }
    return true;
}

void virtio_scsi_handle_control(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtElement *e;

    while ((e = virtqueue_pop(vq))) {
        if (!handle_one(virtio_scsi(vdev), container_of(e, VirtioScsiTmf, elem))) {
            virtqueue_drop(e);
            break;
        }
    }
}

/* ---- events ---------------------------------------------------------------------------------------------- */

void virtio_scsi_push_event(VirtioScsi *s, const ScsiDevice *dev, uint32_t event, uint32_t reason)
{
    VirtQueue *vq = virtio_scsi_events(s);
    VirtElement *e = virtqueue_pop(vq);
    uint8_t raw[EVENT_SIZE] = {0};

    if (!e) {
        s->events_dropped = s->vdev.running;
        return;
    }
    if (e->in_size < EVENT_SIZE) {
        virtio_broken(&s->vdev, "an event buffer of %" PRIu64 " bytes", e->in_size);
        virtqueue_drop(e);
        return;
    }
    if (s->events_dropped) {
        event |= VIRTIO_SCSI_T_EVENTS_MISSED;
        s->events_dropped = false;
    }
    store32_le(raw, event);
    if (dev) {
        raw[4] = 1;
        raw[5] = (uint8_t)dev->id;
        store16_be(raw + 6, (uint16_t)(dev->lun | (dev->lun < 256 ? 0 : 0x4000)));
    }
    store32_le(raw + 12, reason);
    trace(virtio_scsi_event, "event 0x%x reason 0x%x", event, reason);
    virtqueue_push(e, virt_element_write(e, 0, raw, sizeof raw));
}

/* Buffers have come: they wait, unless something was missed. */
void virtio_scsi_handle_events(VirtioDevice *vdev, VirtQueue *vq)
{
    if (virtio_scsi(vdev)->events_dropped && !virtqueue_is_empty(vq)) {
        virtio_scsi_push_event(virtio_scsi(vdev), NULL, VIRTIO_SCSI_T_NO_EVENT, 0);
    }
}
