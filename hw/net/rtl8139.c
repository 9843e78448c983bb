/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "rtl8139": Realtek RTL8139C+ Fast Ethernet controller, as guests of QEMU 7.2 see it: registers,
 * interrupts, timer, lifecycle. Memory and port BARs have the same registers; each answers the
 * access sizes that QEMU answers.
 *
 * Not there, as in QEMU: early receive and transmit, the flash, wake-up, real MII management.
 * Writes to the EEPROM are not kept.
 */
#include "hw/net/rtl8139_int.h"
#include "util/trace.h"

#define BAR_SIZE 0x100
#define PCI_PERIOD 30               /* ns: TCTR counts PCI clocks */
#define REVISION 0x20               /* of the C+ */
#define TX_CONFIG_ID 0x74800000u    /* what kind of chip it is */

enum {
    MAC0 = 0x00,
    MAR0 = 0x08,
    TX_STATUS = 0x10,
    TX_ADDR = 0x20,
    RX_BUF = 0x30,
    CHIP_CMD = 0x37,
    CAPR = 0x38,
    CBR = 0x3a,
    INTR_MASK = 0x3c,
    INTR_STATUS = 0x3e,
    TX_CONFIG = 0x40,
    RX_CONFIG = 0x44,
    TIMER = 0x48,
    RX_MISSED = 0x4c,
    CFG9346 = 0x50,
    CONFIG0 = 0x51,
    CONFIG1 = 0x52,
    TIMER_INT = 0x54,
    MEDIA_STATUS = 0x58,
    CONFIG3 = 0x59,
    CONFIG4 = 0x5a,
    HLT_CLK = 0x5b,
    MULTI_INTR = 0x5c,
    REVISION_ID = 0x5e,
    TX_SUMMARY = 0x60,
    BMCR = 0x62,
    BMSR = 0x64,
    ANAR = 0x66,
    ANLPAR = 0x68,
    ANER = 0x6a,
    CSCR_REG = 0x74,
    CONFIG5 = 0xd8,
    TX_POLL = 0xd9,
    CP_CMD = 0xe0,
    INTR_MITIGATE = 0xe2,
    RX_RING_LO = 0xe4,
    RX_RING_HI = 0xe8,
    TX_THRESH = 0xec,
};

#define CFG_MODE 0xc0
#define CFG_PROGRAM 0x80            /* the EEPROM's wires are ours */
#define CFG_RESET 0x40
#define CFG_EECS 0x08
#define CFG_EESK 0x04
#define CFG_EEDI 0x02
#define CFG_EEDO 0x01

static inline uint32_t keep_bits(uint32_t value, uint32_t mask, uint32_t old)
{
    return (value & ~mask) | (old & mask);
}

/* ---- interrupts and the timer ------------------------------------------------------------ */

static void update_irq(Rtl8139 *s) { pci_set_irq(&s->pci, (s->IntrStatus & s->IntrMask) != 0); }

void rtl_raise(Rtl8139 *s, uint16_t causes)
{
    s->IntrStatus |= causes;
    update_irq(s);
}

static int64_t now(const Rtl8139 *s) { return clock_now(s->pci.dev.vm, CLOCK_VIRTUAL); }

/* TimerInt is in PCI clocks since TCTR was 0, and comes once a turn of TCTR. */
static void set_timer(Rtl8139 *s)
{
    const int64_t turn = (INT64_C(1) << 32) * PCI_PERIOD;
    int64_t since = now(s) - s->TCTR_base, at = (int64_t)s->TimerInt * PCI_PERIOD;

    if (!s->TimerInt || (s->IntrStatus & RTL_INT_TIMER)) {
        timer_cancel(&s->timer);
        return;
    }
    at += since >= 0 ? since / turn * turn : 0;
    if (at <= since) {
        at += turn;
    }
    timer_arm(&s->timer, s->TCTR_base + at);
}

static void timer_fired(void *opaque)
{
    rtl_raise(opaque, RTL_INT_TIMER);
    set_timer(opaque);
}

