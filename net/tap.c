/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap: an interface of the host, opened here, by a helper program, or by the manager (fd=, fds=).
 * bridge: one that a helper put on a bridge. Several queues are several descriptors of one
 * interface. With vhost=on each has a descriptor of /dev/vhost-net too, for cards that let the
 * kernel serve their rings (virtio-net); others do not notice.
 */
#include <linux/if_tun.h>
#include <net/if.h>
#include <unistd.h>

#include "net/sockets.h"
#include "net/tap.h"
#include "util/log.h"

#define MAX_TAP_QUEUES 256

typedef struct NetdevTap {
    Netdev netdev;
    GPtrArray *taps;        /* NetTap * */
    char name[IFNAMSIZ];
    char *downscript;       /* NULL: none */
} NetdevTap;

static bool add_tap(NetdevTap *t, int fd, const NetdevTapOptions *o, GError **err)
{
    if (o && !net_tap_set_sndbuf(fd, o->has_sndbuf ? o->sndbuf : 0, err)) {
        close(fd);
        return false;
    }
    g_ptr_array_add(t->taps, net_tap_new(&t->netdev, fd));
    return true;
}

/* ---- the manager's ----------------------------------------------------------------------- */

static bool add_fd(NetdevTap *t, const char *text, const NetdevTapOptions *o, GError **err)
{
    int fd = net_take_fd(t->netdev.obj.vm, text, err);
    bool vnet;

    if (fd < 0) {
        return false;
    }
    if (!net_set_nonblock(fd, err) || !net_tap_check(fd, t->name, &vnet, err)) {
        close(fd);
        return false;
    }
    return add_tap(t, fd, o, err);
}

static bool open_fds(NetdevTap *t, const NetdevTapOptions *o, GError **err)
{
    g_auto(GStrv) fds = g_strsplit(o->fd ? o->fd : o->fds, ":", -1);

    if (o->ifname || o->script || o->downscript || o->has_vnet_hdr || o->helper || (o->fd && o->fds)) {
        return error_set(
            err, "ifname=, script=, downscript=, vnet_hdr=, helper=%s are invalid with %s",
            o->fd ? ", fds=" : "", o->fd ? "fd=" : "fds=");
    }
    if (o->has_queues && o->queues != g_strv_length(fds)) { /* QEMU refuses the right number, too */
        return error_set(err, "queues=%u does not match the number of descriptors in %s=, which is %u; leave queues= out",
                         o->queues, o->fd ? "fd" : "fds", g_strv_length(fds));
    }
    if (g_strv_length(fds) > MAX_TAP_QUEUES) {
        return error_set(err, "fds=: at most %u queues", MAX_TAP_QUEUES);
    }
    for (char **fd = fds; *fd; fd++) {
        if (!add_fd(t, *fd, o, err)) {
            return false;
        }
    }
    netdev_set_info(&t->netdev, "fd=%s", o->fd ? o->fd : o->fds);
    return true;
}

/* ---- a helper's -------------------------------------------------------------------------- */

static bool open_helper(NetdevTap *t, const char *helper, const char *bridge,
                        const NetdevTapOptions *o, GError **err)
{
    bool vnet = !o || !o->has_vnet_hdr || o->vnet_hdr;
    int fd;

    helper = helper ? helper : TAP_DEFAULT_HELPER;
    bridge = bridge ? bridge : TAP_DEFAULT_BRIDGE;
    fd = net_tap_helper(helper, bridge, vnet, err);
    if (fd < 0) {
        return false;
    }
    if (!net_tap_check(fd, t->name, &vnet, err)) {
        close(fd);
        return false;
    }
    netdev_set_info(&t->netdev, "helper=%s,br=%s", helper, bridge);
    return add_tap(t, fd, o, err);
}

/* ---- our own ----------------------------------------------------------------------------- */

