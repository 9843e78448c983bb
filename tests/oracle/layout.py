#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""layout.py KILN [CONFIG...]: what lies where, beside QEMU 7.2: the 256 bytes of configuration space of every PCI
function and the flat views of memory and ports, after reset and after an assignment of addresses as firmware makes it; what
sticks of all ones and of zeros written to every configuration register."""
import re
import sys
from random import Random

import oracle as lib

CONFIGS = {
    "default": [],
    "nodefaults": ["-nodefaults"],
    "smp-2": ["-nodefaults", "-smp", "2"],
    "m-1M": ["-nodefaults", "-m", "1M"],
    "m-5G": ["-nodefaults", "-m", "5G"],
    "m-3584M": ["-nodefaults", "-m", "3584M"],
    "low-ram": ["-nodefaults", "-m", "4G", "-machine", "pc,max-ram-below-4g=1G"],
    "no-hpet": ["-nodefaults", "-no-hpet"],
    "no-acpi": ["-nodefaults", "-no-acpi"],
    "disks": ["-nodefaults", "-drive", "if=ide,index=0,format=raw,file=@d:0x4000000"],
    "ports": ["-nodefaults", "-serial", "null", "-serial", "null", "-serial", "null", "-serial", "null", "-parallel", "null"],
    "debug": ["-nodefaults", "-device", "pvpanic", "-device", "isa-debug-exit", "-chardev", "null,id=c", "-device",
              "isa-debugcon,chardev=c", "-device", "pci-testdev", "-device", "pci-testdev,addr=1e.0,membar=64K"],
    "virtio-blk": ["-nodefaults", *(arg for n in range(5) for arg in ("-drive", f"if=none,id=d{n},driver=null-co,size=64M")),
                   "-device", "virtio-blk-pci,drive=d0", "-device", "virtio-blk-pci-transitional,drive=d1,num-queues=4",
                   "-device", "virtio-blk-pci-non-transitional,drive=d2,class=0x0180", "-device",
                   "virtio-blk-pci,drive=d3,disable-legacy=on,vectors=7", "-device",
                   "virtio-blk-pci,drive=d4,disable-modern=on,vectors=0"],
    "virtio-rng": ["-nodefaults", "-device", "virtio-rng-pci", "-device", "virtio-rng-pci-transitional,vectors=0", "-device",
                   "virtio-rng-pci-non-transitional,max-bytes=1024,period=1000"],
    "virtio-input": ["-nodefaults", "-device", "virtio-keyboard-pci", "-device", "virtio-mouse-pci,vectors=0", "-device",
                     "virtio-tablet-pci,serial=abc"],
    "virtio-balloon": ["-nodefaults", "-device", "virtio-balloon-pci"],
    "virtio-balloon-old": ["-nodefaults", "-device", "virtio-balloon-pci-transitional,page-poison=off"],
    "virtio-balloon-new": ["-nodefaults", "-device", "virtio-balloon-pci-non-transitional,free-page-hint=on,iothread=i", "-object",
                           "iothread,id=i"],
    "virtio-serial": ["-nodefaults", "-device", "virtio-serial-pci,id=a", "-device", "virtio-serial-pci-transitional,max_ports=1",
                      "-device", "virtio-serial-pci-non-transitional,emergency-write=off,class=0x0380,vectors=5", "-device",
                      "virtio-serial-pci,disable-modern=on,vectors=0,class=1", "-device", "virtconsole,bus=a.0"],
    "virtio-scsi": ["-nodefaults", "-smp", "2", "-device", "virtio-scsi-pci", "-device", "virtio-scsi-pci-transitional,num_queues=4",
                    "-device", "virtio-scsi-pci-non-transitional,vectors=3,virtqueue_size=64", "-device", "scsi-cd"],
    "virtio-net": ["-nodefaults", *(arg for n in range(5) for arg in ("-netdev", f"hubport,id=n{n},hubid={n}")), "-device",
                   "virtio-net-pci,netdev=n0", "-device", "virtio-net-pci-transitional,netdev=n1,mq=on,host_mtu=1400",
                   "-device", "virtio-net-pci-non-transitional,netdev=n2,rss=on", "-device",
                   "virtio-net-pci,netdev=n3,disable-legacy=on,vectors=7,romfile=", "-device",
                   "virtio-net-pci,netdev=n4,disable-modern=on,vectors=0,speed=1000"],
    "virtio-if": ["-nodefaults", "-smp", "3", "-drive", "if=virtio,driver=null-co,size=64M", "-drive",
                  "if=virtio,driver=null-co,size=8G,index=3", "-device", "virtio-blk-pci,drive=e,modern-pio-notify=on,page-per-vq=on",
                  "-drive", "if=none,driver=null-co,size=1M,id=e"],
    "bridge": ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=7,addr=5", "-device", "pci-testdev,bus=b,addr=3"],
    "bridge-no-msi": ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=1,msi=off"],
    "bridge-no-shpc": ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=255,shpc=off,io-reserve=4K", "-device",
                       "pci-bridge,id=c,bus=b,chassis_nr=3,mem-reserve=4M,pref64-reserve=1G,bus-reserve=2"],
}
# Ranges by QEMU's name (None: Kiln's) that only one side has: the reason.
KNOWN_RANGES = {
    "kvmvapic": "TPR patching for 32-bit Windows of before 2003 is not there",
    "ioport80": "nothing is behind the port of POST codes; it reads as ones and takes what is written",
    "ioportF0": "nothing is behind the FPU's error reset either: KVM's guests handle FPU errors by exception",
}


# ---- address spaces

def parse(lines):
    """[start, end, kind, name] with neighbours that continue each other joined."""
    ranges = []
    for line in lines:
        match = re.match(r"\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (.*?)\): (.*?)( @[0-9a-f]+)?(?: KVM)?$", line)
        if not match:
            continue
        start, end, kind, name = int(match[1], 16), int(match[2], 16), match[3], match[4]
        if name in KNOWN_RANGES or name == "io":
            continue
        if ranges and ranges[-1][1] + 1 == start and ranges[-1][2:] == [kind, name]:
            ranges[-1][1] = end
        else:
            ranges.append([start, end, kind, name])
    return ranges


def oracle_view(oracle, space):
    for view in oracle.monitor("info mtree -f").replace("\r", "").split("FlatView #"):
        if f' AS "{space}",' in view:
            return parse(view.split("\n"))
    raise RuntimeError(f"QEMU has no address space {space}")


def compare_views(oracle, kiln, when):
    bad = []
    for space in ("memory", "I/O"):
        theirs = oracle_view(oracle, space)
        ours = parse(kiln.request(f"mtree {space}").split(";"))
        for a in theirs:
            if not any(a[:3] == b[:3] for b in ours):
                bad.append(f"{when}: {space} {a[0]:#x}-{a[1]:#x} {a[2]} ({a[3]}) is not in Kiln")
        for b in ours:
            if not any(a[:3] == b[:3] for a in theirs):
                bad.append(f"{when}: {space} {b[0]:#x}-{b[1]:#x} {b[2]} ({b[3]}) is not in QEMU")
    return bad


# ---- configuration space

def compare_config(oracle, kiln, functions, when):
    bad = []
    for bdf in functions:
        theirs, ours = oracle.pci_read(bdf), kiln.pci_read(bdf)
        bad += [f"{when}: {bdf >> 3:02x}.{bdf & 7} register {at:#04x} is {ours[at]:#04x}, QEMU's {theirs[at]:#04x}"
                for at in range(256) if theirs[at] != ours[at]]
    return bad


def assign(oracle, kiln, functions):
    """Sizes BARs and places them, PM and SMBus included, then opens all. The oracle's answers count for both."""
    io, memory = 0xc000, 0xe0000000
    writes = []
    for bdf in functions:
        header = oracle.pci_read(bdf)
        count = {0: 6, 1: 2}.get(header[0x0e] & 0x7f, 0)
        for at in range(0x10, 0x10 + 4 * count, 4):
            for machine in (oracle, kiln):
                machine.pci_write(bdf, at, 0xffffffff)
            mask = int.from_bytes(oracle.pci_read(bdf)[at:at + 4], "little")
            if mask in (0, 0xffffffff):
                continue
            if mask & 1:
                size = -(mask & ~3) & 0xffff
                io = (io + size - 1) & -size
                writes.append((bdf, at, io, 4))
                io += size
            else:
                size = -(mask & ~15) & 0xffffffff
                memory = (memory + size - 1) & -size
                writes.append((bdf, at, memory, 4))
                memory += size
        writes.append((bdf, 0x04, 0x0107, 2))
    if 0x0b in functions:
        writes += [(0x0b, 0x40, 0x601, 4), (0x0b, 0x80, 1, 1), (0x0b, 0x90, 0x701, 4), (0x0b, 0xd2, 9, 1)]
    # PAM all open, PIRQ routing, IDE channels on.
    writes += [(0x00, 0x59, 0x30, 1), *((0x00, at, 0x33, 1) for at in range(0x5a, 0x60)), (0x00, 0x72, 0x4a, 1),
               *((0x08, at, 0x0a + (at & 1), 1) for at in range(0x60, 0x64)), (0x09, 0x40, 0x8000, 2), (0x09, 0x42, 0x8000, 2)]
    for machine in (oracle, kiln):
        for write in writes:
            machine.pci_write(*write)


