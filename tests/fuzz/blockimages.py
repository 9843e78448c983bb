# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of a chain, of random kinds, made by qemu-img."""
import json
import subprocess
import time

from blockmodel import LIMIT, SECTOR, Wrong

MIB = 1 << 20
SECRET = ("--object", "secret,id=s,data=key")
FAST = "iter-time=10"


def tool(*words, good=(0,)):
    for _ in range(20):
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
        # qemu-img measures how fast it is; io_uring lets go of files a moment after a killed process has ended.
        if "accurate CPU usage" not in done.stdout and "Failed to get" not in done.stdout:
            break
        time.sleep(0.1)
    if done.returncode not in good:
        raise Wrong("%s: status %d: %s" % (" ".join(words), done.returncode, done.stdout))
    return done.stdout


class Layer:
    """An image of the chain: its files, how it is opened, and what it must hold once something is over it."""

    def __init__(self, name, form, size):
        self.name, self.form, self.size = name, form, size
        self.file = name + ".img"
        self.data_file = None
        self.encrypted = False
        self.node = name
        self.frozen = None  # a Moment
        self.snapshots = {}  # internal ones, by name: Moment
        self.small_refcounts = False

    def options(self, below=None, files=None):
        """As nodes: below is the backing file's node or options, files(name) gives those of a file."""
        files = files or (lambda name: {"driver": "file", "filename": name})
        options = {"driver": self.form, "file": files(self.file)}
        if self.form == "luks":
            options["key-secret"] = "s"
        if self.form == "qcow2":
            options["backing"] = below
            if self.encrypted:
                options["encrypt"] = {"format": "luks", "key-secret": "s"}
            if self.data_file:
                options["data-file"] = files(self.data_file)
        return options


def create(layer, rand, below=None):
    """Of a random kind, empty."""
    words = []
    if layer.form == "luks":
        words = ["-o", "key-secret=s," + FAST]
    elif layer.form == "qcow2":
        cluster = rand.choice([512, 4096, 16384, 65536, 65536, 2 * MIB])
        options = ["cluster_size=%d" % cluster]
        if rand.random() < 0.15:
            options += ["compat=0.10"]
        else:
            if cluster >= 16384 and rand.random() < 0.3:
                options += ["extended_l2=on"]
            options += rand.choice([[], [], ["lazy_refcounts=on"]])
            bits = rand.choice([16, 16, 1, 8, 64])
            layer.small_refcounts = bits == 1
            if rand.random() < 0.2:
                layer.data_file = layer.name + ".data"
                raw = not below and rand.random() < 0.5
                options += ["data_file=" + layer.data_file] + (["data_file_raw=on"] if raw else [])
            options += ["refcount_bits=%d" % bits]
        if not below and rand.random() < 0.2:
            options += ["preallocation=metadata"]
        elif not layer.data_file and rand.random() < 0.2:  # what was made in advance and never written would be noise
            layer.encrypted = True
            options += ["encrypt.format=luks", "encrypt.key-secret=s", "encrypt." + FAST]
        words = ["-o", ",".join(options)]
        if below:
            words += ["-u", "-b", below.file, "-F", below.form]
    if layer.form == "luks":  # what was never written is noise there
        with open("zeros", "wb") as f:
            f.truncate(layer.size * SECTOR)
        tool("qemu-img", "convert", *SECRET, "-S", "0", "-f", "raw", "-O", "luks", *words, "zeros", layer.file)
    else:
        tool("qemu-img", "create", "-q", *SECRET, "-f", layer.form, *words, layer.file, str(layer.size * SECTOR))


def info(layer):
    return json.loads(tool("qemu-img", "info", "-U", "--output=json", layer.file))


def is_v2(layer):
    """Or of another format: no feature bits, so no lazy refcounts, and bitmaps that do not stay."""
    return layer.form != "qcow2" or info(layer)["format-specific"]["data"]["compat"] == "0.10"
