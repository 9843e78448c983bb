/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PIIX4 power management: ACPI registers, hot-plug registers, SMBus, state. */
#include "tests/unit/chipset.h"

#define PM 0xb000
#define GPE 0xafe0
#define PCIHP 0xae00
#define CPUHP 0xaf00
#define SMB 0xb100

static void pm_setup(Chipset *c)
{
    chipset_setup(c);
    config_write(c, SLOT_PM, 0x40, 4, PM | 1);
    config_write(c, SLOT_PM, 0x80, 1, 1);
}

static void advance(Chipset *c, int64_t ns)
{
    clock_virtual_advance_to(c->vm, clock_now(c->vm, CLOCK_VIRTUAL) + ns);
}

/* ---- ACPI registers -------------------------------------------------------------------------- */

static void test_ports(void)
{
    Chipset c;

    chipset_setup(&c);
    g_assert_cmphex(in(&c, PM + 8, 4), ==, 0xffffffff); /* not mapped */
    config_write(&c, SLOT_PM, 0x40, 4, PM | 1);
    config_write(&c, SLOT_PM, 0x80, 1, 1);
    g_assert_cmphex(in(&c, PM + 2, 2), ==, 0);
    config_write(&c, SLOT_PM, 0x40, 4, 0x600 | 1); /* moves */
    g_assert_cmphex(in(&c, PM + 2, 2), ==, 0xffff);
    g_assert_cmphex(in(&c, 0x602, 2), ==, 0);
    config_write(&c, SLOT_PM, 0xd2, 1, 0); /* SMBus off */
    g_assert_cmphex(in(&c, SMB + 2, 1), ==, 0xff);
    config_write(&c, SLOT_PM, 0xd2, 1, 1);
    g_assert_cmphex(in(&c, SMB + 2, 1), ==, 0);
    chipset_reset(&c);
    g_assert_cmphex(in(&c, 0x602, 2), ==, 0xffff);
    chipset_teardown(&c);
}

/* QEMU's own formula. */
static uint64_t exact_ticks(uint64_t ns) { return mul_div_u64(ns, PM_TIMER_HZ, NSEC_PER_SEC); }

static void test_timer_ticks(void)
{
    const uint64_t year = UINT64_C(365) * 86400 * NSEC_PER_SEC;

    for (uint64_t ns = 0; ns < 2000000; ns++) {
        g_assert_cmpuint(acpi_pm_ticks(ns), ==, exact_ticks(ns));
    }
    for (unsigned i = 0; i < 2000000; i++) {
        uint64_t ns =
            ((uint64_t)g_test_rand_int() << 31 | (uint32_t)g_test_rand_int()) % (100 * year);
        g_assert_cmpuint(acpi_pm_ticks(ns), ==, exact_ticks(ns));
    }
    for (uint64_t s = 1; s < 100000; s++) { /* where the fraction is 0, and just before */
        g_assert_cmpuint(acpi_pm_ticks(s * NSEC_PER_SEC), ==, s * PM_TIMER_HZ);
        g_assert_cmpuint(acpi_pm_ticks(s * NSEC_PER_SEC - 1), ==, s * PM_TIMER_HZ - 1);
    }
    g_assert_cmpuint(acpi_pm_ticks(INT64_MAX), ==, exact_ticks(INT64_MAX));
}

