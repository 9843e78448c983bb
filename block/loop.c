/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The block layer's part of an event loop: engines, requests that end "later", descriptors and
 * timers of drivers, the pool of requests; and the wait that serves nothing but these, which drains
 * and synchronous requests use: no monitor command and no device runs inside it.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "block/block_int.h"
#include "util/log.h"

#define POOL_MAX 256
#define READ_BATCH 16 /* gathered while the device has as many */
#define LONG_READ (32 * KIB) /* keeps a device busy for longer than it takes to prepare the next */
#define HEAR_NS (100 * NSEC_PER_MSEC) /* how often a wait of the main loop looks at the monitors */

struct BlockFd {
    BlockLoop *loop;
    int fd;
    uint32_t events;
    LoopFdFn *fn;
    void *opaque;
    LoopFd *source;
};

struct BlockTimer {
    BlockLoop *loop;
    LoopFn *fn;
    void *opaque;
    int64_t deadline;
    LoopTimer *timer;
};

/* ---- messages ------------------------------------------------------------------------------- */

/* Behind what was taken before. */
static void fetch_mail(BlockLoop *l)
{
    BlockMail *sent = __atomic_exchange_n(&l->mail, NULL, __ATOMIC_ACQUIRE), *list = NULL, **tail = &l->mail_in;

    while (sent) { /* the last one first */
        BlockMail *next = sent->next;

        sent->next = list;
        list = sent;
        sent = next;
    }
    while (*tail) {
        tail = &(*tail)->next;
    }
    *tail = list;
}

/* One by one: a message may wait, and finds the others in mail_in. all: those that can wait too. */
static bool take_mail(BlockLoop *l, bool all)
{
    bool any = false;

    fetch_mail(l);
    for (;;) {
        BlockMail **first = &l->mail_in, *mail;

        while (*first && (*first)->can_wait && !all) {
            first = &(*first)->next;
        }
        mail = *first;
        if (!mail) {
            break;
        }
        *first = mail->next;
        mail->fn(mail);
        any = true;
    }
    if (l->mail_in && !loop_timer_pending(l->later_timer)) {
        loop_timer_arm(l->later_timer, 0);
    }
    return any;
}

/* ---- requests that end later ---------------------------------------------------------------- */

/* Ends those that are here now, one by one: a done may wait, and finds the others here. */
static bool run_later(BlockLoop *l)
{
    unsigned budget = 0;
    bool any = l->later != NULL;

    for (BlockIo *io = l->later; io; io = io->next) {
        budget++;
    }
    while (l->later && budget--) {
        BlockIo *io = l->later;

        l->later = io->next;
        if (!l->later) {
            l->later_tail = &l->later;
        }
        if (io->via_finish) {
            io->finish(io, io->result);
        } else {
            io->done(io, io->result);
        }
    }
    return any;
}

static void on_later(void *opaque)
{
    BlockLoop *l = opaque;

    l->ending = true;
    run_later(l);
    if (l->mail_in) {
        take_mail(l, true);
    }
    l->ending = false;
    if (l->later) { /* those that came meanwhile: the loop's others have their turn before */
        loop_timer_arm(l->later_timer, clock_monotonic_ns());
    }
}

void block_loop_finish_now(BlockLoop *l)
{
    const bool before = l->ending;

    l->ending = true;
    run_later(l);
    l->ending = before;
    if (l->later && !before && !loop_timer_pending(l->later_timer)) {
        loop_timer_arm(l->later_timer, 0);
    }
}

static void end_later(BlockLoop *l, BlockIo *io, int result, bool via_finish)
{
    io->result = result;
    io->via_finish = via_finish;
    io->next = NULL;
    *l->later_tail = io;
    l->later_tail = &io->next;
    if (!l->ending && !loop_timer_pending(l->later_timer)) {
        loop_timer_arm(l->later_timer, 0);
    }
}

void block_loop_finish_later(BlockLoop *l, BlockIo *io, int result)
{
    end_later(l, io, result, false);
}

void block_io_finish_done_later(BlockNode *node, BlockIo *io, int result)
{
    end_later(block_io_loop(node, io), io, result, true);
}

void block_io_finish_later(BlockNode *node, BlockIo *io, int result)
{
    block_loop_finish_later(block_io_loop(node, io), io, result);
}

