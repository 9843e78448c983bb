/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/thread.h"
#include "util/trace.h"

#define HOSTS_MAX 4

struct HostLookup {
    int refs;                /* atomic: the loop's side and the thread */
    unsigned n;
    char *names[HOSTS_MAX];  /* NULL: no name */
    int done_fd;             /* eventfd, written by the thread as its last act */
    /* ---- the thread's until done_fd tells ---- */
    char *lists[HOSTS_MAX];
    GError *err;
    /* ---- the loop's ---- */
    char **hosts[HOSTS_MAX];
    LoopFd *source;
    HostLookupDone *done;
    void *opaque;
};

static void lookup_unref(HostLookup *l)
{
    if (!g_atomic_int_dec_and_test(&l->refs)) {
        return;
    }
    for (unsigned i = 0; i < l->n; i++) {
        g_free(l->names[i]);
        g_free(l->lists[i]);
    }
    close(l->done_fd);
    g_clear_error(&l->err);
    g_free(l);
}

bool host_is_name(const char *host) { return *host && !strchr(host, '%') && !g_hostname_is_ip_address(host); }

static void tell_end(HostLookup *l)
{
    const uint64_t one = 1;

    if (write(l->done_fd, &one, sizeof one) < 0) {
        trace(host_lookup_lost, "%d", errno); /* an eventfd that is open takes it */
    }
    lookup_unref(l);
}

/* ---- the thread ------------------------------------------------------------------------------ */

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
        error_set(err, "address '%s' cannot be resolved: %s; "
                       "is the name right? an address in numbers needs no name server", name,
                  ret ? gai_strerror(ret) : "it has no addresses");
        g_string_free(list, true);
        return NULL;
    }
    return g_string_free(list, false);
}

static void *lookup_thread(void *opaque)
{
    HostLookup *l = opaque;

    for (unsigned i = 0; i < l->n && !l->err; i++) {
        l->lists[i] = l->names[i] ? look_up(l->names[i], &l->err) : NULL;
    }
    tell_end(l);
    return NULL;
}

/* ---- the loop's side ---------------------------------------------------------------------------- */

static void lookup_ended(void *opaque, uint32_t events)
{
    HostLookup *l = opaque;

    loop_fd_remove(l->source);
    for (unsigned i = 0; i < l->n && !l->err; i++) {
        if (l->lists[i]) {
            g_free(*l->hosts[i]);
            *l->hosts[i] = g_steal_pointer(&l->lists[i]);
        }
    }
    l->done(l->opaque, g_steal_pointer(&l->err));
    lookup_unref(l);
}

HostLookup *host_lookup_start(Loop *loop, char **const *hosts, unsigned n, HostLookupDone *done, void *opaque)
{
    HostLookup *l = g_new0(HostLookup, 1);

    g_assert(n <= HOSTS_MAX);
    l->refs = 2;
    l->n = n;
    for (unsigned i = 0; i < n; i++) {
        l->hosts[i] = hosts[i];
        l->names[i] = host_is_name(*hosts[i]) ? g_strdup(*hosts[i]) : NULL;
    }
    l->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->done = done;
    l->opaque = opaque;
    l->source = loop_fd_add(loop, l->done_fd, EPOLLIN, lookup_ended, l);
    int errnum = thread_start_detached(lookup_thread, l, 0);
    if (errnum) {
        error_set_errno(&l->err, errnum, "no thread to look names up with");
        tell_end(l);
    }
    return l;
}

void host_lookup_cancel(HostLookup *l)
{
    if (l) {
        loop_fd_remove(l->source);
        lookup_unref(l);
    }
}
