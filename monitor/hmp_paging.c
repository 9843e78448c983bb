/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: info mem and info tlb, the page tables of the current CPU. */
#include <inttypes.h>

#include "accel/x86/page_walk.h"
#include "monitor/hmp_internal.h"

/* A page table can name itself: what a person gets is bounded. */
#define MAX_LINES 100000

typedef struct Printer {
    HmpCall *call;
    unsigned lines;
    PageRun run;        /* info mem: pages of equal rights so far; len 0: none */
} Printer;

static bool count_line(Printer *p)
{
    if (++p->lines > MAX_LINES) {
        hmp_printf(p->call, "... more than %u lines\n", MAX_LINES);
        return false;
    }
    return true;
}

static bool print_page(void *opaque, const PageRun *page)
{
    static const struct {
        char letter;
        uint64_t bit;
    } flags[] = {{'X', PAGE_NO_EXECUTE}, {'G', 1 << 8}, {'P', PAGE_LARGE}, {'D', 1 << 6}, {'A', 1 << 5},
                 {'C', 1 << 4}, {'T', 1 << 3}, {'U', PAGE_USER}, {'W', PAGE_WRITE}};
    Printer *p = opaque;

    if (!page->len) {
        hmp_printf(p->call, "PG disabled\n");
        return true;
    }
    if (!count_line(p)) {
        return false;
    }
    hmp_printf(p->call, "%016" PRIx64 ": %016" PRIx64 " ", page->virt, page->phys);
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
        hmp_printf(p->call, "%c", page->entry & flags[i].bit ? flags[i].letter : '-');
    }
    hmp_printf(p->call, "\n");
    return true;
}

static bool print_run(Printer *p)
{
    const PageRun *r = &p->run;

    if (!r->len) {
        return true;
    }
    if (!count_line(p)) {
        return false;
    }
    hmp_printf(p->call, "%016" PRIx64 "-%016" PRIx64 " %016" PRIx64 " %cr%c\n", r->virt, r->virt + r->len, r->len,
               r->flags & PAGE_USER ? 'u' : '-', r->flags & PAGE_WRITE ? 'w' : '-');
    return true;
}

static bool join_page(void *opaque, const PageRun *page)
{
    const uint64_t rights = PAGE_USER | PAGE_WRITE;
    Printer *p = opaque;

    if (!page->len) {
        hmp_printf(p->call, "PG disabled\n");
        return true;
    }
    if (p->run.len && p->run.virt + p->run.len == page->virt && !((p->run.flags ^ page->flags) & rights)) {
        p->run.len += page->len;
        return true;
    }
    bool more = print_run(p);
    p->run = *page;
    return more;
}

static void walk(HmpCall *call, PageRunFn *fn)
{
    Printer p = {.call = call};
    GError *err = NULL;
    Cpu *cpu = hmp_cpu_begin(call);

    if (!cpu) {
        return;
    }
    if (page_walk(cpu, fn, &p, &err)) {
        print_run(&p);
    } else if (err) {
        hmp_error(call, err);
    }
    hmp_cpu_end(call);
}

static void info_tlb(HmpCall *call) { walk(call, print_page); }
static void info_mem(HmpCall *call) { walk(call, join_page); }

const HmpCommand hmp_paging_commands[] = {
    {"info mem", .run = info_mem, .help = "virtual memory of the current CPU, by access rights"},
    {"info tlb", .run = info_tlb, .help = "virtual memory of the current CPU, page by page"},
    {}};
