/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QMP: the NBD server and its exports. There is one server a VM, whose life is between nbd-server-start and
 * nbd-server-stop or the VM's end.
 *
 * Not done: exports in an iothread of their own choice (iothread=); vhost-user-blk, FUSE and VDUSE.
 */
#include "block/dirty_bitmap.h"
#include "core/event.h"
#include "core/user_object.h"
#include "core/vm.h"
#include "monitor/hmp_internal.h"
#include "nbd/server.h"
#include "qapi/qapi-block-export.h"
#include "qapi/qapi-commands.h"

/* ---- the server ----------------------------------------------------------------------------- */

static void on_export_gone(void *opaque, const char *id)
{
    BlockExportDeletedEvent event = {.id = (char *)(uintptr_t)id};

    vm_post_event(opaque, &qapi_event_BLOCK_EXPORT_DELETED, &event);
}

static void stop_server(Vm *vm)
{
    NbdServer *server = vm->block->nbd_server;

    vm->block->nbd_server = NULL;
    vm->block->close_exports = NULL;
    nbd_server_free(server);
}

static NbdServer *server_of(Vm *vm) { return vm->block ? vm->block->nbd_server : NULL; }

/* Of an address in the older form. */
static bool take_address(QmpCall *call, const SocketAddressLegacy *addr, NbdAddress *address, GError **err)
{
    json_object *json = qapi_write(&qapi_type_SocketAddressLegacy, addr), *type, *data;
    BlockOpts *opts = block_opts_new();
    bool ok;

    if (addr->type == SOCKET_ADDRESS_TYPE_FD) {
        *address = (NbdAddress){.type = NBD_FD, .fd = monitor_take_fd(call->mon, addr->u.fd.data->str, err)};
        ok = address->fd >= 0;
    } else {
        ok = json_object_object_get_ex(json, "type", &type) && json_object_object_get_ex(json, "data", &data) &&
             block_opts_add_json(opts, "", data, err);
        block_opts_set(opts, "type", json_object_get_string(type));
        ok = ok && nbd_address_take(address, opts, err);
    }
    block_opts_free(opts);
    json_object_put(json);
    return ok;
}

/* The credentials, when there are any. */
static bool take_creds(Vm *vm, const NbdServerOptions *args, Object **creds, GError **err)
{
    *creds = NULL;
    if (!args->tls_creds) {
        return !args->tls_authz || error_set(err, "tls-authz needs tls-creds");
    }
    *creds = tls_creds_find(vm, args->tls_creds, true, err);
    if (!*creds) {
        return false;
    }
    return !args->tls_authz || tls_creds_have_identity(*creds) ||
           error_set(err, "tls-authz needs credentials that show who a client is: tls-creds-x509 or tls-creds-psk");
}

typedef struct ServerStart {
    Vm *vm;
    NbdServer *server;
    NbdListenDone *done;
    void *opaque;
} ServerStart;

static void start_ended(void *opaque, GError *err)
{
    ServerStart *start = opaque;

    if (err && server_of(start->vm) == start->server) {
        stop_server(start->vm);
    }
    start->done(start->opaque, err);
    g_free(start);
}

/* A new server, which does not listen yet; NULL with *err. */
static NbdServer *new_server(QmpCall *call, const NbdServerOptions *args, NbdAddress *address, GError **err)
{
    NbdServerConfig config = {.authz = args->tls_authz, .max_peers = args->max_connections,
                              .export_gone = on_export_gone, .opaque = call->vm};

    if (server_of(call->vm)) {
        error_set(err, "NBD server already running");
        return NULL;
    }
    if (!take_creds(call->vm, args, &config.creds, err) || !take_address(call, args->addr, address, err)) {
        nbd_address_clear(address);
        return NULL;
    }
    return nbd_server_new(call->vm, &config);
}

void monitor_start_nbd_server(QmpCall *call, NbdListenDone *done, void *opaque)
{
    BlockState *state = block_state(call->vm);
    NbdAddress address = {.fd = -1};
    GError *err = NULL;
    NbdServer *server = new_server(call, call->args, &address, &err);

    if (!server) {
        done(opaque, err);
        return;
    }
    ServerStart *start = g_new(ServerStart, 1);
    *start = (ServerStart){call->vm, server, done, opaque};
    state->nbd_server = server;
    state->close_exports = stop_server;
    nbd_server_listen_later(server, address, start_ended, start);
}

static void answer_start(void *opaque, GError *err) { qmp_later_end(opaque, NULL, err); }

bool qmp_nbd_server_start(QmpCall *call, GError **err)
{
    monitor_start_nbd_server(call, answer_start, qmp_later(call));
    return true;
}

