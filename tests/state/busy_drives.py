# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of busy.py: floppy, disks, CD-ROM."""
from scenario import IDE, MS, RAM, SCENARIOS, pic_look, pic_setup, scenario

FLOPPY = ("-drive", "if=floppy,format=raw,file=@floppy")


def fdc_on(m):
    m.outb(0x3F2, 0x0C)
    m.outb(0x3F2, 0x1C)
    m.step(20 * MS)
    for _ in range(4):
        m.outb(0x3F5, 0x08)
        m.inb(0x3F5)
        m.inb(0x3F5)
    m.outb(0x3F5, 0x03, 0xDF, 0x03)      # SPECIFY: not by DMA
    m.outb(0x3F5, 0x07, 0x00)
    m.step(20 * MS)
    m.outb(0x3F5, 0x08)
    m.inb(0x3F5)
    m.inb(0x3F5)


def fdc_wait(m):
    """Requests end in the main loop: looks until the controller wants something."""
    for _ in range(100000):
        status = m.inb(0x3F4)
        if status & 0x80:
            return status
    raise AssertionError("the floppy controller stays busy")


def fdc_drain(m, limit):
    seen = []
    for _ in range(limit):
        if fdc_wait(m) & 0xC0 != 0xC0:
            break
        seen.append(m.inb(0x3F5))
    return seen + [m.inb(0x3F4), m.inb(0x3F0), m.inb(0x3F2), m.inb(0x3F7)]


@scenario("fdc in the middle of a command", *FLOPPY)
class _:
    def drive(m):
        fdc_on(m)
        m.outb(0x3F5, 0xE6, 0x00, 0x00)

    def probe(m):
        m.outb(0x3F5, 0x00, 0x02, 0x02, 0x02, 0x1B, 0xFF)
        m.step(50 * MS)
        return fdc_drain(m, 600)


@scenario("fdc in the middle of a sector", *FLOPPY)
class _:
    def drive(m):
        fdc_on(m)
        m.outb(0x3F5, 0xE6, 0x00, 0x00, 0x00, 0x03, 0x02, 0x04, 0x1B, 0xFF)
        m.step(50 * MS)
        for _ in range(200):
            fdc_wait(m)
            m.inb(0x3F5)

    def probe(m):
        return fdc_drain(m, 2000)


@scenario("fdc with a result half read", *FLOPPY)
class _:
    def drive(m):
        fdc_on(m)
        m.outb(0x3F5, 0x4A, 0x00)        # READ ID
        m.step(50 * MS)
        fdc_wait(m)
        m.inb(0x3F5)
        m.inb(0x3F5)

    def probe(m):
        return fdc_drain(m, 20)


@scenario("fdc writing a sector", *FLOPPY)
class _:
    def drive(m):
        fdc_on(m)
        m.outb(0x3F5, 0xC5, 0x00, 0x00, 0x00, 0x05, 0x02, 0x05, 0x1B, 0xFF)
        m.step(50 * MS)
        for i in range(100):
            fdc_wait(m)
            m.outb(0x3F5, i)

    def probe(m):
        for i in range(412):
            fdc_wait(m)
            m.outb(0x3F5, i & 0xFF)
        m.step(50 * MS)
        seen = fdc_drain(m, 20)
        m.outb(0x3F5, 0xE6, 0x00, 0x00, 0x00, 0x05, 0x02, 0x05, 0x1B, 0xFF)
        m.step(50 * MS)
        return seen + fdc_drain(m, 600)


@scenario("fdc seek done, interrupt not sensed", *FLOPPY)
class _:
    def drive(m):
        pic_setup(m)
        fdc_on(m)
        m.outb(0x3F5, 0x0F, 0x00, 0x11)
        m.step(50 * MS)

    def probe(m):
        m.step(500 * MS)
        seen = pic_look(m)
        m.outb(0x3F5, 0x08)
        return seen + fdc_drain(m, 5) + pic_look(m)


DISKS = ("-hda", "@disk", "-cdrom", "@cd")


