/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * scsi-block and scsi-generic on a unit that this program makes up: it answers SG_IO itself, on /dev/null, which is a
 * character device as /dev/sgN is. The adapter is a bus that notes how requests end.
 */
#include <errno.h>
#include <stdarg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/device.h"
#include "core/vm.h"
#include "hw/scsi/scsi.h"
#include "tests/sg_unit.h"

#define BLOCKS 256u
#define DAMAGED 100u /* this block cannot be read */
#define DESCRIBED 110u /* neither can this; described[] says so */
#define SECTORS_MAX 8192u

/* ---- the unit of the host ----------------------------------------------------------------------- */

static struct {
    uint8_t data[BLOCKS * 512];
    uint8_t type;
    bool has_limits;
    GMutex lock;
    GCond cond;
    bool hold, held;            /* TEST UNIT READY waits */
    unsigned commands, pieces;  /* of the last one */
    uint8_t described[96];      /* sense data, so many bytes of it */
    uint8_t n_described;
} unit;

static void inquiry(sg_io_hdr_t *h)
{
    uint8_t standard[36] = {unit.type, 0, 6, 2, 31}, pages[6] = {unit.type, 0, 0, 2, 0x00, 0x83};
    uint8_t more[7] = {unit.type, 0, 0, 3, 0x00, 0x83, 0xb0}, limits[64] = {unit.type, 0xb0, 0, 60};

    memcpy(standard + 8, "KILN    A UNIT", 14);
    memset(limits + 8, 0xff, 8);
    if (!(h->cmdp[1] & 1)) {
        sg_answer(h, standard, sizeof standard);
    } else if (!h->cmdp[2]) {
        sg_answer(h, unit.has_limits ? more : pages, unit.has_limits ? sizeof more : sizeof pages);
    } else if (h->cmdp[2] == 0xb0 && unit.has_limits) {
        sg_answer(h, limits, sizeof limits);
    } else {
        sg_check_condition(h, 5, 0x24);
    }
}

static void transfer(sg_io_hdr_t *h, bool write)
{
    const unsigned block = load32_be(h->cmdp + 2), count = load16_be(h->cmdp + 7);

    if (block + count > BLOCKS) {
        sg_check_condition(h, 5, 0x21);
    } else if (!write && block <= DAMAGED && DAMAGED < block + count) {
        sg_check_condition(h, 3, 0x11);
    } else if (!write && block <= DESCRIBED && DESCRIBED < block + count) {
        sg_check_condition(h, 0, 0);
        memcpy(h->sbp, unit.described, unit.n_described);
        h->sb_len_wr = unit.n_described;
    } else if (write) {
        const struct iovec one = {h->dxferp, h->dxfer_len};

        iov_to_buf(h->iovec_count ? h->dxferp : &one, h->iovec_count ? h->iovec_count : 1, 0, unit.data + block * 512, count * 512);
    } else {
        sg_answer(h, unit.data + block * 512, count * 512);
    }
}

static int sg_io(sg_io_hdr_t *h)
{
    uint8_t capacity[8];

    g_assert_cmpint(h->interface_id, ==, 'S');
    h->status = h->masked_status = h->sb_len_wr = 0;
    h->host_status = h->driver_status = 0;
    h->resid = 0;
    unit.commands++;
    unit.pieces = h->iovec_count;
    switch (h->cmdp[0]) {
    case 0x00:
        g_mutex_lock(&unit.lock);
        unit.held = true;
        g_cond_broadcast(&unit.cond);
        while (unit.hold) {
            g_cond_wait(&unit.cond, &unit.lock);
        }
        g_mutex_unlock(&unit.lock);
        return 0;
    case 0x12:
        inquiry(h);
        return 0;
    case 0x25:
        store32_be(capacity, BLOCKS - 1);
        store32_be(capacity + 4, 512);
        sg_answer(h, capacity, sizeof capacity);
        return 0;
    case 0x28:
    case 0x2a:
        transfer(h, h->cmdp[0] == 0x2a);
        return 0;
    case 0x35: /* the host gives up */
        h->host_status = 3;
        return 0;
    case 0x3b: /* the kernel's filter */
        errno = EPERM;
        return -1;
    default:
        sg_check_condition(h, 5, 0x20);
        return 0;
    }
}

/* Instead of the C library's. */
int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    switch (request) {
    case SG_GET_VERSION_NUM:
        *(int *)arg = 30536;
        return 0;
    case SG_GET_SG_TABLESIZE:
        *(int *)arg = 1024;
        return 0;
    case BLKSECTGET:
        *(int *)arg = SECTORS_MAX * 512; /* /dev/sgN says bytes */
        return 0;
    case SG_IO:
        return sg_io(arg);
    default:
        return (int)syscall(SYS_ioctl, fd, request, arg);
    }
}

