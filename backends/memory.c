/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What all kinds of guest memory share: mapping, NUMA policy of the host, preallocation, merging, dumping.
 *
 * Order matters: the policy is set before any page exists, and pages are allocated last. The memory is
 * aligned to 2 MiB where it is large enough, so that the kernel can use huge pages for both the process's and
 * the guest's tables.
 */
#include "backends/memory.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/number_set.h"
#include "backends/thread_context.h"
#include "core/ram_fault.h"
#include "core/user_object.h"
#include "qapi/qapi.h"
#include "util/log.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE_PAGE (2 * MIB)
#define THREADS_MAX 256

/* ---- host-nodes: a set of numbers -------------------------------------------------------- */

/* Several add up, as the option is given several times. */
static bool set_nodes(Object *obj, const Property *prop, void *field, const char *text, GError **err)
{
    return number_set_add(field, MEMORY_MAX_NODES, prop->name, text, err);
}

static bool set_nodes_json(Object *obj, const Property *prop, void *field, json_object *value, GError **err)
{
    return number_set_json(field, MEMORY_MAX_NODES, prop->name, value, err);
}

static json_object *get_nodes(Object *obj, const Property *prop, const void *field)
{
    return number_set_list(field, MEMORY_MAX_NODES);
}

static const PropKind prop_kind_nodes = {
    .type = "int", .json = json_type_array, .set = set_nodes, .get = get_nodes, .set_json = set_nodes_json,
    .schema = &qapi_list_uint16};

/* ---- prealloc-context: no reference is kept, since managers delete it once the memory is there ----- */

static bool set_context(Object *obj, const Property *prop, void *field, const char *text, GError **err)
{
    Object *target = NULL;

    if (!prop_kind_link.set(obj, prop, &target, text, err)) {
        return false;
    }
    g_free(*(char **)field);
    *(char **)field = object_path(target);
    object_unref(target);
    return true;
}

static json_object *get_context(Object *obj, const Property *prop, const void *field)
{
    const char *path = *(char *const *)field;

    return json_object_new_string(path ? path : "");
}

static void release_context(Object *obj, const Property *prop, void *field) { g_clear_pointer((char **)field, g_free); }

static const PropKind prop_kind_context = {.type = "link<thread-context>", .json = json_type_string, .set = set_context,
                                           .get = get_context, .release = release_context};

/* ---- allocating all pages ------------------------------------------------------------------- */

typedef struct Slice {
    pthread_t thread;
    uint8_t *start;
    uint64_t size;
    int error;          /* errno */
} Slice;

static void *populate(void *opaque)
{
    Slice *s = opaque;

    while (madvise(s->start, s->size, MADV_POPULATE_WRITE) < 0) {
        if (errno != EINTR && errno != EAGAIN) {
            s->error = errno;
            break;
        }
    }
    return NULL;
}

/* False: the caller does it. Without a context the last part is the caller's. */
static bool start_thread(Object *context, Slice *s, bool last)
{
    return context ? !thread_context_create(context, &s->thread, populate, s)
                   : !last && !pthread_create(&s->thread, NULL, populate, s);
}

