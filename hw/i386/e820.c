/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory map; see the header. */
#include "hw/i386/e820.h"

bool e820_add(E820 *map, uint64_t addr, uint64_t len, uint32_t type)
{
    if (map->count == E820_MAX) {
        return false;
    }
    map->entries[map->count++] = (E820Entry){.addr = addr, .len = len, .type = type};
    return true;
}

void e820_encode(const E820 *map, GByteArray *out)
{
    for (unsigned i = 0; i < map->count; i++) {
        uint8_t raw[E820_ENTRY_SIZE];

        store64_le(raw, map->entries[i].addr);
        store64_le(raw + 8, map->entries[i].len);
        store32_le(raw + 16, map->entries[i].type);
        g_byte_array_append(out, raw, sizeof raw);
    }
}
