/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rtl8139's 93C46: 64 words of 16 bits; a start bit, two bits of opcode, six of address, then data.
 */
#include "hw/net/rtl8139_int.h"

void rtl_eeprom_init(Rtl8139 *s)
{
    RtlEeprom *e = &s->eeprom;

    *e = (RtlEeprom){.contents = {0x8129, 0x10ec, 0x8139}};
    for (unsigned i = 0; i < 3; i++) {
        e->contents[7 + i] = load16_le(s->conf.mac + 2 * i);
    }
}

/* The start bit, opcode and address are in. */
static void decode(RtlEeprom *e, uint8_t command)
{
    switch (command & 0xc0) {
    case 0x80:
        e->address = command & 0x3f;
        e->output = e->contents[e->address];
        e->eedo = 0;
        e->tick = 0;
        e->mode = RTL_EEPROM_READ;
        return;
    case 0x40:
        e->address = command & 0x3f;
        e->input = 0;
        e->tick = 0;
        e->mode = RTL_EEPROM_NONE; /* a guest's writes are not kept */
        return;
    default:
        e->mode = RTL_EEPROM_NONE;
        return;
    }
}

static void clock_in(RtlEeprom *e)
{
    uint8_t bit = e->eedi;

    e->tick++;
    switch (e->mode) {
    case RTL_EEPROM_COMMAND:
        if (bit) { /* the start bit */
            e->mode = RTL_EEPROM_READ_COMMAND;
            e->tick = 0;
            e->input = 0;
        }
        return;
    case RTL_EEPROM_READ_COMMAND:
        e->input = (uint16_t)(e->input << 1 | (bit & 1));
        if (e->tick == 8) {
            decode(e, (uint8_t)e->input);
        }
        return;
    case RTL_EEPROM_READ:
        e->eedo = e->output >> 15;
        e->output = (uint16_t)(e->output << 1);
        if (e->tick == 16) { /* and the next word */
            e->address = (e->address + 1) & 0x3f;
            e->output = e->contents[e->address];
            e->tick = 0;
        }
        return;
    default:
        return;
    }
}

void rtl_eeprom_set(Rtl8139 *s, bool eecs, bool eesk, bool eedi)
{
    RtlEeprom *e = &s->eeprom;
    bool was_selected = e->eecs, was_high = e->eesk;

    e->eecs = eecs;
    e->eesk = eesk;
    e->eedi = eedi;
    if (!was_selected && eecs) {
        e->tick = 0;
        e->input = e->output = 0;
        e->eedo = 0;
        e->mode = RTL_EEPROM_COMMAND;
    }
    if (eecs && !was_high && eesk) {
        clock_in(e);
    }
}
