#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-net.py KILN [PATTERN]: back ends, filters and monitors, with a guest made of an e1000's driver (client.py)."""
import ctypes
import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback

from client import STATUS, E1000, Host, Machine, Tcp, checksum

KILN = sys.argv[1]
TESTS = []
E1000_DEVICE = ["-nodefaults", "-device", "e1000,netdev=n,addr=5,id=card"]


class Skip(Exception):
    """Why a test cannot run here."""


def test(name):
    def add(function):
        TESTS.append((name, function))
        return function
    return add


def need_user():
    if "\nuser\n" not in subprocess.run([KILN, "-netdev", "help"], capture_output=True, text=True, check=True).stdout:
        raise Skip("built without libslirp")


def user(work, options="", more=()):
    need_user()
    return Machine(KILN, [*E1000_DEVICE, "-netdev", "user,id=n" + options, *more], work)


def hmp(m, line):
    return m.qmp(("human-monitor-command", {"command-line": line}))[0]


# ---- user networking ----------------------------------------------------------------------------------

@test("user: ARP, ping, DHCP")
def _(work):
    with user(work, ",hostname=box,domainname=test.example,dnssearch=a.example,dnssearch=b.example") as m:
        host = Host(E1000(m))
        host.find_router()
        assert host.router == bytes.fromhex("525500000202") or host.router[:4] == b"\x52\x55\x0a\0", host.router.hex()
        offer = host.dhcp(1)
        assert offer["address"] == bytes((10, 0, 2, 15)), offer
        assert offer[1] == bytes((255, 255, 255, 0)) and offer[3] == bytes((10, 0, 2, 2)) and offer[6] == bytes((10, 0, 2, 3))
        assert offer[12] == b"box" and offer[15] == b"test.example", offer
        host.dhcp(3, offer["address"])
        host.ip = offer["address"]
        assert host.ping("10.0.2.2") == b"hello"


def bad_dhcp(mac):
    """Broken requests, as UDP datagrams with their header: (what, bytes)."""
    def udp(data, size=None):
        return struct.pack(">HHHH", 68, 67, 8 + len(data) if size is None else size, 0) + data

    def bootp(options, op=1, htype=1, hlen=6, cookie=b"\x63\x82\x53\x63"):
        head = struct.pack(">BBBBIHH", op, htype, hlen, 0, 0xBAD, 0, 0x8000) + bytes(16) + mac.ljust(16, b"\0")
        return head.ljust(236, b"\0") + cookie + options

    good = bootp(b"\x35\1\1\xff")
    for size in (*range(0, 40), 100, 235, 236, 237, 239, 240, 241, 242, 243):
        yield f"cut to {size} bytes", udp(good[:size])
    for size in (0, 1, 7, 8, 9, 200, len(good) + 9, 1000, 65535):
        yield f"a UDP length of {size}", udp(good, size)
    for code in (50, 53, 54, 12, 15, 55, 57, 61, 66, 67, 119, 0, 254):
        for length in (0, 1, 2, 3, 5, 7, 100, 254, 255):
            for data in (b"", b"\1", b"\1" * 60):
                yield f"option {code}, length {length}, {len(data)} bytes", udp(bootp(bytes((code, length)) + data))
                yield f"the same behind a type", udp(bootp(b"\x35\1\3" + bytes((code, length)) + data + b"\xff"))
    for length in (0, 2, 200, 255):
        yield f"a type of {length} bytes", udp(bootp(bytes((53, length, 1)) + b"\xff"))
    for kind in (0, 2, 4, 5, 6, 7, 8, 9, 255):
        yield f"type {kind}", udp(bootp(bytes((53, 1, kind)) + b"\xff"))
    yield "no cookie", udp(bootp(b"\x35\1\1\xff", cookie=bytes(4)))
    yield "no options", udp(bootp(b""))
    yield "padding only", udp(bootp(bytes(400)))
    yield "a reply", udp(bootp(b"\x35\1\1\xff", op=2))
    yield "a long address", udp(bootp(b"\x35\1\1\xff", hlen=255))
    yield "another kind of address", udp(bootp(b"\x35\1\1\xff", htype=200))


