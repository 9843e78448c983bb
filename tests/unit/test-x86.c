/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU models, features, topology and the state of a CPU. Expected CPUID leaves are what QEMU 7.2
 * handed to KVM for the same -cpu and -smp (recorded from its KVM_SET_CPUID2).
 */
#include <stdlib.h>

#include "accel/x86/cpu.h"
#include "accel/x86/cpu_config.h"
#include "accel/x86/cpu_state.h"
#include "accel/x86/mce.h"
#include "core/vm.h"

typedef struct Rig {
    Vm *vm;
} Rig;

static void rig_open(Rig *r)
{
    GError *err = NULL;

    r->vm = vm_new(&err);
    g_assert_no_error(err);
    g_assert_true(accel_create(r->vm, "qtest", NULL, &err));
}

static void rig_close(Rig *r) { vm_free(r->vm); }

static Cpu *make_cpu(Rig *r, const char *model, const CpuTopology *topology, unsigned index)
{
    GError *err = NULL;

    g_assert_true(cpu_model_parse(r->vm, model, &err));
    g_assert_no_error(err);
    if (topology) {
        cpu_set_topology(r->vm, topology);
    }
    Cpu *cpu =
        cpu_new(r->vm, index, topology ? cpu_topology_apic_id(topology, index) : index, &err);
    g_assert_no_error(err);
    return cpu;
}

/* ---- features -------------------------------------------------------------------------------- */

static void test_names_are_unique(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (const Property *p = x86_cpu_props; p->name; p++) {
        g_assert_true(g_hash_table_add(seen, (void *)p->name));
        g_assert_cmpint(*p->name, !=, 0);
        g_assert_null(strchr(p->name, ' '));
    }
}

/* A bit has one name that is no alias, and each alias stands beside one. */
static void test_bits_are_unique(void)
{
    uint64_t primary[FEATURE_WORDS] = {0}, named[FEATURE_WORDS] = {0};

    for (const Property *p = x86_cpu_props; p->name; p++) {
        FeatureWord word;
        unsigned bit;

        if (p->kind != &prop_kind_cpu_feature) {
            continue;
        }
        g_assert_true(feature_find(p->name, &word, &bit));
        g_assert_cmpuint(word, <, FEATURE_WORDS);
        g_assert_true(p->min >> bit & 1);
        named[word] |= p->min;
        if (!p->max) {
            g_assert_false(primary[word] & p->min);
            primary[word] |= p->min;
            g_assert_cmpstr(feature_name(word, bit), ==, p->name);
        }
    }
    for (unsigned word = 0; word < FEATURE_WORDS; word++) {
        g_assert_cmphex(primary[word], ==, named[word]);
        g_assert_cmphex(feature_named((FeatureWord)word), ==, named[word]);
    }
}

static void test_descriptions(void)
{
    g_autofree char *pni = feature_describe(FEAT_1_ECX, 0),
                    *msr = feature_describe(FEAT_ARCH_CAPABILITIES, 0);
    g_autofree char *nameless = feature_describe(FEAT_1_EDX, 10);

    g_assert_cmpstr(pni, ==, "CPUID.01H:ECX.pni [bit 0]");
    g_assert_cmpstr(msr, ==, "MSR(10AH).rdctl-no [bit 0]");
    g_assert_cmpstr(nameless, ==, "CPUID.01H:EDX [bit 10]");
}

static void collect(const char *name, void *opaque) { g_ptr_array_add(opaque, (void *)name); }

/* The flags that -cpu help lists are QEMU's, nested VMX controls aside. */
static void test_names_are_qemus(void)
{
    g_autofree char *out = NULL, *path = g_find_program_in_path("qemu-system-x86_64");
    g_autoptr(GPtrArray) ours = g_ptr_array_new();

    if (!path) {
        g_test_skip("qemu-system-x86_64 is not installed");
        return;
    }
    g_assert_true(
        g_spawn_command_line_sync("qemu-system-x86_64 -cpu help", &out, NULL, NULL, NULL));
    const char *flags = strstr(out, "Recognized CPUID flags:\n");
    g_assert_nonnull(flags);
    g_auto(GStrv) theirs = g_strsplit_set(flags + strlen("Recognized CPUID flags:\n"), " \n", -1);
    feature_foreach_name(collect, ours);
    for (char **t = theirs; *t; t++) {
        FeatureWord word;
        unsigned bit;

        if (**t && !g_str_has_prefix(*t, "vmx-") && !feature_find(*t, &word, &bit)) {
            g_test_message("'%s' is missing", *t);
            g_test_fail();
        }
    }
    for (unsigned i = 0; i < ours->len; i++) {
        if (!g_strv_contains((const char *const *)theirs, ours->pdata[i])) {
            g_test_message("'%s' is not QEMU's", (const char *)ours->pdata[i]);
            g_test_fail();
        }
    }
}

