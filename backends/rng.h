/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sources of entropy for virtio-rng: rng-builtin, rng-random, rng-egd. */
#ifndef BACKENDS_RNG_H
#define BACKENDS_RNG_H

#include "core/object.h"

typedef struct RngBackend RngBackend;

typedef void RngFn(void *opaque, const uint8_t *data, size_t len);

/* One request: fn gets 1 to size bytes, once, in the main loop; never from within rng_request. */
typedef struct RngRequest {
    size_t size;
    RngFn *fn;
    void *opaque;
} RngRequest;

/* Type ops of each back end. */
typedef struct RngOps {
    /* backend->requests got its first entry, or lost one and has more. */
    void (*start)(RngBackend *backend);
} RngOps;

struct RngBackend {
    Object obj;
    GQueue requests;   /* RngRequest *, oldest first */
};

/* size: 1 to 64 KiB. VM lock. */
void rng_request(RngBackend *backend, size_t size, RngFn *fn, void *opaque);
/* Requests of this opaque will not be answered any more. */
void rng_cancel(RngBackend *backend, void *opaque);
/* For the back ends: gives data to the oldest request and starts the next one. */
void rng_deliver(RngBackend *backend, const uint8_t *data, size_t len);

#endif
