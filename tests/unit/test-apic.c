/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC in user space: CPUs of the qtest accelerator, which do not run; the test plays their
 * part through cpu_set_current and CpuApicOps. Spec: SDM vol. 3, chapter 11.
 */
#include "core/state_internal.h"
#include "hw/intc/apic_common.h"

#define CPUS 3
#define BASE UINT64_C(0xfee00000)
enum { ID = 0x20, VERSION = 0x30, TPR = 0x80, PPR = 0xa0, EOI = 0xb0, LDR = 0xd0, DFR = 0xe0, SVR = 0xf0,
       ISR = 0x100, TMR = 0x180, IRR = 0x200, ESR = 0x280, ICR = 0x300, ICR2 = 0x310, LVT_TIMER = 0x320,
       LVT_LINT0 = 0x350, LVT_LINT1 = 0x360, LVT_ERROR = 0x370, COUNT = 0x380, CURRENT = 0x390, DIVIDE = 0x3e0 };

typedef struct Rig {
    Vm *vm;
    unsigned eois;
    uint8_t last_eoi;
    unsigned acks;
} Rig;

static Cpu *cpu_at(const Rig *rig, unsigned i) { return g_ptr_array_index(rig->vm->cpus, i); }
static ApicCommon *apic_at(const Rig *rig, unsigned i) { return (ApicCommon *)(void *)cpu_at(rig, i)->apic; }

static uint32_t get(const Rig *rig, unsigned cpu, unsigned reg)
{
    uint64_t value = 0;

    cpu_set_current(cpu_at(rig, cpu));
    g_assert_true(address_space_load(&rig->vm->memory, BASE + reg, 4, &value));
    cpu_set_current(NULL);
    return (uint32_t)value;
}

static void put(const Rig *rig, unsigned cpu, unsigned reg, uint32_t value)
{
    cpu_set_current(cpu_at(rig, cpu));
    g_assert_true(address_space_store(&rig->vm->memory, BASE + reg, 4, value));
    cpu_set_current(NULL);
}

static int take(const Rig *rig, unsigned cpu)
{
    Cpu *c = cpu_at(rig, cpu);

    return c->apic_ops->has_interrupt(c->apic_opaque) ? c->apic_ops->take_interrupt(c->apic_opaque) : -1;
}

static uint32_t requests(const Rig *rig, unsigned cpu) { return cpu_at(rig, cpu)->interrupt_request; }

static bool msi(const Rig *rig, uint64_t address, uint32_t data)
{
    return rig->vm->accel->ops->send_msi(rig->vm->accel, (MsiMessage){address, data});
}

static void on_eoi(void *opaque, uint8_t vector)
{
    Rig *rig = opaque;

    rig->eois++;
    rig->last_eoi = vector;
}

static int on_ack(void *opaque)
{
    Rig *rig = opaque;

    rig->acks++;
    rig->vm->accel->ops->set_intr(rig->vm->accel, 0);
    return 0x08;
}

static void rig_open(Rig *rig)
{
    GError *err = NULL;

    *rig = (Rig){.vm = vm_new(&err)};
    g_assert_no_error(err);
    g_assert_true(accel_create(rig->vm, "qtest", NULL, &err));
    g_assert_true(cpu_model_parse(rig->vm, NULL, &err));
    for (unsigned i = 0; i < CPUS; i++) {
        g_assert_nonnull(cpu_new(rig->vm, i, i, &err));
    }
    g_assert_no_error(err);
    rig->vm->accel->ioapic_eoi = on_eoi;
    rig->vm->accel->ioapic_opaque = rig->vm->accel->pic_opaque = rig;
    rig->vm->accel->pic_ack = on_ack;
    vm_reset(rig->vm, SHUTDOWN_CAUSE_NONE);
    for (unsigned i = 0; i < CPUS; i++) {
        put(rig, i, SVR, 0x1ff);
    }
}

static void rig_close(Rig *rig) { vm_free(rig->vm); }

/* ---- registers ----------------------------------------------------------------------------- */

