#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""blockdev-create: every driver and option, beside QEMU 7.2 where it is installed; what cannot be made, and what is left then; and
that the VM that made an image can use it. (States, events and commands of jobs: test-jobs.py.)

    test-create.py KILN-SYSTEM"""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from oracle import QEMU, version_is_7_2  # noqa: E402
from qmpclient import Machine, run_job  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
MIB = 1 << 20
SECRET = ("-object", "secret,id=s,data=pass")
LUKS = {"key-secret": "s", "iter-time": 10}
ENCRYPT = {"encrypt": {"format": "luks", **LUKS}}
DATA = {"data-file": {"driver": "file", "filename": "data.img"}}


def extents(*names):
    return {"extents": [{"driver": "file", "filename": name} for name in names]}


# (driver, options beside file and size)
GOOD = [
    *(("qcow2", {"size": 3 * MIB, **more}) for more in (
        {}, {"version": "v2"}, {"version": "v3", "cluster-size": 4096}, {"cluster-size": 2 * MIB}, {"cluster-size": 512, "refcount-bits": 64},
        {"refcount-bits": 1}, {"lazy-refcounts": True}, {"compression-type": "zstd"}, {"extended-l2": True},
        {"backing-file": "base.raw", "backing-fmt": "raw"}, {"preallocation": "off"},
        *({"preallocation": mode} for mode in ("metadata", "falloc", "full")),
        {"preallocation": "metadata", "cluster-size": 4096, "size": 5 * MIB + 512}, {"preallocation": "metadata", "version": "v2"},
        {"preallocation": "metadata", "extended-l2": True}, {"preallocation": "metadata", "refcount-bits": 64},
        {"preallocation": "metadata", "extended-l2": True, "backing-file": "base.raw", "backing-fmt": "raw"},
        {"preallocation": "metadata", "size": 0}, {"preallocation": "metadata", "size": 1 << 30},
        DATA, {**DATA, "data-file-raw": True}, {**DATA, "preallocation": "metadata"}, {**DATA, "preallocation": "full"},
        {**DATA, "data-file-raw": True, "preallocation": "falloc", "size": 2 * MIB}, {**DATA, "extended-l2": True},
        ENCRYPT, {**ENCRYPT, "version": "v2"}, {**ENCRYPT, "cluster-size": 4096}, {**ENCRYPT, **DATA},
        {"encrypt": {**ENCRYPT["encrypt"], "cipher-alg": "serpent-128", "cipher-mode": "cbc", "ivgen-alg": "essiv", "ivgen-hash-alg": "sha256",
                     "hash-alg": "sha512"}})),
    *(("luks", {"size": 3 * MIB, **LUKS, **more}) for more in (
        {}, {"cipher-alg": "aes-128"}, {"cipher-alg": "twofish-256", "cipher-mode": "cbc", "ivgen-alg": "essiv", "ivgen-hash-alg": "sha256"},
        {"cipher-mode": "ecb"}, {"cipher-alg": "cast5-128", "cipher-mode": "cbc", "ivgen-alg": "plain"}, {"hash-alg": "sha1"},
        *({"preallocation": mode} for mode in ("off", "metadata", "falloc", "full")))),
    *(("vdi", {"size": 3 * MIB, **more}) for more in ({}, {"size": 0}, {"size": MIB + 512}, {"preallocation": "off"}, {"preallocation": "metadata"})),
    *(("vhdx", {"size": 3 * MIB, **more}) for more in (
        {}, {"log-size": 3 * MIB}, {"block-size": 2 * MIB}, {"subformat": "dynamic", "block-state-zero": False}, {"subformat": "fixed"},
        {"subformat": "fixed", "block-state-zero": False}, {"size": 200 << 30})),
    *(("vpc", {"size": 3 * MIB, **more}) for more in (
        {"force-size": True}, {"size": 3133440}, {"size": 3133440, "subformat": "fixed"}, {"subformat": "fixed", "force-size": True},
        {"subformat": "dynamic", "force-size": True, "size": 200 << 30})),
    *(("vmdk", {"size": 3 * MIB, **more}) for more in (
        {}, {"subformat": "monolithicSparse", "zeroed-grain": True}, {"subformat": "streamOptimized"}, {"adapter-type": "lsilogic", "hwversion": "6"},
        {"toolsversion": "77"}, {"adapter-type": "buslogic"}, {"adapter-type": "legacyESX"}, {"backing-file": "base.vmdk"},
        {"subformat": "monolithicFlat", **extents("e0.img")}, {"subformat": "twoGbMaxExtentSparse", "size": 3 << 30, **extents("e0.img", "e1.img")},
        {"subformat": "twoGbMaxExtentFlat", "size": 3 << 30, **extents("e0.img", "e1.img")})),
]
# What another hand makes otherwise each time.
PASSING = ("uuid", "iters", "master-key-iters", "cid", "parent-cid", "actual-size", "filename", "full-backing-filename")


def steady(value):
    """value without what is PASSING."""
    if isinstance(value, dict):
        return {key: steady(part) for key, part in value.items() if key not in PASSING}
    return [steady(part) for part in value] if isinstance(value, list) else value


def tool(*args, codes=(0,)):
    done = subprocess.run(["qemu-img", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    check(done.returncode in codes, (args, done.stderr))
    return done.stdout


def files(size=0):
    """Empty files, anew."""
    for name in ("f.img", "data.img", "e0.img", "e1.img"):
        if os.path.exists(name):
            os.unlink(name)
        with open(name, "wb") as f:
            f.truncate(size)


def facts(driver, size, encrypted):
    """What an image is like: info, check, how long its files are, and whether they have room for all of the disk."""
    secret = ("--object", SECRET[1], "--image-opts", "driver=qcow2,encrypt.key-secret=s,file.filename=f.img")
    told = {"info": steady(json.loads(tool("info", "-f", driver, "--output=json", "f.img")))}
    if driver not in ("luks", "vpc"):
        told["check"] = steady(json.loads(tool("check", "--output=json", *(secret if encrypted else ("-f", driver, "f.img")))))
    for name in ("f.img", "data.img", "e0.img", "e1.img"):
        st = os.stat(name)
        told[name] = st.st_size // 512, st.st_blocks * 512 >= size
    if driver in ("qcow2", "vmdk"):     # QEMU's tables end with the last entry; a content id has eight digits or fewer
        told["f.img"] = told["f.img"][1]
    if driver == "vmdk":
        with open("f.img", "rb") as f:
            text = f.read(12000)
        found = re.search(rb"# Disk DescriptorFile\n.*toolsVersion = [^\n]*\n", text, re.DOTALL)
        told["descriptor"] = re.sub(r"(?i)\b(CID|parentCID)=(?!ffffffff)[0-9a-f]+", "", found.group().decode())
    return told


def tell(binary, accel):
    """The facts of GOOD's images."""
    tool("create", "-q", "-f", "vmdk", "base.vmdk", "3M")
    with open("base.raw", "wb") as f:
        f.truncate(3 * MIB)
    told = []
    with Machine(binary, "-S", *SECRET, accel=accel) as m:
        c = m.connect()
        for number, (driver, options) in enumerate(GOOD):
            files()
            while True:
                _, error = run_job(c, "j%d" % number, {"driver": driver, "file": {"driver": "file", "filename": "f.img"}, **options})
                if not error or "accurate CPU usage" not in error:  # QEMU's measurement fails now and then
                    break
            same((driver, options, error), (driver, options, None))
            told.append(facts(driver, options["size"], "encrypt" in options))
        same(c.do("query-block-jobs"), [])
    return told


