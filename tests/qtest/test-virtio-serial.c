/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-serial: control messages, data in both directions, a side that is slow, closed or gone, drivers without
 * MULTIPORT, emergency writes, bad drivers and bad options. The host's side of a port is a unix socket of this test.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "libvirtio.h"

#define MACHINE "-machine pc -m 32 -nodefaults "
#define SLOT QPCI_DEVFN(4, 0)
enum { EMERG_WRITE = 2, MULTIPORT = 1 };
enum { DEVICE_READY, PORT_ADD, PORT_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };
#define BUFFER 4096
#define CONTROL_BUFFERS 16

typedef struct Port {
    QVirtq rx, tx;
    uint64_t rx_buffers, tx_buffer;
    int fd;
} Port;

typedef struct Serial {
    QTest *qt;
    QVirtio v;
    QVirtq control_rx, control_tx;
    uint64_t control, message;
    char *dir;
    Port ports[3];
} Serial;

/* ---- the host's side -------------------------------------------------------------------------- */

static int host_connect(const char *dir, unsigned port)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    g_snprintf(addr.sun_path, sizeof addr.sun_path, "%s/p%u", dir, port);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    return fd;
}

static void host_write(int fd, const void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct pollfd p = {fd, POLLOUT, 0};
        ssize_t n = write(fd, (const char *)data + done, len - done);

        if (n < 0) {
            g_assert_cmpint(errno, ==, EAGAIN);
            g_assert_cmpint(poll(&p, 1, 100000), ==, 1);
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

static void host_read(int fd, void *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        struct pollfd p = {fd, POLLIN, 0};
        ssize_t n;

        g_assert_cmpint(poll(&p, 1, 100000), ==, 1);
        n = read(fd, (char *)data + done, len - done);
        g_assert_cmpint(n, >, 0);
        done += (size_t)n;
    }
}

/* ---- the driver ---------------------------------------------------------------------------------- */

static unsigned add(Serial *s, QVirtq *q, uint64_t addr, uint32_t len, bool write)
{
    const QPiece piece = {addr, len, write};
    unsigned id = qvirtq_add(q, &piece, 1);

    qvirtq_kick(q);
    return id;
}

static bool has_used(void *opaque)
{
    const QVirtq *q = opaque;

    return qtest_readw(q->v->qt, q->used + 2) != q->used_seen;
}

static void wait_used(QVirtq *q, unsigned *id, uint32_t *len)
{
    qvirtio_wait_for(has_used, q);
    g_assert_true(qvirtq_poll(q, id, len));
}

static void say(Serial *s, uint32_t port, uint16_t event, uint16_t value)
{
    uint8_t message[8] = {(uint8_t)port, (uint8_t)(port >> 8), (uint8_t)(port >> 16), (uint8_t)(port >> 24),
                          (uint8_t)event, (uint8_t)(event >> 8), (uint8_t)value, (uint8_t)(value >> 8)};

    qtest_memwrite(s->qt, s->message, message, sizeof message);
    qvirtq_wait(&s->control_tx, add(s, &s->control_tx, s->message, sizeof message, false));
}

static void give_control(Serial *s, unsigned index)
{
    add(s, &s->control_rx, s->control + 64 * index, 64, true);
}

/* The next message; text, if any, lies behind. */
static void expect(Serial *s, uint32_t port, uint16_t event, uint16_t value, const char *text)
{
    const unsigned index = s->control_rx.used_seen % CONTROL_BUFFERS;
    uint8_t got[64];
    unsigned id;
    uint32_t len;

    wait_used(&s->control_rx, &id, &len);
    qtest_memread(s->qt, s->control + 64 * index, got, sizeof got);
    g_assert_cmpuint(len, ==, 8 + (text ? strlen(text) + 1 : 0));
    g_assert_cmpuint(got[0], ==, port);
    g_assert_cmpuint(got[4], ==, event);
    g_assert_cmpuint(got[6], ==, value);
    if (text) {
        g_assert_cmpstr((char *)got + 8, ==, text);
    }
    give_control(s, index);
}

static void nothing_said(Serial *s)
{
    qtest_clock_step(s->qt, 1000);
    g_assert_false(has_used(&s->control_rx));
}

static void setup_port(Serial *s, unsigned n)
{
    Port *p = &s->ports[n];

    qvirtq_setup(&s->v, &p->rx, n ? 2 * n + 2 : 0, 0);
    qvirtq_setup(&s->v, &p->tx, n ? 2 * n + 3 : 1, 0);
    g_assert_cmpuint(p->rx.num, ==, 128);
    if (!p->rx_buffers) {
        p->rx_buffers = qtest_alloc(s->qt, 64 * BUFFER, 4096);
        p->tx_buffer = qtest_alloc(s->qt, 64 * BUFFER, 4096);
    }
}

static void give_buffers(Serial *s, Port *p, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        add(s, &p->rx, p->rx_buffers + BUFFER * i, BUFFER, true);
    }
}

