/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/blkdebug.h"

#include <errno.h>

#include "util/iov.h"
#include "util/util.h"

#define ZEROS_PIECE (64 * KIB) /* of zeros that are written out */

/* One request of several that run one after the other. */
typedef struct Step {
    BlockOp op;
    uint64_t offset, len;
    uint64_t at;               /* data: in the split's buffer; OWN_DATA: in the request's own, where they belong */
    const char *before, *after; /* events; NULL: none */
    bool patch;                /* what changes is put into the buffer first: */
    uint64_t patch_at, patch_len;
} Step;
#define OWN_DATA UINT64_MAX

typedef struct Split {
    BlockNode *node;
    DebugLimits *limits;
    BlockIo *outer;
    BlockIo *part;      /* under way */
    struct iovec iov;
    GArray *steps;
    unsigned next;
    uint8_t *buffer;    /* NULL: none */
    bool writes, alone;
} Split;

/* ---- options --------------------------------------------------------------------------------- */

/* unit 0: a power of two. */
static bool take(BlockOpts *opts, const char *key, uint32_t unit, uint32_t *value, bool *any, GError **err)
{
    bool present = false;
    uint64_t size = 0;

    if (!block_opts_take_size(opts, key, &size, &present, err)) {
        return false;
    }
    *any |= present;
    if (size >= INT32_MAX || (size && (unit ? size % unit != 0 : !is_power_of_two(size)))) {
        g_autofree char *must = unit ? g_strdup_printf("a multiple of %u", unit) : g_strdup("a power of two");

        return error_set(err, "Cannot meet constraints with %s %" PRIu64 ": it must be %s below 2 GiB", key, size, must);
    }
    *value = (uint32_t)size;
    return true;
}

bool debug_limits_take(DebugLimits *l, BlockOpts *opts, uint32_t child_align, GError **err)
{
    uint32_t align;

    l->tail = &l->queue;
    if (!take(opts, "align", 0, &l->align, &l->any, err)) {
        return false;
    }
    l->align = MAX(l->align, 1);
    align = MAX(l->align, child_align);
    return take(opts, "max-transfer", align, &l->max_transfer, &l->any, err) &&
           take(opts, "opt-write-zero", align, &l->opt_zero, &l->any, err) &&
           take(opts, "max-write-zero", MAX(l->opt_zero, align), &l->max_zero, &l->any, err) &&
           take(opts, "opt-discard", align, &l->opt_discard, &l->any, err) &&
           take(opts, "max-discard", MAX(l->opt_discard, align), &l->max_discard, &l->any, err);
}

/* ---- steps ------------------------------------------------------------------------------------ */

/* Never behind the end of the disk, whose last block may be a part of one. */
static Step *add(Split *s, BlockOp op, uint64_t offset, uint64_t len, uint64_t at)
{
    const uint64_t size = s->node->size;
    Step step = {.op = op, .offset = offset, .len = offset < size ? MIN(len, size - offset) : 0, .at = at};

    g_array_append_val(s->steps, step);
    return &g_array_index(s->steps, Step, s->steps->len - 1);
}

static uint64_t max_data(const DebugLimits *l)
{
    return l->max_transfer ? l->max_transfer : align_down(INT32_MAX, l->align);
}

/* at moves along with the data, unless zeros are written. */
static void add_data(Split *s, BlockOp op, uint64_t from, uint64_t to, uint64_t at, uint64_t piece)
{
    const bool own = at == OWN_DATA, same = op == BLOCK_WRITE && s->outer->op == BLOCK_ZERO;

    for (uint64_t pos = from; pos < to; pos += piece) {
        add(s, op, pos, MIN(piece, to - pos), own ? OWN_DATA : same ? at : at + (pos - from));
    }
}

static bool add_buffer(Split *s, uint64_t len)
{
    s->buffer = len <= SIZE_MAX ? g_try_malloc0(len) : NULL;
    return s->buffer != NULL;
}

/* Blocks that are not wholly covered go through a buffer, with all between them, as one request. */
static bool plan_read(Split *s, uint64_t a, uint64_t b)
{
    if (a == s->outer->offset && b == a + s->outer->len) {
        add_data(s, BLOCK_READ, a, b, OWN_DATA, max_data(s->limits));
        return true;
    }
    add_data(s, BLOCK_READ, a, b, 0, max_data(s->limits));
    return add_buffer(s, b - a);
}

static Step *add_block_read(Split *s, uint64_t offset, uint64_t at, bool head)
{
    Step *step = add(s, BLOCK_READ, offset, s->limits->align, at);

    step->before = head ? "pwritev_rmw_head" : "pwritev_rmw_tail";
    step->after = head ? "pwritev_rmw_after_head" : "pwritev_rmw_after_tail";
    s->alone = true;
    return step;
}

