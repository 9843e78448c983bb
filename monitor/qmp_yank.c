/* SPDX-License-Identifier: GPL-2.0-or-later */
/* yank, query-yank: connections whose other side has stopped answering. */
#include "block/block_int.h"
#include "chardev/char.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

/* NULL: there is no such node, or it has no connection. */
static BlockNode *find_node(Vm *vm, const char *name)
{
    GPtrArray *nodes = vm->block ? block_state(vm)->nodes : NULL;

    for (unsigned i = 0; nodes && i < nodes->len; i++) {
        BlockNode *node = g_ptr_array_index(nodes, i);

        if (node->drv->yank && !g_strcmp0(node->name, name)) {
            return node;
        }
    }
    return NULL;
}

static bool is_there(Vm *vm, const YankInstance *instance)
{
    return instance->type == YANK_INSTANCE_TYPE_CHARDEV ? chardev_can_yank(vm, instance->u.chardev.id)
                                                        : find_node(vm, instance->u.block_node.node_name) != NULL;
}

bool qmp_yank(QmpCall *call, GError **err)
{
    const YankArgs *args = call->args;

    for (unsigned i = 0; i < args->instances->len; i++) {
        if (!is_there(call->vm, args->instances->pdata[i])) {
            return error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Instance not found: instances[%u] is none of query-yank's", i);
        }
    }
    for (unsigned i = 0; i < args->instances->len; i++) {
        const YankInstance *instance = args->instances->pdata[i];

        if (instance->type == YANK_INSTANCE_TYPE_CHARDEV) {
            chardev_yank(call->vm, instance->u.chardev.id);
        } else {
            BlockNode *node = find_node(call->vm, instance->u.block_node.node_name);

            node->drv->yank(node);
        }
    }
    return true;
}

typedef struct Listing {
    Vm *vm;
    GPtrArray *list;    /* YankInstance * */
} Listing;

static YankInstance *list_new(Listing *listing, YankInstanceType type)
{
    YankInstance *instance = g_new0(YankInstance, 1);

    instance->type = type;
    g_ptr_array_add(listing->list, instance);
    return instance;
}

static void list_chardev(const char *id, const char *filename, bool in_use, void *opaque)
{
    Listing *listing = opaque;

    if (chardev_can_yank(listing->vm, id)) {
        list_new(listing, YANK_INSTANCE_TYPE_CHARDEV)->u.chardev.id = g_strdup(id);
    }
}

bool qmp_query_yank(QmpCall *call, GError **err)
{
    Listing listing = {call->vm, g_ptr_array_new()};
    GPtrArray *nodes = call->vm->block ? block_state(call->vm)->nodes : NULL;

    chardev_foreach(call->vm, list_chardev, &listing);
    for (unsigned i = 0; nodes && i < nodes->len; i++) {
        const BlockNode *node = g_ptr_array_index(nodes, i);

        if (node->drv->yank) {
            list_new(&listing, YANK_INSTANCE_TYPE_BLOCK_NODE)->u.block_node.node_name = g_strdup(node->name);
        }
    }
    call->result = listing.list;
    return true;
}
