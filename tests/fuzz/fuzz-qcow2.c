/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile qcow2 images. An input is a byte that chooses one of a few good images and then patches
 * (3 bytes offset, 1 byte kind, 8 bytes value) that damage it; the image is opened, read, written,
 * snapshotted, checked and repaired. Nothing may crash, hang, or reach outside; a repair that says
 * that it repaired everything must be right.
 */
#include <stdio.h>
#include <stdlib.h>

#include "block/dirty_bitmap.h"
#include "block/qcow2/qcow2.h"
#include "tests/unit/qcow2-disk.h"

#define DISK_SIZE (256 * KIB)
#define PACKED_MAX (16 * KIB) /* packing longer clusters takes most of a run's time: only one of them */
#define BASES 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Vm *vm;
static GByteArray *bases[BASES], *image;
static Disk *fuzzed; /* made once, for speed */

/* ---- good images ---------------------------------------------------------------------------- */

static BlockNode *open_disk(Disk *disk, const char *more)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,file=%s,backing=,discard=unmap%s",
                                            disk->node->name, more);
    BlockOpts *opts = block_opts_parse(text, NULL, NULL);
    BlockNode *node = block_node_open(vm, opts, NULL, NULL);

    block_opts_free(opts);
    return node;
}

static Qcow2 *image_of(BlockNode *node)
{
    return *(Qcow2 **)node->state;
}

/* One cluster, packed. */
static void write_packed(BlockNode *node, uint64_t at, const uint8_t *buf, bool any)
{
    uint64_t cluster = image_of(node)->cluster;

    at &= ~(cluster - 1);
    if (cluster <= (any ? 64 * KIB : PACKED_MAX) && at + cluster <= node->size) {
        block_pwrite(node, at, buf, cluster, BLOCK_FLAG_COMPRESSED);
    }
}

static void exercise(BlockNode *node, unsigned seed)
{
    static uint8_t buf[64 * KIB];
    Qcow2Snapshot info = {.name = (char *)"s", .icount = UINT64_MAX};
    uint64_t size = MIN(node->size, DISK_SIZE);

    memset(buf, (int)seed | 1, sizeof buf);
    for (unsigned i = 0; i < 6 && size >= 128 * KIB; i++) {
        uint64_t at = (seed * 7919 + i * 77777) % (size - 64 * KIB) & ~UINT64_C(511);

        block_pwrite(node, at, buf, 3000 * (i + 1), 0);
        block_pzero(node, at + 20 * KIB, 9 * KIB, i & 1 ? BLOCK_FLAG_MAY_UNMAP : 0);
        block_pdiscard(node, at / 2, 40 * KIB);
        write_packed(node, at, buf, i == 2);
        if (i == 3) {
            qcow2_snapshot_create(image_of(node), &info, NULL);
        }
    }
    block_pflush(node);
}

static void make_base(unsigned which)
{
    static const Qcow2CreateOptions options[BASES] = {
        {DISK_SIZE, 3, 65536, 16},
        {DISK_SIZE, 3, 512, 64},
        {DISK_SIZE, 2, 4096, 16},
        {DISK_SIZE, 3, 16384, 8, .extended_l2 = true, .compression_type = QCOW2_COMPRESSION_ZSTD},
        {DISK_SIZE, 3, 4096, 4, .lazy_refcounts = true},
        {DISK_SIZE, 3, 4096, 16}, /* and bitmaps */
    };
    Disk *disk = disk_new(vm, "base", NULL, which);
    BlockNode *node;
    bool ok = qcow2_format(disk->node, &options[which], NULL, NULL);

    g_assert_true(ok);
    disk->node->size = disk->content->len;
    node = open_disk(disk, "");
    g_assert_nonnull(node);
    if (which == BASES - 1) {
        block_dirty_bitmap_add(node, "one", 4096, true, true, NULL);
        block_dirty_bitmap_add(node, "two", 65536, true, false, NULL);
    }
    exercise(node, which);
    block_node_unref(node);
    bases[which] = g_byte_array_ref(disk->content);
    disk_free(disk);
}

