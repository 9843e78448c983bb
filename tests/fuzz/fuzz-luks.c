/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile LUKS headers. An input is patches (2 bytes offset, 1 byte how many, then the bytes) to a good image; what the
 * header says is shown, its key slots are tried, and what opens is read and written. Nothing may crash, hang, or reach
 * outside. Headers that ask for more iterations than a test has time for are read only. Without libFuzzer: a table of headers
 * that must be refused, the files named as arguments, seeded inputs.
 */
#include <stdio.h>
#include <stdlib.h>

#include "block/crypto.h"
#include "core/user_object.h"
#include "tests/unit/qcow2-disk.h"

#define DATA (64 * KIB)
#define ITERATIONS_MAX 10000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Vm *vm;
static GByteArray *good, *image;
static Disk *fuzzed; /* made once: memory from the kernel was a third of a run's time */
static unsigned opened;

static void make_good(void)
{
    /* aes-128, cbc, plain64: the shortest key, so the shortest key slots, of which every run has a copy. */
    LuksCreate o = {.cipher = 0, .mode = 1, .ivgen = 1, .ivgen_hash = -1, .hash = -1, .iter_time = 1, .secret_id = (char *)"s"};
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    ObjectArgs *args = object_args_parse("secret,id=s,data=pass", NULL);
    Disk *disk;
    LuksArea area = {0};
    bool ok;

    vm = vm_new(NULL);
    block_loop_main(vm)->lone = true; /* no other thread takes part */
    g_ptr_array_add(list, args);
    ok = user_objects_create(vm, list, false, NULL) && user_objects_create(vm, list, true, NULL) &&
         luks_create_size(&o, &area.size, NULL);
    g_assert_true(ok);
    object_args_free(args);
    disk = disk_new(vm, "good", NULL, 1);
    disk_apply(disk->content, 0, NULL, area.size + DATA);
    disk->node->size = disk->content->len;
    area.node = disk->node;
    ok = luks_prepare_create(vm, &o, "", NULL) && luks_format(&area, &o, NULL);
    g_assert_true(ok);
    o.secret_id = NULL;
    luks_create_clear(&o);
    good = g_byte_array_ref(disk->content);
    disk_free(disk);
    image = g_byte_array_new();
    g_byte_array_append(image, good->data, good->len);
    fuzzed = disk_new(vm, "fuzzed", image, 1);
}

static void damage(const uint8_t *data, size_t size)
{
    size_t at = 0;

    memcpy(image->data, good->data, good->len);
    while (size - at >= 3) {
        uint32_t offset = (uint32_t)(data[at] | data[at + 1] << 8) % (LUKS_HEADER_SIZE + 64);
        size_t n = MIN(data[at + 2] % 40, size - at - 3);

        memcpy(image->data + offset, data + at + 3, n);
        at += 3 + n;
    }
    disk_reset(fuzzed, image);
}

static bool is_quick(const Luks *l)
{
    bool quick = l->digest_iterations <= ITERATIONS_MAX;

    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        quick &= !l->slots[i].active || l->slots[i].iterations <= ITERATIONS_MAX;
    }
    return quick;
}

static void exercise(BlockNode *node)
{
    static uint8_t buf[DATA];

    opened++;
    block_pread(node, 0, buf, MIN(node->size, DATA));
    if (node->size >= 8192) {
        block_pwrite(node, 700, buf, 3000, 0);
        block_pread(node, node->size - 700, buf, 700);
    }
    block_pflush(node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    LuksArea area = {.size = UINT64_MAX};
    Luks luks = {0};

    if (!vm) {
        make_good();
    }
    damage(data, size);
    area.node = fuzzed->node;
    if (luks_load(&area, &luks, NULL)) {
        json_object_put(luks_info(&luks, "luks"));
        if (is_quick(&luks)) {
            BlockOpts *opts = block_opts_parse("driver=luks,file=fuzzed,key-secret=s", NULL, NULL);
            BlockNode *node = block_node_open(vm, opts, NULL, NULL);

            block_opts_free(opts);
            if (node) {
                exercise(node);
                block_node_unref(node);
            }
        }
    }
    return 0;
}

#ifndef FUZZING

/* ---- headers that must be refused ------------------------------------------------------------- */

typedef struct Damage {
    const char *name;
    const char *patches; /* as an input */
    size_t size;
} Damage;

#define DAMAGE(name, patches) {name, patches, sizeof(patches) - 1}

static const Damage damages[] = {
    DAMAGE("version 2", "\x06\x00\x02" "\x00\x02"),
    DAMAGE("cipher's name without an end", "\x08\x00\x20" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    DAMAGE("payload inside the header", "\x68\x00\x04" "\x00\x00\x00\x01"),
    DAMAGE("bytes of the key: many", "\x6c\x00\x04" "\xff\xff\xff\xff"),
    DAMAGE("no iterations of the digest", "\xa4\x00\x04" "\x00\x00\x00\x00"),
    DAMAGE("slot behind the end", "\xf8\x00\x04" "\xff\xff\xff\xf0"),
    DAMAGE("stripes of a slot: many", "\xfc\x00\x04" "\xff\xff\xff\xff"),
    DAMAGE("slots that overlap", "\x00\x01\x04" "\x00\xac\x71\xf3" "\x28\x01\x04" "\x00\x00\x00\x08"),
};

static void refuse(const Damage *d)
{
    LLVMFuzzerTestOneInput((const uint8_t *)d->patches, d->size);
    if (opened) {
        fprintf(stderr, "fuzz-luks: an image was opened: %s\n", d->name);
        exit(1);
    }
}

/* ---- without libFuzzer ------------------------------------------------------------------------ */

static void replay(const char *path)
{
    char *data;
    size_t size;

    if (!g_file_get_contents(path, &data, &size, NULL)) {
        fprintf(stderr, "fuzz-luks: cannot read %s\n", path);
        exit(2);
    }
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    g_free(data);
}

int main(int argc, char **argv)
{
    unsigned rounds = 400;

    printf("1..1\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(damages); i++) {
        refuse(&damages[i]);
    }
    LLVMFuzzerTestOneInput(NULL, 0); /* the good one */
    g_assert_cmpuint(opened, ==, 1);
    for (int i = 1; i < argc; i++) {
        replay(argv[i]);
    }
    for (unsigned i = 0; i < rounds; i++) {
        GRand *rand = g_rand_new_with_seed(i);
        uint8_t data[64];
        size_t n = (size_t)g_rand_int_range(rand, 4, sizeof data);

        for (size_t b = 0; b < n; b++) {
            data[b] = (uint8_t)(g_rand_int_range(rand, 0, 3) ? g_rand_int(rand) : 0);
        }
        data[2] = (uint8_t)g_rand_int_range(rand, 1, 9);
        g_rand_free(rand);
        LLVMFuzzerTestOneInput(data, n);
    }
    printf("ok 1 - %u damaged headers, %u opened\n", rounds, opened);
    disk_free(fuzzed);
    g_byte_array_unref(image);
    g_byte_array_unref(good);
    blk_cleanup(vm);
    vm_free(vm);
    return 0;
}
#endif
