/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/sockaddr.h"
#include "util/thread.h"
#include "util/trace.h"

/* ---- names --------------------------------------------------------------------------------------- */

struct HostNames {
    GPtrArray *names; /* char * */
    GPtrArray *lists; /* char *: what each was looked up to; NULL: not yet */
};

bool host_is_name(const char *host) { return *host && !strchr(host, '%') && !g_hostname_is_ip_address(host); }

HostNames *host_names_new(void)
{
    HostNames *names = g_new0(HostNames, 1);

    names->names = g_ptr_array_new_with_free_func(g_free);
    names->lists = g_ptr_array_new_with_free_func(g_free);
    return names;
}

void host_names_free(HostNames *names)
{
    if (names) {
        g_ptr_array_free(names->names, TRUE);
        g_ptr_array_free(names->lists, TRUE);
        g_free(names);
    }
}

static bool find(const HostNames *names, const char *host, unsigned *index)
{
    return g_ptr_array_find_with_equal_func(names->names, host, g_str_equal, index);
}

void host_names_add(HostNames *names, const char *host)
{
    if (host && host_is_name(host) && !find(names, host, NULL)) {
        g_ptr_array_add(names->names, g_strdup(host));
        g_ptr_array_add(names->lists, NULL);
    }
}

bool host_names_any(const HostNames *names) { return names->names->len > 0; }

const char *host_names_get(const HostNames *names, const char *host)
{
    unsigned i;

    return names && find(names, host, &i) && names->lists->pdata[i] ? names->lists->pdata[i] : host;
}

/* ---- the thread ------------------------------------------------------------------------------ */

struct HostWait {
    int refs;                /* atomic: the loop's side and the thread */
    int done_fd;             /* eventfd, written by the thread as its last act */
    HostNames *names;        /* its names are constant; the lists are the thread's until done_fd tells */
    GError *err;             /* the thread's until then */
    /* ---- the loop's ---- */
    GPtrArray *waiting;      /* this one stands in it; NULL: in none */
    LoopFd *source;
    HostWaitDone *done;
    void *opaque;
};

static void wait_unref(HostWait *w)
{
    if (!g_atomic_int_dec_and_test(&w->refs)) {
        return;
    }
    host_names_free(w->names);
    close(w->done_fd);
    g_clear_error(&w->err);
    g_free(w);
}

static void tell_end(HostWait *w)
{
    const uint64_t one = 1;

    if (write(w->done_fd, &one, sizeof one) < 0) {
        trace(host_lookup_lost, "%d", errno); /* an eventfd that is open takes it */
    }
    wait_unref(w);
}

/* NULL with *err. */
static char *look_up(const char *name, GError **err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    GString *list = g_string_new(NULL);
    struct addrinfo *found = NULL;
    int ret = getaddrinfo(name, NULL, &hints, &found);

    for (const struct addrinfo *ai = found; ret == 0 && ai; ai = ai->ai_next) {
        char text[NI_MAXHOST];

        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0) {
            g_string_append_printf(list, "%s%s", list->len ? " " : "", text);
        }
    }
    if (found) {
        freeaddrinfo(found);
    }
    if (!list->len) {
        sockaddr_unresolved(name, ret, err);
        g_string_free(list, true);
        return NULL;
    }
    return g_string_free(list, false);
}

bool host_names_look_up(HostNames *names, GError **err)
{
    bool ok = true;

    for (unsigned i = 0; i < names->names->len && ok; i++) {
        names->lists->pdata[i] = look_up(names->names->pdata[i], err);
        ok = names->lists->pdata[i] != NULL;
    }
    return ok;
}

static void *lookup_thread(void *opaque)
{
    HostWait *w = opaque;

    host_names_look_up(w->names, &w->err);
    tell_end(w);
    return NULL;
}

/* ---- the loop's side ---------------------------------------------------------------------------- */

/* err: the callee's. */
static void end(HostWait *w, const HostNames *names, GError *err)
{
    loop_fd_remove(w->source);
    if (w->waiting) {
        g_ptr_array_remove(w->waiting, w);
    }
    w->done(w->opaque, names, err);
    wait_unref(w);
}

static void lookup_ended(void *opaque, uint32_t events)
{
    HostWait *w = opaque;

    end(w, w->names, g_steal_pointer(&w->err));
}

HostWait *host_wait(Loop *loop, HostNames *names, GPtrArray *waiting, HostWaitDone *done, void *opaque)
{
    if (!host_names_any(names)) {
        done(opaque, names, NULL);
        host_names_free(names);
        return NULL;
    }
    HostWait *w = g_new(HostWait, 1);

    *w = (HostWait){.refs = 2, .names = names, .waiting = waiting, .done = done, .opaque = opaque};
    w->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    w->source = loop_fd_add(loop, w->done_fd, EPOLLIN, lookup_ended, w);
    if (waiting) {
        g_ptr_array_add(waiting, w);
    }
    int errnum = thread_start_detached(lookup_thread, w, 0);
    if (errnum) {
        error_set_errno(&w->err, errnum, "no thread to look names up with");
        tell_end(w);
    }
    return w;
}

void host_wait_cancel(HostWait *w, const char *why)
{
    GError *err = NULL;

    if (w) {
        error_set(&err, "%s", why);
        end(w, NULL, err);
    }
}

void host_waits_cancel(GPtrArray *waiting, const char *why)
{
    while (waiting->len) {
        host_wait_cancel(waiting->pdata[0], why);
    }
}
