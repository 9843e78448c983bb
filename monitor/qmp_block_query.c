/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: what block devices and nodes there are, and what they have done. */
#include "block/dirty_bitmap.h"
#include "block/throttle.h"
#include "monitor/qmp.h"
#include "monitor/qmp_snapshot.h"
#include "qapi/qapi-commands.h"

/* ---- images --------------------------------------------------------------------------------- */

typedef struct OwnerCall {
    BlockNode *node;
    BlockInfo info;
    bool has_info;
    json_object *specific;
    int64_t allocated;
    GPtrArray *bitmaps; /* BlockDirtyInfo * */
    GPtrArray *snapshots; /* SnapshotInfo *; NULL: none */
} OwnerCall;

static GPtrArray *snapshot_infos(BlockNode *node)
{
    GPtrArray *list = node->drv->snapshot_list ? node->drv->snapshot_list(node, NULL) : NULL;
    GPtrArray *infos = list && list->len ? g_ptr_array_new() : NULL;

    for (unsigned i = 0; infos && i < list->len; i++) {
        g_ptr_array_add(infos, qmp_snapshot_info(g_ptr_array_index(list, i)));
    }
    g_clear_pointer(&list, g_ptr_array_unref);
    return infos;
}

/* The node whose clusters and flags are node's: raw and filters have none of their own. NULL: nor has that one. */
static BlockNode *info_node(BlockNode *node)
{
    while (node->drv->is_filter || node->drv == &block_driver_raw) {
        node = ((BlockChild *)g_ptr_array_index(node->children, 0))->node;
    }
    return node->drv == &block_driver_nbd || node->drv == &block_driver_null_co || node->drv == &block_driver_null_aio ? NULL : node;
}

static void ask_driver(void *opaque)
{
    OwnerCall *c = opaque;
    BlockNode *node = info_node(c->node);

    c->snapshots = snapshot_infos(c->node);
    c->has_info = node != NULL;
    if (node && node->drv->get_info) {
        node->drv->get_info(node, &c->info);
    }
    if (c->node->drv->specific_info) {
        c->specific = c->node->drv->specific_info(c->node);
    }
    c->allocated = block_node_allocated_size(c->node);
}

static void ask_bitmaps(void *opaque)
{
    OwnerCall *c = opaque;

    for (unsigned i = 0; i < c->node->bitmaps->len; i++) {
        const DirtyBitmap *b = g_ptr_array_index(c->node->bitmaps, i);
        BlockDirtyInfo *info = g_new0(BlockDirtyInfo, 1);

        info->name = g_strdup(b->name);
        info->count = (int64_t)block_dirty_bitmap_count(b);
        info->granularity = UINT32_C(1) << b->granularity_bits;
        info->recording = b->enabled && b->bits;
        info->busy = b->busy;
        info->persistent = b->persistent;
        info->has_inconsistent = info->inconsistent = !b->bits;
        g_ptr_array_add(c->bitmaps, info);
    }
}

static GPtrArray *bitmap_infos(BlockNode *node)
{
    OwnerCall c = {.node = node};

    if (node->bitmaps && node->bitmaps->len) {
        c.bitmaps = g_ptr_array_new();
        block_loop_call(node->loop, ask_bitmaps, &c);
    }
    return c.bitmaps;
}

/* What an answer shows as the next image: a filter's is what it filters. */
static BlockNode *next_image(const BlockNode *node)
{
    if (node->drv->is_filter) {
        return ((BlockChild *)g_ptr_array_index(node->children, 0))->node;
    }
    return node->backing ? node->backing->node : NULL;
}

static char *filename_of(const BlockNode *node)
{
    const BlockNode *at = node;

    while (!at->filename && at->children->len) {
        at = ((BlockChild *)g_ptr_array_index(at->children, 0))->node;
    }
    return at->filename ? g_strdup(at->filename) : g_strdup_printf("%s://", at->drv->name);
}

