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

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "qmp"))
from pr_helper import Helper  # noqa: E402

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
    file("part", b"x" * 700)
    file("disk.img", size=1 << 20)
    file("floppy.img", size=1440 << 10)
    file("text", b"hello\n")
    file("events", b"# of a trace\nnosuch\nvm_reset\n-serial_write\n")
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


@contextlib.contextmanager
def helpers(line):
    """Who listens at the addresses that the line names."""
    those = [Helper("helper")] if "helper\"" in line or "path=helper" in line else []
    if "path=closed" in line:
        those.append(Helper("closed", greet=lambda connection: connection.shutdown(socket.SHUT_RDWR)))
    try:
        yield
    finally:
        for helper in those:
            helper.go()


# ---- tables: one line a use -----------------------------------------------------------------------

GOOD = """
-machine pc
-machine type=pc-i440fx-7.2,hpet=off
-M pc -machine hpet=off
-machine pc,kernel-irqchip=split
-machine pc,vmport=off
-M pc,vmport=on -global vmport.vmware-vmx-version=7
-cpu qemu64
-cpu kvm64,+x2apic,-sse3
-cpu qemu64,vendor=GenuineIntel,level=5
-cpu Skylake-Server-v5,+vmx,-vmx-ept
-cpu EPYC-Milan,legacy-cache=on,hv-relaxed,hv-vapic,hv_spinlocks=0x1fff,hv-vpindex,hv-tlbflush
-cpu Haswell-noTSX-IBRS-x86_64-cpu
-cpu max,migratable=off,host-cache-info=on
-smp 1
-smp 4
-smp cpus=2,maxcpus=4,sockets=1,dies=2,cores=2,threads=1
-smp 2 -smp 3
-m 64
-m size=1G
-m 4G
-m 65536K
-m 64M,slots=2,maxmem=1G
-object memory-backend-ram,id=m,size=1M,prealloc=on,prealloc-context=tc -object thread-context,id=tc,node-affinity=0
-m slots=2,maxmem=1G
-m 64M,maxmem=64M
-m 64M -m slots=1,maxmem=128M
-m 64M,slots=1,maxmem=128M -object memory-backend-ram,id=a,size=32M -device pc-dimm,memdev=a
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
-object memory-backend-ram,id=a,size=1M,prealloc=on,share=on -object memory-backend-memfd,id=b,size=1M
-object {"qom-type":"memory-backend-ram","id":"a","size":1048576,"host-nodes":[0],"policy":"bind"}
-machine pc,memory-backend=pc.ram,dump-guest-core=off,mem-merge=off -m 64 -object memory-backend-ram,id=pc.ram,size=64M
-machine pc,memory-backend=m -object memory-backend-file,id=m,size=64M,mem-path=.,share=on
-machine none,memory-backend=m -object memory-backend-ram,id=m,size=64M
-mem-path . -m 64
-m 64 -numa node,memdev=a -object memory-backend-ram,id=a,size=64M
-smp 2 -numa cpu,node-id=1,core-id=1 -numa cpu,node-id=0,core-id=0 -numa node -numa node,memdev=a -object memory-backend-ram,id=a,size=128M
-smp 2 -numa node,memdev=a,cpus=0 -numa node -object memory-backend-ram,id=a,size=128M | CPU 1 [socket-id: 0, core-id: 1, thread-id: 0]
-numa dist,src=1,dst=0,val=20 -numa node -numa node,memdev=a -object memory-backend-ram,id=a,size=128M
-mem-prealloc -m 16
-machine pc,usb=off,nvdimm=off,hmat=off,suppress-vmdesc=off
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-bandwidth,bandwidth=1G -numa hmat-cache,node-id=0,size=1K,level=1,associativity=none,policy=none,line=8 -numa node,initiator=0 -numa hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=read-latency,latency=70000
-object iothread,id=io1,poll-max-ns=1000 -object secret,id=masterKey0,format=raw,file=text
-object authz-list,id=a,policy=allow -object rng-builtin,id=r -object rng-random,id=s,filename=/dev/urandom
-object rng-egd,id=r,chardev=c -chardev null,id=c
-object pr-manager-helper,id=pr0,path=helper -drive if=none,format=raw,file.driver=host_device,file.filename=/dev/null,file.pr-manager=pr0
-object {"qom-type":"pr-manager-helper","id":"pr0","path":"helper"} -blockdev driver=file,node-name=f,filename=disk.img,pr-manager=pr0
-object secret,id=t,format=base64,data=FJOLJixuQnuY8A2EjKuHzA==,keyid=k,iv=MDEyMzQ1Njc4OWFiY2RlZg== -object secret,id=k,data=01234567890123456789012345678901
-drive file=disk.img,format=raw
-drive file=disk.img,format=raw,if=none,id=d -device ide-hd,drive=d
-device ide-hd,drive=d -drive file=disk.img,format=raw,if=none,id=d
-drive file=disk.img,format=raw,index=1,media=cdrom
-drive file=disk.img,format=raw,if=ide,bus=1,unit=0,readonly=on,media=cdrom
-drive file=part,format=raw
-snapshot -drive file=disk.img,format=raw
-drive file=disk.img,format=raw,bps=1000000,iops_rd=10,iops_rd_max=20,group=g
-drive file=disk.img,format=raw,detect-zeroes=unmap,discard=unmap,copy-on-read=on
-drive file=disk.img,format=raw,stats-account-invalid=off,stats-account-failed=on,stats-intervals.0=10,stats-intervals.1=1
-drive if=floppy,file=floppy.img,format=raw
-drive if=ide,media=cdrom
-blockdev driver=file,filename=disk.img,node-name=f -blockdev driver=raw,file=f,node-name=r -device ide-hd,drive=r
-blockdev {"driver":"raw","node-name":"r","file":{"driver":"file","filename":"disk.img"}} -device ide-hd,drive=r
-cdrom disk.img
-fda floppy.img -fdb text | probing guessed raw
-hda disk.img -hdb part | probing guessed raw
-hdc disk.img -hdd part | probing guessed raw
disk.img | probing guessed raw
-audiodev none,id=a -audiodev {"id":"b","driver":"none"}
-device isa-serial,index=1
-device {"driver":"isa-serial","index":1,"id":"s"}
-device isa-debug-exit,iobase=0xf4,iosize=0x04,id=a.b-c_1
-device isa-debugcon,chardev=c -chardev null,id=c
-device pvpanic
-device virtio-rng -device virtio-net,romfile= -device virtio-serial -device virtconsole
-device pci-testdev,addr=0x5
-device pc-testdev
-device pci-bridge,chassis_nr=1,id=b -device pci-testdev,bus=b,addr=1 -device pci-bridge,chassis_nr=2,bus=b -device pci-bridge,chassis_nr=3
-device pci-bridge,chassis_nr=1,shpc=off,msi=off,io-reserve=4K,pref64-reserve=1G
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
-qmp-pretty none
-monitor null -qmp null -qmp-pretty null
-chardev null,id=a -mon a
-chardev null,id=a -mon chardev=a,mode=control,pretty=on,id=b
-display none
-vga none
-nic none
-net none
-nic socket,udp=127.0.0.1:1,localaddr=127.0.0.1:0,mac=52:54:00:12:34:99,addr=7
-net nic,model=e1000,macaddr=52-54-00-12-34-99 -net socket,listen=127.0.0.1:0
-net nic,model=virtio,vectors=3 -net socket,listen=127.0.0.1:0
-nic socket,listen=127.0.0.1:0,model=virtio-net-pci-non-transitional
-netdev hubport,id=a,hubid=0 -netdev hubport,id=b,hubid=0 -device e1000,netdev=b
-netdev socket,id=a,listen=127.0.0.1:0 -netdev hubport,id=b,hubid=-1,netdev=a
-netdev dgram,id=a,local.type=inet,local.host=127.0.0.1,local.port=0,remote.type=inet,remote.host=127.0.0.1,remote.port=9
-netdev {"type":"stream","id":"a","server":true,"addr":{"type":"inet","host":"127.0.0.1","port":"0"}} -device {"driver":"e1000","netdev":"a"}
-netdev socket,id=a,listen=127.0.0.1:0 -object filter-dump,id=f,netdev=a,file=/dev/null,maxlen=100,queue=rx
-netdev socket,id=a,listen=127.0.0.1:0 -object filter-buffer,id=f,netdev=a,interval=1000 -object filter-buffer,id=g,netdev=a,interval=1,position=id=f,insert=before
-chardev null,id=c -netdev socket,id=a,listen=127.0.0.1:0 -object filter-mirror,id=f,netdev=a,outdev=c
-chardev null,id=c -netdev socket,id=a,listen=127.0.0.1:0 -object filter-redirector,id=f,netdev=a,indev=c,status=off
-device e1000,mitigation=off,autonegotiation=off,extra_mac_registers=off,romfile=
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
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny | without a sandbox
-sandbox off
-D log -d guest_errors,unimp
-D log%d -d int,cpu_reset -trace vm_reset
-trace nosuch | warning: -trace nosuch: no trace point has this name; -trace help lists them
-trace serial_wrte | did you mean 'serial_write'
-trace events=events | warning: -trace nosuch:
-d trace:nosuch | warning: -d trace:nosuch:
-trace enable=i8259_* -D log
-d trace:vm_* -D log
-msg timestamp=on,guest-name=on -name x
-no-user-config
-nodefaults
--m 64 --smp 2
"""

