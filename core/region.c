/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tree of regions and its flattening.
 *
 * Flattening paints regions in falling priority into an array of ranges, each filling only what is
 * still free. It costs O(regions * ranges); a PC has some dozens of each and the topology changes
 * rarely. The result replaces the old view by one RCU store; the old one is freed when the last reader
 * has left it.
 */
#include "core/region.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <urcu-bp.h>

#include "core/ram_fault.h"
#include "core/vm.h"
#include "util/trace.h"

/* ---- RAM blocks ------------------------------------------------------------------------- */

RamBlock *ram_block_new(const char *id, uint8_t *host, uint64_t size)
{
    RamBlock *block = g_new0(RamBlock, 1);

    *block = (RamBlock){.id = g_strdup(id), .host = host, .size = size, .fd = -1, .refs = 1};
    return block;
}

RamBlock *ram_block_ref(RamBlock *block)
{
    __atomic_add_fetch(&block->refs, 1, __ATOMIC_RELAXED);
    return block;
}

void ram_block_unref(RamBlock *block)
{
    if (block && __atomic_sub_fetch(&block->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        if (block->watched) {
            ram_fault_unwatch(block);
        }
        if (block->owned) {
            munmap(block->host, block->size);
        }
        if (block->fd >= 0) {
            close(block->fd);
        }
        g_free(block->dirty);
        g_free(block->id);
        g_free(block);
    }
}

static RamBlock *ram_block_anonymous(const char *id, uint64_t size, GError **err)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t bytes = align_up(size, page);
    void *host = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (host == MAP_FAILED) {
        error_set_errno(err, errno, "cannot set up %" G_GUINT64_FORMAT " bytes of guest memory '%s'", size, id);
        return NULL;
    }
    if (bytes >= 2 * MIB) {
        madvise(host, bytes, MADV_HUGEPAGE);
    }
    RamBlock *block = ram_block_new(id, host, bytes);
    block->owned = true;
    return block;
}

/* ---- making -------------------------------------------------------------------------------- */

static void region_setup(Region *region, RegionKind kind, const char *name, uint64_t size)
{
    *region = (Region){.kind = kind, .name = name, .size = size, .enabled = true};
}

void region_init_container(Region *region, const char *name, uint64_t size)
{
    region_setup(region, REGION_CONTAINER, name, size);
}

void region_init_io(Region *region, const RegionOps *ops, void *opaque, const char *name, uint64_t size)
{
    region_setup(region, REGION_IO, name, size);
    region->ops = ops;
    region->opaque = opaque;
}

void region_init_alias(Region *region, const char *name, Region *target, uint64_t offset, uint64_t size)
{
    region_setup(region, REGION_ALIAS, name, size);
    region->alias = target;
    region->alias_offset = offset;
}

void region_init_ram_block(Region *region, Vm *vm, const char *name, RamBlock *block)
{
    region_setup(region, REGION_RAM, name, block->size);
    region->ram = block;
    region->vm = vm;
    block->region = region;
}

bool region_init_ram(Region *region, Vm *vm, const char *name, uint64_t size, GError **err)
{
    RamBlock *block = ram_block_anonymous(name, size, err);

    if (!block) {
        return false;
    }
    region_init_ram_block(region, vm, name, block);
    return true;
}

bool region_init_rom(Region *region, Vm *vm, const char *name, uint64_t size, GError **err)
{
    if (!region_init_ram(region, vm, name, size, err)) {
        return false;
    }
    region->kind = REGION_ROM;
    region->readonly = true;
    return true;
}

bool region_init_rom_device(Region *region, Vm *vm, const RegionOps *ops, void *opaque, const char *name,
                            uint64_t size, GError **err)
{
    if (!region_init_ram(region, vm, name, size, err)) {
        return false;
    }
    region->kind = REGION_ROM_DEVICE;
    region->ops = ops;
    region->opaque = opaque;
    region->romd = true;
    return true;
}

void region_destroy(Region *region)
{
    region_remove(region);
    if (region->children) {
        while (region->children->len) {
            region_remove(g_ptr_array_index(region->children, region->children->len - 1));
        }
        g_ptr_array_free(region->children, true);
        region->children = NULL;
    }
    if (region->eventfds) {
        g_array_free(region->eventfds, true);
        region->eventfds = NULL;
    }
    ram_block_unref(g_steal_pointer(&region->ram));
}

