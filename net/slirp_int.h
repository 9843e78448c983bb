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
    uint8_t *packet;            /* NET_MAX_PACKET: the guest's, while libslirp looks at it; pages are touched as they are used */
    LoopTimer *timer;           /* the next look is due; NULL: detached */
    GPtrArray *timers;          /* SlirpTimer *: libslirp's */
    GPtrArray *forwards;        /* Forward *: guestfwd to character devices */
} UserNet;

/* In the link's loop, as all of this: looks at all that came. */
void user_pump(UserNet *u);
/* At the loop's next turn all that came is looked at, and what libslirp waits for is compared. */
void user_pump_soon(UserNet *u);
/* Around calls into libslirp. Not held while anybody else is called. */
void user_lock(void);
void user_unlock(void);

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
