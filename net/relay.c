/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Relays: a card in a thread of its own before a back end that stays in the main loop.
 *
 *   card's loop                               main loop, VM lock
 *   card's port <--> near ==== lanes ==== far <--> back end's port
 *
 * near and far are ports like others, so filters, hubs, link state and queues are between far and the back end what they
 * are without a relay. A lane carries packets one way, in order: a ring of bytes with one writer and one reader, who copy
 * once, take no lock and never wait. The reader passes packets on where they lie. A full lane makes its port take nothing
 * until half of it is empty, and the sender then keeps its packets as before any full port; a lane whose reader's
 * other end is full waits until that one is writable. So back-pressure goes through, and nothing is lost here.
 *
 * Messages between the loops: for each lane at most one that there are packets, one that there is room; and one that the
 * card chose another vnet header. A turn is bounded, so that others have the loop (and the VM lock) soon.
 *
 * The vnet header travels with each packet. When the card changes it or its offloads, what is on its way is in the old
 * form: packets to the card are dropped until far has heard of it (their tags are counted), packets to the back end only if
 * the header's length changed. A reset of the card drops what is on its way to it in the same manner.
 *
 * The main thread makes and ends relays while the card stands still and its port is in the main loop; then all packets that
 * are on their way move to the queues of the two ports, which are connected again. Where that was more than a queue holds, the
 * next relay takes nothing that way until there is room, or each would leave more there. Messages that come too late find
 * the relay gone.
 */
#include "net/backend.h"
#include "util/trace.h"

#define LANE_BYTES (512 * KIB)
#define RECORD_MIN 1024         /* so there are at most 512 packets */
#define RECORD_ALIGN 64
#define SKIP UINT32_MAX         /* the ring goes on at its beginning */
#define TURN_TIME (250 * NSEC_PER_USEC)
#define BATCH_BYTES (128 * KIB)
#define UNTOLD_MAX 32

typedef struct Record {
    uint32_t size;              /* bytes behind this, or SKIP */
    uint32_t tag;
    uint8_t data[];
} Record;

typedef struct End End;

typedef struct Lane {
    NetRelay *relay;
    End *from, *to;
    uint8_t *ring;              /* LANE_BYTES */
    bool told;                  /* atomic: the reader has to look, or waits for its port to be writable */
    bool wanted;                /* atomic: the writer wants to hear of room */
    /* ---- the writer's ---- */
    uint64_t head;              /* atomic: bytes written ever */
    uint32_t tag;
    bool full;
    unsigned untold;            /* packets that the reader has not been told of; above 0: a message to ourselves is on its way */
    /* ---- the reader's ---- */
    uint64_t tail;              /* atomic: bytes read ever */
    uint32_t accept;            /* packets with another tag are dropped */
    bool reading, blocked;
    bool shut;                  /* what an earlier relay left is still to go */
} Lane;

struct End {
    NetRelay *relay;
    NetPort *port;
    Lane *out;                  /* what the port receives goes there ... */
    Lane *in;                   /* ... and what comes from there it sends */
};

struct NetRelay {
    int refs;                   /* atomic: one for each message, one until it is gone */
    Vm *vm;
    Lane to_card, to_netdev;
    End near, far;
    Loop *card_loop;            /* atomic; NULL: detached or gone */
    bool gone;                  /* VM lock */
    unsigned vnet_max;          /* as the back end's vnet_caps */
    uint32_t offloads;
    uint64_t vnet;              /* atomic: what the card chose, see vnet_pack; written in its loop */
    uint64_t vnet_done;         /* what the back end has been told; VM lock */
    bool vnet_told;             /* atomic: a message is on its way */
};

/* ---- messages -------------------------------------------------------------------------------------- */

static void relay_unref(NetRelay *r)
{
    if (g_atomic_int_dec_and_test(&r->refs)) {
        g_free(r->to_card.ring);
        g_free(r->to_netdev.ring);
        g_free(r);
    }
}

