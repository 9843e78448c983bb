#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor for people: lines, editing keys, history, completion, arguments, and human-monitor-command.

    test-hmp.py KILN-SYSTEM"""
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from qmpclient import LIMIT, Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
PROMPT = "(qemu) "


class Person:
    """Someone at the monitor's socket."""

    def __init__(self, machine):
        machine.connect().close()  # answers when all sockets are there
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect("hmp")
        self.greeting = self.until(PROMPT)

    def until(self, text):
        seen = ""
        while not seen.endswith(text):
            data = self.socket.recv(1 << 16)
            if not data:
                return seen
            seen += data.decode()
        return seen

    def type(self, keys):
        """What is printed after the line's end, without the next prompt."""
        self.socket.sendall(keys + b"\n")
        return self.until("\r\n" + PROMPT if not keys else PROMPT).split("\r\n", 1)[1].removesuffix(PROMPT)


def machine():
    return Machine(BINARY, "-S", "-monitor", "unix:hmp,server=on,wait=off", "-name", "zoo")


@test("greeting, commands and what is no command")
def _():
    with machine() as m:
        p = Person(m)
        check(p.greeting.startswith("QEMU 7.2.22 monitor"), p.greeting)
        for line, answer in (
                (b"info status", "VM status: paused (prelaunch)\r\n"), (b"  info   status  ", None),
                (b"info name", "zoo\r\n"), (b"info uuid", "00000000-0000-0000-0000-000000000000\r\n"),
                (b"info kvm", "kvm support: disabled\r\n"), (b"foo", "unknown command: 'foo'\r\n"),
                (b"info foo", "unknown command: 'info foo'\r\n"), (b"cont", ""), (b"info status", "VM status: running\r\n"),
                (b"s", ""), (b"info status", "VM status: paused\r\n"),
                (b"system_wakeup", "Error: Unable to wake up: guest is not in suspended state\r\n"),
                (b"closefd a", "Error: File descriptor named 'a' not found\r\n")):
            said = p.type(line)
            check(answer is None or said == answer, "%r: %r" % (line, said))
        for line, words in (
                (b"stop a", "extraneous characters at the end of line"), (b"stop a", 'Try "help stop"'),
                (b"log", "string expected"), (b"log nosuch", "no such log item"), (b"trace-event qmp_command x", "'on' or 'off'"),
                (b"trace-event nosuch on", 'unknown event "nosuch"'), (b'log "int', "unterminated string"),
                (b"info mtree -z", "unsupported option -z"), (b"help", "system_reset"), (b"help stop", "stop|s  -- "),
                (b"help nosuch", "unknown command: 'nosuch'"), (b"? info status", "info status"), (b"info", "info mtree"),
                (b"info mtree", "memory-region: pc.ram"), (b"info mtree -o", "i8042-data owner:{dev path=/machine/"),
                (b"info mtree -o", "pc.ram orphan"), (b"info mtree -D", "[disabled]"), (b"info mtree -f -d", "    Physical sections\r\n      #0 @0000"),
                (b"info mtree -f -o", "i8042-data owner:{dev path="), (b"info mtree -f", "FlatView #0"), (b"info qtree", "dev: mc146818rtc"),
                (b"info trace-events qmp_*", "qmp_command : state 0"), (b"log help", "guest_errors"),
                (b"info version", "7.2.22")):
            check(words in p.type(line), "%r does not say %r" % (line, words))


@test("editing keys")
def _():
    with machine() as m:
        p = Person(m)
        for keys in (b"info statux\x7fs", b"infp\x08o status", b"fo status\x01in", b"status\x01info \x05", b"status\x1b[Hinfo \x1b[F",
                     b"nfo status\x01\x02i", b"info sttus\x02\x02\x02a", b"info sttus\x1b[D\x1b[D\x1b[Da",
                     b"Xinfo status\x01\x04", b"Xinfo status\x1b[1~\x1b[3~", b"info status xyz\x1b[1;5D\x0b",
                     b"junk\x15info status", b"info status junk\x17", b"info junk status\x1bb\x1bb\x0b\x15info status",
                     b"x info status\x01\x1bf\x17\x04", b"junk\x03info status", b"inf\x0co status",
                     b"info st\xc3\xa4\x7fatus", b"info status\x1b[99;99;99Z", b"info status\x1bOF"):
            said = p.type(keys)
            check(said.endswith("VM status: paused (prelaunch)\r\n"), "%r: %r" % (keys, said))
        p.socket.sendall(b"x" * 10000 + b"\x15")
        check("VM status" in p.type(b"info status"), "after a line that is too long")


@test("history")
def _():
    with machine() as m:
        p = Person(m)
        p.type(b"info name")
        p.type(b"info uuid")
        same(p.type(b"\x1b[A\x1b[A").splitlines()[-1], "zoo")
        same(p.type(b"\x10").splitlines()[-1], "zoo")
        same(p.type(b"info na\x1b[A\x1b[Bme").splitlines()[-1], "zoo")
        same(p.type(b"\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A").splitlines()[-1], "00000000-0000-0000-0000-000000000000")
        for n in range(100):
            p.type(b"help %d" % n)
        history = p.type(b"info history").splitlines()
        same(len(history), 64)
        same(history[-2:], ["help 99", "info history"])


