/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answers to HTTP requests, their statuses and header lines are those that QEMU 7.2 was seen to give, but for the
 * Server line. Text frames are taken as binary ones are (QEMU refuses them): what people's tools send.
 */
#include "chardev/websocket.h"

#include <string.h>
#include <time.h>

#include "util/util.h"

#define REQUEST_MAX 4096
#define OUTPUT_MAX (64 * KIB)
#define CONTROL_MAX 125      /* bytes in a ping or close */
#define KEY_LENGTH 24        /* of Sec-WebSocket-Key: 16 bytes as base64 */

enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
#define FIN 0x80
#define RESERVED 0x70
#define MASKED 0x80

struct WebSocket {
    enum { WS_REQUEST, WS_OPEN, WS_CLOSED, WS_BROKEN } state;
    GString *request;        /* so far */
    GByteArray *data;        /* decoded, [data_pos, len) waits */
    size_t data_pos;
    GByteArray *out;         /* [out_pos, len) is to be sent */
    size_t out_pos;
    /* ---- the frame that is being read ---- */
    uint8_t header[14];      /* 2 bytes, length, mask */
    unsigned have;           /* bytes of header; all of it: the payload is being read */
    uint64_t left;           /* payload bytes to come */
    unsigned mask_pos;
    uint8_t control[CONTROL_MAX];
    unsigned control_len;
};

/* ---- output ---------------------------------------------------------------------------------- */

static void queue(WebSocket *ws, const void *bytes, size_t len)
{
    if (ws->out_pos == ws->out->len) {
        g_byte_array_set_size(ws->out, 0);
        ws->out_pos = 0;
    }
    g_byte_array_append(ws->out, bytes, (guint)len);
}

static void queue_frame(WebSocket *ws, uint8_t opcode, const uint8_t *data, size_t len)
{
    const uint8_t small[2] = {FIN | opcode, (uint8_t)len};
    const uint8_t large[4] = {FIN | opcode, 126, (uint8_t)(len >> 8), (uint8_t)len};

    queue(ws, len < 126 ? small : large, len < 126 ? sizeof small : sizeof large);
    queue(ws, data, len);
}

void websocket_encode(WebSocket *ws, const uint8_t *data, size_t len) { queue_frame(ws, OP_BINARY, data, len); }

const uint8_t *websocket_output(const WebSocket *ws, size_t *len)
{
    *len = ws->out->len - ws->out_pos;
    return *len ? ws->out->data + ws->out_pos : NULL;
}

void websocket_sent(WebSocket *ws, size_t len) { ws->out_pos += len; }

/* ---- the request ----------------------------------------------------------------------------- */

static void answer_http(WebSocket *ws, const char *status, const char *headers)
{
    char date[64];
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    g_autofree char *text = g_strdup_printf("HTTP/1.1 %s\r\nServer: Kiln\r\nDate: %s\r\n%s\r\n", status, date, headers);
    queue(ws, text, strlen(text));
}

static bool refuse(WebSocket *ws, const char *status, const char *reason, const char **why)
{
    ws->state = WS_BROKEN;
    answer_http(ws, status, "Connection: close\r\nSec-WebSocket-Version: 13\r\n");
    *why = reason;
    return false;
}

/* The value of a header in lines; NULL: it is not there. */
static const char *header(char **lines, const char *name)
{
    size_t len = strlen(name);

    for (unsigned i = 1; lines[0] && lines[i]; i++) {
        if (!g_ascii_strncasecmp(lines[i], name, len) && lines[i][len] == ':') {
            return lines[i] + len + 1 + strspn(lines[i] + len + 1, " \t");
        }
    }
    return NULL;
}

/* Is token in the list "a, b"? */
static bool lists(const char *list, const char *token)
{
    g_auto(GStrv) words = g_strsplit(list ? list : "", ",", -1);

    for (char **word = words; *word; word++) {
        if (!g_ascii_strcasecmp(g_strstrip(*word), token)) {
            return true;
        }
    }
    return false;
}

