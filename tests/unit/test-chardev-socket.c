/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices: sockets as servers and clients, telnet, descriptors that are passed. */
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/chardev-fixture.h"

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

/* After a start that failed: who connects before the process has ended waits for that, and paths are gone. */
static void test_keeps_listening(void)
{
    g_autofree char *path = in_dir("queued"), *option = NULL, *made = in_dir("made"), *own = NULL;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), client;
    struct pollfd wait;
    Vm *vm;

    g_strlcpy(un.sun_path, path, sizeof un.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&un, sizeof un) | listen(fd, 1), ==, 0);
    option = g_strdup_printf("socket,id=c,fd=%d,server=on,wait=off", fd);
    own = g_strdup_printf("socket,id=d,path=%s,server=on,wait=off", made);
    vm = start(option);
    g_assert_true(chardev_add_option(vm, own, NULL));
    chardev_keep_listening(vm);
    end(vm);
    g_assert_false(g_file_test(made, G_FILE_TEST_EXISTS));
    client = connect_unix(path);
    wait = (struct pollfd){.fd = client, .events = POLLIN};
    g_assert_cmpint(poll(&wait, 1, 0), ==, 0);
    close(fd); /* as the end of the process does */
    g_assert_cmpint(poll(&wait, 1, -1), ==, 1);
    close(client);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev-socket/unix-server", test_unix_server);
    g_test_add_func("/chardev-socket/unix-stale-path", test_unix_stale_path);
    g_test_add_func("/chardev-socket/unix-long-path", test_unix_long_path);
    g_test_add_func("/chardev-socket/abstract", test_abstract);
    g_test_add_func("/chardev-socket/tcp-and-telnet", test_tcp_and_telnet);
    g_test_add_func("/chardev-socket/client-reconnects", test_client_reconnects);
    g_test_add_func("/chardev-socket/passed-descriptors", test_passed_descriptors);
    g_test_add_func("/chardev-socket/listening-fd", test_listening_fd);
    g_test_add_func("/chardev-socket/keeps-listening", test_keeps_listening);
    return run_in_scratch();
}
