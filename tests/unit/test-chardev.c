/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: every back end with good and bad options, bursts, slow and dying peers, mux
 * keys.
 *
 * Write calls are counted with a SOCK_SEQPACKET pair: each one arrives as a packet of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/char.h"
#include "util/loop.h"

typedef struct User {
    Vm *vm;
    CharPort *port;
    size_t room;             /* what can_receive says */
    GString *got;
    unsigned opened, closed, breaks, mux_in, mux_out, writable;
} User;

static char *dir; /* scratch */

/* ---- helpers ----------------------------------------------------------------------- */

static size_t user_can_receive(void *opaque) { return ((User *)opaque)->room; }

static void user_receive(void *opaque, const uint8_t *data, size_t len)
{
    User *user = opaque;

    g_assert_cmpuint(len, <=, user->room);
    g_string_append_len(user->got, (const char *)data, (gssize)len);
}

static void user_event(void *opaque, CharEvent event)
{
    User *user = opaque;

    user->opened += event == CHAR_EVENT_OPENED;
    user->closed += event == CHAR_EVENT_CLOSED;
    user->breaks += event == CHAR_EVENT_BREAK;
    user->mux_in += event == CHAR_EVENT_MUX_IN;
    user->mux_out += event == CHAR_EVENT_MUX_OUT;
}

static void user_writable(void *opaque) { ((User *)opaque)->writable++; }

static const CharPortOps user_ops = {user_can_receive, user_receive, user_event};

static void user_start(User *user, Vm *vm, const char *id)
{
    GError *err = NULL;

    *user = (User){.room = 4096, .got = g_string_new(NULL)};
    user->port = charport_open(vm, id, &err);
    g_assert_no_error(err);
    charport_set_ops(user->port, &user_ops, user);
}

static void user_end(User *user)
{
    charport_close(user->port);
    g_string_free(user->got, TRUE);
}

static void expect_got(User *user, const char *text)
{
    g_assert_cmpstr(user->got->str, ==, text);
    g_string_truncate(user->got, 0);
}

static Vm *start(const char *option)
{
    GError *err = NULL;
    Vm *vm = vm_new(&err);

    g_assert_no_error(err);
    if (option) {
        chardev_add_option(vm, option, &err);
        g_assert_no_error(err);
    }
    return vm;
}

static void end(Vm *vm)
{
    chardev_cleanup(vm);
    vm_free(vm);
}

static void settle(Vm *vm)
{
    while (loop_run_once(vm->loop, 3 * NSEC_PER_MSEC)) {
    }
}

/* Runs the loop until the number is there; the test's own time limit ends a wait for ever. */
static void wait_for(Vm *vm, const unsigned *number, unsigned value)
{
    while (*number < value) {
        loop_run_once(vm->loop, 100 * NSEC_PER_MSEC);
    }
}

static char *read_some(int fd)
{
    char buf[8192];
    ssize_t n = read(fd, buf, sizeof buf);

    return g_strndup(buf, (gsize)MAX(n, 0));
}

static void expect_read(int fd, const char *text)
{
    g_autofree char *got = read_some(fd);

    g_assert_cmpstr(got, ==, text);
}

static void put_text(int fd, const char *text)
{
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
}

static void out_text(User *user, const char *text)
{
    g_assert_cmpuint(charport_write(user->port, text, strlen(text)), ==, strlen(text));
}

static void make_pair(int type, int fds[2])
{
    g_assert_cmpint(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), ==, 0);
}

/* A VM with the chardev "c" on a socket pair; extra: more options, with a comma in front. */
static Vm *start_pair(int type, const char *extra, int *peer)
{
    g_autofree char *option = NULL;
    int fds[2];

    make_pair(type, fds);
    *peer = fds[1];
    option = g_strdup_printf("socket,id=c,fd=%d%s", fds[0], extra);
    return start(option);
}

