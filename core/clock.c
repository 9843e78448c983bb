/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VM's clocks. Each clock keeps its armed timers in a heap; one timer of the main loop stands
 * for the earliest of each clock. The wall clock's deadline is re-computed at each firing, so a
 * host clock that jumps back makes a timer wait, not fire early.
 */
#include "core/clock.h"

#include "core/vm.h"
#include "core/vm_internal.h"

typedef struct ClockState {
    GPtrArray *heap;        /* Timer *, by deadline then sequence */
    LoopTimer *wake;
} ClockState;

struct VmClocks {
    Vm *vm;
    ClockState clocks[CLOCK_KINDS];
    uint64_t sequence;
    /* Virtual time = offset + (running ? monotonic : 0); read without a lock by vCPUs and other loops: again while both
     * are being changed, which virtual_changes says by being odd or another number than before. */
    _Atomic unsigned virtual_changes;
    _Atomic int64_t virtual_offset;
    _Atomic bool virtual_running;
    bool detached;          /* qtest: moves by hand */
    int64_t cpu_ticks_offset, cpu_clock_offset; /* wire only: QEMU's "timer" section */
};

/* ---- time ------------------------------------------------------------------------------- */

static int64_t virtual_now(const VmClocks *c)
{
    unsigned changes;
    int64_t now;

    do {
        changes = c->virtual_changes;
        now = c->virtual_offset + (c->virtual_running ? clock_monotonic_ns() : 0);
    } while (changes & 1 || changes != c->virtual_changes);
    return now;
}

int64_t clock_now(Vm *vm, ClockKind clock)
{
    VmClocks *c = vm->clocks;

    switch (clock) {
    case CLOCK_VIRTUAL:
        return virtual_now(c);
    case CLOCK_HOST:
        return clock_realtime_ns();
    default:
        return clock_monotonic_ns();
    }
}

/* ---- heap --------------------------------------------------------------------------------- */

static Timer *at(GPtrArray *heap, unsigned i) { return g_ptr_array_index(heap, i); }

static bool before(const Timer *a, const Timer *b)
{
    return a->deadline < b->deadline || (a->deadline == b->deadline && a->sequence < b->sequence);
}

static void place(GPtrArray *heap, unsigned i, Timer *timer)
{
    heap->pdata[i] = timer;
    timer->heap_index = (int)i;
}

static void sift(GPtrArray *heap, unsigned i)
{
    Timer *timer = at(heap, i);

    for (; i > 0 && before(timer, at(heap, (i - 1) / 2)); i = (i - 1) / 2) {
        place(heap, i, at(heap, (i - 1) / 2));
    }
    for (unsigned child; (child = 2 * i + 1) < heap->len; i = child) {
        if (child + 1 < heap->len && before(at(heap, child + 1), at(heap, child))) {
            child++;
        }
        if (!before(at(heap, child), timer)) {
            break;
        }
        place(heap, i, at(heap, child));
    }
    place(heap, i, timer);
}

/* Tells the loop when the clock's first timer is due. */
static void rearm(VmClocks *c, ClockKind kind)
{
    ClockState *s = &c->clocks[kind];
    bool stands = kind == CLOCK_VIRTUAL && (c->detached || !c->virtual_running);

    if (!s->heap->len || stands) {
        if (s->wake) {
            loop_timer_cancel(s->wake);
        }
        return;
    }
    int64_t wait = at(s->heap, 0)->deadline - clock_now(c->vm, kind);
    loop_timer_arm(s->wake, clock_monotonic_ns() + MAX(wait, 0));
}

static void remove_timer(GPtrArray *heap, Timer *timer)
{
    unsigned i = (unsigned)timer->heap_index;
    Timer *last = at(heap, heap->len - 1);

    g_ptr_array_set_size(heap, (int)heap->len - 1);
    timer->heap_index = -1;
    if (last != timer) {
        place(heap, i, last);
        sift(heap, i);
    }
}

/* Runs what is due at `now`. A timer that re-arms itself in the past waits for the next turn. */
static void run_due(VmClocks *c, ClockKind kind, int64_t now)
{
    GPtrArray *heap = c->clocks[kind].heap;
    uint64_t newest = c->sequence;

    while (heap->len && at(heap, 0)->deadline <= now && at(heap, 0)->sequence <= newest) {
        Timer *timer = at(heap, 0);

        remove_timer(heap, timer);
        timer->fn(timer->opaque);
    }
}

static void wake(VmClocks *c, ClockKind kind)
{
    run_due(c, kind, clock_now(c->vm, kind));
    rearm(c, kind);
}
static void wake_virtual(void *opaque) { wake(opaque, CLOCK_VIRTUAL); }
static void wake_host(void *opaque) { wake(opaque, CLOCK_HOST); }
static void wake_rt(void *opaque) { wake(opaque, CLOCK_RT); }

/* ---- timers ---------------------------------------------------------------------------------- */

void timer_init(Timer *timer, Vm *vm, ClockKind clock, void (*fn)(void *opaque), void *opaque)
{
    *timer = (Timer){.vm = vm, .clock = clock, .fn = fn, .opaque = opaque, .heap_index = -1};
}

