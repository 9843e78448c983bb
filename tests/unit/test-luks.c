/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Key slots of LUKS images while memory is short: refused with a clear text. The linker wraps calloc. */
#include <glib/gstdio.h>
#include <stdlib.h>

#include "block/crypto.h"
#include "block/slow.h"
#include "core/user_object.h"
#include "util/loop.h"
#include "util/util.h"

#define MATERIAL (UINT64_C(64) * 4000) /* aes-256-xts */

static int allowed = INT32_MAX; /* so many allocations of key material succeed */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return n * size == MATERIAL && allowed-- <= 0 ? NULL : __real_calloc(n, size);
}

typedef struct Fixture {
    Vm *vm;
    GPtrArray *secrets;
    char *dir, *image;
} Fixture;

static BlockOpts *parse(const char *text)
{
    GError *err = NULL;
    BlockOpts *opts = block_opts_parse(text, NULL, &err);

    g_assert_no_error(err);
    return opts;
}

static void setup(Fixture *f, const void *data)
{
    BlockOpts *opts = parse("size=1M,key-secret=s,iter-time=1");
    GError *err = NULL;

    (void)data;
    allowed = INT32_MAX;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    f->secrets = g_ptr_array_new_with_free_func((GDestroyNotify)(void (*)(void))object_args_free);
    g_ptr_array_add(f->secrets, object_args_parse("secret,id=s,data=open", &err));
    g_assert_no_error(err);
    user_objects_create(f->vm, f->secrets, false, &err);
    g_assert_no_error(err);
    f->dir = g_dir_make_tmp("kiln-luks-XXXXXX", NULL);
    f->image = g_build_filename(f->dir, "image", NULL);
    g_assert_true(block_driver_luks.create(f->vm, f->image, opts, &err));
    g_assert_no_error(err);
    block_opts_free(opts);
}

static void teardown(Fixture *f, const void *data)
{
    (void)data;
    blk_cleanup(f->vm);
    vm_free(f->vm);
    g_ptr_array_free(f->secrets, TRUE);
    g_unlink(f->image);
    g_rmdir(f->dir);
    g_free(f->image);
    g_free(f->dir);
}

static BlockNode *open_image(Fixture *f, GError **err)
{
    g_autofree char *text = g_strdup_printf("driver=luks,key-secret=s,file.driver=file,file.filename=%s", f->image);
    BlockOpts *opts = parse(text);
    BlockNode *node = block_node_open(f->vm, opts, NULL, err);

    block_opts_free(opts);
    return node;
}

