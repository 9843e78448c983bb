/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware. See acpi_regs.h.
 *
 * The PM timer is read without the VM lock and with one multiplication: guests without a better
 * clock read it all the time. Its overflow (bit 23 changes, every 2.3 s) costs a timer only while
 * the guest has enabled that interrupt; otherwise TMR_STS is computed when it is read.
 *
 * Byte accesses to PM1 registers work on their byte, double words on both registers.
 */
#include "hw/acpi/acpi_regs.h"

#include "util/trace.h"

#define PM1_EVENTS (ACPI_PM1_TMR | ACPI_PM1_GBL | ACPI_PM1_PWRBTN | ACPI_PM1_RTC)
#define TMR_MASK 0xffffff
#define TMR_HALF INT64_C(0x800000)

#define SLP_TYP(cnt) (((cnt) >> 10) & 7)
#define SLP_TYP_S5 0
#define SLP_TYP_S3 1

/* ---- time ------------------------------------------------------------------------------- */

/*
 * ns * 3579545 / 1e9, rounded down, as ns * 715909 / 2e8: a multiplication by the rounded
 * reciprocal is at most one too low, which the remainder tells. Exact for all ns, and three times
 * as fast as a division of 128 bits.
 */
uint64_t acpi_pm_ticks(uint64_t ns)
{
    const uint64_t num = PM_TIMER_HZ / 5, den = UINT64_C(200000000);
    const uint64_t reciprocal = (uint64_t)(((unsigned __int128)num << 64) / den);
    uint64_t ticks = (uint64_t)(((unsigned __int128)ns * reciprocal) >> 64);
    uint64_t rest = ns * num - ticks * den; /* modulo 2^64: the true rest is below 2 * den */

    return ticks + (rest >= den);
}

/* The first ns at which the timer shows ticks. */
static int64_t ticks_to_ns(int64_t ticks)
{
    unsigned __int128 ns =
        ((unsigned __int128)ticks * NSEC_PER_SEC + PM_TIMER_HZ - 1) / PM_TIMER_HZ;

    return ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

static int64_t now_ticks(const AcpiRegs *regs)
{
    return (int64_t)acpi_pm_ticks((uint64_t)clock_now(regs->dev->vm, CLOCK_VIRTUAL));
}

/* ---- events and the SCI -------------------------------------------------------------------- */

static uint16_t pm1_status(AcpiRegs *regs)
{
    if (!(regs->pm1_sts & ACPI_PM1_TMR) && now_ticks(regs) >= regs->overflow_time) {
        regs->pm1_sts |= ACPI_PM1_TMR;
    }
    return regs->pm1_sts;
}

static int sci_wanted(AcpiRegs *regs)
{
    return (pm1_status(regs) & regs->pm1_en & PM1_EVENTS) || (regs->gpe_sts & regs->gpe_en);
}

static void update_sci(AcpiRegs *regs)
{
    int level = sci_wanted(regs);

    if (level != regs->sci_level) {
        trace(acpi_sci, "level %d", level);
        regs->sci_level = level;
        irq_set(*regs->sci, level);
    }
    if ((regs->pm1_en & ACPI_PM1_TMR) && !(regs->pm1_sts & ACPI_PM1_TMR)) {
        timer_arm(&regs->timer, ticks_to_ns(regs->overflow_time));
    } else {
        timer_cancel(&regs->timer);
    }
}

static void overflow_fired(void *opaque)
{
    update_sci(opaque);
}

void acpi_gpe_raise(AcpiRegs *regs, uint16_t bits)
{
    regs->gpe_sts |= bits;
    update_sci(regs);
}

void acpi_power_button(AcpiRegs *regs)
{
    if (regs->pm1_en & ACPI_PM1_PWRBTN) {
        regs->pm1_sts |= ACPI_PM1_PWRBTN;
        update_sci(regs);
    }
}

void acpi_wake(AcpiRegs *regs)
{
    /* Which device woke it is not told: as if it was the power button (QEMU 7.2). */
    regs->pm1_sts |= ACPI_PM1_WAK | ACPI_PM1_PWRBTN;
    update_sci(regs);
}

void acpi_set_sci_enabled(AcpiRegs *regs, bool on)
{
    regs->pm1_cnt = on ? regs->pm1_cnt | ACPI_CNT_SCI_EN : regs->pm1_cnt & ~ACPI_CNT_SCI_EN;
}

/* ---- PM1 event registers --------------------------------------------------------------------- */

static uint64_t evt_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiRegs *regs = opaque;
    uint8_t bytes[4];
    uint64_t value;

    store16_le(bytes, pm1_status(regs));
    store16_le(bytes + 2, regs->pm1_en);
    value = load_le(bytes + offset, size);
    trace(acpi_pm1_evt_read, "@%u size %u -> 0x%04x", (unsigned)offset, size, (unsigned)value);
    return value;
}

static void clear_status(AcpiRegs *regs, uint16_t bits)
{
    if (pm1_status(regs) & bits & ACPI_PM1_TMR) {
        regs->overflow_time = (now_ticks(regs) + TMR_HALF) & ~(TMR_HALF - 1);
    }
    regs->pm1_sts &= ~bits;
}

static void evt_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiRegs *regs = opaque;
    unsigned shift = 8 * (offset & 1);
    uint16_t bits = (uint16_t)(value << shift);

    trace(acpi_pm1_evt_write, "@%u size %u <- 0x%04x", (unsigned)offset, size, (unsigned)value);
    if (offset < 2) {
        clear_status(regs, bits);
    } else if (size == 2) {
        regs->pm1_en = bits;
    } else {
        regs->pm1_en = (regs->pm1_en & ~(0xff << shift)) | bits;
    }
    update_sci(regs);
}

