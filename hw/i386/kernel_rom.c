/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Puts the kernel loader's option ROM together; see the header. */
#include "hw/i386/kernel_rom.h"

#define ROM_MAX 0x8000u          /* option ROMs share 0xc8000 to 0xeffff */
#define ROM_BLOCK 512u
#define REQUEST_SIZE 16u

/* Where pc-bios/kernel_rom.S has its parameters. */
#define PARAM_REQUESTS 0x20
#define PARAM_N_REQUESTS 0x22
#define PARAM_REAL_SEGMENT 0x24
#define PARAM_REAL_SP 0x26
#define PARAM_ENTRY 0x28
#define PARAM_ENTRY_EAX 0x2c
#define PARAM_ENTRY_EBX 0x30
#define PARAM_MAP_SEGMENT 0x34
#define PARAM_MAP_PREFIX 0x36
#define PARAM_MAP_COUNT_AT 0x38
#define PARAM_MAP_BYTES_AT 0x3a
#define PARAM_RSDP_AT 0x3c
#define PNP_HEADER 0x40
#define PNP_SIZE 32
#define PNP_CHECKSUM 9

/* Control bits of a DMA request. */
#define DMA_READ 2u
#define DMA_SKIP 4u
#define DMA_SELECT 8u
#define KEY_ABSENT 0x3fffu       /* no item: reads as zeros */
#define ZERO_CHUNK (32u << 20)   /* zeros in one request */

extern const uint8_t kernel_rom_begin[], kernel_rom_end[];

void kernel_rom_init(KernelRom *rom, const char *name)
{
    *rom = (KernelRom){.name = name, .map_count_at = KERNEL_ROM_NOWHERE, .map_bytes_at = KERNEL_ROM_NOWHERE,
                       .rsdp_at = KERNEL_ROM_NOWHERE};
    rom->requests = g_byte_array_new();
}

void kernel_rom_clear(KernelRom *rom)
{
    g_clear_pointer(&rom->requests, g_byte_array_unref);
}

static void add_request(KernelRom *rom, uint32_t control, uint32_t len, uint64_t addr)
{
    uint8_t raw[REQUEST_SIZE];

    store32_be(raw, control);
    store32_be(raw + 4, len);
    store64_be(raw + 8, addr);
    g_byte_array_append(rom->requests, raw, sizeof raw);
}

void kernel_rom_load(KernelRom *rom, uint16_t key, uint32_t offset, uint32_t len, uint64_t addr)
{
    uint32_t select = (uint32_t)key << 16 | DMA_SELECT;

    if (len && offset) {
        add_request(rom, select | DMA_SKIP, offset, 0);
        add_request(rom, DMA_READ, len, addr);
    } else if (len) {
        add_request(rom, select | DMA_READ, len, addr);
    }
}

void kernel_rom_zero(KernelRom *rom, uint32_t len, uint64_t addr)
{
    while (len) {
        uint32_t chunk = MIN(len, ZERO_CHUNK);

        add_request(rom, KEY_ABSENT << 16 | DMA_SELECT | DMA_READ, chunk, addr);
        addr += chunk;
        len -= chunk;
    }
}

/* The byte at index becomes such that len bytes add up to 0. */
static void fix_checksum(uint8_t *data, size_t len, size_t index)
{
    uint8_t sum = 0;

    data[index] = 0;
    for (size_t i = 0; i < len; i++) {
        sum += data[i];
    }
    data[index] = (uint8_t)-sum;
}

GByteArray *kernel_rom_build(const KernelRom *rom, GError **err)
{
    uint32_t code = (uint32_t)(kernel_rom_end - kernel_rom_begin);
    uint32_t size = (uint32_t)align_up(code + rom->requests->len + 1, ROM_BLOCK);
    GByteArray *out;
    uint8_t *p;

    if (size > ROM_MAX) {
        error_set(err, "the kernel has too many segments for the loader's option ROM");
        return NULL;
    }
    out = g_byte_array_new();
    g_byte_array_append(out, kernel_rom_begin, code);
    g_byte_array_append(out, rom->requests->data, rom->requests->len);
    g_byte_array_set_size(out, size);
    p = out->data;
    memset(p + code + rom->requests->len, 0, size - code - rom->requests->len);
    p[2] = (uint8_t)(size / ROM_BLOCK);
    store16_le(p + PARAM_REQUESTS, (uint16_t)code);
    store16_le(p + PARAM_N_REQUESTS, (uint16_t)(rom->requests->len / REQUEST_SIZE));
    store16_le(p + PARAM_REAL_SEGMENT, rom->real_segment);
    store16_le(p + PARAM_REAL_SP, rom->real_sp);
    store32_le(p + PARAM_ENTRY, rom->entry);
    store32_le(p + PARAM_ENTRY_EAX, rom->entry_eax);
    store32_le(p + PARAM_ENTRY_EBX, rom->entry_ebx);
    store16_le(p + PARAM_MAP_SEGMENT, rom->map_segment);
    store16_le(p + PARAM_MAP_PREFIX, rom->map_prefix);
    store16_le(p + PARAM_MAP_COUNT_AT, rom->map_count_at);
    store16_le(p + PARAM_MAP_BYTES_AT, rom->map_bytes_at);
    store16_le(p + PARAM_RSDP_AT, rom->rsdp_at);
    fix_checksum(p + PNP_HEADER, PNP_SIZE, PNP_CHECKSUM);
    fix_checksum(p, size, size - 1);
    return out;
}
