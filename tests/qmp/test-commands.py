#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Good and bad use of commands: yank (in band and out of band), set-numa-node, TPM and memory devices, settings of migration;
HMP: chardev-*, roms, sum, gpa2hpa, block_set_io_throttle.

    test-commands.py KILN-SYSTEM"""
import os
import re
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from oracle import QEMU, answers, version_is_7_2  # noqa: E402
from qmpclient import LIMIT, Machine, receive  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test


def refused(reply, words, error_class="GenericError"):
    check("error" in reply, reply)
    same(reply["error"]["class"], error_class)
    check(words in reply["error"]["desc"], reply)


def machine(*args, **options):
    for name in ("qmp", "peer"):
        if os.path.exists(name):
            os.unlink(name)
    return Machine(BINARY, "-S", *args, **options)


def nbd_server(listener):
    """The handshake of an export of 1 MiB, then no answers until the client goes."""
    connection = listener.accept()[0]
    connection.settimeout(LIMIT)

    connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    receive(connection, 4)
    while True:
        magic, option, length = struct.unpack(">8sII", receive(connection, 16))
        receive(connection, length)
        if option == 7:  # NBD_OPT_GO
            break
        connection.sendall(struct.pack(">QIII", 0x3e889045565a9, option, 0x80000001, 0))
    connection.sendall(struct.pack(">QIIIHQH", 0x3e889045565a9, 7, 3, 12, 0, 1 << 20, 1))
    connection.sendall(struct.pack(">QIII", 0x3e889045565a9, 7, 1, 0))
    while receive(connection, 1):
        pass


SOCKET = ("-chardev", "socket,id=peer,path=peer,server=on,wait=off", "-chardev", "null,id=n")


def connect(c):
    """A connection that the machine has taken."""
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(LIMIT)
    peer.connect("peer")
    while "peer: filename=disconnected" in c.hmp("info chardev"):
        time.sleep(0.01)
    return peer


@test("yank cuts connections off, all of them or none")
def _():
    with machine(*SOCKET, "-serial", "chardev:peer") as m:
        c = m.connect()
        mine = [entry for entry in c.do("query-yank") if entry["id"] == "peer"]
        same(mine, [{"type": "chardev", "id": "peer"}])
        same([entry for entry in c.do("query-yank") if entry["id"] == "n"], [])
        same(c.do("yank", instances=[]), {})
        same(c.do("yank", instances=mine), {})          # nobody is connected
        with connect(c) as peer:
            for wrong in ("n", "nobody"):
                refused(c.command("yank", instances=[{"type": "chardev", "id": wrong}]), "Instance not found", "DeviceNotFound")
                refused(c.command("yank", instances=[*mine, {"type": "chardev", "id": wrong}]), "Instance not found",
                        "DeviceNotFound")
            refused(c.command("yank"), "Parameter 'instances' is missing")
            refused(c.command("yank", instances=[{"type": "x"}]), "does not accept value 'x'")
            refused(c.command("yank", instances=[{"type": "chardev"}]), "id")
            refused(c.command("query-yank", x=1), "Parameter 'x' is unexpected")
            check("server=on" in c.hmp("info chardev"), "no server")
            same(c.do("yank", instances=mine), {})
            same(peer.recv(100), b"")
        with connect(c) as peer:                         # the next one is served
            c.do("yank", instances=mine)
            same(peer.recv(100), b"")


@test("yank cuts off an NBD node: its requests fail, and nothing connects again")
def _():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("nbd")
    listener.listen(4)
    node = {"driver": "nbd", "node-name": "d0", "server": {"type": "unix", "path": "nbd"}, "reconnect-delay": 600}
    mine = [{"type": "block-node", "node-name": "d0"}]
    with machine("-S") as m:
        c = m.connect()
        refused(c.command("yank", instances=mine), "Instance not found", "DeviceNotFound")
        refused(c.command("yank", instances=[{"type": "block-node"}]), "node-name")
        server = threading.Thread(target=nbd_server, args=(listener,))
        server.start()
        c.do("blockdev-add", **{key.replace("-", "_"): value for key, value in node.items()})
        c.do("blockdev-add", driver="null-co", node_name="d1")
        check(mine[0] in c.do("query-yank"), c.do("query-yank"))
        check(all(entry.get("node-name") != "d1" for entry in c.do("query-yank")), c.do("query-yank"))
        same(c.do("yank", instances=mine), {})
        server.join(LIMIT)                          # its connection ended
        said = c.hmp('qemu-io d0 "read 0 512"')
        check("Input/output error" in said, said)
        same(c.do("yank", instances=mine), {})
        listener.settimeout(0.3)
        try:
            listener.accept()
            check(False, "it connects again")
        except TimeoutError:
            pass
        c.do("blockdev-del", node_name="d0")
        refused(c.command("yank", instances=mine), "Instance not found", "DeviceNotFound")


@test("commands out of band: when, which, in which order")
def _():
    with machine(*SOCKET) as m:
        c = m.connect()
        refused(c.ask({"exec-oob": "query-yank"}), "'exec-oob' is unexpected")
        c.close()
        c = m.connect(negotiate=False)
        same(c.message()["QMP"]["capabilities"], ["oob"])
        refused(c.command("qmp_capabilities", enable=["x"]), "does not accept value 'x'")
        refused(c.ask({"exec-oob": "qmp_capabilities"}), "exec-oob")
        same(c.command("qmp_capabilities", enable=["oob"]), {"return": {}})
        refused(c.command("qmp_capabilities", enable=["oob"]), "already complete", "CommandNotFound")
        refused(c.ask({"exec-oob": "query-status"}), "The command query-status does not support OOB")
        refused(c.ask({"exec-oob": "nothing"}), "The command nothing has not been found", "CommandNotFound")
        refused(c.ask({"exec-oob": "query-yank", "execute": "query-yank"}), "clashes")
        refused(c.ask({"exec-oob": 1}), "'exec-oob' must be a string")
        reply = c.ask({"exec-oob": "query-yank", "id": {"a": [1]}})
        same(reply["id"], {"a": [1]})
        check({"type": "chardev", "id": "peer"} in reply["return"], reply)
        # One burst: what is out of band overtakes what waits; the others keep their order.
        c.send(b"".join(b'{"execute":"query-name","id":%d}\n' % i for i in range(5)) + b'{"exec-oob":"query-yank","id":"now"}\n')
        ids = [c.reply()["id"] for _ in range(6)]
        same(sorted(map(str, ids)), sorted(["now", *"01234"]))
        same([i for i in ids if i != "now"], list(range(5)))
        # Many more than the queue holds, and none is lost.
        c.send(b"".join(b'{"execute":"query-name","id":%d}\n{"exec-oob":"yank","id":"y%d","arguments":{"instances":[]}}\n' % (i, i)
                        for i in range(300)))
        replies = [c.reply() for _ in range(600)]
        check(all(reply["return"] == {} for reply in replies), replies[0])
        same([r["id"] for r in replies if isinstance(r["id"], int)], list(range(300)))
        same([r["id"] for r in replies if isinstance(r["id"], str)], ["y%d" % i for i in range(300)])


@test("a monitor that asks without end leaves the others their turns")
def _():
    with machine("-qmp", "unix:busy,server=on,wait=off") as m:
        c, busy = m.connect(), m.connect("busy")
        burst, slow = 30, b'{"execute":"human-monitor-command","arguments":{"command-line":"sum 0 0x400000"}}'
        for _ in range(50):
            busy.send(slow * burst)
            busy.buffer = busy.socket.recv(100)  # it has begun
            c.do("query-name")
            busy.socket.setblocking(False)
            try:
                busy.buffer += busy.socket.recv(1 << 20)
            except BlockingIOError:
                pass
            busy.socket.settimeout(LIMIT)
            answered = busy.buffer.count(b"\n")
            for _ in range(burst):
                same(busy.reply()["return"], "09000\r\n")
            if answered < burst:
                return
    check(False, "the other monitor was never answered while the busy one was")


@test("NUMA nodes from a monitor, before the machine is made")
def _():
    with machine("--preconfig", "-machine", "pc,hmat=on", "-m", "64", "-smp", "2", "-object", "memory-backend-ram,id=m0,size=64M") as m:
        c = m.connect()
        c.do("set-numa-node", type="node", memdev="m0", cpus=[0])
        c.do("set-numa-node", type="node", nodeid=1)
        c.do("set-numa-node", type="cpu", node_id=1, core_id=1)
        c.do("set-numa-node", type="dist", src=0, dst=1, val=21)
        c.do("set-numa-node", type="node", nodeid=2, initiator=0)
        lb = {"type": "hmat-lb", "initiator": 0, "target": 2, "hierarchy": "memory"}
        c.do("set-numa-node", **lb, data_type="access-latency", latency=50)
        c.do("set-numa-node", **lb, data_type="read-bandwidth", bandwidth=1 << 30)
        cache = {"type": "hmat-cache", "node-id": 2, "size": 1024, "level": 1, "associativity": "direct", "policy": "write-back"}
        c.do("set-numa-node", **cache, line=64)
        c.do("set-numa-node", type="dist", src=0, dst=2, val=31)
        c.do("set-numa-node", type="dist", src=1, dst=2, val=31)
        for arguments, words in (
                ({"type": "node", "nodeid": 1}, "Duplicate NUMA nodeid: 1"), ({"type": "x"}, "does not accept value 'x'"),
                ({}, "Parameter 'type' is missing"), ({"type": "node", "mem": 1}, "'mem' is unexpected"),
                ({"type": "cpu"}, "Missing mandatory node-id property"), ({"type": "dist", "src": 0}, "'dst' is missing"),
                ({"type": "dist", "src": 0, "dst": 1, "val": 3}, "shouldn't be less than 10"),
                ({"type": "hmat-lb"}, "'initiator' is missing"),
                ({**lb, "data-type": "access-latency"}, "Missing 'latency' option"),
                ({**lb, "data-type": "read-bandwidth", "bandwidth": 5}, "should be 1MB aligned"),
                ({**cache, "line": 65536}, "line"), ({**cache, "line": 1, "level": 4}, "Invalid level=4"),
                ({"type": "node", "initiator": 128}, "128"), ({"type": "node", "nodeid": 200}, "Max number"),
                ({"type": "node", "cpus": [-1]}, "cpus")):
            refused(c.ask({"execute": "set-numa-node", "arguments": arguments}), words)
        refused(c.command("x-query-numa"), "permitted only after machine initialization")
        c.do("x-exit-preconfig")
        text = c.do("x-query-numa")["human-readable-text"]
        check(text.startswith("3 nodes\nnode 0 cpus: 0\nnode 0 size: 64 MB\n") and "node 1 cpus: 1\n" in text, text)
        refused(c.command("set-numa-node", type="node"), "permitted only before")
        refused(c.command("x-query-numa", x=1), "'x' is unexpected")


@test("lists of what is not there")
def _():
    with machine() as m:
        c = m.connect()
        for name in ("query-tpm", "query-tpm-models", "query-tpm-types", "query-memory-devices"):
            same(c.do(name), [])
            refused(c.command(name, x=1), "Parameter 'x' is unexpected")
        same(c.do("query-migrate-parameters"), {})
        refused(c.command("query-migrate-parameters", x=1), "Parameter 'x' is unexpected")
        same((c.hmp("info tpm"), c.hmp("info memory-devices")), ("", ""))
        same(c.hmp("info migrate_capabilities"), "events: off\r\n")
        same(c.hmp("migrate_set_capability events on"), "")
        same(c.hmp("info migrate_capabilities"), "events: on\r\n")
        same(c.hmp("migrate_set_capability foo on"), "Error: invalid parameter value: foo\r\n")


@test("HMP: character devices come, change and go")
def _():
    with machine("-chardev", "ringbuf,id=r,size=64", "-serial", "chardev:r") as m:
        c = m.connect()
        for line, words in (
                ("chardev-add null,id=n1", ""), ("chardev-add null,id=n1", "Error: Chardev with id 'n1' already exists"),
                ("chardev-add null", "Error: id is missing"), ("chardev-add nosuch,id=x", "Error: 'nosuch' is not"),
                ("chardev-add socket,id=w,path=w,server=on", "Error: a server with wait=true"),
                ("chardev-add socket,id=w,path=w,server=on,wait=off", ""), ("chardev-remove w", ""),
                ("chardev-change n1 ringbuf,size=1024", ""), ("chardev-change n1 ringbuf,size=3", "Error: chardev ringbuf: size=3"),
                ("chardev-change n1 null,mux=on", "Error: another device's place"), ("chardev-change nosuch null", "'nosuch' does not exist"),
                ("ringbuf_write n1 abc", ""), ("ringbuf_read n1 10", "abc"), ("chardev-remove r", "Error: Chardev 'r' is busy"),
                ("chardev-change r null", ""), ("chardev-remove n1", ""), ("chardev-remove n1", "Error: Chardev 'n1' not found"),
                ("chardev-add", "chardev-add: ")):
            said = c.hmp(line)
            check(said.startswith(words) if words[:5] == "Error" else words in said if words else not said, (line, said))
        same(re.findall(r"^(\w+): filename", c.hmp("info chardev"), re.M)[0], "r")
        check("r: filename=null" in c.hmp("info chardev"), c.hmp("info chardev"))
        check(not os.path.exists("w"), "the removed socket's path is still there")


@test("a guest that hibernates says SUSPEND_DISK before it goes")
def _():
    with machine("-qtest", "unix:port,server=on,wait=off", "-no-shutdown", "-M", "pc") as m:
        c = m.connect()
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(LIMIT)
            peer.connect("port")
            port = peer.makefile("rw", encoding="ascii", newline="\n")

            def sleep(kind):
                # The power management's registers at 0xb000, then a sleep type and SLP_EN.
                for line in ("outl 0xcf8 0x80000b40", "outl 0xcfc 0xb001", "outl 0xcf8 0x80000b80", "outb 0xcfc 1",
                             "outw 0xb004 %#x" % (kind << 10 | 1 << 13)):
                    port.write(line + "\n")
                    port.flush()
                    same(port.readline()[:2], "OK")

            sleep(2)
            c.wait("SUSPEND_DISK")
            same(c.wait("SHUTDOWN"), {"guest": True, "reason": "guest-shutdown"})
            c.do("system_reset")
            c.wait("RESET")
            sleep(0)
            while not c.events:
                c.events.append(c.message())
            same(c.names(), ["SHUTDOWN"])


@test("HMP: ROMs, sums and places of memory, limits of a drive")
def _():
    with machine("-drive", "if=none,id=d,driver=null-co,size=1M", "-device", "ide-hd,drive=d") as m:
        c = m.connect()
        roms = c.hmp("info roms").replace("\r", "")
        check('addr=00000000fffc0000 size=0x040000 mem=rom name="bios-256k.bin"\n' in roms, roms)
        check('name="etc/acpi/tables"' in roms, roms)
        same(c.do("x-query-roms")["human-readable-text"], roms)
        refused(c.command("x-query-roms", x=1), "'x' is unexpected")
        check("no memory at 0x100000000000" in c.hmp("sum 0x100000000000 4"), "sum")
        check("sum: " in c.hmp("sum 1"), c.hmp("sum 1"))
        said = c.hmp("gpa2hpa 0x1000")
        check(re.match(r"Host physical address for 0x1000 \(pc.ram\) is 0x[0-9a-f]+000\r\n", said) or "CAP_SYS_ADMIN" in said, said)
        check("No memory is mapped" in c.hmp("gpa2hpa 0x100000000000"), "gpa2hpa")
        check("is not RAM" in c.hmp("gpa2hpa 0xfec00000"), c.hmp("gpa2hpa 0xfec00000"))
        same(c.hmp("block_set_io_throttle d 1000000 0 0 50 0 0"), "")
        check("bps=1000000" in c.hmp("info block"), c.hmp("info block"))
        check("Error" in c.hmp("block_set_io_throttle none 1 0 0 0 0 0"), "throttle")
        check("Error" in c.hmp("block_set_io_throttle d 1 1 0 0 0 0"), "throttle")
    if version_is_7_2():
        lines = ["sum 0xf0000 65536", "sum 0x100000 5000", "sum 0 100"]
        same(answers(BINARY, "qtest", lines), answers(QEMU, "tcg", lines))


@test("HMP: the boot order, blocks of memory, kinds of devices, machine checks that cannot be")
def _():
    orders = ["boot_set %s" % order for order in ("b", "ndc", "q", "p", "cc", "abcd", "x")]
    cmos = ["o /b 0x70 0x3d", "i /b 0x71", "o /b 0x70 0x38", "i /b 0x71"]
    with machine("-m", "64") as m:
        c = m.connect()
        blocks = c.hmp("info ramblock").replace("\r", "")
        check(re.search(r"^ +pc.ram +4 KiB +0x0+ 0x0+4000000$", blocks, re.M), blocks)
        same(c.do("x-query-ramblock")["human-readable-text"], blocks)
        refused(c.command("x-query-ramblock", x=1), "'x' is unexpected")
        kinds = c.hmp("info qdm")
        check('name "PIIX3", bus PCI, desc "ISA bridge", no-user\r\n' in kinds and 'name "e1000"' in kinds, kinds)
        same(c.hmp("mce 0 99 0x8000000000000000 0 0 0"), "Invalid MCE bank number\r\n")
        same(c.hmp("mce 7 1 0x8000000000000000 0 0 0"), "CPU#7 not available\r\n")
        check(c.hmp("mce 0 1").startswith("mce: "), c.hmp("mce 0 1"))
        check(c.hmp("boot_set").startswith("boot_set: "), c.hmp("boot_set"))
    with machine("-M", "none") as m:
        c = m.connect()
        check("no function defined" in c.hmp("boot_set c"), "none")
        same(len(c.hmp("info ramblock").splitlines()), 1)
    if version_is_7_2():
        for order in orders:
            same(answers(BINARY, "qtest", [order, *cmos]), answers(QEMU, "tcg", [order, *cmos]))


# What QEMU 7.2's monitor has and Kiln's has not, by the reason.
MISSING = {
    "block jobs and snapshots": "block_job_cancel block_job_complete block_job_pause block_job_resume block_job_set_speed block_stream"
                                " delvm drive_backup drive_mirror loadvm savevm"
                                " info:block-jobs info:snapshots",
    "migration": "calc_dirty_rate cancel_vcpu_dirty_limit migrate migrate_cancel migrate_continue migrate_incoming migrate_pause"
                 " migrate_recover migrate_set_parameter migrate_start_postcopy set_vcpu_dirty_limit x_colo_lost_heartbeat info:dirty_rate"
                 " info:migrate info:migrate_parameters info:rdma info:vcpu_dirty_limit",
    "displays": "client_migrate_info expire_password screendump set_password info:spice info:vnc",
    "sound": "stopcapture wavcapture info:capture",
    "USB": "info:usb info:usbhost",
    "a debugger's server": "gdbserver",
    "software emulation": "singlestep replay_break replay_delete_break replay_seek sync-profile info:jit info:opcount info:profile"
                          " info:replay info:sync-profile",
    "devices that are not there": "dumpdtb pcie_aer_inject_error info:rocker info:rocker-of-dpa-flows info:rocker-of-dpa-groups"
                                  " info:rocker-ports info:sev info:sgx info:vm-generation-id",
    "virtio's innards": "info:virtio info:virtio-queue-element info:virtio-queue-status info:virtio-status"
                        " info:virtio-vhost-queue-status",
}


def hmp_names(binary, accel):
    texts = answers(binary, accel, ["help", "help info"])
    names = {name for name in re.findall(r"^([a-z][\w|?-]*) .*--", texts[0], re.M) if name != "info"}
    names = {part for name in names for part in name.split("|")}
    return names | {"info:" + name for name in re.findall(r"^info ([\w-]+) ", texts[1], re.M)}


@test("HMP beside QEMU's: what is missing is in a list with reasons")
def _():
    reasons = {name for names in MISSING.values() for name in names.split()}
    mine = hmp_names(BINARY, "qtest")
    check(len(mine) > 100, mine)
    same(sorted(reasons & mine), [])
    if version_is_7_2():
        theirs = hmp_names(QEMU, "tcg")
        same(sorted(theirs - mine - reasons), [])
        same(sorted(reasons - theirs), [])


sys.exit(suite.run())
