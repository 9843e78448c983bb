/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: block devices. */
#include <inttypes.h>

#include "block/overlay.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"
#include "util/image_text.h"

/* A query's result; NULL after its error was shown. */
static void *query(HmpCall *call, QmpHandler *handler, const void *args)
{
    QmpCall qmp = {.vm = call->vm, .mon = call->mon, .args = args};
    GError *err = NULL;

    if (!handler(&qmp, &err)) {
        hmp_error(call, err);
        return NULL;
    }
    return qmp.result;
}

/* ---- info block ----------------------------------------------------------------------------- */

static void show_limits(HmpCall *call, const BlockDeviceInfo *d)
{
    if (!d->group) {
        return;
    }
    hmp_printf(call,
               "    I/O throttling:   bps=%" PRId64 " bps_rd=%" PRId64 " bps_wr=%" PRId64
               " bps_max=%" PRId64 " bps_rd_max=%" PRId64 " bps_wr_max=%" PRId64 " iops=%" PRId64
               " iops_rd=%" PRId64 " iops_wr=%" PRId64 " iops_max=%" PRId64 " iops_rd_max=%" PRId64
               " iops_wr_max=%" PRId64 " iops_size=%" PRId64 " group=%s\n",
               d->bps, d->bps_rd, d->bps_wr, d->bps_max, d->bps_rd_max, d->bps_wr_max, d->iops,
               d->iops_rd, d->iops_wr, d->iops_max, d->iops_rd_max, d->iops_wr_max, d->iops_size,
               d->group);
}

static void show_medium(HmpCall *call, const BlockDeviceInfo *d)
{
    hmp_printf(call, ": %s (%s%s%s)\n", d->file, d->drv, d->ro ? ", read-only" : "",
               d->encrypted ? ", encrypted" : "");
}

/* An image and all below it. */
static void show_images(HmpCall *call, const ImageInfo *image)
{
    json_object *all = qapi_write(&qapi_type_ImageInfo, image), *one = all;

    hmp_printf(call, "\nImages:\n");
    do {
        image_text(call->out, one);
    } while (json_object_object_get_ex(one, "backing-image", &one));
    json_object_put(all);
}

static void show_details(HmpCall *call, const BlockDeviceInfo *d, bool verbose)
{
    static const char *const zeroes[] = {"off", "on", "unmap"};

    hmp_printf(call, "    Cache mode:       %s%s%s\n",
               d->cache->writeback ? "writeback" : "writethrough", d->cache->direct ? ", direct" : "",
               d->cache->no_flush ? ", ignore flushes" : "");
    if (d->backing_file) {
        hmp_printf(call, "    Backing file:     %s (chain depth: %" PRId64 ")\n", d->backing_file,
                   d->backing_file_depth);
    }
    if (d->detect_zeroes) {
        hmp_printf(call, "    Detect zeroes:    %s\n", zeroes[d->detect_zeroes]);
    }
    show_limits(call, d);
    if (verbose) {
        show_images(call, d->image);
    }
}

static void show_backend(HmpCall *call, const BlockBackendInfo *info, bool verbose)
{
    const BlockDeviceInfo *d = info->inserted;

    hmp_printf(call, "%s", *info->device ? info->device : d ? d->node_name : info->qdev ? info->qdev : "");
    if (*info->device && d) {
        hmp_printf(call, " (%s)", d->node_name);
    }
    if (d) {
        show_medium(call, d);
    } else {
        hmp_printf(call, ": [not inserted]\n");
    }
    if (info->qdev) {
        hmp_printf(call, "    Attached to:      %s\n", info->qdev);
    }
    if (info->has_io_status && info->io_status != BLOCK_DEVICE_IO_STATUS_OK) {
        hmp_printf(call, "    I/O status:       %s\n",
                   qapi_enum_name(&qapi_type_BlockDeviceIoStatus, (int)info->io_status));
    }
    if (info->removable) {
        hmp_printf(call, "    Removable device: %slocked, tray %s\n", info->locked ? "" : "not ",
                   info->tray_open ? "open" : "closed");
    }
    if (d) {
        show_details(call, d, verbose);
    }
}

static bool is_meant(const char *name, const BlockBackendInfo *info)
{
    return !name || !strcmp(info->device, name) ||
           (info->inserted && !strcmp(info->inserted->node_name, name));
}

static void show_nodes(HmpCall *call, const char *name, bool verbose)
{
    QueryNamedBlockNodesArgs args = {0};
    GPtrArray *list = query(call, qmp_query_named_block_nodes, &args);

    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockDeviceInfo *d = g_ptr_array_index(list, i);

        if (!name || !strcmp(d->node_name, name)) {
            hmp_printf(call, "%s%s", i ? "\n" : "", d->node_name);
            show_medium(call, d);
            show_details(call, d, verbose);
        }
    }
    qapi_free(&qapi_list_BlockDeviceInfo, list);
}

