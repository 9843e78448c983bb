/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of failed requests (rerror, werror), and the property by which devices name their back
 * end.
 */
#include <errno.h>

#include "block/backend_int.h"
#include "core/event.h"
#include "qapi/qapi-block.h"
#include "util/log.h"
#include "util/trace.h"

/* ---- errors --------------------------------------------------------------------------------- */

void blk_set_on_error(BlockBackend *blk, BlkOnError on_read, BlkOnError on_write)
{
    if (on_read != BLK_ON_ERROR_AUTO) {
        blk->on_read_error = on_read;
    }
    if (on_write != BLK_ON_ERROR_AUTO) {
        blk->on_write_error = on_write;
    }
}

bool blk_only_reports_errors(const BlockBackend *blk)
{
    return blk->on_read_error == BLK_ON_ERROR_REPORT &&
           (blk->on_write_error == BLK_ON_ERROR_REPORT || blk->on_write_error == BLK_ON_ERROR_ENOSPC);
}

bool blk_may_stop(const BlockBackend *blk)
{
    return blk->ops && blk->ops->retry &&
           (blk->on_write_error == BLK_ON_ERROR_ENOSPC ||
            blk->on_write_error == BLK_ON_ERROR_STOP || blk->on_read_error == BLK_ON_ERROR_STOP);
}

static void tell(BlockBackend *blk, bool is_read, int error, BlkOnError policy)
{
    static const BlockErrorAction actions[] = {
        [BLK_ON_ERROR_REPORT] = BLOCK_ERROR_ACTION_REPORT,
        [BLK_ON_ERROR_IGNORE] = BLOCK_ERROR_ACTION_IGNORE,
        [BLK_ON_ERROR_STOP] = BLOCK_ERROR_ACTION_STOP,
    };
    BlockIoErrorEvent event = {
        .device = (char *)blk_name(blk),
        .node_name = blk->root ? blk->root->node->name : NULL,
        .operation = is_read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE,
        .action = actions[policy],
        .has_nospace = blk_may_stop(blk),
        .nospace = error == -ENOSPC,
        .reason = (char *)g_strerror(-error),
    };

    vm_post_event(blk->vm, &qapi_event_BLOCK_IO_ERROR, &event);
}

void blk_want_retry(BlockBackend *blk)
{
    __atomic_store_n(&blk->retry_wanted, true, __ATOMIC_RELAXED);
}

/* The first error's: what fails while the VM stops because of it does not hide why it stopped. */
static void keep_status(BlockBackend *blk, bool is_read, int error)
{
    const char *status = blk_io_status(blk);

    if (!strcmp(status, "ok") &&
        __atomic_compare_exchange_n(&blk->io_status, &status, error == -ENOSPC ? "nospace" : "failed",
                                    false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        report_warning("%s error on '%s' (%s): the VM is stopped; 'cont' tries again",
                       is_read ? "Read" : "Write", blk_filename(blk), g_strerror(-error));
    }
}

BlkErrorAction blk_error_action(BlockBackend *blk, bool is_read, int error)
{
    BlkOnError policy = is_read ? blk->on_read_error : blk->on_write_error;

    if (policy == BLK_ON_ERROR_ENOSPC) {
        policy = error == -ENOSPC ? BLK_ON_ERROR_STOP : BLK_ON_ERROR_REPORT;
    }
    trace(blk_error, "blk %s %s error %d policy %d", blk_name(blk), is_read ? "read" : "write",
          error, policy);
    if (policy == BLK_ON_ERROR_STOP) {
        keep_status(blk, is_read, error);
        blk_want_retry(blk);
    }
    tell(blk, is_read, error, policy); /* whoever hears it finds the disk's status there */
    switch (policy) {
    case BLK_ON_ERROR_IGNORE:
        return BLK_ERROR_IGNORE;
    case BLK_ON_ERROR_STOP:
        vm_request_stop(blk->vm, RUN_STATE_IO_ERROR);
        return BLK_ERROR_STOP;
    default:
        return BLK_ERROR_REPORT;
    }
}

void blk_retry_all(Vm *vm)
{
    for (unsigned i = 0; vm->block && i < vm->block->backends->len; i++) {
        BlockBackend *blk = g_ptr_array_index(vm->block->backends, i);

        __atomic_store_n(&blk->io_status, "ok", __ATOMIC_RELAXED);
        if (__atomic_exchange_n(&blk->retry_wanted, false, __ATOMIC_RELAXED)) {
            if (blk->ops && blk->ops->retry) {
                block_loop_call(blk_device_loop(blk), blk->ops->retry, blk->opaque);
            }
        }
    }
}

/* ---- property kind -------------------------------------------------------------------------- */

static void drive_release(Object *obj, const Property *prop, void *field)
{
    BlockBackend **slot = field;

    (void)prop;
    /* Back ends of -blockdev nodes live as long as their device; the VM's cleanup may have come
     * first. */
    if (blk_is_alive(obj->vm, *slot)) {
        if (!(*slot)->name) {
            blk_free(*slot);
        } else {
            blk_detach(*slot);
        }
    }
    *slot = NULL;
}

static bool drive_set(Object *obj, const Property *prop, void *field, const char *text,
                      GError **err)
{
    BlockBackend *blk = blk_find(obj->vm, text);
    BlockBackend **slot = field;
    BlockNode *node = block_node_find(obj->vm, text);

    if (!(blk && blk->name) && !node) {
        return error_set(err, "Property '%s.%s' can't find value '%s'; "
                              "make it with -drive if=none,id=%s or -blockdev node-name=%s",
                         obj->type->name, prop->name, text, text, text);
    }
    drive_release(obj, prop, field);
    *slot = blk && blk->name ? blk : blk_new(obj->vm, NULL, node, 0, err);
    return *slot != NULL;
}

static json_object *drive_get(Object *obj, const Property *prop, const void *field)
{
    BlockBackend *const *slot = field;

    (void)obj;
    (void)prop;
    return json_object_new_string(!*slot          ? ""
                                  : (*slot)->name ? (*slot)->name
                                                  : blk_node_name(*slot));
}

const PropKind prop_kind_drive = {
    .type = "str",
    .json = json_type_null,
    .set = drive_set,
    .get = drive_get,
    .release = drive_release,
};
