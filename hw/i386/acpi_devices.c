/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI slots and ISA devices in the DSDT, as they are in the machine when firmware asks.
 *
 * A bus with a hotplug number (BSEL) shows all its slots, occupied or not; a slot whose device may be
 * ejected has _SUN and _EJ0. Only function 0 of a slot is described: hotplug acts on slots.
 */
#include "hw/i386/acpi_dsdt.h"
#include "hw/block/fdc.h"
#include "hw/isa/isa.h"
#include "hw/pci/pci.h"

/* ---- lookups ------------------------------------------------------------------------ */

Device *acpi_find_device(const PcInfo *info, const char *type)
{
    for (unsigned i = 0; i < info->vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(info->vm->devices, i);
        if (object_is_a(dev, type)) {
            return dev;
        }
    }
    return NULL;
}

uint64_t acpi_property(Device *dev, const char *name)
{
    json_object *value;
    uint64_t result = 0;

    if (type_property(dev->obj.type, name)) {
        value = object_get(&dev->obj, name, NULL);
        result = value ? (uint64_t)json_object_get_int64(value) : 0;
        json_object_put(value);
    }
    return result;
}

/* ---- ISA devices ----------------------------------------------------------------------- */

static void put_keyboard(Device *dev, GString *text)
{
    g_string_append(text, "(device KBD\n"
                          "  (name _HID (eisaid PNP0303))\n"
                          "  (name _STA 15)\n"
                          "  (name _CRS (resources (io 0x60 0x60 1 1) (io 0x64 0x64 1 1) (irq 1))))\n"
                          "(device MOU\n"
                          "  (name _HID (eisaid PNP0F13))\n"
                          "  (name _STA 15)\n"
                          "  (name _CRS (resources (irq 12))))\n");
}

/* The number in COMn and LPTn goes by the usual ports, as the operating system counts. */
static unsigned port_number(Device *dev, const uint16_t *ports, unsigned count)
{
    uint64_t iobase = acpi_property(dev, "iobase");

    for (unsigned i = 0; i < count; i++) {
        if (ports[i] == iobase) {
            return i + 1;
        }
    }
    return 0;
}

static void put_serial(Device *dev, GString *text)
{
    static const uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    unsigned n = port_number(dev, ports, G_N_ELEMENTS(ports)), port = (unsigned)acpi_property(dev, "iobase");

    if (n) {
        g_string_append_printf(text,
                               "(device COM%u\n"
                               "  (name _HID (eisaid PNP0501))\n"
                               "  (name _UID %u)\n"
                               "  (name _STA 15)\n"
                               "  (name _CRS (resources (io 0x%x 0x%x 0 8) (irq %u))))\n",
                               n, n, port, port, (unsigned)acpi_property(dev, "irq"));
    }
}

static void put_parallel(Device *dev, GString *text)
{
    static const uint16_t ports[] = {0x378, 0x278, 0x3bc};
    unsigned n = port_number(dev, ports, G_N_ELEMENTS(ports)), port = (unsigned)acpi_property(dev, "iobase");

    if (n) {
        g_string_append_printf(text,
                               "(device LPT%u\n"
                               "  (name _HID (eisaid PNP0400))\n"
                               "  (name _UID %u)\n"
                               "  (name _STA 15)\n"
                               "  (name _CRS (resources (io 0x%x 0x%x 8 8) (irq %u))))\n",
                               n, n, port, port, (unsigned)acpi_property(dev, "irq"));
    }
}

static void put_rtc(Device *dev, GString *text)
{
    g_string_append(text, "(device RTC\n"
                          "  (name _HID (eisaid PNP0B00))\n"
                          "  (name _CRS (resources (io 0x70 0x70 1 8) (irq 8))))\n");
}

