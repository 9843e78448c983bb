/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory slots follow the map. The kernel cannot exchange slots atomically: a slot that changes its
 * shape is deleted and made again, and while that goes on no vCPU is in KVM_RUN (kvm_pause).
 *
 * Dirty logging: bitmaps per slot (KVM_GET_DIRTY_LOG), or with dirty-ring-size a ring per vCPU that
 * names slot and page. Either way the result is set in RamBlock.dirty.
 */
#include <sys/mman.h>

#include "accel/kvm/kvm_int.h"
#include "accel/x86/cpu.h"
#include "util/log.h"
#include "util/trace.h"

/* ---- one operation ------------------------------------------------------------------ */

static int set_slot(KvmMemory *memory, const KvmSlot *slot, uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot->id | memory->as_id << 16,
        .flags = size ? slot->flags : 0,
        .guest_phys_addr = slot->gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)slot->block->host + slot->offset,
    };

    trace(kvm_set_slot, "as %u slot %u gpa 0x%" PRIx64 " size 0x%" PRIx64 " flags %u",
          memory->as_id, slot->id, slot->gpa, size, region.flags);
    return kvm_ioctl(memory->kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* At start the error is machine_done's; later the VM cannot go on with a map that KVM does not
 * have. */
static void refused(KvmMemory *memory, const KvmSlot *slot, int error)
{
    KvmAccel *kvm = memory->kvm;
    g_autoptr(GError) err = NULL;

    if (slot->id >= kvm->max_slots) {
        error_set(&err,
                  "memory of %" PRIu64 " MiB (%s) at 0x%" PRIx64
                  ": this host's KVM takes %u memory slots in a VM, and all are used; use fewer "
                  "memory devices",
                  slot->size / MIB, slot->block->id, slot->gpa, kvm->max_slots);
    } else {
        error_set_errno(
            &err, -error,
            "memory of %" PRIu64 " MiB (%s) at 0x%" PRIx64
            ": this host's KVM refuses it; a smaller -m may fit the processor's address width",
            slot->size / MIB, slot->block->id, slot->gpa);
    }
    if (kvm->done) {
        report_error("%s", err->message);
        vm_request_stop(kvm->accel.vm, RUN_STATE_INTERNAL_ERROR);
    } else if (!kvm->memory_error) {
        kvm->memory_error = g_steal_pointer(&err);
    }
}

/* ---- dirty bitmaps ------------------------------------------------------------------ */

/* bits: one a page of the slot. */
static void merge_dirty(const KvmSlot *slot, const uint64_t *bits)
{
    const uint64_t pages = slot->size / KVM_SLOT_PAGE, first = slot->offset / KVM_SLOT_PAGE;
    unsigned long *dirty = slot->block->dirty;

    for (uint64_t word = 0; word * 64 < pages; word++) {
        uint64_t value = bits[word];

        if (!value) {
            continue;
        }
        uint64_t page = first + word * 64;
        unsigned shift = page % 64;
        __atomic_fetch_or(&dirty[page / 64], value << shift, __ATOMIC_RELAXED);
        if (shift && value >> (64 - shift)) {
            __atomic_fetch_or(&dirty[page / 64 + 1], value >> (64 - shift), __ATOMIC_RELAXED);
        }
    }
}

static void sync_slot(KvmMemory *memory, const KvmSlot *slot)
{
    if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES) || !slot->block->dirty) {
        return;
    }
    uint64_t *bits = g_malloc0(align_up(slot->size / KVM_SLOT_PAGE, 64) / 8);
    struct kvm_dirty_log log = {.slot = slot->id | memory->as_id << 16, .dirty_bitmap = bits};
    if (kvm_ioctl(memory->kvm->vm_fd, KVM_GET_DIRTY_LOG, &log) >= 0) {
        merge_dirty(slot, bits);
    }
    g_free(bits);
}

void kvm_dirty_sync(Accel *accel)
{
    KvmAccel *kvm = kvm_accel(accel);

    if (kvm->dirty_ring_size) {
        kvm_pause(
            kvm); /* entries that the CPUs still hold reach the rings when they leave the guest */
        kvm_dirty_ring_reap(kvm);
        kvm_resume(kvm);
        return;
    }
    for (unsigned as = 0; as < G_N_ELEMENTS(kvm->memory); as++) {
        const GArray *slots = kvm->memory[as].slots;

        for (unsigned i = 0; slots && i < slots->len; i++) {
            sync_slot(&kvm->memory[as], &g_array_index(slots, KvmSlot, i));
        }
    }
}

/* ---- dirty rings -------------------------------------------------------------------- */

bool kvm_dirty_ring_map(KvmVcpu *vcpu, GError **err)
{
    KvmAccel *kvm = vcpu->kvm;

    if (!kvm->dirty_ring_size) {
        return true;
    }
    void *ring =
        mmap(NULL, kvm->dirty_ring_size * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE,
             MAP_SHARED, vcpu->fd, KVM_DIRTY_LOG_PAGE_OFFSET * KVM_SLOT_PAGE);
    if (ring == MAP_FAILED) {
        return error_set_errno(err, errno, "dirty-ring-size: cannot map the ring of CPU %u",
                               vcpu->cpu->index);
    }
    vcpu->dirty_ring = ring;
    return true;
}

