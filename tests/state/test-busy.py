#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-busy.py KILN [PATTERN]: each device in the middle of something, saved, loaded into a fresh machine with the
same command line, saved again: the same bytes; and both machines go on in the same way. busy.py has the scenarios."""
import os
import re
import sys
import tempfile

import busy
from machine import Dead, Machine, differences


def make_images(work):
    for name, size in (("disk", 1 << 20), ("cd", 1 << 20), ("floppy", 1474560)):
        with open(os.path.join(work, name), "wb") as f:
            f.write(b"".join((sector * 7 + name.__len__()).to_bytes(4, "little") * 128 for sector in range(size // 512)))


def arguments(args, work):
    return ["-rtc", "base=2021-12-31T23:59:50,clock=vm"] + [re.sub("@", work + "/", arg) for arg in args]


def probe(m, function, high):
    """What the scenario and the sweep see, and interrupts on pins that were low at the save."""
    m.events.clear()
    seen = [function(m), busy.sweep(m)]
    return seen, [event for event in m.events if int(event.split()[1]) not in high]


def first_difference(a, b, path=""):
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            if x != y:
                return first_difference(x, y, f"{path}[{i}]")
    return f"probe{path}: {a!r}"[:300] + f" on the first machine, {b!r}"[:300] + " on the second"


def run(kiln, args, drive, go_on, work):
    make_images(work)
    with Machine(kiln, args, work) as one:
        one.ask("irq_intercept_in ioapic")
        drive(one)
        saved, ram = one.save(), one.read(busy.RAM, busy.RAM_SIZE)
        levels = dict(reversed(event.split()) for event in one.events)
        high = {int(pin) for pin in levels if levels[pin] == "raise"}
        expected = probe(one, go_on, high)
    make_images(work)
    with Machine(kiln, args, work) as two:
        two.ask("irq_intercept_in ioapic")
        two.write(busy.RAM, ram)
        refused = two.load(saved)
        if refused:
            return [f"the load: {refused}"]
        again = two.save()
        bad = differences(saved, again) if saved != again else []
        got = probe(two, go_on, high)
    return bad + ([first_difference(expected, got)] if got != expected else [])


def main():
    kiln, pattern = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    chosen = {name: s for name, s in busy.SCENARIOS.items() if re.search(pattern, name)}
    print(f"1..{len(chosen)}")
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for number, (name, (args, drive, go_on)) in enumerate(chosen.items(), 1):
            try:
                bad = run(kiln, arguments(args, work), drive, go_on, work)
            except (AssertionError, Dead) as error:
                bad = f"{type(error).__name__}: {error}".splitlines()
            print("".join(f"# {line}\n" for line in bad[:20]), end="")
            print(f"{'not ok' if bad else 'ok'} {number} busy/{name}", flush=True)
            failed += bool(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
