/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a record of writes and flushes (qcow2-disk.h) leaves when it ends anywhere: the state after each write, and what
 * flushes leave open, chosen parts of what was written since the last one.
 */
#ifndef TESTS_UNIT_POWER_REPLAY_H
#define TESTS_UNIT_POWER_REPLAY_H

#include "tests/unit/qcow2-judge.h"

/* ---- states ----------------------------------------------------------------------------------- */

/* What is stable, and of what is not: bit i of mask says whether the i-th is there (count of them), or, without a
 * mask, chance. */
static inline void judge_some(Replay *r, bool by_mask, uint64_t mask)
{
    GByteArray *content[2];
    unsigned n = 0;

    for (unsigned d = 0; d < 2; d++) {
        content[d] = copy_of(r->stable[d]);
        for (unsigned i = 0; i < r->loose[d]->len + r->flying[d]->len; i++, n++) {
            const DiskWrite *v = i < r->loose[d]->len
                                     ? g_ptr_array_index(r->loose[d], i)
                                     : g_ptr_array_index(r->flying[d], i - r->loose[d]->len);

            if (!by_mask) {
                disk_tear(r->w->rand, content[d], v);
            } else if (mask >> MIN(n, 63) & 1) {
                disk_apply_write(content[d], v);
            }
        }
    }
    r->judge(r, content);
    g_byte_array_unref(content[0]);
    g_byte_array_unref(content[1]);
}

static inline void judge_reordered(Replay *r)
{
    unsigned n = 0, samples = 2 * factor();

    for (unsigned d = 0; d < 2; d++) {
        n += r->loose[d]->len + r->flying[d]->len;
    }
    if (n <= 3) {
        for (uint64_t mask = 0; mask < UINT64_C(1) << n; mask++) {
            judge_some(r, true, mask);
        }
        return;
    }
    judge_some(r, true, 0);
    judge_some(r, true, UINT64_C(1) << g_rand_int_range(r->w->rand, 0, (gint32)MIN(n, 63)));
    judge_some(r, true, ~(UINT64_C(1) << g_rand_int_range(r->w->rand, 0, (gint32)MIN(n, 63))));
    for (unsigned i = 0; i < samples; i++) {
        judge_some(r, false, 0);
    }
}

static inline unsigned index_of(const Replay *r, const Disk *d)
{
    return d == r->w->disks[1];
}

static inline void disk_done(Replay *r, const DiskEvent *e)
{
    unsigned d = index_of(r, e->disk);

    disk_apply_write(r->prefix[d], e->write);
    g_ptr_array_remove(r->flying[d], e->write);
    if (e->fua) {
        disk_make_stable(r->stable[d], r->loose[d], e->write);
    } else {
        g_ptr_array_add(r->loose[d], e->write);
    }
}

static inline void disk_flush(Replay *r, const DiskEvent *e)
{
    unsigned d = index_of(r, e->disk);

    for (unsigned i = 0; i < e->count; i++) {
        const DiskWrite *v = g_ptr_array_index(r->loose[d], i);

        disk_apply_write(r->stable[d], v);
    }
    if (e->count) {
        g_ptr_array_remove_range(r->loose[d], 0, e->count);
    }
}

static inline void replay_event(Replay *r, const DiskEvent *e)
{
    switch (e->kind) {
    case DISK_SUBMIT:
        g_ptr_array_add(r->flying[index_of(r, e->disk)], e->write);
        judge_reordered(r);
        break;
    case DISK_DONE:
        disk_done(r, e);
        r->judge(r, r->prefix);
        break;
    case DISK_FLUSH:
        disk_flush(r, e);
        break;
    case DISK_NOTE:
        take_note(r, e);
        if (e->what == NOTE_FLUSH_END || e->what == NOTE_SNAPSHOT_END || e->what == NOTE_RESIZE_END ||
            e->what == NOTE_COPIED || e->what == NOTE_SYNCED || (e->what == NOTE_OP_END && e->fua)) {
            judge_some(r, true, 0); /* more is promised from here on */
        }
        break;
    }
}

/* how: judges a state; NULL: as a qcow2 image's. */
static inline void replay(World *w, GByteArray *const *before, void (*how)(Replay *, GByteArray *const *))
{
    Replay r;

    replay_init(&r, w, before);
    r.judge = how ? how : r.judge;
    for (unsigned i = 0; i < w->log->len; i++) {
        replay_event(&r, g_ptr_array_index(w->log, i));
    }
    g_test_message("%u events, %u states, qemu-img saw %u", w->log->len, r.states, r.judged);
    replay_clear(&r);
}

#endif