/* ---- -cpu ------------------------------------------------------------------------------------ */

static void test_options(void)
{
    Rig r;

    rig_open(&r);
    Cpu *cpu =
        make_cpu(&r,
                 "qemu64,+avx2,-sse2,fma=on,lahf_lm=off,sse4.1,level=0x16,vendor=GenuineIntel,"
                 "family=6,model=0x55,stepping=4,model-id=Test CPU,-fma,phys-bits=45",
                 NULL, 0);
    g_assert_true(cpu_has_feature(cpu, FEAT_7_0_EBX, 5));
    g_assert_false(cpu_has_feature(cpu, FEAT_1_EDX, 26));
    g_assert_false(
        cpu_has_feature(cpu, FEAT_1_ECX, 12)); /* -fma wins over fma=on, wherever it stands */
    g_assert_false(cpu_has_feature(cpu, FEAT_8000_0001_ECX, 0));
    g_assert_true(cpu_has_feature(cpu, FEAT_1_ECX, 19));
    uint32_t regs[4];
    cpu_cpuid(cpu, 0, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, 0x16);
    g_assert_cmphex(regs[CPUID_EBX], ==, 0x756e6547);
    cpu_cpuid(cpu, 1, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, 0x00050654);
    cpu_cpuid(cpu, 0x80000002, 0, regs);
    g_assert_cmpmem(regs, 16, "Test CPU\0\0\0\0\0\0\0\0", 16);
    cpu_cpuid(cpu, 0x80000008, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, 48 << 8 | 45);
    g_assert_cmphex(cpu->env.regs[X86_RDX], ==, 0x00050654);
    rig_close(&r);
}

