#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-vm.py KILN KILN-IMG KILN-NBD [NAME...]: disks of a running VM whose NBD servers misbehave: no half answer is taken for
data, the machine goes on, the manager hears why, and it can end."""
import json
import os
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, *(os.path.join(HERE, "..", name) for name in ("qmp", "state"))]
import blk_queues as blk  # noqa: E402
import busy_virtio as v  # noqa: E402
import fakeserver as fake  # noqa: E402
import ide_driver as ide  # noqa: E402
from fakeserver import Cut, Export, Server, chunk, data_chunk, simple  # noqa: E402
from nbdtest import LIMIT, Relay, creds, end, main, make_pki, ok, openssl, pattern, serve, test, wait_for, write  # noqa: E402
from oracle import QEMU, programs, running  # noqa: E402
from qmpclient import Connection  # noqa: E402

KILN, IMG, NBD = (os.path.abspath(path) for path in sys.argv[1:4])
del sys.argv[1:4]
VIRTIO, IDE = "virtio-blk-pci,addr=4", "ide-hd,bus=ide.0,unit=0"
GEOMETRY = "cyls=2,heads=16,secs=63"    # guessing it would read
SECTOR = 8


def disk(device, **node):
    node = {"driver": "nbd", "node-name": "d", "server": {"type": "unix", "path": os.path.abspath("s")}, **node}
    return ["-nodefaults", "-blockdev", json.dumps(node), "-device", f"{device},id=disk,drive=d,{GEOMETRY}"]


class Guest:
    """A machine with this disk, its driver and its manager; reads and writes are of one sector."""

    def __init__(self, device, *more, program=KILN, **node):
        self.m = running(program, [*disk(device, **node), *more])
        self.qmp = Connection(self.m.qmp_path)
        self.qmp.greeting = self.qmp.message()
        self.qmp.do("qmp_capabilities", enable=["oob"])
        self.device = device
        self.queue = blk.start(self.m, 1)[0] if device == VIRTIO else None

    def begin(self, fill=None, sector=SECTOR):
        if self.queue:
            self.queue.begin(blk.READ if fill is None else blk.WRITE, sector, fill)
        else:
            ide.dma_start(self.m, sector, fill, 1)

    def ended(self):
        if self.queue:
            return self.queue.done()
        return not self.m.inb(0x3F6) & ide.BUSY and self.m.inb(0xC102) & 4

    def end(self):
        """None: it failed; else what was read."""
        v.wait(self.ended)
        if self.queue:
            good = self.queue.statuses()[-1] == 0
            place = self.queue.data + blk.SLOT * ((self.queue.put - 1) % blk.AT_ONCE) + 512
        else:
            good = not self.m.inb(0x3F6) & ide.ERR
            place = ide.DMA_DATA
            self.m.outb(0xC102, 6)
            self.m.outb(0xC100, 0)
        return self.m.read(place, 512) if good else None

    def read(self, sector=SECTOR):
        self.begin(sector=sector)
        return self.end()

    def goes_on(self):
        assert self.qmp.do("query-status")["status"] == "running"

    def says(self):
        """On standard error, so far."""
        return self.m.last_words()

    def heard(self, text):
        wait_for(repr(text), lambda: text in self.says())

    def oob(self, name, **arguments):
        """Its answer; what else comes is kept."""
        self.qmp.send({"exec-oob": name, "arguments": arguments, "id": "oob"} if arguments else {"exec-oob": name, "id": "oob"})
        replies = []
        while not replies or replies[-1].get("id") != "oob":
            replies.append(self.qmp.reply())
        return replies[-1], replies[:-1]

    def cut_off(self):
        """yank; the answers that came before its own."""
        one = {"type": "block-node", "node-name": "d"}
        reply, before = self.oob("query-yank")
        assert one in reply["return"] and not before, (reply, before)
        reply, before = self.oob("yank", instances=[one])
        assert reply["return"] == {}, reply
        return before

    def error(self):
        """The event of a failed request."""
        return self.qmp.wait("BLOCK_IO_ERROR")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.qmp.close()
        if kind:
            self.m.process.kill()
            self.m.process.wait()
        if self.m.process.poll() is None:
            self.m.__exit__()


def sector_of(server, number=SECTOR):
    return bytes(server.disk[512 * number:512 * number + 512])


# ---- a silent server ------------------------------------------------------------------------------------

def silence(guest, server):
    """A read is under way that nobody answers."""
    server.answer = Server.silent
    count = len(server.requests)
    guest.begin()
    server.wait_for(count + 1)


@test
def yank_frees_what_waits_for_a_silent_server():
    """As in QEMU: it is heard though the main loop waits; what else was said meanwhile waits, and is answered in order."""
    for program in programs(KILN):
        for device in (VIRTIO, IDE):
            for command in ({"execute": "stop"}, {"execute": "system_reset"},
                            {"execute": "human-monitor-command", "arguments": {"command-line": 'qemu-io d "read 0 512"'}}):
                if program == QEMU and command["execute"] != "stop":
                    continue
                with Server("s") as server, Guest(device, program=program) as guest:
                    silence(guest, server)
                    guest.qmp.send({**command, "id": 1})
                    guest.qmp.send({"execute": "query-name", "id": 2})
                    try:
                        before = guest.cut_off()
                    except TimeoutError:
                        raise AssertionError(f"{program}, {device}: {command} is not cut short") from None
                    replies = before + [guest.qmp.reply() for _ in range(2 - len(before))]
                    assert [r["id"] for r in replies] == [1, 2] and all("return" in r for r in replies), (program, command, replies)
                    if command["execute"] == "stop":
                        assert guest.qmp.do("query-status")["status"] == "paused"
                        guest.qmp.do("cont")
                        assert guest.end() is None, "a sector that nobody sent"
                        told = guest.error()
                        assert (told["node-name"], told["operation"], told["reason"]) == ("d", "read", "Input/output error"), told
                    if program == KILN:
                        assert "node 'd', NBD server" in guest.says() and "a manager has cut it off" in guest.says(), guest.says()


@test
def yank_frees_what_waits_for_a_connection():
    """Requests wait for reconnect-delay seconds."""
    for device in (VIRTIO, IDE):
        with Server("s") as server, Guest(device, **{"reconnect-delay": 3600}) as guest:
            silence(guest, server)
            server.stop()
            guest.heard("cannot connect again")
            guest.qmp.send({"execute": "stop", "id": 1})
            before = guest.cut_off()
            assert (before or [guest.qmp.reply()])[0] == {"return": {}, "id": 1}
            guest.qmp.do("cont")
            assert guest.end() is None


@test
def yank_frees_an_unplugged_disk():
    """The guest lets the disk go while its read waits; the node can be removed then."""
    with Server("s") as server, Guest(VIRTIO) as guest:
        silence(guest, server)
        guest.qmp.do("device_del", id="disk")
        guest.m.socket.sendall(b"outl 0xae08 0x10\n")      # _EJ0 of slot 4
        guest.cut_off()
        assert guest.m.reader.readline() == b"OK\n"
        guest.qmp.wait("DEVICE_DELETED")
        guest.qmp.do("blockdev-del", node_name="d")
        guest.goes_on()


@test
def nodes_without_requests_go_at_once():
    with Server("s") as server, Guest(VIRTIO) as guest:
        server.answer = Server.silent
        node = {"driver": "nbd", "node_name": "e", "server": {"type": "unix", "path": os.path.abspath("s")}}
        guest.qmp.do("blockdev-add", **node)
        guest.qmp.do("blockdev-del", node_name="e")
        guest.goes_on()


def ends(guest, how):
    begin = time.monotonic()
    if how == "quit":
        guest.qmp.do("quit")
    else:
        guest.m.process.terminate()
    assert guest.m.process.wait(LIMIT) == 0
    return time.monotonic() - begin


@test
def the_machine_ends_though_a_server_is_silent():
    """What other disks have to write is written."""
    for device in (VIRTIO, IDE):
        for how in ("quit", "SIGTERM"):
            ok(IMG, "create", "-q", "-f", "qcow2", "other", "1M")
            other = ["-drive", "if=none,id=o,file=other,format=qcow2,cache=writeback", "-device",
                     f"ide-hd,bus=ide.1,unit=0,drive=o,{GEOMETRY}"]
            with Server("s") as server, Guest(device, *other) as guest:
                said = guest.qmp.hmp('qemu-io o "write -P 7 0 64k"')
                assert "wrote 65536/65536" in said, said
                silence(guest, server)
                seconds = ends(guest, how)
                assert 4 < seconds < 60, seconds
                assert "it does not answer, and the machine ends" in guest.says(), guest.says()
            ok(IMG, "check", "other")
            ok(IMG, "convert", "-O", "raw", "other", "raw")
            with open("raw", "rb") as f:
                assert f.read(65536) == b"\x07" * 65536, "another disk has lost what was written"
            os.unlink("other")


@test
def the_machine_ends_though_a_server_is_gone():
    for how in ("quit", "SIGTERM"):
        with Server("s") as server, Guest(VIRTIO, **{"reconnect-delay": 3600}) as guest:
            silence(guest, server)
            server.stop()
            guest.heard("cannot connect again")
            ends(guest, how)
            assert "the connection has not come back, and the machine ends" in guest.says(), guest.says()


@test
def a_slow_server_is_waited_for_at_the_end():
    """It says something now and then: no answer is lost."""
    def dribble(server, request):
        """A read's answer, a piece a second."""
        answer = server.good(request)
        if request.type != fake.READ:
            return answer
        for i in range(8):
            server.sockets[-1].sendall(answer[60 * i:60 * i + 60])
            time.sleep(1)
        return answer[480:]
    with Server("s") as server, Guest(VIRTIO) as guest:
        server.answer = dribble
        guest.begin()
        server.wait_for(1)
        assert ends(guest, "quit") > 6
        assert "connection lost" not in guest.says(), guest.says()


