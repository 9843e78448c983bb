#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""HMP: memory, ports, values, files, objects and devices; answers equal QEMU's where QEMU 7.2 is installed.

    test-hmp-memory.py KILN-SYSTEM"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from oracle import QEMU, answers, version_is_7_2  # noqa: E402
from qmpclient import Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test
PREFIX = re.compile(r"^(?!Error)('memsave' has failed|(info )?[a-z0-9_|-]+): ")
NUMA = ["-smp", "2", "-m", "256", "-object", "memory-backend-ram,id=r0,size=128M,host-nodes=0,policy=bind",
        "-object", "memory-backend-memfd,id=r1,size=128M,prealloc=on", "-numa", "node,memdev=r0,cpus=0",
        "-numa", "node,memdev=r1,cpus=1"]


def compare(lines, *args):
    """Kiln's answers, compared with QEMU's if it is there."""
    ours = answers(BINARY, "qtest", lines, *args)
    if version_is_7_2():
        for line, own, theirs in zip(lines, ours, answers(QEMU, "tcg", lines, *args)):
            # QEMU does not always begin a refusal with the command's name.
            said, _, way_out = PREFIX.sub("", own).partition("; ")
            theirs = PREFIX.sub("", theirs)
            # Kiln's refusals go on with a way out.
            same(said + "\n" if way_out and own.startswith("Error: ") else PREFIX.sub("", own), theirs, line)
    return ours


@test("x and xp: formats, sizes, lines, what is kept")
def _():
    ours = compare([
        "x/4xw 0xffff0", "xp/20xb 0xffff0", "xp/3xg 0xffff0", "xp/2 0xffff0", "xp/10c 0xffff0", "xp/20cb 0xffff0", "xp/4dh 0xffff0",
        "xp/4uw 0xffff0", "xp/4ow 0xffff0", "xp/2oh 0xffff0", "xp/2ob 0xffff0", "xp/2og 0xffff0", "xp/6dg 0xffe00",
        "xp/8xh 0xffff5", "xp/0xw 0", "xp/1xb 0xffff0", "xp 0xffff0", "xp/xb 0xfffffffff0", "x/2xw $eip", "xp/2xw", "xp/q 0",
        "xp /4xb 0xffff0", "xp/xw 0xffff0 1", "x"])
    check(ours[0].startswith("00000000000ffff0: 0x"), ours[0])
    check("Cannot access memory" in ours[17], ours[17])


# Long and short instructions, prefixes, and bytes that are none.
CODE = bytes.fromhex("66c7063412785634120f0b0fff00f30f1efa48b8112233445566778866676ec78400112233445566778899aaffffd6c8f10f0f0f0f82c00166666690")


@test("x/i and xp/i: machine code, by a module")
def _():
    image = bytearray(b"\x90" * 65536)
    image[0xe000:0xe000 + len(CODE)] = CODE
    image[0xfff0:0xfff3] = b"\xe9\x0d\xe0"
    with open("bios.bin", "wb") as f:
        f.write(image)
    lines = ["x/20i 0xfe000", "xp/2i 0xfe00f", "xp/3i 0xfffffffff0", "x/0i 0xffff0", "x/2 0xffff0", "x/2xw 0xffff0", "xp/2iw 0xffff0"]
    ours = answers(BINARY, "qtest", lines, "-bios", "bios.bin")
    if "built without" in ours[0]:
        check("libcapstone" in ours[0] and ours[4].startswith("00000000000ffff0: 0x"), ours)
        return
    check(ours[0].startswith("0x000fe000:  66 c7 06 34 12 78 56 34  movl     $0x12345678, 0x1234\n0x000fe008:  12\n"), ours[0])
    same(ours[2], "0xfffffffff0: unable to read memory\n")
    if version_is_7_2():
        for line, own, theirs in zip(lines, ours, answers(QEMU, "tcg", lines, "-bios", "bios.bin")):
            same(own, theirs, line)
    os.environ["KILN_MODULE_DIR"] = os.getcwd()
    missing = answers(BINARY, "qtest", ["x/4i 0xffff0", "x 0xffff0"])
    del os.environ["KILN_MODULE_DIR"]
    if not missing[0].startswith("0x000ffff0:"):  # all is linked in
        check("'disassembler' needs the module 'capstone'" in missing[0] and os.getcwd() in missing[0], missing[0])
        check(missing[1].startswith("00000000000ffff0: 0x"), missing[1])


