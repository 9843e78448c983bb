/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * user: a network of its own behind the host's sockets, by libslirp. A module: this file and
 * slirp_*.c.
 *
 *   guest -- slirp_input --> libslirp --> sockets of the host
 *   guest <-- send_packet -- libslirp <-- slirp_pollfds_poll
 *
 * libslirp is written for poll(2): it fills in what it waits for, and looks at what came. Here each
 * descriptor is watched by the main loop; when one is ready, all are looked at once and what is
 * waited for is compared with what is watched. After packets of the guest that happens in a posted
 * call, so a burst of them costs one comparison.
 *
 * Not done: smb=. Connections are not part of a saved state (QEMU's section "slirp").
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "net/slirp_int.h"
#include "util/log.h"
#include "util/trace.h"

typedef struct Watch {
    LoopFd *source;
    uint32_t events;
    unsigned generation;    /* of the last comparison that wanted it */
} Watch;

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

static void watch_event(void *opaque, uint32_t events) { user_pump(opaque); }
static void timer_event(void *opaque) { user_pump(opaque); }

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

static void watch(UserNet *u, const struct pollfd *p)
{
    uint32_t events = (p->events & POLLIN ? EPOLLIN : 0u) | (p->events & POLLOUT ? EPOLLOUT : 0u) |
                      (p->events & POLLPRI ? EPOLLPRI : 0u);
    Watch *w = g_hash_table_lookup(u->watches, GINT_TO_POINTER(p->fd));

    if (!w) {
        w = g_new0(Watch, 1);
        w->events = events;
        w->source = loop_fd_add(u->netdev.obj.vm->loop, p->fd, events, watch_event, u);
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

static void user_refresh(UserNet *u)
{
    uint32_t timeout = UINT32_MAX; /* ms */

    g_array_set_size(u->polls, 0);
    slirp_pollfds_fill(u->slirp, &timeout, add_poll, u);
    u->generation++;
    for (unsigned i = 0; i < u->polls->len; i++) {
        watch(u, &g_array_index(u->polls, struct pollfd, i));
    }
    g_hash_table_foreach_remove(u->watches, is_stale, u);
    if (timeout == UINT32_MAX) {
        loop_timer_cancel(u->timer);
    } else {
        loop_timer_arm(u->timer, clock_monotonic_ns() + timeout * NSEC_PER_MSEC);
    }
}

/* Everything that came since the last comparison. */
void user_pump(UserNet *u)
{
    int rc = poll((struct pollfd *)(void *)u->polls->data, u->polls->len, 0);

    slirp_pollfds_poll(u->slirp, rc < 0, get_events, u);
    user_refresh(u);
}

static void refresh_posted(void *opaque)
{
    UserNet *u = opaque;

    u->posted = false;
    if (u->slirp) {
        user_pump(u);
    }
    object_unref(&u->netdev.obj);
}

void user_post_refresh(UserNet *u)
{
    if (!u->posted) {
        u->posted = true;
        object_ref(&u->netdev.obj);
        loop_post(u->netdev.obj.vm->loop, refresh_posted, u);
    }
}

/* ---- libslirp's callbacks ---------------------------------------------------------------- */

static ssize_t send_packet(const void *data, size_t len, void *opaque)
{
    UserNet *u = opaque;

    net_send_buf(u->port, data, len); /* a full queue loses it, and TCP slows down */
    return (ssize_t)len;
}

static void slirp_said(const char *message, void *opaque)
{
    log_mask(LOG_GUEST_ERRORS, "%s: %s\n", ((UserNet *)opaque)->netdev.id, message);
}

static int64_t slirp_clock(void *opaque)
{
    return clock_now(((UserNet *)opaque)->netdev.obj.vm, CLOCK_VIRTUAL);
}

typedef struct SlirpTimer {
    Timer timer;
    SlirpTimerCb fn;
    void *opaque;
    UserNet *user;
} SlirpTimer;

static void slirp_timer_fired(void *opaque)
{
    SlirpTimer *t = opaque;

    t->fn(t->opaque);
    user_post_refresh(t->user);
}

static void *slirp_timer_make(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
    UserNet *u = opaque;
    SlirpTimer *t = g_new0(SlirpTimer, 1);

    t->fn = fn;
    t->opaque = fn_opaque;
    t->user = u;
    timer_init(&t->timer, u->netdev.obj.vm, CLOCK_VIRTUAL, slirp_timer_fired, t);
    return t;
}

static void slirp_timer_drop(void *timer, void *opaque)
{
    timer_cancel(&((SlirpTimer *)timer)->timer);
    g_free(timer);
}

static void slirp_timer_set(void *timer, int64_t ms, void *opaque)
{
    timer_arm(&((SlirpTimer *)timer)->timer, ms * NSEC_PER_MSEC);
}
static void slirp_new_fd(int fd, void *opaque) {}

/* About to be closed. */
static void slirp_old_fd(int fd, void *opaque)
{
    g_hash_table_remove(((UserNet *)opaque)->watches, GINT_TO_POINTER(fd));
}
static void slirp_notify(void *opaque) { user_post_refresh(opaque); }

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

static bool user_receive(void *opaque, const NetPacket *packet)
{
    UserNet *u = opaque;

    if (packet->count == 1) {
        slirp_input(u->slirp, packet->iov[0].iov_base, (int)packet->size);
    } else {
        g_autofree uint8_t *data = g_malloc(packet->size + 1);

        slirp_input(u->slirp, data, (int)net_packet_copy(packet, 0, data, packet->size));
    }
    user_post_refresh(u);
    return true;
}

static const NetPortOps user_port_ops = {.receive = user_receive};

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
    u->timer = loop_timer_new(netdev->obj.vm->loop, timer_event, u);
    u->forwards = g_ptr_array_new();
    u->port = netdev_add_port(netdev, &user_port_ops, u);
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
    u->slirp = slirp_new(&config, &callbacks, u);
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
    user_post_refresh(u);
    return true;
}

static void user_close(Netdev *netdev)
{
    UserNet *u = container_of(netdev, UserNet, netdev);

    user_close_forwards(u);
    if (u->slirp) {
        Slirp *slirp = u->slirp;

        slirp_cleanup(slirp);
        u->slirp = NULL;
    }
    g_hash_table_destroy(u->watches);
    loop_timer_free(u->timer);
    g_array_unref(u->polls);
    u->timer = NULL;
}

static char *user_connections(Netdev *netdev)
{
    return slirp_connection_info(container_of(netdev, UserNet, netdev)->slirp);
}

static bool user_change_hostfwd(Netdev *netdev, const char *rule, bool add, GError **err)
{
    UserNet *u = container_of(netdev, UserNet, netdev);
    bool ok = user_hostfwd(u, rule, add, err);

    user_post_refresh(u);
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
