/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole VM in this process, on the host's /dev/kvm: RAM, 64 KiB of ROM below 4 GiB, a device with
 * ports and registers, one CPU in real mode. Skipped where /dev/kvm cannot be used.
 *
 * Each program starts at offset 0 of the ROM, with CS base FFFF0000h, and talks through the port P:
 *   P     write: logged         read: number of values logged so far
 *   P + 1 write: ends the run
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "accel/kvm/kvm_slots.h"
#include "accel/x86/cpu.h"
#include "hw/intc/apic_common.h"
#include "hw/isa/isa.h"
#include "hw/timer/i8254.h"
#include "core/vm.h"

#define PORT 0x500
#define ROM_BASE UINT64_C(0xffff0000)
#define REGISTERS UINT64_C(0xd0000)

typedef struct Rig {
    Vm *vm;
    Region ram, rom, ports, registers;
    uint64_t log[64];          /* value | size << 32 | offset << 40 */
    unsigned logged, ended;
    uint64_t written;          /* last write to registers + 8 */
    unsigned register_writes;
    bool stop_when_ended;
} Rig;

/* ---- the device --------------------------------------------------------------------- */

static uint64_t port_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((Rig *)opaque)->logged;
}

static void port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rig *rig = opaque;

    if (offset == 1) {
        rig->ended++;
        loop_kick(rig->vm->loop);
        if (rig->stop_when_ended) {
            vm_request_exit(rig->vm, (int)value);
        }
    } else if (rig->logged < G_N_ELEMENTS(rig->log)) {
        rig->log[rig->logged++] = value | (uint64_t)size << 32 | offset << 40;
    }
}

static const RegionOps port_ops = {.read = port_read, .write = port_write};

static uint64_t register_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0x11223344 + offset;
}

static void register_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rig *rig = opaque;

    rig->written = value;
    rig->register_writes++;
}

static const RegionOps register_ops = {.read = register_read, .write = register_write};

/* ---- the rig ------------------------------------------------------------------------ */

static const uint8_t jump_to_start[] = {0xe9, 0x0d, 0x00}; /* at FFF0h: jmp near 0 */

static Rig *rig_new(const uint8_t *code, size_t size, const char *irqchip, const char *ring)
{
    const char *const options[] = {"kernel-irqchip", irqchip, "dirty-ring-size", ring, NULL};
    Rig *rig = g_new0(Rig, 1);
    GError *err = NULL;
    Vm *vm = rig->vm = vm_new(&err);

    g_assert_no_error(err);
    g_assert_true(accel_create(vm, "kvm", options, &err));
    g_assert_no_error(err);
    g_assert_true(region_init_ram(&rig->ram, vm, "pc.ram", 0x100000, &err));
    g_assert_true(region_init_rom(&rig->rom, vm, "pc.bios", 0x10000, &err));
    memcpy(region_host(&rig->rom), code, size);
    memcpy(region_host(&rig->rom) + 0xfff0, jump_to_start, sizeof jump_to_start);
    region_add(&vm->system_memory, 0, &rig->ram);
    region_add(&vm->system_memory, ROM_BASE, &rig->rom);
    region_init_io(&rig->ports, &port_ops, rig, "test-ports", 8);
    region_add(&vm->system_io, PORT, &rig->ports);
    region_init_io(&rig->registers, &register_ops, rig, "test-registers", 0x1000);
    region_add_overlap(&vm->system_memory, REGISTERS, &rig->registers, 1);
    g_assert_true(cpu_model_parse(vm, NULL, &err));
    g_assert_nonnull(cpu_new(vm, 0, 0, &err));
    g_assert_no_error(err);
    return rig;
}
#define RIG(code, irqchip) rig_new(code, sizeof(code), irqchip, "0")

static void rig_reset(Rig *rig)
{
    GError *err = NULL;

    g_assert_true(rig->vm->accel->ops->machine_done(rig->vm->accel, &err));
    g_assert_no_error(err);
    vm_reset(rig->vm, SHUTDOWN_CAUSE_NONE);
}

static void rig_start(Rig *rig)
{
    rig_reset(rig);
    g_assert_true(vm_start(rig->vm, NULL));
}

