#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 in the middle of writes, discards, flushes, snapshots and commits: no corruption, nothing lost.

usage: test-qcow2-kill.py QCOW2-KILL QCOW2-TOOL KILN-IMG KIND [KILLS [SEED]]

KIND: requests, snapshots, commits, encrypted, bitmaps. KILN_IMAGE_FACTOR multiplies KILLS.
"""
import fcntl
import glob
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

SECTOR = 512
SIZE = 4 * 1024 * 1024
DIRTY = 1
LUKS = {'encrypt.format': 'luks', 'encrypt.key-secret': 's', 'encrypt.iter-time': 10}
SMALL = 'l2-cache-size=8192,l2-cache-entry-size=512,refcount-cache-size=16384'
# By kind: how the image is made, how it is opened.
CONFIGS = {
    'requests': [
        ({}, ''),
        ({'cluster_size': 4096}, SMALL),
        ({'cluster_size': 4096, 'refcount_bits': 8}, 'file.cache.direct=on,file.aio=native'),
        ({'cluster_size': 4096}, 'file.cache.direct=on'),
        ({'extended_l2': 'on', 'cluster_size': 16384}, 'file.aio=io_uring'),
        ({'cluster_size': 4096, 'lazy_refcounts': 'on'}, ''),
        ({'cluster_size': 4096, 'compat': '0.10'}, ''),
    ],
    'snapshots': [
        ({'cluster_size': 512}, ''),
        ({'cluster_size': 2048, 'refcount_bits': 8}, SMALL),
        ({'cluster_size': 4096}, 'file.cache.direct=on'),
        ({'extended_l2': 'on', 'cluster_size': 16384}, 'file.aio=io_uring'),
        ({'cluster_size': 1024, 'lazy_refcounts': 'on'}, ''),
    ],
    'commits': [
        ({'cluster_size': 512}, SMALL),
        ({'cluster_size': 4096}, ''),
        ({'extended_l2': 'on', 'cluster_size': 16384}, ''),
        ({'cluster_size': 2048, 'lazy_refcounts': 'on'}, ''),
        ({'cluster_size': 4096, 'compat': '0.10'}, ''),
    ],
    'encrypted': [
        ({**LUKS, 'cluster_size': 4096}, 'encrypt.key-secret=s'),
        ({**LUKS, 'extended_l2': 'on', 'cluster_size': 16384}, 'encrypt.key-secret=s'),
    ],
    'bitmaps': [
        ({'cluster_size': 512}, ''),
        ({'cluster_size': 4096, 'lazy_refcounts': 'on'}, ''),
        ({'cluster_size': 65536}, 'file.aio=io_uring'),
    ],
}
# One snapshot operation, one closing and opening in so many requests; 0: none.
RATES = {'requests': (200, 0), 'snapshots': (8, 0), 'commits': (0, 0), 'encrypted': (60, 0), 'bitmaps': (0, 12)}


class Failed(Exception):
    pass


def run(*args, ok=(0,)):
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if p.returncode not in ok:
        raise Failed(f"{' '.join(map(str, args))}: {p.returncode}\n{p.stdout}")
    return p.stdout


def sectors(path):
    """The numbers in a raw image's sectors."""
    with open(path, 'rb') as f:
        data = f.read()
    ids = []
    for at in range(0, len(data), SECTOR):
        number = data[at:at + 4]
        if data[at:at + SECTOR] != number * (SECTOR // 4):
            raise Failed(f'sector {at // SECTOR} is torn')
        ids.append(struct.unpack('<I', number)[0])
    return ids


class History:
    """What the image may hold: per sector the last number that is surely there, and later ones."""

    def __init__(self, before, snapshots):
        self.sure = list(before)
        self.later = {}           # sector -> [(line, id)], in order
        self.lines = []           # [id, first, count, stable when done]
        self.done = set()
        self.ended_before = {}    # flush's line count -> lines that had ended when it was asked for
        self.snapshots = dict(snapshots)
        self.unsure = set()       # snapshots that may be there or not
        self.closing = False
        self.step = None

    def settle(self, lines):
        """These have ended and are on stable storage."""
        touched = {s for n in lines for s in range(self.lines[n][1], sum(self.lines[n][1:3]))}
        for s in touched:
            row = self.later.get(s, [])
            for i in range(len(row) - 1, -1, -1):
                if row[i][0] in lines:
                    self.sure[s] = row[i][1]
                    self.later[s] = row[i + 1:]
                    break

    def now(self):
        """The content when nothing is in flight."""
        return [self.later[s][-1][1] if self.later.get(s) else sure for s, sure in enumerate(self.sure)]

    def replay(self, log):
        for line in log.splitlines(keepends=True):
            if not line.endswith('\n'):
                return
            what, *rest = line.split()
            if what in 'WU':
                ident, first, count = map(int, rest)
                for s in range(first, first + count):
                    self.later.setdefault(s, []).append((len(self.lines), ident))
                self.lines.append((ident, first, count, what == 'U'))
            elif what == 'D':
                n = int(rest[0])
                self.done.add(n)
                if self.lines[n][3]:
                    self.settle({n})
            elif what == 'f':
                self.ended_before.setdefault(int(rest[0]), set(self.done))
            elif what == 'F':
                ended = self.ended_before[int(rest[0])]
                self.settle(ended & self.done)
                self.done -= ended
            elif what == 'R':
                self.closing = True
            elif what == 'r':
                self.settle(self.done)
                self.done = set()
                self.closing = False
            else:
                self.snapshot(what, rest)

    def snapshot(self, what, rest):
        if what == 'S':
            self.step = rest
            self.unsure = {rest[1]} if rest[0] != 'apply' else set()
            if rest[0] == 'create':
                self.snapshots[rest[1]] = self.now()
            elif rest[0] == 'apply':
                for s, ident in enumerate(self.snapshots[rest[1]]):
                    self.later.setdefault(s, []).append((-1, ident))
            return
        if self.step[0] == 'apply':
            self.sure = list(self.snapshots[self.step[1]])
            self.later = {}
            self.done = set()
            self.ended_before = {}
        elif self.step[0] == 'delete':
            del self.snapshots[self.step[1]]
        self.step = None
        self.unsure = set()

    def judge(self, found):
        for s, ident in enumerate(found):
            if ident != self.sure[s] and ident not in (i for _, i in self.later.get(s, [])):
                raise Failed(f'sector {s} holds {ident}; {self.sure[s]} was flushed, then came '
                             f'{self.later.get(s)}')


def shown(image):
    """How qemu-img is told to open it."""
    return f'driver=qcow2,file.filename={image},encrypt.key-secret=s'


def qemu(what, image, luks, *args, ok=(0,)):
    if not luks:
        return run('qemu-img', what, *args, *([] if what == 'snapshot' else ['-f', 'qcow2']), image, ok=ok)
    return run('qemu-img', what, *args, '--object', 'secret,id=s,data=pass', '--image-opts', shown(image), ok=ok)


def repaired(image, luks=False, force=False):
    """A dirty image is repaired by whoever opens it: here by qemu-img."""
    with open(image, 'rb') as f:
        version = struct.unpack('>I', f.read(8)[4:])[0]
        f.seek(72)
        dirty = version > 2 and struct.unpack('>Q', f.read(8))[0] & DIRTY
    if not dirty and not force:
        return image
    shutil.copyfile(image, 'copy-' + image)
    qemu('check', 'copy-' + image, luks, '-q', '-r', 'all', ok=(0, 3))
    return 'copy-' + image


class Judge:
    """What is asked of an image after each kill."""

    def __init__(self, tool, kind):
        self.tool, self.kind, self.luks = tool, kind, kind == 'encrypted'

    def raw(self, image, *args):
        """As qemu-img reads it."""
        source = ['--object', 'secret,id=s,data=pass', '--image-opts', shown(image)] if self.luks else (
            [image] if '-l' in args else ['-f', 'qcow2', image])
        run('qemu-img', 'convert', *args, '-O', 'raw', *source, 'qemu.raw')
        return sectors('qemu.raw')

    def content(self, image, how, in_v2_snapshot=False):
        view = repaired(image, self.luks, in_v2_snapshot)
        qemu('check', view, self.luks, ok=(0, 3))
        run(self.tool, 'read', image, how if self.luks else '', 'kiln.raw')
        found = sectors('kiln.raw')
        if found != self.raw(view):
            raise Failed('Kiln and qemu-img read differently')
        return found, view

    def image(self, image, how, history):
        with open(image, 'rb') as f:
            in_v2_snapshot = f.read(8)[7] == 2 and history.step is not None
        found, view = self.content(image, how, in_v2_snapshot)
        history.judge(found)
        listed = run('qemu-img', 'snapshot', '-l', view) if not self.luks else qemu('snapshot', view, True, '-l')
        for name, content in list(history.snapshots.items()):
            if f' {name} ' not in listed:
                if name not in history.unsure:
                    raise Failed(f'snapshot {name} is lost\n{listed}')
                del history.snapshots[name]
            elif not self.luks:
                if self.raw(view, '-l', name) != content:
                    raise Failed(f'snapshot {name} changed')
            else:
                shutil.copyfile(view, 'snapshot.qcow2')
                qemu('snapshot', 'snapshot.qcow2', True, '-a', name)
                if self.raw('snapshot.qcow2') != content:
                    raise Failed(f'snapshot {name} changed')
        return found, history.snapshots

    def bitmap(self, image, history):
        """A bitmap that is not in use tells of all that was written since it was made."""
        out = run(self.tool, 'bitmap', image, '', 'b').split('\n')
        if out[0] == 'in-use':
            return False
        dirty = set()
        for line in filter(None, out):
            start, length = map(int, line.split())
            dirty.update(range(start // SECTOR, (start + length) // SECTOR))
        for _, first, count, _ in history.lines:
            if not dirty.issuperset(range(first, first + count)):
                raise Failed(f'the bitmap does not know of sectors {first} to {first + count - 1}')
        return True


def wait_unlocked(image):
    """The kernel may still be ending a killed process's requests, with its descriptors and their locks."""
    with open(image, 'rb') as f:
        for _ in range(3000):
            lock = fcntl.fcntl(f, fcntl.F_OFD_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            if struct.unpack('hhqqi4x', lock)[0] == fcntl.F_UNLCK:
                return
            time.sleep(0.01)
    raise Failed(f'{image} is still locked')


def kill(args, ready, delay):
    """Starts it, waits until it is ready, and kills it a little later. False: it had ended by itself."""
    with open('err', 'wb') as err:
        p = subprocess.Popen([str(a) for a in args], stdout=err, stderr=err)
        while p.poll() is None and not ready():
            time.sleep(0.001)
        time.sleep(delay)
        p.kill()
        if p.wait() not in (-9, 0):
            with open('err', encoding='utf-8') as f:
                raise Failed(f'it ended by itself: {p.returncode}\n{f.read()}')
        for image in glob.glob('*.qcow2'):
            wait_unlocked(image)
        return p.returncode == -9


class Runner:
    def __init__(self, programs, kind, seed):
        self.victim, self.tool, self.img = programs
        self.kind, self.r = kind, random.Random(seed)
        self.judge = Judge(self.tool, kind)
        self.found, self.snapshots, self.log = None, {}, ''
        self.told = {'inside': 0, 'whole bitmaps': 0, 'commits that ended': 0}
        self.commit_time = 0.1

    def create(self, opts):
        text = ','.join(f'{k}={v}' for k, v in opts.items())
        if self.kind == 'commits':
            run(self.tool, 'create', 'base.qcow2', f'size={SIZE},{text}')
            text += ',backing_file=base.qcow2,backing_fmt=qcow2'
        run(self.tool, 'create', 't.qcow2', f'size={SIZE},{text}')
        self.found, self.snapshots = [0] * (SIZE // SECTOR), {}

    def new_bitmap(self):
        if '"b"' in run(self.tool, 'info', 't.qcow2'):
            run('qemu-img', 'bitmap', '--remove', 't.qcow2', 'b')
        run('qemu-img', 'bitmap', '--add', '-g', 4096, 't.qcow2', 'b')

    def requests(self, how, number, delay):
        """One victim; True: it died in the middle of something."""
        if os.path.exists('log'):
            os.unlink('log')
        kill([self.victim, 't.qcow2', how, 'log', self.r.randrange(1 << 30), number * 1000000, *RATES[self.kind]],
             lambda: os.path.exists('log') and os.path.getsize('log'), delay)
        with open('log', encoding='ascii') as f:
            self.log = f.read()
        history = History(self.found, self.snapshots)
        history.replay(self.log)
        if self.kind == 'bitmaps':
            self.told['whole bitmaps'] += self.judge.bitmap('t.qcow2', history)
        self.found, self.snapshots = self.judge.image('t.qcow2', how, history)
        self.told['inside'] += history.step is not None or history.closing

    def commit(self, how):
        """What was there before is there in the middle of a commit, and behind it."""
        start = time.monotonic()
        killed = kill([self.img, 'commit', '-q', '-f', 'qcow2', 't.qcow2'], lambda: True,
                      self.r.uniform(0, self.commit_time))
        # So that the kills spread over all of it.
        self.commit_time = self.commit_time * 1.05 if killed else time.monotonic() - start
        if not killed:
            self.told['commits that ended'] += 1
        qemu('check', repaired('base.qcow2'), False, ok=(0, 3))
        # Who reads through the overlay does not repair the base: it is as it was left.
        found, _ = self.judge.content('t.qcow2', how)
        if found != self.found:
            raise Failed('the commit changed the content')
        self.told['inside'] += killed

    def one(self, n):
        opts, how = CONFIGS[self.kind][n // 3 % len(CONFIGS[self.kind])]
        if n % 3 == 0:
            self.create(opts)
        if self.kind == 'bitmaps':
            self.new_bitmap()
        self.requests(how, n + 1, self.r.uniform(0, 0.15 if self.kind == 'commits' else 0.3))
        if self.kind == 'commits':
            self.commit(how)


def main():
    programs, kind = [os.path.abspath(a) for a in sys.argv[1:4]], sys.argv[4]
    kills = int(sys.argv[5]) if len(sys.argv) > 5 else 100
    kills *= int(os.environ.get('KILN_IMAGE_FACTOR', '1'))
    seed = int(sys.argv[6]) if len(sys.argv) > 6 else 1
    here, work = os.getcwd(), tempfile.mkdtemp(prefix='kiln-kill-', dir='.')
    os.chdir(work)
    runner = Runner(programs, kind, seed)
    try:
        for n in range(kills):
            try:
                runner.one(n)
            except Failed as e:
                print(f'kill {n} (seed {seed}): last lines of the log:\n{runner.log[-500:]}\n{e}')
                for name in ('t.qcow2', 'base.qcow2', 'log'):
                    if os.path.exists(name):
                        shutil.copy(name, os.path.join(here, f'kill-failed-{name}'))
                return 1
    finally:
        os.chdir(here)
        shutil.rmtree(work)
    print(f'{kills} kills: ' + ', '.join(f'{k} {v}' for k, v in runner.told.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
