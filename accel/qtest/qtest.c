/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qtest accelerator: see qtest.h. There is no kernel's chip, no route and no irqfd here, and
 * it says so. */
#include "accel/qtest/qtest.h"

#include <unistd.h>

#include "accel/x86/cpu.h"
#include "util/trace.h"

#define MAX_CPUS 288

static QtestAccel *qtest_accel(Accel *accel) { return container_of(accel, QtestAccel, accel); }

/* ---- life ------------------------------------------------------------------------------- */

static bool qtest_init(Accel *accel, GError **err)
{
    accel->irqchip = IRQCHIP_OFF;
    accel->vm->qtest = true;
    clock_virtual_detach(accel->vm);
    return true;
}

static bool qtest_machine_done(Accel *accel, GError **err) { return true; }
static void qtest_nothing(Accel *accel) {}
static void qtest_cpu_nothing(Cpu *cpu) {}

static void qtest_cpus_reset(Accel *accel)
{
    qtest_accel(accel)->intr = 0;
    for (unsigned i = 0; i < accel->vm->cpus->len; i++) {
        if (g_ptr_array_index(accel->vm->cpus, i)) {
            cpu_reset_state(g_ptr_array_index(accel->vm->cpus, i));
        }
    }
}

/* There is no kernel's copy: the CPU object is the state. */
static bool qtest_cpu_state(Cpu *cpu, GError **err) { return true; }

/* ---- interrupts ------------------------------------------------------------------------- */

static void qtest_set_gsi(Accel *accel, unsigned gsi, int level)
{
    g_assert_not_reached(); /* only with a chip in the kernel */
}

static bool qtest_send_msi(Accel *accel, MsiMessage msi)
{
    QtestAccel *q = qtest_accel(accel);

    trace(qtest_send_msi, "address 0x%" PRIx64 " data 0x%x", msi.address, msi.data);
    q->msis++;
    q->last_msi = msi;
    return !accel->apic_send_msi || accel->apic_send_msi(accel->vm, msi);
}

static void qtest_set_intr(Accel *accel, int level)
{
    const Cpu *cpu = accel->vm->cpus->len ? g_ptr_array_index(accel->vm->cpus, 0) : NULL;

    trace(qtest_set_intr, "level %d", level);
    qtest_accel(accel)->intr = level;
    if (cpu && cpu->apic_ops) {
        cpu->apic_ops->set_lint0(cpu->apic_opaque, level);
    }
}

static int qtest_cpu_thread_id(Cpu *cpu) { return getpid(); } /* nobody runs it */

/* CPUs never leave real mode here. */
static bool qtest_cpu_translate(Cpu *cpu, uint64_t address, uint64_t *physical)
{
    *physical = address;
    return true;
}

static void qtest_inject_nmi(Accel *accel, Cpu *cpu) { qtest_accel(accel)->nmis++; }
static void qtest_inject_smi(Accel *accel, Cpu *cpu) { qtest_accel(accel)->smis++; }

static int qtest_msi_route_add(Accel *accel, MsiMessage msi, GError **err)
{
    error_set(err, "the qtest accelerator has no MSI routes");
    return -1;
}

static bool qtest_msi_route_update(Accel *accel, int route, MsiMessage msi) { return false; }
static void qtest_msi_route_del(Accel *accel, int route) {}

static bool qtest_irqfd_add(Accel *accel, int route, int fd, int resample_fd, GError **err)
{
    return error_set(err, "the qtest accelerator has no irqfds");
}

static void qtest_irqfd_del(Accel *accel, int route, int fd) {}

/* ---- what there is ---------------------------------------------------------------------- */

static bool qtest_irqchip_get(Accel *accel, IrqchipId chip, void *state, size_t size)
{
    return false;
}
static bool qtest_irqchip_set(Accel *accel, IrqchipId chip, const void *state, size_t size)
{
    return false;
}

static bool qtest_pit_enable(Accel *accel, bool reinject, GError **err)
{
    return error_set(err, "kvm-pit: the qtest accelerator has no timer of the kernel; use isa-pit");
}

static bool qtest_has_smm(Accel *accel) { return true; }
static unsigned qtest_max_cpus(Accel *accel) { return MAX_CPUS; }

static uint64_t qtest_clock_get(Accel *accel, bool *reliable)
{
    *reliable = false;
    return clock_now(accel->vm, CLOCK_VIRTUAL);
}

static void qtest_clock_set(Accel *accel, uint64_t ns) {}

/* ---- tables ----------------------------------------------------------------------------- */

static const AccelOps qtest_ops = {
    .name = "qtest",
    .init = qtest_init,
    .machine_done = qtest_machine_done,
    .shutdown = qtest_nothing,
    .cpus_start = qtest_nothing,
    .cpus_stop = qtest_nothing,
    .cpus_reset = qtest_cpus_reset,
    .cpu_kick = qtest_cpu_nothing,
    .cpu_get_state = qtest_cpu_state,
    .cpu_put_state = qtest_cpu_state,
    .cpu_thread_id = qtest_cpu_thread_id,
    .cpu_translate = qtest_cpu_translate,
    .exit_regs_get = qtest_cpu_state,
    .exit_regs_put = qtest_cpu_state,
    .set_gsi = qtest_set_gsi,
    .send_msi = qtest_send_msi,
    .set_intr = qtest_set_intr,
    .inject_nmi = qtest_inject_nmi,
    .inject_smi = qtest_inject_smi,
    .msi_route_add = qtest_msi_route_add,
    .msi_route_update = qtest_msi_route_update,
    .msi_route_del = qtest_msi_route_del,
    .irqfd_add = qtest_irqfd_add,
    .irqfd_del = qtest_irqfd_del,
    .irqchip_get = qtest_irqchip_get,
    .irqchip_set = qtest_irqchip_set,
    .pit_enable = qtest_pit_enable,
    .has_smm = qtest_has_smm,
    .dirty_sync = qtest_nothing,
    .max_cpus = qtest_max_cpus,
    .clock_get = qtest_clock_get,
    .clock_set = qtest_clock_set,
};

KILN_TYPE(qtest_accel) = {
    .name = "qtest-accel",
    .parent = "accel",
    .desc = "no CPU runs: devices driven by a test",
    .size = sizeof(QtestAccel),
    .ops = &qtest_ops,
};