/* As firmware sets it up: the APIC is on, LINT0 takes the 8259's interrupts. */
static void rig_start_apic(Rig *rig)
{
    Cpu *cpu = g_ptr_array_index(rig->vm->cpus, 0);
    ApicCommon *apic = (ApicCommon *)(void *)cpu->apic;

    rig_reset(rig);
    apic->spurious_vec = 0x1ff;
    apic->lvt[APIC_LVT_LINT0] = 0x700;
    if (cpu->lapic) {
        store32_le(cpu->lapic + 0xf0, apic->spurious_vec);
        store32_le(cpu->lapic + 0x350, apic->lvt[APIC_LVT_LINT0]);
    }
    g_assert_true(vm_start(rig->vm, NULL));
}

/* Until the program has ended n times. */
static void rig_wait(Rig *rig, unsigned n)
{
    while (rig->ended < n) {
        loop_run_once(rig->vm->loop, -1);
    }
}

static void rig_free(Rig *rig)
{
    Vm *vm = rig->vm;

    if (run_state_is_running(vm_run_state(vm))) {
        vm_stop(vm, RUN_STATE_SHUTDOWN);
    }
    vm->accel->ops->shutdown(vm->accel);
    region_remove(&rig->ram);
    region_remove(&rig->rom);
    region_remove(&rig->ports);
    region_remove(&rig->registers);
    region_destroy(&rig->ram);
    region_destroy(&rig->rom);
    region_destroy(&rig->ports);
    region_destroy(&rig->registers);
    vm_free(vm);
    g_free(rig);
}

static uint64_t logged(uint64_t value, unsigned size) { return value | (uint64_t)size << 32; }

static bool no_kvm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        g_autofree char *reason = g_strdup_printf("/dev/kvm: %s", g_strerror(errno));
        g_test_skip(reason);
        return true;
    }
    close(fd);
    return false;
}

/* ---- programs ----------------------------------------------------------------------- */

#define MOV_DX_PORT 0xba, 0x00, 0x05             /* mov dx, 500h */
#define END 0xb0, 0x00, 0xba, 0x01, 0x05, 0xee   /* mov al, 0; mov dx, 501h; out dx, al */
#define HALT 0xf4, 0xeb, 0xfd                    /* l: hlt; jmp l */
#define SPIN 0xeb, 0xfe                          /* l: jmp l */

