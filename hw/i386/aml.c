/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The AML assembler: recursive descent over the text, one pass, appending bytes. A package's length
 * stands before its content in 1 to 4 bytes, so it is inserted when the content is complete.
 */
#include "hw/i386/aml.h"

#include <inttypes.h>

#include "util/util.h"

typedef struct Asm {
    const char *pos;     /* next character of the text */
    GByteArray *out;
    char word[64];       /* the last word or string read */
} Asm;

/* ---- text ------------------------------------------------------------------------- */

static void skip_space(Asm *a)
{
    while (g_ascii_isspace(*a->pos)) {
        a->pos++;
    }
}

static char peek(Asm *a)
{
    skip_space(a);
    return *a->pos;
}

static void expect(Asm *a, char c)
{
    if (peek(a) != c) {
        g_error("AML: '%c' expected at \"%.40s\"", c, a->pos);
    }
    a->pos++;
}

/* A word, up to a space or parenthesis, into a->word. */
static const char *read_word(Asm *a)
{
    size_t len;

    skip_space(a);
    len = strcspn(a->pos, " \t\n()");
    g_assert(len && len < sizeof a->word);
    memcpy(a->word, a->pos, len);
    a->word[len] = 0;
    a->pos += len;
    return a->word;
}

static uint64_t read_int(Asm *a)
{
    char *end;
    uint64_t value = g_ascii_strtoull(read_word(a), &end, 0);

    if (*end) {
        g_error("AML: number expected, not '%s'", a->word);
    }
    return value;
}

/* The index of the next word in a list that ends with NULL. */
static unsigned read_choice(Asm *a, const char *const *choices)
{
    read_word(a);
    for (unsigned i = 0; choices[i]; i++) {
        if (!strcmp(choices[i], a->word)) {
            return i;
        }
    }
    g_error("AML: unknown word '%s'", a->word);
}

/* ---- bytes ------------------------------------------------------------------------ */

static void put(Asm *a, uint64_t value, unsigned size)
{
    uint8_t raw[8];

    store64_le(raw, value);
    g_byte_array_append(a->out, raw, size);
}

static void put_op(Asm *a, unsigned op)
{
    put(a, op > 0xff ? op >> 8 | (op & 0xff) << 8 : op, op > 0xff ? 2 : 1);
}

/* Chapter 20.2.3. */
static void put_int(Asm *a, uint64_t value)
{
    if (value <= 1) {
        put(a, value, 1);
    } else if (value <= 0xff) {
        put(a, 0x0a, 1);
        put(a, value, 1);
    } else if (value <= 0xffff) {
        put(a, 0x0b, 1);
        put(a, value, 2);
    } else if (value <= 0xffffffff) {
        put(a, 0x0c, 1);
        put(a, value, 4);
    } else {
        put(a, 0x0e, 1);
        put(a, value, 8);
    }
}

/* PkgLength, chapter 20.2.4: 6 bits in one byte, else 4 bits and whole bytes. Returns its size. */
static unsigned encode_length(uint64_t length, uint8_t raw[4])
{
    unsigned more = length < 1u << 6 ? 0 : length < 1u << 12 ? 1 : length < 1u << 20 ? 2 : 3;

    g_assert(length < 1u << 28);
    if (!more) {
        raw[0] = (uint8_t)length;
        return 1;
    }
    raw[0] = (uint8_t)(more << 6 | (length & 15));
    for (unsigned i = 0; i < more; i++) {
        raw[1 + i] = (uint8_t)(length >> (4 + 8 * i));
    }
    return 1 + more;
}

/* Inserts the length of what was written since start; it counts its own bytes. */
static void close_package(Asm *a, unsigned start)
{
    unsigned content = a->out->len - start;
    unsigned size = content + 1 < 1u << 6 ? 1 : content + 2 < 1u << 12 ? 2 : content + 3 < 1u << 20 ? 3 : 4;
    uint8_t raw[4];

    g_assert(encode_length(content + size, raw) == size);
    g_byte_array_set_size(a->out, a->out->len + size);
    memmove(a->out->data + start + size, a->out->data + start, content);
    memcpy(a->out->data + start, raw, size);
}

