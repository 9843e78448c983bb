/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host names looked up by a thread, because the resolver takes the time that it wants and the loop must not wait.
 *
 * Who makes something of a user's options while the machine runs collects the names in them and goes on in host_wait's
 * done, where host_names_get tells the addresses: net/names.c, chardev/char_add.c, nbd/server.c. Block nodes: block/slow.h.
 */
#ifndef UTIL_LOOKUP_H
#define UTIL_LOOKUP_H

#include <stdbool.h>

#include "util/error.h"
#include "util/loop.h"

/* Names, each once, and what they were looked up to. */
typedef struct HostNames HostNames;

/* Is this a name, for which a server may be asked? Addresses and "" (any) are none. */
bool host_is_name(const char *host);
HostNames *host_names_new(void);
/* NULL is fine. */
void host_names_free(HostNames *names);
/* NULL and what is no name stay out. */
void host_names_add(HostNames *names, const char *host);
bool host_names_any(const HostNames *names);
/* The addresses of a name that was looked up, with blanks between, which sockaddr_resolve understands; anything else is
 * host itself. names may be NULL. Lives as long as both. */
const char *host_names_get(const HostNames *names, const char *host);

/* Looks all of them up, and waits. Any thread; nobody else uses names meanwhile. */
bool host_names_look_up(HostNames *names, GError **err);

typedef struct HostWait HostWait;
/* names: all looked up; the caller's. err: a name that is unknown, or who cancelled, the callee's. */
typedef void HostWaitDone(void *opaque, const HostNames *names, GError *err);

/*
 * Looks names (taken over) up. done runs once, in the loop's thread: at once when there are none (NULL is returned), else later.
 * waiting (NULL: none): a list that holds this one until then.
 */
HostWait *host_wait(Loop *loop, HostNames *names, GPtrArray *waiting, HostWaitDone *done, void *opaque);
/* done runs now, with this error. NULL is fine. The thread stays until the resolver has answered. */
void host_wait_cancel(HostWait *wait, const char *why);
/* All of a list's. */
void host_waits_cancel(GPtrArray *waiting, const char *why);

#endif
