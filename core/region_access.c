/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses through an address space: the hot path of every exit. A lookup is the range that this
 * thread hit last at an address with the same low bits, so that the index and the data register of
 * a pair do not displace each other; then a binary search. Devices run under the VM lock unless their region is
 * lockless; a thread that had to wait for the lock looks the address up again, because the map may
 * have changed meanwhile.
 */
#ifndef __SANITIZE_ADDRESS__ /* the inlined reader's static storage is under-aligned, which UBSan minds */
#define _LGPL_SOURCE
#endif
#include <urcu-bp.h>

#include "core/region.h"
#include "core/vm.h"
#include "util/trace.h"

/* ---- lookup ----------------------------------------------------------------------------- */

static inline bool holds(const FlatRange *range, uint64_t addr)
{
    return addr >= range->start && addr < range->end;
}

const FlatRange *flat_view_find(const FlatView *view, uint64_t addr)
{
    static __thread unsigned recent[8];
    unsigned *last = &recent[addr % G_N_ELEMENTS(recent)];
    unsigned lo = 0, hi = view->count;

    if (*last < view->count && holds(&view->ranges[*last], addr)) {
        return &view->ranges[*last];
    }
    while (lo < hi) {
        unsigned mid = lo + (hi - lo) / 2;

        if (view->ranges[mid].end <= addr) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    if (lo < view->count && holds(&view->ranges[lo], addr)) {
        *last = lo;
        return &view->ranges[lo];
    }
    return NULL;
}

const FlatView *address_space_view(AddressSpace *as) { return rcu_dereference(as->view); }

static inline bool is_memory(const FlatRange *range)
{
    return range->region->ram && (range->region->kind != REGION_ROM_DEVICE || range->romd);
}

static inline uint8_t *host_of(const FlatRange *range, uint64_t addr)
{
    return range->region->ram->host + range->offset + (addr - range->start);
}

/* ---- accesses that a device takes as they are --------------------------------------------------- */

static inline unsigned max_or_4(unsigned max) { return max ? max : 4; }
static inline unsigned min_or_1(unsigned min) { return min ? min : 1; }

void flat_range_prepare(FlatRange *range)
{
    const RegionOps *ops = range->region->ops;
    uint8_t sizes = 0;

    if (range->region->ram || !ops) {
        return;
    }
    for (unsigned size = 1; size <= 8; size *= 2) {
        if (size >= MAX(min_or_1(ops->valid.min_size), min_or_1(ops->impl.min_size)) &&
            size <= MIN(max_or_4(ops->valid.max_size), max_or_4(ops->impl.max_size))) {
            sizes |= (uint8_t)size;
        }
    }
    if (ops->valid.accepts || ops->big_endian) {
        sizes = 0;
    }
    range->lockless = ops->lockless;
    range->direct[false] = ops->read ? sizes : 0;
    range->direct[true] = ops->write ? sizes : 0;
    range->read = ops->read;
    range->write = ops->write;
    range->opaque = range->region->opaque;
}

static inline bool is_direct(const FlatRange *range, uint64_t addr, unsigned size, bool is_write)
{
    return (range->direct[is_write] & size) && !(addr & (size - 1)) && addr + size <= range->end;
}

static inline void access_direct(const FlatRange *range, uint64_t addr, unsigned size, uint64_t *value, bool is_write)
{
    const uint64_t offset = range->offset + (addr - range->start);

    if (is_write) {
        range->write(range->opaque, offset, *value & all_ones(size), size);
    } else {
        *value = range->read(range->opaque, offset, size) & all_ones(size);
    }
}

/* ---- one access to a device ------------------------------------------------------------------ */

static inline uint64_t swap(const RegionOps *ops, uint64_t value, unsigned size)
{
    return ops->big_endian ? GUINT64_SWAP_LE_BE(value) >> (64 - 8 * size) : value;
}

static inline bool accepts(const Region *region, uint64_t offset, unsigned size, bool is_write)
{
    const RegionOps *ops = region->ops;

    return size >= min_or_1(ops->valid.min_size) &&
           (!ops->valid.accepts || ops->valid.accepts(region->opaque, offset, size, is_write));
}

/* size is within valid; impl may want it in other pieces. */
static uint64_t device_read(const Region *region, uint64_t offset, unsigned size)
{
    const RegionOps *ops = region->ops;
    unsigned piece = MIN(size, max_or_4(ops->impl.max_size));
    uint64_t value = 0;

    if (!ops->read) {
        return all_ones(size);
    }
    if (size < min_or_1(ops->impl.min_size)) { /* read the whole register, take a part */
        unsigned whole = ops->impl.min_size;
        uint64_t start = align_down(offset, whole);

        value = swap(ops, ops->read(region->opaque, start, whole), whole);
        return value >> (8 * (offset - start)) & all_ones(size);
    }
    for (unsigned done = 0; done < size; done += piece) {
        uint64_t part = swap(ops, ops->read(region->opaque, offset + done, piece) & all_ones(piece), piece);

        value |= part << (8 * done);
    }
    return value;
}

static void device_write(const Region *region, uint64_t offset, unsigned size, uint64_t value)
{
    const RegionOps *ops = region->ops;
    unsigned piece = MIN(size, max_or_4(ops->impl.max_size));

    if (!ops->write) {
        return;
    }
    if (size < min_or_1(ops->impl.min_size)) { /* the other bytes of the register are written as 0 */
        unsigned whole = ops->impl.min_size;
        uint64_t start = align_down(offset, whole);

        ops->write(region->opaque, start, swap(ops, value << (8 * (offset - start)), whole), whole);
        return;
    }
    for (unsigned done = 0; done < size; done += piece) {
        uint64_t part = value >> (8 * done) & all_ones(piece);

        ops->write(region->opaque, offset + done, swap(ops, part, piece), piece);
    }
}

/*
 * How much of [addr, addr + size) one access may cover. Memory ends with its range. A register is
 * found by its first address alone and takes the full width, even where another region begins inside it:
 * the PC's reset port 0xcf9 lies in the middle of the configuration address at 0xcf8.
 */
static inline unsigned piece_size(const FlatRange *range, uint64_t addr, unsigned size)
{
    unsigned n = size;

    if (is_memory(range)) {
        n = (unsigned)MIN(n, range->end - addr);
    } else {
        const RegionOps *ops = range->region->ops;
        unsigned max = max_or_4(ops->valid.max_size);

        n = (unsigned)MIN(n, range->region->size - (range->offset + (addr - range->start)));
        n = MIN(n, max);
        if (!ops->valid.unaligned && (addr & (n - 1))) {
            n = MIN(n, 1u << __builtin_ctzll(addr));
        }
    }
    while (n & (n - 1)) { /* 3, 5, 6, 7: down to a power of two */
        n &= n - 1;
    }
    return n;
}

/* ---- any access ------------------------------------------------------------------------------ */

typedef enum AccessResult { ACCESS_OK, ACCESS_FAILED, ACCESS_NEEDS_LOCK } AccessResult;

/* The VM lock is held, or the region does without. */
static inline bool device_access(const Region *region, uint64_t offset, unsigned n, uint64_t *value, bool is_write)
{
    if (__builtin_expect(!accepts(region, offset, n, is_write), 0)) {
        trace(region_refused, "%s offset 0x%" PRIx64 " size %u write %d", region->name, offset, n, is_write);
        return false;
    }
    if (is_write) {
        device_write(region, offset, n, *value);
    } else {
        *value = device_read(region, offset, n);
    }
    return true;
}

static inline AccessResult access_piece(AddressSpace *as, const FlatRange *range, uint64_t addr, unsigned n,
                                        uint64_t *value, bool is_write)
{
    const Region *region = range->region;
    uint64_t offset = range->offset + (addr - range->start);

    if (is_memory(range) && !(is_write && region->kind == REGION_ROM_DEVICE)) {
        if (!is_write) {
            *value = load_le(host_of(range, addr), n);
        } else if (!range->readonly) {
            store_le(host_of(range, addr), *value, n);
            ram_block_set_dirty(region->ram, offset, n);
        }
        return ACCESS_OK;
    }
    if (!region->ops->lockless && !vm_locked(as->vm)) {
        return ACCESS_NEEDS_LOCK;
    }
    return device_access(region, offset, n, value, is_write) ? ACCESS_OK : ACCESS_FAILED;
}

static bool access_slow(AddressSpace *as, uint64_t addr, unsigned size, uint64_t *value, bool is_write);

/* range was found in the view of this generation; while that is the map, and the VM lock keeps it so, it is there. */
static inline bool access_locked(AddressSpace *as, const FlatRange *range, uint64_t generation, uint64_t addr,
                                 unsigned size, uint64_t *value, bool is_write)
{
    bool ok = true;

    vm_lock(as->vm);
    if (__builtin_expect(as->generation == generation, 1)) {
        access_direct(range, addr, size, value, is_write);
    } else {
        ok = access_slow(as, addr, size, value, is_write); /* the map changed while the lock was waited for */
    }
    vm_unlock(as->vm);
    return ok;
}

/* One access of up to 8 bytes. Reads what is not there as the bus does. */
static inline bool access_once(AddressSpace *as, uint64_t addr, unsigned size, uint64_t *value, bool is_write)
{
    AccessResult result = ACCESS_FAILED;
    const Region *region = NULL;
    uint64_t offset = 0;

    rcu_read_lock();
    const uint64_t generation = __atomic_load_n(&as->generation, __ATOMIC_ACQUIRE);
    const FlatRange *range = flat_view_find(rcu_dereference(as->view), addr);
    if (__builtin_expect(range && is_direct(range, addr, size, is_write), 1)) {
        if (!range->lockless && !vm_locked(as->vm)) {
            rcu_read_unlock();
            return access_locked(as, range, generation, addr, size, value, is_write);
        }
        access_direct(range, addr, size, value, is_write);
        rcu_read_unlock();
        return true;
    }
    if (range && piece_size(range, addr, size) == size) {
        result = access_piece(as, range, addr, size, value, is_write);
        region = range->region;
        offset = range->offset + (addr - range->start);
    } else if (range) {
        rcu_read_unlock();
        return access_slow(as, addr, size, value, is_write);
    }
    rcu_read_unlock();
    if (result == ACCESS_NEEDS_LOCK) {
        bool ok;

        vm_lock(as->vm);
        if (as->generation == generation) { /* still the map, so the region is still there */
            ok = device_access(region, offset, size, value, is_write);
            if (!ok && !is_write) {
                *value = 0;
            }
        } else {
            ok = access_once(as, addr, size, value, is_write);
        }
        vm_unlock(as->vm);
        return ok;
    }
    if (result == ACCESS_FAILED && !is_write) {
        *value = as->is_io && !range ? all_ones(size) : 0;
    }
    return result == ACCESS_OK;
}

/* In pieces: across ranges, or larger or less aligned than the device takes. */
static bool access_slow(AddressSpace *as, uint64_t addr, unsigned size, uint64_t *value, bool is_write)
{
    uint64_t total = 0;
    bool ok = true;

    for (unsigned done = 0; done < size;) {
        rcu_read_lock();
        const FlatRange *range = flat_view_find(rcu_dereference(as->view), addr + done);
        unsigned n = range ? piece_size(range, addr + done, size - done) : 1;
        rcu_read_unlock();
        uint64_t part = is_write ? *value >> (8 * done) & all_ones(n) : 0;

        ok &= access_once(as, addr + done, n, &part, is_write);
        total |= (part & all_ones(n)) << (8 * done);
        done += n;
    }
    if (!is_write) {
        *value = total;
    }
    return ok;
}

bool address_space_load(AddressSpace *as, uint64_t addr, unsigned size, uint64_t *value)
{
    return access_once(as, addr, size, value, false);
}

bool address_space_store(AddressSpace *as, uint64_t addr, unsigned size, uint64_t value)
{
    return access_once(as, addr, size, &value, true);
}

/* ---- any length --------------------------------------------------------------------------------- */

typedef enum CopyKind { COPY_READ, COPY_WRITE, COPY_WRITE_ROM } CopyKind;

/* Copies what of [addr, addr + len) is memory in the range at addr; 0 when it is no memory. */
static uint64_t copy_memory(AddressSpace *as, uint64_t addr, void *buf, uint64_t len, CopyKind kind)
{
    uint64_t n = 0;

    rcu_read_lock();
    const FlatRange *range = flat_view_find(rcu_dereference(as->view), addr);
    if (range && is_memory(range) && !(kind == COPY_WRITE && range->region->kind == REGION_ROM_DEVICE)) {
        n = MIN(len, range->end - addr);
        if (kind == COPY_READ) {
            memcpy(buf, host_of(range, addr), n);
        } else if (kind == COPY_WRITE_ROM || !range->readonly) {
            memcpy(host_of(range, addr), buf, n);
            ram_block_set_dirty(range->region->ram, range->offset + (addr - range->start), n);
        }
    }
    rcu_read_unlock();
    return n;
}

static bool copy(AddressSpace *as, uint64_t addr, void *buf, uint64_t len, CopyKind kind)
{
    uint8_t *at = buf;
    bool ok = true;

    while (len) {
        uint64_t n = copy_memory(as, addr, at, len, kind);

        if (!n && kind == COPY_WRITE_ROM) {
            return false;
        }
        if (!n) {
            unsigned size = (unsigned)MIN(len, 8);

            while (size & (size - 1)) {
                size &= size - 1;
            }
            if (addr & (size - 1)) {
                size = 1u << __builtin_ctzll(addr);
            }
            uint64_t value = kind == COPY_WRITE ? load_le(at, size) : 0;
            ok &= access_once(as, addr, size, &value, kind == COPY_WRITE);
            if (kind == COPY_READ) {
                store_le(at, value, size);
            }
            n = size;
        }
        addr += n;
        at += n;
        len -= n;
    }
    return ok;
}

bool address_space_read(AddressSpace *as, uint64_t addr, void *buf, uint64_t len)
{
    return copy(as, addr, buf, len, COPY_READ);
}

bool address_space_write(AddressSpace *as, uint64_t addr, const void *buf, uint64_t len)
{
    return copy(as, addr, (void *)(uintptr_t)buf, len, COPY_WRITE);
}

bool address_space_write_rom(AddressSpace *as, uint64_t addr, const void *buf, uint64_t len)
{
    return copy(as, addr, (void *)(uintptr_t)buf, len, COPY_WRITE_ROM);
}

void ram_block_set_dirty(RamBlock *block, uint64_t offset, uint64_t len)
{
    unsigned long *dirty = block->dirty;

    if (dirty && len) {
        for (uint64_t page = offset >> 12; page <= (offset + len - 1) >> 12; page++) {
            __atomic_fetch_or(&dirty[page / 64], 1ul << (page % 64), __ATOMIC_RELAXED);
        }
    }
}
