# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that are functions, in the order in which the file has them; main() runs each in an empty directory of its own
and prints TAP."""
import os
import re
import shutil
import sys
import tempfile
import traceback

TESTS = []


class Skip(Exception):
    """What a test that cannot be run here raises."""


def test(function):
    TESTS.append(function)
    return function


def why(error):
    """What went wrong, and the line of the test file where."""
    here = [frame for frame in traceback.extract_tb(error.__traceback__) if os.path.realpath(frame.filename) != os.path.realpath(__file__)]
    return "".join(traceback.format_list(here[:2])) + str(error or repr(error))


def run_one(number, name, function, *args):
    """Prints what became of it. False: it failed."""
    result, note = "ok", ""
    try:
        function(*args)
    except Skip as reason:
        note = " # SKIP %s" % reason
    except Exception as error:  # pylint: disable=broad-except
        result = "not ok"
        print("# " + why(error).replace("\n", "\n# "))
    print("%s %d %s%s" % (result, number, name, note), flush=True)
    return result == "ok"


def run_cases(prefix, cases):
    """Cases of one test: (name, function, its arguments...) each, in one directory of their own, where a generator may prepare
    the next one. The exit status."""
    here, home = os.getcwd(), tempfile.mkdtemp(prefix=prefix)
    failed = number = 0
    os.chdir(home)
    for number, (name, function, *args) in enumerate(cases, 1):
        failed += not run_one(number, name, function, *args)
    os.chdir(here)
    shutil.rmtree(home, ignore_errors=True)
    print("1..%d" % number)
    return 1 if failed else 0


def main(prefix, after=lambda: None):
    """The words on the command line (not paths or options): only tests whose name contains one of them.
    after: run behind each test, whatever became of it. The exit status."""
    names = [a for a in sys.argv[1:] if re.fullmatch(r"\w+", a)]
    chosen = [f for f in TESTS if not names or any(word in f.__name__ for word in names)]
    home = tempfile.mkdtemp(prefix=prefix)
    failed = 0
    os.environ["LC_ALL"] = "C"
    os.environ["TZ"] = "UTC"
    print("1..%d" % len(chosen))
    for number, function in enumerate(chosen, 1):
        directory = os.path.join(home, str(number))
        os.mkdir(directory)
        os.chdir(directory)
        failed += not run_one(number, function.__name__.replace("_", " "), function)
        after()
        os.chdir(home)
        shutil.rmtree(directory, ignore_errors=True)
    os.chdir("/")
    shutil.rmtree(home, ignore_errors=True)
    return 1 if failed else 0