static void driver(Serial *s, unsigned ports, bool modern, bool control_buffers)
{
    const uint64_t wanted = QV_BIT(MULTIPORT) | QV_BIT(EMERG_WRITE) | QV_BIT(QV_EVENT_IDX) | (modern ? QV_BIT(QV_VERSION_1) : 0);

    qvirtio_open(&s->v, s->qt, SLOT, modern);
    g_assert_true(qvirtio_negotiate(&s->v, qvirtio_features(&s->v) & wanted));
    for (unsigned n = 0; n < ports; n++) {
        setup_port(s, n);
    }
    qvirtq_setup(&s->v, &s->control_rx, 2, 0);
    qvirtq_setup(&s->v, &s->control_tx, 3, 0);
    g_assert_cmpuint(s->control_rx.num, ==, 32);
    s->control = qtest_alloc(s->qt, 64 * CONTROL_BUFFERS, 64);
    s->message = qtest_alloc(s->qt, 64, 64);
    qvirtio_driver_ok(&s->v);
    for (unsigned i = 0; control_buffers && i < CONTROL_BUFFERS; i++) {
        give_control(s, i);
    }
}

/* Port 0: a console on a ring buffer; 1 and 2: named ports on sockets. */
static Serial *serial_start(bool modern)
{
    Serial *s = g_new0(Serial, 1);

    s->dir = g_dir_make_tmp("kiln-serial-XXXXXX", NULL);
    s->qt = qtest_start(MACHINE "-device virtio-serial-pci,id=vs,addr=4,max_ports=3 "
                        "-chardev socket,id=c0,path=%s/p0,server=on,wait=off -device virtconsole,chardev=c0,name=con "
                        "-chardev socket,id=c1,path=%s/p1,server=on,wait=off -device virtserialport,chardev=c1,name=one,id=one "
                        "-chardev socket,id=c2,path=%s/p2,server=on,wait=off -device virtserialport,bus=vs.0,nr=2,chardev=c2",
                        s->dir, s->dir, s->dir);
    driver(s, 3, modern, true);
    return s;
}

static void serial_end(Serial *s)
{
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *path = g_strdup_printf("%s/p%u", s->dir, i);

        if (s->ports[i].fd) {
            close(s->ports[i].fd);
        }
        g_unlink(path);
    }
    qtest_end(s->qt);
    g_rmdir(s->dir);
    g_free(s->dir);
    g_free(s);
}

/* A port that both sides have open. */
static Port *open_port(Serial *s, unsigned n)
{
    Port *p = &s->ports[n];

    p->fd = host_connect(s->dir, n);
    if (n) {
        expect(s, n, PORT_OPEN, 1, NULL);
    }
    say(s, n, PORT_OPEN, 1);
    return p;
}

static void pattern(uint8_t *data, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)(seed + i * 31 + i / 251);
    }
}

/* ---- control messages ---------------------------------------------------------------------------------- */

