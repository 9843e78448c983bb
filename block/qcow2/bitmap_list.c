/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Persistent dirty bitmaps: in memory while the image is open for writing.
 *
 * Opening for writing marks all of them "in use" in the directory before anything is written; closing
 * writes those that changed to new clusters, then a new directory, then the header that names it, and
 * only then gives the old clusters up. So whoever finds a bitmap in use knows that it missed
 * something: it is kept as it is and can only be removed.
 */
#include <stdlib.h>

#include "block/dirty_bitmap.h"
#include "block/qcow2/qcow2.h"
#include "util/log.h"

#define TYPE_DIRTY_TRACKING 1
#define MIN_GRANULARITY_BITS 9
#define MAX_GRANULARITY_BITS 31

/* ---- one bitmap ----------------------------------------------------------------------------- */

static uint64_t table_entries(const Qcow2 *q, const DirtyBitmap *b)
{
    return (block_dirty_bitmap_bytes(b) + q->cluster - 1) >> q->cluster_bits;
}

void qcow2_bitmap_free(void *opaque)
{
    Qcow2Bitmap *stored = opaque;

    if (stored) {
        g_free(stored->extra);
        g_free(stored);
    }
}

/* The i-th of node's bitmaps in the order of the file, if it is one that belongs there. */
static DirtyBitmap *bitmap_at(const Qcow2 *q, unsigned i)
{
    GPtrArray *all = q->node->bitmaps;
    DirtyBitmap *b = g_ptr_array_index(all, all->len - 1 - i);

    return b->persistent ? b : NULL;
}

static unsigned bitmap_count(const Qcow2 *q)
{
    return q->node->bitmaps ? q->node->bitmaps->len : 0;
}

bool qcow2_has_bitmaps(const Qcow2 *q)
{
    for (unsigned i = 0; i < bitmap_count(q); i++) {
        if (bitmap_at(q, i)) {
            return true;
        }
    }
    return q->h.has_bitmaps;
}

void qcow2_bitmaps_clear(Qcow2 *q)
{
    for (unsigned i = bitmap_count(q); i-- > 0;) {
        DirtyBitmap *b = bitmap_at(q, i);

        if (b) {
            qcow2_bitmap_free(b->stored);
            block_dirty_bitmap_free(b);
        }
    }
    g_ptr_array_set_size(q->bitmaps_removed, 0);
}

/* ---- loading -------------------------------------------------------------------------------- */

/* What a bitmap has is given up when it is stored anew, so it must not be what the disk lives on. */
static bool is_metadata(const Qcow2 *q, uint64_t host, uint64_t len)
{
    for (uint64_t at = 0; at < len; at += q->cluster) {
        if (meta_kind(q, host + at)) {
            return true;
        }
    }
    return false;
}

static int load_bits(Qcow2 *q, DirtyBitmap *b)
{
    const Qcow2Bitmap *stored = b->stored;
    g_autofree uint64_t *table = NULL;
    uint64_t bytes = block_dirty_bitmap_bytes(b);
    bool lost = false;
    int ret;

    if (table_entries(q, b) != stored->table_entries ||
        !range_fits(stored->table_offset, (uint64_t)stored->table_entries * 8, q->file->size) ||
        is_metadata(q, stored->table_offset, (uint64_t)stored->table_entries * 8)) {
        return -EINVAL;
    }
    table = qcow2_load_table(q, stored->table_offset, stored->table_entries, 512, &ret);
    for (uint32_t i = 0; table && i < stored->table_entries && ret >= 0; i++) {
        uint64_t at = (uint64_t)i << q->cluster_bits, len = MIN(q->cluster, bytes - at);
        uint64_t host = table[i] & QCOW2_OFFSET_MASK;

        if (host & (q->cluster - 1) || table[i] & ~(QCOW2_OFFSET_MASK | QCOW2_BITMAP_ALL_ONES) ||
            (host && is_metadata(q, host, 1))) {
            ret = -EINVAL;
        } else if (host && !range_fits(host, len, q->file->size)) {
            /* Its bits are lost: whoever copies by them copies too much, not too little. */
            report_warning("qcow2: a part of the bitmap '%s' lies beyond the end of the file; all of it counts as dirty", b->name);
            memset(b->bits + at, 0xff, len);
            lost = true;
        } else if (host) {
            ret = block_pread(q->file, host, b->bits + at, len);
        } else if (table[i] & QCOW2_BITMAP_ALL_ONES) {
            memset(b->bits + at, 0xff, len);
        }
    }
    b->changed = lost;
    return ret;
}

