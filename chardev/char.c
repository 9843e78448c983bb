/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: the users' ports, the output queue, events, the list of all.
 *
 * Output of a burst (a guest printing a line, a monitor reply) is collected and leaves in one
 * write. A burst that the main loop's own thread makes ends when that thread goes back to its loop;
 * what a vCPU writes waits for more as burst.c says, or until the queue is half full. An idle device
 * arms nothing. When the VM stops, what waits is written first: nobody looks at a paused VM's output
 * and misses the end of it, and a VM that goes elsewhere leaves none behind.
 */
#include "chardev/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "qapi/qapi.h"
#include "util/log.h"
#include "util/trace.h"

#define DRAIN_TIME                                                                                 \
    (200 * NSEC_PER_MSEC) /* how long the end of the process waits for a slow reader */
#define KEEP_CAPACITY (64 * KIB)         /* an empty queue that grew beyond gives its memory back */

/* ---- the list of all --------------------------------------------------------------- */

static void run_state_changed(void *opaque, bool running, RunState state)
{
    const CharState *all = opaque;

    for (unsigned i = 0; !running && i < all->chardevs->len; i++) {
        chardev_flush(g_ptr_array_index(all->chardevs, i));
    }
}

CharState *char_state(Vm *vm)
{
    if (!vm->chardevs) {
        struct sigaction old;
        CharState *state = g_new0(CharState, 1);

        state->aliases = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        state->chardevs = g_ptr_array_new();
        state->makings = g_ptr_array_new();
        state->waiting = g_ptr_array_new();
        state->escape = 1;
        vm->chardevs = (struct CharState *)state;
        vm_on_run_state(vm, run_state_changed, state); /* the first: told of a stop after all devices */
        /* A reader of our pipe that goes away is an error of that write, not our end. */
        if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL) {
            signal(SIGPIPE, SIG_IGN);
        }
    }
    return (CharState *)vm->chardevs;
}

Chardev *chardev_find(Vm *vm, const char *id)
{
    CharState *state = char_state(vm);
    const char *real = g_hash_table_lookup(state->aliases, id);

    for (unsigned i = 0; i < state->chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(state->chardevs, i);

        if (!strcmp(chardev_id(chr), real ? real : id)) {
            return chr;
        }
    }
    return NULL;
}

static char *suggest_chardev(Vm *vm, const char *id)
{
    CharState *state = char_state(vm);
    g_autofree const char **names = g_new0(const char *, state->chardevs->len + 1);

    for (unsigned i = 0; i < state->chardevs->len; i++) {
        names[i] = chardev_id(g_ptr_array_index(state->chardevs, i));
    }
    return suggest_names(id, names);
}

void chardev_foreach(Vm *vm,
                     void (*fn)(const char *id, const char *filename, bool in_use, void *opaque),
                     void *opaque)
{
    CharState *state = char_state(vm);

    for (unsigned i = 0; i < state->chardevs->len; i++) {
        Chardev *chr = g_ptr_array_index(state->chardevs, i);
        g_autofree char *filename = chr->ops->filename ? chr->ops->filename(chr) : NULL;
        bool in_use = false;

        for (unsigned p = 0; p < G_N_ELEMENTS(chr->ports); p++) {
            in_use |= chr->ports[p] && chr->ports[p]->ops && !chr->ports[p]->shut;
        }
        fn(chardev_id(chr), filename ? filename : chr->obj.type->name + strlen("chardev-"), in_use,
           opaque);
    }
}

void chardev_refuse_stdio(Vm *vm, const char *reason) { char_state(vm)->no_stdio = reason; }

void chardev_set_escape(Vm *vm, int key)
{
    char_state(vm)->escape = key;
}

/* ---- output ------------------------------------------------------------------------ */

static size_t queue_pending(const Chardev *chr)
{
    return chr->queue->len - chr->queue_pos;
}

static void queue_clear(Chardev *chr)
{
    chr->queue_pos = 0;
    if (chr->queue->len > KEEP_CAPACITY) {
        g_byte_array_unref(chr->queue);
        chr->queue = g_byte_array_new();
    }
    g_byte_array_set_size(chr->queue, 0);
}

