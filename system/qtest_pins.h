/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt interception for tests: every change of a device's pins is told. VM lock. */
#ifndef SYSTEM_QTEST_PINS_H
#define SYSTEM_QTEST_PINS_H

#include "core/device.h"

typedef struct QtestPins QtestPins;
/* Pin n, at most 255, has changed. Called by the thread that sets it. */
typedef void QtestPinFn(void *opaque, unsigned n, bool level);

/* Watches the inputs of a device or its outputs, which still reach what they were wired to. Holds a
 * reference to the device until qtest_pins_free. */
QtestPins *qtest_pins_watch(Device *dev, bool outputs, QtestPinFn *changed, void *opaque);
bool qtest_pins_are_of(const QtestPins *pins, const Device *dev, bool outputs);
/* Takes all pins for low, whatever they were. NULL is allowed, here and below. */
void qtest_pins_forget(QtestPins *pins);
/* Wires the device as it was. */
void qtest_pins_free(QtestPins *pins);

#endif
