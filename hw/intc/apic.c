/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC in user space, xAPIC: for kernel-irqchip=off and for qtest. Spec: SDM vol. 3,
 * chapter 11 ("Advanced programmable interrupt controller").
 *
 *   devices -> 8259 -> LINT0 of CPU 0 --+
 *   IOAPIC, MSI -----> bus message -----+-> IRR -> (above PPR) -> take_interrupt -> ISR -> EOI
 *   ICR of a CPU ----> bus message -----+                                             |
 *   LVT (timer, LINT, error) -----------+               IOAPIC <--- level-triggered --+
 *
 * The bus clock is 1 GHz, as KVM's and QEMU's. All APICs answer at the power-on address: a guest that
 * moves IA32_APICBASE elsewhere is not followed (QEMU and KVM do not either). Not here: x2APIC and the
 * TSC deadline, which need the kernel's APIC (CPUID says so), ExtINT messages from an IOAPIC pin, the
 * suppression of EOI broadcasts. Everything runs under the VM lock.
 */
#include <inttypes.h>

#include "hw/intc/apic_common.h"
#include "util/trace.h"

#define APIC_SPACE 0x100000u      /* bytes at APIC_DEFAULT_BASE: registers, then addresses of messages */
#define APIC_PAGE 0x1000u
#define APIC_PRIORITY 0x1000      /* over whatever a guest maps there */
#define TIMER_MIN_PERIOD (200 * NSEC_PER_USEC) /* KVM's floor: a guest must not own the main loop */

enum {                            /* offset / 16 */
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR_LOW = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32,
    REG_INITIAL_COUNT = 0x38,
    REG_CURRENT_COUNT = 0x39,
    REG_DIVIDE = 0x3e,
};

typedef enum Delivery {
    DELIVER_FIXED,
    DELIVER_LOWEST,
    DELIVER_SMI,
    DELIVER_RESERVED,
    DELIVER_NMI,
    DELIVER_INIT,
    DELIVER_SIPI,
    DELIVER_EXTINT,
} Delivery;

#define ESR_SEND_VECTOR (1u << 5)
#define ESR_RECEIVE_VECTOR (1u << 6)
#define ESR_REGISTER (1u << 7)
#define SVR_ENABLE (1u << 8)
#define SVR_WRITABLE 0x3ffu
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_LEVEL (1u << 15)
#define LVT_PERIODIC (1u << 17)
#define ICR_LEVEL_ASSERT (1u << 14)
#define ICR_WRITABLE 0x000ccfffu
#define FIRST_VECTOR 16           /* lower ones are illegal */

static const uint32_t lvt_writable[APIC_LVTS] = {
    [APIC_LVT_TIMER] = LVT_PERIODIC | APIC_LVT_MASKED | 0xff,
    [APIC_LVT_THERMAL] = APIC_LVT_MASKED | 0x7ff,
    [APIC_LVT_PERFORM] = APIC_LVT_MASKED | 0x7ff,
    [APIC_LVT_LINT0] = APIC_LVT_MASKED | LVT_LEVEL | 1u << 13 | 0x7ff,
    [APIC_LVT_LINT1] = APIC_LVT_MASKED | LVT_LEVEL | 1u << 13 | 0x7ff,
    [APIC_LVT_ERROR] = APIC_LVT_MASKED | 0xff,
};

typedef struct Apic {
    ApicCommon common;
    Timer timer;
    Region regs;                  /* of CPU 0's only: one window for all */
    bool lint0;                   /* level of the 8259's output */
} Apic;

/* A message on the bus of the APICs: an interrupt for some of them. */
typedef struct BusMessage {
    uint8_t dest;
    bool logical;
    Delivery mode;
    uint8_t vector;
    bool level;
} BusMessage;

static Apic *apic_of(const Cpu *cpu)
{
    return cpu && cpu->apic_ops ? container_of(cpu->apic, Apic, common.dev) : NULL;
}

/* ---- bit maps of vectors ---------------------------------------------------------------------- */

static void vector_set(uint32_t map[8], uint8_t vector) { map[vector / 32] |= 1u << vector % 32; }
static void vector_clear(uint32_t map[8], uint8_t vector) { map[vector / 32] &= ~(1u << vector % 32); }
static bool vector_test(const uint32_t map[8], uint8_t vector) { return map[vector / 32] >> vector % 32 & 1; }

