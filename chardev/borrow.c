/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Borrowed output and input (char.h): the user writes to the descriptor, or reads from it, in a thread of its own. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chardev/backend.h"

/* ---- output ------------------------------------------------------------------------------------ */

/* Writing to a file, or to a disk itself, may take as long as the disk does, and nothing tells when it would not. What a manager
 * passed may wait for its reader. */
static bool never_waits(int fd, const struct stat *st)
{
    return (S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode)) && (fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* Packets would be larger than what the queue makes of them, or too large. */
static bool is_stream(int fd, const struct stat *st)
{
    int type = 0;
    socklen_t len = sizeof type;

    return S_ISSOCK(st->st_mode) && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

bool charport_borrow_output(CharPort *port, CharOutput *output)
{
    const Chardev *chr = port ? port->chr : NULL;
    const int fd = chr && !chr->closed && chr->connected && chr->ops->plain_fd ? chr->ops->plain_fd(chr) : -1;
    struct stat st;

    if (fd < 0 || chr->log_fd >= 0 || charport_pending(port) || fstat(fd, &st) < 0 ||
        !(is_stream(fd, &st) || never_waits(fd, &st))) {
        return false;
    }
    g_assert(!port->output_lent && port->ops && port->ops->return_output);
    port->output_lent = true;
    *output = (CharOutput){fd, S_ISSOCK(st.st_mode)};
    return true;
}

void charport_return_output(CharPort *port) { port->output_lent = false; }

void charport_recall_output(CharPort *port)
{
    if (port && port->output_lent) {
        port->ops->return_output(port->opaque);
        g_assert(!port->output_lent);
    }
}

ssize_t char_output_write(const CharOutput *output, const struct iovec *iov, unsigned count)
{
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};

    return output->is_socket ? sendmsg(output->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) : writev(output->fd, iov, (int)count);
}

/* ---- input ------------------------------------------------------------------------------------- */

bool charport_borrow_input(CharPort *port, CharInput *input)
{
    Chardev *chr = port ? port->chr : NULL;
    int fd = chr && !chr->closed && chr->connected && chr->ops->plain_input_fd ? chr->ops->plain_input_fd(chr) : -1;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !(is_stream(fd, &st) || never_waits(fd, &st))) {
        return false;
    }
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    g_assert(!port->input_lent && port->ops && port->ops->return_input && chr->ops->update_read);
    port->input_lent = true;
    *input = (CharInput){fd, S_ISSOCK(st.st_mode)};
    chr->ops->update_read(chr);
    return true;
}

void charport_return_input(CharPort *port, CharInput *input)
{
    port->input_lent = false;
    close(input->fd);
    input->fd = -1;
}

ssize_t char_input_read(const CharInput *input, const struct iovec *iov, unsigned count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};

    /* Descriptors that were passed find no room in msg, and are closed. */
    return input->is_socket ? recvmsg(input->fd, &msg, MSG_DONTWAIT) : readv(input->fd, iov, (int)count);
}

/* ---- both -------------------------------------------------------------------------------------- */

void charport_recall(CharPort *port)
{
    charport_recall_output(port);
    if (port && port->input_lent) {
        port->ops->return_input(port->opaque);
        g_assert(!port->input_lent);
    }
}

void chardev_recall(Chardev *chr)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(chr->ports); i++) {
        charport_recall(chr->ports[i]);
    }
}
