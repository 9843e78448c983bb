/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HMP: looking at memory, ports and values, and guest memory into files. Layouts are those of QEMU's monitor.
 * Format i is in monitor/hmp_disas.c.
 */
#include <inttypes.h>

#include "accel/x86/page_walk.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

#define LINE_MAX_BYTES 16

/* ---- formats --------------------------------------------------------------------------------- */

typedef struct Format {
    int64_t count;
    char letter;
    unsigned size;      /* bytes of a value: 1, 2, 4, 8 */
} Format;

/* What the user named, and for the rest what was used last. */
static Format format_of(HmpCall *call)
{
    MonitorState *state = monitor_state(call->vm);
    HmpFormat given = hmp_format(call->args, "format");
    Format format = {.count = given.count};

    state->hmp_format = given.format ? given.format : state->hmp_format ? state->hmp_format : 'x';
    state->hmp_size = given.size ? given.size : state->hmp_size ? state->hmp_size : 'w';
    format.letter = state->hmp_format;
    format.size = state->hmp_size == 'b' ? 1 : state->hmp_size == 'h' ? 2 : state->hmp_size == 'w' ? 4 : 8;
    return format;
}

static void print_character(HmpCall *call, uint64_t value)
{
    static const char plain[] = "\n\r\t\\'", letters[] = "nrt\\'";
    const char *found = value && value < 128 ? strchr(plain, (int)value) : NULL;

    if (found) {
        hmp_printf(call, "'\\%c'", letters[found - plain]);
    } else if (value >= 32 && value <= 126) {
        hmp_printf(call, "'%c'", (int)value);
    } else {
        hmp_printf(call, "'\\x%02" PRIx64 "'", value);
    }
}

/* In a column of dumps. */
static void print_value(HmpCall *call, char letter, unsigned size, uint64_t value)
{
    static const int decimal[] = {[1] = 3, [2] = 5, [4] = 10, [8] = 20};

    switch (letter) {
    case 'o': hmp_printf(call, "%#*" PRIo64, (int)(size * 8 + 2) / 3, value); break;
    case 'u': hmp_printf(call, "%*" PRIu64, decimal[size], value); break;
    case 'd': hmp_printf(call, "%*" PRId64, decimal[size], (int64_t)value); break;
    case 'c': print_character(call, value); break;
    default: hmp_printf(call, "0x%0*" PRIx64, (int)size * 2, value); break;
    }
}

/* ---- x and xp ---------------------------------------------------------------------------------- */

bool hmp_read_memory(Vm *vm, Cpu *cpu, uint64_t addr, uint8_t *bytes, unsigned len)
{
    for (unsigned done = 0; done < len;) {
        unsigned part = (unsigned)MIN(len - done, 4096 - (addr + done) % 4096);
        uint64_t phys = addr + done;

        if ((cpu && !page_translate(cpu, addr + done, &phys)) ||
            !address_space_read(&vm->memory, phys, bytes + done, part)) {
            return false;
        }
        done += part;
    }
    return true;
}

static void dump(HmpCall *call, Cpu *cpu, const Format *format, uint64_t addr)
{
    unsigned per_line = format->size == 1 ? 8 : LINE_MAX_BYTES;
    unsigned step = format->letter == 'c' ? 1 : format->size;
    uint64_t left = (uint64_t)format->count * format->size;

    while (left) {
        uint8_t bytes[LINE_MAX_BYTES];
        unsigned len = (unsigned)MIN(left, per_line);

        hmp_printf(call, "%016" PRIx64 ":", addr);
        if (!hmp_read_memory(call->vm, cpu, addr, bytes, len)) {
            hmp_printf(call, " Cannot access memory\n");
            return;
        }
        for (unsigned i = 0; i < len; i += step) {
            hmp_printf(call, " ");
            print_value(call, format->letter, step, load_le(bytes + i, step));
        }
        hmp_printf(call, "\n");
        addr += len;
        left -= len;
    }
}

/* False: the format is another one. When it cannot be had, the next x shows bytes again. */
static bool disassembled(HmpCall *call, const Format *format, bool is_virtual)
{
    if (format->letter != 'i') {
        return false;
    }
    if (!hmp_disassemble(call, is_virtual, format->count, (uint64_t)hmp_int(call->args, "addr"))) {
        monitor_state(call->vm)->hmp_format = 'x';
    }
    return true;
}

