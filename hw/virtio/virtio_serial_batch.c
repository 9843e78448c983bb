/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Buffers of the guest that one call of the kernel's fills or writes (virtio_serial_input.c, virtio_serial_output.c). */
#include "hw/virtio/virtio_serial.h"

void serial_batch_begin(SerialBatch *b) { b->count = b->n_pieces = b->size = 0; }

bool serial_batch_add(SerialBatch *b, VirtElement *e, const struct iovec *pieces, unsigned count, uint64_t skip)
{
    b->elems[b->count++] = e;
    for (unsigned i = 0; i < count; i++) {
        const size_t from = MIN(skip, pieces[i].iov_len), left = pieces[i].iov_len - from;
        const size_t n = MIN(left, SERIAL_BATCH_BYTES - b->size);

        skip -= from;
        if (!left) {
            continue;
        }
        if (b->n_pieces == SERIAL_BATCH_PIECES || !n) {
            return false;
        }
        b->pieces[b->n_pieces++] = (struct iovec){(uint8_t *)pieces[i].iov_base + from, n};
        b->size += n;
        if (n < left) {
            return false;
        }
    }
    return true;
}

void serial_batch_unpop(const SerialBatch *b, unsigned first)
{
    for (unsigned i = b->count; i > first; i--) {
        virtqueue_unpop(b->elems[i - 1]);
    }
}