/* ---- the pool ------------------------------------------------------------------------------- */

BlockIo *block_io_new(BlockNode *node)
{
    BlockLoop *l = node->loop;
    BlockIo *io = l->pool;

    if (!io) {
        return g_new0(BlockIo, 1);
    }
    l->pool = io->next;
    l->pool_len--;
    memset(io, 0, sizeof *io);
    return io;
}

void block_io_free(BlockNode *node, BlockIo *io)
{
    BlockLoop *l = node->loop;

    g_free(io->own_iov);
    if (l->pool_len == POOL_MAX) {
        g_free(io);
        return;
    }
    io->next = l->pool;
    l->pool = io;
    l->pool_len++;
}

void block_io_slice(BlockIo *part, const BlockIo *whole, uint64_t pos, uint64_t len)
{
    struct iovec *to = part->inline_iov;
    unsigned first = 0, count = 0;
    uint64_t covered = 0;

    while (first < whole->iov_count && pos >= whole->iov[first].iov_len) {
        pos -= whole->iov[first++].iov_len;
    }
    for (unsigned i = first; i < whole->iov_count && covered < pos + len; i++) {
        covered += whole->iov[i].iov_len;
        count++;
    }
    g_clear_pointer(&part->own_iov, g_free);
    if (count > G_N_ELEMENTS(part->inline_iov)) {
        to = part->own_iov = g_new(struct iovec, count);
    }
    part->len = len;
    part->alone = whole->alone;
    part->iov = to;
    part->iov_count = count;
    for (unsigned i = 0; i < count; i++) {
        const struct iovec *from = &whole->iov[first + i];
        size_t n = MIN(from->iov_len - pos, len);

        to[i] = (struct iovec){(char *)from->iov_base + pos, n};
        len -= n;
        pos = 0;
    }
}

/* ---- descriptors and timers ----------------------------------------------------------------- */

static void on_fd(void *opaque, uint32_t events)
{
    BlockFd *source = opaque;

    source->fn(source->opaque, events);
}

BlockFd *block_fd_add(BlockLoop *loop, int fd, uint32_t events, LoopFdFn *fn, void *opaque)
{
    BlockFd *source = g_new0(BlockFd, 1);

    *source = (BlockFd){.loop = loop, .fd = fd, .events = events, .fn = fn, .opaque = opaque};
    source->source = loop_fd_add(loop->loop, fd, events, on_fd, source);
    g_ptr_array_add(loop->fds, source);
    return source;
}

void block_fd_set_events(BlockFd *source, uint32_t events)
{
    source->events = events;
    loop_fd_set_events(source->source, events);
}

void block_fd_remove(BlockFd *source)
{
    if (source) {
        loop_fd_remove(source->source);
        g_ptr_array_remove_fast(source->loop->fds, source);
        g_free(source);
    }
}

static void on_timer(void *opaque)
{
    BlockTimer *timer = opaque;

    g_ptr_array_remove_fast(timer->loop->timers, timer);
    timer->fn(timer->opaque);
}

BlockTimer *block_timer_new(BlockLoop *loop, LoopFn *fn, void *opaque)
{
    BlockTimer *timer = g_new0(BlockTimer, 1);

    *timer = (BlockTimer){.loop = loop, .fn = fn, .opaque = opaque};
    timer->timer = loop_timer_new(loop->loop, on_timer, timer);
    return timer;
}

void block_timer_cancel(BlockTimer *timer)
{
    if (loop_timer_pending(timer->timer)) {
        loop_timer_cancel(timer->timer);
        g_ptr_array_remove_fast(timer->loop->timers, timer);
    }
}

void block_timer_arm(BlockTimer *timer, int64_t deadline_ns)
{
    block_timer_cancel(timer);
    timer->deadline = deadline_ns;
    loop_timer_arm(timer->timer, deadline_ns);
    g_ptr_array_add(timer->loop->timers, timer);
}

void block_timer_free(BlockTimer *timer)
{
    if (timer) {
        block_timer_cancel(timer);
        loop_timer_free(timer->timer);
        g_free(timer);
    }
}

/* ---- engines -------------------------------------------------------------------------------- */