/* ---- the adapter -------------------------------------------------------------------------------- */

typedef struct Fixture {
    Vm *vm;
    ScsiBus bus;
    Device *dev;
    unsigned ended;
} Fixture;

static void complete(ScsiRequest *req)
{
    scsi_request_clear(req);
    ((Fixture *)req->dev->sbus->opaque)->ended++;
}
static bool place(ScsiBus *bus, ScsiDevice *dev, GError **err) { return true; }
static bool is_running(ScsiBus *bus) { return true; }
static const ScsiBusOps bus_ops = {.max_target = 255, .max_lun = 7, .tcq = true, .complete = complete, .place = place, .is_running = is_running};

static bool plug(Fixture *f, const char *type, const char *options, GError **err)
{
    g_auto(GStrv) list = g_strsplit(options, ",", -1);

    f->dev = device_new(f->vm, type);
    for (unsigned i = 0; list[i] && *list[i]; i++) {
        g_auto(GStrv) pair = g_strsplit(list[i], "=", 2);

        if (!object_set(&f->dev->obj, pair[0], pair[1], err)) {
            object_unref(&f->dev->obj);
            return false;
        }
    }
    if (device_realize(f->dev, &f->bus.bus, err)) {
        return true;
    }
    object_unref(&f->dev->obj);
    return false;
}

static void setup_bus(Fixture *f)
{
    GError *err = NULL;

    memset(&unit, 0, sizeof unit);
    for (unsigned i = 0; i < sizeof unit.data; i++) {
        unit.data[i] = (uint8_t)(i / 512 + i % 509);
    }
    f->ended = 0;
    f->vm = vm_new(&err);
    g_assert_no_error(err);
    scsi_bus_init(&f->bus, f->vm, NULL, "s", &bus_ops, f);
    g_assert_true(blk_add_blockdev(f->vm, "driver=host_device,node-name=h,filename=/dev/null", &err));
    g_assert_no_error(err);
}

static void setup(Fixture *f, const void *options)
{
    GError *err = NULL;

    setup_bus(f);
    plug(f, "scsi-generic", options ? options : "drive=h", &err);
    g_assert_no_error(err);
}

static void teardown(Fixture *f, const void *options)
{
    if (f->dev) {
        device_unrealize(f->dev);
    }
    blk_cleanup(f->vm);
    scsi_bus_cleanup(&f->bus);
    vm_free(f->vm);
}

static void start(Fixture *f, ScsiRequest *req, const uint8_t *cdb, size_t size, const struct iovec *iov, unsigned count, bool from_guest)
{
    *req = (ScsiRequest){.dev = scsi_device(f->dev), .lun = scsi_device(f->dev)->lun, .iov = iov, .iov_count = count, .from_guest = from_guest};
    memcpy(req->cdb, cdb, size);
    scsi_request_init(req);
    scsi_request_start(req);
}

static void run(Fixture *f, ScsiRequest *req, const uint8_t *cdb, size_t size, const struct iovec *iov, unsigned count, bool from_guest)
{
    const unsigned before = f->ended;

    start(f, req, cdb, size, iov, count, from_guest);
    while (f->ended == before) {
        loop_run_once(f->vm->loop, -1);
    }
}

#define CDB(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

/* The unit tells of the reset once; then it is the host's that answers. */
static void greet(Fixture *f)
{
    ScsiRequest req;

    run(f, &req, CDB(0), NULL, 0, false);
    g_assert_cmpuint(req.sense[2], ==, 6);
}

