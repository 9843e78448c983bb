/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "accel/x86/mce.h"

#include <linux/kvm.h>

#include "accel/x86/cpu_config.h"

#define MCG_CTL_P (UINT64_C(1) << 8)
#define MCG_BANKS 0xff
#define CR4_MCE (UINT64_C(1) << 6)
#define VECTOR_MC 18

bool x86_mce_check(const Cpu *cpu, const MachineCheck *mce, GError **err)
{
    if (mce->bank >= MIN(cpu->env.mcg_cap & MCG_BANKS, X86_MCE_BANKS)) {
        return error_set(err, "Invalid MCE bank number");
    }
    return (mce->status & MCI_STATUS_VAL) || error_set(err, "Invalid MCE status code");
}

/* An uncorrected error is not overwritten by a corrected one. */
static MceResult log_corrected(uint64_t *bank, const MachineCheck *mce)
{
    bool kept = (bank[1] & MCI_STATUS_VAL) && (bank[1] & MCI_STATUS_UC);

    if (kept) {
        bank[1] |= MCI_STATUS_OVER;
    } else {
        bank[1] = mce->status | (bank[1] & MCI_STATUS_VAL ? MCI_STATUS_OVER : 0);
        bank[2] = mce->addr;
        bank[3] = mce->misc;
    }
    return MCE_LOGGED;
}

MceResult x86_mce_inject(Cpu *cpu, const MachineCheck *mce)
{
    X86State *env = &cpu->env;
    uint64_t *bank = env->mce_banks + mce->bank * 4; /* control, status, address, misc */

    if (!(mce->status & MCI_STATUS_UC)) {
        return log_corrected(bank, mce);
    }
    if (((env->mcg_cap & MCG_CTL_P) && env->mcg_ctl != UINT64_MAX) || bank[0] != UINT64_MAX) {
        return MCE_IGNORED;
    }
    if ((env->mcg_status & MCG_STATUS_MCIP) || !(env->cr[4] & CR4_MCE)) {
        return MCE_TRIPLE_FAULT;
    }
    bank[1] = mce->status | (bank[1] & MCI_STATUS_VAL ? MCI_STATUS_OVER : 0);
    bank[2] = mce->addr;
    bank[3] = mce->misc;
    env->mcg_status = mce->mcg_status;
    env->exception_nr = VECTOR_MC;
    env->exception_injected = 1;
    env->exception_pending = env->exception_has_payload = env->has_error_code = 0;
    if (env->mp_state == KVM_MP_STATE_HALTED) {
        env->mp_state = KVM_MP_STATE_RUNNABLE;
    }
    return MCE_RAISED;
}

/* Family 6 from model 14 on, and later families. */
bool x86_mce_broadcasts(const Cpu *cpu)
{
    uint32_t regs[4];

    cpu_cpuid(cpu, 1, 0, regs);
    unsigned family = (regs[CPUID_EAX] >> 8 & 15) + (regs[CPUID_EAX] >> 20 & 255);
    unsigned model = (regs[CPUID_EAX] >> 4 & 15) | (regs[CPUID_EAX] >> 16 & 15) << 4;

    return family > 6 || (family == 6 && model >= 14);
}
