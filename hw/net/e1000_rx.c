/* SPDX-License-Identifier: GPL-2.0-or-later */
/* e1000: receiving (SDM 3.2, 13.4.22). */
#include "hw/net/e1000_int.h"
#include "util/trace.h"

#define RX_DESC 16
#define RXD_DD 0x01
#define RXD_EOP 0x02
#define RXD_IXSM 0x04               /* checksums were not looked at */
#define RXD_VP 0x08                 /* a tag was taken off */
#define MAX_PLAIN 1522              /* longest packet with tag and FCS when RCTL.LPE is off */
#define MAX_LONG 16384
#define MIN_SIZE 60

uint32_t e1000_buffer_size(uint32_t rctl)
{
    unsigned code = rctl >> 16 & 3;

    return rctl & RCTL_BSEX ? (code == 1   ? 16384
                               : code == 2 ? 8192
                               : code == 3 ? 4096
                                           : 2048)
                            : 2048u >> code;
}

static uint32_t ring_size(const E1000 *s) { return s->mac[RDLEN] / RX_DESC; }

static bool has_buffers(const E1000 *s, size_t size)
{
    uint32_t head = s->mac[RDH], tail = s->mac[RDT], n = ring_size(s);

    if (size <= s->rxbuf_size) {
        return head != tail;
    }
    uint32_t free = head < tail                      ? tail - head
                    : head > tail && n + tail > head ? n + tail - head
                                                     : 0;
    return size <= (uint64_t)free * s->rxbuf_size;
}

static bool is_enabled(const E1000 *s)
{
    return (s->mac[STATUS] & STATUS_LU) && (s->mac[RCTL] & RCTL_EN);
}

bool e1000_can_receive(void *opaque)
{
    const E1000 *s = opaque;

    return is_enabled(s) && (load16_le(s->pci.config + PCI_COMMAND) & PCI_COMMAND_MASTER) &&
           has_buffers(s, 1) && !timer_pending(&s->rx_timer);
}

/* ---- filters ------------------------------------------------------------------------------------
 */

static bool is_tagged(const E1000 *s, const uint8_t *p)
{
    return load16_be(p + 12) == (s->mac[VET] & 0xffff);
}

static bool in_multicast_table(const E1000 *s, const uint8_t *mac)
{
    static const uint8_t shifts[4] = {4, 3, 2, 0};
    uint32_t hash = ((uint32_t)mac[5] << 8 | mac[4]) >> shifts[s->mac[RCTL] >> 12 & 3] & 0xfff;

    return s->mac[MTA + (hash >> 5)] >> (hash & 31) & 1;
}

static bool in_address_table(const E1000 *s, const uint8_t *mac)
{
    for (unsigned i = 0; i < 16; i++) {
        if ((s->mac[RA + 2 * i + 1] & RAH_AV) && s->mac[RA + 2 * i] == load32_le(mac) &&
            (s->mac[RA + 2 * i + 1] & 0xffff) == load16_le(mac + 4)) {
            return true;
        }
    }
    return false;
}

static bool wants(E1000 *s, const uint8_t *p)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint32_t rctl = s->mac[RCTL];
    bool is_broadcast = !memcmp(p, broadcast, 6), is_group = p[0] & 1;

    if ((rctl & RCTL_VFE) && is_tagged(s, p)) {
        unsigned vid = load16_be(p + 14) & 0xfff;

        if (!(s->mac[VFTA + (vid >> 5)] >> (vid & 31) & 1)) {
            return false;
        }
    }
    if (is_broadcast) {
        e1000_count(s, BPRC);
    } else if (is_group) {
        e1000_count(s, MPRC);
    }
    return (is_broadcast && (rctl & RCTL_BAM)) || (is_group && (rctl & RCTL_MPE)) ||
           (!is_group && (rctl & RCTL_UPE)) || in_address_table(s, p) ||
           (is_group && in_multicast_table(s, p));
}

static bool is_too_long(E1000 *s, size_t size)
{
    bool over = size > MAX_LONG || (size > MAX_PLAIN && !(s->mac[RCTL] & RCTL_LPE));

    if (over && !(s->mac[RCTL] & RCTL_SBP)) {
        e1000_count(s, ROC);
        return true;
    }
    return size > MAX_LONG;
}

/* ---- the ring ---------------------------------------------------------------------------- */

/* One packet, and what goes into its descriptors. */
typedef struct Incoming {
    uint8_t data[MAX_LONG + MIN_SIZE];
    size_t size, offset;            /* offset: bytes that are in buffers */
    size_t total;                   /* with FCS */
    uint8_t status;
    uint16_t special;
} Incoming;

static void overrun(E1000 *s)
{
    e1000_count(s, RNBC);
    e1000_count(s, MPC);
    e1000_set_ics(s, ICR_RXO);
}

