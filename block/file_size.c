/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How large files are made: creating, truncating, preallocation.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/file_int.h"
#include "util/log.h"

#define FILL_CHUNK (1 * MIB)
#define EXTENT_SIZE_HINT (1 * MIB) /* unless asked for another: as QEMU's */

const BlockCreateOpt block_file_create_opts[] = {
    {"size", "size", "Virtual disk size"},
    {"preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)", "off"},
    {"nocow", "bool (on/off)", "Turn off copy-on-write (valid only on btrfs)"},
    {"extent_size_hint", "size", "Extent size hint for the image file, 0 to disable"},
    {},
};

/* Zeros from byte `from` on, written. */
static int fill(int fd, uint64_t from, uint64_t to)
{
    g_autofree uint8_t *buf = g_try_malloc0(FILL_CHUNK);

    if (!buf) {
        return -ENOMEM;
    }
    while (from < to) {
        ssize_t n = pwrite(fd, buf, MIN(to - from, FILL_CHUNK), (off_t)from);

        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        from += n > 0 ? (uint64_t)n : 0;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

/* Makes fd, which has old bytes, size bytes long. */
static bool set_file_size(int fd, uint64_t old, uint64_t size, BlockPrealloc prealloc, GError **err)
{
    int ret = 0;

    if (prealloc == BLOCK_PREALLOC_METADATA) {
        return error_set(err, "Unsupported preallocation mode 'metadata'");
    }
    if (prealloc && size < old) {
        return error_set(err, "Preallocation can't be used for shrinking files");
    }
    if (prealloc == BLOCK_PREALLOC_FALLOC && size > old) {
        ret = posix_fallocate(fd, (off_t)old, (off_t)(size - old));
        return ret == 0 ||
               error_set_errno(err, ret, "Could not preallocate data for the new file");
    }
    if (ftruncate(fd, (off_t)size) != 0) {
        return error_set_errno(err, errno, "Could not resize file");
    }
    if (prealloc == BLOCK_PREALLOC_FULL) {
        ret = fill(fd, old, size);
    }
    if (ret < 0 && ftruncate(fd, (off_t)old) != 0) {
        ret = -errno;
    }
    return ret == 0 || error_set_errno(err, -ret, "Could not write zeros for preallocation");
}

bool file_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc, GError **err)
{
    FileState *f = node->state;

    if (f->is_device) {
        if (prealloc) {
            return error_set(err, "Preallocation mode '%s' unsupported for this non-regular file",
                             block_prealloc_names[prealloc]);
        }
        if (exact && size != node->size) {
            return error_set(err, "Cannot resize device files");
        }
        return size <= node->size || error_set(err, "Cannot grow device files");
    }
    if (!set_file_size(f->fd, node->size, size, prealloc, err)) {
        return false;
    }
    if (prealloc != BLOCK_PREALLOC_FALLOC || size >= f->reserved) {
        f->reserved = 0; /* the file ends at size now */
    }
    block_node_set_size(node, size);
    return true;
}

/* ---- growing ahead --------------------------------------------------------------------------- */

#define RESERVE_MIN (256 * KIB)
#define RESERVE_MAX (8 * MIB)

static uint64_t reserve_step(uint64_t end)
{
    return align_up(CLAMP(end / 8, RESERVE_MIN, RESERVE_MAX), RESERVE_MIN);
}

bool file_should_reserve(const FileState *f, const BlockIo *io)
{
    uint64_t end = io->offset + io->len;

    return f->align > 1 && !f->in_memory && io->op == BLOCK_WRITE && !io->loop && end > io->node->size &&
           f->held_used & BLOCK_PERM_RESIZE && end <= INT64_MAX / 2 && !__atomic_load_n(&f->no_reserve, __ATOMIC_RELAXED) &&
           end + reserve_step(end) / 2 > __atomic_load_n(&f->reserved, __ATOMIC_RELAXED) &&
           !__atomic_load_n(&f->reserving, __ATOMIC_RELAXED);
}

/* Whatever stands there already stays, so writes may go on meanwhile. */
int file_run_reserving(BlockIo *io)
{
    FileState *f = io->node->state;
    uint64_t to = align_up(io->offset + io->len, RESERVE_MIN) + reserve_step(io->offset + io->len);
    struct stat st;

    if (fstat(io->fd, &st) != 0 || (uint64_t)st.st_size >= to ||
        fallocate(io->fd, 0, st.st_size, (off_t)(to - (uint64_t)st.st_size)) != 0) {
        __atomic_store_n(&f->no_reserve, true, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&f->reserved, to, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&f->reserving, false, __ATOMIC_RELAXED);
    return file_run(io);
}

void file_give_back(BlockNode *node)
{
    FileState *f = node->state;
    struct stat st;

    /* Of another length somebody else has made it. */
    if (f->reserved > node->size && fstat(f->fd, &st) == 0 && (uint64_t)st.st_size == f->reserved &&
        ftruncate(f->fd, (off_t)node->size) != 0) {
        report_warning("Could not shorten '%s' to what it holds: %s", node->filename, g_strerror(errno));
    }
    f->reserved = 0;
}

int64_t file_allocated_size(BlockNode *node)
{
    const FileState *f = node->state;
    struct stat st;

    return fstat(f->fd, &st) == 0 ? (int64_t)st.st_blocks * 512 : -1;
}

/* Wishes to the file system of an empty file; most file systems have neither. */
static void set_attributes(int fd, bool nocow, uint32_t extent_size)
{
    struct fsxattr attr;
    int flags;

    if (nocow && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
        flags |= FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    if (extent_size && ioctl(fd, FS_IOC_FSGETXATTR, &attr) == 0) {
        attr.fsx_xflags |= FS_XFLAG_EXTSIZE;
        attr.fsx_extsize = extent_size;
        (void)ioctl(fd, FS_IOC_FSSETXATTR, &attr);
    }
}

/* A device stays as long as it is. Its first sector is cleared, so that what was there before is not taken for an image. */
static bool take_device(int fd, const char *filename, uint64_t size, BlockPrealloc prealloc, GError **err)
{
    static const uint8_t zeros[BLOCK_SECTOR];
    off_t has = lseek(fd, 0, SEEK_END);

    if (prealloc) {
        return error_set(err, "Preallocation mode '%s' unsupported for this non-regular file", block_prealloc_names[prealloc]);
    }
    if (has < 0) {
        return error_set_errno(err, errno, "Could not get the size of '%s'", filename);
    }
    if (size > (uint64_t)has) {
        return error_set(err, "Cannot grow device files: this one has %" PRIu64 " bytes, needed are %" PRIu64, (uint64_t)has, size);
    }
    return pwrite(fd, zeros, MIN(sizeof zeros, (size_t)has), 0) >= 0 ||
           error_set_errno(err, errno, "Could not clear the first sector of '%s'", filename);
}

/* A file that may have been there before. */
static bool take_file(int fd, const char *filename, uint64_t size, BlockPrealloc prealloc, bool nocow, uint32_t extent_size, GError **err)
{
    if (ftruncate(fd, 0) != 0) {
        return error_set_errno(err, errno, "Could not empty '%s'", filename);
    }
    set_attributes(fd, nocow, extent_size);
    return set_file_size(fd, 0, size, prealloc, err);
}

bool file_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    int prealloc = BLOCK_PREALLOC_OFF, fd;
    uint64_t size = 0, extent_size = EXTENT_SIZE_HINT;
    bool nocow = false, ok;
    uint32_t used = BLOCK_PERM_WRITE | BLOCK_PERM_RESIZE;
    struct stat st;

    (void)vm;
    if (!block_opts_take_size(opts, "size", &size, NULL, err) ||
        !block_opts_take_enum(opts, "preallocation", block_prealloc_names, &prealloc, err) ||
        !block_opts_take_bool(opts, "nocow", &nocow, err) ||
        !block_opts_take_size(opts, "extent_size_hint", &extent_size, NULL, err)) {
        return false;
    }
    if (extent_size > UINT32_MAX) {
        return error_set(err, "Extent size hint is too large: extent_size_hint takes up to 4294967295 bytes");
    }
    fd = open(filename, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd < 0) {
        return error_set_errno(err, errno, "Could not create '%s'", filename);
    }
    /* Locked before it is emptied: it may be somebody's image. */
    ok = !block_lock_supported(fd) || block_lock(fd, filename, 0, 0, used, used, err);
    size = align_up(size, BLOCK_SECTOR);
    if (ok && fstat(fd, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) {
        ok = take_device(fd, filename, size, (BlockPrealloc)prealloc, err);
    } else if (ok) {
        ok = take_file(fd, filename, size, (BlockPrealloc)prealloc, nocow, (uint32_t)extent_size, err);
    }
    close(fd);
    return ok;
}
