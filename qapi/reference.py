#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference manual of QMP, in Markdown, from the schema alone.

    reference.py --output qmp-reference.md schema/a.qapi schema/b.qapi ..."""
import argparse
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from schema import Schema, SchemaError  # noqa: E402

FLAGS = {"oob": "may be sent out of band", "preconfig": "works before the machine is made (`--preconfig`)",
         "raw": "takes further members, which the types themselves declare"}


def anchor(name):
    return re.sub(r"[^a-z0-9_-]", "", name.lower())


def type_text(ref):
    name = f"[{ref.name}](#{anchor(ref.name)})" if ref.declaration else f"`{ref.name}`"
    return f"list of {name}" if ref.is_list else name


def notes(thing):
    words = [f"*{feature}*" for feature in thing.features]
    return f" ({', '.join(words)})" if words else ""


def one_line(text):
    return text.replace("\n", " ")


def member_lines(decl, indent=""):
    for member in decl.all_members():
        optional = ", optional" if member.optional else ""
        doc = f": {one_line(member.doc)}" if member.doc else ""
        yield f"{indent}- `{member.name}` ({type_text(member.type)}{optional}){notes(member)}{doc}"
    for case in decl.cases:
        if case.type:
            yield f"{indent}- if `{decl.tag}` is `{case.name}`: the members of {type_text(case.type)}"


def arguments(decl, title):
    if not decl.args:
        return
    yield ""
    yield f"{title}:"
    yield ""
    if decl.args.declaration.anonymous:
        yield from member_lines(decl.args.declaration)
    else:
        yield f"the members of {type_text(decl.args)}"


def command_lines(decl):
    yield from arguments(decl, "Arguments")
    if decl.result:
        yield ""
        yield f"Returns: {type_text(decl.result)}"
    for flag in decl.flags:
        yield ""
        yield f"This command {FLAGS[flag]}."


def type_lines(decl):
    yield ""
    if decl.kind == "enum":
        for value in decl.members:
            doc = f": {one_line(value.doc)}" if value.doc else ""
            yield f"- `{value.name}`{notes(value)}{doc}"
    elif decl.kind == "alternate":
        yield "One of:"
        yield ""
        for member in decl.members:
            yield f"- {type_text(member.type)}: {one_line(member.doc) or member.name}"
    else:
        yield from member_lines(decl)


def entry(decl):
    yield f"### {decl.name}"
    yield ""
    yield decl.doc + notes(decl)
    if decl.kind == "command":
        yield from command_lines(decl)
    elif decl.kind == "event":
        yield from arguments(decl, "Data")
    else:
        yield from type_lines(decl)
    yield ""


def manual(schema):
    yield "# Reference of QMP"
    yield ""
    yield "Every command, event and type that Kiln knows. Names and shapes are those of QEMU 7.2."
    yield ""
    shown = [decl for decl in schema.declarations if not decl.anonymous]
    for title, kinds in (("Commands", {"command"}), ("Events", {"event"}),
                         ("Types", {"enum", "struct", "union", "alternate"})):
        yield f"## {title}"
        yield ""
        for decl in sorted((decl for decl in shown if decl.kind in kinds), key=lambda decl: decl.name.lower()):
            yield from entry(decl)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    try:
        text = "\n".join(manual(Schema(args.files)))
    except SchemaError as error:
        sys.exit(f"{error}")
    with open(args.output, "w", encoding="utf-8") as f:
        f.write(text)


if __name__ == "__main__":
    main()
