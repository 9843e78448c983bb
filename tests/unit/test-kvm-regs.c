/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers of a real vCPU: what is put comes back, the power-on state is QEMU's, and a CPU that
 * was saved in one VM goes on in another. Skipped where /dev/kvm cannot be used.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel/kvm/kvm_regs.h"
#include "accel/x86/cpu.h"
#include "accel/x86/cpu_state.h"
#include "core/vm.h"

#define PORT 0x500
#define ROM_BASE UINT64_C(0xffff0000)

typedef struct Rig {
    Vm *vm;
    Cpu *cpu;
    Region ram, rom, ports;
    unsigned answer;  /* what the guest reads from the port */
    unsigned ended;   /* writes to port + 1 */
    uint64_t written; /* last value written to the port */
} Rig;

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((Rig *)opaque)->answer;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rig *rig = opaque;

    if (offset == 0) {
        rig->written = value;
    }
    if (offset == 4) {
        rig->ended++;
        loop_kick(rig->vm->loop);
    }
}

static const RegionOps port_ops = {.read = port_read, .write = port_write};

static const uint8_t jump_to_start[] = {0xe9, 0x0d, 0x00}; /* at FFF0h: jmp near 0 */

static void rig_open(Rig *rig, const char *model, const char *irqchip, const uint8_t *code,
                     size_t size)
{
    const char *const options[] = {"kernel-irqchip", irqchip, NULL};
    GError *err = NULL;

    *rig = (Rig){.vm = vm_new(&err)};
    Vm *vm = rig->vm;
    g_assert_true(accel_create(vm, "kvm", options, &err));
    g_assert_true(region_init_ram(&rig->ram, vm, "pc.ram", 0x100000, &err));
    g_assert_true(region_init_rom(&rig->rom, vm, "pc.bios", 0x10000, &err));
    memcpy(region_host(&rig->rom), code, size);
    memcpy(region_host(&rig->rom) + 0xfff0, jump_to_start, sizeof jump_to_start);
    region_add(&vm->system_memory, 0, &rig->ram);
    region_add(&vm->system_memory, ROM_BASE, &rig->rom);
    region_init_io(&rig->ports, &port_ops, rig, "test-ports", 8);
    region_add(&vm->system_io, PORT, &rig->ports);
    g_assert_true(cpu_model_parse(vm, model, &err));
    rig->cpu = cpu_new(vm, 0, 0, &err);
    g_assert_no_error(err);
    g_assert_true(vm->accel->ops->machine_done(vm->accel, &err));
    g_assert_no_error(err);
    vm_reset(vm, SHUTDOWN_CAUSE_NONE);
}

static void rig_close(Rig *rig)
{
    Vm *vm = rig->vm;

    if (run_state_is_running(vm_run_state(vm))) {
        vm_stop(vm, RUN_STATE_SHUTDOWN);
    }
    vm->accel->ops->shutdown(vm->accel);
    region_remove(&rig->ram);
    region_remove(&rig->rom);
    region_remove(&rig->ports);
    region_destroy(&rig->ram);
    region_destroy(&rig->rom);
    region_destroy(&rig->ports);
    vm_free(vm);
}

static void put(Rig *rig)
{
    GError *err = NULL;

    g_assert_true(rig->vm->accel->ops->cpu_put_state(rig->cpu, &err));
    g_assert_no_error(err);
}

static void get(Rig *rig)
{
    GError *err = NULL;

    g_assert_true(rig->vm->accel->ops->cpu_get_state(rig->cpu, &err));
    g_assert_no_error(err);
}

static const uint8_t nothing[] = {0xf4}; /* hlt */

/* ---- tests ----------------------------------------------------------------------------------- */

