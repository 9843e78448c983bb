#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-libvirt.py EMULATOR [NAME...]: Debian's libvirt manages guests of this emulator. TAP.

The guests are firmware at its prompt: what a real guest adds (an orderly shutdown, a reboot) is in tests/guest.
Runs with QEMU as the emulator too; KILN_LIBVIRT_CPU=qemu64 helps where that cannot give the host's CPU to a guest."""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import daemon
from daemon import Daemon, Domain, Events, Failed, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
SERIAL = "<serial type='pty'><target port='0'/></serial><console type='pty'><target type='serial' port='0'/></console>"
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Skipped(Exception):
    pass


def skip(reason):
    raise Skipped(reason)


def check(condition, text):
    if not condition:
        raise Failed(text)


def custom(model):
    return "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>%s</model></cpu>" % model


class World:
    """What the tests share: the daemon, the emulator, a folder."""

    def __init__(self, emulator):
        self.work = tempfile.mkdtemp(prefix="kiln-libvirt.")
        self.emulator = os.path.abspath(emulator)
        self.daemon = Daemon(self.work)
        self.numbers = iter(range(1, 10000))

    def disk(self, megabytes=8):
        path = os.path.join(self.work, "disk%d.raw" % next(self.numbers))
        with open(path, "wb") as file:
            file.truncate(megabytes << 20)
        return path

    def ide(self, path, letter="a", driver="raw"):
        return ("<disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s'/>"
                "<target dev='hd%s' bus='ide'/></disk>" % (driver, path, letter))

    def domain(self, name, **parts):
        parts.setdefault("devices", SERIAL + self.ide(self.disk()))
        if os.environ.get("KILN_LIBVIRT_CPU"):
            parts.setdefault("cpu", custom(os.environ["KILN_LIBVIRT_CPU"]))
        return Domain(self.daemon, name, self.emulator, **parts).define()


def rom(w, source):
    """The part of <os> that makes this assembler source the firmware."""
    path = os.path.join(w.work, os.path.basename(source) + ".rom")
    if not os.path.exists(path):
        daemon.run("as", "--32", "-I", os.path.join(HERE, "../firmware"), "-o", path + ".o", os.path.join(HERE, source))
        daemon.run("ld", "-m", "elf_i386", "-Ttext=0", "--oformat", "binary", "-o", path, path + ".o")
    return "<loader readonly='yes' type='rom'>%s</loader>" % path


class Output:
    """A serial port that writes to a file: a terminal loses what comes before somebody is seen to listen."""

    def __init__(self, w):
        self.path, self.at = os.path.join(w.work, "serial%d" % next(w.numbers)), 0
        self.xml = "<serial type='file'><source path='%s'/><target port='0'/></serial>" % self.path

    def read(self):
        """What has come and was not expected yet."""
        with open(self.path, "rb") as file:
            file.seek(self.at)
            return file.read()

    def expect(self, text):
        """Waits until text has come, and forgets it and what was before."""
        wait_for("%r on the serial port" % text, lambda: text in self.read())
        self.at += self.read().index(text) + len(text)


class Running:
    """A domain that runs while the block does."""

    def __init__(self, world, name, *start, **parts):
        self.domain, self.start = world.domain(name, **parts), start

    def __enter__(self):
        self.domain.virsh("start", *self.start)
        return self.domain

    def __exit__(self, *_):
        self.domain.remove()


# ---- probing --------------------------------------------------------------------------------------

@test
def capabilities_are_probed(w):
    text = w.daemon.virsh("domcapabilities", "--emulatorbin", w.emulator, "--virttype", "kvm", "--arch", "x86_64",
                          "--machine", "pc")
    check("<path>%s</path>" % w.emulator in text, "another emulator answered")
    check(re.search(r"<mode name='host-passthrough' supported='yes'>", text), "no host-passthrough:\n" + text)
    check(re.search(r"<mode name='host-model' supported='yes'>", text), "no host-model:\n" + text)
    check(re.search(r"<mode name='custom' supported='yes'>", text), "no custom models")
    check("pc-i440fx-7.2" in text, "pc is no name of a versioned machine")


