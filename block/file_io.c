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

#define READ_AGAIN_MAX 100

/* A read ended early: the end of the file reads as zeros. Another request may have made the file
 * longer since: then it is worth reading again (-EAGAIN). Anything else is an error. */
static int read_ended(int fd, uint64_t at, unsigned *tries)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode)) {
        return -EIO;
    }
    return at >= (uint64_t)st.st_size ? 0 : ++*tries < READ_AGAIN_MAX ? -EAGAIN : -EIO;
}

static int transfer(BlockIo *io)
{
    const FileState *f = io->node->state;
    struct iovec part[IOV_BATCH];
    uint64_t pos = io->progress;
    unsigned tries = 0;

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
            int ended = io->op == BLOCK_WRITE ? -ENOSPC
                                              : read_ended(io->fd, io->offset + pos, &tries);

            if (ended == -EAGAIN) {
                continue;
            }
            if (ended == 0) {
                iov_fill(io->iov, io->iov_count, pos, 0, io->len - pos);
            }
            return ended;
        }
        pos += (uint64_t)ret;
    }
    return 0;
}

/* ---- without waiting ------------------------------------------------------------------------ */

/* What is longer is better copied by another thread: up to here, passing it on and waking twice costs more than the
 * copy, even where a write has to find memory first. A thread that has nothing else to serve copies more, while the data
 * is in its cache. */
#define NOW_MAX (64 * KIB)
#define NOW_LONE_MAX (1 * MIB)
#define NOW_SEVERAL_MAX (64 * KIB) /* writes that have others beside them: longer ones get a worker */
#define NOW_SHARED_LEN (32 * KIB)  /* reads so long that another thread can help, when */
#define NOW_SHARED_READS 4         /* so many are in flight */
#define NOW_IOV 16
#define NOW_SKIP_MAX 64

