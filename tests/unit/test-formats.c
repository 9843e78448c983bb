/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Images of other programs that are written (block/formats/): random requests, many at once, beside a model; reopened read-only
 * and back; power cuts after each write, and what flushes leave open; each write and flush failing in turn, and the disk
 * being full from any write on. The images have small blocks, so that most writes need a new one.
 *
 * KILN_IMAGE_FACTOR=N makes all of it N times longer, KILN_IMAGE_SEED=N makes other requests, KILN_IMAGE_JUDGE=all lets
 * qemu-img read each state rather than one in forty (of vpc: it takes only vdi images with blocks of 1 MiB).
 */
#include <glib/gstdio.h>

#include "tests/unit/fault.h"
#include "tests/unit/power-replay.h"

#define DEPTH 12
#define SIZE (SECTORS * SECTOR)

/* A format, and how its blocks get smaller. */
typedef struct Kind {
    Config config; /* .name: the test's; .cluster: of a block */
    const char *driver, *options;
    void (*shrink)(GByteArray *image, const struct Kind *k);
    void (*check)(const GByteArray *image); /* what reading does not tell */
    bool qemu_reads;
    bool rubbish; /* lies behind the image, as a power cut leaves it */
} Kind;

static const Kind *kind_of_world(const World *w)
{
    return container_of(w->config, Kind, config);
}

/* ---- images --------------------------------------------------------------------------------- */

static void shrink_vdi(GByteArray *image, const Kind *k)
{
    uint32_t blocks = (uint32_t)(SIZE / k->config.cluster);

    store32_le(image->data + 0x178, (uint32_t)k->config.cluster);
    store32_le(image->data + 0x180, blocks);
    memset(image->data + 0x200, 0xff, 4 * blocks);
}

static void shrink_vpc(GByteArray *image, const Kind *k)
{
    uint8_t *h = image->data + 512;
    uint32_t sum = 0;

    store32_be(h + 28, (uint32_t)(SIZE / k->config.cluster));
    store32_be(h + 32, (uint32_t)k->config.cluster);
    store32_be(h + 36, 0);
    for (unsigned i = 0; i < 1024; i++) {
        sum += h[i];
    }
    store32_be(h + 36, ~sum);
}

/* The one table of each directory is large enough for smaller grains. */
static void shrink_vmdk(GByteArray *image, const Kind *k)
{
    store64_le(image->data + 20, k->config.cluster / SECTOR);
}

/* All sectors of all blocks are there, their bitmaps say; and the last footer did not get into them. */
static void check_bitmaps(const GByteArray *image)
{
    uint32_t entries = load32_be(image->data + 512 + 28);

    for (uint32_t i = 0; i < entries; i++) {
        uint32_t sector = load32_be(image->data + 1536 + 4 * i);

        for (unsigned b = 0; sector != UINT32_MAX && b < SECTOR; b++) {
            g_assert_cmphex(image->data[sector * SECTOR + b], ==, 0xff);
        }
    }
}

static GByteArray *new_image(Vm *vm, const Kind *k)
{
    const BlockDriver *drv = block_driver_find(k->driver);
    g_autofree char *name = g_strdup_printf("test-formats-%d.new", getpid());
    BlockOpts *opts = block_opts_parse(k->options, NULL, NULL);
    GByteArray *image = g_byte_array_new();
    GError *err = NULL;
    char *data;
    gsize len;

    block_opts_set(opts, "size", "256k");
    g_assert_true(drv->create(vm, name, opts, &err) || (g_printerr("%s\n", err->message), false));
    block_opts_free(opts);
    g_assert_true(g_file_get_contents(name, &data, &len, NULL));
    g_unlink(name);
    g_byte_array_append(image, (uint8_t *)data, (guint)len);
    g_free(data);
    if (k->shrink) {
        k->shrink(image, k);
    }
    if (k->rubbish) {
        len = image->len;
        g_byte_array_set_size(image, (guint)len + 2 * SIZE);
        memset(image->data + len, 0x5a, 2 * SIZE);
    }
    return image;
}

static BlockNode *try_open_format(World *w, const char *file, GError **err)
{
    g_autofree char *text = g_strdup_printf("driver=%s,file=%s,discard=unmap", kind_of_world(w)->driver, file);

    return try_open(w->vm, text, err);
}

static BlockNode *open_format(World *w, const char *file)
{
    GError *err = NULL;
    BlockNode *node = try_open_format(w, file, &err);

    g_assert_no_error(err);
    g_assert_cmpuint(node->size, ==, SIZE);
    return node;
}

