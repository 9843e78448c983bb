/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Networks as devices and monitors see them.
 *
 *   guest's card          link           back end (-netdev)
 *   Nic  port 0  <------------------->  port 0  Netdev        one pair of ports a queue
 *        port 1  <------------------->  port 1
 *                 filters stand here
 *
 * A NetPort is one end of a link. net_send(port) hands a packet to the port at the other end: at
 * once, if that one takes packets now and nobody up the stack is in the middle of one, else through
 * its queue. So
 *   - a port's receive is never entered twice, and never by a port that is itself inside its
 * receive: what answers a packet (user networking does) waits in the queue and is delivered from
 * the loop, never from inside the sender's call;
 *   - queues are bounded: NET_FULL means that the packet was not taken; the sender drops it, or
 * keeps it until its writable operation is called;
 *   - the memory of a packet is the sender's and is not touched after the call: what is queued is
 * copied.
 *
 * Threads. A link belongs to one loop, at first the main loop (VM lock). Everything about its ports
 * is done by that loop's thread, and none of it takes the VM lock. A card with queues in an
 * iothread moves its links there: net_detach() in the old loop's thread, then net_attach() in the
 * new one's, which it can reach by loop_post; packets sent in between wait in the queue. Back ends
 * that net_is_movable() refuses stay in the main loop (hubs, those with filters, user networks with
 * guestfwd to a character device); the card's port leaves it nevertheless, behind a relay
 * (net_relay_begin): then either thread has a link of its own.
 * Whatever changes a card's links from outside (set_link, netdev_del, hostfwd_add, a new filter) or
 * asks a back end for more than info network tells runs in the main thread between the card's hold
 * and release operations.
 *
 * Packets begin with the Ethernet header, without checksum. Where both ends agreed on one
 * (net_set_vnet_hdr_len), a struct virtio_net_hdr (Virtual I/O Device 1.2, 5.1.6) of that many
 * bytes stands before it, in little-endian order, and offloads (checksums and segments left to the
 * other side) may be asked for. Without it packets are complete; receivers drop what is too long
 * for them.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <sys/uio.h>

#include "core/vm.h"
#include "qapi/qapi-net.h"
#include "util/iov.h"

#define NET_MAX_PACKET                                                                             \
    (68 * 1024) /* bytes of a packet, its vnet header included; longer ones are dropped */
#define NET_MAX_QUEUES 1024

typedef struct NetPort NetPort;
typedef struct Nic Nic;
typedef struct Netdev Netdev;

typedef struct NetPacket {
    const struct iovec *iov;
    unsigned count;
    size_t size;                    /* of all parts */
} NetPacket;

typedef enum NetResult {
    NET_SENT,                       /* delivered, queued or lost: the sender is done with it */
    NET_FULL,                       /* not taken; writable is called when there is room */
} NetResult;

/* How the kernel may move a link's packets (vhost-net). */
typedef struct NetVhost {
    int fd;                         /* of /dev/vhost-net, owned by this process (VHOST_SET_OWNER); the netdev's */
    unsigned poll_us;               /* how long the kernel looks before it sleeps; 0: not at all */
} NetVhost;