# arguments | what the last line must hold of the reason | ... => the words of its way out
BAD = """
-foo | -foo => -help lists them
-machne pc | -machne | 'machine' => -help lists them
-machine nosuch | -machine nosuch => -machine help lists them
-machine q35 | -machine q35 => use pc
-machine pc-i440fx-6.2 | pc-i440fx-6.2 => use pc-i440fx-7.2
-machine pc,foo=1 | -machine foo=1 | not found => there are
-machine pc,hpt=on | 'hpet' => did you mean
-machine pc,hpet=maybe | hpet=maybe => expects 'on' or 'off'
-machine pc,vmport=maybe | vmport=maybe | auto => it is one of
-device pci-bridge | chassis_nr => give each bridge a number of its own, 1 to 255
-device pci-bridge,chassis_nr=256 | chassis_nr => allowed is 0 to 255
-device pci-bridge,chassis_nr=1,shpc=auto | shpc=auto => expects 'on' or 'off'
-device pci-bridge,chassis_nr=1,pref32-reserve=1M,pref64-reserve=1M | pref32-reserve | exclude => leave one out
-device pci-bridge,chassis_nr=1,mem-reserve=4G | mem-reserve => less than 4G
-device pci-testdev,romfile=rom64k,rombar=0 -device pci-testdev,romfile=rom64k,rombar=0 | genroms/rom64k => leave one of them out
-device vmport | vmport => it is part of the board: -machine vmport=on
-device vhost-vsock-pci | greater than 2 => such as guest-cid=3
-device vhost-vsock-pci-non-transitional,guest-cid=2 | greater than 2 => such as guest-cid=3
-device vhost-vsock-pci,guest-cid=4294967296 | guest-cid => must be a 32-bit number
-device vhost-vsock-pci,guest-cid=3,seqpacket=maybe | seqpacket | auto => it is one of
-device vhost-vsock-pci,guest-cid=3,vhostfd=nosuch | vhostfd= | 'nosuch' => pass an open one's number
-device vhost-vsock-pci,guest-cid=3,vhostfd=99 | vhostfd= | '99' => pass an open one's number
-netdev tap,id=n,vhost=off,vhostfd=3 | vhostfd(s)= is not valid without vhost => leave vhost=off out
-netdev tap,id=n,vhostfds=3:4 | vhostfds= | fds= => use vhostfd=
-netdev tap,id=n,fds=3:4,vhostfd=5 | vhostfd= => use vhostfds=
-netdev tap,id=n,queues=2,vhostfd=5 | vhostfd= | queues=2 => use fds= and vhostfds=
-machine pc,kernel-irqchip=x | kernel-irqchip=x | split => is one of: on
-M nosuch | nosuch => -machine help lists them
-accel nosuch | -accel nosuch | kvm => there are
-accel tcg | -accel tcg => use -accel kvm
-accel kvm,foo=1 | -accel kvm | foo => there are
-accel kvm,kernel-irqchip=x | -accel kvm | 'x' | split => it is one of
-accel , | -accel => is missing: -accel kvm
-cpu nosuch | -cpu nosuch => -cpu help lists them
-cpu qemu65 | qemu65 | 'qemu64' => -cpu help lists them
-cpu qemu64,+nosuch | nosuch => -cpu help lists the features
-cpu Skylake-Servr | Skylake-Servr | 'Skylake-Server' => -cpu help lists them
-cpu Haswell,migratable=off | migratable => -cpu help lists the features
-cpu qemu64,hv-stimer | hv-stimer | hv-time => switch that on too
-cpu qemu64,hv-vendor-id=ThirteenChars | hv-vendor-id => has more than 12 characters
-cpu qemu64,level=many | level | many => expects a number
-smp 0 | -smp cpus=0 => allowed is 1 to 65535
-smp -1 | -smp cpus=-1 | number => allowed is 1 to 65535
-smp 256 | -smp | 256 => supports at most 255
-smp 70000 | -smp cpus=70000 => allowed is 1 to 65535
-smp 2,sockets=3 | -smp 2,sockets=3 | maxcpus => leave out what does not matter to you
-smp 3,sockets=2,cores=2,threads=1 | must be equal => leave out what does not matter to you
-smp 4,maxcpus=2 | -smp 4,maxcpus=2 | maxcpus => raise it or leave it out
-smp 2,cors=1 | cors=1 | 'cores' => did you mean
-smp 2,clusters=2 | clusters | not supported => leave them out
-m 0 | -m 0 | at least 1 MiB => a plain number is in MiB
-m 1E | -m 1E | the host has => give the guest less
-m 100T | -m 100T | the host has => give the guest less
-m 99999999999999999999 | -m | size => write a number with K
-m abc | abc | size => write a number with K
-m -5 | -5 | size => write a number with K
-m 128,slots=2 | slots specified but no max-size => add maxmem=
-m 128M,slots=2,maxmem=128M | invalid value of maxmem | equal to the initial => raise it
-m 128M,slots=2,maxmem=64M | invalid value of maxmem => must be at least the initial
-m 128,slots=257,maxmem=1G | unsupported amount of memory slots: 257 => at most 256
-m 128,slots=1,maxmem=1000000001 | 4096 => round it up
-m 128,slots=x,maxmem=1G | slots=x => allowed is 0 to 4294967295
-m 128,slots=2,maxmem=x | maxmem=x => write a number with K
-m 128,slots=2,maxmem=1T | phys-bits too low (40) => take a smaller maxmem=
-device nvdimm | nvdimm => pc-dimm is memory that can be plugged in
-device usb-tablet | 'usb-tablet' is a device of QEMU that Kiln does not have yet: 'virtio-tablet-pci' is the nearest => -device help lists all it has
-device ahci,id=a | 'ahci' is a device of QEMU that Kiln does not have yet: 'ide-hd' => -device help lists all it has
-device qxl | 'qxl' is a device of QEMU that Kiln does not have yet; -device help => -device help lists all it has
-device qxlx | 'qxlx' is not a valid device model name => -device help lists them
-device scsi-cd | No 'SCSI' bus found for device 'scsi-cd'; -device virtio-scsi-pci gives the machine one => -device virtio-scsi-pci gives the machine one
-device virtserialport | No 'virtio-serial-bus' bus found for device 'virtserialport'; -device virtio-serial-pci gives => -device virtio-serial-pci gives the machine one
-device virtio-rng-device | a part of its transport => it is a part of its transport: make the -pci device
-machine nvdimm=on | nvdimm | not supported => leave it out or turn it off
-m 128,sise=1 | sise=1 | 'size' => did you mean
-boot z | -boot z => a (floppy), c (disk)
-boot order=cc | order=cc | twice => name each at most once
-boot order=acdnpfgh | too long => name each of a
-boot menu=maybe | menu=maybe => the value is 'on' or 'off'
-boot splash=text | text | BMP => name one that is
-boot splash=nosuch | nosuch | No such file => is the path right
-boot splash-time=1000000 | splash-time => allowed is 0 to 65535
-boot foo=1 | foo=1 => it has: order, once, splash, reboot-time
-rtc base=tomorrow | base=tomorrow => the base is utc
-rtc clock=slow | clock=slow | host, rt, vm => is one of: host
-rtc driftfix=x | driftfix=x | slew => is one of: none
-rtc foo | foo => it has: base, clock, driftfix
-bios nosuch | -bios | nosuch | -L => name a file
-bios empty | -bios | 'empty' | empty => name SeaBIOS's bios-256k.bin or another image
-bios rom65537 | -bios | 65537 | 64 KiB => is it the right file
-bios dir | -bios | dir => name a file
-bios /dev/null | -bios | /dev/null | regular file => name one
-kernel nosuch | -kernel | nosuch | No such file => is the path right
-kernel empty | -kernel | 'empty' | empty => is it the right file
-kernel text | -kernel | text | bzImage => name one that is
-kernel dir | -kernel | dir | regular file => name one
-kernel truncated | -kernel | truncated => copy it again
-initrd disk.img | -initrd | -kernel => add it, or leave this out
-append x | -append | -kernel => add it, or leave this out
-dtb x | -dtb x => leave the option out
-smbios foo | -smbios foo => give either type=N with fields
-smbios type=200 | type=200 => allowed is 0 to 127
-smbios type=1,foo=1 | 'foo' => it has: manufacturer, product, version,
-smbios type=1,uuid=x | uuid => must have the form 12345678-1234-1234-1234-123456789abc
-smbios file=nosuch | nosuch | No such file => is the path right
-fw_cfg foo | -fw_cfg foo => exactly one of file=PATH
-fw_cfg name=opt/x,file=nosuch | -fw_cfg | nosuch | No such file => is the path right
-fw_cfg name=opt/x,string=a,file=text | exactly one => exactly one of file=PATH
-uuid x | -uuid x => write 11a12737-df26-48b3-8f81-1fa39cb470a9
-object memory-backend-ram | -object memory-backend-ram | 'id' is missing => give the object a name with it
-object memory-backend-rom,id=a | memory-backend-rom | 'memory-backend-ram' => -object help lists the types
-object memory-backend-ram,id=a | -object memory-backend-ram,id=a | 'size' is missing => add size=
-object memory-backend-ram,id=a,siz=1M | 'size' is missing => is 'siz' meant for it?
-object memory-backend-ram,id=a,size=1M,foo=1 | foo | not found => ,help lists what it has
-object memory-backend-ram,id=a,size=lots | 'lots' => expects a size
-object memory-backend-ram,id=a:b,size=1M | identifier => expects an identifier: a letter
-object memory-backend-ram,id=a,size=1M -object iothread,id=a | iothread,id=a | Duplicate => choose another id
-object memory-backend-file,id=a,size=2M,mem-path=disk.img | disk.img | does not match => give that size
-object memory-backend-file,id=a,size=1M,mem-path=nosuch/x | nosuch/x | No such file => is the path right
-object memory-backend-ram,id=a,size=1M,policy=bind | host-nodes => host-nodes must be set
-object {"qom-type":"memory-backend-ram","id":"a","size":"1M"} | 'size' => expected: integer
-object {"qom-type" | -object | JSON => write all of it in one word for the
-object rng-egd,id=a,chardev=nope | nope => make one with -chardev BACKEND
-object pr-manager-helper,path=helper | -object pr-manager-helper | 'id' is missing => give the object a name with it
-object pr-manager-helper,id=a | -object pr-manager-helper,id=a | 'path' is missing => add path=
-object pr-manager-helper,id=a,paht=helper | 'path' is missing => is 'paht' meant for it?
-object pr-manager-helper,id=a,path=helper,foo=1 | foo | not found => ,help lists what it has
-object pr-manager-helper,id=a,path=nosuch | path=nosuch | No such file => is the path right
-object pr-manager-helper,id=a,path=text | path=text | Connection refused => start the server first
-object pr-manager-helper,id=a,path=closed | path=closed | closed the connection at once => is it a qemu-pr-helper?
-object pr-manager,id=a | pr-manager => -object help lists the types
-blockdev driver=file,node-name=f,filename=disk.img,pr-manager=a | 'a' => -object pr-manager-helper,id=ID,path=SOCKET makes one
-object iothread,id=a -blockdev driver=file,node-name=f,filename=disk.img,pr-manager=a | 'a' | iothread => -object pr-manager-helper,id=ID,path=SOCKET makes one
-object nosuch,help | nosuch => -object help lists the types
-machine pc,memory-backend=nope | -machine memory-backend=nope | not found => make it with -object memory-backend-ram
-machine pc,memory-backend=m -m 64 -object memory-backend-ram,id=m,size=32M | memory-backend=m | does not match => give them the same size
-machine pc,memory-backend=m -object iothread,id=m | 'm' | not found => make it with -object memory-backend-ram
-numa node | -numa | total memory | RAM size => give each node memory with memdev=
-numa foo | -numa foo | node, dist, cpu => it is node
-numa node,foo=1 | -numa foo=1 | memdev => it has: type, nodeid, initiator, cpus, m
-numa node,nodeid=0 -numa node,nodeid=0 | Duplicate NUMA nodeid: 0 => give each node a number of its own
-numa node,nodeid=1 | missing: 0 => nodes are numbered from 0 without gaps
-numa node,nodeid=128 | 128 => number them from 0 on
-numa node,mem=64M | mem is not supported | memdev=ID => use -numa node
-numa node,memdev=x | memdev=x | not found => make it with -object memory-backend-ram
-m 64 -numa node,memdev=a -numa node,memdev=a -object memory-backend-ram,id=a,size=32M | a can't be used multiple times => make one for each node
-object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0,initiator=0 | HMAT => enable it with -machine hmat=on
-object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 | HMAT => enable it with -machine hmat=on
-numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency | Missing 'latency' => add latency=
-numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=read-bandwidth,latency=5 | Missing 'bandwidth' => add bandwidth=
-numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=read-bandwidth,latency=5,bandwidth=1M | Invalid option 'latency' => leave it out
-numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=speed,latency=5 | data-type=speed => is one of: access-latency
-numa hmat-lb,target=0,hierarchy=memory,data-type=read-latency,latency=1 | 'initiator' is missing => add initiator=
-numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=read-bandwidth,bandwidth=5K | 1MB aligned => give a multiple of 1M
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=1,target=0,hierarchy=memory,data-type=access-latency,latency=5 | Invalid initiator=1 => name a node with CPUs
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=access-latency,latency=5 | target=1 should point to an existing node => declare it with -numa node
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 | Duplicate configuration of the latency => give it once
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=65537 | 65537 => should not differ from the others in their min or max values on more than 65534
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-cache,node-id=0,size=1K,level=1,associativity=none,policy=none,line=8 | latency and bandwidth information of node-id=0 => should be provided before
-numa hmat-cache,node-id=0,size=1K,level=0,associativity=none,policy=none,line=8 | Invalid level=0 => should be larger than 0 and less than or equal to 3
-numa hmat-cache,node-id=0,size=1K,level=1,policy=none,line=8 | 'associativity' is missing => add associativity=
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa node,initiator=1 | initiator of NUMA node 1 is invalid => name one that has
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa node,initiator=5 | NUMA node 5 is missing => use '-numa node' option
-numa node,initiator=128 | 128 => between 0 and 127
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0,initiator=1 -numa node | node 0 should be itself (got 1) => should be itself
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-bandwidth,bandwidth=1G -numa hmat-cache,node-id=1,size=1K,level=1,associativity=none,policy=none,line=8 | node-id=1 => it should be less than 1
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-bandwidth,bandwidth=1G -numa hmat-cache,node-id=0,size=1K,level=2,associativity=none,policy=none,line=8 | Cache level=1 shall be defined first => shall be defined first
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-bandwidth,bandwidth=1G -numa hmat-cache,node-id=0,size=1K,level=1,associativity=none,policy=none,line=8 -numa hmat-cache,node-id=0,size=1K,level=1,associativity=none,policy=none,line=8 | Duplicate configuration of the side cache => give it once
-machine pc,hmat=on -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5 -numa hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-bandwidth,bandwidth=1G -numa hmat-cache,node-id=0,size=2K,level=1,associativity=none,policy=none,line=8 -numa hmat-cache,node-id=0,size=2K,level=2,associativity=none,policy=none,line=8 | size(2048) of level=1 => should be larger than the size
-numa node,cpus=1-0 | 1-0 => expects a CPU index or a range
-numa node,memdev=a,cpus=0-1 -object memory-backend-ram,id=a,size=128M | CPU index (1) | maxcpus (1) => should be smaller than maxcpus
-smp 2 -numa node,memdev=a,cpus=0-1 -numa node,cpus=1 -object memory-backend-ram,id=a,size=128M | already assigned to node-id: 0 => name each CPU once
-numa node,memdev=a -numa cpu,socket-id=0 -object memory-backend-ram,id=a,size=128M | node-id => add node-id=
-numa node,memdev=a -numa cpu,node-id=0,socket-id=7 -object memory-backend-ram,id=a,size=128M | no match => 'info hotpluggable-cpus' of a monitor lists them
-numa node,memdev=a -numa cpu,node-id=5,socket-id=0 -object memory-backend-ram,id=a,size=128M | Invalid node-id=5 => must be defined with -numa node
-numa dist,src=0,dst=1,val=5 | (5) => shouldn't be less than 10
-numa dist,src=0,dst=0,val=20 | should be 10 => should be 10
-numa dist,src=0,val=20 | 'dst' is missing => add dst=
-numa dist,src=0,dst=1,val=300 | val=300 => allowed is 0 to 255
-numa dist,src=0,dst=5,val=20 | missing => Please use '-numa node' option
-numa node,memdev=a -numa node -numa node -numa dist,src=0,dst=1,val=20 -object memory-backend-ram,id=a,size=128M | between node 0 and 2 => at least one distance value between each
-machine none -numa node | not supported | 'none' => leave -numa out
-machine pc,memory-backend=a -numa node,memdev=b -object memory-backend-ram,id=a,size=128M -object memory-backend-ram,id=b,size=128M | mutually exclusive => leave one of them out
-machine pc,usb=on | -machine usb=on | 'usb' is not supported yet => leave it out or turn it off
-mem-path nosuch/x -m 16 | -mem-path nosuch/x | No such file => is the path right
-mem-path . -machine pc,memory-backend=m -object memory-backend-ram,id=m,size=32M | can't be used together => the back end has its own mem-path=
-drive file=nosuch | file=nosuch | No such file => is the path right
-drive file=nosuch,format=raw | nosuch | No such file => is the path right
-drive file=dir,format=raw | dir | Is a directory => name a file in it
-drive file=empty,format=raw | empty | 0 bytes => is it the right file
-drive file=short,format=raw | 'short' | 300 bytes | 512 => Is it the right file, and whole
-drive file=short,format=raw,if=virtio | 'short' | 300 bytes | 512 => -device virtio-blk-pci,drive
-drive file=disk.img,format=qcow2 | not in qcow2 format => is format= right
-drive file=disk.img,format=vmdk | no vmdk image | begins neither => is format= right
-drive file=disk.img,format=qed | qed | qemu-img convert => convert the image
-drive file=disk.img,format=nosuch | nosuch => known: file
-drive file=disk.img,format=raw,if=xyz | if=xyz => (if=ide, floppy
-drive file=disk.img,format=raw,index=9 | -drive | bus 4 => use index=0 to 3
-drive file=disk.img,format=raw,foo=1 | 'foo' => there are
-device floppy,unit=1,logical_block_size=4096 | -device floppy => physical_block_size must be 512
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,logical_block_size=700 | -device ide-hd | logical_block_size=700 is not a power of two between 512 B and 2 MiB => is not a power of two between 512 B and 2 MiB
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,logical_block_size=1024,physical_block_size=512 | -device ide-hd | logical_block_size > physical_block_size => raise physical_block_size
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,min_io_size=100 | -device ide-hd | min_io_size => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,opt_io_size=100 | -device ide-hd | opt_io_size => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,discard_granularity=100 | -device ide-hd | discard_granularity => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,cyls=65536,heads=1,secs=1 | -device ide-hd | cyls must be between 1 and 65535 => must be between 1 and 65535
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,cyls=1,heads=17,secs=1 | -device ide-hd | heads must be between 1 and 16 => must be between 1 and 16
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,cyls=1,heads=1,secs=256 | -device ide-hd | secs must be between 1 and 255 => must be between 1 and 255
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,heads=1 | -device ide-hd | cyls must be => must be between 1 and 65535
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,logical_block_size=700 | -device scsi-hd | logical_block_size=700 is not a power of two between 512 B and 2 MiB => is not a power of two between 512 B and 2 MiB
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,logical_block_size=1024,physical_block_size=512 | -device scsi-hd | logical_block_size > physical_block_size => raise physical_block_size
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,min_io_size=100 | -device scsi-hd | min_io_size => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,opt_io_size=100 | -device scsi-hd | opt_io_size => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,discard_granularity=100 | -device scsi-hd | discard_granularity => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,cyls=65536,heads=1,secs=1 | -device scsi-hd | cyls must be between 1 and 65535 => must be between 1 and 65535
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,cyls=1,heads=256,secs=1 | -device scsi-hd | heads must be between 1 and 255 => must be between 1 and 255
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,cyls=1,heads=1,secs=256 | -device scsi-hd | secs must be between 1 and 255 => must be between 1 and 255
-blockdev driver=null-co,node-name=d -device virtio-scsi-pci -device scsi-hd,drive=d,heads=1 | -device scsi-hd | cyls must be => must be between 1 and 65535
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,logical_block_size=700 | logical_block_size=700 is not a power of two between 512 B and 2 MiB => is not a power of two between 512 B and 2 MiB
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,logical_block_size=1024,physical_block_size=512 | -device virtio-blk-pci | logical_block_size > physical_block_size => raise physical_block_size
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,min_io_size=100 | min_io_size | multiple of logical_block_size => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,opt_io_size=100 | opt_io_size | multiple of logical_block_size => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,discard_granularity=100 | discard_granularity | multiple of logical_block_size => must be a multiple of logical_block_size
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,cyls=65536,heads=1,secs=1 | cyls must be between 1 and 65535 => must be between 1 and 65535
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,cyls=1,heads=256,secs=1 | heads must be between 1 and 255 => must be between 1 and 255
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,cyls=1,heads=1,secs=256 | secs must be between 1 and 255 => must be between 1 and 255
-blockdev driver=null-co,node-name=d -device virtio-blk-pci,drive=d,heads=1 | cyls must be => must be between 1 and 65535
-blockdev driver=null-co,node-name=d -device ide-hd,drive=d,logical_block_size=4096 | logical_block_size must be 512 for IDE => must be 512 for IDE
-drive foo=1 | -drive foo=1: Invalid parameter 'foo' => there are
-drive fil=disk.img | -drive fil=disk.img | 'fil' (did you mean 'file'?) => did you mean
-drive file=disk.img,formt=raw | 'formt' (did you mean 'format'?) => did you mean
-drive file=disk.img,format=rwa | 'rwa' (did you mean 'raw'?) | qcow2 => did you mean
-drive media=cdrom,foo=1 | -drive media=cdrom,foo=1: | 'foo' => there are
-drive if=virtio | -drive if=virtio: | Device needs media, but drive 'virtio0' is empty => give it a file=
-drive if=scsi,driver=null-co | does not support this interface => use if=ide
-drive index=7 | -drive index=7: bus 3, unit 1 => use index=0 to 3
-hda empty | -hda empty: | is empty => is it the right file
-drive file=disk.img,format=raw,stats-account-failed=x | 'stats-account-failed' | 'x' => expects 'on' or 'off'
-drive file=disk.img,format=raw,stats-intervals.0=0 | stats-intervals.0=0 => give whole seconds
-drive file=disk.img,format=raw,stats-intervals.0=4294967296 | Invalid interval length => give whole seconds
-drive file=disk.img,format=raw,stats-intervals=5 | 'stats-intervals' => did you mean
-drive file=disk.img,format=raw,cache=x | cache | 'x' => (none, writeback
-drive file=disk.img,format=raw,aio=x | 'x' | io_uring => (threads, native
-drive file=disk.img,format=raw,readonly=x | 'x' => expects 'on' or 'off'
-drive file=disk.img,format=raw,id=d,if=none -drive file=short,format=raw,id=d,if=none | Duplicate | 'd' => choose another id
-drive file=disk.img,format=raw,index=0 -drive file=short,format=raw,index=0 | index=0 => choose another index=
-blockdev foo | -blockdev foo | does not accept value 'foo' => it is one of
-blockdev driver=file,filename=nosuch,node-name=a | nosuch | No such file => is the path right
-blockdev {"driver":"file" | -blockdev | JSON => write all of it in one word for the
-blockdev driver=nosuch,node-name=a | nosuch => it is one of
-blockdev driver=file,filenam=disk.img,node-name=a | 'filename' is missing => is 'filenam' meant for it?
-hda nosuch | -hda nosuch | No such file => is the path right
-hdb nosuch | -hdb nosuch | No such file => is the path right
-hdc nosuch | -hdc nosuch | No such file => is the path right
-hdd nosuch | -hdd nosuch | No such file => is the path right
-cdrom nosuch | -cdrom nosuch | No such file => is the path right
-fda nosuch | -fda nosuch | No such file => is the path right
-fdb nosuch | -fdb nosuch | No such file => is the path right
nosuch.img | nosuch.img | No such file => is the path right
-device ide-hdd | -device ide-hdd | 'ide-hd' => -device help lists them
-device nosuch | -device nosuch => -device help lists them
-device nosuch,help | nosuch => -device help lists them
-device id=x | -device id=x | driver => write -device DRIVER
-device , | -device , | driver => write -device DRIVER
-device isa-serial,foo=1 | foo => ,help lists what it has
-device isa-serial,iobse=1 | iobse | 'iobase' => did you mean
-device isa-serial,iobase=zzz | 'zzz' => expects a number
-device isa-serial,index=9 | index => there are 4 ISA serial ports, 0 to 3
-device isa-serial,chardev=nope | nope => make one with -chardev BACKEND
-device isa-serial,bus=nope | 'nope' | not found => leave bus= out
-device isa-serial,bus=pci.0 | PCI => leave bus= out
-device isa-serial,id=a:b | 'a:b' => expects a letter, then letters
-device ide-hd | drive= => needs drive=ID
-device ide-hd,drive=nope | 'nope' => make it with -drive if=none
-device pc-testdev,id=a -device pvpanic,id=a | Duplicate | 'a' => choose another id
-device {"driver":5} | driver => expected: string
-device {"driver":"isa-serial","id":["x"]} | id => expected: string
-device {"driver":"isa-serial","index":true} | index => expected: uint32
-device {"driver":"isa-serial" | not valid JSON => write all of it in one word for the
-device {} | driver => write -device DRIVER
-device i440FX | i440FX => leave it out
-chardev null,id=c -device isa-serial,chardev=c -device isa-debugcon,chardev=c | 'c' | mux=on => give each user its own
-global foo | -global foo => write driver.property=value
-global PIIX4_PM.foo=1 | PIIX4_PM.foo=1 | not found => ,help lists what it has
-global PIIX4_PM.disable_s3=q | disable_s3=q => expects a number
-global driver=PIIX4_PM,property=x | value= => are needed
-chardev nosuch,id=x | -chardev nosuch,id=x => '-chardev help' lists them
-chardev null | -chardev null => say id=NAME
-chardev null,id=a -chardev null,id=a | 'a' => choose another
-chardev null,id=a,foo=1 | foo => ,help lists them
-chardev file,id=a | -chardev file,id=a => say path=...
-chardev file,id=a,path=/nonexistent/x | /nonexistent/x | No such file => is the path right
-chardev socket,id=a,path=/nonexistent/x,server=on,wait=off | /nonexistent/x | No such file => is the path right
-chardev socket,id=a,path=nosuch | nosuch | server=on => start its server first
-chardev socket,id=a,host=127.0.0.1,port=x,server=on,wait=off | x => give the port as a number
-chardev socket,id=a,path=s,wait=on | wait => add server=on or leave it out
-serial nosuch | -serial nosuch => '-chardev help' lists them
-serial vc | -serial vc => use stdio
-serial chardev:nope | -serial chardev:nope | 'nope' => make it with -chardev BACKEND
-serial stdio -serial stdio | stdio => share it with mux=on
-serial null -serial null -serial null -serial null -serial null | -serial => leave out what is too much
-parallel nosuch | -parallel nosuch => '-chardev help' lists them
-debugcon nosuch | -debugcon nosuch => '-chardev help' lists them
-echr 0 | -echr 0 | C-a => the key is a number
-echr x | -echr x | C-a => the key is a number
-monitor nosuch | -monitor nosuch => '-chardev help' lists them
-qmp nosuch:x | -qmp nosuch:x => '-chardev help' lists them
-qmp unix:/nonexistent/x,server=on,wait=off | -qmp unix:/nonexistent/x | No such file => is the path right
-mon chardev=x | -mon chardev=x | 'x' => make one with -chardev BACKEND
-mon none | -mon none => make one with -chardev BACKEND
-mon mode=control | -mon mode=control => -mon chardev=ID,mode=control
-chardev null,id=a -mon a,mode=x | mode=x | control => is one of: readline
-chardev null,id=a -mon a,pretty=on | -mon a,pretty=on | mode=control => leave it out
-chardev null,id=a -mon a -mon a | -mon a | mux=on => give each user its own
-serial stdio -monitor stdio | -monitor stdio => share it with mux=on
-preconfig | --preconfig => add -qmp
-audiodev none | -audiodev none | 'id' is missing => add id=
-audiodev alsa,id=a | -audiodev alsa,id=a | does not accept value 'alsa' => it is one of
-audiodev none,id=a -audiodev none,id=a | -audiodev none,id=a | already => choose another id
-audiodev none,id=a,foo=1 | -audiodev | foo => there are
-add-fd set=1 | -add-fd set=1 | fd is missing => set=NUMBER,fd=NUMBER
-add-fd fd=1 | -add-fd fd=1 | set is missing => set=NUMBER,fd=NUMBER
-add-fd set=1,fd=1 | -add-fd set=1,fd=1 | stdout => pass one of 3 or more
-add-fd set=1,fd=99 | -add-fd set=1,fd=99 | passed => pass an open one's number
-add-fd set=-1,fd=3 | set | -1 => allowed is 0 to 9223372036854775807
-display gtk | -display gtk => use -display none or -nographic
-vga std | -vga std => use -vga none
-nic foo | -nic foo | 'foo' => -netdev help lists the back ends
-nic none,foo=1 | -nic none,foo=1 | 'foo' => leave it out
-nic hubport,hubid=0 | 'hubport' => -netdev help lists the back ends
-netdev socket,id=a,listen=127.0.0.1:99999 | listen=127.0.0.1:99999 => ports are 0 to 65535
-netdev user,id=a,hostfwd=tcp:127.0.0.1:2222:22 | host port separator => write [tcp|udp]:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT
-chardev socket,id=c,host=127.0.0.1,port=70000,server=on,wait=off | ports are 0 to 65535 => ports are 0 to 65535
-nic socket,listen=127.0.0.1:0,model=foo | Unsupported NIC model: foo => -nic model=help lists them
-nic socket,listen=127.0.0.1:0,model=isa-debug-exit | Unsupported NIC model => -nic model=help lists them
-nic socket,listen=127.0.0.1:0,vectors=x | vectors=x => it is a number
-net nic,macaddr=zz | -net nic,macaddr=zz | 'zz' => write 52:54:00:12:34:56
-net nic,macaddr=01:00:00:00:00:00 | multicast => make the first byte even
-net nic,netdev=x | -net nic,netdev=x | 'x' => make it with -netdev TYPE
-net socket | -net socket => exactly one of listen=,
-net socket,listen=127.0.0.1:0,mac=52:54:00:12:34:56 | 'mac' => there are
-netdev socket,listen=127.0.0.1:0 | 'id' is missing => add id=
-netdev foo,id=a | -netdev foo,id=a | 'foo' => it is one of
-netdev socket,id=9a,listen=127.0.0.1:0 | 'id' => expects an identifier: a letter
-netdev socket,id=a | exactly one of => exactly one of listen=,
-netdev socket,id=a,listen=127.0.0.1:0,connect=127.0.0.1:1 | exactly one of => exactly one of listen=,
-netdev socket,id=a,listen=nonsense | 'nonsense' => write host:port
-netdev socket,id=a,connect=127.0.0.1:1,localaddr=127.0.0.1 | localaddr => only valid with mcast=
-netdev socket,id=a,udp=127.0.0.1:1 | localaddr => is mandatory with
-netdev socket,id=a,mcast=127.0.0.1:1234 | multicast => is no multicast address (224.0.0.0 to 239.255.255.255)
-netdev socket,id=a,fd=99 | '99' => pass an open one's number
-netdev socket,id=a,fd=x | 'x' => pass an open one's number
-netdev socket,id=a,listen=127.0.0.1:0,bar=1 | 'bar' => there are
-netdev socket,id=a,listen=127.0.0.1:0 -netdev socket,id=a,listen=127.0.0.1:0 | Duplicate ID 'a' => choose another id
-netdev stream,id=a | 'addr' is missing => add addr=
-netdev stream,id=a,addr.type=unix,addr.path=/nonexistent/socket | /nonexistent/socket => is the path right
-netdev stream,id=a,server=on,addr.type=unix,addr.path=/nonexistent/socket | /nonexistent/socket => is the path right
-netdev dgram,id=a | remote= => requires remote= address, unless local is a descriptor
-netdev dgram,id=a,remote.type=inet,remote.host=127.0.0.1,remote.port=1 | local= => requires local= address, unless remote is a multicast group
-netdev dgram,id=a,remote.type=inet,remote.host=230.0.0.1,remote.port=1,local.type=inet,local.host=127.0.0.1,local.port=no-port | no-port => give the port as a number
-netdev dgram,id=a,remote.type=inet,remote.host=230.0.0.1,remote.port=1,local.type=unix,local.path=/x | inet local type => use local.type=inet
-netdev dgram,id=a,local.type=unix,local.path=/x,remote.type=inet,remote.host=127.0.0.1,remote.port=1 | types must be the same => change one of them
-netdev hubport,id=a | 'hubid' is missing => add hubid=
-netdev hubport,id=a,hubid=0,netdev=b | 'b' => make it with -netdev TYPE
-device e1000,netdev=a | e1000.netdev | 'a' => make it with -netdev TYPE
-netdev hubport,id=a,hubid=0 -device e1000,netdev=a -device e1000,netdev=a | in use => give each card its own
-device e1000,mac=zz | mac => expects a MAC address
-device e1000,bootindex=-2 | bootindex => allowed is -1 to 2147483647
-object filter-dump,id=f,netdev=a,file=/dev/null | netdev=a => make it with -netdev TYPE
-netdev hubport,id=a,hubid=0 -object filter-dump,id=f,netdev=a,file=/nonexistent/f | /nonexistent/f => is the path right
-netdev hubport,id=a,hubid=0 -object filter-dump,id=f,netdev=a | 'file' => add file=
-netdev hubport,id=a,hubid=0 -object filter-dump,id=f,netdev=a,file=/dev/null,position=middle | position=middle => it is 'head', 'tail' or 'id=' and another filter's id
-netdev hubport,id=a,hubid=0 -object filter-dump,id=f,netdev=a,file=/dev/null,position=id=x | id=x => make it first
-netdev hubport,id=a,hubid=0 -object filter-dump,id=f,netdev=a,file=/dev/null,queue=up | queue => it is one of
-netdev hubport,id=a,hubid=0 -object filter-dump,id=f,netdev=a,file=/dev/null,insert=in | insert => it is one of
-netdev hubport,id=a,hubid=0 -object filter-dump,id=f,netdev=a,file=/dev/null,status=maybe | status => should be 'on' or 'off'
-netdev hubport,id=a,hubid=0 -object filter-buffer,id=f,netdev=a,interval=0 | 'interval' => expects a number of microseconds above 0
-netdev hubport,id=a,hubid=0 -object filter-mirror,id=f,netdev=a | outdev => is 'netdev' meant for it?
-netdev hubport,id=a,hubid=0 -object filter-mirror,id=f,netdev=a,outdev=c | 'c' => make one with -chardev BACKEND
-netdev hubport,id=a,hubid=0 -object filter-redirector,id=f,netdev=a | indev => add one of them
-name x,foo=1 | foo=1 => it has: guest, process, debug-threads
-name x,debug-threads=z | debug-threads=z => the value is 'on' or 'off'
-action reboot=x | reboot=x | shutdown => is one of: reset
-action foo=1 | foo=1 => it has: reboot, shutdown, panic, watchdo
-action watchdog=x | watchdog=x | inject-nmi => is one of: reset
-watchdog-action x | watchdog=x => is one of: reset
-pidfile /nonexistent/p | -pidfile /nonexistent/p | No such file => is the path right
-pidfile dir | -pidfile dir | directory => name a file in it
-pidfile /dev/null | -pidfile /dev/null | no regular file => choose a name that is free
-netdev dgram,id=a,local.type=unix,local.path=/dev/null,remote.type=unix,remote.path=/y | path=/dev/null | is no socket => remove it or choose another path
-runas nosuch | -runas nosuch | uid:gid => give a user's name
-runas 1: | -runas 1: | uid:gid => give a user's name
-overcommit foo=on | foo=on => it has: mem-lock, cpu-pm
-overcommit mem-lock=x | mem-lock=x => the value is 'on' or 'off'
-overcommit cpu-pm=on | cpu-pm=on => leave it out
-sandbox x | x => the value is 'on' or 'off'
-sandbox on,foo=deny | foo=deny | spawn => it has: enable, obsolete, elevateprivile
-sandbox on,spawn=x | spawn=x | deny => is one of: allow
-D /nonexistent/x | -D /nonexistent/x | No such file => is the path right
-D %s | -D %s | %d => the only % sign allowed
-d nosuch | -d nosuch => -d help lists them
-trace events=nosuch | events=nosuch | No such file => is the path right
-msg foo=on | foo=on => it has: timestamp, guest-name
-msg timestamp=x | timestamp=x => the value is 'on' or 'off'
-qtest nosuch | -qtest nosuch => '-chardev help' lists them
-qtest unix:nosuch | nosuch | server=on => start its server first
-qtest-log log | -qtest-log log => add -qtest
-accel qtest -accel foo | -accel foo | invalid accelerator => there are: kvm, qtest
-accel qtest -accel qtst | -accel qtst => did you mean 'qtest'
--accel foo | invalid accelerator => there are
--m abc | not a size => write a number with K
-M pc,hpt=on | -M hpt=on | hpt' not found => did you mean 'hpet'
-M pc,hpet=maybe | 'maybe' => expects 'on' or 'off'
-machine nosuch,help | unsupported machine type => -machine help lists them
-device ide-hd,foo=1 | 'ide-hd.foo' not found => -device ide-hd,help lists
-device ide-hd,drve=1 | not found => did you mean 'drive'
-object iothread,id=i,foo=1 | 'iothread.foo' not found => -object iothread,help lists
-drive file=/nosuch.qcow2 | No such file => is the path right
-drive file=empty,format=raw,if=virtio | empty => 'qemu-img create'
-blockdev help | 'driver' => it is one of: 
-blockdev raw,node-name=r,file=nosuch | 'nosuch' => make it with -blockdev
-blockdev driver=null-co,node-name=n,size=x | 'size' => expects integer
-initrd nosuch | only possible with -kernel => add it
-qmp-pretty nosuch:x | -qmp-pretty nosuch:x => '-chardev help' lists them
-fda dir | Is a directory => name a file in it
-qtest unix:/nonexistent/s,server=on,wait=off | No such file => is the path right
-readconfig nosuch | No such file => is the path right
-config nosuch | No such file => is the path right
-chardev pipe,id=p,path=/nonexistent/p | No such file => is the path right
-netdev tap,id=n,ifname=0123456789abcdefgh | ifname => at most 15 characters
-smp 1,threads=x | threads=x => allowed is 1 to 65535
-print-state -daemonize | -print-state | -daemonize => leave one of them out
-daemonize -serial stdio | -serial stdio | -daemonize => use a file
-daemonize -chardev stdio,id=a | stdio | -daemonize => use a file
"""


