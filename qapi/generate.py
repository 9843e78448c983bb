#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the schema's C: a header and a file of const tables for each schema file, and the command table.

    generate.py --output DIR schema/a.qapi schema/b.qapi ...

makes DIR/qapi-a.h and qapi-a.c (types and events), qapi-index.c (lists of all types and events), and qapi-commands.h
and qapi-commands.c (the table of commands; the only file that names handlers). A file that would not change is left alone, so nothing that includes it
is built again. There is no logic in what it writes: qapi/reader.c and its neighbours walk the tables."""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from schema import POINTERS, SCALARS, Schema, SchemaError, c_constant, c_name  # noqa: E402

INCLUDE = "qapi"
TOP = "/* SPDX-License-Identifier: GPL-2.0-or-later */\n/* Written by qapi/generate.py from {}. */\n"


def c_type(ref):
    """With its blank or star: what stands before the member's name."""
    if ref.is_list:
        return "GPtrArray *" if ref.holds_pointers else "GArray *"
    if ref.declaration:
        return ref.name + (" " if ref.declaration.kind == "enum" else " *")
    return POINTERS.get(ref.name) or SCALARS[ref.name] + " "


def descriptor(ref):
    return f"&qapi_{'list' if ref.is_list else 'type'}_{ref.name}"


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


# ---- declarations


def member_lines(decl, indent="    "):
    for member in decl.all_members():
        if member.optional and not member.type.is_pointer:
            yield f"{indent}bool has_{c_name(member.name)};"
        yield f"{indent}{c_type(member.type)}{c_name(member.name)};"


def struct_lines(decl):
    yield f"struct {decl.name} {{"
    yield from member_lines(decl)
    cases = [case for case in decl.cases if case.type]
    if cases:
        yield "    union {"
        for case in cases:
            yield f"        {case.type.name} {c_name(case.name)};"
        yield "    } u;"
    elif not decl.all_members():
        yield "    char nothing; /* C has no empty structs */"
    yield "};"


def alternate_lines(decl):
    yield f"typedef enum {decl.name}Kind {{"
    for member in decl.members:
        yield f"    {c_constant(decl.name, member.name)},"
    yield f"}} {decl.name}Kind;"
    yield f"struct {decl.name} {{"
    yield f"    {decl.name}Kind kind;"
    yield "    union {"
    for member in decl.members:
        inline = member.type.declaration and not member.type.is_list
        yield f"        {member.type.name + ' ' if inline else c_type(member.type)}{c_name(member.name)};"
    yield "    } u;"
    yield "};"


def enum_lines(decl):
    yield f"typedef enum {decl.name} {{"
    for value in decl.members:
        yield f"    {c_constant(decl.name, value.name)},"
    yield f"}} {decl.name};"
    yield f"#define {c_constant(decl.name, '_count')} {len(decl.members)}"


def by_value(decl):
    """Declarations that must be complete before this one."""
    if decl.kind == "enum":
        return []
    needed = [m.type.declaration for m in decl.all_members() if m.type.declaration and
              (decl.kind == "alternate" and not m.type.is_list or m.type.declaration.kind == "enum")]
    return needed + [case.type.declaration for case in decl.cases if case.type]


def ordered(schema):
    """All types, each after what it holds by value."""
    done, busy, order = set(), set(), []

    def visit(decl):
        if decl.name in done:
            return
        if decl.name in busy:
            Schema.fail(decl, f"{decl.name} contains itself")
        busy.add(decl.name)
        for other in by_value(decl):
            visit(other)
        done.add(decl.name)
        order.append(decl)
    for decl in schema.types.values():
        visit(decl)
    return order


def included_files(schema, name):
    """Files whose headers this one's needs: what it holds by value."""
    found = {other.file for decl in schema.types.values() if decl.file == name for other in by_value(decl)}
    return sorted(found - {name})


def check_file_cycles(schema):
    def visit(name, path):
        if name in path:
            raise SchemaError("these files include each other: " + " -> ".join(path + [name]))
        for other in included_files(schema, name):
            visit(other, path + [name])
    for name in schema.files:
        visit(name, [])


