/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's side of a websocket (RFC 6455), as bytes in and bytes out; it knows no sockets. Private to chardev/.
 *
 * The client asks by HTTP and is answered by "101", or by an error after which nothing goes on. Then both send frames.
 * What is kept is bounded: 4 KiB of a request, what one websocket_feed gave of data, 64 KiB of output.
 * Not done: extensions (none is offered), texts' UTF-8 is not looked at.
 */
#ifndef CHARDEV_WEBSOCKET_H
#define CHARDEV_WEBSOCKET_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct WebSocket WebSocket;

WebSocket *websocket_new(void);
/* NULL is fine. */
void websocket_free(WebSocket *ws);

/* What the client sent. False: it broke the rules, or was refused, and *why says so; what websocket_output has may still
 * be sent, then the connection is to be closed. */
bool websocket_feed(WebSocket *ws, const uint8_t *bytes, size_t len, const char **why);
/* Has the client been let in? */
bool websocket_is_open(const WebSocket *ws);
/* Has the client said that it goes? Nothing more comes. */
bool websocket_is_closed(const WebSocket *ws);

/* Decoded bytes that wait, and taking some of them. */
size_t websocket_available(const WebSocket *ws);
size_t websocket_take(WebSocket *ws, uint8_t *buf, size_t room);

/* One frame of data for the client; at most 65535 bytes. */
void websocket_encode(WebSocket *ws, const uint8_t *data, size_t len);
/* What is to be sent, and that len bytes of it have been. */
const uint8_t *websocket_output(const WebSocket *ws, size_t *len);
void websocket_sent(WebSocket *ws, size_t len);

#endif
