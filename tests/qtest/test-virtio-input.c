/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-input: what QMP's events come to in the guest's buffers, reports that do not fit, lights, bad drivers and options. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "libvirtio.h"

#define MACHINE "-machine pc -m 32 -nodefaults "
#define SLOT QPCI_DEVFN(4, 0)
enum { EV_SYN, EV_KEY, EV_REL, EV_ABS };

typedef struct Input {
    QTest *qt;
    QVirtio v;
    QVirtq events, status;
    uint64_t buffers;
    char *path;
    int qmp;
} Input;

/* ---- QMP ------------------------------------------------------------------------------------------ */

/* The next line of the monitor that is no event; an error fails the test. */
static void qmp_reply(Input *i)
{
    for (;;) {
        g_autoptr(GString) line = g_string_new(NULL);
        char c = 0;

        while (c != '\n') {
            g_assert_cmpint(read(i->qmp, &c, 1), ==, 1);
            g_string_append_c(line, c);
        }
        g_assert_null(strstr(line->str, "\"error\""));
        if (!strstr(line->str, "\"event\"")) {
            return;
        }
    }
}

static void qmp(Input *i, const char *text)
{
    g_assert_cmpint(write(i->qmp, text, strlen(text)), ==, (ssize_t)strlen(text));
    qmp_reply(i);
}

static void send_events(Input *i, const char *events)
{
    g_autofree char *text = g_strdup_printf("{\"execute\":\"input-send-event\",\"arguments\":{\"events\":[%s]}}\n", events);

    qmp(i, text);
}

#define KEY(code, down) "{\"type\":\"key\",\"data\":{\"down\":" down ",\"key\":{\"type\":\"qcode\",\"data\":\"" code "\"}}}"
#define REL(axis, value) "{\"type\":\"rel\",\"data\":{\"axis\":\"" axis "\",\"value\":" value "}}"
#define ABS_(axis, value) "{\"type\":\"abs\",\"data\":{\"axis\":\"" axis "\",\"value\":" value "}}"
#define BTN(button, down) "{\"type\":\"btn\",\"data\":{\"down\":" down ",\"button\":\"" button "\"}}"

/* ---- the driver ------------------------------------------------------------------------------------- */

static void give(Input *i, unsigned index)
{
    const QPiece piece = {i->buffers + 8 * index, 8, true};

    qvirtq_add(&i->events, &piece, 1);
    qvirtq_kick(&i->events);
}

static void driver(Input *i, unsigned buffers)
{
    qvirtio_open(&i->v, i->qt, SLOT, true);
    g_assert_true(qvirtio_negotiate(&i->v, QV_BIT(QV_VERSION_1)));
    qvirtq_setup(&i->v, &i->events, 0, 64);
    qvirtq_setup(&i->v, &i->status, 1, 64);
    qvirtio_driver_ok(&i->v);
    i->buffers = i->buffers ? i->buffers : qtest_alloc(i->qt, 8 * 64, 64);
    for (unsigned n = 0; n < buffers; n++) {
        give(i, n);
    }
}

