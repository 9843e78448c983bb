# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way to boot, disks and CDs that are read on the way, resets and ends; a whole Debian."""
import os
import shutil
import subprocess

from console import GuestError, Vm
from guest import DEBIAN, KILN, WORK, check_guest, linux, path, qemu_img, report, want


def test_bzimage():
    source, disk = os.path.join(WORK, "source.raw"), os.path.join(WORK, "target.raw")
    shutil.copy(path("disk.raw"), source)
    with open(disk, "wb") as f:
        f.truncate(8 << 20)
    vm = linux("-drive", f"file={source},format=raw,if=none,id=d0", "-device", "ide-hd,drive=d0,bus=ide.0,unit=0",
               "-drive", f"file={disk},format=raw,index=1", "-cdrom", path("cd.iso"), append="kilndisks=2")
    with open(path("disk.md5")) as f:
        md5 = f.read().strip()
    facts = check_guest(vm, 1, 256)
    want(facts, disk=md5, copy=md5, cdrom=str(os.path.getsize(path("cd.iso")) // 512))
    with open(disk, "rb") as a, open(path("disk.raw"), "rb") as b:
        if a.read() != b.read():
            raise GuestError("what the guest wrote is not what is in the image")


def test_qcow2():
    """From an overlay on a compressed image into another image; qemu-img makes them, and judges them afterwards."""
    raw, base, source, target = (os.path.join(WORK, name) for name in ("disk.raw", "base.qcow2", "source.qcow2", "target.qcow2"))
    shutil.copy(path("disk.raw"), raw)  # where files' holes are not what they seem, qemu-img sees holes
    qemu_img("convert", "-c", "-O", "qcow2", raw, base)
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", source)
    qemu_img("create", "-q", "-f", "qcow2", target, "8M")
    vm = linux("-drive", f"file={source},format=qcow2", "-drive", f"file={target},format=qcow2,aio=io_uring", append="kilndisks=2")
    with open(path("disk.md5")) as f:
        md5 = f.read().strip()
    want(check_guest(vm, 1, 256), disk=md5, copy=md5)
    for image in (source, target):
        qemu_img("check", "-q", image)
    qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", raw, target)


def test_smp_split():
    check_guest(linux("-smp", "2", "-machine", "pc,kernel-irqchip=split"), 2, 256)


def test_smp_on():
    check_guest(linux("-smp", "2", "-machine", "pc,kernel-irqchip=on"), 2, 256)


def test_smp_off():
    check_guest(linux("-smp", "2", "-machine", "pc,kernel-irqchip=off"), 2, 256)


def test_pvh():
    check_guest(linux(kernel="vmlinux"), 1, 256)


def test_reboot():
    vm = linux(append="kilntest=reboot")
    vm.expect(r"Linux version")
    report(vm)
    check_again = Vm.expect(vm, r"Linux version")
    if not check_again:
        raise GuestError("no second boot")
    vm.process.terminate()
    if vm.wait_end():
        raise GuestError("SIGTERM did not end the process with status 0\n" + vm.tail())


def test_no_reboot():
    vm = linux("-no-reboot", append="kilntest=reboot")
    report(vm)
    if vm.wait_end():
        raise GuestError("-no-reboot did not end the process with status 0\n" + vm.tail())


def test_multiboot():
    module = os.path.join(WORK, "module")
    with open(module, "wb") as f:
        f.write(b"hello from a module\n\0")
    vm = Vm([KILN, "-enable-kvm", "-m", "64", "-kernel", path("multiboot.elf"), "-initrd", module, "-append", "one two",
             "-device", "isa-debug-exit,iobase=0x501,iosize=1", "-nic", "none", "-nographic"])
    vm.expect(r"MULTIBOOT cmdline=.*one two")
    vm.expect(r"MULTIBOOT module=hello from a module")
    status = vm.wait_end()
    if status != 0x21:
        raise GuestError(f"isa-debug-exit gave status {status}, not {0x21}\n" + vm.tail())


def test_cdrom():
    vm = Vm([KILN, "-enable-kvm", "-cpu", "host", "-m", "256", "-cdrom", path("cd.iso"), "-boot", "d", "-nic", "none", "-nographic"])
    facts = check_guest(vm, 1, 256)
    want(facts, cdrom=str(os.path.getsize(path("cd.iso")) // 512))


def boot_debian(*more):
    result = subprocess.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot-debian"), KILN, DEBIAN, "2", *more], capture_output=True, text=True)
    print("".join("# " + line + "\n" for line in result.stdout.splitlines()), end="", flush=True)
    if result.returncode:
        raise GuestError(result.stderr)


def test_debian():
    boot_debian()


def test_debian_virtio():
    """From a qcow2 overlay; apt gets a package through user networking."""
    boot_debian("--virtio")
