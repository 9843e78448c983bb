/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/virtio/balloon_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "util/trace.h"

/* The given pages of a block whose host memory is in huge pages. */
typedef struct HugeBlock {
    RamBlock *block;          /* a reference */
    uint64_t *given;          /* a bit for each 4 KiB */
} HugeBlock;

struct BalloonPages {
    GArray *huge;             /* HugeBlock */
};

static void clear_huge(void *data)
{
    HugeBlock *h = data;

    ram_block_unref(h->block);
    g_free(h->given);
}

BalloonPages *balloon_pages_new(void)
{
    BalloonPages *p = g_new0(BalloonPages, 1);

    p->huge = g_array_new(false, true, sizeof(HugeBlock));
    g_array_set_clear_func(p->huge, clear_huge);
    return p;
}

void balloon_pages_free(BalloonPages *p)
{
    if (p) {
        g_array_free(p->huge, true);
        g_free(p);
    }
}

void balloon_pages_forget(BalloonPages *p) { g_array_set_size(p->huge, 0); }

/* ---- the host's side ------------------------------------------------------------------------------ */

static uint64_t host_page(const RamBlock *block) { return MAX(block->page, BALLOON_PAGE); }

/* Holes in the file free what is in it; private copies are freed by madvise. */
void balloon_block_discard(RamBlock *block, uint64_t offset, uint64_t len)
{
    const uint64_t page = host_page(block), start = align_up(offset, page), end = align_down(offset + len, page);
    const bool file = block->fd >= 0, huge = page > BALLOON_PAGE;
    int failed = 0;

    if (start >= end || (file && !block->shared && !huge)) {
        return;
    }
    if (file && fallocate(block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(block->fd_offset + start),
                          (off_t)(end - start)) < 0) {
        failed = errno;
    }
    if (!block->shared && madvise(block->host + start, end - start, MADV_DONTNEED) < 0) {
        failed = errno;
    } else if (block->shared && !file && madvise(block->host + start, end - start, MADV_REMOVE) < 0) {
        failed = errno;
    }
    trace(balloon_discard, "%s 0x%" PRIx64 " size 0x%" PRIx64 " error %d", block->id, start, end - start, failed);
    ram_block_set_dirty(block, start, end - start);
}

/* ---- huge pages -------------------------------------------------------------------------------------- */

static HugeBlock *find_huge(BalloonPages *p, RamBlock *block, bool make)
{
    HugeBlock made = {0};

    for (unsigned i = 0; i < p->huge->len; i++) {
        HugeBlock *h = &g_array_index(p->huge, HugeBlock, i);

        if (h->block == block) {
            return h;
        }
    }
    if (!make) {
        return NULL;
    }
    made = (HugeBlock){ram_block_ref(block), g_new0(uint64_t, block->size / BALLOON_PAGE / 64 + 1)};
    g_array_append_val(p->huge, made);
    return &g_array_index(p->huge, HugeBlock, p->huge->len - 1);
}

static bool is_given(const HugeBlock *h, uint64_t page) { return (h->given[page / 64] >> page % 64) & 1; }

static bool all_given(const HugeBlock *h, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        if (!is_given(h, i)) {
            return false;
        }
    }
    return true;
}

static void give_huge(BalloonPages *p, RamBlock *block, uint64_t offset, uint64_t len)
{
    HugeBlock *h = find_huge(p, block, true);
    const uint64_t count = host_page(block) / BALLOON_PAGE;

    for (uint64_t i = offset / BALLOON_PAGE; i < (offset + len) / BALLOON_PAGE; i++) {
        const uint64_t first = i - i % count;
        const bool was = is_given(h, i);

        h->given[i / 64] |= UINT64_C(1) << i % 64;
        if (!was && all_given(h, first, count)) {
            balloon_block_discard(block, first * BALLOON_PAGE, count * BALLOON_PAGE);
        }
    }
}

static void take_huge(BalloonPages *p, RamBlock *block, uint64_t offset, uint64_t len)
{
    HugeBlock *h = find_huge(p, block, false);

    for (uint64_t i = offset / BALLOON_PAGE; h && i < (offset + len) / BALLOON_PAGE; i++) {
        h->given[i / 64] &= ~(UINT64_C(1) << i % 64);
    }
}

/* ---- the guest's side ----------------------------------------------------------------------------------- */

typedef void PieceFn(BalloonPages *p, RamBlock *block, uint64_t offset, uint64_t len);

/* Calls fn for each part of the range that is RAM, whole pages of the guest. Returns their bytes. */
static uint64_t each_piece(BalloonPages *p, Device *dev, uint64_t addr, uint64_t len, PieceFn *fn)
{
    uint64_t at = align_up(addr, BALLOON_PAGE), done = 0;
    const uint64_t end = addr + len < addr ? UINT64_MAX & ~(uint64_t)(BALLOON_PAGE - 1) : align_down(addr + len, BALLOON_PAGE);

    while (at < end && at >= addr) {
        DmaWindow w;
        RamBlock *block;
        uint64_t n = 0, offset = 0;
        uint8_t *host;

        dma_enter(&w, dev);
        host = dma_window_get(&w, at, end - at, true, &n, &block);
        if (host) {
            offset = (uint64_t)(host - block->host);
            ram_block_ref(block);
        }
        dma_leave(&w);
        if (!host) {
            break; /* a hole ends it: a driver gives what it has */
        }
        n = align_down(n, BALLOON_PAGE);
        if (n && offset % BALLOON_PAGE == 0) {
            fn(p, block, offset, n);
            done += n;
        }
        ram_block_unref(block);
        at += MAX(n, BALLOON_PAGE);
    }
    return done;
}

static void give_piece(BalloonPages *p, RamBlock *block, uint64_t offset, uint64_t len)
{
    if (host_page(block) > BALLOON_PAGE) {
        give_huge(p, block, offset, len);
    } else {
        balloon_block_discard(block, offset, len);
    }
}

uint64_t balloon_pages_give(BalloonPages *p, Device *dev, uint64_t addr, uint64_t len)
{
    return each_piece(p, dev, addr, len, give_piece);
}

void balloon_pages_take(BalloonPages *p, Device *dev, uint64_t addr, uint64_t len)
{
    each_piece(p, dev, addr, len, take_huge);
}
