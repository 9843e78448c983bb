/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client: starts the emulator, speaks the qtest protocol. See libqtest.h.
 */
#include "tests/qtest/libqtest.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NUM_IRQS 256
/* A wait looks at the emulator's processor time at each tick; it is stuck after so many idle
 * ones. */
#define TICK_MS 1000
#define IDLE_TICKS 120
/* ... and when one wait has cost so much processor time (clock ticks of the kernel's, 100 a
 * second). */
#define BUSY_LIMIT (1000 * 100)

struct QTest {
    pid_t pid;             /* 0: ended and reaped */
    int status;            /* of waitpid, when pid is 0 */
    int fd;
    char *dir;             /* of the socket */
    char *socket_path;
    GString *input;        /* received, not yet taken as lines */
    char *last_request;
    bool level[NUM_IRQS];
    unsigned raises[NUM_IRQS];
    uint64_t next_alloc;
    uint32_t next_port, next_memory;
};

/* ---- the process ------------------------------------------------------------------------ */

static const char *emulator_path(void)
{
    const char *path = getenv("KILN_SYSTEM");

    if (!path) {
        g_error("KILN_SYSTEM must name the emulator (meson test sets it)");
    }
    return path;
}

static bool reap(QTest *qt, int flags)
{
    if (qt->pid) {
        pid_t got;

        do {
            got = waitpid(qt->pid, &qt->status, flags);
        } while (got < 0 && errno == EINTR);
        if (got == qt->pid) {
            qt->pid = 0;
        }
    }
    return qt->pid == 0;
}

/* Processor time of the process in ticks; any change means that it is alive and busy. */
static uint64_t processor_time(pid_t pid)
{
    char path[64];
    g_autofree char *text = NULL;
    unsigned long long user = 0, system = 0;
    const char *rest;

    g_snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (!g_file_get_contents(path, &text, NULL, NULL) || !(rest = strrchr(text, ')'))) {
        return 0;
    }
    if (sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) !=
        2) {
        return 0;
    }
    return user + system;
}

static G_GNUC_NORETURN void lost(QTest *qt, const char *what)
{
    const char *request = qt->last_request ? qt->last_request : "(start)";

    /* A closed connection usually means that the process is just ending: say how. */
    for (int i = 0; i < 50 && !reap(qt, WNOHANG); i++) {
        g_usleep(20000);
    }
    if (qt->pid) {
        kill(qt->pid, SIGKILL);
        g_error("%s; last request: %.4000s", what, request);
    } else if (WIFSIGNALED(qt->status)) {
        g_error("%s: the emulator was killed by signal %d; last request: %.4000s", what,
                WTERMSIG(qt->status), request);
    }
    g_error("%s: the emulator ended with status %d; last request: %.4000s", what,
            WEXITSTATUS(qt->status), request);
}

/* Waits until fd is readable. The limit is progress, not time: see the top of the header. */
static void wait_readable(QTest *qt, int fd, const char *what)
{
    uint64_t start = qt->pid ? processor_time(qt->pid) : 0, busy = start;
    unsigned idle = 0;

    for (;;) {
        struct pollfd poller = {.fd = fd, .events = POLLIN};
        int n = poll(&poller, 1, TICK_MS);
        uint64_t now;

        if (n > 0) {
            return;
        }
        if (n < 0 && errno != EINTR) {
            g_error("poll: %s", g_strerror(errno));
        }
        if (reap(qt, WNOHANG)) {
            lost(qt, what);
        }
        now = processor_time(qt->pid);
        idle = now == busy ? idle + 1 : 0;
        busy = now;
        if (idle >= IDLE_TICKS || now - start > BUSY_LIMIT) {
            lost(qt, what);
        }
    }
}

