/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Websockets: requests that are let in and others, frames as RFC 6455 shows them, broken frames, bytes at random. */
#include <glib.h>
#include <string.h>

#include "chardev/websocket.h"
#include "util/util.h"

#define GET "GET / HTTP/1.1\r\n"
#define HOST "Host: example\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define REQUEST GET HOST UPGRADE KEY VERSION

static char *output(WebSocket *ws)
{
    size_t len;
    const uint8_t *out = websocket_output(ws, &len);
    char *text = g_strndup((const char *)out, len);

    websocket_sent(ws, len);
    return text;
}

static bool feed_text(WebSocket *ws, const char *text)
{
    const char *why = NULL;
    bool ok = websocket_feed(ws, (const uint8_t *)text, strlen(text), &why);

    g_assert_true(ok || why);
    return ok;
}

static WebSocket *opened(void)
{
    WebSocket *ws = websocket_new();

    g_assert_true(feed_text(ws, REQUEST "\r\n"));
    g_assert_true(websocket_is_open(ws));
    g_free(output(ws));
    return ws;
}

static void expect_data(WebSocket *ws, const char *text)
{
    uint8_t buf[256] = {0};
    size_t n = websocket_take(ws, buf, sizeof buf - 1);

    g_assert_cmpuint(n, ==, strlen(text));
    g_assert_cmpstr((const char *)buf, ==, text);
}

/* ---- requests ------------------------------------------------------------------------ */