void kvm_dirty_ring_unmap(KvmVcpu *vcpu)
{
    if (vcpu->dirty_ring) {
        munmap(vcpu->dirty_ring, vcpu->kvm->dirty_ring_size * sizeof(struct kvm_dirty_gfn));
    }
}

static void mark_gfn(KvmAccel *kvm, uint32_t slot_id, uint64_t page)
{
    const unsigned as = slot_id >> 16;
    const GArray *slots = as < G_N_ELEMENTS(kvm->memory) ? kvm->memory[as].slots : NULL;

    for (unsigned i = 0; slots && i < slots->len; i++) {
        const KvmSlot *slot = &g_array_index(slots, KvmSlot, i);

        if (slot->id == (slot_id & 0xffff) && page < slot->size / KVM_SLOT_PAGE) {
            ram_block_set_dirty(slot->block, slot->offset + page * KVM_SLOT_PAGE, KVM_SLOT_PAGE);
            return;
        }
    }
}

static uint32_t reap_one(KvmVcpu *vcpu)
{
    const uint32_t size = vcpu->kvm->dirty_ring_size;
    uint32_t n = 0;

    for (; n < size; n++) {
        struct kvm_dirty_gfn *entry = &vcpu->dirty_ring[vcpu->dirty_index % size];

        if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY)) {
            break;
        }
        mark_gfn(vcpu->kvm, entry->slot, entry->offset);
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        vcpu->dirty_index++;
    }
    return n;
}

void kvm_dirty_ring_reap(KvmAccel *kvm)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < kvm->n_vcpus; i++) {
        if (kvm->vcpus[i]->dirty_ring) {
            n += reap_one(kvm->vcpus[i]);
        }
    }
    if (n) {
        kvm_ioctl(kvm->vm_fd, KVM_RESET_DIRTY_RINGS, NULL);
    }
}

/* ---- the listener ------------------------------------------------------------------- */

static void before_delete(KvmMemory *memory, const KvmSlot *slot)
{
    if (memory->kvm->dirty_ring_size) {
        kvm_dirty_ring_reap(memory->kvm);
    } else {
        sync_slot(memory, slot);
    }
}

static void carry_out(KvmMemory *memory, const KvmSlotOp *op)
{
    int r;

    switch (op->kind) {
    case KVM_SLOT_DELETE:
        before_delete(memory, &op->slot);
        set_slot(memory, &op->slot, 0);
        return;
    case KVM_SLOT_FLAGS:
    case KVM_SLOT_CREATE:
        r = op->slot.id < memory->kvm->max_slots ? set_slot(memory, &op->slot, op->slot.size)
                                                 : -ENOSPC;
        if (r < 0) {
            refused(memory, &op->slot, r);
        }
        return;
    }
}

static void memory_changed(void *opaque, const FlatView *old, const FlatView *view)
{
    KvmMemory *memory = opaque;
    GArray *wanted = g_array_new(false, false, sizeof(KvmSlot));
    GArray *ops = g_array_new(false, false, sizeof(KvmSlotOp));

    kvm_slots_from_view(view, wanted);
    /* The ring names slots by number: nobody may fill it while numbers change hands. */
    bool pause =
        kvm_slots_diff(memory->slots, wanted, ops) || (ops->len && memory->kvm->dirty_ring_size);
    if (pause) {
        kvm_pause(memory->kvm);
    }
    for (unsigned i = 0; i < ops->len; i++) {
        carry_out(memory, &g_array_index(ops, KvmSlotOp, i));
    }
    g_array_free(memory->slots, true);
    memory->slots = wanted;
    if (pause) {
        kvm_resume(memory->kvm);
    }
    g_array_free(ops, true);
}

static void listen(KvmAccel *kvm, unsigned as_id, AddressSpace *as)
{
    KvmMemory *memory = &kvm->memory[as_id];

    *memory = (KvmMemory){.kvm = kvm,
                          .as = as,
                          .as_id = as_id,
                          .listener = {.changed = memory_changed, .opaque = memory}};
    memory->slots = g_array_new(false, false, sizeof(KvmSlot));
    address_space_listen(as, &memory->listener);
}

bool kvm_memory_start(KvmAccel *kvm, GError **err)
{
    listen(kvm, 0, &kvm->accel.vm->memory);
    if (kvm->smm && kvm->accel.smm_space) {
        listen(kvm, 1, kvm->accel.smm_space);
    }
    if (kvm->memory_error) {
        g_propagate_error(err, g_steal_pointer(&kvm->memory_error));
        return false;
    }
    return true;
}

void kvm_memory_stop(KvmAccel *kvm)
{
    for (unsigned as = 0; as < G_N_ELEMENTS(kvm->memory); as++) {
        KvmMemory *memory = &kvm->memory[as];

        if (memory->as) {
            address_space_unlisten(memory->as, &memory->listener);
            g_array_free(memory->slots, true);
            *memory = (KvmMemory){0};
        }
    }
}