/* NULL: none. */
static const char *script_path(const char *given, const char *usual)
{
    return !given ? usual : !strcmp(given, "no") || !*given ? NULL : given;
}

static bool open_interface(NetdevTap *t, const NetdevTapOptions *o, GError **err)
{
    unsigned queues = o->has_queues ? o->queues : 1;
    const char *up = script_path(o->script, TAP_DEFAULT_UP),
               *down = script_path(o->downscript, TAP_DEFAULT_DOWN);

    if (!queues || queues > MAX_TAP_QUEUES) {
        return error_set(err, "queues=%u: 1 to %u are possible", queues, MAX_TAP_QUEUES);
    }
    if (o->ifname && strlen(o->ifname) >= IFNAMSIZ) {
        return error_set(err, "ifname=%s: an interface's name has at most %u characters", o->ifname,
                         IFNAMSIZ - 1);
    }
    g_strlcpy(t->name, o->ifname ? o->ifname : "", IFNAMSIZ);
    for (unsigned i = 0; i < queues; i++) {
        bool vnet = !o->has_vnet_hdr || o->vnet_hdr;
        int fd = net_tap_open(t->name, &vnet, o->has_vnet_hdr, queues > 1, err);

        if (fd < 0 || !add_tap(t, fd, o, err)) {
            return false;
        }
        if (i == 0 && up && !net_tap_script(up, t->name, err)) {
            return false;
        }
    }
    t->downscript = g_strdup(down);
    netdev_set_info(&t->netdev, "ifname=%s,script=%s,downscript=%s", t->name, up ? up : "no",
                    down ? down : "no");
    return true;
}

/* ---- vhost ------------------------------------------------------------------------------- */

static bool wants_vhost(const NetdevTapOptions *o)
{
    return o->has_vhost ? o->vhost : o->vhostfd || o->vhostfds || (o->has_vhostforce && o->vhostforce);
}

static bool check_vhost(const NetdevTapOptions *o, GError **err)
{
    if (!wants_vhost(o) && (o->vhostfd || o->vhostfds)) {
        return error_set(err, "vhostfd(s)= is not valid without vhost; leave vhost=off out");
    }
    if (o->vhostfds && !o->fds) {
        return error_set(err, "vhostfds= is invalid if fds= wasn't specified; use vhostfd=");
    }
    if (o->vhostfd && o->fds) {
        return error_set(err, "vhostfd= is invalid with fds=; use vhostfds=");
    }
    if (o->vhostfd && o->has_queues && o->queues > 1) {
        return error_set(err, "vhostfd= is one descriptor, and queues=%u want as many; use fds= and vhostfds=",
                         o->queues);
    }
    return true;
}

/* Those that the manager passed: it means them, so what is wrong with one is an error. */
static bool take_vhost_fds(NetdevTap *t, const NetdevTapOptions *o, GError **err)
{
    g_auto(GStrv) fds = g_strsplit(o->vhostfd ? o->vhostfd : o->vhostfds, ":", -1);

    if (g_strv_length(fds) != t->taps->len) {
        return error_set(err, "The number of fds passed does not match the number of vhostfds passed: %u and %u",
                         t->taps->len, g_strv_length(fds));
    }
    for (unsigned i = 0; i < t->taps->len; i++) {
        const int fd = net_take_fd(t->netdev.obj.vm, fds[i], err);

        if (fd < 0) {
            g_prefix_error(err, "vhostfd%s=: ", o->vhostfd ? "" : "s");
            return false;
        }
        net_tap_set_vhost(t->taps->pdata[i], fd, o->has_poll_us ? o->poll_us : 0);
        if (!net_set_nonblock(fd, err) || !net_tap_own_vhost(fd, err)) {
            return false;
        }
    }
    return true;
}