/* The child ends with the test program, whatever becomes of that. */
static pid_t spawn(char **argv, int out_fd, int err_fd)
{
    pid_t parent = getpid(), pid = fork();

    if (pid < 0) {
        g_error("fork: %s", g_strerror(errno));
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(127);
        }
        if (out_fd >= 0) {
            dup2(out_fd, 1);
        }
        if (err_fd >= 0) {
            dup2(err_fd, 2);
        }
        execvp(argv[0], argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    return pid;
}

static void add_args(GPtrArray *argv, const char *text)
{
    g_auto(GStrv) words = NULL;
    GError *err = NULL;
    int n;

    if (!text || !text[strspn(text, " \t\n")]) {
        return;
    }
    if (!g_shell_parse_argv(text, &n, &words, &err)) {
        g_error("arguments '%s': %s", text, err->message);
    }
    for (int i = 0; i < n; i++) {
        g_ptr_array_add(argv, g_strdup(words[i]));
    }
}

static int listen_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(strlen(path), <, sizeof address.sun_path);
    strcpy(address.sun_path, path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
        g_error("%s: %s", path, g_strerror(errno));
    }
    return fd;
}

QTest *qtest_start(const char *fmt, ...)
{
    QTest *qt = g_new0(QTest, 1);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *args = NULL;
    int listener;
    va_list ap;

    va_start(ap, fmt);
    args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    qt->dir = g_dir_make_tmp("qtest-XXXXXX", NULL);
    g_assert_nonnull(qt->dir);
    qt->socket_path = g_build_filename(qt->dir, "qtest", NULL);
    qt->input = g_string_new(NULL);
    qt->next_alloc = 1 << 20;
    qt->next_port = 0xc000;
    qt->next_memory = 0xe0000000;
    listener = listen_unix(qt->socket_path);

    g_ptr_array_add(argv, g_strdup(emulator_path()));
    g_ptr_array_add(argv, g_strdup("-qtest"));
    g_ptr_array_add(argv, g_strdup_printf("unix:%s", qt->socket_path));
    g_ptr_array_add(argv, g_strdup("-qtest-log"));
    g_ptr_array_add(argv, g_strdup(getenv("QTEST_LOG") ? "/dev/fd/2" : "none"));
    g_ptr_array_add(argv, g_strdup("-display"));
    g_ptr_array_add(argv, g_strdup("none"));
    add_args(argv, getenv("QTEST_ARGS"));
    add_args(argv, args);
    g_ptr_array_add(argv, g_strdup("-accel"));
    g_ptr_array_add(argv, g_strdup("qtest"));
    g_ptr_array_add(argv, NULL);
    /* What TAP reads is our stdout: the emulator gets stderr for both. */
    qt->pid = spawn((char **)argv->pdata, 2, -1);
    wait_readable(qt, listener, "no connection from the emulator");
    qt->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(qt->fd, >=, 0);
    close(listener);
    g_unlink(qt->socket_path);
    g_rmdir(qt->dir);
    if (getenv("QTEST_DIRTY_LOG")) {
        qtest_dirty_log(qt, true);
    }
    return qt;
}

bool qtest_is_alive(QTest *qt) { return !reap(qt, WNOHANG); }

static void wait_end(QTest *qt)
{
    uint64_t busy = 0;
    unsigned idle = 0;

    while (!reap(qt, WNOHANG)) {
        uint64_t now = processor_time(qt->pid);

        idle = now == busy ? idle + 1 : 0;
        busy = now;
        if (idle >= IDLE_TICKS * 100) {
            lost(qt, "the emulator does not end");
        }
        g_usleep(TICK_MS * 10);
    }
}

int qtest_wait_exit(QTest *qt)
{
    wait_end(qt);
    return WIFEXITED(qt->status) ? WEXITSTATUS(qt->status) : -1;
}

void qtest_end(QTest *qt)
{
    if (!reap(qt, WNOHANG)) {
        kill(qt->pid, SIGTERM);
        wait_end(qt);
        if (!WIFEXITED(qt->status) || WEXITSTATUS(qt->status) != 0) {
            lost(qt, "SIGTERM");
        }
    }
    close(qt->fd);
    g_string_free(qt->input, TRUE);
    g_free(qt->last_request);
    g_free(qt->socket_path);
    g_free(qt->dir);
    g_free(qt);
}

