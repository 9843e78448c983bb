# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of kiln-img share: running it beside qemu-img, and images."""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it
KILN = os.path.abspath(sys.argv[1])


def run(*args, tool=KILN, cwd=None, stdin=None):
    done = subprocess.run([tool, *args], cwd=cwd, capture_output=True, text=True, timeout=LIMIT, input=stdin)
    return done.returncode, done.stdout, done.stderr


def ok(*args, tool=KILN, cwd=None):
    status, out, err = run(*args, tool=tool, cwd=cwd)
    assert status == 0, "%s: status %d: %s" % (" ".join(args), status, out + err)
    return out


def qemu(*args, cwd=None):
    return ok(*args, tool="qemu-img", cwd=cwd)


def qemu_io(image, *commands, fmt="qcow2"):
    args = [word for command in commands for word in ("-c", command)]
    ok("-f", fmt, *args, image, tool="qemu-io")


def refused(*args, status=1, text=""):
    """Fails with this status and a message that begins with the tool's name and contains text."""
    got, out, err = run(*args)
    assert got == status, "%s: status %d, not %d: %s" % (" ".join(args), got, status, out + err)
    assert "kiln-img: " in err and text in err, "%s: %r lacks %r" % (" ".join(args), err, text)


class Twins:
    """Each command runs with both tools, in a directory each."""

    def __init__(self):
        self.dirs = {"qemu-img": tempfile.mkdtemp(dir="."), KILN: tempfile.mkdtemp(dir=".")}

    def both(self, *args, tool=None):
        return [run(*args, tool=tool or each, cwd=where) for each, where in self.dirs.items()]

    def prepare(self, function):
        for where in self.dirs.values():
            before = os.getcwd()
            os.chdir(where)
            function()
            os.chdir(before)

    def same(self, *args, clean=lambda text: text, stderr=True):
        theirs, ours = self.both(*args)
        what = " ".join(args)
        assert ours[0] == theirs[0], "%s: status %d, qemu-img's is %d (%s)" % (what, ours[0], theirs[0], ours[2])
        assert clean(ours[1]) == clean(theirs[1]), "%s: stdout\n%s\nqemu-img's\n%s" % (what, ours[1], theirs[1])
        if stderr:
            expected = clean(theirs[2].replace("qemu-img", "kiln-img"))
            said = re.sub(r"; there are: .*", "", ours[2])  # the way out, which qemu-img does not tell
            assert clean(said) == expected, "%s: stderr\n%s\nqemu-img's\n%s" % (what, ours[2], expected)
        return ours[1]

    def same_json(self, *args, without=()):
        theirs, ours = self.both(*args)
        assert ours[0] == theirs[0], "%s: status %d, not %d (%s)" % (" ".join(args), ours[0], theirs[0], ours[2])
        a, b = prune(json.loads(ours[1]), without), prune(json.loads(theirs[1]), without)
        assert a == b, "%s:\n%s\nqemu-img's\n%s" % (" ".join(args), ours[1], theirs[1])
        return a

    def equal(self, name, other=None, fmts=("qcow2", "qcow2")):
        a, b = (os.path.join(where, name) for where in self.dirs.values())
        qemu("compare", "-f", fmts[0], "-F", fmts[1], a, b)


def prune(value, without):
    if isinstance(value, dict):
        return {key: prune(item, without) for key, item in value.items() if key not in without}
    return [prune(item, without) for item in value] if isinstance(value, list) else value


def no_sizes(text):
    """How many blocks a file system gave is not the tool's doing."""
    return re.sub(r"disk size: .*", "disk size", text)


def log_entries(path):
    """What a blklogwrites node has recorded, in order: offset, data (None: a discard), whether it is a flush."""
    with open(path, "rb") as f:
        log = f.read()
    magic, version, entries, size = struct.unpack_from("<QQQI", log)
    assert (magic, version) == (0x6a736677736872, 1), (magic, version)
    at = size
    for _ in range(entries):
        sector, sectors, flags, _ = struct.unpack_from("<QQQQ", log, at)
        at += size
        length = 0 if flags & 4 else sectors * size
        yield sector * size, None if flags & 4 else log[at:at + length], bool(flags & 1)
        at += length


