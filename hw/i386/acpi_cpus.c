/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processors and hot-pluggable memory in the DSDT.
 *
 * Both are driven through a window of registers: a selector (CSEL, MSEL) and, for what is selected,
 * status bits (enabled, inserted, removal wanted), commands and data.
 */
#include <inttypes.h>

#include "hw/i386/acpi_dsdt.h"
#include "hw/i386/aml.h"

#define APIC_ID_XAPIC_MAX 254    /* larger ones need x2APIC entries */

unsigned acpi_madt_cpu_entry(const PcInfo *info, unsigned index, bool in_mat, uint8_t entry[16])
{
    const PcCpuSlot *cpu = &info->cpus[index];
    uint32_t enabled = in_mat || cpu->present;

    memset(entry, 0, 16);
    if (cpu->apic_id <= APIC_ID_XAPIC_MAX) {
        entry[0] = 0;            /* processor local APIC */
        entry[1] = 8;
        entry[2] = (uint8_t)index;
        entry[3] = (uint8_t)cpu->apic_id;
        store32_le(entry + 4, enabled);
        return 8;
    }
    entry[0] = 9;                /* processor local x2APIC */
    entry[1] = 16;
    store32_le(entry + 4, cpu->apic_id);
    store32_le(entry + 8, enabled);
    store32_le(entry + 12, index);
    return 16;
}

/* ---- processors ---------------------------------------------------------------------- */

static const char cpu_registers[] =
    "  (device \\_SB.PCI0.PRES\n"
    "    (name _HID (eisaid PNP0A06))\n"
    "    (name _UID 'CPU Hotplug resources')\n"
    "    (mutex CPLK 0)\n"
    "    (name _CRS (resources (io 0xaf00 0xaf00 1 12)))\n"
    "    (opregion PRST SystemIO 0xaf00 12)\n"
    "    (field PRST byte nolock zeros\n"
    "      (offset 4) (CPEN 1) (CINS 1) (CRMV 1) (CEJ0 1) (CEJF 1) (offset 5) (CCMD 8))\n"
    "    (field PRST dword nolock preserve (CSEL 32) (offset 8) (CDAT 32))\n"
    "    (method _INI 0 serialized (store 0 CSEL)))\n";

/* P is \_SB.PCI0.PRES. Status, ejection, and OS status reports of a processor. */
static const char cpu_methods[] =
    "    (method CSTA 1 serialized\n"
    "      (acquire \\_SB.PCI0.PRES.CPLK)\n"
    "      (store Arg0 \\_SB.PCI0.PRES.CSEL)\n"
    "      (store 0 Local0)\n"
    "      (if (equal \\_SB.PCI0.PRES.CPEN 1) (store 15 Local0))\n"
    "      (release \\_SB.PCI0.PRES.CPLK)\n"
    "      (return Local0))\n"
    "    (method CEJ0 1 serialized\n"
    "      (acquire \\_SB.PCI0.PRES.CPLK)\n"
    "      (store Arg0 \\_SB.PCI0.PRES.CSEL)\n"
    "      (store 1 \\_SB.PCI0.PRES.CEJ0)\n"
    "      (release \\_SB.PCI0.PRES.CPLK))\n";

/* Looks for inserted processors and removal requests. Insertions are collected (at most 255 a pass)
 * and told afterwards, so that the scan itself is short. %u: number of processors. */
static const char cpu_scan[] =
    "    (method CSCN 0 serialized\n"
    "      (acquire \\_SB.PCI0.PRES.CPLK)\n"
    "      (name CNEW (package 255))\n"
    "      (store 0 Local3)\n"
    "      (store 1 Local4)\n"
    "      (while (equal Local4 1)\n"
    "        (store 0 Local4)\n"
    "        (store 1 Local0)\n"
    "        (store 0 Local1)\n"
    "        (while (land (equal Local0 1) (less Local3 %u))\n"
    "          (store 0 Local0)\n"
    "          (store Local3 \\_SB.PCI0.PRES.CSEL)\n"
    "          (store 0 \\_SB.PCI0.PRES.CCMD)\n"
    "          (if (less \\_SB.PCI0.PRES.CDAT Local3) (break))\n"
    "          (if (equal Local1 255) (store 1 Local4) (break))\n"
    "          (store \\_SB.PCI0.PRES.CDAT Local3)\n"
    "          (if (equal \\_SB.PCI0.PRES.CINS 1)\n"
    "            (store Local3 (index CNEW Local1))\n"
    "            (increment Local1)\n"
    "            (store 1 Local0))\n"
    "          (else\n"
    "            (if (equal \\_SB.PCI0.PRES.CRMV 1)\n"
    "              (call CTFY Local3 3)\n"
    "              (store 1 \\_SB.PCI0.PRES.CRMV)\n"
    "              (store 1 Local0)))\n"
    "          (increment Local3))\n"
    "        (store 0 Local2)\n"
    "        (while (less Local2 Local1)\n"
    "          (store (derefof (index CNEW Local2)) Local3)\n"
    "          (call CTFY Local3 1)\n"
    "          (store Local3 Debug)\n"
    "          (store Local3 \\_SB.PCI0.PRES.CSEL)\n"
    "          (store 1 \\_SB.PCI0.PRES.CINS)\n"
    "          (increment Local2)))\n"
    "      (release \\_SB.PCI0.PRES.CPLK))\n"
    "    (method COST 4 serialized\n"
    "      (acquire \\_SB.PCI0.PRES.CPLK)\n"
    "      (store Arg0 \\_SB.PCI0.PRES.CSEL)\n"
    "      (store 1 \\_SB.PCI0.PRES.CCMD)\n"
    "      (store Arg1 \\_SB.PCI0.PRES.CDAT)\n"
    "      (store 2 \\_SB.PCI0.PRES.CCMD)\n"
    "      (store Arg2 \\_SB.PCI0.PRES.CDAT)\n"
    "      (release \\_SB.PCI0.PRES.CPLK))\n";