static void fill(X86State *env)
{
    for (unsigned i = 0; i < 16; i++) {
        env->regs[i] = 0x1000 + i;
        env->xmm_regs[i][0] = UINT64_C(0x1111111111111111) * i;
        env->xmm_regs[i][1] = ~(uint64_t)i;
    }
    for (unsigned i = 0; i < 8; i++) {
        env->fpregs[i] = (X86FpReg){UINT64_C(0x8000000000000000) | i, (uint16_t)(0x3ff0 + i)};
    }
    env->eip = 0x1234;
    env->eflags = 0x246;
    env->fpuc = 0x27f;
    env->fpus = 0x3800;
    env->fptag = 0xff;
    env->mxcsr = 0x1fa0;
    env->xstate_bv = 3;
    env->segs[SEG_DS] =
        (X86Segment){.selector = 0x1230, .base = 0x12300, .limit = 0xffff, .flags = 0x9300};
    env->gdt = (X86Segment){.base = 0x5000, .limit = 0x37};
    env->idt = (X86Segment){.base = 0x6000, .limit = 0x3ff};
    env->cr[2] = 0xdead0000;
    env->cr[3] = 0x7000;
    env->dr[0] = 0x401000;
    env->dr[6] = 0xffff0ff1;
    env->star = UINT64_C(0x0023001000000000);
    env->lstar = UINT64_C(0xffffffff81000000);
    env->fmask = 0x47700;
    env->kernelgsbase = UINT64_C(0xffff888000000000);
    env->sysenter_cs = 0x10;
    env->sysenter_esp = 0x8000;
    env->sysenter_eip = 0x9000;
    env->pat = UINT64_C(0x0407050600070106);
    env->mtrr_deftype = 0xc06;
    env->mtrr_fixed[3] = UINT64_C(0x0606060606060606);
    env->mtrr_var[1] = (X86MtrrVar){0x80000000, 0xff80000800};
    env->mp_state = 3; /* halted */
}

static void test_round_trip(void)
{
    Rig rig;

    rig_open(&rig, "qemu64", "on", nothing, sizeof nothing);
    X86State *env = &rig.cpu->env;
    get(&rig);
    fill(env);
    X86State wanted = *env;
    put(&rig);
    memset(env->regs, 0, sizeof env->regs);
    memset(env->xmm_regs, 0, sizeof env->xmm_regs);
    memset(env->fpregs, 0, sizeof env->fpregs);
    memset(env->segs, 0, sizeof env->segs);
    env->star = env->lstar = env->pat = env->mtrr_deftype = env->mp_state = 0;
    get(&rig);
#define SAME(field)                                                                                \
    g_assert_cmpmem(&env->field, sizeof env->field, &wanted.field, sizeof wanted.field)
    SAME(regs);
    SAME(eip);
    SAME(eflags);
    SAME(xmm_regs);
    SAME(fpuc);
    SAME(fpus);
    SAME(fptag);
    SAME(mxcsr);
    for (unsigned i = 0; i < 8; i++) {
        SAME(fpregs[i].mantissa);
        SAME(fpregs[i].exponent);
    }
    for (unsigned i = 0; i < 6; i++) {
        SAME(segs[i].selector);
        SAME(segs[i].base);
        SAME(segs[i].limit);
        SAME(segs[i].flags);
    }
    SAME(gdt.base);
    SAME(idt.limit);
    SAME(cr);
    SAME(dr[0]);
    SAME(dr[6]);
    SAME(star);
    SAME(lstar);
    SAME(fmask);
    SAME(kernelgsbase);
    SAME(sysenter_cs);
    SAME(sysenter_esp);
    SAME(sysenter_eip);
    SAME(pat);
    SAME(mtrr_deftype);
    SAME(mtrr_fixed);
    SAME(mtrr_var[1].base);
    g_assert_cmphex(env->mtrr_var[1].mask, ==,
                    UINT64_C(0x000fffff80000800)); /* filled, as QEMU's stream has it */
    SAME(mp_state);
#undef SAME
    rig_close(&rig);
}

/* Saved twice without running between: the same bytes, and the wire's digests as QEMU 7.2 has
 * them. */