static int connect_unix(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    g_strlcpy(un.sun_path, path, sizeof un.sun_path);
    if (connect(fd, (struct sockaddr *)&un, sizeof un) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static char *in_dir(const char *name) { return g_build_filename(dir, name, NULL); }

static char *file_text(const char *path)
{
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

/* ---- options ----------------------------------------------------------------------- */

static void test_bad_options(void)
{
    static const struct {
        const char *option, *message;
    } cases[] = {
        {"foo,id=a", "*'foo'*not*back end*-chardev help*"},
        {"sockt,id=a", "*did you mean*socket*"},
        {"null", "*id is missing*"},
        {"null,id=1a", "*id=1a*identifier*"},
        {"null,id=a,bogus=1", "*null*no option 'bogus'*"},
        {"file,id=a,pth=x", "*no option 'pth'*did you mean*path*"},
        {"file,id=a", "*path is missing*"},
        {"file,id=a,path=/nonexistent/x", "*path=/nonexistent/x*No such file*"},
        {"file,id=a,path=/dev/fdset/0", "*descriptor sets*"},
        {"null,id=a,logfile=/nonexistent/x", "*logfile=/nonexistent/x*No such file*"},
        {"null,id=a,mux=maybe", "*mux=maybe*"},
        {"pipe,id=a,path=/nonexistent/x", "*path=/nonexistent/x*No such file*"},
        {"serial,id=a,path=/dev/null", "*/dev/null*not a serial device*"},
        {"tty,id=a,path=/nonexistent/tty", "*No such file*"},
        {"ringbuf,id=a,size=100", "*size=100*power of two*"},
        {"socket,id=a", "*address is missing*"},
        {"socket,id=a,path=x,host=y,port=1", "*exclude*"},
        {"socket,id=a,host=127.0.0.1", "*port is missing*"},
        {"socket,id=a,path=/nonexistent/x", "*/nonexistent/x*No such file*"},
        {"socket,id=a,path=/nonexistent/x,server=on,wait=off", "*/nonexistent/x*No such file*"},
        {"socket,id=a,path=x,wait=off", "*wait is for servers*"},
        {"socket,id=a,path=x,server=on,reconnect=1", "*reconnect is for clients*"},
        {"socket,id=a,fd=77", "*fd=77*"},
        {"socket,id=a,fd=x", "*fd=x*"},
        {"socket,id=a,path=x,websocket=on", "*websocket*not supported*"},
        {"socket,id=a,path=x,tls-creds=t", "*TLS is not supported*"},
        {"socket,id=a,path=x,tn3270=on", "*tn3270*"},
        {"socket,id=a,host=127.0.0.1,port=1,ipv4=off,ipv6=off", "*no address family*"},
        {"socket,id=a,host=name.invalid,port=1", "*name.invalid*cannot be resolved*"},
        {"udp,id=a", "*port is missing*"},
        {"vc,id=a", "*needs a display*"},
        {"parallel,id=a,path=/dev/parport0", "*not supported*"},
        {"spicevmc,id=a", "*SPICE*"},
        {"mux,id=a", "*mux=on*"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        Vm *vm = start(NULL);
        GError *err = NULL;

        if (chardev_add_option(vm, cases[i].option, &err)) {
            g_error("%s was taken", cases[i].option);
        }
        if (!g_pattern_match_simple(cases[i].message, err->message)) {
            g_error("%s: %s", cases[i].option, err->message);
        }
        g_error_free(err);
        end(vm);
    }
}

static void expect_refused(Vm *vm, const char *option, const char *message)
{
    GError *err = NULL;

    g_assert_false(chardev_add_option(vm, option, &err));
    if (!g_pattern_match_simple(message, err->message)) {
        g_error("%s: %s", option, err->message);
    }
    g_error_free(err);
}

static void test_ids(void)
{
    Vm *vm = start("null,id=a");
    GError *err = NULL;
    CharPort *port;

    expect_refused(vm, "null,id=a", "*id 'a'*taken*");
    expect_refused(vm, "null,id=a,mux=on", "*id 'a'*taken*");
    g_assert_null(charport_open(vm, "aa", &err));
    g_assert_true(g_pattern_match_simple("*no character device 'aa'*", err->message));
    g_clear_error(&err);
    port = charport_open(vm, "a", &err);
    g_assert_no_error(err);
    g_assert_null(charport_open(vm, "a", &err));
    g_assert_true(g_pattern_match_simple("*'a' is in use*", err->message));
    g_clear_error(&err);
    charport_close(port);
    port = charport_open(vm, "a", &err);
    g_assert_no_error(err);
    end(vm);
    /* A port outlives its character device. */
    g_assert_cmpuint(charport_write(port, "x", 1), ==, 1);
    charport_flush(port);
    charport_close(port);
}

static void test_legacy(void)
{
    static const char *const refused[] = {"bogus",
                                          "tcp:nocolon",
                                          "vc",
                                          "vc:80x25",
                                          "COM1",
                                          "/dev/parport0",
                                          "chardev:none",
                                          "fd:99",
                                          "websocket:127.0.0.1:1",
                                          "unix:/nonexistent/s"};
    g_autofree char *path = in_dir("legacy,comma"), *file = in_dir("legacy.txt"), *form = NULL,
                    *text = NULL;
    Vm *vm = start("ringbuf,id=ring");
    GError *err = NULL;
    bool none;
    User user;
    int fd;

    for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_assert_false(chardev_add_legacy(vm, "x", refused[i], NULL, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
    g_assert_true(chardev_add_legacy(vm, "serial0", "none", &none, &err) && none);
    g_assert_true(chardev_add_legacy(vm, "serial0", "null", &none, &err) && !none);
    g_assert_true(chardev_add_legacy(vm, "serial1", "chardev:ring", &none, &err));
    user_start(&user, vm, "serial1");
    g_assert_cmpstr(charport_label(user.port), ==, "ring");
    user_end(&user);

    form = g_strdup_printf("unix:%s/legacy,,comma,server,nowait", dir);
    g_assert_true(chardev_add_legacy(vm, "serial2", form, &none, &err));
    g_assert_no_error(err);
    fd = connect_unix(path);
    g_assert_cmpint(fd, >=, 0);
    close(fd);

    g_free(form);
    form = g_strdup_printf("mon:file:%s", file);
    g_assert_true(chardev_add_legacy(vm, "serial3", form, &none, &err));
    user_start(&user, vm, "serial3");
    out_text(&user, "hello");
    user_end(&user);
    end(vm);
    text = file_text(file);
    g_assert_cmpstr(text, ==, "hello");
}

/* ---- simple back ends -------------------------------------------------------------- */

static void test_file_and_log(void)
{
    g_autofree char *path = in_dir("out.txt"), *log = in_dir("log.txt"), *text = NULL, *copy = NULL;

    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *option =
            g_strdup_printf("file,id=c,path=%s,append=%s,logfile=%s,logappend=on", path,
                            i == 1 ? "off" : "on", log);
        Vm *vm = start(option);
        User user;

        user_start(&user, vm, "c");
        out_text(&user, "one ");
        settle(vm);
        out_text(&user, "two\n");
        user_end(&user);
        end(vm);
    }
    text = file_text(path);
    copy = file_text(log);
    g_assert_cmpstr(text, ==, "one two\none two\n");
    g_assert_cmpstr(copy, ==, "one two\none two\none two\n");
}

static void test_ringbuf(void)
{
    Vm *vm = start("ringbuf,id=c,size=8");
    char buf[16];
    User user;

    user_start(&user, vm, "c");
    out_text(&user, "abcdefghij");
    g_assert_cmpint(chardev_ringbuf_read(vm, "c", buf, 3, NULL), ==, 3);
    g_assert_cmpmem(buf, 3, "cde", 3);
    g_assert_cmpint(chardev_ringbuf_write(vm, "c", "kl", 2, NULL), ==, 2);
    g_assert_cmpint(chardev_ringbuf_read(vm, "c", buf, sizeof buf, NULL), ==, 7);
    g_assert_cmpmem(buf, 7, "fghijkl", 7);
    g_assert_cmpint(chardev_ringbuf_read(vm, "x", buf, sizeof buf, NULL), ==, -1);
    user_end(&user);
    end(vm);
}

static void test_pipe(void)
{
    g_autofree char *base = in_dir("p"), *in = in_dir("p.in"), *out = in_dir("p.out");
    g_autofree char *option = g_strdup_printf("pipe,id=c,path=%s", base);
    int writer, reader;
    User user;
    Vm *vm;

    g_assert_cmpint(mkfifo(in, 0600) | mkfifo(out, 0600), ==, 0);
    vm = start(option);
    user_start(&user, vm, "c");
    reader = open(out, O_RDONLY | O_NONBLOCK);
    writer = open(in, O_WRONLY | O_NONBLOCK);
    put_text(writer, "to guest");
    out_text(&user, "from guest");
    settle(vm);
    expect_got(&user, "to guest");
    expect_read(reader, "from guest");
    close(reader);
    close(writer);
    out_text(&user, "to nobody");
    settle(vm);
    user_end(&user);
    end(vm);
}

static void find_filename(const char *id, const char *filename, bool in_use, void *opaque)
{
    char **out = opaque;

    if (!*out) {
        *out = g_strdup(filename);
    }
}

static void test_pty(void)
{
    Vm *vm = start("pty,id=c");
    g_autofree char *name = NULL;
    User user;
    int fd;

    chardev_foreach(vm, find_filename, &name);
    g_assert_true(g_str_has_prefix(name, "pty:/dev/pts/"));
    user_start(&user, vm, "c");
    g_assert_cmpuint(user.opened, ==, 0);
    out_text(&user, "nobody reads this");
    settle(vm);
    for (unsigned round = 1; round <= 2; round++) {
        fd = open(name + strlen("pty:"), O_RDWR | O_NOCTTY | O_NONBLOCK);
        g_assert_cmpint(fd, >=, 0);
        wait_for(vm, &user.opened, round);
        out_text(&user, "hi\n");
        put_text(fd, "a\rb");
        settle(vm);
        expect_got(&user, "a\rb");
        expect_read(fd, "hi\n");
        close(fd);
        wait_for(vm, &user.closed, round);
        /* Without a reader the loop sleeps. */
        settle(vm);
    }
    user_end(&user);
    end(vm);
}

static void test_udp(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    g_autofree char *option = NULL;
    char buf[32];
    User user;
    Vm *vm;

    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    getsockname(fd, (struct sockaddr *)&addr, &len);
    option = g_strdup_printf("udp,id=c,host=127.0.0.1,port=%u", ntohs(addr.sin_port));
    vm = start(option);
    user_start(&user, vm, "c");
    out_text(&user, "one");
    out_text(&user, " packet");
    settle(vm);
    len = sizeof addr;
    g_assert_cmpint(recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&addr, &len), ==, 10);
    user.room = 2; /* a datagram that the user takes in pieces */
    g_assert_cmpint(sendto(fd, "answer", 6, 0, (struct sockaddr *)&addr, len), ==, 6);
    settle(vm);
    expect_got(&user, "answer");
    close(fd);
    out_text(&user, "nobody");
    settle(vm);
    user_end(&user);
    end(vm);
}

/* ---- bursts and slow peers --------------------------------------------------------- */

static void test_burst_is_one_write(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_SEQPACKET, "", &peer);
    GString *all = g_string_new(NULL);
    User user;

    user_start(&user, vm, "c");
    for (unsigned i = 0; i < 1000; i++) {
        charport_write(user.port, "x", 1);
        g_string_append_c(all, 'x');
    }
    settle(vm);
    expect_read(peer, all->str);
    expect_read(peer, "");
    charport_write_all(user.port, "reply ", 6);
    charport_write_all(user.port, "text", 4);
    settle(vm);
    expect_read(peer, "reply text");
    expect_read(peer, "");
    g_string_free(all, TRUE);
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_slow_peer(void)
{
    static const uint8_t block[1024];
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    size_t sent = 0, got = 0;
    uint8_t buf[65536];
    ssize_t n;
    User user;

    user_start(&user, vm, "c");
    for (;;) {
        size_t taken = charport_write(user.port, block, sizeof block);

        sent += taken;
        g_assert_cmpuint(sent, <, 64 * MIB);
        settle(vm);
        if (taken < sizeof block) {
            break;
        }
    }
    charport_on_writable(user.port, user_writable, &user);
    settle(vm);
    g_assert_cmpuint(user.writable, ==, 0);
    while (got < sent) {
        n = read(peer, buf, sizeof buf);
        got += n > 0 ? (size_t)n : 0;
        settle(vm);
    }
    g_assert_cmpuint(got, ==, sent);
    g_assert_cmpuint(user.writable, ==, 1);
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_peer_that_never_reads(void)
{
    g_autofree uint8_t *block = g_malloc0(MIB);
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    User user;

    user_start(&user, vm, "c");
    for (unsigned i = 0; i < 40 && !user.closed; i++) {
        charport_write_all(user.port, block, MIB);
        settle(vm);
    }
    g_assert_cmpuint(user.closed, ==, 1);
    g_assert_false(charport_is_connected(user.port));
    charport_write_all(user.port, block, MIB); /* goes nowhere */
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_peer_dies(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    User user;

    user_start(&user, vm, "c");
    g_assert_cmpuint(user.opened, ==, 1);
    out_text(&user, "x");
    close(peer);
    settle(vm);
    g_assert_cmpuint(user.closed, ==, 1);
    out_text(&user, "y");
    settle(vm);
    user_end(&user);
    end(vm);
}

/* What a peer sent before it died is still read, at the user's pace, without the loop spinning. */
static void test_peer_dies_while_paused(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    User user;

    user_start(&user, vm, "c");
    user.room = 0;
    charport_accept_input(user.port);
    put_text(peer, "last words");
    close(peer);
    settle(vm);
    settle(vm);
    g_assert_false(loop_run_once(vm->loop, 0));
    g_assert_cmpuint(user.closed, ==, 0);
    user.room = 4;
    charport_accept_input(user.port);
    settle(vm);
    expect_got(&user, "last words");
    g_assert_cmpuint(user.closed, ==, 1);
    user_end(&user);
    end(vm);
}

/* Bytes written by another thread that holds the lock for each, as a vCPU does. */
static void *writer_thread(void *opaque)
{
    User *user = opaque;

    for (unsigned sent = 0; sent < 20000;) {
        vm_lock(user->vm);
        sent += (unsigned)charport_write(user->port, "x", 1);
        vm_unlock(user->vm);
    }
    return NULL;
}

static void test_writes_of_a_vcpu(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    pthread_t thread;
    size_t got = 0;
    User user;

    user_start(&user, vm, "c");
    user.vm = vm;
    g_assert_cmpint(pthread_create(&thread, NULL, writer_thread, &user), ==, 0);
    while (got < 20000) {
        char buf[4096];
        ssize_t n;

        loop_run_once(vm->loop, 100 * NSEC_PER_MSEC);
        n = read(peer, buf, sizeof buf);
        got += n > 0 ? (size_t)n : 0;
    }
    vm_unlock(vm);
    pthread_join(thread, NULL);
    vm_lock(vm);
    user_end(&user);
    end(vm);
    close(peer);
}

/* ---- sockets ----------------------------------------------------------------------- */

static void test_unix_server(void)
{
    g_autofree char *path = in_dir("server");
    g_autofree char *option = g_strdup_printf("socket,id=c,path=%s,server=on,wait=off", path);
    Vm *vm = start(option), *other = start(NULL);
    int first, second;
    User user;

    user_start(&user, vm, "c");
    g_assert_cmpuint(user.opened, ==, 0);
    out_text(&user, "nobody is there");
    first = connect_unix(path);
    second = connect_unix(path); /* waits for its turn */
    g_assert_cmpint(MIN(first, second), >=, 0);
    put_text(first, "1");
    put_text(second, "2");
    wait_for(vm, &user.opened, 1);
    settle(vm);
    expect_got(&user, "1");
    out_text(&user, "hello");
    settle(vm);
    expect_read(first, "hello");
    expect_read(second, "");

    /* In use, and the other server does not notice the question. */
    option[strcspn(option, "=") + 1] = 'd';
    expect_refused(other, option, "*in use*another process listens*");
    settle(vm);
    g_assert_cmpuint(user.closed, ==, 0);

    close(first);
    wait_for(vm, &user.opened, 2);
    settle(vm);
    g_assert_cmpuint(user.closed, ==, 1);
    expect_got(&user, "2");
    out_text(&user, "again");
    settle(vm);
    expect_read(second, "again");
    close(second);
    settle(vm);
    user_end(&user);
    end(vm);
    end(other);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_unix_stale_path(void)
{
    g_autofree char *path = in_dir("stale"), *plain = in_dir("plain");
    g_autofree char *option = g_strdup_printf("socket,id=c,path=%s,server=on,wait=off", path);
    g_autofree char *refused = g_strdup_printf("socket,id=c,path=%s,server=on,wait=off", plain);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    Vm *vm;

    g_strlcpy(un.sun_path, path, sizeof un.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&un, sizeof un), ==, 0);
    close(fd);
    vm = start(option);
    fd = connect_unix(path);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    end(vm);
    vm = start(NULL);
    g_assert_true(g_file_set_contents(plain, "x", 1, NULL));
    expect_refused(vm, refused, "*exists and is no socket*");
    end(vm);
}

static void test_unix_long_path(void)
{
    g_autofree char *name = g_strnfill(200, 'x');
    g_autofree char *option = g_strdup_printf("socket,id=c,path=%s,server=on,wait=off", name);
    Vm *vm = start(NULL);

    expect_refused(vm, option, "*1 to 107 bytes, not 200*");
    end(vm);
}

static void test_abstract(void)
{
    g_autofree char *option =
        g_strdup_printf("socket,id=c,path=kiln-test-%d,abstract=on,server=on,wait=off", getpid());
    Vm *vm = start(option), *client;
    g_autofree char *client_option =
        g_strdup_printf("socket,id=c,path=kiln-test-%d,abstract=on", getpid());
    User server_user, client_user;

    client = start(client_option);
    user_start(&server_user, vm, "c");
    user_start(&client_user, client, "c");
    out_text(&client_user, "ping");
    settle(client);
    settle(vm);
    expect_got(&server_user, "ping");
    user_end(&server_user);
    user_end(&client_user);
    end(client);
    end(vm);
}

static void test_tcp_and_telnet(void)
{
    Vm *vm = start("socket,id=c,host=127.0.0.1,port=0,server=on,wait=off,telnet=on,nodelay");
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const char greeting[] = "\377\373\001\377\373\003\377\373\000\377\375\000";
    static const uint8_t input[] = {'a', 255, 253, 1,   'b', 255, 255, 255, 250,
                                    24,  0,   'x', 255, 240, 255, 243, 'c'};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    g_autofree char *name = NULL;
    char buf[64];
    User user;

    chardev_foreach(vm, find_filename, &name);
    g_assert_true(g_str_has_prefix(name, "disconnected:telnet:127.0.0.1:"));
    addr.sin_port = htons((uint16_t)atoi(strrchr(name, ':') + 1));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    user_start(&user, vm, "c");
    wait_for(vm, &user.opened, 1);
    g_assert_cmpint(recv(fd, buf, sizeof greeting - 1, MSG_WAITALL), ==, sizeof greeting - 1);
    g_assert_cmpmem(buf, sizeof greeting - 1, greeting, sizeof greeting - 1);
    g_assert_cmpint(write(fd, input, sizeof input), ==, sizeof input);
    wait_for(vm, &user.breaks, 1);
    expect_got(&user, "ab\377c");
    out_text(&user, "x\377y");
    settle(vm);
    g_assert_cmpint(recv(fd, buf, 4, MSG_WAITALL), ==, 4);
    g_assert_cmpmem(buf, 4, "x\377\377y", 4);
    close(fd);
    wait_for(vm, &user.closed, 1);
    user_end(&user);
    end(vm);
}

static void test_client_reconnects(void)
{
    g_autofree char *path = in_dir("late");
    g_autofree char *option = g_strdup_printf("socket,id=c,path=%s,reconnect=1", path);
    g_autofree char *server_option =
        g_strdup_printf("socket,id=c,path=%s,server=on,wait=off", path);
    Vm *vm = start(option), *server;
    User user;

    user_start(&user, vm, "c");
    g_assert_cmpuint(user.opened, ==, 0);
    for (unsigned round = 1; round <= 2; round++) {
        server = start(server_option);
        wait_for(vm, &user.opened, round);
        settle(server);
        end(server);
        wait_for(vm, &user.closed, round);
    }
    user_end(&user);
    end(vm);
}

static void test_passed_descriptors(void)
{
    int peer, pipe_fds[2], fd;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {(void *)"x", 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    User user;

    user_start(&user, vm, "c");
    g_assert_cmpint(pipe(pipe_fds), ==, 0);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pipe_fds[1], sizeof(int));
    g_assert_cmpint(sendmsg(peer, &msg, 0), ==, 1);
    close(pipe_fds[1]);
    settle(vm);
    expect_got(&user, "x");
    fd = charport_take_fd(user.port);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(charport_take_fd(user.port), ==, -1);
    put_text(fd, "through");
    expect_read(pipe_fds[0], "through");
    close(fd);
    close(pipe_fds[0]);
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_listening_fd(void)
{
    g_autofree char *path = in_dir("passed"), *option = NULL, *wrong = NULL;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), client;
    User user;
    Vm *vm = start(NULL);

    g_strlcpy(un.sun_path, path, sizeof un.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&un, sizeof un) | listen(fd, 1), ==, 0);
    wrong = g_strdup_printf("socket,id=c,fd=%d", fd);
    expect_refused(vm, wrong, "*listens; add server=on*");
    end(vm);
    option = g_strdup_printf("socket,id=c,fd=%d,server=on,wait=off", fd);
    vm = start(option);
    user_start(&user, vm, "c");
    client = connect_unix(path);
    put_text(client, "hi");
    wait_for(vm, &user.opened, 1);
    settle(vm);
    expect_got(&user, "hi");
    close(client);
    user_end(&user);
    end(vm);
    g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS)); /* not ours to remove */
}

/* ---- mux --------------------------------------------------------------------------- */

static void test_mux_keys(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, ",mux=on", &peer);
    g_autofree char *help = NULL;
    User serial, monitor;

    user_start(&serial, vm, "c");
    user_start(&monitor, vm, "c");
    put_text(peer, "one\001cb\001cc\001\001d\001b");
    settle(vm);
    expect_got(&serial, "onec\001d");
    expect_got(&monitor, "b");
    g_assert_cmpuint(serial.mux_out, ==, 1);
    g_assert_cmpuint(serial.mux_in, ==, 1);
    g_assert_cmpuint(monitor.mux_in, ==, 1);
    g_assert_cmpuint(serial.breaks, ==, 1);
    g_assert_cmpuint(monitor.breaks, ==, 0);

    out_text(&serial, "s");
    out_text(&monitor, "m");
    settle(vm);
    expect_read(peer, "sm");
    put_text(peer, "\001h\001s");
    settle(vm);
    help = read_some(peer);
    g_assert_nonnull(strstr(help, "C-a x"));
    g_assert_nonnull(strstr(help, "not available"));
    put_text(peer, "\001t");
    settle(vm);
    out_text(&serial, "a\nb\n");
    settle(vm);
    g_free(help);
    help = read_some(peer);
    g_assert_true(g_pattern_match_simple("a\n[[]00:00:??.???] b\n", help) || strstr(help, "] b\n"));
    put_text(peer, "\001x");
    g_assert_cmpint(vm_main_loop(vm), ==, 0);
    user_end(&monitor);
    user_end(&serial);
    end(vm);
    close(peer);
}

static void test_mux_keeps_input(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, ",mux=on", &peer);
    User user;

    user_start(&user, vm, "c");
    user.room = 0;
    put_text(peer, "abc\001b");
    settle(vm);
    expect_got(&user, "");
    g_assert_cmpuint(user.breaks, ==, 1);
    user.room = 1;
    charport_accept_input(user.port);
    settle(vm);
    expect_got(&user, "abc");
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_mux_escape_key(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, ",mux=on", &peer);
    User user;

    chardev_set_escape(vm, 20);
    user_start(&user, vm, "c");
    put_text(peer, "\001b\024b");
    settle(vm);
    expect_got(&user, "\001b");
    g_assert_cmpuint(user.breaks, ==, 1);
    user_end(&user);
    end(vm);
    close(peer);
}

/* ---- stdio ------------------------------------------------------------------------- */

typedef struct Terminal {
    int master, slave;
    struct termios before;
} Terminal;

static void terminal_open(Terminal *t)
{
    char name[64];

    t->master = posix_openpt(O_RDWR | O_NOCTTY);
    g_assert_cmpint(grantpt(t->master) | unlockpt(t->master), ==, 0);
    g_assert_cmpint(ptsname_r(t->master, name, sizeof name), ==, 0);
    t->slave = open(name, O_RDWR | O_NOCTTY);
    g_assert_cmpint(tcgetattr(t->slave, &t->before), ==, 0);
}

static void child_stdio(Terminal *t, int ready, bool crash)
{
    Vm *vm;
    User user;

    dup2(t->slave, 0);
    dup2(t->slave, 1);
    vm = start("stdio,id=c,signal=off");
    user_start(&user, vm, "c");
    expect_refused(vm, "stdio,id=d", "*used by the character device 'c'*");
    put_text(ready, "x");
    while (user.got->len < 3) {
        loop_run_once(vm->loop, 100 * NSEC_PER_MSEC);
    }
    if (crash) {
        abort();
    }
    out_text(&user, "echo:");
    out_text(&user, user.got->str);
    user_end(&user);
    end(vm);
    _exit(0);
}

static void run_terminal(bool crash)
{
    struct termios during, after;
    int ready[2], status, flags;
    Terminal t;
    char c;
    pid_t pid;

    terminal_open(&t);
    g_assert_cmpint(pipe(ready), ==, 0);
    pid = fork();
    if (pid == 0) {
        child_stdio(&t, ready[1], crash);
    }
    g_assert_cmpint(read(ready[0], &c, 1), ==, 1);
    tcgetattr(t.slave, &during);
    g_assert_cmphex(during.c_lflag & (ICANON | ECHO | ISIG), ==, 0);
    put_text(t.master, "\003\r\032");
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    tcgetattr(t.slave, &after);
    g_assert_cmphex(after.c_lflag, ==, t.before.c_lflag);
    g_assert_cmphex(after.c_iflag, ==, t.before.c_iflag);
    /* The descriptor that others share still blocks. */
    flags = fcntl(t.slave, F_GETFL);
    g_assert_cmphex(flags & O_NONBLOCK, ==, 0);
    if (crash) {
        g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    } else {
        char buf[32] = "";

        g_assert_cmpint(status, ==, 0);
        g_assert_cmpint(read(t.master, buf, sizeof buf), ==, 8);
        g_assert_cmpstr(buf, ==, "echo:\003\r\032");
    }
    close(t.master);
    close(t.slave);
    close(ready[0]);
    close(ready[1]);
}

static void test_stdio_terminal(void) { run_terminal(false); }
static void test_stdio_crash(void) { run_terminal(true); }

static void child_files(const char *in, const char *out)
{
    Vm *vm;
    User user;

    dup2(open(in, O_RDONLY), 0);
    dup2(open(out, O_WRONLY | O_APPEND), 1);
    vm = start("stdio,id=c");
    user_start(&user, vm, "c");
    user.room = 5;
    while (user.got->len < 9000) {
        loop_run_once(vm->loop, 100 * NSEC_PER_MSEC);
    }
    settle(vm);
    out_text(&user, "out");
    user_end(&user);
    end(vm);
    _exit(0);
}

/* Input and output are regular files, which epoll refuses. */
static void test_stdio_files(void)
{
    g_autofree char *in = in_dir("stdin"), *out = in_dir("stdout"), *data = g_strnfill(9000, 'i'),
                    *text = NULL;
    int status;
    pid_t pid;

    g_assert_true(g_file_set_contents(in, data, 9000, NULL) &&
                  g_file_set_contents(out, "before ", -1, NULL));
    pid = fork();
    if (pid == 0) {
        child_files(in, out);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
    text = file_text(out);
    g_assert_cmpstr(text, ==, "before out");
}

int main(int argc, char **argv)
{
    int rc;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("kiln-chardev-XXXXXX", NULL);
    g_test_add_func("/chardev/bad-options", test_bad_options);
    g_test_add_func("/chardev/ids", test_ids);
    g_test_add_func("/chardev/legacy", test_legacy);
    g_test_add_func("/chardev/file-and-log", test_file_and_log);
    g_test_add_func("/chardev/ringbuf", test_ringbuf);
    g_test_add_func("/chardev/pipe", test_pipe);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/udp", test_udp);
    g_test_add_func("/chardev/burst-is-one-write", test_burst_is_one_write);
    g_test_add_func("/chardev/slow-peer", test_slow_peer);
    g_test_add_func("/chardev/peer-that-never-reads", test_peer_that_never_reads);
    g_test_add_func("/chardev/peer-dies", test_peer_dies);
    g_test_add_func("/chardev/peer-dies-while-paused", test_peer_dies_while_paused);
    g_test_add_func("/chardev/writes-of-a-vcpu", test_writes_of_a_vcpu);
    g_test_add_func("/chardev/unix-server", test_unix_server);
    g_test_add_func("/chardev/unix-stale-path", test_unix_stale_path);
    g_test_add_func("/chardev/unix-long-path", test_unix_long_path);
    g_test_add_func("/chardev/abstract", test_abstract);
    g_test_add_func("/chardev/tcp-and-telnet", test_tcp_and_telnet);
    g_test_add_func("/chardev/client-reconnects", test_client_reconnects);
    g_test_add_func("/chardev/passed-descriptors", test_passed_descriptors);
    g_test_add_func("/chardev/listening-fd", test_listening_fd);
    g_test_add_func("/chardev/mux-keys", test_mux_keys);
    g_test_add_func("/chardev/mux-keeps-input", test_mux_keeps_input);
    g_test_add_func("/chardev/mux-escape-key", test_mux_escape_key);
    g_test_add_func("/chardev/stdio-terminal", test_stdio_terminal);
    g_test_add_func("/chardev/stdio-crash", test_stdio_crash);
    g_test_add_func("/chardev/stdio-files", test_stdio_files);
    rc = g_test_run();
    g_autofree char *remove = g_strdup_printf("rm -rf %s", dir);
    return system(remove) ? 1 : rc;
}