/* NameString, chapter 20.2.2. */
static void put_name(Asm *a, const char *name)
{
    char **segments;
    unsigned count;

    while (*name == '\\' || *name == '^') {
        put(a, (uint8_t)*name++, 1);
    }
    segments = g_strsplit(name, ".", -1);
    count = g_strv_length(segments);
    if (count == 0) {
        put(a, 0, 1);
    } else if (count == 2) {
        put(a, 0x2e, 1);
    } else if (count > 2) {
        put(a, 0x2f, 1);
        put(a, count, 1);
    }
    for (unsigned i = 0; i < count; i++) {
        size_t len = strlen(segments[i]);

        g_assert(len >= 1 && len <= 4);
        g_byte_array_append(a->out, (const guint8 *)segments[i], (guint)len);
        g_byte_array_append(a->out, (const guint8 *)"___", (guint)(4 - len));
    }
    g_strfreev(segments);
}

static void put_string(Asm *a)
{
    size_t len;

    expect(a, '\'');
    len = strcspn(a->pos, "'");
    put(a, 0x0d, 1);
    g_byte_array_append(a->out, (const guint8 *)a->pos, (guint)len);
    put(a, 0, 1);
    a->pos += len;
    expect(a, '\'');
}

/* ---- special constants -------------------------------------------------------------- */

/* "PNP0A03": three letters of 5 bits and four hex digits, big-endian in a double word. */
static void put_eisaid(Asm *a)
{
    const char *id = read_word(a);
    uint32_t value = (uint32_t)(id[0] - 0x40) << 26 | (uint32_t)(id[1] - 0x40) << 21 |
                     (uint32_t)(id[2] - 0x40) << 16 | (uint32_t)g_ascii_strtoull(id + 3, NULL, 16);

    put(a, 0x0c, 1);
    put(a, GUINT32_SWAP_LE_BE(value), 4);
}

/* A buffer of 16 bytes, the first three groups little-endian (chapter 19.6.142). */
static void put_uuid(Asm *a)
{
    static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
    const char *p = read_word(a);
    uint8_t raw[16];
    unsigned start;

    for (unsigned i = 0; i < 16; i++) {
        if (*p == '-') {
            p++;
        }
        raw[i] = (uint8_t)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
        p += 2;
    }
    put(a, 0x11, 1);
    start = a->out->len;
    put_int(a, 16);
    for (unsigned i = 0; i < 16; i++) {
        put(a, raw[order[i]], 1);
    }
    close_package(a, start);
}

/* (buffer SIZE byte...): missing bytes are zero. */
static void put_buffer(Asm *a)
{
    uint64_t size = read_int(a), count = 0;
    unsigned start;

    put(a, 0x11, 1);
    start = a->out->len;
    put_int(a, size);
    for (; peek(a) != ')'; count++) {
        put(a, read_int(a), 1);
    }
    for (; count < size; count++) {
        put(a, 0, 1);
    }
    close_package(a, start);
}

/* ---- resource templates, chapter 6.4 -------------------------------------------------- */

/* An address space descriptor: word, double word or quad word. */
static void put_range(Asm *a, unsigned size, unsigned type, unsigned flags, unsigned type_flags)
{
    static const uint8_t tags[] = {[2] = 0x88, [4] = 0x87, [8] = 0x8a};
    uint64_t min = read_int(a), max = read_int(a), length = read_int(a);

    put(a, tags[size], 1);
    put(a, 3 + 5 * size, 2);
    put(a, type, 1);
    put(a, flags, 1);
    put(a, type_flags, 1);
    put(a, 0, size);         /* granularity */
    put(a, min, size);
    put(a, max, size);
    put(a, 0, size);         /* translation */
    put(a, length, size);
}

