/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The connection's loss and return, by itself or at somebody's word.
 *
 * A connection that is lost is looked for again until it is there, by a thread that sleeps 1, 2, 4 ... 16
 * seconds between two attempts; before the first one too, where the last connection was lost with nothing answered. Requests
 * wait for it at most reconnect-delay seconds, then they fail. The export must be the same after it, or do more; one that
 * has grown keeps the size that the node's users know.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "nbd/client.h"
#include "util/log.h"
#include "util/trace.h"

#define MAX_BACKOFF_S 16
#define END_SILENCE_S 5 /* of a server, at the machine's end, while requests wait for it */

/* One try after the other until the server is there or nobody wants it any more. */
struct NbdAttempt {
    GThread *thread;
    NbdSetup *setup;   /* the client's; nobody else uses it meanwhile */
    const NbdInfo *old;
    int cancel_fd, done_fd; /* eventfds */
    unsigned fruitless; /* the client's */
    bool writable;     /* the node is */
    const char *name, *where; /* the node's, the client's */
    char *said;        /* why the last try failed: each reason is told once */
    NbdConn *conn;     /* the result */
    NbdInfo info;
};

/* ---- connecting again -------------------------------------------------------------------------- */

typedef struct Ability {
    uint16_t flag;
    const char *name;
} Ability;

static const Ability abilities[] = {
    {NBD_FLAG_SEND_FLUSH, "flushes"},
    {NBD_FLAG_SEND_FUA, "writes that are on disk when they end (FUA)"},
    {NBD_FLAG_SEND_TRIM, "trims"},
    {NBD_FLAG_SEND_WRITE_ZEROES, "writing of zeros"},
    {NBD_FLAG_SEND_FAST_ZERO, "fast writing of zeros"},
};

/* Can what runs go on with this export? */
static bool same_export(const NbdInfo *old, const NbdInfo *now, bool writable, GError **err)
{
    if (now->size < old->size) {
        return error_set(err, "the export's size was %" PRIu64 " and is %" PRIu64, old->size, now->size);
    }
    if (writable && now->flags & ~old->flags & NBD_FLAG_READ_ONLY) {
        return error_set(err, "the export is read-only now");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(abilities); i++) {
        if (old->flags & ~now->flags & abilities[i].flag) {
            return error_set(err, "the export does not take %s any more", abilities[i].name);
        }
    }
    if (old->structured && !now->structured) {
        return error_set(err, "the server has no structured replies any more");
    }
    if (old->has_context && !now->has_context) {
        return error_set(err, "the export does not tell its block status any more");
    }
    if (MAX(now->min_block, 1) > MAX(old->min_block, 1) ||
        (now->max_block && (!old->max_block ? now->max_block < NBD_MAX_DATA
                                            : now->max_block < old->max_block))) {
        return error_set(err, "the export's smallest block is larger, or its largest one smaller, than before");
    }
    return true;
}

static bool is_cancelled(const NbdAttempt *a)
{
    struct pollfd polled = {.fd = a->cancel_fd, .events = POLLIN};

    return poll(&polled, 1, 0) > 0;
}

static bool try_once(NbdAttempt *a)
{
    NbdWait wait = {clock_monotonic_ns() + NBD_HANDSHAKE_NS, a->cancel_fd};
    g_autoptr(GError) why = NULL;

    a->conn = nbd_setup_connect(a->setup, &wait, &a->info, &why);
    if (a->conn && !same_export(a->old, &a->info, a->writable, &why)) {
        g_prefix_error(&why, "NBD server %s: ", a->where);
        nbd_conn_free(a->conn);
        a->conn = NULL;
        nbd_info_clear(&a->info);
    }
    if (!a->conn) {
        trace(nbd_reconnect_failed, "%s", why->message);
        if (g_strcmp0(a->said, why->message) && !is_cancelled(a)) {
            report_warning("node '%s': cannot connect again, goes on trying: %s", a->name, why->message);
            g_free(a->said);
            a->said = g_strdup(why->message);
        }
    }
    return a->conn != NULL;
}

/* False: it was cancelled. */
static bool pause_for(NbdAttempt *a, unsigned seconds)
{
    NbdWait wait = {clock_monotonic_ns() + seconds * NSEC_PER_SEC, -1};

    return !nbd_wait_fd(a->cancel_fd, POLLIN, &wait, NULL);
}

