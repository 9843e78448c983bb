# SPDX-License-Identifier: GPL-2.0-or-later
"""A small QMP client: bytes out, messages in. It checks the form of every line that it gets."""
import array
import json
import os
import socket
import subprocess
import time

LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it


def receive(sock, count):
    """So many bytes; fewer: it ended."""
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            break
        data += more
    return data


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(path)
        self.buffer = b""
        self.events = []
        self.greeting = None

    def negotiate(self):
        """Itself, past the greeting."""
        self.greeting = self.message()
        self.do("qmp_capabilities")
        return self

    def close(self):
        self.socket.close()

    def line(self):
        """The next line; None at the end."""
        while b"\n" not in self.buffer:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), "no CR LF: %r" % line[-20:]
        assert line.isascii(), "not ASCII: %r" % line[:80]
        return line[:-1]

    def message(self):
        line = self.line()
        return None if line is None else json.loads(line)

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n")

    def reply(self):
        """The next message that is no event; those are kept in self.events."""
        while True:
            message = self.message()
            if message is None or "event" not in message:
                return message
            assert set(message["timestamp"]) == {"seconds", "microseconds"}, message
            self.events.append(message)

    def ask(self, data):
        self.send(data)
        return self.reply()

    def command(self, name, /, **arguments):
        request = {"execute": name}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.ask(request)

    def do(self, name, /, **arguments):
        """The command's return value; it must succeed."""
        reply = self.command(name, **arguments)
        assert reply is not None and "return" in reply, "%s: %r" % (name, reply)
        return reply["return"]

    def send_fd(self, data, fd):
        self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        return self.reply()

    def hmp(self, line):
        return self.do("human-monitor-command", command_line=line)

    def wait(self, name):
        """The next event of this name: its data, if it has any. Those before it are forgotten."""
        while True:
            message = self.events.pop(0) if self.events else self.message()
            assert message is not None, "the end, and not " + name
            if message.get("event") == name:
                return message.get("data")

    def names(self):
        """Of the events so far, which are forgotten."""
        names = [event["event"] for event in self.events]
        self.events = []
        return names


class Qtest:
    """The device side of a machine that was started with OPTIONS."""
    OPTIONS = ("-qtest", "unix:qtest,server=on,wait=off", "-qtest-log", "none")

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect("qtest")

    def send(self, line):
        """Without an answer: the process may end in it."""
        self.socket.sendall(line.encode() + b"\n")

    def say(self, line):
        self.send(line)
        answer = b""
        while not answer.endswith(b"\n"):
            data = self.socket.recv(1000)
            assert data, "the end, and no answer to " + line
            answer += data
        assert answer.startswith(b"OK"), answer

    def close(self):
        self.socket.close()


class Machine:
    """The program with a QMP socket at ./qmp."""

    def __init__(self, binary, *args, accel="qtest", **options):
        self.process = subprocess.Popen(
            [binary, "-accel", accel, "-display", "none", "-nodefaults", "-qmp", "unix:qmp,server=on,wait=off", *args],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
        self.binary = binary

    def connect(self, path="qmp", negotiate=True):
        for _ in range(LIMIT * 100):
            if self.process.poll() is not None:
                raise AssertionError("ended: %r" % self.process.stderr.read())
            try:
                connection = Connection(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.01)
        return connection.negotiate() if negotiate else connection

    def resident(self):
        """KiB of memory."""
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def run_job(c, name, options):
    """Runs blockdev-create to its end, and forgets it: the states, and the error or None."""
    c.do("blockdev-create", **{"job-id": name, "options": options})
    states = []
    while not states or states[-1] != "concluded":
        data = c.wait("JOB_STATUS_CHANGE")
        assert data["id"] == name, data
        states.append(data["status"])
    jobs = [j for j in c.do("query-jobs") if j["id"] == name]
    told = [(j["type"], j["status"], j["current-progress"], j["total-progress"]) for j in jobs]
    assert told == [("create", "concluded", 1, 1)], jobs
    c.do("job-dismiss", id=name)
    data = c.wait("JOB_STATUS_CHANGE")
    assert data == {"id": name, "status": "null"}, data
    return states, jobs[0].get("error")
