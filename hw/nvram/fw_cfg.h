/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The firmware configuration device: items by 16-bit key, read by firmware through a selector and a
 * data port or through DMA, and named files with a directory (key 0x19). Spec: QEMU's
 * docs/specs/fw_cfg.
 *
 *   port 0x510  selector (16 bits, little-endian)      port 0x511  data (8 bits)
 *   port 0x514  DMA address (64 bits, big-endian; writing the low half starts the transfer)
 *
 * An item's content is bytes in memory, a range of an open file (a kernel: nothing is read before
 * the guest asks), or made when the item is first selected after a reset (ACPI tables: nothing is
 * built before the guest asks).
 *
 * Everything below wants the VM lock. Adding the same key twice is our own mistake; file names may
 * come from users, so adding files can fail.
 */
#ifndef HW_NVRAM_FW_CFG_H
#define HW_NVRAM_FW_CFG_H

#include "core/vm.h"

typedef struct FwCfg FwCfg;

#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID 0x01
#define FW_CFG_UUID 0x02
#define FW_CFG_RAM_SIZE 0x03
#define FW_CFG_NOGRAPHIC 0x04
#define FW_CFG_NB_CPUS 0x05
#define FW_CFG_KERNEL_ADDR 0x07
#define FW_CFG_KERNEL_SIZE 0x08
#define FW_CFG_INITRD_ADDR 0x0a
#define FW_CFG_INITRD_SIZE 0x0b
#define FW_CFG_NUMA 0x0d
#define FW_CFG_BOOT_MENU 0x0e
#define FW_CFG_MAX_CPUS 0x0f
#define FW_CFG_KERNEL_ENTRY 0x10
#define FW_CFG_KERNEL_DATA 0x11
#define FW_CFG_INITRD_DATA 0x12
#define FW_CFG_CMDLINE_ADDR 0x13
#define FW_CFG_CMDLINE_SIZE 0x14
#define FW_CFG_CMDLINE_DATA 0x15
#define FW_CFG_SETUP_ADDR 0x16
#define FW_CFG_SETUP_SIZE 0x17
#define FW_CFG_SETUP_DATA 0x18
#define FW_CFG_FILE_DIR 0x19
#define FW_CFG_FILE_FIRST 0x20
/* Keys of the architecture. */
#define FW_CFG_ACPI_TABLES 0x8000
#define FW_CFG_IRQ0_OVERRIDE 0x8002
#define FW_CFG_HPET 0x8004

#define FW_CFG_MAX_FILE_PATH 56 /* with the terminating NUL */

/* Content that is made on demand. */
typedef struct FwCfgSource {
    /* Appends the content to out. Called with the VM lock when the item or the directory is first
     * selected after a reset. */
    void (*fill)(void *opaque, GByteArray *out);
    /* The guest has written [offset, offset + len) of the item by DMA; data is the whole item. NULL:
     * the item cannot be written. */
    void (*written)(void *opaque, uint64_t offset, uint64_t len, const uint8_t *data);
    /* The device goes: frees opaque. NULL: nothing to free. */
    void (*release)(void *opaque);
} FwCfgSource;

/* Makes and realizes the board's "fw_cfg_io" at its ports. */
FwCfg *fw_cfg_io_create(Vm *vm, GError **err);
/* NULL when the machine has none. */
FwCfg *fw_cfg_find(Vm *vm);
bool fw_cfg_has_dma(const FwCfg *fw);

/* ---- items by key ------------------------------------------------------------------- */
/* The data is copied. */
void fw_cfg_add_bytes(FwCfg *fw, uint16_t key, const void *data, size_t len);
/* With its terminating NUL. */
void fw_cfg_add_string(FwCfg *fw, uint16_t key, const char *value);
/* Stored little-endian. An item that is there gets the new value (a hotplugged CPU changes NB_CPUS). */
void fw_cfg_set_u16(FwCfg *fw, uint16_t key, uint16_t value);
void fw_cfg_set_u32(FwCfg *fw, uint16_t key, uint32_t value);
void fw_cfg_set_u64(FwCfg *fw, uint16_t key, uint64_t value);
/* [offset, offset + len) of the file; fd is duplicated. Bytes that the file has lost meanwhile
 * read as zero. */
void fw_cfg_add_fd(FwCfg *fw, uint16_t key, int fd, uint64_t offset, uint32_t len);

/* ---- files -------------------------------------------------------------------------- */
/* Each of these fails when the name is empty, too long or in use, or when all x-file-slots are
 * taken. */
bool fw_cfg_add_file(FwCfg *fw, const char *name, const void *data, size_t len, GError **err);
/* source is kept, not copied. */
bool fw_cfg_add_file_source(FwCfg *fw, const char *name, const FwCfgSource *source, void *opaque,
                            GError **err);
bool fw_cfg_add_file_fd(FwCfg *fw, const char *name, int fd, uint64_t offset, uint32_t len, GError **err);
/* New content of a file that is there, or a new file. */
bool fw_cfg_set_file(FwCfg *fw, const char *name, const void *data, size_t len, GError **err);
bool fw_cfg_has_file(const FwCfg *fw, const char *name);
/* Each file's name and size, in the directory's order. */
void fw_cfg_foreach_file(FwCfg *fw, void (*fn)(const char *name, uint64_t size, void *opaque), void *opaque);

/* One -fw_cfg option's text: [name=]NAME,file=PATH | string=TEXT | gen_id=ID. */
bool fw_cfg_add_option(FwCfg *fw, const char *text, GError **err);

/* The content of a file or key as the guest would read it, for tests; the caller unrefs. NULL when
 * it is not there. */
GBytes *fw_cfg_file_content(FwCfg *fw, const char *name);
GBytes *fw_cfg_key_content(FwCfg *fw, uint16_t key);

#endif
