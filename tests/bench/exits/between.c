/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD: how long a VMM stays in user space between two KVM_RUN of a thread. Times of the TSC
 * go into a histogram, whose median is written to the file that BETWEEN_RUNS names at the
 * 'count'-th call (BETWEEN_COUNT). System calls in between count; interruptions by the host do not
 * move a median.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#define STEP 8 /* TSC cycles a bin */
#define BINS 8192

static unsigned histogram[BINS];
static unsigned long calls, limit;
static uint64_t own;           /* what two readings of the TSC cost by themselves */
static __thread uint64_t left; /* TSC when KVM_RUN returned */

static void report(void)
{
    FILE *out = fopen(getenv("BETWEEN_RUNS"), "w");
    unsigned long half = 0;
    unsigned bin = 0;

    while (bin < BINS - 1 && (half += histogram[bin]) < calls / 2) {
        bin++;
    }
    if (out) {
        fprintf(out, "%u\n", bin * STEP);
        fclose(out);
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    va_list args;

    va_start(args, request);
    void *arg = va_arg(args, void *);
    va_end(args);
    if (!real) {
        real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
        limit = strtoul(getenv("BETWEEN_COUNT"), NULL, 0);
        own = UINT64_MAX;
        for (int i = 0; i < 1000; i++) {
            uint64_t a = __rdtsc(), b = __rdtsc();
            own = b - a < own ? b - a : own;
        }
    }
    if (request != KVM_RUN) {
        return real(fd, request, arg);
    }
    if (left) {
        uint64_t cycles = __rdtsc() - left, bin = (cycles > own ? cycles - own : 0) / STEP;

        histogram[bin < BINS ? bin : BINS - 1]++;
        if (++calls == limit) {
            report();
        }
    }
    int r = real(fd, request, arg);
    left = __rdtsc();
    return r;
}
