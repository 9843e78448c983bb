/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-net-device": configuration, properties and life of a virtio network card; its fronts on PCI.
 *
 * Not done: coalescing of received segments (guest_rsc_ext=), standby for another card (failover=), transmit queues of
 * another size than 256 (QEMU has them for vhost-user only).
 */
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_pci.h"
#include "util/trace.h"

#define DEFAULT_QUEUE_SIZE 256
#define ANNOUNCE_ROUNDS 5
#define DUPLEX_UNKNOWN 0xff
#define BIT(n) (UINT64_C(1) << (n))
/* Offered only if the netdev's packets have a header. */
#define VNET_FEATURES                                                                              \
    (VIRTIO_NET_GUEST_OFFLOADS | BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |  \
     BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_HOST_UFO) | BIT(VIRTIO_NET_F_HOST_USO) |         \
     BIT(VIRTIO_NET_F_HASH_REPORT))
/* ... and only if its kernel does these. */
#define UFO_FEATURES (BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_HOST_UFO))
#define USO_FEATURES (BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6) | BIT(VIRTIO_NET_F_HOST_USO))

/* ---- configuration ---------------------------------------------------------------------------- */

static void get_config(VirtioDevice *vdev)
{
    const VirtioNet *s = virtio_net(vdev);
    const uint64_t offered = vdev->host_features;
    const bool full = !g_strcmp0(s->duplex_name, "full");
    uint8_t config[sizeof(struct virtio_net_config)] = {0};

    virtio_net_put_mac(config, __atomic_load_n(&s->mac, __ATOMIC_RELAXED));
    store16_le(config + 6, __atomic_load_n(&s->status, __ATOMIC_RELAXED));
    store16_le(config + 8, (uint16_t)s->max_pairs);
    store16_le(config + 10, s->host_mtu);
    store32_le(config + 12, (uint32_t)s->speed);
    config[16] = s->duplex_name ? full : DUPLEX_UNKNOWN;
    config[17] = VIRTIO_NET_RSS_KEY;
    store16_le(config + 18, offered & BIT(VIRTIO_NET_F_RSS) ? VIRTIO_NET_RSS_TABLE : 1);
    store32_le(config + 20, VIRTIO_NET_HASH_TYPES);
    memcpy(vdev->config, config, vdev->config_size);
}

/* Old drivers write the address there. */
static void set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioNet *s = virtio_net(vdev);

    if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1) && !virtio_has_feature(vdev, VIRTIO_NET_F_CTRL_MAC_ADDR)) {
        __atomic_store_n(&s->mac, virtio_net_mac(config), __ATOMIC_RELAXED);
        nic_set_mac(s->nic, config);
    }
}

static size_t config_size(uint64_t features)
{
    static const struct {
        uint64_t features;
        size_t end;
    } parts[] = {{BIT(VIRTIO_NET_F_RSS) | BIT(VIRTIO_NET_F_HASH_REPORT), 24}, {BIT(VIRTIO_NET_F_SPEED_DUPLEX), 17},
                 {BIT(VIRTIO_NET_F_MTU), 12}, {BIT(VIRTIO_NET_F_MQ), 10}, {BIT(VIRTIO_NET_F_STATUS), 8}};

    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (features & parts[i].features) {
            return parts[i].end;
        }
    }
    return 6;
}

/* ---- what the driver chose ---------------------------------------------------------------------- */

static unsigned count_queues(const VirtioDevice *vdev, uint64_t features)
{
    return 2 * (virtio_net_has_pairs(features) ? container_of(vdev, VirtioNet, vdev)->max_pairs : 1) + 1;
}