# ---- run control ------------------------------------------------------------------------------------

@test
def define_start_destroy(w):
    domain = w.domain("life")
    check(domain.state() == "shut off", "not shut off after define")
    domain.virsh("start")
    check(domain.state() == "running", "not running")
    pid = domain.pid()
    check(os.path.realpath("/proc/%d/exe" % pid) == os.path.realpath(w.emulator), "another program runs")
    check("life" in w.daemon.virsh("list", "--name"), "not in virsh list")
    domain.virsh("destroy")
    check(domain.state() == "shut off", "not shut off after destroy")
    wait_for("the process ends", lambda: not daemon.alive(pid))
    domain.virsh("undefine")
    check("life" not in w.daemon.virsh("list", "--all", "--name"), "still listed")


@test
def what_is_done_reaches_the_guest(w):
    console = Output(w)
    with Running(w, "reaches", os=rom(w, "guest.S"), devices=console.xml) as domain:
        console.expect(b"R")
        domain.virsh("send-key", "KEY_A")
        console.expect(b"\x1c")
        console.expect(b"\xf0\x1c")
        domain.virsh("send-key", "--codeset", "linux", "--holdtime", "20", "KEY_LEFTCTRL", "KEY_B")
        console.expect(b"\x14\x32")
        console.expect(b"\xf0\x32\xf0\x14")  # or they come up after the reset
        domain.virsh("inject-nmi")
        console.expect(b"N")
        domain.virsh("reset")
        console.expect(b"R")
        domain.virsh("suspend")
        domain.virsh("send-key", "KEY_A")
        check(not console.read(), "it runs while it is suspended: %r" % console.read())
        domain.virsh("resume")
        domain.virsh("send-key", "KEY_B")
        console.expect(b"\x32")
        console.expect(b"\xf0\x32")
        pid = domain.pid()
        domain.virsh("reboot", "--mode", "acpi")
        console.expect(b"PR")
        check(domain.pid() == pid and domain.state() == "running", "reboot ended the process")
        domain.virsh("shutdown", "--mode", "acpi")
        console.expect(b"P")
        domain.wait_state("shut off")
        wait_for("the process ends", lambda: not daemon.alive(pid))


@test
def create_paused_then_resume(w):
    with Running(w, "paused", "--paused") as domain:
        check(domain.state() == "paused", "not paused")
        check('"prelaunch"' in domain.qmp('{"execute":"query-status"}'), "not in prelaunch")
        domain.virsh("resume")
        check(domain.state() == "running", "not running after resume")


@test
def suspend_and_resume(w):
    with Running(w, "suspend") as domain, Events(domain) as events:
        domain.virsh("suspend")
        check(domain.state() == "paused", "not paused")
        check('"status":"paused"' in domain.qmp('{"execute":"query-status"}'), "the emulator is not paused")
        events.wait("STOP")
        domain.virsh("resume")
        check(domain.state() == "running", "not running")
        events.wait("RESUME")


@test
def reset_and_shutdown_reach_the_guest(w):
    with Running(w, "reset") as domain, Events(domain) as events:
        domain.virsh("reset")
        events.wait("RESET")
        check(domain.state() == "running", "not running after the reset")
        domain.virsh("shutdown")
        events.wait("POWERDOWN")


@test
def nmi_and_keys(w):
    with Running(w, "keys") as domain:
        domain.virsh("inject-nmi")
        domain.virsh("send-key", "KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE")
        domain.virsh("send-key", "--codeset", "linux", "--holdtime", "20", "KEY_A")
        check(domain.state() == "running", "not running")


@test
def set_lifecycle_action(w):
    with Running(w, "action") as domain:
        domain.virsh("set-lifecycle-action", "reboot", "destroy")
        pid = domain.pid()
        # With reboot=destroy libvirt asks the emulator to shut down instead of resetting.
        domain.qmp('{"execute":"system_reset"}')
        domain.wait_state("shut off")
        wait_for("the process ends", lambda: not daemon.alive(pid))


