/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvmclock: the paravirtual clock that guests read. The kernel computes it; here it stands still
 * while the VM is stopped, is saved, and goes on from there.
 *
 * A stream from a host without a stable TSC says that its value is not reliable; QEMU then reads
 * the guest's own clock page to never let time go backwards. Here the value of the stream is used
 * as it is.
 */
#include "accel/kvm/kvm_int.h"
#include "core/device.h"
#include "util/trace.h"

uint64_t kvm_clock_get(Accel *accel, bool *reliable)
{
    struct kvm_clock_data data = {0};

    kvm_ioctl(kvm_accel(accel)->vm_fd, KVM_GET_CLOCK, &data);
    if (reliable) {
        *reliable = data.flags & KVM_CLOCK_TSC_STABLE;
    }
    return data.clock;
}

void kvm_clock_set(Accel *accel, uint64_t ns)
{
    struct kvm_clock_data data = {.clock = ns};

    trace(kvm_clock_set, "%" PRIu64, ns);
    kvm_ioctl(kvm_accel(accel)->vm_fd, KVM_SET_CLOCK, &data);
}

/* ---- the device --------------------------------------------------------------------- */

typedef struct KvmClock {
    Device dev;
    uint64_t clock;         /* ns, while the VM is stopped */
    bool clock_is_reliable; /* on the wire: the host's TSC is stable */
    bool ran;               /* guests may have seen a pause that they must not take for a lock-up */
} KvmClock;

static void clock_run_state(void *opaque, bool running, RunState state)
{
    KvmClock *d = opaque;
    Accel *accel = d->dev.vm->accel;
    KvmAccel *kvm = kvm_accel(accel);

    if (!running) {
        d->clock = kvm_clock_get(accel, &d->clock_is_reliable);
        return;
    }
    kvm_clock_set(accel, d->clock);
    for (unsigned i = 0; d->ran && i < kvm->n_vcpus; i++) {
        kvm_ioctl(kvm->vcpus[i]->fd, KVM_KVMCLOCK_CTRL,
                  NULL); /* EINVAL: this CPU does not use it */
    }
    d->ran = true;
}

static void clock_pre_save(void *obj)
{
    KvmClock *d = obj;

    if (run_state_is_running(vm_run_state(d->dev.vm))) {
        d->clock = kvm_clock_get(d->dev.vm->accel, &d->clock_is_reliable);
    }
}

static bool clock_pre_load(void *obj, GError **err)
{
    KvmClock *d = obj;

    STATE_KEEP(d->clock_is_reliable);
    d->clock_is_reliable = false; /* unless the subsection says otherwise */
    return true;
}

static bool clock_reliable_needed(void *obj) { return ((KvmClock *)obj)->clock_is_reliable; }

static const StateField clock_reliable_fields[] = {STATE_BOOL(KvmClock, clock_is_reliable), {}};
static const StateDesc clock_reliable_state = {
    .name = "kvmclock/clock_is_reliable",
    .version = 1,
    .min_version = 1,
    .fields = clock_reliable_fields,
    .needed = clock_reliable_needed,
};
static const StateDesc *const clock_subsections[] = {&clock_reliable_state, NULL};

static const StateField clock_fields[] = {STATE_U64(KvmClock, clock), {}};
static const StateDesc clock_state = {
    .name = "kvmclock",
    .version = 1,
    .min_version = 1,
    .fields = clock_fields,
    .subsections = clock_subsections,
    .pre_save = clock_pre_save,
    .pre_load = clock_pre_load,
};

static bool clock_realize(Device *dev, GError **err)
{
    if (!object_is_a(dev->vm->accel, "kvm-accel")) {
        return error_set(err, "kvmclock: this machine is not accelerated by KVM");
    }
    KvmClock *d = container_of(dev, KvmClock, dev);
    /* Until it runs its value is the one that it was given; afterwards the kernel says how it stands. */
    d->clock_is_reliable = kvm_check(kvm_accel(dev->vm->accel), KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_TSC_STABLE;
    vm_on_run_state(dev->vm, clock_run_state, d);
    return true;
}

static void clock_unrealize(Device *dev)
{
    vm_off_run_state(dev->vm, clock_run_state, container_of(dev, KvmClock, dev));
}

DEVICE_TYPE(kvm_clock) = {
    .name = "kvmclock",
    .parent = "device",
    .desc = "clock of KVM guests",
    .not_user = "the board makes it",
    .category = "misc",
    .size = sizeof(KvmClock),
    .state = &clock_state,
    .realize = clock_realize,
    .unrealize = clock_unrealize,
};
