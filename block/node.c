/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block nodes: the drivers, the list of nodes, references, opening from options; and the VM's block
 * layer as a whole.
 */
#include <stdio.h>

#include "block/block_int.h"
#include "block/dirty_bitmap.h"
#include "block/job.h"
#include "block/pr_manager.h"
#include "block/slow.h"
#include "core/event.h"
#include "qapi/qapi-block.h"

static const BlockDriver *const drivers[] = {
    &block_driver_file, &block_driver_host_device, &block_driver_host_cdrom,
    &block_driver_raw,  &block_driver_null_co,   &block_driver_null_aio,
    &block_driver_blkdebug, &block_driver_blklogwrites, &block_driver_copy_on_read, &block_driver_nbd,
    &block_driver_luks, &block_driver_preallocate, &block_driver_qcow2, &block_driver_throttle,
    &block_driver_vdi, &block_driver_vhdx, &block_driver_vmdk, &block_driver_vpc,
    NULL,
};

const char *const block_prealloc_names[] = {"off", "metadata", "falloc", "full", NULL};

const BlockDriver *const *block_drivers(void)
{
    return drivers;
}

void blk_drivers_help(void)
{
    printf("Supported formats:");
    for (const BlockDriver *const *drv = drivers; *drv; drv++) {
        printf(" %s", (*drv)->name);
    }
    putchar('\n');
}

const BlockDriver *block_driver_find(const char *name)
{
    for (unsigned i = 0; drivers[i]; i++) {
        if (!strcmp(drivers[i]->name, name)) {
            return drivers[i];
        }
    }
    return NULL;
}

/* ---- the VM's state ------------------------------------------------------------------------- */

static void on_run_state(void *opaque, bool running, RunState state)
{
    BlockState *s = opaque;

    (void)state;
    if (running) {
        blk_retry_all(s->vm);
    } else {
        blk_drain_all(s->vm);
        blk_flush_all(s->vm);
    }
}

static void on_end_vm(void *opaque)
{
    const Vm *vm = opaque;

    pr_managers_end(opaque);
    for (unsigned i = 0; i < vm->block->nodes->len; i++) {
        BlockNode *node = g_ptr_array_index(vm->block->nodes, i);

        if (node->drv->vm_ends) {
            node->drv->vm_ends(node);
        }
    }
}

static void on_exit_vm(void *opaque)
{
    blk_cleanup(opaque);
}

BlockState *block_state(Vm *vm)
{
    BlockState *s = vm->block;
    g_autoptr(GError) err = NULL;

    if (!s) {
        s = g_new0(BlockState, 1);
        s->vm = vm;
        s->nodes = g_ptr_array_new();
        s->backends = g_ptr_array_new();
        s->drives = g_ptr_array_new();
        s->blockdevs = g_ptr_array_new();
        s->loops = g_ptr_array_new();
        s->throttle_groups = g_ptr_array_new();
        s->slow_waiting = g_ptr_array_new();
        s->borrowed = g_ptr_array_new();
        pthread_mutex_init(&s->loops_lock, NULL);
        vm->block = s;
        if (!block_loop_get(vm, vm->loop, &err)) {
            g_error("%s", err->message); /* no eventfd at the start of the process */
        }
        vm_on_run_state(vm, on_run_state, s);
        vm_on_end(vm, on_end_vm, vm);
        vm_on_exit(vm, on_exit_vm, vm);
    }
    return s;
}

static void drive_info_free(DriveInfo *info)
{
    g_free(info->id);
    g_free(info->asked);
    g_free(info);
}

