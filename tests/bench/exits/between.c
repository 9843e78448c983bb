/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LD_PRELOAD: how long a VMM stays in user space between two KVM_RUN of a thread. Times of the TSC
 * go into a histogram; the mean of its middle half is written to the file that BETWEEN_RUNS names at
 * the 'count'-th call (BETWEEN_COUNT). System calls in between count; interruptions by the host fall
 * into the upper quarter. A median would not do: some hosts' TSC moves in steps of 24 cycles or so.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#define STEP 2 /* TSC cycles a bin */
#define BINS 32768

static unsigned histogram[BINS];
static unsigned long calls, limit;
static uint64_t own;           /* what two readings of the TSC cost by themselves */
static __thread uint64_t left; /* TSC when KVM_RUN returned */

/* The mean of the middle half. */
static void report(void)
{
    FILE *out = fopen(getenv("BETWEEN_RUNS"), "w");
    unsigned long below = 0, from = calls / 4, to = calls - calls / 4;
    double sum = 0;

    for (unsigned bin = 0; bin < BINS; bin++) {
        unsigned long first = below > from ? below : from, end = below + histogram[bin];

        end = end < to ? end : to;
        sum += end > first ? (double)(end - first) * bin * STEP : 0;
        below += histogram[bin];
    }
    if (out) {
        fprintf(out, "%.1f\n", sum / (double)(to - from));
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
