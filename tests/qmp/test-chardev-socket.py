#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Character devices on sockets: TLS with GnuTLS's other users (QEMU, Kiln) on either side, websockets, clients whose server
does not answer and what goes on meanwhile.

    test-chardev-socket.py KILN-SYSTEM"""
import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Skip, Suite, check, same  # noqa: E402
from oracle import QEMU  # noqa: E402
from qmpclient import LIMIT, Machine, receive  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test


def refused(reply, words):
    check("error" in reply and words in reply["error"]["desc"], reply)


def wait_for(what, condition):
    end = time.monotonic() + LIMIT
    while not condition():
        check(time.monotonic() < end, "waited for %s in vain" % what)
        time.sleep(0.01)


def machine(*args):
    if os.path.exists("qmp"):
        os.unlink("qmp")
    return Machine(BINARY, "-S", "-M", "none", *args)


def filename(c, name="c"):
    return next(entry["filename"] for entry in c.do("query-chardev") if entry["label"] == name)


def port_of(c, name="c"):
    return int(filename(c, name).split(",")[0].rsplit(":", 1)[1])


def is_connected(c, name="c"):
    return not filename(c, name).startswith("disconnected")


@contextlib.contextmanager
def nbd_export():
    """Another machine that exports a disk on a port of this host: the port, while it lasts."""
    with machine("-blockdev", "null-co,node-name=n,size=1048576,read-zeroes=on") as m, socket.create_server(("127.0.0.1", 0)) as listener:
        c = m.connect()
        same(c.send_fd(b'{"execute":"getfd","arguments":{"fdname":"l"}}', listener.fileno()), {"return": {}})
        c.do("nbd-server-start", addr={"type": "fd", "data": {"str": "l"}})
        c.do("block-export-add", type="nbd", id="e", node_name="n", name="", writable=True)
        yield str(listener.getsockname()[1])


# ---- a server that does not answer ---------------------------------------------------------------------


class FullServer:
    """A unix server whose queue is full: whoever connects waits, until accept_all."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(0)
        self.waiting = []
        while True:
            waiting = socket.socket(socket.AF_UNIX)
            waiting.setblocking(False)
            try:
                waiting.connect(path)
            except BlockingIOError:
                waiting.close()
                break
            self.waiting.append(waiting)

    def accept_last(self):
        """The connection of who came behind those of our own."""
        self.listener.settimeout(LIMIT)
        for _ in self.waiting:
            self.listener.accept()[0].close()
        return self.listener.accept()[0]


CLIENT = {"type": "socket", "data": {"server": False, "addr": {"type": "unix", "data": {"path": "full"}}}}


def add(c, name, backend, request_id):
    c.send({"execute": "chardev-add", "arguments": {"id": name, "backend": backend}, "id": request_id})


@test("chardev-add waits for a server, nothing else does")
def _():
    server = FullServer("full")
    with machine("-qmp", "unix:other,server=on,wait=off", "-monitor", "unix:hmp,server=on,wait=off") as m:
        c, other = m.connect(negotiate=False), m.connect("other")
        c.message()
        c.ask({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}})
        add(c, "c", CLIENT, "slow")
        c.send({"execute": "query-name", "id": "behind"})
        same(c.ask({"exec-oob": "query-yank", "id": "now"})["id"], "now")
        for _ in range(20):
            same(other.do("query-status")["running"], False)
        check(all(entry["label"] != "c" for entry in other.do("query-chardev")), "it is there before it is connected")
        check("VM status" in other.hmp("info status"), "HMP")
        peer = server.accept_last()
        reply = c.reply()
        same((reply["id"], reply["return"]), ("slow", {}))
        same(c.reply()["id"], "behind")
        same(filename(c), "unix:full")
        peer.close()
        wait_for("the end of the connection", lambda: not is_connected(c))


