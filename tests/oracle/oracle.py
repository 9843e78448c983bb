# SPDX-License-Identifier: GPL-2.0-or-later
"""What the comparisons with QEMU 7.2 share: starting either emulator without running a CPU, the qtest
protocol, fw_cfg, PCI configuration space, and TAP output.

QEMU is "the oracle": what a guest can see there, it has to see in Kiln. Debian's package has no qtest
accelerator, but its server of the qtest protocol answers under tcg with the CPUs stopped."""
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

QEMU = "qemu-system-x86_64"
# What is not in Kiln yet, so not in the oracle's machine either.
QEMU_ARGS = ["-S", "-vga", "none"]
FW_CFG_DMA, FW_CFG_DATA = 0x10000, 0x20000  # in RAM: a request, what comes


def missing_tools(*tools):
    """The reason to skip, None when all are installed."""
    absent = [tool for tool in tools if not shutil.which(tool)]
    return f"{', '.join(absent)} not installed" if absent else None


class Emulator:
    """One emulator with its qtest connection; the oracle always has a QMP connection as well, Kiln when asked for."""

    def __init__(self, program, args, *, is_oracle, kvm=False, qmp=False):
        self.is_oracle, self.kvm = is_oracle, kvm
        self.events = []
        self.work = tempfile.mkdtemp(prefix="kiln-oracle-")
        self.listener = self._listen("qtest")
        accel = ["-accel", "kvm", "-S"] if kvm else ["-accel", "tcg"] if is_oracle else ["-accel", "qtest"]
        command = [program, *accel, *(QEMU_ARGS if is_oracle else []), "-display", "none", "-net", "none", "-qtest-log", "/dev/null",
                   "-qtest", f"unix:{self.work}/qtest"]
        qmp = self._listen("qmp") if is_oracle or qmp else None
        if qmp:
            command += ["-monitor", "none", "-qmp", f"unix:{self.work}/qmp"]
        self.errors = open(os.path.join(self.work, "stderr"), "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(command + args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.errors, env={**os.environ, "LC_ALL": "C"})
        self.socket = self._accept(self.listener, command + args)
        self.reader = self.socket.makefile("r", newline="\n")
        if qmp:
            self.qmp = self._accept(qmp, command + args).makefile("rw")
            try:
                self.qmp.readline()
                self.execute("qmp_capabilities")
            except OSError:
                raise self.failure(" ".join(args)) from None

    def _listen(self, name):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.join(self.work, name))
        listener.listen(1)
        return listener

    def _accept(self, listener, command):
        listener.settimeout(0.2)
        while True:
            try:
                connection = listener.accept()[0]
                connection.setblocking(True)
                return connection
            except socket.timeout:
                if self.process.poll() is not None:
                    raise self.failure(" ".join(command)) from None

    def failure(self, what):
        """An error that shows what the emulator said."""
        self.errors.seek(0)
        return RuntimeError(f"{'QEMU' if self.is_oracle else 'Kiln'}: {what}\n{self.errors.read()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.work, ignore_errors=True)

    def _message(self):
        line = self.qmp.readline()
        if not line:
            raise ConnectionError("the connection has ended")
        return json.loads(line)

    def ask(self, command, **arguments):
        """The reply to a QMP command; events before it are kept in self.events."""
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp.flush()
        reply = self._message()
        while "event" in reply:
            self.events.append(reply)
            reply = self._message()
        return reply

    def execute(self, command, **arguments):
        """What a QMP command returns."""
        reply = self.ask(command, **arguments)
        if "error" in reply:
            raise RuntimeError(f"{command}: {reply['error']}")
        return reply["return"]

    def wait_event(self, name):
        """The data of the first event of this name that was not waited for."""
        for event in self.events:
            if event["event"] == name:
                self.events.remove(event)
                return event.get("data", {})
        while True:
            event = self._message()
            if event["event"] == name:
                return event.get("data", {})
            self.events.append(event)

    def monitor(self, line):
        return self.execute("human-monitor-command", **{"command-line": line})

    def requests(self, lines):
        """Sends all, then returns all replies: a round trip for each would take far longer."""
        try:
            return self._requests(lines)
        except OSError as error:
            raise self.failure(f"{lines[0]}: {error}") from None

    def _requests(self, lines):
        replies = []
        for start in range(0, len(lines), 512):
            part = lines[start:start + 512]
            self.socket.sendall(("\n".join(part) + "\n").encode())
            for line in part:
                reply = self.reader.readline()
                while reply.startswith("IRQ "):
                    reply = self.reader.readline()
                if not reply.startswith("OK"):
                    raise self.failure(f"{line}: {reply.strip() or 'the emulator has gone away'}")
                replies.append(reply[3:].strip())
        return replies

    def request(self, line):
        return self.requests([line])[0]

    def inb(self, port):
        return int(self.request(f"inb {port:#x}"), 16)

    def outb(self, port, value):
        self.request(f"outb {port:#x} {value:#x}")

    def read(self, address, size):
        return bytes.fromhex(self.request(f"read {address:#x} {size}")[2:])

    # ---- fw_cfg

    def fw_cfg(self, key, size):
        """The first bytes through the port, the rest by DMA through low memory, as firmware does: a port gives a byte a request."""
        self.request(f"outw 0x510 {key:#x}")
        data = bytes(int(reply, 16) & 0xff for reply in self.requests(["inb 0x511"] * min(size, 64)))
        while len(data) < size:
            length = min(size - len(data), 0x40000)
            self.requests([f"write {FW_CFG_DMA:#x} 16 0x{struct.pack('>IIQ', 2, length, FW_CFG_DATA).hex()}", "outl 0x514 0",
                           f"outl 0x518 {int.from_bytes(FW_CFG_DMA.to_bytes(4, 'little'), 'big'):#x}"])
            if self.read(FW_CFG_DMA, 4) != bytes(4):
                raise self.failure(f"DMA of fw_cfg key {key:#x} does not end")
            data += self.read(FW_CFG_DATA, length)
        return data

    def fw_cfg_files(self):
        """name: (key, size), in the order of the directory."""
        count = int.from_bytes(self.fw_cfg(0x19, 4), "big")
        directory = self.fw_cfg(0x19, 4 + 64 * count)[4:]
        files = {}
        for at in range(0, len(directory), 64):
            name = directory[at + 8:at + 64].split(b"\0")[0].decode()
            files[name] = (int.from_bytes(directory[at + 4:at + 6], "big"),
                           int.from_bytes(directory[at:at + 4], "big"))
        return files

    # ---- PCI, CMOS

    def pci_read(self, bdf, size=256):
        lines = []
        for at in range(0, size, 4):
            lines += [f"outl 0xcf8 {0x80000000 | bdf << 8 | at:#x}", "inl 0xcfc"]
        return b"".join(int(reply, 16).to_bytes(4, "little") for reply in self.requests(lines)[1::2])

    def pci_write(self, bdf, at, value, size=4):
        letter = {1: "b", 2: "w", 4: "l"}[size]
        self.requests([f"outl 0xcf8 {0x80000000 | bdf << 8 | (at & ~3):#x}",
                       f"out{letter} {0xcfc + (at & 3):#x} {value:#x}"])

    def pci_functions(self):
        """bus 0 only, as device << 3 | function"""
        lines = []
        for devfn in range(256):
            lines += [f"outl 0xcf8 {0x80000000 | devfn << 8:#x}", "inl 0xcfc"]
        ids = [int(reply, 16) for reply in self.requests(lines)[1::2]]
        return [devfn for devfn in range(256) if ids[devfn] != 0xffffffff]

    def cmos(self):
        lines = []
        for at in range(128):
            lines += [f"outb 0x70 {at:#x}", "inb 0x71"]
        return bytes(int(reply, 16) & 0xff for reply in self.requests(lines)[1::2])


def start_both(kiln, args, kvm=False, qmp=False):
    """(oracle, kiln), args being the pair of their arguments."""
    theirs, ours = args
    oracle = Emulator(QEMU, theirs, is_oracle=True, kvm=kvm)
    try:
        return oracle, Emulator(kiln, ours, is_oracle=False, kvm=kvm, qmp=qmp)
    except BaseException:
        oracle.__exit__()
        raise


class Images:
    """Disk images for configurations: "@NAME:SIZE" in an argument becomes the path of a sparse
    file, one for each emulator because both lock it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="kiln-oracle-images-")

    def argument(self, text, side):
        if "@" not in text:
            return text
        head, rest = text.split("@", 1)
        spec, comma, tail = rest.partition(",")
        name, _, size = spec.partition(":")
        path = os.path.join(self.folder, side + name)
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.truncate(int(size, 0))
        return head + path + comma + tail

    def arguments(self, config):
        """The pair for start_both. A configuration is one list for both, or a pair of lists."""
        theirs, ours = config if isinstance(config, tuple) else (config, config)
        return [self.argument(text, "qemu-") for text in theirs], [self.argument(text, "kiln-") for text in ours]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def hex_lines(data, base=0):
    for at in range(0, len(data), 16):
        yield f"{base + at:04x}: {data[at:at + 16].hex(' ')}"


def run(configs, compare, tools=(QEMU,), qmp=False):
    """main() of a comparison: compare(oracle, kiln, name) returns the differences as lines. The program's
    arguments are Kiln's binary and, to run a part, names of configurations. Those that begin with "kvm-" run under KVM
    on both sides, the others without. qmp: Kiln gets a QMP connection, too."""
    binary, names = sys.argv[1], sys.argv[2:] or list(configs)
    print(f"1..{len(names)}", flush=True)
    reason, failed = missing_tools(*tools), False
    with Images() as images:
        for number, name in enumerate(names, 1):
            kvm = name.startswith("kvm-")
            why = reason or (kvm and not os.access("/dev/kvm", os.R_OK | os.W_OK) and "no /dev/kvm")
            if why:
                print(f"ok {number} {name} # SKIP {why}")
                continue
            started = time.monotonic()
            try:
                oracle, kiln = start_both(binary, images.arguments(configs[name]), kvm, qmp)
                with oracle, kiln:
                    bad = compare(oracle, kiln, name)
            except RuntimeError as error:
                bad = str(error).splitlines()
            for line in bad:
                print(f"# {line}")
            failed |= bool(bad)
            print(f"{'not ' if bad else ''}ok {number} {name} # {time.monotonic() - started:.1f} s", flush=True)
    return 1 if failed else 0
