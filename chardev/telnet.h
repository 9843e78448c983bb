/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The telnet protocol (RFC 854) as far as a console needs it: we offer to echo, to suppress
 * go-ahead and to be binary, ignore what the client wants, and know its break. Private to chardev/.
 */
#ifndef CHARDEV_TELNET_H
#define CHARDEV_TELNET_H

#include <stddef.h>
#include <stdint.h>

#define TELNET_IAC 255

typedef struct Telnet {
    enum { TELNET_DATA, TELNET_COMMAND, TELNET_OPTION, TELNET_SUB, TELNET_SUB_IAC } state;
    unsigned breaks;         /* breaks that came; the reader clears it */
} Telnet;

/* What a server says first; the length in *len. */
const uint8_t *telnet_greeting(size_t *len);
/* Takes the commands out of data, in place; returns the bytes that are left. */
size_t telnet_decode(Telnet *telnet, uint8_t *data, size_t len);

#endif