static void set_want_write(Chardev *chr, bool on)
{
    if (chr->want_write != on && chr->ops->want_write) {
        chr->want_write = on;
        chr->ops->want_write(chr, on);
    }
}

static void notify_writable(Chardev *chr)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(chr->ports); i++) {
        CharPort *port = chr->ports[i];

        if (port && port->writable) {
            void (*fn)(void *opaque) = port->writable;

            port->writable = NULL;
            fn(port->writable_opaque);
        }
    }
}

static void report_write_error(Chardev *chr, int errnum)
{
    if (!chr->write_failed) {
        chr->write_failed = true;
        report_warning("chardev '%s': output is lost: %s", chardev_id(chr), g_strerror(errnum));
    }
}

static void flush_log(Chardev *chr)
{
    size_t done = 0;

    while (done < chr->log->len) {
        ssize_t n = write(chr->log_fd, chr->log->data + done, chr->log->len - done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            report_write_error(chr, n ? errno : EIO);
            break;
        }
        done += n;
    }
    g_byte_array_set_size(chr->log, 0);
}

/* Writes until all is gone (true) or the other side is slow (false). */
static bool flush_queue(Chardev *chr)
{
    while (queue_pending(chr) && chr->connected) {
        size_t left = queue_pending(chr);
        ssize_t n = chr->ops->write ? chr->ops->write(chr, chr->queue->data + chr->queue_pos, left)
                                    : (ssize_t)left;

        trace(chardev_write, "%s: %zu bytes, %zd taken", chardev_id(chr), left, n);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return queue_pending(chr) == 0;
        }
        if (n <= 0) {
            report_write_error(chr, n ? errno : EIO);
            break;
        }
        /* The write may have ended in a disconnection, which clears the queue. */
        chr->queue_pos = MIN(chr->queue_pos + (size_t)n, chr->queue->len);
    }
    queue_clear(chr);
    return true;
}

void chardev_flush(Chardev *chr)
{
    if (chr->closed) {
        return;
    }
    object_ref(&chr->obj);
    loop_timer_cancel(chr->flush_timer);
    flush_log(chr);
    if (!chr->ops->unqueued) {
        set_want_write(chr, !flush_queue(chr));
    }
    if ((chr->ops->pending ? chr->ops->pending(chr) : queue_pending(chr)) <= CHAR_QUEUE_SIZE / 2) {
        notify_writable(chr);
    }
    object_unref(&chr->obj);
}

/* For the other side and for the log file. */
static size_t output_waiting(const Chardev *chr) { return queue_pending(chr) + chr->log->len; }

static void flush_timer_fired(void *opaque)
{
    Chardev *chr = opaque;
    int64_t next = char_burst_look(&chr->burst, clock_monotonic_ns(), output_waiting(chr));

    if (next) {
        loop_timer_arm(chr->flush_timer, next);
    } else {
        chardev_flush(chr);
    }
}

/* Plans the flush of what was just queued; urgent: at the next turn of the loop. */
static void schedule_flush(Chardev *chr, bool urgent)
{
    if (chr->want_write && !chr->log->len) {
        return; /* the back end calls */
    }
    if (urgent || output_waiting(chr) >= CHAR_QUEUE_SIZE / 2 || loop_is_current(chr->obj.vm->loop)) {
        char_burst_end(&chr->burst);
        loop_timer_arm(chr->flush_timer, 0);
    } else if (!loop_timer_pending(chr->flush_timer)) {
        loop_timer_arm(chr->flush_timer,
                       char_burst_begin(&chr->burst, clock_monotonic_ns(), output_waiting(chr)));
    }
}

static void log_output(Chardev *chr, const void *data, size_t len)
{
    if (chr->log_fd >= 0) {
        g_byte_array_append(chr->log, data, len);
    }
}

