/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: interrupt controllers: info pic, info irq, info lapic, laid out as in QEMU's monitor; x-query-irq. */
#include <inttypes.h>

#include "hw/i386/machine.h"
#include "hw/intc/apic_common.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"

#define APIC_BASE_X2APIC (1u << 10)

/* The kernel's chips tell their state to the device when it is saved. */
static void fetch(Device *dev)
{
    const StateDesc *state = type_state(dev->obj.type);

    if (state && state->pre_save) {
        state->pre_save(dev);
    }
}

/* ---- info pic --------------------------------------------------------------------------------- */

static void print_redirection(HmpCall *call, unsigned pin, uint64_t entry)
{
    static const char *const modes[] = {"fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT"};

    hmp_printf(call, "  pin %-2u 0x%016" PRIx64 " dest=%" PRIx64 " vec=%-3u %s %-5s %-6s %-6s %s\n", pin, entry, entry >> 56,
               (unsigned)entry & 0xff, entry & 1 << 13 ? "active-lo" : "active-hi", entry & 1 << 15 ? "level" : "edge",
               entry & 1 << 16 ? "masked" : "", modes[entry >> 8 & 7], entry & 1 << 11 ? "logical" : "physical");
}

static void print_pins(HmpCall *call, const char *title, uint32_t pins)
{
    hmp_printf(call, "  %s ", title);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if (pins >> pin & 1) {
            hmp_printf(call, "%-2u ", pin);
        }
    }
    hmp_printf(call, "%s\n", pins ? "" : "(none)");
}

static void print_ioapic(HmpCall *call, const Ioapic *s)
{
    uint32_t remote = 0;

    hmp_printf(call, "ioapic0: ver=0x%02x id=0x%02x sel=0x%02x", s->version, s->id, s->ioregsel);
    if (s->ioregsel >= 0x10) {
        hmp_printf(call, " (redir[%u])", (s->ioregsel - 0x10u) / 2);
    }
    hmp_printf(call, "\n");
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        print_redirection(call, pin, s->ioredtbl[pin]);
        remote |= (uint32_t)(s->ioredtbl[pin] >> 14 & 1) << pin;
    }
    print_pins(call, "IRR     ", s->irr);
    print_pins(call, "Remote IRR", remote);
}

static void print_pic(HmpCall *call, const I8259 *s)
{
    hmp_printf(call, "pic%d: irr=%02x imr=%02x isr=%02x hprio=%d irq_base=%02x rr_sel=%d elcr=%02x fnm=%d\n", !s->master,
               s->irr, s->imr, s->isr, s->priority_add, s->irq_base, s->read_reg_select, s->elcr,
               s->special_fully_nested_mode);
}

static void info_pic(HmpCall *call)
{
    GPtrArray *devices = call->vm->devices;
    const I8259 *master = NULL;

    for (unsigned i = 0; i < devices->len; i++) {
        Device *dev = devices->pdata[i];

        if (object_is_a(dev, "ioapic-common")) {
            fetch(dev);
            print_ioapic(call, container_of(dev, Ioapic, dev));
        }
    }
    for (unsigned i = 0; i < devices->len; i++) { /* the slave, which is behind the master, comes first */
        Device *dev = devices->pdata[i];

        if (object_is_a(dev, "pic-common")) {
            const I8259 *pic = container_of(dev, I8259, isa.dev);

            fetch(dev);
            if (pic->master) {
                master = pic;
            } else {
                print_pic(call, pic);
            }
        }
    }
    if (master) {
        print_pic(call, master);
    }
}

/* ---- info irq --------------------------------------------------------------------------------- */

/* Lines reach the controllers together, so there is one count for each line. */
static void print_counts(HmpCall *call, const Device *dev, const uint64_t *counts, unsigned n)
{
    hmp_printf(call, "IRQ statistics for %s:\n", dev->obj.type->name);
    for (unsigned line = 0; line < n; line++) {
        if (counts[line]) {
            hmp_printf(call, "%2u: %" PRIu64 "\n", line, counts[line]);
        }
    }
}

