/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A CPU's registers for people, in the layout of QEMU's "info registers". */
#include "accel/x86/cpu.h"

static void dump_segment(FILE *out, const char *name, const X86Segment *s, bool lma)
{
    fprintf(out,
            lma ? "%-3s=%04x %016" PRIx64 " %08x %08x\n" : "%-3s=%04x %08" PRIx64 " %08x %08x\n",
            name, s->selector, s->base, s->limit, s->flags);
}

static void dump_general(const X86State *env, FILE *out, bool long_mode)
{
    static const char *const names64[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                            "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static const uint8_t order[16] = {0, 3, 1, 2, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15};

    for (unsigned i = 0; i < (long_mode ? 16 : 8); i++) {
        const char *name = names64[order[i]];

        if (long_mode) {
            fprintf(out, "%s=%016" PRIx64 "%c", name, env->regs[order[i]], i % 4 == 3 ? '\n' : ' ');
        } else {
            fprintf(out, "E%s=%08x%c", name + 1, (uint32_t)env->regs[order[i]],
                    i % 4 == 3 ? '\n' : ' ');
        }
    }
}

void cpu_print_registers(const Cpu *cpu, FILE *out)
{
    static const char *const segment_names[6] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    const X86State *env = &cpu->env;
    bool lma = env->efer >> 10 & 1, long_mode = lma && env->segs[SEG_CS].flags & SEG_L;

    dump_general(env, out, long_mode);
    fprintf(out, long_mode ? "RIP=%016" PRIx64 " RFL=%08x" : "EIP=%08" PRIx64 " EFL=%08x", env->eip,
            (uint32_t)env->eflags);
    fprintf(out, " [-------] CPL=%u II=%u A20=1 SMM=%u HLT=%u\n",
            env->segs[SEG_SS].flags >> SEG_DPL_SHIFT & 3, env->interrupt_shadow != 0, env->smm,
            cpu->halted);
    for (unsigned i = 0; i < 6; i++) {
        dump_segment(out, segment_names[i], &env->segs[i], lma);
    }
    dump_segment(out, "LDT", &env->ldt, lma);
    dump_segment(out, "TR", &env->tr, lma);
    fprintf(out, "GDT=     %08" PRIx64 " %08x\nIDT=     %08" PRIx64 " %08x\n", env->gdt.base,
            env->gdt.limit, env->idt.base, env->idt.limit);
    fprintf(out, "CR0=%08x CR2=%016" PRIx64 " CR3=%016" PRIx64 " CR4=%08x\n", (uint32_t)env->cr[0],
            env->cr[2], env->cr[3], (uint32_t)env->cr[4]);
    for (unsigned i = 0; i < 4; i++) {
        fprintf(out, "DR%u=%016" PRIx64 "%c", i, env->dr[i], i == 3 ? '\n' : ' ');
    }
    fprintf(out, "DR6=%016" PRIx64 " DR7=%016" PRIx64 "\nEFER=%016" PRIx64 "\n", env->dr[6],
            env->dr[7], env->efer);
}

void cpu_print_vectors(const Cpu *cpu, FILE *out)
{
    const X86State *env = &cpu->env;
    bool wide = env->efer >> 10 & 1 && env->segs[SEG_CS].flags & SEG_L;

    fprintf(out, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", env->fpuc, env->fpus,
            env->fpus >> 11 & 7, env->fptag, env->mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        fprintf(out, "FPR%u=%016" PRIx64 " %04x%c", i, env->fpregs[i].mantissa,
                env->fpregs[i].exponent, i & 1 ? '\n' : ' ');
    }
    for (unsigned i = 0; i < (wide ? 16 : 8); i++) {
        fprintf(out, "XMM%02u=%016" PRIx64 " %016" PRIx64 "%c", i, env->xmm_regs[i][1],
                env->xmm_regs[i][0], i & 1 ? '\n' : ' ');
    }
}
