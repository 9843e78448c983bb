# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line tests stand on: TAP, runs of the program, background runs, a small qtest client."""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it
QTEST = ["-accel", "qtest", "-display", "none", "-nodefaults"]


class Skip(Exception):
    """The reason why a test cannot be done here."""


class Failed(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failed(text)


def same(value, expected, what=""):
    check(value == expected, "%s%r, expected %r" % (what and what + ": ", value, expected))


class Suite:
    """Tests by name, in order; run() prints TAP and returns the exit status."""

    def __init__(self, binary):
        self.binary = os.path.abspath(binary)
        self.tests = []
        self.used = set()  # options that a test gave
        self.home = tempfile.mkdtemp(prefix="kiln-cli.")
        os.chmod(self.home, 0o755)  # tests run the program as other users

    def add(self, name, function, *args):
        self.tests.append((name, function, args))

    def test(self, name):
        """Of a function: it is a test."""
        def add(function):
            self.add(name, function)
            return function
        return add

    def run(self):
        print("1..%d" % len(self.tests))
        failed = 0
        for number, (name, function, args) in enumerate(self.tests, 1):
            directory = os.path.join(self.home, "%d" % number)
            os.mkdir(directory, 0o777)
            os.chmod(directory, 0o777)
            os.chdir(directory)
            result, detail = "ok", ""
            try:
                function(*args)
            except Skip as reason:
                detail = " # SKIP %s" % reason
            except Failed as reason:
                result, failed = "not ok", failed + 1
                print("# " + str(reason).replace("\n", "\n# "))
            except Exception:  # a test that breaks is one that fails
                result, failed = "not ok", failed + 1
                print("# " + traceback.format_exc().replace("\n", "\n# "))
            print("%s %d - %s%s" % (result, number, name, detail), flush=True)
        os.chdir("/")
        shutil.rmtree(self.home, ignore_errors=True)
        return 1 if failed else 0

    # ---- runs ---------------------------------------------------------------------------

    def note(self, args):
        self.used.update(word.lstrip("-") for word in args if re.match(r"--?[A-Za-z]", word))

    def go(self, *args, prefix=(), **options):
        """Status, stdout, stderr of one run that ends by itself."""
        self.note(args)
        try:
            done = subprocess.run([*prefix, self.binary, *args], stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=LIMIT, **options)
        except subprocess.TimeoutExpired as late:
            raise Failed("hangs: %s\n%s" % (" ".join(args), late.stderr))
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def bad(self, args, *needles, **options):
        """Refused with status 1; the last line, which is returned, holds the needles; no file is left behind."""
        before = set(os.listdir("."))
        status, out, err = self.go(*args, **options)
        lines = err.splitlines() or [""]
        check(status == 1, "status %s, not 1: %s\n%s" % (status, args, err))
        check("kiln-system-x86_64: " in lines[-1], "no message of Kiln's is last: %s" % err)
        for needle in needles:
            check(needle in lines[-1], "%r is missing in the last line: %s" % (needle, lines[-1]))
        left = set(os.listdir(".")) - before
        check(not left, "left behind: %s" % left)
        return lines[-1]

    def good(self, args, warning=None):
        """Builds the machine. Says nothing, or what warning says."""
        status, out, err = self.go(*QTEST, *args, "-print-state")
        check(status == 0 and "{" in out, "status %s: %s\n%s" % (status, args, err))
        if warning is None:
            check(not err, "says something: %s" % err)
        else:
            check(warning in err, "does not say %r but: %s" % (warning, err))
        if not any("fd=" in arg or "%d" in arg for arg in args):
            self.round_trip([*QTEST, *args, "-print-state"], out)
        return out

    def round_trip(self, args, state):
        """What --print-config makes of a command line is the same machine, and printed again the same text."""
        status, text, err = self.go(*args, "--print-config")
        check(status == 0, "--print-config: status %d: %s" % (status, err))
        path = os.path.join(self.home, "printed.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        same(self.go("--config", path, "--print-config")[:2], (0, text), "printed again")
        same(self.go("--config", path)[:2], (0, state), "as a file")

    def says(self, args, pattern):
        """Prints something asked for, with status 0."""
        status, out, err = self.go(*args)
        check(status == 0, "status %d: %s" % (status, err))
        check(re.search(pattern, out, re.M), "%r is not in:\n%s" % (pattern, out))
        return out

    @contextlib.contextmanager
    def daemon(self, *args, accel=QTEST, prefix=()):
        """In the background; yields the pid. Ended by SIGTERM, which removes the pid file."""
        pidfile = os.path.abspath("daemon.pid")
        status, out, err = self.go(*accel, *args, "-daemonize", "-pidfile", pidfile, prefix=prefix)
        check(status == 0, "status %d: %s" % (status, err))
        pid = int(open(pidfile).read())
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_gone(pid)
        check(not os.path.exists(pidfile), "the pid file stays")

    @contextlib.contextmanager
    def machine(self, *args):
        """Under a qtest client; yields it."""
        listener = socket.socket(socket.AF_UNIX)
        path = "qtest%d" % len(os.listdir("."))
        listener.bind(path)
        listener.listen(1)
        self.note(args)
        process = subprocess.Popen([self.binary, *QTEST, "-qtest", "unix:" + path, *args], stdin=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # the qtest server logs there
        listener.settimeout(LIMIT)
        try:
            connection, _ = listener.accept()
            yield Qtest(process, connection)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(LIMIT)


def wait_gone(pid):
    """Returns when the process is no more (its own pidfd says when)."""
    try:
        fd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return
    import select
    ready, _, _ = select.select([fd], [], [], LIMIT)
    os.close(fd)
    check(ready, "process %d does not end" % pid)


class Qtest:
    """The client's end of the qtest protocol."""

    def __init__(self, process, connection):
        self.process = process
        connection.settimeout(LIMIT)
        self.file = connection.makefile("rw", encoding="ascii", newline="\n")

    def ask(self, line):
        self.file.write(line + "\n")
        self.file.flush()
        return self.file.readline().split()

    def out(self, size, port, value):
        return self.ask("out%s %#x %#x" % (size, port, value))

    def read(self, size, port):
        return int(self.ask("in%s %#x" % (size, port))[1], 16)

    def ends(self):
        """The exit status."""
        return self.process.wait(LIMIT)

    def fw_cfg(self, key, length):
        self.out("w", 0x510, key)
        return bytes(self.read("b", 0x511) for _ in range(length))

    def fw_cfg_file(self, name):
        directory = self.fw_cfg(0x19, 4)
        count = int.from_bytes(directory, "big")
        directory = self.fw_cfg(0x19, 4 + 64 * count)[4:]
        for i in range(count):
            entry = directory[64 * i:64 * (i + 1)]
            if entry[8:].rstrip(b"\0").decode() == name:
                return self.fw_cfg(int.from_bytes(entry[4:6], "big"), int.from_bytes(entry[:4], "big"))
        return None

    def cmos(self, index):
        self.out("b", 0x70, index)
        return self.read("b", 0x71)


def option_tables(source):
    """{name: (table, takes an argument)} of the tables in system/options*.c."""
    names = {}
    for file in ("machine", "devices", "process"):
        text = open(os.path.join(source, "system", "options_%s.c" % file)).read()
        for table, body in re.findall(r"const OptionDef (\w+)_option_defs\[\] = \{(.*?)\n? *\{\}\};", text, re.S):
            for name, arg in re.findall(r'\{"([A-Za-z0-9_-]+)",\s*(NULL|")', body):
                names[name] = (table, arg != "NULL")
    return names
