/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a pc tells its firmware: fw_cfg keys and files, the same as QEMU 7.2's pc, so that keys keep
 * their numbers when a guest moves.
 */
#include <fcntl.h>
#include <unistd.h>

#include "hw/acpi/piix4_pm.h"
#include "hw/i386/acpi_build.h"
#include "hw/i386/acpi_dsdt.h"
#include "hw/i386/boot_order.h"
#include "hw/i386/kernel_loader.h"
#include "hw/i386/smbios.h"
#include "hw/nvram/option_file.h"

#define REBOOT_TIMEOUT_MAX 0xffff    /* ms */
#define SPLASH_TIME_MAX 0xffff
#define SPLASH_FILE_MAX (16 * MIB)

/* ---- keys ---------------------------------------------------------------------------- */

/* The HPET's block, in the layout that firmware copies: a count and 8 entries of 15 bytes. */
static void add_hpet(const PcInfo *info)
{
    uint8_t raw[1 + 8 * 15] = {0xff};    /* not there */

    if (info->hpet) {
        raw[0] = 1;
        store32_le(raw + 1, 0x8086a201);
        store64_le(raw + 5, 0xfed00000);
    }
    fw_cfg_add_bytes(info->fw_cfg, FW_CFG_HPET, raw, sizeof raw);
}

/* Number of nodes, the node of each APIC id, the size of each node. */
static void add_numa(const PcInfo *info)
{
    unsigned count = 1 + info->apic_id_limit + info->n_nodes;
    uint8_t *raw = g_malloc0(count * 8);

    store64_le(raw, info->n_nodes);
    for (unsigned i = 0; i < info->max_cpus; i++) {
        const PcCpuSlot *cpu = &info->cpus[i];
        if (cpu->node >= 0 && cpu->apic_id < info->apic_id_limit) {
            store64_le(raw + 8 * (1 + (size_t)cpu->apic_id), (uint64_t)cpu->node);
        }
    }
    for (unsigned i = 0; i < info->n_nodes; i++) {
        store64_le(raw + 8 * (1 + (size_t)info->apic_id_limit + i), info->nodes[i].mem);
    }
    fw_cfg_add_bytes(info->fw_cfg, FW_CFG_NUMA, raw, count * 8);
    g_free(raw);
}

static void add_keys(const PcInfo *info)
{
    FwCfg *fw = info->fw_cfg;

    fw_cfg_add_bytes(fw, FW_CFG_UUID, info->vm->uuid, 16);
    fw_cfg_set_u64(fw, FW_CFG_RAM_SIZE, info->vm->ram_size);
    fw_cfg_set_u16(fw, FW_CFG_NOGRAPHIC, !info->graphics);
    fw_cfg_set_u16(fw, FW_CFG_NB_CPUS, (uint16_t)info->n_cpus);
    fw_cfg_set_u16(fw, FW_CFG_MAX_CPUS, (uint16_t)info->apic_id_limit);
    fw_cfg_set_u16(fw, FW_CFG_BOOT_MENU, info->boot_menu);
    fw_cfg_set_u32(fw, FW_CFG_IRQ0_OVERRIDE, 1);
    add_numa(info);
    add_hpet(info);
}

/* ---- files --------------------------------------------------------------------------- */

static bool add_e820(const PcInfo *info, GError **err)
{
    GByteArray *raw = g_byte_array_new();
    bool ok;

    e820_encode(&info->e820, raw);
    ok = fw_cfg_add_file(info->fw_cfg, "etc/e820", raw->data, raw->len, err);
    g_byte_array_unref(raw);
    return ok;
}

/* Which sleep states there are (bit 7) and their SLP_TYP. */
static bool add_system_states(const PcInfo *info, GError **err)
{
    uint8_t states[6] = {0x80, 0, 0, 1, 0, 0x80};

    if (!acpi_find_device(info, "PIIX4_PM")) {
        return true;
    }
    states[3] = 1 | (info->disable_s3 ? 0 : 0x80);
    states[4] = info->s4_val | (info->disable_s4 ? 0 : 0x80);
    return fw_cfg_add_file(info->fw_cfg, "etc/system-states", states, sizeof states, err);
}

static bool add_splash(const PcInfo *info, GError **err)
{
    char *data = NULL;
    gsize len = 0;
    bool ok, jpeg, bmp;

    if (info->boot_splash_time >= 0) {
        uint8_t raw[2];

        if (info->boot_splash_time > SPLASH_TIME_MAX) {
            return error_set(err, "-boot splash-time=%d: must be 0 to %d ms", info->boot_splash_time,
                             SPLASH_TIME_MAX);
        }
        store16_le(raw, (uint16_t)info->boot_splash_time);
        if (!fw_cfg_add_file(info->fw_cfg, "etc/boot-menu-wait", raw, sizeof raw, err)) {
            return false;
        }
    }
    if (!info->boot_splash) {
        return true;
    }
    if (!option_read_file("-boot splash", info->boot_splash, SPLASH_FILE_MAX, &data, &len, err)) {
        return false;
    }
    jpeg = len > 2 && (uint8_t)data[0] == 0xff && (uint8_t)data[1] == 0xd8;
    bmp = len > 2 && data[0] == 'B' && data[1] == 'M';
    ok = jpeg || bmp ? fw_cfg_add_file(info->fw_cfg, jpeg ? "bootsplash.jpg" : "bootsplash.bmp", data, len, err)
                     : error_set(err, "-boot splash=%s: is neither a JPEG nor a BMP picture; "
                                      "name one that is", info->boot_splash);
    g_free(data);
    return ok;
}

