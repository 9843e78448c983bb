/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt pins. An Irq is one input: a handler and the last level it was told. An output of a
 * device is an Irq * that the board filled (NULL while unconnected: setting it does nothing).
 *
 * irq_set tells the handler of every call, as a wire that is driven again: drop calls that do not
 * change the level with irq_set_level. VM lock, unless the handler says otherwise.
 */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include <stdbool.h>

typedef void IrqHandler(void *opaque, unsigned n, int level);

typedef struct Irq {
    IrqHandler *handler;
    void *opaque;
    unsigned n;
    int level;                    /* last level set */
    void (*observer)(void *opaque, unsigned n, int level); /* qtest's interception; NULL: none */
    void *observer_opaque;
} Irq;

static inline void irq_init(Irq *irq, IrqHandler *handler, void *opaque, unsigned n)
{
    *irq = (Irq){.handler = handler, .opaque = opaque, .n = n};
}

static inline void irq_set(Irq *irq, int level)
{
    if (irq) {
        irq->level = level;
        irq->handler(irq->opaque, irq->n, level);
        if (irq->observer) {
            irq->observer(irq->observer_opaque, irq->n, level);
        }
    }
}
/* For a device that is the only driver of its pin: passes changes only. */
static inline void irq_set_level(Irq *irq, int level)
{
    if (irq && irq->level != level) {
        irq_set(irq, level);
    }
}
static inline void irq_raise(Irq *irq) { irq_set(irq, 1); }
static inline void irq_lower(Irq *irq) { irq_set(irq, 0); }
static inline void irq_pulse(Irq *irq)
{
    irq_set(irq, 1);
    irq_set(irq, 0);
}

#endif
