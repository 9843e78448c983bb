#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ports.py KILN [CONFIG...]: reads every I/O port once, and the registers of the I/O APIC, the HPET and the
local APIC, after reset; the same has to come back as from QEMU 7.2."""
import sys

import oracle as lib

FIXED_TIME = ["-rtc", "base=2021-02-03T04:05:06,clock=vm"]
PORTS = ["-serial", "null", "-serial", "null", "-serial", "null", "-serial", "null", "-parallel", "null", "-parallel",
         "null", "-parallel", "null"]
CONFIGS = {
    "default": [],
    "nodefaults": ["-nodefaults"],
    "no-hpet": ["-nodefaults", "-no-hpet"],
    "no-acpi": ["-nodefaults", "-no-acpi"],
    "ports": ["-nodefaults", *PORTS],
    "floppies": ["-nodefaults", "-fda", "@fd:0x168000", "-fdb", "@fd2:0x12c000"],
    "disks": ["-nodefaults", "-drive", "if=ide,index=0,format=raw,file=@d:0x4000000", "-drive",
              "if=ide,index=3,format=raw,file=@e:0x100000"],
    "cdrom": ["-nodefaults", "-drive", "if=ide,index=2,media=cdrom,format=raw,file=@cd:0x100000"],
    "slave": ["-nodefaults", "-drive", "if=ide,index=1,format=raw,file=@d:0x4000000"],
    "debug": ["-nodefaults", "-device", "pvpanic", "-device", "isa-debug-exit", "-chardev", "null,id=c", "-device",
              "isa-debugcon,chardev=c", "-device", "pc-testdev"],
}
CONFIGS = {name: FIXED_TIME + args for name, args in CONFIGS.items()}
# (first, last): why they are not compared.
KNOWN_PORTS = {
    (0x5658, 0x565b): "the VMware port needs a running CPU; the oracle ends with a crash under qtest",
}
# The same in one configuration.
KNOWN_IN = {
    "ports": {(0x3bc, 0x3c3): "the third parallel port's registers lie 4 ports too high in QEMU (its decoder looks at "
                              "the lowest 3 bits of the address); Kiln has them where they belong"},
}
# Registers of more than a byte. Other accesses that cross registers differ on purpose: QEMU lets one run on over
# the end of a device's ports into the same device; Kiln splits it as a bus does.
WIDE = {2: [0x1f0, 0x170, 0x3f0, 0x3f2, 0x3f4, 0x20, 0xa0, 0x40, 0x70, 0x510, 0x511, 0xcf8, 0xcfa, 0xcfc, 0xcfe, 0xae00,
            0xae02, 0xaf00, 0xaf02, 0xb2, 0x4d0, 0x402, 0x500, 0x501],
        4: [0x1f0, 0x170, 0x514, 0x518, 0xcf8, 0xcfc, *range(0xae00, 0xae18, 4), *range(0xaf00, 0xaf20, 4), 0x10, 0x80,
            0x402, 0xe0, 0xe8]}
# As the chipset registers come up nothing of PIIX4_PM is mapped; firmware does this.
ENABLE_PM = [(0x0b, 0x40, 0x601, 4), (0x0b, 0x80, 1, 1), (0x0b, 0x90, 0x701, 4), (0x0b, 0xd2, 9, 1),
             (0x0b, 0x04, 1, 2)]


def known(port, name):
    return any(first <= port <= last for first, last in [*KNOWN_PORTS, *KNOWN_IN.get(name, [])])


def compare_ports(oracle, kiln, size, ports, what):
    letter = {1: "b", 2: "w", 4: "l"}[size]
    lines = [f"in{letter} {port:#x}" for port in ports]
    theirs, ours = oracle.requests(lines), kiln.requests(lines)
    return [f"{what}: port {port:#06x} reads {b}, QEMU's {a} ({size} bytes)"
            for port, a, b in zip(ports, theirs, ours) if a != b]


def compare_memory(oracle, kiln, base, size, step, what):
    lines = [f"read{'l' if step == 4 else 'b'} {base + at:#x}" for at in range(0, size, step)]
    theirs, ours = oracle.requests(lines), kiln.requests(lines)
    return [f"{what}: {base + at * step:#x} reads {b}, QEMU's {a}" for at, (a, b) in enumerate(zip(theirs, ours)) if a != b]


def compare_ioapic(oracle, kiln):
    lines = []
    for index in range(0x40):
        lines += [f"writeb 0xfec00000 {index:#x}", "readl 0xfec00010"]
    theirs, ours = oracle.requests(lines)[1::2], kiln.requests(lines)[1::2]
    return [f"I/O APIC register {index:#x} reads {b}, QEMU's {a}" for index, (a, b) in enumerate(zip(theirs, ours)) if a != b]


def compare(oracle, kiln, name):
    bad = compare_ports(oracle, kiln, 1, [port for port in range(0x10000) if not known(port, name)], "reset")
    for size, ports in WIDE.items():
        bad += compare_ports(oracle, kiln, size, ports, "after bytes")
    bad += compare_ioapic(oracle, kiln)
    bad += compare_memory(oracle, kiln, 0xfed00000, 0x400, 4, "HPET")
    bad += compare_memory(oracle, kiln, 0xfec00000, 0x100, 4, "I/O APIC")
    if name != "no-acpi":
        for machine in (oracle, kiln):
            for write in ENABLE_PM:
                machine.pci_write(*write)
        for size in (1, 2, 4):
            bad += compare_ports(oracle, kiln, size, [*range(0x600, 0x640, size), *range(0x700, 0x740, size)], "PM")
    return bad


if __name__ == "__main__":
    sys.exit(lib.run(CONFIGS, compare))
