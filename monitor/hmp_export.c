/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: the NBD server. */
#include <string.h>

#include "block/block.h"
#include "monitor/hmp_internal.h"
#include "qapi/qapi-block.h"
#include "qapi/qapi-commands.h"
#include "qapi/qapi-sockets.h"
#include "qapi/qapi.h"
#include "util/error.h"

/* "HOST:PORT" and "[HOST]:PORT", with ",mptcp=on" perhaps. False with *err. */
static bool parse_inet(const char *text, InetSocketAddress *inet, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", 2);
    const char *address = parts[0] ? parts[0] : "", *option = parts[0] ? parts[1] : NULL, *colon = strrchr(address, ':');

    if (!colon || !colon[1]) {
        return error_set(err, "error parsing address '%s'; say HOST:PORT, unix:PATH, vsock:CID:PORT or fd:NAME", text);
    }
    if (option && strcmp(option, "mptcp") && strcmp(option, "mptcp=on") && strcmp(option, "mptcp=off")) {
        return error_set(err, "error parsing address '%s': behind HOST:PORT there can be mptcp=on", text);
    }
    bool brackets = *address == '[' && colon[-1] == ']';
    inet->host = g_strndup(address + brackets, (gsize)(colon - address - 2 * brackets));
    inet->port = g_strdup(colon + 1);
    inet->has_mptcp = option;
    inet->mptcp = option && strcmp(option, "mptcp=off");
    return true;
}

static bool parse_vsock(const char *text, VsockSocketAddress *vsock, GError **err)
{
    const char *colon = strchr(text, ':');

    if (!colon) {
        return error_set(err, "error parsing address 'vsock:%s'; say vsock:CID:PORT", text);
    }
    vsock->cid = g_strndup(text, (gsize)(colon - text));
    vsock->port = g_strdup(colon + 1);
    return true;
}

/* "unix:PATH", "fd:NAME", "vsock:CID:PORT", "HOST:PORT"; NULL with *err. */
static SocketAddressLegacy *parse_address(const char *text, GError **err)
{
    SocketAddressLegacy *addr = g_new0(SocketAddressLegacy, 1);
    bool ok = true;

    if (g_str_has_prefix(text, "unix:")) {
        addr->type = SOCKET_ADDRESS_TYPE_UNIX;
        addr->u.q_unix.data = g_new0(UnixSocketAddress, 1);
        addr->u.q_unix.data->path = g_strdup(text + strlen("unix:"));
    } else if (g_str_has_prefix(text, "fd:")) {
        addr->type = SOCKET_ADDRESS_TYPE_FD;
        addr->u.fd.data = g_new0(FdSocketAddress, 1);
        addr->u.fd.data->str = g_strdup(text + strlen("fd:"));
    } else if (g_str_has_prefix(text, "vsock:")) {
        addr->type = SOCKET_ADDRESS_TYPE_VSOCK;
        addr->u.vsock.data = g_new0(VsockSocketAddress, 1);
        ok = parse_vsock(text + strlen("vsock:"), addr->u.vsock.data, err);
    } else {
        addr->type = SOCKET_ADDRESS_TYPE_INET;
        addr->u.inet.data = g_new0(InetSocketAddress, 1);
        ok = parse_inet(text, addr->u.inet.data, err);
    }
    if (!ok) {
        qapi_free(&qapi_type_SocketAddressLegacy, addr);
        return NULL;
    }
    return addr;
}

/* All devices with a medium, by their names. */
static bool export_all(Vm *vm, bool writable, GError **err)
{
    QmpCall blocks = {.vm = vm}, call = {.vm = vm};
    bool ok = qmp_query_block(&blocks, err);
    const GPtrArray *list = ok ? blocks.result : NULL;

    for (unsigned i = 0; ok && i < list->len; i++) {
        const BlockBackendInfo *info = g_ptr_array_index(list, i);
        const NbdServerAddOptions args = {.device = info->device, .has_writable = true, .writable = writable};

        if (info->inserted && *info->device) {
            call.args = &args;
            ok = qmp_nbd_server_add(&call, err);
        }
    }
    qapi_free(&qapi_list_BlockBackendInfo, blocks.result);
    return ok;
}

typedef struct ServerStart {
    Vm *vm;
    MonitorLater *later;
    bool all, writable;
} ServerStart;

static void server_started(void *opaque, GError *err)
{
    ServerStart *start = opaque;
    QmpCall call = {.vm = start->vm};

    if (!err && start->all && !export_all(start->vm, start->writable, &err)) {
        qmp_nbd_server_stop(&call, NULL);
    }
    hmp_later_end(start->later, NULL, err);
    g_free(start);
}

static void hmp_nbd_server_start(HmpCall *call)
{
    bool all = hmp_bool(call->args, "-a"), writable = hmp_bool(call->args, "-w");
    GError *err = NULL;

    if (writable && !all) {
        hmp_printf(call, "Error: -w only valid together with -a\n");
        return;
    }
    NbdServerOptions options = {.addr = parse_address(hmp_str(call->args, "uri"), &err)};
    if (!options.addr) {
        hmp_error(call, err);
        return;
    }
    QmpCall qmp = {.vm = call->vm, .mon = call->mon, .args = &options};
    ServerStart *start = g_new(ServerStart, 1);
    *start = (ServerStart){call->vm, hmp_later(call), all, writable};
    monitor_start_nbd_server(&qmp, server_started, start);
    qapi_free(&qapi_type_SocketAddressLegacy, options.addr);
}

static char *text(const HmpCall *call, const char *name) { return (char *)(uintptr_t)hmp_str(call->args, name); }

static void hmp_nbd_server_add(HmpCall *call)
{
    NbdServerAddOptions args = {.device = text(call, "device"), .name = text(call, "name"), .has_writable = true,
                                .writable = hmp_bool(call->args, "-w")};

    hmp_call_qmp(call, qmp_nbd_server_add, &args);
}

static void hmp_nbd_server_remove(HmpCall *call)
{
    NbdServerRemoveArgs args = {.name = text(call, "name"), .has_mode = true,
                                .mode = hmp_bool(call->args, "-f") ? BLOCK_EXPORT_REMOVE_MODE_HARD : BLOCK_EXPORT_REMOVE_MODE_SAFE};

    hmp_call_qmp(call, qmp_nbd_server_remove, &args);
}

static void hmp_nbd_server_stop(HmpCall *call) { hmp_call_qmp(call, qmp_nbd_server_stop, NULL); }

const HmpCommand hmp_export_commands[] = {
    {"nbd_server_start", "-a:flag,-w:flag,uri:word", "[-a] [-w] host:port",
     "serves block devices over NBD (-a: all of them; -w: clients may write)", hmp_nbd_server_start},
    {"nbd_server_add", "-w:flag,device:word,name:word?", "[-w] device [name]", "exports a block device over NBD (-w: clients may write)",
     hmp_nbd_server_add},
    {"nbd_server_remove", "-f:flag,name:word", "[-f] name", "ends an export (-f: although it has clients)", hmp_nbd_server_remove},
    {"nbd_server_stop", .run = hmp_nbd_server_stop, .help = "ends the NBD server and its exports"},
    {}};