static char *read_all(int fd)
{
    GString *text = g_string_new(NULL);
    char buf[4096];
    ssize_t n;

    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, buf, sizeof buf)) > 0) {
        g_string_append_len(text, buf, n);
    }
    close(fd);
    return g_string_free(text, FALSE);
}

int qtest_run(const char *args, char **out, char **err_out)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    char name_out[] = "/tmp/qtest-out-XXXXXX", name_err[] = "/tmp/qtest-err-XXXXXX";
    int fd_out = g_mkstemp_full(name_out, O_RDWR | O_CLOEXEC, 0600);
    int fd_err = g_mkstemp_full(name_err, O_RDWR | O_CLOEXEC, 0600);
    QTest qt = {.last_request = (char *)args};
    g_autofree char *text_out = NULL, *text_err = NULL;

    g_assert_true(fd_out >= 0 && fd_err >= 0);
    g_unlink(name_out);
    g_unlink(name_err);
    g_ptr_array_add(argv, g_strdup(emulator_path()));
    add_args(argv, args);
    g_ptr_array_add(argv, NULL);
    qt.pid = spawn((char **)argv->pdata, fd_out, fd_err);
    wait_end(&qt);
    text_out = read_all(fd_out);
    text_err = read_all(fd_err);
    if (out) {
        *out = g_steal_pointer(&text_out);
    }
    if (err_out) {
        *err_out = g_steal_pointer(&text_err);
    }
    return WIFEXITED(qt.status) ? WEXITSTATUS(qt.status) : -1;
}

void qtest_expect_refused(const char *before, const char *const (*rows)[2], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        g_autofree char *args = g_strdup_printf("-machine pc -accel qtest -nodefaults -display none %s%s", before, rows[i][0]);
        g_autofree char *text = NULL;
        int status = qtest_run(args, NULL, &text);

        if (status != 1 || !strstr(text, rows[i][1])) {
            g_error("'%s': status %d and not '%s' but: %s", rows[i][0], status, rows[i][1], text);
        }
    }
}

/* ---- lines ------------------------------------------------------------------------------ */

void qtest_send_raw(QTest *qt, const void *data, size_t len)
{
    const char *p = data;

    while (len) {
        ssize_t n = send(qt->fd, p, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            lost(qt, "cannot send");
        }
        p += n;
        len -= n;
    }
}

static char *read_line(QTest *qt)
{
    char *end;

    while (!(end = memchr(qt->input->str, '\n', qt->input->len))) {
        char buf[16384];
        ssize_t n;

        wait_readable(qt, qt->fd, "no answer");
        n = recv(qt->fd, buf, sizeof buf, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            lost(qt, "connection closed");
        }
        g_string_append_len(qt->input, buf, n);
    }
    size_t len = end - qt->input->str;
    char *line = g_strndup(qt->input->str, len);

    g_string_erase(qt->input, 0, len + 1);
    return line;
}

static bool take_irq_line(QTest *qt, const char *line)
{
    bool raise = g_str_has_prefix(line, "IRQ raise ");
    unsigned n;

    if (!raise && !g_str_has_prefix(line, "IRQ lower ")) {
        return false;
    }
    n = strtoul(line + 10, NULL, 10);
    g_assert_cmpuint(n, <, NUM_IRQS);
    qt->level[n] = raise;
    qt->raises[n] += raise;
    return true;
}

char *qtest_read_reply(QTest *qt)
{
    for (;;) {
        char *line = read_line(qt);

        if (!take_irq_line(qt, line)) {
            return line;
        }
        g_free(line);
    }
}

static char *request(QTest *qt, char *line)
{
    size_t len = strlen(line);

    g_free(qt->last_request);
    qt->last_request = line;
    line[len] = '\n';
    qtest_send_raw(qt, line, len + 1);
    line[len] = 0;
    return qtest_read_reply(qt);
}

