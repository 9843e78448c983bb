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
 * The bus clock is 1 GHz, as KVM's and QEMU's. All APICs answer at the power-on address: a guest
 * that moves IA32_APICBASE elsewhere is not followed (QEMU and KVM do not either). Not here: x2APIC
 * and the TSC deadline, which need the kernel's APIC (CPUID says so), ExtINT messages from an
 * IOAPIC pin, the suppression of EOI broadcasts. Everything runs under the VM lock.
 *
 * Here: registers, timer, state; apic_bus.c has the bus and what waits for the CPU.
 */
#include <inttypes.h>

#include "hw/intc/apic_int.h"
#include "util/trace.h"

#define APIC_SPACE 0x100000u /* bytes at APIC_DEFAULT_BASE: registers, then addresses of messages  \
                              */
#define APIC_PAGE 0x1000u
#define APIC_PRIORITY 0x1000                   /* over whatever a guest maps there */
#define TIMER_MIN_PERIOD (200 * NSEC_PER_USEC) /* KVM's floor: a guest must not own the main loop  \
                                                */

static const uint32_t lvt_writable[APIC_LVTS] = {
    [APIC_LVT_TIMER] = LVT_PERIODIC | APIC_LVT_MASKED | 0xff,
    [APIC_LVT_THERMAL] = APIC_LVT_MASKED | 0x7ff,
    [APIC_LVT_PERFORM] = APIC_LVT_MASKED | 0x7ff,
    [APIC_LVT_LINT0] = APIC_LVT_MASKED | LVT_LEVEL | 1u << 13 | 0x7ff,
    [APIC_LVT_LINT1] = APIC_LVT_MASKED | LVT_LEVEL | 1u << 13 | 0x7ff,
    [APIC_LVT_ERROR] = APIC_LVT_MASKED | 0xff,
};

/* ---- timer (11.5.4)
 * -------------------------------------------------------------------------------------- */

static int64_t now_of(const ApicCommon *s)
{
    return clock_now(s->dev.vm, CLOCK_VIRTUAL);
}
static int64_t period_of(const ApicCommon *s)
{
    return (int64_t)s->initial_count << s->count_shift;
}

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
    apic_deliver_local(apic, APIC_LVT_TIMER);
    if (s->lvt[APIC_LVT_TIMER] & LVT_PERIODIC) {
        const int64_t now = now_of(s);

        timer_update(apic, MAX(now, s->next_time));
    }
}

/* ---- registers
 * ------------------------------------------------------------------------------------------- */

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
        if ((s->lvt[APIC_LVT_LINT0] & 0xff) == (uint32_t)vector &&
            s->lvt[APIC_LVT_LINT0] & LVT_REMOTE_IRR) {
            s->lvt[APIC_LVT_LINT0] &= ~LVT_REMOTE_IRR;
            if (apic->lint0) {
                apic_deliver_local(apic, APIC_LVT_LINT0);
            }
        }
        if (accel->ioapic_eoi) {
            accel->ioapic_eoi(accel->ioapic_opaque, (uint8_t)vector);
        }
    }
    apic_update(apic);
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
    apic_update(apic);
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
        apic_deliver_local(apic, entry);
    }
    apic_update(apic);
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
    apic_update(apic);
}

