/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * file, host_device and host_cdrom: images in files and on block devices of the host.
 *
 * Reads and writes go to the node's engine when they suit it (O_DIRECT wants aligned offsets and
 * buffers), everything else to the thread pool. host_cdrom is basic: the medium as it was at start,
 * no tray and no commands of the real drive.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/cdrom.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "block/file_int.h"
#include "util/log.h"
#include "util/trace.h"

#define MAX_ENGINE_IOV 1024

/* ---- size and alignment --------------------------------------------------------------------- */

static void find_size(BlockNode *node)
{
    FileState *f = node->state;
    struct stat st;
    uint64_t bytes = 0;

    if (f->is_device) {
        if (ioctl(f->fd, BLKGETSIZE64, &bytes) == 0) {
            node->size = bytes;
        }
    } else if (fstat(f->fd, &st) == 0) {
        node->size = (uint64_t)st.st_size;
    }
}

static bool direct_read_works(int fd, void *buf, size_t len)
{
    return pread(fd, buf, len, 0) >= 0 || errno != EINVAL;
}

/* What O_DIRECT wants: asked of the kernel, else tried out. */
static bool find_alignment(BlockNode *node, GError **err)
{
    FileState *f = node->state;
    unsigned sector = 0;
    uint8_t *buf = NULL;

    f->align = f->mem_align = 1;
    if (!node->direct) {
        return true;
    }
#ifdef STATX_DIOALIGN
    struct statx sx;

    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
        (sx.stx_mask & STATX_DIOALIGN) && is_power_of_two(sx.stx_dio_offset_align) &&
        is_power_of_two(sx.stx_dio_mem_align)) {
        f->align = sx.stx_dio_offset_align;
        f->mem_align = sx.stx_dio_mem_align;
        return true;
    }
#endif
    if (f->is_device && ioctl(f->fd, BLKSSZGET, &sector) == 0 && is_power_of_two(sector) &&
        sector <= 65536) {
        f->align = f->mem_align = sector;
        return true;
    }
    if (posix_memalign((void **)&buf, 65536, 65536)) {
        return error_set(err, "Could not open '%s': out of memory", node->filename);
    }
    for (f->align = 512; f->align <= 65536 && !direct_read_works(f->fd, buf, f->align);
         f->align *= 2) {
    }
    free(buf);
    f->mem_align = MAX(f->align, 4096);
    if (f->align > 65536) {
        return error_set(err,
                         "Could not find working O_DIRECT alignment for '%s'; try cache.direct=off "
                         "(cache=writeback)",
                         node->filename);
    }
    return true;
}

/* ---- opening -------------------------------------------------------------------------------- */

static const char *open_advice(int error, bool read_only, bool direct)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return read_only
                   ? " (who runs this needs read permission)"
                   : " (who runs this needs write permission; read-only=on opens it for reading)";
    case EROFS:
        return " (read-only=on opens it for reading)";
    case ENXIO:
    case ENOMEDIUM:
        return " (there is no medium or device behind it)";
    case EINVAL:
        return direct ? " (its file system may not support O_DIRECT: use cache.direct=off, that is "
                        "cache=writeback)"
                      : "";
    default:
        return "";
    }
}