static void expect_sense(const ScsiRequest *req, uint8_t key, uint8_t asc)
{
    g_assert_cmpuint(req->status, ==, SCSI_CHECK_CONDITION);
    g_assert_cmpuint(req->sense[2], ==, key);
    g_assert_cmpuint(req->sense[12], ==, asc);
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void test_data(Fixture *f, const void *data)
{
    static uint8_t buf[4 * 512];
    const struct iovec pieces[3] = {{buf, 100}, {buf + 100, 1000}, {buf + 1100, sizeof buf - 1100}};
    ScsiRequest req;

    greet(f);
    run(f, &req, CDB(0x28, 0, 0, 0, 0, 7, 0, 0, 4, 0), pieces, 3, false);
    g_assert_cmpuint(req.status, ==, SCSI_GOOD);
    g_assert_cmpuint(req.moved, ==, sizeof buf);
    g_assert_cmpuint(unit.pieces, ==, 3); /* in place */
    g_assert_cmpmem(buf, sizeof buf, unit.data + 7 * 512, sizeof buf);
    memset(buf, 0x5a, sizeof buf);
    run(f, &req, CDB(0x2a, 0, 0, 0, 0, 9, 0, 0, 4, 0), pieces, 3, true);
    g_assert_cmpuint(req.status, ==, SCSI_GOOD);
    g_assert_cmpmem(unit.data + 9 * 512, sizeof buf, buf, sizeof buf);
    /* It moved less than there is room for. */
    run(f, &req, CDB(0x28, 0, 0, 0, 0, 7, 0, 0, 1, 0), pieces, 3, false);
    g_assert_cmpuint(req.moved, ==, 512);
}

/* More pieces than the kernel takes. */
static void test_many_pieces(Fixture *f, const void *data)
{
    static uint8_t buf[4096];
    static struct iovec pieces[2048];
    ScsiRequest req;

    greet(f);
    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        pieces[i] = (struct iovec){buf + i * 2, 2};
    }
    run(f, &req, CDB(0x28, 0, 0, 0, 0, 7, 0, 0, 8, 0), pieces, G_N_ELEMENTS(pieces), false);
    g_assert_cmpuint(req.status, ==, SCSI_GOOD);
    g_assert_cmpuint(unit.pieces, ==, 0);
    g_assert_cmpmem(buf, sizeof buf, unit.data + 7 * 512, sizeof buf);
    memset(buf, 0x33, sizeof buf);
    run(f, &req, CDB(0x2a, 0, 0, 0, 0, 20, 0, 0, 8, 0), pieces, G_N_ELEMENTS(pieces), true);
    g_assert_cmpmem(unit.data + 20 * 512, sizeof buf, buf, sizeof buf);
}

static void test_errors(Fixture *f, const void *data)
{
    static uint8_t buf[(SECTORS_MAX + 1) * 512];
    const struct iovec all = {buf, sizeof buf}, one = {buf, 512};
    static struct iovec pieces[32]; /* more than may be copied, in memory that stands there many times */
    ScsiRequest req;
    unsigned before;

    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        pieces[i] = (struct iovec){buf, 65536};
    }

    greet(f);
    run(f, &req, CDB(0x28, 0, 0, 0, 0, DAMAGED, 0, 0, 1, 0), &one, 1, false);
    expect_sense(&req, 3, 0x11);
    g_assert_cmpuint(req.moved, ==, 0);
    run(f, &req, CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), NULL, 0, false);
    expect_sense(&req, 4, 0x44);
    run(f, &req, CDB(0x3b, 0, 0, 0, 0, 0, 0, 2, 0, 0), &one, 1, true);
    expect_sense(&req, 5, 0x24);
    run(f, &req, CDB(0x5a, 0, 8, 0, 0, 0, 0, 2, 0, 0), &one, 1, false);
    expect_sense(&req, 5, 0x20);
    /* What the host cannot move at once, and codes of unknown length, do not reach it. */
    before = unit.commands;
    run(f, &req, CDB(0x28, 0, 0, 0, 0, 0, 0, (SECTORS_MAX + 1) >> 8, (SECTORS_MAX + 1) & 255, 0), &all, 1, false);
    expect_sense(&req, 5, 0x24);
    run(f, &req, CDB(0xc1, 0, 0, 0, 0, 0, 0, 0, 0, 0), NULL, 0, false);
    expect_sense(&req, 5, 0x20);
    /* Neither do copies without bounds, nor what a stream calls a command. */
    run(f, &req, CDB(0x12, 0, 0, 0, 36, 0), pieces, G_N_ELEMENTS(pieces), false);
    expect_sense(&req, 5, 0x24);
    req = (ScsiRequest){.dev = scsi_device(f->dev), .cdb = {0xff}};
    scsi_device(f->dev)->ops->retry(&req);
    expect_sense(&req, 5, 0x20);
    run(f, &req, CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0), &one, 1, false); /* REPORT LUNS is the bus's */
    g_assert_cmpuint(req.status, ==, SCSI_GOOD);
    g_assert_cmpuint(unit.commands, ==, before);
}

typedef struct Sense {
    uint8_t len, bytes[96];
} Sense;

static void check_described(Fixture *f, Sense said, Sense told)
{
    static uint8_t buf[512];
    const struct iovec one = {buf, sizeof buf};
    ScsiRequest req;

    memcpy(unit.described, said.bytes, sizeof unit.described);
    unit.n_described = said.len;
    run(f, &req, CDB(0x28, 0, 0, 0, 0, DESCRIBED, 0, 0, 1, 0), &one, 1, false);
    g_assert_cmpuint(req.status, ==, SCSI_CHECK_CONDITION);
    g_assert_cmpmem(req.sense, req.sense_len, told.bytes, told.len);
}

