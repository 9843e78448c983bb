#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-plug-boot.py BINARY: a disk that comes, boots under KVM and SeaBIOS, goes while its BARs are mapped, and comes again
in the same slot: what KVM kept of the one that went would swallow the notifications of the next, which then never answers.
TAP."""
import os
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..")]
from qmpclient import LIMIT, Machine  # noqa: E402
from tap import Skip, main, test  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
PORT = 0x505                                    # SeaBIOS itself speaks to port 402h
SECTOR = bytes.fromhex("b053" "ba0505" "ee" "fa" "f4" "ebfd").ljust(510, b"\0") + b"\x55\xaa"  # out 505h, 'S'; cli; hlt
SLOT = 9
PCI_SELECT, PCI_EJECT = 0xae10, 0xae08


def boots(turns, *devices):
    """So often: plugged in (the first device at SLOT, the others on its bus), booted from, taken out by its slot."""
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as reason:
        raise Skip("/dev/kvm: %s" % reason.strerror) from reason
    with open("disk", "wb") as f:
        f.write(SECTOR.ljust(1 << 20, b"\0"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("mark")
    listener.listen()
    listener.settimeout(LIMIT)
    with listener, Machine(BINARY, "-m", "32", "-blockdev", "driver=file,filename=disk,node-name=d", "-chardev",
                           "socket,path=mark,id=mark", "-device", "isa-debugcon,chardev=mark,iobase=%d" % PORT,
                           accel="kvm") as machine:
        mark = listener.accept()[0]
        mark.settimeout(LIMIT)
        with mark:
            qmp = machine.connect()
            for turn in range(turns):
                for device in devices:
                    qmp.do("device_add", **device)
                qmp.do("system_reset")
                try:
                    assert mark.recv(2) == b"S", "boot %d: the sector did not say S" % turn
                except TimeoutError:
                    raise AssertionError("boot %d: nothing in %d seconds" % (turn, LIMIT)) from None
                qmp.do("device_del", id=devices[0]["id"])
                for port, value in (PCI_SELECT, 0), (PCI_EJECT, 1 << SLOT):
                    said = qmp.hmp("o /w 0x%x 0x%x" % (port, value))
                    assert not said, said
                assert not [entry for entry in qmp.do("qom-list", path="/machine/peripheral") if entry["name"] == devices[0]["id"]]


def disk(**options):
    return {"driver": "virtio-blk-pci", "id": "disk", "drive": "d", "addr": "%x" % SLOT, **options}


@test
def modern_disk():
    boots(3, disk(disable_legacy="on"))


@test
def legacy_disk():
    boots(2, disk(disable_modern=True))


@test
def disk_behind_a_controller():
    boots(2, {"driver": "virtio-scsi-pci", "id": "scsi", "addr": "%x" % SLOT}, {"driver": "scsi-hd", "bus": "scsi.0", "drive": "d"})


sys.exit(main("kiln-plug-boot-"))