char *qtest_request(QTest *qt, const char *fmt, ...)
{
    va_list ap;
    char *line;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return request(qt, line);
}

void qtest_batch(QTest *qt, const char *lines)
{
    g_free(qt->last_request);
    qt->last_request = g_strdup(lines);
    qtest_send_raw(qt, lines, strlen(lines));
    for (const char *p = lines; (p = strchr(p, '\n')); p++) {
        g_autofree char *reply = qtest_read_reply(qt);

        if (!g_str_has_prefix(reply, "OK")) {
            g_error("answered '%s'; requests:\n%s", reply, lines);
        }
    }
}

/* The reply must be OK; what follows it (NULL: nothing may) is the caller's. */
static G_GNUC_PRINTF(2, 3) char *command(QTest *qt, const char *fmt, ...)
{
    g_autofree char *reply = NULL;
    va_list ap;
    char *line;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    reply = request(qt, line);
    if (strcmp(reply, "OK") && !g_str_has_prefix(reply, "OK ")) {
        g_error("'%.200s' was answered '%s'", qt->last_request, reply);
    }
    return g_strdup(reply[2] ? reply + 3 : "");
}

static uint64_t number(QTest *qt, char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 0);

    if (end == text || *end) {
        g_error("'%.200s' was answered '%s'", qt->last_request, text);
    }
    g_free(text);
    return value;
}

void qtest_dirty_log(QTest *qt, bool on) { g_free(command(qt, "dirty_log %s", on ? "on" : "off")); }
char *qtest_dirty_pages(QTest *qt) { return command(qt, "dirty_pages"); }

/* ---- ports and memory ------------------------------------------------------------------- */

