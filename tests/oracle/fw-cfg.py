#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""fw-cfg.py KILN [CONFIG...]: every fw_cfg key and file of Kiln beside QEMU 7.2's, byte for byte; ACPI
tables that differ are disassembled. A difference is a failure unless KNOWN gives its reason."""
import difflib
import os
import re
import struct
import subprocess
import sys
import tempfile

import oracle as lib

DISKS = ["-nodefaults", "-drive", "if=none,id=d0,format=raw,file=@disk0:0x4000000", "-device", "ide-hd,drive=d0,bootindex=2",
         "-drive", "if=none,id=d1,format=raw,file=@cd:0x100000,media=cdrom,readonly=on", "-device",
         "ide-cd,drive=d1,bus=ide.1,bootindex=1"]

def disk(name, bootindex):
    """A disk whose place is left to the emulator."""
    return ["-drive", f"if=none,id={name},format=raw,file=@{name}:0x100000", "-device",
            f"ide-hd,drive={name},bootindex={bootindex}"]


def nodes(*sizes):
    """NUMA nodes with memory of these sizes."""
    args = []
    for number, size in enumerate(sizes):
        args += ["-object", f"memory-backend-ram,id=m{number},size={size}", "-numa", f"node,nodeid={number},memdev=m{number}"]
    return ["-nodefaults", *args]


def cpus(*sockets):
    """The node of each socket."""
    return [arg for socket, node in enumerate(sockets) for arg in ("-numa", f"cpu,node-id={node},socket-id={socket}")]


def lb(initiator, target, kind, value, hierarchy="memory"):
    return ["-numa", f"hmat-lb,initiator={initiator},target={target},hierarchy={hierarchy},data-type={kind},"
            f"{kind.split('-')[1]}={value}"]


def cache(node, size, level, associativity, policy, line):
    return ["-numa", f"hmat-cache,node-id={node},size={size},level={level},associativity={associativity},policy={policy},line={line}"]


CONFIGS = {
    "default": [],
    "nodefaults": ["-nodefaults"],
    "smp-2": ["-nodefaults", "-smp", "2"],
    "smp-8": ["-nodefaults", "-smp", "8,sockets=2,cores=2,threads=2"],
    "smp-maxcpus": ["-nodefaults", "-smp", "2,maxcpus=6"],
    "smp-dies": ["-nodefaults", "-smp", "8,sockets=1,dies=2,cores=2,threads=2"],
    "5G": ["-nodefaults", "-m", "5G"],
    "3583M": ["-nodefaults", "-m", "3583M"],
    "3584M": ["-nodefaults", "-m", "3584M"],
    "2M": ["-nodefaults", "-m", "2M"],
    "memory-backend": ["-nodefaults", "-object", "memory-backend-memfd,id=m,size=96M", "-machine", "pc,memory-backend=m", "-m", "96M"],
    "mem-path": ["-nodefaults", "-mem-path", "@mem:0x6000000", "-m", "96M"],
    "numa": nodes("64M", "64M"),
    "numa-sockets": [*nodes("64M", "32M", "32M"), "-smp", "4,sockets=4"],
    "numa-cpus": ["-nodefaults", "-smp", "4", "-object", "memory-backend-ram,id=m0,size=128M", "-numa",
                  "node,nodeid=1,cpus=2-3", "-numa", "node,nodeid=0,memdev=m0,cpus=0,cpus=1"],
    "numa-cpu": [*nodes("64M", "64M"), "-smp", "8,sockets=2,dies=2,cores=2,threads=1", "-numa", "cpu,node-id=1,socket-id=0",
                 "-numa", "cpu,node-id=0,socket-id=1,die-id=0", "-numa", "cpu,node-id=1,socket-id=1,die-id=1"],
    "numa-partial": [*nodes("64M", "64M"), "-smp", "4,sockets=2,cores=2", "-numa", "cpu,node-id=1,socket-id=1,core-id=1"],
    "numa-dist": [*nodes("64M", "32M", "32M"), "-numa", "dist,src=0,dst=1,val=20", "-numa", "dist,src=2,dst=1,val=30", "-numa",
                  "dist,src=0,dst=2,val=255"],
    "numa-asymmetric": [*nodes("64M", "64M"), "-numa", "dist,src=0,dst=1,val=20", "-numa", "dist,src=1,dst=0,val=21"],
    "numa-5G": [*nodes("2G", "2G", "1G"), "-m", "5G", "-smp", "3,sockets=3"],
    "hmat": ["-machine", "pc,hmat=on", *nodes("128M")],
    "hmat-slots": ["-nodefaults", "-machine", "pc,hmat=on", "-m", "128M,slots=2,maxmem=1G"],
    "hmat-off-nodes": ["-nodefaults", "-machine", "pc,hmat=on"],
    "hmat-lb": ["-machine", "pc,hmat=on", *nodes("64M", "64M"), "-smp", "2,sockets=2", *cpus(0, 1), *lb(0, 0, "access-latency", 5),
                *lb(0, 1, "access-latency", 20), *lb(1, 0, "access-latency", 100), *lb(0, 0, "access-bandwidth", "10G"),
                *lb(1, 1, "read-bandwidth", "3M", "first-level"), *lb(1, 0, "write-latency", 655340, "third-level"),
                *lb(1, 1, "write-latency", 10, "third-level"), *lb(1, 0, "read-latency", 0, "second-level"),
                *lb(1, 1, "read-latency", 7, "second-level"), *cache(0, "10K", 1, "none", "none", 0),
                *cache(0, "20K", 2, "direct", "write-back", 64), *cache(0, "1G", 3, "complex", "write-through", 65535),
                *cache(1, "5K", 1, "complex", "none", 8)],
    "hmat-memory-only": ["-machine", "pc,hmat=on", *nodes("64M", "64M"), "-smp", "2,sockets=2", "-numa", "node,nodeid=2,initiator=0",
                         *cpus(0, 0), *lb(0, 2, "access-latency", 5), *lb(0, 1, "write-bandwidth", "65534M")],
    "numa-low": [*nodes("512K", "512K", "3M"), "-m", "4M"],
    "numa-hole": [*nodes("3G", "1G"), "-m", "4G", "-smp", "2,maxcpus=4"],
    "slots": ["-nodefaults", "-m", "128M,slots=3,maxmem=1G"],
    "slots-numa": [*nodes("64M", "64M"), "-m", "128M,slots=20,maxmem=5G", "-smp", "2,sockets=2"],
    "maxmem": ["-nodefaults", "-m", "128M,maxmem=1G"],
    "slots-5G": ["-nodefaults", "-m", "5G,slots=256,maxmem=8G"],
    "slots-backend": ["-nodefaults", "-object", "memory-backend-memfd,id=m,size=96M", "-machine", "pc,memory-backend=m", "-m",
                      "slots=2,maxmem=200M"],
    "slots-high": ["-nodefaults", "-m", "128M,slots=1,maxmem=1T", "-cpu", "qemu64,phys-bits=42"],
    "dimm": ["-nodefaults", "-m", "128M,slots=3,maxmem=1G", "-object", "memory-backend-ram,id=a,size=64M", "-device",
             "pc-dimm,memdev=a,slot=1"],
    "no-hpet": ["-nodefaults", "-no-hpet"],
    "no-acpi": ["-nodefaults", "-no-acpi"],
    "disks": DISKS,
    "legacy-disks": ["-hda", "@a:0x1000000", "-hdb", "@b:0x1000000", "-cdrom", "@c:0x100000"],
    "bridges": ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "pci-bridge,id=c,bus=b,chassis_nr=2,shpc=off",
                "-device", "pci-testdev,bus=c"],
    "boot-order": ["-nodefaults", "-boot", "order=dc"],
    "boot-once": ["-nodefaults", "-boot", "order=dca,once=n"],
    "boot-menu": ["-nodefaults", "-boot", "menu=on,splash-time=3000"],
    "boot-menu-off": ["-nodefaults", "-boot", "menu=off"],
    "boot-strict": DISKS + ["-boot", "strict=on"],
    "reboot-timeout": ["-nodefaults", "-boot", "reboot-timeout=5000"],
    "reboot-timeout-off": ["-nodefaults", "-boot", "reboot-timeout=-1"],
    "smbios": ["-nodefaults", "-smbios", "type=0,vendor=V,version=1.2,date=01/02/2003,release=4.5,uefi=on",
               "-smbios", "type=1,manufacturer=M,product=P,version=3,serial=S,sku=K,family=F,"
               "uuid=12345678-1234-5678-9abc-123456789abc", "-smbios", "type=2,manufacturer=B,product=Q,asset=A,"
               "location=L", "-smbios", "type=3,manufacturer=C,sku=X", "-smbios", "type=4,manufacturer=I,part=Y,"
               "max-speed=3000,current-speed=2500", "-smbios", "type=11,value=one,value=two", "-smbios",
               "type=17,manufacturer=R,speed=1600,bank=Z", "-m", "20G"],
    "smbios-ports": ["-nodefaults", "-smbios", "type=8,internal_reference=J1,external_reference=E,connector_type=1,"
                     "port_type=2"],
    "smbios-64": ["-nodefaults", "-machine", "pc,smbios-entry-point-type=64"],
    "uuid": ["-nodefaults", "-uuid", "00112233-4455-6677-8899-aabbccddeeff"],
    "fw_cfg": ["-nodefaults", "-fw_cfg", "name=opt/org.test/a,string=hello", "-fw_cfg",
               "opt/org.test/b,file=@item:100", "-fw_cfg", "name=opt/aaa,string=x"],
    "floppy": ["-nodefaults", "-fda", "@fd:0x168000"],
    "floppies": ["-nodefaults", "-fda", "@fd:0x168000", "-fdb", "@fd720:0xb4000"],
    "floppy-288": ["-nodefaults", "-drive", "if=floppy,format=raw,file=@fd288:0x2d0000"],
    "more-disks": ["-nodefaults", *disk("a", 1), *disk("b", 3)],
    "bios-geometry": ["-nodefaults", "-drive", "file=@a:0x1000000,format=raw,if=none,id=a", "-device",
                      "ide-hd,drive=a,lcyls=100,lheads=20,lsecs=30", "-drive", "file=@b:0x1000000,format=raw,if=none,id=b",
                      "-device", "ide-hd,drive=b,lsecs=3"],
    "global-floppy": ["-global", "isa-fdc.fallback=144", "-global", "driver=ide-cd,property=serial,value=x"],
    "pvpanic": ["-nodefaults", "-device", "pvpanic"],
    "ports": ["-nodefaults", "-serial", "null", "-serial", "null", "-serial", "null", "-serial", "null", "-parallel", "null"],
    "no-s3": ["-nodefaults", "-global", "PIIX4_PM.disable_s3=1", "-global", "PIIX4_PM.disable_s4=1"],
    "no-hotplug": ["-nodefaults", "-global", "PIIX4_PM.acpi-pci-hotplug-with-bridge-support=off", "-global",
                   "PIIX4_PM.acpi-root-pci-hotplug=off"],
    "oem": ["-nodefaults", "-machine", "pc,x-oem-id=KILN,x-oem-table-id=HOUSE"],
    "nographic": ["-nodefaults", "-nographic"],
    "debug-devices": ["-nodefaults", "-device", "isa-debugcon,chardev=c", "-chardev", "null,id=c", "-device",
                      "isa-debug-exit", "-device", "pc-testdev", "-device", "pci-testdev"],
    "kvm-default": [],
    "kvm-host": ["-nodefaults", "-cpu", "host,arch-capabilities=off", "-smp", "2"],
    "kvm-kvm64": ["-nodefaults", "-cpu", "kvm64"],
    "kvm-split": ["-nodefaults", "-machine", "pc,kernel-irqchip=split"],
    "kvm-off": ["-nodefaults", "-machine", "pc,kernel-irqchip=off"],
    "kvm-5G": ["-nodefaults", "-m", "5G"],
    "cpu": ["-nodefaults", "-cpu", "qemu64,vendor=GenuineIntel,model-id=x"],
}
# Files that one side has and the other not: the reason.
KNOWN_MISSING = {
    "genroms/kvmvapic.bin": "TPR patching for 32-bit Windows of before 2003 is not there",
}
KEYS = [*range(0, 0x19), *range(0x1a, 0x20), *range(0x8000, 0x8010)]
KEY_SIZE = 256


# ---- ACPI

def tables(blob):
    """(signature, bytes) of each table in etc/acpi/tables; the FACS has a length of another kind."""
    at, found = 0, []
    while at + 8 <= len(blob):
        signature, length = blob[at:at + 4], struct.unpack_from("<I", blob, at + 4)[0]
        if not signature.strip(b"\0") or length < 8:
            at += 16
            continue
        found.append((signature.decode(errors="replace"), blob[at:at + length]))
        at += length
    return found


def disassemble(table, complaints):
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "table.dat")
        with open(path, "wb") as f:
            f.write(table)
        result = subprocess.run(["iasl", "-d", "table.dat"], cwd=work, capture_output=True, text=True, check=False)
        try:
            with open(os.path.join(work, "table.dsl"), encoding="utf-8", errors="replace") as f:
                text = f.read()
        except FileNotFoundError:
            complaints.append("iasl does not disassemble it: " + (result.stdout + result.stderr).strip()[-300:])
            return []
        if table[:4] in (b"DSDT", b"SSDT"):
            again = subprocess.run(["iasl", "-f", "-p", "again", "table.dsl"], cwd=work, capture_output=True, text=True,
                                   check=False)
            if again.returncode:
                complaints.append("iasl does not compile it again: " + (again.stdout + again.stderr).strip()[-600:])
    return re.sub(r"/\*.*?\*/", "", text, count=1, flags=re.S).splitlines()


def compare_tables(theirs, ours):
    bad, names = [], [[name for name, _ in tables(blob)] for blob in (theirs, ours)]
    if names[0] != names[1]:
        bad.append(f"ACPI tables are {' '.join(names[1])}, QEMU's {' '.join(names[0])}")
    for (name, a), (_, b) in zip(tables(theirs), tables(ours)):
        if a != b:
            complaints = []
            diff = list(difflib.unified_diff(disassemble(a, []), disassemble(b, complaints), "QEMU " + name,
                                             "Kiln " + name, lineterm="", n=2))
            bad += [f"ACPI table {name}: {len(b)} bytes, QEMU's {len(a)}"] + complaints + diff[:60]
    return bad


def check_dsdt(blob):
    complaints = []
    for name, table in tables(blob):
        if name != "FACS":
            part = []
            disassemble(table, part)
            complaints += [f"{name}: {line}" for line in part]
    return complaints


# ---- all of it

def compare_bytes(what, theirs, ours):
    if theirs == ours:
        return []
    if what == "bootorder":
        return [f"bootorder is {ours.decode()!r}, QEMU's {theirs.decode()!r}"]
    diff = list(difflib.unified_diff(list(lib.hex_lines(theirs)), list(lib.hex_lines(ours)), "QEMU", "Kiln", lineterm="", n=0))
    return [f"{what}: {len(ours)} bytes, QEMU's {len(theirs)}"] + diff[2:40]


def compare_keys(oracle, kiln):
    bad = []
    for key in KEYS:
        bad += compare_bytes(f"key {key:#06x}", oracle.fw_cfg(key, KEY_SIZE), kiln.fw_cfg(key, KEY_SIZE))
    return bad


def compare(oracle, kiln, name):
    bad = compare_keys(oracle, kiln)
    theirs, ours = oracle.fw_cfg_files(), kiln.fw_cfg_files()
    expected = [name for name in theirs if name not in KNOWN_MISSING]
    if expected != list(ours):
        bad.append(f"files are {' '.join(ours)}; QEMU's are {' '.join(expected)}")
    for number, file in enumerate(expected):
        if file not in ours:
            continue
        if ours[file][0] != 0x20 + number:
            bad.append(f"{file} has key {ours[file][0]:#x}")
        a, b = oracle.fw_cfg(*theirs[file]), kiln.fw_cfg(*ours[file])
        if file == "etc/acpi/tables":
            bad += compare_tables(a, b)
            if name == "default":
                bad += check_dsdt(b)
            if a != b and not bad:
                bad.append("ACPI tables are the same, but lie elsewhere")
        else:
            bad += compare_bytes(file, a, b)
    return bad


if __name__ == "__main__":
    sys.exit(lib.run(CONFIGS, compare, (lib.QEMU, "iasl")))
