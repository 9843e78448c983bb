#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""HMP: info pci, info mem and info tlb, against QEMU 7.2 where it is installed; query-pci.

    test-hmp-machine.py KILN-SYSTEM"""
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from guest import BASE, firmware, running, wait_halted  # noqa: E402
from oracle import QEMU, answers, version_is_7_2  # noqa: E402
from qmpclient import Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
P, W, U, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63


# ---- PCI ------------------------------------------------------------------------------------------------------

BUSES = ["-device", "pci-bridge,chassis_nr=1,id=br", "-device", "pci-bridge,bus=br,addr=1,chassis_nr=2", "-device", "pci-testdev,id=t"]


@test("info pci before firmware ran")
def _():
    for args in ([], BUSES):
        ours = answers(BINARY, "qtest", ["info pci", "info pci x"], *args)
        check("Host bridge: PCI device 8086:1237\n      PCI subsystem 1af4:1100\n" in ours[0], ours[0])
        check("extraneous" in ours[1], ours[1])
        if version_is_7_2():
            same(ours[0], answers(QEMU, "tcg", ["info pci"], *args)[0])
    same(answers(BINARY, "qtest", ["info pci"], "-machine", "none"), ["No PCI buses\n"])


def configure(c):
    """What firmware does to a bridge in slot 2 and to the device behind it, by ports."""
    for address, value in ((0x80001018, 0x00020100), (0x8000101c, 0x2010), (0x80001020, 0xfea0fe90), (0x80001004, 7),
                           (0x80010810, 0xfe900000), (0x80010814, 0x1001), (0x80010804, 3), (0x8001083c, 0x0b)):
        c.do("human-monitor-command", command_line="o/w 0xcf8 0x%x" % address)
        c.do("human-monitor-command", command_line="o/w 0xcfc 0x%x" % value)


@test("query-pci and info pci of a configured bridge")
def _():
    args = ["-S", "-device", "pci-bridge,chassis_nr=1,id=br", "-device", "pci-testdev,bus=br,addr=1,id=t"]
    with Machine(BINARY, *args) as m:
        c = m.connect()
        configure(c)
        roots, text = c.do("query-pci"), c.hmp("info pci")
        same(c.command("query-pci", x=1)["error"]["class"], "GenericError")
    bridge = next(d for d in roots[0]["devices"] if d["qdev_id"] == "br")
    behind = bridge["pci_bridge"]["devices"][0]
    same((behind["bus"], behind["slot"], behind["qdev_id"]), (1, 1, "t"))
    same(behind["regions"][0]["address"], 0xfe900000)
    check("      secondary bus 1.\n      subordinate bus 2.\n" in text.replace("\r", ""), text)
    if version_is_7_2():
        with Machine(QEMU, *args, accel="tcg") as m:
            c = m.connect()
            configure(c)
            same(roots, c.do("query-pci"))
            same(text, c.hmp("info pci"))


# ---- page tables ------------------------------------------------------------------------------------------------

def image(long=False):
    """A guest that turns on 4-level paging with tables in its image; long: and goes on with 64-bit code."""
    code = (b"\xb8\x20\x00\x00\x00\x0f\x22\xe0"             # CR4.PAE
            b"\xb8" + struct.pack("<I", BASE + 0x6000) + b"\x0f\x22\xd8"
            b"\xb9\x80\x00\x00\xc0\x31\xd2\xb8\x00\x09\x00\x00\x0f\x30"  # EFER.LME, NXE
            b"\x0f\x20\xc0\x0d\x00\x00\x01\x80\x0f\x22\xc0")  # CR0.PG, WP
    if long:
        code += b"\xea" + struct.pack("<IH", BASE + 0xe100 + 10 + len(code) + 7, 0x18)
    guest = firmware(code, [0xaf9b000000ffff])

    def table(at, entries):
        guest[at:at + 4096] = struct.pack("<512Q", *(entries.get(i, 0) for i in range(512)))

    table(0x6000, {0: BASE + 0x2000 | P | W | U | A, 511: BASE + 0x2000 | P | W | A})
    table(0x2000, {0: BASE + 0x3000 | P | W | U | A, 1: 0x40000000 | P | W | U | A | D | PS, 3: BASE + 0x5000 | P | W | A})
    table(0x3000, {0: BASE + 0x4000 | P | W | U | A, 1: 0x400000 | P | W | A | D | PS | G})
    table(0x4000, {i: i * 4096 | P | A | D | (W if i < 8 else 0) | (U if i % 4 < 2 else 0) | (NX if i % 3 == 0 else 0) for i in range(16)})
    table(0x5000, {511: 0xffe00000 | P | W | A | D | PS})
    return guest


LINES = ["info mem", "info tlb", "gva2gpa 0x3123", "gva2gpa 0x40001234", "gva2gpa 0x900123", "gva2gpa 0xffffff8000203456",
         "gva2gpa 0x800000000000", "x/2xw 0xfffffff0", "x/2xg 0x8000000", "x/2xw 0xfffc"]


def paged(binary, accel):
    with running(binary, accel, image()) as c:
        said = [c.hmp(line) for line in LINES]      # the guest runs
        same(c.do("query-status")["running"], True)
        c.do("stop")
        same([c.hmp(line) for line in LINES], said, "the same when it stands")
        c.hmp('memsave 0x200000 16 "saved"')
        return said


@test("x/i of 32-bit and 64-bit code")
def _():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return
    lines = ["x/2i $pc", "x/6i 0x%x" % (BASE + 0xe10a)]
    for long in (False, True):
        with running(BINARY, "kvm", image(long)) as c:
            wait_halted(c)
            ours = [c.hmp(line) for line in lines]
        check("built without" in ours[0] or "jmp      0x%s" % ("fff" if not long else "ffff") in ours[0], ours[0])
        if version_is_7_2() and "built without" not in ours[0]:
            with running(QEMU, "tcg", image(long)) as c:
                wait_halted(c)
                same(ours, [c.hmp(line) for line in lines])


@test("info mem, info tlb, gva2gpa, x with page tables")
def _():
    same(answers(BINARY, "qtest", ["info mem", "info tlb"]), ["PG disabled\n"] * 2)
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return
    ours = paged(BINARY, "kvm")
    mem, tlb = ours[0].split("\r\n"), ours[1].split("\r\n")
    same(mem[0], "0000000000000000-0000000000002000 0000000000002000 urw")
    check("ffffff8000000000-ffffff8000008000 0000000000008000 -rw" in mem, mem)
    same(tlb[0], "0000000000000000: 0000000000000000 X--DA--UW")
    check("0000000000200000: 0000000000400000 -GPDA---W" in tlb, tlb)
    same(ours[2:7], ["gpa: 0x3123\r\n", "gpa: 0x40001234\r\n", "Unmapped\r\n", "gpa: 0x403456\r\n", "Unmapped\r\n"])
    check("Cannot access" in ours[8], ours[8])
    same(os.path.getsize("saved"), 16)
    if version_is_7_2():
        for line, own, theirs in zip(LINES, ours, paged(QEMU, "tcg")):
            if line != "gva2gpa 0x800000000000":  # QEMU does not look whether an address is canonical
                same(own, theirs, line)


sys.exit(suite.run())
