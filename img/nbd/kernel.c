/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's NBD client: it takes a socket whose handshake is over, and speaks simple replies only.
 * The handshake is done here, as a client of our own server, in a thread of its own; the same thread
 * then stays in NBD_DO_IT until the device is disconnected.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/vm.h"
#include "img/nbd/tool.h"
#include "nbd/setup.h"
#include "util/log.h"

#define SECTOR 512

/* linux/nbd.h, whose names for what lies on the wire are those of nbd/proto.h. */
enum {
    DEVICE_SET_SOCK = _IO(0xab, 0),
    DEVICE_SET_BLKSIZE = _IO(0xab, 1),
    DEVICE_DO_IT = _IO(0xab, 3),
    DEVICE_CLEAR_SOCK = _IO(0xab, 4),
    DEVICE_SET_SIZE_BLOCKS = _IO(0xab, 7),
    DEVICE_DISCONNECT = _IO(0xab, 8),
    DEVICE_SET_FLAGS = _IO(0xab, 10),
};

struct NbdKernelDevice {
    char *path;
    int fd;           /* of the device */
    NbdSetup setup;
    GThread *thread;
};

static bool give_to_kernel(const NbdKernelDevice *d, const NbdConn *conn, const NbdInfo *info, GError **err)
{
    unsigned long flags = info->flags & (NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_FLUSH |
                                         NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_CAN_MULTI_CONN);
    int read_only = !!(info->flags & NBD_FLAG_READ_ONLY);

    if (ioctl(d->fd, DEVICE_SET_SOCK, (unsigned long)conn->fd) < 0) {
        return error_set_errno(err, errno, "Failed to set NBD socket of %s", d->path);
    }
    if (ioctl(d->fd, DEVICE_SET_BLKSIZE, (unsigned long)SECTOR) < 0 ||
        ioctl(d->fd, DEVICE_SET_SIZE_BLOCKS, (unsigned long)(info->size / SECTOR)) < 0 ||
        ioctl(d->fd, DEVICE_SET_FLAGS, flags) < 0) {
        return error_set_errno(err, errno, "%s does not take the export's size and flags", d->path);
    }
    /* A refusal is no harm: the server refuses writes anyway. */
    ioctl(d->fd, BLKROSET, (unsigned long)&read_only);
    return true;
}

static gpointer device_thread(gpointer opaque)
{
    NbdKernelDevice *d = opaque;
    NbdWait wait = {clock_monotonic_ns() + 30 * NSEC_PER_SEC, -1};
    g_autoptr(GError) err = NULL;
    NbdInfo info;
    NbdConn *conn = nbd_setup_connect(&d->setup, &wait, &info, &err);
    bool ok = conn && fcntl(conn->fd, F_SETFL, 0) == 0 && give_to_kernel(d, conn, &info, &err);

    if (ok && ioctl(d->fd, DEVICE_DO_IT) < 0 && errno != EPIPE) {
        error_set_errno(&err, errno, "%s", d->path);
    }
    if (err) {
        report_error("%s", err->message);
    }
    if (conn) {
        nbd_info_clear(&info);
    }
    nbd_conn_free(conn); /* the server sees its client go */
    return NULL;
}

NbdKernelDevice *nbd_kernel_connect(NbdServer *server, const char *path, const char *export, GError **err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC), pair[2];
    NbdKernelDevice *d;

    if (fd < 0) {
        error_set_errno(err, errno, "Failed to open %s (is the kernel's module nbd loaded?)", path);
        return NULL;
    }
    if (ioctl(fd, DEVICE_CLEAR_SOCK) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        error_set_errno(err, errno, "%s cannot be connected", path);
        close(fd);
        return NULL;
    }
    nbd_server_add_peer(server, pair[0]);
    d = g_new0(NbdKernelDevice, 1);
    d->path = g_strdup(path);
    d->fd = fd;
    d->setup = (NbdSetup){.address = {.type = NBD_FD, .fd = pair[1]}, .export = g_strdup(export), .simple = true};
    d->thread = g_thread_new("nbd-device", device_thread, d);
    return d;
}

void nbd_kernel_disconnect(NbdKernelDevice *d)
{
    if (d) {
        ioctl(d->fd, DEVICE_DISCONNECT);
        g_thread_join(d->thread);
        ioctl(d->fd, DEVICE_CLEAR_SOCK);
        close(d->fd);
        nbd_setup_clear(&d->setup);
        g_free(d->path);
        g_free(d);
    }
}

bool nbd_kernel_clear(const char *path, GError **err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool ok = fd >= 0 && ioctl(fd, DEVICE_DISCONNECT) == 0 && ioctl(fd, DEVICE_CLEAR_SOCK) == 0;

    if (!ok) {
        error_set_errno(err, errno, "Cannot disconnect %s", path);
    } else {
        printf("%s disconnected\n", path);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}