static void put_pvpanic(Device *dev, GString *text)
{
    unsigned port = (unsigned)acpi_property(dev, "ioport");

    g_string_append_printf(text,
                           "(device PEVT\n"
                           "  (name _HID 'QEMU0001')\n"
                           "  (name _CRS (resources (io 0x%x 0x%x 1 1)))\n"
                           "  (opregion PEOR SystemIO 0x%x 1)\n"
                           "  (field PEOR byte nolock preserve (PEPT 8))\n"
                           "  (name _STA 15)\n"
                           "  (method RDPT 0 (store PEPT Local0) (return Local0))\n"
                           "  (method WRPT 1 (store Arg0 PEPT)))\n",
                           port, port, port);
}

/* _FDI is what INT 13h, AH=08h says of a drive: type, geometry, parameter table (ACPI 9.9.2). */
static void put_floppy(Device *dev, GString *text)
{
    bool has[2];

    g_string_append(text, "(device FDC0\n"
                          "  (name _HID (eisaid PNP0700))\n"
                          "  (name _CRS (resources (io 0x3f2 0x3f2 0 4) (io 0x3f7 0x3f7 0 1) (irq 6) (dma 2)))\n");
    for (unsigned unit = 0; unit < 2; unit++) {
        FloppyType type = fdc_drive_type(dev, unit);
        uint8_t cylinder, sector;

        fdc_type_limits(type, &cylinder, &sector);
        has[unit] = type != FLOPPY_NONE;
        if (has[unit]) {
            g_string_append_printf(text,
                                   "  (device FLP%c\n"
                                   "    (name _ADR %u)\n"
                                   "    (name _FDI (package 16 %u %u 0x%x 0x%x 1\n"
                                   "      0xaf 2 0x25 2 0x12 0x1b 0xff 0x6c 0xf6 0x0f 8)))\n",
                                   'A' + unit, unit, unit, fdc_cmos_type(type), cylinder, sector);
        }
    }
    g_string_append_printf(text, "  (name _FDE (buffer 20 %u 0 0 0 %u 0 0 0 0 0 0 0 0 0 0 0 2 0 0 0)))\n", has[0],
                           has[1]);
}

static const struct IsaDescription {
    const char *type;
    void (*put)(Device *dev, GString *text);
} isa_descriptions[] = {
    {"i8042", put_keyboard},       {"isa-serial", put_serial}, {"isa-parallel", put_parallel},
    {"mc146818rtc", put_rtc},      {"pvpanic", put_pvpanic},   {"isa-fdc", put_floppy},
};

/* Newest first, the order of QEMU's tables. */
void acpi_dsdt_isa_devices(const PcInfo *info, GString *text)
{
    IsaBus *bus = isa_bus_find(info->vm);

    for (unsigned i = bus && bus->bus.devices ? bus->bus.devices->len : 0; i-- > 0;) {
        Device *dev = g_ptr_array_index(bus->bus.devices, i);

        for (unsigned n = 0; n < G_N_ELEMENTS(isa_descriptions); n++) {
            if (object_is_a(dev, isa_descriptions[n].type)) {
                isa_descriptions[n].put(dev, text);
            }
        }
    }
}

/* ---- PCI slots ---------------------------------------------------------------------------- */

static const PciInfo *pci_info(const PciDevice *pci)
{
    return type_ops(pci->dev.obj.type);
}

static bool is_cold_bridge(const PciDevice *pci)
{
    return pci && pci_info(pci)->is_bridge && !pci->dev.hotplugged;
}

/* May what is, or will be, in this slot be ejected? */
static bool slot_ejectable(const PciDevice *pci)
{
    return !pci || (!pci_info(pci)->not_hotpluggable && !is_cold_bridge(pci));
}

static PciBus *bridge_bus(const PciDevice *pci)
{
    for (unsigned i = 0; pci->dev.buses && i < pci->dev.buses->len; i++) {
        Bus *bus = g_ptr_array_index(pci->dev.buses, i);
        if (object_is_a(bus, "PCI")) {
            return container_of(bus, PciBus, bus);
        }
    }
    return NULL;
}

static const char slot_dsm[] =
    "  (name ASUN %u)\n"
    "  (method _DSM 4 serialized\n"
    "    (store (package 2 BSEL ASUN) Local0)\n"
    "    (return (call PDSM Arg0 Arg1 Arg2 Arg3 Local0)))\n";

