/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's handshake, from connecting until the first request can be sent. Sequential and waiting:
 * for threads that may block.
 */
#ifndef NBD_SETUP_H
#define NBD_SETUP_H

#include "nbd/address.h"
#include "nbd/proto.h"

/* What to connect to. */
typedef struct NbdSetup {
    NbdAddress address;
    Object *creds;   /* tls-creds; NULL: plain */
    char *hostname;  /* that the server's certificate must have; NULL: the address's host */
    char *export;    /* its name, maybe "" */
    char *context;   /* meta context that is asked for: "base:allocation" or a bitmap's */
    bool context_required;
    bool simple;     /* neither structured replies nor contexts */
} NbdSetup;

/* What the server says of an export. */
typedef struct NbdInfo {
    uint64_t size;
    uint16_t flags;        /* NBD_FLAG_* */
    bool structured;       /* replies */
    bool has_context;      /* block status can be asked for, with this id */
    uint32_t context;
    uint32_t min_block, best_block, max_block; /* bytes; 0: not said */
    char *name, *description; /* NULL: not said */
    GPtrArray *contexts;   /* char *: all of the export's; listing only */
} NbdInfo;

void nbd_setup_clear(NbdSetup *setup);
void nbd_info_clear(NbdInfo *info);
/* Ready for requests. NULL with *err. */
NbdConn *nbd_setup_connect(NbdSetup *setup, const NbdWait *wait, NbdInfo *info, GError **err);
/* All exports of the server, each with its facts: NbdInfo * with a free function. NULL with *err. */
GPtrArray *nbd_setup_list(NbdSetup *setup, const NbdWait *wait, GError **err);

#endif
