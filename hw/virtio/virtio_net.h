/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net (Virtual I/O Device 1.2, 5.1): between virtio_net_device.c (properties, configuration, life), virtio_net.c
 * (packets), virtio_net_ctrl.c (the control queue), virtio_net_rss.c (hashes), virtio_net_threads.c (which thread has
 * which pair), virtio_net_vhost.c (packets that the kernel moves) and virtio_net_state.c.
 *
 *   queue 0  receive  \ pair 0 --- port 0 of the netdev        control queue: the last one, behind all pairs with MQ or
 *   queue 1  transmit /                                         RSS, else queue 2
 *   queue 2  receive  \ pair 1 --- port 1
 *   queue 3  transmit /
 *
 * A packet in a buffer is behind a header of 10 (old drivers), 12 or 20 bytes (with a hash). Where the netdev has such
 * headers, too (tap with IFF_VNET_HDR), they go through as they are, and the offloads that they describe; elsewhere none
 * are offered, and headers are taken off and put on here.
 *
 * Threads. A pair of queues and its link belong to one loop (pair.loop), that of an iothread of Kiln's own. A netdev that
 * cannot move there is behind a relay (net/relay.c). With vhost it is the main loop. Pairs have several iothreads if the driver may use several (mq=on) and no hash leads
 * from one to another (rss=off); else one has all. The control queue is in vdev.loop, the first pair's.
 *
 * What commands decide is vdev.loop's while queues run and the main thread's while they stand still ("control" below). Pairs
 * do not look there: each works by a policy, a copy that nobody changes. A new one waits in pair.next until the pair's loop
 * takes it; if a newer one comes first, that one is taken. So a command has its effect in other threads soon after it was
 * answered, as with a real card, and at most one message is on its way to each pair, whatever the driver does. What is
 * marked "loop" is the pair's; others reach it by virtio_net_each_pair.
 *
 * Packets wait in one of three places: in the transmit ring, while the link is full (the queue is paused until the link is
 * writable; at most TX_BATCH buffers are held); in the netdev (socket, kernel), while the receive ring is empty (the port
 * is not ready until the driver adds buffers); in the bounded queue of the port, what was in between.
 */
#ifndef HW_VIRTIO_VIRTIO_NET_H
#define HW_VIRTIO_VIRTIO_NET_H

#include <linux/virtio_net.h>

#include "core/clock.h"
#include "hw/virtio/virtio.h"
#include "net/net.h"

#ifndef VIRTIO_NET_F_HOST_USO /* Linux 6.2 */
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif

#define VIRTIO_NET_MACS 64            /* addresses that the filter can hold */
#define VIRTIO_NET_VLANS 4096
#define VIRTIO_NET_HDR_MAX 20
#define VIRTIO_NET_TX_BATCH 64
#define VIRTIO_NET_RSS_KEY 40
#define VIRTIO_NET_RSS_TABLE 128
#define VIRTIO_NET_HASH_TYPES 0x1ff
#define VIRTIO_NET_CTRL_QUEUE_SIZE 64
/* Features that stand for offloads of packets to the guest. */
#define VIRTIO_NET_GUEST_OFFLOADS                                                                  \
    (UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |              \
     UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 | UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN |               \
     UINT64_C(1) << VIRTIO_NET_F_GUEST_UFO | UINT64_C(1) << VIRTIO_NET_F_GUEST_USO4 |               \
     UINT64_C(1) << VIRTIO_NET_F_GUEST_USO6)

typedef struct VirtioNet VirtioNet;

/* A receive and a transmit queue. */
typedef struct VirtioNetPair {
    VirtioNet *net;
    unsigned index;
    NetPort *port;
    Loop *loop;                       /* changed by the main thread, stopped */
    Loop *own_loop;                   /* an iothread's; NULL: none needed so far */
    struct VirtioNetPolicy *next;     /* atomic; NULL: policy is the newest */
    /* ---- loop ---- */
    const struct VirtioNetPolicy *policy;
    bool live;                        /* queues run */
    bool starved;                     /* the receive queue has too few buffers */
    VirtElement *kept[VIRTIO_NET_TX_BATCH]; /* popped, [kept_pos, kept_count) not yet taken by the link */
    NetPacket packets[VIRTIO_NET_TX_BATCH]; /* of kept */
    unsigned kept_pos, kept_count;
    VirtElement *found[VIRTQUEUE_MAX_SIZE]; /* popped, for the next packet, which may need more of them */
    unsigned found_count;
    size_t lend_size, size_seen;      /* bytes to lend for a packet; the longest of the last few ... */
    unsigned sizes;                   /* ... and how many they were */
    size_t unflushed;                 /* bytes lent and pushed */
} VirtioNetPair;

