#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-modules.py KILN enabled|disabled FOREIGN STRANGER: modules are loaded when something needs them and only
then; one that is missing, broken or of another build is refused by name. The last two are such objects."""
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import QTEST, Suite, check  # noqa: E402

KILN, STATE, FOREIGN, STRANGER = sys.argv[1:]
ENABLED = STATE == "enabled"
FOREIGN, STRANGER = os.path.abspath(FOREIGN), os.path.abspath(STRANGER)
suite = Suite(KILN)


def go(*args, program=None, **environment):
    done = subprocess.run([program or suite.binary, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, env=dict(os.environ, **environment))
    return done.returncode, done.stdout, done.stderr


def refused(*needles, program=None, **environment):
    """-device pci-testdev with what environment names: status 1, one line with all needles."""
    status, _, err = go(*QTEST, "-device", "pci-testdev", program=program, **environment)
    last = err.strip().splitlines()[-1] if err.strip() else ""
    check(status == 1 and all(n in last for n in ("'pci-testdev' needs the module 'testdev'", *needles)),
          f"status {status}: {err}")


def directory(source=None, text=None):
    """A module directory whose kiln-testdev.so is a copy of source, or text."""
    os.mkdir("modules")
    path = os.path.abspath("modules/kiln-testdev.so")
    if source:
        shutil.copy(source, path)
    elif text is not None:
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
    return os.path.dirname(path)


def opened(*args):
    """Does this run open kiln-testdev.so?"""
    status, _, err = go(*args, LD_DEBUG="files")
    return status, "kiln-testdev.so" in err


def test_on_demand():
    state = (*QTEST, "-print-state")
    status, used = opened(*state, "-device", "pci-testdev")
    check((status, used) == (0, ENABLED), f"with pci-testdev: status {status}, module opened: {used}")
    status, used = opened(*state)
    check((status, used) == (0, False), f"without: status {status}, module opened: {used}")


def test_lists():
    check('name "pci-testdev", bus PCI' in go("-device", "help")[1], "-device help leaves a module's device out")
    check(go("-device", "pci-testdev,help")[1].startswith("pci-testdev options:"), "-device pci-testdev,help")
    status, _, err = go(*QTEST, "-device", "pci-testdew")
    check(status == 1 and "pci-testdev" in err, "no hint at a module's device: " + err)


def test_trace():
    check("pci_testdev_write" in go("-trace", "help")[1].split(), "-trace help leaves a module's trace points out")
    status, _, err = go(*QTEST, "-print-state", "-trace", "pci_testdev_*")
    check(status == 0, "a pattern of a module's trace points: " + err)


def test_missing():
    where = directory()
    refused("not installed", where + "/kiln-testdev.so", "-Dmodules=disabled", KILN_MODULE_DIR=where)


def test_lists_without():
    status, out, err = go("-device", "help", KILN_MODULE_DIR=directory())
    check(status == 0 and not err and 'name "isa-serial"' in out and "pci-testdev" not in out, err + out)


def test_not_beside():
    shutil.copy(suite.binary, "kiln")
    refused("not installed", "/kiln/kiln-testdev.so", program=os.path.abspath("kiln"))


def test_moved_together():
    os.mkdir("bin")
    shutil.copy(suite.binary, "bin/kiln")
    shutil.copy(os.path.join(os.path.dirname(suite.binary), "kiln-testdev.so"), "bin")
    status, _, err = go(*QTEST, "-print-state", "-device", "pci-testdev", program=os.path.abspath("bin/kiln"))
    check(status == 0, err)


def test_no_object():
    refused("cannot be loaded: ", KILN_MODULE_DIR=directory(text="no shared object\n"))


def test_stranger():
    refused("is no module of Kiln", KILN_MODULE_DIR=directory(STRANGER))


def test_foreign():
    refused("another build (0.0-of-another-build, this program is ", KILN_MODULE_DIR=directory(FOREIGN))


def test_one_glib():
    """The functions that one object uses of GLib lie in one place, be it linked into the program or not."""
    status, _, err = go(*QTEST, "-print-state", "-netdev", "user,id=n", "-device", "e1000,netdev=n",
                        LD_DEBUG="bindings", LD_BIND_NOW="1")
    places = {}
    for user, place, name in re.findall(r"binding file (\S+) \[0\] to (\S+) \[0\]: normal symbol `(\w+)'", err):
        if name.startswith(("g_", "kiln_g_")):
            places.setdefault(os.path.basename(user), set()).add(place)
    check(status == 0 and "kiln-slirp.so" in places, f"status {status}: {sorted(places)}")
    mixed = {user: where for user, where in places.items() if len(where) > 1}
    check(not mixed, f"GLib in more than one place: {mixed}")
    own = places.get(os.path.basename(suite.binary), {suite.binary})
    check(places["kiln-slirp.so"] == own, f"the program uses {own}, its module {places['kiln-slirp.so']}")


def test_linked_in():
    status, _, err = go(*QTEST, "-print-state", "-device", "pci-testdev", KILN_MODULE_DIR=directory())
    check(status == 0, err)


suite.add("a module is loaded when a device needs it, and only then", test_on_demand)
suite.add("lists and hints have what modules bring", test_lists)
suite.add("trace points of modules can be named", test_trace)
if ENABLED:
    suite.add("a missing module is named, with its place and the ways out", test_missing)
    suite.add("lists leave out what is not installed", test_lists_without)
    suite.add("an installed program looks in LIBDIR/kiln", test_not_beside)
    suite.add("a program and its modules can be moved together", test_moved_together)
    suite.add("a file that is no shared object is refused", test_no_object)
    suite.add("a shared object that is no module is refused", test_stranger)
    suite.add("a module of another build is refused before it runs", test_foreign)
    suite.add("modules use the program's GLib, their libraries never a mixture of two", test_one_glib)
else:
    suite.add("no module is needed when all is linked in", test_linked_in)
sys.exit(suite.run())