# ---- half answers ---------------------------------------------------------------------------------------

def cut_after(n):
    def answer(server, request):
        raise Cut(server.good(request)[:n])
    return answer


def other_cookie(server, request):
    return server.good(request._replace(cookie=request.cookie ^ 1 << 40))


HALF = {
    # Of a chunk: in its magic, flags, type, cookie, length, offset, data; behind an error's head.
    True: {**{f"cut after {n}": (cut_after(n), "closed the connection") for n in (0, 3, 5, 7, 12, 18, 25, 28, 300, 539)},
           "another cookie": (other_cookie, "a chunk for no request"),
           "too long": (lambda s, r: data_chunk(r, bytes(r.length + 1)), "data that were not asked for"),
           "before it": (lambda s, r: data_chunk(r, bytes(r.length), r.offset - 1), "data that were not asked for"),
           "far away": (lambda s, r: data_chunk(r, bytes(512), (1 << 64) - 512), "data that were not asked for"),
           "an endless text": (lambda s, r: chunk(1, fake.ERROR, r.cookie, struct.pack(">IH", 5, 0xffff), 0xffffffff), "too long"),
           "an endless chunk": (lambda s, r: chunk(1, fake.DATA, r.cookie, struct.pack(">Q", r.offset), 0xffffffff),
                                "data that were not asked for"),
           "nobody asked": (lambda s, r: chunk(1, 0, 77) + s.good(r), "a chunk for no request"),
           "a simple one": (lambda s, r: simple(r.cookie, 0, bytes(r.length)), "a simple reply to a read")},
    False: {**{f"cut after {n}": (cut_after(n), "closed the connection") for n in (0, 3, 6, 12, 16, 200, 527)},
            "another cookie": (other_cookie, "a reply to no request"),
            "nobody asked": (lambda s, r: simple(77) + s.good(r), "a reply to no request"),
            "a chunk": (lambda s, r: data_chunk(r, bytes(r.length)), "although none were agreed upon")}}


