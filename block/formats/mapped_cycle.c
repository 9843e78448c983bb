/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the tables of images of other programs reach their files: in cycles (mapped.h says in which
 * order), each for all requests that waited for it when it began.
 */
#include <errno.h>

#include "block/formats/mapped_int.h"

/* Sectors that are written at once. */
#define RUN_MAX 512

/* Sectors of a region as they were when the cycle began, in one piece in the file; or what a journal wants written. */
typedef struct TableRun {
    MappedBytes to; /* first: journals see lists of these */
    BlockIo io;
    MappedWriter *w;
    MappedRegion *region; /* NULL: a journal's */
    uint64_t first, count; /* sectors of region */
    struct iovec iov;
} TableRun;

typedef struct FileFlush {
    BlockIo io;
    MappedWriter *w;
} FileFlush;

/* ---- what is dirty ------------------------------------------------------------------------------ */

MappedRegion *mapped_add_region(BlockNode *node, const MappedRegion *shape)
{
    MappedWriter *w = ((MappedState *)node->state)->writer;
    MappedRegion *region = g_memdup2(shape, sizeof *shape);

    region->dirty = g_new0(uint64_t, region->len / BLOCK_SECTOR / 64 + 1);
    g_ptr_array_add(w->regions, region);
    return region;
}

static void region_free(void *opaque)
{
    MappedRegion *region = opaque;

    g_free(region->dirty);
    g_free(region);
}

static void mark_sectors(MappedRegion *region, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        region->dirty[i / 64] |= UINT64_C(1) << i % 64;
    }
    region->any_dirty = true;
}

void mapped_dirty(MappedRegion *region, uint64_t pos, uint64_t len)
{
    uint64_t first = pos / BLOCK_SECTOR;

    mark_sectors(region, first, (pos + len - 1) / BLOCK_SECTOR - first + 1);
}

bool mapped_is_dirty(const MappedWriter *w)
{
    for (unsigned i = 0; i < w->regions->len; i++) {
        const MappedRegion *region = g_ptr_array_index(w->regions, i);

        if (region->any_dirty) {
            return true;
        }
    }
    return w->stage != MAPPED_IDLE;
}

static uint64_t sector_at(const MappedRegion *region, uint64_t sector)
{
    uint64_t pos = sector * BLOCK_SECTOR;

    return region->sector_at ? region->sector_at(region, pos) : region->offset + pos;
}

static bool is_dirty(const MappedRegion *region, uint64_t sector)
{
    return sector * BLOCK_SECTOR < region->len && region->dirty[sector / 64] >> sector % 64 & 1;
}

static TableRun *take_run(MappedWriter *w, MappedRegion *region, uint64_t first, uint64_t max)
{
    TableRun *run = g_new0(TableRun, 1);
    uint64_t offset = sector_at(region, first), pos = first * BLOCK_SECTOR, len;

    run->w = w;
    run->region = region;
    run->first = first;
    do {
        region->dirty[(first + run->count) / 64] &= ~(UINT64_C(1) << (first + run->count) % 64);
        run->count++;
    } while (run->count < max && is_dirty(region, first + run->count) &&
             sector_at(region, first + run->count) == offset + run->count * BLOCK_SECTOR);
    len = MIN(run->count * BLOCK_SECTOR, region->len - pos);
    run->to = (MappedBytes){region->child, offset, len, g_memdup2(region->bytes + pos, len)};
    return run;
}

/* At most *left sectors, which are so many less then; false: others are left. */
static bool take_dirty(MappedWriter *w, MappedRegion *region, GPtrArray *runs, uint64_t *left)
{
    for (uint64_t word = 0; region->any_dirty && word <= region->len / BLOCK_SECTOR / 64; word++) {
        while (region->dirty[word]) {
            TableRun *run;

            if (!*left) {
                return false;
            }
            run = take_run(w, region, word * 64 + (unsigned)__builtin_ctzll(region->dirty[word]), MIN(*left, RUN_MAX));
            *left -= run->count;
            g_ptr_array_add(runs, run);
        }
    }
    region->any_dirty = false;
    return true;
}

