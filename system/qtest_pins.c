/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt interception: observers on a device's inputs, or pins between its outputs and their
 * targets. */
#include "system/qtest_pins.h"

#include <string.h>

#define NUM_PINS 256

/* An output pin between the device and what it was wired to. */
typedef struct Interposed {
    QtestPins *pins;
    Irq *target;        /* NULL: the pin was unconnected */
    Irq irq;
} Interposed;

struct QtestPins {
    Device *dev;            /* a reference is held */
    bool outputs;
    Interposed *interposed; /* of outputs, n_irq_out of them */
    bool level[NUM_PINS];
    QtestPinFn *changed;
    void *opaque;
};

static void observe_pin(void *opaque, unsigned n, int level)
{
    QtestPins *pins = opaque;

    if (n < NUM_PINS && pins->level[n] != !!level) {
        pins->level[n] = level;
        pins->changed(pins->opaque, n, level);
    }
}

static void interposed_set(void *opaque, unsigned n, int level)
{
    Interposed *pin = opaque;

    irq_set(pin->target, level);
    observe_pin(pin->pins, n, level);
}

static void hook_inputs(QtestPins *pins)
{
    for (unsigned i = 0; i < pins->dev->n_irq_in; i++) {
        Irq *irq = device_irq_in(pins->dev, i);

        irq->observer_opaque = pins;
        irq->observer = observe_pin;
    }
}

static void hook_outputs(QtestPins *pins)
{
    Device *dev = pins->dev;

    pins->interposed = g_new0(Interposed, dev->n_irq_out);
    for (unsigned i = 0; i < dev->n_irq_out; i++) {
        Interposed *pin = &pins->interposed[i];

        pin->pins = pins;
        pin->target = dev->irq_out[i];
        irq_init(&pin->irq, interposed_set, pin, i);
        pin->irq.level = pin->target ? pin->target->level : 0;
        dev->irq_out[i] = &pin->irq;
    }
}

QtestPins *qtest_pins_watch(Device *dev, bool outputs, QtestPinFn *changed, void *opaque)
{
    QtestPins *pins = g_new0(QtestPins, 1);

    pins->dev = dev;
    pins->outputs = outputs;
    pins->changed = changed;
    pins->opaque = opaque;
    object_ref(&dev->obj);
    if (outputs) {
        hook_outputs(pins);
    } else {
        hook_inputs(pins);
    }
    return pins;
}

bool qtest_pins_are_of(const QtestPins *pins, const Device *dev, bool outputs)
{
    return pins->dev == dev && pins->outputs == outputs;
}

void qtest_pins_forget(QtestPins *pins)
{
    if (pins) {
        memset(pins->level, 0, sizeof pins->level);
    }
}

void qtest_pins_free(QtestPins *pins)
{
    if (!pins) {
        return;
    }
    Device *dev = pins->dev;
    for (unsigned i = 0; pins->outputs && i < dev->n_irq_out; i++) {
        dev->irq_out[i] = pins->interposed[i].target;
    }
    for (unsigned i = 0; !pins->outputs && i < dev->n_irq_in; i++) {
        device_irq_in(dev, i)->observer = NULL;
    }
    g_free(pins->interposed);
    g_free(pins);
    object_unref(dev);
}