static void world_of_kind(World *w, const Kind *k, GByteArray **before)
{
    Vm *vm = vm_new(NULL);
    GByteArray *image = new_image(vm, k);

    blk_cleanup(vm);
    vm_free(vm);
    world_new(w, &k->config, image);
    world_record(w, before);
    g_byte_array_unref(image);
    g_rand_set_seed(w->rand, image_seed(99));
}

/* ---- beside a model ---------------------------------------------------------------------------- */

static void compare_with_model(World *w)
{
    g_autofree uint32_t *ids = read_ids(w->node);

    for (unsigned s = 0; s < SECTORS; s++) {
        g_assert_cmpuint(ids[s], ==, w->now[s]);
    }
}

/* Reads beside the writes: what nobody writes now is what it was. */
static void read_some(World *w)
{
    unsigned s = (unsigned)g_rand_int_range(w->rand, 0, SECTORS);
    uint8_t buf[SECTOR];

    if (!w->busy[s]) {
        uint32_t expected = w->now[s];

        g_assert_cmpint(block_pread(w->node, s * SECTOR, buf, sizeof buf), ==, 0);
        g_assert_cmpuint(sector_id(buf), ==, expected);
    }
}

static void check_sound(const World *w, BlockNode *node, const GByteArray *image)
{
    BlockCheck result = {0};

    if (kind_of_world(w)->check) {
        kind_of_world(w)->check(image);
    }

    if (node->drv->check) {
        g_assert_true(node->drv->check(node, 0, &result, NULL));
        g_assert_cmpuint(result.corruptions + result.check_errors, ==, 0);
    }
}

static void test_model(const void *data)
{
    GByteArray *before[2];
    World w;

    world_of_kind(&w, data, before);
    w.disks[0]->log = w.disks[1]->log = NULL;
    for (unsigned life = 0; life < 40 * factor(); life++) {
        w.node = open_format(&w, "disk0");
        for (unsigned i = 0; i < 60; i++) {
            random_op(&w);
            read_some(&w);
            wait_all(&w, DEPTH);
        }
        wait_all(&w, 0);
        compare_with_model(&w);
        block_node_unref(w.node);
        w.node = open_format(&w, "disk0");
        compare_with_model(&w);
        check_sound(&w, w.node, w.disks[0]->content);
        block_node_unref(w.node);
        if (life % 5 == 4) { /* an image that has no block yet */
            disk_reset(w.disks[0], before[0]);
            memset(w.now, 0, sizeof w.now);
        }
    }
    g_byte_array_unref(before[0]);
    g_byte_array_unref(before[1]);
    world_clear(&w);
}

/* ---- reopening ---------------------------------------------------------------------------------- */

static void reopen(World *w, bool read_only)
{
    g_autofree char *text = g_strdup_printf("driver=%s,node-name=%s,file=disk0,discard=unmap,read-only=%s",
                                            kind_of_world(w)->driver, w->node->name, read_only ? "on" : "off");
    g_autoptr(GPtrArray) list = g_ptr_array_new();
    BlockOpts *opts = block_opts_parse(text, NULL, NULL);
    GError *err = NULL;

    g_ptr_array_add(list, opts);
    g_assert_true(block_reopen(w->vm, list, &err) || (g_printerr("%s\n", err->message), false));
    block_opts_free(opts);
}

/* What has ended when the image becomes read-only is in the file, and needs nothing more. */
static void compare_copy_with_model(World *w)
{
    BlockNode *node = w->node;
    Disk *disk = disk_new(w->vm, "after0", w->disks[0]->content, 1);

    w->node = open_format(w, "after0");
    compare_with_model(w);
    check_sound(w, w->node, disk->content);
    block_node_unref(w->node);
    w->node = node;
    disk_free(disk);
}

static void test_reopen(const void *data)
{
    GByteArray *before[2];
    World w;

    world_of_kind(&w, data, before);
    w.disks[0]->log = w.disks[1]->log = NULL;
    w.node = open_format(&w, "disk0");
    for (unsigned round = 0; round < 60 * factor(); round++) {
        for (unsigned i = 0; i < 12; i++) {
            random_op(&w);
            wait_all(&w, DEPTH);
        }
        wait_all(&w, 0);
        reopen(&w, true);
        compare_with_model(&w);
        compare_copy_with_model(&w);
        g_assert_cmpint(block_pwrite(w.node, 0, "", 1, 0), <, 0);
        reopen(&w, round % 3 == 2);
        reopen(&w, false);
    }
    block_node_unref(w.node);
    g_byte_array_unref(before[0]);
    g_byte_array_unref(before[1]);
    world_clear(&w);
}

/* ---- states of the file -------------------------------------------------------------------------- */