#define RANGE_FIXED 0x0c     /* minimum and maximum are fixed */

static void put_interrupts(Asm *a)
{
    unsigned start;

    put(a, 0x89, 1);
    start = a->out->len;
    put(a, 0, 2);            /* length */
    put(a, 0x09, 1);         /* consumer, level, active high, shared */
    put(a, 0, 1);            /* count */
    while (peek(a) != ')') {
        put(a, read_int(a), 4);
        a->out->data[start + 3]++;
    }
    store16_le(a->out->data + start, (uint16_t)(a->out->len - start - 2));
}

static void put_resource(Asm *a)
{
    static const char *const kinds[] = {"io", "irq", "dma", "memory32", "interrupt", "busrange", "iorange",
                                        "memrange32", "memrange64", NULL};
    static const char *const cached[] = {"uncached", "cached", NULL};
    static const char *const access[] = {"ro", "rw", NULL};
    unsigned kind;

    expect(a, '(');
    kind = read_choice(a, kinds);
    switch (kind) {
    case 0:
        put(a, 0x0147, 2);                      /* 16-bit decoding */
        put(a, read_int(a), 2);
        put(a, read_int(a), 2);
        put(a, read_int(a), 1);
        put(a, read_int(a), 1);
        break;
    case 1:
        put(a, 0x22, 1);
        put(a, UINT64_C(1) << read_int(a), 2);
        break;
    case 2:
        put(a, 0x2a, 1);
        put(a, UINT64_C(1) << read_int(a), 1);
        put(a, 0, 1);                           /* compatible, no bus master, 8 bits */
        break;
    case 3:
        put(a, 0x000986, 3);
        put(a, read_choice(a, access), 1);
        put(a, read_int(a), 4);
        put(a, read_int(a), 4);
        break;
    case 4:
        put_interrupts(a);
        break;
    case 5:
        put_range(a, 2, 2, RANGE_FIXED, 0);
        break;
    case 6:
        put_range(a, 2, 1, RANGE_FIXED, 3);     /* the entire range, dense */
        break;
    default:
        /* read-write, and cacheable or not */
        put_range(a, kind == 7 ? 4 : 8, 0, RANGE_FIXED, 1 | read_choice(a, cached) << 1);
        break;
    }
    expect(a, ')');
}

static void put_resources(Asm *a)
{
    Asm items = {.pos = a->pos, .out = g_byte_array_new()};
    unsigned start;

    while (peek(&items) != ')') {
        put_resource(&items);
    }
    put(&items, 0x0079, 2);                     /* end tag, no checksum */
    a->pos = items.pos;
    put(a, 0x11, 1);
    start = a->out->len;
    put_int(a, items.out->len);
    g_byte_array_append(a->out, items.out->data, items.out->len);
    close_package(a, start);
    g_byte_array_unref(items.out);
}

/* ---- fields --------------------------------------------------------------------------- */

/* NamedField and ReservedField lengths are bits, in PkgLength's form without itself. */
static void put_bits(Asm *a, uint64_t bits)
{
    uint8_t raw[4];
    unsigned size = encode_length(bits, raw);

    g_byte_array_append(a->out, raw, size);
}

static void put_field_list(Asm *a)
{
    static const char *const access[] = {"any", "byte", "word", "dword", NULL};
    static const char *const locks[] = {"nolock", "lock", NULL};
    static const char *const update[] = {"preserve", "ones", "zeros", NULL};
    unsigned flags = read_choice(a, access);
    uint64_t at = 0, value;

    flags |= read_choice(a, locks) << 4;
    flags |= read_choice(a, update) << 5;
    put(a, flags, 1);
    while (peek(a) == '(') {
        char name[8];

        expect(a, '(');
        g_strlcpy(name, read_word(a), sizeof name);
        value = read_int(a);
        if (!strcmp(name, "offset")) {
            put(a, 0, 1);
            put_bits(a, value * 8 - at);
            at = value * 8;
        } else {
            put_name(a, name);
            put_bits(a, value);
            at += value;
        }
        expect(a, ')');
    }
}

