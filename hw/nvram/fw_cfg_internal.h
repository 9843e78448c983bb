/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between fw_cfg's contents (fw_cfg.c) and the device that guests see (fw_cfg_io.c). */
#ifndef HW_NVRAM_FW_CFG_INTERNAL_H
#define HW_NVRAM_FW_CFG_INTERNAL_H

#include "hw/nvram/fw_cfg.h"
#include "util/lock.h"

#define FW_CFG_KEY_ARCH 0x8000u     /* this architecture's items */
#define FW_CFG_KEY_MASK 0x3fffu     /* without the architecture and the (ignored) write bit */
#define FW_CFG_INVALID 0xffffu
#define FW_CFG_ARCH_ITEMS 0x20u

typedef struct FwCfgItem {
    GBytes *bytes;              /* content in memory; NULL: not made yet, or in a file */
    const FwCfgSource *source;  /* NULL: the content is fixed */
    void *opaque;
    int fd;                     /* content is [fd_offset, fd_offset + fd_size) of it; -1: no */
    uint64_t fd_offset;
    uint32_t fd_size;
    bool only_sized;        /* made for the directory: to be made again when it is read */
} FwCfgItem;

typedef struct FwCfgFile {
    char *name;
    FwCfgItem *item;
} FwCfgFile;

struct FwCfg {
    Device dev;
    bool dma_enabled;
    bool acpi_mr_restore;
    uint16_t file_slots;
    Lock mutex;
    FwCfgItem *common[FW_CFG_FILE_FIRST];    /* keys 0x00 to 0x1f */
    FwCfgItem *arch[FW_CFG_ARCH_ITEMS];      /* keys 0x8000 to 0x801f */
    GPtrArray *files;                        /* FwCfgFile *, sorted; key: 0x20 + index */
    uint16_t cur_entry;                      /* selected key, FW_CFG_INVALID: none; guest-written */
    uint32_t cur_offset;                     /* next byte of it */
    uint64_t dma_addr;                       /* high half, until the low half comes */
    uint64_t table_mr_size, linker_mr_size, rsdp_mr_size; /* wire only: sizes of the ACPI files */
    FwCfgItem *cached;                       /* the last file-backed item read through the port */
    uint32_t cache_offset, cache_len;
    uint8_t *cache;
    Region io, dma;
};

FwCfgItem *fw_cfg_item_new(void);
/* NULL is fine. */
void fw_cfg_item_free(FwCfgItem *item);
/* Of fw->files: a GDestroyNotify. */
void fw_cfg_file_free(gpointer data);
/* Bytes; 0 while the content is not made. */
uint32_t fw_cfg_item_size(const FwCfgItem *item);
/* The content is to be made first: fw_cfg_item_prepare. */
bool fw_cfg_item_unmade(const FwCfgItem *item);
/* A file may have shrunk since it was opened: what is missing reads as zero. */
void fw_cfg_item_fd_read(const FwCfgItem *item, uint32_t offset, uint8_t *buf, size_t len);
/* The item of a key as the guest wrote it, NULL when there is none: to be asked at every access. */
FwCfgItem *fw_cfg_item_find(FwCfg *fw, uint16_t key);
FwCfgFile *fw_cfg_file_find(const FwCfg *fw, const char *name);
/* Any thread, with or without the VM lock, without the mutex: the item of key has its content. */
void fw_cfg_item_prepare(FwCfg *fw, uint16_t key);

#endif
