#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""compare-state.py KILN: the machine's state description beside that of QEMU 7.2, field by field.

QEMU writes the description at the end of its migration stream; Kiln prints its own with --print-state. Each
difference is a failure unless KNOWN gives its reason. Skips where QEMU is not installed."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from machine import QEMU, Dead, Machine, description

CONFIGS = {
    "default": [],
    "nodefaults": ["-nodefaults"],
    "smp": ["-nodefaults", "-smp", "2"],
    "disks": ["-hda", "@disk", "-hdb", "@disk2", "-cdrom", "@disk3"],
    "no-hpet": ["-nodefaults", "-no-hpet"],
    "floppy": ["-drive", "if=floppy,format=raw,file=@floppy", "-boot", "a"],
    "four disks": ["-nodefaults", "-hda", "@disk", "-hdb", "@disk2", "-hdc", "@disk3", "-hdd", "@floppy"],
    "empty drives": ["-nodefaults", "-drive", "if=ide,media=cdrom", "-drive", "if=floppy"],
    "pci-testdev": ["-nodefaults", "-device", "pci-testdev"],
    "e1000": ["-nodefaults", "-device", "e1000"],
    "rtl8139": ["-nodefaults", "-device", "rtl8139"],
    "isa": ["-nodefaults", "-device", "isa-debugcon,chardev=c", "-chardev", "null,id=c", "-device", "isa-debug-exit"],
    "bridges": ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=1", "-device",
                "pci-bridge,id=c,bus=b,chassis_nr=2,shpc=off", "-device", "pci-testdev,bus=c"],
    "no vmport": ["-nodefaults", "-machine", "vmport=off"],
    "no-acpi": ["-nodefaults", "-no-acpi"],
    "fw_cfg": ["-nodefaults", "-fw_cfg", "name=opt/x,string=y"],
    "four processors": ["-nodefaults", "-smp", "4,sockets=2"],
    "virtio": ["-nodefaults", "-device", "virtio-blk-pci,drive=d,num-queues=3", "-drive", "if=none,id=d,driver=null-co", "-device",
               "virtio-rng-pci,addr=9", "-device", "virtio-net-pci,addr=10,mac=52:54:00:01:02:03",
               "-device", "virtio-blk-pci,drive=e,disable-modern=on,vectors=0", "-drive",
               "if=none,id=e,driver=null-co", "-device", "virtio-rng-pci-non-transitional,packed=on,migrate-extra=off"],
    "virtio input": ["-nodefaults", "-device", "virtio-keyboard-pci", "-device", "virtio-mouse-pci", "-device",
                     "virtio-tablet-pci,vectors=0"],
    "virtio balloon": ["-nodefaults", "-device", "virtio-balloon-pci,free-page-reporting=on"],
    "virtio balloon hints": ["-nodefaults", "-device", "virtio-balloon-pci,free-page-reporting=off,free-page-hint=on,iothread=i,"
                             "disable-legacy=on", "-object", "iothread,id=i"],
    "virtio ports": ["-nodefaults", "-device", "virtio-serial-pci,max_ports=40", "-device", "virtserialport,nr=33,name=x", "-device",
                     "virtconsole", "-chardev", "ringbuf,id=c", "-device", "virtserialport,chardev=c,id=p", "-device",
                     "virtio-serial-pci-non-transitional,emergency-write=off,max_ports=1"],
    "virtio-scsi": ["-nodefaults", "-device", "virtio-scsi-pci,id=s,num_queues=2", "-drive", "if=none,id=d,driver=null-co", "-device",
                    "scsi-hd,drive=d,bus=s.0,scsi-id=2,lun=7", "-device", "scsi-cd,bus=s.0", "-device", "virtio-scsi-pci,packed=on"],
    "virtio bridge": ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "virtio-rng-pci,bus=b,packed=on"],
    "slots": ["-nodefaults", "-m", "128M,slots=3,maxmem=256M"],
    "dimm": ["-nodefaults", "-m", "128M,slots=2,maxmem=256M", "-object", "memory-backend-ram,id=m,size=32M", "-device",
             "pc-dimm,memdev=m"],
    "ports": ["-nodefaults", "-serial", "null", "-serial", "null", "-parallel", "null", "-device", "pvpanic", "-device",
              "ib700"],
}
# Sections that one side has and the other not, by regular expression of the name: the reason.
KVM = {                     # compared where /dev/kvm opens
    "kvm": ["-nodefaults"],
    "kvm smp": ["-nodefaults", "-smp", "2"],
    "kvm split": ["-nodefaults", "-machine", "kernel-irqchip=split"],
    "kvm off": ["-nodefaults", "-machine", "kernel-irqchip=off"],
}
KNOWN_MISSING = {
    r"ram": "RAM pages belong to migration, which is not there yet",
    r"kvm-tpr-opt": "TPR patching for 32-bit Windows of before 2003 is not there",
    r"slirp": "user networking is not there yet",
    r".*/vga": "display adapters are not there yet",
    r"globalstate": "migration's run state is not there yet",
}
KNOWN_EXTRA = {}
# "section.field path" by regular expression: the reason.
KNOWN_FIELDS = {}