/* A count that was not given is 1; one of 0 shows nothing. */
static Format dump_format(HmpCall *call)
{
    Format format = format_of(call);

    if (!hmp_format(call->args, "format").has_count) {
        format.count = 1;
    }
    return format;
}

static void hmp_x(HmpCall *call)
{
    Format format = dump_format(call);
    Cpu *cpu;

    if (disassembled(call, &format, true) || !(cpu = hmp_cpu_begin(call))) {
        return;
    }
    dump(call, cpu, &format, (uint64_t)hmp_int(call->args, "addr"));
    hmp_cpu_end(call);
}

static void hmp_xp(HmpCall *call)
{
    Format format = dump_format(call);

    if (!disassembled(call, &format, false)) {
        dump(call, NULL, &format, (uint64_t)hmp_int(call->args, "addr"));
    }
}

/* ---- addresses ----------------------------------------------------------------------------------- */

static void hmp_gpa2hva(HmpCall *call)
{
    uint64_t addr = (uint64_t)hmp_int(call->args, "addr");
    const FlatRange *range = flat_view_find(address_space_view(&call->vm->memory), addr);

    if (!range) {
        hmp_printf(call, "No memory is mapped at address 0x%" PRIx64 "\n", addr);
    } else if (!range->region->ram) {
        hmp_printf(call, "Memory at address 0x%" PRIx64 " is not RAM\n", addr);
    } else {
        hmp_printf(call, "Host virtual address for 0x%" PRIx64 " (%s) is %p\n", addr, range->region->name,
                   (void *)(region_host(range->region) + range->offset + (addr - range->start)));
    }
}

static void hmp_gva2gpa(HmpCall *call)
{
    uint64_t addr = (uint64_t)hmp_int(call->args, "addr"), phys;
    Cpu *cpu = hmp_cpu_begin(call);

    if (!cpu) {
        return;
    }
    if (page_translate(cpu, addr, &phys)) {
        hmp_printf(call, "gpa: %#" PRIx64 "\n", phys);
    } else {
        hmp_printf(call, "Unmapped\n");
    }
    hmp_cpu_end(call);
}

/* ---- ports and values --------------------------------------------------------------------------------- */

static void hmp_print(HmpCall *call)
{
    uint64_t value = (uint64_t)hmp_int(call->args, "expr");

    switch (format_of(call).letter) {
    case 'o': hmp_printf(call, "%#" PRIo64, value); break;
    case 'u': hmp_printf(call, "%" PRIu64, value); break;
    case 'c': print_character(call, value); break;
    case 'x': hmp_printf(call, "%#" PRIx64, value); break;
    default: hmp_printf(call, "%" PRId64, (int64_t)value); break;
    }
    hmp_printf(call, "\n");
}

/* Ports are read and written by 1, 2 or 4 bytes; quad words are taken as bytes, as QEMU does. */
static unsigned port_access(unsigned size) { return size == 8 ? 1 : size; }

static void hmp_i(HmpCall *call)
{
    unsigned size = format_of(call).size, access = port_access(size);
    uint64_t addr = (uint64_t)hmp_int(call->args, "addr") & 0xffff, value = 0;

    address_space_load(&call->vm->io, addr, access, &value);
    hmp_printf(call, "port%c[0x%04x] = 0x%0*" PRIx64 "\n", access == 1 ? 'b' : access == 2 ? 'w' : 'l', (unsigned)addr,
               (int)size * 2, value);
}

static void hmp_o(HmpCall *call)
{
    unsigned access = port_access(format_of(call).size);
    uint64_t addr = (uint64_t)hmp_int(call->args, "addr") & 0xffff;
    uint64_t mask = (UINT64_C(1) << access * 8) - 1;

    address_space_store(&call->vm->io, addr, access, (uint64_t)hmp_int(call->args, "value") & mask);
}

/* ---- files ---------------------------------------------------------------------------------------------- */

static char *file_name(HmpCall *call) { return (char *)(uintptr_t)hmp_str(call->args, "filename"); }

static void hmp_memsave(HmpCall *call)
{
    MemsaveArgs args = {.val = hmp_int(call->args, "addr"), .size = hmp_int(call->args, "size"),
                        .filename = file_name(call), .has_cpu_index = true, .cpu_index = *call->cpu_index};

    if (hmp_cpu_begin(call)) {
        hmp_call_qmp(call, qmp_memsave, &args);
        hmp_cpu_end(call);
    }
}

