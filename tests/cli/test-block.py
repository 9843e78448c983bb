#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Block devices as managers see them: QMP commands and events, HMP, options of -drive, each good and bad."""
import ctypes
import errno
import json
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import QTEST, Failed, Suite, check  # noqa: E402

suite = Suite(sys.argv[1])
MIB = 1 << 20


def image(name, size=4 * MIB):
    with open(name, "wb") as f:
        f.truncate(size)
    return name


class Machine:
    """A program with a QMP monitor on its standard streams."""

    def __init__(self, *args):
        self.process = subprocess.Popen([suite.binary, "-machine", "pc", "-S", *QTEST, "-qmp", "stdio", *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events = []
        self.read()
        self.ok("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(60)

    def read(self):
        line = self.process.stdout.readline()
        check(line, "the program ended")
        return json.loads(line)

    def call(self, command, **args):
        text = json.dumps({"execute": command, "arguments": {k.replace("_", "-"): v for k, v in args.items()}})
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.read()
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def ok(self, command, **args):
        answer = self.call(command, **args)
        check("return" in answer, "%s: %s" % (command, answer))
        return answer["return"]

    def bad(self, part, command, **args):
        answer = self.call(command, **args)
        check("error" in answer and part in answer["error"]["desc"], "%s: %s" % (command, answer))

    def raw(self, command, arguments):
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        while "event" in answer:
            self.events.append(answer)
            answer = self.read()
        return answer

    def hmp(self, line):
        return self.raw("human-monitor-command", {"command-line": line})["return"].replace("\r", "")

    def event(self, name):
        while not any(e["event"] == name for e in self.events):
            self.events.append(self.read())
        found = next(e for e in self.events if e["event"] == name)
        self.events.remove(found)
        return found["data"]


def test_nodes():
    image("a.img")
    with Machine() as m:
        node = {"driver": "raw", "node-name": "n", "file": {"driver": "file", "node-name": "f", "filename": "a.img"}}
        check("return" in m.raw("blockdev-add", node), "blockdev-add")
        names = {n["node-name"]: n for n in m.ok("query-named-block-nodes", flat=True)}
        check(names["n"]["image"]["virtual-size"] == 4 * MIB and names["f"]["drv"] == "file", str(names))
        m.bad("Duplicate", "blockdev-add", **node)
        m.bad("'node-name' must be specified", "blockdev-add", driver="null-co")
        m.bad("does not accept value 'floppy'", "blockdev-add", driver="floppy", node_name="x")
        m.bad("filename", "blockdev-add", driver="file", node_name="x")
        m.bad("Failed to find node", "blockdev-del", node_name="zz")
        m.ok("block_resize", node_name="n", size=8 * MIB)
        check(os.stat("a.img").st_size == 8 * MIB, "the file did not grow")
        m.bad("Cannot find device=", "block_resize", node_name="zz", size=512)
        m.ok("blockdev-del", node_name="n")
        m.bad("Failed to find node", "blockdev-del", node_name="n")
        check(m.ok("query-named-block-nodes") == [], "nodes are left")


def test_reopen():
    image("a.img"), image("b.img")
    with Machine("-blockdev", "file,filename=a.img,node-name=a", "-blockdev", "file,filename=b.img,node-name=b",
                 "-blockdev", "raw,file=a,node-name=r", "-device", "ide-hd,drive=r,id=hd") as m:
        base = {"driver": "raw", "node-name": "r"}
        reopen = lambda *options: m.raw("blockdev-reopen", {"options": list(options)})
        check("return" in reopen(dict(base, file="b", discard="unmap")), "another file")
        check("error" in reopen(dict(base, file="zz")), "a file that is not there")
        answer = reopen(dict(base, **{"file": "b", "read-only": True}))
        check("read-only" in answer["error"]["desc"], str(answer))
        check("Cannot change the option 'offset'" in reopen(dict(base, file="b", offset=512))["error"]["desc"], "offset")
        # All or none: the second one fails, so the first one is as it was.
        answer = reopen({"driver": "file", "node-name": "a", "filename": "a.img", "read-only": True},
                        dict(base, file="b", offset=512))
        check("error" in answer, str(answer))
        nodes = {n["node-name"]: n for n in m.ok("query-named-block-nodes")}
        check(not nodes["a"]["ro"] and not nodes["r"]["ro"], str(nodes))
        check("return" in reopen({"driver": "file", "node-name": "a", "filename": "a.img", "read-only": True}), "a")
        nodes = {n["node-name"]: n for n in m.ok("query-named-block-nodes")}
        check(nodes["a"]["ro"], str(nodes))
        check("error" in reopen(dict(base, file="a")), "a writer over a node that is read-only")
        check("filename" in reopen({"driver": "file", "node-name": "a", "filename": "b.img"})["error"]["desc"], "name")


def test_nested_reopen():
    """Children that were opened with their parent, beside what QEMU 7.2 says of the same."""
    image("a.img")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", "a.img", "-F", "raw", "a.qcow2"], check=True)
    file = {"driver": "file", "filename": "a.qcow2"}
    below = {"driver": "raw", "file": {"driver": "file", "filename": "a.img"}}
    image("b.img")
    with Machine("-blockdev", json.dumps({"driver": "qcow2", "node-name": "d", "file": file, "backing": below}),
                 "-blockdev", "file,filename=b.img,node-name=b", "-blockdev", "raw,file=b,node-name=r") as m:
        def reopen(said, expected, **options):
            """expected: read-only and detect-zeroes of qcow2, its file, raw, its file."""
            answer = m.raw("blockdev-reopen", {"options": [dict({"driver": "qcow2", "node-name": "d"}, **options)]})
            check(said in answer["error"]["desc"] if said else answer.get("return") == {}, "%s: %s" % (options, answer))
            nodes = {n["file"] + " " + n["drv"]: n for n in m.ok("query-named-block-nodes")}
            found = [nodes[name] for name in ("a.qcow2 qcow2", "a.qcow2 file", "a.img raw", "a.img file") if name in nodes]
            text = " ".join(("r" if n["ro"] else "w") + ("z" if n["detect_zeroes"] == "on" else "") for n in found)
            check(text == expected, "%s: %s, expected %s" % (options, text, expected))

        def but(options, **more):
            return dict(options, **{key.replace("_", "-"): value for key, value in more.items()})

        reopen("", "w w r r", file=file, backing=below)
        reopen("", "w wz r r", file=but(file, detect_zeroes="on"), backing=below)
        reopen("", "r r r r", file=file, backing=below, **{"read-only": True})
        reopen("", "r w r r", file=but(file, read_only=False), backing=below, **{"read-only": True})
        for said, options in (("'filename'", but(file, filename="b")), ("'driver'", but(file, driver="host_device")),
                              ("'node-name'", but(file, node_name="x"))):
            reopen(said, "r w r r", file=options, backing=below)
        reopen("", "w w r rz", file=file, backing=but(below, file=but(below["file"], detect_zeroes="on")))
        reopen("'filename'", "w w r rz", file=but(file, read_only=True), backing=but(below, file=file), **{"read-only": True})
        reopen("", "w w w w", file=file, backing=but(below, read_only=False))
        reopen("backing is missing", "w w w w", file=file)
        reopen("", "w w", file=file, backing=None)
        reopen("'backing.driver'", "w w", file=file, backing=below)
        raw = lambda f: m.raw("blockdev-reopen", {"options": [{"driver": "raw", "node-name": "r", "file": f}]})
        check("'file.driver'" in raw({"driver": "file", "filename": "b.img"})["error"]["desc"], "a child with a name of its own")
        check(raw("b") == {"return": {}}, "its name")


def test_media():
    image("a.img"), image("b.img")
    with Machine("-device", "ide-cd,id=cd", "-drive", "if=none,id=hd0,file=a.img,format=raw",
                 "-device", "ide-hd,drive=hd0,id=hd,bus=ide.1") as m:
        find = lambda: next(b for b in m.ok("query-block") if b.get("qdev") == "cd")
        check("inserted" not in find() and find()["tray_open"] is False, str(find()))
        check("return" in m.raw("blockdev-add", {"driver": "raw", "node-name": "n", "read-only": True,
                                                 "file": {"driver": "file", "filename": "b.img"}}), "add")
        m.bad("is not open", "blockdev-insert-medium", id="cd", node_name="n")
        m.ok("blockdev-open-tray", id="cd")
        check(m.event("DEVICE_TRAY_MOVED") == {"device": "", "id": "cd", "tray-open": True}, "event")
        m.bad("not found", "blockdev-insert-medium", id="cd", node_name="zz")
        m.ok("blockdev-insert-medium", id="cd", node_name="n")
        m.bad("already", "blockdev-insert-medium", id="cd", node_name="n")
        m.ok("blockdev-close-tray", id="cd")
        check(m.event("DEVICE_TRAY_MOVED")["tray-open"] is False, "event")
        check(find()["inserted"]["node-name"] == "n", str(find()))
        m.bad("in use", "blockdev-del", node_name="n")
        m.ok("eject", id="cd")
        check("inserted" not in find() and find()["tray_open"], str(find()))
        m.ok("blockdev-del", node_name="n")
        m.ok("blockdev-change-medium", id="cd", filename="b.img", format="raw")
        check(find()["inserted"]["file"] == "b.img" and not find()["tray_open"], str(find()))
        m.ok("blockdev-open-tray", id="cd")
        m.ok("system_reset")
        check(not find()["tray_open"] and not find()["locked"], str(find()))  # as a real drive's
        m.bad("No such file", "blockdev-change-medium", id="cd", filename="nope", format="raw")
        m.bad("is not removable", "eject", id="hd")
        m.bad("not found", "eject", id="zz")
        m.bad("exactly one", "eject")


def test_floppy_without_medium():
    with open("f.img", "wb") as f:
        f.truncate(1474560)
    with Machine("-device", "floppy,id=fl") as m:
        find = lambda: next(b for b in m.ok("query-block") if b["qdev"] == "fl")
        check("inserted" not in find() and find()["removable"], str(find()))
        check("return" in m.raw("blockdev-add", {"driver": "file", "filename": "f.img", "node-name": "n"}), "add")
        m.ok("blockdev-insert-medium", id="fl", node_name="n")
        check(find()["inserted"]["node-name"] == "n" and not find()["inserted"]["ro"], str(find()))
        m.ok("blockdev-remove-medium", id="fl")
        m.ok("blockdev-change-medium", id="fl", filename="f.img", format="raw")
        m.ok("eject", id="fl")
        check("inserted" not in find(), str(find()))


def test_limits():
    image("a.img")
    zero = dict.fromkeys(["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"], 0)
    with Machine("-drive", "if=none,id=d,file=a.img,format=raw,bps_rd=1000,iops=50,iops_max=60,iops_max_length=2,"
                 "iops_size=4096,group=g", "-device", "ide-hd,drive=d,id=hd",
                 "-object", '{"qom-type":"throttle-group","id":"tg","limits":{"bps-total":4096}}',
                 "-object", "throttle-group,id=t2,limits.bps-total=8192,limits.iops-read=5",
                 "-blockdev", "throttle,node-name=t,throttle-group=tg,file.driver=null-co") as m:
        inserted = lambda: m.ok("query-block")[0]["inserted"]
        limits = m.ok("qom-get", path="/objects/t2", property="limits")
        check(limits["bps-total"] == 8192 and limits["iops-read"] == 5 and limits["iops-total"] == 0, str(limits))
        check(inserted()["bps_rd"] == 1000 and inserted()["iops"] == 50 and inserted()["group"] == "g", str(inserted()))
        check(inserted()["iops_max_length"] == 2 and inserted()["iops_size"] == 4096, str(inserted()))
        answer = m.raw("block_set_io_throttle", dict(zero, id="hd", bps=4096, group="h"))
        check(answer == {"return": {}} and inserted()["bps"] == 4096 and inserted()["group"] == "h", str(inserted()))
        answer = m.raw("block_set_io_throttle", dict(zero, id="hd", bps=4096, bps_rd=1))
        check("at the same time" in answer["error"]["desc"], str(answer))
        answer = m.raw("block_set_io_throttle", dict(zero, id="hd", bps=-1))
        check("must be within" in answer["error"]["desc"], str(answer))
        m.raw("block_set_io_throttle", dict(zero, id="hd"))
        check("group" not in inserted(), str(inserted()))


def test_hmp():
    image("a.img")
    with Machine("-drive", "if=none,id=d,file=a.img,format=raw,readonly=on", "-device", "ide-cd,id=cd") as m:
        check("): a.img (raw, read-only)\n    Removable device: not locked, tray closed\n    Cache mode:       writeback"
              in m.hmp("info block d"), m.hmp("info block"))
        check("rd_operations=0" in m.hmp("info blockstats"), "blockstats")
        check(m.hmp("drive_add 0 if=none,id=e,file=a.img,format=raw,readonly=on") == "OK\n", "drive_add")
        check("Duplicate ID" in m.hmp("drive_add 0 if=none,id=e"), "twice")
        check(m.hmp("drive_del e") == "", "drive_del")
        check("not found" in m.hmp("drive_del e"), "drive_del twice")
        check(m.hmp("eject d") == "" and "[not inserted]" in m.hmp("info block d"), "eject")
        check(m.hmp("change d a.img raw") == "" and "a.img (raw" in m.hmp("info block d"), "change")
        check("not found" in m.hmp("eject zz"), "eject zz")
        check("raw" in m.hmp("info block -n"), "nodes")


def test_snapshot():
    image("a.img")
    for args in (["-drive", "if=none,id=d,file=a.img,format=raw,snapshot=on"],
                 ["-snapshot", "-drive", "if=none,id=d,file=a.img,format=raw"]):
        with Machine(*args) as m:
            inserted = m.ok("query-block")[0]["inserted"]
            check(inserted["drv"] == "qcow2" and inserted["backing_file"] == "a.img", str(inserted))
            check(not os.path.exists(inserted["file"]), "the overlay still has a name")
            check(inserted["image"]["virtual-size"] == 4 * MIB, str(inserted))
    with Machine("-snapshot", "-drive", "if=none,id=d,file=a.img,format=raw,snapshot=off") as m:
        check(m.ok("query-block")[0]["inserted"]["drv"] == "raw", "snapshot=off")


def test_errors():
    """A request that fails tells managers."""
    image("a.img")
    with open("rules", "w", encoding="ascii") as f:
        f.write('[inject-error]\nevent = "none"\niotype = "read"\n')
    with Machine("-drive", "if=none,id=d,file=blkdebug:rules:a.img,format=raw,rerror=stop",
                 "-device", "ide-hd,drive=d,id=hd") as m:
        inserted = m.ok("query-block")[0]
        check(inserted["io-status"] == "ok" and inserted["inserted"]["file"] == "a.img", str(inserted))
    try:
        with Machine("-drive", "if=none,id=d,file=blkdebug:nowhere:a.img,format=raw"):
            pass
    except Failed:
        return
    raise Failed("started without the rules")


def without_io_uring():
    """For a new process: the kernel refuses io_uring_setup to it."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, equal, leave = 0x20, 0x15, 0x06   # BPF: the system call's number, is it 425, the verdict
    steps = ((load, 0, 0, 0), (equal, 0, 1, 425), (leave, 0, 0, 0x00050000 | errno.EPERM), (leave, 0, 0, 0x7FFF0000))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):     # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        raise OSError(ctypes.get_errno(), "seccomp")


def test_without_io_uring():
    """One line for all drives and threads, and they work."""
    args = []
    for number in range(3):
        image("u%d.raw" % number)
        args += ["-object", "iothread,id=io%d" % number, "-drive", "file=u%d.raw,format=raw,if=none,id=u%d,aio=io_uring" % (number, number),
                 "-device", "virtio-blk-pci,drive=u%d,iothread=io%d" % (number, number)]
    commands = ["qmp_capabilities", *('qemu-io u%d "write -P %d 0 64k"' % (n, n + 1) for n in range(3)), "quit"]
    text = "".join(json.dumps({"execute": "human-monitor-command", "arguments": {"command-line": c}} if " " in c else {"execute": c})
                   for c in commands)
    run = subprocess.run([suite.binary, "-S", *QTEST, "-qmp", "stdio", *args], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=120, check=True, preexec_fn=without_io_uring)
    said = run.stderr.decode()
    check(said.count("aio=io_uring is not available here, using the thread pool") == 1, said)
    check(len(said.splitlines()) == 1, said)
    for number in range(3):
        with open("u%d.raw" % number, "rb") as f:
            check(f.read(65537) == bytes([number + 1]) * 65536 + b"\0", "u%d was not written" % number)


for name, function in (("nodes", test_nodes), ("reopen", test_reopen), ("nested reopen", test_nested_reopen), ("media", test_media), ("floppy without a medium", test_floppy_without_medium),
                       ("limits", test_limits), ("hmp", test_hmp), ("snapshot", test_snapshot), ("errors", test_errors), ("without io_uring", test_without_io_uring)):
    suite.add(name, function)
sys.exit(suite.run())
