/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pty: a new pseudo terminal, whose name is shown by query-chardev. One of the command line prints it; later standard output
 * may be a monitor's, and whoever asked is told.
 *
 * Linux tells nothing when a slave side is opened: while nobody has it open, the master reports a
 * hang-up, so it is looked at once a second, and only while somebody uses this character device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/backend.h"

#define POLL_INTERVAL NSEC_PER_SEC

typedef struct CharPty {
    CharFd fd;
    int in, out;             /* the master side, twice; owned by fd while connected */
    char *name;              /* "/dev/pts/3" */
    LoopTimer *poll_timer;   /* armed while nobody has the slave open */
} CharPty;

static CharPty *char_pty(Chardev *chr) { return container_of(chr, CharPty, fd.chr); }

/* Looks whether somebody has the slave side open. */
static void pty_poll(void *opaque)
{
    CharPty *pty = opaque;
    struct pollfd wait = {.fd = pty->in, .events = POLLOUT};

    if (pty->fd.chr.connected) {
        return;
    }
    if (poll(&wait, 1, 0) > 0 && !(wait.revents & POLLHUP)) {
        char_fd_start(&pty->fd, pty->in, pty->out);
    } else {
        loop_timer_arm(pty->poll_timer, clock_monotonic_ns() + POLL_INTERVAL);
    }
}

/* The last one who had the slave open closed it. */
static void pty_hangup(CharFd *fd)
{
    CharPty *pty = container_of(fd, CharPty, fd);

    loop_fd_remove(fd->out_source);
    fd->out_source = NULL;
    fd->in = fd->out = -1;
    char_fd_update_read(&fd->chr);
    chardev_event(&fd->chr, CHAR_EVENT_CLOSED);
    loop_timer_arm(pty->poll_timer, clock_monotonic_ns() + POLL_INTERVAL);
}

static ssize_t pty_write(Chardev *chr, const uint8_t *data, size_t len)
{
    CharPty *pty = char_pty(chr);
    struct pollfd wait = {.fd = pty->in, .events = POLLOUT};

    /* Without a reader the kernel would keep what we write for whoever comes next. */
    if (poll(&wait, 1, 0) > 0 && (wait.revents & POLLHUP)) {
        pty_hangup(&pty->fd);
        return (ssize_t)len;
    }
    return char_fd_write(chr, data, len);
}

static bool make_raw(const char *name)
{
    struct termios tty;
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    bool ok;

    if (slave < 0) {
        return false;
    }
    ok = tcgetattr(slave, &tty) == 0;
    if (ok) {
        cfmakeraw(&tty);
        ok = tcsetattr(slave, TCSANOW, &tty) == 0;
    }
    close(slave);
    return ok;
}

static bool pty_open(Chardev *chr, GError **err)
{
    CharPty *pty = char_pty(chr);
    char name[64];

    pty->in = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (pty->in < 0 || grantpt(pty->in) < 0 || unlockpt(pty->in) < 0 ||
        ptsname_r(pty->in, name, sizeof name) != 0 || !make_raw(name)) {
        return error_set_errno(err, errno, "no pseudo terminal could be made");
    }
    pty->out = fcntl(pty->in, F_DUPFD_CLOEXEC, 0);
    if (pty->out < 0) {
        return error_set_errno(err, errno, "no pseudo terminal could be made");
    }
    pty->name = g_strdup(name);
    pty->fd.hangup = pty_hangup;
    pty->poll_timer = loop_timer_new(chr->obj.vm->loop, pty_poll, pty);
    if (chr->at_start) {
        printf("char device redirected to %s (label %s)\n", name, chardev_id(chr));
        fflush(stdout);
    }
    return true;
}

/* Nobody polls for a reader of a device that nobody uses. */
static void pty_port_opened(Chardev *chr, CharPort *port, bool opened)
{
    CharPty *pty = char_pty(chr);

    if (opened) {
        pty_poll(pty);
    } else {
        loop_timer_cancel(pty->poll_timer);
    }
}

static void pty_close(Chardev *chr)
{
    CharPty *pty = char_pty(chr);

    pty->fd.in = pty->fd.out = -1;
    char_fd_stop(&pty->fd);
    loop_timer_free(pty->poll_timer);
    pty->poll_timer = NULL;
    if (pty->in >= 0) {
        close(pty->in);
    }
    if (pty->out >= 0) {
        close(pty->out);
    }
    g_clear_pointer(&pty->name, g_free);
}

static char *pty_filename(const Chardev *chr)
{
    const CharPty *pty = container_of(chr, CharPty, fd.chr);

    return g_strconcat("pty:", pty->name, NULL);
}

static void pty_init(Object *obj)
{
    CharPty *pty = container_of(obj, CharPty, fd.chr.obj);

    pty->in = pty->out = -1;
}

static const ChardevOps pty_ops = {
    .prompt = true,
    .open = pty_open,
    .close = pty_close,
    .write = pty_write,
    .want_write = char_fd_want_write,
    .update_read = char_fd_update_read,
    .read_now = char_fd_read_now,
    .output_fd = char_fd_output,
    .plain_input_fd = char_fd_input,
    .port_opened = pty_port_opened,
    .filename = pty_filename,
};

KILN_TYPE(chardev_pty) = {
    .name = "chardev-pty",
    .parent = "chardev-fd",
    .desc = "a new pseudo terminal; its name is printed",
    .size = sizeof(CharPty),
    .init = pty_init,
    .ops = &pty_ops,
};
