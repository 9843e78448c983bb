/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tls-creds-x509, tls-creds-anon, tls-creds-psk, and TLS sessions, by GnuTLS: in a module, because most
 * VMs need no TLS. Files in the directory "dir" have QEMU's names: ca-cert.pem, ca-crl.pem,
 * server-cert.pem, server-key.pem, client-cert.pem, client-key.pem, dh-params.pem, keys.psk.
 */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/secret.h"
#include "backends/tls.h"
#include "core/user_object.h"
#include "core/vm.h"
#include "util/file.h"

#define MAX_KEY_LINE 4096
#define MAX_FILE (4 * 1024 * 1024)

typedef enum Endpoint { ENDPOINT_CLIENT, ENDPOINT_SERVER } Endpoint;
static const char *const endpoints[] = {"client", "server", NULL};

typedef struct TlsCreds {
    Object obj;
    char *dir, *priority;
    bool verify_peer;
    int endpoint;             /* Endpoint */
    gnutls_dh_params_t dh;    /* from dh-params.pem; NULL: GnuTLS's own */
} TlsCreds;

typedef struct TlsX509 {
    TlsCreds creds;
    bool sanity_check;
    char *passwordid;
    gnutls_certificate_credentials_t cred;
} TlsX509;

typedef struct TlsAnon {
    TlsCreds creds;
    gnutls_anon_server_credentials_t server;
    gnutls_anon_client_credentials_t client;
} TlsAnon;

typedef struct TlsPsk {
    TlsCreds creds;
    char *username;
    gnutls_psk_server_credentials_t server;
    gnutls_psk_client_credentials_t client;
} TlsPsk;

typedef struct Session {
    TlsSession base;
    gnutls_session_t gnutls;
    const TlsCreds *creds;
    char *hostname;           /* NULL: not checked */
    bool done;                /* the handshake */
} Session;

static bool tls_error(GError **err, int ret, const char *what)
{
    return error_set(err, "%s: %s", what, gnutls_strerror(ret));
}

static TlsCreds *creds_of(Object *obj) { return (TlsCreds *)(void *)obj; }

static bool is_server(Object *obj) { return creds_of(obj)->endpoint == ENDPOINT_SERVER; }

/* ---- files --------------------------------------------------------------------------------- */

/* The file's path, NULL without *err when it need not exist and does not. The caller frees. */
static char *find_file(const TlsCreds *c, const char *name, bool required, GError **err)
{
    char *path = g_build_filename(c->dir, name, NULL);
    struct stat st;
    bool found = stat(path, &st) == 0 && access(path, R_OK) == 0;

    if (found && S_ISREG(st.st_mode) && st.st_size <= MAX_FILE) {
        return path;
    }
    if (found) { /* GnuTLS would read it to its end, which may never come */
        error_set(err, "Unable to access credentials %s: no file of at most %d bytes", path, MAX_FILE);
    } else if (errno != ENOENT || required) {
        error_set_errno(err, errno, "Unable to access credentials %s", path);
    }
    g_free(path);
    return NULL;
}

static bool load_dh(TlsCreds *c, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autofree char *path = c->dir && c->endpoint == ENDPOINT_SERVER ? find_file(c, "dh-params.pem", false, &why)
                                                                     : NULL;
    g_autofree char *text = NULL;
    gnutls_datum_t datum;
    gsize len;
    int ret;

    if (!path) {
        if (why) {
            g_propagate_error(err, g_steal_pointer(&why));
            return false;
        }
        return true;
    }
    if (!file_read(path, MAX_FILE, &text, &len, err)) {
        return false;
    }
    datum = (gnutls_datum_t){(unsigned char *)text, (unsigned)len};
    ret = gnutls_dh_params_init(&c->dh);
    if (ret >= 0) {
        ret = gnutls_dh_params_import_pkcs3(c->dh, &datum, GNUTLS_X509_FMT_PEM);
    }
    return ret >= 0 || tls_error(err, ret, path);
}

static void creds_finalize(Object *obj)
{
    TlsCreds *c = creds_of(obj);

    if (c->dh) {
        gnutls_dh_params_deinit(c->dh);
    }
}

