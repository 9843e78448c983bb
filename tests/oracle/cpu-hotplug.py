#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""cpu-hotplug.py KILN [CONFIG...]: CPUs come and go beside QEMU 7.2: what device_add takes and refuses, what the
registers of ACPI's AML, the general purpose events, CMOS, fw_cfg and the list of places then show, ejecting, reports, events."""
import sys
from random import Random

from hotplug import differing, each, random_accesses, run

CPU = "qemu64-x86_64-cpu"
SHAPE = ["-nodefaults", "-smp", "2,maxcpus=8,sockets=2,dies=1,cores=2,threads=2"]
DIES = ["-nodefaults", "-smp", "1,maxcpus=8,sockets=2,dies=2,cores=2,threads=1"]
NUMA = ["-nodefaults", "-m", "64", "-smp", "1,maxcpus=2,sockets=2", "-object", "memory-backend-ram,id=a,size=32M",
        "-object", "memory-backend-ram,id=b,size=32M", "-numa", "node,memdev=a,cpus=0", "-numa", "node,memdev=b,cpus=1"]
KVM = ["-cpu", "qemu64"]
CONFIGS = {"bitmap": SHAPE, "registers": SHAPE, "middle": SHAPE, "refusals": SHAPE, "dies": DIES, "numa": NUMA, "no-acpi": SHAPE + ["-no-acpi"],
           "cold": SHAPE + ["-device", f"{CPU},id=cold,socket-id=1,core-id=1,thread-id=1"],
           "kvm-registers": KVM + SHAPE, "kvm-refusals": KVM + SHAPE, "random": SHAPE}
SELECT, FLAGS, COMMAND, DATA, GPE = 0xaf00, 0xaf04, 0xaf05, 0xaf08, 0xafe0


def place(socket, core, thread):
    return {"socket-id": socket, "core-id": core, "thread-id": thread}


def looks(m, modern):
    """What a guest and a manager see."""
    seen = {"gpe": m.request(f"inw {GPE:#x}"), "fw_cfg": m.fw_cfg(5, 2).hex(), "cmos": m.cmos()[0x5f]}
    if modern:
        for cpu in range(9):
            m.request(f"outl {SELECT:#x} {cpu}")
            seen[f"flags {cpu}"] = m.inb(FLAGS)
            m.outb(COMMAND, 3)
            seen[f"apic id {cpu}"] = m.request(f"inl {DATA:#x}")
        m.request(f"outl {SELECT:#x} 0")
        m.outb(COMMAND, 0)
        seen["next"] = m.request(f"inl {DATA:#x}")
        seen["ospm"] = m.execute("query-acpi-ospm-status")
    else:
        seen["bitmap"] = [m.inb(SELECT + i) for i in range(32)]
    for query in ("query-hotpluggable-cpus", "query-cpus-fast"):
        entries = [{k: v for k, v in e.items() if k not in ("thread-id",)} for e in m.execute(query)]
        seen[query] = [{**e, "qom-path": e.get("qom-path", "").replace("unattached/device[1]", "unattached/device[2]")} for e in entries]
    return seen


def differences(machines, when, modern=True):
    return differing(machines, when, lambda m: looks(m, modern))


def to_modern(machines):
    each(machines, lambda m: m.outb(SELECT, 0))


def add(m, name, **properties):
    return m.ask("device_add", driver=CPU, id=name, **properties)


def deleted(m):
    """The events of a CPU that goes: its APIC's, its own. QEMU's TCG holds on to the CPU and never tells the second."""
    return [m.wait_event("DEVICE_DELETED") for _ in range(2 if m.kvm or not m.is_oracle else 1)]


def compare_bitmap(machines):
    bad = differences(machines, "at first", False)
    each(machines, lambda m: m.execute("device_add", driver=CPU, id="x", **place(1, 0, 1)))
    bad += differences(machines, "plugged", False)
    replies = each(machines, lambda m: m.ask("device_del", id="x"))
    if not all("error" in r for r in replies):
        bad.append(f"device_del: {replies[1]}, QEMU's {replies[0]}")
    to_modern(machines)
    return bad + differences(machines, "then the modern interface")


def plug_and_eject(machines, cpu, **where):
    each(machines, lambda m: m.execute("device_add", driver=CPU, id="x", **where))
    bad = differences(machines, "plugged")
    each(machines, lambda m: m.requests([f"outl {SELECT:#x} {cpu}", f"outb {FLAGS:#x} 2", f"outw {GPE:#x} 4"]))
    bad += differences(machines, "seen")
    each(machines, lambda m: m.requests([f"outl {SELECT:#x} {cpu}", f"outb {COMMAND:#x} 1", f"outl {DATA:#x} 1",
                                         f"outb {COMMAND:#x} 2", f"outl {DATA:#x} 0x80"]))
    events = each(machines, lambda m: m.wait_event("ACPI_DEVICE_OST"))
    bad += [] if events[0] == events[1] else [f"ACPI_DEVICE_OST: {events[1]}, QEMU's {events[0]}"]
    bad += differences(machines, "reported")
    each(machines, lambda m: m.execute("device_del", id="x"))
    bad += differences(machines, "asked to go")
    each(machines, lambda m: m.requests([f"outl {SELECT:#x} {cpu}", f"outb {FLAGS:#x} 4", f"outw {GPE:#x} 4"]))
    bad += differences(machines, "request seen")
    each(machines, lambda m: m.requests([f"outl {SELECT:#x} {cpu}", f"outb {FLAGS:#x} 8"]))
    events = each(machines, deleted)
    bad += [] if events[0] == events[1][:len(events[0])] else [f"DEVICE_DELETED: {events[1]}, QEMU's {events[0]}"]
    return bad + differences(machines, "ejected")