@test("print: expressions and registers")
def _():
    ours = compare([
        "p $eip", "p $pc", "p $cs", "p $eflags", "p $r15", "p $sp", "p $fp", "p -$eip", "p/x $eip*2", "p $foo", "p $rax", "p",
        "p/c 65", "p/c 10", "p/c 39", "p/c 200", "p/o 65", "p/d -1", "p -1", "p/x -1", "p/u -1", "p/4x 5", "p/x 0x1ffffffff",
        "p/x 018", "p/s 1", "p (1+2)*3", "p/d 7%4", "p 1/0", "p ~0"])
    same(ours[:3], ["0xfff0\n", "0xfffffff0\n", "0xf000\n"])


@test("i and o: ports")
def _():
    said = compare(["o/b 0x70 0x0f", "o/b 0x71 0x5a", "o/b 0x70 0x0f", "i/xb 0x71", "i/xb 0x10071", "o/xw 0xcf8 0x80000000", "i/xw 0xcfc",
                    "i/xh 0xcfc", "i/xg 0xcfc", "o/z 1 1", "o 0x70", "i 1 2", "i", "o/b 0x70 1 2"])
    same(said[3], "portb[0x0071] = 0x5a\n")
    same(said[6], "portl[0x0cfc] = 0x12378086\n")


@test("gpa2hva, gva2gpa")
def _():
    compare(["gpa2hva 0xc0000000", "gpa2hva 0xfee00000", "gva2gpa 0x1000", "gpa2hva", "gva2gpa"])
    for line, name in (("gpa2hva 0x1000", "pc.ram"), ("gpa2hva 0xfffff", "pc.bios")):
        said = answers(BINARY, "qtest", [line])[0]
        match = re.fullmatch(r"Host virtual address for (0x[0-9a-f]+) \((\S+)\) is (0x[0-9a-f]+)\n", said)
        check(match and match[1] == line.split()[1] and match[2] == name and int(match[3], 16) % 4096 == int(match[1], 16) % 4096, said)


@test("memsave, pmemsave, dump-guest-memory")
def _():
    lines = ['memsave 0xffff0 16 "virtual"', 'pmemsave 0xffff0 16 physical', 'pmemsave 0 16 "/nosuch/file"', "memsave 0xffff0 16",
             'memsave 0xffff0 0x100000000 "x"', "dump-guest-memory core", "info dump", "dump-guest-memory -z kdump",
             "dump-guest-memory core 0", "dump-guest-memory part 0 4096", "dump-guest-memory /nosuch/file"]
    ours = compare(lines)
    with open("virtual", "rb") as a, open("physical", "rb") as b:
        saved = a.read()
        check(len(saved) == 16 and saved == b.read() and saved[0] == 0xea, saved)
    ours = answers(BINARY, "qtest", ["info dump", *lines])
    same(ours[0], "Status: none\n")
    same(ours[7], "Status: completed\n")
    packers = [flag for flag in ("-l", "-s") if "not available" not in answers(BINARY, "qtest", ["dump-guest-memory %s packed%s" % (flag, flag)])[0]]
    kdumps = ["kdump", *("packed" + flag for flag in packers)]
    for name, magic in (("core", b"\x7fELF"), ("part", b"\x7fELF"), *((name, b"makedumpfile") for name in kdumps)):
        with open(name, "rb") as f:
            check(f.read(len(magic)) == magic, name)
    check("not available" in answers(BINARY, "qtest", ["dump-guest-memory -w other"])[0], "-w")
    check(not os.path.exists("other"), "a file for a dump that was refused")


@test("info memdev, numa, memory_size_summary, iothreads, hotpluggable-cpus")
def _():
    compare(["info memdev", "info numa", "info memory_size_summary"], *NUMA)
    compare(["info numa", "info memory_size_summary", "info iothreads", "info memdev x"])
    said = answers(BINARY, "qtest", ["info iothreads", "info hotpluggable-cpus"], "-object", "iothread,id=io", "-smp", "1,maxcpus=2")
    check(re.fullmatch(r"io:\n  thread_id=\d+\n  poll-max-ns=32768\n  poll-grow=0\n  poll-shrink=0\n  aio-max-batch=0\n", said[0]), said[0])
    check(re.fullmatch(r'Hotpluggable CPUs:\n  type: "\S+"\n  vcpus_count: "1"\n  CPUInstance Properties:\n    socket-id: "1"\n'
                       r'    core-id: "0"\n    thread-id: "0"\n  type: "\S+"\n  vcpus_count: "1"\n  qom_path: "/\S+"\n'
                       r'  CPUInstance Properties:\n    socket-id: "0"\n    core-id: "0"\n    thread-id: "0"\n',
                       re.sub(r'socket-id: "0"\n    core-id: "1"', 'socket-id: "1"\n    core-id: "0"', said[1])), said[1])


