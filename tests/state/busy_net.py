# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of busy.py: network cards, which hear themselves by loopback."""
from scenario import MS, RAM, scenario, steps

CARD = 5 << 3
BAR = 0xE0000000
TX, RX, DATA, BUFFERS = RAM, RAM + 0x1000, RAM + 0x2000, RAM + 0x4000
RCTL, TCTL, RDBAL, TDBAL, STATUS, ICR = 0x100, 0x400, 0x2800, 0x3800, 0x8, 0xC0
EOP, RS, DEXT, DTYP_D, TSE = 1 << 24, 1 << 27, 1 << 29, 1 << 20, 1 << 26


def descriptor(m, n, address, lower, upper=0):
    m.writeq(TX + 16 * n, address)
    m.writeq(TX + 16 * n + 8, lower | upper << 32)


def e1000_start(m):
    m.config(CARD, 0x10, BAR)
    m.config(CARD, 4, 7, 2)
    for i in range(8):
        m.writeq(RX + 16 * i, BUFFERS + 0x800 * i)
        m.writeq(RX + 16 * i + 8, 0)
    for base, address, tail in ((TDBAL, TX, 0), (RDBAL, RX, 7)):
        for register, value in ((0, address), (4, 0), (8, 128), (0x10, 0), (0x18, tail)):
            m.writel(BAR + base + register, value)
    m.writel(BAR + 0x20, 1 << 26 | 1 << 21 | 0x4140)    # PHY loopback
    m.writel(BAR + RCTL, 0x801A)
    m.writel(BAR + TCTL, 2)
    m.step(1100 * MS)
    m.write(DATA, bytes(range(256)) * 16)


def e1000_look(m):
    seen = [m.readl(BAR + r) for r in (0, 8, 0x10, 0x14, 0x20, 0x38, 0xD0, RCTL, TCTL, 0x2810, 0x2818, 0x3810, 0x3818, 0x5400)]
    return seen + [m.read(RX, 128).hex(), m.readl(BAR + ICR)]


@scenario("e1000 with half a packet, half a word of EEPROM", "-nodefaults", "-device", "e1000,addr=5")
class _:
    def drive(m):
        e1000_start(m)
        descriptor(m, 0, DATA, 100 | EOP | RS)
        descriptor(m, 1, DATA + 100, 50)
        m.writel(BAR + 0x3818, 2)           # a packet, and the beginning of one
        for value in (0, 2, 6, 7, 6, 7, 2, 3, 2, 3):
            m.writel(BAR + 0x10, value)     # start bit and part of a command
        m.writel(BAR + 0x5200, 0x1234)
        m.writel(BAR + 0x5600, 0x5678)

    def probe(m):
        seen = [e1000_look(m)]
        descriptor(m, 2, DATA + 150, 60 | EOP | RS)
        m.writel(BAR + 0x3818, 3)
        seen.append(m.read(BUFFERS + 0x800, 128).hex())
        for i in range(24):
            m.writel(BAR + 0x10, 2 | i & 1)
            seen.append(m.readl(BAR + 0x10))
        return seen + [e1000_look(m), m.readl(BAR + 0x5200), m.readl(BAR + 0x5600)]


@scenario("e1000 segmenting, while the link is negotiated", "-nodefaults", "-device", "e1000,addr=5")
class _:
    def drive(m):
        e1000_start(m)
        m.writel(TX, 14 | 24 << 8 | 33 << 16)
        m.writel(TX + 4, 34 | 50 << 8)
        m.writel(TX + 8, 400 | DEXT | TSE | 3 << 24)
        m.writel(TX + 12, 54 << 8 | 200 << 16)
        descriptor(m, 1, DATA, 300 | DEXT | DTYP_D | TSE, 0x300)
        m.writel(BAR + 0x3818, 2)
        m.writel(BAR + 0x20, 1 << 26 | 1 << 21 | 0x5340)    # negotiate again
        m.step(100 * MS)

    def probe(m):
        seen = [e1000_look(m)]
        m.step(600 * MS)
        seen.append(e1000_look(m))
        descriptor(m, 2, DATA + 300, 154 | DEXT | DTYP_D | TSE | EOP | RS)
        m.writel(BAR + 0x3818, 3)
        return seen + [e1000_look(m), m.read(BUFFERS, 0x1000).hex()]


@scenario("rtl8139 with packets not read and a timer", "-nodefaults", "-device", "rtl8139,addr=5")
class _:
    def drive(m):
        m.config(CARD, 0x14, BAR)
        m.config(CARD, 4, 7, 2)
        m.write(DATA, b"\xff" * 6 + bytes(range(200)))
        m.ask(f"writeb 0x{BAR + 0x37:x} 0x0c")
        m.writel(BAR + 0x40, 0x60000)       # loopback
        m.writel(BAR + 0x44, 0x0F)
        m.writel(BAR + 0x30, BUFFERS)
        for n in range(3):
            m.writel(BAR + 0x20 + 4 * n, DATA)
            m.writel(BAR + 0x10 + 4 * n, 100 + n)
        m.writel(BAR + 0x48, 0)
        m.writel(BAR + 0x54, 100_000)       # 3 ms
        for value in (0x80, 0x88, 0x8A, 0x8E, 0x8A, 0x8E, 0x88, 0x8C):
            m.ask(f"writeb 0x{BAR + 0x50:x} 0x{value:x}")
        m.step(MS)

    def probe(m):
        def look():
            return [m.readl(BAR + r) for r in (0x10, 0x14, 0x18, 0x1C, 0x20, 0x30, 0x38, 0x3C, 0x40, 0x44, 0x48, 0x4C, 0x54)] + \
                [m.ask(f"readw 0x{BAR + r:x}") for r in (0x38, 0x3A, 0x3C, 0x3E, 0x60, 0x62, 0x64)]
        seen = [look(), steps(m, MS, 3), look(), m.read(BUFFERS, 512).hex()]
        m.writel(BAR + 0x2C, DATA)
        m.writel(BAR + 0x1C, 120)
        for i in range(20):
            m.ask(f"writeb 0x{BAR + 0x50:x} 0x{0x88 | (i & 1) << 2:x}")
            seen.append(m.ask(f"readb 0x{BAR + 0x50:x}"))
        return seen + [look(), m.read(BUFFERS, 512).hex()]
