/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS for sockets: credentials are tls-creds-* objects, which a module (kiln-gnutls.so) brings; a
 * session is one connection's. A session is used by one thread at a time; different ones, made from the
 * same credentials, by different threads.
 */
#ifndef BACKENDS_TLS_H
#define BACKENDS_TLS_H

#include <sys/types.h>

#include "core/object.h"

typedef struct TlsSession TlsSession;

/* Ops of tls-creds-*; sessions begin with a TlsSession. Functions as those below. */
typedef struct TlsOps {
    bool (*is_server)(Object *creds);
    bool (*has_identity)(Object *creds);
    TlsSession *(*session_new)(Object *creds, int fd, const char *hostname, GError **err);
    int (*handshake)(TlsSession *session, GError **err);
    bool (*check_peer)(TlsSession *session, char **identity, GError **err);
    ssize_t (*send)(TlsSession *session, const void *buf, size_t len);
    ssize_t (*recv)(TlsSession *session, void *buf, size_t len);
    size_t (*pending)(TlsSession *session);
    bool (*wants_write)(TlsSession *session);
    void (*free)(TlsSession *session);
} TlsOps;

struct TlsSession {
    const TlsOps *ops;
};

/* The object of this id (no reference), for a server or a client. NULL with *err: there is none, it is no
 * tls-creds, or it is for the other side. VM lock. */
Object *tls_creds_find(Vm *vm, const char *id, bool server, GError **err);
/* Do peers show who they are? Anonymous ones do not, so no authz object can judge them. */
bool tls_creds_have_identity(Object *creds);

/* fd (non-blocking, stays the caller's) will be used. Clients: hostname (may be NULL) is the name that the
 * server's certificate must have. creds outlives the session. NULL with *err. */
TlsSession *tls_session_new(Object *creds, int fd, const char *hostname, GError **err);
/* 1: done; 0: again when fd is ready (tls_session_wants_write); -1 with *err. */
int tls_session_handshake(TlsSession *session, GError **err);
/* After the handshake: may the peer be trusted? identity (may be NULL): its distinguished name or user name,
 * NULL for an anonymous one; the caller frees. */
bool tls_session_check_peer(TlsSession *session, char **identity, GError **err);
/* Bytes, 0 when the peer ended the session properly (recv), -EAGAIN, -EIO (also when it ended improperly). */
ssize_t tls_session_send(TlsSession *session, const void *buf, size_t len);
ssize_t tls_session_recv(TlsSession *session, void *buf, size_t len);
/* Bytes received and decrypted that recv has not given yet. */
size_t tls_session_pending(TlsSession *session);
/* After 0 or -EAGAIN: wait until fd is writable, rather than readable. */
bool tls_session_wants_write(TlsSession *session);
/* Tells the peer, if that is possible at once, and frees. */
void tls_session_free(TlsSession *session);

#endif
