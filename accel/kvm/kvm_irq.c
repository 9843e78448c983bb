/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts: the irqchip in its three modes, the in-kernel PIT, GSI routes, MSI, irqfds.
 *
 * GSIs 0 to 23 are the board's. on: each goes to its pin of the in-kernel 8259s and IOAPIC (GSI 0
 * to IOAPIC pin 2, as the PC is wired). split: they stand for the pins of the user-space IOAPIC, as
 * messages; the kernel learns from them which vectors are level-triggered and have to be reported
 * at EOI. GSIs from 24 up are MSI routes.
 *
 * The kernel takes the whole table at once and waits for its readers, so the table is written only
 * when a route that someone can use has changed.
 */
#include "accel/kvm/kvm_int.h"
#include "accel/x86/cpu.h"
#include "util/trace.h"

/* ---- the table ---------------------------------------------------------------------- */

typedef struct RouteTable {
    struct kvm_irq_routing header;
    struct kvm_irq_routing_entry entries[];
} RouteTable;

static void add_chip_pin(RouteTable *table, unsigned gsi, unsigned chip, unsigned pin)
{
    table->entries[table->header.nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

static void add_message(RouteTable *table, unsigned gsi, MsiMessage msi)
{
    table->entries[table->header.nr++] =
        (struct kvm_irq_routing_entry){.gsi = gsi,
                                       .type = KVM_IRQ_ROUTING_MSI,
                                       .u.msi = {.address_lo = (uint32_t)msi.address,
                                                 .address_hi = (uint32_t)(msi.address >> 32),
                                                 .data = msi.data}};
}

static void add_board_pins(RouteTable *table)
{
    for (unsigned irq = 0; irq < KVM_PIC_PINS; irq++) {
        add_chip_pin(table, irq, irq < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, irq % 8);
    }
    for (unsigned gsi = 0; gsi < KVM_IOAPIC_PINS; gsi++) {
        if (gsi != 2) { /* the 8259s' cascade */
            add_chip_pin(table, gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
        }
    }
}

/* irq_lock held. */
static int write_routes(KvmAccel *kvm)
{
    const unsigned most = KVM_PIC_PINS + 2 * KVM_IOAPIC_PINS + kvm->msi_routes->len;
    RouteTable *table = g_malloc0(sizeof *table + most * sizeof table->entries[0]);

    if (kvm_mode(kvm) == IRQCHIP_ON) {
        add_board_pins(table);
    }
    for (unsigned pin = 0; pin < KVM_IOAPIC_PINS; pin++) {
        if (kvm->ioapic_pins[pin].used) {
            add_message(table, pin, kvm->ioapic_pins[pin].msi);
        }
    }
    for (unsigned i = 0; i < kvm->msi_routes->len; i++) {
        KvmMsiRoute *route = &g_array_index(kvm->msi_routes, KvmMsiRoute, i);

        if (route->used) {
            add_message(table, KVM_IOAPIC_PINS + i, route->msi);
        }
        route->in_kernel = route->used;
    }
    int r = kvm_ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, table);
    trace(kvm_set_routes, "%u entries: %d", table->header.nr, r);
    g_free(table);
    return r;
}

/* ---- creation ----------------------------------------------------------------------- */

static bool create_pit(KvmAccel *kvm, GError **err)
{
    struct kvm_pit_config config = {
        .flags = KVM_PIT_SPEAKER_DUMMY}; /* the kernel answers port 61h, too */
    struct kvm_reinject_control control = {.pit_reinject = kvm->pit_reinject};
    int r = kvm_ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &config);

    if (r < 0) {
        return error_set_errno(
            err, -r, "kernel-irqchip=on: KVM cannot create its PIT; try kernel-irqchip=split");
    }
    if (!kvm->pit_reinject) { /* the kernel starts with reinjection on */
        kvm_ioctl(kvm->vm_fd, KVM_REINJECT_CONTROL, &control);
    }
    return true;
}

static bool create_on(KvmAccel *kvm, GError **err)
{
    int r = kvm_ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, NULL);

    if (r < 0) {
        return error_set_errno(err, -r,
                               "kernel-irqchip=on: KVM cannot create its interrupt controllers");
    }
    return !kvm->pit_wanted || create_pit(kvm, err);
}

static bool create_split(KvmAccel *kvm, GError **err)
{
    int r = kvm_enable_cap(kvm, KVM_CAP_SPLIT_IRQCHIP, KVM_IOAPIC_PINS);

    return r >= 0 || error_set_errno(err, -r,
                                     "kernel-irqchip=split: this host's KVM cannot do that; use "
                                     "kernel-irqchip=on");
}

