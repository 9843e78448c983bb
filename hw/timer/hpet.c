/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hpet: high precision event timers (IA-PC HPET specification 1.0a), three comparators by default
 * on a 100 MHz counter.
 *
 * The counter is the virtual clock divided by 10 ns plus an offset; nothing ticks. While both are
 * on (the HPET and a comparator) one Timer stands at the comparator's next match.
 *
 * As in QEMU 7.2: interrupt lines from 16 up are driven inverted (the chipset's PIRQ pins are
 * active low); an edge interrupt is a pulse. Not done: a periodic timer fires at most every 10 us,
 * and matches between two of those are one interrupt, so a guest cannot keep the process busy with
 * a period of one tick. FSB (message) delivery exists with msi=on only.
 */
#include "hw/timer/hpet.h"

#include "accel/accel.h"
#include "core/vm.h"
#include "util/trace.h"

#define HPET_MIN_TIMERS 3
#define HPET_MAX_TIMERS 32

/* Registers. */
#define HPET_ID 0x000
#define HPET_PERIOD 0x004
#define HPET_CFG 0x010
#define HPET_STATUS 0x020
#define HPET_COUNTER 0x0f0
#define HPET_TIMERS 0x100 /* 20h bytes each */
#define TN_CFG 0x00
#define TN_CMP 0x08
#define TN_ROUTE 0x10

#define CFG_ENABLE 0x1
#define CFG_LEGACY 0x2
#define CFG_MASK 0x3

#define TN_LEVEL 0x002
#define TN_ENABLE 0x004
#define TN_PERIODIC 0x008
#define TN_PERIODIC_CAP 0x010
#define TN_SIZE_CAP 0x020
#define TN_SETVAL 0x040
#define TN_32BIT 0x100
#define TN_ROUTE_SHIFT 9
#define TN_ROUTE_MASK 0x1f
#define TN_FSB_ENABLE 0x4000
#define TN_FSB_CAP 0x8000
#define TN_WRITABLE UINT64_C(0x7f4e)
#define TN_INTCAP_SHIFT 32

#define MIN_INTERVAL_NS (10 * NSEC_PER_USEC)
#define RTC_GSI 8

typedef struct Hpet Hpet;

typedef struct HpetTimer {
    Hpet *hpet;
    uint8_t tn; /* its number */
    uint64_t config;
    uint64_t cmp;      /* comparator, counter ticks */
    uint64_t fsb;      /* message: address in the high half, data in the low one */
    uint64_t period;   /* ticks, periodic mode */
    uint8_t wrap_flag; /* 32-bit one-shot: the timer stands at the counter's wrap */
    Timer timer;
} HpetTimer;

struct Hpet {
    Device dev;
    Region region;
    Irq *out[HPET_NUM_OUTPUTS];
    uint64_t config;
    uint64_t isr;          /* a bit a timer, level mode only */
    uint64_t counter;      /* ticks while disabled; computed when saving */
    uint64_t offset;       /* ns added to the virtual clock while enabled */
    uint8_t rtc_irq_level; /* what the RTC drives while legacy replacement hides it */
    uint8_t num_timers;
    bool msi;
    bool save_offset;
    uint32_t intcap; /* GSIs a timer may choose, a bit each */
    HpetTimer timers[HPET_MAX_TIMERS];
};

/* ---- counter ----------------------------------------------------------------------- */

static bool hpet_enabled(const Hpet *s)
{
    return s->config & CFG_ENABLE;
}

static uint64_t hpet_ticks(const Hpet *s)
{
    if (!hpet_enabled(s)) {
        return s->counter;
    }
    return ((uint64_t)clock_now(s->dev.vm, CLOCK_VIRTUAL) + s->offset) / HPET_CLK_PERIOD_NS;
}

static bool is_32bit(const HpetTimer *t)
{
    return t->config & TN_32BIT;
}
static bool is_periodic(const HpetTimer *t)
{
    return t->config & TN_PERIODIC;
}

