#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""HMP: info pic, info irq, info lapic, against QEMU 7.2 where it is installed; x-query-irq.

    test-hmp-interrupts.py KILN-SYSTEM"""
import os
import re
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from guest import firmware, running  # noqa: E402
from oracle import QEMU, answers, version_is_7_2  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
APIC, IOAPIC = 0xfee00000, 0xfec00000


def image(writes):
    """A guest that writes these (address, double word)."""
    return firmware(b"".join(b"\xc7\x05" + struct.pack("<II", address, value) for address, value in writes))


def pins(*entries):
    """Writes of the low half of redirection entries."""
    return [write for pin, value in entries for write in ((IOAPIC, 0x10 + 2 * pin), (IOAPIC + 0x10, value))]


# Local APICs and IOAPICs as guests leave them.
GUESTS = [
    # flat model; timer, performance counter, error; an IPI to a CPU that is not there
    [(APIC + 0xf0, 0x1ef), (APIC + 0x350, 0x8700), (APIC + 0x360, 0x400), (APIC + 0x320, 0x30030), (APIC + 0x3e0, 0xb),
     (APIC + 0x340, 0x10040), (APIC + 0x370, 0x55), (APIC + 0xd0, 0x1000000), (APIC + 0x80, 0x30),
     (APIC + 0x310, 0x2000000), (APIC + 0x300, 0x00050)],
    # cluster model; IPIs to this CPU, which does not take them
    [(APIC + 0xf0, 0x1ff), (APIC + 0x350, 0x1a130), (APIC + 0x330, 0x10200), (APIC + 0xe0, 0x0fffffff),
     (APIC + 0xd0, 0x13000000), (APIC + 0x3e0, 3), (APIC + 0x310, 0x12000000), (APIC + 0x300, 0x00851),
     (APIC + 0x300, 0x44063), (APIC + 0x310, 0x12000000), (APIC + 0x300, 0x00841)],
    [(APIC + 0xf0, 0x1ff), (APIC + 0x300, 0x84145)],
    # two level-triggered pins and one of each delivery mode, masked
    [(APIC + 0xf0, 0x1ff), *pins((4, 0xa041), (3, 0xa051), (5, 0x10132), (6, 0x10233), (7, 0x10400), (8, 0x10500),
                                 (9, 0x12700), (10, 0x1ae0c))],
]
# The divisor latch aside, interrupts of both serial ports on.
LINES = ["o/b 0x3fc 8", "o/b 0x3f9 2", "o/b 0x2fc 8", "o/b 0x2f9 2", "info lapic", "info lapic 0", "info lapic 7", "info pic", "info irq"]


def plain(text):
    """Without what timer ticks change, QEMU's version of the IOAPIC, what chips are called, and requests at masked pins
    (KVM keeps them)."""
    text = re.sub(r"  IRR      [0-9 ]+\r\n  Remote IRR \(none\)", "  IRR      (none)\r\n  Remote IRR (none)", text)
    text = re.sub(r" 0: \d+\r\n", "", text)
    text = re.sub(r"pic0: irr=(..)", lambda m: "pic0: irr=%02x" % (int(m[1], 16) & ~1), text)
    return re.sub(r"ver=0x..", "ver", re.sub(r"kvm-|isa-", "", text))


def run(binary, accel, writes):
    with running(binary, accel, image(writes), "-serial", "null", "-serial", "null") as c:
        said = [c.hmp(line) for line in LINES]
        if binary == BINARY:
            same(c.do("x-query-irq")["human-readable-text"], said[-1].replace("\r", ""))
            check("error" in c.command("x-query-irq", x=1), "an argument")
        return said


@test("interrupt controllers of a guest")
def _():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return
    oracle = version_is_7_2()
    for writes in GUESTS:
        for accel in ("kvm", "kvm,kernel-irqchip=off"):
            ours = run(BINARY, accel, writes)
            same(ours[6], "No CPU available\r\n")
            same(ours[4], ours[5])
            if writes == GUESTS[-1]:
                check("IRR\t 65(level) 81(level) \r\n" in ours[4], ours[4])
                check("  Remote IRR 3  4  \r\n" in ours[7] and "\r\npic0: " in ours[7], ours[7])
                check(" 3: 1\r\n 4: 1\r\n" in ours[8], ours[8])
            if oracle:
                for line, own, theirs in zip(LINES, ours, run(QEMU, "tcg", writes)):
                    same(plain(own), plain(theirs), "%s of %s" % (line, accel))


@test("interrupt controllers before a guest ran")
def _():
    lines = ["info pic", "info irq", "info lapic", "info lapic 1", "info lapic 2", "info lapic x", "info irq x"]
    ours = answers(BINARY, "qtest", lines, "-smp", "2")
    check("dumping local APIC state for CPU 1 \n" in ours[3] and "LVT0\t 0x00010000" in ours[3], ours[3])
    check("unknown register" in ours[5] or "invalid" in ours[5] or "Error" in ours[5], ours[5])
    check("extraneous" in ours[6], ours[6])
    if version_is_7_2():
        for line, own, theirs in zip(lines[:5], ours, answers(QEMU, "tcg", lines, "-smp", "2")):
            same(plain(own.replace("\n", "\r\n")), plain(theirs.replace("\n", "\r\n")), line)
    same(answers(BINARY, "qtest", ["info pic", "info irq", "info lapic"], "-machine", "none"), ["", "", "No CPU available\n"])


sys.exit(suite.run())
