/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host names looked up by a thread, because the resolver takes the time that it wants and the loop must not wait.
 */
#ifndef UTIL_LOOKUP_H
#define UTIL_LOOKUP_H

#include <stdbool.h>

#include "util/error.h"
#include "util/loop.h"

typedef struct HostLookup HostLookup;
/* err: a name that is unknown, the callee's; NULL: all are replaced. */
typedef void HostLookupDone(void *opaque, GError *err);

/* Is this a name, for which a server may be asked? Addresses and "" (any) are none. */
bool host_is_name(const char *host);
/*
 * hosts: n pointers to strings (g_free), which stay where they are until done has run or the lookup is cancelled. Then each
 * that was a name is the list of its addresses, with blanks between, which sockaddr_resolve understands. done runs once, in
 * the loop's thread and not before this returns, unless it is cancelled. n at most 4.
 */
HostLookup *host_lookup_start(Loop *loop, char **const *hosts, unsigned n, HostLookupDone *done, void *opaque);
/* done does not run any more. NULL is fine. The thread stays until the resolver has answered. */
void host_lookup_cancel(HostLookup *lookup);

#endif
