#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration files: --config, -readconfig, --print-config, --check-config. test-config.py BINARY"""
import json
import os
import random
import sys

from harness import QTEST, Suite, check

suite = Suite(sys.argv[1])

GOOD = """// a VM
{
    "accel": "qtest", "display": "none",   /* no CPU,
                                              no screen */
    "nodefaults": true, "daemonize": false,
    "machine": {"type": "pc", "hpet": "off"},
    "m": {"size": "64M"}, "smp": 2,
    "name": "comma,, and \\"quotes\\" // no comment",
    "drive": [{"file": "a,b.raw", "format": "raw", "if": "none", "id": "d0"},
              {"file": {"driver": "file", "filename": "c.raw"}, "format": "raw", "if": "none", "id": "d1"}],
    "blockdev": {"driver": "raw", "node-name": "n0", "file": {"driver": "file", "filename": "d.raw"}},
    "device": [{"driver": "ide-hd", "drive": "d0", "bus": "ide.0", "unit": 0},
               "ide-hd,drive=d1,bus=ide.0,unit=1",
               {"driver": "ide-hd", "drive": "n0", "bus": "ide.1", "unit": 0}],
    "print-state": true
}
"""
LINE = ["-accel", "qtest", "-display", "none", "-nodefaults", "-machine", "pc,hpet=off", "-m", "64M", "-smp", "2",
        "-name", 'comma,, and "quotes" // no comment',
        "-drive", "file=a,,b.raw,format=raw,if=none,id=d0",
        "-drive", "file.driver=file,file.filename=c.raw,format=raw,if=none,id=d1",
        "-blockdev", '{"driver":"raw","node-name":"n0","file":{"driver":"file","filename":"d.raw"}}',
        "-device", "ide-hd,drive=d0,bus=ide.0,unit=0", "-device", "ide-hd,drive=d1,bus=ide.0,unit=1",
        "-device", "ide-hd,drive=n0,bus=ide.1,unit=0", "-print-state"]


def write(name, text):
    with open(name, "w") as out:
        out.write(text)
    return name


def images():
    for name in ("a,b.raw", "c.raw", "d.raw"):
        with open(name, "wb") as out:
            out.truncate(1 << 20)


def state(*args):
    status, out, err = suite.go(*args)
    check(status == 0 and not err, "status %d: %s" % (status, err))
    return json.loads(out)


def printed(*args):
    status, out, err = suite.go(*args, "--print-config")
    check(status == 0 and not err, "status %d: %s" % (status, err))
    return out


def test_same_machine():
    images()
    write("vm.json", GOOD)
    check(state("--config", "vm.json") == state(*LINE), "the file makes another machine than the line")


def test_round_trip():
    images()
    write("vm.json", GOOD)
    for args in (["--config", "vm.json"], LINE):
        once = write("once.json", printed(*args))
        check(printed("--config", once) == open(once).read(), "printed and read again it is another configuration")
        check(state("--config", once) == state(*LINE), "what was printed makes another machine")


def test_mixed():
    """Both places count, in order; a disk by its bare name is one of them."""
    images()
    write("half.json", '{"m": "64M", "nodefaults": true}')
    config = json.loads(printed("--config", "half.json", "-smp", "2", "c.raw", "-m", "96M"))
    check(config == {"m": ["64M", "96M"], "nodefaults": True, "smp": "2", "hda": "c.raw"}, "got %s" % config)


def test_bad_json():
    for text, *needles in (
            ("", ":1", "unexpected end"),
            ("[]", "must hold one object"),
            ("null", "must hold one object"),
            ('{"m": "1G",\n "smp"', ":2", "not valid JSON"),
            ('{"m": "1G"} x', "not valid JSON"),
            ('{"m": "\xff\xfe"}'.encode("latin1"), "not valid JSON"),
            ('{"m": ' + "[" * 100 + "]" * 100 + "}", "not valid JSON"),
            ('{\n\n"hdaa": "x"}', "bad.json:3: hdaa: invalid option", "hda"),
            ('{"m": "1Q"}', "bad.json:1: ", "-m", "1Q"),
            ('{"m": null}', "bad.json:1: m: "),
            ('{"m": [["1G"]]}', "bad.json:1: m: "),
            ('{"m": "1G",\n "m": "2G"}', "bad.json:2: m: stands here twice"),
            ('{"nodefaults": "yes"}', "nodefaults: takes no value"),
            ('{"kernel": true, "kernel2": true}', "kernel2"),
            ('{"bios": {"a": 1}}', "bios: takes a text"),
            ('{"device": [{"driver": "ide-cd"},\n {"driver": "ide-hdd"}]}', "ide-hdd"),
            ('{"config": "other.json"}', "config: a configuration file cannot name another"),
            ('{"drive": {"file": null}}', "file: null is no value"),
            ('{"m": "64\\u0000M"}', "zero byte")):
        with open("bad.json", "wb") as out:
            out.write(text if isinstance(text, bytes) else text.encode())
        suite.bad([*QTEST, "--config", "bad.json"], *needles)
    suite.bad(["--config", "not-there.json"], "--config not-there.json", "No such file")
    suite.bad(["--config", "."], "--config .")
    suite.bad(["--config"], "requires an argument")
    with open("huge.json", "wb") as out:
        out.truncate(17 << 20)
    suite.bad(["--config", "huge.json"], "more than 16777216 bytes")


