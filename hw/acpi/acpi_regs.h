/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware (ACPI 6, 4.8): PM1 event and control registers, the PM timer and one general
 * purpose event block, as the PIIX4 and the ICH9 have them. The chip maps the regions and owns the
 * pin.
 */
#ifndef HW_ACPI_ACPI_REGS_H
#define HW_ACPI_ACPI_REGS_H

#include "core/vm.h"

#define ACPI_PM1_TMR 0x0001
#define ACPI_PM1_GBL 0x0020
#define ACPI_PM1_PWRBTN 0x0100
#define ACPI_PM1_RTC 0x0400
#define ACPI_PM1_WAK 0x8000
#define ACPI_CNT_SCI_EN 0x0001
#define ACPI_CNT_SLP_EN 0x2000

/* Events of the pc machine's general purpose block. */
#define ACPI_GPE_PCI_HOTPLUG 0x02
#define ACPI_GPE_CPU_HOTPLUG 0x04
#define ACPI_GPE_MEMORY_HOTPLUG 0x08

#define PM_TIMER_HZ 3579545

typedef struct AcpiRegs {
    Device *dev;             /* the chip */
    Irq **sci;               /* its output pin's slot */
    int sci_level;           /* as last driven */
    uint8_t s4_type;         /* SLP_TYP that means S4 */
    Region evt, cnt, tmr, gpe;
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    Timer timer;             /* armed only while the overflow interrupt is enabled */
    int64_t overflow_time;   /* in ticks: TMR_STS is set from then on */
    uint16_t gpe_sts, gpe_en;
} AcpiRegs;

/* The four regions (4, 2, 4 and 4 bytes), owned by dev. sci: slot of the pin. */
void acpi_regs_init(AcpiRegs *regs, Device *dev, Irq **sci, uint8_t s4_type);
void acpi_regs_cleanup(AcpiRegs *regs);
void acpi_regs_reset(AcpiRegs *regs);
/* After loading: nothing is driven, the interrupt controllers bring their own state. */
void acpi_regs_loaded(AcpiRegs *regs);
/* Sets GPE status bits. */
void acpi_gpe_raise(AcpiRegs *regs, uint16_t bits);
/* The power button, when the guest enabled its event. */
void acpi_power_button(AcpiRegs *regs);
/* The machine woke up from S3. */
void acpi_wake(AcpiRegs *regs);
/* The guest takes over from firmware or gives back: SCI_EN. */
void acpi_set_sci_enabled(AcpiRegs *regs, bool on);

/* Ticks of the PM timer at a virtual time (all bits; the register shows 24). */
uint64_t acpi_pm_ticks(uint64_t ns);

extern const StateDesc acpi_gpe_state; /* "gpe", for STATE_STRUCT at the AcpiRegs */

#endif
