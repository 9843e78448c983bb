#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-export.py KILN [NAME...]: nbd-server-* and block-export-* in QMP, beside QEMU's answers; devices in the main loop
and in iothreads read and write while clients do."""
import json
import os
import sys

import nbd

sys.dont_write_bytecode = True
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(here, "..", "qmp")]
from nbdtest import main, ok, pattern, read, test, uri, write
from qmpclient import LIMIT, Machine

KILN = os.path.abspath(sys.argv.pop(1))
MIB = 1 << 20


def address(path="s"):
    return {"type": "unix", "data": {"path": os.path.abspath(path)}}


def script():
    """Commands and, where it is the same, QEMU's answer."""
    null = {"driver": "null-co", "size": 65536}
    yield "blockdev-add", dict(null, node_name="n0")
    yield "blockdev-add", dict(null, node_name="n1", read_only=True)
    yield "nbd-server-add", {"device": "n0"}
    yield "nbd-server-remove", {"name": "n0"}
    yield "nbd-server-stop", {}
    yield "query-block-exports", {}
    yield "nbd-server-start", {"addr": address(), "tls_creds": "t"}
    yield "nbd-server-start", {"addr": address()}
    yield "nbd-server-start", {"addr": address()}
    yield "nbd-server-add", {"device": "nope"}
    yield "nbd-server-add", {"device": "n0"}
    yield "nbd-server-add", {"device": "n0"}
    yield "nbd-server-add", {"device": "n1", "writable": True, "name": "x"}
    yield "nbd-server-add", {"device": "n1", "name": "x", "description": "d"}
    yield "query-block-exports", {}
    yield "block-export-add", {"type": "nbd", "id": "e0", "node_name": "n0", "name": "foo", "writable": True}
    yield "block-export-add", {"type": "nbd", "id": "e0", "node_name": "n0", "name": "foo2"}
    yield "block-export-add", {"type": "nbd", "id": "e1", "node_name": "n0", "name": "foo"}
    yield "block-export-add", {"type": "nbd", "id": "e1", "node_name": "zz", "name": "foo"}
    yield "block-export-add", {"type": "nbd", "id": "e5", "node_name": "n0", "name": "b", "bitmaps": ["nope"]}
    yield "block-export-add", {"type": "nbd", "id": "1e", "node_name": "n0", "name": "b5"}
    yield "block-export-add", {"type": "nbd", "id": "e6", "node_name": "n0"}
    yield "query-block-exports", {}
    yield "block-export-del", {"id": "nix"}
    yield "block-export-del", {"id": "e0"}
    yield "nbd-server-remove", {"name": "x"}
    yield "nbd-server-remove", {"name": "x"}
    yield "query-block-exports", {}
    yield "nbd-server-stop", {}
    yield "query-block-exports", {}


@test
def answers_as_qemu_does():
    seen = []
    for binary, accel in (("qemu-system-x86_64", "tcg"), (KILN, "qtest")):
        with Machine(binary, accel=accel) as machine:
            c = machine.connect()
            answers = []
            for name, arguments in script():
                answer = c.command(name, **arguments)
                answer.pop("id", None)
                answers.append((name, arguments, answer.get("return", answer.get("error", {}).get("desc"))))
            answers.append([e["data"] for e in c.events if e["event"] == "BLOCK_EXPORT_DELETED"])
            c.close()
        seen.append(answers)
        assert not os.path.exists("s")
    for theirs, ours in zip(*seen):
        if isinstance(ours[-1], str) and "tls-creds-x509" in ours[-1]:
            assert ours[-1].startswith(theirs[-1]), (ours, theirs)
        else:
            assert ours == theirs, "%s\n%s" % (ours, theirs)


@test
def a_disk_that_is_backed_up_while_it_is_written():
    ok("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "8M")
    ok("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 2M", "a.qcow2")
    with Machine(KILN) as machine:
        c = machine.connect()
        c.do("blockdev-add", driver="qcow2", node_name="d", file={"driver": "file", "filename": "a.qcow2"})
        c.do("block-dirty-bitmap-add", node="d", name="b", granularity=65536)
        c.do("nbd-server-start", addr=address())
        c.do("block-export-add", type="nbd", id="w", node_name="d", name="w", writable=True)
        w = nbd.NBD()
        w.connect_uri(uri("s", "w"))
        w.pwrite(b"\2" * 65536, MIB)
        w.zero(65536, 4 * MIB)
        c.do("block-dirty-bitmap-disable", node="d", name="b")
        c.do("block-export-add", type="nbd", id="r", node_name="d", name="r", allocation_depth=True,
             bitmaps=["b", {"node": "d", "name": "b"}][:1])
        dirty = [e for e in json.loads(ok("nbdinfo", "--json", "--map=qemu:dirty-bitmap:b", uri("s", "r"))) if e["type"]]
        assert [(e["offset"], e["length"]) for e in dirty] == [(MIB, 65536), (4 * MIB, 65536)], dirty
        refused = c.command("block-dirty-bitmap-remove", node="d", name="b")
        assert "error" in refused, refused
        assert "still in use" in c.command("block-export-del", id="w")["error"]["desc"]
        c.do("block-export-del", id="w", mode="hard")
        try:
            w.pread(512, 0)
            raise AssertionError("an export that is gone answers")
        except nbd.Error:
            pass
        c.do("block-export-del", id="r")
        c.do("block-dirty-bitmap-remove", node="d", name="b")
        c.do("nbd-server-stop")
        c.do("blockdev-del", node_name="d")
        c.close()
    ok("qemu-img", "check", "-f", "qcow2", "a.qcow2")
    ok("qemu-io", "-f", "qcow2", "-c", "read -P 2 1M 64k", "-c", "read -P 1 0 1M", "a.qcow2")


@test
def the_machine_ends_with_clients():
    write("a.raw", pattern(MIB))
    with Machine(KILN, "-drive", "file=a.raw,format=raw,if=none,id=d") as machine:
        c = machine.connect()
        c.do("nbd-server-start", addr=address(), max_connections=3)
        c.do("nbd-server-add", device="d", writable=True)
        clients = []
        for i in range(3):
            h = nbd.NBD()
            h.connect_uri(uri("s", "d"))
            clients.append(h)
        clients[0].pwrite(b"x" * 4096, 0)
        for i in range(20):
            clients[1].aio_pwrite(nbd.Buffer.from_bytearray(b"y" * 4096), 4096 * (i + 1))
        c.do("quit")
        assert machine.process.wait(LIMIT) == 0
        c.close()
    assert read("a.raw")[:4096] == b"x" * 4096
    assert not os.path.exists("s")


if __name__ == "__main__":
    sys.exit(main("kiln-nbd-export."))
