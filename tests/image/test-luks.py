#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encrypted images, LUKS and qcow2 with LUKS: made, written and read by Kiln and QEMU in turn.

usage: test-luks.py KILN-IMG KILN-IO KILN-SYSTEM
"""
import itertools
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

IMG, IO, SYSTEM = (os.path.abspath(a) for a in sys.argv[1:4])
LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it
MIB = 1024 * 1024
SECRETS = [word for name in ('one', 'two', 'bad') for word in ('--object', f'secret,id={name},data=pass-{name}')]


def run(*args, ok=(0,), env=None):
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=LIMIT, env=dict(os.environ, **(env or {})))
    if args[0] == 'qemu-img' and p.returncode and 'accurate CPU usage' in p.stdout:  # it says that on a busy machine
        return run(*args, ok=ok, env=env)
    if p.returncode not in ok:
        raise AssertionError(f"{' '.join(map(str, args))}: {p.returncode}\n{p.stdout}")
    return p.stdout


def img(command, *args, tool=None, **kw):
    return run(tool or IMG, command, *SECRETS, *args, **kw)


def io(opts, *commands, tool=None, **kw):
    out = run(tool or IO, *SECRETS, '--image-opts', opts, *(w for c in commands for w in ('-c', c)), **kw)
    assert 'verification failed' not in out, out
    return out


def create(fmt, name, size, tool=None, ok=(0,), **opts):
    prefix = 'encrypt.' if fmt == 'qcow2' else ''
    plain = {k: opts.pop(k) for k in list(opts) if k in ('cluster_size', 'extended_l2', 'data_file', 'backing_file',
                                                         'backing_fmt', 'preallocation', 'data_file_raw')}
    opts = {'key_secret': 'one', 'iter_time': 10, **opts}
    if prefix:
        opts = {'format': 'luks', **opts}
    text = ','.join([f'{k}={v}' for k, v in plain.items()] +
                    [f'{prefix}{k.replace("_", "-")}={v}' for k, v in opts.items() if v is not None])
    out = img('create', '-q', '-f', fmt, '-o', text, name, size, tool=tool, ok=ok)
    assert not out or 1 in ok, out
    return out


def options(fmt, name, secret='one'):
    return f'driver={fmt},{"encrypt." if fmt == "qcow2" else ""}key-secret={secret},file.filename={name}'


class Luks(unittest.TestCase):
    def setUp(self):
        self.old = os.getcwd()
        self.dir = tempfile.mkdtemp(prefix='kiln-luks-')
        os.chdir(self.dir)

    def tearDown(self):
        os.chdir(self.old)
        shutil.rmtree(self.dir)

    def get(self, name):
        with open(name, 'rb') as f:
            return f.read()

    def put(self, name, data, at=None):
        with open(name, 'wb' if at is None else 'r+b') as f:
            f.seek(at or 0)
            f.write(data)

    def plain(self, opts, tool):
        img('convert', '-O', 'raw', '--image-opts', opts, 'out.raw', tool=tool)
        return self.get('out.raw')

    def both(self, opts, data):
        for tool in (IMG, 'qemu-img'):
            self.assertTrue(self.plain(opts, tool) == data, f'{tool} reads otherwise')

    def one_image(self, fmt, size=4 * MIB, **opts):
        """Writes of each program, read by both."""
        where = options(fmt, 't.img')
        model = bytearray(size)
        r = random.Random(size + len(opts))
        if fmt == 'luks':
            io(where, f'write -z 0 {size}')  # what nobody wrote decrypts to noise
        for n in range(4):
            commands = []
            for _ in range(3):
                at = r.randrange(0, size - 300000) & ~511
                length = r.choice((512, 4096, 65536, 200192))
                kind = r.randrange(3)
                value = r.randrange(1, 255) if kind else 0
                commands.append(f'write {"-P %d" % value if kind else "-z"} {at} {length}')
                model[at:at + length] = bytes([value]) * length
            io(where, *commands, tool=IO if n % 2 else 'qemu-io')
        self.both(where, bytes(model))
        if fmt == 'qcow2':
            img('check', '--image-opts', where, tool='qemu-img')
            self.assertIn('No errors', img('check', '--image-opts', where))
        return model

    def test_ciphers(self):
        for fmt, opts in itertools.product(('luks', 'qcow2'), (
                {}, {'cipher_alg': 'aes-128'}, {'cipher_alg': 'serpent-256', 'hash_alg': 'sha512'},
                {'cipher_alg': 'twofish-128', 'cipher_mode': 'cbc', 'ivgen_alg': 'essiv', 'ivgen_hash_alg': 'sha256'},
                {'cipher_alg': 'aes-256', 'cipher_mode': 'cbc', 'ivgen_alg': 'plain', 'hash_alg': 'sha1'},
                {'cipher_alg': 'aes-128', 'cipher_mode': 'cbc', 'ivgen_alg': 'essiv'},
                {'cipher_alg': 'cast5-128', 'cipher_mode': 'cbc'},
                {'cipher_alg': 'aes-256', 'cipher_mode': 'ctr', 'hash_alg': 'ripemd160'})):
            # qemu-img measures for seconds before it makes an image: two of them will do.
            for tool in (IMG, 'qemu-img') if opts == {} else (IMG,):
                with self.subTest(fmt=fmt, opts=opts, tool=tool):
                    if create(fmt, 't.img', 2 * MIB, tool=tool, ok=(0, 1), **opts):
                        self.assertEqual(tool, 'qemu-img')  # a cipher that its libraries lack
                        continue
                    self.one_image(fmt, 2 * MIB, **opts)

    def test_features(self):
        for opts in ({'cluster_size': 512}, {'cluster_size': '2M'}, {'extended_l2': 'on'}, {'data_file': 'data'},
                     {'preallocation': 'metadata'}, {'preallocation': 'falloc', 'extended_l2': 'on'}):
            # (What qemu-img preallocates decrypts to noise.)
            for tool in (IMG, 'qemu-img') if 'data_file' in opts else (IMG,):
                with self.subTest(opts=opts, tool=tool):
                    if os.path.exists('data'):
                        os.unlink('data')
                    create('qcow2', 't.img', 4 * MIB, tool=tool, **opts)
                    self.one_image('qcow2', **opts)

    def test_overlay(self):
        """Encrypted over plain, plain over encrypted; snapshots; resized."""
        base = random.Random(1).randbytes(2 * MIB)
        self.put('base.raw', base)
        create('qcow2', 't.img', 2 * MIB, backing_file='base.raw', backing_fmt='raw')
        where = options('qcow2', 't.img')
        io(where, 'write -P 1 70000 100')
        self.both(where, base[:70000] + b'\x01' * 100 + base[70100:])
        create('qcow2', 'low.img', MIB)
        io(options('qcow2', 'low.img'), 'write -P 7 0 1M')
        run(IMG, 'create', '-q', '-u', '-f', 'qcow2', '-b', 'low.img', '-F', 'qcow2', 'top.img', '1M')
        where = 'driver=qcow2,file.filename=top.img,backing.encrypt.key-secret=one'
        io(where, 'write -P 8 1000 1000')
        self.both(where, b'\x07' * 1000 + b'\x08' * 1000 + b'\x07' * (MIB - 2000))
        where = options('qcow2', 't.img')
        img('snapshot', '-c', 's', '--image-opts', where, tool='qemu-img')
        io(where, 'write -P 2 0 1M')
        img('snapshot', '-a', 's', '--image-opts', where, tool='qemu-img')
        img('resize', '--image-opts', where, '3M')
        self.both(where, base[:70000] + b'\x01' * 100 + base[70100:] + bytes(MIB))
        create('luks', 'l.img', MIB)
        img('resize', '--image-opts', options('luks', 'l.img'), '2M')
        self.assertEqual(os.path.getsize('l.img'), 2 * MIB + 2068480)

    def test_parts_of_sectors(self):
        for fmt in ('luks', 'qcow2'):
            create(fmt, 't.img', MIB)
            where = options(fmt, 't.img')
            r, model = random.Random(5), bytearray(MIB)
            io(where, 'write -z 0 1M')
            commands = []
            for _ in range(60):
                at, length, value = r.randrange(MIB - 5000), r.choice((1, 100, 511, 512, 513, 4000)), r.randrange(255)
                commands.append(r.choice((f'write -P {value} {at} {length}', f'aio_write -P {value} {at} {length}')))
                model[at:at + length] = bytes([value]) * length
                commands.append('aio_flush')
            io(where, *commands)
            self.both(where, bytes(model))
            io(where, *(f'read -P {model[at]} {at} 1' for at in range(500, 530)))

    def test_info(self):
        for fmt in ('luks', 'qcow2'):
            create(fmt, 't.img', MIB)
            self.assertEqual(json.loads(run(IMG, 'info', '--output=json', 't.img')),
                             json.loads(run('qemu-img', 'info', '--output=json', 't.img')))
            self.assertEqual(run(IMG, 'info', 't.img'), run('qemu-img', 'info', 't.img'))

    def slots(self, name):
        data = json.loads(run('qemu-img', 'info', '--output=json', name))['format-specific']['data']
        return [i for i, s in enumerate(data.get('encrypt', data)['slots']) if s['active']]

    def test_key_slots(self):
        for fmt in ('luks', 'qcow2'):
            create(fmt, 't.img', MIB)
            prefix = 'encrypt.' if fmt == 'qcow2' else ''
            where = options(fmt, 't.img')
            io(where, 'write -P 9 0 1M')

            def amend(text, tool=IMG, opts=where, ok=(0,), *more):
                text = ','.join(prefix + word for word in text.split(','))
                return img('amend', *more, '-o', text, '--image-opts', opts, tool=tool, ok=ok)
            for text, expect in (('state=active', 'new-secret'), ('state=inactive', 'must be given'),
                                 ('state=inactive,old-secret=bad', 'No keyslots match'),
                                 ('state=inactive,keyslot=5', 'already erased'), ('state=inactive,keyslot=8', '7'),
                                 ('state=active,keyslot=0,new-secret=two', 'active keyslot'),
                                 ('state=inactive,old-secret=one', 'all the data'), ('keyslot=1', 'missing'),
                                 ('state=active,new-secret=nosuch', 'nosuch'), ('state=no', 'state')):
                self.assertIn(expect, amend(text, ok=(1,)))
            self.assertEqual(self.slots('t.img'), [0])
            amend('state=active,new-secret=two,iter-time=10')
            amend('state=active,new-secret=bad,iter-time=10,keyslot=6')
            self.assertEqual(self.slots('t.img'), [0, 1, 6])
            for secret in ('two', 'bad'):
                for tool in (IO, 'qemu-io'):
                    io(options(fmt, 't.img', secret), 'read -P 9 0 1M', tool=tool)
            amend('state=inactive,old-secret=one')
            amend('state=inactive,keyslot=6', opts=options(fmt, 't.img', 'two'))
            self.assertEqual(self.slots('t.img'), [1])
            for tool in (IO, 'qemu-io'):
                self.assertIn('Invalid password', io(where, 'read 0 512', tool=tool, ok=(1,)))
                io(options(fmt, 't.img', 'two'), 'read -P 9 0 1M', tool=tool)
            img('amend', '-o', f'{prefix}state=active,{prefix}new-secret=one,{prefix}iter-time=10', '--image-opts',
                options(fmt, 't.img', 'two'), tool='qemu-img')
            io(where, 'read -P 9 0 1M')

    def test_preallocation(self):
        said = {}
        for tool in (IMG, 'qemu-img'):
            for mode in ('off', 'metadata', 'falloc', 'full') if tool == IMG else ('falloc',):
                text = f'key-secret=one,iter-time=10,preallocation={mode}'
                said[tool, mode] = img('create', '-f', 'luks', '-o', text, 't.img', '4M', tool=tool).replace('qemu', 'kiln')
                st = os.stat('t.img')
                said[tool, mode] += f'{st.st_size} {st.st_blocks * 512 >= st.st_size}'
                io(options('luks', 't.img'), 'write -P 1 0 4M', 'read -P 1 0 4M')
            self.assertIn('bogus', img('create', '-f', 'luks', '-o', 'key-secret=one,preallocation=bogus', 't.img', '4M', tool=tool,
                                       ok=(1,)))
        self.assertEqual(*(said[tool, 'falloc'].splitlines()[-2:] for tool in (IMG, 'qemu-img')))
        self.assertEqual([text.split()[-1] for text in said.values()], ['False', 'False', 'True', 'True', 'True'])
        self.assertIn('preallocation=<str>', run(IMG, 'create', '-f', 'luks', '-o', 'help', 'x'))
        self.assertNotIn('preallocation', run(IMG, 'create', '-f', 'luks', '-o', 'help'))

    def test_convert(self):
        """Into new encrypted images, holes and all."""
        data = bytearray(random.Random(3).randbytes(2 * MIB))
        data[200000:900000] = bytes(700000)
        self.put('t.raw', data)
        secret = 'key-secret=one,iter-time=10'
        for fmt, opts in [('luks', secret)] + [
                ('qcow2', f'encrypt.format=luks,encrypt.{secret.replace(",", ",encrypt.")}{more}')
                for more in ('', ',preallocation=metadata', ',preallocation=full', ',extended_l2=on')]:
            for args in ((), ('-S', '0'), ('-W', '-m', '16')):
                img('convert', *args, '-O', fmt, '-o', opts, 't.raw', 't.img')
                self.both(options(fmt, 't.img'), bytes(data))
            self.assertIn('not supported', img('convert', '-c', '-O', fmt, '-o', opts, 't.raw', 'u.img', ok=(1,)))
            self.assertFalse(os.path.exists('u.img'))

    def test_packed(self):
        """QEMU leaves packed clusters in the clear: they are read, not made."""
        data = (random.Random(4).randbytes(1000) * 700)[:655360]
        self.put('t.raw', data)
        for kind in ('zlib', 'zstd'):
            run(IMG, 'create', '-q', *SECRETS, '-f', 'qcow2', '-o', f'compression_type={kind},encrypt.format=luks,'
                'encrypt.key-secret=one,encrypt.iter-time=10', 't.img', '640k')
            where = options('qcow2', 't.img')
            self.assertIn('Compression and encryption', img('convert', '-n', '-c', '--target-image-opts', 't.raw', where, ok=(1,)))
            self.assertIn('write failed', io(where, 'write -c -P 1 0 64k', ok=(1,)))
            img('convert', '-n', '-c', '--target-image-opts', 't.raw', where, tool='qemu-img')
            self.both(where, data)
            io(where, 'write -P 5 70000 1000', 'read -P 5 70000 1000')  # a cluster of them is written anew, encrypted
            self.both(where, data[:70000] + b'\x05' * 1000 + data[71000:])

    def replay(self, before, log):
        """Yields the image as each prefix of its recorded writes leaves it."""
        image, data = bytearray(before), self.get(log)
        magic, version, entries, size = struct.unpack_from('<QQQI', data)
        self.assertEqual((magic, version), (0x6a736677736872, 1))
        at = size
        yield bytes(image)
        for _ in range(entries):
            sector, sectors, _, length = struct.unpack_from('<QQQQ', data, at)
            at += size
            if length:
                image[sector * 512:sector * 512 + length] = data[at:at + length]
                at += length
                yield bytes(image)

    def test_power_cut(self):
        """The only key slot is filled anew: whatever of that is on the disk, one of the passphrases opens it."""
        for used in (1, 8):
            create('luks', 't.img', MIB)
            where = options('luks', 't.img')
            io(where, 'write -P 9 0 1M')
            for n in range(1, used):
                img('amend', '-o', f'state=active,keyslot={n},iter-time=1,new-secret=bad', '--image-opts', where)
            before = self.get('t.img')
            self.put('log', b'')
            img('amend', '--force', '-o', 'state=active,keyslot=0,new-secret=two,iter-time=1', '--image-opts',
                'driver=luks,key-secret=one,file.driver=blklogwrites,file.file.driver=file,file.file.filename=t.img,'
                'file.log.driver=file,file.log.filename=log')
            states = list(self.replay(before, 'log'))
            self.assertGreater(len(states), 2)
            self.assertEqual(states[-1], self.get('t.img'))
            self.assertEqual(self.slots('t.img'), list(range(used)))
            for n, state in enumerate(states):
                self.put('cut.img', state)
                opened = [s for s in ('one', 'two', 'bad')
                          if 'Invalid' not in io(options('luks', 'cut.img', s), 'read -P 9 0 1M', ok=(0, 1))]
                self.assertTrue(opened, f'after {n} of {len(states) - 1} writes nothing opens it')
            self.assertEqual(opened, ['two'] if used == 1 else ['two', 'bad'])
            os.unlink('log')

    def test_beside(self):
        """A write of a whole sector comes while a part of it is read, changed and written."""
        for first, second, expect in (
                ('aio_write -P 1 0 100', 'aio_write -P 2 0 512', ((2, 0, 512),)),
                ('aio_write -P 1 500 600', 'aio_write -P 2 512 512', ((1, 500, 12), (2, 512, 512), (1, 1024, 76))),
                ('aio_write -P 1 500 100', 'aio_write -P 2 600 100', ((9, 0, 500), (1, 500, 100), (2, 600, 100))),
                ('aio_write -P 1 100 100', 'aio_write -z 0 1024', ((0, 0, 1024),)),
                ('aio_write -P 1 100 100', 'aio_write -P 2 512 512', ((9, 0, 100), (1, 100, 100), (2, 512, 512)))):
            for fmt in ('luks', 'qcow2'):
                create(fmt, 't.img', MIB)
                io(options(fmt, 't.img'), 'write -P 9 0 1M', 'flush')
                out = io(options(fmt, 't.img').replace('file.', 'file.driver=raw,file.file.driver=blkdebug,'
                                                       'file.file.image.driver=file,file.file.image.'),
                         'break write_aio a', first, 'wait_break a', second, 'resume a', 'aio_flush',
                         *(f'read -P {value} {at} {length}' for value, at, length in expect))
                self.assertNotIn('failed', out)

    def test_refused(self):
        for fmt in ('luks', 'qcow2'):
            create(fmt, 't.img', MIB)
            prefix = 'encrypt.' if fmt == 'qcow2' else ''
            self.assertIn('Invalid password', io(options(fmt, 't.img', 'bad'), 'read 0 512', ok=(1,)))
            self.assertIn("'nosuch'", io(options(fmt, 't.img', 'nosuch'), 'read 0 512', ok=(1,)))
            self.assertIn(f"'{prefix}key-secret' is required", run(IO, '-c', 'read 0 512', 't.img', ok=(1,)))
            for opts, expect in (({'key_secret': None}, 'is required'), ({'cipher_alg': 'foo'}, "'foo'"),
                                 ({'cipher_mode': 'foo'}, "'foo'"), ({'hash_alg': 'foo'}, "'foo'"),
                                 ({'key_secret': 'nosuch'}, 'nosuch'), ({'nosuch': 1}, 'nosuch'),
                                 ({'cipher_alg': 'cast5-128'}, 'cannot be used')):
                self.assertIn(expect, create(fmt, 'u.img', MIB, ok=(1,), **opts))
        self.assertIn('luks', create('qcow2', 'u.img', MIB, ok=(1,), format='aes'))
        self.assertIn('data_file_raw', create('qcow2', 'u.img', MIB, ok=(1,), data_file='d', data_file_raw='on'))
        # The module comes only with such an image, and is missed by name.
        env = {'KILN_MODULE_DIR': self.dir}
        run(IMG, 'create', '-q', '-f', 'qcow2', 'plain.img', '1M', env=env)
        out = io(options('luks', 't.img'), 'read 0 512', ok=(0, 1), env=env)
        self.assertTrue('gcrypt' in out or 'LUKS' in out, out)

    def test_crafted(self):
        """Headers that lie."""
        create('luks', 't.img', MIB)
        good = self.get('t.img')
        where = options('luks', 't.img')
        slot = 208 + 48
        for at, data, expect in (
                (6, struct.pack('>H', 2), 'Argon2'), (6, struct.pack('>H', 0), 'version 0'),
                (8, b'rot13\0', 'unknown'), (8, b'A' * 32, 'unknown'), (40, b'xts-' + b'A' * 28, 'unknown'),
                (40, b'cbc-essiv\0', 'unknown'), (40, b'cbc-essiv:foo\0', 'unknown'), (40, b'xts-plain64:sha256\0', 'unknown'),
                (72, b'A' * 32, 'unknown'), (104, struct.pack('>I', 0), 'slot 0'), (104, struct.pack('>I', 0xffffffff), 'header'),
                (108, struct.pack('>I', 0), 'key of 0'), (108, struct.pack('>I', 0x7fffffff), 'key of'),
                (108, struct.pack('>I', 63), 'key of 63'), (108, struct.pack('>I', 48), 'slot'),
                (164, struct.pack('>I', 0), 'iterations'), (164, struct.pack('>I', 0xffffffff), 'iterations'),
                (164, struct.pack('>I', (64 << 20) + 1), 'hold up'), (212, struct.pack('>I', (64 << 20) + 1), 'hold up'),
                (212, struct.pack('>I', 64 << 20) + good[216:256] + struct.pack('>II', 0x00ac71f3, 1000), 'together'),
                (208, struct.pack('>I', 1), 'state'), (212, struct.pack('>I', 0), 'slot 0'),
                (slot + 40, struct.pack('>I', 8), 'overlap'), (slot + 40, struct.pack('>I', 0xfffffff0), 'slot 1'),
                (slot + 44, struct.pack('>I', 1), 'stripes 1'), (slot + 40, struct.pack('>I', 0), 'slot 1')):
            with self.subTest(at=at, data=data):
                self.put('t.img', good)
                self.put('t.img', data, at)
                out = io(where, 'read 0 512', ok=(1,))
                # 48 bytes are no key of this cipher; where the slots still fit, the library says so.
                self.assertTrue(expect in out or 'cannot be used' in out, out)
        # Nor is such a one made; it may be looked at.
        self.put('t.img', good)
        self.put('t.img', struct.pack('>I', 1000000000), 212)
        self.assertIn('iters: 1000000000', run(IMG, 'info', 't.img'))
        self.assertIn('iter-time', create('luks', 'u.img', MIB, ok=(1,), iter_time=10 ** 9))
        self.put('t.img', good[:300])
        self.assertIn('LUKS', io(where, 'read 0 512', ok=(1,)))
        self.put('t.img', good[:100000])
        io(where, 'read 0 512', ok=(1,))
        create('qcow2', 't.img', MIB)
        good = self.get('t.img')
        where = options('qcow2', 't.img')
        at = good.index(b'\x05\x37\xbe\x77') + 8
        for offset, length, expect in ((0, 2068480, 'invalid place'), (1 << 62, 2068480, 'invalid place'),
                                       (0x50000, 1 << 40, 'invalid place'), (0x50000, 100, 'LUKS'),
                                       (0x40200, 2068480, 'invalid place'), (0x10000000, 2068480, 'LUKS')):
            self.put('t.img', good)
            self.put('t.img', struct.pack('>QQ', offset, length), at)
            self.assertIn(expect, io(where, 'read 0 512', ok=(1,)))

    def test_long_read(self):
        """It goes through a buffer that is much shorter."""
        for fmt in ('luks', 'qcow2'):
            create(fmt, 't.img', 256 * MIB)
            io(options(fmt, 't.img'), 'write -P 7 255M 1M', 'write -P 8 0 64M')
            env = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1')
            p = subprocess.Popen([IO, *SECRETS, '--image-opts', options(fmt, 't.img'), '-c', 'read 0 256M'], env=env,
                                 stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(p.returncode, 0)
            self.assertLess(usage.ru_maxrss * 1024, (256 + 200) * MIB)

    def test_machine(self):
        create('qcow2', 't.img', MIB)
        out = run('python3', '-c', f'''
import json, subprocess, sys
p = subprocess.Popen([{SYSTEM!r}, '-accel', 'qtest', '-S', '-display', 'none', '-M', 'none', '-nodefaults', '-qmp', 'stdio',
    '-object', 'secret,id=one,data=pass-one', '-object', 'secret,id=bad,data=pass-bad'],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
def call(name, **args):
    p.stdin.write(json.dumps({{'execute': name, 'arguments': args}}) + chr(10)); p.stdin.flush()
    while True:
        a = json.loads(p.stdout.readline())
        if 'return' in a or 'error' in a:
            return a
call('qmp_capabilities')
for s in ('bad', 'one'):
    print(call('blockdev-add', **{{'driver': 'qcow2', 'node-name': 'n', 'encrypt': {{'format': 'luks', 'key-secret': s}},
        'file': {{'driver': 'file', 'filename': 't.img'}}}}))
n = [x for x in call('query-named-block-nodes')['return'] if x['node-name'] == 'n'][0]
print(n['encrypted'], n['image']['encrypted'], n['image']['format-specific']['data']['encrypt']['cipher-alg'])
call('quit'); p.wait()
''')
        self.assertIn('Invalid password', out)
        self.assertIn('True True aes-256', out)


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0]] + sys.argv[4:])