static const char slot_eject[] =
    "  (name _SUN %u)\n"
    "  (method _EJ0 1 (call PCEJ BSEL _SUN))\n";

/* A VGA adapter keeps its state in all sleep states. */
static const char slot_vga[] =
    "  (method _S1D 0 (return 0))\n"
    "  (method _S2D 0 (return 0))\n"
    "  (method _S3D 0 (return 0))\n";

static const char slot_piix3[] =
    "  (opregion P40C PCI_Config 0x60 4)\n"
    "  (scope \\_SB\n"
    "    (field PCI0.S%.02X.P40C byte nolock preserve (PRQ0 8) (PRQ1 8) (PRQ2 8) (PRQ3 8)))\n";

/* DVNT notifies the slots in a mask; PCNT handles all events of a bus and the buses below it. */
static void put_notifications(PciBus *bus, GString *text)
{
    bool hotplug = bus->acpi_bsel >= 0;

    if (hotplug) {
        g_string_append(text, "(method DVNT 2\n");
        for (unsigned slot = 0; slot < 32; slot++) {
            if (slot_ejectable(bus->devices[slot << 3])) {
                g_string_append_printf(text, "  (if (and Arg0 0x%x) (notify S%.02X Arg1))\n", 1u << slot, slot << 3);
            }
        }
        g_string_append(text, "  )\n");
    }
    g_string_append(text, "(method PCNT 0\n");
    if (hotplug) {
        g_string_append_printf(text, "  (store %d BNUM)\n  (call DVNT PCIU 1)\n  (call DVNT PCID 3)\n",
                               bus->acpi_bsel);
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (is_cold_bridge(bus->devices[devfn]) && bridge_bus(bus->devices[devfn])) {
            g_string_append_printf(text, "  (call ^S%.02X.PCNT)\n", devfn);
        }
    }
    g_string_append(text, "  )\n");
}

/* The content of a bus's scope; the buses of bridges are described inside their slots. */
static void put_bus(const PcInfo *info, PciBus *bus, GString *text)
{
    bool hotplug = bus->acpi_bsel >= 0;

    if (hotplug) {
        g_string_append_printf(text, "(name BSEL %d)\n", bus->acpi_bsel);
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        PciDevice *pci = bus->devices[devfn];
        unsigned slot = devfn >> 3, function = devfn & 7;

        if (!is_cold_bridge(pci) && (function || !(pci || hotplug))) {
            continue;
        }
        g_string_append_printf(text, "(device S%.02X\n  (name _ADR 0x%x)\n", devfn, slot << 16 | function);
        if (hotplug) {
            g_string_append_printf(text, slot_dsm, slot);
        }
        if (is_cold_bridge(pci) && bridge_bus(pci)) {
            put_bus(info, bridge_bus(pci), text);
        } else if (pci && pci_info(pci)->class_id == PCI_CLASS_DISPLAY_VGA) {
            g_string_append(text, slot_vga);
        } else if (pci && object_is_a(pci, "PIIX3")) {
            g_string_append_printf(text, slot_piix3, devfn);
            acpi_dsdt_isa_devices(info, text);
        }
        if (hotplug && slot_ejectable(pci)) {
            g_string_append_printf(text, slot_eject, slot);
        }
        g_string_append(text, "  )\n");
    }
    if (info->acpi_pci_hotplug) {
        put_notifications(bus, text);
    }
}

void acpi_dsdt_pci_slots(const PcInfo *info, GString *text)
{
    PciBus *bus = pci_root_bus(info->vm);

    if (!bus) {
        return;
    }
    g_string_append(text, "(scope \\_SB (scope PCI0\n");
    put_bus(info, bus, text);
    g_string_append(text, "))\n");
    if (info->acpi_pci_hotplug) {
        g_string_append(text, "(scope _GPE\n"
                              "  (method _E01 0\n"
                              "    (acquire \\_SB.PCI0.BLCK)\n"
                              "    (call \\_SB.PCI0.PCNT)\n"
                              "    (release \\_SB.PCI0.BLCK)))\n");
    }
}
