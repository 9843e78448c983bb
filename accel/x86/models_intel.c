/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models: Intel's processors from Core Duo to Ice Lake, Atoms and Xeon Phi.
 *
 * Names, figures and features are those that QEMU 7.2 shows (query-cpu-model-expansion). The vmx-*
 * ones count when the guest has vmx.
 */
#include "accel/x86/models.h"

MODEL(coreduo, "coreduo", INTEL, 6, 14, 8, 0xa, 0x80000008, NULL,
      "Genuine Intel(R) CPU           T2600  @ 2.16GHz", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush acpi mmx fxsr "
      "sse sse2 ss "
      "pni monitor "
      "nx "
      "vmx-activity-hlt "
      "vmx-intr-exit vmx-nmi-exit "
      "vmx-vintr-pending vmx-tsc-offset vmx-hlt-exit vmx-invlpg-exit vmx-mwait-exit "
      "vmx-rdpmc-exit vmx-rdtsc-exit vmx-movdr-exit vmx-io-exit vmx-io-bitmap vmx-msr-bitmap "
      "vmx-monitor-exit vmx-pause-exit "
      "vmx-exit-ack-intr");

MODEL(n270, "n270", INTEL, 6, 28, 2, 0xa, 0x80000008, NULL,
      "Intel(R) Atom(TM) CPU N270   @ 1.60GHz", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush acpi mmx fxsr "
      "sse sse2 ss "
      "pni monitor ssse3 movbe "
      "nx "
      "lahf-lm");

MODEL(conroe, "Conroe", INTEL, 6, 15, 3, 0xa, 0x80000008, NULL,
      "Intel Celeron_4x0 (Conroe/Merom Class Core 2)", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
      "sse sse2 "
      "pni ssse3 "
      "syscall nx lm "
      "lahf-lm "
      "vmx-ins-outs "
      "vmx-activity-hlt "
      "vmx-apicv-xapic "
      "vmx-intr-exit vmx-nmi-exit vmx-vnmi "
      "vmx-vintr-pending vmx-tsc-offset vmx-hlt-exit vmx-invlpg-exit vmx-mwait-exit "
      "vmx-rdpmc-exit vmx-rdtsc-exit vmx-cr8-load-exit vmx-cr8-store-exit vmx-flexpriority "
      "vmx-vnmi-pending vmx-movdr-exit vmx-io-exit vmx-io-bitmap vmx-msr-bitmap "
      "vmx-monitor-exit vmx-pause-exit vmx-secondary-ctls "
      "vmx-exit-ack-intr "
      "vmx-entry-ia32e-mode");

MODEL(core2duo, "core2duo", INTEL, 6, 15, 11, 0xa, 0x80000008, &conroe_v1,
      "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz", "", "+acpi +ss +monitor +cx16");

MODEL(penryn, "Penryn", INTEL, 6, 23, 3, 0xa, 0x80000008, &conroe_v1,
      "Intel Core 2 Duo P9xxx (Penryn Class Core 2)", "",
      "+cx16 +sse4.1 "
      "+vmx-wbinvd-exit +vmx-exit-load-perf-global-ctrl +vmx-entry-load-perf-global-ctrl");

MODEL(nehalem, "Nehalem", INTEL, 6, 26, 3, 0xb, 0x80000008, NULL,
      "Intel Core i7 9xx (Nehalem Class Core i7)", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
      "sse sse2 "
      "pni ssse3 cx16 sse4.1 sse4.2 popcnt "
      "syscall nx lm "
      "lahf-lm "
      "vmx-ins-outs vmx-true-ctls "
      "vmx-activity-hlt "
      "vmx-apicv-xapic vmx-ept vmx-desc-exit vmx-apicv-x2apic vmx-vpid vmx-wbinvd-exit "
      "vmx-ept-execonly vmx-page-walk-4 vmx-ept-2mb vmx-ept-1gb vmx-invept "
      "vmx-invept-all-context vmx-invvpid vmx-invvpid-single-addr vmx-invvpid-all-context "
      "vmx-invept-single-context-noglobals "
      "vmx-intr-exit vmx-nmi-exit vmx-vnmi vmx-preemption-timer "
      "vmx-vintr-pending vmx-tsc-offset vmx-hlt-exit vmx-invlpg-exit vmx-mwait-exit "
      "vmx-rdpmc-exit vmx-rdtsc-exit vmx-cr3-load-noexit vmx-cr3-store-noexit vmx-cr8-load-exit "
      "vmx-cr8-store-exit vmx-flexpriority vmx-vnmi-pending vmx-movdr-exit vmx-io-exit "
      "vmx-io-bitmap vmx-mtf vmx-msr-bitmap vmx-monitor-exit vmx-pause-exit vmx-secondary-ctls "
      "vmx-exit-nosave-debugctl vmx-exit-load-perf-global-ctrl vmx-exit-ack-intr "
      "vmx-exit-save-pat vmx-exit-load-pat vmx-exit-save-efer vmx-exit-load-efer "
      "vmx-exit-save-preemption-timer "
      "vmx-entry-noload-debugctl vmx-entry-ia32e-mode vmx-entry-load-perf-global-ctrl "
      "vmx-entry-load-pat vmx-entry-load-efer "
      "vmx-invept-single-context");