static void test_control(const void *modern)
{
    Serial *s = serial_start(modern != NULL);

    g_assert_cmpuint(qvirtio_config(&s->v, 4, 4), ==, 3);
    nothing_said(s);
    say(s, 0, DEVICE_READY, 1);
    for (unsigned i = 0; i < 3; i++) {
        expect(s, i, PORT_ADD, 1, NULL);
    }
    say(s, 0, PORT_READY, 1);
    expect(s, 0, CONSOLE_PORT, 1, NULL);
    expect(s, 0, PORT_NAME, 1, "con");
    expect(s, 0, PORT_OPEN, 1, NULL);
    say(s, 1, PORT_READY, 1);
    expect(s, 1, PORT_NAME, 1, "one");
    say(s, 2, PORT_READY, 1);
    nothing_said(s);
    s->ports[2].fd = host_connect(s->dir, 2);
    expect(s, 2, PORT_OPEN, 1, NULL);
    close(s->ports[2].fd);
    expect(s, 2, PORT_OPEN, 0, NULL);
    s->ports[2].fd = host_connect(s->dir, 2);
    expect(s, 2, PORT_OPEN, 1, NULL);
    /* What makes no sense is passed over. */
    say(s, 3, PORT_OPEN, 1);
    say(s, 0xffffffff, PORT_READY, 1);
    say(s, 1, 77, 1);
    say(s, 1, PORT_READY, 0);
    say(s, 0, DEVICE_READY, 0);
    qvirtq_wait(&s->control_tx, add(s, &s->control_tx, s->message, 3, false));
    qvirtq_wait(&s->control_tx, add(s, &s->control_tx, s->message, 8, true));
    nothing_said(s);
    g_assert_cmpuint(qvirtio_status(&s->v) & QV_S_NEEDS_RESET, ==, 0);
    serial_end(s);
}

/* A driver that gives no buffers is told of everything when it does. */
static void test_control_late(void)
{
    Serial *s = g_new0(Serial, 1);

    s->dir = g_dir_make_tmp("kiln-serial-XXXXXX", NULL);
    s->qt = qtest_start(MACHINE "-device virtio-serial-pci,addr=4,max_ports=3 "
                        "-chardev socket,id=c1,path=%s/p1,server=on,wait=off -device virtserialport,chardev=c1,name=one,nr=1",
                        s->dir);
    driver(s, 2, true, false);
    for (unsigned i = 0; i < 100; i++) {
        say(s, 0, DEVICE_READY, 1);
        say(s, 1, PORT_READY, 1);
    }
    s->ports[1].fd = host_connect(s->dir, 1);
    qtest_clock_step(s->qt, 1000);
    for (unsigned i = 0; i < CONTROL_BUFFERS; i++) {
        give_control(s, i);
    }
    expect(s, 1, PORT_ADD, 1, NULL);
    expect(s, 1, PORT_NAME, 1, "one");
    expect(s, 1, PORT_OPEN, 1, NULL);
    nothing_said(s);
    serial_end(s);
}

/* ---- data ------------------------------------------------------------------------------------------------ */

static void test_data(const void *modern)
{
    Serial *s = serial_start(modern != NULL);
    Port *p = open_port(s, 1);
    uint8_t data[3 * BUFFER], got[3 * BUFFER];
    const QPiece pieces[] = {{p->tx_buffer, 5, false}, {p->tx_buffer + 100, 4000, false}, {p->tx_buffer + 5000, 1, false}};
    size_t done = 0;

    pattern(data, sizeof data, 1);
    qtest_memwrite(s->qt, p->tx_buffer, data, 5);
    qtest_memwrite(s->qt, p->tx_buffer + 100, data + 5, 4000);
    qtest_memwrite(s->qt, p->tx_buffer + 5000, data + 4005, 1);
    g_assert_cmpuint(qvirtq_add(&p->tx, pieces, 3), <, 128);
    qvirtq_kick(&p->tx);
    host_read(p->fd, got, 4006);
    g_assert_cmpmem(got, 4006, data, 4006);

    give_buffers(s, p, 8);
    host_write(p->fd, data, sizeof data);
    while (done < sizeof data) {
        const unsigned index = p->rx.used_seen;
        unsigned id;
        uint32_t len;

        wait_used(&p->rx, &id, &len);
        g_assert_cmpuint(len, >, 0);
        qtest_memread(s->qt, p->rx_buffers + BUFFER * (index % 8), got + done, len);
        add(s, &p->rx, p->rx_buffers + BUFFER * (index % 8), BUFFER, true);
        done += len;
    }
    g_assert_cmpmem(got, sizeof got, data, sizeof data);
    serial_end(s);
}

#define LARGE (64 * BUFFER)

