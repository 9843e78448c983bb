/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139: receiving, into the ring of bytes or (C+ mode) a ring of descriptors. */
#include "hw/net/rtl8139_int.h"
#include "net/checksum.h"
#include "util/trace.h"

#define ACCEPT_ALL 0x01
#define ACCEPT_MINE 0x02
#define ACCEPT_MULTICAST 0x04
#define ACCEPT_BROADCAST 0x08
#define RX_NO_WRAP 0x80
#define MAX_PACKET 1514             /* room that a driver's ring must have for another one */
#define MAX_SIZE (16 * 1024)
#define RX_OVER_MAX 1536            /* bytes of a packet that may lie behind the ring's end (data sheet 6.9) */

/* Of the header before a packet in the ring of bytes. */
#define RX_STATUS_OK 0x0001u
#define RX_BROADCAST 0x2000u
#define RX_PHYSICAL 0x4000u
#define RX_MULTICAST 0x8000u

/* C+ descriptors, first word */
#define CP_OWN 0x80000000u
#define CP_EOR 0x40000000u
#define CP_FS 0x20000000u
#define CP_LS 0x10000000u
#define CP_MAR 0x04000000u
#define CP_PAM 0x02000000u
#define CP_BAR 0x01000000u
#define CP_SIZE 0x1fffu
#define CP_TAG_THERE 0x10000u       /* second word */
#define CP_DESCRIPTORS 64

typedef struct Incoming {
    uint8_t data[MAX_SIZE];
    size_t size;
    uint32_t kind;                  /* RX_BROADCAST, RX_PHYSICAL, RX_MULTICAST */
} Incoming;

static uint32_t ring_free(const Rtl8139 *s)
{
    return (s->RxBufPtr - s->RxBufAddr) & (s->RxBufferSize - 1);
}
static bool uses_descriptors(const Rtl8139 *s) { return s->CpCmd & RTL_CP_RX; }

bool rtl_can_receive(void *opaque)
{
    const Rtl8139 *s = opaque;

    if (!s->clock_enabled || !(s->bChipCmdState & RTL_CMD_RX) || uses_descriptors(s)) {
        return true; /* or drops it */
    }
    return ring_free(s) == 0 || ring_free(s) >= MAX_PACKET || (s->IntrMask & RTL_INT_RX_OVERFLOW);
}

/* ---- filter ------------------------------------------------------------------------------ */

/* The packet's kind; 0: not wanted. */
static uint32_t classify(Rtl8139 *s, const uint8_t *p)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint32_t accept = s->RxConfig;

    if (!memcmp(p, broadcast, 6)) {
        s->tally.RxOkBrd += accept & (ACCEPT_BROADCAST | ACCEPT_ALL) ? 1 : 0;
        return accept & (ACCEPT_BROADCAST | ACCEPT_ALL) ? RX_BROADCAST : 0;
    }
    if (p[0] & 1) {
        unsigned bit = net_crc32(p, 6) >> 26;
        bool wanted = (accept & ACCEPT_ALL) ||
                      ((accept & ACCEPT_MULTICAST) && (s->mult[bit >> 3] >> (bit & 7) & 1));

        s->tally.RxOkMul += wanted;
        return wanted ? RX_MULTICAST : 0;
    }
    if (!memcmp(p, s->phys, 6)) {
        s->tally.RxOkPhy += accept & (ACCEPT_MINE | ACCEPT_ALL) ? 1 : 0;
        return accept & (ACCEPT_MINE | ACCEPT_ALL) ? RX_PHYSICAL : 0;
    }
    return accept & ACCEPT_ALL ? RX_STATUS_OK : 0;
}

static void overflow(Rtl8139 *s)
{
    s->RxMissed++;
    s->tally.RxERR++;
    s->tally.MissPkt++;
    rtl_raise(s, RTL_INT_RX_OVERFLOW);
}

/* ---- C+ mode ----------------------------------------------------------------------------- */

/* The sum that stands behind a packet on the wire. */
static uint32_t frame_sum(const Incoming *in)
{
    uint32_t crc = net_crc32(in->data, in->size), reversed = 0;

    for (unsigned i = 0; i < 32; i++) {
        reversed |= (crc >> i & 1) << (31 - i);
    }
    return ~reversed;
}

static uint32_t take_tag_off(const Rtl8139 *s, Incoming *in, uint32_t word1)
{
    if (!(s->CpCmd & RTL_CP_VLAN) || load16_be(in->data + 12) != 0x8100) {
        return word1 & ~CP_TAG_THERE;
    }
    word1 = (word1 & ~0xffffu) | CP_TAG_THERE | load16_le(in->data + 14);
    memmove(in->data + 12, in->data + 16, in->size - 16);
    in->size -= 4;
    return word1;
}

