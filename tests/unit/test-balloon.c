/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages that go back to the host: small ones, those in huge pages, blocks of all kinds. */
#include <sys/mman.h>
#include <unistd.h>

#include "core/ram_fault.h"
#include "core/vm.h"
#include "hw/virtio/balloon_pages.h"

#define SIZE (8 * MIB)
#define HUGE (2 * MIB)
#define PER_HUGE (HUGE / BALLOON_PAGE)

typedef struct Fixture {
    Vm *vm;
    Region ram;
    RamBlock *block;
    uint8_t *host;
    BalloonPages *pages;
    Device dev;
} Fixture;

/* huge: as if its file were in huge pages. */
static void fixture_open(Fixture *f, bool shared, bool huge)
{
    int fd = shared ? memfd_create("balloon", MFD_CLOEXEC) : -1;

    *f = (Fixture){.vm = vm_new(NULL)};
    g_assert_true(!shared || !ftruncate(fd, SIZE));
    f->host = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
    g_assert_true(f->host != MAP_FAILED);
    f->block = ram_block_new("balloon", f->host, SIZE);
    f->block->fd = fd;
    f->block->shared = shared;
    f->block->page = huge ? HUGE : 0;
    ram_block_ref(f->block);
    region_init_ram_block(&f->ram, f->vm, "balloon", f->block);
    region_add(&f->vm->system_memory, 0, &f->ram);
    f->dev.obj.type = type_find("device");
    f->dev.vm = f->vm;
    f->dev.dma_as = &f->vm->memory;
    f->pages = balloon_pages_new();
    memset(f->host, 0x55, SIZE);
}

static void fixture_close(Fixture *f)
{
    int fd = f->block->fd;

    balloon_pages_free(f->pages);
    region_remove(&f->ram);
    region_destroy(&f->ram);
    vm_free(f->vm);
    ram_block_unref(f->block);
    munmap(f->host, SIZE);
    if (fd >= 0) {
        close(fd);
    }
}

static bool zero(const Fixture *f, uint64_t page, uint64_t count)
{
    for (uint64_t i = page * BALLOON_PAGE; i < (page + count) * BALLOON_PAGE; i++) {
        if (f->host[i]) {
            return false;
        }
    }
    return true;
}

static bool kept(const Fixture *f, uint64_t page, uint64_t count)
{
    for (uint64_t i = page * BALLOON_PAGE; i < (page + count) * BALLOON_PAGE; i++) {
        if (f->host[i] != 0x55) {
            return false;
        }
    }
    return true;
}

static uint64_t give(Fixture *f, uint64_t page, uint64_t count)
{
    return balloon_pages_give(f->pages, &f->dev, page * BALLOON_PAGE, count * BALLOON_PAGE);
}

static void test_small(const void *shared)
{
    Fixture f;

    fixture_open(&f, shared != NULL, false);
    g_assert_cmpuint(give(&f, 10, 5), ==, 5 * BALLOON_PAGE);
    g_assert_true(kept(&f, 0, 10) && zero(&f, 10, 5) && kept(&f, 15, 100));
    g_assert_cmpuint(give(&f, 2046, 10), ==, 2 * BALLOON_PAGE);        /* over the end */
    g_assert_cmpuint(give(&f, 2048, 1), ==, 0);                        /* nothing there */
    g_assert_cmpuint(balloon_pages_give(f.pages, &f.dev, UINT64_MAX - 5000, 8192), ==, 0);
    g_assert_cmpuint(balloon_pages_give(f.pages, &f.dev, 100, 4096), ==, 0); /* no whole page */
    g_assert_cmpuint(balloon_pages_give(f.pages, &f.dev, 0, UINT64_MAX), ==, SIZE);
    g_assert_true(zero(&f, 0, 2048));
    fixture_close(&f);
}

/* The huge page goes with its last small one, in any order; not while one of them is in use again. */
static void test_huge(void)
{
    Fixture f;

    fixture_open(&f, true, true);
    for (uint64_t i = PER_HUGE; i-- > 1;) {
        give(&f, PER_HUGE + i, 1);
    }
    g_assert_true(kept(&f, 0, 3 * PER_HUGE));
    balloon_pages_take(f.pages, &f.dev, (PER_HUGE + 7) * BALLOON_PAGE, BALLOON_PAGE);
    give(&f, PER_HUGE, 1);
    give(&f, PER_HUGE, 1);
    g_assert_true(kept(&f, 0, 3 * PER_HUGE));
    give(&f, PER_HUGE + 7, 1);
    g_assert_true(kept(&f, 0, PER_HUGE) && zero(&f, PER_HUGE, PER_HUGE) && kept(&f, 2 * PER_HUGE, 2 * PER_HUGE));
    /* Two at once, the second one not whole; then all is forgotten. */
    give(&f, 2 * PER_HUGE, 2 * PER_HUGE - 1);
    g_assert_true(zero(&f, 2 * PER_HUGE, PER_HUGE) && kept(&f, 3 * PER_HUGE, PER_HUGE));
    balloon_pages_forget(f.pages);
    give(&f, 4 * PER_HUGE - 1, 1);
    g_assert_true(kept(&f, 3 * PER_HUGE, PER_HUGE));
    fixture_close(&f);
}

static unsigned open_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned count = 0;

    while (g_dir_read_name(dir)) {
        count++;
    }
    return count;
}

static void *unref_block(void *block)
{
    ram_block_unref(block);
    return NULL;
}

/* A module was taken out, and the balloon's thread was the last to let go of its memory: the main loop looks after what it
 * has for it. */
static void test_last_elsewhere(void)
{
    Vm *vm = vm_new(NULL);
    const unsigned before = open_fds();
    RamBlock *block = ram_block_new("module", mmap(NULL, HUGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), HUGE);

    block->owned = true;
    ram_fault_watch(vm, block);
    g_assert_true(block->watched);
    g_assert_cmpuint(open_fds(), ==, before + 1);
    g_thread_join(g_thread_new("balloon", unref_block, block));
    g_assert_cmpuint(open_fds(), ==, before + 1);
    loop_run_once(vm->loop, 0);
    g_assert_cmpuint(open_fds(), ==, before);
    vm_free(vm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/balloon/small/private", NULL, test_small);
    g_test_add_data_func("/balloon/small/shared", "", test_small);
    g_test_add_func("/balloon/huge", test_huge);
    g_test_add_func("/balloon/last-elsewhere", test_last_elsewhere);
    return g_test_run();
}