static void test_power_on(void)
{
    Rig rig;

    rig_open(&rig);
    vm_reset(rig.vm, SHUTDOWN_CAUSE_NONE);
    for (unsigned i = 0; i < CPUS; i++) {
        g_assert_cmphex(get(&rig, i, ID), ==, i << 24);
        g_assert_cmphex(get(&rig, i, VERSION), ==, 0x50014);
        g_assert_cmphex(get(&rig, i, SVR), ==, 0xff);
        g_assert_cmphex(get(&rig, i, DFR), ==, 0xffffffff);
        for (unsigned lvt = LVT_TIMER; lvt <= LVT_ERROR; lvt += 16) {
            g_assert_cmphex(get(&rig, i, lvt), ==, 0x10000);
        }
        g_assert_cmphex(apic_at(&rig, i)->apicbase, ==, i ? 0xfee00800 : 0xfee00900);
        g_assert_cmpint(apic_at(&rig, i)->wait_for_sipi, ==, i != 0);
    }
    rig_close(&rig);
}

/* Disabled by software: local entries stay masked, fixed interrupts do not come in. */
static void test_software_disable(void)
{
    Rig rig;

    rig_open(&rig);
    put(&rig, 0, LVT_LINT0, 0x700);
    g_assert_cmphex(get(&rig, 0, LVT_LINT0), ==, 0x700);
    put(&rig, 0, SVR, 0xff);
    g_assert_cmphex(get(&rig, 0, LVT_LINT0), ==, 0x10700);
    put(&rig, 0, LVT_LINT0, 0x700);
    g_assert_cmphex(get(&rig, 0, LVT_LINT0), ==, 0x10700);
    msi(&rig, BASE, 0x41);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    rig_close(&rig);
}

static void test_odd_accesses(void)
{
    Rig rig;
    uint64_t value;

    rig_open(&rig);
    g_assert_cmphex(get(&rig, 0, 0x3f0), ==, 0); /* reserved */
    g_assert_cmphex(get(&rig, 0, ESR), ==, 0x80);
    put(&rig, 0, ESR, 0);
    g_assert_cmphex(get(&rig, 0, ESR), ==, 0);
    put(&rig, 0, VERSION, 0x12345678); /* read-only */
    g_assert_cmphex(get(&rig, 0, VERSION), ==, 0x50014);
    cpu_set_current(cpu_at(&rig, 0));
    address_space_load(&rig.vm->memory, BASE + VERSION, 1, &value);
    g_assert_cmphex(value, ==, 0);
    address_space_load(&rig.vm->memory, BASE + VERSION + 4, 4, &value);
    g_assert_cmphex(value, ==, 0);
    cpu_set_current(NULL);
    address_space_load(&rig.vm->memory, BASE + VERSION, 4, &value); /* not a CPU */
    g_assert_cmphex(value, ==, 0);
    rig_close(&rig);
}

/* ---- priorities ------------------------------------------------------------------------------ */

static void test_priority(void)
{
    Rig rig;

    rig_open(&rig);
    msi(&rig, BASE, 0x41);
    msi(&rig, BASE, 0x52);
    msi(&rig, BASE, 0x55);
    g_assert_cmphex(get(&rig, 0, IRR + 0x20), ==, 1u << 1 | 1u << 18 | 1u << 21);
    g_assert_true(requests(&rig, 0) & CPU_INTERRUPT_HARD);
    g_assert_cmphex(take(&rig, 0), ==, 0x55);
    g_assert_cmphex(get(&rig, 0, PPR), ==, 0x50);
    g_assert_cmpint(take(&rig, 0), ==, -1); /* the same class waits, and so does the lower one */
    g_assert_false(requests(&rig, 0) & CPU_INTERRUPT_HARD);
    msi(&rig, BASE, 0x61);
    g_assert_cmphex(take(&rig, 0), ==, 0x61);
    put(&rig, 0, EOI, 0);
    put(&rig, 0, EOI, 0);
    g_assert_cmphex(take(&rig, 0), ==, 0x52);
    put(&rig, 0, EOI, 0);
    put(&rig, 0, TPR, 0x40);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    cpu_at(&rig, 0)->apic_ops->set_tpr(cpu_at(&rig, 0)->apic_opaque, 0x30); /* CR8 */
    g_assert_cmphex(get(&rig, 0, TPR), ==, 0x30);
    g_assert_cmphex(take(&rig, 0), ==, 0x41);
    g_assert_cmpuint(rig.eois, ==, 0); /* edges are not the IOAPIC's affair */
    rig_close(&rig);
}

