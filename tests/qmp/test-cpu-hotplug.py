#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-cpu-hotplug.py BINARY ROM: CPUs come and go while a guest runs, under KVM; ROM is cpu-hotplug.S, which says on the
serial port what it sees. The registers alone are compared with QEMU's in tests/oracle/cpu-hotplug.py. TAP."""
import os
import socket
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpclient import LIMIT, Machine  # noqa: E402

BINARY, ROM = (os.path.abspath(name) for name in sys.argv[1:3])
CPU = "qemu64-x86_64-cpu"
TESTS = []


def test(function):
    TESTS.append(function)


class Guest:
    """The ROM in a machine with four places for CPUs, one of them taken."""

    def __init__(self, *args, irqchip="on", smp="1,maxcpus=4,sockets=4"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("serial")
        listener.listen()
        self.machine = Machine(BINARY, "-machine", "pc,kernel-irqchip=" + irqchip, "-smp", smp, "-m", "16", "-bios", ROM,
                               "-chardev", "socket,path=serial,id=s", "-serial", "chardev:s", *args, accel="kvm")
        listener.settimeout(LIMIT)
        self.serial = listener.accept()[0]
        listener.close()
        os.unlink("serial")
        self.serial.settimeout(LIMIT)
        self.qmp = self.machine.connect()

    def __enter__(self):
        self.expect("R")
        return self

    def __exit__(self, *reason):
        self.serial.close()
        self.machine.__exit__(*reason)

    def expect(self, text):
        for letter in text:
            heard = self.serial.recv(1).decode()
            assert heard == letter, "the guest says '%s', not '%s'" % (heard, letter)

    def plug(self, socket_id):
        self.qmp.do("device_add", driver=CPU, id="cpu%d" % socket_id, socket_id=socket_id, core_id=0, thread_id=0)

    def unplug(self, socket_id):
        self.qmp.do("device_del", id="cpu%d" % socket_id)

    def wait_deleted(self, name):
        """DEVICE_DELETED of this device."""
        while not any(e["event"] == "DEVICE_DELETED" and e["data"].get("device") == name for e in self.qmp.events):
            message = self.qmp.message()
            assert "event" in message, message
            self.qmp.events.append(message)
        self.qmp.events = []

    def cpus(self):
        return [entry["cpu-index"] for entry in self.qmp.do("query-cpus-fast")]

    def threads(self):
        return {entry["cpu-index"]: entry["thread-id"] for entry in self.qmp.do("query-cpus-fast")}


def come_and_go(guest):
    guest.plug(1)
    guest.expect("1")
    assert guest.cpus() == [0, 1]
    guest.plug(3)
    guest.expect("3")
    assert guest.cpus() == [0, 1, 3]
    tasks = os.listdir("/proc/%d/task" % guest.machine.process.pid)
    threads = guest.threads()
    assert len(set(threads.values())) == 3 and all(str(thread) in tasks for thread in threads.values()), threads
    guest.unplug(1)
    guest.expect("E")
    guest.wait_deleted("cpu1")
    assert guest.cpus() == [0, 3]
    guest.plug(1)
    guest.expect("1")
    assert guest.cpus() == [0, 1, 3]


@test
def come_and_go_kernel_irqchip_on():
    with Guest() as guest:
        come_and_go(guest)


@test
def come_and_go_kernel_irqchip_split():
    with Guest(irqchip="split") as guest:
        come_and_go(guest)


@test
def come_and_go_kernel_irqchip_off():
    with Guest(irqchip="off") as guest:
        come_and_go(guest)


@test
def a_cpu_ejects_itself():
    with Guest() as guest:
        for _ in range(3):
            guest.plug(2)
            guest.expect("2")
            guest.wait_deleted("cpu2")
            assert guest.cpus() == [0]


@test
def many_times():
    with Guest() as guest:
        for _ in range(10):
            guest.plug(1)
            guest.plug(3)
            assert sorted(guest.serial.recv(1).decode() for _ in range(2)) == ["1", "3"]
            guest.unplug(3)
            guest.wait_deleted("cpu3")
            guest.unplug(1)
            guest.wait_deleted("cpu1")
            guest.expect("EE")
        assert guest.cpus() == [0]
        assert len(os.listdir("/proc/%d/task" % guest.machine.process.pid)) < 12, "threads pile up"


@test
def while_the_vm_is_stopped():
    with Guest() as guest:
        guest.qmp.do("stop")
        guest.plug(1)
        assert guest.cpus() == [0, 1]
        guest.qmp.do("cont")
        guest.expect("1")
        guest.unplug(1)
        guest.expect("E")
        guest.wait_deleted("cpu1")


@test
def after_a_reset_the_cpus_are_still_there():
    with Guest() as guest:
        guest.plug(3)
        guest.expect("3")
        guest.qmp.do("system_reset")
        guest.expect("R")
        assert guest.cpus() == [0, 3]
        guest.unplug(3)
        guest.expect("E")
        guest.wait_deleted("cpu3")
        guest.qmp.do("system_reset")
        guest.expect("R")
        guest.plug(1)
        guest.expect("1")


@test
def what_looks_at_cpus_bears_a_gap():
    with Guest() as guest:
        guest.plug(3)
        guest.expect("3")
        registers = guest.qmp.hmp("info registers -a")
        assert "CPU#3" in registers and "CPU#1" not in registers, registers
        guest.qmp.do("inject-nmi")
        guest.qmp.do("dump-guest-memory", paging=False, protocol="file:" + os.path.abspath("dump"))
        assert os.path.getsize("dump") > 16 << 20
        assert guest.qmp.command("memsave", val=0, size=16, filename=os.path.abspath("m"), cpu_index=1)["error"]
        guest.qmp.do("memsave", val=0, size=16, filename=os.path.abspath("m"), cpu_index=3)
        assert [s["qom-path"] for s in guest.qmp.do("query-stats", target="vcpu")][1:] in ([], ["/machine/peripheral/cpu3"])
        guest.qmp.do("stop")
        guest.qmp.do("cont")


@test
def before_the_guest_starts():
    """As libvirt does it for <vcpu enabled='yes' hotpluggable='yes'>, and with -device."""
    with Guest("-device", CPU + ",id=cpu3,socket-id=3,core-id=0,thread-id=0") as guest:
        assert guest.cpus() == [0, 3]
        guest.unplug(3)
        guest.expect("E")
        guest.wait_deleted("cpu3")
    guest = Guest("-S")
    guest.plug(1)
    assert guest.cpus() == [0, 1]
    guest.qmp.do("cont")
    with guest:
        guest.unplug(1)
        guest.expect("E")
        guest.wait_deleted("cpu1")


@test
def the_guest_reports():
    with Guest() as guest:
        guest.plug(1)
        guest.expect("1")
        for _ in range(LIMIT * 100):
            status = guest.qmp.do("query-acpi-ospm-status")
            if any(e["event"] == "ACPI_DEVICE_OST" for e in guest.qmp.events):
                break
            time.sleep(0.01)
        data = next(e for e in guest.qmp.events if e["event"] == "ACPI_DEVICE_OST")["data"]
        assert data == {"info": {"device": "cpu1", "slot": "1", "slot-type": "CPU", "source": 1, "status": 0}}, data
        assert len(status) == 4 and status[1] == data["info"], status


def main():
    print("1..%d" % len(TESTS))
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        for number, function in enumerate(TESTS, 1):
            print("ok %d %s # SKIP no /dev/kvm" % (number, function.__name__))
        return 0
    failed = False
    with tempfile.TemporaryDirectory(prefix="kiln-cpus-") as work:
        os.chdir(work)
        for number, function in enumerate(TESTS, 1):
            try:
                function()
                print("ok %d %s" % (number, function.__name__), flush=True)
            except Exception:  # pylint: disable=broad-except
                print("# " + traceback.format_exc().strip().replace("\n", "\n# "))
                print("not ok %d %s" % (number, function.__name__), flush=True)
                failed = True
            for name in os.listdir(work):
                os.unlink(name)
    return failed


sys.exit(main())
