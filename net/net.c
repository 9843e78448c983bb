/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports and links: delivery, queues, link state.
 *
 * A packet is delivered at once unless the receiver is busy, has older packets waiting, or the
 * sender is itself inside its receive. A queue is emptied by a call posted to the link's loop,
 * never from inside someone's call; so a packet's way never comes back to a port that is still on
 * the stack.
 */
#include "net/backend.h"
#include "util/log.h"
#include "util/trace.h"

/* ---- state of the VM's network ----------------------------------------------------------------
 */

static bool in_main_loop(const NetPort *port) { return port->loop == port->vm->loop; }

static void run_state_changed(void *opaque, bool running, RunState state)
{
    Vm *vm = opaque;
    NetState *net = net_state(vm);

    net->stopped = !running;
    for (unsigned i = 0; running && i < net->nics->len; i++) {
        Nic *nic = net->nics->pdata[i];

        for (unsigned q = 0; q < nic_queues(nic); q++) {
            if (in_main_loop(nic_port(nic, q))) { /* else it is the card's to say so */
                net_port_ready(nic_port(nic, q));
            } else {
                net_relay_go_on(nic_port(nic, q));
            }
        }
    }
}

NetState *net_state(Vm *vm)
{
    if (!vm->net) {
        NetState *net = g_new0(NetState, 1);

        net->netdevs = g_ptr_array_new();
        net->nics = g_ptr_array_new();
        net->requests = g_ptr_array_new();
        net->announcements = net_announcements_new();
        net->waiting = g_ptr_array_new();
        net->models = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        net->stopped = !run_state_is_running(vm_run_state(vm));
        vm->net = net;
        vm_on_run_state(vm, run_state_changed, vm);
    }
    return vm->net;
}

void net_state_free(NetState *net)
{
    if (net) {
        g_ptr_array_unref(net->netdevs);
        g_ptr_array_unref(net->nics);
        g_ptr_array_unref(net->requests);
        g_ptr_array_unref(net->announcements);
        g_ptr_array_unref(net->waiting);
        g_hash_table_unref(net->models);
        g_free(net);
    }
}

/* ---- queues ------------------------------------------------------------------------------ */

bool net_queue_has_room(const NetPort *port)
{
    return port->queue.length < NET_QUEUE_PACKETS && port->queue_bytes < NET_QUEUE_BYTES;
}

static void queue_append(NetPort *port, const NetPacket *packet)
{
    NetQueued *entry = g_malloc(sizeof *entry + packet->size);

    entry->size = iov_to_buf(packet->iov, packet->count, 0, entry->data, packet->size);
    g_queue_push_tail(&port->queue, entry);
    port->queue_bytes += entry->size;
}

static bool queue_push(NetPort *port, const NetPacket *packet)
{
    if (!net_queue_has_room(port)) {
        return false;
    }
    queue_append(port, packet);
    return true;
}

static void queue_drop_head(NetPort *port)
{
    NetQueued *entry = g_queue_pop_head(&port->queue);

    port->queue_bytes -= entry->size;
    g_free(entry);
}

void net_port_purge(NetPort *port)
{
    while (port->queue.length) {
        queue_drop_head(port);
    }
    if (port->nic && port->peer && port->peer->relay) {
        net_relay_purge(port->peer->relay);
    }
}

/* ---- delivery ---------------------------------------------------------------------------- */

static bool takes_packets(const NetPort *to)
{
    return !to->receiving && !to->detached &&
           !(to->nic && in_main_loop(to) && net_state(to->vm)->stopped) &&
           (!to->ops->can_receive || to->ops->can_receive(to->opaque));
}

static bool call_receive(NetPort *to, const NetPacket *packet)
{
    to->receiving = true;
    bool done = to->ops->receive(to->opaque, packet);
    to->receiving = false;
    return done;
}

static bool is_lost(const NetPort *from)
{
    return !from->peer || from->link_down || from->peer->link_down;
}

static unsigned call_receive_many(NetPort *to, const NetPacket *packets, unsigned n)
{
    unsigned taken;

    if (!to->ops->receive_many) {
        return call_receive(to, packets);
    }
    to->receiving = true;
    taken = to->ops->receive_many(to->opaque, packets, n);
    to->receiving = false;
    return taken;
}

