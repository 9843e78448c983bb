#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Block commands of managers, their good and their bad calls: bitmaps, write thresholds, media, statistics. Where QEMU 7.2 is
installed it is told the same, and both have to give the same results and error classes.

    test-block-commands.py KILN-SYSTEM"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from oracle import QEMU, version_is_7_2  # noqa: E402
from qmpclient import Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
CD = ("-blockdev", "null-co,node-name=m0,size=1048576,read-zeroes=on,read-only=on", "-device", "ide-cd,id=cd0")
DISK = ("-blockdev", "null-co,node-name=n0,size=1048576,read-zeroes=on", "-device", "ide-hd,id=hd0,drive=n0")


def outcomes(script, *args):
    """What Kiln answers to each of [(command, arguments)]: the value, or its error's class. QEMU's answers are equal."""
    results = []
    for binary, accel in ((BINARY, "qtest"), *(((QEMU, "tcg"),) if version_is_7_2() else ())):
        if os.path.exists("qmp"):
            os.unlink("qmp")
        with Machine(binary, "-S", *args, accel=accel) as m:
            c = m.connect()
            replies = [c.ask({"execute": name, "arguments": arguments}) for name, arguments in script]
        results.append([reply["return"] if "return" in reply else reply["error"]["class"] for reply in replies])
    for other in results[1:]:
        for (name, arguments), mine, theirs in zip(script, results[0], other):
            check(mine == theirs, "%s %r: %r, QEMU %r" % (name, arguments, mine, theirs))
    return results[0]


def bitmap(action, **arguments):
    return "block-dirty-bitmap-" + action, {key.replace("_", "-"): value for key, value in arguments.items()}


@test("dirty bitmaps: add, clear, enable, disable, merge, remove")
def _():
    good = [bitmap("add", node="n0", name="a", granularity=65536), bitmap("add", node="n0", name="b", disabled=True),
            bitmap("disable", node="n0", name="a"), bitmap("enable", node="n0", name="a"), bitmap("clear", node="n0", name="a"),
            bitmap("merge", node="n0", target="b", bitmaps=["a"]),
            bitmap("merge", node="n0", target="b", bitmaps=[{"node": "n0", "name": "a"}])]
    same(outcomes(good, *DISK), [{}] * len(good))
    bad = [bitmap("add", node="n0", name="a"),
           bitmap("add", node="n0", name="a"), bitmap("add", node="nowhere", name="a"), bitmap("add", node="n0", name=""),
           bitmap("add", node="n0", name="c", granularity=3), bitmap("add", node="n0", name="c", granularity=256),
           bitmap("clear", node="n0", name="c"), bitmap("clear", node="nowhere", name="a"), bitmap("enable", node="n0", name="c"),
           bitmap("disable", node="n0", name="c"), bitmap("merge", node="n0", target="c", bitmaps=["a"]),
           bitmap("merge", node="n0", target="a", bitmaps=["c"]), bitmap("merge", node="n0", target="a"),
           bitmap("remove", node="n0", name="c"), bitmap("remove", node="n0", name="a"), bitmap("remove", node="n0", name="a")]
    got = outcomes(bad, *DISK)
    same([i for i, value in enumerate(got) if value == {}], [0, len(bad) - 2])


@test("a throttle group that nodes use is not deleted")
def _():
    limits = ("qom-get", {"path": "/objects/g", "property": "limits"})
    script = [("object-add", {"qom-type": "throttle-group", "id": "g", "limits": {"iops-total": 100}}),
              ("blockdev-add", {"driver": "throttle", "node-name": "t", "file": "n0", "throttle-group": "g"}),
              ("object-del", {"id": "g"}), limits, ("blockdev-del", {"node-name": "t"}), ("object-del", {"id": "g"}), limits]
    got = outcomes(script, *DISK[:2])
    same([value if isinstance(value, str) else value == {} for value in got],
         [True, True, "GenericError", False, True, True, "DeviceNotFound"])


