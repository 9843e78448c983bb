/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "pc-dimm", a module of memory, and the part of the address space where such modules lie. VM lock.
 *
 * The board decides where a module goes (pc_dimm_place), maps it when it is realized and takes it out again.
 */
#ifndef HW_MEM_PC_DIMM_H
#define HW_MEM_PC_DIMM_H

#include "backends/memory.h"
#include "core/device.h"

#define DIMM_SLOTS_MAX 256 /* what ACPI's registers and names can tell apart here */

typedef struct PcDimm {
    Device dev;
    Object *memdev;      /* its MemoryBackend; NULL: none was given */
    uint64_t addr;       /* where it lies; 0 before it has a place: anywhere */
    uint32_t node;       /* of -numa */
    int32_t slot;        /* -1 before it has one: any */
    bool claimed;        /* the memory is ours */
    Region region;
} PcDimm;

/* Where modules may lie. */
typedef struct DeviceMemory {
    Vm *vm;
    Region region;       /* container "device-memory"; its addr is the first address */
    uint64_t capacity;   /* bytes of modules at most: maxmem less the memory at the start */
    unsigned slots;
} DeviceMemory;

/* Maps an empty window of size bytes at base. */
void device_memory_init(DeviceMemory *m, Vm *vm, uint64_t base, uint64_t size, uint64_t capacity, unsigned slots);

/* Checks dimm's slot and address, or chooses the first ones that are free. dimm is not realized. False with *err,
 * nothing changed. m without slots: refused. */
bool pc_dimm_place(const DeviceMemory *m, PcDimm *dimm, GError **err);
/* A realized module becomes visible; and no more. */
void pc_dimm_map(DeviceMemory *m, PcDimm *dimm);
void pc_dimm_unmap(PcDimm *dimm);
uint64_t pc_dimm_size(const PcDimm *dimm);

/* The realized modules, PcDimm *, by address. The caller frees the array. */
GPtrArray *pc_dimms(Vm *vm);
/* Bytes of all modules; node -1: of all nodes. */
uint64_t pc_dimms_size(Vm *vm, int node);

#endif
