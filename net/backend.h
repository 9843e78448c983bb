/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between net/'s core, its back ends and its filters.
 *
 * A back end is a type "netdev-NAME" with parent "netdev" and ops = NetdevOps; its options are the
 * branch NAME of the schema's NetdevOptions (qapi/schema/net.qapi). It makes its ports in open. A
 * new one is a file here, a branch in the schema and a line in meson.build; libraries make it a
 * module.
 */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include "net/net.h"
#include "util/lock.h"
#include "util/lookup.h"

#define NET_QUEUE_PACKETS 512           /* waiting for one port */
#define NET_QUEUE_BYTES (4 * MIB)
#define NET_BATCH 64                    /* packets that receive_many gets at most */

typedef struct NetFilter NetFilter;
typedef struct NetRelay NetRelay;
typedef struct NetState NetState;

/* All in the main thread, while the card, if there is one, is held. */
typedef struct NetdevOps {
    /* Makes the ports. After a failure close is called. */
    bool (*open)(Netdev *netdev, const NetdevOptions *options, GError **err);
    /* Releases everything but the ports. */
    void (*close)(Netdev *netdev);
    bool (*hostfwd)(Netdev *netdev, const char *rule, bool add, GError **err);
    char *(*connections)(Netdev *netdev);   /* the caller frees */
} NetdevOps;

struct Netdev {
    Object obj;                         /* in no tree, as in QEMU */
    const NetdevOps *ops;
    char *id;
    GPtrArray *ports;                   /* NetPort * */
    Nic *nic;                           /* who is plugged in; NULL: nobody */
    bool claimed;                       /* by a device that is not realized yet, or by a hub */
    GPtrArray *filters;                 /* NetFilter *, in order; borrowed */
    Lock info_lock;
    char *info;                         /* behind "type=NAME," in info network; of a hub only the main thread's */
    bool hidden_hub;                    /* made by -net */
};

typedef struct NetQueued {
    size_t size;
    uint8_t data[];
} NetQueued;

struct NetPort {
    const NetPortOps *ops;
    void *opaque;
    Vm *vm;
    Loop *loop;
    NetPort *peer;                      /* NULL: nobody */
    Netdev *netdev;                     /* one of these two is set ... */
    Nic *nic;
    NetRelay *relay;                    /* ... or this: it is one of a relay's (net/relay.c) */
    unsigned index;
    bool link_down;
    bool receiving;                     /* its receive is on the stack */
    bool detached;                      /* between net_detach and net_attach */
    bool want_room;                     /* its writable is due when the peer's queue has room */
    unsigned vnet_len;                  /* of the link; equal at both ends */
    struct NetFlush *flush;             /* posted to loop; NULL: none */
    GQueue queue;                       /* NetQueued *: packets to this port */
    size_t queue_bytes;
};

struct NetState {
    GPtrArray *netdevs;                 /* Netdev *, references */
    GPtrArray *nics;                    /* Nic *, in order of making */
    GPtrArray *requests;                /* NicRequest * */
    GHashTable *models; /* char * -> number of the next card of that model, for names */
    bool mac_used[256];                 /* last bytes of 52:54:00:12:34:xx */
    bool stopped;                       /* the VM does not run: cards get nothing */
    GPtrArray *announcements;           /* net/announce.c: that go on */
    unsigned implicit;                  /* netdevs that -net and -nic made */
    NetFdFn *take_fd;                   /* NULL: descriptors are numbers */
    void *take_fd_opaque;
    GPtrArray *waiting;                 /* HostWait *: of back ends whose names are looked up */
    const HostNames *names;             /* that were looked up for the one that is being made; NULL: none */
};

NetState *net_state(Vm *vm);
/* It stays as long as the program runs; tests that look for leaks free a VM's after vm_free. NULL: nothing. */
void net_state_free(NetState *net);

/* Is this an id for a new one? */
bool netdev_check_new(Vm *vm, const char *id, GError **err);
/* The addresses that were looked up for this host, with blanks between; or host. Lives as long as the making goes on. */
const char *net_known_host(Vm *vm, const char *host);

/* ---- for back ends ----------------------------------------------------------------------- */

