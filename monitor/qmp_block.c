/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: nodes are added, removed and reopened; media, sizes and limits change. */
#include "block/throttle.h"
#include "monitor/qmp.h"
#include "monitor/qmp_nodes.h"
#include "qapi/qapi-commands.h"

/* ---- nodes ---------------------------------------------------------------------------------- */

bool qmp_blockdev_add(QmpCall *call, GError **err)
{
    return blk_blockdev_add(call->vm, call->args, err);
}

bool qmp_blockdev_del(QmpCall *call, GError **err)
{
    const BlockdevDelArgs *args = call->args;

    return blk_blockdev_del(call->vm, args->node_name, err);
}

static void free_opts(gpointer opts)
{
    block_opts_free(opts);
}

bool qmp_blockdev_reopen(QmpCall *call, GError **err)
{
    const BlockdevReopenArgs *args = call->args;
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(free_opts);

    for (unsigned i = 0; i < args->options->len; i++) {
        g_ptr_array_add(list, block_opts_from_schema(g_ptr_array_index(args->options, i)));
    }
    return block_reopen(call->vm, list, err);
}

/* ---- which one ------------------------------------------------------------------------------ */

static BlockBackend *find_backend(Vm *vm, const char *device, const char *id, GError **err)
{
    BlockBackend *blk = NULL;

    if (!device == !id) {
        error_set(err, "Need exactly one of 'device' and 'id'");
        return NULL;
    }
    if (id) {
        blk = blk_by_qdev(vm, id);
    } else {
        blk = blk_find(vm, device);
        blk = blk && *blk_name(blk) ? blk : NULL;
    }
    if (!blk && id && !device_find(vm, id)) {
        error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", id);
    } else if (!blk && id) {
        error_set(err, "Device '%s' is not a block device", id);
    } else if (!blk) {
        error_set_class(err, KILN_ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", device);
    }
    return blk;
}

BlockNode *qmp_find_node(Vm *vm, const char *device, const char *node_name, GError **err)
{
    BlockBackend *blk = device ? blk_find(vm, device) : NULL;
    BlockNode *node = node_name ? block_node_find(vm, node_name) : NULL;

    if (blk && *blk_name(blk)) {
        if (!blk_node(blk)) {
            error_set(err, "Device '%s' has no medium", device);
        }
        return blk_node(blk);
    }
    if (!node) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", device ? device : "",
                  node_name ? node_name : "");
    }
    return node;
}

/* ---- sizes and limits ----------------------------------------------------------------------- */

bool qmp_block_resize(QmpCall *call, GError **err)
{
    const BlockResizeArgs *args = call->args;
    BlockNode *node = qmp_find_node(call->vm, args->device, args->node_name, err);
    BlockBackend *user; /* who stands on the node, such as a format on its file, may not stand a new size */
    bool ok;

    if (!node) {
        return false;
    }
    if (args->size < 0) {
        return error_set(err, "Parameter 'size' expects a >0 size");
    }
    user = blk_new(call->vm, NULL, node, BLOCK_PERM_RESIZE, err);
    ok = user && block_ptruncate(node, (uint64_t)args->size, false, BLOCK_PREALLOC_OFF, err);
    blk_free(user);
    return ok;
}

bool qmp_block_set_write_threshold(QmpCall *call, GError **err)
{
    const BlockSetWriteThresholdArgs *args = call->args;
    BlockNode *node = block_node_find(call->vm, args->node_name);

    if (!node) {
        return error_set(err, "Device '%s' not found", args->node_name);
    }
    block_drain_begin(node);
    node->write_threshold = args->write_threshold;
    block_drain_end(node);
    return true;
}

static uint64_t limit(int64_t value)
{
    return value < 0 ? UINT64_MAX : (uint64_t)value; /* refused by the check */
}

static ThrottleConfig limits_of(const BlockSetIoThrottleArgs *a)
{
    ThrottleConfig c = throttle_config_default();
    const int64_t avg[] = {a->bps, a->bps_rd, a->bps_wr, a->iops, a->iops_rd, a->iops_wr};
    const int64_t max[] = {a->bps_max,  a->bps_rd_max,  a->bps_wr_max,
                           a->iops_max, a->iops_rd_max, a->iops_wr_max};
    const int64_t length[] = {a->bps_max_length,  a->bps_rd_max_length,  a->bps_wr_max_length,
                              a->iops_max_length, a->iops_rd_max_length, a->iops_wr_max_length};
    const bool has_length[] = {a->has_bps_max_length,     a->has_bps_rd_max_length,
                               a->has_bps_wr_max_length,  a->has_iops_max_length,
                               a->has_iops_rd_max_length, a->has_iops_wr_max_length};

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        c.avg[i] = limit(avg[i]);
        c.max[i] = limit(max[i]);
        c.length[i] = has_length[i] ? limit(length[i]) : 1;
    }
    c.iops_size = limit(a->iops_size);
    return c;
}

