/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's first connection. Looking up the server's name, connecting and the handshake are each done by a thread
 * where a monitor's command opens the node (block/slow.h).
 */
#include <poll.h>

#include "block/slow.h"
#include "core/vm.h"
#include "nbd/client.h"

/* ---- the name ------------------------------------------------------------------------------- */

typedef struct NameTask {
    BlockSlowTask task;
    char *host;
    HostNames *names; /* of it alone */
} NameTask;

static bool name_run(BlockSlowTask *task, int cancel_fd, GError **err)
{
    return host_names_look_up(container_of(task, NameTask, task)->names, err);
}

static bool name_same(const BlockSlowTask *a, const BlockSlowTask *b)
{
    return !strcmp(container_of(a, NameTask, task)->host, container_of(b, NameTask, task)->host);
}

static void name_free(BlockSlowTask *task)
{
    NameTask *t = container_of(task, NameTask, task);

    g_free(t->host);
    host_names_free(t->names);
    g_free(t);
}

static const BlockSlowOps name_ops = {.run = name_run, .same = name_same, .free = name_free};

static bool look_up(NbdClient *c, GError **err)
{
    NbdAddress *a = &c->setup.address;
    NameTask *t;
    BlockSlowTask *done;

    if (a->type != NBD_INET || !host_is_name(a->host)) {
        return true;
    }
    t = g_new0(NameTask, 1);
    t->task.ops = &name_ops;
    t->host = g_strdup(a->host);
    t->names = host_names_new();
    host_names_add(t->names, a->host);
    done = block_slow_get(c->node->vm, &t->task, err);
    if (!done) {
        g_prefix_error(err, "NBD server %s: ", c->where);
        return false;
    }
    nbd_address_known(a, container_of(done, NameTask, task)->names);
    block_slow_keep(c->node->vm, done);
    return true;
}

/* ---- the connection --------------------------------------------------------------------------- */

typedef struct ConnectTask {
    BlockSlowTask task;
    NbdSetup setup;
    uint32_t timeout; /* seconds during which it is tried again */
    NbdConn *conn;    /* the result */
    NbdInfo info;
} ConnectTask;

/* A name that was looked up stays so for all tries. */
static bool connect_run(BlockSlowTask *task, int cancel_fd, GError **err)
{
    ConnectTask *t = container_of(task, ConnectTask, task);
    g_autofree char *known = g_steal_pointer(&t->setup.address.known);
    int64_t end = clock_monotonic_ns() + (int64_t)t->timeout * NSEC_PER_SEC;

    for (;;) {
        NbdWait wait = {clock_monotonic_ns() + NBD_HANDSHAKE_NS, cancel_fd};
        g_autoptr(GError) why = NULL;

        t->setup.address.known = g_strdup(known);
        t->conn = nbd_setup_connect(&t->setup, &wait, &t->info, &why);
        wait.deadline_ns = clock_monotonic_ns() + NSEC_PER_SEC;
        if (t->conn) {
            return true;
        }
        if (t->setup.address.type == NBD_FD || wait.deadline_ns > end || nbd_wait_fd(cancel_fd, POLLIN, &wait, NULL)) {
            g_propagate_error(err, g_steal_pointer(&why));
            return false;
        }
    }
}

static bool connect_same(const BlockSlowTask *one, const BlockSlowTask *other)
{
    const NbdSetup *a = &container_of(one, ConnectTask, task)->setup, *b = &container_of(other, ConnectTask, task)->setup;

    return nbd_address_equal(&a->address, &b->address) && a->creds == b->creds && !g_strcmp0(a->hostname, b->hostname) &&
           !strcmp(a->export, b->export) && !strcmp(a->context, b->context) && a->context_required == b->context_required &&
           a->simple == b->simple;
}

static void connect_free(BlockSlowTask *task)
{
    ConnectTask *t = container_of(task, ConnectTask, task);

    nbd_setup_clear(&t->setup);
    nbd_conn_free(t->conn);
    nbd_info_clear(&t->info);
    g_free(t);
}

static const BlockSlowOps connect_ops = {.run = connect_run, .same = connect_same, .free = connect_free, .stops = true};

/* What the client has becomes the task's. */
static ConnectTask *task_of(NbdClient *c)
{
    ConnectTask *t = g_new0(ConnectTask, 1);

    t->task.ops = &connect_ops;
    t->setup = c->setup;
    t->conn = c->conn;
    t->info = c->info;
    c->setup = (NbdSetup){0};
    c->conn = NULL;
    c->info = (NbdInfo){0};
    return t;
}

bool nbd_client_connect_first(NbdClient *c, uint32_t timeout, GError **err)
{
    BlockSlowTask *done;
    ConnectTask *t;

    if (!look_up(c, err)) {
        return false;
    }
    t = task_of(c);
    t->timeout = timeout;
    done = block_slow_get(c->node->vm, &t->task, err);
    if (!done) {
        return false;
    }
    t = container_of(done, ConnectTask, task);
    c->setup = t->setup;
    c->conn = t->conn;
    c->info = t->info;
    g_clear_pointer(&c->setup.address.known, g_free);
    g_free(t);
    return true;
}
