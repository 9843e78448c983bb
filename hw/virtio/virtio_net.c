/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets of virtio-net. To the link: buffers go out as they lie in guest memory, many with one call. From the link: a
 * packet is copied into one buffer, or several (mergeable buffers). Everything about a pair is in its thread.
 */
#include "hw/virtio/virtio_net.h"

#include "net/checksum.h"
#include "util/trace.h"

#define ETHERNET_HEADER 14
#define HEAD_MAX 256             /* bytes of a packet that are looked at */
#define LENT_HEAD 64             /* ... where nothing is hashed */
#define BURST 256                /* packets before the queue's others have their turn */
#define BROADCAST UINT64_C(0xffffffffffff)
#define NUM_BUFFERS 10           /* offsets in the header */
#define HASH_VALUE 12
#define HASH_REPORT 16
#define SIZES 64                 /* packets, see note_size */
#define SIZE_MIN 1536
#define FLUSH_BYTES (128 * 1024) /* that are lent and written before the driver hears of them, if this is no turn's end */
#define FLUSH_PACKET 2048        /* what a short one counts */

/* Does it run, and does the driver use it? */
static bool in_use(const VirtioNetPair *p) { return p->live && p->index < p->policy->active; }

/* ---- to the link --------------------------------------------------------------------------------- */

/* The packet in a buffer, without what the link's other end does not know. False: the device is broken. */
static bool find_packet(const VirtioNetPair *p, VirtElement *e, NetPacket *packet)
{
    const VirtioNet *s = p->net;
    const size_t strip = net_vnet_hdr_len(p->port) ? 0 : s->hdr_len;
    struct iovec *iov = e->iov;
    unsigned count = e->out_count;
    size_t left = strip;

    if (e->out_size < s->hdr_len || e->in_count) {
        virtio_broken(&p->net->vdev, "a packet to be sent of %" PRIu64 " bytes, and %" PRIu64 " to be written", e->out_size,
                      e->in_size);
        return false;
    }
    while (count && left >= iov->iov_len) {
        left -= iov->iov_len;
        iov++;
        count--;
    }
    if (left) {
        iov->iov_base = (char *)iov->iov_base + left;
        iov->iov_len -= left;
    }
    *packet = (NetPacket){iov, count, e->out_size - strip};
    return true;
}

/* False: the link takes no more now. */
static bool send_kept(VirtioNetPair *p)
{
    const unsigned sent = net_send_now(p->port, p->packets + p->kept_pos, p->kept_count - p->kept_pos);

    for (unsigned i = 0; i < sent; i++) {
        virtqueue_push(p->kept[p->kept_pos++], 0);
    }
    if (p->kept_pos < p->kept_count) {
        return false;
    }
    p->kept_pos = p->kept_count = 0;
    return true;
}

/* Takes buffers from the ring, up to a batch. What is no packet goes back at once. Returns how many it took. */
static unsigned fill_batch(VirtioNetPair *p, VirtQueue *vq)
{
    unsigned taken = 0;

    while (p->kept_count < VIRTIO_NET_TX_BATCH) {
        VirtElement *e = virtqueue_pop(vq);
        NetPacket packet;

        if (!e) {
            break;
        }
        if (!find_packet(p, e, &packet)) {
            virtqueue_drop(e);
            break;
        }
        taken++;
        if (!p->index) {
            p->net->tx_waiting = false;
        }
        if (!packet.size || packet.size > NET_MAX_PACKET) {
            trace(virtio_net_tx_lost, "%zu bytes", packet.size);
            virtqueue_push(e, 0);
            continue;
        }
        trace(virtio_net_tx, "pair %u %zu bytes", p->index, packet.size);
        p->kept[p->kept_count] = e;
        p->packets[p->kept_count++] = packet;
    }
    return taken;
}