@test("chardev-add fails by its reply when the connection fails, and changes nothing")
def _():
    with machine("-chardev", "null,id=n") as m:
        c = m.connect()
        add(c, "c", {"type": "socket", "data": {"server": False, "addr": {"type": "unix", "data": {"path": "nobody"}}}}, 7)
        reply = c.reply()
        same((reply["id"], reply["error"]["class"]), (7, "GenericError"))
        check("nobody" in reply["error"]["desc"] and "No such file" in reply["error"]["desc"], reply)
        free = socket.socket()
        free.bind(("127.0.0.1", 0))
        inet = {"host": "127.0.0.1", "port": str(free.getsockname()[1])}
        tcp = {"type": "socket", "data": {"server": False, "addr": {"type": "inet", "data": inet}}}
        refused(c.command("chardev-add", id="c", backend=tcp), "Connection refused")
        refused(c.command("chardev-change", id="n", backend=tcp), "Connection refused")
        inet["host"] = "name.invalid"
        refused(c.command("chardev-add", id="c", backend=tcp), "name.invalid")
        inet["numeric"] = True
        refused(c.command("chardev-add", id="c", backend=tcp), "is a name")
        check(all(entry["label"] != "c" for entry in c.do("query-chardev")), c.do("query-chardev"))
        same(filename(c, "n"), "null")
        check("Error: " in c.hmp("chardev-add socket,id=c,path=nobody"), "HMP")
        check("Error: " in c.hmp("chardev-change n socket,path=nobody"), "HMP")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("there")
        listener.listen(4)
        same(c.hmp("chardev-add socket,id=c,path=there"), "")
        same(c.hmp("chardev-change n socket,path=there"), "")
        same((is_connected(c), is_connected(c, "n")), (True, True))


@test("two wait at once, one for a name that is taken then; a person's monitor waits too")
def _():
    server = FullServer("full")
    with machine("-qmp", "unix:other,server=on,wait=off", "-monitor", "unix:hmp,server=on,wait=off") as m:
        c, other = m.connect(), m.connect("other")
        hmp = socket.socket(socket.AF_UNIX)
        hmp.settimeout(LIMIT)
        hmp.connect("hmp")
        said = b""
        while b"(qemu) " not in said:
            said += hmp.recv(4096)
        hmp.sendall(b"chardev-add socket,id=h,path=full\ninfo version\n")
        add(c, "c", CLIENT, 1)
        add(other, "c", CLIENT, 2)
        server.listener.settimeout(LIMIT)
        peers = [server.accept_last(), *(server.listener.accept()[0] for _ in range(2))]
        replies = [c.reply(), other.reply()]
        same(sorted("return" in reply for reply in replies), [False, True])
        refused(next(reply for reply in replies if "error" in reply), "already exists")
        said = b""
        while said.count(b"(qemu) ") < 2:
            said += hmp.recv(4096)
        check(b"Error" not in said and b"7.2" in said, said)
        same(is_connected(c, "h"), True)
        for peer in peers:
            peer.close()


@test("who asked goes, and so does the machine, while a connection is waited for")
def _():
    server = FullServer("full")
    with machine() as m:
        c = m.connect()
        before = m.descriptors()
        add(c, "c", CLIENT, 1)
        c.close()
        c = m.connect()
        peer = server.accept_last()
        wait_for("the device", lambda: any(entry["label"] == "c" for entry in c.do("query-chardev")))
        peer.close()
        wait_for("its peer's end", lambda: not is_connected(c))
        c.do("chardev-remove", id="c")
        server = FullServer("full2")
        CLIENT["data"]["addr"]["data"]["path"] = "full2"
        add(c, "c", CLIENT, 1)
        CLIENT["data"]["addr"]["data"]["path"] = "full"
        check(m.descriptors() < before + 8, "descriptors leak")
        c.send({"exec-oob": "query-yank"})
        m.process.terminate()
        same(m.process.wait(LIMIT), 0)


@test("reconnect= connects by and by, at the start and later, and never waits")
def _():
    server = FullServer("full")
    with machine("-chardev", "socket,id=c,path=full,reconnect=1") as m:
        c = m.connect()
        same(filename(c), "disconnected:unix:full")
        peer = server.accept_last()
        wait_for("the connection", lambda: is_connected(c))
        peer.close()
        again = server.listener.accept()[0]
        wait_for("the next connection", lambda: is_connected(c))
        again.close()
        backend = {"type": "socket", "data": {"server": False, "reconnect": 1, "addr": {
            "type": "inet", "data": {"host": "name.invalid", "port": "1"}}}}
        same(c.do("chardev-add", id="d", backend=backend), {})
        same(is_connected(c, "d"), False)
        c.do("chardev-remove", id="d")


# ---- websockets --------------------------------------------------------------------------------------------


