#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""kiln-img check beside qemu-img check: for each kind of damage in each kind of table it finds what qemu-img finds; what
`-r leaks` and `-r all` leave is sound for both whenever it is for qemu-img, and no content is lost that qemu-img keeps; images
with an external data file, whose entries can be put right without loss; the dirty and corrupt bits after each repair. TAP.

usage: test-check.py KILN-IMG
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from damage import COPIED, Tables, put, u64

IMG = os.path.abspath(sys.argv[1])
CLUSTER = 4096
SIZE = 4 * 1024 * 1024
LIMIT = 60


def run(*args):
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=LIMIT,
                       errors='replace')
    return p.returncode, p.stdout, p.stderr


def base():
    """Data, packed data, zeros, a snapshot, and data written after it."""
    for name in ('base.qcow2', 'packed.qcow2', 'raw'):
        if os.path.exists(name):
            os.unlink(name)
    commands = ('write -P 1 0 256k', 'write -c -P 2 256k 64k', 'write -z 384k 64k', 'write -P 0xe8 1M 64k')
    for each in (('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', f'cluster_size={CLUSTER}', 'base.qcow2', SIZE),
                 ('qemu-io', '-f', 'qcow2', *sum((['-c', c] for c in commands), []), 'base.qcow2'),
                 ('qemu-img', 'snapshot', '-c', 'one', 'base.qcow2'),
                 ('qemu-io', '-f', 'qcow2', '-c', 'write -P 4 0 32k', '-c', 'write -P 5 2M 16k', 'base.qcow2')):
        assert run(*each)[0] == 0, each


def data_file_base(name, *options):
    """Data and zeros, in a data file."""
    for each in (('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', ','.join((f'data_file={name}.data',) + options), name, SIZE),
                 ('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 256k', '-c', 'write -P 2 128k 64k', '-c', 'write -z 1M 64k', name)):
        assert run(*each)[0] == 0, each