/* The entry e, of size bytes; NULL: it is invalid. */
static DirtyBitmap *load_entry(Qcow2 *q, const uint8_t *e)
{
    uint32_t flags = load32_be(e + 12), extra = load32_be(e + 20);
    unsigned name_size = load16_be(e + 18), bits = e[17];
    g_autofree char *name = g_strndup((const char *)e + QCOW2_BITMAP_FIXED + extra, name_size);
    Qcow2Bitmap *stored;
    DirtyBitmap *b;

    if (e[16] != TYPE_DIRTY_TRACKING || bits < MIN_GRANULARITY_BITS || bits > MAX_GRANULARITY_BITS ||
        load64_be(e) & (q->cluster - 1) || !*name || name_size > BLOCK_BITMAP_MAX_NAME ||
        flags & ~(QCOW2_BITMAP_IN_USE | QCOW2_BITMAP_AUTO | QCOW2_BITMAP_EXTRA_COMPATIBLE) ||
        (extra && !(flags & QCOW2_BITMAP_EXTRA_COMPATIBLE)) || block_dirty_bitmap_find(q->node, name) ||
        !(b = block_dirty_bitmap_restore(q->node, name, bits))) {
        return NULL;
    }
    stored = g_new0(Qcow2Bitmap, 1);
    stored->table_offset = load64_be(e);
    stored->table_entries = load32_be(e + 8);
    stored->flags = flags;
    stored->name_size = (uint16_t)name_size;
    stored->extra_size = extra;
    stored->extra = g_memdup2(e + QCOW2_BITMAP_FIXED, extra);
    b->stored = stored;
    b->persistent = true;
    if (flags & QCOW2_BITMAP_IN_USE) {
        free(b->bits);
        b->bits = NULL;
    }
    return b;
}

static uint32_t stored_flags(const DirtyBitmap *b)
{
    return b->stored ? ((const Qcow2Bitmap *)b->stored)->flags : 0;
}

bool qcow2_bitmaps_load(Qcow2 *q, GError **err)
{
    const Qcow2Header *h = &q->h;
    g_autofree uint8_t *dir = NULL;
    uint64_t at = 0;

    if (!h->has_bitmaps) {
        return true;
    }
    dir = range_fits(h->bitmap_dir_offset, h->bitmap_dir_size, q->file->size)
              ? g_try_malloc0(h->bitmap_dir_size + 1)
              : NULL;
    if (!dir || block_pread(q->file, h->bitmap_dir_offset, dir, h->bitmap_dir_size) < 0) {
        return error_set(err, "qcow2: could not read the bitmap directory");
    }
    for (uint32_t i = 0; i < h->bitmap_count; i++) {
        uint64_t left = h->bitmap_dir_size - at, size = QCOW2_BITMAP_FIXED;
        DirtyBitmap *b;

        if (left >= size) {
            size = align_up(size + load32_be(dir + at + 20) + load16_be(dir + at + 18), 8);
        }
        b = left >= size ? load_entry(q, dir + at) : NULL;
        if (!b) {
            return error_set(err, "qcow2: entry %u of the bitmap directory is invalid", i);
        }
        if (b->bits && load_bits(q, b) < 0) {
            return error_set(err, "qcow2: the table of the bitmap '%s' is invalid", b->name);
        }
        block_dirty_bitmap_set_enabled(b, stored_flags(b) & QCOW2_BITMAP_AUTO, NULL);
        at += size;
    }
    return true;
}