/* ---- forms ---------------------------------------------------------------------------- */

/* Operators: their operands, then targets that may be left out. */
static const struct AmlOperator {
    const char *name;
    uint16_t op;
    uint8_t operands, targets;
} operators[] = {
    {"store", 0x70, 2, 0},       {"concat", 0x73, 2, 1},      {"add", 0x72, 2, 1},
    {"subtract", 0x74, 2, 1},    {"increment", 0x75, 1, 0},   {"decrement", 0x76, 1, 0},
    {"multiply", 0x77, 2, 1},    {"shl", 0x79, 2, 1},         {"shr", 0x7a, 2, 1},
    {"and", 0x7b, 2, 1},         {"or", 0x7d, 2, 1},          {"xor", 0x7f, 2, 1},
    {"not", 0x80, 1, 1},         {"derefof", 0x83, 1, 0},     {"notify", 0x86, 2, 0},
    {"sizeof", 0x87, 1, 0},      {"index", 0x88, 2, 1},       {"createdword", 0x8a, 3, 0},
    {"land", 0x90, 2, 0},        {"lor", 0x91, 2, 0},         {"lnot", 0x92, 1, 0},
    {"equal", 0x93, 2, 0},       {"greater", 0x94, 2, 0},     {"less", 0x95, 2, 0},
    {"tobuffer", 0x96, 1, 1},    {"tohexstring", 0x98, 1, 1}, {"tointeger", 0x99, 1, 1},
    {"return", 0xa4, 1, 0},      {"break", 0xa5, 0, 0},       {"release", 0x5b27, 1, 0},
};

/* Forms whose content is a package. */
typedef enum AmlHead {
    HEAD_NONE,
    HEAD_NAME,       /* a name */
    HEAD_TERM,       /* a term (a condition) */
    HEAD_METHOD,     /* name, number of arguments, "serialized" or not */
    HEAD_PROCESSOR,  /* name, processor id */
    HEAD_PACKAGE,    /* element count */
    HEAD_FIELD,      /* region name, flags, list */
} AmlHead;

static const struct AmlBlock {
    const char *name;
    uint16_t op;
    AmlHead head;
} blocks[] = {
    {"scope", 0x10, HEAD_NAME},         {"device", 0x5b82, HEAD_NAME},  {"method", 0x14, HEAD_METHOD},
    {"if", 0xa0, HEAD_TERM},            {"else", 0xa1, HEAD_NONE},      {"while", 0xa2, HEAD_TERM},
    {"package", 0x12, HEAD_PACKAGE},    {"varpackage", 0x13, HEAD_TERM}, {"field", 0x5b81, HEAD_FIELD},
    {"processor", 0x5b83, HEAD_PROCESSOR},
};

/* Forms with a grammar of their own. */
static const struct AmlSpecial {
    const char *name;
    void (*put)(Asm *a);
} specials[] = {
    {"eisaid", put_eisaid}, {"uuid", put_uuid}, {"buffer", put_buffer}, {"resources", put_resources},
};

typedef void PutTerm(Asm *a);

static void put_atom(Asm *a)
{
    const char *word;

    if (peek(a) == '\'') {
        put_string(a);
        return;
    }
    word = read_word(a);
    if (g_ascii_isdigit(word[0])) {
        char *end;
        uint64_t value = g_ascii_strtoull(word, &end, 0);

        g_assert(!*end);
        put_int(a, value);
    } else if (g_str_has_prefix(word, "Local") && word[5] && !word[6]) {
        put(a, 0x60 + (unsigned)(word[5] - '0'), 1);
    } else if (g_str_has_prefix(word, "Arg") && word[3] && !word[4]) {
        put(a, 0x68 + (unsigned)(word[3] - '0'), 1);
    } else if (!strcmp(word, "Debug")) {
        put_op(a, 0x5b31);
    } else {
        put_name(a, word);
    }
}

