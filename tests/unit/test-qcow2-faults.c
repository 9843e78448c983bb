/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Failing requests, by a blkdebug node between qcow2 and its file: at the n-th time of each event that
 * qcow2 announces, for every n, the next read, write or flush fails once; and from the n-th write on there is no
 * space left. A run of requests, flushes, snapshots, resizing, commits and closing meets it somewhere. Then
 * the image must be sound (leaks may be), hold all that was flushed, and say nothing of what never was.
 *
 * In CI the later n are samples; KILN_IMAGE_FACTOR=N takes N times as many, KILN_IMAGE_JUDGE=all has
 * qemu-img check every result rather than one in forty.
 */
#include "tests/unit/fault.h"

#define DEPTH 6
#define ROUNDS 6

static const struct {
    const char *event, *iotype;
} events[] = {
    {"pwritev", "write"}, /* each write in turn */
    {"flush_to_disk", "flush"},
    {"l1_update", "write"},
    {"l1_grow_write_table", "write"},
    {"l1_grow_activate_table", "write"},
    {"l2_load", "read"},
    {"l2_update", "write"},
    {"l2_update_compressed", NULL},
    {"l2_alloc_cow_read", "read"},
    {"l2_alloc_write", "write"},
    {"read_aio", "read"},
    {"read_backing_aio", NULL},
    {"read_compressed", "read"},
    {"write_aio", "write"},
    {"write_compressed", "write"},
    {"cow_read", "read"},
    {"cow_write", "write"},
    {"reftable_load", "read"},
    {"reftable_grow", NULL},
    {"refblock_load", "read"},
    {"refblock_update_part", "write"},
    {"refblock_alloc", NULL},
    {"refblock_alloc_hookup", "write"},
    {"refblock_alloc_write", "write"},
    {"refblock_alloc_write_blocks", "write"},
    {"refblock_alloc_write_table", "write"},
    {"refblock_alloc_switch_table", "write"},
    {"cluster_alloc", NULL},
    {"cluster_alloc_bytes", NULL},
    {"cluster_free", NULL},
    {"flush_to_os", NULL},
    {"empty_image_prepare", NULL},
    {"l1_shrink_write_table", NULL},
    {"l1_shrink_free_l2_clusters", NULL},
};

/* ---- the work --------------------------------------------------------------------------------- */

static bool step(World *w, unsigned round)
{
    if (round % 2 && w->config->backed) {
        return commit_step(w);
    }
    if (round % 2 && !w->config->data_file) {
        return snapshot_step(w);
    }
    return round % 4 != 2 || resize_step(w);
}

/* False: an operation on the whole image failed. */
static bool work(World *w)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < 8; i++) {
            random_op(w);
            wait_all(w, DEPTH);
        }
        start(w, BLOCK_FLUSH, 0, 0, false);
        wait_all(w, 0);
        if (!step(w, round)) {
            return false;
        }
    }
    return true;
}

static void sizes_are_known(World *w)
{
    for (unsigned d = 0; d < 2; d++) {
        w->disks[d]->node->size = w->disks[d]->content->len;
    }
}

/* One life of the image. How many requests failed; *ok: it can be opened once more. */
static unsigned live(World *w, const Fault *f, unsigned phase, bool *ok)
{
    BlockNode *debug = open_debug(w, f, phase);
    GError *err = NULL;
    unsigned failed;

    w->node = try_open_image(w, "debug", "disk1", "base", &err);
    *ok = step_ended(w, err);
    if (*ok) {
        *ok = work(w);
        flush_at_last(w, f);
        block_node_unref(w->node);
    }
    w->node = NULL;
    failed = block_debug_failed(debug);
    block_node_unref(debug);
    sizes_are_known(w);
    return failed;
}

