/* SPDX-License-Identifier: GPL-2.0-or-later */
/* socket: the client's side. */
#include "chardev/socket_int.h"

#include "util/log.h"
#include "util/trace.h"

void socket_report_failure(CharSocket *sock, const char *why)
{
    if (!sock->server && !sock->connect_reported) {
        sock->connect_reported = true;
        report_warning("chardev '%s': %s: %s%s", chardev_id(&sock->chr), sock->text ? sock->text : "connection", why,
                       sock->options->reconnect ? " (it is tried again)" : "");
    }
}

void socket_plan_reconnect(CharSocket *sock)
{
    if (sock->options->reconnect && !sock->server) {
        loop_timer_arm(sock->reconnect_timer,
                       clock_monotonic_ns() + sock->options->reconnect * NSEC_PER_SEC);
    }
}

static void attempt_ended(void *opaque, int fd, const GError *err)
{
    CharSocket *sock = opaque;

    sock->attempt = NULL;
    if (fd >= 0) {
        socket_take_connection(sock, fd);
        return;
    }
    trace(char_socket_connect_failed, "%s: %s", chardev_id(&sock->chr), err->message);
    socket_report_failure(sock, err->message);
    socket_plan_reconnect(sock);
}

void socket_try_connect(void *opaque)
{
    CharSocket *sock = opaque;

    sock->attempt = char_connect_start(sock->chr.obj.vm->loop, sock->options->addr, attempt_ended, sock);
}

bool chardev_connect_error(const GError *why, GError **err)
{
    return error_set(err, "%s (start its server first, or say server=on to be the server)", why->message);
}

/* ---- once ------------------------------------------------------------------------------ */

typedef struct Wait {
    bool ended;
    int fd;
    GError *err;
} Wait;

static void wait_ended(void *opaque, int fd, const GError *err)
{
    Wait *wait = opaque;

    wait->ended = true;
    wait->fd = fd;
    wait->err = err ? g_error_copy(err) : NULL;
}

/* The loop runs meanwhile, so that a signal ends the wait. */
static bool connect_now(CharSocket *sock, GError **err)
{
    Vm *vm = sock->chr.obj.vm;
    Wait wait = {.fd = -1};
    CharConnect *attempt = char_connect_start(vm->loop, sock->options->addr, wait_ended, &wait);

    trace(char_socket_await, "%s: %s", chardev_id(&sock->chr), sock->text);
    while (!wait.ended && !vm_end_requested(vm)) {
        loop_run_once(vm->loop, -1);
    }
    if (!wait.ended) {
        char_connect_cancel(attempt);
        return error_set(err, "connecting to %s was ended", sock->text);
    }
    if (wait.fd < 0) {
        chardev_connect_error(wait.err, err);
        g_error_free(wait.err);
        return false;
    }
    socket_take_connection(sock, wait.fd);
    return true;
}

bool socket_open_client(CharSocket *sock, GError **err)
{
    sock->text = char_address_text(sock->options->addr);
    if (sock->chr.ready_fd >= 0) {
        int fd = sock->chr.ready_fd;

        sock->chr.ready_fd = -1;
        socket_take_connection(sock, fd);
        return true;
    }
    if (sock->options->reconnect) {
        socket_try_connect(sock);
        return true;
    }
    return connect_now(sock, err);
}
