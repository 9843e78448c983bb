/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI core, i440FX, PIIX3 and pci-testdev: what a guest sees of them. */
#include <glib/gstdio.h>

#include "tests/unit/chipset.h"

/* ---- configuration space --------------------------------------------------------------------- */

typedef struct ByteAt {
    uint8_t reg, value;
} ByteAt;

typedef struct Recorded {
    unsigned devfn;
    const char *name;
    ByteAt bytes[32];   /* bytes that are not 0 after power-on; ends with {0, 0} */
    ByteAt writable[24]; /* bits of the header that a guest can change */
} Recorded;

/*
 * Recorded from Debian's qemu-system-x86_64 7.2 (-M pc -m 128M -serial none -parallel none -vga
 * none -nic none -device pci-testdev,addr=5,membar=1M -accel tcg -S -qtest ...) through ports
 * 0xcf8 and 0xcfc: each dword as it is after power-on, then each byte of the header after 0xff and
 * 0x00. Bytes 0x40 to 0xff are all writable there.
 */
#define HEADER_WRITABLE {0x04, 0x07}, {0x05, 0x05}, {0x0c, 0xff}, {0x3c, 0xff}
static const Recorded recorded[] = {
    {PCI_DEVFN(0, 0), "i440FX",
     {{0x00, 0x86}, {0x01, 0x80}, {0x02, 0x37}, {0x03, 0x12}, {0x08, 0x02}, {0x0b, 0x06},
      {0x2c, 0xf4}, {0x2d, 0x1a}, {0x2f, 0x11}, {0x57, 0x10}, {0x72, 0x02}},
     {HEADER_WRITABLE}},
    {SLOT_BRIDGE, "PIIX3",
     {{0x00, 0x86}, {0x01, 0x80}, {0x03, 0x70}, {0x07, 0x02}, {0x0a, 0x01}, {0x0b, 0x06},
      {0x0e, 0x80}, {0x2c, 0xf4}, {0x2d, 0x1a}, {0x2f, 0x11}, {0x4c, 0x4d}, {0x4e, 0x03},
      {0x60, 0x80}, {0x61, 0x80}, {0x62, 0x80}, {0x63, 0x80}, {0x69, 0x02}, {0x70, 0x80},
      {0x76, 0x0c}, {0x77, 0x0c}, {0x78, 0x02}, {0xa0, 0x08}, {0xa8, 0x0f}},
     {HEADER_WRITABLE}},
    {SLOT_PM, "PIIX4_PM",
     {{0x00, 0x86}, {0x01, 0x80}, {0x02, 0x13}, {0x03, 0x71}, {0x06, 0x80}, {0x07, 0x02},
      {0x08, 0x03}, {0x0a, 0x80}, {0x0b, 0x06}, {0x2c, 0xf4}, {0x2d, 0x1a}, {0x2f, 0x11},
      {0x3d, 0x01}, {0x40, 0x01}, {0x5b, 0x02} /* smm=off */, {0x5f, 0x10}, {0x63, 0x60},
      {0x90, 0x01}, {0x91, 0xb1}, {0xd2, 0x09}},
     {HEADER_WRITABLE}},
    {PCI_DEVFN(5, 0), "pci-testdev",
     {{0x00, 0x36}, {0x01, 0x1b}, {0x02, 0x05}, {0x0a, 0xff}, {0x14, 0x01}, {0x18, 0x0c},
      {0x2c, 0xf4}, {0x2d, 0x1a}, {0x2f, 0x11}},
     {HEADER_WRITABLE, {0x11, 0xf0}, {0x12, 0xff}, {0x13, 0xff}, {0x15, 0xff}, {0x16, 0xff},
      {0x17, 0xff}, {0x1a, 0xf0}, {0x1b, 0xff}, {0x1c, 0xff}, {0x1d, 0xff}, {0x1e, 0xff},
      {0x1f, 0xff}}},
};

static uint8_t find_byte(const ByteAt *list, unsigned n, unsigned reg)
{
    for (unsigned i = 0; i < n && (list[i].reg || list[i].value); i++) {
        if (list[i].reg == reg) {
            return list[i].value;
        }
    }
    return 0;
}

