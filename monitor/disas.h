/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Machine code as text. A module brings it (kiln-capstone.so, with libcapstone): the ops of the type "disassembler",
 * of which there are no objects.
 */
#ifndef MONITOR_DISAS_H
#define MONITOR_DISAS_H

#include <stddef.h>
#include <stdint.h>

#define DISAS_MAX_BYTES 15  /* of one instruction */

typedef struct DisasOps {
    /* For code of 16, 32 or 64 bits. NULL: the library refuses. */
    void *(*open)(unsigned bits);
    /* One instruction in AT&T syntax, out of the len bytes at code, which are at addr. Returns its length; 0: len bytes are
     * too few. What is no instruction is a byte (".byte"). */
    size_t (*decode)(void *handle, const uint8_t *code, size_t len, uint64_t addr, char mnemonic[32], char operands[160]);
    void (*close)(void *handle);
} DisasOps;

#endif
