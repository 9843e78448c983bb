/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walking page tables: all of them, or to one address. */
#include "accel/x86/page_walk.h"

#include "core/vm.h"

#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_LA57 (UINT64_C(1) << 12)
#define EFER_LMA (UINT64_C(1) << 10)
#define ADDRESS_MASK UINT64_C(0x000ffffffffff000)

/* A table may name itself or others any number of times: a walk visits no more of them than this, which
 * is what 2 TiB of 4 KiB pages need. */
#define MAX_TABLES (1u << 20)
#define MAX_ENTRIES 1024

/* How this CPU translates now. */
typedef struct Paging {
    Vm *vm;
    unsigned levels;      /* 0: no paging */
    unsigned entry_size;  /* bytes: 4 or 8 */
    unsigned bits;        /* of an address that one level takes: 10 or 9 */
    unsigned top_entries; /* in the first table */
    bool large_4m;        /* 32-bit: CR4.PSE */
    uint64_t root;
} Paging;

static Paging paging_of(const Cpu *cpu)
{
    const X86State *env = &cpu->env;
    Paging p = {.vm = cpu->dev.vm, .entry_size = 8, .bits = 9, .top_entries = 512, .root = env->cr[3] & ADDRESS_MASK};

    if (!(env->cr[0] & CR0_PG)) {
        return p;
    }
    if (!(env->cr[4] & CR4_PAE)) {
        p.levels = 2;
        p.entry_size = 4;
        p.bits = 10;
        p.top_entries = 1024;
        p.large_4m = env->cr[4] & CR4_PSE;
        p.root &= UINT32_MAX;
    } else if (env->efer & EFER_LMA) {
        p.levels = env->cr[4] & CR4_LA57 ? 5 : 4;
    } else {
        p.levels = 3;
        p.top_entries = 4;
        p.root = env->cr[3] & 0xffffffe0;
    }
    return p;
}

static uint64_t entry_at(const Paging *p, const uint8_t *table, unsigned index)
{
    return p->entry_size == 4 ? load_le(table + 4 * index, 4) : load_le(table + 8 * index, 8);
}

/* log2 of the bytes that an entry of this level spans; level 1 is the last. */
static unsigned span_bits(const Paging *p, unsigned level) { return 12 + p->bits * (level - 1); }

static bool is_page(const Paging *p, unsigned level, uint64_t entry)
{
    if (level == 1) {
        return true;
    }
    if (!(entry & PAGE_LARGE)) {
        return false;
    }
    return p->entry_size == 4 ? p->large_4m : level <= 3 && level < p->levels;
}

static uint64_t page_base(const Paging *p, unsigned level, uint64_t entry)
{
    uint64_t span = UINT64_C(1) << span_bits(p, level);

    if (p->entry_size == 4) {
        /* PSE-36: bits 13 to 20 are bits 32 to 39 of a 4 MiB page. */
        return level == 1 ? entry & 0xfffff000 : (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
    }
    return entry & ADDRESS_MASK & ~(span - 1);
}

/* Bit 47 (or 56) is continued upwards. */
static uint64_t canonical(const Paging *p, uint64_t virt)
{
    unsigned width = span_bits(p, p->levels) + p->bits;

    return p->levels < 4 ? virt : (uint64_t)((int64_t)(virt << (64 - width)) >> (64 - width));
}

/* ---- all pages ---------------------------------------------------------------------------------- */

typedef struct Walk {
    Paging paging;
    PageRunFn *fn;
    void *opaque;
    unsigned tables; /* read so far */
    bool too_many;
} Walk;

/* rights: of the levels above, as of a last entry. Recursion ends at level 1: five deep. */
static bool walk_table(Walk *w, uint64_t addr, unsigned level, unsigned count, uint64_t virt, uint64_t rights)
{
    const Paging *p = &w->paging;
    uint8_t table[MAX_ENTRIES * 4];

    if (w->tables++ >= MAX_TABLES) {
        w->too_many = true;
        return false;
    }
    if (!address_space_read(&p->vm->memory, addr, table, count * p->entry_size)) {
        return true; /* no memory there: nothing is mapped */
    }
    for (unsigned i = 0; i < count; i++) {
        uint64_t entry = entry_at(p, table, i), at = virt | (uint64_t)i << span_bits(p, level);

        if (!(entry & PAGE_PRESENT)) {
            continue;
        }
        /* The third level of PAE has no rights of its own. */
        uint64_t own = p->levels == 3 && level == 3 ? PAGE_WRITE | PAGE_USER : entry;
        uint64_t sum = (rights & own & (PAGE_WRITE | PAGE_USER)) | ((rights | own) & PAGE_NO_EXECUTE);
        if (is_page(p, level, entry)) {
            PageRun page = {canonical(p, at), page_base(p, level, entry), UINT64_C(1) << span_bits(p, level),
                            sum | PAGE_PRESENT, entry};
            if (!w->fn(w->opaque, &page)) {
                return false;
            }
        } else if (!walk_table(w, entry & (p->entry_size == 4 ? 0xfffff000 : ADDRESS_MASK), level - 1, 1u << p->bits, at,
                               sum)) {
            return false;
        }
    }
    return true;
}

bool page_walk(Cpu *cpu, PageRunFn *fn, void *opaque, GError **err)
{
    Walk w = {.paging = paging_of(cpu), .fn = fn, .opaque = opaque};

    if (!w.paging.levels) {
        PageRun all = {0, 0, 0, PAGE_PRESENT | PAGE_WRITE | PAGE_USER, 0};
        return fn(opaque, &all);
    }
    if (walk_table(&w, w.paging.root, w.paging.levels, w.paging.top_entries, 0, PAGE_WRITE | PAGE_USER)) {
        return true;
    }
    return w.too_many && error_set(err, "the guest's page tables are larger than any memory needs; they refer to themselves");
}

/* ---- one address --------------------------------------------------------------------------------- */

bool page_translate(Cpu *cpu, uint64_t virt, uint64_t *phys)
{
    Paging p = paging_of(cpu);
    uint64_t table = p.root;

    if (!p.levels) {
        *phys = virt;
        return true;
    }
    if (p.levels < 4 ? virt > UINT32_MAX : canonical(&p, virt) != virt) {
        return false;
    }
    for (unsigned level = p.levels;; level--) {
        unsigned count = level == p.levels ? p.top_entries : 1u << p.bits;
        unsigned index = virt >> span_bits(&p, level) & (count - 1);
        uint8_t raw[8] = {0};

        if (!address_space_read(&p.vm->memory, table + index * p.entry_size, raw, p.entry_size)) {
            return false;
        }
        uint64_t entry = entry_at(&p, raw, 0);
        if (!(entry & PAGE_PRESENT)) {
            return false;
        }
        if (is_page(&p, level, entry)) {
            *phys = page_base(&p, level, entry) | (virt & ((UINT64_C(1) << span_bits(&p, level)) - 1));
            return true;
        }
        table = entry & (p.entry_size == 4 ? 0xfffff000 : ADDRESS_MASK);
    }
}