static void info_irq(HmpCall *call)
{
    Vm *vm = call->vm;
    const MachineOps *ops = vm->machine ? vm->machine->ops : NULL;
    unsigned n;

    if (!ops || !ops->irq_counts) {
        return;
    }
    const uint64_t *counts = ops->irq_counts(vm->machine, &n);
    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = vm->devices->pdata[i];

        if (object_is_a(dev, "ioapic-common")) {
            print_counts(call, dev, counts, n);
        }
    }
    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = vm->devices->pdata[i];

        if (object_is_a(dev, "pic-common") && container_of(dev, I8259, isa.dev)->master) {
            print_counts(call, dev, counts, MIN(n, ISA_NUM_IRQS));
        }
    }
}

bool qmp_x_query_irq(QmpCall *call, GError **err) { return hmp_text_result(call, info_irq); }

/* ---- info lapic --------------------------------------------------------------------------------- */

static void print_lvt(HmpCall *call, const ApicCommon *s, const char *name, unsigned which)
{
    static const char *const modes[] = {"Fixed", "...", "SMI", "...", "NMI", "INIT", "...", "ExtINT"};
    static const char *const timers[] = {"one-shot", "periodic", "tsc-deadline", "..."};
    uint32_t lvt = s->lvt[which];
    unsigned mode = lvt >> 8 & 7;

    hmp_printf(call, "%s\t 0x%08x %s %-5s %-6s %-7s %-12s %-6s", name, lvt, lvt & 1 << 13 ? "active-lo" : "active-hi",
               lvt & 1 << 15 ? "level" : "edge", lvt & APIC_LVT_MASKED ? "masked" : "", lvt & 1 << 12 ? "pending" : "",
               which == APIC_LVT_TIMER ? timers[lvt >> 17 & 3] : "", modes[mode]);
    if (mode != 4) {
        hmp_printf(call, " (vec %u)", lvt & 0xff);
    }
    hmp_printf(call, "\n");
}

/* The low bits of a mask, the highest first. */
static const char *bits(char *text, unsigned value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        text[i] = value >> (n - 1 - i) & 1 ? '1' : '0';
    }
    text[n] = 0;
    return text;
}

static void print_destination(HmpCall *call, const ApicCommon *s)
{
    bool x2apic = s->apicbase & APIC_BASE_X2APIC;
    const char *kind = x2apic ? "X2APIC ID" : "APIC ID";
    uint32_t dest = x2apic ? s->icr[1] : s->icr[1] >> 24;
    char text[33];

    hmp_printf(call, "ICR2\t 0x%08x", s->icr[1]);
    if (s->icr[0] >> 18 & 3) { /* a shorthand says whom */
    } else if (!(s->icr[0] & 1 << 11)) {
        hmp_printf(call, " cpu %u (%s)", dest, kind);
    } else if (x2apic) {
        hmp_printf(call, " cluster %u mask %s (%s)", dest >> 16, bits(text, dest, 16), kind);
    } else if (s->dest_mode == 0) {
        hmp_printf(call, " cluster %u mask %s (%s)", dest >> 4, bits(text, dest, 4), kind);
    } else {
        hmp_printf(call, " mask %s (%s)", bits(text, dest, 8), kind);
    }
    hmp_printf(call, "\n");
}

static void print_vectors(HmpCall *call, const char *name, const uint32_t vectors[8], const uint32_t level[8])
{
    bool any = false;

    hmp_printf(call, "%s\t ", name);
    for (unsigned v = 0; v < 256; v++) {
        if (vectors[v / 32] >> v % 32 & 1) {
            hmp_printf(call, "%u%s ", v, level[v / 32] >> v % 32 & 1 ? "(level)" : "");
            any = true;
        }
    }
    hmp_printf(call, "%s\n", any ? "" : "(none)");
}

static unsigned processor_priority(const ApicCommon *s)
{
    unsigned class = 0;

    for (unsigned v = 0; v < 256; v++) {
        class = s->isr[v / 32] >> v % 32 & 1 ? v & 0xf0 : class;
    }
    return (s->tpr & 0xf0u) >= class ? s->tpr : class;
}

