#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Persistent dirty bitmaps whose tables, directory or entry in the header are damaged: kiln-img check finds it where qemu-img
does, `-r all` leaves an image that both find sound and open for writing, the disk keeps its content, and no bitmap misses what
it had: a part that is lost counts as dirty, and where a table or the directory is lost there are no bitmaps any more. TAP.

usage: test-bitmap-damage.py KILN-IMG
"""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from damage import OFFSET, Tables, number, put, u64
from imgtest import KILN, ok, qemu, qemu_io, refused, run
from tap import run_cases

CLUSTER = 4096
ENTRY = 32      # bytes of an entry of the directory: the names have two letters
ALL_ONES = 1


class Bitmaps(Tables):
    """Of two bitmaps: the entries of the directory, and their tables."""

    def __init__(self, name):
        super().__init__(name)
        self.entries = [self.directory + i * ENTRY for i in range(2)]
        self.tables = [u64(at, name) for at in self.entries] if self.directory else []


def table(value):
    """The first entry of the first bitmap's table becomes this."""
    return lambda t: [(t.tables[0], '>Q', value(t))]


def where(value):
    """The table of the first bitmap is said to be there."""
    return lambda t: [(t.entries[0], '>Q', value(t))]


def field(at, form, value):
    """Of the first entry of the directory."""
    return lambda t: [(t.entries[0] + at, form, value)]


def header(at, form, value):
    """Of the extension of the header."""
    return lambda t: [(t.extension + at, form, value(t) if callable(value) else value)]


# What is damaged; the patches; which of the bitmaps are all dirty then. None: there are none.
CASES = [
    ('table entry: leads to data', table(lambda t: t.host(0)), [0]),
    ('table entry: leads to an L2 table', table(lambda t: t.l2), [0]),
    ('table entry: leads to the L1 table', table(lambda t: t.l1), [0]),
    ('table entry: leads to the refcount table', table(lambda t: t.reftable), [0]),
    ('table entry: leads to a refcount block', table(lambda t: t.block), [0]),
    ('table entry: leads to its own table', table(lambda t: t.tables[0]), [0]),
    ('table entry: leads to the directory', table(lambda t: t.directory), [0]),
    ('table entry: leads to the other bitmap', table(lambda t: u64(t.tables[1], t.name)), [0, 1]),
    ('table entry of the second: leads to the first', lambda t: [(t.tables[1], '>Q', u64(t.tables[0], t.name))], [0, 1]),
    ('table entry: not aligned', table(lambda t: u64(t.tables[0], t.name) + 512), [0]),
    ('table entry: reserved bit', table(lambda t: u64(t.tables[0], t.name) | 1 << 60), [0]),
    ('table entry: reserved low bit', table(lambda t: u64(t.tables[0], t.name) | 2), [0]),
    ('table entry: behind the end', table(lambda t: 1 << 40), [0]),
    ('table: on data', where(lambda t: t.host(0)), None),
    ('table: on an L2 table', where(lambda t: t.l2), None),
    ('table: on the L1 table', where(lambda t: t.l1), None),
    ('table: on the refcount table', where(lambda t: t.reftable), None),
    ('table: on the header', where(lambda t: 0), None),
    ('table: on the directory', where(lambda t: t.directory), None),
    ('table: on the other\'s table', where(lambda t: t.tables[1]), None),
    ('table: not aligned', where(lambda t: t.tables[0] + 512), None),
    ('table: behind the end', where(lambda t: 1 << 40), None),
    ('table: too short', field(8, '>I', 0), None),
    ('table: too long', field(8, '>I', 1 << 28), None),
    ('directory: flag that nobody knows', field(12, '>I', 1 << 20), None),
    ('directory: type that nobody knows', field(16, '>B', 9), None),
    ('directory: granularity that cannot be', field(17, '>B', 70), None),
    ('directory: name without end', field(18, '>H', 60000), None),
    ('directory: no name', field(18, '>H', 0), None),
    ('directory: extra data without end', field(20, '>I', 1 << 30), None),
    ('directory: on data', header(16, '>Q', lambda t: t.host(0)), None),
    ('directory: on an L2 table', header(16, '>Q', lambda t: t.l2), None),
    ('directory: behind the end', header(16, '>Q', 1 << 40), None),
    ('directory: longer than its entries', header(8, '>Q', 4 * ENTRY), None),
]

# What the header cannot say: neither tool opens the image, but for kiln-img check.
EXTENSION = [
    ('no bitmaps', header(0, '>I', 0)),
    ('2^32 bitmaps', header(0, '>I', 0xffffffff)),
    ('reserved field', header(4, '>I', 1)),
    ('directory of no length', header(8, '>Q', 0)),
    ('directory shorter than its entries', header(8, '>Q', 2)),
    ('directory of 2^63 bytes', header(8, '>Q', 1 << 63)),
    ('directory nowhere', header(16, '>Q', 0)),
    ('directory not aligned', header(16, '>Q', lambda t: t.directory + 512)),
    ('directory at 2^56', header(16, '>Q', 1 << 56)),
    ('too short', header(-4, '>I', 16)),
    ('too long', header(-4, '>I', 32)),
]


# Only a check can know that: all tables of the disk must be read.
TO_DATA = CASES[0][1]


def content(name):
    qemu('convert', '-f', 'qcow2', '-O', 'raw', name, 'raw')
    with open('raw', 'rb') as f:
        return f.read()


