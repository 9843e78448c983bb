/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/thread.h"

#include <pthread.h>
#include <signal.h>

int thread_start_detached(void *(*body)(void *opaque), void *opaque, size_t stack)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int ret;

    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (stack) {
        pthread_attr_setstacksize(&attr, stack);
    }
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ret = pthread_create(&thread, &attr, body, opaque);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return ret;
}