static void test_timer(void)
{
    Chipset c;

    pm_setup(&c);
    g_assert_cmphex(in(&c, PM + 8, 4), ==, 0);
    advance(&c, NSEC_PER_SEC);
    g_assert_cmpuint(in(&c, PM + 8, 4), ==, PM_TIMER_HZ);
    g_assert_cmphex(in(&c, PM + 8, 2), ==, PM_TIMER_HZ & 0xffff);
    g_assert_cmphex(in(&c, PM + 10, 1), ==, PM_TIMER_HZ >> 16);
    out(&c, PM + 8, 4, 0); /* read-only */
    g_assert_cmpuint(in(&c, PM + 8, 4), ==, PM_TIMER_HZ);
    advance(&c, 4 * NSEC_PER_SEC);
    g_assert_cmphex(in(&c, PM + 8, 4), ==, 5 * PM_TIMER_HZ & 0xffffff);

    /* Overflow: no timer is armed until the guest wants the interrupt. */
    g_assert_cmpint(clock_virtual_deadline(c.vm), ==, INT64_MAX);
    out(&c, PM, 2, 0xffff);
    g_assert_cmphex(in(&c, PM, 2), ==, 0);
    g_assert_cmpint(clock_virtual_deadline(c.vm), ==, INT64_MAX);
    out(&c, PM + 2, 2, ACPI_PM1_TMR);
    int64_t deadline = clock_virtual_deadline(c.vm);
    g_assert_cmphex(acpi_pm_ticks(deadline) & 0x7fffff, ==, 0);
    g_assert_cmphex(acpi_pm_ticks(deadline - 1) & 0x7fffff, ==, 0x7fffff);
    clock_virtual_advance_to(c.vm, deadline - 1);
    g_assert_cmpint(c.levels[9], ==, 0);
    clock_virtual_advance_to(c.vm, deadline);
    g_assert_cmpint(c.levels[9], ==, 1);
    g_assert_cmphex(in(&c, PM, 2), ==, ACPI_PM1_TMR);
    out(&c, PM, 2, ACPI_PM1_TMR);
    g_assert_cmpint(c.levels[9], ==, 0);
    g_assert_cmpint(clock_virtual_deadline(c.vm) - deadline, >, 2 * NSEC_PER_SEC);
    out(&c, PM + 2, 2, 0);
    g_assert_cmpint(clock_virtual_deadline(c.vm), ==, INT64_MAX);
    chipset_teardown(&c);
}

static void test_pm1(void)
{
    Chipset c;

    pm_setup(&c);
    /* the timer's first overflow is at power-on, as QEMU's */
    g_assert_cmphex(in(&c, PM, 2), ==, 1);
    g_assert_cmphex(in(&c, PM, 4), ==, 1);
    out(&c, PM + 2, 2, 0x0120);
    g_assert_cmphex(in(&c, PM, 4), ==, 0x01200001);
    out(&c, PM + 3, 1, 0);
    g_assert_cmphex(in(&c, PM + 2, 2), ==, 0x20);
    out(&c, PM, 1, 0xff);
    g_assert_cmphex(in(&c, PM, 1), ==, 0);
    /* ACPI is turned on and off through the APM port. */
    out(&c, 0xb2, 1, 0xf1);
    g_assert_cmphex(in(&c, PM + 4, 2), ==, 1);
    g_assert_cmphex(in(&c, 0xb2, 1), ==, 0xf1);
    out(&c, 0xb2, 1, 0xf0);
    g_assert_cmphex(in(&c, PM + 4, 2), ==, 0);
    out(&c, 0xb3, 1, 5);
    g_assert_cmphex(in(&c, 0xb3, 1), ==, 5);
    out(&c, PM + 4, 2, 0xdfff);
    g_assert_cmphex(in(&c, PM + 4, 2), ==, 0xdfff);
    out(&c, PM + 4, 1, 1);
    g_assert_cmphex(in(&c, PM + 4, 2), ==, 0xdf01);
    chipset_teardown(&c);
}

static void post_powerdown(void *opaque) { vm_request_powerdown(opaque); }
static void post_quit(void *opaque) { vm_request_shutdown(opaque, SHUTDOWN_CAUSE_HOST_QMP_QUIT); }

