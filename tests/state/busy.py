# SPDX-License-Identifier: GPL-2.0-or-later
"""Busy devices: each scenario drives one device into the middle of something, and probes by going on from there.

SCENARIOS: name -> (arguments, drive, probe). drive(m) acts on the machine; probe(m) returns what it saw while going
on, the same on a machine that went through save and load. Arguments beginning with @ name an image."""

RAM = 0x100000          # copied by the test to the second machine, RAM_SIZE bytes
RAM_SIZE = 0x10000
SCENARIOS = {}
IDE, PM, HOST, BRIDGE = 0x09, 0x0B, 0x00, 0x08   # devfn
MS = 1_000_000


def scenario(name, *args):
    def add(cls):
        SCENARIOS[name] = (list(args), cls.drive, cls.probe)
        return cls
    return add


def steps(m, ns, count, ports=()):
    """Steps the clock and looks at ports after each step."""
    return [[m.inb(port) for port in ports] for _ in range(count) if m.step(ns) >= 0]


def pic_setup(m, mask=0):
    m.outb(0x20, 0x11)
    m.outb(0x21, 0x30, 0x04, 0x01, mask)
    m.outb(0xA0, 0x11)
    m.outb(0xA1, 0x38, 0x02, 0x01, mask)


def pic_look(m):
    seen = []
    for base in (0x20, 0xA0):
        for ocw3 in (0x0A, 0x0B):
            m.outb(base, ocw3)
            seen.append(m.inb(base))
        seen.append(m.inb(base + 1))
    return seen


@scenario("i8259 in service, pending, polled")
class _:
    def drive(m):
        pic_setup(m)
        m.outb(0x4D0, 0x20)
        m.outb(0x4D1, 0x0C)
        m.outb(0x43, 0x34)
        m.outb(0x40, 0x10, 0x00)
        m.step(MS)                       # the timer's interrupt is pending
        m.outb(0x20, 0x0C)
        m.inb(0x20)                      # and taken by a poll
        m.outb(0x60, 0xF4)               # the keyboard's answer raises line 1
        m.step(MS)
        m.outb(0x20, 0x68)               # special mask mode
        m.outb(0x20, 0xC3)               # rotate: 3 is lowest
        m.outb(0xA0, 0x0C)               # the slave is about to be polled

    def probe(m):
        seen = [m.inb(0xA0), m.inb(0x4D0), m.inb(0x4D1), pic_look(m)]
        m.outb(0x20, 0x20)
        seen += [pic_look(m)]
        m.outb(0x20, 0x0C)
        seen += [m.inb(0x20), pic_look(m), steps(m, MS, 3, (0x20,)), pic_look(m)]
        return seen


@scenario("i8259 in the middle of its set-up")
class _:
    def drive(m):
        m.outb(0x20, 0x11)
        m.outb(0x21, 0x50)
        m.outb(0xA0, 0x11)
        m.outb(0xA1, 0x58, 0x02)

    def probe(m):
        m.outb(0xA1, 0x03, 0xAA)
        m.outb(0x21, 0x04, 0x01, 0x55)
        return [pic_look(m)]


@scenario("ioapic entries and a pending pin")
class _:
    def drive(m):
        for register, value in ((0x10, 0x8031), (0x12, 0x31), (0x2A, 0x18045), (0x2B, 0x01000000), (0x00, 0x05000000)):
            m.writel(0xFEC00000, register)
            m.writel(0xFEC00010, value)
        m.outb(0x43, 0x34)
        m.outb(0x40, 0x10, 0x00)
        m.step(MS)
        m.writel(0xFEC00000, 0x12)

    def probe(m):
        seen = [m.readl(0xFEC00010)]
        for register in range(0x40):
            m.writel(0xFEC00000, register)
            seen.append(m.readl(0xFEC00010))
        m.writel(0xFEC00000, 0x12)
        m.writel(0xFEC00010, 0x18031)
        m.step(MS)
        return seen + [m.readl(0xFEC00010)]


