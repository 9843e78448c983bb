/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What tests that write qcow2 images at random share: images of each kind, requests whose sectors all hold the
 * number of the request that wrote them (0: zeros), the secret of encrypted images.
 */
#ifndef TESTS_UNIT_QCOW2_IMAGE_H
#define TESTS_UNIT_QCOW2_IMAGE_H

#include <stdlib.h>
#include <sys/wait.h>

#include "block/block_int.h"
#include "block/crypto.h"
#include "block/qcow2/qcow2.h"
#include "core/user_object.h"
#include "util/util.h"

#define SECTOR 512u
#define SECRET "secret,id=s,data=pass"

typedef struct Config {
    const char *name;
    uint64_t cluster;
    unsigned refcount_bits;
    bool v2, extended, lazy, zstd, tiny_cache;
    bool luks, bitmap;      /* encrypted; with a persistent bitmap "b" that records */
    bool data_file, backed; /* a second disk: an external data file, or a qcow2 base to commit into */
    bool unpacked;          /* no compressed writes */
    bool synced;            /* nearly all writes are to be on stable storage, and come one by one */
    unsigned rounds;
    unsigned fill; /* clusters that are taken for nothing, so that tables soon have to grow */
} Config;

/* How many times longer than usual a test is to be. */
static inline unsigned factor(void)
{
    const char *text = g_getenv("KILN_IMAGE_FACTOR");

    return text ? (unsigned)CLAMP(atoi(text), 1, 10000) : 1;
}

/* KILN_IMAGE_SEED makes other random operations than those of every day. */
static inline unsigned image_seed(unsigned usual)
{
    const char *text = g_getenv("KILN_IMAGE_SEED");

    return text ? usual + (unsigned)strtoul(text, NULL, 10) : usual;
}

/* Runs a program to its end: the exit status, and what it printed. No fork of this process, whose memory is large under
 * a sanitizer, is needed when the program may inherit descriptors: they are all closed by exec anyhow. */
static inline int run_program(const char *const *argv, char **out, char **err)
{
    int status = 0;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_LEAVE_DESCRIPTORS_OPEN, NULL, NULL, out, err, &status, NULL));
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static inline void add_secret(Vm *vm)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    GError *err = NULL;
    ObjectArgs *args = object_args_parse(SECRET, &err);

    g_assert_no_error(err);
    g_ptr_array_add(list, args);
    user_objects_create(vm, list, false, &err);
    user_objects_create(vm, list, true, &err);
    g_assert_no_error(err);
    object_args_free(args);
}

/* Of size bytes, on file (and data, or NULL); a LUKS image's secret is added to vm. */
static inline void format_image(Vm *vm, const Config *c, BlockNode *file, BlockNode *data, uint64_t size)
{
    LuksCreate luks = {.cipher = -1, .mode = -1, .ivgen = -1, .ivgen_hash = -1, .hash = -1, .iter_time = 1};
    LuksArea area = {.node = file};
    Qcow2CreateOptions o;
    GError *err = NULL;

    qcow2_create_options_init(&o);
    o.size = size;
    o.version = c->v2 ? 2 : 3;
    o.cluster_size = c->cluster;
    o.refcount_bits = c->refcount_bits;
    o.extended_l2 = c->extended;
    o.lazy_refcounts = c->lazy;
    o.compression_type = c->zstd ? QCOW2_COMPRESSION_ZSTD : QCOW2_COMPRESSION_ZLIB;
    o.data_file = data ? "data" : NULL;
    if (c->luks) {
        add_secret(vm);
        luks.secret_id = (char *)"s";
        g_assert_true(luks_create_size(&luks, &o.crypto_length, &err));
    }
    g_assert_true(qcow2_format(file, &o, &area.base, &err));
    if (c->luks) {
        area.size = o.crypto_length;
        g_assert_true(luks_prepare_create(vm, &luks, "", &err) && luks_format(&area, &luks, &err));
        luks.secret_id = NULL;
        luks_create_clear(&luks);
        g_assert_no_error(err);
    }
}

static inline void fill_sectors(uint8_t *buf, size_t len, uint32_t id)
{
    for (size_t i = 0; i < len; i += 4) {
        store32_le(buf + i, id);
    }
}

/* What the sector holds; UINT32_MAX: not all the same. */
static inline uint32_t sector_id(const uint8_t *p)
{
    uint32_t id = load32_le(p);

    for (unsigned i = 4; i < SECTOR; i += 4) {
        if (load32_le(p + i) != id) {
            return UINT32_MAX;
        }
    }
    return id;
}

/* A request for count sectors from first on (count 0: a flush): data in iov where it takes some. */
static inline BlockIo sectors_io(BlockOp op, unsigned first, unsigned count, struct iovec *iov, unsigned iov_count)
{
    bool has_data = op == BLOCK_WRITE || op == BLOCK_READ;

    return (BlockIo){.op = op,
                     .offset = (uint64_t)first * SECTOR,
                     .len = (uint64_t)count * SECTOR,
                     .iov = has_data ? iov : NULL,
                     .iov_count = has_data ? iov_count : 0};
}

/* What top has itself, into base, and a flush: the first half of a commit. */
static inline int copy_down(BlockNode *top, BlockNode *base)
{
    uint64_t size = top->size;
    g_autofree uint8_t *buf = g_malloc(size);
    BlockStatus status;
    int ret = 0;

    for (uint64_t at = 0; at < size && ret == 0; at += status.bytes) {
        ret = block_pstatus(top, at, size - at, 0, &status);
        if (ret == 0 && status.allocated && status.zero) {
            ret = block_pzero(base, at, status.bytes, BLOCK_FLAG_MAY_UNMAP);
        } else if (ret == 0 && status.allocated) {
            ret = block_pread(top, at, buf, status.bytes);
            ret = ret ? ret : block_pwrite(base, at, buf, status.bytes, 0);
        }
    }
    return ret ? ret : block_pflush(base);
}

static inline void wait_in_flight(BlockNode *node, const unsigned *in_flight, unsigned left)
{
    while (*in_flight > left) {
        block_loop_wait(node->loop);
    }
}

#endif
