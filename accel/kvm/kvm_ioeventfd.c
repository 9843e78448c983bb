/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ioeventfds and coalesced zones, of memory and ports: what the map says now against what the
 * kernel has, and only the difference is told. Core signals an eventfd by itself for a write that
 * arrives as an exit, so a refusal by the kernel costs speed and nothing else.
 */
#include "accel/kvm/kvm_int.h"
#include "util/log.h"
#include "util/trace.h"

/* Entries of the ring, which is one page. */
#define RING_SIZE                                                                                  \
    ((KVM_SLOT_PAGE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

/* ---- the ring of collected writes --------------------------------------------------- */

void kvm_coalesced_start(KvmAccel *kvm)
{
    const bool zones =
        (kvm->io[0].zones && kvm->io[0].zones->len) || (kvm->io[1].zones && kvm->io[1].zones->len);

    if (zones && kvm->n_vcpus && kvm->vcpus[0]->run) {
        void *ring = (char *)kvm->vcpus[0]->run + KVM_COALESCED_MMIO_PAGE_OFFSET * KVM_SLOT_PAGE;

        __atomic_store_n(&kvm->ring, ring, __ATOMIC_RELEASE);
    }
}

void kvm_coalesced_drain(KvmAccel *kvm)
{
    struct kvm_coalesced_mmio_ring *ring = kvm->ring;
    const uint32_t max = (uint32_t)RING_SIZE;
    Vm *vm = kvm->accel.vm;

    while (ring && ring->first < max &&
           ring->first != __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE)) {
        const struct kvm_coalesced_mmio *write = &ring->coalesced_mmio[ring->first];
        AddressSpace *as = write->pio == 1 ? &vm->io : &vm->memory;
        const unsigned len = write->len;
        uint8_t data[8];
        const uint64_t addr = write->phys_addr;

        memcpy(data, write->data, sizeof data);
        /* Free before it is acted on: what the write causes may drain, too. */
        __atomic_store_n(&ring->first, (ring->first + 1) % max, __ATOMIC_RELEASE);
        if (len == 1 || len == 2 || len == 4) {
            address_space_store(as, addr, len, load_le(data, len));
        } else {
            address_space_write(as, addr, data, MIN(len, 8));
        }
    }
}

/* ---- what the map wants ------------------------------------------------------------- */

static void add_eventfds(GArray *list, const FlatRange *range, bool is_port)
{
    const GArray *events = range->region->eventfds;

    for (unsigned i = 0; events && i < events->len; i++) {
        const RegionEventFd *event = &g_array_index(events, RegionEventFd, i);
        const uint64_t length = range->end - range->start;

        if (event->offset < range->offset ||
            !range_fits(event->offset - range->offset, MAX(event->size, 1), length)) {
            continue;
        }
        struct kvm_ioeventfd item = {
            .addr = range->start + (event->offset - range->offset),
            .len = event->size,
            .fd = event->fd,
            .datamatch = event->match ? event->value : 0,
            .flags = (is_port ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
                     (event->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u),
        };
        g_array_append_val(list, item);
    }
}

static void add_zone(GArray *list, const FlatRange *range, bool is_port)
{
    uint64_t length = range->end - range->start;

    if (range->region->kind == REGION_IO && range->region->coalesced && length <= UINT32_MAX) {
        struct kvm_coalesced_mmio_zone zone = {
            .addr = range->start, .size = (uint32_t)length, .pio = is_port};
        g_array_append_val(list, zone);
    }
}

/* Both lists hold flat structs whose padding is zero. */
static int compare_eventfd(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct kvm_ioeventfd));
}
static int compare_zone(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct kvm_coalesced_mmio_zone));
}

/* ---- telling the kernel ------------------------------------------------------------- */

static void tell_eventfd(KvmIoSpace *io, const void *item, bool add)
{
    struct kvm_ioeventfd event = *(const struct kvm_ioeventfd *)item;

    event.flags |= add ? 0u : KVM_IOEVENTFD_FLAG_DEASSIGN;
    int r = kvm_ioctl(io->kvm->vm_fd, KVM_IOEVENTFD, &event);
    trace(kvm_ioeventfd, "%s 0x%" PRIx64 " len %u fd %d add %d: %d",
          io->is_port ? "port" : "memory", (uint64_t)event.addr, event.len, event.fd, add, r);
    if (r < 0 && add) {
        log_mask(LOG_UNIMP,
                 "KVM refuses an ioeventfd at 0x%" PRIx64 " (%s): that queue will be slower\n",
                 (uint64_t)event.addr, strerror(-r));
    }
}

