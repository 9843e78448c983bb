/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models: AMD's processors from Opteron to EPYC Milan, and Hygon's.
 *
 * Names, figures and features are those that QEMU 7.2 shows (query-cpu-model-expansion). The vmx-*
 * ones count when the guest has vmx.
 */
#include "accel/x86/models.h"

/* L1 instruction caches of 64 KiB or 32 KiB, L3 of 8, 16 or 32 MiB. */
static const CpuCaches zen_caches = {4, 256, 8192, 0xff, 0x4b};
static const CpuCaches rome_caches = {8, 64, 16384, 0x30, 0x4d};
static const CpuCaches milan_caches = {8, 64, 32768, 0x30, 0xff};

MODEL(opteron_g1, "Opteron_G1", AMD, 15, 6, 1, 0x5, 0x80000008, NULL,
      "AMD Opteron 240 (Gen 1 Class Opteron)", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
      "sse sse2 "
      "pni "
      "syscall nx lm");

MODEL(opteron_g2, "Opteron_G2", AMD, 15, 6, 1, 0x5, 0x80000008, &opteron_g1_v1,
      "AMD Opteron 22xx (Gen 2 Class Opteron)", "", "+cx16 +lahf-lm +svm");

MODEL(opteron_g3, "Opteron_G3", AMD, 16, 2, 3, 0x5, 0x80000008, &opteron_g2_v1,
      "AMD Opteron 23xx (Gen 3 Class Opteron)", "",
      "+monitor +popcnt +rdtscp +abm +sse4a +misalignsse");

MODEL(phenom, "phenom", AMD, 16, 2, 3, 0x5, 0x8000001a, &opteron_g3_v1,
      "AMD Phenom(tm) 9550 Quad-Core Processor", "",
      "-misalignsse "
      "+mmxext +fxsr-opt +pdpe1gb +3dnowext +3dnow +npt");

MODEL(opteron_g4, "Opteron_G4", AMD, 21, 1, 2, 0xd, 0x8000001a, &opteron_g3_v1,
      "AMD Opteron 62xx class CPU", "",
      "-monitor "
      "+pclmulqdq +ssse3 +sse4.1 +sse4.2 +aes +xsave +avx +pdpe1gb +3dnowprefetch +xop +fma4 "
      "+npt +nrip-save");

MODEL(opteron_g5, "Opteron_G5", AMD, 21, 2, 0, 0xd, 0x8000001a, &opteron_g4_v1,
      "AMD Opteron 63xx class CPU", "", "+fma +f16c +tbm");

MODEL(epyc, "EPYC", AMD, 23, 1, 2, 0xd, 0x8000001e, NULL, "AMD EPYC Processor", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
      "sse sse2 "
      "pni pclmulqdq monitor ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c "
      "rdrand "
      "arat "
      "fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni "
      "xsaveopt xsavec xgetbv1 "
      "syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm "
      "lahf-lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext "
      "npt nrip-save",
      .caches = &zen_caches);
VERSION(epyc, 2, "EPYC", AMD, 23, 1, 2, 0xd, 0x8000001e, &epyc_v1, "AMD EPYC Processor (with IBPB)",
        "", "+ibpb", .caches = &zen_caches);
ALIAS(epyc_ibpb, "EPYC-IBPB", epyc_v2, "EPYC-v2");
VERSION(epyc, 3, "EPYC", AMD, 23, 1, 2, 0xd, 0x8000001e, &epyc_v2, "AMD EPYC Processor", "",
        "+xsaves +perfctr-core +clzero +xsaveerptr", .caches = &zen_caches);

MODEL(dhyana, "Dhyana", HYGON, 24, 0, 1, 0xd, 0x8000001e, &epyc_v2, "Hygon Dhyana Processor", "",
      "-pclmulqdq -aes -sha-ni", .caches = &zen_caches);
VERSION(dhyana, 2, "Dhyana", HYGON, 24, 0, 1, 0xd, 0x8000001e, &dhyana_v1, "Hygon Dhyana Processor",
        " [XSAVES]", "+xsaves", .caches = &zen_caches);

MODEL(epyc_rome, "EPYC-Rome", AMD, 23, 49, 0, 0xd, 0x8000001e, &epyc_v3, "AMD EPYC-Rome Processor",
      "", "+clwb +umip +rdpid +wbnoinvd +amd-stibp", .caches = &rome_caches);
VERSION(epyc_rome, 2, "EPYC-Rome", AMD, 23, 49, 0, 0xd, 0x8000001e, &epyc_rome_v1,
        "AMD EPYC-Rome Processor", "", "+ibrs +amd-ssbd", .caches = &rome_caches);

MODEL(epyc_milan, "EPYC-Milan", AMD, 25, 1, 1, 0xd, 0x8000001e, &epyc_rome_v2,
      "AMD EPYC-Milan Processor", "", "+pcid +erms +invpcid +pku +fsrm +svme-addr-chk",
      .caches = &milan_caches);
