/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvm-pit: the kernel's 8254. The kernel answers its ports (and port 61h) and raises line 0; this
 * device holds its state while the VM is stopped, for reset and for migration.
 *
 * The kernel counts from times of the host's monotonic clock; the wire has times of the virtual
 * clock. Loading a state into the kernel starts its counters anew, so a tick may come late once.
 */
#include <linux/kvm.h>
#ifndef KVM_PIT_FLAGS_SPEAKER_DATA_ON
#define KVM_PIT_FLAGS_SPEAKER_DATA_ON 0x00000002 /* Linux 5.18 */
#endif

#include "accel/accel.h"
#include "hw/timer/i8254.h"
#include "util/trace.h"

enum { POLICY_DISCARD, POLICY_DELAY, POLICY_SLEW };
static const char *const policy_names[] = {"discard", "delay", "slew", NULL};

static void channel_from_kernel(PitChannel *ch, const struct kvm_pit_channel_state *k,
                                int64_t offset)
{
    *ch = (PitChannel){
        .count = k->count ? k->count : 0x10000,
        .latched_count = k->latched_count,
        .count_latched = k->count_latched,
        .status_latched = k->status_latched,
        .status = k->status,
        .read_state = k->read_state,
        .write_state = k->write_state,
        .write_latch = k->write_latch,
        .rw_mode = k->rw_mode,
        .mode = k->mode & 7, /* ffh in the kernel's chip that was never programmed */
        .bcd = k->bcd,
        .gate = k->gate,
        .count_load_time = k->count_load_time + offset,
        .next_transition_time = -1,
    };
}

static void channel_to_kernel(const PitChannel *ch, struct kvm_pit_channel_state *k, int64_t offset)
{
    k->count = ch->count;
    k->latched_count = ch->latched_count;
    k->count_latched = ch->count_latched;
    k->status_latched = ch->status_latched;
    k->status = ch->status;
    k->read_state = ch->read_state;
    k->write_state = ch->write_state;
    k->write_latch = ch->write_latch;
    k->rw_mode = ch->rw_mode;
    k->mode = ch->mode;
    k->bcd = ch->bcd;
    k->gate = ch->gate;
    k->count_load_time = ch->count_load_time - offset;
}

/* Virtual clock minus the kernel's. */
static int64_t clock_offset(Pit *pit)
{
    return clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL) - clock_monotonic_ns();
}

/* The kernel's state into channels[], unless that is the valid one. */
static void kvm_pit_get(Pit *pit)
{
    Vm *vm = pit->isa.dev.vm;
    struct kvm_pit_state2 state = {0};
    int64_t offset = clock_offset(pit);

    if (pit->held || !vm->accel->ops->irqchip_get(vm->accel, IRQCHIP_PIT, &state, sizeof state)) {
        return;
    }
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        channel_from_kernel(&pit->channels[i], &state.channels[i], offset);
    }
    pit->irq_disabled = !!(state.flags & KVM_PIT_FLAGS_HPET_LEGACY);
    pit->speaker_data = !!(state.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON);
    pit->channels[0].next_transition_time =
        pit_next_transition(&pit->channels[0], clock_now(vm, CLOCK_VIRTUAL));
}

static bool kvm_pit_put(Pit *pit)
{
    Vm *vm = pit->isa.dev.vm;
    struct kvm_pit_state2 state = {
        .flags = (pit->irq_disabled ? KVM_PIT_FLAGS_HPET_LEGACY : 0) |
                 (pit->speaker_data ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0),
    };
    int64_t offset = clock_offset(pit);

    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        channel_to_kernel(&pit->channels[i], &state.channels[i], offset);
    }
    return vm->accel->ops->irqchip_set(vm->accel, IRQCHIP_PIT, &state, sizeof state);
}

static void kvm_pit_run_state(void *opaque, bool running, RunState run_state)
{
    Pit *pit = opaque;

    if (!running) {
        kvm_pit_get(pit);
        pit->held = true;
    } else if (pit->held) {
        pit->held = false;
        kvm_pit_put(pit);
    }
}

