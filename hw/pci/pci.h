/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Conventional PCI: buses, devices, configuration space, BARs, INTx and MSI.
 * Spec: PCI Local Bus 3.0, PCI-to-PCI Bridge 1.2.
 */
#ifndef HW_PCI_PCI_H
#define HW_PCI_PCI_H

#include "accel/accel.h"
#include "core/dma.h"
#include "core/vm.h"
#include "hw/pci/pci_regs.h"

#define PCI_NUM_BARS 6
#define PCI_ROM_SLOT 6
#define PCI_CONFIG_SIZE 256
#define PCI_SUBVENDOR_QUMRANET 0x1af4 /* what QEMU's devices carry unless they say otherwise */
#define PCI_SUBDEVICE_QEMU 0x1100

typedef struct PciBus PciBus;
typedef struct Msix Msix; /* hw/pci/msix.c */
typedef struct PciDevice PciDevice;

/* A device type's Type.ops. Identity is what the guest reads; 0 subsystem ids mean QEMU's
 * 1af4:1100. */
typedef struct PciInfo {
    uint16_t vendor_id, device_id;
    uint8_t revision;
    uint16_t class_id;               /* PCI_CLASS_* */
    uint16_t subsystem_vendor_id, subsystem_id;
    bool is_bridge;
    bool not_hotpluggable;
    const char *romfile;             /* default of the property */
    /* After core has stored the bytes (writable bits only). NULL: default behaviour only. */
    void (*config_written)(PciDevice *pci, uint32_t addr, unsigned size);
    /* Replaces what the guest reads; NULL: config space as it is. */
    uint32_t (*config_read)(PciDevice *pci, uint32_t addr, unsigned size);
} PciInfo;

typedef struct PciBar {
    Region *region;                  /* NULL: not there */
    uint64_t size;
    uint8_t type;                    /* PCI_BASE_ADDRESS_* bits */
    uint64_t addr;                   /* where it is mapped; PCI_BAR_UNMAPPED */
} PciBar;
#define PCI_BAR_UNMAPPED (~UINT64_C(0))

/* Type "pci-device" (properties addr, multifunction, romfile, rombar, ...). Bus type "PCI". */
struct PciDevice {
    Device dev;
    const PciInfo *info;             /* of its type; set by realize */
    int32_t devfn;                   /* slot * 8 + function; -1: to be assigned (property "addr") */
    int32_t state_version;           /* wire only */
    bool multifunction;
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t wmask[PCI_CONFIG_SIZE];  /* bits the guest may write */
    uint8_t w1cmask[PCI_CONFIG_SIZE]; /* bits the guest clears by writing 1 */
    uint8_t cmask[PCI_CONFIG_SIZE];  /* bits that must be equal when a state is loaded */
    uint8_t used[PCI_CONFIG_SIZE / 8]; /* bytes that capabilities hold, a bit each */
    PciBar bars[PCI_NUM_BARS + 1];
    uint8_t irq_state;               /* bit n: INTx pin n asserted */
    uint8_t cap_msi, cap_msix;       /* offsets; 0: none */
    Msix *msix;                      /* NULL: none */
    char *romfile;                   /* property; NULL: the type's default; "": none */
    char *failover_pair_id;
    uint32_t rombar, romsize;
    uint32_t express_flags;          /* x-pcie-*: kept for express devices */
    uint32_t acpi_index;
    Region rom;
    char *rom_name;
};

/* Config space was set up (ids, header, command/status masks) before the leaf's realize runs. */

/* Registers BAR n. type: PCI_BASE_ADDRESS_SPACE_IO or _MEMORY with _MEM_TYPE_64, _MEM_PREFETCH.
 * The region's size must be a power of two (16 or more for memory, 4 for ports). In realize. */
void pci_register_bar(PciDevice *pci, unsigned n, uint8_t type, Region *region);
/* Appends a capability of size bytes (at offset, 0: next free). Returns its offset, 0 if there
 * is no room. */
uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t offset, uint8_t size);
/* The INTx pin (PCI_INTERRUPT_PIN must be set): level 0 or 1; calls that change nothing are
 * dropped. */
void pci_set_irq(PciDevice *pci, int level);
static inline PciBus *pci_bus_of(const PciDevice *pci) { return (PciBus *)(void *)pci->dev.bus; }

