/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telnet commands in a console's byte stream; see the header. */
#include "chardev/telnet.h"

enum {
    SE = 240, BRK = 243, SB = 250, WILL = 251, WONT = 252, DO = 253, DONT = 254,
    OPT_BINARY = 0, OPT_ECHO = 1, OPT_SUPPRESS_GA = 3,
};

const uint8_t *telnet_greeting(size_t *len)
{
    static const uint8_t greeting[] = {
        TELNET_IAC, WILL, OPT_ECHO,
        TELNET_IAC, WILL, OPT_SUPPRESS_GA,
        TELNET_IAC, WILL, OPT_BINARY,
        TELNET_IAC, DO, OPT_BINARY,
    };

    *len = sizeof greeting;
    return greeting;
}

static void telnet_command(Telnet *telnet, uint8_t byte)
{
    switch (byte) {
    case SB:
        telnet->state = TELNET_SUB;
        break;
    case WILL:
    case WONT:
    case DO:
    case DONT:
        telnet->state = TELNET_OPTION;
        break;
    case BRK:
        telnet->breaks++;
        telnet->state = TELNET_DATA;
        break;
    default:
        telnet->state = TELNET_DATA;
        break;
    }
}

/* True when the byte is data. */
static int telnet_byte(Telnet *telnet, uint8_t byte)
{
    switch (telnet->state) {
    case TELNET_DATA:
        if (byte != TELNET_IAC) {
            return 1;
        }
        telnet->state = TELNET_COMMAND;
        return 0;
    case TELNET_COMMAND:
        if (byte == TELNET_IAC) {
            telnet->state = TELNET_DATA;
            return 1;
        }
        telnet_command(telnet, byte);
        return 0;
    case TELNET_OPTION:
        telnet->state = TELNET_DATA;
        return 0;
    case TELNET_SUB:
        telnet->state = byte == TELNET_IAC ? TELNET_SUB_IAC : TELNET_SUB;
        return 0;
    case TELNET_SUB_IAC:
        telnet->state = byte == SE ? TELNET_DATA : TELNET_SUB;
        return 0;
    }
    return 0;
}

size_t telnet_decode(Telnet *telnet, uint8_t *data, size_t len)
{
    size_t kept = 0;

    for (size_t i = 0; i < len; i++) {
        if (telnet_byte(telnet, data[i])) {
            data[kept++] = data[i];
        }
    }
    return kept;
}