VERSION(nehalem, 2, "Nehalem", INTEL, 6, 26, 3, 0xb, 0x80000008, &nehalem_v1,
        "Intel Core i7 9xx (Nehalem Core i7, IBRS update)", "", "+spec-ctrl");
ALIAS(nehalem_ibrs, "Nehalem-IBRS", nehalem_v2, "Nehalem-v2");

MODEL(westmere, "Westmere", INTEL, 6, 44, 1, 0xb, 0x80000008, &nehalem_v1,
      "Westmere E56xx/L56xx/X56xx (Nehalem-C)", "",
      "+pclmulqdq +aes +arat "
      "+vmx-store-lma +vmx-unrestricted-guest");
VERSION(westmere, 2, "Westmere", INTEL, 6, 44, 1, 0xb, 0x80000008, &westmere_v1,
        "Westmere E56xx/L56xx/X56xx (IBRS update)", "", "+spec-ctrl");
ALIAS(westmere_ibrs, "Westmere-IBRS", westmere_v2, "Westmere-v2");

MODEL(sandybridge, "SandyBridge", INTEL, 6, 42, 1, 0xd, 0x80000008, &westmere_v1,
      "Intel Xeon E312xx (Sandy Bridge)", "",
      "+x2apic +tsc-deadline +xsave +avx +xsaveopt +rdtscp "
      "+vmx-rdtscp-exit");
VERSION(sandybridge, 2, "SandyBridge", INTEL, 6, 42, 1, 0xd, 0x80000008, &sandybridge_v1,
        "Intel Xeon E312xx (Sandy Bridge, IBRS update)", "", "+spec-ctrl");
ALIAS(sandybridge_ibrs, "SandyBridge-IBRS", sandybridge_v2, "SandyBridge-v2");

MODEL(ivybridge, "IvyBridge", INTEL, 6, 58, 9, 0xd, 0x80000008, &sandybridge_v1,
      "Intel Xeon E3-12xx v2 (Ivy Bridge)", "",
      "+f16c +rdrand +fsgsbase +smep +erms "
      "+vmx-apicv-register +vmx-apicv-vid +vmx-rdrand-exit +vmx-posted-intr");
VERSION(ivybridge, 2, "IvyBridge", INTEL, 6, 58, 9, 0xd, 0x80000008, &ivybridge_v1,
        "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)", "", "+spec-ctrl");
ALIAS(ivybridge_ibrs, "IvyBridge-IBRS", ivybridge_v2, "IvyBridge-v2");

MODEL(haswell, "Haswell", INTEL, 6, 60, 4, 0xd, 0x80000008, &ivybridge_v1,
      "Intel Core Processor (Haswell)", "",
      "+fma +pcid +movbe +bmi1 +hle +avx2 +bmi2 +invpcid +rtm +abm "
      "+vmx-vmwrite-vmexit-fields +vmx-invpcid-exit +vmx-vmfunc +vmx-shadow-vmcs +vmx-eptad "
      "+vmx-eptp-switching");
VERSION(haswell, 2, "Haswell", INTEL, 6, 60, 1, 0xd, 0x80000008, &haswell_v1,
        "Intel Core Processor (Haswell, no TSX)", "", "-hle -rtm");
ALIAS(haswell_notsx, "Haswell-noTSX", haswell_v2, "Haswell-v2");
VERSION(haswell, 3, "Haswell", INTEL, 6, 60, 4, 0xd, 0x80000008, &haswell_v2,
        "Intel Core Processor (Haswell, IBRS)", "", "+hle +rtm +spec-ctrl");
