/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the files of e1000: registers by word index (offset / 4) and the device.
 * Spec: Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual
 * (317453), "SDM" below.
 */
#ifndef HW_NET_E1000_INT_H
#define HW_NET_E1000_INT_H

#include "core/clock.h"
#include "hw/pci/pci.h"
#include "net/net.h"

#define E1000_REGS 0x8000           /* words of the register file: 128 KiB */
#define E1000_DATA 0x10000          /* bytes of a packet being put together */
#define E1000_FCS 4

enum {
    CTRL = 0x0000 / 4,
    STATUS = 0x0008 / 4,
    EECD = 0x0010 / 4,
    EERD = 0x0014 / 4,
    MDIC = 0x0020 / 4,
    VET = 0x0038 / 4,
    ICR = 0x00c0 / 4,
    ITR = 0x00c4 / 4,
    ICS = 0x00c8 / 4,
    IMS = 0x00d0 / 4,
    IMC = 0x00d8 / 4,
    RCTL = 0x0100 / 4,
    TCTL = 0x0400 / 4,
    AIT = 0x0458 / 4,
    LEDCTL = 0x0e00 / 4,
    PBA = 0x1000 / 4,
    RDFH = 0x2410 / 4,
    RDFPC = 0x2430 / 4,
    RDBAL = 0x2800 / 4,
    RDBAH = 0x2804 / 4,
    RDLEN = 0x2808 / 4,
    RDH = 0x2810 / 4,
    RDT = 0x2818 / 4,
    RDTR = 0x2820 / 4,
    RADV = 0x282c / 4,
    TDFH = 0x3410 / 4,
    TDFPC = 0x3430 / 4,
    TDBAL = 0x3800 / 4,
    TDBAH = 0x3804 / 4,
    TDLEN = 0x3808 / 4,
    TDH = 0x3810 / 4,
    TDT = 0x3818 / 4,
    TXDCTL = 0x3828 / 4,
    TADV = 0x382c / 4,
    /* statistics, 64-bit ones low word first */
    MPC = 0x4010 / 4,
    PRC64 = 0x405c / 4,
    PRC1522 = 0x4070 / 4,
    GPRC = 0x4074 / 4,
    BPRC = 0x4078 / 4,
    MPRC = 0x407c / 4,
    GPTC = 0x4080 / 4,
    GORCL = 0x4088 / 4,
    GORCH = 0x408c / 4,
    GOTCL = 0x4090 / 4,
    GOTCH = 0x4094 / 4,
    RNBC = 0x40a0 / 4,
    RUC = 0x40a4 / 4,
    ROC = 0x40ac / 4,
    TORL = 0x40c0 / 4,
    TORH = 0x40c4 / 4,
    TOTL = 0x40c8 / 4,
    TOTH = 0x40cc / 4,
    TPR = 0x40d0 / 4,
    TPT = 0x40d4 / 4,
    PTC64 = 0x40d8 / 4,
    MPTC = 0x40f0 / 4,
    BPTC = 0x40f4 / 4,
    TSCTC = 0x40f8 / 4,
    MTA = 0x5200 / 4,
    RA = 0x5400 / 4,
    VFTA = 0x5600 / 4,
    WUC = 0x5800 / 4,
    WUFC = 0x5808 / 4,
    WUS = 0x5810 / 4,
    MANC = 0x5820 / 4,
    SWSM = 0x5b50 / 4,
};

#define CTRL_VME 0x40000000u        /* tags are taken off and put in */
#define CTRL_RST 0x04000000u
#define STATUS_LU 0x2u
#define ICR_TXDW 0x1u
#define ICR_TXQE 0x2u
#define ICR_LSC 0x4u
#define ICR_RXDMT0 0x10u
#define ICR_RXO 0x40u
#define ICR_RXT0 0x80u
#define ICR_MDAC 0x200u
#define RCTL_EN 0x2u
#define RCTL_SBP 0x4u
#define RCTL_UPE 0x8u
#define RCTL_MPE 0x10u
#define RCTL_LPE 0x20u
#define RCTL_BAM 0x8000u
#define RCTL_VFE 0x40000u
#define RCTL_BSEX 0x2000000u
#define RCTL_SECRC 0x4000000u
#define TCTL_EN 0x2u
#define RAH_AV 0x80000000u

