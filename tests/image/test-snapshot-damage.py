#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A snapshot, or the disk, whose L1 table is said to be where it cannot be: what kiln-img snapshot, convert and check make of it
costs nothing that an offset put right by hand would not bring back. TAP.

usage: test-snapshot-damage.py KILN-IMG
"""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from damage import Tables, put
from imgtest import ok, qemu, qemu_io, refused, run
from tap import run_cases

CLUSTER = 4096
ZEROS = 200     # a cluster of the disk

# Where the L1 table is said to be.
PLACES = [
    ('not aligned', lambda t: t.l1 + 512),
    ('behind the end', lambda t: 1 << 40),
    ('at the end', lambda t: (os.path.getsize(t.name) + CLUSTER - 1) // CLUSTER * CLUSTER),
    ('at 2^56', lambda t: 1 << 56),
    ('at 2^63', lambda t: 1 << 63),
    ('before 2^64', lambda t: (1 << 64) - CLUSTER),
    ('on the header', lambda t: 0),
    ('on the refcount table', lambda t: t.reftable),
    ('on a refcount block', lambda t: t.block),
    ('on the active L1 table', lambda t: t.l1),
    ('on an active L2 table', lambda t: t.l2),
    ('on the snapshot table', lambda t: t.snapshots),
    ('on data of the disk', lambda t: t.host(20)),
    ('on zeros of the disk', lambda t: t.host(ZEROS)),
    ('on the directory of bitmaps', lambda t: t.directory),
    ('on the table of a bitmap', lambda t: t.bitmap_table),
    ('on a snapshot\'s L1 table', lambda t: t.snapshot_l1),
    ('on a snapshot\'s L2 table', lambda t: t.snapshot_l2),
]


PLACE = dict(PLACES)
# There nothing is, so nothing else can be counted twice.
NOWHERE = [what for what in PLACE if not what.startswith('on ')]
# What the disk cannot be written with (a bitmap's table is refused by what it has).
WRITES_REFUSED = ('on the refcount table', 'on a refcount block', 'on the snapshot table', 'on the directory of bitmaps')
# What an L1 table of its own is, or what shows only where nothing else is.
OWN = {'disk': ('on the active L1 table', 'on data of the disk', 'on zeros of the disk'),
       'snapshot': ('on a snapshot\'s L1 table', 'on a snapshot\'s L2 table', 'on data of the disk', 'on zeros of the disk')}
FEW = [what for what in PLACE if not what.endswith('of bitmaps') and 'of a bitmap' not in what and 'a snapshot' not in what]


def content(name, *which):
    qemu('convert', '-f', 'qcow2', '-O', 'raw', *which, name, 'raw')
    with open('raw', 'rb') as f:
        return f.read()


def base(size='4M', bits=16):
    """A snapshot, data written after it, a data cluster of zeros, and a bitmap."""
    if os.path.exists('base.qcow2'):
        os.unlink('base.qcow2')
    qemu('create', '-q', '-f', 'qcow2', '-o', f'cluster_size={CLUSTER},refcount_bits={bits}', 'base.qcow2', size)
    qemu_io('base.qcow2', 'write -P 1 0 256k')
    qemu('snapshot', '-c', 'one', 'base.qcow2')
    qemu_io('base.qcow2', 'write -P 2 64k 64k', f'write -P 0 {ZEROS * CLUSTER} 4k')
    qemu('bitmap', '--add', '-g', '512', 'base.qcow2', 'b')
    qemu_io('base.qcow2', 'write -P 3 128k 64k')
    assert Tables('base.qcow2').host(ZEROS)
    return content('base.qcow2'), content('base.qcow2', '-l', 'snapshot.name=one')


def fresh(at, value):
    shutil.copyfile('base.qcow2', 't.qcow2')
    put('t.qcow2', at, '>Q', value)


def sound(name):
    for tool in (None, 'qemu-img'):
        status, out, err = run('check', '-f', 'qcow2', name, **({'tool': tool} if tool else {}))
        assert status == 0, out + err


def snapshot_at(what):
    disk, kept = base()
    t = Tables('base.qcow2')
    where = PLACE[what](t)

    fresh(t.snapshots, where)
    assert ' one ' in ok('snapshot', '-l', 't.qcow2')
    refused('snapshot', '-a', 'one', 't.qcow2', text='L1 table is at')
    assert content('t.qcow2') == disk, 'a refused "snapshot -a" has cost content'
    if not what.endswith('of the disk'): # which only reading all tables shows
        refused('convert', '-l', 'snapshot.name=one', '-O', 'raw', 't.qcow2', 'raw', text='L1 table is at')

    fresh(t.snapshots, where)
    ok('snapshot', '-d', 'one', 't.qcow2')
    assert content('t.qcow2') == disk, '"snapshot -d" has cost content'
    ok('check', '-r', 'leaks', 't.qcow2')
    sound('t.qcow2')
    assert content('t.qcow2') == disk, 'the check after "snapshot -d" has cost content'

    # Repaired as far as it goes, written to (but for the one cluster that none may have), and the offset put right.
    for how in ('leaks', 'all') if what in NOWHERE else ():
        fresh(t.snapshots, where)
        assert run('check', '-r', how, 't.qcow2')[0] == 2
        if what != 'at the end':
            qemu_io('t.qcow2', 'write -P 9 1M 512k', 'write -P 9 0 8k')
        put('t.qcow2', t.snapshots, '>Q', t.snapshot_l1)
        assert content('t.qcow2', '-l', 'snapshot.name=one') == kept, f'check -r {how} has given up the snapshot'


def disk_at(what):
    disk, kept = base()
    t = Tables('base.qcow2')
    fresh(40, PLACE[what](t))
    refused('info', '-f', 'qcow2', 't.qcow2', text='L1 table')
    for how in ('leaks', 'all'):
        fresh(40, PLACE[what](t))
        status, out, err = run('check', '-f', 'qcow2', '-r', how, 't.qcow2')
        theirs = run('check', '-f', 'qcow2', 't.qcow2', tool='qemu-img')[0]
        assert status == theirs, f'check -r {how}: {status}, qemu-img: {theirs}\n{out}{err}'
        assert '18446744073709551615' not in err, err
        put('t.qcow2', 40, '>Q', t.l1)
        sound('t.qcow2')
        assert content('t.qcow2') == disk, f'check -r {how} has given up the disk'
        assert content('t.qcow2', '-l', 'snapshot.name=one') == kept, f'check -r {how} has given up the snapshot'


def whole(name):
    with open(name, 'rb') as f:
        return f.read()


def astray(size, bits, at, what):
    """Nothing is written to what the L1 table is said to lie on, and nothing is given up."""
    base(size, bits)
    t = Tables('base.qcow2')
    at, right = (40, t.l1) if at == 'disk' else (t.snapshots, t.snapshot_l1)
    where = PLACE[what](t)
    fresh(at, where)
    before = whole('t.qcow2')
    for how in ((), ('-r', 'leaks'), ('-r', 'all')):
        status, out, err = run('check', '-f', 'qcow2', *how, 't.qcow2')
        assert status == 2, f'check {how}: {status}\n{out}{err}'
        assert err.count('is said to be at') == 1, err
        assert any(f' is said to be at {at}, where' in err for at in ('0' if not where else f'{where:#x}', f'{right:#x}')), err
        assert 'nothing is repaired until' in err, err
        assert whole('t.qcow2') == before, f'check {how} writes to the image'
    if at == 40 and what in WRITES_REFUSED:
        refused('resize', 't.qcow2', '32M', text=f'L1 table is at {where:#x}, where the')
        assert whole('t.qcow2') == before, 'what was refused has written to the image'
    put('t.qcow2', at, '>Q', right)
    sound('t.qcow2')


def believed(size, bits, what, patch):
    """A sound L1 table is not blamed for another's reference to it."""
    disk, kept = base(size, bits)
    shutil.copyfile('base.qcow2', 't.qcow2')
    put('t.qcow2', *patch(Tables('base.qcow2')))
    err = run('check', '-f', 'qcow2', '-r', 'all', 't.qcow2')[2]
    assert 'is said to be at' not in err, err
    assert content('t.qcow2') == disk, 'the repair has cost content'
    assert what.startswith('snapshot table') or content('t.qcow2', '-l', 'snapshot.name=one') == kept, 'the snapshot has lost content'