static void test_request(void)
{
    WebSocket *ws = websocket_new();
    static const char text[] = REQUEST "Sec-WebSocket-Protocol: chat, binary\r\n\r\n";

    /* Byte by byte; the first frame comes with the last one. */
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        const char *why;

        g_assert_false(websocket_is_open(ws));
        g_assert_true(websocket_feed(ws, (const uint8_t *)text + i, 1, &why));
    }
    g_assert_true(websocket_is_open(ws));
    g_autofree char *answer = output(ws);
    g_assert_true(g_str_has_prefix(answer, "HTTP/1.1 101 Switching Protocols\r\n"));
    /* RFC 6455, section 1.3 */
    g_assert_nonnull(strstr(answer, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    g_assert_nonnull(strstr(answer, "\r\nSec-WebSocket-Protocol: binary\r\n"));
    g_assert_true(g_str_has_suffix(answer, "\r\n\r\n"));
    websocket_free(ws);

    ws = websocket_new();
    g_assert_true(feed_text(ws, REQUEST "\r\n\x82\x81" "abcd" "\x19"));
    expect_data(ws, "x");
    g_autofree char *plain = output(ws);
    g_assert_null(strstr(plain, "Sec-WebSocket-Protocol"));
    websocket_free(ws);
}

static void test_refused_requests(void)
{
    static const struct {
        const char *text, *status;
    } cases[] = {
        {"POST / HTTP/1.1\r\n\r\n", "400"},
        {"GET / HTTP/1.0\r\n" HOST UPGRADE KEY VERSION "\r\n", "400"},
        {"GET /x HTTP/1.1\r\n" HOST UPGRADE KEY VERSION "\r\n", "404"},
        {GET UPGRADE KEY VERSION "\r\n", "400"},
        {GET HOST KEY VERSION "\r\n", "400"},
        {GET HOST UPGRADE VERSION "\r\n", "400"},
        {GET HOST UPGRADE KEY "\r\n", "400"},
        {GET HOST UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", "400"},
        {GET HOST UPGRADE "Sec-WebSocket-Key: short\r\n" VERSION "\r\n", "400"},
        {REQUEST "Sec-WebSocket-Protocol: chat\r\n\r\n", "400"},
        {"\r\n\r\n", "400"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        WebSocket *ws = websocket_new();

        g_assert_false(feed_text(ws, cases[i].text));
        g_assert_false(websocket_is_open(ws));
        g_autofree char *answer = output(ws);
        g_assert_true(g_str_has_prefix(answer, "HTTP/1.1 "));
        g_assert_cmpint(strncmp(answer + 9, cases[i].status, 3), ==, 0);
        g_assert_false(feed_text(ws, REQUEST "\r\n"));
        g_assert_false(websocket_is_open(ws));
        websocket_free(ws);
    }
}

static void test_long_request(void)
{
    g_autofree char *much = g_strnfill(5000, 'x');
    WebSocket *ws = websocket_new();
    const char *why;

    g_assert_false(feed_text(ws, much));
    g_autofree char *answer = output(ws);
    g_assert_true(g_str_has_prefix(answer, "HTTP/1.1 431 "));
    websocket_free(ws);
    ws = websocket_new();
    g_assert_false(websocket_feed(ws, (const uint8_t *)"GET \0", 5, &why));
    websocket_free(ws);
}

/* ---- frames -------------------------------------------------------------------------- */

static void test_frames(void)
{
    WebSocket *ws = opened();

    g_assert_true(feed_text(ws, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")); /* RFC 6455, section 5.7 */
    expect_data(ws, "Hello");
    /* In pieces, with a ping between them. */
    g_assert_true(feed_text(ws, "\x02\x82" "aaaa" "\x29\x04\x89\x82" "aaaa" "\x11\x08\x80\x81" "aaaa" "\x40"));
    expect_data(ws, "He!");
    g_autofree char *pong = output(ws);
    g_assert_cmpstr(pong, ==, "\x8a\x02pi");
    websocket_encode(ws, (const uint8_t *)"abc", 3);
    g_autofree char *frame = output(ws);
    g_assert_cmpstr(frame, ==, "\x82\x03" "abc");
    g_assert_true(feed_text(ws, "\x88\x82" "aaaa" "\x62\x89"));
    g_assert_true(websocket_is_closed(ws));
    g_autofree char *closing = output(ws);
    g_assert_cmpstr(closing, ==, "\x88\x02\x03\xe8");
    g_assert_true(feed_text(ws, "whatever comes behind it"));
    g_assert_cmpuint(websocket_available(ws), ==, 0);
    websocket_free(ws);
}

static void test_long_frames(void)
{
    static const uint8_t head[] = {0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}; /* 65536 bytes, masked with 0 */
    uint8_t chunk[4096], got[4096];
    WebSocket *ws = opened();
    const char *why;
    size_t len;

    memset(chunk, 'q', sizeof chunk);
    g_assert_true(websocket_feed(ws, head, sizeof head, &why));
    for (unsigned i = 0; i < 16; i++) {
        g_assert_true(websocket_feed(ws, chunk, sizeof chunk, &why));
        g_assert_cmpuint(websocket_take(ws, got, sizeof got), ==, sizeof got);
        g_assert_cmpmem(got, sizeof got, chunk, sizeof chunk);
    }
    g_assert_true(feed_text(ws, "\x82\x81" "aaaa" "\x40"));
    expect_data(ws, "!");
    websocket_encode(ws, chunk, 300);
    const uint8_t *out = websocket_output(ws, &len);
    g_assert_cmpuint(len, ==, 304);
    g_assert_cmpmem(out, 4, "\x82\x7e\x01\x2c", 4);
    websocket_sent(ws, 4);
    out = websocket_output(ws, &len);
    g_assert_cmpmem(out, len, chunk, 300);
    websocket_free(ws);
}

static void test_broken_frames(void)
{
    static const char *const cases[] = {
        "\x82\x01x",                                     /* not masked */
        "\xc2\x81" "aaaa" "x",                           /* a reserved bit */
        "\x83\x81" "aaaa" "x",                           /* unknown */
        "\x8b\x81" "aaaa" "x",
        "\x09\x81" "aaaa" "x",                           /* a ping in pieces */
        "\x89\xfe\x01\x01" "aaaa" "x",                   /* a long ping */
        "\x82\xff\xff\x01\x01\x01\x01\x01\x01\x01" "aaaa", /* longer than can be */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        WebSocket *ws = opened();

        g_assert_false(feed_text(ws, cases[i]));
        g_autofree char *answer = output(ws);
        g_assert_cmpstr(answer, ==, "\x88\x02\x03\xea");
        g_assert_cmpuint(websocket_available(ws), ==, 0);
        websocket_free(ws);
    }
}

static void test_pings_without_end(void)
{
    WebSocket *ws = opened();
    unsigned n = 0;

    while (feed_text(ws, "\x89\x8a" "aaaa" "0123456789")) {
        g_assert_cmpuint(++n, <, 10000);
    }
    websocket_free(ws);
}

static void test_random(void)
{
    for (unsigned round = 0; round < 3000; round++) {
        WebSocket *ws = opened();
        bool ok = true;

        for (unsigned i = 0; i < 20 && ok; i++) {
            uint8_t bytes[64], got[64];
            const char *why;
            size_t len = (size_t)g_test_rand_int_range(1, sizeof bytes);

            for (size_t at = 0; at < len; at++) {
                bytes[at] = (uint8_t)g_test_rand_int();
            }
            bytes[0] &= 0x8f; /* what gets further than the first byte */
            ok = websocket_feed(ws, bytes, len, &why);
            g_assert_cmpuint(websocket_take(ws, got, sizeof got), <=, len);
        }
        websocket_free(ws);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/websocket/request", test_request);
    g_test_add_func("/websocket/refused-requests", test_refused_requests);
    g_test_add_func("/websocket/long-request", test_long_request);
    g_test_add_func("/websocket/frames", test_frames);
    g_test_add_func("/websocket/long-frames", test_long_frames);
    g_test_add_func("/websocket/broken-frames", test_broken_frames);
    g_test_add_func("/websocket/pings-without-end", test_pings_without_end);
    g_test_add_func("/websocket/random", test_random);
    return g_test_run();
}