BlockEngine *block_engine(BlockLoop *loop, BlockAio kind, GError **err)
{
    static BlockEngine *(*const make[BLOCK_AIO_KINDS])(BlockLoop *, GError **) = {
        [BLOCK_AIO_THREADS] = block_engine_threads_new,
        [BLOCK_AIO_NATIVE] = block_engine_aio_new,
        [BLOCK_AIO_IO_URING] = block_engine_uring_new,
        [BLOCK_AIO_DEPUTED] = block_engine_deputed_new,
    };
    static const char *const names[] = {"threads", "native", "io_uring"};
    g_autoptr(GError) why = NULL;

    if (!loop->engines[kind] && !loop->engine_refused[kind]) {
        loop->engines[kind] = make[kind](loop, &why);
    }
    if (loop->engines[kind]) {
        return loop->engines[kind];
    }
    if (kind == BLOCK_AIO_THREADS) {
        g_propagate_error(err, g_steal_pointer(&why));
        return NULL;
    }
    if (!loop->engine_refused[kind]) {
        loop->engine_refused[kind] = true;
        if (kind != BLOCK_AIO_DEPUTED && !__atomic_exchange_n(&loop->state->engine_said[kind], true, __ATOMIC_RELAXED)) {
            report_warning("aio=%s is not available here, using the thread pool: %s", names[kind], why->message);
        }
    }
    return block_engine(loop, BLOCK_AIO_THREADS, err);
}

unsigned block_loop_in_flight(const BlockLoop *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < BLOCK_AIO_KINDS; i++) {
        n += l->engines[i] ? l->engines[i]->in_flight : 0;
    }
    return n;
}

bool block_loop_is_idle(const BlockLoop *l) { return !block_loop_in_flight(l); }

/*
 * A device without work shall not wait until several short reads are prepared: it gets the first alone, then as many as it has
 * already. For a write, which ends in the device's cache, for a long request, which keeps the device busy by itself, and for one
 * that a worker has to be woken for, each submission more costs more than it brings (docs/measurements.md).
 */
static unsigned usual_batch(const BlockLoop *l, const BlockIo *io, unsigned given)
{
    const bool by_loop = io->engine && (io->engine == l->engines[BLOCK_AIO_NATIVE] || io->engine == l->engines[BLOCK_AIO_IO_URING]);

    return by_loop && io->op == BLOCK_READ && io->len < LONG_READ ? CLAMP(given, 1, READ_BATCH) : BLOCK_ENGINE_BATCH;
}

unsigned block_engine_batch(const BlockLoop *loop, const BlockIo *io, unsigned given)
{
    unsigned wanted = loop_io_hints(loop->loop).batch;

    if (!wanted || (io->batch && io->batch < wanted)) {
        wanted = io->batch;
    }
    return wanted ? wanted : usual_batch(loop, io, given);
}

void block_loop_plug(BlockLoop *loop)
{
    loop->plugged++;
}

void block_loop_unplug(BlockLoop *loop)
{
    if (loop->plugged == 1) { /* engines gather these, too */
        block_merge_flush(loop);
    }
    if (--loop->plugged) {
        return;
    }
    for (unsigned i = 0; i < BLOCK_AIO_KINDS; i++) {
        if (loop->engines[i] && loop->engines[i]->ops->flush) {
            loop->engines[i]->ops->flush(loop->engines[i]);
        }
    }
}

/* ---- being sent messages --------------------------------------------------------------------- */

static void on_mail(void *opaque, uint32_t events)
{
    BlockLoop *l = opaque;
    eventfd_t count;

    (void)events;
    if (eventfd_read(l->mail_source->fd, &count) == 0) {
        take_mail(l, !l->waiting || l->draining);
    }
}

static bool mail_look(void *opaque)
{
    BlockLoop *l = opaque;

    return __atomic_load_n(&l->mail, __ATOMIC_RELAXED) && take_mail(l, true);
}

static void mail_begin(void *opaque)
{
    __atomic_store_n(&((BlockLoop *)opaque)->mail_looks, true, __ATOMIC_SEQ_CST);
}

/* Who sends while mail_looks is still seen does so before the look. */
static bool mail_end(void *opaque)
{
    BlockLoop *l = opaque;

    __atomic_store_n(&l->mail_looks, false, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&l->mail, __ATOMIC_SEQ_CST) && take_mail(l, true);
}