#define DEFINE_PORT(suffix, type)                                                                  \
    void qtest_out##suffix(QTest *qt, uint16_t port, type value)                                   \
    {                                                                                              \
        g_free(command(qt, "out" #suffix " 0x%x 0x%x", port, value));                              \
    }                                                                                              \
    type qtest_in##suffix(QTest *qt, uint16_t port)                                                \
    {                                                                                              \
        return number(qt, command(qt, "in" #suffix " 0x%x", port));                                \
    }
DEFINE_PORT(b, uint8_t)
DEFINE_PORT(w, uint16_t)
DEFINE_PORT(l, uint32_t)

#define DEFINE_MEMORY(suffix, type)                                                                \
    void qtest_write##suffix(QTest *qt, uint64_t addr, type value)                                 \
    {                                                                                              \
        g_free(command(qt, "write" #suffix " 0x%" PRIx64 " 0x%" PRIx64, addr, (uint64_t)value));   \
    }                                                                                              \
    type qtest_read##suffix(QTest *qt, uint64_t addr)                                              \
    {                                                                                              \
        return number(qt, command(qt, "read" #suffix " 0x%" PRIx64, addr));                        \
    }
DEFINE_MEMORY(b, uint8_t)
DEFINE_MEMORY(w, uint16_t)
DEFINE_MEMORY(l, uint32_t)
DEFINE_MEMORY(q, uint64_t)

static void memread_hex(QTest *qt, uint64_t addr, uint8_t *buf, size_t len)
{
    g_autofree char *text = command(qt, "read 0x%" PRIx64 " 0x%zx", addr, len);

    g_assert_cmpuint(strlen(text), ==, 2 + 2 * len);
    for (size_t i = 0; i < len; i++) {
        buf[i] = g_ascii_xdigit_value(text[2 + 2 * i]) << 4 | g_ascii_xdigit_value(text[3 + 2 * i]);
    }
}

void qtest_memread(QTest *qt, uint64_t addr, void *buf, size_t len)
{
    if (len == 0) {
        return;
    }
    if (len <= 64) {
        memread_hex(qt, addr, buf, len);
        return;
    }
    g_autofree char *text = command(qt, "b64read 0x%" PRIx64 " 0x%zx", addr, len);
    gsize got;
    g_autofree guchar *data = g_base64_decode(text, &got);

    g_assert_cmpuint(got, ==, len);
    memcpy(buf, data, len);
}

void qtest_memwrite(QTest *qt, uint64_t addr, const void *buf, size_t len)
{
    const uint8_t *bytes = buf;

    if (len == 0) {
        return;
    }
    if (len > 64) {
        g_autofree char *text = g_base64_encode(bytes, len);

        g_free(command(qt, "b64write 0x%" PRIx64 " 0x%zx %s", addr, len, text));
        return;
    }
    g_autoptr(GString) text = g_string_new("0x");

    for (size_t i = 0; i < len; i++) {
        g_string_append_printf(text, "%02x", bytes[i]);
    }
    g_free(command(qt, "write 0x%" PRIx64 " 0x%zx %s", addr, len, text->str));
}

void qtest_memset(QTest *qt, uint64_t addr, uint8_t value, size_t len)
{
    g_free(command(qt, "memset 0x%" PRIx64 " 0x%zx 0x%x", addr, len, value));
}

/* ---- clock and interrupts --------------------------------------------------------------- */

int64_t qtest_clock_step_next(QTest *qt) { return number(qt, command(qt, "clock_step")); }
int64_t qtest_clock_step(QTest *qt, int64_t ns)
{
    return number(qt, command(qt, "clock_step %" PRId64, ns));
}
int64_t qtest_clock_set(QTest *qt, int64_t ns)
{
    return number(qt, command(qt, "clock_set %" PRId64, ns));
}

void qtest_irq_intercept_in(QTest *qt, const char *path)
{
    g_free(command(qt, "irq_intercept_in %s", path));
}

void qtest_irq_intercept_out(QTest *qt, const char *path)
{
    g_free(command(qt, "irq_intercept_out %s", path));
}

/* Lines that are under way come before the reply of any request. */
static void sync_irqs(QTest *qt, unsigned n)
{
    g_assert_cmpuint(n, <, NUM_IRQS);
    g_free(command(qt, "endianness"));
}

bool qtest_get_irq(QTest *qt, unsigned n)
{
    sync_irqs(qt, n);
    return qt->level[n];
}

unsigned qtest_irq_count(QTest *qt, unsigned n)
{
    sync_irqs(qt, n);
    return qt->raises[n];
}

void qtest_clear_irq_count(QTest *qt, unsigned n)
{
    sync_irqs(qt, n);
    qt->raises[n] = 0;
}

void qtest_set_irq_in(QTest *qt, const char *path, const char *name, unsigned n, int level)
{
    g_free(command(qt, "set_irq_in %s %s %u %d", path, name ? name : "unnamed-gpio-in", n, level));
}

/* ---- PCI -------------------------------------------------------------------------------- */

static uint16_t config_select(QTest *qt, unsigned devfn, uint8_t offset)
{
    qtest_outl(qt, 0xcf8, 0x80000000u | devfn << 8 | (offset & 0xfc));
    return 0xcfc + (offset & 3);
}

uint8_t qpci_read_config8(QTest *qt, unsigned devfn, uint8_t offset)
{
    return qtest_inb(qt, config_select(qt, devfn, offset));
}
uint16_t qpci_read_config16(QTest *qt, unsigned devfn, uint8_t offset)
{
    return qtest_inw(qt, config_select(qt, devfn, offset));
}
uint32_t qpci_read_config32(QTest *qt, unsigned devfn, uint8_t offset)
{
    return qtest_inl(qt, config_select(qt, devfn, offset));
}
void qpci_write_config8(QTest *qt, unsigned devfn, uint8_t offset, uint8_t value)
{
    qtest_outb(qt, config_select(qt, devfn, offset), value);
}
void qpci_write_config16(QTest *qt, unsigned devfn, uint8_t offset, uint16_t value)
{
    qtest_outw(qt, config_select(qt, devfn, offset), value);
}
void qpci_write_config32(QTest *qt, unsigned devfn, uint8_t offset, uint32_t value)
{
    qtest_outl(qt, config_select(qt, devfn, offset), value);
}

int qpci_find(QTest *qt, uint16_t vendor, uint16_t device, unsigned index)
{
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        uint32_t id = qpci_read_config32(qt, devfn, 0);

        if (id == (vendor | (uint32_t)device << 16) && index-- == 0) {
            return devfn;
        }
        /* Functions 1 to 7 count only when function 0 says that there are several. */
        if ((devfn & 7) == 0 &&
            (id == 0xffffffff || !(qpci_read_config8(qt, devfn, 0x0e) & 0x80))) {
            devfn += 7;
        }
    }
    return -1;
}

void qpci_enable(QTest *qt, unsigned devfn, uint16_t bits)
{
    qpci_write_config16(qt, devfn, 4, qpci_read_config16(qt, devfn, 4) | bits);
}

uint8_t qpci_find_capability(QTest *qt, unsigned devfn, uint8_t id)
{
    uint8_t offset;

    if (!(qpci_read_config16(qt, devfn, 6) & 0x10)) {
        return 0;
    }
    offset = qpci_read_config8(qt, devfn, 0x34) & 0xfc;
    for (unsigned i = 0; offset && i < 48; i++) {
        if (qpci_read_config8(qt, devfn, offset) == id) {
            return offset;
        }
        offset = qpci_read_config8(qt, devfn, offset + 1) & 0xfc;
    }
    return 0;
}

uint64_t qpci_map_bar(QTest *qt, unsigned devfn, unsigned n, uint64_t *size)
{
    uint8_t reg = 0x10 + 4 * n;
    uint32_t mask, type = qpci_read_config32(qt, devfn, reg);
    uint32_t *next = type & 1 ? &qt->next_port : &qt->next_memory;
    uint32_t len, addr;

    qpci_write_config32(qt, devfn, reg, 0xffffffff);
    mask = qpci_read_config32(qt, devfn, reg) & (type & 1 ? 0xfffffffc : 0xfffffff0);
    g_assert_cmphex(mask, !=, 0);
    len = mask & -mask; /* lowest writable bit: port BARs may leave bits 16 to 31 zero */
    addr = (*next + len - 1) & ~(len - 1);
    *next = addr + len;
    qpci_write_config32(qt, devfn, reg, addr);
    if ((type & 7) == 4) {
        qpci_write_config32(qt, devfn, reg + 4, 0);
    }
    qpci_enable(qt, devfn, type & 1 ? 1 : 2);
    if (size) {
        *size = len;
    }
    return addr;
}

/* ---- helpers ---------------------------------------------------------------------------- */

uint64_t qtest_alloc(QTest *qt, size_t len, size_t align)
{
    uint64_t addr = (qt->next_alloc + align - 1) & ~((uint64_t)align - 1);

    qt->next_alloc = addr + len;
    return addr;
}

static GPtrArray *temp_files;

static void remove_temp_files(void)
{
    for (unsigned i = 0; i < temp_files->len; i++) {
        g_unlink(temp_files->pdata[i]);
    }
    g_ptr_array_free(temp_files, TRUE);
}

char *qtest_temp_file(const void *data, uint64_t size)
{
    char *path = g_build_filename(g_get_tmp_dir(), "qtest-file-XXXXXX", NULL);
    int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, size) < 0) {
        g_error("%s: %s", path, g_strerror(errno));
    }
    if (data) {
        g_assert_cmpint(pwrite(fd, data, size, 0), ==, (ssize_t)size);
    }
    close(fd);
    if (!temp_files) {
        temp_files = g_ptr_array_new_with_free_func(g_free);
        atexit(remove_temp_files);
    }
    g_ptr_array_add(temp_files, g_strdup(path));
    return path;
}
