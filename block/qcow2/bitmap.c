/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * References of persistent dirty bitmaps: the directory and the tables as they are in the file.
 */
#include <stdlib.h>

#include "block/qcow2/check.h"

/* Entry i of a table leads nowhere. Its bits are lost, so they count as set: whoever copies by them
 * copies too much, not too little. */
static int bad_table_entry(Check *c, uint64_t table, uint32_t i, uint64_t entry, const char *why)
{
    bool fix = check_may_fix(c, table + (uint64_t)i * 8, CHECK_BITMAP);
    uint8_t ones[8];

    check_say(c, "%s bitmap table entry %#" PRIx64 ": %s%s", fix ? "Repairing" : "ERROR", entry, why,
              fix ? "; this part of the bitmap counts as dirty from now on" : "");
    c->result->n.corruptions++;
    if (!fix) {
        c->unfixed++;
        return 0;
    }
    c->result->n.corruptions_fixed++;
    store64_be(ones, QCOW2_BITMAP_ALL_ONES);
    return qcow2_pwrite(c->q->file, table + (uint64_t)i * 8, ones, sizeof ones);
}

/* All else has been counted, and the range too: does something else refer to it? */
static bool is_shared(const Check *c, uint64_t host, uint64_t len)
{
    for (uint64_t i = host >> c->q->cluster_bits; len && i <= (host + len - 1) >> c->q->cluster_bits; i++) {
        if (c->refs[i] > 1 || (i < c->uses_clusters && c->uses[i] & ~CHECK_BITMAP)) {
            return true;
        }
    }
    return false;
}

/* A bitmap shares its clusters with nobody. What others refer to, too, is theirs: taken for bits, it would let a backup miss
 * what has changed, and it would be given up with the bitmap. */
static int check_table_shared(Check *c, uint64_t offset, uint32_t entries)
{
    Qcow2 *q = c->q;
    g_autofree uint64_t *table = NULL;
    int ret;

    if (offset & (q->cluster - 1) || entries > QCOW2_MAX_BITMAP_TABLE || !range_fits(offset, (uint64_t)entries * 8, c->file_size)) {
        return 0;
    }
    table = qcow2_load_table(q, offset, entries, 512, &ret);
    for (uint32_t i = 0; table && i < entries && ret >= 0; i++) {
        uint64_t host = table[i] & QCOW2_OFFSET_MASK;

        if (host && !(host & (q->cluster - 1)) && host >> q->cluster_bits < c->count && is_shared(c, host, q->cluster)) {
            g_array_append_val(c->astray, host);
            ret = bad_table_entry(c, offset, i, table[i], "its cluster is used otherwise too");
        }
    }
    return ret;
}

/* The clusters of one bitmap. */
static int count_table(Check *c, uint64_t offset, uint32_t entries)
{
    Qcow2 *q = c->q;
    g_autofree uint64_t *table = NULL;
    int ret;

    if (offset & (q->cluster - 1) || entries > QCOW2_MAX_BITMAP_TABLE) {
        check_say(c, "ERROR bitmap table at %#" PRIx64 " (%u entries): invalid", offset, entries);
        c->result->n.corruptions++;
        return 0;
    }
    ret = check_count(c, offset, (uint64_t)entries * 8);
    if (ret) {
        return ret;
    }
    c->bitmaps_shared |= is_shared(c, offset, (uint64_t)entries * 8);
    table = qcow2_load_table(q, offset, entries, 512, &ret);
    for (uint32_t i = 0; table && i < entries && ret >= 0; i++) {
        uint64_t host = table[i] & QCOW2_OFFSET_MASK;

        if (host & (q->cluster - 1) || table[i] & ~(QCOW2_OFFSET_MASK | QCOW2_BITMAP_ALL_ONES)) {
            ret = bad_table_entry(c, offset, i, table[i], "invalid");
        } else if (host) {
            uint64_t before = c->result->n.corruptions;

            ret = check_count(c, host, q->cluster);
            if (ret > 0) {
                c->result->n.corruptions = before;
                ret = bad_table_entry(c, offset, i, table[i], "invalid");
            }
        }
    }
    return ret;
}

/* Calls fn for each table that the directory names. */
static int each_table(Check *c, const uint8_t *dir, int (*fn)(Check *c, uint64_t offset, uint32_t entries))
{
    const Qcow2Header *h = &c->q->h;
    uint64_t at = 0;
    int ret = 0;

    for (uint32_t i = 0; i < h->bitmap_count && ret >= 0; i++) {
        const uint8_t *e = dir + at;
        uint64_t size = QCOW2_BITMAP_FIXED;

        if (h->bitmap_dir_size - at >= QCOW2_BITMAP_FIXED) {
            size += (uint64_t)load32_be(e + 20) + load16_be(e + 18);
        }
        size = align_up(size, 8);
        if (size > h->bitmap_dir_size - at) {
            return 1;
        }
        ret = fn(c, load64_be(e), load32_be(e + 8));
        at += size;
    }
    return MIN(ret, 0);
}

static int count_all(Check *c)
{
    const Qcow2Header *h = &c->q->h;
    g_autofree uint8_t *dir = g_try_malloc0(h->bitmap_dir_size);
    int ret = dir ? block_pread(c->q->file, h->bitmap_dir_offset, dir, h->bitmap_dir_size) : -ENOMEM;

    ret = ret < 0 ? ret : check_count(c, h->bitmap_dir_offset, h->bitmap_dir_size);
    ret = ret < 0 ? ret : each_table(c, dir, count_table);
    if (ret > 0) {
        check_say(c, "ERROR the bitmap directory is too small for its %u bitmaps", h->bitmap_count);
        c->result->n.corruptions++;
    }
    if (ret < 0 || c->use) {
        return ret;
    }
    /* Of two that share, both are judged before either is no longer counted. */
    c->astray = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    ret = each_table(c, dir, check_table_shared);
    for (unsigned i = 0; i < c->astray->len; i++) {
        c->refs[g_array_index(c->astray, uint64_t, i) >> c->q->cluster_bits]--;
    }
    g_array_unref(c->astray);
    return ret;
}

static int note_place(Check *c, uint64_t offset, uint32_t entries)
{
    uint64_t bytes = (uint64_t)entries * 8;

    c->place_taken |= offset < c->place ? c->place - offset < bytes : offset - c->place < c->place_bytes;
    return 0;
}

bool qcow2_bitmaps_lie_on(Check *c, uint64_t host, uint64_t len)
{
    const Qcow2Header *h = &c->q->h;
    g_autofree uint8_t *dir = h->has_bitmaps ? g_try_malloc0(h->bitmap_dir_size) : NULL;

    if (!dir || block_pread(c->q->file, h->bitmap_dir_offset, dir, h->bitmap_dir_size) < 0) {
        return false;
    }
    c->place = host;
    c->place_bytes = len;
    c->place_taken = false;
    each_table(c, dir, note_place);
    return c->place_taken;
}

int qcow2_bitmaps_count(Check *c)
{
    unsigned around = c->use;
    int ret;

    c->use = around ? CHECK_BITMAP : 0;
    ret = count_all(c);
    c->use = around;
    return MIN(ret, 0);
}