static void transmit_rest(void *opaque) { rtl_transmit_ring(opaque); }

/* ---- reset ------------------------------------------------------------------------------- */

static void reset_ring(Rtl8139 *s, uint32_t size)
{
    s->RxBufferSize = size;
    s->RxBufPtr = s->RxBufAddr = 0;
}

static void reset_phy(Rtl8139 *s)
{
    s->BasicModeStatus = 0x782d;    /* link, autonegotiation done, 10 and 100 Mbit/s */
    s->NWayAdvert = s->NWayLPAR = 0x05e1;
    s->NWayExpansion = 1;
    s->CSCR = 0x0340;
}

static void reset(Rtl8139 *s)
{
    memcpy(s->phys, s->conf.mac, 6);
    memset(s->mult, 0, sizeof s->mult);
    s->IntrStatus = s->IntrMask = 0;
    update_irq(s);
    for (unsigned i = 0; i < 4; i++) {
        s->TxStatus[i] = RTL_TX_HOST_OWNS;
        s->TxAddr[i] = 0;
    }
    s->currTxDesc = s->currCPlusRxDesc = s->currCPlusTxDesc = 0;
    s->RxRingAddrLO = s->RxRingAddrHI = s->RxBuf = 0;
    reset_ring(s, 8192);
    s->TxConfig = TX_CONFIG_ID;
    s->RxConfig = s->RxMissed = 0;
    s->bChipCmdState = RTL_CMD_RESET;
    s->Cfg9346 = s->Config0 = s->Config4 = s->Config5 = 0;
    s->Config1 = 0x0c;              /* ports and memory */
    s->Config3 = 0x01;
    s->CpCmd = 0;
    s->cplus_enabled = 0;
    s->BasicModeCtrl = 0x1000;      /* autonegotiation */
    reset_phy(s);
    s->clock_enabled = 1;
    s->MultiIntr = 0;
    s->TxThresh = 0;
    s->TimerInt = s->TCTR = 0;
    s->TCTR_base = now(s);
    set_timer(s);
    timer_cancel(&s->tx_timer);
    s->tally = (RtlTally){0};
    s->tx_len = 0;
}

/* ---- reads ------------------------------------------------------------------------------- */

static uint8_t read_cfg9346(const Rtl8139 *s)
{
    if ((s->Cfg9346 & CFG_MODE) != CFG_PROGRAM) {
        return s->Cfg9346;
    }
    return s->eeprom.eedo ? s->Cfg9346 | CFG_EEDO : s->Cfg9346 & ~CFG_EEDO;
}

static uint8_t read_byte(Rtl8139 *s, unsigned addr)
{
    switch (addr) {
    case MAC0 ... MAC0 + 5:
        return s->phys[addr - MAC0];
    case MAR0 ... MAR0 + 7:
        return s->mult[addr - MAR0];
    case TX_STATUS ... TX_STATUS + 15:
        return (uint8_t)(s->TxStatus[(addr - TX_STATUS) / 4] >> 8 * (addr & 3));
    case CHIP_CMD:
        return s->bChipCmdState | (rtl_buffer_is_empty(s) ? RTL_CMD_EMPTY : 0);
    case CFG9346:
        return read_cfg9346(s);
    case CONFIG0:
        return s->Config0;
    case CONFIG1:
        return s->Config1;
    case CONFIG3:
        return s->Config3;
    case CONFIG4:
        return s->Config4;
    case CONFIG5:
        return s->Config5;
    case MEDIA_STATUS:
        return nic_cable_pulled(s->nic) ? 0xd4 : 0xd0;
    case HLT_CLK:
        return s->clock_enabled;
    case REVISION_ID:
        return REVISION;
    case TX_CONFIG + 3:
        return (uint8_t)(s->TxConfig >> 24);
    case TX_THRESH:
        return s->TxThresh;
    default:
        return 0;
    }
}

