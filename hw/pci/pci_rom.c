/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The option ROM of a PCI function: an image in the expansion ROM BAR (PCI Local Bus 3.0, 6.3).
 *
 * An image that came with the type (not with romfile=) may be shared by several device ids, so the
 * ids in its data structure are made to fit and the checksum is kept.
 *
 * With rombar=0 there is no ROM BAR: firmware gets the image as a file of fw_cfg instead, and runs it
 * as one of the machine's own. A device that is plugged in later is then without a ROM.
 */
#include "core/data_dirs.h"
#include "hw/nvram/fw_cfg.h"
#include "hw/pci/pci.h"
#include "util/file.h"
#include "util/trace.h"

#define ROM_MAX (16 * MIB)
#define ROM_SIGNATURE 0xaa55
#define ROM_DATA_POINTER 0x18     /* offset of the PCI data structure in the header */
#define ROM_CHECKSUM 6            /* byte that QEMU and SeaBIOS's build let make the sum 0 */

/* Makes the ids of a shared image this device's; a difference in bytes goes into the checksum. */
static void rom_fit_ids(const PciDevice *pci, uint8_t *rom, size_t len)
{
    unsigned data, sum = 0;

    if (len < ROM_DATA_POINTER + 2 || load16_le(rom) != ROM_SIGNATURE) {
        return;
    }
    data = load16_le(rom + ROM_DATA_POINTER);
    if (!range_fits(data, 8, len) || memcmp(rom + data, "PCIR", 4)) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        sum += rom[data + 4 + i];
        rom[data + 4 + i] = pci->config[PCI_VENDOR_ID + i];
        sum -= rom[data + 4 + i];
    }
    rom[ROM_CHECKSUM] += sum;
}

/* rombar=0 */
static bool rom_to_firmware(const PciDevice *pci, const char *path, const void *image, size_t len,
                            GError **err)
{
    FwCfg *fw = fw_cfg_find(pci->dev.vm);
    g_autofree char *base = g_path_get_basename(path);
    g_autofree char *name = g_strdup_printf(
        "%s/%s", pci->info->class_id == PCI_CLASS_DISPLAY_VGA ? "vgaroms" : "genroms", base);

    return !fw || pci->dev.hotplugged || fw_cfg_add_file(fw, name, image, len, err);
}

bool pci_rom_init(PciDevice *pci, GError **err)
{
    const char *name = pci->romfile ? pci->romfile : pci->info->romfile;
    g_autofree char *path = NULL;
    g_autofree char *image = NULL;
    g_autofree char *state_path = NULL;
    g_autoptr(GError) failed = NULL;
    const BusOps *bus_ops;
    size_t len, size;

    if (!name || !*name) {
        return true;
    }
    path = find_firmware(pci->dev.vm, name);
    if (!path) {
        if (!pci->romfile) {
            trace(pci_rom_absent, "%s: %s is not installed", pci->dev.obj.type->name, name);
            return true; /* a default that is not installed: a device without a ROM */
        }
        return error_set(err, "romfile=%s: no such file; give a path, or romfile= for none", name);
    }
    if (!file_read(path, ROM_MAX, &image, &len, &failed)) {
        return error_set_from(err, failed, "romfile=%s: %s", path, failed->message);
    }
    if (len == 0 || len > ROM_MAX) {
        return error_set(err,
                         "romfile=%s: an option ROM of %zu bytes; it must have 1 byte to 16 MiB",
                         path, len);
    }
    if (!pci->rombar) {
        return rom_to_firmware(pci, path, image, len, err);
    }
    for (size = 2048; size < len; size *= 2) {
    }
    if (pci->romsize != UINT32_MAX) {
        if (pci->romsize < len) {
            return error_set(err, "romfile=%s has %zu bytes: more than romsize=%u", path, len,
                             pci->romsize);
        }
        size = pci->romsize;
    }
    pci->romsize = size;
    bus_ops = type_ops(pci->dev.bus->obj.type);
    state_path = bus_ops->state_path(pci->dev.bus, &pci->dev);
    pci->rom_name = g_strdup_printf("%s/%s.rom", state_path, pci->dev.obj.type->name);
    if (!region_init_rom(&pci->rom, pci->dev.vm, pci->rom_name, size, err)) {
        return false;
    }
    memcpy(region_host(&pci->rom), image, len);
    if (!pci->romfile) {
        rom_fit_ids(pci, region_host(&pci->rom), len);
    }
    pci_register_bar(pci, PCI_ROM_SLOT, 0, &pci->rom);
    return true;
}

void pci_rom_cleanup(PciDevice *pci)
{
    if (pci->bars[PCI_ROM_SLOT].region) {
        region_destroy(&pci->rom);
        pci->bars[PCI_ROM_SLOT].region = NULL;
    }
    g_clear_pointer(&pci->rom_name, g_free);
}