void virtio_net_handle_tx(VirtioNetPair *p)
{
    VirtQueue *vq = virtio_net_tx(p);

    if (!in_use(p)) {
        virtqueue_pause(vq);
        return;
    }
    for (unsigned done = 0; done < BURST;) {
        const unsigned taken = fill_batch(p, vq);

        if (p->kept_count && !send_kept(p)) {
            virtqueue_pause(vq);
            return;
        }
        if (!taken) {
            return;
        }
        virtqueue_flush(vq);
        done += taken;
    }
}

void virtio_net_writable(void *opaque)
{
    VirtioNetPair *p = opaque;

    if (!in_use(p) || (p->kept_count && !send_kept(p))) {
        return;
    }
    virtio_net_handle_tx(p); /* more waits most of the time */
    if (!p->kept_count) {
        virtqueue_resume(virtio_net_tx(p));
    }
}

void virtio_net_unpop_tx(VirtioNetPair *p)
{
    while (p->kept_count > p->kept_pos) {
        virtqueue_unpop(p->kept[--p->kept_count]);
    }
    p->kept_pos = p->kept_count = 0;
}

void virtio_net_unpop_rx(VirtioNetPair *p)
{
    while (p->found_count) {
        virtqueue_unpop(p->found[--p->found_count]);
    }
}

/* ---- what comes in ---------------------------------------------------------------------------------- */

static bool is_listed(const VirtioNetFilter *f, unsigned from, unsigned to, uint64_t mac)
{
    for (unsigned i = from; i < to; i++) {
        if (f->macs[i] == mac) {
            return true;
        }
    }
    return false;
}

bool virtio_net_wants(const VirtioNetPair *p, const uint8_t *head, size_t len)
{
    const VirtioNetFilter *f = &p->policy->filter;
    const uint64_t to = virtio_net_mac(head);

    if (f->promisc) {
        return true;
    }
    if (load16_be(head + 12) == 0x8100 && len >= ETHERNET_HEADER + 2) {
        const unsigned vlan = load16_be(head + 14) & 0xfff;

        if (!(f->vlans[vlan / 32] >> vlan % 32 & 1)) {
            return false;
        }
    }
    if (to == BROADCAST) {
        return !f->nobcast;
    }
    if (to & 1) {
        return !f->nomulti && (f->allmulti || f->multi_overflow || is_listed(f, f->first_multi, f->in_use, to));
    }
    return !f->nouni && (f->alluni || f->uni_overflow || to == __atomic_load_n(&p->net->mac, __ATOMIC_RELAXED) ||
                         is_listed(f, 0, f->first_multi, to));
}

/* ---- from the link ------------------------------------------------------------------------------------ */

/* A place in a packet. */
typedef struct Source {
    const struct iovec *iov;
    size_t offset;               /* in *iov */
} Source;

static Source source_at(const NetPacket *packet, size_t offset)
{
    Source src = {packet->iov, offset};

    while (src.offset && src.offset >= src.iov->iov_len) {
        src.offset -= src.iov->iov_len;
        src.iov++;
    }
    return src;
}

/* Copies len bytes, which both have, to byte `at` of the buffer and on. */
static void copy_in(VirtElement *e, size_t at, Source *src, size_t len)
{
    for (const struct iovec *in = e->in; len; in++) {
        if (at >= in->iov_len) {
            at -= in->iov_len;
            continue;
        }
        for (size_t room = MIN(in->iov_len - at, len); room;) {
            const size_t n = MIN(room, src->iov->iov_len - src->offset);

            memcpy((char *)in->iov_base + at, (const char *)src->iov->iov_base + src->offset, n);
            at += n;
            room -= n;
            len -= n;
            src->offset += n;
            if (src->offset == src->iov->iov_len) {
                src->iov++;
                src->offset = 0;
            }
        }
        at = 0;
    }
}

/* The driver has to add buffers; its notification calls virtio_net_handle_rx. */
static void wait_for_buffers(VirtioNetPair *p)
{
    p->starved = true;
    virtqueue_resume(virtio_net_rx(p));
}