/* ---- interrupts -------------------------------------------------------------------- */

static unsigned timer_route(const HpetTimer *t)
{
    if (t->tn <= 1 && (t->hpet->config & CFG_LEGACY)) {
        return t->tn == 0 ? 0 : RTC_GSI;
    }
    return (t->config >> TN_ROUTE_SHIFT) & TN_ROUTE_MASK;
}

static bool timer_uses_fsb(const HpetTimer *t)
{
    return t->hpet->msi && (t->config & TN_FSB_ENABLE);
}

/* Lines of the chipset's PIRQ pins are active low. */
static void drive_line(Hpet *s, unsigned route, int level)
{
    irq_set(s->out[route], route >= 16 ? !level : level);
}

static void timer_set_irq(HpetTimer *t, bool level)
{
    Hpet *s = t->hpet;
    uint64_t mask = UINT64_C(1) << t->tn;
    unsigned route = timer_route(t);

    trace(hpet_irq, "timer %u level %d route %u", t->tn, level, route);
    if (!level || !(t->config & TN_ENABLE) || !hpet_enabled(s)) {
        s->isr &= ~mask;
        if (!timer_uses_fsb(t)) {
            drive_line(s, route, 0);
        }
    } else if (timer_uses_fsb(t)) {
        Accel *accel = s->dev.vm->accel;

        if (accel) {
            accel->ops->send_msi(accel,
                                 (MsiMessage){.address = t->fsb >> 32, .data = (uint32_t)t->fsb});
        }
    } else if (t->config & TN_LEVEL) {
        s->isr |= mask;
        drive_line(s, route, 1);
    } else {
        s->isr &= ~mask;
        irq_pulse(s->out[route]);
    }
}

/* ---- comparators ------------------------------------------------------------------- */

/* Ticks from now to the match; a match that is past counts as the next tick. */
static uint64_t ticks_to_match(const HpetTimer *t, uint64_t now)
{
    if (is_32bit(t)) {
        uint32_t diff = (uint32_t)t->cmp - (uint32_t)now;

        return (int32_t)diff > 0 ? diff : 1;
    }
    uint64_t diff = t->cmp - now;

    return (int64_t)diff > 0 ? diff : 1;
}

static void arm_after(HpetTimer *t, uint64_t ticks, int64_t floor_ns)
{
    int64_t now = clock_now(t->hpet->dev.vm, CLOCK_VIRTUAL);
    uint64_t room = (uint64_t)(INT64_MAX - now) / HPET_CLK_PERIOD_NS;
    int64_t delay = (int64_t)(MIN(ticks, room) * HPET_CLK_PERIOD_NS);

    timer_arm(&t->timer, now + MIN(MAX(delay, floor_ns), INT64_MAX - now));
}

static void timer_start(HpetTimer *t)
{
    uint64_t now = hpet_ticks(t->hpet);
    uint64_t diff;

    t->wrap_flag = 0;
    diff = ticks_to_match(t, now);
    /* A one-shot timer of 32 bits also interrupts when the counter wraps (2.3.9.2.1). */
    if (is_32bit(t) && !is_periodic(t)) {
        uint64_t to_wrap = UINT32_MAX - (uint32_t)now;

        if (to_wrap < diff) {
            diff = to_wrap;
            t->wrap_flag = 1;
        }
    }
    arm_after(t, diff, 0);
}

static void timer_stop(HpetTimer *t)
{
    timer_cancel(&t->timer);
    timer_set_irq(t, false);
}

/* The first match after now: cmp plus whole periods. */
static void advance_comparator(HpetTimer *t, uint64_t now)
{
    if (is_32bit(t)) {
        uint32_t late = (uint32_t)now - (uint32_t)t->cmp, period = (uint32_t)t->period;

        if (period && (int32_t)late >= 0) {
            t->cmp = (uint32_t)(t->cmp + (uint64_t)period * (late / period + 1));
        }
    } else if ((int64_t)(now - t->cmp) >= 0) {
        t->cmp += t->period * ((now - t->cmp) / t->period + 1);
    }
}