class WebClient:
    def __init__(self, sock, path="/", protocol="binary"):
        self.socket = sock
        sock.settimeout(LIMIT)
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(("GET %s HTTP/1.1\r\nHost: kiln\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n\r\n" % (path, key, protocol)).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = sock.recv(1)
            if not data:
                break
            answer += data
        self.status = answer.split(b" ")[1].decode()
        accept = base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.accepted = b"Sec-WebSocket-Accept: %s\r\n" % accept in answer

    def exactly(self, count):
        data = receive(self.socket, count)
        check(len(data) == count, "ended after %r" % data)
        return data

    def send(self, data, opcode=2):
        mask = os.urandom(4)
        head = bytes([0x80 | opcode]) + (bytes([0x80 | len(data)]) if len(data) < 126
                                         else b"\xfe" + len(data).to_bytes(2, "big"))
        self.socket.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data)))

    def frame(self):
        first, length = self.exactly(2)
        if length == 126:
            length = int.from_bytes(self.exactly(2), "big")
        return first & 15, self.exactly(length)

    def until(self, end):
        data = b""
        while end not in data:
            data += self.frame()[1]
        return data


WEB = "socket,id=c,host=127.0.0.1,port=0,server=on,wait=off,websocket=on"


# ---- kinds of addresses --------------------------------------------------------------------------------


NO_HOST = "x" * 70 + ".y"      # no label is so long: no name server is asked


def server(addr, **more):
    return {"type": "socket", "data": {"addr": addr, **({} if "server" in more else {"wait": False}), **more}}


def inet(host, port="0", **more):
    return {"type": "inet", "data": {"host": host, "port": port, **more}}


def vsock(cid, port):
    return {"type": "vsock", "data": {"cid": str(cid), "port": str(port)}}


@test("a server's own name is looked up, and what is no name refused")
def _():
    with machine() as m:
        c = m.connect()
        c.do("chardev-add", id="c", backend=server(inet("localhost")))
        with socket.create_connection(("127.0.0.1", port_of(c))):
            wait_for("a client", lambda: is_connected(c))
        c.do("chardev-add", id="u", backend={"type": "udp", "data": {"remote": inet("localhost", "9")}})
        refused(c.command("chardev-add", id="d", backend=server(inet("no such host"))), "cannot be resolved")
        refused(c.command("chardev-add", id="d", backend=server(inet(NO_HOST))), "cannot be resolved")
        refused(c.command("chardev-add", id="c", backend=server(inet("localhost"))), "already exists")
        c.do("nbd-server-start", addr=inet("localhost"))
        refused(c.command("nbd-server-start", addr=inet("localhost")), "already running")
        c.do("nbd-server-stop")
        refused(c.command("nbd-server-start", addr=inet(NO_HOST)), "cannot be resolved")
        same(c.hmp("nbd_server_start localhost:0"), "")
        same(c.hmp("nbd_server_stop"), "")
        check("cannot be resolved" in c.hmp("nbd_server_start %s:0" % NO_HOST), "HMP takes it")
        same({entry["label"] for entry in c.do("query-chardev")} & {"c", "d", "u"}, {"c", "u"})


@test("a network back end's names are looked up")
def _():
    def here(host, port="0"):
        return {"type": "inet", "host": host, "port": port}

    with machine() as m:
        c = m.connect()
        c.do("netdev_add", type="stream", id="s", server=True, addr=here("localhost"))
        c.do("netdev_add", type="dgram", id="d", local=here("127.0.0.1"), remote=here("localhost", "9"))
        c.do("netdev_add", type="socket", id="l", listen="localhost:0")
        same(c.hmp("netdev_add socket,id=u,udp=localhost:9,localaddr=localhost:0"), "")
        said = c.hmp("info network")
        for words in ("s: index=0,type=stream,listening ", "d: index=0,type=dgram,udp=127.0.0.1:", "u: index=0,type=socket,socket: udp=localhost:9"):
            check(words in said, "%r is not in %s" % (words, said))
        refused(c.command("netdev_add", type="stream", id="n", addr=here(NO_HOST)), "cannot be resolved")
        refused(c.command("netdev_add", type="dgram", id="n", local=here(NO_HOST), remote=here("127.0.0.1", "9")), "cannot be resolved")
        refused(c.command("netdev_add", type="stream", id="s", addr=here("localhost")), "Duplicate ID 's'")
        check("cannot be resolved" in c.hmp("netdev_add socket,id=n,connect=%s:1" % NO_HOST), "HMP takes it")
        check("n:" not in c.hmp("info network"), "one that was refused is there")
        c.do("netdev_del", id="l")


