/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty bitmaps of nodes against an array of booleans: recording, ranges, merges, sizes. */
#include <errno.h>

#include "block/dirty_bitmap.h"
#include "util/util.h"

#define UNITS 4099 /* of 512 bytes, a prime: the end is within a byte of every bitmap */
#define SIZE (UNITS * UINT64_C(512))

typedef struct Fixture {
    Vm *vm;
    BlockNode *node;
    bool model[UNITS];
    GRand *rand;
} Fixture;

static void setup(Fixture *f, const void *data)
{
    GError *err = NULL;
    BlockOpts *opts;

    (void)data;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    opts = block_opts_parse("null-co,node-name=n,read-zeroes=on,discard=unmap,size=2098688", "driver", &err);
    g_assert_no_error(err);
    f->node = block_node_open(f->vm, opts, NULL, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(f->node->size, ==, SIZE);
    block_opts_free(opts);
    f->rand = g_rand_new_with_seed(7);
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    block_node_unref(f->node);
    blk_cleanup(f->vm);
    vm_free(f->vm);
    g_rand_free(f->rand);
}

static DirtyBitmap *add(Fixture *f, const char *name, uint64_t granularity)
{
    GError *err = NULL;
    DirtyBitmap *b = block_dirty_bitmap_add(f->node, name, granularity, false, true, &err);

    g_assert_no_error(err);
    return b;
}

/* b says dirty of exactly those of its units that have a dirty unit of the model. */
static void check(const Fixture *f, const DirtyBitmap *b, uint64_t size)
{
    uint64_t unit = UINT64_C(1) << b->granularity_bits, count = 0;

    for (uint64_t at = 0; at < size; at += unit) {
        bool expect = false;

        for (uint64_t i = at / 512; i < MIN(size, at + unit) / 512; i++) {
            expect |= f->model[i];
        }
        count += expect ? unit : 0;
        g_assert_true((block_dirty_bitmap_next(b, at, true) == at) == expect);
        g_assert_true((block_dirty_bitmap_next(b, at, false) == at) == !expect);
    }
    g_assert_cmpuint(block_dirty_bitmap_count(b), ==, count);
    g_assert_cmpuint(block_dirty_bitmap_next(b, size, true), ==, size);
}

static void change(Fixture *f, BlockOp op)
{
    static uint8_t buf[64 * 512];
    uint64_t first = (uint64_t)g_rand_int_range(f->rand, 0, UNITS);
    uint64_t n = (uint64_t)g_rand_int_range(f->rand, 1, 64);
    int ret;

    n = MIN(n, UNITS - first);
    ret = op == BLOCK_WRITE  ? block_pwrite(f->node, first * 512, buf, n * 512, 0)
          : op == BLOCK_ZERO ? block_pzero(f->node, first * 512, n * 512, 0)
          : op == BLOCK_READ ? block_pread(f->node, first * 512, buf, n * 512)
                             : block_pdiscard(f->node, first * 512, n * 512);

    g_assert_cmpint(ret, ==, 0);
    for (uint64_t i = first; op != BLOCK_READ && i < first + n; i++) {
        f->model[i] = true;
    }
}

static void test_record(Fixture *f, const void *data)
{
    static const BlockOp ops[] = {BLOCK_WRITE, BLOCK_ZERO, BLOCK_DISCARD, BLOCK_READ};
    DirtyBitmap *fine = add(f, "fine", 512), *middle = add(f, "middle", 4096), *coarse = add(f, "coarse", MIB);
    DirtyBitmap *off = add(f, "off", 0);

    (void)data;
    g_assert_cmpuint(off->granularity_bits, ==, 16);
    g_assert_true(block_dirty_bitmap_set_enabled(off, false, NULL));
    for (unsigned i = 0; i < 24; i++) {
        change(f, ops[i % 4]);
        check(f, fine, SIZE);
        check(f, middle, SIZE);
        check(f, coarse, SIZE);
        g_assert_cmpuint(block_dirty_bitmap_count(off), ==, 0);
    }
    g_assert_true(block_dirty_bitmap_clear(coarse, NULL));
    g_assert_cmpuint(block_dirty_bitmap_count(coarse), ==, 0);
    g_assert_true(block_dirty_bitmap_merge(coarse, fine, NULL));
    check(f, coarse, SIZE);
    g_assert_true(block_dirty_bitmap_remove(fine, NULL));
    g_assert_true(block_dirty_bitmap_remove(middle, NULL));
    g_assert_true(f->node->recording);
    g_assert_true(block_dirty_bitmap_remove(coarse, NULL));
    g_assert_false(f->node->recording);
}

static void test_ranges(Fixture *f, const void *data)
{
    DirtyBitmap *b = add(f, "b", 512);

    (void)data;
    for (unsigned i = 0; i < 200; i++) {
        uint64_t first = (uint64_t)g_rand_int_range(f->rand, 0, UNITS);
        uint64_t n = (uint64_t)g_rand_int_range(f->rand, 1, 200);
        bool dirty = i % 3;

        n = MIN(n, UNITS - first);
        for (uint64_t at = first; at < first + n; at++) {
            f->model[at] = dirty;
        }
        if (dirty) {
            block_dirty_bitmap_set(b, first * 512 + 1, n * 512 - 2);
        } else {
            block_dirty_bitmap_reset(b, first * 512, n * 512);
        }
        check(f, b, SIZE);
    }
    /* What stands for other bytes too stays. */
    block_dirty_bitmap_set(b, 0, SIZE);
    block_dirty_bitmap_reset(b, 1, 1023);
    g_assert_cmpuint(block_dirty_bitmap_next(b, 0, false), ==, 512);
    g_assert_cmpuint(block_dirty_bitmap_next(b, 512, true), ==, 1024);
    block_dirty_bitmap_reset(b, SIZE - 100, UINT64_MAX - SIZE);
    g_assert_cmpuint(block_dirty_bitmap_next(b, SIZE - 1, true), ==, SIZE - 1);
}

static void test_resize(Fixture *f, const void *data)
{
    DirtyBitmap *b = add(f, "b", 4096);

    (void)data;
    block_dirty_bitmap_set(b, 0, SIZE);
    memset(f->model, 1, sizeof f->model);
    block_node_set_size(f->node, 1000 * 512);
    check(f, b, 1000 * 512);
    block_node_set_size(f->node, SIZE);
    memset(f->model + 1000, 0, sizeof f->model - 1000);
    check(f, b, SIZE);
    b->busy++;
    g_assert_false(block_dirty_bitmaps_check_resize(f->node, SIZE * 2, NULL));
    b->busy--;
    g_assert_true(block_dirty_bitmaps_check_resize(f->node, SIZE * 2, NULL));
}

static void refuse(bool ok, GError **err, const char *text)
{
    g_assert_false(ok);
    g_assert_nonnull(strstr((*err)->message, text));
    g_clear_error(err);
}

static void test_refused(Fixture *f, const void *data)
{
    g_autofree char *longest = g_strnfill(BLOCK_BITMAP_MAX_NAME, 'x'), *longer = g_strnfill(BLOCK_BITMAP_MAX_NAME + 1, 'x');
    DirtyBitmap *b = add(f, longest, 0);
    GError *err = NULL;

    (void)data;
    refuse(block_dirty_bitmap_add(f->node, longest, 0, false, true, &err), &err, "already exists");
    refuse(block_dirty_bitmap_add(f->node, longer, 0, false, true, &err), &err, "too long");
    refuse(block_dirty_bitmap_add(f->node, "", 0, false, true, &err), &err, "empty");
    refuse(block_dirty_bitmap_add(f->node, "p", 0, true, true, &err), &err, "persistent");
    for (unsigned i = 0; i < 9; i++) {
        refuse(block_dirty_bitmap_add(f->node, "g", 1u << i, false, true, &err), &err, "power of 2");
    }
    refuse(block_dirty_bitmap_add(f->node, "g", UINT64_C(1) << 32, false, true, &err), &err, "power of 2");
    refuse(block_dirty_bitmap_add(f->node, "g", 513, false, true, &err), &err, "power of 2");
    b->busy = 1;
    refuse(block_dirty_bitmap_remove(b, &err), &err, "in use");
    refuse(block_dirty_bitmap_clear(b, &err), &err, "in use");
    refuse(block_dirty_bitmap_set_enabled(b, false, &err), &err, "in use");
    refuse(block_dirty_bitmap_merge(b, b, &err), &err, "in use");
    b->busy = 0;
    free(b->bits);
    b->bits = NULL;
    refuse(block_dirty_bitmap_clear(b, &err), &err, "inconsistent");
    refuse(block_dirty_bitmap_merge(add(f, "t", 0), b, &err), &err, "inconsistent");
    g_assert_true(block_dirty_bitmap_remove(b, &err));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/dirty-bitmap/record", Fixture, NULL, setup, test_record, teardown);
    g_test_add("/dirty-bitmap/ranges", Fixture, NULL, setup, test_ranges, teardown);
    g_test_add("/dirty-bitmap/resize", Fixture, NULL, setup, test_resize, teardown);
    g_test_add("/dirty-bitmap/refused", Fixture, NULL, setup, test_refused, teardown);
    return g_test_run();
}
