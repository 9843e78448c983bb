#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Crafted images are refused with a clear error, or do no harm: the cases that became CVEs of other programs, loops, tables
that lie on each other, sizes that overflow. TAP.

usage: test-crafted.py KILN-IMG KILN-IO
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

IMG, IO = (os.path.abspath(a) for a in sys.argv[1:3])
MIB = 1024 * 1024
LIMIT = 60
LONG = f'/dev/shm/kiln-crafted-{os.getpid()}.qcow2'
CLUSTER = 65536
ALL = 'info check read write'

# Offsets in the header.
BACKING_OFFSET, BACKING_SIZE, CLUSTER_BITS, SIZE, CRYPT, L1_SIZE, L1_OFFSET = 8, 16, 20, 24, 32, 36, 40
REFTABLE, REFTABLE_CLUSTERS, SNAPSHOTS, SNAPSHOTS_OFFSET, INCOMPATIBLE = 48, 56, 60, 64, 72
REFCOUNT_ORDER, HEADER_LENGTH, EXTENSIONS = 96, 100, 112


def run(*args):
    try:
        p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT,
                           errors='replace')
    except subprocess.TimeoutExpired:
        return 'hangs', ''
    return p.returncode, p.stdout


def kiln(what, name):
    return run(*{'info': (IMG, 'info', name), 'check': (IMG, 'check', name), 'read': (IO, '-r', '-c', 'read 0 1M', name), 'peek': (IO, '-r', '-c', 'read 512 512', name),
                 'unlock': (IO, '-r', '--object', 'secret,id=s,data=p', '--image-opts', '-c', 'read 0 1M',
                            f'driver=qcow2,encrypt.format=luks,encrypt.key-secret=s,file.driver=file,file.filename={name}'),
                 'write': (IO, '-c', 'write 0 1M', '-c', 'write 2M 1M', name), 'snapshot': (IMG, 'snapshot', '-a', 'one', name),
                 'repair': (IMG, 'check', '-r', 'all', name),
                 'chain': (IMG, 'info', '--backing-chain', name), 'convert': (IMG, 'convert', '-O', 'raw', name, 'out.raw'),
                 'commit': (IMG, 'commit', name), 'create': (IMG, 'snapshot', '-c', 'new', name), 'delete': (IMG, 'snapshot', '-d', 'one', name),
                 'resize': (IMG, 'resize', name, '8G'), 'shrink': (IMG, 'resize', '--shrink', name, '1M')}[what])


def get(offset, form, name='t.qcow2'):
    with open(name, 'rb') as f:
        f.seek(offset)
        return struct.unpack(form, f.read(struct.calcsize(form)))[0]


def put(offset, form, value, name='t.qcow2'):
    """form: of struct, or the bytes themselves."""
    with open(name, 'r+b') as f:
        f.seek(offset)
        f.write(struct.pack(form, value) if isinstance(form, str) else form)


def image(*options, snapshot=False, name='t.qcow2', size='4M'):
    """With data in its first MiB."""
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', *(['-o', ','.join(options)] if options else []), name, size],
                   check=True)
    subprocess.run(['qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 1M', name], check=True, stdout=subprocess.DEVNULL)
    if snapshot:
        subprocess.run(['qemu-img', 'snapshot', '-c', 'one', name], check=True)
    return name


def header(*patches, options=(), snapshot=False):
    """An image whose header has these values: (offset, struct format, value)."""
    def make():
        image(*options, snapshot=snapshot)
        for offset, form, value in patches:
            put(offset, form, value)
    return make


def extension(kind, data):
    """A header extension before all others."""
    def make():
        image()
        at = get(HEADER_LENGTH, '>I')
        put(at, struct.pack('>II', kind, len(data) if isinstance(data, bytes) else data) +
            (data if isinstance(data, bytes) else b''), None)
    return make


def snapshot_entry(offset, form, value):
    def make():
        image(snapshot=True)
        put(get(SNAPSHOTS_OFFSET, '>Q') + offset, form, value)
    return make


