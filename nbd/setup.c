/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's handshake. Servers that are not "fixed newstyle" are asked for nothing but the export's
 * name; oldstyle ones are refused.
 */
#include "nbd/setup.h"

#include <unistd.h>

#define MAX_PAYLOAD (64 * KIB) /* of an option's reply */
#define MAX_REPLIES 65536      /* to one option */
#define OLD_MAGIC UINT64_C(0x420281861253)

typedef struct Talk {
    NbdSetup *setup;
    const NbdWait *wait;
    NbdConn *conn;
    bool fixed, no_zeroes;
    uint8_t *payload; /* of the last reply; payload[reply.len] is 0 */
    NbdOptionReply reply;
} Talk;

void nbd_setup_clear(NbdSetup *s)
{
    nbd_address_clear(&s->address);
    g_clear_pointer(&s->hostname, g_free);
    g_clear_pointer(&s->export, g_free);
    g_clear_pointer(&s->context, g_free);
    if (s->creds) {
        object_unref(s->creds);
        s->creds = NULL;
    }
}

void nbd_info_clear(NbdInfo *info)
{
    g_free(info->name);
    g_free(info->description);
    if (info->contexts) {
        g_ptr_array_free(info->contexts, TRUE);
    }
    *info = (NbdInfo){0};
}

static void info_free(void *info)
{
    nbd_info_clear(info);
    g_free(info);
}

/* ---- options and their replies --------------------------------------------------------------- */

static bool send_option(Talk *t, uint32_t option, const void *data, size_t len, GError **err)
{
    g_autofree uint8_t *buf = g_malloc(NBD_OPTION_LEN + len);

    nbd_put_option(buf, option, (uint32_t)len);
    if (len) {
        memcpy(buf + NBD_OPTION_LEN, data, len);
    }
    return nbd_conn_write_all(t->conn, buf, NBD_OPTION_LEN + len, t->wait, err);
}

static bool read_reply(Talk *t, uint32_t option, GError **err)
{
    uint8_t head[NBD_OPTION_REPLY_LEN];

    if (!nbd_conn_read_all(t->conn, head, sizeof head, t->wait, err)) {
        return false;
    }
    if (!nbd_get_option_reply(head, &t->reply) || t->reply.option != option) {
        return error_set(err, "the server's reply to option %s is malformed", nbd_option_name(option));
    }
    if (t->reply.len > MAX_PAYLOAD) {
        return error_set(err, "the server's reply to option %s has %u bytes, more than allowed",
                         nbd_option_name(option), t->reply.len);
    }
    g_free(t->payload);
    t->payload = g_malloc(t->reply.len + 1);
    t->payload[t->reply.len] = 0;
    return nbd_conn_read_all(t->conn, t->payload, t->reply.len, t->wait, err);
}

static bool is_refusal(const Talk *t) { return t->reply.type & 0x80000000u; }

static bool refused(const Talk *t, GError **err)
{
    g_autofree char *message = nbd_printable(t->payload, MIN(t->reply.len, NBD_MAX_NAME));

    return error_set(err, "Requested option '%s' was refused: %s%s%s%s", nbd_option_name(t->reply.option),
                     nbd_reply_error_text(t->reply.type), *message ? " (server says: " : "", message,
                     *message ? ")" : "");
}

static bool unexpected(const Talk *t, GError **err)
{
    return error_set(err, "the server's reply of type %u to option %s makes no sense", t->reply.type,
                     nbd_option_name(t->reply.option));
}

/* An option without data that is answered once. *ok: taken; false: an error. */
static bool simple_option(Talk *t, uint32_t option, bool *ok, GError **err)
{
    if (!send_option(t, option, NULL, 0, err) || !read_reply(t, option, err)) {
        return false;
    }
    *ok = t->reply.type == NBD_REP_ACK && t->reply.len == 0;
    return *ok || is_refusal(t) || unexpected(t, err);
}

/* ---- the beginning ---------------------------------------------------------------------------- */

