#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-block-graph.py KILN [SEED [COMMANDS]]: managers' commands that change the graph of block nodes, at random, good and bad, beside
exports, jobs, media and requests: the program answers each, ends well, and no image is damaged. With a seed: that one only."""
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "cli"), os.path.join(HERE, "..", "qmp")]
from harness import Failed, Suite, check, same  # noqa: E402
from qmpclient import Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
MIB = 1 << 20
DRIVES = "acr"
NEW, OVERLAY, MAKE = "blockdev-snapshot-sync", "blockdev-snapshot", "blockdev-snapshot-internal-sync"
DISKS = ("-object", "throttle-group,id=t,x-iops-total=100000", "-device", "ide-cd,id=cd,bus=ide.1", "-object", "iothread,id=io0", "-object", "iothread,id=io1",
         "-drive", "if=none,id=a,file=a.qcow2,format=qcow2", "-device", "virtio-blk-pci,drive=a,iothread=io0",
         "-blockdev", json.dumps({"driver": "qcow2", "node-name": "b", "file": {"driver": "file", "node-name": "bf", "filename": "b.qcow2"}}),
         "-device", "virtio-blk-pci,drive=b", "-drive", "if=none,id=c,file=c.qcow2,format=qcow2,snapshot=on", "-device", "ide-hd,drive=c",
         "-drive", "if=none,id=r,file=r.raw,format=raw,copy-on-read=on", "-device", "virtio-scsi-pci,iothread=io1",
         "-device", "scsi-hd,drive=r,id=scsi")


def create(name, form="qcow2", size="8M"):
    subprocess.run(["qemu-img", "create", "-q", "-f", form, name, size], check=True)


class Chooser:
    """What comes next; files that it names end in .qcow2 when they are images in the end."""

    def __init__(self, seed, client):
        self.random, self.client, self.count = random.Random(seed), client, 0
        self.pick = self.random.choice

    def look(self):
        nodes = self.client.do("query-named-block-nodes", flat=True)
        self.nodes = [n["node-name"] for n in nodes]
        self.disks = [n["node-name"] for n in nodes if n["drv"] != "file"]  # whose bytes may be written

    def overlay(self, where):
        name = "n%d_%d" % (self.count, self.random.randrange(1 << 20))
        return {**where, "snapshot-file": name + ".qcow2", "snapshot-node-name": name}

    def action(self):
        return self.pick([(NEW, self.overlay({"device": self.pick(DRIVES)})), (MAKE, {"device": self.pick(DRIVES), "name": self.pick("xyz")}),
                          (OVERLAY, {"node": self.pick(self.nodes), "overlay": self.pick(self.nodes)}),
                          ("block-dirty-bitmap-add", {"node": self.pick(self.nodes), "name": "m%d" % self.count})])

    def transaction(self):
        actions = [self.action() for _ in range(self.random.randrange(1, 4))] + self.pick([[], [("abort", {})]])
        return "transaction", {"actions": [{"type": kind, "data": data} for kind, data in actions]}

    def node(self):
        name = "o%d" % self.count
        create(name + ".qcow2", size=self.pick(["4M", "8M", "16M"]))
        return "blockdev-add", {"driver": "qcow2", "node-name": name, "backing": None, "file": {"driver": "file", "filename": name + ".qcow2"}}

    def above(self, below):
        """A filter or raw over a node; often of the name of one that is there."""
        driver = self.pick(["raw", "copy-on-read", "throttle", "preallocate", "blkdebug"])
        options = {"driver": driver, "node-name": self.pick(["f%d" % self.count, *["f%d" % n for n in range(1, 6)]]),
                   "image" if driver == "blkdebug" else "file": below, "read-only": self.pick([True, False]),
                   **({"throttle-group": "t"} if driver == "throttle" else {})}
        return options

    def job(self):
        options = self.pick([{"driver": "qcow2", "file": "none"}, {"driver": "file", "filename": "j%d" % self.count}])
        return "blockdev-create", {"job-id": "j%d" % self.count, "options": {**options, "size": MIB}}

    def request(self):
        words = self.pick(["write -P %d %dk %dk" % (self.count % 255, self.random.randrange(8000), self.random.randrange(1, 300)),
                           "aio_write -P %d %dk 200k" % (self.count % 255, self.random.randrange(3800)), "aio_read 0 1M", "aio_flush",
                           "read 0 64k", "discard 1M 1M", "write -z 2M 300k", "flush"])
        return "human-monitor-command", {"command-line": 'qemu-io %s "%s"' % (self.pick(list(DRIVES) + self.disks), words)}

    def next(self):
        self.count += 1
        self.look()
        any_node, drive = self.pick(self.nodes), self.pick(DRIVES)
        kinds = [lambda: (NEW, self.overlay({"device": drive})), lambda: (NEW, self.overlay({"node-name": any_node})), self.node,
                 lambda: (OVERLAY, {"node": any_node, "overlay": self.pick(self.nodes)}), self.transaction, self.job,
                 lambda: (MAKE, {"device": any_node, "name": self.pick("xyz")}),
                 lambda: ("blockdev-snapshot-delete-internal-sync", {"device": drive, "name": self.pick("xyz")}),
                 lambda: ("blockdev-del", {"node-name": any_node}), lambda: ("job-dismiss", {"id": "j%d" % self.random.randrange(1, self.count + 1)}),
                 lambda: ("human-monitor-command", {"command-line": "commit " + self.pick(["a", "c", "r", "all"])}),
                 lambda: ("block_resize", {"node-name": any_node, "size": self.pick([4, 8, 16]) * MIB}),
                 lambda: ("blockdev-add", self.above(any_node)), lambda: ("blockdev-reopen", {"options": [self.above(any_node)]}),
                 lambda: ("block_set_io_throttle", {**dict.fromkeys(["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"], 0), "device": drive,
                                                    "bps": self.pick([0, 4 * MIB, 64 * MIB]), "group": self.pick("gh")}),
                 lambda: (self.pick(["blockdev-open-tray", "blockdev-close-tray", "blockdev-remove-medium", "eject"]), {"id": "cd"}),
                 lambda: ("blockdev-insert-medium", {"id": "cd", "node-name": any_node}),
                 lambda: ("device_add", {"driver": "scsi-hd", "drive": any_node, "id": "d%d" % self.count, "share-rw": self.pick([True, False])}),
                 lambda: ("device_del", {"id": "d%d" % self.random.randrange(1, self.count + 1)}),
                 lambda: ("change-backing-file", {"device": drive, "image-node-name": any_node, "backing-file": self.pick(["./a.qcow2", "b.qcow2"])}),
                 lambda: ("blockdev-reopen", {"options": [{"driver": "file", "node-name": "bf", "filename": "b.qcow2",
                                                           "cache": {"direct": self.pick([True, False])}}]}),
                 lambda: (self.pick(["system_reset", "stop", "cont", "query-block", "query-blockstats", "nbd-server-stop"]), {}),
                 lambda: ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "nbd"}}}),
                 lambda: ("block-export-add", {"type": "nbd", "id": "e%d" % self.count, "node-name": self.pick(self.disks),
                                               "writable": self.pick([True, False])}),
                 lambda: ("device_del", {"id": "scsi"})]
        return self.pick(kinds + [self.request] * 6)()


def campaign(seed, commands):
    for name in "abc":
        create(name + ".qcow2")
    create("r.raw", "raw")
    with Machine(BINARY, "-S", *DISKS, stdout=subprocess.DEVNULL) as m:  # where aio_read and its like say that they have ended
        c = m.connect()
        chooser, done = Chooser(seed, c), 0
        for _ in range(commands):
            name, arguments = chooser.next()
            reply = c.ask({"execute": name, "arguments": arguments})
            if reply is None:
                raise Failed("seed %d, command %d, %s %r: %r" % (seed, chooser.count, name, arguments, m.process.stderr.read()[-4000:]))
            done += "return" in reply
        check(done > commands // 4, "%d of %d commands did something" % (done, commands))
        c.do("quit")
        same(m.process.wait(120), 0)
    for name in os.listdir("."):
        if name.endswith(".qcow2"):
            said = subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            check(said.returncode in (0, 3), "seed %d: %s: %s" % (seed, name, said.stdout))


for number in [int(sys.argv[2])] if len(sys.argv) > 2 else range(3):
    suite.test("seed %d" % number)(lambda n=number: campaign(n, int(sys.argv[3]) if len(sys.argv) > 3 else 300))
sys.exit(suite.run())