static bool creds_complete(Object *obj, GError **err) { return load_dh(creds_of(obj), err); }

/* ---- sessions ------------------------------------------------------------------------------- */

/* What GnuTLS is given: the kind of credentials, and what the kind adds to the priorities. */
typedef struct Kind {
    gnutls_credentials_type_t type;
    const char *suffix;       /* "": nothing */
    void *(*get)(Object *obj);
} Kind;

static void session_free(TlsSession *session)
{
    Session *s = container_of(session, Session, base);

    if (s->gnutls) {
        if (s->done) {
            gnutls_bye(s->gnutls, GNUTLS_SHUT_WR);
        }
        gnutls_deinit(s->gnutls);
    }
    g_free(s->hostname);
    g_free(s);
}

static int handshake(TlsSession *session, GError **err)
{
    Session *s = container_of(session, Session, base);
    int ret = gnutls_handshake(s->gnutls);

    if (ret == GNUTLS_E_SUCCESS) {
        s->done = true;
        return 1;
    }
    if (ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED || !gnutls_error_is_fatal(ret)) {
        return 0;
    }
    tls_error(err, ret, "TLS handshake failed");
    return -1;
}

static bool check_certificate(Session *s, gnutls_x509_crt_t cert, const gnutls_datum_t *der, char **identity,
                              GError **err)
{
    gnutls_datum_t dn = {NULL, 0};
    int ret = gnutls_x509_crt_import(cert, der, GNUTLS_X509_FMT_DER);

    if (ret < 0) {
        return tls_error(err, ret, "The peer's certificate cannot be read");
    }
    if (s->hostname && !gnutls_x509_crt_check_hostname(cert, s->hostname)) {
        return error_set(err, "Certificate does not match the hostname %s", s->hostname);
    }
    if (identity) {
        ret = gnutls_x509_crt_get_dn3(cert, &dn, 0);
        if (ret < 0) {
            return tls_error(err, ret, "The name in the peer's certificate cannot be read");
        }
        *identity = g_strndup((char *)dn.data, dn.size);
        gnutls_free(dn.data);
    }
    return true;
}

static bool check_x509(Session *s, char **identity, GError **err)
{
    const gnutls_datum_t *list;
    unsigned status = 0, n = 0;
    gnutls_datum_t text = {NULL, 0};
    gnutls_x509_crt_t cert;
    int ret;
    bool ok;

    if (!s->creds->verify_peer) {
        return true;
    }
    ret = gnutls_certificate_verify_peers2(s->gnutls, &status);
    if (ret < 0) {
        return tls_error(err, ret, "The peer's certificate cannot be verified");
    }
    if (status) {
        gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
        error_set(err, "The peer's certificate is not trusted: %s", text.data ? (char *)text.data : "");
        gnutls_free(text.data);
        return false;
    }
    list = gnutls_certificate_get_peers(s->gnutls, &n);
    if (!list || !n) {
        return error_set(err, "The peer sent no certificate");
    }
    ret = gnutls_x509_crt_init(&cert);
    if (ret < 0) {
        return tls_error(err, ret, "The peer's certificate cannot be read");
    }
    ok = check_certificate(s, cert, &list[0], identity, err);
    gnutls_x509_crt_deinit(cert);
    return ok;
}

static bool check_peer(TlsSession *session, char **identity, GError **err)
{
    Session *s = container_of(session, Session, base);

    if (identity) {
        *identity = NULL;
    }
    switch (gnutls_auth_get_type(s->gnutls)) {
    case GNUTLS_CRD_CERTIFICATE:
        return check_x509(s, identity, err);
    case GNUTLS_CRD_PSK:
        if (identity && s->creds->endpoint == ENDPOINT_SERVER) {
            *identity = g_strdup(gnutls_psk_server_get_username(s->gnutls));
        }
        return true;
    default:
        return true;
    }
}

static ssize_t result_of(Session *s, ssize_t ret)
{
    if (ret >= 0) {
        return ret;
    }
    if (ret == GNUTLS_E_AGAIN || ret == GNUTLS_E_INTERRUPTED || !gnutls_error_is_fatal((int)ret)) {
        return -EAGAIN;
    }
    return -EIO;
}