def header(schema, name, order):
    guard = f"QAPI_QAPI_{c_name(name).upper()}_H"
    yield TOP.format(f"qapi/schema/{name}.qapi") + f"#ifndef {guard}\n#define {guard}\n\n#include \"qapi/qapi.h\""
    for other in included_files(schema, name):
        yield f'#include "{INCLUDE}/qapi-{other}.h"'
    yield ""
    own = [decl for decl in order if decl.file == name]
    structs = {decl.name for decl in own if decl.kind != "enum"}
    structs |= {member.type.name for decl in own if decl.kind != "enum" for member in decl.all_members()
                if member.type.declaration and member.type.declaration.kind != "enum"}
    for struct in sorted(structs):
        yield f"typedef struct {struct} {struct};"
    for decl in own:
        yield ""
        yield f"/* {decl.doc.splitlines()[0].replace('*/', '* /')} */"
        yield from {"enum": enum_lines, "alternate": alternate_lines}.get(decl.kind, struct_lines)(decl)
    yield ""
    for decl in own:
        yield f"extern const QapiType qapi_type_{decl.name};"
        if decl.name in schema.lists:
            yield f"extern const QapiType qapi_list_{decl.name};"
    for decl in schema.events.values():
        if decl.file == name:
            yield f"extern const QapiEvent qapi_event_{decl.name};"
    yield "\n#endif"


# ---- tables


def string_list(words):
    """A NULL-ended list as a compound literal, NULL when empty."""
    return "(const char *const[]){" + ", ".join(map(quote, words)) + ", NULL}" if words else "NULL"


def member_rows(decl, place):
    for member in decl.all_members():
        fields = [f".name = {quote(member.name)}", f".type = {descriptor(member.type)}",
                  f".offset = offsetof({decl.name}, {place}{c_name(member.name)})"]
        if member.optional:
            fields.append(".optional = true")
            if not member.type.is_pointer:
                fields.append(f".has_offset = offsetof({decl.name}, has_{c_name(member.name)})")
        if member.features:
            fields.append(f".features = {string_list(member.features)}")
        if member.doc:
            fields.append(f".doc = {quote(member.doc)}")
        yield "    {" + ", ".join(fields) + "},"


def enum_table(decl):
    yield f"static const char *const names_{decl.name}[] = {{"
    for value in decl.members:
        yield f"    {quote(value.name)},"
    yield "    NULL\n};"
    fields = [f".names = names_{decl.name}", f".count = {len(decl.members)}"]
    if any(value.features for value in decl.members):
        yield f"static const char *const *const features_{decl.name}[] = {{"
        for value in decl.members:
            if value.features:
                yield f"    [{c_constant(decl.name, value.name)}] = {string_list(value.features)},"
        yield f"    [{len(decl.members)}] = NULL\n}};"
        fields.append(f".value_features = features_{decl.name}")
    yield from type_row(decl, "QAPI_ENUM", decl.name, fields)


def struct_table(decl):
    members = decl.all_members()
    fields = [f".count = {len(members)}"]
    if members:
        yield f"static const QapiMember members_{decl.name}[] = {{"
        yield from member_rows(decl, "u." if decl.kind == "alternate" else "")
        yield "};"
        fields.append(f".members = members_{decl.name}")
    if decl.kind == "union":
        tag = next(member for member in members if member.name == decl.tag)
        enum = tag.type.declaration
        yield f"static const QapiType *const variants_{decl.name}[] = {{"
        for case in decl.cases:
            if case.type:
                yield f"    [{c_constant(enum.name, case.name)}] = {descriptor(case.type)},"
        yield f"    [{len(enum.members)}] = NULL\n}};"
        fields += [f".tag = &members_{decl.name}[{members.index(tag)}]", f".variants = variants_{decl.name}"]
        if any(case.type for case in decl.cases):
            fields.append(f".variant_offset = offsetof({decl.name}, u)")
    kind = {"struct": "QAPI_STRUCT", "union": "QAPI_UNION", "alternate": "QAPI_ALTERNATE"}[decl.kind]
    yield from type_row(decl, kind, decl.name, fields)


def type_row(decl, kind, c, fields):
    if decl.features:
        fields.append(f".features = {string_list(decl.features)}")
    fields.append(f".doc = {quote(decl.doc)}")
    yield f"const QapiType qapi_type_{decl.name} = {{"
    yield f"    .name = {quote(decl.name)}, .kind = {kind}, .size = sizeof({c}),"
    for field in fields:
        yield f"    {field},"
    yield "};"


