/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An NBD server: exports of block nodes, listening sockets, clients. What kiln-nbd and the
 * nbd-server-* and block-export-* commands are made of.
 *
 * Everything runs in the VM's main loop under the VM lock. Only a request itself goes to the loop that
 * owns the node, and comes back.
 */
#ifndef NBD_SERVER_H
#define NBD_SERVER_H

#include "block/block_int.h"
#include "nbd/address.h"

typedef struct NbdServer NbdServer;
typedef struct NbdExport NbdExport;

typedef struct NbdServerConfig {
    Object *creds;      /* tls-creds with endpoint=server; NULL: no TLS. A reference is taken */
    const char *authz;  /* id of an authz object that judges the peer's identity; NULL: anybody */
    unsigned max_peers; /* clients at once; further ones wait. 0: 100 */
    bool verbose;       /* tell why clients go */
    /* An export is gone (may be NULL). */
    void (*export_gone)(void *opaque, const char *id);
    /* A client has come or gone (may be NULL); n: how many there are now; served: one of all that were there has chosen an
     * export (who only lists them, or looks whether anybody listens, has not). */
    void (*peers_changed)(void *opaque, unsigned n, bool served);
    void *opaque;
} NbdServerConfig;

typedef struct NbdExportConfig {
    const char *id;          /* for block-export-del and lists; NULL: the name */
    const char *name, *description; /* description NULL: none */
    BlockNode *node;
    bool writable, write_through;
    bool allocation_depth;   /* offers qemu:allocation-depth */
    const char *const *bitmaps; /* names of dirty bitmaps, NULL at the end; NULL: none */
    const char *const *bitmap_nodes; /* each one's node; NULL (one, or all): the node or its backing files */
    bool multi_conn;         /* several clients see one another's writes (true for all of ours) */
} NbdExportConfig;

NbdServer *nbd_server_new(Vm *vm, const NbdServerConfig *config);
/* Disconnects everybody, waits for what is under way, drops all exports. NULL is fine. */
void nbd_server_free(NbdServer *server);
/* Opens sockets. Their paths are removed by nbd_server_free. */
bool nbd_server_listen(NbdServer *server, NbdAddress *address, GError **err);
/* The same, and a name is looked up without holding anybody up: done (err: the callee's; NULL: it listens) runs once, before
 * this returns, later in the main loop, or in nbd_server_free. address is taken over. */
typedef void NbdListenDone(void *opaque, GError *err);
void nbd_server_listen_later(NbdServer *server, NbdAddress address, NbdListenDone *done, void *opaque);
/* Takes over a socket that listens. */
void nbd_server_listen_fd(NbdServer *server, int fd);
/* Takes over a connected socket, as if it had been accepted. */
void nbd_server_add_peer(NbdServer *server, int fd);
unsigned nbd_server_peers(const NbdServer *server);

/* NULL with *err: the name is taken, the node cannot be written, there is no such bitmap. */
NbdExport *nbd_export_add(NbdServer *server, const NbdExportConfig *config, GError **err);
NbdExport *nbd_export_find(NbdServer *server, const char *name);
NbdExport *nbd_export_find_id(NbdServer *server, const char *id);
/* Gone for new clients. Those who use it are disconnected if hard, else it is refused. */
bool nbd_export_remove(NbdExport *export, bool hard, GError **err);
/* Calls fn with each. */
void nbd_export_foreach(NbdServer *server, void (*fn)(NbdExport *export, void *opaque), void *opaque);
const char *nbd_export_id(const NbdExport *export);
const char *nbd_export_name(const NbdExport *export);
const char *nbd_export_node_name(const NbdExport *export);

#endif
