/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check: the L1 and L2 tables of the disk and of its snapshots.
 */
#include <stdlib.h>

#include "block/qcow2/check.h"

typedef struct Walk {
    Check *c;
    bool active;
    uint64_t l1_host;        /* of the L1 table */
    bool may_fix;            /* entries of l2: errors are to be repaired, and its cluster is nothing but a table */
    uint8_t *l2;
    uint64_t l2_host, guest; /* of the table; of its first cluster */
    bool changed;            /* l2 was */
} Walk;

/* ---- entries -------------------------------------------------------------------------------- */

/* Counts as something else than its surroundings. */
static int count_as(Check *c, unsigned use, uint64_t host, uint64_t len)
{
    unsigned around = c->use;
    int ret;

    c->use = around ? use : 0;
    ret = check_count(c, host, len);
    c->use = around;
    return ret;
}

static void store_entry(Walk *w, unsigned index, uint64_t entry, uint64_t bitmap)
{
    const Qcow2 *q = w->c->q;

    store64_be(w->l2 + (size_t)index * q->entry_size, entry);
    if (q->subs > 1) {
        store64_be(w->l2 + (size_t)index * q->entry_size + 8, bitmap);
    }
    w->changed = true;
}

/* An entry that leads nowhere. */
static void bad_entry(Walk *w, unsigned index, const char *why, uint64_t entry)
{
    Check *c = w->c;
    const Qcow2 *q = c->q;
    bool fix = w->may_fix && w->active;
    const char *now = q->h.version >= 3 || !q->h.backing_file ? "; the cluster reads as zeros from now on"
                                                              : "; the cluster is the backing file's from now on";

    check_say(c, "%s guest offset %#" PRIx64 ": L2 entry %#" PRIx64 " %s%s",
              fix ? "Repairing" : "ERROR", w->guest + ((uint64_t)index << q->cluster_bits), entry,
              why, fix ? now : "");
    c->result->n.corruptions++;
    if (!fix) {
        c->unfixed++;
        c->lost = true;
        return;
    }
    c->result->n.corruptions_fixed++;
    if (q->subs > 1) {
        store_entry(w, index, 0, UINT64_C(0xffffffff) << 32);
    } else {
        store_entry(w, index, q->h.version >= 3 ? QCOW2_ZERO : 0, 0);
    }
}

/* Reserved bits: nobody reads them, so the entry leads where it led without them. */
static uint64_t drop_reserved(Check *c, uint64_t entry, uint64_t reserved, const char *table, bool fix)
{
    if (!(entry & reserved)) {
        return entry;
    }
    check_say(c, "%s %s entry with reserved bits set: %#" PRIx64, fix ? "Repairing" : "ERROR", table, entry);
    c->result->n.corruptions++;
    c->result->n.corruptions_fixed += fix;
    c->unfixed += !fix;
    return entry & ~reserved;
}

/* An entry of an image with external data file: does it lead anywhere but to own, or to nothing where subclusters say that
 * there is something? (A packed cluster can be none; what it was is only plain where all but its flag is right, or the data
 * file is the disk.) */
static bool is_astray(const Qcow2 *q, uint64_t entry, uint64_t bitmap, uint64_t own)
{
    uint64_t place = entry & (QCOW2_OFFSET_MASK | QCOW2_COPIED);

    if (entry & QCOW2_COMPRESSED) {
        return qcow2_data_file_is_raw(&q->h) || place == own;
    }
    if (q->subs == 1 && entry & QCOW2_ZERO && !(entry & QCOW2_OFFSET_MASK)) {
        return false;
    }
    return place ? (place | QCOW2_COPIED) != own : q->subs > 1 && (uint32_t)bitmap;
}

/* In an external data file a cluster of the disk has no place but its own, so an entry that leads elsewhere (which reads
 * refuse, as QEMU's do) is put right without loss. The entry from here on. */
static uint64_t check_data_file_place(Walk *w, unsigned index, uint64_t entry, uint64_t *bitmap)
{
    Check *c = w->c;
    const Qcow2 *q = c->q;
    uint64_t guest = w->guest + ((uint64_t)index << q->cluster_bits), own = QCOW2_COPIED | guest;

    if (!is_astray(q, entry, *bitmap, own)) {
        return entry;
    }
    check_say(c, "%s guest offset %#" PRIx64 ": L2 entry %#" PRIx64 " does not lead to the same offset of the external data file",
              w->may_fix ? "Repairing" : "ERROR", guest, entry);
    c->result->n.corruptions++;
    if (entry & QCOW2_COMPRESSED) {
        *bitmap = UINT32_MAX;
    } else if (q->subs == 1) {
        own |= entry & QCOW2_ZERO;
    }
    if (w->may_fix) {
        c->result->n.corruptions_fixed++;
        store_entry(w, index, own, *bitmap);
    } else {
        c->unfixed++;
    }
    return own;
}

