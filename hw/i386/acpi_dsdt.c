/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The DSDT: PCI host bridge with interrupt routing and address windows, HPET, sleep states, hotplug
 * registers. It describes the same devices in the same namespace as QEMU 7.2's pc, so that a guest
 * that was installed there finds what it knows.
 *
 * Registers that methods drive: PCI hotplug (0xae00), CPU hotplug (0xaf00), memory hotplug (0xa00),
 * PIRQ routing of the PIIX3 (PCI configuration 0x60).
 */
#include "hw/i386/acpi_dsdt.h"

#include <inttypes.h>

#include "hw/pci/pci.h"

/* The debug console of SeaBIOS doubles as one for AML. */
static const char dsdt_debug[] =
    "(scope \\\n"
    "  (opregion DBG SystemIO 0x402 1)\n"
    "  (field DBG byte nolock preserve (DBGB 8))\n"
    "  (method DBUG 1\n"
    "    (tohexstring Arg0 Local0)\n"
    "    (tobuffer Local0 Local0)\n"
    "    (subtract (sizeof Local0) 1 Local1)\n"
    "    (store 0 Local2)\n"
    "    (while (less Local2 Local1)\n"
    "      (store (derefof (index Local0 Local2)) DBGB)\n"
    "      (increment Local2))\n"
    "    (store 10 DBGB)))\n";

static const char dsdt_host[] =
    "(scope _SB\n"
    "  (device PCI0\n"
    "    (name _HID (eisaid PNP0A03))\n"
    "    (name _ADR 0)\n"
    "    (name _UID 0)))\n";

/*
 * PCI hotplug: PCIU and PCID are the slots of bus BNUM that came and want to go; writing a slot's bit to
 * B0EJ ejects it; PIDX reads the acpi-index of a slot. PDSM is the _DSM of each slot (PCI Firmware
 * Specification 3.2, 4.6.7: device name).
 */
static const char dsdt_pci_hotplug[] =
    "(scope _SB.PCI0\n"
    "  (opregion PCST SystemIO 0xae00 8)\n"
    "  (field PCST dword nolock zeros (PCIU 32) (PCID 32))\n"
    "  (opregion SEJ SystemIO 0xae08 4)\n"
    "  (field SEJ dword nolock zeros (B0EJ 32))\n"
    "  (opregion BNMR SystemIO 0xae10 8)\n"
    "  (field BNMR dword nolock zeros (BNUM 32) (PIDX 32))\n"
    "  (mutex BLCK 0)\n"
    "  (method PCEJ 2\n"
    "    (acquire BLCK)\n"
    "    (store Arg0 BNUM)\n"
    "    (store (shl 1 Arg1) B0EJ)\n"
    "    (release BLCK)\n"
    "    (return 0))\n"
    "  (method AIDX 2\n"
    "    (acquire BLCK)\n"
    "    (store Arg0 BNUM)\n"
    "    (store (shl 1 Arg1) PIDX)\n"
    "    (store PIDX Local0)\n"
    "    (release BLCK)\n"
    "    (return Local0))\n"
    "  (method PDSM 5 serialized\n"
    "    (if (equal Arg2 0)\n"
    "      (store (buffer 1 0) Local0)\n"
    "      (store 0 Local1)\n"
    "      (if (lnot (equal Arg0 (uuid e5c937d0-3553-4d7a-9117-ea4d19c3434d))) (return Local0))\n"
    "      (if (less Arg1 2) (return Local0))\n"
    "      (store (call AIDX (derefof (index Arg4 0)) (derefof (index Arg4 1))) Local2)\n"
    "      (if (lnot (or (equal Local2 0) (equal Local2 0xffffffff)))\n"
    "        (or Local1 1 Local1)\n"
    "        (or Local1 (shl 1 7) Local1))\n"
    "      (store Local1 (index Local0 0))\n"
    "      (return Local0))\n"
    "    (if (equal Arg2 7)\n"
    "      (store (call AIDX (derefof (index Arg4 0)) (derefof (index Arg4 1))) Local2)\n"
    "      (store (package 2) Local0)\n"
    "      (if (lnot (lor (equal Local2 0) (equal Local2 0xffffffff)))\n"
    "        (store Local2 (index Local0 0))\n"
    "        (store '' (index Local0 1)))\n"
    "      (return Local0))))\n";

