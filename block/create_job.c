/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The job that makes images: a file, or a format on a node that is open (create_job.h). */
#include "block/create_job.h"

#include <inttypes.h>

#include "block/backend_int.h"
#include "block/format.h"
#include "util/keyval.h"

typedef struct Create {
    const BlockDriver *drv;
    BlockOpts *opts;     /* as the driver's create takes them */
    char *filename;      /* a file is made; NULL: an image on nodes */
    BlockFormat format;
    GPtrArray *writers;  /* BlockBackend *: of the nodes */
} Create;

static bool create_run(BlockJob *job, GError **err)
{
    Create *c = job->opaque;

    return c->filename ? c->drv->create(job->vm, c->filename, c->opts, err) : block_format(c->drv, &c->format, err);
}

static void free_writer(void *opaque) { blk_free(opaque); }

static void create_free(BlockJob *job)
{
    Create *c = job->opaque;

    if (c->format.plan) {
        c->drv->format_free(&c->format);
    }
    g_clear_pointer(&c->format.extents, g_ptr_array_unref);
    g_ptr_array_unref(c->writers);
    block_opts_free(c->opts);
    g_free(c->filename);
    g_free(c);
}

static const BlockJobOps create_ops = {.type = JOB_TYPE_CREATE, .run = create_run, .free = create_free};

/* ---- nodes ----------------------------------------------------------------------------------------- */

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

/* Nobody else writes to it until the job is over. */
static BlockNode *take_writer(Create *c, const BlockdevRef *ref, GError **err)
{
    static const uint32_t used = BLOCK_PERM_CONSISTENT_READ | BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
    BlockNode *node = take_node(c->format.vm, ref, err);
    BlockBackend *blk;

    if (!node) {
        return NULL;
    }
    blk = blk_new(c->format.vm, NULL, node, used, err);
    block_node_unref(node);
    if (!blk) {
        return NULL;
    }
    g_ptr_array_add(c->writers, blk);
    return block_child_set_perm(blk->root, used, BLOCK_PERM_ALL & ~(uint32_t)(BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE), err) ? node
                                                                                                                         : NULL;
}

static bool take_file(Create *c, const BlockdevRef *ref, GError **err)
{
    c->format.file = take_writer(c, ref, err);
    if (!c->format.file) {
        return false;
    }
    c->format.filename = block_node_skip_filters(c->format.file)->filename;
    return true;
}

/* The image calls it by a name that leads there from where the image lies. */
static bool take_data_file(Create *c, const BlockdevRef *ref, GError **err)
{
    g_autofree char *beside = NULL, *absolute = NULL;
    const char *name;

    if (!ref) {
        return true;
    }
    c->format.data = take_writer(c, ref, err);
    if (!c->format.data) {
        return false;
    }
    name = block_node_skip_filters(c->format.data)->filename;
    if (!name || !c->format.filename) {
        return error_set(err, "An image names its external data file: 'file' and 'data-file' must be files");
    }
    beside = block_path_beside(c->format.filename, name);
    absolute = g_canonicalize_filename(name, NULL);
    block_opts_set(c->opts, "data_file", block_same_file(beside, name) ? name : absolute);
    return true;
}

static bool take_extents(Create *c, const GPtrArray *refs, GError **err)
{
    c->format.extents = g_ptr_array_new();
    for (unsigned i = 0; refs && i < refs->len; i++) {
        BlockNode *node = take_writer(c, g_ptr_array_index(refs, i), err);

        if (!node) {
            return false;
        }
        g_ptr_array_add(c->format.extents, node);
    }
    return true;
}

static bool take_nodes(Create *c, const BlockdevCreateOptions *o, GError **err)
{
    switch (o->driver) {
    case BLOCKDEV_CREATE_DRIVER_FILE:
        c->filename = g_strdup(o->u.file.filename);
        return true;
    case BLOCKDEV_CREATE_DRIVER_LUKS:
        return take_file(c, o->u.luks.file, err);
    case BLOCKDEV_CREATE_DRIVER_QCOW2:
        return take_file(c, o->u.qcow2.file, err) && take_data_file(c, o->u.qcow2.data_file, err);
    case BLOCKDEV_CREATE_DRIVER_VDI:
        return take_file(c, o->u.vdi.file, err);
    case BLOCKDEV_CREATE_DRIVER_VHDX:
        return take_file(c, o->u.vhdx.file, err);
    case BLOCKDEV_CREATE_DRIVER_VMDK:
        return take_file(c, o->u.vmdk.file, err) && take_extents(c, o->u.vmdk.extents, err);
    case BLOCKDEV_CREATE_DRIVER_VPC:
        return take_file(c, o->u.vpc.file, err);
    }
    g_assert_not_reached();
}

/* ---- options --------------------------------------------------------------------------------------- */

/* What create calls an option; NULL: it has none of it. */
static char *create_name(const BlockDriver *drv, const char *name)
{
    static const char *const nodes[] = {"driver", "filename", "file", "data-file", "extents", NULL};
    char *under;

    if (g_strv_contains(nodes, name)) {
        return NULL;
    }
    if (drv == &block_driver_qcow2 && !strcmp(name, "version")) {
        return g_strdup("compat");
    }
    if (drv == &block_driver_luks) {
        return g_strdup(name);
    }
    under = g_strdup(name);
    return g_strdelimit(under, "-", '_');
}

static void set_options(Create *c, const BlockdevCreateOptions *o)
{
    json_object *json = qapi_write(&qapi_type_BlockdevCreateOptions, o), *renamed = json_object_new_object();

    json_object_object_foreach(json, name, value) {
        g_autofree char *key = create_name(c->drv, name);

        if (key) {
            json_object_object_add(renamed, key, json_object_get(value));
        }
    }
    block_opts_add_json(c->opts, "", renamed, NULL); /* the schema has no other kinds than it takes */
    json_object_put(renamed);
    json_object_put(json);
}

static bool check_size(Create *c, GError **err)
{
    uint64_t size;

    return (parse_size(block_opts_peek(c->opts, "size"), 1, &size) && size <= INT64_MAX) ||
           error_set(err, "Image size must be at most %" PRId64, INT64_MAX);
}

/* A static image is what VirtualBox calls it; more than that its tables have not. */
static bool map_vdi_preallocation(Create *c, GError **err)
{
    g_autofree char *mode = c->drv == &block_driver_vdi ? block_opts_take(c->opts, "preallocation") : NULL;

    if (mode && strcmp(mode, "off") && strcmp(mode, "metadata")) {
        return error_set(err, "Preallocation mode '%s' not supported for vdi (off and metadata are)", mode);
    }
    if (mode) {
        block_opts_set(c->opts, "static", strcmp(mode, "off") ? "on" : "off");
    }
    return true;
}

static bool prepare(Create *c, const BlockdevCreateOptions *o, GError **err)
{
    set_options(c, o);
    return check_size(c, err) && map_vdi_preallocation(c, err) && take_nodes(c, o, err) &&
           (c->filename || c->drv->format_prepare(&c->format, c->opts, err));
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
    c->writers = g_ptr_array_new_with_free_func(free_writer);
    c->format = (BlockFormat){.vm = vm, .exact = true};
    prepare(c, options, &failed);
    block_job_start(vm, id, &create_ops, c, failed);
    return true;
}
