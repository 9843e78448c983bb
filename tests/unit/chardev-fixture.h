/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM without a machine for tests of character devices, a user of one that counts what it is told, and small things to do
 * with descriptors.
 */
#ifndef TESTS_UNIT_CHARDEV_FIXTURE_H
#define TESTS_UNIT_CHARDEV_FIXTURE_H

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
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

static char *dir; /* scratch: made by run_in_scratch */

/* ---- helpers ----------------------------------------------------------------------- */

static inline size_t user_can_receive(void *opaque) { return ((User *)opaque)->room; }

static inline void user_receive(void *opaque, const uint8_t *data, size_t len)
{
    User *user = opaque;

    g_assert_cmpuint(len, <=, user->room);
    g_string_append_len(user->got, (const char *)data, (gssize)len);
}

static inline void user_event(void *opaque, CharEvent event)
{
    User *user = opaque;

    user->opened += event == CHAR_EVENT_OPENED;
    user->closed += event == CHAR_EVENT_CLOSED;
    user->breaks += event == CHAR_EVENT_BREAK;
    user->mux_in += event == CHAR_EVENT_MUX_IN;
    user->mux_out += event == CHAR_EVENT_MUX_OUT;
}

static inline void user_writable(void *opaque) { ((User *)opaque)->writable++; }

static const CharPortOps user_ops = {user_can_receive, user_receive, user_event};

static inline void user_start(User *user, Vm *vm, const char *id)
{
    GError *err = NULL;

    *user = (User){.room = 4096, .got = g_string_new(NULL)};
    user->port = charport_open(vm, id, &err);
    g_assert_no_error(err);
    charport_set_ops(user->port, &user_ops, user);
}

static inline void user_end(User *user)
{
    charport_close(user->port);
    g_string_free(user->got, TRUE);
}

static inline void expect_got(User *user, const char *text)
{
    g_assert_cmpstr(user->got->str, ==, text);
    g_string_truncate(user->got, 0);
}

static inline Vm *start(const char *option)
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

static inline void end(Vm *vm)
{
    chardev_cleanup(vm);
    vm_free(vm);
}

/* A queue with output is looked at every 4 ms at least. */
static inline void settle(Vm *vm)
{
    while (loop_run_once(vm->loop, 5 * NSEC_PER_MSEC)) {
    }
}

/* Runs the loop until the number is there; the test's own time limit ends a wait for ever. */
static inline void wait_for(Vm *vm, const unsigned *number, unsigned value)
{
    while (*number < value) {
        loop_run_once(vm->loop, 100 * NSEC_PER_MSEC);
    }
}

static inline char *read_some(int fd)
{
    char buf[8192];
    ssize_t n = read(fd, buf, sizeof buf);

    return g_strndup(buf, (gsize)MAX(n, 0));
}

static inline void expect_read(int fd, const char *text)
{
    g_autofree char *got = read_some(fd);

    g_assert_cmpstr(got, ==, text);
}

static inline void put_text(int fd, const char *text)
{
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
}

static inline void out_text(User *user, const char *text)
{
    g_assert_cmpuint(charport_write(user->port, text, strlen(text)), ==, strlen(text));
}

static inline void make_pair(int type, int fds[2])
{
    g_assert_cmpint(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds), ==, 0);
}

/* A VM with the chardev "c" on a socket pair; extra: more options, with a comma in front. */
static inline Vm *start_pair(int type, const char *extra, int *peer)
{
    g_autofree char *option = NULL;
    int fds[2];

    make_pair(type, fds);
    *peer = fds[1];
    option = g_strdup_printf("socket,id=c,fd=%d%s", fds[0], extra);
    return start(option);
}

static inline int connect_unix(const char *path)
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

static inline char *in_dir(const char *name) { return g_build_filename(dir, name, NULL); }

static inline char *file_text(const char *path)
{
    char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static inline void expect_refused(Vm *vm, const char *option, const char *message)
{
    GError *err = NULL;

    g_assert_false(chardev_add_option(vm, option, &err));
    if (!g_pattern_match_simple(message, err->message)) {
        g_error("%s: %s", option, err->message);
    }
    g_error_free(err);
}

static inline void find_filename(const char *id, const char *filename, bool in_use, void *opaque)
{
    char **out = opaque;

    if (!*out) {
        *out = g_strdup(filename);
    }
}

/* main() of these tests, between making and removing dir. */
static inline int run_in_scratch(void)
{
    dir = g_dir_make_tmp("kiln-chardev-XXXXXX", NULL);
    int rc = g_test_run();
    g_autofree char *remove = g_strdup_printf("rm -rf %s", dir);
    return system(remove) ? 1 : rc;
}

#endif