/* ---- configuration, as a host bridge or a test sees it ------------------------------------ */
uint32_t pci_config_read(PciDevice *pci, uint32_t addr, unsigned size);
void pci_config_write(PciDevice *pci, uint32_t addr, uint32_t value, unsigned size);
/* BARs move to where config space says now. For what changes config bytes behind the guest's
 * back. */
void pci_update_mappings(PciDevice *pci);
/* Device at bus number/devfn below root, or NULL. */
PciDevice *pci_find(PciBus *root, unsigned bus_num, unsigned devfn);

/* ---- buses ---------------------------------------------------------------------------------- */
/* Routes INTx of a device's pin (0..3) to one of the bus's lines; sets a line. */
typedef unsigned PciMapIrq(PciDevice *pci, unsigned pin);
typedef void PciSetIrq(void *opaque, unsigned line, int level);

struct PciBus {
    Bus bus;
    PciDevice *devices[256];         /* by devfn */
    PciDevice *bridge;               /* the bridge it hangs on; NULL: root bus */
    Region *memory, *io;             /* where BARs are mapped */
    PciMapIrq *map_irq;
    PciSetIrq *set_irq;              /* root bus only */
    void *irq_opaque;
    int32_t nirq;
    int32_t irq_count[8];            /* devices asserting each line */
    uint8_t devfn_min;
    uint32_t slot_reserved;          /* bit n: slot n is never assigned */
    unsigned bridge_count;           /* bridges among its devices */
    int32_t acpi_bsel;               /* its number in ACPI's PCI hot-plug; -1: none */
};

PciBus *pci_root_bus_new(Vm *vm, Device *owner, const char *name, Region *memory, Region *io,
                         uint8_t devfn_min);
void pci_bus_set_irqs(PciBus *bus, PciSetIrq *set_irq, PciMapIrq *map_irq, void *opaque,
                      unsigned nirq);
/* Takes part of the making of each bus: state, slots. For bridges that embed their bus. */
void pci_bus_init_embedded(PciBus *bus, Vm *vm, Device *owner, const char *name);
/* Takes the section out again; the bus object goes with its owner. */
void pci_bus_cleanup(PciBus *bus);
/* The number the guest gave to the bus: 0 for a root, a bridge's secondary bus number. */
unsigned pci_bus_number(const PciBus *bus);
/* "pci.0". NULL when the machine has none. */
PciBus *pci_root_bus(Vm *vm);
/* Is one of the devices asserting line n? */
static inline bool pci_bus_irq_level(const PciBus *bus, unsigned line)
{
    return bus->irq_count[line] != 0;
}
/* How a PCI-to-PCI bridge passes pins on (bridge specification, table 9-1): (pin + slot) mod 4. */
unsigned pci_swizzle_irq(PciDevice *pci, unsigned pin);
/* Makes, addresses (devfn -1: next free slot) and realizes a device of the board. */
PciDevice *pci_create(PciBus *bus, int devfn, bool multifunction, const char *type, GError **err);

/* Host bridge helper: 0xcf8/0xcfc mechanism on a root bus. Type "pci-host-bridge" devices embed
 * it. */
typedef struct PciHost {
    Device dev;
    PciBus *bus;
    uint32_t config_reg;
    Region conf, data;               /* registers at 0xcf8 and 0xcfc, lockless never */
} PciHost;
/* conf and data regions with their operations; the board maps them. */
void pci_host_init_regions(PciHost *host);

/* State of PCIDevice (QEMU's "PCIDevice" version 2), for
 * STATE_PCI_DEVICE(X, pci, .name = "parent_obj"). */
extern const StateDesc pci_device_state;
#define STATE_PCI_DEVICE(st, f, ...) STATE_STRUCT(st, f, &pci_device_state, ##__VA_ARGS__)

/* ---- for the files of hw/pci ----------------------------------------------------------------- */

/* pci_rom.c: the option ROM's BAR, when romfile names one. */
bool pci_rom_init(PciDevice *pci, GError **err);
void pci_rom_cleanup(PciDevice *pci);
/* pci_bridge.c: windows follow config space. Called after each config write of a bridge. */
void pci_bridge_config_written(PciDevice *pci, uint32_t addr, unsigned size);
/* The bus behind a bridge (info->is_bridge). */
PciBus *pci_bridge_secondary(PciDevice *bridge);

#endif
