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
#include <linux/magic.h>
#include <scsi/sg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "block/file_int.h"
#include "block/pr_manager.h"
#include "core/fdset.h"
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

static const char *const aio_names[] = {"threads", "native", "io_uring", NULL}; /* BlockAio */

/* What runs its reads and writes. */
static BlockAio engine_kind(const FileState *f)
{
    return f->aio == BLOCK_AIO_THREADS && f->align > 1 && !f->in_memory && !f->is_cdrom ? BLOCK_AIO_DEPUTED : f->aio;
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

/* advice "": what errors of this kind get. Always false. */
static bool open_failed(const BlockNode *node, const char *what, int errnum, const char *advice, GError **err)
{
    return *advice ? error_set(err, "Could not %s '%s': %s%s", what, node->filename, g_strerror(errnum), advice)
                   : error_set_errno(err, errnum, "Could not %s '%s'", what, node->filename);
}

static int open_path(BlockNode *node, bool read_only)
{
    int flags = O_NOCTTY | O_NONBLOCK | (read_only ? O_RDONLY : O_RDWR) |
                (node->direct ? O_DIRECT : 0);
    int fd;

    do {
        fd = vm_open(node->vm, node->filename, flags, 0);
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
        return open_failed(node, "open", error, open_advice(error, node->read_only, node->direct), err);
    }
    return true;
}

/* /dev/sgN: takes SCSI commands, has no blocks. */
static bool is_scsi_generic(const FileState *f, const struct stat *st)
{
    int version;

    return S_ISCHR(st->st_mode) && !f->is_cdrom && ioctl(f->fd, SG_GET_VERSION_NUM, &version) == 0;
}

/* /dev/null and /dev/zero: disks of no bytes, which scripts give for "nothing". */
static bool is_memory_device(const FileState *f, const struct stat *st)
{
    enum { MEMORY_MAJOR = 1, NULL_MINOR = 3, ZERO_MINOR = 5 };

    return S_ISCHR(st->st_mode) && !f->is_cdrom && major(st->st_rdev) == MEMORY_MAJOR &&
           (minor(st->st_rdev) == NULL_MINOR || minor(st->st_rdev) == ZERO_MINOR);
}

static const char *kind_advice(const struct stat *st)
{
    return S_ISBLK(st->st_mode)    ? " (a block device wants driver=host_device)"
           : S_ISCHR(st->st_mode)  ? " (a character device wants driver=host_device)"
           : S_ISSOCK(st->st_mode) ? ": it is a socket; an NBD server's export is file=nbd+unix:///NAME?socket=PATH"
                                   : ": it is a pipe; copy what it gives into a file";
}

/* Is it what the driver is for? */
static bool check_kind(BlockNode *node, GError **err)
{
    FileState *f = node->state;
    struct statfs fs;
    struct stat st;

    if (fstat(f->fd, &st) != 0) {
        return error_set_errno(err, errno, "Could not stat '%s'", node->filename);
    }
    f->in_memory = fstatfs(f->fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC;
    if (f->is_device) {
        return S_ISBLK(st.st_mode) || is_scsi_generic(f, &st) || is_memory_device(f, &st) ||
               error_set(err, "'%s' driver requires '%s' to be a block device%s", node->drv->name, node->filename,
                         S_ISCHR(st.st_mode) ? ": it is a character device that is no disk; "
                                               "name a disk of the host, or driver=null-co" : "");
    }
    if (S_ISDIR(st.st_mode)) {
        return error_set(err, "'file' driver requires '%s' to be a regular file: it is a directory; name a file in it",
                         node->filename);
    }
    if (!S_ISREG(st.st_mode)) {
        return error_set(err, "'file' driver requires '%s' to be a regular file%s", node->filename, kind_advice(&st));
    }
    return true;
}

static bool take_file_options(BlockNode *node, BlockOpts *opts, int *locking, GError **err)
{
    static const char *const locking_names[] = {"auto", "on", "off", NULL};
    FileState *f = node->state;
    g_autofree char *manager = block_opts_take(opts, "pr-manager");
    int aio = BLOCK_AIO_THREADS;
    uint64_t batch = 0;

    node->filename = block_opts_take(opts, "filename");
    if (!node->filename || !*node->filename) {
        return error_set(err, "The '%s' block driver requires a file name", node->drv->name);
    }
    if (!block_opts_take_enum(opts, "aio", aio_names, &aio, err) ||
        !block_opts_take_enum(opts, "locking", locking_names, locking, err) ||
        !block_opts_take_size(opts, "aio-max-batch", &batch, NULL, err)) {
        return false;
    }
    if (aio == BLOCK_AIO_NATIVE && !node->direct) {
        return error_set(
            err,
            "aio=native was specified, but it requires cache.direct=on, which was not specified.");
    }
    f->aio = (BlockAio)aio;
    f->aio_batch = (unsigned)MIN(batch, UINT_MAX);
    f->pr_manager = manager ? pr_manager_get(node->vm, manager, err) : NULL;
    return !manager || f->pr_manager;
}

static void let_go(FileState *f)
{
    object_unref(f->pr_manager);
    if (f->fd >= 0) {
        pthread_mutex_destroy(&f->lock);
        close(f->fd); /* drops the locks */
    }
}

static bool file_open_any(BlockNode *node, BlockOpts *opts, GError **err)
{
    FileState *f = node->state;
    int locking = 0;

    f->fd = -1;
    f->waiting_tail = &f->waiting;
    g_queue_init(&f->writes);
    if (!take_file_options(node, opts, &locking, err) || !open_fd(node, err)) {
        let_go(f);
        return false;
    }
    pthread_mutex_init(&f->lock, NULL);
    if (!check_kind(node, err) || !find_alignment(node, err)) {
        goto fail;
    }
    f->engine = block_engine(node->loop, engine_kind(f), err);
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
    let_go(f);
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
        let_go(f);
        return false;
    }
    return true;
}

static void file_close(BlockNode *node)
{
    FileState *f = node->state;

    if (f->held_used & BLOCK_PERM_WRITE) {
        file_give_back(node);
    }
    for (unsigned i = 0; i < FILE_LANES; i++) {
        g_free(f->syncs[i]);
    }
    let_go(f);
}

static bool file_set_perm(BlockNode *node, uint32_t used, uint32_t unshared, GError **err)
{
    FileState *f = node->state;

    if (f->held_used & ~used & BLOCK_PERM_WRITE) {
        file_give_back(node);
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

/* With O_DIRECT a write that is not aligned (formats write packed clusters at any byte) rewrites its
 * neighbours: it must not run beside a write to them. */
static bool overlaps(const FileState *f, const BlockIo *a, const BlockIo *b)
{
    uint64_t a_end = align_up(a->offset + a->len, f->align),
             b_end = align_up(b->offset + b->len, f->align);

    return align_down(a->offset, f->align) < b_end && align_down(b->offset, f->align) < a_end;
}

static bool must_wait(const FileState *f, const BlockIo *io)
{
    if (!io->serialising && !f->serialising) {
        return false;
    }
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
    return f->align > 1 &&
           (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO || io->op == BLOCK_DISCARD);
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool suits_engine(const FileState *f, const BlockIo *io)
{
    if (io->op == BLOCK_FLUSH) {
        return f->aio == BLOCK_AIO_IO_URING && !__atomic_load_n(&f->flush_error, __ATOMIC_RELAXED) && f->align > 1;
    }
    return (io->op == BLOCK_READ || io->op == BLOCK_WRITE) && io->iov_count <= MAX_ENGINE_IOV &&
           io->len && file_is_aligned(f, io);
}

/* May the loop's thread itself give it to the kernel, as long as that needs no waiting? A tool waits for requests anyway. */
static BlockNowait *nowait_of(FileState *f, const BlockIo *io)
{
    const BlockLoop *loop = block_io_loop(io->node, io);
    BlockNowait *n = &f->nowait[io->op == BLOCK_WRITE];
    const unsigned skip = __atomic_load_n(&n->skip, __ATOMIC_RELAXED);

    if (loop->lone || io->engine != loop->engines[BLOCK_AIO_DEPUTED]) {
        return NULL;
    }
    if (skip && skip != BLOCK_NOWAIT_NEVER) {
        __atomic_store_n(&n->skip, skip - 1, __ATOMIC_RELAXED);
    }
    return skip ? NULL : n;
}

/* Nothing else is under way in its loop: whoever took it may as well wait for it. By threads that is a worker, to whom it has
 * to go anyway; a tool does it itself (BlockLoop.lone), which takes one system call whatever the engine. */
static bool is_waited_for(const BlockIo *io)
{
    const BlockLoop *loop = block_io_loop(io->node, io);

    return (loop->lone || io->engine == loop->engines[BLOCK_AIO_DEPUTED]) && !io->nowait && block_loop_is_idle(loop) &&
           !block_merge_has_several(loop);
}

/* False: it was put among those that wait. */
static bool track(FileState *f, BlockIo *io)
{
    bool start;

    pthread_mutex_lock(&f->lock);
    start = !f->waiting && !must_wait(f, io);
    if (start) {
        if (f->writes.length && file_can_share_sync(f, io)) {
            file_share_sync(io);
        }
        io->link.data = io;
        g_queue_push_tail_link(&f->writes, &io->link);
        f->serialising += io->serialising;
    } else {
        io->next = NULL;
        *f->waiting_tail = io;
        f->waiting_tail = &io->next;
    }
    pthread_mutex_unlock(&f->lock);
    return start;
}

/* What has waited. */
static BlockIo *untrack(FileState *f, BlockIo *io)
{
    BlockIo *list;

    pthread_mutex_lock(&f->lock);
    g_queue_unlink(&f->writes, &io->link);
    f->serialising -= io->serialising;
    list = f->waiting;
    f->waiting = NULL;
    f->waiting_tail = &f->waiting;
    pthread_mutex_unlock(&f->lock);
    return list;
}

/* Answered here and now: what asks nobody, and the file system where this thread has nothing else to serve: the request
 * would wait for a worker that writes. */
static bool is_told_now(const FileState *f, const BlockIo *io)
{
    return io->op == BLOCK_STATUS && (!io->precise || f->is_device || block_io_loop(io->node, io)->lone);
}

/* Gives it to an engine or a worker. */
static void file_go(BlockIo *io)
{
    FileState *f = io->node->state;

    io->engine = io->loop ? block_engine(io->loop, engine_kind(f), NULL) : f->engine;
    bool suits = !io->progress && suits_engine(f, io);

    io->nowait = suits ? nowait_of(f, io) : NULL;
    if (suits && !is_waited_for(io) && io->engine->ops->submit(io->engine, io)) {
        return;
    }
    block_io_run_in_thread(io->node, io);
}

static bool may_join(const FileState *f, const BlockIo *io)
{
    return (io->op == BLOCK_READ || io->op == BLOCK_WRITE) && !io->progress && io->len && file_is_aligned(f, io);
}

static void file_start(BlockNode *node, BlockIo *io)
{
    FileState *f = node->state;

    if (is_tracked(f, io) && !track(f, io)) {
        return;
    }
    if (io->op == BLOCK_READ && block_io_loop(node, io)->lone) { /* else several loops may come by */
        f->reads++;
    }
    if (is_told_now(f, io)) {
        block_io_finish_done_later(node, io, io->run(io));
        return;
    }
    if (file_try_now(f, io)) {
        block_io_finish_done_later(node, io, 0);
        return;
    }
    if (file_should_reserve(f, io)) {
        __atomic_store_n(&f->reserving, true, __ATOMIC_RELAXED);
        io->run = file_run_reserving;
        block_io_run_in_thread(node, io);
        return;
    }
    io->batch = f->aio_batch;
    if (!may_join(f, io) || !block_merge_hold(block_io_loop(node, io), io, file_go)) {
        file_go(io);
    }
}

static void start_mailed(BlockMail *mail)
{
    BlockIo *io = container_of(mail, BlockIo, mail);

    file_start(io->node, io);
}

/* Each in its own loop; here is the one of this thread. */
static void start_waiting(BlockNode *node, BlockIo *list, const BlockLoop *here)
{
    while (list) {
        BlockIo *io = list;
        BlockLoop *loop = block_io_loop(node, io);

        list = io->next;
        if (loop == here) {
            file_start(node, io);
        } else {
            io->mail.fn = start_mailed;
            block_loop_send(loop, &io->mail);
        }
    }
}

static void reached(BlockNode *node, uint64_t end)
{
    uint64_t highest = __atomic_load_n(&node->wr_highest, __ATOMIC_RELAXED);

    while (end > highest && !__atomic_compare_exchange_n(&node->wr_highest, &highest, end, true, __ATOMIC_RELAXED,
                                                         __ATOMIC_RELAXED)) {
    }
}

static void file_finish(BlockIo *io, int result)
{
    BlockNode *node = io->node;
    FileState *f = node->state;

    trace(block_file_done, "node %s op %d offset %" PRIu64 " len %" PRIu64 " result %d", node->name,
          io->op, io->offset, io->len, result);
    if (io->op == BLOCK_READ && block_io_loop(node, io)->lone) {
        f->reads--;
    }
    io->brief = false;
    if (is_tracked(f, io)) {
        start_waiting(node, untrack(f, io), block_io_loop(node, io));
    }
    if (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) {
        reached(node, io->offset + io->len);
    }
    /* What was written is part of the file now, even where it was not meant to grow. In the owner: gates see to that. */
    if (result == 0 && (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) &&
        io->offset + io->len > node->size && !f->is_device) {
        block_node_set_size(node, io->offset + io->len);
    }
    io->done(io, result);
}

/* What it shares with those of its loop that workers shall run one after the other. */
static bool *lane_of(BlockNode *node, const BlockIo *io)
{
    FileState *f = node->state;
    const unsigned index = block_io_loop(node, io)->index;

    if (io->op == BLOCK_SG) {
        return file_sg_lane(node, io);
    }
    return f->align == 1 && !f->is_device && io->op == BLOCK_WRITE && !io->fua && index < FILE_LANES ? &f->write_lanes[index] : NULL;
}

/* It ends without being on stable storage. */
static bool is_unsynced_write(const FileState *f, const BlockIo *io)
{
    return (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) && !io->fua && !__atomic_load_n(&f->promised, __ATOMIC_RELAXED);
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
    io->brief = (io->op == BLOCK_READ || io->op == BLOCK_WRITE) && io->len <= FILE_BRIEF_MAX;
    io->fua &= !node->no_flush;
    if (f->align == 1 && file_can_share_sync(f, io)) {
        file_sync_cached(io);
    } else if (f->align == 1 && is_unsynced_write(f, io)) {
        __atomic_store_n(&f->promised, true, __ATOMIC_RELAXED);
    }
    io->lane = lane_of(node, io);
    io->serialising = ((io->offset | io->len) & (f->align - 1)) && io->op != BLOCK_READ;
    if ((io->op == BLOCK_FLUSH && node->no_flush) ||
        (io->op == BLOCK_DISCARD && !node->discard_unmap)) {
        block_io_finish_later(node, io, 0);
        return;
    }
    if (io->op == BLOCK_ZERO && !node->discard_unmap) {
        io->may_unmap = false;
    }
    file_start(node, io);
}

/* ---- reopening ------------------------------------------------------------------------------ */

typedef struct FileReopen {
    int fd; /* -1: the old one stays */
    BlockAio aio;
    unsigned aio_batch;
    uint32_t align, mem_align;
} FileReopen;

/* The same file through a new description. */
static bool reopen_fd(BlockReopen *r, FileReopen *fr, GError **err)
{
    BlockNode *node = r->node, shape = *node;
    FileState *f = node->state, probe = *f;
    struct stat before, after;

    shape.direct = r->direct;
    shape.state = &probe;
    probe.fd = fr->fd = open_path(&shape, r->read_only);
    if (fr->fd < 0 && !r->read_only && r->auto_read_only) {
        r->read_only = true;
        probe.fd = fr->fd = open_path(&shape, true);
    }
    if (fr->fd < 0) {
        return open_failed(node, "reopen file", errno, open_advice(errno, r->read_only, r->direct), err);
    }
    if (fstat(f->fd, &before) != 0 || fstat(fr->fd, &after) != 0 ||
        before.st_dev != after.st_dev || before.st_ino != after.st_ino) {
        return error_set(err, "Could not reopen file: '%s' is another file now", node->filename);
    }
    if (!find_alignment(&shape, err)) {
        return false;
    }
    fr->align = probe.align;
    fr->mem_align = probe.mem_align;
    return true;
}

static bool take_reopen_options(BlockReopen *r, FileReopen *fr, GError **err)
{
    BlockNode *node = r->node;
    const FileState *f = node->state;
    g_autofree char *filename = block_opts_take(r->opts, "filename");
    g_autofree char *locking = block_opts_take(r->opts, "locking"), *manager = block_opts_take(r->opts, "pr-manager");
    int aio = BLOCK_AIO_THREADS;
    uint64_t batch = 0;

    if (!block_opts_take_enum(r->opts, "aio", aio_names, &aio, err) ||
        !block_opts_take_size(r->opts, "aio-max-batch", &batch, NULL, err)) {
        return false;
    }
    if (g_strcmp0(filename, node->filename)) {
        return error_set(err, "Cannot change the option 'filename'");
    }
    if (locking && strcmp(locking, "auto") && !strcmp(locking, "on") != f->locking) {
        return error_set(err, "Cannot change the option 'locking'");
    }
    if (g_strcmp0(manager, f->pr_manager ? ((Object *)(void *)f->pr_manager)->name : NULL)) {
        return error_set(err, "Cannot change the option 'pr-manager'");
    }
    if (aio == BLOCK_AIO_NATIVE && !r->direct) {
        return error_set(err, "aio=native was specified, but it requires cache.direct=on, which was "
                              "not specified.");
    }
    fr->aio = (BlockAio)aio;
    fr->aio_batch = (unsigned)MIN(batch, UINT_MAX);
    return true;
}

static bool file_reopen_prepare(BlockReopen *r, GError **err)
{
    BlockNode *node = r->node;
    FileState *f = node->state;
    FileReopen *fr = g_new0(FileReopen, 1);
    bool ok;

    *fr = (FileReopen){
        .fd = -1, .align = f->align, .mem_align = f->mem_align, .aio = f->aio, .aio_batch = f->aio_batch};
    r->state = fr;
    ok = r->keep || take_reopen_options(r, fr, err);
    r->read_only |= f->is_cdrom;
    if (ok && (r->read_only != node->read_only || r->direct != node->direct)) {
        ok = reopen_fd(r, fr, err);
    }
    if (!ok) {
        if (fr->fd >= 0) {
            close(fr->fd);
        }
        g_free(fr);
    }
    return ok;
}

static void use_engine(void *opaque)
{
    BlockNode *node = opaque;
    FileState *f = node->state;

    f->engine = block_engine(node->loop, engine_kind(f), NULL); /* threads, which are there, at worst */
}

static void file_reopen_commit(BlockReopen *r)
{
    FileState *f = r->node->state;
    FileReopen *fr = r->state;

    if (fr->fd >= 0) {
        g_autoptr(GError) err = NULL;

        if (f->locking && !block_lock_copy(fr->fd, r->node->filename, f->held_used,
                                           f->held_unshared, &err)) {
            report_warning("%s", err->message);
        }
        file_give_back(r->node);
        close(f->fd); /* and the locks of this description */
        f->fd = fr->fd;
        f->align = fr->align;
        f->mem_align = fr->mem_align;
    }
    f->aio = fr->aio;
    f->aio_batch = fr->aio_batch;
    memset(f->nowait, 0, sizeof f->nowait);
    block_loop_call(r->node->loop, use_engine, r->node);
    g_free(fr);
}

static void file_reopen_abort(BlockReopen *r)
{
    FileReopen *fr = r->state;

    if (fr->fd >= 0) {
        close(fr->fd);
    }
    g_free(fr);
}

const char *file_aio_name(const BlockNode *node)
{
    return node->drv->set_perm == file_set_perm ? aio_names[((const FileState *)node->state)->aio] : NULL;
}

static bool file_any_loop(const BlockNode *node)
{
    (void)node;
    return true;
}

static void file_attach_loop(BlockNode *node)
{
    use_engine(node);
}

static void file_refresh_limits(BlockNode *node)
{
    const FileState *f = node->state;

    node->limits = (BlockLimits){.request_align = f->align, .mem_align = f->mem_align};
}

/* ---- drivers -------------------------------------------------------------------------------- */

static void file_discard_stats(const BlockNode *node, BlockDiscardStats *stats)
{
    const FileState *f = node->state;

    stats->ok = __atomic_load_n(&f->discards, __ATOMIC_RELAXED);
    stats->failed = __atomic_load_n(&f->discards_failed, __ATOMIC_RELAXED);
    stats->bytes_ok = __atomic_load_n(&f->discarded, __ATOMIC_RELAXED);
}

#define FILE_DRIVER(NAME, OPEN, ...)                                                               \
    {                                                                                              \
        .name = NAME, .state_size = sizeof(FileState), .open = OPEN, .close = file_close,          \
        .submit = file_submit, .set_perm = file_set_perm, .attach_loop = file_attach_loop,         \
        .any_loop = file_any_loop, .drain_begin = file_hurry_sg, .truncate = file_truncate,        \
        .reopen_prepare = file_reopen_prepare, .reopen_commit = file_reopen_commit,                \
        .reopen_abort = file_reopen_abort, .refresh_limits = file_refresh_limits,                  \
        .allocated_size = file_allocated_size, .discard_stats = file_discard_stats, ##__VA_ARGS__  \
    }

const BlockDriver block_driver_file =
    FILE_DRIVER("file", file_open, .create_opts = block_file_create_opts, .create = file_create);
const BlockDriver block_driver_host_device = FILE_DRIVER("host_device", device_open);
const BlockDriver block_driver_host_cdrom = FILE_DRIVER("host_cdrom", cdrom_open);
