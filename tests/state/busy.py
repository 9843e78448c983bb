# SPDX-License-Identifier: GPL-2.0-or-later
"""Busy devices: the chipset and the board here, drives and PCI in parts of their own. scenario.py says what a scenario
is; test-busy.py and test-hostile.py use SCENARIOS, RAM, RAM_SIZE and sweep."""
import busy_drives  # noqa: F401 (it adds its scenarios)
import busy_net     # noqa: F401
import busy_pci     # noqa: F401
import busy_queues  # noqa: F401
import busy_scsi    # noqa: F401
import busy_virtio  # noqa: F401
import machine
from scenario import (BRIDGE, HOST, IDE, MS, PM, RAM, RAM_SIZE, SCENARIOS, pic_look, pic_setup,  # noqa: F401
                      scenario, steps)


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


def vmmouse_setup(m):
    m.outb(0x64, 0x60)
    m.outb(0x60, 0x47)
    m.outb(0x64, 0xD4)
    m.outb(0x60, 0xF4)                   # the PS/2 mouse gives the interrupts
    m.inb(0x60)


def send_event(m, kind, value):
    """None, or why nobody takes it."""
    events = [{"type": kind, "data": {"axis": axis, "value": value}} for axis in "xy"]
    try:
        m.qmp(("input-send-event", {"events": events}))
    except AssertionError as error:
        return str(error)
    return None


def vmmouse_look(m):
    """Events go to the pointer when the guest listens there, and then the PS/2 mouse tells of one step to the right."""
    seen = [sorted((mouse["name"], mouse["absolute"], mouse["current"]) for mouse in m.qmp(("query-mice", {}))[0])]
    for kind, value in (("abs", 0x4000), ("rel", -9)):
        seen.append([send_event(m, kind, value), [[m.inb(0x64), m.inb(0x60)] for _ in range(9)]])
    saved = m.save()
    section = next(s for s in machine.split(saved)[1] if s.name == "vmmouse")
    return seen + [machine.values(saved, section)]


@scenario("vmmouse with packets, absolute")
class _:
    def drive(m):
        vmmouse_setup(m)
        words = 0x3442554A, 0x20, 0x1234, 0xFEDC, 1, 0, 0x2000, 0xF000, 0xFFFFFFFF
        m.put("vmmouse", status=0, absolute=1, nb_queue=9, **{f"queue[{i}]": word for i, word in enumerate(words)})

    probe = vmmouse_look


@scenario("vmmouse with its queue full, relative")
class _:
    def drive(m):
        vmmouse_setup(m)
        m.put("vmmouse", status=0, absolute=0, nb_queue=1024, **{f"queue[{i}]": 7 * i for i in range(1024)})

    probe = vmmouse_look


@scenario("vmmouse after an error of the guest")
class _:
    def drive(m):
        vmmouse_setup(m)
        m.put("vmmouse", status=0xFFFF, absolute=1, nb_queue=4, **{f"queue[{i}]": 3 * i for i in range(4)})

    probe = vmmouse_look


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


@scenario("memory modules", "-m", "64M,slots=3,maxmem=128M", "-object", "memory-backend-ram,id=m,size=16M", "-device",
          "pc-dimm,memdev=m,slot=1")
class _:
    def drive(m):
        m.outl(0xA00, 1)
        m.outl(0xA04, 3)
        m.outl(0xA08, 0x84)
        m.outb(0xA14, 2)

    def probe(m):
        seen = [m.inl(0xA00 + i) for i in range(0, 24, 4)]
        m.outl(0xA00, 2)
        return seen + [m.inl(0xA14)]


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


@scenario("a watchdog", "-device", "ib700", "-action", "watchdog=none")
class _:
    def drive(m):
        m.outb(0x443, 3)

    def probe(m):
        return [m.inb(0x443), m.inb(0x441)]


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