static const RegionOps evt_ops = {
    .read = evt_read,
    .write = evt_write,
    .valid = {.min_size = 1, .max_size = 4},
    .impl = {.min_size = 1, .max_size = 2},
};

/* ---- PM1 control register: sleep ------------------------------------------------------------- */

static void go_to_sleep(AcpiRegs *regs)
{
    Vm *vm = regs->dev->vm;
    unsigned type = SLP_TYP(regs->pm1_cnt);

    trace(acpi_sleep, "type %u", type);
    if (type == regs->s4_type && type != SLP_TYP_S5 && type != SLP_TYP_S3) {
        vm_request_hibernate(vm);
    } else if (type == SLP_TYP_S5) {
        vm_request_shutdown(vm, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    } else if (type == SLP_TYP_S3) {
        vm_request_suspend(vm);
    } else {
        guest_error(regs->dev, "sleep type %u is none of this machine's", type);
    }
}

static uint64_t cnt_read(void *opaque, uint64_t offset, unsigned size)
{
    const AcpiRegs *regs = opaque;
    uint64_t value = (regs->pm1_cnt >> (8 * offset)) & all_ones(size);

    trace(acpi_pm1_cnt_read, "@%u -> 0x%04x", (unsigned)offset, (unsigned)value);
    return value;
}

static void cnt_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiRegs *regs = opaque;
    unsigned shift = 8 * (unsigned)offset;
    uint16_t mask = (uint16_t)(all_ones(size) << shift), bits = (uint16_t)(value << shift);

    trace(acpi_pm1_cnt_write, "@%u <- 0x%04x", (unsigned)offset, (unsigned)value);
    regs->pm1_cnt = ((regs->pm1_cnt & ~mask) | bits) & ~ACPI_CNT_SLP_EN;
    if (bits & ACPI_CNT_SLP_EN) {
        go_to_sleep(regs);
    }
}

static const RegionOps cnt_ops = {
    .read = cnt_read,
    .write = cnt_write,
    .valid = {.min_size = 1, .max_size = 2},
    .impl = {.min_size = 1, .max_size = 2},
};

/* ---- PM timer -------------------------------------------------------------------------------- */

static uint64_t tmr_read(void *opaque, uint64_t offset, unsigned size)
{
    const AcpiRegs *regs = opaque;
    uint32_t value = (uint32_t)now_ticks(regs) & TMR_MASK;

    trace(acpi_pm_timer_read, "-> 0x%06x", value);
    return value;
}

static const RegionOps tmr_ops = {
    .read = tmr_read, /* read-only */
    .valid = {.min_size = 1, .max_size = 4},
    .impl = {.min_size = 4, .max_size = 4},
    .lockless = true,
};

/* ---- general purpose events: two bytes of status, two of enable ------------------------------ */

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    const AcpiRegs *regs = opaque;
    uint16_t reg = offset < 2 ? regs->gpe_sts : regs->gpe_en;
    uint8_t value = reg >> (8 * (offset & 1));

    trace(acpi_gpe_read, "@%u -> 0x%02x", (unsigned)offset, value);
    return value;
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiRegs *regs = opaque;
    unsigned shift = 8 * (offset & 1);

    trace(acpi_gpe_write, "@%u <- 0x%02x", (unsigned)offset, (unsigned)value);
    if (offset < 2) {
        regs->gpe_sts &= ~(value << shift);
    } else {
        regs->gpe_en = (uint16_t)((regs->gpe_en & ~(0xff << shift)) | value << shift);
    }
    update_sci(regs);
}

static const RegionOps gpe_ops = {
    .read = gpe_read,
    .write = gpe_write,
    .valid = {.min_size = 1, .max_size = 4},
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle ------------------------------------------------------------------------------- */

void acpi_regs_init(AcpiRegs *regs, Device *dev, Irq **sci, uint8_t s4_type)
{
    regs->dev = dev;
    regs->sci = sci;
    regs->s4_type = s4_type;
    timer_init(&regs->timer, dev->vm, CLOCK_VIRTUAL, overflow_fired, regs);
    region_init_io(&regs->evt, &evt_ops, regs, "acpi-evt", 4);
    region_init_io(&regs->cnt, &cnt_ops, regs, "acpi-cnt", 2);
    region_init_io(&regs->tmr, &tmr_ops, regs, "acpi-tmr", 4);
    region_init_io(&regs->gpe, &gpe_ops, regs, "acpi-gpe0", 4);
    region_set_owner(&regs->evt, dev);
    region_set_owner(&regs->cnt, dev);
    region_set_owner(&regs->tmr, dev);
    region_set_owner(&regs->gpe, dev);
}

void acpi_regs_cleanup(AcpiRegs *regs)
{
    timer_cancel(&regs->timer);
    region_destroy(&regs->evt);
    region_destroy(&regs->cnt);
    region_destroy(&regs->tmr);
    region_destroy(&regs->gpe);
}

void acpi_regs_reset(AcpiRegs *regs)
{
    regs->pm1_sts = regs->pm1_en = regs->pm1_cnt = 0;
    regs->overflow_time = 0;
    regs->gpe_sts = regs->gpe_en = 0;
    update_sci(regs);
}

void acpi_regs_loaded(AcpiRegs *regs)
{
    regs->sci_level = sci_wanted(regs);
}

static const StateField gpe_fields[] = {
    STATE_U16(AcpiRegs, gpe_sts, .name = "sts"),
    STATE_U16(AcpiRegs, gpe_en, .name = "en"),
    {}
};
const StateDesc acpi_gpe_state = {.name = "gpe", .version = 1, .min_version = 1,
                                  .fields = gpe_fields};