bool qmp_nbd_server_stop(QmpCall *call, GError **err)
{
    if (!server_of(call->vm)) {
        return error_set(err, "NBD server not running");
    }
    stop_server(call->vm);
    return true;
}

/* ---- exports --------------------------------------------------------------------------------- */

static BlockNode *find_node(Vm *vm, const char *device, const char *node_name, GError **err)
{
    BlockBackend *blk = *device ? blk_find(vm, device) : NULL;
    BlockNode *node = blk && *blk_name(blk) ? blk_node(blk) : block_node_find(vm, node_name);

    if (blk && *blk_name(blk) && !node) {
        error_set(err, "Device '%s' has no medium", device);
    } else if (!node) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", device, node_name);
    }
    return node;
}

bool qmp_nbd_server_add(QmpCall *call, GError **err)
{
    const NbdServerAddOptions *args = call->args;
    NbdServer *server = server_of(call->vm);
    const char *name = args->name ? args->name : args->device, *bitmaps[] = {args->bitmap, NULL};
    NbdExportConfig config = {.id = name, .name = name, .description = args->description, .multi_conn = true,
                              .bitmaps = bitmaps};

    if (!server) {
        return error_set(err, "NBD server not running");
    }
    config.node = find_node(call->vm, args->device, args->device, err);
    if (!config.node) {
        return false;
    }
    config.writable = args->writable && !config.node->read_only; /* the older command takes what it can get */
    return nbd_export_add(server, &config, err) != NULL;
}

/* Names, and the nodes of those that say one. */
static void collect_bitmaps(const GPtrArray *list, GPtrArray *names, GPtrArray *nodes)
{
    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockDirtyBitmapOrStr *what = g_ptr_array_index(list, i);
        bool external = what->kind == BLOCK_DIRTY_BITMAP_OR_STR_EXTERNAL;

        g_ptr_array_add(names, external ? what->u.external.name : what->u.local);
        g_ptr_array_add(nodes, external ? what->u.external.node : NULL);
    }
    g_ptr_array_add(names, NULL);
}

bool qmp_block_export_add(QmpCall *call, GError **err)
{
    const BlockExportOptions *args = call->args;
    const BlockExportOptionsNbd *nbd = &args->u.nbd;
    g_autoptr(GPtrArray) names = g_ptr_array_new(), nodes = g_ptr_array_new();
    NbdServer *server = server_of(call->vm);
    NbdExportConfig config = {.id = args->id, .name = nbd->name ? nbd->name : args->node_name,
                              .description = nbd->description, .writable = args->writable,
                              .write_through = args->writethrough, .allocation_depth = nbd->allocation_depth,
                              .multi_conn = true};

    if (!object_id_is_valid(args->id)) {
        return error_set(err, "Invalid block export id");
    }
    if (!server) {
        return error_set(err, "NBD server not running");
    }
    config.node = find_node(call->vm, "", args->node_name, err);
    if (!config.node) {
        return false;
    }
    collect_bitmaps(nbd->bitmaps, names, nodes);
    config.bitmaps = (const char *const *)names->pdata;
    config.bitmap_nodes = (const char *const *)nodes->pdata;
    return nbd_export_add(server, &config, err) != NULL;
}

static bool remove_export(QmpCall *call, const char *id, bool by_name, BlockExportRemoveMode mode, GError **err)
{
    NbdServer *server = server_of(call->vm);
    NbdExport *export = !server ? NULL : by_name ? nbd_export_find(server, id) : nbd_export_find_id(server, id);

    if (!export) {
        return error_set(err, "Export '%s' is not found", id);
    }
    return nbd_export_remove(export, mode == BLOCK_EXPORT_REMOVE_MODE_HARD, err);
}

bool qmp_nbd_server_remove(QmpCall *call, GError **err)
{
    const NbdServerRemoveArgs *args = call->args;

    return remove_export(call, args->name, true, args->mode, err);
}

bool qmp_block_export_del(QmpCall *call, GError **err)
{
    const BlockExportDelArgs *args = call->args;

    return remove_export(call, args->id, false, args->mode, err);
}

/* ---- lists ------------------------------------------------------------------------------------- */

static void add_info(NbdExport *export, void *opaque)
{
    BlockExportInfo *info = g_new0(BlockExportInfo, 1);

    info->id = g_strdup(nbd_export_id(export));
    info->node_name = g_strdup(nbd_export_node_name(export));
    g_ptr_array_insert(opaque, 0, info); /* the newest first */
}

bool qmp_query_block_exports(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    if (server_of(call->vm)) {
        nbd_export_foreach(server_of(call->vm), add_info, call->result);
    }
    return true;
}
