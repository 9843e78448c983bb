/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What "qemu-system-x86_64 -device help" of QEMU 7.2 lists, CPUs left out (tests/oracle/device-names.py compares). That a
 * name stands here says nothing of Kiln: a type of that name is found before anyone looks here.
 */
#include "core/device_names.h"

#include "util/error.h"

static const char *const short_names[][2] = {
    {"ac97", "AC97"},
    {"ahci", "ich9-ahci"},
    {"e1000-82540em", "e1000"},
    {"es1370", "ES1370"},
    {"lsi", "lsi53c895a"},
    {"virtio-9p", "virtio-9p-pci"},
    {"virtio-balloon", "virtio-balloon-pci"},
    {"virtio-blk", "virtio-blk-pci"},
    {"virtio-gpu", "virtio-gpu-pci"},
    {"virtio-gpu-gl", "virtio-gpu-gl-pci"},
    {"virtio-input-host", "virtio-input-host-pci"},
    {"virtio-iommu", "virtio-iommu-pci"},
    {"virtio-keyboard", "virtio-keyboard-pci"},
    {"virtio-mouse", "virtio-mouse-pci"},
    {"virtio-net", "virtio-net-pci"},
    {"virtio-rng", "virtio-rng-pci"},
    {"virtio-scsi", "virtio-scsi-pci"},
    {"virtio-serial", "virtio-serial-pci"},
    {"virtio-tablet", "virtio-tablet-pci"},
};

/* near: the type of Kiln's that can stand for them; NULL: none can. */
static const struct {
    const char *near;
    const char *names; /* with blanks between them */
} families[] = {
    /* bridges */
    {"pci-bridge", "i82801b11-bridge pci-bridge pci-bridge-seat pcie-pci-bridge"},
    {NULL, "cxl-downstream cxl-rp cxl-upstream ioh3420 pcie-root-port pxb pxb-cxl pxb-pcie vfio-pci-igd-lpc-bridge "
           "vmbus-bridge x3130-upstream xio3130-downstream"},
    /* USB */
    {NULL, "ich9-usb-ehci1 ich9-usb-ehci2 ich9-usb-uhci1 ich9-usb-uhci2 ich9-usb-uhci3 ich9-usb-uhci4 ich9-usb-uhci5 "
           "ich9-usb-uhci6 nec-usb-xhci pci-ohci piix3-usb-uhci piix4-usb-uhci qemu-xhci usb-ehci usb-hub usb-host "
           "usb-braille usb-ccid ccid-card-emulated ccid-card-passthru u2f-passthru usb-mtp usb-redir"},
    /* disks and their controllers */
    {"ide-hd", "ich9-ahci ide-hd isa-ide piix3-ide piix4-ide"},
    {"scsi-hd", "scsi-block scsi-generic scsi-hd"},
    {"virtio-blk-pci", "nvme nvme-ns nvme-subsys sd-card sdhci-pci usb-bot usb-storage usb-uas vhost-user-blk vhost-user-blk-pci "
                       "vhost-user-blk-pci-non-transitional vhost-user-blk-pci-transitional virtio-blk-device virtio-blk-pci "
                       "virtio-blk-pci-non-transitional virtio-blk-pci-transitional"},
    {"virtio-scsi-pci", "am53c974 dc390 lsi53c810 lsi53c895a megasas megasas-gen2 mptsas1068 pvscsi vhost-scsi vhost-scsi-pci "
                        "vhost-scsi-pci-non-transitional vhost-scsi-pci-transitional vhost-user-scsi vhost-user-scsi-pci "
                        "vhost-user-scsi-pci-non-transitional vhost-user-scsi-pci-transitional virtio-scsi-device "
                        "virtio-scsi-pci virtio-scsi-pci-non-transitional virtio-scsi-pci-transitional"},
    {NULL, "cxl-type3 floppy ide-cd isa-fdc scsi-cd vhost-user-fs-device vhost-user-fs-pci virtio-9p-device virtio-9p-pci virtio-9p-pci-non-transitional "
           "virtio-9p-pci-transitional"},
    /* network cards */
    {"e1000", "e1000 e1000-82544gc e1000-82545em e1000e"},
    {"rtl8139", "i82550 i82551 i82557a i82557b i82557c i82558a i82558b i82559a i82559b i82559c i82559er i82562 i82801 ne2k_isa "
                "ne2k_pci pcnet rtl8139 tulip"},
    {"virtio-net-pci", "usb-net virtio-net-device virtio-net-pci virtio-net-pci-non-transitional virtio-net-pci-transitional "
                       "vmxnet3"},
    {NULL, "ctucan_pci kvaser_pci mioe3680_pci pcm3680_pci pvrdma rocker vhost-user-vsock-device vhost-user-vsock-pci "
           "vhost-user-vsock-pci-non-transitional vhost-vsock-device vhost-vsock-pci vhost-vsock-pci-non-transitional"},
    /* keyboards, mice, lines */
    {"virtio-keyboard-pci", "usb-kbd virtio-keyboard-device virtio-keyboard-pci"},
    {"virtio-mouse-pci", "usb-mouse virtio-mouse-device virtio-mouse-pci"},
    {"virtio-tablet-pci", "usb-tablet usb-wacom-tablet virtio-tablet-device virtio-tablet-pci"},
    {"isa-serial", "isa-serial pci-serial pci-serial-2x pci-serial-4x usb-serial"},
    {"virtio-serial-pci", "virtio-serial-device virtio-serial-pci virtio-serial-pci-non-transitional "
                          "virtio-serial-pci-transitional"},
    {NULL, "i8042 ipoctal232 isa-parallel tpci200 virtconsole virtserialport vhost-user-gpio-device vhost-user-gpio-pci vhost-user-i2c-device vhost-user-i2c-pci "
           "vhost-user-input vhost-user-input-pci virtio-input-host-device virtio-input-host-pci vmmouse"},
    /* screens */
    {NULL, "VGA ati-vga bochs-display cirrus-vga isa-cirrus-vga isa-vga qxl qxl-vga ramfb secondary-vga sga vhost-user-gpu "
           "vhost-user-gpu-pci vhost-user-vga virtio-gpu-device virtio-gpu-gl-pci virtio-gpu-pci virtio-vga virtio-vga-gl "
           "vmware-svga i2c-ddc"},
    /* sound */
    {NULL, "AC97 ES1370 adlib cs4231a gus hda-duplex hda-micro hda-output ich9-intel-hda intel-hda sb16 usb-audio"},
    /* memory */
    {"pc-dimm", "nvdimm pc-dimm virtio-mem virtio-mem-pci virtio-pmem virtio-pmem-pci"},
    {"virtio-balloon-pci", "virtio-balloon-device virtio-balloon-pci virtio-balloon-pci-non-transitional "
                           "virtio-balloon-pci-transitional"},
    {NULL, "ivshmem-doorbell ivshmem-plain"},
    /* others */
    {"virtio-rng-pci", "vhost-user-rng vhost-user-rng-pci virtio-rng-device virtio-rng-pci virtio-rng-pci-non-transitional "
                       "virtio-rng-pci-transitional"},
    {"pvpanic", "pvpanic pvpanic-pci"},
    {NULL, "AMDVI-PCI acpi-erst amd-iommu edu guest-loader hv-syndbg hyperv-testdev i6300esb ib700 intel-iommu ipmi-bmc-extern isa-debug-exit isa-debugcon "
           "ipmi-bmc-sim isa-applesmc isa-ipmi-bt isa-ipmi-kcs loader mc146818rtc pc-testdev pci-ipmi-bt pci-ipmi-kcs "
           "pci-testdev smbus-ipmi tpm-crb tpm-tis vfio-pci vfio-pci-nohotplug virtio-crypto-device virtio-crypto-pci "
           "virtio-iommu-device virtio-iommu-pci vmcoreinfo vmgenid x-pci-proxy-dev"},
};