static bool add_boot_options(const PcInfo *info, GError **err)
{
    g_autoptr(GString) geometry = g_string_new(NULL);
    GString *order = g_string_new(NULL);
    uint8_t raw[4];
    bool ok;

    if (info->reboot_timeout < -1 || info->reboot_timeout > REBOOT_TIMEOUT_MAX) {
        g_string_free(order, TRUE);
        return error_set(err, "-boot reboot-timeout=%d: must be -1 (never) to %d ms", info->reboot_timeout,
                         REBOOT_TIMEOUT_MAX);
    }
    store32_le(raw, (uint32_t)info->reboot_timeout);
    ok = boot_order_build(info->vm, info->option_roms, info->boot_strict, order, err) &&
         fw_cfg_set_file(info->fw_cfg, "bootorder", order->str, order->len ? order->len + 1 : 0, err) &&
         fw_cfg_add_file(info->fw_cfg, "etc/boot-fail-wait", raw, sizeof raw, err) && add_splash(info, err);
    g_string_free(order, TRUE);
    bios_geometry_build(info->vm, geometry);
    return ok && (!geometry->len ||
                  fw_cfg_set_file(info->fw_cfg, "bios-geometry", geometry->str, geometry->len + 1, err));
}

/* Files that exist only when what they are about does. */
static bool add_optional(const PcInfo *info, GError **err)
{
    Device *pvpanic = acpi_find_device(info, "pvpanic");
    uint8_t raw[8];

    if (pvpanic && !fw_cfg_has_file(info->fw_cfg, "etc/pvpanic-port")) {
        store16_le(raw, (uint16_t)acpi_property(pvpanic, "ioport"));
        if (!fw_cfg_add_file(info->fw_cfg, "etc/pvpanic-port", raw, 2, err)) {
            return false;
        }
    }
    if (info->feature_control) {
        store64_le(raw, info->feature_control);
        if (!fw_cfg_add_file(info->fw_cfg, "etc/msr_feature_control", raw, 8, err)) {
            return false;
        }
    }
    if (info->device_memory_size) {
        store64_le(raw, align_up(info->device_memory_base + info->device_memory_size, GIB));
        return fw_cfg_add_file(info->fw_cfg, "etc/reserved-memory-end", raw, 8, err);
    }
    return true;
}

/* ---- SMBIOS ---------------------------------------------------------------------------- */

static void fill_smbios_tables(void *opaque, GByteArray *out)
{
    const PcInfo *info = opaque;
    GByteArray *anchor = g_byte_array_new();

    smbios_build(info->smbios, info, out, anchor);
    g_byte_array_unref(anchor);
}

static void fill_smbios_anchor(void *opaque, GByteArray *out)
{
    const PcInfo *info = opaque;
    GByteArray *tables = g_byte_array_new();

    smbios_build(info->smbios, info, tables, out);
    g_byte_array_unref(tables);
}

static bool add_smbios(PcInfo *info, GError **err)
{
    static const FwCfgSource tables = {.fill = fill_smbios_tables}, anchor = {.fill = fill_smbios_anchor};

    if (!smbios_options_check(info->smbios, info->vm, err)) {
        return false;
    }
    return fw_cfg_add_file_source(info->fw_cfg, "etc/smbios/smbios-tables", &tables, info, err) &&
           fw_cfg_add_file_source(info->fw_cfg, "etc/smbios/smbios-anchor", &anchor, info, err);
}

/* ---- all of it --------------------------------------------------------------------------- */

static void look_at_devices(PcInfo *info)
{
    Device *pm = acpi_find_device(info, "PIIX4_PM");

    info->hpet = acpi_find_device(info, "hpet") != NULL;
    if (pm) {
        Piix4PmConfig config = piix4_pm_config(container_of(pm, PciDevice, dev));

        info->disable_s3 = config.disable_s3;
        info->disable_s4 = config.disable_s4;
        info->s4_val = config.s4_val;
        info->acpi_pci_hotplug = config.pci_hotplug_root || config.pci_hotplug_bridges;
    }
}

bool pc_fw_cfg_populate(PcInfo *info, GError **err)
{
    look_at_devices(info);
    add_keys(info);
    if (info->kernel) {
        if (!kernel_load(info, err)) {
            return false;
        }
    } else if (info->initrd || info->append || info->dtb) {
        return error_set(err, "%s %s: is only possible with -kernel; add it, or leave this out",
                         info->initrd ? "-initrd" : info->append ? "-append" : "-dtb",
                         info->initrd ? info->initrd : info->append ? info->append : info->dtb);
    }
    if (info->acpi && (!acpi_add_files(info, err) || !fw_cfg_add_file(info->fw_cfg, "etc/tpm/log", "", 0, err))) {
        return false;
    }
    return fw_cfg_add_file(info->fw_cfg, "bios-geometry", "", 0, err) && add_e820(info, err) &&
           add_system_states(info, err) && add_boot_options(info, err) && add_optional(info, err) &&
           add_smbios(info, err);
}
