#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A file includes only files of its own room or of lower floors (docs/architecture.md, "Rooms and floors")."""
import os
import re
import subprocess
import sys

FLOORS = [
    {"util", "qapi"}, {"core"}, {"backends"}, {"accel", "block", "chardev", "ui"}, {"net", "nbd"},
    {"hw"},  # devices; hw/i386 is a floor of its own
    {"hw/i386"}, {"dump"}, {"monitor", "migration"}, {"system", "img"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path):
    parts = path.split("/")
    if parts[0] == "hw" and len(parts) > 1 and parts[1] == "i386":
        return "hw/i386"
    return parts[0] if parts[0] in FLOOR else None


def main():
    root = sys.argv[1]
    files = subprocess.run(["git", "-C", root, "ls-files", "*.c", "*.h"], capture_output=True, text=True, check=True)
    bad = checked = 0
    for path in files.stdout.split():
        room = room_of(path)
        if room is None:
            continue
        with open(os.path.join(root, path), encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                other = match and room_of(match.group(1))
                if not other:
                    continue
                checked += 1
                if other == room or FLOOR[other] < FLOOR[room]:
                    continue
                if (room, other) == ("qapi", "util"):  # qapi stands on util, on the same floor
                    continue
                if "hw" in (other, room) and FLOOR[other] == FLOOR[room]:
                    continue
                print(f"# {path}:{number}: {room} (floor {FLOOR[room]}) includes {match.group(1)} (floor {FLOOR[other]})")
                bad += 1
    print("1..1")
    print(f"{'not ok' if bad or not checked else 'ok'} 1 layering: {checked} includes, {bad} upwards")
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
