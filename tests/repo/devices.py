#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""devices.py KILN ROOT: what every device owes to users and to its next author.

docs/testing.md has a table of devices and their tests. Each device that the program has is in it; the tests that a row
names exist; each property says what it is; a device with state has a table of it and a reset; its accesses can be traced.
"""
import json
import os
import re
import subprocess
import sys

NO_RESET = {"kvmclock": "the clock goes on over a reset"}


def ask(program, *commands):
    """Return values of QMP commands."""
    lines = [{"execute": "qmp_capabilities"}, *commands, {"execute": "quit"}]
    done = subprocess.run([program, "-accel", "qtest", "-display", "none", "-nodefaults", "-qmp", "stdio"],
                          input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=True)
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    return [reply["return"] for reply in replies if "return" in reply][1:-1]


def device_names(program):
    types = ask(program, {"execute": "qom-list-types", "arguments": {"implements": "device", "abstract": False}})[0]
    return [t["name"] for t in types if not t["name"].endswith("-x86_64-cpu")]


def descriptors(root):
    """{type name: (parent, has a state table, has a reset)} from the sources."""
    found = {}
    files = subprocess.run(["git", "-C", root, "ls-files", "*.c"], capture_output=True, text=True, check=True).stdout
    for path in files.split():
        with open(os.path.join(root, path), encoding="utf-8") as f:
            text = f.read()
        for block in re.findall(r"^(?:DEVICE|KILN)_TYPE\(\w+\) = \{(.*?)^\};", text, re.M | re.S):
            field = dict(re.findall(r"\.(\w+) = (\"[^\"]*\"|[&\w]+)", block))
            if "name" in field:
                found[field["name"].strip('"')] = (field.get("parent", "").strip('"'), "state" in field, "reset" in field)
    return found


def has(types, name, what):
    while name in types:
        if types[name][what]:
            return True
        name = types[name][0]
    return False


def table(root):
    """{device: (unit, qtest, state, trace)}"""
    with open(os.path.join(root, "docs/testing.md"), encoding="utf-8") as f:
        rows = re.search(r"^\| devices \|.*?\n\n", f.read() + "\n\n", re.M | re.S).group(0).splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row]
    return {name.strip("` "): row[1:] for row in cells for name in row[0].split(",")}


def scenarios(root):
    sys.path.insert(0, os.path.join(root, "tests/state"))
    import busy  # pylint: disable=import-outside-toplevel,import-error
    return list(busy.SCENARIOS)


def names(cell):
    """What a cell lists; nothing for "none: reason"."""
    return [] if re.match(r"none: \S", cell) else [part.strip("` ") for part in cell.split(",")]


def problems(name, row, types, root, busy, points):
    unit, qtest, state, trace = row
    for folder, cell in (("unit", unit), ("qtest", qtest)):
        for test in names(cell):
            if not os.path.exists(os.path.join(root, "tests", folder, test + ".c")):
                yield f"tests/{folder}/{test}.c does not exist"
    for scenario in names(state):
        if not any(s.startswith(scenario) for s in busy) and not os.path.exists(os.path.join(root, "tests/state", scenario)):
            yield f"tests/state has no scenario '{scenario}'"
    for prefix in names(trace):
        if not any(point.startswith(prefix) for point in points):
            yield f"no trace point begins with '{prefix}'"
    if bool(names(state)) != has(types, name, 1):
        yield "it has a state table and no test of it" if has(types, name, 1) else "it has no state table"
    if has(types, name, 1) and not has(types, name, 2) and name not in NO_RESET:
        yield "it has state and no reset"


def main():
    program, root = sys.argv[1:3]
    devices, rows, types, busy = device_names(program), table(root), descriptors(root), scenarios(root)
    points = subprocess.run([program, "-trace", "help"], capture_output=True, text=True, check=True).stdout.split()
    properties = ask(program, *({"execute": "device-list-properties", "arguments": {"typename": name}} for name in devices))
    print(f"1..{len(set(devices) | set(rows))}")
    bad = 0
    for number, name in enumerate(sorted(set(devices) | set(rows)), 1):
        if name not in rows:
            print(f"# {name}: docs/testing.md has no row for it\nnot ok {number} {name}")
            bad += 1
            continue
        wrong = list(problems(name, rows[name], types, root, busy, points)) if name in devices else ["there is no such device"]
        for prop in properties[devices.index(name)] if name in devices else []:
            if not prop.get("description"):
                wrong.append(f"property {prop['name']} says nothing about itself")
        print("".join(f"# {name}: {line}\n" for line in wrong), end="")
        print(f"{'not ok' if wrong else 'ok'} {number} {name}")
        bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
