/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VMware's port and pointer: the test plays the CPU whose registers hold the command. Answers are
 * those of QEMU 7.2, taken from a guest that makes the same accesses.
 */
#include "accel/x86/cpu.h"
#include "hw/input/ps2.h"
#include "hw/input/i8042.h"
#include "hw/input/vmmouse.h"
#include "hw/misc/vmport.h"
#include "tests/unit/device-fixture.h"
#include "ui/input.h"

#define PORT 0x5658
#define MAGIC 0x564d5868
#define READ_ID 0x45414552
#define ABSOLUTE 0x53424152
#define RELATIVE 0x4c455252
#define DISABLE 0xf5
#define VERSION 0x3442554a
#define IRQ_MOUSE 12

typedef struct Rig {
    Fixture f;
    Cpu *cpu;
    Device *i8042, *vmport, *vmmouse;
} Rig;

static void link_to(Device *dev, const char *property, Device *target)
{
    g_autofree char *path = object_path(target);

    object_set_str(dev, property, path);
}

static void rig_open(Rig *rig, const char *property)
{
    GError *err = NULL;

    *rig = (Rig){0};
    fixture_open(&rig->f);
    Vm *vm = rig->f.vm;
    g_assert_true(accel_create(vm, "qtest", NULL, &err));
    g_assert_true(cpu_model_parse(vm, NULL, &err));
    rig->cpu = cpu_new(vm, 0, 0, &err);
    g_assert_no_error(err);
    rig->i8042 = fixture_isa_device(&rig->f, "i8042");
    rig->vmport = device_new(vm, "vmport");
    if (property) {
        g_assert_true(object_set(&rig->vmport->obj, property, "off", &err));
    }
    fixture_realize(rig->vmport, &rig->f.isa->bus);
    rig->vmmouse = device_new(vm, "vmmouse");
    link_to(rig->vmmouse, "i8042", rig->i8042);
    link_to(rig->vmmouse, "vmport", rig->vmport);
    fixture_realize(rig->vmmouse, &rig->f.isa->bus);
    vm->ram_size = FIXTURE_RAM;
}

/* An IN of the CPU's with these registers; what it brings. */
static uint32_t ask(Rig *rig, uint32_t command, uint32_t parameter)
{
    uint64_t *regs = rig->cpu->env.regs;

    regs[X86_RAX] = MAGIC;
    regs[X86_RBX] = parameter;
    regs[X86_RCX] = command;
    regs[X86_RDX] = PORT;
    regs[X86_RSI] = UINT64_C(0x9999999911111111);
    regs[X86_RDI] = 0x22222222;
    cpu_set_current(rig->cpu);
    uint32_t value = in(&rig->f, PORT, 4);
    cpu_set_current(NULL);
    return value;
}

static void expect(const Rig *rig, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    const uint64_t *regs = rig->cpu->env.regs;

    g_assert_cmphex(regs[X86_RAX], ==, eax);
    g_assert_cmphex(regs[X86_RBX], ==, ebx);
    g_assert_cmphex(regs[X86_RCX], ==, ecx);
    g_assert_cmphex(regs[X86_RDX], ==, edx);
}

/* ---- the port ---------------------------------------------------------------------- */

