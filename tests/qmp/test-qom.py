#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt walks in the tree of objects when it starts a guest, through a real monitor. test-qom.py BINARY"""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpclient import Connection  # noqa: E402

ARGS = ["-accel", "qtest", "-S", "-display", "none", "-nodefaults", "-m", "64", "-machine", "pc,memory-backend=pc.ram",
        "-object", '{"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}',
        "-object", "iothread,id=iothread1", "-device", "isa-serial,id=serial0,chardev=c", "-chardev", "null,id=c"]


def run(binary, work):
    path = os.path.join(work, "qmp")
    process = subprocess.Popen([binary, *ARGS, "-qmp", f"unix:{path},server=on,wait=off", "-pidfile", work + "/pid",
                                "-daemonize"], stdin=subprocess.DEVNULL)
    assert process.wait(120) == 0
    connection = Connection(path)
    assert "QMP" in connection.message()

    def ask(command, **arguments):
        connection.send({"execute": command, "arguments": arguments})
        return connection.reply()

    def get(command, **arguments):
        reply = ask(command, **arguments)
        assert "return" in reply, (command, arguments, reply)
        return reply["return"]

    def error(command, **arguments):
        return ask(command, **arguments)["error"]["class"]

    get("qmp_capabilities")
    types = {entry["name"] for entry in get("qom-list-types")}
    assert {"iothread", "memory-backend-memfd", "isa-serial", "pc-i440fx-7.2-machine", "host-x86_64-cpu"} <= types
    assert not types & {"tcg-accel", "device", "object"}, "abstract or absent types are listed"
    for name in ("memory-backend-file", "none-machine", "pc-i440fx-7.2-machine", "host-x86_64-cpu", "max-x86_64-cpu"):
        assert any(entry["name"] == "type" for entry in get("qom-list-properties", typename=name)), name
    assert error("device-list-properties", typename="virtio-nosuch-pci") == "DeviceNotFound"
    assert {entry["name"] for entry in get("device-list-properties", typename="PIIX4_PM")} >= {"disable_s3", "disable_s4"}
    cpu = "/machine/unattached/device[0]"
    features = [entry["name"] for entry in get("qom-list", path=cpu) if entry["type"] == "bool"]
    assert {"sse2", "lm", "realized"} <= set(features)
    for name in features:
        assert isinstance(get("qom-get", path=cpu, property=name), bool), name
    assert isinstance(get("qom-get", path=cpu, property="unavailable-features"), list)
    assert [entry["name"] for entry in get("qom-list", path="/machine/peripheral")] == ["type", "serial0"]
    assert get("query-iothreads")[0]["id"] == "iothread1"
    assert get("query-memory-size-summary")["base-memory"] == 64 << 20
    # Every object of the tree, every property of it.
    todo, objects = ["/"], 0
    while todo:
        place = todo.pop()
        objects += 1
        for entry in get("qom-list", path=place):
            value = get("qom-get", path=place, property=entry["name"])
            if entry["type"].startswith("child<"):
                todo.append(value)
    assert objects > 20
    get("object-add", **{"qom-type": "secret", "id": "s", "data": "x"})
    get("device_add", driver="pci-testdev", id="pt")
    get("device_del", id="pt")
    get("object-del", id="s")
    assert error("object-del", id="pc.ram") == "GenericError"
    assert error("device_del", id="nope") == "DeviceNotFound"
    connection.send({"execute": "quit"})
    print(f"# {objects} objects, {len(features)} features of the CPU, {len(types)} types")


if __name__ == "__main__":
    print("1..1", flush=True)
    with tempfile.TemporaryDirectory(prefix="kiln-qom-") as folder:
        run(os.path.abspath(sys.argv[1]), folder)
    print("ok 1 the tree as libvirt walks it")
