/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of kvm_regs.c: the parts of a vCPU's state that have a file of their own. Who calls and
 * when: as kvm_regs.h says.
 */
#ifndef ACCEL_KVM_KVM_VCPU_STATE_H
#define ACCEL_KVM_KVM_VCPU_STATE_H

#include <errno.h>
#include <sys/ioctl.h>

#include "accel/x86/cpu.h"

/* ioctl() on a vCPU; an error names the CPU and the request. */
static inline bool kvm_vcpu_call(const Cpu *cpu, int fd, unsigned long request, void *arg,
                                 const char *name, GError **err)
{
    return ioctl(fd, request, arg) >= 0 ||
           error_set_errno(err, errno, "CPU %u: %s", cpu->index, name);
}
#define CALL(cpu, fd, request, arg, err) kvm_vcpu_call(cpu, fd, request, arg, #request, err)

/* cpu->env's x87, SSE and vector registers; the image is made at the first call. */
bool kvm_get_fpu(Cpu *cpu, int fd, GError **err);
bool kvm_put_fpu(Cpu *cpu, int fd, GError **err);
/* XCR0; nothing for a CPU without XSAVE. */
bool kvm_get_xcrs(Cpu *cpu, int fd, GError **err);
bool kvm_put_xcrs(Cpu *cpu, int fd, GError **err);

#endif
