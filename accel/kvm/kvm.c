/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The KVM accelerator: /dev/kvm, what the host can do, and the order of the calls at start.
 *
 * The kernel waits for a grace period (milliseconds) at each change of slots, ioeventfds or
 * in-kernel devices once an irqchip or a vCPU exists. So init makes an empty VM, devices are built
 * in memory, and machine_done then tells KVM everything: slots, ioeventfds, irqchip, PIT, routes,
 * vCPUs. Measured on Linux 6.18: 0.8 ms in all, and 7.2 ms with the slots last.
 *
 * Documentation/virt/kvm/api.rst of the kernel is the specification. A host kernel of at least 4.14
 * is assumed.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel/kvm/kvm_cpuid.h"
#include "accel/x86/cpu_config.h"
#include "accel/kvm/kvm_int.h"
#include "accel/x86/cpu.h"
#include "util/trace.h"

/*
 * Four pages that KVM keeps for itself on Intel processors (identity page table, TSS), below the
 * largest firmware of 16 MiB; the board's E820 has them as reserved.
 */
#define IDENTITY_MAP_ADDRESS UINT64_C(0xfeffc000)
#define TSS_ADDRESS (IDENTITY_MAP_ADDRESS + 0x1000)

/* ---- calls -------------------------------------------------------------------------- */

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
    int r;

    do {
        r = ioctl(fd, request, arg);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

int kvm_check(const KvmAccel *kvm, int capability)
{
    int r = kvm_ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)capability);

    return MAX(r, 0);
}

int kvm_enable_cap(const KvmAccel *kvm, uint32_t capability, uint64_t arg0)
{
    struct kvm_enable_cap cap = {.cap = capability, .args = {arg0}};

    return kvm_ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap);
}

/* ---- opening ------------------------------------------------------------------------ */

static bool open_device(KvmAccel *kvm, GError **err)
{
    kvm->fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm->fd >= 0) {
        return true;
    }
    const char *way_out;
    switch (errno) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
        way_out = "load kvm_intel or kvm_amd, and enable virtualization in the firmware's setup";
        break;
    case EACCES:
    case EPERM:
        way_out = "join the group 'kvm', or have the administrator allow it";
        break;
    default:
        way_out = "see the kernel's log";
        break;
    }
    return error_set(err, "Could not access KVM kernel module: /dev/kvm: %s (%s)",
                     g_strerror(errno), way_out);
}

static bool create_vm(KvmAccel *kvm, GError **err)
{
    int version = kvm_ioctl(kvm->fd, KVM_GET_API_VERSION, NULL);

    if (version != KVM_API_VERSION) {
        return error_set(err, "/dev/kvm speaks version %d of its interface, not %d", version,
                         KVM_API_VERSION);
    }
    int size = kvm_ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (size < (int)sizeof(struct kvm_run)) {
        return error_set_errno(err, size < 0 ? -size : EINVAL, "/dev/kvm: KVM_GET_VCPU_MMAP_SIZE");
    }
    kvm->run_size = (size_t)size;
    kvm->vm_fd = kvm_ioctl(kvm->fd, KVM_CREATE_VM, NULL);
    if (kvm->vm_fd < 0) {
        int error = -kvm->vm_fd;

        kvm->vm_fd = -1;
        return error_set_errno(err, error,
                               error == EBUSY ? "KVM cannot make a VM while another hypervisor "
                                                "uses the processor; stop that first"
                                              : "KVM cannot make a VM");
    }
    return true;
}

