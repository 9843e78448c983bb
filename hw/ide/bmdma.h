/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bus master IDE (Programming Interface for Bus Master IDE Controller, revision 1.0): per channel a
 * command and a status byte and the address of a table of physical regions, 8 bytes each: address,
 * 16-bit length (0: 64 KiB), bit 31 of the second word marks the last.
 */
#ifndef HW_IDE_BMDMA_H
#define HW_IDE_BMDMA_H

#include "hw/ide/ide.h"

enum { BM_CMD_START = 0x01, BM_CMD_READ = 0x08 };
enum { BM_STATUS_ACTIVE = 0x01, BM_STATUS_ERROR = 0x02, BM_STATUS_INT = 0x04 };

typedef struct BmDma {
    IdeBus *bus;
    Device *dev; /* whose DMA */
    uint8_t cmd, status;
    uint32_t addr;                                    /* of the table */
    uint32_t cur_addr;                                /* next entry to be fetched */
    uint32_t cur_prd_last, cur_prd_addr, cur_prd_len; /* the entry in work */
    bool waiting;                                     /* the drive waits for the start bit */
    /* Wire only: a request that stopped the VM. */
    uint8_t migration_compat_status;
    int64_t migration_retry_sector_num;
    uint32_t migration_retry_nsector;
    uint8_t migration_retry_unit;
    Region regs, addr_regs;
} BmDma;

/* Registers at offset of bar. */
void bmdma_init(BmDma *bm, IdeBus *bus, Device *dev, Region *bar, uint32_t offset);
extern const StateDesc bmdma_state;

#endif
