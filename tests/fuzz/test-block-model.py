#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test-block-model.py KILN [SEED [COMMANDS [RUNS]]]: a disk of a running VM is written and read over NBD while managers' commands
change the graph of block nodes below it: what is read is what was written. At the end, or after a kill at any moment, the images
are consistent, the disk holds what the model holds (after a kill: all that was flushed), and each snapshot what the disk held when
it was taken. With a seed: RUNS seeds from there."""
import json
import os
import random
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "cli"), os.path.join(HERE, "..", "qmp")]
from blockimages import MIB, SECRET, Layer, create, info, is_v2, tool  # noqa: E402
from blockmodel import LIMIT, SECTOR, Bitmap, Client, Model, Moment, Wrong, content  # noqa: E402
from harness import Failed, Suite  # noqa: E402
from qmpclient import Machine  # noqa: E402
import nbd  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)


def group(driver):
    return {"throttle-group": "t"} if driver == "throttle" else {}


def takes_direct():
    """Whether files here can be opened past the page cache."""
    try:
        os.close(os.open("probe", os.O_RDWR | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True


class Killed(Exception):
    """The program, in the middle of a command."""


class Campaign:
    """One seed."""

    def __init__(self, seed, commands):
        self.seed, self.commands = seed, commands
        self.random = random.Random(seed)
        self.pick = self.random.choice
        self.layers, self.names, self.count = [], 0, 0
        self.root = None  # the node that the export has
        self.above = []  # filters over the image at the top, the lowest first
        self.kills = self.random.random() < 0.35
        self.trace = []
        self.export = 0
        self.running = True
        self.direct = takes_direct()
        self.filters = {}  # layer -> node of a filter between it and the layer over it
        self.bitmaps = {}
        self.refused = 0
        self.dying = False  # the next commands may be its last
        self.pending = None  # the overlay of a command that is under way
        self.unsure = set()  # what else it may have done, or not: a snapshot's name, "size"

    def new_name(self):
        self.names += 1
        return "n%d" % self.names

    # ---- the images before ------------------------------------------------------------------------

    def prepare(self):
        top = self.random.randrange(2 * MIB // SECTOR, 6 * MIB // SECTOR)
        form = self.pick(["qcow2"] * 6 + ["raw", "luks"])
        generations = [0] * top
        depth = self.random.randrange(3) if form == "qcow2" else 0
        for number in range(depth):
            form_below = self.pick(["qcow2", "raw"]) if number == 0 else "qcow2"
            layer = Layer(self.new_name(), form_below, top + self.pick([0, 0, -777, 3000]))
            create(layer, self.random, self.layers[-1] if self.layers else None)
            below = self.layers[-1].frozen.base if self.layers else []
            now = (below + [0] * layer.size)[:layer.size]
            commands = []
            for _ in range(self.random.randrange(8)):
                first = self.random.randrange(layer.size - 200)
                count = self.random.randrange(1, 200)
                now[first:first + count] = [number + 1] * count
                commands += [(first, count)]
            self.layers.append(layer)
            if commands:
                words = []
                for at, (first, count) in enumerate(commands):
                    with open("piece%d" % at, "wb") as f:
                        f.write(content(first, [number + 1] * count))
                    words += ["-c", "write -s piece%d %d %d" % (at, first * SECTOR, count * SECTOR)]
                tool("qemu-io", *SECRET, *words, self.chain(number))
            layer.frozen = Moment(Model(now)).close()
        layer = Layer(self.new_name(), form, top)
        create(layer, self.random, self.layers[-1] if self.layers else None)
        if self.layers:
            generations = (self.layers[-1].frozen.base + generations)[:top]
        self.layers.append(layer)
        self.model = Model(generations)
        self.model.next = 100

    def chain(self, top):
        options = None
        for layer in self.layers[:top + 1]:
            options = layer.options(options)
        return "json:" + json.dumps(options)

    # ---- the machine ------------------------------------------------------------------------------

    def do(self, name, refusal=None, /, **arguments):
        """True: it was done. refusal: why it may be refused (a part of the text); "" is any reason."""
        self.trace.append("%s %s" % (name, json.dumps(arguments)))
        self.client.ask()
        self.c.send({"execute": name, "arguments": arguments})
        if self.dying and self.random.random() < 0.6:
            time.sleep(self.random.random() * self.pick([0.001, 0.01, 0.05]))
            raise Killed
        reply = self.c.reply()
        if reply is None:
            raise Wrong("the program ended: %r" % self.m.process.stderr.read()[-6000:])
        if "return" in reply:
            return True
        self.trace[-1] += " -> " + reply["error"]["desc"]
        if refusal is None or refusal not in reply["error"]["desc"]:
            raise Wrong("refused: " + reply["error"]["desc"])
        self.refused += 1
        return False

    def file_options(self, name):
        options = {"driver": "file", "filename": name, "discard": self.pick(["ignore", "unmap"]),
                   "aio": self.pick(["threads", "threads", "io_uring"])}
        if self.direct and self.random.random() < 0.3:
            options.update(cache={"direct": True}, aio=self.pick(["threads", "native", "io_uring"]))
        if self.random.random() < 0.15:
            options = {"driver": "throttle", "throttle-group": "t", "file": options}
        if self.random.random() < 0.1:
            options = {"driver": "preallocate", "file": options, "prealloc-size": 65536 * self.random.randrange(1, 40)}
        return {"node-name": "f" + name.replace(".", "-"), **options}

    def node_options(self, layer, below, read_only):
        options = layer.options(below, self.file_options)
        options.update({"node-name": layer.node, "read-only": read_only, "discard": self.pick(["ignore", "unmap"]),
                        "detect-zeroes": self.pick(["off", "off", "on"])})
        if read_only:
            def quiet(o):
                if isinstance(o, dict):
                    if o.get("driver") == "preallocate":
                        return quiet({"node-name": o["node-name"], **o["file"]})
                    return {key: quiet(value) for key, value in o.items()}
                return o
            options = {key: quiet(value) for key, value in options.items()}
            options["auto-read-only"] = self.pick([True, False])
        self.caches(layer, options)
        layer.opened = options
        return options

    def caches(self, layer, options):
        if layer.form == "qcow2":
            options.update(self.pick([{}, {}, {"l2-cache-size": 65536, "refcount-cache-size": 65536}, {"lazy-refcounts": True},
                                      {"cache-clean-interval": 1}, {"overlap-check": "all"}]))
            if options.get("lazy-refcounts") and layer.small:
                del options["lazy-refcounts"]

    def start(self):
        self.device = self.random.random() < 0.4
        self.m = Machine(BINARY, "-machine", "pc" if self.device else "none", "-object", "secret,id=s,data=key",
                         "-object", "iothread,id=io0", "-object", "throttle-group,id=t,x-iops-total=3000", stdout=subprocess.DEVNULL)
        self.c = self.m.connect()

    def attach(self):
        below = None
        for layer in self.layers:
            layer.small = is_v2(layer)
            self.do("blockdev-add", **self.node_options(layer, below, layer is not self.layers[-1]))
            below = layer.node
        self.root = below
        for _ in range(self.pick([0, 0, 0, 1, 2])):
            self.put_above()
        self.plug()
        self.do("nbd-server-start", addr={"type": "unix", "data": {"path": "s"}})
        self.share()

    def put_above(self):
        driver = self.pick(["throttle", "copy-on-read", "raw"])
        name = self.new_name()
        self.do("blockdev-add", **{"driver": driver, "node-name": name, "file": self.root, **group(driver)})
        self.above.append(name)
        self.root = name

    def plug(self):
        if self.device:
            self.do("device_add", driver="virtio-blk-pci", drive=self.root, id="disk", iothread="io0", **{"share-rw": True})

    def share(self):
        self.export += 1
        self.do("block-export-add", type="nbd", id="e%d" % self.export,
                **{"node-name": self.root, "name": "x", "writable": True, "writethrough": self.random.random() < 0.1})

    # ---- commands ---------------------------------------------------------------------------------

    def frozen_by(self, command):
        """command() puts a layer over the top: what is there then stays. With requests under way, or without."""
        quiet = self.random.random() < 0.2
        if quiet:
            self.client.pause()
        self.moment = moment = self.model.moment()
        done = command()
        moment.close()
        if quiet:
            self.client.resume()
        return moment if done else None

    def overlaid(self, layer, moment):
        self.layers[-1].frozen = moment
        self.layers.append(layer)
        self.root = layer.node
        if self.above:  # they stay below: readers of what was the top
            self.filters[len(self.layers) - 2] = self.above[-1]
            self.above = []
        self.pending = None
        self.bitmaps = {}  # they stay with what is below

    def snapshot(self):
        if len(self.layers) > 7:
            return
        layer = Layer(self.new_name(), "qcow2", len(self.model.generations))
        create(layer, self.random, self.layers[-1])
        layer.small = is_v2(layer)
        self.do("blockdev-add", **self.node_options(layer, None, False))
        action = {"node": self.root, "overlay": layer.node}
        self.pending = layer
        moment = self.frozen_by(lambda: self.do("blockdev-snapshot", **action) if self.random.random() < 0.7 else
                                self.do("transaction", actions=[{"type": "blockdev-snapshot", "data": action}]))
        self.overlaid(layer, moment)

    def snapshot_sync(self):
        if len(self.layers) > 7 or any(layer.encrypted or layer.form == "luks" for layer in self.layers):
            return
        layer = Layer(self.new_name(), "qcow2", len(self.model.generations))
        layer.small = False
        action = {"node-name": self.root, "snapshot-file": layer.file, "snapshot-node-name": layer.node}
        self.pending = layer
        abort = self.random.random() < 0.3
        if abort:
            actions = [{"type": "blockdev-snapshot-sync", "data": action}, {"type": "abort", "data": {}}]
            self.frozen_by(lambda: self.do("transaction", "", actions=actions))
            self.pending = None
            return
        moment = self.frozen_by(lambda: self.do("blockdev-snapshot-sync", "", **action))
        self.pending = None
        if moment:
            layer.opened = None
            self.overlaid(layer, moment)

    def internal(self):
        layer = self.layers[-1]
        if layer.form != "qcow2" or layer.data_file or layer.small_refcounts or self.above:
            return
        name = self.pick("pqr")
        self.unsure.add(name)
        if name in layer.snapshots:
            if self.do("blockdev-snapshot-delete-internal-sync", "", device=self.root, name=name):
                del layer.snapshots[name]
            return
        moment = self.frozen_by(lambda: self.do("blockdev-snapshot-internal-sync", "", device=self.root, name=name))
        if moment:
            layer.snapshots[name] = moment

    def resize(self):
        layer = self.layers[-1]
        if layer.form == "luks" or not layer.opened and not self.device:
            return  # what is new there is noise
        old = len(self.model.generations)
        new = max(2048, old + self.pick([-2000, -700, 1, 100, 1000, 3000]))
        if new > 20000:
            new = 4000
        self.client.pause()
        self.unsure.add("size")
        if self.do("block_resize", "", **{"node-name": self.root, "size": new * SECTOR}):
            self.model.resize(new)
            layer.size = new
            for bitmap in self.bitmaps.values():
                bitmap.forget()
            self.export_again()  # which has its size from its beginning
        self.client.connect()
        self.client.resume()

    def export_again(self):
        self.c.events.clear()
        self.do("block-export-del", id="e%d" % self.export, mode="hard")
        self.c.wait("BLOCK_EXPORT_DELETED")
        self.share()

    def reopen_top(self):
        self.reopen(len(self.layers) - 1)

    def reopen(self, number=None):
        number = self.random.randrange(len(self.layers)) if number is None else number
        layer = self.layers[number]
        if not layer.opened:
            return
        options = {key: value for key, value in layer.opened.items() if key not in
                   ("l2-cache-size", "refcount-cache-size", "lazy-refcounts", "cache-clean-interval", "overlap-check")}
        self.caches(layer, options)
        for key in ("file", "data-file"):
            if key in options and not isinstance(options[key], str) and self.random.random() < 0.5:
                options[key] = options[key]["node-name"]
            elif isinstance(options.get(key), dict) and options[key].get("aio") in ("threads", "io_uring") and self.direct:
                options[key] = dict(options[key], cache={"direct": self.pick([True, False])})
        if layer.form == "qcow2":
            options["backing"] = self.below(number)
        read_only = number < len(self.layers) - 1
        if self.random.random() < 0.2:  # one that fails takes the other back
            nobody = {"driver": "file", "node-name": "f" + layer.file.replace(".", "-"), "filename": "nobody"}
            if self.do("blockdev-reopen", "", options=[dict(options, **{"detect-zeroes": "on"}), nobody]):
                raise Wrong("a node has got another file")
        if read_only and self.random.random() < 0.5 and layer.opened.get("read-only") is not True:
            options["read-only"] = False
            options.pop("auto-read-only", None)
            self.do("blockdev-reopen", "", options=[options])
        options["read-only"] = read_only
        options["discard"] = self.pick(["ignore", "unmap"])
        options["detect-zeroes"] = self.pick(["off", "on"])
        self.do("blockdev-reopen", "", options=[options])

    def below(self, number):
        return self.filters.get(number - 1, self.layers[number - 1].node) if number else None

    def filter(self):
        """Puts one between two layers, or takes it away."""
        if len(self.layers) < 2:
            return
        number = self.random.randrange(1, len(self.layers))
        layer = self.layers[number]
        if not layer.opened or layer.form != "qcow2":
            return
        lower = self.layers[number - 1].node
        was = self.filters.get(number - 1)
        if was:
            name = lower
        else:
            name = self.new_name()
            driver = self.pick(["throttle", "raw", "copy-on-read"])
            if not self.do("blockdev-add", "", **{"driver": driver, "node-name": name, "file": lower, "read-only": True,
                                                 **group(driver)}):
                return
        options = dict(layer.opened, backing=name)
        options["read-only"] = number < len(self.layers) - 1
        if self.do("blockdev-reopen", "", options=[options]):
            if was:
                del self.filters[number - 1]
                self.do("blockdev-del", "", **{"node-name": was})
            else:
                self.filters[number - 1] = name

    def limits(self):
        self.do("qom-set", path="/objects/t", property="limits", value={"iops-total": self.pick([0, 500, 5000])})
        if self.device:
            self.do("block_set_io_throttle", "", id="/machine/peripheral/disk/virtio-backend", bps=self.pick([0, 10 * MIB]),
                    **dict.fromkeys(["bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"], 0))

    def read_below(self):
        """Somebody else reads a layer, which does not change."""
        if len(self.layers) < 2:
            return
        number = self.random.randrange(len(self.layers) - 1)
        name = self.new_name()
        self.do("blockdev-add", **{"driver": "raw", "node-name": name, "read-only": True, "file": self.layers[number].node})
        self.do("block-export-add", type="nbd", id=name, **{"node-name": name, "name": name})
        handle = nbd.NBD()
        handle.connect_uri("nbd+unix:///%s?socket=s" % name)
        data = b"".join([bytes(handle.pread(min(MIB, handle.get_size() - at), at)) for at in range(0, handle.get_size(), MIB)])
        handle.shutdown()
        self.layers[number].frozen.check(data, "layer %d (%s), read meanwhile" % (number, self.layers[number].name))
        self.c.events.clear()
        self.do("block-export-del", id=name, mode="hard")
        self.c.wait("BLOCK_EXPORT_DELETED")
        self.do("blockdev-del", **{"node-name": name})

    def rename(self):
        number = self.random.randrange(1, len(self.layers)) if len(self.layers) > 1 else 0
        if number:
            self.do("change-backing-file", "", **{"device": self.root, "image-node-name": self.layers[number].node,
                                                  "backing-file": self.layers[number - 1].file})

    def share_again(self):
        if not self.layers[-1].opened and not self.device:
            return  # only the export keeps the node
        hard = self.random.random() < 0.5
        if not hard:
            self.client.pause()
            self.client.disconnect()
        self.client.gone = True
        self.export_again()
        if hard:
            self.client.pause()
            self.client.disconnect()
        self.client.connect()
        self.client.resume()

    def run_state(self):
        self.do("stop" if self.running else "cont")
        self.running = not self.running

    def look(self):
        self.do(self.pick(["query-named-block-nodes", "query-block", "query-blockstats", "query-block-exports"]))

    def bitmap(self):
        name, other = self.pick("bcd"), self.pick("bcd")
        layer = self.layers[-1]
        kind = self.pick(["add", "add", "add", "remove", "enable", "disable", "clear", "merge", "merge"])
        where = {"node": layer.node, "name": name}
        if kind == "add":
            where.update(persistent=not layer.small, granularity=self.pick([512, 4096, 65536]))
        elif kind == "merge":
            where = {"node": layer.node, "target": name, "bitmaps": [other]}
        mine, theirs = self.bitmaps.get(name), self.bitmaps.get(other)
        before = theirs.sure() if theirs else []
        if kind == "disable" and mine:
            mine.stop()
        if not self.do("block-dirty-bitmap-" + kind, "", **where):
            return
        if kind == "add":
            self.bitmaps[name] = Bitmap(self.model)
        elif kind == "remove":
            del self.bitmaps[name]
        elif kind == "enable":
            mine.start()
        elif kind == "clear":
            mine.forget()
        elif kind == "merge":
            mine.changes += before

    def read_bitmap(self):
        """Each change since it was made is in it."""
        if not self.bitmaps:
            return
        name = self.pick(sorted(self.bitmaps))
        bitmap, node = self.bitmaps[name], self.layers[-1].node
        bitmap.stop()
        self.do("block-dirty-bitmap-disable", node=node, name=name)
        self.do("block-export-add", type="nbd", id="map", **{"node-name": node, "name": "map", "bitmaps": [name]})
        handle = nbd.NBD()
        handle.add_meta_context("qemu:dirty-bitmap:" + name)
        handle.connect_uri("nbd+unix:///map?socket=s")
        bitmap.check(handle, "bitmap %s of %s" % (name, node))
        handle.shutdown()
        self.c.events.clear()
        self.do("block-export-del", id="map", mode="hard")
        self.c.wait("BLOCK_EXPORT_DELETED")

    def again(self):
        """The client comes with new connections."""
        self.client.pause()
        self.client.connect()
        self.client.resume()

    def step(self):
        self.count += 1
        self.unsure = set()
        self.pick([self.snapshot, self.snapshot_sync, self.internal, self.internal, self.resize, self.reopen, self.reopen_top,
                   self.reopen_top, self.filter, self.filter, self.limits, self.read_below, self.rename, self.share_again,
                   self.run_state, self.look, self.bitmap, self.bitmap, self.bitmap, self.read_bitmap, self.again])()
        time.sleep(self.pick([0, 0, 0.002, 0.02]))

    # ---- the end ----------------------------------------------------------------------------------

    def judge(self, killed):
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            name = self.chain(number)
            if layer.form == "qcow2":
                dirty = info(layer)["dirty-flag"]
                repair = ["-r", "all"] if killed and dirty else []
                said = tool("qemu-img", "check", "-q", *SECRET, *repair, name, good=(0, 3) if killed else (0,))
                if not killed and dirty:
                    raise Wrong("%s: still dirty: %s" % (layer.name, said))
                for snapshot, moment in layer.snapshots.items():
                    if snapshot in self.unsure:
                        continue
                    tool("qemu-img", "convert", *SECRET, "-l", "snapshot.name=" + snapshot, "-O", "raw", name, "out")
                    self.compare(moment, "snapshot %s of layer %d (%s)" % (snapshot, number, layer.name), layer.size)
            tool("qemu-img", "convert", *SECRET, "-O", "raw", name, "out")
            if number < last:
                self.compare(layer.frozen, "layer %d (%s)" % (number, layer.name))
            else:
                size = os.path.getsize("out") // SECTOR if "size" in self.unsure else None
                self.compare((self.model.flushed if killed else self.model.moment()).close(), "the disk (%s)" % layer.name, size)

    @staticmethod
    def compare(moment, what, size=None):
        """size: of the disk now, which qemu-img takes for that of a snapshot, too."""
        with open("out", "rb") as f:
            moment.check(f.read(), what, size)

    def kill(self):
        """At any moment: often in the middle of a command."""
        self.dying = self.random.random() < 0.7
        try:
            if self.dying:
                for _ in range(5):
                    self.step()
            time.sleep(self.random.random() / 20)
        except Killed:
            pass
        self.client.gone = True
        self.m.process.kill()
        self.m.process.wait(LIMIT)
        self.client.pause()
        if self.pending and self.whole(self.pending.file):  # what came since is in it, or it is empty
            self.layers[-1].frozen = self.moment.close()
            self.layers.append(self.pending)

    @staticmethod
    def whole(name):
        return subprocess.run(["qemu-img", "info", name], capture_output=True, check=False).returncode == 0

    def run(self):
        self.prepare()
        self.start()
        with self.m:
            self.client = Client(self.model, self.seed, "nbd+unix:///x?socket=s")
            self.attach()
            self.client.connect()
            self.client.start()
            commands = self.random.randrange(self.commands) if self.kills else self.commands
            for _ in range(commands):
                self.step()
            if self.kills:
                self.kill()
            else:
                self.client.stop()
                self.client.ask()
                self.unsure = set()
                self.do("quit")
                status = self.m.process.wait(LIMIT)
                said = self.m.process.stderr.read()
                if status:
                    raise Wrong("it ended with %d: %r" % (status, said[-6000:]))
        self.judge(self.kills)

    def tell(self, why):
        chains = [self.chain(n) for n in range(len(self.layers))]
        raise Failed("seed %d%s, command %d: %s\n%s" % (self.seed, " (killed)" if self.kills else "", self.count, why,
                                                       "\n".join(chains + self.trace[-25:])))


def campaign(seed, commands):
    work = Campaign(seed, commands)
    try:
        work.run()
    except (Wrong, AssertionError, subprocess.TimeoutExpired, nbd.Error, OSError) as why:
        work.tell("%s: %s" % (type(why).__name__, why))
    print("# seed %d: %d commands, %d refused, %d requests%s" %
          (seed, work.count, work.refused, work.client.count, ", killed" if work.kills else ""))


first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
count = int(sys.argv[4]) if len(sys.argv) > 4 else 1
for number in range(first, first + count) if len(sys.argv) > 2 else (1, 2, 3, 4, 8, 16, 20, 26):
    suite.test("seed %d" % number)(lambda n=number: campaign(n, int(sys.argv[3]) if len(sys.argv) > 3 else 40))
sys.exit(suite.run())