/* Applies what devices did to chips that were not there yet. */
static void apply_early(KvmAccel *kvm)
{
    uint8_t levels[KVM_IOAPIC_PINS];

    memcpy(levels, kvm->gsi_level, sizeof levels);
    for (unsigned chip = 0; chip < G_N_ELEMENTS(kvm->early_chips); chip++) {
        void *state = g_steal_pointer(&kvm->early_chips[chip]);

        if (state) {
            kvm_irqchip_set(&kvm->accel, (IrqchipId)chip, state,
                            chip == IRQCHIP_PIT ? sizeof(struct kvm_pit_state2)
                                                : sizeof(struct kvm_irqchip));
            g_free(state);
        }
    }
    for (unsigned gsi = 0; gsi < KVM_IOAPIC_PINS; gsi++) {
        kvm->gsi_level[gsi] = 0;
        kvm_set_gsi(&kvm->accel, gsi, levels[gsi]);
    }
}

bool kvm_irqchip_create(KvmAccel *kvm, GError **err)
{
    int r;

    switch (kvm_mode(kvm)) {
    case IRQCHIP_OFF:
        return true;
    case IRQCHIP_ON:
        if (!create_on(kvm, err)) {
            return false;
        }
        break;
    case IRQCHIP_SPLIT:
        if (!create_split(kvm, err)) {
            return false;
        }
        break;
    }
    lock_acquire(&kvm->irq_lock);
    r = write_routes(kvm);
    lock_release(&kvm->irq_lock);
    if (r < 0) {
        return error_set_errno(err, -r, "KVM refuses the table of interrupt routes");
    }
    kvm->chips = true; /* calls reach the kernel from here on */
    if (kvm_mode(kvm) == IRQCHIP_ON) {
        apply_early(kvm);
    }
    return true;
}

void kvm_irq_free(KvmAccel *kvm)
{
    for (unsigned chip = 0; chip < G_N_ELEMENTS(kvm->early_chips); chip++) {
        g_free(kvm->early_chips[chip]);
    }
    g_array_free(kvm->msi_routes, true);
}

bool kvm_pit_enable(Accel *accel, bool reinject, GError **err)
{
    KvmAccel *kvm = kvm_accel(accel);

    if (kvm_mode(kvm) != IRQCHIP_ON) {
        return error_set(err, "the in-kernel PIT needs kernel-irqchip=on");
    }
    kvm->pit_wanted = true;
    kvm->pit_reinject = reinject;
    if (kvm->chips) {
        struct kvm_reinject_control control = {.pit_reinject = reinject};
        int r = kvm_ioctl(kvm->vm_fd, KVM_REINJECT_CONTROL, &control);

        return r >= 0 ||
               error_set_errno(err, -r, "KVM cannot change how its PIT makes up for lost ticks");
    }
    return true;
}

/* ---- pins and messages -------------------------------------------------------------- */

/*
 * A level that the pin has already is not told again. The in-kernel 8259 and IOAPIC look at edges,
 * or at the level they remember: the 8259 sets IRR from it, the IOAPIC looks again at EOI and at
 * unmasking. So a repetition changes nothing, except after a state was loaded into a chip
 * (kvm_irqchip_set).
 */
void kvm_set_gsi(Accel *accel, unsigned gsi, int level)
{
    KvmAccel *kvm = kvm_accel(accel);
    struct kvm_irq_level line = {.irq = gsi, .level = level != 0};

    if (gsi >= KVM_IOAPIC_PINS || kvm_mode(kvm) != IRQCHIP_ON) {
        return;
    }
    lock_acquire(&kvm->irq_lock);
    if (kvm->gsi_level[gsi] != line.level) {
        kvm->gsi_level[gsi] = (uint8_t)line.level;
        if (kvm->chips) {
            kvm_ioctl(kvm->vm_fd, KVM_IRQ_LINE, &line);
        }
    }
    lock_release(&kvm->irq_lock);
}

bool kvm_send_msi(Accel *accel, MsiMessage message)
{
    KvmAccel *kvm = kvm_accel(accel);
    struct kvm_msi msi = {.address_lo = (uint32_t)message.address,
                          .address_hi = (uint32_t)(message.address >> 32),
                          .data = message.data};

    if (kvm_mode(kvm) == IRQCHIP_OFF) {
        return accel->apic_send_msi && accel->apic_send_msi(accel->vm, message);
    }
    return kvm->chips && kvm_ioctl(kvm->vm_fd, KVM_SIGNAL_MSI, &msi) >= 0;
}

