/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest accelerator: the machine is there in full and no CPU ever runs; the virtual clock
 * stands until a test steps it. What would reach a CPU is recorded here for in-process tests.
 */
#ifndef ACCEL_QTEST_H
#define ACCEL_QTEST_H

#include "accel/accel.h"

typedef struct QtestAccel {
    Accel accel;
    int intr;                /* level of CPU 0's INTR pin */
    unsigned nmis, smis;     /* injected so far */
    unsigned msis;           /* messages sent so far ... */
    MsiMessage last_msi;     /* ... and the last of them */
} QtestAccel;

#endif
