/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net's own part of its state, in QEMU 7.2's form (version 11):
 *
 *   mac[6], u32 tx_waiting of pair 0, u32 mergeable, u16 status, u8 promisc, allmulti, u32 n, mac[6] of n, vlans[512],
 *   u32 has_vnet_hdr, u8 multi_overflow, uni_overflow, alluni, nomulti, nouni, nobcast, has_ufo
 *   with several pairs: u16 max, u16 active, u32 tx_waiting of the active ones but the first
 *   with CTRL_GUEST_OFFLOADS: u64 offloads
 *   while hashes are on: the subsection virtio-net-device/rss
 *
 * tx_waiting says that packets wait in the transmit ring. Starting the queues looks there anyhow; what was loaded is kept
 * until something was sent.
 */
#include "hw/virtio/virtio_net.h"

#define RSS_NAME "virtio-net-device/rss"
#define GUEST_OFFLOADS_FEATURE(features) ((features) >> VIRTIO_NET_F_CTRL_GUEST_OFFLOADS & 1)

typedef struct VirtioNetLoaded {
    uint64_t mac, offloads;
    uint16_t status;
    bool tx_waiting;
    bool has_offloads;
    unsigned active;
    VirtioNetFilter filter;
    VirtioNetRss rss;
} VirtioNetLoaded;

static bool has_vnet(const VirtioNet *s, bool *ufo)
{
    uint32_t able;
    const unsigned len = net_peer_vnet_caps(s->pairs[0].port, &able);

    *ufo = able & NET_OFFLOAD_UFO;
    return len != 0;
}

/* ---- saving; stopped, VM lock ------------------------------------------------------------------------ */

static void put_mac(StateBuf *buf, uint64_t mac)
{
    uint8_t raw[6];

    virtio_net_put_mac(raw, mac);
    state_put(buf, raw, sizeof raw);
}

