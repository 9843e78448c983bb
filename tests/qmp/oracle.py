# SPDX-License-Identifier: GPL-2.0-or-later
"""HMP lines said to a program, and its answers: Kiln's and, where it is installed, QEMU's."""
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
