/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI. The capability's layout depends on two flags that never change: 64-bit address and
 * per-vector mask bits. A vector that is masked becomes pending and is sent when it is unmasked.
 */
#include "hw/pci/msi.h"
#include "util/trace.h"

void pci_send_msi(PciDevice *pci, MsiMessage msi)
{
    Accel *accel = pci->dev.vm->accel;

    /* A message is a memory write of the device: without bus mastering there is none. */
    if (pci->dev.dma_off || !accel || !accel->ops->send_msi) {
        return;
    }
    trace(pci_msi_send, "%s %02x.%x address 0x%" PRIx64 " data 0x%x", pci->dev.obj.type->name,
          PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn), msi.address, msi.data);
    accel->ops->send_msi(accel, msi);
}

static inline uint16_t msi_flags(const PciDevice *pci)
{
    return load16_le(pci->config + pci->cap_msi + PCI_MSI_FLAGS);
}

static inline unsigned data_offset(const PciDevice *pci, uint16_t flags)
{
    return pci->cap_msi + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32);
}

static inline unsigned mask_offset(const PciDevice *pci, uint16_t flags)
{
    return pci->cap_msi + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);
}

static inline unsigned pending_offset(const PciDevice *pci, uint16_t flags)
{
    return mask_offset(pci, flags) + 4;
}

bool msi_init(PciDevice *pci, uint8_t offset, unsigned vectors, bool wide, bool per_vector_mask,
              GError **err)
{
    uint16_t flags = wide ? PCI_MSI_FLAGS_64BIT : 0;
    uint8_t size = wide ? 14 : 10;

    g_assert(vectors >= 1 && vectors <= 32 && is_power_of_two(vectors));
    flags |= (unsigned)__builtin_ctz(vectors) << 1;
    if (per_vector_mask) {
        flags |= PCI_MSI_FLAGS_MASKBIT;
        size = wide ? 24 : 20;
    }
    offset = pci_add_capability(pci, PCI_CAP_ID_MSI, offset, size);
    if (!offset) {
        return error_set(err, "no room for the MSI capability in the configuration space of %s",
                         pci->dev.obj.type->name);
    }
    pci->cap_msi = offset;
    store16_le(pci->config + offset + PCI_MSI_FLAGS, flags);
    store16_le(pci->wmask + offset + PCI_MSI_FLAGS, PCI_MSI_FLAGS_QSIZE | PCI_MSI_FLAGS_ENABLE);
    store32_le(pci->wmask + offset + PCI_MSI_ADDRESS_LO, 0xfffffffc);
    if (wide) {
        store32_le(pci->wmask + offset + PCI_MSI_ADDRESS_HI, 0xffffffff);
    }
    store16_le(pci->wmask + data_offset(pci, flags), 0xffff);
    if (per_vector_mask) {
        uint32_t offered = 0xffffffffu >> (32 - vectors);

        store32_le(pci->wmask + mask_offset(pci, flags), offered);
        store32_le(pci->cmask + pending_offset(pci, flags), ~offered); /* any in a saved state */
    }
    return true;
}

bool msi_enabled(const PciDevice *pci)
{
    return pci->cap_msi && (msi_flags(pci) & PCI_MSI_FLAGS_ENABLE);
}

/* The guest may write more than the device offered: what it offered is the limit. */
unsigned msi_vectors_enabled(const PciDevice *pci)
{
    uint16_t flags = msi_flags(pci);
    unsigned wanted = (flags & PCI_MSI_FLAGS_QSIZE) >> 4;
    unsigned offered = (flags & PCI_MSI_FLAGS_QMASK) >> 1;

    return 1u << MIN(wanted, offered);
}

MsiMessage msi_message(const PciDevice *pci, unsigned vector)
{
    uint16_t flags = msi_flags(pci);
    const uint8_t *address = pci->config + pci->cap_msi + PCI_MSI_ADDRESS_LO;
    unsigned count = msi_vectors_enabled(pci);
    uint32_t data = load16_le(pci->config + data_offset(pci, flags));

    if (count > 1) {
        data = (data & ~(count - 1)) | (vector & (count - 1));
    }
    return (MsiMessage){
        .address = flags & PCI_MSI_FLAGS_64BIT ? load64_le(address) : load32_le(address),
        .data = data,
    };
}

bool msi_vector_masked(const PciDevice *pci, unsigned vector)
{
    uint16_t flags = msi_flags(pci);

    return (flags & PCI_MSI_FLAGS_MASKBIT) &&
           (load32_le(pci->config + mask_offset(pci, flags)) >> vector) & 1;
}

void msi_notify(PciDevice *pci, unsigned vector)
{
    if (!msi_enabled(pci) || vector >= 32) {
        return;
    }
    vector &= msi_vectors_enabled(pci) - 1;
    if (msi_vector_masked(pci, vector)) {
        uint8_t *pending = pci->config + pending_offset(pci, msi_flags(pci));

        store32_le(pending, load32_le(pending) | (1u << vector));
        return;
    }
    pci_send_msi(pci, msi_message(pci, vector));
}

void msi_config_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    uint16_t flags = msi_flags(pci);
    uint8_t *pending_reg;
    uint32_t pending, ready;

    if (addr + size <= pci->cap_msi || addr >= pci->cap_msi + 24u ||
        !(flags & PCI_MSI_FLAGS_ENABLE)) {
        return;
    }
    /* As QEMU 7.2: what was enabled is what was offered at most. */
    if (((flags & PCI_MSI_FLAGS_QSIZE) >> 4) > ((flags & PCI_MSI_FLAGS_QMASK) >> 1)) {
        flags = (flags & ~PCI_MSI_FLAGS_QSIZE) | (flags & PCI_MSI_FLAGS_QMASK) << 3;
        store16_le(pci->config + pci->cap_msi + PCI_MSI_FLAGS, flags);
    }
    /* With MSI on, the pin is never used. */
    pci_set_irq(pci, 0);
    if (!(flags & PCI_MSI_FLAGS_MASKBIT)) {
        return;
    }
    pending_reg = pci->config + pending_offset(pci, flags);
    pending = load32_le(pending_reg) & (0xffffffffu >> (32 - msi_vectors_enabled(pci)));
    ready = pending & ~load32_le(pci->config + mask_offset(pci, flags));
    store32_le(pending_reg, pending & ~ready);
    for (; ready; ready &= ready - 1) {
        pci_send_msi(pci, msi_message(pci, __builtin_ctz(ready)));
    }
}

void msi_reset(PciDevice *pci)
{
    uint16_t flags;

    if (!pci->cap_msi) {
        return;
    }
    flags = msi_flags(pci) & ~(PCI_MSI_FLAGS_QSIZE | PCI_MSI_FLAGS_ENABLE);
    store16_le(pci->config + pci->cap_msi + PCI_MSI_FLAGS, flags);
    store32_le(pci->config + pci->cap_msi + PCI_MSI_ADDRESS_LO, 0);
    if (flags & PCI_MSI_FLAGS_64BIT) {
        store32_le(pci->config + pci->cap_msi + PCI_MSI_ADDRESS_HI, 0);
    }
    store16_le(pci->config + data_offset(pci, flags), 0);
    if (flags & PCI_MSI_FLAGS_MASKBIT) {
        store32_le(pci->config + mask_offset(pci, flags), 0);
        store32_le(pci->config + pending_offset(pci, flags), 0);
    }
}