static void put_head(Asm *a, AmlHead head, PutTerm *term)
{
    unsigned flags;

    switch (head) {
    case HEAD_NONE:
        break;
    case HEAD_NAME:
        put_name(a, read_word(a));
        break;
    case HEAD_TERM:
        term(a);
        break;
    case HEAD_METHOD:
        put_name(a, read_word(a));
        flags = (unsigned)read_int(a);
        if (g_str_has_prefix((skip_space(a), a->pos), "serialized")) {
            read_word(a);
            flags |= 8;
        }
        put(a, flags, 1);
        break;
    case HEAD_PROCESSOR:
        put_name(a, read_word(a));
        put(a, read_int(a), 1);
        put(a, 0, 5);            /* no P_BLK */
        break;
    case HEAD_PACKAGE:
        put(a, read_int(a), 1);
        break;
    case HEAD_FIELD:
        put_name(a, read_word(a));
        put_field_list(a);
        break;
    }
}

static void put_block(Asm *a, const struct AmlBlock *block, PutTerm *term)
{
    unsigned start;

    put_op(a, block->op);
    start = a->out->len;
    put_head(a, block->head, term);
    while (peek(a) != ')') {
        term(a);
    }
    close_package(a, start);
}

static void put_operator(Asm *a, const struct AmlOperator *op, PutTerm *term)
{
    put_op(a, op->op);
    for (unsigned i = 0; i < op->operands; i++) {
        term(a);
    }
    for (unsigned i = 0; i < op->targets; i++) {
        if (peek(a) == ')') {
            put(a, 0, 1);        /* no target */
        } else {
            term(a);
        }
    }
}

/* Declarations and statements that are no plain operators. */
static void put_declaration(Asm *a, const char *form, PutTerm *term)
{
    static const char *const spaces[] = {"SystemMemory", "SystemIO", "PCI_Config", NULL};

    if (!strcmp(form, "name")) {
        put_op(a, 0x08);
        put_name(a, read_word(a));
        term(a);
    } else if (!strcmp(form, "mutex")) {
        put_op(a, 0x5b01);
        put_name(a, read_word(a));
        put(a, read_int(a), 1);
    } else if (!strcmp(form, "opregion")) {
        put_op(a, 0x5b80);
        put_name(a, read_word(a));
        put(a, read_choice(a, spaces), 1);
        term(a);
        term(a);
    } else if (!strcmp(form, "acquire")) {
        put_op(a, 0x5b23);
        put_name(a, read_word(a));
        put(a, 0xffff, 2);       /* without limit */
    } else if (!strcmp(form, "call")) {
        put_name(a, read_word(a));
        while (peek(a) != ')') {
            term(a);
        }
    } else {
        g_error("AML: unknown form '%s'", form);
    }
}

static void put_term(Asm *a)
{
    char form[16];

    if (peek(a) != '(') {
        put_atom(a);
        return;
    }
    expect(a, '(');
    g_strlcpy(form, read_word(a), sizeof form);
    for (unsigned i = 0; i < G_N_ELEMENTS(operators); i++) {
        if (!strcmp(form, operators[i].name)) {
            put_operator(a, &operators[i], put_term);
            goto close;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(blocks); i++) {
        if (!strcmp(form, blocks[i].name)) {
            put_block(a, &blocks[i], put_term);
            goto close;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(specials); i++) {
        if (!strcmp(form, specials[i].name)) {
            specials[i].put(a);
            goto close;
        }
    }
    put_declaration(a, form, put_term);
close:
    expect(a, ')');
}

void aml_assemble(const char *text, GByteArray *out)
{
    Asm a = {.pos = text, .out = out};

    while (peek(&a)) {
        put_term(&a);
    }
}
