/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: the users' ports, the output queue, events, the list of all.
 *
 * Output of a burst (a guest printing a line, a monitor reply) is collected and leaves in one
 * write. A burst that the main loop's own thread makes ends when that thread goes back to its loop.
 * A vCPU makes its bytes one exit at a time while the main thread sleeps, so there the queue waits
 * BURST_TIME for more, or until it is half full. An idle device arms nothing.
 */
#include "chardev/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "util/log.h"
#include "util/trace.h"

#define BURST_TIME (1 * NSEC_PER_MSEC)
#define DRAIN_TIME                                                                                 \
    (200 * NSEC_PER_MSEC) /* how long the end of the process waits for a slow reader */
#define KEEP_CAPACITY (64 * KIB)         /* an empty queue that grew beyond gives its memory back */

/* ---- the list of all --------------------------------------------------------------- */

CharState *char_state(Vm *vm)
{
    if (!vm->chardevs) {
        struct sigaction old;
        CharState *state = g_new0(CharState, 1);

        state->aliases = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        state->chardevs = g_ptr_array_new();
        state->escape = 1;
        vm->chardevs = (struct CharState *)state;
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
            in_use |= chr->ports[p] && chr->ports[p]->ops;
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
    if (queue_pending(chr) <= CHAR_QUEUE_SIZE / 2) {
        notify_writable(chr);
    }
    object_unref(&chr->obj);
}

static void flush_timer_fired(void *opaque)
{
    chardev_flush(opaque);
}

/* Plans the flush of what was just queued; urgent: at the next turn of the loop. */
static void schedule_flush(Chardev *chr, bool urgent)
{
    if (chr->want_write && !chr->log->len) {
        return; /* the back end calls */
    }
    if (urgent || queue_pending(chr) >= CHAR_QUEUE_SIZE / 2 || loop_is_current(chr->obj.vm->loop)) {
        loop_timer_arm(chr->flush_timer, 0);
    } else if (!loop_timer_pending(chr->flush_timer)) {
        loop_timer_arm(chr->flush_timer, clock_monotonic_ns() + BURST_TIME);
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
    if (chr->ops->unqueued) {
        charport_write(port, data, len);
        return;
    }
    log_output(chr, data, len);
    if (chr->connected) {
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

void charport_flush(CharPort *port)
{
    if (port) {
        chardev_flush(port->chr);
    }
}

/* ---- input and events -------------------------------------------------------------- */

static CharPort *only_port(const Chardev *chr)
{
    return chr->ports[0] && chr->ports[0]->ops ? chr->ports[0] : NULL;
}

size_t chardev_can_receive(Chardev *chr)
{
    CharPort *port = only_port(chr);

    return port && port->ops->can_receive ? port->ops->can_receive(port->opaque) : 0;
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

void charport_accept_input(CharPort *port)
{
    if (port && !port->chr->closed && port->chr->ops->update_read) {
        port->chr->ops->update_read(port->chr);
    }
}

void charport_set_line(CharPort *port, const CharLine *line)
{
    if (port && !port->chr->closed && port->chr->ops->set_line) {
        port->chr->ops->set_line(port->chr, line);
    }
}

void charport_send_break(CharPort *port, bool on)
{
    if (port && !port->chr->closed && port->chr->ops->send_break) {
        port->chr->ops->send_break(port->chr, on);
    }
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
            error_set(err, "property '%s.%s': %s", obj->type->name, prop->name, cause->message);
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

static bool open_log(Chardev *chr, GError **err)
{
    if (!chr->logfile) {
        return true;
    }
    chr->log_fd = open(
        chr->logfile,
        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | (chr->logappend ? O_APPEND : O_TRUNC), 0666);
    if (chr->log_fd < 0) {
        return error_set_errno(err, errno, "logfile=%s cannot be opened", chr->logfile);
    }
    return true;
}

static void chardev_close(Chardev *chr)
{
    if (chr->closed) {
        return;
    }
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
}

static void collect_key(const Type *owner, const Property *prop, void *opaque)
{
    g_ptr_array_add(opaque, (void *)prop->name);
}

static char *suggest_key(const Type *type, const char *key)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    type_foreach_property(type, collect_key, names);
    g_ptr_array_add(names, NULL);
    return suggest_names(key, (const char *const *)names->pdata);
}

static bool set_keys(Chardev *chr, const char *backend, const GPtrArray *keys_values, GError **err)
{
    for (unsigned i = 0; keys_values && i + 1 < keys_values->len; i += 2) {
        const char *key = g_ptr_array_index(keys_values, i);
        const char *value = g_ptr_array_index(keys_values, i + 1);

        if (!type_property(chr->obj.type, key)) {
            g_autofree char *hint = suggest_key(chr->obj.type, key);

            return error_set(err, "chardev %s has no option '%s'%s", backend, key, hint);
        }
        if (!object_set(&chr->obj, key, value, err)) {
            g_prefix_error(err, "chardev %s: %s=%s: ", backend, key, value);
            return false;
        }
    }
    return true;
}

Chardev *chardev_new(Vm *vm, const char *id, const char *backend, const GPtrArray *keys_values,
                     GError **err)
{
    CharState *state = char_state(vm);
    g_autofree char *type_name = g_strconcat("chardev-", backend, NULL);
    const Type *type = type_find(type_name);
    Object *obj;
    Chardev *chr;

    if (chardev_find(vm, id)) {
        error_set(err, "id '%s' is taken by another character device", id);
        return NULL;
    }
    obj = object_new(vm, type, err);
    if (!obj) {
        return NULL;
    }
    chr = container_of(obj, Chardev, obj);
    object_add_child(object_container(vm->root, "chardevs"), id, obj);
    if (set_keys(chr, backend, keys_values, err)) {
        chr->opened = true;
        if (open_log(chr, err) && (!chr->ops->open || chr->ops->open(chr, err))) {
            g_ptr_array_add(state->chardevs, chr);
            return chr;
        }
        g_prefix_error(err, "chardev %s: ", backend);
    }
    chardev_close(chr);
    object_unparent(obj);
    object_unref(obj);
    return NULL;
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

void chardev_cleanup(Vm *vm)
{
    CharState *state = (CharState *)vm->chardevs;

    if (!state) {
        return;
    }
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
    chr->flush_timer = loop_timer_new(obj->vm->loop, flush_timer_fired, chr);
}

static void chardev_finalize(Object *obj)
{
    Chardev *chr = container_of(obj, Chardev, obj);

    chardev_close(chr);
    g_byte_array_unref(chr->queue);
    g_byte_array_unref(chr->log);
}

static const Property chardev_props[] = {
    PROP_STRING("logfile", Chardev, logfile, .help = "file that gets a copy of all output"),
    PROP_BOOL("logappend", Chardev, logappend, .help = "append to logfile instead of emptying it"),
    PROP_BOOL("mux", Chardev, mux, .help = "several users share it; C-a c switches between them"),
    {}
};

KILN_TYPE(chardev) = {
    .name = "chardev",
    .parent = "object",
    .desc = "character device",
    .size = sizeof(Chardev),
    .abstract = true,
    .not_user = "character devices are made with -chardev",
    .props = chardev_props,
    .init = chardev_init,
    .finalize = chardev_finalize,
};

/* ---- null -------------------------------------------------------------------------- */

static bool null_open(Chardev *chr, GError **err)
{
    chardev_event(chr, CHAR_EVENT_OPENED);
    return true;
}

static const ChardevOps null_ops = {.open = null_open, .unqueued = true};

KILN_TYPE(chardev_null) = {
    .name = "chardev-null",
    .parent = "chardev",
    .desc = "output is dropped, there is no input",
    .ops = &null_ops,
};
