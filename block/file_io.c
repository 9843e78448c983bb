/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a worker thread does for the file driver: whole transfers, bounce buffers for O_DIRECT,
 * holes and zeros, fdatasync. Blocking system calls; no VM lock; touches nothing but its request,
 * its buffers and the flags in FileState that say so.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file_int.h"

#define IOV_BATCH 64
#define BOUNCE_MAX (1 * MIB)

bool file_is_aligned(const FileState *f, const BlockIo *io)
{
    if ((io->offset | io->len) & (f->align - 1)) {
        return false;
    }
    for (unsigned i = 0; f->mem_align > 1 && i < io->iov_count; i++) {
        if ((uintptr_t)io->iov[i].iov_base & (f->mem_align - 1) ||
            io->iov[i].iov_len & (f->align - 1)) {
            return false;
        }
    }
    return true;
}

/* The part of io's buffers from byte pos on, up to IOV_BATCH pieces. */
static unsigned iov_part(const BlockIo *io, uint64_t pos, struct iovec *part)
{
    unsigned n = 0;

    for (unsigned i = 0; i < io->iov_count && n < IOV_BATCH; i++) {
        size_t len = io->iov[i].iov_len;

        if (pos >= len) {
            pos -= len;
            continue;
        }
        part[n++] = (struct iovec){(char *)io->iov[i].iov_base + pos, len - pos};
        pos = 0;
    }
    return n;
}

static int sync_data(int fd)
{
    return fdatasync(fd) == 0 ? 0 : -errno;
}

static ssize_t write_part(int fd, const struct iovec *iov, unsigned n, uint64_t offset, bool fua)
{
    ssize_t ret = pwritev2(fd, iov, (int)n, (off_t)offset, fua ? RWF_DSYNC : 0);

    if (ret < 0 && fua && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS)) {
        ret = pwritev(fd, iov, (int)n, (off_t)offset);
        if (ret >= 0 && fdatasync(fd) != 0) {
            return -1;
        }
    }
    return ret;
}

/* A read ended early: the end of the file reads as zeros, anything else is an error. */
static int read_ended(int fd, uint64_t at)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    return S_ISREG(st.st_mode) && at >= (uint64_t)st.st_size ? 0 : -EIO;
}

static int transfer(BlockIo *io)
{
    const FileState *f = io->node->state;
    struct iovec part[IOV_BATCH];
    uint64_t pos = io->progress;

    while (pos < io->len) {
        unsigned n = iov_part(io, pos, part);
        ssize_t ret = io->op == BLOCK_WRITE
                          ? write_part(io->fd, part, n, io->offset + pos, io->fua)
                          : preadv(io->fd, part, (int)n, (off_t)(io->offset + pos));

        if (ret < 0 && errno == EINTR) {
            continue;
        }
        if (ret < 0 && !(io->op == BLOCK_READ && errno == EINVAL && pos & (f->align - 1))) {
            return -errno;
        }
        if (ret <= 0) {
            int ended = io->op == BLOCK_WRITE ? -ENOSPC : read_ended(io->fd, io->offset + pos);

            if (ended == 0) {
                iov_fill(io->iov, io->iov_count, pos, 0, io->len - pos);
            }
            return ended;
        }
        pos += (uint64_t)ret;
    }
    return 0;
}

/* ---- O_DIRECT with unfit requests ----------------------------------------------------------- */

/* Reads [offset, offset + len), both aligned, zeros after the end of the file. */
static int bounce_read(const FileState *f, int fd, uint8_t *buf, uint64_t offset, uint64_t len)
{
    uint64_t pos = 0;

    while (pos < len) {
        ssize_t ret = pread(fd, buf + pos, len - pos, (off_t)(offset + pos));

        if (ret < 0 && errno == EINTR) {
            continue;
        }
        if (ret < 0 && !(errno == EINVAL && pos & (f->align - 1))) {
            return -errno;
        }
        if (ret <= 0) {
            int ended = read_ended(fd, offset + pos);

            memset(buf + pos, 0, len - pos);
            return ended;
        }
        pos += (uint64_t)ret;
    }
    return 0;
}

static int bounce_write(int fd, const uint8_t *buf, uint64_t offset, uint64_t len, bool fua)
{
    uint64_t pos = 0;

    while (pos < len) {
        struct iovec part = {(void *)(buf + pos), len - pos};
        ssize_t ret = write_part(fd, &part, 1, offset + pos, fua);

        if (ret < 0 && errno == EINTR) {
            continue;
        }
        if (ret <= 0) {
            return ret < 0 ? -errno : -ENOSPC;
        }
        pos += (uint64_t)ret;
    }
    return 0;
}

/* One window of the request, enlarged to the alignment: [start, start + span) of the file. */
static int bounce_window(BlockIo *io, uint8_t *buf, uint64_t pos, uint64_t chunk)
{
    const FileState *f = io->node->state;
    uint64_t from = io->offset + pos;
    uint64_t start = align_down(from, f->align);
    uint64_t end = align_up(from + chunk, f->align);
    int ret = 0;

    if (io->op == BLOCK_READ) {
        ret = bounce_read(f, io->fd, buf, start, end - start);
        if (ret == 0) {
            iov_from_buf(io->iov, io->iov_count, pos, buf + (from - start), chunk);
        }
        return ret;
    }
    if (start != from) {
        ret = bounce_read(f, io->fd, buf, start, f->align);
    }
    if (ret == 0 && end != from + chunk && (start == from || end - start > f->align)) {
        ret = bounce_read(f, io->fd, buf + (end - start) - f->align, end - f->align, f->align);
    }
    if (ret == 0) {
        iov_to_buf(io->iov, io->iov_count, pos, buf + (from - start), chunk);
        ret = bounce_write(io->fd, buf, start, end - start, io->fua);
    }
    return ret;
}

