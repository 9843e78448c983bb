#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: each option's good and bad use. test-cli.py BINARY SOURCE-ROOT

Bad use ends with status 1; the last line on stderr names the option, the value, the reason and the way
out; nothing stays behind. Where scripts depend on it, Debian's QEMU 7.2 is asked the same.
"""
import contextlib
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import termios

from harness import LIMIT, QTEST, Failed, Skip, Suite, check, option_tables, wait_gone

suite = Suite(sys.argv[1])
SOURCE = os.path.abspath(sys.argv[2])
TABLES = option_tables(SOURCE)
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
ORACLE = shutil.which("qemu-system-x86_64")


def file(name, content=b"", size=0):
    with open(name, "wb") as out:
        out.write(content)
        if size:
            out.truncate(size)
    return name


def files():
    """What the tables below name."""
    file("empty")
    file("short", b"x" * 300)
    file("disk.img", size=1 << 20)
    file("floppy.img", size=1440 << 10)
    file("text", b"hello\n")
    file("picture.bmp", b"BM" + bytes(100))
    file("rom64k", b"\xf4" * 65536)
    file("rom65537", b"\xf4" * 65537)
    os.mkdir("dir")
    head = bytearray(1024)
    head[0x1f1] = 30              # setup sectors: far behind the end of the file
    head[0x1fe:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    head[0x206:0x208] = b"\x0c\x02"
    file("truncated", bytes(head))


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")


def need_kvm():
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as reason:
        raise Skip("/dev/kvm: %s" % reason.strerror)


def need_oracle():
    if not ORACLE:
        raise Skip("qemu-system-x86_64 is not installed")


def oracle(*args):
    """Status and output of QEMU; arguments that end it by themselves."""
    done = subprocess.run([ORACLE, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# ---- tables: one line a use -----------------------------------------------------------------------

GOOD = """
-machine pc
-machine type=pc-i440fx-7.2,hpet=off
-M pc -machine hpet=off
-machine pc,kernel-irqchip=split
-cpu qemu64
-cpu kvm64,+x2apic,-sse3
-cpu qemu64,vendor=GenuineIntel,level=5
-smp 1
-smp 4
-smp cpus=2,maxcpus=4,sockets=1,dies=2,cores=2,threads=1
-smp 2 -smp 3
-m 64
-m size=1G
-m 4G
-m 65536K
-boot c
-boot order=cd,once=n,menu=on,splash-time=500,reboot-timeout=100,strict=on
-boot menu=off -boot order=d
-boot splash=picture.bmp
-rtc base=utc
-rtc base=localtime,clock=vm,driftfix=slew
-rtc base=2026-01-31T13:00:00,clock=rt
-rtc base=2026-01-31
-bios rom64k
-smbios type=1,manufacturer=Me,,You,uuid=11a12737-df26-48b3-8f81-1fa39cb470a9
-smbios type=0,vendor=V,version=1,date=01/02/2026,release=1.2,uefi=on -smbios type=3,serial=7
-fw_cfg name=opt/org.example/x,string=text
-fw_cfg opt/org.example/x,file=text
-uuid 11a12737-df26-48b3-8f81-1fa39cb470a9
-no-acpi
-no-hpet
-drive file=disk.img,format=raw
-drive file=disk.img,format=raw,if=none,id=d -device ide-hd,drive=d
-device ide-hd,drive=d -drive file=disk.img,format=raw,if=none,id=d
-drive file=disk.img,format=raw,index=1,media=cdrom
-drive file=disk.img,format=raw,if=ide,bus=1,unit=0,readonly=on,media=cdrom
-drive file=short,format=raw
-drive if=floppy,file=floppy.img,format=raw
-drive if=ide,media=cdrom
-blockdev driver=file,filename=disk.img,node-name=f -blockdev driver=raw,file=f,node-name=r -device ide-hd,drive=r
-blockdev {"driver":"raw","node-name":"r","file":{"driver":"file","filename":"disk.img"}} -device ide-hd,drive=r
-cdrom disk.img
-fda floppy.img -fdb text | probing guessed raw
-hda disk.img -hdb text | probing guessed raw
-hdc disk.img -hdd text | probing guessed raw
disk.img | probing guessed raw
-device isa-serial,index=1
-device {"driver":"isa-serial","index":1,"id":"s"}
-device isa-debug-exit,iobase=0xf4,iosize=0x04,id=a.b-c_1
-device isa-debugcon,chardev=c -chardev null,id=c
-device pvpanic
-device pci-testdev,addr=0x5
-device pc-testdev
-global PIIX4_PM.disable_s3=1
-global driver=PIIX4_PM,property=disable_s3,value=1
-chardev null,id=a -chardev ringbuf,id=b,size=1024 -chardev pty,id=c
-chardev file,id=a,path=out -serial chardev:a
-serial null -serial none -serial null
-parallel null
-parallel none
-debugcon null
-debugcon file:out
-echr 0x14
-echr 29
-monitor none
-monitor null
-qmp none
-mon none
-display none
-vga none
-nic none
-net none
-name x
-name guest=x,process=y,debug-threads=on
-S
-no-reboot
-no-shutdown
-action reboot=shutdown,shutdown=pause,panic=none
-action panic=exit-failure -action reboot=reset
-L dir -L /nonexistent
-pidfile pid
-overcommit mem-lock=off
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-sandbox off
-D log -d guest_errors,unimp
-D log%d -d int,cpu_reset -trace vm_reset
-trace enable=i8259_* -D log
-d trace:vm_* -D log
-msg timestamp=on,guest-name=on -name x
-no-user-config
-nodefaults
--m 64 --smp 2
"""

# arguments | what the last line must hold
BAD = """
-foo | -foo | -help
-machne pc | -machne | 'machine'
-machine nosuch | -machine nosuch | -machine help
-machine q35 | -machine q35 | use pc
-machine pc-i440fx-6.2 | pc-i440fx-6.2 | use pc-i440fx-7.2
-machine pc,foo=1 | -machine foo=1 | not found
-machine pc,hpt=on | 'hpet'
-machine pc,hpet=maybe | hpet=maybe | 'on' or 'off'
-machine pc,kernel-irqchip=x | kernel-irqchip=x | split
-M nosuch | nosuch | -machine help
-accel nosuch | -accel nosuch | kvm
-accel tcg | -accel tcg | use -accel kvm
-accel kvm,foo=1 | -accel kvm | foo
-accel kvm,kernel-irqchip=x | -accel kvm | 'x' | split
-accel , | -accel | missing
-cpu nosuch | -cpu nosuch | -cpu help
-cpu qemu65 | qemu65 | 'qemu64'
-cpu qemu64,+nosuch | nosuch | -cpu help
-cpu qemu64,level=many | level | many
-smp 0 | -smp cpus=0 | 1 to
-smp -1 | -smp cpus=-1 | number
-smp 256 | -smp | 256 | 255
-smp 70000 | -smp cpus=70000
-smp 2,sockets=3 | -smp 2,sockets=3 | maxcpus
-smp 3,sockets=2,cores=2,threads=1 | must be equal
-smp 4,maxcpus=2 | -smp 4,maxcpus=2 | maxcpus
-smp 2,cors=1 | cors=1 | 'cores'
-smp 2,clusters=2 | clusters | not supported
-m 0 | -m 0 | at least 1 MiB
-m 1E | -m 1E | the host has
-m 100T | -m 100T | the host has
-m 99999999999999999999 | -m | size
-m abc | abc | size
-m -5 | -5 | size
-m 128,slots=2,maxmem=1G | -m | not supported yet
-m 128,sise=1 | sise=1 | 'size'
-boot z | -boot z | floppy
-boot order=cc | order=cc | twice
-boot order=acdnpfgh | too long
-boot menu=maybe | menu=maybe | 'on' or 'off'
-boot splash=text | text | BMP
-boot splash=nosuch | nosuch | No such file
-boot splash-time=1000000 | splash-time | 65535
-boot foo=1 | foo=1 | order
-rtc base=tomorrow | base=tomorrow | utc
-rtc clock=slow | clock=slow | host, rt, vm
-rtc driftfix=x | driftfix=x | slew
-rtc foo | foo | base
-bios nosuch | -bios | nosuch | -L
-bios empty | -bios | 'empty' | empty
-bios rom65537 | -bios | 65537 | 64 KiB
-bios dir | -bios | dir
-bios /dev/null | -bios | /dev/null | regular file
-kernel nosuch | -kernel | nosuch | No such file
-kernel empty | -kernel | 'empty' | empty
-kernel text | -kernel | text | bzImage
-kernel dir | -kernel | dir | regular file
-kernel truncated | -kernel | truncated
-initrd disk.img | -initrd | -kernel
-append x | -append | -kernel
-dtb x | -dtb x | leave
-smbios foo | -smbios foo | type=
-smbios type=200 | type=200 | 127
-smbios type=1,foo=1 | 'foo'
-smbios type=1,uuid=x | uuid
-smbios file=nosuch | nosuch | No such file
-fw_cfg foo | -fw_cfg foo | file=
-fw_cfg name=opt/x,file=nosuch | -fw_cfg | nosuch | No such file
-fw_cfg name=opt/x,string=a,file=text | exactly one
-uuid x | -uuid x | write
-drive file=nosuch | file=nosuch | No such file
-drive file=nosuch,format=raw | nosuch | No such file
-drive file=dir,format=raw | dir | Is a directory
-drive file=empty,format=raw | empty | 0 bytes
-drive file=disk.img,format=qcow2 | qcow2 | qemu-img convert
-drive file=disk.img,format=nosuch | nosuch
-drive file=disk.img,format=raw,if=xyz | if=xyz | ide
-drive file=disk.img,format=raw,index=9 | -drive | bus=4 | index=0
-drive file=disk.img,format=raw,foo=1 | 'foo'
-drive file=disk.img,format=raw,cache=x | cache | 'x'
-drive file=disk.img,format=raw,aio=x | 'x' | io_uring
-drive file=disk.img,format=raw,readonly=x | 'x'
-drive file=disk.img,format=raw,id=d,if=none -drive file=short,format=raw,id=d,if=none | Duplicate | 'd'
-drive file=disk.img,format=raw,index=0 -drive file=short,format=raw,index=0 | index=0
-blockdev foo | -blockdev foo | node-name
-blockdev driver=file,filename=nosuch,node-name=a | nosuch | No such file
-blockdev {"driver":"file" | -blockdev | JSON
-blockdev driver=nosuch,node-name=a | nosuch
-hda nosuch | -hda nosuch | No such file
-hdb nosuch | -hdb nosuch | No such file
-hdc nosuch | -hdc nosuch | No such file
-hdd nosuch | -hdd nosuch | No such file
-cdrom nosuch | -cdrom nosuch | No such file
-fda nosuch | -fda nosuch | No such file
-fdb nosuch | -fdb nosuch | No such file
nosuch.img | nosuch.img | No such file
-device ide-hdd | -device ide-hdd | 'ide-hd'
-device nosuch | -device nosuch | -device help
-device nosuch,help | nosuch | -device help
-device id=x | -device id=x | driver
-device , | -device , | driver
-device isa-serial,foo=1 | isa-serial | foo
-device isa-serial,iobse=1 | iobse | 'iobase'
-device isa-serial,iobase=zzz | 'zzz' | number
-device isa-serial,index=9 | index
-device isa-serial,chardev=nope | nope | -chardev
-device isa-serial,bus=nope | 'nope' | not found
-device isa-serial,bus=pci.0 | PCI
-device isa-serial,id=a:b | 'a:b' | letters
-device ide-hd | drive=
-device ide-hd,drive=nope | 'nope'
-device pc-testdev,id=a -device pvpanic,id=a | Duplicate | 'a'
-device {"driver":5} | driver | string
-device {"driver":"isa-serial","id":["x"]} | id | string
-device {"driver":"isa-serial","index":true} | index | uint32
-device {"driver":"isa-serial" | not valid JSON
-device {} | driver
-device i440FX | i440FX
-chardev null,id=c -device isa-serial,chardev=c -device isa-debugcon,chardev=c | 'c' | mux=on
-global foo | -global foo | driver.property=value
-global PIIX4_PM.foo=1 | PIIX4_PM.foo=1 | not found
-global PIIX4_PM.disable_s3=q | disable_s3=q
-global driver=PIIX4_PM,property=x | value=
-chardev nosuch,id=x | -chardev nosuch,id=x | -chardev help
-chardev null | -chardev null | id=
-chardev null,id=a -chardev null,id=a | 'a'
-chardev null,id=a,foo=1 | foo
-chardev file,id=a | -chardev file,id=a | path
-chardev file,id=a,path=/nonexistent/x | /nonexistent/x | No such file
-chardev socket,id=a,path=/nonexistent/x,server=on,wait=off | /nonexistent/x | No such file
-chardev socket,id=a,path=nosuch | nosuch | server=on
-chardev socket,id=a,host=127.0.0.1,port=x,server=on,wait=off | x
-chardev socket,id=a,path=s,wait=on | wait | server=on
-serial nosuch | -serial nosuch | -chardev help
-serial vc | -serial vc | stdio
-serial chardev:nope | -serial chardev:nope | 'nope'
-serial stdio -serial stdio | stdio | mux=on
-serial null -serial null -serial null -serial null -serial null | -serial
-parallel nosuch | -parallel nosuch | -chardev help
-debugcon nosuch | -debugcon nosuch | -chardev help
-echr 0 | -echr 0 | C-a
-echr x | -echr x | C-a
-monitor stdio | -monitor stdio | -monitor none
-qmp unix:x | -qmp unix:x | -qmp none
-mon chardev=x | -mon chardev=x | -mon none
-display gtk | -display gtk | -display none
-vga std | -vga std | -vga none
-nic user | -nic user | -nic none
-net nic | -net nic | -net none
-name x,foo=1 | foo=1 | process
-name x,debug-threads=z | debug-threads=z | 'on' or 'off'
-action reboot=x | reboot=x | shutdown
-action foo=1 | foo=1 | panic
-action watchdog=pause | watchdog | leave
-pidfile /nonexistent/p | -pidfile /nonexistent/p | No such file
-pidfile dir | -pidfile dir | directory
-runas nosuch | -runas nosuch | uid:gid
-runas 1: | -runas 1: | uid:gid
-overcommit foo=on | foo=on | mem-lock
-overcommit mem-lock=x | mem-lock=x | 'on' or 'off'
-overcommit cpu-pm=on | cpu-pm=on | leave
-sandbox x | x | 'on' or 'off'
-sandbox on,foo=deny | foo=deny | spawn
-sandbox on,spawn=x | spawn=x | deny
-D /nonexistent/x | -D /nonexistent/x | No such file
-D %s | -D %s | %d
-d nosuch | -d nosuch | -d help
-d trace:nosuch | nosuch | -trace help
-trace nosuch | -trace nosuch | -trace help
-msg foo=on | foo=on | timestamp
-msg timestamp=x | timestamp=x | 'on' or 'off'
-qtest nosuch | -qtest nosuch
-qtest unix:nosuch | nosuch | server=on
-qtest-log log | -qtest-log log | -qtest
-print-state -daemonize | -print-state | -daemonize
-daemonize -serial stdio | -serial stdio | -daemonize
-daemonize -chardev stdio,id=a | stdio | -daemonize
"""


def one_good(line):
    files()
    args, *warning = line.split(" | ")
    suite.good(args.split(), *warning)


def one_bad(line):
    files()
    args, *needles = line.split(" | ")
    suite.bad([*([] if "-accel" in args else QTEST), *args.split()], *needles)


for line in GOOD.strip().splitlines():
    suite.add("takes " + line.split(" | ")[0], one_good, line)
for line in BAD.strip().splitlines():
    suite.add("refuses " + line.split(" | ")[0].replace("#", ""), one_bad, line)


# ---- each option of the tables ------------------------------------------------------------------------

def test_missing_argument():
    for name, (table, takes) in TABLES.items():
        if takes:
            suite.bad(["-" + name], "-" + name, "requires an argument")


def test_later():
    for name, (table, takes) in TABLES.items():
        if table == "later":
            suite.bad([*QTEST, "-" + name, *(["x"] if takes else [])], ": -" + name, "not supported")


def test_help_and_manual():
    manual = open(os.path.join(SOURCE, "docs", "man", "kiln-system-x86_64.1")).read().replace("\\-", "-")
    for option in ("-help", "-h", "--help"):
        status, out, err = suite.go(option)
        check(status == 0 and not err, err)
        for name in TABLES:
            check(re.search(r"(^|\s)-%s(\s|$)" % re.escape(name), out, re.M), "-%s is not in %s" % (name, option))
    for name in TABLES:
        check(re.search(r"(^|[ /])-%s([ ,./\n]|$)" % re.escape(name), manual, re.M), "-%s is not in the man page" % name)


def test_all_used():
    used = suite.used
    missing = [name for name in TABLES if name not in used]
    check(not missing, "no test gives: %s" % missing)


suite.add("an option without its argument says so", test_missing_argument)
suite.add("what QEMU has and Kiln has not yet says so", test_later)
suite.add("each option stands in -help and in the man page", test_help_and_manual)


# ---- lists --------------------------------------------------------------------------------------------

def test_lists():
    files()
    suite.says(["-version"], r"^QEMU emulator version 7\.2\.")
    suite.says(["--version"], r"^QEMU emulator version 7\.2\.")
    out = suite.says(["-machine", "help"], r"^Supported machines are:$")
    check(re.search(r"^pc +.*\(alias of pc-i440fx-7\.2\)$", out, re.M), out)
    check(re.search(r"^pc-i440fx-7\.2 +.*\(default\)$", out, re.M), out)
    suite.says(["-M", "help"], r"^none ")
    suite.says(["-machine", "?"], r"^pc ")
    suite.says(["-accel", "help"], r"^kvm$")
    suite.says(["-cpu", "help"], r"^x86 qemu64 ")
    suite.says(["-cpu", "help"], r"^Recognized CPUID flags:")
    suite.says(["-device", "help"], r'^name "isa-serial", bus ISA')
    suite.says(["-device", "isa-serial,help"], r"^isa-serial options:\n  \w+=<\w+> +- ")
    suite.says(["-device", "isa-serial,?"], r"^  chardev=<str> ")
    suite.says(["-chardev", "help"], r"^Available chardev backend types:")
    suite.says(["-chardev", "socket,help"], r"^  path=<str> ")
    suite.says(["-d", "help"], r"^guest_errors ")
    suite.says(["-trace", "help"], r"^vm_reset")
    suite.says(["-L", "dir", "-L", "help"], r"\Adir\n/")


def test_one_list_ends_the_line():
    suite.says(["-version", "-nosuch"], r"^QEMU emulator")
    suite.bad(["-nosuch", "-version"], "-nosuch")


suite.add("lists are printed with status 0", test_lists)
suite.add("a list ends the reading of the line", test_one_list_ends_the_line)


# ---- images that others have --------------------------------------------------------------------------

def test_locked_by_kiln():
    files()
    with suite.daemon("-drive", "file=disk.img,format=raw") as pid:
        suite.bad([*QTEST, "-drive", "file=disk.img,format=raw"], "disk.img", "lock", "%d" % pid)
        suite.bad([*QTEST, "-hda", "disk.img"], "disk.img", "lock", "%d" % pid)
    suite.good(["-drive", "file=disk.img,format=raw"])


def test_locked_by_qemu_io():
    if not shutil.which("qemu-io"):
        raise Skip("qemu-io is not installed")
    files()
    with subprocess.Popen(["qemu-io", "-f", "raw", "disk.img"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdin.write(b"read 0 512\n")
        other.stdin.flush()
        while b"read 512/512" not in other.stdout.readline():
            pass
        suite.bad([*QTEST, "-drive", "file=disk.img,format=raw"], "disk.img", "lock", "%d" % other.pid)
        other.stdin.close()


def test_read_only_image():
    files()
    os.chmod("disk.img", 0o444)
    prefix = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            raise Skip("setpriv is not installed")
        prefix = NOBODY
    suite.bad([*QTEST, "-drive", "file=disk.img,format=raw"], "disk.img", "read-only", prefix=prefix)


suite.add("an image that another Kiln has is refused, with its pid", test_locked_by_kiln)
suite.add("an image that qemu-io has is refused, with its pid", test_locked_by_qemu_io)
suite.add("an image that may not be written is refused", test_read_only_image)


# ---- sockets, pid files, background -----------------------------------------------------------------------

LISTEN = ["-chardev", "socket,id=a,path=sock,server=on,wait=off"]


def test_failed_start_leaves_nothing():
    suite.bad([*QTEST, *LISTEN, "-pidfile", "pid", "-device", "nosuch"], "-device nosuch")
    suite.bad([*QTEST, "-serial", "unix:sock,server=on,wait=off", "-kernel", "nosuch"], "nosuch")


def test_socket_in_use():
    with suite.daemon(*LISTEN):
        suite.bad([*QTEST, *LISTEN], "-chardev", "sock", "in use", "another path")
        check(os.path.exists("sock"), "the refused one took the path away")
    check(not os.path.exists("sock"), "the socket's path stays")
    old = socket.socket(socket.AF_UNIX)  # left by a process that died: taken over
    old.bind("sock")
    old.close()
    with suite.daemon(*LISTEN):
        pass
    file("sock", b"not a socket")
    status, out, err = suite.go(*QTEST, *LISTEN)
    check(status == 1 and "sock" in err and os.path.exists("sock"), err)


def test_tcp_in_use():
    other = socket.create_server(("127.0.0.1", 0))
    port = other.getsockname()[1]
    suite.bad([*QTEST, "-serial", "tcp:127.0.0.1:%d,server=on,wait=off" % port], str(port), "in use")


def test_pidfile():
    with suite.daemon() as pid:
        check(stat.S_IMODE(os.stat("daemon.pid").st_mode) == 0o600, "mode of the pid file")
        suite.bad([*QTEST, "-pidfile", "daemon.pid"], "-pidfile daemon.pid", "%d" % pid, "another file")
    file("old.pid", b"1\nlonger than a pid\n")
    with suite.machine("-pidfile", "old.pid") as machine:
        machine.out("b", 0x80, 0)
        check(open("old.pid").read() == "%d\n" % machine.process.pid, open("old.pid").read())
    check(not os.path.exists("old.pid"), "the pid file stays")


def test_daemon_is_ready():
    """When the parent has ended, the socket answers and the pid file is there."""
    with suite.daemon(*LISTEN, "-serial", "chardev:a") as pid:
        client = socket.socket(socket.AF_UNIX)
        client.connect("sock")
        check(os.readlink("/proc/%d/cwd" % pid) == "/", "its directory")
        for fd in (0, 1, 2):
            check(os.readlink("/proc/%d/fd/%d" % (pid, fd)) == "/dev/null", "its terminal")
        check(os.getsid(pid) != os.getsid(0) and os.getsid(pid) != pid, "its session")


def test_daemon_fails():
    suite.bad([*QTEST, "-daemonize", "-device", "nosuch"], "-device nosuch", "not a valid device")
    suite.bad([*QTEST, "-daemonize", "-pidfile", "p", *LISTEN, "-hda", "nosuch"], "-hda nosuch")
    suite.bad(["-accel", "qtest", "-nographic", "-daemonize"], "-daemonize", "-display none")


def test_libvirt_probe():
    accel = ["-machine", "none,accel=kvm:tcg"]
    try:
        need_kvm()
    except Skip:
        accel = ["-machine", "none,accel=qtest"]
    with suite.daemon("-S", "-no-user-config", "-nodefaults", "-nographic", *accel, accel=[]):
        pass


def test_runas():
    need_root()
    with suite.daemon("-runas", "65534:65534") as pid:
        text = open("/proc/%d/status" % pid).read()
        check(re.search(r"^Uid:\t65534\t65534\t65534\t65534$", text, re.M), text)
        check(re.search(r"^Gid:\t65534\t65534\t65534\t65534$", text, re.M), text)
        check(re.search(r"^Groups:\t65534 ?$", text, re.M), text)
        check(re.search(r"^CapEff:\t0+$", text, re.M), text)
    with suite.daemon("-runas", "nobody") as pid:
        text = open("/proc/%d/status" % pid).read()
        check(re.search(r"^Uid:\t65534\t", text, re.M), text)


def test_runas_refused():
    need_root()
    if not shutil.which("setpriv"):
        raise Skip("setpriv is not installed")
    suite.bad([*QTEST, "-runas", "root"], "-runas root", "not permitted", prefix=NOBODY)


def test_end_while_waiting():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process = subprocess.Popen([suite.binary, *QTEST, "-serial", "unix:sock,server=on,wait=on", "-pidfile", "pid"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        check(b"waiting" in process.stderr.readline(), "does not say that it waits")
        process.send_signal(number)
        check(process.wait(LIMIT) == 0, "status %s" % process.returncode)
        check(os.listdir(".") == [], "left behind: %s" % os.listdir("."))
        process.stderr.close()


suite.add("a failed start leaves no socket and no pid file", test_failed_start_leaves_nothing)
suite.add("a unix socket's path in use is refused, a stale one taken", test_socket_in_use)
suite.add("a TCP port in use is refused", test_tcp_in_use)
suite.add("a locked pid file is refused, an old one taken", test_pidfile)
suite.add("-daemonize: the parent ends when all is ready", test_daemon_is_ready)
suite.add("-daemonize: a failed start is told by the parent", test_daemon_fails)
suite.add("libvirt's probe", test_libvirt_probe)
suite.add("-runas drops all rights", test_runas)
suite.add("-runas without the right to do so", test_runas_refused)
suite.add("signals end the wait for a client", test_end_while_waiting)


# ---- /dev/kvm --------------------------------------------------------------------------------------------------

def without_kvm(script, *needles):
    need_root()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        raise Skip("mount namespaces are not allowed here")
    if not os.path.exists("/dev/kvm") and "/dev/kvm" in script:
        raise Skip("there is no /dev/kvm to hide")
    for accel in (["-accel", "kvm"], ["-enable-kvm"], []):
        suite.bad([*accel, "-display", "none"], "kvm", "/dev/kvm", *needles,
                  prefix=["unshare", "-m", "sh", "-c", script + ' && exec "$@"', "sh"])


def test_kvm_absent():
    without_kvm("mount -t tmpfs none /dev", "No such file", "kvm_intel")


def test_kvm_is_something_else():
    without_kvm("mount --bind /dev/null /dev/kvm", "-accel kvm")


def test_kvm_refused():
    need_root()
    if not os.path.exists("/dev/kvm") or os.stat("/dev/kvm").st_mode & 6 == 6:
        raise Skip("/dev/kvm is not there, or open to all")
    suite.bad(["-accel", "kvm", "-display", "none"], "-accel kvm", "Permission denied", "group", prefix=NOBODY)


def test_accel_order():
    """The first that works is taken, the others' reasons are warnings."""
    status, out, err = suite.go("-display", "none", "-machine", "pc,accel=tcg:qtest", "-print-state")
    check(status == 0 and "warning: -accel tcg" in err, err)
    status, out, err = suite.go("-display", "none", "-accel", "tcg", "-accel", "qtest", "-print-state")
    check(status == 0 and "warning: -accel tcg" in err, err)


suite.add("/dev/kvm that is not there", test_kvm_absent)
suite.add("/dev/kvm that is something else", test_kvm_is_something_else)
suite.add("/dev/kvm that may not be opened", test_kvm_refused)
suite.add("accelerators are tried in order", test_accel_order)


# ---- what options do -----------------------------------------------------------------------------------------------

def test_identity_reaches_the_guest():
    file("item", bytes(range(10)))
    args = [["-m", "256"], ["-smp", "3"], ["-uuid", "11a12737-df26-48b3-8f81-1fa39cb470a9"],
            ["-fw_cfg", "opt/org.example/a,string=two,,parts"], ["-fw_cfg", "name=opt/org.example/b,file=item"],
            ["-boot", "menu=on,splash-time=1000"], ["-rtc", "base=2026-01-31T13:02:03,clock=vm"], ["-S"]]
    for order in (args, args[::-1]):  # the order of the line does not matter
        with suite.machine(*sum(order, [])) as machine:
            check(machine.fw_cfg(2, 16).hex() == "11a12737df2648b38f811fa39cb470a9", "uuid")
            check(machine.fw_cfg(5, 2) == b"\x03\0", "CPUs")
            check(machine.fw_cfg(0x0e, 2) == b"\x01\0", "boot menu")
            check(machine.fw_cfg_file("opt/org.example/a") == b"two,parts", "string item")
            check(machine.fw_cfg_file("opt/org.example/b") == bytes(range(10)), "file item")
            check(machine.fw_cfg_file("etc/boot-menu-wait") == (1000).to_bytes(2, "little"), "splash time")
            date = [machine.cmos(i) for i in (0x32, 9, 8, 7, 4, 2, 0)]
            check(date == [0x20, 0x26, 0x01, 0x31, 0x13, 0x02, 0x03], "clock: %s" % [hex(d) for d in date])


def test_global_order():
    line = ["-global", "isa-debug-exit.iobase=0xf4", "-device", "isa-debug-exit"]
    for args in (line, line[2:] + line[:2]):
        with suite.machine(*args) as machine:
            machine.out("b", 0xf4, 3)
            check(machine.ends() == 7, "status %s" % machine.process.returncode)


def test_global_unused():
    suite.good(["-global", "pci-testdev.membar=1"], warning="warning: -global pci-testdev.membar=1")
    suite.good(["-global", "nosuch.foo=1"], warning="warning: -global nosuch.foo=1")


def reset(machine):
    machine.out("b", 0x64, 0xfe)


def power_off(machine):
    machine.out("l", 0xcf8, 0x80000b40)
    machine.out("l", 0xcfc, 0xb001)
    machine.out("l", 0xcf8, 0x80000b80)
    machine.out("b", 0xcfc, 1)
    machine.out("w", 0xb004, 0x2000)


def panic(machine):
    machine.out("b", 0x505, 1)


def ends(args, act, status=0):
    with suite.machine(*args) as machine:
        act(machine)
        check(machine.ends() == status, "%s: status %s" % (args, machine.process.returncode))


def goes_on(args, act):
    with suite.machine(*args) as machine:
        act(machine)
        for _ in range(3):  # each answer is one more turn of its loop
            check(machine.ask("inb 0x61")[0] == "OK", "no answer")
        check(machine.process.poll() is None, "it ended")
        machine.process.terminate()
        check(machine.ends() == 0, "SIGTERM: status %s" % machine.process.returncode)


def test_actions():
    goes_on([], reset)
    goes_on(["-action", "reboot=reset"], reset)
    ends(["-no-reboot"], reset)
    ends(["-action", "reboot=shutdown"], reset)
    ends([], power_off)
    ends(["-action", "shutdown=poweroff"], power_off)
    goes_on(["-no-shutdown"], power_off)
    goes_on(["-action", "shutdown=pause"], power_off)
    ends(["-device", "pvpanic"], panic)
    ends(["-device", "pvpanic", "-action", "panic=exit-failure"], panic, 1)
    goes_on(["-device", "pvpanic", "-action", "panic=none"], panic)
    goes_on(["-device", "pvpanic", "-action", "panic=pause"], panic)


def test_names():
    with suite.daemon("-name", "guest=web,process=vm-web,debug-threads=on") as pid:
        check(open("/proc/%d/comm" % pid).read() == "vm-web\n", "the process's name")
    with suite.daemon("-name", "web") as pid:
        check(open("/proc/%d/comm" % pid).read() == "kiln-system-x86\n", "the process's name")
    need_kvm()
    with suite.daemon("-S", "-smp", "2", "-name", "web,process=vm-web,debug-threads=on", "-bios", firmware(),
                      accel=KVM) as pid:
        names = [open("/proc/%d/task/%s/comm" % (pid, t)).read().strip() for t in os.listdir("/proc/%d/task" % pid)]
        check({"vm-web", "CPU 0/KVM", "CPU 1/KVM"} <= set(names), "threads: %s" % names)


def test_messages():
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z "
    for args, pattern in ((["timestamp=on"], stamp), (["guest-name=on"], "web "),
                          (["timestamp=on,guest-name=on"], stamp + "web "), (["timestamp=off"], "")):
        status, out, err = suite.go(*QTEST, "-name", "web", "-msg", *args, "-device", "nosuch")
        check(re.search("^%skiln-system-x86_64: -device nosuch" % pattern, err, re.M), err)


def test_logs():
    suite.good(["-D", "log", "-trace", "vm_reset"])
    check(re.search(r"^\d+@\d+\.\d{6}:vm_reset ", open("log").read(), re.M), open("log").read())
    file("events", b"# comment\nvm_reset\n")
    suite.good(["-D", "log2", "-trace", "events=events"])
    check("vm_reset" in open("log2").read(), open("log2").read())
    suite.good(["-trace", "vm_reset,file=log3"])
    check("vm_reset" in open("log3").read(), open("log3").read())
    suite.good(["-d", "trace:vm_reset", "-D", "log-%d"])
    name, = [n for n in os.listdir(".") if re.fullmatch(r"log-\d+", n)]
    check("vm_reset" in open(name).read(), "nothing in %s" % name)


def test_qtest_log():
    with suite.machine("-qtest-log", "log") as machine:
        check(machine.ask("outb 0x80 0x1") == ["OK"], "no answer")
    check("outb 0x80 0x1" in open("log").read(), "nothing in the log")


def test_bios_search():
    os.mkdir("roms")
    file("roms/my.bin", b"\xf4" * 65536)
    suite.good(["-L", "roms", "-bios", "my.bin"])
    suite.bad([*QTEST, "-bios", "my.bin"], "my.bin", "-L")


suite.add("-m, -smp, -uuid, -fw_cfg, -boot and -rtc reach the guest, in any order", test_identity_reaches_the_guest)
suite.add("-global reaches devices before and behind it", test_global_order)
suite.add("-global without effect is told", test_global_unused)
suite.add("-action, -no-reboot, -no-shutdown", test_actions)
suite.add("-name names the process and its threads", test_names)
suite.add("-msg", test_messages)
suite.add("-D, -d and -trace", test_logs)
suite.add("-qtest-log", test_qtest_log)
suite.add("-L is searched first", test_bios_search)


# ---- the console -----------------------------------------------------------------------------------------------------

class Console:
    """The program on a terminal of its own."""

    def __init__(self, *args):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        suite.note(args)
        self.process = subprocess.Popen([suite.binary, *args], stdin=self.slave, stdout=self.slave, stderr=self.slave)
        self.text = b""

    def send(self, data):
        os.write(self.master, data)

    def expect(self, text):
        while text not in self.text:
            self.text += os.read(self.master, 4096)

    def end(self):
        check(self.process.wait(LIMIT) == 0, "status %s" % self.process.returncode)
        check(termios.tcgetattr(self.slave) == self.before, "the terminal's settings stay changed")
        os.close(self.master)
        os.close(self.slave)


def test_console_keys():
    for options, key in (([], b"\x01"), (["-echr", "20"], b"\x14")):
        console = Console("-accel", "qtest", "-nographic", *options)
        console.send(key + b"h")
        console.expect(b"switch between console and monitor")
        console.send(key + b"c")
        console.expect(b"no monitor")
        console.send(key + b"x")
        console.expect(b"terminated")
        console.end()


def test_console_signal():
    console = Console("-accel", "qtest", "-nographic")
    console.send(b"\x01h")
    console.expect(b"this list")
    console.process.terminate()
    console.end()


suite.add("C-a h, C-a c, C-a x, -echr", test_console_keys)
suite.add("SIGTERM gives the terminal back", test_console_signal)


# ---- under KVM ----------------------------------------------------------------------------------------------------------

KVM = ["-accel", "kvm", "-display", "none", "-nodefaults"]


def firmware():
    """Says K on the debug console, then ends the process with status 7 through isa-debug-exit."""
    rom = bytearray(b"\xf4" * 65536)
    code = bytes.fromhex("b04be6e9ba0105b003eef4ebfd")
    rom[0xfff0:0xfff0 + len(code)] = code
    return file("rom", bytes(rom))


def test_kvm_runs():
    need_kvm()
    firmware()
    status, out, err = suite.go(*KVM, "-bios", "rom", "-debugcon", "file:out", "-device", "isa-debug-exit")
    check(status == 7 and open("out").read() == "K", "status %s: %s" % (status, err))


def test_kvm_stopped():
    need_kvm()
    firmware()
    out = os.path.abspath("out")
    with suite.daemon("-S", "-bios", "rom", "-debugcon", "file:" + out, "-device", "isa-debug-exit", accel=KVM):
        pass
    check(open("out").read() == "", "the guest ran")


def test_signals():
    accels = [QTEST]
    with contextlib.suppress(Skip):
        need_kvm()
        accels.append(KVM)
    for accel in accels:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process = subprocess.Popen([suite.binary, *accel, "-serial", "file:out%d" % number, "-pidfile", "pid",
                                        "-chardev", "socket,id=a,path=sock,server=on,wait=off", "-S"],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            client = socket.socket(socket.AF_UNIX)
            while client.connect_ex("sock"):
                check(process.poll() is None, "it ended")
            process.send_signal(number)
            _, err = process.communicate(timeout=LIMIT)
            check(process.returncode == 0, "status %s: %s" % (process.returncode, err))
            check(accel is QTEST or b"signal %d" % number in err, err)
            check(not os.path.exists("sock") and not os.path.exists("pid"), "something stays")


suite.add("a firmware runs under KVM", test_kvm_runs)
suite.add("-S keeps it from running", test_kvm_stopped)
suite.add("SIGTERM, SIGINT and SIGHUP end any accelerator with status 0", test_signals)


# ---- beside QEMU ------------------------------------------------------------------------------------------------------------

def test_oracle_options():
    """Each option of QEMU is known."""
    need_oracle()
    for name in re.findall(r"^-([A-Za-z0-9_-]+)", oracle("-help")[1], re.M):
        check(name.lstrip("-") in TABLES, "-%s is unknown" % name)


def test_oracle_lists():
    """Machines, devices and properties are listed in the same form."""
    need_oracle()
    for args, pattern in ((["-version"], r"^(QEMU emulator version \d+\.\d+)"),
                          (["-machine", "help"], r"^(Supported machines are:|pc .*\)|pc-i440fx-7\.2 .*\))$"),
                          (["-device", "isa-debug-exit,help"], r"^(isa-debug-exit options:|  \w+=<\w+>)"),
                          (["-device", "help"], r'^(name "(?:isa-serial|ide-hd|ide-cd|isa-debug-exit|pvpanic)", bus \w+)')):
        ours, theirs = (re.findall(pattern, out, re.M) for out in (suite.go(*args)[1], oracle(*args)[1]))
        check(ours == theirs, "%s:\n%s\nQEMU: %s" % (args, ours, theirs))


def test_oracle_status():
    """The same mistakes have the same exit status."""
    need_oracle()
    files()
    for line in ("-nosuch", "-machine nosuch", "-cpu nosuch", "-device nosuch", "-device isa-serial,foo=1", "-kernel nosuch",
                 "-bios nosuch", "-hda nosuch", "-m abc", "-smp x", "-smp 2,sockets=3", "-uuid x", "-rtc base=x",
                 "-boot order=cc", "-name a,b=c", "-runas nosuch", "-chardev null", "-serial nosuch", "-action x=y",
                 "-pidfile /nonexistent/x", "-D /nonexistent/x/y", "-drive file=dir,format=raw", "-msg foo=on",
                 "-drive file=disk.img,format=raw,foo=1", "-global foo", "-device help", "-version", "-cpu help",
                 "-accel help", "-chardev help", "-L help", "-trace help"):
        theirs, _, text = oracle("-accel", "tcg", "-display", "none", "-nodefaults", "-S", *line.split())
        ours, _, err = suite.go(*QTEST, "-S", *line.split())
        check(ours == theirs, "%s: status %d, QEMU %d: %s\n%s" % (line, ours, theirs, err, text))


suite.add("QEMU: each of its options is known", test_oracle_options)
suite.add("QEMU: lists have its form", test_oracle_lists)
suite.add("QEMU: the same mistakes, the same status", test_oracle_status)
suite.add("each option was given in these tests", test_all_used)

sys.exit(suite.run())