bool qmp_block_set_io_throttle(QmpCall *call, GError **err)
{
    const BlockSetIoThrottleArgs *args = call->args;
    BlockBackend *blk = find_backend(call->vm, args->device, args->id, err);
    ThrottleConfig config;

    if (!blk) {
        return false;
    }
    if (!blk_node(blk)) {
        return error_set(err, "Device '%s' has no medium", blk_qdev_name(blk));
    }
    config = limits_of(args);
    return blk_set_throttle(blk, args->group, &config, err);
}

/* ---- how long requests take ----------------------------------------------------------------- */

#define BOUNDARIES_MAX 4096

static bool rises(const GArray *boundaries)
{
    uint64_t before = 0;

    for (unsigned i = 0; boundaries && i < boundaries->len; i++) {
        const uint64_t next = g_array_index(boundaries, uint64_t, i);

        if (next <= before) {
            return false;
        }
        before = next;
    }
    return true;
}

bool qmp_block_latency_histogram_set(QmpCall *call, GError **err)
{
    static const char *const names[BLK_TIMED_KINDS] = {"read", "write", "flush"};
    const BlockLatencyHistogramSetArgs *args = call->args;
    GArray *const own[BLK_TIMED_KINDS] = {args->boundaries_read, args->boundaries_write, args->boundaries_flush};
    const bool clear = !args->boundaries && !own[0] && !own[1] && !own[2];
    BlockBackend *blk = find_backend(call->vm, NULL, args->id, err);

    if (!blk) {
        return false;
    }
    for (unsigned i = 0; i < BLK_TIMED_KINDS; i++) {
        const GArray *wanted = own[i] ? own[i] : args->boundaries;

        if (!rises(wanted)) {
            return error_set(err, "Device '%s' set %s boundaries fail: each must be larger than the one before, the first larger than 0",
                             args->id, names[i]);
        }
        if (wanted && wanted->len > BOUNDARIES_MAX) {
            return error_set(err, "Device '%s': %u %s boundaries are too many; %u at most", args->id, wanted->len, names[i],
                             BOUNDARIES_MAX);
        }
    }
    for (unsigned i = 0; i < BLK_TIMED_KINDS; i++) {
        if (clear || own[i] || args->boundaries) {
            blk_set_boundaries(blk, (BlkStatKind)i, own[i] ? own[i] : args->boundaries);
        }
    }
    return true;
}

/* ---- media ---------------------------------------------------------------------------------- */

bool qmp_blockdev_open_tray(QmpCall *call, GError **err)
{
    const BlockdevOpenTrayArgs *args = call->args;
    BlockBackend *blk = find_backend(call->vm, args->device, args->id, err);

    return blk && blk_open_tray(blk, args->force, err);
}

bool qmp_blockdev_close_tray(QmpCall *call, GError **err)
{
    const BlockdevCloseTrayArgs *args = call->args;
    BlockBackend *blk = find_backend(call->vm, args->device, args->id, err);

    return blk && blk_close_tray(blk, err);
}

bool qmp_blockdev_remove_medium(QmpCall *call, GError **err)
{
    const BlockdevRemoveMediumArgs *args = call->args;
    BlockBackend *blk = find_backend(call->vm, NULL, args->id, err);

    return blk && blk_remove_medium(blk, err);
}

bool qmp_blockdev_insert_medium(QmpCall *call, GError **err)
{
    const BlockdevInsertMediumArgs *args = call->args;
    BlockBackend *blk = find_backend(call->vm, NULL, args->id, err);
    BlockNode *node = block_node_find(call->vm, args->node_name);

    if (!blk) {
        return false;
    }
    if (!node) {
        return error_set(err, "Node '%s' not found", args->node_name);
    }
    for (unsigned i = 0; i < node->parents->len; i++) {
        if (((BlockChild *)g_ptr_array_index(node->parents, i))->blk) {
            return error_set(err, "Node '%s' is already in use", args->node_name);
        }
    }
    return blk_insert_medium(blk, node, err);
}

bool qmp_blockdev_change_medium(QmpCall *call, GError **err)
{
    static const BlkChangeMode modes[] = {
        [BLOCKDEV_CHANGE_READ_ONLY_MODE_RETAIN] = BLK_CHANGE_RETAIN,
        [BLOCKDEV_CHANGE_READ_ONLY_MODE_READ_ONLY] = BLK_CHANGE_READ_ONLY,
        [BLOCKDEV_CHANGE_READ_ONLY_MODE_READ_WRITE] = BLK_CHANGE_READ_WRITE,
    };
    const BlockdevChangeMediumArgs *args = call->args;
    BlockBackend *blk = find_backend(call->vm, args->device, args->id, err);

    return blk && blk_change_medium(blk, args->filename, args->format, args->force,
                                    args->has_read_only_mode ? modes[args->read_only_mode]
                                                             : BLK_CHANGE_RETAIN,
                                    err);
}

bool qmp_eject(QmpCall *call, GError **err)
{
    const EjectArgs *args = call->args;
    BlockBackend *blk = find_backend(call->vm, args->device, args->id, err);

    return blk && blk_eject_medium(blk, args->force, err);
}