@test("images of each driver and option are those of QEMU")
def _():
    mine = tell(BINARY, "qtest")
    if version_is_7_2():
        differ = [(case, key, value, other[key]) for case, one, other in zip(GOOD, mine, tell(QEMU, "tcg"))
                  for key, value in one.items() if value != other[key]]
        check(not differ, "\n".join(map(repr, differ)))


# (options beside file, in the error). The file is as it was: what cannot be is found before anything is written.
Q = {"driver": "qcow2", "size": MIB}
L = {"driver": "luks", "size": MIB, **LUKS}
D, X, P, V = ({"driver": name, "size": MIB} for name in ("vdi", "vhdx", "vpc", "vmdk"))
TOO_LARGE = (1 << 63) - 512


def encrypt(**more):
    return {"encrypt": {"format": "luks", **{key.replace("_", "-"): value for key, value in more.items()}}}


BAD = [
    *((options, text) for base in (Q, L, D, X, P, V) for options, text in (
        ({**base, "file": "none"}, "Cannot find device='none' nor node-name='none'"), ({**base, "file": "used"}, "Permission conflict on node 'used'"),
        ({**base, "file": {"driver": "file", "filename": "/nowhere/a"}}, "Could not open '/nowhere/a'"),
        ({**base, "size": 1 << 63}, "Image size must be at most"), ({**base, "size": TOO_LARGE}, ("too large", "too many", "max", "more tables")))),
    ({**Q, "size": 77}, "multiple of 512"), ({**Q, "data-file": "none"}, "Cannot find"), ({**Q, "data-file": "f"}, "Permission conflict on node 'f'"),
    ({**Q, "data-file": "used"}, "Permission conflict on node 'used'"), ({**Q, "data-file": "null"}, "names its external data file"),
    ({**Q, "data-file-raw": True}, "data-file-raw requires data-file"), ({**Q, "data-file": "d", "version": "v2"}, "compatibility level 1.1"),
    ({**Q, "data-file": "d", "data-file-raw": True, "backing-file": "b", "backing-fmt": "raw"}, "cannot be used at the same time"),
    ({**Q, "data-file": "d", "data-file-raw": True, **encrypt(key_secret="s")}, "not readable as a raw image"),
    ({**Q, "extended-l2": True, "cluster-size": 4096}, "Extended L2"), ({**Q, "extended-l2": True, "version": "v2"}, "Extended L2"),
    ({**Q, "lazy-refcounts": True, "version": "v2"}, "Lazy refcounts"), ({**Q, "compression-type": "zstd", "version": "v2"}, "compatibility level 1.1"),
    ({**Q, "cluster-size": 256}, "Cluster size"), ({**Q, "cluster-size": 4 * MIB}, "Cluster size"), ({**Q, "refcount-bits": 128}, "Refcount width"),
    ({**Q, "refcount-bits": -1}, "refcount_bits"), ({**Q, "backing-fmt": "raw"}, "without backing file"),
    ({**Q, "backing-file": "b"}, "without backing format"),
    ({**Q, "backing-file": "b", "backing-fmt": "raw", "preallocation": "metadata"}, "extended_l2 is on"),
    ({**Q, **encrypt()}, "Parameter 'encrypt.key-secret' is required"), ({**Q, **encrypt(key_secret="none")}, "No secret with id 'none'"),
    ({**Q, **encrypt(key_secret="s", cipher_alg="des")}, "'des'"), ({**Q, **encrypt(key_secret="s", iter_time=-1)}, "encrypt.iter-time"),
    ({**L, "key-secret": "none"}, "No secret with id 'none'"), ({"driver": "luks", "size": MIB}, "Parameter 'key-secret' is required"),
    ({**L, "cipher-alg": "3des"}, "'3des'"), ({**L, "cipher-alg": "cast5-128"}, "xts"), ({**L, "ivgen-hash-alg": "sha1"}, "ivgen-hash-alg"),
    ({**L, "iter-time": -1}, "iter-time"), *(({**D, "preallocation": mode}, "'%s' not supported for vdi" % mode) for mode in ("falloc", "full")),
    ({**X, "log-size": 77}, "Log size"), ({**X, "log-size": 4 << 30}, "Log size"), ({**X, "block-size": 77}, "Block size"),
    ({**X, "block-size": 3 * MIB}, "power of two"), ({**X, "block-size": 512 * MIB}, "must not exceed"), ({**X, "size": 0}, "of no bytes"),
    (P, "cannot be represented in CHS geometry: the next one that can is 1079296 bytes, or take force-size"),
    ({**P, "size": 77, "force-size": True}, "CHS geometry"), ({**P, "size": 3 << 40, "force-size": True}, "too large"),
    ({**V, "size": 77}, "multiple of 512"), ({**V, "extents": ["d"]}, "unused extents"), ({**V, "subformat": "monolithicFlat"}, "Extent [0] not specified"),
    ({**V, "subformat": "monolithicFlat", "extents": ["d", "e"]}, "unused extents"),
    ({**V, "subformat": "twoGbMaxExtentFlat", "size": 3 << 30, "extents": ["d"]}, "Extent [1] not specified"),
    ({**V, "subformat": "twoGbMaxExtentFlat", "size": 3 << 30, "extents": ["d", "d"]}, "Permission conflict on node 'd'"),
    ({**V, "subformat": "monolithicFlat", "extents": ["f"]}, "Permission conflict on node 'f'"),
    ({**V, "subformat": "monolithicFlat", "extents": ["null"]}, "Extent [0], '', is no file beside"),
    ({**V, "subformat": "monolithicFlat", "extents": ["far"]}, "is no file beside 'f.img'"),
    ({**V, "subformat": "monolithicFlat", "extents": ["d"], "backing-file": "b"}, "Flat image can't have backing file"),
    ({**V, "subformat": "monolithicFlat", "extents": ["d"], "zeroed-grain": True}, "zeroed grain"), ({**V, "file": "null"}, "knows its own file's name"),
    ({**V, "backing-file": "nowhere.vmdk"}, "nowhere.vmdk"), ({**V, "backing-file": "f.img"}, "f.img"), ({**V, "hwversion": 'a"b'}, "hwversion"),
    ({**V, "toolsversion": "a\nb"}, "toolsversion"),
]
# Refused before there is a job.
REFUSED = [
    ({**Q, "driver": "parallels"}, "does not accept value 'parallels'"), ({**Q, "size": -1}, "size"), ({"driver": "qcow2", "file": "f"}, "'options.size' is missing"),
    ({**Q, "encrypt": {"format": "qcow"}}, "'options.encrypt.format' does not accept value 'qcow'"), ({**D, "cluster-size": 1}, "'options.cluster-size'"),
    ({**Q, "preallocation": "x"}, "'x'"), ({**V, "subformat": "x"}, "'x'"), ({**V, "compat6": True}, "compat6"), ({**P, "subformat": "x"}, "'x'"),
]


