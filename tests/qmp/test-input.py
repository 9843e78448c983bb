#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""send-key, input-send-event and their HMP forms: what the keyboard and the mouse say to the guest. test-input.py BINARY

The test is the guest: it reads the keyboard controller's ports through qtest."""
import os
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check  # noqa: E402
from qmpclient import LIMIT, Machine  # noqa: E402

suite = Suite(sys.argv[1])
STATUS_FULL, STATUS_MOUSE = 0x01, 0x20


class Guest:
    """QMP in c, and the guest's hands on the keyboard controller."""

    def __enter__(self):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("qtest%d" % len(os.listdir(".")))
        listener.listen(1)
        self.machine = Machine(suite.binary, "-qtest", "unix:" + listener.getsockname(), "-qtest-log", "none")
        self.machine.__enter__()
        listener.settimeout(LIMIT)
        self.qtest, _ = listener.accept()
        self.lines = self.qtest.makefile("r")
        self.c = self.machine.connect()
        self.c.do("cont")
        self.write(0x64, 0x60)  # command byte: translation on, no interrupts
        self.write(0x60, 0x40)
        return self

    def __exit__(self, *unused):
        self.qtest.close()
        self.machine.__exit__()

    def ask(self, line):
        self.qtest.sendall(line.encode() + b"\n")
        answer = self.lines.readline().split()
        check(answer and answer[0] == "OK", "qtest: %s: %s" % (line, answer))
        return int(answer[1], 0) if len(answer) > 1 else 0

    def write(self, port, value):
        self.ask("outb 0x%x 0x%x" % (port, value))

    def bytes(self, count, mouse=False):
        """The next bytes of a device; waits for them."""
        found = []
        end = time.monotonic() + LIMIT
        while len(found) < count:
            status = self.ask("inb 0x64")
            if status & STATUS_FULL:
                check(bool(status & STATUS_MOUSE) == mouse, "the other device speaks")
                found.append(self.ask("inb 0x60"))
            else:
                self.ask("clock_step 1000000")
                check(time.monotonic() < end, "only came: %r" % found)
        return found

    def all_bytes(self):
        """What comes until nothing does; real time passes, since keys wait for it."""
        found, quiet = [], 0
        while quiet < 20:
            if self.ask("inb 0x64") & STATUS_FULL:
                found.append(self.ask("inb 0x60"))
                quiet = 0
            else:
                self.ask("clock_step 1000000")
                quiet += 1
        return found

    def silent(self):
        self.ask("clock_step 100000000")
        check(not self.ask("inb 0x64") & STATUS_FULL, "something came: 0x%x" % self.ask("inb 0x60"))

    def enable_mouse(self):
        self.write(0x64, 0xa8)
        self.write(0x64, 0xd4)
        self.write(0x60, 0xf4)
        check(self.bytes(1, mouse=True) == [0xfa], "no mouse")


def qcodes(*names):
    return [{"type": "qcode", "data": name} for name in names]


def refused(reply, needle, error_class="GenericError"):
    check(reply and "error" in reply, "not refused: %r" % reply)
    check(needle in reply["error"]["desc"] and reply["error"]["class"] == error_class, "%r" % reply)


def test_send_key():
    with Guest() as g:
        g.c.do("send-key", keys=qcodes("ctrl", "alt", "delete"), hold_time=1)
        check(g.bytes(8) == [0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d], "another combination")
        # libvirt's form: numbers; two calls at once come one after the other.
        g.c.do("send-key", keys=[{"type": "number", "data": 211}], hold_time=20)
        g.c.do("send-key", keys=[{"type": "number", "data": 30}], hold_time=1)
        check(g.bytes(6) == [0xe0, 0x53, 0xe0, 0xd3, 0x1e, 0x9e], "another order")
        g.c.do("send-key", keys=[])
        g.silent()


def test_every_key():
    """Each name is some key, and gives as many bytes down as up; those that PCs lack are refused."""
    with Guest() as g:
        schema = {entry["name"]: entry for entry in g.c.do("query-qmp-schema")}

        def member(entry, name):
            return schema[next(m["type"] for m in entry["members"] if m["name"] == name)]
        keys = member(schema[schema["send-key"]["arg-type"]], "keys")
        value = schema[keys["element-type"]]
        wrapper = schema[next(v["type"] for v in value["variants"] if v["case"] == "qcode")]
        names = [m["name"] for m in member(wrapper, "data")["members"]]
        check(len(names) > 140, "only %d keys" % len(names))
        lacking, silent = set(), set()
        for name in names:
            reply = g.c.command("send-key", keys=qcodes(name), hold_time=0)
            if "error" in reply:
                lacking.add(name)
                continue
            codes = g.all_bytes()
            made = [code for code in codes if code < 0x80]
            broken = [code & 0x7f for code in codes if code >= 0x80 and code not in (0xe0, 0xe1)]
            check(sorted(made) == sorted(broken), "%s: goes down and up as %r" % (name, codes))
            if not made:
                silent.add(name)
        check(lacking == {"unmapped", "again", "props", "undo", "front", "copy", "open", "paste", "cut", "lf", "help"},
              "no such keys: %s" % lacking)
        check(silent == {"find", "lang1", "lang2"}, "keys that say nothing: %s" % silent)