static void test_power_button(void)
{
    Chipset c;

    pm_setup(&c);
    out(&c, PM, 2, 0xffff);
    loop_post(c.vm->loop, post_powerdown, c.vm);
    loop_post(c.vm->loop, post_quit, c.vm);
    vm_main_loop(c.vm);
    g_assert_cmphex(in(&c, PM, 2), ==, 0); /* the guest does not listen */
    chipset_teardown(&c);

    pm_setup(&c);
    out(&c, PM, 2, 0xffff);
    out(&c, PM + 2, 2, ACPI_PM1_PWRBTN);
    vm_request_powerdown(c.vm);
    loop_post(c.vm->loop, post_quit, c.vm);
    vm_main_loop(c.vm);
    g_assert_cmphex(in(&c, PM, 2), ==, ACPI_PM1_PWRBTN);
    g_assert_cmpint(c.levels[9], ==, 1);
    out(&c, PM, 2, ACPI_PM1_PWRBTN);
    g_assert_cmpint(c.levels[9], ==, 0);
    g_assert_cmpuint(c.edges[9], ==, 2);
    chipset_teardown(&c);
}

static void test_sleep(void)
{
    static const unsigned types[] = {0, 2}; /* S5 and S4 end the process */
    Chipset c;

    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        pm_setup(&c);
        out(&c, PM + 4, 2, types[i] << 10); /* without SLP_EN: nothing */
        out(&c, PM + 4, 2, types[i] << 10 | ACPI_CNT_SLP_EN);
        g_assert_cmpint(vm_main_loop(c.vm), ==, 0);
        g_assert_cmphex(in(&c, PM + 4, 2), ==, types[i] << 10); /* SLP_EN reads 0 */
        chipset_teardown(&c);
    }
    pm_setup(&c);
    out(&c, PM + 4, 2, 1 << 10 | ACPI_CNT_SLP_EN); /* S3 */
    loop_post(c.vm->loop, post_quit, c.vm);
    vm_main_loop(c.vm);
    g_assert_cmpint(vm_run_state(c.vm), ==, RUN_STATE_SUSPENDED);
    vm_request_wakeup(c.vm);
    loop_post(c.vm->loop, post_quit, c.vm);
    vm_main_loop(c.vm);
    g_assert_cmphex(piix4_pm_regs(c.pm)->pm1_sts & ACPI_PM1_WAK, ==, ACPI_PM1_WAK);
    chipset_teardown(&c);
}

static void test_gpe(void)
{
    Chipset c;

    pm_setup(&c);
    g_assert_cmphex(in(&c, GPE, 4), ==, 0);
    out(&c, GPE, 4, 0x12345678);
    g_assert_cmphex(in(&c, GPE, 4), ==, 0x12340000);
    out(&c, GPE + 2, 2, 0xffff);
    acpi_gpe_raise(piix4_pm_regs(c.pm), ACPI_GPE_CPU_HOTPLUG);
    g_assert_cmpint(c.levels[9], ==, 1);
    g_assert_cmphex(in(&c, GPE, 1), ==, 4);
    out(&c, GPE, 1, 4);
    g_assert_cmpint(c.levels[9], ==, 0);
    chipset_teardown(&c);
}

/* ---- hot-plug -------------------------------------------------------------------------------- */

static PciDevice *add_testdev(Chipset *c, int devfn, uint32_t index, bool hotplugged)
{
    GError *err = NULL;
    Device *dev = device_new(c->vm, "pci-testdev");
    PciDevice *pci = container_of(dev, PciDevice, dev);

    pci->devfn = devfn;
    pci->acpi_index = index;
    dev->hotplugged = hotplugged;
    g_assert_true(device_realize(dev, &c->bus->bus, &err));
    g_assert_no_error(err);
    return pci;
}

