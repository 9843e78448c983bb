/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory that goes back to the host: its pages are freed and read as zeros until they are used again.
 *
 * Memory in huge pages goes back when all 4 KiB pages of a huge one were given; they are remembered until they are taken
 * back. Private mappings of files keep theirs: the file's contents would show. One thread at a time, without locks.
 */
#ifndef HW_VIRTIO_BALLOON_PAGES_H
#define HW_VIRTIO_BALLOON_PAGES_H

#include "core/dma.h"
#include "core/region.h"

#define BALLOON_PAGE 4096

typedef struct BalloonPages BalloonPages;

BalloonPages *balloon_pages_new(void);
void balloon_pages_free(BalloonPages *p);
/* Gives [addr, addr + len) of dev's DMA space back, a page at least; returns how many bytes of it are RAM that the guest
 * can write. The rest is left alone. */
uint64_t balloon_pages_give(BalloonPages *p, Device *dev, uint64_t addr, uint64_t len);
/* The guest uses it again. */
void balloon_pages_take(BalloonPages *p, Device *dev, uint64_t addr, uint64_t len);
/* The guest uses all of it again. */
void balloon_pages_forget(BalloonPages *p);
/* [offset, offset + len) of a block goes back, as far as whole pages of its host memory lie in it. */
void balloon_block_discard(RamBlock *block, uint64_t offset, uint64_t len);

#endif