static void hpet_timer_fired(void *opaque)
{
    HpetTimer *t = opaque;
    uint64_t now = hpet_ticks(t->hpet);

    if (is_periodic(t) && t->period) {
        advance_comparator(t, now);
        arm_after(t, ticks_to_match(t, now), MIN_INTERVAL_NS);
    } else if (is_32bit(t) && !is_periodic(t) && t->wrap_flag) {
        t->wrap_flag = 0;
        arm_after(t, ticks_to_match(t, now), 0);
    }
    timer_set_irq(t, true);
}

/* ---- register access --------------------------------------------------------------- */

static uint64_t set_low(uint64_t old, uint32_t value)
{
    return (old & ~UINT64_C(0xffffffff)) | value;
}
static uint64_t set_high(uint64_t old, uint32_t value)
{
    return (uint32_t)old | (uint64_t)value << 32;
}

static uint32_t timer_read(const HpetTimer *t, unsigned reg)
{
    switch (reg) {
    case TN_CFG:
        return t->config;
    case TN_CFG + 4:
        return t->config >> 32;
    case TN_CMP:
        return t->cmp;
    case TN_CMP + 4:
        return t->cmp >> 32;
    case TN_ROUTE:
        return t->fsb;
    case TN_ROUTE + 4:
        return t->fsb >> 32;
    default:
        return 0;
    }
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
    Hpet *s = opaque;
    uint64_t value = 0;

    if (offset >= HPET_TIMERS) {
        unsigned n = (offset - HPET_TIMERS) / 0x20;

        value = n < s->num_timers ? timer_read(&s->timers[n], offset & 0x1c) : 0;
    } else {
        switch (offset) {
        case HPET_ID:
            value = hpet_block_id(&s->dev);
            break;
        case HPET_PERIOD:
            value = HPET_CLK_PERIOD_NS * 1000000; /* femtoseconds */
            break;
        case HPET_CFG:
            value = s->config;
            break;
        case HPET_STATUS:
            value = s->isr;
            break;
        case HPET_COUNTER:
            value = (uint32_t)hpet_ticks(s);
            break;
        case HPET_COUNTER + 4:
            value = hpet_ticks(s) >> 32;
            break;
        }
    }
    trace(hpet_read, "offset 0x%03x value 0x%08x", (unsigned)offset, (unsigned)value);
    return value;
}

static void timer_write_config(HpetTimer *t, uint32_t value)
{
    Hpet *s = t->hpet;
    uint64_t old = t->config;
    uint64_t writable = s->msi ? TN_WRITABLE : TN_WRITABLE & ~(uint64_t)TN_FSB_ENABLE;

    if (timer_pending(&t->timer) && !timer_uses_fsb(t) && (value & writable & TN_FSB_ENABLE)) {
        timer_set_irq(t, false); /* off the line before it goes by message */
    }
    t->config = (old & ~writable) | (value & writable);
    if (is_32bit(t)) {
        t->cmp = (uint32_t)t->cmp;
        t->period = (uint32_t)t->period;
    }
    if (!(old & TN_ENABLE) && (t->config & TN_ENABLE) && hpet_enabled(s)) {
        timer_start(t);
    } else if ((old & TN_ENABLE) && !(t->config & TN_ENABLE)) {
        timer_stop(t);
    }
}

/*
 * Periodic mode: a write sets the period, and also the comparator if TN_SETVAL was set before,
 * which the write clears (2.3.9.2.2). The period is kept below half of the counter's range.
 */
static void timer_write_comparator(HpetTimer *t, uint32_t value, bool high)
{
    uint64_t (*set)(uint64_t old, uint32_t half) = high ? set_high : set_low;

    if (!is_periodic(t) || (t->config & TN_SETVAL)) {
        t->cmp = set(t->cmp, value);
    }
    if (is_periodic(t)) {
        uint32_t limit = is_32bit(t) || high ? UINT32_MAX >> 1 : UINT32_MAX;

        t->period = set(t->period, MIN(value, limit));
    }
    t->config &= ~(uint64_t)TN_SETVAL;
    if (hpet_enabled(t->hpet) && (t->config & TN_ENABLE)) {
        timer_start(t);
    }
}