/* What comes in. */
typedef struct VirtioNetFilter {
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    bool multi_overflow, uni_overflow; /* the driver's table was too long: all of that kind come in */
    unsigned in_use, first_multi;     /* macs: single addresses, then groups */
    uint64_t macs[VIRTIO_NET_MACS];   /* as mac */
    uint32_t vlans[VIRTIO_NET_VLANS / 32];
} VirtioNetFilter;

typedef struct VirtioNetRss {
    bool enabled;                     /* hashes are computed ... */
    bool redirect;                    /* ... to choose the queue */
    bool populate_hash;               /* ... to tell the driver */
    uint32_t hash_types;              /* VIRTIO_NET_RSS_HASH_TYPE_* */
    uint16_t table_len, default_queue; /* table_len: a power of two */
    uint8_t key[VIRTIO_NET_RSS_KEY];
    uint16_t table[VIRTIO_NET_RSS_TABLE]; /* pairs */
} VirtioNetRss;

/* What the driver decided by commands, for one pair or several. */
typedef struct VirtioNetPolicy {
    int refs;                         /* atomic */
    unsigned active;                  /* pairs that the driver uses */
    unsigned vnet;                    /* VirtioNet.vnet then */
    uint64_t offloads;                /* of VIRTIO_NET_GUEST_OFFLOADS */
    VirtioNetFilter filter;
    VirtioNetRss rss;
} VirtioNetPolicy;

/* "virtio-net-device" */
struct VirtioNet {
    VirtioDevice vdev;
    NicConf conf;                     /* properties mac, netdev, bootindex */
    Nic *nic;
    VirtioNetPair *pairs;             /* max_pairs */
    unsigned max_pairs;
    unsigned held;                    /* NicOps.hold; main thread */
    struct VirtioNetVhost *vhost;     /* max_pairs; NULL: the netdev has no vhost; VM lock, as the next two */
    bool in_kernel;                   /* the kernel serves the pairs now */
    bool warned;                      /* that it would not */
    Timer announce_timer;             /* rounds left: the driver is asked to make itself known; main thread */
    unsigned announce_rounds;
    uint16_t status;                  /* VIRTIO_NET_S_*; atomic */
    uint64_t mac;                     /* 6 bytes, the first one lowest; atomic */
    bool tx_waiting;                  /* of a loaded state, until the first pair sends packets; that one's */
    /* ---- the main thread's; pairs that are live read it ---- */
    unsigned hdr_len;
    bool mergeable;
    /* ---- control: what the next policy will have ---- */
    unsigned active;
    unsigned vnet;                    /* counts: header or offloads changed */
    uint64_t offloads;
    VirtioNetFilter filter;
    VirtioNetRss rss;
    VirtElement *command;             /* done, but waiting for pairs elsewhere is not; no other one is taken meanwhile */
    unsigned awaited;                 /* pairs that have not taken its policy; atomic */
    struct VirtioNetLoaded *loaded;   /* virtio_net_state.c */
    /* ---- properties ---- */
    uint64_t features_prop;
    char *tx, *duplex_name;
    uint16_t rx_queue_size, tx_queue_size, host_mtu;
    int32_t speed, tx_burst;
    uint32_t tx_timer, rsc_interval;
    bool failover, mtu_bypass;
};

static inline VirtioNet *virtio_net(VirtioDevice *vdev) { return container_of(vdev, VirtioNet, vdev); }
static inline VirtQueue *virtio_net_rx(const VirtioNetPair *p) { return virtio_queue(&p->net->vdev, 2 * p->index); }
static inline VirtQueue *virtio_net_tx(const VirtioNetPair *p) { return virtio_queue(&p->net->vdev, 2 * p->index + 1); }
static inline bool virtio_net_has_pairs(uint64_t features)
{
    return features & (UINT64_C(1) << VIRTIO_NET_F_MQ | UINT64_C(1) << VIRTIO_NET_F_RSS);
}
static inline uint64_t virtio_net_mac(const uint8_t bytes[6])
{
    return load32_le(bytes) | (uint64_t)load16_le(bytes + 4) << 32;
}
static inline void virtio_net_put_mac(uint8_t bytes[6], uint64_t mac)
{
    store32_le(bytes, (uint32_t)mac);
    store16_le(bytes + 4, (uint16_t)(mac >> 32));
}