@test("user: broken DHCP requests")
def _(work):
    with user(work, ",hostname=box") as m:
        host = Host(E1000(m))
        host.find_router()
        for number, (what, datagram) in enumerate(bad_dhcp(host.nic.mac)):
            host.send(17, b"\xff" * 4, datagram)
            while host.nic.poll():
                pass
            if number % 40 == 0:
                assert host.dhcp(1)["address"][:3] == bytes((10, 0, 2)), what
        for flags in (0x2000, 0x1FFF, 0x2001):      # fragments: the first of more, the last, one between
            head = struct.pack(">BBHHHBBH", 0x45, 0, 60, 7, flags, 64, 17, 0) + bytes(4) + b"\xff" * 4
            head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
            host.nic.send(host.router + host.nic.mac + b"\x08\x00" + head + struct.pack(">HHHH", 68, 67, 300, 0) + bytes(32))
        offer = host.dhcp(1)
        host.dhcp(3, offer["address"])
        host.ip = offer["address"]
        assert host.ping("10.0.2.2") == b"hello"


@test("user: other addresses")
def _(work):
    with user(work, ",net=192.168.7.0/24,host=192.168.7.9,dns=192.168.7.10,dhcpstart=192.168.7.100") as m:
        host = Host(E1000(m), gateway="192.168.7.9")
        host.find_router()
        offer = host.dhcp(1)
        assert offer["address"] == bytes((192, 168, 7, 100)) and offer[3] == bytes((192, 168, 7, 9)), offer
        assert offer[6] == bytes((192, 168, 7, 10)), offer


@test("user: TFTP and bootfile")
def _(work):
    content = bytes(i * 7 & 255 for i in range(3000))
    os.mkdir(f"{work}/tftp")
    with open(f"{work}/tftp/kernel", "wb") as f:
        f.write(content)
    with open(KILN, "rb") as f:     # libslirp 4.7 does not free the server's name: a leak checker would say so
        name = "" if b"__asan_init" in f.read() else ",tftp-server-name=boot.example"
    with user(work, f",tftp={work}/tftp,bootfile=kernel{name}") as m:
        host = Host(E1000(m))
        host.find_router()
        offer = host.dhcp(1)
        assert offer["file"] == b"kernel", offer
        host.ip = offer["address"]
        assert host.tftp("kernel") == content
        assert host.tftp("nothing") is None
        assert host.tftp("../stderr.0") is None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def converse(host, port, size=100_000):
    """A client of the host's connects to the forwarded port; bytes both ways."""
    data = bytes(i * 13 & 255 for i in range(size))
    got = []

    def client():
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.sendall(b"ask")
            while len(b"".join(got)) < size:
                part = s.recv(65536)
                if not part:
                    break
                got.append(part)
            s.sendall(b"done")

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    tcp = Tcp(host, 22)
    tcp.accept()
    assert tcp.read(3) == b"ask"
    tcp.write(data)
    assert tcp.read(4) == b"done"
    thread.join(60)
    assert b"".join(got) == data


@test("user: hostfwd, by option and monitor")
def _(work):
    port, other = free_port(), free_port()
    with user(work, f",hostfwd=tcp:127.0.0.1:{port}-:22") as m:
        host = Host(E1000(m), "10.0.2.15")
        host.find_router()
        converse(host, port)
        assert f"{port}" in hmp(m, "info usernet")
        assert hmp(m, f"hostfwd_add n tcp:127.0.0.1:{other}-10.0.2.15:22") == ""
        converse(host, other, 1000)
        assert "removed" in hmp(m, f"hostfwd_remove n tcp:127.0.0.1:{other}")
        assert "not found" in hmp(m, f"hostfwd_remove tcp:127.0.0.1:{other}")
        assert "Invalid host forwarding rule" in hmp(m, "hostfwd_add tcp:what")
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", other)) != 0


@test("user: out, restrict, guestfwd")
def _(work):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        port = server.getsockname()[1]
        with user(work, ",guestfwd=tcp:10.0.2.100:7-cmd:cat") as m:
            host = Host(E1000(m), "10.0.2.15")
            host.find_router()
            tcp = Tcp(host, 5000)
            tcp.connect("10.0.2.2", port)       # the gateway is the host
            peer = server.accept()[0]
            peer.sendall(b"from the host")
            assert tcp.read(13) == b"from the host"
            tcp.write(b"from the guest")
            assert peer.recv(100) == b"from the guest"
            peer.close()
            echo = Tcp(host, 5001)
            echo.connect("10.0.2.100", 7)
            echo.write(b"echo")
            assert echo.read(4) == b"echo"
        with user(work, ",restrict=on") as m:
            host = Host(E1000(m), "10.0.2.15")
            host.find_router()
            try:
                Tcp(host, 5000).connect("10.0.2.2", port)
            except AssertionError as error:
                assert "refused" in str(error), error
            else:
                raise AssertionError("it got out")