static bool preallocate(MemoryBackend *b, uint64_t page, GError **err)
{
    const RamBlock *block = b->block;
    uint64_t pages = block->size / page;
    unsigned n = (unsigned)MIN((uint64_t)b->prealloc_threads, pages);
    g_autofree Slice *slices = g_new0(Slice, n);
    Object *context = b->prealloc_context ? object_resolve(b->obj.vm, b->prealloc_context) : NULL;
    int error = 0;

    if (b->prealloc_context && !context) {
        return error_set(err, "prealloc-context: thread context '%s' is not there any more", b->prealloc_context);
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t from = pages * i / n * page, to = pages * (i + 1) / n * page;

        slices[i].start = block->host + from;
        slices[i].size = to - from;
        if (!start_thread(context, &slices[i], i + 1 == n)) {
            slices[i].thread = 0;
            populate(&slices[i]);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (slices[i].thread) {
            pthread_join(slices[i].thread, NULL);
        }
        error = error ? error : slices[i].error;
    }
    if (error == EINVAL) {
        return error_set(err, "prealloc=on needs Linux 5.14 or newer");
    }
    return !error || error_set_errno(err, error, "cannot preallocate %" G_GUINT64_FORMAT " MiB of guest memory",
                                     block->size / MIB);
}

/* ---- advice to the kernel ------------------------------------------------------------------------ */

static bool has_nodes(const MemoryBackend *b) { return !number_set_is_empty(b->nodes, MEMORY_MAX_NODES); }

static bool check_policy(const MemoryBackend *b, GError **err)
{
    static const char *const names[] = {"default", "preferred", "bind", "interleave"};

    if (b->policy != POLICY_DEFAULT && !has_nodes(b)) {
        return error_set(err, "host-nodes must be set for policy %s", names[b->policy]);
    }
    return b->policy != POLICY_DEFAULT || !has_nodes(b) ||
           error_set(err, "host-nodes must be empty for policy default, or you should explicitly specify a policy "
                          "other than default");
}

static bool bind_nodes(const MemoryBackend *b, GError **err)
{
    static const int modes[] = {
        [POLICY_DEFAULT] = MPOL_DEFAULT,
        [POLICY_PREFERRED] = MPOL_PREFERRED,
        [POLICY_BIND] = MPOL_BIND,
        [POLICY_INTERLEAVE] = MPOL_INTERLEAVE,
    };

    if (b->policy == POLICY_DEFAULT) {
        return true;
    }
    /* The kernel counts one bit less than it is told. */
    return !syscall(SYS_mbind, b->block->host, b->block->size, modes[b->policy], b->nodes, MEMORY_MAX_NODES + 1,
                    MPOL_MF_STRICT | MPOL_MF_MOVE) ||
           error_set_errno(err, errno, "cannot bind memory to host NUMA nodes");
}

static void advise_merge(const MemoryBackend *b)
{
    madvise(b->block->host, b->block->size, b->merge ? MADV_MERGEABLE : MADV_UNMERGEABLE);
}

static void advise_dump(const MemoryBackend *b)
{
    madvise(b->block->host, b->block->size, b->dump ? MADV_DODUMP : MADV_DONTDUMP);
}

/* ---- mapping ------------------------------------------------------------------------------------------ */

/* Addresses for size bytes at a multiple of align, nothing behind them. */
static uint8_t *reserve_aligned(uint64_t size, uint64_t align)
{
    uint8_t *start = mmap(NULL, size + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (start == MAP_FAILED) {
        return NULL;
    }
    uint8_t *aligned = (uint8_t *)align_up((uintptr_t)start, align);
    if (aligned > start) {
        munmap(start, (size_t)(aligned - start));
    }
    munmap(aligned + size, (size_t)(start + align - aligned));
    return aligned;
}

static bool prepare(MemoryBackend *b, uint64_t page, GError **err)
{
    if (!bind_nodes(b, err)) {
        return false;
    }
    if (b->block->size >= HUGE_PAGE) {
        madvise(b->block->host, b->block->size, MADV_HUGEPAGE);
    }
    if (b->merge) {
        advise_merge(b);
    }
    if (!b->dump) {
        advise_dump(b);
    }
    return !b->prealloc || preallocate(b, page, err);
}

/* Over what was reserved. pmem=on: the file system is asked for synchronous faults; most cannot, which is said. */
static bool map_at(const MemoryBackend *b, uint8_t *host, uint64_t size, int prot, int flags, int fd)
{
    if (b->pmem && b->share) {
        int sync = (flags & ~MAP_SHARED) | MAP_SHARED_VALIDATE | MAP_SYNC;

        if (mmap(host, size, prot, sync, fd, 0) != MAP_FAILED) {
            return true;
        }
        report_warning("pmem=on of '%s': its file system cannot keep what is written over a crash of the host (no DAX); going "
                       "on without", b->obj.name);
    }
    return mmap(host, size, prot, flags, fd, 0) != MAP_FAILED;
}

bool memory_backend_map(MemoryBackend *b, int fd, uint64_t page, uint64_t align, GError **err)
{
    uint64_t size = align_up(b->size, page);
    int prot = b->readonly ? PROT_READ : PROT_READ | PROT_WRITE;
    int flags = MAP_FIXED | (b->share ? MAP_SHARED : MAP_PRIVATE) | (fd < 0 ? MAP_ANONYMOUS : 0) |
                (b->reserve ? 0 : MAP_NORESERVE);
    uint8_t *host = NULL;

    errno = ENOMEM;
    if (size >= b->size && size < UINT64_MAX / 2) {
        host = reserve_aligned(size, MAX(MAX(align, page), size >= HUGE_PAGE ? HUGE_PAGE : page));
    }
    if (host && !map_at(b, host, size, prot, flags, fd)) {
        int error = errno;

        munmap(host, size);
        errno = error;
        host = NULL;
    }
    if (!host) {
        error_set_errno(err, errno, "cannot set up guest memory '%s' of %" G_GUINT64_FORMAT " bytes", b->obj.name, size);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    g_autofree char *path = b->canonical_id ? object_path(b) : NULL;
    b->block = ram_block_new(path ? path : b->obj.name, host, size);
    b->block->owned = true;
    b->block->fd = fd;
    b->block->shared = b->share;
    b->block->page = page;
    b->align = fd < 0 ? HUGE_PAGE : MAX(align, page);
    if (prepare(b, page, err)) {
        ram_fault_watch(b->obj.vm, b->block);
        return true;
    }
    ram_block_unref(g_steal_pointer(&b->block));
    return false;
}

/* ---- users ------------------------------------------------------------------------------------------------ */

MemoryBackend *memory_backend_find(Vm *vm, const char *id, GError **err)
{
    Object *obj = user_object_find(vm, id, "memory-backend");

    if (!obj) {
        error_set(err, "Memory backend '%s' not found; make it with -object memory-backend-ram,id=%s,size=...", id, id);
    }
    return (MemoryBackend *)(void *)obj;
}

bool memory_backend_claim(MemoryBackend *b, GError **err)
{
    if (b->claimed) {
        return error_set(err, "memory backend %s can't be used multiple times; make one for each node", b->obj.name);
    }
    b->claimed = true;
    object_ref(&b->obj);
    return true;
}

void memory_backend_release(MemoryBackend *b)
{
    b->claimed = false;
    object_unref(b);
}

void memory_backend_init_region(MemoryBackend *b, Region *region)
{
    region_init_ram_block(region, b->obj.vm, b->block->id, ram_block_ref(b->block));
    if (b->readonly) {
        region->readonly = true;
    }
}

/* ---- lifecycle ---------------------------------------------------------------------------------------------- */

static bool backend_complete(Object *obj, GError **err)
{
    MemoryBackend *b = (MemoryBackend *)(void *)obj;
    const MemoryBackendOps *ops = type_ops(obj->type);

    if (!b->size) {
        return error_set(err, "property 'size' of %s doesn't take value '0'", obj->type->name);
    }
    if (b->prealloc && !b->reserve) {
        return error_set(err, "'prealloc=on' and 'reserve=off' are incompatible");
    }
    return check_policy(b, err) && ops->map(b, err);
}

static bool backend_changed(Object *obj, const Property *prop, GError **err)
{
    MemoryBackend *b = (MemoryBackend *)(void *)obj;

    if (!strcmp(prop->name, "merge")) {
        advise_merge(b);
    } else if (!strcmp(prop->name, "dump")) {
        advise_dump(b);
    } else if (!strcmp(prop->name, "prealloc") && b->prealloc) {
        return preallocate(b, (uint64_t)sysconf(_SC_PAGESIZE), err);
    }
    return true;
}

static void backend_finalize(Object *obj)
{
    MemoryBackend *b = (MemoryBackend *)(void *)obj;

    ram_block_unref(g_steal_pointer(&b->block));
}

static const char *const policies[] = {"default", "preferred", "bind", "interleave", NULL};

static const Property backend_props[] = {
    PROP_SIZE("size", MemoryBackend, size, .type = "int", .required = true, .help = "bytes of memory (512M)"),
    PROP_BOOL("share", MemoryBackend, share, .help = "other processes that map it see the guest's writes"),
    PROP_BOOL("merge", MemoryBackend, merge, .def = true, .anytime = true, .help = "let the kernel merge equal pages"),
    PROP_BOOL("dump", MemoryBackend, dump, .def = true, .anytime = true, .help = "part of the emulator's core dump"),
    PROP_BOOL("prealloc", MemoryBackend, prealloc, .anytime = true, .help = "allocate all pages now"),
    PROP_U32("prealloc-threads", MemoryBackend, prealloc_threads, .type = "int", .def = 1, .min = 1, .max = THREADS_MAX,
             .help = "threads that allocate them"),
    PROP_ANY("prealloc-context", &prop_kind_context, MemoryBackend, prealloc_context, .link_type = "thread-context",
             .help = "the thread-context whose threads allocate them"),
    PROP_BOOL("reserve", MemoryBackend, reserve, .def = true, .help = "count it against the host's commit limit"),
    PROP_ANY("host-nodes", &prop_kind_nodes, MemoryBackend, nodes, .help = "NUMA nodes of the host, one or FIRST-LAST"),
    PROP_ENUM("policy", MemoryBackend, policy, .type = "HostMemPolicy", .values = policies,
              .help = "how memory is taken from them"),
    PROP_BOOL("x-use-canonical-path-for-ramblock-id", MemoryBackend, canonical_id,
              .help = "name the memory by its path in migration streams"),
    {}};

KILN_TYPE(memory_backend) = {
    .name = "memory-backend",
    .parent = "object",
    .size = sizeof(MemoryBackend),
    .abstract = true,
    .user_object = true,
    .props = backend_props,
    .complete = backend_complete,
    .changed = backend_changed,
    .finalize = backend_finalize,
};
