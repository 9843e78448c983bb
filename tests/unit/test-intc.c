/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The user-space 8259 pair and I/O APIC, driven in-process under the qtest accelerator. */
#include "accel/qtest/qtest.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"

typedef struct Fixture {
    Vm *vm;
    I8259 *pic;
    Irq intr;
    Irq *inputs[ISA_NUM_IRQS];
    Ioapic *ioapic;
} Fixture;

static void intr_handler(void *opaque, unsigned n, int level)
{
    Vm *vm = opaque;

    vm->accel->ops->set_intr(vm->accel, level);
}

static void fixture_set_up(Fixture *f)
{
    GError *err = NULL;
    IsaBus *bus;
    Device *dev;

    f->vm = vm_new(&err);
    g_assert_no_error(err);
    accel_create(f->vm, "qtest", NULL, &err);
    g_assert_no_error(err);
    bus = isa_bus_new(f->vm, NULL, &f->vm->system_memory, &f->vm->system_io);
    irq_init(&f->intr, intr_handler, f->vm, 0);
    f->pic = i8259_create_pair(bus, "isa-i8259", &f->intr, f->inputs, &err);
    g_assert_no_error(err);
    dev = device_new(f->vm, "ioapic");
    device_realize_board(dev, NULL, NULL, &err);
    g_assert_no_error(err);
    f->ioapic = container_of(dev, Ioapic, dev);
    vm_reset(f->vm, SHUTDOWN_CAUSE_NONE);
}

static void fixture_tear_down(Fixture *f) { vm_free(f->vm); }

static void outb(Fixture *f, uint16_t port, uint8_t value)
{
    address_space_store(&f->vm->io, port, 1, value);
}

static uint8_t inb(Fixture *f, uint16_t port)
{
    uint64_t value = 0;

    address_space_load(&f->vm->io, port, 1, &value);
    return value;
}

static int intr(Fixture *f) { return container_of(f->vm->accel, QtestAccel, accel)->intr; }
static int ack(Fixture *f) { return i8259_ack(f->pic); }

/* As a PC's firmware does: vectors from 08h and 70h. */
static void pic_init(Fixture *f, uint8_t master_icw4, uint8_t slave_icw4)
{
    outb(f, 0x20, 0x11);
    outb(f, 0x21, 0x08);
    outb(f, 0x21, 0x04);
    outb(f, 0x21, master_icw4);
    outb(f, 0xa0, 0x11);
    outb(f, 0xa1, 0x70);
    outb(f, 0xa1, 0x02);
    outb(f, 0xa1, slave_icw4);
}

/* ---- 8259 ------------------------------------------------------------------------------- */

static void test_pic_priority(void)
{
    Fixture f;

    fixture_set_up(&f);
    pic_init(&f, 1, 1);
    g_assert_cmpint(intr(&f), ==, 0);
    irq_raise(f.inputs[4]);
    irq_raise(f.inputs[1]);
    g_assert_cmpint(intr(&f), ==, 1);
    g_assert_cmphex(inb(&f, 0x20), ==, 0x12);
    g_assert_cmphex(ack(&f), ==, 0x09);
    g_assert_cmpint(intr(&f), ==, 0);       /* 4 waits for 1 */
    irq_raise(f.inputs[0]);
    g_assert_cmpint(intr(&f), ==, 1);       /* 0 does not */
    g_assert_cmphex(ack(&f), ==, 0x08);
    outb(&f, 0x20, 0x0b);
    g_assert_cmphex(inb(&f, 0x20), ==, 0x03);
    outb(&f, 0x20, 0x20);                   /* non-specific EOI: 0 */
    g_assert_cmphex(inb(&f, 0x20), ==, 0x02);
    outb(&f, 0x20, 0x61);                   /* specific: 1 */
    g_assert_cmpint(intr(&f), ==, 1);
    g_assert_cmphex(ack(&f), ==, 0x0c);
    outb(&f, 0x20, 0x20);
    /* The line still stands: no second edge. */
    irq_raise(f.inputs[4]);
    g_assert_cmpint(intr(&f), ==, 0);
    irq_lower(f.inputs[4]);
    irq_raise(f.inputs[4]);
    g_assert_cmpint(intr(&f), ==, 1);
    outb(&f, 0x21, 0x10);
    g_assert_cmpint(intr(&f), ==, 0);
    g_assert_cmphex(inb(&f, 0x21), ==, 0x10);
    fixture_tear_down(&f);
}