static Loop *loop_of(const End *e)
{
    return e == &e->relay->far ? e->relay->vm->loop : __atomic_load_n(&e->relay->card_loop, __ATOMIC_ACQUIRE);
}

/* fn(opaque) in the end's loop; it has a reference of the relay. */
static void tell(const End *e, LoopFn *fn, void *opaque)
{
    Loop *loop = loop_of(e);

    if (loop) { /* else it is about to go, or will look when it is attached */
        g_atomic_int_inc(&e->relay->refs);
        loop_post(loop, fn, opaque);
    }
}

/* A message has come: is the end still there? */
static bool is_here(const End *e)
{
    Loop *loop = loop_of(e);

    return loop && loop_is_current(loop) && !(e == &e->relay->far && e->relay->gone);
}

/* ---- lanes ------------------------------------------------------------------------------------------- */

static Record *record_at(const Lane *l, uint64_t at) { return (Record *)(void *)(l->ring + (at & (LANE_BYTES - 1))); }
static uint64_t record_size(size_t size) { return MAX(align_up(sizeof(Record) + size, RECORD_ALIGN), RECORD_MIN); }

/* Writer. False: there is no room. */
static bool put(Lane *l, const NetPacket *packet)
{
    const uint64_t need = record_size(packet->size), rest = LANE_BYTES - (l->head & (LANE_BYTES - 1));
    const uint64_t skip = rest < need ? rest : 0;
    Record *record = record_at(l, l->head + skip);

    if (packet->size > NET_MAX_PACKET) {
        return true; /* lost, as everywhere */
    }
    if (l->head + skip + need - __atomic_load_n(&l->tail, __ATOMIC_ACQUIRE) > LANE_BYTES) {
        return false;
    }
    if (skip) {
        record_at(l, l->head)->size = SKIP;
    }
    record->size = (uint32_t)net_packet_copy(packet, 0, record->data, packet->size);
    record->tag = l->tag;
    __atomic_store_n(&l->head, l->head + skip + need, __ATOMIC_SEQ_CST);
    return true;
}

static bool is_half_empty(Lane *l)
{
    return __atomic_load_n(&l->head, __ATOMIC_SEQ_CST) - __atomic_load_n(&l->tail, __ATOMIC_SEQ_CST) <= LANE_BYTES / 2;
}

static void room_posted(void *opaque)
{
    Lane *l = opaque;

    if (is_here(l->from)) {
        l->full = false;
        net_port_ready(l->from->port);
    }
    relay_unref(l->relay);
}

/* Reader: what lies before `to` has been passed on. */
static void move_tail(Lane *l, uint64_t to)
{
    __atomic_store_n(&l->tail, to, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&l->wanted, __ATOMIC_SEQ_CST) && is_half_empty(l) &&
        __atomic_exchange_n(&l->wanted, false, __ATOMIC_SEQ_CST)) {
        tell(l->from, room_posted, l);
    }
}

typedef struct Batch {
    unsigned count;
    NetPacket packets[NET_BATCH];
    struct iovec iov[NET_BATCH];
    uint64_t ends[NET_BATCH];   /* where the next one begins */
} Batch;

/* Reader: the oldest packets, where they lie; the same again as long as nobody moves the tail. */
static void gather(Lane *l, Batch *b)
{
    const uint64_t head = __atomic_load_n(&l->head, __ATOMIC_SEQ_CST);
    uint64_t at = l->tail;
    size_t bytes = 0;

    b->count = 0;
    while (at != head && b->count < NET_BATCH && bytes < BATCH_BYTES) {
        Record *record = record_at(l, at);

        if (record->size == SKIP) {
            at = align_up(at + 1, LANE_BYTES);
            continue;
        }
        at += record_size(record->size);
        if (record->tag == l->accept) {
            b->iov[b->count] = (struct iovec){record->data, record->size};
            b->packets[b->count] = (NetPacket){&b->iov[b->count], 1, record->size};
            b->ends[b->count++] = at;
            bytes += record->size;
        } else if (!b->count) {
            move_tail(l, at);
        }
    }
}