static PciDevice *add_testdev(Chipset *c, const char *type, int devfn, const char *property,
                              const char *value)
{
    GError *err = NULL;
    Device *dev = device_new(c->vm, type);
    PciDevice *pci = container_of(dev, PciDevice, dev);

    pci->devfn = devfn;
    if (property) {
        object_set_str(dev, property, value);
    }
    g_assert_true(device_realize(dev, &c->bus->bus, &err));
    g_assert_no_error(err);
    device_reset(dev);
    return pci;
}

static void test_config_space(void)
{
    Chipset c;

    chipset_setup(&c);
    add_testdev(&c, "pci-testdev", PCI_DEVFN(5, 0), "membar", "1M");
    for (unsigned i = 0; i < G_N_ELEMENTS(recorded); i++) {
        const Recorded *r = &recorded[i];

        for (unsigned reg = 0; reg < 256; reg++) {
            uint8_t want = find_byte(r->bytes, G_N_ELEMENTS(r->bytes), reg);
            uint8_t mask = find_byte(r->writable, G_N_ELEMENTS(r->writable), reg);
            uint8_t got = config_read(&c, r->devfn, reg, 1), high, low;

            mask = reg < 0x40 ? mask : 0xff;
            config_write(&c, r->devfn, reg, 1, 0xff);
            high = config_read(&c, r->devfn, reg, 1);
            config_write(&c, r->devfn, reg, 1, 0);
            low = config_read(&c, r->devfn, reg, 1);
            config_write(&c, r->devfn, reg, 1, want);
            if (got != want || (high ^ low) != mask) {
                g_error("%s register 0x%02x: 0x%02x, writable 0x%02x; QEMU has 0x%02x and 0x%02x",
                        r->name, reg, got, high ^ low, want, mask);
            }
        }
    }
    chipset_teardown(&c);
}

static void test_mechanism(void)
{
    Chipset c;

    chipset_setup(&c);
    out(&c, 0xcf8, 4, 0x80000804);
    g_assert_cmphex(in(&c, 0xcf8, 4), ==, 0x80000804);
    out(&c, 0xcf8, 1, 0x12); /* not the register */
    out(&c, 0xcfa, 2, 0x1234);
    g_assert_cmphex(in(&c, 0xcf8, 4), ==, 0x80000804);
    out(&c, 0xcf8, 4, 0x80000800);
    g_assert_cmphex(in(&c, 0xcfc, 4), ==, 0x70008086);
    g_assert_cmphex(in(&c, 0xcfe, 2), ==, 0x7000);
    g_assert_cmphex(in(&c, 0xcfd, 1), ==, 0x80);
    g_assert_cmphex(in(&c, 0xcfd, 2), ==, 0x0080);
    out(&c, 0xcf8, 4, 0x00000800); /* not enabled */
    g_assert_cmphex(in(&c, 0xcfc, 4), ==, 0xffffffff);
    out(&c, 0xcf8, 4, 0x80010000); /* no such bus */
    g_assert_cmphex(in(&c, 0xcfc, 4), ==, 0xffffffff);
    out(&c, 0xcfc, 4, 0);
    config_select(&c, 0, PCI_DEVFN(9, 0), 0);
    g_assert_cmphex(in(&c, 0xcfc, 2), ==, 0xffff);
    chipset_teardown(&c);
}

/* ---- BARs ------------------------------------------------------------------------------------ */