@test("qom-list, qom-get, qom-set, info qom-tree")
def _():
    compare(["qom-list", "qom-list /nosuch", "qom-get /machine type", "qom-get /nosuch x", "qom-get /machine/peripheral type",
             "qom-set /nosuch x 1", "qom-get /machine", "info qom-tree /nosuch"])
    said = answers(BINARY, "qtest", [
        "qom-list /objects", "qom-get /objects/io poll-max-ns", "qom-set /objects/io poll-max-ns 77", "qom-get /objects/io poll-max-ns",
        "qom-set -j /objects/io poll-max-ns 78", "qom-get /objects/io poll-max-ns", "qom-set /objects/io poll-max-ns x",
        "qom-set -j /objects/io poll-max-ns {", "qom-set /objects/io nosuch 1", "info qom-tree /objects", "info qom-tree"],
        "-object", "iothread,id=io")
    check("io (child<iothread>)\n" in said[0], said[0])
    same(said[1:6], ["32768\n", "", "77\n", "", "78\n"])
    for refusal in said[6:9]:
        check(refusal.startswith("Error: "), refusal)
    check(said[9].startswith("/objects (container)\n") and "  /io (iothread)\n" in said[9], said[9])
    check(said[10].startswith("/machine (pc-i440fx-7.2-machine)\n  /fw_cfg (fw_cfg_io)\n"), said[10][:200])


@test("object_add, object_del")
def _():
    compare(["object_add", "object_add memory-backend-ram", "object_del", "object_del nosuch", "object_add iothread,id=a", "object_del a"])
    said = answers(BINARY, "qtest", ["object_add memory-backend-ram,id=m,size=1M,host-nodes=0,policy=bind", "object_add qom-type=iothread,id=i",
                                     "info qom-tree /objects", "object_add iothread,id=i", "object_add nosuch,id=n", "object_add help",
                                     'object_add {"qom-type":"iothread","id":"j"}', "object_del m", "object_del m", "object_add iothread,id=1",
                                     "object_add memory-backend-ram,id=n"])
    same(said[:2], ["", ""])
    check("/m (memory-backend-ram)" in said[2] and "/i (iothread)" in said[2], said[2])
    for refusal in (said[3], said[4], said[8], said[9], said[10]):
        check(refusal.startswith("Error: "), refusal)
    check(said[5].startswith("List of user creatable objects:\n") and "\n  iothread\n" in said[5], said[5])
    same(said[6:8], ["", ""])


@test("device_add, device_del")
def _():
    compare(["device_del", "device_del nosuch", "device_add isa-debug-exit", "device_add pci-testdev,id=t",
             "device_add pci-testdev,id=t", "device_del t", "device_add pci-testdev,bus=nosuch"])
    said = answers(BINARY, "qtest", ["device_add pci-testdev,id=t", 'device_add {"driver":"pci-testdev","id":"u"}', "info qtree",
                                     "device_add nosuch", "device_add pci-testdev,nosuch=1", "device_add pci-testdev,addr=zz",
                                     "device_add {", "device_add [1]"])
    same(said[:2], ["", ""])
    check('id "t"' in said[2] and 'id "u"' in said[2], said[2])
    check("string expected" in answers(BINARY, "qtest", ["device_add"])[0], "no argument")
    for refusal in said[3:]:
        check(refusal.startswith("Error: "), refusal)


@test("while the guest runs, and for the CPU that was chosen")
def _():
    with Machine(BINARY, "-smp", "2") as m:
        c = m.connect()
        for line, words in (("p/x $pc", "0xfffffff0"), ("x/1xb 0xffff0", "0xea"), ("info status", "running"), ("xp/1xb 0xffff0", "0xea")):
            check(words in c.hmp(line), line)
        same(c.do("query-status")["running"], True)


sys.exit(suite.run())