#define PHY_REGS 32
#define PHY_CTRL 0
#define PHY_STATUS 1
#define PHY_LPA 5
#define PHY_CTRL_LOOPBACK 0x4000u
#define PHY_CTRL_AUTONEG 0x1000u
#define PHY_STATUS_LINK 0x4u
#define PHY_STATUS_AUTONEG_DONE 0x20u

/* What a context descriptor says (SDM 3.3.6), in QEMU's names. */
typedef struct E1000Context {
    uint8_t ipcss, ipcso;
    uint16_t ipcse;
    uint8_t tucss, tucso;
    uint16_t tucse;
    uint32_t paylen;
    uint8_t hdr_len;
    uint16_t mss;
    int8_t ip, tcp;                 /* IPv4 (else v6); TCP (else UDP) */
} E1000Context;

typedef struct E1000Tx {
    uint8_t header[256];            /* of the packet that is segmented */
    uint8_t data[E1000_DATA];
    uint8_t tag[4];                 /* to be put in */
    uint16_t size;                  /* bytes of data that are there */
    uint16_t tso_frames;            /* segments that went */
    uint8_t sum_needed;             /* 1: IP, 2: TCP or UDP */
    bool tag_needed, cptse;
    bool busy;                      /* the ring is being walked */
    uint8_t desc[16];               /* at TDH, while desc_done */
    uint32_t desc_done;             /* bytes of its buffer that are sent, or in data; 0: it is not begun */
    E1000Context props, tso_props;
} E1000Tx;

typedef struct E1000 {
    PciDevice pci;
    NicConf conf;
    Nic *nic;
    NetPort *port;
    Region mmio, io;
    uint32_t mac[E1000_REGS];
    uint16_t phy[PHY_REGS];
    uint16_t eeprom[64];
    uint32_t rxbuf_size, rxbuf_min_shift;
    E1000Tx tx;
    struct {
        uint32_t val_in;            /* bits shifted in */
        uint16_t bitnum_in, bitnum_out, reading;
        uint32_t old_eecd;
    } eecd;
    Timer autoneg_timer;            /* the link comes up */
    Timer mit_timer;                /* interrupts that were put off */
    Timer rx_timer;                 /* pending: receiving was switched on a moment ago */
    Timer tx_timer;                 /* the rest of a long ring */
    bool mit_timer_on, mit_irq_level, mit_ide;
    bool autonegotiation, mitigation, extra_mac_registers, migrate_tso_props,
        init_vet; /* properties */
    /* wire only */
    E1000Context mig_props;
    bool tso_for_migration, received_tso;
} E1000;

/* ---- e1000.c -------------------------------------------------------------------------------- */
void e1000_set_ics(E1000 *s, uint32_t causes);
void e1000_link_up(E1000 *s);
void e1000_link_down(E1000 *s);
void e1000_restart_autoneg(E1000 *s);
bool e1000_has_autoneg(const E1000 *s);
static inline uint64_t e1000_ring_base(const E1000 *s, unsigned low)
{
    return (uint64_t)s->mac[low + 1] << 32 | (s->mac[low] & ~0xfu);
}
/* Statistics stop at their maximum. */
static inline void e1000_count(E1000 *s, unsigned reg)
{
    if (s->mac[reg] != UINT32_MAX) {
        s->mac[reg]++;
    }
}
void e1000_count64(E1000 *s, unsigned low, uint64_t n);
/* The counter of packets of this size: the first of six. */
void e1000_count_size(E1000 *s, unsigned first, size_t size);

/* ---- e1000_phy.c: what is behind EECD, EERD and MDIC -------------------------------------------
 */
void e1000_eeprom_init(E1000 *s, uint16_t device_id);
void e1000_phy_reset(E1000 *s);
uint32_t e1000_read_eecd(const E1000 *s);
void e1000_write_eecd(E1000 *s, uint32_t value);
uint32_t e1000_read_eerd(const E1000 *s);
void e1000_write_mdic(E1000 *s, uint32_t value);

/* ---- e1000_tx.c -------------------------------------------------------------------------- */
/* Walks the ring, in portions; what is left is sent from tx_timer. */
void e1000_transmit(E1000 *s);
/* The rest of a descriptor of which a part is sent: states know whole ones only. */
void e1000_finish_descriptor(E1000 *s);

/* ---- e1000_rx.c -------------------------------------------------------------------------- */
uint32_t e1000_buffer_size(uint32_t rctl);
bool e1000_can_receive(void *opaque);
bool e1000_receive(void *opaque, const NetPacket *packet);

#endif