static void test_bars(void)
{
    Chipset c;
    unsigned devfn = PCI_DEVFN(5, 0);
    PciDevice *pci;

    chipset_setup(&c);
    pci = add_testdev(&c, "pci-testdev", (int)devfn, "membar", "1M");
    /* Sizes, as every firmware finds them. */
    config_write(&c, devfn, 0x10, 4, 0xffffffff);
    config_write(&c, devfn, 0x14, 4, 0xffffffff);
    config_write(&c, devfn, 0x18, 4, 0xffffffff);
    config_write(&c, devfn, 0x1c, 4, 0xffffffff);
    g_assert_cmphex(config_read(&c, devfn, 0x10, 4), ==, 0xfffff000);
    g_assert_cmphex(config_read(&c, devfn, 0x14, 4), ==, 0xffffff01);
    g_assert_cmphex(config_read(&c, devfn, 0x18, 4), ==, 0xfff0000c);
    g_assert_cmphex(config_read(&c, devfn, 0x1c, 4), ==, 0xffffffff);
    config_write(&c, devfn, 0x04, 2, 3);
    for (unsigned n = 0; n < 3; n++) {
        g_assert_cmphex(pci->bars[n].addr, ==, PCI_BAR_UNMAPPED); /* all ones is nowhere */
    }
    config_write(&c, devfn, 0x10, 4, 0xfebf0000);
    config_write(&c, devfn, 0x14, 4, 0xc000);
    config_write(&c, devfn, 0x18, 4, 0);
    config_write(&c, devfn, 0x1c, 4, 0x10);
    g_assert_cmphex(pci->bars[0].addr, ==, 0xfebf0000);
    g_assert_cmphex(pci->bars[1].addr, ==, 0xc000);
    g_assert_cmphex(pci->bars[2].addr, ==, 0x1000000000);
    mem_write(&c, 0xfebf0000, 1, 0);
    g_assert_cmphex(mem_read(&c, 0xfebf0004, 4), ==, 0x800);
    config_write(&c, devfn, 0x10, 4, 0xfebe0000); /* it moves */
    g_assert_cmphex(mem_read(&c, 0xfebf0004, 4), ==, 0);
    g_assert_cmphex(mem_read(&c, 0xfebe0004, 4), ==, 0x800);
    config_write(&c, devfn, 0x04, 2, 1); /* memory off */
    g_assert_cmphex(mem_read(&c, 0xfebe0004, 4), ==, 0);
    out(&c, 0xc000, 1, 0);
    g_assert_cmphex(in(&c, 0xc004, 4), ==, 0x83);
    config_write(&c, devfn, 0x14, 4, 0); /* address 0 is nowhere */
    g_assert_cmphex(pci->bars[1].addr, ==, PCI_BAR_UNMAPPED);
    config_write(&c, devfn, 0x14, 4, 0xffff0000);
    g_assert_cmphex(pci->bars[1].addr, ==, PCI_BAR_UNMAPPED);
    chipset_teardown(&c);
}

static void test_testdev(void)
{
    static const char *const names[] = {"mmio-no-eventfd", "mmio-wildcard-eventfd",
                                        "mmio-datamatch-eventfd"};
    Chipset c;
    unsigned devfn = PCI_DEVFN(5, 0);
    char name[32];

    chipset_setup(&c);
    add_testdev(&c, "pci-testdev", (int)devfn, NULL, NULL);
    config_write(&c, devfn, 0x10, 4, 0xfebf0000);
    config_write(&c, devfn, 0x14, 4, 0xc000);
    config_write(&c, devfn, 0x04, 2, 3);
    for (unsigned t = 0; t < 3; t++) {
        mem_write(&c, 0xfebf0000, 1, t);
        address_space_read(&c.vm->memory, 0xfebf0010, name, sizeof name);
        g_assert_cmpstr(name, ==, names[t]);
        g_assert_cmphex(mem_read(&c, 0xfebf0004, 4), ==, 0x800 + t);
    }
    mem_write(&c, 0xfebf0000, 1, 0);
    mem_write(&c, 0xfebf0800, 1, 0xfa);
    mem_write(&c, 0xfebf0800, 1, 0xfa);
    mem_write(&c, 0xfebf0800, 1, 0xfb); /* another value */
    mem_write(&c, 0xfebf0800, 2, 0xfa); /* its low byte counts */
    g_assert_cmphex(mem_read(&c, 0xfebf000c, 4), ==, 3);
    mem_write(&c, 0xfebf0000, 1, 3); /* no such test */
    g_assert_cmphex(mem_read(&c, 0xfebf0000, 4), ==, 0);
    chipset_teardown(&c);
}

/* ---- i440FX ---------------------------------------------------------------------------------- */

