# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulator whose guest does not run: its CPU stands at a HLT, devices are set up through qtest."""
import os
import socket
import subprocess

RAM_MIB = 64
BAR, SLOT = 0xE0000000, 4 << 3


def rom(work):
    """Real mode at f000:fff0: HLT, for ever."""
    path = os.path.join(work, "halt.rom")
    with open(path, "wb") as f:
        f.write(bytes(0xfff0) + b"\xfa\xf4\xeb\xfd" + bytes(12))
    return path


class Emulator:
    """args: the virtio device, in slot 4, and what it needs, pass_fds included. cpus: that it may run on; none: all."""

    def __init__(self, program, work, args, pass_fds=(), cpus=()):
        self.listener = socket.socket(socket.AF_UNIX)
        path = os.path.join(work, "qtest")
        if os.path.exists(path):
            os.unlink(path)
        self.listener.bind(path)
        self.listener.listen(1)
        line = [program, "-accel", "kvm", "-M", "pc,memory-backend=m", "-m", str(RAM_MIB), "-nodefaults", "-display", "none",
                "-bios", rom(work), "-object", f"memory-backend-memfd,id=m,size={RAM_MIB}M,share=on", "-qtest", f"unix:{path}",
                "-qtest-log", "/dev/null", *args]
        self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        pass_fds=pass_fds, preexec_fn=lambda: cpus and os.sched_setaffinity(0, cpus))
        self.listener.settimeout(30)
        try:
            self.socket = self.listener.accept()[0]
        except TimeoutError:
            self.process.kill()
            raise SystemExit(self.process.stderr.read().decode()) from None
        self.reader = self.socket.makefile("r")

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\n")
        reply = self.reader.readline()
        if not reply.startswith("OK"):
            raise SystemExit(f"{line}: {reply}")
        return reply[3:].strip()

    def config(self, register, value, size="l"):
        self.ask(f"outl 0xcf8 {0x80000000 | SLOT << 8 | register & 0xfc:#x}")
        self.ask(f"out{size} {0xcfc + (register & 3):#x} {value:#x}")

    def common(self, offset, size, value):
        self.ask(f"write{size} {BAR + offset:#x} {value:#x}")

    def setup(self, features, queues, size):
        """queues: (number, descriptors, available ring, used ring) of each."""
        self.config(0x20, BAR)
        self.config(0x24, 0)
        self.config(0x04, 6, "w")
        for status in (0, 1, 3):
            self.common(20, "b", status)
        for word in (0, 1):
            self.common(8, "l", word)
            self.common(12, "l", features >> 32 * word & 0xffffffff)
        self.common(20, "b", 11)
        for number, desc, avail, used in queues:
            self.common(22, "w", number)
            self.common(24, "w", size)
            for at, address in ((32, desc), (40, avail), (48, used)):
                self.ask(f"memset {address:#x} 0x2000 0")
                self.common(at, "l", address)
                self.common(at + 4, "l", 0)
            self.common(28, "w", 1)
        self.common(20, "b", 15)

    def ram_fd(self):
        for fd in os.listdir(f"/proc/{self.process.pid}/fd"):
            try:
                target = os.readlink(f"/proc/{self.process.pid}/fd/{fd}")
            except OSError:
                continue
            if target.startswith("/memfd:") and os.stat(f"/proc/{self.process.pid}/fd/{fd}").st_size == RAM_MIB << 20:
                return int(fd)
        raise SystemExit("the guest's RAM is no memfd")

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=30)
