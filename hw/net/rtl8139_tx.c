/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rtl8139: sending, from four descriptors in registers or (C+ mode) a ring in memory, there with
 * checksums and segmentation of TCP over IPv4. A walk of the ring is bounded and goes on from a
 * timer.
 */
#include "hw/net/rtl8139_int.h"
#include "net/checksum.h"
#include "util/trace.h"

#define BUDGET_DESCRIPTORS 256
#define BUDGET_PACKETS 1024
#define MIN_MSS 16
#define TX_SIZE 0x1fffu             /* TxStatus */
#define LOOPBACK 0x60000u           /* TxConfig */

#define CP_OWN 0x80000000u
#define CP_EOR 0x40000000u
#define CP_FS 0x20000000u
#define CP_LS 0x10000000u
#define CP_LARGE 0x08000000u
#define CP_IP_SUM 0x00040000u
#define CP_UDP_SUM 0x00020000u
#define CP_TCP_SUM 0x00010000u
#define CP_ERRORS 0x02f00000u       /* underrun and the like: cleared */
#define CP_TAG 0x00020000u          /* second word */
#define CP_DESCRIPTORS 64

/* One packet out, with a tag if *tag. */
static void send_frame(Rtl8139 *s, const uint8_t *data, size_t size, const uint8_t *tag)
{
    struct iovec iov[3] = {{(void *)(uintptr_t)data, size}};
    NetPacket packet = {iov, 1, size};

    if (size < 14) {
        return;
    }
    if (tag) {
        iov[0].iov_len = 12;
        iov[1] = (struct iovec){(void *)(uintptr_t)tag, 4};
        iov[2] = (struct iovec){(void *)(uintptr_t)(data + 12), size - 12};
        packet = (NetPacket){iov, 3, size + 4};
    }
    trace(rtl8139_tx, "%zu bytes", packet.size);
    s->tally.TxOk++;
    s->tx_packets++;
    if ((s->TxConfig & LOOPBACK) == LOOPBACK) {
        rtl_receive(s, &packet);
    } else {
        net_send(s->port, &packet);
    }
}

/* ---- descriptors in registers ------------------------------------------------------------ */

static bool transmit_one(Rtl8139 *s)
{
    uint32_t *status = &s->TxStatus[s->currTxDesc];

    if (!(s->bChipCmdState & RTL_CMD_TX) || (*status & RTL_TX_HOST_OWNS)) {
        return false;
    }
    uint32_t size = *status & TX_SIZE;
    dma_read(&s->pci.dev, s->TxAddr[s->currTxDesc], s->tx_buffer, size);
    *status |= RTL_TX_HOST_OWNS | RTL_TX_OK;
    send_frame(s, s->tx_buffer, size, NULL);
    rtl_raise(s, RTL_INT_TX_OK);
    return true;
}

void rtl_transmit(Rtl8139 *s)
{
    if (s->busy) {
        return;
    }
    s->busy = true;
    while (transmit_one(s)) { /* each of the four at most once: it is the host's then */
        s->currTxDesc = (s->currTxDesc + 1) % 4;
    }
    s->busy = false;
}

/* ---- checksums and segments -------------------------------------------------------------- */

/* Where an IPv4 packet's parts are; false: it is none, or cut off. */
typedef struct Ipv4 {
    uint8_t *ip;
    size_t header, length;      /* bytes of the header; of the packet, header included */
} Ipv4;

static bool find_ipv4(uint8_t *data, size_t size, Ipv4 *out)
{
    out->ip = data + 14;
    if (size < 34 || load16_be(data + 12) != 0x0800 || data[14] >> 4 != 4) {
        return false;
    }
    out->header = (data[14] & 15u) * 4;
    out->length = load16_be(data + 16);
    return out->header >= 20 && out->length >= out->header && out->length <= size - 14;
}

static void sum_header(const Ipv4 *p)
{
    store16_be(p->ip + 10, 0);
    store16_be(p->ip + 10, net_sum_finish(net_sum(0, p->ip, p->header)));
}

/* The TCP or UDP checksum, its field at this offset of the payload. */
static void sum_payload(const Ipv4 *p, size_t at, uint8_t protocol)
{
    size_t len = p->length - p->header;
    uint8_t *payload = p->ip + p->header;

    if (len < at + 2) {
        return;
    }
    store16_be(payload + at, 0);
    uint16_t sum =
        net_sum_finish(net_sum(net_sum(protocol + (uint32_t)len, p->ip + 12, 8), payload, len));
    store16_be(payload + at, sum || protocol == 6 ? sum : 0xffff);
}

static void fix_sums(const Ipv4 *p, uint32_t word0)
{
    if (word0 & CP_IP_SUM) {
        sum_header(p);
    }
    if ((word0 & CP_TCP_SUM) && p->ip[9] == 6) {
        sum_payload(p, 16, 6);
    } else if ((word0 & CP_UDP_SUM) && p->ip[9] == 17) {
        sum_payload(p, 6, 17);
    }
}

