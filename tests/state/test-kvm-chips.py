#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-kvm-chips.py KILN: the kernel's 8259s, I/O APIC, 8254 and LAPIC in the middle of something. A small guest
arms them and halts; the machine is saved, loaded into a fresh one, saved again: the same fields. A third one loads
the state of a machine that was only started, to see that the comparison can tell them apart."""
import os
import struct
import sys
import tempfile
import time

from machine import Dead, Machine, fields, split

ROM = 0xFFFF0000
IDT = ROM + 0x9000
HANDLER = 0x4000    # in the ROM
DONE = 0x1000       # where the guest says how far it is
SECTIONS = ("i8259", "ioapic", "i8254", "apic")
# Instants of the two machines' own clocks.
CLOCKS = ("count_load_time", "next_transition_time", "next_time", "initial_count_load_time", "timer_expiry")


def out(port, *values):
    return b"".join(b"\xba" + struct.pack("<I", port) + b"\xb0" + bytes([value]) + b"\xee" for value in values)


def store(address, value):
    return b"\xc7\x05" + struct.pack("<II", address, value)


def redirect(pin, low, high=0):
    base = 0x10 + 2 * pin
    return store(0xFEC00000, base + 1) + store(0xFEC00010, high) + store(0xFEC00000, base) + store(0xFEC00010, low)


def program():
    """32-bit code, from reset to the interrupt."""
    code = b"\x66\xb8\x10\x00\x8e\xd8"                  # mov ax, 10h; mov ds, ax
    code += out(0x20, 0x11) + out(0x21, 0x30, 0x04, 0x01, 0xFC)    # master: vectors 30h, IRQ 0 and 1 may come
    code += out(0xA0, 0x11) + out(0xA1, 0x38, 0x02, 0x03, 0x7F)    # slave: automatic EOI
    code += out(0x4D0, 0x20) + out(0x4D1, 0x0C)         # levels: IRQ 5, 10, 11
    code += out(0x20, 0x68, 0xC2)                       # special mask mode; priorities rotate
    code += out(0x64, 0x60) + out(0x60, 0x01)           # the keyboard raises IRQ 1
    code += out(0x64, 0xD2) + out(0x60, 0x55)           # as if a key had sent 55h
    code += store(0xFEE000F0, 0x1FF) + store(0xFEE00350, 0x700)    # LINT0 takes the 8259's interrupts
    code += b"\xbc" + struct.pack("<I", 0x2000) + b"\x0f\x01\x1d" + struct.pack("<I", IDT + 0x200)  # esp; lidt
    code += b"\xfb\xeb\xfe"                             # sti; l: jmp l: taken into service
    return code


def in_service():
    """The handler of vector 31h, which never returns and never says EOI. Interrupts are off."""
    code = b""
    code += b"\xba\x60\x00\x00\x00\xec"                # the key is read,
    code += out(0x64, 0xD2) + out(0x60, 0x66)           # and the next one waits
    code += out(0x43, 0x34) + out(0x40, 0xFF, 0xFF)     # channel 0: rate generator
    code += out(0x20, 0x0B)                             # the next read shows ISR
    code += out(0x61, 0x01)                             # gate of channel 2
    code += out(0x43, 0xB6) + out(0x42, 0x34, 0x12)     # channel 2: square wave
    code += out(0x43, 0x80)                             # its count is latched
    code += out(0x43, 0x58) + out(0x41, 0x77)           # channel 1: BCD no, low byte only
    code += out(0x43, 0xB0) + out(0x42, 0x55)           # channel 2: half a word is written
    for pin in range(24):
        code += redirect(pin, 0x10000 | pin % 2 << 15 | pin % 3 << 13 | 0x40 + pin, pin << 24)
    code += store(0xFEC00000, 0x12)                     # the selector stays
    code += store(0xFEE000F0, 0x1F7) + store(0xFEE00080, 0x20)     # LAPIC on, TPR
    code += store(0xFEE00320, 0x10031) + store(0xFEE003E0, 0xB) + store(0xFEE00380, 0x12345)
    code += store(0xFEE00310, 0) + store(0xFEE00300, 0x4055)       # an IPI to itself: pending in IRR
    return code + store(DONE, 0x600D) + b"\xf4\xeb\xfd"             # l: hlt; jmp l


def rom(code):
    image = bytearray(b"\xf4" * 0x10000)
    gdt = 0x8000
    start = b"\xfa\x2e\x66\x0f\x01\x16" + struct.pack("<H", gdt + 0x18)      # cli; lgdt cs:[...]
    start += b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0"                            # mov eax, cr0; or al, 1; mov cr0, eax
    start += b"\x66\xea" + struct.pack("<IH", ROM + 0x100, 8)                # jmp 8:...
    image[0:len(start)] = start
    image[0x100:0x100 + len(code)] = code
    handler = in_service()
    image[HANDLER:HANDLER + len(handler)] = handler
    address = ROM + HANDLER
    image[0x9000 + 8 * 0x31:0x9000 + 8 * 0x32] = struct.pack("<HHHH", address & 0xFFFF, 8, 0x8E00, address >> 16)
    image[0x9200:0x9206] = struct.pack("<HI", 8 * 0x32 - 1, IDT)
    table = bytes(8) + struct.pack("<QQ", 0x00CF9B000000FFFF, 0x00CF93000000FFFF)
    image[gdt:gdt + 0x1E] = table + struct.pack("<HI", 0x17, ROM + gdt)
    image[0xFFF0:0xFFF3] = b"\xe9\x0d\x00"                                  # jmp 0
    return bytes(image)


def chips(data):
    """name of field -> bytes, of the kernel's chips."""
    found = {}
    for section in split(data)[1]:
        if section.name in SECTIONS:
            for path, at, size in fields(section.described, section.body)[0]:
                if not path.endswith(CLOCKS):
                    found[f"{section} {path}"] = data[at:at + size]
    return found


