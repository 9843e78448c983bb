#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""compare-state.py KILN: the machine's state description beside that of QEMU 7.2, field by field.

QEMU writes the description at the end of its migration stream; Kiln prints its own with --print-state. Each
difference is a failure unless KNOWN gives its reason. Skips where QEMU is not installed."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

QEMU = "qemu-system-x86_64"
CONFIGS = {
    "default": [],
    "nodefaults": ["-nodefaults"],
    "smp": ["-nodefaults", "-smp", "2"],
    "disks": ["-hda", "@disk", "-hdb", "@disk2", "-cdrom", "@disk3"],
    "no-hpet": ["-nodefaults", "-no-hpet"],
    "ports": ["-nodefaults", "-serial", "null", "-serial", "null", "-parallel", "null", "-device", "pvpanic"],
}
# Sections that one side has and the other not, by regular expression of the name: the reason.
KNOWN_MISSING = {
    r"ram": "RAM pages belong to migration, which is not there yet",
    r"kvm-tpr-opt": "TPR patching for 32-bit Windows of before 2003 is not there",
    r"vmmouse|vmport.*": "the VMware mouse port is not there",
    r"slirp": "user networking is not there yet",
    r".*/vga|.*/e1000": "display and network cards are not there yet",
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


def qemu_description(args, work):
    sock, stream = os.path.join(work, "qmp"), os.path.join(work, "stream")
    process = subprocess.Popen([QEMU, "-accel", "tcg", "-S", "-display", "none", "-vga", "none", "-net", "none",
                                "-monitor", "none", "-qmp", f"unix:{sock},server=on,wait=off", "-m", "64", *args],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not os.path.exists(sock):
            if process.poll() is not None:
                raise RuntimeError(process.stderr.read().decode())
            time.sleep(0.05)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(sock)
            f = s.makefile("rw")
            f.readline()

            def execute(command, **arguments):
                f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                f.flush()
                while True:
                    reply = json.loads(f.readline())
                    if "event" not in reply:
                        return reply["return"]

            execute("qmp_capabilities")
            execute("migrate", uri=f"exec:cat > {stream}")
            while execute("query-migrate").get("status") != "completed":
                time.sleep(0.05)
    finally:
        process.terminate()
        process.wait()
    with open(stream, "rb") as f:
        data = f.read()
    start = data.rindex(b'{"page_size"')
    return json.JSONDecoder().raw_decode(data[start:].decode(errors="replace"))[0]


def kiln_description(kiln, args):
    result = subprocess.run([kiln, "-accel", "qtest", "-display", "none", "-m", "64", "--print-state", *args],
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
        if not bad and [f[0] for f in theirs[name]] != [f[0] for f in ours[name]]:
            bad.append(f"{name}: the fields stand in another order")
    return bad


def dict_of(fields):
    return {f"{path}": value for path, *value in fields}


def main():
    kiln = sys.argv[1]
    names = sys.argv[2:] or list(CONFIGS)
    print(f"1..{len(names)}")
    if not shutil.which(QEMU):
        for number, name in enumerate(names, 1):
            print(f"ok {number} state/{name} # SKIP {QEMU} is not installed")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for image in ("disk", "disk2", "disk3"):
            with open(os.path.join(work, image), "wb") as f:
                f.truncate(1 << 20)
        for number, name in enumerate(names, 1):
            args = [os.path.join(work, a[1:]) if a.startswith("@") else a for a in CONFIGS[name]]
            try:
                bad = compare(sections(qemu_description(args, work)), sections(kiln_description(kiln, args)))
            except RuntimeError as error:
                bad = str(error).splitlines()
            print("".join(f"# {line}\n" for line in bad), end="")
            print(f"{'not ok' if bad else 'ok'} {number} state/{name}", flush=True)
            failed += bool(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
