/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/ram_fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/vm.h"
#include "util/log.h"

#define WATCHED_MAX 256
#define PAGE UINT64_C(4096)

/* The handler reads host and end; end is set last and cleared first. */
typedef struct Watched {
    _Atomic(uintptr_t) host, end; /* end 0: the entry is free */
    uint64_t page;                /* bytes: what can be replaced at once */
    int notify;                   /* eventfd of its VM */
    _Atomic(uint64_t) bad;        /* offset + 1 of a page that was replaced; 0: none */
    atomic_int code;              /* si_code */
    Vm *vm;
    LoopFd *source;               /* of notify */
    RamBlock *block;
} Watched;

static Watched watched[WATCHED_MAX];
static atomic_uint watched_end; /* entries from here on were never used */
static pthread_mutex_t watched_lock = PTHREAD_MUTEX_INITIALIZER; /* writers of the table */
static bool installed;

/* ---- the handler: async-signal-safe ------------------------------------------------------ */

static Watched *find(uintptr_t addr)
{
    for (unsigned i = 0; i < atomic_load(&watched_end); i++) {
        uintptr_t end = atomic_load(&watched[i].end);

        if (addr < end && addr >= atomic_load(&watched[i].host)) {
            return &watched[i];
        }
    }
    return NULL;
}

static bool replace_page(const Watched *w, uintptr_t addr)
{
    void *page = (void *)align_down(addr, w->page);

    return mmap(page, w->page, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == page;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    const int saved = errno;
    const uint64_t one = 1;
    const uintptr_t addr = (uintptr_t)info->si_addr;
    Watched *w = info->si_code > 0 ? find(addr) : NULL;

    /* BUS_MCEERR_AO: the kernel took the page away before anyone touched it. */
    if (!w || (info->si_code != BUS_MCEERR_AO && !replace_page(w, addr))) {
        signal(SIGBUS, SIG_DFL); /* not ours: the instruction runs again, and this time it kills */
        if (info->si_code <= 0) {
            raise(SIGBUS);
        }
        return;
    }
    atomic_store(&w->code, info->si_code);
    atomic_store(&w->bad, addr - atomic_load(&w->host) + 1);
    if (write(w->notify, &one, sizeof one) < 0) {
        /* The counter is full: the main loop is told already. */
    }
    errno = saved;
}

/* ---- the main loop: tells and stops --------------------------------------------------------- */

static void report(const Watched *w, uint64_t offset)
{
    const char *id = w->block->id;
    int code = atomic_load(&w->code);

    if (code == BUS_MCEERR_AO) {
        report_warning("the host lost a page of guest memory '%s' at offset 0x%" PRIx64
                       " to a memory error; the VM stops when the guest uses it", id, offset);
        return;
    }
    if (code == BUS_MCEERR_AR) {
        report_error("guest memory '%s' is broken at offset 0x%" PRIx64 " (memory error of the host); the VM is stopped",
                     id, offset);
    } else {
        report_error("guest memory '%s' cannot be accessed at offset 0x%" PRIx64 ": its file was truncated, its file "
                     "system is full or the host has no huge page left; the VM is stopped", id, offset);
    }
    vm_request_stop(w->vm, RUN_STATE_INTERNAL_ERROR);
}

static void on_notify(void *opaque, uint32_t events)
{
    const int fd = GPOINTER_TO_INT(opaque);
    uint64_t count;

    if (read(fd, &count, sizeof count) < 0) {
        return;
    }
    for (unsigned i = 0; i < atomic_load(&watched_end); i++) {
        Watched *w = &watched[i];
        uint64_t bad = atomic_load(&w->end) && w->notify == fd ? atomic_exchange(&w->bad, 0) : 0;

        if (bad) {
            report(w, bad - 1);
        }
    }
}

/* ---- the table ----------------------------------------------------------------------------------- */

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};

    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
    installed = true;
}

static Watched *first_of(const Vm *vm)
{
    for (unsigned i = 0; i < atomic_load(&watched_end); i++) {
        if (atomic_load(&watched[i].end) && watched[i].vm == vm) {
            return &watched[i];
        }
    }
    return NULL;
}

/* One eventfd a VM, shared by its blocks. */
static bool share_notify(Watched *w, Vm *vm)
{
    const Watched *other = first_of(vm);

    w->notify = other ? other->notify : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->source = other ? other->source
              : w->notify < 0 ? NULL
                              : loop_fd_add(vm->loop, w->notify, EPOLLIN, on_notify, GINT_TO_POINTER(w->notify));
    return w->source;
}

static Watched *free_entry(void)
{
    unsigned end = atomic_load(&watched_end);

    for (unsigned i = 0; i < end; i++) {
        if (!atomic_load(&watched[i].end)) {
            return &watched[i];
        }
    }
    if (end == WATCHED_MAX) {
        return NULL;
    }
    atomic_store(&watched_end, end + 1);
    return &watched[end];
}

void ram_fault_watch(Vm *vm, RamBlock *block)
{
    pthread_mutex_lock(&watched_lock);
    Watched *w = free_entry();
    if (w && share_notify(w, vm)) {
        if (!installed) {
            install();
        }
        w->page = block->page ? block->page : PAGE;
        w->vm = vm;
        w->block = block;
        atomic_store(&w->bad, 0);
        atomic_store(&w->host, (uintptr_t)block->host);
        atomic_store(&w->end, (uintptr_t)block->host + block->size);
        block->watched = true;
    }
    pthread_mutex_unlock(&watched_lock);
}

typedef struct Notify {
    LoopFd *source;
    int fd;
} Notify;

static void end_notify(void *opaque)
{
    Notify *n = opaque;

    loop_fd_remove(n->source);
    close(n->fd);
    g_free(n);
}

/* An iothread may have had the last block of a module that was taken out: the main loop is not its to change. */
static void drop_notify(const Watched *w)
{
    Notify *n = g_new(Notify, 1);

    *n = (Notify){w->source, w->notify};
    if (vm_locked(w->vm)) {
        end_notify(n);
    } else {
        loop_post(w->vm->loop, end_notify, n);
    }
}

void ram_fault_unwatch(RamBlock *block)
{
    pthread_mutex_lock(&watched_lock);
    for (unsigned i = 0; i < atomic_load(&watched_end); i++) {
        Watched *w = &watched[i];

        if (w->block == block) {
            atomic_store(&w->end, 0);
            w->block = NULL;
            if (!first_of(w->vm)) {
                drop_notify(w);
            }
        }
    }
    pthread_mutex_unlock(&watched_lock);
}