void region_set_owner(Region *region, Device *owner) { region->owner = owner; }

/* ---- flattening ------------------------------------------------------------------------------- */

typedef struct Painter {
    GArray *ranges; /* FlatRange, sorted */
} Painter;

/* Fills what is free of [start, end) with the leaf; offset is start's place in it. */
static void paint_leaf(Painter *p, const Region *leaf, uint64_t start, uint64_t end, uint64_t offset, bool readonly,
                       uint8_t dirty_log)
{
    FlatRange piece = {.region = (Region *)leaf, .readonly = readonly || leaf->readonly, .romd = leaf->romd,
                       .dirty_log = leaf->dirty_log | dirty_log};
    unsigned i = 0;

    for (; start < end; i++) {
        const FlatRange *next = i < p->ranges->len ? &g_array_index(p->ranges, FlatRange, i) : NULL;

        if (next && next->end <= start) {
            continue;
        }
        if (!next || next->start > start) {
            uint64_t stop = next ? MIN(next->start, end) : end;

            piece.start = start;
            piece.end = stop;
            piece.offset = offset;
            g_array_insert_val(p->ranges, i, piece);
            offset += stop - start;
            start = stop;
        } else {
            offset += next->end - start;
            start = next->end;
        }
    }
}

static void paint(Painter *p, const Region *region, uint64_t base, uint64_t start, uint64_t end, bool readonly,
                  uint8_t dirty_log);

static int by_priority(const void *a, const void *b)
{
    const Region *x = *(Region *const *)a, *y = *(Region *const *)b;

    return (y->priority > x->priority) - (y->priority < x->priority);
}

/* Children in falling priority; among equals the one added last wins. */
static void paint_children(Painter *p, const Region *region, uint64_t base, uint64_t start, uint64_t end,
                           bool readonly, uint8_t dirty_log)
{
    unsigned n = region->children ? region->children->len : 0;
    g_autofree Region **order = g_new(Region *, n + 1);

    for (unsigned i = 0; i < n; i++) {
        order[i] = g_ptr_array_index(region->children, n - 1 - i);
    }
    g_qsort_with_data(order, (int)n, sizeof *order, (GCompareDataFunc)(void (*)(void))by_priority, NULL);
    for (unsigned i = 0; i < n; i++) {
        paint(p, order[i], base + order[i]->addr, start, end, readonly, dirty_log);
    }
}

/* region lies at base; only [start, end) of the address space is visible. base may wrap below 0 for
 * aliases, which the unsigned arithmetic follows. */
static void paint(Painter *p, const Region *region, uint64_t base, uint64_t start, uint64_t end, bool readonly,
                  uint8_t dirty_log)
{
    uint64_t limit = region->size == UINT64_MAX ? UINT64_MAX : base + region->size;
    /* An alias's target that begins below the window has a base that wrapped: everything from 0 on is
     * in it. A region that passes the top wraps too, and its base is then the high end. */
    bool wrapped = region->size == UINT64_MAX ? base != 0 : limit && limit < base;

    if (!region->enabled || !region->size) {
        return;
    }
    if (!limit) {
        limit = UINT64_MAX; /* ends exactly at the top */
    }
    uint64_t from = wrapped ? start : MAX(start, base);
    uint64_t to = MIN(end, limit);
    if (from >= to) {
        return;
    }
    switch (region->kind) {
    case REGION_CONTAINER:
        paint_children(p, region, base, from, to, readonly, dirty_log);
        break;
    case REGION_ALIAS:
        paint(p, region->alias, base - region->alias_offset, from, to, readonly || region->readonly,
              dirty_log | region->dirty_log);
        break;
    default:
        paint_leaf(p, region, from, to, from - base, readonly, dirty_log);
        break;
    }
}

static bool continues(const FlatRange *a, const FlatRange *b)
{
    return a->end == b->start && a->region == b->region && a->offset + (a->end - a->start) == b->offset &&
           a->readonly == b->readonly && a->romd == b->romd && a->dirty_log == b->dirty_log;
}

/* What each address space has before there is anything in it. Not freed, since the first call_rcu() makes a thread. */
static FlatView nothing;

