/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image must hold at a point of a log that qcow2-model.h has made, and whether a state of its files does. */
#ifndef TESTS_UNIT_QCOW2_JUDGE_H
#define TESTS_UNIT_QCOW2_JUDGE_H

#include "tests/unit/qcow2-model.h"

/* ---- what a state must hold -------------------------------------------------------------------- */

typedef struct Later {
    uint32_t id;
    unsigned op;
} Later;

typedef struct Replay Replay;
struct Replay {
    World *w;
    void (*judge)(Replay *r, GByteArray *const *content); /* a state of the files must be good */
    GByteArray *stable[2], *prefix[2];
    GPtrArray *loose[2], *flying[2]; /* DiskWrite *: done and not flushed; under way */
    uint32_t sure[SECTORS];
    GArray *later[SECTORS]; /* Later: what may be there instead */
    GArray *ended;          /* unsigned by op: its place among those that have ended; 0: it has not */
    GArray *flushes;        /* unsigned: how many had ended when it was asked for */
    unsigned ended_count;
    bool written[SECTORS];  /* ever */
    unsigned size, next_size; /* sectors; next_size: may be that too */
    uint32_t *snapshots[2];
    unsigned snapshot_size[2];
    int step, step_what;    /* the snapshot that changes now, -1: none */
    uint32_t *base;         /* what the base alone must hold; NULL: not known */
    unsigned base_size;
    bool bitmap;
    unsigned states, judged;
};

static inline bool may_hold(const Replay *r, unsigned s, uint32_t id)
{
    bool ok = id == r->sure[s];

    for (unsigned i = 0; !ok && i < r->later[s]->len; i++) {
        ok = id == g_array_index(r->later[s], Later, i).id;
    }
    return ok;
}

static inline void settle(Replay *r, unsigned s, unsigned until)
{
    GArray *later = r->later[s];

    for (unsigned i = later->len; i-- > 0;) {
        const Later *l = &g_array_index(later, Later, i);
        unsigned ended = g_array_index(r->ended, unsigned, l->op);

        if (ended && ended <= until) {
            r->sure[s] = l->id;
            g_array_remove_range(later, 0, i + 1);
            return;
        }
    }
}

static inline void settle_ended(Replay *r, unsigned until)
{
    for (unsigned s = 0; s < SECTORS; s++) {
        settle(r, s, until);
    }
}

/* All sectors hold this for good. */
static inline void settle_as(Replay *r, const uint32_t *content, unsigned sectors)
{
    for (unsigned s = 0; s < SECTORS; s++) {
        r->sure[s] = s < sectors ? content[s] : 0;
        g_array_set_size(r->later[s], 0);
    }
    r->size = r->next_size = sectors;
}

static inline void note_op(Replay *r, const DiskEvent *e)
{
    Later l = {e->id, r->ended->len};
    unsigned none = 0;

    g_array_append_val(r->ended, none);
    for (unsigned s = e->first; s < e->first + e->count; s++) {
        g_array_append_val(r->later[s], l);
        r->written[s] = true;
    }
}

static inline void note_snapshot(Replay *r, const DiskEvent *e)
{
    r->step = (int)e->count;
    r->step_what = (int)e->first;
    if (e->first == CREATE) {
        r->snapshots[e->count] = g_memdup2(e->content, sizeof r->sure);
        r->snapshot_size[e->count] = r->size;
    }
    for (unsigned s = 0; s < r->size; s++) {
        g_assert_true(may_hold(r, s, ((const uint32_t *)e->content)[s]));
    }
}

static inline void note_snapshot_end(Replay *r, const DiskEvent *e)
{
    r->step = -1;
    if (e->first == APPLY) {
        settle_as(r, r->snapshots[e->count], r->snapshot_size[e->count]);
    } else if (e->first == DELETE) {
        g_clear_pointer(&r->snapshots[e->count], g_free);
    } else {
        settle_ended(r, r->ended_count); /* it is written out before */
    }
}

static inline void note_resize(Replay *r, const DiskEvent *e)
{
    Later l = {0, r->ended->len};
    unsigned none = 0;

    g_array_append_val(r->ended, none);
    r->next_size = e->count;
    for (unsigned s = MIN(e->count, r->size); s < SECTORS; s++) {
        g_array_append_val(r->later[s], l);
        r->written[s] = false; /* bitmaps do not know of what was cut off */
    }
}