static void test_commands(void)
{
    Rig rig;

    rig_open(&rig, NULL);
    memcpy(rig.f.vm->uuid, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
    g_assert_cmphex(ask(&rig, 0xdead000a, 0xb), ==, 6);
    expect(&rig, 6, MAGIC, 2, PORT);
    g_assert_cmphex(rig.cpu->env.regs[X86_RSI], ==, UINT64_C(0x9999999911111111));
    g_assert_cmphex(ask(&rig, VMPORT_GET_BIOS_UUID, 0xb), ==, 0x33221100);
    expect(&rig, 0x33221100, 0x77665544, 0xbbaa9988, 0xffeeddcc);
    g_assert_cmphex(ask(&rig, VMPORT_GET_MEMORY_SIZE, 0xb), ==, FIXTURE_RAM);
    expect(&rig, FIXTURE_RAM, 0x1177, VMPORT_GET_MEMORY_SIZE, PORT);
    rig.f.vm->ram_size = 5 * GIB;
    g_assert_cmphex(ask(&rig, VMPORT_GET_MEMORY_SIZE, 0xb), ==, GIB);
    ask(&rig, VMPORT_GET_HZ, 0xb); /* nobody knows the rate of this TSC */
    expect(&rig, MAGIC, UINT32_MAX, VMPORT_GET_HZ, PORT);
    rig.cpu->env.tsc_khz = 5000000;
    ask(&rig, VMPORT_GET_HZ, 0xb);
    expect(&rig, 0x2a05f200, 1, 1000000000, PORT);
    rig.cpu->features[FEAT_1_ECX] |= 1u << 21;
    g_assert_cmphex(ask(&rig, VMPORT_GET_VCPU_INFO, 0xb), ==, 8);
    rig.cpu->features[FEAT_1_ECX] &= ~(1ull << 21);
    g_assert_cmphex(ask(&rig, VMPORT_GET_VCPU_INFO, 0xb), ==, 0);
    fixture_close(&rig.f);
}

static void test_unknown(void)
{
    static const uint32_t nobodys[] = {0, 1, 17, 38, 42, 46, 67, 69, 0xffff, 0xffffffff};
    Rig rig;

    rig_open(&rig, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(nobodys); i++) {
        g_assert_cmphex(ask(&rig, nobodys[i], 0xb), ==, UINT32_MAX);
        expect(&rig, UINT32_MAX, 0xb, nobodys[i], PORT);
    }
    g_assert_cmphex(in(&rig.f, PORT, 4), ==, UINT32_MAX); /* no CPU's access */
    cpu_set_current(rig.cpu);
    rig.cpu->env.regs[X86_RAX] = MAGIC + 1;
    rig.cpu->env.regs[X86_RCX] = VMPORT_GET_VERSION;
    g_assert_cmphex(in(&rig.f, PORT, 4), ==, UINT32_MAX);
    rig.cpu->env.regs[X86_RAX] = MAGIC;
    g_assert_cmphex(in(&rig.f, PORT + 1, 4), ==, UINT32_MAX); /* not this port */
    g_assert_cmphex(rig.cpu->env.regs[X86_RBX], ==, 0xb);
    outb(&rig.f, PORT, 0); /* OUT is a command as well */
    g_assert_cmphex(rig.cpu->env.regs[X86_RBX], ==, MAGIC);
    cpu_set_current(NULL);
    fixture_close(&rig.f);
}

/* As the machines before had it. */
static void test_older(void)
{
    Rig rig;

    rig_open(&rig, "x-cmds-v2");
    g_assert_cmphex(ask(&rig, VMPORT_GET_BIOS_UUID, 0xb), ==, UINT32_MAX);
    g_assert_cmphex(ask(&rig, VMPORT_GET_VERSION, 0xb), ==, 6);
    fixture_close(&rig.f);
    rig_open(&rig, "x-report-vmx-type");
    ask(&rig, VMPORT_GET_VERSION, 0xb);
    expect(&rig, 6, MAGIC, VMPORT_GET_VERSION, PORT);
    fixture_close(&rig.f);
    rig_open(&rig, "x-signal-unsupported-cmd");
    g_assert_cmphex(ask(&rig, 99, 0xb), ==, MAGIC);
    fixture_close(&rig.f);
    rig_open(&rig, "x-read-set-eax");
    g_assert_cmphex(ask(&rig, VMPORT_GET_VERSION, 0xb), ==, 6);
    expect(&rig, MAGIC, MAGIC, 2, PORT);
    ask(&rig, VMPORT_MOUSE_STATUS, 0);
    expect(&rig, 0xffff0000, 0, VMPORT_MOUSE_STATUS, PORT);
    fixture_close(&rig.f);
}

/* ---- the pointer ------------------------------------------------------------------- */

static void test_pointer(void)
{
    Rig rig;

    rig_open(&rig, NULL);
    vmmouse_event(rig.vmmouse, 1, 2, 3, 0); /* nobody listens */
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_STATUS, 0), ==, 0xffff0000);
    ask(&rig, VMPORT_MOUSE_COMMAND, READ_ID);
    expect(&rig, MAGIC, READ_ID, VMPORT_MOUSE_COMMAND, PORT);
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_STATUS, 0), ==, 1);
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_DATA, 1), ==, VERSION);
    g_assert_cmpint(vmmouse_mode(rig.vmmouse), ==, VMMOUSE_OFF);
    ask(&rig, VMPORT_MOUSE_COMMAND, ABSOLUTE);
    g_assert_cmpint(vmmouse_mode(rig.vmmouse), ==, VMMOUSE_ABSOLUTE);
    g_assert_true(input_has(rig.f.vm, INPUT_ABSOLUTE));
    /* the PS/2 mouse is on, for its interrupt */
    outb(&rig.f, 0x64, 0x60);
    outb(&rig.f, 0x60, 0x03);
    outb(&rig.f, 0x64, 0xd4);
    outb(&rig.f, 0x60, 0xf4);
    g_assert_cmphex(inb(&rig.f, 0x60), ==, 0xfa);
    unsigned raised = rig.f.raised[IRQ_MOUSE];
    vmmouse_event(rig.vmmouse, 100, 0x7fff, 0, PS2_MOUSE_LEFT);
    g_assert_cmpuint(rig.f.raised[IRQ_MOUSE], ==, raised + 1);
    g_assert_cmphex(inb(&rig.f, 0x60), ==, 0x08);
    g_assert_cmphex(inb(&rig.f, 0x60), ==, 1);
    vmmouse_event(rig.vmmouse, -5, 0x12345, -1, PS2_MOUSE_RIGHT | PS2_MOUSE_MIDDLE);
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_STATUS, 0), ==, 8);
    ask(&rig, VMPORT_MOUSE_DATA, 4);
    expect(&rig, 0x20, 0xc8, 0xfffe, 0);
    ask(&rig, VMPORT_MOUSE_DATA, 4);
    expect(&rig, 0x18, 0, 0xfffe, 0xffffffff);
    ask(&rig, VMPORT_MOUSE_COMMAND, RELATIVE);
    g_assert_cmpint(vmmouse_mode(rig.vmmouse), ==, VMMOUSE_RELATIVE);
    vmmouse_event(rig.vmmouse, -5, 7, 0, 0);
    ask(&rig, VMPORT_MOUSE_DATA, 4);
    expect(&rig, 0, 0xfffffffb, 7, 0);
    ask(&rig, VMPORT_MOUSE_COMMAND, DISABLE);
    g_assert_cmpint(vmmouse_mode(rig.vmmouse), ==, VMMOUSE_OFF);
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_STATUS, 0), ==, 0xffff0000);
    fixture_close(&rig.f);
}

