/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pins of a "hpet", for the board. Output 0 of the PIT and of the RTC go to its two inputs: it
 * passes them on to GSI 0 and 8, or drops them while the guest has turned legacy replacement on.
 */
#ifndef HW_TIMER_HPET_H
#define HW_TIMER_HPET_H

#include "core/device.h"
#include "core/region.h"

#define HPET_BASE 0xfed00000
#define HPET_SIZE 0x400
#define HPET_CLK_PERIOD_NS 10

enum { HPET_IN_PIT, HPET_IN_RTC, HPET_NUM_INPUTS };
/* Outputs 0 to 31: the interrupt lines by GSI, as far as the board connects them. */
enum { HPET_NUM_GSI = 32, HPET_OUT_PIT_ENABLED = HPET_NUM_GSI, HPET_NUM_OUTPUTS };

/* Low half of the capabilities register: what the ACPI table calls the event timer block's id. */
uint32_t hpet_block_id(Device *dev);
/* Its registers, HPET_SIZE bytes: the board maps them. */
Region *hpet_region(Device *dev);

#endif
