#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs: blockdev-create, its states and events, the commands that jobs take, what is made. Beside QEMU 7.2 where it is installed.

    test-jobs.py KILN-SYSTEM"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from oracle import QEMU, version_is_7_2  # noqa: E402
from qmpclient import Machine, run_job  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
GOOD = ["created", "running", "waiting", "pending", "concluded"]
BAD = ["created", "running", "aborting", "concluded"]
MIB = 1 << 20


# (options, the error's beginning or None); "f" is a node over an empty file, "used" one that a disk writes to.
FILE = {"driver": "file", "size": MIB}
QCOW2 = {"driver": "qcow2", "file": "f", "size": MIB}
CASES = [
    ({**FILE, "filename": "a.raw"}, None), ({**FILE, "filename": "b.raw", "preallocation": "full"}, None),
    ({**FILE, "filename": "c.raw", "preallocation": "falloc", "nocow": False, "extent-size-hint": 0}, None),
    ({**FILE, "filename": "/nowhere/a"}, "Could not create '/nowhere/a'"),
    ({**FILE, "filename": "used.raw"}, 'Failed to get "write" lock'),
    (QCOW2, None),
    ({**QCOW2, "version": "v2", "backing-file": "base", "backing-fmt": "raw"}, None),
    ({**QCOW2, "cluster-size": 4096, "refcount-bits": 1, "lazy-refcounts": True, "compression-type": "zstd", "preallocation": "off"}, None),
    ({**QCOW2, "extended-l2": True, "size": 1 << 40}, None),
    ({**QCOW2, "file": {"driver": "file", "filename": "e.raw"}}, None),
    ({**QCOW2, "file": {"driver": "file", "filename": "/nowhere/a"}}, "Could not open '/nowhere/a'"),
    ({**QCOW2, "file": "none"}, "Cannot find device='none' nor node-name='none'"),
    ({**QCOW2, "file": "used"}, "Permission conflict on node 'used'"),
    ({**QCOW2, "size": 123}, "Image size must be a multiple of 512 bytes"),
    ({**QCOW2, "cluster-size": 77}, "Cluster size must be a power of two between 512 and 2048k"),
    ({**QCOW2, "refcount-bits": 3}, "Refcount width must be a power of two and may not exceed 64 bits"),
    ({**QCOW2, "refcount-bits": 0}, "Refcount width must be a power of two and may not exceed 64 bits"),
    ({**QCOW2, "version": "v2", "refcount-bits": 8}, "Different refcount widths than 16 bits require compatibility level 1.1"),
    ({**QCOW2, "backing-fmt": "raw"}, "Backing format cannot be used without backing file"),
]
# Three requests a second: a job on it takes a few.
SLOW = ("-object", "throttle-group,id=g,x-iops-total=3", "-blockdev", "driver=throttle,node-name=slow,file=f,throttle-group=g")
COMMANDS = ("job-pause", "job-resume", "job-cancel", "job-complete", "job-finalize", "job-dismiss")


def tell(binary, accel):
    """[(states, error)] of CASES, and what is said of images that were made."""
    for name in ("f.raw", "used.raw", "e.raw", "base"):
        with open(name, "wb") as f:
            f.truncate(MIB if name in ("used.raw", "base") else 0)
    if os.path.exists("qmp"):
        os.unlink("qmp")
    told, facts = [], []
    with Machine(binary, "-S", "-blockdev", "driver=file,node-name=f,filename=f.raw", "-blockdev", "driver=file,node-name=used,filename=used.raw",
                 "-device", "virtio-blk-pci,drive=used", accel=accel) as m:
        c = m.connect()
        for n, (options, _) in enumerate(CASES):
            told.append(run_job(c, "j%d" % n, options))
            if told[-1][1] is None and options["driver"] == "qcow2":
                path = "f.raw" if options["file"] == "f" else "e.raw"
                said = json.loads(subprocess.run(["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", path],
                                                 stdout=subprocess.PIPE, check=True).stdout)
                facts.append([said.get(key) for key in ("virtual-size", "cluster-size", "backing-filename", "backing-filename-format")]
                             + [said["format-specific"]])
            elif told[-1][1] is None:
                facts.append((os.stat(options["filename"]).st_size, os.stat(options["filename"]).st_blocks >= 2048))
        same(c.do("query-jobs"), [])
        same([b["qdev"].split("/")[-1] for b in c.do("query-block")], ["virtio-backend"])
    for path in ("f.raw", "e.raw"):
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", path], check=True)
    return told, facts


