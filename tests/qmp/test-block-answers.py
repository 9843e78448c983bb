#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-block-answers.py KILN KILN-IMG: query-block, query-named-block-nodes and query-blockstats for many ways to give a disk: chains,
filters, what an option of -drive puts in, data files. Where QEMU 7.2 is installed it is asked the same, and both have to give the same
answers, but for what differs() names."""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "state")]
from oracle import QEMU, programs  # noqa: E402
from qmpclient import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN, IMG = (os.path.abspath(path) for path in sys.argv[1:3])
del sys.argv[2]
GROUP = ("-object", "throttle-group,id=g,x-bps-total=1000")
DEVICE = ("-device", "virtio-blk-pci,id=disk,drive=d,cyls=16,heads=16,secs=63")     # guessing these would read


def images():
    def make(name, *options):
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", *options, name, "4M"], check=True)

    for name in ("raw", "other"):
        with open(name, "wb") as f:
            f.truncate(1 << 20)
    make("base")
    make("mid", "-b", "base", "-F", "qcow2")
    make("top", "-b", "mid", "-F", "qcow2")
    make("data", "-o", "data_file=ext,data_file_raw=on")


def flat(value, path=""):
    """(path, plain value) of everything in an answer. Members of lists are known by their node's name."""
    value = re.sub("#block[0-9]+", "#block", value) if isinstance(value, str) else value
    if isinstance(value, dict):
        for name, member in value.items():
            yield from flat(member, f"{path}.{name}")
    elif isinstance(value, list):
        yield path, len(value)
        for number, member in enumerate(value):
            name = member.get("node-name", "#") if isinstance(member, dict) else "#"
            yield from flat(member, f"{path}[{number if name.startswith('#') else name}]")
    else:
        yield path, value


def differs(path, value):
    """Machines are built in another order, nobody's requests take equally long; and where a name would not say all of an image,
    QEMU's is json:."""
    return path.endswith((".qdev", "_ns")) or (path.endswith((".file", ".filename")) and str(value).startswith("json:"))


def answers(program, args):
    if os.path.exists("qmp"):
        os.unlink("qmp")
    with Machine(program, "-S", *args, accel="tcg" if program == QEMU else "qtest") as m:
        c = m.connect()
        found = {"query-block": c.do("query-block"), "query-blockstats": c.do("query-blockstats"), "nodes": c.do("query-named-block-nodes"),
                 "flat": c.do("query-named-block-nodes", flat=True), "node statistics": c.do("query-blockstats", query_nodes=True)}
        # Nodes without a name of the user's come in another order.
        found = {name: [e for e in answer if not e.get("node-name", "").startswith("#")] if name in ("nodes", "flat", "node statistics")
                 else answer for name, answer in found.items()}
        c.do("quit")
        m.process.wait()
    return found


def same(*args):
    """Kiln's answers; QEMU's are the same."""
    images()
    mine, *others = [answers(program, args) for program in programs(KILN)]
    for other in others:
        ours, theirs = dict(flat(mine)), dict(flat(other))
        wrong = [f"{path}: {ours.get(path, '-')}, QEMU {theirs.get(path, '-')}" for path in {**theirs, **ours}
                 if ours.get(path, "-") != theirs.get(path, "-") and not differs(path, theirs.get(path))]
        assert not wrong, " ".join(args) + "\n" + "\n".join(wrong)
    return mine


def drive(options):
    return same("-drive", options + ",if=none,id=d", *DEVICE)


def node(*more, **options):
    return same(*more, "-blockdev", json.dumps({"node-name": "d", **{key.replace("_", "-"): value for key, value in options.items()}}), *DEVICE)


def file(name):
    return {"driver": "file", "filename": name}


@test
def drives():
    for options in ("", ",cache=none", ",cache=unsafe", ",cache=writethrough", ",readonly=on", ",detect-zeroes=unmap,discard=unmap",
                    ",bps=1000,iops_rd=5,bps_max=2000", ",throttling.bps-total=1000,throttling.group=x", ",werror=stop,rerror=stop",
                    ",werror=report", ",node-name=n", ",file.locking=off,file.node-name=f"):
        drive("file=raw,format=raw" + options)
    for name in ("base", "top", "data"):
        drive(f"file={name},format=qcow2")
    drive("file=top,format=qcow2,backing.node-name=b,file.node-name=f")


