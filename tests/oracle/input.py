#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""input.py KILN [CONFIG...]: what a guest reads of virtio's keyboards and pointers, beside QEMU 7.2: everything behind
select and subsel of their configuration."""
import sys

import oracle as lib

BAR = 0xe0000000
SLOT = 4 << 3
CONFIGS = {
    "keyboard": ["-nodefaults", "-device", "virtio-keyboard-pci,addr=4,serial=abc"],
    "mouse": ["-nodefaults", "-device", "virtio-mouse-pci,addr=4"],
    "mouse-keys": ["-nodefaults", "-device", "virtio-mouse-pci,addr=4,wheel-axis=off"],
    "tablet": ["-nodefaults", "-device", "virtio-tablet-pci,addr=4"],
}


def read_all(machine):
    machine.pci_write(SLOT, 0x20, BAR)
    machine.pci_write(SLOT, 0x04, 6, 2)
    seen = {}
    for select in (0, 1, 2, 3, 0x10, 0x11, 0x12, 0x13):
        for subsel in range(0x20):
            machine.request(f"writeb 0x{BAR + 0x2000:x} {select}")
            machine.request(f"writeb 0x{BAR + 0x2001:x} {subsel}")
            size = machine.read(BAR + 0x2002, 1)[0]
            # Where nothing is, QEMU reads as zeros, select and subsel too.
            seen[select, subsel] = size and machine.read(BAR + 0x2000, 8 + size).hex()
    return seen


def compare(oracle, kiln, name):
    theirs, ours = read_all(oracle), read_all(kiln)
    return [f"select {key[0]:#x} subsel {key[1]:#x} is {ours[key]}, QEMU's {value}" for key, value in theirs.items()
            if ours[key] != value]


if __name__ == "__main__":
    sys.exit(lib.run(CONFIGS, compare))
