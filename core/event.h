/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Events of the schema: rooms emit them, monitors listen. Timestamps, rate limits and queues are the monitors'.
 */
#ifndef CORE_EVENT_H
#define CORE_EVENT_H

#include "qapi/qapi.h"

typedef struct Vm Vm;

/* data is the emitter's and lives until all listeners have returned; NULL for an event without data. */
typedef void VmEventFn(void *opaque, const QapiEvent *event, const void *data);

/* Tells all listeners, in the order of adding. data: a struct of event->data, borrowed; NULL when that is NULL.
 * Main thread, VM lock. Emitting from a listener is fine. */
void vm_emit_event(Vm *vm, const QapiEvent *event, const void *data);
/* As vm_emit_event, from any thread: data is copied and the event is emitted from the main loop, in the order of posting.
 * What is posted after the main loop's last turn reaches nobody. When very many wait, a new one takes the place of an older
 * one of its kind. */
void vm_post_event(Vm *vm, const QapiEvent *event, const void *data);
/* Emits what was posted until now. Main thread, VM lock. */
void vm_emit_posted(Vm *vm);

/* VM lock. A listener may remove itself or others while it is called; those are not called any more. */
void vm_on_event(Vm *vm, VmEventFn *fn, void *opaque);
void vm_off_event(Vm *vm, VmEventFn *fn, void *opaque);

#endif