static void test_ports(void)
{
    static const uint8_t code[] = {
        MOV_DX_PORT,
        0xb0, 0x41, 0xee,                               /* mov al, 41h; out dx, al */
        0xb8, 0x34, 0x12, 0xef,                         /* mov ax, 1234h; out dx, ax */
        0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, 0x66, 0xef, /* mov eax, 12345678h; out dx, eax */
        0xec, 0xee,                                     /* in al, dx; out dx, al */
        0xbe, 0x00, 0x10, 0xb9, 0x05, 0x00,             /* mov si, 1000h; mov cx, 5 */
        0xfc, 0xf3, 0x6e,                               /* cld; rep outsb */
        0xbf, 0x00, 0x20, 0xb9, 0x03, 0x00, 0xf3, 0x6d, /* mov di, 2000h; mov cx, 3; rep insw */
        END, HALT,
    };
    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    const uint64_t expected[] = {logged(0x41, 1), logged(0x1234, 2), logged(0x12345678, 4),
                                 logged(3, 1),    logged('h', 1),    logged('e', 1),
                                 logged('l', 1),  logged('l', 1),    logged('o', 1)};

    memcpy(region_host(&rig->ram) + 0x1000, "hello", 5);
    rig_start(rig);
    rig_wait(rig, 1);
    g_assert_cmpuint(rig->logged, ==, G_N_ELEMENTS(expected));
    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++) {
        g_assert_cmphex(rig->log[i], ==, expected[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(load16_le(region_host(&rig->ram) + 0x2000 + 2 * i), ==, 9);
    }
    rig_free(rig); /* stops a CPU that halts in the kernel */
}

static void test_mmio(void)
{
    static const uint8_t code[] = {
        0xb8, 0x00, 0xd0, 0x8e, 0xd8,                   /* mov ax, d000h; mov ds, ax */
        0x66, 0xa1, 0x04, 0x00,                         /* mov eax, [4] */
        MOV_DX_PORT, 0x66, 0xef,                        /* out dx, eax */
        0x66, 0xc7, 0x06, 0x08, 0x00, 0xef, 0xbe, 0xad, 0xde, /* mov dword [8], deadbeefh */
        0xb8, 0x00, 0xf0, 0x8e, 0xd8,                   /* mov ax, f000h; mov ds, ax */
        0xc6, 0x06, 0x00, 0x10, 0x55,                   /* mov byte [1000h], 55h: RAM */
        0xa0, 0x00, 0x10, 0xee,                         /* mov al, [1000h]; out dx, al */
        0x2e, 0xc6, 0x06, 0x00, 0x10, 0x66,             /* mov byte [cs:1000h], 66h: ROM */
        0x2e, 0xa0, 0x00, 0x10, 0xee,                   /* mov al, [cs:1000h]; out dx, al */
        END, SPIN,
    };
    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");

    region_host(&rig->rom)[0x1000] = 0x77;
    rig_start(rig);
    rig_wait(rig, 1);
    g_assert_cmpuint(rig->logged, ==, 3);
    g_assert_cmphex(rig->log[0], ==, logged(0x11223348, 4));
    g_assert_cmphex(rig->written, ==, 0xdeadbeef);
    g_assert_cmphex(rig->log[1], ==, logged(0x55, 1));
    g_assert_cmphex(rig->log[2], ==, logged(0x77, 1)); /* the write to ROM went nowhere */
    g_assert_cmphex(region_host(&rig->rom)[0x1000], ==, 0x77);
    rig_free(rig); /* stops a CPU that never exits by itself */
}

/* A triple fault resets; the second time the program ends. */
static void test_reset(void)
{
    static const uint8_t code[] = {
        MOV_DX_PORT, 0xb0, 0x01, 0xee, 0xec,            /* mov al, 1; out dx, al; in al, dx */
        0x3c, 0x02, 0x74, 0x13,                         /* cmp al, 2; je end */
        0x2e, 0x0f, 0x01, 0x1e, 0x40, 0x00,             /* lidt [cs:40h]: limit 0 */
        0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, /* mov eax, cr0; or al, 1; mov cr0, eax */
        0xb8, 0x08, 0x00, 0x8e, 0xd8,                   /* mov ax, 8; mov ds, ax: #GP, no handler */
        0xb0, 0x2a, 0xba, 0x01, 0x05, 0xee,             /* end: mov al, 42; mov dx, 501h; out */
        HALT,
    };
    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");

    rig->stop_when_ended = true;
    rig_start(rig);
    g_assert_cmpint(vm_main_loop(rig->vm), ==, 42);
    g_assert_cmpuint(rig->logged, ==, 2);
    rig_free(rig);
}

/* Stopped amid a string instruction, registers read, and on: nothing is lost or comes twice. */
static void test_stop_start(void)
{
    static const uint8_t code[] = {
        0xfc, 0xbe, 0x00, 0x10, MOV_DX_PORT,            /* cld; mov si, 1000h */
        0xb9, 0x28, 0x00, 0xf3, 0x6e,                   /* mov cx, 40; rep outsb */
        END, 0xeb, 0xfe,
    };
    GError *err = NULL;

    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    Cpu *cpu = g_ptr_array_index(rig->vm->cpus, 0);
    for (unsigned i = 0; i < 40; i++) {
        region_host(&rig->ram)[0x1000 + i] = (uint8_t)i;
    }
    rig_start(rig);
    for (unsigned turn = 0; turn < 20; turn++) {
        vm_stop(rig->vm, RUN_STATE_PAUSED);
        unsigned before = rig->logged;
        g_assert_true(rig->vm->accel->ops->cpu_get_state(cpu, &err));
        g_assert_true(rig->vm->accel->ops->cpu_put_state(cpu, &err));
        g_assert_no_error(err);
        loop_run_once(rig->vm->loop, 0);
        g_assert_cmpuint(rig->logged, ==, before);
        g_assert_true(vm_start(rig->vm, &err));
    }
    rig_wait(rig, 1);
    vm_stop(rig->vm, RUN_STATE_PAUSED);
    g_assert_cmpuint(rig->logged, ==, 40);
    for (unsigned i = 0; i < 40; i++) {
        g_assert_cmphex(rig->log[i], ==, logged(i, 1));
    }
    rig_free(rig);
}

static void end_when_stopped(void *opaque, bool running, RunState state)
{
    if (state == RUN_STATE_INTERNAL_ERROR) {
        vm_request_exit(opaque, 7);
    }
}

/* Code where no memory is: reported once, the VM is in internal-error and not spinning. */
static void test_internal_error(void)
{
    static const uint8_t code[] = {0xea, 0x00, 0x00, 0x00, 0xd0}; /* jmp d000:0000 */
    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");

    vm_on_run_state(rig->vm, end_when_stopped, rig->vm);
    rig_start(rig);
    g_assert_cmpint(vm_main_loop(rig->vm), ==, 7);
    g_assert_cmpint(vm_run_state(rig->vm), ==, RUN_STATE_INTERNAL_ERROR);
    g_assert_false(vm_start(rig->vm, NULL));
    rig_free(rig);
}

/* The page that the CPU runs in changes its slot again and again: no hole may be seen. */
static void test_slots_while_running(void)
{
    static const uint8_t code[] = {0xea, 0x00, 0x00, 0x00, 0x10}; /* jmp 1000:0000 */
    static const uint8_t in_ram[] = {
        0xff, 0x06, 0x00, 0x80,                         /* l: inc word [8000h] */
        0x83, 0x3e, 0x00, 0x80, 0x00, 0x75, 0xf5,       /* cmp word [8000h], 0; jne l */
        END, 0xeb, 0xed,                                /* each 65536 rounds; jmp l */
    };
    Region window;

    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    memcpy(region_host(&rig->ram) + 0x10000, in_ram, sizeof in_ram);
    region_init_alias(&window, "window", &rig->ram, 0x14000, 0x4000);
    rig_start(rig);
    rig_wait(rig, 1);
    for (unsigned i = 0; i < 50; i++) {
        region_add_overlap(&rig->vm->system_memory, 0x14000, &window, 1);
        region_set_readonly(&window, i & 1);
        region_remove(&window);
    }
    unsigned before = rig->ended;
    rig_wait(rig, before + 2);
    g_assert_true(run_state_is_running(vm_run_state(rig->vm)));
    vm_stop(rig->vm, RUN_STATE_PAUSED);
    rig_free(rig);
    region_destroy(&window);
}

static void test_dirty(const char *ring)
{
    static const uint8_t code[] = {
        0xc6, 0x06, 0x00, 0x30, 0x01,                   /* mov byte [3000h], 1 */
        0xc6, 0x06, 0x00, 0x70, 0x01,                   /* mov byte [7000h], 1 */
        END, 0xf4,
    };
    unsigned long dirty[0x100000 / 4096 / 64] = {0};

    Rig *rig = rig_new(code, sizeof code, "on", ring);
    rig->ram.ram->dirty = dirty;
    region_set_dirty_log(&rig->ram, DIRTY_MIGRATION, true);
    rig_start(rig);
    rig_wait(rig, 1);
    g_assert_cmphex(dirty[0], ==, 0);
    rig->vm->accel->ops->dirty_sync(rig->vm->accel);
    g_assert_cmphex(dirty[0], ==, 1ul << 3 | 1ul << 7);
    dirty[0] = 0;
    rig->vm->accel->ops->dirty_sync(rig->vm->accel);
    g_assert_cmphex(dirty[0], ==, 0);
    rig->ram.ram->dirty = NULL;
    region_set_dirty_log(&rig->ram, DIRTY_MIGRATION, false);
    rig_free(rig);
}

static void test_dirty_log(void)
{
    if (!no_kvm()) {
        test_dirty("0");
    }
}

static void test_dirty_ring(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) <= 0) {
        g_test_skip("no KVM with dirty rings");
    } else {
        test_dirty("1024");
    }
    close(fd);
}

