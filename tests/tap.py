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
    here = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != os.path.abspath(__file__)]
    return "".join(traceback.format_list(here[:2])) + str(error or repr(error))


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
        name, result, note = function.__name__.replace("_", " "), "ok", ""
        directory = os.path.join(home, str(number))
        os.mkdir(directory)
        os.chdir(directory)
        try:
            function()
        except Skip as reason:
            note = " # SKIP %s" % reason
        except Exception as error:  # pylint: disable=broad-except
            result, failed = "not ok", failed + 1
            print("# " + why(error).replace("\n", "\n# "))
        after()
        os.chdir(home)
        shutil.rmtree(directory, ignore_errors=True)
        print("%s %d %s%s" % (result, number, name, note), flush=True)
    os.chdir("/")
    shutil.rmtree(home, ignore_errors=True)
    return 1 if failed else 0