def l2_entry(index, value, options=()):
    """value(l1, l2, reftable, refblock) is the index-th entry of the first L2 table."""
    def make():
        image(*options)
        l1, reftable = get(L1_OFFSET, '>Q'), get(REFTABLE, '>Q')
        l2 = get(l1, '>Q') & 0x00fffffffffffe00
        put(l2 + 8 * index, '>Q', value(l1, l2, reftable, get(reftable, '>Q')))
    return make


def l1_entry(value):
    def make():
        image()
        l1, reftable = get(L1_OFFSET, '>Q'), get(REFTABLE, '>Q')
        put(l1, '>Q', value(l1, reftable, get(reftable, '>Q')))
    return make


def reftable_entry(value):
    def make():
        image()
        put(get(REFTABLE, '>Q'), '>Q', value)
    return make


def names(backing, fmt='raw', field=None):
    """An image that names this backing file (or data file)."""
    def make():
        if field == 'data':
            image('data_file=x' + '_' * (len(backing) - 1))
            with open('t.qcow2', 'rb') as f:
                whole = f.read()
            put(whole.index(b'x' + b'_' * (len(backing) - 1)), backing.encode(), None)
        else:
            image()
            subprocess.run(['qemu-img', 'rebase', '-u', '-b', backing, '-F', fmt, 't.qcow2'], check=True)
    return make


def ring():
    for a, b in (('a', 'b'), ('b', 'c'), ('c', 'a')):
        subprocess.run(['qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', b + '.qcow2', '-F', 'qcow2', a + '.qcow2', '4M'],
                       check=True)
    shutil.copyfile('a.qcow2', 't.qcow2')
    subprocess.run(['qemu-img', 'rebase', '-u', '-b', 'a.qcow2', '-F', 'qcow2', 't.qcow2'], check=True)


def by_symlink():
    names('other.qcow2', 'qcow2')()
    os.symlink('t.qcow2', 'other.qcow2')


def bitmap(offset, form, value):
    """The bitmap directory's first entry."""
    def make():
        image()
        subprocess.run(['qemu-img', 'bitmap', '--add', 't.qcow2', 'b'], check=True)
        with open('t.qcow2', 'rb') as f:
            at = f.read().index(struct.pack('>II', 0x23852875, 24))
        put(get(at + 24, '>Q') + offset, form, value)
    return make


def bitmap_extension(offset, form, value):
    def make():
        bitmap(0, b'', None)()
        with open('t.qcow2', 'rb') as f:
            put(f.read().index(struct.pack('>II', 0x23852875, 24)) + 8 + offset, form, value)
    return make


def luks(offset, form, value, in_header=False):
    """offset: in the LUKS header, or in the header extension that says where it is."""
    def make():
        run(IMG, 'create', '-q', '--object', 'secret,id=s,data=p', '-f', 'qcow2', '-o',
            'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10', 't.qcow2', '4M')
        with open('t.qcow2', 'rb') as f:
            at = f.read().index(struct.pack('>II', 0x0537be77, 16)) + 8
        put((get(at, '>Q') if in_header else at) + offset, form, value)
    return make


def vdi(*patches):
    def make():
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'vdi', 't.qcow2', '4M'], check=True)
        for offset, form, value in patches:
            put(offset, form, value)
    return make


def vpc(offset, form, value):
    """In the dynamic disk header; the checksums are made anew."""
    def make():
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'vpc', 't.qcow2', '4M'], check=True)
        put(512 + offset, form, value)
        put(512 + 36, '>I', 0)
        with open('t.qcow2', 'rb') as f:
            head = f.read()[512:1536]
        put(512 + 36, '>I', ~sum(head) & 0xffffffff)
    return make


def long_file():
    """Sparse, as long as a file can be: longest in shared memory, where there is any."""
    image('cluster_size=512')
    if os.access('/dev/shm', os.W_OK):
        shutil.move('t.qcow2', LONG)
        os.symlink(LONG, 't.qcow2')
    for bits in range(62, 40, -1):
        try:
            os.truncate('t.qcow2', 1 << bits)
            return
        except OSError:
            pass
    raise AssertionError('no long file can be made')


def vmdk(extent):
    def make():
        with open('t.qcow2', 'w', encoding='ascii') as f:
            f.write('# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\n\n'
                    f'RW 2048 FLAT "{extent}" 0\n\nddb.adapterType = "ide"\n')
    return make