static void hmp_info_block(HmpCall *call)
{
    const char *name = hmp_str(call->args, "device");
    bool verbose = hmp_bool(call->args, "-v");
    GPtrArray *list;

    if (hmp_bool(call->args, "-n")) {
        show_nodes(call, name, verbose);
        return;
    }
    list = query(call, qmp_query_block, NULL);
    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockBackendInfo *info = g_ptr_array_index(list, i);

        if (is_meant(name, info)) {
            hmp_printf(call, "%s", i ? "\n" : "");
            show_backend(call, info, verbose);
        }
    }
    qapi_free(&qapi_list_BlockBackendInfo, list);
}

static void hmp_info_blockstats(HmpCall *call)
{
    QueryBlockstatsArgs args = {0};
    GPtrArray *list = query(call, qmp_query_blockstats, &args);

    for (unsigned i = 0; list && i < list->len; i++) {
        const BlockStats *info = g_ptr_array_index(list, i);
        const BlockDeviceStats *s = info->stats;

        hmp_printf(call,
                   "%s: rd_bytes=%" PRId64 " wr_bytes=%" PRId64 " rd_operations=%" PRId64
                   " wr_operations=%" PRId64 " flush_operations=%" PRId64 " wr_total_time_ns=%" PRId64
                   " rd_total_time_ns=%" PRId64 " flush_total_time_ns=%" PRId64 " rd_merged=%" PRId64
                   " wr_merged=%" PRId64 " idle_time_ns=%" PRId64 "\n",
                   info->device ? info->device : "", s->rd_bytes, s->wr_bytes, s->rd_operations,
                   s->wr_operations, s->flush_operations, s->wr_total_time_ns, s->rd_total_time_ns,
                   s->flush_total_time_ns, s->rd_merged, s->wr_merged,
                   s->has_idle_time_ns ? s->idle_time_ns : 0);
    }
    qapi_free(&qapi_list_BlockStats, list);
}

/* ---- changes -------------------------------------------------------------------------------- */

static char *text(HmpCall *call, const char *name)
{
    return (char *)(uintptr_t)hmp_str(call->args, name);
}

static void hmp_drive_add(HmpCall *call)
{
    GError *err = NULL;
    DriveInfo *info = NULL;

    if (hmp_bool(call->args, "-n")) {
        if (!blk_add_node(call->vm, text(call, "opts"), &err)) {
            hmp_error(call, err);
        }
    } else if (!blk_add_drive(call->vm, text(call, "opts"), NULL, &info, &err)) {
        hmp_error(call, err);
    } else if (strcmp(info->interface, "none")) {
        hmp_error(call, g_error_new(KILN_ERROR, KILN_ERROR_GENERIC,
                                    "Can't hot-add drive to type %s: use if=none and device_add",
                                    info->interface));
        blk_drive_del(call->vm, info->id, NULL);
    } else {
        hmp_printf(call, "OK\n");
    }
}

static void hmp_drive_del(HmpCall *call)
{
    GError *err = NULL;

    if (!blk_drive_del(call->vm, text(call, "id"), &err)) {
        hmp_error(call, err);
    }
}

static void hmp_eject(HmpCall *call)
{
    EjectArgs args = {.device = text(call, "device"),
                      .has_force = true,
                      .force = hmp_bool(call->args, "-f")};

    hmp_call_qmp(call, qmp_eject, &args);
}

static void hmp_change(HmpCall *call)
{
    const char *mode = hmp_str(call->args, "read-only-mode");
    BlockdevChangeMediumArgs args = {.device = text(call, "device"),
                                     .filename = text(call, "filename"),
                                     .format = text(call, "format"),
                                     .has_force = true,
                                     .force = hmp_bool(call->args, "-f"),
                                     .has_read_only_mode = mode != NULL};
    int value = mode ? qapi_enum_value(&qapi_type_BlockdevChangeReadOnlyMode, mode) : 0;

    if (value < 0) {
        hmp_error(call, g_error_new(KILN_ERROR, KILN_ERROR_GENERIC,
                                    "invalid parameter value: %s", mode));
        return;
    }
    args.read_only_mode = (BlockdevChangeReadOnlyMode)value;
    hmp_call_qmp(call, qmp_blockdev_change_medium, &args);
}

static void hmp_block_set_io_throttle(HmpCall *call)
{
    const HmpArgs *a = call->args;
    BlockSetIoThrottleArgs args = {.device = text(call, "device"), .bps = hmp_int(a, "bps"), .bps_rd = hmp_int(a, "bps_rd"),
                                   .bps_wr = hmp_int(a, "bps_wr"), .iops = hmp_int(a, "iops"),
                                   .iops_rd = hmp_int(a, "iops_rd"), .iops_wr = hmp_int(a, "iops_wr")};

    hmp_call_qmp(call, qmp_block_set_io_throttle, &args);
}