/* Buffer n of those for the next packet: in p->found, or popped to there. NULL: there is none, or the device is broken. */
static VirtElement *find_buffer(VirtioNetPair *p, unsigned n)
{
    VirtioNet *s = p->net;
    VirtElement *e = n < p->found_count ? p->found[n] : virtqueue_pop(virtio_net_rx(p));

    if (e && (e->out_count || (!n && e->in_size < s->hdr_len))) {
        virtio_broken(&s->vdev, "a buffer for packets of %" PRIu64 " bytes, and %" PRIu64 " to be read", e->in_size, e->out_size);
        if (n == p->found_count) {
            virtqueue_drop(e);
        }
        return NULL;
    }
    if (e) {
        p->found[n] = e;
        p->found_count = MAX(p->found_count, n + 1);
    }
    return e;
}

/* Can there be a buffer behind the first n ones? A queue that was reset by itself has none, and is the main thread's. */
static bool may_have(const VirtioNetPair *p, unsigned n) { return !n || n < virtio_queue_num(virtio_net_rx(p)); }

/* Collects buffers for total bytes in p->found: how many of them it takes. 0: *lost says whether the packet is lost, or has
 * to wait for more of them. */
static unsigned find_buffers(VirtioNetPair *p, size_t total, bool *lost)
{
    size_t room = 0;

    for (unsigned n = 0; !n || (p->net->mergeable && may_have(p, n)); n++) {
        const VirtElement *e = find_buffer(p, n);

        if (!e) {
            *lost = false;
            wait_for_buffers(p);
            return 0;
        }
        room += e->in_size;
        if (room >= total) {
            return n + 1;
        }
    }
    trace(virtio_net_rx_lost, "%zu bytes, room for %zu", total, room);
    return 0;
}

/* The first n buffers found have the packet, of size bytes with its header. */
static void push_found(VirtioNetPair *p, unsigned n, size_t size)
{
    trace(virtio_net_rx, "pair %u %zu bytes in %u buffers", p->index, size - p->net->hdr_len, n);
    for (unsigned i = 0; i < n; i++) {
        const size_t part = MIN(p->found[i]->in_size, size);

        virtqueue_push(p->found[i], part);
        size -= part;
    }
    p->found_count -= n;
    memmove(p->found, p->found + n, p->found_count * sizeof p->found[0]);
}

/* What comes will be about as long as what came: enough is lent for the longest of the last SIZES packets. */
static void note_size(VirtioNetPair *p, size_t size)
{
    p->size_seen = MAX(p->size_seen, size);
    if (++p->sizes == SIZES || p->size_seen > p->lend_size) {
        p->lend_size = MAX(p->size_seen, SIZE_MIN);
        p->size_seen = p->sizes = 0;
    }
}

static void put_header(VirtElement *e, const uint8_t *header, unsigned len)
{
    if (e->in[0].iov_len >= len) {
        memcpy(e->in[0].iov_base, header, len);
    } else {
        virt_element_write(e, 0, header, len);
    }
}

/* Packet behind this header into the ring. False: there are no buffers. */
static bool put_packet(VirtioNetPair *p, const NetPacket *packet, size_t skip, uint8_t *header)
{
    VirtioNet *s = p->net;
    const size_t len = packet->size - skip;
    bool lost = true;
    const unsigned n = find_buffers(p, s->hdr_len + len, &lost);
    Source src = source_at(packet, skip);
    size_t left = len, at = s->hdr_len;

    if (!n) {
        return lost;
    }
    if (s->hdr_len > NUM_BUFFERS) {
        store16_le(header + NUM_BUFFERS, (uint16_t)n);
    }
    put_header(p->found[0], header, s->hdr_len);
    note_size(p, s->hdr_len + len);
    for (unsigned i = 0; i < n; i++) {
        const size_t part = MIN(p->found[i]->in_size - at, left);

        copy_in(p->found[i], at, &src, part);
        left -= part;
        at = 0;
    }
    push_found(p, n, s->hdr_len + len);
    return true;
}

