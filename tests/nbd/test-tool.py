#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-tool.py KILN-NBD KILN-IMG KILN-IO [NAME...]: kiln-nbd as a process beside qemu-nbd: its options, where it listens, when
it ends, what it leaves behind."""
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import nbd

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdtest import LIMIT, end, exists, listens, main, ok, pattern, read, refused, run, serve, test, uri, wait_for, write

NBD = os.path.abspath(sys.argv.pop(1))
IMG = os.path.abspath(sys.argv.pop(1))
IO = os.path.abspath(sys.argv.pop(1))
BOTH = ("qemu-nbd", NBD)


def here(name):
    return os.path.abspath(name)


def connect_raw():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(LIMIT)
    s.connect(here("s"))
    return s


def connect():
    h = nbd.NBD()
    h.connect_unix(here("s"))
    return h


def unlink(*names):
    for name in names:
        if os.path.lexists(name):
            os.unlink(name)


@test
def who_only_looks_does_not_end_it():
    write("a.raw", pattern(4096))
    for tool in BOTH:
        process = serve(tool, "-k", here("s"), "-f", "raw", "a.raw", path="s")
        connect_raw().close()
        ok("qemu-nbd", "-L", "-k", here("s"))
        ok("nbdinfo", "--list", uri("s"))
        s = connect_raw()
        assert s.recv(8) == b"NBDMAGIC", "%s does not serve any more" % tool
        s.close()
        assert process.poll() is None, "%s ended" % tool
        h = connect()
        h.shutdown()
        assert process.wait(LIMIT) == 0
        unlink("s")


def cpu_time(pid):
    fields = read("/proc/%d/stat" % pid).decode().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@test
def more_clients_than_descriptors():
    """It waits for one that goes, and does not ask the kernel again and again meanwhile."""
    write("a.raw", pattern(4096))
    process = serve(NBD, "-k", here("s"), "-t", "-e", "1000", "-f", "raw", "a.raw", path="s", stderr=subprocess.PIPE,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)))
    clients = [connect_raw() for _ in range(60)]
    assert clients[0].recv(8) == b"NBDMAGIC"
    before = cpu_time(process.pid)
    time.sleep(1)
    assert cpu_time(process.pid) - before < 0.3, "it is busy with waiting"
    for client in clients:
        client.close()
    assert connect().pread(4096, 0) == read("a.raw")
    process.terminate()
    out = process.communicate(timeout=LIMIT)[1].decode()
    assert out.count("ulimit -n") == 1, out


@test
def what_systemd_passes():
    write("a.raw", pattern(4096))

    def start(count, what, descriptors=1):
        os.dup2(what.fileno(), 100)
        script = ("import os\nfor i in range(%d): os.dup2(100, 3 + i)\n" % descriptors +
                  "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=%r)\n" % count +
                  "os.execv(%r, [%r, '-t', '-f', 'raw', 'a.raw'])" % (NBD, NBD))
        return serve(sys.executable, "-c", script, pass_fds=[100], stderr=subprocess.PIPE)

    with socket.socket(socket.AF_UNIX) as listener, open("a.raw", "rb") as file:
        listener.bind("s")
        listener.listen()
        silent, other = socket.socketpair()
        for count, what, text in (("2", listener, "descriptor 4"), ("9", listener, "LISTEN_FDS is '9'"),
                                  ("x", listener, "LISTEN_FDS is 'x'"), ("-1", listener, "LISTEN_FDS is '-1'"),
                                  ("1", file, "non-socket"), ("1", silent, "no listening socket")):
            process = start(count, what)
            why = process.communicate(timeout=LIMIT)[1].decode()
            assert process.returncode == 1 and text in why, (count, process.returncode, why)
        process = start("2", listener, 2)
        ok("nbdinfo", "--size", uri("s"))
        end(process)
        other.close()
    os.close(100)


@test
def pid_files():
    write("a.raw", pattern(4096))
    for tool in BOTH:
        unlink("s", "pid")
        first = serve(tool, "-k", here("s"), "-t", "-f", "raw", "--pid-file", here("pid"), "a.raw", path="s")
        wait_for("the pid file", lambda: exists("pid") and read("pid").endswith(b"\n"))
        refused(tool, "-k", here("s2"), "-t", "-f", "raw", "--pid-file", here("pid"), "a.raw", text="lock")
        assert int(read("pid")) == first.pid, "another one's pid file was changed"
        first.terminate()
        assert first.wait(LIMIT) == 0 and exists("pid")
    # What is no file is not replaced by one.
    os.symlink("/dev/null", "null")
    os.mkfifo("fifo")
    os.mkdir("dir")
    for name, text in (("null", "no regular file"), ("fifo", "no regular file"), ("dir", "directory"), ("no/pid", "No such file")):
        refused(NBD, "-k", here("s"), "-f", "raw", "--pid-file", name, "a.raw", text="--pid-file %s: " % name)
        refused(NBD, "-k", here("s"), "-f", "raw", "--pid-file", name, "a.raw", text=text)
    assert os.path.islink("null")


def ports_of(pid):
    inodes = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        inodes.add(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
    with open("/proc/%d/net/tcp" % pid, encoding="ascii") as f:
        rows = [line.split() for line in f][1:]
    return [int(r[1].split(":")[1], 16) for r in rows if r[3] == "0A" and "socket:[%s]" % r[9] in inodes]


@test
def where_it_listens():
    write("a.raw", pattern(4096))
    for tool in BOTH:
        unlink("s")
        process = serve(tool, "-b", "127.0.0.1", "-p", "0", "-t", "-f", "raw", "a.raw")
        wait_for("a port", lambda: process.poll() is not None or ports_of(process.pid))
        assert ok("nbdinfo", "--size", "nbd://127.0.0.1:%d" % ports_of(process.pid)[0]) == "4096\n"
        end(process)
        process = serve(tool, "-k", here("s"), "-b", "127.0.0.1", "-p", "10809", "-f", "raw", "a.raw", path="s")
        assert not ports_of(process.pid), "it listens on TCP"
        ok("nbdinfo", "--size", uri("s"))
        assert process.wait(LIMIT) == 0
    for port, text in (("65536", "ports are 0 to 65535"), ("-1", "as a number"), ("nosuchservice", "as a number"), ("1 ", "as a number")):
        refused(NBD, "-b", "127.0.0.1", "-p", port, "-f", "raw", "a.raw", text=text)
    status, _, err = run(NBD, "-k", here("s"), "-p", "1", "nothing.raw")
    assert status == 1 and "--port and --bind have no effect" in err, err


@test
def options_that_do_not_go_together():
    write("a.raw", pattern(4096))
    anon = ("--object", "tls-creds-anon,id=t,endpoint=server")
    for args, text in ((("--tls-hostname", "x"), "TLS hostname is only supported with export list"),
                       (anon + ("--tls-creds", "t", "--tls-hostname", "x"), "TLS hostname is only supported with export list"),
                       (("-o", "x"), "Invalid offset 'x'"), (("-o", "-1"), "Invalid offset '-1'"), (("-o", "8k"), "Offset (8192)"),
                       (("-e", "-1"), "Invalid shared device number"), (("-e", "2147483648"), "Invalid shared device number")):
        refused(NBD, "-k", here("s"), *args, "-f", "raw", "a.raw", text=text)
        assert len(run(NBD, "-k", here("s"), *args, "-f", "raw", "a.raw")[2].splitlines()) == 1, args
    refused(NBD, "-L", "-k", here("s"), "--tls-hostname", "x", text="--tls-hostname is not permitted without --tls-creds")
    refused(NBD, "-L", "-k", here("s"), "--tls-authz", "x", text="TLS authorization is incompatible with export list")
    end(serve(NBD, "-k", here("s"), "-e", "2147483647", "-f", "raw", "a.raw", path="s"))


@test
def help_for_objects():
    for tool in (NBD, IMG, IO):
        command = ("create",) if tool == IMG else ()
        listed = ok(tool, *command, "--object", "help")
        assert listed.startswith("List of user creatable objects:\n") and "  tls-creds-x509\n" in listed, listed
        assert ok(tool, *command, "--object", "secret,help").startswith("secret options:\n")
        refused(tool, *command, "--object", "nosuch,help", text="nosuch")


@test
def signals_end_it():
    write("a.raw", pattern(4096))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process = serve(NBD, "-k", here("s"), "-t", "-e", "5", "-f", "raw", "a.raw", path="s")
        silent, h = connect_raw(), connect()
        h.pwrite(b"x" * 512, 0)
        process.send_signal(number)
        assert process.wait(LIMIT) == 0 and not listens("s") and not exists("s")
        silent.close()


if __name__ == "__main__":
    sys.exit(main("kiln-nbd-tool."))
