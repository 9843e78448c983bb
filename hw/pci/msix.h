/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages and a bitmap of pending ones in BAR memory.
 *
 * A device either calls msix_notify, or hands a vector to an irqfd: its notifiers are told when a
 * vector's message becomes usable, changes, or is masked, and keep an accelerator route in step.
 * VM lock everywhere, but msix_enabled: any thread.
 */
#ifndef HW_PCI_MSIX_H
#define HW_PCI_MSIX_H

#include "hw/pci/pci.h"

#define MSIX_ENTRY_SIZE 16
#define MSIX_MAX_VECTORS 2048

typedef struct MsixNotifiers {
    /* The vector may be sent with this message from now on (also when the message changed). */
    void (*use)(PciDevice *pci, unsigned vector, MsiMessage msi);
    /* It is masked or MSI-X is off: events are to be kept. */
    void (*release)(PciDevice *pci, unsigned vector);
    /* The guest reads the pending bits: has the masked vector an event kept? NULL: never. */
    bool (*poll)(PciDevice *pci, unsigned vector);
} MsixNotifiers;

/*
 * Adds the capability (at offset, 0: next free), the table at table_offset of the container region
 * table_bar and the pending bits at pba_offset of pba_bar. The BARs are registered by the caller.
 */
bool msix_init(PciDevice *pci, unsigned vectors, Region *table_bar, unsigned table_bar_nr,
               uint32_t table_offset, Region *pba_bar, unsigned pba_bar_nr, uint32_t pba_offset,
               uint8_t offset, GError **err);
/* As QEMU lays out a BAR of its own: table first, pending bits in the upper half, 4 KiB or more. */
bool msix_init_exclusive_bar(PciDevice *pci, unsigned vectors, unsigned bar_nr, GError **err);
void msix_set_notifiers(PciDevice *pci, const MsixNotifiers *notifiers);
bool msix_enabled(const PciDevice *pci);
unsigned msix_vectors(const PciDevice *pci);
/* Vectors that the device uses: only these become pending. Counted. False: there is no such
 * vector. */
bool msix_vector_use(PciDevice *pci, unsigned vector);
void msix_vector_unuse(PciDevice *pci, unsigned vector);
void msix_unuse_all(PciDevice *pci);
bool msix_vector_masked(const PciDevice *pci, unsigned vector);
MsiMessage msix_message(const PciDevice *pci, unsigned vector);
/* Sends it, or marks it pending when it is masked. Nothing for a vector that is not used. */
void msix_notify(PciDevice *pci, unsigned vector);

/* QEMU's wire form: the table, then the pending bits. msix_wire_size: bytes in all, 0 without
 * MSI-X. */
size_t msix_wire_size(const PciDevice *pci);
void msix_put(const PciDevice *pci, StateBuf *buf);
/* The notifiers are told of vectors that are usable now. False: cut short. */
bool msix_get(PciDevice *pci, StateBuf *buf);

/* For pci.c. command_changed: command register bits that the same write changed. */
void msix_config_written(PciDevice *pci, uint32_t addr, unsigned size, uint16_t command_changed);
void msix_reset(PciDevice *pci);
void msix_cleanup(PciDevice *pci);

#endif