static void test_level_eoi(void)
{
    Rig rig;

    rig_open(&rig);
    msi(&rig, BASE, 0xc041);
    g_assert_cmphex(get(&rig, 0, TMR + 0x20), ==, 2);
    g_assert_cmphex(take(&rig, 0), ==, 0x41);
    g_assert_cmphex(get(&rig, 0, ISR + 0x20), ==, 2);
    put(&rig, 0, EOI, 0);
    g_assert_cmpuint(rig.eois, ==, 1);
    g_assert_cmphex(rig.last_eoi, ==, 0x41);
    put(&rig, 0, EOI, 0); /* nothing in service */
    g_assert_cmpuint(rig.eois, ==, 1);
    rig_close(&rig);
}

static void test_illegal_vectors(void)
{
    Rig rig;

    rig_open(&rig);
    put(&rig, 0, LVT_ERROR, 0xfe);
    msi(&rig, BASE, 0x05);
    g_assert_cmphex(get(&rig, 0, ESR), ==, 0x40);
    g_assert_cmphex(take(&rig, 0), ==, 0xfe);
    put(&rig, 0, EOI, 0);
    put(&rig, 0, ICR, 0x00040005);
    g_assert_cmphex(get(&rig, 0, ESR), ==, 0x60);
    put(&rig, 0, LVT_ERROR, 0x03); /* an error about the error: once is enough */
    put(&rig, 0, ESR, 0);
    msi(&rig, BASE, 0x05);
    g_assert_cmphex(get(&rig, 0, ESR), ==, 0x40);
    rig_close(&rig);
}

/* ---- destinations ----------------------------------------------------------------------------- */

/* Which CPUs got vector 0x41, as a bit map; ends it there. */
static unsigned who(const Rig *rig)
{
    unsigned map = 0;

    for (unsigned i = 0; i < CPUS; i++) {
        if (take(rig, i) == 0x41) {
            map |= 1u << i;
            put(rig, i, EOI, 0);
        }
    }
    return map;
}

static unsigned to(const Rig *rig, uint32_t dest, uint32_t address_bits, uint32_t mode)
{
    g_assert_true(msi(rig, BASE | dest << 12 | address_bits, mode << 8 | 0x41));
    return who(rig);
}

static void test_destinations(void)
{
    Rig rig;

    rig_open(&rig);
    g_assert_cmpuint(to(&rig, 1, 0, 0), ==, 1u << 1);
    g_assert_cmpuint(to(&rig, 0xff, 0, 0), ==, 7);
    g_assert_cmpuint(to(&rig, 9, 0, 0), ==, 0);
    for (unsigned i = 0; i < CPUS; i++) { /* flat */
        put(&rig, i, LDR, 1u << (24 + i));
    }
    g_assert_cmpuint(to(&rig, 5, 4, 0), ==, 5);
    g_assert_cmpuint(to(&rig, 6, 4, 1), ==, 2); /* lowest priority */
    put(&rig, 1, TPR, 0x20);
    g_assert_cmpuint(to(&rig, 6, 4, 1), ==, 4);
    put(&rig, 1, TPR, 0);
    static const uint8_t clusters[CPUS] = {0x11, 0x12, 0x21};
    for (unsigned i = 0; i < CPUS; i++) {
        put(&rig, i, DFR, 0x0fffffff);
        put(&rig, i, LDR, (uint32_t)clusters[i] << 24);
    }
    g_assert_cmpuint(to(&rig, 0x13, 4, 0), ==, 3);
    g_assert_cmpuint(to(&rig, 0x21, 4, 0), ==, 4);
    g_assert_cmpuint(to(&rig, 0x31, 4, 0), ==, 0);
    g_assert_cmpuint(to(&rig, 0xff, 4, 0), ==, 7);
    put(&rig, 0, DFR, 0x5fffffff); /* no such model: nobody */
    g_assert_cmpuint(to(&rig, 0x11, 4, 0), ==, 0);
    g_assert_false(msi(&rig, 0xfec00000, 0x41));
    g_assert_false(msi(&rig, UINT64_C(0x1fee00000), 0x41));
    rig_close(&rig);
}

