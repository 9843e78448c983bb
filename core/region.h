/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Regions and address spaces.
 *
 * A Region is a piece of a bus: RAM, ROM, a device's registers, an alias to a part of another region,
 * or a container of others. Overlaps are decided by priority (higher wins; equal: the one added
 * last). An address space flattens a tree of regions into a sorted array of ranges, which is
 * published by RCU: readers (vCPUs, DMA) are never blocked by a change.
 *
 * Changes want the VM lock and happen at the end of the outermost region_begin/region_commit pair (a
 * single change is a pair of its own). Accesses are made from any thread; regions that are not
 * lockless are dispatched under the VM lock.
 *
 * RegionOps declare what accesses a device takes. Core checks address + size <= region size,
 * alignment and sizes, and splits or widens accesses to what the device implements: accesses larger
 * than valid.max_size, or unaligned where that is not declared, become several; smaller ones than
 * valid.min_size are refused, and read as 0.
 */
#ifndef CORE_REGION_H
#define CORE_REGION_H

#include "util/util.h"

typedef struct Device Device;
typedef struct Vm Vm;
typedef struct Region Region;
typedef struct FlatView FlatView;

typedef struct RegionOps {
    /* offset + size <= region size; size is 1, 2, 4 or 8. NULL read: all ones; NULL write: dropped. */
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    struct {
        unsigned min_size, max_size; /* accesses that the guest may make; 0: 1 and 4 */
        bool unaligned;
        bool (*accepts)(void *opaque, uint64_t offset, unsigned size, bool is_write); /* NULL: all */
    } valid;
    struct {
        unsigned min_size, max_size; /* what read and write are called with; 0: 1 and 4 */
        bool unaligned;
    } impl;
    bool big_endian; /* register byte order; PC devices are little-endian */
    bool lockless;   /* read and write are called without the VM lock, from any vCPU at once */
} RegionOps;

typedef enum RegionKind {
    REGION_CONTAINER,
    REGION_RAM,
    REGION_ROM,        /* guest writes are dropped */
    REGION_ROM_DEVICE, /* reads are memory, writes go to ops (flash) */
    REGION_IO,
    REGION_ALIAS,
} RegionKind;

/* Host memory of a RAM or ROM region, reference counted. */
typedef struct RamBlock {
    char *id;            /* as in the migration stream: "pc.ram", "pc.bios" */
    uint8_t *host;
    uint64_t size;       /* bytes mapped, page aligned */
    int fd;              /* memfd or file behind it; -1: anonymous */
    uint64_t fd_offset;
    uint64_t page;       /* size of the pages of its file; 0: 4 KiB */
    bool shared;
    bool watched;        /* core/ram_fault.h */
    bool owned;          /* unmapped when the last reference goes */
    unsigned long *dirty; /* one bit a page, set by DMA and KVM's log; NULL while nobody tracks */
    unsigned refs;
    Region *region;
} RamBlock;

struct Region {
    RegionKind kind;
    const char *name;    /* not copied */
    uint64_t size;       /* bytes; UINT64_MAX stands for 2^64 */
    uint64_t addr;       /* offset in the parent */
    int priority;
    bool enabled;
    bool readonly;       /* RAM whose guest writes go nowhere (PAM, ROM) */
    bool ram_device;     /* memory of a host device: no DMA bounce, no migration */
    uint8_t dirty_log;   /* RegionDirtyClient bits that want dirty logging */
    Region *parent;
    GPtrArray *children; /* containers; in order of adding */
    Region *alias;       /* REGION_ALIAS */
    uint64_t alias_offset;
    RamBlock *ram;       /* RAM, ROM, ROM_DEVICE */
    bool romd;           /* ROM_DEVICE reads as memory now */
    const RegionOps *ops;
    void *opaque;
    Device *owner;       /* whose registers these are; NULL: nobody's */
    GArray *eventfds;    /* RegionEventFd; NULL: none */
    bool coalesced;      /* writes may be delivered late, in batches */
    Vm *vm;              /* set when it becomes part of a tree of this VM */
};

typedef enum RegionDirtyClient { DIRTY_VGA = 1, DIRTY_MIGRATION = 2 } RegionDirtyClient;

typedef struct RegionEventFd {
    uint64_t offset;
    unsigned size;       /* 0: any */
    bool match;          /* only when value is written */
    uint64_t value;
    int fd;
} RegionEventFd;

/* ---- making regions --------------------------------------------------------------- */

void region_init_container(Region *region, const char *name, uint64_t size);
void region_init_io(Region *region, const RegionOps *ops, void *opaque, const char *name, uint64_t size);
/* part: [offset, offset + size) of target. */
void region_init_alias(Region *region, const char *name, Region *target, uint64_t offset, uint64_t size);
/* Private anonymous memory, untouched. name is also the block's id. Size is rounded up to pages. */
bool region_init_ram(Region *region, Vm *vm, const char *name, uint64_t size, GError **err);
/* RAM whose guest writes are dropped; the host writes through region_host. */
bool region_init_rom(Region *region, Vm *vm, const char *name, uint64_t size, GError **err);
bool region_init_rom_device(Region *region, Vm *vm, const RegionOps *ops, void *opaque, const char *name,
                            uint64_t size, GError **err);
/* Memory that the caller mapped (a back end object). block's reference is taken over. */
void region_init_ram_block(Region *region, Vm *vm, const char *name, RamBlock *block);
/* Out of its tree, memory released. The struct stays the owner's. */
void region_destroy(Region *region);

/* Whose registers these are: gives the re-entrancy guard and the name in traces. Also set by
 * isa_map_ports, pci_register_bar and the like. */