static inline void note_resize_end(Replay *r, const DiskEvent *e)
{
    for (unsigned s = MIN(e->count, r->size); s < SECTORS; s++) {
        r->sure[s] = 0;
        g_array_set_size(r->later[s], 0);
    }
    r->size = e->count;
}

static inline void take_note(Replay *r, const DiskEvent *e)
{
    switch (e->what) {
    case NOTE_OP:
        note_op(r, e);
        break;
    case NOTE_OP_END:
        g_array_index(r->ended, unsigned, e->id) = ++r->ended_count;
        for (unsigned s = e->first; e->fua && s < e->first + e->count; s++) {
            settle(r, s, r->ended_count);
        }
        break;
    case NOTE_FLUSH:
        g_array_append_val(r->flushes, r->ended_count);
        break;
    case NOTE_FLUSH_END:
        settle_ended(r, g_array_index(r->flushes, unsigned, e->id));
        break;
    case NOTE_SNAPSHOT:
        note_snapshot(r, e);
        break;
    case NOTE_SNAPSHOT_END:
        note_snapshot_end(r, e);
        break;
    case NOTE_RESIZE:
        note_resize(r, e);
        break;
    case NOTE_RESIZE_END:
        note_resize_end(r, e);
        break;
    case NOTE_COMMIT:
        g_clear_pointer(&r->base, g_free);
        break;
    case NOTE_COPIED:
        r->base = g_memdup2(e->content, sizeof r->sure);
        r->base_size = e->count;
        break;
    case NOTE_SYNCED:
        settle_ended(r, r->ended_count);
        break;
    case NOTE_BITMAP:
        r->bitmap = true;
        break;
    }
}

/* ---- judging a state ------------------------------------------------------------------------- */

static inline void judge_content(const Replay *r, BlockNode *node)
{
    g_autofree uint32_t *ids = read_ids(node);
    unsigned n = (unsigned)(node->size / SECTOR);

    if (r->step >= 0 && r->step_what == APPLY && n == r->snapshot_size[r->step] &&
        !memcmp(ids, r->snapshots[r->step], n * sizeof *ids)) {
        return;
    }
    g_assert_true(n == r->size || n == r->next_size);
    for (unsigned s = 0; s < n; s++) {
        if (!may_hold(r, s, ids[s])) {
            g_error("state %u: sector %u holds %x, flushed was %x", r->states, s, ids[s], r->sure[s]);
        }
    }
}

static inline void judge_check(const Replay *r, BlockNode *node)
{
    Qcow2CheckResult result = {0};
    Qcow2 *q = qcow2_of(node);

    if (q->h.version < 3 && r->step >= 0) { /* it has no dirty bit: flags may be behind */
        g_assert_cmpint(qcow2_check(q, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &result), ==, 0);
        memset(&result, 0, sizeof result);
    }
    g_assert_cmpint(qcow2_check(q, 0, &result), ==, 0);
    g_assert_cmpuint(result.n.corruptions, ==, 0);
    g_assert_cmpuint(result.n.check_errors, ==, 0);
}

/* Those that must be there are, with their content; node is a copy that may change. */
static inline void judge_snapshots(const Replay *r, BlockNode *node)
{
    Qcow2 *q = qcow2_of(node);
    GError *err = NULL;

    for (int i = 0; i < 2; i++) {
        const char *name = i ? "s1" : "s0";
        bool there = qcow2_snapshot_find(q, name), unsure = r->step == i && r->step_what != APPLY;
        g_autofree uint32_t *ids = NULL;

        g_assert_true(there == (r->snapshots[i] != NULL) || unsure);
        if (!there) {
            continue;
        }
        qcow2_snapshot_apply(q, name, &err);
        g_assert_no_error(err);
        block_node_set_size(node, q->h.size);
        g_assert_cmpuint(node->size, ==, r->snapshot_size[i] * SECTOR);
        ids = read_ids(node);
        g_assert_true(!memcmp(ids, r->snapshots[i], r->snapshot_size[i] * sizeof *ids));
    }
}

/* It tells of all that was ever written, or says that it does not. */
static inline void judge_bitmap(const Replay *r, BlockNode *node)
{
    DirtyBitmap *b = block_dirty_bitmap_find(node, "b");

    g_assert_true(b || !r->bitmap);
    for (unsigned s = 0; b && b->bits && s < node->size / SECTOR; s++) {
        g_assert_true(!r->written[s] || block_dirty_bitmap_next(b, s * SECTOR, true) == s * SECTOR);
    }
}

