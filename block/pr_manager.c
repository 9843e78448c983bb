/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The helper is no more trusted than any peer: what it says is bounded, a command waits for it until its deadline, and who
 * breaks the protocol loses the connection, since nobody knows what comes next there. The next command makes a new one.
 *
 * A command whose helper is away tries five times, a second between. One that came before another had tried in vain tries
 * once: a crowd of them ends together.
 *
 * Stops, resets and unplugging wait for what is under way, and the whole machine with them: they tell (hurried), and a silent
 * helper keeps them waiting for five seconds at most.
 */
#include "block/pr_manager.h"

#include <errno.h>
#include <poll.h>
#include <scsi/sg.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block_int.h"
#include "block/slow.h"
#include "core/event.h"
#include "core/user_object.h"
#include "qapi/qapi-block.h"
#include "util/iov.h"
#include "util/lock.h"
#include "util/log.h"
#include "util/sockaddr.h"
#include "util/trace.h"

#define DATA_MAX 8192
#define CDB_SIZE 16
#define SENSE_SIZE 96
#define HEADER_SIZE (8 + SENSE_SIZE)
#define TRIES 5
#define PAUSE_NS NSEC_PER_SEC         /* between two of them */
#define GRACE_NS (5 * NSEC_PER_SEC)   /* what commands get that somebody waits for with the machine at a stand */
#define HANDSHAKE_NS (30 * NSEC_PER_SEC)
#define BACKLOG_NS (10 * NSEC_PER_MSEC) /* until it is tried again with a listener whose queue is full */

enum { SCSI_CHECK_CONDITION = 2 };
enum { OP_RESERVE_IN = 0x5e, OP_RESERVE_OUT = 0x5f };
enum { HOST_TIME_OUT = 3 }; /* sg(4): host_status */

/* A command, on the stack of who runs it. */
typedef struct PrCall {
    sg_io_hdr_t *hdr;
    int fd;                   /* the device */
    uint32_t len;             /* of parameters, or room for data */
    int64_t given_ns, deadline_ns;
    const bool *cancelled;    /* atomic */
    const int64_t *hurried_ns; /* atomic */
    struct PrCall *next;
} PrCall;

struct PrManager {
    Object obj;
    char *path;
    int wake_fd;              /* eventfd: the call that has the connection is cancelled, or all are */
    int fd;                   /* the connection, of the call that has it; -1: none */
    bool connected;           /* atomic */
    Lock lock;                /* all below */
    pthread_cond_t changed;
    PrCall *calls, *busy;     /* all, and the one that has the connection */
    int64_t gave_up_ns;       /* when a call last tried in vain; 0: never */
    bool ending;
};

/* ---- bytes ------------------------------------------------------------------------------------------------- */

typedef struct PrWait {
    int64_t deadline_ns;
    int cancel_fd;            /* readable: look up; -1: none */
    PrManager *m;             /* with call; else what is readable cancels */
    const PrCall *call;
} PrWait;

static int64_t deadline_of(const PrCall *call)
{
    const int64_t hurried = __atomic_load_n(call->hurried_ns, __ATOMIC_RELAXED);

    return hurried >= call->given_ns ? MIN(call->deadline_ns, hurried + GRACE_NS) : call->deadline_ns;
}

static int64_t time_left(const PrWait *w)
{
    int64_t deadline = w->call ? deadline_of(w->call) : INT64_MAX;

    deadline = MIN(w->deadline_ns, deadline);
    return deadline - clock_monotonic_ns();
}

/* lock held. */
static bool is_ended(const PrManager *m, const PrCall *call)
{
    return m->ending || __atomic_load_n(call->cancelled, __ATOMIC_RELAXED);
}

/* cancel_fd is readable. */
static bool is_cancelled(const PrWait *w)
{
    bool ended = true;
    eventfd_t n;

    if (w->call) {
        lock_acquire(&w->m->lock);
        eventfd_read(w->cancel_fd, &n);
        ended = is_ended(w->m, w->call);
        lock_release(&w->m->lock);
    }
    return ended;
}

/* fd -1: nothing but time. 0 or -errno. */
static int wait_for(const PrWait *w, int fd, short events)
{
    struct pollfd fds[2] = {{.fd = w->cancel_fd, .events = POLLIN}, {.fd = fd, .events = events}};

    for (;;) {
        const int64_t left = time_left(w);

        if (left <= 0) {
            return -ETIMEDOUT;
        }
        const int n = poll(fds, 2, (int)MIN(left / NSEC_PER_MSEC + 1, INT_MAX));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n > 0 && fds[0].revents && is_cancelled(w)) {
            return -ECANCELED;
        }
        if (n > 0 && fds[1].revents) {
            return 0;
        }
    }
}