/* A file that is not in the page cache: not each read pays for trying. */
static void count_miss(FileState *f, int error)
{
    const unsigned before = __atomic_load_n(&f->now_misses, __ATOMIC_RELAXED), misses = MIN(before + 1, NOW_SKIP_MAX);

    if (error != EAGAIN && error != EINTR) {
        __atomic_store_n(&f->no_now, true, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&f->now_misses, misses, __ATOMIC_RELAXED);
    __atomic_store_n(&f->now_skip, misses - 1, __ATOMIC_RELAXED);
}

/* Long reads, many at once: the pool's workers and this thread share them. */
static bool is_shared_work(const FileState *f, const BlockIo *io)
{
    return f->aio == BLOCK_AIO_THREADS && io->len >= NOW_SHARED_LEN && f->reads > NOW_SHARED_READS;
}

static uint64_t now_max(const FileState *f, const BlockIo *io)
{
    const BlockLoop *loop = block_io_loop(io->node, io);
    bool lone = loop->lone, ahead = lone && loop->reads_ahead;
    /* Who writes several at once gets a worker for them, and prepares the next ones meanwhile. */
    bool several = loop->later ||
                   (loop->index < FILE_LANES && __atomic_load_n(&f->write_lanes[loop->index], __ATOMIC_RELAXED));

    if (io->op == BLOCK_READ) {
        return lone && !is_shared_work(f, io) ? NOW_LONE_MAX : lone ? NOW_SHARED_LEN - 1 : NOW_MAX;
    }
    if (ahead) {
        return NOW_SHARED_LEN - 1;
    }
    return lone ? several ? NOW_SEVERAL_MAX : NOW_LONE_MAX : f->in_memory ? NOW_MAX : 0;
}

static bool suits_now(const FileState *f, const BlockIo *io)
{
    /* In memory O_DIRECT and syncing are words only. */
    bool plain = f->in_memory ? file_is_aligned(f, io) : f->align == 1 && !io->fua;

    return plain && !__atomic_load_n(&f->no_now, __ATOMIC_RELAXED) && io->len && io->iov_count <= NOW_IOV &&
           (io->op == BLOCK_READ || io->op == BLOCK_WRITE) && io->len <= now_max(f, io);
}

bool file_try_now(FileState *f, BlockIo *io)
{
    bool reads = io->op == BLOCK_READ;
    ssize_t ret;

    if (!suits_now(f, io)) {
        return false;
    }
    const unsigned skip = __atomic_load_n(&f->now_skip, __ATOMIC_RELAXED);

    if (reads && skip) {
        __atomic_store_n(&f->now_skip, skip - 1, __ATOMIC_RELAXED);
        return false;
    }
    if (reads && f->in_memory && io->iov_count == 1) { /* fetching a list of pieces costs time too */
        ret = pread(io->fd, io->iov->iov_base, io->len, (off_t)io->offset);
    } else if (reads) {
        ret = preadv2(io->fd, io->iov, (int)io->iov_count, (off_t)io->offset, f->in_memory ? 0 : RWF_NOWAIT);
    } else {
        ret = pwritev(io->fd, io->iov, (int)io->iov_count, (off_t)io->offset);
    }
    if (ret < 0) {
        count_miss(f, errno);
        return false; /* a worker finds out whether that is an error */
    }
    __atomic_store_n(&f->now_misses, 0, __ATOMIC_RELAXED);
    io->progress = (uint64_t)ret;
    return io->progress == io->len;
}

/* ---- O_DIRECT with unfit requests ----------------------------------------------------------- */

/* Reads [offset, offset + len), both aligned, zeros after the end of the file. */
static int bounce_read(const FileState *f, int fd, uint8_t *buf, uint64_t offset, uint64_t len)
{
    uint64_t pos = 0;
    unsigned tries = 0;

    while (pos < len) {
        ssize_t ret = pread(fd, buf + pos, len - pos, (off_t)(offset + pos));

        if (ret < 0 && errno == EINTR) {
            continue;
        }
        if (ret < 0 && !(errno == EINVAL && pos & (f->align - 1))) {
            return -errno;
        }
        if (ret <= 0) {
            int ended = read_ended(fd, offset + pos, &tries);

            if (ended == -EAGAIN) {
                continue;
            }
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
    if (ret == 0) {
        __atomic_add_fetch(&f->discards, 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&f->discarded, io->len, __ATOMIC_RELAXED);
    } else {
        __atomic_add_fetch(&f->discards_failed, 1, __ATOMIC_RELAXED);
    }
    if (ret < 0 && is_unsupported(-ret)) {
        __atomic_store_n(&f->no_punch, 1, __ATOMIC_RELAXED);
        return 0;
    }
    return ret;
}

static int write_zero_bytes(BlockIo *io)
{
    const FileState *f = io->node->state;
    uint64_t pos = 0, size = MIN(io->len, BOUNCE_MAX);
    void *buf = NULL;
    int ret = 0;

    if (posix_memalign(&buf, MAX(f->mem_align, 4096), size)) {
        return -ENOMEM;
    }
    memset(buf, 0, size);
    while (ret == 0 && pos < io->len) {
        struct iovec iov = {buf, MIN(io->len - pos, size)};
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
        ret = io->no_fallback ? -ENOTSUP : write_zero_bytes(io);
    }
    return ret == 0 && io->fua ? sync_data(io->fd) : ret;
}

/* Once a sync has failed, the pages that could not be written are clean and lost. If somebody was told that they are written,
 * later syncs must not claim success. */
static int run_flush(BlockIo *io)
{
    FileState *f = io->node->state;
    int ret = __atomic_load_n(&f->flush_error, __ATOMIC_RELAXED);

    if (ret < 0) {
        return ret;
    }
    ret = sync_data(io->fd);
    if (ret == -EINVAL || ret == -EROFS) {
        return 0; /* nothing here can be synced */
    }
    if (ret < 0 && !io->node->direct && __atomic_load_n(&f->promised, __ATOMIC_RELAXED)) {
        __atomic_store_n(&f->flush_error, ret, __ATOMIC_RELAXED);
    }
    if (ret < 0) {
        file_sync_failed(f, ret);
    }
    return ret;
}

/* The run of data or of hole at io->offset, as the file system tells it. */
static int run_status(BlockIo *io)
{
    const FileState *f = io->node->state;
    BlockStatus *st = io->status;
    off_t at = (off_t)io->offset, data, hole;

    *st = (BlockStatus){.bytes = io->len,
                        .allocated = true,
                        .data = true,
                        .has_offset = true,
                        .host_offset = io->offset,
                        .file = io->node};
    if (f->is_device || !io->precise) {
        return 0;
    }
    data = lseek(io->fd, at, SEEK_DATA);
    if (data < 0 && errno != ENXIO) {
        return 0; /* the file system cannot tell */
    }
    if (data < 0 || data > at) { /* a hole up to data, or to the end of the file */
        st->data = false;
        st->zero = true;
        st->bytes = data < 0 ? io->len : MIN(io->len, (uint64_t)(data - at));
        return 0;
    }
    hole = lseek(io->fd, at, SEEK_HOLE);
    if (hole > at) {
        st->bytes = MIN(io->len, (uint64_t)(hole - at));
    }
    return 0;
}

int64_t file_copy_range(const BlockNode *from, uint64_t from_offset, const BlockNode *to, uint64_t to_offset,
                        uint64_t len)
{
    const FileState *source = from->state, *target = to->state;
    off_t in = (off_t)from_offset, out = (off_t)to_offset;
    ssize_t ret;

    do {
        ret = copy_file_range(source->fd, &in, target->fd, &out, len, 0);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : ret;
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
    case BLOCK_STATUS:
        return run_status(io);
    case BLOCK_SG:
        return file_run_sg(io);
    }
    return -EINVAL;
}
