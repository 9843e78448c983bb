/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Machine checks put into a CPU as hardware would report them (Intel SDM volume 3, chapter 16, "Machine-check
 * architecture"). CPUs are at rest and their registers fetched; the caller puts them back.
 */
#ifndef ACCEL_X86_MCE_H
#define ACCEL_X86_MCE_H

#include "accel/x86/cpu.h"
#include "util/error.h"

#define MCI_STATUS_VAL (UINT64_C(1) << 63)
#define MCI_STATUS_OVER (UINT64_C(1) << 62)
#define MCI_STATUS_UC (UINT64_C(1) << 61)
#define MCG_STATUS_RIPV (UINT64_C(1) << 0)
#define MCG_STATUS_MCIP (UINT64_C(1) << 2)

typedef struct MachineCheck {
    unsigned bank;
    uint64_t status, mcg_status, addr, misc; /* IA32_MCi_STATUS, IA32_MCG_STATUS, IA32_MCi_ADDR, IA32_MCi_MISC */
} MachineCheck;

typedef enum MceResult {
    MCE_LOGGED,         /* a corrected error, which the guest finds when it looks */
    MCE_RAISED,         /* the exception is pending */
    MCE_IGNORED,        /* the guest has switched reporting off */
    MCE_TRIPLE_FAULT,   /* the guest cannot take the exception: the machine resets; the CPU is as it was */
} MceResult;

/* False with *err: the CPU has no such bank, or status is not valid. */
bool x86_mce_check(const Cpu *cpu, const MachineCheck *mce, GError **err);
/* mce is valid. */
MceResult x86_mce_inject(Cpu *cpu, const MachineCheck *mce);
/* Do errors of one CPU of this model reach all of them? */
bool x86_mce_broadcasts(const Cpu *cpu);

#endif
