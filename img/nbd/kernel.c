/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's NBD client: it takes a socket whose handshake is over, and speaks simple replies only.
 * The handshake is done here, as a client of our own server, in a thread of its own; the same thread
 * then stays in NBD_DO_IT until the device is disconnected.
 *
 * Whoever waits for the device (a scan for partitions, writing out what the kernel holds) waits for our
 * own server. So that is never done by the main thread, which serves.
 *
 * The kernel writes out a device when its last user closes it; as long as it is connected we are one. What
 * was written and not flushed would be lost at the end, so it is written out before a device is disconnected.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/vm.h"
#include "img/nbd/tool.h"
#include "nbd/setup.h"
#include "util/log.h"

#define SECTOR 512
#define NBD_MAJOR 43
#define SCAN_WAIT_US 1000
#define PATIENCE_MS 5000 /* -d: then it says what it waits for */

/* Locked (shared) on the device by who serves it, until the image is closed: -d waits for that. Far from the bytes
 * by which images are locked. */
#define SERVED_BYTE ((off_t)1 << 48)

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
    Loop *loop;       /* the server's: kicked when the state changes */
    char *path;
    int fd;           /* of the device */
    int socket;       /* the kernel's end of the connection, to cut it off */
    uint64_t size;    /* bytes that the kernel is told */
    NbdSetup setup;
    GThread *client, *scanner, *stopper;
    int state;        /* NbdKernelState; atomic */
    int let_go;       /* NBD_DO_IT is over; atomic */
    GError *err;      /* read by others when the state is NBD_KERNEL_GONE */
};

/* ---- devices ------------------------------------------------------------------------------------ */

static bool refuse_open(const char *path, int error, GError **err)
{
    const char *advice = "";

    if (error == ENOENT || error == ENXIO || error == ENODEV) {
        advice = "; is the kernel's module loaded (modprobe nbd), with enough devices (nbds_max=)?";
    } else if (error == EACCES || error == EPERM) {
        advice = "; NBD devices are root's: run this as root";
    }
    return error_set(err, "Failed to open %s: %s%s", path, g_strerror(error), advice);
}

static int open_device(const char *path, GError **err)
{
    struct stat st;
    int fd;

    if (stat(path, &st) < 0) {
        refuse_open(path, errno, err);
        return -1;
    }
    if (!S_ISBLK(st.st_mode) || major(st.st_rdev) != NBD_MAJOR) {
        error_set(err, "%s is no NBD device; name one of the kernel's: /dev/nbd0, /dev/nbd1, ...", path);
        return -1;
    }
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        refuse_open(path, errno, err);
    }
    return fd;
}

static bool lock_served(int fd, short type, bool wait)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = SERVED_BYTE, .l_len = 1};

    return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0;
}

/* Writes out what the kernel holds for the device, and for a file system on it. */
static bool write_out(int fd)
{
    ioctl(fd, BLKFLSBUF, 0);
    return fsync(fd) == 0;
}

/* ---- the client's thread ------------------------------------------------------------------------ */

static void set_state(NbdKernelDevice *d, NbdKernelState state)
{
    g_atomic_int_set(&d->state, state);
    loop_kick(d->loop);
}

static bool refuse_busy(const char *path, GError **err)
{
    return error_set(err, "Failed to set NBD socket: %s is connected already, or still mounted or open since it was "
                          "(lsblk, fuser); take another device, or unmount it and free it with kiln-nbd -d %s", path, path);
}

static bool refuse_socket(const NbdKernelDevice *d, int error, GError **err)
{
    if (error == EBUSY) {
        return refuse_busy(d->path, err);
    }
    if (error == EPERM) {
        return error_set(err, "Failed to set NBD socket: %s: only root (CAP_SYS_ADMIN) may connect NBD devices", d->path);
    }
    return error_set_errno(err, error, "Failed to set NBD socket of %s", d->path);
}

static bool give_to_kernel(NbdKernelDevice *d, const NbdConn *conn, const NbdInfo *info, GError **err)
{
    /* Kernels before 6.10 do not look at SEND_WRITE_ZEROES. */
    unsigned long flags = info->flags & (NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY | NBD_FLAG_SEND_FLUSH |
                                         NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |
                                         NBD_FLAG_CAN_MULTI_CONN);
    int writable = 0;

    d->size = info->size / SECTOR * SECTOR;
    if (ioctl(d->fd, DEVICE_SET_SOCK, (unsigned long)conn->fd) < 0) {
        return refuse_socket(d, errno, err);
    }
    if (ioctl(d->fd, DEVICE_SET_BLKSIZE, (unsigned long)SECTOR) < 0 ||
        ioctl(d->fd, DEVICE_SET_SIZE_BLOCKS, (unsigned long)(d->size / SECTOR)) < 0 ||
        ioctl(d->fd, DEVICE_SET_FLAGS, flags) < 0) {
        return error_set_errno(err, errno, "%s does not take the export's size and flags", d->path);
    }
    /* The flag makes a device read-only for as long as it is connected. What somebody set by hand stays, for the next
     * one's connection too: that is taken back. */
    ioctl(d->fd, BLKROSET, &writable);
    return true;
}