static void put_filter(StateBuf *buf, const VirtioNet *s)
{
    const VirtioNetFilter *f = &s->filter;
    bool ufo, vnet = has_vnet(s, &ufo);

    state_put_be(buf, f->promisc, 1);
    state_put_be(buf, f->allmulti, 1);
    state_put_be(buf, f->in_use, 4);
    for (unsigned i = 0; i < f->in_use; i++) {
        put_mac(buf, f->macs[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(f->vlans); i++) {
        uint8_t raw[4];

        store32_le(raw, f->vlans[i]);
        state_put(buf, raw, sizeof raw);
    }
    state_put_be(buf, vnet, 4);
    const bool bits[] = {f->multi_overflow, f->uni_overflow, f->alluni, f->nomulti, f->nouni, f->nobcast, ufo};
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        state_put_be(buf, bits[i], 1);
    }
}

static void put_rss(StateBuf *buf, const VirtioNetRss *rss)
{
    virtio_put_part(buf, RSS_NAME);
    state_put_be(buf, rss->enabled, 1);
    state_put_be(buf, rss->redirect, 1);
    state_put_be(buf, rss->populate_hash, 1);
    state_put_be(buf, rss->hash_types, 4);
    state_put_be(buf, rss->table_len, 2);
    state_put_be(buf, rss->default_queue, 2);
    state_put(buf, rss->key, sizeof rss->key);
    for (unsigned i = 0; i < rss->table_len; i++) {
        state_put_be(buf, rss->table[i], 2);
    }
}

void virtio_net_save(VirtioDevice *vdev, StateBuf *buf)
{
    const VirtioNet *s = virtio_net(vdev);

    put_mac(buf, s->mac);
    state_put_be(buf, s->tx_waiting, 4);
    state_put_be(buf, s->mergeable, 4);
    state_put_be(buf, s->status, 2);
    put_filter(buf, s);
    if (s->max_pairs > 1) {
        state_put_be(buf, s->max_pairs, 2);
        state_put_be(buf, s->active, 2);
        for (unsigned i = 1; i < s->active; i++) {
            state_put_be(buf, 0, 4);
        }
    }
    if (GUEST_OFFLOADS_FEATURE(vdev->guest_features)) {
        state_put_be(buf, s->offloads, 8);
    }
    if (s->rss.enabled) {
        put_rss(buf, &s->rss);
    }
}

/* ---- loading ------------------------------------------------------------------------------------------- */

static uint64_t get_mac(StateBuf *buf)
{
    uint8_t raw[6] = {0};

    state_get(buf, raw, sizeof raw);
    return virtio_net_mac(raw);
}

static bool get_flag(StateBuf *buf) { return state_get_be(buf, 1) != 0; }

/* A longer table than ours: everything of that kind comes in. */
static void get_macs(StateBuf *buf, VirtioNetFilter *f, uint32_t n)
{
    const bool fits = n <= VIRTIO_NET_MACS;

    for (uint32_t i = 0; i < n && !buf->failed; i++) {
        const uint64_t mac = get_mac(buf);

        if (fits) {
            f->macs[i] = mac;
        }
    }
    f->in_use = fits ? n : 0;
    while (f->first_multi < f->in_use && !(f->macs[f->first_multi] & 1)) {
        f->first_multi++;
    }
}

static bool load_filter(const VirtioNet *s, VirtioNetFilter *f, StateBuf *buf, GError **err)
{
    bool our_ufo, vnet = has_vnet(s, &our_ufo);
    uint32_t n;

    f->promisc = get_flag(buf);
    f->allmulti = get_flag(buf);
    n = (uint32_t)state_get_be(buf, 4);
    get_macs(buf, f, n);
    for (unsigned i = 0; i < G_N_ELEMENTS(f->vlans); i++) {
        uint8_t raw[4] = {0};

        state_get(buf, raw, sizeof raw);
        f->vlans[i] = load32_le(raw);
    }
    if (state_get_be(buf, 4) && !vnet && !buf->failed) {
        return error_set(err, "the state's packets have headers with offloads, which this netdev has not; use tap with "
                              "vnet_hdr=on");
    }
    f->multi_overflow = get_flag(buf) || n > VIRTIO_NET_MACS;
    f->uni_overflow = get_flag(buf) || n > VIRTIO_NET_MACS;
    f->alluni = get_flag(buf);
    f->nomulti = get_flag(buf);
    f->nouni = get_flag(buf);
    f->nobcast = get_flag(buf);
    if (get_flag(buf) && !our_ufo && !buf->failed) {
        return error_set(err, "the state's netdev does UFO, which this one does not");
    }
    return true;
}

static bool load_pairs(const VirtioNet *s, VirtioNetLoaded *in, StateBuf *buf, GError **err)
{
    const uint64_t max = state_get_be(buf, 2), active = state_get_be(buf, 2);

    if (!buf->failed && (max != s->max_pairs || !active || active > max)) {
        return error_set(err, "%" PRIu64 " of %" PRIu64 " pairs of queues are in use; the netdev has %u queues here", active,
                         max, s->max_pairs);
    }
    for (uint64_t i = 1; i < active && !buf->failed; i++) {
        state_get_be(buf, 4);
    }
    in->active = (unsigned)active;
    return true;
}

static bool load_rss(const VirtioNet *s, VirtioNetRss *rss, StateBuf *buf, GError **err)
{
    rss->enabled = get_flag(buf);
    rss->redirect = get_flag(buf);
    rss->populate_hash = get_flag(buf);
    rss->hash_types = (uint32_t)state_get_be(buf, 4);
    rss->table_len = (uint16_t)state_get_be(buf, 2);
    rss->default_queue = (uint16_t)state_get_be(buf, 2);
    state_get(buf, rss->key, sizeof rss->key);
    if (buf->failed || !rss->table_len || rss->table_len > VIRTIO_NET_RSS_TABLE || !is_power_of_two(rss->table_len) ||
        rss->default_queue >= s->max_pairs) {
        return error_set(err, "a table of %u queues by hash, else queue %u", rss->table_len, rss->default_queue);
    }
    for (unsigned i = 0; i < rss->table_len; i++) {
        rss->table[i] = (uint16_t)state_get_be(buf, 2);
        if (rss->table[i] >= s->max_pairs) {
            return error_set(err, "hashes lead to queue %u of %u", rss->table[i], s->max_pairs);
        }
    }
    return true;
}

/* features: the low half only; virtio_net_check_loaded sees all. */
bool virtio_net_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err)
{
    VirtioNet *s = virtio_net(vdev);
    VirtioNetLoaded *in = g_new0(VirtioNetLoaded, 1);

    g_free(s->loaded);
    s->loaded = in;
    in->active = 1;
    in->rss.table_len = 1;
    in->mac = get_mac(buf);
    in->tx_waiting = state_get_be(buf, 4) != 0;
    state_get_be(buf, 4); /* mergeable: the features say so */
    in->status = (uint16_t)state_get_be(buf, 2);
    if (!load_filter(s, &in->filter, buf, err) || (s->max_pairs > 1 && !load_pairs(s, in, buf, err))) {
        return false;
    }
    in->has_offloads = GUEST_OFFLOADS_FEATURE(features);
    if (in->has_offloads) {
        in->offloads = state_get_be(buf, 8);
    }
    if (virtio_begins_part(buf, RSS_NAME)) {
        char name[256];

        if (!virtio_get_part(buf, name, err)) {
            return false;
        }
        return strcmp(name, RSS_NAME) ? error_set(err, "a virtio network card has no part '%s'", name)
                                      : load_rss(s, &in->rss, buf, err);
    }
    return true;
}

bool virtio_net_check_loaded(const VirtioDevice *vdev, uint64_t features, GError **err)
{
    const VirtioNetLoaded *in = container_of(vdev, VirtioNet, vdev)->loaded;
    const uint64_t offloads = in->offloads;

    if (in->rss.redirect && !(features >> VIRTIO_NET_F_RSS & 1)) {
        return error_set(err, "hashes lead to queues, which was not negotiated (0x%" PRIx64 ")", features);
    }
    return !(offloads & ~(features & VIRTIO_NET_GUEST_OFFLOADS)) ||
           error_set(err, "offloads 0x%" PRIx64 " were not negotiated (0x%" PRIx64 ")", offloads, features);
}

void virtio_net_take_loaded(VirtioDevice *vdev)
{
    VirtioNet *s = virtio_net(vdev);
    const VirtioNetLoaded *in = s->loaded;
    uint8_t mac[6];

    s->mac = in->mac;
    s->status = in->status;
    s->tx_waiting = in->tx_waiting;
    virtio_net_put_mac(mac, s->mac);
    nic_set_mac(s->nic, mac);
    virtio_net_hold(s); /* the links' ends are the pairs' */
    s->filter = in->filter;
    s->rss = in->rss;
    if (in->has_offloads) {
        s->offloads = in->offloads;
        s->vnet++;
    }
    s->active = in->active;
    nic_set_cable(s->nic, in->status & VIRTIO_NET_S_LINK_UP);
    virtio_net_set_policy(s);
    virtio_net_release(s);
    g_clear_pointer(&s->loaded, g_free);
    virtio_net_announce(s);
}