def compare_registers(machines):
    to_modern(machines)
    bad = differences(machines, "at first")
    bad += plug_and_eject(machines, 7, **place(1, 1, 1))
    if machines[0].kvm:                                        # QEMU's TCG may die of plugging in after ejecting
        bad += plug_and_eject(machines, 7, **{"apic-id": 7})   # the same place again
        bad += plug_and_eject(machines, 3, **place(0, 1, 1))
    # A guest ejects what nobody wants to go; what is not there and the first CPU it cannot.
    each(machines, lambda m: m.requests([f"outl {SELECT:#x} 5", f"outb {FLAGS:#x} 8", f"outl {SELECT:#x} 0", f"outb {FLAGS:#x} 8",
                                         f"outl {SELECT:#x} 1", f"outb {FLAGS:#x} 8"]))
    each(machines, deleted)
    return bad + differences(machines, "CPU 1 ejected")


def compare_middle(machines):
    to_modern(machines)
    return plug_and_eject(machines, 3, **place(0, 1, 1))


def compare_refusals(machines):
    to_modern(machines)
    bad = []
    for arguments in ({}, {"socket-id": 1}, {"socket-id": 1, "core-id": 0}, {"socket-id": 9, "core-id": 0, "thread-id": 0},
                      place(1, 5, 0), place(1, 0, 3), {**place(1, 0, 0), "die-id": 3}, place(0, 0, 0), place(0, 0, 1),
                      {**place(1, 0, 0), "node-id": 1}, {**place(1, 0, 0), "sse2": "what"}, {**place(1, 0, 0), "nosuch": 1}):
        theirs, ours = each(machines, lambda m: add(m, "x", **arguments).get("error"))
        if (theirs or {}).get("class") != (ours or {}).get("class"):
            bad.append(f"{arguments}: {ours}, QEMU's {theirs}")
        elif "nosuch" not in arguments and "sse2" not in arguments and theirs["desc"] != ours["desc"]:
            bad.append(f"{arguments}: {ours['desc']}, QEMU's {theirs['desc']}")
    for command, arguments in (("device_add", {"driver": CPU, "id": "x", "apic-id": 77}),
                               ("device_add", {"driver": CPU, "id": "x", "apic-id": 5, "core-id": 1}),
                               ("device_add", {"driver": "Nehalem-x86_64-cpu", "id": "x", **place(1, 0, 0)}),
                               ("device_add", {"driver": "x86_64-cpu", "id": "x"}),
                               ("device_add", {"driver": CPU, "id": "x", "bus": "pci.0", **place(1, 0, 0)}),
                               ("device_del", {"id": "/machine/unattached/device[0]"})):
        replies = each(machines, lambda m: m.ask(command, **arguments))
        if [r.get("error", {}).get("class") for r in replies] != ["GenericError"] * 2:
            bad.append(f"{command} {arguments}: {replies[1]}, QEMU's {replies[0]}")
    return bad + differences(machines, "after all these")


def compare_dies(machines):
    to_modern(machines)
    for arguments in (place(1, 0, 0), {**place(1, 0, 0), "die-id": 2}):
        theirs, ours = each(machines, lambda m: add(m, "x", **arguments)["error"])
        if theirs != ours:
            return [f"{arguments}: {ours}, QEMU's {theirs}"]
    return plug_and_eject(machines, 5, **{"die-id": 0, **place(1, 1, 0)})


def compare_numa(machines):
    to_modern(machines)
    theirs, ours = each(machines, lambda m: add(m, "x", **{"node-id": 0, **place(1, 0, 0)})["error"])
    return plug_and_eject(machines, 1, **{"node-id": 1, **place(1, 0, 0)}) + (
        [] if theirs == ours else [f"another node: {ours}, QEMU's {theirs}"])


def compare_no_acpi(machines):
    each(machines, lambda m: m.execute("device_add", driver=CPU, id="x", **place(1, 0, 0)))
    theirs, ours = each(machines, lambda m: m.ask("device_del", id="x")["error"])
    bad = [] if theirs == ours else [f"device_del: {ours}, QEMU's {theirs}"]
    theirs, ours = each(machines, lambda m: m.ask("query-acpi-ospm-status")["error"]["class"])
    return bad + ([] if theirs == ours else [f"query-acpi-ospm-status: {ours}, QEMU's {theirs}"])


def compare_cold(machines):
    bad = differences(machines, "at first", False)
    to_modern(machines)
    each(machines, lambda m: m.execute("device_del", id="cold"))
    return bad + differences(machines, "asked to go")


def compare_random(machines):
    to_modern(machines)
    each(machines, lambda m: add(m, "x", **place(1, 0, 0)))
    return random_accesses(machines, Random("CPUs"), 400, SELECT, 12, (0, 4, 5, 8), lambda at: at <= 4) or differences(
        machines, "after them")


sys.exit(run(CONFIGS, globals()))