/* A reader that does not read stops its port only; nothing is lost when it goes on. */
static void test_slow_reader(void)
{
    Serial *s = serial_start(true);
    Port *p = open_port(s, 1), *other = open_port(s, 2);
    g_autofree uint8_t *data = g_malloc(LARGE), *got = g_malloc(LARGE);
    int small = 4096;
    unsigned given = 0;
    size_t total = 0;

    setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    pattern(data, LARGE, 3);
    qtest_memwrite(s->qt, p->tx_buffer, data, LARGE);
    for (given = 0; given < 120; given++) { /* 16 KiB each: more than any socket takes */
        add(s, &p->tx, p->tx_buffer + 16384 * (given % 16), 16384, false);
    }
    qtest_clock_step(s->qt, 1000);
    g_assert_cmpuint(qtest_readw(s->qt, p->tx.used + 2), <, 120);

    qtest_memwrite(s->qt, other->tx_buffer, "hello", 5);
    qvirtq_wait(&other->tx, add(s, &other->tx, other->tx_buffer, 5, false));
    host_read(other->fd, got, 5);
    g_assert_cmpmem(got, 5, "hello", 5);

    for (unsigned i = 0; i < given; i++, total += 16384) {
        host_read(p->fd, got, 16384);
        g_assert_cmpmem(got, 16384, data + 16384 * (i % 16), 16384);
    }
    while (p->tx.used_seen != given) {
        unsigned id;
        uint32_t len;

        wait_used(&p->tx, &id, &len);
        g_assert_cmpuint(len, ==, 0);
    }
    serial_end(s);
}

/* A guest that gives no buffers, or has the port closed, stops the host's writer. */
static void test_slow_guest(void)
{
    Serial *s = serial_start(true);
    Port *p = open_port(s, 1);
    g_autofree uint8_t *data = g_malloc(LARGE), *got = g_malloc(LARGE);
    size_t sent = 0, done = 0;
    ssize_t n;

    pattern(data, LARGE, 9);
    say(s, 1, PORT_OPEN, 0);
    give_buffers(s, p, 4);
    while (sent < LARGE && (n = write(p->fd, data + sent, MIN(1000, LARGE - sent))) > 0) {
        sent += (size_t)n;
    }
    qtest_clock_step(s->qt, 1000);
    g_assert_false(has_used(&p->rx));
    say(s, 1, PORT_OPEN, 1);
    for (unsigned index = 0; done < sent; index = (index + 1) % 4) {
        unsigned id;
        uint32_t len;

        wait_used(&p->rx, &id, &len);
        qtest_memread(s->qt, p->rx_buffers + BUFFER * index, got + done, len);
        done += len;
        add(s, &p->rx, p->rx_buffers + BUFFER * index, BUFFER, true);
    }
    g_assert_cmpmem(got, done, data, sent);
    serial_end(s);
}

/* The host's side goes away with the guest's buffers half written: they come back, and what follows is dropped. */
static void test_host_gone(void)
{
    Serial *s = serial_start(true);
    Port *p = open_port(s, 1);
    unsigned id;
    uint32_t len;
    char got[3];

    for (unsigned i = 0; i < 100; i++) {
        add(s, &p->tx, p->tx_buffer, 64 * BUFFER, false);
    }
    qtest_clock_step(s->qt, 1000);
    g_assert_cmpuint(qtest_readw(s->qt, p->tx.used + 2), <, 100);
    close(p->fd);
    expect(s, 1, PORT_OPEN, 0, NULL);
    for (unsigned i = 0; i < 100; i++) {
        wait_used(&p->tx, &id, &len);
    }
    qvirtq_wait(&p->tx, add(s, &p->tx, p->tx_buffer, 10, false));
    p->fd = host_connect(s->dir, 1);
    expect(s, 1, PORT_OPEN, 1, NULL);
    qtest_memwrite(s->qt, p->tx_buffer, "new", 3);
    qvirtq_wait(&p->tx, add(s, &p->tx, p->tx_buffer, 3, false));
    host_read(p->fd, got, 3);
    g_assert_cmpmem(got, 3, "new", 3);
    serial_end(s);
}

/* A console gives its buffers back whether somebody reads or not, and what waits is bounded. */
static void test_console(void)
{
    Serial *s = serial_start(true);
    Port *p = open_port(s, 0);
    g_autofree uint8_t *data = g_malloc(LARGE), *got = g_malloc(LARGE);
    char tail[3] = {0};
    struct pollfd readable = {p->fd, POLLIN, 0};

    pattern(data, LARGE, 3);
    qtest_memwrite(s->qt, p->tx_buffer, data, LARGE);
    for (unsigned i = 0; i < 16; i++) {
        qvirtq_wait(&p->tx, add(s, &p->tx, p->tx_buffer, LARGE, false));
    }
    host_read(p->fd, got, LARGE);
    g_assert_cmpmem(got, LARGE, data, LARGE);
    qtest_memwrite(s->qt, p->tx_buffer, "end", 3);
    while (memcmp(tail, "end", 3)) {
        if (poll(&readable, 1, 100) == 1) {
            memmove(tail, tail + 1, 2);
            host_read(p->fd, tail + 2, 1);
        } else { /* all that was kept has come, and there is room again */
            qvirtq_wait(&p->tx, add(s, &p->tx, p->tx_buffer, 3, false));
        }
    }
    serial_end(s);
}