@test
def set_lifecycle_action_restart(w):
    """A guest that powers off begins again in the same process, until it may not any more."""
    console = Output(w)
    with Running(w, "again", os=rom(w, "guest.S"), devices=console.xml) as domain:
        console.expect(b"R")
        domain.virsh("set-lifecycle-action", "poweroff", "restart")
        pid = domain.pid()
        domain.virsh("shutdown", "--mode", "acpi")
        console.expect(b"PR")
        check(domain.pid() == pid and domain.state() == "running", "another process runs")
        domain.virsh("set-lifecycle-action", "poweroff", "destroy")
        domain.virsh("shutdown", "--mode", "acpi")
        console.expect(b"P")
        domain.wait_state("shut off")


# ---- snapshots ---------------------------------------------------------------------------------------

def images(path):
    """[file name] of an image and what is below it, as qemu-img sees it."""
    said = subprocess.run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", path], stdout=subprocess.PIPE, check=True).stdout
    return [os.path.basename(image["filename"]) for image in json.loads(said)]


@test
def snapshots(w):
    """Overlays of two disks of a guest that runs, made by libvirt (blockdev-create, a transaction), one over the other."""
    disks = [os.path.join(w.work, "snap%d.qcow2" % n) for n in range(2)]
    for path in disks:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "16M"], check=True)
    devices = SERIAL + "".join(w.ide(path, "ab"[n], "qcow2") for n, path in enumerate(disks))
    with Running(w, "snapshots", devices=devices) as domain:
        for name in ("one", "two"):
            domain.virsh("snapshot-create-as", name, "--disk-only", "--atomic")
        check(re.search(r"one .*disk-snapshot\n.* two .*disk-snapshot", domain.virsh("snapshot-list")), domain.virsh("snapshot-list"))
        for n, path in enumerate(disks):
            top = path.replace(".qcow2", ".two")
            check(top in domain.virsh("domblklist"), domain.virsh("domblklist"))
            check(images(top) == ["snap%d.%s" % (n, end) for end in ("two", "one", "qcow2")], images(top))
        try:
            domain.virsh("snapshot-create-as", "three", "--disk-only", "--diskspec", "hda,file=/nowhere/x")
        except Failed as reason:
            check("/nowhere/x" in str(reason), reason)
        else:
            raise Failed("an overlay in a directory that is not there")
        domain.virsh("suspend")
        domain.virsh("resume")


# ---- information -------------------------------------------------------------------------------------

@test
def information(w):
    with Running(w, "info", vcpus="2", memory=96) as domain:
        check("CPU(s):         2" in domain.virsh("dominfo"), "dominfo has no 2 CPUs")
        check(len(re.findall(r"^VCPU:", domain.virsh("vcpuinfo"), re.M)) == 2, "vcpuinfo has no 2 CPUs")
        domain.virsh("vcpupin", "1", "0")
        threads = os.listdir("/proc/%d/task" % domain.pid())
        masks = [open("/proc/%d/task/%s/status" % (domain.pid(), t)).read() for t in threads]
        pinned = [m for m in masks if re.search(r"^Cpus_allowed_list:\s0$", m, re.M)]
        check(len(pinned) == 1 or os.cpu_count() == 1, "%d threads are pinned to CPU 0" % len(pinned))
        memory = dict(line.split() for line in domain.virsh("dommemstat").splitlines() if line)
        check(int(memory["rss"]) > 1000, "dommemstat: %s" % memory)
        check("hda" in domain.virsh("domblklist"), "domblklist")
        check(re.search(r"Capacity:\s+%d" % (8 << 20), domain.virsh("domblkinfo", "hda")), "domblkinfo")
        check("rd_req" in domain.virsh("domblkstat", "hda"), "domblkstat")
        stats = domain.virsh("domstats")
        check("vcpu.current=2" in stats and "block.0.name=hda" in stats, "domstats:\n" + stats)
        check("vcpu.1.exits" in stats, "no counters of KVM:\n" + stats)
        check("no errors" in domain.virsh("domblkerror").lower(), "domblkerror")
        check("running" in domain.virsh("qemu-monitor-command", "--hmp", "info status"), "HMP info status")
        reply = json.loads(domain.qmp('{"execute":"query-name"}'))
        check(reply["return"]["name"] == "info", "query-name")


