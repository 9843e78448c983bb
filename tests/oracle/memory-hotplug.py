#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""memory-hotplug.py KILN [CONFIG...]: modules of memory come and go beside QEMU 7.2: where they lie, what device_add takes
and refuses, what the registers of ACPI's AML, the general purpose events and the lists then show, ejecting, reports, events."""
import sys
from random import Random

from hotplug import differing, each, random_accesses, run

SLOTS = ["-nodefaults", "-m", "128M,slots=4,maxmem=1G"]
NUMA = ["-nodefaults", "-m", "64M,slots=2,maxmem=256M", "-smp", "2,sockets=2", "-object", "memory-backend-ram,id=n0,size=32M",
        "-object", "memory-backend-ram,id=n1,size=32M", "-numa", "node,memdev=n0", "-numa", "node,memdev=n1"]
CONFIGS = {"registers": SLOTS, "places": SLOTS, "refusals": SLOTS, "numa": NUMA, "none": ["-nodefaults"],
           "no-slots": ["-nodefaults", "-m", "128M,maxmem=1G"], "no-acpi": SLOTS + ["-no-acpi"], "random": SLOTS,
           "cold": SLOTS + ["-object", "memory-backend-ram,id=a,size=64M", "-device", "pc-dimm,id=cold,memdev=a,slot=2"],
           "high": ["-nodefaults", "-m", "5G,slots=2,maxmem=7G"], "kvm-registers": SLOTS + ["-cpu", "qemu64"]}
BASE, FLAGS, GPE = 0xa00, 0xa14, 0xafe0
M = 1 << 20
FIRST = 1 << 32


def looks(m):
    """What a guest and a manager see."""
    seen = {"gpe": m.request(f"inw {GPE:#x}")}
    for slot in (0, 1, 2, 3, 4, 0xffffffff):
        m.request(f"outl {BASE:#x} {slot:#x}")
        seen[f"slot {slot:#x}"] = m.requests([f"inl {BASE + at:#x}" for at in range(0, 24, 4)])
    seen["devices"] = m.execute("query-memory-devices")
    seen["size"] = m.execute("query-memory-size-summary")
    seen["ospm"] = [s for s in m.ask("query-acpi-ospm-status").get("return", []) if s["slot-type"] == "DIMM"]
    for line in ("info numa", "info memory-devices", "info memory_size_summary"):
        seen[line] = m.monitor(line)
    return seen


def differences(machines, when):
    return differing(machines, when, looks)


def backend(m, name, size, kind="memory-backend-ram", **more):
    m.execute("object-add", **{"qom-type": kind, "id": name, "size": size, **more})


def add(m, name, size=64 * M, kind="memory-backend-ram", **properties):
    backend(m, "m" + name, size, kind)
    return m.ask("device_add", driver="pc-dimm", id=name, memdev="m" + name, **properties)


def compare_registers(machines):
    bad = differences(machines, "at first")
    each(machines, lambda m: add(m, "x"))
    bad += differences(machines, "plugged")
    each(machines, lambda m: m.requests([f"outl {BASE:#x} 0", f"outb {FLAGS:#x} 2", f"outw {GPE:#x} 8"]))
    bad += differences(machines, "seen")
    each(machines, lambda m: m.requests([f"outl {BASE:#x} 0", f"outl {BASE + 4:#x} 1", f"outl {BASE + 8:#x} 0x81"]))
    events = each(machines, lambda m: m.wait_event("ACPI_DEVICE_OST"))
    bad += [] if events[0] == events[1] else [f"ACPI_DEVICE_OST: {events[1]}, QEMU's {events[0]}"]
    bad += differences(machines, "reported")
    replies = each(machines, lambda m: (m.ask("device_del", id="x"), m.ask("device_del", id="x")))
    bad += [] if replies[0] == replies[1] else [f"device_del twice: {replies[1]}, QEMU's {replies[0]}"]
    bad += differences(machines, "asked to go")
    replies = each(machines, lambda m: m.ask("object-del", id="mx").get("error", {}).get("class"))
    bad += [] if replies == ["GenericError"] * 2 else [f"memory in use was deleted: {replies}"]
    each(machines, lambda m: m.requests([f"outl {BASE:#x} 0", f"outb {FLAGS:#x} 4", f"outw {GPE:#x} 8"]))
    bad += differences(machines, "request seen")
    each(machines, lambda m: m.requests([f"outl {BASE:#x} 0", f"outb {FLAGS:#x} 8"]))
    events = each(machines, lambda m: m.wait_event("DEVICE_DELETED"))
    bad += [] if events[0] == events[1] else [f"DEVICE_DELETED: {events[1]}, QEMU's {events[0]}"]
    bad += differences(machines, "ejected")
    each(machines, lambda m: m.execute("object-del", id="mx"))
    # Again; and the guest ejects what nobody wants to go, and what is not there.
    each(machines, lambda m: add(m, "x", slot=3))
    each(machines, lambda m: m.requests([f"outl {BASE:#x} 2", f"outb {FLAGS:#x} 8", f"outl {BASE:#x} 9", f"outb {FLAGS:#x} 8",
                                         f"outl {BASE:#x} 3", f"outb {FLAGS:#x} 8"]))
    each(machines, lambda m: m.wait_event("DEVICE_DELETED"))
    return bad + differences(machines, "slot 3 ejected")


def content(m):
    """Memory of modules is the guest's, below and above their ends nothing is."""
    m.request(f"write {FIRST:#x} 4 0x01020304")
    m.request(f"write {FIRST + 64 * M - 2:#x} 4 0xa1a2a3a4")
    return [m.read(address, 4).hex() for address in (FIRST, FIRST + 64 * M - 4, FIRST + 64 * M)]


