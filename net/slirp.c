/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * user: a network of its own behind the host's sockets, by libslirp. A module: this file and
 * slirp_*.c.
 *
 *   guest -- slirp_input --> libslirp --> sockets of the host
 *   guest <-- send_packet -- libslirp <-- slirp_pollfds_poll
 *
 * libslirp is written for poll(2): it fills in what it waits for, and looks at what came. Here each
 * descriptor is watched by the link's loop; when one is ready, all are looked at once and what is
 * waited for is compared with what is watched. After packets of the guest a timer that is due at
 * once does that, so a burst of them costs one comparison.
 *
 * Threads. All of a network is in its link's loop, and moves with it. libslirp keeps the time and the
 * name servers' addresses once for all networks, without a lock, so there is one around calls into it;
 * it is not held while a packet goes to the card. A network with guestfwd to a character device stays
 * in the main loop, where such devices are.
 *
 * Not done: smb=. Connections are not part of a saved state (QEMU's section "slirp").
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "net/slirp_int.h"
#include "util/lock.h"
#include "util/log.h"
#include "util/trace.h"

#define TIMEOUT_MAX 1000 /* ms; libslirp itself never waits longer */
#define TIMER_MIN 10     /* ms */
#define ROUNDS 8         /* more looks before others have their turn */

typedef struct Watch {
    LoopFd *source;
    uint32_t events;
    unsigned generation;    /* of the last comparison that wanted it */
} Watch;

/* ---- libslirp's lock --------------------------------------------------------------------- */

static Lock library;

static void init_library(void) { lock_init(&library, "libslirp", LOCK_RANK_BACKEND); }

void user_lock(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, init_library);
    lock_acquire(&library);
}

void user_unlock(void) { lock_release(&library); }

/* ---- libslirp's timers ------------------------------------------------------------------- */

/* On the guest's clock, which may stand still or be stepped: looked at whenever the network is, which is every TIMEOUT_MAX at
 * least, and when one is due. There is one, for router advertisements every few minutes. */
typedef struct SlirpTimer {
    SlirpTimerCb fn;
    void *opaque;
    int64_t due;            /* ns of CLOCK_VIRTUAL; -1: not armed */
} SlirpTimer;

static int64_t slirp_clock(void *opaque)
{
    return clock_now(((UserNet *)opaque)->netdev.obj.vm, CLOCK_VIRTUAL);
}

static void *slirp_timer_make(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
    SlirpTimer *t = g_new(SlirpTimer, 1);

    *t = (SlirpTimer){fn, fn_opaque, -1};
    g_ptr_array_add(((UserNet *)opaque)->timers, t);
    return t;
}

static void slirp_timer_drop(void *timer, void *opaque)
{
    g_ptr_array_remove(((UserNet *)opaque)->timers, timer);
    g_free(timer);
}

static void slirp_timer_set(void *timer, int64_t ms, void *opaque)
{
    ((SlirpTimer *)timer)->due = ms * NSEC_PER_MSEC;
}

