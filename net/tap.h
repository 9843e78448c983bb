/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tap descriptors as ports: what tap and bridge share. Private to net/. */
#ifndef NET_TAP_H
#define NET_TAP_H

#include "net/backend.h"

typedef struct NetTap NetTap;

/* Takes fd, an open tap; nothing is checked. */
NetTap *net_tap_new(Netdev *netdev, int fd);
/* The kernel may move the packets: vhost is a descriptor of /dev/vhost-net, taken over. */
void net_tap_set_vhost(NetTap *tap, int vhost, unsigned poll_us);
/* NULL is fine. Closes the descriptors. */
void net_tap_free(NetTap *tap);

/* Is fd a tap? False with *err. *name (IFNAMSIZ bytes) and *vnet_hdr are what it has. */
bool net_tap_check(int fd, char *name, bool *vnet_hdr, GError **err);
/* sndbuf in bytes; 0: none. */
bool net_tap_set_sndbuf(int fd, uint64_t size, GError **err);

/* ---- net/tap_open.c: privileges and programs ---------------------------------------------------
 */

/* Opens /dev/net/tun; name (IFNAMSIZ bytes, empty: the kernel chooses) gets the interface's.
 * *vnet_hdr: wanted, and set to what it has; required: false if it cannot be had. -1 with *err. */
int net_tap_open(char *name, bool *vnet_hdr, bool required, bool multi_queue, GError **err);
/* Opens /dev/vhost-net and owns it. -1 with *err. */
int net_tap_open_vhost(Vm *vm, GError **err);
/* Owns a descriptor of it that somebody else opened. */
bool net_tap_own_vhost(int fd, GError **err);
/* Runs helper --br=bridge and receives a tap from it. -1 with *err. */
int net_tap_helper(const char *helper, const char *bridge, bool vnet_hdr, GError **err);
/* Runs script with the interface's name. */
bool net_tap_script(const char *script, const char *name, GError **err);

#define TAP_DEFAULT_HELPER "/usr/lib/qemu/qemu-bridge-helper"
#define TAP_DEFAULT_BRIDGE "br0"
#define TAP_DEFAULT_UP "/etc/qemu-ifup"
#define TAP_DEFAULT_DOWN "/etc/qemu-ifdown"

#endif