static bool greet(Talk *t, GError **err)
{
    uint8_t buf[NBD_GREETING_LEN], flags[4];
    uint16_t theirs;
    uint32_t ours;

    if (!nbd_conn_read_all(t->conn, buf, sizeof buf, t->wait, err)) {
        return false;
    }
    if (load64_be(buf) != NBD_MAGIC) {
        return error_set(err, "Bad initial magic received: this is no NBD server");
    }
    if (load64_be(buf + 8) == OLD_MAGIC) {
        return error_set(err, "the server speaks the old protocol without options, which is not supported");
    }
    if (load64_be(buf + 8) != NBD_OPTS_MAGIC) {
        return error_set(err, "Bad server magic received: 0x%016" PRIx64, load64_be(buf + 8));
    }
    theirs = load16_be(buf + 16);
    t->fixed = theirs & NBD_FIXED_NEWSTYLE;
    t->no_zeroes = theirs & NBD_NO_ZEROES;
    ours = (t->fixed ? NBD_FIXED_NEWSTYLE : 0) | (t->no_zeroes ? NBD_NO_ZEROES : 0);
    store32_be(flags, ours);
    return nbd_conn_write_all(t->conn, flags, sizeof flags, t->wait, err);
}

static bool start_tls(Talk *t, GError **err)
{
    const NbdSetup *s = t->setup;
    const char *host = s->hostname ? s->hostname : s->address.type == NBD_INET ? s->address.host : NULL;
    TlsSession *tls;
    bool ok;

    if (!t->fixed) {
        return error_set(err, "the server cannot do TLS: it does not speak the fixed newstyle protocol");
    }
    if (!simple_option(t, NBD_OPT_STARTTLS, &ok, err)) {
        return false;
    }
    if (!ok) {
        return refused(t, err);
    }
    tls = tls_session_new(s->creds, t->conn->fd, host, err);
    return tls && nbd_conn_start_tls(t->conn, tls, t->wait, err);
}

static bool talk_begin(Talk *t, NbdSetup *setup, const NbdWait *wait, GError **err)
{
    int fd = nbd_address_connect(&setup->address, wait, err);

    *t = (Talk){.setup = setup, .wait = wait};
    if (fd < 0) {
        return false;
    }
    t->conn = nbd_conn_new(fd);
    return greet(t, err) && (!setup->creds || start_tls(t, err));
}

static void talk_end(Talk *t)
{
    nbd_conn_free(t->conn);
    g_free(t->payload);
}

/* ---- meta contexts ----------------------------------------------------------------------------- */

static void append_string(GByteArray *buf, const char *text)
{
    uint8_t len[4];

    store32_be(len, (uint32_t)strlen(text));
    g_byte_array_append(buf, len, sizeof len);
    g_byte_array_append(buf, (const uint8_t *)text, (guint)strlen(text));
}

/* query NULL: all. */
static bool ask_contexts(Talk *t, uint32_t option, const char *export, const char *query, GError **err)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();
    uint8_t n[4];

    append_string(buf, export);
    store32_be(n, query != NULL);
    g_byte_array_append(buf, n, sizeof n);
    if (query) {
        append_string(buf, query);
    }
    return send_option(t, option, buf->data, buf->len, err);
}

/* Calls fn with each context; ends with ACK. A refusal counts as none. */
static bool read_contexts(Talk *t, uint32_t option, void (*fn)(Talk *t, void *opaque), void *opaque,
                          GError **err)
{
    for (unsigned i = 0; i < MAX_REPLIES; i++) {
        if (!read_reply(t, option, err)) {
            return false;
        }
        if (is_refusal(t) || (t->reply.type == NBD_REP_ACK && !t->reply.len)) {
            return true;
        }
        if (t->reply.type != NBD_REP_META_CONTEXT || t->reply.len <= 4 ||
            t->reply.len > 4 + NBD_MAX_NAME) {
            return unexpected(t, err);
        }
        fn(t, opaque);
    }
    return error_set(err, "the server's reply to option %s does not end", nbd_option_name(option));
}

static void take_context(Talk *t, void *opaque)
{
    NbdInfo *info = opaque;

    if (!strcmp((char *)t->payload + 4, t->setup->context)) {
        info->has_context = true;
        info->context = load32_be(t->payload);
    }
}

