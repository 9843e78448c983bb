/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile images of other programs' formats: an input is an image (or a VMware descriptor). It is
 * opened with each of these drivers, its status is asked and all of it is read. Nothing may crash,
 * hang, or reach outside. What can be opened for writing is written: it must then be found there, when
 * the image is opened anew, and all else must be as it was, so no write lies in a header, a table or
 * another block. Without libFuzzer the files named as arguments are replayed.
 */
#include <stdio.h>

#include "block/block_int.h"
#include "tests/unit/qcow2-disk.h"

#define READ_MAX (8 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Vm *vm;
static unsigned opened, written, extents;

static void walk(BlockNode *node)
{
    g_autofree uint8_t *buf = g_malloc(256 * KIB);
    BlockStatus status;
    uint64_t at = 0;

    for (unsigned i = 0; i < 64 && at < node->size; i++, at += status.bytes) {
        if (block_pstatus(node, at, node->size - at, 0, &status) < 0) {
            break;
        }
        g_assert_cmpuint(status.bytes, >, 0);
        g_assert_cmpuint(status.bytes, <=, node->size - at);
        block_pread(node, at, buf, MIN(status.bytes, 4096));
    }
    for (at = 0; at < MIN(node->size, READ_MAX); at += 256 * KIB) {
        block_pread(node, at, buf, MIN(node->size - at, 256 * KIB));
    }
    if (node->size > 4096) {
        block_pread(node, node->size - 4096, buf, 4096);
    }
}

/* How the input is taken: as an image, or as the extent of this type of a VMware disk whose descriptor is sound. */
typedef struct Way {
    const char *driver, *extent;
} Way;

static BlockNode *open_as(Disk *disk, Disk *descriptor, const Way *way, bool writable)
{
    g_autofree char *extent = way->extent ? g_strdup_printf(",extents.0=%s", disk->node->name) : NULL;
    g_autofree char *text = g_strdup_printf("driver=%s,file=%s,discard=unmap,read-only=%s%s%s", way->driver,
                                            way->extent ? descriptor->node->name : disk->node->name, writable ? "off" : "on",
                                            strcmp(way->driver, "vmdk") ? "" : ",backing=", extent ? extent : "");
    BlockOpts *opts = block_opts_parse(text, NULL, NULL);
    BlockNode *node = block_node_open(vm, opts, NULL, NULL);

    block_opts_free(opts);
    return node;
}

static void try_reading(Disk *disk, Disk *descriptor, const Way *way)
{
    BlockNode *node = open_as(disk, descriptor, way, false);

    if (node) {
        *(way->extent ? &extents : &opened) += 1;
        walk(node);
        block_node_unref(node);
    }
}

/* Writes, zeros and discards at places that the size alone decides; content follows. False: one failed. */
static bool change(BlockNode *node, uint8_t *content, uint64_t len)
{
    g_autofree uint8_t *buf = g_malloc(64 * KIB);
    uint32_t seed = 12345;

    for (unsigned i = 0; i < 12; i++) {
        uint64_t at, n;

        seed = seed * 1103515245 + 12345;
        at = seed % len / BLOCK_SECTOR * BLOCK_SECTOR;
        n = MIN(i % 3 ? 64 * KIB : BLOCK_SECTOR, len - at);
        memset(buf, i % 4 == 3 ? 0 : 'a' + (int)i, n);
        if ((i % 4 == 3 ? block_pzero(node, at, n, 0) : block_pwrite(node, at, buf, n, i % 5 ? 0 : BLOCK_FLAG_FUA)) < 0) {
            return false;
        }
        memcpy(content + at, buf, n);
    }
    return block_pflush(node) == 0;
}

static void try_writing(Disk *disk, Disk *descriptor, const Way *way)
{
    BlockNode *node = open_as(disk, descriptor, way, true);
    g_autofree uint8_t *before = NULL, *after = NULL;
    uint64_t len = node ? MIN(node->size, READ_MAX) : 0;
    bool whole;

    if (!len) {
        block_node_unref(node);
        return;
    }
    before = g_malloc(len);
    after = g_malloc(len);
    whole = block_pread(node, 0, before, len) == 0;
    whole &= change(node, before, len);
    block_node_unref(node);
    if (whole) {
        written++;
        node = open_as(disk, descriptor, way, true);
        g_assert_nonnull(node);
        g_assert_cmpint(block_pread(node, 0, after, len), ==, 0);
        g_assert_cmpint(memcmp(before, after, len), ==, 0);
        block_node_unref(node);
    }
}

static GByteArray *make_descriptor(const char *extent)
{
    g_autofree char *text = g_strdup_printf("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                                            "createType=\"custom\"\nRW 1024 %s \"x\"%s\n", extent,
                                            strcmp(extent, "FLAT") ? "" : " 0");
    GByteArray *bytes = g_byte_array_new();

    g_byte_array_append(bytes, (const uint8_t *)text, (guint)strlen(text));
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Way ways[] = {{"vdi"}, {"vpc"}, {"vhdx"}, {"vmdk"}, {"vmdk", "FLAT"}, {"vmdk", "SPARSE"}, {"vmdk", "SESPARSE"}};
    GByteArray *image = g_byte_array_new();
    Disk *disk, *descriptor;

    if (!vm) {
        vm = vm_new(NULL);
    }
    g_byte_array_append(image, data, (guint)size);
    disk = disk_new(vm, "fuzzed", image, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        GByteArray *text = make_descriptor(ways[i].extent ? ways[i].extent : "");

        descriptor = disk_new(vm, "descriptor", text, 1);
        try_reading(disk, descriptor, &ways[i]);
        try_writing(disk, descriptor, &ways[i]);
        disk_reset(disk, image);
        disk_free(descriptor);
        g_byte_array_unref(text);
    }
    disk_free(disk);
    g_byte_array_unref(image);
    return 0;
}

#ifndef FUZZING

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *data;
        size_t size;

        if (!g_file_get_contents(argv[i], &data, &size, NULL)) {
            fprintf(stderr, "fuzz-formats: cannot read %s\n", argv[i]);
            return 2;
        }
        LLVMFuzzerTestOneInput((const uint8_t *)data, size);
        g_free(data);
    }
    printf("%u opened, %u written, %u as extents\n", opened, written, extents);
    if (vm) {
        blk_cleanup(vm);
        vm_free(vm);
    }
    return 0;
}
#endif
