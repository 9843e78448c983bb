/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices: the mux's keys, and the process's own terminal. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tests/unit/chardev-fixture.h"

/* ---- mux --------------------------------------------------------------------------- */

static void test_mux_keys(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, ",mux=on", &peer);
    g_autofree char *help = NULL;
    User serial, monitor;

    user_start(&monitor, vm, "c"); /* who comes last has the focus */
    user_start(&serial, vm, "c");
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
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev-terminal/mux-keys", test_mux_keys);
    g_test_add_func("/chardev-terminal/mux-keeps-input", test_mux_keeps_input);
    g_test_add_func("/chardev-terminal/mux-escape-key", test_mux_escape_key);
    g_test_add_func("/chardev-terminal/stdio-terminal", test_stdio_terminal);
    g_test_add_func("/chardev-terminal/stdio-crash", test_stdio_crash);
    g_test_add_func("/chardev-terminal/stdio-files", test_stdio_files);
    return run_in_scratch();
}
