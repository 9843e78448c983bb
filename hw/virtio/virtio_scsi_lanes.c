/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lanes: the threads of a virtio SCSI adapter's further command queues (iothread-vq-mapping=).
 *
 *   control, events, queue 0 --- adapter's thread: units, requests, sense data, attentions, what waits for the VM
 *   queue 1 --- lane --+-- READ, WRITE, SYNCHRONIZE CACHE of a disk with nothing to tell: through a gate of its own
 *                      +-- everything else, and what failed: as a message to the adapter's thread, and back for the queue
 *
 * So all that has states is still one thread's, and needs no lock. A lane knows units that are direct, and for each the
 * requests that it does by itself; both are its thread's, and the main thread has it change the first. Whether a unit (or
 * the bus) has something to tell, or has sense data, are atomic fields.
 *
 * Task management goes to the lanes first: each aborts what it does by itself, and answers when that is over. By then what it
 * handed over before has come, and the adapter's thread does its part. Then lanes show the driver what is over, and it is
 * answered. To stop, messages and
 * block requests are waited for in turn until neither has brought the other about.
 */
#include "hw/virtio/virtio_scsi.h"

#include "block/gates.h"
#include "util/trace.h"

typedef struct LaneUnit {
    ScsiDevice *dev;
    BlkGate *gate;
    bool closed;                  /* it will go: commands are the adapter's thread's */
    ScsiRequest *requests;        /* that run here; the youngest first */
} LaneUnit;

struct VirtioScsiLane {
    VirtioScsiBox box;
    GPtrArray *units;             /* LaneUnit * */
};

/* A task management function in a lane. */
typedef struct LaneTmf {
    VirtioScsiMail mail;
    VirtioScsiTmf *t;
    VirtioScsiLane *lane;
    unsigned remaining;
    bool found;
} LaneTmf;

/* ---- messages ------------------------------------------------------------------------------------- */

static void take_mail(void *opaque)
{
    VirtioScsiBox *box = opaque;
    VirtioScsiMail *sent = __atomic_exchange_n(&box->list, NULL, __ATOMIC_ACQUIRE), *list = NULL;

    while (sent) { /* the last one first */
        VirtioScsiMail *next = sent->next;

        sent->next = list;
        list = sent;
        sent = next;
    }
    while (list) {
        VirtioScsiMail *mail = list;

        list = mail->next;
        mail->fn(mail);
        __atomic_add_fetch(&box->s->handled, 1, __ATOMIC_SEQ_CST);
    }
}