def one_good(line):
    files()
    args, *warning = line.split(" | ")
    with helpers(line):
        suite.good(args.split(), *warning)


def one_bad(line):
    files()
    row, way_out = line.split(" => ")
    args, *needles = row.split(" | ")
    check(way_out not in args, "the way out is what the user typed: %r" % way_out)
    with helpers(line):
        said = suite.bad([*([] if "-accel" in args else QTEST), *args.split()], *needles)
    check(way_out in said, "no way out %r: %s" % (way_out, said))
    names_what_was_typed(args.split(), said)


def names_what_was_typed(words, said):
    """The message begins with an option of the line as it was typed (or is of the plain image), and then says its value
    or a part of it: a key, a key's value or the whole."""
    said = said.split("kiln-system-x86_64: ", 1)[1]
    option, rest = re.match(r"(disk image|-\S*?)(?=[ :,]|$)(.*)", said).groups()
    names = [word.replace("--", "-", 1) for word in words]
    option = option.replace("--", "-", 1)
    check(option in names or option == "disk image", "%s is no option of the line: %s" % (option, said))
    values = words if option == "disk image" else \
        [words[i + 1] for i, name in enumerate(names[:-1]) if name == option and option.lstrip("-") in TABLES]
    parts = {part for value in values for part in [value, *re.split(r'[,=+:"{}]', value)] if part}
    if len(values) > 1:  # one too many
        parts.add(str(len(values)))
    named = [part for part in parts if re.search(r"(^|\W)%s(\W|$)" % re.escape(part), rest)]
    check(named or not parts, "does not name the value %s: %s" % (" or ".join(values), said))