static ImageInfo *image_info(BlockNode *node, bool flat)
{
    OwnerCall c = {.node = node};
    ImageInfo *image = g_new0(ImageInfo, 1);
    void *specific = NULL;

    block_loop_call(node->loop, ask_driver, &c);
    image->filename = filename_of(node);
    image->format = g_strdup(node->drv->name);
    image->virtual_size = (int64_t)block_node_disk_size(node);
    image->has_actual_size = c.allocated >= 0;
    image->actual_size = c.allocated;
    image->has_cluster_size = c.info.cluster_size != 0;
    image->cluster_size = c.info.cluster_size;
    image->has_encrypted = image->encrypted = c.info.encrypted && !node->drv->is_filter;
    image->has_dirty_flag = c.has_info;
    image->dirty_flag = c.info.is_dirty;
    image->snapshots = c.snapshots;
    image->backing_filename = g_strdup(node->backing_filename);
    image->backing_filename_format = g_strdup(node->backing_format);
    if (node->backing_filename) {
        image->full_backing_filename = block_path_beside(node->filename, node->backing_filename);
    }
    if (c.specific && qapi_read(&qapi_type_ImageInfoSpecific, c.specific, 0, &specific, NULL)) {
        image->format_specific = specific;
    }
    json_object_put(c.specific);
    if (!flat && next_image(node)) {
        image->backing_image = image_info(block_node_skip_implicit(next_image(node)), false);
    }
    return image;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

static void set_limits(BlockDeviceInfo *d, BlockBackend *blk)
{
    struct ThrottleGroup *group = blk ? blk_throttle_group(blk) : NULL;
    ThrottleConfig c;
    int64_t *const avg[] = {&d->bps, &d->bps_rd, &d->bps_wr, &d->iops, &d->iops_rd, &d->iops_wr};
    int64_t *const max[] = {&d->bps_max,  &d->bps_rd_max,  &d->bps_wr_max,
                            &d->iops_max, &d->iops_rd_max, &d->iops_wr_max};
    bool *const has_max[] = {&d->has_bps_max,  &d->has_bps_rd_max,  &d->has_bps_wr_max,
                             &d->has_iops_max, &d->has_iops_rd_max, &d->has_iops_wr_max};
    int64_t *const length[] = {&d->bps_max_length,  &d->bps_rd_max_length,  &d->bps_wr_max_length,
                               &d->iops_max_length, &d->iops_rd_max_length, &d->iops_wr_max_length};
    bool *const has_length[] = {&d->has_bps_max_length,     &d->has_bps_rd_max_length,
                                &d->has_bps_wr_max_length,  &d->has_iops_max_length,
                                &d->has_iops_rd_max_length, &d->has_iops_wr_max_length};

    if (!group) {
        return;
    }
    c = throttle_group_config(group);
    d->group = g_strdup(throttle_group_name(group));
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        *avg[i] = (int64_t)c.avg[i];
        *has_max[i] = *has_length[i] = c.max[i] != 0;
        *max[i] = (int64_t)c.max[i];
        *length[i] = (int64_t)c.length[i];
    }
    d->has_iops_size = c.iops_size != 0;
    d->iops_size = (int64_t)c.iops_size;
}

static BlockDeviceInfo *device_info(BlockNode *node, BlockBackend *blk, bool flat)
{
    static const BlockdevDetectZeroesOptions zeroes[] = {
        [BLOCK_DETECT_ZEROES_OFF] = BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF,
        [BLOCK_DETECT_ZEROES_ON] = BLOCKDEV_DETECT_ZEROES_OPTIONS_ON,
        [BLOCK_DETECT_ZEROES_UNMAP] = BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP,
    };
    BlockDeviceInfo *d = g_new0(BlockDeviceInfo, 1);

    d->file = filename_of(node);
    d->node_name = g_strdup(node->name);
    d->ro = node->read_only;
    d->drv = g_strdup(node->drv->name);
    d->backing_file = node->backing ? filename_of(node->backing->node) : NULL;
    for (BlockNode *at = flat ? NULL : next_image(node); at; at = next_image(block_node_skip_implicit(at))) {
        d->backing_file_depth++;
    }
    d->detect_zeroes = zeroes[node->detect_zeroes];
    d->image = image_info(node, flat);
    d->encrypted = d->image->encrypted;
    d->cache = g_new0(BlockdevCacheInfo, 1);
    d->cache->writeback = !blk || blk_write_cache(blk);
    d->cache->direct = node->direct;
    d->cache->no_flush = node->no_flush;
    d->write_threshold = (int64_t)node->write_threshold;
    d->dirty_bitmaps = bitmap_infos(node);
    set_limits(d, blk);
    return d;
}

bool qmp_query_named_block_nodes(QmpCall *call, GError **err)
{
    const QueryNamedBlockNodesArgs *args = call->args;
    GPtrArray *list = g_ptr_array_new();
    GPtrArray *nodes = block_state(call->vm)->nodes;

    for (unsigned i = nodes->len; i-- > 0;) {
        BlockNode *node = g_ptr_array_index(nodes, i);

        if (!node->implicit) {
            g_ptr_array_add(list, device_info(node, NULL, args->flat));
        }
    }
    call->result = list;
    return true;
}

/* ---- devices -------------------------------------------------------------------------------- */

/* Drives, and what devices hold; a back end that a device has not attached is nobody's business. */
static bool is_visible(const BlockBackend *blk)
{
    return *blk_name(blk) || blk_is_used(blk);
}

