#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""HMP: the NBD server, images and the kernel's counters, against QEMU 7.2 where it is installed.

    test-hmp-backends.py KILN-SYSTEM"""
import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from oracle import QEMU, answers, version_is_7_2  # noqa: E402
from qmpclient import LIMIT, Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
DISKS = ["-drive", "if=none,id=a,driver=null-co,size=1M", "-drive", "if=none,id=b,driver=null-co,size=1M,read-only=on"]


@test("nbd_server_start, _add, _remove, _stop")
def _():
    lines = ["nbd_server_stop", "nbd_server_add a", "nbd_server_remove a", "nbd_server_start x", "nbd_server_start -w unix:nbd",
             "nbd_server_start", "nbd_server_start unix:nbd", "nbd_server_start unix:nbd2", "nbd_server_add none", "nbd_server_add a",
             "nbd_server_add a", "nbd_server_add -w a named", "nbd_server_remove none", "nbd_server_remove named",
             "nbd_server_remove -f a", "nbd_server_stop", "nbd_server_start -a unix:nbd", "nbd_server_remove b", "nbd_server_stop",
             "nbd_server_start -a -w unix:no/such/nbd", "nbd_server_start 127.0.0.1:0", "nbd_server_stop"]
    ours = answers(BINARY, "qtest", lines, *DISKS)
    good = [6, 9, 11, 13, 14, 15, 16, 17, 18, 20, 21]
    same([i for i, text in enumerate(ours) if text == ""], good)
    same(ours[0], "Error: NBD server not running\n")
    check("'x'" in ours[3] and "-w only valid together with -a" in ours[4] and "already" in ours[7], ours)
    check("No such file" in ours[19], ours[19])
    if version_is_7_2():
        theirs = answers(QEMU, "tcg", lines, *DISKS)
        same([i for i, text in enumerate(theirs) if text == ""], good)
        for i in (0, 7, 8, 12):
            same(ours[i], theirs[i], lines[i])


@test("an NBD client is served what HMP exports")
def _():
    with Machine(BINARY, *DISKS) as m:
        c = m.connect()
        same(c.hmp("nbd_server_start -a unix:nbd"), "")
        same(sorted(export["id"] for export in c.do("query-block-exports")), ["a", "b"])
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(LIMIT)
            client.connect("nbd")
            same(client.recv(8), b"NBDMAGIC")
        same(c.hmp("nbd_server_stop"), "")
        check(not os.path.exists("nbd"), "the socket's path is still there")


@test("info block -v: images and what lies below them, as QEMU shows them")
def _():
    for order in (["create", "-f", "raw", "raw", "1M"], ["create", "-f", "qcow2", "below", "2M"],
                  ["create", "-f", "qcow2", "-b", "below", "-F", "qcow2", "top"], ["snapshot", "-c", "first", "top"]):
        subprocess.run(["qemu-img", *order], check=True, stdout=subprocess.DEVNULL)
    args = ["-drive", "file=raw,format=raw,if=none,id=raw", "-drive", "file=top,format=qcow2,if=none,id=top", "-drive", "if=none,id=empty"]
    lines = ["info block -v", "info block -v raw", "info block -n", "info block -v -n", "info block -x"]
    ours = [re.sub(r"#block\d+", "#", text) for text in answers(BINARY, "qtest", lines, *args)]
    check("Images:\nimage: top\nfile format: qcow2\nvirtual size: 2 MiB" in ours[0] and "image: below" in ours[0], ours[0])
    check("first" in ours[0] and "backing file format: qcow2" in ours[0] and "image: top" not in ours[1], ours)
    check("Images" not in ours[2] and ours[3].count("Images:") == 6 and "-x" in ours[4], ours)
    if version_is_7_2():
        theirs = [re.sub(r"#block\d+", "#", text) for text in answers(QEMU, "tcg", lines, *args)]
        same(ours[:1], theirs[:1])
        same(ours[1].lstrip("\n"), theirs[1].lstrip("\n"))


LINES = ["info stats vm", "info stats vcpu", "info stats vcpu exits,halt_wait_hist", "info stats vm * kvm", "info stats vm nothing",
         "info stats vm exits foo", "info stats disk"]


def plain(text):
    """Without what counts, and what one kernel's counters are called in another's order of reading."""
    return re.sub(r"(\]=|: )\d+", r"\1N", text)


@test("info stats")
def _():
    same(answers(BINARY, "qtest", LINES), ["", "", "", "", "", "invalid stats provider foo\n", "invalid stats target disk\n"])
    same(answers(BINARY, "qtest", ["info stats vcpu"], "-machine", "none"), ["No CPU available\n"])
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return
    ours = answers(BINARY, "kvm", LINES, "-smp", "2")
    if not ours[0]:
        return  # this kernel has no binary statistics
    check(re.search(r"^    exits \(cumulative\): \d+$", ours[1], re.M), ours[1])
    check(re.search(r"^    halt_wait_hist \(log2-histogram, ns\): \[1\]=\d+ \[2\]=", ours[1], re.M), ours[1])
    check(ours[0].startswith("provider: kvm\n") and not ours[3].startswith("provider"), ours)
    if version_is_7_2():
        for line, own, theirs in zip(LINES, ours, answers(QEMU, "kvm", LINES, "-smp", "2")):
            # QEMU prepends what it reads: the order is the other way round.
            same(sorted(plain(own).split("\n")), sorted(plain(theirs).split("\n")), line)


sys.exit(suite.run())