def text(content):
    def make():
        with open('t.qcow2', 'wb') as f:
            f.write(content)
    return make


COPIED = 1 << 63
PACKED = 1 << 62
# What it is known as; what the image does; how it is made; what is done with it; what must be said (None: it may
# succeed, but not crash or hang).
CASES = [
    ('CVE-2014-0142', 'vpc: blocks of no bytes', vpc(32, '>I', 0), 'info read', 'blocks have 0 bytes'),
    ('CVE-2014-0143', 'an L1 table of 2^31 entries', header((L1_SIZE, '>I', 0x80000000)), ALL, 'L1 table too large'),
    ('CVE-2014-0143', 'a disk that needs a larger L1 table than can be', header((SIZE, '>Q', (1 << 63) - 512)), ALL, 'too big'),
    ('CVE-2014-0143', 'a disk of 2^56 bytes behind a small L1 table', header((SIZE, '>Q', 1 << 56)), ALL, 'too'),
    ('CVE-2014-0144', 'a header as long as memory', header((HEADER_LENGTH, '>I', 0xfffffff0)), ALL, 'exceeds cluster size'),
    ('CVE-2014-0144', 'a header shorter than its fields', header((HEADER_LENGTH, '>I', 8)), ALL, 'too short'),
    ('CVE-2014-0144', 'a backing file name behind the header', header((BACKING_OFFSET, '>Q', 1 << 40), (BACKING_SIZE, '>I', 9)),
     ALL, 'Invalid backing file offset'),
    ('CVE-2014-0144', 'a backing file name of 2^31 bytes', header((BACKING_OFFSET, '>Q', 512), (BACKING_SIZE, '>I', 1 << 31)),
     ALL, 'Backing file name too long'),
    ('CVE-2014-0144', 'a refcount table of 2^31 clusters', header((REFTABLE_CLUSTERS, '>I', 0x7fffffff)), ALL, 'too large'),
    ('CVE-2014-0144', 'a refcount table that overflows', header((REFTABLE_CLUSTERS, '>I', 0xffffffff)), ALL, 'too large'),
    ('CVE-2014-0144', 'a refcount table at 2^63', header((REFTABLE, '>Q', 1 << 63)), ALL, 'reference count table offset|no refcount table'),
    ('CVE-2014-0144', 'an L1 table at the end of numbers', header((L1_OFFSET, '>Q', (1 << 64) - CLUSTER)), ALL,
     'L1 table offset'),
    ('CVE-2014-0144', 'a snapshot table at the end of numbers', header((SNAPSHOTS_OFFSET, '>Q', (1 << 64) - CLUSTER),
                                                                       snapshot=True), ALL, 'napshot table'),
    ('CVE-2014-0144', 'vdi: 2^32 blocks', vdi((0x180, '<I', 0xffffffff)), 'info read', 'blocks|large|size'),
    ('CVE-2014-0144', 'vdi: a disk of 2^64 bytes', vdi((0x170, '<Q', (1 << 64) - 512)), 'info read', 'large|size|blocks'),
    ('CVE-2014-0144', 'vpc: 2^32 table entries', vpc(28, '>I', 0xffffffff), 'info read', 'large|table|size'),
    ('CVE-2014-0145', 'a snapshot with an L1 table of 2^31 entries', snapshot_entry(8, '>I', 0x7fffffff), ALL + ' snapshot',
     'L1 table.* too large'),
    ('CVE-2014-0145', 'a snapshot whose L1 table lies nowhere', snapshot_entry(0, '>Q', 1 << 62), 'snapshot delete', 'napshot'),
    ('CVE-2014-0145', 'a snapshot whose L1 table is not aligned', snapshot_entry(0, '>Q', 0x1234), 'snapshot delete', 'napshot'),
    ('CVE-2014-0146', '2^32 snapshots', header((SNAPSHOTS, '>I', 0xffffffff), snapshot=True), ALL, 'Snapshot table too large'),
    ('CVE-2014-0146', 'more snapshots than the table has', header((SNAPSHOTS, '>I', 60000), snapshot=True), ALL,
     'napshot table|extra metadata'),
    ('fuzz-qcow2', 'packed bytes in the header', l2_entry(0, lambda l1, l2, reftable, refblock: PACKED), 'peek read', 'read failed'),
    ('fuzz-qcow2', 'a cluster of data so far away that no table of refcounts reaches it',
     l2_entry(1, lambda l1, l2, reftable, refblock: COPIED | 0x00fffffffffffe00, ('cluster_size=512', 'refcount_bits=64')), 'create',
     'too large'),
    ('CVE-2014-0147', 'a block of refcounts at offset 2^63', reftable_entry(1 << 63), 'check', 'ERROR'),
    ('CVE-2014-0147', 'a block of refcounts at the header', reftable_entry(1 << 9), 'write', 'unaligned|corrupt'),
    ('CVE-2014-0147', 'no refcounts at all: new clusters would be old ones', reftable_entry(0), 'write',
     'invalid allocation|corrupt'),
    ('CVE-2014-0222', 'version 1, whose L2 tables overflow', text(b'QFI\xfb' + struct.pack('>IQIIQBBHIQ', 1, 0, 0, 0, 1 << 62, 12, 63,
                                                                                      0, 0, 48)), 'info read', 'not supported'),
    ('CVE-2014-0223', 'version 1, whose size overflows', text(b'QFI\xfb' + struct.pack('>IQIIQBBHIQ', 1, 0, 0, 0, (1 << 64) - 1, 9, 9,
                                                                                  0, 0, 48)), 'info read', 'not supported'),
    ('CVE-2015-5162', 'a small file that says it is an exabyte', header((SIZE, '>Q', 1 << 60), (L1_SIZE, '>I', 1 << 22)), ALL,
     'L1 table|too'),
    ('CVE-2015-5163', 'a backing file by another protocol', names('nbd:127.0.0.1:1'), 'read chain', 'Could not open'),
    ('CVE-2008-2004', 'a raw disk that begins like a qcow2 image',
     lambda: (image(name='inner.qcow2'), subprocess.run(['qemu-img', 'rebase', '-u', '-b', '/etc/hostname', '-F', 'raw', 'inner.qcow2'],
                                                         check=True), os.rename('inner.qcow2', 't.raw'), names('t.raw')()),
     'chain', 'raw'),
    ('CVE-2022-47951', 'vmdk: an extent elsewhere on the host', vmdk('/etc/hostname'), 'info read convert', 'beside|path|extent'),
    ('CVE-2022-47951', 'vmdk: an extent above', vmdk('../../etc/hostname'), 'info read convert', 'beside|path|extent'),
    ('CVE-2024-4467', 'a data file that is a description',
     names('json:{"driver":"raw","file":{"driver":"file","filename":"/etc/hostname"}}', field='data'), 'read write convert',
     'Could not open|No such file'),
    ('CVE-2024-4467', 'info opens no data file', names('/nonexistent/data', field='data'), 'info', '(?s)virtual size.*data file: /nonexistent'),
    ('CVE-2024-4467', 'a backing file that is a description',
     names('json:{"driver":"raw","file":{"driver":"file","filename":"/etc/hostname"}}'), 'read write convert',
     'Could not open backing file'),
    ('CVE-2024-4467', 'a backing file that is a description, of qcow2', names('json:{"file.filename":"/etc/hostname"}', 'qcow2'),
     'read write chain', 'Could not open'),
    ('CVE-2024-4467', 'a backing file by a device of the host', names('/dev/fd/0', 'qcow2'), 'read', 'Could not open|not in qcow2'),

    ('loop', 'its own backing file', names('t.qcow2', 'qcow2'), 'read write chain commit', 'infinite loop|cycle|has no end'),
    ('loop', 'its own backing file, another way', names('.././././' + '{}/t.qcow2', 'qcow2'), 'read chain',
     'infinite loop|Could not open'),
    ('loop', 'its own backing file through a symbolic link', by_symlink, 'read write chain', 'infinite loop|lock|Could not open'),
    ('loop', 'a ring of three below it', ring, 'read write chain convert', 'infinite loop|cycle'),
    ('loop', 'its own data file', names('t.qcow2', field='data'), 'write', 'lock|loop|conflict|data file|Could not open'),

    ('overlap', 'L1 table on the header', header((L1_OFFSET, '>Q', 0)), 'check', 'ERROR|orrupt|L1'),
    ('overlap', 'L1 table on the refcount table', lambda: (image(), put(L1_OFFSET, '>Q', get(REFTABLE, '>Q'))), 'write check',
     'ERROR|corrupt|unaligned'),
    ('overlap', 'refcount table on the L1 table', lambda: (image(), put(REFTABLE, '>Q', get(L1_OFFSET, '>Q'))), 'check',
     'ERROR|corrupt'),
    ('overlap', 'a block of refcounts on the L1 table', lambda: (image(), put(get(REFTABLE, '>Q'), '>Q', get(L1_OFFSET, '>Q'))),
     'check', 'ERROR|corrupt'),
    ('overlap', 'L2 table on the header', l1_entry(lambda l1, reftable, block: COPIED), 'check', None),
    ('overlap', 'L2 table on the L1 table', l1_entry(lambda l1, reftable, block: COPIED | l1), 'check write', 'ERROR|corrupt'),
    ('overlap', 'L2 table on a block of refcounts', l1_entry(lambda l1, reftable, block: COPIED | block), 'check', 'ERROR|corrupt'),
    ('overlap', 'L2 table on the refcount table', l1_entry(lambda l1, reftable, block: COPIED | reftable), 'check',
     'ERROR|corrupt'),
    ('overlap', 'data on the L1 table', l2_entry(0, lambda l1, l2, reftable, block: COPIED | l1), 'write check', 'ERROR|corrupt'),
    ('overlap', 'data on its L2 table', l2_entry(0, lambda l1, l2, reftable, block: COPIED | l2), 'write check', 'ERROR|corrupt'),
    ('overlap', 'data on the refcount table', l2_entry(0, lambda l1, l2, reftable, block: COPIED | reftable), 'write check',
     'ERROR|corrupt'),
    ('overlap', 'data on a block of refcounts', l2_entry(0, lambda l1, l2, reftable, block: COPIED | block), 'write check',
     'ERROR|corrupt'),
    ('overlap', 'a snapshot table on the L1 table',
     lambda: (image(snapshot=True), put(SNAPSHOTS_OFFSET, '>Q', get(L1_OFFSET, '>Q'))), 'check', 'ERROR|napshot|extra metadata'),

    ('size', 'clusters of 2^63 bytes', header((CLUSTER_BITS, '>I', 63)), ALL, 'cluster size'),
    ('size', 'clusters of one byte', header((CLUSTER_BITS, '>I', 0)), ALL, 'cluster size'),
    ('size', 'refcounts of 2^255 bits', header((REFCOUNT_ORDER, '>I', 255)), ALL, 'Reference count entry'),
    ('size', 'a disk of no bytes with an L1 table', header((SIZE, '>Q', 0)), 'info check read', None),
    ('size', 'an L1 table that ends behind the file', header((L1_SIZE, '>I', 1 << 21)), ALL, None),
    ('size', 'a header extension of 2^32 bytes', extension(0x12345678, 0xfffffff8), ALL, 'header extension too large'),
    ('size', 'a backing format longer than a name', extension(0xe2792aca, b'x' * 4000), ALL, 'header extension'),
    ('size', 'a snapshot with 2^32 bytes of extra data', snapshot_entry(36, '>I', 0xffffffff), ALL, 'extra metadata'),
    ('size', 'a snapshot of a disk of 2^64 bytes', snapshot_entry(48, '>Q', (1 << 64) - 512), 'snapshot', 'too big|napshot|large'),
    ('size', 'data behind the end of numbers', l2_entry(0, lambda *_: COPIED | 0x00fffffffffe0000), 'check', 'ERROR'),
    ('size', 'an unaligned data cluster', l2_entry(0, lambda *_: COPIED | 0x50200), 'read write check', 'ERROR|unaligned|Input/output'),
    ('size', 'a packed cluster behind the end of the file', l2_entry(0, lambda *_: PACKED | 1 << 45), 'read', 'Input/output'),
    ('size', 'a file of 2^62 bytes', long_file, 'info check shrink read write', None),
    ('size', 'a packed cluster of garbage', l2_entry(0, lambda l1, l2, reftable, block: PACKED | l1), 'read', 'Input/output'),

    ('bitmaps', 'a directory behind the end', bitmap_extension(16, '>Q', 1 << 40), 'write', 'bitmap'),
    ('bitmaps', 'a directory of 2^63 bytes', bitmap_extension(8, '>Q', 1 << 63), ALL, 'bitmaps extension'),
    ('bitmaps', '2^32 bitmaps', bitmap_extension(0, '>I', 0xffffffff), ALL, 'bitmaps extension'),
    ('bitmaps', 'no bitmap', bitmap_extension(0, '>I', 0), ALL, 'bitmaps extension'),
    ('bitmaps', 'a table behind the end', bitmap(0, '>Q', 1 << 48), 'write', 'bitmap'),
    ('bitmaps', 'a table of 2^32 entries', bitmap(8, '>I', 0xffffffff), 'write', 'bitmap'),
    ('bitmaps', 'an unaligned table', bitmap(0, '>Q', 513), 'write', 'bitmap'),
    ('bitmaps', 'a granularity of 2^200', bitmap(17, '>B', 200), 'write', 'bitmap'),
    ('bitmaps', 'a name longer than the directory', bitmap(18, '>H', 0xffff), 'write', 'bitmap'),
    ('bitmaps', '2^32 bytes of extra data', bitmap(20, '>I', 0xfffffff8), 'write', 'bitmap'),
    ('bitmaps', 'an unknown type', bitmap(16, '>B', 9), 'write', 'bitmap'),

    ('luks', 'its header behind the end', luks(0, '>Q', 1 << 40), 'info read', 'encryption header|LUKS'),
    ('luks', 'its header of 2^64 bytes', luks(8, '>Q', (1 << 64) - 1), 'info read', 'encryption header'),
    ('luks', 'its header not aligned', luks(0, '>Q', 12345), 'info read', 'encryption header'),
    ('luks', 'its header on the image header', luks(0, '>Q', 0), 'info read', 'encryption header|LUKS'),
    ('luks', 'another magic', luks(0, '>Q', 0, True), 'info', 'LUKS'),
    ('luks', 'version 2', luks(6, '>H', 2, True), 'info', 'LUKS version 2'),
    ('luks', 'a key of 2^32 bytes', luks(108, '>I', 0xffffffff, True), 'info', 'volume key'),
    ('luks', 'data before its header ends', luks(104, '>I', 1, True), 'info', 'LUKS'),
    ('luks', '2^32 iterations', luks(164, '>I', 0xffffffff, True), 'unlock', 'iterations'),
    ('luks', 'a key slot of 2^32 stripes', luks(208 + 44, '>I', 0xffffffff, True), 'info', 'key slot 0'),
    ('luks', 'a key slot behind the end', luks(208 + 40, '>I', 0xfffffff0, True), 'info', 'key slot 0'),
    ('luks', 'two key slots in one place', luks(208 + 48 + 40, '>I', 8, True), 'info', 'overlap'),
    ('luks', 'a cipher without end', luks(8, b'a' * 32, None, True), 'info', 'cipher'),
]


def judge(case):
    """None, or what is wrong."""
    _, _, make, operations, wanted = case
    for operation in operations.split():
        for name in os.listdir('.'):
            os.unlink(name)
        make()
        status, out = kiln(operation, 't.qcow2')
        if status not in (0, 1, 2, 3):
            return f'{operation}: status {status}\n{out}'
        if wanted is None:
            continue
        if not re.search(wanted, out):
            return f'{operation}: does not say "{wanted}"\n{out}'
    return None


def main():
    here, home = os.getcwd(), tempfile.mkdtemp(prefix='kiln-crafted-')
    os.chdir(home)
    failed = 0
    print(f'1..{len(CASES)}')
    for number, case in enumerate(CASES, 1):
        if len(sys.argv) > 3 and sys.argv[3] not in case[0] + ': ' + case[1]:
            continue
        wrong = judge(case)
        failed += wrong is not None
        print(f'{"not ok" if wrong else "ok"} {number} {case[0]}: {case[1]}')
        if wrong:
            print('# ' + wrong.strip().replace('\n', '\n# '))
    os.chdir(here)
    shutil.rmtree(home)
    if os.path.exists(LONG):
        os.unlink(LONG)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
