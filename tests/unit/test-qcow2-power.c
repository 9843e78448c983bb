/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Power cuts, all of them: every write and flush that reaches the files of an image is recorded, with
 * notes of what was asked for and what had ended when; then the record is replayed. After each write
 * (what a killed process leaves) and, for what flushes leave open, with chosen parts of what was
 * written since the last one, an image must open, pass the check, and hold all that was flushed before.
 *
 * KILN_IMAGE_FACTOR=N makes the record N times longer, KILN_IMAGE_JUDGE=all lets qemu-img check each
 * state rather than one in forty.
 */
#include <glib/gstdio.h>

#include "tests/unit/power-replay.h"

#define DEPTH 12

static void close_image(World *w)
{
    block_node_unref(w->node);
    w->disks[0]->node->size = w->disks[0]->content->len;
    w->disks[1]->node->size = w->disks[1]->content->len;
}

static void reopen_step(World *w)
{
    close_image(w);
    note(w, NOTE_SYNCED, 0, 0);
    w->node = open_image(w, "disk0", "disk1", "base");
    g_assert_cmpuint(w->node->size, ==, w->sectors * SECTOR);
}

static void record(World *w)
{
    const Config *c = w->config;
    GError *err = NULL;

    w->node = open_image(w, "disk0", "disk1", "base");
    if (c->bitmap) {
        g_assert_nonnull(block_dirty_bitmap_add(w->node, "b", 4096, true, true, &err));
        reopen_step(w);
        note(w, NOTE_BITMAP, 0, 0);
    }
    for (unsigned round = 0; round < (c->rounds ? c->rounds : 14) * factor(); round++) {
        for (unsigned i = 0; i < 14; i++) {
            random_op(w);
            wait_all(w, (round % 4 == 3) != c->synced ? 0 : DEPTH);
        }
        if (round % 3 == 0) {
            continue; /* on with what is in flight */
        }
        wait_all(w, 0);
        if (round % 2 && c->backed) {
            commit_step(w); /* which would change snapshots, so these are the others' */
        } else if (round % 2 && !c->data_file) {
            snapshot_step(w);
        } else if (round % 4 == 2) {
            reopen_step(w);
        } else {
            resize_step(w);
        }
    }
    wait_all(w, 0);
    close_image(w);
}

static void test_power(const void *data)
{
    GByteArray *before[2];
    World w;

    world_init(&w, data, before);
    record(&w);
    g_clear_pointer(&w.base, block_node_unref);
    replay(&w, before, NULL);
    g_byte_array_unref(before[0]);
    g_byte_array_unref(before[1]);
    world_clear(&w);
}

static const Config configs[] = {
    {"4k", 4096, 16},
    {"64k", 65536, 16},
    {"512", 512, 16, .tiny_cache = true},
    {"512-64bit", 512, 64},
    {"512-64bit-grows", 512, 64, .fill = 3900, .rounds = 8},
    {"1bit-data-file", 4096, 1, .data_file = true},
    {"v2", 4096, 16, .v2 = true},
    {"v2-commit", 2048, 16, .v2 = true, .backed = true},
    {"subclusters", 16384, 16, .extended = true},
    {"subclusters-zstd-commit", 16384, 8, .extended = true, .zstd = true, .backed = true},
    {"subclusters-data-file", 16384, 16, .extended = true, .data_file = true},
    {"lazy", 4096, 16, .lazy = true},
    {"lazy-commit", 1024, 16, .lazy = true, .backed = true, .tiny_cache = true},
    {"commit", 4096, 16, .backed = true},
    {"bitmap", 4096, 16, .bitmap = true},
    {"bitmap-512", 512, 8, .bitmap = true, .tiny_cache = true},
    {"synced", 4096, 16, .synced = true},
    {"synced-512", 512, 64, .synced = true, .tiny_cache = true},
    {"synced-1bit-commit", 16384, 1, .synced = true, .backed = true},
    {"synced-lazy", 4096, 16, .synced = true, .lazy = true},
    {"synced-luks", 4096, 16, .synced = true, .luks = true, .rounds = 8},
    {"luks", 4096, 16, .luks = true, .rounds = 8},
    {"luks-subclusters", 16384, 16, .luks = true, .extended = true, .rounds = 8},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_autofree char *path = g_strdup_printf("/qcow2-power/%s", configs[i].name);

        g_test_add_data_func(path, &configs[i], test_power);
    }
    return g_test_run();
}