@test("user: two cards on one hub, -nic, -net")
def _(work):
    need_user()
    with Machine(KILN, ["-nodefaults", "-net", "nic,addr=5", "-net", "nic,addr=6,macaddr=52:54:00:aa:00:01", "-net", "user"],
                 work) as m:
        text = hmp(m, "info network")
        assert re.search(r"hub 0\r?\n( \\ hub0port\d: .*\n){3}", text), text
        host = Host(E1000(m))
        host.find_router()
        assert host.dhcp(1)["address"] == bytes((10, 0, 2, 15))
    with Machine(KILN, ["-nodefaults", "-nic", "user,model=e1000,mac=52:54:00:aa:00:02,net=10.1.2.0/24,addr=5"], work) as m:
        text = hmp(m, "info network")
        assert "macaddr=52:54:00:aa:00:02" in text and "net=10.1.2.0" in text, text
        host = Host(E1000(m, mac="52:54:00:aa:00:02"), gateway="10.1.2.2")
        host.find_router()


def network_of(*args, **environment):
    """What info network says of a machine with these options, through its monitor for people."""
    done = subprocess.run([KILN, "-accel", "qtest", "-display", "none", "-serial", "none", "-monitor", "stdio", *args],
                          input="info network\nquit\n", capture_output=True, text=True, timeout=120, check=True,
                          env={**os.environ, **environment})
    return re.findall(r"\w+: index=.*type=(\w+),", done.stdout.replace("\r", ""))


@test("what there is without options")
def _(_work):
    assert network_of("-nodefaults") == network_of("-nic", "none") == network_of("-net", "none") == []
    assert network_of("-netdev", "hubport,id=a,hubid=1") == []
    assert network_of("-machine", "none") == []
    need_user()
    assert sorted(network_of()) == ["nic", "user"]
    assert sorted(network_of("-device", "e1000")) == ["nic", "nic", "user"]
    assert sorted(network_of("-nic", "user,model=rtl8139", "-nic", "user")) == ["nic", "nic", "user", "user"]
    assert network_of("-net", "nic") == ["nic"]


