/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * filter-buffer: packets wait, and go on together every so many microseconds of the guest's clock.
 * What is held is bounded: at the limit they go on at once.
 */
#include "core/clock.h"
#include "net/backend.h"

#define HELD_PACKETS 4096
#define HELD_BYTES (32 * MIB)

typedef struct Held {
    bool to_netdev;
    size_t size;
    uint8_t data[];
} Held;

typedef struct FilterBuffer {
    NetFilter filter;
    uint32_t interval;      /* us */
    Timer timer;
    GQueue held;            /* Held * */
    size_t bytes;
} FilterBuffer;

static void release_all(FilterBuffer *b)
{
    GQueue held = b->held; /* what comes while these go on is a new batch */
    Held *h;

    g_queue_init(&b->held);
    b->bytes = 0;
    while ((h = g_queue_pop_head(&held))) {
        NetPort *port = netdev_port(b->filter.netdev, 0), *from = h->to_netdev ? port->peer : port;
        struct iovec iov = {h->data, h->size};
        NetPacket packet = {&iov, 1, h->size};

        if (from) {
            net_filter_pass(&b->filter, from, &packet);
        }
        g_free(h);
    }
}

static void arm(FilterBuffer *b)
{
    timer_arm(&b->timer, clock_now(b->filter.obj.vm, CLOCK_VIRTUAL) + b->interval * NSEC_PER_USEC);
}

static void buffer_timer(void *opaque)
{
    FilterBuffer *b = opaque;

    release_all(b);
    arm(b);
}

static bool buffer_receive(NetFilter *filter, NetPort *from, const NetPacket *packet,
                           bool to_netdev)
{
    FilterBuffer *b = container_of(filter, FilterBuffer, filter);

    if (packet->size > NET_MAX_PACKET) {
        return true;
    }
    if (b->held.length >= HELD_PACKETS || b->bytes >= HELD_BYTES) {
        release_all(b);
    }
    Held *h = g_malloc(sizeof *h + packet->size);
    h->to_netdev = to_netdev;
    h->size = net_packet_copy(packet, 0, h->data, packet->size);
    b->bytes += h->size;
    g_queue_push_tail(&b->held, h);
    return true;
}

static void buffer_status(NetFilter *filter)
{
    FilterBuffer *b = container_of(filter, FilterBuffer, filter);

    if (!filter->off) {
        arm(b);
    } else {
        timer_cancel(&b->timer);
        release_all(b);
    }
}

static bool buffer_open(NetFilter *filter, GError **err)
{
    FilterBuffer *b = container_of(filter, FilterBuffer, filter);

    if (!b->interval) {
        return error_set(err, "Parameter 'interval' expects a number of microseconds above 0");
    }
    timer_init(&b->timer, filter->obj.vm, CLOCK_VIRTUAL, buffer_timer, b);
    if (!filter->off) {
        arm(b);
    }
    return true;
}

static void buffer_close(NetFilter *filter)
{
    FilterBuffer *b = container_of(filter, FilterBuffer, filter);
    Held *h;

    timer_cancel(&b->timer);
    while ((h = g_queue_pop_head(&b->held))) {
        g_free(h);
    }
    b->bytes = 0;
}

static void buffer_init(Object *obj)
{
    g_queue_init(&container_of(obj, FilterBuffer, filter.obj)->held);
}

static const NetFilterOps buffer_ops = {
    .receive = buffer_receive, .open = buffer_open, .close = buffer_close, .status = buffer_status};

static const Property buffer_props[] = {PROP_U32("interval", FilterBuffer, interval,
                                                 .required = true,
                                                 .help = "microseconds between two releases"),
                                        {}};

KILN_TYPE(filter_buffer) = {
    .name = "filter-buffer",
    .parent = "netfilter",
    .desc = "holds packets and lets them go on together",
    .size = sizeof(FilterBuffer),
    .props = buffer_props,
    .ops = &buffer_ops,
    .init = buffer_init,
};