static void test_pci_hotplug(void)
{
    Chipset c;
    AcpiPciHotplug *hp;
    PciDevice *pci;

    pm_setup(&c);
    hp = piix4_pm_pci_hotplug(c.pm);
    add_testdev(&c, PCI_DEVFN(5, 0), 0x4d, false);
    out(&c, PCIHP + 0x10, 4, 0);
    g_assert_cmphex(in(&c, PCIHP + 0x0c, 4), ==, 0xfffffffc); /* slots 0 and 1 stay */
    out(&c, PCIHP + 0x14, 4, 1 << 5);
    g_assert_cmphex(in(&c, PCIHP + 0x14, 4), ==, 0x4d);
    g_assert_cmphex(in(&c, PCIHP + 0x14, 4), ==, 0);
    out(&c, PCIHP + 0x10, 4, 5); /* no such bus */
    g_assert_cmphex(in(&c, PCIHP + 0x0c, 4), ==, 0xffffffff);
    g_assert_cmphex(in(&c, PCIHP + 0x10, 4), ==, 5);
    out(&c, PCIHP + 0x10, 4, 1000);
    g_assert_cmphex(in(&c, PCIHP + 0x0c, 4), ==, 0);
    out(&c, PCIHP + 0x08, 4, 0xffffffff);
    out(&c, PCIHP + 0x10, 4, 0);

    out(&c, GPE + 2, 1, ACPI_GPE_PCI_HOTPLUG);
    pci = add_testdev(&c, PCI_DEVFN(6, 0), 0, true);
    acpi_pcihp_plugged(hp, pci);
    g_assert_cmpint(c.levels[9], ==, 1);
    g_assert_cmphex(in(&c, PCIHP + 0x00, 4), ==, 1 << 6);
    g_assert_cmphex(in(&c, PCIHP + 0x00, 4), ==, 0);
    out(&c, GPE, 1, 0xff);
    g_assert_true(acpi_pcihp_request_unplug(hp, pci, NULL));
    g_assert_false(acpi_pcihp_request_unplug(hp, c.piix3, NULL));
    g_assert_cmpint(c.levels[9], ==, 1);
    g_assert_cmphex(in(&c, PCIHP + 0x04, 4), ==, 1 << 6);
    out(&c, PCIHP + 0x08, 4, 1 << 6 | 1 << 1); /* the PIIX stays */
    g_assert_null(c.bus->devices[PCI_DEVFN(6, 0)]);
    g_assert_nonnull(c.bus->devices[SLOT_BRIDGE]);
    g_assert_cmphex(in(&c, PCIHP + 0x04, 4), ==, 0);
    chipset_teardown(&c);
}

static const AcpiCpu cpus[] = {{.apic_id = 0, .present = true}, {.apic_id = 1, .present = true},
                               {.apic_id = 4}, {.apic_id = 5}};

static void test_cpu_hotplug(void)
{
    Chipset c;

    pm_setup(&c);
    acpi_cpuhp_set_cpus(piix4_pm_cpu_hotplug(c.pm), cpus, G_N_ELEMENTS(cpus), NULL, NULL);
    g_assert_cmphex(in(&c, CPUHP, 4), ==, 3);
    out(&c, CPUHP, 1, 1); /* nothing */
    g_assert_cmphex(in(&c, CPUHP, 4), ==, 3);
    g_assert_cmphex(in(&c, CPUHP + 0x1f, 1), ==, 0);
    out(&c, CPUHP, 4, 0); /* the modern interface */
    g_assert_cmphex(in(&c, CPUHP + 0x0c, 1), ==, 0xff);
    for (unsigned i = 0; i < G_N_ELEMENTS(cpus); i++) {
        out(&c, CPUHP, 4, i);
        out(&c, CPUHP + 5, 1, 3);
        g_assert_cmphex(in(&c, CPUHP + 4, 1), ==, cpus[i].present);
        g_assert_cmphex(in(&c, CPUHP + 8, 4), ==, cpus[i].apic_id);
        g_assert_cmphex(in(&c, CPUHP, 4), ==, 0);
        out(&c, CPUHP + 5, 1, 0);
        g_assert_cmphex(in(&c, CPUHP + 8, 4), ==, i); /* no event: stays */
    }
    out(&c, CPUHP, 4, 0xfffffff0); /* no such CPU */
    g_assert_cmphex(in(&c, CPUHP + 4, 1), ==, 0);
    out(&c, CPUHP + 4, 1, 0xff);
    out(&c, CPUHP + 8, 4, 1);
    piix4_pm_cpu_hotplug(c.pm)->devs[2].is_inserting = true;
    out(&c, CPUHP, 4, 3);
    out(&c, CPUHP + 5, 1, 0);
    g_assert_cmphex(in(&c, CPUHP + 8, 4), ==, 2);
    g_assert_cmphex(in(&c, CPUHP + 4, 1), ==, 2);
    out(&c, CPUHP + 4, 1, 2);
    g_assert_cmphex(in(&c, CPUHP + 4, 1), ==, 0);
    chipset_teardown(&c);
}