static BlockBackendInfo *backend_info(BlockBackend *blk)
{
    BlockBackendInfo *info = g_new0(BlockBackendInfo, 1);
    int status = qapi_enum_value(&qapi_type_BlockDeviceIoStatus, blk_io_status(blk));

    info->device = g_strdup(blk_name(blk));
    info->qdev = blk_qdev(blk);
    info->type = g_strdup("unknown");
    info->removable = blk_is_removable(blk);
    info->locked = blk_medium_is_locked(blk);
    info->has_tray_open = blk_has_tray(blk);
    info->tray_open = blk_tray_is_open(blk);
    info->has_io_status = blk_may_stop(blk) && status >= 0;
    info->io_status = status >= 0 ? (BlockDeviceIoStatus)status : 0;
    if (blk_node(blk)) {
        info->inserted = device_info(block_node_skip_implicit(blk_node(blk)), blk, false);
    }
    return info;
}

bool qmp_query_block(QmpCall *call, GError **err)
{
    GPtrArray *list = g_ptr_array_new();
    GPtrArray *backends = block_state(call->vm)->backends;

    for (unsigned i = 0; i < backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(backends, i);

        if (is_visible(blk)) {
            g_ptr_array_add(list, backend_info(blk));
        }
    }
    call->result = list;
    return true;
}

/* ---- figures -------------------------------------------------------------------------------- */

static uint64_t average(const BlkTimed *t)
{
    return t->count ? t->sum_ns / t->count : 0;
}

/* How many requests there were at a time, on average. */
static double depth(const BlkTimed *t, const BlkInterval *interval)
{
    return interval->covers_ns ? (double)t->sum_ns / (double)interval->covers_ns : 0;
}

static BlockDeviceTimedStats *timed(const BlkInterval *interval)
{
    BlockDeviceTimedStats *t = g_new0(BlockDeviceTimedStats, 1);
    const BlkTimed *rd = &interval->kinds[BLK_STAT_READ], *wr = &interval->kinds[BLK_STAT_WRITE];
    const BlkTimed *flush = &interval->kinds[BLK_STAT_FLUSH];

    t->interval_length = interval->seconds;
    t->min_rd_latency_ns = (int64_t)rd->min_ns;
    t->max_rd_latency_ns = (int64_t)rd->max_ns;
    t->avg_rd_latency_ns = (int64_t)average(rd);
    t->min_wr_latency_ns = (int64_t)wr->min_ns;
    t->max_wr_latency_ns = (int64_t)wr->max_ns;
    t->avg_wr_latency_ns = (int64_t)average(wr);
    t->min_flush_latency_ns = (int64_t)flush->min_ns;
    t->max_flush_latency_ns = (int64_t)flush->max_ns;
    t->avg_flush_latency_ns = (int64_t)average(flush);
    t->avg_rd_queue_depth = depth(rd, interval);
    t->avg_wr_queue_depth = depth(wr, interval);
    return t;
}

static BlockLatencyHistogramInfo *histogram(const BlkFigures *f, BlkStatKind kind)
{
    BlockLatencyHistogramInfo *info;

    if (!f->boundaries[kind]) {
        return NULL;
    }
    info = g_new0(BlockLatencyHistogramInfo, 1);
    info->boundaries = g_array_copy(f->boundaries[kind]);
    info->bins = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_array_append_vals(info->bins, f->bins[kind], f->boundaries[kind]->len + 1);
    return info;
}

static void put_counts(BlockDeviceStats *d, const BlkStats *s)
{
    d->rd_bytes = (int64_t)s->bytes[BLK_STAT_READ];
    d->wr_bytes = (int64_t)s->bytes[BLK_STAT_WRITE];
    d->unmap_bytes = (int64_t)s->bytes[BLK_STAT_DISCARD];
    d->rd_operations = (int64_t)s->ops[BLK_STAT_READ];
    d->wr_operations = (int64_t)s->ops[BLK_STAT_WRITE];
    d->flush_operations = (int64_t)s->ops[BLK_STAT_FLUSH];
    d->unmap_operations = (int64_t)s->ops[BLK_STAT_DISCARD];
    d->rd_total_time_ns = (int64_t)s->total_ns[BLK_STAT_READ];
    d->wr_total_time_ns = (int64_t)s->total_ns[BLK_STAT_WRITE];
    d->flush_total_time_ns = (int64_t)s->total_ns[BLK_STAT_FLUSH];
    d->unmap_total_time_ns = (int64_t)s->total_ns[BLK_STAT_DISCARD];
    d->failed_rd_operations = (int64_t)s->failed[BLK_STAT_READ];
    d->failed_wr_operations = (int64_t)s->failed[BLK_STAT_WRITE];
    d->failed_flush_operations = (int64_t)s->failed[BLK_STAT_FLUSH];
    d->failed_unmap_operations = (int64_t)s->failed[BLK_STAT_DISCARD];
    d->invalid_rd_operations = (int64_t)s->invalid[BLK_STAT_READ];
    d->invalid_wr_operations = (int64_t)s->invalid[BLK_STAT_WRITE];
    d->invalid_flush_operations = (int64_t)s->invalid[BLK_STAT_FLUSH];
    d->invalid_unmap_operations = (int64_t)s->invalid[BLK_STAT_DISCARD];
    d->rd_merged = (int64_t)s->merged[BLK_STAT_READ];
    d->wr_merged = (int64_t)s->merged[BLK_STAT_WRITE];
    d->wr_highest_offset = (int64_t)s->wr_highest_offset;
    d->has_idle_time_ns = s->last_ns != 0;
    d->idle_time_ns = clock_monotonic_ns() - s->last_ns;
}