static bool plan_write(Split *s, uint64_t a, uint64_t b)
{
    const uint64_t align = s->limits->align, from = s->outer->offset, to = from + s->outer->len;
    unsigned first;

    if (a == from && b == to) {
        add_data(s, BLOCK_WRITE, a, b, OWN_DATA, max_data(s->limits));
        return true;
    }
    if (a != from) {
        add_block_read(s, a, 0, true);
    }
    if (b != to && (b - a > align || a == from)) {
        add_block_read(s, b - align, b - align - a, false);
    }
    first = s->steps->len;
    add_data(s, BLOCK_WRITE, a, b, 0, max_data(s->limits));
    Step *step = &g_array_index(s->steps, Step, first);
    step->patch = true;
    step->patch_at = from - a;
    step->patch_len = to - from;
    return add_buffer(s, b - a);
}

/* Zeros in a block of which more must stay. The buffer begins with zeros to write, then two blocks. */
static void add_zero_rmw(Split *s, uint64_t block, uint64_t from, uint64_t to, uint64_t at, bool head)
{
    add_block_read(s, block, at, head);
    Step *step = add(s, BLOCK_WRITE, block, s->limits->align, at);
    step->patch = true;
    step->patch_at = at + (from - block);
    step->patch_len = to - from;
}

/* Whole blocks; 0, or -ENOTSUP: some of it must be written and that is not allowed. */
static int plan_zero_blocks(Split *s, uint64_t pos, uint64_t end)
{
    const DebugLimits *l = s->limits;
    const uint64_t unit = MAX(l->opt_zero, l->align), max = align_down(l->max_zero ? l->max_zero : INT32_MAX, unit);

    while (pos < end) {
        const uint64_t head = pos % unit, tail = end % unit;
        uint64_t n = end - pos;

        if (head) {
            n = MIN(MIN(n, max_data(l)), unit - head);
        } else if (tail && n > unit) {
            n -= tail;
        }
        n = MIN(n, max);
        if (n >= unit) {
            add(s, BLOCK_ZERO, pos, n, OWN_DATA);
        } else if (s->outer->no_fallback) {
            return -ENOTSUP;
        } else {
            add_data(s, BLOCK_WRITE, pos, pos + n, 0, MIN(max_data(l), align_up(ZEROS_PIECE, l->align)));
        }
        pos += n;
    }
    return 0;
}

static int plan_zero(Split *s, uint64_t a, uint64_t b)
{
    const uint64_t align = s->limits->align, from = s->outer->offset, to = from + s->outer->len;
    const uint64_t zeros = align_up(ZEROS_PIECE, align), first = a == from ? a : a + align, last = b == to ? b : b - align;
    int ret = 0;

    if ((a != from || b != to) && s->outer->no_fallback) {
        return -ENOTSUP;
    }
    if (a != from) {
        add_zero_rmw(s, a, from, MIN(to, a + align), zeros, true);
    }
    if (first < last) {
        ret = plan_zero_blocks(s, first, last);
    }
    if (b != to && (b - align > a || a == from)) {
        add_zero_rmw(s, b - align, b - align, to, zeros + align, false);
    }
    return ret ? ret : add_buffer(s, zeros + 2 * align) ? 0 : -ENOMEM;
}

/* What is smaller than a block stays. */
static void plan_discard(Split *s)
{
    const DebugLimits *l = s->limits;
    const uint64_t unit = MAX(l->opt_discard, l->align), max = align_down(l->max_discard ? l->max_discard : INT32_MAX, unit);
    uint64_t pos = align_up(s->outer->offset, l->align), end = align_down(s->outer->offset + s->outer->len, l->align);

    while (pos < end) {
        const uint64_t head = pos % unit, tail = end % unit;
        uint64_t n = end - pos;

        if (head) {
            n = MIN(n, unit - head);
        } else if (tail && n > unit) {
            n -= tail;
        }
        n = MIN(n, max);
        add(s, BLOCK_DISCARD, pos, n, OWN_DATA);
        pos += n;
    }
}

/* What is left at the end of the disk for a last block counts as a whole one. */
static int plan(Split *s)
{
    const BlockIo *io = s->outer;
    const uint64_t align = s->limits->align, end = io->offset + io->len;
    const uint64_t a = align_down(io->offset, align), b = end == s->node->size ? end : align_up(end, align);

    switch (io->op) {
    case BLOCK_READ:
        return plan_read(s, a, b) ? 0 : -ENOMEM;
    case BLOCK_WRITE:
        return plan_write(s, a, b) ? 0 : -ENOMEM;
    case BLOCK_ZERO:
        return plan_zero(s, a, b);
    default:
        plan_discard(s);
        return 0;
    }
}

