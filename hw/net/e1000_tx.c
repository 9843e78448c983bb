/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * e1000: sending (SDM 3.3): legacy, data and context descriptors, segmentation, checksums, tags.
 *
 * A walk of the ring ends after so many descriptors, packets or bytes and goes on from a timer, if
 * need be within a descriptor (of which 65536 packets may be made), so a guest cannot hold the VM
 * lock with one register write. A maximum segment size below MIN_MSS is nothing that a driver
 * sends; its packet is dropped.
 */
#include "hw/net/e1000_int.h"
#include "net/checksum.h"
#include "util/trace.h"

#define TX_DESC 16
#define TXD_EOP 0x01000000u
#define TXD_TSE 0x04000000u         /* in context descriptors too */
#define TXD_RS 0x08000000u
#define TXD_RPS 0x10000000u
#define TXD_DEXT 0x20000000u
#define TXD_DTYP_D 0x00100000u
#define TXD_VLE 0x40000000u
#define TXD_IDE 0x80000000u
#define TXD_CONTEXT_TCP 0x01000000u
#define TXD_CONTEXT_IP 0x02000000u
#define TXD_DD 0x1u                 /* in the last word */
#define TXD_STATUS_CLEAR 0xeu       /* EC, LC, TU */
#define SUM_IP 1
#define SUM_TCP 2

#define MIN_MSS 16
#define BUDGET_DESCRIPTORS 512
#define BUDGET_PACKETS 1024
#define BUDGET_BYTES (4 * MIB)

typedef struct Walk {
    uint32_t causes;
    unsigned descriptors, packets, max_packets;
    uint64_t bytes;
} Walk;

/* ---- one packet on its way ---------------------------------------------------------------------
 */

static void send_frame(E1000 *s, const NetPacket *packet)
{
    const uint8_t *p = s->tx.data;
    bool group = p[0] & 1, broadcast = group && !memcmp(p, "\xff\xff\xff\xff\xff\xff", 6);

    e1000_count_size(s, PTC64, packet->size + E1000_FCS);
    if (broadcast) {
        e1000_count(s, BPTC);
    } else if (group) {
        e1000_count(s, MPTC);
    }
    if (s->phy[PHY_CTRL] & PHY_CTRL_LOOPBACK) {
        e1000_receive(s, packet);
    } else {
        net_send(s->port, packet); /* what does not fit is lost, as on a busy wire */
    }
    e1000_count(s, TPT);
    e1000_count64(s, TOTL, packet->size + E1000_FCS);
    s->mac[GPTC] = s->mac[TPT];
    s->mac[GOTCL] = s->mac[TOTL];
    s->mac[GOTCH] = s->mac[TOTH];
}

/* Bytes [start, end] of the packet, end 0: all. The sum goes to `at`. */
static void put_sum(uint8_t *data, uint32_t size, uint32_t at, uint32_t start, uint32_t end)
{
    if (end && end < size) {
        size = end + 1;
    }
    if (at + 1 < size && start <= size) {
        store16_be(data + at, net_sum_finish(net_sum(0, data + start, size - start)));
    }
}

/* Adds the length to the pseudo header's sum, which the driver left without it. */
static void add_length(uint8_t *data, uint32_t size, uint32_t at, uint32_t length)
{
    if (at + 2 <= size) {
        uint32_t sum = load16_be(data + at) + length;

        store16_be(data + at, (uint16_t)((sum >> 16) + (sum & 0xffff)));
    }
}

static bool field_fits(const E1000 *s, uint32_t at, uint32_t len) { return at + len <= s->tx.size; }

/* Lengths, numbers and flags of this segment. */
static void fix_headers(E1000 *s)
{
    E1000Tx *tx = &s->tx;
    const E1000Context *c = &tx->tso_props;
    uint8_t *data = tx->data;
    uint32_t size = tx->size, css = c->ipcss, sent = (uint32_t)tx->tso_frames * c->mss;

    if (c->ip && field_fits(s, css, 6)) {
        store16_be(data + css + 2, (uint16_t)(size - css));
        store16_be(data + css + 4, (uint16_t)(load16_be(data + css + 4) + tx->tso_frames));
    } else if (!c->ip && field_fits(s, css, 6)) {
        store16_be(data + css + 4, (uint16_t)(size - css - 40)); /* behind the IPv6 header */
    }
    css = c->tucss;
    uint32_t len = size > css ? size - css : 0;
    if (c->tcp && field_fits(s, css, 14)) {
        store32_be(data + css + 4, load32_be(data + css + 4) + sent);
        if (c->paylen > sent && c->paylen - sent > c->mss) {
            data[css + 13] &= ~9; /* PSH and FIN belong to the last one */
        } else if (tx->tso_frames) {
            e1000_count(s, TSCTC);
        }
    } else if (!c->tcp && field_fits(s, css, 6)) {
        store16_be(data + css + 4, (uint16_t)len);
    }
    if (tx->sum_needed & SUM_TCP) {
        add_length(data, size, c->tucso, len);
    }
    tx->tso_frames++;
}