static FlatView *flatten(const Region *root)
{
    Painter p = {.ranges = g_array_sized_new(false, false, sizeof(FlatRange), 32)};
    unsigned n = 0;

    paint(&p, root, 0, 0, UINT64_MAX, false, 0);
    for (unsigned i = 0; i < p.ranges->len; i++) {
        FlatRange *range = &g_array_index(p.ranges, FlatRange, i);

        if (n && continues(&g_array_index(p.ranges, FlatRange, n - 1), range)) {
            g_array_index(p.ranges, FlatRange, n - 1).end = range->end;
        } else {
            g_array_index(p.ranges, FlatRange, n++) = *range;
        }
    }
    if (!n) {
        g_array_free(p.ranges, true);
        return &nothing;
    }
    FlatView *view = g_new0(FlatView, 1);
    view->count = n;
    view->ranges = g_aligned_alloc(n, sizeof(FlatRange), 64);
    memcpy(view->ranges, p.ranges->data, n * sizeof(FlatRange));
    g_array_free(p.ranges, true);
    for (unsigned i = 0; i < n; i++) {
        flat_range_prepare(&view->ranges[i]);
    }
    return view;
}

static bool same_view(const FlatView *a, const FlatView *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (unsigned i = 0; i < a->count; i++) {
        const FlatRange *x = &a->ranges[i], *y = &b->ranges[i];

        if (x->start != y->start || x->end != y->end || x->region != y->region || x->offset != y->offset ||
            x->readonly != y->readonly || x->romd != y->romd || x->dirty_log != y->dirty_log ||
            x->read != y->read || x->write != y->write || x->opaque != y->opaque ||
            x->lockless != y->lockless || memcmp(x->direct, y->direct, sizeof x->direct)) {
            return false;
        }
    }
    return true;
}

static void view_free(FlatView *view)
{
    if (view != &nothing) {
        g_aligned_free(view->ranges);
        g_free(view);
    }
}

typedef struct DeadView {
    struct rcu_head rcu;
    FlatView *view;
} DeadView;

static void view_free_rcu(struct rcu_head *head)
{
    DeadView *dead = caa_container_of(head, DeadView, rcu);

    view_free(dead->view);
    g_free(dead);
}

static void tell_eventfds(AddressSpace *as)
{
    for (GSList *l = as->listeners; l; l = l->next) {
        MemoryListener *listener = l->data;

        if (listener->eventfds) {
            listener->eventfds(listener->opaque);
        }
    }
}

static void address_space_update(AddressSpace *as)
{
    FlatView *old = as->view;
    FlatView *view = flatten(as->root);
    if (!same_view(old, view)) {
        trace(region_publish, "%s: %u ranges", as->name, view->count);
        __atomic_store_n(&as->generation, as->generation + 1, __ATOMIC_RELEASE);
        rcu_set_pointer(&as->view, view);
        for (GSList *l = as->listeners; l; l = l->next) {
            MemoryListener *listener = l->data;

            if (listener->changed) {
                listener->changed(listener->opaque, old, view);
            }
        }
        if (old != &nothing) {
            DeadView *dead = g_new0(DeadView, 1);
            dead->view = old;
            call_rcu(&dead->rcu, view_free_rcu);
        }
    } else {
        view_free(view);
    }
    tell_eventfds(as);
}

/* ---- transactions -------------------------------------------------------------------------------- */

void region_begin(Vm *vm) { vm->region_depth++; }

void region_commit(Vm *vm)
{
    g_assert(vm->region_depth);
    if (--vm->region_depth == 0 && vm->region_changed) {
        vm->region_changed = false;
        for (GSList *l = vm->address_spaces; l; l = l->next) {
            address_space_update(l->data);
        }
    }
}

static void region_touched(Region *region)
{
    Vm *vm = region->vm;

    if (vm) {
        vm->region_changed = true;
        region_begin(vm);
        region_commit(vm);
    }
}

/* ---- changes -------------------------------------------------------------------------------------- */

static void adopt(Region *region, Vm *vm)
{
    if (!vm || region->vm == vm) {
        return;
    }
    region->vm = vm;
    if (region->alias) {
        adopt(region->alias, vm);
    }
    for (unsigned i = 0; region->children && i < region->children->len; i++) {
        adopt(g_ptr_array_index(region->children, i), vm);
    }
}