/* The highest one, -1: none. */
static int vector_highest(const uint32_t map[8])
{
    for (int i = 7; i >= 0; i--) {
        if (map[i]) {
            return 32 * i + 31 - __builtin_clz(map[i]);
        }
    }
    return -1;
}

/* ---- what the CPU may take now ------------------------------------------------------------------- */

static bool is_on(const ApicCommon *s) { return s->apicbase & APIC_BASE_ENABLE; }
static bool is_enabled(const ApicCommon *s) { return is_on(s) && s->spurious_vec & SVR_ENABLE; }
static Delivery lvt_mode(uint32_t lvt) { return (Delivery)(lvt >> 8 & 7); }

/* Processor priority (11.8.3.1): the class of what is in service, unless the task's is higher. */
static uint8_t get_ppr(const ApicCommon *s)
{
    int in_service = vector_highest(s->isr);
    uint8_t class = in_service < 0 ? 0 : (uint8_t)(in_service & 0xf0);

    return (s->tpr & 0xf0) >= class ? s->tpr : class;
}

static int deliverable(const ApicCommon *s)
{
    int vector = is_enabled(s) ? vector_highest(s->irr) : -1;

    return vector >= 0 && (vector & 0xf0) > (get_ppr(s) & 0xf0) ? vector : -1;
}

/* The 8259's request reaches the CPU: straight without an APIC, else through LINT0 as ExtINT. */
static bool extint_pending(const Apic *apic)
{
    uint32_t lvt = apic->common.lvt[APIC_LVT_LINT0];

    return apic->lint0 &&
           (!is_on(&apic->common) || (!(lvt & APIC_LVT_MASKED) && lvt_mode(lvt) == DELIVER_EXTINT));
}

static bool has_interrupt(void *opaque)
{
    const Apic *apic = opaque;

    return deliverable(&apic->common) >= 0 || extint_pending(apic);
}

/* Tells the CPU whether there is something for it. */
static void update(Apic *apic)
{
    Cpu *cpu = apic_cpu(&apic->common);

    if (has_interrupt(apic)) {
        cpu_interrupt(cpu, CPU_INTERRUPT_HARD);
    } else {
        cpu_clear_interrupt(cpu, CPU_INTERRUPT_HARD);
    }
}

static int take_interrupt(void *opaque)
{
    Apic *apic = opaque;
    ApicCommon *s = &apic->common;
    Accel *accel = s->dev.vm->accel;
    int vector = deliverable(s);

    if (vector >= 0) {
        vector_clear(s->irr, (uint8_t)vector);
        vector_set(s->isr, (uint8_t)vector);
    } else if (extint_pending(apic) && accel->pic_ack) {
        vector = accel->pic_ack(accel->pic_opaque);
    }
    trace(apic_take, "apic %u vector %d", s->id, vector);
    update(apic);
    return vector;
}

/* ---- receiving -------------------------------------------------------------------------------------- */

static void accept(Apic *apic, uint8_t vector, bool level);

static void set_error(Apic *apic, uint32_t bit)
{
    ApicCommon *s = &apic->common;
    uint32_t lvt = s->lvt[APIC_LVT_ERROR];
    bool new = !(s->esr & bit);

    s->esr |= bit;
    if (new && !(lvt & APIC_LVT_MASKED) && (lvt & 0xff) >= FIRST_VECTOR) {
        accept(apic, (uint8_t)lvt, false);
    }
}

/* A fixed interrupt (11.8.4). Software that disabled the APIC does not want any. */
static void accept(Apic *apic, uint8_t vector, bool level)
{
    ApicCommon *s = &apic->common;

    if (!is_enabled(s)) {
        return;
    }
    if (vector < FIRST_VECTOR) {
        set_error(apic, ESR_RECEIVE_VECTOR);
        return;
    }
    vector_set(s->irr, vector);
    if (level) {
        vector_set(s->tmr, vector);
    } else {
        vector_clear(s->tmr, vector);
    }
    update(apic);
}

static void receive_init(Apic *apic)
{
    ApicCommon *s = &apic->common;

    cpu_clear_interrupt(apic_cpu(s), CPU_INTERRUPT_SIPI);
    s->wait_for_sipi = apic_cpu(s)->index != 0; /* the start-up IPI may come before the CPU saw the INIT */
    cpu_interrupt(apic_cpu(s), CPU_INTERRUPT_INIT);
}

