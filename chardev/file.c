/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Back ends that are names in the file system: file (output only), pipe (FIFOs made with mkfifo)
 * and serial (a terminal device of the host).
 *
 * A FIFO is opened for reading and writing, as Linux allows, so that no open waits for the other
 * side and its end is not seen as an end of file.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/backend.h"
#include "core/fdset.h"

typedef struct CharFile {
    CharFd fd;
    const char *path;        /* chr.options' */
    struct termios saved;    /* serial: settings before us */
    bool have_saved;
} CharFile;

static CharFile *char_file(Chardev *chr) { return container_of(chr, CharFile, fd.chr); }

static bool take_path(CharFile *file, const char *path, GError **err)
{
    file->path = path;
    return *path || error_set(err, "path is missing; say path=NAME");
}

static int open_path(Vm *vm, const char *path, int flags, GError **err)
{
    int fd = vm_open(vm, path, flags | O_NOCTTY | O_NONBLOCK, 0666);

    if (fd < 0 && errno == ENXIO) {
        error_set(
            err,
            "path=%s is a FIFO that nobody reads; start its reader first, or use a pipe back end",
            path);
    } else if (fd < 0) {
        error_set_errno(err, errno, "path=%s cannot be opened", path);
    }
    return fd;
}

/* ---- file -------------------------------------------------------------------------- */

static bool file_open(Chardev *chr, GError **err)
{
    CharFile *file = char_file(chr);
    const ChardevFile *options = chr->options->u.file.data;
    int fd;

    if (!take_path(file, options->out, err)) {
        return false;
    }
    fd = open_path(chr->obj.vm, file->path, O_WRONLY | O_CREAT | (options->append ? O_APPEND : O_TRUNC), err);
    if (fd < 0) {
        return false;
    }
    char_fd_start(&file->fd, -1, fd);
    return true;
}

/* ---- pipe -------------------------------------------------------------------------- */

static bool pipe_open(Chardev *chr, GError **err)
{
    CharFile *file = char_file(chr);
    g_autofree char *in_path = NULL, *out_path = NULL;
    int in, out;

    if (!take_path(file, chr->options->u.pipe.data->device, err)) {
        return false;
    }
    in_path = g_strconcat(file->path, ".in", NULL);
    out_path = g_strconcat(file->path, ".out", NULL);
    in = open_path(chr->obj.vm, in_path, O_RDWR, NULL);
    out = open_path(chr->obj.vm, out_path, O_RDWR, NULL);
    if (in < 0 || out < 0) {
        if (in >= 0) {
            close(in);
        }
        if (out >= 0) {
            close(out);
        }
        in = open_path(chr->obj.vm, file->path, O_RDWR, err);
        if (in < 0) {
            g_prefix_error(err, "neither %s and %s nor one FIFO for both directions: ", in_path,
                           out_path);
            return false;
        }
        out = fcntl(in, F_DUPFD_CLOEXEC, 0);
        if (out < 0) {
            error_set_errno(err, errno, "path=%s", file->path);
            close(in);
            return false;
        }
    }
    char_fd_start(&file->fd, in, out);
    return true;
}

/* ---- serial: a terminal device of the host ----------------------------------------- */

static speed_t speed_constant(int baud)
{
    static const struct {
        int baud;
        speed_t speed;
    } speeds[] = {
        {50, B50},           {75, B75},           {110, B110},       {134, B134},
        {150, B150},         {200, B200},         {300, B300},       {600, B600},
        {1200, B1200},       {1800, B1800},       {2400, B2400},     {4800, B4800},
        {9600, B9600},       {19200, B19200},     {38400, B38400},   {57600, B57600},
        {115200, B115200},   {230400, B230400},   {460800, B460800}, {921600, B921600},
        {1500000, B1500000}, {4000000, B4000000},
    };

    /* The guest's divisor gives a rate near the real one: take the first within 10 %. */
    for (unsigned i = 0; i < G_N_ELEMENTS(speeds); i++) {
        if (baud <= speeds[i].baud + speeds[i].baud / 10) {
            return speeds[i].speed;
        }
    }
    return B4000000;
}

