/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stdio: the terminal (or pipe, or file) that Kiln was started from.
 *
 * A terminal is switched to raw input: each key goes to the guest at once, unechoed. Its own
 * settings come back at the end, on fatal signals too. There is one terminal a process, so this is
 * the one place with state outside a Vm.
 *
 * Descriptors are reopened through /proc to be made non-blocking, where that works: O_NONBLOCK set
 * on the inherited descriptor would hit the shell and everyone else who shares it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/backend.h"

/* ---- the terminal's settings, also for signal handlers ----------------------------- */

static struct termios tty_saved, tty_raw;
static volatile sig_atomic_t tty_is_raw;
static int saved_flags[2];
static volatile sig_atomic_t flags_saved[2]; /* O_NONBLOCK was set on descriptor 0, 1 */

void chardev_restore_tty(void)
{
    int saved_errno = errno;

    if (tty_is_raw) {
        tty_is_raw = 0;
        tcsetattr(0, TCSANOW, &tty_saved);
    }
    for (int fd = 0; fd < 2; fd++) {
        if (flags_saved[fd]) {
            flags_saved[fd] = 0;
            fcntl(fd, F_SETFL, saved_flags[fd]);
        }
    }
    errno = saved_errno;
}

/* SA_RESETHAND: the second time it is the default action, which ends the process. */
static void fatal_signal(int signum)
{
    chardev_restore_tty();
    raise(signum);
}

/* The shell brought us back to the foreground, with settings of its own. */
static void continued(int signum)
{
    int saved_errno = errno;

    if (tty_is_raw) {
        tcsetattr(0, TCSANOW, &tty_raw);
    }
    errno = saved_errno;
}

static void catch_signals(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGQUIT};
    static bool done;
    struct sigaction old;
    struct sigaction action = {.sa_handler = fatal_signal, .sa_flags = (int)SA_RESETHAND};

    if (done) {
        return;
    }
    done = true;
    atexit(chardev_restore_tty);
    for (unsigned i = 0; i < G_N_ELEMENTS(fatal); i++) {
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            sigaction(fatal[i], &action, NULL);
        }
    }
    action = (struct sigaction){.sa_handler = continued, .sa_flags = SA_RESTART};
    sigaction(SIGCONT, &action, NULL);
}

/* allow_signals: C-c and C-z act on Kiln, not on the guest. */
static void make_raw(bool allow_signals)
{
    if (tcgetattr(0, &tty_saved) < 0) {
        return;
    }
    tty_raw = tty_saved;
    tty_raw.c_iflag &=
        ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    tty_raw.c_oflag |= OPOST;
    tty_raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (!allow_signals) {
        tty_raw.c_lflag &= ~(tcflag_t)ISIG;
    }
    tty_raw.c_cflag = (tty_raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    tty_raw.c_cc[VMIN] = 1;
    tty_raw.c_cc[VTIME] = 0;
    catch_signals();
    tty_is_raw = 1;
    tcsetattr(0, TCSANOW, &tty_raw);
}

/* ---- descriptors ------------------------------------------------------------------- */

typedef struct CharStdio {
    CharFd fd;
    bool in_is_shared;       /* others may let reading block again */
} CharStdio;

/* A descriptor of our own for 0 or 1 that does not block; -1: the original is closed. shared: others have the same open file. */
static int own_descriptor(int fd, int mode, bool *shared)
{
    struct stat st;
    int own = -1;

    *shared = false;
    if (fstat(fd, &st) < 0) {
        return -1;
    }
    if (S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(fd))) {
        char name[32];

        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        own = open(name, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    if (own < 0) {
        *shared = true;
        own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (own >= 0 && !S_ISREG(st.st_mode)) {
            saved_flags[fd] = fcntl(fd, F_GETFL);
            if (saved_flags[fd] >= 0 && !(saved_flags[fd] & O_NONBLOCK)) {
                catch_signals();
                flags_saved[fd] = 1;
                fcntl(fd, F_SETFL, saved_flags[fd] | O_NONBLOCK);
            }
        }
    }
    return own;
}

static bool stdio_open(Chardev *chr, GError **err)
{
    const ChardevStdio *options = chr->options->u.stdio.data;
    CharStdio *stdio = container_of(chr, CharStdio, fd.chr);
    CharState *state = char_state(chr->obj.vm);
    int in, out;
    bool out_is_shared;

    if (state->no_stdio) {
        return error_set(err, "stdio %s; use a file, pty or socket", state->no_stdio);
    }
    if (state->stdio) {
        return error_set(
            err,
            "stdio is used by the character device '%s'; share it with mux=on, or use another"
            " back end (pty, unix socket) for one of them",
            chardev_id(state->stdio));
    }
    state->stdio = chr;
    make_raw(!options->has_signal || options->signal);
    in = own_descriptor(0, O_RDONLY, &stdio->in_is_shared);
    out = own_descriptor(1, O_WRONLY, &out_is_shared);
    char_fd_start(&stdio->fd, in, out);
    return true;
}

/* The end of the input is no end of the output. */
static void stdio_hangup(CharFd *fd)
{
    fd->eof = true;
}

static int stdio_plain_input(const Chardev *chr)
{
    return container_of(chr, CharStdio, fd.chr)->in_is_shared ? -1 : char_fd_input(chr);
}

static void stdio_close(Chardev *chr)
{
    CharState *state = char_state(chr->obj.vm);

    if (state->stdio == chr) {
        state->stdio = NULL;
        chardev_restore_tty();
    }
    char_fd_close(chr);
}

static void stdio_init(Object *obj)
{
    container_of(obj, CharFd, chr.obj)->hangup = stdio_hangup;
}

static const ChardevOps stdio_ops = {
    .open = stdio_open,
    .close = stdio_close,
    .write = char_fd_write,
    .want_write = char_fd_want_write,
    .update_read = char_fd_update_read,
    .read_now = char_fd_read_now,
    .output_fd = char_fd_output,
    .plain_input_fd = stdio_plain_input,
};

KILN_TYPE(chardev_stdio) = {
    .name = "chardev-stdio",
    .parent = "chardev-fd",
    .desc = "standard input and output; a terminal is switched to raw mode",
    .size = sizeof(CharStdio),
    .init = stdio_init,
    .ops = &stdio_ops,
};
