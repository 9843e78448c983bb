# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios of busy.py: PCI, its bridges, what is behind them."""
import machine
from busy_drives import DISKS, bmdma_map
from scenario import BRIDGE, HOST, IDE, PM, pic_look, pic_setup, scenario

# Three bridges with hot-plug controllers, each behind the one before. (Functions of pci-testdev save nothing.)
BRIDGES = ("-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=1,addr=6", "-device",
           "pci-bridge,id=c,bus=b,chassis_nr=2,addr=3", "-device", "pci-bridge,bus=c,chassis_nr=3,addr=4,msi=off")
OUTER, INNER, LAST = 0x030, 0x118, 0x220                 # bus and devfn
SHPC, MEM, FAR_MEM = 0xE0000000, 0xE1000000, 0xE1100000  # where their registers are
PORTS, FAR_PORTS = 0xD000, 0xE000
CAP_MSI, CAP_SHPC = 0x05, 0x0C

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


def capability(m, devfn, wanted):
    at = m.config(devfn, 0x34, size=1)
    while m.config(devfn, at, size=1) != wanted:
        at = m.config(devfn, at + 1, size=1)
    return at


def bridge_map(m, devfn, buses, ports, memory):
    """Bus numbers (primary, secondary, last) and windows (first, last), and decoding on."""
    m.config(devfn, 0x18, buses[0] | buses[1] << 8 | buses[2] << 16)
    m.config(devfn, 0x1C, ports[0] >> 8 | ports[1] & 0xF000, 2)
    m.config(devfn, 0x20, memory[0] >> 16 | memory[1] & 0xFFF00000)
    m.config(devfn, 0x04, 0x07, 2)


def bridges_map(m):
    pic_setup(m)
    m.config(BRIDGE, 0x60, 0x0A0A0B0B)
    bridge_map(m, OUTER, (0, 1, 3), (PORTS, FAR_PORTS), (MEM, FAR_MEM))
    bridge_map(m, INNER, (1, 2, 3), (FAR_PORTS, FAR_PORTS), (FAR_MEM, FAR_MEM))
    bridge_map(m, LAST, (2, 3, 3), (0xF000, 0), (0xFFF00000, 0))
    for devfn, base in ((OUTER, SHPC), (INNER, MEM), (LAST, FAR_MEM)):
        m.config(devfn, 0x10, base)


def bridges_look(m):
    """Configuration of all three, and their slots, seen through the windows."""
    seen = [m.config(devfn, r) for devfn in (OUTER, INNER, LAST) for r in range(0, 0x100, 4)]
    return seen + [m.read(base, 256).hex() for base in (SHPC, MEM, FAR_MEM)] + pic_look(m)


@scenario("bridges with open windows, a slot event pending", *BRIDGES)
class _:
    def drive(m):
        bridges_map(m)
        select = capability(m, OUTER, CAP_SHPC) + 2
        m.ask(f"writeb 0x{SHPC + 0x20:x} 0x0")           # interrupts on
        m.ask(f"writew 0x{SHPC + 0x14:x} 0x0218")        # slot 2: its lights
        m.ask(f"writew 0x{SHPC + 0x14:x} 0x0702")        # slot 7 on; it is empty
        m.ask(f"writeb 0x{SHPC + 0x24 + 4 * 6 + 3:x} 0x15")
        m.ask(f"writew 0x{SHPC + 0x14:x} 0x0741")        # no such speed
        for base in (MEM, FAR_MEM):
            m.ask(f"writeb 0x{base + 0x20:x} 0x0")
            m.ask(f"writew 0x{base + 0x14:x} 0x0503")    # slot 5 off, though it is
        m.config(OUTER, select, 9, 1)

    def probe(m):
        select = capability(m, OUTER, CAP_SHPC) + 2
        seen = [m.config(OUTER, select + 2), bridges_look(m)]
        m.ask(f"writeb 0x{SHPC + 0x22:x} 0x1")           # seen: the pin falls
        seen.append(pic_look(m))
        m.config(INNER, 0x20, 0x0000FFF0)                # closed
        seen.append(bridges_look(m))
        m.config(OUTER, 0x3E, 0x40, 2)                   # what is behind it is reset
        m.config(OUTER, 0x3E, 0x00, 2)
        return seen + [bridges_look(m)]


def requests(m):
    """Vectors that the processor's APIC has to deliver. No CPU runs that could read its registers."""
    saved = m.save()
    section = next(s for s in machine.split(saved)[1] if s.name == "apic")
    return [value for path, value in machine.values(saved, section).items() if path.startswith("irr")]


@scenario("bridge with a message masked and pending", *BRIDGES)
class _:
    def drive(m):
        bridges_map(m)
        m.put("apic", spurious_vec=0x1FF)                # the APIC is on
        msi = capability(m, OUTER, CAP_MSI)
        m.config(OUTER, msi + 4, 0xFEE00000)
        m.config(OUTER, msi + 12, 0x41, 2)
        m.config(OUTER, msi + 16, 1)
        m.config(OUTER, msi + 2, 1, 2)
        m.ask(f"writeb 0x{SHPC + 0x20:x} 0x0")
        m.ask(f"writew 0x{SHPC + 0x14:x} 0x40")

    def probe(m):
        msi = capability(m, OUTER, CAP_MSI)
        seen = [m.config(OUTER, msi + 20), requests(m), bridges_look(m)]
        m.config(OUTER, msi + 16, 0)                     # now it is sent
        seen += [m.config(OUTER, msi + 20), requests(m)]
        m.ask(f"writeb 0x{SHPC + 0x22:x} 0x1")
        m.config(OUTER, msi + 12, 0x42, 2)
        m.ask(f"writew 0x{SHPC + 0x14:x} 0x40")
        return seen + [requests(m), pic_look(m)]
