/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "pci-host-bridge": configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2). A double word at
 * 0xcf8 selects bus, device, function and register; 0xcfc to 0xcff is that register's window.
 *
 * Only an aligned double word reaches CONFIG_ADDRESS, as in the specification: bytes and words
 * there belong to other chips (0xcf9 is the PIIX's reset control, mapped above).
 */
#include "hw/pci/pci.h"
#include "util/trace.h"

#define CONFIG_ENABLE 0x80000000u

static uint64_t conf_read(void *opaque, uint64_t offset, unsigned size)
{
    const PciHost *host = opaque;

    trace(pci_host_address_read, "-> 0x%08x", host->config_reg);
    return host->config_reg;
}

static void conf_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PciHost *host = opaque;

    if (offset == 0 && size == 4) {
        trace(pci_host_address_write, "<- 0x%08x", (uint32_t)value);
        host->config_reg = value;
    }
}

static inline PciDevice *selected(const PciHost *host)
{
    uint32_t reg = host->config_reg;

    return reg & CONFIG_ENABLE ? pci_find(host->bus, (reg >> 16) & 0xff, (reg >> 8) & 0xff) : NULL;
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    const PciHost *host = opaque;
    PciDevice *pci = selected(host);

    return pci ? pci_config_read(pci, (host->config_reg & 0xfc) + offset, size) : all_ones(size);
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    const PciHost *host = opaque;
    PciDevice *pci = selected(host);

    if (pci) {
        pci_config_write(pci, (host->config_reg & 0xfc) + offset, value, size);
    }
}

static const RegionOps conf_ops = {
    .read = conf_read,
    .write = conf_write,
    .valid = {.min_size = 1, .max_size = 4},
};

static const RegionOps data_ops = {
    .read = data_read,
    .write = data_write,
    .valid = {.min_size = 1, .max_size = 4},
};

void pci_host_init_regions(PciHost *host)
{
    region_init_io(&host->conf, &conf_ops, host, "pci-conf-idx", 4);
    region_init_io(&host->data, &data_ops, host, "pci-conf-data", 4);
    /* No owner: a write here may start DMA of the device it configures, never of the bridge
     * itself. */
}

static void pci_host_reset(Device *dev)
{
    container_of(dev, PciHost, dev)->config_reg = 0;
}

static const StateField host_fields[] = {
    STATE_U32(PciHost, config_reg),
    {}
};
static const StateDesc host_state = {.name = "PCIHost", .version = 1, .min_version = 1,
                                     .fields = host_fields};

DEVICE_TYPE(pci_host) = {
    .name = "pci-host-bridge",
    .parent = "device",
    .desc = "PCI host bridge",
    .size = sizeof(PciHost),
    .abstract = true,
    .not_user = "it is part of the machine; leave it out",
    .category = "bridge",
    .state = &host_state,
    .reset = pci_host_reset,
};
