/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block nodes: opening from options, the list of them, references, permissions; and the engines of
 * a VM. Nodes are touched under the VM lock only.
 */
#include "block/block_int.h"
#include "util/log.h"

static const BlockDriver *const drivers[] = {
    &block_driver_file, &block_driver_host_device, &block_driver_host_cdrom,
    &block_driver_raw,  &block_driver_null,
};

const BlockDriver *block_driver_find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(drivers); i++) {
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

static void on_exit_vm(void *opaque)
{
    blk_cleanup(opaque);
}

BlockState *block_state(Vm *vm)
{
    BlockState *s = vm->block;

    if (!s) {
        s = g_new0(BlockState, 1);
        s->vm = vm;
        s->nodes = g_ptr_array_new();
        s->backends = g_ptr_array_new();
        s->drives = g_ptr_array_new();
        s->blockdevs = g_ptr_array_new();
        vm->block = s;
        vm_on_run_state(vm, on_run_state, s);
        vm_on_exit(vm, on_exit_vm, vm);
    }
    return s;
}

static void drive_info_free(DriveInfo *info)
{
    g_free(info->id);
    g_free(info);
}

void blk_cleanup(Vm *vm)
{
    BlockState *s = vm->block;

    if (!s) {
        return;
    }
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
    for (unsigned i = BLOCK_AIO_KINDS; i-- > 0;) {
        if (s->engines[i]) {
            s->engines[i]->ops->free(s->engines[i]);
            s->engines[i] = NULL;
        }
    }
    vm_off_run_state(vm, on_run_state, s);
    g_ptr_array_free(s->nodes, TRUE);
    g_ptr_array_free(s->backends, TRUE);
    g_ptr_array_free(s->drives, TRUE);
    g_ptr_array_free(s->blockdevs, TRUE);
    g_free(s);
    vm->block = NULL;
}

/* ---- engines -------------------------------------------------------------------------------- */

BlockEngine *block_engine(Vm *vm, BlockAio kind, GError **err)
{
    static BlockEngine *(*const make[BLOCK_AIO_KINDS])(BlockState *, GError **) = {
        [BLOCK_AIO_THREADS] = block_engine_threads_new,
        [BLOCK_AIO_NATIVE] = block_engine_aio_new,
        [BLOCK_AIO_IO_URING] = block_engine_uring_new,
    };
    static const char *const names[] = {"threads", "native", "io_uring"};
    BlockState *s = block_state(vm);
    g_autoptr(GError) why = NULL;

    if (!s->engines[kind] && !s->engine_warned[kind]) {
        s->engines[kind] = make[kind](s, &why);
    }
    if (s->engines[kind]) {
        return s->engines[kind];
    }
    if (kind == BLOCK_AIO_THREADS) {
        g_propagate_error(err, g_steal_pointer(&why));
        return NULL;
    }
    if (!s->engine_warned[kind]) {
        s->engine_warned[kind] = true;
        report_warning("aio=%s is not available here, using the thread pool: %s", names[kind],
                       why->message);
    }
    return block_engine(vm, BLOCK_AIO_THREADS, err);
}

bool block_wait_one(Vm *vm)
{
    BlockState *s = vm->block;

    for (unsigned i = 0; s && i < BLOCK_AIO_KINDS; i++) {
        if (s->engines[i] && s->engines[i]->in_flight) {
            s->engines[i]->ops->wait(s->engines[i]);
            return true;
        }
    }
    return false;
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
    g_ptr_array_remove(node->vm->block->nodes, node);
    g_free(node->state);
    g_free(node->name);
    g_free(node->filename);
    g_free(node);
}

void block_node_unref(BlockNode *node)
{
    if (!node || --node->refs) {
        return;
    }
    if (node->drv->close) {
        node->drv->close(node);
    }
    block_node_unref(node->child);
    node_free(node);
}

bool block_node_set_perm(BlockNode *node, uint32_t used, uint32_t unshared, GError **err)
{
    return node->drv->set_perm ? node->drv->set_perm(node, used, unshared, err) : true;
}

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
    if (block_node_find(node->vm, name) || blk_find(node->vm, name)) {
        return error_set(err, "Duplicate nodes with node-name='%s'", name);
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
    bool force_share = false;
    int unmap = node->discard_unmap, detect = 0;

    if (!block_opts_take_bool(opts, "read-only", &node->read_only, err) ||
        !block_opts_take_bool(opts, "auto-read-only", &node->auto_read_only, err) ||
        !block_opts_take_bool(opts, "cache.direct", &node->direct, err) ||
        !block_opts_take_bool(opts, "cache.no-flush", &node->no_flush, err) ||
        !block_opts_take_bool(opts, "force-share", &force_share, err) ||
        !block_opts_take_enum(opts, "discard", discard, &unmap, err) ||
        !block_opts_take_enum(opts, "detect-zeroes", zeroes, &detect, err)) {
        return false;
    }
    node->discard_unmap = unmap & 1;
    if (detect) {
        return error_set(err, "detect-zeroes is not supported yet; use detect-zeroes=off");
    }
    if (force_share) {
        return error_set(err, "force-share is not supported yet; use locking=off on the file node");
    }
    return true;
}

/* "file" of a format: a node's name, or options of a nested node. */
static bool node_open_child(BlockNode *node, BlockOpts *opts, GError **err)
{
    g_autofree char *ref = block_opts_take(opts, "file");
    BlockOpts *sub;

    if (ref) {
        BlockNode *child = block_node_find(node->vm, ref);

        if (!child) {
            return error_set(err, "Cannot find device='' nor node-name='%s'", ref);
        }
        if (block_opts_has_prefix(opts, "file")) {
            return error_set(err, "Cannot reference an existing block device with additional "
                                  "options or a new filename");
        }
        node->child = block_node_ref(child);
        return true;
    }
    if (!block_opts_has_prefix(opts, "file")) {
        return error_set(err, "A block device must be specified for \"file\"");
    }
    sub = block_opts_take_prefix(opts, "file");
    node->child = block_node_open(node->vm, sub, node, err);
    block_opts_free(sub);
    return node->child != NULL;
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
        error_set(err, "Unknown driver '%s' (known: raw, file, host_device, host_cdrom, null-co)",
                  name);
    }
    return drv;
}

static bool node_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    const char *left;

    if (!node_set_name(node, opts, err) || !node_common_options(node, opts, err) ||
        (node->drv->is_format && !node_open_child(node, opts, err)) ||
        !node->drv->open(node, opts, err)) {
        return false;
    }
    left = block_opts_left(opts);
    if (left) {
        if (node->drv->close) {
            node->drv->close(node);
        }
        return error_set(err, "Block %s '%s' does not support the option '%s'",
                         node->drv->is_format ? "format" : "protocol", node->drv->name, left);
    }
    return true;
}

BlockNode *block_node_open(Vm *vm, BlockOpts *opts, const BlockNode *parent, GError **err)
{
    const BlockDriver *drv = take_driver(opts, err);
    BlockNode *node;

    if (!drv) {
        return NULL;
    }
    block_state(vm);
    node = g_new0(BlockNode, 1);
    node->vm = vm;
    node->drv = drv;
    node->refs = 1;
    node->state = g_malloc0(MAX(drv->state_size, 1));
    if (parent) {
        node->read_only = parent->read_only;
        node->auto_read_only = parent->auto_read_only;
        node->direct = parent->direct;
        node->no_flush = parent->no_flush;
        node->discard_unmap = parent->discard_unmap;
    }
    if (!node_open(node, opts, err)) {
        block_node_unref(node->child);
        node_free(node);
        return NULL;
    }
    return node;
}