def write_all(oracle, kiln, functions, value):
    """Every register but the host bridge's PAM and SMRAM, whose effects are tested elsewhere."""
    for bdf in functions:
        for at in range(4, 256, 4):
            if bdf or at not in range(0x58, 0x74):
                for machine in (oracle, kiln):
                    machine.pci_write(bdf, at, value)


def write_random(oracle, kiln, functions, random, count):
    for _ in range(count):
        size = random.choice((1, 1, 2, 4))
        bdf, at, value = random.choice(functions), random.randrange(4, 256) & -size, random.getrandbits(8 * size)
        for machine in (oracle, kiln):
            machine.pci_write(bdf, at, value, size)


def compare(oracle, kiln, name):
    theirs, ours = oracle.pci_functions(), kiln.pci_functions()
    if theirs != ours:
        return [f"PCI functions are {ours}, QEMU's {theirs}"]
    bad = compare_config(oracle, kiln, theirs, "reset") + compare_views(oracle, kiln, "reset")
    assign(oracle, kiln, theirs)
    bad += compare_config(oracle, kiln, theirs, "assigned") + compare_views(oracle, kiln, "assigned")
    for machine in (oracle, kiln):
        machine.pci_write(0, 0x72, 0x02, 1)
        machine.pci_write(0, 0x59, 0x00, 1)
        machine.pci_write(0, 0x5a, 0x12, 1)
    bad += compare_views(oracle, kiln, "PAM closed")
    for value in (0xffffffff, 0, 0x55555555, 0xaaaaaaaa):
        write_all(oracle, kiln, theirs, value)
        bad += compare_config(oracle, kiln, theirs, f"all written {value:#x}")
        bad += compare_views(oracle, kiln, f"all written {value:#x}")
    random = Random(name)
    for number in range(8):
        write_random(oracle, kiln, theirs, random, 100)
        bad += compare_config(oracle, kiln, theirs, f"random {number}")
        bad += compare_views(oracle, kiln, f"random {number}")
        if bad:
            break
    return bad


if __name__ == "__main__":
    sys.exit(lib.run(CONFIGS, compare))
