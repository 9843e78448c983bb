#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Random command lines for kiln-img and kiln-io, and the same for Debian's qemu-img and qemu-io, in two directories that begin equal.
Prints what differs: exit statuses, what a command that succeeds says, and which images are there then, what they are and hold.

    tests/fuzz/beside-qemu-img.py KILN-IMG [SEED [COUNT]]      needs root: the directories are a small tmpfs, which may become full

Not part of scripts/check: a difference is for a person to judge, and some are on purpose (below).
"""
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

KILN = os.path.abspath(sys.argv[1])
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10000)
COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 400
LIMIT = 60          # seconds for one command
SPACE = "300M"
NAMES = "abcde"     # images; other names are never there
LOOKS = ("info", "map", "measure", "compare")   # commands that change nothing: both run in Kiln's directory

# (command, what its words contain): differs on purpose, or does not matter.
KNOWN = [
    ("create", "luks"),         # without a secret qemu-img leaves an empty file
    ("create", "host_device"),  # qemu-img lists options for what it cannot create
    ("dd", ""),                 # Kiln refuses a target that is its own source
    ("rebase", ""),             # the same, and formats that are not there
    ("measure", "luks"),        # qemu-img wants the secret, which makes no difference to the size
    ("measure", "data_file"),   # Kiln counts what will be in the image itself
]

rnd = random.Random(SEED)
one = rnd.choice


def maybe(share, *words):
    return list(words) if rnd.random() < share else []


def size():
    return one(["0", "1", "511", "512", "64k", "1M", "1.5M", "3M", "10M", "10485761", "20M", "-1", "1x", "", "1e3", "0x100000", "+1M", "-512k",
                "8E", "1k", "4096", "100%"])


def fmt():
    return one(["raw", "qcow2", "qcow2", "qcow2", "luks", "file", "host_device", "nbd", "nowhere", "null-co"])


def anything():
    return one(list(NAMES) + ["absent", "dir/x", 'json:{"driver":"qcow2","file.filename":"a"}', "json:{", "nbd:unix:/absent", "file:a", "./b",
                              'json:{"driver":"raw","file":{"driver":"file","filename":"b"}}', "a:b", "fat:/tmp"])


def image():
    return one(NAMES)


def create_options():
    known = ["cluster_size=" + one(["512", "4k", "64k", "2M", "4M", "0", "3k"]), "compat=" + one(["0.10", "1.1", "v2", "v3", "x"]),
             "lazy_refcounts=" + one(["on", "off", "yes"]), "refcount_bits=" + one(["1", "8", "16", "64", "3", "128"]),
             "preallocation=" + one(["off", "metadata", "falloc", "full", "x"]), "extended_l2=" + one(["on", "off"]),
             "data_file=" + one(["df", "df2"]), "data_file_raw=on", "compression_type=" + one(["zlib", "zstd", "lz"]), "size=" + size(),
             "backing_file=" + image(), "backing_fmt=" + one(["raw", "qcow2", "nowhere"]), "help", "?", "encryption=on", "no=such", "nocow=on",
             "extent_size_hint=" + one(["0", "1M"])]
    return ",".join(rnd.sample(known, one([1, 1, 1, 2, 2, 3])))


def position():
    return one(["0", "512", "1k", "64k", "100k", "1M", "-1", "abc"])


def io():
    what = one(["write -P %d" % rnd.randrange(256), "write -z", "write -zu", "discard", "write -c -P %d" % rnd.randrange(256)])
    return ["io", *maybe(.6, "-f", one(["raw", "qcow2"])), image(), "-c",
            "%s %s %s" % (what, one(["0", "4k", "64k", "100k", "1M", "777k"]), one(["512", "4k", "64k", "128k", "1M", "0"]))]


def command():
    json = maybe(.4, "--output=" + one(["json", "json", "human", "xml"]))
    make = {
        "create": lambda: [*maybe(.8, "-f", fmt()), *maybe(.3, "-q"), *maybe(.3, "-b", image()), *maybe(.3, "-F", one(["raw", "qcow2"])),
                           *maybe(.1, "-u"), *maybe(.4, "-o", create_options()), image(), *maybe(.85, size()), *maybe(.03, "extra")],
        "info": lambda: [*maybe(.3, "-f", fmt()), *json, *maybe(.3, "--backing-chain"), *maybe(.2, "-U"), *maybe(.1, "--image-opts"), anything()],
        "convert": lambda: [*maybe(.3, "-f", fmt()), *maybe(.8, "-O", one(["raw", "qcow2", "qcow2", "nowhere"])), *maybe(.2, "-c"),
                            *maybe(.2, "-n"), *maybe(.2, "-o", create_options()), *maybe(.2, "-B", image()),
                            *maybe(.15, "-F", one(["raw", "qcow2"])), *maybe(.15, "-S", one(["0", "4k", "64k", "1", "3k"])),
                            *maybe(.1, "-l", "s1"), *maybe(.1, "-W"), *maybe(.1, "-m", one(["1", "4", "16", "17", "0"])),
                            *maybe(.05, "--salvage"), *maybe(.1, "-r", one(["1M", "x"])), *maybe(.1, "--bitmaps"), *maybe(.1, "-C"),
                            *maybe(.1, "--target-is-zero"), anything(), *maybe(.1, anything()), image()],
        "check": lambda: [*maybe(.3, "-f", fmt()), *json, *maybe(.4, "-r", one(["all", "leaks", "x"])), *maybe(.2, "-q"), *maybe(.2, "-U"),
                          anything()],
        "map": lambda: [*maybe(.3, "-f", fmt()), *json, *maybe(.2, "-s", position()), *maybe(.2, "-l", position()), anything()],
        "measure": lambda: [*maybe(.7, "-O", one(["raw", "qcow2", "luks", "nowhere"])), *json, *maybe(.3, "-o", create_options()),
                            *(maybe(.5, "--size", size()) or [anything()]), *maybe(.1, "-l", "s1")],
        "compare": lambda: [*maybe(.2, "-f", fmt()), *maybe(.2, "-F", fmt()), *maybe(.2, "-s"), *maybe(.2, "-q"), anything(), anything()],
        "resize": lambda: [*maybe(.3, "-f", fmt()), *maybe(.3, "--shrink"), *maybe(.1, "-q"),
                           *maybe(.2, "--preallocation=" + one(["off", "metadata", "falloc", "full", "x"])), image(), size()],
        "snapshot": lambda: [*one([["-l"], ["-c", one(["s1", "s2", "1", ""])], ["-a", one(["s1", "1", "zz"])], ["-d", one(["s1", "zz"])],
                                   ["-c", "x", "-l"], []]), *maybe(.1, "-q"), *maybe(.1, "-U"), image()],
        "rebase": lambda: [*maybe(.3, "-u"), *maybe(.8, "-b", one(["a", "b", "c", "", "absent"])),
                           *maybe(.6, "-F", one(["raw", "qcow2", "nowhere"])), *maybe(.2, "-f", fmt()), image()],
        "commit": lambda: [*maybe(.2, "-f", fmt()), *maybe(.3, "-d"), *maybe(.2, "-b", image()), *maybe(.1, "-r", one(["1M", "x"])), image()],
        "amend": lambda: [*maybe(.2, "-f", fmt()), *maybe(.9, "-o", create_options()), *maybe(.1, "--force"), image()],
        "dd": lambda: [*maybe(.3, "-f", one(["raw", "qcow2"])), *maybe(.5, "-O", one(["raw", "qcow2"])),
                       *maybe(.6, "bs=" + one(["1", "512", "1k", "1M", "0", "x", "65536"])), *maybe(.4, "count=" + one(["0", "1", "100", "x"])),
                       *maybe(.3, "skip=" + one(["0", "1", "1000", "x"])), "if=" + image(), "of=" + image(), *maybe(.05, "conv=x")],
        "bitmap": lambda: [*maybe(.9, one(["--add", "--remove", "--clear", "--enable", "--disable"])), *maybe(.1, "--merge", "bm2"),
                           *maybe(.2, "-g", one(["512", "64k", "1M", "3k", "256"])), *maybe(.1, "-b", image(), "-F", "qcow2"), image(),
                           one(["bm", "bm2", ""])],
    }
    kind = one(["create"] * 4 + ["info"] * 3 + ["convert"] * 4 + ["check", "map", "measure", "compare", "rebase", "commit", "amend", "dd"] * 2 +
               ["resize", "snapshot", "bitmap"] * 3 + ["io"] * 6)
    return io() if kind == "io" else [kind, *make[kind]()]


def plain(text):
    for what, to in ((r"kiln-(img|io)", r"qemu-\1"), (r"\d+(\.\d+)? \S+, \d+ ops; .*", "ops"), (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"),
                     (r'"(date|vm-clock)-n?sec": \d+', "time"), (r"disk size: .*", "disk size"), (r'"actual-size": \d+', "size")):
        text = re.sub(what, to, text)
    return text


def run(program, words, where):
    if words[0] == "io":
        program, words = re.sub("img$", "io", program), words[1:]
    try:
        p = subprocess.run([program, *words], cwd=where, capture_output=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return "hangs", "", ""
    return p.returncode, plain(p.stdout.decode(errors="replace")), plain(p.stderr.decode(errors="replace"))


def compare_images(ours, theirs, changed):
    """What differs, in words."""
    for name in NAMES:
        k, q = f"{ours}/{name}", f"{theirs}/{name}"
        if os.path.exists(k) != os.path.exists(q):
            yield name + " is there in one only"
        elif os.path.exists(k):
            facts = [run("qemu-img", ["info", "--output=json", "-U", name], d) for d in (ours, theirs)]
            small = re.search(r'"virtual-size": \d{1,9},', facts[0][1])
            if facts[0] != facts[1]:
                yield name + ": facts"
            elif changed and small and subprocess.run(["qemu-img", "compare", "-U", k, q], capture_output=True, cwd=ours).returncode == 1:
                yield name + ": content"


def one_command(number, ours, theirs):
    words = command()
    looks = words[0] in LOOKS or (words[0] == "check" and "-r" not in words)
    kiln, qemu = run(KILN, words, ours), run("qemu-img", words, ours if looks else theirs)
    found = []
    if kiln[0] != qemu[0]:
        found.append("status")
    elif kiln[0] == 0 and kiln[1] != qemu[1] and not any("help" in w or "?" in w for w in words):
        found.append("output")
    found += compare_images(ours, theirs, not looks)
    if not found:
        return
    if not any(words[0] == c and text in " ".join(words) for c, text in KNOWN):
        print(f"{number}: {', '.join(found)}: {words}\n  kiln {kiln}\n  qemu {qemu}", flush=True)
    for name in os.listdir(ours):
        os.unlink(f"{ours}/{name}")
    for name in os.listdir(theirs):
        shutil.copy(f"{theirs}/{name}", ours)


def main():
    home = tempfile.mkdtemp(prefix="kiln-beside-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + SPACE, "none", home], check=True)
    print(f"seed {SEED}, {COUNT} commands")
    try:
        ours, theirs = (os.path.join(home, d) for d in ("kiln", "qemu"))
        os.mkdir(ours), os.mkdir(theirs)
        for number in range(COUNT):
            one_command(number, ours, theirs)
    finally:
        subprocess.run(["umount", home], check=True)
        os.rmdir(home)


main()
