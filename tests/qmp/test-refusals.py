#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad uses of every command of both monitors. By the schema: a member that nobody knows, one that is missing, one of the wrong
type, a word that an enum has not, a number out of range. By meaning: things that are not there, are busy, or do not fit. A
command without an entry in these tables fails the test, so none can be added without its bad use.

    test-refusals.py KILN-SYSTEM"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from harness import Suite, check, same  # noqa: E402
from qmpclient import Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test

MACHINE = ("-S", "-m", "64", "-blockdev", "null-co,node-name=node,size=1048576", "-drive", "if=none,id=disk,driver=null-co,size=1M",
           "-device", "ide-hd,drive=disk,id=hd", "-drive", "if=none,id=free,driver=null-co,size=1M", "-device", "ide-cd,id=cd",
           "-chardev", "null,id=null", "-chardev", "ringbuf,id=ring,size=1024", "-serial", "chardev:ring", "-netdev", "hubport,id=net,hubid=0",
           "-device", "e1000,netdev=net,id=card", "-object", "memory-backend-ram,id=ram,size=1M")


def is_refused(reply, words, error_class="GenericError"):
    error = reply.get("error", {})
    return error.get("class") == error_class and words in error["desc"]


# ---- by the schema --------------------------------------------------------------------------------

# One reads its arguments itself ('gen': false), one is refused before they are read.
RAW = {"device_add", "qmp_capabilities"}


class Types:
    def __init__(self, schema):
        self.named = {entry["name"]: entry for entry in schema}

    def kind(self, name):
        entry = self.named[name]
        return entry["json-type"] if entry["meta-type"] == "builtin" else entry["meta-type"]

    def members(self, name):
        """Those that any variant has."""
        return self.named[name].get("members", [])

    def required(self, name):
        return [member for member in self.members(name) if "default" not in member]

    def sample(self, name):
        """A value of this type, with what must be there only."""
        entry, kind = self.named[name], self.kind(name)
        if kind == "object":
            value = {member["name"]: self.sample(member["type"]) for member in self.required(name)}
            for variant in entry.get("variants", []):
                if variant["case"] == value[entry["tag"]]:
                    value.update(self.sample(variant["type"]))
            return value
        if kind == "alternate":
            return self.sample(min((member["type"] for member in entry["members"]), key=lambda name: self.kind(name) == "object"))
        if kind == "enum":
            return entry["members"][0]["name"]
        return {"array": [], "string": "x", "boolean": True, "number": 1, "int": 1, "value": 1, "null": None}[kind]

    def mistakes(self, name):
        """Values that this type has not, each with the words that its refusal has."""
        kind = self.kind(name)
        if kind == "enum":
            return [("no such", "does not accept value 'no such'"), (1, "Invalid parameter type")]
        if kind == "int":
            return [("x", "Invalid parameter type"), (1.5, "Invalid parameter type"), (1 << 70, "needs more than 64 bits")]
        if kind in ("value", "alternate"):
            return []
        return [({} if kind in ("array", "string", "boolean", "number") else "x", "Invalid parameter type")]


def bad_uses(types, command):
    """Arguments and the words that their refusal has."""
    name = command["arg-type"]
    good = types.sample(name)
    yield {**good, "no-such": 1}, "no-such'"
    for member in types.required(name):
        yield {key: value for key, value in good.items() if key != member["name"]}, "Parameter '%s' is missing" % member["name"]
    for member in types.members(name):
        for value, words in types.mistakes(member["type"]):
            yield {**good, member["name"]: value}, words


@test("QMP: what the schema does not allow is refused by the member's name, for every command")
def _():
    with Machine(BINARY, *MACHINE) as m:
        c = m.connect()
        before, wrong = c.do("query-status"), []
        types = Types(c.do("query-qmp-schema"))
        commands = [entry for entry in types.named.values() if entry["meta-type"] == "command"]
        same(sorted(entry["name"] for entry in commands), sorted(entry["name"] for entry in c.do("query-commands")))
        for command in commands:
            uses = [([], "'arguments' must be an object"), *(() if command["name"] in RAW else bad_uses(types, command))]
            for arguments, words in uses:
                reply = c.ask({"execute": command["name"], "arguments": arguments})
                if not is_refused(reply, words):
                    wrong.append((command["name"], arguments, words, reply))
        check(not wrong, "\n".join(map(repr, wrong)))
        same(c.do("query-status"), before)
        same(c.names(), [])