size_t charport_write(CharPort *port, const void *data, size_t len)
{
    Chardev *chr = port ? port->chr : NULL;
    size_t take = len;

    if (!chr || chr->closed) {
        return len;
    }
    charport_recall_output(port);
    if (chr->ops->unqueued) {
        ssize_t n = chr->ops->write ? chr->ops->write(chr, data, len) : (ssize_t)len;

        take = n > 0 ? (size_t)n : 0;
    } else if (chr->connected) {
        size_t pending = queue_pending(chr);

        take = MIN(len, pending < CHAR_QUEUE_SIZE ? CHAR_QUEUE_SIZE - pending : 0);
        g_byte_array_append(chr->queue, data, take);
    }
    log_output(chr, data, take);
    if (take && (!chr->ops->unqueued || chr->log->len)) {
        schedule_flush(chr, false);
    }
    return take;
}

static void cut_off(Chardev *chr)
{
    report_warning("chardev '%s': the other side does not read; %zu bytes of output are dropped",
                   chardev_id(chr), queue_pending(chr));
    if (chr->ops->cut_off) {
        chr->ops->cut_off(chr);
    }
    queue_clear(chr);
}

void charport_write_all(CharPort *port, const void *data, size_t len)
{
    Chardev *chr = port ? port->chr : NULL;

    if (!chr || chr->closed || len == 0) {
        return;
    }
    charport_recall_output(port);
    if (chr->ops->unqueued && !chr->ops->write_all) {
        charport_write(port, data, len);
        return;
    }
    log_output(chr, data, len);
    if (chr->ops->write_all) {
        chr->ops->write_all(chr, data, len);
    } else if (chr->connected) {
        if (len > CHAR_QUEUE_LIMIT - MIN(queue_pending(chr), CHAR_QUEUE_LIMIT)) {
            cut_off(chr);
            return;
        }
        if (chr->queue_pos > CHAR_QUEUE_SIZE) {
            g_byte_array_remove_range(chr->queue, 0, chr->queue_pos);
            chr->queue_pos = 0;
        }
        g_byte_array_append(chr->queue, data, len);
    }
    schedule_flush(chr, true);
}

void charport_on_writable(CharPort *port, void (*fn)(void *opaque), void *opaque)
{
    if (!port) {
        return;
    }
    port->writable = fn;
    port->writable_opaque = opaque;
    if (!fn || port->chr->closed) {
        return;
    }
    if (port->chr->ops->unqueued) {
        if (port->chr->ops->want_write) {
            port->chr->ops->want_write(port->chr, true);
        }
    } else {
        schedule_flush(port->chr, true);
    }
}

bool charport_is_prompt(const CharPort *port)
{
    return !port || port->chr->closed || (port->chr->ops->prompt && port->chr->log_fd < 0);
}

void charport_flush(CharPort *port)
{
    if (port) {
        chardev_flush(port->chr);
    }
}

size_t charport_pending(const CharPort *port)
{
    const Chardev *chr = port ? port->chr : NULL;

    if (!chr || chr->closed) {
        return 0;
    }
    return chr->ops->pending ? chr->ops->pending(chr) : queue_pending(chr);
}

/* ---- input and events -------------------------------------------------------------- */

static CharPort *only_port(const Chardev *chr)
{
    return chr->ports[0] && chr->ports[0]->ops ? chr->ports[0] : NULL;
}

size_t chardev_can_receive(Chardev *chr)
{
    CharPort *port = only_port(chr);

    return port && port->ops->can_receive && !port->input_lent ? port->ops->can_receive(port->opaque) : 0;
}

void chardev_receive(Chardev *chr, const uint8_t *data, size_t len)
{
    CharPort *port = only_port(chr);

    if (port && port->ops->receive) {
        trace(chardev_receive, "%s: %zu bytes", chardev_id(chr), len);
        port->ops->receive(port->opaque, data, len);
    }
}

void charport_event(CharPort *port, CharEvent event)
{
    if (port && port->ops && port->ops->event) {
        port->ops->event(port->opaque, event);
    }
}