void blk_cleanup(Vm *vm)
{
    BlockState *s = vm->block;

    if (!s) {
        return;
    }
    block_slow_cancel_all(vm, "the machine ends");
    if (s->close_exports) {
        s->close_exports(vm);
    }
    blk_drain_all(vm); /* also lets go what blkdebug holds */
    block_jobs_end(vm);
    blk_drain_all(vm);
    blk_flush_all(vm);
    for (unsigned i = 0; i < s->drives->len; i++) {
        drive_info_free(g_ptr_array_index(s->drives, i));
    }
    g_ptr_array_set_size(s->drives, 0);
    while (s->backends->len) {
        blk_free(g_ptr_array_index(s->backends, s->backends->len - 1));
    }
    for (unsigned i = 0; i < s->blockdevs->len; i++) {
        block_node_unref(g_ptr_array_index(s->blockdevs, i));
    }
    g_ptr_array_set_size(s->blockdevs, 0);
    while (s->loops->len) {
        block_loop_release(g_ptr_array_index(s->loops, s->loops->len - 1));
    }
    vm_off_run_state(vm, on_run_state, s);
    g_ptr_array_free(s->nodes, TRUE);
    g_ptr_array_free(s->backends, TRUE);
    g_ptr_array_free(s->drives, TRUE);
    g_ptr_array_free(s->blockdevs, TRUE);
    g_ptr_array_free(s->loops, TRUE);
    g_ptr_array_free(s->throttle_groups, TRUE);
    g_ptr_array_free(s->slow_waiting, TRUE);
    g_ptr_array_free(s->borrowed, TRUE);
    pthread_mutex_destroy(&s->loops_lock);
    g_free(s);
    vm->block = NULL;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

BlockNode *block_node_find(Vm *vm, const char *name)
{
    for (unsigned i = 0; vm->block && i < vm->block->nodes->len; i++) {
        BlockNode *node = g_ptr_array_index(vm->block->nodes, i);

        if (!strcmp(node->name, name)) {
            return node;
        }
    }
    return NULL;
}

BlockNode *block_node_ref(BlockNode *node)
{
    node->refs++;
    return node;
}

static void node_free(BlockNode *node)
{
    while (node->children->len) {
        block_detach_child(g_ptr_array_index(node->children, node->children->len - 1));
    }
    block_dirty_bitmaps_free_all(node);
    g_ptr_array_remove(node->vm->block->nodes, node);
    g_ptr_array_free(node->children, TRUE);
    g_ptr_array_free(node->parents, TRUE);
    g_free(node->state);
    g_free(node->name);
    g_free(node->filename);
    g_free(node->backing_filename);
    g_free(node->backing_format);
    g_free(node->slow_key);
    g_free(node);
}

void block_node_unref(BlockNode *node)
{
    Vm *vm = node ? node->vm : NULL;

    if (!node || --node->refs || block_slow_park(node)) {
        return;
    }
    node->refs = 1; /* what closes it may take and give back references */
    block_drain_begin(node);
    block_drain_end(node);
    block_change_begin(vm);
    block_borrow(node, node, NULL);
    block_node_set_loop(node, block_loop_main(vm));
    if (node->drv->close) {
        node->drv->close(node);
    }
    node_free(node);
    block_change_end(vm);
}

void block_node_set_size(BlockNode *node, uint64_t size)
{
    uint64_t old = node->size;

    __atomic_store_n(&node->size, size, __ATOMIC_RELAXED);
    if (size != old) {
        block_dirty_bitmaps_resize(node, size);
    }
    for (unsigned i = 0; size != old && i < node->parents->len; i++) {
        BlockChild *child = g_ptr_array_index(node->parents, i);

        if (child->blk) {
            blk_root_resized(child->blk, old);
        } else if (child->parent->drv->child_resized) {
            child->parent->drv->child_resized(child->parent, child);
        }
    }
}

/* ---- what is done to writes on their way ---------------------------------------------------- */

static bool buffer_is_zero(const uint8_t *p, size_t len)
{
    return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

bool block_iov_is_zero(const struct iovec *iov, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!buffer_is_zero(iov[i].iov_base, iov[i].iov_len)) {
            return false;
        }
    }
    return true;
}

void block_write_threshold_exceeded(BlockNode *node, uint64_t bytes)
{
    BlockWriteThresholdEvent event = {.node_name = node->name,
                                      .amount_exceeded = bytes,
                                      .write_threshold = node->write_threshold};

    node->write_threshold = 0;
    vm_post_event(node->vm, &qapi_event_BLOCK_WRITE_THRESHOLD, &event);
}

static bool changes_content(const BlockNode *node, const BlockIo *io)
{
    return (io->op == BLOCK_WRITE && !io->unchanged) || io->op == BLOCK_ZERO ||
           (io->op == BLOCK_DISCARD && node->discard_unmap);
}