/* The queue's first packets, at most NET_BATCH. False: the port takes no more. */
static bool flush_some(NetPort *to)
{
    NetQueued *entries[NET_BATCH];
    NetPacket packets[NET_BATCH];
    struct iovec iov[NET_BATCH];
    const unsigned most = to->ops->receive_many ? NET_BATCH : 1;
    unsigned n = 0, taken;

    for (GList *l = to->queue.head; l && n < most; l = l->next, n++) {
        entries[n] = l->data;
        iov[n] = (struct iovec){entries[n]->data, entries[n]->size};
        packets[n] = (NetPacket){&iov[n], 1, entries[n]->size};
    }
    taken = call_receive_many(to, packets, n);
    for (unsigned i = 0; i < taken && to->queue.head && to->queue.head->data == entries[i]; i++) { /* receive may have purged */
        queue_drop_head(to);
    }
    return taken;
}

static void flush(NetPort *to)
{
    while (to->queue.length && takes_packets(to)) {
        if (!flush_some(to)) {
            return;
        }
    }
    NetPort *from = to->peer;
    if (from && from->want_room &&
        (is_lost(from) || (net_queue_has_room(to) && (to->queue.length || takes_packets(to))))) {
        from->want_room = false;
        if (from->ops->writable) {
            from->ops->writable(from->opaque);
        }
    }
}

/* A message to the loop that a port belongs to, of that loop's thread. */
typedef struct NetFlush {
    NetPort *port;                      /* NULL: it has left the loop */
} NetFlush;

static void flush_posted(void *opaque)
{
    NetFlush *message = opaque;
    NetPort *port = message->port;

    g_free(message);
    if (port) {
        port->flush = NULL;
        flush(port);
    }
}

static void post_flush(NetPort *port)
{
    if (!port->flush && !port->detached) {
        port->flush = g_new(NetFlush, 1);
        port->flush->port = port;
        loop_post(port->loop, flush_posted, port->flush);
    }
}

static void cancel_flush(NetPort *port)
{
    if (port->flush) {
        port->flush->port = NULL;
        port->flush = NULL;
    }
}

void net_port_ready(NetPort *port)
{
    if (port->queue.length || (port->peer && port->peer->want_room)) {
        post_flush(port);
    }
}

/* Queued for a port that would take it now: it was the sender who may not be called back. */
static NetResult enqueue(NetPort *from, NetPort *to, const NetPacket *packet)
{
    if (!queue_push(to, packet)) {
        from->want_room = true;
        trace(net_queue_full, "%p", to);
        return NET_FULL;
    }
    if (takes_packets(to) || from->receiving || to->receiving) {
        post_flush(to);
    }
    return NET_SENT;
}

NetResult net_deliver(NetPort *from, const NetPacket *packet)
{
    NetPort *to = from->peer;

    if (!to || packet->size > NET_MAX_PACKET) {
        return NET_SENT;
    }
    if (from->receiving || to->queue.length || !takes_packets(to) || !call_receive(to, packet)) {
        return enqueue(from, to, packet);
    }
    return NET_SENT;
}

static bool has_filters(const NetPort *from)
{
    const Netdev *netdev = from->netdev ? from->netdev : from->peer->netdev; /* a relay's and a card's: none */

    return netdev && netdev->filters->len;
}

NetResult net_send(NetPort *from, const NetPacket *packet)
{
    if (is_lost(from)) {
        return NET_SENT;
    }
    if (has_filters(from)) {
        if (!net_queue_has_room(from->peer)) { /* filters see it once, so it is said before they do */
            from->want_room = true;
            return NET_FULL;
        }
        if (net_filters_receive(from, packet)) {
            return NET_SENT;
        }
    }
    return net_deliver(from, packet);
}

void net_queue_surely(NetPort *from, const NetPacket *packet)
{
    if (from->peer) {
        queue_append(from->peer, packet);
    }
}

void net_send_surely(NetPort *from, const NetPacket *packet)
{
    if (net_send(from, packet) == NET_FULL && !(has_filters(from) && net_filters_receive(from, packet))) {
        queue_append(from->peer, packet);
    }
}

NetResult net_send_buf(NetPort *from, const void *data, size_t size)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    NetPacket packet = {&iov, 1, size};

    return net_send(from, &packet);
}