static ssize_t session_send(TlsSession *session, const void *buf, size_t len)
{
    Session *s = container_of(session, Session, base);

    return result_of(s, gnutls_record_send(s->gnutls, buf, len));
}

static ssize_t session_recv(TlsSession *session, void *buf, size_t len)
{
    Session *s = container_of(session, Session, base);

    return result_of(s, gnutls_record_recv(s->gnutls, buf, len));
}

static size_t session_pending(TlsSession *session)
{
    return gnutls_record_check_pending(container_of(session, Session, base)->gnutls);
}

/* What GnuTLS did last: true, it was writing. */
static bool session_wants_write(TlsSession *session)
{
    Session *s = container_of(session, Session, base);

    return gnutls_record_get_direction(s->gnutls) == 1;
}

static bool set_priority(Session *s, const Kind *kind, GError **err)
{
    const char *base = s->creds->priority ? s->creds->priority : "NORMAL", *where = "";
    g_autofree char *text = g_strconcat(base, kind->suffix, NULL);
    int ret = gnutls_priority_set_direct(s->gnutls, text, &where);

    return ret >= 0 || error_set(err, "Unable to set TLS session priority %s: %s (at '%s')", text,
                                 gnutls_strerror(ret), where);
}

static TlsSession *session_make(Object *obj, const Kind *kind, int fd, const char *hostname, GError **err)
{
    Session *s = g_new0(Session, 1);
    bool server = is_server(obj);
    int ret;

    s->base.ops = type_ops(obj->type);
    s->creds = creds_of(obj);
    s->hostname = server ? NULL : g_strdup(hostname);
    ret = gnutls_init(&s->gnutls, (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (ret < 0) {
        s->gnutls = NULL;
        tls_error(err, ret, "No TLS session");
        session_free(&s->base);
        return NULL;
    }
    ret = gnutls_credentials_set(s->gnutls, kind->type, kind->get(obj));
    if (ret < 0 || !set_priority(s, kind, err)) {
        if (ret < 0) {
            tls_error(err, ret, "TLS credentials cannot be used");
        }
        session_free(&s->base);
        return NULL;
    }
    if (server && kind->type == GNUTLS_CRD_CERTIFICATE) {
        gnutls_certificate_server_set_request(s->gnutls, s->creds->verify_peer ? GNUTLS_CERT_REQUIRE
                                                                               : GNUTLS_CERT_IGNORE);
    }
    if (!server && hostname && kind->type == GNUTLS_CRD_CERTIFICATE) {
        gnutls_server_name_set(s->gnutls, GNUTLS_NAME_DNS, hostname, strlen(hostname));
    }
    gnutls_transport_set_int(s->gnutls, fd);
    return &s->base;
}

#define SESSION_OPS                                                                                \
    .is_server = is_server, .handshake = handshake, .check_peer = check_peer, .send = session_send, \
    .recv = session_recv, .pending = session_pending, .wants_write = session_wants_write, .free = session_free

static bool identity_yes(Object *obj) { return true; }
static bool identity_no(Object *obj) { return false; }

static const Property creds_props[] = {
    PROP_ENUM("endpoint", TlsCreds, endpoint, .type = "QCryptoTLSCredsEndpoint", .values = endpoints,
              .help = "which side uses them"),
    PROP_BOOL("verify-peer", TlsCreds, verify_peer, .def = true, .help = "the other side must show who it is"),
    PROP_STRING("dir", TlsCreds, dir, .type = "string", .help = "where the files are"),
    PROP_STRING("priority", TlsCreds, priority, .type = "string", .help = "GnuTLS priorities instead of NORMAL"),
    {}};

KILN_TYPE(tls_creds) = {
    .name = "tls-creds",
    .parent = "object",
    .size = sizeof(TlsCreds),
    .abstract = true,
    .user_object = true,
    .props = creds_props,
    .complete = creds_complete,
    .finalize = creds_finalize,
};

/* ---- tls-creds-x509 ----------------------------------------------------------------------------- */

static TlsX509 *x509_of(Object *obj) { return (TlsX509 *)(void *)obj; }

static void *x509_get(Object *obj) { return x509_of(obj)->cred; }

static const Kind x509_kind = {GNUTLS_CRD_CERTIFICATE, "", x509_get};

/* The parts of a certificate that, when wrong, make every handshake fail in ways hard to understand. */
static bool check_one(gnutls_x509_crt_t cert, const char *path, bool is_ca, GError **err)
{
    time_t now = time(NULL);
    unsigned critical;
    int ca;

    if (gnutls_x509_crt_get_expiration_time(cert) < now) {
        return error_set(err, "The certificate %s has expired", path);
    }
    if (gnutls_x509_crt_get_activation_time(cert) > now) {
        return error_set(err, "The certificate %s is not yet active", path);
    }
    ca = gnutls_x509_crt_get_basic_constraints(cert, &critical, NULL, NULL);
    if (is_ca && ca == 0) {
        return error_set(err, "The certificate %s basic constraints do not show a CA", path);
    }
    if (!is_ca && ca > 0) {
        return error_set(err, "The certificate %s basic constraints show a CA, but we need one for a %s", path,
                         "server or client");
    }
    return true;
}

static bool check_file(const char *path, bool is_ca, GError **err)
{
    g_autofree char *text = NULL;
    gnutls_x509_crt_t *list = NULL;
    gnutls_datum_t datum;
    unsigned n = 0;
    gsize len;
    bool ok;
    int ret;

    if (!file_read(path, MAX_FILE, &text, &len, err)) {
        return false;
    }
    datum = (gnutls_datum_t){(unsigned char *)text, (unsigned)len};
    ret = gnutls_x509_crt_list_import2(&list, &n, &datum, GNUTLS_X509_FMT_PEM, 0);
    if (ret < 0) {
        g_autofree char *what = g_strdup_printf("Unable to import certificate %s", path);

        return tls_error(err, ret, what);
    }
    ok = n > 0 && check_one(list[0], path, is_ca, err);
    for (unsigned i = 0; i < n; i++) {
        gnutls_x509_crt_deinit(list[i]);
    }
    gnutls_free(list);
    return ok;
}

static bool load_key(TlsX509 *x, const char *cert, const char *key, GError **err)
{
    char *password = NULL;
    int ret;

    if (x->passwordid) {
        password = secret_get_text(x->creds.obj.vm, x->passwordid, err);
        if (!password) {
            return false;
        }
    }
    ret = gnutls_certificate_set_x509_key_file2(x->cred, cert, key, GNUTLS_X509_FMT_PEM, password, 0);
    if (password) {
        secret_free(password, strlen(password));
    }
    if (ret < 0) {
        g_autofree char *what = g_strdup_printf("Cannot load certificate '%s' & key '%s'", cert, key);

        return tls_error(err, ret, what);
    }
    return true;
}

static bool load_pair(TlsX509 *x, GError **err)
{
    bool server = x->creds.endpoint == ENDPOINT_SERVER;
    g_autoptr(GError) why = NULL;
    g_autofree char *cert = find_file(&x->creds, server ? "server-cert.pem" : "client-cert.pem", server, &why);
    g_autofree char *key = why ? NULL : find_file(&x->creds, server ? "server-key.pem" : "client-key.pem",
                                                  server || cert, &why);

    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return false;
    }
    if (!cert) {
        return true; /* a client without a certificate of its own */
    }
    return (!x->sanity_check || check_file(cert, false, err)) && load_key(x, cert, key, err);
}

static bool load_authorities(TlsX509 *x, GError **err)
{
    bool server = x->creds.endpoint == ENDPOINT_SERVER;
    g_autoptr(GError) why = NULL;
    g_autofree char *ca = find_file(&x->creds, "ca-cert.pem", !server || x->creds.verify_peer, &why);
    g_autofree char *crl = why ? NULL : find_file(&x->creds, "ca-crl.pem", false, &why);
    int ret = 0;

    if (why) {
        g_propagate_error(err, g_steal_pointer(&why));
        return false;
    }
    if (ca && x->sanity_check && !check_file(ca, true, err)) {
        return false;
    }
    if (ca) {
        ret = gnutls_certificate_set_x509_trust_file(x->cred, ca, GNUTLS_X509_FMT_PEM);
    }
    if (ret >= 0 && crl) {
        ret = gnutls_certificate_set_x509_crl_file(x->cred, crl, GNUTLS_X509_FMT_PEM);
    }
    return ret >= 0 || tls_error(err, ret, "The certificates of the authority cannot be loaded");
}

static bool x509_complete(Object *obj, GError **err)
{
    TlsX509 *x = x509_of(obj);
    int ret;

    if (!x->creds.dir) {
        return error_set(err, "Missing 'dir' property value");
    }
    ret = gnutls_certificate_allocate_credentials(&x->cred);
    if (ret < 0) {
        return tls_error(err, ret, "No credentials");
    }
    if (!load_authorities(x, err) || !load_pair(x, err)) {
        return false;
    }
    if (x->creds.dh) {
        gnutls_certificate_set_dh_params(x->cred, x->creds.dh);
    }
    return true;
}

static void x509_finalize(Object *obj)
{
    if (x509_of(obj)->cred) {
        gnutls_certificate_free_credentials(x509_of(obj)->cred);
    }
}

static TlsSession *x509_session(Object *obj, int fd, const char *hostname, GError **err)
{
    return session_make(obj, &x509_kind, fd, hostname, err);
}

static const TlsOps x509_ops = {SESSION_OPS, .has_identity = identity_yes, .session_new = x509_session};

static const Property x509_props[] = {
    PROP_BOOL("sanity-check", TlsX509, sanity_check, .def = true, .help = "look at the certificates before use"),
    PROP_STRING("passwordid", TlsX509, passwordid, .type = "string", .help = "secret that opens the private key"),
    {}};

KILN_TYPE(tls_creds_x509) = {
    .name = "tls-creds-x509",
    .parent = "tls-creds",
    .desc = "TLS with certificates",
    .size = sizeof(TlsX509),
    .props = x509_props,
    .complete = x509_complete,
    .finalize = x509_finalize,
    .ops = &x509_ops,
};

/* ---- tls-creds-anon ------------------------------------------------------------------------------ */

static TlsAnon *anon_of(Object *obj) { return (TlsAnon *)(void *)obj; }

static void *anon_get(Object *obj)
{
    return is_server(obj) ? (void *)anon_of(obj)->server : (void *)anon_of(obj)->client;
}

/* Anonymous key exchange ended with TLS 1.2. */
static const Kind anon_kind = {GNUTLS_CRD_ANON, ":-VERS-TLS1.3:+ANON-ECDH:+ANON-DH", anon_get};

static bool anon_complete(Object *obj, GError **err)
{
    TlsAnon *a = anon_of(obj);
    int ret;

    if (is_server(obj)) {
        ret = gnutls_anon_allocate_server_credentials(&a->server);
        if (ret >= 0 && a->creds.dh) {
            gnutls_anon_set_server_dh_params(a->server, a->creds.dh);
        } else if (ret >= 0) {
            ret = gnutls_anon_set_server_known_dh_params(a->server, GNUTLS_SEC_PARAM_MEDIUM);
        }
    } else {
        ret = gnutls_anon_allocate_client_credentials(&a->client);
    }
    return ret >= 0 || tls_error(err, ret, "No credentials");
}

static void anon_finalize(Object *obj)
{
    if (anon_of(obj)->server) {
        gnutls_anon_free_server_credentials(anon_of(obj)->server);
    }
    if (anon_of(obj)->client) {
        gnutls_anon_free_client_credentials(anon_of(obj)->client);
    }
}

static TlsSession *anon_session(Object *obj, int fd, const char *hostname, GError **err)
{
    return session_make(obj, &anon_kind, fd, NULL, err);
}

static const TlsOps anon_ops = {SESSION_OPS, .has_identity = identity_no, .session_new = anon_session};

KILN_TYPE(tls_creds_anon) = {
    .name = "tls-creds-anon",
    .parent = "tls-creds",
    .desc = "TLS with nobody: encrypted, but nobody knows with whom",
    .size = sizeof(TlsAnon),
    .complete = anon_complete,
    .finalize = anon_finalize,
    .ops = &anon_ops,
};

/* ---- tls-creds-psk ------------------------------------------------------------------------------- */

static TlsPsk *psk_of(Object *obj) { return (TlsPsk *)(void *)obj; }

static void *psk_get(Object *obj)
{
    return is_server(obj) ? (void *)psk_of(obj)->server : (void *)psk_of(obj)->client;
}

static const Kind psk_kind = {GNUTLS_CRD_PSK, ":+ECDHE-PSK:+DHE-PSK:+PSK", psk_get};

/* The client's key: the line "USER:HEX" of keys.psk. */
static bool load_psk_client(TlsPsk *p, const char *path, GError **err)
{
    const char *user = p->username ? p->username : "qemu";
    g_autofree char *text = NULL, *prefix = g_strconcat(user, ":", NULL);
    gnutls_datum_t key = {NULL, 0};
    gsize len;
    int ret;

    if (!file_read(path, MAX_FILE, &text, &len, err)) {
        return false;
    }
    char **lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line && !key.data; line++) {
        if (g_str_has_prefix(*line, prefix) && strlen(*line) < MAX_KEY_LINE) {
            key.data = (unsigned char *)g_strdup(g_strchomp(*line + strlen(prefix)));
            key.size = (unsigned)strlen((char *)key.data);
        }
    }
    g_strfreev(lines);
    explicit_bzero(text, len);
    if (!key.data) {
        return error_set(err, "Username %s not found in PSK file %s", user, path);
    }
    ret = gnutls_psk_allocate_client_credentials(&p->client);
    if (ret >= 0) {
        ret = gnutls_psk_set_client_credentials(p->client, user, &key, GNUTLS_PSK_KEY_HEX);
    }
    secret_free(key.data, key.size);
    return ret >= 0 || tls_error(err, ret, "The key cannot be used");
}

