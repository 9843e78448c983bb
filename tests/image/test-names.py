#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Names in qcow2 images that are no text: with NUL bytes, bytes that are no UTF-8, control characters. What kiln-img prints for
people is byte for byte what qemu-img prints, its JSON is JSON, and an image stays usable as long as what is named is plain. TAP.

usage: test-names.py KILN-IMG
"""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from damage import Tables, number, put, u64
from imgtest import KILN, LIMIT, ok, qemu
from tap import run_cases

FEATURES, BACKING_FORMAT, DATA_FILE = 0x6803f857, 0xe2792aca, 0x44415441
LONG = 24   # bytes that each name has in the file

NAMES = {
    'a NUL byte': b'one\0two',
    'NUL bytes to the end': b'x' + b'\0' * (LONG - 1),
    'bytes that are never UTF-8': b'on\xff\xfetwo',
    'a character that is cut off': b'on\xc3two',
    'a character cut off at the end': b'x' * (LONG - 1) + b'\xe2',
    'a half of a surrogate pair': b'\xed\xa0\x80two',
    'a number that is no character': b'\xf4\x90\x80\x80two',
    'control characters': b'one\n\t\x1b[2J\x7f',
    'what JSON escapes': b'"\\one\\"',
    'characters of many bytes': '€ \N{GRINNING FACE} ä'.encode(),
}


def run(tool, *args):
    p = subprocess.run([tool, *args], capture_output=True, timeout=LIMIT)
    return p.returncode, re.sub(rb'disk size: .*', b'', p.stdout), p.stderr.replace(b'kiln-img', b'qemu-img')


def same(*args):
    ours, theirs = run(KILN, *args), run('qemu-img', *args)
    assert ours == theirs, f'{args}:\n{ours}\nqemu-img:\n{theirs}'
    return ours


def facts(*args):
    """As JSON; how many marks stand for what is no text does not matter."""
    found = []
    for tool in (KILN, 'qemu-img'):
        status, out, err = run(tool, 'info', '--output=json', *args)
        assert status == 0, err
        whole = json.loads(re.sub('(\\\\u[Ff]{3}[Dd])+', '?', out.decode()))
        found.append([whole.get(key) for key in ('snapshots', 'backing-filename', 'full-backing-filename')] +
                     [whole['format-specific']['data'].get('bitmaps')])
    assert found[0] == found[1], f'{args}:\n{found[0]}\nqemu-img:\n{found[1]}'


def extension(name, kind):
    """Where the data of a header extension is."""
    at = number(name, 100, '>I')
    while number(name, at, '>I') != kind:
        assert number(name, at, '>I')
        at += 8 + (number(name, at + 4, '>I') + 7) // 8 * 8
    return at + 8


def snapshot(name):
    ok('create', '-q', '-f', 'qcow2', 't', '4M')
    ok('snapshot', '-c', 'n' * LONG, 't')
    at = u64(64, 't')
    put('t', at + 40 + number('t', at + 36, '>I') + number('t', at + 12, '>H'), f'{LONG}s', name)
    same('info', 't')
    same('snapshot', '-l', 't')
    same('check', 't')
    facts('t')
    ok('snapshot', '-c', 'another', 't')
    same('check', 't')
    same('snapshot', '-l', 't')


def bitmap(name):
    ok('create', '-q', '-f', 'qcow2', 't', '4M')
    ok('bitmap', '--add', 't', 'n' * LONG)
    ok('bitmap', '--add', 't', 'second')
    put('t', Tables('t').directory + 24, f'{LONG}s', name)
    same('info', 't')
    same('check', 't')
    facts('t')
    ok('bitmap', '--add', 't', 'third')     # which opens the image for writing: QEMU 7.2 cannot, after a NUL byte
    same('info', 't')
    same('check', 't')


def backing(name):
    qemu('create', '-q', '-f', 'raw', 'n' * LONG, '4M')
    ok('create', '-q', '-f', 'qcow2', '-b', 'n' * LONG, '-F', 'raw', 't')
    put('t', u64(8, 't'), f'{LONG}s', name)
    if b'\0' in name:
        status, _, err = run(KILN, 'info', 't')
        assert status == 1 and b'NUL byte' in err, err
    else:
        same('info', 't')
        facts('t')


def feature(name):
    ok('create', '-q', '-f', 'qcow2', 't', '4M')
    at = extension('t', FEATURES)
    put('t', at, '>BB46s', 0, 20, name)
    put('t', 72, '>Q', 1 << 20 | 1 << 33 | 1 << 40)
    assert b'Unsupported qcow2 feature(s): ' in same('info', '-f', 'qcow2', 't')[2]
    same('check', '-f', 'qcow2', 't')


def header(kind, name):
    ok('create', '-q', '-f', 'raw', 'disk', '4M')
    if kind == DATA_FILE:
        ok('create', '-q', '-f', 'qcow2', '-o', 'data_file=data', 't', '4M')
    else:
        ok('create', '-q', '-f', 'qcow2', '-b', 'disk', '-F', 'raw', 't')
    put('t', extension('t', kind), '3s', name)
    status, _, err = run(KILN, 'info', 't')
    assert status == 1 and b'is no name' in err, err


def no_feature_name():
    feature(b'')


def no_bitmap_name():
    """A directory with a name of no length is damaged: the check says so, for qemu-img it is a bitmap without name."""
    ok('create', '-q', '-f', 'qcow2', 't', '4M')
    ok('bitmap', '--add', 't', 'n' * LONG)
    put('t', Tables('t').directory + 24, f'{LONG}s', b'\0one')
    assert run(KILN, 'check', 't')[0] == 2
    ok('check', '-r', 'all', 't')
    same('check', 't')


def cases():
    tests = [(f'{test.__name__}: {what}', test, name) for test in (snapshot, bitmap, feature) for what, name in NAMES.items()]
    tests += [(f'backing: {what}', backing, name if b'\0' in name else name.ljust(LONG, b'n')) for what, name in NAMES.items()]
    tests += [('backing format: a NUL byte', header, BACKING_FORMAT, b'r\0w'), ('data file: a NUL byte', header, DATA_FILE, b'd\0t'),
              ('feature: no name', no_feature_name), ('bitmap: no name', no_bitmap_name)]
    for test in tests:
        for name in os.listdir('.'):
            os.unlink(name)
        yield test


if __name__ == '__main__':
    sys.exit(run_cases('kiln-names-', cases()))