static void print_timer(HmpCall *call, const ApicCommon *s)
{
    const ApicOps *ops = type_ops(s->dev.obj.type);

    print_lvt(call, s, "LVTT", APIC_LVT_TIMER);
    hmp_printf(call, "Timer\t DCR=0x%x (divide by %u) initial_count = %u current_count = %u\n", s->divide_conf & 0xb,
               1u << apic_divide_shift(s->divide_conf), s->initial_count, ops->current_count(s));
}

static void print_lapic(HmpCall *call, const ApicCommon *s)
{
    static const char *const shorthands[] = {"no-shorthand", "self", "all-self", "all"};
    uint32_t icr = s->icr[0];

    hmp_printf(call, "dumping local APIC state for CPU %u \n\n", apic_cpu(s)->index);
    print_lvt(call, s, "LVT0", APIC_LVT_LINT0);
    print_lvt(call, s, "LVT1", APIC_LVT_LINT1);
    print_lvt(call, s, "LVTPC", APIC_LVT_PERFORM);
    print_lvt(call, s, "LVTERR", APIC_LVT_ERROR);
    print_lvt(call, s, "LVTTHMR", APIC_LVT_THERMAL);
    print_timer(call, s);
    hmp_printf(call, "SPIV\t 0x%08x APIC %s, focus=%s, spurious vec %u\n", s->spurious_vec,
               s->spurious_vec & 1 << 8 ? "enabled" : "disabled", s->spurious_vec & 1 << 9 ? "on" : "off",
               s->spurious_vec & 0xff);
    hmp_printf(call, "ICR\t 0x%08x %s %s %s %s\n", icr, icr & 1 << 11 ? "logical" : "physical",
               icr & 1 << 15 ? "level" : "edge", icr & 1 << 14 ? "assert" : "de-assert", shorthands[icr >> 18 & 3]);
    print_destination(call, s);
    hmp_printf(call, "ESR\t 0x%08x\n", s->esr);
    print_vectors(call, "ISR", s->isr, s->tmr);
    print_vectors(call, "IRR", s->irr, s->tmr);
    hmp_printf(call, "\nAPR 0x%02x TPR 0x%02x DFR 0x%02x LDR 0x%02x", s->arb_id, s->tpr, s->dest_mode, s->log_dest);
    if (s->dest_mode == 0) {
        hmp_printf(call, "(cluster %u: id %u)", s->log_dest >> 4, s->log_dest & 0xfu);
    }
    hmp_printf(call, " PPR 0x%02x\n", processor_priority(s));
}

/* The number of the CPU with this APIC id, -1: there is none. */
static int find_cpu(const Vm *vm, int64_t apic_id)
{
    for (unsigned i = 0; i < vm->cpus->len; i++) {
        const Cpu *cpu = vm->cpus->pdata[i];

        if (cpu && cpu->apic_id == apic_id) {
            return (int)i;
        }
    }
    return -1;
}

static void info_lapic(HmpCall *call)
{
    int *current = call->cpu_index, asked = *current;

    if (hmp_has(call->args, "apic-id") && (asked = find_cpu(call->vm, hmp_int(call->args, "apic-id"))) < 0) {
        hmp_printf(call, "No CPU available\n");
        return;
    }
    call->cpu_index = &asked;
    Cpu *cpu = hmp_cpu_begin(call);
    if (cpu && !cpu->apic) {
        hmp_printf(call, "local APIC not available\n");
    } else if (cpu) {
        fetch(cpu->apic);
        print_lapic(call, container_of(cpu->apic, ApicCommon, dev));
    }
    if (cpu) {
        hmp_cpu_end(call);
    }
    call->cpu_index = current;
}

const HmpCommand hmp_interrupt_commands[] = {
    {"info pic", .run = info_pic, .help = "state of the interrupt controllers of the board"},
    {"info irq", .run = info_irq, .help = "how often interrupt lines have risen"},
    {"info lapic", "apic-id:int?", .run = info_lapic, .help = "state of the local APIC of the current CPU, or of the one named"},
    {}};
