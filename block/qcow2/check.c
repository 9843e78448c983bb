/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check and repair. All references are counted from the tables in the file (the gate is closed and
 * everything is written out), compared with the refcounts, and put right on request:
 *
 * - a refcount that is too high is a leak; one that is too low is an error: the next allocation
 *   would hand out a cluster in use;
 * - an L2 or L1 entry that cannot be (unaligned, beyond the file) is an error; repairing it makes
 *   the cluster read as zeros (or as the backing file in v2), since its data cannot be found;
 * - the COPIED flag must be there exactly where the refcount is 1;
 * - while an L1 table lies on something else (check_places.c), nothing is repaired;
 * - while a table or an entry that leads nowhere stays so (-r leaks, snapshots), nothing is given up: what seems leaked may be
 *   what it led to, and an offset put right by hand makes it whole;
 * - refcount blocks that cannot be trusted are not patched: the whole structure is written anew
 *   behind the end of the file, and the header is switched to it.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "block/qcow2/check.h"

#define MAX_PASSES 5

/* ---- reports -------------------------------------------------------------------------------- */

void check_say(Check *c, const char *fmt, ...)
{
    va_list ap;

    if (!c->result->say) {
        return;
    }
    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    c->result->say(c->result->opaque, line);
}

/* ---- counting ------------------------------------------------------------------------------- */

static int want_clusters(Check *c, uint64_t count)
{
    uint64_t room = MAX(c->room, 1024);
    uint32_t *bigger;

    if (count <= c->count) {
        return 0;
    }
    if (count > c->room) {
        while (room < count) {
            room *= 2;
        }
        bigger = g_try_realloc_n(c->refs, room, sizeof *bigger);
        if (!bigger) {
            c->result->n.check_errors++;
            return -ENOMEM;
        }
        memset(bigger + c->room, 0, (room - c->room) * sizeof *bigger);
        c->refs = bigger;
        c->room = room;
    }
    c->count = count;
    return 0;
}

static void forget_counts(Check *c)
{
    memset(c->refs, 0, c->room * sizeof *c->refs);
    c->count = 0;
}

int check_count(Check *c, uint64_t host, uint64_t len)
{
    const Qcow2 *q = c->q;
    uint64_t last;

    if (!len) {
        return 0;
    }
    if (!range_fits(host, len, QCOW2_OFFSET_MASK) ||
        align_down(host + len - 1, q->cluster) >= align_up(c->file_size, q->cluster)) {
        check_say(c, "ERROR: a reference to [%#" PRIx64 ", %#" PRIx64 ") exceeds the end of the file"
                  " (%#" PRIx64 ")", host, host + len, c->file_size);
        c->result->n.corruptions++;
        return 1;
    }
    last = (host + len - 1) >> q->cluster_bits;
    if (want_clusters(c, last + 1) < 0) {
        return -ENOMEM;
    }
    for (uint64_t i = host >> q->cluster_bits; i <= last; i++) {
        c->refs[i] += c->refs[i] != UINT32_MAX;
        if (c->use && i < c->uses_clusters) {
            c->uses[i] |= (uint8_t)c->use;
        }
    }
    return 0;
}

bool check_may_fix(const Check *c, uint64_t host, unsigned use)
{
    uint64_t i = host >> c->q->cluster_bits;

    return c->fix & BLOCK_FIX_ERRORS && i < c->uses_clusters && !(c->uses[i] & ~use);
}

static int count_bitmaps(Check *c)
{
    if (c->q->h.bitmaps_lost) {
        c->unfixed++;
        c->lost = true;
    }
    return c->q->h.has_bitmaps ? qcow2_bitmaps_count(c) : 0;
}

static int count_fixed(Check *c)
{
    Qcow2 *q = c->q;
    int ret = check_count(c, 0, q->cluster);

    if (ret >= 0 && q->h.snapshot_count) {
        ret = check_count(c, q->h.snapshots_offset, c->snapshot_bytes);
    }
    if (ret >= 0 && q->h.has_crypto) {
        ret = check_count(c, q->h.crypto_offset, q->h.crypto_length);
    }
    return MIN(ret, 0);
}

/* ---- refcount blocks ------------------------------------------------------------------------ */