static void run_free(void *opaque)
{
    TableRun *run = opaque;

    g_free(run->to.bytes);
    g_free(run);
}

/* ---- the cycle ----------------------------------------------------------------------------------- */

static void cycle_begin(MappedWriter *w);
static void stage_go(MappedWriter *w);

static void put_back(GPtrArray *runs)
{
    for (unsigned i = 0; i < runs->len; i++) {
        const TableRun *run = g_ptr_array_index(runs, i);

        if (run->region) {
            mark_sectors(run->region, run->first, run->count);
        }
    }
}

static const MappedJournal *journal_of(const MappedWriter *w)
{
    return ((MappedState *)w->node->state)->format->journal;
}

static void cycle_end(MappedWriter *w)
{
    BlockIo *list = w->running;
    int result = w->result;

    if (result < 0) {
        put_back(w->ahead);
        put_back(w->tables);
    }
    g_ptr_array_set_size(w->ahead, 0);
    g_ptr_array_set_size(w->tables, 0);
    w->stage = MAPPED_IDLE;
    if (result == 0 && w->more) { /* for the same requests */
        cycle_begin(w);
        return;
    }
    w->running = NULL;
    if (w->waiting) {
        w->running = w->waiting;
        w->waiting = NULL;
        cycle_begin(w);
    }
    while (list) {
        BlockIo *io = list;

        list = io->next;
        block_io_finish_later(w->node, io, result);
    }
}

/* What comes after a stage; IDLE: nothing. */
static MappedStage next_stage(const MappedWriter *w)
{
    bool journal = journal_of(w);

    switch (w->stage) {
    case MAPPED_BLOCKS:
        return journal && (w->tables->len || !w->begun) ? MAPPED_HEADER : w->tables->len ? MAPPED_TABLES : MAPPED_IDLE;
    case MAPPED_LOGGED:
        return w->tables->len ? MAPPED_TABLES : MAPPED_IDLE;
    case MAPPED_LAST:
        return journal ? MAPPED_CLEAN : MAPPED_IDLE;
    case MAPPED_CLEAN:
        return MAPPED_IDLE;
    default:
        return w->stage + 1;
    }
}

static void stage_part_ended(MappedWriter *w, int result)
{
    bool was_ahead = w->stage == MAPPED_AHEAD;

    if (result < 0 && !w->result) {
        w->result = result;
    }
    if (--w->pending) {
        return;
    }
    if (w->result == 0 && (w->stage == MAPPED_HEADER || w->stage == MAPPED_CLEAN)) {
        journal_of(w)->header_done(w->node);
    }
    w->begun |= w->result == 0 && w->stage == MAPPED_LOGGED;
    w->stage = w->result < 0 ? MAPPED_IDLE : next_stage(w);
    if (w->stage) {
        stage_go(w);
    } else {
        cycle_end(w);
    }
    if (was_ahead) {
        mapped_resume_held(w);
    }
}

static void run_done(BlockIo *io, int result)
{
    stage_part_ended(container_of(io, TableRun, io)->w, result);
}

static void flush_done(BlockIo *io, int result)
{
    FileFlush *f = container_of(io, FileFlush, io);
    MappedWriter *w = f->w;

    g_free(f);
    stage_part_ended(w, result);
}

static void flush_files(MappedWriter *w)
{
    for (unsigned i = 0; i < w->node->children->len; i++) {
        const BlockChild *child = g_ptr_array_index(w->node->children, i);
        FileFlush *f;

        if (child->role & BLOCK_ROLE_COW) {
            continue;
        }
        f = g_new0(FileFlush, 1);
        f->w = w;
        f->io = (BlockIo){.op = BLOCK_FLUSH, .done = flush_done};
        w->pending++;
        block_debug_event(child->node, "flush_to_os");
        block_debug_event(child->node, "flush_to_disk");
        block_node_submit(child->node, &f->io);
    }
}

