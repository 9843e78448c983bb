#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP sessions: good and bad use of everything that is no single command's business, and run control.

    test-qmp.py KILN-SYSTEM"""
import json
import os
import select
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Skip, Suite, check, same  # noqa: E402
from qmpclient import LIMIT, Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
UNDER_ASAN = b"__asan_init" in open(BINARY, "rb").read()


def machine(*args, **options):
    return Machine(BINARY, *args, **options)


def refused(reply, text, error_class="GenericError"):
    check(reply is not None and "error" in reply, "not refused: %r" % reply)
    check(reply["error"]["class"] == error_class, "class: %r" % reply)
    check(text in reply["error"]["desc"], "%r is not in %r" % (text, reply))


# ---- sessions


@test("greeting, negotiation, and nothing before it")
def _():
    with machine() as m:
        c = m.connect(negotiate=False)
        greeting = c.message()["QMP"]
        same(greeting["version"]["qemu"], {"major": 7, "minor": 2, "micro": 22})
        check(isinstance(greeting["version"]["package"], str), greeting)
        same(greeting["capabilities"], ["oob"])
        for name in ("query-status", "no-such-command"):
            refused(c.command(name), "Expecting capabilities negotiation", "CommandNotFound")
        refused(c.command("qmp_capabilities", enable=["oob", "x"]), "does not accept value 'x'")
        refused(c.command("query-status"), "Expecting", "CommandNotFound")
        same(c.do("qmp_capabilities", enable=["oob"]), {})
        refused(c.command("qmp_capabilities"), "already complete", "CommandNotFound")
        same(c.do("query-version"), greeting["version"])


@test("messages that are no commands")
def _():
    with machine() as m:
        c = m.connect()
        for text, words in (
                (b"{}", "lacks member 'execute'"), (b"[]", "must be a JSON object"), (b"123 ", "must be a JSON object"),
                (b'"abc"', "must be a JSON object"), (b"null\n", "must be a JSON object"),
                (b'{"execute":1}', "'execute' must be a string"),
                (b'{"execute":"stop","foo":1}', "'foo' is unexpected"),
                (b'{"execute":"stop","arguments":[]}', "'arguments' must be an object"),
                (b'{"execute":"stop","arguments":{"a":1}}', "Parameter 'a' is unexpected"),
                (b'{"execute":"getfd"}', "Parameter 'fdname' is missing"),
                (b'{"execute":"getfd","arguments":{"fdname":1}}', "fdname"),
                (b'{"execute":"set-action","arguments":{"reboot":"x"}}', "does not accept value 'x'"),
                (b'{"exec-oob":"query-status"}', "'exec-oob' is unexpected"),
                (b"foo\n", "JSON parse error"), (b'{"execute":"stop",}', "JSON parse error"),
                (b'{"execute":"stop","execute":"cont"}', "JSON parse error, duplicate key"),
                (b'{"execute":"query-name","id":[{"a":1,"\\u0061":1}]}', "duplicate key"),
                (b'{"execute" "stop"}', "JSON parse error"), (b'{"execute":]\n', "JSON parse error"),
                (b"}\n", "JSON parse error"), (b"]\n", "JSON parse error"), (b'{"a":"b\nc"}\n', "JSON parse error"),
                (b'{"execute":"st\xff', "JSON parse error"), (b'{"execute":"\xc3\x28"}', "JSON parse error"),
                (b'{"execute":"x","id":"\\u12"}', "JSON parse error"), (b"\xff", "JSON parse error")):
            refused(c.ask(text), words)
        refused(c.command("no-such-command"), "The command no-such-command has not been found", "CommandNotFound")
        # A message that is broken off does no harm to the next line.
        c.send(b'{"execute":"query-name"\x00\x01\n{"execute":"query-name", "id": 7}\n')
        while c.reply().get("id") != 7:
            pass
        same(c.do("query-status")["status"], "running")


@test("ids are echoed, whatever they are; a message may come in pieces or with others")
def _():
    with machine() as m:
        c = m.connect()
        for value in (1, "a", None, [1, {"b": 2.5}], {}, True, -(1 << 63), (1 << 64) - 1, "caf\u00e9 \U0001f600 \n\"\\"):
            for command in ("query-name", "no-such-command"):
                reply = c.ask({"execute": command, "id": value})
                check("id" in reply and reply["id"] == value, reply)
        for byte in b'\r\n\t {"execute":"query-name", "id":"\\"}{"}':
            c.send(bytes([byte]))
        same(c.reply(), {"return": {}, "id": '"}{'})
        c.send(b"".join(b'{"execute":"query-name","id":%d}' % (n // 2) for n in range(500)))
        for n in range(500):
            same(c.reply(), {"return": {}, "id": n // 2})
        same(c.ask(b"{'execute':'query-name'}"), {"return": {}})


@test("deep nesting and a string of 100 MB: one error each, and the memory comes back")
def _():
    with machine() as m:
        c = m.connect()
        before = m.resident()
        refused(c.ask(b"[" * 2000 + b"\n"), "nesting depth")
        refused(c.ask(b"[" * 1000 + b"]" * 1000), "must be a JSON object")
        refused(c.ask(b'{"a":' * 1000 + b"1" + b"}" * 1000), "")
        same(c.do("query-name"), {})
        c.send(b'{"execute":"query-name","id":"')
        for _ in range(100):
            c.send(b"x" * (1 << 20))
        peak = m.resident()
        refused(c.ask(b'"}'), "size limit")
        same(c.do("query-name"), {})
        if not UNDER_ASAN:
            check(peak - before < 64 << 10, "%d KiB for one message" % (peak - before))
            check(m.resident() - before < 8 << 10, "%d KiB stay" % (m.resident() - before))
        c.send(b'{"execute":"query-name","id":"%s"}' % (b"y" * (4 << 20)))
        same(len(c.reply()["id"]), 4 << 20)
        c.send(b'{"execute":"query-name","id":[%s]}' % b",".join([b"7"] * 500000))
        same(len(c.reply()["id"]), 500000)
        same(c.do("query-name"), {})
        if not UNDER_ASAN:
            check(m.resident() - before < 16 << 10, "%d KiB stay of a tree" % (m.resident() - before))


@test("out-of-band: refused where it is not allowed, and ahead of what waits")
def _():
    with machine() as m:
        c = m.connect(negotiate=False)
        c.message()
        c.do("qmp_capabilities", enable=["oob"])
        c.send(b'{"execute":"query-name","id":1} {"exec-oob":"query-name","id":2} {"execute":"query-name","id":3}')
        replies = [c.reply() for _ in range(3)]
        same([reply["id"] for reply in replies], [2, 1, 3])
        refused(replies[0], "does not support OOB")
        refused(c.ask(b'{"exec-oob":"stop","execute":"stop"}'), "clashes")


@test("a server takes the next client, from the greeting on; what the last one left is forgotten")
def _():
    with machine() as m:
        for n in range(30):
            c = m.connect()
            check("QMP" in c.greeting, c.greeting)
            same(c.do("query-name"), {})
            c.send(b'{"execute":"query-name"}' * (n * 20) + b'{"execute":"qu')
            c.close()
        c = m.connect(negotiate=False)
        c.message()
        refused(c.command("query-name"), "Expecting", "CommandNotFound")
        same(m.process.poll(), None)


@test("several monitors: each negotiates, all get events, no reply goes astray")
def _():
    with machine("-qmp", "unix:second,server=on,wait=off", "-qmp-pretty", "unix:third,server=on,wait=off", "-S") as m:
        first, second = m.connect(), m.connect("second")
        third = m.connect("third", negotiate=False)
        first.do("cont")
        same(first.names(), ["RESUME"])
        for n in range(100):
            first.send({"execute": "query-name", "id": n})
            second.send({"execute": "query-name", "id": -n})
        for n in range(100):
            same(first.reply()["id"], n)
            same(second.reply()["id"], -n)
        same(second.names(), ["RESUME"])
        text = third.socket.recv(1 << 16).decode()
        check(text.count("\n") > 5 and json.loads(text)["QMP"], "not pretty: %r" % text)


@test("the schema: the same on every monitor, and it costs no memory")
def _():
    with machine("-qmp-pretty", "unix:second,server=on,wait=off") as m:
        c, pretty = m.connect(), m.connect("second", negotiate=False)
        before = m.resident()
        schema = c.do("query-qmp-schema")
        if not UNDER_ASAN:
            check(m.resident() - before < 2 << 10, "%d KiB" % (m.resident() - before))
        check("query-qmp-schema" in [info["name"] for info in schema], "it does not list itself")
        same(c.ask(b'{"execute":"query-qmp-schema","id":[1]}'), {"return": schema, "id": [1]})
        text = b""
        pretty.socket.settimeout(LIMIT)
        pretty.send(b'{"execute":"qmp_capabilities"} {"execute":"query-qmp-schema","id":2}')
        while not text.endswith(b'"id": 2\r\n}\r\n') and not text.endswith(b'"id": 2\n}\r\n'):
            text += pretty.socket.recv(1 << 20)
        messages = text.decode().split("}\r\n{")
        same(json.loads("{" + messages[-1])["return"], schema)
        check(messages[-1].count("\n") > len(schema), "not pretty")


@test("a peer that never reads hurts only itself")
def _():
    with machine("-qmp", "unix:second,server=on,wait=off") as m:
        first, second = m.connect(), m.connect("second")
        before = m.resident()
        first.socket.setblocking(False)
        data, sent = b'{"execute":"query-command-line-options"}' * 1000, 0
        quiet = 0
        while quiet < 20 and sent < 64 << 20:
            try:
                sent += first.socket.send(data)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                same(second.do("query-name"), {})
                time.sleep(0.01)
        check(sent < 4 << 20, "all input is taken: %d bytes" % sent)
        if not UNDER_ASAN:
            check(m.resident() - before < 8 << 10, "%d KiB" % (m.resident() - before))
        for _ in range(200):
            second.do("stop")
            second.do("cont")
        # It reads after all: everything is there, in order.
        first.socket.setblocking(True)
        first.socket.settimeout(LIMIT)
        check("return" in first.reply(), "the first reply")
        first.close()
        same(second.do("query-status")["running"], True)


@test("50,000 commands leave no growth in memory")
def _():
    with machine() as m:
        c = m.connect()

        def run(count):
            batch = b'{"execute":"query-status","id":"x"}{"execute":"no-such"}{"execute":"set-action"}{"a":1}]\n' * 20
            for _ in range(count // 100):
                c.send(batch)
                for _ in range(100):
                    check(c.reply() is not None, "no reply")
        run(5000)
        before = m.resident()
        run(50000)
        if not UNDER_ASAN: # its quarantine keeps what was freed
            check(m.resident() - before < 512, "%d KiB more" % (m.resident() - before))


# ---- descriptors


def pipe_text(reader):
    ready, _, _ = select.select([reader], [], [], LIMIT)
    return os.read(reader, 100) if ready else b""


@test("getfd and closefd; names end with the connection")
def _():
    with machine() as m:
        c = m.connect()
        reader, writer = os.pipe()
        request = b'{"execute":"getfd","arguments":{"fdname":"%s"}}'
        refused(c.ask(request % b"a"), "No file descriptor supplied via SCM_RIGHTS")
        before = m.descriptors()
        same(c.send_fd(request % b"a", writer), {"return": {}})
        same(c.send_fd(request % b"a", writer), {"return": {}})  # the first is closed
        same(c.send_fd(request % b"b", writer), {"return": {}})
        same(m.descriptors(), before + 2)
        refused(c.send_fd(request % b"1a", writer), "not starting with a digit")
        same(m.descriptors(), before + 2)
        same(c.do("closefd", fdname="a"), {})
        refused(c.command("closefd", fdname="a"), "File descriptor named 'a' not found")
        c.close()
        c = m.connect()
        refused(c.command("closefd", fdname="b"), "'b' not found")
        same(m.descriptors(), before)
        os.close(writer)
        same(pipe_text(reader), b"")  # nobody has the other end


@test("descriptor sets: -add-fd, add-fd, /dev/fdset/N, remove-fd")
def _():
    reader, writer = os.pipe()
    with machine("-add-fd", "set=3,fd=%d,opaque=log" % writer, "-chardev", "file,id=a,path=/dev/fdset/3",
                 "-device", "isa-debugcon,chardev=a", pass_fds=[writer]) as m:
        os.close(writer)
        c = m.connect()
        sets = c.do("query-fdsets")
        same([(s["fdset-id"], [f["opaque"] for f in s["fds"]]) for s in sets], [(3, ["log"])])
        refused(c.ask(b'{"execute":"add-fd"}'), "No file descriptor supplied")
        disk = os.open("disk", os.O_CREAT | os.O_RDWR)
        info = c.send_fd(b'{"execute":"add-fd","arguments":{"opaque":"x"}}', disk)["return"]
        same(info["fdset-id"], 0)
        more = c.send_fd(b'{"execute":"add-fd","arguments":{"fdset-id":0}}', disk)["return"]
        same(c.do("query-fdsets")[0], {"fdset-id": 0, "fds": [{"fd": more["fd"]}, {"fd": info["fd"], "opaque": "x"}]})
        refused(c.send_fd(b'{"execute":"add-fd","arguments":{"fdset-id":-1}}', disk), "non-negative")
        same(c.do("remove-fd", fdset_id=0, fd=more["fd"]), {})
        refused(c.command("remove-fd", fdset_id=0, fd=more["fd"]), "'fdset-id:0, fd:%d' not found" % more["fd"])
        same(c.do("remove-fd", fdset_id=3), {})
        refused(c.command("remove-fd", fdset_id=3), "'fdset-id:3' not found")
        same([s["fdset-id"] for s in c.do("query-fdsets")], [0])
        ready, _, _ = select.select([reader], [], [], 0)
        check(not ready, "the chardev's own copy is closed too")


# ---- run control and events


@test("stop, cont, reset, power button, quit: events come before the reply")
def _():
    with machine("-S") as m:
        c = m.connect()
        same(c.do("query-status"), {"running": False, "singlestep": False, "status": "prelaunch"})
        for command, status, events in (
                ("stop", "prelaunch", []), ("cont", "running", ["RESUME"]), ("cont", "running", []),
                ("stop", "paused", ["STOP"]), ("stop", "paused", []), ("system_reset", "prelaunch", ["RESET"]),
                ("cont", "running", ["RESUME"]), ("system_reset", "running", ["RESET"]),
                ("system_powerdown", "running", ["POWERDOWN"])):
            c.do(command)
            same(c.names(), events)
            same(c.do("query-status")["status"], status)
        refused(c.command("system_wakeup"), "guest is not in suspended state")
        c.do("system_reset")
        same(c.events[0]["data"], {"guest": False, "reason": "host-qmp-system-reset"})
        c.names()
        c.send(b'{"execute":"quit"}{"execute":"query-name"}')
        same(c.reply(), {"return": {}})
        same(c.events[0]["data"], {"guest": False, "reason": "host-qmp-quit"})
        same(c.names(), ["SHUTDOWN"])
        same(c.reply(), None)
        same(m.process.wait(LIMIT), 0)


@test("SIGTERM is told before the end")
def _():
    with machine() as m:
        c = m.connect()
        m.process.terminate()
        same(c.reply(), None)
        same([(e["event"], e["data"]) for e in c.events], [("SHUTDOWN", {"guest": False, "reason": "host-signal"})])
        same(m.process.wait(LIMIT), 0)


@test("set-action and -no-shutdown: what a reset and a shutdown do")
def _():
    with machine("-no-shutdown") as m:
        c = m.connect()
        same(c.do("set-action"), {})
        c.do("set-action", reboot="shutdown")
        c.do("system_reset")
        same(c.names(), ["SHUTDOWN", "STOP"])
        same(c.do("query-status")["status"], "shutdown")
        refused(c.command("cont"), "Resetting the Virtual Machine is required")
        c.do("set-action", reboot="reset", panic="pause", shutdown="poweroff")
        c.do("system_reset")
        c.do("cont")
        same(c.names(), ["RESET", "RESUME"])
        c.do("set-action", reboot="shutdown")
        same(c.command("system_reset"), {"return": {}})
        same(m.process.wait(LIMIT), 0)


@test("a guest's own requests: power off, panic, clock")
def _():
    with machine("-device", "pvpanic", "-action", "panic=pause", "-no-shutdown",
                 "-qtest", "unix:qtest,server=on,wait=off", "-qtest-log", "none") as m:
        c = m.connect()
        q = socket.socket(socket.AF_UNIX)
        q.connect("qtest")

        def outb(port, value, letter="b"):
            q.sendall(b"out%s 0x%x 0x%x\n" % (letter.encode(), port, value))
            same(q.recv(100), b"OK\n")

        def event():
            message = c.message()
            return message["event"], message.get("data")
        for index, value in ((0x0b, 0x82), (9, 0x30), (0x0b, 0x02)):  # the year, while updates are off
            outb(0x70, index)
            outb(0x71, value)
        name, data = event()
        same((name, data["qom-path"].startswith("/machine/")), ("RTC_CHANGE", True))
        check(abs(data["offset"]) > 86400, data)
        outb(0x505, 2)
        same(event(), ("GUEST_CRASHLOADED", {"action": "run"}))
        outb(0x505, 3)
        same(event(), ("GUEST_PANICKED", {"action": "pause"}))
        same(event(), ("STOP", None))
        same(c.do("query-status")["status"], "guest-panicked")
        c.do("system_reset")
        c.do("cont")
        c.names()
        outb(0xcf9, 6)
        same(event(), ("RESET", {"guest": True, "reason": "guest-reset"}))


@test("what the machine is: name, UUID, KVM, target, machines, options, commands, capabilities")
def _():
    uuid = "11a12737-df26-48b3-8f81-1fa39cb470a9"
    with machine("-name", "guest=zoo,debug-threads=on", "-uuid", uuid) as m:
        c = m.connect()
        same(c.do("query-name"), {"name": "zoo"})
        same(c.do("query-uuid"), {"UUID": uuid})
        same(c.do("query-kvm"), {"enabled": False, "present": True})
        same(c.do("query-target"), {"arch": "x86_64"})
        machines = {entry["name"]: entry for entry in c.do("query-machines")}
        same(machines["pc-i440fx-7.2"]["alias"], "pc")
        same(machines["pc-i440fx-7.2"]["is-default"], True)
        check("none" in machines and "is-default" not in machines["none"], machines)
        options = {entry["option"]: [p["name"] for p in entry["parameters"]]
                   for entry in c.do("query-command-line-options")}
        check("hpet" in options["machine"] and "shutdown" in options["action"], options)
        same(len(c.do("query-command-line-options", option="boot-opts")), 1)
        refused(c.command("query-command-line-options", option="boot"), "invalid option name: boot")
        kinds = {p["name"]: p["type"] for p in c.do("query-command-line-options", option="chardev")[0]["parameters"]}
        same([kinds[name] for name in ("path", "server", "reconnect", "wait", "size")],
             ["string", "boolean", "number", "boolean", "size"])
        check("websocket" in kinds and "tn3270" not in kinds, "an option that is refused is listed")
        refused(c.command("query-command-line-options", option="foo"), "invalid option name: foo")
        names = [entry["name"] for entry in c.do("query-commands")]
        check(names == sorted(names) and "query-commands" in names, names)
        same(c.do("query-current-machine"), {"wakeup-suspend-support": True})
        same(c.do("query-migrate-capabilities"), [{"capability": "events", "state": False}])
        c.do("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        same(c.do("query-migrate-capabilities"), [{"capability": "events", "state": True}])
        refused(c.command("migrate-set-capabilities", capabilities=[{"capability": "foo", "state": True}]), "'foo'")
        same(c.do("query-migrate"), {"blocked-reasons": ["migration is not supported yet"]})
        refused(c.command("query-migrate", x=1), "'x' is unexpected")
        same(c.do("query-jobs"), [])
        refused(c.command("query-jobs", id="j"), "'id' is unexpected")
        same(c.do("inject-nmi"), {})
        same(c.do("rtc-reset-reinjection"), {})


@test("trace points")
def _():
    with machine() as m:
        c = m.connect()
        points = c.do("trace-event-get-state", name="qmp_*")
        check(points and all(p["state"] == "disabled" for p in points), points)
        refused(c.command("trace-event-get-state", name="foo"), 'unknown event "foo"')
        refused(c.command("trace-event-set-state", name="foo", enable=True), 'unknown event "foo"')
        same(c.do("trace-event-set-state", name="foo", enable=True, ignore_unavailable=True), {})
        refused(c.command("trace-event-set-state", name="qmp_*", enable=True, vcpu=0), "vcpu")
        c.do("trace-event-set-state", name="qmp_command", enable=True)
        same(c.do("trace-event-get-state", name="qmp_command")[0]["state"], "enabled")
        c.do("quit")
        check(b"qmp_command" in m.process.stderr.read(), "nothing was traced")


@test("character devices: list, kinds, break, ring buffers")
def _():
    with machine("-chardev", "ringbuf,id=ring,size=16", "-chardev", "pty,id=terminal", "-serial", "chardev:terminal") as m:
        c = m.connect()
        devices = {entry["label"]: entry for entry in c.do("query-chardev")}
        check(devices["terminal"]["filename"].startswith("pty:/dev/pts/"), devices)
        same([devices[name]["frontend-open"] for name in ("terminal", "ring")], [True, False])
        kinds = [entry["name"] for entry in c.do("query-chardev-backends")]
        check("socket" in kinds and "pty" in kinds and "chardev" not in kinds, kinds)
        same(c.do("chardev-send-break", id="terminal"), {})
        refused(c.command("chardev-send-break", id="none"), "Chardev 'none' not found")
        same(c.do("ringbuf-write", device="ring", data="AAECYWI=", format="base64"), {})
        same(c.do("ringbuf-read", device="ring", size=3, format="base64"), "AAEC")
        same(c.do("ringbuf-read", device="ring", size=100), "ab")
        same(c.do("ringbuf-read", device="ring", size=100), "")
        refused(c.command("ringbuf-write", device="ring", data="A", format="base64"), "not valid")
        refused(c.command("ringbuf-read", device="ring", size=0), "greater than zero")
        refused(c.command("ringbuf-read", device="terminal", size=1), "terminal")
        refused(c.command("ringbuf-write", device="none", data=""), "none")
        same(c.hmp("ringbuf_write ring a b"), "")
        same(c.hmp("ringbuf_read ring 10"), "a b\r\n")
        check("ring: filename=" in c.hmp("info chardev"), "info chardev")


@test("counters of the kernel's virtualization")
def _():
    with machine() as m:
        c = m.connect()
        same(c.do("query-stats", target="vm"), [])
        same(c.do("query-stats", target="vcpu"), [])
        same(c.do("query-stats-schemas"), [])
        refused(c.command("query-stats"), "'target' is missing")
        refused(c.command("query-stats", target="disk"), "does not accept value 'disk'")
        refused(c.command("query-stats", target="vm", vcpus=[]), "'vcpus' is unexpected")
        refused(c.command("query-stats", target="vm", providers=[{"provider": "x"}]), "does not accept value 'x'")
        refused(c.command("query-stats-schemas", provider="x"), "does not accept value 'x'")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("no /dev/kvm")
    with machine("-smp", "2", "-cpu", "host", accel="kvm") as m:
        c = m.connect()
        schemas = {entry["target"]: entry for entry in c.do("query-stats-schemas", provider="kvm")}
        if not schemas:
            raise Skip("this kernel has no binary statistics")
        same(sorted(schemas), ["vcpu", "vm"])
        meaning = {value["name"]: value for value in schemas["vcpu"]["stats"]}
        check("base" in meaning["halt_wait_ns"] and meaning["halt_wait_ns"]["unit"] == "seconds", meaning["halt_wait_ns"])
        same((meaning["halt_wait_ns"]["base"], meaning["halt_wait_ns"]["exponent"]), (10, -9))
        same(meaning["exits"], {"name": "exits", "type": "cumulative", "exponent": 0})
        cpus = c.do("query-stats", target="vcpu")
        paths = [entry["qom-path"] for entry in c.do("query-cpus-fast")]
        same([entry["qom-path"] for entry in cpus], paths)
        same([stat["name"] for stat in cpus[0]["stats"]], list(meaning))
        hist = [stat["value"] for stat in cpus[0]["stats"] if stat["name"] == "halt_wait_hist"][0]
        check(isinstance(hist, list) and len(hist) > 1, hist)
        wanted = [{"provider": "kvm", "names": ["exits"]}]
        while c.do("query-stats", target="vcpu", vcpus=paths[:1], providers=wanted)[0]["stats"][0]["value"] == 0:
            time.sleep(0.01)  # CPU 0 has not left the guest yet: its thread may not even have run
        one = c.do("query-stats", target="vcpu", vcpus=paths[:1], providers=wanted)
        same([[entry["qom-path"], [stat["name"] for stat in entry["stats"]]] for entry in one], [[paths[0], ["exits"]]])
        check(one[0]["stats"][0]["value"] > 0, one)
        same(c.do("query-stats", target="vcpu", vcpus=["/nowhere"]), [])
        same(c.do("query-stats", target="vcpu", providers=[{"provider": "kvm", "names": ["nothing"]}]), [])
        same(c.do("query-stats", target="vm")[0]["provider"], "kvm")


def backend(kind, **data):
    return {"type": kind, "data": data}


@test("character devices are added and removed")
def _():
    with machine() as m:
        c = m.connect()
        labels = lambda: {entry["label"]: entry["filename"] for entry in c.do("query-chardev")}  # noqa: E731
        before = labels()
        pty = c.do("chardev-add", id="terminal", backend=backend("pty"))["pty"]
        check(os.path.exists(pty) and labels()["terminal"] == "pty:" + pty, pty)
        said = c.hmp("chardev-add pty,id=second")
        same(said, "char device redirected to %s (label second)\r\n" % labels()["second"][len("pty:"):])
        said = c.hmp("chardev-add pty,id=shared,mux=on")
        same(said, "char device redirected to %s (label shared-base)\r\n" % labels()["shared-base"][len("pty:"):])
        same(c.do("chardev-remove", id="shared"), {})
        for name, value in (
                ("nothing", backend("null")), ("ring", backend("ringbuf", size=16)), ("old", backend("memory")),
                ("file", backend("file", out="out", append=True, logfile="log")),
                ("unix", backend("socket", addr={"type": "unix", "data": {"path": "sock"}})),
                ("tcp", backend("socket", addr={"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}, nodelay=True)),
                ("udp", backend("udp", remote={"type": "inet", "data": {"host": "127.0.0.1", "port": "9"}}))):
            same(c.do("chardev-add", id=name, backend=value), {})
            check(name in labels(), name)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect("sock")
        c.do("chardev-add", id="client", backend=backend(
            "socket", addr={"type": "unix", "data": {"path": "sock"}}, server=False))
        c.do("ringbuf-write", device="ring", data="x")
        unix = {"type": "unix", "data": {"path": "sock2"}}
        for name, value, words in (
                ("ring", backend("null"), "Chardev with id 'ring' already exists"), ("1a", backend("null"), "no identifier"),
                ("a", backend("ringbuf", size=3), "size"), ("a", backend("spicevmc", type="x"), "spicevmc"),
                ("a", backend("file"), "out"), ("a", backend("file", out="no/such"), "No such file"),
                ("a", backend("socket", addr=unix, wait=True), "wait=true"),
                ("a", backend("socket", addr=unix, server=False), "sock2"),
                ("a", backend("socket", addr={"type": "fd", "data": {"str": "none"}}), "none"),
                ("a", backend("udp", remote=unix), "inet"),
                ("a", backend("pipe", device="no-pipe"), "no-pipe"), ("a", backend("null", x=1), "x")):
            refused(c.command("chardev-add", id=name, backend=value), words)
        for name in set(labels()) - set(before):
            same(c.do("chardev-remove", id=name), {})
        same(labels(), before)
        check(not os.path.exists("sock"), "the socket's path is still there")
        refused(c.command("chardev-remove", id="ring"), "Chardev 'ring' not found")
        refused(c.command("chardev-remove", id=next(iter(before))), "is busy")


@test("only pseudo terminals of the command line are printed: standard output may be a monitor's")
def _():
    orders = [{"execute": "qmp_capabilities"}, {"execute": "chardev-add", "arguments": {"id": "later", "backend": backend("pty")}},
              {"execute": "quit"}]
    run = subprocess.run([BINARY, "-accel", "qtest", "-M", "none", "-display", "none", "-qmp", "stdio", "-chardev", "pty,id=first"],
                         input="".join(json.dumps(order) for order in orders), capture_output=True, text=True, timeout=LIMIT)
    lines = run.stdout.splitlines()
    check(lines[0].startswith("char device redirected to /dev/pts/") and lines[0].endswith("(label first)"), lines)
    replies = [json.loads(line) for line in lines[1:]]
    check(replies[2]["return"]["pty"].startswith("/dev/pts/"), replies)


@test("a guest that reports without end: some reports leave at once, and the newest")
def _():
    def outl(address, value):
        guest.sendall(b"outl 0x%x 0x%x\n" % (address, value))
        return guest.recv(100)

    if os.path.exists("qtest"):
        os.unlink("qtest")
    with machine("-m", "16,slots=2,maxmem=64M", "-qtest", "unix:qtest,server=on,wait=off", "-qtest-log", "/dev/null") as m:
        c = m.connect()
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect("qtest")
            outl(0xa00, 1)              # the second module's place
            outl(0xa04, 3)
            for status in range(5000):
                same(outl(0xa08, status), b"OK\n")
        seen = []
        while not seen or seen[-1]["status"] != 4999:
            seen.append(c.wait("ACPI_DEVICE_OST")["info"])
        check(64 <= len(seen) < 5000, "%d events" % len(seen))
        same([info["status"] for info in seen[:64]], list(range(64)))
        same({(info["slot"], info["slot-type"], info["source"]) for info in seen}, {("1", "DIMM", 3)})
        same(c.do("query-acpi-ospm-status")[1]["status"], 4999)


@test("a mux over QMP: its users, and what stands below it")
def _():
    with machine("-chardev", "pty,id=below") as m:
        c = m.connect()
        refused(c.command("chardev-add", id="a", backend=backend("mux", chardev="none")), "no character device 'none'")
        refused(c.command("chardev-add", id="a", backend=backend("mux")), "data.chardev")
        same(c.do("chardev-add", id="m", backend=backend("mux", chardev="below")), {})
        refused(c.command("chardev-add", id="a", backend=backend("mux", chardev="below")), "in use")
        refused(c.command("chardev-remove", id="below"), "busy")
        same(c.do("chardev-remove", id="m"), {})
        same(c.do("chardev-remove", id="below"), {})


@test("-chardev in JSON is what chardev-add takes")
def _():
    unix = {"type": "unix", "data": {"path": "sock"}}
    described = {"id": "a", "backend": backend("socket", addr=unix, telnet=False)}
    with machine("-chardev", json.dumps(described), "-chardev", "socket,id=b,host=127.0.0.1,port=0,server,nowait,delay=off",
                 "-chardev", json.dumps({"id": "m", "backend": backend("mux", chardev="a")}),
                 "-serial", "chardev:m") as m:
        c = m.connect()
        names = {entry["label"]: entry["filename"] for entry in c.do("query-chardev")}
        same(names["a"], "disconnected:unix:sock,server=on")
        check(names["b"].startswith("disconnected:tcp:127.0.0.1:"), names)
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect("sock")
    for wrong, words in (({"id": "a"}, "'backend' is missing"), ({**described, "x": 1}, "'x' is unexpected"),
                         ({"id": "a", "backend": backend("file")}, "'backend.data.out' is missing")):
        status, _, err = suite.go("-accel", "qtest", "-display", "none", "-chardev", json.dumps(wrong))
        check(status == 1 and words in err.splitlines()[-1], err)


@test("a socket whose descriptor came by getfd becomes a character device")
def _():
    with machine() as m:
        c = m.connect()
        ours, theirs = socket.socketpair()
        same(c.send_fd(b'{"execute":"getfd","arguments":{"fdname":"peer"}}', theirs.fileno()), {"return": {}})
        theirs.close()
        addr = {"type": "fd", "data": {"str": "peer"}}
        refused(c.command("chardev-add", id="a", backend=backend("socket", addr=addr)), "does not listen")
        ours.settimeout(LIMIT)
        same(ours.recv(1), b"")  # the refused descriptor is closed
        ours, theirs = socket.socketpair()
        same(c.send_fd(b'{"execute":"getfd","arguments":{"fdname":"peer"}}', theirs.fileno()), {"return": {}})
        c.do("chardev-add", id="a", backend=backend("socket", addr=addr, server=False))
        check("a" in [entry["label"] for entry in c.do("query-chardev")], "not there")


@test("a character device is changed under its user")
def _():
    with machine("-chardev", "null,id=console", "-serial", "chardev:console", "-chardev", "null,id=b,mux=on") as m:
        c = m.connect()
        pty = c.do("chardev-change", id="console", backend=backend("pty"))["pty"]
        entry = [e for e in c.do("query-chardev") if e["label"] == "console"][0]
        same(entry, {"label": "console", "filename": "pty:" + pty, "frontend-open": True})
        refused(c.command("chardev-change", id="console", backend=backend("file", out="no/such")), "No such file")
        same([e for e in c.do("query-chardev") if e["label"] == "console"], [entry])
        refused(c.command("chardev-remove", id="console"), "busy")
        refused(c.command("chardev-change", id="none", backend=backend("null")), "Chardev 'none' does not exist")
        refused(c.command("chardev-change", id="b", backend=backend("null")), "hotswap")
        same(c.do("chardev-change", id="console", backend=backend("null")), {})


@test("--preconfig: some commands, then x-exit-preconfig makes the machine")
def _():
    with machine("--preconfig", "-name", "zoo") as m:
        c = m.connect()
        same(c.do("query-name"), {"name": "zoo"})
        same(c.do("query-status")["status"], "prelaunch")
        for name in ("stop", "cont", "query-machines"):
            refused(c.command(name), "permitted only after machine initialization")
        same(c.do("x-exit-preconfig"), {})
        while not c.do("query-status")["running"]:
            pass
        refused(c.command("x-exit-preconfig"), "only before machine initialization")
    with machine("--preconfig") as m:
        c = m.connect()
        c.do("quit")
        same(m.process.wait(LIMIT), 0)


@test("commands that come while the machine waits for a server are answered by the machine")
def _():
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as filler:
        listener.bind("server")
        listener.listen(0)
        filler.connect("server")  # there is no room for another one until this one is taken
        with machine("-qtest", "unix:server", "-blockdev", "driver=null-co,node-name=d", "-device", "virtio-blk-pci,drive=d") as m:
            c = m.connect(negotiate=False)
            c.send(b'{"execute":"qmp_capabilities"}{"execute":"query-block"}')
            check("QMP" in c.message(), "no greeting")
            listener.accept()[0].close()
            with listener.accept()[0]:
                same(c.reply(), {"return": {}})
                check(len(c.reply()["return"]) == 1, "the disk is not there")


@test("the probe run of libvirt")
def _():
    args = ["-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:qtest",
            "-qmp", "unix:qmp,server=on,wait=off", "-pidfile", "pid", "-daemonize"]
    status, out, err = suite.go(*args)
    same((status, out, err), (0, "", ""))
    with open("pid", encoding="ascii") as f:
        pid = int(f.read())
    try:
        c = Machine.connect(type("Daemon", (), {"process": type("P", (), {"poll": staticmethod(lambda: None)})})())
        same(c.do("query-current-machine"), {"wakeup-suspend-support": False})
        refused(c.command("inject-nmi"), "NMI")
    finally:
        os.kill(pid, 15)
    same(c.reply(), None)


@test("a listening socket that is inherited (fd=N), with one client after the other")
def _():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("inherited")
    listener.listen()
    with machine("-chardev", "socket,id=m,fd=%d,server=on,wait=off" % listener.fileno(),
                 "-mon", "chardev=m,id=monitor,mode=control", pass_fds=[listener.fileno()]) as m:
        listener.close()
        for _ in range(3):
            c = m.connect("inherited")
            same(c.do("query-name"), {})
            c.close()


sys.exit(suite.run())