@test
def cpus_come_and_go(w):
    console = Output(w)
    with Running(w, "cpus", vcpus="4", current=" current='1'", os=rom(w, "../qmp/cpu-hotplug.S"),
                 devices=console.xml) as domain:
        console.expect(b"R")
        domain.virsh("setvcpus", "2", "--live")
        console.expect(b"1")
        check(re.search(r"current\s+live\s+2", domain.virsh("vcpucount")), domain.virsh("vcpucount"))
        check(len(re.findall(r"^VCPU:", domain.virsh("vcpuinfo"), re.M)) == 2, "vcpuinfo has no 2 CPUs")
        domain.virsh("vcpupin", "1", "0")
        domain.virsh("setvcpu", "3", "--enable", "--live")
        console.expect(b"3")
        check("vcpu.current=3" in domain.virsh("domstats"), domain.virsh("domstats"))
        domain.virsh("setvcpus", "1", "--live")
        console.expect(b"E")
        console.expect(b"E")
        wait_for("one CPU is left", lambda: re.search(r"current\s+live\s+1", domain.virsh("vcpucount")))
        check(len(json.loads(domain.qmp('{"execute":"query-cpus-fast"}'))["return"]) == 1, "the emulator has more than one")
        domain.virsh("setvcpus", "2", "--live")
        console.expect(b"1")
        w.daemon.stop()
        w.daemon.start()
        check(re.search(r"current\s+live\s+2", domain.virsh("vcpucount")), "the new libvirtd: " + domain.virsh("vcpucount"))


@test
def a_cpu_is_there_from_the_start(w):
    vcpus = ("<vcpus><vcpu id='0' enabled='yes' hotpluggable='no'/><vcpu id='1' enabled='yes' hotpluggable='yes'/>"
             "<vcpu id='2' enabled='no' hotpluggable='yes'/></vcpus>")
    with Running(w, "cpuhere", vcpus="3", current=" current='2'", top=vcpus, devices=SERIAL) as domain:
        check("/machine/peripheral/vcpu1" in domain.qmp('{"execute":"query-cpus-fast"}'), "CPU 1 was not added")


MEMORY = ("<maxMemory slots='4' unit='MiB'>512</maxMemory>", "<cpu mode='host-passthrough'><numa><cell id='0' cpus='0' memory='64' "
          "unit='MiB'/></numa></cpu>")


@test
def memory_comes_and_goes(w):
    console = Output(w)
    module = os.path.join(w.work, "dimm.xml")
    with open(module, "w") as file:
        file.write("<memory model='dimm'><target><size unit='MiB'>64</size><node>0</node></target></memory>")
    with Running(w, "memory", top=MEMORY[0], cpu=MEMORY[1], os=rom(w, "hotplug.S"), devices=console.xml) as domain:
        console.expect(b"R")
        for count in (1, 2):
            domain.virsh("attach-device", module, "--live")
            console.expect(b"M")
            live = domain.virsh("dumpxml")
            check(live.count("<memory model='dimm'") == count, live)
            check("base='0x%x'" % (0x100000000 + (count - 1) * (64 << 20)) in live, live)
        check(re.search(r"Used memory:\s+%d KiB" % (192 << 10), domain.virsh("dominfo")), domain.virsh("dominfo"))
        w.daemon.stop(kill=True)
        w.daemon.start()
        alias = re.findall(r"<alias name='(dimm\d)'/>", domain.virsh("dumpxml"))
        check(alias == ["dimm0", "dimm1"], "the new libvirtd knows %s" % alias)
        domain.virsh("detach-device-alias", "dimm1", "--live")
        console.expect(b"m")
        wait_for("one module is left", lambda: domain.virsh("dumpxml").count("<memory model='dimm'") == 1)
        devices = json.loads(domain.qmp('{"execute":"query-memory-devices"}'))["return"]
        check([d["data"]["id"] for d in devices] == ["dimm0"], str(devices))
        memdevs = json.loads(domain.qmp('{"execute":"query-memdev"}'))["return"]
        check(not any("dimm1" in m["id"] for m in memdevs), "its memory is still there: %s" % memdevs)


