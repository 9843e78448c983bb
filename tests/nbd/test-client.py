#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-client.py KILN-IMG [NAME...]: the nbd driver with QEMU's and nbdkit's servers, and with a connection that is cut
or damaged at each byte."""
import json
import os
import random
import socket
import struct
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fakeserver import Export, Server, chunk
from nbdtest import (Relay, cut, end, flip, main, nbdkit, ok, pattern, qemu_nbd, read, refused, run, test,
                     uri, wait_for, write)

IMG = os.path.abspath(sys.argv.pop(1))
MIB = 1 << 20


def convert(source, target, *args):
    return ok(IMG, "convert", "-f", "raw", "-O", "raw", *args, source, target)


@test
def reads_what_qemu_nbd_serves():
    write("a.raw", pattern(3 * MIB) + bytes(5 * MIB) + pattern(1000))
    ok("qemu-img", "convert", "-O", "qcow2", "a.raw", "a.qcow2")
    qemu_nbd("-f", "qcow2", "-x", "foo", "a.qcow2")
    url = uri("s", "foo")
    convert(url, "b.raw")
    size = len(read("a.raw"))
    assert read("b.raw")[:size] == read("a.raw") and not any(read("b.raw")[size:])
    ours = json.loads(ok(IMG, "map", "--output=json", url))
    theirs = json.loads(ok("qemu-img", "map", "--output=json", url))
    assert ours == theirs, "%s\n%s" % (ours, theirs)
    ours = json.loads(ok(IMG, "info", "--output=json", url))
    theirs = json.loads(ok("qemu-img", "info", "--output=json", url))
    assert all(ours[key] == value for key, value in theirs.items()), "%s\n%s" % (ours, theirs)


@test
def names_in_all_forms():
    write("a.raw", pattern(MIB))
    qemu_nbd("-f", "raw", "-x", "foo bar", "a.raw")
    path = os.path.abspath("s")
    for name in ("nbd:unix:%s:exportname=foo bar" % path, "nbd+unix:///foo%%20bar?socket=%s" % path,
                 "json:" + json.dumps({"driver": "raw", "file": {"driver": "nbd", "export": "foo bar", "server": {
                     "type": "unix", "path": path}}})):
        ok(IMG, "compare", "-f", "raw", "-F", "raw", name, "a.raw")
    for options in ("driver=nbd,server.type=unix,server.path=%s,export=foo bar",
                    "driver=raw,file.driver=nbd,file.path=%s,file.export=foo bar",
                    "driver=nbd,path=%s,export=foo bar"):
        ok(IMG, "info", "--image-opts", options % path)


@test
def tcp_and_passed_descriptors():
    write("a.raw", pattern(MIB))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    from nbdtest import serve
    serve("qemu-nbd", "-f", "raw", "-t", "-b", "127.0.0.1", "-p", str(port), "a.raw")
    wait_for("the port", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    for name in ("nbd://127.0.0.1:%d" % port, "nbd:127.0.0.1:%d" % port, "nbd+tcp://localhost:%d/" % port):
        ok(IMG, "compare", "-f", "raw", "-F", "raw", name, "a.raw")
    with socket.create_connection(("127.0.0.1", port)) as s:
        os.set_inheritable(s.fileno(), True)
        import subprocess
        done = subprocess.run([IMG, "info", "--image-opts", "driver=nbd,server.type=fd,server.str=%d" % s.fileno()],
                              pass_fds=[s.fileno()], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "1 MiB" in done.stdout, done
    refused(IMG, "info", "--image-opts", "driver=nbd,server.type=fd,server.str=999", text="no open file descriptor")


@test
def writes_zeroes_and_trims():
    write("a.raw", pattern(4 * MIB))
    write("b.raw", pattern(MIB, 2) + bytes(2 * MIB) + pattern(MIB, 3))
    for server in ((qemu_nbd, ("-f", "raw", "--discard=unmap", "a.raw")), (nbdkit, ("file", "a.raw"))):
        process = server[0](*server[1])
        convert("b.raw", uri("s"), "-n")
        ok(IMG, "compare", "-f", "raw", "-F", "raw", uri("s"), "b.raw")
        end(process)
        os.unlink("s")
        assert read("a.raw") == read("b.raw")
        write("a.raw", pattern(4 * MIB))


@test
def servers_that_lack_commands():
    """No zeroing, no FUA, no structured replies, no block status, blocks of 4 KiB, short requests: all the same bytes."""
    write("b.raw", pattern(MIB, 2) + bytes(MIB) + pattern(MIB, 3) + pattern(512, 4))
    size = 4 * MIB
    for args in (["--filter=nozero", "memory", "4M"], ["--no-sr", "memory", "4M"], ["--filter=noextents", "memory", "4M"],
                 ["--filter=nozero", "memory", "4M", "zeromode=notrim"],
                 ["--filter=blocksize-policy", "memory", "4M", "blocksize-minimum=4096", "blocksize-preferred=4096",
                  "blocksize-maximum=65536", "blocksize-error-policy=error"],
                 ["--filter=cow", "--filter=delay", "memory", "4M", "rdelay=1ms", "wdelay=1ms"],
                 ["--oldstyle", "memory", "4M"], ["--mask-handshake=0", "memory", "4M"]):
        process = nbdkit(*args)
        if "--oldstyle" in args:
            refused(IMG, "info", uri("s"), text="old protocol")
        else:
            ok(IMG, "dd", "-f", "raw", "-O", "raw", "if=b.raw", "of=c.raw")
            convert("b.raw", uri("s"), "-n")
            convert(uri("s"), "d.raw")
            assert read("d.raw") == read("b.raw") + bytes(size - len(read("b.raw"))), args
        end(process)
        os.unlink("s")


@test
def new_images_on_an_export():
    """The export is there already, and what was in it is not zeros."""
    write("a.raw", pattern(MIB) + bytes(2 * MIB) + pattern(512))
    write("t.raw", pattern(4 * MIB, 2))
    qemu_nbd("-f", "raw", "t.raw")
    ok(IMG, "convert", "-f", "raw", "-O", "raw", "a.raw", uri("s"))
    size = len(read("a.raw"))
    assert read("t.raw")[:size] == read("a.raw"), "the export's old bytes show"
    ok(IMG, "create", "-f", "qcow2", uri("s"), "16M")
    ok(IMG, "convert", "-f", "raw", "-O", "qcow2", "a.raw", uri("s"))
    ok("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "a.raw", uri("s"))
    ok("qemu-img", "check", uri("s"))
    refused(IMG, "create", "-f", "raw", uri("s"), "5M", text="NBD exports do not grow")
    refused(IMG, "create", "-f", "raw", uri("gone"), "1M", text="No such file")


@test
def errors_of_the_server():
    process = nbdkit("--filter=error", "pattern", "1M", "error-pread=ENOSPC", "error-pread-rate=100%")
    refused(IMG, "convert", "-f", "raw", "-O", "raw", uri("s"), "x", text="No space left on device")
    end(process)
    os.unlink("s")
    nbdkit("-r", "memory", "1M")
    write("a.raw", pattern(MIB))
    refused(IMG, "convert", "-n", "-f", "raw", "-O", "raw", "a.raw", uri("s"), text="read-only")


@test
def refuses_with_reasons():
    nbdkit("memory", "1M")
    path = os.path.abspath("s")
    for options, text in (
            ("driver=nbd", "NBD server address missing"),
            ("driver=nbd,server.type=tcp", "server.type"),
            ("driver=nbd,server.type=unix", "'server.path' is missing"),
            ("driver=nbd,server.type=inet,server.host=x", "'server.port' is missing"),
            ("driver=nbd,server.type=unix,server.path=%s,server.host=x" % path, "'server.host' is unexpected"),
            ("driver=nbd,path=%s,host=x" % path, "path and host"),
            ("driver=nbd,port=1", "port may not be used without host"),
            ("driver=nbd,path=%s,tls-creds=none" % path, "No TLS credentials with id 'none'"),
            ("driver=nbd,path=%s,tls-hostname=x" % path, "tls-hostname needs tls-creds"),
            ("driver=nbd,path=%s,x-dirty-bitmap=qemu:dirty-bitmap:b" % path, "qemu:dirty-bitmap:b not found"),
            ("driver=nbd,path=%s,bogus=1" % path, "bogus"),
            ("driver=nbd,path=%s,export=%s" % (path, "x" * 5000), "too long"),
            ("driver=nbd,path=%s.not" % path, "cannot connect")):
        refused(IMG, "info", "--image-opts", options, text=text)
    for name, text in (("nbd://", "names no host"), ("nbd+unix:///x", "socket=PATH"),
                       ("nbd+unix://host/x?socket=/s", "no host"), ("nbd:here", "HOST:PORT"),
                       ("nbds://host/", "tls-creds"), ("nbd+foo://host/", "nbd+unix"), ("nbd://h/?x=1", "'?'")):
        refused(IMG, "info", name, text=text)


@test
def the_bitmap_context():
    ok("qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "4M")
    ok("qemu-img", "bitmap", "--add", "a.qcow2", "b0")
    ok("qemu-io", "-f", "qcow2", "-c", "write 1M 128k", "a.qcow2")
    qemu_nbd("-f", "qcow2", "-B", "b0", "-r", "a.qcow2")
    args = ("map", "--output=json", "--image-opts",
            "driver=nbd,server.type=unix,server.path=%s,x-dirty-bitmap=qemu:dirty-bitmap:b0" % os.path.abspath("s"))
    ours, theirs = json.loads(ok(IMG, *args)), json.loads(ok("qemu-img", *args))
    assert ours == theirs, "%s\n%s" % (ours, theirs)


@test
def waits_for_the_server():
    """open-timeout: the server comes later."""
    write("a.raw", pattern(MIB))
    late = threading.Timer(1.5, lambda: qemu_nbd("-f", "raw", "a.raw"))
    late.start()
    ok(IMG, "info", "--image-opts", "driver=nbd,path=%s,open-timeout=100" % os.path.abspath("s"))
    late.join()


def first_bytes(chunks):
    """A mutate that cuts the first connections after so many bytes from the server, one by one."""
    state = {"n": -1}

    def mutate(way, at, data):
        if at == 0 and way == "down":
            state["n"] += 1
        n = state["n"]
        return data[:max(0, chunks[n] - at)] if way == "down" and n < len(chunks) else data
    return mutate


@test
def comes_back_after_the_connection_was_cut():
    """Requests that were under way are sent again: nothing is lost, nothing is mixed up."""
    write("a.raw", pattern(2 * MIB))
    qemu_nbd("-f", "raw", "a.raw")
    relay = Relay(os.path.abspath("r"), "s", first_bytes([100000, 5000, 300, 700000]))
    options = "driver=raw,file.driver=nbd,file.path=%s,file.reconnect-delay=100" % os.path.abspath("r")
    ok(IMG, "convert", "--image-opts", "-O", "raw", options, "b.raw")
    assert read("b.raw") == read("a.raw")
    assert relay.connections > 4, relay.connections
    relay.close()


def damaged(mutations, expect):
    """Each of them on the way of a small conversion: it ends by itself, with status 0 (and the right bytes, if expect) or 1."""
    write("small.raw", pattern(6000, 7) + bytes(2192))
    qemu_nbd("-f", "raw", "small.raw")
    good = 0
    for mutate in mutations:
        relay = Relay(os.path.abspath("r"), "s", mutate)
        status, out, err = run(IMG, "convert", "-f", "raw", "-O", "raw", uri("r"), "out.raw")
        relay.close()
        assert status in (0, 1), "status %d: %s" % (status, out + err)
        assert status == 0 or "kiln-img: " in err, err
        if status == 0:
            good += 1
            assert not expect or read("out.raw") == read("small.raw")
    return good


@test
def cut_at_each_byte():
    write("small.raw", pattern(6000, 7) + bytes(2192))
    probe = qemu_nbd("-f", "raw", "small.raw")
    relay = Relay(os.path.abspath("r"), "s", lambda way, at, data: data)
    convert(uri("r"), "out.raw")
    down, up = relay.sent["down"], relay.sent["up"]
    relay.close()
    end(probe)
    os.unlink("s")
    assert 8192 < down < 10000 and up > 100, (down, up)
    places = list(range(0, 420)) + list(range(420, down, 331))
    damaged([cut("down", n) for n in places], True)
    os.unlink("s")
    damaged([cut("up", n) for n in range(0, up, 3)], True)


@test
def damaged_at_each_byte():
    damaged([flip("down", n, 1 << n % 8) for n in range(0, 420, 3)], False)


def script_server(path, reply):
    """A server of an export of 1 MiB; reply gets each request as the fields of its head."""
    return Server(path, lambda server, request: reply((0x25609513, *request)), Export(flags=0x8d))


@test
def lying_servers():
    """Replies that cannot be right end the connection; the tool fails and says so."""
    def data(r, offset, length, flags=1):
        return chunk(flags, 1, r[3], struct.pack(">Q", offset) + bytes(length))
    lies = {
        "a chunk for no request": lambda r: chunk(1, 0, r[3] ^ (1 << 40)),
        "a reply to no request": lambda r: struct.pack(">IIQ", 0x67446698, 0, r[3] + 1),
        "a simple reply to a read": lambda r: struct.pack(">IIQ", 0x67446698, 0, r[3]) + bytes(r[5]),
        "a malformed data chunk": lambda r: chunk(1, 1, r[3], bytes(8)),
        "a malformed hole chunk": lambda r: chunk(1, 2, r[3], bytes(13)),
        "a malformed empty chunk": lambda r: chunk(0, 0, r[3]),
        "data that were not asked for": lambda r: data(r, r[4] + r[5], 512),
        "a hole that was not asked for": lambda r: chunk(1, 2, r[3], struct.pack(">QI", r[4], 0xffffffff)),
        "an unasked status chunk": lambda r: chunk(1, 5, r[3], bytes(12)),
        "a chunk of an unknown type": lambda r: chunk(1, 77, r[3]),
        "a chunk that is too long": lambda r: chunk(1, 0x8001, r[3], b"", 0xffffffff),
        "a malformed error chunk": lambda r: chunk(1, 0x8001, r[3], struct.pack(">IH", 5, 600)),
        "something that is no reply": lambda r: b"GET / HTTP/1.1\r\n\r\n",
    }
    for text, reply in lies.items():
        script_server("l", reply)
        refused(IMG, "convert", "-f", "raw", "-O", "raw", uri("l"), "x", text=text)
        os.unlink("l")
    # Less than what was asked for is an error of this request only.
    script_server("l", lambda r: data(r, r[4], 512))
    refused(IMG, "convert", "-f", "raw", "-O", "raw", uri("l"), "x", text="Input/output error")
    os.unlink("l")
    # More data than asked for, in chunks that overlap; as much as asked for, some of it twice and some of it never.
    def hole(r, offset, length, flags=0):
        return chunk(flags, 2, r[3], struct.pack(">QI", offset, length))
    twice = {
        "data that were not asked for": (
            lambda r: data(r, r[4], r[5], 0) + data(r, r[4], r[5]),
            lambda r: data(r, r[4], r[5] // 2, 0) + data(r, r[4], r[5] // 2),
            lambda r: data(r, r[4] + 512, 512, 0) + data(r, r[4] + 1023, r[5] - 1023),
            lambda r: data(r, r[4] + 1, 512, 0) + hole(r, r[4] + 513, 512) + data(r, r[4], 2),
            lambda r: b"".join(data(r, r[4] + 2 * i, 1, 0) for i in range(1025))),
        "a hole that was not asked for": (
            lambda r: data(r, r[4] + 1024, 512, 0) + hole(r, r[4] + 512, 1024),
            lambda r: hole(r, r[4], r[5]) + hole(r, r[4] + r[5] - 1, 1, 1)),
    }
    for text, replies in twice.items():
        for reply in replies:
            script_server("l", reply)
            refused(IMG, "convert", "-f", "raw", "-O", "raw", uri("l"), "x", text=text)
            os.unlink("l")
    # In any order, in pieces that touch on either side: fine.
    def shuffled(r):
        body = pattern(MIB)[r[4]:r[4] + r[5]]
        places = [(at, min(4096, r[5] - at)) for at in range(0, r[5], 4096)]
        random.Random(r[4]).shuffle(places)
        parts = [chunk(0, 1, r[3], struct.pack(">Q", r[4] + at) + body[at:at + n]) for at, n in places]
        return b"".join(parts) + chunk(1, 0, r[3])
    script_server("l", shuffled)
    ok(IMG, "convert", "-f", "raw", "-O", "raw", uri("l"), "x")
    assert read("x") == pattern(MIB)


if __name__ == "__main__":
    sys.exit(main("kiln-nbd-client."))