static int count_blocks(Check *c)
{
    Qcow2 *q = c->q;
    int ret = check_count(c, q->h.reftable_offset, (uint64_t)q->h.reftable_clusters
                          << q->cluster_bits);

    c->rebuild |= ret > 0;
    if (!q->h.reftable_clusters) {
        check_say(c, "ERROR there is no refcount table");
        c->result->n.corruptions++;
        c->rebuild = true;
    }
    for (uint32_t i = 0; i < q->reftable_size && ret >= 0; i++) {
        uint64_t offset = q->reftable[i];

        if (!offset) {
            continue;
        }
        if (offset & (q->cluster - 1) || offset & QCOW2_REFTABLE_RESERVED) {
            check_say(c, "ERROR refcount block %u is not cluster aligned; refcount table entry "
                      "corrupted", i);
            c->result->n.corruptions++;
            c->rebuild = true;
            continue;
        }
        ret = check_count(c, offset, q->cluster);
        if (ret > 0) {
            c->rebuild = true;
        } else if (ret == 0 && c->refs[offset >> q->cluster_bits] > 1) {
            check_say(c, "ERROR refcount block %u is used otherwise too (%u references)", i,
                      c->refs[offset >> q->cluster_bits]);
            c->result->n.corruptions++;
            c->rebuild = true;
        }
    }
    return ret < 0 ? ret : 0;
}

static int load_block(Check *c, uint64_t index, uint8_t *buf, bool *there)
{
    const Qcow2 *q = c->q;
    uint64_t offset = index < q->reftable_size ? q->reftable[index] : 0;

    *there = offset && !(offset & (q->cluster - 1)) && offset < c->file_size;
    memset(buf, 0, q->cluster);
    return *there ? block_pread(q->file, offset, buf, q->cluster) : 0;
}

/* ---- comparison ----------------------------------------------------------------------------- */

/* One cluster. True: the block in buf was changed. */
static bool compare_one(Check *c, uint64_t cluster, uint8_t *buf, bool there)
{
    Qcow2 *q = c->q;
    BlockCheck *r = &c->result->n;
    uint64_t index = cluster & ((UINT64_C(1) << q->rb_bits) - 1);
    uint64_t have = refcount_read(q, buf, index), want = cluster < c->count ? c->refs[cluster] : 0;
    bool leak = have > want;
    bool fix = c->fix & (leak ? BLOCK_FIX_LEAKS : BLOCK_FIX_ERRORS) && !(leak && c->lost);

    if (have || want) {
        r->image_end_offset = (cluster + 1) << q->cluster_bits;
    }
    if (have == want) {
        return false;
    }
    check_say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64,
              leak ? (fix ? "Repairing leaked" : "Leaked") : fix ? "Repairing" : "ERROR", cluster,
              have, want);
    *(leak ? &r->leaks : &r->corruptions) += 1;
    if (!fix || want > refcount_max(q)) {
        return false;
    }
    if (!there) {
        c->rebuild = true; /* counted as repaired there */
        c->missing++;
        return false;
    }
    refcount_write(q, buf, index, want);
    *(leak ? &r->leaks_fixed : &r->corruptions_fixed) += 1;
    return true;
}

static int compare_block(Check *c, uint64_t block, uint8_t *buf, uint64_t total)
{
    Qcow2 *q = c->q;
    uint64_t first = block << q->rb_bits, end = MIN(total, (block + 1) << q->rb_bits);
    bool there, changed = false;
    int ret = load_block(c, block, buf, &there);

    if (ret < 0) {
        c->result->n.check_errors++;
        return ret;
    }
    for (uint64_t i = first; i < end; i++) {
        changed |= compare_one(c, i, buf, there);
    }
    if (!there || !changed) {
        return 0;
    }
    table_forget(&q->rb, q->reftable[block], q->cluster);
    q->free_hint = 0;
    return qcow2_pwrite(q->file, q->reftable[block], buf, q->cluster);
}

static int compare(Check *c)
{
    Qcow2 *q = c->q;
    uint64_t total = (uint64_t)q->reftable_size << q->rb_bits;
    g_autofree uint8_t *buf = g_malloc(q->cluster);
    int ret = 0;

    /* Blocks behind the last reference matter only where they exist. */
    for (uint64_t b = 0; b << q->rb_bits < MAX(total, c->count) && ret >= 0; b++) {
        bool exists = b < q->reftable_size && q->reftable[b];

        if (exists || b << q->rb_bits < c->count) {
            ret = compare_block(c, b, buf, exists ? (b + 1) << q->rb_bits : c->count);
        }
    }
    return ret;
}

