/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What back ends with plain descriptors share (stdio, file, pipe, pty, serial).
 *
 * The input is in the loop only while the user takes something, so that a hang-up that nobody can
 * act upon does not wake the loop again and again. Regular files cannot be polled: they are read by
 * turns of the loop.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "chardev/backend.h"

bool fd_set_nonblock(int fd, GError **err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return error_set_errno(err, errno, "descriptor %d cannot be made non-blocking", fd);
    }
    return true;
}

static void stop_input(CharFd *fd)
{
    loop_fd_remove(fd->in_source);
    fd->in_source = NULL;
    if (fd->in_pump) {
        loop_timer_cancel(fd->in_pump);
    }
}

bool char_fd_read(CharFd *fd)
{
    uint8_t buf[CHAR_READ_SIZE];
    size_t room = MIN(chardev_can_receive(&fd->chr), sizeof buf);
    ssize_t n;

    if (room == 0) {
        return true;
    }
    n = read(fd->in, buf, room);
    if (n > 0) {
        chardev_receive(&fd->chr, buf, (size_t)n);
        return true;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void input_turn(CharFd *fd)
{
    Object *obj = &fd->chr.obj;

    object_ref(obj);
    if (!char_fd_read(fd) && !fd->chr.closed) {
        stop_input(fd);
        if (fd->hangup) {
            fd->hangup(fd);
        } else {
            fd->eof = true;
            chardev_event(&fd->chr, CHAR_EVENT_CLOSED);
        }
    }
    if (!fd->chr.closed) {
        char_fd_update_read(&fd->chr);
    }
    object_unref(obj);
}

bool char_fd_has_input(int fd)
{
    int pending = 0;

    return ioctl(fd, FIONREAD, &pending) == 0 && pending > 0;
}

void char_fd_read_now(Chardev *chr)
{
    CharFd *fd = container_of(chr, CharFd, chr);

    if (fd->in_source && char_fd_has_input(fd->in)) {
        input_turn(fd);
    }
}

static void input_ready(void *opaque, uint32_t events)
{
    input_turn(opaque);
}

static void input_pump(void *opaque)
{
    input_turn(opaque);
}

static void output_ready(void *opaque, uint32_t events)
{
    chardev_flush(opaque);
}

/* Not in this turn of the loop: others come in between. */
static void arm_pump(CharFd *fd)
{
    loop_timer_arm(fd->in_pump, clock_monotonic_ns() + 1);
}

void char_fd_update_read(Chardev *chr)
{
    CharFd *fd = container_of(chr, CharFd, chr);
    bool want = fd->in >= 0 && !fd->eof && chardev_can_receive(chr) > 0;

    if (!want) {
        stop_input(fd);
    } else if (fd->in_pump) {
        arm_pump(fd);
    } else if (!fd->in_source) {
        fd->in_source = loop_fd_add(chr->obj.vm->loop, fd->in, EPOLLIN, input_ready, fd);
        if (!fd->in_source) {
            fd->in_pump = loop_timer_new(chr->obj.vm->loop, input_pump, fd);
            arm_pump(fd);
        }
    }
}

void char_fd_want_write(Chardev *chr, bool on)
{
    CharFd *fd = container_of(chr, CharFd, chr);

    loop_fd_remove(fd->out_source);
    fd->out_source =
        on ? loop_fd_add(chr->obj.vm->loop, fd->out, EPOLLOUT, output_ready, fd) : NULL;
}

ssize_t char_fd_write(Chardev *chr, const uint8_t *data, size_t len)
{
    CharFd *fd = container_of(chr, CharFd, chr);

    return fd->out < 0 ? (ssize_t)len : write(fd->out, data, len);
}

int char_fd_output(const Chardev *chr)
{
    return container_of(chr, CharFd, chr)->out;
}

void char_fd_start(CharFd *fd, int in, int out)
{
    fd->in = in;
    fd->out = out;
    fd->eof = false;
    chardev_event(&fd->chr, CHAR_EVENT_OPENED);
    char_fd_update_read(&fd->chr);
}

void char_fd_stop(CharFd *fd)
{
    chardev_recall(&fd->chr);
    stop_input(fd);
    loop_timer_free(fd->in_pump);
    fd->in_pump = NULL;
    loop_fd_remove(fd->out_source);
    fd->out_source = NULL;
    if (fd->in >= 0) {
        close(fd->in);
    }
    if (fd->out >= 0) {
        close(fd->out);
    }
    fd->in = fd->out = -1;
}

int char_fd_input(const Chardev *chr)
{
    const CharFd *fd = container_of(chr, CharFd, chr);

    return fd->eof ? -1 : fd->in;
}

void char_fd_close(Chardev *chr)
{
    char_fd_stop(container_of(chr, CharFd, chr));
}

static void char_fd_init(Object *obj)
{
    CharFd *fd = container_of(obj, CharFd, chr.obj);

    fd->in = fd->out = -1;
}

KILN_TYPE(chardev_fd) = {
    .name = "chardev-fd",
    .parent = "chardev",
    .size = sizeof(CharFd),
    .abstract = true,
    .init = char_fd_init,
};