void block_node_submit_hooked(BlockNode *node, BlockIo *io)
{
    if (node->recording && changes_content(node, io)) {
        block_dirty_bitmaps_record(node, io->offset, io->len);
    }
    if (io->op != BLOCK_WRITE) {
        node->drv->submit(node, io);
        return;
    }
    if (node->write_threshold && io->offset + io->len > node->write_threshold) {
        block_write_threshold_exceeded(node, io->offset + io->len - node->write_threshold);
    }
    if (node->detect_zeroes && !io->compressed && block_iov_is_zero(io->iov, io->iov_count)) {
        io->op = BLOCK_ZERO;
        io->may_unmap = node->detect_zeroes == BLOCK_DETECT_ZEROES_UNMAP && node->discard_unmap;
    }
    node->drv->submit(node, io);
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool name_is_well_formed(const char *name)
{
    if (!g_ascii_isalpha(*name)) {
        return false;
    }
    for (const char *p = name; *p; p++) {
        if (!g_ascii_isalnum(*p) && !strchr("-._", *p)) {
            return false;
        }
    }
    return strlen(name) < 32;
}

static bool node_set_name(BlockNode *node, BlockOpts *opts, GError **err)
{
    BlockState *s = node->vm->block;
    g_autofree char *name = block_opts_take(opts, "node-name");
    const BlockBackend *device;

    if (!name) {
        node->name = g_strdup_printf("#block%03u", s->next_node++);
        g_ptr_array_add(s->nodes, node);
        return true;
    }
    if (!name_is_well_formed(name)) {
        return error_set(err,
                         "Invalid node-name: '%s' (letters, digits, '-', '.', '_', starting with a "
                         "letter, at most "
                         "31)",
                         name);
    }
    device = blk_find(node->vm, name);
    if (device && *blk_name(device)) {
        return error_set(err, "node-name=%s is conflicting with a device id; choose another name", name);
    }
    if (block_node_find(node->vm, name)) {
        return error_set(err, "Duplicate nodes with node-name='%s'; choose another name", name);
    }
    node->name = g_steal_pointer(&name);
    node->user_named = true;
    g_ptr_array_add(s->nodes, node);
    return true;
}

/* Options that every node has. Nested nodes start from their parent's. */
static bool node_common_options(BlockNode *node, BlockOpts *opts, GError **err)
{
    static const char *const discard[] = {"ignore", "unmap", "off", "on", NULL};
    static const char *const zeroes[] = {"off", "on", "unmap", NULL};
    int unmap = node->discard_unmap, detect = 0;

    if (!block_opts_take_bool(opts, "read-only", &node->read_only, err) ||
        !block_opts_take_bool(opts, "auto-read-only", &node->auto_read_only, err) ||
        !block_opts_take_bool(opts, "cache.direct", &node->direct, err) ||
        !block_opts_take_bool(opts, "cache.no-flush", &node->no_flush, err) ||
        !block_opts_take_bool(opts, "force-share", &node->force_share, err) ||
        !block_opts_take_enum(opts, "discard", discard, &unmap, err) ||
        !block_opts_take_enum(opts, "detect-zeroes", zeroes, &detect, err)) {
        return false;
    }
    node->discard_unmap = unmap & 1;
    node->detect_zeroes = (BlockDetectZeroes)detect;
    if (detect == BLOCK_DETECT_ZEROES_UNMAP && !node->discard_unmap) {
        return error_set(err, "setting detect-zeroes to unmap is not allowed without setting "
                              "discard operation to unmap");
    }
    if (node->force_share && !node->read_only) {
        return error_set(err, "force-share=on can only be used with read-only images");
    }
    return true;
}

static const BlockDriver *take_driver(BlockOpts *opts, GError **err)
{
    g_autofree char *name = block_opts_take(opts, "driver");
    const BlockDriver *drv;

    if (!name) {
        error_set(err, "A driver must be specified: Parameter 'driver' is missing");
        return NULL;
    }
    drv = block_driver_find(name);
    if (!drv && block_format_is_planned(name)) {
        error_set(err,
                  "format '%s' is not supported yet; convert the image: qemu-img convert -O raw",
                  name);
    } else if (!drv) {
        const char *names[G_N_ELEMENTS(drivers)];

        for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
            names[i] = drivers[i] ? drivers[i]->name : NULL;
        }
        g_autofree char *hint = suggest_names(name, names), *known = g_strjoinv(", ", (char **)names);
        error_set(err, "Unknown driver '%s'%s (known: %s)", name, hint, known);
    }
    return drv;
}

