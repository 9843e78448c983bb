# SPDX-License-Identifier: GPL-2.0-or-later
"""What busy.py and its parts are made of. Each scenario drives one device into the middle of something, and probes by
going on from there.

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