static inline void judge_base(const Replay *r, BlockNode *base)
{
    g_autofree uint32_t *ids = r->base ? read_ids(base) : NULL;

    if (ids) {
        g_assert_true(!memcmp(ids, r->base, r->base_size * sizeof *ids));
    }
    judge_check(r, base);
}

static inline bool run(const char *const *argv, int *status)
{
    g_autofree char *out = NULL, *err = NULL;

    *status = run_program(argv, &out, &err);
    if (*status && *status != 3) {
        g_test_message("qemu-img: %d\n%s%s", *status, out, err);
    }
    return *status == 0 || *status == 3; /* leaks are no corruption */
}

static inline void judge_qemu(Replay *r, GByteArray *const *content)
{
    static const char *const all = "all";
    const char *every = g_getenv("KILN_IMAGE_JUDGE");
    g_autofree char *program = NULL, *where = NULL;
    World *w = r->w;
    int status;

    if ((g_strcmp0(every, all) && r->states % 40) || !(program = g_find_program_in_path("qemu-img"))) {
        return;
    }
    r->judged++;
    g_assert_true(g_file_set_contents(w->file, (char *)content[0]->data, content[0]->len, NULL));
    if (w->config->data_file) {
        g_assert_true(g_file_set_contents(w->data, (char *)content[1]->data, content[1]->len, NULL));
    }
    where = g_strdup_printf("driver=qcow2,file.filename=%s%s%s%s", w->file,
                            w->config->luks ? ",encrypt.key-secret=s" : "",
                            w->config->data_file ? ",data-file.driver=file,data-file.filename=" : "",
                            w->config->data_file ? w->data : "");
    const char *repair[] = {program, "check", "-r", all, "--object", SECRET, "--image-opts", where, NULL};
    const char *check[] = {program, "check", "--object", SECRET, "--image-opts", where, NULL};

    if (load32_be(content[0]->data + 4) >= 3 ? content[0]->data[79] & QCOW2_INCOMPAT_DIRTY : r->step >= 0) {
        run(repair, &status);
    }
    if (!run(check, &status)) {
        g_error("state %u: qemu-img finds corruption", r->states);
    }
}

static inline void judge(Replay *r, GByteArray *const *content)
{
    World *w = r->w;
    Disk *first = disk_new(w->vm, "after0", content[0], 1), *second = disk_new(w->vm, "after1", content[1], 1);
    BlockNode *base = w->config->backed ? open_base(w, "after1", "after-base") : NULL, *node;

    r->states++;
    judge_qemu(r, content);
    if (base) {
        judge_base(r, base);
    }
    node = open_image(w, "after0", "after1", "after-base");
    judge_content(r, node);
    if (w->config->bitmap) {
        judge_bitmap(r, node);
    }
    judge_check(r, node);
    judge_content(r, node);
    judge_snapshots(r, node);
    block_node_unref(node);
    block_node_unref(base);
    disk_free(first);
    disk_free(second);
}

static inline void replay_init(Replay *r, World *w, GByteArray *const *before)
{
    *r = (Replay){.w = w, .judge = judge, .step = -1, .size = SECTORS, .next_size = SECTORS};
    r->ended = g_array_new(FALSE, FALSE, sizeof(unsigned));
    r->flushes = g_array_new(FALSE, FALSE, sizeof(unsigned));
    for (unsigned s = 0; s < SECTORS; s++) {
        r->later[s] = g_array_new(FALSE, FALSE, sizeof(Later));
    }
    for (unsigned d = 0; d < 2; d++) {
        r->stable[d] = copy_of(before[d]);
        r->prefix[d] = copy_of(before[d]);
        r->loose[d] = g_ptr_array_new();
        r->flying[d] = g_ptr_array_new();
    }
}

static inline void replay_clear(Replay *r)
{
    for (unsigned s = 0; s < SECTORS; s++) {
        g_array_unref(r->later[s]);
    }
    for (unsigned d = 0; d < 2; d++) {
        g_byte_array_unref(r->stable[d]);
        g_byte_array_unref(r->prefix[d]);
        g_ptr_array_unref(r->loose[d]);
        g_ptr_array_unref(r->flying[d]);
        g_free(r->snapshots[d]);
    }
    g_array_unref(r->ended);
    g_array_unref(r->flushes);
    g_free(r->base);
}

#endif