static const LoopPollOps mail_ops = {.look = mail_look, .begin = mail_begin, .end = mail_end};

bool block_loop_open_mail(BlockLoop *l, GError **err)
{
    int fd;

    if (l->mail_source) {
        return true;
    }
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        return error_set_errno(err, errno, "no descriptor for messages between threads of disks");
    }
    l->mail_source = block_fd_add(l, fd, EPOLLIN, on_mail, l);
    l->mail_poll = l->is_main ? NULL : loop_poll_add(l->loop, &mail_ops, l);
    return true;
}

static void close_mail(BlockLoop *l)
{
    if (l->mail_source) {
        take_mail(l, true);
        loop_poll_remove(g_steal_pointer(&l->mail_poll));
        close(l->mail_source->fd);
        block_fd_remove(g_steal_pointer(&l->mail_source));
    }
}

void block_loop_send(BlockLoop *l, BlockMail *mail)
{
    BlockMail *before = __atomic_load_n(&l->mail, __ATOMIC_RELAXED);

    do {
        mail->next = before;
    } while (!__atomic_compare_exchange_n(&l->mail, &before, mail, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    if (!before && !__atomic_load_n(&l->mail_looks, __ATOMIC_SEQ_CST)) { /* mail is not ours any more */
        eventfd_write(l->mail_source->fd, 1);
    }
}

/* ---- waiting -------------------------------------------------------------------------------- */

static bool poll_engines(BlockLoop *l)
{
    bool any = false;

    for (unsigned i = 0; i < BLOCK_AIO_KINDS; i++) {
        BlockEngine *engine = l->engines[i];

        if (engine && engine->in_flight) {
            if (engine->ops->flush) {
                engine->ops->flush(engine);
            }
            any |= engine->ops->poll(engine);
        }
    }
    return any;
}

/* Fires the first timer that is due. */
static bool run_due_timer(BlockLoop *l, int64_t *next)
{
    int64_t now = clock_monotonic_ns();

    *next = INT64_MAX;
    for (unsigned i = 0; i < l->timers->len; i++) {
        BlockTimer *timer = g_ptr_array_index(l->timers, i);

        if (timer->deadline <= now) {
            block_timer_cancel(timer);
            timer->fn(timer->opaque);
            return true;
        }
        *next = MIN(*next, timer->deadline - now);
    }
    return false;
}

/* Calls those that have something; a callback may remove any of them. */
static void dispatch_fds(BlockLoop *l, BlockFd **fds, const struct pollfd *polled, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (polled[i].revents && g_ptr_array_find(l->fds, fds[i], NULL)) {
            fds[i]->fn(fds[i]->opaque, (uint32_t)polled[i].revents); /* EPOLLx == POLLx */
        }
    }
}

/* A wait that began while the loop looked by itself: senders have to wake it now. */
static bool look_for_mail(BlockLoop *l)
{
    if (!l->mail_source) {
        return false;
    }
    __atomic_store_n(&l->mail_looks, false, __ATOMIC_SEQ_CST);
    return (__atomic_load_n(&l->mail, __ATOMIC_SEQ_CST) || (l->mail_in && l->draining)) && take_mail(l, l->draining);
}

/*
 * A wait that a silent server may make endless: the monitors' yank is heard in it, as in QEMU. Anything else that its peers say
 * waits. l: the main loop's; the VM lock is held.
 */
static void hear_monitors(BlockLoop *l)
{
    Vm *vm = l->state->vm;
    const int64_t now = clock_monotonic_ns();

    if (now - l->heard >= HEAR_NS) {
        l->heard = now;
        vm->hear(vm);
    }
}

static bool can_hear(const BlockLoop *l) { return l->is_main && l->state->vm->hear; }

bool block_loop_wait(BlockLoop *l)
{
    unsigned n;
    g_autofree struct pollfd *polled = NULL;
    g_autofree BlockFd **fds = NULL;
    struct timespec ts;
    int64_t next;

    block_merge_flush(l);
    if (l->stood_in_for && take_mail(block_loop_main(l->state->vm), false)) {
        return true;
    }
    if (can_hear(l)) {
        hear_monitors(l);
    }
    if (look_for_mail(l) || run_later(l) || poll_engines(l) || run_due_timer(l, &next)) {
        return true;
    }
    n = l->fds->len;
    if (block_loop_is_idle(l) && next == INT64_MAX) {
        /* Descriptors of engines are idle; those of drivers, and messages, may be what is waited for. */
        unsigned own = 0;

        for (unsigned i = 0; i < BLOCK_AIO_KINDS; i++) {
            own += l->engines[i] != NULL;
        }
        if (n <= own) {
            return false;
        }
    }
    polled = g_new0(struct pollfd, n);
    fds = g_new(BlockFd *, n);
    for (unsigned i = 0; i < n; i++) {
        fds[i] = g_ptr_array_index(l->fds, i);
        polled[i] = (struct pollfd){.fd = fds[i]->fd, .events = (short)fds[i]->events};
    }
    next = can_hear(l) ? MIN(next, HEAR_NS) : next;
    ts = (struct timespec){next / NSEC_PER_SEC, next % NSEC_PER_SEC};
    l->waiting++;
    if (ppoll(polled, n, next == INT64_MAX ? NULL : &ts, NULL) > 0) {
        dispatch_fds(l, fds, polled, n);
    }
    l->waiting--;
    return true;
}

void block_loop_wait_mail(BlockLoop *l)
{
    struct pollfd polled = {.fd = l->mail_source->fd, .events = POLLIN};
    eventfd_t count;

    if (can_hear(l)) {
        hear_monitors(l);
    }
    if ((__atomic_load_n(&l->mail, __ATOMIC_RELAXED) && take_mail(l, false)) ||
        poll(&polled, 1, can_hear(l) ? HEAR_NS / NSEC_PER_MSEC : -1) <= 0) {
        return;
    }
    eventfd_read(polled.fd, &count);
    take_mail(l, false);
}

void block_cond_wait(Vm *vm, pthread_cond_t *cond, pthread_mutex_t *lock)
{
    BlockLoop *hears = vm_locked(vm) && vm->hear ? block_loop_main(vm) : NULL;
    struct timespec until;

    if (!hears) {
        pthread_cond_wait(cond, lock);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += HEAR_NS;
    until.tv_sec += until.tv_nsec / NSEC_PER_SEC;
    until.tv_nsec %= NSEC_PER_SEC;
    if (pthread_cond_timedwait(cond, lock, &until) == ETIMEDOUT) {
        pthread_mutex_unlock(lock);
        hear_monitors(hears);
        pthread_mutex_lock(lock);
    }
}

/* ---- calls from other threads --------------------------------------------------------------- */

typedef struct Call {
    LoopFn *fn;
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
    bool told;       /* by home's message; done: who sent it touches home no more */
    BlockLoop *home; /* whose messages are served meanwhile; NULL: none */
    BlockMail ended;
} Call;

static void on_ended(BlockMail *mail)
{
    container_of(mail, Call, ended)->told = true;
}

static void run_call(void *opaque)
{
    Call *call = opaque;

    call->fn(call->opaque);
    if (call->home) {
        block_loop_send(call->home, &call->ended);
    }
    pthread_mutex_lock(&call->lock);
    call->done = true;
    pthread_cond_signal(&call->cond);
    pthread_mutex_unlock(&call->lock);
}

bool block_loop_is_owner(const BlockLoop *loop)
{
    return loop->is_main ? vm_locked(loop->state->vm) : pthread_equal(loop->thread, pthread_self());
}

/* home: devices of the main loop that submit through gates: what they wait for, and what waits for them, comes as messages. */
static void call_and_wait(Vm *vm, BlockLoop *home, Loop *loop, LoopFn *fn, void *opaque)
{
    Call call = {.fn = fn, .opaque = opaque, .home = home, .ended = {.fn = on_ended}};

    pthread_mutex_init(&call.lock, NULL);
    pthread_cond_init(&call.cond, NULL);
    loop_post(loop, run_call, &call);
    while (home && !call.told) {
        block_loop_wait_mail(home);
    }
    pthread_mutex_lock(&call.lock);
    while (!call.done) {
        block_cond_wait(vm, &call.cond, &call.lock);
    }
    pthread_mutex_unlock(&call.lock);
    pthread_cond_destroy(&call.cond);
    pthread_mutex_destroy(&call.lock);
}

void block_loop_call(BlockLoop *loop, LoopFn *fn, void *opaque)
{
    BlockLoop *home = loop->is_main ? NULL : block_loop_main(loop->state->vm);

    if (block_loop_is_owner(loop)) {
        fn(opaque);
    } else if (loop->is_main) {
        vm_lock(loop->state->vm);
        fn(opaque);
        vm_unlock(loop->state->vm);
    } else {
        Vm *vm = loop->state->vm;

        call_and_wait(vm, vm_locked(vm) && home->mail_source ? home : NULL, loop->loop, fn, opaque);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static void loop_begin(void *opaque)
{
    BlockLoop *l = opaque;

    l->thread = pthread_self();
    l->later_tail = &l->later;
    l->later_timer = loop_timer_new(l->loop, on_later, l);
    l->fds = g_ptr_array_new();
    l->timers = g_ptr_array_new();
    block_engine(l, BLOCK_AIO_THREADS, &l->error);
}

static void loop_end(void *opaque)
{
    BlockLoop *l = opaque;

    close_mail(l);
    for (unsigned i = BLOCK_AIO_KINDS; i-- > 0;) {
        if (l->engines[i]) {
            l->engines[i]->ops->free(l->engines[i]);
        }
    }
    g_free(l->merge);
    loop_timer_free(l->later_timer);
    g_ptr_array_free(l->fds, TRUE);
    g_ptr_array_free(l->timers, TRUE);
    while (l->pool) {
        BlockIo *io = l->pool;

        l->pool = io->next;
        g_free(io);
    }
}

/* The thread is gone: whoever frees the loop stands in for it. */
static void on_loop_free(void *opaque)
{
    BlockLoop *l = opaque;

    l->thread = pthread_self();
    l->stood_in_for = true;
    block_loop_release(l);
}

static unsigned free_index(const BlockState *s)
{
    unsigned index = 0;

    for (unsigned i = 0; i < s->loops->len; i++) {
        if (((const BlockLoop *)g_ptr_array_index(s->loops, i))->index == index) {
            index++;
            i = UINT_MAX; /* from the first again */
        }
    }
    return index;
}

BlockLoop *block_loop_get(Vm *vm, Loop *loop, GError **err)
{
    BlockState *s = block_state(vm);
    BlockLoop *l;

    for (unsigned i = 0; i < s->loops->len; i++) {
        l = g_ptr_array_index(s->loops, i);
        if (l->loop == loop) {
            return l;
        }
    }
    l = g_new0(BlockLoop, 1);
    l->state = s;
    l->loop = loop;
    l->is_main = loop == vm->loop;
    l->index = free_index(s);
    if (l->is_main) {
        loop_begin(l);
    } else {
        call_and_wait(vm, NULL, loop, loop_begin, l);
    }
    if (l->error) {
        g_propagate_error(err, l->error);
        block_loop_call(l, loop_end, l);
        g_free(l);
        return NULL;
    }
    g_ptr_array_add(s->loops, l);
    if (!l->is_main) {
        loop_on_free(loop, on_loop_free, l);
    }
    return l;
}

BlockLoop *block_loop_main(Vm *vm)
{
    return g_ptr_array_index(block_state(vm)->loops, 0);
}

void block_loop_release(BlockLoop *l)
{
    BlockState *s = l->state;

    if (!l->is_main) {
        for (unsigned i = 0; i < s->backends->len; i++) {
            BlockBackend *blk = g_ptr_array_index(s->backends, i);

            blk_root_release_loop(blk, l);
            if (!blk_node(blk) && blk_loop(blk) == l->loop) {
                blk_root_set_loop(blk, block_loop_main(s->vm));
            }
        }
        for (unsigned i = 0; i < s->nodes->len; i++) {
            BlockNode *node = g_ptr_array_index(s->nodes, i);

            if (node->loop == l) {
                block_node_set_loop(node, block_loop_main(s->vm));
            }
        }
    }
    block_loop_call(l, loop_end, l);
    loop_off_free(l->loop, on_loop_free, l);
    g_ptr_array_remove(s->loops, l);
    g_free(l);
}
