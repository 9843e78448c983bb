# SPDX-License-Identifier: GPL-2.0-or-later
"""What a persistent reservation helper is to its clients, good or bad as a test wants it."""
import array
import os
import queue
import socket
import struct
import threading

from qmpclient import receive

GOOD, CHECK_CONDITION, CONFLICT = 0, 2, 0x18


def answer(status=GOOD, data=b"", sense=b"", length=None):
    return struct.pack(">II", status, len(data) if length is None else length) + sense.ljust(96, b"\0") + data


class Closed(Exception):
    """The other side has."""


class Request:
    """One that came: the command, its parameters, the device; the test answers."""

    def __init__(self, connection, cdb, parameters, device):
        self.connection, self.cdb, self.parameters, self.device = connection, cdb, parameters, device

    def send(self, data):
        """All that the other side wants to have."""
        try:
            self.connection.sendall(data)
        except OSError:
            pass

    def close(self):
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Helper:
    """Listens at path. Each request is given to reply, which says the answer's bytes, or to a queue where reply is None."""

    def __init__(self, path, reply=None, greet=lambda connection: connection.sendall(bytes(4))):
        self.path, self.reply, self.greet = path, reply, greet
        self.requests = queue.Queue()
        self.connections = []       # all that there were
        self.features = []          # what each client wanted
        self.listener = None
        self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.greet(connection)
            self.features.append(self.read(connection, 4))
            while True:
                request = self.next_request(connection)
                if self.reply:
                    connection.sendall(self.reply(request))
                else:
                    self.requests.put(request)
        except (Closed, OSError):
            connection.close()

    @staticmethod
    def read(connection, size):
        data = receive(connection, size)
        if len(data) < size:
            raise Closed
        return data

    def next_request(self, connection):
        cdb, control, _, _ = connection.recvmsg(16, socket.CMSG_SPACE(16))
        fds = array.array("i")
        for _, _, data in control:
            fds.frombytes(data)
        if not cdb:
            raise Closed
        assert len(cdb) == 16 and len(fds) == 1, (cdb, fds)
        device = os.readlink(f"/proc/self/fd/{fds[0]}")
        os.close(fds[0])
        size = int.from_bytes(cdb[5:9], "big") if cdb[0] == 0x5F else 0
        return Request(connection, cdb, self.read(connection, size), device)

    def go(self):
        """No listener, no connection, as if the program had ended."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