/* Old DHCP clients read packets as they are, and want checksums in them: what the host left to the guest is computed for
 * them, as QEMU does. A new packet, to be freed; NULL: it is none of these. */
static uint8_t *complete_dhcp(const VirtioNet *s, const NetPacket *packet, const uint8_t *head, size_t skip)
{
    const uint8_t *ip = head + ETHERNET_HEADER, *udp = ip + 20;
    const size_t len = packet->size - skip;
    uint8_t header[VIRTIO_NET_HDR_MAX], *copy;
    uint32_t sum;

    if (len < 64 || len > 1500 || load16_be(head + 12) != 0x0800 || ip[0] != 0x45 || ip[9] != 17 || load16_be(udp) != 67 ||
        load16_be(udp + 2) != 68 || iov_to_buf(packet->iov, packet->count, 0, header, skip) != skip ||
        !(header[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM) || load16_be(udp + 4) < 8 || load16_be(udp + 4) > len - ETHERNET_HEADER - 20) {
        return NULL;
    }
    copy = g_malloc(packet->size);
    iov_to_buf(packet->iov, packet->count, 0, copy, packet->size);
    copy[0] &= (uint8_t)~VIRTIO_NET_HDR_F_NEEDS_CSUM;
    uint8_t *payload = copy + skip + ETHERNET_HEADER + 20;
    const uint16_t size = load16_be(udp + 4); /* not the copy's: the guest may write there meanwhile */
    const uint8_t pseudo[4] = {0, 17, (uint8_t)(size >> 8), (uint8_t)size};
    store16_be(payload + 6, 0);
    sum = net_sum(0, payload - 8, 8);
    sum = net_sum(sum, pseudo, 4);
    const uint16_t result = net_sum_finish(net_sum(sum, payload, size));
    store16_be(payload + 6, result ? result : 0xffff); /* 0: there is none */
    return copy;
}

/* The pair whose ring gets a packet with this hash; all are in one loop then. */
static VirtioNetPair *choose_pair(VirtioNetPair *p, const VirtioNetRss *rss, uint32_t hash, bool hashed)
{
    const unsigned pair = hashed ? rss->table[hash & (rss->table_len - 1u)] : rss->default_queue;

    return rss->redirect ? &p->net->pairs[pair % p->policy->active] : p;
}

/* False: no buffers. */
static bool receive_one(VirtioNetPair *p, const NetPacket *packet)
{
    VirtioNet *s = p->net;
    const VirtioNetRss *rss = &p->policy->rss;
    const size_t skip = net_vnet_hdr_len(p->port);
    uint8_t copy[HEAD_MAX], header[VIRTIO_NET_HDR_MAX] = {0};
    const struct iovec *first = packet->iov;
    const uint8_t *head = copy;
    size_t len;
    VirtioNetPair *to = p;

    if (packet->size < skip + ETHERNET_HEADER) {
        return true;
    }
    len = MIN(packet->size - skip, sizeof copy);
    if (first->iov_len >= skip + len) {
        head = (const uint8_t *)first->iov_base + skip;
    } else {
        iov_to_buf(packet->iov, packet->count, skip, copy, len);
    }
    if (!virtio_net_wants(p, head, len)) {
        trace(virtio_net_filtered, "%zu bytes", packet->size - skip);
        return true;
    }
    g_autofree uint8_t *completed = skip ? complete_dhcp(s, packet, head, skip) : NULL;
    const struct iovec whole = {completed, packet->size};
    const NetPacket other = {&whole, 1, packet->size};
    packet = completed ? &other : packet;
    iov_to_buf(packet->iov, packet->count, 0, header, skip);
    if (rss->enabled) {
        uint16_t report;
        const uint32_t hash = virtio_net_hash(rss, head, len, &report);

        to = choose_pair(p, rss, hash, report != 0);
        if (rss->populate_hash && s->hdr_len > HASH_REPORT) {
            store32_le(header + HASH_VALUE, report ? hash : 0);
            store32_le(header + HASH_REPORT, report);
        }
    }
    /* A pair without buffers does not hold up another one's packets. */
    return put_packet(to, packet, skip, header) || to != p;
}

bool virtio_net_can_receive(void *opaque)
{
    const VirtioNetPair *p = opaque;

    return in_use(p) && !p->starved;
}

unsigned virtio_net_receive_many(void *opaque, const NetPacket *packets, unsigned n)
{
    VirtioNetPair *p = opaque;
    const bool redirect = p->policy->rss.redirect;
    unsigned done = 0;

    while (done < n && !p->starved && receive_one(p, &packets[done])) {
        done++;
    }
    for (unsigned i = 0; i < (redirect ? p->policy->active : 1); i++) {
        virtqueue_flush(virtio_net_rx(redirect ? &p->net->pairs[i] : p));
    }
    return done;
}

/* Hashes, and headers unlike the link's, are for packets that come by receive. */
unsigned virtio_net_lend(void *opaque, struct iovec *iov, unsigned max)
{
    VirtioNetPair *p = opaque;
    const VirtioNet *s = p->net;
    unsigned count = 0;

    if (p->policy->rss.enabled || s->hdr_len > HASH_VALUE || net_vnet_hdr_len(p->port) != s->hdr_len) {
        return 0;
    }
    for (size_t n = 0, room = 0; room < MAX(p->lend_size, SIZE_MIN) && (!n || s->mergeable); n++) {
        const VirtElement *e = may_have(p, (unsigned)n) ? find_buffer(p, (unsigned)n) : NULL;

        if (!e && !n) {
            wait_for_buffers(p);
        }
        if (!e || count + e->in_count > max) {
            break;
        }
        memcpy(iov + count, e->in, e->in_count * sizeof *iov);
        count += e->in_count;
        room += e->in_size;
    }
    return count;
}

/* What the card does not want stays in its buffers, which take the next one. */
void virtio_net_lent(void *opaque, const struct iovec *iov, unsigned count, size_t size)
{
    VirtioNetPair *p = opaque;
    const VirtioNet *s = p->net;
    const NetPacket packet = {iov, count, size};
    uint8_t head[LENT_HEAD];
    unsigned n = 0;
    size_t len;

    if (size < s->hdr_len + ETHERNET_HEADER) {
        return;
    }
    len = iov_to_buf(iov, count, s->hdr_len, head, MIN(size - s->hdr_len, sizeof head));
    if (!virtio_net_wants(p, head, len)) {
        trace(virtio_net_filtered, "%zu bytes", size - s->hdr_len);
        return;
    }
    g_autofree uint8_t *completed = complete_dhcp(s, &packet, head, s->hdr_len);
    if (completed) {
        iov_from_buf(iov, count, 0, completed, size);
    }
    for (size_t room = 0; room < size; n++) {
        room += p->found[n]->in_size;
    }
    if (s->hdr_len > NUM_BUFFERS) {
        uint8_t buffers[2];

        store16_le(buffers, (uint16_t)n);
        iov_from_buf(iov, count, NUM_BUFFERS, buffers, sizeof buffers);
    }
    note_size(p, size);
    push_found(p, n, size);
    p->unflushed += MAX(size, FLUSH_PACKET);
    if (p->unflushed >= FLUSH_BYTES) {
        p->unflushed = 0;
        virtqueue_flush(virtio_net_rx(p));
    }
}

bool virtio_net_receive(void *opaque, const NetPacket *packet) { return virtio_net_receive_many(opaque, packet, 1) == 1; }

/* The driver added buffers, of which there were too few; from now on it need not tell. */
void virtio_net_handle_rx(VirtioNetPair *p)
{
    virtqueue_pause(virtio_net_rx(p));
    p->starved = false;
    net_port_ready(p->port);
}
