# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM on a pipe: starts Kiln with its serial port on stdin and stdout, waits for text, types lines.

Waiting has no fixed limit: it goes on while the guest prints, and fails when nothing came for
SILENCE seconds, when the VM ends, or when a text that means failure comes first.
"""
import glob
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time

SILENCE = int(os.environ.get("KILN_TEST_SILENCE", "240"))
BAD = re.compile(rb"Kernel panic|BUG: |unable to handle|No bootable device|error: no such device|Entering emergency mode")
STUCK = re.compile(rb"INFO: task \S+ blocked for more than")
# Then the serial port: line status, interrupts enabled; both IDE channels: alternate status.
LOOK = ("info status", "info registers -a", "info irq", "info pic", "info blockstats", "info chardev", "i/xb 0x3fd", "i/xb 0x3f9", "i/xb 0x3f6", "i/xb 0x376")
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1bc|\r")


class GuestError(Exception):
    pass


class Skipped(Exception):
    """The test cannot run here; says why."""


class Qmp:
    """A QMP session with a Vm that listens at path."""

    def __init__(self, vm, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SILENCE)
        while True:
            try:
                self.socket.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                vm.check_alive()
                time.sleep(0.1)
        self.file = self.socket.makefile("rw")
        self.events = []
        self.file.readline()
        self("qmp_capabilities")

    def _message(self):
        try:
            line = self.file.readline()
        except OSError:
            raise GuestError(f"QMP says nothing; events before: {self.events}") from None
        if not line:
            raise GuestError("QMP has ended")
        return json.loads(line)

    def __call__(self, command, **arguments):
        """What the command returns."""
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            message = self._message()
            if "error" in message:
                raise GuestError(f"{command} {arguments}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]
            self.events.append(message)

    def wait(self, name, **data):
        """The data of an event of this name in which these members are so."""
        while True:
            for event in self.events:
                found = event.get("data", {})
                if event["event"] == name and all(found.get(key) == value for key, value in data.items()):
                    self.events.remove(event)
                    return found
            self.events.append(self._message())


class Vm:
    def __init__(self, args, log=None, echo=False):
        self.args = args
        self.echo = echo
        self.log = open(log, "wb") if log else None
        self.text = b""
        self.mark = 0
        self.started = time.monotonic()
        # A second monitor, to look at a guest that says nothing any more.
        self.monitor = os.path.join(tempfile.mkdtemp(prefix="kiln-guest."), "monitor")
        watch = ["-chardev", f"socket,id=watch,path={self.monitor},server=on,wait=off", "-mon", "chardev=watch,mode=readline"]
        self.process = subprocess.Popen(args + watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _take(self, timeout):
        """More output; False when there was none for timeout seconds, None at its end."""
        fd = self.process.stdout.fileno()
        if not select.select([fd], [], [], timeout)[0]:
            return False
        data = os.read(fd, 65536)
        if not data:
            return None
        if self.log:
            self.log.write(data)
            self.log.flush()
        if self.echo:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        self.text += data
        return True

    def check_alive(self):
        if self.process.poll() is not None:
            self.wait_end()
            raise GuestError(f"the VM ended (status {self.process.returncode})\n{self.tail()}")

    def threads(self):
        """What each of the VM's threads waits for in the kernel."""
        lines = []
        for task in sorted(glob.glob(f"/proc/{self.process.pid}/task/*"), key=lambda path: int(os.path.basename(path))):
            facts = []
            for name in ("comm", "wchan", "syscall", "stack"):
                try:
                    with open(f"{task}/{name}") as f:
                        facts.append(f.read().strip())
                except OSError as why:
                    facts.append(f"{name}: {why.strerror}")
            lines.append(f"{os.path.basename(task)} " + " | ".join(facts).replace("\n", " < "))
        return "\n".join(lines)

    def where(self):
        """What the vCPUs and interrupt controllers are at, twice; for a guest that stands still."""
        text = b""
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(10)
                link.connect(self.monitor)
                for _ in range(2):
                    for command in LOOK:
                        link.sendall(command.encode() + b"\n")
                        time.sleep(1)
                        text += link.recv(1 << 20)
        except OSError as why:
            text += f"the monitor does not answer: {why}".encode()
        lines = ESCAPES.sub(b"", text).decode(errors="replace").splitlines()
        return "\n".join(line for line in lines if not line.startswith(("XMM", "FPR", "DR", "FCW"))) + "\n" + self.threads()

    def tail(self):
        return ESCAPES.sub(b"", self.text)[-1500:].decode(errors="replace")

    def expect(self, pattern, bad=BAD):
        """The match of pattern in what came after the last match."""
        pattern = re.compile(pattern.encode() if isinstance(pattern, str) else pattern)
        while True:
            clean = ESCAPES.sub(b"", self.text[self.mark:])
            match = pattern.search(clean)
            if match:
                # Positions are of the cleaned text: keep what follows the match.
                self.text = self.text[:self.mark] + clean[match.end():]
                return match
            if STUCK.search(clean):
                raise GuestError(f"nothing was printed for minutes but that a task is blocked, while waiting for {pattern.pattern!r}\n"
                                 f"{self.where()}\n{self.tail()}")
            wrong = bad and bad.search(clean)
            if wrong:
                self._take(2)
                raise GuestError(f"the guest said {wrong.group()!r} while waiting for {pattern.pattern!r}\n{self.tail()}")
            got = self._take(SILENCE)
            if got is None:
                raise GuestError(f"the VM ended (status {self.process.wait()}) while waiting for {pattern.pattern!r}\n{self.tail()}")
            if got is False:
                raise GuestError(f"nothing was printed for {SILENCE} s while waiting for {pattern.pattern!r}\n{self.where()}\n{self.tail()}")

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def command(self, line):
        """Runs a shell command in the guest; its output as text. Fails when its status is not 0."""
        # The marker is typed broken, so that the echo of the line is not taken for its output.
        self.send(f"{line}; echo KILN-'DONE' $?")
        match = self.expect(rb"(?s)(.*?)KILN-DONE (\d+)")
        lines = match.group(1).decode(errors="replace").split("\n")
        text = "\n".join(text for text in lines if "KILN-'DONE'" not in text)
        if match.group(2) != b"0":
            raise GuestError(f"in the guest: {line}: status {match.group(2).decode()}\n{text}")
        return text

    def login(self):
        self.expect(r"kiln login: ")
        self.send("root")
        self.expect(r"root@kiln:.*# ")

    def wait_end(self):
        """Reads to the end of the VM; its exit status."""
        while self._take(SILENCE):
            pass
        try:
            return self.process.wait(SILENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise GuestError("the VM does not end\n" + self.tail())

    def seconds(self):
        return time.monotonic() - self.started

    def kill(self):
        self.process.kill()
        self.process.wait()