BELIEVED = [
    ('refcount table on the L1 table', lambda t: (48, '>Q', t.l1)),
    ('refcount table on the snapshot\'s L1 table', lambda t: (48, '>Q', t.snapshot_l1)),
    ('refcount block on the L1 table', lambda t: (t.reftable, '>Q', t.l1)),
    ('refcount block on the snapshot\'s L1 table', lambda t: (t.reftable, '>Q', t.snapshot_l1)),
    ('snapshot table on the L1 table', lambda t: (64, '>Q', t.l1)),
    ('snapshot table on the snapshot\'s L1 table', lambda t: (64, '>Q', t.snapshot_l1)),
    ('directory of bitmaps on the L1 table', lambda t: (t.extension + 16, '>Q', t.l1)),
    ('directory of bitmaps on the snapshot\'s L1 table', lambda t: (t.extension + 16, '>Q', t.snapshot_l1)),
    ('table of a bitmap on the L1 table', lambda t: (t.directory, '>Q', t.l1)),
    ('table of a bitmap on the snapshot\'s L1 table', lambda t: (t.directory, '>Q', t.snapshot_l1)),
]


def cases():
    yield from ((f'the snapshot\'s L1 table {what}', snapshot_at, what) for what in FEW)
    yield from ((f'the active L1 table {what}', disk_at, what) for what in (*NOWHERE, 'on the header'))
    for size, bits in (('4M', 16), ('1M', 64), ('1M', 2), ('16M', 32)):
        image = f'disk of {size}, refcounts of {bits} bits'
        yield from ((f'{image}: L1 table of the {whose} {what}', astray, size, bits, whose, what)
                    for whose, own in OWN.items() for what in PLACE if what not in (*NOWHERE, *own))
        yield from ((f'{image}: {what}', believed, size, bits, what, patch) for what, patch in BELIEVED)


if __name__ == '__main__':
    sys.exit(run_cases('kiln-snapshot-', cases()))
