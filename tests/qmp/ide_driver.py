# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver of an IDE disk, the first one of its controller, through qtest."""
import busy_virtio as v

BUSY, DRQ, ERR = 0x80, 8, 1
PIIX_IDE = 1 << 3 | 1
TABLE, DMA_DATA = 0x3000000, 0x3001000


def ide_wait(m):
    v.wait(lambda: not m.inb(0x3F6) & BUSY)
    return m.inb(0x3F6)


def ide_start(m, command, sector, count=1):
    ide_wait(m)
    for port, value in ((0x1F6, 0xE0 | sector >> 24), (0x1F2, count), (0x1F3, sector & 0xFF), (0x1F4, sector >> 8 & 0xFF),
                        (0x1F5, sector >> 16 & 0xFF), (0x1F7, command)):
        m.outb(port, value)


def ide_read(m, sector):
    ide_start(m, 0x20, sector)
    assert ide_wait(m) & (DRQ | ERR) == DRQ
    return b"".join(m.inw(0x1F0).to_bytes(2, "little") for _ in range(256))


def ide_write(m, sector, fill):
    ide_start(m, 0x30, sector)
    assert ide_wait(m) & (DRQ | ERR) == DRQ
    for _ in range(256):
        m.outw(0x1F0, fill * 0x101)
    assert not ide_wait(m) & (DRQ | ERR)


def bus_master(m):
    """Its registers are at 0xC100."""
    m.config(PIIX_IDE, 0x20, 0xC101)
    m.config(PIIX_IDE, 0x04, 5, 2)


def dma_prepare(m, count):
    """The bus master's table, of so many sectors."""
    bus_master(m)
    m.write(TABLE, DMA_DATA.to_bytes(4, "little") + (0x80000000 | count * 512 & 0xFFFF).to_bytes(4, "little"))
    m.outl(0xC104, TABLE)
    m.outb(0xC102, 6)


def dma_start(m, sector, fill=None, count=8):
    """A transfer of the bus master under way."""
    dma_prepare(m, count)
    if fill is not None:
        m.write(DMA_DATA, bytes([fill]) * (count * 512))
    ide_start(m, 0xC8 if fill is None else 0xCA, sector, count)
    m.outb(0xC100, 1 | (8 if fill is None else 0))


def trim_start(m, *ranges):
    """Ranges (sector, count)."""
    dma_prepare(m, 1)
    m.write(DMA_DATA, b"".join((sector | count << 48).to_bytes(8, "little") for sector, count in ranges).ljust(512, b"\0"))
    m.outb(0x1F2, 0)    # the high byte of the count
    m.outb(0x1F1, 1)
    ide_start(m, 6, 0)
    m.outb(0xC100, 1)


def dma_end(m):
    v.wait(lambda: not m.inb(0xC102) & 1)
    assert not m.inb(0xC102) & 2 and not ide_wait(m) & ERR
    m.outb(0xC100, 0)