/* ms from now, at most so many. A clock that stands still right before that is looked at now and then. */
static uint32_t next_timer(UserNet *u, uint32_t timeout)
{
    const int64_t now = slirp_clock(u);

    for (unsigned i = 0; i < u->timers->len; i++) {
        const SlirpTimer *t = u->timers->pdata[i];

        if (t->due >= 0) {
            const int64_t ms = t->due > now ? (t->due - now + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC : 0;

            timeout = (uint32_t)MIN((int64_t)timeout, MAX(ms, TIMER_MIN));
        }
    }
    return timeout;
}

static void run_timers(UserNet *u)
{
    const int64_t now = slirp_clock(u);

    for (unsigned i = 0; i < u->timers->len; i++) {
        SlirpTimer *t = u->timers->pdata[i];

        if (t->due >= 0 && t->due <= now) {
            t->due = -1;
            t->fn(t->opaque);
        }
    }
}

/* ---- descriptors -------------------------------------------------------------------------------
 */

static void watch_free(gpointer data)
{
    Watch *w = data;

    loop_fd_remove(w->source);
    g_free(w);
}

static int get_events(int index, void *opaque)
{
    const UserNet *u = opaque;
    short revents = g_array_index(u->polls, struct pollfd, index).revents;

    return (revents & POLLIN ? SLIRP_POLL_IN : 0) | (revents & POLLOUT ? SLIRP_POLL_OUT : 0) |
           (revents & POLLPRI ? SLIRP_POLL_PRI : 0) | (revents & POLLERR ? SLIRP_POLL_ERR : 0) |
           (revents & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static int add_poll(int fd, int events, void *opaque)
{
    UserNet *u = opaque;
    struct pollfd p = {.fd = fd};

    p.events =
        (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
                (events & SLIRP_POLL_PRI ? POLLPRI : 0));
    g_array_append_val(u->polls, p);
    return (int)u->polls->len - 1;
}

static void watch_event(void *opaque, uint32_t events) { user_pump(opaque); }
static void timer_event(void *opaque) { user_pump(opaque); }

static void watch(UserNet *u, const struct pollfd *p)
{
    uint32_t events = (p->events & POLLIN ? EPOLLIN : 0u) | (p->events & POLLOUT ? EPOLLOUT : 0u) |
                      (p->events & POLLPRI ? EPOLLPRI : 0u);
    Watch *w = g_hash_table_lookup(u->watches, GINT_TO_POINTER(p->fd));

    if (!w) {
        w = g_new0(Watch, 1);
        w->events = events;
        w->source = loop_fd_add(net_port_loop(u->port), p->fd, events, watch_event, u);
        g_hash_table_insert(u->watches, GINT_TO_POINTER(p->fd), w);
    } else if (w->generation == u->generation) {
        events |= w->events;
    }
    w->generation = u->generation;
    if (w->events != events) {
        w->events = events;
        loop_fd_set_events(w->source, events);
    }
}

static gboolean is_stale(gpointer key, gpointer value, gpointer opaque)
{
    return ((const Watch *)value)->generation != ((const UserNet *)opaque)->generation;
}

/* What libslirp waits for now; and for how long, in ms. */
static uint32_t ask_library(UserNet *u)
{
    uint32_t timeout = TIMEOUT_MAX;

    g_array_set_size(u->polls, 0);
    slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
    return timeout;
}

static void compare_watches(UserNet *u)
{
    u->generation++;
    for (unsigned i = 0; i < u->polls->len; i++) {
        watch(u, &g_array_index(u->polls, struct pollfd, i));
    }
    g_hash_table_foreach_remove(u->watches, is_stale, u);
}

static int poll_now(const UserNet *u) { return poll((struct pollfd *)(void *)u->polls->data, u->polls->len, 0); }

/* It takes a datagram of each socket only, so it is asked again while something is there. */
void user_pump(UserNet *u)
{
    int ready = poll_now(u);
    uint32_t timeout;

    user_lock();
    run_timers(u);
    for (unsigned round = 0;; round++) {
        slirp_pollfds_poll(u->slirp, ready < 0, get_events, u);
        timeout = ask_library(u);
        if (ready <= 0 || round == ROUNDS || (ready = poll_now(u)) <= 0) {
            break;
        }
    }
    compare_watches(u);
    timeout = next_timer(u, timeout);
    loop_timer_arm(u->timer, clock_monotonic_ns() + timeout * NSEC_PER_MSEC);
    user_unlock();
}

void user_pump_soon(UserNet *u)
{
    if (u->timer) { /* else attach does it */
        loop_timer_arm(u->timer, 0);
    }
}

/* ---- libslirp's callbacks ---------------------------------------------------------------- */

static ssize_t send_packet(const void *data, size_t len, void *opaque)
{
    UserNet *u = opaque;

    user_unlock();
    net_send_buf(u->port, data, len); /* a full queue loses it, and TCP slows down */
    user_lock();
    return (ssize_t)len;
}

static void slirp_said(const char *message, void *opaque)
{
    log_mask(LOG_GUEST_ERRORS, "%s: %s\n", ((UserNet *)opaque)->netdev.id, message);
}

static void slirp_new_fd(int fd, void *opaque) {}

/* About to be closed. */
static void slirp_old_fd(int fd, void *opaque)
{
    g_hash_table_remove(((UserNet *)opaque)->watches, GINT_TO_POINTER(fd));
}
static void slirp_notify(void *opaque) { user_pump_soon(opaque); }

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = slirp_said,
    .clock_get_ns = slirp_clock,
    .timer_new = slirp_timer_make,
    .timer_free = slirp_timer_drop,
    .timer_mod = slirp_timer_set,
    .register_poll_fd = slirp_new_fd,
    .unregister_poll_fd = slirp_old_fd,
    .notify = slirp_notify,
};

/* ---- packets of the guest ---------------------------------------------------------------- */

/* libslirp looks at some headers twice, and the guest may write there meanwhile: it gets a copy. */
static unsigned user_receive_many(void *opaque, const NetPacket *packets, unsigned n)
{
    UserNet *u = opaque;

    user_lock();
    for (unsigned i = 0; i < n; i++) {
        slirp_input(u->slirp, u->packet, (int)net_packet_copy(&packets[i], 0, u->packet, NET_MAX_PACKET));
    }
    user_unlock();
    user_pump_soon(u);
    return n;
}

static bool user_receive(void *opaque, const NetPacket *packet)
{
    return user_receive_many(opaque, packet, 1) == 1;
}

static void user_detach(void *opaque)
{
    UserNet *u = opaque;

    g_hash_table_remove_all(u->watches);
    loop_timer_free(g_steal_pointer(&u->timer));
}

static void user_attach(void *opaque, Loop *loop)
{
    UserNet *u = opaque;

    u->timer = loop_timer_new(loop, timer_event, u);
    user_pump_soon(u);
}

static const NetPortOps user_port_ops = {.receive = user_receive,
                                         .receive_many = user_receive_many,
                                         .detach = user_detach,
                                         .attach = user_attach};
/* Of a network that stays in the main loop. */
static const NetPortOps user_fixed_ops = {.receive = user_receive, .receive_many = user_receive_many};

/* ---- life -------------------------------------------------------------------------------- */

static const char **search_list(const NetdevUserOptions *o)
{
    const char **list;

    if (!o->dnssearch || !o->dnssearch->len) {
        return NULL;
    }
    list = g_new0(const char *, o->dnssearch->len + 1);
    for (unsigned i = 0; i < o->dnssearch->len; i++) {
        list[i] = ((const NetString *)o->dnssearch->pdata[i])->str;
    }
    return list;
}

static bool check_texts(const NetdevUserOptions *o, GError **err)
{
    struct stat st;

    if (o->smb || o->smbserver) {
        return error_set(err, "smb= is not supported: it needs a file server beside Kiln; share a "
                              "directory with tftp=, or "
                              "use a server of the host at the gateway's address");
    }
    if (o->domainname && strlen(o->domainname) > 255) {
        return error_set(err, "'domainname' parameter cannot exceed 255 bytes");
    }
    if (o->tftp_server_name && strlen(o->tftp_server_name) > 255) {
        return error_set(err, "'tftp-server-name' parameter cannot exceed 255 bytes");
    }
    if (o->tftp && (stat(o->tftp, &st) || !S_ISDIR(st.st_mode))) {
        report_warning("tftp=%s is no directory yet: guests find no files there", o->tftp);
    }
    return true;
}

typedef bool RuleFn(UserNet *u, const char *rule, GError **err);

static bool add_rules(UserNet *u, const GPtrArray *rules, RuleFn *fn, GError **err)
{
    for (unsigned i = 0; rules && i < rules->len; i++) {
        if (!fn(u, ((const NetString *)rules->pdata[i])->str, err)) {
            return false;
        }
    }
    return true;
}

static bool add_hostfwd(UserNet *u, const char *rule, GError **err)
{
    return user_hostfwd(u, rule, true, err);
}

static bool user_open(Netdev *netdev, const NetdevOptions *options, GError **err)
{
    const NetdevUserOptions *o = &options->u.user;
    UserNet *u = container_of(netdev, UserNet, netdev);
    SlirpConfig config = {.version = 4};

    u->polls = g_array_new(false, false, sizeof(struct pollfd));
    u->watches = g_hash_table_new_full(NULL, NULL, NULL, watch_free);
    u->timers = g_ptr_array_new();
    u->packet = g_malloc(NET_MAX_PACKET);
    u->forwards = g_ptr_array_new();
    u->port = netdev_add_port(netdev, &user_port_ops, u);
    user_attach(u, net_port_loop(u->port));
    if (!check_texts(o, err) || !user_addresses(o, &config, err)) {
        return false;
    }
    config.restricted = o->has_q_restrict && o->q_restrict;
    config.vhostname = o->hostname;
    config.tftp_server_name = o->tftp_server_name;
    config.tftp_path = o->tftp;
    config.bootfile = o->bootfile;
    config.vdomainname = o->domainname;
    g_autofree const char **search = config.vdnssearch = search_list(o);
    user_lock();
    u->slirp = slirp_new(&config, &callbacks, u);
    user_unlock();
    if (!u->slirp) {
        return error_set(err, "libslirp refused to make the network");
    }
    char net[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &config.vnetwork, net, sizeof net);
    netdev_set_info(netdev, "net=%s,restrict=%s", config.in_enabled ? net : "off",
                    config.restricted ? "on" : "off");
    if (!add_rules(u, o->hostfwd, add_hostfwd, err) ||
        !add_rules(u, o->guestfwd, user_guestfwd, err)) {
        return false;
    }
    if (u->forwards->len) {
        u->port->ops = &user_fixed_ops;
    }
    return true;
}

static void user_close(Netdev *netdev)
{
    UserNet *u = container_of(netdev, UserNet, netdev);

    user_close_forwards(u);
    user_detach(u);
    if (u->slirp) {
        user_lock();
        slirp_cleanup(u->slirp);
        user_unlock();
        u->slirp = NULL;
    }
    g_hash_table_destroy(u->watches);
    g_ptr_array_unref(u->timers);
    g_array_unref(u->polls);
    g_free(u->packet);
}

static char *user_connections(Netdev *netdev)
{
    user_lock();
    char *text = slirp_connection_info(container_of(netdev, UserNet, netdev)->slirp);
    user_unlock();
    return text;
}

static bool user_change_hostfwd(Netdev *netdev, const char *rule, bool add, GError **err)
{
    UserNet *u = container_of(netdev, UserNet, netdev);
    bool ok = user_hostfwd(u, rule, add, err);

    user_pump_soon(u);
    return ok;
}

static const NetdevOps user_ops = {.open = user_open,
                                   .close = user_close,
                                   .hostfwd = user_change_hostfwd,
                                   .connections = user_connections};

KILN_TYPE(netdev_user) = {
    .name = "netdev-user",
    .parent = "netdev",
    .desc = "network behind the host's sockets",
    .size = sizeof(UserNet),
    .ops = &user_ops,
};