static void test_ipis(void)
{
    Rig rig;

    rig_open(&rig);
    put(&rig, 0, ICR2, 2u << 24);
    put(&rig, 0, ICR, 0x41);
    g_assert_cmpuint(who(&rig), ==, 4);
    g_assert_cmphex(get(&rig, 0, ICR2), ==, 2u << 24);
    put(&rig, 1, ICR, 0x00040041);
    g_assert_cmpuint(who(&rig), ==, 2);
    put(&rig, 1, ICR, 0x00080041);
    g_assert_cmpuint(who(&rig), ==, 7);
    put(&rig, 1, ICR, 0x000c0041);
    g_assert_cmpuint(who(&rig), ==, 5);
    put(&rig, 1, ICR, 0x0004c041); /* a level IPI is an edge: its EOI goes nowhere */
    g_assert_cmpuint(who(&rig), ==, 2);
    g_assert_cmpuint(rig.eois, ==, 0);
    rig_close(&rig);
}

/* ---- INIT, start-up, NMI ------------------------------------------------------------------------ */

static void test_start_up(void)
{
    Rig rig;

    rig_open(&rig);
    Cpu *ap = cpu_at(&rig, 1);
    put(&rig, 0, ICR2, 1u << 24);
    put(&rig, 0, ICR, 0x4400); /* an NMI: who waits for a SIPI has no use for it */
    g_assert_false(requests(&rig, 1) & CPU_INTERRUPT_NMI);
    put(&rig, 0, ICR, 0xc500);
    g_assert_true(requests(&rig, 1) & CPU_INTERRUPT_INIT);
    put(&rig, 0, ICR, 0x8500); /* de-assert */
    put(&rig, 0, ICR, 0x469a); /* before the CPU came to look at the INIT */
    g_assert_true(requests(&rig, 1) & CPU_INTERRUPT_SIPI);
    cpu_clear_interrupt(ap, CPU_INTERRUPT_INIT);
    cpu_do_init(ap);
    g_assert_true(requests(&rig, 1) & CPU_INTERRUPT_SIPI);
    g_assert_cmphex(get(&rig, 1, SVR), ==, 0xff);
    cpu_clear_interrupt(ap, CPU_INTERRUPT_SIPI);
    cpu_do_sipi(ap, ap->apic_ops->take_sipi(ap->apic_opaque));
    g_assert_cmphex(ap->env.segs[SEG_CS].base, ==, 0x9a000);
    g_assert_cmphex(ap->env.segs[SEG_CS].selector, ==, 0x9a00);
    g_assert_cmphex(ap->env.eip, ==, 0);
    g_assert_cmpuint(ap->halted, ==, 0);
    put(&rig, 0, ICR, 0x4601); /* it runs: another one is nothing to it */
    g_assert_false(requests(&rig, 1) & CPU_INTERRUPT_SIPI);
    put(&rig, 0, ICR, 0x4400);
    g_assert_true(requests(&rig, 1) & CPU_INTERRUPT_NMI);
    rig_close(&rig);
}

static void test_lint(void)
{
    Rig rig;

    rig_open(&rig);
    Accel *accel = rig.vm->accel;
    Cpu *cpu = cpu_at(&rig, 0);

    accel->ops->set_intr(accel, 1); /* masked */
    g_assert_cmpint(take(&rig, 0), ==, -1);
    put(&rig, 0, LVT_LINT0, 0x700);
    g_assert_true(requests(&rig, 0) & CPU_INTERRUPT_HARD);
    g_assert_cmphex(take(&rig, 0), ==, 0x08);
    g_assert_cmpuint(rig.acks, ==, 1);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    put(&rig, 0, LVT_LINT0, 0x41); /* fixed, edge */
    accel->ops->set_intr(accel, 1);
    g_assert_cmphex(take(&rig, 0), ==, 0x41);
    put(&rig, 0, EOI, 0);
    accel->ops->set_intr(accel, 0);
    put(&rig, 0, LVT_LINT0, 0x8041); /* fixed, level: again after each EOI */
    accel->ops->set_intr(accel, 1);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmphex(take(&rig, 0), ==, 0x41);
        g_assert_cmphex(get(&rig, 0, LVT_LINT0), ==, 0xc041);
        put(&rig, 0, EOI, 0);
    }
    accel->ops->set_intr(accel, 0);
    g_assert_cmphex(take(&rig, 0), ==, 0x41);
    put(&rig, 0, EOI, 0);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    g_assert_false(cpu->apic_ops->passes_nmi(cpu->apic_opaque));
    put(&rig, 0, LVT_LINT1, 0x400);
    g_assert_true(cpu->apic_ops->passes_nmi(cpu->apic_opaque));
    rig_close(&rig);
}