@test("user: what is refused")
def _(work):
    need_user()
    for options, words in (("hostfwd=foo", "'foo' (No : separators)"), ("hostfwd=sctp::1-:1", "Bad protocol name"),
                           ("hostfwd=tcp:1", "Missing : separator"), ("hostfwd=tcp:x:1-:1", "Bad host address"),
                           ("hostfwd=tcp::1", "Bad host port separator"), ("hostfwd=tcp::99999-:1", "Bad host port"),
                           ("hostfwd=tcp::1-x:1", "Bad guest address"), ("hostfwd=tcp::1-:0", "Bad guest port"),
                           ("hostfwd=tcp:1.2.3.4:1-:1", "Could not set up"),
                           ("guestfwd=tcp:1.2.3.4:5-cmd:cat", "Conflicting/invalid"), ("guestfwd=x", "Invalid guest forwarding"),
                           ("guestfwd=tcp:10.0.2.9:5-null:x", "null:x"), ("net=1.2.3.4/40", "range 4-32"), ("net=x", "net 'x'"),
                           ("host=1.2.3.4", "Host doesn't belong"), ("dns=1.2.3.4", "DNS doesn't belong"),
                           ("dhcpstart=1.2.3.4", "DHCP doesn't belong"), ("dns=10.0.2.2", "different from host"),
                           ("dhcpstart=10.0.2.2", "DHCP must be different"), ("ipv4=off,ipv6=off", "IPv4 and IPv6 disabled"),
                           ("ipv6-net=zz/64", "IPv6 prefix"), ("ipv6-net=fd00::/127", "between 0 and 126"),
                           ("ipv6-host=x", "IPv6 host"), ("smb=/tmp", "smb= is not supported"), ("foo=1", "'foo'"),
                           ("restrict=maybe", "restrict")):
        done = subprocess.run([KILN, "-nodefaults", "-display", "none", "-accel", "qtest", "-netdev", f"user,id=n,{options}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1 and words in done.stderr and "user,id=n" in done.stderr, (options, done.stderr)


@test("user: IPv6 router advertisement")
def _(work):
    with user(work, ",ipv6=on,ipv6-net=fd00:1::/64") as m:
        card = E1000(m)
        card.write(0x100, 0x801A)   # promiscuous
        body = b"\x85\0\0\0\0\0\0\0"                      # router solicitation
        source, target = bytes.fromhex("fe80000000000000505400fffe123456"), bytes.fromhex("ff02" + "00" * 13 + "02")
        pseudo = source + target + struct.pack(">II", len(body), 58)
        body = body[:2] + struct.pack(">H", checksum(pseudo + body)) + body[4:]
        card.send(b"\x33\x33\0\0\0\2" + card.mac + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + source +
                  target + body)
        frame = card.receive(lambda f: f[12:14] == b"\x86\xdd" and f[54] == 134)
        assert bytes.fromhex("fd000001000000000000000000000000") in frame, frame.hex()


# ---- sockets between two machines ------------------------------------------------------------------------

def exchange(one, two):
    """Packets between two cards, both ways."""
    for a, b in ((one, two), (two, one)):
        for size in (60, 1514, 700):
            frame = b.mac + a.mac + b"\x88\xb5" + bytes(i * 5 & 255 for i in range(size - 14))
            a.send(frame)
            assert b.receive() == frame


def pair(work, first, second):
    with Machine(KILN, ["-nodefaults", "-netdev", first, "-device", "e1000,netdev=n,addr=5"], work) as a, \
         Machine(KILN, ["-nodefaults", "-netdev", second, "-device", "e1000,netdev=n,addr=5,mac=52:54:00:00:00:02"], work) as b:
        exchange(E1000(a), E1000(b, mac="52:54:00:00:00:02"))
        return a.qmp(("human-monitor-command", {"command-line": "info network"}))[0]


@test("socket, stream and dgram between two machines")
def _(work):
    port, other = free_port(), free_port()
    assert "connection from" in pair(work, f"socket,id=n,listen=127.0.0.1:{port}", f"socket,id=n,connect=127.0.0.1:{port}")
    pair(work, f"socket,id=n,udp=127.0.0.1:{other},localaddr=127.0.0.1:{port}",
         f"socket,id=n,udp=127.0.0.1:{port},localaddr=127.0.0.1:{other}")
    pair(work, f"stream,id=n,server=on,addr.type=unix,addr.path={work}/s", f"stream,id=n,addr.type=unix,addr.path={work}/s")
    assert not os.path.exists(f"{work}/s")
    pair(work, f"stream,id=n,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
         '{"type":"stream","id":"n","addr":{"type":"inet","host":"127.0.0.1","port":"%d"}}' % port)
    pair(work, f"dgram,id=n,local.type=unix,local.path={work}/a,remote.type=unix,remote.path={work}/b",
         f"dgram,id=n,local.type=unix,local.path={work}/b,remote.type=unix,remote.path={work}/a")


def receive_all(s, size):
    """MSG_WAITALL does not wait on sockets with a timeout."""
    data = b""
    while len(data) < size:
        part = s.recv(size - len(data))
        assert part, f"the connection ended behind {len(data)} of {size} bytes"
        data += part
    return data


@test("stream: bad peers, and events")
def _(work):
    with Machine(KILN, [*E1000_DEVICE, "-netdev", f"stream,id=n,server=on,addr.type=unix,addr.path={work}/s"], work) as m:
        card = E1000(m)
        for rubbish in (b"\xff" * 100, b"\0\1\x10\1" + b"x" * 100, b"\0", b"\0\0\0\0" * 1000):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(f"{work}/s")
                s.sendall(rubbish)
                s.shutdown(socket.SHUT_WR)
                while s.recv(100):
                    pass
        with socket.socket(socket.AF_UNIX) as s:    # a packet byte by byte, then two at once
            s.connect(f"{work}/s")
            frame = card.mac + b"\2" * 6 + b"\x88\xb5" + bytes(range(100))
            wire = struct.pack(">I", len(frame)) + frame
            for i in range(len(wire)):
                s.send(wire[i:i + 1])
            assert card.receive() == frame
            s.send(wire + wire)
            assert card.receive() == frame and card.receive() == frame
            card.send(frame)
            assert receive_all(s, len(wire)) == wire
            assert "connection from" in hmp(m, "info network")


@test("a peer that does not read")
def _(work):
    with Machine(KILN, [*E1000_DEVICE, "-netdev", f"stream,id=n,server=on,addr.type=unix,addr.path={work}/s"], work) as m:
        card = E1000(m)
        frame = b"\2" * 6 + card.mac + b"\x88\xb5" + bytes(1486)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{work}/s")
            while "connection from" not in hmp(m, "info network"):
                pass
            for _ in range(2000):       # more than the socket's and the port's queues hold: the rest is lost
                card.send(frame)
            assert card.read(0x3810) == card.tx
            s.settimeout(60)
            wire, got = struct.pack(">I", len(frame)) + frame, 0
            while got < 500:
                data = receive_all(s, len(wire))
                assert data == wire
                got += 1


# ---- descriptors of a manager -------------------------------------------------------------------------------

@test("netdev_add with getfd, netdev_del, set_link")
def _(work):
    with Machine(KILN, ["-nodefaults", "-device", "pci-bridge,chassis_nr=1", "-netdev", "hubport,id=n,hubid=0", "-device",
                        "e1000,netdev=n,addr=5,id=card"], work) as m:
        card = E1000(m)
        assert card.read(STATUS) & 2
        m.qmp(("set_link", {"name": "card", "up": False}))
        assert not card.read(STATUS) & 2
        m.qmp(("set_link", {"name": "card", "up": True}))
        m.step(600_000_000)
        assert card.read(STATUS) & 2
        m.qmp(("set_link", {"name": "n", "up": False}))
        assert not card.read(STATUS) & 2
        assert m.qmp(("query-rx-filter", {}))[0] == []
        m.qmp(("netdev_del", {"id": "n"}))
        assert not card.read(STATUS) & 2
        m.qmp(("netdev_add", {"type": "hubport", "id": "n", "hubid": 1}))
        for command, arguments, words in (("netdev_del", {"id": "x"}, "'x' not found"), ("set_link", {"name": "x", "up": True}, "'x'"),
                                          ("netdev_add", {"type": "hubport", "id": "n", "hubid": 1}, "Duplicate ID 'n'"),
                                          ("netdev_add", {"type": "vde", "id": "v"}, "'vde'"),
                                          ("query-rx-filter", {"name": "card"}, "doesn't support"),
                                          ("query-rx-filter", {"name": "x"}, "invalid net client name")):
            try:
                m.qmp((command, arguments))
            except AssertionError as error:
                assert words in str(error), error
            else:
                raise AssertionError(f"{command} {arguments} was taken")
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    os.set_inheritable(theirs.fileno(), True)
    with mine, theirs:
        m = fd_machine(["-nodefaults", "-netdev", f"dgram,id=n,local.type=fd,local.str={theirs.fileno()}", "-device",
                        "e1000,netdev=n,addr=5"], work, theirs.fileno())
        with m:
            card = E1000(m)
            frame = b"\2" * 6 + card.mac + b"\x88\xb5" + bytes(100)
            card.send(frame)
            assert mine.recv(2000) == frame
            mine.send(card.mac + frame[6:])
            assert card.receive() == card.mac + frame[6:]


def fd_machine(args, work, *fds):
    """A machine that inherits descriptors."""
    old = subprocess.Popen

    def popen(*a, **k):
        return old(*a, pass_fds=fds, **k)
    subprocess.Popen = popen
    try:
        return Machine(KILN, args, work)
    finally:
        subprocess.Popen = old


@test("hot plug: a card comes, works and goes")
def _(work):
    with Machine(KILN, ["-nodefaults", "-netdev", f"dgram,id=n,local.type=unix,local.path={work}/k,remote.type=unix,"
                        f"remote.path={work}/t"], work) as m, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(f"{work}/t")
        s.settimeout(60)
        for turn in range(2):
            m.qmp(("device_add", {"driver": "e1000", "id": "card", "netdev": "n", "addr": "5", "mac": "52:54:00:00:00:07"}))
            card = E1000(m, mac="52:54:00:00:00:07")
            frame = b"\2" * 6 + card.mac + b"\x88\xb5" + bytes(100)
            card.send(frame)
            assert s.recv(2000) == frame
            s.sendto(card.mac + frame[6:], f"{work}/k")
            assert card.receive() == card.mac + frame[6:]
            m.qmp(("device_del", {"id": "card"}))
            m.outl(0xAE10, 0)               # the guest chooses the root bus and ejects slot 5
            m.outl(0xAE08, 1 << 5)
            assert m.config(5 << 3, 0) == 0xFFFFFFFF, turn
            assert "card" not in hmp(m, "info network")


# ---- filters ----------------------------------------------------------------------------------------------------

def read_pcap(path):
    with open(path, "rb") as f:
        data = f.read()
    magic, major, minor, _, _, snaplen, kind = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, kind) == (0xA1B2C3D4, 2, 4, 1)
    found, at = [], 24
    while at < len(data):
        _, usec, size, length = struct.unpack_from("<IIII", data, at)
        assert usec < 1_000_000 and size <= snaplen and size <= length
        found.append((data[at + 16:at + 16 + size], length))
        at += 16 + size
    return found


def dgram(work):
    return f"dgram,id=n,local.type=unix,local.path={work}/k,remote.type=unix,remote.path={work}/t"


def cable(work):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(f"{work}/t")
    s.settimeout(60)
    return s


@test("filter-dump")
def _(work):
    with cable(work) as s, Machine(KILN, [*E1000_DEVICE, "-netdev", dgram(work), "-object",
                                          f"filter-dump,id=f,netdev=n,file={work}/all", "-object",
                                          f"filter-dump,id=g,netdev=n,file={work}/rx,queue=rx,maxlen=64"], work) as m:
        card = E1000(m)
        out, into = b"\2" * 6 + card.mac + b"\x88\xb5" + bytes(100), card.mac + b"\2" * 6 + b"\x88\xb5" + bytes(range(50))
        card.send(out)
        assert s.recv(2000) == out
        s.sendto(into, f"{work}/k")
        assert card.receive()[:64] == into
        assert read_pcap(f"{work}/all") == [(out, 114), (into, 64)]
        assert read_pcap(f"{work}/rx") == [(out[:64], 114)]
        m.qmp(("qom-set", {"path": "/objects/f", "property": "status", "value": "off"}))
        card.send(out)
        s.recv(2000)
        assert len(read_pcap(f"{work}/all")) == 2 and len(read_pcap(f"{work}/rx")) == 2
        m.qmp(("object-del", {"id": "f"}))
        card.send(out)
        s.recv(2000)


@test("filter-buffer")
def _(work):
    with cable(work) as s, Machine(KILN, [*E1000_DEVICE, "-netdev", dgram(work), "-object",
                                          "filter-buffer,id=f,netdev=n,interval=5000000,queue=rx"], work) as m:
        card = E1000(m)
        out = b"\2" * 6 + card.mac + b"\x88\xb5" + bytes(100)
        for i in range(3):
            card.send(out + bytes([i]))
        s.setblocking(False)
        try:
            raise AssertionError(f"{len(s.recv(2000))} bytes came early")
        except BlockingIOError:
            pass
        s.settimeout(60)
        m.step(5_000_000_000)
        for i in range(3):
            assert s.recv(2000) == out + bytes([i])


@test("filter-mirror and filter-redirector")
def _(work):
    chardevs = [arg for name in ("a", "b", "c") for arg in
                ("-chardev", f"socket,id={name},path={work}/{name}.sock,server=on,wait=off")]
    with cable(work) as s, Machine(KILN, [*E1000_DEVICE, "-netdev", dgram(work), *chardevs, "-object",
                                          "filter-mirror,id=f,netdev=n,outdev=a", "-object",
                                          "filter-redirector,id=g,netdev=n,queue=tx,indev=b,outdev=c"], work) as m:
        card = E1000(m)
        ends = {}
        for name in "abc":
            ends[name] = socket.socket(socket.AF_UNIX)
            ends[name].connect(f"{work}/{name}.sock")
            ends[name].settimeout(60)
        while hmp(m, "info chardev").count("<->") + hmp(m, "info chardev").count("server") < 3:
            pass
        out, into = b"\2" * 6 + card.mac + b"\x88\xb5" + bytes(100), card.mac + b"\2" * 6 + b"\x88\xb5" + bytes(100)
        card.send(out)                      # copied, and goes on
        wire = struct.pack(">I", len(out)) + out
        assert receive_all(ends["a"], len(wire)) == wire
        assert s.recv(2000) == out
        s.sendto(into, f"{work}/k")         # copied, then away
        wire = struct.pack(">I", len(into)) + into
        assert receive_all(ends["a"], len(wire)) == wire
        assert receive_all(ends["c"], len(wire)) == wire
        card.nothing_comes(10)
        ends["b"].sendall(wire[:7])
        ends["b"].sendall(wire[7:])         # comes in as if from the netdev
        assert card.receive() == into
        for end in ends.values():
            end.close()


# ---- taps, in a network namespace of our own ------------------------------------------------------------------------

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x400454CA, 2, 0x1000, 0x4000, 0x100


def enter_namespace():
    """This process (a child) gets a network of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 0x40000000 | (0 if os.geteuid() == 0 else 0x10000000)
    if libc.unshare(flags):
        raise Skip(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        raise Skip(f"/dev/net/tun: {error.strerror}") from None


def in_namespace(function):
    """Runs a test in a child with a network of its own."""
    def run(work):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 0
            try:
                enter_namespace()
                function(work)
            except Skip as reason:
                os.write(writer, str(reason).encode())
                status = 77
            except BaseException:  # pylint: disable=broad-except
                os.write(writer, traceback.format_exc().encode())
                status = 1
            os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as f:
            text = f.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 77:
            raise Skip(text)
        assert status == 0, text
    return run


def interface_up(name):
    with socket.socket() as s:
        request = struct.pack("16sH", name.encode(), 0x1043)
        fcntl.ioctl(s, 0x8914, request)     # SIOCSIFFLAGS
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    raw.bind((name, 0))
    raw.settimeout(60)
    return raw


def tap_exchange(m, name):
    with interface_up(name) as raw:
        card = E1000(m)
        for size in (60, 1514):
            out = b"\2" * 6 + card.mac + b"\x88\xb5" + bytes(i * 3 & 255 for i in range(size - 14))
            card.send(out)
            while (got := raw.recv(2000)) != out:   # the host's own chatter
                assert got[12:14] != b"\x88\xb5"
            into = card.mac + b"\2" * 6 + out[12:]
            raw.send(into)
            assert card.receive(lambda f: f[12:14] == b"\x88\xb5") == into


@test("tap: interface, scripts")
@in_namespace
def _(work):
    with open(f"{work}/up", "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\necho up $1 >> {work}/log\n")
    with open(f"{work}/down", "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\necho down $1 >> {work}/log\n")
    os.chmod(f"{work}/up", 0o755)
    os.chmod(f"{work}/down", 0o755)
    for vnet in ("", ",vnet_hdr=off", ",vnet_hdr=on"):
        with Machine(KILN, [*E1000_DEVICE, "-netdev", f"tap,id=n,ifname=kiln0,script={work}/up,downscript={work}/down,"
                            f"sndbuf=1048576{vnet}"], work) as m:
            assert "ifname=kiln0" in hmp(m, "info network")
            tap_exchange(m, "kiln0")
    with open(f"{work}/log", encoding="ascii") as f:
        assert f.read() == "up kiln0\ndown kiln0\n" * 3
    with Machine(KILN, [*E1000_DEVICE, "-netdev", "tap,id=n,ifname=kiln1,script=no,downscript=no,queues=2"], work) as m:
        assert hmp(m, "info network").count("ifname=kiln1") == 2
        tap_exchange(m, "kiln1")


@test("tap: descriptors and helpers")
@in_namespace
def _(work):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"kiln2", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    os.set_inheritable(fd, True)
    for options in (f"fd={fd}", f"fds={fd},queues=1"):
        with fd_machine([*E1000_DEVICE, "-netdev", f"tap,id=n,{options}"], work, fd) as m:
            tap_exchange(m, "kiln2")
    helper = f"{work}/helper"
    with open(helper, "w", encoding="ascii") as f:
        f.write(f"#!{sys.executable}\n" + """import array, fcntl, os, socket, struct, sys
options = dict(a[2:].split("=") for a in sys.argv[1:] if "=" in a)
fd = os.open("/dev/net/tun", os.O_RDWR)
flags = 0x1002 | (0x4000 if "--use-vnet" in sys.argv else 0)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH", options["br"].encode(), flags))
s = socket.socket(fileno=int(options["fd"]))
left = set(map(int, os.listdir("/proc/self/fd"))) - {0, 1, 2, fd, s.fileno()}
left = [one for one in left if os.path.exists(f"/proc/self/fd/{one}")]
if left:
    sys.exit(f"inherited: {[os.readlink(f'/proc/self/fd/{one}') for one in left]}")
s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
""")
    os.chmod(helper, 0o755)
    for netdev in (f"tap,id=n,helper={helper},br=kiln3", f"bridge,id=n,helper={helper},br=kiln3",
                   f"bridge,id=n,helper={helper} --br=kiln3"):
        # The helper must not get what a manager passed for something else.
        with fd_machine([*E1000_DEVICE, "-netdev", netdev, "-netdev", f"tap,id=other,fd={fd}"], work, fd) as m:
            tap_exchange(m, "kiln3")
    for netdev, words in ((f"bridge,id=n,helper={work}/none", "cannot be run"), ("bridge,id=n,helper=/bin/true", "no descriptor"),
                          (f"tap,id=n,fd={fd},ifname=x", "invalid with fd="), (f"tap,id=n,fds={fd},queues=2", "which is 1"), ("tap,id=n,fds=0", "'0'"),
                          ("tap,id=n,ifname=averylonginterfacename", "at most 15"), 
                          ("tap,id=n,script=/nonexistent", "/nonexistent"), ("tap,id=n,script=/bin/false", "status 1"),
                          ("tap,id=n,queues=0,script=no", "queues=0"), ("tap,id=n,script=no,br=br0", "br= belongs to helper=")):
        refused(netdev, words)


def refused(netdev, words, *fds):
    done = subprocess.run([KILN, "-nodefaults", "-display", "none", "-accel", "qtest", "-netdev", netdev], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False, pass_fds=fds)
    assert done.returncode == 1 and words in done.stderr and f"-netdev {netdev}" in done.stderr, (netdev, done.stderr)


@test("tap: vhost")
@in_namespace
def _(work):
    interface = "tap,id=n,ifname=kiln4,script=no,downscript=no"
    null = os.open("/dev/null", os.O_RDWR)
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", b"kiln5", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    # What a manager passes it means; a wrong one is not passed over.
    refused(f"{interface},vhostfd={null}", "VHOST_SET_OWNER", null)
    refused(f"{interface},vhost=on,vhostfd=99", "'99'")
    refused(f"tap,id=n,fds={tap},vhostfds={null}:{null}", "does not match", tap, null)
    refused(f"tap,id=n,fd={tap},vhostfd={null}", "VHOST_SET_OWNER", tap, null)
    # A card that knows nothing of vhost works with and without it.
    for more in ("vhost=on", "vhost=on,poll-us=50", "vhost=off,poll-us=50"):
        with Machine(KILN, [*E1000_DEVICE, "-netdev", f"{interface},{more}"], work) as m:
            tap_exchange(m, "kiln4")
    if os.path.exists("/dev/vhost-net"):
        return
    refused(f"{interface},vhost=on,vhostforce=on", "cannot open /dev/vhost-net")
    refused(f"{interface},vhostforce=on", "without vhostforce=on")
    done = subprocess.run([KILN, "-nodefaults", "-display", "none", "-accel", "qtest", "-netdev", f"{interface},vhost=on", "-device",
                           "virtio-net-pci,netdev=n", "-device", "nosuch"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, check=False)
    assert "warning: netdev n: vhost=on: cannot open /dev/vhost-net" in done.stderr, done.stderr


def main():
    pattern = sys.argv[2] if len(sys.argv) > 2 else ""
    chosen = [t for t in TESTS if re.search(pattern, t[0])]
    print(f"1..{len(chosen)}")
    failed = 0
    for number, (name, function) in enumerate(chosen, 1):
        try:
            with tempfile.TemporaryDirectory(prefix="kiln-net-") as work:
                function(work)
            print(f"ok {number} {name}", flush=True)
        except Skip as reason:
            print(f"ok {number} {name} # SKIP {reason}", flush=True)
        except Exception:  # pylint: disable=broad-except
            print("".join(f"# {line}\n" for line in traceback.format_exc().splitlines()), end="")
            print(f"not ok {number} {name}", flush=True)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