static void judge_as_qemu(Replay *r, GByteArray *const *content)
{
    g_autofree char *program = g_find_program_in_path("qemu-img"), *out = NULL, *err = NULL;
    World *w = r->w;
    char *raw = NULL;
    gsize len = 0;

    if (!program || !kind_of_world(w)->qemu_reads || (g_strcmp0(g_getenv("KILN_IMAGE_JUDGE"), "all") && r->states % 40)) {
        return;
    }
    r->judged++;
    const char *convert[] = {program, "convert", "-f", kind_of_world(w)->driver, "-O", "raw", w->file, w->data, NULL};

    g_assert_true(g_file_set_contents(w->file, (char *)content[0]->data, content[0]->len, NULL));
    g_assert_cmpint(run_program(convert, &out, &err), ==, 0);
    g_assert_true(g_file_get_contents(w->data, &raw, &len, NULL));
    g_assert_cmpuint(len, ==, SIZE);
    for (unsigned s = 0; s < SECTORS; s++) {
        g_assert_true(may_hold(r, s, sector_id((uint8_t *)raw + s * SECTOR)));
    }
    g_free(raw);
}

/* What is found there stays when the image is written again: no block gets another one's place, or old bytes. */
static void go_on(const Replay *r, BlockNode *node)
{
    g_autofree uint32_t *ids = read_ids(node), *after = NULL;
    uint8_t buf[3 * SECTOR];

    for (unsigned i = 0; i < 4; i++) {
        unsigned first = (unsigned)g_rand_int_range(r->w->rand, 0, SECTORS - 2);

        fill_sectors(buf, sizeof buf, 0xabcd + i);
        g_assert_cmpint(block_pwrite(node, first * SECTOR, buf, sizeof buf, i % 2 ? BLOCK_FLAG_FUA : 0), ==, 0);
        for (unsigned s = first; s < first + 3; s++) {
            ids[s] = 0xabcd + i;
        }
    }
    after = read_ids(node);
    g_assert_true(!memcmp(ids, after, SECTORS * sizeof *ids));
}

static void judge_format(Replay *r, GByteArray *const *content)
{
    Disk *disk = disk_new(r->w->vm, "after0", content[0], 1);
    BlockNode *node = open_format(r->w, "after0"); /* which looks through the places */

    r->states++;
    judge_content(r, node);
    check_sound(r->w, node, content[0]);
    judge_as_qemu(r, content);
    if (r->states % 4 == 0) {
        go_on(r, node);
    }
    block_node_unref(node);
    disk_free(disk);
}

static void test_power(const void *data)
{
    GByteArray *before[2];
    World w;

    world_of_kind(&w, data, before);
    for (unsigned life = 0; life < 2 * factor(); life++) {
        w.node = open_format(&w, "disk0");
        for (unsigned i = 0; i < 90; i++) {
            random_op(&w);
            wait_all(&w, i % 30 < 10 ? 0 : DEPTH);
        }
        wait_all(&w, 0);
        block_node_unref(w.node);
        note(&w, NOTE_SYNCED, 0, 0);
    }
    replay(&w, before, judge_format);
    g_byte_array_unref(before[0]);
    g_byte_array_unref(before[1]);
    world_clear(&w);
}

/* ---- faults ------------------------------------------------------------------------------------- */

/* By blkdebug; or, n of direct: by the disk itself, which as a file grows with what is written. */
typedef struct Direct {
    unsigned write, flush;
} Direct;

static void work(World *w)
{
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 8; i++) {
            random_op(w);
            wait_all(w, 6);
        }
        start(w, BLOCK_FLUSH, 0, 0, false);
        wait_all(w, 0);
    }
}

/* One life. How many requests failed. */
static unsigned live(World *w, const Fault *f, const Direct *direct)
{
    BlockNode *debug = direct ? NULL : open_debug(w, f, 0);
    unsigned failed = 0;

    w->node = open_format(w, direct ? "disk0" : "debug");
    if (direct) {
        w->disks[0]->fail_write = direct->write;
        w->disks[0]->fail_flush = direct->flush;
    }
    work(w);
    flush_at_last(w, f);
    if (direct) {
        failed = (direct->write && !w->disks[0]->fail_write) || (direct->flush && !w->disks[0]->fail_flush);
        w->disks[0]->fail_write = w->disks[0]->fail_flush = 0;
    }
    block_node_unref(w->node);
    if (debug) {
        failed = block_debug_failed(debug);
        block_node_unref(debug);
    }
    return failed;
}