/* Sense data in descriptor format is given in the fixed one, whole or cut off anywhere. */
static void test_described(Fixture *f, const void *data)
{
    Sense whole = {96, {0x72, 3, 0x11, 1, 0, 0, 0, 88,
                        0, 10, 0x80, 0, 0, 0, 0, 0, 1, 2, 3, 4, /* information */
                        1, 10, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8,    /* of the command */
                        2, 6, 0, 0, 0x80, 9, 10, 0,             /* of the key */
                        4, 2, 0, 0xc0, 5, 2, 0, 0x20,           /* marks, a length that is not right */
                        0x80, 200}};                            /* longer than there is room */

    greet(f);
    check_described(f, whole, (Sense){18, {0xf0, 0, 0xe3, 1, 2, 3, 4, 10, 5, 6, 7, 8, 0x11, 1, 0, 0x80, 9, 10}});
    for (unsigned len = 0; len <= sizeof whole.bytes; len++) {
        Sense cut = whole, told = {18, {0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 1}};

        cut.len = (uint8_t)len;
        cut.bytes[7] = 0;
        check_described(f, cut, len >= 4 ? told : len ? (Sense){18, {0x70, 0, 0xb, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 6}} : (Sense){0});
        cut.bytes[7] = 88;
        told.bytes[0] = len < 20 ? 0x70 : 0xf0;
        memcpy(told.bytes + 3, whole.bytes + 16, len < 20 ? 0 : 4);
        memcpy(told.bytes + 8, whole.bytes + 28, len < 32 ? 0 : 4);
        memcpy(told.bytes + 15, whole.bytes + 36, len < 40 ? 0 : 3);
        told.bytes[2] = (uint8_t)(3 | (len < 44 ? 0 : 0xc0) | (len < 48 ? 0 : 0x20));
        if (len >= 4) {
            check_described(f, cut, told);
        }
    }
    /* Deferred; numbers that the fixed format has no room for; what says that it is not valid. */
    check_described(f, (Sense){20, {0xf3, 4, 0x44, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 1}},
                    (Sense){18, {0x71, 0, 4, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x44}});
    check_described(f, (Sense){20, {0x72, 4, 0x44, 0, 0, 0, 0, 12, 0, 10, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}},
                    (Sense){18, {0x70, 0, 4, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x44}});
    /* The fixed format goes through. */
    check_described(f, (Sense){24, {0xf0, 0, 3, 9, 8, 7, 6, 16, [18] = 1, 2, 3, 4, 5, 6}},
                    (Sense){24, {0xf0, 0, 3, 9, 8, 7, 6, 16, [18] = 1, 2, 3, 4, 5, 6}});
}

static void check_limits(Fixture *f, unsigned blocks)
{
    uint8_t buf[255] = {0};
    const struct iovec room = {buf, sizeof buf}, small = {buf, 6};
    ScsiRequest req;

    run(f, &req, CDB(0x12, 1, 0, 0, sizeof buf, 0), &room, 1, false);
    g_assert_cmpuint(req.moved, ==, 7);
    g_assert_cmpmem(buf + 2, 5, ((uint8_t[]){0, 3, 0x00, 0x83, 0xb0}), 5);
    run(f, &req, CDB(0x12, 1, 0xb0, 0, sizeof buf, 0), &room, 1, false);
    g_assert_cmpuint(req.status, ==, SCSI_GOOD);
    g_assert_cmpuint(req.moved, ==, 64);
    g_assert_cmpuint(load32_be(buf + 8), ==, blocks);
    g_assert_cmpuint(load32_be(buf + 12), <=, blocks);
    memset(buf, 0xee, sizeof buf);
    run(f, &req, CDB(0x12, 1, 0, 0, 6, 0), &small, 1, false);
    g_assert_cmpuint(req.moved, <=, 6);
    g_assert_cmpuint(buf[6], ==, 0xee);
}

/* What a stream has of commands that had begun. */
static void test_stream(Fixture *f, const void *data)
{
    ScsiDevice *dev = scsi_device(f->dev);
    GError *err = NULL;

    g_assert_true(scsi_generic_state.post_load(dev, 1, &err));
    dev->loaded = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(dev->loaded, g_malloc0(1));
    g_assert_false(scsi_generic_state.post_load(dev, 1, &err));
    g_assert_nonnull(strstr(err->message, "1 requests"));
    g_clear_error(&err);
    g_assert_null(dev->loaded);
}