/* ---- running ---------------------------------------------------------------------------------- */

static void start(BlockNode *node, DebugLimits *l, BlockIo *io);

static void leave(Split *s)
{
    DebugLimits *l = s->limits;

    l->writers -= s->writes;
    l->alone &= !s->alone;
    while (l->queue && !l->alone) {
        BlockIo *io = l->queue;

        l->queue = io->next;
        l->tail = l->queue ? l->tail : &l->queue;
        start(s->node, l, io);
        if (l->queue == io) {
            break; /* it must wait for others */
        }
    }
}

static void split_end(Split *s, int result)
{
    BlockIo *outer = s->outer;

    if (outer->op == BLOCK_READ && s->buffer && !result) {
        iov_from_buf(outer->iov, outer->iov_count, 0, s->buffer + outer->offset % s->limits->align, outer->len);
    }
    leave(s);
    g_array_free(s->steps, TRUE);
    g_free(s->buffer);
    block_io_finish_later(s->node, outer, result);
    g_free(s);
}

static void next_step(Split *s);

static void step_done(BlockIo *io, int result)
{
    Split *s = io->opaque;
    const Step *step = &g_array_index(s->steps, Step, s->next - 1);

    block_io_free(s->node, io);
    if (result < 0) {
        split_end(s, result);
        return;
    }
    if (step->after) {
        blkdebug_event(s->node, step->after);
    }
    next_step(s);
}

static void patch(Split *s, const Step *step)
{
    uint8_t *p = s->buffer + step->patch_at;

    if (s->outer->op == BLOCK_WRITE) {
        iov_to_buf(s->outer->iov, s->outer->iov_count, 0, p, step->patch_len);
    } else {
        memset(p, 0, step->patch_len);
    }
}

static void next_step(Split *s)
{
    const BlockIo *outer = s->outer;
    const Step *step;
    BlockIo *part;

    if (s->next == s->steps->len) {
        split_end(s, 0);
        return;
    }
    step = &g_array_index(s->steps, Step, s->next++);
    part = block_io_new(s->node);
    if (step->before) {
        blkdebug_event(s->node, step->before);
    }
    if (step->patch) {
        patch(s, step);
    }
    part->op = step->op;
    part->offset = step->offset;
    part->len = step->len;
    part->fua = outer->fua && step->op != BLOCK_READ;
    part->may_unmap = outer->may_unmap;
    part->no_fallback = outer->no_fallback;
    part->compressed = outer->compressed && step->at == OWN_DATA;
    part->unchanged = outer->unchanged;
    part->done = step_done;
    part->opaque = s;
    if (step->op == BLOCK_READ || step->op == BLOCK_WRITE) {
        if (step->at == OWN_DATA) {
            block_io_slice(part, outer, step->offset - outer->offset, step->len);
        } else {
            s->iov = (struct iovec){s->buffer + step->at, step->len};
            part->iov = &s->iov;
            part->iov_count = 1;
        }
    }
    blkdebug_part(s->node, part);
}

static bool changes(const BlockIo *io) { return io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD; }

static bool is_aligned(const DebugLimits *l, const BlockIo *io)
{
    return !((io->offset | io->len) & (l->align - 1));
}

static void start(BlockNode *node, DebugLimits *l, BlockIo *io)
{
    Split *s;
    int ret;

    if (changes(io) && (l->alone || (l->writers && !is_aligned(l, io)))) {
        io->next = l->queue; /* back to where it came from: the first one */
        l->queue = io;
        l->tail = io->next ? l->tail : &io->next;
        return;
    }
    s = g_new0(Split, 1);
    *s = (Split){.node = node, .limits = l, .outer = io, .writes = changes(io), .steps = g_array_new(FALSE, FALSE, sizeof(Step))};
    ret = plan(s);
    l->writers += s->writes;
    l->alone |= s->alone;
    if (ret) {
        split_end(s, ret);
    } else {
        next_step(s);
    }
}

bool debug_limits_submit(BlockNode *node, DebugLimits *l, BlockIo *io)
{
    if (!l->any || !io->len || !(changes(io) || io->op == BLOCK_READ) || !range_fits(io->offset, io->len, node->size)) {
        return false;
    }
    if (changes(io) && l->queue) {
        io->next = NULL;
        *l->tail = io;
        l->tail = &io->next;
    } else {
        start(node, l, io);
    }
    return true;
}