/* Where the header extension says that the directory of bitmaps is; 0: nowhere. */
static uint32_t directory_of(const GByteArray *in)
{
    for (uint32_t at = 104; at < 256; at += 8) {
        if (load32_be(in->data + at) == QCOW2_EXT_BITMAPS) {
            uint64_t offset = load64_be(in->data + at + 24);

            return offset < in->len - 96 ? (uint32_t)offset : 0;
        }
    }
    return 0;
}

/* ---- damage --------------------------------------------------------------------------------- */

static void damage(const uint8_t *data, size_t size)
{
    const GByteArray *base = bases[data[0] % BASES];

    g_byte_array_set_size(image, base->len);
    memcpy(image->data, base->data, base->len);
    for (size_t at = 1; size - at >= 12; at += 12) {
        uint32_t offset = (uint32_t)data[at] | (uint32_t)data[at + 1] << 8 |
                          (uint32_t)data[at + 2] << 16;
        unsigned n = 1u << (data[at + 3] & 3);

        /* Half of them hit the header, where the format's fields are; of the last base also its extensions and the
         * directory of bitmaps. */
        if (data[0] % BASES == BASES - 1 && (data[at + 3] & 0x30) == 0x30) {
            offset = directory_of(image) + offset % 96;
        } else {
            offset %= data[at + 3] & 4 ? (data[0] % BASES == BASES - 1 ? 192 : 112) : image->len;
        }
        if (data[at + 3] & 8) {
            offset &= ~7u;
        }
        n = MIN(n, image->len - offset);
        memcpy(image->data + offset, data + at + 4, n);
    }
    disk_reset(fuzzed, image);
}

static void repair(Disk *disk)
{
    BlockNode *node = open_disk(disk, ",x-open-for-check=on");
    BlockCheck first = {0}, second = {0};

    if (!node) {
        return;
    }
    if (node->drv->check(node, BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS, &first, NULL) &&
        first.corruptions == first.corruptions_fixed && first.leaks == first.leaks_fixed &&
        !first.check_errors) {
        g_assert_true(node->drv->check(node, 0, &second, NULL));
        g_assert_cmpuint(second.corruptions, ==, 0);
        g_assert_cmpuint(second.leaks, ==, 0);
    }
    block_node_unref(node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    BlockNode *node;
    static uint8_t buf[DISK_SIZE];

    if (size < 1 || size > 400) {
        return 0;
    }
    if (!vm) {
        vm = vm_new(NULL);
        block_loop_main(vm)->lone = true; /* no other thread takes part */
        for (unsigned i = 0; i < BASES; i++) {
            make_base(i);
        }
        image = g_byte_array_new();
        fuzzed = disk_new(vm, "fuzzed", NULL, 1);
    }
    damage(data, size);
    node = open_disk(fuzzed, ",read-only=on");
    if (node) {
        block_pread(node, 0, buf, MIN(node->size, sizeof buf));
        block_node_unref(node);
    }
    node = open_disk(fuzzed, "");
    if (node) {
        exercise(node, data[0]);
        block_node_unref(node);
    }
    fuzzed->node->size = fuzzed->content->len;
    repair(fuzzed);
    return 0;
}

#ifndef FUZZING

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 600, seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    uint8_t data[1 + 12 * 4];

    /* What damaged images are called; a third argument shows it. */
    if (argc < 4 && !freopen("/dev/null", "w", stderr)) {
        return 1;
    }
    printf("1..1\n");
    for (unsigned i = seed; i < seed + rounds; i++) {
        GRand *rand = g_rand_new_with_seed(i);
        size_t n = 1 + 12 * (size_t)g_rand_int_range(rand, 1, 5);

        for (size_t b = 0; b < n; b++) {
            data[b] = (uint8_t)(g_rand_int_range(rand, 0, 3) ? g_rand_int(rand) : 0);
        }
        g_rand_free(rand);
        printf("# %u\n", i);
        fflush(stdout);
        LLVMFuzzerTestOneInput(data, n);
    }
    printf("ok 1 - %u damaged images\n", rounds);
    disk_free(fuzzed);
    g_byte_array_unref(image);
    for (unsigned i = 0; i < BASES; i++) {
        g_byte_array_unref(bases[i]);
    }
    blk_cleanup(vm);
    vm_free(vm);
    return 0;
}
#endif