static unsigned deliver_many(NetPort *to, const NetPacket *packets, unsigned n)
{
    unsigned done = 0;

    while (done < n) {
        const unsigned part = MIN(n - done, NET_BATCH), taken = call_receive_many(to, packets + done, part);

        done += taken;
        if (taken < part) {
            break;
        }
    }
    return done;
}

unsigned net_send_many(NetPort *from, const NetPacket *packets, unsigned n)
{
    NetPort *to = from->peer;
    unsigned done = 0;

    if (is_lost(from)) {
        return n;
    }
    if (to->ops->receive_many && !has_filters(from) && !from->receiving && !to->queue.length && takes_packets(to)) {
        done = deliver_many(to, packets, n);
    }
    while (done < n && net_send(from, &packets[done]) == NET_SENT) {
        done++;
    }
    return done;
}

unsigned net_send_now(NetPort *from, const NetPacket *packets, unsigned n)
{
    NetPort *to = from->peer;
    unsigned done;

    if (is_lost(from) || !to->ops->receive_many || has_filters(from) || from->receiving) {
        return net_send_many(from, packets, n);
    }
    done = to->queue.length || !takes_packets(to) ? 0 : deliver_many(to, packets, n);
    from->want_room |= done < n;
    return done;
}

unsigned net_borrow(NetPort *from, struct iovec *iov, unsigned max, size_t *size)
{
    NetPort *to = from->peer;
    unsigned n;

    if (is_lost(from) || !to->ops->lend || has_filters(from) || from->receiving || to->queue.length || !takes_packets(to)) {
        return 0;
    }
    to->receiving = true;
    n = to->ops->lend(to->opaque, iov, max);
    to->receiving = false;
    *size = iov_size(iov, n);
    return n;
}

void net_borrowed(NetPort *from, const struct iovec *iov, unsigned count, size_t size)
{
    NetPort *to = from->peer;

    to->receiving = true;
    to->ops->lent(to->opaque, iov, count, size);
    to->receiving = false;
}

bool net_can_send(NetPort *from)
{
    bool can = is_lost(from) ||
               (from->peer->queue.length ? net_queue_has_room(from->peer) : takes_packets(from->peer));

    from->want_room = !can;
    return can;
}

bool net_link_is_up(const NetPort *port) { return !is_lost(port); }

size_t net_packet_copy(const NetPacket *packet, size_t offset, void *buf, size_t len)
{
    return iov_to_buf(packet->iov, packet->count, offset, buf, len);
}

/* ---- making and connecting --------------------------------------------------------------- */

NetPort *net_port_new(Vm *vm, const NetPortOps *ops, void *opaque)
{
    NetPort *port = g_new0(NetPort, 1);

    port->ops = ops;
    port->opaque = opaque;
    port->vm = vm;
    port->loop = vm->loop;
    g_queue_init(&port->queue);
    return port;
}

void net_port_free(NetPort *port)
{
    net_disconnect(port);
    net_port_purge(port);
    cancel_flush(port);
    g_free(port);
}

static void tell_link(NetPort *port, bool up)
{
    if (port->ops->link_changed) {
        port->ops->link_changed(port->opaque, up);
    }
}

void net_connect(NetPort *a, NetPort *b)
{
    g_assert(!a->peer && !b->peer);
    a->peer = b;
    b->peer = a;
    net_port_purge(a);
    net_port_purge(b);
}

static void set_vnet(NetPort *port, unsigned len, uint32_t offloads)
{
    if (port->ops->set_vnet && (port->vnet_len || len || offloads)) {
        port->ops->set_vnet(port->opaque, len, offloads);
    }
    port->vnet_len = len;
}

void net_disconnect(NetPort *port)
{
    NetPort *peer = port->peer;

    if (!peer) {
        return;
    }
    port->peer = peer->peer = NULL;
    net_port_purge(port);
    net_port_purge(peer);
    set_vnet(port, 0, 0);
    set_vnet(peer, 0, 0);
    for (unsigned i = 0; i < 2; i++) { /* nobody waits for who has gone */
        NetPort *p = i ? peer : port;

        if (p->want_room) {
            p->want_room = false;
            if (p->ops->writable) {
                p->ops->writable(p->opaque);
            }
        }
    }
}

