#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-pr-manager.py KILN: persistent reservations of a unit of the host (tests/state/scsi-fake.c) go to a helper, which is
good, bad, silent or away. What is good was compared with QEMU 7.2, whose program ends at some of the bad."""
import os
import shutil
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import scsi_driver as scsi  # noqa: E402
from machine import Dead, Machine  # noqa: E402
from pr_helper import CHECK_CONDITION, CONFLICT, Helper, answer  # noqa: E402
from qmpclient import LIMIT, Connection  # noqa: E402
from tap import Skip, main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
READY, INQUIRY = bytes(6), bytes((0x12, 0, 0, 0, 36, 0))
REGISTER = bytes(range(24))
NO_HELPER, BAD, GIVEN_UP = "b/00/06", "5/24/00", "4/44/00"
FOREVER = 4000000  # seconds


def reserve_in(room, action=0):
    return bytes((0x5E, action, 0, 0, 0, 0, 0, room >> 8, room & 255, 0))


def reserve_out(size, action=0):
    return bytes((0x5F, action, 1, 0, 0)) + size.to_bytes(4, "big") + b"\0"


def same(got, wanted):
    assert got == wanted, f"{got!r}, not {wanted!r}"


def wait(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def sense(reply):
    return (reply.response, reply.status, scsi.sense_text(reply.sense))


def failed(text):
    return (scsi.OK, CHECK_CONDITION, text)


class Setup:
    """A machine whose unit 0 is such a device, and its driver."""

    def __init__(self, helper, device="scsi-generic", timeout=FOREVER, node=",pr-manager=pr0"):
        filename = "/dev/null" if device == "scsi-generic" else "/dev/zero"
        self.m = Machine(KILN, ["-nodefaults", "-object", f"pr-manager-helper,id=pr0,path={helper.path}", "-blockdev",
                                f"driver=host_device,node-name=h,filename={filename},locking=off{node}", "-device", "virtio-scsi-pci,id=s,addr=4",
                                "-device", f"{device},id=unit,drive=h,bus=s.0,io_timeout={timeout}"])
        self.c = Connection(self.m.qmp_path).negotiate()
        self.start()

    def start(self):
        self.d = scsi.Driver(self.m)
        self.d.start()
        same(scsi.sense_text(self.d.command(READY).sense), "6/29/00")

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.c.close()
        self.m.__exit__(*args)

    def connected(self):
        managers = self.c.do("query-pr-managers")
        same([m["id"] for m in managers], ["pr0"])
        return managers[0]["connected"]

    def changes(self, count):
        """The next so many changes of the connection that were told."""
        while len(self.c.events) < count:
            self.c.do("query-name")
        events, self.c.events = self.c.events, []
        same([(e["event"], e["data"]["id"]) for e in events], [("PR_MANAGER_STATUS_CHANGED", "pr0")] * len(events))
        return [e["data"]["connected"] for e in events]


@test
def commands():
    said = []
    helper = Helper("helper", lambda request: said.append(request) or reply)
    for device, filename in (("scsi-generic", "/dev/null"), ("scsi-block", "/dev/zero")):
        with Setup(helper, device) as s:
            same((s.connected(), helper.features[-1]), (True, bytes(4)))
            same(s.d.command(INQUIRY, read=36).data[8:20], b"KILN    FAKE")
            reply = answer(data=b"\0\0\0\1\0\0\0\0")
            got = s.d.command(reserve_in(256), read=256)
            same((got.status, got.data, got.resid), (0, b"\0\0\0\1\0\0\0\0", 248))
            same((said[-1].cdb, said[-1].device), (reserve_in(256) + bytes(6), filename))
            reply = answer(data=bytes(range(256)) * 32)
            same(s.d.command(reserve_in(8192), read=8192).data, bytes(range(256)) * 32)
            reply = answer()
            got = s.d.command(reserve_out(24, 6), out=REGISTER)
            same((got.status, got.resid, said[-1].cdb, said[-1].parameters), (0, 0, reserve_out(24, 6) + bytes(6), REGISTER))
            s.d.command(reserve_out(24), out=bytes(100))
            same(said[-1].parameters, bytes(24))
            s.d.command(reserve_out(8192), out=bytes(8191) + b"\1")
            same(said[-1].parameters, bytes(8191) + b"\1")
            reply = answer(CONFLICT)
            same([s.d.command(reserve_in(8), read=8).status, s.d.command(reserve_out(24), out=REGISTER).status], [CONFLICT, CONFLICT])
            words = bytes((0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x26, 1, 0, 0, 0, 0))
            for words in (words, b"\xff" * 96, bytes(96)):
                reply = answer(CHECK_CONDITION, sense=words)
                got = s.d.command(reserve_in(8), read=8)
                same((got.status, got.sense, got.data), (CHECK_CONDITION, words.ljust(96, b"\0"), b""))
            # In descriptor format, of this command: the guest gets the fixed one.
            reply = answer(CHECK_CONDITION, sense=bytes((0x72, 5, 0x26, 1, 0, 0, 0, 8, 2, 6, 0, 0, 0xC0, 0, 9)))
            same(s.d.command(reserve_in(8), read=8).sense[:18], bytes((0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x26, 1, 0, 0xC0, 0, 9)))
            count = len(said)
            for cdb, rest in ((reserve_in(256), {"read": 4}), (reserve_in(0), {}), (reserve_in(8193), {"read": 8193}), (reserve_out(0), {}),
                              (reserve_out(24), {"out": bytes(8)}), (reserve_out(24), {}), (reserve_out(24), {"read": 24}),
                              (reserve_out(8193), {"out": bytes(8193)}), (reserve_in(8), {"out": bytes(8)})):
                same(sense(s.d.command(cdb, **rest)), failed(BAD))
            same((len(said), s.changes(0)), (count, []))
    same(len(helper.connections), 2)


@test
def no_manager():
    helper = Helper("helper")
    with Setup(helper, node="") as s:
        same(sense(s.d.command(reserve_in(8), read=8)), failed("4/08/00")) # the kernel's answer


@test
def objects():
    helper = Helper("helper")
    with Setup(helper) as s:
        manager = {"qom-type": "pr-manager-helper", "id": "pr1"}

        def refused(words, command, **arguments):
            error = s.c.ask({"execute": command, "arguments": arguments})["error"]["desc"]
            assert words in error, error

        refused("'path' is missing", "object-add", **manager)
        refused("path=/nonexistent/x: No such file", "object-add", path="/nonexistent/x", **manager)
        refused("path=/tmp: Connection refused", "object-add", path="/tmp", **manager)
        refused("not 108", "object-add", path="/" * 108, **manager)
        refused("manager with id 'pr1'", "blockdev-add", **{"driver": "file", "node-name": "f", "filename": "f", "pr-manager": "pr1"})
        with open("f", "wb") as f:
            f.truncate(1 << 20)
        s.c.do("object-add", **manager, path=os.path.abspath("helper"))
        same([e["data"] for e in s.c.events], [{"id": "pr1", "connected": True}])
        same(s.c.do("query-pr-managers"), [{"id": "pr0", "connected": True}, {"id": "pr1", "connected": True}])
        s.c.do("object-add", **{"qom-type": "rng-builtin", "id": "rng"})
        refused("'rng' is not a persistent reservation manager", "blockdev-add",
                **{"driver": "file", "node-name": "f", "filename": "f", "pr-manager": "rng"})
        s.c.do("blockdev-add", **{"driver": "raw", "node-name": "r", "file": {"driver": "file", "filename": "f", "pr-manager": "pr1"}})
        refused("object 'pr1' is in use", "object-del", id="pr1")
        refused("'pr-manager'", "blockdev-reopen", options=[{"driver": "host_device", "node-name": "h", "filename": "/dev/null"}])
        refused("'pr-manager'", "blockdev-reopen",
                options=[{"driver": "host_device", "node-name": "h", "filename": "/dev/null", "pr-manager": "pr1"}])
        s.c.do("blockdev-reopen", options=[{"driver": "host_device", "node-name": "h", "filename": "/dev/null", "pr-manager": "pr0"}])
        s.c.do("blockdev-del", **{"node-name": "r"})
        s.c.do("object-del", id="pr1")
        refused("object 'pr0' is in use", "object-del", id="pr0")
        s.c.do("device_del", id="unit")
        s.c.do("blockdev-del", **{"node-name": "h"})
        s.c.do("object-del", id="pr0")
        same(s.c.do("query-pr-managers"), [])
        # HMP waits, too; its errors are told there.
        same(s.c.do("human-monitor-command", **{"command-line": "object_add pr-manager-helper,id=pr2,path=" + os.path.abspath("helper")}), "")
        same(s.c.do("query-pr-managers"), [{"id": "pr2", "connected": True}])


@test
def drive():
    helper = Helper("helper")
    machine = ["-nodefaults", "-object", f"pr-manager-helper,id=pr0,path={helper.path}", "-device", "virtio-scsi-pci,id=s,addr=4",
               "-drive", "if=none,id=d,format=raw,file.driver=host_device,file.filename=/dev/null,file.locking=off,file.pr-manager=pr0",
               "-device", "scsi-generic,drive=d,bus=s.0"]
    with Machine(KILN, machine) as m:
        d = scsi.Driver(m)
        d.start()
        same(scsi.sense_text(d.command(READY).sense), "6/29/00")
        helper.reply = lambda request: answer(data=b"12345678")
        same(d.command(reserve_in(8), read=8).data, b"12345678")


@test
def bad_answers():
    """They cost the connection, and the command; the next one finds a helper again."""
    helper = Helper("helper")
    good = answer(data=b"12345678")
    bad = [b"", b"\0", answer()[:50], good[:-1], answer(length=9, data=bytes(16)), answer(length=0xFFFFFFFF), answer(0x100), answer(0x80000000),
           answer(CHECK_CONDITION, data=b"x"), answer(CONFLICT, data=bytes(8)), bytes(range(256)) * 64]
    with Setup(helper) as s:
        for text in bad:
            begun = s.d.begin(reserve_in(8), read=8)
            request = helper.requests.get(timeout=LIMIT)
            request.send(text)
            request.close()
            same(sense(s.d.end(begun)), failed(BAD))
            same((s.changes(1), s.connected()), ([False], False))
            begun = s.d.begin(reserve_in(8), read=8)
            helper.requests.get(timeout=LIMIT).send(good)
            same(s.d.end(begun).data, b"12345678")
            same((s.changes(1), s.connected()), ([True], True))
        # Data for who sends some.
        begun = s.d.begin(reserve_out(24), out=REGISTER)
        helper.requests.get(timeout=LIMIT).send(answer(data=b"x"))
        same(sense(s.d.end(begun)), failed(BAD))
        same(s.changes(1), [False])
        # An answer twice: the second one is nobody's.
        for _ in range(2):
            begun = s.d.begin(reserve_in(8), read=8)
            helper.requests.get(timeout=LIMIT).send(good + answer(data=b"nonsense"))
            same(s.d.end(begun).data, b"12345678")
        same(s.changes(3), [True, False, True])


@test
def away():
    helper = Helper("helper", lambda request: answer(data=b"12345678"))
    with Setup(helper) as s:
        same(s.d.command(reserve_in(8), read=8).data, b"12345678")
        helper.go()
        crowd = [s.d.begin(reserve_in(8), read=8, place=place) for place in range(4)]
        same(s.d.command(READY, place=4).status, 0) # others need not wait
        got = []
        while len(got) < len(crowd):
            head, written = s.d.rings[scsi.COMMANDS].wait()
            mine, slots, page, *_ = next(c for c in crowd if c[0] == head)
            s.d.rings[scsi.COMMANDS].free += slots
            got.append(sense(scsi.Reply(s.m.read(page + 0x200, 108), b"", written)))
        same(got, [failed(NO_HELPER)] * 4)
        same((s.connected(), s.changes(1)), (False, [False]))
        # One that comes back while a command tries finds it waiting.
        begun = s.d.begin(reserve_in(8), read=8)
        helper.listen()
        same(s.d.end(begun).data, b"12345678")
        same((s.connected(), s.changes(1)), (True, [True]))
        # One that was there all the time, but began anew, is not noticed.
        helper.go()
        helper.listen()
        same(s.d.command(reserve_in(8), read=8).data, b"12345678")
        same(s.changes(2), [False, True])


@test
def never_ready():
    """It takes connections and requests no more."""
    helper = Helper("helper")
    with Setup(helper, timeout=1) as s:
        for _ in range(2):
            same(sense(s.d.command(reserve_in(8), read=8)), failed(GIVEN_UP))
            same((s.changes(1), s.connected()), ([False], False))
            helper.greet = lambda connection: None
            same(sense(s.d.command(reserve_in(8), read=8)), failed(GIVEN_UP))
            helper.greet = lambda connection: connection.sendall(bytes(3))
            same(sense(s.d.command(reserve_in(8), read=8)), failed(GIVEN_UP))
            helper.greet = lambda connection: connection.sendall(bytes(4))
            begun = s.d.begin(reserve_in(8), read=8)
            # The first one's request is in the queue, too.
            while helper.requests.get(timeout=LIMIT).connection is not helper.connections[-1]:
                pass
            same(sense(s.d.end(begun)), failed(GIVEN_UP))
            same(s.changes(2), [True, False])
            helper.reply = lambda request: answer()
            same(s.d.command(reserve_in(8), read=8).status, 0)
            same(s.changes(1), [True])
            helper.reply = None


@test
def silent():
    """What waits for ever ends when nobody wants it any more, and holds up nothing else."""
    helper = Helper("helper")
    with Setup(helper) as s:
        first = s.d.begin(reserve_in(8), read=8, tag=71)
        helper.requests.get(timeout=LIMIT)
        second = s.d.begin(reserve_in(8), read=8, tag=72, place=1)
        same(s.d.command(INQUIRY, read=36, place=2).data[8:12], b"KILN")
        # Both are aborted: the one that waits for the other, then that.
        s.d.tmf(0, tag=72)
        same(s.d.rings[scsi.COMMANDS].wait()[0], second[0])
        same((s.connected(), s.changes(0)), (True, []))
        s.d.tmf(0, tag=71)
        same(s.d.rings[scsi.COMMANDS].wait()[0], first[0])
        s.d.rings[scsi.COMMANDS].free += first[1] + second[1]
        same((s.changes(1), s.connected()), ([False], False))
        # The unit is reset.
        begun = s.d.begin(reserve_in(8), read=8)
        helper.requests.get(timeout=LIMIT)
        s.d.tmf(5)
        same(s.d.rings[scsi.COMMANDS].wait()[0], begun[0])
        s.d.rings[scsi.COMMANDS].free += begun[1]
        same(scsi.sense_text(s.d.command(READY).sense), "6/29/00")
        # The machine is: for that, and for the unit's end, it waits a while at most.
        s.d.begin(reserve_in(8), read=8)
        helper.requests.get(timeout=LIMIT)
        s.c.do("system_reset")
        wait(lambda: s.c.do("query-name") or "RESET" in [e["event"] for e in s.c.events], "no reset")
        s.c.events = []
        s.start()
        # It goes, with what it does.
        s.d.begin(reserve_in(8), read=8)
        helper.requests.get(timeout=LIMIT)
        s.c.do("device_del", id="unit")
        s.c.do("blockdev-del", **{"node-name": "h"})
        s.c.do("object-del", id="pr0")


@test
def silent_at_the_end():
    """Nobody waits for a helper, or for one that may come, when the machine ends."""
    helper = Helper("helper")
    with Setup(helper) as s:
        s.d.begin(reserve_in(8), read=8)
        helper.requests.get(timeout=LIMIT)
        s.c.do("quit")
        s.m.process.wait(LIMIT)
    with Setup(helper) as s:
        helper.go()
        s.d.begin(reserve_in(8), read=8)
        wait(lambda: not s.connected(), "it still has a helper")
        s.c.do("quit")
        s.m.process.wait(LIMIT)


@test
def slow_start():
    """object-add waits for the helper; the machine does not."""
    helper = Helper("helper")
    go_on = threading.Event()
    with Setup(helper) as s:
        helper.greet = lambda connection: go_on.wait(LIMIT) and connection.sendall(bytes(4))
        command = {"execute": "object-add", "arguments": {"qom-type": "pr-manager-helper", "id": "pr1", "path": os.path.abspath("helper")}}
        s.c.send(command)
        wait(lambda: len(helper.connections) == 2, "it does not connect")
        same(s.d.command(INQUIRY, read=36).data[8:12], b"KILN")
        go_on.set()
        same(s.c.reply(), {"return": {}})
        same(len(s.c.do("query-pr-managers")), 2)
        go_on.clear()
        command["arguments"]["id"] = "pr2"
        s.c.send(command)
        wait(lambda: len(helper.connections) == 3, "it does not connect")
        s.m.process.terminate()
        reply = s.c.reply()
        assert reply is None or "was ended" in str(reply) or "the machine ends" in str(reply), reply
        s.m.process.wait(LIMIT)


@test
def refused_at_the_start():
    def words(*args):
        try:
            with Machine(KILN, ["-nodefaults", *args]):
                raise AssertionError("it starts")
        except Dead as e:
            return str(e)

    helper = Helper("helper", greet=lambda connection: connection.shutdown(2))
    assert "closed the connection at once; is it a qemu-pr-helper?" in words("-object", "pr-manager-helper,id=p,path=helper")
    helper.go()
    assert "path=helper: No such file" in words("-object", "pr-manager-helper,id=p,path=helper")
    assert "manager with id 'p'" in words("-blockdev", "driver=host_device,node-name=h,filename=/dev/null,pr-manager=p")


@test
def debians_helper():
    program = shutil.which("qemu-pr-helper")
    if not program:
        raise Skip("qemu-pr-helper is not installed")
    process = subprocess.Popen([program, "-k", os.path.abspath("helper"), "-f", os.path.abspath("pid")])
    try:
        wait(lambda: os.path.exists("helper") or process.poll() is not None, "qemu-pr-helper does not start")
        if process.poll() is not None:
            raise Skip("qemu-pr-helper does not run here")
        helper = type("", (), {"path": "helper"})
        with Setup(helper) as s:
            for command, rest in ((reserve_in(8), {"read": 8}), (reserve_out(24), {"out": REGISTER})) * 2:
                # /dev/null is no SCSI device to it: it says so, and stays in step.
                got = s.d.command(command, **rest)
                same((got.response, got.status), (scsi.OK, CHECK_CONDITION))
                assert scsi.sense_text(got.sense) != "4/08/00", "the command went to the kernel"
            same((s.connected(), s.changes(0)), (True, []))
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main("kiln-pr-manager-"))