/* More than is there, more than there are registers, nothing: an error until the id is read. */
static void test_pointer_errors(void)
{
    static const uint32_t sizes[] = {0, 5, 7, 0x10001, UINT32_MAX};
    Rig rig;

    rig_open(&rig, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (unsigned n = 0; n < (sizes[i] == 7 ? 8 : 4); n++) {
            ask(&rig, VMPORT_MOUSE_COMMAND, READ_ID);
        }
        ask(&rig, VMPORT_MOUSE_DATA, sizes[i]);
        expect(&rig, MAGIC, sizes[i], VMPORT_MOUSE_DATA, PORT);
        g_assert_cmphex(ask(&rig, VMPORT_MOUSE_STATUS, 0) >> 16, ==, 0xffff);
        while ((ask(&rig, VMPORT_MOUSE_STATUS, 0) & 0xffff)) {
            g_assert_cmphex(ask(&rig, VMPORT_MOUSE_DATA, 1), ==, VERSION);
        }
    }
    ask(&rig, VMPORT_MOUSE_COMMAND, ABSOLUTE);
    for (unsigned i = 0; i < 2000; i++) {
        vmmouse_event(rig.vmmouse, 1, 2, 0, 0);
        ask(&rig, VMPORT_MOUSE_COMMAND, READ_ID);
    }
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_STATUS, 0), ==, 1024);
    ask(&rig, VMPORT_MOUSE_DATA, 6);
    expect(&rig, 0, 2, 4, 0);
    g_assert_cmphex(rig.cpu->env.regs[X86_RSI], ==, VERSION);
    g_assert_cmphex(rig.cpu->env.regs[X86_RDI], ==, 0);
    device_reset(rig.vmmouse);
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_STATUS, 0), ==, 0xffff0000);
    fixture_close(&rig.f);
}

static void test_pointer_state(void)
{
    g_autoptr(GByteArray) state = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    Rig rig;

    rig_open(&rig, NULL);
    const StateDesc *desc = rig.vmmouse->obj.type->state;
    ask(&rig, VMPORT_MOUSE_COMMAND, READ_ID);
    ask(&rig, VMPORT_MOUSE_COMMAND, ABSOLUTE);
    vmmouse_event(rig.vmmouse, 1, 2, 0, 0);
    state_save_fields(desc, rig.vmmouse, state);
    g_assert_cmpuint(state->len, ==, 4 + 4096 + 2 + 2 + 1);
    device_reset(rig.vmmouse);
    g_assert_true(state_load_fields(desc, rig.vmmouse, 0, state->data, state->len, &err));
    g_assert_cmpint(vmmouse_mode(rig.vmmouse), ==, VMMOUSE_ABSOLUTE);
    g_assert_cmphex(ask(&rig, VMPORT_MOUSE_DATA, 1), ==, VERSION);
    ask(&rig, VMPORT_MOUSE_DATA, 4);
    expect(&rig, 0, 2, 4, 0);
    state->data[4 + 4096] = 0xff; /* more words than there is room for */
    g_assert_false(state_load_fields(desc, rig.vmmouse, 0, state->data, state->len, &err));
    g_assert_nonnull(strstr(err->message, "nb_queue"));
    fixture_close(&rig.f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmport/commands", test_commands);
    g_test_add_func("/vmport/unknown", test_unknown);
    g_test_add_func("/vmport/older-machines", test_older);
    g_test_add_func("/vmmouse/pointer", test_pointer);
    g_test_add_func("/vmmouse/errors", test_pointer_errors);
    g_test_add_func("/vmmouse/state", test_pointer_state);
    return g_test_run();
}