static Input *input_start(const char *device, unsigned buffers)
{
    Input *i = g_new0(Input, 1);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    g_autofree char *dir = g_dir_make_tmp("kiln-input-XXXXXX", NULL);

    i->path = g_strdup_printf("%s/qmp", dir);
    i->qt = qtest_start(MACHINE "-qmp unix:%s,server=on,wait=off -device %s,addr=4", i->path, device);
    i->qmp = socket(AF_UNIX, SOCK_STREAM, 0);
    g_strlcpy(addr.sun_path, i->path, sizeof addr.sun_path);
    g_assert_cmpint(connect(i->qmp, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    qmp_reply(i);
    qmp(i, "{\"execute\":\"qmp_capabilities\"}\n");
    driver(i, buffers);
    return i;
}

static void input_end(Input *i)
{
    g_autofree char *dir = g_path_get_dirname(i->path);

    close(i->qmp);
    qtest_end(i->qt);
    g_unlink(i->path);
    g_rmdir(dir);
    g_free(i->path);
    g_free(i);
}

static void expect(Input *i, uint16_t type, uint16_t code, int32_t value)
{
    const unsigned index = i->events.used_seen % 64;
    uint8_t got[8];
    unsigned id;
    uint32_t len;

    while (!qvirtq_poll(&i->events, &id, &len)) {
    }
    g_assert_cmpuint(len, ==, 8);
    qtest_memread(i->qt, i->buffers + 8 * index, got, sizeof got);
    g_assert_cmpuint(got[0] | got[1] << 8, ==, type);
    g_assert_cmpuint(got[2] | got[3] << 8, ==, code);
    g_assert_cmpint((int32_t)(got[4] | got[5] << 8 | got[6] << 16 | (uint32_t)got[7] << 24), ==, value);
    give(i, index);
}

static void expect_nothing(Input *i)
{
    unsigned id;
    uint32_t len;

    qtest_clock_step(i->qt, 1000);
    g_assert_false(qvirtq_poll(&i->events, &id, &len));
}

/* ---- tests --------------------------------------------------------------------------------------------- */

static void test_keyboard(void)
{
    static const struct {
        const char *name;
        uint16_t code;
    } keys[] = {{"a", 30}, {"ret", 28}, {"ctrl_r", 97}, {"up", 103}, {"kp_enter", 96}, {"f12", 88}, {"less", 86}, {"print", 99},
                {"meta_l", 125}, {"menu", 127}, {"volumeup", 115}, {"pause", 119}, {"power", 116}, {"yen", 124}};
    Input *i = input_start("virtio-keyboard-pci", 64);

    for (unsigned k = 0; k < G_N_ELEMENTS(keys); k++) {
        g_autofree char *down = g_strdup_printf(KEY("%s", "true"), keys[k].name);
        g_autofree char *up = g_strdup_printf(KEY("%s", "false"), keys[k].name);

        send_events(i, down);
        expect(i, EV_KEY, keys[k].code, 1);
        expect(i, EV_SYN, 0, 0);
        send_events(i, up);
        expect(i, EV_KEY, keys[k].code, 0);
        expect(i, EV_SYN, 0, 0);
    }
    expect_nothing(i);
    input_end(i);
}

static void test_mouse(const void *axis)
{
    Input *i = input_start(axis ? "virtio-mouse-pci" : "virtio-mouse-pci,wheel-axis=off", 64);

    send_events(i, REL("x", "5") "," REL("y", "-7") "," BTN("left", "true"));
    expect(i, EV_REL, 0, 5);
    expect(i, EV_REL, 1, -7);
    expect(i, EV_KEY, 0x110, 1);
    expect(i, EV_SYN, 0, 0);
    send_events(i, BTN("left", "false") "," BTN("side", "true"));
    expect(i, EV_KEY, 0x110, 0);
    expect(i, EV_KEY, 0x113, 1);
    expect(i, EV_SYN, 0, 0);
    send_events(i, BTN("wheel-up", "true") "," BTN("wheel-up", "false"));
    if (axis) {
        expect(i, EV_REL, 8, 1);
    } else {
        expect(i, EV_KEY, 0x151, 1);
        expect(i, EV_SYN, 0, 0);
        expect(i, EV_KEY, 0x151, 0);
    }
    expect(i, EV_SYN, 0, 0);
    expect_nothing(i);
    input_end(i);
}

static void test_tablet(void)
{
    Input *i = input_start("virtio-tablet-pci", 64);

    send_events(i, ABS_("x", "100") "," ABS_("y", "32767") "," BTN("right", "true"));
    expect(i, EV_ABS, 0, 100);
    expect(i, EV_ABS, 1, 32767);
    expect(i, EV_KEY, 0x111, 1);
    expect(i, EV_SYN, 0, 0);
    input_end(i);
}

/* A report that the guest has no room for is dropped whole; what buttons it told of is told later. */
static void test_full(void)
{
    Input *i = input_start("virtio-mouse-pci", 3);

    send_events(i, REL("x", "1") "," REL("y", "2") "," BTN("left", "true"));
    expect_nothing(i);
    send_events(i, REL("x", "3"));
    expect(i, EV_REL, 0, 3);
    expect(i, EV_KEY, 0x110, 1);
    expect(i, EV_SYN, 0, 0);
    input_end(i);
}

/* Nothing comes before the driver is ready, or after a reset; lights and nonsense on the status queue are taken. */
static void test_reset(void)
{
    Input *i = input_start("virtio-keyboard-pci", 10);
    const QPiece pieces[] = {{i->buffers + 256, 8, false}, {i->buffers + 256, 3, false}, {i->buffers + 256, 8, true}};

    for (unsigned round = 0; round < 20; round++) {
        qvirtio_set_status(&i->v, 0);
        send_events(i, KEY("a", "true") "," KEY("a", "false"));
        driver(i, 10);
        for (unsigned p = 0; p < G_N_ELEMENTS(pieces); p++) {
            unsigned id = qvirtq_add(&i->status, &pieces[p], 1);

            qvirtq_kick(&i->status);
            qvirtq_wait(&i->status, id);
        }
        send_events(i, KEY("b", "true") "," KEY("b", "false"));
        expect(i, EV_KEY, 48, 1);
        expect(i, EV_SYN, 0, 0);
        expect(i, EV_KEY, 48, 0);
        expect(i, EV_SYN, 0, 0);
    }
    input_end(i);
}

/* What was sent before the machine stops is in the ring then, all of it and in order. */
static void test_stop(void)
{
    Input *i = input_start("virtio-keyboard-pci", 64);

    for (unsigned round = 0; round < 50; round++) {
        const unsigned keys = 1 + round % 8;
        unsigned seen = i->events.used_seen;

        for (unsigned k = 0; k < keys; k++) {
            send_events(i, KEY("a", "true") "," KEY("b", "true") "," KEY("b", "false") "," KEY("a", "false"));
        }
        qmp(i, "{\"execute\":\"stop\"}\n");
        g_assert_cmpuint((uint16_t)(qtest_readw(i->qt, i->events.used + 2) - seen), ==, 8 * keys);
        qmp(i, "{\"execute\":\"cont\"}\n");
        for (unsigned k = 0; k < keys; k++) {
            static const uint16_t codes[][2] = {{30, 1}, {48, 1}, {48, 0}, {30, 0}};

            for (unsigned c = 0; c < G_N_ELEMENTS(codes); c++) {
                expect(i, EV_KEY, codes[c][0], codes[c][1]);
                expect(i, EV_SYN, 0, 0);
            }
        }
    }
    expect_nothing(i);
    input_end(i);
}

/* Takes the reports that have come, which are movements to larger and larger places; the last one. */
static int drain(Input *i, int last)
{
    unsigned id;
    uint32_t len;

    while (qvirtq_poll(&i->events, &id, &len)) {
        const unsigned index = (uint16_t)(i->events.used_seen - 1) % 64;
        uint8_t got[8];

        qtest_memread(i->qt, i->buffers + 8 * index, got, sizeof got);
        give(i, index);
        g_assert_cmpuint(got[0], ==, EV_ABS);
        g_assert_cmpuint(got[2], ==, 0);
        g_assert_cmpint(got[4] | got[5] << 8, >=, last);
        last = got[4] | got[5] << 8;
        expect(i, EV_ABS, 1, 7);
        expect(i, EV_SYN, 0, 0);
    }
    return last;
}

/* More than the guest takes: reports come whole, in order, and when there is room again. */
static void test_flood(void)
{
    Input *i = input_start("virtio-tablet-pci", 64);
    int last = 0;

    for (int n = 1; n < 4000; n++) {
        g_autofree char *text = g_strdup_printf(ABS_("x", "%d") "," ABS_("y", "7"), n);

        send_events(i, text);
        if (n % 40 == 0) {
            last = drain(i, last);
        }
    }
    while (last != 5000) {
        send_events(i, ABS_("x", "5000"));
        last = drain(i, last);
    }
    input_end(i);
}

/* A buffer outside RAM breaks the device, a reset mends it. */
static void test_broken(void)
{
    Input *i = input_start("virtio-keyboard-pci", 0);
    const QPiece piece = {0x80000000, 8, true};

    qvirtq_add(&i->events, &piece, 1);
    qvirtq_kick(&i->events);
    send_events(i, KEY("a", "true"));
    qvirtio_wait_broken(&i->v);
    driver(i, 4);
    send_events(i, KEY("a", "false"));
    expect(i, EV_KEY, 30, 0);
    input_end(i);
}

static void test_bad_options(void)
{
    static const char *const bad[][2] = {
        {"virtio-keyboard-pci,display=x", "display=x"},
        {"virtio-keyboard-pci,disable-legacy=off", "modern-only"},
        {"virtio-keyboard-pci,wheel-axis=on", "wheel-axis"},
        {"virtio-mouse-pci,serial=01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
         "890123456789012345678901234567890123456789", "128"},
        {"virtio-tablet-device", "virtio-tablet-device"},
    };

    qtest_expect_refused("-device ", bad, G_N_ELEMENTS(bad));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-input/keyboard", test_keyboard);
    g_test_add_data_func("/virtio-input/mouse/axis", "", test_mouse);
    g_test_add_data_func("/virtio-input/mouse/keys", NULL, test_mouse);
    g_test_add_func("/virtio-input/tablet", test_tablet);
    g_test_add_func("/virtio-input/full", test_full);
    g_test_add_func("/virtio-input/reset", test_reset);
    g_test_add_func("/virtio-input/stop", test_stop);
    g_test_add_func("/virtio-input/flood", test_flood);
    g_test_add_func("/virtio-input/broken", test_broken);
    g_test_add_func("/virtio-input/bad-options", test_bad_options);
    return g_test_run();
}
