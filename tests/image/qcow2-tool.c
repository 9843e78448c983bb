/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the image tests do to images with Kiln's block layer, one operation a call:
 *
 *   create FILE option=value,...     check FILE none|leaks|all     info FILE
 *   read FILE options RAW            (the whole disk into RAW)
 *   write FILE options RAW [packed]  (RAW's non-zero 64 KiB pieces into the disk)
 *   zero|discard FILE options OFFSET LENGTH
 *   resize FILE SIZE [PREALLOCATION] snapshot FILE create|apply|delete NAME
 *   empty FILE                       rebase FILE BACKING FORMAT
 *   bench FILE options read|write COUNT DEPTH SIZE STEP   (as qemu-img bench; prints seconds)
 *   measure RAW option=value,...     amend FILE option=value,...
 *   bitmap FILE options NAME         (its dirty ranges, or "in-use")
 *
 * The secret "s" is "pass".
 */
#include <stdio.h>
#include <stdlib.h>

#include "block/dirty_bitmap.h"
#include "core/user_object.h"
#include "util/error.h"
#include "util/util.h"

#define PIECE (64 * KIB)

static Vm *vm;
static GError *error;

static int fail(void)
{
    fprintf(stderr, "qcow2-tool: %s\n", error ? error->message : "failed");
    return 1;
}

static int fail_errno(int ret)
{
    error_set_errno(&error, -ret, "I/O");
    return fail();
}

static BlockNode *open_image(const char *file, const char *more, bool read_only)
{
    g_autofree char *text = g_strdup_printf("driver=qcow2,file.driver=file,read-only=%s,discard=unmap"
                                            "%s%s", read_only ? "on" : "off", *more ? "," : "", more);
    BlockOpts *opts = block_opts_parse(text, NULL, &error);
    BlockNode *node;

    if (!opts) {
        return NULL;
    }
    block_opts_set(opts, "file.filename", file);
    node = block_node_open(vm, opts, NULL, &error);
    block_opts_free(opts);
    return node;
}

static int do_create(char **arg)
{
    BlockOpts *opts = block_opts_parse(arg[1], NULL, &error);
    bool ok = opts && block_driver_qcow2.create(vm, arg[0], opts, &error);
    const char *left = ok ? block_opts_left(opts) : NULL;

    if (left) {
        ok = error_set(&error, "Unknown option '%s'", left);
    }
    if (opts) {
        block_opts_free(opts);
    }
    return ok ? 0 : fail();
}

static int do_check(BlockNode *node, char **arg)
{
    unsigned fix = !strcmp(arg[1], "all")     ? BLOCK_FIX_LEAKS | BLOCK_FIX_ERRORS
                   : !strcmp(arg[1], "leaks") ? BLOCK_FIX_LEAKS
                                              : 0;
    BlockCheck r;

    if (!node->drv->check(node, fix, &r, &error)) {
        return fail();
    }
    printf("corruptions=%" PRIu64 " leaks=%" PRIu64 " check-errors=%" PRIu64
           " corruptions-fixed=%" PRIu64 " leaks-fixed=%" PRIu64 " allocated=%" PRIu64
           " compressed=%" PRIu64 "\n", r.corruptions, r.leaks, r.check_errors, r.corruptions_fixed,
           r.leaks_fixed, r.allocated_clusters, r.compressed_clusters);
    return 0;
}

static int do_read(BlockNode *node, char **arg)
{
    FILE *out = fopen(arg[2], "w");
    g_autofree uint8_t *buf = g_malloc(PIECE);
    int ret = out ? 0 : -errno;

    for (uint64_t at = 0; at < node->size && ret == 0; at += PIECE) {
        size_t n = MIN(PIECE, node->size - at);

        ret = block_pread(node, at, buf, n);
        if (ret == 0 && fwrite(buf, 1, n, out) != n) {
            ret = -EIO;
        }
    }
    if (out && fclose(out) && !ret) {
        ret = -EIO;
    }
    return ret ? fail_errno(ret) : 0;
}

static int do_write(BlockNode *node, char **arg)
{
    g_autofree char *raw = NULL;
    size_t len;
    int ret = 0;

    if (!g_file_get_contents(arg[2], &raw, &len, &error)) {
        return fail();
    }
    for (size_t at = 0; at < len && ret == 0; at += PIECE) {
        struct iovec iov = {raw + at, MIN(PIECE, len - at)};

        if (!block_iov_is_zero(&iov, 1)) {
            ret = block_pwrite(node, at, raw + at, iov.iov_len, arg[3] ? BLOCK_FLAG_COMPRESSED : 0);
        }
    }
    return ret ? fail_errno(ret) : 0;
}

static int do_range(BlockNode *node, char **arg, bool zero)
{
    uint64_t offset = g_ascii_strtoull(arg[2], NULL, 0), len = g_ascii_strtoull(arg[3], NULL, 0);
    int ret = zero ? block_pzero(node, offset, len, BLOCK_FLAG_MAY_UNMAP)
                   : block_pdiscard(node, offset, len);

    return ret ? fail_errno(ret) : 0;
}

typedef struct Bench {
    BlockNode *node;
    BlockIo io;
    struct iovec iov;
    BlockOp op;
    uint64_t step, *offset;
    unsigned *left, *in_flight;
} Bench;

static void bench_next(Bench *b);

static void bench_done(BlockIo *io, int result)
{
    Bench *b = container_of(io, Bench, io);

    if (result) {
        exit(fail_errno(result));
    }
    --*b->in_flight;
    bench_next(b);
}

static void bench_next(Bench *b)
{
    if (!*b->left) {
        return;
    }
    --*b->left;
    ++*b->in_flight;
    b->io = (BlockIo){.op = b->op,
                      .offset = *b->offset,
                      .len = b->iov.iov_len,
                      .iov = &b->iov,
                      .iov_count = 1,
                      .done = bench_done};
    *b->offset = (*b->offset + b->step) % (b->node->size - b->iov.iov_len);
    *b->offset &= ~UINT64_C(4095);
    block_node_submit(b->node, &b->io);
}

static int do_bench(BlockNode *node, char **arg)
{
    unsigned left = (unsigned)atoi(arg[3]), depth = (unsigned)atoi(arg[4]), in_flight = 0;
    size_t size = (size_t)atoi(arg[5]);
    uint64_t offset = 0, step = g_ascii_strtoull(arg[6], NULL, 0);
    Bench *all = g_new0(Bench, depth);
    int64_t start = clock_monotonic_ns();

    block_loop_plug(node->loop);
    for (unsigned i = 0; i < depth; i++) {
        all[i] = (Bench){.node = node,
                         .iov = {g_malloc0(size + 4096), size},
                         .op = !strcmp(arg[2], "write") ? BLOCK_WRITE : BLOCK_READ,
                         .step = step,
                         .offset = &offset,
                         .left = &left,
                         .in_flight = &in_flight};
        all[i].iov.iov_base = (void *)align_up((uintptr_t)all[i].iov.iov_base, 4096);
        bench_next(&all[i]);
    }
    block_loop_unplug(node->loop);
    while (in_flight) {
        block_loop_wait(node->loop);
    }
    printf("Run completed in %.3f seconds.\n", (double)(clock_monotonic_ns() - start) / 1e9);
    return 0;
}

static int do_resize(BlockNode *node, char **arg)
{
    BlockPrealloc mode = BLOCK_PREALLOC_OFF;

    for (unsigned i = 0; arg[2] && block_prealloc_names[i]; i++) {
        mode = strcmp(arg[2], block_prealloc_names[i]) ? mode : (BlockPrealloc)i;
    }
    return block_ptruncate(node, g_ascii_strtoull(arg[1], NULL, 0), true, mode, &error) ? 0 : fail();
}

static int do_snapshot(BlockNode *node, char **arg)
{
    BlockSnapshot s = {.name = arg[2], .date_sec = 1700000000};
    bool ok = !strcmp(arg[1], "create")  ? node->drv->snapshot_create(node, &s, &error)
              : !strcmp(arg[1], "apply") ? node->drv->snapshot_apply(node, arg[2], &error)
                                         : node->drv->snapshot_delete(node, arg[2], &error);

    g_free(s.id);
    return ok ? 0 : fail();
}

static int do_info(BlockNode *node)
{
    json_object *info = node->drv->specific_info(node);

    printf("%s\n", json_object_to_json_string(info));
    json_object_put(info);
    return 0;
}

static int do_amend(BlockNode *node, char **arg)
{
    BlockOpts *opts = block_opts_parse(arg[1], NULL, &error);
    bool ok = opts && node->drv->amend(node, opts, false, &error);

    if (opts) {
        block_opts_free(opts);
    }
    return ok ? 0 : fail();
}

static int do_measure(char **arg)
{
    BlockOpts *opts = block_opts_parse(arg[1], NULL, &error);
    BlockNode *in = *arg[0] ? block_open_path(vm, arg[0], "raw", NULL, &error) : NULL;
    BlockMeasure m;
    bool ok = opts && (in || !*arg[0]) && block_driver_qcow2.measure(vm, opts, in, &m, &error);

    if (ok) {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", m.required,
               m.fully_allocated);
    }
    block_node_unref(in);
    if (opts) {
        block_opts_free(opts);
    }
    return ok ? 0 : fail();
}