/* A port whose write signals an eventfd in the kernel, and registers whose writes are collected. */
static void test_eventfd_and_coalescing(void)
{
    static const uint8_t code[] = {
        0xba, 0x04, 0x05, 0xb8, 0x07, 0x00, 0xef,       /* mov dx, 504h; mov ax, 7; out dx, ax */
        0xb8, 0x08, 0x00, 0xef,                         /* mov ax, 8; out dx, ax: not this value */
        0xb8, 0x00, 0xd0, 0x8e, 0xd8, 0xb9, 0x0a, 0x00, /* mov ax, d000h; mov ds, ax; mov cx, 10 */
        0x89, 0x0e, 0x08, 0x00, 0xe2, 0xfa,             /* l: mov [8], cx; loop l */
        END, HALT,
    };
    uint64_t count = 0;

    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    RegionEventFd event = {.offset = 4, .size = 2, .match = true, .value = 7, .fd = fd};
    region_add_eventfd(&rig->ports, event);
    region_set_coalesced(&rig->registers, true);
    rig_start(rig);
    rig_wait(rig, 1);
    g_assert_cmpint(read(fd, &count, sizeof count), ==, sizeof count);
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpuint(rig->logged, ==, 1);
    g_assert_cmphex(rig->log[0], ==, logged(8, 2) | UINT64_C(4) << 40);
    g_assert_cmpuint(rig->register_writes, ==, 10); /* all before the port's exit was served */
    g_assert_cmpuint(rig->written, ==, 1);
    region_del_eventfd(&rig->ports, event);
    rig_free(rig);
    close(fd);
}

