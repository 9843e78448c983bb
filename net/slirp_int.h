/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between net/slirp*.c. */
#ifndef NET_SLIRP_INT_H
#define NET_SLIRP_INT_H

#include <slirp/libslirp.h>

#include "net/backend.h"

typedef struct UserNet {
    Netdev netdev;
    Slirp *slirp;               /* NULL: closed */
    NetPort *port;
    GArray *polls;              /* struct pollfd: what libslirp waits for */
    GHashTable *watches;        /* fd -> Watch */
    unsigned generation;
    LoopTimer *timer;
    bool posted;                /* a comparison is on its way; it holds a reference */
    GPtrArray *forwards;        /* Forward *: guestfwd to character devices */
} UserNet;

/* Looks at all that came. */
void user_pump(UserNet *u);
/* What libslirp waits for may have changed. */
void user_post_refresh(UserNet *u);

/* ---- slirp_address.c ------------------------------------------------------------------------- */
/* Networks and addresses of the options, checked. */
bool user_addresses(const NetdevUserOptions *o, SlirpConfig *config, GError **err);

/* ---- slirp_forward.c ---------------------------------------------------------------------------
 */
/* "tcp:hostaddr:hostport-guestaddr:guestport"; to remove, what stands before the dash. */
bool user_hostfwd(UserNet *u, const char *rule, bool add, GError **err);
/* "tcp:server:port-cmd:command" or "-" and a character device as of -serial. */
bool user_guestfwd(UserNet *u, const char *rule, GError **err);
void user_close_forwards(UserNet *u);

#endif
