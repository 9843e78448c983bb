/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * e1000's EEPROM (a 93C46 on four wires, SDM 5.3, or by EERD) and PHY (registers by MDIC,
 * SDM 13.4.9). Contents are those that QEMU 7.2's guests read.
 */
#include "hw/net/e1000_int.h"
#include "util/trace.h"

#define EEPROM_WORDS 64
#define EEPROM_SUM 0xbaba           /* of all words */
#define EEPROM_READ 6               /* start bit and opcode */

#define EECD_SK 0x1u
#define EECD_CS 0x2u
#define EECD_DI 0x4u
#define EECD_DO 0x8u
#define EECD_FWE 0x30u
#define EECD_REQ 0x40u
#define EECD_GNT 0x80u
#define EECD_PRES 0x100u

#define EERD_START 0x1u
#define EERD_DONE 0x10u

#define MDIC_WRITE 0x04000000u
#define MDIC_READ 0x08000000u
#define MDIC_READY 0x10000000u
#define MDIC_INT 0x20000000u
#define MDIC_ERROR 0x40000000u

static const uint16_t eeprom_contents[EEPROM_WORDS] = {
    0x0000, 0x0000,
    0x0000, 0x0000,
    0xffff, 0x0000,
    0x0000, 0x0000,
    0x3000, 0x1000,
    0x6403, 0 /* device id */,
    0x8086, 0 /* device id */,
    0x8086, 0x3040,
    0x0008, 0x2000,
    0x7e14, 0x0048,
    0x1000, 0x00d8,
    0x0000, 0x2700,
    0x6cc9, 0x3150,
    0x0722, 0x040b,
    0x0984, 0x0000,
    0xc000, 0x0706,
    0x1008, 0x0000,
    0x0f04, 0x7fff,
    0x4d01, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0x0100, 0x4000,
    0x121c, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0xffff, 0xffff,
    0xffff, 0x0000 /* sum */,
};

void e1000_eeprom_init(E1000 *s, uint16_t device_id)
{
    uint16_t sum = 0;

    memcpy(s->eeprom, eeprom_contents, sizeof s->eeprom);
    for (unsigned i = 0; i < 3; i++) {
        s->eeprom[i] = load16_le(s->conf.mac + 2 * i);
    }
    s->eeprom[11] = s->eeprom[13] = device_id;
    for (unsigned i = 0; i < EEPROM_WORDS - 1; i++) {
        sum += s->eeprom[i];
    }
    s->eeprom[EEPROM_WORDS - 1] = EEPROM_SUM - sum;
}

static bool eeprom_bit(const E1000 *s)
{
    return s->eeprom[s->eecd.bitnum_out >> 4 & 0x3f] >> (15 - (s->eecd.bitnum_out & 15)) & 1;
}

uint32_t e1000_read_eecd(const E1000 *s)
{
    uint32_t value = EECD_PRES | EECD_GNT | s->eecd.old_eecd;

    return !s->eecd.reading || eeprom_bit(s) ? value | EECD_DO : value;
}

/* A read command is the start bit, two bits of opcode and six of address, shifted in on rising
 * clocks; data come out, high bit first, on falling ones. */
void e1000_write_eecd(E1000 *s, uint32_t value)
{
    uint32_t changed = value ^ s->eecd.old_eecd;

    s->eecd.old_eecd = value & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ);
    if (!(value & EECD_CS)) {
        return;
    }
    if (changed & EECD_CS) {
        s->eecd.val_in = s->eecd.bitnum_in = s->eecd.bitnum_out = s->eecd.reading = 0;
    }
    if (!(changed & EECD_SK)) {
        return;
    }
    if (!(value & EECD_SK)) {
        s->eecd.bitnum_out++;
        return;
    }
    s->eecd.val_in = s->eecd.val_in << 1 | !!(value & EECD_DI);
    if (++s->eecd.bitnum_in == 9 && !s->eecd.reading) {
        s->eecd.bitnum_out = (uint16_t)((s->eecd.val_in & 0x3f) << 4) - 1;
        s->eecd.reading = (s->eecd.val_in >> 6 & 7) == EEPROM_READ;
    }
}

uint32_t e1000_read_eerd(const E1000 *s)
{
    uint32_t value = s->mac[EERD] & ~EERD_START, index = value >> 8;

    if (!(s->mac[EERD] & EERD_START)) {
        return value;
    }
    return index < EEPROM_WORDS ? (uint32_t)s->eeprom[index] << 16 | EERD_DONE | value
                                : EERD_DONE | value;
}

/* ---- PHY --------------------------------------------------------------------------------- */

enum { PHY_R = 1, PHY_W = 2 };

static const struct {
    uint8_t access;
    uint16_t value;
} phy_table[PHY_REGS] = {
    [PHY_CTRL] = {PHY_R | PHY_W, 0x1140}, /* 1000 Mbit/s, full duplex, autonegotiation */
    [PHY_STATUS] = {PHY_R, 0x794d},
    [2] = {PHY_R, 0x0141},
    [3] = {PHY_R, 0x0c20}, /* M88E1011 */
    [4] = {PHY_R | PHY_W, 0x0de1},
    [PHY_LPA] = {PHY_R, 0x01e0},
    [6] = {PHY_R, 0},
    [9] = {PHY_R | PHY_W, 0x0e00},
    [10] = {PHY_R, 0x3c00},
    [16] = {PHY_R | PHY_W, 0x0360},
    [17] = {PHY_R, 0xac00},
    [20] = {PHY_R | PHY_W, 0x0d60},
    [21] = {PHY_R, 0},
};

void e1000_phy_reset(E1000 *s)
{
    for (unsigned i = 0; i < PHY_REGS; i++) {
        s->phy[i] = phy_table[i].value;
    }
}

static void write_phy(E1000 *s, unsigned reg, uint16_t value)
{
    if (reg != PHY_CTRL) {
        s->phy[reg] = value;
        return;
    }
    /* Bits 0 to 5 are reserved; reset and restart clear themselves. */
    s->phy[PHY_CTRL] = value & ~(0x3f | 0x8000 | 0x200);
    if (e1000_has_autoneg(s) && (value & 0x200)) {
        e1000_restart_autoneg(s);
    }
}

void e1000_write_mdic(E1000 *s, uint32_t value)
{
    unsigned reg = value >> 16 & 0x1f;
    uint32_t result = value;

    if ((value >> 21 & 0x1f) != 1) { /* there is one PHY */
        result = s->mac[MDIC] | MDIC_ERROR;
    } else if (value & MDIC_READ) {
        result =
            phy_table[reg].access & PHY_R ? (value & 0xffff0000) | s->phy[reg] : value | MDIC_ERROR;
    } else if (value & MDIC_WRITE) {
        if (phy_table[reg].access & PHY_W) {
            write_phy(s, reg, (uint16_t)value);
        } else {
            result = value | MDIC_ERROR;
        }
    }
    trace(e1000_mdic, "0x%08x -> 0x%08x", value, result);
    s->mac[MDIC] = result | MDIC_READY;
    if (value & MDIC_INT) {
        e1000_set_ics(s, ICR_MDAC);
    }
}