/* Called in the link's loop. opaque is what the port was made with. */
typedef struct NetPortOps {
    /* Would receive take a packet now? NULL: always. When the answer becomes yes: net_port_ready.
     */
    bool (*can_receive)(void *opaque);
    /* Takes the packet, or drops it; it is the sender's memory. False: it cannot be taken now after
     * all, and comes again after net_port_ready. */
    bool (*receive)(void *opaque, const NetPacket *packet);
    /* As receive, for n packets in a row; returns how many were dealt with. NULL: one after the
     * other. */
    unsigned (*receive_many)(void *opaque, const NetPacket *packets, unsigned n);
    /* For a back end that writes the next packet to where it belongs: memory for it, at most max pieces; how many. What is
     * longer comes by receive. 0: this one does, too. NULL: all do. It is lent until the next call of any operation. */
    unsigned (*lend)(void *opaque, struct iovec *iov, unsigned max);
    /* A packet of size bytes has been written to the memory that was lent last. */
    void (*lent)(void *opaque, const struct iovec *iov, unsigned count, size_t size);
    /* After NET_FULL, or net_can_send said no: there is room again. May be NULL. */
    void (*writable)(void *opaque);
    /* This side's link is up or down now, or the other side came (up) or went (down). May be NULL.
     */
    void (*link_changed)(void *opaque, bool up);

    /* ---- back ends only ---- */
    /* Longest vnet header this port understands besides 0, and the offloads it can do
     * (NET_OFFLOAD_*). NULL: neither. */
    unsigned (*vnet_caps)(void *opaque, uint32_t *offloads);
    /* From now on packets to and from this port have a header of len bytes (0: none), and these
     * offloads may be used in packets from this port. */
    void (*set_vnet)(void *opaque, unsigned len, uint32_t offloads);
    /* Of several queues: the card does (not) use this one; what would come in by it takes another.
     * NULL: cannot be said. */
    void (*set_active)(void *opaque, bool active);
    /* Stops, and starts in another loop, to watch descriptors and timers. NULL: this port stays in
     * the main loop. */
    void (*detach)(void *opaque);
    void (*attach)(void *opaque, Loop *loop);
    /* vhost: the descriptor that carries the packets, e.g. a tap's; -1: none. NULL: none. */
    int (*fd)(void *opaque);
    /* As net_peer_vhost. NULL: false. */
    bool (*vhost)(void *opaque, NetVhost *vhost);
    /* As net_set_kernel. With vhost only. */
    void (*set_kernel)(void *opaque, bool on);
} NetPortOps;

/* ---- sending ----------------------------------------------------------------------------------
 */

/* Any port, in the link's loop. A packet to nobody, or over a link that is down, is lost: NET_SENT.
 */
NetResult net_send(NetPort *from, const NetPacket *packet);
/* n packets in order: how many were taken. Fewer than n: the next one would be NET_FULL. Back ends
 * that can do so send them with one system call. */
unsigned net_send_many(NetPort *from, const NetPacket *packets, unsigned n);
/* As net_send_many, for a sender that can keep what is left (a card in its ring, a back end in the
 * kernel): nothing is queued, which means copied, because the other end takes no more. */
unsigned net_send_now(NetPort *from, const NetPacket *packets, unsigned n);
/* As net_send of one buffer. */
NetResult net_send_buf(NetPort *from, const void *data, size_t size);
/* Would net_send take a packet (or lose it) now? When not, writable is called later. */
bool net_can_send(NetPort *from);
/* can_receive says yes again: what is queued comes from the loop, not from inside this call. */
void net_port_ready(NetPort *port);
/* What is queued for this port is dropped (the card was reset). */
void net_port_purge(NetPort *port);
/* Is there a port at the other end, and is neither end's link down? */
bool net_link_is_up(const NetPort *port);

/* ---- vnet headers and offloads ------------------------------------------------------------------
 */

#define NET_OFFLOAD_CSUM 1u     /* TCP and UDP checksums may be partial */
#define NET_OFFLOAD_TSO4 2u
#define NET_OFFLOAD_TSO6 4u
#define NET_OFFLOAD_ECN 8u
#define NET_OFFLOAD_UFO 16u     /* UDP, to become fragments */
#define NET_OFFLOAD_USO4 32u    /* several UDP packets of one flow in one, to become packets again */
#define NET_OFFLOAD_USO6 64u

/* What the other end of a card's port can do: the longest header (0: none) and offloads. All queues
 * are alike. */
unsigned net_peer_vnet_caps(NetPort *port, uint32_t *offloads);
/*
 * The card's choice for this link: a header of len bytes (0, 10, 12 or 20) and the offloads that
 * the card takes in packets that come to it; what it may use in packets it sends is what
 * net_peer_vnet_caps said. False, and nothing changed: the other end cannot do it. A new card
 * starts with 0 and none.
 */
bool net_set_vnet(NetPort *port, unsigned len, uint32_t offloads);
unsigned net_vnet_hdr_len(const NetPort *port);
/* A card with several queues uses this one, or not now. At first all are used. */
void net_set_active(NetPort *port, bool active);

/* ---- loops ------------------------------------------------------------------------------- */

