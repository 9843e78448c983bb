/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Check: L1 tables, of the disk or a snapshot, that are said to lie where something else is.
 *
 * Entries of that other table must not be "repaired", and what the true table leads to must not be given up. Of two that claim
 * a place the one that is wrong shows by what is there: entries of an L1 table lead to L2 tables, whose entries lead to what an
 * image can have, and those of the disk have the COPIED flag where the refcount is 1. A reference to the place of a sound table
 * is the other's damage, and left to the rest of the check.
 */
#include <stdlib.h>

#include "block/qcow2/check.h"

typedef struct Score {
    uint64_t good, empty, bad, garbage;
} Score;

/* ---- what is there ---------------------------------------------------------------------------- */

static bool is_in_file(const Check *c, uint64_t host, uint64_t len)
{
    return range_fits(host, len, align_up(c->file_size, c->q->cluster));
}

static void judge_l2_entry(const Check *c, uint64_t entry, Score *score)
{
    const Qcow2 *q = c->q;
    uint64_t host = entry & QCOW2_OFFSET_MASK;
    bool good;
    uint32_t len;

    if (entry & QCOW2_COMPRESSED) {
        map_compressed(q, entry, &host, &len);
        good = !(entry & QCOW2_COPIED) && q->data == q->file && is_in_file(c, host, len);
    } else if (!host && q->data == q->file) {
        score->bad += !!(entry & ~(uint64_t)QCOW2_ZERO);
        return;
    } else {
        good = !(entry & QCOW2_L2_RESERVED) && !(host & (q->cluster - 1)) &&
               (q->data != q->file || is_in_file(c, host, q->cluster));
    }
    *(good ? &score->good : &score->bad) += 1;
}

/* Of the cluster at host, read as an L2 table. */
static int judge_l2(const Check *c, uint64_t host, Score *score)
{
    const Qcow2 *q = c->q;
    g_autofree uint8_t *l2 = g_malloc(q->cluster);
    int ret = block_pread(q->file, host, l2, q->cluster);

    *score = (Score){0};
    for (unsigned i = 0; i < 1u << q->l2_bits && ret >= 0; i++) {
        judge_l2_entry(c, load64_be(l2 + (size_t)i * q->entry_size), score);
    }
    return ret;
}

static bool flag_is_right(const Check *c, uint64_t entry)
{
    int error = 0;
    uint64_t count = refcount_sync(c->q, (entry & QCOW2_OFFSET_MASK) >> c->q->cluster_bits, &error);

    return error || !count || (count == 1) == !!(entry & QCOW2_COPIED);
}

/* claimed: what else could be there needs more than a look at the offset. */
static void judge_l1_entry(const Check *c, uint64_t entry, bool active, bool claimed, Score *score)
{
    const Qcow2 *q = c->q;
    uint64_t host = entry & QCOW2_OFFSET_MASK;
    unsigned is = meta_kind(q, host);
    Score l2;

    if (entry & QCOW2_L1_RESERVED || !host || host & (q->cluster - 1) || !is_in_file(c, host, q->cluster) ||
        (claimed && is && is != QCOW2_OVERLAP_ACTIVE_L2) || (claimed && active && !flag_is_right(c, entry))) {
        score->bad++;
    } else if (judge_l2(c, host, &l2) < 0 || l2.bad > l2.good) {
        score->garbage++;
    } else {
        *(l2.good ? &score->good : &score->empty) += 1;
    }
}

/* claimed: something else is said to be there too. Where nothing else is, one entry that leads to an L2 table is enough, and a
 * single one that cannot be is damage like any other. */
static bool is_l1(const Check *c, const uint64_t *l1, uint32_t size, bool active, bool claimed)
{
    Score score = {0};

    for (uint32_t i = 0; i < size && (claimed || !score.good); i++) {
        if (l1[i]) {
            judge_l1_entry(c, l1[i], active, claimed, &score);
        }
    }
    return claimed ? score.good + score.empty > score.bad + score.garbage
                   : score.good || (!score.garbage && score.bad < 2);
}

