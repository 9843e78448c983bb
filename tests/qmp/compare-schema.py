#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Kiln's query-qmp-schema beside QEMU 7.2's. What Kiln lists must be there in the same shape; what it lacks is counted.

    compare-schema.py PRINT-SCHEMA-PROGRAM KILN                TAP: fails on contradictions without a listed reason
    compare-schema.py PRINT-SCHEMA-PROGRAM --write FILE        writes the distance as Markdown (docs/qmp-status.md)

A contradiction is something that a manager written for QEMU would trip over: a command, event, member, enum value or
variant that QEMU has not, another type, another optionality, or a mandatory member that is missing."""
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
QEMU = "qemu-system-x86_64"


def live_schema(command):
    """What a program answers. It is told to end when all of the answer is here: QEMU forgets the rest of a long one then."""
    lines = "".join(json.dumps({"execute": name}) + "\n" for name in ("qmp_capabilities", "query-qmp-schema"))
    with subprocess.Popen([*command, "-nodefaults", "-display", "none", "-qmp", "stdio"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write(lines)
        process.stdin.flush()
        answer = None
        for line in process.stdout:
            answer = json.loads(line).get("return")
            if isinstance(answer, list):
                break
        process.stdin.write(json.dumps({"execute": "quit"}) + "\n")
        process.stdin.close()
        process.stdout.read()
    if not isinstance(answer, list):
        raise RuntimeError(f"{command[0]} has not answered query-qmp-schema")
    return answer


class Schema:
    def __init__(self, entries):
        self.types, self.commands, self.events = {}, {}, {}
        for entry in entries:
            table = {"command": self.commands, "event": self.events}.get(entry["meta-type"], self.types)
            assert entry["name"] not in table, f"{entry['name']} is listed twice"
            table[entry["name"]] = entry


def by_name(entries, key="name"):
    return {entry[key]: entry for entry in entries}


class Comparison:
    def __init__(self, kiln, qemu):
        self.kiln, self.qemu = kiln, qemu
        self.contradictions = []    # (path, what)
        self.missing = []           # (path, what)
        self.seen = set()

    def contradiction(self, path, what):
        self.contradictions.append((path, what))

    def names(self, path, noun, ours, theirs):
        """Those in both; reports the others."""
        for name in ours:
            if name not in theirs:
                self.contradiction(f"{path}/{name}", f"QEMU has no such {noun}")
        for name in theirs:
            if name not in ours:
                self.missing.append((f"{path}/{name}", noun))
        return [name for name in ours if name in theirs]

    def features(self, path, ours, theirs):
        self.names(path, "feature", [f"${f}" for f in ours.get("features", [])],
                   [f"${f}" for f in theirs.get("features", [])])

    def run(self):
        for name in self.names("", "command", self.kiln.commands, self.qemu.commands):
            ours, theirs = self.kiln.commands[name], self.qemu.commands[name]
            self.features(f"/{name}", ours, theirs)
            if ours.get("allow-oob", False) != theirs.get("allow-oob", False):
                self.contradiction(f"/{name}", "allow-oob differs")
            self.type(f"/{name}/arg-type", ours["arg-type"], theirs["arg-type"])
            self.type(f"/{name}/ret-type", ours["ret-type"], theirs["ret-type"])
        for name in self.names("", "event", self.kiln.events, self.qemu.events):
            self.features(f"/{name}", self.kiln.events[name], self.qemu.events[name])
            self.type(f"/{name}", self.kiln.events[name]["arg-type"], self.qemu.events[name]["arg-type"])

    def type(self, path, our_name, their_name):
        ours, theirs = self.kiln.types[our_name], self.qemu.types[their_name]
        if (our_name, their_name) in self.seen:
            return
        self.seen.add((our_name, their_name))
        if ours["meta-type"] != theirs["meta-type"]:
            self.contradiction(path, f"QEMU has {theirs['meta-type']}, Kiln {ours['meta-type']}")
            return
        getattr(self, ours["meta-type"])(path, ours, theirs)

    def builtin(self, path, ours, theirs):
        if ours["json-type"] != theirs["json-type"]:
            self.contradiction(path, f"QEMU has {theirs['json-type']}, Kiln {ours['json-type']}")

    def array(self, path, ours, theirs):
        self.type(path, ours["element-type"], theirs["element-type"])

    def enum(self, path, ours, theirs):
        ours, theirs = by_name(ours["members"]), by_name(theirs["members"])
        for name in self.names(path, "value", {f"^{n}": 0 for n in ours}, {f"^{n}": 0 for n in theirs}):
            self.features(f"{path}/{name}", ours[name[1:]], theirs[name[1:]])

    def object(self, path, ours, theirs):
        our_members, their_members = by_name(ours["members"]), by_name(theirs["members"])
        for name in self.names(path, "member", our_members, their_members):
            mine, other = our_members[name], their_members[name]
            self.features(f"{path}/{name}", mine, other)
            if ("default" in mine) != ("default" in other):
                self.contradiction(f"{path}/{name}", f"{'optional' if 'default' in other else 'mandatory'} in QEMU")
            self.type(f"{path}/{name}", mine["type"], other["type"])
        for name, other in their_members.items():
            if name not in our_members and "default" not in other:
                self.contradiction(f"{path}/{name}", "QEMU always has this member")
        if ours.get("tag", theirs.get("tag")) != theirs.get("tag"):
            self.contradiction(path, f"the tag is {theirs.get('tag')} in QEMU")
        our_cases, their_cases = by_name(ours.get("variants", []), "case"), by_name(theirs.get("variants", []), "case")
        for name in self.names(path, "variant", {f"+{n}": 0 for n in our_cases}, {f"+{n}": 0 for n in their_cases}):
            self.type(f"{path}/{name}", our_cases[name[1:]]["type"], their_cases[name[1:]]["type"])

    def alternate(self, path, ours, theirs):
        kinds = []
        for schema, entry in ((self.kiln, ours), (self.qemu, theirs)):
            types = [schema.types[member["type"]] for member in entry["members"]]
            kinds.append({f"~{t.get('json-type', t['meta-type'])}": t["name"] for t in types})
        for name in self.names(path, "branch", kinds[0], kinds[1]):
            self.type(f"{path}/{name}", kinds[0][name], kinds[1][name])


# ---- the paths that libvirt walks


def walk(schema, path):
    """Does this path lead somewhere?"""
    first, *rest = path.split("/")
    entry = schema.commands.get(first) or schema.events.get(first)
    for step in rest:
        if entry is None:
            return False
        if step.startswith("$"):
            return step[1:] in entry.get("features", [])
        while entry["meta-type"] == "array":
            entry = schema.types[entry["element-type"]]
        if step in ("arg-type", "ret-type"):
            entry = schema.types[entry[step]]
        elif step.startswith("^"):
            return entry["meta-type"] == "enum" and step[1:] in entry["values"]
        elif step.startswith("+"):
            case = by_name(entry.get("variants", []), "case").get(step[1:])
            entry = case and schema.types[case["type"]]
        else:
            member = by_name(entry.get("members", [])).get(step.lstrip("*")) if entry["meta-type"] == "object" else None
            if member and (not step.startswith("*") or "default" in member):
                entry = schema.types[member["type"]]
            else:
                entry = None
    return entry is not None


def libvirt_paths():
    """(path, must be there)"""
    with open(os.path.join(HERE, "libvirt-paths.txt"), encoding="utf-8") as f:
        lines = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    return [(line.removeprefix("have "), line.startswith("have ")) for line in lines]


def reasons():
    with open(os.path.join(HERE, "differences.txt"), encoding="utf-8") as f:
        lines = [line.strip() for line in f if line.strip() and not line.startswith("#")]
    return dict(line.split(": ", 1) for line in lines)


# ---- what people read


def listing(names):
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def status(comparison, known):
    kiln, qemu = comparison.kiln, comparison.qemu
    have = lambda ours, theirs: f"{len(set(ours) & set(theirs))} of {len(theirs)}"
    missing = [(path[1:], noun) for path, noun in comparison.missing]
    lines = ["# QMP beside QEMU 7.2's", "",
             "Written by `tests/qmp/compare-schema.py --write` from both programs' `query-qmp-schema`; not edited by hand.",
             "", "| | Kiln has |", "|---|---|",
             f"| commands | {have(kiln.commands, qemu.commands)} |", f"| events | {have(kiln.events, qemu.events)} |",
             f"| members, values, variants and features missing in what Kiln has | "
             f"{sum(noun not in ('command', 'event') for _, noun in missing)} |",
             "", "## Commands that Kiln has", "", listing(kiln.commands),
             "", "## Commands missing", "", listing(path for path, noun in missing if noun == "command"),
             "", "## Events missing", "", listing(path for path, noun in missing if noun == "event"),
             "", "## Parts missing in what Kiln has", "",
             "`^` is a value of an enum, `+` a variant, `$` a feature.", ""]
    parts = {}
    for path, noun in missing:
        if noun not in ("command", "event"):
            place, name = path.rsplit("/", 1)
            parts.setdefault(place, []).append(name)
    lines += [f"- `{place}`: {listing(parts[place])}" for place in sorted(parts)] or ["none"]
    lines += ["", "## What libvirt 9.0 looks for", "", "| path | Kiln | QEMU 7.2 |", "|---|---|---|"]
    for path, _ in libvirt_paths():
        yes = ["yes" if walk(schema, path) else "no" for schema in (kiln, qemu)]
        lines.append(f"| `{path}` | {yes[0]} | {yes[1]} |")
    lines += ["", "## Differences on purpose", ""]
    lines += [f"- `{path}`: {reason}" for path, reason in sorted(known.items())] or ["none"]
    return "\n".join(lines) + "\n"


class Tap:
    def __init__(self):
        self.count = self.failed = 0

    def check(self, good, what, details=()):
        self.count += 1
        self.failed += not good
        for detail in details:
            print(f"# {detail}")
        print(f"{'ok' if good else 'not ok'} {self.count} {what}")


def main():
    if not shutil.which(QEMU):
        print(f"1..0 # SKIP {QEMU} not installed")
        return 0
    dump = subprocess.run([sys.argv[1]], capture_output=True, text=True, check=True, timeout=60)
    listed = json.loads(dump.stdout)
    kiln = Schema(listed)
    comparison = Comparison(kiln, Schema(live_schema([QEMU, "-machine", "none"])))
    comparison.run()
    known = reasons()
    if "--write" in sys.argv:
        with open(sys.argv[sys.argv.index("--write") + 1], "w", encoding="utf-8") as f:
            f.write(status(comparison, known))
        return 0
    tap = Tap()
    found = {path for path, _ in comparison.contradictions}
    bad = [f"{path}: {what}" for path, what in comparison.contradictions if path not in known]
    tap.check(not bad, f"{len(comparison.kiln.commands)} commands and {len(comparison.kiln.events)} events have QEMU's "
              f"shape ({len(found & set(known))} differences on purpose)", bad)
    here = kiln.commands.keys() | kiln.events.keys()
    stale = sorted(path for path in known if path not in found and path.split("/")[1] in here)
    tap.check(not stale, "every reason in differences.txt is needed", stale)
    tap.check(live_schema([sys.argv[2], "-accel", "qtest"]) == listed, "the program answers what its tables say")
    for path, must in libvirt_paths():
        ours, theirs = walk(comparison.kiln, path), walk(comparison.qemu, path)
        good = ours or not must
        tap.check(good and (theirs or not ours), f"{path}: {'found' if ours else 'not here yet'}"
                  f"{'' if theirs else ', nor in QEMU'}")
    print(f"# missing: {len(comparison.missing)} commands, events and parts; compare-schema.py --write lists them")
    print(f"1..{tap.count}")
    return 1 if tap.failed else 0


if __name__ == "__main__":
    sys.exit(main())
