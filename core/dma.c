/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/dma.h"

#ifndef __SANITIZE_ADDRESS__ /* the inlined reader's static storage is under-aligned, which UBSan minds */
#define _LGPL_SOURCE
#endif
#include <urcu-bp.h>

#include "core/region.h"
#include "core/vm.h"
#include "util/trace.h"

/* The piece of [addr, addr + len) that is RAM in one range. Inside an RCU section. NULL: none. */
static uint8_t *dma_piece(Device *dev, uint64_t addr, uint64_t len, bool to_guest, uint64_t *n, RamBlock **block)
{
    const bool off = __atomic_load_n(&dev->dma_off, __ATOMIC_RELAXED);
    const FlatRange *range = off ? NULL : flat_view_find(address_space_view(dev->dma_as), addr);

    if (!range || range->region->kind != REGION_RAM || range->region->ram_device || (to_guest && range->readonly)) {
        trace(dma_refused, "%s addr 0x%" PRIx64 " len %" PRIu64 " write %d", dev->obj.type->name, addr, len, to_guest);
        return NULL;
    }
    *n = MIN(len, range->end - addr);
    *block = range->region->ram;
    return range->region->ram->host + range->offset + (addr - range->start);
}

typedef enum DmaKind { DMA_READ, DMA_WRITE, DMA_FILL } DmaKind;

static bool dma_copy(Device *dev, uint64_t addr, void *buf, uint8_t value, uint64_t len, DmaKind kind)
{
    uint8_t *at = buf;
    bool ok = true;

    rcu_read_lock();
    while (len) {
        uint64_t n;
        RamBlock *block;
        uint8_t *host = addr + len < addr ? NULL : dma_piece(dev, addr, len, kind != DMA_READ, &n, &block);

        if (!host) {
            if (kind == DMA_READ) {
                memset(at, 0, len);
            }
            ok = false;
            break;
        }
        if (kind == DMA_READ) {
            memcpy(at, host, n);
        } else {
            if (kind == DMA_WRITE) {
                memcpy(host, at, n);
            } else {
                memset(host, value, n);
            }
            ram_block_set_dirty(block, (uint64_t)(host - block->host), n);
        }
        addr += n;
        at = at ? at + n : NULL;
        len -= n;
    }
    rcu_read_unlock();
    return ok;
}

bool dma_read(Device *dev, uint64_t addr, void *buf, uint64_t len)
{
    return dma_copy(dev, addr, buf, 0, len, DMA_READ);
}

bool dma_write(Device *dev, uint64_t addr, const void *buf, uint64_t len)
{
    return dma_copy(dev, addr, (void *)(uintptr_t)buf, 0, len, DMA_WRITE);
}

bool dma_fill(Device *dev, uint64_t addr, uint8_t value, uint64_t len)
{
    return dma_copy(dev, addr, NULL, value, len, DMA_FILL);
}

static void unpin(void *block) { ram_block_unref(block); }

static void pin(IoVec *vec, RamBlock *block)
{
    if (!vec->pins) {
        vec->pins = g_ptr_array_new_with_free_func(unpin);
    } else if (g_ptr_array_index(vec->pins, vec->pins->len - 1) == block) {
        return;
    }
    g_ptr_array_add(vec->pins, ram_block_ref(block));
}

/* Back to what vec was before a mapping that failed half way. */
static void iov_truncate(IoVec *vec, size_t size)
{
    while (vec->size > size) {
        struct iovec *last = &vec->iov[vec->count - 1];
        size_t cut = MIN(last->iov_len, vec->size - size);

        last->iov_len -= cut;
        vec->size -= cut;
        vec->count -= last->iov_len == 0;
    }
}

bool dma_map(Device *dev, uint64_t addr, uint64_t len, bool to_guest, IoVec *vec)
{
    size_t before = vec->size;
    bool ok = addr + len >= addr;

    rcu_read_lock();
    while (ok && len) {
        uint64_t n;
        RamBlock *block;
        uint8_t *host = dma_piece(dev, addr, len, to_guest, &n, &block);

        if (!host) {
            ok = false;
            break;
        }
        pin(vec, block);
        iov_vec_add(vec, host, n);
        addr += n;
        len -= n;
    }
    rcu_read_unlock();
    if (!ok) {
        iov_truncate(vec, before);
    }
    return ok;
}

static RamBlock *block_of(const IoVec *vec, const uint8_t *host)
{
    for (unsigned i = 0; vec->pins && i < vec->pins->len; i++) {
        RamBlock *block = g_ptr_array_index(vec->pins, i);

        if (host >= block->host && host < block->host + block->size) {
            return block;
        }
    }
    return NULL;
}

void dma_unmap(Device *dev, IoVec *vec, bool to_guest, uint64_t written)
{
    for (unsigned i = 0; to_guest && i < vec->count && written; i++) {
        uint64_t n = MIN(written, vec->iov[i].iov_len);
        uint8_t *host = vec->iov[i].iov_base;

        for (uint64_t done = 0; done < n;) { /* neighbours of two blocks may have been merged */
            RamBlock *block = block_of(vec, host + done);
            uint64_t room = MIN(n - done, (uint64_t)(block->host + block->size - (host + done)));

            ram_block_set_dirty(block, (uint64_t)(host + done - block->host), room);
            done += room;
        }
        written -= n;
    }
    if (vec->pins) {
        g_ptr_array_free(vec->pins, true);
    }
    iov_vec_clear(vec);
}

/* ---- windows ------------------------------------------------------------------------------ */

void dma_enter(DmaWindow *w, Device *dev)
{
    rcu_read_lock();
    *w = (DmaWindow){.dev = dev, .view = address_space_view(dev->dma_as)};
}

void dma_leave(DmaWindow *w) { rcu_read_unlock(); }

uint8_t *dma_window_get(DmaWindow *w, uint64_t addr, uint64_t len, bool to_guest, uint64_t *n, RamBlock **block)
{
    const FlatRange *range = w->last;

    if (!range || addr < range->start || addr >= range->end) {
        range = flat_view_find(w->view, addr);
        if (!range || range->region->kind != REGION_RAM || range->region->ram_device ||
            __atomic_load_n(&w->dev->dma_off, __ATOMIC_RELAXED)) {
            trace(dma_refused, "%s addr 0x%" PRIx64 " len %" PRIu64 " write %d", w->dev->obj.type->name, addr, len,
                  to_guest);
            return NULL;
        }
        w->last = range;
    }
    if (to_guest && range->readonly) {
        return NULL;
    }
    *n = MIN(len, range->end - addr);
    *block = range->region->ram;
    return range->region->ram->host + range->offset + (addr - range->start);
}
