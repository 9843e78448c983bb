/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The byte queue and the common state of PS/2 devices (IBM PS/2 Technical Reference, keyboard and
 * auxiliary device controller).
 */
#include "hw/input/ps2.h"

#include "util/trace.h"

/* ---- queue ------------------------------------------------------------------------- */

static unsigned ring(int32_t index)
{
    return (unsigned)index % PS2_BUFFER_SIZE;
}

bool ps2_reply_pending(const Ps2Device *s)
{
    return s->queue.cwptr >= 0;
}

bool ps2_queue_event(Ps2Device *s, const uint8_t *bytes, unsigned n)
{
    Ps2Queue *q = &s->queue;

    if (q->count < 0 || n > PS2_QUEUE_SIZE || (unsigned)q->count > PS2_QUEUE_SIZE - n) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        q->data[ring(q->wptr)] = bytes[i];
        q->wptr = ring(q->wptr + 1);
    }
    q->count += n;
    irq_raise(s->irq);
    return true;
}

/* Drops a reply that is still at the front. */
static void drop_reply(Ps2Queue *q)
{
    if (q->cwptr >= 0) {
        q->count -= MIN((int32_t)ring(q->cwptr - q->rptr + PS2_BUFFER_SIZE), q->count);
        q->rptr = q->cwptr;
        q->cwptr = -1;
    }
}

void ps2_queue_reply(Ps2Device *s, const uint8_t *bytes, unsigned n)
{
    Ps2Queue *q = &s->queue;

    g_assert(n && n <= PS2_REPLY_MAX);
    drop_reply(q);
    q->cwptr = q->rptr;
    q->rptr = ring(q->rptr - (int32_t)n + PS2_BUFFER_SIZE);
    for (unsigned i = 0; i < n; i++) {
        q->data[ring(q->rptr + i)] = bytes[i];
    }
    q->count += n;
    irq_raise(s->irq);
}

void ps2_queue_clear(Ps2Device *s)
{
    s->queue.rptr = s->queue.wptr = s->queue.count = 0;
    s->queue.cwptr = -1;
    irq_lower(s->irq);
}

uint8_t ps2_read(Device *dev)
{
    Ps2Device *s = container_of(dev, Ps2Device, dev);
    Ps2Queue *q = &s->queue;
    uint8_t value;

    if (q->count <= 0) {
        return q->data[ring(q->rptr - 1 + PS2_BUFFER_SIZE)];
    }
    value = q->data[ring(q->rptr)];
    q->rptr = ring(q->rptr + 1);
    q->count--;
    if (q->rptr == q->cwptr) {
        q->cwptr = -1;
    }
    /* The line falls between two bytes. */
    irq_lower(s->irq);
    if (q->count) {
        irq_raise(s->irq);
    }
    return value;
}

/* ---- lifecycle and state ----------------------------------------------------------- */

static bool ps2_realize(Device *dev, GError **err)
{
    Ps2Device *s = container_of(dev, Ps2Device, dev);

    device_init_irq_out(dev, &s->irq, 1);
    s->queue.cwptr = -1;
    s->write_cmd = -1;
    return true;
}

static void ps2_reset(Device *dev)
{
    Ps2Device *s = container_of(dev, Ps2Device, dev);

    s->write_cmd = -1;
    ps2_queue_clear(s);
}

bool ps2_queue_check(Ps2Device *s, GError **err)
{
    Ps2Queue *q = &s->queue;
    int32_t limit = PS2_QUEUE_SIZE + (q->cwptr >= 0 ? PS2_REPLY_MAX : 0);

    if (q->cwptr >= 0 && (int32_t)ring(q->cwptr - q->rptr + PS2_BUFFER_SIZE) > q->count) {
        return error_set(err, "queue.cwptr: %d is not within the %d bytes queued", q->cwptr,
                         q->count);
    }
    /* Older versions queued more: the newest are dropped. Also what makes wptr right. */
    q->count = MIN(q->count, limit);
    q->wptr = ring(q->rptr + q->count);
    return true;
}

static const StateField ps2_common_fields[] = {
    STATE_I32(Ps2Device, write_cmd, .min = (uint64_t)-1, .max = 255),
    STATE_I32(Ps2Device, queue.rptr, .max = PS2_BUFFER_SIZE - 1),
    STATE_I32(Ps2Device, queue.wptr, .max = PS2_BUFFER_SIZE - 1),
    STATE_I32(Ps2Device, queue.count, .max = PS2_BUFFER_SIZE),
    STATE_BUFFER(Ps2Device, queue.data),
    {}};
const StateDesc ps2_common_state = {
    .name = "PS2 Common State",
    .version = 3,
    .min_version = 2,
    .fields = ps2_common_fields,
};

DEVICE_TYPE(ps2_device) = {
    .name = "ps2-device",
    .parent = "device",
    .desc = "PS/2 device",
    .size = sizeof(Ps2Device),
    .abstract = true,
    .not_user = "it is part of the keyboard controller; leave it out",
    .category = "input",
    .realize = ps2_realize,
    .reset = ps2_reset,
};