@test("what cannot be made is the job's error, and the file is as it was")
def _():
    files(MIB)
    os.mkdir("sub")
    content = os.urandom(4096)
    for name in ("f.img", "data.img"):
        with open(name, "r+b") as f:
            f.write(content)
    for name in ("used.img", "sub/far.img"):
        with open(name, "wb") as f:
            f.truncate(MIB)
    nodes = [("f", "f.img"), ("d", "data.img"), ("e", "e0.img"), ("used", "used.img"), ("far", "sub/far.img")]
    with Machine(BINARY, "-S", *SECRET, "-blockdev", "null-co,node-name=null,size=1048576", "-device", "virtio-blk-pci,drive=used",
                 *(arg for node in nodes for arg in ("-blockdev", "driver=file,node-name=%s,filename=%s" % node))) as m:
        c = m.connect()
        for options, text in BAD:
            _, error = run_job(c, "j", {"file": "f", **options})
            check(error and any(t in error for t in ((text,) if isinstance(text, str) else text)), "%r: %r" % (options, error))
            for name in ("f.img", "data.img"):
                with open(name, "rb") as f:
                    check(f.read() == content + bytes(MIB - 4096), "%r: %s has changed" % (options, name))
        for options, text in REFUSED:
            said = c.command("blockdev-create", **{"job-id": "j", "options": {"file": "f", **options}})
            check(text in said.get("error", {"desc": ""})["desc"], "%r: %r" % (options, said))
        same(c.do("query-jobs"), [])