# ---- by meaning ------------------------------------------------------------------------------------

# What takes no arguments, or none that a right type does not make right.
PLAIN = """query-acpi-ospm-status query-block query-block-jobs query-block-exports query-blockstats query-chardev query-chardev-backends query-commands
query-cpu-definitions query-cpus-fast query-current-machine query-dump query-dump-guest-memory-capability query-fdsets
query-hotpluggable-cpus query-iothreads query-jobs query-kvm query-machines query-memdev query-memory-devices
query-memory-size-summary query-mice query-migrate query-migrate-capabilities query-migrate-parameters query-name
query-named-block-nodes query-pci query-pr-managers query-qmp-schema query-stats query-stats-schemas query-status query-target query-tpm
query-tpm-models query-tpm-types query-uuid query-version query-yank quit cont stop system_powerdown system_reset inject-nmi
rtc-reset-reinjection human-monitor-command migrate-set-capabilities qom-list-types set-action watchdog-set-action
x-query-irq x-query-numa x-query-ramblock x-query-roms announce-self x-debug-query-block-graph""".split()

BITMAP = {"node": "node", "name": "none"}
LIMITS = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
NOT_FOUND = "DeviceNotFound"
QMP = [
    ("add-fd", {}, "No file descriptor supplied via SCM_RIGHTS"),
    ("add-fd", {"fdset-id": -1}, ""),
    ("balloon", {"value": 1 << 20}, "No balloon device", "DeviceNotActive"),
    ("query-balloon", {}, "No balloon device", "DeviceNotActive"),
    ("block-dirty-bitmap-add", {"node": "none", "name": "b"}, "'none'"),
    ("block-dirty-bitmap-add", {"node": "node", "name": "b", "granularity": 3}, "ranularity"),
    ("block-dirty-bitmap-add", {"node": "node", "name": ""}, "name"),
    ("block-dirty-bitmap-clear", BITMAP, "'none'"),
    ("block-dirty-bitmap-disable", BITMAP, "'none'"),
    ("block-dirty-bitmap-enable", BITMAP, "'none'"),
    ("block-dirty-bitmap-remove", BITMAP, "'none'"),
    ("block-dirty-bitmap-merge", {"node": "node", "target": "none", "bitmaps": []}, "'none'"),
    ("x-debug-block-dirty-bitmap-sha256", BITMAP, "'none'"),
    ("block-export-add", {"type": "nbd", "id": "e", "node-name": "node"}, "NBD server not running"),
    ("block-export-add", {"type": "nbd", "id": "e", "node-name": "none"}, ""),
    ("block-export-del", {"id": "none"}, "'none'"),
    ("block-latency-histogram-set", {"id": "none", "boundaries": [1]}, "'none'", NOT_FOUND),
    ("block-latency-histogram-set", {"id": "hd", "boundaries": [2, 1]}, "boundaries"),
    ("block-set-write-threshold", {"node-name": "none", "write-threshold": 1}, "'none'"),
    ("block_resize", {"node-name": "none", "size": 512}, "'none'"),
    ("block_resize", {"device": "disk", "size": -1}, ""),
    ("block_set_io_throttle", {"id": "none", **LIMITS}, "'none'", NOT_FOUND),
    ("block_set_io_throttle", {"id": "hd", **LIMITS, "bps": 1, "bps_rd": 1}, "bps"),
    ("blockdev-add", {"driver": "null-co", "node-name": "node"}, "'node'"),
    ("blockdev-add", {"driver": "null-co"}, "'node-name' must be specified"),
    ("blockdev-add", {"driver": "file", "node-name": "n", "filename": "/no/such"}, "/no/such"),
    ("blockdev-change-medium", {"id": "none", "filename": "x"}, "'none'", NOT_FOUND),
    ("blockdev-change-medium", {"id": "cd", "filename": "/no/such"}, "/no/such"),
    ("blockdev-change-medium", {"filename": "x"}, "'device' and 'id'"),
    ("blockdev-close-tray", {"id": "none"}, "'none'", NOT_FOUND),
    ("blockdev-open-tray", {"id": "none"}, "'none'", NOT_FOUND),
    ("blockdev-open-tray", {"id": "hd"}, "not removable"),
    ("blockdev-insert-medium", {"id": "cd", "node-name": "none"}, "'none'"),
    ("blockdev-insert-medium", {"id": "none", "node-name": "node"}, "'none'", NOT_FOUND),
    ("blockdev-remove-medium", {"id": "hd"}, ""),
    ("blockdev-remove-medium", {"id": "none"}, "'none'", NOT_FOUND),
    ("blockdev-del", {"node-name": "none"}, "'none'"),
    ("blockdev-reopen", {"options": [{"driver": "null-co", "node-name": "none"}]}, "'none'"),
    ("blockdev-reopen", {"options": [{"driver": "null-co"}]}, "node-name"),
    ("blockdev-create", {"job-id": "1", "options": {"driver": "file", "filename": "x", "size": 0}}, "Invalid job ID '1'"),
    *((name, {"id": "none"}, "Job not found") for name in ("job-pause", "job-resume", "job-cancel", "job-complete", "job-finalize",
                                                           "job-dismiss")),
    ("blockdev-snapshot", {"node": "none", "overlay": "node"}, "'none'"),
    ("blockdev-snapshot", {"node": "disk", "overlay": "node"}, "does not support backing images"),
    ("blockdev-snapshot-sync", {"device": "none", "snapshot-file": "x"}, "'none'"),
    ("blockdev-snapshot-sync", {"device": "disk", "snapshot-file": "/no/such"}, "cannot name"),
    ("blockdev-snapshot-internal-sync", {"device": "none", "name": "s"}, "'none'"),
    ("blockdev-snapshot-internal-sync", {"device": "disk", "name": "s"}, "does not support internal snapshots"),
    ("blockdev-snapshot-delete-internal-sync", {"device": "none", "name": "s"}, "'none'"),
    ("blockdev-snapshot-delete-internal-sync", {"device": "disk"}, "Name or id"),
    ("change-backing-file", {"device": "none", "image-node-name": "node", "backing-file": "x"}, "'none'"),
    ("change-backing-file", {"device": "disk", "image-node-name": "node", "backing-file": "x"}, "without a backing file"),
    ("chardev-add", {"id": "null", "backend": {"type": "null", "data": {}}}, "'null' already exists"),
    ("chardev-add", {"id": "1", "backend": {"type": "null", "data": {}}}, "'1'"),
    ("chardev-change", {"id": "none", "backend": {"type": "null", "data": {}}}, "'none' does not exist"),
    ("chardev-remove", {"id": "none"}, "'none' not found"),
    ("chardev-remove", {"id": "ring"}, "busy"),
    ("chardev-send-break", {"id": "none"}, "'none'"),
    ("closefd", {"fdname": "none"}, "'none'"),
    ("getfd", {"fdname": "f"}, "No file descriptor supplied"),
    ("getfd", {"fdname": "1"}, ""),
    ("remove-fd", {"fdset-id": 7}, "7"),
    ("device-list-properties", {"typename": "none"}, "'none'", NOT_FOUND),
    ("device-list-properties", {"typename": "memory-backend-ram"}, "'typename'"),
    ("device_add", {}, "'driver' is missing"),
    ("device_add", {"driver": "none"}, "'none'"),
    ("device_add", {"driver": "e1000", "id": "card"}, "'card'"),
    ("device_add", {"driver": "e1000", "bus": "none"}, "'none'"),
    ("device_add", {"driver": "e1000", "no-such": 1}, "no-such"),
    ("device_add", {"driver": "e1000", "addr": []}, "addr"),
    ("device_add", {"driver": "isa-fdc"}, ""),
    ("device_del", {"id": "none"}, "'none' not found", NOT_FOUND),
    ("device_del", {"id": "hd"}, ""),
    ("dump-guest-memory", {"paging": False, "protocol": "x"}, "protocol"),
    ("dump-guest-memory", {"paging": False, "protocol": "file:/no/such/x"}, "/no/such/x"),
    ("dump-guest-memory", {"paging": False, "protocol": "fd:none"}, "'none'"),
    ("dump-guest-memory", {"paging": False, "protocol": "file:d", "begin": 0}, "'length'"),
    ("dump-guest-memory", {"paging": False, "protocol": "file:d", "length": 4}, "'begin'"),
    ("eject", {"id": "none"}, "'none'", NOT_FOUND),
    ("eject", {"id": "hd"}, "not removable"),
    ("human-monitor-command", {"command-line": "", "cpu-index": 9}, "and 9 is none"),
    ("input-send-event", {"device": "none", "events": []}, "'none'", NOT_FOUND),
    ("memsave", {"val": 0, "size": 1, "filename": "f", "cpu-index": 9}, "and 9 is none"),
    ("memsave", {"val": 0, "size": 1, "filename": "/no/such/f"}, "/no/such/f"),
    ("pmemsave", {"val": 0, "size": 1, "filename": "/no/such/f"}, "/no/such/f"),
    ("nbd-server-add", {"device": "node"}, "NBD server not running"),
    ("nbd-server-remove", {"name": "none"}, ""),
    ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "/no/such/s"}}}, "/no/such/s"),
    ("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "s"}}, "tls-creds": "none"}, "'none'"),
    ("nbd-server-stop", {}, "NBD server not running"),
    ("netdev_add", {"type": "hubport", "id": "net", "hubid": 0}, "'net'"),
    ("netdev_add", {"type": "tap", "id": "t", "fd": "none"}, "none"),
    ("netdev_del", {"id": "none"}, "'none'", NOT_FOUND),
    ("object-add", {"qom-type": "iothread", "id": "ram"}, "ram"),
    ("object-add", {"qom-type": "secret", "id": "s"}, ""),
    ("object-add", {"qom-type": "pr-manager-helper", "id": "p", "path": "/nonexistent/helper"}, "/nonexistent/helper"),
    ("object-del", {"id": "none"}, "'none'"),
    ("qmp_capabilities", {}, "already complete", "CommandNotFound"),
    ("qom-get", {"path": "/none", "property": "type"}, "'/none'", NOT_FOUND),
    ("qom-get", {"path": "/machine", "property": "none"}, "none"),
    ("qom-list", {"path": "/none"}, "'/none'", NOT_FOUND),
    ("qom-list-properties", {"typename": "none"}, "'none'", NOT_FOUND),
    ("qom-set", {"path": "/none", "property": "type", "value": 1}, "'/none'", NOT_FOUND),
    ("qom-set", {"path": "/machine", "property": "type", "value": "x"}, "type"),
    ("qom-set", {"path": "/objects/ram", "property": "size", "value": 1}, "size"),
    ("query-command-line-options", {"option": "none"}, "none"),
    ("query-cpu-model-expansion", {"type": "full", "model": {"name": "none"}}, "none"),
    ("query-cpu-model-expansion", {"type": "full", "model": {"name": "qemu64", "props": {"none": True}}}, "none"),
    ("query-cpu-model-baseline", {"modela": {"name": "qemu64"}, "modelb": {"name": "Haswell"}}, "vendors"),
    ("query-cpu-model-comparison", {"modela": {"name": "qemu64"}, "modelb": {"name": "none"}}, "none"),
    ("query-rx-filter", {"name": "none"}, "none"),
    ("ringbuf-read", {"device": "none", "size": 1}, "none"),
    ("ringbuf-read", {"device": "null", "size": 1}, "'null'"),
    ("ringbuf-read", {"device": "ring", "size": 0}, "size"),
    ("ringbuf-write", {"device": "none", "data": ""}, "none"),
    ("ringbuf-write", {"device": "ring", "data": "?", "format": "base64"}, "'?'"),
    ("send-key", {"keys": [{"type": "qcode", "data": "none"}]}, "'none'"),
    ("set-numa-node", {"type": "node"}, "permitted only"),
    ("set_link", {"name": "none", "up": True}, "'none'", NOT_FOUND),
    ("system_wakeup", {}, "wake"),
    ("trace-event-get-state", {"name": "none"}, "\"none\""),
    ("trace-event-set-state", {"name": "none", "enable": True}, "\"none\""),
    ("transaction", {"actions": [{"type": "block-dirty-bitmap-clear", "data": BITMAP}]}, "'none'"),
    ("x-exit-preconfig", {}, "permitted only"),
    ("yank", {"instances": [{"type": "chardev", "id": "none"}]}, "none", NOT_FOUND),
]