def test_pointer():
    with Guest() as g:
        g.enable_mouse()
        g.c.do("input-send-event", events=[{"type": "rel", "data": {"axis": "x", "value": 5}},
                                           {"type": "rel", "data": {"axis": "y", "value": -3}},
                                           {"type": "btn", "data": {"button": "left", "down": True}}])
        check(g.bytes(3, mouse=True) == [0x09, 5, 3], "another move")
        g.c.do("input-send-event", events=[{"type": "btn", "data": {"button": "left", "down": False}}])
        check(g.bytes(3, mouse=True) == [0x08, 0, 0], "another release")
        check(g.c.do("query-mice") == [{"name": "QEMU PS/2 Mouse", "index": 2, "current": True, "absolute": False}], "mice")
        g.c.do("input-send-event", events=[{"type": "key", "data": {"key": qcodes("a")[0], "down": True}}])
        check(g.bytes(1) == [0x1e], "another key")
        # Values out of any range are cut, not crashed on.
        for value in (1 << 62, -(1 << 62)):
            g.c.do("input-send-event", events=[{"type": "rel", "data": {"axis": "x", "value": value}}] * 3)
        g.c.do("stop")
        refused(g.c.command("input-send-event", events=[{"type": "rel", "data": {"axis": "x", "value": 5}}]), "VM not running")


def test_refused():
    with Guest() as g:
        refused(g.c.command("send-key", keys=qcodes("nokey")), "nokey")
        refused(g.c.command("send-key", keys=qcodes("unmapped")), "unmapped")
        refused(g.c.command("send-key", keys=[{"type": "number", "data": 5000}]), "5000")
        refused(g.c.command("send-key", keys=[{"type": "number", "data": 0}]), "1 to 255")
        refused(g.c.command("send-key", keys=qcodes("a") * 17), "16")
        refused(g.c.command("send-key", keys=qcodes("a"), hold_time=-1), "hold-time")
        refused(g.c.command("send-key", keys=[{"type": "qcode"}]), "data")
        refused(g.c.command("input-send-event", events=[{"type": "abs", "data": {"axis": "x", "value": 5}}]), "event type abs")
        refused(g.c.command("input-send-event", device="video0", events=[]), "video0", "DeviceNotFound")
        # Nothing of a refused call is sent.
        refused(g.c.command("input-send-event", events=[{"type": "key", "data": {"key": qcodes("a")[0], "down": True}},
                                                        {"type": "abs", "data": {"axis": "x", "value": 5}}]), "abs")
        g.silent()
        for _ in range(100):
            reply = g.c.command("send-key", keys=qcodes("a") * 16, hold_time=60000)
            if "error" in reply:
                break
        refused(reply, "wait to be pressed")


def test_hmp():
    with Guest() as g:
        check(g.c.hmp("sendkey ctrl-alt-f1 1") == "", "refused")
        check(g.bytes(6) == [0x1d, 0x38, 0x3b, 0xbb, 0xb8, 0x9d], "another combination")
        check(g.c.hmp("sendkey 0x1e 1") == "" and g.bytes(2) == [0x1e, 0x9e], "another key")
        check("invalid parameter: foo" in g.c.hmp("sendkey ctrl-foo"), "foo is a key")
        check("invalid parameter: 0x1ff" in g.c.hmp("sendkey 0x1ff"), "0x1ff is a key")
        check(g.c.hmp("info mice") == "* Mouse #2: QEMU PS/2 Mouse\r\n", "mice: %r" % g.c.hmp("info mice"))
        check("not found" in g.c.hmp("mouse_set 7") and g.c.hmp("mouse_set 2") == "", "mouse_set")
        g.enable_mouse()
        g.c.hmp("mouse_move 4 5")
        check(g.bytes(3, mouse=True) == [0x28, 4, 0xfb], "another move")
        g.c.hmp("mouse_button 4")
        check(g.bytes(3, mouse=True) == [0x0a, 0, 0], "another button")


suite.add("send-key", test_send_key)
suite.add("every key there is", test_every_key)
suite.add("input-send-event", test_pointer)
suite.add("what is refused", test_refused)
suite.add("sendkey, mouse_move, mouse_button, mouse_set, info mice", test_hmp)
sys.exit(suite.run())