void chardev_event(Chardev *chr, CharEvent event)
{
    if (event == CHAR_EVENT_OPENED || event == CHAR_EVENT_CLOSED) {
        if (chr->connected == (event == CHAR_EVENT_OPENED)) {
            return;
        }
        chardev_recall(chr);
        chr->connected = event == CHAR_EVENT_OPENED;
        trace(chardev_connected, "%s: %d", chardev_id(chr), chr->connected);
        if (!chr->connected) {
            queue_clear(chr);
            set_want_write(chr, false);
        }
    }
    object_ref(&chr->obj);
    for (unsigned i = 0; i < G_N_ELEMENTS(chr->ports); i++) {
        charport_event(chr->ports[i], event);
    }
    if (!chr->connected) {
        notify_writable(chr);
    }
    object_unref(&chr->obj);
}

/* ---- ports ------------------------------------------------------------------------- */

CharPort *chardev_open_port(Chardev *chr, GError **err)
{
    unsigned max = MAX(chr->ops->max_ports, 1);

    for (unsigned i = 0; i < max; i++) {
        if (!chr->ports[i]) {
            CharPort *port = g_new0(CharPort, 1);

            port->chr = chr;
            port->index = i;
            object_ref(&chr->obj);
            chr->ports[i] = port;
            if (chr->ops->port_opened) {
                chr->ops->port_opened(chr, port, true);
            }
            return port;
        }
    }
    if (max == 1) {
        error_set(
            err,
            "character device '%s' is in use; give each user its own, or share one with mux=on",
            chardev_id(chr));
    } else {
        error_set(err, "character device '%s' has its %u users already", chardev_id(chr), max);
    }
    return NULL;
}

CharPort *charport_open(Vm *vm, const char *id, GError **err)
{
    Chardev *chr = chardev_find(vm, id);

    if (!chr) {
        g_autofree char *hint = suggest_chardev(vm, id);

        error_set(err, "there is no character device '%s'%s; make one with -chardev BACKEND,id=%s",
                  id, hint, id);
        return NULL;
    }
    return chardev_open_port(chr, err);
}

void charport_close(CharPort *port)
{
    Chardev *chr = port ? port->chr : NULL;

    if (!port) {
        return;
    }
    charport_recall(port);
    chardev_flush(chr);
    chr->ports[port->index] = NULL;
    if (!chr->closed) {
        if (chr->ops->port_opened) {
            chr->ops->port_opened(chr, port, false);
        }
        if (chr->ops->update_read) {
            chr->ops->update_read(chr);
        }
    }
    g_free(port);
    object_unref(&chr->obj);
}

void charport_set_ops(CharPort *port, const CharPortOps *ops, void *opaque)
{
    if (!port) {
        return;
    }
    charport_recall(port);
    port->ops = ops;
    port->opaque = opaque;
    if (port->chr->closed) {
        return;
    }
    if (port->chr->ops->port_opened) {
        port->chr->ops->port_opened(port->chr, port, true);
    }
    if (port->chr->connected) {
        charport_event(port, CHAR_EVENT_OPENED);
    }
    charport_accept_input(port);
}

void charport_set_open(CharPort *port, bool open)
{
    if (port) {
        port->shut = !open;
    }
}

void charport_accept_input(CharPort *port)
{
    if (port && !port->chr->closed && port->chr->ops->update_read) {
        port->chr->ops->update_read(port->chr);
    }
}

void charport_read_now(CharPort *port)
{
    if (!port->chr->closed && port->chr->ops->read_now) {
        port->chr->ops->read_now(port->chr);
    }
}

void charport_set_line(CharPort *port, const CharLine *line)
{
    if (port && !port->chr->closed) {
        char_burst_set_line(&port->chr->burst, line);
        if (port->chr->ops->set_line) {
            port->chr->ops->set_line(port->chr, line);
        }
    }
}

void charport_send_break(CharPort *port, bool on)
{
    if (port && !port->chr->closed && port->chr->ops->send_break) {
        port->chr->ops->send_break(port->chr, on);
    }
}

bool chardev_send_break_id(Vm *vm, const char *id)
{
    Chardev *chr = chardev_find(vm, id);

    if (chr) {
        chardev_event(chr, CHAR_EVENT_BREAK);
    }
    return chr != NULL;
}

