# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server whose answers are a test's."""
import collections
import os
import select
import socket
import struct
import threading
import time

import nbdtest

READ, WRITE, DISC, FLUSH, TRIM, ZEROES, STATUS = 0, 1, 2, 3, 4, 6, 7
SIMPLE, CHUNK = 0x67446698, 0x668e33ef
DATA, HOLE, ERROR = 1, 2, 0x8001
HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_ZEROES = 1, 2, 4, 8, 32, 64
ALL = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_ZEROES
MIB = 1 << 20

Request = collections.namedtuple("Request", "flags type cookie offset length data")


class Cut(Exception):
    """What an answer raises: these bytes are sent, then the connection is closed."""

    def __init__(self, data=b""):
        super().__init__()
        self.data = data


def chunk(flags, kind, cookie, payload=b"", length=None):
    return struct.pack(">IHHQI", CHUNK, flags, kind, cookie, len(payload) if length is None else length) + payload


def simple(cookie, error=0, data=b""):
    return struct.pack(">IIQ", SIMPLE, error, cookie) + data


def data_chunk(request, data, offset=None, flags=1):
    return chunk(flags, DATA, request.cookie, struct.pack(">Q", request.offset if offset is None else offset) + data)


class Export:
    """What a connection is told: size, flags, block sizes (smallest, best, largest) or None, structured replies or not. With
    cut: the option (NBD_OPT_*, 0: the greeting) at which the connection ends."""

    def __init__(self, size=MIB, flags=ALL, blocks=None, structured=True, cut=None):
        self.size, self.flags, self.blocks, self.structured, self.cut = size, flags, blocks, structured, cut


def take(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class Server:
    """answer(server, request): the bytes that are sent; b"": it is silent. export: what connections are told from now on; the
    tests change both while connections are there."""

    def __init__(self, path, answer=None, export=None):
        self.path = os.path.abspath(path)
        self.answer = answer or Server.good
        self.export = export or Export()
        self.disk = bytearray(nbdtest.pattern(self.export.size))
        self.connections, self.requests = 0, []
        self.sockets = []
        self.structured = True  # of the last connection
        self.listener = None
        self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                s = listener.accept()[0]
            except OSError:
                return
            self.connections += 1
            self.sockets.append(s)
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        try:
            self.negotiate(s, self.export)
            while True:
                head = Request(*struct.unpack(">IHHQQI", take(s, 28))[1:], b"")
                if head.type == DISC:
                    break
                request = head._replace(data=take(s, head.length) if head.type == WRITE else b"")
                self.requests.append(request)
                s.sendall(self.answer(self, request))
        except Cut as cut:
            try:
                s.sendall(cut.data)
            except OSError:
                pass
        except (EOFError, OSError):
            pass
        self.hang_up(s)

    @staticmethod
    def hang_up(s):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        s.close()

    def negotiate(self, s, export):
        if export.cut == 0:
            raise Cut(b"NBDMAGIC")
        s.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        take(s, 4)
        self.structured = False
        while True:
            option, length = struct.unpack(">8sII", take(s, 16))[1:]
            take(s, length)

            def answer(kind, data=b""):
                s.sendall(struct.pack(">QIII", 0x3e889045565a9, option, kind, len(data)) + data)  # pylint: disable=cell-var-from-loop
            if export.cut == option:
                raise Cut(struct.pack(">QI", 0x3e889045565a9, option))
            if option == 7:
                answer(3, struct.pack(">HQH", 0, export.size, export.flags))
                if export.blocks:
                    answer(3, struct.pack(">HIII", 3, *export.blocks))
                answer(1)
                return
            self.structured |= option == 8 and export.structured
            answer(1 if option == 8 and export.structured else 0x80000001)

    def good(self, request):
        """What a server should say; writes go to self.disk."""
        at = slice(request.offset, request.offset + request.length)
        if request.type == WRITE:
            self.disk[at] = request.data
        elif request.type == ZEROES:
            self.disk[at] = bytes(request.length)
        if request.type != READ:
            return simple(request.cookie)
        return data_chunk(request, self.disk[at]) if self.structured else simple(request.cookie, 0, self.disk[at])

    def silent(self, request):
        return b""

    def cut(self):
        """All connections end."""
        for s in self.sockets:
            self.hang_up(s)
        self.sockets = []

    def wait_for(self, count, kind=None):
        """So many requests have come."""
        nbdtest.wait_for("%d requests" % count, lambda: sum(kind in (None, r.type) for r in list(self.requests)) >= count)

    def stop(self):
        """Nobody is there any more."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if os.path.exists(self.path):
            self.stop()