static void timer_write(HpetTimer *t, unsigned reg, uint32_t value)
{
    switch (reg) {
    case TN_CFG:
        timer_write_config(t, value);
        break;
    case TN_CMP:
        timer_write_comparator(t, value, false);
        break;
    case TN_CMP + 4:
        timer_write_comparator(t, value, true);
        break;
    case TN_ROUTE:
        t->fsb = set_low(t->fsb, value);
        break;
    case TN_ROUTE + 4:
        t->fsb = set_high(t->fsb, value);
        break;
    }
}

static void hpet_write_config(Hpet *s, uint32_t value)
{
    uint64_t old = s->config;
    uint64_t ticks = hpet_ticks(s);

    value &= CFG_MASK;
    if (!(old & CFG_ENABLE) && (value & CFG_ENABLE)) {
        s->config = value;
        s->offset = s->counter * HPET_CLK_PERIOD_NS - (uint64_t)clock_now(s->dev.vm, CLOCK_VIRTUAL);
        for (unsigned i = 0; i < s->num_timers; i++) {
            if ((s->timers[i].config & TN_ENABLE) && s->timers[i].cmp != ~UINT64_C(0)) {
                timer_start(&s->timers[i]);
            }
        }
    } else if ((old & CFG_ENABLE) && !(value & CFG_ENABLE)) {
        s->counter = ticks;
        s->config = value;
        for (unsigned i = 0; i < s->num_timers; i++) {
            timer_stop(&s->timers[i]);
        }
    }
    s->config = value;
    /* Legacy replacement: timers 0 and 1 take the lines of the PIT and the RTC. */
    if (!(old & CFG_LEGACY) && (value & CFG_LEGACY)) {
        irq_set(s->out[HPET_OUT_PIT_ENABLED], 0);
        irq_lower(s->out[0]);
        irq_lower(s->out[RTC_GSI]);
    } else if ((old & CFG_LEGACY) && !(value & CFG_LEGACY)) {
        irq_lower(s->out[0]);
        irq_set(s->out[HPET_OUT_PIT_ENABLED], 1);
        irq_set(s->out[RTC_GSI], s->rtc_irq_level);
    }
}

static void hpet_write_status(Hpet *s, uint32_t value)
{
    uint64_t clear = value & s->isr;

    for (unsigned i = 0; i < s->num_timers; i++) {
        if (clear & (UINT64_C(1) << i)) {
            timer_set_irq(&s->timers[i], false);
        }
    }
}

static void hpet_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Hpet *s = opaque;

    trace(hpet_write, "offset 0x%03x value 0x%08x", (unsigned)offset, (unsigned)value);
    if (offset >= HPET_TIMERS) {
        unsigned n = (offset - HPET_TIMERS) / 0x20;

        if (n < s->num_timers) {
            timer_write(&s->timers[n], offset & 0x1c, value);
        } else {
            guest_error(&s->dev, "timer %u does not exist", n);
        }
        return;
    }
    switch (offset) {
    case HPET_CFG:
        hpet_write_config(s, value);
        break;
    case HPET_STATUS:
        hpet_write_status(s, value);
        break;
    case HPET_COUNTER:
    case HPET_COUNTER + 4:
        if (hpet_enabled(s)) {
            guest_error(&s->dev, "counter written while it runs");
        }
        s->counter =
            offset == HPET_COUNTER ? set_low(s->counter, value) : set_high(s->counter, value);
        break;
    }
}

static const RegionOps hpet_ops = {
    .read = hpet_read,
    .write = hpet_write,
    .valid = {.min_size = 4, .max_size = 8},
    .impl = {.min_size = 4, .max_size = 4},
};