bool chardev_can_yank(Vm *vm, const char *id)
{
    const Chardev *chr = chardev_find(vm, id);

    return chr && chr->ops->yank;
}

void chardev_yank(Vm *vm, const char *id)
{
    Chardev *chr = chardev_find(vm, id);

    chr->ops->yank(chr);
}

bool charport_get_modem(CharPort *port, int *lines)
{
    return port && !port->chr->closed && port->chr->ops->get_modem &&
           port->chr->ops->get_modem(port->chr, lines);
}

bool charport_set_modem(CharPort *port, int lines)
{
    return port && !port->chr->closed && port->chr->ops->set_modem &&
           port->chr->ops->set_modem(port->chr, lines);
}

bool charport_is_connected(const CharPort *port)
{
    return port && port->chr->connected;
}

int charport_take_fd(CharPort *port)
{
    return port && !port->chr->closed && port->chr->ops->take_fd
               ? port->chr->ops->take_fd(port->chr)
               : -1;
}

const char *charport_label(const CharPort *port)
{
    return port ? chardev_id(port->chr) : NULL;
}

/* ---- property kind ----------------------------------------------------------------- */

static bool prop_chardev_set(Object *obj, const Property *prop, void *field, const char *text,
                             GError **err)
{
    CharPort **slot = field;
    CharPort *port = NULL;
    GError *cause = NULL;

    if (*text) {
        port = charport_open(obj->vm, text, &cause);
        if (!port) {
            error_set_from(err, cause, "property '%s.%s': %s", obj->type->name, prop->name, cause->message);
            g_error_free(cause);
            return false;
        }
    }
    charport_close(*slot);
    *slot = port;
    return true;
}

static json_object *prop_chardev_get(Object *obj, const Property *prop, const void *field)
{
    const char *label = charport_label(*(CharPort *const *)field);

    return json_object_new_string(label ? label : "");
}

static void prop_chardev_release(Object *obj, const Property *prop, void *field)
{
    CharPort **slot = field;

    charport_close(*slot);
    *slot = NULL;
}

const PropKind prop_kind_chardev = {
    .type = "str",
    .json = json_type_null,
    .set = prop_chardev_set,
    .get = prop_chardev_get,
    .release = prop_chardev_release,
};

/* ---- life -------------------------------------------------------------------------- */

/* What all back ends have stands first in each branch. */
static const ChardevCommon *common_of(const ChardevBackend *options)
{
    return (const ChardevCommon *)(const void *)options->u.null.data;
}

static bool open_log(Chardev *chr, GError **err)
{
    const ChardevCommon *common = common_of(chr->options);

    if (!common->logfile) {
        return true;
    }
    chr->log_fd = open(
        common->logfile,
        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (common->logappend ? O_APPEND : O_TRUNC), 0666);
    if (chr->log_fd < 0) {
        return error_set_errno(err, errno, "logfile=%s cannot be opened", common->logfile);
    }
    return true;
}

void chardev_close(Chardev *chr)
{
    if (chr->closed) {
        return;
    }
    chardev_recall(chr);
    if (chr->opened) {
        flush_log(chr);
        if (chr->ops->close) {
            chr->ops->close(chr);
        }
    }
    chr->closed = true;
    chr->connected = false;
    loop_timer_free(chr->flush_timer);
    chr->flush_timer = NULL;
    if (chr->log_fd >= 0) {
        close(chr->log_fd);
        chr->log_fd = -1;
    }
    if (chr->ready_fd >= 0) {
        close(chr->ready_fd);
        chr->ready_fd = -1;
    }
}

static const char *kind_name(const ChardevBackend *options)
{
    return qapi_enum_name(&qapi_type_ChardevBackendKind, (int)options->type);
}

static const Type *type_of(const ChardevBackend *options)
{
    bool old_name = options->type == CHARDEV_BACKEND_KIND_MEMORY;
    g_autofree char *name = g_strconcat("chardev-", old_name ? "ringbuf" : kind_name(options), NULL);

    return type_find(name);
}