static uint32_t read_register(Apic *apic, unsigned reg)
{
    ApicCommon *s = &apic->common;

    switch (reg) {
    case APIC_REG_ID:
        return (uint32_t)s->id << 24;
    case APIC_REG_VERSION:
        return APIC_VERSION | (APIC_LVTS - 1) << 16;
    case APIC_REG_TPR:
        return s->tpr;
    case APIC_REG_APR:
    case APIC_REG_PPR:
        return apic_ppr(s);
    case APIC_REG_EOI:
        return 0;
    case APIC_REG_LDR:
        return (uint32_t)s->log_dest << 24;
    case APIC_REG_DFR:
        return (uint32_t)s->dest_mode << 28 | 0x0fffffff;
    case APIC_REG_SVR:
        return s->spurious_vec;
    case APIC_REG_ISR ... APIC_REG_ISR + 7:
        return s->isr[reg - APIC_REG_ISR];
    case APIC_REG_TMR ... APIC_REG_TMR + 7:
        return s->tmr[reg - APIC_REG_TMR];
    case APIC_REG_IRR ... APIC_REG_IRR + 7:
        return s->irr[reg - APIC_REG_IRR];
    case APIC_REG_ESR:
        return s->esr;
    case APIC_REG_ICR_LOW:
    case APIC_REG_ICR_HIGH:
        return s->icr[reg - APIC_REG_ICR_LOW];
    case APIC_REG_LVT ... APIC_REG_LVT + APIC_LVTS - 1:
        return s->lvt[reg - APIC_REG_LVT];
    case APIC_REG_INITIAL_COUNT:
        return s->initial_count;
    case APIC_REG_CURRENT_COUNT:
        return current_count(s);
    case APIC_REG_DIVIDE:
        return s->divide_conf;
    default:
        apic_set_error(apic, ESR_REGISTER);
        return 0;
    }
}

static void write_register(Apic *apic, unsigned reg, uint32_t value)
{
    ApicCommon *s = &apic->common;

    switch (reg) {
    case APIC_REG_ID:
        s->id = (uint8_t)(value >> 24);
        break;
    case APIC_REG_VERSION:
    case APIC_REG_APR:
    case APIC_REG_PPR:
    case APIC_REG_ISR ... APIC_REG_IRR + 7:
    case APIC_REG_CURRENT_COUNT:
        break; /* read-only */
    case APIC_REG_TPR:
        set_tpr(apic, (uint8_t)value);
        break;
    case APIC_REG_EOI:
        end_of_interrupt(apic);
        break;
    case APIC_REG_LDR:
        s->log_dest = (uint8_t)(value >> 24);
        break;
    case APIC_REG_DFR:
        s->dest_mode = (uint8_t)(value >> 28);
        break;
    case APIC_REG_SVR:
        write_svr(apic, value);
        break;
    case APIC_REG_ESR:
        s->esr = 0;
        break;
    case APIC_REG_ICR_LOW:
        s->icr[0] = value & ICR_WRITABLE;
        apic_send_ipi(apic);
        break;
    case APIC_REG_ICR_HIGH:
        s->icr[1] = value & 0xff000000;
        break;
    case APIC_REG_LVT ... APIC_REG_LVT + APIC_LVTS - 1:
        write_lvt(apic, reg - APIC_REG_LVT, value);
        break;
    case APIC_REG_INITIAL_COUNT:
        write_count(apic, value);
        break;
    case APIC_REG_DIVIDE:
        s->divide_conf = value & 0xb;
        s->count_shift = apic_divide_shift(s->divide_conf);
        timer_update(apic, now_of(s));
        break;
    default:
        apic_set_error(apic, ESR_REGISTER);
        break;
    }
}

/* Each CPU sees its own APIC; one that is switched off, and who is no CPU, sees nothing there. */
static Apic *own_apic(uint64_t offset, unsigned size)
{
    Apic *apic = apic_of(cpu_current());

    return apic && is_on(&apic->common) && offset < APIC_PAGE && !(offset & 15) && size == 4 ? apic
                                                                                             : NULL;
}

static uint64_t apic_read(void *opaque, uint64_t offset, unsigned size)
{
    Apic *apic = own_apic(offset, size);
    uint32_t value = apic ? read_register(apic, (unsigned)offset >> 4) : 0;

    trace(apic_read, "apic %d offset 0x%x size %u value 0x%x", apic ? apic->common.id : -1,
          (unsigned)offset, size, value);
    return value;
}

