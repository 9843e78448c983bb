/* SPDX-License-Identifier: GPL-2.0-or-later */
/* thread-context: a thread that makes others, which so inherit the CPUs that it may run on. */
#ifndef BACKENDS_THREAD_CONTEXT_H
#define BACKENDS_THREAD_CONTEXT_H

#include <pthread.h>

#include "core/object.h"

/* As pthread_create, in the thread of this object; 0 or an errno. Any thread. */
int thread_context_create(Object *context, pthread_t *thread, void *(*fn)(void *opaque), void *opaque);

#endif