@test("QMP: what makes no sense here is refused, for every command that can")
def _():
    with Machine(BINARY, *MACHINE) as m:
        c = m.connect()
        before = [c.do("query-status"), c.do("query-block"), c.do("query-chardev"), c.do("qom-list", path="/objects")]
        wrong = []
        for name, arguments, words, *error_class in QMP:
            reply = c.ask({"execute": name, "arguments": arguments} if arguments else {"execute": name})
            if not is_refused(reply, words, *error_class):
                wrong.append((name, arguments, words, error_class, reply))
        check(not wrong, "\n".join(map(repr, wrong)))
        same([c.do("query-status"), c.do("query-block"), c.do("query-chardev"), c.do("qom-list", path="/objects")], before)
        all_names = {entry["name"] for entry in c.do("query-commands")}
        same(sorted(all_names - set(PLAIN) - {entry[0] for entry in QMP}), [], "no bad use")
        same(sorted(set(PLAIN) - all_names), [], "no such command")
        same(os.listdir("."), ["qmp"])


# ---- HMP -------------------------------------------------------------------------------------------

# A command and what it says; what takes no arguments is not here.
HMP = [
    ("announce_self x x x", "extraneous characters"), ("balloon", "expression expected|syntax|expected"), ("balloon x", "balloon: "),
    ("balloon 64", "No balloon device"), ("block_resize none 1M", "'none'"), ("snapshot_blkdev none x", "'none'"), ("commit none", "'none'"), ("commit", "commit: "),
    ("snapshot_blkdev disk", "'snapshot-file'"), ("snapshot_blkdev_internal none x", "'none'"), ("snapshot_blkdev_internal disk", "snapshot_blkdev_internal: "),
    ("snapshot_delete_blkdev_internal none x", "'none'"), ("snapshot_delete_blkdev_internal disk", "snapshot_delete_blkdev_internal: "),
    ("block_resize disk", "block_resize: "),
    ("block_resize disk x", "block_resize: "), ("block_set_io_throttle none 0 0 0 0 0 0", "'none'"),
    ("block_set_io_throttle hd 1", "block_set_io_throttle: "), ("boot_set x", "x"), ("boot_set", "boot_set: "),
    ("change none x", "'none'"), ("change cd", "change: "), ("change disk x raw x", "invalid parameter value: x"),
    ("chardev-add none,id=c", "'none'"), ("chardev-add", "chardev-add: "), ("chardev-change none null", "'none'"),
    ("chardev-change null", "chardev-change: "), ("chardev-remove none", "'none'"), ("chardev-remove", "chardev-remove: "),
    ("chardev-send-break none", "'none'"), ("chardev-send-break", "chardev-send-break: "), ("closefd none", "'none'"),
    ("closefd", "closefd: "), ("cpu 9", "invalid CPU index|CPU"), ("cpu x", "cpu: "), ("device_add none", "'none'"),
    ("device_add", "device_add: "), ("device_add e1000,none=1", "none"), ("device_del none", "'none'"), ("device_del", "device_del: "),
    ("drive_add 0 none=1", "none"), ("drive_add 0", "drive_add: "), ("drive_add -n 0 driver=null-co", "'node-name' must be specified"),
    ("drive_add -n 0 driver=null-co,node-name=node", "Duplicate nodes"), ("drive_add -x 0 if=none", "unsupported option -x"),
    ("drive_add 0 if=none,id=disk", "Duplicate ID"), ("drive_add 0 if=virtio,driver=null-co", "Can't hot-add drive"),
    ("drive_del none", "'none'"), ("drive_del", "drive_del: "), ("dump-guest-memory", "dump-guest-memory: "),
    ("dump-guest-memory -w f", "win-dmp"), ("dump-guest-memory -z -l f", "only one of"), ("dump-guest-memory -x f", "unsupported option -x"),
    ("dump-guest-memory /no/such/f", "/no/such/f"), ("dump-guest-memory f 0", "length"), ("eject none", "'none'"), ("eject hd", "hd"),
    ("eject", "eject: "), ("exit_preconfig", "permitted only"), ("getfd f", "No file descriptor supplied"), ("getfd", "getfd: "),
    ("gpa2hpa 0x100000000000", "No memory is mapped"), ("gpa2hpa", "gpa2hpa: "), ("gpa2hva 0x100000000000", "No memory is mapped"),
    ("gpa2hva x", "gpa2hva: "), ("gva2gpa x", "gva2gpa: "), ("gva2gpa", "gva2gpa: "), ("help none", "unknown command: 'none'"),
    ("hostfwd_add net tcp::1-:1", "net"), ("hostfwd_add", "hostfwd_add: "),
    ("hostfwd_remove net tcp::1", "net"), ("hostfwd_remove", "hostfwd_remove: "), ("i /b", "i: "), ("i /q 0x70", "i: "), ("info none", "none"),
    ("log nosuch", "nosuch"), ("log", "log: "), ("logfile /no/such/f", "/no/such/f"), ("logfile", "logfile: "), ("mce 0 1", "mce: "),
    ("mce 9 0 0 0 0 0", "CPU#9 not available"), ("memsave 0 1 \"/no/such/f\"", "/no/such/f"), ("memsave 0 1", "memsave: "),
    ("migrate_set_capability none on", "none"), ("migrate_set_capability events x", "migrate_set_capability: "),
    ("mouse_button x", "mouse_button: "), ("mouse_move 1", "mouse_move: "), ("mouse_set 99", "99"), ("mouse_set", "mouse_set: "),
    ("nbd_server_add disk", "NBD server not running"), ("nbd_server_add", "nbd_server_add: "), ("nbd_server_remove none", "none"),
    ("nbd_server_remove", "nbd_server_remove: "), ("nbd_server_start x", "x"), ("nbd_server_start -w localhost:0", "-w only valid together with -a"),
    ("nbd_server_stop", "NBD server not running"), ("netdev_add none,id=n", "none"), ("netdev_add", "netdev_add: "),
    ("netdev_del none", "'none'"), ("netdev_del", "netdev_del: "), ("o /b 0x80", "o: "), ("object_add none,id=o", "none"),
    ("object_add", "object_add: "), ("object_add iothread,id=ram", "ram"), ("object_del none", "'none'"), ("object_del", "object_del: "),
    ("pmemsave 0 1 \"/no/such/f\"", "/no/such/f"), ("pmemsave 0 1", "pmemsave: "), ("print $none", "unknown register"), ("print 1/0", "division by zero"),
    ("print (1", "')' expected"), ("qemu-io none x", "'none'"), ("qemu-io disk none", "none"), ("qemu-io", "qemu-io: "),
    ("qom-get /none type", "'/none'"), ("qom-get /machine", "qom-get: "), ("qom-list /none", "'/none'"), ("qom-set /none type x", "'/none'"),
    ("qom-set /machine type x", "type"), ("qom-set -j /machine usb x", "JSON"), ("qom-set /machine usb", "qom-set: "),
    ("ringbuf_read none 1", "none"), ("ringbuf_read ring", "ringbuf_read: "), ("ringbuf_write none x", "none"),
    ("ringbuf_write ring", "ringbuf_write: "), ("sendkey none", "none"), ("sendkey", "sendkey: "), ("set_link none on", "'none'"),
    ("set_link card x", "set_link: "), ("sum 0", "sum: "), ("sum 0x100000000000 4", "no memory"), ("system_wakeup", "wake"),
    ("trace-event none on", "none"), ("trace-event none", "trace-event: "), ("watchdog_action nosuch", "nosuch"),
    ("watchdog_action", "watchdog_action: "), ("x /q", "x: "), ("x /1xb", "x: "), ("xp /1xb", "xp: "), ("xp /1xb $none", "xp: "),
    ("info lapic 99", "99|available"), ("info qom-tree /none", "/none"), ("info registers 9", "9"),
    ("info stats none", "none"), ("info trace-events nosuch", "unknown event"), ("info mtree -x", "unsupported option -x"),
]