static void turn_posted(void *opaque);
static void apply_vnet(NetRelay *r);

/* True: nothing is left and the writer will tell of more. */
static bool rest(Lane *l)
{
    __atomic_store_n(&l->told, false, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&l->head, __ATOMIC_SEQ_CST) == l->tail || __atomic_exchange_n(&l->told, true, __ATOMIC_SEQ_CST);
}

/* Reader: passes on what is there, until the deadline. told stays until nothing is left. */
static void take_turn(Lane *l, int64_t deadline)
{
    Batch batch;

    l->blocked = false;
    l->reading = true;
    do {
        unsigned sent;

        if (l->to == &l->relay->far) {
            apply_vnet(l->relay);
        }
        gather(l, &batch);
        if (!batch.count) {
            if (rest(l)) {
                break;
            }
            continue;
        }
        sent = net_send_now(l->to->port, batch.packets, batch.count);
        if (sent) {
            move_tail(l, batch.ends[sent - 1]);
        }
        if (sent < batch.count) {
            l->blocked = true; /* its writable goes on */
        } else if (clock_monotonic_ns() >= deadline) {
            tell(l->to, turn_posted, l);
            break;
        }
    } while (!l->blocked);
    l->reading = false;
}

static void turn_posted(void *opaque)
{
    Lane *l = opaque;

    if (is_here(l->to) && !l->blocked) {
        take_turn(l, clock_monotonic_ns() + TURN_TIME);
    }
    relay_unref(l->relay);
}

/* Writer: the reader looks. */
static void tell_reader(Lane *l)
{
    if (!__atomic_exchange_n(&l->told, true, __ATOMIC_SEQ_CST)) {
        tell(l->to, turn_posted, l);
    }
}

static void untold_posted(void *opaque)
{
    Lane *l = opaque;

    if (l->untold && is_here(l->from)) {
        l->untold = 0;
        tell_reader(l);
    }
    relay_unref(l->relay);
}

/* Writer: the same, but back ends bring one packet after the other, which would wake the reader for each. It is told of a few
 * together, or at the end of this loop's turn. */
static void tell_reader_soon(Lane *l)
{
    if (!l->untold++) {
        tell(l->from, untold_posted, l);
    } else if (l->untold >= UNTOLD_MAX) {
        l->untold = 1;
        tell_reader(l);
    }
}

/* Writer: the lane is full. True: by now it is not. */
static bool wait_for_room(Lane *l)
{
    l->full = true;
    __atomic_store_n(&l->wanted, true, __ATOMIC_SEQ_CST);
    if (is_half_empty(l) && __atomic_exchange_n(&l->wanted, false, __ATOMIC_SEQ_CST)) {
        l->full = false;
    }
    return !l->full;
}

/* ---- vnet headers -------------------------------------------------------------------------------------- */

/* 16 bits that count, 8 of the header's length, 32 of offloads. */
static uint64_t vnet_pack(uint64_t count, unsigned len, uint32_t offloads)
{
    return (count & 0xffff) << 40 | (uint64_t)(len & 0xff) << 32 | offloads;
}

static uint32_t vnet_count(uint64_t vnet) { return (uint32_t)(vnet >> 40); }
static unsigned vnet_len(uint64_t vnet) { return (unsigned)(vnet >> 32 & 0xff); }

/* VM lock. */
static void apply_vnet(NetRelay *r)
{
    const uint64_t vnet = __atomic_load_n(&r->vnet, __ATOMIC_ACQUIRE);

    if (vnet == r->vnet_done) {
        return;
    }
    r->to_card.tag = vnet_count(vnet);
    if ((vnet ^ r->vnet_done) & vnet_pack(0, 0xff, UINT32_MAX)) {
        r->to_netdev.accept = vnet_len(vnet);
        net_set_vnet(r->far.port, vnet_len(vnet), (uint32_t)vnet);
    } else { /* the card was reset */
        net_port_purge(r->far.port);
    }
    r->vnet_done = vnet;
    net_port_ready(r->far.port);
}