static int check_compressed(Walk *w, unsigned index, uint64_t entry)
{
    Check *c = w->c;
    uint64_t host, before = c->result->n.corruptions;
    uint32_t len;
    int ret;

    if (c->q->data != c->q->file) {
        bad_entry(w, index, "is compressed, with an external data file", entry);
        return 0;
    }
    if (entry & QCOW2_COPIED) {
        check_say(c, "%s: COPIED must never be set for compressed clusters (%#" PRIx64 ")",
                  w->may_fix ? "Repairing" : "ERROR", entry);
        c->result->n.corruptions++;
        entry &= ~QCOW2_COPIED;
        if (w->may_fix) {
            c->result->n.corruptions_fixed++;
            store_entry(w, index, entry, 0);
        } else {
            c->unfixed++;
        }
    }
    map_compressed(c->q, entry, &host, &len);
    before = c->result->n.corruptions;
    ret = count_as(c, CHECK_DATA, host, len);
    if (ret > 0) {
        c->result->n.corruptions = before;
        bad_entry(w, index, "leads beyond the end of the file", entry);
        return 0;
    }
    c->result->n.allocated_clusters += w->active;
    c->result->n.compressed_clusters += w->active;
    c->result->n.fragmented_clusters += w->active;
    return ret;
}

static void misaligned(Walk *w, unsigned index, uint64_t entry)
{
    Check *c = w->c;

    if (c->q->subs > 1 || c->q->h.version < 3 || !(entry & QCOW2_ZERO) || !w->may_fix) {
        bad_entry(w, index, "is not cluster aligned", entry);
        return;
    }
    /* Zeros with or without a cluster: snapshots lose nothing, either. */
    check_say(c, "Repairing guest offset %#" PRIx64 ": L2 entry %#" PRIx64 " is zeros in a cluster that is not aligned;"
              " the cluster is given up", w->guest + ((uint64_t)index << c->q->cluster_bits), entry);
    c->result->n.corruptions++;
    c->result->n.corruptions_fixed++;
    store_entry(w, index, QCOW2_ZERO, 0);
}

static int check_normal(Walk *w, unsigned index, uint64_t entry, uint64_t bitmap)
{
    Check *c = w->c;
    Qcow2 *q = c->q;
    uint64_t host = entry & QCOW2_OFFSET_MASK, before = c->result->n.corruptions;
    int ret;

    if (q->subs > 1 && (uint32_t)bitmap & (uint32_t)(bitmap >> 32)) {
        bad_entry(w, index, "has subclusters that are allocated and zero", entry);
        return 0;
    }
    if (!host && !(q->data != q->file && entry & QCOW2_COPIED)) {
        if (q->subs > 1 && (uint32_t)bitmap) {
            bad_entry(w, index, "has allocated subclusters without a cluster", entry);
        }
        return 0;
    }
    if (host & (q->cluster - 1)) {
        misaligned(w, index, entry);
        return 0;
    }
    if (w->active) {
        c->result->n.allocated_clusters++;
        if (c->next_host && host != c->next_host) {
            c->result->n.fragmented_clusters++;
        }
        c->next_host = host + q->cluster;
    }
    if (q->data != q->file) {
        return 0;
    }
    ret = count_as(c, CHECK_DATA, host, q->cluster);
    if (ret > 0) {
        c->result->n.corruptions = before;
        bad_entry(w, index, "leads beyond the end of the file", entry);
        return 0;
    }
    return ret;
}

static int check_l2(Walk *w)
{
    Check *c = w->c;
    const Qcow2 *q = c->q;
    int ret = 0;

    c->next_host = 0; /* as qemu-img counts: from table to table is no fragmentation */
    for (unsigned i = 0; i < 1u << q->l2_bits && ret >= 0; i++) {
        uint64_t entry = load64_be(w->l2 + (size_t)i * q->entry_size);
        uint64_t bitmap = q->subs > 1 ? load64_be(w->l2 + (size_t)i * q->entry_size + 8) : 0;

        if (!entry && !bitmap) {
            continue;
        }
        if (q->data != q->file) {
            entry = check_data_file_place(w, i, entry, &bitmap);
        }
        if (!(entry & QCOW2_COMPRESSED)) {
            uint64_t clean = drop_reserved(c, entry, QCOW2_L2_RESERVED, "L2", w->may_fix);

            if (clean != entry && w->may_fix) {
                store_entry(w, i, clean, bitmap);
            }
            entry = clean;
        }
        ret = entry & QCOW2_COMPRESSED ? check_compressed(w, i, entry)
                                       : check_normal(w, i, entry, bitmap);
    }
    return ret;
}