/* ---- SMBus ----------------------------------------------------------------------------------- */

enum { QUICK, BYTE, BYTE_DATA, WORD_DATA, PROC_CALL, BLOCK };

/* One transaction; returns the status after it: 2 done, 4 nobody answered. */
static uint8_t smbus(Chipset *c, unsigned protocol, uint8_t address, bool is_read, uint8_t command)
{
    out(c, SMB, 1, 0xff);
    out(c, SMB + 4, 1, address << 1 | is_read);
    out(c, SMB + 3, 1, command);
    out(c, SMB + 2, 1, 0x40 | protocol << 2);
    g_assert_cmphex(in(c, SMB, 1) & 1, ==, 1); /* busy is seen once */
    return in(c, SMB, 1);
}

static void smbus_data(Chipset *c, uint8_t data0, uint8_t data1)
{
    out(c, SMB + 5, 1, data0);
    out(c, SMB + 6, 1, data1);
}

static void test_smbus(void)
{
    Chipset c;

    chipset_setup(&c);
    g_assert_cmphex(smbus(&c, QUICK, 0x50, true, 0), ==, 2);
    g_assert_cmphex(smbus(&c, QUICK, 0x58, true, 0), ==, 4);
    g_assert_cmphex(smbus(&c, BYTE_DATA, 0x30, true, 0), ==, 4);
    g_assert_cmphex(smbus(&c, PROC_CALL, 0x50, true, 0), ==, 4);
    g_assert_cmphex(smbus(&c, BYTE_DATA, 0x50, true, 2), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 1), ==, 0);
    smbus_data(&c, 0x55, 0x66);
    g_assert_cmphex(smbus(&c, WORD_DATA, 0x50, false, 0x20), ==, 2);
    g_assert_cmphex(smbus(&c, BYTE_DATA, 0x50, true, 0x21), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 1), ==, 0x66);
    g_assert_cmphex(smbus(&c, WORD_DATA, 0x50, true, 0x20), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 2), ==, 0x6655);
    /* Send an offset, then receive from there on. */
    g_assert_cmphex(smbus(&c, BYTE, 0x50, false, 0x20), ==, 2);
    g_assert_cmphex(smbus(&c, BYTE, 0x50, true, 0), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 1), ==, 0x55);
    g_assert_cmphex(smbus(&c, BYTE, 0x50, true, 0), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 1), ==, 0x66);
    /* Blocks: the count comes first. */
    in(&c, SMB + 2, 1);
    for (unsigned i = 1; i <= 4; i++) {
        out(&c, SMB + 7, 1, 0x11 * i);
    }
    smbus_data(&c, 0, 0);
    g_assert_cmphex(smbus(&c, BLOCK, 0x50, false, 0x10), ==, 4);
    smbus_data(&c, 4, 0);
    g_assert_cmphex(smbus(&c, BLOCK, 0x50, false, 0x10), ==, 2);
    g_assert_cmphex(smbus(&c, BYTE_DATA, 0x50, true, 0x10), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 1), ==, 4);
    g_assert_cmphex(smbus(&c, BLOCK, 0x50, true, 0x10), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 1), ==, 4);
    in(&c, SMB + 2, 1);
    for (unsigned i = 1; i <= 4; i++) {
        g_assert_cmphex(in(&c, SMB + 7, 1), ==, 0x11 * i);
    }
    for (unsigned i = 0; i < 100; i++) { /* past the end of the buffer */
        in(&c, SMB + 7, 1);
        out(&c, SMB + 7, 1, i);
    }
    out(&c, SMB + 2, 1, 2); /* kill */
    g_assert_cmphex(in(&c, SMB, 1) & 0x10, ==, 0x10);
    chipset_teardown(&c);
}