@test
def a_module_is_there_from_the_start(w):
    module = "<memory model='dimm'><target><size unit='MiB'>64</size><node>0</node></target></memory>"
    # libvirt counts modules as part of <memory>.
    with Running(w, "dimm", memory=128, top=MEMORY[0], cpu=MEMORY[1], devices=SERIAL + module) as domain:
        check("slot='0' base='0x100000000'" in domain.virsh("dumpxml"), domain.virsh("dumpxml"))


@test
def disks_come_and_go(w):
    console = Output(w)
    image = w.disk(16)
    with open(image, "r+b") as file:
        file.write(b"#")
    with Running(w, "disks", os=rom(w, "hotplug.S"), devices=console.xml + w.ide(w.disk())) as domain:
        console.expect(b"R")
        for _ in range(4):
            domain.virsh("attach-disk", image, "vdb", "--targetbus", "virtio", "--live")
            console.expect(b"U#")
            check(re.search(r"vdb\s+%s" % image, domain.virsh("domblklist")), domain.virsh("domblklist"))
            check(re.search(r"Capacity:\s+%d" % (16 << 20), domain.virsh("domblkinfo", "vdb")), "domblkinfo")
            domain.virsh("detach-disk", "vdb", "--live")
            console.expect(b"D")
            wait_for("the disk is gone", lambda: "vdb" not in domain.virsh("domblklist"))
            nodes = json.loads(domain.qmp('{"execute":"query-named-block-nodes"}'))["return"]
            check(not any(image == node["file"] for node in nodes), "the image is still open: %s" % nodes)


@test
def virtio_disks(w):
    """One is booted from; its sector says so."""
    boot = boot_sector(w, b"hello from virtio\r\n")
    devices = "".join("<disk type='file' device='disk'><driver name='qemu' type='raw' %s/><source file='%s'/><target dev='vd%s' "
                      "bus='virtio'/><serial>number-%s</serial></disk>" % (more, path, letter, letter)
                      for letter, path, more in (("a", boot, ""), ("b", w.disk(), "cache='none' io='native' queues='1'")))
    console = Output(w)
    with Running(w, "virtio", devices=devices + console.xml) as domain:
        console.expect(b"hello from virtio")
        stats = domain.virsh("domstats", "--block")
        check("block.count=2" in stats and re.search(r"block.0.rd.reqs=[1-9]", stats), stats)
        check("vdb" in domain.virsh("domblklist"), "domblklist")


@test
def balloon_channel_and_input(w):
    """A guest without drivers keeps its memory; the target reaches the device all the same."""
    devices = SERIAL + w.ide(w.disk()) + ("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
                                          "<input type='tablet' bus='virtio'/><input type='keyboard' bus='virtio'/>")
    with Running(w, "balloon", balloon="<memballoon model='virtio' autodeflate='on'><stats period='2'/></memballoon>",
                 devices=devices) as domain:
        memory = dict(line.split() for line in domain.virsh("dommemstat").splitlines() if line)
        check(int(memory["actual"]) == 64 * 1024, "dommemstat: %s" % memory)
        domain.virsh("setmem", "32M", "--live")
        reply = json.loads(domain.qmp('{"execute":"query-balloon"}'))
        check(reply["return"]["actual"] == 64 << 20, "query-balloon: %s" % reply)
        interval = json.loads(domain.qmp('{"execute":"qom-get","arguments":{"path":"/machine/peripheral/balloon0",'
                                         '"property":"guest-stats-polling-interval"}}'))
        check(interval["return"] == 2, "polling interval: %s" % interval)
        check("disconnected" in domain.virsh("dumpxml"), "the agent's channel has no state")


@test
def what_virt_manager_asks(w):
    check("<guest>" in w.daemon.virsh("capabilities"), "capabilities")
    with Running(w, "asked") as domain:
        xml = os.path.join(w.work, "asked.xml")
        line = w.daemon.virsh("domxml-to-native", "qemu-argv", xml)
        check(w.emulator in line and "-device" in line, line)
        with open(xml + ".live", "w") as file:
            file.write(domain.virsh("dumpxml", "--security-info"))
        check("<domain type='kvm' id=" in open(xml + ".live").read(), "no live XML")
        w.daemon.virsh("define", "--validate", xml + ".live")
        check("running" in w.daemon.virsh("list", "--all"), "list")
        for command in ("domblklist", "domiflist", "snapshot-list", "checkpoint-list", "domjobinfo", "domcontrol", "vcpucount",
                        "emulatorpin", "domid", "domuuid"):
            domain.virsh(command)
        check("total_bytes_sec" in domain.virsh("blkdeviotune", "hda"), "blkdeviotune")
    w.daemon.virsh("nodeinfo")
    w.daemon.virsh("version")


