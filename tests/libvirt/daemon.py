# SPDX-License-Identifier: GPL-2.0-or-later
"""A private libvirtd: its directories are file systems of a mount namespace of our own, so that it neither
sees nor disturbs the host's. Everything it starts ends with the PID namespace."""
import os
import re
import shutil
import subprocess
import sys
import time

PRIVATE = ["/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/etc/libvirt"]
URI = "qemu:///system"
# Who is not root is root of a user namespace.
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount", "--pid", "--fork",
           "--mount-proc", "--kill-child"]
PATIENCE = 180  # seconds without any progress: only a hang meets it

QEMU_CONF = """user = "root"
group = "root"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
security_default_confined = 0
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
"""
LIBVIRTD_CONF = """log_level = 2
log_filters = "1:qemu.qemu_monitor 3:*"
log_outputs = "1:file:%s"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
"""


class Failed(Exception):
    pass


def enter_namespaces():
    """Starts this program again in namespaces of its own; returns in the new one only."""
    if not os.environ.get("KILN_LIBVIRT_PRIVATE"):
        os.environ["KILN_LIBVIRT_PRIVATE"] = "1"
        os.execvp("unshare", [*UNSHARE, sys.executable, *sys.argv])
    child = os.fork()
    if child:
        be_init(child)


def be_init(child):
    """Process 1: waits for orphans too, as libvirt thinks that a zombie still lives. Ends with child."""
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def run(*args, check=True, text=None):
    """The output of a command; Failed with what it said when it does not end with status 0."""
    done = subprocess.run(args, capture_output=True, text=True, input=text, timeout=PATIENCE)
    if check and done.returncode:
        raise Failed("%s: status %d: %s%s" % (" ".join(args[:6]), done.returncode, done.stderr, done.stdout))
    return done.stdout


def wait_for(what, condition):
    """Until condition() is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise Failed("nothing came of: " + what)
        time.sleep(0.05)


def alive(pid):
    """Is it there, and no zombie?"""
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Daemon:
    """libvirtd and virtlogd with configuration, cache and sockets of their own."""

    def __init__(self, work):
        self.work, self.process = work, None
        self.log = os.path.join(work, "libvirtd.log")
        for path in PRIVATE:
            os.makedirs(path, exist_ok=True)
            run("mount", "-t", "tmpfs", "-o", "mode=755", "kiln-test", path)
        with open("/etc/libvirt/qemu.conf", "w") as file:
            file.write(QEMU_CONF)
        with open("/etc/libvirt/libvirtd.conf", "w") as file:
            file.write(LIBVIRTD_CONF % self.log)

    def start(self):
        self.process = subprocess.Popen(["libvirtd"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for("libvirtd answers", lambda: self.answers() or self.dead())

    def answers(self):
        return subprocess.run(["virsh", "-c", URI, "uri"], capture_output=True).returncode == 0

    def dead(self):
        if self.process.poll() is not None:
            raise Failed("libvirtd ended with status %d; the end of its log:\n%s" % (self.process.returncode,
                                                                                     self.tail()))
        return False

    def stop(self, kill=False):
        if self.process:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait()
            self.process = None

    def tail(self, lines=30):
        with open(self.log, errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def virsh(self, *args, check=True):
        self.dead()
        try:
            return run("virsh", "-q", "-c", URI, *args, check=check)
        except Failed:
            self.dead()
            raise


class Domain:
    """One domain: its XML, and the questions and orders of virsh."""

    def __init__(self, daemon, name, emulator, **parts):
        self.daemon, self.name, self.emulator = daemon, name, emulator
        self.parts = {"memory": 64, "vcpus": "1", "current": "", "cpu": "<cpu mode='host-passthrough'/>", "os": "", "features": "<acpi/>",
                      "devices": "", "balloon": "<memballoon model='none'/>", "top": "", "clock": "<clock offset='utc'/>", **parts}

    def xml(self):
        return """<domain type='kvm'>
  <name>%(name)s</name>
  <memory unit='MiB'>%(memory)s</memory>
  <vcpu%(current)s>%(vcpus)s</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>%(os)s</os>
  <features>%(features)s</features>
  %(cpu)s
  %(clock)s
  %(top)s
  <devices>
    <emulator>%(emulator)s</emulator>
    <controller type='usb' model='none'/>
    %(balloon)s
    %(devices)s
  </devices>
</domain>
""" % {**self.parts, "name": self.name, "emulator": self.emulator}

    def define(self):
        path = os.path.join(self.daemon.work, self.name + ".xml")
        with open(path, "w") as file:
            file.write(self.xml())
        self.daemon.virsh("define", path)
        return self

    def virsh(self, command, *args, check=True):
        return self.daemon.virsh(command, self.name, *args, check=check)

    def state(self):
        return self.virsh("domstate").strip()

    def wait_state(self, state):
        wait_for("%s is '%s'" % (self.name, state), lambda: self.state() == state)

    def qmp(self, text):
        return self.virsh("qemu-monitor-command", text)

    def pid(self):
        with open("/run/libvirt/qemu/%s.pid" % self.name) as file:
            return int(file.read())

    def refused_start(self):
        """Why it did not start: what virsh said, and the end of its log. libvirt 9.0 says only that it could not connect
        when it finds the emulator ended and not yet reaped."""
        try:
            self.virsh("start")
        except Failed as reason:
            path = "/var/log/libvirt/qemu/%s.log" % self.name
            text = str(reason)
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    text += "".join(file.readlines()[-5:])
            return text
        raise Failed("%s started" % self.name)

    def remove(self):
        self.virsh("destroy", check=False)
        self.virsh("undefine", check=False)


class Events:
    """The emulator's own events as libvirt forwards them, while the block runs."""

    def __init__(self, domain):
        self.domain = domain

    def __enter__(self):
        self.process = subprocess.Popen(["virsh", "-q", "-c", URI, "qemu-monitor-event", "--loop", self.domain.name],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        self.text = b""
        os.set_blocking(self.process.stdout.fileno(), False)
        time.sleep(0.5)  # virsh says nothing when it listens
        return self

    def names(self):
        self.text += self.process.stdout.read() or b""  # None: nothing new (a buffered file fails there)
        return re.findall(r"event (\S+)\s", self.text.decode(errors="replace"))

    def wait(self, name):
        wait_for("event " + name, lambda: name in self.names())

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def missing_tools():
    return [tool for tool in ("libvirtd", "virsh", "virt-install", "unshare") if not shutil.which(tool)]
