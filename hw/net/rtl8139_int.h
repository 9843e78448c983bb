/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the files of rtl8139. Spec: Realtek RTL8139C+ data sheet 1.6, RTL8139D programming guide.
 */
#ifndef HW_NET_RTL8139_INT_H
#define HW_NET_RTL8139_INT_H

#include "core/clock.h"
#include "hw/pci/pci.h"
#include "net/net.h"

#define RTL_TX_BUFFER 0x10000
#define RTL_MIN_PACKET 60

/* Interrupts */
#define RTL_INT_RX_OK 0x0001
#define RTL_INT_TX_OK 0x0004
#define RTL_INT_RX_OVERFLOW 0x0010
#define RTL_INT_TIMER 0x4000
/* ChipCmd */
#define RTL_CMD_EMPTY 0x01
#define RTL_CMD_TX 0x04
#define RTL_CMD_RX 0x08
#define RTL_CMD_RESET 0x10
/* CpCmd */
#define RTL_CP_TX 0x01
#define RTL_CP_RX 0x02
#define RTL_CP_VLAN 0x40
/* TxStatus */
#define RTL_TX_HOST_OWNS 0x2000u
#define RTL_TX_UNDERRUN 0x4000u
#define RTL_TX_OK 0x8000u
#define RTL_TX_ABORTED 0x40000000u

/* Counters that the card writes to memory (data sheet 6.27), in QEMU's names. */
typedef struct RtlTally {
    uint64_t TxOk, RxOk, TxERR;
    uint32_t RxERR;
    uint16_t MissPkt, FAE;
    uint32_t Tx1Col, TxMCol;
    uint64_t RxOkPhy, RxOkBrd;
    uint32_t RxOkMul;
    uint16_t TxAbt, TxUndrn;
} RtlTally;

/* The serial EEPROM (93C46): mode numbers are the wire's. */
typedef enum RtlEepromMode {
    RTL_EEPROM_NONE,
    RTL_EEPROM_COMMAND,
    RTL_EEPROM_READ_COMMAND,
    RTL_EEPROM_READ,
    RTL_EEPROM_WRITE,
    RTL_EEPROM_WRITE_ALL,
} RtlEepromMode;

typedef struct RtlEeprom {
    uint16_t contents[64];
    int32_t mode;
    uint32_t tick;              /* bits since the chip was selected */
    uint8_t address;
    uint16_t input, output;
    uint8_t eecs, eesk, eedi, eedo;
} RtlEeprom;

typedef struct Rtl8139 {
    PciDevice pci;
    NicConf conf;
    Nic *nic;
    NetPort *port;
    Region io, mmio;
    uint8_t phys[6], mult[8];
    uint32_t TxStatus[4], TxAddr[4];
    uint32_t RxBuf, RxBufferSize, RxBufPtr, RxBufAddr;
    uint16_t IntrStatus, IntrMask;
    uint32_t TxConfig, RxConfig, RxMissed;
    uint16_t CSCR;
    uint8_t Cfg9346, Config0, Config1, Config3, Config4, Config5, clock_enabled, bChipCmdState;
    uint16_t MultiIntr, BasicModeCtrl, BasicModeStatus, NWayAdvert, NWayLPAR, NWayExpansion, CpCmd;
    uint8_t TxThresh;
    int32_t io_dummy;           /* wire only */
    uint32_t currTxDesc, currCPlusRxDesc, currCPlusTxDesc, RxRingAddrLO, RxRingAddrHI,
        cplus_enabled;
    RtlEeprom eeprom;
    uint32_t TCTR, TimerInt;    /* TCTR: wire only */
    int64_t TCTR_base;
    Timer timer;                /* TimerInt */
    Timer tx_timer;             /* the rest of a long ring */
    RtlTally tally;
    bool busy;                  /* sending: what comes back by loopback does not send */
    uint8_t tx_buffer[RTL_TX_BUFFER]; /* the packet being put together */
    uint32_t tx_len;
    unsigned tx_packets;        /* of this walk */
} Rtl8139;

/* ---- rtl8139.c ------------------------------------------------------------------------------- */
void rtl_raise(Rtl8139 *s, uint16_t causes);

/* ---- rtl8139_tx.c ------------------------------------------------------------------------------
 */
/* The four descriptors in registers. */
void rtl_transmit(Rtl8139 *s);
/* The ring in memory (C+ mode), in portions. */
void rtl_transmit_ring(Rtl8139 *s);

/* ---- rtl8139_rx.c ------------------------------------------------------------------------ */
bool rtl_can_receive(void *opaque);
bool rtl_receive(void *opaque, const NetPacket *packet);
/* Bytes of the receive buffer that the driver has not taken yet are none. */
static inline bool rtl_buffer_is_empty(const Rtl8139 *s)
{
    return ((s->RxBufAddr - s->RxBufPtr) & (s->RxBufferSize - 1)) == 0;
}

/* ---- rtl8139_eeprom.c -------------------------------------------------------------------- */
void rtl_eeprom_init(Rtl8139 *s);
void rtl_eeprom_set(Rtl8139 *s, bool eecs, bool eesk, bool eedi);

#endif