ALIAS(haswell_ibrs, "Haswell-IBRS", haswell_v3, "Haswell-v3");
VERSION(haswell, 4, "Haswell", INTEL, 6, 60, 1, 0xd, 0x80000008, &haswell_v3,
        "Intel Core Processor (Haswell, no TSX, IBRS)", "", "-hle -rtm");
ALIAS(haswell_notsx_ibrs, "Haswell-noTSX-IBRS", haswell_v4, "Haswell-v4");

MODEL(broadwell, "Broadwell", INTEL, 6, 61, 2, 0xd, 0x80000008, &haswell_v1,
      "Intel Core Processor (Broadwell)", "",
      "+rdseed +adx +smap +3dnowprefetch "
      "+vmx-rdseed-exit +vmx-pml");
VERSION(broadwell, 2, "Broadwell", INTEL, 6, 61, 2, 0xd, 0x80000008, &broadwell_v1,
        "Intel Core Processor (Broadwell, no TSX)", "", "-hle -rtm");
ALIAS(broadwell_notsx, "Broadwell-noTSX", broadwell_v2, "Broadwell-v2");
VERSION(broadwell, 3, "Broadwell", INTEL, 6, 61, 2, 0xd, 0x80000008, &broadwell_v2,
        "Intel Core Processor (Broadwell, IBRS)", "", "+hle +rtm +spec-ctrl");
ALIAS(broadwell_ibrs, "Broadwell-IBRS", broadwell_v3, "Broadwell-v3");
VERSION(broadwell, 4, "Broadwell", INTEL, 6, 61, 2, 0xd, 0x80000008, &broadwell_v3,
        "Intel Core Processor (Broadwell, no TSX, IBRS)", "", "-hle -rtm");
ALIAS(broadwell_notsx_ibrs, "Broadwell-noTSX-IBRS", broadwell_v4, "Broadwell-v4");

MODEL(skylake_client, "Skylake-Client", INTEL, 6, 94, 3, 0xd, 0x80000008, &broadwell_v1,
      "Intel Core Processor (Skylake)", "",
      "-vmx-apicv-x2apic -vmx-apicv-register -vmx-apicv-vid -vmx-posted-intr "
      "+xsavec +xgetbv1");
VERSION(skylake_client, 2, "Skylake-Client", INTEL, 6, 94, 3, 0xd, 0x80000008, &skylake_client_v1,
        "Intel Core Processor (Skylake, IBRS)", "", "+spec-ctrl");
ALIAS(skylake_client_ibrs, "Skylake-Client-IBRS", skylake_client_v2, "Skylake-Client-v2");
VERSION(skylake_client, 3, "Skylake-Client", INTEL, 6, 94, 3, 0xd, 0x80000008, &skylake_client_v2,
        "Intel Core Processor (Skylake, IBRS, no TSX)", "", "-hle -rtm");
ALIAS(skylake_client_notsx_ibrs, "Skylake-Client-noTSX-IBRS", skylake_client_v3,
      "Skylake-Client-v3");
VERSION(skylake_client, 4, "Skylake-Client", INTEL, 6, 94, 3, 0xd, 0x80000008, &skylake_client_v3,
        "Intel Core Processor (Skylake, IBRS, no TSX)", " [IBRS, XSAVES, no TSX]",
        "+xsaves "
        "+vmx-xsaves");

MODEL(skylake_server, "Skylake-Server", INTEL, 6, 85, 4, 0xd, 0x80000008, &skylake_client_v1,
      "Intel Xeon Processor (Skylake)", "",
      "-vmx-eptp-switching "
      "+avx512f +avx512dq +clflushopt +clwb +avx512cd +avx512bw +avx512vl +pku +pdpe1gb "
      "+vmx-apicv-x2apic +vmx-apicv-register +vmx-apicv-vid +vmx-posted-intr");
VERSION(skylake_server, 2, "Skylake-Server", INTEL, 6, 85, 4, 0xd, 0x80000008, &skylake_server_v1,
        "Intel Xeon Processor (Skylake, IBRS)", "",
        "-clflushopt "
        "+spec-ctrl");
