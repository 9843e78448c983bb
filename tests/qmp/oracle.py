# SPDX-License-Identifier: GPL-2.0-or-later
"""The same said to two programs, Kiln and, where it is installed, QEMU: HMP lines, and machines that run."""
import os
import re
import shutil
import subprocess

from qmpclient import LIMIT

QEMU = shutil.which("qemu-system-x86_64")


def answers(binary, accel, lines, *args, stopped=True):
    """The answers in order, each a text of lines that end with \\n."""
    command = [binary, "-accel", accel, "-display", "none", "-nodefaults", "-monitor", "stdio", *(["-S"] if stopped else []), *args]
    out = subprocess.run(command, input="\n".join([*lines, "quit\n"]).encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=LIMIT, check=True).stdout.decode(errors="replace").replace("\r", "")
    parts = out.split("(qemu) ")[1:-1]
    assert len(parts) == len(lines), out
    # The first line of each is what was typed, with the editor's keys.
    return [part.split("\n", 1)[1] for part in parts]


def version_is_7_2():
    if not QEMU:
        return False
    said = subprocess.run([QEMU, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()
    return re.search(r"version 7\.2", said) is not None and not os.environ.get("KILN_NO_ORACLE")


HALTED = "halted.rom"


def running(program, args):
    """A machine (tests/state/machine.py) whose VM runs; QEMU's processor only halts, in firmware that does nothing else."""
    from machine import Machine  # pylint: disable=import-outside-toplevel
    if program != QEMU:
        return Machine(program, args)
    with open(HALTED, "wb") as f:
        f.write(bytes(0xFFF0) + b"\xfa\xf4\xeb\xfd" + bytes(12))    # cli; again: hlt; jmp again
    m = Machine(program, [*args, "-bios", HALTED], qemu=True)
    m.qmp(("cont", {}))
    return m


def programs(binary):
    return [binary, *([QEMU] if version_is_7_2() else [])]
