/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a machine's RAM comes from: the back end that -machine memory-backend= names, or one made here under the
 * machine's own name for it ("pc.ram") at the size of -m, in -mem-path's file if that was given.
 */
#include <inttypes.h>
#include <unistd.h>

#include "backends/memory.h"
#include "core/user_object.h"
#include "hw/i386/machine.h"
#include "hw/i386/numa.h"
#include "hw/mem/pc_dimm.h"

#define PAGE 4096

/* ---- the size, before anything is built ---------------------------------------------- */

static bool check_size(Machine *m, const MemoryBackend *b, GError **err)
{
    MachineConfig *c = &m->config;

    if (c->has_ram_size && c->ram_size != b->block->size) {
        return error_set(err,
                         "Machine memory size does not match the size of the memory backend: -m says %" G_GUINT64_FORMAT
                         " bytes, '%s' has %" G_GUINT64_FORMAT "; give them the same size, or leave -m out",
                         c->ram_size, b->obj.name, b->block->size);
    }
    c->ram_size = b->block->size;
    return true;
}

/* -m slots=, maxmem= */
static bool check_max(MachineConfig *c, GError **err)
{
    if (!c->has_max_ram) {
        c->max_ram_size = c->ram_size;
        return !c->has_slots || error_set(err, "-m slots=%u: slots specified but no max-size; add maxmem=", c->ram_slots);
    }
    if (c->max_ram_size < c->ram_size) {
        return error_set(err, "-m: invalid value of maxmem: maximum memory size (0x%" PRIx64 ") must be at least the initial "
                              "memory size (0x%" PRIx64 ")", c->max_ram_size, c->ram_size);
    }
    if (c->ram_slots && c->max_ram_size == c->ram_size) {
        return error_set(err, "-m: invalid value of maxmem: memory slots were specified but maximum memory size (0x%" PRIx64
                              ") is equal to the initial memory size (0x%" PRIx64 "); "
                              "raise it, or leave slots= out", c->max_ram_size, c->ram_size);
    }
    if (c->ram_slots > DIMM_SLOTS_MAX) {
        return error_set(err, "-m: unsupported amount of memory slots: %u; at most %d", c->ram_slots, DIMM_SLOTS_MAX);
    }
    return c->max_ram_size % PAGE == 0 ||
           error_set(err, "-m maxmem=%" PRIu64 ": maximum memory size must by aligned to multiple of %d bytes; "
                          "round it up",
                     c->max_ram_size, PAGE);
}

static bool find_backend(Machine *m, GError **err)
{
    if (!m->memory_backend) {
        return true;
    }
    if (m->config.mem_path) {
        return error_set(err, "-mem-path %s: can't be used together with '-machine memory-backend'; "
                              "the back end has its own "
                              "mem-path=", m->config.mem_path);
    }
    MemoryBackend *b = memory_backend_find(m->vm, m->memory_backend, err);
    if (!b || !check_size(m, b, err) || !memory_backend_claim(b, err)) {
        g_prefix_error(err, "-machine memory-backend=%s: ", m->memory_backend);
        return false;
    }
    m->ram_backend = b;
    return true;
}

bool machine_find_ram(Machine *m, GError **err)
{
    return find_backend(m, err) && (!m->ops->has_ram || check_max(&m->config, err));
}

/* ---- the region ------------------------------------------------------------------------- */

static bool no_memory(uint64_t size, GError **err)
{
    const uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    g_autofree char *why = g_strdup((*err)->message);

    g_clear_error(err);
    return error_set(err, "-m %" G_GUINT64_FORMAT "M: %s; the host has %" G_GUINT64_FORMAT
                          "M: give the guest less, or let the host overcommit (sysctl vm.overcommit_memory=1)",
                     size / MIB, why, host / MIB);
}

static MemoryBackend *make_default(Machine *m, GError **err)
{
    const MachineConfig *c = &m->config;
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, c->ram_size);
    const char *ram[] = {"size", size, NULL};
    const char *file[] = {"size", size, "mem-path", c->mem_path, NULL};
    Object *obj = c->mem_path ? user_object_new(m->vm, "memory-backend-file", m->ops->default_ram_id, file, err)
                              : user_object_new(m->vm, "memory-backend-ram", m->ops->default_ram_id, ram, err);

    if (!obj) {
        if (c->mem_path) {
            g_prefix_error(err, "-mem-path %s: ", c->mem_path);
        } else {
            no_memory(c->ram_size, err);
        }
        return NULL;
    }
    MemoryBackend *b = (MemoryBackend *)(void *)obj;
    return memory_backend_claim(b, err) ? b : NULL;
}

bool machine_init_ram(Machine *m, Region *ram, GError **err)
{
    if (numa_has_memory(m->config.numa)) {
        numa_init_ram(m->config.numa, ram, m->config.ram_size);
        return true;
    }
    if (!m->ram_backend) {
        m->ram_backend = make_default(m, err);
    }
    if (!m->ram_backend) {
        return false;
    }
    memory_backend_init_region(m->ram_backend, ram);
    return true;
}
