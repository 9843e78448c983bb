#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of two CPU models is the larger one, and what they have in common. QEMU has these commands for other processors
only, so there is no oracle: the answers are held against each other. (Expansions: tests/oracle/cpu-models.py.) TAP.

    test-cpu-models.py KILN-SYSTEM"""
import itertools
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "cli")]
from harness import Suite, check  # noqa: E402
from qmpclient import Machine  # noqa: E402

BINARY = os.path.abspath(sys.argv[1])
suite = Suite(BINARY)
test = suite.test


def same(got, expected):
    check(got == expected, "%r, expected %r" % (got, expected))


def model(name, **props):
    return {"name": name, "props": props} if props else {"name": name}


def compare(c, a, b):
    reply = c.do("query-cpu-model-comparison", modela=a, modelb=b)
    return reply["result"], sorted(reply["responsible-properties"])


def baseline(c, a, b):
    return c.do("query-cpu-model-baseline", modela=a, modelb=b)["model"]


@test("one model and changes of it")
def _():
    with Machine(BINARY) as m:
        c = m.connect()
        whole, less, other = model("qemu64"), model("qemu64", cx16=False), model("qemu64", fxsr=False)
        same(compare(c, whole, whole), ("identical", []))
        same(compare(c, whole, less), ("superset", ["cx16"]))
        same(compare(c, less, whole), ("subset", ["cx16"]))
        same(compare(c, less, other), ("incompatible", ["cx16", "fxsr"]))
        same(compare(c, whole, model("qemu64", vendor="GenuineIntel")), ("incompatible", ["vendor"]))
        same(compare(c, whole, model("qemu64", stepping=3)), ("superset", ["stepping"]))
        same(compare(c, model("qemu64", cx16=False, stepping=3), whole), ("subset", ["cx16", "stepping"]))
        common = baseline(c, less, other)
        same(common["name"], "base")
        same((common["props"]["cx16"], common["props"]["fxsr"], common["props"]["sse2"]), (False, False, True))
        same(compare(c, common, whole), ("subset", ["cx16", "fxsr"]))


@test("what two models have in common is less than each, and can be started")
def _():
    names = ("Nehalem", "Haswell-noTSX", "Skylake-Server", "Cooperlake", "EPYC", "EPYC-Milan", "Opteron_G5", "Dhyana")
    with Machine(BINARY) as m:
        c = m.connect()
        vendors = {name: c.do("query-cpu-model-expansion", type="static", model=model(name))["model"]["props"]["vendor"] for name in names}
        pairs = 0
        for a, b in itertools.combinations_with_replacement(names, 2):
            if vendors[a] != vendors[b]:
                same(compare(c, model(a), model(b))[0], "incompatible")
                refused = c.command("query-cpu-model-baseline", modela=model(a), modelb=model(b))
                check("error" in refused and vendors[a] in refused["error"]["desc"], refused)
                continue
            common = baseline(c, model(a), model(b))
            for name in (a, b):
                check(compare(c, common, model(name))[0] in ("subset", "identical"), (a, b, name))
                check(compare(c, model(name), common)[0] in ("superset", "identical"), (a, b, name))
            same(compare(c, common, common), ("identical", []))
            same(baseline(c, model(b), model(a)), common)
            pairs += 1
        check(pairs > 10, "only %d pairs are of one vendor" % pairs)
        props = ",".join("%s=%s" % (key, ("off", "on")[value] if isinstance(value, bool) else value)
                         for key, value in common["props"].items())
    with Machine(BINARY, "-cpu", "base," + props) as m:
        same(m.connect().do("query-status")["running"], True)


@test("what is no model, or none of its properties")
def _():
    with Machine(BINARY) as m:
        c = m.connect()
        for command in ("query-cpu-model-comparison", "query-cpu-model-baseline"):
            for args, words in (({}, "modela"), ({"modela": model("qemu64")}, "modelb"),
                                ({"modela": model("none"), "modelb": model("qemu64")}, "CPU model 'none' not found"),
                                ({"modela": model("qemu64"), "modelb": model("none")}, "CPU model 'none' not found"),
                                ({"modela": model("qemu64", none=1), "modelb": model("qemu64")}, "none"),
                                ({"modela": model("qemu64"), "modelb": {"name": "qemu64", "props": 1}}, "'modelb.props'"),
                                ({"modela": "qemu64", "modelb": model("qemu64")}, "modela")):
                reply = c.command(command, **args)
                check("error" in reply and words in reply["error"]["desc"], (command, args, reply))


sys.exit(suite.run())
