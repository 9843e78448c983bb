/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pci-bridge: a conventional bridge with a slot number capability and a standard hot-plug controller.
 *
 * The *-reserve properties ask firmware for room that devices plugged in later will need, through a
 * vendor capability whose layout firmware shares (SeaBIOS and OVMF read it).
 */
#include "hw/pci/msi.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/shpc.h"

#define SLOT_ID_CAP_SIZE 4
#define SLOT_ID_EXPANSION 2 /* registers of the capability (bridge specification, 13.2) */
#define SLOT_ID_CHASSIS 3
#define EXPANSION_FIRST 0x20 /* first bridge of its chassis, no slots of its own counted */

/* Red Hat's vendor capability. */
#define RESERVE_CAP_SIZE 32
#define RESERVE_TYPE 1
#define RESERVE_NONE UINT64_MAX
enum {
    RESERVE_LENGTH = 2,
    RESERVE_KIND = 3,
    RESERVE_BUS = 4,
    RESERVE_IO = 8,
    RESERVE_MEM = 16,
    RESERVE_PREF32 = 20,
    RESERVE_PREF64 = 24,
};

typedef struct PciBridgeDev {
    PciBridge bridge;
    Shpc shpc;
    uint8_t chassis_nr;
    bool has_shpc;
    int msi;                /* OnOffAuto */
    uint32_t bus_reserve;   /* UINT32_MAX: nothing asked */
    uint64_t io_reserve, mem_reserve, pref32_reserve, pref64_reserve; /* RESERVE_NONE */
} PciBridgeDev;

static PciBridgeDev *bridge_dev(PciDevice *pci) { return container_of(pci, PciBridgeDev, bridge.pci); }

/* ---- capabilities ------------------------------------------------------------------ */

static bool add_slot_id(PciBridgeDev *d, GError **err)
{
    PciDevice *pci = &d->bridge.pci;
    uint8_t cap = pci_add_capability(pci, PCI_CAP_ID_SLOTID, 0, SLOT_ID_CAP_SIZE);

    if (!cap) {
        return error_set(err, "pci-bridge: no room for the slot number capability");
    }
    pci->config[cap + SLOT_ID_EXPANSION] = EXPANSION_FIRST;
    pci->config[cap + SLOT_ID_CHASSIS] = d->chassis_nr;
    pci->wmask[cap + SLOT_ID_CHASSIS] = 0xff; /* not volatile: a reset leaves it */
    return true;
}

static bool check_reserve(const PciBridgeDev *d, GError **err)
{
    if (d->pref32_reserve != RESERVE_NONE && d->pref64_reserve != RESERVE_NONE) {
        return error_set(err, "pci-bridge: pref32-reserve and pref64-reserve exclude each other, leave one out: "
                              "there is one prefetchable window");
    }
    if (d->mem_reserve != RESERVE_NONE && d->mem_reserve >= 4 * GIB) {
        return error_set(err, "pci-bridge: mem-reserve must be less than 4G");
    }
    if (d->pref32_reserve != RESERVE_NONE && d->pref32_reserve >= 4 * GIB) {
        return error_set(err, "pci-bridge: pref32-reserve must be less than 4G; use pref64-reserve");
    }
    return true;
}

static bool add_reserve(PciBridgeDev *d, GError **err)
{
    PciDevice *pci = &d->bridge.pci;

    if (d->bus_reserve == UINT32_MAX && d->io_reserve == RESERVE_NONE &&
        d->mem_reserve == RESERVE_NONE && d->pref32_reserve == RESERVE_NONE &&
        d->pref64_reserve == RESERVE_NONE) {
        return true;
    }
    if (!check_reserve(d, err)) {
        return false;
    }
    uint8_t offset = pci_add_capability(pci, PCI_CAP_ID_VNDR, 0, RESERVE_CAP_SIZE);
    if (!offset) {
        return error_set(err, "pci-bridge: no room for the capability of the -reserve properties");
    }
    uint8_t *cap = pci->config + offset;
    cap[RESERVE_LENGTH] = RESERVE_CAP_SIZE;
    cap[RESERVE_KIND] = RESERVE_TYPE;
    store32_le(cap + RESERVE_BUS, d->bus_reserve);
    store64_le(cap + RESERVE_IO, d->io_reserve);
    store32_le(cap + RESERVE_MEM, (uint32_t)d->mem_reserve);
    store32_le(cap + RESERVE_PREF32, (uint32_t)d->pref32_reserve);
    store64_le(cap + RESERVE_PREF64, d->pref64_reserve);
    return true;
}

static bool add_shpc(PciBridgeDev *d, GError **err)
{
    PciDevice *pci = &d->bridge.pci;

    pci->config[PCI_INTERRUPT_PIN] = 1;
    if (!shpc_init(&d->shpc, pci, &d->bridge.secondary, err)) {
        return false;
    }
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_TYPE_64,
                     &d->shpc.bar);
    return true;
}

