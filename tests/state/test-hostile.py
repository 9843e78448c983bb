#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-hostile.py KILN [ROUNDS [SEED]]: states that no machine wrote. States of busy devices are cut off, bits are
flipped, fields get limits and noise, sections go, come twice or change places. Each is taken, or refused with a message
that names the section; then a guest drives the machine, it is reset, and a good state brings it back whole: it saves
what it loaded. Nothing crashes or hangs.

One process takes many states; a new one starts where the command line changes, and after a crash. The seed makes a run
again; a failure prints what was done to the state."""
import importlib
import os
import random
import socket
import struct
import sys
import tempfile

import busy
import busy_virtio
from machine import Dead, Machine, differences, fields, split

PATIENCE = 240              # seconds that one request may take on a loaded host
test_busy = importlib.import_module("test-busy")
VALUES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF,
          0x8000000000000000, 0xFFFFFFFFFFFFFFFF)
PORTS = [*range(0x20, 0x22), *range(0x40, 0x44), 0x60, 0x61, 0x64, 0x70, 0x71, *range(0x80, 0x90), 0x92, 0xA0, 0xA1,
         *range(0xC0, 0xE0), *range(0x170, 0x178), *range(0x1F0, 0x1F8), *range(0x376, 0x37B), *range(0x3F0, 0x400),
         0x4D0, 0x4D1, 0x510, 0x511, 0x514, 0xCF8, 0xCFC, *range(0xAE00, 0xAE14), *range(0xAF00, 0xAF0C),
         *range(0xAFE0, 0xAFE4), *range(0xB000, 0xB00C), 0xB2, 0xB3, *range(0xB100, 0xB110), *range(0xC000, 0xC010)]
# Only read: what the guest ejects (PCI devices, CPUs) is not there for the good state afterwards.
EJECT = (*range(0xAE08, 0xAE0C), 0xAF04)


# ---- what is done to a state: each returns the new bytes, what was done, and the section it was done to ---------

def cut(data, sections, rng):
    at = rng.randrange(sections[-1].end)
    return data[:at], f"cut at {at}", None


def flip(data, sections, rng):
    changed, where = bytearray(data), []
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, bit = rng.randrange(sections[-1].end), rng.randrange(8)
        changed[at] ^= 1 << bit
        where.append(f"{at}.{bit}")
    return bytes(changed), f"bits {' '.join(where)}", None


def set_field(data, sections, rng):
    section = rng.choice(sections)
    path, at, size = rng.choice(fields(section.described, section.body)[0])
    if size > 8:
        at, size = at + rng.randrange(size), 1
    value = rng.choice((*VALUES, rng.getrandbits(64))) & (1 << 8 * size) - 1
    return data[:at] + value.to_bytes(size, "big") + data[at + size:], f"{section}: {path} = 0x{value:x}", section


def set_header(data, sections, rng):
    section = rng.choice(sections)
    at = section.body - 8 + 4 * rng.randrange(2)
    return data[:at] + struct.pack(">I", rng.choice(VALUES) & 0xFFFFFFFF) + data[at + 4:], f"{section}: header", None


def move(data, sections, rng):
    one, two = rng.choice(sections), rng.choice(sections)
    piece = data[one.start:one.end]
    kind = rng.randrange(3)
    if kind == 0:
        return data[:one.start] + data[one.end:], f"{one} left out", None
    if kind == 1:
        return data[:two.start] + piece + data[two.start:], f"{one} once more before {two}", None
    return data[:two.body] + data[one.body:one.end - 5] + data[two.end - 5:], f"{two} with the fields of {one}", None


def noise(data, sections, rng):
    section = rng.choice(sections)
    size = section.end - 5 - section.body
    return data[:section.body] + rng.randbytes(size) + data[section.end - 5:], f"{section}: noise", section


CHANGES = (cut, flip, flip, set_field, set_field, set_field, set_field, set_header, move, noise)


# ---- the machine afterwards -----------------------------------------------------------------------------------------

def drive(m, rng):
    """A guest that does anything, for a little while."""
    for _ in range(rng.choice((0, 10, 60))):
        port = rng.choice(PORTS)
        kind = rng.choice("bbbwl")
        if rng.randrange(3) or port in EJECT:
            m.ask(f"in{kind} 0x{port:x}")
        else:
            m.ask(f"out{kind} 0x{port:x} 0x{rng.choice((rng.randrange(256), rng.getrandbits(32))):x}")
        if rng.randrange(8) == 0:
            m.step(rng.choice((1000, 1_000_000, 300_000_000)))


def reset(m):
    """Waits until the reset has taken place: it is asked for in the main loop."""
    m.outl(0xCF8, 0x80000000)
    m.outb(0xCF9, 2)
    m.outb(0xCF9, 6)
    for _ in range(100000):
        if m.inb(0xCF9) == 0 and m.inl(0xCF8) == 0:
            return
    raise AssertionError("the machine does not reset")


class Run:
    def __init__(self, kiln, name, work, rng):
        self.kiln, self.work, self.rng = kiln, work, rng
        self.args, self.drive_busy, _ = busy.SCENARIOS[name]
        self.args = test_busy.arguments(self.args, work) + ["-no-shutdown", "-action", "panic=none"]
        test_busy.make_images(work)
        with Machine(kiln, self.args, work) as m:
            self.drive_busy(m)
            self.state, self.ram = m.save(), m.read(busy.RAM, busy.RAM_SIZE)
        self.sections = split(self.state)[1]
        self.begin()

    def begin(self):
        self.machine = Machine(self.kiln, self.args, self.work)
        self.machine.socket.settimeout(PATIENCE)

    def end(self):
        self.machine.__exit__()

    def once(self):
        """One hostile state: what is wrong, or None."""
        data, what, section = self.rng.choice(CHANGES)(self.state, self.sections, self.rng)
        m = self.machine
        try:
            refused = m.load(data)
            drive(m, self.rng)
            reset(m)
            m.write(busy.RAM, self.ram)     # where rings are
            back = m.load(self.state)
            again = m.save()
        except (Dead, AssertionError, socket.timeout) as error:
            m.process.kill()
            m.process.wait()
            self.begin()
            return f"{what}: {type(error).__name__}: {error}"
        if refused and section and f"section '{section.name}' instance {section.instance}" not in refused:
            return f"{what}: the message does not name the section: {refused}"
        if back or again != self.state:
            self.end()
            self.begin()
            return f"{what} ({'refused: ' + refused if refused else 'taken'}): " + \
                (f"a good state is refused then: {back}" if back else f"not restored: {differences(self.state, again)[:4]}")
        return None


# ---- what chance would hardly find ------------------------------------------------------------------------------

def packed_positions(kiln, work):
    """A queue's position beyond its packed ring, with the features before it and behind it, or only where split rings say it."""
    run = Run(kiln, "virtio-blk with MSI-X and a packed ring", work, random.Random(1))
    name, features = b"\x05\x18virtio/packed_virtqueues\0\0\0\1", b"\x05\x15virtio/64bit_features\0\0\0\1"
    at, first = run.state.index(name), run.state.index(features)
    body, size = at + len(name), 1024 * 10                  # position, wrap, used, wrap, in flight: of each queue
    for offset, length in ((0, 2), (3, 2), (6, 4)):
        bad = run.state[:body + offset] + b"\xff" * length + run.state[body + offset + length:]
        part = bad[at:body + size]
        for data in (bad, bad[:first] + part + bad[first:at] + bad[body + size:]):
            refused = run.machine.load(data)
            assert refused and "packed queue 0" in refused, refused
    split = run.state[:at] + run.state[body + size:]        # last_avail is 16 bits behind number, size, address
    queue = split.index(struct.pack(">IQ", 16, busy_virtio.DESC))
    refused = run.machine.load(split[:queue + 12] + b"\xff\xff" + split[queue + 14:])
    assert refused and "packed queue 0" in refused, refused
    assert not run.machine.load(run.state) and run.machine.save() == run.state
    run.end()


