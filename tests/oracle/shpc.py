#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""shpc.py KILN [CONFIG...]: the standard hot-plug controller of pci-bridge beside QEMU 7.2: every command in every state
of an empty and of a used slot, random accesses to all registers, interrupts, and the device that leaves."""
import sys
from random import Random

import oracle as lib

BRIDGE, BAR, SECONDARY = 5 << 3, 0xe0000000, 5
DEVICES = ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=7,addr=5", "-device", "pci-testdev,bus=b,addr=3", "-device",
           "pci-testdev,bus=b,addr=7.0,multifunction=on", "-device", "pci-testdev,bus=b,addr=7.1"]
CONFIGS = {"commands": DEVICES, "random": DEVICES, "random-2": DEVICES, "interrupts": DEVICES}
STATUS, SLOT = 0x06, 0x24


def prepare(machines):
    for machine in machines:
        machine.pci_write(BRIDGE, 0x10, BAR)
        machine.pci_write(BRIDGE, 0x18, SECONDARY << 16 | SECONDARY << 8)
        machine.pci_write(BRIDGE, 0x04, 7, 2)


def write(machines, at, value, size):
    for machine in machines:
        machine.request(f"write{ {1: 'b', 2: 'w', 4: 'l'}[size] } {BAR + at:#x} {value:#x}")


def differences(oracle, kiln, when):
    theirs, ours = oracle.read(BAR, 256), kiln.read(BAR, 256)
    bad = [f"{when}: register {at:#04x} is {ours[at]:#04x}, QEMU's {theirs[at]:#04x}" for at in range(256)
           if ours[at] != theirs[at]]
    theirs, ours = oracle.pci_read(BRIDGE, 8), kiln.pci_read(BRIDGE, 8)
    if theirs != ours:
        bad.append(f"{when}: status is {ours.hex()}, QEMU's {theirs.hex()}")
    theirs, ours = ([m.pci_read(SECONDARY << 8 | devfn, 4).hex() for devfn in (0x18, 0x38, 0x39)] for m in (oracle, kiln))
    if theirs != ours:
        bad.append(f"{when}: devices {ours}, QEMU's {theirs}")
    return bad


def compare_commands(oracle, kiln):
    for slot in (2, 3, 0):
        for command in (*range(0x4c), 0x80, 0xff, 3, 2, 1, 3, 2, 0x0f, 2, 3):
            write((oracle, kiln), 0x14, slot << 8 | command, 2)
            bad = differences(oracle, kiln, f"command {command:#x} slot {slot}")
            if bad:
                return bad
    return []


def compare_random(oracle, kiln, name):
    random = Random(name)
    for step in range(300):
        size = random.choice((1, 2, 4))
        if random.random() < 0.5:
            slot = random.choice((3, 7, 9))
            at, value, size = 0x14, slot << 8 | random.choice((1, 2, 3, 7, 0x0b, 0x0f, random.getrandbits(8))), 2
        elif random.random() < 0.5:
            at, value, size = SLOT + 4 * random.choice((2, 6, 8)) + random.choice((2, 3)), random.getrandbits(8), 1
        else:
            at, value = random.randrange(0, 256, size), random.getrandbits(8 * size)
        write((oracle, kiln), at, value, size)
        bad = differences(oracle, kiln, f"step {step}: {size} bytes {value:#x} to {at:#x}")
        if bad:
            return bad
    return []


def compare_interrupts(oracle, kiln):
    bad = []
    steps = [(0x20, 0, 1), (0x27 + 8, 0, 1), (0x14, 0x30f, 2), (0x22, 1, 1), (0x20, 1, 1), (0x20, 0, 1), (0x27 + 8, 8, 1),
             (0x27 + 8, 9, 1), (0x27 + 8, 0, 1), (0x26 + 8, 0x1f, 1)]
    for at, value, size in steps:
        write((oracle, kiln), at, value, size)
        bad += differences(oracle, kiln, f"{value:#x} to {at:#x}")
    if int.from_bytes(kiln.pci_read(BRIDGE, 8)[STATUS:], "little") & 8:
        bad.append("the interrupt is still pending at the end")
    return bad


def compare(oracle, kiln, name):
    prepare((oracle, kiln))
    bad = differences(oracle, kiln, "reset")
    if name == "commands":
        return bad + compare_commands(oracle, kiln)
    if name == "interrupts":
        return bad + compare_interrupts(oracle, kiln)
    return bad + compare_random(oracle, kiln, name)


if __name__ == "__main__":
    sys.exit(lib.run(CONFIGS, compare))