def test_damaged():
    """Cut and damaged files end in a message or a configuration, never in a crash."""
    seeded = random.Random(20)
    for n in range(60):
        text = bytearray(GOOD.encode())
        if n % 3 == 0:
            del text[seeded.randrange(1, len(text)):]
        for _ in range(n % 4):
            text[seeded.randrange(len(text))] = seeded.randrange(256)
        with open("damaged.json", "wb") as out:
            out.write(text)
        for what in ("--print-config", "--check-config"):
            status, _, err = suite.go("--config", "damaged.json", what)
            check(status in (0, 1) and (status == 0 or err), "status %d of %r: %s" % (status, text, err))


def test_ini():
    images()
    write("vm.ini", """# QEMU's form
[machine]
  type = "pc"
  hpet = "off"
[memory]
  size = "64M"
[smp-opts]
  cpus = "2"
[drive "d1"]
  file = "c.raw"
  format = "raw"
  if = "none"
[device "disk"]
  driver = "ide-hd"
  drive = "d1"
""")
    args = [*QTEST, "-print-state"]
    check(state("-readconfig", "vm.ini", *args) ==
          state("-machine", "pc,hpet=off", "-m", "64M", "-smp", "2", "-drive", "file=c.raw,format=raw,if=none,id=d1",
                "-device", "ide-hd,drive=d1,id=disk", *args), "the file makes another machine than the line")


def test_bad_ini():
    for text, *needles in (
            ("[drive\n", "bad.ini:1: '[drive' is no group"),
            ("\nfoo = \"1\"\n", "bad.ini:2:", "stands in no group"),
            ("[memory]\nsize = 64\n", "bad.ini:2:", "is no setting"),
            ("[memory]\nsize = \"64\n", "bad.ini:2:", "is no setting"),
            ("[nonsense]\na = \"b\"\n", "bad.ini:1: [nonsense]: there is no such group"),
            ("[bios]\n", "no such group"),
            ("[memory]\nsiez = \"64\"\n", "bad.ini:1: ", "siez"),
            ("[drive \"d]\n", "is no group")):
        write("bad.ini", text)
        suite.bad([*QTEST, "-readconfig", "bad.ini"], *needles)
    suite.bad(["-readconfig", "not-there.ini"], "not-there.ini", "No such file")


def test_check():
    images()
    write("vm.json", GOOD)
    before = sorted(os.listdir("."))
    status, out, err = suite.go("--check-config", "--config", "vm.json")
    check(status == 0 and not out + err, "a good file: status %d: %s" % (status, err))
    write("bad.json", """{
    "machine": {"type": "pcc"},
    "m": "64X",
    "drive": [
        {"file": "c.raw", "format": "raw", "if": "none", "id": "d0"},
        {"file": "gone.raw", "format": "raw", "if": "none", "id": "d0"}
    ],
    "hdaa": "x",
    "nographic": "yes",
    "device": [
        {"driver": "ide-hdd", "drive": "d0"},
        {"driver": "ide-hd", "drive": "d1", "serail": 3},
        {"driver": "hpet", "timers": 99},
        "isa-serial,chardev=c7"
    ],
    "chardev": "null,id=c1"
}
""")
    status, out, err = suite.go("--config", "bad.json", "-smp", "0", "-foo", "--check-config", "-kernel", "no-kernel")
    check(status == 1, "status %d" % status)
    for needle in ("bad.json:3: -m", "bad.json:6: -drive", "'d0' is taken", "gone.raw: No such file", "bad.json:8: hdaa",
                   "bad.json:9: nographic", "bad.json:11: ", "ide-hdd", "bad.json:12: ", "serail", "drive=d1", "bad.json:14: ",
                   "chardev=c7", "-smp", "-foo", "pcc", "-kernel no-kernel: No such file"):
        check(needle in err, "%r is missing in:\n%s" % (needle, err))
    os.unlink("bad.json")
    check(sorted(os.listdir(".")) == before, "checking left files behind")
    suite.bad(["--check-config", "-daemonize", "-nographic"], "-daemonize")
    suite.bad(["--check-config", "-machine", "pc,hpett=on"], "hpett")


suite.add("a file makes the same machine as the line", test_same_machine)
suite.add("what is printed reads the same", test_round_trip)
suite.add("file and line together", test_mixed)
suite.add("bad files are refused with their place", test_bad_json)
suite.add("damaged files", test_damaged)
suite.add("QEMU's INI form", test_ini)
suite.add("bad INI files are refused with their place", test_bad_ini)
suite.add("--check-config lists every mistake", test_check)
sys.exit(suite.run())
