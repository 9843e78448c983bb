/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices and buses.
 *
 * Life: device_new -> properties are set -> device_realize (bus address, regions, pins, state) ->
 * reset, run -> device_unrealize -> freed. Everything here wants the VM lock.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include "core/irq.h"
#include "core/object.h"
#include "core/state.h"

typedef struct AddressSpace AddressSpace;

struct Device {
    Object obj;
    Vm *vm;              /* same as obj.vm */
    Bus *bus;            /* where it is plugged; NULL for devices of the board */
    char *id;            /* -device id=, NULL for the board's own */
    bool realized;
    bool hotplugged;
    bool dma_off;        /* DMA helpers refuse (PCI bus master disabled) */
    AddressSpace *dma_as; /* where its DMA goes; vm->memory unless its bus says otherwise */
    Irq *irq_in;         /* unnamed input pins; NULL when it has none */
    unsigned n_irq_in;
    Irq **irq_out;       /* unnamed output pins: a slot each, filled by device_connect */
    unsigned n_irq_out;
    GPtrArray *buses;    /* Bus * it provides; NULL when none */
    uint32_t guest_errors;    /* rate limit of guest_error */
    int64_t guest_error_since;
    int state_instance;  /* instance id in the stream; -1: next free of its section name */
    const char *state_name; /* section name instead of the state table's; NULL: the table's */
};

/* A device of a built-in type, not yet realized; type_name must exist (our own invariant) and a
 * -global refused for it is reported and ends the process at start. One reference, the caller's. */
Device *device_new(Vm *vm, const char *type_name);
/* As device_new for what a user typed: unknown, abstract and not_user types are errors. */
Device *device_new_user(Vm *vm, const char *type_name, GError **err);
/*
 * Plugs it into bus (NULL: none) and runs realize from root to leaf. Places it in the tree under
 * /machine/unattached when it is nowhere yet. On success the tree holds a reference and the
 * caller's is dropped; on failure the caller still owns it.
 */
bool device_realize(Device *dev, Bus *bus, GError **err);
/* device_realize of the board's own device, whose failure is an error of start-up passed on. */
bool device_realize_board(Device *dev, const char *name, Bus *bus, GError **err);
void device_unrealize(Device *dev);
void device_reset(Device *dev);
/* By id, or NULL. */
Device *device_find(Vm *vm, const char *id);

/* Gives the device n more input pins; handler's n is the pin's number. Before or in realize. */
void device_init_irq_in(Device *dev, IrqHandler *handler, void *opaque, unsigned n);
/* Declares n output pins, stored in the device's own array of Irq *. */
void device_init_irq_out(Device *dev, Irq **slots, unsigned n);
/* Input pin n, to be given to someone's output. */
Irq *device_irq_in(Device *dev, unsigned n);
/* Wires output n of dev to irq (which may be NULL). */
void device_connect(Device *dev, unsigned n, Irq *irq);

/* What a guest did wrong: to the log (-d guest_errors), at most 10 lines per second and device. */
void guest_error(Device *dev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* ---- buses ------------------------------------------------------------------------ */

typedef struct BusOps {
    /* Checks or assigns dev's address. Called before realize; dev->bus is set. */
    bool (*plug)(Bus *bus, Device *dev, GError **err);
    void (*unplug)(Bus *bus, Device *dev);
    /* Prefix of the device's state section ("0000:00:03.0"); NULL result or hook: none.
     * The caller frees. */
    char *(*state_path)(Bus *bus, Device *dev);
    /* OpenFirmware path part for bootorder ("ethernet@3"); the caller frees. NULL: none. */
    char *(*fw_path)(Bus *bus, Device *dev);
    unsigned max_devices; /* 0: no limit */
} BusOps;

/*
 * Lets devices come and go on a bus while the VM lives: a chipset's or bridge's part. Devices that plug into no bus
 * (CPUs) are the board's (Vm.board_hotplug), from -device on; dev->hotplugged tells the two apart.
 */
typedef struct HotplugOps {
    /* May a device of dev's type come and go? NULL: always. Changes nothing. */
    bool (*may_plug)(void *opaque, Device *dev, GError **err);
    /* dev was just made: sets what others of its kind have in common, before its own properties. NULL: nothing. */
    bool (*set_defaults)(void *opaque, Device *dev, GError **err);
    /* Its properties are set, it is about to be realized: they are checked and completed. NULL: nothing to do. */
    bool (*pre_plug)(void *opaque, Device *dev, GError **err);
    /* dev is realized: the guest is told, if it runs. */
    void (*plugged)(void *opaque, Device *dev);
    /* Asks the guest to let dev go, who may do so later by device_unrealize, or never. False with *err when it cannot be
     * asked. */
    bool (*request_unplug)(void *opaque, Device *dev, GError **err);
} HotplugOps;

struct Bus {
    Object obj;          /* its type has parent "bus" and ops = BusOps */
    const HotplugOps *hotplug; /* NULL: what is there at the start stays */
    void *hotplug_opaque;
    Device *owner;       /* the device that provides it; NULL for the board's root */
    GPtrArray *devices;  /* Device *, in order of plugging; NULL while empty */
};

/* A new bus in the tree below owner (or below /machine/unattached); name as QEMU's ("pci.0"). */
Bus *bus_new(Vm *vm, const char *type_name, Device *owner, const char *name);
void bus_init_embedded(Bus *bus, Vm *vm, const char *type_name, Device *owner, const char *name);
/* A bus by name ("ide.0"); NULL when there is none. */
Bus *bus_find(Vm *vm, const char *name);
/* Where a device goes whose user names no bus: the first bus of this type that has room, in QEMU's order
 * (an upper bus before a lower one, a later controller before an earlier one: ide.1 before ide.0). */
Bus *bus_find_by_type(Vm *vm, const char *type_name);

#endif