static void features_set(VirtioDevice *vdev)
{
    VirtioNet *s = virtio_net(vdev);

    for (unsigned i = 0; i < vdev->n_queues; i++) {
        virtio_queue_resize(virtio_queue(vdev, i), i == vdev->n_queues - 1 ? VIRTIO_NET_CTRL_QUEUE_SIZE
                                                   : i & 1                 ? DEFAULT_QUEUE_SIZE
                                                                           : s->rx_queue_size);
    }
    virtio_net_assign_queues(s);
    s->mergeable = virtio_has_feature(vdev, VIRTIO_NET_F_MRG_RXBUF);
    s->hdr_len = virtio_has_feature(vdev, VIRTIO_NET_F_HASH_REPORT)                 ? 20
                 : s->mergeable || virtio_has_feature(vdev, VIRTIO_F_VERSION_1) ? 12
                                                                                : 10;
    s->offloads = vdev->guest_features & VIRTIO_NET_GUEST_OFFLOADS;
    s->vnet++;
    memset(s->filter.vlans, virtio_has_feature(vdev, VIRTIO_NET_F_CTRL_VLAN) ? 0 : 0xff, sizeof s->filter.vlans);
    virtio_net_set_policy(s);
}

/* ---- running ------------------------------------------------------------------------------------ */

static void handle(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioNet *s = virtio_net(vdev);
    const unsigned i = virtqueue_index(vq);

    if (i == vdev->n_queues - 1) {
        virtio_net_handle_ctrl(s, vq);
    } else if (i & 1) {
        virtio_net_handle_tx(&s->pairs[i / 2]);
    } else {
        virtio_net_handle_rx(&s->pairs[i / 2]);
    }
}

static void go_live(VirtioNetPair *p)
{
    p->live = true;
    p->starved = false;
    if (p->index < p->policy->active) {
        virtqueue_resume(virtio_net_tx(p));
        net_port_ready(p->port);
    }
}

static void net_start(VirtioDevice *vdev) { virtio_net_vhost_start(virtio_net(vdev)); }

static void started(VirtioDevice *vdev)
{
    if (!virtio_net(vdev)->in_kernel) {
        virtio_net_each_pair(virtio_net(vdev), go_live);
    }
}

/* The control queue takes no commands any more: what it posted was before this. */
static void quiesce_pair(VirtioNetPair *p)
{
    p->live = false;
    virtio_net_unpop_tx(p);
    virtio_net_unpop_rx(p);
}

static void unpop_tx(void *opaque) { virtio_net_unpop_tx(opaque); }
static void unpop_rx(void *opaque) { virtio_net_unpop_rx(opaque); }

static void quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioNet *s = virtio_net(vdev);

    if (!vq) {
        virtio_net_vhost_stop(s);
        virtio_net_each_pair(s, quiesce_pair);
        virtio_net_settle(s);
        for (unsigned i = 0; i < s->max_pairs; i++) {
            net_relay_flush(s->pairs[i].port);
        }
    } else if (virtqueue_index(vq) < vdev->n_queues - 1) {
        VirtioNetPair *p = &s->pairs[virtqueue_index(vq) / 2];

        virtio_call_loop(vdev, p->loop, virtqueue_index(vq) & 1 ? unpop_tx : unpop_rx, p);
    } else {
        virtio_net_settle(s);
    }
}

static void reset_pair(VirtioNetPair *p)
{
    p->starved = false;
    net_port_purge(p->port);
}

static void net_reset(VirtioDevice *vdev)
{
    VirtioNet *s = virtio_net(vdev);

    timer_cancel(&s->announce_timer);
    s->announce_rounds = 0;
    __atomic_and_fetch(&s->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED);
    __atomic_store_n(&s->mac, virtio_net_mac(s->conf.mac), __ATOMIC_RELAXED);
    nic_set_mac(s->nic, s->conf.mac);
    s->filter = (VirtioNetFilter){.promisc = true};
    s->rss = (VirtioNetRss){.table_len = 1};
    s->tx_waiting = false;
    s->active = 1;
    virtio_net_set_policy(s);
    virtio_net_each_pair(s, reset_pair);
}

/* ---- announcements -------------------------------------------------------------------------------- */