/* All queues have it, or none. */
static bool open_vhost(NetdevTap *t, const NetdevTapOptions *o, GError **err)
{
    GArray *fds = g_array_new(false, false, sizeof(int));
    int fd = -1;

    for (unsigned i = 0; i < t->taps->len; i++) {
        fd = net_tap_open_vhost(t->netdev.obj.vm, err);
        if (fd < 0) {
            break;
        }
        g_array_append_val(fds, fd);
    }
    for (unsigned i = 0; i < fds->len; i++) {
        const int opened = g_array_index(fds, int, i);

        if (fd >= 0) {
            net_tap_set_vhost(t->taps->pdata[i], opened, o->has_poll_us ? o->poll_us : 0);
        } else {
            close(opened);
        }
    }
    g_array_unref(fds);
    return fd >= 0;
}

static bool add_vhost(NetdevTap *t, const NetdevTapOptions *o, GError **err)
{
    g_autoptr(GError) reason = NULL;

    if (!wants_vhost(o)) {
        return true;
    }
    if (o->vhostfd || o->vhostfds) {
        return take_vhost_fds(t, o, err);
    }
    if (open_vhost(t, o, &reason)) {
        return true;
    }
    if (o->has_vhostforce && o->vhostforce) {
        return error_set(err, "%s; without vhostforce=on packets would go through Kiln then", reason->message);
    }
    report_warning("netdev %s: vhost=on: %s; packets go through Kiln", t->netdev.id, reason->message);
    return true;
}

/* ---- the types --------------------------------------------------------------------------- */

static bool open_taps(NetdevTap *t, const NetdevTapOptions *o, GError **err)
{
    if (o->fd || o->fds) {
        return open_fds(t, o, err);
    }
    if (o->helper) {
        return o->ifname || o->script || o->downscript || o->has_queues
                   ? error_set(err,
                               "ifname=, script=, downscript=, queues= are invalid with helper=")
                   : open_helper(t, o->helper, o->br, o, err);
    }
    if (o->br) {
        return error_set(
            err, "br= belongs to helper=; the script= of this interface puts it on a bridge");
    }
    return open_interface(t, o, err);
}

static bool tap_open(Netdev *netdev, const NetdevOptions *options, GError **err)
{
    const NetdevTapOptions *o = &options->u.tap;
    NetdevTap *t = container_of(netdev, NetdevTap, netdev);

    return check_vhost(o, err) && open_taps(t, o, err) && add_vhost(t, o, err);
}

static bool bridge_open(Netdev *netdev, const NetdevOptions *options, GError **err)
{
    return open_helper(container_of(netdev, NetdevTap, netdev), options->u.bridge.helper,
                       options->u.bridge.br, NULL, err);
}

static void tap_close(Netdev *netdev)
{
    NetdevTap *t = container_of(netdev, NetdevTap, netdev);
    g_autoptr(GError) reason = NULL;

    if (t->downscript && !net_tap_script(t->downscript, t->name, &reason)) {
        report_warning("netdev %s: %s", netdev->id, reason->message);
    }
    for (unsigned i = 0; i < t->taps->len; i++) {
        net_tap_free(t->taps->pdata[i]);
    }
    g_ptr_array_unref(t->taps);
    t->taps = NULL;
    g_clear_pointer(&t->downscript, g_free);
}

static void tap_init(Object *obj)
{
    container_of(obj, NetdevTap, netdev.obj)->taps = g_ptr_array_new();
}

static const NetdevOps tap_ops = {.open = tap_open, .close = tap_close};
static const NetdevOps bridge_ops = {.open = bridge_open, .close = tap_close};

KILN_TYPE(netdev_tap) = {
    .name = "netdev-tap",
    .parent = "netdev",
    .desc = "tap interface",
    .size = sizeof(NetdevTap),
    .ops = &tap_ops,
    .init = tap_init,
};

KILN_TYPE(netdev_bridge) = {
    .name = "netdev-bridge",
    .parent = "netdev",
    .desc = "tap interface on a bridge",
    .size = sizeof(NetdevTap),
    .ops = &bridge_ops,
    .init = tap_init,
};