static gpointer attempt_thread(gpointer opaque)
{
    NbdAttempt *a = opaque;
    unsigned pause = MIN(1u << MIN(a->fruitless, 16), MAX_BACKOFF_S);

    if (a->fruitless && !pause_for(a, pause / 2)) {
        return NULL;
    }
    while (!try_once(a)) {
        if (!pause_for(a, pause)) {
            return NULL;
        }
        pause = MIN(2 * pause, MAX_BACKOFF_S);
    }
    eventfd_write(a->done_fd, 1);
    return NULL;
}

void nbd_client_stop_connecting(NbdClient *c)
{
    NbdAttempt *a = c->attempt;

    if (!a) {
        return;
    }
    block_fd_remove(g_steal_pointer(&c->attempt_source));
    eventfd_write(a->cancel_fd, 1);
    if (a->thread) {
        g_thread_join(a->thread);
    }
    nbd_conn_free(a->conn);
    nbd_info_clear(&a->info);
    g_free(a->said);
    close(a->cancel_fd);
    close(a->done_fd);
    g_free(a);
    c->attempt = NULL;
}

/* Requests have the whole of reconnect-delay again. */
static void stop_waiting(NbdClient *c)
{
    block_timer_cancel(c->give_up);
    c->patient = c->overdue = false;
}

void nbd_client_answered(NbdClient *c)
{
    c->fruitless = 0;
    if (c->patient || c->overdue) {
        stop_waiting(c);
    }
}

static void on_attempt_done(void *opaque, uint32_t events)
{
    NbdClient *c = opaque;
    NbdAttempt *a = c->attempt;
    const NbdInfo old = {.size = c->info.size, .min_block = c->info.min_block, .max_block = c->info.max_block};

    g_thread_join(g_steal_pointer(&a->thread));
    c->conn = g_steal_pointer(&a->conn);
    nbd_info_clear(&c->info);
    c->info = a->info;
    c->info.size = old.size; /* it and the limits stay what parents saw */
    c->info.min_block = MAX(old.min_block, c->info.min_block);
    a->info = (NbdInfo){0};
    nbd_client_stop_connecting(c);
    if (!c->waiting) {
        stop_waiting(c);
    }
    c->failing = false;
    trace(nbd_reconnected, "%s", c->where);
    nbd_client_connected(c);
}

static void attempt_watch(NbdClient *c)
{
    c->attempt_source =
        block_fd_add(c->node->loop, c->attempt->done_fd, EPOLLIN, on_attempt_done, c);
}

static void attempt_start(NbdClient *c)
{
    NbdAttempt *a = g_new0(NbdAttempt, 1);

    a->setup = &c->setup;
    a->old = &c->info;
    a->name = c->node->name;
    a->where = c->where;
    a->fruitless = c->fruitless;
    a->writable = !c->node->read_only;
    a->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    c->attempt = a;
    attempt_watch(c);
    a->thread = g_thread_new("nbd-connect", attempt_thread, a);
}

static void on_give_up(void *opaque)
{
    NbdClient *c = opaque;

    c->patient = false;
    c->overdue = c->conn != NULL;
    if (!c->conn) {
        c->failing = true;
        nbd_client_fail_waiting(c);
    }
}

/* A connection that is made and lost again and again, with nothing answered, does not begin the waiting anew. */
static void begin_waiting(NbdClient *c)
{
    if (c->overdue) {
        on_give_up(c);
    } else if (!c->patient) {
        block_timer_arm(c->give_up, clock_monotonic_ns() + (int64_t)c->reconnect_delay * NSEC_PER_SEC);
        c->patient = true;
    }
}

void nbd_client_lost(NbdClient *c, const char *why)
{
    report_warning("node '%s', NBD server %s: connection lost: %s", c->node->name, c->where, why);
    c->fruitless += c->in_flight > 0;
    block_fd_remove(g_steal_pointer(&c->source));
    nbd_conn_free(c->conn);
    c->conn = NULL;
    nbd_client_io_reset(c);
    bool returns = !c->yanked && c->setup.address.type != NBD_FD;
    if (c->reconnect_delay && returns) {
        begin_waiting(c);
    } else {
        on_give_up(c);
    }
    if (returns) {
        attempt_start(c);
    }
}

static void cut_for_good(NbdClient *c, const char *why)
{
    c->yanked = true;
    nbd_client_stop_connecting(c);
    stop_waiting(c);
    if (c->conn) {
        nbd_client_lost(c, why);
    } else {
        on_give_up(c);
    }
}