static void host_serial_set_line(Chardev *chr, const CharLine *line)
{
    static const tcflag_t sizes[] = {CS5, CS6, CS7, CS8};
    CharFile *file = char_file(chr);
    struct termios tty;

    if (tcgetattr(file->fd.in, &tty) < 0) {
        return;
    }
    cfmakeraw(&tty);
    cfsetspeed(&tty, speed_constant(line->speed));
    tty.c_cflag &= ~(tcflag_t)(CSTOPB | CSIZE | PARENB | PARODD | CRTSCTS);
    tty.c_cflag |= CREAD | CLOCAL | sizes[CLAMP(line->data_bits, 5, 8) - 5];
    tty.c_cflag |= line->stop_bits == 2 ? CSTOPB : 0;
    tty.c_cflag |= line->parity == 'E' ? PARENB : 0;
    tty.c_cflag |= line->parity == 'O' ? PARENB | PARODD : 0;
    tcsetattr(file->fd.in, TCSANOW, &tty);
}

static void host_serial_send_break(Chardev *chr, bool on)
{
    ioctl(char_file(chr)->fd.in, on ? TIOCSBRK : TIOCCBRK);
}

static bool host_serial_get_modem(Chardev *chr, int *lines)
{
    return ioctl(char_file(chr)->fd.in, TIOCMGET, lines) == 0;
}

static bool host_serial_set_modem(Chardev *chr, int lines)
{
    return ioctl(char_file(chr)->fd.in, TIOCMSET, &lines) == 0;
}

static bool host_serial_open(Chardev *chr, GError **err)
{
    static const CharLine initial = {
        .speed = 115200, .parity = 'N', .data_bits = 8, .stop_bits = 1};
    CharFile *file = char_file(chr);
    int in, out;

    if (!take_path(file, chr->options->u.serial.data->device, err)) {
        return false;
    }
    in = open_path(chr->obj.vm, file->path, O_RDWR, err);
    if (in < 0) {
        return false;
    }
    if (tcgetattr(in, &file->saved) < 0) {
        error_set(err, "path=%s is not a serial device", file->path);
        close(in);
        return false;
    }
    out = fcntl(in, F_DUPFD_CLOEXEC, 0);
    if (out < 0) {
        error_set_errno(err, errno, "path=%s", file->path);
        close(in);
        return false;
    }
    file->have_saved = true;
    file->fd.in = in;
    host_serial_set_line(chr, &initial);
    char_fd_start(&file->fd, in, out);
    return true;
}

static void host_serial_close(Chardev *chr)
{
    CharFile *file = char_file(chr);

    if (file->have_saved && file->fd.in >= 0) {
        tcsetattr(file->fd.in, TCSANOW, &file->saved);
    }
    char_fd_close(chr);
}

/* ---- tables ------------------------------------------------------------------------ */

static const ChardevOps file_ops = {
    .open = file_open,
    .close = char_fd_close,
    .write = char_fd_write,
    .want_write = char_fd_want_write,
    .output_fd = char_fd_output,
    .plain_fd = char_fd_output,
};

static const ChardevOps pipe_ops = {
    .open = pipe_open,
    .close = char_fd_close,
    .write = char_fd_write,
    .want_write = char_fd_want_write,
    .update_read = char_fd_update_read,
    .read_now = char_fd_read_now,
    .output_fd = char_fd_output,
    .plain_fd = char_fd_output,
    .plain_input_fd = char_fd_input,
};

static const ChardevOps host_serial_ops = {
    .open = host_serial_open,
    .close = host_serial_close,
    .write = char_fd_write,
    .want_write = char_fd_want_write,
    .update_read = char_fd_update_read,
    .read_now = char_fd_read_now,
    .output_fd = char_fd_output,
    .set_line = host_serial_set_line,
    .send_break = host_serial_send_break,
    .get_modem = host_serial_get_modem,
    .set_modem = host_serial_set_modem,
    .plain_input_fd = char_fd_input,
};

KILN_TYPE(chardev_file) = {
    .name = "chardev-file",
    .parent = "chardev-fd",
    .desc = "output goes to a file",
    .size = sizeof(CharFile),
    .ops = &file_ops,
};

KILN_TYPE(chardev_pipe) = {
    .name = "chardev-pipe",
    .parent = "chardev-fd",
    .desc = "the FIFOs PATH.in and PATH.out, or PATH for both directions",
    .size = sizeof(CharFile),
    .ops = &pipe_ops,
};

KILN_TYPE(chardev_serial) = {
    .name = "chardev-serial",
    .parent = "chardev-fd",
    .desc = "a serial device of the host",
    .size = sizeof(CharFile),
    .ops = &host_serial_ops,
};
