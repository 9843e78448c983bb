/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scatter-gather vectors: the only way device code copies to or from guest pages.
 * All lengths and offsets are bytes; copies stop at the end of the vector and return what they did.
 */
#ifndef UTIL_IOV_H
#define UTIL_IOV_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* A growable vector. Zero-initialise; iov_vec_clear frees. */
typedef struct IoVec {
    struct iovec *iov;
    unsigned count, capacity;
    size_t size;            /* bytes in all */
    GPtrArray *pins;        /* what keeps the memory there (dma_map); NULL: nothing */
} IoVec;

void iov_vec_add(IoVec *vec, void *base, size_t len);
void iov_vec_clear(IoVec *vec);

size_t iov_size(const struct iovec *iov, unsigned count);
size_t iov_from_buf(const struct iovec *iov, unsigned count, size_t offset, const void *buf, size_t len);
size_t iov_to_buf(const struct iovec *iov, unsigned count, size_t offset, void *buf, size_t len);
size_t iov_fill(const struct iovec *iov, unsigned count, size_t offset, uint8_t value, size_t len);

#endif
