/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sources of entropy for virtio-rng. rng-builtin and rng-random are read, by any number of devices, each in its own thread;
 * rng-egd, behind a character device, is asked and answers.
 */
#ifndef BACKENDS_RNG_H
#define BACKENDS_RNG_H

#include <sys/types.h>

#include "core/object.h"

typedef struct RngBackend RngBackend;

/* ---- bytes that can be read in any thread ------------------------------------------------------- */

/* Can they? Else they are to be asked for, in the main loop. */
bool rng_can_read(const RngBackend *backend);
/* Up to size bytes, now. Returns how many; 0: later, when rng_fd is readable; below 0: there are no more (who is to know was
 * told). Any thread. */
ssize_t rng_read(RngBackend *backend, void *buf, size_t size);
/* The descriptor to wait for, which stays the back end's. Any thread. */
int rng_fd(const RngBackend *backend);

/* ---- bytes that are asked for -------------------------------------------------------------------- */

typedef void RngFn(void *opaque, const uint8_t *data, size_t len);

/* One request: fn gets 1 to size bytes, once, in the main loop; never from within rng_request. */
typedef struct RngRequest {
    size_t size;
    RngFn *fn;
    void *opaque;
} RngRequest;

/* Type ops of each back end: read and fd, or start. */
typedef struct RngOps {
    ssize_t (*read)(RngBackend *backend, void *buf, size_t size);
    int (*fd)(const RngBackend *backend); /* NULL: read never says later */
    /* backend->requests got its first entry, or lost one and has more. VM lock. */
    void (*start)(RngBackend *backend);
} RngOps;

struct RngBackend {
    Object obj;
    GQueue requests;   /* RngRequest *, oldest first; VM lock */
};

/* size: 1 to 64 KiB. VM lock. */
void rng_request(RngBackend *backend, size_t size, RngFn *fn, void *opaque);
/* Requests of this opaque will not be answered any more. VM lock. */
void rng_cancel(RngBackend *backend, void *opaque);
/* For the back ends: gives data to the oldest request and starts the next one. VM lock. */
void rng_deliver(RngBackend *backend, const uint8_t *data, size_t len);

#endif