static void put_cpu(const PcInfo *info, unsigned index, GString *text)
{
    uint8_t entry[16];
    unsigned size = acpi_madt_cpu_entry(info, index, true, entry);

    if (info->cpus[index].apic_id <= APIC_ID_XAPIC_MAX) {
        g_string_append_printf(text, "    (processor C%.03X %u\n", index, index);
    } else {
        g_string_append_printf(text, "    (device C%.03X (name _HID 'ACPI0007') (name _UID %u)\n", index, index);
    }
    g_string_append_printf(text, "      (method _STA 0 serialized (return (call CSTA %u)))\n", index);
    g_string_append_printf(text, "      (name _MAT (buffer %u", size);
    for (unsigned i = 0; i < size; i++) {
        g_string_append_printf(text, " %u", entry[i]);
    }
    g_string_append(text, "))\n");
    if (index > 0) {             /* the boot processor stays */
        g_string_append_printf(text, "      (method _EJ0 1 (call CEJ0 %u))\n", index);
    }
    g_string_append_printf(text, "      (method _OST 3 serialized (call COST %u Arg0 Arg1 Arg2))\n", index);
    if (info->n_nodes && info->cpus[index].node >= 0) {
        g_string_append_printf(text, "      (name _PXM %d)\n", info->cpus[index].node);
    }
    g_string_append(text, "      )\n");
}

void acpi_dsdt_cpus(const PcInfo *info, GString *text)
{
    g_string_append_printf(text, "(scope _SB\n%s", cpu_registers);
    g_string_append(text, "  (device \\_SB.CPUS\n"
                          "    (name _HID 'ACPI0010')\n"
                          "    (name _CID (eisaid PNP0A05))\n"
                          "    (method CTFY 2\n");
    for (unsigned i = 0; i < info->max_cpus; i++) {
        g_string_append_printf(text, "      (if (equal Arg0 %u) (notify C%.03X Arg1))\n", i, i);
    }
    g_string_append_printf(text, "      )\n%s", cpu_methods);
    g_string_append_printf(text, cpu_scan, info->max_cpus);
    for (unsigned i = 0; i < info->max_cpus; i++) {
        put_cpu(info, i, text);
    }
    g_string_append(text, "    ))\n(method \\_GPE._E02 0 (call \\_SB.CPUS.CSCN))\n");
}

/* ---- memory ----------------------------------------------------------------------------- */

static const char memory_registers[] =
    "(device \\_SB.PCI0.MHPD\n"
    "  (name _HID 'PNP0A06')\n"
    "  (name _UID 'Memory hotplug resources')\n"
    "  (name _CRS (resources (io 0xa00 0xa00 0 0x18)))\n"
    "  (opregion HPMR SystemIO 0xa00 0x18))\n"
    "(device \\_SB.MHPC\n"
    "  (name _HID 'PNP0A06')\n"
    "  (name _UID 'DIMM devices')\n"
    "  (name MDNR %u)\n"
    "  (field \\_SB.PCI0.MHPD.HPMR dword nolock preserve (MRBL 32) (MRBH 32) (MRLL 32) (MRLH 32) (MPX 32))\n"
    "  (field \\_SB.PCI0.MHPD.HPMR byte nolock zeros (offset 0x14) (MES 1) (MINS 1) (MRMV 1) (MEJ 1))\n"
    "  (field \\_SB.PCI0.MHPD.HPMR dword nolock preserve (MSEL 32) (MOEV 32) (MOSC 32))\n"
    "  (method _STA 0\n"
    "    (if (equal MDNR 0) (return 0))\n"
    "    (return 11))\n";