static void accept_client(WebSocket *ws, const char *key, bool binary)
{
    static const char uuid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455, section 1.3 */
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    uint8_t digest[20];
    gsize len = sizeof digest;

    g_checksum_update(sum, (const guchar *)key, (gssize)strlen(key));
    g_checksum_update(sum, (const guchar *)uuid, sizeof uuid - 1);
    g_checksum_get_digest(sum, digest, &len);
    g_autofree char *accept = g_base64_encode(digest, len);
    g_autofree char *headers = g_strdup_printf("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s",
                                               accept, binary ? "Sec-WebSocket-Protocol: binary\r\n" : "");
    answer_http(ws, "101 Switching Protocols", headers);
    ws->state = WS_OPEN;
}

static bool check_request(WebSocket *ws, const char **why)
{
    g_auto(GStrv) lines = g_strsplit(ws->request->str, "\r\n", -1);
    const char *key = header(lines, "Sec-WebSocket-Key"), *protocols = header(lines, "Sec-WebSocket-Protocol");
    const char *version = header(lines, "Sec-WebSocket-Version");

    if (!lines[0] || !g_str_has_prefix(lines[0], "GET ") || !g_str_has_suffix(lines[0], " HTTP/1.1")) {
        return refuse(ws, "400 Bad Request", "it does not begin with an HTTP/1.1 GET request", why);
    }
    if (strcmp(lines[0], "GET / HTTP/1.1")) {
        return refuse(ws, "404 Not Found", "it asks for another path than /", why);
    }
    if (!header(lines, "Host") || !lists(header(lines, "Upgrade"), "websocket") ||
        !lists(header(lines, "Connection"), "upgrade") || !version || strcmp(version, "13") || !key ||
        strlen(key) != KEY_LENGTH) {
        return refuse(ws, "400 Bad Request", "it does not ask for a websocket of version 13", why);
    }
    if (protocols && !lists(protocols, "binary")) {
        return refuse(ws, "400 Bad Request", "it does not speak the protocol 'binary'", why);
    }
    accept_client(ws, key, protocols != NULL);
    return true;
}