/* ---- L1 ------------------------------------------------------------------------------------- */

static int flush_l2(Walk *w)
{
    Qcow2 *q = w->c->q;

    if (!w->changed) {
        return 0;
    }
    w->changed = false;
    table_forget(&q->l2, w->l2_host, q->cluster);
    return qcow2_pwrite(q->file, w->l2_host, w->l2, q->cluster);
}

static int store_l1_entry(Walk *w, uint64_t entry, uint32_t index)
{
    Check *c = w->c;
    uint8_t bytes[8];

    if (w->active) {
        l1_set(c->q, index, entry);
        c->l1_changed = true;
        return 0;
    }
    store64_be(bytes, entry);
    return qcow2_pwrite(c->q->file, w->l1_host + (uint64_t)index * 8, bytes, sizeof bytes);
}

/* 1: the entry leads to no table. */
static int check_l1_entry(Walk *w, uint64_t entry, uint32_t index)
{
    Check *c = w->c;
    Qcow2 *q = c->q;
    uint64_t before = c->result->n.corruptions;
    int ret;

    w->l2_host = entry & QCOW2_OFFSET_MASK;
    w->guest = (uint64_t)index << (q->cluster_bits + q->l2_bits);
    if (w->l2_host & (q->cluster - 1) || !w->l2_host) {
        check_say(c, "ERROR L2 table offset %#" PRIx64 ": table is not cluster aligned; L1 entry %u "
                  "corrupted", w->l2_host, index);
        c->result->n.corruptions++;
        return 1;
    }
    ret = count_as(c, CHECK_L2, w->l2_host, q->cluster);
    if (ret != 0) {
        c->result->n.corruptions = ret > 0 ? before + 1 : before;
        return ret;
    }
    w->may_fix = check_may_fix(c, w->l2_host, CHECK_L2);
    ret = block_pread(q->file, w->l2_host, w->l2, q->cluster);
    ret = ret < 0 ? ret : check_l2(w);
    return ret < 0 ? ret : flush_l2(w);
}

static int check_l1(Check *c, uint64_t host, uint64_t *l1, uint32_t size, bool active)
{
    Walk w = {.c = c, .active = active, .l1_host = host, .l2 = g_malloc(c->q->cluster)};
    bool fix = c->fix & BLOCK_FIX_ERRORS;
    int ret = 0;

    for (uint32_t i = 0; i < size && ret >= 0; i++) {
        bool may_fix = active ? fix : check_may_fix(c, host + (uint64_t)i * 8, CHECK_META);
        uint64_t entry = drop_reserved(c, l1[i], QCOW2_L1_RESERVED, "L1", may_fix);

        if (entry != l1[i] && may_fix) {
            ret = store_l1_entry(&w, entry, i);
        }
        if (!entry || ret < 0) {
            continue;
        }
        ret = check_l1_entry(&w, entry, i);
        if (ret > 0 && active && fix) {
            check_say(c, "Repairing L1 entry %u: cleared", i);
            l1_set(c->q, i, 0);
            c->l1_changed = true;
            c->result->n.corruptions_fixed++;
        } else if (ret > 0) {
            c->unfixed++;
            c->lost = true;
        }
    }
    g_free(w.l2);
    return ret < 0 ? ret : 0;
}

static int write_l1(Check *c)
{
    Qcow2 *q = c->q;
    g_autofree uint64_t *disk = g_new0(uint64_t, q->l1_size + 1);

    if (!c->l1_changed) {
        return 0;
    }
    c->l1_changed = false;
    for (uint32_t i = 0; i < q->l1_size; i++) {
        disk[i] = GUINT64_TO_BE(q->l1[i]);
    }
    dirty_parts_init(&q->l1_dirty, q->l1_size, qcow2_part_bytes(q));
    return qcow2_pwrite(q->file, q->h.l1_offset, disk, (uint64_t)q->l1_size * 8);
}

int check_active(Check *c)
{
    Qcow2 *q = c->q;
    int ret = c->l1_astray ? 1 : check_count(c, q->h.l1_offset, (uint64_t)q->l1_size * 8);

    c->next_host = 0;
    c->l1_lost = ret > 0;
    if (c->l1_lost) {
        c->unfixed++;
        c->lost = true;
        return 0;
    }
    ret = ret < 0 ? ret : check_l1(c, q->h.l1_offset, q->l1, q->l1_size, true);
    return ret < 0 ? ret : write_l1(c);
}

