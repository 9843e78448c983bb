#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-server.py KILN-NBD KILN-IMG [NAME...]: kiln-nbd beside qemu-nbd, judged by libnbd's and QEMU's clients; clients
that lie, that stop at any byte, that are too many."""
import json
import os
import signal
import socket
import struct
import subprocess
import sys

import nbd

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdtest import (LIMIT, Relay, creds, cut, end, exists, flip, main, make_pki, ok, openssl, pattern, read, refused, run,
                     serve, test, uri, wait_for, write)

NBD = os.path.abspath(sys.argv.pop(1))
IMG = os.path.abspath(sys.argv.pop(1))
MIB = 1 << 20


def kiln(*args, path="s", shared="100"):
    return serve(NBD, "-k", os.path.abspath(path), "-t", *(("-e", shared) if shared else ()), *args, path=path)


def connect(path="s", export="", contexts=(), strict=True, tls=None):
    h = nbd.NBD()
    h.set_export_name(export)
    for context in contexts:
        h.add_meta_context(context)
    if not strict:
        h.set_strict_mode(0)
    if tls:
        tls(h)
    h.connect_unix(os.path.abspath(path))
    return h


def fails(errno, function, *args):
    try:
        function(*args)
    except nbd.Error as why:
        assert why.errnum == errno, why
    else:
        raise AssertionError("%s worked" % function.__name__)


def facts(path, export=""):
    info = json.loads(ok("nbdinfo", "--json", uri(path, export)))
    for key in ("uri", "content"):
        info["exports"][0].pop(key, None)
    return info


def chain():
    """A qcow2 image over a raw one: data, zeros and nothing in both layers."""
    write("base.raw", pattern(MIB) + bytes(3 * MIB))
    ok("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2", "6M")
    ok("qemu-io", "-f", "qcow2", "-c", "write -P 3 512k 256k", "-c", "write -z 2M 64k", "-c", "write -P 4 5M 64k",
       "top.qcow2")


@test
def the_same_facts_as_qemu_nbd():
    write("a.raw", pattern(1000001))
    chain()
    for args in (["-f", "raw", "a.raw"], ["-f", "raw", "-r", "-e", "5", "a.raw"], ["-f", "raw", "-x", "n", "-D", "what", "a.raw"],
                 ["-f", "qcow2", "-A", "top.qcow2"], ["-f", "raw", "-o", "4096", "a.raw"],
                 ["-f", "qcow2", "-r", "--cache=none", "top.qcow2"]):
        name = "n" if "-x" in args else ""
        shared = () if "-e" in args else ("-e", "2")
        seen = []
        for tool in ("qemu-nbd", NBD):
            process = serve(tool, "-k", os.path.abspath("s"), "-t", *shared, *args, path="s")
            seen.append((facts("s", name), ok("qemu-nbd", "-L", "-k", os.path.abspath("s"))))
            if tool == NBD:
                assert ok(NBD, "-L", "-k", os.path.abspath("s")) == seen[1][1]
            process.terminate()
            assert process.wait(LIMIT) == 0
            assert not exists("s") or tool != NBD, "the socket is still there"
        assert seen[0] == seen[1], "%s:\n%s\n%s" % (args, seen[1], seen[0])


@test
def copies_in_both_directions():
    write("a.raw", pattern(2 * MIB) + bytes(3 * MIB) + pattern(MIB, 2))
    ok("qemu-img", "create", "-q", "-f", "qcow2", "b.qcow2", "6M")
    kiln("-f", "qcow2", "--discard=unmap", "b.qcow2")
    ok("nbdcopy", "--connections=4", "--flush", "a.raw", uri("s"))
    ok("qemu-img", "compare", "-f", "raw", "-F", "raw", "a.raw", uri("s"))
    ok(IMG, "compare", "-f", "raw", "-F", "raw", "a.raw", uri("s"))
    ok("nbdcopy", uri("s"), "c.raw")
    assert read("c.raw") == read("a.raw")
    ok("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "a.raw", uri("s"))
    ok("qemu-io", "-f", "raw", "-c", "write -P 9 1M 1M", "-c", "write -z -u 0 64k", "-c", "discard 4M 1M", "-c", "flush",
       uri("s"))
    ok("qemu-io", "-f", "raw", "-c", "read -P 9 1M 1M", "-c", "read -P 0 0 64k", uri("s"))


@test
def block_status_as_qemu_nbd_gives_it():
    chain()
    ok("qemu-img", "bitmap", "--add", "top.qcow2", "b0")
    ok("qemu-io", "-f", "qcow2", "-c", "write 1M 128k", "-c", "write 4M 64k", "top.qcow2")
    contexts = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"]
    seen = []
    for tool in ("qemu-nbd", NBD):
        process = serve(tool, "-k", os.path.abspath("s"), "-t", "-r", "-A", "-B", "b0", "-f", "qcow2", "top.qcow2", path="s")
        maps = [json.loads(ok("nbdinfo", "--map=%s" % c, "--json", uri("s"))) for c in contexts]
        h = connect(contexts=contexts)
        one = {}
        h.block_status(100 * 1024, 700 * 1024, lambda c, o, e, err: one.update({c: e[:2]}) or 0, nbd.CMD_FLAG_REQ_ONE)
        h.shutdown()
        seen.append((maps, sorted(one)))
        end(process)
        os.unlink("s")
    for a, b in zip(*(s[0] for s in seen)):
        assert flat(a) == flat(b), "%s\n%s" % (b, a)
    assert seen[0][1] == seen[1][1]


def flat(extents):
    """What each 512 bytes are: servers may cut extents at other places."""
    return [(e["offset"] + i, e["type"]) for e in extents for i in range(0, e["length"], 512)]


@test
def all_commands():
    write("a.raw", pattern(MIB))
    kiln("-f", "raw", "--discard=unmap", "a.raw")
    h, other = connect(), connect()
    data = pattern(8192, 3)
    h.pwrite(data, 1000, nbd.CMD_FLAG_FUA)
    assert other.pread(8192, 1000) == data
    h.zero(4096, 1000, nbd.CMD_FLAG_NO_HOLE)
    assert other.pread(8192, 1000) == bytes(4096) + data[4096:]
    h.trim(65536, 65536, nbd.CMD_FLAG_FUA)
    h.zero(65536, 131072, nbd.CMD_FLAG_FAST_ZERO)
    assert not any(h.pread(65536, 131072))
    h.cache(65536, 0)
    h.flush()
    parts = []
    h.pread_structured(200000, 100000, lambda buf, offset, status, err: parts.append((offset, len(buf), status)) or 0)
    assert sum(p[1] for p in parts) == 200000
    h.pread_structured(131072, 65536, lambda buf, offset, status, err: parts.append(status) or 0, nbd.CMD_FLAG_DF)
    assert parts[-1] == nbd.READ_DATA
    # Many at once: each gets its own.
    cookies = [(h.aio_pread(nbd.Buffer(4096), i * 4096), i) for i in range(100)]
    while cookies:
        h.poll(-1)
        cookies = [c for c in cookies if not h.aio_command_completed(c[0])]
    h.shutdown()
    other.shutdown()


@test
def what_cannot_be_is_refused():
    write("a.raw", pattern(MIB))
    process = kiln("-f", "raw", "-r", "a.raw")
    h = connect(strict=False)
    fails(1, h.pwrite, b"x" * 512, 0)
    fails(1, h.zero, 512, 0)
    fails(1, h.trim, 512, 0)
    fails(22, h.pread, 512, MIB)
    fails(22, h.pread, 1024, MIB - 512)
    fails(22, h.pread, 512, 1 << 62)
    fails(22, h.block_status, 512, 0, lambda *args: 0)
    assert h.pread(512, 0) == read("a.raw")[:512]
    h.shutdown()
    end(process)
    os.unlink("s")
    kiln("-f", "raw", "a.raw")
    h = connect(strict=False)
    fails(28, h.pwrite, b"x" * 512, MIB)
    fails(28, h.zero, 1024, MIB - 512)
    fails(22, h.trim, 512, MIB)
    fails(22, h.pread, 33 * MIB, 0)
    fails(22, h.pwrite, b"x", 0, 1 << 7)
    assert h.pread(512, 0) == read("a.raw")[:512]
    fails(2, connect, "s", "other")


@test
def the_life_of_the_process():
    write("a.raw", pattern(MIB))
    # It ends with its last client...
    process = serve(NBD, "-k", os.path.abspath("s"), "-f", "raw", "a.raw", path="s")
    ok("nbdinfo", "--size", uri("s"))
    assert process.wait(LIMIT) == 0 and not exists("s")
    # ... and one more than allowed waits.
    process = kiln("-f", "raw", "a.raw", shared="1")
    first = connect()
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(os.path.abspath("s"))
    waiting.settimeout(0.3)
    try:
        assert not waiting.recv(1), "a second client was served"
    except socket.timeout:
        pass
    first.shutdown()
    waiting.settimeout(LIMIT)
    assert waiting.recv(8) == b"NBDMAGIC"
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 0 and not exists("s")
    # --fork: the socket is there when the parent has gone.
    ok(NBD, "-f", "raw", "-t", "-k", os.path.abspath("s"), "--fork", "--pid-file", "pid", "a.raw")
    ok("nbdinfo", "--size", uri("s"))
    os.kill(int(read("pid")), signal.SIGTERM)
    wait_for("the end", lambda: not exists("s"))
    refused(NBD, "--fork", "-k", os.path.abspath("s"), "nothing.raw", text="nothing.raw")
    # systemd's sockets.
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("passed")
        s.listen()
        os.set_inheritable(s.fileno(), True)
        script = ("import os; os.dup2(%d, 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
                  "os.execv(%r, [%r, '-f', 'raw', 'a.raw'])" % (s.fileno(), NBD, NBD))
        serve(sys.executable, "-c", script, pass_fds=[s.fileno()])
        ok("nbdinfo", "--size", uri("passed"))


@test
def overlays_offsets_and_bitmaps():
    write("a.raw", pattern(MIB))
    process = kiln("-f", "raw", "-s", "a.raw")
    h = connect()
    h.pwrite(b"x" * 4096, 0)
    assert h.pread(4096, 0) == b"x" * 4096
    h.shutdown()
    end(process)
    os.unlink("s")
    assert read("a.raw") == pattern(MIB)
    process = kiln("-f", "raw", "-o", "64k", "a.raw")
    h = connect()
    assert h.get_size() == MIB - 65536 and h.pread(4096, 0) == pattern(MIB)[65536:69632]
    h.shutdown()
    end(process)


@test
def internal_snapshots():
    ok("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M")
    for value in (1, 2, 3):
        ok("qemu-io", "-f", "qcow2", "-c", "write -P %d 0 1M" % value, "a.qcow2")
        ok("qemu-img", "snapshot", "-c", "s%d" % value, "a.qcow2")
    before = read("a.qcow2")
    for word, value in (("s1", 1), ("2", 2), ("snapshot.name=s3", 3)):
        process = kiln("-f", "qcow2", "-l", word, "a.qcow2")
        h = connect()
        assert h.is_read_only() and h.get_size() == MIB and h.pread(MIB, 0) == bytes([value]) * MIB
        h.shutdown()
        end(process)
        os.unlink("s")
    assert read("a.qcow2") == before


@test
def wrong_options():
    write("a.raw", pattern(MIB))
    chain()
    ok("qemu-img", "bitmap", "--add", "top.qcow2", "b0")
    path = os.path.abspath("s")
    for args, text in (([], "number of arguments"), (["a", "b"], "number of arguments"), (["--bogus", "a.raw"], "--bogus"),
                       (["-f", "foo", "a.raw"], "foo"), (["-p", "99999999", "-f", "raw", "a.raw"], "99999999"), (["-p", "x", "-f", "raw", "a.raw"], "port"),
                       (["-e", "-1", "-f", "raw", "a.raw"], "shared"), (["--cache=foo", "a.raw"], "foo"),
                       (["--aio=foo", "a.raw"], "foo"), (["--discard=foo", "a.raw"], "foo"),
                       (["-f", "raw", "--detect-zeroes=foo", "a.raw"], "foo"), (["-L", "a.raw"], "List mode"),
                       (["-L", "-k", "/nowhere/s"], "/nowhere/s"), (["-o", "9999999", "-f", "raw", "a.raw"], "Offset"),
                       (["-k", path, "-f", "raw", "-B", "b", "a.raw"], "Bitmap 'b'"),
                       (["-k", path, "-f", "raw", "--tls-creds=t", "a.raw"], "No TLS credentials"),
                       (["-k", path, "-f", "raw", "--tls-authz=t", "a.raw"], "--tls-authz"),
                       (["-f", "qcow2", "-l", "snap", "-B", "b0", "top.qcow2"], "present content"),
                       (["-f", "raw", "-l", "snap", "a.raw"], "has no internal snapshots"),
                       (["-f", "qcow2", "-l", "snap", "top.qcow2"], "Failed to load snapshot: Can't find snapshot"), (["-c", "/dev/null", "-f", "raw", "a.raw"], "/dev/null"),
                       (["-d", "/nowhere"], "/nowhere"), (["-x", "x" * 5000, "-k", path, "-f", "raw", "a.raw"], "too long"),
                       (["-f", "raw", "-k", "/nowhere/s", "a.raw"], "/nowhere/s")):
        refused(NBD, *args, text=text)
    assert "Usage: kiln-nbd" in ok(NBD, "--help") and "kiln-nbd version" in ok(NBD, "--version")


# ---- hostile clients -------------------------------------------------------------------------------

def still_serves():
    h = connect()
    assert h.pread(4096, 0) == read("a.raw")[:4096]
    h.shutdown()


def receive(s, length):
    """So many bytes; fewer when the server has closed the connection."""
    data = b""
    while len(data) < length:
        more = s.recv(length - len(data))
        if not more:
            break
        data += more
    return data


def handshake(option=None, data=b""):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(LIMIT)
    s.connect(os.path.abspath("s"))
    assert receive(s, 18)[:8] == b"NBDMAGIC"
    s.sendall(struct.pack(">I", 3))
    if option is not None:
        s.sendall(struct.pack(">8sII", b"IHAVEOPT", option, len(data)) + data)
    return s


def reply(s):
    magic, option, kind, length = struct.unpack(">QIII", receive(s, 20))
    assert magic == 0x3e889045565a9
    return kind & 0xffff, receive(s, length) if length else b""


def transmission():
    s = handshake(1)
    receive(s, 10)
    return s


def request(kind, offset=0, length=512, flags=0, cookie=1, magic=0x25609513):
    return struct.pack(">IHHQQI", magic, flags, kind, cookie, offset, length)


def is_closed(s):
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True


@test
def options_that_make_no_sense():
    write("a.raw", pattern(MIB))
    process = kiln("-f", "raw", "a.raw")
    for option, data, kind in ((99, b"", 1), (3, b"x", 3), (8, b"x", 3), (5, b"", 2), (7, b"", 3), (6, b"\0\0\0\0", 3),
                               (7, struct.pack(">I", 5000) + b"x" * 5000, 3), (7, struct.pack(">I", 0xffffffff) + b"\0\0", 3),
                               (7, struct.pack(">I1sH", 1, b"\0", 0), 3), (7, struct.pack(">IH", 0, 5), 3),
                               (7, struct.pack(">I3sH", 3, b"nix", 0), 6), (10, struct.pack(">II", 0, 0), 3),
                               (9, struct.pack(">II", 0, 0), 3), (7, b"x" * 100000, 9)):
        s = handshake(option, data)
        got, _ = reply(s)
        assert got == kind, "option %d with %d bytes: %d, not %d" % (option, len(data), got, kind)
        s.sendall(struct.pack(">8sII", b"IHAVEOPT", 3, 0))
        assert reply(s)[0] == 2 and reply(s)[0] == 1
        s.close()
    s = handshake(8)
    reply(s)
    for data in (struct.pack(">II", 0, 5), struct.pack(">III", 0, 1, 0xffffffff), struct.pack(">IIIx", 0, 1, 0)):
        s.sendall(struct.pack(">8sII", b"IHAVEOPT", 10, len(data)) + data)
        assert reply(s)[0] == 3
    for bad in (struct.pack(">8sII", b"IHAVEOPT", 7, 0xffffffff), b"GET / HTTP/1.1\r\n\r\n", struct.pack(">8sII", b"ihaveopt", 3, 0)):
        s = handshake()
        s.sendall(bad)
        assert is_closed(s)
    s = handshake(1, b"nix")
    assert is_closed(s)
    still_serves()
    assert process.poll() is None


@test
def requests_that_make_no_sense():
    write("a.raw", pattern(MIB))
    process = kiln("-f", "raw", "a.raw")
    for bad in (request(0, magic=0), request(1, length=33 * MIB), request(1, length=0xffffffff), b"\0" * 28):
        s = transmission()
        s.sendall(bad)
        assert is_closed(s)
        assert process.poll() is None
    s = transmission()
    for bad, error in ((request(77), 22), (request(0, flags=0x80), 22), (request(0, offset=1 << 63), 22),
                       (request(0, offset=(1 << 64) - 1, length=2), 22), (request(6, offset=MIB, length=1), 28),
                       (request(7), 22), (request(1, offset=MIB) + bytes(512), 28), (request(0, length=0), 0),
                       (request(1, length=0), 0), (request(6, flags=16, length=512), 0)):
        s.sendall(bad)
        got = receive(s, 16)
        assert got == struct.pack(">IIQ", 0x67446698, error, 1), (bad, got)
    s.sendall(request(2))
    assert is_closed(s)
    # One that never reads its answers is not read either, and costs others nothing.
    s = transmission()
    s.setblocking(False)
    sent = 0
    try:
        while sent < 64 * MIB:
            sent += s.send(request(0, length=MIB) * 100)
    except BlockingIOError:
        pass
    assert sent < MIB, sent
    still_serves()
    # Good-bye while requests are under way: they are answered.
    s2 = transmission()
    s2.sendall(request(0, length=4096) + request(2))
    assert len(receive(s2, 16 + 4096)) == 16 + 4096 and is_closed(s2)
    # So they are when its end of the connection is closed, and when something senseless follows them.
    s2 = transmission()
    s2.sendall(request(0, length=4096) * 20)
    s2.shutdown(socket.SHUT_WR)
    got = len(receive(s2, 20 * (16 + 4096)))
    assert got == 20 * (16 + 4096) and is_closed(s2), got
    for last in (b"GET / HTTP/1.1\r\n\r\n" * 2, request(1, length=0xffffffff)):
        s2 = transmission()
        s2.sendall(request(77) * 10 + last)
        got = len(receive(s2, 10 * 16))
        assert got == 10 * 16 and is_closed(s2), got
    assert process.poll() is None


@test
def clients_that_stop_anywhere():
    write("a.raw", pattern(16384))
    process = kiln("-f", "raw", "a.raw")
    relay = Relay(os.path.abspath("r"), "s", lambda way, at, data: data)
    ok("qemu-io", "-f", "raw", "-c", "read 0 4k", "-c", "write -P 1 4k 4k", "-c", "write -z 8k 4k", "-c", "discard 12k 4k",
       uri("r"))
    up = relay.sent["up"]
    relay.close()
    assert up > 4096
    for place in list(range(0, 420, 3)) + list(range(420, up, 501)):
        for mutate in (cut("up", place), flip("up", place, 1 << place % 8)):
            relay = Relay(os.path.abspath("r"), "s", mutate)
            run("qemu-io", "-f", "raw", "-c", "read 0 4k", "-c", "write -P 1 4k 4k", "-c", "flush", uri("r"))
            relay.close()
            assert process.poll() is None, "the server died at %d" % place
    still_serves()


@test
def many_silent_clients():
    write("a.raw", pattern(MIB))
    kiln("-f", "raw", "a.raw")
    silent = []
    for _ in range(90):
        s = socket.socket(socket.AF_UNIX)
        s.connect(os.path.abspath("s"))
        silent.append(s)
    still_serves()
    # More of them: who waits is served when their time is over.
    for _ in range(30):
        s = socket.socket(socket.AF_UNIX)
        s.connect(os.path.abspath("s"))
        silent.append(s)
    still_serves()


# ---- TLS ----------------------------------------------------------------------------------------------

def opts(more=""):
    return "driver=nbd,server.type=unix,server.path=%s,tls-creds=t%s" % (os.path.abspath("s"), more)


def tls_compare(kind, more_server, more_client, extra=""):
    """qemu-img and kiln-img as clients of kiln-nbd, kiln-img as client of qemu-nbd."""
    for server in ("qemu-nbd", NBD):
        process = serve(server, "-k", os.path.abspath("s"), "-t", "-e", "10", "--object", creds(kind, "server", more_server),
                        "--tls-creds", "t", "-f", "raw", "a.raw", path="s")
        for client in ("qemu-img", IMG):
            ok(client, "compare", "--object", creds(kind, "client", more_client), "--image-opts",
               opts(extra), "driver=file,filename=a.raw")
        end(process)
        os.unlink("s")


@test
def tls_with_certificates():
    write("a.raw", pattern(3 * MIB))
    make_pki("pki")
    make_pki("other")
    tls_compare("x509", ",dir=pki", ",dir=pki", ",tls-hostname=localhost")
    args = ["--object", creds("x509", "server", ",dir=pki"), "--tls-creds", "t", "-f", "raw", "a.raw"]
    process = kiln(*args)
    certificates = os.path.abspath("pki")
    h = connect(tls=lambda h: (h.set_tls(nbd.TLS_REQUIRE), h.set_tls_certificates(certificates), h.set_tls_verify_peer(False)))
    assert h.pread(MIB, MIB) == read("a.raw")[MIB:2 * MIB]
    h.shutdown()
    ok(NBD, "-L", "-k", os.path.abspath("s"), "--object", creds("x509", "client", ",dir=pki"), "--tls-creds", "t",
       "--tls-hostname", "localhost")
    # Without TLS, with the wrong name, with a stranger's certificate.
    refused(IMG, "info", uri("s"), text="TLS")
    refused("nbdinfo", uri("s"))
    refused(IMG, "info", "--object", creds("x509", "client", ",dir=pki"), "--image-opts", opts(",tls-hostname=elsewhere"),
            text="hostname elsewhere")
    refused(IMG, "info", "--object", creds("x509", "client", ",dir=other"), "--image-opts", opts(), text="not trusted")
    ok(IMG, "info", "--object", creds("x509", "client", ",dir=pki"), "--image-opts", opts())
    end(process)
    os.unlink("s")
    os.mkdir("half")
    write("half/ca-cert.pem", read("pki/ca-cert.pem"))
    for name in ("client-cert.pem", "client-key.pem"):
        write("half/" + name, read("other/" + name))
    process = kiln(*args)
    refused(IMG, "info", "--object", creds("x509", "client", ",dir=half"), "--image-opts", opts())
    os.remove("half/client-cert.pem")
    refused(IMG, "info", "--object", creds("x509", "client", ",dir=half"), "--image-opts", opts())
    end(process)
    os.unlink("s")


@test
def who_is_allowed():
    write("a.raw", pattern(MIB))
    make_pki("pki")
    for identity, allowed in (("CN=someone,O=Kiln", True), ("CN=nobody", False)):
        process = kiln("--object", creds("x509", "server", ",dir=pki"), "--object", "authz-simple,id=a,identity=%s" %
                       identity.replace(",", ",,"), "--tls-creds", "t", "--tls-authz", "a", "-f", "raw", "a.raw")
        args = (IMG, "info", "--object", creds("x509", "client", ",dir=pki"), "--image-opts", opts())
        if allowed:
            ok(*args)
        else:
            refused(*args)
        end(process)
        os.unlink("s")
    refused(NBD, "--object", creds("anon", "server"), "--object", "authz-simple,id=a,identity=x", "--tls-creds", "t",
            "--tls-authz", "a", "-f", "raw", "a.raw", text="who a client is")


@test
def tls_with_keys_and_with_nobody():
    write("a.raw", pattern(MIB))
    os.mkdir("keys")
    write("keys/keys.psk", b"qemu:0123456789abcdef0123456789abcdef\nalice:ffeeddccbbaa99887766554433221100\n")
    keys = os.path.abspath("keys")  # qemu-nbd changes to / before it reads them
    tls_compare("psk", ",dir=" + keys, ",dir=keys")
    tls_compare("psk", ",dir=" + keys, ",dir=keys,username=alice")
    tls_compare("anon", "", "")
    kiln("--object", creds("psk", "server", ",dir=keys"), "--tls-creds", "t", "-f", "raw", "a.raw")
    keys = os.path.abspath("keys/keys.psk")
    h = connect(tls=lambda h: (h.set_tls(nbd.TLS_REQUIRE), h.set_tls_psk_file(keys), h.set_tls_username("alice")))
    assert h.pread(MIB, 0) == read("a.raw")
    h.shutdown()
    os.mkdir("wrong")
    write("wrong/keys.psk", b"qemu:ffff456789abcdef0123456789abcdef\n")
    refused(IMG, "info", "--object", creds("psk", "client", ",dir=wrong"), "--image-opts", opts(), text="TLS handshake failed")
    refused(IMG, "info", "--object", creds("psk", "client", ",dir=wrong,username=bob"), "--image-opts", opts(), text="bob")


@test
def credentials_that_are_wrong():
    write("a.raw", pattern(MIB))
    make_pki("pki")
    os.mkdir("empty")
    for text, wrong in (("Missing 'dir'", creds("x509", "server")), ("ca-cert.pem", creds("x509", "server", ",dir=empty")),
                        ("keys.psk", creds("psk", "server", ",dir=empty")), ("Missing 'dir'", creds("psk", "client")),
                        ("server", creds("x509", "client", ",dir=pki")),
                        ("username", creds("psk", "server", ",dir=pki,username=x")),
                        ("endpoint", creds("x509", "both", ",dir=pki")),
                        ("secret", creds("x509", "server", ",dir=pki,passwordid=none"))):
        refused(NBD, "--object", wrong, "--tls-creds", "t", "-k", os.path.abspath("s"), "-f", "raw", "a.raw", text=text)
    openssl("rsa", "-aes128", "-passout", "pass:geheim", "-in", "pki/server-key.pem", "-out", "pki/locked.pem")
    os.replace("pki/locked.pem", "pki/server-key.pem")
    args = ["--tls-creds", "t", "-f", "raw", "a.raw"]
    refused(NBD, "--object", "secret,id=p,data=falsch", "--object", creds("x509", "server", ",dir=pki,passwordid=p"),
            "-k", os.path.abspath("s"), *args, text="server-key.pem")
    kiln("--object", "secret,id=p,data=geheim", "--object", creds("x509", "server", ",dir=pki,passwordid=p"), *args)
    ok(IMG, "info", "--object", creds("x509", "client", ",dir=pki"), "--image-opts", opts())


if __name__ == "__main__":
    sys.exit(main("kiln-nbd-server."))
