/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character devices. */
#include <unistd.h>

#include "chardev/char.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "qapi/qapi-sockets.h"
#include "util/error.h"

#define RINGBUF_READ_MAX (16 * MIB) /* more than any buffer that is worth a command */

static void list_chardev(const char *id, const char *filename, bool in_use, void *opaque)
{
    ChardevInfo *info = g_new0(ChardevInfo, 1);

    info->label = g_strdup(id);
    info->filename = g_strdup(filename);
    info->frontend_open = in_use;
    g_ptr_array_add(opaque, info);
}

bool qmp_query_chardev(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    chardev_foreach(call->vm, list_chardev, call->result);
    return true;
}

static void list_backend(const Type *type, void *opaque)
{
    ChardevBackendInfo *info;

    if (!type->abstract) {
        info = g_new0(ChardevBackendInfo, 1);
        info->name = g_strdup(type->name + strlen("chardev-"));
        g_ptr_array_add(opaque, info);
    }
}

bool qmp_query_chardev_backends(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    type_foreach("chardev", list_backend, call->result);
    return true;
}

bool qmp_chardev_send_break(QmpCall *call, GError **err)
{
    const ChardevSendBreakArgs *args = call->args;

    return chardev_send_break_id(call->vm, args->id) || error_set(err, "Chardev '%s' not found", args->id);
}

/* ---- making and removing ---------------------------------------------------------------------- */

/* A copy in which a descriptor's name has become its number, in *fd (else -1). NULL with *err. */
static ChardevBackend *take_fd(QmpCall *call, const ChardevBackend *backend, int *fd, GError **err)
{
    ChardevBackend *copy = qapi_clone(&qapi_type_ChardevBackend, backend);
    SocketAddressLegacy *addr = copy->type == CHARDEV_BACKEND_KIND_SOCKET ? copy->u.socket.data->addr : NULL;

    *fd = -1;
    if (addr && addr->type == SOCKET_ADDRESS_TYPE_FD) {
        char **text = &addr->u.fd.data->str;

        *fd = monitor_take_fd(call->mon, *text, err);
        if (*fd < 0) {
            qapi_free(&qapi_type_ChardevBackend, copy);
            return NULL;
        }
        g_free(*text);
        *text = g_strdup_printf("%d", *fd);
    }
    return copy;
}

typedef struct Making {
    MonitorLater *later;
    int fd;             /* that the device took over, unless it failed; -1: none */
} Making;

static void chardev_made(void *opaque, const char *id, char *pty, GError *err)
{
    Making *making = opaque;
    ChardevReturn *result = err ? NULL : g_new0(ChardevReturn, 1);

    if (result) {
        result->pty = pty;
    } else if (making->fd >= 0) {
        close(making->fd);
    }
    qmp_later_end(making->later, result, err);
    g_free(making);
}

typedef void ChardevFn(Vm *vm, const char *id, const ChardevBackend *backend, ChardevMadeFn *made, void *opaque);

static bool make_chardev(QmpCall *call, ChardevFn *fn, const char *id, const ChardevBackend *backend, GError **err)
{
    int fd;
    ChardevBackend *copy = take_fd(call, backend, &fd, err);

    if (!copy) {
        return false;
    }
    Making *making = g_new0(Making, 1);
    making->later = qmp_later(call);
    making->fd = fd;
    fn(call->vm, id, copy, chardev_made, making);
    qapi_free(&qapi_type_ChardevBackend, copy);
    return true;
}

bool qmp_chardev_add(QmpCall *call, GError **err)
{
    const ChardevAddArgs *args = call->args;

    return make_chardev(call, chardev_add, args->id, args->backend, err);
}

bool qmp_chardev_change(QmpCall *call, GError **err)
{
    const ChardevChangeArgs *args = call->args;

    return make_chardev(call, chardev_change, args->id, args->backend, err);
}

bool qmp_chardev_remove(QmpCall *call, GError **err)
{
    const ChardevRemoveArgs *args = call->args;

    return chardev_remove(call->vm, args->id, err);
}

/* ---- ring buffers -------------------------------------------------------------------------- */

bool qmp_ringbuf_write(QmpCall *call, GError **err)
{
    const RingbufWriteArgs *args = call->args;
    gsize len = strlen(args->data);
    g_autofree guchar *decoded = NULL;

    if (args->has_format && args->format == DATA_FORMAT_BASE64) {
        decoded = g_base64_decode(args->data, &len);
        if (strspn(args->data, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") !=
                strlen(args->data) || strlen(args->data) % 4) {
            return error_set(err, "Base64 data '%.40s' is not valid", args->data);
        }
    }
    return chardev_ringbuf_write(call->vm, args->device, decoded ? (const void *)decoded : args->data, len, err) >= 0;
}

bool qmp_ringbuf_read(QmpCall *call, GError **err)
{
    const RingbufReadArgs *args = call->args;

    if (args->size <= 0) {
        return error_set(err, "size must be greater than zero");
    }
    size_t room = MIN((uint64_t)args->size, RINGBUF_READ_MAX);
    g_autofree char *data = g_malloc(room);
    ssize_t len = chardev_ringbuf_read(call->vm, args->device, data, room, err);
    if (len < 0) {
        return false;
    }
    call->result = args->has_format && args->format == DATA_FORMAT_BASE64
                       ? g_base64_encode((const guchar *)data, (gsize)len)
                       : g_utf8_make_valid(data, len);
    return true;
}