static BlockDeviceStats *figures(BlockBackend *blk)
{
    BlockDeviceStats *d = g_new0(BlockDeviceStats, 1);
    BlkFigures f = {.skip_failed = true, .skip_invalid = true}; /* nodes count neither */

    if (blk) {
        blk_get_figures(blk, &f);
    }
    put_counts(d, &f.stats);
    d->account_invalid = !f.skip_invalid;
    d->account_failed = !f.skip_failed;
    d->timed_stats = g_ptr_array_new();
    for (unsigned i = 0; i < f.intervals; i++) {
        g_ptr_array_add(d->timed_stats, timed(&f.interval[i]));
    }
    d->rd_latency_histogram = histogram(&f, BLK_STAT_READ);
    d->wr_latency_histogram = histogram(&f, BLK_STAT_WRITE);
    d->flush_latency_histogram = histogram(&f, BLK_STAT_FLUSH);
    blk_figures_clear(&f);
    return d;
}

static BlockStatsSpecific *driver_figures(const BlockNode *node)
{
    BlockStatsSpecific *s;
    BlockStatsSpecificFile *file;
    BlockDiscardStats d;

    if (node->drv != &block_driver_file && node->drv != &block_driver_host_device) {
        return NULL;
    }
    node->drv->discard_stats(node, &d);
    s = g_new0(BlockStatsSpecific, 1);
    s->driver = node->drv == &block_driver_file ? BLOCKDEV_DRIVER_FILE : BLOCKDEV_DRIVER_HOST_DEVICE;
    file = s->driver == BLOCKDEV_DRIVER_FILE ? &s->u.file : &s->u.host_device;
    file->discard_nb_ok = d.ok;
    file->discard_nb_failed = d.failed;
    file->discard_bytes_ok = d.bytes_ok;
    return s;
}

/* Where node's data goes: a data file, else the first child. */
static BlockNode *data_child(const BlockNode *node)
{
    const BlockChild *found = node->file;

    for (unsigned i = 0; i < node->children->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->children, i);

        found = !found || !strcmp(child->name, "data-file") ? child : found;
    }
    return found ? found->node : NULL;
}

/* A node's own: how far it was written; the rest is counted by devices. */
static BlockStats *node_stats(BlockNode *node, bool chain)
{
    BlockStats *s = g_new0(BlockStats, 1);

    s->node_name = g_strdup(node->name);
    s->stats = figures(NULL);
    s->driver_specific = driver_figures(node);
    s->stats->wr_highest_offset = (int64_t)__atomic_load_n(&node->wr_highest, __ATOMIC_RELAXED);
    if (data_child(node)) {
        s->parent = node_stats(data_child(node), chain);
    }
    if (chain && next_image(node)) {
        s->backing = node_stats(next_image(node), true);
    }
    return s;
}

static BlockStats *backend_stats(BlockBackend *blk)
{
    BlockNode *node = block_node_skip_implicit(blk_node(blk));
    BlockStats *s = node ? node_stats(node, true) : g_new0(BlockStats, 1);

    s->device = g_strdup(blk_name(blk));
    s->qdev = blk_qdev(blk);
    qapi_free(&qapi_type_BlockDeviceStats, s->stats);
    s->stats = figures(blk);
    return s;
}

bool qmp_query_blockstats(QmpCall *call, GError **err)
{
    const QueryBlockstatsArgs *args = call->args;
    const BlockState *state = block_state(call->vm);
    GPtrArray *list = g_ptr_array_new();

    for (unsigned i = 0; args->query_nodes && i < state->nodes->len; i++) {
        BlockNode *node = g_ptr_array_index(state->nodes, i);

        if (!node->implicit) {
            g_ptr_array_add(list, node_stats(node, false));
        }
    }
    for (unsigned i = 0; !args->query_nodes && i < state->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(state->backends, i);

        if (is_visible(blk)) {
            g_ptr_array_add(list, backend_stats(blk));
        }
    }
    call->result = list;
    return true;
}