/* Can this card's link leave the main loop now as it is? */
bool net_is_movable(const NetPort *port);
/* It cannot: from now on a relay stands between the two ends (net/relay.c), and what leaves is the link between card and
 * relay. The card's port is in the main loop, VM lock, and nothing is sent or received meanwhile. */
void net_relay_begin(NetPort *card);
/* It goes, if there is one; what was on its way in it is delivered or queued. As net_relay_begin. */
void net_relay_end(NetPort *card);
/* What the card has sent so far goes to the back end now, if that takes it. VM lock; the card sends nothing meanwhile. */
void net_relay_flush(NetPort *card);
void net_detach(NetPort *port);
void net_attach(NetPort *port, Loop *loop);
/* The loop the link belongs to. */
Loop *net_port_loop(const NetPort *port);
/* See NetPortOps.fd. */
int net_peer_fd(const NetPort *port);
/* Can the kernel move the packets between the other end's descriptor and a card's rings? */
bool net_peer_vhost(const NetPort *port, NetVhost *vhost);
/* The kernel does it from now on (no longer): the other end takes nothing from its descriptor meanwhile. Main loop. */
void net_set_kernel(NetPort *port, bool on);

/* ---- cards ------------------------------------------------------------------------------- */

/* What users say of a card: the properties "mac", "netdev" and "bootindex" of its type. Embedded in
 * the device. */
typedef struct NicConf {
    uint8_t mac[6];             /* zero: nic_new assigns 52:54:00:12:34:56 and up */
    Netdev *netdev;             /* claimed; NULL: plugged into nothing */
    int32_t bootindex;          /* -1: none */
} NicConf;

extern const PropKind prop_kind_netdev;
#define PROP_NETDEV(n, st, f, ...) PROP_ANY(n, &prop_kind_netdev, st, f, ##__VA_ARGS__)
#define PROPS_NIC(st, conf)                                                                        \
    PROP_ANY("mac", &prop_kind_mac, st, conf.mac,                                                  \
             .help = "Ethernet address (52:54:00:12:34:56); default: the next free"),              \
        PROP_NETDEV("netdev", st, conf.netdev, .help = "id of the -netdev it is plugged into"),    \
        PROP_I32("bootindex", st, conf.bootindex, .def = (uint64_t)-1, .min = (uint64_t)-1,        \
                 .max = INT32_MAX, .help = "place in the boot order; -1: none")

typedef struct NicOps {
    NetPortOps port;            /* opaque: the pointer given to nic_new */
    /* Cards with queues in iothreads: bring all links to the main loop and keep them there until
     * release. Nested calls happen. NULL: the links are always there. */
    void (*hold)(void *opaque);
    void (*release)(void *opaque);
    /* announce-self: the card asks its driver to make itself known too. NULL: it cannot. */
    void (*announce)(void *opaque);
    /* query-rx-filter: a new RxFilterInfo. NULL: the card has no such filter. */
    void *(*rx_filter)(void *opaque);
    /* The opaque of one queue's port operations. NULL: opaque, for all. */
    void *(*queue_opaque)(void *opaque, unsigned queue);
} NicOps;

/*
 * The card of a device being realized: its ports are connected to those of conf->netdev. n_queues:
 * how many ports it wants (1 for most); those beyond the netdev's are plugged into nothing. Names:
 * the device's id, else model.N. Sets conf->mac when it is zero. Never fails. Main thread.
 */
Nic *nic_new(Device *dev, NicConf *conf, const NicOps *ops, void *opaque, unsigned n_queues);
/* NULL is fine. The netdev can be used by another card then. */
void nic_free(Nic *nic);
unsigned nic_queues(const Nic *nic);
NetPort *nic_port(Nic *nic, unsigned queue);
/* The device's id, or model.N. */
const char *nic_name(const Nic *nic);
/* The guest changed its address: shown by info network. */
void nic_set_mac(Nic *nic, const uint8_t mac[6]);
const uint8_t *nic_mac(const Nic *nic);
/* set_link off was said of it or its netdev. */
bool nic_cable_pulled(const Nic *nic);
/* A loaded state knows whether the cable is plugged in. Nobody is told. */
void nic_set_cable(Nic *nic, bool plugged);
/* Ports that the peer has: what max queues a card with mq=on can offer. 1 for no netdev. */
unsigned netdev_queues(const Netdev *netdev);
/* NIC_RX_FILTER_CHANGED names this device; default: the one given to nic_new. */
void nic_set_event_device(Nic *nic, Device *dev);
/* Emits NIC_RX_FILTER_CHANGED once, until somebody asks query-rx-filter. Main thread. */
void nic_rx_filter_changed(Nic *nic);

