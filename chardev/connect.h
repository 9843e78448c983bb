/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connecting to an address without holding anybody up: a thread looks names up and tries one address after the other,
 * as long as the kernel takes for that; the loop hears how it ended. Private to chardev/.
 */
#ifndef CHARDEV_CONNECT_H
#define CHARDEV_CONNECT_H

#include "qapi/qapi-sockets.h"
#include "util/error.h"
#include "util/loop.h"

typedef struct CharConnect CharConnect;
/* fd: the connection, non-blocking, the callee's; or -1, and then err says why (it stays the caller's). */
typedef void CharConnectDone(void *opaque, int fd, const GError *err);

/* done runs once, in the loop's thread and not before this returns, unless it is cancelled. addr is an inet, unix or vsock
 * address; it is copied. VM lock. */
CharConnect *char_connect_start(Loop *loop, const SocketAddressLegacy *addr, CharConnectDone *done, void *opaque);
/* done does not run any more. NULL is fine. A name that is being looked up at this moment keeps its thread until the
 * answer comes. VM lock. */
void char_connect_cancel(CharConnect *c);
/* "host:port", "[::1]:port", "/path", "@abstract", "vsock:2:1234", as the user named it; the caller frees. */
char *char_address_text(const SocketAddressLegacy *addr);

#endif