/* As long as w lets it, and no longer than ns. */
static int pause_for(const PrWait *w, int64_t ns)
{
    const int64_t until = clock_monotonic_ns() + ns;
    PrWait pause = *w;
    int ret;

    pause.deadline_ns = MIN(w->deadline_ns, until);
    ret = wait_for(&pause, -1, 0);
    return ret == -ETIMEDOUT && time_left(w) > 0 ? 0 : ret;
}

/* EPIPE: the other side has closed. */
static int receive(int fd, void *buf, size_t len, const PrWait *w)
{
    uint8_t *at = buf;

    while (len) {
        const ssize_t n = recv(fd, at, len, MSG_DONTWAIT);
        int ret = n == 0 ? -EPIPE : n < 0 && errno != EINTR && errno != EAGAIN ? -errno : 0;

        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (ret == 0) {
            ret = wait_for(w, fd, POLLIN);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* The descriptor pass (-1: none) goes with the first byte. */
static int send_all(int fd, const void *buf, size_t len, int pass, const PrWait *w)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {.space = {0}};
    struct iovec iov = {(void *)buf, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (pass >= 0) {
        control.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof pass), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.align), &pass, sizeof pass);
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control.space;
    }
    while (iov.iov_len) {
        const ssize_t n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        int ret = n < 0 && errno != EINTR && errno != EAGAIN ? -errno : 0;

        if (n > 0) {
            iov = (struct iovec){(char *)iov.iov_base + n, iov.iov_len - (size_t)n};
            msg.msg_control = NULL;
            msg.msg_controllen = 0;
        } else if (ret == 0) {
            ret = wait_for(w, fd, POLLOUT);
        }
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* ---- connecting ---------------------------------------------------------------------------------------------- */

/* A socket of the UNIX family is connected at once, or its listener's queue is full. */
static int connect_path(const SockAddr *addr, const PrWait *w, int *ret)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    *ret = fd < 0 ? -errno : 0;
    while (*ret == 0 && connect(fd, (const struct sockaddr *)&addr->addr, addr->len) < 0 && errno != EISCONN) {
        *ret = errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (*ret == 0) {
            *ret = pause_for(w, BACKLOG_NS);
        }
    }
    if (*ret < 0 && fd >= 0) {
        close(fd);
    }
    return *ret < 0 ? -1 : fd;
}

static bool connect_failed(const char *path, int ret, GError **err)
{
    switch (ret) {
    case -ETIMEDOUT:
        return error_set(err, "path=%s: who listens there does not answer; is it a qemu-pr-helper?", path);
    case -EPIPE:
    case -ECONNRESET:
        return error_set(err, "path=%s: who listens there has closed the connection at once; is it a qemu-pr-helper?", path);
    case -ECANCELED:
        return error_set(err, "path=%s: was ended", path);
    default:
        return error_set_errno(err, -ret, "Failed to connect to path=%s", path);
    }
}

/* A connection on which features were agreed on; else -1, and *ret is -errno. */
static int connect_helper(const char *path, const PrWait *w, int *ret, GError **err)
{
    uint8_t features[4];
    SockAddr addr;
    int fd;

    *ret = -EINVAL;
    if (!sockaddr_unix(&addr, path, false, true, err)) {
        return -1;
    }
    fd = connect_path(&addr, w, ret);
    if (fd >= 0) {
        *ret = receive(fd, features, sizeof features, w);
        *ret = *ret < 0 ? *ret : send_all(fd, (const uint8_t[4]){0}, sizeof features, -1, w);
    }
    trace(pr_manager_connect, "%s: %d", path, *ret);
    if (*ret < 0) {
        connect_failed(path, *ret, err);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

/* ---- commands -------------------------------------------------------------------------------------------------- */

/* emit: vm_emit_event or vm_post_event. */
static void set_connection(PrManager *m, int fd, void (*emit)(Vm *vm, const QapiEvent *event, const void *data))
{
    const PrManagerStatusChangedEvent event = {.id = m->obj.name, .connected = fd >= 0};

    m->fd = fd;
    __atomic_store_n(&m->connected, event.connected, __ATOMIC_RELAXED);
    emit(m->obj.vm, &qapi_event_PR_MANAGER_STATUS_CHANGED, &event);
}

static void disconnect(PrManager *m)
{
    close(m->fd);
    set_connection(m, -1, vm_post_event);
}

/* Nobody speaks unasked: the helper has closed, or is out of step. */
static bool is_stale(int fd)
{
    uint8_t byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0 || (errno != EAGAIN && errno != EINTR);
}

static int send_request(const PrManager *m, const PrCall *call, const uint8_t *parameters, const PrWait *w)
{
    uint8_t cdb[CDB_SIZE] = {0};
    int ret;

    if (is_stale(m->fd)) {
        return -EPIPE;
    }
    memcpy(cdb, call->hdr->cmdp, MIN(call->hdr->cmd_len, sizeof cdb));
    ret = send_all(m->fd, cdb, sizeof cdb, call->fd, w);
    return ret == 0 && parameters ? send_all(m->fd, parameters, call->len, -1, w) : ret;
}

/* data: room for DATA_MAX bytes. */
static int receive_answer(const PrManager *m, const PrCall *call, uint8_t *data, const PrWait *w)
{
    sg_io_hdr_t *hdr = call->hdr;
    const struct iovec one = {hdr->dxferp, hdr->dxfer_len}, *iov = hdr->iovec_count ? hdr->dxferp : &one;
    const bool reads = hdr->dxfer_direction == SG_DXFER_FROM_DEV;
    uint8_t header[HEADER_SIZE];
    uint32_t status, len;
    int ret = receive(m->fd, header, sizeof header, w);

    if (ret < 0) {
        return ret;
    }
    status = load32_be(header);
    len = load32_be(header + 4);
    if (status > UINT8_MAX || len > (reads && !status ? call->len : 0)) {
        trace(pr_manager_nonsense, "%s: status %u with %u bytes", m->obj.name, status, len);
        return -EINVAL;
    }
    ret = receive(m->fd, data, len, w);
    if (ret < 0) {
        return ret;
    }
    hdr->status = (uint8_t)status;
    hdr->resid = reads ? (int)(hdr->dxfer_len - len) : 0;
    if (status == SCSI_CHECK_CONDITION) {
        hdr->sb_len_wr = MIN(hdr->mx_sb_len, SENSE_SIZE);
        memcpy(hdr->sbp, header + 8, hdr->sb_len_wr);
    }
    iov_from_buf(iov, hdr->iovec_count ? hdr->iovec_count : 1, 0, data, len);
    return 0;
}

/* What was given before somebody else found no helper need not find out for itself. */
static bool is_hopeless(PrManager *m, const PrCall *call, unsigned tries)
{
    bool hopeless;

    lock_acquire(&m->lock);
    hopeless = tries == TRIES || m->gave_up_ns > call->given_ns;
    if (hopeless) {
        m->gave_up_ns = clock_monotonic_ns();
    }
    lock_release(&m->lock);
    return hopeless;
}

/* The request is on its way, on a connection that may be new. */
static int deliver(PrManager *m, const PrCall *call, const uint8_t *parameters, const PrWait *w)
{
    unsigned tries = 0;
    int ret;

    for (;;) {
        const bool had = m->fd >= 0;

        if (!had) {
            const int fd = connect_helper(m->path, w, &ret, NULL);

            if (fd >= 0) {
                set_connection(m, fd, vm_post_event);
            }
        }
        if (m->fd >= 0) {
            ret = send_request(m, call, parameters, w);
            if (ret == 0) {
                return 0;
            }
            disconnect(m);
        }
        if (ret == -ECANCELED || ret == -ETIMEDOUT) {
            return ret;
        }
        if (had) {
            continue; /* it has ended since it was last used */
        }
        if (is_hopeless(m, call, ++tries)) {
            return -EIO;
        }
        ret = pause_for(w, PAUSE_NS);
        if (ret < 0) {
            return ret;
        }
    }
}

/* It has the connection. */
static int transact(PrManager *m, const PrCall *call)
{
    const sg_io_hdr_t *hdr = call->hdr;
    const struct iovec one = {hdr->dxferp, hdr->dxfer_len}, *iov = hdr->iovec_count ? hdr->dxferp : &one;
    const PrWait w = {call->deadline_ns, m->wake_fd, m, call};
    const bool writes = hdr->dxfer_direction == SG_DXFER_TO_DEV;
    g_autofree uint8_t *data = g_malloc(DATA_MAX);
    int ret;

    if (writes) {
        iov_to_buf(iov, hdr->iovec_count ? hdr->iovec_count : 1, 0, data, call->len);
    }
    ret = deliver(m, call, writes ? data : NULL, &w);
    if (ret < 0) {
        return ret;
    }
    ret = receive_answer(m, call, data, &w);
    if (ret < 0) {
        disconnect(m); /* it may answer yet */
    }
    return ret == 0 || ret == -ECANCELED || ret == -ETIMEDOUT ? ret : -EINVAL;
}

/* ---- turns -------------------------------------------------------------------------------------------------------- */

static struct timespec timespec_of(int64_t ns)
{
    return (struct timespec){(time_t)(ns / NSEC_PER_SEC), (long)(ns % NSEC_PER_SEC)};
}

/* Until the call has the connection. */
static int take_turn(PrManager *m, PrCall *call)
{
    eventfd_t n;
    int ret;

    lock_acquire(&m->lock);
    call->next = m->calls;
    m->calls = call;
    while (m->busy && !is_ended(m, call) && clock_monotonic_ns() < deadline_of(call)) {
        const struct timespec until = timespec_of(deadline_of(call));

        pthread_cond_timedwait(&m->changed, &m->lock.mutex, &until);
    }
    ret = is_ended(m, call) ? -ECANCELED : m->busy || clock_monotonic_ns() >= deadline_of(call) ? -ETIMEDOUT : 0;
    if (ret == 0) {
        m->busy = call;
        eventfd_read(m->wake_fd, &n); /* meant for another one */
    }
    lock_release(&m->lock);
    return ret;
}

static void end_turn(PrManager *m, PrCall *call)
{
    PrCall **at = &m->calls;

    lock_acquire(&m->lock);
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
    if (m->busy == call) {
        m->busy = NULL;
    }
    pthread_cond_broadcast(&m->changed);
    lock_release(&m->lock);
}

bool pr_manager_takes(const sg_io_hdr_t *hdr)
{
    return hdr->cmd_len >= 10 && (hdr->cmdp[0] == OP_RESERVE_IN || hdr->cmdp[0] == OP_RESERVE_OUT);
}

/* Does the length that the command names fit its data and the protocol? */
static bool check_length(const sg_io_hdr_t *hdr, uint32_t *len)
{
    const bool writes = hdr->cmdp[0] == OP_RESERVE_OUT;

    *len = writes ? load32_be(hdr->cmdp + 5) : load16_be(hdr->cmdp + 7);
    return *len && *len <= DATA_MAX && *len <= hdr->dxfer_len &&
           hdr->dxfer_direction == (writes ? SG_DXFER_TO_DEV : SG_DXFER_FROM_DEV);
}

int pr_manager_run(PrManager *m, int fd, sg_io_hdr_t *hdr, int64_t given_ns, const bool *cancelled,
                   const int64_t *hurried_ns)
{
    PrCall call = {.hdr = hdr, .fd = fd, .given_ns = given_ns, .cancelled = cancelled, .hurried_ns = hurried_ns,
                   .deadline_ns = given_ns + (int64_t)hdr->timeout * NSEC_PER_MSEC};
    int ret;

    if (!check_length(hdr, &call.len)) {
        return -EINVAL;
    }
    hdr->status = hdr->sb_len_wr = 0;
    hdr->host_status = hdr->driver_status = 0;
    hdr->resid = 0;
    ret = take_turn(m, &call);
    if (ret == 0) {
        ret = transact(m, &call);
    }
    end_turn(m, &call);
    trace(pr_manager_done, "%s: op %02x: %d, status %02x", m->obj.name, hdr->cmdp[0], ret, hdr->status);
    if (ret == -ETIMEDOUT) {
        hdr->host_status = HOST_TIME_OUT;
        return 0;
    }
    return ret;
}

void pr_manager_cancelled(PrManager *m, const sg_io_hdr_t *hdr)
{
    lock_acquire(&m->lock);
    if (m->busy && m->busy->hdr == hdr) {
        eventfd_write(m->wake_fd, 1);
    }
    pthread_cond_broadcast(&m->changed);
    lock_release(&m->lock);
}

void pr_manager_hurried(PrManager *m)
{
    lock_acquire(&m->lock);
    if (m->busy) {
        eventfd_write(m->wake_fd, 1);
    }
    pthread_cond_broadcast(&m->changed);
    lock_release(&m->lock);
}

void pr_managers_end(Vm *vm)
{
    const Object *all = object_child(vm->root, "objects");

    for (unsigned i = 0; all && all->children && i < all->children->len; i++) {
        Object *obj = g_ptr_array_index(all->children, i);

        if (object_is_a(obj, "pr-manager-helper")) {
            PrManager *m = (PrManager *)(void *)obj;

            lock_acquire(&m->lock);
            m->ending = true;
            eventfd_write(m->wake_fd, 1);
            pthread_cond_broadcast(&m->changed);
            lock_release(&m->lock);
        }
    }
}

/* ---- the first connection: its helper may be slow --------------------------------------------------------------- */

typedef struct ConnectTask {
    BlockSlowTask task;
    char *path;
    int fd; /* the result; -1: none */
} ConnectTask;

static bool connect_run(BlockSlowTask *task, int cancel_fd, GError **err)
{
    ConnectTask *t = container_of(task, ConnectTask, task);
    const PrWait w = {clock_monotonic_ns() + HANDSHAKE_NS, cancel_fd};
    int ret;

    t->fd = connect_helper(t->path, &w, &ret, err);
    return t->fd >= 0;
}

static bool connect_same(const BlockSlowTask *a, const BlockSlowTask *b)
{
    return !strcmp(container_of(a, ConnectTask, task)->path, container_of(b, ConnectTask, task)->path);
}

static void connect_free(BlockSlowTask *task)
{
    ConnectTask *t = container_of(task, ConnectTask, task);

    if (t->fd >= 0) {
        close(t->fd);
    }
    g_free(t->path);
    g_free(t);
}

static const BlockSlowOps connect_ops = {.run = connect_run, .same = connect_same, .free = connect_free, .stops = true};

/* ---- the object ---------------------------------------------------------------------------------------------------- */

PrManager *pr_manager_get(Vm *vm, const char *id, GError **err)
{
    Object *obj = user_object_find(vm, id, NULL);

    if (!obj) {
        error_set(err, "No persistent reservation manager with id '%s': -object pr-manager-helper,id=ID,path=SOCKET makes one", id);
        return NULL;
    }
    if (!object_is_a(obj, "pr-manager-helper")) {
        error_set(err, "Object with id '%s' is not a persistent reservation manager but of type '%s': -object pr-manager-helper,"
                  "id=ID,path=SOCKET makes one", id, obj->type->name);
        return NULL;
    }
    return (PrManager *)(void *)object_ref(obj);
}

bool pr_manager_connected(const PrManager *m) { return __atomic_load_n(&m->connected, __ATOMIC_RELAXED); }

static void helper_init(Object *obj)
{
    PrManager *m = (PrManager *)(void *)obj;
    pthread_condattr_t attr;

    lock_init(&m->lock, "pr-manager", LOCK_RANK_BACKEND);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->changed, &attr);
    pthread_condattr_destroy(&attr);
    m->fd = m->wake_fd = -1;
}

static bool helper_complete(Object *obj, GError **err)
{
    PrManager *m = (PrManager *)(void *)obj;
    ConnectTask *t = g_new0(ConnectTask, 1);
    BlockSlowTask *done;

    block_state(obj->vm);
    t->task.ops = &connect_ops;
    t->path = g_strdup(m->path);
    t->fd = -1;
    done = block_slow_get(obj->vm, &t->task, err);
    if (!done) {
        return false;
    }
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake_fd < 0) {
        error_set_errno(err, errno, "no eventfd for '%s'", obj->name);
        block_slow_keep(obj->vm, done);
        return false;
    }
    t = container_of(done, ConnectTask, task);
    set_connection(m, t->fd, vm_emit_event);
    t->fd = -1;
    connect_free(done);
    return true;
}

static void helper_finalize(Object *obj)
{
    PrManager *m = (PrManager *)(void *)obj;

    if (m->fd >= 0) {
        close(m->fd);
    }
    if (m->wake_fd >= 0) {
        close(m->wake_fd);
    }
    pthread_cond_destroy(&m->changed);
    lock_destroy(&m->lock);
}

static const Property helper_props[] = {
    PROP_STRING("path", PrManager, path, .type = "string", .required = true, .help = "the UNIX socket on which the helper listens"),
    {}};

KILN_TYPE(pr_manager) = {
    .name = "pr-manager",
    .parent = "object",
    .abstract = true,
};

KILN_TYPE(pr_manager_helper) = {
    .name = "pr-manager-helper",
    .parent = "pr-manager",
    .desc = "persistent reservations by a helper program (qemu-pr-helper)",
    .size = sizeof(PrManager),
    .user_object = true,
    .props = helper_props,
    .init = helper_init,
    .complete = helper_complete,
    .finalize = helper_finalize,
};