/* ---- who else claims it ------------------------------------------------------------------------- */

static const char *bitmap_table(Check *c, uint64_t host, uint64_t len)
{
    return qcow2_bitmaps_lie_on(c, host, len) ? "table of a bitmap" : NULL;
}

/* NULL: nothing but L2 tables, which entries of the table itself lead to. */
static const char *active_is(Check *c, uint64_t host, uint64_t len)
{
    unsigned is = host ? meta_on_active_l1(c->q) : QCOW2_OVERLAP_HEADER;

    return is ? meta_name(is) : bitmap_table(c, host, len);
}

static bool is_astray(Check *c, const Qcow2Snapshot *s, const char **what)
{
    Qcow2 *q = c->q;
    uint64_t bytes = (uint64_t)s->l1_size * 8;
    g_autofree uint64_t *l1 = NULL;
    int error;

    *what = s->l1_is ? meta_name(s->l1_is) : bitmap_table(c, s->l1_offset, bytes);
    if (!*what) {
        return false;
    }
    if (s->l1_is & (QCOW2_OVERLAP_HEADER | QCOW2_OVERLAP_ACTIVE_L1 | QCOW2_OVERLAP_INACTIVE_L1) ||
        (s->l1_is & QCOW2_OVERLAP_BITMAPS && q->node->bitmaps && q->node->bitmaps->len)) { /* a directory that could be loaded */
        return true;
    }
    l1 = qcow2_load_table(q, s->l1_offset, s->l1_size, 512, &error);
    return !l1 || !is_l1(c, l1, s->l1_size, false, true);
}

/* ---- all of them ---------------------------------------------------------------------------------- */

static bool check_active_place(Check *c)
{
    const Qcow2 *q = c->q;
    uint64_t host = q->h.l1_offset, bytes = (uint64_t)q->l1_size * 8;
    const char *what;

    if (!bytes || !is_in_file(c, host, bytes)) {
        return false;
    }
    what = active_is(c, host, bytes);
    if (host && is_l1(c, q->l1, q->l1_size, true, what != NULL)) {
        return false;
    }
    check_say(c, "ERROR the active L1 table is said to be at %#" PRIx64 ", where %s%s is; nothing is repaired until the header "
              "(bytes 40 to 47) says where it is", host, what ? "the " : "no table that leads to L2 tables", what ? what : "");
    return true;
}

static bool check_snapshot_place(Check *c, Qcow2Snapshot *s)
{
    const Qcow2 *q = c->q;
    const char *what;

    s->l1_astray = s->l1_size && s->l1_size <= QCOW2_MAX_L1_BYTES / 8 && !(s->l1_offset & (q->cluster - 1)) &&
                   is_in_file(c, s->l1_offset, (uint64_t)s->l1_size * 8) && is_astray(c, s, &what);
    if (s->l1_astray) {
        check_say(c, "ERROR the L1 table of snapshot %s (%s) is said to be at %#" PRIx64 ", where the %s is; nothing is repaired "
                  "until %s is put right%s", s->id, s->name, s->l1_offset, what,
                  s->l1_is & QCOW2_OVERLAP_ACTIVE_L1 ? "the one offset that is wrong" : "its offset",
                  s->l1_is & QCOW2_OVERLAP_ACTIVE_L1 ? "" : ", or the snapshot is deleted (snapshot -d)");
    }
    return s->l1_astray;
}

bool check_places(Check *c)
{
    GPtrArray *snapshots = c->q->snapshots;
    uint64_t found = 0;

    c->l1_astray = check_active_place(c);
    found += c->l1_astray;
    for (unsigned i = 0; i < snapshots->len; i++) {
        Qcow2Snapshot *s = g_ptr_array_index(snapshots, i);

        s->l1_astray = false;
        found += !c->l1_astray && check_snapshot_place(c, s);
    }
    c->result->n.corruptions += found;
    return found;
}