def is_option(word):
    return re.match("--?[a-zA-Z]", word) is not None


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
    used = suite.used | {"config", "readconfig", "print-config", "check-config"}  # test-config.py's
    missing = [name for name in TABLES if name not in used]
    check(not missing, "no test gives: %s" % missing)


# What takes any text.
ANY_TEXT = {"L": "a directory that is not there is passed over", "append": "the guest's business, with -kernel"}


def test_all_refuse():
    """Each option that takes an argument has a row in BAD whose message begins with it."""
    refusing = {word.lstrip("-") for line in BAD.strip().splitlines() for word in line.split(" | ")[0].split() if is_option(word)}
    missing = [name for name, (table, takes) in TABLES.items()
               if takes and table != "later" and name not in refusing and name not in ANY_TEXT]
    check(not missing, "no wrong value was given to: %s" % missing)


suite.add("an option without its argument says so", test_missing_argument)
suite.add("each option has a wrong value here", test_all_refuse)
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
    suite.says(["-object", "help"], r"^List of user creatable objects:\n(  \S+\n)*  memory-backend-ram\n")
    suite.says(["-object", "memory-backend-ram,help"], r"^memory-backend-ram options:\n(.*\n)*  size=<int>")
    suite.says(["-object", "rng-builtin,help"], r"^There are no options for rng-builtin\.")
    suite.says(["-chardev", "help"], r"^Available chardev backend types:")
    suite.says(["-chardev", "socket,help"], r"^  path=<str> ")
    suite.says(["-audiodev", "help"], r"^none$")
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
        suite.bad([*QTEST, "-hda", "disk.img"], "-hda disk.img: ", "lock", "%d" % pid)
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


