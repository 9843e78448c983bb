#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""cmos.py KILN [CONFIG...]: all 128 bytes of CMOS memory after reset beside QEMU 7.2's; the time stands still."""
import sys

import oracle as lib

NONE = ["-nodefaults"]


def disks(*sizes):
    args = []
    for unit, size in enumerate(sizes):
        if size:
            args += ["-drive", f"if=ide,index={unit},format=raw,file=@hd{unit}-{size}:{size}"]
    return args


CONFIGS = {
    "default": [],
    "nodefaults": NONE,
    **{f"m-{size}": [*NONE, "-m", size] for size in ("1M", "2M", "15M", "16M", "17M", "63M", "64M", "65M", "1G",
                                                     "3583M", "3584M", "5G", "20G")},
    "low-ram": [*NONE, "-m", "4G", "-machine", "pc,max-ram-below-4g=1G"],
    "smp-2": [*NONE, "-smp", "2"],
    "smp-8": [*NONE, "-smp", "8,sockets=2,cores=2,threads=2"],
    "smp-255": [*NONE, "-smp", "1,maxcpus=255"],
    "disk": [*NONE, *disks(64 << 20)],
    "disks": [*NONE, *disks(64 << 20, 1 << 30, 10 << 30, 200 << 30)],
    "small-disks": [*NONE, *disks(1 << 20, 512, 504 << 20, (504 << 20) + (1 << 20))],
    "secondary": [*NONE, *disks(0, 0, 3 << 30, 8 << 30)],
    "slave": [*NONE, *disks(0, 9 << 30)],
    "cdrom-first": [*NONE, "-drive", "if=ide,index=0,media=cdrom,format=raw,file=@cd:0x100000", *disks(0, 5 << 20)],
    "geometry": [*NONE, "-drive", "if=none,id=d,format=raw,file=@geo:0x10000000", "-device",
                 "ide-hd,drive=d,bus=ide.0,cyls=500,heads=15,secs=60"],
    "geometry-lba": [*NONE, "-drive", "if=none,id=d,format=raw,file=@geo:0x10000000", "-device",
                     "ide-hd,drive=d,bus=ide.0,bios-chs-trans=lba"],
    "geometry-none": [*NONE, "-drive", "if=none,id=d,format=raw,file=@geo:0x10000000", "-device",
                      "ide-hd,drive=d,bus=ide.1,bios-chs-trans=none"],
    "geometry-large": [*NONE, "-drive", "if=none,id=d,format=raw,file=@geo:0x10000000", "-device",
                       "ide-hd,drive=d,bus=ide.0,unit=1,bios-chs-trans=large"],
    "floppy": [*NONE, "-fda", "@fd:0x168000"],
    "floppies": [*NONE, "-fda", "@fd:0x168000", "-fdb", "@fd2:0x12c000"],
    "floppy-b": [*NONE, "-fdb", "@fd2:0xb4000"],
    "floppy-288": [*NONE, "-fda", "@fd3:0x2d0000"],
    **{f"boot-{order}": [*NONE, "-boot", order] for order in ("a", "c", "d", "n", "dca", "cdn", "nd")},
    "boot-once": [*NONE, "-boot", "order=c,once=d"],
    "boot-strict": [*NONE, "-boot", "strict=on"],
    "no-acpi": [*NONE, "-no-acpi"],
    "no-hpet": [*NONE, "-no-hpet"],
}
CONFIGS = {name: ["-rtc", "base=2021-02-03T04:05:06,clock=vm", *args] for name, args in CONFIGS.items()}


def compare(oracle, kiln, _):
    theirs, ours = oracle.cmos(), kiln.cmos()
    return [f"byte {at:#04x} is {ours[at]:#04x}, QEMU's {theirs[at]:#04x}" for at in range(128) if theirs[at] != ours[at]]


if __name__ == "__main__":
    sys.exit(lib.run(CONFIGS, compare))
