#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""cpu-models.py KILN: CPU models as a manager sees them, Kiln beside QEMU 7.2 on the same /dev/kvm: which there are, what
this host lacks of each, every property of their expansions, places for CPUs. Differences need a reason, below."""
import json
import os
import subprocess
import sys

from oracle import QEMU, missing_tools

# Properties of QEMU's that are not here, and why.
NOT_HERE = {
    "x-": "experimental, or for machines before 7.2",
    "memory": "an object of QEMU's own", "start-powered-off": "not of PCs", "tcg-cpuid": "of an accelerator that is not here",
    "kvm-no-smi-migration": "for machines before 2.3", "lbr-fmt": "LBR is not implemented", "lbr_fmt": "the same",
    "hv-syndbg": "the kernel debugger's channel is not implemented",
    "realized": "every device's, read as an object",
}
# Where the values differ, and why.
DIFFERENT = {}


class Qmp:
    def __init__(self, program, args):
        self.process = subprocess.Popen([program, "-S", "-display", "none", "-monitor", "none", "-qmp", "stdio", *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.process.stdout.readline()
        self.call("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def call(self, command, **arguments):
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise RuntimeError(f"{command}: the connection has ended")
            reply = json.loads(line)
            if "event" not in reply:
                return reply

    def ask(self, command, **arguments):
        reply = self.call(command, **arguments)
        if "error" in reply:
            raise RuntimeError(f"{command} {arguments}: {reply['error']}")
        return reply["return"]

    def expand(self, kind, name, **props):
        return self.ask("query-cpu-model-expansion", type=kind, model={"name": name, "props": props})["model"]


def excused(name):
    return any(name == known or known.endswith("-") and name.startswith(known) for known in NOT_HERE)


def compare_props(what, ours, theirs):
    problems = [f"{what}: name is {ours['name']}, QEMU's {theirs['name']}"] if ours["name"] != theirs["name"] else []
    ours, theirs = ours["props"], theirs["props"]
    for name in sorted(theirs):
        if name not in ours:
            if not excused(name):
                problems.append(f"{what}: {name} is missing ({theirs[name]!r})")
        elif ours[name] != theirs[name] and name not in DIFFERENT:
            problems.append(f"{what}: {name} is {ours[name]!r}, QEMU's {theirs[name]!r}")
    return problems + [f"{what}: {name} is not QEMU's" for name in sorted(ours) if name not in theirs]


def definitions(kiln, qemu):
    ours = {d["name"]: d for d in kiln.ask("query-cpu-definitions")}
    theirs = {d["name"]: d for d in qemu.ask("query-cpu-definitions")}
    problems = [f"{name} is missing" for name in theirs if name not in ours] + \
               [f"{name} is not QEMU's" for name in ours if name not in theirs]
    for name in ours.keys() & theirs.keys():
        for d in (ours[name], theirs[name]):
            d["unavailable-features"] = sorted(set(d["unavailable-features"]))
        if ours[name] != theirs[name]:
            problems.append(f"{ours[name]} differs from QEMU's {theirs[name]}")
    return problems


def expansions(kind):
    def check(kiln, qemu):
        problems = []
        for d in qemu.ask("query-cpu-definitions"):
            name = d["name"]
            problems += compare_props(f"{kind} {name}", kiln.expand(kind, name), qemu.expand(kind, name))
        for props in ({"migratable": False}, {"kvm": False}, {"vmx": True}, {"svm": True, "npt": True}):
            name = "max" if "migratable" in props else "Skylake-Server-v5"
            problems += compare_props(f"{kind} {name} {props}", kiln.expand(kind, name, **props),
                                      qemu.expand(kind, name, **props))
        return problems
    return check


def refusals(kiln, qemu):
    problems = []
    for name, props in (("nosuch", {}), ("max", {"nosuch": True}), ("max", {"avx": "what"}), ("max", {"avx": 5}),
                        ("max", {"level": "high"})):
        replies = [m.call("query-cpu-model-expansion", type="full", model={"name": name, "props": props})
                   for m in (kiln, qemu)]
        if replies[0].get("error", {}).get("class") != replies[1].get("error", {}).get("class"):
            problems.append(f"{name} {props}: {replies[0]}, QEMU's {replies[1]}")
    return problems


def places(kiln, qemu):
    problems = []
    for command in ("query-hotpluggable-cpus", "query-cpus-fast"):
        lists = []
        for m in (kiln, qemu):
            lists.append([{k: v for k, v in entry.items() if k not in ("qom-path", "thread-id")} | {"there": "qom-path" in entry}
                          for entry in m.ask(command)])
        if lists[0] != lists[1]:
            problems.append(f"{command}: {lists[0]}, QEMU's {lists[1]}")
    threads = [entry["thread-id"] for entry in kiln.ask("query-cpus-fast")]
    tasks = os.listdir(f"/proc/{kiln.process.pid}/task")
    return problems + [f"thread-id {t} is no thread of its" for t in threads if str(t) not in tasks]


def main():
    reason = missing_tools(QEMU) or (None if os.access("/dev/kvm", os.R_OK | os.W_OK) else "/dev/kvm cannot be used")
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    common = ["-accel", "kvm", "-cpu", "qemu64", "-smp", "3,maxcpus=8,sockets=2,dies=2,cores=1,threads=2"]
    checks = (("definitions", definitions), ("static expansions", expansions("static")),
              ("full expansions", expansions("full")), ("refusals", refusals), ("places for CPUs", places))
    print(f"1..{len(checks)}")
    failed = False
    with Qmp(sys.argv[1], common) as kiln, Qmp(QEMU, common + ["-vga", "none", "-net", "none"]) as qemu:
        for number, (name, check) in enumerate(checks, 1):
            try:
                problems = check(kiln, qemu)
            except RuntimeError as error:
                problems = [str(error)]
            for problem in problems[:60]:
                print("#", problem)
            print("not ok" if problems else "ok", number, "-", name)
            failed |= bool(problems)
    return failed


sys.exit(main())
