/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile images of the formats that are only read: an input is an image (or a VMware descriptor). It
 * is opened with each of these drivers, its status is asked and all of it is read. Nothing may crash,
 * hang, or reach outside. Without libFuzzer the files named as arguments are replayed.
 */
#include <stdio.h>

#include "block/block_int.h"
#include "tests/unit/qcow2-disk.h"

#define READ_MAX (8 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Vm *vm;
static unsigned opened;

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

static void try_driver(Disk *disk, const char *driver)
{
    g_autofree char *text = g_strdup_printf("driver=%s,file=%s,read-only=on%s", driver,
                                            disk->node->name,
                                            strcmp(driver, "vmdk") ? "" : ",backing=");
    BlockOpts *opts = block_opts_parse(text, NULL, NULL);
    BlockNode *node = block_node_open(vm, opts, NULL, NULL);

    block_opts_free(opts);
    if (node) {
        opened++;
        walk(node);
        block_node_unref(node);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const drivers[] = {"vdi", "vpc", "vhdx", "vmdk"};
    GByteArray *image = g_byte_array_new();
    Disk *disk;

    if (!vm) {
        vm = vm_new(NULL);
    }
    g_byte_array_append(image, data, (guint)size);
    disk = disk_new(vm, "fuzzed", image, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
        try_driver(disk, drivers[i]);
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
    printf("%u opened\n", opened);
    if (vm) {
        blk_cleanup(vm);
        vm_free(vm);
    }
    return 0;
}
#endif
