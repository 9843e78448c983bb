# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM on a pipe: starts Kiln with its serial port on stdin and stdout, waits for text, types lines.

Waiting has no fixed limit: it goes on while the guest prints, and fails when nothing came for
SILENCE seconds, when the VM ends, or when a text that means failure comes first.
"""
import os
import re
import select
import subprocess
import sys
import time

SILENCE = int(os.environ.get("KILN_TEST_SILENCE", "240"))
BAD = re.compile(rb"Kernel panic|BUG: |unable to handle|No bootable device|error: no such device|Entering emergency mode")
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1bc|\r")


class GuestError(Exception):
    pass


class Vm:
    def __init__(self, args, log=None, echo=False):
        self.args = args
        self.echo = echo
        self.log = open(log, "wb") if log else None
        self.text = b""
        self.mark = 0
        self.started = time.monotonic()
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

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
            wrong = bad and bad.search(clean)
            if wrong:
                self._take(2)
                raise GuestError(f"the guest said {wrong.group()!r} while waiting for {pattern.pattern!r}\n{self.tail()}")
            got = self._take(SILENCE)
            if got is None:
                raise GuestError(f"the VM ended (status {self.process.wait()}) while waiting for {pattern.pattern!r}\n{self.tail()}")
            if got is False:
                raise GuestError(f"nothing was printed for {SILENCE} s while waiting for {pattern.pattern!r}\n{self.tail()}")

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