/* The driver of one console that knows no control messages; and a word of the configuration. */
static void test_no_multiport(void)
{
    Serial *s = g_new0(Serial, 1);
    Port *p = &s->ports[0];
    char got[5];
    unsigned id;
    uint32_t len;

    s->dir = g_dir_make_tmp("kiln-serial-XXXXXX", NULL);
    s->qt = qtest_start(MACHINE "-device virtio-serial-pci,addr=4,max_ports=1 "
                        "-chardev socket,id=c0,path=%s/p0,server=on,wait=off -device virtconsole,chardev=c0", s->dir);
    p->fd = host_connect(s->dir, 0);
    qvirtio_open(&s->v, s->qt, SLOT, false);
    g_assert_false(qvirtio_features(&s->v) & QV_BIT(MULTIPORT));
    g_assert_true(qvirtio_features(&s->v) & QV_BIT(EMERG_WRITE));
    g_assert_true(qvirtio_negotiate(&s->v, 0));
    setup_port(s, 0);
    qvirtio_driver_ok(&s->v);
    give_buffers(s, p, 1);
    host_write(p->fd, "in", 2);
    wait_used(&p->rx, &id, &len);
    g_assert_cmpuint(len, ==, 2);
    qtest_memread(s->qt, p->rx_buffers, got, 2);
    g_assert_cmpmem(got, 2, "in", 2);
    qtest_memwrite(s->qt, p->tx_buffer, "out", 3);
    qvirtq_wait(&p->tx, add(s, &p->tx, p->tx_buffer, 3, false));
    qvirtio_set_config8(&s->v, 8, '!');
    qvirtio_set_config8(&s->v, 8, 0);
    host_read(p->fd, got, 4);
    g_assert_cmpmem(got, 4, "out!", 4);
    serial_end(s);
}

/* ---- bad drivers and options ------------------------------------------------------------------------------ */

/* A reset with data on its way in both directions; afterwards all works. */
/* More than is written in one go: into a file, which takes anything; and a console does not wait. */
static void test_long_buffer(void)
{
    const uint32_t len = 4 * 1024 * 1024 + 5;
    g_autofree uint8_t *sent = g_malloc(len);

    for (unsigned i = 0; i < len; i++) {
        sent[i] = (uint8_t)(i * 7 + i / 251);
    }
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *path = qtest_temp_file(NULL, 0), *got = NULL;
        Serial *s = g_new0(Serial, 1);
        uint64_t buffer;
        gsize got_len;

        s->dir = g_dir_make_tmp("kiln-serial-XXXXXX", NULL);
        s->qt = qtest_start(MACHINE "-device virtio-serial-pci,addr=4,max_ports=2 -chardev file,id=c1,path=%s "
                            "-device %s,chardev=c1,nr=1", path, i ? "virtconsole" : "virtserialport");
        driver(s, 2, true, false);
        say(s, 0, DEVICE_READY, 1);
        say(s, 1, PORT_READY, 1);
        say(s, 1, PORT_OPEN, 1);
        buffer = qtest_alloc(s->qt, len, 4096);
        qtest_memwrite(s->qt, buffer, sent, len);
        qvirtq_wait(&s->ports[1].tx, add(s, &s->ports[1].tx, buffer, len, false));
        g_assert_true(g_file_get_contents(path, &got, &got_len, NULL));
        g_assert_cmpmem(got, got_len, sent, len);
        serial_end(s);
    }
}