/* ---- vnet headers ------------------------------------------------------------------------ */

unsigned net_peer_vnet_caps(NetPort *port, uint32_t *offloads)
{
    const NetPort *peer = port->peer;

    *offloads = 0;
    return peer && peer->ops->vnet_caps ? peer->ops->vnet_caps(peer->opaque, offloads) : 0;
}

bool net_set_vnet(NetPort *port, unsigned len, uint32_t offloads)
{
    uint32_t able;

    if (len > net_peer_vnet_caps(port, &able) || (offloads & ~able) || (!len && offloads)) {
        return false;
    }
    if (port->peer) {
        set_vnet(port->peer, len, offloads);
        net_port_purge(port);
        net_port_purge(port->peer);
    }
    port->vnet_len = len;
    return true;
}

unsigned net_vnet_hdr_len(const NetPort *port) { return port->vnet_len; }

void net_set_active(NetPort *port, bool active)
{
    NetPort *peer = port->peer;

    if (peer && peer->ops->set_active && peer->netdev->ports->len > 1) {
        peer->ops->set_active(peer->opaque, active);
    }
}

/* ---- loops ------------------------------------------------------------------------------- */

bool net_is_movable(const NetPort *port)
{
    const NetPort *peer = port->peer;

    return !peer || (peer->ops->detach && !(peer->netdev && peer->netdev->filters->len));
}

void net_detach(NetPort *port)
{
    NetPort *peer = port->peer;

    port->detached = true;
    cancel_flush(port);
    if (peer) {
        peer->detached = true;
        cancel_flush(peer);
        if (peer->ops->detach) {
            peer->ops->detach(peer->opaque);
        }
    }
}

void net_attach(NetPort *port, Loop *loop)
{
    NetPort *peer = port->peer;

    port->loop = loop;
    port->detached = false;
    if (peer) {
        peer->loop = loop;
        peer->detached = false;
        if (peer->ops->attach) {
            peer->ops->attach(peer->opaque, loop);
        }
        net_port_ready(peer);
    }
    net_port_ready(port);
}

Loop *net_port_loop(const NetPort *port) { return port->loop; }

bool net_peer_vhost(const NetPort *port, NetVhost *vhost)
{
    return port->peer && port->peer->ops->vhost && port->peer->ops->vhost(port->peer->opaque, vhost);
}

void net_set_kernel(NetPort *port, bool on)
{
    if (port->peer && port->peer->ops->set_kernel) {
        port->peer->ops->set_kernel(port->peer->opaque, on);
    }
}

int net_peer_fd(const NetPort *port)
{
    return port->peer && port->peer->ops->fd ? port->peer->ops->fd(port->peer->opaque) : -1;
}

/* ---- links ------------------------------------------------------------------------------- */

static void set_port_link(NetPort *port, bool up)
{
    bool was = port->link_down;

    port->link_down = !up;
    if (was == up) {
        tell_link(port, up);
        net_port_purge(port);
    }
}

/* The card's end follows its netdev's; a back end's or hub's stays. */
static void set_link(NetPort *port, bool up)
{
    set_port_link(port, up);
    if (port->peer && port->peer->nic) {
        set_port_link(port->peer, up);
    }
    if (port->peer) { /* what waited for room is lost now */
        net_port_ready(port->peer);
    }
    net_port_ready(port);
}

static Nic *find_nic(Vm *vm, const char *name)
{
    const NetState *net = net_state(vm);

    for (unsigned i = 0; i < net->nics->len; i++) {
        if (!strcmp(nic_name(net->nics->pdata[i]), name)) {
            return net->nics->pdata[i];
        }
    }
    return NULL;
}

bool net_set_link(Vm *vm, const char *name, bool up, GError **err)
{
    Netdev *netdev = netdev_find(vm, name);
    Nic *nic = netdev ? netdev->nic : find_nic(vm, name);

    if (!netdev && !nic) {
        return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", name);
    }
    nic_hold(nic, true);
    unsigned n = netdev ? netdev->ports->len : nic_queues(nic);
    for (unsigned i = 0; i < n; i++) {
        set_link(netdev ? netdev_port(netdev, i) : nic_port(nic, i), up);
    }
    nic_hold(nic, false);
    return true;
}
