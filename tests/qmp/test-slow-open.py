#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Nodes whose servers take their time: only the command that opens them waits.

    test-slow-open.py KILN-SYSTEM KILN-IMG KILN-NBD"""
import os
import select
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from qmpclient import LIMIT, Machine, Qtest  # noqa: E402

BINARY, IMG, NBD = (os.path.abspath(path) for path in sys.argv[1:4])
suite = Suite(BINARY)
test = suite.test
CLUSTER = 65536


def wait_for(what, condition):
    end = time.monotonic() + LIMIT
    while not condition():
        check(time.monotonic() < end, "waited for %s in vain" % what)
        time.sleep(0.01)


class Slow:
    """A server that says nothing until it is told to; then each connection leads to a kiln-nbd."""

    def __init__(self, path, image, fmt):
        self.path, self.behind = path, path + ".real"
        self.budget = None      # bytes that it still says behind the handshake, from the next connection on; None: all
        self.silent = 0         # connections that have used it up
        self.process = subprocess.Popen([NBD, "-k", os.path.abspath(self.behind), "-t", "-e", "10", "-f", fmt, image],
                                        stdin=subprocess.DEVNULL)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(10)
        self.taken = []
        self.go = threading.Event()
        self.speak = threading.Event()
        self.ended = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.ended.is_set():
            try:
                one = self.listener.accept()[0]
            except OSError:
                return
            self.take(one)

    def take(self, one):
        self.taken.append(one)
        threading.Thread(target=self.relay, args=(one,), daemon=True).start()

    def relay(self, one):
        try:
            self.pass_on(one)
        except OSError:     # one of the two has gone
            pass

    def pass_on(self, one):
        self.go.wait()
        if self.ended.is_set():
            return
        other = socket.socket(socket.AF_UNIX)
        wait_for("the real server", lambda: other.connect_ex(self.behind) == 0)
        ways = {one: other, other: one}
        left, asked = self.budget, 0
        while True:
            for ready in select.select(list(ways), [], [])[0]:
                data = ready.recv(1 << 20)
                if not data:
                    one.shutdown(socket.SHUT_RDWR)
                    return other.close()
                if ready is one and left is not None and data[:4] == b"\x25\x60\x95\x13":
                    asked += 1
                if asked and ready is other:
                    data, rest = data[:left], data[left:]
                    left -= len(data)
                    if rest:
                        ways[ready].sendall(data)
                        self.silent += 1
                        self.speak.wait()
                        data, left, asked = rest, None, 0
                ways[ready].sendall(data)

    def asked(self, times=1):
        """Somebody waits for it."""
        wait_for("a connection", lambda: len(self.taken) >= times)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.ended.set()
        self.go.set()
        self.speak.set()
        self.listener.close()
        self.process.kill()
        self.process.wait()
        for name in (self.path, self.behind):
            if os.path.exists(name):
                os.unlink(name)


class Two:
    """A machine with two QMP connections and a clock that goes on."""

    def __init__(self, *args, **options):
        self.machine = Machine(BINARY, "-qmp", "unix:other,server=on,wait=off", "-device", "ib700", "-action", "watchdog=none",
                               *Qtest.OPTIONS, *args, **options)
        self.qmp = self.machine.connect()
        self.other = self.machine.connect("other")
        self.qtest = Qtest()

    def goes_on(self):
        """The other monitor is served, and a timer of a device runs out."""
        check("status" in self.other.do("query-status"), "no status")
        self.qtest.say("outb 0x443 0xe")      # 2 s
        self.qtest.say("clock_step 3000000000")
        self.other.wait("WATCHDOG")

    def waits(self):
        """The first monitor has no answer yet."""
        while b"\n" in self.qmp.buffer or select.select([self.qmp.socket], [], [], 0)[0]:
            if "event" not in self.qmp.message():
                return False
        return True

    def nodes(self):
        return [node["node-name"] for node in self.other.do("query-named-block-nodes")]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.qtest.close()
        self.qmp.close()
        self.other.close()
        self.machine.__exit__()
        for name in ("qmp", "other", "qtest"):
            if os.path.exists(name):
                os.unlink(name)


def pattern_image(name, value):
    with open(name, "wb") as f:
        f.write(bytes([value]) * CLUSTER * 16)


def server(path, **more):
    return dict({"driver": "nbd", "server": {"type": "unix", "path": os.path.abspath(path)}}, **more)


def reads(machine, node, value):
    said = machine.other.hmp('qemu-io %s "read -P %d 0 1M"' % (node, value))
    check("read 1048576/1048576" in said and "fail" not in said, said)


@test("blockdev-add of a silent server: the machine goes on, then the node is there")
def _():
    pattern_image("a", 7)
    with Slow("s", "a", "raw") as slow, Two() as two:
        two.qmp.send({"execute": "blockdev-add", "id": 1, "arguments": dict(server("s"), **{"node-name": "d"})})
        slow.asked()
        two.goes_on()
        check(two.waits(), "answered")
        same(two.nodes(), [])
        slow.go.set()
        same(two.qmp.reply(), {"return": {}, "id": 1})
        same(two.nodes(), ["d"])
        reads(two, "d", 7)
        same(len(slow.taken), 1)


@test("a chain of two images on two servers: each is connected to once")
def _():
    pattern_image("a", 9)
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "a", "top"], check=True)
    with Slow("s", "top", "raw") as top, Slow("b", "a", "raw") as base, Two() as two:
        two.qmp.send({"execute": "blockdev-add", "arguments": {
            "driver": "qcow2", "node-name": "d", "file": server("s"), "backing": {"driver": "raw", "file": server("b")}}})
        top.asked()
        two.goes_on()
        top.go.set()
        base.asked()
        two.goes_on()
        base.go.set()
        same(two.qmp.reply(), {"return": {}})
        reads(two, "d", 9)
        same((len(top.taken), len(base.taken)), (1, 1))


@test("the same server twice in one command")
def _():
    pattern_image("a", 3)
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", "x", "top", "1M"], check=True)
    with Slow("s", "top", "raw") as slow, Two() as two:
        slow.go.set()
        same(two.qmp.command("blockdev-add", driver="qcow2", node_name="d", file=server("s"),
                             backing={"driver": "raw", "file": server("s", **{"read-only": True})}), {"return": {}})
        same(len(slow.taken), 2)


@test("quit ends at once, and says what became of the command")
def _():
    pattern_image("a", 7)
    with Slow("s", "a", "raw") as slow, Two() as two:
        two.qmp.send({"execute": "blockdev-add", "id": 1, "arguments": dict(server("s"), **{"node-name": "d"})})
        slow.asked()
        two.other.send({"execute": "quit"})
        reply = two.qmp.reply()
        check(reply is None or "the machine ends" in reply["error"]["desc"], reply)
        same(two.machine.process.wait(LIMIT), 0)


@test("a peer that goes does not take its command back")
def _():
    pattern_image("a", 7)
    with Slow("s", "a", "raw") as slow, Two() as two:
        two.qmp.send({"execute": "blockdev-add", "arguments": dict(server("s"), **{"node-name": "d"})})
        slow.asked()
        two.qmp.close()
        two.goes_on()
        slow.go.set()
        wait_for("the node", lambda: two.nodes() == ["d"])


@test("a server that hangs up, one that is not there, a name that was taken meanwhile")
def _():
    pattern_image("a", 7)
    with Slow("s", "a", "raw") as slow, Two() as two:
        add = {"execute": "blockdev-add", "arguments": dict(server("s"), **{"node-name": "d"})}
        two.qmp.send(add)
        slow.asked()
        slow.taken[0].shutdown(socket.SHUT_RDWR)
        check("closed the connection" in two.qmp.reply()["error"]["desc"], "what became of it")
        check("none" in two.qmp.command("blockdev-add", node_name="d", **server("none"))["error"]["desc"], "not its name")
        two.qmp.send(add)
        slow.asked(2)
        two.other.do("blockdev-add", driver="null-co", node_name="d")
        slow.go.set()
        check("Duplicate" in two.qmp.reply()["error"]["desc"], "two nodes of one name")
        same(two.nodes(), ["d"])


@test("HMP's drive_add and change, and blockdev-change-medium")
def _():
    pattern_image("a", 5)
    path = os.path.abspath("s")
    with Slow("s", "a", "raw") as slow, Two("-drive", "if=none,id=cd", "-device", "ide-cd,drive=cd,id=c") as two:
        lines = ["drive_add 0 if=none,id=e,format=raw,file=nbd:unix:%s" % path, "change cd nbd:unix:%s raw" % path]
        for number, line in enumerate(lines):
            two.qmp.send({"execute": "human-monitor-command", "arguments": {"command-line": line}})
            slow.asked(number + 1)
            two.goes_on()
            check(two.waits(), "answered")
            slow.go.set()
            same(two.qmp.reply(), {"return": "OK\r\n" if line.startswith("drive") else ""})
            slow.go.clear()
        two.qmp.send({"execute": "blockdev-change-medium", "arguments": {
            "id": "c", "filename": "nbd:unix:" + path, "format": "raw", "force": True}})
        slow.asked(3)
        two.goes_on()
        slow.go.set()
        same(two.qmp.reply(), {"return": {}})
        media = {b["device"]: b["inserted"]["file"] for b in two.other.do("query-block") if "inserted" in b}
        check(all(path in media[name] for name in ("cd", "e")), media)


@test("an encrypted image, whose key takes its time, over a server")
def _():
    pattern_image("a", 6)
    secret = ["--object", "secret,id=s,data=x"]
    subprocess.run([IMG, "convert", *secret, "-O", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=200",
                    "a", "top"], check=True)
    with Slow("s", "top", "raw") as slow, Two("-object", secret[1]) as two:
        slow.go.set()
        for wrong in (False, True):
            if wrong:
                two.qmp.do("blockdev-del", node_name="d")
                two.qmp.do("object-del", id="s")
                two.qmp.do("object-add", qom_type="secret", id="s", data="y")
            reply = two.qmp.command("blockdev-add", driver="qcow2", node_name="d", file=server("s"),
                                    encrypt={"format": "luks", "key-secret": "s"})
            if not wrong:
                same(reply, {"return": {}})
                reads(two, "d", 6)
            else:
                check("Invalid password" in reply["error"]["desc"], reply)
        same(len(slow.taken), 2)


@test("a connection that was made before, below a format")
def _():
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", "top", "1M"], check=True)
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    with Slow("s", "top", "raw") as slow, Two(pass_fds=[theirs.fileno()]) as two:
        slow.take(ours)
        two.qmp.send({"execute": "blockdev-add", "arguments": {
            "driver": "qcow2", "node-name": "d",
            "file": {"driver": "nbd", "server": {"type": "fd", "str": str(theirs.fileno())}}}})
        two.goes_on()
        check(two.waits(), "answered")
        slow.go.set()
        same(two.qmp.reply(), {"return": {}})
        reads(two, "d", 0)
    theirs.close()


# What a server says behind its handshake before it falls silent: nothing; part of the first answer's head, of its data; the
# first answers.
BUDGETS = (0, 7, 100, 600, 70000)


def image_of_many_reads(name):
    """Tables, snapshots and bitmaps are read when it is opened."""
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", name, "64M"], check=True)
    subprocess.run([IMG, "bitmap", "--add", name, "b0"], check=True)
    for i in range(3):
        subprocess.run([IMG, "snapshot", "-c", "s%d" % i, name], check=True)


@test("a server that falls silent while a format above it is opened")
def _():
    image_of_many_reads("top")
    with Slow("s", "top", "raw") as slow, Two() as two:
        slow.go.set()
        for n, budget in enumerate(BUDGETS):
            slow.budget = budget
            two.qmp.send({"execute": "blockdev-add", "id": n, "arguments": {
                "driver": "qcow2", "node-name": "d", "file": server("s", **{"node-name": "f"})}})
            wait_for("silence", lambda: slow.silent == n + 1)
            two.goes_on()
            check(two.waits(), "answered")
            same(two.nodes(), [])
            check("error" in two.other.command("blockdev-del", node_name="f"), "a node that nobody has made was removed")
            slow.speak.set()
            same(two.qmp.reply(), {"return": {}, "id": n})
            same(sorted(two.nodes()), ["d", "f"])
            reads(two, "d", 0)
            two.qmp.do("blockdev-del", node_name="d")
            slow.speak.clear()
        same(len(slow.taken), len(BUDGETS))


@test("the same, with the server's node made before, probing, an encrypted image and a chain")
def _():
    image_of_many_reads("top")
    pattern_image("a", 6)
    subprocess.run([IMG, "convert", "--object", "secret,id=s,data=x", "-O", "qcow2", "-o",
                    "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "a", "crypt"], check=True)
    subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-F", "raw", "-u", "-b", "x", "over", "1M"], check=True)
    for budget in BUDGETS:
        with Slow("s", "top", "raw") as plain, Slow("c", "crypt", "raw") as crypt, Slow("o", "over", "raw") as over, Two(
                "-object", "secret,id=s,data=x") as two:
            for slow in (plain, crypt, over):
                slow.go.set()
                slow.budget = budget
            two.qmp.do("blockdev-add", node_name="f", **server("s"))
            for n, (slow, command, arguments) in enumerate((
                    (plain, "blockdev-add", {"driver": "qcow2", "node-name": "d", "file": "f"}),
                    (crypt, "blockdev-add", {"driver": "qcow2", "node-name": "e", "file": server("c"),
                                             "encrypt": {"format": "luks", "key-secret": "s"}}),
                    (over, "blockdev-add", {"driver": "qcow2", "node-name": "g", "file": server("o"), "backing": {
                        "driver": "raw", "file": server("c", **{"read-only": True})}}),
                    (plain, "human-monitor-command", {"command-line": "drive_add 0 if=none,id=h,read-only=on,file=nbd:unix:"
                                                      + os.path.abspath("s")}))):
                slow.speak.clear()
                slow.silent = 0
                two.qmp.send({"execute": command, "id": n, "arguments": arguments})
                if slow is not crypt:
                    wait_for("silence", lambda: slow.silent)  # pylint: disable=cell-var-from-loop
                    two.goes_on()
                    check(two.waits(), "answered")
                slow.speak.set()
                crypt.speak.set()
                same("return" in two.qmp.reply(), True)
            same({"d", "e", "f", "g"} <= set(two.nodes()), True)
            reads(two, "e", 6)


@test("quit and a peer that hangs up, while a server is silent")
def _():
    image_of_many_reads("top")
    for before in (False, True):
        for end in ("quit", "hangs up"):
            with Slow("s", "top", "raw") as slow, Two() as two:
                slow.go.set()
                slow.budget = 100
                if before:
                    two.qmp.do("blockdev-add", node_name="f", **server("s"))
                two.qmp.send({"execute": "blockdev-add", "arguments": {
                    "driver": "qcow2", "node-name": "d", "file": "f" if before else server("s")}})
                wait_for("silence", lambda: slow.silent)  # pylint: disable=cell-var-from-loop
                two.goes_on()
                two.other.do("stop")
                two.other.do("cont")
                if end == "quit":
                    two.other.send({"execute": "quit"})
                    reply = two.qmp.reply()
                    check(reply is None or "the machine ends" in reply["error"]["desc"], reply)
                    same(two.machine.process.wait(LIMIT), 0)
                else:
                    slow.taken[0].shutdown(socket.SHUT_RDWR)
                    check("error" in two.qmp.reply(), "opened")
                    same(two.nodes(), ["f"] if before else [])


@test("a server that stays silent: the command fails after half a minute, and the machine ends well")
def _():
    image_of_many_reads("top")
    with Slow("s", "top", "raw") as slow, Slow("t", "top", "raw") as other, Two() as two:
        slow.go.set()
        other.go.set()
        slow.budget = other.budget = 600
        two.other.do("blockdev-add", node_name="f", **server("t"))
        two.qmp.send({"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "d", "file": server("s")}})
        wait_for("silence", lambda: slow.silent)
        two.other.send({"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "e", "file": "f"}})
        wait_for("silence", lambda: other.silent)
        for qmp in (two.qmp, two.other):
            said = qmp.reply()["error"]["desc"]
            check("no answer for 30 seconds" in said and "NBD server /" in said, said)
        same(two.nodes(), ["f"])


suite.run()
