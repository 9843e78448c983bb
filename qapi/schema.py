# SPDX-License-Identifier: GPL-2.0-or-later
"""The schema language: qapi/schema/*.qapi read into declarations (the grammar is in qapi/README.md).

Whatever is wrong is a SchemaError that names the file and line; a schema that loads is complete: every name
resolves, inherited members are flattened, and every member has its documentation."""
import os
import re

SCALARS = {"int": "int64_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
           "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t",
           "size": "uint64_t", "number": "double", "bool": "bool", "null": "bool"}
POINTERS = {"str": "char *", "any": "json_object *"}
TOKEN = re.compile(r"(?P<doc>##[^\n]*)|(?P<comment>#[^\n]*)|(?P<arrow>->)|(?P<word>[A-Za-z0-9_][A-Za-z0-9_.-]*)"
                   r"|(?P<punct>[{}()\[\]:?,])|(?P<newline>\n)|(?P<space>[ \t\r]+)|(?P<bad>.)")


class SchemaError(Exception):
    pass


class Declaration:
    """One enum, struct, union, alternate, command or event."""

    def __init__(self, kind, name, where, doc):
        self.kind, self.name, self.where, self.doc = kind, name, where, doc
        self.flags = []        # words in parentheses; "feature x" appears in features instead
        self.features = []
        self.base = None       # struct, union: name, then Declaration
        self.tag = None        # union: name of the member
        self.members = []      # own ones; enum: values; alternate: branches
        self.cases = []        # union: Member with .type, or None for a case without members
        self.args = None       # command, event: Declaration or None
        self.result = None     # command: TypeRef or None
        self.anonymous = False # made from a command's or event's own braces

    @property
    def file(self):
        return self.where[0]

    def all_members(self):
        return (self.base.all_members() if self.base else []) + self.members


class Member:
    def __init__(self, name, where):
        self.name, self.where = name, where
        self.doc = ""
        self.optional = False
        self.type = None
        self.flags, self.features = [], []


class TypeRef:
    """A builtin's name or a Declaration, or a list of either."""

    def __init__(self, name, is_list, where):
        self.name, self.is_list, self.where = name, is_list, where
        self.declaration = None

    @property
    def holds_pointers(self):
        """Of the type itself, or of the elements of a list: is it a pointer in C?"""
        return self.name in POINTERS or bool(self.declaration and self.declaration.kind != "enum")

    @property
    def is_pointer(self):
        return self.is_list or self.holds_pointers