/* ---- lifecycle --------------------------------------------------------------------- */

static bool pci_bridge_dev_realize(Device *dev, GError **err)
{
    PciBridgeDev *d = container_of(dev, PciBridgeDev, bridge.pci.dev);

    if (!d->chassis_nr) {
        return error_set(err, "pci-bridge: chassis_nr: give each bridge a number of its own, 1 to 255");
    }
    /* Messages are the hot-plug controller's: without it there is nobody to send one. */
    return (!d->has_shpc || add_shpc(d, err)) && add_slot_id(d, err) &&
           (!d->has_shpc || d->msi == ON_OFF_AUTO_OFF ||
            msi_init(&d->bridge.pci, 0, 1, true, true, err)) &&
           add_reserve(d, err);
}

static void pci_bridge_dev_unrealize(Device *dev)
{
    PciBridgeDev *d = container_of(dev, PciBridgeDev, bridge.pci.dev);

    if (d->has_shpc) {
        shpc_cleanup(&d->shpc);
    }
}

static void pci_bridge_dev_reset(Device *dev)
{
    PciBridgeDev *d = container_of(dev, PciBridgeDev, bridge.pci.dev);

    if (d->has_shpc) {
        shpc_reset(&d->shpc);
    }
}

static void bridge_dev_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    PciBridgeDev *d = bridge_dev(pci);

    if (d->has_shpc) {
        shpc_config_written(&d->shpc, addr, size);
    }
}

/* ---- tables ------------------------------------------------------------------------ */

static bool has_shpc(const void *obj, unsigned version)
{
    return ((const PciBridgeDev *)obj)->has_shpc;
}

static bool pci_bridge_dev_post_load(void *obj, unsigned version, GError **err)
{
    PciBridgeDev *d = obj;

    if (d->has_shpc) {
        shpc_loaded(&d->shpc);
    }
    return true;
}

static const StateField pci_bridge_dev_fields[] = {
    STATE_PCI_DEVICE(PciBridgeDev, bridge.pci, .name = "parent_obj"),
    STATE_ANY(PciBridgeDev, shpc.registers, &shpc_state_kind, SHPC_REGISTERS, .name = "shpc",
              .exists = has_shpc),
    {}};
static const StateDesc pci_bridge_dev_state = {
    .name = "pci_bridge",
    .version = 0,
    .min_version = 0,
    .priority = 1, /* its windows are there before what is behind it */
    .fields = pci_bridge_dev_fields,
    .post_load = pci_bridge_dev_post_load,
};

static const Property pci_bridge_dev_props[] = {
    PROP_U8("chassis_nr", PciBridgeDev, chassis_nr, .help = "number that no other bridge has, from 1"),
    PROP_ON_OFF_AUTO("msi", PciBridgeDev, msi, .help = "messages of the hot-plug controller"),
    PROP_BOOL("shpc", PciBridgeDev, has_shpc, .def = true, .help = "standard hot-plug controller"),
    PROP_U32("bus-reserve", PciBridgeDev, bus_reserve, .def = UINT32_MAX,
             .help = "bus numbers that firmware keeps free"),
    PROP_SIZE("io-reserve", PciBridgeDev, io_reserve, .def = RESERVE_NONE,
              .help = "ports that firmware keeps free"),
    PROP_SIZE("mem-reserve", PciBridgeDev, mem_reserve, .def = RESERVE_NONE,
              .help = "memory that firmware keeps free"),
    PROP_SIZE("pref32-reserve", PciBridgeDev, pref32_reserve, .def = RESERVE_NONE,
              .help = "prefetchable memory below 4 GiB that firmware keeps free"),
    PROP_SIZE("pref64-reserve", PciBridgeDev, pref64_reserve, .def = RESERVE_NONE,
              .help = "prefetchable memory that firmware keeps free"),
    {}};

static const PciInfo pci_bridge_dev_info = {
    .vendor_id = 0x1b36,
    .device_id = 0x0001,
    .class_id = PCI_CLASS_BRIDGE_PCI,
    .is_bridge = true,
    .config_written = bridge_dev_written,
};

DEVICE_TYPE(pci_bridge) = {
    .name = "pci-bridge",
    .parent = "base-pci-bridge",
    .desc = "Standard PCI Bridge",
    .size = sizeof(PciBridgeDev),
    .category = "bridge",
    .props = pci_bridge_dev_props,
    .state = &pci_bridge_dev_state,
    .ops = &pci_bridge_dev_info,
    .realize = pci_bridge_dev_realize,
    .unrealize = pci_bridge_dev_unrealize,
    .reset = pci_bridge_dev_reset,
};