@test
def copy_on_read():
    """The filter that an option puts in is none of the user's nodes: everything is told of the image below it."""
    for name, form, depth in (("raw", "raw", 0), ("top", "qcow2", 2)):
        found = drive(f"file={name},format={form},copy-on-read=on,node-name=n,file.node-name=f")
        inserted = found["query-block"][0]["inserted"]
        assert (inserted["drv"], inserted["node-name"], inserted["backing_file_depth"]) == (form, "n", depth), inserted
        assert found["query-blockstats"][0]["node-name"] == "n" and found["query-blockstats"][0]["parent"]["node-name"] == "f"
        assert "copy-on-read" not in json.dumps(found), found
    with Machine(KILN, "-S", "-drive", "file=top,format=qcow2,copy-on-read=on,if=none,id=d") as m:
        c = m.connect()     # the filter could not keep it
        c.do("block-dirty-bitmap-add", node="d", name="b", persistent=True)
        assert c.do("query-block")[0]["inserted"]["dirty-bitmaps"][0]["persistent"]
    named = node(driver="copy-on-read", file={"driver": "raw", "node-name": "r", "file": file("raw")})
    assert named["query-block"][0]["inserted"]["drv"] == "copy-on-read"


@test
def filters():
    """Other filters have what they filter as the next image."""
    for more, options in ((GROUP, {"driver": "throttle", "throttle-group": "g"}), ((), {"driver": "copy-on-read"})):
        for below, depth, size in (({"driver": "raw", "file": file("raw")}, 1, None), ({"driver": "qcow2", "file": file("top")}, 3, 65536)):
            found = node(*more, **options, file=below)
            inserted = found["query-block"][0]["inserted"]
            assert inserted["backing_file_depth"] == depth and inserted["image"]["backing-image"]["format"] == below["driver"], inserted
            assert inserted["image"].get("cluster-size") == size and "backing_file" not in inserted, inserted
            stats = found["query-blockstats"][0]
            assert stats["backing"]["node-name"] == stats["parent"]["node-name"], stats
    node(driver="raw", file={"driver": "preallocate", "file": file("raw")})


@test
def nothing_in_an_image():
    """What a driver does not know is left out."""
    for options in ({"driver": "null-co", "size": 1 << 20}, {"driver": "null-aio"}, {"driver": "raw", "file": {"driver": "null-co"}}):
        image = node(**options, read_only=False)["query-block"][0]["inserted"]["image"]
        assert "dirty-flag" not in image, image
    assert node(driver="raw", file=file("raw"))["query-block"][0]["inserted"]["image"]["dirty-flag"] is False


@test
def names_without_a_file():
    for name in ("null-co", "null-aio"):
        inserted = drive(f"file={name}://,format=raw,file.read-zeroes=on")["query-block"][0]["inserted"]
        assert inserted["image"]["virtual-size"] == 1 << 30, inserted


@test
def data_files():
    """The space is that of both files, and writes go to the data file."""
    found = node(driver="qcow2", file=file("data"), data_file={"node-name": "e", **file("ext")})
    assert found["query-blockstats"][0]["parent"]["node-name"] == "e", found["query-blockstats"]
    image = found["query-block"][0]["inserted"]["image"]
    assert image["actual-size"] == sum(os.stat(name).st_blocks * 512 for name in ("data", "ext")), image


@test
def depths_of_nodes():
    """info block -n counts chains, too."""
    images()
    with Machine(KILN, "-S", "-blockdev", json.dumps({"driver": "qcow2", "node-name": "d", "file": file("top")})) as m:
        text = m.connect().hmp("info block -n d")
    assert "Backing file:     mid (chain depth: 2)" in text, text


sys.exit(main("kiln-block-answers."))
