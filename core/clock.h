/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM's clocks and the timers on them, in ns.
 *
 *   CLOCK_VIRTUAL   what the guest's timers see: stops with the VM; stepped by hand under qtest
 *   CLOCK_HOST      the host's wall clock (the RTC's default)
 *   CLOCK_RT        monotonic, never stops (screens, timeouts)
 *
 * A timer fires once, in the main loop under the VM lock, at or after its deadline. Timers of
 * equal deadline fire in the order of arming.
 */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Vm Vm;
typedef enum ClockKind { CLOCK_VIRTUAL, CLOCK_HOST, CLOCK_RT, CLOCK_KINDS } ClockKind;

/* Embedded in its device; treat as opaque. */
typedef struct Timer {
    Vm *vm;
    ClockKind clock;
    void (*fn)(void *opaque);
    void *opaque;
    int64_t deadline;   /* ns of its clock; meaningful while armed */
    uint64_t sequence;
    int heap_index;     /* -1: not armed */
} Timer;

/* Any thread for CLOCK_VIRTUAL, CLOCK_HOST and CLOCK_RT. */
int64_t clock_now(Vm *vm, ClockKind clock);

void timer_init(Timer *timer, Vm *vm, ClockKind clock, void (*fn)(void *opaque), void *opaque);
/* Arms or re-arms. A deadline in the past fires at the next turn of the loop. VM lock. */
void timer_arm(Timer *timer, int64_t deadline_ns);
void timer_cancel(Timer *timer);
static inline bool timer_pending(const Timer *timer) { return timer->heap_index >= 0; }
/* Deadline of an armed timer, INT64_MAX... -1 when it is not armed (QEMU's wire form). */
static inline int64_t timer_expiry(const Timer *timer)
{
    return timer_pending(timer) ? timer->deadline : -1;
}

/* qtest: CLOCK_VIRTUAL stands still from now on and moves by clock_virtual_advance_to only, which
 * runs the timers that are due, each at its own time. */
void clock_virtual_detach(Vm *vm);
void clock_virtual_advance_to(Vm *vm, int64_t ns);
/* The next virtual deadline, or INT64_MAX. */
int64_t clock_virtual_deadline(Vm *vm);

/* Called on run-state changes and when a state is loaded. */
void clock_virtual_enable(Vm *vm, bool running);
void clock_virtual_set(Vm *vm, int64_t ns);

#endif
