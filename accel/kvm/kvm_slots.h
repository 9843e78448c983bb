/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory slots as a pure function of the map: which slots a FlatView wants, and which operations
 * lead from the slots that KVM has to the ones it should have. No KVM call is made here.
 */
#ifndef ACCEL_KVM_KVM_SLOTS_H
#define ACCEL_KVM_KVM_SLOTS_H

#include "core/region.h"

/* The kernel's limit is 2^31 - 1 pages; a larger range becomes several slots. */
#define KVM_SLOT_MAX_SIZE (UINT64_C(4) << 40)
#define KVM_SLOT_PAGE UINT64_C(4096)

typedef struct KvmSlot {
    uint64_t gpa, size; /* bytes, whole pages */
    RamBlock *block;
    uint64_t offset; /* of gpa in block, whole pages */
    uint32_t flags;  /* KVM_MEM_READONLY, KVM_MEM_LOG_DIRTY_PAGES */
    unsigned id;     /* KVM's slot number; meaningful once it is there */
} KvmSlot;

typedef enum KvmSlotOpKind { KVM_SLOT_DELETE, KVM_SLOT_FLAGS, KVM_SLOT_CREATE } KvmSlotOpKind;

typedef struct KvmSlotOp {
    KvmSlotOpKind kind;
    KvmSlot slot; /* with id; DELETE: as it was; FLAGS: with the new flags */
} KvmSlotOp;

/*
 * Appends to slots (of KvmSlot), sorted by address, what view wants: RAM, ROM and flash that reads
 * as memory. Neighbours that are contiguous in guest and host merge. Parts of pages are left out:
 * accesses there become MMIO exits.
 */
void kvm_slots_from_view(const FlatView *view, GArray *slots);

/*
 * Appends to ops (of KvmSlotOp) what leads from old to new: deletes, then flags, then creates.
 * Fills in the ids of new: kept ones keep theirs, others get the lowest free. True when something
 * that is deleted is wanted again in another shape: no CPU may run between, it would see a hole.
 */
bool kvm_slots_diff(const GArray *old, GArray *new, GArray *ops);

#endif
