/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "block/accounting.h"
#include "block/backend_int.h"
#include "block/gates.h"
#include "util/loop.h"

/* Times in nanoseconds. */
typedef struct Half {
    uint64_t min, max, sum, count;
} Half;

typedef struct Window {
    int64_t half_ns, number; /* how long halves are; which one runs, from the epoch on */
    Half now[BLK_TIMED_KINDS], before[BLK_TIMED_KINDS];
} Window;

typedef struct Histogram {
    GArray *boundaries; /* NULL: none */
    uint64_t *bins;     /* one more */
} Histogram;

struct BlkTimes {
    int64_t epoch_ns;
    unsigned intervals;
    Window windows[BLK_INTERVALS_MAX];
    Histogram histograms[BLK_TIMED_KINDS];
};

/* ---- rules ---------------------------------------------------------------------------------- */

void blk_rules_clear(BlkRules *rules)
{
    for (unsigned i = 0; i < BLK_TIMED_KINDS; i++) {
        g_clear_pointer(&rules->boundaries[i], g_array_unref);
    }
}

static void histogram_follow(Histogram *h, GArray *boundaries)
{
    if (h->boundaries == boundaries) {
        return;
    }
    g_clear_pointer(&h->boundaries, g_array_unref);
    g_clear_pointer(&h->bins, g_free);
    if (boundaries) {
        h->boundaries = g_array_ref(boundaries);
        h->bins = g_new0(uint64_t, boundaries->len + 1);
    }
}

static bool wants_times(const BlkRules *rules)
{
    bool wants = rules->intervals;

    for (unsigned i = 0; i < BLK_TIMED_KINDS; i++) {
        wants |= rules->boundaries[i] != NULL;
    }
    return wants;
}

static void times_free(BlkTimes *times)
{
    for (unsigned i = 0; times && i < BLK_TIMED_KINDS; i++) {
        histogram_follow(&times->histograms[i], NULL);
    }
    g_free(times);
}

void blk_account_follow(BlkAccount *a, const BlkRules *rules)
{
    a->skip_failed = rules->skip_failed;
    a->skip_invalid = rules->skip_invalid;
    if (!wants_times(rules)) {
        g_clear_pointer(&a->times, times_free);
        return;
    }
    if (!a->times) {
        a->times = g_new0(BlkTimes, 1);
        a->times->epoch_ns = rules->epoch_ns;
    }
    for (unsigned i = 0; i < rules->intervals; i++) {
        const int64_t half = rules->seconds[i] * (int64_t)1000000000 / 2;

        if (i >= a->times->intervals || a->times->windows[i].half_ns != half) {
            a->times->windows[i] = (Window){.half_ns = half};
        }
    }
    a->times->intervals = rules->intervals;
    for (unsigned i = 0; i < BLK_TIMED_KINDS; i++) {
        histogram_follow(&a->times->histograms[i], rules->boundaries[i]);
    }
}

void blk_account_clear(BlkAccount *a)
{
    g_clear_pointer(&a->times, times_free);
}

/* ---- counting ------------------------------------------------------------------------------- */

static void window_count(Window *w, int64_t since_epoch, BlkStatKind kind, uint64_t ns)
{
    const int64_t number = since_epoch / w->half_ns;
    Half *h = &w->now[kind];

    if (number != w->number) {
        if (number == w->number + 1) {
            memcpy(w->before, w->now, sizeof w->before);
        } else {
            memset(w->before, 0, sizeof w->before);
        }
        memset(w->now, 0, sizeof w->now);
        w->number = number;
    }
    h->min = h->count ? MIN(h->min, ns) : ns;
    h->max = MAX(h->max, ns);
    h->sum += ns;
    h->count++;
}