/* ---- rebuild -------------------------------------------------------------------------------- */

static bool block_needed(const Check *c, uint64_t block, uint64_t total)
{
    uint64_t end = MIN((block + 1) << c->q->rb_bits, total);

    for (uint64_t i = block << c->q->rb_bits; i < end; i++) {
        if (c->refs[i]) {
            return true;
        }
    }
    return false;
}

static int write_blocks(Check *c, uint64_t *table, uint64_t blocks, uint64_t at)
{
    Qcow2 *q = c->q;
    g_autofree uint8_t *buf = g_malloc(q->cluster);
    int ret = 0;

    for (uint64_t b = 0; b < blocks && ret >= 0; b++) {
        uint64_t first = b << q->rb_bits, end = MIN((b + 1) << q->rb_bits, c->count);

        if (!table[b]) {
            continue;
        }
        memset(buf, 0, q->cluster);
        for (uint64_t i = first; i < end; i++) {
            refcount_write(q, buf, i - first, MIN(c->refs[i], refcount_max(q)));
        }
        table[b] = at;
        ret = qcow2_pwrite(q->file, at, buf, q->cluster);
        at += q->cluster;
    }
    return ret;
}

/* Adopts the table that has been written at offset. */
static int switch_reftable(Check *c, uint64_t *table, uint64_t clusters, uint64_t offset)
{
    Qcow2 *q = c->q;
    uint64_t entries = clusters << q->cluster_bits >> 3;
    g_autofree uint64_t *disk = g_new0(uint64_t, entries);
    int ret;

    for (uint64_t i = 0; i < entries; i++) {
        disk[i] = GUINT64_TO_BE(table[i]);
    }
    ret = qcow2_pwrite(q->file, offset, disk, entries * 8);
    ret = ret < 0 ? ret : block_pflush(q->file);
    if (ret < 0) {
        return ret;
    }
    for (uint32_t i = 0; i < q->reftable_size; i++) {
        meta_remove(q, q->reftable[i] & ~(q->cluster - 1), q->cluster);
        table_forget(&q->rb, q->reftable[i], q->cluster);
    }
    meta_remove(q, q->h.reftable_offset, (uint64_t)q->h.reftable_clusters << q->cluster_bits);
    q->h.reftable_offset = offset;
    q->h.reftable_clusters = (uint32_t)clusters;
    g_free(q->reftable);
    q->reftable = g_memdup2(table, entries * 8);
    q->reftable_size = (uint32_t)entries;
    dirty_parts_init(&q->reftable_dirty, q->reftable_size, qcow2_part_bytes(q));
    meta_add(q, offset, entries * 8, QCOW2_OVERLAP_REFTABLE);
    for (uint64_t i = 0; i < entries; i++) {
        if (table[i]) {
            meta_add(q, table[i], q->cluster, QCOW2_OVERLAP_REFBLOCK);
        }
    }
    q->free_hint = 0;
    return qcow2_write_header(q, NULL);
}

/* refs counts everything but the old refcount structures; while something is lost, what nobody refers to is kept too. */
static int rebuild(Check *c)
{
    Qcow2 *q = c->q;
    uint64_t start = MAX(c->count, align_up(c->file_size, q->cluster) >> q->cluster_bits);
    uint64_t needed = 0, clusters = 0, total = start, blocks = 0, entries;
    g_autofree uint64_t *table = NULL;
    int ret;

    if (c->lost && want_clusters(c, start) < 0) {
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < start && c->lost; i++) {
        c->refs[i] = MAX(c->refs[i], 1);
    }
    /* What is added needs refcounts itself: until it no longer grows. */
    for (uint64_t last = UINT64_MAX; last != total;) {
        last = total;
        if (want_clusters(c, total) < 0) {
            return -ENOMEM;
        }
        for (uint64_t i = start; i < total; i++) {
            c->refs[i] = 1;
        }
        blocks = (total + (UINT64_C(1) << q->rb_bits) - 1) >> q->rb_bits;
        needed = 0;
        for (uint64_t b = 0; b < blocks; b++) {
            needed += block_needed(c, b, total);
        }
        clusters = (blocks * 8 + q->cluster - 1) >> q->cluster_bits;
        total = MAX(total, start + needed + clusters);
    }
    if (clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES) {
        return -EFBIG;
    }
    entries = clusters << q->cluster_bits >> 3;
    table = g_new0(uint64_t, entries);
    for (uint64_t b = 0; b < blocks; b++) {
        table[b] = block_needed(c, b, total);
    }
    ret = write_blocks(c, table, blocks, start << q->cluster_bits);
    if (ret < 0) {
        return ret;
    }
    q->file_end = MAX(q->file_end, total << q->cluster_bits);
    c->file_size = MAX(c->file_size, q->file_end);
    check_say(c, "Rebuilt the refcount structure (%" PRIu64 " blocks)", needed);
    return switch_reftable(c, table, clusters, (start + needed) << q->cluster_bits);
}