/* Slot s, pin p goes to link (s + p) & 3, in the order D A B C; slot 1's pin A is the PM's SCI. */
static const char dsdt_prt[] =
    "  (scope PCI0\n"
    "    (method _PRT 0\n"
    "      (store (package 128) Local0)\n"
    "      (store 0 Local1)\n"
    "      (while (less Local1 128)\n"
    "        (store (shr Local1 2) Local2)\n"
    "        (store (and (add Local1 Local2) 3) Local3)\n"
    "        (if (equal Local3 0) (store (package 4 0 0 LNKD 0) Local4))\n"
    "        (if (equal Local3 1)\n"
    "          (if (equal Local1 4) (store (package 4 0 0 LNKS 0) Local4))\n"
    "          (else (store (package 4 0 0 LNKA 0) Local4)))\n"
    "        (if (equal Local3 2) (store (package 4 0 0 LNKB 0) Local4))\n"
    "        (if (equal Local3 3) (store (package 4 0 0 LNKC 0) Local4))\n"
    "        (store (or (shl Local2 16) 0xffff) (index Local4 0))\n"
    "        (store (and Local1 3) (index Local4 1))\n"
    "        (store Local4 (index Local0 Local1))\n"
    "        (increment Local1))\n"
    "      (return Local0)))\n"
    "  (method IQST 1\n"
    "    (if (and 0x80 Arg0) (return 9))\n"
    "    (return 11))\n"
    "  (method IQCR 1 serialized\n"
    "    (name PRR0 (resources (interrupt 0)))\n"
    "    (createdword PRR0 5 PRRI)\n"
    "    (if (less Arg0 0x80) (store Arg0 PRRI))\n"
    "    (return PRR0))\n";

static const char dsdt_link[] =
    "  (device LNK%c\n"
    "    (name _HID (eisaid PNP0C0F))\n"
    "    (name _UID %u)\n"
    "    (name _PRS (resources (interrupt 5 10 11)))\n"
    "    (method _STA 0 (return (call IQST PRQ%u)))\n"
    "    (method _DIS 0 (or PRQ%u 0x80 PRQ%u))\n"
    "    (method _CRS 0 (return (call IQCR PRQ%u)))\n"
    "    (method _SRS 1\n"
    "      (createdword Arg0 5 PRRI)\n"
    "      (store PRRI PRQ%u)))\n";

static const char dsdt_link_sci[] =
    "  (device LNKS\n"
    "    (name _HID (eisaid PNP0C0F))\n"
    "    (name _UID 4)\n"
    "    (name _PRS (resources (interrupt 9)))\n"
    "    (method _STA 0 (return 11))\n"
    "    (method _DIS 0)\n"
    "    (method _CRS 0 (return _PRS))\n"
    "    (method _SRS 1))\n";

/* The HPET is there when its registers look like one: a vendor and a period up to 100 ns. */
static const char dsdt_hpet[] =
    "(scope _SB\n"
    "  (device HPET\n"
    "    (name _HID (eisaid PNP0103))\n"
    "    (name _UID 0)\n"
    "    (opregion HPTM SystemMemory 0xfed00000 0x400)\n"
    "    (field HPTM dword lock preserve (VEND 32) (PRD 32))\n"
    "    (method _STA 0\n"
    "      (store VEND Local0)\n"
    "      (store PRD Local1)\n"
    "      (shr Local0 16 Local0)\n"
    "      (if (lor (equal Local0 0) (equal Local0 0xffff)) (return 0))\n"
    "      (if (lor (equal Local1 0) (greater Local1 100000000)) (return 0))\n"
    "      (return 15))\n"
    "    (name _CRS (resources (memory32 ro 0xfed00000 0x400)))))\n";

static const char dsdt_gpe[] = "(scope _GPE (name _HID 'ACPI0006'))\n";

static void put_interrupt_routing(GString *text)
{
    g_string_append_printf(text, "(scope _SB\n%s", dsdt_prt);
    for (unsigned n = 0; n < 4; n++) {
        g_string_append_printf(text, dsdt_link, 'A' + n, n, n, n, n, n, n);
    }
    g_string_append_printf(text, "%s)\n", dsdt_link_sci);
}

/* ---- windows of the host bridge -------------------------------------------------------- */