def serial_ports(kiln, work):
    """Ports that are not here, one that comes twice, more of them than there are."""
    run = Run(kiln, "virtio-serial with open ports", work, random.Random(1))
    # Columns, rows, ports at most, a bit for each that is there, how many; number, open here and there, no buffer of each.
    at = run.state.index(struct.pack(">HHIIIIBBI", 0, 0, 3, 3, 2, 0, 0, 1, 0)) + 12
    for offset, number, text in ((0, 99, "99 ports"), (4, 30, "port 30 is not here"), (4, 0xFFFFFFFF, "is not here"),
                                 (10, 2, "is not here"), (14, 0, "port 0 comes twice")):
        refused = run.machine.load(run.state[:at + offset] + struct.pack(">I", number) + run.state[at + offset + 4:])
        assert refused and text in refused, (number, refused)
    assert not run.machine.load(run.state)
    run.end()


def main():
    kiln = sys.argv[1]
    rounds = int(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("KILN_FUZZ_ROUNDS", "30"))
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 7
    print(f"1..{len(busy.SCENARIOS) + 2}\n# seed {seed}, {rounds} states each")
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for number, name in enumerate(busy.SCENARIOS, 1):
            run = Run(kiln, name, work, random.Random(f"{seed} {name}"))
            bad = list(filter(None, (run.once() for _ in range(rounds))))
            run.end()
            print("".join("# " + line.replace("\n", "\n#   ") + "\n" for line in bad[:10]), end="")
            print(f"{'not ok' if bad else 'ok'} {number} hostile/{name}", flush=True)
            failed += bool(bad)
        packed_positions(kiln, work)
        print(f"ok {len(busy.SCENARIOS) + 1} hostile/positions in packed rings", flush=True)
        serial_ports(kiln, work)
        print(f"ok {len(busy.SCENARIOS) + 2} hostile/ports of virtio-serial", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