def write_recorded(tool, fmt, name, groups):
    """Writes and flushes of one life of an image, each group flushed; what of it reached the file."""
    with open("log", "wb"):
        pass
    image = ("driver=%s,discard=unmap,file.driver=blklogwrites,file.file.driver=file,file.file.filename=%s,file.log.driver=file,"
             "file.log.filename=log" % (fmt, name))
    words = []
    for number, places in enumerate(groups):
        for at, length in places:
            words += ["-c", "aio_write -q -P %d %d %d" % (number + 1, at, length)]
        words += ["-c", "aio_flush", "-c", "flush"]
    ok("--image-opts", "-t", "writeback", *words, image, tool=tool)
    return list(log_entries("log"))


def crc_of_byte(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
    return byte


CRC_TABLE = [crc_of_byte(byte) for byte in range(256)]


def crc32c(data):
    """Castagnoli's, of vhdx."""
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def with_sum(data):
    """A header or log entry of vhdx with its checksum."""
    data = data[:4] + bytes(4) + data[8:]
    return data[:4] + struct.pack("<I", crc32c(data)) + data[8:]


def random_commands(rand, size, step=512):
    """Forty commands of qemu-io that write to a disk of so many bytes; step: what offsets and lengths are multiples of."""
    commands = []
    for _ in range(20):
        length = min(rand.choice((512, 4096, 65536, 1 << 20, 3 << 20)) // step * step or step, size)
        at = rand.randrange(0, size - length + 1, step)
        what = rand.choice(("write -P %d", "aio_write -P %d", "write -f -P %d", "write -z"))
        what = what % rand.randrange(1, 255) if "%" in what else what
        commands.append("%s %d %d" % (what, at, length))
        commands.append(rand.choice(("aio_flush", "flush")) if commands[-1].startswith("write") else "aio_flush")
    return commands


def make_chain():
    qemu("create", "-q", "-f", "qcow2", "base.qcow2", "64M")
    qemu_io("base.qcow2", "write -P 1 0 1M", "write -P 3 4M 64k", "write -c -P 9 8M 64k")
    qemu("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "mid.qcow2")
    qemu_io("mid.qcow2", "write -P 5 128k 64k", "write -z 4M 64k")
    qemu("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "-o", "cluster_size=4k", "top.qcow2", "66M")
    qemu_io("top.qcow2", "write -P 7 132k 4k", "write -P 8 65M 64k")
    qemu("create", "-q", "-f", "raw", "r.raw", "10M")
    qemu_io("r.raw", "write -P 1 1M 64k", "write -P 2 5M 8k", fmt="raw")


SESPARSE_SECTORS = 3 << 15


def make_sesparse(name, grains, capacity=SESPARSE_SECTORS):
    """The extent of a seSparse image of VMware: for each grain of 4 KiB None, "unmapped", "zero", or a byte that fills it."""
    tables = (capacity + 8 * 4096 - 1) // (8 * 4096)
    gd, gts, data = 8, 16, 16 + 64 * (tables + 2)
    header = bytearray(512)
    struct.pack_into("<QQQQQQ", header, 0, 0xcafebabe, 0x0000000200000001, capacity, 8, 64, 0)
    struct.pack_into("<QQ", header, 80, 1, 1)
    struct.pack_into("<QQQQ", header, 128, gd, 8, gts, 64 * (tables + 2))
    struct.pack_into("<QQ", header, 192, data, 1 << 20)
    with open(name, "wb") as f:
        f.write(header)
        f.write(struct.pack("<QQ", 0xcafecafe, 0))
        count = 0
        used = sorted({number // 4096 for number in grains})
        for at, table in enumerate(used):  # not in their order, and not the first one
            f.seek(gd * 512 + 8 * table)
            f.write(struct.pack("<Q", 0x1000000000000000 | len(used) - at))
        for number, what in grains.items():
            entry = {None: 0, "unmapped": 1 << 60, "zero": 2 << 60}.get(what)
            if entry is None:
                entry = 3 << 60 | (count & 0xfff) << 48 | count >> 12
                f.seek(data * 512 + 4096 * count)
                f.write(bytes([what]) * 4096)
                count += 1
            f.seek((gts + 64 * (len(used) - used.index(number // 4096))) * 512 + 8 * (number % 4096))
            f.write(struct.pack("<Q", entry))
        f.seek(0, 2)
        f.truncate((f.tell() + 511) // 512 * 512)