static bool can_announce(const VirtioNet *s)
{
    return virtio_has_feature(&s->vdev, VIRTIO_NET_F_GUEST_ANNOUNCE) && virtio_has_feature(&s->vdev, VIRTIO_NET_F_CTRL_VQ);
}

static void ask_driver(VirtioNet *s)
{
    trace(virtio_net_announce, "rounds left %u", s->announce_rounds);
    __atomic_or_fetch(&s->status, VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED);
    virtio_notify_config(&s->vdev);
}

static void announce_round(void *opaque)
{
    VirtioNet *s = opaque;

    s->announce_rounds--;
    ask_driver(s);
}

/* After 50, 150, ... 450 ms, as QEMU by default. */
static void announce_next(VirtioDevice *vdev)
{
    VirtioNet *s = virtio_net(vdev);

    if (s->announce_rounds) {
        const int64_t ms = 50 + 100 * (int64_t)(ANNOUNCE_ROUNDS - 1 - s->announce_rounds);

        timer_arm(&s->announce_timer, clock_now(vdev->dev.vm, CLOCK_VIRTUAL) + ms * NSEC_PER_MSEC);
    }
}

void virtio_net_announced(VirtioNet *s) { virtio_post_main(&s->vdev, announce_next); }

void virtio_net_announce(VirtioNet *s)
{
    if (can_announce(s)) {
        s->announce_rounds = ANNOUNCE_ROUNDS;
        timer_arm(&s->announce_timer, clock_now(s->vdev.dev.vm, CLOCK_VIRTUAL));
    }
}

/* ---- the network's side ------------------------------------------------------------------------------ */

static void tell_mac(VirtioDevice *vdev)
{
    VirtioNet *s = virtio_net(vdev);
    uint8_t mac[6];

    virtio_net_put_mac(mac, __atomic_load_n(&s->mac, __ATOMIC_RELAXED));
    nic_set_mac(s->nic, mac);
    nic_rx_filter_changed(s->nic);
}

static void tell_filter(VirtioDevice *vdev) { nic_rx_filter_changed(virtio_net(vdev)->nic); }

void virtio_net_mac_changed(VirtioNet *s) { virtio_post_main(&s->vdev, tell_mac); }
void virtio_net_filter_changed(VirtioNet *s) { virtio_post_main(&s->vdev, tell_filter); }

static void link_changed(void *opaque, bool up)
{
    VirtioNetPair *p = opaque;
    VirtioNet *s = p->net;

    if (p->index) {
        return;
    }
    if (up) {
        __atomic_or_fetch(&s->status, VIRTIO_NET_S_LINK_UP, __ATOMIC_RELAXED);
    } else {
        __atomic_and_fetch(&s->status, (uint16_t)~VIRTIO_NET_S_LINK_UP, __ATOMIC_RELAXED);
    }
    virtio_notify_config(&s->vdev);
}

/* One round of announce-self: the driver is asked, unless it is being asked anyhow. */
static void nic_announce(void *opaque)
{
    VirtioNet *s = opaque;

    if (!s->announce_rounds && can_announce(s)) {
        ask_driver(s);
    }
}

typedef struct FilterQuery {
    const VirtioNet *s;
    VirtioNetFilter filter;
} FilterQuery;

static void copy_filter(void *opaque)
{
    FilterQuery *q = opaque;

    q->filter = q->s->filter;
}

