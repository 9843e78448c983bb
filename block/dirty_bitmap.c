/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dirty bitmaps of nodes. One flat array of bits each: 2 MiB for a disk of 1 TiB at the usual 64 KiB.
 */
#include "block/dirty_bitmap.h"

#include <stdlib.h>

#include "util/error.h"
#include "util/log.h"
#include "util/util.h"

#define MIN_GRANULARITY_BITS 9
#define MAX_GRANULARITY_BITS 31
#define MAX_BYTES GIB /* of one bitmap */

/* ---- bits ----------------------------------------------------------------------------------- */

static uint64_t bits_of(unsigned granularity_bits, uint64_t size)
{
    return (size >> granularity_bits) + !!(size & ((UINT64_C(1) << granularity_bits) - 1));
}

static uint64_t bytes_of(unsigned granularity_bits, uint64_t size)
{
    return (bits_of(granularity_bits, size) + 7) / 8;
}

uint64_t block_dirty_bitmap_bytes(const DirtyBitmap *b)
{
    return bytes_of(b->granularity_bits, b->size);
}

/* Bits [first, end) become value. */
static void fill(uint8_t *bits, uint64_t first, uint64_t end, bool value)
{
    while (first < end) {
        if (!(first & 7) && end - first >= 8) {
            memset(bits + (first >> 3), value ? 0xff : 0, (end - first) >> 3);
            first += (end - first) & ~UINT64_C(7);
        } else if (value) {
            bits[first >> 3] |= (uint8_t)(1u << (first & 7));
            first++;
        } else {
            bits[first >> 3] &= (uint8_t)~(1u << (first & 7));
            first++;
        }
    }
}

void block_dirty_bitmap_set(DirtyBitmap *b, uint64_t offset, uint64_t len)
{
    if (b->bits && len && offset < b->size) {
        uint64_t last = offset + MIN(len, b->size - offset) - 1;

        fill(b->bits, offset >> b->granularity_bits, (last >> b->granularity_bits) + 1, true);
        b->changed = true;
    }
}

void block_dirty_bitmap_reset(DirtyBitmap *b, uint64_t offset, uint64_t len)
{
    uint64_t unit = UINT64_C(1) << b->granularity_bits;

    if (b->bits && len && offset < b->size) {
        uint64_t end = offset + MIN(len, b->size - offset);
        uint64_t first = bits_of(b->granularity_bits, offset);
        uint64_t stop = end == b->size ? bits_of(b->granularity_bits, end) : end / unit;

        fill(b->bits, first, stop, false);
        b->changed = true;
    }
}

uint64_t block_dirty_bitmap_count(const DirtyBitmap *b)
{
    uint64_t bytes = b->bits ? block_dirty_bitmap_bytes(b) : 0, at = 0, n = 0;

    for (; bytes - at >= 8; at += 8) {
        n += (unsigned)__builtin_popcountll(load64_le(b->bits + at));
    }
    for (; at < bytes; at++) {
        n += (unsigned)__builtin_popcount(b->bits[at]);
    }
    return n << b->granularity_bits;
}

uint64_t block_dirty_bitmap_next(const DirtyBitmap *b, uint64_t offset, bool dirty)
{
    uint64_t bits = bits_of(b->granularity_bits, b->size), at = offset >> b->granularity_bits;
    uint8_t uniform = dirty ? 0 : 0xff;

    if (!b->bits) {
        return b->size;
    }
    while (at < bits) {
        if (!(at & 7) && b->bits[at >> 3] == uniform) {
            at += 8;
        } else if ((b->bits[at >> 3] >> (at & 7) & 1) == dirty) {
            return MIN(b->size, MAX(offset, at << b->granularity_bits));
        } else {
            at++;
        }
    }
    return b->size;
}

/* ---- recording ------------------------------------------------------------------------------ */

static void update_recording(BlockNode *node)
{
    node->recording = false;
    for (unsigned i = 0; node->bitmaps && i < node->bitmaps->len; i++) {
        const DirtyBitmap *b = g_ptr_array_index(node->bitmaps, i);

        node->recording |= b->enabled && b->bits;
    }
}

void block_dirty_bitmaps_record(BlockNode *node, uint64_t offset, uint64_t len)
{
    for (unsigned i = 0; node->bitmaps && i < node->bitmaps->len; i++) {
        DirtyBitmap *b = g_ptr_array_index(node->bitmaps, i);

        if (b->enabled) {
            block_dirty_bitmap_set(b, offset, len);
        }
    }
}

/* ---- sizes ---------------------------------------------------------------------------------- */

