/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The three kinds of guest memory: memory-backend-ram (of this process alone, or share=on), -file (a file, a file on
 * hugetlbfs, or an unnamed one in a directory), -memfd (shared memory or huge pages without a name).
 *
 * share=on memory of memory-backend-ram is a memfd too: so vhost-user back ends can map it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backends/memory.h"

#define HUGETLBFS_MAGIC 0x958458f6
#define MFD_HUGE_SHIFT_BITS 26
#define BASE_PAGE UINT64_C(4096)

/* ---- memory-backend-ram ------------------------------------------------------------------ */

static bool ram_map(MemoryBackend *b, GError **err)
{
    if (!b->share) {
        return memory_backend_map(b, -1, BASE_PAGE, 0, err);
    }
    int fd = memfd_create(b->obj.name, MFD_CLOEXEC);
    uint64_t size = align_up(b->size, BASE_PAGE);
    if (fd < 0) {
        return error_set_errno(err, errno, "cannot make shared memory '%s'", b->obj.name);
    }
    if (size < b->size || ftruncate(fd, (off_t)size) < 0) {
        error_set_errno(err, errno ? errno : EINVAL, "cannot make shared memory '%s' of %" G_GUINT64_FORMAT " bytes",
                        b->obj.name, b->size);
        close(fd);
        return false;
    }
    return memory_backend_map(b, fd, BASE_PAGE, 2 * MIB, err);
}

static const MemoryBackendOps ram_ops = {.map = ram_map};

KILN_TYPE(memory_backend_ram) = {
    .name = "memory-backend-ram",
    .parent = "memory-backend",
    .desc = "memory of the emulator",
    .ops = &ram_ops,
};

/* ---- memory-backend-file ------------------------------------------------------------------- */

typedef struct FileBackend {
    MemoryBackend memory;
    char *path;
    uint64_t align;
    bool discard_data;
} FileBackend;

/* An unnamed file in the directory. */
static int open_in_directory(const FileBackend *f, GError **err)
{
    g_autofree char *path = g_strdup_printf("%s/kiln_back_mem.%s.XXXXXX", f->path, f->memory.obj.name);
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0) {
        error_set_errno(err, errno, "can't create backing store in %s for guest RAM", f->path);
        return -1;
    }
    unlink(path);
    return fd;
}

static int open_path(const FileBackend *f, bool *created, GError **err)
{
    struct stat st;
    int fd;

    *created = false;
    if (!stat(f->path, &st) && S_ISDIR(st.st_mode)) {
        if (f->memory.readonly) {
            error_set(err, "mem-path %s is a directory: readonly=on needs a file that is there", f->path);
            return -1;
        }
        return open_in_directory(f, err);
    }
    fd = open(f->path, (f->memory.readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && !f->memory.readonly) {
        fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        *created = fd >= 0;
    }
    if (fd < 0) {
        error_set_errno(err, errno, "can't open backing store %s for guest RAM", f->path);
    }
    return fd;
}

static uint64_t file_page(int fd)
{
    struct statfs fs;

    return !fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : BASE_PAGE;
}

/* An empty file grows to the size asked for; one with contents must have it. */
static bool fit_file(const FileBackend *f, int fd, uint64_t size, GError **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        return error_set_errno(err, errno, "%s", f->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return true; /* a device (DAX) has its size */
    }
    if ((uint64_t)st.st_size >= size) {
        return true;
    }
    if (st.st_size || f->memory.readonly) {
        return error_set(err, "backing store %s size 0x%" PRIx64 " does not match 'size' option 0x%" PRIx64 "; "
                              "give that size", f->path,
                         (uint64_t)st.st_size, f->memory.size);
    }
    return !ftruncate(fd, (off_t)size) ||
           error_set_errno(err, errno, "can't make backing store %s %" G_GUINT64_FORMAT " bytes large", f->path, size);
}

static bool file_map(MemoryBackend *b, GError **err)
{
    FileBackend *f = container_of(b, FileBackend, memory);
    bool created;

    if (!f->path || !*f->path) {
        return error_set(err, "mem-path property not set");
    }
    if (f->align && (f->align % BASE_PAGE || !is_power_of_two(f->align))) {
        return error_set(err, "alignment 0x%" PRIx64 " must be a power of two and a multiple of page size 0x%" PRIx64,
                         f->align, BASE_PAGE);
    }
    int fd = open_path(f, &created, err);
    if (fd < 0) {
        return false;
    }
    uint64_t page = file_page(fd), size = align_up(b->size, page);
    bool ok = true;
    if (b->size < page && page > BASE_PAGE) {
        ok = error_set(err, "memory size 0x%" PRIx64 " must be equal to or larger than page size 0x%" PRIx64, b->size, page);
    }
    ok = ok && fit_file(f, fd, size, err);
    if (!ok) {
        close(fd);
    }
    ok = ok && memory_backend_map(b, fd, page, f->align, err);
    if (!ok && created) {
        unlink(f->path);
    }
    return ok;
}

static void file_finalize(Object *obj)
{
    FileBackend *f = (FileBackend *)(void *)obj;

    if (f->discard_data && f->memory.block) {
        madvise(f->memory.block->host, f->memory.block->size, MADV_REMOVE);
    }
}

static const Property file_props[] = {
    PROP_STRING("mem-path", FileBackend, path, .type = "string", .required = true,
                .help = "the file, or a directory for an unnamed one"),
    PROP_SIZE("align", FileBackend, align, .type = "int", .help = "alignment of the mapping"),
    PROP_BOOL("discard-data", FileBackend, discard_data, .anytime = true,
              .help = "contents need not be written back at the end"),
    PROP_BOOL("readonly", FileBackend, memory.readonly, .help = "the guest can only read it"),
    PROP_BOOL("pmem", FileBackend, memory.pmem, .help = "with share=on: writes survive a crash of the host (files on DAX)"),
    {}};

static const MemoryBackendOps file_ops = {.map = file_map};

KILN_TYPE(memory_backend_file) = {
    .name = "memory-backend-file",
    .parent = "memory-backend",
    .desc = "memory in a file",
    .size = sizeof(FileBackend),
    .props = file_props,
    .finalize = file_finalize,
    .ops = &file_ops,
};

/* ---- memory-backend-memfd -------------------------------------------------------------------- */

typedef struct MemfdBackend {
    MemoryBackend memory;
    bool hugetlb, seal;
    uint64_t hugetlbsize;  /* bytes; 0: the host's default */
} MemfdBackend;

static void memfd_init(Object *obj) { ((MemoryBackend *)(void *)obj)->share = true; }

static bool seal_size(const MemfdBackend *m, int fd, GError **err)
{
    return !m->seal || !fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) ||
           error_set_errno(err, errno, "cannot seal the size of memfd '%s'", m->memory.obj.name);
}