static void test_pic_cascade(void)
{
    Fixture f;

    fixture_set_up(&f);
    pic_init(&f, 1, 1);
    irq_raise(f.inputs[12]);
    irq_raise(f.inputs[8]);
    g_assert_cmphex(ack(&f), ==, 0x70);
    outb(&f, 0xa0, 0x20);
    outb(&f, 0x20, 0x20);
    g_assert_cmpint(intr(&f), ==, 1);
    g_assert_cmphex(ack(&f), ==, 0x74);
    /* 9 goes before 12 in the slave, but the master is still busy with the slave. */
    irq_raise(f.inputs[9]);
    g_assert_cmpint(intr(&f), ==, 0);
    outb(&f, 0x20, 0x20);
    g_assert_cmpint(intr(&f), ==, 1);
    g_assert_cmphex(ack(&f), ==, 0x71);
    outb(&f, 0xa0, 0x20);
    outb(&f, 0xa0, 0x20);
    outb(&f, 0x20, 0x20);
    /* Special fully nested: it does not have to wait. */
    pic_init(&f, 0x11, 1);
    irq_lower(f.inputs[12]);
    irq_lower(f.inputs[9]);
    irq_raise(f.inputs[12]);
    g_assert_cmphex(ack(&f), ==, 0x74);
    irq_raise(f.inputs[9]);
    g_assert_cmphex(ack(&f), ==, 0x71);
    fixture_tear_down(&f);
}

static void test_pic_spurious(void)
{
    Fixture f;

    fixture_set_up(&f);
    pic_init(&f, 1, 1);
    g_assert_cmphex(ack(&f), ==, 0x0f);
    outb(&f, 0x20, 0x0b);
    g_assert_cmphex(inb(&f, 0x20), ==, 0); /* not in service */
    /* The slave's request goes away while the master's is under way. */
    irq_raise(f.inputs[10]);
    outb(&f, 0xa1, 0xff);
    g_assert_cmphex(ack(&f), ==, 0x77);
    g_assert_cmphex(inb(&f, 0x20), ==, 0x04);
    outb(&f, 0xa0, 0x0b);
    g_assert_cmphex(inb(&f, 0xa0), ==, 0);
    fixture_tear_down(&f);
}

static void test_pic_level(void)
{
    Fixture f;

    fixture_set_up(&f);
    outb(&f, 0x4d0, 0xff);
    outb(&f, 0x4d1, 0xff);
    g_assert_cmphex(inb(&f, 0x4d0), ==, 0xf8);
    g_assert_cmphex(inb(&f, 0x4d1), ==, 0xde);
    pic_init(&f, 1, 1);
    irq_raise(f.inputs[11]);
    g_assert_cmphex(ack(&f), ==, 0x73);
    outb(&f, 0xa0, 0x20);
    outb(&f, 0x20, 0x20);
    g_assert_cmpint(intr(&f), ==, 1); /* still asserted */
    irq_lower(f.inputs[11]);
    /* The slave has taken its request back, the master's edge stays: spurious. */
    g_assert_cmphex(ack(&f), ==, 0x77);
    outb(&f, 0x20, 0x20);
    irq_raise(f.inputs[5]);
    g_assert_cmpint(intr(&f), ==, 1);
    irq_lower(f.inputs[5]);
    g_assert_cmpint(intr(&f), ==, 0);
    fixture_tear_down(&f);
}

static void test_pic_rotation(void)
{
    Fixture f;

    fixture_set_up(&f);
    pic_init(&f, 1, 1);
    outb(&f, 0x20, 0xc3); /* 3 is lowest: order 4 5 6 7 0 1 2 3 */
    irq_raise(f.inputs[3]);
    irq_raise(f.inputs[4]);
    irq_raise(f.inputs[0]);
    g_assert_cmphex(ack(&f), ==, 0x0c);
    outb(&f, 0x20, 0xa0); /* EOI, and 4 becomes lowest */
    g_assert_cmphex(ack(&f), ==, 0x08);
    outb(&f, 0x20, 0xe0); /* specific EOI of 0, and 0 becomes lowest: 1 2 3 ... */
    irq_lower(f.inputs[0]);
    irq_raise(f.inputs[0]);
    g_assert_cmphex(ack(&f), ==, 0x0b);
    outb(&f, 0x20, 0x20);
    g_assert_cmphex(ack(&f), ==, 0x08);
    outb(&f, 0x20, 0x20);

    /* Automatic EOI, rotating. */
    pic_init(&f, 3, 1);
    outb(&f, 0x20, 0x80);
    for (unsigned i = 0; i < 2; i++) {
        irq_lower(f.inputs[i]);
        irq_raise(f.inputs[i]);
    }
    g_assert_cmphex(ack(&f), ==, 0x08);
    outb(&f, 0x20, 0x0b);
    g_assert_cmphex(inb(&f, 0x20), ==, 0);
    irq_lower(f.inputs[0]);
    irq_raise(f.inputs[0]);
    g_assert_cmphex(ack(&f), ==, 0x09); /* 0 has become lowest */
    g_assert_cmphex(ack(&f), ==, 0x08);
    fixture_tear_down(&f);
}

