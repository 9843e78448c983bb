/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * filter-mirror: a copy of each packet goes to a character device. filter-redirector: packets go
 * there instead, and those that come from another one enter the link here. A packet stands behind
 * its length (four bytes big-endian) and, with vnet_hdr_support, behind the length of its vnet
 * header too.
 */
#include "chardev/char.h"
#include "net/backend.h"
#include "util/log.h"

#define PENDING_LIMIT (1 * MIB) /* copies are lost while the device is that far behind */
#define LENGTHS_MAX 8

typedef struct FilterMirror {
    NetFilter filter;
    CharPort *out, *in;         /* NULL: none */
    bool vnet_hdr;
    uint8_t buffer[LENGTHS_MAX +
                   NET_MAX_PACKET]; /* of in: the packet being received, its lengths first */
    size_t have;
    bool broken;                /* what comes in is no packet */
} FilterMirror;

static size_t lengths_size(const FilterMirror *m) { return m->vnet_hdr ? 8 : 4; }

static void write_packet(FilterMirror *m, const NetPort *from, const NetPacket *packet)
{
    size_t head = lengths_size(m),
           skip = m->vnet_hdr ? 0 : MIN(net_vnet_hdr_len(from), packet->size);
    size_t size = packet->size - skip;

    if (size > NET_MAX_PACKET || charport_pending(m->out) > PENDING_LIMIT) {
        return;
    }
    g_autofree uint8_t *data = g_malloc(head + size);
    store32_be(data, (uint32_t)size);
    if (m->vnet_hdr) {
        store32_be(data + 4, net_vnet_hdr_len(from));
    }
    net_packet_copy(packet, skip, data + head, size);
    charport_write_all(m->out, data, head + size);
}

static bool mirror_receive(NetFilter *filter, NetPort *from, const NetPacket *packet,
                           bool to_netdev)
{
    write_packet(container_of(filter, FilterMirror, filter), from, packet);
    return false;
}

static bool redirector_receive(NetFilter *filter, NetPort *from, const NetPacket *packet,
                               bool to_netdev)
{
    FilterMirror *m = container_of(filter, FilterMirror, filter);

    if (!m->out || !charport_is_connected(m->out)) {
        return false;
    }
    write_packet(m, from, packet);
    return true;
}

/* ---- what comes in ------------------------------------------------------------------------------
 */

static void inject(FilterMirror *m, const uint8_t *data, size_t size)
{
    NetPort *port = netdev_port(m->filter.netdev, 0);
    struct iovec iov = {(void *)(uintptr_t)data, size};
    NetPacket packet = {&iov, 1, size};

    if (m->filter.off) {
        return;
    }
    if (m->filter.queue != FILTER_RX) {
        net_filter_pass(&m->filter, port, &packet);
    }
    if (m->filter.queue != FILTER_TX && port->peer) {
        net_filter_pass(&m->filter, port->peer, &packet);
    }
}

static size_t in_can_receive(void *opaque) { return NET_MAX_PACKET; }

/* Takes what is still missing of the lengths, or of the packet. */
static size_t take(FilterMirror *m, const uint8_t *data, size_t len)
{
    size_t head = lengths_size(m), wanted = head;

    if (m->have >= head) {
        wanted += load32_be(m->buffer);
    }
    size_t n = MIN(len, wanted - m->have);
    memcpy(m->buffer + m->have, data, n);
    m->have += n;
    if (m->have == head && load32_be(m->buffer) > NET_MAX_PACKET) {
        m->broken = true;
        report_warning("%s %s: a packet of more than %u bytes came; input is ignored from now on",
                       m->filter.obj.type->name, m->filter.obj.name, NET_MAX_PACKET);
    } else if (m->have >= head && m->have == head + load32_be(m->buffer)) {
        m->have = 0;
        inject(m, m->buffer + head, load32_be(m->buffer));
    }
    return n;
}

static void in_receive(void *opaque, const uint8_t *data, size_t len)
{
    FilterMirror *m = opaque;

    while (len && !m->broken) {
        size_t n = take(m, data, len);

        data += n;
        len -= n;
    }
}

/* A new other side begins with a packet. */
static void in_event(void *opaque, CharEvent event)
{
    FilterMirror *m = opaque;

    if (event == CHAR_EVENT_OPENED) {
        m->have = 0;
        m->broken = false;
    }
}

static const CharPortOps in_ops = {
    .can_receive = in_can_receive, .receive = in_receive, .event = in_event};

/* ---- life -------------------------------------------------------------------------------- */

static bool mirror_open(NetFilter *filter, GError **err)
{
    FilterMirror *m = container_of(filter, FilterMirror, filter);
    bool redirects = !strcmp(filter->obj.type->name, "filter-redirector");

    if (redirects && !m->out && !m->in) {
        return error_set(err,
                         "filter redirector needs 'indev' or 'outdev' at least one property set; add one of them");
    }
    if (!redirects && !m->out) {
        return error_set(err, "filter mirror needs 'outdev' property set");
    }
    if (m->in) {
        charport_set_ops(m->in, &in_ops, m);
    }
    return true;
}

static void mirror_close(NetFilter *filter)
{
    FilterMirror *m = container_of(filter, FilterMirror, filter);

    if (m->in) {
        charport_set_ops(m->in, NULL, NULL);
    }
}

static const NetFilterOps mirror_ops = {
    .receive = mirror_receive, .open = mirror_open, .close = mirror_close};
static const NetFilterOps redirector_ops = {
    .receive = redirector_receive, .open = mirror_open, .close = mirror_close};

static const Property mirror_props[] = {
    PROP_CHARDEV("outdev", FilterMirror, out, .type = "string", .required = true,
                 .help = "character device that gets the copies"),
    PROP_BOOL("vnet_hdr_support", FilterMirror, vnet_hdr, .help = "vnet headers are passed too"),
    {}};

static const Property redirector_props[] = {
    PROP_CHARDEV("indev", FilterMirror, in, .type = "string",
                 .help = "character device whose packets enter here"),
    PROP_CHARDEV("outdev", FilterMirror, out, .type = "string",
                 .help = "character device that gets the packets"),
    PROP_BOOL("vnet_hdr_support", FilterMirror, vnet_hdr, .help = "vnet headers are passed too"),
    {}};

KILN_TYPE(filter_mirror) = {
    .name = "filter-mirror",
    .parent = "netfilter",
    .desc = "copies packets to a character device",
    .size = sizeof(FilterMirror),
    .props = mirror_props,
    .ops = &mirror_ops,
};

KILN_TYPE(filter_redirector) = {
    .name = "filter-redirector",
    .parent = "netfilter",
    .desc = "passes packets through character devices",
    .size = sizeof(FilterMirror),
    .props = redirector_props,
    .ops = &redirector_ops,
};