/* Features are properties like any other. */
static void test_properties(void)
{
    Rig r;
    GError *err = NULL;

    rig_open(&r);
    Object *obj = object_new(r.vm, type_find("qemu64-x86_64-cpu"), &err);
    g_assert_no_error(err);
    g_assert_true(object_set(obj, "avx2", "on", &err));
    json_object *value = object_get(obj, "avx2", &err);
    g_assert_true(json_object_get_boolean(value));
    json_object_put(value);
    g_assert_true(object_set(obj, "avx2", "off", &err));
    value = object_get(obj, "avx2", &err);
    g_assert_false(json_object_get_boolean(value));
    json_object_put(value);
    g_assert_false(object_set(obj, "avx2", "perhaps", &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    /* kvmclock names two bits */
    g_assert_true(object_set(obj, "kvmclock", "on", &err));
    g_assert_cmphex(((Cpu *)(void *)obj)->features[FEAT_KVM], ==, 0x9);
    object_unref(obj);
    rig_close(&r);
}

static void expect_refused(const char *text, const char *part)
{
    Rig r;
    g_autoptr(GError) err = NULL;

    rig_open(&r);
    bool ok = cpu_model_parse(r.vm, text, &err) && cpu_new(r.vm, 0, 0, &err);
    g_assert_false(ok);
    g_assert_nonnull(err);
    if (!strstr(err->message, part)) {
        g_test_message("'%s' does not contain '%s'", err->message, part);
        g_test_fail();
    }
    rig_close(&r);
}

static void test_refused(void)
{
    expect_refused("", "missing");
    expect_refused("qemu46", "did you mean 'qemu64'");
    expect_refused("Skylake-Servr", "did you mean 'Skylake-Server'");
    expect_refused("Haswell-v5", "unable to find CPU model 'Haswell-v5'");
    expect_refused("Haswell,migratable=off", "migratable: property not found");
    expect_refused("qemu64,+avx3", "avx2");
    expect_refused("qemu64,axv2=on", "axv2: property not found (did you mean 'avx2'");
    expect_refused("qemu64,avx2=maybe", "avx2");
    expect_refused("qemu64,hv-relax", "did you mean 'hv-relaxed'");
    expect_refused("qemu64,hv-stimer,hv-time",
                   "Hyper-V synthetic timers (hv-stimer) requires Hyper-V synthetic interrupt "
                   "controller (hv-synic)");
    expect_refused("qemu64,hv_tlbflush", "requires Hyper-V VP_INDEX MSR (hv-vpindex)");
    expect_refused("qemu64,hv-relaxed,hv-vendor-id=ThirteenChars", "12 characters");
    expect_refused("qemu64,+vmx-epd", "did you mean 'vmx-ept");
    expect_refused("qemu64,=on", "names no property");
    expect_refused("qemu64,+", "names no property");
    expect_refused("qemu64,vendor=Intel", "12 characters");
    expect_refused("qemu64,phys-bits=20", "phys-bits");
    expect_refused("qemu64,phys-bits=60", "phys-bits");
    expect_refused("qemu32,phys-bits=40", "long mode");
    expect_refused("qemu64,family=1000", "family");
    expect_refused("qemu64,core-id=3", "core-id");
    expect_refused("host", "requires KVM");
}

/* ---- models ---------------------------------------------------------------------------------- */

static Cpu *model_cpu(Rig *r, const char *text)
{
    rig_open(r);
    return make_cpu(r, text, NULL, 0);
}

/* Every model of the tables can be made: each name in its list is a feature (an assertion else). */
static void test_all_models(void)
{
    g_autoptr(GPtrArray) types = cpu_model_types();

    g_assert_cmpuint(types->len, >=, 132);
    for (unsigned i = 0; i < types->len; i++) {
        const Type *type = g_ptr_array_index(types, i);
        const CpuModel *model = type->ops;
        Rig r;

        if (model->needs_kvm) {
            continue;
        }
        Cpu *cpu = model_cpu(&r, type->name);
        g_assert_cmpuint(cpu->level, >=, model->min_level);
        g_assert_true(!model->version || cpu_has_feature(cpu, FEAT_1_ECX, 31));
        rig_close(&r);
    }
}

static void test_versions(void)
{
    Rig r;
    Cpu *cpu = model_cpu(&r, "Haswell");

    g_assert_true(cpu_has_feature(cpu, FEAT_7_0_EBX, 11)); /* rtm */
    g_assert_cmpuint(cpu->stepping, ==, 4);
    rig_close(&r);
    cpu = model_cpu(&r, "Haswell-noTSX-IBRS");
    g_assert_false(cpu_has_feature(cpu, FEAT_7_0_EBX, 11));
    g_assert_true(cpu_has_feature(cpu, FEAT_7_0_EDX, 26)); /* spec-ctrl */
    g_assert_cmpuint(cpu->stepping, ==, 1);
    g_assert_cmpstr(cpu->model_id, ==, "Intel Core Processor (Haswell, no TSX, IBRS)");
    rig_close(&r);
}

/* Controls of nested VMX count with vmx only, and fall with what they depend on. */
static void test_dependencies(void)
{
    FeatureWord word;
    Rig r;
    Cpu *cpu = model_cpu(&r, "Haswell");

    uint64_t ept = feature_mask("vmx-ept", 7, &word);
    g_assert_cmpuint(word, ==, FEAT_VMX_SECONDARY);
    g_assert_false(cpu->features[FEAT_VMX_SECONDARY] & ept);
    rig_close(&r);

    cpu = model_cpu(&r, "Haswell,+vmx");
    g_assert_true(cpu->features[FEAT_VMX_SECONDARY] & ept);
    g_assert_true(cpu->features[FEAT_VMX_SECONDARY] >> 12 & 1); /* vmx-invpcid-exit */
    g_assert_true(cpu->features[FEAT_VMX_EPT_VPID]);
    rig_close(&r);

    cpu = model_cpu(&r, "Haswell,+vmx,-vmx-ept,-invpcid");
    g_assert_false(cpu->features[FEAT_VMX_SECONDARY] & (ept | 1u << 7 | 1u << 12));
    g_assert_false((uint32_t)cpu->features[FEAT_VMX_EPT_VPID]);
    g_assert_true(cpu->features[FEAT_VMX_EPT_VPID] >> 32); /* INVVPID */
    rig_close(&r);
}

/* ---- Hyper-V --------------------------------------------------------------------------------- */

static void expect_leaf(const Cpu *cpu, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
                        uint32_t edx)
{
    uint32_t regs[4];

    cpu_cpuid(cpu, leaf, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, eax);
    g_assert_cmphex(regs[CPUID_EBX], ==, ebx);
    g_assert_cmphex(regs[CPUID_ECX], ==, ecx);
    g_assert_cmphex(regs[CPUID_EDX], ==, edx);
}

/* What libvirt's and virt-install's Windows guests have. */
static void test_hyperv_leaves(void)
{
    Rig r;
    Cpu *cpu = model_cpu(&r, "qemu64,hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-vpindex,hv-synic,"
                             "hv-stimer,hv-time,hv-reset,hv-frequencies,hv-tlbflush,hv-ipi,"
                             "hv-stimer-direct,hv-apicv");

    expect_leaf(cpu, 0x40000000, 0x40000005, 0x7263694d, 0x666f736f, 0x76482074);
    expect_leaf(cpu, 0x40000001, 0x31237648, 0, 0, 0);
    expect_leaf(cpu, 0x40000002, 14393, 10 << 16, 0, 0);
    expect_leaf(cpu, 0x40000003, 0x00000afe, 0x30, 0, 1u << 19 | 1u << 8 | 1u << 3);
    expect_leaf(cpu, 0x40000004, 1u << 11 | 1u << 10 | 1u << 9 | 1u << 5 | 1u << 3 | 1u << 2,
                0x1fff, 0, 0);
    expect_leaf(cpu, 0x40000005, UINT32_MAX, 0x40, 0, 0);
    expect_leaf(cpu, 0x4000000a, 0, 0, 0, 0);
    expect_leaf(cpu, 0x40000100, 0x40000101, 0x4b4d564b, 0x564b4d56, 0x4d);
    rig_close(&r);

    cpu = model_cpu(&r, "qemu64,hv-vapic,hv-evmcs,hv-vendor-id=abc,hv-version-id-major=6,"
                        "hv-version-id-sbranch=1,hv-version-id-snumber=2,"
                        "hv-no-nonarch-coresharing=on,kvm=off");
    expect_leaf(cpu, 0x40000000, 0x4000000a, 0x00636261, 0, 0);
    expect_leaf(cpu, 0x40000002, 14393, 6 << 16, 0, 1 << 24 | 2);
    expect_leaf(cpu, 0x40000004, 1u << 18 | 1u << 14 | 1u << 3, UINT32_MAX, 0, 0);
    expect_leaf(cpu, 0x40000100, 0, 0, 0, 0);
    rig_close(&r);

    cpu = model_cpu(&r, "qemu64"); /* without them KVM's leaf stands first */
    expect_leaf(cpu, 0x40000000, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
    rig_close(&r);
}

/* ---- topology -------------------------------------------------------------------------------- */

typedef struct Leaf {
    uint32_t leaf, subleaf, regs[4];
} Leaf;

typedef struct Shape {
    const char *cpu;
    CpuTopology topology;
    unsigned index;
    const Leaf *leaves; /* ends with leaf 0 */
} Shape;

static const Leaf one_intel[] = {{2, 0, {0x00000001, 0x00000000, 0x0000004d, 0x002c307d}},
                                 {4, 0, {0x00000121, 0x01c0003f, 0x0000003f, 0x00000001}},
                                 {4, 2, {0x00000143, 0x03c0003f, 0x00000fff, 0x00000001}},
                                 {4, 3, {0x00000163, 0x03c0003f, 0x00003fff, 0x00000006}},
                                 {4, 4, {0, 0, 0, 0}},
                                 {0xb, 0, {0x00000000, 0x00000001, 0x00000100, 0x00000000}},
                                 {0xb, 1, {0x00000000, 0x00000001, 0x00000201, 0x00000000}},
                                 {0xb, 2, {0x00000000, 0x00000000, 0x00000002, 0x00000000}},
                                 {0x80000008, 0, {0x00003028, 0, 0, 0}},
                                 {}};

static const Leaf cores_intel[] = {/* 1 x 3 x 2, CPU 5 */
                                   {4, 0, {0x08000121, 0x01c0003f, 0x0000003f, 0x00000001}},
                                   {4, 1, {0x08000122, 0x01c0003f, 0x0000003f, 0x00000001}},
                                   {4, 2, {0x08004143, 0x03c0003f, 0x00000fff, 0x00000001}},
                                   {4, 3, {0x0801c163, 0x03c0003f, 0x00003fff, 0x00000006}},
                                   {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000005}},
                                   {0xb, 1, {0x00000003, 0x00000006, 0x00000201, 0x00000005}},
                                   {0xb, 2, {0x00000000, 0x00000000, 0x00000002, 0x00000005}},
                                   {0x80000008,
                                    0,
                                    {0x00003028, 0x00000000, 0x00003005, 0x00000000}},
                                   {}};

static const Leaf dies_intel[] = {/* 2 sockets x 2 dies x 1 core x 2 threads, CPU 6 */
                                  {4, 0, {0x00000121, 0x01c0003f, 0x0000003f, 0x00000001}},
                                  {4, 2, {0x00004143, 0x03c0003f, 0x00000fff, 0x00000001}},
                                  {4, 3, {0x00004163, 0x03c0003f, 0x00003fff, 0x00000006}},
                                  {0xb, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000006}},
                                  {0xb, 1, {0x00000002, 0x00000002, 0x00000201, 0x00000006}},
                                  {0x1f, 0, {0x00000001, 0x00000002, 0x00000100, 0x00000006}},
                                  {0x1f, 1, {0x00000001, 0x00000002, 0x00000201, 0x00000006}},
                                  {0x1f, 2, {0x00000002, 0x00000004, 0x00000502, 0x00000006}},
                                  {0x1f, 3, {0x00000000, 0x00000000, 0x00000003, 0x00000006}},
                                  {0x80000008, 0, {0x00003028, 0x00000000, 0x00002001, 0x00000000}},
                                  {}};

static const Leaf amd[] = {/* 4 CPUs, 2 sockets x 2 cores, CPU 3; AMD has no leaves 2 and 4 */
                           {2, 0, {0, 0, 0, 0}},
                           {4, 0, {0, 0, 0, 0}},
                           {5, 0, {0, 0, 3, 0}},
                           {0xb, 1, {0x00000001, 0x00000002, 0x00000201, 0x00000003}},
                           {0x80000005, 0, {0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140}},
                           {0x80000006, 0, {0x00000000, 0x42004200, 0x02008140, 0x00808140}},
                           {0x80000008, 0, {0x00003028, 0x00000000, 0x00001001, 0x00000000}},
                           {}};

static const Leaf nodes[] = {/* 2 x 2 x 2 x 2 with AMD's topology leaves, CPU 10 */
                             {0x8000001d, 0, {0x00004121, 0x0040003f, 0x000001ff, 0x00000001}},
                             {0x8000001d, 1, {0x00004122, 0x0040003f, 0x000001ff, 0x00000001}},
                             {0x8000001d, 2, {0x00004043, 0x03c0003f, 0x000001ff, 0x00000000}},
                             {0x8000001d, 3, {0x0000c163, 0x03c0003f, 0x00003fff, 0x00000006}},
                             {0x8000001e, 0, {0x0000000a, 0x00000101, 0x00000102, 0x00000000}},
                             {}};

static const Leaf zen[] = {/* 2 x 2 x 2, CPU 5 */
                           {2, 0, {0, 0, 0, 0}},
                           {0x80000005, 0, {0x01ff01ff, 0x01ff01ff, 0x20080140, 0x40040140}},
                           {0x80000006, 0, {0x00000000, 0x42004200, 0x02006140, 0x00408140}},
                           {0x8000001d, 0, {0x00004121, 0x01c0003f, 0x0000003f, 0x00000001}},
                           {0x8000001d, 1, {0x00004122, 0x00c0003f, 0x000000ff, 0x00000001}},
                           {0x8000001d, 2, {0x00004043, 0x01c0003f, 0x000003ff, 0x00000000}},
                           {0x8000001d, 3, {0x0000c163, 0x03c0003f, 0x00001fff, 0x00000006}},
                           {}};

static const Leaf milan[] = {{0x80000005, 0, {0x01ff01ff, 0x01ff01ff, 0x20080140, 0x20080140}},
                             {0x80000006, 0, {0x00000000, 0x42004200, 0x02006140, 0x01008140}},
                             {0x8000001d, 1, {0x00004122, 0x01c0003f, 0x0000003f, 0x00000001}},
                             {0x8000001d, 3, {0x0000c163, 0x03c0003f, 0x00007fff, 0x00000006}},
                             {}};

/* On an Intel host the vendor is Intel's, and its leaves tell of the model's caches. */
static const Leaf zen_intel[] = {{2, 0, {0x00000001, 0x00000000, 0x0000004b, 0x002cff80}},
                                 {4, 0, {0x04000121, 0x01c0003f, 0x0000003f, 0x00000001}},
                                 {4, 1, {0x04000122, 0x00c0003f, 0x000000ff, 0x00000001}},
                                 {4, 2, {0x04004043, 0x01c0003f, 0x000003ff, 0x00000000}},
                                 {4, 3, {0x0400c163, 0x03c0003f, 0x00001fff, 0x00000006}},
                                 {}};

static const Leaf zen_legacy[] = {
    {0x80000005, 0, {0x01ff01ff, 0x01ff01ff, 0x40020140, 0x40020140}},
    {0x80000006, 0, {0x00000000, 0x42004200, 0x02008140, 0x00808140}},
    {}};

static const Shape shapes[] = {
    {"EPYC-v1", {2, 1, 2, 2}, 5, zen},
    {"EPYC-Milan", {2, 1, 2, 2}, 5, milan},
    {"EPYC-v3,vendor=GenuineIntel", {2, 1, 2, 2}, 0, zen_intel},
    {"EPYC,legacy-cache=on", {1, 1, 1, 1}, 0, zen_legacy},
    {"qemu64,vendor=GenuineIntel", {1, 1, 1, 1}, 0, one_intel},
    {"qemu64,vendor=GenuineIntel", {1, 1, 3, 2}, 5, cores_intel},
    {"qemu64,vendor=GenuineIntel", {2, 2, 1, 2}, 6, dies_intel},
    {"qemu64", {2, 1, 2, 1}, 3, amd},
    {"base,level=0x1f,xlevel=0x80000021", {2, 2, 2, 2}, 10, nodes},
};

static void test_shapes(void)
{
    for (unsigned s = 0; s < G_N_ELEMENTS(shapes); s++) {
        Rig r;

        rig_open(&r);
        Cpu *cpu = make_cpu(&r, shapes[s].cpu, &shapes[s].topology, shapes[s].index);
        for (const Leaf *l = shapes[s].leaves; l->leaf; l++) {
            uint32_t regs[4];

            cpu_cpuid(cpu, l->leaf, l->subleaf, regs);
            for (unsigned i = 0; i < 4; i++) {
                if (regs[i] != l->regs[i]) {
                    g_test_message("shape %u leaf 0x%x.%u register %u: 0x%08x, QEMU's is 0x%08x", s,
                                   l->leaf, l->subleaf, i, regs[i], l->regs[i]);
                    g_test_fail();
                }
            }
        }
        rig_close(&r);
    }
}

/* Leaf 1 of qemu64 on 2 sockets x 2 cores: EBX and HTT. */
static void test_leaf_1(void)
{
    Rig r;
    uint32_t regs[4];
    const CpuTopology four = {2, 1, 2, 1}, one = {1, 1, 1, 1};

    rig_open(&r);
    cpu_cpuid(make_cpu(&r, "qemu64", &four, 2), 1, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, 0x00060fb1);
    g_assert_cmphex(regs[CPUID_EBX], ==, 0x02020800);
    g_assert_cmphex(regs[CPUID_EDX], ==, 0x178bfbfd);
    rig_close(&r);
    rig_open(&r);
    cpu_cpuid(make_cpu(&r, "kvm64", &one, 0), 1, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, 0x00000f61);
    g_assert_cmphex(regs[CPUID_EBX], ==, 0x00000800);
    g_assert_cmphex(regs[CPUID_EDX], ==, 0x078bfbff);
    rig_close(&r);
}

static void test_apic_ids(void)
{
    static const struct {
        CpuTopology t;
        unsigned index;
        uint32_t id;
    } rows[] = {
        {{1, 1, 1, 1}, 0, 0}, {{4, 1, 1, 1}, 3, 3},   {{1, 1, 3, 2}, 5, 5}, {{2, 1, 3, 1}, 3, 4},
        {{2, 1, 3, 2}, 6, 8}, {{2, 2, 3, 2}, 12, 16}, {{2, 3, 1, 1}, 3, 4}, {{3, 1, 1, 3}, 4, 5},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_assert_cmpuint(cpu_topology_apic_id(&rows[i].t, rows[i].index), ==, rows[i].id);
    }
}

static void test_kvm_leaves_hidden(void)
{
    Rig r;
    uint32_t regs[4];

    rig_open(&r);
    cpu_cpuid(make_cpu(&r, "qemu64,+kvm-pv-eoi", NULL, 0), 0x40000001, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, 0x40);
    rig_close(&r);
    rig_open(&r);
    Cpu *cpu = make_cpu(&r, "qemu64,kvm=off,+kvm-pv-eoi", NULL, 0);
    cpu_cpuid(cpu, 0x40000000, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX] | regs[CPUID_EBX], ==, 0);
    cpu_cpuid(cpu, 0x40000001, 0, regs);
    g_assert_cmphex(regs[CPUID_EAX], ==, 0);
    rig_close(&r);
}

