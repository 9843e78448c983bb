/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: CPUs and their registers, laid out as in QEMU's monitor. */
#include "accel/x86/cpu.h"
#include "monitor/hmp_internal.h"
#include "util/error.h"

static Cpu *current_cpu(HmpCall *call)
{
    GPtrArray *cpus = call->vm->cpus;
    unsigned index = (unsigned)*call->cpu_index;
    Cpu *cpu = index < cpus->len ? g_ptr_array_index(cpus, index) : NULL;

    if (!cpu) {
        hmp_printf(call, "No CPU available\n");
    }
    return cpu;
}

/* ---- looking at a CPU that rests ------------------------------------------------------------- */

Cpu *hmp_cpu_begin(HmpCall *call)
{
    g_autoptr(GError) err = NULL;
    const AccelOps *ops = call->vm->accel->ops;
    Cpu *cpu = current_cpu(call);

    if (!cpu) {
        return NULL;
    }
    if (!call->held++) {
        call->was_running = run_state_is_running(vm_run_state(call->vm));
        if (call->was_running) {
            ops->cpus_stop(call->vm->accel);
        }
    }
    if (ops->cpu_get_state && !ops->cpu_get_state(cpu, &err)) {
        hmp_error(call, g_steal_pointer(&err));
        hmp_cpu_end(call);
        return NULL;
    }
    return cpu;
}

void hmp_cpu_end(HmpCall *call)
{
    if (!--call->held && call->was_running) {
        call->vm->accel->ops->cpus_start(call->vm->accel);
    }
}

static bool find_register(const X86State *env, const char *name, uint64_t *value)
{
    static const char *const general[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8", "r9",
                                          "r10", "r11", "r12", "r13", "r14", "r15", NULL};
    static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs", NULL};
    const char *real = !strcmp(name, "sp") ? "esp" : !strcmp(name, "fp") ? "ebp" : name;

    for (unsigned i = 0; general[i]; i++) {
        if (!strcmp(real, general[i])) {
            *value = env->regs[i];
            return true;
        }
    }
    for (unsigned i = 0; segments[i]; i++) {
        if (!strcmp(real, segments[i])) {
            *value = env->segs[i].selector;
            return true;
        }
    }
    *value = !strcmp(real, "eflags") ? env->eflags : !strcmp(real, "eip") ? env->eip : env->eip + env->segs[SEG_CS].base;
    return !strcmp(real, "eflags") || !strcmp(real, "eip") || !strcmp(real, "pc");
}

bool hmp_read_register(HmpCall *call, const char *name, int64_t *value, GError **err)
{
    const Cpu *cpu = hmp_cpu_begin(call);
    uint64_t bits;
    bool found;

    if (!cpu) {
        return error_set(err, "no CPU's registers can be read");
    }
    found = find_register(&cpu->env, name, &bits);
    hmp_cpu_end(call);
    *value = (int64_t)bits;
    return found || error_set(err, "unknown register");
}

static void hmp_cpu(HmpCall *call)
{
    int64_t index = hmp_int(call->args, "index");

    if (index < 0 || index >= call->vm->cpus->len ||
        !g_ptr_array_index(call->vm->cpus, (unsigned)index)) {
        hmp_printf(call, "Error: invalid CPU index\n");
        return;
    }
    *call->cpu_index = (int)index;
}

static void info_cpus(HmpCall *call)
{
    for (unsigned i = 0; i < call->vm->cpus->len; i++) {
        Cpu *cpu = g_ptr_array_index(call->vm->cpus, i);

        if (cpu) {
            hmp_printf(call, "%c CPU #%u: thread_id=%d\n", (int)i == *call->cpu_index ? '*' : ' ',
                       i, call->vm->accel->ops->cpu_thread_id(cpu));
        }
    }
}

/* ---- registers ----------------------------------------------------------------------------- */

static void print_registers(HmpCall *call, Cpu *cpu)
{
    g_autoptr(GError) err = NULL;
    char *text = NULL;
    size_t size = 0;

    hmp_printf(call, "\nCPU#%u\n", cpu->index);
    if (!call->vm->accel->ops->cpu_get_state(cpu, &err)) {
        hmp_error(call, g_steal_pointer(&err));
        return;
    }
    FILE *out = open_memstream(&text, &size);
    cpu_print_registers(cpu, out);
    cpu_print_vectors(cpu, out);
    fclose(out);
    hmp_printf(call, "%s", text);
    free(text);
}

/* Registers can be read of CPUs that stand still: the VM rests meanwhile. */
static void info_registers(HmpCall *call)
{
    Vm *vm = call->vm;
    const AccelOps *ops = vm->accel->ops;
    bool running = run_state_is_running(vm_run_state(vm));
    Cpu *cpu = current_cpu(call);

    if (!cpu) {
        return;
    }
    if (hmp_has(call->args, "vcpu")) {
        int64_t n = hmp_int(call->args, "vcpu");

        cpu = n >= 0 && n < vm->cpus->len ? g_ptr_array_index(vm->cpus, (unsigned)n) : NULL;
        if (!cpu) {
            hmp_printf(call, "CPU#%d not available\n", (int)n);
            return;
        }
    }
    if (running) {
        ops->cpus_stop(vm->accel);
    }
    if (hmp_bool(call->args, "-a")) {
        for (unsigned i = 0; i < vm->cpus->len; i++) {
            if (g_ptr_array_index(vm->cpus, i)) {
                print_registers(call, g_ptr_array_index(vm->cpus, i));
            }
        }
    } else {
        print_registers(call, cpu);
    }
    if (running) {
        ops->cpus_start(vm->accel);
    }
}

const HmpCommand hmp_cpu_commands[] = {
    {"cpu", "index:int", .run = hmp_cpu, .help = "sets the CPU that other commands look at"},
    {"info cpus", .run = info_cpus, .help = "the CPUs and the threads that run them"},
    {"info registers", "-a:flag,vcpu:int?", .run = info_registers,
     .help = "registers of a CPU; -a: of all"},
    {}};