/* IA32_APICBASE off: the 8259's line is the CPU's, and no message comes in. */
static void test_switched_off(void)
{
    Rig rig;

    rig_open(&rig);
    Cpu *cpu = cpu_at(&rig, 0);
    cpu->apic_ops->set_base(cpu->apic_opaque, 0xfee00100);
    g_assert_cmphex(get(&rig, 0, VERSION), ==, 0);
    g_assert_cmpuint(to(&rig, 0xff, 0, 0), ==, 6);
    rig.vm->accel->ops->set_intr(rig.vm->accel, 1);
    g_assert_cmphex(take(&rig, 0), ==, 0x08);
    g_assert_true(cpu->apic_ops->passes_nmi(cpu->apic_opaque));
    rig_close(&rig);
}

/* ---- timer ------------------------------------------------------------------------------------------ */

static int64_t now(const Rig *rig) { return clock_now(rig->vm, CLOCK_VIRTUAL); }
static void pass(const Rig *rig, int64_t ns) { clock_virtual_advance_to(rig->vm, now(rig) + ns); }

static void test_timer_once(void)
{
    Rig rig;

    rig_open(&rig);
    put(&rig, 0, LVT_TIMER, 0x41);
    put(&rig, 0, DIVIDE, 0xa); /* by 128 */
    put(&rig, 0, COUNT, 1000);
    pass(&rig, 64000);
    g_assert_cmpuint(get(&rig, 0, CURRENT), ==, 500);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    pass(&rig, 64000);
    g_assert_cmphex(take(&rig, 0), ==, 0x41);
    put(&rig, 0, EOI, 0);
    g_assert_cmpuint(get(&rig, 0, CURRENT), ==, 0);
    pass(&rig, 1000000);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    put(&rig, 0, COUNT, 1000);
    put(&rig, 0, COUNT, 0); /* stops it */
    pass(&rig, 1000000);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    put(&rig, 0, LVT_TIMER, 0x10041); /* counts masked, and is lost */
    put(&rig, 0, COUNT, 1000);
    pass(&rig, 200000);
    put(&rig, 0, LVT_TIMER, 0x41);
    pass(&rig, 200000);
    g_assert_cmpint(take(&rig, 0), ==, -1);
    rig_close(&rig);
}

