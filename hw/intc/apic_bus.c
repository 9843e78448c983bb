/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of an interrupt into a CPU with a user-space local APIC: messages on the bus, local
 * sources, what waits (IRR) and what the CPU may take now. Spec: SDM vol. 3, chapter 11.
 */
#include "hw/intc/apic_int.h"

#include "util/trace.h"

/* A message on the bus of the APICs: an interrupt for some of them. */
typedef struct BusMessage {
    uint8_t dest;
    bool logical;
    Delivery mode;
    uint8_t vector;
    bool level;
} BusMessage;

Apic *apic_of(const Cpu *cpu)
{
    return cpu && cpu->apic_ops ? container_of(cpu->apic, Apic, common.dev) : NULL;
}

/* ---- bit maps of vectors ------------------------------------------------------------------- */

static void vector_set(uint32_t map[8], uint8_t vector)
{
    map[vector / 32] |= 1u << vector % 32;
}

int vector_highest(const uint32_t map[8])
{
    for (int i = 7; i >= 0; i--) {
        if (map[i]) {
            return 32 * i + 31 - __builtin_clz(map[i]);
        }
    }
    return -1;
}

/* ---- what the CPU may take now
 * ------------------------------------------------------------------- */

uint8_t apic_ppr(const ApicCommon *s)
{
    int in_service = vector_highest(s->isr);
    uint8_t class = in_service < 0 ? 0 : (uint8_t)(in_service & 0xf0);

    return (s->tpr & 0xf0) >= class ? s->tpr : class;
}

static int deliverable(const ApicCommon *s)
{
    int vector = is_enabled(s) ? vector_highest(s->irr) : -1;

    return vector >= 0 && (vector & 0xf0) > (apic_ppr(s) & 0xf0) ? vector : -1;
}

/* The 8259's request reaches the CPU: straight without an APIC, else through LINT0 as ExtINT. */
static bool extint_pending(const Apic *apic)
{
    uint32_t lvt = apic->common.lvt[APIC_LVT_LINT0];

    return apic->lint0 &&
           (!is_on(&apic->common) || (!(lvt & APIC_LVT_MASKED) && lvt_mode(lvt) == DELIVER_EXTINT));
}

bool apic_has_interrupt(void *opaque)
{
    const Apic *apic = opaque;

    return deliverable(&apic->common) >= 0 || extint_pending(apic);
}

void apic_update(Apic *apic)
{
    Cpu *cpu = apic_cpu(&apic->common);

    if (apic_has_interrupt(apic)) {
        cpu_interrupt(cpu, CPU_INTERRUPT_HARD);
    } else {
        cpu_clear_interrupt(cpu, CPU_INTERRUPT_HARD);
    }
}

int apic_take_interrupt(void *opaque)
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
    apic_update(apic);
    return vector;
}

/* ---- receiving
 * -------------------------------------------------------------------------------------- */

/* A legal vector waits for an APIC that is on. */
static void set_pending(Apic *apic, uint8_t vector, bool level)
{
    ApicCommon *s = &apic->common;

    vector_set(s->irr, vector);
    if (level) {
        vector_set(s->tmr, vector);
    } else {
        vector_clear(s->tmr, vector);
    }
    apic_update(apic);
}

void apic_set_error(Apic *apic, uint32_t bit)
{
    ApicCommon *s = &apic->common;
    uint32_t lvt = s->lvt[APIC_LVT_ERROR];
    bool new = !(s->esr & bit);

    s->esr |= bit;
    if (new &&is_enabled(s) && !(lvt & APIC_LVT_MASKED) && (lvt & 0xff) >= FIRST_VECTOR) {
        set_pending(apic, (uint8_t)lvt, false);
    }
}

/* A fixed interrupt (11.8.4). Software that disabled the APIC does not want any. */
static void accept(Apic *apic, uint8_t vector, bool level)
{
    if (!is_enabled(&apic->common)) {
        return;
    }
    if (vector < FIRST_VECTOR) {
        apic_set_error(apic, ESR_RECEIVE_VECTOR);
        return;
    }
    set_pending(apic, vector, level);
}

static void receive_init(Apic *apic)
{
    ApicCommon *s = &apic->common;

    cpu_clear_interrupt(apic_cpu(s), CPU_INTERRUPT_SIPI);
    s->wait_for_sipi =
        apic_cpu(s)->index != 0; /* the start-up IPI may come before the CPU saw the INIT */
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

/* ---- the bus
 * ---------------------------------------------------------------------------------------- */

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
            (!best || apic_ppr(&apic->common) < apic_ppr(&best->common))) {
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

bool apic_send_msi(Vm *vm, MsiMessage msi)
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

void apic_send_ipi(Apic *apic)
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
        apic_set_error(apic, ESR_SEND_VECTOR);
        return;
    }
    m.level = false; /* IPIs are edges whatever the bit says: nobody could end a level */
    if (shorthand == 0) {
        send(vm, &m);
        return;
    }
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        Apic *other = apic_of(g_ptr_array_index(vm->cpus, i));

        if (other && is_on(&other->common) &&
            (shorthand == 2 || (shorthand == 1) == (other == apic))) {
            receive(other, m.mode, m.vector, false);
        }
    }
}

/* ---- local sources
 * ------------------------------------------------------------------------------------ */

void apic_deliver_local(Apic *apic, unsigned entry)
{
    ApicCommon *s = &apic->common;
    uint32_t lvt = s->lvt[entry];
    bool level = lvt & LVT_LEVEL && (entry == APIC_LVT_LINT0 || entry == APIC_LVT_LINT1);

    if (!is_on(s) || lvt & APIC_LVT_MASKED) {
        return;
    }
    if (lvt_mode(lvt) == DELIVER_EXTINT) {
        apic_update(apic); /* has_interrupt looks at the line */
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
