/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models that are no real processor (qemu64, kvm64), and processors without 64 bits.
 *
 * Names, figures and features are those that QEMU 7.2 shows (query-cpu-model-expansion). The vmx-*
 * ones count when the guest has vmx.
 */
#include "accel/x86/models.h"

MODEL(qemu64, "qemu64", AMD, 15, 107, 1, 0xd, 0x8000000a, NULL, "QEMU Virtual CPU version 2.5+", "",
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse "
      "sse2 "
      "pni cx16 "
      "syscall nx lm "
      "lahf-lm svm");

MODEL(qemu32, "qemu32", INTEL, 6, 6, 3, 0x4, 0x80000004, NULL, "QEMU Virtual CPU version 2.5+", "",
      "fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat mmx fxsr sse sse2 "
      "pni");

MODEL(kvm32, "kvm32", INTEL, 15, 6, 1, 0x5, 0x80000008, NULL, "Common 32-bit KVM processor", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
      "sse sse2 "
      "pni "
      "vmx-activity-hlt "
      "vmx-intr-exit vmx-nmi-exit "
      "vmx-vintr-pending vmx-tsc-offset vmx-hlt-exit vmx-invlpg-exit vmx-mwait-exit "
      "vmx-rdpmc-exit vmx-rdtsc-exit vmx-movdr-exit vmx-io-exit vmx-io-bitmap vmx-msr-bitmap "
      "vmx-monitor-exit vmx-pause-exit "
      "vmx-exit-ack-intr");

MODEL(kvm64, "kvm64", INTEL, 15, 6, 1, 0xd, 0x80000008, &kvm32_v1, "Common KVM processor", "",
      "-vmx-msr-bitmap "
      "+cx16 +syscall +nx +lm "
      "+vmx-cr8-load-exit +vmx-cr8-store-exit +vmx-flexpriority +vmx-entry-ia32e-mode");

MODEL(i486, "486", INTEL, 4, 8, 0, 0x1, 0x0, NULL, "", "", "fpu vme pse");

MODEL(pentium, "pentium", INTEL, 5, 4, 3, 0x1, 0x0, &i486_v1, "", "",
      "+de +tsc +msr +mce +cx8 +apic +mmx");

MODEL(pentium2, "pentium2", INTEL, 6, 5, 2, 0x2, 0x0, NULL, "", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr");

MODEL(pentium3, "pentium3", INTEL, 6, 7, 3, 0x3, 0x0, &pentium2_v1, "", "", "+sse");

MODEL(athlon, "athlon", AMD, 6, 2, 3, 0x2, 0x80000008, &pentium3_v1,
      "QEMU Virtual CPU version 2.5+", "", "+sse2 +mmxext +3dnowext +3dnow");

static const CpuModel base = {.name = "base"};
CPU_TYPE(base, "base", "base CPU model type with no features enabled", base);
