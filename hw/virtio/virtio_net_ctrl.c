/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control queue of virtio-net (Virtual I/O Device 1.2, 5.1.6.5). A command is
 *
 *   out: u8 class, u8 command, data        in: u8 ack
 *
 * Data is read into locals, checked, and only then anything is changed.
 */
#include "hw/virtio/virtio_net.h"

#include "util/trace.h"

#define RSS_FIXED 8 /* hash types, mask, unclassified queue */

/* Data of a command, read from the front. */
typedef struct Reader {
    VirtElement *elem;
    uint64_t at;                      /* in out */
} Reader;

static uint64_t left(const Reader *r) { return r->elem->out_size - r->at; }

static bool take(Reader *r, void *buf, size_t len)
{
    if (left(r) < len || virt_element_read(r->elem, r->at, buf, len) != len) {
        return false;
    }
    r->at += len;
    return true;
}

static bool take16(Reader *r, uint16_t *value)
{
    uint8_t raw[2];
    const bool ok = take(r, raw, sizeof raw);

    *value = ok ? load16_le(raw) : 0;
    return ok;
}

/* ---- what comes in --------------------------------------------------------------------------------- */

static bool rx_mode(VirtioNet *s, unsigned cmd, Reader *r)
{
    VirtioNetFilter *f = &s->filter;
    bool *const modes[] = {
        [VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc, [VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
        [VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,   [VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
        [VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,     [VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
    };
    uint8_t on;

    if (cmd >= G_N_ELEMENTS(modes) || left(r) != 1 || !take(r, &on, 1)) {
        return false;
    }
    *modes[cmd] = on;
    virtio_net_filter_changed(s);
    return true;
}

/* A list of addresses behind those that f has. Too many: *overflow, and none. */
static bool take_macs(Reader *r, VirtioNetFilter *f, bool *overflow)
{
    uint8_t raw[4];
    uint32_t n;

    if (!take(r, raw, sizeof raw)) {
        return false;
    }
    n = load32_le(raw);
    if (n > left(r) / 6) {
        return false;
    }
    *overflow = n > VIRTIO_NET_MACS - f->in_use;
    for (uint32_t i = 0; i < n && !*overflow; i++) {
        uint8_t mac[6];

        take(r, mac, sizeof mac);
        f->macs[f->in_use++] = virtio_net_mac(mac);
    }
    r->at += *overflow ? (uint64_t)n * 6 : 0;
    return true;
}

static bool set_mac_table(VirtioNet *s, Reader *r)
{
    VirtioNetFilter f = s->filter;

    f.in_use = 0;
    if (!take_macs(r, &f, &f.uni_overflow)) {
        return false;
    }
    f.first_multi = f.in_use;
    if (!take_macs(r, &f, &f.multi_overflow) || left(r)) {
        return false;
    }
    s->filter = f;
    virtio_net_filter_changed(s);
    return true;
}

static bool mac_command(VirtioNet *s, unsigned cmd, Reader *r)
{
    uint8_t mac[6];

    if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET) {
        return set_mac_table(s, r);
    }
    if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || left(r) != sizeof mac || !take(r, mac, sizeof mac)) {
        return false;
    }
    __atomic_store_n(&s->mac, virtio_net_mac(mac), __ATOMIC_RELAXED);
    virtio_net_mac_changed(s);
    return true;
}

static bool vlan_command(VirtioNet *s, unsigned cmd, Reader *r)
{
    uint16_t vlan;

    if (left(r) != 2 || !take16(r, &vlan) || vlan >= VIRTIO_NET_VLANS) {
        return false;
    }
    if (cmd == VIRTIO_NET_CTRL_VLAN_ADD) {
        s->filter.vlans[vlan / 32] |= 1u << vlan % 32;
    } else if (cmd == VIRTIO_NET_CTRL_VLAN_DEL) {
        s->filter.vlans[vlan / 32] &= ~(1u << vlan % 32);
    } else {
        return false;
    }
    virtio_net_filter_changed(s);
    return true;
}

/* ---- queues ------------------------------------------------------------------------------------------- */

/* The key, which both commands end with. */
static bool take_key(Reader *r, VirtioNetRss *rss)
{
    uint8_t len;

    memset(rss->key, 0, sizeof rss->key);
    return take(r, &len, 1) && len <= sizeof rss->key && left(r) == len && (!len || take(r, rss->key, len)) &&
           (len || !rss->hash_types);
}

static bool take_types(Reader *r, VirtioNetRss *rss)
{
    uint8_t raw[4];
    const bool ok = take(r, raw, sizeof raw);

    rss->hash_types = ok ? load32_le(raw) : 0;
    return ok && !(rss->hash_types & ~VIRTIO_NET_HASH_TYPES);
}

static bool set_rss(VirtioNet *s, Reader *r)
{
    VirtioNetRss rss = {.enabled = true, .redirect = true, .populate_hash = virtio_has_feature(&s->vdev, VIRTIO_NET_F_HASH_REPORT)};
    uint16_t mask, pairs;

    if (!virtio_has_feature(&s->vdev, VIRTIO_NET_F_RSS) || !take_types(r, &rss) || !take16(r, &mask) ||
        !take16(r, &rss.default_queue) || mask >= VIRTIO_NET_RSS_TABLE || (mask & (mask + 1)) ||
        rss.default_queue >= s->max_pairs) {
        return false;
    }
    rss.table_len = mask + 1;
    for (unsigned i = 0; i < rss.table_len; i++) {
        if (!take16(r, &rss.table[i]) || rss.table[i] >= s->max_pairs) {
            return false;
        }
    }
    if (!take16(r, &pairs) || !pairs || pairs > s->max_pairs || !take_key(r, &rss)) {
        return false;
    }
    rss.enabled = rss.redirect = rss.hash_types != 0;
    s->rss = rss;
    s->active = pairs;
    return true;
}

static bool set_hash(VirtioNet *s, Reader *r)
{
    VirtioNetRss rss = {.table_len = 1};
    uint8_t reserved[8];

    if (!virtio_has_feature(&s->vdev, VIRTIO_NET_F_HASH_REPORT) || !take_types(r, &rss) || !take(r, reserved, sizeof reserved) ||
        !take_key(r, &rss)) {
        return false;
    }
    rss.enabled = rss.populate_hash = rss.hash_types != 0;
    s->rss = rss;
    return true;
}

static bool mq_command(VirtioNet *s, unsigned cmd, Reader *r)
{
    uint16_t pairs;

    if (cmd == VIRTIO_NET_CTRL_MQ_RSS_CONFIG) {
        return set_rss(s, r);
    }
    if (cmd == VIRTIO_NET_CTRL_MQ_HASH_CONFIG) {
        return set_hash(s, r);
    }
    if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !virtio_has_feature(&s->vdev, VIRTIO_NET_F_MQ) || left(r) != 2 ||
        !take16(r, &pairs) || !pairs || pairs > s->max_pairs) {
        return false;
    }
    s->rss.enabled = s->rss.redirect = s->rss.populate_hash = false;
    s->active = pairs;
    return true;
}

/* ---- the rest ---------------------------------------------------------------------------------------------- */

void virtio_net_apply_offloads(VirtioNetPair *p, uint64_t guest_offloads)
{
    static const struct {
        unsigned feature;
        uint32_t net;
    } bits[] = {{VIRTIO_NET_F_GUEST_CSUM, NET_OFFLOAD_CSUM}, {VIRTIO_NET_F_GUEST_TSO4, NET_OFFLOAD_TSO4},
                {VIRTIO_NET_F_GUEST_TSO6, NET_OFFLOAD_TSO6}, {VIRTIO_NET_F_GUEST_ECN, NET_OFFLOAD_ECN},
                {VIRTIO_NET_F_GUEST_UFO, NET_OFFLOAD_UFO},   {VIRTIO_NET_F_GUEST_USO4, NET_OFFLOAD_USO4},
                {VIRTIO_NET_F_GUEST_USO6, NET_OFFLOAD_USO6}};
    const unsigned hdr_len = p->net->hdr_len;
    uint32_t offloads = 0, able;

    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        offloads |= guest_offloads >> bits[i].feature & 1 ? bits[i].net : 0;
    }
    if (net_peer_vnet_caps(p->port, &able) >= hdr_len && !net_set_vnet(p->port, hdr_len, offloads & able)) {
        trace(virtio_net_vnet, "pair %u refuses a header of %u bytes, offloads 0x%x", p->index, hdr_len, offloads);
    }
}

static bool offloads_command(VirtioNet *s, unsigned cmd, Reader *r)
{
    uint8_t raw[8];

    if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || !virtio_has_feature(&s->vdev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
        left(r) != sizeof raw || !take(r, raw, sizeof raw) ||
        (load64_le(raw) & ~(s->vdev.guest_features & VIRTIO_NET_GUEST_OFFLOADS))) {
        return false;
    }
    s->offloads = load64_le(raw);
    s->vnet++;
    return true;
}

static bool announce_command(VirtioNet *s, unsigned cmd)
{
    if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK ||
        !(__atomic_fetch_and(&s->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED) & VIRTIO_NET_S_ANNOUNCE)) {
        return false;
    }
    virtio_net_announced(s);
    return true;
}

static bool run(VirtioNet *s, unsigned class, unsigned cmd, Reader *r)
{
    switch (class) {
    case VIRTIO_NET_CTRL_RX:
        return rx_mode(s, cmd, r);
    case VIRTIO_NET_CTRL_MAC:
        return mac_command(s, cmd, r);
    case VIRTIO_NET_CTRL_VLAN:
        return vlan_command(s, cmd, r);
    case VIRTIO_NET_CTRL_ANNOUNCE:
        return announce_command(s, cmd);
    case VIRTIO_NET_CTRL_MQ:
        return mq_command(s, cmd, r);
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
        return offloads_command(s, cmd, r);
    default:
        return false;
    }
}

static void answer(VirtElement *e, uint8_t ack)
{
    virt_element_write(e, 0, &ack, 1);
    virtqueue_push(e, 1);
}

void virtio_net_end_command(VirtioNet *s)
{
    VirtQueue *vq = virtio_queue(&s->vdev, s->vdev.n_queues - 1);

    if (s->command) {
        answer(g_steal_pointer(&s->command), VIRTIO_NET_OK);
        virtqueue_flush(vq);
        virtqueue_resume(vq);
    }
}

void virtio_net_handle_ctrl(VirtioNet *s, VirtQueue *vq)
{
    for (unsigned n = 0; n < VIRTIO_NET_CTRL_QUEUE_SIZE && !s->command; n++) {
        VirtElement *e = virtqueue_pop(vq);
        Reader r = {.elem = e};
        uint8_t header[2], ack;

        if (!e) {
            return;
        }
        if (e->in_size < 1 || !take(&r, header, sizeof header)) {
            virtio_broken(&s->vdev, "a command of %" PRIu64 " bytes to read and %" PRIu64 " to write", e->out_size, e->in_size);
            virtqueue_drop(e);
            return;
        }
        ack = run(s, header[0], header[1], &r) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
        trace(virtio_net_ctrl, "class %u command %u %" PRIu64 " bytes -> %u", header[0], header[1], e->out_size - 2, ack);
        if (ack == VIRTIO_NET_OK && !virtio_net_publish(s)) {
            s->command = e;
            virtqueue_pause(vq);
        } else {
            answer(e, ack);
        }
    }
}