def wait_ide(m, base):
    """Requests end in the main loop: looks until the drive is not busy."""
    for _ in range(100000):
        status = m.inb(base + 0x206)
        if not status & 0x80:
            return status
    raise AssertionError(f"the drive at 0x{base:x} stays busy")


def ide_command(m, command, lba=0, count=1, base=0x1F0, drive=0xE0):
    m.outb(base + 6, drive | lba >> 24)
    m.outb(base + 2, count)
    m.outb(base + 3, lba & 0xFF)
    m.outb(base + 4, lba >> 8 & 0xFF)
    m.outb(base + 5, lba >> 16 & 0xFF)
    m.outb(base + 7, command)
    return wait_ide(m, base)


def ide_words(m, count, base=0x1F0):
    return [m.inw(base) for _ in range(count) if wait_ide(m, base) or True]


def ide_look(m, base=0x1F0):
    return [m.inb(base + r) for r in range(1, 8)]


@scenario("ide disk in the middle of a read", *DISKS)
class _:
    def drive(m):
        pic_setup(m)
        ide_command(m, 0x20, 5, 3)
        ide_words(m, 300)

    def probe(m):
        seen = [m.inb(0x3F6)]
        for _ in range(3):
            seen += ide_words(m, 212 if len(seen) == 1 else 256) + [wait_ide(m, 0x1F0)]
        return seen + ide_look(m) + pic_look(m)


@scenario("ide disk in the middle of a write", *DISKS)
class _:
    def drive(m):
        ide_command(m, 0x30, 7, 2)
        for i in range(100):
            m.outw(0x1F0, i)

    def probe(m):
        for i in range(412):
            m.outw(0x1F0, i)
            if i in (155, 411):
                wait_ide(m, 0x1F0)
        seen = ide_look(m)
        ide_command(m, 0x20, 7, 1)
        return seen + ide_words(m, 256)


@scenario("ide multiple sectors, long addresses, identify", *DISKS)
class _:
    def drive(m):
        ide_command(m, 0xC6, 0, 4)       # SET MULTIPLE
        ide_command(m, 0xEF, 0, 0x22)
        for register, value in ((2, 0), (2, 6), (3, 0), (3, 9), (4, 0), (4, 0), (5, 0), (5, 0), (6, 0x40)):
            m.outb(0x1F0 + register, value)
        m.outb(0x1F7, 0x29)              # READ MULTIPLE EXT
        wait_ide(m, 0x1F0)
        ide_words(m, 700)

    def probe(m):
        seen = ide_words(m, 324) + [wait_ide(m, 0x1F0)] + ide_words(m, 512) + [wait_ide(m, 0x1F0)] + ide_look(m)
        m.outb(0x3F6, 0x80)
        seen += ide_look(m)
        m.outb(0x3F6, 0)
        ide_command(m, 0xEC)
        return seen + ide_words(m, 256)


def bmdma_map(m):
    m.config(IDE, 0x20, 0xC001)
    m.config(IDE, 0x04, 0x05, 2)


@scenario("ide bus master programmed", *DISKS)
class _:
    def drive(m):
        pic_setup(m)
        bmdma_map(m)
        m.write(RAM, (RAM + 0x1000).to_bytes(4, "little") + (0x80000400).to_bytes(4, "little"))
        m.outl(0xC004, RAM)
        m.outb(0xC000, 0x08)
        m.outb(0xC002, 0x66)
        ide_command(m, 0xEF, 0, 0x22)
        m.outb(0x1F6, 0xE0)
        m.outb(0x1F2, 2)
        m.outb(0x1F3, 3)

    def probe(m):
        m.outb(0xC002, 0x66)
        m.outb(0x1F7, 0xC8)
        m.outb(0xC000, 0x09)
        for _ in range(100000):
            if m.inb(0xC002) & 4:
                break
        return [m.inb(0xC000), m.inb(0xC002), m.inl(0xC004), m.read(RAM + 0x1000, 1024).hex()] + pic_look(m) + \
            ide_look(m)