static void receive_to_descriptor(Rtl8139 *s, Incoming *in)
{
    Device *dev = &s->pci.dev;
    uint64_t ring = (uint64_t)s->RxRingAddrHI << 32 | s->RxRingAddrLO,
             at = ring + 16 * (uint64_t)s->currCPlusRxDesc;
    uint8_t desc[16], sum[4];

    dma_read(dev, at, desc, sizeof desc);
    uint32_t word0 = load32_le(desc), word1 = load32_le(desc + 4);
    uint64_t buffer = load64_le(desc + 8);
    if (!(word0 & CP_OWN)) {
        overflow(s);
        return;
    }
    word1 = take_tag_off(s, in, word1);
    if (in->size + 4 > (word0 & CP_SIZE)) {
        overflow(s);
        return;
    }
    store32_le(sum, frame_sum(in));
    dma_write(dev, buffer, in->data, in->size);
    dma_write(dev, buffer + in->size, sum, sizeof sum);
    word0 &= ~(CP_OWN | CP_MAR | CP_PAM | CP_BAR | 0x01ff0000u | CP_SIZE);
    word0 |= CP_FS | CP_LS | (uint32_t)(in->size + 4);
    word0 |= in->kind == RX_BROADCAST   ? CP_BAR
             : in->kind == RX_MULTICAST ? CP_MAR
             : in->kind == RX_PHYSICAL  ? CP_PAM
                                        : 0;
    s->currCPlusRxDesc =
        (word0 & CP_EOR) || s->currCPlusRxDesc + 1 >= CP_DESCRIPTORS ? 0 : s->currCPlusRxDesc + 1;
    store32_le(desc, word0);
    store32_le(desc + 4, word1);
    dma_write(dev, at + 4, desc + 4, 4);
    dma_write(dev, at, desc, 4);
    s->tally.RxOk++;
    rtl_raise(s, RTL_INT_RX_OK);
}

/* ---- the ring of bytes ------------------------------------------------------------------- */

/* A ring below 64 KiB may let the last packet go over its end: the driver has room there. */
static bool goes_over(const Rtl8139 *s)
{
    return s->RxBufferSize < 65536 && (s->RxConfig & RX_NO_WRAP);
}

/* An empty ring is all free. */
static bool has_room(const Rtl8139 *s, uint32_t len)
{
    uint32_t free = ring_free(s), room = s->RxBufferSize - s->RxBufAddr;

    return ((len + 3) & ~3u) < (free ? free : s->RxBufferSize) && (!goes_over(s) || len <= room + RX_OVER_MAX);
}

static void ring_write(Rtl8139 *s, const void *data, uint32_t len)
{
    uint32_t room = s->RxBufferSize - s->RxBufAddr;

    if (len > room && !goes_over(s)) {
        dma_write(&s->pci.dev, (uint64_t)s->RxBuf + s->RxBufAddr, data, room);
        dma_write(&s->pci.dev, s->RxBuf, (const uint8_t *)data + room, len - room);
        s->RxBufAddr = len - room;
        return;
    }
    dma_write(&s->pci.dev, (uint64_t)s->RxBuf + s->RxBufAddr, data, len);
    s->RxBufAddr += len;
}

static void receive_to_ring(Rtl8139 *s, const Incoming *in)
{
    uint8_t header[4], sum[4];
    g_autofree uint8_t *whole = g_malloc(in->size + 8);

    if (!has_room(s, (uint32_t)in->size + 8)) {
        overflow(s);
        return;
    }
    store32_le(header, RX_STATUS_OK | (in->kind & ~RX_STATUS_OK) | (uint32_t)(in->size + 4) << 16);
    store32_le(sum, frame_sum(in));
    memcpy(whole, header, 4);
    memcpy(whole + 4, in->data, in->size);
    memcpy(whole + 4 + in->size, sum, 4);
    ring_write(s, whole, (uint32_t)in->size + 8);
    s->RxBufAddr = ((s->RxBufAddr + 3) & ~3u) & (s->RxBufferSize - 1);
    s->tally.RxOk++;
    rtl_raise(s, RTL_INT_RX_OK);
}

bool rtl_receive(void *opaque, const NetPacket *packet)
{
    Rtl8139 *s = opaque;
    Incoming in;

    if (!s->clock_enabled || !(s->bChipCmdState & RTL_CMD_RX) || packet->size < 14 ||
        packet->size > MAX_SIZE - 8) {
        return true;
    }
    in.size = iov_to_buf(packet->iov, packet->count, 0, in.data, packet->size);
    if (in.size < RTL_MIN_PACKET) {
        memset(in.data + in.size, 0, RTL_MIN_PACKET - in.size);
        in.size = RTL_MIN_PACKET;
    }
    in.kind = classify(s, in.data);
    trace(rtl8139_rx, "%zu bytes, kind 0x%x", in.size, in.kind);
    if (!in.kind) {
        return true;
    }
    if (uses_descriptors(s)) {
        receive_to_descriptor(s, &in);
    } else {
        receive_to_ring(s, &in);
    }
    return true;
}