static int bounce(BlockIo *io)
{
    const FileState *f = io->node->state;
    uint64_t pos = 0;
    void *buf = NULL;
    int ret = 0;

    if (posix_memalign(&buf, MAX(f->mem_align, 4096), BOUNCE_MAX + 2 * (uint64_t)f->align)) {
        return -ENOMEM;
    }
    while (ret == 0 && pos < io->len) {
        uint64_t room = BOUNCE_MAX - ((io->offset + pos) & (f->align - 1));
        uint64_t chunk = MIN(io->len - pos, room);

        ret = bounce_window(io, buf, pos, chunk);
        pos += chunk;
    }
    free(buf);
    return ret;
}

/* ---- holes and zeros ------------------------------------------------------------------------ */

static bool is_unsupported(int error)
{
    return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY || error == ENODEV;
}

static int punch(FileState *f, const BlockIo *io)
{
    int ret;

    if (f->is_device) {
        uint64_t range[2] = {io->offset, io->len};

        ret = ioctl(io->fd, BLKDISCARD, range);
    } else {
        ret = fallocate(io->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)io->offset,
                        (off_t)io->len);
    }
    return ret == 0 ? 0 : -errno;
}

static int run_discard(BlockIo *io)
{
    FileState *f = io->node->state;
    int ret;

    if (__atomic_load_n(&f->no_punch, __ATOMIC_RELAXED)) {
        return 0; /* a discard is a hint */
    }
    ret = punch(f, io);
    if (ret < 0 && is_unsupported(-ret)) {
        __atomic_store_n(&f->no_punch, 1, __ATOMIC_RELAXED);
        return 0;
    }
    return ret;
}

static int write_zero_bytes(BlockIo *io)
{
    const FileState *f = io->node->state;
    uint64_t pos = 0;
    void *buf = NULL;
    int ret = 0;

    if (posix_memalign(&buf, MAX(f->mem_align, 4096), BOUNCE_MAX)) {
        return -ENOMEM;
    }
    memset(buf, 0, BOUNCE_MAX);
    while (ret == 0 && pos < io->len) {
        struct iovec iov = {buf, MIN(io->len - pos, BOUNCE_MAX)};
        BlockIo part = {.op = BLOCK_WRITE,
                        .offset = io->offset + pos,
                        .len = iov.iov_len,
                        .iov = &iov,
                        .iov_count = 1,
                        .node = io->node,
                        .fd = io->fd};

        ret = file_is_aligned(f, &part) ? transfer(&part) : bounce(&part);
        pos += iov.iov_len;
    }
    free(buf);
    return ret;
}

static int run_zero(BlockIo *io)
{
    FileState *f = io->node->state;
    struct stat st;
    int ret = -EOPNOTSUPP;

    /* A hole reads as zeros; one that would end after the file has to lengthen it. */
    if (!f->is_device && io->may_unmap && !__atomic_load_n(&f->no_punch, __ATOMIC_RELAXED) &&
        fstat(io->fd, &st) == 0 && io->offset + io->len <= (uint64_t)st.st_size) {
        ret = punch(f, io);
    }
    if (ret < 0 && !f->is_device && !__atomic_load_n(&f->no_zero_range, __ATOMIC_RELAXED)) {
        ret = fallocate(io->fd, FALLOC_FL_ZERO_RANGE, (off_t)io->offset, (off_t)io->len) == 0
                  ? 0
                  : -errno;
        if (ret < 0 && is_unsupported(-ret)) {
            __atomic_store_n(&f->no_zero_range, 1, __ATOMIC_RELAXED);
        }
    }
    if (ret < 0 && f->is_device) {
        uint64_t range[2] = {io->offset, io->len};

        ret = ioctl(io->fd, BLKZEROOUT, range) == 0 ? 0 : -errno;
    }
    if (ret < 0 && (is_unsupported(-ret) || ret == -EINVAL)) {
        ret = write_zero_bytes(io);
    }
    return ret == 0 && io->fua ? sync_data(io->fd) : ret;
}

/* Once a sync has failed, the pages that could not be written are clean and lost: later syncs must
 * not claim success. */
static int run_flush(BlockIo *io)
{
    FileState *f = io->node->state;
    int ret = __atomic_load_n(&f->flush_error, __ATOMIC_RELAXED);

    if (ret == 0) {
        ret = sync_data(io->fd);
        if (ret < 0 && ret != -EINVAL && ret != -EROFS && !io->node->direct) {
            __atomic_store_n(&f->flush_error, ret, __ATOMIC_RELAXED);
        }
        if (ret == -EINVAL || ret == -EROFS) {
            ret = 0; /* nothing here can be synced */
        }
    }
    return ret;
}

int file_run(BlockIo *io)
{
    switch (io->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return io->progress || file_is_aligned(io->node->state, io) ? transfer(io) : bounce(io);
    case BLOCK_FLUSH:
        return run_flush(io);
    case BLOCK_DISCARD:
        return run_discard(io);
    case BLOCK_ZERO:
        return run_zero(io);
    }
    return -EINVAL;
}