/* ---- state ----------------------------------------------------------------------------------- */

static void test_state(void)
{
    Chipset c;

    pm_setup(&c);
    acpi_cpuhp_set_cpus(piix4_pm_cpu_hotplug(c.pm), cpus, G_N_ELEMENTS(cpus), NULL, NULL);
    advance(&c, NSEC_PER_SEC);
    out(&c, PM, 2, 0xffff);
    out(&c, PM + 2, 2, ACPI_PM1_TMR | ACPI_PM1_PWRBTN);
    out(&c, 0xb2, 1, 0xf1);
    out(&c, GPE + 2, 2, 0x0302);
    acpi_gpe_raise(piix4_pm_regs(c.pm), ACPI_GPE_PCI_HOTPLUG);
    out(&c, CPUHP, 4, 0);
    out(&c, CPUHP, 4, 2);
    out(&c, PCIHP + 0x10, 4, 3);
    smbus_data(&c, 0xaa, 0);
    smbus(&c, BYTE_DATA, 0x53, false, 7);
    int64_t deadline = clock_virtual_deadline(c.vm);
    g_autoptr(GByteArray) state = save_and_teardown(&c);

    chipset_setup(&c);
    acpi_cpuhp_set_cpus(piix4_pm_cpu_hotplug(c.pm), cpus, G_N_ELEMENTS(cpus), NULL, NULL);
    load_and_compare(&c, state);
    g_assert_cmpint(clock_virtual_deadline(c.vm), ==, deadline);
    g_assert_cmphex(in(&c, PM + 2, 2), ==, ACPI_PM1_TMR | ACPI_PM1_PWRBTN);
    g_assert_cmphex(in(&c, PCIHP + 0x10, 4), ==, 3);
    g_assert_cmphex(in(&c, CPUHP + 0x0c, 1), ==, 0xff); /* modern */
    g_assert_cmphex(smbus(&c, BYTE_DATA, 0x53, true, 7), ==, 2);
    g_assert_cmphex(in(&c, SMB + 5, 1), ==, 0xaa);
    g_assert_cmpuint(c.edges[9], ==, 0); /* the interrupt controller knows the level already */
    out(&c, GPE, 1, 0xff);
    g_assert_cmpint(c.levels[9], ==, 0);
    g_assert_cmpuint(c.edges[9], ==, 1);
    chipset_teardown(&c);
}

/*
 * The machine's stream as QEMU 7.2 describes its own: the JSON at the end of a migration of
 * pc-i440fx-7.2, flattened to "name[count] type size" with structs in braces and subsections in
 * angle brackets.
 */
#define PCI_DEVICE                                                                                 \
    " PCIDevice 2 {version_id int32 le 4; config[0] pci config 256; irq_state pci irq state 16}"