@scenario("i8254 counting, latched, half written")
class _:
    def drive(m):
        m.outb(0x43, 0x34)
        m.outb(0x40, 0x9C, 0x2E)         # 10 ms
        m.outb(0x43, 0xB6)
        m.outb(0x42, 0x33, 0x05)
        m.outb(0x61, 0x03)
        m.outb(0x43, 0x70)
        m.outb(0x41, 0x40)               # one byte of two
        m.step(3 * MS + 77)
        m.outb(0x43, 0x00)               # latch counter 0
        m.inb(0x40)                      # one byte of two
        m.outb(0x43, 0xE8)               # latch the status of counter 2

    def probe(m):
        seen = [m.inb(0x40), m.inb(0x42), m.inb(0x42), m.inb(0x42), m.inb(0x61)]
        m.outb(0x41, 0x01)
        seen += steps(m, MS // 3, 30, (0x40, 0x40, 0x41, 0x41, 0x42, 0x42, 0x61))
        m.outb(0x43, 0xC2)
        return seen + [m.inb(0x40), m.inb(0x40), m.inb(0x40)]


@scenario("i8254 held by its gate")
class _:
    def drive(m):
        m.outb(0x61, 0x01)
        m.outb(0x43, 0xB0)
        m.outb(0x42, 0x00, 0x80)
        m.step(MS)
        m.outb(0x61, 0x00)
        m.step(5 * MS)

    def probe(m):
        seen = steps(m, MS, 3, (0x42, 0x42, 0x61))
        m.outb(0x61, 0x01)
        return seen + steps(m, 7 * MS, 8, (0x42, 0x42, 0x61))


@scenario("i8254 one-shot and speaker", "-nodefaults")
class _:
    def drive(m):
        m.outb(0x43, 0x30)
        m.outb(0x40, 0xFF, 0xFF)
        m.outb(0x43, 0x92)
        m.outb(0x42, 0x40)
        m.outb(0x61, 0x01)
        m.step(20 * MS)
        m.outb(0x61, 0x02)

    def probe(m):
        return steps(m, 5 * MS, 20, (0x40, 0x40, 0x42, 0x61))


def cmos(m, register, value=None):
    m.outb(0x70, register)
    return m.inb(0x71) if value is None else m.outb(0x71, value)


@scenario("rtc with periodic, alarm and update interrupts")
class _:
    def drive(m):
        pic_setup(m)
        cmos(m, 0x0A, 0x2B)
        cmos(m, 0x01, 0x55)              # alarm at :55
        cmos(m, 0x03, 0xFF)
        cmos(m, 0x05, 0xFF)
        cmos(m, 0x0B, 0x72)
        m.step(1500 * MS + 12345)
        cmos(m, 0x40, 0x77)
        m.outb(0x70, 0x0C)

    def probe(m):
        seen = [m.inb(0x71), cmos(m, 0x40)]
        for _ in range(40):
            m.step(333 * MS)
            seen.append([cmos(m, r) for r in (0, 2, 4, 7, 8, 9, 0x32, 0x0A, 0x0B, 0x0C)] + pic_look(m))
        return seen


@scenario("rtc being set")
class _:
    def drive(m):
        cmos(m, 0x0B, 0x86)              # SET, binary
        for register, value in ((0x00, 58), (0x02, 59), (0x06, 3), (0x07, 28), (0x08, 2), (0x09, 23), (0x32, 20)):
            cmos(m, register, value)
        m.step(1700 * MS)
        cmos(m, 0x04, 11)

    def probe(m):
        seen = [cmos(m, r) for r in range(0x0E)]
        cmos(m, 0x0B, 0x16)
        for _ in range(8):
            m.step(600 * MS)
            seen.append([cmos(m, r) for r in range(0x0E)])
        return seen


@scenario("rtc divider held")
class _:
    def drive(m):
        m.step(300 * MS)
        cmos(m, 0x0A, 0x76)
        m.step(2000 * MS)

    def probe(m):
        seen = [cmos(m, 0)]
        cmos(m, 0x0A, 0x26)
        for _ in range(10):
            m.step(250 * MS)
            seen.append([cmos(m, 0), cmos(m, 0x0A), cmos(m, 0x0C)])
        return seen


HPET = 0xFED00000


def hpet_setup(m, legacy):
    m.writeq(HPET + 0x100, 0x4C if legacy else 0x04C | 8 << 9 | 2)     # periodic, SETVAL
    m.writeq(HPET + 0x108, 100000)
    m.writeq(HPET + 0x108, 250000)
    m.writeq(HPET + 0x120, 0x104 | 16 << 9 | 2)                        # 32 bits, level
    m.writeq(HPET + 0x128, 400000)
    m.writeq(HPET + 0x10, 3 if legacy else 1)
    m.step(5 * MS)


def hpet_look(m):
    return [m.readq(HPET + r) for r in (0x00, 0x10, 0x20, 0xF0, 0x100, 0x108, 0x120, 0x128, 0x140, 0x148)]


def hpet_go_on(m):
    seen = []
    for _ in range(10):
        seen.append(hpet_look(m) + pic_look(m))
        m.writeq(HPET + 0x20, 7)
        m.step(MS + 777777)
    return seen


@scenario("hpet timers running")
class _:
    def drive(m):
        pic_setup(m)
        hpet_setup(m, False)

    def probe(m):
        return hpet_go_on(m)


@scenario("hpet in the PIT's place")
class _:
    def drive(m):
        pic_setup(m)
        m.outb(0x43, 0x34)
        m.outb(0x40, 0x00, 0x10)
        hpet_setup(m, True)

    def probe(m):
        seen = hpet_go_on(m)
        m.writeq(HPET + 0x10, 1)
        return seen + steps(m, MS, 5, (0x40, 0x40)) + [pic_look(m)]


@scenario("hpet stopped in between")
class _:
    def drive(m):
        hpet_setup(m, False)
        m.writeq(HPET + 0x10, 0)
        m.step(10 * MS)

    def probe(m):
        seen = hpet_look(m)
        m.writeq(HPET + 0x10, 1)
        return seen + hpet_go_on(m)


@scenario("keyboard with queued bytes")
class _:
    def drive(m):
        pic_setup(m)
        m.outb(0x64, 0x60)
        m.outb(0x60, 0x47)
        m.outb(0x60, 0xED)
        m.outb(0x60, 0x05)               # LEDs
        m.outb(0x60, 0xF2)               # who are you: three bytes
        m.inb(0x60)
        m.outb(0x60, 0xF3)               # typematic rate: its byte is to come

    def probe(m):
        m.outb(0x60, 0x20)
        return [[m.inb(0x64), m.inb(0x60), pic_look(m)] for _ in range(8) if m.step(2 * MS) >= 0]


@scenario("mouse between command and data, controller reply")
class _:
    def drive(m):
        m.outb(0x64, 0x60)
        m.outb(0x60, 0x03)
        for value in (0xF3, 200, 0xF3, 100, 0xF3, 80, 0xF4, 0xE8):
            m.outb(0x64, 0xD4)
            m.outb(0x60, value)
        m.outb(0x64, 0xD3)               # the next byte goes to the mouse's output

    def probe(m):
        m.outb(0x60, 0x5A)
        seen = [[m.inb(0x64), m.inb(0x60)] for _ in range(12) if m.step(2 * MS) >= 0]
        for value in (0x02, 0xF2, 0xE9):
            m.outb(0x64, 0xD4)
            m.outb(0x60, value)
            seen += [[m.inb(0x64), m.inb(0x60)] for _ in range(4) if m.step(2 * MS) >= 0]
        return seen


@scenario("controller waiting for its byte")
class _:
    def drive(m):
        m.outb(0x64, 0xD1)

    def probe(m):
        m.outb(0x60, 0xDD)
        m.outb(0x64, 0xD0)
        seen = [m.inb(0x64), m.inb(0x60), m.inb(0x92)]
        m.outb(0x64, 0x20)
        return seen + [m.inb(0x60)]


@scenario("port 92 and A20")
class _:
    def drive(m):
        m.outb(0x92, m.inb(0x92) ^ 0x02)

    def probe(m):
        seen = [m.inb(0x92)]
        m.outb(0x64, 0xD0)
        seen += [m.inb(0x60)]
        m.outb(0x92, seen[0] ^ 0x02)
        return seen + [m.inb(0x92)]


@scenario("dma channel half programmed")
class _:
    def drive(m):
        m.outb(0x0C, 0)
        m.outb(0x04, 0x34, 0x12)
        m.outb(0x05, 0xFF)               # one byte of the count
        m.outb(0x81, 0x5A)
        m.outb(0x0B, 0x46)
        m.outb(0x0A, 0x02)
        m.outb(0xC4, 0x11, 0x22)
        m.outb(0xD6, 0x41)
        m.outb(0x8B, 0x77)

    def probe(m):
        m.outb(0x05, 0x01)
        seen = [m.inb(port) for port in (0x04, 0x04, 0x05, 0x05, 0x81, 0x8B, 0x08, 0x0F)]
        m.outb(0xD8, 0)
        return seen + [m.inb(port) for port in (0xC4, 0xC4, 0xC6, 0xC6, 0xD0, 0xDE)]


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


@scenario("serial with bytes in its FIFO", "-nodefaults", "-serial", "null")
class _:
    def drive(m):
        pic_setup(m)
        m.outb(0x3FB, 0x83)
        m.outb(0x3F8, 0x0C, )
        m.outb(0x3F9, 0x00)
        m.outb(0x3FB, 0x03)
        m.outb(0x3FA, 0xC7)
        m.outb(0x3F9, 0x0F)
        m.outb(0x3FC, 0x1B)              # loopback
        m.outb(0x3FF, 0x42)
        for value in b"kiln":
            m.outb(0x3F8, value)
            m.step(MS)
        m.inb(0x3F8)

    def probe(m):
        seen = [[m.inb(0x3FD), m.inb(0x3FA), pic_look(m)] for _ in range(5) if m.step(2 * MS) >= 0]
        for value in b"12":
            m.outb(0x3F8, value)
            m.step(MS)
        seen += [[m.inb(0x3FD), m.inb(0x3FA), m.inb(0x3F8), m.inb(0x3FE)] for _ in range(8) if m.step(MS) >= 0]
        return seen + [m.inb(port) for port in range(0x3F8, 0x400)]


@scenario("serial with an unread transmitter interrupt", "-nodefaults", "-serial", "null")
class _:
    def drive(m):
        pic_setup(m)
        m.outb(0x3F9, 0x02)
        m.outb(0x3F8, 0x41)
        m.step(5 * MS)
        m.outb(0x3FB, 0x80)              # the divisor is to be read

    def probe(m):
        seen = [m.inb(0x3F8), m.inb(0x3F9), pic_look(m)]
        m.outb(0x3FB, 0x43)
        return seen + [m.inb(0x3FA), m.inb(0x3FA), m.inb(0x3FB), m.inb(0x3FD), pic_look(m)]


@scenario("parallel port", "-nodefaults", "-parallel", "null")
class _:
    def drive(m):
        m.outb(0x378, 0xA5)
        m.outb(0x37A, 0x1D)

    def probe(m):
        seen = [m.inb(port) for port in (0x378, 0x379, 0x37A)]
        m.outb(0x37A, 0x0C)
        return seen + [m.inb(port) for port in (0x378, 0x379, 0x37A)]


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


@scenario("pci registers mapped", *DISKS)
class _:
    def drive(m):
        m.config(IDE, 0x3C, 0x0B, 1)
        m.config(IDE, 0x40, 0x8000C000)
        bmdma_map(m)
        m.config(PM, 0x90, 0xB101)
        m.outl(0xCF8, 0x80000920)        # an address is latched

    def probe(m):
        seen = [m.inl(0xCFC)]
        seen += [m.config(devfn, r) for devfn in (HOST, BRIDGE, IDE, PM) for r in range(0, 0x100, 4)]
        return seen + [m.inb(0xC002), m.inb(0xB100)]


@scenario("PAM, SMRAM and PIRQ routes")
class _:
    def drive(m):
        for register, value in ((0x59, 0x30), (0x5A, 0x13), (0x5B, 0x02), (0x5F, 0x31), (0x72, 0x4A)):
            m.config(HOST, register, value, 1)
        for register, value in ((0x60, 0x0B), (0x61, 0x0A), (0x62, 0x80), (0x63, 0x05), (0x4E, 0x03)):
            m.config(BRIDGE, register, value, 1)

    def probe(m):
        seen = [m.config(devfn, r) for devfn in (HOST, BRIDGE) for r in range(0, 0x100, 4)]
        for base in range(0xA0000, 0x100000, 0x4000):
            m.write(base, b"\x5a\xa5")
            seen.append(m.read(base, 4)[:2].hex())
            m.config(HOST, 0x5A, 0x31, 1)
            seen.append(m.read(base, 2).hex())
            m.config(HOST, 0x5A, 0x13, 1)
        return seen


PMBASE = 0xB000


def pm_map(m):
    m.config(PM, 0x40, PMBASE | 1)
    m.config(PM, 0x80, 0x01, 1)


@scenario("pm timer, PM1, GPE and APM")
class _:
    def drive(m):
        pic_setup(m)
        pm_map(m)
        m.outw(PMBASE + 2, 0x0121)
        m.outw(PMBASE + 4, 0x0001)
        m.outb(0xAFE0, 0xFF)
        m.outb(0xAFE2, 0x0A)
        m.outb(0xB3, 0x5C)
        m.step(1_800 * MS)

    def probe(m):
        seen = []
        for _ in range(8):
            seen += [m.inl(PMBASE + 8), m.inw(PMBASE), m.inw(PMBASE + 2), m.inw(PMBASE + 4), m.inl(0xAFE0),
                     m.inb(0xB2), m.inb(0xB3), pic_look(m)]
            m.step(900 * MS)
        m.outw(PMBASE, 0x0001)
        return seen + [m.inw(PMBASE), pic_look(m)]


@scenario("pm timer overflowed, its interrupt not acknowledged")
class _:
    def drive(m):
        pic_setup(m)
        pm_map(m)
        m.outw(PMBASE + 2, 0x0001)
        m.outw(PMBASE + 4, 0x0001)
        m.step(3_000 * MS)

    def probe(m):
        seen = [m.inw(PMBASE), pic_look(m)]
        m.outw(PMBASE, 0x0001)
        return seen + [m.inw(PMBASE), pic_look(m), steps(m, 2_500 * MS, 3, (PMBASE,)), pic_look(m)]


@scenario("hot-plug registers", "-smp", "2,maxcpus=4")
class _:
    def drive(m):
        m.outl(0xAE10, 0)
        m.outb(0xAF00, 0)
        m.outl(0xAF00, 1)
        m.outb(0xAF05, 0x01)
        m.outl(0xAF08, 0x80)
        m.outb(0xAF05, 0x03)

    def probe(m):
        seen = [m.inl(0xAE00), m.inl(0xAE04), m.inl(0xAE0C), m.inl(0xAE10), m.inl(0xAF00), m.inb(0xAF04), m.inl(0xAF08)]
        m.outl(0xAF00, 3)
        return seen + [m.inb(0xAF04), m.inl(0xAF08)]


@scenario("the bitmap of processors", "-smp", "2,maxcpus=4")
class _:
    def drive(m):
        m.outb(0xAF00, 0xFF)

    def probe(m):
        return [m.inb(0xAF00 + i) for i in range(32)]


SMB = 0xB100


@scenario("smbus in the middle of a block, registers set")
class _:
    def drive(m):
        m.outb(SMB + 4, 0xA1)
        m.outb(SMB + 3, 0x02)
        m.outb(SMB + 2, 0x48)            # read a byte
        m.inb(SMB)
        m.outb(SMB, 0x1E)
        m.outb(SMB + 4, 0xA1)
        m.outb(SMB + 3, 0x00)
        m.outb(SMB + 5, 0x03)
        m.outb(SMB + 2, 0x54)            # read a block
        m.inb(SMB)
        m.inb(SMB + 2)
        m.inb(SMB + 7)
        m.inb(SMB + 7)

    def probe(m):
        seen = [m.inb(SMB + r) for r in (0, 2, 3, 4, 5, 6)] + [m.inb(SMB + 7) for _ in range(40)]
        m.outb(SMB, 0x1E)
        m.outb(SMB + 4, 0xA1)
        m.outb(SMB + 2, 0x44)            # receive: the EEPROM's own position
        m.inb(SMB)
        return seen + [m.inb(SMB + 5), m.inb(SMB)]


@scenario("fw_cfg between two bytes", "-fw_cfg", "name=opt/test,string=a value of some length")
class _:
    def drive(m):
        m.outw(0x510, 0x19)
        for _ in range(77):
            m.inb(0x511)
        m.outl(0x514, 0x00000000)        # half of a DMA address

    def probe(m):
        seen = [m.inb(0x511) for _ in range(600)]
        descriptor = (0x0002 | 0x0008 | 0x0019 << 16).to_bytes(4, "big") + (32).to_bytes(4, "big") + \
            (RAM + 0x100).to_bytes(8, "big")
        m.write(RAM, descriptor)
        m.outl(0x518, int.from_bytes(RAM.to_bytes(4, "big"), "little"))
        return seen + [m.read(RAM, 16).hex(), m.read(RAM + 0x100, 32).hex(), m.inb(0x511)]


@scenario("fw_cfg in the ACPI tables")
class _:
    def drive(m):
        m.outw(0x510, 0x19)
        count = int.from_bytes(bytes(m.inb(0x511) for _ in range(4)), "big")
        keys = {}
        for _ in range(count):
            entry = bytes(m.inb(0x511) for _ in range(64))
            keys[entry[8:].split(b"\0")[0].decode()] = int.from_bytes(entry[4:6], "big")
        m.outw(0x510, keys["etc/acpi/tables"])
        for _ in range(100):
            m.inb(0x511)

    def probe(m):
        return [m.inb(0x511) for _ in range(2000)]


@scenario("pvpanic and the ports of the board", "-device", "pvpanic", "-device", "isa-debugcon,chardev=n", "-chardev",
          "null,id=n")
class _:
    def drive(m):
        m.outb(0xE9, 0x41)
        m.outb(0x80, 0x55)
        m.outb(0x70, 0x8F)
        m.outb(0xCF9, 0x02)

    def probe(m):
        return [m.inb(0x505), m.inb(0xE9), m.inb(0x80), m.inb(0x71), m.inb(0xCF9)]


@scenario("two processors", "-smp", "2")
class _:
    def drive(m):
        pic_setup(m)
        m.step(MS)

    def probe(m):
        return [m.readl(0xFEE00000 + r) for r in range(0, 0x400, 16)] + pic_look(m)


def sweep(m):
    """What every scenario ends with: a look at the whole machine, while time goes on."""
    seen = []
    ports = [*range(0x3F8, 0x400), *range(0x1F1, 0x1F8), *range(0x171, 0x178), *range(0x3F0, 0x3F8), 0x40, 0x40, 0x42,
             0x61, 0x64, 0x60, 0x92, 0x378, 0x379, 0x37A, 0x4D0, 0x4D1, 0x08, 0xD0, 0x511, 0x71, *range(0xB100, 0xB107)]
    for _ in range(3):
        seen.append([m.inb(port) for port in ports] + pic_look(m))
        m.step(70 * MS)
    seen.append([m.config(devfn, r) for devfn in (HOST, BRIDGE, IDE, PM) for r in range(0, 0x100, 4)])
    return seen