static void hmp_pmemsave(HmpCall *call)
{
    PmemsaveArgs args = {.val = hmp_int(call->args, "addr"), .size = hmp_int(call->args, "size"),
                         .filename = file_name(call)};

    hmp_call_qmp(call, qmp_pmemsave, &args);
}

/* False: two formats were asked for, or one that is not there. */
static bool take_dump_format(HmpCall *call, DumpGuestMemoryFormat *format)
{
    static const struct {
        const char *option;
        DumpGuestMemoryFormat format;
    } formats[] = {{"-z", DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB},
                   {"-l", DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO},
                   {"-s", DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY}};
    unsigned given = hmp_bool(call->args, "-w");

    *format = DUMP_GUEST_MEMORY_FORMAT_ELF;
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (hmp_bool(call->args, formats[i].option)) {
            *format = formats[i].format;
            given++;
        }
    }
    if (given > 1) {
        hmp_printf(call, "Error: only one of '-z|-l|-s|-w' can be set\n");
    } else if (hmp_bool(call->args, "-w")) {
        hmp_printf(call, "Error: -w (win-dmp) is not available: it needs a vmcoreinfo device, which is not there yet; "
                         "take -z, -l, -s, or no option for an ELF core file\n");
    }
    return given <= 1 && !hmp_bool(call->args, "-w");
}

static void hmp_dump(HmpCall *call)
{
    g_autofree char *protocol = g_strconcat("file:", file_name(call), NULL);
    DumpGuestMemoryArgs args = {
        .paging = hmp_bool(call->args, "-p"), .protocol = protocol,
        .has_detach = true, .detach = hmp_bool(call->args, "-d"),
        .has_begin = hmp_has(call->args, "begin"), .begin = hmp_int(call->args, "begin"),
        .has_length = hmp_has(call->args, "length"), .length = hmp_int(call->args, "length"),
        .has_format = true,
    };

    if (take_dump_format(call, &args.format)) {
        hmp_call_qmp(call, qmp_dump_guest_memory, &args);
    }
}

static void info_dump(HmpCall *call)
{
    QmpCall qmp = {.vm = call->vm};

    qmp_query_dump(&qmp, NULL);
    DumpQueryResult *r = qmp.result;
    hmp_printf(call, "Status: %s\n", qapi_type_DumpStatus.names[r->status]);
    if (r->status == DUMP_STATUS_ACTIVE) {
        hmp_printf(call, "Finished: %.2f %%\n", r->total ? 100.0 * (double)r->completed / (double)r->total : 0);
    }
    g_free(r);
}

const HmpCommand hmp_memory_commands[] = {
    {"x", "format:format?,addr:long", "/fmt addr", "shows memory at a virtual address", hmp_x},
    {"xp", "format:format?,addr:long", "/fmt addr", "shows memory at a physical address", hmp_xp},
    {"print|p", "format:format?,expr:long", "/fmt expr", "shows the value of an expression ($name: a register)", hmp_print},
    {"i", "format:format?,addr:int", "/fmt addr", "reads a port", hmp_i},
    {"o", "format:format?,addr:int,value:int", "/fmt addr value", "writes a port", hmp_o},
    {"gpa2hva", "addr:long", NULL, "where a physical address of the guest is in this process", hmp_gpa2hva},
    {"gva2gpa", "addr:long", NULL, "the physical address of a virtual one", hmp_gva2gpa},
    {"memsave", "addr:long,size:int,filename:word", "addr size file", "saves memory at a virtual address to a file",
     hmp_memsave},
    {"pmemsave", "addr:long,size:int,filename:word", "addr size file", "saves memory at a physical address to a file",
     hmp_pmemsave},
    {"dump-guest-memory", "-p:flag,-d:flag,-z:flag,-l:flag,-s:flag,-w:flag,filename:word,begin:long?,length:long?",
     "[-p] [-d] [-z|-l|-s] filename [begin length]",
     "dumps guest memory for debuggers (-p: with the guest's page tables; -d: without waiting; kdump by -z: zlib, -l: lzo, "
     "-s: snappy)", hmp_dump},
    {"info dump", .run = info_dump, .help = "how the last dump-guest-memory goes"},
    {}};