static bool node_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    const char *left;

    if (!node_set_name(node, opts, err) || !node_common_options(node, opts, err) ||
        !node->drv->open(node, opts, err)) {
        return false;
    }
    if (node->drv->refresh_limits) {
        node->drv->refresh_limits(node);
    }
    left = block_opts_left(opts);
    if (left) {
        if (node->drv->close) {
            node->drv->close(node);
        }
        g_autofree char *hint = block_opts_hint(opts, left);

        return error_set(err, "Block %s '%s' does not support the option '%s'%s",
                         node->drv->is_format ? "format" : "protocol", node->drv->name, left, hint);
    }
    return true;
}

/* What says that two are the same, for a command that runs again; NULL: nobody asks. */
static char *slow_key(Vm *vm, const BlockDriver *drv, const BlockOpts *opts, const BlockNode *parent)
{
    g_autofree char *text = vm->block->slow && drv->cut_off ? block_opts_text(opts) : NULL;
    const BlockNode none = {0}, *p = parent ? parent : &none;

    return text ? g_strdup_printf("%s %d%d%d%d%d%d %s", drv->name, p->read_only, p->auto_read_only, p->direct, p->no_flush,
                                  p->discard_unmap, p->force_share, text) : NULL;
}

static BlockNode *node_new(Vm *vm, const BlockDriver *drv, const BlockNode *parent)
{
    BlockNode *node = g_new0(BlockNode, 1);

    node->vm = vm;
    node->serial = ++vm->block->last_serial;
    node->drv = drv;
    node->refs = 1;
    node->loop = block_loop_main(vm);
    node->state = g_malloc0(MAX(drv->state_size, 1));
    node->children = g_ptr_array_new();
    node->parents = g_ptr_array_new();
    node->limits = (BlockLimits){.request_align = 1, .mem_align = 1};
    if (parent) {
        node->made_for = parent->serial;
        node->read_only = parent->read_only;
        node->auto_read_only = parent->auto_read_only;
        node->direct = parent->direct;
        node->no_flush = parent->no_flush;
        node->discard_unmap = parent->discard_unmap;
        node->force_share = parent->force_share;
    }
    return node;
}

BlockNode *block_node_open(Vm *vm, BlockOpts *opts, const BlockNode *parent, GError **err)
{
    const BlockDriver *drv = take_driver(opts, err);
    g_autofree char *key = NULL;
    BlockNode *node;
    bool ok;

    if (!drv) {
        return NULL;
    }
    block_state(vm);
    key = slow_key(vm, drv, opts, parent);
    node = key ? block_slow_unpark(vm, key) : NULL;
    if (node) {
        node->made_for = parent ? parent->serial : 0;
        return node;
    }
    node = node_new(vm, drv, parent);
    node->slow_key = g_steal_pointer(&key);
    node->opened_for = parent;
    node->opening = true;
    block_change_begin(vm);
    ok = node_open(node, opts, err);
    node->opening = false;
    node->opened_for = NULL;
    if (!ok) {
        node_free(node);
    }
    block_change_end(vm);
    if (!ok) {
        return NULL;
    }
    if (block_slow_again(vm)) { /* the driver did without something that was not there yet */
        error_set(err, "it takes its time");
        block_node_unref(node);
        return NULL;
    }
    return node;
}

BlockNode *block_open_path(Vm *vm, const char *path, const char *format, const BlockNode *inherit,
                           GError **err)
{
    BlockOpts *opts = block_opts_new();
    BlockNode *node;

    block_opts_set(opts, "driver", format ? format : block_probe_path(path));
    block_opts_set(opts, "file.driver", block_path_driver(path));
    block_opts_set(opts, "file.filename", path);
    node = block_node_open(vm, opts, inherit, err);
    block_opts_free(opts);
    return node;
}