/* ---- state ----------------------------------------------------------------------------------- */

static void test_reset_state(void)
{
    Rig r;

    rig_open(&r);
    Cpu *cpu = make_cpu(&r, "qemu64", NULL, 0);
    const X86State *env = &cpu->env;
    g_assert_cmphex(env->segs[SEG_CS].base + env->eip, ==, 0xfffffff0);
    g_assert_cmphex(env->segs[SEG_CS].flags, ==, 0x9b00);
    g_assert_cmphex(env->segs[SEG_SS].flags, ==, 0x9300);
    g_assert_cmphex(env->ldt.flags, ==, 0x8200);
    g_assert_cmphex(env->tr.flags, ==, 0x8b00);
    g_assert_cmphex(env->cr[0], ==, 0x60000010);
    cpu->env.regs[3] = 5;
    cpu_do_sipi(cpu, 0x9a);
    g_assert_cmphex(env->segs[SEG_CS].base + env->eip, ==, 0x9a000);
    g_assert_cmphex(env->segs[SEG_CS].selector, ==, 0x9a00);
    cpu->env.pat = 7;
    cpu->env.cr[0] = 0x80000031;
    cpu_do_init(cpu);
    g_assert_cmphex(env->pat, ==, 7);      /* INIT leaves MSRs alone */
    g_assert_cmphex(env->cr[0], ==, 0x10); /* and the cache bits */
    g_assert_cmphex(env->regs[3], ==, 0);
    rig_close(&r);
}