/* ---- what options and monitors do; main thread ------------------------------------------- */

/* -netdev: key=value or JSON. */
bool netdev_add_option(Vm *vm, const char *text, GError **err);
/* Checks -netdev's text and gives its id (the caller frees); nothing is opened. NULL with *err. */
char *netdev_check_option(const char *text, GError **err);
bool netdev_add(Vm *vm, const NetdevOptions *options, GError **err);
/* Reads -netdev's text without checking the id. The caller frees with qapi_free. NULL with *err. */
NetdevOptions *netdev_read_option(const char *text, GError **err);
/* err (NULL: it went well) is the callee's. */
typedef void NetdevAddedFn(void *opaque, GError *err);
/* As netdev_add, for a machine that runs: a thread looks names of hosts up, and added runs once, then or at once, at the
 * latest in net_cleanup. options is copied. */
void netdev_add_later(Vm *vm, const NetdevOptions *options, NetdevAddedFn *added, void *opaque);
/* How names of descriptors become numbers while a monitor's command runs. fn NULL: they are
 * numbers. */
typedef int NetFdFn(void *opaque, const char *name, GError **err);
void net_set_fd_source(Vm *vm, NetFdFn *fn, void *opaque);
/* Takes an inherited or passed descriptor, for a netdev or a device beside one: its number, or a
 * name given to the monitor by getfd. -1 with *err. */
int net_take_fd(Vm *vm, const char *text, GError **err);
bool netdev_del(Vm *vm, const char *id, GError **err);
/* "Available netdev backend types:" and the list. */
void netdev_help(void);
/* The link of a card or netdev by this name goes up or down. */
bool net_set_link(Vm *vm, const char *name, bool up, GError **err);
/* announce-self. A running one of the same id ends. */
void net_announce(Vm *vm, const AnnounceParameters *how);
/* What info network prints. */
void net_print(Vm *vm, GString *out);
/* hostfwd_add, hostfwd_remove: id NULL: the only (first) user network. rule:
 * "tcp:host:port-guest:port". */
bool net_hostfwd(Vm *vm, const char *id, const char *rule, bool add, GError **err);
/* info usernet. */
void net_print_connections(Vm *vm, GString *out);
/* Calls fn with each card, in order of making. */
void nic_foreach(Vm *vm, void (*fn)(Nic *nic, void *opaque), void *opaque);
const NicOps *nic_ops(const Nic *nic, void **opaque);
/* query-rx-filter was asked: changes are told again. */
void nic_rx_filter_asked(Nic *nic);
/* Calls fn with the name of each netdev and card: for completion. */
void net_foreach_name(Vm *vm, bool cards, void (*fn)(const char *name, void *opaque), void *opaque);
/* Closes all netdevs; the devices have gone. */
void net_cleanup(Vm *vm);

/* ---- -nic and -net: net/legacy.c --------------------------------------------------------- */

/* One card that the board is to make. */
typedef struct NicRequest {
    char *model;                /* NULL: the board's default */
    char *netdev;               /* id; NULL: plugged into nothing */
    char *mac, *addr;           /* as written; NULL: default */
    int64_t vectors;            /* -1: not given */
    char *option;               /* what asked for it, for messages */
    bool taken;
} NicRequest;

/* -nic and -net, in the order of the line. *helped: a list was printed. option: "-nic" or "-net".
 */
bool net_add_legacy(Vm *vm, const char *option, const char *text, GError **err);
/* Checks only. */
bool net_check_legacy(const char *option, const char *text, GError **err);
/* The list of models was asked for. */
bool net_legacy_wants_help(const char *option, const char *text);
/* The cards that the board is to make, in order; NULL after the last. */
NicRequest *net_next_nic_request(Vm *vm);

#endif
