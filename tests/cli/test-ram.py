#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest RAM is the guest's: no page of it is touched, zeroed or read before the first guest instruction, and
none but what the guest uses afterwards. /proc/PID/pagemap shows even pages that were only read."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import QTEST, Skip, Suite, check  # noqa: E402

MIB = 1 << 20
RAM = 1237          # MiB: no other mapping has this size
KVM = ["-accel", "kvm", "-display", "none", "-nodefaults"]
suite = Suite(sys.argv[1])


def guest_ram(pid):
    """(begin, end) of guest RAM: the smallest anonymous mapping that can hold it (AddressSanitizer has huge ones)."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
        for line in f:
            words = line.split()
            begin, end = (int(x, 16) for x in words[0].split("-"))
            if end - begin >= RAM * MIB and len(words) == 5 and words[1].startswith("rw"):
                found.append((begin, end))
    check(found, "no mapping of the size of guest RAM")
    return min(found, key=lambda mapping: mapping[1] - mapping[0])


def touched(pid):
    """Numbers of the pages of guest RAM that are there (in memory or swapped out)."""
    begin, end = guest_ram(pid)
    page = os.sysconf("SC_PAGESIZE")
    with open(f"/proc/{pid}/pagemap", "rb") as f:
        f.seek(begin // page * 8)
        entries = memoryview(f.read((end - begin) // page * 8)).cast("Q")
    check(len(entries) == (end - begin) // page, "pagemap is short")
    return [i for i, entry in enumerate(entries) if entry >> 62]


def check_untouched(pid):
    pages = touched(pid)
    check(not pages, f"{len(pages)} pages of guest RAM were touched, the first is {pages[:4]}")


def kernel():
    """The smallest that is taken for a Linux kernel, and something for -initrd."""
    head = bytearray(4096)
    head[0x1f1] = 4
    head[0x1fe:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    head[0x206:0x208] = b"\x0c\x02"
    head[0x211] = 1             # loaded high
    head[0x22c:0x230] = (0x7fffffff).to_bytes(4, "little")
    with open("kernel", "wb") as f:
        f.write(bytes(head) + b"\xf4" * 65536)
    with open("initrd", "wb") as f:
        f.write(b"x" * MIB)
    return ["-kernel", "kernel", "-initrd", "initrd", "-append", "quiet"]


def need_kvm():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as reason:
        raise Skip("/dev/kvm: %s" % reason.strerror) from reason


def test_built(accel, *more):
    if accel is KVM:
        need_kvm()
    with suite.daemon("-S", "-m", str(RAM), *more, accel=accel) as pid:
        check_untouched(pid)


def test_kernel(accel):
    if accel is KVM:
        need_kvm()
    test_built(accel, *kernel())


def test_running():
    """A guest that writes one byte at 8000h, says so and halts."""
    need_kvm()
    code = bytes.fromhex("31c08ed8c606008055" "b053" "ba0204" "ee" "f4" "ebfd")  # ds = 0; [8000h] = 55h; out 402h, 'S'; hlt
    with open("rom", "wb") as f:
        f.write((code + bytes(0xfff0 - len(code)) + b"\xe9\x0d\x00").ljust(0x10000, b"\0"))
    os.mkfifo("mark.in")
    os.mkfifo("mark.out")
    keep = os.open("mark.in", os.O_RDWR), os.open("mark.out", os.O_RDWR)
    with suite.daemon("-m", str(RAM), "-bios", "rom", "-chardev", "pipe,id=mark,path=mark",
                      "-device", "isa-debugcon,iobase=0x402,chardev=mark", accel=KVM) as pid:
        check(os.read(keep[1], 1) == b"S", "the guest does not run")
        pages = touched(pid)
        # Page 8, or the huge page that it is part of.
        check(8 in pages and pages[-1] < 512, f"pages {pages[:8]} to {pages[-1:]} are there, not just page 8")
    for fd in keep:
        os.close(fd)


def test_instrument():
    """What looks for touched pages finds one that was only read."""
    with suite.machine("-m", str(RAM)) as machine:
        machine.ask("inb 0x80")     # it is built
        check_untouched(machine.process.pid)
        machine.ask("read 0x100000 0x1")
        check(256 in touched(machine.process.pid), "a page that was read is not found")
        machine.ask("write 0x40000000 0x1 0x55")
        check(1 << 18 in touched(machine.process.pid), "a page that was written is not found")


suite.add("a page that is read or written is found", test_instrument)
for name, accel in (("qtest", QTEST), ("KVM", KVM)):
    suite.add(f"{name}: building a machine touches no guest RAM", test_built, accel)
    suite.add(f"{name}: nor does one with more devices", test_built, accel, "-device", "isa-debug-exit", "-smp", "4")
    suite.add(f"{name}: nor does a kernel that is to be loaded", test_kernel, accel)
suite.add("KVM: a running guest has the pages that it used", test_running)
sys.exit(suite.run())