/* A bit a descriptor: owned by the host, aborted, underrun, sent. */
static uint16_t tx_summary(const Rtl8139 *s)
{
    static const uint32_t bits[4] = {RTL_TX_HOST_OWNS, RTL_TX_ABORTED, RTL_TX_UNDERRUN, RTL_TX_OK};
    uint16_t value = 0;

    for (unsigned i = 0; i < 16; i++) {
        value |= (uint16_t)(!!(s->TxStatus[i % 4] & bits[i / 4]) << i);
    }
    return value;
}

static uint16_t read_word(Rtl8139 *s, unsigned addr)
{
    switch (addr) {
    case TX_ADDR ... TX_ADDR + 15:
        return (uint16_t)(s->TxAddr[(addr - TX_ADDR) / 4] >> 8 * (addr & 3));
    case CAPR:
        return (uint16_t)(s->RxBufPtr - 0x10);
    case CBR:
        return (uint16_t)s->RxBufAddr;
    case INTR_MASK:
        return s->IntrMask;
    case INTR_STATUS:
        return s->IntrStatus;
    case MULTI_INTR:
        return s->MultiIntr;
    case TX_SUMMARY:
        return tx_summary(s);
    case BMCR:
        return s->BasicModeCtrl;
    case BMSR:
        return s->BasicModeStatus;
    case ANAR:
        return s->NWayAdvert;
    case ANLPAR:
        return s->NWayLPAR;
    case ANER:
        return s->NWayExpansion;
    case CSCR_REG:
        return s->CSCR;
    case CP_CMD:
        return s->CpCmd;
    case INTR_MITIGATE:
        return 0;
    default:
        return (uint16_t)(read_byte(s, addr) | read_byte(s, addr + 1) << 8);
    }
}

static uint32_t read_long(Rtl8139 *s, unsigned addr)
{
    switch (addr) {
    case RX_MISSED:
        return s->RxMissed;
    case TX_CONFIG:
        return s->TxConfig;
    case RX_CONFIG:
        return s->RxConfig;
    case TX_STATUS ... TX_STATUS + 15:
        return s->TxStatus[(addr - TX_STATUS) / 4];
    case TX_ADDR ... TX_ADDR + 15:
        return s->TxAddr[(addr - TX_ADDR) / 4];
    case RX_BUF:
        return s->RxBuf;
    case RX_RING_LO:
        return s->RxRingAddrLO;
    case RX_RING_HI:
        return s->RxRingAddrHI;
    case TIMER:
        return (uint32_t)((now(s) - s->TCTR_base) / PCI_PERIOD);
    case TIMER_INT:
        return s->TimerInt;
    default:
        return (uint32_t)read_byte(s, addr) | (uint32_t)read_byte(s, addr + 1) << 8 |
               (uint32_t)read_byte(s, addr + 2) << 16 | (uint32_t)read_byte(s, addr + 3) << 24;
    }
}

static uint64_t rtl_read(void *opaque, uint64_t offset, unsigned size)
{
    Rtl8139 *s = opaque;
    unsigned addr = (unsigned)offset;
    uint32_t value = size == 1   ? read_byte(s, addr)
                     : size == 2 ? read_word(s, addr)
                                 : read_long(s, addr);

    trace(rtl8139_read, "0x%02x.%u -> 0x%x", addr, size, value);
    return value;
}

/* ---- writes ------------------------------------------------------------------------------ */

static void write_command(Rtl8139 *s, uint8_t value)
{
    if (value & RTL_CMD_RESET) {
        reset(s);
    }
    if (value & RTL_CMD_RX) {
        s->currCPlusRxDesc = 0;
    }
    if (value & RTL_CMD_TX) {
        s->currCPlusTxDesc = 0;
    }
    s->bChipCmdState = (uint8_t)(keep_bits(value, 0xe3, s->bChipCmdState) & ~RTL_CMD_RESET);
    net_port_ready(s->port);
}

