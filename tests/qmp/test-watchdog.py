#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The ib700 watchdog and what is done when its time has run out: -action, -watchdog-action, set-action, watchdog-set-action,
watchdog_action.

    test-watchdog.py KILN-SYSTEM"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from qmpclient import LIMIT, Machine, Qtest  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
SECOND = 10 ** 9


class Guarded:
    """A machine with a watchdog, its QMP connection and its time."""

    def __init__(self, *args):
        self.machine = Machine(BINARY, "-device", "ib700,id=dog", *Qtest.OPTIONS, *args)
        self.qmp = self.machine.connect()
        self.qtest = Qtest()

    def start(self, value):
        self.qtest.say("outb 0x443 0x%x" % value)

    def step(self):
        """The process may end in it."""
        self.qtest.send("clock_step 1")

    def wait(self, seconds):
        """Time passes; what the watchdog then did has been done."""
        self.qtest.say("clock_step %d" % (seconds * SECOND or 1))
        self.qmp.do("query-name")

    def events(self):
        found = [(e["event"], e.get("data")) for e in self.qmp.events]
        self.qmp.events = []
        return found

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.qtest.close()
        self.qmp.close()
        self.machine.__exit__()
        for name in ("qmp", "qtest"):
            if os.path.exists(name):
                os.unlink(name)


@test("its time: started, started anew, stopped, reset")
def _():
    with Guarded("-action", "watchdog=none", "-trace", "ib700*") as g:
        g.wait(100)
        g.start(0)                              # 30 s
        g.wait(29)
        g.start(0xe)                            # 2 s
        g.wait(1)
        g.qtest.say("outb 0x80 1")
        g.wait(1)                               # now
        g.wait(100)                             # and not again
        g.start(0xf)                            # no time: at once
        g.wait(0)
        g.start(0)
        g.qtest.say("outb 0x441 0")
        g.wait(31)
        g.start(0)
        g.qmp.do("system_reset")
        g.wait(31)
        same(g.qmp.do("query-status")["status"], "running")
        same(g.qmp.do("qom-get", path="/machine/peripheral/dog", property="type"), "ib700")
        g.machine.process.kill()
        lines = re.findall(rb":(ib700_\w+)", g.machine.process.stderr.read())
        same(b" ".join(lines).replace(b"ib700_", b"").decode(), "start start expired start expired start stop start")


def fired(g, *names):
    """What is told of it. The monitor holds back events of a kind that come more often than one a second."""
    g.start(0xf)
    g.wait(0)
    while not set(names) <= {e["event"] for e in g.qmp.events}:
        g.qmp.events.append(g.qmp.message())
    return sorted(g.events(), key=lambda event: names.index(event[0]))


@test("each action, set by each command")
def _():
    with Guarded() as g:
        reset = [("WATCHDOG", {"action": "reset"}), ("RESET", {"guest": True, "reason": "guest-reset"})]
        same(fired(g, "WATCHDOG", "RESET"), reset)  # what holds when nobody says anything
        g.qmp.do("watchdog-set-action", action="shutdown")
        same(fired(g, "WATCHDOG", "POWERDOWN"), [("WATCHDOG", {"action": "shutdown"}), ("POWERDOWN", None)])
        g.qmp.do("set-action", watchdog="pause")
        same(fired(g, "WATCHDOG", "STOP"), [("WATCHDOG", {"action": "pause"}), ("STOP", None)])
        same(g.qmp.do("query-status"), {"running": False, "singlestep": False, "status": "watchdog"})
        g.qmp.do("cont")
        same(g.qmp.do("query-status")["status"], "running")
        g.events()
        same(g.qmp.hmp("watchdog_action debug"), "")
        g.qmp.do("set-action", panic="none")    # leaves the others
        same(fired(g, "WATCHDOG"), [("WATCHDOG", {"action": "debug"})])
        g.qmp.do("set-action", watchdog="inject-nmi")
        same(fired(g, "WATCHDOG"), [("WATCHDOG", {"action": "inject-nmi"})])
        same(g.qmp.hmp("watchdog_action foo"), "Error: invalid parameter value: foo\r\n")
        for name, arguments, words in (
                ("watchdog-set-action", {"action": "x"}, "Parameter 'action' does not accept value 'x'"),
                ("watchdog-set-action", {}, "Parameter 'action' is missing"),
                ("set-action", {"watchdog": "y"}, "Parameter 'watchdog' does not accept value 'y'"),
                ("set-action", {"watchdog": 1}, "watchdog")):
            error = g.qmp.command(name, **arguments)["error"]
            same(error["class"], "GenericError")
            check(words in error["desc"], error)
        g.qmp.do("watchdog-set-action", action="poweroff")
        g.start(0xf)
        g.step()
        same(g.machine.process.wait(LIMIT), 0)
        check(b"watchdog: timer fired" in g.machine.process.stderr.read(), "no line")


@test("the command line's action; with -no-reboot and -no-shutdown")
def _():
    with Guarded("-watchdog-action", "pause") as g:
        same(fired(g, "WATCHDOG", "STOP")[0], ("WATCHDOG", {"action": "pause"}))
    with Guarded("-no-reboot") as g:
        g.start(0xf)
        g.step()
        same(g.machine.process.wait(LIMIT), 0)
    with Guarded("-action", "watchdog=poweroff", "-no-shutdown") as g:  # it is the process that ends
        g.start(0xf)
        g.step()
        same(g.machine.process.wait(LIMIT), 0)


sys.exit(suite.run())
