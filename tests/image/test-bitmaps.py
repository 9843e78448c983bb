#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dirty bitmaps, persistent and not: kiln-img and QMP, with qemu-img and qemu-nbd as the judges.

usage: test-bitmaps.py QCOW2-TOOL KILN-IMG KILN-SYSTEM
"""
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOOL, IMG, SYSTEM = (os.path.abspath(a) for a in sys.argv[1:4])
LIMIT = 120  # seconds for what takes a fraction of one: only a hang meets it
MIB = 1024 * 1024
COMMAND = 'block-dirty-bitmap-'


def run(*args, ok=(0,)):
    p = subprocess.run([str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=LIMIT)
    if p.returncode not in ok:
        raise AssertionError(f"{' '.join(map(str, args))}: {p.returncode}\n{p.stdout}")
    return p.stdout


def tool(*args, **kw):
    return run(TOOL, *args, **kw)


def bitmap(*args, **kw):
    return run(IMG, 'bitmap', *args, **kw)


def qemu_img(*args, **kw):
    return run('qemu-img', *args, **kw)


def options(**kw):
    return ','.join(f'{k}={v}' for k, v in kw.items())


class Machine:
    """A VM without CPUs that run, for QMP."""

    def __init__(self, *args, program=None):
        program = program or SYSTEM
        accel = 'qtest' if program == SYSTEM else 'tcg'
        self.process = subprocess.Popen(
            [program, '-accel', accel, '-S', '-display', 'none', '-M', 'none', '-nodefaults', '-qmp', 'stdio', *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()
        self('qmp_capabilities')

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            if exc[0]:
                self.process.kill()
            else:
                self('quit')
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(LIMIT)

    def read(self):
        while True:
            line = self.process.stdout.readline()
            assert line, 'the machine is gone'
            answer = json.loads(line)
            if 'event' not in answer:
                return answer

    def __call__(self, command, **args):
        args = {k.replace('_', '-'): v for k, v in args.items()}
        self.process.stdin.write(json.dumps({'execute': command, 'arguments': args}) + '\n')
        self.process.stdin.flush()
        answer = self.read()
        return answer['return'] if 'return' in answer else answer['error']['desc']

    def bitmaps(self, node):
        for n in self('query-named-block-nodes'):
            if n['node-name'] == node:
                return {b['name']: b for b in n.get('dirty-bitmaps', [])}
        return None


class Bitmaps(unittest.TestCase):
    def setUp(self):
        self.old = os.getcwd()
        self.dir = tempfile.mkdtemp(prefix='kiln-bitmaps-')
        os.chdir(self.dir)

    def tearDown(self):
        os.chdir(self.old)
        shutil.rmtree(self.dir)

    def get(self, name):
        with open(name, 'rb') as f:
            return f.read()

    def put(self, name, data):
        with open(name, 'wb') as f:
            f.write(data)

    def sound(self, image):
        qemu_img('check', '-f', 'qcow2', image)
        self.assertIn('No errors', run(IMG, 'check', '-f', 'qcow2', image))

    # ---- persistent dirty bitmaps ---------------------------------------------------------------

    def bitmaps(self, image):
        info = json.loads(qemu_img('info', '--output=json', image))['format-specific']['data']
        return {b['name']: (sorted(b['flags']), b['granularity']) for b in info.get('bitmaps', [])}

    def dirty(self, name, size, image='t.qcow2'):
        """The dirty ranges as QEMU sees them: a server shows the bitmap."""
        sock = os.path.join(self.dir, 'nbd.sock')
        pid = os.path.join(self.dir, 'nbd.pid')  # is there when the socket is
        server = subprocess.Popen(['qemu-nbd', '-r', '-f', 'qcow2', '-k', sock, '--pid-file', pid, '-B', name, image])
        try:
            while not os.path.exists(pid) and server.poll() is None:
                time.sleep(0.01)
            out = qemu_img('map', '--output=json', '--image-opts',
                           f'driver=nbd,server.type=unix,server.path={sock},x-dirty-bitmap=qemu:dirty-bitmap:{name}')
        finally:
            server.wait(LIMIT)
            for name in (sock, pid):
                if os.path.exists(name):
                    os.unlink(name)
        # A dirty extent looks like one without data there.
        return [(e['start'], e['start'] + e['length']) for e in json.loads(out) if not e['data']]

    def test_images(self):
        for maker, opts in itertools.product(('kiln', 'qemu'), ({}, {'cluster_size': 512}, {'extended_l2': 'on'})):
            with self.subTest(maker=maker, opts=opts):
                tool('create', 't.qcow2', options(size=16 * MIB, **opts))
                if maker == 'kiln':
                    bitmap('--add', '-g', 65536, 't.qcow2', 'b0')
                    bitmap('--add', '-g', 4096, 't.qcow2', 'b1')
                    bitmap('--disable', 't.qcow2', 'b1')
                else:
                    qemu_img('bitmap', '--add', '-g', 65536, 't.qcow2', 'b0')
                    qemu_img('bitmap', '--add', '-g', 4096, '--disable', 't.qcow2', 'b1')
                self.assertEqual(self.bitmaps('t.qcow2'), {'b0': (['auto'], 65536), 'b1': ([], 4096)})
                self.assertIn('"b1"', tool('info', 't.qcow2'))
                self.sound('t.qcow2')
                tool('zero', 't.qcow2', '', 70000, 100)
                tool('zero', 't.qcow2', '', 10 * MIB, 2 * MIB)
                self.sound('t.qcow2')
                self.assertEqual(self.dirty('b0', 16 * MIB), [(65536, 131072), (10 * MIB, 12 * MIB)])
                self.assertEqual(self.dirty('b1', 16 * MIB), [])
                run('qemu-io', '-f', 'qcow2', '-c', f'write {3 * MIB} 4096', 't.qcow2')
                bitmap('--merge', 'b0', 't.qcow2', 'b1')
                both = [(65536, 131072), (3 * MIB, 3 * MIB + 65536), (10 * MIB, 12 * MIB)]
                self.assertEqual(self.dirty('b1', 16 * MIB), both)
                bitmap('--clear', 't.qcow2', 'b0')
                self.assertEqual(self.dirty('b0', 16 * MIB), [])
                tool('resize', 't.qcow2', 11 * MIB)
                self.assertEqual(self.dirty('b1', 11 * MIB), both[:2] + [(10 * MIB, 11 * MIB)])
                tool('resize', 't.qcow2', 20 * MIB)
                self.assertEqual(self.dirty('b1', 20 * MIB), both[:2] + [(10 * MIB, 11 * MIB)])
                self.sound('t.qcow2')
                bitmap('--remove', 't.qcow2', 'b0')
                self.assertEqual(list(self.bitmaps('t.qcow2')), ['b1'])
                bitmap('--remove', 't.qcow2', 'b1')
                self.assertEqual(self.bitmaps('t.qcow2'), {})
                self.sound('t.qcow2')

    def bits_at(self, image):
        """Where the first bitmap's table is."""
        data = self.get(image)
        at = data.index(struct.pack('>I', 0x23852875))
        directory, = struct.unpack_from('>Q', data, at + 24)
        return struct.unpack_from('>Q', data, directory)[0]

    def test_bits_lost(self):
        """Bits that lie beyond the end of the file, whole or in part, count as dirty: a backup copies too much, not too little."""
        for there in (0, 16):
            tool('create', 't.qcow2', options(size=4 * MIB))
            bitmap('--add', '-g', 4096, 't.qcow2', 'p')
            tool('zero', 't.qcow2', '', 0, 4096)
            table = self.bits_at('t.qcow2')
            end = (os.path.getsize('t.qcow2') + 65535) // 65536 * 65536
            with open('t.qcow2', 'r+b') as f:
                f.seek(table)
                f.write(struct.pack('>Q', end))
                f.truncate(end + there)
            with Machine('-blockdev', 'driver=qcow2,node-name=t,file.driver=file,file.filename=t.qcow2') as m:
                self.assertEqual(m.bitmaps('t')['p']['count'], 4 * MIB)

    def test_images_bad(self):
        self.put('t.raw', bytes(MIB))
        tool('create', 't.qcow2', options(size=MIB))
        bitmap('--add', 't.qcow2', 'b0')
        for args, expect in (
                (('--add', 't.qcow2', 'b0'), 'already exists'), (('--add', '-g', 1000, 't.qcow2', 'b1'), 'power of 2'),
                (('--add', '-g', 256, 't.qcow2', 'b1'), 'power of 2'), (('--add', 't.qcow2', 'x' * 1024), 'too long'),
                (('--add', 't.qcow2', ''), 'empty'), (('--clear', 't.qcow2', 'no'), 'not found'),
                (('--remove', 't.qcow2', 'no'), 'not found'), (('--merge', 'no', 't.qcow2', 'b0'), 'not found'),
                (('--merge', 'b0', 't.qcow2', 'no'), 'not found'),
                (('--add', '-f', 'raw', 't.raw', 'b'), 'not supported')):
            self.assertIn(expect, bitmap(*args, ok=(1,)))
        tool('create', 'm.qcow2', options(size=MIB))
        # What cannot be merged from is known before anything is added.
        self.assertIn('no.qcow2', bitmap('--add', '--merge', 'b', '-b', 'no.qcow2', 'm.qcow2', 'b2', ok=(1,)))
        self.assertEqual(self.bitmaps('m.qcow2'), {})
        self.assertIn('remove them', tool('amend', 't.qcow2', 'compat=0.10', ok=(1,)))
        tool('create', 'v2.qcow2', options(size=MIB, compat='0.10'))
        self.assertIn('v2', bitmap('--add', 'v2.qcow2', 'b', ok=(1,)))
        # Whoever dies with the image open leaves the bitmap in use: nobody believes it.
        data = self.get('t.qcow2')
        at = data.index(b'b0', 65536) - 24
        with open('t.qcow2', 'r+b') as f:
            f.seek(at + 12)
            f.write(struct.pack('>I', 3))
        self.assertIn('inconsistent', bitmap('--clear', 't.qcow2', 'b0', ok=(1,)))
        tool('zero', 't.qcow2', '', 0, 4096)
        self.assertEqual(self.bitmaps('t.qcow2'), {'b0': (['auto', 'in-use'], 65536)})
        self.assertIn('inconsistent', tool('resize', 't.qcow2', 2 * MIB, ok=(1,)))
        self.sound('t.qcow2')
        bitmap('--remove', 't.qcow2', 'b0')
        self.assertEqual(self.bitmaps('t.qcow2'), {})
        self.sound('t.qcow2')

    # ---- QMP ------------------------------------------------------------------------------------

    def disks(self):
        """Images and the options that open them."""
        tool('create', 'a.qcow2', options(size=16 * MIB, cluster_size='2M'))
        tool('create', 'v2.qcow2', options(size=MIB, compat='0.10'))
        tool('create', 'ro.qcow2', options(size=MIB))
        bitmap('--add', 'ro.qcow2', 'p0')
        self.put('a.raw', bytes(16 * MIB))
        args = []
        for name, driver, extra in (('a', 'qcow2', ''), ('v2', 'qcow2', ''), ('ro', 'qcow2', ',read-only=on'),
                                    ('raw', 'raw', '')):
            file = 'a.raw' if name == 'raw' else f'{name}.qcow2'
            args += ['-blockdev', f'driver={driver},node-name={name},file.driver=file,file.filename={file}{extra}']
        return args

    def script(self, m):
        """What both must answer alike."""
        out = []

        def do(command, **args):
            out.append((command, str(args)[:60], m(COMMAND + command, **args)))
        do('add', node='a', name='b0')
        do('add', node='a', name='b0')
        do('add', node='nope', name='b0')
        do('add', node='a', name='')
        do('add', node='a', name='x' * 1024)
        for granularity in (1000, 256, 0, 1 << 30):
            do('add', node='a', name='b1', granularity=granularity)
        do('add', node='a', name='p1', persistent=True, granularity=512, disabled=True)
        do('add', node='a', name='p2', persistent=True)
        do('add', node='raw', name='p', persistent=True)
        do('add', node='raw', name='b')
        for command in ('clear', 'remove', 'enable', 'disable'):
            do(command, node='a', name='no')
            do(command, node='ro', name='p0')
            do(command, node='no', name='p0')
        do('enable', node='a', name='p1')
        do('enable', node='a', name='p1')
        do('disable', node='a', name='b0')
        do('merge', node='a', target='p1', bitmaps=['b0', 'p2'])
        do('merge', node='a', target='p1', bitmaps=['b0', 'no'])
        do('merge', node='a', target='no', bitmaps=['b0'])
        do('merge', node='a', target='p1', bitmaps=[{'node': 'raw', 'name': 'b'}])
        do('merge', node='a', target='p1', bitmaps=[{'node': 'ro', 'name': 'p0'}])
        do('merge', node='a', target='p1', bitmaps=[{'node': 'no', 'name': 'p0'}])
        do('merge', node='a', target='p1', bitmaps=['p1'])
        do('remove', node='a', name='p2')
        do('clear', node='a', name='p1')
        out += [(n, m.bitmaps(n)) for n in ('a', 'raw', 'ro', 'v2')]
        out.append(m('x-debug-block-dirty-bitmap-sha256', node='a', name='b0'))
        return out

    def test_qmp(self):
        said = []
        for program in (SYSTEM, 'qemu-system-x86_64'):
            with Machine(*self.disks(), program=program) as m:
                said.append(self.script(m))
            self.assertEqual(self.bitmaps('a.qcow2'), {'p1': (['auto'], 512)})
            self.sound('a.qcow2')
        for kiln, qemu in zip(*said):
            self.assertEqual(kiln, qemu)

    def test_qmp_refused(self):
        with Machine(*self.disks()) as m:
            self.assertIn('v2', m(COMMAND + 'add', node='v2', name='p', persistent=True))
            self.assertIn('read-only', m(COMMAND + 'add', node='ro', name='p', persistent=True))
            self.assertIn('too long', m(COMMAND + 'add', node='a', name='x' * 1024, persistent=True))
            self.assertEqual(m(COMMAND + 'add', node='ro', name='b'), {})
            self.assertEqual(m(COMMAND + 'merge', node='ro', target='b', bitmaps=[]), {})
            self.assertIn('2', m(COMMAND + 'add', node='a', name='g', granularity=1 << 32))

    def transactions(self, m):
        """What both must answer alike."""
        out = []

        def action(name, bitmap='b0', node='a', **args):
            return {'type': COMMAND + name, 'data': {'node': node, 'name': bitmap, **args}}

        def merge(target, *bitmaps):
            return {'type': COMMAND + 'merge', 'data': {'node': 'a', 'target': target, 'bitmaps': list(bitmaps)}}

        def do(*actions, **args):
            out.append((actions, args, m('transaction', actions=list(actions), **args)))
            for node in ('a', 'raw'):
                found = m.bitmaps(node)
                digests = {n: m('x-debug-block-dirty-bitmap-sha256', node=node, name=n) for n in sorted(found)}
                out.append((sorted(found.items()), digests))
        abort = {'type': 'abort', 'data': {}}
        do()
        do(abort)
        do(action('add'), action('add', 'b1', granularity=512, disabled=True), action('add', 'r', 'raw'))
        m('human-monitor-command', command_line='qemu-io a "write -q 1M 3M"')
        m('human-monitor-command', command_line='qemu-io raw "write -q 8M 64k"')
        external = {'node': 'raw', 'name': 'r'}
        do(merge('b1', 'b0', external), action('clear'), action('disable'), action('enable', 'b1'))
        m('human-monitor-command', command_line='qemu-io a "write -q 6M 100k"')
        # Everything is undone, in whatever order.
        for last in (abort, action('add', 'b1'), action('remove', 'no'), merge('b0', 'no'), merge('no', 'b0'), action('clear', node='no'),
                     action('add', 'n', granularity=3), action('clear', 'b2')):
            do(action('clear', 'b1'), action('enable'), action('add', 'b2'), merge('b2', 'b0', external), action('disable', 'b1'),
               merge('b0', 'b2'), action('clear', 'b0'), action('add', 'p', persistent=True), action('disable', 'p'),
               action('remove', 'b2'), action('remove', 'b0'), last)
        do(action('remove'), abort)
        do(action('clear'), action('enable'), action('remove'))
        do(action('add'), action('add', 'b3'), properties={'completion-mode': 'individual'})
        do(action('add', 'b4'), properties={'completion-mode': 'grouped'})
        do(properties={'completion-mode': 'grouped'})
        do(action('add', 'p', persistent=True), action('remove', 'b3'))
        do(action('clear', 'p0', 'ro'), action('clear', 'b1'))
        for bad in ({'type': 'foo', 'data': {}}, {'type': COMMAND + 'add'}, {'type': 'abort', 'data': {'x': 1}}):
            self.assertRegex(m('transaction', actions=[bad]), "Parameter '.*(type|data|x)'")
        return out

    def test_transaction(self):
        said = []
        for program in (SYSTEM, 'qemu-system-x86_64'):
            with Machine(*self.disks(), program=program) as m:
                said.append(self.transactions(m))
            self.assertEqual(list(self.bitmaps('a.qcow2')), ['p'])
            self.sound('a.qcow2')
        for kiln, qemu in zip(*said):
            self.assertEqual(kiln, qemu)

    def test_handed_over(self):
        """What one has recorded, the other sees, byte by byte."""
        tool('create', 't.qcow2', options(size=16 * MIB + 512))
        bitmap('--add', '-g', 512, 't.qcow2', 'fine')
        bitmap('--add', '-g', MIB, 't.qcow2', 'coarse')
        tool('zero', 't.qcow2', '', 3 * MIB + 512, 1536)
        tool('zero', 't.qcow2', '', 16 * MIB, 512)
        run('qemu-io', '-f', 'qcow2', '-c', f'write {5 * MIB} 70000', 't.qcow2')
        disk = ['-blockdev', 'driver=qcow2,node-name=t,file.driver=file,file.filename=t.qcow2']
        seen = []
        for program in (SYSTEM, 'qemu-system-x86_64', SYSTEM):
            with Machine(*disk, program=program) as m:
                seen.append((m.bitmaps('t'), [m('x-debug-block-dirty-bitmap-sha256', node='t', name=n)
                                              for n in ('fine', 'coarse')]))
        self.assertEqual(seen[0][0]['coarse']['count'], 3 * MIB)
        self.assertEqual(seen[0][0]['fine']['count'], 1536 + 512 + 70144)
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])

    def test_reopened(self):
        """Read-only, everything is in the file; read-write again, it is in use. And a bitmap outlives its node."""
        tool('create', 't.qcow2', options(size=MIB))
        node = {'driver': 'qcow2', 'node-name': 't', 'file': 'f'}
        with Machine('-blockdev', 'driver=file,node-name=f,filename=t.qcow2,auto-read-only=on') as m:
            self.assertEqual(m('blockdev-add', **node), {})
            self.assertEqual(m(COMMAND + 'add', node='t', name='p', persistent=True), {})
            self.assertEqual(m('blockdev-reopen', options=[dict(node, **{'read-only': True})]), {})
            self.assertEqual(self.bitmaps('t.qcow2'), {'p': (['auto'], 65536)})
            self.assertIn('readonly', m(COMMAND + 'clear', node='t', name='p'))
            self.assertEqual(m('blockdev-reopen', options=[node]), {})
            self.assertEqual(json.loads(qemu_img('info', '-U', '--output=json', 't.qcow2'))
                             ['format-specific']['data']['bitmaps'][0]['flags'], ['in-use', 'auto'])
            self.assertEqual(m(COMMAND + 'disable', node='t', name='p'), {})
            self.assertEqual(m('blockdev-del', node_name='t'), {})
            self.assertEqual(self.bitmaps('t.qcow2'), {'p': ([], 65536)})
            self.assertEqual(m('blockdev-add', **node), {})
            self.assertEqual(m('block_resize', node_name='t', size=2 * MIB), {})
            self.assertEqual(m.bitmaps('t')['p']['recording'], False)
            self.assertEqual(m(COMMAND + 'enable', node='t', name='p'), {})
        self.sound('t.qcow2')

    def test_killed(self):
        """A process that dies leaves its bitmap inconsistent: for both."""
        tool('create', 't.qcow2', options(size=MIB))
        bitmap('--add', 't.qcow2', 'p')
        disk = ['-blockdev', 'driver=qcow2,node-name=t,file.driver=file,file.filename=t.qcow2']
        m = Machine(*disk)
        m.process.kill()
        m.process.wait(LIMIT)
        m.__exit__(None)
        qemu_img('check', 't.qcow2')
        seen = []
        for program in (SYSTEM, 'qemu-system-x86_64'):
            with Machine(*disk, program=program) as m:
                seen.append((m.bitmaps('t'), m(COMMAND + 'enable', node='t', name='p')))
        self.assertTrue(seen[0][0]['p']['inconsistent'])
        self.assertEqual(seen[0][0], seen[1][0])
        for _, answer in seen:
            self.assertIn("Bitmap 'p' is inconsistent and cannot be used", answer)
        with Machine(*disk) as m:
            self.assertEqual(m(COMMAND + 'remove', node='t', name='p'), {})
        self.assertEqual(self.bitmaps('t.qcow2'), {})
        self.sound('t.qcow2')


if __name__ == '__main__':
    unittest.main(argv=[sys.argv[0]] + sys.argv[4:])