/* One descriptor at RDH. A null address is a descriptor without buffer: it is only marked. */
static void fill_descriptor(E1000 *s, Incoming *in)
{
    Device *dev = &s->pci.dev;
    uint64_t at = e1000_ring_base(s, RDBAL) + (uint64_t)s->mac[RDH] * RX_DESC, buffer;
    size_t part = MIN(in->total - in->offset, s->rxbuf_size);
    uint8_t desc[RX_DESC];

    dma_read(dev, at, desc, sizeof desc);
    buffer = load64_le(desc);
    store16_le(desc + 14, in->special);
    desc[12] &= ~RXD_DD;
    if (buffer) {
        if (in->offset < in->size) {
            dma_write(dev, buffer, in->data + in->offset, MIN(in->size - in->offset, part));
        }
        in->offset += part;
        store16_le(desc + 8, (uint16_t)part);
        desc[12] = in->offset >= in->total ? desc[12] | RXD_EOP | RXD_IXSM : desc[12] & ~RXD_EOP;
    } else {
        guest_error(dev, "e1000: receive descriptor %u has no buffer", s->mac[RDH]);
    }
    /* The length first, then what makes the driver look at it. */
    dma_write(dev, at, desc, sizeof desc);
    desc[12] |= in->status | RXD_DD;
    dma_write(dev, at + 12, desc + 12, 1);
}

/* False: the ring is not sound, or its descriptors are used up. */
static bool fill_ring(E1000 *s, Incoming *in)
{
    uint32_t start = s->mac[RDH], n = ring_size(s);

    if (start >= n) {
        guest_error(&s->pci.dev, "e1000: RDH %u is outside of the ring of %u", start, n);
        return false;
    }
    do {
        fill_descriptor(s, in);
        s->mac[RDH] = s->mac[RDH] + 1 >= n ? 0 : s->mac[RDH] + 1;
        if (s->mac[RDH] == start) { /* all of them, and none with a buffer */
            return false;
        }
    } while (in->offset < in->total);
    return true;
}

static void count_received(E1000 *s, size_t total)
{
    e1000_count_size(s, PRC64, total);
    e1000_count(s, TPR);
    e1000_count(s, GPRC);
    e1000_count64(s, TORL, total);
    s->mac[GORCL] = s->mac[TORL];
    s->mac[GORCH] = s->mac[TORH];
}

static uint32_t receive_causes(const E1000 *s)
{
    uint32_t tail = s->mac[RDT];

    if (tail < s->mac[RDH]) {
        tail += ring_size(s);
    }
    bool low = (uint64_t)(tail - s->mac[RDH]) * RX_DESC <= s->mac[RDLEN] >> s->rxbuf_min_shift;
    return ICR_RXT0 | (low ? ICR_RXDMT0 : 0);
}

/* The whole packet, at least 60 bytes; its tag taken off where the guest wants that. */
static void prepare(E1000 *s, Incoming *in, const NetPacket *packet)
{
    in->size = iov_to_buf(packet->iov, packet->count, 0, in->data, MIN(packet->size, MAX_LONG));
    if (in->size < MIN_SIZE) {
        memset(in->data + in->size, 0, MIN_SIZE - in->size);
        in->size = MIN_SIZE;
    }
    in->offset = 0;
    in->status = 0;
    in->special = 0;
}

static void take_tag_off(E1000 *s, Incoming *in)
{
    if ((s->mac[CTRL] & CTRL_VME) && is_tagged(s, in->data)) {
        in->special = load16_be(in->data + 14);
        in->status = RXD_VP;
        memmove(in->data + 12, in->data + 16, in->size - 16);
        in->size -= 4;
    }
}

bool e1000_receive(void *opaque, const NetPacket *packet)
{
    E1000 *s = opaque;
    Incoming in;

    if (!is_enabled(s)) {
        return true;
    }
    if (timer_pending(&s->rx_timer)) {
        return false;
    }
    if (packet->size < 14 || is_too_long(s, packet->size)) {
        return true;
    }
    prepare(s, &in, packet);
    if (!wants(s, in.data)) {
        trace(e1000_rx_filtered, "%zu bytes", in.size);
        return true;
    }
    take_tag_off(s, &in);
    in.total = in.size + (s->mac[RCTL] & RCTL_SECRC ? 0 : E1000_FCS);
    trace(e1000_rx, "%zu bytes, RDH %u RDT %u", in.size, s->mac[RDH], s->mac[RDT]);
    if (!has_buffers(s, in.total)) {
        overrun(s);
        return true;
    }
    if (!fill_ring(s, &in)) {
        e1000_set_ics(s, ICR_RXO);
        return true;
    }
    count_received(s, in.total);
    e1000_set_ics(s, receive_causes(s));
    return true;
}