static const char *const described[][2] = {
    {"PCIHost", "config_reg uint32 4"},
    {"PCIBUS", "nirq int32 equal 4; irq_count[4] int32 4"},
    {"0000:00:00.0/I440FX", "parent_obj" PCI_DEVICE "; unused unused_buffer 1"},
    {"0000:00:01.0/PIIX3", "dev" PCI_DEVICE "; pci_irq_levels_vmstate[4] int32 4"},
    {"i2c_bus", "saved_address uint8 1"},
    {"0000:00:01.3/piix4_pm",
     "parent_obj" PCI_DEVICE "; ar.pm1.evt.sts uint16 2; ar.pm1.evt.en uint16 2; ar.pm1.cnt.cnt uint16 2; "
     "apm APM State 1 {apmc uint8 1; apms uint8 1}; smb pmsmb 1 {smb_stat uint8 1; smb_ctl uint8 1; "
     "smb_cmd uint8 1; smb_addr uint8 1; smb_data0 uint8 1; smb_data1 uint8 1; smb_index uint32 4; "
     "smb_data[32] uint8 1; smb_auxctl uint8 1; smb_blkdata uint8 1; i2c_enable bool 1; op_done bool 1; "
     "in_i2c_block_read bool 1; start_transaction_on_status_read bool 1}; ar.tmr.timer timer 8; "
     "ar.tmr.overflow_time int64 8; ar.gpe gpe 1 {sts uint16 2; en uint16 2}; "
     "acpi_pci_hotplug.hotplug_select uint32 4; "
     "acpi_pci_hotplug.acpi_pcihp_pci_status[*] acpi_pcihp_pci_status 1 {up uint32 4; down uint32 4}; "
     "acpi_pci_hotplug.acpi_index uint32 4; "
     "<piix4_pm/memhp 1 {acpi_memory_hotplug memory hotplug state 1 {selector uint32 4}}>; "
     "<piix4_pm/cpuhp 1 {cpuhp_state CPU hotplug state 1 {selector uint32 4; command uint8 1; "
     "devs[4] CPU hotplug device state 1 {is_inserting bool 1; is_removing bool 1; ost_event uint32 4; "
     "ost_status uint32 4}}}>"},
    {"smbus-eeprom",
     "smbusdev smbus-device 1 {i2c I2CSlave 1 {address uint8 1}; mode int32 4; data_len int32 4; "
     "data_buf[34] uint8 1}; data[256] uint8 1; offset uint8 1; accessed bool 1"},
};

static const char *text_of(json_object *json, const char *key)
{
    json_object *value = NULL;

    return json_object_object_get_ex(json, key, &value) ? json_object_get_string(value) : NULL;
}

static void flatten(json_object *section, GString *out)
{
    json_object *fields = NULL, *subs = NULL;

    json_object_object_get_ex(section, "fields", &fields);
    for (size_t i = 0; fields && i < json_object_array_length(fields); i++) {
        json_object *field = json_object_array_get_idx(fields, i), *inner = NULL;
        const char *index = text_of(field, "index"), *length = text_of(field, "array_len");

        if (index && strcmp(index, "0")) {
            continue;
        }
        g_string_append_printf(out, "%s%s", out->len && out->str[out->len - 1] != '{' ? "; " : "",
                               text_of(field, "name"));
        if (index || length) {
            g_string_append_printf(out, "[%s]", index ? "*" : length);
        }
        if (json_object_object_get_ex(field, "struct", &inner)) {
            g_string_append_printf(out, " %s %s {", text_of(inner, "vmsd_name"),
                                   text_of(inner, "version"));
            flatten(inner, out);
            g_string_append_c(out, '}');
        } else {
            g_string_append_printf(out, " %s %s", text_of(field, "type"), text_of(field, "size"));
        }
    }
    json_object_object_get_ex(section, "subsections", &subs);
    for (size_t i = 0; subs && i < json_object_array_length(subs); i++) {
        json_object *sub = json_object_array_get_idx(subs, i);

        g_string_append_printf(out, "; <%s %s {", text_of(sub, "vmsd_name"),
                               text_of(sub, "version"));
        flatten(sub, out);
        g_string_append(out, "}>");
    }
}