static unsigned run_fault(World *w, const Fault *f, const Direct *direct, GByteArray *const *before)
{
    GByteArray *content[2];
    unsigned failed;
    Replay r;

    disk_reset(w->disks[0], before[0]);
    g_rand_set_seed(w->disks[0]->rand, 0);
    g_ptr_array_set_size(w->log, 0);
    g_rand_set_seed(w->rand, image_seed(7));
    memset(w->now, 0, sizeof w->now);
    w->ops = w->flushes = w->errors = w->next_id = 0;
    failed = live(w, f, direct);
    replay_init(&r, w, before);
    for (unsigned i = 0; i < w->log->len; i++) {
        take_note(&r, g_ptr_array_index(w->log, i));
    }
    content[0] = copy_of(w->disks[0]->content);
    content[1] = before[1];
    r.states = 3; /* it is written again, too */
    judge_format(&r, content);
    g_byte_array_unref(content[0]);
    replay_clear(&r);
    return failed;
}

static void test_faults(const void *data)
{
    static const Fault by_debug[] = {{"pwritev", "write", .error = EIO}, {"flush_to_disk", "flush", .error = EIO},
                                     {"pwritev", "write", .error = ENOSPC, .for_good = true}};
    GByteArray *before[2];
    unsigned hits[5] = {0}, limit = 60 * factor();
    World w;

    world_of_kind(&w, data, before);
    w.disks[0]->log = w.disks[1]->log = NULL;
    w.failing = true;
    g_assert_cmpuint(run_fault(&w, &(Fault){0}, NULL, before), ==, 0);
    g_assert_cmpuint(w.errors, ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(by_debug); i++) {
        Fault f = by_debug[i];

        for (f.n = 1; f.n < limit && run_fault(&w, &f, NULL, before); f.n++) {
            hits[i]++;
        }
    }
    for (unsigned n = 1; n < limit && run_fault(&w, &(Fault){0}, &(Direct){.write = n}, before); n++) {
        hits[3]++;
    }
    for (unsigned n = 1; n < limit && run_fault(&w, &(Fault){0}, &(Direct){.flush = n}, before); n++) {
        hits[4]++;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(hits); i++) {
        g_assert_cmpuint(hits[i], >, 5);
    }
    g_test_message("write %u, flush %u, full %u, write of a file %u, flush of a file %u", hits[0], hits[1], hits[2], hits[3], hits[4]);
    g_byte_array_unref(before[0]);
    g_byte_array_unref(before[1]);
    world_clear(&w);
}

/* ---- list --------------------------------------------------------------------------------------- */

static const Kind kinds[] = {
    {{"vdi", 65536, .unpacked = true}, "vdi", "", shrink_vdi},
    {{"vdi-after-cut", 65536, .unpacked = true}, "vdi", "", shrink_vdi, .rubbish = true},
    {{"vdi-static", 65536, .unpacked = true}, "vdi", "static=on", .qemu_reads = true},
    {{"vpc", 8192, .unpacked = true}, "vpc", "force_size=on", shrink_vpc, check_bitmaps, true},
    {{"vpc-4k", 4096, .unpacked = true}, "vpc", "force_size=on", shrink_vpc, check_bitmaps, true},
    {{"vpc-after-cut", 4096, .unpacked = true}, "vpc", "force_size=on", shrink_vpc, check_bitmaps, true, true},
    {{"vhdx", 8192, .unpacked = true}, "vhdx", "block_size=1M"}, /* (it is one block: tests/image has more) */
    {{"vpc-fixed", 8192, .unpacked = true}, "vpc", "force_size=on,subformat=fixed", .qemu_reads = true},
    {{"vmdk", 65536, .unpacked = true}, "vmdk", "", .qemu_reads = true},
    {{"vmdk-4k", 4096, .unpacked = true}, "vmdk", "", shrink_vmdk, .qemu_reads = true},
    {{"vmdk-zeroed", 4096, .unpacked = true}, "vmdk", "zeroed_grain=on", shrink_vmdk, .qemu_reads = true},
    {{"vmdk-after-cut", 4096, .unpacked = true}, "vmdk", "", shrink_vmdk, .qemu_reads = true, .rubbish = true},
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autofree char *model = g_strdup_printf("/formats/%s/model", kinds[i].config.name);
        g_autofree char *reopened = g_strdup_printf("/formats/%s/reopen", kinds[i].config.name);
        g_autofree char *power = g_strdup_printf("/formats/%s/power", kinds[i].config.name);
        g_autofree char *faults = g_strdup_printf("/formats/%s/faults", kinds[i].config.name);

        g_test_add_data_func(model, &kinds[i], test_model);
        g_test_add_data_func(reopened, &kinds[i], test_reopen);
        g_test_add_data_func(power, &kinds[i], test_power);
        g_test_add_data_func(faults, &kinds[i], test_faults);
    }
    return g_test_run();
}
