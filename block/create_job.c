/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The job that makes images: a file, or a format on a node that is open (create_job.h). */
#include "block/create_job.h"

#include <inttypes.h>

#include "block/backend_int.h"

typedef struct Create {
    const BlockDriver *drv;
    BlockOpts *opts;      /* as the driver's create takes them */
    char *filename;       /* of a file */
    BlockBackend *writer; /* of the node that gets the format; NULL: a file is made */
} Create;

static bool create_run(BlockJob *job, GError **err)
{
    Create *c = job->opaque;

    return c->writer ? c->drv->format(blk_node(c->writer), c->opts, err) : c->drv->create(job->vm, c->filename, c->opts, err);
}

static void create_free(BlockJob *job)
{
    Create *c = job->opaque;

    blk_free(c->writer);
    block_opts_free(c->opts);
    g_free(c->filename);
    g_free(c);
}

static const BlockJobOps create_ops = {.type = JOB_TYPE_CREATE, .run = create_run, .free = create_free};

/* ---- what is made -------------------------------------------------------------------------------- */


static void set_number(BlockOpts *opts, const char *name, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" PRIu64, value);

    block_opts_set(opts, name, text);
}

static void set_bool(BlockOpts *opts, const char *name, bool value) { block_opts_set(opts, name, value ? "on" : "off"); }

static bool prepare_file(Create *c, const BlockdevCreateOptionsFile *o, GError **err)
{
    c->filename = g_strdup(o->filename);
    set_number(c->opts, "size", o->size);
    if (o->has_preallocation) {
        block_opts_set(c->opts, "preallocation", qapi_enum_name(&qapi_type_PreallocMode, o->preallocation));
    }
    if (o->has_nocow) {
        set_bool(c->opts, "nocow", o->nocow);
    }
    if (o->has_extent_size_hint) {
        set_number(c->opts, "extent_size_hint", o->extent_size_hint);
    }
    return o->size <= INT64_MAX || error_set(err, "Image size must be at most %" PRId64, INT64_MAX);
}

/* One that is open, or the node that the options describe. A reference. */
static BlockNode *take_node(Vm *vm, const BlockdevRef *ref, GError **err)
{
    BlockOpts *opts;
    BlockNode *node;

    if (ref->kind == BLOCKDEV_REF_REFERENCE) {
        node = block_node_find(vm, ref->u.reference);
        if (!node) {
            error_set(err, "Cannot find device='%s' nor node-name='%s'", ref->u.reference, ref->u.reference);
        }
        return node ? block_node_ref(node) : NULL;
    }
    opts = block_opts_from_schema(&ref->u.definition);
    node = block_node_open(vm, opts, NULL, err);
    block_opts_free(opts);
    return node;
}

/* Nobody else writes to it meanwhile. */
static bool take_writer(Create *c, Vm *vm, const BlockdevRef *ref, GError **err)
{
    static const uint32_t used = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
    BlockNode *node = take_node(vm, ref, err);

    if (!node) {
        return false;
    }
    c->writer = blk_new(vm, NULL, node, used, err);
    block_node_unref(node);
    return c->writer && block_child_set_perm(c->writer->root, used,
                                             BLOCK_PERM_ALL & ~(uint32_t)(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE), err);
}

static bool prepare_qcow2(Create *c, Vm *vm, const BlockdevCreateOptionsQcow2 *o, GError **err)
{
    if (o->size % BLOCK_SECTOR) {
        return error_set(err, "Image size must be a multiple of %u bytes", BLOCK_SECTOR);
    }
    set_number(c->opts, "size", o->size);
    if (o->has_version) {
        block_opts_set(c->opts, "compat", qapi_enum_name(&qapi_type_BlockdevQcow2Version, o->version));
    }
    if (o->has_cluster_size) {
        set_number(c->opts, "cluster_size", o->cluster_size);
    }
    if (o->has_refcount_bits) {
        set_number(c->opts, "refcount_bits", o->refcount_bits < 0 ? 0 : (uint64_t)o->refcount_bits);
    }
    if (o->has_compression_type) {
        block_opts_set(c->opts, "compression_type", qapi_enum_name(&qapi_type_Qcow2CompressionType, o->compression_type));
    }
    if (o->has_preallocation) {
        block_opts_set(c->opts, "preallocation", qapi_enum_name(&qapi_type_PreallocMode, o->preallocation));
    }
    if (o->backing_file) {
        block_opts_set(c->opts, "backing_file", o->backing_file);
    }
    if (o->has_backing_fmt) {
        block_opts_set(c->opts, "backing_fmt", qapi_enum_name(&qapi_type_BlockdevDriver, o->backing_fmt));
    }
    set_bool(c->opts, "lazy_refcounts", o->lazy_refcounts);
    set_bool(c->opts, "extended_l2", o->extended_l2);
    return take_writer(c, vm, o->file, err);
}

bool block_create_job_start(Vm *vm, const char *id, const BlockdevCreateOptions *options, GError **err)
{
    GError *failed = NULL;
    Create *c;

    if (!block_job_check_id(vm, id, err)) {
        return false;
    }
    c = g_new0(Create, 1);
    c->drv = block_driver_find(qapi_enum_name(&qapi_type_BlockdevCreateDriver, options->driver));
    c->opts = block_opts_new();
    switch (options->driver) {
    case BLOCKDEV_CREATE_DRIVER_FILE:
        prepare_file(c, &options->u.file, &failed);
        break;
    case BLOCKDEV_CREATE_DRIVER_QCOW2:
        prepare_qcow2(c, vm, &options->u.qcow2, &failed);
        break;
    }
    block_job_start(vm, id, &create_ops, c, failed);
    return true;
}