#define MCI_UC (MCI_STATUS_VAL | MCI_STATUS_UC)

static void test_machine_checks(void)
{
    MachineCheck mce = {.bank = 1, .status = 1};
    GError *err = NULL;
    Rig r;

    rig_open(&r);
    Cpu *cpu = make_cpu(&r, "qemu64", NULL, 0);
    X86State *env = &cpu->env;
    uint64_t *bank = env->mce_banks + 4;
    g_assert_false(x86_mce_check(cpu, &mce, &err)); /* no banks */
    g_assert_cmpstr(err->message, ==, "Invalid MCE bank number");
    g_clear_error(&err);
    env->mcg_cap = 1 << 8 | 10;
    g_assert_false(x86_mce_check(cpu, &mce, &err));
    g_assert_cmpstr(err->message, ==, "Invalid MCE status code");
    g_clear_error(&err);
    mce.status = MCI_STATUS_VAL | 5;
    mce.addr = 0x1000;
    mce.misc = 0x8c;
    g_assert_true(x86_mce_check(cpu, &mce, &err));
    g_assert_cmpint(x86_mce_inject(cpu, &mce), ==, MCE_LOGGED);
    g_assert_cmphex(bank[1], ==, mce.status);
    g_assert_cmphex(bank[2], ==, 0x1000);
    g_assert_cmpint(x86_mce_inject(cpu, &mce), ==, MCE_LOGGED);
    g_assert_cmphex(bank[1], ==, mce.status | MCI_STATUS_OVER);

    mce.status = MCI_UC | 7;
    mce.mcg_status = MCG_STATUS_MCIP;
    g_assert_cmpint(x86_mce_inject(cpu, &mce), ==, MCE_IGNORED); /* reporting is off */
    cpu_reset_mce(cpu);
    g_assert_cmpint(x86_mce_inject(cpu, &mce), ==, MCE_TRIPLE_FAULT); /* CR4.MCE is off */
    env->cr[4] |= 1 << 6;
    env->mp_state = 3; /* halted */
    g_assert_cmpint(x86_mce_inject(cpu, &mce), ==, MCE_RAISED);
    g_assert_cmphex(bank[1], ==, mce.status | MCI_STATUS_OVER);
    g_assert_cmphex(env->mcg_status, ==, MCG_STATUS_MCIP);
    g_assert_cmpint(env->exception_nr, ==, 18);
    g_assert_true(env->exception_injected);
    g_assert_cmpuint(env->mp_state, ==, 0);
    g_assert_cmpint(x86_mce_inject(cpu, &mce), ==, MCE_TRIPLE_FAULT); /* one is being handled */
    mce.status = MCI_STATUS_VAL | 9;
    g_assert_cmpint(x86_mce_inject(cpu, &mce), ==, MCE_LOGGED); /* and keeps the worse one */
    g_assert_cmphex(bank[1], ==, MCI_UC | 7 | MCI_STATUS_OVER);
    g_assert_true(x86_mce_broadcasts(cpu));
    rig_close(&r);
}