static char *mac_text(uint64_t mac)
{
    uint8_t m[6];

    virtio_net_put_mac(m, mac);
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static GPtrArray *mac_list(const VirtioNetFilter *f, unsigned from, unsigned to)
{
    GPtrArray *list = g_ptr_array_new();

    for (unsigned i = to; i > from; i--) { /* QEMU's order */
        g_ptr_array_add(list, mac_text(f->macs[i - 1]));
    }
    return list;
}

static void *rx_filter(void *opaque)
{
    VirtioNet *s = opaque;
    FilterQuery q = {.s = s};
    const VirtioNetFilter *f = &q.filter;
    RxFilterInfo *info = g_new0(RxFilterInfo, 1);

    virtio_call(&s->vdev, copy_filter, &q);
    info->name = g_strdup(nic_name(s->nic));
    info->promiscuous = f->promisc;
    info->multicast = f->nomulti ? RX_STATE_NONE : f->allmulti ? RX_STATE_ALL : RX_STATE_NORMAL;
    info->unicast = f->nouni ? RX_STATE_NONE : f->alluni ? RX_STATE_ALL : RX_STATE_NORMAL;
    info->broadcast_allowed = !f->nobcast;
    info->multicast_overflow = f->multi_overflow;
    info->unicast_overflow = f->uni_overflow;
    info->main_mac = mac_text(__atomic_load_n(&s->mac, __ATOMIC_RELAXED));
    info->unicast_table = mac_list(f, 0, f->first_multi);
    info->multicast_table = mac_list(f, f->first_multi, f->in_use);
    info->vlan_table = g_array_new(false, false, sizeof(int64_t));
    for (int64_t vlan = VIRTIO_NET_VLANS - 1; vlan >= 0; vlan--) {
        if (f->vlans[vlan / 32] >> vlan % 32 & 1) {
            g_array_append_val(info->vlan_table, vlan);
        }
    }
    info->vlan = !virtio_has_feature(&s->vdev, VIRTIO_NET_F_CTRL_VLAN) ? RX_STATE_ALL
                 : info->vlan_table->len                               ? RX_STATE_NORMAL
                                                                       : RX_STATE_NONE;
    return info;
}

/* ---- realize -------------------------------------------------------------------------------------- */

static bool check_sizes(const VirtioNet *s, GError **err)
{
    const uint16_t rx = s->rx_queue_size, tx = s->tx_queue_size;

    if (rx < DEFAULT_QUEUE_SIZE || rx > VIRTQUEUE_MAX_SIZE || !is_power_of_two(rx)) {
        return error_set(err, "Invalid rx_queue_size (= %u), must be a power of 2 between %u and %u.", rx, DEFAULT_QUEUE_SIZE,
                         VIRTQUEUE_MAX_SIZE);
    }
    if (tx < DEFAULT_QUEUE_SIZE || tx > VIRTQUEUE_MAX_SIZE || !is_power_of_two(tx)) {
        return error_set(err, "Invalid tx_queue_size (= %u), must be a power of 2 between %u and %u", tx, DEFAULT_QUEUE_SIZE,
                         VIRTQUEUE_MAX_SIZE);
    }
    return true;
}

static bool check_options(const VirtioNet *s, GError **err)
{
    if (s->duplex_name && strcmp(s->duplex_name, "half") && strcmp(s->duplex_name, "full")) {
        return error_set(err, "'duplex' must be 'half' or 'full'");
    }
    if (s->speed < -1) {
        return error_set(err, "'speed' must be between 0 and INT_MAX");
    }
    if (s->tx && strcmp(s->tx, "bh") && strcmp(s->tx, "timer")) {
        return error_set(err, "tx=%s: it is 'bh' or 'timer'; leave it out, both do the same here", s->tx);
    }
    if (s->failover) {
        return error_set(err, "failover=on: standing by for another card is not supported; leave it out");
    }
    if (s->features_prop & BIT(VIRTIO_NET_F_RSC_EXT)) {
        return error_set(err, "guest_rsc_ext=on: coalescing of received segments is not supported; leave it out, tap's "
                              "offloads do the same");
    }
    if (netdev_queues(s->conf.netdev) > (VIRTIO_QUEUES_MAX - 1) / 2) {
        return error_set(err, "the netdev has %u queues, at most %u are possible", netdev_queues(s->conf.netdev),
                         (VIRTIO_QUEUES_MAX - 1) / 2);
    }
    return check_sizes(s, err);
}

static void set_features(VirtioNet *s)
{
    uint64_t *f = &s->vdev.host_features;
    const uint32_t uso = NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6;
    uint32_t able;

    if (net_peer_vnet_caps(s->pairs[0].port, &able) < VIRTIO_NET_HDR_MAX) {
        *f &= ~VNET_FEATURES;
    }
    *f &= able & NET_OFFLOAD_UFO ? ~UINT64_C(0) : ~UFO_FEATURES;
    *f &= (able & uso) == uso ? ~UINT64_C(0) : ~USO_FEATURES;
    *f = virtio_net_vhost_features(s, *f);
}

static void hold(void *opaque) { virtio_net_hold(opaque); }
static void release(void *opaque) { virtio_net_release(opaque); }
static void *pair_opaque(void *opaque, unsigned queue) { return &((VirtioNet *)opaque)->pairs[queue]; }

static const NicOps nic_operations = {
    .port = {.can_receive = virtio_net_can_receive,
             .receive = virtio_net_receive,
             .receive_many = virtio_net_receive_many,
             .lend = virtio_net_lend,
             .lent = virtio_net_lent,
             .writable = virtio_net_writable,
             .link_changed = link_changed},
    .hold = hold,
    .release = release,
    .announce = nic_announce,
    .rx_filter = rx_filter,
    .queue_opaque = pair_opaque,
};

static void make_pairs(VirtioNet *s)
{
    s->max_pairs = netdev_queues(s->conf.netdev);
    s->active = 1;
    s->pairs = g_new0(VirtioNetPair, s->max_pairs);
    for (unsigned i = 0; i < s->max_pairs; i++) {
        s->pairs[i].net = s;
        s->pairs[i].index = i;
        s->pairs[i].loop = s->vdev.loop;
    }
    /* Users know the card by its front's names. */
    s->nic = nic_new(s->vdev.dma, &s->conf, &nic_operations, s, s->max_pairs);
    nic_set_event_device(s->nic, &s->vdev.dev);
    for (unsigned i = 0; i < s->max_pairs; i++) {
        s->pairs[i].port = nic_port(s->nic, i);
    }
    s->status = nic_cable_pulled(s->nic) ? 0 : VIRTIO_NET_S_LINK_UP;
    s->mac = virtio_net_mac(s->conf.mac);
    s->filter.promisc = true;
    s->rss.table_len = 1;
    virtio_net_set_policy(s);
}

static void drop_pairs(VirtioNet *s)
{
    virtio_net_vhost_cleanup(s);
    virtio_net_drop_policies(s);
    nic_free(g_steal_pointer(&s->nic));
    g_clear_pointer(&s->pairs, g_free);
}

static bool net_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioNet *s = virtio_net(vdev);

    if (!check_options(s, err)) {
        return false;
    }
    vdev->host_features |= s->features_prop | BIT(VIRTIO_NET_F_MAC);
    vdev->host_features |= s->host_mtu ? BIT(VIRTIO_NET_F_MTU) : 0;
    vdev->host_features |= s->speed >= 0 || s->duplex_name ? BIT(VIRTIO_NET_F_SPEED_DUPLEX) : 0;
    virtio_init(vdev, config_size(vdev->host_features));
    make_pairs(s);
    timer_init(&s->announce_timer, dev->vm, CLOCK_VIRTUAL, announce_round, s);
    if (!virtio_net_vhost_init(s, err)) {
        virtio_cleanup(vdev);
        drop_pairs(s);
        return false;
    }
    set_features(s);
    for (unsigned i = 0; i < 2 * s->max_pairs + 1; i++) {
        virtio_add_queue(vdev, DEFAULT_QUEUE_SIZE, handle, sizeof(VirtElement));
    }
    virtio_reset(vdev);
    virtio_net_choose_loops(s);
    return true;
}