static void test_description(void)
{
    Chipset c;
    json_object *all, *devices = NULL;
    unsigned found = 0;

    pm_setup(&c);
    acpi_cpuhp_set_cpus(piix4_pm_cpu_hotplug(c.pm), cpus, G_N_ELEMENTS(cpus), NULL, NULL);
    out(&c, CPUHP, 4, 0);
    smbus(&c, BYTE_DATA, 0x50, true, 0);
    all = state_describe_vm(c.vm);
    g_assert_true(json_object_object_get_ex(all, "devices", &devices));
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        json_object *section = json_object_array_get_idx(devices, i);

        for (unsigned d = 0; d < G_N_ELEMENTS(described); d++) {
            g_autoptr(GString) text = g_string_new(NULL);

            if (!g_strcmp0(text_of(section, "name"), described[d][0])) {
                flatten(section, text);
                g_assert_cmpstr(text->str, ==, described[d][1]);
                found++;
            }
        }
    }
    g_assert_cmpuint(found, ==, G_N_ELEMENTS(described));
    json_object_put(all);
    chipset_teardown(&c);
}

/* ---- any guest ------------------------------------------------------------------------------- */

static unsigned any_port(void)
{
    static const struct {
        uint16_t first, count;
    } blocks[] = {{0xcf8, 8}, {PM, 64},     {GPE, 4},     {PCIHP, 24}, {CPUHP, 32},
                  {SMB, 16},  {0xb2, 2},    {0xc000, 16}, {0, 0xffff}};
    unsigned b = g_test_rand_int_range(0, G_N_ELEMENTS(blocks));

    return blocks[b].first + g_test_rand_int_range(0, blocks[b].count);
}

/* Random accesses to everything here, with a state saved and loaded now and then. */
static void test_any_guest(void)
{
    static const uint8_t functions[] = {0, SLOT_BRIDGE, SLOT_PM, PCI_DEVFN(5, 0)};
    GError *err = NULL;
    Chipset c;

    pm_setup(&c);
    acpi_cpuhp_set_cpus(piix4_pm_cpu_hotplug(c.pm), cpus, G_N_ELEMENTS(cpus), NULL, NULL);
    add_testdev(&c, PCI_DEVFN(5, 0), 0, false);
    for (unsigned i = 0; i < 30000; i++) {
        unsigned size = 1u << g_test_rand_int_range(0, 3), what = g_test_rand_int_range(0, 16);
        uint32_t value = g_test_rand_bit() ? (uint32_t)g_test_rand_int() : 1u << (i % 32);

        if (what < 4) {
            unsigned devfn = functions[g_test_rand_int_range(0, G_N_ELEMENTS(functions))];

            config_write(&c, devfn, g_test_rand_int_range(0, 256), size, value);
        } else if (what < 10) {
            out(&c, any_port(), size, value);
        } else if (what < 14) {
            in(&c, any_port(), size);
        } else if (what == 14) {
            mem_write(&c, value, size, value);
            advance(&c, (int64_t)value);
        } else if (i % 16 == 0) {
            g_autoptr(GByteArray) state = g_byte_array_new();

            state_save_vm(c.vm, state);
            g_assert_true(state_load_vm(c.vm, state->data, state->len, &err));
            g_assert_no_error(err);
        }
        if (i % 4096 == 0) {
            chipset_reset(&c);
        }
    }
    chipset_teardown(&c);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pm/ports", test_ports);
    g_test_add_func("/pm/timer-ticks", test_timer_ticks);
    g_test_add_func("/pm/timer", test_timer);
    g_test_add_func("/pm/pm1", test_pm1);
    g_test_add_func("/pm/power-button", test_power_button);
    g_test_add_func("/pm/sleep", test_sleep);
    g_test_add_func("/pm/gpe", test_gpe);
    g_test_add_func("/pm/pci-hotplug", test_pci_hotplug);
    g_test_add_func("/pm/cpu-hotplug", test_cpu_hotplug);
    g_test_add_func("/pm/smbus", test_smbus);
    g_test_add_func("/pm/state", test_state);
    g_test_add_func("/pm/description", test_description);
    g_test_add_func("/pm/any-guest", test_any_guest);
    return g_test_run();
}