/* Any thread. */
static void send_mail(VirtioScsiBox *box, VirtioScsiMail *mail, void (*fn)(VirtioScsiMail *mail))
{
    VirtioScsiMail *before = __atomic_load_n(&box->list, __ATOMIC_RELAXED);

    __atomic_add_fetch(&box->s->sent, 1, __ATOMIC_SEQ_CST);
    mail->fn = fn;
    do {
        mail->next = before;
    } while (!__atomic_compare_exchange_n(&box->list, &before, mail, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    if (!before) {
        loop_post(box->loop, take_mail, box);
    }
}

static void box_init(VirtioScsiBox *box, VirtioScsi *s, Loop *loop)
{
    *box = (VirtioScsiBox){.s = s, .loop = loop};
}

static void nothing(void *opaque) {}

/* Empty; what was posted to look into it has looked. */
static void box_clear(VirtioScsiBox *box)
{
    virtio_call_loop(&box->s->vdev, box->loop, nothing, NULL);
}

void virtio_scsi_take_mail(VirtioScsi *s)
{
    if (s->lanes) {
        take_mail(&s->box);
    }
}

static VirtioScsiLane *nth_lane(const VirtioScsi *s, unsigned n)
{
    return s->lanes && n < s->lanes->len ? g_ptr_array_index(s->lanes, n) : NULL;
}

/* ---- commands, in the lane's thread ---------------------------------------------------------------- */

static LaneUnit *find(const VirtioScsiLane *lane, unsigned target, unsigned lun)
{
    for (unsigned i = 0; i < lane->units->len; i++) {
        LaneUnit *u = g_ptr_array_index(lane->units, i);

        if (u->dev->id == target && u->dev->lun == lun && !u->dev->channel) {
            return u;
        }
    }
    return NULL;
}

static void start_here(VirtioScsiMail *mail) { virtio_scsi_start(container_of(mail, VirtioScsiRequest, mail)); }

static void failed_there(VirtioScsiMail *mail)
{
    VirtioScsiRequest *r = container_of(mail, VirtioScsiRequest, mail);

    scsi_request_failed(&r->req, r->result);
}

static void tmf_ended(VirtioScsiMail *mail);

static void tell_lane_tmfs(GSList *waiters)
{
    while (waiters) {
        LaneTmf *m = waiters->data;

        waiters = g_slist_delete_link(waiters, waiters);
        if (!--m->remaining) {
            send_mail(&m->t->s->box, &m->mail, tmf_ended);
        }
    }
}

static void done(void *opaque, int result)
{
    VirtioScsiRequest *r = opaque;
    ScsiRequest *req = &r->req;

    *req->link = req->next;
    if (req->next) {
        req->next->link = req->link;
    }
    req->link = NULL;
    r->lane_request = NULL;
    if (req->aborting) {
        GSList *waiters = r->waiters;

        scsi_request_clear(req);
        virtqueue_push(&r->elem, virtio_scsi_respond(r, r->reset ? VIRTIO_SCSI_S_RESET : VIRTIO_SCSI_S_ABORTED));
        tell_lane_tmfs(waiters);
    } else if (result < 0) {
        r->result = result;
        send_mail(&r->s->box, &r->mail, failed_there);
    } else {
        req->moved = req->xfer;
        scsi_request_clear(req);
        virtqueue_push(&r->elem, virtio_scsi_respond(r, VIRTIO_SCSI_S_OK));
    }
}

static void submit(LaneUnit *u, VirtioScsiRequest *r, ScsiDirect direct)
{
    ScsiRequest *req = &r->req;
    const struct iovec *iov;
    unsigned count;

    req->next = u->requests;
    req->link = &u->requests;
    if (req->next) {
        req->next->link = &req->next;
    }
    u->requests = req;
    trace(virtio_scsi_lane, "%u:%u op %02x offset %" PRIu64 " len %" PRIu64, u->dev->id, u->dev->lun, req->cdb[0], req->offset,
          req->len);
    if (direct == SCSI_DIRECT_FLUSH) {
        r->lane_request = blk_gate_flush(u->dev->blk, u->gate, done, r);
        return;
    }
    iov = scsi_request_data(req, &count);
    r->lane_request = (direct == SCSI_DIRECT_READ ? blk_gate_readv : blk_gate_writev)(u->dev->blk, u->gate, req->offset, iov, count,
                                                                                   done, r);
}

/* SCSI_NOT_DIRECT: it is not for this thread. */
static ScsiDirect look(const LaneUnit *u, VirtioScsiRequest *r, unsigned lun)
{
    ScsiRequest *req = &r->req;

    req->dev = u->dev;
    req->lun = lun;
    scsi_request_init(req);
    if (req->direction != SCSI_NO_DATA && (req->xfer > r->room || (req->direction == SCSI_TO_DEVICE) != req->from_guest)) {
        return SCSI_NOT_DIRECT;
    }
    return scsi_request_direct(req);
}

void virtio_scsi_lane_start(VirtioScsiLane *lane, VirtioScsiRequest *r)
{
    unsigned target, lun;
    LaneUnit *u = virtio_scsi_lun(r->address, &target, &lun) ? find(lane, target, lun) : NULL;
    const ScsiDirect direct = u && !u->closed ? look(u, r, lun) : SCSI_NOT_DIRECT;

    if (direct == SCSI_NOT_DIRECT) {
        r->req.dev = NULL;
        r->req.direction = SCSI_NO_DATA;
        send_mail(&r->s->box, &r->mail, start_here);
    } else {
        submit(u, r, direct);
    }
}

BlkGate *virtio_scsi_lane_plug(VirtioScsiLane *lane)
{
    const LaneUnit *any = lane->units->len ? g_ptr_array_index(lane->units, 0) : NULL; /* their gates share a loop */

    if (any) {
        blk_gate_plug(any->dev->blk, any->gate);
    }
    return any ? any->gate : NULL;
}

void virtio_scsi_lane_unplug(VirtioScsiLane *lane, BlkGate *plugged) { blk_gate_unplug(NULL, plugged); }

/* ---- requests that the adapter's thread has ended ---------------------------------------------------- */

static void push_there(VirtioScsiMail *mail)
{
    VirtioScsiRequest *r = container_of(mail, VirtioScsiRequest, mail);

    virtqueue_push(&r->elem, r->written);
}

void virtio_scsi_lane_push(VirtioScsiRequest *r, uint64_t written)
{
    r->written = written;
    send_mail(&r->lane->box, &r->mail, push_there);
}

/* ---- task management ----------------------------------------------------------------------------------- */

/* In the adapter's thread. */
static void tmf_ended(VirtioScsiMail *mail)
{
    LaneTmf *m = container_of(mail, LaneTmf, mail);
    VirtioScsiTmf *t = m->t;

    t->found |= m->found;
    g_free(m);
    if (!--t->lanes) {
        virtio_scsi_run_tmf(t);
    }
}

typedef struct TmfAim {
    bool abort, query;            /* neither: it is not about requests */
    bool any_lun, any_tag, reset;
} TmfAim;

static TmfAim aim_of(uint32_t subtype)
{
    switch (subtype) {
    case VIRTIO_SCSI_T_TMF_ABORT_TASK:
        return (TmfAim){.abort = true};
    case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
    case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
        return (TmfAim){.abort = true, .any_tag = true};
    case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
        return (TmfAim){.abort = true, .any_tag = true, .reset = true};
    case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
        return (TmfAim){.abort = true, .any_lun = true, .any_tag = true, .reset = true};
    case VIRTIO_SCSI_T_TMF_QUERY_TASK:
        return (TmfAim){.query = true};
    case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
        return (TmfAim){.query = true, .any_tag = true};
    default:
        return (TmfAim){0};
    }
}

static void aim_at(LaneTmf *m, const LaneUnit *u, TmfAim aim, uint64_t tag)
{
    for (ScsiRequest *req = u->requests; req; req = req->next) {
        VirtioScsiRequest *r = virtio_scsi_request(req);

        if (!aim.any_tag && req->tag != tag) {
            continue;
        }
        m->found = true;
        if (aim.abort) {
            r->waiters = g_slist_prepend(r->waiters, m);
            r->reset |= aim.reset;
            m->remaining++;
            if (!req->aborting) {
                req->aborting = true;
                blk_gate_cancel(r->lane_request);
            }
        }
    }
}

/* In the lane's thread. */
static void tmf_there(VirtioScsiMail *mail)
{
    LaneTmf *m = container_of(mail, LaneTmf, mail);
    const uint8_t *raw = m->t->raw;
    const TmfAim aim = aim_of(load32_le(raw + 4));
    unsigned target, lun;
    const bool valid = virtio_scsi_lun(raw + 8, &target, &lun);

    m->remaining = 1;
    for (unsigned i = 0; (aim.abort || aim.query) && i < m->lane->units->len; i++) {
        const LaneUnit *u = g_ptr_array_index(m->lane->units, i);

        if (u->dev->id == target && (aim.any_lun || (valid && u->dev->lun == lun))) {
            aim_at(m, u, aim, load64_le(raw + 16));
        }
    }
    if (!--m->remaining) {
        send_mail(&m->t->s->box, &m->mail, tmf_ended);
    }
}

static void ask(VirtioScsiTmf *t, void (*there)(VirtioScsiMail *mail))
{
    t->lanes = t->s->lanes->len;
    for (unsigned i = 0, n = t->lanes; i < n; i++) {
        LaneTmf *m = g_new0(LaneTmf, 1);

        m->t = t;
        m->lane = g_ptr_array_index(t->s->lanes, i);
        send_mail(&m->lane->box, &m->mail, there);
    }
}

void virtio_scsi_ask_lanes(VirtioScsiTmf *t) { ask(t, tmf_there); }

void virtio_scsi_flush_queues(VirtioScsi *s, const VirtioScsiLane *lane)
{
    for (unsigned i = 0; i < s->num_queues; i++) {
        if ((s->lanes ? s->queue_lanes[i] : NULL) == lane) {
            virtqueue_flush(virtio_queue(&s->vdev, i + VIRTIO_SCSI_QUEUES_FIXED));
        }
    }
}

/* In the adapter's thread. */
static void flushed(VirtioScsiMail *mail)
{
    LaneTmf *m = container_of(mail, LaneTmf, mail);
    VirtioScsiTmf *t = m->t;

    g_free(m);
    if (!--t->lanes) {
        virtio_scsi_answer_tmf(t);
    }
}

static void flush_there(VirtioScsiMail *mail)
{
    LaneTmf *m = container_of(mail, LaneTmf, mail);

    virtio_scsi_flush_queues(m->t->s, m->lane);
    send_mail(&m->t->s->box, &m->mail, flushed);
}

void virtio_scsi_flush_lanes(VirtioScsiTmf *t) { ask(t, flush_there); }

/* ---- units, by the main thread -------------------------------------------------------------------------- */

typedef struct UnitCall {
    VirtioScsiLane *lane;
    ScsiDevice *dev;
    LaneUnit *unit;
} UnitCall;

static LaneUnit *unit_of(const VirtioScsiLane *lane, const ScsiDevice *dev)
{
    return find(lane, dev->id, dev->lun);
}

static void add_unit(void *opaque)
{
    const UnitCall *call = opaque;

    g_ptr_array_add(call->lane->units, call->unit);
}

static void close_unit(void *opaque)
{
    const UnitCall *call = opaque;

    unit_of(call->lane, call->dev)->closed = true;
}

static void remove_unit(void *opaque)
{
    const UnitCall *call = opaque;
    LaneUnit *u = unit_of(call->lane, call->dev);

    g_assert(!u->requests);
    g_ptr_array_remove(call->lane->units, u);
    g_free(u);
}

static void call_lanes(VirtioScsi *s, ScsiDevice *dev, LoopFn *fn)
{
    VirtioScsiLane *lane;

    for (unsigned i = 0; dev->direct && (lane = nth_lane(s, i)); i++) {
        virtio_call_loop(&s->vdev, lane->box.loop, fn, &(UnitCall){lane, dev, NULL});
    }
}

bool virtio_scsi_lanes_gates(VirtioScsi *s, ScsiDevice *dev, GError **err)
{
    VirtioScsiLane *lane;

    for (unsigned i = 0; dev->direct && (lane = nth_lane(s, i)); i++) {
        if (!blk_gate(dev->blk, lane->box.loop, err)) {
            return false;
        }
    }
    return true;
}

void virtio_scsi_lanes_add(VirtioScsi *s, ScsiDevice *dev)
{
    VirtioScsiLane *lane;

    for (unsigned i = 0; dev->direct && (lane = nth_lane(s, i)); i++) {
        LaneUnit *u = g_new0(LaneUnit, 1);

        u->dev = dev;
        u->gate = blk_gate(dev->blk, lane->box.loop, NULL); /* there is one */
        virtio_call_loop(&s->vdev, lane->box.loop, add_unit, &(UnitCall){lane, dev, u});
    }
}

void virtio_scsi_lanes_close(VirtioScsi *s, ScsiDevice *dev) { call_lanes(s, dev, close_unit); }
void virtio_scsi_lanes_remove(VirtioScsi *s, ScsiDevice *dev) { call_lanes(s, dev, remove_unit); }

/* ---- stopping --------------------------------------------------------------------------------------------- */

static uint64_t count(const uint64_t *n) { return __atomic_load_n(n, __ATOMIC_SEQ_CST); }

void virtio_scsi_lanes_settle(VirtioScsi *s)
{
    VirtioScsiLane *lane;
    uint64_t sent;

    do {
        while (count(&s->handled) != count(&s->sent)) {
            virtio_call(&s->vdev, take_mail, &s->box);
            for (unsigned i = 0; (lane = nth_lane(s, i)); i++) {
                virtio_call_loop(&s->vdev, lane->box.loop, take_mail, &lane->box);
            }
        }
        sent = count(&s->sent);
        scsi_bus_drain(&s->bus);
    } while (count(&s->sent) != sent); /* else nothing was on its way that could start or end something */
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static VirtioScsiLane *lane_in(VirtioScsi *s, Loop *loop)
{
    VirtioScsiLane *lane;

    for (unsigned i = 0; (lane = nth_lane(s, i)); i++) {
        if (lane->box.loop == loop) {
            return lane;
        }
    }
    lane = g_new0(VirtioScsiLane, 1);
    box_init(&lane->box, s, loop);
    lane->units = g_ptr_array_new();
    g_ptr_array_add(s->lanes, lane);
    return lane;
}

void virtio_scsi_make_lanes(VirtioScsi *s, Loop *const *loops)
{
    for (unsigned i = 0; i < s->num_queues; i++) {
        if (loops[i] == s->vdev.loop) {
            continue;
        }
        if (!s->lanes) {
            s->lanes = g_ptr_array_new();
            s->queue_lanes = g_new0(VirtioScsiLane *, s->num_queues);
            box_init(&s->box, s, s->vdev.loop);
            s->vdev.together = true; /* what is under way is waited for as a whole */
        }
        s->queue_lanes[i] = lane_in(s, loops[i]);
        virtio_queue_set_loop(virtio_queue(&s->vdev, i + VIRTIO_SCSI_QUEUES_FIXED), loops[i]);
    }
}

void virtio_scsi_free_lanes(VirtioScsi *s)
{
    VirtioScsiLane *lane;

    if (!s->lanes) {
        return;
    }
    box_clear(&s->box);
    for (unsigned i = 0; (lane = nth_lane(s, i)); i++) {
        box_clear(&lane->box);
        g_ptr_array_unref(lane->units);
        g_free(lane);
    }
    g_clear_pointer(&s->lanes, g_ptr_array_unref);
    g_clear_pointer(&s->queue_lanes, g_free);
}