static bool negotiate_context(Talk *t, NbdInfo *info, GError **err)
{
    const NbdSetup *s = t->setup;

    if (info->structured && !(ask_contexts(t, NBD_OPT_SET_META_CONTEXT, s->export, s->context, err) &&
                              read_contexts(t, NBD_OPT_SET_META_CONTEXT, take_context, info, err))) {
        return false;
    }
    return info->has_context || !s->context_required ||
           error_set(err, "requested x-dirty-bitmap %s not found", s->context);
}

/* ---- the export -------------------------------------------------------------------------------- */

static bool take_block_sizes(NbdInfo *info, const uint8_t *p, GError **err)
{
    info->min_block = load32_be(p);
    info->best_block = load32_be(p + 4);
    info->max_block = load32_be(p + 8);
    if (!is_power_of_two(info->min_block) || info->min_block > 64 * KIB) {
        return error_set(err, "server advertised bad minimum block size %u", info->min_block);
    }
    if (!is_power_of_two(info->best_block) || info->best_block < info->min_block) {
        return error_set(err, "server advertised bad preferred block size %u", info->best_block);
    }
    if (info->max_block < info->min_block) {
        return error_set(err, "server advertised bad maximum block size %u", info->max_block);
    }
    info->max_block -= info->max_block % info->min_block;
    return true;
}

static bool take_info(Talk *t, NbdInfo *info, GError **err)
{
    const uint8_t *p = t->payload;
    uint32_t len = t->reply.len;

    if (len < 2) {
        return unexpected(t, err);
    }
    switch (load16_be(p)) {
    case NBD_INFO_EXPORT:
        if (len != 12) {
            return unexpected(t, err);
        }
        info->size = load64_be(p + 2);
        info->flags = load16_be(p + 10);
        return true;
    case NBD_INFO_BLOCK_SIZE:
        return len == 14 ? take_block_sizes(info, p + 2, err) : unexpected(t, err);
    case NBD_INFO_DESCRIPTION:
        g_free(info->description);
        info->description = nbd_printable(p + 2, MIN(len - 2, NBD_MAX_NAME));
        return true;
    default:
        return true; /* the server may say more than it was asked */
    }
}

static bool check_info(const NbdInfo *info, GError **err)
{
    if (!(info->flags & NBD_FLAG_HAS_FLAGS)) {
        return error_set(err, "the server did not say what the export is like");
    }
    if (info->size > INT64_MAX) {
        return error_set(err, "export length %" PRIu64 " is too large", info->size);
    }
    if (info->min_block && info->size % info->min_block) {
        return error_set(err, "export length %" PRIu64 " is not multiple of minimum block size %u",
                         info->size, info->min_block);
    }
    return true;
}

/* GO or INFO. *known: the server knows this option. */
static bool ask_export(Talk *t, uint32_t option, const char *name, NbdInfo *info, bool *known,
                       GError **err)
{
    static const uint8_t wanted[] = {0, 2, 0, NBD_INFO_BLOCK_SIZE, 0, NBD_INFO_DESCRIPTION};
    g_autoptr(GByteArray) buf = g_byte_array_new();

    *known = true;
    append_string(buf, name);
    g_byte_array_append(buf, wanted, sizeof wanted);
    if (!send_option(t, option, buf->data, buf->len, err)) {
        return false;
    }
    for (unsigned i = 0; i < MAX_REPLIES; i++) {
        if (!read_reply(t, option, err)) {
            return false;
        }
        if (is_refusal(t)) {
            *known = t->reply.type != NBD_REP_ERR_UNSUP;
            return !*known || refused(t, err);
        }
        if (t->reply.type == NBD_REP_ACK && !t->reply.len) {
            return check_info(info, err);
        }
        if (t->reply.type != NBD_REP_INFO) {
            return unexpected(t, err);
        }
        if (!take_info(t, info, err)) {
            return false;
        }
    }
    return error_set(err, "the server's reply to option %s does not end", nbd_option_name(option));
}

/* The first protocol's way; a server that has no such export hangs up. */
static bool ask_export_by_name(Talk *t, NbdInfo *info, GError **err)
{
    uint8_t buf[10 + 124];
    size_t len = t->no_zeroes ? 10 : sizeof buf;
    const char *name = t->setup->export;

    if (!send_option(t, NBD_OPT_EXPORT_NAME, name, strlen(name), err) ||
        !nbd_conn_read_all(t->conn, buf, len, t->wait, err)) {
        g_prefix_error(err, "export '%s' was not opened: ", name);
        return false;
    }
    info->size = load64_be(buf);
    info->flags = load16_be(buf + 8);
    return check_info(info, err);
}

