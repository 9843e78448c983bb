/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the "nbd" driver.
 *
 *   client.c        options, opening, the node
 *   client_again.c  the connection's loss and return, yank, the machine's end
 *   client_open.c   the first connection
 *   client_split.c  what the server cannot do at once becomes several requests
 *   client_ahead.c  reads of a format that a monitor's command opens
 *   client_io.c     requests and replies on the wire
 *
 * A BlockIo that goes to client_io.c is a "wire request": the server takes it as it is. All of it
 * belongs to the node's owner, but for NbdAttempt, which a thread of its own works on.
 */
#ifndef NBD_CLIENT_H
#define NBD_CLIENT_H

#include "nbd/setup.h"

#define NBD_SLOTS 32        /* wire requests that the server has at once */
#define NBD_INPUT (16 * KIB)
#define NBD_HANDSHAKE_NS (30 * NSEC_PER_SEC)

typedef struct NbdAttempt NbdAttempt;

/* Bytes of a READ, counted from its start. */
typedef struct NbdSpan {
    uint64_t from, to;
} NbdSpan;

/* A wire request that was sent, or waits for its turn to be. */
typedef struct NbdSlot {
    BlockIo *io;        /* NULL: free */
    uint64_t cookie;
    uint8_t header[NBD_REQUEST_LEN];
    GArray *received;   /* READ: NbdSpan, sorted, apart from each other; what chunks have brought. Kept for the next one */
    bool got_status;
    int error;          /* 0 or -errno, so far */
} NbdSlot;

typedef enum NbdRx {
    NBD_RX_HEAD,    /* a reply's or chunk's first bytes */
    NBD_RX_OFFSET,  /* 8 bytes before the data of a chunk */
    NBD_RX_DATA,    /* into the request's buffers */
    NBD_RX_PAYLOAD, /* a short payload, collected */
} NbdRx;

typedef struct NbdClient {
    BlockNode *node;
    NbdSetup setup;
    NbdInfo info;
    char *where;              /* the address, for messages */
    uint32_t reconnect_delay; /* seconds that requests wait for a lost connection to return */

    NbdConn *conn;            /* NULL: lost */
    BlockFd *source;          /* of conn */
    bool want_write;

    NbdSlot slots[NBD_SLOTS];
    unsigned in_flight;       /* slots in use */
    uint32_t serial;          /* for cookies */
    BlockIo *waiting, **waiting_tail; /* for a slot, or the connection */
    unsigned n_waiting;

    unsigned tx[NBD_SLOTS];   /* slots to be sent, in order */
    unsigned tx_len;
    uint64_t tx_done;         /* bytes of tx[0] that are sent */

    NbdRx rx;
    uint8_t *in;              /* NBD_INPUT bytes: received, not yet looked at */
    size_t in_pos, in_len;
    NbdChunk chunk;           /* the present one; a simple reply's data is a chunk of its own */
    NbdSlot *rx_slot;
    uint64_t rx_pos;          /* in the request's buffers */
    uint64_t rx_left;         /* bytes of the data or payload still to come */
    GByteArray *payload;

    unsigned jobs;            /* submitted to the driver and not ended (client_split.c) */
    unsigned writers;         /* of them: that change data */
    BlockIo *serial_queue, **serial_tail; /* kept until no other writer is there */
    bool serialising;         /* one is at work that reads, changes and writes blocks */

    GPtrArray *ahead;         /* client_ahead.c; NULL: nothing */

    NbdAttempt *attempt;      /* to connect again; NULL: none */
    BlockFd *attempt_source;
    BlockTimer *give_up;      /* ends the waiting of requests */
    bool patient;             /* give_up is armed: since the connection was lost nothing was answered */
    bool overdue;             /* it has run out: the next loss ends the waiting */
    unsigned fruitless;       /* connections in a row that were lost before they answered anything */
    bool yanked;              /* cut off by the manager, or by the machine's end: nothing connects again */
    int word_fd;              /* eventfd: another thread has set one of the next two; -1: the node is not open yet */
    BlockFd *word;
    bool told_yank, told_end; /* atomic */
    BlockTimer *silence;      /* NULL: the machine goes on */
    uint64_t moved, moved_before; /* bytes sent and received; of the last look of silence */
    unsigned silent_s;        /* seconds without any, though requests wait */
    bool failing;             /* it has ended: requests fail until the connection is there again */
} NbdClient;

/* ---- client_io.c ---- */

/* Takes a wire request; io->done runs later. */
void nbd_client_send(NbdClient *c, BlockIo *io);
/* The connection is there (again): sends what waits. */
void nbd_client_connected(NbdClient *c);
/* It is lost: requests wait for the next one, or fail. Replies that are under way are forgotten. */
void nbd_client_io_reset(NbdClient *c);
/* What waits for the connection fails. */
void nbd_client_fail_waiting(NbdClient *c);
/* Watches the connection in the node's loop. */
void nbd_client_watch(NbdClient *c);

/* ---- client_again.c ---- */

/* The server has answered a request: the connection is of use. */
void nbd_client_answered(NbdClient *c);
/* The connection is of no use any more. */
void nbd_client_lost(NbdClient *c, const char *why);

/* No thread looks for the connection any more. */
void nbd_client_stop_connecting(NbdClient *c);
/* The node closes: requests that nobody waits for end now. */
void nbd_client_end_requests(NbdClient *c);
/* The first connection is there. */
bool nbd_client_begin(NbdClient *c, GError **err);
/* Into the node's loop, and out of it. */
void nbd_client_attach(NbdClient *c);
void nbd_client_detach(NbdClient *c);
/* The driver's. */
void nbd_client_yank(BlockNode *node);
void nbd_client_vm_ends(BlockNode *node);
void nbd_client_cut_off(BlockNode *node, const char *why);

/* ---- client_open.c ---- */

/* Connects; timeout: seconds during which it is tried again. False with *err; c->setup may be empty then. */
bool nbd_client_connect_first(NbdClient *c, uint32_t timeout, GError **err);

/* ---- client_split.c ---- */

/* The driver's submit. */
void nbd_client_submit(BlockNode *node, BlockIo *io);
/* Does the server take it as it is? */
bool nbd_client_fits_wire(const NbdClient *c, const BlockIo *io);

/* ---- client_ahead.c ---- */

/* Of a command that opens a format: true: io was taken. All that is submitted is shown to it. */
bool nbd_client_ahead(NbdClient *c, BlockIo *io);
/* How many of the requests that are under way nobody waits for at this moment. */
unsigned nbd_client_ahead_pending(const NbdClient *c);
/* The node leaves the main loop. */
void nbd_client_ahead_leave(NbdClient *c);
void nbd_client_ahead_free(NbdClient *c);

#endif