static void hmp_block_resize(HmpCall *call)
{
    BlockResizeArgs args = {.device = text(call, "device"), .size = hmp_int(call->args, "size")};

    hmp_call_qmp(call, qmp_block_resize, &args);
}

static bool commit(BlockBackend *blk, GError **err)
{
    BlockNode *node = block_node_skip_filters(blk_node(blk));

    return node->backing ? block_overlay_merge_down(node, err)
                         : error_set(err, "Operation not supported: it has no backing file");
}

static bool commit_all(Vm *vm, GError **err)
{
    bool ok = true;

    for (unsigned i = 0; vm->block && i < vm->block->backends->len && ok; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);

        ok = !blk_node(blk) || !block_node_backing(blk_node(blk)) || commit(blk, err);
    }
    return ok;
}

static void hmp_commit(HmpCall *call)
{
    const char *device = hmp_str(call->args, "device");
    bool all = !strcmp(device, "all");
    BlockBackend *blk = all ? NULL : blk_find(call->vm, device);
    g_autoptr(GError) err = NULL;

    if (!all && (!blk || !*blk_name(blk))) {
        hmp_printf(call, "Device '%s' not found\n", device);
    } else if (!all && !blk_node(blk)) {
        hmp_printf(call, "Device '%s' has no medium\n", device);
    } else if (all ? !commit_all(call->vm, &err) : !commit(blk, &err)) {
        hmp_printf(call, "'commit' error for '%s': %s\n", device, err->message);
    }
}

static void hmp_snapshot_blkdev(HmpCall *call)
{
    BlockdevSnapshotSync args = {.device = text(call, "device"), .snapshot_file = text(call, "snapshot-file"),
                                 .format = text(call, "format"), .has_mode = true,
                                 .mode = hmp_bool(call->args, "-n") ? NEW_IMAGE_MODE_EXISTING : NEW_IMAGE_MODE_ABSOLUTE_PATHS};

    if (args.snapshot_file) {
        hmp_call_qmp(call, qmp_blockdev_snapshot_sync, &args);
    } else {
        hmp_error(call, g_error_new(KILN_ERROR, KILN_ERROR_GENERIC, "Parameter 'snapshot-file' is missing"));
    }
}

static void hmp_snapshot_blkdev_internal(HmpCall *call)
{
    BlockdevSnapshotInternal args = {.device = text(call, "device"), .name = text(call, "name")};

    hmp_call_qmp(call, qmp_blockdev_snapshot_internal_sync, &args);
}

static void hmp_snapshot_delete_blkdev_internal(HmpCall *call)
{
    BlockdevSnapshotDeleteInternalSyncArgs args = {.device = text(call, "device"), .name = text(call, "name"),
                                                   .id = text(call, "id")};

    qapi_free(&qapi_type_SnapshotInfo, query(call, qmp_blockdev_snapshot_delete_internal_sync, &args));
}

const HmpCommand hmp_block_commands[] = {
    {"info block", "-n:flag,-v:flag,device:word?", NULL, "shows block devices, or (-n) nodes (-v: with their images)",
     hmp_info_block},
    {"info blockstats", NULL, NULL, "shows what block devices have done", hmp_info_blockstats},
    {"drive_add", "-n:flag,bus:word,opts:rest", "[-n] bus [file=file][,if=none][,id=name]...",
     "adds a drive, or (-n, with -blockdev's options) a node", hmp_drive_add},
    {"drive_del", "id:word", NULL, "takes a drive's image away", hmp_drive_del},
    {"eject", "-f:flag,device:word", NULL, "takes the medium out of a drive", hmp_eject},
    {"change", "-f:flag,device:word,filename:word,format:word?,read-only-mode:word?", NULL,
     "puts another medium into a drive", hmp_change},
    {"block_set_io_throttle", "device:word,bps:long,bps_rd:long,bps_wr:long,iops:long,iops_rd:long,iops_wr:long", NULL,
     "limits the requests of a drive; 0: no limit", hmp_block_set_io_throttle},
    {"block_resize", "device:word,size:size", NULL, "changes the size of an image",
     hmp_block_resize},
    {"commit", "device:word", "device|all", "writes what overlays (-snapshot) hold into their backing files", hmp_commit},
    {"snapshot_blkdev", "-n:flag,device:word,snapshot-file:word?,format:word?", "[-n] device [new-image-file] [format]",
     "puts an overlay over a drive, in a new image, qcow2 unless format says else (-n: in one that is there)",
     hmp_snapshot_blkdev},
    {"snapshot_blkdev_internal", "device:word,name:word", NULL, "makes a snapshot inside a drive's image",
     hmp_snapshot_blkdev_internal},
    {"snapshot_delete_blkdev_internal", "device:word,name:word,id:word?", NULL,
     "deletes a snapshot inside a drive's image (with id: the one that has both)", hmp_snapshot_delete_blkdev_internal},
    {}};