/* Every byte of a busy CPU survives; sizes are QEMU's. */
#define HYPERV_STATE (offsetof(X86State, pdptrs) - offsetof(X86State, msr_hv_guest_os_id))

static void test_state_round_trip(void)
{
    Rig r;
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    GError *err = NULL;

    rig_open(&r);
    Cpu *cpu = make_cpu(&r, "qemu64", NULL, 0);
    X86State *env = &cpu->env;
    for (unsigned i = 0; i < 16; i++) {
        env->regs[i] = i * 0x0102030405060708;
        env->xmm_regs[i][0] = i + 100;
        env->xmm_regs[i][3] = i + 200;
        env->xmm_regs[i][7] = i + 300;
        env->xmm_regs[16 + i][1] = i + 400;
    }
    env->fpregs[2] = (X86FpReg){0x8000000000000000, 0x3fff};
    env->fpus = 0x3800;
    env->fptag = 0x80;
    env->tsc = 12345;
    env->tsc_khz = 2000000;
    env->steal_time_msr = 0x1001;
    env->poll_control_msr = 5;
    env->pkru = 0x55555554;
    env->nmi_masked = true;
    env->interrupt_shadow = 3;
    env->msr_hv_guest_os_id = 0x8100;
    env->msr_hv_hypercall = 0x1001;
    env->msr_hv_vapic = 0x2001;
    env->msr_hv_tsc = 0x3001;
    env->msr_hv_runtime = 77;
    env->msr_hv_crash_params[4] = 0xdead;
    env->msr_hv_synic_sint[2] = 0x20030;
    env->msr_hv_stimer_config[3] = 0x10001;
    env->msr_hv_stimer_count[1] = 9999;
    env->msr_hv_tsc_emulation_status = 1;
    state_save_fields(&cpu_state_desc, cpu, first);
    X86State before = *env;
    cpu_reset_state(cpu);
    g_assert_true(state_load_fields(&cpu_state_desc, cpu, 12, first->data, first->len, &err));
    g_assert_no_error(err);
    g_assert_true(cpu->env_dirty);
    state_save_fields(&cpu_state_desc, cpu, second);
    g_assert_cmpmem(first->data, first->len, second->data, second->len);
    g_assert_cmpmem(env->xmm_regs, sizeof env->xmm_regs, before.xmm_regs, sizeof before.xmm_regs);
    g_assert_cmphex(env->fpus, ==, before.fpus);
    g_assert_cmphex(env->fptag, ==, before.fptag);
    g_assert_cmphex(env->poll_control_msr, ==, 5);
    g_assert_true(env->nmi_masked && env->interrupt_shadow);
    g_assert_cmpmem(&env->msr_hv_guest_os_id, HYPERV_STATE, &before.msr_hv_guest_os_id,
                    HYPERV_STATE);
    rig_close(&r);
}

