/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DMA of devices. It reaches RAM only (CVE-2021-3750): a descriptor that points at registers, ROM or
 * nothing is refused. Writes mark pages dirty. Any thread; guest memory may change under the
 * reader, so control structures are copied into locals once with dma_read.
 */
#ifndef CORE_DMA_H
#define CORE_DMA_H

#include "core/device.h"
#include "util/iov.h"

/* All or nothing is not promised: false when any byte could not be reached, and the rest may have
 * been copied. A read that fails leaves zeros where it failed. */
bool dma_read(Device *dev, uint64_t addr, void *buf, uint64_t len);
bool dma_write(Device *dev, uint64_t addr, const void *buf, uint64_t len);
bool dma_fill(Device *dev, uint64_t addr, uint8_t value, uint64_t len);

static inline uint8_t dma_ld8(Device *dev, uint64_t addr)
{
    uint8_t v = 0;
    dma_read(dev, addr, &v, 1);
    return v;
}
static inline uint32_t dma_ld32_le(Device *dev, uint64_t addr)
{
    uint8_t v[4];
    dma_read(dev, addr, v, 4);
    return load32_le(v);
}

/*
 * Adds the host memory of [addr, addr + len) to vec, for zero-copy I/O. False (vec unchanged) when
 * any part is not RAM, or is read-only and to_guest is true. The memory stays valid until
 * dma_unmap, which must be called with the same vec; to_guest marks its pages dirty there.
 */
bool dma_map(Device *dev, uint64_t addr, uint64_t len, bool to_guest, IoVec *vec);
/* written: bytes from the start of vec that the device wrote (to_guest), 0 otherwise. Clears vec. */
void dma_unmap(Device *dev, IoVec *vec, bool to_guest, uint64_t written);

/*
 * Many short accesses in one go: between dma_enter and dma_leave the map does not change under the reader, and the last
 * range is remembered. Nothing between them may wait. Any thread.
 */
typedef struct RamBlock RamBlock;
typedef struct DmaWindow {
    Device *dev;
    const struct FlatView *view;
    const struct FlatRange *last;   /* NULL: none yet */
} DmaWindow;
void dma_enter(DmaWindow *w, Device *dev);
void dma_leave(DmaWindow *w);
/* Host address of guest RAM at addr, *n (1 to len) bytes of which lie together, in *block. NULL: not RAM, or read-only
 * and to_guest. The memory is there until dma_leave, or as long as the caller holds a reference to *block; what is
 * written is to be marked with ram_block_set_dirty. len is not 0. */
uint8_t *dma_window_get(DmaWindow *w, uint64_t addr, uint64_t len, bool to_guest, uint64_t *n, RamBlock **block);

#endif