/* BARs above 4 GiB that firmware has placed: widens [*min, *max]. */
static void bus_range_above_4g(PciBus *bus, uint64_t *min, uint64_t *max)
{
    for (unsigned i = 0; bus->bus.devices && i < bus->bus.devices->len; i++) {
        PciDevice *pci = container_of(g_ptr_array_index(bus->bus.devices, i), PciDevice, dev);

        for (unsigned n = 0; n < PCI_NUM_BARS; n++) {
            const PciBar *bar = &pci->bars[n];
            if (bar->region && (bar->type & PCI_BASE_ADDRESS_MEM_TYPE_64) && bar->addr != PCI_BAR_UNMAPPED &&
                bar->addr >= 4 * GIB) {
                *min = MIN(*min, bar->addr);
                *max = MAX(*max, bar->addr + bar->size - 1);
            }
        }
        for (unsigned n = 0; pci->dev.buses && n < pci->dev.buses->len; n++) {
            Bus *child = g_ptr_array_index(pci->dev.buses, n);
            if (object_is_a(child, "PCI")) {
                bus_range_above_4g(container_of(child, PciBus, bus), min, max);
            }
        }
    }
}

static void put_windows(const PcInfo *info, GString *text)
{
    PciBus *bus = pci_root_bus(info->vm);
    uint64_t min = UINT64_MAX, max = 0, last;

    if (bus) {
        bus_range_above_4g(bus, &min, &max);
    }
    if (min > max) {
        min = info->hole64_start;
    }
    last = MAX(max, align_up(min + info->pci_hole64_size, GIB) - 1);
    g_string_append(text, "  (name _CRS (resources\n"
                          "    (busrange 0 0xff 0x100)\n"
                          "    (io 0xcf8 0xcf8 1 8)\n"
                          "    (iorange 0 0xcf7 0xcf8)\n"
                          "    (iorange 0xd00 0xffff 0xf300)\n"
                          "    (memrange32 cached 0xa0000 0xbffff 0x20000)\n");
    g_string_append_printf(text, "    (memrange32 uncached 0x%" PRIx64 " 0xfebfffff 0x%" PRIx64 ")\n",
                           info->below_4g, 0xfec00000 - info->below_4g);
    if (info->pci_hole64_size) {
        g_string_append_printf(text, "    (memrange64 cached 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64 ")\n", min, last,
                               last - min + 1);
    }
    g_string_append(text, "    ))\n");
}

/* A device that only reserves ports. */
static void put_port_holder(GString *text, const char *name, const char *uid, unsigned port, unsigned length)
{
    g_string_append_printf(text,
                           "  (device %s\n"
                           "    (name _HID 'PNP0A06')\n"
                           "    (name _UID '%s resources')\n"
                           "    (name _STA 11)\n"
                           "    (name _CRS (resources (io 0x%x 0x%x 1 %u))))\n",
                           name, uid, port, port, length);
}

static void put_sleep_states(const PcInfo *info, GString *text)
{
    g_string_append(text, "(scope \\\n");
    if (!info->disable_s3) {
        g_string_append(text, "  (name _S3 (package 4 1 1 0 0))\n");
    }
    if (!info->disable_s4) {
        g_string_append_printf(text, "  (name _S4 (package 4 %u %u 0 0))\n", info->s4_val, info->s4_val);
    }
    g_string_append(text, "  (name _S5 (package 4 0 0 0 0)))\n");
}

static const char dsdt_fw_cfg[] =
    "(scope \\_SB.PCI0\n"
    "  (device FWCF\n"
    "    (name _HID 'QEMU0002')\n"
    "    (name _STA 11)\n"
    "    (name _CRS (resources (io 0x510 0x510 1 12)))))\n";

void acpi_dsdt_text(const PcInfo *info, GString *text)
{
    g_string_append(text, dsdt_debug);
    g_string_append(text, dsdt_host);
    if (info->acpi_pci_hotplug) {
        g_string_append(text, dsdt_pci_hotplug);
    }
    put_interrupt_routing(text);
    if (info->hpet) {
        g_string_append(text, dsdt_hpet);
    }
    g_string_append(text, dsdt_gpe);
    acpi_dsdt_cpus(info, text);
    acpi_dsdt_memory(info, text);
    g_string_append(text, "(scope \\_SB.PCI0\n");
    put_windows(info, text);
    put_port_holder(text, "GPE0", "GPE0", ACPI_GPE0_PORT, ACPI_GPE0_LENGTH);
    if (info->acpi_pci_hotplug) {
        put_port_holder(text, "PHPR", "PCI Hotplug", ACPI_PCI_HOTPLUG_PORT, ACPI_PCI_HOTPLUG_LENGTH);
    }
    g_string_append(text, "  )\n");
    put_sleep_states(info, text);
    g_string_append(text, dsdt_fw_cfg);
    acpi_dsdt_pci_slots(info, text);
}