/* Bytes of the request, or -1; *why. */
static ssize_t feed_request(WebSocket *ws, const uint8_t *bytes, size_t len, const char **why)
{
    size_t before = ws->request->len, take = MIN(len, REQUEST_MAX - before);

    if (memchr(bytes, 0, take)) {
        refuse(ws, "400 Bad Request", "its request has a NUL in it", why);
        return -1;
    }
    g_string_append_len(ws->request, (const char *)bytes, (gssize)take);
    char *end = strstr(ws->request->str + (before > 3 ? before - 3 : 0), "\r\n\r\n");
    if (!end) {
        if (ws->request->len == REQUEST_MAX) {
            refuse(ws, "431 Request Header Fields Too Large", "its request is too long", why);
            return -1;
        }
        return (ssize_t)take;
    }
    size_t used = (size_t)(end + 4 - ws->request->str) - before;
    *end = 0;
    return check_request(ws, why) ? (ssize_t)used : -1;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static uint8_t opcode(const WebSocket *ws) { return ws->header[0] & 0x0f; }
static bool is_control(const WebSocket *ws) { return opcode(ws) >= OP_CLOSE; }

/* Bytes that the header has, by its second byte. */
static unsigned header_size(const WebSocket *ws)
{
    unsigned length = ws->header[1] & 0x7f;

    return ws->have < 2 ? 2 : length == 127 ? 14 : length == 126 ? 8 : 6;
}

static bool fail(WebSocket *ws, const char *reason, const char **why)
{
    static const uint8_t protocol_error[] = {1002 >> 8, 1002 & 0xff};

    queue_frame(ws, OP_CLOSE, protocol_error, sizeof protocol_error);
    ws->state = WS_BROKEN;
    *why = reason;
    return false;
}

/* The first two bytes. */
static bool check_start(WebSocket *ws, const char **why)
{
    if (ws->header[0] & RESERVED) {
        return fail(ws, "a frame has reserved bits", why);
    }
    return (ws->header[1] & MASKED) || fail(ws, "a frame is not masked", why);
}

/* All of it. */
static bool check_header(WebSocket *ws, const char **why)
{
    unsigned bytes = header_size(ws) - 6;

    ws->left = ws->header[1] & 0x7f;
    if (bytes) {
        ws->left = 0;
        for (unsigned i = 0; i < bytes; i++) {
            ws->left = ws->left << 8 | ws->header[2 + i];
        }
    }
    if (is_control(ws) ? ws->left > CONTROL_MAX || !(ws->header[0] & FIN) || opcode(ws) > OP_PONG
                       : opcode(ws) > OP_BINARY || ws->left >> 63) {
        return fail(ws, "a frame of an unknown or malformed kind", why);
    }
    ws->mask_pos = ws->control_len = 0;
    return true;
}

static bool end_frame(WebSocket *ws, const char **why)
{
    ws->have = 0;
    if (opcode(ws) == OP_CLOSE) {
        queue_frame(ws, OP_CLOSE, ws->control, MIN(ws->control_len, 2));
        ws->state = WS_CLOSED;
    } else if (opcode(ws) == OP_PING) {
        if (ws->out->len - ws->out_pos > OUTPUT_MAX) {
            return fail(ws, "it pings and reads no answers", why);
        }
        queue_frame(ws, OP_PONG, ws->control, ws->control_len);
    }
    return true;
}

static void take_payload(WebSocket *ws, const uint8_t *bytes, size_t len)
{
    const uint8_t *mask = ws->header + header_size(ws) - 4;

    for (size_t i = 0; i < len; i++) {
        uint8_t byte = bytes[i] ^ mask[ws->mask_pos++ & 3];

        if (is_control(ws)) {
            ws->control[ws->control_len++] = byte; /* check_header bounds it */
        } else {
            g_byte_array_append(ws->data, &byte, 1);
        }
    }
    ws->left -= len;
}

/* At least one byte; -1: *why. */
static ssize_t feed_frame(WebSocket *ws, const uint8_t *bytes, size_t len, const char **why)
{
    unsigned size = header_size(ws);

    if (ws->have < size) {
        ws->header[ws->have++] = bytes[0];
        if (ws->have == 2 && !check_start(ws, why)) {
            return -1;
        }
        size = header_size(ws);
        if (ws->have < size) {
            return 1;
        }
        return check_header(ws, why) && (ws->left || end_frame(ws, why)) ? 1 : -1;
    }
    size_t take = (size_t)MIN((uint64_t)len, ws->left);
    take_payload(ws, bytes, take);
    return ws->left || end_frame(ws, why) ? (ssize_t)take : -1;
}

bool websocket_feed(WebSocket *ws, const uint8_t *bytes, size_t len, const char **why)
{
    *why = "it went on after an error";
    if (ws->data_pos == ws->data->len) {
        g_byte_array_set_size(ws->data, 0);
        ws->data_pos = 0;
    }
    for (size_t at = 0; at < len && ws->state != WS_CLOSED;) {
        ssize_t used = ws->state == WS_REQUEST ? feed_request(ws, bytes + at, len - at, why)
                       : ws->state == WS_OPEN  ? feed_frame(ws, bytes + at, len - at, why)
                                               : -1;

        if (used < 0) {
            return false;
        }
        at += (size_t)used;
    }
    return true;
}

/* ---- the rest -------------------------------------------------------------------------------- */

bool websocket_is_open(const WebSocket *ws) { return ws->state == WS_OPEN || ws->state == WS_CLOSED; }
bool websocket_is_closed(const WebSocket *ws) { return ws->state == WS_CLOSED; }
size_t websocket_available(const WebSocket *ws) { return ws->data->len - ws->data_pos; }

size_t websocket_take(WebSocket *ws, uint8_t *buf, size_t room)
{
    size_t n = MIN(room, websocket_available(ws));

    if (n) {
        memcpy(buf, ws->data->data + ws->data_pos, n);
        ws->data_pos += n;
    }
    return n;
}

WebSocket *websocket_new(void)
{
    WebSocket *ws = g_new0(WebSocket, 1);

    ws->request = g_string_new(NULL);
    ws->data = g_byte_array_new();
    ws->out = g_byte_array_new();
    return ws;
}

void websocket_free(WebSocket *ws)
{
    if (ws) {
        g_string_free(ws->request, true);
        g_byte_array_unref(ws->data);
        g_byte_array_unref(ws->out);
        g_free(ws);
    }
}