static bool choose_export(Talk *t, NbdInfo *info, GError **err)
{
    bool known;

    if (!t->fixed) {
        return ask_export_by_name(t, info, err);
    }
    return (t->setup->simple || simple_option(t, NBD_OPT_STRUCTURED_REPLY, &info->structured, err)) &&
           negotiate_context(t, info, err) &&
           ask_export(t, NBD_OPT_GO, t->setup->export, info, &known, err) &&
           (known || ask_export_by_name(t, info, err));
}

NbdConn *nbd_setup_connect(NbdSetup *setup, const NbdWait *wait, NbdInfo *info, GError **err)
{
    g_autofree char *where = nbd_address_text(&setup->address);
    NbdConn *conn = NULL;
    Talk t;

    *info = (NbdInfo){0};
    if (talk_begin(&t, setup, wait, err) && choose_export(&t, info, err)) {
        conn = t.conn;
        t.conn = NULL;
    } else {
        nbd_info_clear(info);
        g_prefix_error(err, "NBD server %s: ", where);
    }
    talk_end(&t);
    return conn;
}

/* ---- listing ----------------------------------------------------------------------------------- */

static bool take_name(Talk *t, GPtrArray *list, GError **err)
{
    uint32_t n = t->reply.len >= 4 ? load32_be(t->payload) : UINT32_MAX;
    NbdInfo *info;

    if (t->reply.type != NBD_REP_SERVER || n > t->reply.len - 4 || n > NBD_MAX_NAME) {
        return unexpected(t, err);
    }
    info = g_new0(NbdInfo, 1);
    info->name = g_strndup((char *)t->payload + 4, n);
    if (t->reply.len > 4 + n) {
        info->description = nbd_printable(t->payload + 4 + n, MIN(t->reply.len - 4 - n, NBD_MAX_NAME));
    }
    g_ptr_array_add(list, info);
    return true;
}

static bool read_names(Talk *t, GPtrArray *list, GError **err)
{
    if (!send_option(t, NBD_OPT_LIST, NULL, 0, err)) {
        return false;
    }
    for (unsigned i = 0; i < MAX_REPLIES; i++) {
        if (!read_reply(t, NBD_OPT_LIST, err)) {
            return false;
        }
        if (is_refusal(t)) {
            return refused(t, err);
        }
        if (t->reply.type == NBD_REP_ACK && !t->reply.len) {
            return true;
        }
        if (!take_name(t, list, err)) {
            return false;
        }
    }
    return error_set(err, "the server's list of exports does not end");
}

static void add_context(Talk *t, void *opaque)
{
    g_ptr_array_add(opaque, nbd_printable(t->payload + 4, t->reply.len - 4));
}

static bool read_facts(Talk *t, NbdInfo *info, GError **err)
{
    bool known;

    info->contexts = g_ptr_array_new_with_free_func(g_free);
    if (!ask_export(t, NBD_OPT_INFO, info->name, info, &known, err)) {
        return false;
    }
    return !info->structured ||
           (ask_contexts(t, NBD_OPT_LIST_META_CONTEXT, info->name, NULL, err) &&
            read_contexts(t, NBD_OPT_LIST_META_CONTEXT, add_context, info->contexts, err));
}

GPtrArray *nbd_setup_list(NbdSetup *setup, const NbdWait *wait, GError **err)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(info_free);
    bool structured = false, ok;
    Talk t;

    ok = talk_begin(&t, setup, wait, err) &&
         (t.fixed || error_set(err, "the server cannot list its exports")) &&
         simple_option(&t, NBD_OPT_STRUCTURED_REPLY, &structured, err) && read_names(&t, list, err);
    for (unsigned i = 0; ok && i < list->len; i++) {
        NbdInfo *info = g_ptr_array_index(list, i);

        info->structured = structured;
        ok = read_facts(&t, info, err);
    }
    if (ok) {
        send_option(&t, NBD_OPT_ABORT, NULL, 0, NULL);
    } else {
        g_ptr_array_free(list, TRUE);
        list = NULL;
    }
    talk_end(&t);
    return list;
}