bool block_dirty_bitmaps_check_resize(const BlockNode *node, uint64_t size, GError **err)
{
    for (unsigned i = 0; node->bitmaps && i < node->bitmaps->len; i++) {
        const DirtyBitmap *b = g_ptr_array_index(node->bitmaps, i);

        if (!block_dirty_bitmap_check(b, true, err)) {
            return false;
        }
        if (bytes_of(b->granularity_bits, size) > MAX_BYTES) {
            return error_set(err, "The bitmap '%s' would be too large; remove it, or make one of a larger "
                                  "granularity",
                             b->name);
        }
    }
    return true;
}

static void resize(DirtyBitmap *b, uint64_t size)
{
    uint64_t bytes = bytes_of(b->granularity_bits, size), old = block_dirty_bitmap_bytes(b);
    uint64_t bits = bits_of(b->granularity_bits, size);
    uint8_t *more = b->bits && bytes <= MAX_BYTES ? realloc(b->bits, bytes + 1) : NULL;

    b->size = size;
    if (!more) {
        if (b->bits) {
            report_warning("No memory for the bitmap '%s' of '%s' at its new size: it is lost", b->name,
                           b->node->name);
        }
        free(b->bits);
        b->bits = NULL;
        return;
    }
    if (bytes > old) {
        memset(more + old, 0, bytes - old);
    }
    fill(more, bits, bytes * 8, false);
    b->bits = more;
    b->changed = true;
}

void block_dirty_bitmaps_resize(BlockNode *node, uint64_t size)
{
    for (unsigned i = 0; node->bitmaps && i < node->bitmaps->len; i++) {
        resize(g_ptr_array_index(node->bitmaps, i), size);
    }
    update_recording(node);
}

/* ---- the list ------------------------------------------------------------------------------- */

DirtyBitmap *block_dirty_bitmap_find(const BlockNode *node, const char *name)
{
    for (unsigned i = 0; node->bitmaps && i < node->bitmaps->len; i++) {
        DirtyBitmap *b = g_ptr_array_index(node->bitmaps, i);

        if (!strcmp(b->name, name)) {
            return b;
        }
    }
    return NULL;
}

DirtyBitmap *block_dirty_bitmap_restore(BlockNode *node, const char *name,
                                             unsigned granularity_bits)
{
    uint64_t bytes = bytes_of(granularity_bits, node->size);
    uint8_t *bits = bytes <= MAX_BYTES ? calloc(1, bytes + 1) : NULL;
    DirtyBitmap *b;

    if (!bits) {
        return NULL;
    }
    b = g_new0(DirtyBitmap, 1);
    b->node = node;
    b->name = g_strdup(name);
    b->bits = bits;
    b->size = node->size;
    b->granularity_bits = (uint8_t)granularity_bits;
    if (!node->bitmaps) {
        node->bitmaps = g_ptr_array_new();
    }
    g_ptr_array_insert(node->bitmaps, 0, b);
    return b;
}

void block_dirty_bitmap_free(DirtyBitmap *b)
{
    BlockNode *node = b->node;

    g_ptr_array_remove(node->bitmaps, b);
    update_recording(node);
    free(b->bits);
    g_free(b->name);
    g_free(b);
}

void block_dirty_bitmaps_free_all(BlockNode *node)
{
    while (node->bitmaps && node->bitmaps->len) {
        block_dirty_bitmap_free(g_ptr_array_index(node->bitmaps, node->bitmaps->len - 1));
    }
    g_clear_pointer(&node->bitmaps, g_ptr_array_unref);
}

static uint64_t default_granularity(BlockNode *node)
{
    BlockInfo info = {0};

    if (node->drv->get_info) {
        node->drv->get_info(node, &info);
    }
    return info.cluster_size ? CLAMP(info.cluster_size, 4 * KIB, 64 * KIB) : 64 * KIB;
}

static bool check_new(BlockNode *node, const char *name, uint64_t granularity, bool persistent,
                      GError **err)
{
    if (!*name) {
        return error_set(err, "Bitmap name cannot be empty");
    }
    if (strlen(name) > BLOCK_BITMAP_MAX_NAME) {
        return error_set(err, "Bitmap name too long: %s", name);
    }
    if (!is_power_of_two(granularity) || granularity < 1u << MIN_GRANULARITY_BITS ||
        granularity > 1u << MAX_GRANULARITY_BITS) {
        return error_set(err, "Granularity must be power of 2 and at least 512");
    }
    if (block_dirty_bitmap_find(node, name)) {
        return error_set(err, "Bitmap already exists: %s", name);
    }
    if (!persistent) {
        return true;
    }
    if (!node->drv->bitmap_can_store) {
        return error_set(err, "Can't store persistent bitmaps to %s: Operation not supported", node->name);
    }
    if (node->read_only) {
        return error_set(err, "Can't make bitmap '%s' persistent in '%s': the node is read-only", name,
                         node->name);
    }
    return node->drv->bitmap_can_store(node, name, err);
}