static void write_cfg9346(Rtl8139 *s, uint8_t value)
{
    value = (uint8_t)keep_bits(value, 0x31, s->Cfg9346);
    if ((value & CFG_MODE) == CFG_PROGRAM) {
        rtl_eeprom_set(s, value & CFG_EECS, value & CFG_EESK, value & CFG_EEDI);
    } else if ((value & CFG_MODE) == CFG_RESET) {
        reset(s);
        value = 0;
    }
    s->Cfg9346 = value;
}

/* 0 would be a ring that is nowhere: sizes are powers of two from 8 KiB. */
static void write_rx_config(Rtl8139 *s, uint32_t value)
{
    s->RxConfig = keep_bits(value, 0xf0fc0040, s->RxConfig);
    reset_ring(s, 8192u << (s->RxConfig >> 11 & 3));
    net_port_ready(s->port);
}

static void write_status(Rtl8139 *s, uint16_t value)
{
    s->IntrStatus &= (uint16_t)~(value & ~0x1e00u);
    set_timer(s);
    update_irq(s);
    net_port_ready(s->port);
}

static bool config_is_writable(const Rtl8139 *s) { return (s->Cfg9346 & CFG_MODE) == CFG_MODE; }

static void write_byte(Rtl8139 *s, unsigned addr, uint8_t value)
{
    switch (addr) {
    case MAC0 ... MAC0 + 5:
        s->phys[addr - MAC0] = value;
        nic_set_mac(s->nic, s->phys);
        break;
    case MAR0 ... MAR0 + 7:
        s->mult[addr - MAR0] = value;
        break;
    case CHIP_CMD:
        write_command(s, value);
        break;
    case CFG9346:
        write_cfg9346(s, value);
        break;
    case CONFIG0:
        s->Config0 =
            config_is_writable(s) ? (uint8_t)keep_bits(value, 0xf8, s->Config0) : s->Config0;
        break;
    case CONFIG1:
        s->Config1 =
            config_is_writable(s) ? (uint8_t)keep_bits(value, 0x0c, s->Config1) : s->Config1;
        break;
    case CONFIG3:
        s->Config3 =
            config_is_writable(s) ? (uint8_t)keep_bits(value, 0x8f, s->Config3) : s->Config3;
        break;
    case CONFIG4:
        s->Config4 =
            config_is_writable(s) ? (uint8_t)keep_bits(value, 0x0a, s->Config4) : s->Config4;
        break;
    case CONFIG5:
        s->Config5 = (uint8_t)keep_bits(value, 0x80, s->Config5);
        break;
    case HLT_CLK:
        s->clock_enabled = value == 'R' ? 1 : value == 'H' ? 0 : s->clock_enabled;
        break;
    case TX_THRESH:
        s->TxThresh = value;
        break;
    case TX_POLL:
        if (value & 0x40) {
            rtl_transmit_ring(s);
        }
        break;
    default:
        break;
    }
}

static void write_bmcr(Rtl8139 *s, uint16_t value)
{
    if (value & 0x8000) {
        s->BasicModeCtrl = 0x1000;
        reset_phy(s);
    }
    s->BasicModeCtrl = (uint16_t)keep_bits(value & 0x7fff, 0x7dff, s->BasicModeCtrl);
}

static void write_word(Rtl8139 *s, unsigned addr, uint16_t value)
{
    switch (addr) {
    case CAPR:
        s->RxBufPtr = (value + 0x10u) & (s->RxBufferSize - 1);
        net_port_ready(s->port);
        break;
    case INTR_MASK:
        s->IntrMask = (uint16_t)keep_bits(value, 0x1e00, s->IntrMask);
        update_irq(s);
        break;
    case INTR_STATUS:
        write_status(s, value);
        break;
    case MULTI_INTR:
        s->MultiIntr = (uint16_t)keep_bits(value, 0xf000, s->MultiIntr);
        break;
    case BMCR:
        write_bmcr(s, value);
        break;
    case BMSR:
        s->BasicModeStatus = (uint16_t)keep_bits(value, 0xff3f, s->BasicModeStatus);
        break;
    case ANAR:
        s->NWayAdvert = value;
        break;
    case ANER:
        s->NWayExpansion = value;
        break;
    case CP_CMD:
        s->cplus_enabled = 1;
        s->CpCmd = (uint16_t)keep_bits(value, 0xff84, s->CpCmd);
        net_port_ready(s->port);
        break;
    case TX_STATUS ... TX_STATUS + 15: /* not by halves */
    case INTR_MITIGATE:
        break;
    default:
        write_byte(s, addr, (uint8_t)value);
        write_byte(s, addr + 1, (uint8_t)(value >> 8));
        break;
    }
}

