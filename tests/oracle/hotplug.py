# SPDX-License-Identifier: GPL-2.0-or-later
"""What the comparisons of hot-plugging share. machines: QEMU's and Kiln's, in this order."""
import oracle


def each(machines, function):
    return [function(m) for m in machines]


def differing(machines, when, look):
    """A line for each key of what look(machine) sees."""
    theirs, ours = each(machines, look)
    return [f"{when}: {key}: {ours[key]}, QEMU's {theirs[key]}" for key in theirs if theirs[key] != ours[key]]


def random_accesses(machines, random, steps, base, size, favourites, ejects):
    """Reads and writes of the registers at base, favourites most of all: the line of the first difference. A write that
    reaches the command to eject, as ejects(offset) tells, does not give it."""
    for step in range(steps):
        letter, at = random.choice("bwl"), random.choice((*favourites, random.randrange(size)))
        value = random.choice((0, 1, 2, 3, 4, 6, random.getrandbits(32))) & ~(8 if ejects(at) else 0)
        value &= {"b": 0xff, "w": 0xffff, "l": 0xffffffff}[letter]
        if random.random() < 0.5:
            replies = each(machines, lambda m: m.request(f"in{letter} {base + at:#x}"))
        else:
            replies = each(machines, lambda m: m.request(f"out{letter} {base + at:#x} {value:#x}"))
        if replies[0] != replies[1]:
            return [f"step {step}: {letter} at {at}: {replies[1]}, QEMU's {replies[0]}"]
    return []


def run(configs, functions):
    """main(): the configuration NAME, and kvm-NAME too, is compared by functions["compare_NAME"](machines)."""
    def compare(theirs, ours, name):
        return functions["compare_" + name.removeprefix("kvm-").replace("-", "_")]((theirs, ours))
    return oracle.run(configs, compare, qmp=True)
