/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an NBD server is. */
#ifndef NBD_ADDRESS_H
#define NBD_ADDRESS_H

#include "block/block_int.h"
#include "nbd/conn.h"
#include "util/lookup.h"

typedef enum NbdAddressType { NBD_INET, NBD_UNIX, NBD_VSOCK, NBD_FD } NbdAddressType;

typedef struct NbdAddress {
    NbdAddressType type;
    char *host, *port;   /* inet; vsock: numbers of context and port */
    char *known;         /* the host's addresses, looked up before; used once. NULL: none */
    char *path;          /* unix */
    bool abstract, tight;
    bool ipv4, ipv6;     /* inet: may it be? */
    bool keep_alive, mptcp;
    int fd;              /* fd: connected */
    bool fd_used;        /* it was taken once */
} NbdAddress;

/* Takes "type", "host", "path", ... out of opts; what is left there is no address. */
bool nbd_address_take(NbdAddress *address, BlockOpts *opts, GError **err);
void nbd_address_clear(NbdAddress *address);
/* For messages; the caller frees. */
char *nbd_address_text(const NbdAddress *address);
/* A connected socket (the caller's), or -1 with *err. Any thread; may wait. */
int nbd_address_connect(NbdAddress *address, const NbdWait *wait, GError **err);
/* Takes what was looked up for the host: the next connecting or listening uses it. */
void nbd_address_known(NbdAddress *address, const HostNames *names);
/* Do both lead to the same place in the same way? */
bool nbd_address_equal(const NbdAddress *a, const NbdAddress *b);
/* Listening sockets, one for each address that a host name stands for; false with *err. */
bool nbd_address_listen(NbdAddress *address, int *fds, unsigned max, unsigned *n, GError **err);

#endif