void region_add_overlap(Region *parent, uint64_t offset, Region *child, int priority)
{
    g_assert(!child->parent && parent->kind == REGION_CONTAINER);
    if (!parent->children) {
        parent->children = g_ptr_array_new();
    }
    child->parent = parent;
    child->addr = offset;
    child->priority = priority;
    g_ptr_array_add(parent->children, child);
    adopt(child, parent->vm);
    region_touched(child);
}

void region_add(Region *parent, uint64_t offset, Region *child) { region_add_overlap(parent, offset, child, 0); }

void region_remove(Region *child)
{
    if (child->parent) {
        g_ptr_array_remove(child->parent->children, child);
        child->parent = NULL;
        region_touched(child);
    }
}

#define DEFINE_SETTER(name, type, field)                                                           \
    void name(Region *region, type value)                                                          \
    {                                                                                              \
        if (region->field != value) {                                                              \
            region->field = value;                                                                 \
            region_touched(region);                                                                \
        }                                                                                          \
    }
DEFINE_SETTER(region_set_enabled, bool, enabled)
DEFINE_SETTER(region_set_size, uint64_t, size)
DEFINE_SETTER(region_set_readonly, bool, readonly)
DEFINE_SETTER(region_set_alias_offset, uint64_t, alias_offset)
DEFINE_SETTER(region_set_romd, bool, romd)

void region_set_address(Region *region, uint64_t offset)
{
    if (region->addr == offset) {
        return;
    }
    region->addr = offset;
    if (region->parent) { /* it counts as added last */
        g_ptr_array_remove(region->parent->children, region);
        g_ptr_array_add(region->parent->children, region);
    }
    region_touched(region);
}

void region_set_dirty_log(Region *region, RegionDirtyClient client, bool on)
{
    uint8_t log = on ? region->dirty_log | (uint8_t)client : region->dirty_log & ~(uint8_t)client;

    if (log != region->dirty_log) {
        region->dirty_log = log;
        region_touched(region);
    }
}

static bool same_event(const RegionEventFd *a, const RegionEventFd *b)
{
    return a->offset == b->offset && a->size == b->size && a->match == b->match && a->value == b->value &&
           a->fd == b->fd;
}

void region_add_eventfd(Region *region, RegionEventFd event)
{
    if (!region->eventfds) {
        region->eventfds = g_array_new(false, false, sizeof event);
    }
    g_array_append_val(region->eventfds, event);
    region_touched(region);
}

void region_del_eventfd(Region *region, RegionEventFd event)
{
    for (unsigned i = 0; region->eventfds && i < region->eventfds->len; i++) {
        if (same_event(&g_array_index(region->eventfds, RegionEventFd, i), &event)) {
            g_array_remove_index(region->eventfds, i);
            region_touched(region);
            return;
        }
    }
}

void region_set_coalesced(Region *region, bool on)
{
    if (region->coalesced != on) {
        region->coalesced = on;
        region_touched(region);
    }
}

/* ---- address spaces ----------------------------------------------------------------------------------- */

void address_space_init(AddressSpace *as, Vm *vm, Region *root, const char *name)
{
    *as = (AddressSpace){.vm = vm, .root = root, .name = name};
    adopt(root, vm);
    vm->address_spaces = g_slist_append(vm->address_spaces, as);
    as->view = flatten(root);
}

void address_space_destroy(AddressSpace *as)
{
    if (!as->vm) {
        return;
    }
    as->vm->address_spaces = g_slist_remove(as->vm->address_spaces, as);
    g_slist_free(as->listeners);
    synchronize_rcu();
    view_free(as->view);
    *as = (AddressSpace){0};
}

void address_space_listen(AddressSpace *as, MemoryListener *listener)
{
    as->listeners = g_slist_append(as->listeners, listener);
    if (listener->changed) {
        listener->changed(listener->opaque, NULL, as->view);
    }
    if (listener->eventfds) {
        listener->eventfds(listener->opaque);
    }
}

void address_space_unlisten(AddressSpace *as, MemoryListener *listener)
{
    as->listeners = g_slist_remove(as->listeners, listener);
}

void address_space_dirty_sync(AddressSpace *as)
{
    for (GSList *l = as->listeners; l; l = l->next) {
        MemoryListener *listener = l->data;

        if (listener->dirty_sync) {
            listener->dirty_sync(listener->opaque);
        }
    }
}