static void receive_sipi(Apic *apic, uint8_t vector)
{
    ApicCommon *s = &apic->common;

    if (s->wait_for_sipi) {
        s->sipi_vector = vector;
        cpu_interrupt(apic_cpu(s), CPU_INTERRUPT_SIPI);
    }
}

static void receive(Apic *apic, Delivery mode, uint8_t vector, bool level)
{
    ApicCommon *s = &apic->common;
    Cpu *cpu = apic_cpu(s);
    Accel *accel = s->dev.vm->accel;

    trace(apic_receive, "apic %u mode %u vector 0x%02x level %u", s->id, mode, vector, level);
    switch (mode) {
    case DELIVER_FIXED:
    case DELIVER_LOWEST:
        accept(apic, vector, level);
        break;
    case DELIVER_SMI:
        accel->ops->inject_smi(accel, cpu);
        break;
    case DELIVER_NMI:
        if (!s->wait_for_sipi) {
            cpu_interrupt(cpu, CPU_INTERRUPT_NMI);
        }
        break;
    case DELIVER_INIT:
        receive_init(apic);
        break;
    case DELIVER_SIPI:
        receive_sipi(apic, vector);
        break;
    case DELIVER_EXTINT:
        guest_error(&s->dev, "an ExtINT message is not taken: the 8259 is wired to LINT0 of CPU 0");
        break;
    case DELIVER_RESERVED:
        guest_error(&s->dev, "a message has the reserved delivery mode 3");
        break;
    }
}

/* ---- the bus ---------------------------------------------------------------------------------------- */

/* 11.6.2: physical ids, or the logical destination in the flat or the cluster model. */
static bool is_addressed(const ApicCommon *s, const BusMessage *m)
{
    if (!is_on(s)) {
        return false;
    }
    if (!m->logical) {
        return m->dest == 0xff || m->dest == s->id;
    }
    if (s->dest_mode == 0xf) {
        return m->dest & s->log_dest;
    }
    return s->dest_mode == 0 && (m->dest >> 4 == 0xf || m->dest >> 4 == s->log_dest >> 4) &&
           m->dest & s->log_dest & 0xf;
}

/* Among the addressed: the one that does the least important work; the lowest index of equals. */
static void send_lowest(Vm *vm, const BusMessage *m)
{
    Apic *best = NULL;

    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Apic *apic = apic_of(g_ptr_array_index(vm->cpus, i));

        if (apic && is_addressed(&apic->common, m) && is_enabled(&apic->common) &&
            (!best || get_ppr(&apic->common) < get_ppr(&best->common))) {
            best = apic;
        }
    }
    if (best) {
        receive(best, m->mode, m->vector, m->level);
    }
}

static void send(Vm *vm, const BusMessage *m)
{
    if (m->mode == DELIVER_LOWEST) {
        send_lowest(vm, m);
        return;
    }
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Apic *apic = apic_of(g_ptr_array_index(vm->cpus, i));

        if (apic && is_addressed(&apic->common, m)) {
            receive(apic, m->mode, m->vector, m->level);
        }
    }
}

/* A write to the interrupt message addresses (11.11). */
static bool send_msi(Vm *vm, MsiMessage msi)
{
    bool locked = vm_locked(vm);
    BusMessage m = {.dest = (uint8_t)(msi.address >> 12),
                    .logical = msi.address >> 2 & 1,
                    .mode = (Delivery)(msi.data >> 8 & 7),
                    .vector = (uint8_t)msi.data,
                    .level = msi.data >> 15 & 1};

    if (msi.address >> 20 != APIC_DEFAULT_BASE >> 20) {
        return false;
    }
    if (!locked) {
        vm_lock(vm);
    }
    send(vm, &m);
    if (!locked) {
        vm_unlock(vm);
    }
    return true;
}