/* The kernel looks for partitions when a device is opened after its size has come, which NBD_DO_IT sets and nothing tells. */
static gpointer scanner_thread(gpointer opaque)
{
    NbdKernelDevice *d = opaque;
    uint64_t size = 0;
    int fd;

    while (!g_atomic_int_get(&d->let_go) && ioctl(d->fd, BLKGETSIZE64, &size) == 0 && size != d->size) {
        g_usleep(SCAN_WAIT_US);
    }
    fd = open(d->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    if (!g_atomic_int_get(&d->let_go)) {
        set_state(d, NBD_KERNEL_CONNECTED);
    }
    return NULL;
}

static void stay_in_kernel(NbdKernelDevice *d)
{
    d->scanner = g_thread_new("nbd-scan", scanner_thread, d);
    if (ioctl(d->fd, DEVICE_DO_IT) < 0 && errno != EPIPE) {
        error_set_errno(&d->err, errno, "%s", d->path);
    }
    g_atomic_int_set(&d->let_go, true);
    g_thread_join(d->scanner);
    ioctl(d->fd, DEVICE_CLEAR_SOCK);
}

static gpointer client_thread(gpointer opaque)
{
    NbdKernelDevice *d = opaque;
    NbdWait wait = {clock_monotonic_ns() + 30 * NSEC_PER_SEC, -1};
    NbdInfo info;
    NbdConn *conn = nbd_setup_connect(&d->setup, &wait, &info, &d->err);

    if (conn) {
        fcntl(conn->fd, F_SETFL, 0); /* the kernel waits in it */
        if (give_to_kernel(d, conn, &info, &d->err)) {
            stay_in_kernel(d);
        }
        nbd_info_clear(&info);
        nbd_conn_free(conn); /* the server sees its client go */
    }
    set_state(d, NBD_KERNEL_GONE);
    return NULL;
}

/* ---- connecting and disconnecting ----------------------------------------------------------------- */

NbdKernelDevice *nbd_kernel_connect(NbdServer *server, Loop *loop, const char *path, const char *export, GError **err)
{
    int fd = open_device(path, err), pair[2];
    uint64_t size = 0;
    NbdKernelDevice *d;

    if (fd < 0) {
        return NULL;
    }
    /* Somebody who still has it from an earlier connection would not notice the change of images; the kernel takes a
     * second socket then, but uses the dead one. */
    if (ioctl(fd, BLKGETSIZE64, &size) == 0 && size) {
        refuse_busy(path, err);
        close(fd);
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        error_set_errno(err, errno, "Failed to make a socket for %s", path);
        close(fd);
        return NULL;
    }
    lock_served(fd, F_RDLCK, false); /* without it, -d only does not wait */
    d = g_new0(NbdKernelDevice, 1);
    d->loop = loop;
    d->path = g_strdup(path);
    d->fd = fd;
    d->socket = fcntl(pair[1], F_DUPFD_CLOEXEC, 0);
    d->setup = (NbdSetup){.address = {.type = NBD_FD, .fd = pair[1]}, .export = g_strdup(export), .simple = true};
    nbd_server_add_peer(server, pair[0]);
    d->client = g_thread_new("nbd-device", client_thread, d);
    return d;
}

NbdKernelState nbd_kernel_state(const NbdKernelDevice *d) { return g_atomic_int_get(&d->state); }

bool nbd_kernel_error(NbdKernelDevice *d, GError **err)
{
    if (!d->err) {
        return false;
    }
    g_propagate_error(err, g_steal_pointer(&d->err));
    return true;
}

static gpointer stopper_thread(gpointer opaque)
{
    NbdKernelDevice *d = opaque;

    if (!write_out(d->fd)) {
        report_error("%s: what was written last may be lost: %s", d->path, g_strerror(errno));
    }
    ioctl(d->fd, DEVICE_DISCONNECT);
    return NULL;
}

void nbd_kernel_disconnect(NbdKernelDevice *d)
{
    if (!d->stopper) {
        d->stopper = g_thread_new("nbd-stop", stopper_thread, d);
    }
}

void nbd_kernel_cut(NbdKernelDevice *d)
{
    if (d && d->client) {
        shutdown(d->socket, SHUT_RDWR);
        g_thread_join(g_steal_pointer(&d->client));
        if (d->stopper) {
            g_thread_join(g_steal_pointer(&d->stopper));
        }
    }
}

void nbd_kernel_free(NbdKernelDevice *d)
{
    if (d) {
        nbd_kernel_cut(d);
        close(d->socket);
        close(d->fd);
        nbd_setup_clear(&d->setup);
        g_clear_error(&d->err);
        g_free(d->path);
        g_free(d);
    }
}

/* ---- -d --------------------------------------------------------------------------------------------- */

typedef struct Flush {
    int fd, done[2];
} Flush;

static gpointer flush_thread(gpointer opaque)
{
    Flush *f = opaque;
    char failed = !write_out(f->fd);

    return GINT_TO_POINTER(write(f->done[1], &failed, 1));
}

/* A short file of the kernel's as text; NULL: it is not there. The caller frees. */
static char *read_text(const char *folder, const char *name, const char *file)
{
    g_autofree char *path = g_build_filename(folder, name, file, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text) : NULL;
}

/* " (process 123, kiln-nbd)": who connected the device, as far as the kernel tells, which names a thread. The caller frees. */
static char *server_text(const char *path)
{
    g_autofree char *name = g_path_get_basename(path), *thread = read_text("/sys/block", name, "pid");
    g_autofree char *status = thread ? read_text("/proc", thread, "status") : NULL, *comm = NULL, *pid = NULL;
    const char *group = status ? strstr(status, "\nTgid:") : NULL;

    if (!thread) {
        return g_strdup("");
    }
    if (!group) { /* nbd-client leaves a connection to the kernel */
        return g_strdup_printf(" (connected by process %s, which has ended)", thread);
    }
    pid = g_strdup_printf("%d", atoi(group + strlen("\nTgid:")));
    comm = read_text("/proc", pid, "comm");
    return g_strdup_printf(" (process %s, %s)", pid, comm ? comm : "?");
}

static void on_alarm(int number) { (void)number; }

/* Until the image is closed; a signal just ends us. */
static void wait_for_server(const char *path, int fd, const char *server)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART: it ends the waiting once */

    sigaction(SIGALRM, &action, NULL);
    alarm(PATIENCE_MS / 1000);
    if (!lock_served(fd, F_WRLCK, true) && errno == EINTR) {
        report_warning("%s is disconnected, but its server%s has not closed the image yet; waiting for that may be ended with ^C",
                       path, server);
        lock_served(fd, F_WRLCK, true);
    }
    alarm(0);
}

