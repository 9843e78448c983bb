#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""qcow2 images go back and forth between Kiln and qemu-img: both read the same, neither finds fault.

usage: test-qcow2.py QCOW2-TOOL
"""
import itertools
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else None
KIB, MIB = 1024, 1024 * 1024
SIZE = 6 * MIB + 512 * 3


def run(*args, ok=(0,)):
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    if p.returncode not in ok:
        raise AssertionError(f"{' '.join(map(str, args))}: {p.returncode}\n{p.stdout}")
    return p.stdout


def tool(*args, **kw):
    return run(TOOL, *args, **kw)


def qemu_img(*args, **kw):
    return run('qemu-img', *args, **kw)


def content(seed, size=SIZE):
    """Pieces of noise, text and nothing."""
    r = random.Random(seed)
    out = bytearray(size)
    at = 0
    while at < size:
        n = r.choice([512, 4096, 20000, 65536, 200000])
        kind = r.randrange(3)
        piece = (r.randbytes(n) if kind == 0 else
                 (b'%08d ' % r.randrange(10**8)) * (n // 9 + 1) if kind == 1 else bytes(n))
        out[at:at + n] = piece[:min(n, size - at)]
        at += n
    return bytes(out[:size])


def options(**kw):
    return ','.join(f'{k}={v}' for k, v in kw.items())


CREATE = [
    {}, {'compat': '0.10'}, {'compat': 'v3', 'cluster_size': 512},
    {'cluster_size': 4096, 'refcount_bits': 1}, {'cluster_size': 4096, 'refcount_bits': 2},
    {'refcount_bits': 8}, {'refcount_bits': 64, 'cluster_size': 1024}, {'cluster_size': '2M'},
    {'extended_l2': 'on'}, {'extended_l2': 'on', 'cluster_size': 16384},
    {'compression_type': 'zstd'}, {'lazy_refcounts': 'on'},
    {'preallocation': 'metadata'}, {'preallocation': 'falloc', 'cluster_size': 4096},
    {'preallocation': 'full'}, {'preallocation': 'metadata', 'extended_l2': 'on'},
    {'data_file': 'data.raw'}, {'data_file': 'data.raw', 'data_file_raw': 'on'},
]


class Images(unittest.TestCase):
    def setUp(self):
        self.old = os.getcwd()
        self.dir = tempfile.mkdtemp(prefix='kiln-image-')
        os.chdir(self.dir)

    def tearDown(self):
        os.chdir(self.old)
        shutil.rmtree(self.dir)

    def put(self, name, data):
        with open(name, 'wb') as f:
            f.write(data)

    def get(self, name):
        with open(name, 'rb') as f:
            return f.read()

    def same(self, image, data):
        """Both read this."""
        tool('read', image, '', 'out.kiln')
        self.assertTrue(self.get('out.kiln') == data, 'Kiln reads otherwise')
        qemu_img('convert', '-f', 'qcow2', '-O', 'raw', image, 'out.qemu')
        self.assertTrue(self.get('out.qemu') == data, 'qemu-img reads otherwise')

    def sound(self, image):
        qemu_img('check', '-f', 'qcow2', image)
        self.assertIn('corruptions=0 leaks=0 check-errors=0', tool('check', image, 'none'))

    # ---- made by qemu-img -------------------------------------------------------------------

    def test_qemu_images(self):
        data, more = content(1), content(2)
        self.put('in.raw', data)
        self.put('more.raw', more)
        for opts, packed in itertools.product(CREATE, (False, True)):
            if packed and ('data_file' in opts or 'preallocation' in opts):
                continue
            with self.subTest(opts=opts, packed=packed):
                for f in ('t.qcow2', 'data.raw'):
                    if os.path.exists(f):
                        os.unlink(f)
                qemu_img('create', '-f', 'qcow2', '-o', options(**opts), 't.qcow2', SIZE) if opts \
                    else qemu_img('create', '-f', 'qcow2', 't.qcow2', SIZE)
                qemu_img('convert', '-n', *(['-c'] if packed else []), '-f', 'raw', '-O', 'qcow2',
                         'in.raw', 't.qcow2')
                self.same('t.qcow2', data)
                self.sound('t.qcow2')
                tool('write', 't.qcow2', '', 'more.raw')
                both = bytearray(data)
                for at in range(0, SIZE, 65536):
                    if any(more[at:at + 65536]):
                        both[at:at + 65536] = more[at:at + 65536]
                self.same('t.qcow2', bytes(both))
                self.sound('t.qcow2')

    # ---- made by Kiln -----------------------------------------------------------------------

    def test_kiln_images(self):
        data = content(3)
        self.put('in.raw', data)
        for opts, packed in itertools.product(CREATE, (False, True)):
            if packed and 'data_file' in opts:
                continue
            with self.subTest(opts=opts, packed=packed):
                tool('create', 't.qcow2', options(size=SIZE, **opts))
                self.sound('t.qcow2')
                info = qemu_img('info', '-f', 'qcow2', 't.qcow2')
                self.assertIn(f'({SIZE} bytes)', info)
                cluster = {'2M': 2 * MIB}.get(opts.get('cluster_size'), opts.get('cluster_size', 65536))
                if packed and cluster > 65536:
                    continue
                tool('write', 't.qcow2', '', 'in.raw', *(['packed'] if packed else []))
                self.same('t.qcow2', data)
                self.sound('t.qcow2')
                if opts.get('data_file_raw'):
                    self.assertTrue(self.get('data.raw')[:SIZE] == data)
                qemu_img('convert', '-n', '-f', 'raw', '-O', 'qcow2', 'in.raw', 't.qcow2')
                self.same('t.qcow2', data)

    def test_backing(self):
        base = content(4, 4 * MIB)
        self.put('base.raw', base)
        for opts in ({}, {'cluster_size': 4096}, {'compat': '0.10'}, {'extended_l2': 'on'}):
            with self.subTest(opts=opts):
                tool('create', 't.qcow2', options(size=SIZE, backing_file='base.raw',
                                                  backing_fmt='raw', **opts))
                expect = bytearray(base + bytes(SIZE - len(base)))
                self.same('t.qcow2', bytes(expect))
                self.put('small.raw', b'')
                tool('zero', 't.qcow2', '', 70000, 300000)
                expect[70000:370000] = bytes(300000)
                self.same('t.qcow2', bytes(expect))
                run('qemu-io', '-f', 'qcow2', '-c', 'write -P 7 1000000 5000', 't.qcow2')
                expect[1000000:1005000] = b'\x07' * 5000
                self.same('t.qcow2', bytes(expect))
                self.sound('t.qcow2')
                if opts.get('compat') != '0.10':
                    tool('discard', 't.qcow2', '', 0, MIB)
                    for end in (MIB,):
                        tool('read', 't.qcow2', '', 'out.kiln')
                        qemu_img('convert', '-f', 'qcow2', '-O', 'raw', 't.qcow2', 'out.qemu')
                        self.assertTrue(self.get('out.kiln') == self.get('out.qemu'))
                    self.sound('t.qcow2')
                tool('empty', 't.qcow2')
                self.same('t.qcow2', base + bytes(SIZE - len(base)))
                self.sound('t.qcow2')

    # ---- whole-image operations -----------------------------------------------------------------

    def test_resize(self):
        data = content(5)
        self.put('in.raw', data)
        for opts in ({}, {'cluster_size': 512}, {'cluster_size': '2M'}, {'extended_l2': 'on'}):
            with self.subTest(opts=opts):
                tool('create', 't.qcow2', options(size=SIZE, **opts))
                tool('write', 't.qcow2', '', 'in.raw')
                tool('resize', 't.qcow2', 40 * MIB)
                self.same('t.qcow2', data + bytes(40 * MIB - SIZE))
                tool('resize', 't.qcow2', MIB + 512)
                self.same('t.qcow2', data[:MIB + 512])
                tool('resize', 't.qcow2', 3 * MIB, 'metadata')
                self.same('t.qcow2', data[:MIB + 512] + bytes(2 * MIB - 512))
                self.sound('t.qcow2')

    def test_shrink_cuts_the_file(self):
        """As qemu-img does, where the clusters in use lie in front."""
        self.put('in.raw', content(5))
        for opts in ({}, {'cluster_size': '2M'}, {'extended_l2': 'on'}, {'lazy_refcounts': 'on'}):
            with self.subTest(opts=opts):
                qemu_img('convert', '-f', 'raw', '-O', 'qcow2', '-o', ','.join('%s=%s' % o for o in opts.items()) or 'compat=1.1',
                         'in.raw', 't.qcow2')
                shutil.copyfile('t.qcow2', 'qemu.qcow2')
                before = os.path.getsize('t.qcow2')
                tool('resize', 't.qcow2', MIB + 512)
                qemu_img('resize', '-q', '--shrink', 'qemu.qcow2', str(MIB + 512))
                self.assertEqual(os.path.getsize('t.qcow2'), os.path.getsize('qemu.qcow2'))
                self.assertLess(os.path.getsize('t.qcow2'), before)
                self.sound('t.qcow2')
                tool('resize', 't.qcow2', SIZE) # what grows again reads as zeros
                self.same('t.qcow2', content(5)[:MIB + 512] + bytes(SIZE - MIB - 512))
                self.sound('t.qcow2')

    def test_grow_over_backing(self):
        """What the disk grows over reads as zeros, not as what a longer backing file has there."""
        base, old, new = b'x' * (4 * MIB), MIB + 3 * 512, 2 * MIB + 5 * 512
        self.put('base.raw', base)
        for opts in ({}, {'cluster_size': 512}, {'compat': '0.10'}, {'extended_l2': 'on'}):
            with self.subTest(opts=opts):
                tool('create', 't.qcow2', options(size=old, backing_file='base.raw', backing_fmt='raw', **opts))
                tool('resize', 't.qcow2', new)
                self.same('t.qcow2', base[:old] + bytes(new - old))
                tool('resize', 't.qcow2', MIB)
                tool('resize', 't.qcow2', new)
                self.same('t.qcow2', base[:MIB] + bytes(new - MIB))
                self.sound('t.qcow2')

    def test_long_tables(self):
        """An L1 table longer than what one block of refcounts describes."""
        for opts in ({'cluster_size': 512}, {'cluster_size': 512, 'refcount_bits': 64}):
            with self.subTest(opts=opts):
                tool('create', 't.qcow2', options(size=100 * MIB, **opts))
                tool('resize', 't.qcow2', 1024 * MIB)
                tool('snapshot', 't.qcow2', 'create', 'one')
                self.sound('t.qcow2')
                self.assertLess(os.path.getsize('t.qcow2'), 4 * MIB)

    def test_snapshots(self):
        a, b = content(6), content(7)
        self.put('a.raw', a)
        self.put('b.raw', b)
        for who in ('kiln', 'qemu'):
            for opts in ({}, {'cluster_size': 4096}, {'compat': '0.10'}, {'extended_l2': 'on'}):
                with self.subTest(who=who, opts=opts):
                    tool('create', 't.qcow2', options(size=SIZE, **opts))
                    tool('write', 't.qcow2', '', 'a.raw')
                    if who == 'kiln':
                        tool('snapshot', 't.qcow2', 'create', 'one')
                    else:
                        qemu_img('snapshot', '-c', 'one', 't.qcow2')
                    self.assertIn('one', qemu_img('snapshot', '-l', 't.qcow2'))
                    self.sound('t.qcow2')
                    tool('write', 't.qcow2', '', 'b.raw')
                    self.sound('t.qcow2')
                    qemu_img('convert', '-l', 'one', '-O', 'raw', 't.qcow2', 'out')
                    self.assertTrue(self.get('out') == a)
                    tool('snapshot', 't.qcow2', 'create', 'two')
                    if who == 'kiln':
                        qemu_img('snapshot', '-a', 'one', 't.qcow2')
                    else:
                        tool('snapshot', 't.qcow2', 'apply', 'one')
                    self.same('t.qcow2', a)
                    self.sound('t.qcow2')
                    tool('snapshot', 't.qcow2', 'delete', 'one')
                    self.same('t.qcow2', a)
                    self.sound('t.qcow2')
                    qemu_img('snapshot', '-d', 'two', 't.qcow2')
                    self.sound('t.qcow2')
        self.assertIn('nosuch', tool('snapshot', 't.qcow2', 'apply', 'nosuch', ok=(1,)))

    def test_info(self):
        tool('create', 't.qcow2', options(size=MIB, compression_type='zstd', refcount_bits=8))
        info = tool('info', 't.qcow2')
        for part in ('"compat": "1.1"', '"refcount-bits": 8', '"compression-type": "zstd"'):
            self.assertIn(part, info)
        tool('rebase', 't.qcow2', 'other.raw', 'raw')
        self.assertIn('backing file: other.raw', qemu_img('info', 't.qcow2'))

    def test_amend(self):
        a = content(9)
        self.put('a.raw', a)
        tool('create', 't.qcow2', options(size=SIZE))
        tool('write', 't.qcow2', '', 'a.raw')
        tool('snapshot', 't.qcow2', 'create', 'one')
        tool('zero', 't.qcow2', '', 0, MIB)
        a = bytes(MIB) + a[MIB:]
        for bits in (64, 2, 8, 16):
            tool('amend', 't.qcow2', f'refcount_bits={bits}')
            self.assertIn(f'refcount bits: {bits}', qemu_img('info', 't.qcow2'))
            self.same('t.qcow2', a)
            self.sound('t.qcow2')
        self.assertIn('references', tool('amend', 't.qcow2', 'refcount_bits=1', ok=(1,)))
        self.assertIn('snapshots', tool('amend', 't.qcow2', 'compat=0.10', ok=(1,)))
        tool('snapshot', 't.qcow2', 'delete', 'one')
        for change, expect in (('lazy_refcounts=on', 'lazy refcounts: true'),
                               ('lazy_refcounts=off', 'lazy refcounts: false'),
                               ('compat=0.10', 'compat: 0.10'), ('compat=1.1', 'compat: 1.1')):
            tool('amend', 't.qcow2', change)
            self.assertIn(expect, qemu_img('info', 't.qcow2'))
            self.same('t.qcow2', a)
            self.sound('t.qcow2')
        self.assertIn('Cannot amend the backing file', tool('amend', 't.qcow2', 'backing_file=a.raw,backing_fmt=raw', ok=(1,)))
        before = self.get('t.qcow2')
        for change, why in (('compat=0.10,lazy_refcounts=on', 'Lazy refcounts only'), ('compat=0.10,refcount_bits=8', 'Refcount widths'),
                            ('data_file=x', 'data-file can only'), ('data_file_raw=on', 'data-file-raw cannot'), ('backing_file=', 'rebase')):
            self.assertIn(why, tool('amend', 't.qcow2', change, ok=(1,)))
        tool('amend', 't.qcow2', 'size=0')
        tool('amend', 't.qcow2', 'data_file_raw=off')
        self.assertEqual(self.get('t.qcow2'), before)  # nothing was done by halves
        self.assertIn('power of two', tool('amend', 't.qcow2', 'refcount_bits=3', ok=(1,)))

    def test_measure(self):
        self.put('a.raw', content(10))
        for opts in ({}, {'cluster_size': 512}, {'cluster_size': '2M'}, {'extended_l2': 'on'},
                     {'refcount_bits': 64, 'cluster_size': 4096}, {'preallocation': 'full'}):
            with self.subTest(opts=opts):
                text = options(**opts)
                o = ['-o', text] if text else []
                self.assertEqual(tool('measure', '', options(size=3 * MIB * KIB, **opts)),
                                 qemu_img('measure', '-O', 'qcow2', *o, '--size', 3 * MIB * KIB))
                self.assertEqual(tool('measure', 'a.raw', text),
                                 qemu_img('measure', '-O', 'qcow2', '-f', 'raw', *o, 'a.raw'))

    # ---- repair -----------------------------------------------------------------------------

    def damaged(self, opts=None):
        tool('create', 't.qcow2', options(size=SIZE, **(opts or {})))
        self.put('in.raw', content(8))
        tool('write', 't.qcow2', '', 'in.raw')
        return struct.unpack('>Q', self.get('t.qcow2')[48:56])[0]

    def patch(self, offset, data):
        with open('t.qcow2', 'r+b') as f:
            f.seek(offset)
            f.write(data)

    def u64(self, offset):
        return struct.unpack('>Q', self.get('t.qcow2')[offset:offset + 8])[0]

    def repaired(self, same_data=True):
        out = tool('check', 't.qcow2', 'all')
        self.assertIn('check-errors=0', out)
        self.sound('t.qcow2')
        if same_data:
            self.same('t.qcow2', content(8))

    def test_repair_refcounts(self):
        reftable = self.damaged()
        block = self.u64(reftable)
        os.truncate('t.qcow2', 201 * 65536)
        for name, at, value in (('leak', 200, 1), ('too low', 20, 0), ('too high', 21, 5)):
            with self.subTest(name):
                self.patch(block + 2 * at, struct.pack('>H', value))
                qemu_img('check', 't.qcow2', ok=(2, 3))
                out = tool('check', 't.qcow2', 'none')
                self.assertNotIn('corruptions=0 leaks=0', out)
                self.repaired()

    def test_repair_lost_blocks(self):
        for name, value in (('no block', 0), ('unaligned', 0x12345), ('behind the end', 1 << 40)):
            with self.subTest(name):
                reftable = self.damaged()
                self.patch(reftable, struct.pack('>Q', value))
                self.assertNotIn('corruptions=0', tool('check', 't.qcow2', 'none'))
                self.repaired()

    def test_repair_entries(self):
        self.damaged()
        l1 = self.u64(40)
        l2 = self.u64(l1) & 0x00fffffffffffe00
        for name, at, value in (('unaligned', 3, 1 << 63 | 0x50200), ('behind the end', 4, 1 << 50),
                                ('no COPIED', 5, None)):
            with self.subTest(name):
                entry = self.u64(l2 + 8 * at)
                self.patch(l2 + 8 * at, struct.pack('>Q', entry & ~(1 << 63) if value is None
                                                    else value))
                qemu_img('check', 't.qcow2', ok=(2, 3))
                self.repaired(same_data=False)

    def test_repair_corrupt_bit(self):
        self.damaged()
        self.patch(72, struct.pack('>Q', 2))
        self.assertIn('corrupt', tool('zero', 't.qcow2', '', 0, 512, ok=(1,)))
        self.repaired()
        tool('zero', 't.qcow2', '', 0, 512)

    def test_dirty_bit(self):
        reftable = self.damaged({'lazy_refcounts': 'on'})
        self.patch(72, struct.pack('>Q', 1))
        block = self.u64(reftable)
        self.patch(block + 40, bytes(20))
        tool('zero', 't.qcow2', '', 0, 65536)
        self.sound('t.qcow2')

    def test_overlap(self):
        self.damaged()
        l1 = self.u64(40)
        l2 = self.u64(l1) & 0x00fffffffffffe00
        self.patch(l2 + 8, struct.pack('>Q', 1 << 63 | l1))  # data where the L1 table is
        self.put('w.raw', b'x' * 131072)
        self.assertIn('active L1 table', tool('write', 't.qcow2', '', 'w.raw', ok=(1,)))
        self.assertIn('corrupt: true', qemu_img('info', 't.qcow2'))
        self.assertIn('corrupt', tool('zero', 't.qcow2', '', 0, 512, ok=(1,)))

    # ---- crafted headers --------------------------------------------------------------------

    def test_crafted(self):
        cases = [
            (4, '>I', 4, 'version 4'), (20, '>I', 8, 'cluster size'), (20, '>I', 22, 'cluster size'),
            (20, '>I', 0xffffffff, 'cluster size'), (24, '>Q', 1 << 63, 'too big'),
            (32, '>I', 3, 'encryption'), (36, '>I', 0x7fffffff, 'too large'), (36, '>I', 0, 'too small'),
            (40, '>Q', 0x1ff, 'L1 table offset'), (40, '>Q', 1 << 62, 'L1 table offset'),
            (48, '>Q', 0x123, 'reference count table offset'), (48, '>Q', 0, 'reference count table'),
            (56, '>I', 0x7fffffff, 'table too large'), (56, '>I', 0, 'reference count table'),
            (60, '>I', 0x10001, 'Snapshot table too large'), (64, '>Q', 0x1234, None),
            (72, '>Q', 1 << 40, 'Unsupported qcow2 feature'), (96, '>I', 7, 'Reference count entry'),
            (100, '>I', 0x100000, 'exceeds cluster size'), (100, '>I', 3, 'too short'),
            (8, '>Q', 0xffff, None), (104, '>B', 7, 'compression type'), (104, '>B', 1, 'Compression'),
        ]
        for offset, form, value, expect in cases:
            with self.subTest(offset=offset, value=value):
                tool('create', 't.qcow2', options(size=SIZE))
                self.patch(offset, struct.pack(form, value))
                if expect:
                    self.assertIn(expect, tool('read', 't.qcow2', '', 'out', ok=(1,)))
                else:
                    tool('read', 't.qcow2', '', 'out', ok=(0, 1))
        self.put('t.qcow2', b'QFI\xfb')
        self.assertIn('not in qcow2 format', tool('read', 't.qcow2', '', 'out', ok=(1,)))

    def test_bad_options(self):
        for opts, expect in (
                ({'cluster_size': 1000}, 'power of two'), ({'cluster_size': '4M'}, 'power of two'),
                ({'refcount_bits': 3}, 'power of two'), ({'compat': '0.10', 'refcount_bits': 8}, '1.1'),
                ({'extended_l2': 'on', 'cluster_size': 4096}, '16384'),
                ({'data_file_raw': 'on'}, 'data-file-raw requires data-file'), ({'compat': 'x'}, 'compat'),
                ({'backing_file': 'a'}, 'backing_fmt'), ({'size': '1E', 'cluster_size': 512}, 'large'),
                ({'nosuch': 1}, 'nosuch')):
            with self.subTest(opts=opts):
                out = tool('create', 't.qcow2', options(**{'size': MIB, **opts}), ok=(1,))
                self.assertIn(expect, out)
        tool('create', 't.qcow2', options(size=MIB))
        for opts, expect in (
                ('l2-cache-entry-size=1000', 'power of two'), ('cache-size=1M,l2-cache-size=2M', 'exceed'),
                ('overlap-check=x', 'x'), ('data-file.driver=file,data-file.filename=a', 'data-file'),
                ('nosuch=1', 'nosuch')):
            with self.subTest(opts=opts):
                self.assertIn(expect, tool('read', 't.qcow2', opts, 'out', ok=(1,)))


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0]] + sys.argv[2:])