/* In which bin: below the first boundary, between the first and the second, ... */
static unsigned bin_of(const GArray *boundaries, uint64_t ns)
{
    unsigned low = 0, high = boundaries->len;

    while (low < high) {
        const unsigned middle = (low + high) / 2;

        if (ns < g_array_index(boundaries, uint64_t, middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void times_count(BlkTimes *t, BlkStatKind kind, int64_t now, uint64_t ns, bool in_windows)
{
    Histogram *h = kind < BLK_TIMED_KINDS ? &t->histograms[kind] : NULL;

    if (!h) {
        return;
    }
    if (h->boundaries) {
        h->bins[bin_of(h->boundaries, ns)]++;
    }
    for (unsigned i = 0; in_windows && i < t->intervals; i++) {
        window_count(&t->windows[i], now - t->epoch_ns, kind, ns);
    }
}

void blk_account_request(BlkAccount *a, BlkStatKind kind, int64_t start_ns, uint64_t bytes, unsigned joined, int result)
{
    BlkStats *stats = &a->stats;
    const int64_t now = clock_monotonic_ns();
    const uint64_t ns = (uint64_t)(now - start_ns);
    const bool counts = result >= 0 || !a->skip_failed;

    if (result < 0) {
        stats->failed[kind]++;
    } else {
        stats->ops[kind]++;
        stats->merged[kind] += joined;
        stats->bytes[kind] += bytes;
    }
    if (counts) {
        stats->last_ns = now;
        stats->total_ns[kind] += ns;
        stats->max_ns[kind] = MAX(stats->max_ns[kind], ns);
    }
    if (a->times) {
        times_count(a->times, kind, now, ns, counts);
    }
}

void blk_account_invalid(BlkAccount *a, BlkStatKind kind)
{
    a->stats.invalid[kind]++;
    if (!a->skip_invalid) {
        a->stats.last_ns = clock_monotonic_ns();
    }
}

/* ---- telling -------------------------------------------------------------------------------- */

static void add_stats(BlkStats *to, const BlkStats *from)
{
    for (unsigned i = 0; i < BLK_STAT_KINDS; i++) {
        to->ops[i] += from->ops[i];
        to->bytes[i] += from->bytes[i];
        to->failed[i] += from->failed[i];
        to->invalid[i] += from->invalid[i];
        to->merged[i] += from->merged[i];
        to->total_ns[i] += from->total_ns[i];
        to->max_ns[i] = MAX(to->max_ns[i], from->max_ns[i]);
    }
    to->last_ns = MAX(to->last_ns, from->last_ns);
    to->wr_highest_offset = MAX(to->wr_highest_offset, from->wr_highest_offset);
}

void blk_account_take_over(BlkAccount *a, const BlkAccount *from)
{
    add_stats(&a->stats, &from->stats);
}

static void add_half(BlkTimed *to, const Half *from)
{
    if (from->count) {
        to->min_ns = to->count ? MIN(to->min_ns, from->min) : from->min;
        to->max_ns = MAX(to->max_ns, from->max);
        to->sum_ns += from->sum;
        to->count += from->count;
    }
}

static void tell_window(const Window *w, int64_t number, BlkInterval *to)
{
    for (unsigned kind = 0; kind < BLK_TIMED_KINDS; kind++) {
        if (number - w->number <= 1) {
            add_half(&to->kinds[kind], &w->now[kind]);
        }
        if (number == w->number) {
            add_half(&to->kinds[kind], &w->before[kind]);
        }
    }
}

void blk_figures_begin(BlkFigures *figures, const BlkRules *rules)
{
    const int64_t now = clock_monotonic_ns() - rules->epoch_ns;

    *figures = (BlkFigures){.skip_failed = rules->skip_failed, .skip_invalid = rules->skip_invalid, .since_epoch_ns = now,
                            .intervals = rules->intervals};
    for (unsigned i = 0; i < rules->intervals; i++) {
        const int64_t half = rules->seconds[i] * (int64_t)1000000000 / 2, number = now / half;

        figures->interval[i].seconds = rules->seconds[i];
        figures->interval[i].covers_ns = now - MAX(number - 1, 0) * half;
    }
    for (unsigned i = 0; i < BLK_TIMED_KINDS; i++) {
        if (rules->boundaries[i]) {
            figures->boundaries[i] = g_array_ref(rules->boundaries[i]);
            figures->bins[i] = g_new0(uint64_t, rules->boundaries[i]->len + 1);
        }
    }
}

void blk_account_tell(const BlkAccount *a, BlkFigures *figures)
{
    add_stats(&figures->stats, &a->stats);
    for (unsigned i = 0; a->times && i < a->times->intervals; i++) {
        const Window *w = &a->times->windows[i];

        tell_window(w, figures->since_epoch_ns / w->half_ns, &figures->interval[i]);
    }
    for (unsigned i = 0; a->times && i < BLK_TIMED_KINDS; i++) {
        const Histogram *h = &a->times->histograms[i];

        for (unsigned j = 0; h->boundaries && j <= h->boundaries->len; j++) {
            figures->bins[i][j] += h->bins[j];
        }
    }
}

void blk_figures_clear(BlkFigures *figures)
{
    for (unsigned i = 0; i < BLK_TIMED_KINDS; i++) {
        g_clear_pointer(&figures->boundaries[i], g_array_unref);
        g_clear_pointer(&figures->bins[i], g_free);
    }
}

/* ---- of a back end -------------------------------------------------------------------------- */

typedef struct Visit {
    BlkAccount *account;
    void (*fn)(BlkAccount *account, void *opaque);
    void *opaque;
} Visit;

static void visit(void *opaque)
{
    const Visit *v = opaque;

    v->fn(v->account, v->opaque);
}

void blk_account_visit(BlockLoop *loop, BlkAccount *account, void (*fn)(BlkAccount *account, void *opaque), void *opaque)
{
    block_loop_call(loop, visit, &(Visit){account, fn, opaque});
}

/* Each stream, in its thread. */
static void visit_all(BlockBackend *blk, void (*fn)(BlkAccount *account, void *opaque), void *opaque)
{
    blk_account_visit(blk->loop, &blk->account, fn, opaque);
    blk_gates_visit_accounts(blk, fn, opaque);
}

static void follow(BlkAccount *account, void *opaque)
{
    blk_account_follow(account, opaque);
}

static void tell(BlkAccount *account, void *opaque)
{
    blk_account_tell(account, opaque);
}

static void tell_stats(BlkAccount *account, void *opaque)
{
    add_stats(opaque, &account->stats);
}

const BlkStats *blk_stats(const BlockBackend *blk)
{
    return &blk->account.stats;
}

void blk_get_stats(BlockBackend *blk, BlkStats *stats)
{
    *stats = (BlkStats){0};
    visit_all(blk, tell_stats, stats);
}

void blk_get_figures(BlockBackend *blk, BlkFigures *figures)
{
    blk_figures_begin(figures, &blk->rules);
    visit_all(blk, tell, figures);
}

void blk_count_invalid(BlockBackend *blk, BlkStatKind kind)
{
    if (blk->home) {
        blk_gate_count_invalid(blk, blk->home, kind);
    } else {
        blk_account_invalid(&blk->account, kind);
    }
}

void blk_set_account(BlockBackend *blk, bool failed, bool invalid)
{
    blk->rules.skip_failed = !failed;
    blk->rules.skip_invalid = !invalid;
    visit_all(blk, follow, &blk->rules);
}

bool blk_accounts_failed(const BlockBackend *blk)
{
    return !blk->rules.skip_failed;
}

bool blk_accounts_invalid(const BlockBackend *blk)
{
    return !blk->rules.skip_invalid;
}

void blk_set_intervals(BlockBackend *blk, const uint32_t *seconds, unsigned count)
{
    blk->rules.intervals = MIN(count, BLK_INTERVALS_MAX);
    memcpy(blk->rules.seconds, seconds, blk->rules.intervals * sizeof *seconds);
    visit_all(blk, follow, &blk->rules);
}

void blk_set_boundaries(BlockBackend *blk, BlkStatKind kind, const GArray *boundaries)
{
    GArray **mine = &blk->rules.boundaries[kind];

    g_clear_pointer(mine, g_array_unref);
    if (boundaries) {
        *mine = g_array_sized_new(FALSE, FALSE, sizeof(uint64_t), boundaries->len);
        g_array_append_vals(*mine, boundaries->data, boundaries->len);
    }
    visit_all(blk, follow, &blk->rules);
}
