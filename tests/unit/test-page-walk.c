/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Page tables of every kind, built in RAM: all pages of a walk, single addresses, tables that refer to themselves. */
#include "accel/x86/page_walk.h"
#include "core/vm.h"

#define RAM_SIZE (16 * MIB)
#define ROOT 0x10000
#define CR0_PAGING UINT64_C(0x80000001)
#define CR4_PAE UINT64_C(0x20)
#define CR4_PSE UINT64_C(0x10)
#define CR4_LA57 UINT64_C(0x1000)
#define EFER_LONG UINT64_C(0x500)

typedef struct Fixture {
    Vm *vm;
    Region ram;
    Cpu *cpu;
    GArray *seen; /* PageRun */
} Fixture;

static void setup(Fixture *f, const void *unused)
{
    f->vm = vm_new(NULL);
    g_assert_true(region_init_ram(&f->ram, f->vm, "ram", RAM_SIZE, NULL));
    region_add(&f->vm->system_memory, 0, &f->ram);
    f->cpu = g_new0(Cpu, 1); /* registers only: nothing runs it */
    f->cpu->dev.vm = f->vm;
    f->seen = g_array_new(false, false, sizeof(PageRun));
}

static void teardown(Fixture *f, const void *unused)
{
    g_array_free(f->seen, true);
    g_free(f->cpu);
    region_remove(&f->ram);
    region_destroy(&f->ram);
    vm_free(f->vm);
}

static void put(Fixture *f, uint64_t table, unsigned index, unsigned size, uint64_t entry)
{
    store_le(region_host(&f->ram) + table + index * size, entry, size);
}

static void set_mode(Fixture *f, uint64_t cr4, uint64_t efer)
{
    f->cpu->env.cr[0] = CR0_PAGING;
    f->cpu->env.cr[3] = ROOT;
    f->cpu->env.cr[4] = cr4;
    f->cpu->env.efer = efer;
}

static bool note(void *opaque, const PageRun *page)
{
    Fixture *f = opaque;

    g_array_append_val(f->seen, *page);
    return f->seen->len < 10000;
}

static void walk(Fixture *f)
{
    GError *err = NULL;

    g_array_set_size(f->seen, 0);
    g_assert_true(page_walk(f->cpu, note, f, &err));
    g_assert_no_error(err);
}

static void expect(Fixture *f, unsigned n, uint64_t virt, uint64_t phys, uint64_t len, uint64_t flags)
{
    const PageRun *page = &g_array_index(f->seen, PageRun, n);
    uint64_t found;

    g_assert_cmpuint(n, <, f->seen->len);
    g_assert_cmphex(page->virt, ==, virt);
    g_assert_cmphex(page->phys, ==, phys);
    g_assert_cmphex(page->len, ==, len);
    g_assert_cmphex(page->flags, ==, flags);
    g_assert_true(page_translate(f->cpu, virt + len - 1, &found));
    g_assert_cmphex(found, ==, phys + len - 1);
}

static void test_none(Fixture *f, const void *unused)
{
    uint64_t phys;

    walk(f);
    g_assert_cmpuint(f->seen->len, ==, 1);
    g_assert_true(page_translate(f->cpu, 0x12345678, &phys));
    g_assert_cmphex(phys, ==, 0x12345678);
}

static void test_32bit(Fixture *f, const void *unused)
{
    uint64_t phys;

    set_mode(f, CR4_PSE, 0);
    put(f, ROOT, 1, 4, 0x20000 | PAGE_PRESENT | PAGE_WRITE | PAGE_USER);
    put(f, 0x20000, 3, 4, 0x7000 | PAGE_PRESENT | PAGE_WRITE);
    put(f, 0x20000, 4, 4, 0x9000); /* not present */
    put(f, ROOT, 1023, 4, 0x00c02000 | PAGE_LARGE | PAGE_PRESENT); /* bit 13 is address bit 32 */
    walk(f);
    g_assert_cmpuint(f->seen->len, ==, 2);
    expect(f, 0, 0x403000, 0x7000, 0x1000, PAGE_PRESENT | PAGE_WRITE);
    expect(f, 1, 0xffc00000, 0x100c00000, 0x400000, PAGE_PRESENT);
    g_assert_false(page_translate(f->cpu, 0x404000, &phys));
    g_assert_false(page_translate(f->cpu, 0, &phys));
    g_assert_false(page_translate(f->cpu, UINT64_C(1) << 32 | 0x403000, &phys));
}