static void kvm_pit_info(Pit *pit, unsigned channel, PitChannelInfo *info)
{
    const PitChannel *ch = &pit->channels[channel];

    kvm_pit_get(pit);
    info->gate = ch->gate;
    info->mode = pit_mode(ch);
    info->initial_count = ch->count;
    info->out = pit_out_at(ch, pit_ticks(ch, clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL)));
}

static void kvm_pit_gate(Pit *pit, unsigned channel, int level)
{
    kvm_pit_get(pit);
    if (pit->channels[channel].gate != level) {
        pit->channels[channel].gate = level;
        if (level) {
            pit->channels[channel].count_load_time = clock_now(pit->isa.dev.vm, CLOCK_VIRTUAL);
        }
        kvm_pit_put(pit);
    }
}

static bool kvm_pit_get_speaker_data(Pit *pit)
{
    kvm_pit_get(pit);
    return pit->speaker_data;
}

static void kvm_pit_set_speaker_data(Pit *pit, bool on)
{
    kvm_pit_get(pit);
    if (pit->speaker_data != on) {
        pit->speaker_data = on;
        kvm_pit_put(pit);
    }
}

static void kvm_pit_enable_irq(void *opaque, unsigned n, int level)
{
    Pit *pit = opaque;

    trace(kvm_pit_enable_irq, "level %d", level);
    kvm_pit_get(pit);
    if (pit->irq_disabled != !level) {
        pit->irq_disabled = !level;
        kvm_pit_put(pit);
    }
}

/* ---- lifecycle -------------------------------------------------------------------------- */

static void kvm_pit_reset(Device *dev)
{
    Pit *pit = container_of(dev, Pit, isa.dev);

    pit_reset_channels(pit);
    pit->speaker_data = false;
    kvm_pit_put(pit);
}

static bool kvm_pit_realize(Device *dev, GError **err)
{
    Pit *pit = container_of(dev, Pit, isa.dev);
    Accel *accel = dev->vm->accel;

    if (pit->lost_tick_policy == POLICY_SLEW) {
        return error_set(
            err, "kvm-pit: lost_tick_policy=slew is not supported; use 'delay' or 'discard'");
    }
    if (!accel->ops->pit_enable(accel, pit->lost_tick_policy == POLICY_DELAY, err)) {
        return false;
    }
    device_init_irq_in(dev, kvm_pit_enable_irq, pit, 1);
    device_init_irq_out(dev, &pit->irq, 1);
    pit_reset_channels(pit);
    vm_on_run_state(dev->vm, kvm_pit_run_state, pit);
    return true;
}

static void kvm_pit_unrealize(Device *dev)
{
    vm_off_run_state(dev->vm, kvm_pit_run_state, container_of(dev, Pit, isa.dev));
}

static void kvm_pit_pre_save(void *opaque) { kvm_pit_get(opaque); }

static bool kvm_pit_post_load(void *opaque, unsigned version, GError **err)
{
    if (!kvm_pit_put(opaque)) {
        return error_set(err, "kvm-pit: the kernel refused the state");
    }
    return true;
}

/* ---- tables ----------------------------------------------------------------------------- */

static const PitOps kvm_pit_ops = {
    .get_info = kvm_pit_info,
    .set_gate = kvm_pit_gate,
    .get_speaker_data = kvm_pit_get_speaker_data,
    .set_speaker_data = kvm_pit_set_speaker_data,
};

static const StateDesc kvm_pit_state = {
    .name = "i8254",
    .version = 3,
    .min_version = 2,
    .fields = pit_fields,
    .pre_save = kvm_pit_pre_save,
    .post_load = kvm_pit_post_load,
};

static const Property kvm_pit_props[] = {
    PROP_ENUM(
        "lost_tick_policy", Pit, lost_tick_policy, .type = "LostTickPolicy", .def = POLICY_DELAY,
        .values = policy_names,
        .help = "ticks that the guest missed: 'delay' delivers them later, 'discard' drops them"),
    {}
};

DEVICE_TYPE(kvm_pit) = {
    .name = "kvm-pit",
    .parent = "pit-common",
    .desc = "8254 interval timer in the kernel",
    .ops = &kvm_pit_ops,
    .props = kvm_pit_props,
    .realize = kvm_pit_realize,
    .unrealize = kvm_pit_unrealize,
    .reset = kvm_pit_reset,
    .state = &kvm_pit_state,
};
