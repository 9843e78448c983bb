/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's half of the handshake. Each option's data are complete when it is looked at, and at most
 * NBD_MAX_OPTION bytes. With TLS configured, nothing but STARTTLS and ABORT is answered before it.
 */
#include "nbd/server_int.h"

/* ---- replies --------------------------------------------------------------------------------- */

void nbd_option_reply(NbdPeer *peer, uint32_t type, const void *data, size_t len)
{
    NbdOut *out = g_new0(NbdOut, 1);

    nbd_put_option_reply(out->head, peer->option.option, type, (uint32_t)len);
    out->head_len = NBD_OPTION_REPLY_LEN;
    if (len) {
        out->body = g_memdup2(data, len);
        out->body_len = len;
    }
    nbd_peer_send(peer, out);
}

static void refuse(NbdPeer *peer, uint32_t type, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static void refuse(NbdPeer *peer, uint32_t type, const char *fmt, ...)
{
    va_list args;
    g_autofree char *text = NULL;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    nbd_option_reply(peer, type, text, MIN(strlen(text), NBD_MAX_NAME));
}

static void send_raw(NbdPeer *peer, const void *data, size_t len)
{
    NbdOut *out = g_new0(NbdOut, 1);

    out->body = g_memdup2(data, len);
    out->body_len = len;
    nbd_peer_send(peer, out);
}

void nbd_peer_greet(NbdPeer *peer)
{
    uint8_t buf[NBD_GREETING_LEN];

    store64_be(buf, NBD_MAGIC);
    store64_be(buf + 8, NBD_OPTS_MAGIC);
    store16_be(buf + 16, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
    send_raw(peer, buf, sizeof buf);
}

void nbd_peer_flags(NbdPeer *peer, uint32_t flags)
{
    if (flags & ~(uint32_t)(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES)) {
        nbd_peer_fail(peer, "it wants what this server does not know");
        return;
    }
    peer->no_zeroes = flags & NBD_NO_ZEROES;
    peer->state = NBD_PEER_OPTION;
}

/* ---- reading an option's data ------------------------------------------------------------------ */

typedef struct Cursor {
    const uint8_t *p;
    size_t left;
} Cursor;

static bool take32(Cursor *c, uint32_t *value)
{
    if (c->left < 4) {
        return false;
    }
    *value = load32_be(c->p);
    c->p += 4;
    c->left -= 4;
    return true;
}

/* A length and a string without NUL; NULL: malformed. */
static char *take_string(Cursor *c)
{
    uint32_t len;
    char *text;

    if (!take32(c, &len) || len > NBD_MAX_NAME || len > c->left || memchr(c->p, 0, len)) {
        return NULL;
    }
    text = g_strndup((const char *)c->p, len);
    c->p += len;
    c->left -= len;
    return text;
}

static Cursor option_data(const NbdPeer *peer) { return (Cursor){peer->data->data, peer->data->len}; }

/* ---- LIST ---------------------------------------------------------------------------------------- */

static void list_one(NbdExport *export, void *opaque)
{
    size_t name_len = strlen(export->name);
    size_t more = export->description ? strlen(export->description) : 0;
    g_autofree uint8_t *buf = g_malloc(4 + name_len + more);

    store32_be(buf, (uint32_t)name_len);
    memcpy(buf + 4, export->name, name_len);
    if (more) {
        memcpy(buf + 4 + name_len, export->description, more);
    }
    nbd_option_reply(opaque, NBD_REP_SERVER, buf, 4 + name_len + more);
}

static void option_list(NbdPeer *peer)
{
    if (peer->data->len) {
        refuse(peer, NBD_REP_ERR_INVALID, "option 'list' has no data");
        return;
    }
    nbd_export_foreach(peer->server, list_one, peer);
    nbd_option_reply(peer, NBD_REP_ACK, NULL, 0);
}

/* ---- INFO, GO, EXPORT_NAME ------------------------------------------------------------------------ */

static void begin_transmission(NbdPeer *peer, NbdExport *export)
{
    nbd_export_ref(export);
    peer->export = export;
    if (peer->meta_export != export) {
        peer->contexts = 0;
    }
    loop_timer_cancel(peer->timer);
    peer->server->served = true;
    peer->state = NBD_PEER_REQUEST;
}

static void send_text_info(NbdPeer *peer, uint16_t info, const char *text)
{
    size_t len = strlen(text);
    g_autofree uint8_t *buf = g_malloc(2 + len);

    store16_be(buf, info);
    memcpy(buf + 2, text, len);
    nbd_option_reply(peer, NBD_REP_INFO, buf, 2 + len);
}

static void send_infos(NbdPeer *peer, const NbdExport *export, Cursor wanted)
{
    uint8_t buf[14];

    for (; wanted.left >= 2; wanted.p += 2, wanted.left -= 2) {
        uint16_t info = load16_be(wanted.p);

        if (info == NBD_INFO_NAME) {
            send_text_info(peer, info, export->name);
        } else if (info == NBD_INFO_DESCRIPTION && export->description) {
            send_text_info(peer, info, export->description);
        }
    }
    store16_be(buf, NBD_INFO_BLOCK_SIZE);
    store32_be(buf + 2, 1);
    store32_be(buf + 6, export->best_block);
    store32_be(buf + 10, NBD_MAX_DATA);
    nbd_option_reply(peer, NBD_REP_INFO, buf, 14);
    store16_be(buf, NBD_INFO_EXPORT);
    store64_be(buf + 2, export->size);
    store16_be(buf + 10, export->flags);
    nbd_option_reply(peer, NBD_REP_INFO, buf, 12);
    nbd_option_reply(peer, NBD_REP_ACK, NULL, 0);
}

static void option_info(NbdPeer *peer)
{
    Cursor c = option_data(peer);
    g_autofree char *name = take_string(&c);
    NbdExport *export;
    unsigned n;

    n = name && c.left >= 2 ? load16_be(c.p) : 0;
    if (!name || c.left < 2 || c.left != 2 + 2 * (size_t)n) {
        refuse(peer, NBD_REP_ERR_INVALID, "malformed data of option '%s'",
               nbd_option_name(peer->option.option));
        return;
    }
    export = nbd_export_find(peer->server, name);
    if (!export) {
        refuse(peer, NBD_REP_ERR_UNKNOWN, "export '%s' not present", name);
        return;
    }
    if (n * 2 > NBD_MAX_OUT) {
        refuse(peer, NBD_REP_ERR_TOO_BIG, "too many informations asked for");
        return;
    }
    send_infos(peer, export, (Cursor){c.p + 2, c.left - 2});
    if (peer->option.option == NBD_OPT_GO) {
        begin_transmission(peer, export);
    }
}

static void option_export_name(NbdPeer *peer)
{
    g_autofree char *name = peer->data->len ? g_strndup((char *)peer->data->data, peer->data->len) : g_strdup("");
    NbdExport *export = nbd_export_find(peer->server, name);
    uint8_t buf[10 + 124] = {0};

    if (!export || peer->data->len > NBD_MAX_NAME) {
        nbd_peer_fail(peer, "it wants an export that is not there");
        return;
    }
    store64_be(buf, export->size);
    store16_be(buf + 8, export->flags);
    send_raw(peer, buf, peer->no_zeroes ? 10 : sizeof buf);
    begin_transmission(peer, export);
}

/* ---- meta contexts ---------------------------------------------------------------------------------- */

static void send_context(NbdPeer *peer, const char *name, unsigned number)
{
    size_t len = strlen(name);
    g_autofree uint8_t *buf = g_malloc(4 + len);

    store32_be(buf, peer->option.option == NBD_OPT_SET_META_CONTEXT ? number : 0);
    memcpy(buf + 4, name, len);
    nbd_option_reply(peer, NBD_REP_META_CONTEXT, buf, 4 + len);
}

/* Does a list's query ask for this context? "base:", "qemu:" and "qemu:dirty-bitmap:" ask for all of theirs. */
static bool query_matches(const char *query, const char *name)
{
    size_t n = strlen(query);

    return !strcmp(query, name) || (n && query[n - 1] == ':' && g_str_has_prefix(name, query));
}

static uint64_t contexts_of(const NbdPeer *peer, const NbdExport *export, const char *query)
{
    bool list = peer->option.option == NBD_OPT_LIST_META_CONTEXT;
    uint64_t found = 0;
    char *name;

    for (unsigned i = 0; (name = nbd_export_context_name(export, i)) != NULL; i++) {
        if (*name && (!query || (list ? query_matches(query, name) : !strcmp(query, name)))) {
            found |= UINT64_C(1) << i;
        }
        g_free(name);
    }
    return found;
}

static bool take_queries(NbdPeer *peer, const NbdExport *export, Cursor *c, uint64_t *found)
{
    uint32_t n;

    if (!take32(c, &n)) {
        return false;
    }
    if (!n && peer->option.option == NBD_OPT_LIST_META_CONTEXT) {
        *found = contexts_of(peer, export, NULL);
    }
    for (uint32_t i = 0; i < n; i++) {
        g_autofree char *query = take_string(c);

        if (!query) {
            return false;
        }
        *found |= contexts_of(peer, export, query);
    }
    return c->left == 0;
}

static void option_meta_context(NbdPeer *peer)
{
    Cursor c = option_data(peer);
    g_autofree char *name = take_string(&c);
    NbdExport *export = name ? nbd_export_find(peer->server, name) : NULL;
    uint64_t found = 0;

    if (peer->option.option == NBD_OPT_SET_META_CONTEXT) {
        peer->meta_export = NULL;
        peer->contexts = 0;
    }
    if (!peer->structured) {
        refuse(peer, NBD_REP_ERR_INVALID, "request option '%s' when structured reply is not negotiated",
               nbd_option_name(peer->option.option));
        return;
    }
    if (name && !export) {
        refuse(peer, NBD_REP_ERR_UNKNOWN, "export '%s' not present", name);
        return;
    }
    if (!name || !take_queries(peer, export, &c, &found)) {
        refuse(peer, NBD_REP_ERR_INVALID, "malformed data of option '%s'",
               nbd_option_name(peer->option.option));
        return;
    }
    for (unsigned i = 0; i < NBD_MAX_CONTEXTS; i++) {
        if (found & UINT64_C(1) << i) {
            g_autofree char *context = nbd_export_context_name(export, i);

            send_context(peer, context, i);
        }
    }
    nbd_option_reply(peer, NBD_REP_ACK, NULL, 0);
    if (peer->option.option == NBD_OPT_SET_META_CONTEXT) {
        peer->meta_export = export;
        peer->contexts = found;
    }
}

/* ---- the others --------------------------------------------------------------------------------------- */

static void option_starttls(NbdPeer *peer)
{
    if (peer->data->len) {
        refuse(peer, NBD_REP_ERR_INVALID, "option 'starttls' has no data");
    } else if (!peer->server->creds) {
        refuse(peer, NBD_REP_ERR_POLICY, "TLS not configured");
    } else if (peer->conn->tls) {
        refuse(peer, NBD_REP_ERR_INVALID, "TLS already enabled");
    } else {
        nbd_option_reply(peer, NBD_REP_ACK, NULL, 0);
        peer->structured = false; /* what was said without TLS does not count */
        peer->meta_export = NULL;
        peer->contexts = 0;
        peer->state = NBD_PEER_TLS_ACK;
    }
}

static void option_structured(NbdPeer *peer)
{
    if (peer->data->len) {
        refuse(peer, NBD_REP_ERR_INVALID, "option 'structured reply' has no data");
        return;
    }
    peer->structured = true;
    nbd_option_reply(peer, NBD_REP_ACK, NULL, 0);
}

static bool tls_first(NbdPeer *peer)
{
    uint32_t option = peer->option.option;

    if (!peer->server->creds || peer->conn->tls || option == NBD_OPT_STARTTLS || option == NBD_OPT_ABORT) {
        return false;
    }
    if (option == NBD_OPT_EXPORT_NAME) {
        nbd_peer_fail(peer, "it does not use TLS");
    } else {
        refuse(peer, NBD_REP_ERR_TLS_REQD, "Option '%s' not permitted before TLS", nbd_option_name(option));
    }
    return true;
}

void nbd_peer_option(NbdPeer *peer)
{
    peer->state = NBD_PEER_OPTION;
    if (tls_first(peer)) {
        return;
    }
    switch (peer->option.option) {
    case NBD_OPT_EXPORT_NAME:
        option_export_name(peer);
        break;
    case NBD_OPT_ABORT:
        nbd_option_reply(peer, NBD_REP_ACK, NULL, 0);
        peer->state = NBD_PEER_LEAVING;
        break;
    case NBD_OPT_LIST:
        option_list(peer);
        break;
    case NBD_OPT_STARTTLS:
        option_starttls(peer);
        break;
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        option_info(peer);
        break;
    case NBD_OPT_STRUCTURED_REPLY:
        option_structured(peer);
        break;
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
        option_meta_context(peer);
        break;
    default:
        refuse(peer, NBD_REP_ERR_UNSUP, "Unsupported option %u (%s)", peer->option.option,
               nbd_option_name(peer->option.option));
    }
}