int check_snapshots(Check *c)
{
    Qcow2 *q = c->q;
    int ret = 0;

    for (unsigned i = 0; i < q->snapshots->len && ret >= 0; i++) {
        const Qcow2Snapshot *s = g_ptr_array_index(q->snapshots, i);
        g_autofree uint64_t *l1 = NULL;

        if (!s->l1_size) {
            continue;
        }
        if (s->l1_offset & (q->cluster - 1) || s->l1_size > QCOW2_MAX_L1_BYTES / 8) {
            check_say(c, "ERROR snapshot %s (%s) l1_offset=%#" PRIx64 " l1_size=%u: L1 table is not "
                      "cluster aligned or too large; snapshot table entry corrupted", s->id, s->name,
                      s->l1_offset, s->l1_size);
            c->result->n.corruptions++;
            c->unfixed++;
            c->lost = true;
            continue;
        }
        ret = s->l1_astray ? 1 : check_count(c, s->l1_offset, (uint64_t)s->l1_size * 8);
        if (ret) {
            c->unfixed++;
            c->lost = true;
            continue;
        }
        l1 = qcow2_load_table(q, s->l1_offset, s->l1_size, 512, &ret);
        ret = l1 ? check_l1(c, s->l1_offset, l1, s->l1_size, false) : ret;
    }
    return ret < 0 ? ret : 0;
}

/* ---- COPIED --------------------------------------------------------------------------------- */

/* 1: the flag of entry is wrong. data_file: it leads to the external data file, where nothing is shared. */
static int copied_is_wrong(Check *c, uint64_t entry, bool data_file, const char *what)
{
    Qcow2 *q = c->q;
    int error = 0;
    uint64_t count = data_file ? 1 : refcount_sync(q, (entry & QCOW2_OFFSET_MASK) >> q->cluster_bits, &error);

    if (error) {
        return error;
    }
    if ((count == 1) == !!(entry & QCOW2_COPIED)) {
        return 0;
    }
    check_say(c, "%s COPIED flag of %s: entry=%" PRIx64 " refcount=%" PRIu64,
              c->fix_flags ? "Repairing" : "ERROR", what, entry, count);
    c->result->n.corruptions++;
    c->result->n.corruptions_fixed += c->fix_flags;
    return 1;
}

static int copied_l2(Walk *w)
{
    Check *c = w->c;
    const Qcow2 *q = c->q;
    bool data_file = q->data != q->file;

    for (unsigned i = 0; i < 1u << q->l2_bits; i++) {
        uint64_t entry = load64_be(w->l2 + (size_t)i * q->entry_size);
        uint64_t bitmap = q->subs > 1 ? load64_be(w->l2 + (size_t)i * q->entry_size + 8) : 0;
        int ret;

        if (entry & QCOW2_COMPRESSED || !(entry & QCOW2_OFFSET_MASK) ||
            (entry & QCOW2_OFFSET_MASK) & (q->cluster - 1)) {
            continue;
        }
        ret = copied_is_wrong(c, entry, data_file, "data cluster");
        if (ret < 0) {
            return ret;
        }
        if (ret && c->fix_flags) {
            store_entry(w, i, entry ^ QCOW2_COPIED, bitmap);
        }
    }
    return flush_l2(w);
}

int check_copied(Check *c)
{
    Qcow2 *q = c->q;
    const BlockCheck *n = &c->result->n;
    Walk w = {.c = c, .active = true, .l2 = g_malloc(q->cluster)};
    bool fix;
    int ret = 0;

    if (c->l1_lost) {
        g_free(w.l2);
        return 0;
    }
    /* Who asked for leaks only gets the flags too, when nothing says that the refcounts are wrong. */
    c->fix_flags = c->fix & BLOCK_FIX_ERRORS ||
                   (c->fix && !n->corruptions && !n->check_errors && n->leaks == n->leaks_fixed);
    fix = c->fix_flags;
    for (uint32_t i = 0; i < q->l1_size && ret >= 0; i++) {
        w.l2_host = q->l1[i] & QCOW2_OFFSET_MASK;
        if (!w.l2_host || w.l2_host & (q->cluster - 1) || w.l2_host >= c->file_size) {
            continue;
        }
        ret = copied_is_wrong(c, q->l1[i], false, "L2 table");
        if (ret > 0 && c->fix_flags) {
            q->l1[i] ^= QCOW2_COPIED;
            c->l1_changed = true;
        }
        /* (In what is some other table, too, a flag is not to be put right.) */
        c->fix_flags = fix && (!c->uses || check_may_fix(c, w.l2_host, CHECK_L2 | CHECK_DATA));
        ret = ret < 0 ? ret : block_pread(q->file, w.l2_host, w.l2, q->cluster);
        ret = ret < 0 ? ret : copied_l2(&w);
        c->fix_flags = fix;
    }
    g_free(w.l2);
    return ret < 0 ? ret : write_l1(c);
}