@test("the name of an NBD node's server is looked up")
def _():
    with nbd_export() as port, machine() as m:
        c = m.connect()
        server = {"type": "inet", "host": "localhost", "port": port}
        c.do("blockdev-add", driver="nbd", node_name="d", server=server)
        check("nbd://localhost:%s" % port in c.hmp("info block -n d"), c.hmp("info block -n d"))
        for wrong, words in (({**server, "host": NO_HOST}, "address '%s' cannot be resolved" % NO_HOST),
                             ({**server, "type": "vsock"}, "'server.cid' is missing"),
                             ({**server, "port": "1"}, "NBD server localhost:1")):
            refused(c.command("blockdev-add", driver="nbd", node_name="e", server=wrong), words)
        refused(c.command("blockdev-add", driver="nbd", node_name="d", server=server), "Duplicate nodes with node-name='d'")
        line = "drive_add %s 0 %s,server.type=inet,server.host=%s,server.port=" + port
        same(c.hmp(line % ("-n", "driver=nbd,node-name=e", "localhost")), "")
        check("cannot be resolved" in c.hmp(line % ("-n", "driver=nbd,node-name=f", NO_HOST)), "drive_add -n")
        same(c.hmp("drive_add 0 if=none,id=g,file=nbd:localhost:%s,format=raw" % port), "OK\r\n")
        check("cannot be resolved" in c.hmp("drive_add 0 if=none,id=h,file=nbd:%s:1,format=raw" % NO_HOST), "drive_add")
        c.do("blockdev-del", node_name="d")
        same([node for node in c.hmp("info block -n").replace("\r", "").split("\n") if node[:2] in ("d:", "f:", "h:")], [])


@test("the machine ends while a name is looked up")
def _():
    host = {"type": "inet", "host": NO_HOST, "port": "1"}
    for name, arguments in (("chardev-add", {"id": "c", "backend": server(inet("localhost"))}),
                            ("nbd-server-start", {"addr": inet(NO_HOST)}),
                            ("netdev_add", {"type": "socket", "id": "n", "listen": "localhost:0"}),
                            ("blockdev-add", {"driver": "nbd", "node-name": "n", "server": host})):
        with machine() as m:
            m.connect().send({"execute": name, "arguments": arguments})
            m.process.terminate()
            same(m.process.wait(LIMIT), 0)


@test("MPTCP: both sides, and plain TCP where it is not asked for")
def _():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
    except OSError as error:
        raise Skip("this kernel has no MPTCP: %s" % error)
    with machine("-chardev", "socket,id=c,host=127.0.0.1,port=0,server=on,wait=off,mptcp=on") as m:
        c = m.connect()
        c.do("chardev-add", id="other", backend={"type": "socket", "data": {
            "addr": inet("127.0.0.1", str(port_of(c)), mptcp=True), "server": False}})
        wait_for("a client", lambda: is_connected(c))
        same(c.hmp("nbd_server_start 127.0.0.1:0,mptcp=on"), "")
        same(c.hmp("nbd_server_stop"), "")
        check("error" in c.command("netdev_add", type="stream", id="n", addr={"type": "inet", "host": "127.0.0.1", "port": "1",
                                                                             "mptcp": True}), "netdevs take it")


@test("vsock: servers and clients, and numbers that are none")
def _():
    with machine() as m:
        c = m.connect()
        for cid, port, words in (("1x", 5, "cid '1x'"), ("4294967296", 5, "cid"), (2, "x", "port 'x'"), (-1, 5, "cid '-1'")):
            refused(c.command("chardev-add", id="c", backend=server(vsock(cid, port))), words)
            refused(c.command("chardev-add", id="c", backend=server(vsock(cid, port), server=False)), words)
        refused(c.command("chardev-add", id="c", backend=server(vsock(2, 5), **{"tls-creds": "none"})), "tls-creds")
        check("error" in c.command("netdev_add", type="stream", id="n", addr={"type": "vsock", "cid": "2", "port": "5"}), "netdevs")
        check("CID" in c.hmp("nbd_server_start vsock:5"), "an address without port")
        try:
            with socket.socket(socket.AF_VSOCK) as probe:
                probe.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
                port = probe.getsockname()[1]
        except (OSError, AttributeError) as error:
            raise Skip("this host has no vsock: %s" % error)
        c.do("chardev-add", id="c", backend=server(vsock(socket.VMADDR_CID_ANY, port)))
        same(filename(c), "disconnected:vsock:%d:%d" % (socket.VMADDR_CID_ANY, port))
        refused(c.command("chardev-add", id="d", backend=server(vsock(socket.VMADDR_CID_ANY, port))), "cannot listen")
    with machine("-serial", "vsock:%d:%d,server=on,wait=off" % (socket.VMADDR_CID_ANY, port)) as m:
        c = m.connect()
        try:
            with socket.socket(socket.AF_VSOCK) as peer:
                peer.settimeout(LIMIT)
                peer.connect((1, port))     # this host's own, where vsock_loopback is there
                wait_for("a client", lambda: is_connected(c, "serial0"))
        except OSError as error:
            raise Skip("this host cannot connect to itself: %s" % error)