static int open_path(BlockNode *node, bool read_only)
{
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (read_only ? O_RDONLY : O_RDWR) |
                (node->direct ? O_DIRECT : 0);
    int fd;

    do {
        fd = open(node->filename, flags);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static bool open_fd(BlockNode *node, GError **err)
{
    FileState *f = node->state;
    int error;

    f->fd = open_path(node, node->read_only);
    error = errno;
    if (f->fd < 0 && !node->read_only && node->auto_read_only &&
        (error == EACCES || error == EROFS || error == EPERM || error == ETXTBSY)) {
        f->fd = open_path(node, true);
        node->read_only = f->fd >= 0;
    }
    if (f->fd < 0) {
        return error_set(err, "Could not open '%s': %s%s", node->filename, g_strerror(error),
                         open_advice(error, node->read_only, node->direct));
    }
    return true;
}

/* Is it what the driver is for? */
static bool check_kind(BlockNode *node, GError **err)
{
    FileState *f = node->state;
    struct stat st;

    if (fstat(f->fd, &st) != 0) {
        return error_set_errno(err, errno, "Could not stat '%s'", node->filename);
    }
    if (f->is_device) {
        return S_ISBLK(st.st_mode) ||
               error_set(err, "'%s' driver requires '%s' to be a block device", node->drv->name,
                         node->filename);
    }
    if (S_ISDIR(st.st_mode)) {
        return error_set(err, "'file' driver requires '%s' to be a regular file: it is a directory",
                         node->filename);
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(err, "'file' driver requires '%s' to be a regular file%s", node->filename,
                         S_ISBLK(st.st_mode) ? " (a block device wants driver=host_device)" : "");
    }
    return true;
}

static bool take_file_options(BlockNode *node, BlockOpts *opts, int *locking, GError **err)
{
    static const char *const aio_names[] = {"threads", "native", "io_uring", NULL};
    static const char *const locking_names[] = {"auto", "on", "off", NULL};
    FileState *f = node->state;
    int aio = BLOCK_AIO_THREADS;

    node->filename = block_opts_take(opts, "filename");
    if (!node->filename || !*node->filename) {
        return error_set(err, "The '%s' block driver requires a file name", node->drv->name);
    }
    if (!block_opts_take_enum(opts, "aio", aio_names, &aio, err) ||
        !block_opts_take_enum(opts, "locking", locking_names, locking, err)) {
        return false;
    }
    if (aio == BLOCK_AIO_NATIVE && !node->direct) {
        return error_set(
            err,
            "aio=native was specified, but it requires cache.direct=on, which was not specified.");
    }
    f->aio = (BlockAio)aio;
    return true;
}

static bool file_open_any(BlockNode *node, BlockOpts *opts, GError **err)
{
    FileState *f = node->state;
    int locking = 0;

    f->fd = -1;
    f->waiting_tail = &f->waiting;
    g_queue_init(&f->writes);
    if (!take_file_options(node, opts, &locking, err) || !open_fd(node, err)) {
        return false;
    }
    if (!check_kind(node, err) || !find_alignment(node, err)) {
        goto fail;
    }
    f->engine = block_engine(node->vm, f->aio, err);
    if (!f->engine) {
        goto fail;
    }
    f->locking = locking == 1 || (locking == 0 && block_lock_supported(f->fd));
    if (locking == 1 && !block_lock_supported(f->fd)) {
        error_set(err, "Could not open '%s': locking=on, but its file system has no OFD locks",
                  node->filename);
        goto fail;
    }
    find_size(node);
    return true;

fail:
    close(f->fd);
    return false;
}

static bool file_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    return file_open_any(node, opts, err);
}

static bool device_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    FileState *f = node->state;

    f->is_device = true;
    return file_open_any(node, opts, err);
}

static bool cdrom_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    FileState *f = node->state;

    f->is_device = f->is_cdrom = true;
    node->read_only = true;
    if (!file_open_any(node, opts, err)) {
        return false;
    }
    if (ioctl(f->fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) < 0) {
        error_set_errno(err, errno, "'host_cdrom' driver requires '%s' to be a CD-ROM drive",
                        node->filename);
        close(f->fd);
        return false;
    }
    return true;
}

static void file_close(BlockNode *node)
{
    FileState *f = node->state;

    close(f->fd); /* drops the locks */
}

static bool file_set_perm(BlockNode *node, uint32_t used, uint32_t unshared, GError **err)
{
    FileState *f = node->state;

    if ((used & BLOCK_PERM_WRITE) && node->read_only) {
        return error_set(err, "Block node is read-only: '%s' ('%s')", node->name, node->filename);
    }
    if (f->locking &&
        !block_lock(f->fd, node->filename, f->held_used, f->held_unshared, used, unshared, err)) {
        return false;
    }
    f->held_used = used;
    f->held_unshared = unshared;
    return true;
}

/* ---- writes that must not overlap ----------------------------------------------------------- */

/* With O_DIRECT and sectors above 512 bytes, a small write rewrites its neighbours: it must not run
 * beside a write to them. */
