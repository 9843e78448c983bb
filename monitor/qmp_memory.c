/* SPDX-License-Identifier: GPL-2.0-or-later */
/* query-memdev, query-memory-size-summary, query-memory-devices, query-iothreads, query-pr-managers. */
#include "backends/iothread.h"
#include "block/pr_manager.h"
#include "backends/memory.h"
#include "core/vm.h"
#include "hw/mem/pc_dimm.h"
#include "hw/virtio/virtio_balloon.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"

/* Calls fn with each object below /objects that is of this type. */
static void foreach_object(Vm *vm, const char *type, void (*fn)(Object *obj, GPtrArray *list), GPtrArray *list)
{
    const Object *all = object_child(vm->root, "objects");

    for (unsigned i = 0; all && all->children && i < all->children->len; i++) {
        Object *obj = g_ptr_array_index(all->children, i);

        if (object_is_a(obj, type)) {
            fn(obj, list);
        }
    }
}

static void add_memdev(Object *obj, GPtrArray *list)
{
    const MemoryBackend *b = (MemoryBackend *)(void *)obj;
    Memdev *info = g_new0(Memdev, 1);

    *info = (Memdev){.id = g_strdup(obj->name), .size = b->size, .merge = b->merge, .dump = b->dump,
                     .prealloc = b->prealloc, .share = b->share, .has_reserve = true, .reserve = b->reserve,
                     .policy = (HostMemPolicy)b->policy, .host_nodes = g_array_new(false, false, sizeof(uint16_t))};
    for (uint16_t n = 0; n < MEMORY_MAX_NODES; n++) {
        if (b->nodes[n / 64] >> n % 64 & 1) {
            g_array_append_val(info->host_nodes, n);
        }
    }
    g_ptr_array_add(list, info);
}

bool qmp_query_memdev(QmpCall *call, GError **err)
{
    GPtrArray *list = g_ptr_array_new();

    foreach_object(call->vm, "memory-backend", add_memdev, list);
    call->result = list;
    return true;
}

bool qmp_query_memory_size_summary(QmpCall *call, GError **err)
{
    MemoryInfo *info = g_new0(MemoryInfo, 1);

    info->base_memory = call->vm->ram_size;
    info->has_plugged_memory = true;
    info->plugged_memory = pc_dimms_size(call->vm, -1);
    call->result = info;
    return true;
}

static MemoryDeviceInfo *describe_dimm(const PcDimm *dimm)
{
    MemoryDeviceInfo *info = g_new0(MemoryDeviceInfo, 1);
    PCDIMMDeviceInfo *data = g_new0(PCDIMMDeviceInfo, 1);

    *data = (PCDIMMDeviceInfo){.id = g_strdup(dimm->dev.id), .addr = (int64_t)dimm->addr, .size = (int64_t)pc_dimm_size(dimm),
                               .slot = dimm->slot, .node = dimm->node, .memdev = object_path(dimm->memdev),
                               .hotplugged = dimm->dev.hotplugged, .hotpluggable = true};
    info->type = MEMORY_DEVICE_INFO_KIND_DIMM;
    info->u.dimm.data = data;
    return info;
}

bool qmp_query_memory_devices(QmpCall *call, GError **err)
{
    g_autoptr(GPtrArray) dimms = pc_dimms(call->vm);
    GPtrArray *list = call->result = g_ptr_array_new();

    for (unsigned i = 0; i < dimms->len; i++) {
        g_ptr_array_add(list, describe_dimm(g_ptr_array_index(dimms, i)));
    }
    return true;
}

static void add_iothread(Object *obj, GPtrArray *list)
{
    const IoThread *t = (IoThread *)(void *)obj;
    IOThreadInfo *info = g_new0(IOThreadInfo, 1);

    *info = (IOThreadInfo){.id = g_strdup(obj->name), .thread_id = t->tid, .poll_max_ns = t->poll_max_ns,
                           .poll_grow = t->poll_grow, .poll_shrink = t->poll_shrink,
                           .aio_max_batch = t->aio_max_batch};
    g_ptr_array_add(list, info);
}

bool qmp_query_iothreads(QmpCall *call, GError **err)
{
    GPtrArray *list = g_ptr_array_new();

    foreach_object(call->vm, "iothread", add_iothread, list);
    call->result = list;
    return true;
}

static void add_pr_manager(Object *obj, GPtrArray *list)
{
    PRManagerInfo *info = g_new0(PRManagerInfo, 1);

    *info = (PRManagerInfo){.id = g_strdup(obj->name), .connected = pr_manager_connected((PrManager *)(void *)obj)};
    g_ptr_array_add(list, info);
}

bool qmp_query_pr_managers(QmpCall *call, GError **err)
{
    GPtrArray *list = g_ptr_array_new();

    foreach_object(call->vm, "pr-manager", add_pr_manager, list);
    call->result = list;
    return true;
}

/* ---- the balloon --------------------------------------------------------------------------- */

bool qmp_query_balloon(QmpCall *call, GError **err)
{
    const VirtioBalloon *balloon = virtio_balloon_find(call->vm, err);
    BalloonInfo *info;

    if (!balloon) {
        return false;
    }
    info = g_new0(BalloonInfo, 1);
    info->actual = (int64_t)virtio_balloon_memory(balloon);
    call->result = info;
    return true;
}

bool qmp_balloon(QmpCall *call, GError **err)
{
    const BalloonArgs *args = call->args;
    VirtioBalloon *balloon = virtio_balloon_find(call->vm, err);

    if (!balloon) {
        return false;
    }
    if (args->value <= 0) {
        return error_set(err, "Parameter 'target' expects a size");
    }
    virtio_balloon_set_target(balloon, (uint64_t)args->value);
    return true;
}