/* Registers 0 and those above the page are no registers: there a write is a message. */
static void apic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Vm *vm = ((Apic *)opaque)->common.dev.vm;
    Apic *apic = own_apic(offset, size);

    trace(apic_write, "apic %d offset 0x%x size %u value 0x%x", apic ? apic->common.id : -1,
          (unsigned)offset, size, (unsigned)value);
    if (size != 4) {
        return;
    }
    if (offset < 16 || offset >= APIC_PAGE || !cpu_current()) {
        vm->accel->ops->send_msi(vm->accel,
                                 (MsiMessage){APIC_DEFAULT_BASE + offset, (uint32_t)value});
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

/* ---- for the accelerator
 * --------------------------------------------------------------------------------- */

static uint8_t get_tpr(void *opaque)
{
    return ((Apic *)opaque)->common.tpr;
}
static uint64_t get_base(void *opaque)
{
    return ((Apic *)opaque)->common.apicbase;
}

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
    apic_update(apic);
}

static void set_lint0(void *opaque, int level)
{
    Apic *apic = opaque;
    bool rising = level && !apic->lint0;

    trace(apic_lint0, "apic %u level %d", apic->common.id, level);
    apic->lint0 = level;
    if (rising) {
        apic_deliver_local(apic, APIC_LVT_LINT0);
    }
    apic_update(apic);
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
    apic_update(apic);
}

static uint8_t take_sipi(void *opaque)
{
    ApicCommon *s = &((Apic *)opaque)->common;

    s->wait_for_sipi = 0;
    return (uint8_t)s->sipi_vector;
}

static const CpuApicOps cpu_apic_ops = {
    .take_interrupt = apic_take_interrupt,
    .has_interrupt = apic_has_interrupt,
    .get_tpr = get_tpr,
    .set_tpr = set_tpr,
    .get_base = get_base,
    .set_base = set_base,
    .set_lint0 = set_lint0,
    .passes_nmi = passes_nmi,
    .init_reset = init_reset,
    .take_sipi = take_sipi,
};

/* ---- lifecycle
 * ----------------------------------------------------------------------------------------- */

static bool apic_realize(Device *dev, GError **err)
{
    Apic *apic = container_of(dev, Apic, common.dev);
    Cpu *cpu = apic_cpu(&apic->common);
    Vm *vm = dev->vm;

    timer_init(&apic->timer, vm, CLOCK_VIRTUAL, timer_fired, apic);
    apic_reset_state(&apic->common);
    cpu->apic_ops = &cpu_apic_ops;
    cpu->apic_opaque = apic;
    vm->accel->apic_send_msi = apic_send_msi;
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

/* ---- state
 * --------------------------------------------------------------------------------------------- */

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
        return error_set(err, "count_shift is %d, which divide_conf 0x%x does not give",
                         s->count_shift, s->divide_conf);
    }
    timer_cancel(&apic->timer);
    if (s->timer_expiry >= 0 && s->lvt[APIC_LVT_TIMER] & LVT_PERIODIC) {
        timer_update(apic, now_of(s));
    } else if (s->timer_expiry >= 0) { /* once: also when it is due by now */
        s->next_time = s->initial_count_load_time + period_of(s);
        timer_arm(&apic->timer, s->next_time);
    }
    apic_update(apic);
    return true;
}

static bool sipi_needed(void *obj)
{
    return ((const ApicCommon *)obj)->wait_for_sipi;
}

static const StateField sipi_fields[] = {STATE_I32(ApicCommon, sipi_vector, .min = 0, .max = 0xff),
                                         STATE_I32(ApicCommon, wait_for_sipi, .min = 0, .max = 1),
                                         {}};
static const StateDesc sipi_state = {.name = "apic_sipi",
                                     .version = 1,
                                     .min_version = 1,
                                     .fields = sipi_fields,
                                     .needed = sipi_needed};
static const StateDesc *const apic_subsections[] = {&sipi_state, NULL};

static bool apic_pre_load(void *obj, GError **err)
{
    STATE_KEEP(((ApicCommon *)obj)->wait_for_sipi);
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

static const ApicOps apic_ops_common = {.current_count = current_count};

DEVICE_TYPE(apic) = {
    .name = "apic",
    .parent = "apic-common",
    .desc = "local APIC",
    .size = sizeof(Apic),
    .state = &apic_state,
    .ops = &apic_ops_common,
    .realize = apic_realize,
    .unrealize = apic_unrealize,
    .reset = apic_reset,
};