# A sector that the image has, in which no write succeeds. (Headers are written last, or first as nothing.)
FULL = [({**Q, "preallocation": "full"}, 1500), ({**Q, "preallocation": "metadata"}, 256), ({**Q, **ENCRYPT}, 600), (L, 9), ({**L, "preallocation": "full"}, 5000),
        (D, 1), (X, 4096), ({**P, "force-size": True}, 3), ({**P, "force-size": True, "subformat": "fixed"}, 2048), (V, 21), (V, 1)]


@test("no room in the middle: the job says so, no image is there, and the next one succeeds")
def _():
    for options, sector in FULL:
        files()
        tool("create", "-q", "-f", "qcow2", "f.img", "5M")      # what was there
        with Machine(BINARY, "-S", *SECRET, "-blockdev", json.dumps({
                "driver": "blkdebug", "node-name": "f", "image": {"driver": "file", "filename": "f.img"},
                "inject-error": [{"event": "none", "iotype": "write", "errno": 28, "once": True, "sector": sector}]})) as m:
            c = m.connect()
            _, error = run_job(c, "j", {"file": "f", **options})
            check(error and "No space left" in error, (options, error))
            told = json.loads(tool("info", "-U", "--output=json", "f.img"))
            check(told["format"] == "raw", (options, told))
            same(run_job(c, "j", {"file": "f", **options})[1], None)
        told = json.loads(tool("info", "--output=json", "f.img"))
        same(told["format"], options["driver"] if options.get("subformat") != "fixed" else "raw")