Chardev *chardev_new(Vm *vm, const char *id, const ChardevBackend *options, int *ready_fd, GError **err)
{
    Object *obj;
    Chardev *chr;

    if (chardev_find(vm, id)) {
        error_set(err, "id '%s' is taken by another character device; choose another", id);
        return NULL;
    }
    obj = object_new(vm, type_of(options), err);
    if (!obj) {
        return NULL;
    }
    chr = container_of(obj, Chardev, obj);
    chr->options = qapi_clone(&qapi_type_ChardevBackend, options);
    chr->at_start = !ready_fd;
    if (ready_fd) {
        chr->ready_fd = *ready_fd;
        *ready_fd = -1;
    }
    object_add_child(object_container(vm->root, "chardevs"), id, obj);
    chr->opened = true;
    if (open_log(chr, err) && (!chr->ops->open || chr->ops->open(chr, err))) {
        g_ptr_array_add(char_state(vm)->chardevs, chr);
        return chr;
    }
    g_prefix_error(err, "chardev %s: ", obj->type->name + strlen("chardev-"));
    chardev_close(chr);
    object_unparent(obj);
    object_unref(obj);
    return NULL;
}

void chardev_drop(Vm *vm, Chardev *chr)
{
    g_ptr_array_remove(char_state(vm)->chardevs, chr);
    chardev_close(chr);
    object_unparent(&chr->obj);
    object_unref(&chr->obj);
}

static void drain(Chardev *chr)
{
    int64_t deadline = clock_monotonic_ns() + DRAIN_TIME;
    int fd = chr->ops->output_fd ? chr->ops->output_fd(chr) : -1;

    chardev_flush(chr);
    while (fd >= 0 && queue_pending(chr)) {
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        int64_t left = (deadline - clock_monotonic_ns()) / NSEC_PER_MSEC;

        if (left <= 0 || poll(&wait, 1, (int)left) <= 0) {
            break;
        }
        chardev_flush(chr);
    }
}

void chardev_keep_listening(Vm *vm) { char_state(vm)->keep_listening = true; }

void chardev_cleanup(Vm *vm)
{
    CharState *state = (CharState *)vm->chardevs;

    if (!state) {
        return;
    }
    vm_off_run_state(vm, run_state_changed, state);
    chardev_makings_end(vm);
    /* The last made first: a mux before what it stands on. */
    for (unsigned i = state->chardevs->len; i-- > 0;) {
        Chardev *chr = g_ptr_array_index(state->chardevs, i);

        drain(chr);
        chardev_close(chr);
    }
    for (unsigned i = state->chardevs->len; i-- > 0;) {
        Chardev *chr = g_ptr_array_index(state->chardevs, i);

        object_unparent(&chr->obj);
        object_unref(&chr->obj);
    }
    g_ptr_array_free(state->chardevs, TRUE);
    g_ptr_array_free(state->makings, TRUE);
    g_ptr_array_free(state->waiting, TRUE);
    g_hash_table_unref(state->aliases);
    g_free(state);
    vm->chardevs = NULL;
}

static void chardev_init(Object *obj)
{
    Chardev *chr = container_of(obj, Chardev, obj);

    chr->ops = type_ops(obj->type);
    chr->queue = g_byte_array_new();
    chr->log = g_byte_array_new();
    chr->log_fd = -1;
    chr->ready_fd = -1;
    chr->flush_timer = loop_timer_new(obj->vm->loop, flush_timer_fired, chr);
}

static void chardev_finalize(Object *obj)
{
    Chardev *chr = container_of(obj, Chardev, obj);

    chardev_close(chr);
    g_byte_array_unref(chr->queue);
    g_byte_array_unref(chr->log);
    qapi_free(&qapi_type_ChardevBackend, chr->options);
}

KILN_TYPE(chardev) = {
    .name = "chardev",
    .parent = "object",
    .desc = "character device",
    .size = sizeof(Chardev),
    .abstract = true,
    .not_user = "character devices are made with -chardev",
    .init = chardev_init,
    .finalize = chardev_finalize,
};