/* A device that answers in the CPU's registers: VMware's port. */
static void test_answer_in_registers(void)
{
    static const uint8_t code[] = {
        0x66, 0xb8, 0x68, 0x58, 0x4d, 0x56,             /* mov eax, "VMXh" */
        0x66, 0xb9, 0x0a, 0x00, 0x00, 0x00,             /* mov ecx, 10: version */
        0xba, 0x58, 0x56, 0xec,                         /* mov dx, 5658h; in al, dx */
        MOV_DX_PORT, 0x66, 0xef,                        /* out dx, eax */
        0x66, 0x89, 0xd8, 0x66, 0xef,                   /* mov eax, ebx; out dx, eax */
        0x66, 0x89, 0xc8, 0x66, 0xef,                   /* mov eax, ecx; out dx, eax */
        0x66, 0xb8, 0x68, 0x58, 0x4d, 0x56,             /* mov eax, "VMXh" */
        0x66, 0xb9, 0x14, 0x00, 0x00, 0x00,             /* mov ecx, 20: memory size */
        0xba, 0x58, 0x56, 0x66, 0xed,                   /* mov dx, 5658h; in eax, dx */
        MOV_DX_PORT, 0x66, 0xef,                        /* out dx, eax */
        END, HALT,
    };
    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    IsaBus *isa = isa_bus_new(rig->vm, NULL, &rig->vm->system_memory, &rig->vm->system_io);

    rig->vm->ram_size = 0x100000;
    g_assert_true(device_realize(device_new(rig->vm, "vmport"), &isa->bus, NULL));
    rig_start(rig);
    rig_wait(rig, 1);
    g_assert_cmpuint(rig->logged, ==, 4);
    g_assert_cmphex(rig->log[0], ==, logged(6, 4)); /* all of EAX, though AL was read */
    g_assert_cmphex(rig->log[1], ==, logged(0x564d5868, 4));
    g_assert_cmphex(rig->log[2], ==, logged(2, 4));
    g_assert_cmphex(rig->log[3], ==, logged(0x100000, 4));
    rig_free(rig);
}

/* Port 61h is the kernel's when its timer is; what was written there is part of the speaker's state. */
static void test_speaker(void)
{
    static const uint8_t code[] = {
        0xb0, 0x03, 0xe6, 0x61,                         /* mov al, 3; out 61h, al */
        MOV_DX_PORT, END, HALT,
    };
    g_autoptr(GByteArray) state = g_byte_array_new();
    GError *err = NULL;
    bool on;

    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    IsaBus *isa = isa_bus_new(rig->vm, NULL, &rig->vm->system_memory, &rig->vm->system_io);
    Device *pit = device_new(rig->vm, "kvm-pit"), *speaker = device_new(rig->vm, "isa-pcspk");

    g_assert_true(device_realize(pit, &isa->bus, &err));
    g_autofree char *path = object_path(pit);
    object_set_str(speaker, "pit", path);
    g_assert_true(device_realize(speaker, &isa->bus, &err));
    rig_start(rig);
    rig_wait(rig, 1);
    g_assert_true(pit_get_speaker_data(pit, &on));
    g_assert_true(on);
    vm_stop(rig->vm, RUN_STATE_PAUSED);
    const StateDesc *desc = speaker->obj.type->state;
    state_save_fields(desc, speaker, state);
    g_assert_cmphex(state->data[0], ==, 1);
    device_reset(pit);
    device_reset(speaker);
    g_assert_true(pit_get_speaker_data(pit, &on));
    g_assert_false(on);
    g_assert_true(state_load_fields(desc, speaker, 1, state->data, state->len, &err));
    g_assert_true(pit_get_speaker_data(pit, &on));
    g_assert_true(on);
    rig_free(rig);
}