void region_set_owner(Region *region, Device *owner);
/* Host address of a RAM or ROM region's byte 0. */
static inline uint8_t *region_host(const Region *region) { return region->ram->host; }

/* ---- the tree --------------------------------------------------------------------- */

void region_begin(Vm *vm);
void region_commit(Vm *vm);
void region_add(Region *parent, uint64_t offset, Region *child);
void region_add_overlap(Region *parent, uint64_t offset, Region *child, int priority);
/* NULL parent of child: nothing happens. */
void region_remove(Region *child);
void region_set_enabled(Region *region, bool enabled);
void region_set_address(Region *region, uint64_t offset); /* among equal priorities it is the last added then */
void region_set_size(Region *region, uint64_t size);
void region_set_readonly(Region *region, bool readonly);
void region_set_alias_offset(Region *region, uint64_t offset);
void region_set_romd(Region *region, bool romd);
void region_set_dirty_log(Region *region, RegionDirtyClient client, bool on);
/* Writes at offset of this size (0: any) signal fd instead of ops->write. The fd stays the caller's. */
void region_add_eventfd(Region *region, RegionEventFd event);
void region_del_eventfd(Region *region, RegionEventFd event);
void region_set_coalesced(Region *region, bool on);

/* ---- address spaces --------------------------------------------------------------- */

typedef struct FlatRange {
    uint64_t start, end;     /* addresses, end excluded; UINT64_MAX end stands for the top */
    Region *region;          /* never a container or an alias */
    uint64_t offset;         /* of start in region */
    bool readonly;
    bool romd;
    uint8_t dirty_log;
    /* What an access to a device needs, so that it touches one line of the cache: of its RegionOps. */
    bool lockless;
    uint8_t direct[2];       /* sizes (1, 2, 4, 8 are bits) in which [0] aligned loads, [1] stores go to ops as they are */
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    void *opaque;
} FlatRange;
G_STATIC_ASSERT(sizeof(FlatRange) == 64);

struct FlatView {
    unsigned count;
    FlatRange *ranges;       /* sorted, not overlapping; aligned to 64 bytes */
};

/* Told of each new view, under the VM lock, after it was published. */
typedef struct MemoryListener {
    void (*changed)(void *opaque, const FlatView *old, const FlatView *new);
    /* ioeventfds: complete list of what the address space has now. */
    void (*eventfds)(void *opaque);
    /* Pages that somebody outside (the kernel's vhost) wrote since the last time go into RamBlock.dirty. NULL: nobody. */
    void (*dirty_sync)(void *opaque);
    void *opaque;
} MemoryListener;

typedef struct AddressSpace {
    Vm *vm;
    const char *name;        /* "memory", "I/O" */
    Region *root;
    FlatView *view;          /* RCU */
    uint64_t generation;     /* counts views; changed before a new one is published */
    GSList *listeners;       /* MemoryListener * */
    bool is_io;              /* ports: unassigned reads are silent */
} AddressSpace;

void address_space_init(AddressSpace *as, Vm *vm, Region *root, const char *name);
void address_space_destroy(AddressSpace *as);
/* The listener is called at once with the present view (old: NULL). */
void address_space_listen(AddressSpace *as, MemoryListener *listener);
void address_space_unlisten(AddressSpace *as, MemoryListener *listener);
/* Who reads RamBlock.dirty calls this first, beside the accelerator's dirty_sync. VM lock. */
void address_space_dirty_sync(AddressSpace *as);
/* The present view. VM lock, or inside an RCU read section. */
const FlatView *address_space_view(AddressSpace *as);
#define REGION_PRINT_OWNERS 1u    /* behind each region: which device's it is */
#define REGION_PRINT_DISABLED 2u  /* those that are switched off, too */
/* Appends a line for each range: "START-END (prio N, KIND): NAME @OFFSET". VM lock. */
void address_space_print(AddressSpace *as, unsigned flags, GString *out);
/* The tree below root, two blanks a level, by address. Regions that are switched off are left out, unless flags ask for
 * them. Targets of aliases are added to targets (const Region *, each once), for the caller to print too. */
void region_print_tree(const Region *root, unsigned flags, GPtrArray *targets, GString *out);
/* Fills in what accesses need of range->region. */
void flat_range_prepare(FlatRange *range);
/* The range that holds addr, or NULL. VM lock or RCU read section. */
const FlatRange *flat_view_find(const FlatView *view, uint64_t addr);

/*
 * One access of 1, 2, 4 or 8 bytes as a CPU makes it: what a KVM exit, qtest and tests use. RAM, ROM
 * and devices. A load of nothing gives all ones from ports and 0 from memory, as QEMU's PC does. False when
 * nothing (or a refusing device) was there.
 */
bool address_space_load(AddressSpace *as, uint64_t addr, unsigned size, uint64_t *value);
bool address_space_store(AddressSpace *as, uint64_t addr, unsigned size, uint64_t value);
/* Any length, split into accesses; RAM is copied. False if any part failed. */
bool address_space_read(AddressSpace *as, uint64_t addr, void *buf, uint64_t len);
bool address_space_write(AddressSpace *as, uint64_t addr, const void *buf, uint64_t len);
/* Writes ROM as well: firmware and kernel loading, debuggers. RAM and ROM only. */
bool address_space_write_rom(AddressSpace *as, uint64_t addr, const void *buf, uint64_t len);

/* Marks pages of a block dirty. Any thread. */
void ram_block_set_dirty(RamBlock *block, uint64_t offset, uint64_t len);
/* A new block over memory mapped by the caller, one reference. id is copied. */
RamBlock *ram_block_new(const char *id, uint8_t *host, uint64_t size);
RamBlock *ram_block_ref(RamBlock *block);
void ram_block_unref(RamBlock *block);

#endif