static void test_open(Fixture *f, const void *data)
{
    g_autoptr(GError) err = NULL;
    BlockNode *node;

    (void)data;
    allowed = 0;
    g_assert_null(open_image(f, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(err->message, "no memory for the 256000 bytes of a LUKS key slot"));
    allowed = 1;
    g_clear_error(&err);
    node = open_image(f, &err);
    g_assert_no_error(err);
    block_node_unref(node);
}

/* The slot that is there stays as it was, in memory and in the file. */
static void test_amend(Fixture *f, const void *data)
{
    g_autoptr(GError) err = NULL;
    BlockNode *node = open_image(f, &err);

    (void)data;
    g_assert_no_error(err);
    for (int n = 0; n < 2; n++) {
        BlockOpts *opts = parse("state=active,keyslot=0,new-secret=s,iter-time=1");

        allowed = n;
        g_assert_false(node->drv->amend(node, opts, true, &err));
        g_assert_nonnull(err);
        g_assert_nonnull(strstr(err->message, "no memory"));
        g_clear_error(&err);
        block_opts_free(opts);
    }
    block_node_unref(node);
    allowed = INT32_MAX;
    node = open_image(f, &err);
    g_assert_no_error(err);
    block_node_unref(node);
}

static void test_create(Fixture *f, const void *data)
{
    BlockOpts *opts = parse("size=1M,key-secret=s,iter-time=1");
    g_autoptr(GError) err = NULL;

    (void)data;
    allowed = 0;
    g_assert_false(block_driver_luks.create(f->vm, f->image, opts, &err));
    g_assert_nonnull(err);
    g_assert_nonnull(strstr(err->message, "no memory"));
    block_opts_free(opts);
}

/* ---- by a thread ------------------------------------------------------------------------------- */

static void on_done(void *opaque, GError *err)
{
    g_assert_no_error(err);
    *(bool *)opaque = true;
}

/* True: something was waited for. */
static bool end_and_wait(Fixture *f, BlockSlow *slow)
{
    bool done = false;

    if (!block_slow_end(slow)) {
        return false;
    }
    block_slow_wait(slow, on_done, &done);
    while (!done) {
        loop_run_once(f->vm->loop, -1);
    }
    return true;
}

static const LuksDerive derived = {.hash = "sha256", .pass = "open", .pass_len = 4, .salt = {1}, .iterations = 100000, .out_len = 32};

static void test_derive(Fixture *f, const void *data)
{
    const BlockCipherOps *ops = block_cipher_ops(NULL);
    BlockSlow *slow = block_slow_new(f->vm);
    uint8_t ours[CRYPT_MAX_KEY] = {0}, here[CRYPT_MAX_KEY] = {0};
    LuksDerive quick = derived, other = derived;
    GError *err = NULL;

    (void)data;
    g_assert_true(luks_derive(f->vm, ops, &derived, here, NULL)); /* nobody waits: at once */
    quick.iterations = 1000;
    other.salt[31] = 1;
    block_slow_begin(slow);
    g_assert_true(luks_derive(f->vm, ops, &quick, ours, &err));
    g_assert_false(luks_derive(f->vm, ops, &derived, ours, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    g_assert_true(end_and_wait(f, slow));
    for (unsigned i = 0; i < 2; i++) { /* it can be asked for again */
        block_slow_begin(slow);
        g_assert_true(luks_derive(f->vm, ops, &derived, ours, &err));
        g_assert_cmpmem(ours, derived.out_len, here, derived.out_len);
        g_assert_false(block_slow_end(slow));
    }
    block_slow_begin(slow);
    g_assert_false(luks_derive(f->vm, ops, &other, ours, NULL));
    g_assert_true(block_slow_end(slow)); /* and nobody does it */
    block_slow_free(slow);
}

static void test_open_slowly(Fixture *f, const void *data)
{
    BlockSlow *slow = block_slow_new(f->vm);
    BlockOpts *opts = parse("size=1M,key-secret=s,iter-time=300");
    BlockNode *node;
    bool again;

    (void)data;
    g_assert_true(block_driver_luks.create(f->vm, f->image, opts, NULL));
    do {
        block_slow_begin(slow);
        node = open_image(f, NULL);
        again = end_and_wait(f, slow);
    } while (again);
    g_assert_nonnull(node);
    block_node_unref(node);
    block_slow_free(slow);
    block_opts_free(opts);
}

static void on_cancelled(void *opaque, GError *err)
{
    g_assert_nonnull(err);
    g_error_free(err);
    block_slow_free(opaque);
}

/* The thread goes on by itself. */
static void test_cancel(Fixture *f, const void *data)
{
    BlockSlow *slow = block_slow_new(f->vm);
    uint8_t out[CRYPT_MAX_KEY];

    (void)data;
    block_slow_begin(slow);
    g_assert_false(luks_derive(f->vm, block_cipher_ops(NULL), &derived, out, NULL));
    g_assert_true(block_slow_end(slow));
    block_slow_wait(slow, on_cancelled, slow);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*fn)(Fixture *f, const void *data);
    } tests[] = {{"no-memory/open", test_open}, {"no-memory/amend", test_amend}, {"no-memory/create", test_create},
                 {"thread/derive", test_derive}, {"thread/open", test_open_slowly}, {"thread/cancel", test_cancel}};

    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/luks/%s", tests[i].name);

        g_test_add(path, Fixture, NULL, setup, tests[i].fn, teardown);
    }
    return g_test_run();
}