void timer_arm(Timer *timer, int64_t deadline_ns)
{
    VmClocks *c = timer->vm->clocks;
    GPtrArray *heap = c->clocks[timer->clock].heap;

    if (timer_pending(timer)) {
        remove_timer(heap, timer);
    }
    timer->deadline = MAX(deadline_ns, 0);
    timer->sequence = ++c->sequence;
    g_ptr_array_add(heap, timer);
    timer->heap_index = (int)heap->len - 1;
    sift(heap, heap->len - 1);
    if (timer->heap_index == 0) {
        rearm(c, timer->clock);
    }
}

/* The loop's timer is left as it is: it fires once for nothing, which is cheaper than a re-arm of
 * each device that arms and cancels in turn. */
void timer_cancel(Timer *timer)
{
    if (timer->vm && timer_pending(timer)) {
        GPtrArray *heap = timer->vm->clocks->clocks[timer->clock].heap;

        remove_timer(heap, timer);
        if (!heap->len) {
            rearm(timer->vm->clocks, timer->clock);
        }
    }
}

/* ---- the virtual clock -------------------------------------------------------------------------- */

void clock_virtual_enable(Vm *vm, bool running)
{
    VmClocks *c = vm->clocks;

    if (c->detached || c->virtual_running == running) {
        return;
    }
    c->virtual_changes++;
    int64_t now = clock_monotonic_ns(); /* none that was read before is later */
    c->virtual_offset += running ? -now : now;
    c->virtual_running = running;
    c->virtual_changes++;
    rearm(c, CLOCK_VIRTUAL);
}

void clock_virtual_set(Vm *vm, int64_t ns)
{
    VmClocks *c = vm->clocks;

    c->virtual_offset = ns - (c->virtual_running ? clock_monotonic_ns() : 0);
    rearm(c, CLOCK_VIRTUAL);
}

void clock_virtual_detach(Vm *vm)
{
    VmClocks *c = vm->clocks;
    int64_t now = c->virtual_running ? clock_now(vm, CLOCK_VIRTUAL) : (int64_t)c->virtual_offset;

    c->virtual_running = false;
    c->virtual_offset = now;
    c->detached = true;
    rearm(c, CLOCK_VIRTUAL);
}

int64_t clock_virtual_deadline(Vm *vm)
{
    GPtrArray *heap = vm->clocks->clocks[CLOCK_VIRTUAL].heap;

    return heap->len ? at(heap, 0)->deadline : INT64_MAX;
}

void clock_virtual_advance_to(Vm *vm, int64_t ns)
{
    VmClocks *c = vm->clocks;

    while (c->virtual_offset < ns) {
        int64_t next = MIN(clock_virtual_deadline(vm), ns);

        c->virtual_offset = MAX(next, (int64_t)c->virtual_offset);
        run_due(c, CLOCK_VIRTUAL, c->virtual_offset);
        if (clock_virtual_deadline(vm) <= c->virtual_offset && c->virtual_offset < ns) {
            /* A timer keeps re-arming itself at the present: let time pass. */
            c->virtual_offset++;
        }
    }
    run_due(c, CLOCK_VIRTUAL, c->virtual_offset);
}

/* ---- state: QEMU's "timer" section -------------------------------------------------------------------- */

static void clocks_pre_save(void *obj)
{
    VmClocks *c = obj;

    c->cpu_clock_offset = clock_now(c->vm, CLOCK_VIRTUAL);
}

static bool clocks_post_load(void *obj, unsigned version, GError **err)
{
    VmClocks *c = obj;

    clock_virtual_set(c->vm, c->cpu_clock_offset);
    return true;
}

/* A machine is not that old (73 years), and device models may add to the time. */
#define CLOCK_LIMIT (INT64_MAX / 4)

/* cpu_ticks_offset is of QEMU's emulated CPUs: kept as loaded. */
static const StateField clocks_fields[] = {
    STATE_I64(VmClocks, cpu_ticks_offset),
    STATE_UNUSED(8),
    STATE_I64(VmClocks, cpu_clock_offset, .max = CLOCK_LIMIT),
    {}};
static const StateDesc clocks_state = {
    .name = "timer",
    .version = 2,
    .min_version = 2,
    .fields = clocks_fields,
    .pre_save = clocks_pre_save,
    .post_load = clocks_post_load,
};

/* ---- life ------------------------------------------------------------------------------------------ */

void vm_clocks_init(Vm *vm)
{
    static LoopFn *const wakes[CLOCK_KINDS] = {wake_virtual, wake_host, wake_rt};
    VmClocks *c = vm->clocks = g_new0(VmClocks, 1);

    c->vm = vm;
    for (int i = 0; i < CLOCK_KINDS; i++) {
        c->clocks[i].heap = g_ptr_array_new();
        c->clocks[i].wake = loop_timer_new(vm->loop, wakes[i], c);
    }
    state_register(vm, "timer", 0, &clocks_state, c);
}

void vm_clocks_free(Vm *vm)
{
    for (int i = 0; i < CLOCK_KINDS; i++) {
        loop_timer_free(vm->clocks->clocks[i].wake);
        g_ptr_array_free(vm->clocks->clocks[i].heap, true);
    }
    g_free(vm->clocks);
}