def wait_done(machine):
    deadline = time.monotonic() + 60
    while machine.readl(DONE) != 0x600D:
        if time.monotonic() > deadline:
            raise AssertionError("the guest did not come to its end")
        time.sleep(0.01)


def run(kiln, work):
    for name, code in (("busy", program()), ("idle", store(DONE, 0x600D) + b"\xf4\xeb\xfd")):
        with open(os.path.join(work, name), "wb") as f:
            f.write(rom(code if name == "busy" else b"\x66\xb8\x10\x00\x8e\xd8" + code))
    with Machine(kiln, ["-bios", os.path.join(work, "busy")], work, accel="kvm") as one:
        wait_done(one)
        first = one.save()
    with Machine(kiln, ["-bios", os.path.join(work, "idle")], work, accel="kvm") as two:
        wait_done(two)
        idle = chips(two.save())
        refused = two.load(first)
        if refused:
            return [f"loading: {refused}"]
        second = two.save()
    a, b = chips(first), chips(second)
    changed = [name for name in a if a[name] != idle.get(name)]
    problems = [f"{name}: {a[name].hex()} became {b.get(name, b'').hex()}" for name in a if a[name] != b.get(name)]
    for section in SECTIONS + ("i8259 0 isr", "i8259 0 irr"):
        if not any(name.startswith(section) for name in changed):
            problems.append(f"{section}: the guest changed nothing, so nothing was tested")
    return problems


def main():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("1..0 # SKIP /dev/kvm cannot be used")
        return 0
    print("1..1")
    with tempfile.TemporaryDirectory(prefix="kiln-chips-") as work:
        try:
            problems = run(sys.argv[1], work)
        except (Dead, AssertionError) as error:
            problems = [str(error)]
    for problem in problems:
        print("#", problem)
    print("not ok" if problems else "ok", "1 - the kernel's interrupt controllers and timer, saved and loaded")
    return bool(problems)


sys.exit(main())
