# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that a test drives through the qtest protocol (Kiln, or QEMU stopped before its first
instruction), and the parts of a saved state."""
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
import time

QEMU = "qemu-system-x86_64"
NUMBERS = itertools.count()
EOF, START, PART, END, FULL, SUBSECTION, DESCRIPTION, CONFIGURATION, FOOTER = 0, 1, 2, 3, 4, 5, 6, 7, 0x7E


class Dead(Exception):
    """The emulator ended, or broke the connection."""


# What a machine's arguments have, and the kernel that it needs: shared objects, built beside the program under test.
FAKES = {"vhost-": "vhost-fake", "scsi-generic": "scsi-fake", "scsi-block": "scsi-fake"}
BUILD = os.path.dirname(os.path.abspath(sys.argv[1])) if len(sys.argv) > 1 else None  # a test may go elsewhere


def environment(args):
    """Devices behind vhost, and those that are SCSI units of the host, find a kernel that has them."""
    names = sorted({fake for word, fake in FAKES.items() if any(word in arg for arg in args)})
    if not names:
        return None
    fakes = [os.path.join(BUILD, f"tests/state/{name}.so") for name in names]
    for fake in fakes:
        if not os.path.exists(fake):
            raise FileNotFoundError(f"{fake} is not built: ninja -C DIR {os.path.relpath(fake, BUILD)}")
    asan = os.environ.get("ASAN_OPTIONS", "")
    return os.environ | {"LD_PRELOAD": ":".join(fakes), "ASAN_OPTIONS": f"{asan}{':' if asan else ''}verify_asan_link_order=0"}


class Machine:
    """Starts PROGRAM with these arguments; sockets and what it says on stderr are in work. Use it in a with statement."""

    def __init__(self, program, args, work=".", qemu=False, accel=None):
        number = next(NUMBERS)
        self.path = os.path.join(work, f"qtest.{number}")
        self.qmp_path = os.path.join(work, f"qmp.{number}")
        self.work, self.qemu = work, qemu
        self.still = qemu       # the clock does not move
        self.errors = open(os.path.join(work, f"stderr.{number}"), "w+b")
        own = ["-accel", accel or "tcg", "-S", "-qmp", f"unix:{self.qmp_path},server=on,wait=off", "-vga", "none",
               "-monitor", "none"] if qemu else ["-accel", accel or "qtest", "-qmp",
                                                                     f"unix:{self.qmp_path},server=on,wait=off"]
        self.events = []
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen(1)
            listener.settimeout(0.2)
            self.process = subprocess.Popen([program, "-qtest", f"unix:{self.path}", "-qtest-log", "none", "-display",
                                             "none", "-net", "none", "-m", "64", *own, *args], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=self.errors, env=environment(args))
            while True:
                try:
                    self.socket = listener.accept()[0]
                    break
                except TimeoutError:
                    if self.process.poll() is not None:
                        raise Dead(self.last_words()) from None
        self.reader = self.socket.makefile("rb")
        if os.environ.get("QTEST_DIRTY_LOG") and not qemu:
            self.ask("dirty_log on")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.terminate()
        status = self.process.wait()
        self.reader.close()
        words = self.last_words()
        self.errors.close()
        if status and not self.qemu:
            raise Dead(f"exit status {status}: {words}")

    def last_words(self):
        self.errors.flush()
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")[-4000:].strip()

    def request(self, line):
        """The reply, which may be FAIL. Interrupt lines on the way go to self.events."""
        try:
            self.socket.sendall(line.encode() + b"\n")
            while True:
                reply = self.reader.readline().decode("ascii").rstrip("\n")
                if not reply:
                    raise ConnectionError
                if not reply.startswith("IRQ "):
                    return reply
                self.events.append(reply[4:])
        except ConnectionError:
            self.process.wait()
            raise Dead(f"'{line}' ended it with {self.process.returncode}: {self.last_words()}") from None

    def ask(self, line):
        """What stands behind OK."""
        reply = self.request(line)
        if not reply.startswith("OK"):
            raise AssertionError(f"'{line}': {reply}")
        return reply[3:]

    def inb(self, port):
        return int(self.ask(f"inb 0x{port:x}"), 16)

    def inw(self, port):
        return int(self.ask(f"inw 0x{port:x}"), 16)

    def inl(self, port):
        return int(self.ask(f"inl 0x{port:x}"), 16)

    def outb(self, port, *values):
        for value in values:
            self.ask(f"outb 0x{port:x} 0x{value:x}")

    def outw(self, port, *values):
        for value in values:
            self.ask(f"outw 0x{port:x} 0x{value:x}")

    def outl(self, port, *values):
        for value in values:
            self.ask(f"outl 0x{port:x} 0x{value:x}")

    def readl(self, address):
        return int(self.ask(f"readl 0x{address:x}"), 16)

    def readq(self, address):
        return int(self.ask(f"readq 0x{address:x}"), 16)

    def writel(self, address, value):
        self.ask(f"writel 0x{address:x} 0x{value:x}")

    def writeq(self, address, value):
        self.ask(f"writeq 0x{address:x} 0x{value:x}")

    def read(self, address, size):
        return bytes.fromhex(self.ask(f"read 0x{address:x} {size}")[2:])

    def write(self, address, data):
        self.ask(f"write 0x{address:x} {len(data)} 0x{data.hex()}")

    def step(self, ns):
        if not self.still:
            return int(self.ask(f"clock_step {ns}"))
        return 0

    def config(self, devfn, register, value=None, size=4):
        """A PCI configuration register of bus 0."""
        self.outl(0xCF8, 0x80000000 | devfn << 8 | (register & 0xFC))
        port = 0xCFC + (register & 3)
        suffix = {1: "b", 2: "w", 4: "l"}[size]
        if value is None:
            return int(self.ask(f"in{suffix} 0x{port:x}"), 16)
        return self.ask(f"out{suffix} 0x{port:x} 0x{value:x}")

    # ---- state

    def save(self):
        path = os.path.join(self.work, "state.saved")
        if self.qemu:
            self.qmp_migrate(path)
        else:
            self.ask(f"state_save {path}")
        with open(path, "rb") as f:
            return f.read()

    def load(self, data):
        """None, or why it was refused."""
        path = os.path.join(self.work, "state.to-load")
        with open(path, "wb") as f:
            f.write(data)
        reply = self.request(f"state_load {path}")
        return None if reply.startswith("OK") else reply

    def put(self, name, **wanted):
        """Sets fields of a device's state, for what only a CPU could set."""
        refused = self.load(with_fields(self.save(), name, wanted))
        if refused:
            raise AssertionError(refused)

    def qmp(self, *commands):
        """The replies of the monitor: (command, arguments) each."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.qmp_path)
            f = s.makefile("rw")
            f.readline()

            def execute(command, **arguments):
                f.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                f.flush()
                while True:
                    reply = json.loads(f.readline())
                    if "error" in reply:
                        raise AssertionError(f"{command}: {reply['error']['desc']}")
                    if "event" not in reply:
                        return reply["return"]

            execute("qmp_capabilities")
            return [execute(command, **arguments) for command, arguments in commands]

    def error_of(self, command, **arguments):
        """Why this command is refused."""
        try:
            self.qmp((command, arguments))
        except AssertionError as e:
            return str(e)
        raise RuntimeError(f"{command} {arguments} was taken")

    def qmp_migrate(self, path):
        self.qmp(("migrate", {"uri": f"exec:cat > {path}"}))
        while self.qmp(("query-migrate", {}))[0].get("status") != "completed":
            time.sleep(0.02)

    def wait_incoming(self):
        """Until QEMU has taken the state of its -incoming option; a refusal ends it."""
        try:
            while self.qmp(("query-status", {}))[0]["status"] == "inmigrate":
                time.sleep(0.02)
        except (ConnectionError, FileNotFoundError, json.JSONDecodeError):
            self.process.wait()
            raise Dead(self.last_words()) from None


# ---- the parts of a stream --------------------------------------------------------------------

class Section:
    """One full section: where its fields are in the stream, and what the description says of them."""

    def __init__(self, start, body, end, name, instance, version):
        self.start, self.body, self.end = start, body, end   # end: after the footer
        self.name, self.instance, self.version = name, instance, version
        self.described = None

    def __str__(self):
        return f"{self.name} {self.instance}"


def skip_ram(data, at):
    """Behind the RAM pages that begin here."""
    while True:
        word, = struct.unpack_from(">Q", data, at)
        at, flags = at + 8, word & 0xFFF
        if flags & 0x10:
            return at
        if flags & 0x04:
            total = word & ~0xFFF
            while total:
                at += 1 + data[at]
                total -= struct.unpack_from(">Q", data, at)[0]
                at += 8
            continue
        if not flags & 0x20:
            at += 1 + data[at]
        if flags & 0x02:
            at += 1
        elif flags & 0x08:
            at += 4096
        else:
            raise ValueError(f"RAM record with flags 0x{flags:x} at {at}")


def find_footer(data, at, number):
    """Where the footer of this section is: a mark must stand behind it."""
    footer = bytes([FOOTER]) + struct.pack(">I", number)
    while True:
        at = data.index(footer, at)
        if data[at + 5] in (EOF, START, PART, END, FULL):
            return at
        at += 1


def split(data):
    """The header's end and the full sections of a stream, Kiln's or QEMU's; RAM is passed over."""
    length, = struct.unpack_from(">I", data, 9)
    header = at = 13 + length
    found = []
    while data[at] != EOF:
        mark, number = data[at], struct.unpack_from(">I", data, at + 1)[0]
        start, at = at, at + 5
        if mark in (START, FULL):
            length = data[at]
            name = data[at + 1:at + 1 + length].decode()
            instance, version = struct.unpack_from(">II", data, at + 1 + length)
            at += 9 + length
        if mark == FULL:
            footer = find_footer(data, at, number)
            found.append(Section(start, at, footer + 5, name, instance, version))
            at = footer + 5
        else:
            at = skip_ram(data, at) + 5
    describe(data, found)
    return header, found