class Parser:
    def __init__(self, path, text):
        self.file = os.path.basename(path).removesuffix(".qapi")
        self.path = path
        self.tokens = []       # (kind, text, line, first on its line)
        line, fresh = 1, True
        for match in TOKEN.finditer(text):
            kind = match.lastgroup
            if kind == "bad":
                raise SchemaError(f"{path}:{line}: unexpected {match.group()!r}")
            if kind == "newline":
                line, fresh = line + 1, True
            elif kind != "space":
                if kind != "comment":
                    self.tokens.append((kind, match.group(), line, fresh))
                fresh = False
        self.tokens.append(("end", "end of file", line, True))
        self.at = 0
        self.declarations = []

    # ---- tokens

    def fail(self, message, line=None):
        raise SchemaError(f"{self.path}:{line or self.tokens[self.at][2]}: {message}")

    def peek(self):
        return self.tokens[self.at][1] if self.tokens[self.at][0] != "doc" else "##"

    def where(self):
        return self.file, self.path, self.tokens[self.at][2]

    def take(self, text=None):
        kind, found = self.tokens[self.at][:2]
        if text is not None and found != text:
            self.fail(f"expected {text!r}, found {found!r}")
        if text is None and kind != "word":
            self.fail(f"expected a name, found {found!r}")
        self.at += 1
        return found

    def accept(self, text):
        if self.peek() == text:
            self.at += 1
            return True
        return False

    def take_doc(self):
        """Consecutive doc lines as one text; "" when there is none."""
        lines = []
        while self.tokens[self.at][0] == "doc":
            lines.append(self.tokens[self.at][1][2:].strip())
            self.at += 1
        return "\n".join(lines)

    # ---- grammar

    def parse(self):
        while self.tokens[self.at][0] != "end":
            doc = self.take_doc()
            if self.tokens[self.at][0] == "end":
                break
            word = self.take()
            rule = {"enum": self.enum, "struct": self.struct, "union": self.union, "alternate": self.alternate,
                    "command": self.command, "event": self.event}.get(word)
            if not rule:
                self.fail(f"unknown declaration {word!r}", self.tokens[self.at - 1][2])
            where = self.where()
            declaration = Declaration(word, self.take(), where, doc)
            rule(declaration)
            self.declarations.append(declaration)
        return self.declarations

    def parse_flags(self, target):
        if not self.accept("("):
            return
        while True:
            word = self.take()
            if word == "feature":
                target.features.append(self.take())
            elif word in ("deprecated", "unstable"):
                target.features.append(word)
            elif word in ("oob", "preconfig", "raw", "list") and isinstance(target, Declaration):
                target.flags.append(word)
            else:
                self.fail(f"unknown flag {word!r}", self.tokens[self.at - 1][2])
            if not self.accept(","):
                break
        self.take(")")

    def type_ref(self):
        where = self.where()
        if self.accept("["):
            ref = TypeRef(self.take(), True, where)
            self.take("]")
            return ref
        return TypeRef(self.take(), False, where)

    def body(self, read_member):
        """{ member... }, each followed by its documentation."""
        self.take("{")
        while not self.accept("}"):
            member = read_member()
            self.parse_flags(member)
            member.doc = self.take_doc()

    def member(self, owner):
        member = Member(self.tokens[self.at][1], self.where())
        self.take()
        member.optional = self.accept("?")
        self.take(":")
        member.type = self.type_ref()
        owner.members.append(member)
        return member

    def enum(self, decl):
        def value():
            member = Member(self.tokens[self.at][1], self.where())
            self.take()
            decl.members.append(member)
            return member
        self.parse_flags(decl)
        self.body(value)

    def struct(self, decl):
        decl.base = self.take() if self.accept(":") else None
        self.parse_flags(decl)
        self.body(lambda: self.member(decl))

    def union(self, decl):
        def member_or_case():
            if self.peek() != "case" or self.tokens[self.at + 1][1] in (":", "?"):
                return self.member(decl)
            self.take("case")
            case = Member(self.tokens[self.at][1], self.where())
            self.take()
            case.type = self.type_ref() if self.accept(":") else None
            decl.cases.append(case)
            return case
        decl.base = self.take() if self.accept(":") else None
        self.take("by")
        decl.tag = self.take()
        self.parse_flags(decl)
        self.body(member_or_case)

    def alternate(self, decl):
        self.parse_flags(decl)
        self.body(lambda: self.member(decl))

    def command(self, decl):
        self.arguments(decl, "Args")
        decl.result = self.type_ref() if self.accept("->") else None
        self.parse_flags(decl)

    def event(self, decl):
        self.arguments(decl, "Event")
        self.parse_flags(decl)

    def arguments(self, decl, suffix):
        if self.accept(":"):
            decl.args = TypeRef(self.take(), False, self.where())
        elif self.peek() == "{":
            words = re.split(r"[-_.]", decl.name)
            name = "".join(word.capitalize() if word.isupper() else word[:1].upper() + word[1:] for word in words)
            args = Declaration("struct", name + suffix, decl.where, f"What `{decl.name}` carries.")
            args.anonymous = True
            self.body(lambda: self.member(args))
            self.declarations.append(args)
            decl.args = TypeRef(args.name, False, decl.where)


