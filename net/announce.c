/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * announce-self: cards make themselves known to the switches of their networks, which a guest that was moved here or that
 * changed its network needs. In each round every card sends a RARP packet with its address (RFC 903), and a card that can
 * asks its driver to do better.
 */
#include "net/backend.h"
#include "util/trace.h"

#define PACKET_SIZE 60
#define VNET_MAX 20
#define MS_MAX 1000000

typedef struct Announcement {
    Vm *vm;
    LoopTimer *timer;
    char *id;                   /* NULL: the one without */
    char **cards;               /* names; NULL: all */
    int64_t initial, max, step; /* ms */
    int64_t rounds, left;
} Announcement;

/* ---- packets ------------------------------------------------------------------------------ */

typedef struct Message {
    NetPort *port;
    uint8_t data[VNET_MAX + PACKET_SIZE];
} Message;

/* In the link's loop. */
static void send_message(void *opaque)
{
    Message *m = opaque;
    unsigned header = net_vnet_hdr_len(m->port);

    if (header <= VNET_MAX) {
        net_send_buf(m->port, m->data + VNET_MAX - header, header + PACKET_SIZE);
    }
}

static void make_rarp(uint8_t *p, const uint8_t mac[6])
{
    memset(p, 0xff, 6);
    memcpy(p + 6, mac, 6);
    store16_be(p + 12, 0x8035);
    store16_be(p + 14, 1);      /* Ethernet */
    store16_be(p + 16, 0x0800); /* IPv4 */
    p[18] = 6;
    p[19] = 4;
    store16_be(p + 20, 3);      /* who am I? */
    memcpy(p + 22, mac, 6);
    memcpy(p + 32, mac, 6);
}

static void announce_card(Nic *nic, void *opaque)
{
    const Announcement *a = opaque;
    Message m = {.port = nic_port(nic, 0)};
    void *card;
    const NicOps *ops = nic_ops(nic, &card);
    Loop *loop = net_port_loop(m.port);

    if (a->cards && !g_strv_contains((const char *const *)a->cards, nic_name(nic))) {
        return;
    }
    trace(net_announce, "%s rounds left %" PRId64, nic_name(nic), a->left);
    make_rarp(m.data + VNET_MAX, nic_mac(nic));
    if (loop == a->vm->loop) {
        send_message(&m);
    } else {
        loop_call_locked(loop, send_message, &m);
    }
    if (ops->announce) {
        ops->announce(card);
    }
}

/* ---- rounds ------------------------------------------------------------------------------- */

static void announcement_free(void *data)
{
    Announcement *a = data;

    loop_timer_free(a->timer);
    g_strfreev(a->cards);
    g_free(a->id);
    g_free(a);
}

static void next_round(void *opaque)
{
    Announcement *a = opaque;
    int64_t ms = a->initial + MIN(a->rounds - a->left, MS_MAX) * a->step;

    nic_foreach(a->vm, announce_card, a);
    if (--a->left <= 0) {
        g_ptr_array_remove(net_state(a->vm)->announcements, a);
        return;
    }
    loop_timer_arm(a->timer, clock_monotonic_ns() + MIN(ms, a->max) * NSEC_PER_MSEC);
}

void net_announce(Vm *vm, const AnnounceParameters *how)
{
    GPtrArray *all = net_state(vm)->announcements;
    const GPtrArray *names = how->interfaces;
    Announcement *a = g_new0(Announcement, 1);

    for (unsigned i = 0; i < all->len; i++) {
        if (!g_strcmp0(((const Announcement *)all->pdata[i])->id, how->id)) {
            g_ptr_array_remove_index(all, i);
            break;
        }
    }
    *a = (Announcement){.vm = vm,
                        .timer = loop_timer_new(vm->loop, next_round, a),
                        .id = g_strdup(how->id),
                        .initial = CLAMP(how->initial, 0, MS_MAX),
                        .max = CLAMP(how->max, 0, MS_MAX),
                        .step = CLAMP(how->step, 0, MS_MAX),
                        .rounds = how->rounds,
                        .left = how->rounds};
    if (names) {
        a->cards = g_new0(char *, names->len + 1);
        for (unsigned i = 0; i < names->len; i++) {
            a->cards[i] = g_strdup(names->pdata[i]);
        }
    }
    g_ptr_array_add(all, a);
    if (a->left > 0) {
        next_round(a);
    } else {
        g_ptr_array_remove(all, a);
    }
}

GPtrArray *net_announcements_new(void) { return g_ptr_array_new_with_free_func(announcement_free); }