def refcount(cluster_of, value):
    return lambda t: [(t.block + 2 * (cluster_of(t) // CLUSTER), '>H', value)]


# What is damaged; the patches.
CASES = [
    ('refcount of data too low', refcount(lambda t: t.host(0), 0)),
    ('refcount of data too high', refcount(lambda t: t.host(0), 7)),
    ('refcount of shared data too low', refcount(lambda t: t.host(20), 1)),
    ('refcount of shared data too high', refcount(lambda t: t.host(20), 3)),
    ('refcount of the L1 table 0', refcount(lambda t: t.l1, 0)),
    ('refcount of the L2 table 0', refcount(lambda t: t.l2, 0)),
    ('refcount of the header 0', refcount(lambda t: 0, 0)),
    ('refcount of the refcount table 0', refcount(lambda t: t.reftable, 0)),
    ('refcount of its own block 0', refcount(lambda t: t.block, 0)),
    ('refcount of the snapshot table 0', refcount(lambda t: t.snapshots, 0)),
    ('refcount of the snapshot\'s L1 table 0', refcount(lambda t: t.snapshot_l1, 0)),
    ('refcount of the snapshot\'s L2 table 0', refcount(lambda t: t.snapshot_l2, 0)),
    ('refcount of packed data too low', refcount(lambda t: t.entry(64) & ((1 << 58) - 1) & ~(CLUSTER - 1), 1)),
    ('refcount of packed data too high', refcount(lambda t: t.entry(64) & ((1 << 58) - 1) & ~(CLUSTER - 1), 100)),
    ('refcount of nothing', lambda t: [(t.block + 2 * (os.path.getsize(t.name) // CLUSTER + 3), '>H', 1)]),
    ('refcount table: entry unaligned', lambda t: [(t.reftable, '>Q', t.block + 512)]),
    ('refcount table: entry behind the end', lambda t: [(t.reftable, '>Q', 1 << 40)]),
    ('refcount table: entry lost', lambda t: [(t.reftable, '>Q', 0)]),
    ('refcount table: second entry like the first', lambda t: [(t.reftable + 8, '>Q', t.block)]),
    ('L1: entry unaligned', lambda t: [(t.l1, '>Q', COPIED | t.l2 + 512)]),
    ('L1: COPIED missing', lambda t: [(t.l1, '>Q', t.l2)]),
    ('L1: entry lost', lambda t: [(t.l1, '>Q', 0)]),
    ('L1: two entries for one table', lambda t: [(t.l1 + 8, '>Q', COPIED | t.l2)]),
    ('L2: COPIED missing', lambda t: [(t.l2, '>Q', t.entry(0) & ~COPIED)]),
    ('L2: COPIED on shared data', lambda t: [(t.l2 + 8 * 20, '>Q', t.entry(20) | COPIED)]),
    ('L2: entry unaligned', lambda t: [(t.l2, '>Q', t.entry(0) + 512)]),
    ('L2: entry behind the end', lambda t: [(t.l2, '>Q', COPIED | 1 << 50)]),
    ('L2: entry lost', lambda t: [(t.l2, '>Q', 0)]),
    ('L2: two entries for one cluster', lambda t: [(t.l2 + 8, '>Q', t.entry(0))]),
    ('L2: data on the L1 table', lambda t: [(t.l2, '>Q', COPIED | t.l1)]),
    ('L2: zero flag on data', lambda t: [(t.l2, '>Q', t.entry(0) | 1)]),
    ('L2: packed data behind the end', lambda t: [(t.l2 + 8 * 64, '>Q', 1 << 62 | 1 << 45)]),
    ('snapshot\'s L1: entry unaligned', lambda t: [(t.snapshot_l1, '>Q', t.snapshot_l2 + 512)]),
    ('snapshot\'s L1: entry lost', lambda t: [(t.snapshot_l1, '>Q', 0)]),
    ('snapshot\'s L2: entry lost', lambda t: [(t.snapshot_l2 + 8 * 30, '>Q', 0)]),
    ('L1: reserved bit', lambda t: [(t.l1, '>Q', COPIED | t.l2 | 1 << 60)]),
    ('L2: reserved bit', lambda t: [(t.l2, '>Q', t.entry(0) | 1 << 58)]),
    ('L2: reserved low bit of packed zeros', lambda t: [(t.l2 + 8 * 96, '>Q', t.entry(96) | 4)]),
    ('L2: zeros in a cluster that is not aligned', lambda t: [(t.l2 + 8 * 30, '>Q', t.host(30) + 512 | 1)]),
    ('snapshot\'s L1: reserved bit', lambda t: [(t.snapshot_l1, '>Q', t.snapshot_l2 | 1 << 7)]),
    ('snapshot\'s L1: leads to data', lambda t: [(t.snapshot_l1, '>Q', t.host(256))]),
    ('snapshot\'s L2: zeros in a cluster that is not aligned', lambda t: [(t.snapshot_l2 + 8 * 30, '>Q', t.host(30) + 512 | 1)]),
    ('snapshot\'s L1: longer than it is', lambda t: [(t.snapshots + 8, '>I', 8192)]),
    ('L1: leads to another table', lambda t: [(t.l1 + 8, '>Q', t.snapshots)]),
    ('L1: leads to itself', lambda t: [(t.l1 + 8, '>Q', COPIED | t.l1)]),
    ('refcount table: nowhere, by the header', lambda t: [(48, '>Q', t.reftable | 1 << 61)]),
    ('snapshot table: nowhere, by the header', lambda t: [(64, '>Q', t.snapshots | 1 << 40)]),
    ('snapshot table: not aligned, by the header', lambda t: [(64, '>Q', t.snapshots + 8)]),
    ('snapshot table: none, and its offset is not aligned', lambda t: [(60, '>IQ', 0, 8)]),
    ('snapshot table: too long, by the header', lambda t: [(60, '>I', 1 << 30)]),
    ('snapshot table: extra data without end', lambda t: [(t.snapshots + 36, '>I', 1 << 30)]),
    ('header: dirty', lambda t: [(72, '>Q', 1)]),
    ('header: corrupt', lambda t: [(72, '>Q', 2)]),
    ('header: place of a backing file name of no length', lambda t: [(8, '>Q', 2)]),
    ('header: no snapshots', lambda t: [(60, '>I', 0)]),
]

# Of images with external data file; entries of L2 tables have so many bytes.
DATA_CASES = [
    ('L1: COPIED missing', lambda t, n: [(t.l1, '>Q', t.l2)]),
    ('L2: COPIED missing', lambda t, n: [(t.l2 + n, '>Q', u64(t.l2 + n, t.name) & ~COPIED)]),
    ('L2: leads to another cluster', lambda t, n: [(t.l2 + n, '>Q', u64(t.l2 + 2 * n, t.name))]),
    ('L2: leads to the first cluster', lambda t, n: [(t.l2 + n, '>Q', COPIED)]),
    ('L2: behind the end', lambda t, n: [(t.l2 + n, '>Q', COPIED | 1 << 40)]),
    ('L2: not aligned', lambda t, n: [(t.l2 + n, '>Q', u64(t.l2 + n, t.name) + 512)]),
    ('L2: reserved bit', lambda t, n: [(t.l2 + n, '>Q', u64(t.l2 + n, t.name) | 1 << 58)]),
    ('L2: flag of packed data', lambda t, n: [(t.l2 + n, '>Q', u64(t.l2 + n, t.name) | 1 << 62)]),
]
DATA_FILES = {
    'data-file': ('cluster_size=4096',),
    'raw': ('cluster_size=4096', 'data_file_raw=on'),
    'subclusters': ('cluster_size=16384', 'extended_l2=on'),
    'raw-subclusters': ('cluster_size=16384', 'extended_l2=on', 'data_file_raw=on'),
}

# What is damaged, beside a leak; the bits of the header before; after -r leaks; after -r all.
DATA_LOW = refcount(lambda t: t.host(0), 0)
BITS = [
    ('nothing', lambda t: [], 1, 0, 0),
    ('nothing', lambda t: [], 2, 0, 0),
    ('nothing', lambda t: [], 3, 0, 0),
    ('refcount too low', DATA_LOW, 1, 1, 0),
    ('refcount too low', DATA_LOW, 2, 2, 0),
    ('refcount too low', DATA_LOW, 3, 3, 0),
    ('snapshot\'s L1 table nowhere', lambda t: [(t.snapshots, '>Q', 1 << 40)], 1, 1, 1),
]

# After these, `-r all` of kiln-img leaves the disk's content as it was before the damage.
KEEPS = ('refcount', 'reserved', 'COPIED', 'snapshot', 'header')


def findings(tool, name, *repair):
    status, out, err = run(tool, 'check', '--output=json', '-f', 'qcow2', *repair, name)
    try:
        facts = json.loads(out)
    except ValueError:
        facts = {}
    return status, {k: facts.get(k, 0) for k in ('corruptions', 'leaks', 'check-errors')}, err


def raw(name):
    """Its content as qemu-img reads it; None: it cannot."""
    status, _, _ = run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', name, 'raw')
    if status:
        return None
    with open('raw', 'rb') as f:
        return f.read()


def damage(base_name, patches):
    shutil.copyfile(base_name, 't.qcow2')
    for patch in patches(Tables('t.qcow2')):
        put('t.qcow2', *patch)


def judge_bits(patches, before, after_leaks, after_all):
    """The dirty and corrupt bits go with the last error, and not before it."""
    for how, expected in ('leaks', after_leaks), ('all', after_all):
        damage('base.qcow2', lambda t: [(72, '>Q', before), *refcount(lambda t: os.path.getsize(t.name) + CLUSTER, 1)(t),
                                        *patches(t)])
        status, facts, err = findings(IMG, 't.qcow2', '-r', how)
        now = u64(72, 't.qcow2')
        if (now, status == 0) != (expected, expected == 0):
            return f'-r {how}: bits {before} become {now}, status {status}, {facts}\n{err}'
    return None


def judge(what, patches, base_name='base.qcow2'):
    """None, or what is wrong."""
    whole, data_file = raw(base_name), base_name != 'base.qcow2'
    damage(base_name, patches)
    ours, theirs = findings(IMG, 't.qcow2'), findings('qemu-img', 't.qcow2')
    for kind in ('corruptions', 'leaks', 'check-errors'):
        if theirs[1][kind] and not (ours[1][kind] or ours[1]['check-errors'] or ours[1]['corruptions']):
            return f'{kind}: {ours[1][kind]}, qemu-img finds {theirs[1][kind]}\n{ours}\n{theirs}'
    if ours[0] == 0 and theirs[0]: # refcounts behind the file's end are leaks for kiln-img only
        return f'status {ours[0]}, qemu-img {theirs[0]}\n{ours}\n{theirs}'
    counts = (ours[1], theirs[1])
    for how in ('leaks', 'all'):
        left = {}
        for tool in (IMG, 'qemu-img'):
            name = os.path.basename(tool) + '.qcow2'
            shutil.copyfile('t.qcow2', name)
            findings(tool, name, '-r', how)
            left[name] = (*findings('qemu-img', name)[:2], findings(IMG, name)[0], raw(name))
        mine, other = left['kiln-img.qcow2'], left['qemu-img.qcow2']
        if other[0] == 0 and mine[0] != 0:
            return f'-r {how} leaves {mine[1]}, qemu-img leaves it sound'
        if mine[0] == 0 and mine[2] != 0 and not (data_file and how == 'leaks'): # where qemu-img does not look
            return f'-r {how}: sound for qemu-img, not for kiln-img'
        if other[0] == 0 and other[3] is not None and mine[3] != other[3]:
            return f'-r {how} leaves another content than qemu-img'
        if how == 'all' and (data_file or any(word in what for word in KEEPS)) and mine[3] != whole:
            return 'the repair has cost content'
    return None if counts[0] == counts[1] else f'# counts {counts[0]}, qemu-img {counts[1]}'


def main():
    here, home = os.getcwd(), tempfile.mkdtemp(prefix='kiln-check-')
    os.chdir(home)
    base()
    tests = [(what, judge, what, patches) for what, patches in CASES]
    for name, options in DATA_FILES.items():
        data_file_base(name + '.qcow2', *options)
        size = 16 if 'extended_l2=on' in options else 8
        tests += [(f'{name}: {what}', judge, what, lambda t, p=patches, n=size: p(t, n), name + '.qcow2')
                  for what, patches in DATA_CASES]
    tests += [(f'bits {before} of the header, a leak and {what}', judge_bits, patches, before, *after)
              for what, patches, before, *after in BITS]
    failed = 0
    print(f'1..{len(tests)}')
    for number, (title, test, *args) in enumerate(tests, 1):
        wrong = test(*args)
        bad = wrong is not None and not wrong.startswith('#')
        failed += bad
        print(f'{"not ok" if bad else "ok"} {number} {title}')
        if wrong:
            print('# ' + wrong.strip('# ').replace('\n', '\n# '), flush=True)
    os.chdir(here)
    shutil.rmtree(home)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
