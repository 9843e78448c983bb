#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random damage to the tables of random qcow2 images, and `check`, `check -r leaks`, `check -r all` of kiln-img beside Debian's
qemu-img. Prints where kiln-img finds less, leaves more, or saves less of the disk or of a snapshot, each with its seed.

    tests/fuzz/beside-qemu-check.py KILN-IMG [SEED [COUNT]]

Not part of scripts/check: what it has found is in tests/image/test-check.py. QEMU 7.2 is no judge of images with snapshots and
bitmaps: opening them for a repair, it writes a header without snapshots."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

IMG = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10 ** 6)
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 200
LIMIT = 20          # seconds; qemu-img may need more where a table is read as if it were large
OFFSET = 0x00fffffffffffe00
BITMAPS = 0x23852875
LOST = 1 << 30      # sectors, when nothing can be read


def run(*words):
    try:
        p = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=LIMIT, errors="replace",
                           stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "hangs", "", ""
    return p.returncode, p.stdout, p.stderr


# ---- images ------------------------------------------------------------------------------------

def options(rnd):
    cluster = rnd.choice([512, 1024, 4096, 4096, 65536, 65536])
    words = ["cluster_size=%d" % cluster]
    if rnd.random() < .1:
        return cluster, words + ["compat=0.10"]
    words.append("refcount_bits=%d" % rnd.choice([1, 2, 4, 8, 16, 16, 16, 32, 64]))
    if cluster >= 16384 and rnd.random() < .3:
        words.append("extended_l2=on")
    if rnd.random() < .1:
        words.append("data_file=data")
    if rnd.random() < .3:
        words.append("compression_type=zstd")
    return cluster, words