/* ---- storing -------------------------------------------------------------------------------- */

static bool all_are(const uint8_t *p, uint64_t len, uint8_t value)
{
    return !len || (p[0] == value && !memcmp(p, p + 1, len - 1));
}

/* The table and what it names: given up at the next cycle. */
static int drop_stored(Qcow2 *q, uint64_t offset, uint32_t entries)
{
    g_autofree uint64_t *table = NULL;
    int ret;

    table = qcow2_load_table(q, offset, entries, 512, &ret);
    for (uint32_t i = 0; table && i < entries; i++) {
        if (table[i] & QCOW2_OFFSET_MASK) {
            drop_clusters(q, table[i] & QCOW2_OFFSET_MASK, 1, DROP_OTHER);
        }
    }
    if (table && entries) {
        drop_clusters(q, offset, ((uint64_t)entries * 8 + q->cluster - 1) >> q->cluster_bits, DROP_OTHER);
    }
    return ret;
}

/* Writes the bits to new clusters; *s tells where. */
static int store_bits(Qcow2 *q, const DirtyBitmap *b, Qcow2Bitmap *s)
{
    uint64_t entries = table_entries(q, b), host, bytes = block_dirty_bitmap_bytes(b);
    g_autofree uint64_t *table = g_new0(uint64_t, entries + 1);
    g_autofree uint8_t *buf = g_malloc0(q->cluster);
    int ret = 0;

    for (uint64_t i = 0; i < entries && ret >= 0; i++) {
        uint64_t at = i << q->cluster_bits, len = MIN(q->cluster, bytes - at);

        if (all_are(b->bits + at, len, 0)) {
            continue;
        }
        ret = alloc_contiguous(q, 1, &host);
        if (ret >= 0) {
            memcpy(buf, b->bits + at, len);
            memset(buf + len, 0, q->cluster - len);
            ret = qcow2_pwrite(q->file, host, buf, q->cluster);
            table[i] = GUINT64_TO_BE(host);
        }
    }
    s->table_offset = 0;
    s->table_entries = (uint32_t)entries;
    if (ret >= 0 && entries) {
        ret = alloc_contiguous(q, (entries * 8 + q->cluster - 1) >> q->cluster_bits, &s->table_offset);
        ret = ret < 0 ? ret : qcow2_pwrite(q->file, s->table_offset, table, entries * 8);
    }
    return ret;
}

/* in_use: those that were in the file before, as whoever finds them after a crash shall see them. */
static GByteArray *directory(const Qcow2 *q, bool in_use, unsigned *count)
{
    GByteArray *dir = g_byte_array_new();

    *count = 0;
    for (unsigned i = 0; i < bitmap_count(q); i++) {
        const DirtyBitmap *b = bitmap_at(q, i);
        const Qcow2Bitmap *s = b ? b->stored : NULL;
        uint8_t fixed[QCOW2_BITMAP_FIXED];
        uint32_t flags, name, name_size, start = dir->len, end;

        if (!s) {
            continue;
        }
        flags = (s->flags & QCOW2_BITMAP_EXTRA_COMPATIBLE) |
                (in_use || !b->bits ? QCOW2_BITMAP_IN_USE : 0) | (b->enabled ? QCOW2_BITMAP_AUTO : 0);
        store64_be(fixed, s->table_offset);
        store32_be(fixed + 8, s->table_entries);
        store32_be(fixed + 12, flags);
        fixed[16] = TYPE_DIRTY_TRACKING;
        fixed[17] = b->granularity_bits;
        name = (uint32_t)strlen(b->name);
        name_size = MAX(name, s->name_size);
        store16_be(fixed + 18, (uint16_t)name_size);
        store32_be(fixed + 20, s->extra_size);
        g_byte_array_append(dir, fixed, sizeof fixed);
        g_byte_array_append(dir, s->extra, s->extra_size);
        g_byte_array_append(dir, (const uint8_t *)b->name, name);
        end = dir->len;
        g_byte_array_set_size(dir, (guint)(start + align_up(sizeof fixed + s->extra_size + name_size, 8)));
        memset(dir->data + end, 0, dir->len - end);
        ++*count;
    }
    return dir;
}