static int do_bitmap(BlockNode *node, char **arg)
{
    const DirtyBitmap *b = block_dirty_bitmap_find(node, arg[2]);
    uint64_t at = 0, end;

    if (!b) {
        error_set(&error, "There is no bitmap '%s'", arg[2]);
        return fail();
    }
    if (!b->bits) {
        printf("in-use\n");
        return 0;
    }
    while ((at = block_dirty_bitmap_next(b, at, true)) < b->size) {
        end = block_dirty_bitmap_next(b, at, false);
        printf("%" PRIu64 " %" PRIu64 "\n", at, end - at);
        at = end;
    }
    return 0;
}

static int on_image(const char *op, char **arg)
{
    bool with_options = !strcmp(op, "read") || !strcmp(op, "write") || !strcmp(op, "zero") ||
                        !strcmp(op, "discard") || !strcmp(op, "bench") || !strcmp(op, "bitmap");
    bool read_only = !strcmp(op, "read") || !strcmp(op, "bitmap") || !strcmp(op, "info") ||
                     (!strcmp(op, "check") && !strcmp(arg[1], "none"));
    BlockNode *node = open_image(arg[0], with_options    ? arg[1]
                                         : !strcmp(op, "check") ? "x-open-for-check=on"
                                                                : "", read_only);
    int ret;

    if (!node) {
        return fail();
    }
    ret = !strcmp(op, "check")      ? do_check(node, arg)
          : !strcmp(op, "read")     ? do_read(node, arg)
          : !strcmp(op, "write")    ? do_write(node, arg)
          : !strcmp(op, "zero")     ? do_range(node, arg, true)
          : !strcmp(op, "discard")  ? do_range(node, arg, false)
          : !strcmp(op, "resize")   ? do_resize(node, arg)
          : !strcmp(op, "snapshot") ? do_snapshot(node, arg)
          : !strcmp(op, "info")     ? do_info(node)
          : !strcmp(op, "bench")    ? do_bench(node, arg)
          : !strcmp(op, "bitmap")   ? do_bitmap(node, arg)
          : !strcmp(op, "amend")    ? do_amend(node, arg)
          : !strcmp(op, "empty")    ? (node->drv->make_empty(node, &error) ? 0 : fail())
          : !strcmp(op, "rebase")   ? (node->drv->change_backing_file(node, arg[1], arg[2], &error)
                                           ? 0 : fail())
                                    : 2;
    block_node_unref(node);
    return ret;
}

static bool add_secret(void)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    ObjectArgs *args = object_args_parse("secret,id=s,data=pass", &error);
    bool ok;

    g_ptr_array_add(list, args);
    ok = user_objects_create(vm, list, false, &error) && user_objects_create(vm, list, true, &error);
    object_args_free(args);
    return ok;
}

int main(int argc, char **argv)
{
    char *args[10] = {0};
    int ret;

    for (int i = 2; i < argc && i < 11; i++) {
        args[i - 2] = argv[i];
    }
    if (argc < 3) {
        fprintf(stderr, "usage: qcow2-tool OPERATION FILE ...\n");
        return 2;
    }
    vm = vm_new(&error);
    if (!vm || !add_secret()) {
        return fail();
    }
    ret = !strcmp(argv[1], "create")    ? do_create(args)
          : !strcmp(argv[1], "measure") ? do_measure(args)
                                        : on_image(argv[1], args);
    blk_cleanup(vm);
    vm_free(vm);
    return ret;
}