static void tell_zone(KvmIoSpace *io, const void *item, bool add)
{
    struct kvm_coalesced_mmio_zone zone = *(const struct kvm_coalesced_mmio_zone *)item;
    int r = kvm_ioctl(io->kvm->vm_fd,
                      add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone);

    trace(kvm_coalesced_zone, "0x%" PRIx64 " add %d: %d", (uint64_t)zone.addr, add, r);
}

/* Two sorted lists of size-byte items: tells what only one of them has; removals first. */
static void tell_difference(KvmIoSpace *io, const GArray *old, const GArray *new, size_t size,
                            int (*compare)(const void *, const void *),
                            void (*tell)(KvmIoSpace *io, const void *item, bool add))
{
    for (unsigned i = 0; i < old->len; i++) {
        const void *item = old->data + i * size;

        if (!new->len || !bsearch(item, new->data, new->len, size, compare)) {
            tell(io, item, false);
        }
    }
    for (unsigned i = 0; i < new->len; i++) {
        const void *item = new->data + i *size;

        if (!old->len || !bsearch(item, old->data, old->len, size, compare)) {
            tell(io, item, true);
        }
    }
}

static void update_zones(KvmIoSpace *io, const FlatView *view)
{
    GArray *zones = g_array_new(false, true, sizeof(struct kvm_coalesced_mmio_zone));

    for (unsigned i = 0; i < view->count; i++) {
        add_zone(zones, &view->ranges[i], io->is_port);
    }
    g_array_sort(zones, compare_zone);
    tell_difference(io, io->zones, zones, sizeof(struct kvm_coalesced_mmio_zone), compare_zone,
                    tell_zone);
    g_array_free(io->zones, true);
    io->zones = zones;
    kvm_coalesced_start(io->kvm);
}

/* Called after each change of the map or of a region's eventfds. */
static void io_changed(void *opaque)
{
    KvmIoSpace *io = opaque;
    const FlatView *view = address_space_view(io->as);
    GArray *eventfds = g_array_new(false, true, sizeof(struct kvm_ioeventfd));

    for (unsigned i = 0; i < view->count; i++) {
        add_eventfds(eventfds, &view->ranges[i], io->is_port);
    }
    g_array_sort(eventfds, compare_eventfd);
    tell_difference(io, io->eventfds, eventfds, sizeof(struct kvm_ioeventfd), compare_eventfd,
                    tell_eventfd);
    g_array_free(io->eventfds, true);
    io->eventfds = eventfds;
    if (!io->is_port || io->kvm->port_coalescing) {
        update_zones(io, view);
    }
}

/* ---- life --------------------------------------------------------------------------- */

static void start_one(KvmAccel *kvm, KvmIoSpace *io, AddressSpace *as, bool is_port)
{
    *io = (KvmIoSpace){.kvm = kvm,
                       .as = as,
                       .is_port = is_port,
                       .listener = {.eventfds = io_changed, .opaque = io}};
    io->eventfds = g_array_new(false, true, sizeof(struct kvm_ioeventfd));
    io->zones = g_array_new(false, true, sizeof(struct kvm_coalesced_mmio_zone));
    address_space_listen(as, &io->listener);
}

void kvm_io_start(KvmAccel *kvm)
{
    start_one(kvm, &kvm->io[0], &kvm->accel.vm->memory, false);
    start_one(kvm, &kvm->io[1], &kvm->accel.vm->io, true);
}

void kvm_io_stop(KvmAccel *kvm)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kvm->io); i++) {
        KvmIoSpace *io = &kvm->io[i];

        if (io->as) {
            address_space_unlisten(io->as, &io->listener);
            g_array_free(io->eventfds, true);
            g_array_free(io->zones, true);
            *io = (KvmIoSpace){0};
        }
    }
}