@test("websocket: QMP from a browser's socket, pings, closing, who is not let in")
def _():
    with machine("-chardev", WEB, "-mon", "chardev=c,mode=control") as m:
        c = m.connect()
        check(filename(c).startswith("disconnected:websocket:127.0.0.1:"), filename(c))
        address = ("127.0.0.1", port_of(c))
        for path, protocol, status in (("/x", "binary", "404"), ("/", "chat", "400")):
            same(WebClient(socket.create_connection(address), path, protocol).status, status)
        rude = socket.create_connection(address)
        rude.sendall(b"\0" * 100)
        rude.settimeout(LIMIT)
        check(rude.recv(100).startswith(b"HTTP/1.1 400"), "rude")
        web = WebClient(socket.create_connection(address))
        same((web.status, web.accepted), ("101", True))
        check(b'"QMP"' in web.until(b"\r\n"), "greeting")
        for byte in b'{"execute":"qmp_capabilities"}':
            web.send(bytes([byte]))
        same(web.until(b"\r\n"), b'{"return": {}}\r\n')
        web.send(b"are you there", 9)
        same(web.frame(), (10, b"are you there"))
        web.send(b'{"execute":"query-commands"}' + b" " * 60000, 1)
        check(len(web.until(b"\r\n")) > 3000, "a long answer")
        web.send(b"\x03\xe8", 8)
        same(web.frame(), (8, b"\x03\xe8"))
        same(web.socket.recv(1), b"")
        wait_for("the end", lambda: not is_connected(c))
        web = WebClient(socket.create_connection(address))  # the next one, which breaks the rules
        check(b'"QMP"' in web.until(b"\r\n"), "greeting")
        web.socket.sendall(b"\x82\x01x")
        same(web.frame(), (8, b"\x03\xea"))
        wait_for("the end", lambda: not is_connected(c))


@test("websocket and telnet on one socket")
def _():
    with machine("-chardev", WEB + ",telnet=on", "-mon", "chardev=c,mode=control") as m:
        c = m.connect()
        web = WebClient(socket.create_connection(("127.0.0.1", port_of(c))))
        check(web.until(b"\r\n").startswith(b"\xff\xfb\x01"), "telnet's greeting")
        web.send(b'{"execute":\xff\xf1"qmp_capabilities"}')
        same(web.until(b"\r\n"), b'{"return": {}}\r\n')


# ---- TLS ------------------------------------------------------------------------------------------------------


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=LIMIT)


def make_pki(name, host="localhost"):
    """name/{ca,server,client}-{cert,key}.pem."""
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    os.mkdir(name)
    with open(name + "/ext", "w", encoding="ascii") as f:
        f.write("[server]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:%s\n[client]\nbasicConstraints=CA:FALSE\n" % host)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-days", "3", "-subj", "/CN=ca", "-keyout", name + "/ca-key.pem", "-out", name + "/ca-cert.pem")
    for who, subject in (("server", "/CN=" + host), ("client", "/O=Kiln/CN=someone")):
        openssl("req", *key, "-subj", subject, "-keyout", "%s/%s-key.pem" % (name, who), "-out", "%s/%s.csr" % (name, who))
        openssl("x509", "-req", "-in", "%s/%s.csr" % (name, who), "-CA", name + "/ca-cert.pem", "-CAkey", name + "/ca-key.pem",
                "-CAcreateserial", "-days", "3", "-extfile", name + "/ext", "-extensions", who, "-out",
                "%s/%s-cert.pem" % (name, who))