/* Writes the directory anew and switches the header to it. */
static int switch_directory(Qcow2 *q)
{
    Qcow2Header *h = &q->h, old = q->h;
    unsigned count;
    GByteArray *dir = directory(q, false, &count);
    uint64_t offset = 0;
    int ret = 0;

    if (dir->len) {
        ret = alloc_contiguous(q, (dir->len + q->cluster - 1) >> q->cluster_bits, &offset);
        ret = ret < 0 ? ret : qcow2_pwrite(q->file, offset, dir->data, dir->len);
    }
    ret = ret < 0 ? ret : qcow2_sync_all(q);
    if (ret >= 0) {
        h->has_bitmaps = dir->len;
        h->bitmap_count = count;
        h->bitmap_dir_size = dir->len;
        h->bitmap_dir_offset = offset;
        h->autoclear = dir->len ? h->autoclear | QCOW2_AUTOCLEAR_BITMAPS
                                : h->autoclear & ~QCOW2_AUTOCLEAR_BITMAPS;
        ret = qcow2_write_header(q, NULL);
    }
    if (ret < 0) {
        h->has_bitmaps = old.has_bitmaps;
        h->bitmap_count = old.bitmap_count;
        h->bitmap_dir_size = old.bitmap_dir_size;
        h->bitmap_dir_offset = old.bitmap_dir_offset;
        h->autoclear = old.autoclear;
    } else {
        if (old.has_bitmaps) {
            meta_remove(q, old.bitmap_dir_offset, old.bitmap_dir_size);
            drop_clusters(q, old.bitmap_dir_offset,
                          (old.bitmap_dir_size + q->cluster - 1) >> q->cluster_bits, DROP_OTHER);
        }
        if (dir->len) {
            meta_add(q, offset, dir->len, QCOW2_OVERLAP_BITMAPS);
        }
    }
    g_byte_array_unref(dir);
    return ret;
}

/* In place: nothing but a flag of each entry changes, so it is a directory however far this gets. */
static int mark_in_use(Qcow2 *q)
{
    unsigned count;
    GByteArray *dir = directory(q, true, &count);
    int ret = -EINVAL;

    if (dir->len == q->h.bitmap_dir_size && count == q->h.bitmap_count) {
        ret = qcow2_pwrite(q->file, q->h.bitmap_dir_offset, dir->data, dir->len);
        ret = ret < 0 ? ret : block_pflush(q->file);
    }
    g_byte_array_unref(dir);
    return ret;
}

int qcow2_bitmaps_begin(Qcow2 *q)
{
    bool usable = false;

    for (unsigned i = 0; i < bitmap_count(q); i++) {
        const DirtyBitmap *b = bitmap_at(q, i);

        usable |= b && b->bits && b->stored;
    }
    return usable ? mark_in_use(q) : 0;
}

/* Writes those bitmaps that changed to new places. old: what they had before. */
static int store_changed(Qcow2 *q, GPtrArray *old, bool *any)
{
    int ret = 0;

    for (unsigned i = 0; i < bitmap_count(q) && ret >= 0; i++) {
        DirtyBitmap *b = bitmap_at(q, i);
        Qcow2Bitmap *fresh;

        *any |= b && b->bits;
        if (!b || !b->bits || (b->stored && !b->changed)) {
            continue;
        }
        fresh = g_new0(Qcow2Bitmap, 1);
        ret = store_bits(q, b, fresh);
        if (ret < 0) {
            g_free(fresh);
            break;
        }
        if (b->stored) {
            Qcow2Bitmap *before = b->stored;

            fresh->flags = before->flags;
            fresh->extra = g_steal_pointer(&before->extra);
            fresh->extra_size = before->extra_size;
            g_ptr_array_add(old, before);
        }
        b->stored = fresh;
        b->changed = false;
    }
    return ret;
}