/* TCP over IPv4 in pieces of at most mss bytes: headers are repeated before each piece, in front of
 * where it lies. */
static void send_segments(Rtl8139 *s, const Ipv4 *p, uint32_t mss, const uint8_t *tag)
{
    uint8_t headers[14 + 60 + 60], *tcp = p->ip + p->header;
    size_t tcp_len = p->length - p->header, head = tcp_len >= 20 ? (tcp[12] >> 4) * 4u : 0;

    if (head < 20 || head > tcp_len || mss < MIN_MSS) {
        guest_error(&s->pci.dev, "rtl8139: a packet that cannot be segmented");
        return;
    }
    size_t all = 14 + p->header + head, payload = tcp_len - head;
    memcpy(headers, s->tx_buffer, all);
    uint32_t sequence = load32_be(tcp + 4);
    uint16_t ident = load16_be(p->ip + 4);
    for (size_t at = 0, i = 0; at < payload || !i; at += mss, i++) {
        size_t part = MIN(mss, payload - at);
        uint8_t *start = s->tx_buffer + at; /* the headers' place: their bytes were sent */
        Ipv4 piece = {start + 14, p->header, p->header + head + part};

        memcpy(start, headers, all);
        store16_be(piece.ip + 2, (uint16_t)piece.length);
        store16_be(piece.ip + 4, (uint16_t)(ident + i));
        store32_be(piece.ip + p->header + 4, sequence + (uint32_t)at);
        if (at + part < payload) {
            piece.ip[p->header + 13] &= (uint8_t)~9; /* PSH and FIN belong to the last one */
        }
        sum_header(&piece);
        sum_payload(&piece, 16, 6);
        send_frame(s, start, 14 + piece.length, tag);
    }
}

/* ---- the ring in memory ------------------------------------------------------------------ */

static void send_whole(Rtl8139 *s, uint32_t word0, uint32_t word1)
{
    uint8_t tag[4] = {0x81, 0x00, (uint8_t)word1, (uint8_t)(word1 >> 8)};
    const uint8_t *used = word1 & CP_TAG ? tag : NULL;
    Ipv4 p;

    if ((word0 & (CP_LARGE | CP_IP_SUM | CP_UDP_SUM | CP_TCP_SUM)) &&
        find_ipv4(s->tx_buffer, s->tx_len, &p)) {
        if ((word0 & CP_LARGE) && p.ip[9] == 6) {
            send_segments(s, &p, word0 >> 16 & 0x7ff, used);
            return;
        }
        fix_sums(&p, word0);
    }
    send_frame(s, s->tx_buffer, s->tx_len, used);
}

static bool ring_one(Rtl8139 *s)
{
    Device *dev = &s->pci.dev;
    uint64_t at = ((uint64_t)s->TxAddr[1] << 32 | s->TxAddr[0]) + 16 * (uint64_t)s->currCPlusTxDesc;
    uint8_t desc[16];

    dma_read(dev, at, desc, sizeof desc);
    uint32_t word0 = load32_le(desc), word1 = load32_le(desc + 4), len = word0 & 0xffff;
    if (!(word0 & CP_OWN)) {
        return false;
    }
    if (word0 & CP_FS) {
        s->tx_len = 0;
    }
    len = MIN(len, RTL_TX_BUFFER - s->tx_len);
    dma_read(dev, load64_le(desc + 8), s->tx_buffer + s->tx_len, len);
    s->tx_len += len;
    s->currCPlusTxDesc =
        (word0 & CP_EOR) || s->currCPlusTxDesc + 1 >= CP_DESCRIPTORS ? 0 : s->currCPlusTxDesc + 1;
    store32_le(desc, word0 & ~(CP_OWN | (word0 & CP_LS ? CP_ERRORS : 0)));
    dma_write(dev, at, desc, 4);
    if (word0 & CP_LS) {
        send_whole(s, word0, word1);
        s->tx_len = 0;
    }
    return true;
}

void rtl_transmit_ring(Rtl8139 *s)
{
    unsigned n = 0;

    if (!(s->bChipCmdState & RTL_CMD_TX) || !(s->CpCmd & RTL_CP_TX) || s->busy) {
        return;
    }
    s->busy = true;
    s->tx_packets = 0;
    while (n < BUDGET_DESCRIPTORS && s->tx_packets < BUDGET_PACKETS && ring_one(s)) {
        n++;
    }
    s->busy = false;
    if (n == BUDGET_DESCRIPTORS || s->tx_packets >= BUDGET_PACKETS) {
        timer_arm(&s->tx_timer, clock_now(s->pci.dev.vm, CLOCK_VIRTUAL));
    }
    if (n) {
        rtl_raise(s, RTL_INT_TX_OK);
    }
}
