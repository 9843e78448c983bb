/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VM with RAM, the i440FX, the PIIX3 and the PIIX4's power management, without accelerator and
 * CPUs, and short names for what a guest would do. The virtual clock is moved by hand.
 */
#ifndef TESTS_UNIT_CHIPSET_H
#define TESTS_UNIT_CHIPSET_H

#include "hw/acpi/piix4_pm.h"
#include "hw/isa/piix3.h"
#include "hw/pci/i440fx.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"

#define RAM_SIZE (128 * MIB)
#define SLOT_BRIDGE PCI_DEVFN(1, 0)
#define SLOT_PM PCI_DEVFN(1, 3)

typedef struct Chipset {
    Vm *vm;
    Region ram, ram_alias, pci_memory;
    I440fxHost *host;
    PciBus *bus;
    PciDevice *piix3, *pm;
    Irq irqs[ISA_NUM_IRQS];
    int levels[ISA_NUM_IRQS];
    unsigned edges[ISA_NUM_IRQS];    /* calls */
} Chipset;

static void chipset_irq(void *opaque, unsigned n, int level)
{
    Chipset *c = opaque;

    c->levels[n] = level;
    c->edges[n]++;
}

static inline void chipset_reset(Chipset *c)
{
    for (unsigned i = 0; i < c->vm->devices->len; i++) {
        device_reset(g_ptr_array_index(c->vm->devices, i));
    }
}

static inline void chipset_setup(Chipset *c)
{
    GError *err = NULL;

    memset(c, 0, sizeof *c);
    c->vm = vm_new(&err);
    g_assert_no_error(err);
    clock_virtual_detach(c->vm);
    g_assert_true(region_init_ram(&c->ram, c->vm, "pc.ram", RAM_SIZE, &err));
    region_init_alias(&c->ram_alias, "ram-below-4g", &c->ram, 0, RAM_SIZE);
    region_add(&c->vm->system_memory, 0, &c->ram_alias);
    region_init_container(&c->pci_memory, "pci", UINT64_MAX);
    I440fxParams params = {
        .ram = &c->ram, .pci_memory = &c->pci_memory, .ram_size = RAM_SIZE, .below_4g = RAM_SIZE,
        .hole64_start = 4 * GIB};
    c->host = i440fx_create(c->vm, &params, &err);
    g_assert_no_error(err);
    c->bus = i440fx_bus(c->host);
    c->piix3 = piix3_create(c->bus, SLOT_BRIDGE, &err);
    g_assert_no_error(err);
    for (unsigned n = 0; n < ISA_NUM_IRQS; n++) {
        irq_init(&c->irqs[n], chipset_irq, c, n);
        piix3_isa_bus(c->piix3)->irqs[n] = &c->irqs[n];
    }
    c->pm = piix4_pm_create(c->bus, SLOT_PM, 0xb100, false, &err);
    g_assert_no_error(err);
    device_connect(&c->pm->dev, 0, &c->irqs[9]);
    g_assert_true(smbus_eeproms_create(piix4_pm_i2c(c->pm), 8, &err));
    chipset_reset(c);
}

static inline void chipset_teardown(Chipset *c)
{
    vm_free(c->vm);
    region_destroy(&c->ram_alias);
    region_destroy(&c->pci_memory);
    region_destroy(&c->ram);
}

/* ---- ports, memory, configuration ------------------------------------------------------------ */

static inline uint32_t in(Chipset *c, unsigned port, unsigned size)
{
    uint64_t value = 0;

    address_space_load(&c->vm->io, port, size, &value);
    return (uint32_t)value;
}

static inline void out(Chipset *c, unsigned port, unsigned size, uint32_t value)
{
    address_space_store(&c->vm->io, port, size, value);
}

static inline uint64_t mem_read(Chipset *c, uint64_t addr, unsigned size)
{
    uint64_t value = 0;

    address_space_load(&c->vm->memory, addr, size, &value);
    return value;
}

static inline void mem_write(Chipset *c, uint64_t addr, unsigned size, uint64_t value)
{
    address_space_store(&c->vm->memory, addr, size, value);
}

static inline void config_select(Chipset *c, unsigned bus, unsigned devfn, unsigned reg)
{
    out(c, 0xcf8, 4, 0x80000000u | bus << 16 | devfn << 8 | (reg & 0xfc));
}

static inline uint32_t config_read(Chipset *c, unsigned devfn, unsigned reg, unsigned size)
{
    config_select(c, 0, devfn, reg);
    return in(c, 0xcfc + (reg & 3), size);
}

static inline void config_write(Chipset *c, unsigned devfn, unsigned reg, unsigned size,
                                uint32_t value)
{
    config_select(c, 0, devfn, reg);
    out(c, 0xcfc + (reg & 3), size, value);
}

/* ---- state ----------------------------------------------------------------------------------- */

/* A thread holds one VM's lock at a time, so the first machine goes before the second is made. */
static inline GByteArray *save_and_teardown(Chipset *c)
{
    GByteArray *state = g_byte_array_new();

    state_save_vm(c->vm, state);
    chipset_teardown(c);
    return state;
}

/* Loads the state and saves it again: the same bytes. */
static inline void load_and_compare(Chipset *c, GByteArray *state)
{
    g_autoptr(GByteArray) again = g_byte_array_new();
    GError *err = NULL;

    state_load_vm(c->vm, state->data, state->len, &err);
    g_assert_no_error(err);
    state_save_vm(c->vm, again);
    g_assert_cmpmem(state->data, state->len, again->data, again->len);
}

#endif