/* A stream with impossible values is refused and says which. */
static void test_state_refused(void)
{
    Rig r;
    g_autoptr(GByteArray) stream = g_byte_array_new();

    rig_open(&r);
    Cpu *cpu = make_cpu(&r, "qemu64", NULL, 0);
    cpu->env.interrupt_injected = 300;
    state_save_fields(&cpu_state_desc, cpu, stream);
    g_autoptr(GError) err = NULL;
    g_assert_false(state_load_fields(&cpu_state_desc, cpu, 12, stream->data, stream->len, &err));
    g_assert_nonnull(strstr(err->message, "interrupt_injected"));
    g_clear_error(&err);
    g_assert_false(state_load_fields(&cpu_state_desc, cpu, 12, stream->data, 100, &err));
    g_assert_nonnull(err);
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/x86/features/names-unique", test_names_are_unique);
    g_test_add_func("/x86/features/bits-unique", test_bits_are_unique);
    g_test_add_func("/x86/features/descriptions", test_descriptions);
    g_test_add_func("/x86/features/names-as-qemu", test_names_are_qemus);
    g_test_add_func("/x86/cpu/options", test_options);
    g_test_add_func("/x86/cpu/properties", test_properties);
    g_test_add_func("/x86/cpu/refused", test_refused);
    g_test_add_func("/x86/models/all", test_all_models);
    g_test_add_func("/x86/models/versions", test_versions);
    g_test_add_func("/x86/models/dependencies", test_dependencies);
    g_test_add_func("/x86/hyperv/leaves", test_hyperv_leaves);
    g_test_add_func("/x86/cpuid/shapes", test_shapes);
    g_test_add_func("/x86/cpuid/leaf-1", test_leaf_1);
    g_test_add_func("/x86/cpuid/apic-ids", test_apic_ids);
    g_test_add_func("/x86/cpuid/kvm-hidden", test_kvm_leaves_hidden);
    g_test_add_func("/x86/state/reset", test_reset_state);
    g_test_add_func("/x86/machine-checks", test_machine_checks);
    g_test_add_func("/x86/state/round-trip", test_state_round_trip);
    g_test_add_func("/x86/state/refused", test_state_refused);
    return g_test_run();
}