static bool overlaps(const FileState *f, const BlockIo *a, const BlockIo *b)
{
    uint64_t a_end = align_up(a->offset + a->len, f->align),
             b_end = align_up(b->offset + b->len, f->align);

    return align_down(a->offset, f->align) < b_end && align_down(b->offset, f->align) < a_end;
}

static bool must_wait(const FileState *f, const BlockIo *io)
{
    for (GList *l = f->writes.head; l; l = l->next) {
        const BlockIo *other = l->data;

        if ((io->serialising || other->serialising) && overlaps(f, io, other)) {
            return true;
        }
    }
    return false;
}

static bool is_tracked(const FileState *f, const BlockIo *io)
{
    return f->align > BLOCK_SECTOR &&
           (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD);
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool suits_engine(const FileState *f, const BlockIo *io)
{
    if (io->op == BLOCK_FLUSH) {
        return f->aio == BLOCK_AIO_IO_URING && !f->flush_error && f->align > 1;
    }
    return (io->op == BLOCK_READ || io->op == BLOCK_WRITE) && io->iov_count <= MAX_ENGINE_IOV &&
           io->len && file_is_aligned(f, io);
}

static void file_start(BlockNode *node, BlockIo *io)
{
    FileState *f = node->state;

    if (is_tracked(f, io)) {
        if (f->waiting || must_wait(f, io)) {
            io->next = NULL;
            *f->waiting_tail = io;
            f->waiting_tail = &io->next;
            return;
        }
        io->link.data = io;
        g_queue_push_tail_link(&f->writes, &io->link);
    }
    if (suits_engine(f, io) && f->engine->ops->submit(f->engine, io)) {
        return;
    }
    block_io_run_in_thread(node->vm, io);
}

static void start_waiting(BlockNode *node)
{
    FileState *f = node->state;
    BlockIo *list = f->waiting;

    f->waiting = NULL;
    f->waiting_tail = &f->waiting;
    while (list) {
        BlockIo *io = list;

        list = io->next;
        file_start(node, io);
    }
}

static void file_finish(BlockIo *io, int result)
{
    BlockNode *node = io->node;
    FileState *f = node->state;

    trace(block_file_done, "node %s op %d offset %" PRIu64 " len %" PRIu64 " result %d", node->name,
          io->op, io->offset, io->len, result);
    if (is_tracked(f, io)) {
        g_queue_unlink(&f->writes, &io->link);
        start_waiting(node);
    }
    io->done(io, result);
}

static void file_submit(BlockNode *node, BlockIo *io)
{
    FileState *f = node->state;

    trace(block_file_submit, "node %s op %d offset %" PRIu64 " len %" PRIu64, node->name, io->op,
          io->offset, io->len);
    io->node = node;
    io->fd = f->fd;
    io->run = file_run;
    io->finish = file_finish;
    io->progress = 0;
    io->link = (GList){0};
    io->serialising = f->align > BLOCK_SECTOR && ((io->offset | io->len) & (f->align - 1)) &&
                      io->op != BLOCK_READ;
    if ((io->op == BLOCK_FLUSH && node->no_flush) ||
        (io->op == BLOCK_DISCARD && !node->discard_unmap)) {
        io->op = BLOCK_FLUSH; /* not tracked */
        block_io_finish_later(node->vm, io, 0);
        return;
    }
    if (io->op == BLOCK_ZERO && !node->discard_unmap) {
        io->may_unmap = false;
    }
    if (node->no_flush) {
        io->fua = false;
    }
    file_start(node, io);
}

/* ---- drivers -------------------------------------------------------------------------------- */

const BlockDriver block_driver_file = {
    .name = "file",
    .state_size = sizeof(FileState),
    .open = file_open,
    .close = file_close,
    .submit = file_submit,
    .set_perm = file_set_perm,
};

const BlockDriver block_driver_host_device = {
    .name = "host_device",
    .state_size = sizeof(FileState),
    .open = device_open,
    .close = file_close,
    .submit = file_submit,
    .set_perm = file_set_perm,
};

const BlockDriver block_driver_host_cdrom = {
    .name = "host_cdrom",
    .state_size = sizeof(FileState),
    .open = cdrom_open,
    .close = file_close,
    .submit = file_submit,
    .set_perm = file_set_perm,
};