static void yank(NbdClient *c) { cut_for_good(c, "a manager has cut it off"); }

/* ---- the machine's end -------------------------------------------------------------------------- */

/*
 * Looks each second whether the server does anything for those that wait. What it keeps silent about would hold up the end, and
 * all that other disks have to write, until somebody kills the process.
 */
static void on_silence(void *opaque)
{
    NbdClient *c = opaque;
    bool waits = c->in_flight || c->n_waiting;

    c->silent_s = waits && c->moved == c->moved_before ? c->silent_s + 1 : 0;
    c->moved_before = c->moved;
    if (c->silent_s < END_SILENCE_S) {
        block_timer_arm(c->silence, clock_monotonic_ns() + NSEC_PER_SEC);
        return;
    }
    if (!c->conn) {
        report_warning("node '%s', NBD server %s: the connection has not come back, and the machine ends: what waits for it fails",
                       c->node->name, c->where);
    }
    cut_for_good(c, "it does not answer, and the machine ends");
}

static void watch_silence(NbdClient *c)
{
    c->silence = block_timer_new(c->node->loop, on_silence, c);
    block_timer_arm(c->silence, clock_monotonic_ns() + NSEC_PER_SEC);
}

/* ---- words from other threads ------------------------------------------------------------------- */

/* Also while the owner waits for the server, in a drain, and the teller for the owner. */
static void on_word(void *opaque, uint32_t events)
{
    NbdClient *c = opaque;
    eventfd_t count;

    eventfd_read(c->word_fd, &count);
    if (__atomic_exchange_n(&c->told_yank, false, __ATOMIC_ACQUIRE)) {
        yank(c);
    }
    if (__atomic_load_n(&c->told_end, __ATOMIC_ACQUIRE) && !c->silence) {
        watch_silence(c);
    }
}

static void tell(NbdClient *c, bool *word)
{
    if (c->word_fd >= 0) {
        __atomic_store_n(word, true, __ATOMIC_RELEASE);
        eventfd_write(c->word_fd, 1);
    }
}

void nbd_client_yank(BlockNode *node)
{
    NbdClient *c = node->state;

    if (c->word_fd >= 0 && block_loop_is_owner(node->loop)) {
        yank(c);
    } else {
        tell(c, &c->told_yank);
    }
}

void nbd_client_vm_ends(BlockNode *node)
{
    NbdClient *c = node->state;

    tell(c, &c->told_end);
}

static void watch_words(NbdClient *c)
{
    c->word = block_fd_add(c->node->loop, c->word_fd, EPOLLIN, on_word, c);
}

/* Unlike a manager's word this is not for ever. */
void nbd_client_cut_off(BlockNode *node, const char *why)
{
    NbdClient *c = node->state;

    if (c->conn) {
        nbd_client_lost(c, why);
    }
    stop_waiting(c);
    on_give_up(c);
}

/* Those that nobody waits for end now. */
void nbd_client_end_requests(NbdClient *c)
{
    block_fd_remove(g_steal_pointer(&c->source));
    nbd_conn_free(c->conn);
    c->conn = NULL;
    nbd_client_io_reset(c);
    on_give_up(c);
    while (nbd_client_ahead_pending(c)) {
        block_loop_wait(c->node->loop);
    }
}

/* ---- the owner's loop ----------------------------------------------------------------------------- */

bool nbd_client_begin(NbdClient *c, GError **err)
{
    c->word_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->word_fd < 0) {
        return error_set_errno(err, errno, "no descriptor for what ends a wait for an NBD server");
    }
    nbd_client_attach(c);
    return true;
}

void nbd_client_attach(NbdClient *c)
{
    c->give_up = block_timer_new(c->node->loop, on_give_up, c);
    watch_words(c);
    if (c->told_end) {
        watch_silence(c);
    }
    c->failing |= !c->conn; /* nobody waits in a drained section */
    if (c->conn) {
        nbd_client_watch(c);
    }
    if (c->attempt) {
        attempt_watch(c);
    }
}

void nbd_client_detach(NbdClient *c)
{
    block_fd_remove(g_steal_pointer(&c->source));
    block_fd_remove(g_steal_pointer(&c->attempt_source));
    block_fd_remove(g_steal_pointer(&c->word));
    block_timer_free(g_steal_pointer(&c->give_up));
    block_timer_free(g_steal_pointer(&c->silence));
    c->patient = false;
}