static void test_pam(void)
{
    /* Register, half and address of each segment (82441FX datasheet, table 3). */
    static const struct {
        unsigned reg, shift;
        uint32_t addr;
    } segments[] = {
        {0x59, 4, 0xf0000}, {0x5a, 0, 0xc0000}, {0x5a, 4, 0xc4000}, {0x5b, 0, 0xc8000},
        {0x5b, 4, 0xcc000}, {0x5c, 0, 0xd0000}, {0x5c, 4, 0xd4000}, {0x5d, 0, 0xd8000},
        {0x5d, 4, 0xdc000}, {0x5e, 0, 0xe0000}, {0x5e, 4, 0xe4000}, {0x5f, 0, 0xe8000},
        {0x5f, 4, 0xec000},
    };
    Chipset c;
    Region rom;
    GError *err = NULL;

    chipset_setup(&c);
    g_assert_true(region_init_rom(&rom, c.vm, "rom", 0x40000, &err));
    memset(region_host(&rom), 0x55, 0x40000);
    region_add_overlap(&c.pci_memory, 0xc0000, &rom, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(segments); i++) {
        uint32_t addr = segments[i].addr, last = addr + (i ? 0x3fff : 0xffff);
        unsigned shift = segments[i].shift, reg = segments[i].reg;

        g_assert_cmphex(mem_read(&c, addr, 1), ==, 0x55);
        mem_write(&c, addr, 1, 0x11); /* ROM */
        g_assert_cmphex(mem_read(&c, addr, 1), ==, 0x55);
        config_write(&c, 0, reg, 1, 3 << shift);
        mem_write(&c, addr, 1, 0x22);
        mem_write(&c, last, 1, 0x33);
        g_assert_cmphex(mem_read(&c, addr, 1), ==, 0x22);
        g_assert_cmphex(region_host(&c.ram)[last], ==, 0x33);
        config_write(&c, 0, reg, 1, 1 << shift); /* read-only */
        mem_write(&c, addr, 1, 0x44);
        g_assert_cmphex(mem_read(&c, addr, 1), ==, 0x22);
        config_write(&c, 0, reg, 1, 2 << shift); /* write-only: as QEMU 7.2, reads come from RAM too */
        g_assert_cmphex(mem_read(&c, last, 1), ==, 0x33);
        config_write(&c, 0, reg, 1, 3 << shift);
        g_assert_cmphex(mem_read(&c, last, 1), ==, 0x33);
        chipset_reset(&c);
        g_assert_cmphex(mem_read(&c, last, 1), ==, 0x55);
    }
    region_destroy(&rom);
    chipset_teardown(&c);
}

static void test_smram(void)
{
    Chipset c;
    AddressSpace smm;

    Region vga;
    GError *err = NULL;

    chipset_setup(&c);
    address_space_init(&smm, c.vm, i440fx_smram(c.host), "smm");
    region_host(&c.ram)[0xa0000] = 0x77;
    /* Without anything on PCI there, RAM shines through, as in QEMU 7.2 without a VGA. */
    g_assert_cmphex(mem_read(&c, 0xa0000, 1), ==, 0x77);
    g_assert_true(region_init_ram(&vga, c.vm, "vga", 0x20000, &err));
    region_add_overlap(&c.pci_memory, 0xa0000, &vga, 1);
    g_assert_cmphex(mem_read(&c, 0xa0000, 1), ==, 0);
    config_write(&c, 0, 0x72, 1, 0x4a); /* D_OPEN, G_SMRAME */
    g_assert_cmphex(mem_read(&c, 0xa0000, 1), ==, 0x77);
    config_write(&c, 0, 0x72, 1, 0x0a);
    g_assert_cmphex(mem_read(&c, 0xa0000, 1), ==, 0);
    uint64_t value = 0;
    g_assert_true(address_space_load(&smm, 0xa0000, 1, &value));
    g_assert_cmphex(value, ==, 0x77);
    config_write(&c, 0, 0x72, 1, 0x02);
    g_assert_false(address_space_load(&smm, 0xa0000, 1, &value));
    address_space_destroy(&smm);
    region_destroy(&vga);
    chipset_teardown(&c);
}