static void send_packet(E1000 *s, Walk *walk)
{
    E1000Tx *tx = &s->tx;
    const E1000Context *c = tx->cptse ? &tx->tso_props : &tx->props;

    walk->packets++;
    if (tx->cptse) {
        fix_headers(s);
    }
    if (tx->sum_needed & SUM_TCP) {
        put_sum(tx->data, tx->size, c->tucso, c->tucss, c->tucse);
    }
    if (tx->sum_needed & SUM_IP) {
        put_sum(tx->data, tx->size, c->ipcso, c->ipcss, c->ipcse);
    }
    trace(e1000_tx, "%u bytes", tx->size);
    if (tx->size < 14) {
        return; /* not even a header */
    }
    struct iovec iov[3] = {
        {tx->data, 12}, {tx->tag, tx->tag_needed ? 4 : 0}, {tx->data + 12, tx->size - 12u}};
    NetPacket packet = {iov, 3, tx->size + iov[1].iov_len};
    if (!tx->tag_needed) {
        iov[0].iov_len = tx->size;
        packet.count = 1;
    }
    send_frame(s, &packet);
}

/* ---- descriptors ------------------------------------------------------------------------- */

static void read_context(E1000 *s, const uint8_t *desc)
{
    uint32_t lower = load32_le(desc + 8), upper = load32_le(desc + 12);
    E1000Context c = {
        .ipcss = desc[0], .ipcso = desc[1], .ipcse = load16_le(desc + 2),
        .tucss = desc[4], .tucso = desc[5], .tucse = load16_le(desc + 6),
        .paylen = lower & 0xfffff,
        .hdr_len = upper >> 8 & 0xff,
        .mss = (uint16_t)(upper >> 16),
        .ip = !!(lower & TXD_CONTEXT_IP),
        .tcp = !!(lower & TXD_CONTEXT_TCP),
    };

    s->tso_for_migration = lower & TXD_TSE;
    if (lower & TXD_TSE) {
        s->tx.tso_props = c;
        s->tx.tso_frames = 0;
    } else {
        s->tx.props = c;
    }
}

static void append(E1000 *s, uint64_t addr, uint32_t len, Walk *walk)
{
    dma_read(&s->pci.dev, addr, s->tx.data + s->tx.size, len);
    walk->bytes += len;
}

/* A buffer of a packet that is segmented: whenever header and MSS are full, one goes. Returns how
 * many bytes of it were taken. */
static uint32_t append_segments(E1000 *s, uint64_t addr, uint32_t len, Walk *walk)
{
    E1000Tx *tx = &s->tx;
    uint32_t head = tx->tso_props.hdr_len, full = head + tx->tso_props.mss, done = 0;

    if (tx->tso_props.mss < MIN_MSS || full > UINT16_MAX || tx->size > full) {
        guest_error(&s->pci.dev, "e1000: a segment size of %u is not taken", tx->tso_props.mss);
        return len;
    }
    while (done < len && walk->packets < walk->max_packets) {
        uint32_t before = tx->size, part = MIN(len - done, full - before);

        append(s, addr + done, part, walk);
        tx->size = (uint16_t)(before + part);
        if (before < head && tx->size >= head) {
            memcpy(tx->header, tx->data, head);
        }
        if (tx->size == full) {
            send_packet(s, walk);
            memcpy(tx->data, tx->header, head);
            tx->size = (uint16_t)head;
        }
        done += part;
    }
    return done;
}

static void append_plain(E1000 *s, uint64_t addr, uint32_t len, Walk *walk)
{
    uint32_t part = MIN(len, (uint32_t)UINT16_MAX - s->tx.size);

    append(s, addr, part, walk);
    s->tx.size = (uint16_t)(s->tx.size + part);
}

static void end_packet(E1000 *s, Walk *walk)
{
    E1000Tx *tx = &s->tx;

    if (!tx->cptse || (tx->size >= tx->tso_props.hdr_len && tx->tso_props.mss >= MIN_MSS)) {
        send_packet(s, walk);
    }
    tx->tso_frames = 0;
    tx->sum_needed = 0;
    tx->tag_needed = false;
    tx->size = 0;
    tx->cptse = false;
}