def write_some(rnd, size, cluster, packs):
    words = []
    for _ in range(rnd.randrange(3, 15)):
        at = rnd.randrange(size // 512) * 512
        length = min(size - at, rnd.choice([512, 4096, cluster, 2 * cluster, 5 * cluster])) // 512 * 512
        what = rnd.choice(["write -P %d" % rnd.randrange(1, 255)] * 4 + ["write -z", "write -zu", "discard"] + ["pack"] * 2 * packs)
        if what == "pack":
            at = at // cluster * cluster
            what, length = "write -c -P %d" % rnd.randrange(1, 255), min(cluster, size - at)
        words += ["-c", "%s %d %d" % (what, at, length)]
    run(rnd.choice(["qemu-io", IMG[:-len("img")] + "io"]), "-f", "qcow2", *words, "base")


def make_image(rnd):
    """Its snapshots."""
    tools, snapshots = ["qemu-img", IMG], []
    cluster, words = options(rnd)
    size = rnd.choice([64 << 10, 1 << 20, (1 << 20) + 1536, 4 << 20, 100 * cluster])
    more = []
    if rnd.random() < .3:
        run("qemu-img", "create", "-q", "-f", "raw", "back", size)
        run("qemu-io", "-f", "raw", "-c", "write -P 99 0 %d" % size, "back")
        more = ["-b", "back", "-F", "raw"]
    run(rnd.choice(tools), "create", "-q", "-f", "qcow2", "-o", ",".join(words), *more, "base", size)
    packs = "data_file=data" not in words
    write_some(rnd, size, cluster, packs)
    for name in rnd.sample(["s0", "s1", "s2"], rnd.choice([0, 0, 1, 1, 2, 3])):
        if run(rnd.choice(tools), "snapshot", "-c", name, "base")[0] == 0:
            snapshots.append(name)
        run("qemu-img", "check", "-r", "all", "base")   # a snapshot that has failed leaks, or overflows refcounts
        write_some(rnd, size, cluster, packs)
    if not snapshots and rnd.random() < .4:
        run(rnd.choice(tools), "bitmap", "--add", "-g", rnd.choice(["64k", "512", "4k"]), "base", "b")
        write_some(rnd, size, cluster, packs)
    return snapshots


# ---- damage ------------------------------------------------------------------------------------

class Tables:
    """places: (kind, offset, bytes, bytes of an entry)"""

    def __init__(self, name):
        with open(name, "rb") as f:
            self.data = f.read()
        self.places = []
        version, bits = self.u32(4), self.u32(20)
        self.cluster = 1 << bits
        self.extensions = self.u32(100) if version == 3 else 72
        self.add("header", 0, 112 if version == 3 else 72, 1)
        self.add("extensions", self.extensions, 64, 1)
        self.add("refcount table", self.u64(48), 64, 8)
        for i in range(self.u32(56) * self.cluster // 8):
            block = self.u64(self.u64(48) + 8 * i)
            if block:
                self.add("refcounts", block, 4096, 2)
        self.add_l1("", self.u64(40), self.u32(36))
        self.add_snapshots(self.u64(64), self.u32(60))
        self.add_bitmaps(self.extensions if version == 3 else len(self.data))

    def u32(self, at):
        return struct.unpack_from(">I", self.data, at)[0]

    def u64(self, at):
        return struct.unpack_from(">Q", self.data, at)[0]

    def add(self, kind, at, size, entry):
        size = min(size, len(self.data) - at)
        if size > 0:
            self.places.append((kind, at, size, entry))

    def add_l1(self, whose, at, entries):
        self.add(whose + "L1", at, entries * 8, 8)
        for i in range(entries):
            l2 = self.u64(at + 8 * i) & OFFSET
            if l2:
                self.add(whose + "L2", l2, self.cluster, 8)

    def add_snapshots(self, at, count):
        for _ in range(count):
            ids = struct.unpack_from(">HH", self.data, at + 12)
            size = 40 + self.u32(at + 36) + sum(ids)
            self.add("snapshots", at, size, 1)
            self.add_l1("snapshot's ", self.u64(at), self.u32(at + 8))
            at += (size + 7) // 8 * 8

    def add_bitmaps(self, at):
        while at + 8 <= len(self.data) and self.u32(at):
            if self.u32(at) == BITMAPS:
                directory = self.u64(at + 24)
                self.add("bitmap directory", directory, self.u64(at + 16), 1)
                self.add("bitmap table", self.u64(directory), self.u32(directory + 8) * 8, 8)
            at += 8 + (self.u32(at + 4) + 7) // 8 * 8


def damage_one(rnd, t, data):
    kind = rnd.choice(sorted({p[0] for p in t.places}))
    _, start, size, entry = rnd.choice([p for p in t.places if p[0] == kind])
    at = start + rnd.randrange(size)
    if entry == 8:
        used = [e for e in range(start, start + size - 7, 8) if t.u64(e)]
        word = rnd.choice(used) if used and rnd.random() < .8 else (at - start) // 8 * 8 + start
        how = rnd.choice(["bit", "bit", "bit", "nothing", "another", "elsewhere"])
        value = {"bit": t.u64(word) ^ 1 << rnd.randrange(64), "nothing": 0,
                 "another": t.u64(rnd.choice([p for p in t.places if p[3] == 8])[1]),
                 "elsewhere": t.u64(word) & ~OFFSET | rnd.choice(t.places)[1] | rnd.choice([0, 0, 512])}[how]
        struct.pack_into(">Q", data, word, value)
        return kind, how, word
    how = rnd.choice(["bit", "bit", "byte"])
    data[at] = data[at] ^ 1 << rnd.randrange(8) if how == "bit" else rnd.randrange(256)
    return kind, how, at


def damage(rnd):
    t = Tables("base")
    data = bytearray(t.data)
    what = [damage_one(rnd, t, data) for _ in range(rnd.choice([1, 1, 1, 2, 3, 8]))]
    with open("t", "wb") as f:
        f.write(data)
    return what


# ---- judgement ---------------------------------------------------------------------------------

def check(tool, name, *words):
    """Exit status, counts, what it says."""
    status, out, err = run(tool, "check", "--output=json", "-f", "qcow2", *words, name)
    try:
        facts = json.loads(out)
    except ValueError:
        facts = {}
    return status, {k: facts.get(k, 0) for k in ("corruptions", "leaks", "check-errors")}, err[:400]


def contents(name, snapshots):
    """Of the disk and of each snapshot, as qemu-img reads them; None: it cannot."""
    found = []
    for which in [[]] + [["-l", "snapshot.name=" + s] for s in snapshots]:
        if os.path.exists("raw"):
            os.unlink("raw")
        ok = run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "--salvage", *which, name, "raw")[0] == 0
        with open("raw" if ok else os.devnull, "rb") as f:
            found.append(f.read() if ok else None)
    return found


def sectors_lost(before, after):
    if after is None:
        return LOST
    after = after.ljust(len(before), b"\0")
    return sum(before[i:i + 512] != after[i:i + 512] for i in range(0, len(before), 512))


def compare_repairs(how, snapshots, whole, broken):
    left = {}
    for tool in (IMG, "qemu-img"):
        name = os.path.basename(tool)
        shutil.copyfile("t", name)
        if os.path.exists("data"):
            shutil.copyfile("data.whole", "data")
        said = check(tool, name, "-r", how)
        if not isinstance(said[0], int) or said[0] < 0:
            if tool == IMG:
                yield "-r %s: %r" % (how, said)
        left[tool] = said, check("qemu-img", name), check(IMG, name), contents(name, snapshots)
    (said, judged, own, mine), (_, other, _, theirs) = left[IMG], left["qemu-img"]
    if None in theirs or (how == "leaks" and broken):
        return
    if other[0] == 0 and judged[0] != 0:
        yield "-r %s leaves %r, qemu-img leaves it sound; it said %r" % (how, judged, said)
    if judged[0] == 0 and own[0] != 0:
        yield "-r %s leaves what is sound for qemu-img only: %r" % (how, own)
    if said[0] == 0 and own[0] != 0:
        yield "-r %s ends well, then there is %r" % (how, own)
    for i, before in enumerate(whole):
        lost = [sectors_lost(before, each[i]) for each in (mine, theirs)]
        if lost[0] > lost[1] and other[0] == 0:
            yield "-r %s costs %d sectors of %s, qemu-img's %d" % (how, lost[0], ([""] + snapshots)[i] or "the disk", lost[1])


def judge(seed):
    rnd = random.Random(seed)
    for name in os.listdir("."):
        os.unlink(name)
    snapshots = make_image(rnd)
    if check("qemu-img", "base")[0] or check(IMG, "base")[0]:
        return [], []   # by qemu-io: compressed clusters and narrow refcounts
    whole = contents("base", snapshots)
    if os.path.exists("data"):
        shutil.copyfile("data", "data.whole")
    what, found = damage(rnd), []
    ours, theirs = check(IMG, "t"), check("qemu-img", "t")
    if theirs[0] in (2, 3) and not (ours[0] == 2 or ours[0] == theirs[0]):
        found.append("found %r, qemu-img %r" % (ours, theirs))
    for how in ("leaks", "all"):
        found += compare_repairs(how, snapshots, whole, ours[0] == 2)
    return what, found


def main():
    here, home = os.getcwd(), tempfile.mkdtemp(prefix="kiln-beside-")
    os.chdir(home)
    bad = 0
    try:
        for seed in range(SEED, SEED + COUNT):
            what, found = judge(seed)
            bad += bool(found)
            if found:
                print("seed %d: %s\n    %s" % (seed, what, "\n    ".join(found)), flush=True)
        print("%d images from seed %d, %d to look at" % (COUNT, SEED, bad))
    finally:
        os.chdir(here)
        shutil.rmtree(home)


main()