/* ---- virtio_net.c; loop ---- */
/* Does the filter let a packet in that begins with these bytes? len: at least 14. */
bool virtio_net_wants(const VirtioNetPair *p, const uint8_t *head, size_t len);
void virtio_net_handle_rx(VirtioNetPair *p);
void virtio_net_handle_tx(VirtioNetPair *p);
/* Buffers that the link has not taken, or no packet has filled, go back into the ring. */
void virtio_net_unpop_tx(VirtioNetPair *p);
void virtio_net_unpop_rx(VirtioNetPair *p);
bool virtio_net_can_receive(void *pair);
bool virtio_net_receive(void *pair, const NetPacket *packet);
unsigned virtio_net_receive_many(void *pair, const NetPacket *packets, unsigned n);
unsigned virtio_net_lend(void *pair, struct iovec *iov, unsigned max);
void virtio_net_lent(void *pair, const struct iovec *iov, unsigned count, size_t size);
void virtio_net_writable(void *pair);

/* ---- virtio_net_ctrl.c ---- */
/* In vdev.loop. */
void virtio_net_handle_ctrl(VirtioNet *s, VirtQueue *vq);
/* Each pair has the policy of the command that waits for that; none may wait. In vdev.loop. */
void virtio_net_end_command(VirtioNet *s);
/* In the pair's loop: the netdev may leave these to the guest. */
void virtio_net_apply_offloads(VirtioNetPair *p, uint64_t guest_offloads);

/* ---- virtio_net_threads.c ---- */
/* Runs fn(pair) for each pair in its loop, and waits. VM lock. */
void virtio_net_each_pair(VirtioNet *s, void (*fn)(VirtioNetPair *p));
/* A command changed something. True: all pairs have the new policy. False: some will soon; virtio_net_end_command is called
 * then. In vdev.loop, not while it waits for such a call. */
bool virtio_net_publish(VirtioNet *s);
/* No pair is awaited any more, and virtio_net_end_command has been called. VM lock; the control queue takes no commands. */
void virtio_net_settle(VirtioNet *s);
/* All pairs have a new policy. VM lock, stopped. */
void virtio_net_set_policy(VirtioNet *s);
/* In the pair's loop: the newest policy, if there is one that the pair has not got. */
void virtio_net_take_policy(VirtioNetPair *p);
/* The pairs go away. */
void virtio_net_drop_policies(VirtioNet *s);
/* Puts queues and links where they belong, and says so to virtio.c; the driver's features are known anew. VM lock, stopped. */
void virtio_net_assign_queues(VirtioNet *s);
/* Threads for all pairs, unless somebody holds them, or vhost will say. VM lock. */
void virtio_net_choose_loops(VirtioNet *s);
/* In VirtioOps.start: all pairs to their own threads, or to the main loop. VM lock. */
void virtio_net_place(VirtioNet *s, bool own);
/* All pairs to the main loop, and back. VM lock. */
void virtio_net_hold(VirtioNet *s);
void virtio_net_release(VirtioNet *s);

/* ---- virtio_net_device.c ---- */
/* The guest's address or filters changed, the announcement was acknowledged. Any thread. */
void virtio_net_mac_changed(VirtioNet *s);
void virtio_net_filter_changed(VirtioNet *s);
void virtio_net_announced(VirtioNet *s);
/* Asks the driver to make itself known, now and in later rounds. VM lock. */
void virtio_net_announce(VirtioNet *s);

/* ---- virtio_net_vhost.c; VM lock ---- */
/* The pairs have their ports. False: the kernel refuses what this device wants. */
bool virtio_net_vhost_init(VirtioNet *s, GError **err);
/* Stopped. */
void virtio_net_vhost_cleanup(VirtioNet *s);
/* Of these features, those that may be offered. */
uint64_t virtio_net_vhost_features(const VirtioNet *s, uint64_t features);
/* Queues start or stop; in_kernel says who has the pairs from start to stop. */
void virtio_net_vhost_start(VirtioNet *s);
void virtio_net_vhost_stop(VirtioNet *s);
void virtio_net_vhost_call_fds_changed(VirtioDevice *vdev);
/* NicOps.hold and release, s->held being counted. */
void virtio_net_vhost_hold(VirtioNet *s);
void virtio_net_vhost_release(VirtioNet *s);

/* ---- virtio_net_rss.c ---- */
/* Hash of the packet that begins with these bytes. 0 (VIRTIO_NET_HASH_REPORT_NONE) in *report: none of the types. */
uint32_t virtio_net_hash(const VirtioNetRss *rss, const uint8_t *head, size_t len, uint16_t *report);

/* ---- virtio_net_state.c ---- */
void virtio_net_save(VirtioDevice *vdev, StateBuf *buf);
bool virtio_net_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err);
bool virtio_net_check_loaded(const VirtioDevice *vdev, uint64_t features, GError **err);
void virtio_net_take_loaded(VirtioDevice *vdev);

#endif