def source(schema, name):
    yield TOP.format(f"qapi/schema/{name}.qapi") + f'#include "{INCLUDE}/qapi-{name}.h"'
    own = [decl for decl in schema.types.values() if decl.file == name]
    refs = [member.type for decl in own for member in decl.all_members() + decl.cases if member.type]
    refs += [decl.args for decl in schema.events.values() if decl.file == name and decl.args]
    for other in sorted({ref.declaration.file for ref in refs if ref.declaration} - {name}):
        yield f'#include "{INCLUDE}/qapi-{other}.h"'
    for decl in own:
        yield ""
        yield from (enum_table if decl.kind == "enum" else struct_table)(decl)
        if decl.name in schema.lists:
            yield f"const QapiType qapi_list_{decl.name} = {{"
            yield f'    .name = "[{decl.name}]", .kind = QAPI_LIST, .size = sizeof(void *),'
            yield f"    .element = &qapi_type_{decl.name},\n}};"
    for decl in schema.events.values():
        if decl.file == name:
            yield f"\nconst QapiEvent qapi_event_{decl.name} = {{"
            yield f"    .name = {quote(decl.name)}, .data = {descriptor(decl.args) if decl.args else 'NULL'},"
            yield f"    .features = {string_list(decl.features)}, .doc = {quote(decl.doc)},\n}};"


def commands_header(schema):
    yield TOP.format("all of qapi/schema/")
    yield '#ifndef QAPI_COMMANDS_H\n#define QAPI_COMMANDS_H\n\n#include "qapi/qapi.h"'
    for name in schema.files:
        yield f'#include "{INCLUDE}/qapi-{name}.h"'
    yield "\n/* Handlers: monitor/ has them. */"
    for decl in schema.commands.values():
        yield f"bool qmp_{decl.name.replace('-', '_')}(QmpCall *call, GError **err);"
    yield """
/* Each sorted by name and ended with NULL, which the count leaves out. */
extern const QapiCommand *const qapi_commands[];
extern const QapiEvent *const qapi_events[];
extern const QapiType *const qapi_types[];
extern const unsigned qapi_command_count, qapi_event_count, qapi_type_count;

#endif"""


def index(noun, kind, prefix, names):
    """All descriptors of one kind."""
    yield f"\nconst {kind} *const qapi_{noun}s[] = {{"
    for name in sorted(names):
        yield f"    &{prefix}{name.replace('-', '_')},"
    yield "    NULL\n};"
    yield f"const unsigned qapi_{noun}_count = {len(names)};"


def commands_source(schema):
    yield TOP.format("all of qapi/schema/") + '#include "qapi/qapi-commands.h"\n'
    for decl in schema.commands.values():
        c = decl.name.replace("-", "_")
        fields = [f".name = {quote(decl.name)}", f".handler = qmp_{c}"]
        if decl.args:
            fields.append(f".args = {descriptor(decl.args)}")
        if decl.result:
            fields.append(f".result = {descriptor(decl.result)}")
        fields += [f".{flag} = true" for flag in decl.flags]
        if decl.features:
            fields.append(f".features = {string_list(decl.features)}")
        yield f"static const QapiCommand command_{c} = {{"
        yield "    " + ", ".join(fields) + f",\n    .doc = {quote(decl.doc)},\n}};"
    yield from index("command", "QapiCommand", "command_", schema.commands)


def index_source(schema):
    yield TOP.format("all of qapi/schema/") + '#include "qapi/qapi-commands.h"'
    yield from index("event", "QapiEvent", "qapi_event_", schema.events)
    yield from index("type", "QapiType", "qapi_type_", schema.types)


def write(path, lines):
    text = "\n".join(lines) + "\n"
    try:
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return
    except FileNotFoundError:
        pass
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True, help="where the files go")
    parser.add_argument("--include", default="qapi", help="how #include lines name that folder")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    global INCLUDE
    INCLUDE = args.include
    try:
        schema = Schema(args.files)
        check_file_cycles(schema)
        order = ordered(schema)
    except SchemaError as error:
        sys.exit(f"{error}")
    for name in schema.files:
        write(os.path.join(args.output, f"qapi-{name}.h"), header(schema, name, order))
        write(os.path.join(args.output, f"qapi-{name}.c"), source(schema, name))
    write(os.path.join(args.output, "qapi-commands.h"), commands_header(schema))
    write(os.path.join(args.output, "qapi-commands.c"), commands_source(schema))
    write(os.path.join(args.output, "qapi-index.c"), index_source(schema))


if __name__ == "__main__":
    main()
