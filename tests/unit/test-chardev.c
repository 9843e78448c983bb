/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices: options good and bad, ids, short forms, and the simple back ends. */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/chardev-fixture.h"

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
        {"file,id=a,path=/dev/fdset/0", "*/dev/fdset/0 cannot be opened*"},
        {"null,id=a,logfile=/nonexistent/x", "*logfile=/nonexistent/x*No such file*"},
        {"null,id=a,mux=maybe", "*'mux' expects 'on' or 'off'*"},
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
        {"socket,id=a,path=x,websocket=on", "*websocket is for servers*"},
        {"socket,id=a,path=x,tls-creds=t", "*tls-creds is for TCP*"},
        {"socket,id=a,host=127.0.0.1,port=1,tls-creds=t", "*No TLS credentials with id 't'*"},
        {"socket,id=a,host=127.0.0.1,port=0,server=on,wait=off,tls-authz=z", "*tls-authz requires tls-creds*"},
        {"socket,id=a,host=127.0.0.1,port=1,tls-creds=t,tls-authz=z", "*tls-authz is for servers*"},
        {"socket,id=a,path=x,tn3270=on", "*tn3270*"},
        {"socket,id=a,host=127.0.0.1,port=1,ipv4=off,ipv6=off", "*no address family*"},
        {"socket,id=a,host=name.invalid,port=1", "*name.invalid*cannot be resolved*"},
        {"udp,id=a", "*port is missing*"},
        {"vc,id=a", "*needs a display*"},
        {"parallel,id=a,path=/dev/parport0", "*no parallel port of the host*EPP*pipe or socket*"},
        {"spicevmc,id=a", "*SPICE*"},
        {"mux,id=a", "*chardev is missing*"},
        {"mux,id=a,chardev=b", "*no character device 'b'*"},
        {"socket,id=a,host=127.0.0.1,port=1,reconnect=-1", "*reconnect=-1*between*"},
        {"socket,id=a,host=127.0.0.1,port=1,to=70000", "*'to' expects uint16*"},
        {"ringbuf,id=a,size=x", "*'size' expects a size*"},
        {"stdio,id=a,signal=maybe", "*'signal' expects 'on' or 'off'*"},
        {"{\"id\":\"a\",\"backend\":{\"type\":\"null\",\"data\":{\"x\":1}}}", "*'backend.data.x' is unexpected*"},
        {"{\"id\":\"1a\",\"backend\":{\"type\":\"null\",\"data\":{}}}", "*id=1a*identifier*"},
        {"{\"backend\":{\"type\":\"null\",\"data\":{}}}", "*'id' is missing*"},
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev/bad-options", test_bad_options);
    g_test_add_func("/chardev/ids", test_ids);
    g_test_add_func("/chardev/legacy", test_legacy);
    g_test_add_func("/chardev/file-and-log", test_file_and_log);
    g_test_add_func("/chardev/ringbuf", test_ringbuf);
    g_test_add_func("/chardev/pipe", test_pipe);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/udp", test_udp);
    return run_in_scratch();
}
