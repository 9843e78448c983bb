/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rng-egd: random bytes of a daemon that speaks the EGD protocol (command 2, number of bytes; it answers with exactly
 * as many).
 */
#include "backends/rng.h"
#include "chardev/char.h"

#define EGD_BLOCKING_READ 2
#define EGD_MAX 255

typedef struct RngEgd {
    RngBackend rng;
    CharPort *port;
    uint8_t data[EGD_MAX];
    size_t have, wanted;    /* wanted 0: no request is under way */
} RngEgd;

static void egd_ask(RngEgd *e)
{
    const RngRequest *r = g_queue_peek_head(&e->rng.requests);

    if (!e->wanted && r) {
        e->have = 0;
        e->wanted = MIN(r->size, EGD_MAX);
        const uint8_t command[2] = {EGD_BLOCKING_READ, (uint8_t)e->wanted};
        charport_write_all(e->port, command, sizeof command);
    }
    charport_accept_input(e->port);
}

static size_t egd_can_receive(void *opaque)
{
    const RngEgd *e = opaque;

    return e->wanted - e->have;
}

static void egd_receive(void *opaque, const uint8_t *data, size_t len)
{
    RngEgd *e = opaque;

    len = MIN(len, e->wanted - e->have);
    memcpy(e->data + e->have, data, len);
    e->have += len;
    if (e->wanted && e->have == e->wanted) {
        e->wanted = 0;
        rng_deliver(&e->rng, e->data, e->have);
    }
}

/* The daemon is back: what it had not answered is asked again. */
static void egd_event(void *opaque, CharEvent event)
{
    RngEgd *e = opaque;

    if (event == CHAR_EVENT_OPENED) {
        e->wanted = 0;
        e->have = 0;
        egd_ask(e);
    }
}

static const CharPortOps egd_port_ops = {
    .can_receive = egd_can_receive, .receive = egd_receive, .event = egd_event};

static void egd_start(RngBackend *b) { egd_ask(container_of(b, RngEgd, rng)); }

static bool egd_complete(Object *obj, GError **err)
{
    RngEgd *e = (RngEgd *)(void *)obj;

    charport_set_ops(e->port, &egd_port_ops, e);
    return true;
}

static const Property egd_props[] = {
    PROP_CHARDEV("chardev", RngEgd, port, .type = "string", .required = true, .help = "where the daemon is"),
    {}};

static const RngOps egd_ops = {.start = egd_start};

KILN_TYPE(rng_egd) = {
    .name = "rng-egd",
    .parent = "rng-backend",
    .desc = "random bytes of an EGD daemon",
    .size = sizeof(RngEgd),
    .late = true,
    .props = egd_props,
    .complete = egd_complete,
    .ops = &egd_ops,
};
