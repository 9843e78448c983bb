/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bounded ring of bytes. Devices have no raw FIFO index (CVE-2015-3456): pushes into a full ring
 * and pops from an empty one are refused here.
 */
#ifndef UTIL_FIFO_H
#define UTIL_FIFO_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Fifo8 {
    uint8_t *data;
    uint32_t capacity, head, count;
} Fifo8;

/* Uses storage of capacity bytes that the caller owns (usually an array beside it). */
static inline void fifo8_init(Fifo8 *fifo, uint8_t *storage, uint32_t capacity)
{
    *fifo = (Fifo8){.data = storage, .capacity = capacity};
}
static inline void fifo8_reset(Fifo8 *fifo) { fifo->head = fifo->count = 0; }
static inline bool fifo8_is_empty(const Fifo8 *fifo) { return fifo->count == 0; }
static inline bool fifo8_is_full(const Fifo8 *fifo) { return fifo->count == fifo->capacity; }
static inline uint32_t fifo8_free(const Fifo8 *fifo) { return fifo->capacity - fifo->count; }
static inline bool fifo8_push(Fifo8 *fifo, uint8_t byte)
{
    if (fifo8_is_full(fifo)) {
        return false;
    }
    fifo->data[(fifo->head + fifo->count++) % fifo->capacity] = byte;
    return true;
}
static inline bool fifo8_pop(Fifo8 *fifo, uint8_t *byte)
{
    if (fifo8_is_empty(fifo)) {
        return false;
    }
    *byte = fifo->data[fifo->head];
    fifo->head = (fifo->head + 1) % fifo->capacity;
    fifo->count--;
    return true;
}

#endif
