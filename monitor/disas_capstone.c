/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disassembler of the monitor, by libcapstone. */
#include <capstone.h>
#include <glib.h>

#include "core/object.h"
#include "monitor/disas.h"

typedef struct Disas {
    csh capstone;
    cs_insn *insn;
} Disas;

static void *disas_open(unsigned bits)
{
    cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;
    Disas *d = g_new0(Disas, 1);

    if (cs_open(CS_ARCH_X86, mode, &d->capstone) != CS_ERR_OK) {
        g_free(d);
        return NULL;
    }
    cs_option(d->capstone, CS_OPT_SYNTAX, CS_OPT_SYNTAX_ATT);
    cs_option(d->capstone, CS_OPT_SKIPDATA, CS_OPT_ON);
    d->insn = cs_malloc(d->capstone);
    return d;
}

static size_t disas_decode(void *handle, const uint8_t *code, size_t len, uint64_t addr, char mnemonic[32],
                           char operands[160])
{
    Disas *d = handle;

    if (!cs_disasm_iter(d->capstone, &code, &len, &addr, d->insn)) {
        return 0;
    }
    g_strlcpy(mnemonic, d->insn->mnemonic, 32);
    g_strlcpy(operands, d->insn->op_str, 160);
    return d->insn->size;
}

static void disas_close(void *handle)
{
    Disas *d = handle;

    cs_free(d->insn, 1);
    cs_close(&d->capstone);
    g_free(d);
}

static const DisasOps disas_ops = {disas_open, disas_decode, disas_close};

KILN_TYPE(disassembler) = {
    .name = "disassembler",
    .parent = "object",
    .desc = "machine code as text",
    .size = sizeof(Object),
    .abstract = true,
    .not_user = "the monitor's x/i uses it",
    .ops = &disas_ops,
};