static const char memory_scan[] =
    "  (mutex MLCK 0)\n"
    "  (method MSCN 0\n"
    "    (if (equal MDNR 0) (return 0))\n"
    "    (store 0 Local0)\n"
    "    (acquire MLCK)\n"
    "    (while (less Local0 MDNR)\n"
    "      (store Local0 MSEL)\n"
    "      (if (equal MINS 1)\n"
    "        (call MTFY Local0 1)\n"
    "        (store 1 MINS))\n"
    "      (else (if (equal MRMV 1)\n"
    "        (call MTFY Local0 3)\n"
    "        (store 1 MRMV)))\n"
    "      (add Local0 1 Local0))\n"
    "    (release MLCK)\n"
    "    (return 1))\n"
    "  (method MRST 1\n"
    "    (store 0 Local0)\n"
    "    (acquire MLCK)\n"
    "    (store (tointeger Arg0) MSEL)\n"
    "    (if (equal MES 1) (store 15 Local0))\n"
    "    (release MLCK)\n"
    "    (return Local0))\n";

/* Where a DIMM lies: a 64-bit window, or a 32-bit one when it ends below 4 GiB. Arithmetic is in
 * halves because the table is of revision 1, whose integers have 32 bits. */
static const char memory_window[] =
    "  (method MCRS 1 serialized\n"
    "    (acquire MLCK)\n"
    "    (store (tointeger Arg0) MSEL)\n"
    "    (name MR64 (resources (memrange64 cached 0 0xfffffffffffffffe 0xffffffffffffffff)))\n"
    "    (createdword MR64 14 MINL)\n"
    "    (createdword MR64 18 MINH)\n"
    "    (createdword MR64 38 LENL)\n"
    "    (createdword MR64 42 LENH)\n"
    "    (createdword MR64 22 MAXL)\n"
    "    (createdword MR64 26 MAXH)\n"
    "    (store MRBH MINH)\n"
    "    (store MRBL MINL)\n"
    "    (store MRLH LENH)\n"
    "    (store MRLL LENL)\n"
    "    (add MINL LENL MAXL)\n"
    "    (add MINH LENH MAXH)\n"
    "    (if (less MAXL MINL) (add MAXH 1 MAXH))\n"
    "    (if (less MAXL 1) (subtract MAXH 1 MAXH))\n"
    "    (subtract MAXL 1 MAXL)\n"
    "    (if (equal MAXH 0)\n"
    "      (name MR32 (resources (memrange32 cached 0 0xfffffffe 0xffffffff)))\n"
    "      (createdword MR32 10 MIN)\n"
    "      (createdword MR32 14 MAX)\n"
    "      (createdword MR32 22 LEN)\n"
    "      (store MINL MIN)\n"
    "      (store MAXL MAX)\n"
    "      (store LENL LEN)\n"
    "      (release MLCK)\n"
    "      (return MR32))\n"
    "    (release MLCK)\n"
    "    (return MR64))\n";

static const char memory_methods[] =
    "  (method MPXM 1\n"
    "    (acquire MLCK)\n"
    "    (store (tointeger Arg0) MSEL)\n"
    "    (store MPX Local0)\n"
    "    (release MLCK)\n"
    "    (return Local0))\n"
    "  (method MOST 4\n"
    "    (acquire MLCK)\n"
    "    (store (tointeger Arg0) MSEL)\n"
    "    (store Arg1 MOEV)\n"
    "    (store Arg2 MOSC)\n"
    "    (release MLCK))\n"
    "  (method MEJ0 2\n"
    "    (acquire MLCK)\n"
    "    (store (tointeger Arg0) MSEL)\n"
    "    (store 1 MEJ)\n"
    "    (release MLCK))\n";

static const char memory_slot[] =
    "  (device MP%02X\n"
    "    (name _UID '0x%02X')\n"
    "    (name _HID (eisaid PNP0C80))\n"
    "    (method _CRS 0 (return (call MCRS _UID)))\n"
    "    (method _STA 0 (return (call MRST _UID)))\n"
    "    (method _PXM 0 (return (call MPXM _UID)))\n"
    "    (method _OST 3 (call MOST _UID Arg0 Arg1 Arg2))\n"
    "    (method _EJ0 1 (call MEJ0 _UID Arg0)))\n";

void acpi_dsdt_memory(const PcInfo *info, GString *text)
{
    if (!info->ram_slots) {
        return;
    }
    g_string_append_printf(text, memory_registers, info->ram_slots);
    g_string_append(text, memory_scan);
    g_string_append(text, memory_window);
    g_string_append(text, memory_methods);
    for (unsigned i = 0; i < info->ram_slots; i++) {
        g_string_append_printf(text, memory_slot, i, i);
    }
    g_string_append(text, "  (method MTFY 2\n");
    for (unsigned i = 0; i < info->ram_slots; i++) {
        g_string_append_printf(text, "    (if (equal Arg0 %u) (notify MP%02X Arg1))\n", i, i);
    }
    g_string_append(text, "    ))\n(method \\_GPE._E03 0 (call \\_SB.MHPC.MSCN))\n");
}
