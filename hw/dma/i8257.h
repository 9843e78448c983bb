/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ISA DMA: what a device does with a channel of the two 8237 controllers.
 *
 *     device                     controller                          guest
 *                                                     programs address, count, mode; unmasks
 *     isa_dma_hold (DREQ) ---->  calls transfer(pos, len)
 *     isa_dma_write/read  ---->  guest memory at address + pos
 *     returns the new pos ---->  count register
 *     isa_dma_release
 *
 * Nothing polls: transfer is called when a held channel is unmasked, held, or kicked, and it may
 * leave pos as it is (the disk is still busy) and call isa_dma_kick later. VM lock.
 */
#ifndef HW_DMA_I8257_H
#define HW_DMA_I8257_H

#include "hw/isa/isa.h"

#define ISA_DMA_CHANNELS 8 /* 0 to 3 move bytes, 5 to 7 words; 4 joins the controllers */

/* Bytes pos of len are done. Returns the new pos, at most len. May hold and release, not kick. */
typedef uint32_t IsaDmaTransfer(void *opaque, unsigned channel, uint32_t pos, uint32_t len);

typedef enum IsaDmaDirection {
    ISA_DMA_VERIFY,
    ISA_DMA_TO_MEMORY,
    ISA_DMA_FROM_MEMORY,
    ISA_DMA_ILLEGAL
} IsaDmaDirection;

/* The board's side: both controllers of a PC/AT, with page registers at 80h and no high ones. */
bool isa_dma_create_pair(IsaBus *bus, GError **err);

/* False when the bus has no controller for it. fn NULL gives the channel back. */
bool isa_dma_register(IsaBus *bus, unsigned channel, IsaDmaTransfer *fn, void *opaque);
/* DREQ on and off. */
void isa_dma_hold(IsaBus *bus, unsigned channel);
void isa_dma_release(IsaBus *bus, unsigned channel);
/* The device can go on: transfer is called if the channel is held and unmasked. */
void isa_dma_kick(IsaBus *bus, unsigned channel);
/* What the guest programmed. */
IsaDmaDirection isa_dma_direction(IsaBus *bus, unsigned channel);
bool isa_dma_autoinit(IsaBus *bus, unsigned channel);
/* Guest memory of the channel's block at pos, in its direction (addresses may count down). RAM
 * only; false when some of it is none: a read then gives zeros there. */
bool isa_dma_read(IsaBus *bus, unsigned channel, void *buf, uint32_t pos, uint32_t len);
bool isa_dma_write(IsaBus *bus, unsigned channel, const void *buf, uint32_t pos, uint32_t len);

#endif