@test("completion")
def _():
    with machine() as m:
        p = Person(m)
        check("VM status" in p.type(b"info statu\t"), "one match")
        check("VM status" in p.type(b"inf\tstatus"), "a blank follows the only match")
        p.socket.sendall(b"system_\t")
        check("system_powerdown" in p.until(PROMPT + "system_"), "all matches")
        p.socket.sendall(b"\x15help syste\t\t")
        check("system_wakeup" in p.until(PROMPT + "help system_"), "arguments of help")
        p.socket.sendall(b"\x15")
        check("info trace-events" in p.type(b"help info trace\t"), "words of info")
        same(p.type(b"trace-event qmp_comm\ton").replace("\x1b[K", ""), "")
        check("qmp_command : state 1" in p.type(b"info trace-events qmp_command"), "trace points")
        check("unknown" in p.type(b"nosuch\t"), "nothing to complete")


@test("human-monitor-command and two people; descriptors of a numeric argument")
def _():
    with machine() as m:
        p = Person(m)
        c = m.connect()
        same(c.hmp("info status"), "VM status: paused (prelaunch)\r\n")
        same(c.hmp("foo bar"), "unknown command: 'foo'\r\n")
        same(c.hmp(""), "")
        same(p.type(b"cont"), "")
        c.do("query-name")
        same(c.names(), ["RESUME"])
        check("error" in c.command("human-monitor-command", command_line="info status", cpu_index=77), "no such CPU")
        check("error" in c.command("human-monitor-command", command_line="info status", cpu_index=-1), "no such CPU")
        p.socket.sendall(b"quit\n")
        check(not p.until("(qemu) quit").endswith(PROMPT), "a prompt after quit")
        same(m.process.wait(LIMIT), 0)


@test("a terminal shared with a serial port: the port has it first, long answers come whole")
def _():
    with Machine(BINARY, "-chardev", "socket,id=x,path=shared,server=on,wait=off,mux=on", "-serial", "chardev:x",
                 "-mon", "chardev=x") as m:
        m.connect().do("query-status")
        p = Person.__new__(Person)
        p.socket = socket.socket(socket.AF_UNIX)
        p.socket.settimeout(LIMIT)
        p.socket.connect("shared")
        p.until(PROMPT)
        p.socket.sendall(b"quit\n\x01c")  # the first line is the port's
        p.until(PROMPT)
        for _ in range(5):
            said = p.type(b"info mtree")
            check(len(said) > 4096 and said.startswith("address-space: ") and said.endswith("\r\n\r\n"), said[-80:])
        same(m.process.poll(), None)


@test("qemu-io reads and writes drives and nodes")
def _():
    with open("disk.raw", "wb") as f:
        f.truncate(1 << 20)
    with open("disk2.raw", "wb") as f:
        f.truncate(1 << 20)
    with Machine(BINARY, "-S", "-drive", "file=disk.raw,format=raw,if=none,id=d0", "-device", "ide-hd,drive=d0,id=hd",
                 "-drive", "file=disk2.raw,format=raw,if=none,id=d1,readonly=on", "-drive", "if=none,id=empty",
                 "-blockdev", "driver=null-co,node-name=n0,size=65536") as m:
        c = m.connect()
        same(c.hmp('qemu-io d0 "length"'), "1 MiB\r\n")
        check(c.hmp('qemu-io d0 "write -P 7 4096 512"').startswith("wrote 512/512 bytes at offset 4096\r\n512 bytes, 1 ops; "), "written")
        same(c.hmp('qemu-io -d hd "read -P 7 -q 4096 512"'), "")
        same(c.hmp('qemu-io -d hd "read -P 8 -q 4096 512"'), "Pattern verification failed at offset 4096, 512 bytes\r\n")
        same(c.hmp('qemu-io n0 "write -q 0 512"'), "")
        same(c.hmp('qemu-io d1 "write -q 0 512"'), "Block node is read-only\r\n")
        same(c.hmp('qemu-io d0 "aio_write -q -P 9 0 64k"') + c.hmp('qemu-io d0 aio_flush'), "")
        same(c.hmp('qemu-io d0 "read -P 9 -q 0 4k"'), "")
        same(c.hmp('qemu-io d0 "quit"'), 'command "quit" not found\r\n')
        same(c.hmp('qemu-io d0 "read 0"'), "bad argument count 1 to read, expected at least 2 arguments\r\n")
        same(c.hmp('qemu-io empty length'), "Error: Device 'empty' has no medium\r\n")
        same(c.hmp('qemu-io gone length'), "Error: Cannot find device='gone' nor node-name='gone'\r\n")
        c.do("query-status")
    with open("disk.raw", "rb") as f:
        content = f.read()
    same((content[0], content[4096], content[4608], content[65535], content[65536]), (9, 9, 9, 9, 0))


sys.exit(suite.run())