def with_psk(name):
    os.mkdir(name)
    with open(name + "/keys.psk", "w", encoding="ascii") as f:
        f.write("ann:00112233445566778899aabbccddeeff\nqemu:ffeeddccbbaa99887766554433221100\n")


SERVER = "socket,id=c,host=127.0.0.1,port=0,server=on,wait=off,tls-creds=t"


def creds(kind, side, more=""):
    return ("-object", "tls-creds-%s,id=t,endpoint=%s%s" % (kind, side, more))


def other_end(program, objects, port, extra=""):
    """A program whose QMP monitor is a TLS client of this port."""
    accel = "tcg" if program == QEMU else "qtest"
    return subprocess.Popen([program, "-accel", accel, "-S", "-M", "none", "-display", "none", "-nodefaults", *objects, "-chardev",
                             "socket,id=c,host=localhost,ipv4=on,port=%d,tls-creds=t%s" % (port, extra), "-mon",
                             "chardev=c,mode=control"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(process):
    process.kill()
    process.wait()


def programs():
    return [BINARY, QEMU] if QEMU and not os.environ.get("KILN_NO_ORACLE") else [BINARY]


def talks(kind, server_more, client_more):
    """Kiln's server; the client's monitor greets through it into a ring buffer's place: what came is read here."""
    for program in programs():
        with machine(*creds(kind, "server", server_more), "-chardev", SERVER + ",logfile=log", "-mon", "chardev=c,mode=readline") as m:
            c = m.connect()
            peer = other_end(program, creds(kind, "client", client_more), port_of(c))
            # HMP gets the other side's greeting as a line, and complains to it.
            wait_for("%s: what came through" % program, lambda: "unknown command" in open("log", encoding="latin-1").read())
            same(is_connected(c), True)
            end(peer)
            wait_for("the end", lambda: not is_connected(c))
        os.unlink("log")


@test("TLS: Kiln's server, with certificates, keys that both know, and nobody's")
def _():
    make_pki("pki")
    with_psk("psk")
    talks("x509", ",dir=pki", ",dir=pki")
    talks("psk", ",dir=psk", ",dir=psk,username=ann")
    talks("anon", "", "")


@test("TLS: QEMU's server, Kiln's client, once and again")
def _():
    if BINARY == programs()[-1]:
        raise Skip("QEMU is not installed")
    make_pki("pki")
    with Machine(QEMU, "-S", "-M", "none", *creds("x509", "server", ",dir=pki"), "-chardev", SERVER + ",logfile=log", "-mon",
                 "chardev=c,mode=readline", accel="tcg") as q:
        c = q.connect()
        port = port_of(c)
        for extra in ("", ",reconnect=1"):
            peer = other_end(BINARY, creds("x509", "client", ",dir=pki"), port, extra)
            wait_for("what came through", lambda: "unknown command" in open("log", encoding="latin-1").read())
            end(peer)
            wait_for("the end", lambda: not is_connected(c))
            os.truncate("log", 0)


@test("TLS: strangers, wrong names and wrong keys get nothing, and the next one is served")
def _():
    make_pki("pki")
    make_pki("other")
    make_pki("misnamed", "elsewhere")
    authz = ("-object", "authz-simple,id=z,identity=CN=someone,,O=Kiln")
    with machine(*creds("x509", "server", ",dir=pki"), *authz, "-chardev", SERVER + ",tls-authz=z", "-mon",
                 "chardev=c,mode=control") as m:
        c = m.connect()
        address = ("127.0.0.1", port_of(c))

        def client(pki, cert=True):
            context = ssl.create_default_context(cafile="pki/ca-cert.pem")
            if cert:
                context.load_cert_chain(pki + "/client-cert.pem", pki + "/client-key.pem")
            sock = socket.create_connection(address)
            sock.settimeout(LIMIT)
            return context.wrap_socket(sock, server_hostname="localhost")

        def outcome(pki, cert=True):
            try:
                return client(pki, cert).recv(4096)
            except (ssl.SSLError, ConnectionError):
                return b""

        same(outcome("other"), b"")
        same(outcome("pki", cert=False), b"")
        plain = socket.create_connection(address)
        plain.settimeout(LIMIT)
        plain.sendall(b'{"execute":"qmp_capabilities"}\n')
        try:
            check(b"QMP" not in plain.recv(4096), "plain text")
        except ConnectionResetError:
            pass
        plain.close()
        good = client("pki")
        check(b'"QMP"' in good.recv(4096), "a friend is refused")
        good.sendall(b'{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema"}{"execute":"query-name","id":"last"}')
        said = b""
        while b'"last"' not in said:
            said += good.recv(65536)
        check(len(said) > 100000, "a long answer is short")
        good.sendall(b'{"execute":"query-name","id":"%s"}' % (b"x" * 200000))  # several records at once
        said = b""
        while not said.endswith(b"\r\n"):
            said += good.recv(65536)
        check(b"x" * 200000 in said, "a long question")
        good.close()
        wait_for("the end", lambda: not is_connected(c))
    for identity, let_in in (("CN=someone,,O=Kiln", True), ("CN=nobody", False)):
        with machine(*creds("x509", "server", ",dir=pki"), "-object", "authz-simple,id=z,identity=" + identity, "-chardev",
                     SERVER + ",tls-authz=z", "-mon", "chardev=c,mode=control") as m:
            address = ("127.0.0.1", port_of(m.connect()))
            same(b'"QMP"' in outcome("pki"), let_in)
    # The server is not who it should be: the client says so once, and the machine goes on.
    with machine(*creds("x509", "server", ",dir=misnamed"), "-chardev", SERVER) as m:
        port = port_of(m.connect())
        shutil.copy("misnamed/ca-cert.pem", "other/ca-cert.pem")
        os.mkdir("sub")
        os.chdir("sub")
        with machine(*creds("x509", "client", ",dir=../other"), "-chardev",
                     "socket,id=c,host=localhost,ipv4=on,port=%d,tls-creds=t" % port) as client_machine:
            c = client_machine.connect()
            wait_for("the client's refusal", lambda: not is_connected(c))
            c.do("quit")
            check(b"Certificate does not match the hostname localhost" in client_machine.process.stderr.read(), "no reason")
        os.chdir("..")


@test("TLS and a websocket on it")
def _():
    make_pki("pki")
    with machine(*creds("x509", "server", ",dir=pki,verify-peer=off"), "-chardev", SERVER + ",websocket=on", "-mon",
                 "chardev=c,mode=control") as m:
        c = m.connect()
        context = ssl.create_default_context(cafile="pki/ca-cert.pem")
        web = WebClient(context.wrap_socket(socket.create_connection(("127.0.0.1", port_of(c))), server_hostname="localhost"))
        same((web.status, web.accepted), ("101", True))
        check(b'"QMP"' in web.until(b"\r\n"), "greeting")
        web.send(b'{"execute":"qmp_capabilities"}')
        same(web.until(b"\r\n"), b'{"return": {}}\r\n')


@test("TLS: options that do not go together")
def _():
    backend = {"type": "socket", "data": {"addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}}}
    data = backend["data"]
    with machine("-object", "tls-creds-anon,id=s,endpoint=server", "-object", "tls-creds-anon,id=k,endpoint=client", "-object",
                 "authz-simple,id=z,identity=x") as m:
        c = m.connect()
        for more, words in (({"tls-creds": "nosuch"}, "No TLS credentials with id 'nosuch'"),
                            ({"tls-creds": "z"}, "not TLS credentials"), ({"tls-creds": "k"}, "server endpoint"),
                            ({"tls-creds": "s", "server": False}, "client endpoint"), ({"tls-authz": "z"}, "requires tls-creds"),
                            ({"tls-creds": "s", "tls-authz": "z"}, "show who a client is"),
                            ({"tls-creds": "k", "tls-authz": "z", "server": False}, "is for servers"),
                            ({"websocket": True, "server": False}, "no websocket client"),
                            ({"tn3270": True}, "'backend.data.tn3270' is unexpected"),
                            ({"tls-creds": "s", "addr": {"type": "unix", "data": {"path": "u"}}}, "is for TCP"),
                            ({"addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": "0", "keep-alive": True}}},
                             "keep-alive is for clients")):
            refused(c.command("chardev-add", id="c", backend={"type": "socket", "data": dict(data, **more)}), words)
        same(c.do("chardev-add", id="c", backend={"type": "socket", "data": dict(data, **{"tls-creds": "s"})}), {})
        refused(c.command("object-del", id="s"), "in use")
        c.do("chardev-remove", id="c")
        c.do("object-del", id="s")


sys.exit(suite.run())