static bool load_psk_server(TlsPsk *p, const char *relative, GError **err)
{
    /* GnuTLS reads it at each handshake, when the working directory may be another. */
    g_autofree char *path = g_canonicalize_filename(relative, NULL);
    int ret = gnutls_psk_allocate_server_credentials(&p->server);

    if (ret >= 0) {
        ret = gnutls_psk_set_server_credentials_file(p->server, path);
    }
    if (ret >= 0 && p->creds.dh) {
        gnutls_psk_set_server_dh_params(p->server, p->creds.dh);
    } else if (ret >= 0) {
        ret = gnutls_psk_set_server_known_dh_params(p->server, GNUTLS_SEC_PARAM_MEDIUM);
    }
    return ret >= 0 || tls_error(err, ret, path);
}

static bool psk_complete(Object *obj, GError **err)
{
    TlsPsk *p = psk_of(obj);
    g_autofree char *path = NULL;

    if (!p->creds.dir) {
        return error_set(err, "Missing 'dir' property value");
    }
    if (is_server(obj) && p->username) {
        return error_set(err, "username should not be set when endpoint=server");
    }
    path = find_file(&p->creds, "keys.psk", true, err);
    return path && (is_server(obj) ? load_psk_server(p, path, err) : load_psk_client(p, path, err));
}

static void psk_finalize(Object *obj)
{
    if (psk_of(obj)->server) {
        gnutls_psk_free_server_credentials(psk_of(obj)->server);
    }
    if (psk_of(obj)->client) {
        gnutls_psk_free_client_credentials(psk_of(obj)->client);
    }
}

static TlsSession *psk_session(Object *obj, int fd, const char *hostname, GError **err)
{
    return session_make(obj, &psk_kind, fd, NULL, err);
}

static const TlsOps psk_ops = {SESSION_OPS, .has_identity = identity_yes, .session_new = psk_session};

static const Property psk_props[] = {
    PROP_STRING("username", TlsPsk, username, .type = "string", .help = "client: whose key; \"qemu\" if left out"),
    {}};

KILN_TYPE(tls_creds_psk) = {
    .name = "tls-creds-psk",
    .parent = "tls-creds",
    .desc = "TLS with keys that both sides know",
    .size = sizeof(TlsPsk),
    .props = psk_props,
    .complete = psk_complete,
    .finalize = psk_finalize,
    .ops = &psk_ops,
};