static void test_inquiry(Fixture *f, const void *data)
{
    uint8_t buf[36];
    const struct iovec room = {buf, sizeof buf};
    ScsiRequest req;

    run(f, &req, CDB(0x12, 0, 0, 0, sizeof buf, 0), &room, 1, false);
    g_assert_cmpmem(buf + 8, 14, "KILN    A UNIT", 14);
    g_assert_cmpuint(buf[2], ==, 6);
    check_limits(f, SECTORS_MAX);
}

static void test_own_limits(void)
{
    Fixture f = {0};
    GError *err = NULL;

    setup_bus(&f);
    unit.has_limits = true;
    plug(&f, "scsi-generic", "drive=h", &err);
    g_assert_no_error(err);
    check_limits(&f, SECTORS_MAX);
    teardown(&f, NULL);
}

static void wait_until_held(void)
{
    g_mutex_lock(&unit.lock);
    while (!unit.held) {
        g_cond_wait(&unit.cond, &unit.lock);
    }
    g_mutex_unlock(&unit.lock);
}

static gpointer let_go(gpointer data)
{
    g_usleep(20000);
    g_mutex_lock(&unit.lock);
    unit.hold = false;
    g_cond_broadcast(&unit.cond);
    g_mutex_unlock(&unit.lock);
    return NULL;
}

/* A command that the host holds is aborted when it ends, not before; a unit goes when its commands have. */
static void test_slow(Fixture *f, const void *data)
{
    const bool unplug = data != NULL;
    ScsiRequest req;
    GThread *thread;

    greet(f);
    f->ended = 0;
    unit.held = false;
    unit.hold = true;
    start(f, &req, CDB(0, 0, 0, 0, 0, 0), NULL, 0, false);
    wait_until_held();
    scsi_request_abort(&req);
    g_assert_cmpuint(f->ended, ==, 0);
    thread = g_thread_new("let-go", let_go, NULL);
    if (unplug) {
        device_unrealize(f->dev);
        f->dev = NULL;
    } else {
        while (!f->ended) {
            loop_run_once(f->vm->loop, -1);
        }
    }
    g_thread_join(thread);
    g_assert_cmpuint(f->ended, ==, 1);
    g_assert_true(req.aborted);
}

static void test_refused(void)
{
    static const struct {
        const char *type, *options, *text;
    } bad[] = {
        {"scsi-generic", "", "drive property not set"},
        {"scsi-block", "drive=h", "is no block device: use scsi-generic"},
        {"scsi-hd", "drive=h", "only scsi-generic can use it"},
        {"scsi-generic", "drive=n", "no SCSI device of the host"},
        {"scsi-generic", "drive=w", "no SCSI device of the host"},
        {"scsi-generic", "drive=h,io_timeout=0", "io_timeout=0"},
        {"scsi-generic", "drive=h,io_timeout=4294968", "io_timeout=4294968"},
        {"scsi-block", "drive=h,werror=stop", "use rerror= and werror= report"},
        {"scsi-block", "drive=h,scsi_version=256", "scsi_version=256"},
    };
    GError *err = NULL;
    Fixture f = {0};

    setup_bus(&f);
    f.dev = NULL;
    g_assert_true(blk_add_blockdev(f.vm, "driver=null-co,node-name=n", &err));
    g_assert_true(blk_add_blockdev(f.vm, "driver=raw,node-name=w,offset=512,size=512,file.driver=null-co", &err));
    g_assert_no_error(err);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(plug(&f, bad[i].type, bad[i].options, &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, bad[i].text));
        g_clear_error(&err);
    }
    f.dev = NULL;
    teardown(&f, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/scsi-pass/data", Fixture, NULL, setup, test_data, teardown);
    g_test_add("/scsi-pass/many-pieces", Fixture, NULL, setup, test_many_pieces, teardown);
    g_test_add("/scsi-pass/errors", Fixture, NULL, setup, test_errors, teardown);
    g_test_add("/scsi-pass/described", Fixture, NULL, setup, test_described, teardown);
    g_test_add("/scsi-pass/inquiry", Fixture, NULL, setup, test_inquiry, teardown);
    g_test_add("/scsi-pass/stream", Fixture, NULL, setup, test_stream, teardown);
    g_test_add_func("/scsi-pass/own-limits", test_own_limits);
    g_test_add("/scsi-pass/abort", Fixture, NULL, setup, test_slow, teardown);
    g_test_add("/scsi-pass/unplug", Fixture, "drive=h", setup, test_slow, teardown);
    g_test_add_func("/scsi-pass/refused", test_refused);
    return g_test_run();
}