/* ---- interrupts --------------------------------------------------------------------- */

/* The vector's handler ends the run; the main program halts with interrupts on. */
static const uint8_t interrupt_code[] = {
    0xc7, 0x06, 0x80, 0x00, 0x00, 0x10,                 /* mov word [80h], 1000h: vector 20h */
    0xc7, 0x06, 0x82, 0x00, 0x00, 0x00,                 /* mov word [82h], 0 */
    0xbc, 0x00, 0x80,                                   /* mov sp, 8000h */
    MOV_DX_PORT, 0xb0, 0x01, 0xee,                      /* out dx, 1: ready */
    0xb0, 0x00, 0x42, 0xee, 0xfb,                       /* mov al, 0; inc dx; out dx, al; sti */
    HALT,
};
static const uint8_t interrupt_handler[] = {
    MOV_DX_PORT, 0xb0, 0x20, 0xee, 0x42, 0xee, 0xcf,    /* out dx, 20h; inc dx; out dx, al; iret */
};

static int take_vector(void *opaque)
{
    Rig *rig = opaque;

    rig->vm->accel->ops->set_intr(rig->vm->accel, 0);
    return 0x20;
}

static void test_extint(const void *irqchip)
{
    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(interrupt_code, irqchip);
    Accel *accel = rig->vm->accel;

    memcpy(region_host(&rig->ram) + 0x1000, interrupt_handler, sizeof interrupt_handler);
    accel->pic_ack = take_vector;
    accel->pic_opaque = rig;
    rig_start_apic(rig);
    rig_wait(rig, 1);
    for (unsigned i = 0; i < 3; i++) {
        accel->ops->set_intr(accel, 1);
        rig_wait(rig, 2 + i);
        g_assert_cmphex(rig->log[1 + i], ==, logged(0x20, 1));
    }
    g_assert_true(accel->ops->send_msi(accel, (MsiMessage){0xfee00000, 0x20}));
    rig_wait(rig, 5);
    g_assert_cmphex(rig->log[4], ==, logged(0x20, 1));
    rig_free(rig);
}

/* Pins of the in-kernel chips, their state, and what was set before there were chips. */
static void test_irqchip_on(void)
{
    static const uint8_t code[] = {END, HALT}; /* with interrupts off */

    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    Accel *accel = rig->vm->accel;
    struct kvm_pic_state pic;
    struct kvm_ioapic_state ioapic;

    accel->ops->set_gsi(accel, 0, 1); /* before the chips exist */
    rig_start(rig);
    rig_wait(rig, 1);
    g_assert_true(accel->ops->irqchip_get(accel, IRQCHIP_IOAPIC, &ioapic, sizeof ioapic));
    g_assert_cmphex(ioapic.irr, ==, 1u << 2); /* GSI 0 is wired to pin 2 */
    g_assert_true(accel->ops->irqchip_get(accel, IRQCHIP_PIC_MASTER, &pic, sizeof pic));
    g_assert_cmphex(pic.irr & 1, ==, 1);
    g_assert_false(accel->ops->irqchip_get(accel, IRQCHIP_PIC_MASTER, &pic, 1));
    pic.irq_base = 0x20;
    pic.imr = 0xfe;
    g_assert_true(accel->ops->irqchip_set(accel, IRQCHIP_PIC_MASTER, &pic, sizeof pic));
    memset(&pic, 0, sizeof pic);
    g_assert_true(accel->ops->irqchip_get(accel, IRQCHIP_PIC_MASTER, &pic, sizeof pic));
    g_assert_cmphex(pic.irq_base, ==, 0x20);
    rig_free(rig);
}