def flatten(node, prefix, out):
    """Every field as (path, type, size, array length)."""
    for field in node.get("fields", []):
        name = prefix + "." + field["name"]
        if "index" in field:
            name += f"#{field['index']}"
        out.append((name, field["type"], field["size"], field.get("array_len")))
        if "struct" in field:
            out.append((name + " is", field["struct"].get("vmsd_name"), field["struct"].get("version"), None))
            flatten(field["struct"], name, out)
    for sub in node.get("subsections", []):
        name = prefix + "/" + sub["vmsd_name"]
        out.append((name, "subsection", sub["version"], None))
        flatten(sub, name, out)


def sections(description):
    found = {}
    for device in description["devices"]:
        fields = [("version", device.get("vmsd_name"), device.get("version"), None)]
        flatten(device, "", fields)
        found[f"{device['name']} {device['instance_id']}"] = fields
    return found


def qemu_description(args, work, accel):
    with Machine(QEMU, args, work, qemu=True, accel=accel) as m:
        return description(m.save())


def kiln_description(kiln, args, accel):
    result = subprocess.run([kiln, "-accel", accel or "qtest", "-display", "none", "-net", "none", "-m", "64", "--print-state", *args],
                            capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout)


def known(table, text):
    return any(re.fullmatch(pattern, text) for pattern in table)


def compare(theirs, ours):
    bad = []
    for name in theirs:
        plain = name.rsplit(" ", 1)[0]
        if name not in ours and not known(KNOWN_MISSING, plain):
            bad.append(f"section '{name}' is missing")
    for name in ours:
        plain = name.rsplit(" ", 1)[0]
        if name not in theirs and not known(KNOWN_EXTRA, plain):
            bad.append(f"section '{name}' is not QEMU's")
        if name not in theirs:
            continue
        expected, got = dict_of(theirs[name]), dict_of(ours[name])
        for path in expected:
            if known(KNOWN_FIELDS, plain + path):
                continue
            if path not in got:
                bad.append(f"{name}: field '{path}' {expected[path]} is missing")
            elif got[path] != expected[path]:
                bad.append(f"{name}: field '{path}' is {got[path]}, QEMU's is {expected[path]}")
        for path in got:
            if path not in expected and not known(KNOWN_FIELDS, plain + path):
                bad.append(f"{name}: field '{path}' {got[path]} is not QEMU's")
        same = [f[0] for f in theirs[name] if f[0] in got], [f[0] for f in ours[name] if f[0] in expected]
        if same[0] != same[1]:
            bad.append(f"{name}: the fields stand in another order")
    both = [name for name in theirs if name in ours], [name for name in ours if name in theirs]
    if both[0] != both[1]:
        bad.append(f"the sections stand in another order: {both[1]} here, {both[0]} there")
    return bad


def dict_of(fields):
    return {f"{path}": value for path, *value in fields}


def main():
    kiln = sys.argv[1]
    configs = {**CONFIGS, **KVM}
    names = sys.argv[2:] or list(configs)
    print(f"1..{len(names)}")
    if not shutil.which(QEMU):
        for number, name in enumerate(names, 1):
            print(f"ok {number} state/{name} # SKIP {QEMU} is not installed")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for image in ("disk", "disk2", "disk3", "floppy"):
            with open(os.path.join(work, image), "wb") as f:
                f.truncate(1474560)
        for number, name in enumerate(names, 1):
            accel = "kvm" if name in KVM else None
            if accel and not os.access("/dev/kvm", os.R_OK | os.W_OK):
                print(f"ok {number} state/{name} # SKIP /dev/kvm does not open")
                continue
            args = [re.sub("@", work + "/", a) for a in configs[name]]
            try:
                theirs = sections(qemu_description(args, work, accel))
                bad = compare(theirs, sections(kiln_description(kiln, args, accel)))
            except (Dead, RuntimeError) as error:
                bad = str(error).splitlines()
            print("".join(f"# {line}\n" for line in bad), end="")
            print(f"{'not ok' if bad else 'ok'} {number} state/{name}", flush=True)
            failed += bool(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
