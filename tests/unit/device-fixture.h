/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small machine for tests of one device: a VM with an ISA bus, 2 MiB of RAM, a virtual clock that
 * stands still, and interrupt lines that count. No board, no CPU.
 */
#ifndef TESTS_UNIT_DEVICE_FIXTURE_H
#define TESTS_UNIT_DEVICE_FIXTURE_H

#include "core/vm.h"
#include "hw/isa/isa.h"

#define FIXTURE_LINES 64
#define FIXTURE_RAM (2 * MIB)

typedef struct Fixture {
    Vm *vm;
    IsaBus *isa;
    Region ram;
    Irq lines[FIXTURE_LINES];       /* 0 to 15 are the ISA bus's */
    unsigned raised[FIXTURE_LINES]; /* rising edges seen */
    int level[FIXTURE_LINES];
} Fixture;

/* A thread holds one VM's lock at a time: tests with two machines change between them. */
static Vm *fixture_current;

static inline void fixture_enter(Fixture *f)
{
    if (fixture_current == f->vm) {
        return;
    }
    if (fixture_current) {
        vm_unlock(fixture_current);
    }
    vm_lock(f->vm);
    fixture_current = f->vm;
}

static inline void fixture_line(void *opaque, unsigned n, int level)
{
    Fixture *f = opaque;

    f->raised[n] += level && !f->level[n];
    f->level[n] = level;
}

static inline void fixture_open(Fixture *f)
{
    if (fixture_current) {
        vm_unlock(fixture_current);
    }
    *f = (Fixture){.vm = vm_new(NULL)};
    fixture_current = f->vm;
    clock_virtual_detach(f->vm);
    g_assert_true(region_init_ram(&f->ram, f->vm, "ram", FIXTURE_RAM, NULL));
    region_add(&f->vm->system_memory, 0, &f->ram);
    f->isa = isa_bus_new(f->vm, NULL, &f->vm->system_memory, &f->vm->system_io);
    for (unsigned i = 0; i < FIXTURE_LINES; i++) {
        irq_init(&f->lines[i], fixture_line, f, i);
        if (i < ISA_NUM_IRQS) {
            f->isa->irqs[i] = &f->lines[i];
        }
    }
}

static inline void fixture_close(Fixture *f)
{
    fixture_enter(f);
    region_remove(&f->ram);
    region_destroy(&f->ram);
    vm_free(f->vm);
    fixture_current = NULL;
}

/* Realizes and resets. */
static inline Device *fixture_realize(Device *dev, Bus *bus)
{
    GError *err = NULL;

    if (!device_realize(dev, bus, &err)) {
        g_error("realize: %s", err->message);
    }
    device_reset(dev);
    return dev;
}
static inline Device *fixture_isa_device(Fixture *f, const char *type)
{
    return fixture_realize(device_new(f->vm, type), &f->isa->bus);
}

static inline uint64_t in(Fixture *f, uint16_t port, unsigned size)
{
    uint64_t value = 0;

    fixture_enter(f);
    address_space_load(&f->vm->io, port, size, &value);
    return value;
}
static inline uint8_t inb(Fixture *f, uint16_t port)
{
    return in(f, port, 1);
}
static inline void outb(Fixture *f, uint16_t port, uint8_t value)
{
    fixture_enter(f);
    address_space_store(&f->vm->io, port, 1, value);
}
static inline uint64_t readm(Fixture *f, uint64_t addr, unsigned size)
{
    uint64_t value = 0;

    fixture_enter(f);
    address_space_load(&f->vm->memory, addr, size, &value);
    return value;
}
static inline void writem(Fixture *f, uint64_t addr, unsigned size, uint64_t value)
{
    fixture_enter(f);
    address_space_store(&f->vm->memory, addr, size, value);
}
static inline void step(Fixture *f, int64_t ns)
{
    fixture_enter(f);
    clock_virtual_advance_to(f->vm, clock_now(f->vm, CLOCK_VIRTUAL) + ns);
}

/* One device's section, as it goes to the wire. */
static inline GByteArray *fixture_save(Device *dev)
{
    GByteArray *out = g_byte_array_new();

    state_save_fields(type_state(dev->obj.type), dev, out);
    return out;
}
/* Loads a section that must be taken, and wants the same bytes when it is saved again. */
static inline void fixture_load(Device *dev, const GByteArray *bytes)
{
    const StateDesc *desc = type_state(dev->obj.type);
    GError *err = NULL;

    if (!state_load_fields(desc, dev, desc->version, bytes->data, bytes->len, &err)) {
        g_error("load %s: %s", desc->name, err->message);
    }
    GByteArray *again = fixture_save(dev);
    g_assert_cmpmem(bytes->data, bytes->len, again->data, again->len);
    g_byte_array_unref(again);
}
/* Loads a copy with one byte changed and wants it refused. */
static inline void fixture_refuses(Device *dev, const GByteArray *bytes, unsigned at, uint8_t value)
{
    const StateDesc *desc = type_state(dev->obj.type);
    g_autofree uint8_t *copy = g_memdup2(bytes->data, bytes->len);
    GError *err = NULL;

    g_assert_cmpuint(at, <, bytes->len);
    copy[at] = value;
    g_assert_false(state_load_fields(desc, dev, desc->version, copy, bytes->len, &err));
    g_assert_nonnull(err);
    g_error_free(err);
}

#endif