def description(data):
    """The description at the end of a stream."""
    begin = data.rindex(b"{", 0, data.rindex(b'"page_size"'))
    return json.JSONDecoder().raw_decode(data[begin:].decode(errors="replace"))[0]


def describe(data, found):
    by_name = {(d["name"], d["instance_id"]): d for d in description(data)["devices"]}
    for section in found:
        section.described = by_name.get((section.name, section.instance))


def fields(node, at, prefix=""):
    """(path, offset, size) of the plain fields of a described section whose fields begin at offset at."""
    found = []
    for field in node.get("fields", []):
        name = f"{prefix}{field['name']}" + (f"[{field['index']}]" if "index" in field else "")
        for i in range(field.get("array_len", 1)):
            path = f"{name}[{i}]" if "array_len" in field else name
            if "struct" in field:
                found += fields(field["struct"], at, path + ".")[0]
            else:
                found.append((path, at, field["size"]))
            at += field["size"]
    for sub in node.get("subsections", []):
        at += 2 + len(sub["vmsd_name"]) + 4
        more, at = fields(sub, at, f"{prefix}<{sub['vmsd_name']}>.")
        found += more
    return found, at


def values(data, section):
    """{path: value} of the plain fields of a section."""
    return {p: int.from_bytes(data[o:o + n], "big") for p, o, n in fields(section.described, section.body)[0]}


def with_fields(data, name, wanted):
    """The stream, with these fields of the one section of that name set."""
    section, = (s for s in split(data)[1] if s.name == name)
    changed = bytearray(data)
    places = {path: (at, size) for path, at, size in fields(section.described, section.body)[0]}
    for path, value in wanted.items():
        at, size = places[path]
        changed[at:at + size] = value.to_bytes(size, "big")
    return bytes(changed)


def differences(a, b):
    """What differs between two streams, by section and field."""
    one, two = split(a)[1], split(b)[1]
    found = []
    if [str(s) for s in one] != [str(s) for s in two]:
        return [f"sections: {sorted({str(s) for s in one} ^ {str(s) for s in two})}"]
    for s, t in zip(one, two):
        if a[s.body:s.end - 5] == b[t.body:t.end - 5]:
            continue
        left = {p: a[o:o + n].hex() for p, o, n in fields(s.described, s.body)[0]}
        right = {p: b[o:o + n].hex() for p, o, n in fields(t.described, t.body)[0]}
        found += [f"{s}: {p} was {left.get(p)}, is {right.get(p)}" for p in {**left, **right}
                  if left.get(p) != right.get(p)]
    return found
