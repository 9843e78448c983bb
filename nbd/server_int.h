/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the NBD server.
 *
 *   server.c         sockets, clients coming and going, bytes in and out
 *   server_option.c  the handshake
 *   server_io.c      requests and replies
 *   server_status.c  block status
 *   export.c         exports
 */
#ifndef NBD_SERVER_INT_H
#define NBD_SERVER_INT_H

#include "block/dirty_bitmap.h"
#include "nbd/proto.h"
#include "nbd/server.h"

#define NBD_MAX_ACTIVE 16      /* requests of one client: read, and not answered completely */
#define NBD_MAX_LISTENERS 8
#define NBD_MAX_OPTION (64 * KIB) /* data of one option that is looked at */
#define NBD_MAX_OUT 64         /* replies to options that the client does not fetch */
#define NBD_PEER_INPUT (16 * KIB)
#define NBD_BASE_ALLOCATION "base:allocation"
#define NBD_ALLOCATION_DEPTH "qemu:allocation-depth"
#define NBD_DIRTY_BITMAP "qemu:dirty-bitmap:"

/* Numbers of meta contexts; bitmaps follow. */
enum { NBD_CONTEXT_ALLOCATION, NBD_CONTEXT_DEPTH, NBD_CONTEXT_BITMAPS };
#define NBD_MAX_CONTEXTS 64

typedef struct NbdPeer NbdPeer;
typedef struct NbdServed NbdServed;

struct NbdServer {
    Vm *vm;
    Object *creds;
    char *authz;
    unsigned max_peers;
    bool verbose;
    bool served;         /* a client has chosen an export, now or before */
    bool starved;        /* there was no descriptor for a client: none is accepted until retry is over or a client goes */
    bool starved_told;
    LoopTimer *retry;
    void (*export_gone)(void *opaque, const char *id);
    void (*peers_changed)(void *opaque, unsigned n, bool served);
    void *opaque;
    struct {
        int fd;
        LoopFd *source;
        char *path;      /* to be removed; NULL: none */
    } listeners[NBD_MAX_LISTENERS];
    unsigned n_listeners;
    struct HostWait *listening; /* a name is being looked up; NULL: none */
    GPtrArray *peers;    /* NbdPeer *, connected */
    GPtrArray *exports;  /* NbdExport * */
    GAsyncQueue *finished; /* NbdServed *: ended in another loop */
    int finished_fd;     /* eventfd: there are some */
    LoopFd *finished_source;
};

struct NbdExport {
    NbdServer *server;   /* NULL: removed, some clients still have it */
    char *id, *name, *description;
    BlockBackend *blk;
    uint64_t size;       /* bytes, when it was made */
    uint16_t flags;      /* NBD_FLAG_* */
    uint32_t best_block;
    bool depth;          /* offers qemu:allocation-depth */
    GPtrArray *bitmaps;  /* DirtyBitmap *, each kept busy */
    unsigned refs;
};

typedef enum NbdPeerState {
    NBD_PEER_FLAGS,       /* its first 4 bytes */
    NBD_PEER_OPTION,      /* an option's header */
    NBD_PEER_OPTION_DATA,
    NBD_PEER_OPTION_SKIP, /* data that are too long */
    NBD_PEER_TLS_ACK,     /* the answer to starttls is on its way */
    NBD_PEER_TLS,         /* the TLS handshake */
    NBD_PEER_REQUEST,
    NBD_PEER_DATA,        /* of a write */
    NBD_PEER_LEAVING,     /* it said good-bye: what is left is sent */
} NbdPeerState;

/* Bytes to be sent. */
typedef struct NbdOut {
    uint8_t head[NBD_CHUNK_LEN + 12];
    size_t head_len;
    uint8_t *body;        /* own; NULL: none */
    size_t body_len;
    bool ends_request;    /* with it a request is answered */
} NbdOut;

struct NbdPeer {
    NbdServer *server;    /* NULL: disconnected, requests are still under way */
    NbdConn *conn;
    LoopFd *source;
    LoopTimer *timer;     /* of the handshake */
    NbdPeerState state;
    uint8_t *in;          /* NBD_PEER_INPUT bytes */
    size_t in_pos, in_len;
    bool no_zeroes, structured;
    bool heard;           /* something came from it since its time was measured last */
    unsigned extensions;  /* of the handshake's time */
    NbdOption option;
    GByteArray *data;     /* an option's */
    uint64_t left;        /* of the data that are being read or skipped */
    NbdExport *meta_export; /* that contexts were chosen for; no reference: compared only */
    uint64_t contexts;    /* chosen ones, by number */
    NbdExport *export;    /* a reference; NULL during the handshake */
    NbdServed *writing;   /* whose data are being read */
    GQueue out;           /* NbdOut * */
    size_t out_done;      /* bytes of the first that are sent */
    unsigned active;      /* requests not answered completely */
    unsigned requests;    /* of them: under way in the block layer */
    const char *why;      /* it is to be disconnected */
};

/* A request under way. */
struct NbdServed {
    NbdPeer *peer;
    NbdServer *server;
    NbdRequest request;
    BlockBackend *blk;
    BlockIo io;
    struct iovec iov;
    uint8_t *data;        /* its own */
    int result;
    bool discard_data;    /* of a write that is refused */
    bool flush_after;     /* TRIM with FUA */
    void (*next)(NbdServed *served); /* in the main loop, when io has ended */
    /* ---- block status ---- */
    uint64_t pos;         /* of the piece that is asked for */
    BlockStatus status;   /* of it */
    int depth;            /* in which layer it was found; -1: in none */
    GByteArray *extents[NBD_CONTEXT_BITMAPS]; /* so far; NULL: not wanted */
};

/* ---- server.c ---- */

/* What the peer did; it is disconnected as soon as nothing of it is in use. */
void nbd_peer_fail(NbdPeer *peer, const char *why);
void nbd_peer_send(NbdPeer *peer, NbdOut *out);
/* Submits served->io to its back end's loop; served->next runs in the main loop. */
void nbd_served_submit(NbdServed *served);
void nbd_served_free(NbdServed *served);

/* ---- server_option.c ---- */

void nbd_peer_greet(NbdPeer *peer);
/* The client's flags, and each complete option. */
void nbd_peer_flags(NbdPeer *peer, uint32_t flags);
void nbd_peer_option(NbdPeer *peer);
void nbd_option_reply(NbdPeer *peer, uint32_t type, const void *data, size_t len);

/* ---- server_io.c ---- */

/* A request's header has come. */
void nbd_peer_request(NbdPeer *peer, const NbdRequest *request);
/* The data of peer->writing are there. */
void nbd_peer_write_data(NbdPeer *peer);
/* The answer to a request that gives no data. errnum: 0 or positive. */
void nbd_served_reply(NbdServed *served, int errnum, const char *message);

/* ---- server_status.c ---- */

void nbd_served_status(NbdServed *served);

/* ---- export.c ---- */

void nbd_export_ref(NbdExport *export);
void nbd_export_unref(NbdExport *export);
/* The number of the context of this name; -1: there is none. */
int nbd_export_context(const NbdExport *export, const char *name);
/* Names of contexts from 0 on; NULL: there are no more. "" for a number that is not offered. The caller frees. */
char *nbd_export_context_name(const NbdExport *export, unsigned number);

#endif