def once(answer):
    """The first request is answered so, the others well."""
    left = [answer]

    def maybe(server, request):
        return (left.pop() if left else Server.good)(server, request)
    return maybe


@test
def half_answers_fail_the_request():
    """reconnect-delay=0: the guest sees an error, the manager too; the connection comes back by itself."""
    for structured, cases in HALF.items():
        with Server("s", export=Export(structured=structured)) as server, Guest(VIRTIO) as guest:
            for name, (answer, text) in cases.items():
                connections, said = server.connections, guest.says().count(text)
                server.answer = once(answer)
                assert guest.read() is None, f"{name}: taken for an answer"
                assert guest.error()["node-name"] == "d"
                assert guest.says().count(text) > said, f"{name}: {guest.says()}"
                wait_for("a new connection", lambda: server.connections > connections)  # pylint: disable=cell-var-from-loop
                wait_for("a good answer", lambda: guest.read() == sector_of(server))
                guest.goes_on()


@test
def short_answers_fail_the_request_alone():
    """The connection is as good as before."""
    with Server("s") as server:
        for device in (VIRTIO, IDE):
            with Guest(device) as guest:
                connections = server.connections
                for answer in (lambda s, r: data_chunk(r, bytes(r.length - 1)), lambda s, r: chunk(1, 0, r.cookie),
                               lambda s, r: chunk(1, fake.HOLE, r.cookie, struct.pack(">QI", r.offset, 511)),
                               lambda s, r: chunk(1, fake.ERROR, r.cookie, struct.pack(">IH", 28, 3) + b"no!")):
                    server.answer = once(answer)
                    assert guest.read() is None
                    assert guest.error()["node-name"] == "d"
                    assert guest.read() == sector_of(server)
                assert server.connections == connections