@test("a write threshold tells once, and can be taken back")
def _():
    with Machine(BINARY, "-S", *DISK) as m:
        c = m.connect()
        same(c.do("block-set-write-threshold", node_name="n0", write_threshold=4096), {})
        node = next(node for node in c.do("query-named-block-nodes") if node["node-name"] == "n0")
        same(node["write_threshold"], 4096)
        c.hmp('qemu-io n0 "write 0 4096"')
        same([name for name in c.names() if name == "BLOCK_WRITE_THRESHOLD"], [])
        c.hmp('qemu-io n0 "write 4096 8192"')
        c.do("query-status")
        events = [event for event in c.events if event["event"] == "BLOCK_WRITE_THRESHOLD"]
        same([event["data"] for event in events], [{"node-name": "n0", "amount-exceeded": 8192, "write-threshold": 4096}])
        c.names()
        c.hmp('qemu-io n0 "write 64k 64k"')
        c.do("query-status")
        check("BLOCK_WRITE_THRESHOLD" not in c.names(), "it tells twice")
        check("error" in c.command("block-set-write-threshold", node_name="n0", write_threshold=-1), "a negative threshold is taken")
    script = [("block-set-write-threshold", {"node-name": "n0", "write-threshold": 1}),
              ("block-set-write-threshold", {"node-name": "n0", "write-threshold": 0}),
              ("block-set-write-threshold", {"node-name": "nowhere", "write-threshold": 0}),
              ("block-set-write-threshold", {"node-name": "n0"})]
    same(outcomes(script, *DISK)[:2], [{}, {}])


@test("media: open, insert, close, remove, and in the wrong order")
def _():
    def medium(action, **arguments):
        return "blockdev-" + action, {key.replace("_", "-"): value for key, value in arguments.items()}

    good = [medium("open-tray", id="cd0"), medium("insert-medium", id="cd0", node_name="m0"), medium("close-tray", id="cd0"),
            medium("open-tray", id="cd0", force=True), medium("remove-medium", id="cd0"), medium("close-tray", id="cd0"),
            ("blockdev-del", {"node-name": "m0"})]
    same(outcomes(good, *CD), [{}] * len(good))
    bad = [medium("insert-medium", id="cd0", node_name="m0"), medium("remove-medium", id="cd0"), medium("open-tray", id="cd0"),
           medium("remove-medium", id="nowhere"), medium("insert-medium", id="cd0", node_name="nowhere"),
           medium("insert-medium", id="nowhere", node_name="m0"), medium("insert-medium", id="cd0", node_name="m0"),
           medium("insert-medium", id="cd0", node_name="m0"), ("blockdev-del", {"node-name": "m0"}), medium("open-tray", id="nowhere"),
           medium("close-tray", id="nowhere"), medium("open-tray", id="hd0"), medium("remove-medium", id="hd0"), medium("remove-medium")]
    outcomes(bad, *CD, *DISK)


@test("floppies: media that may be written and others, in any order")
def _():
    """The guest's drive takes what each medium allows."""
    for name in ("a", "b"):
        with open(name, "wb") as f:
            f.truncate(1440 << 10)
    outcomes([("blockdev-change-medium", {"id": "f", "filename": name, "format": "raw", "read-only-mode": mode})
              for name, mode in (("a", "read-only"), ("b", "read-write"), ("a", "read-only"), ("b", "retain"))] +
             [("eject", {"id": "f"}), ("blockdev-insert-medium", {"id": "f", "node-name": "w"}), ("blockdev-remove-medium", {"id": "f"}),
              ("blockdev-insert-medium", {"id": "f", "node-name": "r"})], "-device", "floppy,id=f",
             "-blockdev", "null-co,node-name=w,size=1474560", "-blockdev", "null-co,node-name=r,size=1474560,read-only=on")
    with Machine(BINARY, "-S", "-device", "floppy,id=f") as m:
        c = m.connect()
        for mode, read_only in (("read-only", True), ("read-write", False)):
            c.do("blockdev-change-medium", id="f", filename="a", format="raw", read_only_mode=mode)
            same(c.do("query-block")[0]["inserted"]["ro"], read_only)


@test("query-blockstats counts by device and by node")
def _():
    with Machine(BINARY, "-S", *DISK, "-blockdev", "null-co,node-name=n1") as m:
        c = m.connect()
        stats = c.do("query-blockstats")
        same(len(stats), 1)
        same((stats[0]["node-name"], stats[0]["stats"]["wr_operations"], stats[0]["stats"]["failed_rd_operations"]), ("n0", 0, 0))
        # Kiln has looked for a partition table, which is no request of the guest's.
        same((stats[0]["stats"]["rd_operations"], stats[0]["stats"]["rd_bytes"]), (0, 0))
        nodes = {entry["node-name"] for entry in c.do("query-blockstats", query_nodes=True)}
        check({"n0", "n1"} <= nodes, nodes)
        check("error" in c.command("query-blockstats", query_nodes=1), "an integer is taken")
        check("error" in c.command("query-blockstats", x=True), "an unknown member is taken")


sys.exit(suite.run())
