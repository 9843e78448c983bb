/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: guest memory into files. */
#include <errno.h>
#include <stdio.h>

#include "accel/x86/page_walk.h"
#include "core/vm.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

#define PAGE 4096

/* Physical address of what is saved at addr; false: not mapped. */
typedef bool TranslateFn(void *opaque, uint64_t addr, uint64_t *phys);

static bool translate_virtual(void *opaque, uint64_t addr, uint64_t *phys) { return page_translate(opaque, addr, phys); }

static bool translate_physical(void *opaque, uint64_t addr, uint64_t *phys)
{
    (void)opaque;
    *phys = addr;
    return true;
}

/* Page by page, since neighbours in one address space need not be so in the other. */
static bool copy(Vm *vm, FILE *file, uint64_t addr, uint64_t size, TranslateFn *translate, void *opaque, GError **err)
{
    while (size) {
        uint8_t bytes[PAGE];
        uint64_t len = MIN(size, PAGE - addr % PAGE), phys;

        if (!translate(opaque, addr, &phys) || !address_space_read(&vm->memory, phys, bytes, len)) {
            return error_set(err, "Invalid addr 0x%016" PRIx64 "/size %" PRIu64 " specified", addr, size);
        }
        if (fwrite(bytes, 1, len, file) != len) {
            return error_set_errno(err, errno, "cannot write the memory");
        }
        addr += len;
        size -= len;
    }
    return true;
}

static bool save(Vm *vm, const char *path, int64_t addr, int64_t size, TranslateFn *translate, void *opaque, GError **err)
{
    if (size < 0) {
        return error_set(err, "Parameter 'size' expects a positive number");
    }
    FILE *file = fopen(path, "wbe");
    if (!file) {
        return error_set_errno(err, errno, "Could not open '%s'", path);
    }
    bool ok = copy(vm, file, (uint64_t)addr, (uint64_t)size, translate, opaque, err);
    if (fclose(file) && ok) {
        return error_set_errno(err, errno, "cannot write '%s'", path);
    }
    return ok;
}

bool qmp_memsave(QmpCall *call, GError **err)
{
    const MemsaveArgs *args = call->args;
    GPtrArray *cpus = call->vm->cpus;
    int64_t index = args->has_cpu_index ? args->cpu_index : 0;

    if (index < 0 || index >= cpus->len || !cpus->pdata[index]) {
        return error_set(err, "Parameter 'cpu-index' expects a CPU number, and %" PRId64 " is none; query-cpus-fast "
                                  "lists them", index);
    }
    /* A CPU's page tables can be asked for while it rests. */
    Cpu *cpu = cpus->pdata[index];
    Accel *accel = call->vm->accel;
    bool running = run_state_is_running(vm_run_state(call->vm));
    if (running) {
        accel->ops->cpus_stop(accel);
    }
    bool ok = (!accel->ops->cpu_get_state || accel->ops->cpu_get_state(cpu, err)) &&
              save(call->vm, args->filename, args->val, args->size, translate_virtual, cpu, err);
    if (running) {
        accel->ops->cpus_start(accel);
    }
    return ok;
}

bool qmp_pmemsave(QmpCall *call, GError **err)
{
    const PmemsaveArgs *args = call->args;

    return save(call->vm, args->filename, args->val, args->size, translate_physical, NULL, err);
}