static void vnet_posted(void *opaque)
{
    NetRelay *r = opaque;

    __atomic_store_n(&r->vnet_told, false, __ATOMIC_SEQ_CST);
    if (is_here(&r->far)) {
        apply_vnet(r);
    }
    relay_unref(r);
}

/* In the card's loop. */
static void change_vnet(NetRelay *r, unsigned len, uint32_t offloads)
{
    const uint64_t vnet = vnet_pack(vnet_count(r->vnet) + 1, len, offloads);

    r->to_netdev.tag = len;
    r->to_card.accept = vnet_count(vnet);
    __atomic_store_n(&r->vnet, vnet, __ATOMIC_SEQ_CST);
    if (!__atomic_exchange_n(&r->vnet_told, true, __ATOMIC_SEQ_CST)) {
        tell(&r->far, vnet_posted, r);
    }
}

void net_relay_purge(NetRelay *r) { change_vnet(r, vnet_len(r->vnet), (uint32_t)r->vnet); }

/* ---- ports ---------------------------------------------------------------------------------------------- */

static bool end_can_receive(void *opaque)
{
    const End *e = opaque;

    return !e->out->full && !(e == &e->relay->far && net_state(e->relay->vm)->stopped);
}

static unsigned end_receive_many(void *opaque, const NetPacket *packets, unsigned n)
{
    Lane *l = ((End *)opaque)->out;
    unsigned done = 0;

    while (done < n) {
        if (put(l, &packets[done])) {
            done++;
        } else if (!wait_for_room(l)) {
            break;
        }
    }
    if (done && n == 1 && l->from == &l->relay->far) {
        tell_reader_soon(l);
    } else if (done) {
        tell_reader(l);
    }
    return done;
}

static bool end_receive(void *opaque, const NetPacket *packet) { return end_receive_many(opaque, packet, 1) == 1; }

static void end_writable(void *opaque)
{
    Lane *l = ((End *)opaque)->in;

    if (l->shut) {
        l->shut = false;
        tell(l->from, room_posted, l);
    }
    if (l->blocked) {
        take_turn(l, clock_monotonic_ns() + TURN_TIME);
    }
}

/* near's only: far's other end is the back end. */
static unsigned near_vnet_caps(void *opaque, uint32_t *offloads)
{
    const NetRelay *r = ((End *)opaque)->relay;

    *offloads = r->offloads;
    return r->vnet_max;
}

static void near_set_vnet(void *opaque, unsigned len, uint32_t offloads)
{
    change_vnet(((End *)opaque)->relay, len, offloads);
}

static void near_detach(void *opaque)
{
    __atomic_store_n(&((End *)opaque)->relay->card_loop, NULL, __ATOMIC_RELEASE);
}

static void near_attach(void *opaque, Loop *loop)
{
    End *e = opaque;

    __atomic_store_n(&e->relay->card_loop, loop, __ATOMIC_RELEASE);
    tell(e, turn_posted, e->in);
}

static const NetPortOps near_ops = {
    .can_receive = end_can_receive,
    .receive = end_receive,
    .receive_many = end_receive_many,
    .writable = end_writable,
    .vnet_caps = near_vnet_caps,
    .set_vnet = near_set_vnet,
    .detach = near_detach,
    .attach = near_attach,
};
static const NetPortOps far_ops = {
    .can_receive = end_can_receive,
    .receive = end_receive,
    .receive_many = end_receive_many,
    .writable = end_writable,
};

/* ---- life ------------------------------------------------------------------------------------------------ */

static void init_lane(NetRelay *r, Lane *l, End *from, End *to, uint32_t tag)
{
    *l = (Lane){.relay = r, .from = from, .to = to, .ring = g_malloc(LANE_BYTES), .tag = tag, .accept = tag};
    from->out = l;
    to->in = l;
}

