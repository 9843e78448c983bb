/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI commands to a host device, past the block layer: ioctl SG_IO (Linux's SCSI generic interface, version 3) on a block
 * device of a SCSI disk or on its character device /dev/sgN. The command goes to the node that has the descriptor; a raw
 * node above it that shows all of it is passed by. Nothing here knows what commands do: dirty bitmaps and throttling do
 * not see them.
 */
#include <errno.h>
#include <linux/fs.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "block/backend_int.h"
#include "block/file_int.h"
#include "block/pr_manager.h"

#define SG_MIN_VERSION 30000
#define DEFAULT_SECTORS 240 /* where the kernel does not say: what every adapter can */

/* NULL: there is none. */
static BlockNode *sg_node(const BlockBackend *blk)
{
    BlockNode *node = blk->root ? blk->root->node : NULL;

    while (node && node->drv == &block_driver_raw) {
        node = raw_shows_all(node) ? node->file->node : NULL;
    }
    return node && (node->drv == &block_driver_host_device || node->drv == &block_driver_host_cdrom) ? node : NULL;
}

bool blk_check_sg(const BlockBackend *blk, GError **err)
{
    const BlockNode *node = sg_node(blk);
    int version = 0;

    if (!node) {
        return error_set(err, "drive '%s' is no SCSI device of the host: give it -blockdev driver=host_device,filename=/dev/sdX "
                         "(or /dev/sgN), with nothing but raw above it", blk_qdev_name(blk));
    }
    if (ioctl(file_fd(node), SG_GET_VERSION_NUM, &version) != 0) {
        return error_set_errno(err, errno, "cannot get SG_IO version number of '%s', which may be no SCSI device", node->filename);
    }
    return version >= SG_MIN_VERSION || error_set(err, "the kernel's SG_IO has version %d, needed is %d", version, SG_MIN_VERSION);
}

bool blk_is_sg_char(const BlockBackend *blk)
{
    const BlockNode *node = sg_node(blk);
    struct stat st;
    int version;

    return node && fstat(file_fd(node), &st) == 0 && S_ISCHR(st.st_mode) &&
           ioctl(file_fd(node), SG_GET_VERSION_NUM, &version) == 0;
}

/* 0: not known. */
static unsigned max_segments(int fd, const struct stat *st)
{
    g_autofree char *path = g_strdup_printf("/sys/dev/block/%u:%u/queue/max_segments", major(st->st_rdev), minor(st->st_rdev));
    g_autofree char *text = NULL;
    int size = 0;

    if (S_ISCHR(st->st_mode)) {
        return ioctl(fd, SG_GET_SG_TABLESIZE, &size) == 0 && size > 0 ? (unsigned)size : 0;
    }
    return g_file_get_contents(path, &text, NULL, NULL) ? (unsigned)strtoul(text, NULL, 10) : 0;
}

uint32_t blk_sg_max_transfer(const BlockBackend *blk)
{
    const BlockNode *node = sg_node(blk);
    const int fd = node ? file_fd(node) : -1;
    uint64_t bytes = DEFAULT_SECTORS * BLOCK_SECTOR, segments;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0) {
        return (uint32_t)bytes;
    }
    if (S_ISCHR(st.st_mode)) {
        int n = 0;

        bytes = ioctl(fd, BLKSECTGET, &n) == 0 && n > 0 ? (uint64_t)n : bytes;
    } else {
        unsigned short n = 0;

        bytes = ioctl(fd, BLKSECTGET, &n) == 0 && n ? (uint64_t)n * BLOCK_SECTOR : bytes;
    }
    segments = max_segments(fd, &st);
    if (segments) {
        bytes = MIN(bytes, segments * (uint64_t)sysconf(_SC_PAGESIZE));
    }
    return (uint32_t)MIN(bytes, INT32_MAX);
}

BlkRequest *blk_sg_io(BlockBackend *blk, struct sg_io_hdr *hdr, BlkDone *done, void *opaque)
{
    return blk_submit_sg(blk, &(BlockIo){.op = BLOCK_SG, .sg = hdr, .sg_given_ns = clock_monotonic_ns()}, done, opaque);
}

void blk_start_sg(BlockBackend *blk, BlockIo *io)
{
    BlockNode *node = sg_node(blk);

    if (node) {
        block_node_submit(node, io);
    } else {
        block_loop_finish_later(blk->loop, io, -ENOTSUP);
    }
}

void blk_cancel_sg(BlockBackend *blk, BlockIo *io)
{
    const BlockNode *node = sg_node(blk);
    const FileState *f = node ? node->state : NULL;

    __atomic_store_n(&io->cancelled, true, __ATOMIC_RELAXED);
    if (f && f->pr_manager) {
        pr_manager_cancelled(f->pr_manager, io->sg);
    }
}

void file_hurry_sg(BlockNode *node)
{
    FileState *f = node->state;

    if (f->pr_manager) {
        __atomic_store_n(&f->hurried_ns, clock_monotonic_ns(), __ATOMIC_RELAXED);
        pr_manager_hurried(f->pr_manager);
    }
}

void blk_hurry_sg(BlockBackend *blk)
{
    BlockNode *node = sg_node(blk);

    if (node) {
        file_hurry_sg(node);
    }
}

bool *file_sg_lane(BlockNode *node, const BlockIo *io)
{
    FileState *f = node->state;
    const unsigned index = block_io_loop(node, io)->index;

    return f->pr_manager && index < FILE_LANES && pr_manager_takes(io->sg) ? &f->pr_lanes[index] : NULL;
}

static void set_result(void *opaque, int result) { *(int *)opaque = result; }

int blk_sg_io_wait(BlockBackend *blk, struct sg_io_hdr *hdr)
{
    int result = -EINPROGRESS;

    blk_sg_io(blk, hdr, set_result, &result);
    blk_drain(blk);
    return result;
}

int file_run_sg(BlockIo *io)
{
    FileState *f = io->node->state;
    int ret;

    if (f->pr_manager && pr_manager_takes(io->sg)) {
        return pr_manager_run(f->pr_manager, io->fd, io->sg, io->sg_given_ns, &io->cancelled, &f->hurried_ns);
    }
    do {
        ret = ioctl(io->fd, SG_IO, io->sg);
    } while (ret != 0 && errno == EINTR);
    return ret == 0 ? 0 : -errno;
}