/* ---- what may be mended ------------------------------------------------------------------------ */

/* Before repairs: what each cluster is. An entry that leads to data or to another table as if it were a table must not have
 * those "repaired". */
static int find_uses(Check *c)
{
    Qcow2CheckResult ignored = {0}, *result = c->result;
    unsigned fix = c->fix;
    bool must_rebuild = c->rebuild;
    int ret;

    g_free(c->uses);
    c->uses_clusters = align_up(c->file_size, c->q->cluster) >> c->q->cluster_bits;
    c->uses = g_try_malloc0(c->uses_clusters + 1);
    if (!c->uses) {
        c->uses_clusters = 0;
        return -ENOMEM;
    }
    c->result = &ignored;
    c->fix = 0;
    c->use = CHECK_META;
    ret = count_fixed(c);
    ret = ret < 0 ? ret : check_active(c);
    ret = ret < 0 ? ret : check_snapshots(c);
    ret = ret < 0 ? ret : count_blocks(c);
    ret = ret < 0 ? ret : count_bitmaps(c);
    c->result = result;
    c->fix = fix;
    c->use = 0;
    c->rebuild = must_rebuild;
    forget_counts(c);
    return ret;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int count_all(Check *c, bool with_refcounts)
{
    int ret = c->fix & BLOCK_FIX_ERRORS ? find_uses(c) : 0;

    if (ret < 0) {
        return ret;
    }

    forget_counts(c);
    c->unfixed = 0;
    c->lost = false;
    ret = count_fixed(c);
    ret = ret < 0 ? ret : check_active(c);
    ret = ret < 0 ? ret : check_snapshots(c);
    if (ret >= 0 && with_refcounts) {
        ret = count_blocks(c);
    }
    return ret < 0 ? ret : count_bitmaps(c); /* the last: theirs is what nobody else has */
}

static int repair_all(Check *c)
{
    BlockCheck *r = &c->result->n, before = *r;
    int ret = count_all(c, false);

    /* The same errors again: they are counted once. */
    r->corruptions = before.corruptions;
    r->allocated_clusters = before.allocated_clusters;
    r->compressed_clusters = before.compressed_clusters;
    r->fragmented_clusters = before.fragmented_clusters;
    ret = ret < 0 ? ret : rebuild(c);
    if (ret >= 0) {
        r->corruptions_fixed = r->corruptions - c->unfixed;
        r->leaks_fixed = c->lost ? 0 : r->leaks;
        ret = count_all(c, true);
        r->corruptions = before.corruptions;
        r->allocated_clusters = before.allocated_clusters;
        r->compressed_clusters = before.compressed_clusters;
        r->fragmented_clusters = before.fragmented_clusters;
    }
    return ret;
}

static int run(Check *c)
{
    Qcow2 *q = c->q;
    BlockCheck *r = &c->result->n;
    int ret = count_all(c, true);
    bool may_rebuild = c->fix & BLOCK_FIX_ERRORS && !c->l1_lost; /* nobody knows what a disk without L1 table has */

    if (ret >= 0 && !c->rebuild) {
        ret = compare(c);
    }
    if (ret >= 0 && c->rebuild && may_rebuild) {
        ret = repair_all(c);
    } else if (ret >= 0 && c->rebuild) {
        check_say(c, "The refcount structure is damaged%s", c->l1_lost ? "" : "; repair it with check -r all");
    }
    if (ret >= 0 && (!c->rebuild || may_rebuild)) {
        ret = check_copied(c);
    }
    if (ret >= 0 && c->lost && c->fix && r->leaks > r->leaks_fixed) {
        check_say(c, "Nothing is given up: what seems leaked may be what the errors that remain have lost");
    }
    if (ret >= 0 && c->fix) {
        ret = block_pflush(q->file);
    }
    if (ret < 0) {
        r->check_errors++;
        return ret;
    }
    if (c->fix && r->corruptions == r->corruptions_fixed && !r->check_errors) {
        q->broken = q->warned = false;
        return qcow2_set_incompatible(q, 0, QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);
    }
    return 0;
}

/* ---- several passes ------------------------------------------------------------------------- */

/* Tables that lie on each other change with each other. */
static int reload_tables(Qcow2 *q)
{
    unsigned part = qcow2_part_bytes(q);
    uint64_t *l1, *reftable = NULL;
    int ret;

    table_forget_all(&q->l2);
    table_forget_all(&q->rb);
    l1 = qcow2_load_table(q, q->h.l1_offset, q->l1_size, part, &ret);
    if (l1) {
        reftable = qcow2_load_table(q, q->h.reftable_offset, q->reftable_size, part, &ret);
    }
    if (!reftable) {
        g_free(l1);
        return ret;
    }
    g_free(q->l1);
    g_free(q->reftable);
    q->l1 = l1;
    q->reftable = reftable;
    return 0;
}

/* What a further pass repaired comes on top; what it could not is what remains. */
static void add_pass(BlockCheck *sum, const BlockCheck *pass)
{
    uint64_t left = pass->corruptions - pass->corruptions_fixed;
    uint64_t leaked = pass->leaks - pass->leaks_fixed;

    sum->corruptions_fixed += pass->corruptions_fixed;
    sum->leaks_fixed += pass->leaks_fixed;
    sum->corruptions = MAX(sum->corruptions, sum->corruptions_fixed + left);
    sum->leaks = MAX(sum->leaks, sum->leaks_fixed + leaked);
    sum->check_errors += pass->check_errors;
}

static int run_passes(Check *c, Qcow2CheckResult *result)
{
    Qcow2CheckResult pass = *result;
    int ret = run(c);

    pass.n = result->n;
    for (unsigned n = 0; ret == 0 && (pass.n.corruptions_fixed || pass.n.leaks_fixed); n++) {
        if (n == MAX_PASSES) {
            result->n.check_errors++;
            check_say(c, "Repairs undo each other: the image has tables that overlap");
            return reload_tables(c->q);
        }
        ret = reload_tables(c->q);
        if (ret == 0) {
            pass.n = (BlockCheck){0};
            c->result = &pass;
            c->rebuild = false;
            c->unfixed = 0;
            ret = run(c);
            add_pass(&result->n, &pass.n);
        }
    }
    return ret;
}

/* ---- lists that cannot be read ---------------------------------------------------------------- */

/* ret says what became of a repair. */
static int mended(Check *c, int ret)
{
    *(ret < 0 ? &c->result->n.check_errors : &c->result->n.corruptions_fixed) += 1;
    return MIN(ret, 0);
}

/* The snapshot table, from the entry on that cannot be read: only opening for a check gets here. */
static int check_snapshot_table(Check *c)
{
    Qcow2 *q = c->q;
    bool fix = c->fix & BLOCK_FIX_ERRORS;

    check_say(c, "%s the snapshot table: %s; the snapshots up to there: %u%s", fix ? "Repairing" : "ERROR",
              q->snapshots_error, q->snapshots->len, fix ? ", all others are dropped" : " (check -r all drops all others)");
    c->result->n.corruptions++;
    if (!fix) {
        return 0;
    }
    return mended(c, qcow2_snapshots_cut(q));
}

static int drop_bitmaps(Check *c, const char *why)
{
    bool fix = c->fix & BLOCK_FIX_ERRORS;

    check_say(c, "%s %s%s", fix ? "Repairing" : "ERROR", why,
              fix ? "; all bitmaps are dropped: what works by them must begin with a whole copy"
                  : " (check -r all drops all bitmaps)");
    c->result->n.corruptions++;
    return fix ? mended(c, qcow2_bitmaps_drop(c->q)) : 0;
}

/* A directory of bitmaps that nobody could open the image with for writing. */
static int check_bitmap_list(Check *c)
{
    Qcow2 *q = c->q;
    g_autoptr(GError) local = NULL;
    bool fix = c->fix & BLOCK_FIX_ERRORS;
    int ret = 0;

    if (q->h.bitmaps_lost) {
        return drop_bitmaps(c, "qcow2: invalid bitmaps extension of the header");
    }
    if (!q->h.has_bitmaps) {
        return 0;
    }
    ret = fix ? find_uses(c) : 0;
    c->bitmaps_shared = false;
    ret = fix && ret == 0 ? qcow2_bitmaps_count(c) : ret; /* mends tables */
    c->result->n.corruptions = c->result->n.corruptions_fixed;
    qcow2_bitmaps_clear(q);
    if (ret < 0 || (qcow2_bitmaps_load(q, &local) && !c->bitmaps_shared)) {
        return ret;
    }
    if (!local) {
        error_set(&local, "qcow2: the table of a bitmap is used otherwise too");
    }
    qcow2_bitmaps_clear(q);
    return drop_bitmaps(c, local->message);
}

/* Both before anything is counted; then all that remains. */
static int check_lists(Check *c, Qcow2CheckResult *result, bool for_check)
{
    Qcow2CheckResult rest = *result;
    bool astray = check_places(c);
    int ret;

    if (astray) {
        c->fix = 0;
    }
    ret = c->q->snapshots_error ? check_snapshot_table(c) : 0;
    if (ret < 0 || c->q->snapshots_error) {
        return ret; /* which clusters are in use is not known: nothing more can be said, or given up */
    }
    ret = for_check && !astray ? check_bitmap_list(c) : 0;
    if (ret < 0) {
        return ret;
    }
    c->snapshot_bytes = c->q->snapshot_bytes;
    rest.n = (BlockCheck){.total_clusters = result->n.total_clusters};
    c->result = &rest;
    ret = run_passes(c, &rest);
    rest.n.corruptions += result->n.corruptions;
    rest.n.corruptions_fixed += result->n.corruptions_fixed;
    *result = rest;
    return ret;
}

int qcow2_check(Qcow2 *q, unsigned fix, Qcow2CheckResult *result)
{
    Check c = {.q = q, .fix = fix, .result = result, .file_size = q->file->size};
    bool for_check = q->opt.for_check;
    int ret = 0;

    qcow2_quiesce(q);
    if (!q->read_only && !q->broken && !for_check) {
        ret = qcow2_sync_all(q);
    }
    q->opt.for_check = true; /* what is found is reported, not acted upon */
    c.file_size = MAX(c.file_size, q->file_end);
    result->n.total_clusters = (q->h.size + q->cluster - 1) >> q->cluster_bits;
    c.refs = g_new0(uint32_t, 1024);
    c.room = 1024;
    if (ret == 0) {
        ret = check_lists(&c, result, for_check);
    }
    if (fix) {
        table_forget_all(&q->l2);
        table_forget_all(&q->rb);
    }
    g_free(c.refs);
    g_free(c.uses);
    q->opt.for_check = for_check;
    qcow2_resume(q);
    return ret;
}

/* ---- another width -------------------------------------------------------------------------- */

static void set_order(Qcow2 *q, unsigned order)
{
    q->h.refcount_order = order;
    q->rb_bits = q->cluster_bits + 3 - order;
}

/* 0, or the most references that a cluster has when that is too many. */
static uint64_t too_many(const Check *c, unsigned order)
{
    uint64_t max = 0;

    for (uint64_t i = 0; i < c->count; i++) {
        max = MAX(max, c->refs[i]);
    }
    return order < 6 && max >> (1u << order) ? max : 0;
}

bool qcow2_set_refcount_bits(Qcow2 *q, unsigned bits, GError **err)
{
    unsigned order = (unsigned)g_bit_nth_msf(bits, -1), before = q->h.refcount_order;
    Qcow2CheckResult result = {0};
    Check c = {.q = q, .result = &result, .file_size = MAX(q->file->size, q->file_end)};
    uint64_t most;
    int ret;

    c.refs = g_new0(uint32_t, 1024);
    c.room = 1024;
    c.snapshot_bytes = q->snapshot_bytes;
    ret = count_all(&c, false);
    most = too_many(&c, order);
    if (ret >= 0 && !result.n.corruptions && !most) {
        table_forget_all(&q->rb);
        set_order(q, order);
        ret = rebuild(&c);
        if (ret < 0) {
            set_order(q, before);
        }
    }
    g_free(c.refs);
    if (result.n.corruptions) {
        return error_set(err, "The image has errors; repair it first (check -r all)");
    }
    if (most) {
        return error_set(err, "Cannot decrease refcount entry width to %u bits: a cluster has %" PRIu64
                              " references", bits, most);
    }
    return ret >= 0 || error_set_errno(err, -ret, "Could not write the refcounts anew");
}