/* ---- the PIT's and the RTC's lines ------------------------------------------------- */

static void hpet_input(void *opaque, unsigned n, int level)
{
    Hpet *s = opaque;
    bool legacy = s->config & CFG_LEGACY;

    if (n == HPET_IN_RTC) {
        s->rtc_irq_level = !!level;
        if (!legacy) {
            irq_set(s->out[RTC_GSI], level);
        }
    } else if (!legacy) {
        irq_set(s->out[0], level);
    }
}

/* ---- lifecycle --------------------------------------------------------------------- */

uint32_t hpet_block_id(Device *dev)
{
    Hpet *s = container_of(dev, Hpet, dev);

    /* Vendor 8086, legacy capable, 64-bit counter, revision 1. */
    return 0x8086a001 | (uint32_t)(s->num_timers - 1) << 8;
}

Region *hpet_region(Device *dev)
{
    return &container_of(dev, Hpet, dev)->region;
}

static bool hpet_realize(Device *dev, GError **err)
{
    Hpet *s = container_of(dev, Hpet, dev);

    if (!s->intcap) {
        return error_set(err,
                         "hpet: property hpet-intcap is not set: name the GSIs its timers may use");
    }
    s->num_timers = CLAMP(s->num_timers, HPET_MIN_TIMERS, HPET_MAX_TIMERS);
    for (unsigned i = 0; i < HPET_MAX_TIMERS; i++) {
        HpetTimer *t = &s->timers[i];

        t->hpet = s;
        t->tn = i;
        timer_init(&t->timer, dev->vm, CLOCK_VIRTUAL, hpet_timer_fired, t);
    }
    device_init_irq_in(dev, hpet_input, s, HPET_NUM_INPUTS);
    device_init_irq_out(dev, s->out, HPET_NUM_OUTPUTS);
    region_init_io(&s->region, &hpet_ops, s, "hpet", HPET_SIZE);
    region_set_owner(&s->region, dev);
    return true;
}

static void hpet_unrealize(Device *dev)
{
    Hpet *s = container_of(dev, Hpet, dev);

    for (unsigned i = 0; i < HPET_MAX_TIMERS; i++) {
        timer_cancel(&s->timers[i].timer);
    }
    region_remove(&s->region);
    region_destroy(&s->region);
}

static void hpet_reset(Device *dev)
{
    Hpet *s = container_of(dev, Hpet, dev);

    for (unsigned i = 0; i < s->num_timers; i++) {
        HpetTimer *t = &s->timers[i];

        timer_cancel(&t->timer);
        t->cmp = ~UINT64_C(0);
        t->config = TN_PERIODIC_CAP | TN_SIZE_CAP | (s->msi ? TN_FSB_CAP : 0) |
                    (uint64_t)s->intcap << TN_INTCAP_SHIFT;
        t->fsb = 0;
        t->period = 0;
        t->wrap_flag = 0;
    }
    s->config = 0;
    s->isr = 0;
    s->counter = 0;
    s->offset = 0;
    s->rtc_irq_level = 0;
    irq_set(s->out[HPET_OUT_PIT_ENABLED], 1);
}

/* ---- state ------------------------------------------------------------------------- */

static void hpet_pre_save(void *obj)
{
    Hpet *s = obj;

    s->counter = hpet_ticks(s);
}

static bool hpet_post_load(void *obj, unsigned version, GError **err)
{
    Hpet *s = obj;

    if (s->num_timers < HPET_MIN_TIMERS || s->num_timers > HPET_MAX_TIMERS) {
        return error_set(err, "hpet: num_timers %u", s->num_timers);
    }
    if (!s->save_offset) {
        s->offset = s->counter * HPET_CLK_PERIOD_NS - (uint64_t)clock_now(s->dev.vm, CLOCK_VIRTUAL);
    }
    s->config &= CFG_MASK;
    s->msi = s->timers[0].config & TN_FSB_CAP;
    for (unsigned i = 0; i < s->num_timers; i++) {
        s->timers[i].tn = i;
    }
    /* Our own pins have no state in the stream: who listens to the PIT's gate must hear of it. */
    irq_set(s->out[HPET_OUT_PIT_ENABLED], !(s->config & CFG_LEGACY));
    return true;
}

