#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""device-names.py KILN: each device that QEMU 7.2 lists is one of Kiln's, with the same short name, or is refused as one that
Kiln does not have yet, naming one that it has. TAP."""
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "qmp"), os.path.join(HERE, "..")]
from qmpclient import Machine  # noqa: E402
from tap import Skip, main, test  # noqa: E402

QEMU = "qemu-system-x86_64"
KILN = os.path.abspath(sys.argv[1])
LINE = re.compile(r'name "([^"]+)"(?:, bus [^,\n]+)?(?:, alias "([^"]+)")?')


def listed(program):
    """Of -device help: {name: short name or ""}; the models of CPUs are left out."""
    if not shutil.which(program):
        raise Skip("%s not installed" % program)
    lines = subprocess.run([program, "-device", "help"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = (LINE.match(line) for line in lines)
    return {match[1]: match[2] or "" for match in found if match and not match[1].endswith("-x86_64-cpu")}


def refusal(qmp, name):
    reply = qmp.command("device_add", driver=name, id="x")
    assert "error" in reply, "%s: %r" % (name, reply)
    return reply["error"]["desc"]


@test
def short_names():
    theirs, ours = listed(QEMU), listed(KILN)
    both = sorted(theirs.keys() & ours.keys())
    assert "virtio-net-pci" in both
    wrong = [(name, theirs[name], ours[name]) for name in both if theirs[name] != ours[name]]
    assert not wrong, "name, QEMU's short name, Kiln's: %r" % wrong
    for name in both:
        if ours[name]:
            said = [subprocess.run([KILN, "-device", word + ",help"], capture_output=True, text=True, check=True).stdout
                    for word in (name, ours[name])]
            assert said[0] == said[1] and said[0], name


@test
def devices_that_are_not_here():
    theirs, ours = listed(QEMU), listed(KILN)
    with Machine(KILN, "-S") as machine:
        qmp = machine.connect()
        assert "is not a valid device model name" in refusal(qmp, "nosuch")
        for name in sorted(theirs.keys() - ours.keys()):
            for word in filter(None, (name, theirs[name])):
                said = refusal(qmp, word)
                expected = ["is a device of QEMU that Kiln does not have yet", "cannot be made with -device: ", "needs the module"]
                assert any(said.startswith("'%s' %s" % (word, text)) for text in expected), said
                near = re.search(r"'([^']+)' is the nearest", said)
                assert not near or near[1] in ours, said


@test
def devices_that_are_here():
    """None of them is said to be missing."""
    ours = listed(KILN)
    for name in sorted(ours):
        said = subprocess.run([KILN, "-device", name + ",help"], capture_output=True, text=True, check=False)
        assert said.returncode == 0 and not said.stderr, said


sys.exit(main("kiln-device-names-"))
