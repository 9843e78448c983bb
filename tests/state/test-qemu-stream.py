#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-qemu-stream.py KILN [PATTERN]: states that QEMU 7.2 wrote. Each scenario of busy.py drives QEMU's devices (its
clock stands still before the first instruction), QEMU's migration stream loses its RAM and the sections that Kiln has
not, and Kiln loads it: every section that both have is taken, Kiln saves what it loaded and goes on as QEMU does.
Then the other way: QEMU takes Kiln's state with -incoming and goes on as Kiln does.

KNOWN names what differs, with the reason. Skips where QEMU is not installed."""
import importlib
import os
import re
import shutil
import sys
import tempfile

import busy
from machine import EOF, QEMU, Dead, Machine, differences, split

test_busy = importlib.import_module("test-busy")
compare = importlib.import_module("compare-state")
# (scenario, difference) by regular expression, and the reason.
KNOWN = [
    (r".*", r"cpu \d: env.dr\[[45]\]", "aliases of DR6 and DR7; QEMU's TCG writes zeros, its KVM what Kiln writes"),
    (r"rtc being set", r"mc146818rtc 0: next_alarm_time", "worked out anew from the registers when the machine goes on"),
]
# Scenarios that QEMU goes on with in another way, and why.
KNOWN_PROBES = {
    "i8254 counting, latched, half written": "mode 3 counts from an even number, in the chip and here",
    "i8254 one-shot and speaker": "OUT is low while a one-shot runs, in the chip and here",
    "hpet in the PIT's place": "OUT of mode 2 is high but for one clock: taking the PIT back is an edge",
    "atapi in the middle of a read": "QEMU's stream tells neither which block comes next nor its data",
    "PAM, SMRAM and PIRQ routes": "QEMU's qtest writes to RAM that PAM protects",
    "e1000 with half a packet, half a word of EEPROM": "receiving begins a second after it is switched on; no stream tells how much is left",
    "rtl8139 with packets not read and a timer": "QEMU leaves out that an address is for all when all are taken",
    "fw_cfg between two bytes": "QEMU has one file more, kvmvapic's option ROM",
}
# The same, where the state comes from Kiln.
KNOWN_PROBES_BACK = {
    "vmmouse with packets, absolute": "QEMU passes no events on before it runs",
    "vmmouse with its queue full, relative": "QEMU passes no events on before it runs",
    "vmmouse after an error of the guest": "QEMU passes no events on before it runs",
    "e1000 with half a packet, half a word of EEPROM": "as above",
    "atapi reply in small pieces": "in no stream of QEMU's is whether the reply is a block of the medium; it takes it for one",
}
SKIPPED = {
    "fdc with a result half read": "QEMU's clock stands still",
    "virtio-net with packets sent and merged buffers": "a card of QEMU's sends nothing before the machine runs",
    "virtio-rng that filled buffers": "a source of QEMU's gives nothing before the machine runs",
    "bridge with a message masked and pending": "QEMU takes no state with a pending message, its own neither",
}
# Only a CPU drives these: QEMU gets Kiln's state.
ONE_WAY = {name for name in busy.SCENARIOS if name.startswith("vmmouse")}


def strip(data, names):
    """The stream with these sections only."""
    header, sections = split(data)
    kept = b"".join(data[s.start:s.end] for s in sections if str(s) in names)
    return data[:header] + kept + data[data.index(bytes([EOF]), sections[-1].end):]


def run(kiln, name, args, drive, go_on, work):
    test_busy.make_images(work)
    with Machine(QEMU, args, work, qemu=True) as m:
        drive(m)
        ram = m.read(busy.RAM, busy.RAM_SIZE)
        theirs = m.save()
    test_busy.make_images(work)
    with Machine(QEMU, args, work, qemu=True) as m:     # the one that wrote its state has given up its disks
        drive(m)
        expected = go_on(m)
    test_busy.make_images(work)
    with Machine(kiln, args, work) as m:
        m.still = True
        ours = {str(s) for s in split(m.save())[1]}
        wanted = strip(theirs, ours | {str(s) for s in split(theirs)[1] if not compare.known(compare.KNOWN_MISSING,
                                                                                            s.name)})
        m.write(busy.RAM, ram)
        refused = m.load(wanted)
        if refused:
            return [refused]
        again = m.save()
        got = go_on(m)
        m.still = False
        busy.sweep(m)
    bad = []
    if got != expected and name not in KNOWN_PROBES:
        bad.append(test_busy.first_difference(expected, got))
    for d in differences(wanted, again):
        if not any(re.match(s, name) and re.match(p, d) for s, p, _ in KNOWN):
            bad.append(d)
    return bad


def run_back(kiln, name, args, drive, go_on, work):
    """The other way: QEMU takes Kiln's state, which has no RAM in it, and goes on."""
    test_busy.make_images(work)
    with Machine(kiln, args, work) as m:
        m.still = True
        drive(m)
        ram, ours = m.read(busy.RAM, busy.RAM_SIZE), m.save()
        expected = go_on(m)
    path = os.path.join(work, "incoming")
    with open(path, "wb") as f:
        f.write(ours)
    test_busy.make_images(work)
    # The rings of virtio are in RAM, and read while the state is loaded.
    ram_file = os.path.join(work, "ram")
    with open(ram_file, "wb") as f:
        f.truncate(64 << 20)
        f.seek(busy.RAM)
        f.write(ram)
    memory = ["-object", f"memory-backend-file,id=ram,size=64M,share=on,mem-path={ram_file}", "-machine", "memory-backend=ram"]
    with Machine(QEMU, [*args, *memory, "-incoming", f"exec:cat {path}"], work, qemu=True) as m:
        m.wait_incoming()
        m.write(busy.RAM, ram)
        got = go_on(m)
    if got != expected and name not in KNOWN_PROBES and name not in KNOWN_PROBES_BACK:
        return [test_busy.first_difference(expected, got)]
    return []


def main():
    kiln, pattern = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    chosen = {name: s for name, s in busy.SCENARIOS.items() if re.search(pattern, name)}
    print(f"1..{len(chosen)}")
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for number, (name, (args, drive, go_on)) in enumerate(chosen.items(), 1):
            if name in SKIPPED:
                print(f"ok {number} qemu/{name} # SKIP {SKIPPED[name]}")
                continue
            if not shutil.which(QEMU):
                print(f"ok {number} qemu/{name} # SKIP {QEMU} is not installed")
                continue
            try:
                args = test_busy.arguments(args, work)
                bad = run(kiln, name, args, drive, go_on, work) if name not in ONE_WAY else []
                bad += [f"back: {d}" for d in run_back(kiln, name, args, drive, go_on, work)]
            except (AssertionError, Dead) as error:
                bad = f"{type(error).__name__}: {error}".splitlines()
            print("".join(f"# {line}\n" for line in bad[:20]), end="")
            print(f"{'not ok' if bad else 'ok'} {number} qemu/{name}", flush=True)
            failed += bool(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