def test_end_while_connecting():
    """A server whose backlog is full lets a connection wait for minutes."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = server.getsockname()[1]
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        for number in (signal.SIGTERM, signal.SIGHUP):
            process = subprocess.Popen([suite.binary, *QTEST, "-pidfile", "pid", "-serial", "tcp:127.0.0.1:%d" % port,
                                        "-trace", "char_socket_await"],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            check(b"char_socket_await" in process.stderr.readline(), "does not wait")
            process.send_signal(number)
            check(process.wait(LIMIT) == 0, "status %s: %s" % (process.returncode, process.stderr.read()))
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
suite.add("signals end the wait for a server", test_end_while_connecting)


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


def test_more_memory_than_the_host():
    with open("/proc/sys/vm/overcommit_memory") as f:
        if f.read().strip() == "1":
            raise Skip("vm.overcommit_memory is 1: the kernel refuses nothing")
    with open("/proc/meminfo") as f:
        amounts = dict(re.findall(r"^(\w+):\s+(\d+)", f.read(), re.M))
    megabytes = (int(amounts["MemTotal"]) + int(amounts["SwapTotal"])) // 1024 + 1024
    suite.bad([*QTEST, "-m", str(megabytes)], "-m %dM" % megabytes, "the host has", "give the guest less")


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


suite.add("-m: more than the host has", test_more_memory_than_the_host)
suite.add("/dev/kvm that is not there", test_kvm_absent)
suite.add("/dev/kvm that is something else", test_kvm_is_something_else)
suite.add("/dev/kvm that may not be opened", test_kvm_refused)
suite.add("accelerators are tried in order", test_accel_order)


# ---- what options do -----------------------------------------------------------------------------------------------

def test_identity_reaches_the_guest():
    file("item", bytes(range(10)))
    file("rom.bin", b"\x55\xaa" * 700)
    args = [["-m", "256"], ["-smp", "3"], ["-uuid", "11a12737-df26-48b3-8f81-1fa39cb470a9"],
            ["-fw_cfg", "opt/org.example/a,string=two,,parts"], ["-fw_cfg", "name=opt/org.example/b,file=item"],
            ["-device", "pci-testdev,romfile=rom.bin,rombar=0"],
            ["-boot", "menu=on,splash-time=1000"], ["-rtc", "base=2026-01-31T13:02:03,clock=vm"], ["-S"]]
    for order in (args, args[::-1]):  # the order of the line does not matter
        with suite.machine(*sum(order, [])) as machine:
            check(machine.fw_cfg(2, 16).hex() == "11a12737df2648b38f811fa39cb470a9", "uuid")
            check(machine.fw_cfg(5, 2) == b"\x03\0", "CPUs")
            check(machine.fw_cfg(0x0e, 2) == b"\x01\0", "boot menu")
            check(machine.fw_cfg_file("opt/org.example/a") == b"two,parts", "string item")
            check(machine.fw_cfg_file("genroms/rom.bin") == b"\x55\xaa" * 700, "ROM without a BAR")
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
    suite.good(["-global", "pci-testdv.membar=1"], warning="did you mean 'pci-testdev'")
    suite.good(["-global", "pci-testdev.membr=1"], warning="no such property (did you mean 'membar'?)")


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
        check({"vm-web", "CPU 0/KVM", "CPU 1/KVM", "call_rcu"} <= set(names), "threads: %s" % names)


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
        console.expect(b"(qemu) ")
        console.send(b"info status\r")
        console.expect(b"VM status: running")
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


PC_DEVICES = ("floppy", "ide-cd", "ide-hd", "isa-debug-exit", "isa-debugcon", "isa-fdc", "isa-parallel", "isa-serial",
              "pc-testdev", "pci-bridge", "pci-testdev", "piix3-ide", "pvpanic")


def test_oracle_properties():
    """The devices of a pc that users can make have QEMU's properties, of the same types, and each says what it is."""
    need_oracle()
    for name in PC_DEVICES:
        out = suite.go("-device", name + ",help")[1]
        ours, theirs = (set(re.findall(r"^  (\S+=<\S+>)(?:\s|$)|^(There are.*)", text, re.M))
                        for text in (out, oracle("-device", name + ",help")[1]))
        theirs = {found for found in theirs if "<child<" not in found[0]}
        check(ours == theirs, "%s: only here: %s, only in QEMU: %s" % (name, ours - theirs, theirs - ours))
        for line in out.splitlines()[1:]:
            check(re.match(r"  \S+=<\w+> +- \S", line), "%s: no description: %r" % (name, line))