/* ICR (11.6.1): an interrupt for other CPUs, or for this one. */
static void send_ipi(Apic *apic)
{
    ApicCommon *s = &apic->common;
    Vm *vm = s->dev.vm;
    uint32_t icr = s->icr[0];
    unsigned shorthand = icr >> 18 & 3;
    BusMessage m = {.dest = (uint8_t)(s->icr[1] >> 24),
                    .logical = icr >> 11 & 1,
                    .mode = (Delivery)(icr >> 8 & 7),
                    .vector = (uint8_t)icr,
                    .level = icr >> 15 & 1};

    if (m.mode == DELIVER_INIT && m.level && !(icr & ICR_LEVEL_ASSERT)) {
        s->arb_id = s->id; /* INIT level de-assert: of the old bus's arbitration only */
        return;
    }
    if (m.mode <= DELIVER_LOWEST && m.vector < FIRST_VECTOR) {
        set_error(apic, ESR_SEND_VECTOR);
        return;
    }
    m.level = false; /* IPIs are edges whatever the bit says: nobody could end a level */
    if (shorthand == 0) {
        send(vm, &m);
        return;
    }
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Apic *other = apic_of(g_ptr_array_index(vm->cpus, i));

        if (other && is_on(&other->common) && (shorthand == 2 || (shorthand == 1) == (other == apic))) {
            receive(other, m.mode, m.vector, false);
        }
    }
}

/* ---- local sources ------------------------------------------------------------------------------------ */

/* The event of a local vector table entry happened. */
static void deliver_local(Apic *apic, unsigned entry)
{
    ApicCommon *s = &apic->common;
    uint32_t lvt = s->lvt[entry];
    bool level = lvt & LVT_LEVEL && (entry == APIC_LVT_LINT0 || entry == APIC_LVT_LINT1);

    if (!is_on(s) || lvt & APIC_LVT_MASKED) {
        return;
    }
    if (lvt_mode(lvt) == DELIVER_EXTINT) {
        update(apic); /* has_interrupt looks at the line */
        return;
    }
    if (level && lvt_mode(lvt) == DELIVER_FIXED) {
        if (lvt & LVT_REMOTE_IRR) {
            return;
        }
        s->lvt[entry] |= LVT_REMOTE_IRR;
    }
    receive(apic, lvt_mode(lvt), (uint8_t)lvt, level);
}

static void set_lint0(void *opaque, int level)
{
    Apic *apic = opaque;
    bool rising = level && !apic->lint0;

    trace(apic_lint0, "apic %u level %d", apic->common.id, level);
    apic->lint0 = level;
    if (rising) {
        deliver_local(apic, APIC_LVT_LINT0);
    }
    update(apic);
}

/* ---- timer (11.5.4) -------------------------------------------------------------------------------------- */

static int64_t now_of(const ApicCommon *s) { return clock_now(s->dev.vm, CLOCK_VIRTUAL); }
static int64_t period_of(const ApicCommon *s) { return (int64_t)s->initial_count << s->count_shift; }

/* Time since the count was loaded; a stream may have loaded it "later". */
static int64_t elapsed(const ApicCommon *s, int64_t now)
{
    return MAX(now - s->initial_count_load_time, 0);
}

static uint32_t current_count(const ApicCommon *s)
{
    int64_t since = elapsed(s, now_of(s)), period = period_of(s);

    if (!period || (!(s->lvt[APIC_LVT_TIMER] & LVT_PERIODIC) && since >= period)) {
        return 0;
    }
    return (uint32_t)((period - since % period) >> s->count_shift);
}

/* Arms the timer for its next event after now; masked or run out: none. */
static void timer_update(Apic *apic, int64_t now)
{
    ApicCommon *s = &apic->common;
    int64_t period = period_of(s), next = s->initial_count_load_time + period;
    bool periodic = s->lvt[APIC_LVT_TIMER] & LVT_PERIODIC;

    if (periodic && period) {
        next = s->initial_count_load_time + (elapsed(s, now) / period + 1) * period;
        next = MAX(next, now + (period < TIMER_MIN_PERIOD ? TIMER_MIN_PERIOD : 0));
    }
    if (!period || s->lvt[APIC_LVT_TIMER] & APIC_LVT_MASKED || next <= now) {
        timer_cancel(&apic->timer);
        return;
    }
    s->next_time = next;
    timer_arm(&apic->timer, next);
}

static void timer_fired(void *opaque)
{
    Apic *apic = opaque;
    ApicCommon *s = &apic->common;

    trace(apic_timer, "apic %u", s->id);
    deliver_local(apic, APIC_LVT_TIMER);
    if (s->lvt[APIC_LVT_TIMER] & LVT_PERIODIC) {
        timer_update(apic, MAX(now_of(s), s->next_time));
    }
}

/* ---- registers ------------------------------------------------------------------------------------------- */

