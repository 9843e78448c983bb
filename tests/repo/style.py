#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""style.py ROOT: what can be counted of how the C sources read.

A file says its licence and has up to 800 lines or so; nine functions in ten have up to 40 lines and none has over 100;
lines have up to 100 columns but for the few that would not be better broken. Prints the worst ones of each kind.
"""
import re
import subprocess
import sys

FILE_LINES, TEST_FILE_LINES = 900, 1200
FUNCTION_LINES, USUAL_LINES, USUAL_SHARE = 100, 40, 0.9
COLUMNS, WIDE_SHARE, WIDEST = 100, 0.03, 170


# GLib's MIN and its like evaluate an argument twice: what the clock or another thread says may differ the second time.
TWICE = re.compile(r"\b(MIN|MAX|CLAMP|ABS)\(.*(clock_monotonic|clock_realtime|clock_now|monotonic_time|real_time|now_of|\bnow\(|atomic_load|CMM_LOAD)")


def functions(lines):
    """(line number of the opening brace, lines between the braces); bodies only, not tables."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{" and start is None:
            start = number
        elif line == "}" and start is not None:
            yield start, number - start - 1
            start = None


def binaries(root):
    """What was left lying about and then added."""
    everything = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for path in everything.split("\0")[:-1]:
        with open(f"{root}/{path}", "rb") as f:
            if b"\0" in f.read():
                yield path


def main():
    root = sys.argv[1]
    files = subprocess.run(["git", "-C", root, "ls-files", "*.c", "*.h"], capture_output=True, text=True, check=True)
    licence, tabs, twice, long_files, lengths, wide, total = [], [], [], [], [], [], 0
    for path in files.stdout.split():
        with open(f"{root}/{path}", encoding="utf-8") as f:
            lines = f.read().split("\n")[:-1]
        total += len(lines)
        if "SPDX-License-Identifier: GPL-2.0-or-later" not in lines[0]:
            licence.append(path)
        if len(lines) > (TEST_FILE_LINES if path.startswith("tests/") else FILE_LINES):
            long_files.append(f"{path}: {len(lines)} lines")
        tabs += [f"{path}:{n}" for n, line in enumerate(lines, 1) if re.search(r"\t|\s$", line)]
        twice += [f"{path}:{n}" for n, line in enumerate(lines, 1) if TWICE.search(line)]
        wide += [(len(line), f"{path}:{n}") for n, line in enumerate(lines, 1) if len(line) > COLUMNS]
        lengths += [(length, f"{path}:{n}") for n, length in functions(lines)]
    usual = sum(length <= USUAL_LINES for length, _ in lengths) / len(lengths)
    lengths.sort(reverse=True)
    wide.sort(reverse=True)
    checks = [
        ("files that do not begin with their licence", licence),
        ("binary files", list(binaries(root))),
        ("tabs, and spaces at the end of a line", tabs),
        ("clocks and atomic variables that MIN, MAX, CLAMP or ABS read twice", twice),
        (f"files of more than {FILE_LINES} lines ({TEST_FILE_LINES}: tests)", long_files),
        (f"functions of more than {FUNCTION_LINES} lines", [f"{at}: {n}" for n, at in lengths if n > FUNCTION_LINES]),
        (f"{usual:.1%} of {len(lengths)} functions have up to {USUAL_LINES} lines",
         [f"{at}: {n}" for n, at in lengths[:20]] if usual < USUAL_SHARE else []),
        (f"{len(wide)} of {total} lines have more than {COLUMNS} columns",
         [f"{at}: {n}" for n, at in wide[:20] if len(wide) > total * WIDE_SHARE or n > WIDEST]),
    ]
    print(f"1..{len(checks)}")
    for number, (what, found) in enumerate(checks, 1):
        print("".join(f"# {line}\n" for line in found), end="")
        print(f"{'not ok' if found else 'ok'} {number} style: {what}")
    return 1 if any(found for _, found in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