Netdev *netdev_find(Vm *vm, const char *id);
/* A new port of netdev, the next queue. */
NetPort *netdev_add_port(Netdev *netdev, const NetPortOps *ops, void *opaque);
/* What info network says of it; replaces what was there. In the link's loop. */
void netdev_set_info(Netdev *netdev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static inline NetPort *netdev_port(const Netdev *netdev, unsigned n)
{
    return g_ptr_array_index(netdev->ports, n);
}
static inline bool netdev_has_vhost(const Netdev *netdev)
{
    const NetPort *port = netdev_port(netdev, 0);
    NetVhost vhost;

    return port->ops->vhost && port->ops->vhost(port->opaque, &vhost);
}
static inline const char *netdev_kind(const Netdev *netdev)
{
    return netdev->obj.type->name + strlen("netdev-");
}
/* Memory at the other end for the next packet from this port, if it would be delivered at once: its pieces, at most max. 0:
 * net_send is the way. *size: bytes of all of them. */
unsigned net_borrow(NetPort *from, struct iovec *iov, unsigned max, size_t *size);
/* The packet is there, in those pieces. Without a call the memory is as good as not borrowed. */
void net_borrowed(NetPort *from, const struct iovec *iov, unsigned count, size_t size);
/* Connects two ports that are free. */
void net_connect(NetPort *a, NetPort *b);
void net_disconnect(NetPort *port);
NetPort *net_port_new(Vm *vm, const NetPortOps *ops, void *opaque);
void net_port_free(NetPort *port);
/* A copy of the packet's first bytes, at most len: how many. */
size_t net_packet_copy(const NetPacket *packet, size_t offset, void *buf, size_t len);

/* Does its queue take another packet? In the port's loop. */
bool net_queue_has_room(const NetPort *port);
/* As net_send, but a full queue takes it, too. */
void net_send_surely(NetPort *from, const NetPacket *packet);
/* To the other end's queue behind the filters, whether it is full or not. */
void net_queue_surely(NetPort *from, const NetPacket *packet);

/* ---- net/relay.c ------------------------------------------------------------------------------- */

/* The port at the other end, behind the relay if there is one. NULL: nobody. Main thread. */
NetPort *net_far_end(const NetPort *port);
/* What is on its way to the card is dropped. In the card's loop. */
void net_relay_purge(NetRelay *relay);
/* The VM runs again: the card's link is the main loop's as far as its relay goes. VM lock. */
void net_relay_go_on(const NetPort *card);

/* net/announce.c */
GPtrArray *net_announcements_new(void);

/* ---- net/nic.c ---------------------------------------------------------------------------- */

/* The card's links come to the main loop and stay there (on), or may go: NicOps.hold and release. NULL is fine. */
void nic_hold(Nic *nic, bool on);
void nic_lose_netdev(Nic *nic);
/* "NAME: index=N,type=nic,model=...,macaddr=...\n" */
void nic_print(const Nic *nic, unsigned queue, GString *out);

/* ---- for filters: net/filter.c ----------------------------------------------------------------
 */

/* to_netdev: the packet goes to the netdev ("rx"), else it comes from it ("tx"). True: the filter
 * keeps or drops it, and may pass it on later by net_filter_pass. */
typedef struct NetFilterOps {
    bool (*receive)(NetFilter *filter, NetPort *from, const NetPacket *packet, bool to_netdev);
    void (*close)(NetFilter *filter);
    bool (*open)(NetFilter *filter, GError **err);
    /* status= changed */
    void (*status)(NetFilter *filter);
} NetFilterOps;

struct NetFilter {
    Object obj;
    const NetFilterOps *ops;
    char *netdev_id, *position, *status_text;
    int queue;                          /* FILTER_ALL, FILTER_RX, FILTER_TX */
    int insert;                         /* 0: before, 1: behind what position names */
    bool off;                           /* status=off */
    Netdev *netdev;                     /* NULL until complete */
};
enum { FILTER_ALL, FILTER_RX, FILTER_TX };

/* All filters of the link that from sends over. True: one of them took the packet. */
bool net_filters_receive(NetPort *from, const NetPacket *packet);
/* The packet goes on behind this filter, to the next ones and the other end. */
void net_filter_pass(NetFilter *filter, NetPort *from, const NetPacket *packet);
/* Delivery behind the filters. */
NetResult net_deliver(NetPort *from, const NetPacket *packet);
/* Filters of a netdev that goes are taken off. */
void net_filters_forget(Netdev *netdev);
void net_filters_print(const Netdev *netdev, GString *out);

#endif
