#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random QMP commands for Kiln and Debian's QEMU, which begin as equal machines and stay so while both agree. Prints where one
refuses what the other does, by another class of error, or dies, and where the members of an answer differ.

    tests/fuzz/beside-qemu-qmp.py KILN-SYSTEM [SEED [COUNT]]

Not part of scripts/check: a difference is for a person to judge. After one that leaves the machines unequal both begin anew.
"""
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

KILN = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10000)
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 800
LIMIT = 60
NODES = ["n0", "n1", "n2", "absent"]
DEVICES = ["v0", "v1", "s0", "cd0", "fl0", "absent"]
MACHINE = ["-nodefaults", "-S", "-display", "none", "-device", "virtio-scsi-pci,id=s0", "-device", "ide-cd,id=cd0", "-device", "floppy,id=fl0"]
# Answers whose members are compared; in the others hosts and programs show.
ANSWERS = ["query-block", "query-chardev", "query-iothreads", "query-memdev", "query-rx-filter", "query-block-exports", "query-named-block-nodes"]

rnd = random.Random(SEED)
one = rnd.choice


def some(members, *counts):
    return {name: value() for name, value in rnd.sample(list(members.items()), one(counts))}


def node(depth=0):
    driver = one(["file", "raw", "qcow2", "null-co", "null-aio", "throttle", "copy-on-read", "blkdebug", "preallocate", "nowhere", "luks", "nbd"])
    o = {"driver": driver, **({"node-name": one(NODES)} if rnd.random() < .8 else {})}
    if driver == "file":
        o["filename"] = one(["a.raw", "b.raw", "q.qcow2", "o.qcow2", "absent", ""])
    if driver in ("raw", "qcow2", "copy-on-read", "preallocate", "throttle", "luks"):
        o["file"] = one([one(NODES), {"driver": "file", "filename": one(["a.raw", "q.qcow2"])}, node(depth + 1) if depth < 2 else "n0"])
    if driver == "throttle":
        o["throttle-group"] = one(["g", "absent"])
    if driver == "blkdebug":
        o["image"] = one(NODES)
    if driver.startswith("null"):
        o["size"] = one([0, 1 << 20, "x"])
    if driver == "nbd":
        o["server"] = {"type": "unix", "path": "/absent"}
    members = {"read-only": lambda: one([True, False, "on"]), "cache": lambda: {"direct": one([True, False])},
               "discard": lambda: one(["unmap", "ignore", "x"]), "detect-zeroes": lambda: one(["on", "unmap"]), "auto-read-only": lambda: True,
               "locking": lambda: one(["off", "auto"]), "nothing": lambda: 1, "offset": lambda: one([0, 512, 100]),
               "size": lambda: one([512, 4096, 100]), "backing": lambda: one([None, "n0", "absent"]), "lazy-refcounts": lambda: True,
               "l2-cache-size": lambda: one([65536, -1]), "force-share": lambda: True, "aio": lambda: one(["threads", "native", "x"])}
    return {**o, **some(members, 0, 0, 1, 2)}


def device():
    members = {"drive": lambda: one(NODES), "netdev": lambda: one(["net0", "net1", "absent"]), "bus": lambda: one(["pci.0", "absent", "s0.0"]),
               "addr": lambda: one(["5", "0x6", "1f.9"]), "num-queues": lambda: one([1, 2, 0]), "serial": lambda: "x",
               "chardev": lambda: one(["c0", "c1"]), "iothread": lambda: one(["io0", "absent"]), "nothing": lambda: 1,
               "bootindex": lambda: one([1, 2, -1]), "scsi-id": lambda: one([0, 1]), "mac": lambda: "52:54:00:00:00:01", "memdev": lambda: "m0"}
    o = {"driver": one(["virtio-blk-pci", "virtio-scsi-pci", "scsi-hd", "scsi-cd", "virtio-net-pci", "e1000", "virtio-rng-pci", "virtserialport",
                        "virtio-serial-pci", "nowhere", "isa-serial", "ide-hd", "virtio-balloon-pci", "pci-bridge", "virtio-keyboard-pci",
                        "pc-dimm", "floppy"])}
    return {**o, **({"id": one(DEVICES)} if rnd.random() < .8 else {}), **some(members, 0, 1, 1, 2, 2)}


def bitmap():
    return {"node": one(NODES), "name": one(["b0", "b1"])}


def backend():
    return one([{"type": "null", "data": {}}, {"type": "ringbuf", "data": {"size": one([4096, 1000])}}, {"type": "nowhere", "data": {}},
                {"type": "file", "data": {"out": one(["cf", "/absent/x"])}}, {"type": "null"}])


COMMANDS = {
    "blockdev-add": (6, node), "blockdev-del": (4, lambda: {"node-name": one(NODES)}), "device_add": (6, device),
    "device_del": (4, lambda: {"id": one(DEVICES)}), "netdev_del": (2, lambda: {"id": one(["net0", "net1", "absent"])}),
    "netdev_add": (3, lambda: {"type": one(["user", "hubport", "socket", "nowhere"]), "id": one(["net0", "net1"]),
                               **one([{}, {"hubid": 0}, {"nothing": 1}, {"restrict": True}])}),
    "object-add": (3, lambda: {"qom-type": one(["iothread", "throttle-group", "memory-backend-ram", "rng-builtin", "secret", "nowhere"]),
                               "id": one(["io0", "g", "m0", "r0"]), **one([{}, {"size": 1 << 20}, {"data": "x"}, {"nothing": 1},
                                                                          {"limits": {"bps-total": 1000}}, {"poll-max-ns": one([1, -1, "x"])}])}),
    "object-del": (2, lambda: {"id": one(["io0", "g", "m0", "r0", "absent"])}),
    "chardev-add": (3, lambda: {"id": one(["c0", "c1"]), "backend": backend()}), "chardev-remove": (2, lambda: {"id": one(["c0", "absent"])}),
    "chardev-change": (1, lambda: {"id": one(["c0", "c1", "absent"]), "backend": {"type": "null", "data": {}}}),
    "ringbuf-write": (1, lambda: {"device": one(["c0", "c1"]), "data": "abc"}),
    "ringbuf-read": (1, lambda: {"device": one(["c0", "c1"]), "size": one([10, -1, 0])}),
    "set_link": (1, lambda: {"name": one(["net0", "absent"]), "up": one([True, False])}),
    "block_resize": (1, lambda: {"node-name": one(NODES), "size": one([0, 4096, 2 << 20, -1, 100])}),
    "block_set_io_throttle": (1, lambda: {"id": one(DEVICES), "bps": one([0, 1000, -1]),
                                          **dict.fromkeys(["bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"], 0)}),
    "blockdev-open-tray": (1, lambda: {"id": one(["cd0", "fl0", "v0", "absent"])}), "blockdev-close-tray": (1, lambda: {"id": one(["cd0", "fl0"])}),
    "blockdev-remove-medium": (1, lambda: {"id": one(["cd0", "fl0", "v0"])}), "eject": (1, lambda: {"id": one(["cd0", "fl0", "v0", "absent"])}),
    "blockdev-insert-medium": (1, lambda: {"id": one(["cd0", "fl0", "absent"]), "node-name": one(NODES)}),
    "blockdev-change-medium": (1, lambda: {"id": one(["cd0", "fl0", "absent"]), "filename": one(["a.raw", "absent"]),
                                           **one([{}, {"format": "raw"}, {"read-only-mode": one(["retain", "read-write", "x"])}])}),
    "blockdev-reopen": (1, lambda: {"options": [node()]}),
    "block-dirty-bitmap-add": (1, lambda: {**bitmap(), **one([{}, {"granularity": one([512, 100])}, {"persistent": True}, {"disabled": True}])}),
    "block-dirty-bitmap-remove": (1, bitmap), "block-dirty-bitmap-clear": (1, bitmap), "block-dirty-bitmap-enable": (1, bitmap),
    "block-dirty-bitmap-merge": (1, lambda: {"node": one(NODES), "target": "b0", "bitmaps": [one(["b1", "b0"])]}),
    "transaction": (1, lambda: {"actions": [{"type": one(["block-dirty-bitmap-add", "block-dirty-bitmap-clear"]), "data": bitmap()}]}),
    "qom-get": (1, lambda: {"path": one(["/machine", "/objects/io0", "/machine/peripheral/v0", "/absent", "v0"]),
                            "property": one(["type", "nothing", "poll-max-ns", "serial", "drive"])}),
    "qom-set": (1, lambda: {"path": one(["/objects/io0", "/machine/peripheral/v0"]), "property": one(["poll-max-ns", "bootindex", "type"]),
                            "value": one([1, "x", -1, None])}),
    "qom-list": (1, lambda: {"path": one(["/", "/machine", "/objects", "/absent", "/machine/peripheral"])}),
    "nbd-server-start": (1, lambda: {"addr": one([{"type": "unix", "data": {"path": "nbd"}}, {"type": "unix", "data": {"path": "/absent/x"}}])}),
    "nbd-server-add": (1, lambda: {"device": one(NODES), "writable": one([True, False])}), "nbd-server-stop": (1, dict),
    "nbd-server-remove": (1, lambda: {"name": one(NODES)}), "block-export-del": (1, lambda: {"id": one(["e0", "e1"])}),
    "block-export-add": (1, lambda: {"type": one(["nbd", "nowhere"]), "id": one(["e0", "e1"]), "node-name": one(NODES),
                                     **one([{}, {"writable": True}, {"name": "x"}, {"bitmaps": ["b0"]}])}),
    "balloon": (1, lambda: {"value": one([1 << 26, 1, 0])}), "query-balloon": (1, dict),
    "block-set-write-threshold": (1, lambda: {"node-name": one(NODES), "write-threshold": one([0, 100])}),
    "send-key": (1, lambda: {"keys": [{"type": one(["qcode", "x"]), "data": one(["a", "nothing"])}]}),
    "set-action": (1, lambda: {"reboot": one(["reset", "x"])}), "stop": (1, dict), "cont": (1, dict), "system_reset": (1, dict),
    "query-status": (1, dict), "query-blockstats": (1, dict), "nothing": (1, dict), **{name: (1, dict) for name in ANSWERS},
}


class Vm:
    """Has a directory of its own, where images are that are equal in both."""

    def __init__(self, program, accel, home):
        os.makedirs(home)
        for name in ("a.raw", "b.raw"):
            with open(f"{home}/{name}", "wb") as f:
                f.truncate(1 << 20)
        for words in (["q.qcow2", "4M"], ["-b", "a.raw", "-F", "raw", "o.qcow2"]):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *words], cwd=home, check=True)
        self.home = home
        self.process = subprocess.Popen([program, *MACHINE, "-accel", accel, "-qmp", "unix:qmp,server=on,wait=off"], cwd=home,
                                        stderr=subprocess.DEVNULL)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        while True:
            try:
                self.socket.connect(home + "/qmp")
                break
            except OSError:
                if self.process.poll() is not None:
                    raise
                time.sleep(.05)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.do("qmp_capabilities", {})

    def do(self, name, arguments):
        try:
            self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            self.file.flush()
            while True:
                answer = json.loads(self.file.readline() or '{"dead": true}')
                if "event" not in answer:
                    return answer
        except OSError:
            return {"dead": True}

    def end(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()
        shutil.rmtree(self.home)


def kind(answer):
    return "answers" if "return" in answer else answer["error"]["class"] if "error" in answer else "dies"


def members(value):
    """The names in a value and their types; lists in no order."""
    if isinstance(value, dict):
        return {name: members(v) for name, v in sorted(value.items())}
    return sorted(map(json.dumps, map(members, value))) if isinstance(value, list) else type(value).__name__


def main():
    home = tempfile.mkdtemp(prefix="kiln-beside-")
    start = lambda: (Vm(KILN, "qtest", home + "/kiln"), Vm("qemu-system-x86_64", "tcg", home + "/qemu"))
    kiln, qemu = start()
    print(f"seed {SEED}, {COUNT} commands")
    for number in range(COUNT):
        name = rnd.choices(list(COMMANDS), [weight for weight, _ in COMMANDS.values()])[0]
        arguments = COMMANDS[name][1]()
        ours, theirs = kiln.do(name, arguments), qemu.do(name, arguments)
        if kind(ours) != kind(theirs):
            print(f"{number}: {name} {json.dumps(arguments)}\n  kiln {json.dumps(ours)[:400]}\n  qemu {json.dumps(theirs)[:400]}", flush=True)
            if "answers" in (kind(ours), kind(theirs)) or "dies" in (kind(ours), kind(theirs)):
                kiln.end(), qemu.end()
                kiln, qemu = start()
        elif "return" in ours and name in ANSWERS and members(ours["return"]) != members(theirs["return"]):
            print(f"{number}: members of {name}\n  kiln {members(ours['return'])}\n  qemu {members(theirs['return'])}", flush=True)
    kiln.end(), qemu.end()
    os.rmdir(home)


main()