/* The counters, at the 64-byte aligned address in the first two TxStatus registers (they are others
 * in C+ mode). */
static void write_tally(Rtl8139 *s)
{
    const RtlTally *t = &s->tally;
    uint64_t at = (uint64_t)s->TxStatus[1] << 32 | (s->TxStatus[0] & ~0x3fu);
    uint8_t out[64] = {0};

    store64_le(out, t->TxOk);
    store64_le(out + 8, t->RxOk);
    store64_le(out + 16, t->TxERR);
    store32_le(out + 24, t->RxERR);
    store16_le(out + 28, t->MissPkt);
    store16_le(out + 30, t->FAE);
    store32_le(out + 32, t->Tx1Col);
    store32_le(out + 36, t->TxMCol);
    store64_le(out + 40, t->RxOkPhy);
    store64_le(out + 48, t->RxOkBrd);
    store32_le(out + 56, t->RxOkMul);
    store16_le(out + 60, t->TxAbt);
    store16_le(out + 62, t->TxUndrn);
    dma_write(&s->pci.dev, at, out, sizeof out);
    s->TxStatus[0] &= ~8u;
}

static void write_tx_status(Rtl8139 *s, unsigned n, uint32_t value)
{
    if (s->cplus_enabled) {
        s->TxStatus[n] = value;
        if (n == 0 && (value & 8)) {
            write_tally(s);
        }
        return;
    }
    s->TxStatus[n] = keep_bits(value, 0xff00c000, s->TxStatus[n]);
    rtl_transmit(s);
}

static void write_long(Rtl8139 *s, unsigned addr, uint32_t value)
{
    switch (addr) {
    case RX_MISSED:
        s->RxMissed = 0;
        break;
    case TX_CONFIG:
        s->TxConfig = s->bChipCmdState & RTL_CMD_TX
                          ? keep_bits(value, 0x8070f80f | TX_CONFIG_ID, s->TxConfig)
                          : s->TxConfig;
        break;
    case RX_CONFIG:
        write_rx_config(s, value);
        break;
    case TX_STATUS ... TX_STATUS + 15:
        write_tx_status(s, (addr - TX_STATUS) / 4, value);
        break;
    case TX_ADDR ... TX_ADDR + 15:
        s->TxAddr[(addr - TX_ADDR) / 4] = value;
        break;
    case RX_BUF:
        s->RxBuf = value;
        break;
    case RX_RING_LO:
        s->RxRingAddrLO = value;
        break;
    case RX_RING_HI:
        s->RxRingAddrHI = value;
        break;
    case TIMER:
        s->TCTR_base = now(s);
        set_timer(s);
        break;
    case TIMER_INT:
        s->TimerInt = value;
        set_timer(s);
        break;
    default:
        for (unsigned i = 0; i < 4; i++) {
            write_byte(s, addr + i, (uint8_t)(value >> 8 * i));
        }
        break;
    }
}

static void rtl_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rtl8139 *s = opaque;
    unsigned addr = (unsigned)offset;

    trace(rtl8139_write, "0x%02x.%u <- 0x%x", addr, size, (unsigned)value);
    if (size == 1) {
        write_byte(s, addr, (uint8_t)value);
    } else if (size == 2) {
        write_word(s, addr, (uint16_t)value);
    } else {
        write_long(s, addr, (uint32_t)value);
    }
}

static const RegionOps rtl_ops = {
    .read = rtl_read,
    .write = rtl_write,
    .impl = {.min_size = 1, .max_size = 4},
};

/* ---- lifecycle --------------------------------------------------------------------------- */

