/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is the same for all tls-creds: finding them, and calling the module that does the work. */
#include "backends/tls.h"

#include "core/user_object.h"

static const TlsOps *creds_ops(Object *creds) { return type_ops(creds->type); }

Object *tls_creds_find(Vm *vm, const char *id, bool server, GError **err)
{
    Object *creds = user_object_find(vm, id, NULL);

    if (!creds) {
        error_set(err, "No TLS credentials with id '%s'; make them with --object tls-creds-x509,id=%s,...", id, id);
        return NULL;
    }
    if (!object_is_a(creds, "tls-creds")) {
        error_set(err, "Object with id '%s' is not TLS credentials", id);
        return NULL;
    }
    if (creds_ops(creds)->is_server(creds) != server) {
        error_set(err, "Expecting TLS credentials with a %s endpoint: '%s' has endpoint=%s",
                  server ? "server" : "client", id, server ? "client" : "server");
        return NULL;
    }
    return creds;
}

bool tls_creds_have_identity(Object *creds) { return creds_ops(creds)->has_identity(creds); }

TlsSession *tls_session_new(Object *creds, int fd, const char *hostname, GError **err)
{
    return creds_ops(creds)->session_new(creds, fd, hostname, err);
}

int tls_session_handshake(TlsSession *s, GError **err) { return s->ops->handshake(s, err); }

bool tls_session_check_peer(TlsSession *s, char **identity, GError **err)
{
    return s->ops->check_peer(s, identity, err);
}

ssize_t tls_session_send(TlsSession *s, const void *buf, size_t len) { return s->ops->send(s, buf, len); }

ssize_t tls_session_recv(TlsSession *s, void *buf, size_t len) { return s->ops->recv(s, buf, len); }

size_t tls_session_pending(TlsSession *s) { return s->ops->pending(s); }

bool tls_session_wants_write(TlsSession *s) { return s->ops->wants_write(s); }

void tls_session_free(TlsSession *s) { s->ops->free(s); }