static const struct {
    const char *bus, *controller;
} controllers[] = {
    {"SCSI", "virtio-scsi-pci"},
    {"floppy-bus", "isa-fdc"},
    {"virtio-serial-bus", "virtio-serial-pci"},
};

const char *device_full_name(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(short_names); i++) {
        if (!strcmp(short_names[i][0], name)) {
            return short_names[i][1];
        }
    }
    return name;
}

const char *device_short_name(const char *type_name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(short_names); i++) {
        if (!strcmp(short_names[i][1], type_name)) {
            return short_names[i][0];
        }
    }
    return NULL;
}

static bool has_word(const char *words, const char *word)
{
    const size_t len = strlen(word);

    for (const char *at = words; len && (at = strstr(at, word)); at += len) {
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || !at[len])) {
            return true;
        }
    }
    return false;
}

bool device_error_qemu_only(const char *name, GError **err)
{
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++) {
        const char *near = families[i].near;

        if (has_word(families[i].names, device_full_name(name))) {
            g_autofree char *way_out = near ? g_strdup_printf(": '%s' is the nearest that it has", near) : g_strdup("");

            error_set(err, "'%s' is a device of QEMU that Kiln does not have yet%s; -device help lists all it has", name, way_out);
            return true;
        }
    }
    return false;
}

const char *device_bus_controller(const char *bus_type)
{
    for (size_t i = 0; i < G_N_ELEMENTS(controllers); i++) {
        if (!strcmp(controllers[i].bus, bus_type)) {
            return controllers[i].controller;
        }
    }
    return NULL;
}