def bits(name, i):
    """Of the i-th bitmap, as they are in the file."""
    t = Bitmaps(name)
    found = b''
    with open(name, 'rb') as f:
        for n in range(number(name, t.entries[i] + 8, '>I')):
            entry = u64(t.tables[i] + 8 * n, name)
            f.seek(entry & OFFSET)
            found += (f.read(CLUSTER) if entry & OFFSET else bytes([0xff * (entry & ALL_ONES)]) * CLUSTER)
    return found


def base(width):
    if os.path.exists('base.qcow2'):
        os.unlink('base.qcow2')
    qemu('create', '-q', '-f', 'qcow2', '-o', f'cluster_size={CLUSTER},refcount_bits={width}', 'base.qcow2', '32M')
    qemu_io('base.qcow2', 'write -P 1 0 256k')
    for i, name in enumerate(('b0', 'b1')):
        qemu('bitmap', '--add', '-g', '512', 'base.qcow2', name)
        qemu_io('base.qcow2', f'write -P 2 {64 * i + 64}k 64k')
    assert [u64(at, 'base.qcow2') & ALL_ONES for at in Bitmaps('base.qcow2').tables] == [0, 0]


def damaged(patches):
    shutil.copyfile('base.qcow2', 't.qcow2')
    for at, form, *values in patches(Bitmaps('base.qcow2')):
        put('t.qcow2', at, form, *values)


def judge(patches, dirty):
    disk, before = content('base.qcow2'), [bits('base.qcow2', i) for i in range(2)]
    damaged(patches)
    ours, theirs = (run('check', '-f', 'qcow2', 't.qcow2', tool=tool) for tool in (KILN, 'qemu-img'))
    assert ours[0] or not theirs[0], f'found nothing; qemu-img: {theirs}'
    assert ours[0] in (0, 2), f'the check itself fails: {ours}'
    status, out, err = run('check', '-f', 'qcow2', '-r', 'all', 't.qcow2')
    assert status == 0, out + err
    for tool in (KILN, 'qemu-img'):
        status, out, err = run('check', '-f', 'qcow2', 't.qcow2', tool=tool)
        assert status == 0, f'after the repair {tool} finds: {out}{err}'
    assert content('t.qcow2') == disk, 'the repair has cost content'
    if dirty is None:
        assert not Bitmaps('t.qcow2').directory, 'there are bitmaps'
    else:
        for i in range(2):
            now = bits('t.qcow2', i)
            assert now[:CLUSTER] == (b'\xff' * CLUSTER if i in dirty else before[i][:CLUSTER]), f'bitmap {i} misses something'
            assert now[CLUSTER:] == before[i][CLUSTER:], f'the rest of bitmap {i}'
    qemu_io('t.qcow2', 'write -P 7 3M 64k')
    status, out, err = run('check', '-f', 'qcow2', 't.qcow2')
    assert status == 0, out + err
    # Who writes to the image before it was checked must not give up what the disk lives on.
    damaged(patches)
    run('bitmap', '--add', 't.qcow2', 'b2')
    if patches is not TO_DATA:
        assert content_if_sound('t.qcow2') in (None, disk), 'writing to the damaged image has cost content'
        run('check', '-f', 'qcow2', '-r', 'all', 't.qcow2')
        qemu_io('t.qcow2', 'write -P 7 3M 64k')
        assert content('t.qcow2')[:3 << 20] == disk[:3 << 20], 'writing to the image after its repair has cost content'


def judge_extension(patches):
    judge(patches, None)
    damaged(patches)
    for command in ('info', '-f', 'qcow2', 't.qcow2'), ('bitmap', '--add', 't.qcow2', 'b2'):
        refused(*command, text='check -r all, which drops all bitmaps')
    assert run('info', '-f', 'qcow2', 't.qcow2', tool='qemu-img')[0] == 1, 'qemu-img opens it'
    # Nothing is given up without a word.
    assert run('check', '-f', 'qcow2', '-r', 'leaks', 't.qcow2')[0] == 2
    with open('base.qcow2', 'rb') as f, open('t.qcow2', 'r+b') as damaged_file:
        damaged_file.write(f.read(CLUSTER))
    assert run('check', '-f', 'qcow2', 't.qcow2') == run('check', '-f', 'qcow2', 'base.qcow2')
    assert [bits('t.qcow2', i) for i in range(2)] == [bits('base.qcow2', i) for i in range(2)], '-r leaks has given up bitmaps'


def judge_stale():
    """Without its bit the extension is not looked at, as by QEMU."""
    damaged(lambda t: [(88, '>Q', 0), (t.extension + 4, '>I', 1)])
    assert run('info', '-f', 'qcow2', 't.qcow2', tool='qemu-img')[0] == 0
    ok('info', '-f', 'qcow2', 't.qcow2')
    assert run('check', '-f', 'qcow2', 't.qcow2')[0] == run('check', '-f', 'qcow2', 't.qcow2', tool='qemu-img')[0] == 3
    ok('bitmap', '--add', 't.qcow2', 'b2')


def content_if_sound(name):
    if run('info', '-f', 'qcow2', name, tool='qemu-img')[0]:
        return None
    return content(name)


def cases():
    tests = [(judge, *case) for case in CASES] + [(judge_extension, f'header: {what}', patches) for what, patches in EXTENSION]
    tests += [(judge_stale, 'header: stale, with the reserved field')]
    for width in (1, 16):
        base(width)
        for test, what, *args in tests:
            yield f'{what}, refcounts of {width} bits', test, *args


if __name__ == '__main__':
    sys.exit(run_cases('kiln-bitmap-', cases()))