static bool memfd_map(MemoryBackend *b, GError **err)
{
    MemfdBackend *m = container_of(b, MemfdBackend, memory);
    unsigned flags = MFD_CLOEXEC | (m->seal ? MFD_ALLOW_SEALING : 0) | (m->hugetlb ? MFD_HUGETLB : 0);

    if (m->hugetlbsize && !m->hugetlb) {
        return error_set(err, "hugetlbsize= means nothing without hugetlb=on");
    }
    if (m->hugetlbsize && !is_power_of_two(m->hugetlbsize)) {
        return error_set(err, "hugetlbsize=%" G_GUINT64_FORMAT " is no power of two", m->hugetlbsize);
    }
    if (m->hugetlbsize) {
        flags |= (unsigned)__builtin_ctzll(m->hugetlbsize) << MFD_HUGE_SHIFT_BITS;
    }
    int fd = memfd_create(b->obj.name, flags);
    if (fd < 0) {
        return error_set_errno(err, errno, m->hugetlb ? "cannot make a memfd with huge pages '%s'; does the host have huge "
                                                        "pages of this size?"
                                                      : "cannot make memfd '%s'", b->obj.name);
    }
    uint64_t page = file_page(fd), size = align_up(b->size, page);
    bool ok = b->size % page == 0 || !m->hugetlb ||
              error_set(err, "size %" G_GUINT64_FORMAT " is no multiple of the huge page size %" G_GUINT64_FORMAT, b->size,
                        page);
    if (ok && (size < b->size || ftruncate(fd, (off_t)size) < 0)) {
        ok = error_set_errno(err, errno ? errno : EINVAL, "failed to resize memfd to %" G_GUINT64_FORMAT, size);
    }
    if (!ok || !seal_size(m, fd, err)) {
        close(fd);
        return false;
    }
    return memory_backend_map(b, fd, page, 0, err);
}

static const Property memfd_props[] = {
    PROP_BOOL("hugetlb", MemfdBackend, hugetlb, .help = "huge pages of the host's pool"),
    PROP_SIZE("hugetlbsize", MemfdBackend, hugetlbsize, .type = "int", .help = "their size (2M, 1G)"),
    PROP_BOOL("seal", MemfdBackend, seal, .def = true, .help = "the size cannot change"),
    {}};

static const MemoryBackendOps memfd_ops = {.map = memfd_map};

KILN_TYPE(memory_backend_memfd) = {
    .name = "memory-backend-memfd",
    .parent = "memory-backend",
    .desc = "memory without a name that can be shared",
    .size = sizeof(MemfdBackend),
    .props = memfd_props,
    .init = memfd_init,
    .ops = &memfd_ops,
};