static void test_timer_periodic(void)
{
    static const struct {
        uint32_t divide, by;
    } divides[] = {{0xb, 1}, {0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {0xa, 128}};
    Rig rig;

    rig_open(&rig);
    put(&rig, 0, LVT_TIMER, 0x20041);
    for (unsigned i = 0; i < G_N_ELEMENTS(divides); i++) {
        put(&rig, 0, DIVIDE, divides[i].divide);
        put(&rig, 0, COUNT, 1000000);
        for (unsigned tick = 0; tick < 3; tick++) {
            pass(&rig, 1000000 * divides[i].by - 1);
            g_assert_cmpint(take(&rig, 0), ==, -1);
            pass(&rig, 1);
            g_assert_cmphex(take(&rig, 0), ==, 0x41);
            put(&rig, 0, EOI, 0);
        }
    }
    put(&rig, 0, DIVIDE, 0xb);
    put(&rig, 0, COUNT, 1); /* a gigahertz of interrupts is not to be had */
    int64_t start = now(&rig), next = clock_virtual_deadline(rig.vm);
    g_assert_cmpint(next - start, >=, 200000);
    pass(&rig, 1000000000); /* and this ends */
    g_assert_cmphex(take(&rig, 0), ==, 0x41);
    put(&rig, 0, LVT_TIMER, 0x60041); /* TSC deadline is not there: its bit does not stick */
    g_assert_cmphex(get(&rig, 0, LVT_TIMER), ==, 0x20041);
    rig_close(&rig);
}

/* ---- state ---------------------------------------------------------------------------------------------- */

static const StateDesc *apic_desc(void) { return type_state(type_find("apic")); }

static void test_state(void)
{
    Rig a, b;
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    GError *err = NULL;

    rig_open(&a);
    put(&a, 1, LVT_TIMER, 0x20041);
    put(&a, 1, DIVIDE, 3);
    put(&a, 1, COUNT, 500000);
    put(&a, 1, LDR, 0x04000000);
    msi(&a, BASE | 1 << 12, 0xc099);
    take(&a, 1);
    pass(&a, 1000000);
    msi(&a, BASE | 1 << 12, 0x88);
    state_save_fields(apic_desc(), apic_at(&a, 1), first);
    vm_unlock(a.vm);
    rig_open(&b);
    clock_virtual_advance_to(b.vm, 1000000);
    g_assert_true(state_load_fields(apic_desc(), apic_at(&b, 1), 3, first->data, first->len, &err));
    g_assert_no_error(err);
    state_save_fields(apic_desc(), apic_at(&b, 1), second);
    g_assert_cmpmem(first->data, first->len, second->data, second->len);
    put(&b, 1, EOI, 0);
    g_assert_cmphex(b.last_eoi, ==, 0x99);
    g_assert_cmphex(take(&b, 1), ==, 0x88);
    put(&b, 1, EOI, 0);
    pass(&b, 7000000);
    g_assert_cmphex(take(&b, 1), ==, 0x41);
    rig_close(&b);
    vm_lock(a.vm);
    rig_close(&a);
}

/* Whatever a stream says: refused, or a state that can be used. */
static void test_state_hostile(void)
{
    Rig rig;
    g_autoptr(GByteArray) good = g_byte_array_new();
    unsigned refused = 0;

    rig_open(&rig);
    put(&rig, 1, LVT_TIMER, 0x20041);
    put(&rig, 1, COUNT, 500000);
    state_save_fields(apic_desc(), apic_at(&rig, 1), good);
    for (unsigned i = 0; i < 20000; i++) {
        g_autofree uint8_t *bytes = g_memdup2(good->data, good->len);
        g_autoptr(GError) err = NULL;

        for (unsigned n = 1 + i % 4; n > 0; n--) {
            bytes[g_test_rand_int_range(0, (int)good->len)] = (uint8_t)g_test_rand_int();
        }
        if (!state_load_fields(apic_desc(), apic_at(&rig, 1), 3, bytes, good->len, &err)) {
            g_assert_nonnull(err);
            refused++;
            continue;
        }
        get(&rig, 1, CURRENT);
        put(&rig, 1, DIVIDE, 2);
        put(&rig, 1, EOI, 0);
        take(&rig, 1);
    }
    g_assert_cmpuint(refused, >, 0);
    rig_close(&rig);
}

/* A guest that writes anything anywhere. */
static void test_random_guest(void)
{
    Rig rig;

    rig_open(&rig);
    for (unsigned i = 0; i < 100000; i++) {
        unsigned cpu = (unsigned)g_test_rand_int_range(0, CPUS);
        unsigned offset = (unsigned)g_test_rand_int_range(0, i % 64 ? 0x1000 : 0x100000) & ~(i % 8 ? 15u : 0u);
        uint64_t value;

        cpu_set_current(cpu_at(&rig, cpu));
        if (i % 3) {
            address_space_store(&rig.vm->memory, BASE + offset, i % 5 ? 4 : 1u << i % 4, (uint32_t)g_test_rand_int());
        } else {
            address_space_load(&rig.vm->memory, BASE + offset, 4, &value);
        }
        cpu_set_current(NULL);
        take(&rig, cpu);
        if (i % 16 == 0) {
            pass(&rig, g_test_rand_int_range(0, 1000000));
            rig.vm->accel->ops->set_intr(rig.vm->accel, (int)(i >> 4 & 1));
        }
    }
    rig_close(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/apic/power-on", test_power_on);
    g_test_add_func("/apic/software-disable", test_software_disable);
    g_test_add_func("/apic/odd-accesses", test_odd_accesses);
    g_test_add_func("/apic/priority", test_priority);
    g_test_add_func("/apic/level-eoi", test_level_eoi);
    g_test_add_func("/apic/illegal-vectors", test_illegal_vectors);
    g_test_add_func("/apic/destinations", test_destinations);
    g_test_add_func("/apic/ipis", test_ipis);
    g_test_add_func("/apic/start-up", test_start_up);
    g_test_add_func("/apic/lint", test_lint);
    g_test_add_func("/apic/switched-off", test_switched_off);
    g_test_add_func("/apic/timer/once", test_timer_once);
    g_test_add_func("/apic/timer/periodic", test_timer_periodic);
    g_test_add_func("/apic/state", test_state);
    g_test_add_func("/apic/state/hostile", test_state_hostile);
    g_test_add_func("/apic/random-guest", test_random_guest);
    return g_test_run();
}