ALIAS(skylake_server_ibrs, "Skylake-Server-IBRS", skylake_server_v2, "Skylake-Server-v2");
VERSION(skylake_server, 3, "Skylake-Server", INTEL, 6, 85, 4, 0xd, 0x80000008, &skylake_server_v2,
        "Intel Xeon Processor (Skylake, IBRS, no TSX)", "", "-hle -rtm");
ALIAS(skylake_server_notsx_ibrs, "Skylake-Server-noTSX-IBRS", skylake_server_v3,
      "Skylake-Server-v3");
VERSION(skylake_server, 4, "Skylake-Server", INTEL, 6, 85, 4, 0xd, 0x80000008, &skylake_server_v3,
        "Intel Xeon Processor (Skylake, IBRS, no TSX)", " [IBRS, EPT switching, no TSX]",
        "+vmx-eptp-switching");
VERSION(skylake_server, 5, "Skylake-Server", INTEL, 6, 85, 4, 0xd, 0x80000008, &skylake_server_v4,
        "Intel Xeon Processor (Skylake, IBRS, no TSX)", " [IBRS, XSAVES, EPT switching, no TSX]",
        "+xsaves "
        "+vmx-xsaves");

MODEL(cascadelake_server, "Cascadelake-Server", INTEL, 6, 85, 6, 0xd, 0x80000008,
      &skylake_server_v1, "Intel Xeon Processor (Cascadelake)", "", "+avx512vnni +spec-ctrl +ssbd");
VERSION(cascadelake_server, 2, "Cascadelake-Server", INTEL, 6, 85, 6, 0xd, 0x80000008,
        &cascadelake_server_v1, "Intel Xeon Processor (Cascadelake)", " [ARCH_CAPABILITIES]",
        "+arch-capabilities +rdctl-no +ibrs-all +skip-l1dfl-vmentry +mds-no");
VERSION(cascadelake_server, 3, "Cascadelake-Server", INTEL, 6, 85, 6, 0xd, 0x80000008,
        &cascadelake_server_v2, "Intel Xeon Processor (Cascadelake)",
        " [ARCH_CAPABILITIES, no TSX]", "-hle -rtm");
ALIAS(cascadelake_server_notsx, "Cascadelake-Server-noTSX", cascadelake_server_v3,
      "Cascadelake-Server-v3");
VERSION(cascadelake_server, 4, "Cascadelake-Server", INTEL, 6, 85, 6, 0xd, 0x80000008,
        &cascadelake_server_v3, "Intel Xeon Processor (Cascadelake)",
        " [ARCH_CAPABILITIES, EPT switching, no TSX]", "+vmx-eptp-switching");
VERSION(cascadelake_server, 5, "Cascadelake-Server", INTEL, 6, 85, 6, 0xd, 0x80000008,
        &cascadelake_server_v4, "Intel Xeon Processor (Cascadelake)",
        " [ARCH_CAPABILITIES, EPT switching, XSAVES, no TSX]",
        "+xsaves "
        "+vmx-xsaves");

MODEL(cooperlake, "Cooperlake", INTEL, 6, 85, 10, 0xd, 0x80000008, &cascadelake_server_v2,
      "Intel Xeon Processor (Cooperlake)", "",
      "+stibp +avx512-bf16 +pschange-mc-no +taa-no "
      "+vmx-eptp-switching");
VERSION(cooperlake, 2, "Cooperlake", INTEL, 6, 85, 10, 0xd, 0x80000008, &cooperlake_v1,
        "Intel Xeon Processor (Cooperlake)", " [XSAVES]",
        "+xsaves "
        "+vmx-xsaves");

MODEL(icelake_server, "Icelake-Server", INTEL, 6, 134, 0, 0xd, 0x80000008, &cascadelake_server_v1,
      "Intel Xeon Processor (Icelake)", "",
      "-vmx-rdseed-exit -vmx-pml "
      "+avx512vbmi +umip +avx512vbmi2 +gfni +vaes +vpclmulqdq +avx512bitalg +avx512-vpopcntdq "
      "+la57 +wbnoinvd");
VERSION(icelake_server, 2, "Icelake-Server", INTEL, 6, 134, 0, 0xd, 0x80000008, &icelake_server_v1,
        "Intel Xeon Processor (Icelake)", " [no TSX]", "-hle -rtm");