static void write_runs(MappedWriter *w, GPtrArray *runs)
{
    for (unsigned i = 0; i < runs->len; i++) {
        TableRun *run = g_ptr_array_index(runs, i);

        run->iov = (struct iovec){run->to.bytes, run->to.len};
        run->io = (BlockIo){.op = BLOCK_WRITE, .offset = run->to.offset, .len = run->to.len, .iov = &run->iov,
                            .iov_count = 1, .done = run_done};
        w->pending++;
        block_node_submit(run->to.child->node, &run->io);
    }
}

/* One more for the stage that is about to go. */
static void add_journal_run(MappedWriter *w, MappedBytes to)
{
    TableRun *run = g_new0(TableRun, 1);

    run->w = w;
    run->to = to;
    g_ptr_array_add(w->ahead, run);
}

static void write_header(MappedWriter *w)
{
    g_ptr_array_set_size(w->ahead, 0); /* they are on disk */
    add_journal_run(w, journal_of(w)->header(w->node, w->stage == MAPPED_HEADER && w->tables->len));
    write_runs(w, w->ahead);
}

/* Starts what the stage does. */
static void stage_go(MappedWriter *w)
{
    w->pending = 0;
    if (w->stage == MAPPED_AHEAD) {
        write_runs(w, w->ahead);
    } else if (w->stage == MAPPED_TABLES) {
        write_runs(w, w->tables);
    } else if (w->stage == MAPPED_HEADER || w->stage == MAPPED_CLEAN) {
        write_header(w);
    } else {
        flush_files(w);
    }
}

static void cycle_begin(MappedWriter *w)
{
    const MappedFormat *format = ((MappedState *)w->node->state)->format;
    const MappedJournal *journal = format->journal;
    uint64_t any = UINT64_MAX, room = journal ? journal->room(w->node) : UINT64_MAX;

    w->result = 0;
    w->more = false;
    if (format->settle) {
        format->settle(w->node);
    }
    for (unsigned i = 0; i < w->regions->len; i++) {
        MappedRegion *region = g_ptr_array_index(w->regions, i);

        w->more |= !take_dirty(w, region, region->ahead ? w->ahead : w->tables, region->ahead ? &any : &room);
    }
    if (journal && w->tables->len) {
        add_journal_run(w, journal->entry(w->node, w->tables));
    }
    w->stage = w->ahead->len ? MAPPED_AHEAD : MAPPED_BLOCKS;
    stage_go(w);
}

void mapped_join_cycle(MappedWriter *w, BlockIo *io)
{
    BlockIo **list = w->stage ? &w->waiting : &w->running;

    io->next = *list;
    *list = io;
    if (!w->stage) {
        cycle_begin(w);
    }
}

/* ---- the writer ---------------------------------------------------------------------------------- */

bool mapped_start_writer(BlockNode *node, GError **err)
{
    MappedState *m = node->state;
    MappedWriter *w = g_new0(MappedWriter, 1);

    w->node = node;
    g_queue_init(&w->fresh);
    w->extents = g_array_new(FALSE, FALSE, sizeof(MappedExtent));
    w->regions = g_ptr_array_new_with_free_func(region_free);
    w->ahead = g_ptr_array_new_with_free_func(run_free);
    w->tables = g_ptr_array_new_with_free_func(run_free);
    m->writer = w;
    if (!m->format->start_writing(node, err)) {
        mapped_free_writer(node);
        return false;
    }
    return true;
}

void mapped_free_writer(BlockNode *node)
{
    MappedState *m = node->state;
    MappedWriter *w = m->writer;

    if (!w) {
        return;
    }
    g_array_unref(w->extents);
    g_ptr_array_unref(w->regions);
    g_ptr_array_unref(w->ahead);
    g_ptr_array_unref(w->tables);
    g_free(w);
    m->writer = NULL;
}