/* A server that does not answer would hold us up for ever: a signal ends the waiting, not the disconnecting. */
static void write_out_unless_told(const char *path, int fd, const char *server, const sigset_t *signals)
{
    static Flush f; /* the thread may outlive this */
    struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
    char failed = 1;

    f.fd = fd;
    fds[1].fd = signalfd(-1, signals, SFD_CLOEXEC);
    if (fds[1].fd < 0 || pipe2(f.done, O_CLOEXEC) < 0) {
        failed = !write_out(fd);
    } else {
        fds[0].fd = f.done[0];
        g_thread_unref(g_thread_new("nbd-flush", flush_thread, &f));
        if (poll(fds, 2, PATIENCE_MS) == 0) {
            report_warning("%s: its server%s has not taken all writes yet; waiting for it. ^C disconnects it at once, and "
                           "what was not written is lost", path, server);
        }
        while (poll(fds, 2, -1) < 0 && errno == EINTR) {
        }
        if (!fds[0].revents || read(fds[0].fd, &failed, 1) != 1) {
            failed = 1;
        }
    }
    if (failed) {
        report_error("%s: what was written last may be lost", path);
    }
}

bool nbd_kernel_clear(const char *path, GError **err)
{
    int fd = open_device(path, err);
    g_autofree char *server = NULL;
    sigset_t signals;

    if (fd < 0) {
        return false;
    }
    server = server_text(path);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    write_out_unless_told(path, fd, server, &signals);
    if (ioctl(fd, DEVICE_DISCONNECT) < 0 || ioctl(fd, DEVICE_CLEAR_SOCK) < 0) {
        error_set(err, "Cannot disconnect %s: %s%s", path, g_strerror(errno),
                  errno == EPERM ? "; only root (CAP_SYS_ADMIN) may" : "");
        close(fd);
        return false;
    }
    printf("%s disconnected\n", path);
    fflush(stdout);
    /* From here on a signal just ends us. */
    sigprocmask(SIG_UNBLOCK, &signals, NULL);
    wait_for_server(path, fd, server);
    close(fd);
    return true;
}