static bool hpet_rtc_level_needed(void *obj)
{
    return ((Hpet *)obj)->rtc_irq_level != 0;
}
static bool hpet_offset_needed(void *obj)
{
    Hpet *s = obj;

    return hpet_enabled(s) && s->save_offset;
}

static const StateField hpet_rtc_level_fields[] = {STATE_U8(Hpet, rtc_irq_level, .max = 1), {}};
static const StateDesc hpet_rtc_level_state = {
    .name = "hpet/rtc_irq_level",
    .version = 1,
    .min_version = 1,
    .needed = hpet_rtc_level_needed,
    .fields = hpet_rtc_level_fields,
};
static const StateField hpet_offset_fields[] = {STATE_U64(Hpet, offset, .name = "hpet_offset"), {}};
static const StateDesc hpet_offset_state = {
    .name = "hpet/offset",
    .version = 1,
    .min_version = 1,
    .needed = hpet_offset_needed,
    .fields = hpet_offset_fields,
};
static const StateDesc *const hpet_subsections[] = {&hpet_rtc_level_state, &hpet_offset_state,
                                                    NULL};

static const StateField hpet_timer_fields[] = {STATE_U8(HpetTimer, tn, .max = HPET_MAX_TIMERS - 1),
                                               STATE_U64(HpetTimer, config),
                                               STATE_U64(HpetTimer, cmp),
                                               STATE_U64(HpetTimer, fsb),
                                               STATE_U64(HpetTimer, period),
                                               STATE_U8(HpetTimer, wrap_flag, .max = 1),
                                               STATE_TIMER(HpetTimer, timer, .name = "qemu_timer"),
                                               {}};
static const StateDesc hpet_timer_state = {
    .name = "hpet_timer",
    .version = 1,
    .min_version = 1,
    .fields = hpet_timer_fields,
};
static const StateField hpet_fields[] = {
    STATE_U64(Hpet, config),
    STATE_U64(Hpet, isr),
    STATE_U64(Hpet, counter, .name = "hpet_counter"),
    STATE_U8(Hpet, num_timers, .since = 2, .min = HPET_MIN_TIMERS, .max = HPET_MAX_TIMERS),
    STATE_STRUCT_ARRAY(Hpet, timers, &hpet_timer_state, HPET_MAX_TIMERS, .name = "timer",
                       .count_offset = offsetof(Hpet, num_timers), .count_size = 1),
    {}};
static const StateDesc hpet_state = {
    .name = "hpet",
    .version = 2,
    .min_version = 2, /* version 1 had no num_timers; nobody has it any more */
    .fields = hpet_fields,
    .subsections = hpet_subsections,
    .pre_save = hpet_pre_save,
    .post_load = hpet_post_load,
};

static const Property hpet_props[] = {
    PROP_U8("timers", Hpet, num_timers, .def = HPET_MIN_TIMERS, .help = "comparators, 3 to 32"),
    PROP_BOOL("msi", Hpet, msi, .def = false, .help = "offer FSB (message) interrupts"),
    PROP_U32("hpet-intcap", Hpet, intcap, .def = 0,
             .help = "GSIs that a timer may use, a bit each"),
    PROP_BOOL("hpet-offset-saved", Hpet, save_offset, .def = true,
              .help = "put the counter's offset into the saved state"),
    {}};

DEVICE_TYPE(hpet) = {
    .name = "hpet",
    .parent = "device",
    .desc = "High precision event timers",
    .size = sizeof(Hpet),
    .not_user = "it is part of the board; leave it out",
    .category = "misc",
    .props = hpet_props,
    .state = &hpet_state,
    .realize = hpet_realize,
    .unrealize = hpet_unrealize,
    .reset = hpet_reset,
};
