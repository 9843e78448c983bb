# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: firmware images, command lines, figures out of /proc and strace, tables."""
import argparse
import os
import re
import select
import signal
import statistics
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments(doc, repeat):
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    parser.add_argument("--kiln", default="build/kiln-system-x86_64")
    parser.add_argument("--qemu", default="qemu-system-x86_64")
    parser.add_argument("--repeat", type=int, default=repeat, help="runs of each program")
    return parser


def require_kvm():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("skipped: /dev/kvm cannot be opened")
        raise SystemExit(0)


def assemble(directory, source, **defines):
    """Path of the firmware image that nasm makes of tests/bench/SOURCE."""
    name = os.path.basename(source) + "".join(f"-{k}{v}" for k, v in defines.items())
    rom = os.path.join(directory, name + ".rom")
    if not os.path.exists(rom):
        subprocess.run(["nasm", "-f", "bin", *(f"-D{k}={v}" for k, v in defines.items()),
                        os.path.join(HERE, source), "-o", rom], check=True)
    return rom


def command(program, *more, ram=128, serial="null"):
    """A pc whose debug port 402h is standard output."""
    return [program, "-accel", "kvm", "-M", "pc", "-m", str(ram), "-display", "none", "-vga", "none", "-net", "none",
            "-serial", serial, "-monitor", "null",
            "-chardev", "stdio,id=mark,signal=off", "-device", "isa-debugcon,iobase=0x402,chardev=mark", *more]


def start(line):
    return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(process, text, seconds):
    """Reads the debug port until it has said text."""
    end, heard = time.monotonic() + seconds, b""
    while text not in heard:
        left = end - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            break
        got = os.read(process.stdout.fileno(), 4096)
        if not got:
            break
        heard += got
    if text in heard:
        return
    process.kill()
    raise SystemExit(f"{' '.join(process.args)}: '{text.decode()}' did not come: "
                     + process.stderr.read().decode(errors="replace").strip())


def vmm_pid(process):
    """The VMM itself, also when strace started it."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as f:
        children = f.read().split()
    return int(children[0]) if process.args[0] == "strace" and children else process.pid


def stop(process):
    """strace ends by itself after its VMM; ended by a signal it would leave the VMM running."""
    os.kill(vmm_pid(process), signal.SIGTERM)
    process.communicate(timeout=60)


# ---- figures of a running process ----------------------------------------------------------

def cpu_ns(pid):
    """On a CPU, user and system, all threads, guest included."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def page_faults(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[7]) + int(fields[9])


def mappings(pid):
    """[(path, KiB of address space, {field: KiB})]"""
    result = []
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            words = line.split()
            span = re.fullmatch(r"([0-9a-f]+)-([0-9a-f]+)", words[0])
            if span:
                size = (int(span[2], 16) - int(span[1], 16)) // 1024
                result.append((" ".join(words[5:]), size, {}))
            elif len(words) == 3 and words[2] == "kB":
                result[-1][2][words[0].rstrip(":")] = int(words[1])
    return result


def shared_libraries(pid):
    return len({path for path, _, _ in mappings(pid) if ".so" in path})


def own_memory(pid, ram_mib):
    """(private dirty, all private, proportional) KiB without guest RAM: the one mapping of at least its size."""
    dirty = clean = pss = 0
    for path, size, kib in mappings(pid):
        if size < ram_mib * 1024 or path not in ("", "[anon]"):
            dirty += kib["Private_Dirty"]
            clean += kib["Private_Clean"]
            pss += kib["Pss"]
    return dirty, dirty + clean, pss


def resident(pid):
    return sum(kib["Rss"] for _, _, kib in mappings(pid))


def switches(pid):
    """{thread name and id: times it slept and was woken}"""
    result = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as f:
            text = f.read()
        result[re.search(r"Name:\s*(.*)", text)[1] + "/" + task] = int(
            re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)", text)[1])
    return result


def count_calls(trace_file):
    """{name: system calls} of an strace -f -o file."""
    calls = {}
    with open(trace_file, errors="replace") as f:
        for line in f:
            name = re.match(r"\d+ +([a-z_0-9]+)\(", line)
            if name:
                calls[name[1]] = calls.get(name[1], 0) + 1
    return calls


# ---- tables -----------------------------------------------------------------------------------

class Table:
    """Rows of Kiln, QEMU, ratio, target and verdict; a target is a figure of Kiln or a ratio."""

    def __init__(self, title):
        self.missed = False
        print(f"{title:46} {'Kiln':>9} {'QEMU':>9} {'ratio':>6}  target")

    def row(self, name, kiln, qemu, most=None, ratio=None, digits=1):
        shown = f"{kiln:9.{digits}f} " + (f"{qemu:9.{digits}f} " if qemu is not None else " " * 10)
        quotient = kiln / qemu if qemu else None
        shown += f"{quotient:6.2f}" if quotient is not None else " " * 6
        wanted, good = [], True
        if most is not None:
            wanted.append(f"<= {most:g}")
            good &= kiln <= most
        if ratio is not None and quotient is not None:
            wanted.append(f"ratio <= {ratio:g}")
            good &= quotient <= ratio
        self.missed |= not good
        verdict = f"  {', '.join(wanted)}: {'met' if good else 'MISSED'}" if wanted else ""
        print(f"{name:46} {shown}{verdict}", flush=True)


median = statistics.median