class Schema:
    """All files, checked. declarations keeps the order of the files."""

    def __init__(self, paths):
        self.files = []
        self.declarations = []
        for path in paths:
            with open(path, encoding="utf-8") as f:
                parser = Parser(path, f.read())
            self.files.append(parser.file)
            self.declarations += parser.parse()
        self.types, self.commands, self.events = {}, {}, {}
        for decl in self.declarations:
            table = {"command": self.commands, "event": self.events}.get(decl.kind, self.types)
            if decl.name in table or decl.name in SCALARS or decl.name in POINTERS:
                self.fail(decl, f"{decl.name} is declared twice")
            table[decl.name] = decl
        self.lists = set()     # names of element types
        for decl in self.declarations:
            self.check(decl)
        for decl in self.declarations:
            self.check_flat(decl)

    @staticmethod
    def fail(thing, message):
        raise SchemaError(f"{thing.where[1]}:{thing.where[2]}: {message}")

    def resolve(self, ref):
        if ref is None:
            return
        if ref.name not in SCALARS and ref.name not in POINTERS:
            ref.declaration = self.types.get(ref.name)
            if not ref.declaration:
                self.fail(ref, f"unknown type {ref.name}")
        elif ref.name == "null" and ref.is_list:
            self.fail(ref, "a list of null")
        if ref.is_list:
            self.lists.add(ref.name)

    def check(self, decl):
        allowed = {"command": {"oob", "preconfig", "raw"}, "event": set()}.get(decl.kind, {"list"})
        if set(decl.flags) - allowed:
            self.fail(decl, f"flags that a {decl.kind} cannot have: {', '.join(decl.flags)}")
        if "list" in decl.flags:
            self.lists.add(decl.name)
        if not decl.doc:
            self.fail(decl, f"{decl.name} has no documentation")
        if decl.base:
            base = self.types.get(decl.base)
            if not base or base.kind != "struct":
                self.fail(decl, f"{decl.base} is no struct")
            decl.base = base
        for member in decl.members + decl.cases:
            if not member.doc and member.type is not None and member not in decl.cases and decl.kind != "alternate":
                self.fail(member, f"{decl.name}.{member.name} has no documentation")
            self.resolve(member.type)
        for ref in (decl.args, decl.result):
            self.resolve(ref)
        if decl.args and decl.args.declaration.kind not in ("struct", "union"):
            self.fail(decl, "arguments are a struct or union")

    def check_flat(self, decl):
        names = set()
        for member in decl.all_members():
            if member.name in names:
                self.fail(member, f"{decl.name}.{member.name} is declared twice")
            names.add(member.name)
        if decl.kind == "alternate":
            kinds = [json_kind(member.type) for member in decl.members]
            if len(kinds) != len(set(kinds)):
                self.fail(decl, "two branches look the same in JSON")
        if decl.kind == "union":
            self.check_union(decl, names)

    def check_union(self, decl, names):
        tag = next((member for member in decl.all_members() if member.name == decl.tag), None)
        enum = tag and tag.type.declaration
        if not enum or enum.kind != "enum" or tag.optional or tag.type.is_list:
            self.fail(decl, f"the tag {decl.tag} is no mandatory member of an enum type")
        values = {value.name for value in enum.members}
        seen = set()
        for case in decl.cases:
            if case.name not in values or case.name in seen:
                self.fail(case, f"case {case.name}: no value of {enum.name}, or here twice")
            seen.add(case.name)
            branch = case.type and case.type.declaration
            if case.type and (not branch or case.type.is_list or branch.kind not in ("struct", "union")):
                self.fail(case, f"case {case.name} is no struct or union")
            for member in branch.all_members() if branch else []:
                if member.name in names:
                    self.fail(case, f"case {case.name} repeats the member {member.name}")


def json_kind(ref):
    """How a value of this type looks in JSON, for telling the branches of an alternate apart."""
    if ref.is_list:
        return "array"
    if ref.declaration:
        return {"enum": "string", "struct": "object", "union": "object"}.get(ref.declaration.kind, "alternate")
    return {"str": "string", "bool": "bool", "null": "null", "any": "any"}.get(ref.name, "number")


def c_name(name):
    """A member's or branch's name in C."""
    name = re.sub(r"[-.]", "_", name)
    reserved = {"auto", "break", "case", "char", "const", "default", "do", "double", "else", "enum", "errno", "extern", "float",
                "for", "if", "int", "long", "register", "return", "short", "signed", "static", "struct", "switch",
                "typedef", "union", "unsigned", "void", "while", "unix", "linux", "bool", "restrict", "inline"}
    return "q_" + name if name in reserved or name[0].isdigit() else name


def c_upper(name):
    """RunState -> RUN_STATE, the prefix of an enum's constants."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", name).upper()


def c_constant(enum_name, value):
    return f"{c_upper(enum_name)}_{re.sub(r'[-.]', '_', value).upper()}"