@test
def half_answers_are_asked_for_again():
    """reconnect-delay > 0: the guest's read waits, and has the right bytes in the end."""
    for structured, cases in HALF.items():
        with Server("s", export=Export(structured=structured)) as server, Guest(VIRTIO, **{"reconnect-delay": 100}) as guest:
            for name in ("cut after 12", "cut after 300" if structured else "cut after 200", "another cookie", "nobody asked"):
                server.answer = once(cases[name][0])
                assert guest.read() == sector_of(server), name
                guest.heard(cases[name][1])
            guest.goes_on()
            assert guest.qmp.names().count("BLOCK_IO_ERROR") == 0


@test
def a_server_that_never_answers_well():
    """It takes each connection and breaks it at the request: reconnect-delay ends that, and there are few tries."""
    with Server("s") as server, Guest(VIRTIO, **{"reconnect-delay": 10}) as guest:  # more than the longest pause
        server.answer = cut_after(20)
        begin = time.monotonic()
        assert guest.read() is None, "an answer out of nothing"
        assert 9 < time.monotonic() - begin < 60
        assert server.connections < 8, f"{server.connections} connections in a few seconds"
        guest.goes_on()
        server.answer = Server.good
        wait_for("a good answer", lambda: guest.read() == sector_of(server))


# ---- the export changes ---------------------------------------------------------------------------------