static void net_unrealize(Device *dev)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioNet *s = virtio_net(vdev);

    virtio_net_hold(s);
    virtio_cleanup(vdev);
    timer_cancel(&s->announce_timer);
    drop_pairs(s);
}

static void net_finalize(Object *obj) { g_free(virtio_net(virtio_device((Device *)(void *)obj))->loaded); }

/* ---- what users and managers see ---------------------------------------------------------------------- */

#define FEATURE(pname, number, on, text)                                                           \
    PROP_BIT64(pname, VirtioNet, features_prop, .bit = (number), .def = (on), .help = text)

static const Property net_props[] = {
    PROPS_NIC(VirtioNet, conf),
    FEATURE("csum", VIRTIO_NET_F_CSUM, 1, "the guest may leave checksums to the netdev"),
    FEATURE("guest_csum", VIRTIO_NET_F_GUEST_CSUM, 1, "the netdev may leave checksums to the guest"),
    FEATURE("gso", VIRTIO_NET_F_GSO, 1, "old drivers may leave segments to the netdev"),
    FEATURE("guest_tso4", VIRTIO_NET_F_GUEST_TSO4, 1, "the guest takes large TCP packets over IPv4"),
    FEATURE("guest_tso6", VIRTIO_NET_F_GUEST_TSO6, 1, "the guest takes large TCP packets over IPv6"),
    FEATURE("guest_ecn", VIRTIO_NET_F_GUEST_ECN, 1, "these may carry congestion marks"),
    FEATURE("guest_ufo", VIRTIO_NET_F_GUEST_UFO, 1, "the guest takes large UDP packets"),
    FEATURE("guest_uso4", VIRTIO_NET_F_GUEST_USO4, 0, "the guest takes bundles of UDP packets over IPv4, as QEMU 8.1's; for both or "
                                                      "neither of 4 and 6"),
    FEATURE("guest_uso6", VIRTIO_NET_F_GUEST_USO6, 0, "the same over IPv6"),
    FEATURE("guest_announce", VIRTIO_NET_F_GUEST_ANNOUNCE, 1, "the guest makes itself known where it has moved to"),
    FEATURE("host_tso4", VIRTIO_NET_F_HOST_TSO4, 1, "the guest may send large TCP packets over IPv4"),
    FEATURE("host_tso6", VIRTIO_NET_F_HOST_TSO6, 1, "the guest may send large TCP packets over IPv6"),
    FEATURE("host_ecn", VIRTIO_NET_F_HOST_ECN, 1, "these may carry congestion marks"),
    FEATURE("host_ufo", VIRTIO_NET_F_HOST_UFO, 1, "the guest may send large UDP packets"),
    FEATURE("host_uso", VIRTIO_NET_F_HOST_USO, 0, "the guest may send bundles of UDP packets, as with QEMU 8.1"),
    FEATURE("mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF, 1, "packets may take several receive buffers"),
    FEATURE("status", VIRTIO_NET_F_STATUS, 1, "the guest sees whether the link is up"),
    FEATURE("ctrl_vq", VIRTIO_NET_F_CTRL_VQ, 1, "offer the control queue"),
    FEATURE("ctrl_rx", VIRTIO_NET_F_CTRL_RX, 1, "the guest may choose what comes in"),
    FEATURE("ctrl_vlan", VIRTIO_NET_F_CTRL_VLAN, 1, "the guest may choose VLANs"),
    FEATURE("ctrl_rx_extra", VIRTIO_NET_F_CTRL_RX_EXTRA, 1, "more modes of what comes in"),
    FEATURE("ctrl_mac_addr", VIRTIO_NET_F_CTRL_MAC_ADDR, 1, "the guest may change its address by the control queue"),
    FEATURE("ctrl_guest_offloads", VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, 1, "the guest may switch its offloads"),
    FEATURE("mq", VIRTIO_NET_F_MQ, 0, "offer as many pairs of queues as the netdev has"),
    FEATURE("rss", VIRTIO_NET_F_RSS, 0, "the guest may choose queues by hashes"),
    FEATURE("hash", VIRTIO_NET_F_HASH_REPORT, 0, "the guest sees hashes of packets"),
    FEATURE("guest_rsc_ext", VIRTIO_NET_F_RSC_EXT, 0, "not supported"),
    PROP_U32("rsc_interval", VirtioNet, rsc_interval, .def = 300000, .help = "no effect: belongs to guest_rsc_ext"),
    PROP_U32("x-txtimer", VirtioNet, tx_timer, .def = 150000, .help = "no effect: packets are sent at once"),
    PROP_I32("x-txburst", VirtioNet, tx_burst, .def = 256, .help = "no effect: packets are sent in batches of 64"),
    PROP_STRING("tx", VirtioNet, tx, .help = "bh or timer; no effect: packets are sent at once"),
    PROP_U16("rx_queue_size", VirtioNet, rx_queue_size, .def = DEFAULT_QUEUE_SIZE, .help = "descriptors, a power of two from 256"),
    PROP_U16("tx_queue_size", VirtioNet, tx_queue_size, .def = DEFAULT_QUEUE_SIZE,
             .help = "no effect: it is 256, as QEMU's without vhost-user"),
    PROP_U16("host_mtu", VirtioNet, host_mtu, .help = "largest packet to be sent, told to the guest; 0: not told"),
    PROP_BOOL("x-mtu-bypass-backend", VirtioNet, mtu_bypass, .def = 1, .help = "no effect: the netdev is not asked"),
    PROP_I32("speed", VirtioNet, speed, .def = (uint64_t)-1, .min = (uint64_t)INT32_MIN, .max = INT32_MAX,
             .help = "Mbit/s, told to the guest; -1: not told"),
    PROP_STRING("duplex", VirtioNet, duplex_name, .help = "half or full, told to the guest"),
    PROP_BOOL("failover", VirtioNet, failover, .help = "not supported"),
    {}};

static const StateField net_fields[] = {STATE_VIRTIO(VirtioNet, vdev), {}};
static const StateDesc net_state_table = {
    .name = "virtio-net", .version = 11, .min_version = 11, .fields = net_fields, .post_load = virtio_post_load};

static const VirtioOps net_virtio_ops = {
    .device_id = VIRTIO_ID_NET,
    .legacy_features = BIT(VIRTIO_NET_F_GSO),
    .get_config = get_config,
    .set_config = set_config,
    .features_set = features_set,
    .count_queues = count_queues,
    .start = net_start,
    .started = started,
    .call_fds_changed = virtio_net_vhost_call_fds_changed,
    .quiesce = quiesce,
    .reset = net_reset,
    .save = virtio_net_save,
    .load = virtio_net_load,
    .check_loaded = virtio_net_check_loaded,
    .take_loaded = virtio_net_take_loaded,
};

DEVICE_TYPE(virtio_net_device) = {
    .name = "virtio-net-device",
    .parent = "virtio-device",
    .size = sizeof(VirtioNet),
    .category = "network",
    .props = net_props,
    .state = &net_state_table,
    .ops = &net_virtio_ops,
    .realize = net_realize,
    .unrealize = net_unrealize,
    .finalize = net_finalize,
};

/* ---- on PCI ------------------------------------------------------------------------------------------ */

/* One for each queue that there may be, and one for the configuration. */
static unsigned pci_vectors(const VirtioPci *pci) { return MIN(pci->vdev->n_added + 1, (unsigned)MSIX_MAX_VECTORS); }

VIRTIO_PCI_TYPES_ROM(virtio_net_pci, "virtio-net", 0x1000, VIRTIO_ID_NET, PCI_CLASS_NETWORK_ETHERNET, "Virtio network card",
                     "network", NULL, pci_vectors, NULL, "efi-virtio.rom")
