#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-kernel.py KILN-NBD [NAME...]: Linux's NBD client in the nested machine (scripts/nested-run), connected by kiln-nbd -c
and by nbd-client; qemu-nbd 7.2 in the same machine says what a device should look like."""
import fcntl
import glob
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nbdtest import LIMIT, end, ok, pattern, read, refused, run, serve, stop_servers, tap, test, uri, wait_for, write

NBD = os.path.abspath(sys.argv.pop(1))
DEV = "/dev/nbd0"
QUEUE = "queue/"
MIB = 1 << 20
# nbds_max=16: /dev/nbd0 to /dev/nbd15. loop: to look into an image without any NBD.
MODULES = "nbd ext4 loop"


# ---- outside ---------------------------------------------------------------------------------------------------------

def outside():
    """Runs this again as root in a machine that has the kernel's module; what it says of its tests is passed on."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    passed = [name + "=" + value for name, value in os.environ.items() if name in ("KILN_MODULE_DIR", "ASAN_OPTIONS", "UBSAN_OPTIONS")]
    for again in range(3):
        with tempfile.TemporaryDirectory(prefix="nbd-kernel.") as out:
            status = subprocess.run(
                [os.path.join(root, "scripts/nested-run"), "-s", "240", "-M", MODULES, "-o", out, "-b", root, "-b", os.path.dirname(NBD),
                 "--", "sh", "-c", 'exec "$@" > /run/out/tap', "sh", "env", *passed, os.path.abspath(__file__), NBD, *sys.argv[1:]],
                stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode
            if status != 126 or again == 2:  # 126: the emulator stood still
                said = read(os.path.join(out, "tap")).decode() if os.path.exists(os.path.join(out, "tap")) else ""
                print(said, end="")
                if status not in (0, 1) or not said:
                    print("Bail out! nested-run ended with %d" % status)
                return status


# ---- devices ---------------------------------------------------------------------------------------------------------

def sysfs(name):
    try:
        return read("/sys/block/nbd0/" + name).decode().strip()
    except OSError:
        return None


def connected():
    return sysfs("pid") is not None


def looks():
    """What the kernel says of the device, but for who serves it."""
    names = ["size", "ro"] + [QUEUE + name for name in (
        "logical_block_size", "physical_block_size", "discard_granularity", "discard_max_bytes", "write_zeroes_max_bytes",
        "max_hw_sectors_kb", "max_sectors_kb", "max_segments", "minimum_io_size", "optimal_io_size", "rotational", "fua", "write_cache",
        "nr_requests")]
    found = {os.path.basename(name): sysfs(name) for name in names}
    tree = json.loads(ok("lsblk", "-J", "-b", "-o", "NAME,SIZE,RO,TYPE,PHY-SEC,LOG-SEC,DISC-GRAN,DISC-MAX", DEV))
    found["lsblk"] = tree["blockdevices"][0]
    return found


def connect(*args, tool=NBD):
    ok(tool, "-c", DEV, *args)
    if tool != NBD:  # kiln-nbd is there when its command ends
        wait_for("the device", lambda: sysfs("size") != "0")


def disconnect(*images, tool=NBD):
    """Then the images are free and sound: at once, if it is ours."""
    assert ok(tool, "-d", DEV) == DEV + " disconnected\n"
    if tool != NBD:
        wait_for("its end", lambda: not processes(tool))  # the image is its own until then
    for image in images:
        ok("qemu-img", "check", "-q", image)
    assert not connected() and sysfs("size") == "0"


def processes(program):
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            found += [path] if read(path).decode().strip() == program else []
        except OSError:  # it has gone
            pass
    return found


def qcow2(name, size="64M", *args):
    ok("qemu-img", "create", "-q", "-f", "qcow2", *args, name, size)
    return name


def allocated(image):
    return sum(e["length"] for e in json.loads(ok("qemu-img", "map", "-f", "qcow2", "--output=json", image)) if e["data"])


def raw(image, snapshot=None):
    """The image's content, read by qemu-img."""
    ok("qemu-img", "convert", "-f", "qcow2", "-O", "raw", *(("-l", snapshot) if snapshot else ()), image, "content.raw")
    return read("content.raw")


def put(data, offset=0):
    """Through the page cache, and no flush."""
    fd = os.open(DEV, os.O_RDWR)
    try:
        assert os.pwrite(fd, data, offset) == len(data)
    except OSError:
        os.close(fd)
        raise
    return fd


def get(size, offset=0):
    """From the device, not from the kernel's cache."""
    ok("blockdev", "--flushbufs", DEV)
    with open(DEV, "rb") as f:
        f.seek(offset)
        return f.read(size)


def error_of(function, *args):
    try:
        function(*args)
    except OSError as why:
        return why.errno
    return 0


def server_pid(pid_file="pid"):
    return int(read(pid_file))


def alive(pid):
    return os.path.exists("/proc/%d" % pid)


# ---- kiln-nbd -c ----------------------------------------------------------------------------------------------------

@test
def the_device_looks_as_with_qemu_nbd():
    write("odd.raw", pattern(1001000))
    write("parts.raw", bytes(16 * MIB))
    ok("sfdisk", "-q", "parts.raw", stdin="label: gpt\n2048,8192\n10240,\n")
    qcow2("a.qcow2")
    ok("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", "a.qcow2")
    ok("qemu-img", "snapshot", "-c", "s", "a.qcow2")
    for args in (["-f", "qcow2", "a.qcow2"], ["-f", "qcow2", "-r", "a.qcow2"], ["-f", "qcow2", "-s", "-t", "-e", "3", "--discard=unmap", "--fork", "a.qcow2"],
                 ["-f", "qcow2", "-l", "s", "a.qcow2"], ["-f", "raw", "-o", "65536", "--cache=writethrough", "odd.raw"], ["-f", "raw", "parts.raw"]):
        seen = []
        for tool in ("qemu-nbd", NBD):
            connect(*args, tool=tool)
            if tool != NBD and "parts.raw" in args:
                wait_for("partitions", lambda: os.path.exists(DEV + "p2"))
            seen.append(looks())
            disconnect(tool=tool)
        assert seen[0] == seen[1], "%s:\n%s\n%s" % (args, seen[1], seen[0])
    assert len(seen[1]["lsblk"]["children"]) == 2


def tree_sums(where):
    return {os.path.basename(f): hashlib.sha256(read(f)).hexdigest() for f in glob.glob(where + "/*.bin")}


@test
def a_file_system():
    qcow2("a.qcow2", "96M")
    connect("-f", "qcow2", "--discard=unmap", "--detect-zeroes=unmap", "a.qcow2")
    ok("sfdisk", "-q", DEV, stdin="label: dos\n2048,\n")
    ok("mkfs.ext4", "-q", DEV + "p1")
    os.mkdir("m")
    ok("mount", DEV + "p1", "m")
    try:
        for i in range(24):
            write("m/%d.bin" % i, pattern(MIB + i * 1000, i))
        ok("sync", "-f", "m")
        full = allocated_now()
        for i in range(0, 24, 2):
            os.unlink("m/%d.bin" % i)
        ok("sync", "-f", "m")
        ok("fstrim", "m")
        ok("sync", DEV)  # that flushes it: only then the image's tables are written
        sums = tree_sums("m")
        assert len(sums) == 12
        assert allocated_now() < full - 10 * MIB, "fstrim freed %d bytes" % (full - allocated_now())
    finally:
        ok("umount", "m")
    disconnect("a.qcow2")
    connect("-r", "-f", "qcow2", "a.qcow2", tool="qemu-nbd")
    wait_for("the partition", lambda: os.path.exists(DEV + "p1"))
    ok("mount", "-o", "ro,noload", DEV + "p1", "m")
    again = tree_sums("m")
    ok("umount", "m")
    ok("fsck.ext4", "-f", "-n", DEV + "p1")
    disconnect(tool="qemu-nbd")
    assert again == sums


def allocated_now():
    """While it is served: qemu-img looks past the lock."""
    return sum(e["length"] for e in json.loads(ok("qemu-img", "map", "-U", "-f", "qcow2", "--output=json", "a.qcow2")) if e["data"])


@test
def what_was_not_flushed_is_written_out():
    data = [pattern(4 * MIB, seed) for seed in range(3)]
    qcow2("a.qcow2")
    connect("--pid-file", "pid", "-f", "qcow2", "a.qcow2")
    os.close(put(data[0]))
    disconnect("a.qcow2")
    assert raw("a.qcow2")[:4 * MIB] == data[0], "-d lost what was written"
    connect("--pid-file", "pid", "-f", "qcow2", "a.qcow2")
    fd = put(data[1])  # still open
    os.kill(server_pid(), signal.SIGTERM)
    wait_for("the end", lambda: not alive(server_pid()))
    os.close(fd)
    ok("qemu-img", "check", "-q", "a.qcow2")
    assert raw("a.qcow2")[:4 * MIB] == data[1], "SIGTERM lost what was written"
    # A file system that is still mounted is whole, too.
    connect("-f", "qcow2", "a.qcow2")
    ok("mkfs.ext4", "-q", DEV)
    os.mkdir("m")
    ok("mount", DEV, "m")
    write("m/file", data[2])
    assert ok(NBD, "-d", DEV) == DEV + " disconnected\n"
    # Who still uses the device would not notice another image.
    refused(NBD, "-c", DEV, "-f", "qcow2", "a.qcow2", text="still mounted")
    ok("umount", "m")
    write("content.raw", raw("a.qcow2"))
    ok("mount", "-o", "loop", "content.raw", "m")
    same = read("m/file") == data[2]
    ok("umount", "m")
    assert same, "-d lost what was written to a file system"
    connect("-f", "qcow2", "a.qcow2")
    disconnect("a.qcow2")


@test
def overlays_and_snapshots():
    qcow2("a.qcow2")
    for seed in (1, 2):
        connect("-f", "qcow2", "a.qcow2")
        os.close(put(pattern(MIB, seed)))
        disconnect("a.qcow2")
        ok("qemu-img", "snapshot", "-c", "s%d" % seed, "a.qcow2")
    before = read("a.qcow2")
    connect("-f", "qcow2", "-s", "a.qcow2")
    os.close(put(pattern(MIB, 3)))
    assert get(MIB) == pattern(MIB, 3)
    disconnect("a.qcow2")
    assert read("a.qcow2") == before
    for args, seed in ((["-l", "s1"], 1), (["-l", "s2"], 2), (["-r"], 2)):
        connect("-f", "qcow2", *args, "a.qcow2")
        assert sysfs("ro") == "1" and get(MIB) == pattern(MIB, seed)
        assert error_of(put, b"x" * 4096) in (1, 30), "a read-only device was written"
        disconnect("a.qcow2")
    assert read("a.qcow2") == before


@test
def zeros_and_discards():
    for mode, kept in (("off", True), ("on", False), ("unmap", False)):
        qcow2("a.qcow2")
        ok("qemu-io", "-f", "qcow2", "-c", "write -P 5 0 8M", "a.qcow2")
        connect("-f", "qcow2", "--discard=unmap", "--detect-zeroes=" + mode, "a.qcow2")
        ok("dd", "if=/dev/zero", "of=" + DEV, "bs=1M", "count=4", "oflag=direct", "status=none")
        disconnect("a.qcow2")
        assert (allocated("a.qcow2") == 8 * MIB) == kept, (mode, allocated("a.qcow2"))
        assert raw("a.qcow2")[:8 * MIB] == bytes(4 * MIB) + b"\5" * (4 * MIB)
    connect("-f", "qcow2", "--discard=unmap", "a.qcow2")
    ok("blkdiscard", "-o", "4M", "-l", "2M", DEV)
    ok("blkdiscard", "-z", "-o", "6M", "-l", "1M", DEV)
    disconnect("a.qcow2")
    assert allocated("a.qcow2") <= 2 * MIB
    assert raw("a.qcow2")[4 * MIB:8 * MIB] == bytes(3 * MIB) + b"\5" * MIB
    # The default is not to free anything.
    connect("-f", "qcow2", "a.qcow2")
    ok("blkdiscard", "-o", "7M", "-l", "1M", DEV)
    disconnect("a.qcow2")
    assert raw("a.qcow2")[7 * MIB:8 * MIB] == b"\5" * MIB


@test
def other_clients_beside_the_device():
    qcow2("a.qcow2")
    here = os.path.abspath("s")
    connect("-k", here, "-e", "2", "-t", "--pid-file", "pid", "-f", "qcow2", "a.qcow2")
    fd = put(pattern(MIB))
    os.fsync(fd)
    os.close(fd)
    ok("qemu-img", "convert", "-f", "raw", "-O", "raw", uri(here), "seen.raw")
    assert read("seen.raw")[:MIB] == pattern(MIB)
    pid = server_pid()
    disconnect("a.qcow2")
    assert not alive(pid) and not os.path.exists("s"), "a device that goes takes the server with it, -t or not"
    # In the foreground.
    process = serve(NBD, "-v", "-c", DEV, "-x", "some name", "-f", "qcow2", "a.qcow2", stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "NBD device %s is now connected to a.qcow2\n" % DEV
    assert get(MIB) == pattern(MIB)
    disconnect("a.qcow2")
    assert process.wait(LIMIT) == 0 and process.stderr.read() == ""


@test
def flushes_and_writes_through_reach_the_disk():
    write("a.raw", bytes(MIB))
    fails = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=a.raw,file.inject-error.0.event=none,"
             "file.inject-error.0.iotype=flush,file.inject-error.0.errno=5")
    connect("--image-opts", fails)
    fd = put(pattern(4096))
    assert error_of(os.fsync, fd) == 5, "no flush arrived"
    os.close(fd)
    ok("dd", "if=/dev/urandom", "of=" + DEV, "bs=4k", "count=1", "oflag=direct", "status=none")
    run(NBD, "-d", DEV)


# ---- nbd-client ----------------------------------------------------------------------------------------------------

def nbd_client(*args):
    """Only the ioctl and netlink forms' words differ: what fails says so by its status."""
    status, out, err = run("nbd-client", *args)
    assert status == 0, "nbd-client %s: %d: %s" % (" ".join(args), status, out + err)


def client_gone():
    ok("nbd-client", "-d", DEV)
    wait_for("the end of %s" % DEV, lambda: not connected() and sysfs("size") == "0")


@test
def nbd_client_sees_what_qemu_nbd_shows():
    write("a.raw", pattern(4 * MIB + 512))
    for args, client in (([], ["-b", "512"]), ([], ["-b", "4096"]), (["-r"], ["-b", "512"]), (["-x", "n"], ["-N", "n"]), ([], ["-R"]),
                         (["-e", "4"], ["-C", "2"])):
        seen = []
        for tool in ("qemu-nbd", NBD):
            here = os.path.abspath("s." + os.path.basename(tool))
            server = serve(tool, "-k", here, "-t", *args, "-f", "raw", "a.raw", path=here)
            nbd_client("-unix", here, DEV, *client)
            seen.append(looks())
            assert get(4 * MIB) == pattern(4 * MIB + 512)[:4 * MIB]
            client_gone()
            end(server)
            os.unlink(here)
        assert seen[0] == seen[1], "%s %s:\n%s\n%s" % (args, client, seen[1], seen[0])


@test
def nbd_client_works():
    qcow2("a.qcow2", "32M")
    here = os.path.abspath("s")
    ok("ip", "link", "set", "lo", "up")
    for where in ("unix", "tcp"):
        for block, connections in (("512", "1"), ("4096", "4")):
            if where == "unix":
                server = serve(NBD, "-k", here, "-t", "-e", "4", "--discard=unmap", "-f", "qcow2", "a.qcow2", path=here)
                nbd_client("-unix", here, DEV, "-b", block, "-C", connections)
            else:
                server = serve(NBD, "-b", "127.0.0.1", "-p", "10810", "-t", "-e", "4", "--discard=unmap", "-x", "disk", "-f", "qcow2", "a.qcow2")
                wait_for("the port", lambda: error_of(lambda: socket.create_connection(("127.0.0.1", 10810)).close()) == 0)
                nbd_client("127.0.0.1", "10810", DEV, "-N", "disk", "-b", block, "-C", connections)
            # Random writes, some to be on the disk when they end, verified; over all connections.
            ok("fio", "--name=j", "--filename=" + DEV, "--size=3M", "--bsrange=%s-64k" % block, "--rw=randwrite", "--ioengine=libaio", "--iodepth=16",
               "--direct=1", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--fsync=40", "--output=fio.out")
            ok("dd", "if=/dev/urandom", "of=" + DEV, "bs=64k", "count=8", "seek=128", "oflag=direct,dsync", "status=none")
            ok("blkdiscard", "-o", "16M", "-l", "4M", DEV)
            ok("blkdiscard", "-z", "-o", "24M", "-l", "64k", DEV)
            assert not any(get(4 * MIB, 16 * MIB))
            now = hashlib.sha256(get(32 * MIB)).hexdigest()
            client_gone()  # while nothing is under way
            server.terminate()
            assert server.wait(LIMIT) == 0
            ok("qemu-img", "check", "-q", "a.qcow2")
            assert hashlib.sha256(raw("a.qcow2")).hexdigest() == now


# ---- bad uses ------------------------------------------------------------------------------------------------------

@test
def bad_uses():
    qcow2("a.qcow2")
    qcow2("b.qcow2")
    image = ["-f", "qcow2", "a.qcow2"]
    write("file", b"")
    for args, text in ((["-c", "/dev/nbd99", *image], "modprobe nbd"), (["-d", "/dev/nbd99"], "modprobe nbd"),
                       (["-c", "/dev/null", *image], "is no NBD device"), (["-d", "/dev/null"], "is no NBD device"),
                       (["-c", "file", *image], "is no NBD device"), (["-d", "/tmp"], "is no NBD device"),
                       (["-c", DEV, "-f", "qcow2", "nothing"], "nothing"), (["-c", DEV], "Invalid number of arguments"),
                       (["-c", DEV, "-L"], "List mode is incompatible with per-device settings"),
                       (["-d", "-L", DEV], "List mode is incompatible with a file name"), (["-d"], "Invalid number of arguments"),
                       (["-c", DEV, "--object", "tls-creds-anon,id=t,endpoint=server", "--tls-creds", "t", *image],
                        "TLS is not supported with a host device"),
                       (["-c", DEV, "-e", "x", *image], "Invalid shared device number 'x'")):
        refused(NBD, *args, text=text)
        if "/dev/null" not in args:
            assert run("qemu-nbd", *args)[0] == 1, args
    assert not connected()
    # Nothing listens, which qemu-nbd does not say.
    status, _, err = run(NBD, "-c", DEV, "-p", "10811", "-b", "127.0.0.1", *image)
    assert status == 0 and "no effect" in err, err
    # A device in use stays in use.
    os.close(put(pattern(MIB)))
    for tool in (NBD, "qemu-nbd"):
        refused(tool, "-c", DEV, *image, text='Failed to get "write" lock')
        refused(tool, "-c", DEV, "-f", "qcow2", "b.qcow2", text="Failed to set NBD socket")
    assert get(MIB) == pattern(MIB)
    # The place of the word does not matter, and a device that is not connected is no error.
    assert ok(NBD, DEV, "-d") == DEV + " disconnected\n"
    disconnect("a.qcow2")
    # Others than root: first the file's permissions, then the kernel's.
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", NBD]
    os.chmod(".", 0o777)
    os.chmod("..", 0o755)
    os.chmod("a.qcow2", 0o666)
    mode = os.stat(DEV).st_mode
    try:
        for permission, text in ((0o600, "Permission denied; NBD devices are root's"), (0o666, "only root (CAP_SYS_ADMIN) may")):
            os.chmod(DEV, permission)
            refused(*nobody, "-c", DEV, *image, text=text)
            refused(*nobody, "-d", DEV, text=text)
    finally:
        os.chmod(DEV, mode)


@test
def a_server_that_is_killed():
    qcow2("a.qcow2")
    connect("--pid-file", "pid", "-f", "qcow2", "a.qcow2")
    ok("mkfs.ext4", "-q", DEV)
    os.mkdir("m")
    ok("mount", DEV, "m")
    write("m/kept", pattern(MIB))
    ok("sync", "-f", "m")
    writer = subprocess.Popen(["dd", "if=/dev/urandom", "of=m/more", "bs=64k", "oflag=direct"], stderr=subprocess.DEVNULL)
    wait_for("writes", lambda: os.path.exists("m/more") and os.path.getsize("m/more") > 2 * MIB)
    os.kill(server_pid(), signal.SIGKILL)
    assert writer.wait(LIMIT) == 1, "the writer did not see an error"
    ok("umount", "m")
    wait_for("the end of the device", lambda: not connected())
    status, out, err = run("qemu-img", "check", "a.qcow2")
    assert status in (0, 3), out + err  # 3: leaks, which a process that is killed may leave
    connect("-f", "qcow2", "a.qcow2")
    ok("mount", DEV, "m")
    same = read("m/kept") == pattern(MIB)
    ok("umount", "m")
    disconnect()
    assert same


@test
def a_server_that_does_not_answer():
    """-d waits for it as long as nobody minds."""
    qcow2("a.qcow2")
    server = serve(NBD, "-k", os.path.abspath("s"), "-f", "qcow2", "a.qcow2", path="s")
    nbd_client("-unix", os.path.abspath("s"), DEV)
    fd = os.open(DEV, os.O_RDWR)  # who opens it later, or closes it last, would be held up, too
    server.send_signal(signal.SIGSTOP)
    os.pwrite(fd, pattern(4096), 0)  # more than the socket holds would keep the kernel itself waiting
    process = subprocess.Popen([NBD, "-d", DEV], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = process.stderr.readline()  # after some seconds
    assert DEV in said and "^C disconnects it at once, and what was not written is lost" in said, said
    assert re.search(r"process \d+", said), said
    assert process.poll() is None and connected()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT)
    assert "what was written last may be lost" in err and out == DEV + " disconnected\n", out + err
    os.close(fd)
    wait_for("the device", lambda: not connected())
    server.send_signal(signal.SIGCONT)
    assert server.wait(LIMIT) == 0
    ok("qemu-img", "check", "-q", "a.qcow2")


@test
def a_server_that_takes_long_to_close():
    """-d says so; the lock by which it sees that is held by this process."""
    qcow2("a.qcow2")
    connect("-f", "qcow2", "a.qcow2")
    fd = os.open(DEV, os.O_RDWR)
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 1 << 48, 1, 0))  # F_OFD_SETLK
    process = subprocess.Popen([NBD, "-d", DEV], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    said = process.stderr.readline()
    assert "has not closed the image yet" in said and "kiln-nbd)" in said, said
    assert process.poll() is None
    os.close(fd)
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (0, DEV + " disconnected\n", ""), (out, err)


@test
def without_the_module():
    ok("rmmod", "nbd")
    try:
        qcow2("a.qcow2")
        for args in (["-c", DEV, "-f", "qcow2", "a.qcow2"], ["-d", DEV]):
            refused(NBD, *args, text="modprobe nbd")
            assert run("qemu-nbd", *args)[0] == 1
    finally:
        ok("modprobe", "nbd")


def tidy():
    """What a test that failed may have left."""
    stop_servers()
    subprocess.run("umount -l m 2>/dev/null; if [ -e %s/pid ]; then nbd-client -d %s; fi" % (DEV.replace("/dev", "/sys/block"), DEV), shell=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=LIMIT, check=False)


def prepare():
    """The machine's directories are empty, and only its end matters on the console."""
    os.makedirs("/run/lock", exist_ok=True)  # qemu-nbd's sockets
    subprocess.run(["dmesg", "-n", "1"], check=True)


if __name__ == "__main__":
    if not os.environ.get("NESTED"):
        sys.exit(outside())
    prepare()
    sys.exit(tap.main("nbdkernel.", tidy))