def test_oracle_status():
    """The same mistakes have the same exit status."""
    need_oracle()
    files()
    for line in ("-nosuch", "-machine nosuch", "-cpu nosuch", "-device nosuch", "-device isa-serial,foo=1", "-kernel nosuch",
                 "-bios nosuch", "-hda nosuch", "-m abc", "-smp x", "-smp 2,sockets=3", "-uuid x", "-rtc base=x",
                 "-boot order=cc", "-name a,b=c", "-runas nosuch", "-chardev null", "-serial nosuch", "-action x=y",
                 "-pidfile /nonexistent/x", "-D /nonexistent/x/y", "-drive file=dir,format=raw", "-msg foo=on",
                 "-object iothread", "-object nosuch,id=a", "-object memory-backend-ram,id=a", "-object iothread,id=a,foo=1",
                 "-machine pc,memory-backend=nope", "-numa node", "-numa node,mem=64M", "-numa dist,src=0,dst=1,val=9", "-object secret,id=a,data=x,file=y", "-object iothread,help",
                 "-drive file=disk.img,format=raw,foo=1", "-global foo", "-device help", "-version", "-cpu help",
                 "-accel help", "-chardev help", "-L help", "-trace help"):
        theirs, _, text = oracle("-accel", "tcg", "-display", "none", "-nodefaults", "-S", *line.split())
        ours, _, err = suite.go(*QTEST, "-S", *line.split())
        check(ours == theirs, "%s: status %d, QEMU %d: %s\n%s" % (line, ours, theirs, err, text))


suite.add("QEMU: each of its options is known", test_oracle_options)
suite.add("QEMU: lists have its form", test_oracle_lists)
suite.add("QEMU: devices have its properties", test_oracle_properties)
suite.add("QEMU: the same mistakes, the same status", test_oracle_status)
suite.add("each option was given in these tests", test_all_used)

sys.exit(suite.run())