static void test_power_on(const void *irqchip)
{
    Rig rig;
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    GError *err = NULL;

    rig_open(&rig, "qemu64", irqchip, nothing, sizeof nothing);
    put(&rig);
    get(&rig);
    const X86State *env = &rig.cpu->env;
    state_save_fields(&cpu_state_desc, rig.cpu, first);
    g_assert_cmphex(env->hflags, ==, 0x40);
    g_assert_cmphex(env->hflags2, ==, 0x101);
    g_assert_cmphex(env->segs[SEG_CS].flags, ==, 0x9b00);
    g_assert_cmphex(env->tr.flags, ==, 0x8b00);
    g_assert_cmphex(env->regs[X86_RDX], ==, 0x60fb1);
    g_assert_cmphex(env->mtrr_var[0].mask, ==, UINT64_C(0x000fff0000000000));
    g_assert_cmphex(env->xcr0, ==, 1);
    g_assert_cmpint(env->tsc_khz, >, 0);
    g_assert_cmpint(env->interrupt_injected, ==, -1);
    g_assert_cmphex(env->msr_ia32_misc_enable & 1, ==, 1);

    g_assert_true(state_load_fields(&cpu_state_desc, rig.cpu, 12, first->data, first->len, &err));
    g_assert_no_error(err);
    uint64_t tsc = env->tsc;
    put(&rig);
    get(&rig);
    g_assert_cmpuint(env->tsc, >=, tsc);
    rig.cpu->env.tsc = tsc;
    state_save_fields(&cpu_state_desc, rig.cpu, second);
    g_assert_cmpmem(first->data, first->len, second->data, second->len);
    rig_close(&rig);
}

/*
 * mov ebx, 1234CAFEh; mov dx, 504h; out dx, al; wait: mov dx, 500h; in al, dx; test al, al; jz
 * wait; mov eax, ebx; out dx, eax; mov dx, 504h; out dx, al; hlt
 */
static const uint8_t traveller[] = {0x66, 0xbb, 0xfe, 0xca, 0x34, 0x12, 0xba, 0x04, 0x05, 0xee,
                                    0xba, 0x00, 0x05, 0xec, 0x84, 0xc0, 0x74, 0xf8, 0x66, 0x89,
                                    0xd8, 0x66, 0xef, 0xba, 0x04, 0x05, 0xee, 0xf4};

/* A CPU leaves in the middle of its work and ends it in another VM. */
static void test_travel(const void *irqchip)
{
    Rig from, to;
    g_autoptr(GByteArray) stream = g_byte_array_new();
    GError *err = NULL;

    rig_open(&from, "qemu64", irqchip, traveller, sizeof traveller);
    g_assert_true(vm_start(from.vm, &err));
    while (!from.ended) {
        loop_run_once(from.vm->loop, -1);
    }
    vm_stop(from.vm, RUN_STATE_PAUSED);
    state_save_vm(from.vm, stream);
    rig_close(&from);

    rig_open(&to, "qemu64", irqchip, traveller, sizeof traveller);
    g_assert_true(state_load_vm(to.vm, stream->data, stream->len, &err));
    g_assert_no_error(err);
    to.answer = 1;
    g_assert_true(vm_start(to.vm, &err));
    while (!to.ended) {
        loop_run_once(to.vm->loop, -1);
    }
    g_assert_cmphex(to.written, ==, 0x1234cafe);
    rig_close(&to);
}

/* The dump has what a report needs. */
static void test_dump(void)
{
    Rig rig;
    char *text = NULL;
    size_t size = 0;

    rig_open(&rig, "qemu64", "on", nothing, sizeof nothing);
    put(&rig);
    get(&rig);
    rig.cpu->env.eip = 0;
    FILE *out = open_memstream(&text, &size);
    kvm_regs_dump(rig.cpu, -1, out); /* no paging: nothing is translated */
    fclose(out);
    g_assert_nonnull(strstr(text, "EIP=00000000 EFL=00000002"));
    g_assert_nonnull(strstr(text, "CS =f000 ffff0000 0000ffff 00009b00"));
    g_assert_nonnull(strstr(text, "CR0=60000010"));
    g_assert_nonnull(strstr(text, "<f4>"));
    free(text);
    rig_close(&rig);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        printf("1..0 # SKIP /dev/kvm cannot be used: %s\n", g_strerror(errno));
        return 0;
    }
    close(fd);
    g_test_add_func("/kvm-regs/round-trip", test_round_trip);
    g_test_add_data_func("/kvm-regs/power-on/on", "on", test_power_on);
    g_test_add_data_func("/kvm-regs/power-on/split", "split", test_power_on);
    g_test_add_data_func("/kvm-regs/travel/on", "on", test_travel);
    g_test_add_data_func("/kvm-regs/travel/split", "split", test_travel);
    g_test_add_func("/kvm-regs/dump", test_dump);
    return g_test_run();
}