CHANGES = [
    (Export(fake.MIB // 2), "the export's size was 1048576 and is 524288"),
    (Export(0), "the export's size was 1048576 and is 0"),
    (Export(fake.MIB - 1), "the export's size was 1048576 and is 1048575"),
    (Export(1 << 63), "too large"),
    (Export(flags=fake.ALL | fake.READ_ONLY), "the export is read-only now"),
    (Export(flags=fake.ALL & ~fake.SEND_FLUSH), "the export does not take flushes any more"),
    (Export(flags=fake.ALL & ~fake.SEND_TRIM), "the export does not take trims any more"),
    (Export(flags=0), "what the export is like"),
    (Export(blocks=(4096, 4096, 65536)), "block"),
    (Export(blocks=(1, 4096, 4096)), "block"),
    (Export(blocks=(3, 4096, 4096)), "bad minimum block size 3"),
    (Export(structured=False), "no structured replies any more"),
    *((Export(cut=option), "closed the connection") for option in (0, 8, 7)),
]


@test
def an_export_that_can_do_less_is_not_taken():
    """Requests fail, or wait for reconnect-delay; the reason is said once; the disk is there again when the export is as it was."""
    for export, text in CHANGES:
        with Server("s") as server, Guest(IDE) as guest:
            assert guest.read() == sector_of(server)
            server.export = export
            server.cut()
            guest.heard(text)
            assert "node 'd'" in guest.says(), guest.says()
            assert guest.read() is None
            assert guest.error()["node-name"] == "d"
            guest.goes_on()
            if export is CHANGES[0][0]:
                server.export = Export()
                wait_for("the disk", lambda: guest.read() == sector_of(server))
                assert guest.says().count(text) == 1, guest.says()


@test
def an_export_that_can_do_more_is_taken():
    """The guest's disk stays as large as it was."""
    for before, after in ((Export(flags=fake.HAS_FLAGS), Export()), (Export(), Export(2 * fake.MIB)), (Export(), Export(fake.MIB + 1)),
                          (Export(blocks=(512, 4096, 65536)), Export(blocks=(1, 1, 1 << 25)))):
        with Server("s", export=before) as server, Guest(VIRTIO, **{"reconnect-delay": 100}) as guest:
            for _ in range(2):      # what it has grown to is no smaller size for the next time
                server.export = after
                server.cut()
                guest.begin(0x5A)
                guest.end()
                assert guest.read() == b"\x5A" * 512 == sector_of(server)
                sizes = [n["image"]["virtual-size"] for n in guest.qmp.do("query-named-block-nodes")]
                assert sizes == [fake.MIB], sizes
                after = before if after.size > before.size else after
            assert not guest.qmp.names()


@test
def a_disk_for_reading_only_needs_no_more():
    with Server("s") as server, Guest(VIRTIO, **{"read-only": True, "reconnect-delay": 100}) as guest:
        server.export = Export(flags=fake.ALL | fake.READ_ONLY)
        server.cut()
        assert guest.read() == sector_of(server)


# ---- TLS ------------------------------------------------------------------------------------------------

TLS_NODE = {"tls-creds": "t", "tls-hostname": "localhost"}
CLIENT = ("-object", creds("x509", "client", ",dir=pki"))


def tls_server(pki="pki"):
    if os.path.exists("real"):
        os.unlink("real")
    write("image", pattern(fake.MIB))
    return serve(NBD, "-k", os.path.abspath("real"), "-t", "-e", "10", "--object", creds("x509", "server", f",sanity-check=off,dir={pki}"),
                 "--tls-creds", "t", "-f", "raw", "image", path="real")


class Cutter:
    """A relay's mutate: connections end after limit bytes from the server, or, once, at what the client says next."""

    def __init__(self):
        self.limit, self.drop, self.most = None, False, 0

    def __call__(self, way, at, data):
        if way == "up":
            self.drop, drop = False, self.drop
            return None if drop else data
        self.most = at + len(data)
        return data if self.limit is None else data[:max(0, self.limit - at)]


@test
def tls_is_cut_in_the_middle_of_the_handshake():
    """At the start, at blockdev-add and when the connection comes back: an error with a reason, and the next try is good."""
    make_pki("pki")
    tls_server()
    data = pattern(fake.MIB)[512 * SECTOR:512 * SECTOR + 512]
    cutter = Cutter()
    relay = Relay(os.path.abspath("s"), "real", cutter, patient=True)
    with Guest(IDE, *CLIENT, **TLS_NODE) as guest:
        handshake = cutter.most
        assert 1000 < handshake < 10000 and guest.read() == data, handshake
        limits = (5, 30, 38, 43, 100, handshake // 2, handshake - 60, handshake - 1)
        for limit in limits:
            said = guest.says().count("cannot connect again")
            cutter.limit, cutter.drop = limit, True
            assert guest.read() is None
            wait_for("the reason", lambda: guest.says().count("cannot connect again") > said)  # pylint: disable=cell-var-from-loop
            assert guest.read() is None
            guest.goes_on()
            cutter.limit = None
            wait_for("the disk", lambda: guest.read() == data)
    relay.close()
    relay = Relay(os.path.abspath("s"), "real", cutter, patient=True)
    for limit in limits:
        cutter.limit = limit
        done = subprocess.run([KILN, "-accel", "qtest", "-display", "none", *CLIENT, *disk(IDE, **TLS_NODE)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LIMIT, check=False)
        assert done.returncode == 1 and "NBD server /" in done.stderr, (limit, done)
    with Server("t") as server, Guest(IDE, *CLIENT, server={"type": "unix", "path": os.path.abspath("t")}) as guest:
        node = {"driver": "nbd", "node_name": "e", "server": {"type": "unix", "path": os.path.abspath("s")}, **TLS_NODE}
        for limit in limits:
            cutter.limit = limit
            reply = guest.qmp.command("blockdev-add", **node)
            assert "NBD server /" in reply["error"]["desc"], (limit, reply)
            guest.goes_on()
        cutter.limit = None
        guest.qmp.do("blockdev-add", **node)
        assert guest.read() == sector_of(server)
    relay.close()


@test
def a_certificate_that_is_not_valid_any_more():
    """The server comes back with it: the disk does not, until the certificate is as it should be."""
    make_pki("pki")
    make_pki("other")
    make_pki("late")
    openssl("x509", "-req", "-in", "late/server.csr", "-CA", "pki/ca-cert.pem", "-CAkey", "pki/ca-key.pem", "-CAcreateserial", "-days", "-1",
            "-extfile", "late/ext", "-extensions", "server", "-out", "late/server-cert.pem")
    with open("pki/ca-cert.pem", "rb") as f:
        write("late/ca-cert.pem", f.read())
    data = pattern(fake.MIB)[512 * SECTOR:512 * SECTOR + 512]
    process = tls_server()
    server = {"type": "unix", "path": os.path.abspath("real")}
    with Guest(VIRTIO, *CLIENT, server=server, **TLS_NODE) as guest:
        assert guest.read() == data
        for pki, text in (("other", "issuer"), ("late", "expired")):
            end(process)
            process = tls_server(pki)
            guest.heard(text)
            assert guest.read() is None
            guest.goes_on()
            end(process)
            process = tls_server()
            wait_for("the disk", lambda: guest.read() == data)


if __name__ == "__main__":
    sys.exit(main("kiln-nbd-vm."))