ALIAS(icelake_server_notsx, "Icelake-Server-noTSX", icelake_server_v2, "Icelake-Server-v2");
VERSION(icelake_server, 3, "Icelake-Server", INTEL, 6, 134, 0, 0xd, 0x80000008, &icelake_server_v2,
        "Intel Xeon Processor (Icelake)", "",
        "+arch-capabilities +rdctl-no +ibrs-all +skip-l1dfl-vmentry +mds-no +pschange-mc-no "
        "+taa-no");
VERSION(icelake_server, 4, "Icelake-Server", INTEL, 6, 106, 0, 0xd, 0x80000008, &icelake_server_v3,
        "Intel Xeon Processor (Icelake)", "",
        "+avx512ifma +sha-ni +rdpid +fsrm "
        "+vmx-rdseed-exit +vmx-pml +vmx-eptp-switching");
VERSION(icelake_server, 5, "Icelake-Server", INTEL, 6, 106, 0, 0xd, 0x80000008, &icelake_server_v4,
        "Intel Xeon Processor (Icelake)", " [XSAVES]",
        "+xsaves "
        "+vmx-xsaves");
VERSION(icelake_server, 6, "Icelake-Server", INTEL, 6, 106, 0, 0xd, 0x80000008, &icelake_server_v5,
        "Intel Xeon Processor (Icelake)", " [5-level EPT]", "+vmx-page-walk-5");

MODEL(denverton, "Denverton", INTEL, 6, 95, 1, 0x15, 0x80000008, &skylake_client_v1,
      "Intel Atom Processor (Denverton)", "",
      "-fma -pcid -avx -f16c -bmi1 -hle -avx2 -bmi2 -invpcid -rtm -adx -abm -vmx-invpcid-exit "
      "+monitor +mpx +clflushopt +sha-ni +spec-ctrl +arch-capabilities +ssbd +pdpe1gb +rdctl-no "
      "+skip-l1dfl-vmentry "
      "+vmx-apicv-x2apic +vmx-apicv-register +vmx-apicv-vid +vmx-posted-intr");
VERSION(denverton, 2, "Denverton", INTEL, 6, 95, 1, 0x15, 0x80000008, &denverton_v1,
        "Intel Atom Processor (Denverton)", " [no MPX, no MONITOR]", "-monitor -mpx");
VERSION(denverton, 3, "Denverton", INTEL, 6, 95, 1, 0x15, 0x80000008, &denverton_v2,
        "Intel Atom Processor (Denverton)", " [XSAVES, no MPX, no MONITOR]",
        "+xsaves "
        "+vmx-xsaves");

MODEL(snowridge, "Snowridge", INTEL, 6, 134, 1, 0x1b, 0x80000008, &denverton_v1,
      "Intel Atom Processor (SnowRidge)", "",
      "-rdctl-no -skip-l1dfl-vmentry "
      "+clwb +umip +gfni +cldemote +movdiri +movdir64b +core-capability +split-lock-detect");
VERSION(snowridge, 2, "Snowridge", INTEL, 6, 134, 1, 0x1b, 0x80000008, &snowridge_v1,
        "Intel Atom Processor (Snowridge, no MPX)", "", "-mpx");
VERSION(snowridge, 3, "Snowridge", INTEL, 6, 134, 1, 0x1b, 0x80000008, &snowridge_v2,
        "Intel Atom Processor (Snowridge, no MPX)", " [XSAVES, no MPX]",
        "+xsaves "
        "+vmx-xsaves");
VERSION(snowridge, 4, "Snowridge", INTEL, 6, 134, 1, 0x1b, 0x80000008, &snowridge_v3,
        "Intel Atom Processor (Snowridge, no MPX)", " [no split lock detect, no core-capability]",
        "-core-capability -split-lock-detect");

MODEL(knightsmill, "KnightsMill", INTEL, 6, 133, 0, 0xd, 0x80000008, NULL,
      "Intel Xeon Phi Processor (Knights Mill)", "",
      "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
      "sse sse2 ss "
      "pni pclmulqdq ssse3 fma cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave "
      "avx f16c rdrand "
      "arat "
      "fsgsbase bmi1 avx2 smep bmi2 erms avx512f rdseed adx avx512pf avx512er avx512cd "
      "avx512-vpopcntdq "
      "avx512-4vnniw avx512-4fmaps "
      "xsaveopt "
      "syscall nx pdpe1gb rdtscp lm "
      "lahf-lm abm 3dnowprefetch");