static void cable_changed(void *opaque, bool up)
{
    Rtl8139 *s = opaque;

    s->BasicModeStatus = up ? s->BasicModeStatus | 4 : s->BasicModeStatus & ~4;
    rtl_raise(s, 0x20); /* link change, or underrun */
}

static const NicOps nic_operations = {
    .port = {.can_receive = rtl_can_receive, .receive = rtl_receive, .link_changed = cable_changed},
};

static void rtl_reset(Device *dev)
{
    Rtl8139 *s = container_of(dev, Rtl8139, pci.dev);

    reset(s);
    nic_set_mac(s->nic, s->phys);
    if (nic_cable_pulled(s->nic)) {
        s->BasicModeStatus &= ~4;
    }
}

static bool rtl_realize(Device *dev, GError **err)
{
    Rtl8139 *s = container_of(dev, Rtl8139, pci.dev);

    s->pci.config[PCI_INTERRUPT_PIN] = 1;
    s->pci.config[PCI_CAPABILITY_LIST] = 0xdc; /* QEMU's; there is no list */
    region_init_io(&s->io, &rtl_ops, s, "rtl8139", BAR_SIZE);
    region_init_io(&s->mmio, &rtl_ops, s, "rtl8139", BAR_SIZE);
    pci_register_bar(&s->pci, 0, PCI_BASE_ADDRESS_SPACE_IO, &s->io);
    pci_register_bar(&s->pci, 1, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
    timer_init(&s->timer, dev->vm, CLOCK_VIRTUAL, timer_fired, s);
    timer_init(&s->tx_timer, dev->vm, CLOCK_VIRTUAL, transmit_rest, s);
    s->nic = nic_new(dev, &s->conf, &nic_operations, s, 1);
    s->port = nic_port(s->nic, 0);
    rtl_eeprom_init(s);
    return true;
}

static void rtl_unrealize(Device *dev)
{
    Rtl8139 *s = container_of(dev, Rtl8139, pci.dev);

    timer_cancel(&s->timer);
    timer_cancel(&s->tx_timer);
    nic_free(s->nic);
    region_destroy(&s->io);
    region_destroy(&s->mmio);
}

/* ---- state ------------------------------------------------------------------------------- */

static void rtl_pre_save(void *obj)
{
    Rtl8139 *s = obj;

    s->TCTR = (uint32_t)((now(s) - s->TCTR_base) / PCI_PERIOD);
    s->io_dummy = 0;
}

static bool rtl_pre_load(void *obj, GError **err)
{
    Rtl8139 *s = obj;

    state_cancel_timer(&s->timer);
    state_cancel_timer(&s->tx_timer);
    return true;
}

static bool rtl_post_load(void *obj, unsigned version, GError **err)
{
    Rtl8139 *s = obj;

    if (!is_power_of_two(s->RxBufferSize)) {
        return error_set(err, "rtl8139: a receive buffer of %u bytes", s->RxBufferSize);
    }
    s->RxBufPtr &= s->RxBufferSize - 1;
    s->RxBufAddr &= s->RxBufferSize - 1;
    if (version < 4) {
        s->cplus_enabled = s->CpCmd != 0;
    }
    s->tx_len = 0;
    s->eeprom.address &= 0x3f;
    nic_set_mac(s->nic, s->phys);
    nic_set_cable(s->nic, s->BasicModeStatus & 4);
    set_timer(s);
    return true;
}

#define R(f) STATE_U32(Rtl8139, f)
#define H(f) STATE_U16(Rtl8139, f)
#define B(f) STATE_U8(Rtl8139, f)
#define TALLY(kind, f) kind(Rtl8139, tally.f, .name = "tally_counters." #f)

static const StateField rtl_fields[] = {
    STATE_PCI_DEVICE(Rtl8139, pci, .name = "parent_obj"),
    STATE_BUFFER(Rtl8139, phys),
    STATE_BUFFER(Rtl8139, mult),
    STATE_ARRAY(Rtl8139, TxStatus, u32, 4),
    STATE_ARRAY(Rtl8139, TxAddr, u32, 4),
    R(RxBuf),
    STATE_U32(Rtl8139, RxBufferSize, .min = 8192, .max = 65536),
    R(RxBufPtr),
    STATE_U32(Rtl8139, RxBufAddr, .max = 0x20000),
    H(IntrStatus),
    H(IntrMask),
    R(TxConfig),
    R(RxConfig),
    R(RxMissed),
    H(CSCR),
    B(Cfg9346),
    B(Config0),
    B(Config1),
    B(Config3),
    B(Config4),
    B(Config5),
    B(clock_enabled),
    B(bChipCmdState),
    H(MultiIntr),
    H(BasicModeCtrl),
    H(BasicModeStatus),
    H(NWayAdvert),
    H(NWayLPAR),
    H(NWayExpansion),
    H(CpCmd),
    B(TxThresh),
    STATE_UNUSED(4),
    STATE_ANY(Rtl8139, conf.mac, &state_kind_buffer, 6, .name = "conf.macaddr"),
    STATE_I32(Rtl8139, io_dummy, .name = "rtl8139_mmio_io_addr_dummy"),
    STATE_U32(Rtl8139, currTxDesc, .max = 3),
    STATE_U32(Rtl8139, currCPlusRxDesc, .max = 63),
    STATE_U32(Rtl8139, currCPlusTxDesc, .max = 63),
    R(RxRingAddrLO),
    R(RxRingAddrHI),
    STATE_ARRAY(Rtl8139, eeprom.contents, u16, 64),
    STATE_I32(Rtl8139, eeprom.mode, .max = RTL_EEPROM_WRITE_ALL),
    R(eeprom.tick),
    B(eeprom.address),
    H(eeprom.input),
    H(eeprom.output),
    B(eeprom.eecs),
    B(eeprom.eesk),
    B(eeprom.eedi),
    B(eeprom.eedo),
    R(TCTR),
    R(TimerInt),
    STATE_I64(Rtl8139, TCTR_base, .max = INT64_MAX / 4),
    TALLY(STATE_U64, TxOk),
    TALLY(STATE_U64, RxOk),
    TALLY(STATE_U64, TxERR),
    TALLY(STATE_U32, RxERR),
    TALLY(STATE_U16, MissPkt),
    TALLY(STATE_U16, FAE),
    TALLY(STATE_U32, Tx1Col),
    TALLY(STATE_U32, TxMCol),
    TALLY(STATE_U64, RxOkPhy),
    TALLY(STATE_U64, RxOkBrd),
    STATE_U32(Rtl8139, tally.RxOkMul, .name = "tally_counters.RxOkMul", .since = 5),
    TALLY(STATE_U16, TxAbt),
    TALLY(STATE_U16, TxUndrn),
    STATE_U32(Rtl8139, cplus_enabled, .since = 4),
    {}};

static const StateDesc rtl_state = {
    .name = "rtl8139",
    .version = 5,
    .min_version = 3,
    .fields = rtl_fields,
    .pre_save = rtl_pre_save,
    .pre_load = rtl_pre_load,
    .post_load = rtl_post_load,
};

/* ---- what users and managers see --------------------------------------------------------- */

static const Property rtl_props[] = {PROPS_NIC(Rtl8139, conf), {}};

static const PciInfo rtl_info = {
    .vendor_id = 0x10ec,
    .device_id = 0x8139,
    .revision = REVISION,
    .class_id = PCI_CLASS_NETWORK_ETHERNET,
    .romfile = "efi-rtl8139.rom",
};

DEVICE_TYPE(rtl8139) = {
    .name = "rtl8139",
    .parent = "pci-device",
    .desc = "Realtek RTL8139C+ Fast Ethernet",
    .size = sizeof(Rtl8139),
    .category = "network",
    .props = rtl_props,
    .state = &rtl_state,
    .ops = &rtl_info,
    .realize = rtl_realize,
    .unrealize = rtl_unrealize,
    .reset = rtl_reset,
};