/* End of the interrupt in service: the IOAPIC may look at its line again. */
static void end_of_interrupt(Apic *apic)
{
    ApicCommon *s = &apic->common;
    Accel *accel = s->dev.vm->accel;
    int vector = vector_highest(s->isr);

    if (vector < 0) {
        return;
    }
    vector_clear(s->isr, (uint8_t)vector);
    if (vector_test(s->tmr, (uint8_t)vector)) {
        if ((s->lvt[APIC_LVT_LINT0] & 0xff) == (uint32_t)vector && s->lvt[APIC_LVT_LINT0] & LVT_REMOTE_IRR) {
            s->lvt[APIC_LVT_LINT0] &= ~LVT_REMOTE_IRR;
            if (apic->lint0) {
                deliver_local(apic, APIC_LVT_LINT0);
            }
        }
        if (accel->ioapic_eoi) {
            accel->ioapic_eoi(accel->ioapic_opaque, (uint8_t)vector);
        }
    }
    update(apic);
}

/* 11.4.7.2: while the APIC is disabled by software all local entries are masked. */
static void write_svr(Apic *apic, uint32_t value)
{
    ApicCommon *s = &apic->common;

    s->spurious_vec = value & SVR_WRITABLE;
    for (unsigned i = 0; i < APIC_LVTS && !(value & SVR_ENABLE); i++) {
        s->lvt[i] |= APIC_LVT_MASKED;
    }
    timer_update(apic, now_of(s));
    update(apic);
}

static void write_lvt(Apic *apic, unsigned entry, uint32_t value)
{
    ApicCommon *s = &apic->common;
    uint32_t kept = s->lvt[entry] & LVT_REMOTE_IRR;

    value &= lvt_writable[entry];
    if (!(value & LVT_LEVEL)) {
        kept = 0;
    }
    s->lvt[entry] = value | kept | (s->spurious_vec & SVR_ENABLE ? 0 : APIC_LVT_MASKED);
    if (entry == APIC_LVT_TIMER) {
        timer_update(apic, now_of(s));
    } else if (entry == APIC_LVT_LINT0 && apic->lint0 && value & LVT_LEVEL) {
        deliver_local(apic, entry);
    }
    update(apic);
}

static void write_count(Apic *apic, uint32_t value)
{
    ApicCommon *s = &apic->common;

    s->initial_count = value;
    s->initial_count_load_time = now_of(s);
    timer_update(apic, s->initial_count_load_time);
}

static void set_tpr(void *opaque, uint8_t tpr)
{
    Apic *apic = opaque;

    apic->common.tpr = tpr;
    update(apic);
}

static uint32_t read_register(Apic *apic, unsigned reg)
{
    ApicCommon *s = &apic->common;

    switch (reg) {
    case REG_ID: return (uint32_t)s->id << 24;
    case REG_VERSION: return APIC_VERSION | (APIC_LVTS - 1) << 16;
    case REG_TPR: return s->tpr;
    case REG_APR:
    case REG_PPR: return get_ppr(s);
    case REG_EOI: return 0;
    case REG_LDR: return (uint32_t)s->log_dest << 24;
    case REG_DFR: return (uint32_t)s->dest_mode << 28 | 0x0fffffff;
    case REG_SVR: return s->spurious_vec;
    case REG_ISR ... REG_ISR + 7: return s->isr[reg - REG_ISR];
    case REG_TMR ... REG_TMR + 7: return s->tmr[reg - REG_TMR];
    case REG_IRR ... REG_IRR + 7: return s->irr[reg - REG_IRR];
    case REG_ESR: return s->esr;
    case REG_ICR_LOW:
    case REG_ICR_HIGH: return s->icr[reg - REG_ICR_LOW];
    case REG_LVT ... REG_LVT + APIC_LVTS - 1: return s->lvt[reg - REG_LVT];
    case REG_INITIAL_COUNT: return s->initial_count;
    case REG_CURRENT_COUNT: return current_count(s);
    case REG_DIVIDE: return s->divide_conf;
    default: set_error(apic, ESR_REGISTER); return 0;
    }
}

