/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * socket: a unix or TCP stream, as server (one client at a time; the next one waits until the
 * present one has gone) or client (with reconnect=, it tries again for ever).
 *
 *   socket.c          options, the connection's life, what the user reads and writes
 *   socket_client.c   connecting (connect.c does it in a thread)
 *   socket_listen.c   listening, accepting
 *   socket_stream.c   bytes through telnet, websocket, TLS, down to the descriptor
 *
 * Main loop and VM lock. Private to these files.
 */
#ifndef CHARDEV_SOCKET_INT_H
#define CHARDEV_SOCKET_INT_H

#include <sys/stat.h>

#include "backends/tls.h"
#include "chardev/backend.h"
#include "chardev/connect.h"
#include "chardev/telnet.h"
#include "chardev/websocket.h"
#include "qapi/qapi-sockets.h"

#define MAX_LISTENERS 4      /* addresses that a host name stands for */
#define MAX_PASSED_FDS 16    /* descriptors in one message */

typedef enum SocketPhase {
    SOCKET_NOBODY,           /* fd is -1; a connection may be being made */
    SOCKET_HANDSHAKE,        /* TLS, then websocket */
    SOCKET_OPEN
} SocketPhase;

typedef struct CharSocket {
    Chardev chr;
    /* ---- options: chr.options has what they point to ---- */
    const ChardevSocket *options;
    const InetSocketAddress *inet; /* one of these four */
    const UnixSocketAddress *unix_addr;
    const VsockSocketAddress *vsock;
    const char *fd_text;
    bool server;
    Object *creds;           /* TLS: a reference; NULL: plain */
    /* ---- server ---- */
    int listeners[MAX_LISTENERS];
    LoopFd *listen_sources[MAX_LISTENERS];
    unsigned n_listeners;
    char *made_path;         /* absolute: the path that we made; NULL: none */
    struct stat path_stat;   /* as we made it */
    /* ---- client ---- */
    CharConnect *attempt;    /* a connection is being made; NULL: none */
    LoopTimer *reconnect_timer;
    bool connect_reported;   /* the present row of failures was told of */
    /* ---- the connection ---- */
    SocketPhase phase;
    int fd;                  /* -1: none */
    LoopFd *source;
    bool want_write;
    LoopTimer *handshake_timer, *pump; /* pump: decoded bytes wait that no event tells of */
    char *text;              /* address for people */
    char *peer;              /* TCP: the other side's, while connected */
    TlsSession *tls;         /* NULL: none */
    bool tls_ready;          /* its handshake is done */
    WebSocket *websocket;    /* NULL: none */
    Telnet telnet_state;
    bool half_iac;           /* telnet: one of two IAC bytes is out */
    int passed[MAX_PASSED_FDS];
    unsigned n_passed;
} CharSocket;

static inline CharSocket *char_socket(Chardev *chr) { return container_of(chr, CharSocket, chr); }

/* ---- socket.c ---- */
/* fd is connected, non-blocking and ours from now on. */
void socket_take_connection(CharSocket *sock, int fd);

/* ---- socket_client.c ---- */
/* Connects: at once (the loop runs until it is done; that ends by vm_request_end too), or with reconnect= by and by. */
bool socket_open_client(CharSocket *sock, GError **err);
void socket_plan_reconnect(CharSocket *sock);
/* LoopTimer's function of reconnect_timer. */
void socket_try_connect(void *opaque);
/* What went wrong with the connection that was to be made; said once until one stands. */
void socket_report_failure(CharSocket *sock, const char *why);

/* ---- socket_listen.c ---- */
bool socket_open_server(CharSocket *sock, GError **err);
/* A descriptor that was passed to us, listening or connected. */
bool socket_open_fd(CharSocket *sock, GError **err);
void socket_listen_for_next(CharSocket *sock, bool on);
void socket_close_listeners(CharSocket *sock);

/* ---- socket_stream.c ---- */
/* A new connection on sock->fd. False with *err. */
bool stream_start(CharSocket *sock, GError **err);
void stream_end(CharSocket *sock);
/* 1: done; 0: again when the descriptor is ready (stream_wants_write: to be written); -1 with *err. */
int stream_handshake(CharSocket *sock, GError **err);
/* As recv and send: -1 with errno; EAGAIN also when only what is no data came. Telnet's breaks are told to the user. */
ssize_t stream_recv(CharSocket *sock, uint8_t *buf, size_t room);
ssize_t stream_send(CharSocket *sock, const uint8_t *data, size_t len);
/* Are there bytes to be read that the descriptor does not tell of? */
bool stream_pending(const CharSocket *sock);
bool stream_wants_write(const CharSocket *sock);
/* Writes what waits below stream_send. */
void stream_flush(CharSocket *sock);
void stream_close_passed_fds(CharSocket *sock);

#endif