static void test_pic_auto_eoi_cascade(void)
{
    Fixture f;

    fixture_set_up(&f);
    pic_init(&f, 3, 3);
    irq_raise(f.inputs[9]);
    irq_raise(f.inputs[10]);
    g_assert_cmphex(ack(&f), ==, 0x71);
    g_assert_cmpint(intr(&f), ==, 1); /* the second was an edge for the master too */
    g_assert_cmphex(ack(&f), ==, 0x72);
    g_assert_cmpint(intr(&f), ==, 0);
    fixture_tear_down(&f);
}

static void test_pic_special_mask(void)
{
    Fixture f;

    fixture_set_up(&f);
    pic_init(&f, 1, 1);
    irq_raise(f.inputs[3]);
    g_assert_cmphex(ack(&f), ==, 0x0b);
    irq_raise(f.inputs[6]);
    g_assert_cmpint(intr(&f), ==, 0);
    outb(&f, 0x21, 0x08);
    outb(&f, 0x20, 0x68); /* special mask mode: 3 is masked and blocks nobody */
    g_assert_cmpint(intr(&f), ==, 1);
    g_assert_cmphex(ack(&f), ==, 0x0e);
    outb(&f, 0x20, 0x20); /* spares the masked 3 */
    outb(&f, 0x20, 0x0b);
    g_assert_cmphex(inb(&f, 0x20), ==, 0x08);
    outb(&f, 0x20, 0x48);
    irq_lower(f.inputs[6]);
    irq_raise(f.inputs[6]);
    g_assert_cmpint(intr(&f), ==, 0);
    fixture_tear_down(&f);
}

static void test_pic_poll(void)
{
    Fixture f;

    fixture_set_up(&f);
    pic_init(&f, 1, 1);
    outb(&f, 0x20, 0x0c);
    g_assert_cmphex(inb(&f, 0x20), ==, 0);
    irq_raise(f.inputs[6]);
    irq_raise(f.inputs[14]);
    outb(&f, 0x20, 0x0c);
    g_assert_cmphex(inb(&f, 0x20), ==, 0x82);
    outb(&f, 0xa0, 0x0c);
    g_assert_cmphex(inb(&f, 0xa0), ==, 0x86);
    g_assert_cmphex(inb(&f, 0x20), ==, 0x40); /* IRR again */
    outb(&f, 0x20, 0x20);
    g_assert_cmphex(ack(&f), ==, 0x0e);
    fixture_tear_down(&f);
}

static void test_pic_single(void)
{
    Fixture f;

    fixture_set_up(&f);
    outb(&f, 0x20, 0x12); /* single, no ICW4 */
    outb(&f, 0x21, 0x47);
    outb(&f, 0x21, 0xfd); /* already OCW1 */
    g_assert_cmphex(inb(&f, 0x21), ==, 0xfd);
    irq_raise(f.inputs[1]);
    g_assert_cmphex(ack(&f), ==, 0x41);
    fixture_tear_down(&f);
}