static void test_holes(void)
{
    Chipset c;

    chipset_setup(&c);
    I440fxHoles holes = i440fx_holes(c.host);
    g_assert_cmphex(holes.low_start, ==, RAM_SIZE);
    g_assert_cmphex(holes.low_end, ==, 0xfec00000);
    g_assert_cmphex(holes.high_start, ==, 4 * GIB);
    g_assert_cmphex(holes.high_end, ==, 6 * GIB);
    chipset_teardown(&c);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static PciDevice *add_pin_device(Chipset *c, int slot, unsigned pin)
{
    PciDevice *pci = add_testdev(c, "pci-testdev", PCI_DEVFN(slot, 0), NULL, NULL);

    pci->config[PCI_INTERRUPT_PIN] = pin;
    return pci;
}

static void test_pirq(void)
{
    Chipset c;

    chipset_setup(&c);
    PciDevice *a = add_pin_device(&c, 3, 1); /* line (0 + 3 - 1) & 3 = C */
    PciDevice *b = add_pin_device(&c, 7, 1); /* the same line */
    PciDevice *d = add_pin_device(&c, 4, 1); /* D */
    pci_set_irq(a, 1); /* not routed yet */
    g_assert_cmpuint(c.edges[10] + c.edges[11], ==, 0);
    g_assert_cmphex(config_read(&c, PCI_DEVFN(3, 0), 0x06, 1) & 8, ==, 8);
    config_write(&c, SLOT_BRIDGE, 0x62, 1, 10);
    g_assert_cmpint(c.levels[10], ==, 1);
    pci_set_irq(b, 1);
    pci_set_irq(b, 1);
    pci_set_irq(a, 0);
    g_assert_cmpint(c.levels[10], ==, 1);
    g_assert_cmpuint(c.edges[10], ==, 1); /* a level that stays is not driven again */
    config_write(&c, SLOT_BRIDGE, 0x62, 1, 11); /* the line moves */
    g_assert_cmpint(c.levels[10], ==, 0);
    g_assert_cmpint(c.levels[11], ==, 1);
    config_write(&c, SLOT_BRIDGE, 0x63, 1, 11); /* and is shared */
    pci_set_irq(d, 1);
    pci_set_irq(b, 0);
    g_assert_cmpint(c.levels[11], ==, 1);
    config_write(&c, PCI_DEVFN(4, 0), 0x04, 2, PCI_COMMAND_INTX_DISABLE);
    g_assert_cmpint(c.levels[11], ==, 0);
    config_write(&c, PCI_DEVFN(4, 0), 0x04, 2, 0);
    g_assert_cmpint(c.levels[11], ==, 1);
    config_write(&c, SLOT_BRIDGE, 0x63, 1, 0x8b); /* disconnected */
    g_assert_cmpint(c.levels[11], ==, 0);
    config_write(&c, SLOT_BRIDGE, 0x63, 1, 11);
    chipset_reset(&c);
    g_assert_cmpint(c.levels[11], ==, 0);
    g_assert_cmphex(config_read(&c, PCI_DEVFN(4, 0), 0x06, 1) & 8, ==, 0);
    chipset_teardown(&c);
}

static unsigned resets;
static void count_reset(void *opaque) { resets++; }
static void end_loop(void *opaque) { vm_request_shutdown(opaque, SHUTDOWN_CAUSE_HOST_QMP_QUIT); }

static void test_reset_control(void)
{
    Chipset c;

    chipset_setup(&c);
    vm_on_reset(c.vm, count_reset, NULL);
    resets = 0;
    out(&c, 0xcf9, 1, 0x02);
    g_assert_cmphex(in(&c, 0xcf9, 1), ==, 0x02);
    out(&c, 0xcf8, 4, 0x80000000); /* a double word is the bridge's */
    g_assert_cmphex(in(&c, 0xcf9, 1), ==, 0x02);
    out(&c, 0xcf9, 1, 0x06);
    loop_post(c.vm->loop, end_loop, c.vm);
    g_assert_cmpint(vm_main_loop(c.vm), ==, 0);
    g_assert_cmpuint(resets, ==, 1);
    g_assert_cmphex(in(&c, 0xcf9, 1), ==, 0);
    chipset_teardown(&c);
}

/* ---- MSI ------------------------------------------------------------------------------------- */

static MsiMessage sent[8];
static unsigned n_sent;

static bool fake_send_msi(Accel *accel, MsiMessage msi)
{
    sent[n_sent++ % G_N_ELEMENTS(sent)] = msi;
    return true;
}

static const AccelOps fake_ops = {.name = "fake", .send_msi = fake_send_msi};

static void test_msi(void)
{
    Chipset c;
    Accel accel = {.ops = &fake_ops};
    unsigned devfn = PCI_DEVFN(5, 0);

    chipset_setup(&c);
    c.vm->accel = &accel;
    n_sent = 0;
    PciDevice *pci = add_pin_device(&c, 5, 1);
    g_assert_true(msi_init(pci, 0, 4, true, true, NULL));
    unsigned cap = config_read(&c, devfn, PCI_CAPABILITY_LIST, 1);
    g_assert_cmphex(cap, ==, 0x40);
    g_assert_cmphex(config_read(&c, devfn, cap, 2), ==, PCI_CAP_ID_MSI);
    g_assert_cmphex(config_read(&c, devfn, cap + 2, 2), ==, 0x0184);
    config_write(&c, devfn, 0x04, 2, PCI_COMMAND_MASTER);
    config_write(&c, devfn, cap + 4, 4, 0xfee00003);
    config_write(&c, devfn, cap + 8, 4, 0);
    config_write(&c, devfn, cap + 12, 2, 0x4041);
    msi_notify(pci, 0);
    g_assert_cmpuint(n_sent, ==, 0); /* not enabled */
    config_write(&c, devfn, cap + 2, 2, 0x0021); /* enabled, 4 vectors */
    msi_notify(pci, 2);
    g_assert_cmpuint(n_sent, ==, 1);
    g_assert_cmphex(sent[0].address, ==, 0xfee00000);
    g_assert_cmphex(sent[0].data, ==, 0x4042);
    config_write(&c, devfn, cap + 16, 4, 0xffffffff); /* masked */
    g_assert_cmphex(config_read(&c, devfn, cap + 16, 4), ==, 0xf);
    msi_notify(pci, 1);
    g_assert_cmpuint(n_sent, ==, 1);
    g_assert_cmphex(config_read(&c, devfn, cap + 20, 4), ==, 2);
    config_write(&c, devfn, cap + 16, 4, 0);
    g_assert_cmpuint(n_sent, ==, 2);
    g_assert_cmphex(sent[1].data, ==, 0x4041);
    g_assert_cmphex(config_read(&c, devfn, cap + 20, 4), ==, 0);
    config_write(&c, devfn, 0x04, 2, 0); /* no bus master, no message */
    msi_notify(pci, 0);
    g_assert_cmpuint(n_sent, ==, 2);
    c.vm->accel = NULL;
    chipset_teardown(&c);
}

static int in_use[8];
static void use_vector(PciDevice *pci, unsigned vector, MsiMessage msi) { in_use[vector] = 1; }
static void release_vector(PciDevice *pci, unsigned vector) { in_use[vector] = 0; }
static const MsixNotifiers notifiers = {.use = use_vector, .release = release_vector};

static void test_msix(void)
{
    Chipset c;
    Accel accel = {.ops = &fake_ops};
    unsigned devfn = PCI_DEVFN(5, 0);

    chipset_setup(&c);
    c.vm->accel = &accel;
    n_sent = 0;
    PciDevice *pci = add_testdev(&c, "pci-testdev", (int)devfn, NULL, NULL);
    g_assert_true(msix_init_exclusive_bar(pci, 8, 4, NULL));
    unsigned cap = config_read(&c, devfn, PCI_CAPABILITY_LIST, 1);
    g_assert_cmphex(config_read(&c, devfn, cap + 2, 2), ==, 7);
    g_assert_cmphex(config_read(&c, devfn, cap + 4, 4), ==, 4);
    g_assert_cmphex(config_read(&c, devfn, cap + 8, 4), ==, 0x804);
    config_write(&c, devfn, 0x20, 4, 0xfeb00000);
    config_write(&c, devfn, 0x04, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
    g_assert_cmphex(mem_read(&c, 0xfeb0000c, 4), ==, 1); /* masked from the start */
    mem_write(&c, 0xfeb00010, 8, 0xfee01000);
    mem_write(&c, 0xfeb00018, 4, 0x41);
    g_assert_true(msix_vector_use(pci, 1));
    g_assert_false(msix_vector_use(pci, 8));
    msix_set_notifiers(pci, &notifiers);
    config_write(&c, devfn, cap + 2, 2, 0x8000);
    msix_notify(pci, 0); /* nobody uses it */
    msix_notify(pci, 1); /* masked: pending */
    g_assert_cmpuint(n_sent, ==, 0);
    g_assert_cmphex(mem_read(&c, 0xfeb00800, 4), ==, 2);
    mem_write(&c, 0xfeb0001c, 4, 0);
    g_assert_cmpuint(n_sent, ==, 1);
    g_assert_cmphex(sent[0].address, ==, 0xfee01000);
    g_assert_cmphex(sent[0].data, ==, 0x41);
    g_assert_cmphex(mem_read(&c, 0xfeb00800, 4), ==, 0);
    g_assert_cmpint(in_use[1], ==, 1);
    config_write(&c, devfn, cap + 2, 2, 0xc000); /* function masked */
    g_assert_cmpint(in_use[1], ==, 0);
    msix_notify(pci, 1);
    g_assert_cmpuint(n_sent, ==, 1);
    config_write(&c, devfn, cap + 2, 2, 0x8000);
    g_assert_cmpuint(n_sent, ==, 2);
    g_assert_cmpuint(msix_wire_size(pci), ==, 8 * 16 + 1);
    device_reset(&pci->dev);
    g_assert_cmpint(in_use[1], ==, 0);
    c.vm->accel = NULL;
    chipset_teardown(&c);
}

/* ---- plugging -------------------------------------------------------------------------------- */

static char *plug_error(Chipset *c, const char *addr, bool multifunction)
{
    GError *err = NULL;
    Device *dev = device_new(c->vm, "pci-testdev");
    char *text = NULL;

    if (!object_set(&dev->obj, "addr", addr, &err)) {
        text = g_strdup(err->message);
    } else {
        object_set_bool(dev, "multifunction", multifunction);
        if (device_realize(dev, &c->bus->bus, &err)) {
            return NULL;
        }
        text = g_strdup(err->message);
    }
    g_error_free(err);
    object_unref(dev);
    return text;
}

static void check_plug(Chipset *c, const char *addr, bool multifunction, const char *want)
{
    g_autofree char *text = plug_error(c, addr, multifunction);

    if (want) {
        g_assert_nonnull(text);
        g_assert_nonnull(strstr(text, want));
    } else {
        g_assert_null(text);
    }
}

static void test_plug(void)
{
    Chipset c;

    chipset_setup(&c);
    check_plug(&c, "20", false, "'20' is no PCI address");
    check_plug(&c, "3.8", false, "'3.8' is no PCI address");
    check_plug(&c, "3.", false, "'3.' is no PCI address");
    check_plug(&c, "", false, "'' is no PCI address");
    check_plug(&c, "1.0", false,
               "slot 1 function 0 not available for pci-testdev, in use by PIIX3");
    check_plug(&c, "1f.7", false, NULL);
    check_plug(&c, "1f.0", false, "1f.0 indicates single function, but 1f.7 is already populated");
    check_plug(&c, "1f", true, NULL);
    check_plug(&c, "a", false, NULL);
    check_plug(&c, "a.1", false, "single function device can't be populated in function a.1");
    for (unsigned slot = 2; slot < 31; slot++) {
        if (slot != 0xa) {
            check_plug(&c, "-1", false, NULL);
            g_assert_nonnull(c.bus->devices[PCI_DEVFN(slot, 0)]);
        }
    }
    check_plug(&c, "-1", false, "no slot/function available");
    chipset_teardown(&c);
}

static void test_rom(void)
{
    Chipset c;
    char image[3000];
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("rom-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    memset(image, 0x5a, sizeof image);
    g_assert_true(g_file_set_contents(path, image, sizeof image, NULL));
    chipset_setup(&c);
    add_testdev(&c, "pci-testdev", PCI_DEVFN(5, 0), "romfile", path);
    config_write(&c, PCI_DEVFN(5, 0), 0x30, 4, 0xffffffff);
    g_assert_cmphex(config_read(&c, PCI_DEVFN(5, 0), 0x30, 4), ==, 0xfffff001);
    config_write(&c, PCI_DEVFN(5, 0), 0x30, 4, 0xfeb00001);
    g_assert_cmphex(mem_read(&c, 0xfeb00000, 1), ==, 0);
    config_write(&c, PCI_DEVFN(5, 0), 0x04, 2, 2);
    g_assert_cmphex(mem_read(&c, 0xfeb00000, 1), ==, 0x5a);
    g_assert_cmphex(mem_read(&c, 0xfeb00fff, 1), ==, 0);
    chipset_teardown(&c);
    g_assert_cmpint(g_unlink(path), ==, 0);
    g_close(fd, NULL);
}

/* ---- state ----------------------------------------------------------------------------------- */

static void test_state(void)
{
    Chipset c;

    chipset_setup(&c);
    PciDevice *dev = add_pin_device(&c, 3, 1);
    config_write(&c, SLOT_BRIDGE, 0x62, 1, 10);
    config_write(&c, PCI_DEVFN(0, 0), 0x59, 1, 0x30);
    config_write(&c, PCI_DEVFN(0, 0), 0x72, 1, 0x4a);
    out(&c, 0xcf9, 1, 2);
    pci_set_irq(dev, 1);
    g_autoptr(GByteArray) state = save_and_teardown(&c);

    chipset_setup(&c);
    add_pin_device(&c, 3, 1);
    region_host(&c.ram)[0xf0000] = 0x66;
    load_and_compare(&c, state);
    g_assert_cmphex(mem_read(&c, 0xf0000, 1), ==, 0x66); /* the windows followed */
    g_assert_cmphex(in(&c, 0xcf9, 1), ==, 2);
    g_assert_cmpuint(c.edges[10], ==, 0); /* the interrupt controller knows already */
    /* The line is high here, too: routing it elsewhere lowers it. */
    config_write(&c, SLOT_BRIDGE, 0x62, 1, 11);
    g_assert_cmpint(c.levels[11], ==, 1);
    g_assert_cmpuint(c.edges[10], ==, 1);
    chipset_teardown(&c);
}

static void test_state_refused(void)
{
    Chipset c;
    GError *err = NULL;
    g_autoptr(GByteArray) data = g_byte_array_new();

    chipset_setup(&c);
    state_save_fields(type_state(c.piix3->dev.obj.type), c.piix3, data);
    data->data[4 + 2] ^= 1; /* device id */
    g_assert_false(state_load_fields(type_state(c.piix3->dev.obj.type), c.piix3, 3, data->data,
                                     data->len, &err));
    g_assert_nonnull(strstr(err->message, "byte 0x02"));
    g_clear_error(&err);
    g_assert_cmphex(config_read(&c, SLOT_BRIDGE, 2, 2), ==, 0x7000);
    data->data[4 + 2] ^= 1;
    data->data[4 + 256] = 1; /* pin level */
    g_assert_false(state_load_fields(type_state(c.piix3->dev.obj.type), c.piix3, 3, data->data,
                                     data->len, &err));
    g_assert_nonnull(strstr(err->message, "interrupt pin 0"));
    g_clear_error(&err);
    chipset_teardown(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci/config-space", test_config_space);
    g_test_add_func("/pci/mechanism", test_mechanism);
    g_test_add_func("/pci/bars", test_bars);
    g_test_add_func("/pci/rom", test_rom);
    g_test_add_func("/pci/plug", test_plug);
    g_test_add_func("/pci/msi", test_msi);
    g_test_add_func("/pci/msix", test_msix);
    g_test_add_func("/pci/testdev", test_testdev);
    g_test_add_func("/i440fx/pam", test_pam);
    g_test_add_func("/i440fx/smram", test_smram);
    g_test_add_func("/i440fx/holes", test_holes);
    g_test_add_func("/piix3/pirq", test_pirq);
    g_test_add_func("/piix3/reset-control", test_reset_control);
    g_test_add_func("/pci/state", test_state);
    g_test_add_func("/pci/state-refused", test_state_refused);
    return g_test_run();
}