static void write_register(Apic *apic, unsigned reg, uint32_t value)
{
    ApicCommon *s = &apic->common;

    switch (reg) {
    case REG_ID: s->id = (uint8_t)(value >> 24); break;
    case REG_VERSION:
    case REG_APR:
    case REG_PPR:
    case REG_ISR ... REG_IRR + 7:
    case REG_CURRENT_COUNT: break; /* read-only */
    case REG_TPR: set_tpr(apic, (uint8_t)value); break;
    case REG_EOI: end_of_interrupt(apic); break;
    case REG_LDR: s->log_dest = (uint8_t)(value >> 24); break;
    case REG_DFR: s->dest_mode = (uint8_t)(value >> 28); break;
    case REG_SVR: write_svr(apic, value); break;
    case REG_ESR: s->esr = 0; break;
    case REG_ICR_LOW:
        s->icr[0] = value & ICR_WRITABLE;
        send_ipi(apic);
        break;
    case REG_ICR_HIGH: s->icr[1] = value & 0xff000000; break;
    case REG_LVT ... REG_LVT + APIC_LVTS - 1: write_lvt(apic, reg - REG_LVT, value); break;
    case REG_INITIAL_COUNT: write_count(apic, value); break;
    case REG_DIVIDE:
        s->divide_conf = value & 0xb;
        s->count_shift = apic_divide_shift(s->divide_conf);
        timer_update(apic, now_of(s));
        break;
    default: set_error(apic, ESR_REGISTER); break;
    }
}

/* Each CPU sees its own APIC; one that is switched off, and who is no CPU, sees nothing there. */
static Apic *own_apic(uint64_t offset, unsigned size)
{
    Apic *apic = apic_of(cpu_current());

    return apic && is_on(&apic->common) && offset < APIC_PAGE && !(offset & 15) && size == 4 ? apic : NULL;
}

static uint64_t apic_read(void *opaque, uint64_t offset, unsigned size)
{
    Apic *apic = own_apic(offset, size);
    uint32_t value = apic ? read_register(apic, (unsigned)offset >> 4) : 0;

    trace(apic_read, "apic %d offset 0x%x size %u value 0x%x", apic ? apic->common.id : -1, (unsigned)offset, size,
          value);
    return value;
}

/* Registers 0 and those above the page are no registers: there a write is a message. */
static void apic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Vm *vm = ((Apic *)opaque)->common.dev.vm;
    Apic *apic = own_apic(offset, size);

    trace(apic_write, "apic %d offset 0x%x size %u value 0x%x", apic ? apic->common.id : -1, (unsigned)offset, size,
          (unsigned)value);
    if (size != 4) {
        return;
    }
    if (offset < 16 || offset >= APIC_PAGE || !cpu_current()) {
        vm->accel->ops->send_msi(vm->accel, (MsiMessage){APIC_DEFAULT_BASE + offset, (uint32_t)value});
    } else if (apic) {
        write_register(apic, (unsigned)offset >> 4, (uint32_t)value);
    }
}

static const RegionOps apic_region_ops = {
    .read = apic_read,
    .write = apic_write,
    .valid = {.min_size = 1, .max_size = 4},
    .impl = {.min_size = 1, .max_size = 4},
};

/* ---- for the accelerator --------------------------------------------------------------------------------- */

static uint8_t get_tpr(void *opaque) { return ((Apic *)opaque)->common.tpr; }
static uint64_t get_base(void *opaque) { return ((Apic *)opaque)->common.apicbase; }

static void set_base(void *opaque, uint64_t base)
{
    Apic *apic = opaque;
    ApicCommon *s = &apic->common;

    trace(apic_set_base, "apic %u base 0x%" PRIx64, s->id, base);
    s->apicbase = (uint32_t)base;
    if (!is_on(s)) { /* 11.4.3: what it held is gone */
        s->spurious_vec &= ~SVR_ENABLE;
        write_svr(apic, s->spurious_vec);
    }
    update(apic);
}

/* An NMI from outside comes in at LINT1, unless there is no APIC in between. */
static bool passes_nmi(void *opaque)
{
    const ApicCommon *s = &((const Apic *)opaque)->common;
    uint32_t lvt = s->lvt[APIC_LVT_LINT1];

    return !is_on(s) || (!(lvt & APIC_LVT_MASKED) && lvt_mode(lvt) == DELIVER_NMI);
}

static void init_reset(void *opaque)
{
    Apic *apic = opaque;
    ApicCommon *s = &apic->common;
    int32_t vector = s->sipi_vector; /* the start-up IPI may be there already */

    apic_init_state(s);
    s->sipi_vector = vector;
    timer_cancel(&apic->timer);
    update(apic);
}

static uint8_t take_sipi(void *opaque)
{
    ApicCommon *s = &((Apic *)opaque)->common;

    s->wait_for_sipi = 0;
    return (uint8_t)s->sipi_vector;
}

