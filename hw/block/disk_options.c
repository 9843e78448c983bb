/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hw/block/disk_options.h"
#include "hw/block/geometry.h"

const char *const disk_on_error_names[] = {"report", "ignore", "enospc", "stop", "auto", NULL};

static bool check_size(const char *name, uint64_t value, GError **err)
{
    return (is_power_of_two(value) && value >= 512 && value <= 2 * MIB) ||
           error_set(err, "%s=%" PRIu64 " is not a power of two between 512 B and 2 MiB", name, value);
}

bool disk_options_check_sizes(DiskOptions *o, GError **err)
{
    o->logical_block_size = o->logical_block_size ? o->logical_block_size : 512;
    o->physical_block_size = o->physical_block_size ? o->physical_block_size : MAX(512, o->logical_block_size);
    if (!check_size("logical_block_size", o->logical_block_size, err) ||
        !check_size("physical_block_size", o->physical_block_size, err)) {
        return false;
    }
    if (o->logical_block_size > o->physical_block_size) {
        return error_set(err, "logical_block_size > physical_block_size not supported; raise physical_block_size");
    }
    if (o->min_io_size % o->logical_block_size || o->min_io_size / o->logical_block_size > UINT16_MAX) {
        return error_set(err, "min_io_size must be a multiple of logical_block_size, at most 65535 of them");
    }
    if (o->opt_io_size % o->logical_block_size || o->opt_io_size > UINT32_MAX) {
        return error_set(err, "opt_io_size must be a multiple of logical_block_size");
    }
    if (o->discard_granularity != UINT32_MAX && o->discard_granularity % o->logical_block_size) {
        return error_set(err, "discard_granularity must be a multiple of logical_block_size");
    }
    return true;
}

static bool check_range(const char *name, uint32_t value, uint32_t max, GError **err)
{
    return (value >= 1 && value <= max) || error_set(err, "%s must be between 1 and %u", name, max);
}

bool disk_options_set_geometry(DiskOptions *o, BlockBackend *blk, uint32_t heads_max, GError **err)
{
    if (!o->cyls && !o->heads && !o->secs) {
        const DiskGeometry g = disk_geometry_guess(blk);

        o->cyls = g.cylinders;
        o->heads = g.heads;
        o->secs = g.sectors;
    }
    return check_range("cyls", o->cyls, 65535, err) && check_range("heads", o->heads, heads_max, err) &&
           check_range("secs", o->secs, 255, err);
}

void disk_options_need_blk(Vm *vm, BlockBackend **blk, bool *owned)
{
    if (!*blk) {
        *blk = blk_new_empty(vm);
        *owned = true;
    }
}

void disk_options_drop_empty(Vm *vm, BlockBackend **blk, bool *owned)
{
    if (*owned && blk_is_alive(vm, *blk)) { /* at the VM's end the block layer may be gone before */
        blk_free(*blk);
    }
    *blk = *owned ? NULL : *blk;
    *owned = false;
}

static bool chosen(int on_off_auto, bool otherwise)
{
    return on_off_auto == ON_OFF_AUTO_AUTO ? otherwise : on_off_auto == ON_OFF_AUTO_ON;
}

bool disk_options_attach(const DiskOptions *o, BlockBackend *blk, Device *dev, const BlkDevOps *ops, void *opaque,
                         bool need_write, GError **err)
{
    if (!(o->share_rw ? blk_attach_shared : blk_attach)(blk, dev, ops, opaque, need_write, err)) {
        return false;
    }
    blk_set_on_error(blk, (BlkOnError)o->rerror, (BlkOnError)o->werror);
    blk_set_account(blk, chosen(o->account_failed, blk_accounts_failed(blk)), chosen(o->account_invalid, blk_accounts_invalid(blk)));
    if (o->write_cache != ON_OFF_AUTO_AUTO) {
        blk_set_write_cache(blk, o->write_cache == ON_OFF_AUTO_ON);
    }
    return true;
}