static void test_pic_state(void)
{
    Fixture f, g;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    GError *err = NULL;
    const StateDesc *desc = type_state(type_find("isa-i8259"));

    fixture_set_up(&f);
    outb(&f, 0x4d0, 0x20);
    pic_init(&f, 1, 1);
    irq_raise(f.inputs[6]);
    g_assert_cmphex(ack(&f), ==, 0x0e);
    irq_raise(f.inputs[5]);
    outb(&f, 0x20, 0xc1);
    outb(&f, 0x20, 0x11); /* in the middle of an initialisation */
    outb(&f, 0x21, 0x30);
    state_save_fields(desc, f.pic, saved);
    g_assert_cmpuint(saved->len, ==, 16);
    vm_unlock(f.vm); /* a thread holds one VM's lock at a time */
    fixture_set_up(&g);
    state_load_fields(desc, g.pic, 1, saved->data, saved->len, &err);
    g_assert_no_error(err);
    state_save_fields(desc, g.pic, again);
    g_assert_cmpmem(saved->data, saved->len, again->data, again->len);
    outb(&g, 0x21, 0x04);
    outb(&g, 0x21, 0x01);
    g_assert_cmpint(intr(&g), ==, 1);
    g_assert_cmphex(ack(&g), ==, 0x35);
    /* Out of range: refused, nothing changed. */
    saved->data[9] = 4;
    g_assert_false(state_load_fields(desc, g.pic, 1, saved->data, saved->len, &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    fixture_tear_down(&g);
    vm_lock(f.vm);
    fixture_tear_down(&f);
}

/* ---- I/O APIC --------------------------------------------------------------------------- */

static void ioapic_write(Fixture *f, uint8_t index, uint32_t value)
{
    address_space_store(&f->vm->memory, IOAPIC_BASE, 4, index);
    address_space_store(&f->vm->memory, IOAPIC_BASE + 0x10, 4, value);
}

static uint32_t ioapic_read(Fixture *f, uint8_t index)
{
    uint64_t value = 0;

    address_space_store(&f->vm->memory, IOAPIC_BASE, 4, index);
    address_space_load(&f->vm->memory, IOAPIC_BASE + 0x10, 4, &value);
    return value;
}

static void ioapic_entry(Fixture *f, unsigned pin, uint64_t entry)
{
    ioapic_write(f, 0x11 + 2 * pin, entry >> 32);
    ioapic_write(f, 0x10 + 2 * pin, entry);
}

static unsigned msis(Fixture *f) { return container_of(f->vm->accel, QtestAccel, accel)->msis; }
static MsiMessage last_msi(Fixture *f)
{
    return container_of(f->vm->accel, QtestAccel, accel)->last_msi;
}
static Irq *gsi(Fixture *f, unsigned n) { return device_irq_in(&f->ioapic->dev, n); }

static void test_ioapic_registers(void)
{
    Fixture f;
    GError *err = NULL;
    Device *dev;

    fixture_set_up(&f);
    g_assert_cmphex(ioapic_read(&f, 1), ==, 0x00170020);
    ioapic_write(&f, 1, 0xffffffff);
    g_assert_cmphex(ioapic_read(&f, 1), ==, 0x00170020);
    ioapic_write(&f, 0, 0xffffffff);
    g_assert_cmphex(ioapic_read(&f, 0), ==, 0x0f000000);
    g_assert_cmphex(ioapic_read(&f, 2), ==, 0x0f000000);
    for (unsigned pin = 0; pin < 24; pin++) {
        g_assert_cmphex(ioapic_read(&f, 0x10 + 2 * pin), ==, 0x10000);
        g_assert_cmphex(ioapic_read(&f, 0x11 + 2 * pin), ==, 0);
    }
    ioapic_entry(&f, 23, UINT64_C(0xff0000000001ffff));
    g_assert_cmphex(ioapic_read(&f, 0x3e), ==, 0x1afff); /* 12 and 14 are read-only */
    g_assert_cmphex(ioapic_read(&f, 0x3f), ==, 0xff000000);
    g_assert_cmphex(ioapic_read(&f, 0x40), ==, 0);       /* no such pin */
    ioapic_write(&f, 0xff, 0xffffffff);
    g_assert_cmphex(ioapic_read(&f, 0xff), ==, 0);
    dev = device_new(f.vm, "ioapic");
    object_set_uint(dev, "version", 0x12);
    g_assert_false(device_realize(dev, NULL, &err));
    g_assert_nonnull(strstr(err->message, "0x12"));
    g_clear_error(&err);
    object_unref(dev);
    fixture_tear_down(&f);
}

static void test_ioapic_edge(void)
{
    Fixture f;

    fixture_set_up(&f);
    irq_raise(gsi(&f, 4)); /* masked: an edge is ignored */
    ioapic_entry(&f, 4, UINT64_C(0x0300000000000931));
    g_assert_cmpuint(msis(&f), ==, 0);
    irq_raise(gsi(&f, 4)); /* no edge */
    g_assert_cmpuint(msis(&f), ==, 0);
    irq_lower(gsi(&f, 4));
    irq_raise(gsi(&f, 4));
    g_assert_cmpuint(msis(&f), ==, 1);
    g_assert_cmphex(last_msi(&f).address, ==, 0xfee03004); /* logical destination 3 */
    g_assert_cmphex(last_msi(&f).data, ==, 0x131);         /* lowest priority, vector 31h */
    irq_pulse(gsi(&f, 4));
    g_assert_cmpuint(msis(&f), ==, 1);
    irq_pulse(gsi(&f, 4));
    g_assert_cmpuint(msis(&f), ==, 2);
    /* The timer's input reaches pin 2. */
    ioapic_entry(&f, 2, 0x30);
    irq_pulse(gsi(&f, 0));
    g_assert_cmpuint(msis(&f), ==, 3);
    g_assert_cmphex(last_msi(&f).data, ==, 0x30);
    fixture_tear_down(&f);
}

static void test_ioapic_level(void)
{
    Fixture f;

    fixture_set_up(&f);
    ioapic_entry(&f, 10, 0x18041);
    irq_raise(gsi(&f, 10));
    g_assert_cmpuint(msis(&f), ==, 0);
    ioapic_write(&f, 0x10 + 20, 0x8041); /* unmasked while it is asserted */
    g_assert_cmpuint(msis(&f), ==, 1);
    g_assert_cmphex(last_msi(&f).data, ==, 0xc041);
    g_assert_cmphex(ioapic_read(&f, 0x10 + 20), ==, 0xc041); /* remote IRR */
    irq_raise(gsi(&f, 10));
    g_assert_cmpuint(msis(&f), ==, 1);
    ioapic_eoi(f.ioapic, 0x40);
    g_assert_cmpuint(msis(&f), ==, 1);
    ioapic_eoi(f.ioapic, 0x41);
    g_assert_cmpuint(msis(&f), ==, 2); /* still asserted */
    irq_lower(gsi(&f, 10));
    address_space_store(&f.vm->memory, IOAPIC_BASE + 0x40, 4, 0x41);
    g_assert_cmpuint(msis(&f), ==, 2);
    g_assert_cmphex(ioapic_read(&f, 0x10 + 20), ==, 0x8041);
    /* Becoming edge-triggered ends remote IRR. */
    irq_raise(gsi(&f, 10));
    g_assert_cmphex(ioapic_read(&f, 0x10 + 20), ==, 0xc041);
    ioapic_write(&f, 0x10 + 20, 0x10041);
    g_assert_cmphex(ioapic_read(&f, 0x10 + 20), ==, 0x10041);
    fixture_tear_down(&f);
}

static void test_ioapic_state(void)
{
    Fixture f, g;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    GError *err = NULL;
    const StateDesc *desc = type_state(type_find("ioapic"));

    fixture_set_up(&f);
    ioapic_write(&f, 0, 0x02000000);
    ioapic_entry(&f, 11, 0x8051);
    ioapic_entry(&f, 12, 0x18052);
    irq_raise(gsi(&f, 11));
    irq_raise(gsi(&f, 12));
    state_save_fields(desc, f.ioapic, saved);
    g_assert_cmpuint(saved->len, ==, 1 + 1 + 8 + 4 + 24 * 8);
    vm_unlock(f.vm);
    fixture_set_up(&g);
    state_load_fields(desc, g.ioapic, 3, saved->data, saved->len, &err);
    g_assert_no_error(err);
    state_save_fields(desc, g.ioapic, again);
    g_assert_cmpmem(saved->data, saved->len, again->data, again->len);
    ioapic_write(&g, 0x10 + 24, 0x8052);
    g_assert_cmpuint(msis(&g), ==, 1);
    g_assert_cmphex(last_msi(&g).data, ==, 0xc052);
    ioapic_eoi(g.ioapic, 0x51);
    g_assert_cmpuint(msis(&g), ==, 2);
    fixture_tear_down(&g);
    vm_lock(f.vm);
    fixture_tear_down(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/i8259/priority", test_pic_priority);
    g_test_add_func("/i8259/cascade", test_pic_cascade);
    g_test_add_func("/i8259/spurious", test_pic_spurious);
    g_test_add_func("/i8259/level", test_pic_level);
    g_test_add_func("/i8259/rotation", test_pic_rotation);
    g_test_add_func("/i8259/auto-eoi-cascade", test_pic_auto_eoi_cascade);
    g_test_add_func("/i8259/special-mask", test_pic_special_mask);
    g_test_add_func("/i8259/poll", test_pic_poll);
    g_test_add_func("/i8259/single", test_pic_single);
    g_test_add_func("/i8259/state", test_pic_state);
    g_test_add_func("/ioapic/registers", test_ioapic_registers);
    g_test_add_func("/ioapic/edge", test_ioapic_edge);
    g_test_add_func("/ioapic/level", test_ioapic_level);
    g_test_add_func("/ioapic/state", test_ioapic_state);
    return g_test_run();
}
