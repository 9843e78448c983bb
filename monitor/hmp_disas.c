/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: format i of x and xp, in QEMU's layout. */
#include <inttypes.h>

#include "accel/x86/cpu.h"
#include "core/object.h"
#include "monitor/disas.h"
#include "monitor/hmp_internal.h"
#include "util/error.h"

#define EFER_LMA (1u << 10)
#define ROW_BYTES 8     /* shown in a row; the rest of a long instruction has its own */

static unsigned code_bits(const Cpu *cpu)
{
    bool long_mode = (cpu->env.efer & EFER_LMA) && (cpu->env.segs[SEG_CS].flags & SEG_L);

    return long_mode ? 64 : cpu->env.segs[SEG_CS].flags & SEG_DB ? 32 : 16;
}

/* As many bytes as can be read, up to an instruction's maximum. */
static unsigned fetch(HmpCall *call, Cpu *cpu, uint64_t addr, uint8_t *code)
{
    unsigned to_page_end = (unsigned)(4096 - addr % 4096);

    if (hmp_read_memory(call->vm, cpu, addr, code, DISAS_MAX_BYTES)) {
        return DISAS_MAX_BYTES;
    }
    return to_page_end < DISAS_MAX_BYTES && hmp_read_memory(call->vm, cpu, addr, code, to_page_end) ? to_page_end : 0;
}

static void print_row(HmpCall *call, uint64_t addr, const uint8_t *code, size_t len)
{
    hmp_printf(call, "0x%08" PRIx64 ": ", addr);
    for (unsigned i = 0; i < ROW_BYTES && i < len; i++) {
        hmp_printf(call, " %02x", code[i]);
    }
}

static void print_instruction(HmpCall *call, uint64_t addr, const uint8_t *code, size_t len, const char *mnemonic,
                              const char *operands)
{
    size_t shown = MIN(len, ROW_BYTES);

    print_row(call, addr, code, len);
    hmp_printf(call, "%*s  %-8s %s\n", (int)(3 * (ROW_BYTES - shown)), "", mnemonic, operands);
    for (size_t i = ROW_BYTES; i < len; i += ROW_BYTES) {
        print_row(call, addr + i, code + i, len - i);
        hmp_printf(call, "\n");
    }
}

static void disassemble(HmpCall *call, const DisasOps *ops, void *handle, Cpu *cpu, int64_t count, uint64_t addr)
{
    do {
        uint8_t code[DISAS_MAX_BYTES];
        char mnemonic[32], operands[160];
        unsigned there = fetch(call, cpu, addr, code);
        size_t len = there ? ops->decode(handle, code, there, addr, mnemonic, operands) : 0;

        if (!len) {
            hmp_printf(call, "0x%08" PRIx64 ": unable to read memory\n", addr);
            return;
        }
        print_instruction(call, addr, code, len, mnemonic, operands);
        addr += len;
    } while (--count > 0);
}

bool hmp_disassemble(HmpCall *call, bool is_virtual, int64_t count, uint64_t addr)
{
    GError *err = NULL;
    const Type *type = type_load("disassembler", &err);
    const DisasOps *ops = type ? type_ops(type) : NULL;

    if (!ops) {
        if (!err) {
            error_set(&err, "format 'i' needs libcapstone, which this program was built without; look at the bytes (/16xb)");
        }
        hmp_error(call, err);
        return false;
    }
    Cpu *cpu = hmp_cpu_begin(call);
    if (!cpu) {
        return true;
    }
    void *handle = ops->open(code_bits(cpu));
    if (handle) {
        disassemble(call, ops, handle, is_virtual ? cpu : NULL, count, addr);
        ops->close(handle);
    } else {
        hmp_printf(call, "Error: libcapstone does not start\n");
    }
    hmp_cpu_end(call);
    return true;
}