void kvm_set_intr(Accel *accel, int level)
{
    KvmAccel *kvm = kvm_accel(accel);
    Cpu *cpu = accel->vm->cpus->len ? g_ptr_array_index(accel->vm->cpus, 0) : NULL;

    if (kvm->intr_level == (level != 0)) {
        return;
    }
    kvm->intr_level = level != 0;
    if (kvm_mode(kvm) == IRQCHIP_OFF) {
        if (cpu && cpu->apic_ops) {
            cpu->apic_ops->set_lint0(cpu->apic_opaque, level);
        } else if (cpu) {
            kvm_cpu_kick(cpu);
        }
    } else if (kvm->n_vcpus) {
        kvm_vcpu_request(kvm->vcpus[0], REQ_INTR);
    }
}

/* ---- routes ------------------------------------------------------------------------- */

static KvmMsiRoute *route_of(KvmAccel *kvm, int gsi)
{
    const unsigned index = (unsigned)gsi - KVM_IOAPIC_PINS;

    if (gsi < KVM_IOAPIC_PINS || index >= kvm->msi_routes->len) {
        return NULL;
    }
    KvmMsiRoute *route = &g_array_index(kvm->msi_routes, KvmMsiRoute, index);
    return route->used ? route : NULL;
}

static bool same_message(MsiMessage a, MsiMessage b)
{
    return a.address == b.address && a.data == b.data;
}

int kvm_msi_route_add(Accel *accel, MsiMessage msi, GError **err)
{
    KvmAccel *kvm = kvm_accel(accel);
    KvmMsiRoute new = {.used = true, .msi = msi};
    unsigned i = 0;

    if (kvm_mode(kvm) == IRQCHIP_OFF) {
        error_set(err, "interrupt routes need kernel-irqchip=on or split");
        return -1;
    }
    lock_acquire(&kvm->irq_lock);
    while (i < kvm->msi_routes->len && g_array_index(kvm->msi_routes, KvmMsiRoute, i).used) {
        i++;
    }
    if (i + KVM_IOAPIC_PINS >= kvm->max_routes) {
        lock_release(&kvm->irq_lock);
        error_set(err, "all %u interrupt routes of this host's KVM are used", kvm->max_routes);
        return -1;
    }
    if (i == kvm->msi_routes->len) {
        g_array_append_val(kvm->msi_routes, new);
    } else {
        g_array_index(kvm->msi_routes, KvmMsiRoute, i) = new;
    }
    lock_release(&kvm->irq_lock);
    return (int)(i + KVM_IOAPIC_PINS);
}

bool kvm_msi_route_update(Accel *accel, int gsi, MsiMessage msi)
{
    KvmAccel *kvm = kvm_accel(accel);
    bool ok = true;

    lock_acquire(&kvm->irq_lock);
    KvmMsiRoute *route = route_of(kvm, gsi);
    if (!route) {
        ok = false;
    } else if (!same_message(route->msi, msi)) {
        route->msi = msi;
        route->in_kernel = false;
        if (route->irqfds) { /* else irqfd_add will write the table */
            ok = write_routes(kvm) >= 0;
        }
    }
    lock_release(&kvm->irq_lock);
    return ok;
}

/* The kernel's entry goes with the next write of the table; nothing refers to it any more. */
void kvm_msi_route_del(Accel *accel, int gsi)
{
    KvmAccel *kvm = kvm_accel(accel);

    lock_acquire(&kvm->irq_lock);
    KvmMsiRoute *route = route_of(kvm, gsi);
    if (route) {
        *route = (KvmMsiRoute){0};
    }
    lock_release(&kvm->irq_lock);
}

void kvm_ioapic_route(Accel *accel, unsigned pin, MsiMessage msi, bool masked)
{
    KvmAccel *kvm = kvm_accel(accel);

    /* A masked pin keeps its route: the EOI of an interrupt in service must still come back. */
    if (kvm_mode(kvm) != IRQCHIP_SPLIT || pin >= KVM_IOAPIC_PINS || masked) {
        return;
    }
    lock_acquire(&kvm->irq_lock);
    KvmMsiRoute *route = &kvm->ioapic_pins[pin];
    if (!route->used || !same_message(route->msi, msi)) {
        *route = (KvmMsiRoute){.used = true, .msi = msi};
        if (kvm->chips) {
            write_routes(kvm);
        }
    }
    lock_release(&kvm->irq_lock);
}