static void test_pae(Fixture *f, const void *unused)
{
    set_mode(f, CR4_PAE, 0);
    f->cpu->env.cr[3] = ROOT + 0x20; /* 32-byte aligned is enough */
    put(f, ROOT + 0x20, 3, 8, 0x20000 | PAGE_PRESENT);
    put(f, 0x20000, 0, 8, 0x30000 | PAGE_PRESENT | PAGE_WRITE);
    put(f, 0x20000, 511, 8, 0x200000 | PAGE_LARGE | PAGE_PRESENT | PAGE_USER);
    put(f, 0x30000, 5, 8, 0x8000 | PAGE_PRESENT | PAGE_WRITE | PAGE_NO_EXECUTE);
    walk(f);
    g_assert_cmpuint(f->seen->len, ==, 2);
    expect(f, 0, 0xc0005000, 0x8000, 0x1000, PAGE_PRESENT | PAGE_WRITE | PAGE_NO_EXECUTE);
    expect(f, 1, 0xffe00000, 0x200000, 0x200000, PAGE_PRESENT | PAGE_USER);
}

static void test_long(Fixture *f, const void *opaque)
{
    bool five = GPOINTER_TO_INT(opaque);
    uint64_t top = ROOT, high = five ? UINT64_C(0xff00000000000000) : UINT64_C(0xffff800000000000), phys;

    set_mode(f, CR4_PAE | (five ? CR4_LA57 : 0), EFER_LONG);
    if (five) {
        put(f, ROOT, 0, 8, 0x50000 | PAGE_PRESENT | PAGE_WRITE | PAGE_USER);
        put(f, ROOT, 256, 8, 0x50000 | PAGE_PRESENT | PAGE_WRITE);
        top = 0x50000;
        put(f, top, 0, 8, 0x20000 | PAGE_PRESENT | PAGE_WRITE | PAGE_USER);
    } else {
        put(f, top, 0, 8, 0x20000 | PAGE_PRESENT | PAGE_WRITE | PAGE_USER);
        put(f, top, 256, 8, 0x20000 | PAGE_PRESENT | PAGE_WRITE);
    }
    put(f, 0x20000, 1, 8, 0xc0000000 | PAGE_LARGE | PAGE_PRESENT | PAGE_WRITE | PAGE_USER);
    put(f, 0x20000, 2, 8, 0x30000 | PAGE_PRESENT | PAGE_WRITE | PAGE_USER);
    put(f, 0x30000, 1, 8, 0x600000 | PAGE_LARGE | PAGE_PRESENT | PAGE_WRITE);
    walk(f);
    g_assert_cmpuint(f->seen->len, ==, 4);
    expect(f, 0, 0x40000000, 0xc0000000, 0x40000000, PAGE_PRESENT | PAGE_WRITE | PAGE_USER);
    expect(f, 1, 0x80200000, 0x600000, 0x200000, PAGE_PRESENT | PAGE_WRITE);
    expect(f, 2, high + 0x40000000, 0xc0000000, 0x40000000, PAGE_PRESENT | PAGE_WRITE);
    expect(f, 3, high + 0x80200000, 0x600000, 0x200000, PAGE_PRESENT | PAGE_WRITE);
    g_assert_false(page_translate(f->cpu, UINT64_C(1) << 62 | 0x40000000, &phys)); /* not canonical */
}

/* Every entry of the only table names the table: 512^4 pages. */
static void test_self(Fixture *f, const void *unused)
{
    GError *err = NULL;

    set_mode(f, CR4_PAE, EFER_LONG);
    for (unsigned i = 0; i < 512; i++) {
        put(f, ROOT, i, 8, ROOT | PAGE_PRESENT);
    }
    g_assert_false(page_walk(f->cpu, note, f, &err)); /* note has enough after 10000 */
    g_assert_no_error(err);
    /* Tables without pages: the walk itself has to give up. */
    put(f, ROOT, 0, 8, 0);
    for (unsigned i = 0; i < 512; i++) {
        put(f, ROOT, i, 8, 0x20000 | PAGE_PRESENT);
        put(f, 0x20000, i, 8, 0x30000 | PAGE_PRESENT);
        put(f, 0x30000, i, 8, 0x40000 | PAGE_PRESENT); /* and nothing in there */
    }
    g_assert_false(page_walk(f->cpu, note, f, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    /* Tables where there is no memory map nothing. */
    f->cpu->env.cr[3] = RAM_SIZE * 2;
    walk(f);
    g_assert_cmpuint(f->seen->len, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/page-walk/none", Fixture, NULL, setup, test_none, teardown);
    g_test_add("/page-walk/32-bit", Fixture, NULL, setup, test_32bit, teardown);
    g_test_add("/page-walk/pae", Fixture, NULL, setup, test_pae, teardown);
    g_test_add("/page-walk/4-level", Fixture, GINT_TO_POINTER(0), setup, test_long, teardown);
    g_test_add("/page-walk/5-level", Fixture, GINT_TO_POINTER(1), setup, test_long, teardown);
    g_test_add("/page-walk/self-reference", Fixture, NULL, setup, test_self, teardown);
    return g_test_run();
}