static int drop_all(Qcow2 *q, GPtrArray *list)
{
    int ret = 0;

    for (unsigned i = 0; ret >= 0 && i < list->len; i++) {
        const Qcow2Bitmap *s = g_ptr_array_index(list, i);

        ret = s->table_offset ? drop_stored(q, s->table_offset, s->table_entries) : 0;
    }
    g_ptr_array_set_size(list, 0);
    return ret;
}

int qcow2_bitmaps_drop(Qcow2 *q)
{
    Qcow2Header before = q->h;
    int ret;

    qcow2_bitmaps_clear(q);
    q->h.has_bitmaps = q->h.bitmaps_lost = false;
    q->h.autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
    ret = qcow2_write_header(q, NULL);
    if (ret < 0) {
        q->h.has_bitmaps = before.has_bitmaps;
        q->h.bitmaps_lost = before.bitmaps_lost;
        q->h.autoclear = before.autoclear;
    }
    return ret;
}

int qcow2_bitmaps_store(Qcow2 *q)
{
    g_autoptr(GPtrArray) old = g_ptr_array_new_with_free_func(qcow2_bitmap_free);
    bool any = q->bitmaps_changed;
    int ret = store_changed(q, old, &any);

    ret = ret < 0 || !any ? ret : switch_directory(q);
    if (ret < 0) {
        return ret; /* what the file had stays, in use; the old clusters leak */
    }
    q->bitmaps_changed = false;
    ret = drop_all(q, old);
    return ret < 0 ? ret : drop_all(q, q->bitmaps_removed);
}

/* ---- what users do with them ------------------------------------------------------------------ */

bool qcow2_bitmap_can_store(Qcow2 *q, const char *name, GError **err)
{
    unsigned n = 1;

    for (unsigned i = 0; i < bitmap_count(q); i++) {
        n += bitmap_at(q, i) != NULL;
    }
    if (q->h.version < 3) {
        return error_set(err, "Can't make bitmap '%s' persistent in '%s': Cannot store dirty bitmaps in "
                              "qcow2 v2 files (amend it to compat=1.1)",
                         name, q->node->name);
    }
    return n <= QCOW2_MAX_BITMAPS ||
           error_set(err, "'%s' has %u bitmaps already: no more fit", q->node->name, QCOW2_MAX_BITMAPS);
}

void qcow2_bitmap_forget(Qcow2 *q, DirtyBitmap *b)
{
    if (b->stored) {
        g_ptr_array_add(q->bitmaps_removed, g_steal_pointer(&b->stored));
        q->bitmaps_changed = true;
    }
}

json_object *qcow2_bitmaps_info(const Qcow2 *q)
{
    json_object *list = json_object_new_array();

    for (unsigned i = 0; i < bitmap_count(q); i++) {
        const DirtyBitmap *b = bitmap_at(q, i);
        json_object *one, *flags;

        if (!b || !b->stored) {
            continue;
        }
        one = json_object_new_object();
        flags = json_object_new_array();
        if (!b->bits || !q->read_only) {
            json_object_array_add(flags, json_object_new_string("in-use"));
        }
        if (b->enabled) {
            json_object_array_add(flags, json_object_new_string("auto"));
        }
        json_object_object_add(one, "flags", flags);
        json_object_object_add(one, "name", json_object_new_string(b->name));
        json_object_object_add(one, "granularity",
                               json_object_new_int64(INT64_C(1) << b->granularity_bits));
        json_object_array_add(list, one);
    }
    return list;
}