def compare_places(machines):
    each(machines, lambda m: add(m, "a"))
    theirs, ours = each(machines, content)
    bad = [] if theirs == ours else [f"memory: {ours}, QEMU's {theirs}"]
    each(machines, lambda m: add(m, "b", addr=FIRST + 128 * M, slot=2))
    each(machines, lambda m: add(m, "c", 66 * M))                          # not between them
    each(machines, lambda m: add(m, "d", 4096, "memory-backend-memfd"))   # between them
    return bad + differences(machines, "four modules")


def compare_refusals(machines):
    bad = []

    def both(what, command, **arguments):
        theirs, ours = each(machines, lambda m: m.ask(command, **arguments).get("error"))
        if theirs != ours and (not theirs or not ours or theirs["class"] != ours["class"] or
                               not ours["desc"].startswith(theirs["desc"])):
            bad.append(f"{what}: {ours}, QEMU's {theirs}")

    for name, size, kind in (("a", 64 * M, "ram"), ("big", 897 * M, "ram"), ("odd", 3 * M, "ram"), ("page", 4096, "ram"),
                             ("b", 64 * M, "ram"), ("c", 4096, "memfd"), ("d", 4096, "memfd")):
        each(machines, lambda m: backend(m, name, size, "memory-backend-" + kind))
    dimm = {"driver": "pc-dimm", "id": "x"}
    both("nothing", "device_add", **dimm)
    both("no such memory", "device_add", **dimm, memdev="nosuch")
    both("no memory", "device_add", **dimm, memdev="pci.0")
    for name in ("big", "odd", "page"):
        both(name, "device_add", **dimm, memdev=name)
    for address in (0x1000, FIRST - 64 * M, FIRST + 1, FIRST + M, FIRST + 0x138000000, FIRST + 0x138000000 - 62 * M, 1 << 63,
                    (1 << 64) - 64 * M):
        both(f"at {address:#x}", "device_add", **dimm, memdev="a", addr=address)
    for slot in (4, -2, 0x7fffffff):
        both(f"slot {slot}", "device_add", **dimm, memdev="a", slot=slot)
    both("node 1", "device_add", **dimm, memdev="a", node=1)
    bad += differences(machines, "after these")
    both("fine", "device_add", **dimm, memdev="a", slot=1, addr=FIRST + 64 * M)
    both("the same id", "device_add", **dimm, memdev="b")
    dimm["id"] = "y"
    both("memory in use", "device_add", **dimm, memdev="a")
    both("its slot", "device_add", **dimm, memdev="b", slot=1)
    both("overlap from below", "device_add", **dimm, memdev="b", addr=FIRST + 2 * M)
    both("overlap from above", "device_add", **dimm, memdev="b", addr=FIRST + 126 * M)
    both("fine, too", "device_add", **dimm, memdev="b", addr=FIRST)
    both("the third", "device_add", driver="pc-dimm", memdev="c")
    both("the fourth", "device_add", driver="pc-dimm", memdev="d")
    each(machines, lambda m: backend(m, "e", 2 * M))
    both("no slot is left", "device_add", driver="pc-dimm", memdev="e")
    both("no such module", "device_del", id="z")
    for what, command, arguments in (("a number", "device_add", {**dimm, "memdev": 1}),
                                     ("a bus", "device_add", {**dimm, "memdev": "e", "bus": "pci.0"}),
                                     ("its size", "device_add", {**dimm, "memdev": "e", "size": 5}),
                                     ("nvdimm", "device_add", {"driver": "nvdimm", "memdev": "e"}),
                                     ("its address", "qom-set", {"path": "/machine/peripheral/x", "property": "addr", "value": 0})):
        replies = each(machines, lambda m: m.ask(command, **arguments))
        if not all("error" in r for r in replies):
            bad.append(f"{what}: {replies[1]}, QEMU's {replies[0]}")
    return bad + differences(machines, "after all these")


def compare_numa(machines):
    each(machines, lambda m: add(m, "x", 32 * M, node=1))
    bad = differences(machines, "in node 1")
    theirs, ours = each(machines, lambda m: add(m, "y", 32 * M, node=2)["error"])
    return bad + ([] if theirs == ours else [f"node 2: {ours}, QEMU's {theirs}"])


def compare_none(machines):
    theirs, ours = each(machines, lambda m: add(m, "x")["error"])
    bad = [] if ours["desc"].startswith(theirs["desc"]) else [f"{ours}, QEMU's {theirs}"]
    return bad + differences(machines, "without slots")


compare_no_slots = compare_none


def compare_no_acpi(machines):
    theirs, ours = each(machines, lambda m: add(m, "x")["error"])
    return [] if theirs == ours else [f"{ours}, QEMU's {theirs}"]


def compare_cold(machines):
    bad = differences(machines, "at first")
    each(machines, lambda m: m.execute("device_del", id="cold"))
    return bad + differences(machines, "asked to go")


def compare_high(machines):
    each(machines, lambda m: add(m, "x", 64 * M))
    return differences(machines, "above 5 GiB")


def compare_random(machines):
    each(machines, lambda m: add(m, "x"))
    each(machines, lambda m: add(m, "y", slot=3))
    return random_accesses(machines, Random("modules"), 600, BASE, 24, (0, 4, 8, 0x14),
                           lambda at: at >= 0x10 - 3 or at < 4) or differences(machines, "after them")


sys.exit(run(CONFIGS, globals()))
