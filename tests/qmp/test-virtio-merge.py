#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-virtio-merge.py KILN: neighbours of one notification go to the kernel together, and some of them fail. The process may
make files no larger than a limit (RLIMIT_FSIZE), so it is known which: the others end well, and those alone are reported, or
tried again when the limit is gone. request-merging=off, and what is counted."""
import json
import os
import resource
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "state"), os.path.join(HERE, "..")]
import busy_virtio as v  # noqa: E402
from blk_queues import AT_ONCE, READ, SLOT, WRITE, start  # noqa: E402
from machine import Machine  # noqa: E402
from tap import main, test  # noqa: E402

KILN = os.path.abspath(sys.argv[1])
IMAGE = "merge.raw"
REQUEST = 8192
ENGINES = ("threads", "io_uring")


def machine(aio, **more):
    with open(IMAGE, "wb") as f:
        f.truncate(4 << 20)
    node = {"driver": "raw", "node-name": "d", "file": {"driver": "file", "filename": IMAGE, "aio": aio}}
    device = {"driver": "virtio-blk-pci", "id": "disk", "drive": "d", "addr": "4", "num-queues": 1, **more}
    return Machine(KILN, ["-nodefaults", "-blockdev", json.dumps(node), "-device", json.dumps(device)])


def limit(m, size=None):
    most = resource.prlimit(m.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(m.process.pid, resource.RLIMIT_FSIZE, (most if size is None else size, most))


def send(q, kind, seed=None):
    """AT_ONCE requests, one behind the other, which the device sees at the same time."""
    for i in range(AT_ONCE):
        q.add(kind, 16 * i, None if seed is None else seed + i, REQUEST, publish=False)
    q.publish()
    q.kick()


def used(q):
    return v.get16(q.m, q.used + 2) - (q.put - AT_ONCE)


def check_contents(q, seeds):
    send(q, READ)
    q.end()
    for i, seed in enumerate(seeds):
        got = q.m.read(q.data + SLOT * ((q.put - AT_ONCE + i) % AT_ONCE) + 512, REQUEST)
        assert got == bytes([seed]) * REQUEST, f"request {i}: 0x{got[0]:02x}..0x{got[-1]:02x} instead of 0x{seed:02x}"


def stats(m):
    return m.qmp(("query-blockstats", {}))[0][0]["stats"]


def in_memory():
    """There writes are done at once, one by one."""
    return subprocess.run(["stat", "-f", "-c", "%T", "."], capture_output=True, text=True, check=True).stdout.strip() == "tmpfs"


@test
def counted():
    for aio in ENGINES:
        for merging in (True, False):
            with machine(aio, **{"request-merging": merging}) as m:
                q = start(m, 1)[0]
                for turn in range(3):
                    send(q, WRITE, 16 * turn + 1)
                    q.end()
                s = stats(m)
                expected = 0 if not merging or in_memory() else 3 * (AT_ONCE - 1)
                assert s["wr_merged"] == expected, f"aio={aio} request-merging={merging}: {s['wr_merged']} merged"
                assert s["wr_operations"] == 3 * AT_ONCE and s["wr_bytes"] == 3 * AT_ONCE * REQUEST, s
                check_contents(q, [33 + i for i in range(AT_ONCE)])


@test
def report():
    for aio in ENGINES:
        with machine(aio, werror="report") as m:
            q = start(m, 1)[0]
            limit(m, 3 * REQUEST)
            send(q, WRITE, 1)
            v.wait(q.done)
            assert q.statuses() == [0, 0, 0, 1, 1], q.statuses()
            s = stats(m)
            assert (s["wr_operations"], s["failed_wr_operations"], s["wr_merged"]) == (3, 2, 0), s
            check_contents(q, [1, 2, 3, 0, 0])


@test
def stop():
    for aio in ENGINES:
        with machine(aio, werror="stop") as m:
            q = start(m, 1)[0]
            limit(m, 2 * REQUEST)
            send(q, WRITE, 1)
            for ended, then in ((2, 2), (2, 4), (4, AT_ONCE)):
                v.wait(lambda: m.qmp(("query-status", {}))[0]["status"] == "io-error")
                assert used(q) == ended, f"{used(q)} requests have ended instead of {ended}"
                limit(m, then * REQUEST if then < AT_ONCE else None)
                m.qmp(("cont", {}))
            v.wait(q.done)
            assert q.statuses() == [0] * AT_ONCE, q.statuses()
            assert stats(m)["wr_operations"] == AT_ONCE
            check_contents(q, range(1, 1 + AT_ONCE))


@test
def reset_while_stopped():
    with machine("threads", werror="stop") as m:
        q = start(m, 1)[0]
        limit(m, 2 * REQUEST)
        send(q, WRITE, 1)
        v.wait(lambda: m.qmp(("query-status", {}))[0]["status"] == "io-error")
        m.qmp(("system_reset", {}))
        limit(m)
        m.qmp(("cont", {}))
        check_contents(start(m, 1)[0], [1, 2, 0, 0, 0])


sys.exit(main("kiln-virtio-merge."))