# It shows what fits, and nothing when nothing does, as QEMU's.
SILENT = {"info block"}


def hmp_names(c):
    """All commands, each by its first name."""
    names = {name.split("|")[0] for name in re.findall(r"^([a-z][\w|?-]*) .*--", c.hmp("help"), re.M)} - {"info"}
    return names | set(re.findall(r"^(info [\w-]+) ", c.hmp("help info"), re.M))


@test("HMP: every command says what is wrong")
def _():
    with Machine(BINARY, *MACHINE) as m:
        c = m.connect()
        names, wrong = hmp_names(c), []
        tables = {next((name for name in (" ".join(line.split()[:2]), line.split()[0]) if name in names), line) for line, words in HMP}
        for name in sorted(names):
            if name not in tables:
                said = c.hmp(name + " such thing")
                if name not in SILENT and "%s: extraneous characters at the end of line\r\nTry \"help %s\"" % (name, name) not in said.replace(
                        "|" + name[0], ""):
                    wrong.append((name, said))
        for line, words in HMP:
            said = c.hmp(line)
            if not re.search(words if "|" in words else re.escape(words), said):
                wrong.append((line, words, said))
        check(not wrong, "\n".join(map(repr, wrong)))
        same(c.do("query-status")["status"], "prelaunch")
        same(os.listdir("."), ["qmp"])


sys.exit(suite.run())