/* A stopped CPU's page tables say where an address is. */
static void test_translate(void)
{
    static const uint8_t code[] = {END, HALT};
    uint64_t at = 0;

    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(code, "on");
    const AccelOps *ops = rig->vm->accel->ops;
    Cpu *cpu = g_ptr_array_index(rig->vm->cpus, 0);
    uint8_t *ram = region_host(&rig->ram);

    rig_start(rig);
    rig_wait(rig, 1);
    vm_stop(rig->vm, RUN_STATE_PAUSED);
    g_assert_true(ops->cpu_translate(cpu, 0x12345, &at)); /* no paging */
    g_assert_cmphex(at, ==, 0x12345);
    store32_le(ram + 0x2000 + 4 * 1, 0x3003); /* directory: 4 MiB on are in the table at 3000h */
    store32_le(ram + 0x3000 + 4 * 5, 0x7003); /* the sixth page of them is at 7000h */
    g_assert_true(ops->cpu_get_state(cpu, NULL));
    cpu->env.cr[3] = 0x2000;
    cpu->env.cr[0] |= 1u << 31 | 1;
    g_assert_true(ops->cpu_put_state(cpu, NULL));
    g_assert_true(ops->cpu_get_state(cpu, NULL));
    if (cpu->env.cr[0] >> 31) {
        g_assert_true(ops->cpu_translate(cpu, 0x405678, &at));
        g_assert_cmphex(at, ==, 0x7678);
        g_assert_false(ops->cpu_translate(cpu, 0x406678, &at));
        g_assert_false(ops->cpu_translate(cpu, 0x12345, &at));
    } else {
        g_test_skip("this KVM leaves out CR0.PG");
    }
    rig_free(rig);
}

static void test_routes(void)
{
    const MsiMessage one = {.address = 0xfee00000, .data = 0x4031};
    const MsiMessage two = {.address = 0xfee00000, .data = 0x4032};
    GError *err = NULL;

    if (no_kvm()) {
        return;
    }
    Rig *rig = RIG(interrupt_code, "on");
    Accel *accel = rig->vm->accel;
    int fd = eventfd(0, EFD_CLOEXEC);
    rig_start(rig);
    int a = accel->ops->msi_route_add(accel, one, &err);
    int b = accel->ops->msi_route_add(accel, two, &err);
    g_assert_cmpint(a, >=, 24);
    g_assert_cmpint(b, ==, a + 1);
    g_assert_true(accel->ops->irqfd_add(accel, a, fd, -1, &err));
    g_assert_no_error(err);
    g_assert_true(accel->ops->msi_route_update(accel, a, two));
    accel->ops->irqfd_del(accel, a, fd);
    accel->ops->msi_route_del(accel, a);
    g_assert_false(accel->ops->msi_route_update(accel, a, one));
    g_assert_cmpint(accel->ops->msi_route_add(accel, one, &err), ==, a);
    g_assert_false(accel->ops->irqfd_add(accel, b, 0x7fffff, -1, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    rig_free(rig);
    close(fd);
}

static void test_refusals(void)
{
    const char *const bad_mode[] = {"kernel-irqchip", "maybe", NULL};
    const char *const bad_name[] = {"colour", "red", NULL};
    GError *err = NULL;
    Vm *vm = vm_new(NULL);

    g_assert_false(accel_create(vm, "kvm", bad_mode, &err));
    g_assert_nonnull(strstr(err->message, "kernel-irqchip"));
    g_clear_error(&err);
    g_assert_false(accel_create(vm, "kvm", bad_name, &err));
    g_assert_nonnull(strstr(err->message, "colour"));
    g_clear_error(&err);
    g_assert_false(accel_create(vm, "tcg", NULL, &err));
    g_assert_nonnull(strstr(err->message, "-accel kvm"));
    g_clear_error(&err);
    vm_free(vm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/refusals", test_refusals);
    g_test_add_func("/kvm/ports", test_ports);
    g_test_add_func("/kvm/mmio", test_mmio);
    g_test_add_func("/kvm/reset", test_reset);
    g_test_add_func("/kvm/stop-start", test_stop_start);
    g_test_add_func("/kvm/internal-error", test_internal_error);
    g_test_add_func("/kvm/slots-while-running", test_slots_while_running);
    g_test_add_func("/kvm/dirty-log", test_dirty_log);
    g_test_add_func("/kvm/dirty-ring", test_dirty_ring);
    g_test_add_func("/kvm/eventfd-and-coalescing", test_eventfd_and_coalescing);
    g_test_add_func("/kvm/speaker", test_speaker);
    g_test_add_func("/kvm/answer-in-registers", test_answer_in_registers);
    g_test_add_data_func("/kvm/interrupts/split", "split", test_extint);
    g_test_add_data_func("/kvm/interrupts/off", "off", test_extint);
    g_test_add_func("/kvm/irqchip-on", test_irqchip_on);
    g_test_add_func("/kvm/translate", test_translate);
    g_test_add_func("/kvm/routes", test_routes);
    return g_test_run();
}