DirtyBitmap *block_dirty_bitmap_add(BlockNode *node, const char *name, uint64_t granularity,
                                         bool persistent, bool enabled, GError **err)
{
    uint64_t unit = granularity ? granularity : default_granularity(node);
    DirtyBitmap *b;

    if (!check_new(node, name, unit, persistent, err)) {
        return NULL;
    }
    b = block_dirty_bitmap_restore(node, name, (unsigned)g_bit_nth_msf(unit, -1));
    if (!b) {
        error_set(err, "The bitmap '%s' would be too large; take a larger granularity", name);
        return NULL;
    }
    b->enabled = enabled;
    b->persistent = persistent;
    b->changed = true;
    update_recording(node);
    return b;
}

/* ---- changes -------------------------------------------------------------------------------- */

static bool check_not_busy(const DirtyBitmap *b, GError **err)
{
    return !b->busy ||
           error_set(err, "Bitmap '%s' is currently in use by another operation and cannot be used", b->name);
}

static bool check_writable(const DirtyBitmap *b, GError **err)
{
    return !(b->persistent && b->node->read_only) ||
           error_set(err, "Bitmap '%s' is readonly and cannot be modified", b->name);
}

bool block_dirty_bitmap_check(const DirtyBitmap *b, bool change, GError **err)
{
    if (!check_not_busy(b, err) || (change && !check_writable(b, err))) {
        return false;
    }
    return b->bits || error_set(err,
                                "Bitmap '%s' is inconsistent and cannot be used; remove it "
                                "(block-dirty-bitmap-remove, or kiln-img bitmap --remove)",
                                b->name);
}

bool block_dirty_bitmap_check_remove(const DirtyBitmap *b, GError **err)
{
    return check_not_busy(b, err) && check_writable(b, err);
}

bool block_dirty_bitmap_remove(DirtyBitmap *b, GError **err)
{
    if (!block_dirty_bitmap_check_remove(b, err)) {
        return false;
    }
    if (b->persistent && b->node->drv->bitmap_forget) {
        b->node->drv->bitmap_forget(b->node, b);
    }
    block_dirty_bitmap_free(b);
    return true;
}

bool block_dirty_bitmap_clear(DirtyBitmap *b, GError **err)
{
    if (!block_dirty_bitmap_check(b, true, err)) {
        return false;
    }
    memset(b->bits, 0, block_dirty_bitmap_bytes(b));
    b->changed = true;
    return true;
}

bool block_dirty_bitmap_set_enabled(DirtyBitmap *b, bool enabled, GError **err)
{
    if (!block_dirty_bitmap_check(b, false, err)) {
        return false;
    }
    b->enabled = enabled;
    update_recording(b->node);
    return true;
}

bool block_dirty_bitmap_check_merge(const DirtyBitmap *target, const DirtyBitmap *source, GError **err)
{
    if (!block_dirty_bitmap_check(target, true, err) || !block_dirty_bitmap_check(source, false, err)) {
        return false;
    }
    if (target->size != source->size) {
        return error_set(err,
                         "Bitmaps are of different sizes (destination size is %" PRIu64 ", source size is "
                         "%" PRIu64 ") and can't be merged",
                         target->size, source->size);
    }
    return true;
}

bool block_dirty_bitmap_merge(DirtyBitmap *target, const DirtyBitmap *source, GError **err)
{
    if (!block_dirty_bitmap_check_merge(target, source, err)) {
        return false;
    }
    for (uint64_t at = 0; at < source->size;) {
        uint64_t first = block_dirty_bitmap_next(source, at, true);
        uint64_t end = block_dirty_bitmap_next(source, first, false);

        block_dirty_bitmap_set(target, first, end - first);
        at = end;
    }
    return true;
}

char *block_dirty_bitmap_digest(const DirtyBitmap *b)
{
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint64_t bytes = block_dirty_bitmap_bytes(b);
    uint8_t pad[8] = {0};
    char *text;

    for (uint64_t at = 0; at < bytes; at += MIB) {
        g_checksum_update(sum, b->bits + at, (gssize)MIN(MIB, bytes - at));
    }
    g_checksum_update(sum, pad, (gssize)(align_up(MAX(bytes, 1), 8) - bytes));
    text = g_strdup(g_checksum_get_string(sum));
    g_checksum_free(sum);
    return text;
}