/* False: not all of it, the rest is for the next walk. */
static bool process(E1000 *s, const uint8_t *desc, Walk *walk)
{
    E1000Tx *tx = &s->tx;
    uint32_t lower = load32_le(desc + 8), upper = load32_le(desc + 12),
             kind = lower & (TXD_DEXT | TXD_DTYP_D);
    uint32_t len = lower & 0xffff;

    s->mit_ide |= (lower & TXD_IDE) != 0;
    if (kind == TXD_DEXT) {
        read_context(s, desc);
        return true;
    }
    if (kind == (TXD_DEXT | TXD_DTYP_D)) {
        if (!tx->size) {
            tx->sum_needed = upper >> 8 & 0xff;
        }
        tx->cptse = lower & TXD_TSE;
        len = lower & 0xfffff;
    } else {
        tx->cptse = false;
    }
    if ((s->mac[CTRL] & CTRL_VME) && (lower & TXD_VLE) && (tx->cptse || (lower & TXD_EOP))) {
        tx->tag_needed = true;
        store16_be(tx->tag, (uint16_t)s->mac[VET]);
        store16_be(tx->tag + 2, (uint16_t)(upper >> 16));
    }
    if (tx->cptse) {
        tx->desc_done += append_segments(s, load64_le(desc) + tx->desc_done, len - tx->desc_done, walk);
        if (tx->desc_done < len) {
            return false;
        }
        tx->desc_done = 0;
    } else {
        append_plain(s, load64_le(desc), len, walk);
    }
    if (lower & TXD_EOP) {
        end_packet(s, walk);
    }
    return true;
}

static uint32_t write_back(E1000 *s, uint64_t at, const uint8_t *desc)
{
    uint8_t upper[4];

    if (!(load32_le(desc + 8) & (TXD_RS | TXD_RPS))) {
        return 0;
    }
    store32_le(upper, (load32_le(desc + 12) | TXD_DD) & ~TXD_STATUS_CLEAR);
    dma_write(&s->pci.dev, at + 12, upper, sizeof upper);
    return ICR_TXDW;
}

static bool is_over_budget(const Walk *walk)
{
    return walk->descriptors >= BUDGET_DESCRIPTORS || walk->packets >= BUDGET_PACKETS ||
           walk->bytes >= BUDGET_BYTES;
}

/* The one at TDH, which moves on when it is done. */
static bool walk_one(E1000 *s, Walk *walk)
{
    uint64_t at = e1000_ring_base(s, TDBAL) + (uint64_t)s->mac[TDH] * TX_DESC;

    if (!s->tx.desc_done) {
        dma_read(&s->pci.dev, at, s->tx.desc, TX_DESC);
    }
    if (!process(s, s->tx.desc, walk)) {
        return false;
    }
    walk->causes |= write_back(s, at, s->tx.desc);
    walk->descriptors++;
    s->mac[TDH] = s->mac[TDH] + 1 >= s->mac[TDLEN] / TX_DESC ? 0 : s->mac[TDH] + 1;
    return true;
}

void e1000_finish_descriptor(E1000 *s)
{
    Walk walk = {.max_packets = UINT32_MAX};

    if (s->tx.desc_done && !s->tx.busy) {
        s->tx.busy = true;
        walk_one(s, &walk);
        s->tx.busy = false;
        e1000_set_ics(s, walk.causes);
    }
}

void e1000_transmit(E1000 *s)
{
    Walk walk = {.causes = ICR_TXQE, .max_packets = BUDGET_PACKETS};
    uint32_t n = s->mac[TDLEN] / TX_DESC, start = s->mac[TDH];
    bool done = true;

    if (!(s->mac[TCTL] & TCTL_EN) || s->tx.busy) {
        return;
    }
    if (start != s->mac[TDT] && start >= n) {
        guest_error(&s->pci.dev, "e1000: TDH %u is outside of the ring of %u", start, n);
        e1000_set_ics(s, walk.causes);
        return;
    }
    s->tx.busy = true;
    while (s->mac[TDH] != s->mac[TDT] && done && !is_over_budget(&walk)) {
        done = walk_one(s, &walk);
        if (done && s->mac[TDH] == start) { /* TDT lies outside of the ring */
            guest_error(&s->pci.dev, "e1000: TDT %u is outside of the ring of %u", s->mac[TDT], n);
            break;
        }
    }
    s->tx.busy = false;
    if (!done || (is_over_budget(&walk) && s->mac[TDH] != s->mac[TDT] && s->mac[TDT] < n)) {
        timer_arm(&s->tx_timer, clock_now(s->pci.dev.vm, CLOCK_VIRTUAL));
        walk.causes &= ~ICR_TXQE; /* something is left in it */
    }
    e1000_set_ics(s, walk.causes);
}