static const CpuApicOps cpu_apic_ops = {
    .take_interrupt = take_interrupt,
    .has_interrupt = has_interrupt,
    .get_tpr = get_tpr,
    .set_tpr = set_tpr,
    .get_base = get_base,
    .set_base = set_base,
    .set_lint0 = set_lint0,
    .passes_nmi = passes_nmi,
    .init_reset = init_reset,
    .take_sipi = take_sipi,
};

/* ---- lifecycle ----------------------------------------------------------------------------------------- */

static bool apic_realize(Device *dev, GError **err)
{
    Apic *apic = container_of(dev, Apic, common.dev);
    Cpu *cpu = apic_cpu(&apic->common);
    Vm *vm = dev->vm;

    timer_init(&apic->timer, vm, CLOCK_VIRTUAL, timer_fired, apic);
    apic_reset_state(&apic->common);
    cpu->apic_ops = &cpu_apic_ops;
    cpu->apic_opaque = apic;
    vm->accel->apic_send_msi = send_msi;
    if (cpu->index == 0) {
        region_init_io(&apic->regs, &apic_region_ops, apic, "apic-msi", APIC_SPACE);
        region_set_owner(&apic->regs, dev);
        region_add_overlap(&vm->system_memory, APIC_DEFAULT_BASE, &apic->regs, APIC_PRIORITY);
    }
    return true;
}

static void apic_unrealize(Device *dev)
{
    Apic *apic = container_of(dev, Apic, common.dev);
    Cpu *cpu = apic_cpu(&apic->common);

    timer_cancel(&apic->timer);
    cpu->apic_ops = NULL;
    cpu->apic_opaque = NULL;
    if (cpu->index == 0) {
        region_destroy(&apic->regs);
    }
}

static void apic_reset(Device *dev)
{
    Apic *apic = container_of(dev, Apic, common.dev);

    timer_cancel(&apic->timer);
    apic_reset_state(&apic->common);
}

/* ---- state --------------------------------------------------------------------------------------------- */

static void apic_pre_save(void *obj)
{
    Apic *apic = obj;

    apic->common.timer_expiry = timer_expiry(&apic->timer);
}

static bool apic_post_load(void *obj, unsigned version, GError **err)
{
    Apic *apic = obj;
    ApicCommon *s = &apic->common;

    if (s->count_shift != apic_divide_shift(s->divide_conf) && period_of(s)) {
        return error_set(err, "count_shift is %d, which divide_conf 0x%x does not give", s->count_shift, s->divide_conf);
    }
    timer_cancel(&apic->timer);
    if (s->timer_expiry >= 0 && s->lvt[APIC_LVT_TIMER] & LVT_PERIODIC) {
        timer_update(apic, now_of(s));
    } else if (s->timer_expiry >= 0) { /* once: also when it is due by now */
        s->next_time = s->initial_count_load_time + period_of(s);
        timer_arm(&apic->timer, s->next_time);
    }
    update(apic);
    return true;
}

static bool sipi_needed(void *obj) { return ((const ApicCommon *)obj)->wait_for_sipi; }

static const StateField sipi_fields[] = {
    STATE_I32(ApicCommon, sipi_vector, .min = 0, .max = 0xff),
    STATE_I32(ApicCommon, wait_for_sipi, .min = 0, .max = 1),
    {}
};
static const StateDesc sipi_state = {
    .name = "apic_sipi", .version = 1, .min_version = 1, .fields = sipi_fields, .needed = sipi_needed};
static const StateDesc *const apic_subsections[] = {&sipi_state, NULL};

static bool apic_pre_load(void *obj, GError **err)
{
    ((ApicCommon *)obj)->wait_for_sipi = 0; /* what no subsection means */
    return true;
}

static const StateDesc apic_state = {
    .name = "apic",
    .version = 3,
    .min_version = 3,
    .fields = apic_fields,
    .subsections = apic_subsections,
    .pre_save = apic_pre_save,
    .pre_load = apic_pre_load,
    .post_load = apic_post_load,
};

DEVICE_TYPE(apic) = {
    .name = "apic",
    .parent = "apic-common",
    .desc = "local APIC",
    .size = sizeof(Apic),
    .state = &apic_state,
    .realize = apic_realize,
    .unrealize = apic_unrealize,
    .reset = apic_reset,
};