bool kvm_irqfd_add(Accel *accel, int gsi, int fd, int resample_fd, GError **err)
{
    KvmAccel *kvm = kvm_accel(accel);
    struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = (uint32_t)gsi};

    if (!kvm->chips || kvm_mode(kvm) == IRQCHIP_OFF) {
        return error_set(err, "irqfd: there is no in-kernel interrupt controller");
    }
    if (resample_fd >= 0) {
        if (kvm_mode(kvm) != IRQCHIP_ON) {
            return error_set(err, "irqfd: a level-triggered one needs kernel-irqchip=on");
        }
        irqfd.flags = KVM_IRQFD_FLAG_RESAMPLE;
        irqfd.resamplefd = (uint32_t)resample_fd;
    }
    lock_acquire(&kvm->irq_lock);
    KvmMsiRoute *route = route_of(kvm, gsi);
    int r = route && !route->in_kernel ? write_routes(kvm) : 0;
    if (r >= 0) {
        r = kvm_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
    }
    if (route && r >= 0) {
        route->irqfds++;
    }
    lock_release(&kvm->irq_lock);
    return r >= 0 || error_set_errno(err, -r, "irqfd: KVM refuses GSI %d", gsi);
}

void kvm_irqfd_del(Accel *accel, int gsi, int fd)
{
    KvmAccel *kvm = kvm_accel(accel);
    struct kvm_irqfd irqfd = {
        .fd = (uint32_t)fd, .gsi = (uint32_t)gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN};

    lock_acquire(&kvm->irq_lock);
    kvm_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
    KvmMsiRoute *route = route_of(kvm, gsi);
    if (route && route->irqfds) {
        route->irqfds--;
    }
    lock_release(&kvm->irq_lock);
}

/* ---- the in-kernel chips' state ----------------------------------------------------- */

static const struct {
    uint32_t chip_id;
    size_t size;
} chips[] = {
    [IRQCHIP_PIC_MASTER] = {KVM_IRQCHIP_PIC_MASTER, sizeof(struct kvm_pic_state)},
    [IRQCHIP_PIC_SLAVE] = {KVM_IRQCHIP_PIC_SLAVE, sizeof(struct kvm_pic_state)},
    [IRQCHIP_IOAPIC] = {KVM_IRQCHIP_IOAPIC, sizeof(struct kvm_ioapic_state)},
};

/* Both the chip's own struct and the whole kvm_irqchip are taken. */
static bool size_fits(IrqchipId chip, size_t size)
{
    return chip == IRQCHIP_PIT ? size == sizeof(struct kvm_pit_state2)
                               : size == sizeof(struct kvm_irqchip) || size == chips[chip].size;
}

bool kvm_irqchip_get(Accel *accel, IrqchipId chip, void *state, size_t size)
{
    KvmAccel *kvm = kvm_accel(accel);
    struct kvm_irqchip whole = {0};

    if (kvm_mode(kvm) != IRQCHIP_ON || !size_fits(chip, size)) {
        return false;
    }
    if (chip == IRQCHIP_PIT) {
        memset(state, 0, size);
        return kvm->pit_wanted && kvm->chips && kvm_ioctl(kvm->vm_fd, KVM_GET_PIT2, state) >= 0;
    }
    whole.chip_id = chips[chip].chip_id;
    if (!kvm->chips) {
        if (!kvm->early_chips[chip]) {
            return false;
        }
        whole = *(struct kvm_irqchip *)kvm->early_chips[chip];
    } else if (kvm_ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &whole) < 0) {
        return false;
    }
    if (size == sizeof whole) {
        memcpy(state, &whole, size);
    } else {
        memcpy(state, &whole.chip, size);
    }
    return true;
}

static void forget_levels(KvmAccel *kvm)
{
    lock_acquire(&kvm->irq_lock);
    memset(kvm->gsi_level, 0xff,
           sizeof kvm->gsi_level); /* neither 0 nor 1: the next call is told */
    lock_release(&kvm->irq_lock);
}

bool kvm_irqchip_set(Accel *accel, IrqchipId chip, const void *state, size_t size)
{
    KvmAccel *kvm = kvm_accel(accel);
    struct kvm_irqchip whole = {0};

    if (kvm_mode(kvm) != IRQCHIP_ON || !size_fits(chip, size)) {
        return false;
    }
    if (chip == IRQCHIP_PIT) {
        if (!kvm->chips) {
            g_free(kvm->early_chips[chip]);
            kvm->early_chips[chip] = g_memdup2(state, size);
            return true;
        }
        return kvm->pit_wanted &&
               kvm_ioctl(kvm->vm_fd, KVM_SET_PIT2, (void *)(uintptr_t)state) >= 0;
    }
    if (size == sizeof whole) {
        memcpy(&whole, state, size);
    } else {
        memcpy(&whole.chip, state, size);
    }
    whole.chip_id = chips[chip].chip_id;
    if (!kvm->chips) {
        g_free(kvm->early_chips[chip]);
        kvm->early_chips[chip] = g_memdup2(&whole, sizeof whole);
        return true;
    }
    if (kvm_ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &whole) < 0) {
        return false;
    }
    forget_levels(kvm);
    return true;
}