static void start_again(World *w, GByteArray *const *before)
{
    block_node_unref(w->base);
    for (unsigned d = 0; d < 2; d++) {
        Disk *disk = w->disks[d];

        g_byte_array_set_size(disk->content, 0);
        g_byte_array_append(disk->content, before[d]->data, before[d]->len);
        g_ptr_array_set_size(disk->volatile_writes, 0);
        disk->node->size = disk->content->len;
        g_rand_set_seed(disk->rand, d);
        g_clear_pointer(&w->snapshots[d], g_free);
    }
    w->base = w->config->backed ? open_base(w, "disk1", "base") : NULL;
    g_ptr_array_set_size(w->log, 0);
    g_rand_set_seed(w->rand, 7);
    memset(w->now, 0, sizeof w->now);
    w->sectors = SECTORS;
    w->ops = w->flushes = w->errors = w->next_id = 0;
}

/* How many requests failed. */
static unsigned run_fault(World *w, const Fault *f, GByteArray *const *before, unsigned *judged)
{
    unsigned failed;
    bool ok;
    Replay r;

    start_again(w, before);
    failed = live(w, f, 0, &ok);
    if (ok && !f->for_good) {
        failed += live(w, f, 1, &ok);
    }
    replay_init(&r, w, before);
    for (unsigned i = 0; i < w->log->len; i++) {
        const DiskEvent *e = g_ptr_array_index(w->log, i);

        if (e->kind == DISK_NOTE) {
            take_note(&r, e);
        }
    }
    for (unsigned d = 0; d < 2; d++) {
        g_byte_array_unref(r.prefix[d]);
        r.prefix[d] = copy_of(w->disks[d]->content);
    }
    r.states = (*judged)++;
    judge(&r, r.prefix);
    replay_clear(&r);
    return failed;
}

/* For every n until it no longer comes to pass; further on only some. */
static unsigned each_time(World *w, Fault f, GByteArray *const *before, unsigned *judged)
{
    unsigned hits = 0, dense = 8 * factor();

    for (f.n = 1; f.n < 2000; f.n += f.n < dense ? 1 : MAX(f.n / dense, 1) * 3) {
        if (!run_fault(w, &f, before, judged)) {
            break;
        }
        hits++;
    }
    return hits;
}

static void test_faults(const void *data)
{
    g_autoptr(GString) told = g_string_new(NULL);
    GByteArray *before[2];
    unsigned judged = 0;
    World w;

    world_init(&w, data, before);
    w.disks[0]->log = w.disks[1]->log = NULL;
    w.failing = true;
    g_assert_cmpuint(run_fault(&w, &(Fault){0}, before, &judged), ==, 0);
    g_assert_cmpuint(w.errors, ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
        Fault f = {events[i].event, events[i].iotype, .error = EIO};
        unsigned hits = 0;

        for (f.phase = 0; f.phase < 2; f.phase++) {
            hits += each_time(&w, f, before, &judged);
        }
        g_string_append_printf(told, " %s %u", f.event, hits);
    }
    Fault full = {"pwritev", "write", .error = ENOSPC, .for_good = true};

    g_string_append_printf(told, " full %u", each_time(&w, full, before, &judged));
    g_test_message("%u runs:%s", judged, told->str);
    g_byte_array_unref(before[0]);
    g_byte_array_unref(before[1]);
    world_clear(&w);
}

static const Config configs[] = {
    {"4k", 4096, 16},
    {"512-64bit", 512, 64, .tiny_cache = true},
    {"512-64bit-grows", 512, 64, .fill = 3980},
    {"v2", 2048, 16, .v2 = true},
    {"subclusters", 16384, 16, .extended = true},
    {"subclusters-data-file", 16384, 16, .extended = true, .data_file = true},
    {"lazy", 1024, 8, .lazy = true, .tiny_cache = true},
    {"commit", 1024, 16, .backed = true, .tiny_cache = true},
    {"luks", 4096, 16, .luks = true},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-faults/%s", configs[i].name);

        g_test_add_data_func(path, &configs[i], test_faults);
    }
    return g_test_run();
}