@test
def unknown_command_is_an_error_for_the_user(w):
    with Running(w, "unknown") as domain:
        reply = json.loads(domain.qmp('{"execute":"no-such-command"}'))
        check(reply["error"]["class"] == "CommandNotFound", "class " + reply["error"]["class"])


@test
def console_shows_the_serial_port(w):
    if not hasattr(w, "bootable"):
        w.bootable = boot_sector(w, b"hello from the boot sector\r\n")
    with Running(w, "console", "--paused", devices=SERIAL + w.ide(w.bootable)) as domain:
        path = domain.virsh("ttyconsole").strip()
        check(path.startswith("/dev/pts/"), "ttyconsole says '%s'" % path)
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        domain.virsh("resume")
        seen = bytearray()

        def arrived():
            try:
                seen.extend(os.read(fd, 4096))
            except BlockingIOError:
                pass
            return b"hello from the boot sector" in seen
        wait_for("the guest's greeting on the console", arrived)
        os.close(fd)


@test
def virsh_console(w):
    """On a terminal, as virsh wants one; ^] ends it."""
    with Running(w, "talk", "--paused", os=rom(w, "guest.S")) as domain:
        pid, fd = pty.fork()
        if pid == 0:
            os.execvp("virsh", ["virsh", "-c", daemon.URI, "console", domain.name])
        seen = bytearray()

        def said(text):
            ready = select.select([fd], [], [], 0)[0]
            if ready:
                seen.extend(os.read(fd, 4096))
            return text in seen
        wait_for("virsh console connects", lambda: said(b"Escape character"))
        domain.virsh("resume")

        def typed():
            domain.virsh("send-key", "KEY_A")  # the guest says what it gets; what is said too early is lost
            return said(b"\x1c")
        wait_for("the guest's answer on the console", typed)
        os.write(fd, b"\x1d")
        wait_for("virsh console ends", lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
        os.close(fd)


def boot_sector(w, text):
    """A disk whose boot sector writes text to the first serial port and halts."""
    code = bytes.fromhex("31c08ed8be") + (0x7c00 + 32).to_bytes(2, "little")  # xor ax,ax; mov ds,ax; mov si,text
    code += bytes.fromhex("baf803ac84c07403eeebf8f4ebfd")  # mov dx,3f8h; lodsb; test al,al; jz; out dx,al; jmp; hlt; jmp
    sector = code.ljust(32, b"\x90") + text + b"\0"
    path = w.disk()
    with open(path, "r+b") as file:
        file.write(sector.ljust(510, b"\0") + b"\x55\xaa")
    return path


@test
def memory_dump(w):
    with Running(w, "dump", memory=32) as domain:
        path = os.path.join(w.work, "memory.elf")
        domain.virsh("dump", "--memory-only", path)
        with open(path, "rb") as file:
            check(file.read(4) == b"\x7fELF", "no ELF file")
        check(os.path.getsize(path) >= 32 << 20, "less than the guest's memory")
        check(domain.state() == "running", "not running after the dump")
        os.unlink(path)


# ---- what users get wrong -----------------------------------------------------------------------------

@test
def a_missing_image_is_named(w):
    domain = w.domain("missing", devices=w.ide(w.disk()))
    os.unlink(re.search(r"source file='([^']+)'", domain.xml())[1])
    try:
        reason = domain.refused_start()
        check("No such file" in reason or "cannot access" in reason.lower(), reason)
    finally:
        domain.remove()


@test
def a_locked_image_is_refused(w):
    disk = w.disk()
    with Running(w, "first", devices=w.ide(disk)):
        second = w.domain("second", devices=w.ide(disk))
        try:
            reason = second.refused_start()
            check("lock" in reason, reason)
        finally:
            second.remove()


# ---- CPU models ------------------------------------------------------------------------------------------

@test
def host_model_cpu(w):
    with Running(w, "hostmodel", cpu="<cpu mode='host-model'/>") as domain:
        check("<model" in domain.virsh("dumpxml"), "no model in the live XML")


@test
def maximum_cpu(w):
    with Running(w, "maximum", cpu="<cpu mode='maximum'/>") as domain:
        check(domain.state() == "running", "not running")


@test
def host_model_without_some_features(w):
    """What a guest that moves among several hosts gets: the host's model less what one of them has not."""
    for feature in ("aes", "avx", "sse4.2"):
        cpu = "<cpu mode='host-model'><feature policy='disable' name='%s'/></cpu>" % feature
        with Running(w, "less", cpu=cpu) as domain:
            live = domain.virsh("dumpxml")
            check(re.search(r"policy='disable' name='%s'" % feature, live), "not disabled in the live XML:\n" + live)
            value = domain.qmp('{"execute":"qom-get","arguments":{"path":"/machine/unattached/device[0]","property":"%s"}}' % feature)
            check(json.loads(value)["return"] is False, "the CPU has " + feature)


@test
def custom_cpu(w):
    for model in ("qemu64", "kvm64", "Nehalem"):
        with Running(w, "cpu-" + model.lower(), cpu=custom(model)) as domain:
            check(domain.state() == "running", model + " does not run")


@test
def usable_cpu_models_start(w):
    """Some of those that the probing found usable here."""
    text = w.daemon.virsh("domcapabilities", "--emulatorbin", w.emulator, "--virttype", "kvm", "--arch", "x86_64", "--machine", "pc")
    models = re.findall(r"<model usable='(yes|no)'[^>]*>([^<]+)</model>", text)
    check(len(models) > 50, "only %d models" % len(models))
    usable = [name for word, name in models if word == "yes"]
    check(usable, "none is usable")
    for name in usable[:8]:
        cpu = "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>%s</model></cpu>" % name
        with Running(w, "model", cpu=cpu) as domain:
            check(domain.state() == "running", name + " does not run")


@test
def features_of_the_machine(w):
    with Running(w, "features", vcpus="2", features="<acpi/><apic/><pae/><vmport state='off'/>",
                 clock="<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/>"
                       "<timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock>",
                 top="<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>",
                 os="<boot dev='cdrom'/><boot dev='hd'/><bootmenu enable='yes' timeout='10'/>") as domain:
        check(domain.state() == "running", "not running")


# ---- the daemon and the emulator come and go -----------------------------------------------------------------

@test
def libvirtd_restarts(w):
    for kill in (False, True):
        with Running(w, "stays%d" % kill) as domain:
            pid = domain.pid()
            w.daemon.stop(kill=kill)
            check(daemon.alive(pid), "the guest ended with libvirtd")
            w.daemon.start()
            check(domain.state() == "running", "the new libvirtd says " + domain.state())
            domain.virsh("suspend")
            check(domain.state() == "paused", "cannot be paused any more")


@test
def a_killed_emulator_is_noticed(w):
    with Running(w, "killed") as domain:
        os.kill(domain.pid(), signal.SIGKILL)
        domain.wait_state("shut off")
        domain.virsh("start")
        check(domain.state() == "running", "does not start again")


@test
def twenty_domains_at_once(w):
    domains = [w.domain("many%d" % n, memory=16, devices=SERIAL) for n in range(20)]
    try:
        starts = [subprocess.Popen(["virsh", "-q", "-c", daemon.URI, "start", d.name], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True) for d in domains]
        for start in starts:
            errors = start.communicate()[1]
            check(start.returncode == 0, errors)
        check(all(d.state() == "running" for d in domains), "not all run")
        for domain in domains:
            domain.virsh("suspend")
        check(all(d.state() == "paused" for d in domains), "not all are paused")
        w.daemon.stop(kill=True)
        w.daemon.start()
        check(all(d.state() == "paused" for d in domains), "not all are paused for the new libvirtd")
        for domain in domains:
            domain.virsh("resume")
        check(all('"running"' in d.qmp('{"execute":"query-status"}') for d in domains), "not all run again")
    finally:
        for domain in domains:
            domain.remove()


@test
def virt_install(w):
    for n, cpu in enumerate(("host-passthrough", "host-model")):
        name = "installed%d" % n
        try:
            daemon.run("virt-install", "--connect", daemon.URI, "--name", name, "--memory", "64", "--vcpus", "2", "--cpu", cpu,
                       "--disk", w.disk() + ",bus=ide,format=raw", "--import", "--network", "none", "--graphics", "none",
                       "--memballoon", "none", "--controller", "usb,model=none", "--osinfo", "linux2022", "--noautoconsole",
                       "--rng", "none", "--channel", "none", "--machine", "pc", "--xml", "./devices/emulator=" + w.emulator)
            check(w.daemon.virsh("domstate", name).strip() == "running", "not running")
        finally:
            w.daemon.virsh("destroy", name, check=False)
            w.daemon.virsh("undefine", name, check=False)


@test
def virt_install_as_it_is_written(w):
    """Nothing but what a user types: Kiln stands where libvirt looks for QEMU."""
    usual = "/usr/bin/qemu-system-x86_64"
    if not os.path.exists(usual):
        skip("no %s to put Kiln in the place of" % usual)
    daemon.run("mount", "--bind", w.emulator, usual)
    disk = w.disk()
    w.daemon.stop()
    w.daemon.start()
    try:
        for cpu in ("host-passthrough", "host-model"):
            daemon.run("virt-install", "--connect", daemon.URI, "--name", "d", "--memory", "1024", "--vcpus", "2", "--cpu", cpu, "--disk",
                       disk + ",bus=ide", "--import", "--network", "none", "--graphics", "none", "--memballoon", "none",
                       "--controller", "usb,model=none", "--noautoconsole", "--osinfo", "detect=on,require=off")
            check(w.daemon.virsh("domstate", "d").strip() == "running", "not running")
            reply = w.daemon.virsh("qemu-monitor-command", "d", '{"execute":"query-version"}')
            check("Kiln" in reply, reply)
            w.daemon.virsh("destroy", "d")
            w.daemon.virsh("undefine", "d")
    finally:
        w.daemon.virsh("destroy", "d", check=False)
        w.daemon.virsh("undefine", "d", check=False)
        w.daemon.stop()
        daemon.run("umount", "--lazy", usual)  # the emulator may not be quite gone


# ---- running them ------------------------------------------------------------------------------------------

def why_not():
    """Why libvirtd cannot have namespaces and KVM here; None: it can."""
    if subprocess.run([*daemon.UNSHARE, "true"], capture_output=True).returncode:
        return "namespaces of its own are refused"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "no /dev/kvm"
    return None


def main():
    emulator, names = sys.argv[1], sys.argv[2:]
    missing = daemon.missing_tools()
    if missing:
        print("Bail out! Not installed: %s; scripts/install-deps check does it" % ", ".join(missing))
        return 2
    reason = why_not()
    if reason:
        print("1..0 # SKIP " + reason)
        return 0
    daemon.enter_namespaces()
    world = World(emulator)
    tests = [t for t in TESTS if not names or t.__name__ in names]
    print("1..%d" % len(tests))
    failed = 0
    for number, function in enumerate(tests, 1):
        started = time.monotonic()
        try:
            if not world.daemon.process:
                world.daemon.start()
            function(world)
            print("ok %d %s (%.1f s)" % (number, function.__name__, time.monotonic() - started), flush=True)
        except Skipped as reason:
            print("ok %d %s # SKIP %s" % (number, function.__name__, reason), flush=True)
        except Exception as reason:
            failed += 1
            text = str(reason) if isinstance(reason, Failed) else traceback.format_exc()
            print("# " + text.strip().replace("\n", "\n# "))
            print("not ok %d %s" % (number, function.__name__), flush=True)
            if world.daemon.process and world.daemon.process.poll() is not None:
                world.daemon.stop()
    world.daemon.stop()
    shutil.rmtree(world.work)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