@test("an image that a VM has made serves it as a disk")
def _():
    kinds = [(Q, {}), ({**Q, **ENCRYPT}, {"encrypt": {"format": "luks", "key-secret": "s"}}), ({**Q, "preallocation": "metadata"}, {}),
             ({**Q, "data-file": "d", "data-file-raw": True}, {"data-file": "d"}), ({**Q, "extended-l2": True, "compression-type": "zstd"}, {}),
             ({**Q, **ENCRYPT, "preallocation": "falloc"}, {"encrypt": {"format": "luks", "key-secret": "s"}}), (L, {"key-secret": "s"}),
             ({**L, "preallocation": "full"}, {"key-secret": "s"}), (D, {}), ({**D, "preallocation": "metadata"}, {}), (X, {}), ({**X, "subformat": "fixed"}, {}),
             ({**P, "force-size": True}, {}), ({**P, "force-size": True, "subformat": "fixed"}, {}), (V, {}), ({**V, "subformat": "monolithicFlat", "extents": ["d"]}, {})]
    with Machine(BINARY, "-S", *SECRET, "-device", "virtio-scsi-pci,id=scsi") as m:
        c = m.connect()
        for number, (options, opening) in enumerate(kinds):
            driver = options["driver"]
            for node, name in (("f", "f%d.img" % number), ("d", "d%d.img" % number)):
                same(run_job(c, "j", {"driver": "file", "filename": name, "size": 0})[1], None)
                c.do("blockdev-add", **{"driver": "file", "node-name": node, "filename": name})
            same(run_job(c, "j", {"file": "f", **options})[1], None)
            c.do("blockdev-add", **{"driver": driver, "node-name": "disk", "file": "f", **opening})
            c.do("device_add", driver="scsi-hd", drive="disk", id="unit", bus="scsi.0")
            for command in ("write -P 7 64k 128k", "read -P 7 64k 128k", "read -P 0 192k 832k", "read -P 0 0 64k", "flush"):
                if driver == "luks" and "-P 0" in command:
                    continue    # noise
                said = c.do("human-monitor-command", **{"command-line": "qemu-io disk \"%s\"" % command})
                check("failed" not in said and "error" not in said.lower() and "No such" not in said, (options, command, said))
            c.do("device_del", id="unit")
            c.do("system_reset")
            while c.command("blockdev-del", **{"node-name": "disk"}).get("error"):
                c.do("query-status")
            for node in ("f", "d"):
                c.do("blockdev-del", **{"node-name": node})
    for number, (options, opening) in enumerate(kinds):
        keys = ",".join("encrypt.key-secret=s" if "encrypt" in opening else key + "=s" for key in opening if key in ("encrypt", "key-secret"))
        said = subprocess.run(["qemu-io", "--object", "secret,id=s,data=pass", "--image-opts", "-r", "-c", "read -P 7 64k 128k",
                               "driver=%s,file.filename=f%d.img%s" % (options["driver"], number, keys and "," + keys)],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        check(said.returncode == 0 and b"ailed" not in said.stdout, (options, said.stdout))


@test("what a node held does not show in its new image; an external data file keeps it")
def _():
    for options in ({**Q, "preallocation": "metadata"}, {**D, "preallocation": "metadata"}, {**X, "subformat": "fixed", "block-state-zero": False},
                    {**P, "force-size": True, "subformat": "fixed"}, {**V, "subformat": "monolithicFlat", "extents": ["d"]}, {**P, "force-size": True}, V, X):
        for name in ("f.img", "d.img"):
            with open(name, "wb") as f:
                f.write(b"\x55" * (12 * MIB))
        with Machine(BINARY, "-S", "-blockdev", "driver=file,node-name=f,filename=f.img", "-blockdev", "driver=file,node-name=d,filename=d.img") as m:
            same(run_job(m.connect(), "j", {"file": "f", **options})[1], None)
        said = subprocess.run(["qemu-io", "-r", "-f", options["driver"], "-c", "read -P 0 0 1M", "f.img"], stdout=subprocess.PIPE, check=True).stdout
        check(b"Pattern verification failed" not in said and b"read 1048576/1048576" in said, (options, said))
    for raw in (True, False):
        with open("d.img", "wb") as f:
            f.write(b"\x55" * MIB)
        with Machine(BINARY, "-S", "-blockdev", "driver=file,node-name=f,filename=f.img", "-blockdev", "driver=file,node-name=d,filename=d.img") as m:
            same(run_job(m.connect(), "j", {**Q, "file": "f", "data-file": "d", "data-file-raw": raw, "size": 2 * MIB})[1], None)
        with open("d.img", "rb") as f:
            same(f.read() == b"\x55" * MIB + bytes(MIB), True)
        said = subprocess.run(["qemu-io", "-r", "-f", "qcow2", "-c", "read -P %d 0 1M" % (raw and 0x55), "f.img"], stdout=subprocess.PIPE, check=True).stdout
        check(b"Pattern verification failed" not in said, (raw, said))


@test("an image in another directory names its data file so that it is found")
def _():
    os.mkdir("there")
    for name in ("there/f.img", "data.img"):
        with open(name, "wb"):
            pass
    with Machine(BINARY, "-S", "-blockdev", "driver=file,node-name=f,filename=there/f.img", "-blockdev", "driver=file,node-name=d,filename=data.img") as m:
        same(run_job(m.connect(), "j", {**Q, "file": "f", "data-file": "d"})[1], None)
    same(json.loads(tool("info", "--output=json", "there/f.img"))["format-specific"]["data"]["data-file"], os.path.abspath("data.img"))


@test("the machine runs while an image is encrypted and filled; a cancelled job fails, and its node is free")
def _():
    for options in ({**L, "iter-time": 2000}, {**Q, "encrypt": {**ENCRYPT["encrypt"], "iter-time": 2000}}, {**Q, "preallocation": "full"}, X):
        files()
        slow = options.get("preallocation") == "full" or options is X
        with Machine(BINARY, "-S", *SECRET, "-object", "throttle-group,id=g,x-iops-total=3", "-blockdev", "driver=file,node-name=file,filename=f.img",
                     "-blockdev", "driver=throttle,node-name=f,file=file,throttle-group=g" if slow else "driver=raw,node-name=f,file=file") as m:
            c = m.connect()
            c.do("blockdev-create", **{"job-id": "j", "options": {"file": "f", **options}})
            same(c.do("query-block-jobs"), [])
            same([(j["status"], "error" in j) for j in c.do("query-jobs")], [("running", False)])
            check("in use" in c.command("blockdev-del", **{"node-name": "f"})["error"]["desc"], options)
            c.do("job-cancel", id="j")
            while c.do("query-jobs")[0]["status"] != "concluded":
                c.wait("JOB_STATUS_CHANGE")
            check("cancel" in c.do("query-jobs")[0]["error"].lower(), options)
            c.do("job-dismiss", id="j")
            c.do("blockdev-del", **{"node-name": "f"})


@test("files: preallocation, wishes to the file system, and what cannot be")
def _():
    with open("used.raw", "wb") as f:
        f.write(b"\x55" * MIB)
    with Machine(BINARY, "-S", "-blockdev", "driver=file,node-name=used,filename=used.raw", "-device", "virtio-blk-pci,drive=used") as m:
        c = m.connect()
        file = lambda **more: run_job(c, "j", {"driver": "file", "size": MIB, "filename": "a.raw", **{k.replace("_", "-"): v for k, v in more.items()}})[1]
        for more in ({}, {"preallocation": "off"}, {"nocow": True}, {"nocow": False, "extent_size_hint": 65536}, {"extent_size_hint": 0}):
            same((more, file(**more), os.stat("a.raw").st_size, os.stat("a.raw").st_blocks), (more, None, MIB, 0))
        for mode in ("falloc", "full"):
            same((file(preallocation=mode), os.stat("a.raw").st_size, os.stat("a.raw").st_blocks * 512 >= MIB), (None, MIB, True))
        same((file(size=777), os.stat("a.raw").st_size), (None, 1024))
        for more, text in (({"preallocation": "metadata"}, "Unsupported preallocation mode"), ({"extent_size_hint": 1 << 32}, "Extent size hint is too large"),
                           ({"size": 1 << 63}, "Image size must be at most"), ({"size": 1 << 60, "preallocation": "falloc"}, "Could not preallocate"),
                           ({"filename": "/nowhere/a"}, "Could not create '/nowhere/a'"), ({"filename": "used.raw"}, "Failed to get")):
            error = file(**more)
            check(error and text in error, (more, error))
        with open("used.raw", "rb") as f:
            same(f.read() == b"\x55" * MIB, True)


sys.exit(suite.run())
