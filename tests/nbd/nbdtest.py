# SPDX-License-Identifier: GPL-2.0-or-later
"""What the NBD tests share: running tools and servers, and a relay that damages connections."""
import os
import select
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import tap
from tap import Skip, test

LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it
SERVERS = []


def run(*args, stdin=None, env=None):
    done = subprocess.run(args, capture_output=True, text=True, timeout=LIMIT, input=stdin,
                          env=dict(os.environ, **env) if env else None)
    return done.returncode, done.stdout, done.stderr


def ok(*args, **more):
    status, out, err = run(*args, **more)
    assert status == 0, "%s: status %d: %s" % (" ".join(args), status, out + err)
    return out


def refused(*args, text="", status=1):
    got, out, err = run(*args)
    assert got == status, "%s: status %d, not %d: %s" % (" ".join(args), got, status, out + err)
    assert text in err, "%s: %r lacks %r" % (" ".join(args), err, text)


def wait_for(what, condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "waited for %s in vain" % what
        time.sleep(0.01)


def exists(path):
    return os.path.exists(path)


def listens(path):
    """Is somebody there? A connection would count as a client."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
        rows = [line.split() for line in f][1:]
    return any(len(row) == 8 and row[7] == os.path.abspath(path) and int(row[3], 16) & 0x10000 for row in rows)


def serve(*args, path=None, **more):
    """Starts a server; with path: until its socket is there."""
    more.setdefault("stderr", subprocess.DEVNULL)
    process = subprocess.Popen(args, stdin=subprocess.DEVNULL, **more)
    SERVERS.append(process)
    if path:
        wait_for("%s of %s" % (path, args[0]), lambda: listens(path) or process.poll() is not None)
        assert process.poll() is None, "%s ended with %d" % (" ".join(args), process.returncode)
    return process


def end(process):
    if process.poll() is None:
        process.kill()
    process.wait(LIMIT)


def uri(path, export=""):
    return "nbd+unix:///%s?socket=%s" % (export, os.path.abspath(path))


def qemu_nbd(*args, path="s", **more):
    return serve("qemu-nbd", "-k", os.path.abspath(path), "-t", "-e", "100", *args, path=path, **more)


def nbdkit(*args, path="s", **more):
    return serve("nbdkit", "-f", "-U", os.path.abspath(path), *args, path=path, **more)


def pattern(size, seed=1):
    """Bytes without regularity, the same each time."""
    import random
    return random.Random(seed).randbytes(size)


def write(name, data):
    with open(name, "wb") as f:
        f.write(data)


def read(name):
    with open(name, "rb") as f:
        return f.read()


class Relay:
    """Between a client and a server (unix sockets): what goes by passes through mutate(direction, offset, data), which
    returns what is sent instead, or None: the connection is cut there. Directions: "up" (to the server), "down"."""

    def __init__(self, path, upstream, mutate, patient=False):
        self.path, self.upstream, self.mutate = path, upstream, mutate
        self.patient = patient  # both may be silent for long
        self.sent = {"up": 0, "down": 0}
        self.listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(path):
            os.unlink(path)
        self.listener.bind(path)
        self.listener.listen(8)
        self.connections = 0
        self.open = True
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while self.open:
            if not select.select([self.listener], [], [], 0.05)[0]:
                continue
            client, _ = self.listener.accept()
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.upstream)
                self.connections += 1
                self.pump(client, server)
            except OSError:
                pass
            client.close()
            server.close()

    def pump(self, client, server):
        offset = {"up": 0, "down": 0}
        ways = {client: ("up", server), server: ("down", client)}
        idle = 0
        while self.open:
            ready = select.select(list(ways), [], [], 0.1)[0]
            idle = 0 if ready else idle + 1
            if idle > 1 and not self.patient:  # both wait for each other: damage did that
                return
            for sock in ready:
                way, other = ways[sock]
                data = sock.recv(65536)
                if not data:
                    return
                at = offset[way]
                offset[way] += len(data)
                self.sent[way] = max(self.sent[way], offset[way])
                changed = self.mutate(way, at, data)
                if changed:
                    other.sendall(changed)
                if changed is None or len(changed) < len(data):
                    return

    def close(self):
        self.open = False
        self.thread.join(LIMIT)
        self.listener.close()
        os.unlink(self.path)


def cut(way, position):
    """A mutate that ends the connection after so many bytes."""
    def mutate(direction, at, data):
        return data[:max(0, position - at)] if direction == way else data
    return mutate


def flip(way, position, mask):
    def mutate(direction, at, data):
        if direction == way and at <= position < at + len(data):
            data = bytearray(data)
            data[position - at] ^= mask
        return bytes(data)
    return mutate


# ---- TLS ----------------------------------------------------------------------------------------------

def openssl(*args):
    ok("openssl", *args)


def make_pki(name):
    """name/{ca,server,client}-{cert,key}.pem, for localhost and CN=someone."""
    os.mkdir(name)
    write("%s/ext" % name, b"[server]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost\n[client]\nbasicConstraints=CA:FALSE\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3", "-subj", "/CN=ca", "-keyout", "%s/ca-key.pem" % name,
            "-out", "%s/ca-cert.pem" % name)
    for who, subject in (("server", "/CN=localhost"), ("client", "/O=Kiln/CN=someone")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", "%s/%s-key.pem" % (name, who), "-out",
                "%s/%s.csr" % (name, who))
        openssl("x509", "-req", "-in", "%s/%s.csr" % (name, who), "-CA", "%s/ca-cert.pem" % name, "-CAkey", "%s/ca-key.pem" % name,
                "-CAcreateserial", "-days", "3", "-extfile", "%s/ext" % name, "-extensions", who, "-out",
                "%s/%s-cert.pem" % (name, who))


def creds(kind, end_, more=""):
    return "tls-creds-%s,id=t,endpoint=%s%s" % (kind, end_, more)


def stop_servers():
    for process in SERVERS:
        end(process)
    SERVERS.clear()


def main(prefix):
    return tap.main(prefix, stop_servers)