@scenario("ide bus master after a transfer", *DISKS)
class _:
    def drive(m):
        SCENARIOS["ide bus master programmed"][1](m)
        SCENARIOS["ide bus master programmed"][2](m)

    def probe(m):
        seen = [m.inb(0xC000), m.inb(0xC002), m.inl(0xC004)]
        m.outb(0xC002, 0x66)
        m.outb(0xC000, 0)
        return seen + [m.inb(0xC002)] + ide_look(m) + pic_look(m)


def packet(m, *command):
    data = bytes(command).ljust(12, b"\0")
    for i in range(0, 12, 2):
        m.outw(0x170, data[i] | data[i + 1] << 8)
    return wait_ide(m, 0x170)


def atapi_begin(m, limit=0xFFFE):
    m.outb(0x176, 0xA0)
    m.outb(0x171, 0)
    m.outb(0x174, limit & 0xFF)
    m.outb(0x175, limit >> 8)
    m.outb(0x177, 0xA0)
    wait_ide(m, 0x170)


def atapi(m, *command, limit=0xFFFE):
    atapi_begin(m, limit)
    return packet(m, *command)


def atapi_ready(m):
    for _ in range(3):
        atapi(m, 0x00)
        atapi(m, 0x03, 0, 0, 0, 18)
        while wait_ide(m, 0x170) & 8:
            m.inw(0x170)


@scenario("atapi packet half sent", *DISKS)
class _:
    def drive(m):
        atapi_begin(m)
        m.outw(0x170, 0x0012, 0x0000)    # INQUIRY

    def probe(m):
        m.outw(0x170, 0x0024, 0, 0, 0)
        seen = [wait_ide(m, 0x170)] + ide_look(m, 0x170)
        return seen + ide_words(m, 18, 0x170) + [wait_ide(m, 0x170)] + ide_look(m, 0x170)


@scenario("atapi in the middle of a read", *DISKS)
class _:
    def drive(m):
        atapi_ready(m)
        atapi(m, 0x28, 0, 0, 0, 0, 2, 0, 0, 3, limit=2048)
        ide_words(m, 1024 + 300, 0x170)

    def probe(m):
        seen = ide_look(m, 0x170) + ide_words(m, 724, 0x170)
        seen += [wait_ide(m, 0x170)] + ide_look(m, 0x170) + ide_words(m, 1024, 0x170)
        return seen + [wait_ide(m, 0x170)] + ide_look(m, 0x170)


@scenario("atapi reply in small pieces", *DISKS)
class _:
    def drive(m):
        atapi_ready(m)
        atapi(m, 0x12, 0, 0, 0, 0x24, limit=10)          # INQUIRY
        ide_words(m, 3, 0x170)

    def probe(m):
        seen = []
        for _ in range(100):
            if not wait_ide(m, 0x170) & 8:
                break
            seen.append([m.inw(0x170)] + ide_look(m, 0x170))
        return seen + ide_look(m, 0x170)


@scenario("atapi with sense to be told, tray locked", *DISKS)
class _:
    def drive(m):
        atapi_ready(m)
        atapi(m, 0x1E, 0, 0, 0, 1)
        atapi(m, 0x28, 0, 0x7F, 0, 0, 0, 0, 0, 1)        # beyond the end

    def probe(m):
        seen = ide_look(m, 0x170)
        atapi(m, 0x03, 0, 0, 0, 18)
        seen += ide_words(m, 9, 0x170)
        atapi(m, 0x1B, 0, 0, 0, 2)
        seen += ide_look(m, 0x170)
        atapi(m, 0x03, 0, 0, 0, 18)
        return seen + ide_words(m, 9, 0x170)


@scenario("atapi tray open", *DISKS)
class _:
    def drive(m):
        atapi_ready(m)
        atapi(m, 0x1B, 0, 0, 0, 2)

    def probe(m):
        seen = []
        for command in ((0x00,), (0x1B, 0, 0, 0, 3), (0x00,), (0x00,)):
            atapi(m, *command)
            seen += ide_look(m, 0x170)
            atapi(m, 0x03, 0, 0, 0, 18)
            seen += ide_words(m, 9, 0x170)
        return seen