/* The ports are connected. */
static void shut_if_full(Lane *l)
{
    NetPort *reader = l->to->port;

    if (!net_queue_has_room(reader->peer)) {
        l->full = l->shut = reader->want_room = true;
    }
}

static void init_end(NetRelay *r, End *e, const NetPortOps *ops, NetPort *peer, const NetPort *other)
{
    e->relay = r;
    e->port = net_port_new(r->vm, ops, e);
    e->port->relay = r;
    e->port->link_down = other->link_down;
    e->port->vnet_len = peer->vnet_len;
    e->port->peer = peer;
    peer->peer = e->port;
}

void net_relay_begin(NetPort *card)
{
    NetPort *netdev = card->peer;
    NetRelay *r = g_new0(NetRelay, 1);

    r->refs = 1;
    r->vm = card->vm;
    r->card_loop = card->loop;
    r->vnet_max = net_peer_vnet_caps(card, &r->offloads);
    r->vnet = r->vnet_done = vnet_pack(0, card->vnet_len, 0);
    init_end(r, &r->near, &near_ops, card, netdev);
    init_end(r, &r->far, &far_ops, netdev, card);
    init_lane(r, &r->to_netdev, &r->near, &r->far, card->vnet_len);
    init_lane(r, &r->to_card, &r->far, &r->near, 0);
    shut_if_full(&r->to_netdev);
    shut_if_full(&r->to_card);
    trace(net_relay, "%s begins", nic_name(card->nic));
    net_port_ready(r->far.port); /* the back end may wait for room */
}

static void drain(NetRelay *r)
{
    Lane *l = &r->to_netdev;

    if (!l->reading && !l->blocked) {
        take_turn(l, INT64_MAX);
    }
}

void net_relay_flush(NetPort *card)
{
    if (card->peer && card->peer->relay) {
        drain(card->peer->relay);
    }
}

/* What is on its way in the lane, then what its writer's port has queued. */
static void hand_over(Lane *l, NetPort *from, void (*fn)(NetPort *from, const NetPacket *packet))
{
    NetPort *writer = l->from->port;
    Batch b;

    for (gather(l, &b); b.count; gather(l, &b)) {
        for (unsigned i = 0; i < b.count; i++) {
            fn(from, &b.packets[i]);
        }
        l->tail = b.ends[b.count - 1];
    }
    for (GList *e = writer->queue.head; e; e = e->next) {
        NetQueued *q = e->data;
        struct iovec iov = {q->data, q->size};
        const NetPacket packet = {&iov, 1, q->size};

        fn(from, &packet);
    }
}

void net_relay_end(NetPort *card)
{
    NetRelay *r = card->peer ? card->peer->relay : NULL;

    if (!r) {
        return;
    }
    NetPort *netdev = r->far.port->peer;
    apply_vnet(r);
    drain(r);
    r->gone = true;
    __atomic_store_n(&r->card_loop, NULL, __ATOMIC_RELEASE);
    r->near.port->peer = r->far.port->peer = NULL;
    card->peer = netdev;
    netdev->peer = card;
    hand_over(&r->to_netdev, card, net_send_surely);
    hand_over(&r->to_card, netdev, net_queue_surely);
    net_port_free(r->near.port);
    net_port_free(r->far.port);
    trace(net_relay, "%s ends", nic_name(card->nic));
    net_port_ready(card);
    net_port_ready(netdev);
    relay_unref(r);
}

NetPort *net_far_end(const NetPort *card)
{
    NetPort *peer = card->peer;
    NetRelay *r = peer ? peer->relay : NULL;

    return r && peer == r->near.port ? r->far.port->peer : r ? r->near.port->peer : peer;
}

void net_relay_go_on(const NetPort *card)
{
    if (card->peer && card->peer->relay) {
        net_port_ready(card->peer->relay->far.port);
    }
}