static bool check_capabilities(KvmAccel *kvm, GError **err)
{
    static const struct {
        int capability;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
        {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
        {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
        {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
        {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (!kvm_check(kvm, needed[i].capability)) {
            return error_set_class(
                err, KILN_ERROR_KVM_MISSING_CAP,
                "the host's KVM lacks %s, which Kiln needs; a kernel of 4.14 or later has it",
                needed[i].name);
        }
    }
    kvm->max_slots = (unsigned)kvm_check(kvm, KVM_CAP_NR_MEMSLOTS);
    kvm->max_routes = (unsigned)kvm_check(kvm, KVM_CAP_IRQ_ROUTING);
    kvm->max_vcpus = (unsigned)kvm_check(kvm, KVM_CAP_MAX_VCPUS);
    kvm->max_vcpu_id = (unsigned)kvm_check(kvm, KVM_CAP_MAX_VCPU_ID);
    kvm->smm = kvm_check(kvm, KVM_CAP_X86_SMM);
    kvm->port_coalescing = kvm_check(kvm, KVM_CAP_COALESCED_PIO);
    return true;
}

static bool reserve_pages(KvmAccel *kvm, GError **err)
{
    uint64_t identity = IDENTITY_MAP_ADDRESS;
    int r = kvm_ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);

    if (r >= 0) {
        r = kvm_ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)TSS_ADDRESS);
    }
    kvm->accel.reserved_addr = identity;
    kvm->accel.reserved_size = 4 * KVM_SLOT_PAGE;
    return r >= 0 ||
           error_set_errno(err, -r, "KVM cannot place its own pages at 0x%" PRIx64, identity);
}

static bool kvm_init(Accel *accel, GError **err)
{
    KvmAccel *kvm = kvm_accel(accel);

    return open_device(kvm, err) && create_vm(kvm, err) && check_capabilities(kvm, err) &&
           reserve_pages(kvm, err) && kvm_cpuid_init(accel->vm, kvm->fd, err);
}

/* ---- the machine is complete -------------------------------------------------------- */

static bool enable_dirty_ring(KvmAccel *kvm, GError **err)
{
    const uint32_t entries = kvm->dirty_ring_size;

    if (!entries) {
        return true;
    }
    const uint64_t bytes = entries * (uint64_t)sizeof(struct kvm_dirty_gfn);
    const unsigned most = (unsigned)kvm_check(kvm, KVM_CAP_DIRTY_LOG_RING);
    if (!most) {
        return error_set_class(
            err, KILN_ERROR_KVM_MISSING_CAP,
            "dirty-ring-size: the host's KVM has no dirty rings; leave the option out");
    }
    if (!is_power_of_two(entries) || bytes < KVM_SLOT_PAGE || bytes > most) {
        return error_set(err, "dirty-ring-size=%u is not a power of 2 from %u to %u", entries,
                         (unsigned)(KVM_SLOT_PAGE / sizeof(struct kvm_dirty_gfn)),
                         most / (unsigned)sizeof(struct kvm_dirty_gfn));
    }
    int r = kvm_enable_cap(kvm, KVM_CAP_DIRTY_LOG_RING, bytes);
    return r >= 0 || error_set_errno(err, -r, "dirty-ring-size=%u: KVM refuses it", entries);
}

/* On by default where the processor can do it, as in QEMU. */
static bool enable_notify(KvmAccel *kvm, GError **err)
{
    if (kvm->notify_vmexit == NOTIFY_VMEXIT_DISABLE || !kvm_check(kvm, KVM_CAP_X86_NOTIFY_VMEXIT)) {
        return true;
    }
    int r = kvm_enable_cap(kvm, KVM_CAP_X86_NOTIFY_VMEXIT,
                           (uint64_t)kvm->notify_window << 32 | KVM_X86_NOTIFY_VMEXIT_ENABLED |
                               KVM_X86_NOTIFY_VMEXIT_USER);
    return r >= 0 || error_set_errno(err, -r, "notify-vmexit: KVM refuses a window of %u",
                                     kvm->notify_window);
}

static bool apply_options(KvmAccel *kvm, GError **err)
{
    if (kvm->shadow_mem) {
        int r = kvm_ioctl(kvm->vm_fd, KVM_SET_NR_MMU_PAGES,
                          (void *)(uintptr_t)(kvm->shadow_mem / KVM_SLOT_PAGE));

        if (r < 0) {
            return error_set_errno(err, -r, "kvm-shadow-mem=%" PRIu64 ": KVM refuses it",
                                   kvm->shadow_mem);
        }
    }
    return enable_dirty_ring(kvm, err) && enable_notify(kvm, err);
}

static bool check_apics(KvmAccel *kvm, GError **err)
{
    const GPtrArray *cpus = kvm->accel.vm->cpus;

    /* A single CPU does without (-cpu MODEL,-apic). */
    for (unsigned i = 0; kvm_mode(kvm) == IRQCHIP_OFF && cpus->len > 1 && i < cpus->len; i++) {
        const Cpu *cpu = g_ptr_array_index(cpus, i);

        if (cpu && !cpu->apic_ops) {
            return error_set(
                err,
                "kernel-irqchip=off: CPU %u has no user-space APIC in this machine; use "
                "kernel-irqchip=split or on",
                i);
        }
    }
    return true;
}

/* APIC ids above 254 need the kernel's x2APICs, told of in full width (api.rst 7.5). */
static bool enable_x2apic_ids(KvmAccel *kvm, GError **err)
{
    Vm *vm = kvm->accel.vm;
    uint32_t last = cpu_last_apic_id(vm);

    if (last < 255) {
        return true;
    }
    if (kvm_mode(kvm) == IRQCHIP_OFF) {
        return error_set(err,
                         "-smp: APIC ids up to %u need the kernel's interrupt controllers; use "
                         "kernel-irqchip=split or on, or other sockets, dies, cores, threads",
                         last);
    }
    if (last >= kvm->max_vcpu_id) {
        return error_set(err, "-smp: APIC ids up to %u exceed what this host's KVM can run (%u)",
                         last, kvm->max_vcpu_id - 1);
    }
    int r = kvm_enable_cap(kvm, KVM_CAP_X2APIC_API,
                           KVM_X2APIC_API_USE_32BIT_IDS |
                               KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
    if (r < 0) {
        return error_set_errno(err, -r,
                               "-smp: APIC ids up to %u need X2APIC API support in the host's KVM",
                               last);
    }
    cpu_config(vm)->wide_apic_ids = true;
    return true;
}

static bool kvm_machine_done(Accel *accel, GError **err)
{
    KvmAccel *kvm = kvm_accel(accel);

    if (!check_apics(kvm, err) || !apply_options(kvm, err) || !enable_x2apic_ids(kvm, err) ||
        !kvm_memory_start(kvm, err)) {
        return false;
    }
    kvm_io_start(kvm);
    if (!kvm_irqchip_create(kvm, err) || !kvm_vcpus_create(kvm, err)) {
        return false;
    }
    kvm_coalesced_start(kvm);
    kvm->done = true;
    return true;
}

/* ---- questions ---------------------------------------------------------------------- */

static bool kvm_has_smm(Accel *accel) { return kvm_accel(accel)->smm; }
static unsigned kvm_max_cpus(Accel *accel) { return kvm_accel(accel)->max_vcpus; }

/* ---- life --------------------------------------------------------------------------- */

static void close_all(KvmAccel *kvm, bool with_cpus)
{
    kvm_vcpus_destroy(kvm, with_cpus);
    kvm_memory_stop(kvm);
    kvm_io_stop(kvm);
    if (kvm->stats_fd > 0) {
        close(kvm->stats_fd);
    }
    kvm->stats_fd = 0;
    if (kvm->vm_fd >= 0) {
        close(kvm->vm_fd);
    }
    if (kvm->fd >= 0) {
        close(kvm->fd);
    }
    kvm->vm_fd = kvm->fd = -1;
    kvm->chips = kvm->done = false;
}

static void kvm_shutdown(Accel *accel)
{
    kvm_cpus_stop(accel);
    close_all(kvm_accel(accel), true);
}

static void kvm_instance_init(Object *obj)
{
    KvmAccel *kvm = container_of(obj, KvmAccel, accel.obj);

    kvm->fd = kvm->vm_fd = -1;
    kvm->msi_routes = g_array_new(false, true, sizeof(KvmMsiRoute));
    lock_init(&kvm->irq_lock, "KVM interrupts", LOCK_RANK_ACCEL);
}

static void kvm_finalize(Object *obj)
{
    KvmAccel *kvm = container_of(obj, KvmAccel, accel.obj);

    close_all(kvm, false);
    kvm_irq_free(kvm);
    g_clear_error(&kvm->memory_error);
    lock_destroy(&kvm->irq_lock);
}

static const AccelOps kvm_ops = {
    .name = "kvm",
    .init = kvm_init,
    .machine_done = kvm_machine_done,
    .shutdown = kvm_shutdown,
    .cpus_start = kvm_cpus_start,
    .cpus_stop = kvm_cpus_stop,
    .cpus_reset = kvm_cpus_reset,
    .cpu_add = kvm_cpu_add,
    .cpu_run = kvm_cpu_run,
    .cpu_remove = kvm_cpu_remove,
    .cpu_kick = kvm_cpu_kick,
    .cpu_get_state = kvm_cpu_get_state,
    .cpu_put_state = kvm_cpu_put_state,
    .cpu_thread_id = kvm_cpu_thread_id,
    .stats = kvm_stats,
    .cpu_translate = kvm_cpu_translate,
    .exit_regs_get = kvm_exit_regs_get,
    .exit_regs_put = kvm_exit_regs_put,
    .set_gsi = kvm_set_gsi,
    .send_msi = kvm_send_msi,
    .set_intr = kvm_set_intr,
    .inject_nmi = kvm_inject_nmi,
    .inject_smi = kvm_inject_smi,
    .ioapic_route = kvm_ioapic_route,
    .msi_route_add = kvm_msi_route_add,
    .msi_route_update = kvm_msi_route_update,
    .msi_route_del = kvm_msi_route_del,
    .irqfd_add = kvm_irqfd_add,
    .irqfd_del = kvm_irqfd_del,
    .irqchip_get = kvm_irqchip_get,
    .irqchip_set = kvm_irqchip_set,
    .pit_enable = kvm_pit_enable,
    .has_smm = kvm_has_smm,
    .dirty_sync = kvm_dirty_sync,
    .max_cpus = kvm_max_cpus,
    .clock_get = kvm_clock_get,
    .clock_set = kvm_clock_set,
};

static const char *const irqchip_names[] = {
    [IRQCHIP_ON] = "on", [IRQCHIP_SPLIT] = "split", [IRQCHIP_OFF] = "off", NULL};
static const char *const notify_names[] = {
    [NOTIFY_VMEXIT_RUN] = "run",
    [NOTIFY_VMEXIT_INTERNAL_ERROR] = "internal-error",
    [NOTIFY_VMEXIT_DISABLE] = "disable",
    NULL,
};

static const Property kvm_props[] = {
    PROP_ENUM("kernel-irqchip", KvmAccel, accel.irqchip, .def = IRQCHIP_ON, .values = irqchip_names,
              .help = "interrupt controllers in the kernel: on, split (local APICs only) or off"),
    PROP_SIZE("kvm-shadow-mem", KvmAccel, shadow_mem,
              .help = "memory for shadow page tables; 0: the kernel's choice"),
    PROP_U32("dirty-ring-size", KvmAccel, dirty_ring_size,
             .help = "entries of each CPU's dirty ring, a power of 2; 0: dirty bitmaps"),
    PROP_ENUM("notify-vmexit", KvmAccel, notify_vmexit, .def = NOTIFY_VMEXIT_RUN,
              .values = notify_names,
              .help = "what to do with a guest that lets no event in: run, internal-error, or do "
                      "not look (disable)"),
    PROP_U32("notify-window", KvmAccel, notify_window,
             .help = "cycles of patience on top of the processor's"),
    {}};

KILN_TYPE(kvm_accel) = {
    .name = "kvm-accel",
    .parent = "accel",
    .desc = "Linux KVM",
    .size = sizeof(KvmAccel),
    .props = kvm_props,
    .ops = &kvm_ops,
    .init = kvm_instance_init,
    .finalize = kvm_finalize,
};
