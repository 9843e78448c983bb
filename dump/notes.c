/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF notes of the CPUs: NT_PRSTATUS as Linux writes it for a process (32-bit outside of long mode), and QEMU's own note
 * with the control registers and segments.
 */
#include <elf.h>
#include <string.h>

#include "dump/dump_int.h"
#include "accel/x86/cpu.h"

#define QEMU_NOTE_VERSION 1
#define QEMU_NOTE_SIZE 440

static void put(GByteArray *out, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    store_le(bytes, value, size);
    g_byte_array_append(out, bytes, size);
}

static void put_zeros(GByteArray *out, unsigned count)
{
    static const uint8_t zeros[128];

    g_byte_array_append(out, zeros, count);
}

/* name and its zero byte are padded to 8 bytes, as both names here are 5 long. */
static void put_header(GByteArray *out, const char *name, uint32_t type, uint32_t size)
{
    put(out, strlen(name) + 1, 4);
    put(out, size, 4);
    put(out, type, 4);
    g_byte_array_append(out, (const uint8_t *)name, (unsigned)strlen(name));
    put_zeros(out, 8 - (unsigned)strlen(name));
}

/* struct elf_prstatus of Linux on x86-64: 336 bytes, registers from 112 on. */
static void put_prstatus64(GByteArray *out, const X86State *env, unsigned id)
{
    static const uint8_t order[] = {15, 14, 13, 12, X86_RBP, X86_RBX, 11, 10, 9, 8, X86_RAX, X86_RCX, X86_RDX, X86_RSI, X86_RDI};

    put_header(out, "CORE", NT_PRSTATUS, 336);
    put_zeros(out, 32);
    put(out, id, 4);
    put_zeros(out, 112 - 36);
    for (unsigned i = 0; i < sizeof order; i++) {
        put(out, env->regs[order[i]], 8);
    }
    put(out, env->regs[X86_RAX], 8); /* orig_rax */
    put(out, env->eip, 8);
    put(out, env->segs[SEG_CS].selector, 8);
    put(out, env->eflags, 8);
    put(out, env->regs[X86_RSP], 8);
    put(out, env->segs[SEG_SS].selector, 8);
    put(out, env->segs[SEG_FS].base, 8);
    put(out, env->segs[SEG_GS].base, 8);
    put(out, env->segs[SEG_DS].selector, 8);
    put(out, env->segs[SEG_ES].selector, 8);
    put(out, env->segs[SEG_FS].selector, 8);
    put(out, env->segs[SEG_GS].selector, 8);
    put_zeros(out, 8); /* fpvalid */
}

/* The same of Linux on i386: 144 bytes, registers from 72 on. */
static void put_prstatus32(GByteArray *out, const X86State *env, unsigned id)
{
    static const uint8_t order[] = {X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RBP, X86_RAX};

    put_header(out, "CORE", NT_PRSTATUS, 144);
    put_zeros(out, 24);
    put(out, id, 4);
    put_zeros(out, 72 - 28);
    for (unsigned i = 0; i < sizeof order; i++) {
        put(out, env->regs[order[i]], 4);
    }
    put(out, env->segs[SEG_DS].selector, 4);
    put(out, env->segs[SEG_ES].selector, 4);
    put(out, env->segs[SEG_FS].selector, 4);
    put(out, env->segs[SEG_GS].selector, 4);
    put(out, env->regs[X86_RAX], 4);
    put(out, env->eip, 4);
    put(out, env->segs[SEG_CS].selector, 4);
    put(out, env->eflags, 4);
    put(out, env->regs[X86_RSP], 4);
    put(out, env->segs[SEG_SS].selector, 4);
    put_zeros(out, 4);
}

static void put_segment(GByteArray *out, const X86Segment *segment)
{
    put(out, segment->selector, 4);
    put(out, segment->limit, 4);
    put(out, segment->flags, 4);
    put(out, 0, 4);
    put(out, segment->base, 8);
}

static void put_qemu_note(GByteArray *out, const X86State *env)
{
    static const uint8_t order[] = {X86_RAX, X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RSP, X86_RBP, 8, 9, 10, 11, 12, 13, 14, 15};
    const X86Segment *const segments[] = {
        &env->segs[SEG_CS], &env->segs[SEG_DS], &env->segs[SEG_ES], &env->segs[SEG_FS], &env->segs[SEG_GS],
        &env->segs[SEG_SS], &env->ldt, &env->tr, &env->gdt, &env->idt,
    };

    put_header(out, "QEMU", 0, QEMU_NOTE_SIZE);
    put(out, QEMU_NOTE_VERSION, 4);
    put(out, QEMU_NOTE_SIZE, 4);
    for (unsigned i = 0; i < sizeof order; i++) {
        put(out, env->regs[order[i]], 8);
    }
    put(out, env->eip, 8);
    put(out, env->eflags, 8);
    for (unsigned i = 0; i < G_N_ELEMENTS(segments); i++) {
        put_segment(out, segments[i]);
    }
    for (unsigned i = 0; i < 5; i++) {
        put(out, env->cr[i], 8);
    }
    put(out, env->kernelgsbase, 8);
}

bool dump_make_notes(Dump *dump, GError **err)
{
    GPtrArray *cpus = dump->vm->cpus;

    for (unsigned i = 0; i < cpus->len; i++) {
        Cpu *cpu = cpus->pdata[i];

        if (cpu && dump->vm->accel->ops->cpu_get_state && !dump->vm->accel->ops->cpu_get_state(cpu, err)) {
            return false;
        }
    }
    dump->cpus = 0;
    dump->long_mode = cpus->len && ((Cpu *)cpus->pdata[0])->env.efer >> 10 & 1;
    for (unsigned i = 0; i < cpus->len; i++) {
        const Cpu *cpu = cpus->pdata[i];

        if (cpu) {
            (dump->long_mode ? put_prstatus64 : put_prstatus32)(dump->notes, &cpu->env, i + 1);
            dump->cpus++;
        }
    }
    for (unsigned i = 0; i < cpus->len; i++) {
        const Cpu *cpu = cpus->pdata[i];

        if (cpu) {
            put_qemu_note(dump->notes, &cpu->env);
        }
    }
    return true;
}