@test("files and images are made as QEMU makes them, and fail as there")
def _():
    told, facts = tell(BINARY, "qtest")
    for (options, wanted), (states, error) in zip(CASES, told):
        same(states, BAD if wanted else GOOD)
        check(error is None if wanted is None else error and error.startswith(wanted), "%r: %r" % (options, error))
    if version_is_7_2():
        theirs, their_facts = tell(QEMU, "tcg")
        for (options, _), mine, other in zip(CASES, told, theirs):
            same((options, mine[0]), (options, other[0]))
        same(facts, their_facts)


@test("commands that a job's state does not allow, and cancelling")
def _():
    with open("f.raw", "wb"):
        pass
    with Machine(BINARY, "-S", "-blockdev", "driver=file,node-name=f,filename=f.raw", *SLOW) as m:
        c = m.connect()
        c.do("blockdev-create", **{"job-id": "j", "options": {**QCOW2, "file": "slow"}})
        refused = lambda name: c.command(name, id="j")["error"]["desc"]
        for name in ("complete", "finalize", "dismiss"):
            same(refused("job-" + name), "Job 'j' in state 'running' cannot accept command verb '%s'" % name)
        check("already in use" in c.command("blockdev-create", **{"job-id": "j", "options": {**FILE, "filename": "x"}})["error"]["desc"],
              "one of the same name")
        check("not paused" in refused("job-resume"), "one that does not rest")
        c.do("job-pause", id="j")
        check("already paused" in refused("job-pause"), "twice")
        c.do("job-resume", id="j")
        check("in use" in c.command("blockdev-del", **{"node-name": "slow"})["error"]["desc"], "its node")
        c.do("job-cancel", id="j")
        same(c.do("query-jobs")[0]["status"], "running")
        states = []
        while not states or states[-1] != "concluded":
            states.append(c.wait("JOB_STATUS_CHANGE")["status"])
        same(states, BAD)
        check("cancel" in c.do("query-jobs")[0]["error"].lower(), c.do("query-jobs"))
        for name in COMMANDS[:-1]:
            same(c.command(name, id="j")["error"]["desc"], "Job 'j' in state 'concluded' cannot accept command verb '%s'" % name[4:])
        c.do("job-dismiss", id="j")
        for name in COMMANDS:
            same(c.command(name, id="j")["error"]["desc"], "Job not found")


@test("the program ends while jobs run, or are over")
def _():
    for turn in range(20):
        for name in ("f.raw", "x.luks"):
            with open(name, "wb"):
                pass
        with Machine(BINARY, "-S", "-object", "secret,id=s,data=pass", "-blockdev", "driver=file,node-name=f,filename=f.raw", *(SLOW if turn == 0 else ())) as m:
            c = m.connect()
            c.do("blockdev-create", **{"job-id": "j0", "options": {**QCOW2, "file": "f" if turn else "slow", "size": 1 << 36,
                                                                  "preallocation": "metadata" if turn % 2 else "off"}})
            c.do("blockdev-create", **{"job-id": "j1", "options": {**FILE, "filename": "x.raw", "preallocation": "full"}})
            c.do("blockdev-create", **{"job-id": "j2", "options": {"driver": "luks", "file": {"driver": "file", "filename": "x.luks"}, "size": MIB,
                                                                  "key-secret": "s", "iter-time": 10}})
            c.do("quit")
            same(m.process.wait(60), 0)
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", "f.raw"], check=True)
        subprocess.run(["qemu-img", "info", "-f", "luks", "x.luks"], stdout=subprocess.DEVNULL, check=True)


@test("no room: the job fails, the node stays")
def _():
    with open("f.raw", "wb"):
        pass
    with Machine(BINARY, "-S", "-blockdev", "driver=file,node-name=f,filename=f.raw", "-blockdev",
                 json.dumps({"driver": "blkdebug", "node-name": "b", "image": "f",
                             "inject-error": [{"event": "none", "iotype": "write", "errno": 28, "once": True}]})) as m:
        c = m.connect()
        states, error = run_job(c, "j", {"driver": "qcow2", "file": "b", "size": MIB})
        check(states == BAD and "No space left" in error, (states, error))
        same(run_job(c, "j", {"driver": "qcow2", "file": "b", "size": MIB}), (GOOD, None))


sys.exit(suite.run())