static void test_reset(void)
{
    Serial *s = serial_start(true);

    for (unsigned round = 0; round < 20; round++) {
        Port *p = &s->ports[1];
        char got[64 * 1024];
        bool open = p->fd;

        if (!open) {
            open_port(s, 1);
        } else {
            say(s, 1, PORT_OPEN, 1);
        }
        give_buffers(s, p, 10);
        host_write(p->fd, "to the guest", 12);
        for (unsigned i = 0; i < 100; i++) {
            add(s, &p->tx, p->tx_buffer, 64 * BUFFER, false);
        }
        if (round % 2) {
            while (read(p->fd, got, sizeof got) > 0) {
            }
        }
        qvirtio_set_status(&s->v, 0);
        memset(&s->control_rx, 0, sizeof s->control_rx);
        driver(s, 3, true, true);
    }
    close(s->ports[1].fd);
    expect(s, 1, PORT_OPEN, 0, NULL);
    s->ports[1].fd = 0;
    open_port(s, 1);
    serial_end(s);
}

/* Rings and buffers outside RAM break the device, which a reset mends. */
static void test_broken(void)
{
    Serial *s = serial_start(true);

    open_port(s, 1);
    for (unsigned queue = 0; queue < 4; queue++) {
        QVirtq *const queues[] = {&s->ports[1].tx, &s->ports[1].rx, &s->control_tx, &s->control_rx};

        say(s, 1, PORT_OPEN, 1);
        host_write(s->ports[1].fd, "x", 1);
        if (queues[queue] == &s->control_rx) {
            s->control_rx.used_seen = qtest_readw(s->qt, s->control_rx.used + 2);
            for (unsigned i = 0; i < CONTROL_BUFFERS; i++) {
                say(s, 0, DEVICE_READY, 1); /* uses the good buffers up */
            }
        }
        add(s, queues[queue], 0xfffff000, 0x10000, queues[queue] == &s->ports[1].rx || queues[queue] == &s->control_rx);
        if (queues[queue] == &s->control_rx) {
            const QPiece piece = {s->message, 8, false};

            qtest_memwrite(s->qt, s->message, "\0\0\0\0\0\0\1", 8);
            qvirtq_add(&s->control_tx, &piece, 1);
            qvirtq_kick(&s->control_tx);
        }
        qvirtio_wait_broken(&s->v);
        driver(s, 3, true, true);
    }
    say(s, 0, DEVICE_READY, 1);
    expect(s, 0, PORT_ADD, 1, NULL);
    serial_end(s);
}

static void test_bad_options(void)
{
    static const char *const bad[][2] = {
        {"-device virtio-serial-pci,max_ports=0", "max_ports"},
        {"-device virtio-serial-pci,max_ports=512", "maximum ports supported: 511"},
        {"-device virtserialport", "virtio-serial-bus"},
        {"-device virtio-serial-pci -device virtserialport,nr=0", "reserved for virtconsole"},
        {"-device virtio-serial-pci -device virtserialport,nr=31", "max. allowed: 30"},
        {"-device virtio-serial-pci -device virtserialport,nr=3 -device virtconsole,nr=3", "already exists at id 3"},
        {"-device virtio-serial-pci -device virtserialport,name=a -device virtconsole,name=a", "already exists by name a"},
        {"-device virtio-serial-pci,max_ports=1 -device virtserialport", "Maximum port limit"},
        {"-device virtio-serial-pci,max_ports=1 -device virtconsole -device virtconsole", "Maximum port limit"},
        {"-device virtio-serial-pci -device virtserialport,chardev=nobody", "nobody"},
        {"-device virtio-serial-pci -device virtserialport,bus=vs.0", "vs.0"},
        {"-device virtio-serial-device", "virtio-serial-device"},
    };

    qtest_expect_refused("", bad, G_N_ELEMENTS(bad));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/virtio-serial/control/modern", "", test_control);
    g_test_add_data_func("/virtio-serial/control/legacy", NULL, test_control);
    g_test_add_func("/virtio-serial/control/late", test_control_late);
    g_test_add_data_func("/virtio-serial/data/modern", "", test_data);
    g_test_add_data_func("/virtio-serial/data/legacy", NULL, test_data);
    g_test_add_func("/virtio-serial/slow-reader", test_slow_reader);
    g_test_add_func("/virtio-serial/slow-guest", test_slow_guest);
    g_test_add_func("/virtio-serial/host-gone", test_host_gone);
    g_test_add_func("/virtio-serial/console", test_console);
    g_test_add_func("/virtio-serial/no-multiport", test_no_multiport);
    g_test_add_func("/virtio-serial/long-buffer", test_long_buffer);
    g_test_add_func("/virtio-serial/reset", test_reset);
    g_test_add_func("/virtio-serial/broken", test_broken);
    g_test_add_func("/virtio-serial/bad-options", test_bad_options);
    return g_test_run();
}
