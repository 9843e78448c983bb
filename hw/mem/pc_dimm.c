/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Modules of memory (DIMMs) and their places.
 *
 * A module's memory is a back end object of its own (-object memory-backend-*), which it claims while it is realized.
 * Its address is a multiple of the back end's alignment, so that huge pages of the host serve the guest too. What is
 * said of slots and addresses is in QEMU 7.2's words: managers show them.
 *
 * Not done: NVDIMMs, virtio-mem, virtio-pmem.
 */
#include "hw/mem/pc_dimm.h"

#include <inttypes.h>

#include "core/vm.h"

static MemoryBackend *backend(const PcDimm *dimm) { return (MemoryBackend *)(void *)dimm->memdev; }

uint64_t pc_dimm_size(const PcDimm *dimm) { return dimm->memdev ? backend(dimm)->block->size : 0; }

/* ---- the modules that are there ---------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    const PcDimm *first = *(PcDimm *const *)a, *second = *(PcDimm *const *)b;

    return first->addr < second->addr ? -1 : first->addr > second->addr;
}

GPtrArray *pc_dimms(Vm *vm)
{
    GPtrArray *list = g_ptr_array_new();

    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(vm->devices, i);

        if (object_is_a(dev, "pc-dimm")) {
            g_ptr_array_add(list, container_of(dev, PcDimm, dev));
        }
    }
    g_ptr_array_sort(list, by_address);
    return list;
}

uint64_t pc_dimms_size(Vm *vm, int node)
{
    g_autoptr(GPtrArray) list = pc_dimms(vm);
    uint64_t size = 0;

    for (unsigned i = 0; i < list->len; i++) {
        const PcDimm *dimm = g_ptr_array_index(list, i);

        size += node < 0 || (uint32_t)node == dimm->node ? pc_dimm_size(dimm) : 0;
    }
    return size;
}

/* ---- slots ------------------------------------------------------------------------------- */

static bool choose_slot(const DeviceMemory *m, const GPtrArray *others, int32_t *slot, GError **err)
{
    bool taken[DIMM_SLOTS_MAX] = {false};

    if (!m->slots) {
        return error_set(err, "no slots where allocated, please specify the 'slots' option of -m");
    }
    for (unsigned i = 0; i < others->len; i++) {
        taken[((const PcDimm *)g_ptr_array_index(others, i))->slot] = true;
    }
    if (*slot != -1) {
        if (*slot < 0 || (unsigned)*slot >= m->slots) {
            return error_set(err, "invalid slot number %d, valid range is [0-%u]", *slot, m->slots - 1);
        }
        return !taken[*slot] || error_set(err, "slot %d is busy", *slot);
    }
    for (unsigned i = 0; i < m->slots; i++) {
        if (!taken[i]) {
            *slot = (int32_t)i;
            return true;
        }
    }
    return error_set(err, "no free slots available");
}

/* ---- addresses ------------------------------------------------------------------------------ */

static bool check_room(const DeviceMemory *m, uint64_t size, GError **err)
{
    uint64_t used = pc_dimms_size(m->vm, -1);

    return size <= m->capacity - used ||
           error_set(err, "not enough space, currently 0x%" PRIx64 " in use of total space for memory devices 0x%" PRIx64,
                     used, m->capacity);
}

static bool check_alignment(uint64_t addr, uint64_t size, uint64_t align, GError **err)
{
    if (addr % align) {
        return error_set(err, "address must be aligned to 0x%" PRIx64 " bytes", align);
    }
    return size % align == 0 || error_set(err, "backend memory size must be multiple of 0x%" PRIx64, align);
}

static bool fix_address(const DeviceMemory *m, const GPtrArray *others, uint64_t addr, uint64_t size, GError **err)
{
    const uint64_t base = m->region.addr, total = m->region.size;

    if (addr < base || addr - base > total || size > total - (addr - base)) {
        return error_set(err, "can't add memory device [0x%" PRIx64 ":0x%" PRIx64 "], usable range for memory devices [0x%"
                              PRIx64 ":0x%" PRIx64 "]", addr, size, base, total);
    }
    for (unsigned i = 0; i < others->len; i++) {
        const PcDimm *other = g_ptr_array_index(others, i);

        if (addr < other->addr + pc_dimm_size(other) && other->addr < addr + size) {
            return error_set(err, "address range conflicts with memory device id='%s'",
                             other->dev.id ? other->dev.id : "(unnamed)");
        }
    }
    return true;
}

/* The first gap that is large enough. others are sorted. */
static bool find_gap(const DeviceMemory *m, const GPtrArray *others, uint64_t size, uint64_t align, uint64_t *addr,
                     GError **err)
{
    const uint64_t end = m->region.addr + m->region.size;
    uint64_t at = align_up(m->region.addr, align);

    for (unsigned i = 0; i < others->len; i++) {
        const PcDimm *other = g_ptr_array_index(others, i);

        if (other->addr >= at && other->addr - at >= size) {
            break;
        }
        at = MAX(at, align_up(other->addr + pc_dimm_size(other), align));
    }
    if (at > end || size > end - at) {
        return error_set(err, "could not find position in guest address space for memory device - memory fragmented due to "
                              "alignments");
    }
    *addr = at;
    return true;
}

bool pc_dimm_place(const DeviceMemory *m, PcDimm *dimm, GError **err)
{
    g_autoptr(GPtrArray) others = pc_dimms(dimm->dev.vm);
    uint64_t addr = dimm->addr;
    int32_t slot = dimm->slot;

    if (!choose_slot(m, others, &slot, err)) {
        return false;
    }
    if (!dimm->memdev) {
        return error_set(err, "'memdev' property must be set; make its memory with -object memory-backend-ram,id=ID,size=...");
    }
    uint64_t size = pc_dimm_size(dimm), align = backend(dimm)->align;
    if (!check_room(m, size, err) || !check_alignment(addr, size, align, err) ||
        !(addr ? fix_address(m, others, addr, size, err) : find_gap(m, others, size, align, &addr, err))) {
        return false;
    }
    if (backend(dimm)->claimed) {
        return error_set(err, "can't use already busy memdev: %s", dimm->memdev->name);
    }
    dimm->addr = addr;
    dimm->slot = slot;
    return true;
}

/* ---- the window -------------------------------------------------------------------------------- */

void device_memory_init(DeviceMemory *m, Vm *vm, uint64_t base, uint64_t size, uint64_t capacity, unsigned slots)
{
    m->vm = vm;
    m->capacity = capacity;
    m->slots = slots;
    region_init_container(&m->region, "device-memory", size);
    region_add(&vm->system_memory, base, &m->region);
}

void pc_dimm_map(DeviceMemory *m, PcDimm *dimm) { region_add(&m->region, dimm->addr - m->region.addr, &dimm->region); }
void pc_dimm_unmap(PcDimm *dimm) { region_remove(&dimm->region); }

/* ---- the device ---------------------------------------------------------------------------------- */

static bool dimm_realize(Device *dev, GError **err)
{
    PcDimm *dimm = container_of(dev, PcDimm, dev);

    if (!memory_backend_claim(backend(dimm), err)) {
        return false;
    }
    dimm->claimed = true;
    memory_backend_init_region(backend(dimm), &dimm->region);
    return true;
}

static void dimm_unrealize(Device *dev)
{
    PcDimm *dimm = container_of(dev, PcDimm, dev);

    region_destroy(&dimm->region);
    memory_backend_release(backend(dimm));
    dimm->claimed = false;
}

/* A module that is there when the VM ends goes with it. */
static void dimm_finalize(Object *obj)
{
    PcDimm *dimm = (PcDimm *)(void *)obj;

    if (dimm->claimed) {
        dimm_unrealize(&dimm->dev);
    }
}

static json_object *get_size(Object *obj, const Property *prop, const void *field)
{
    return json_object_new_uint64(pc_dimm_size((const PcDimm *)(void *)obj));
}

static const PropKind prop_kind_size_of = {.type = "uint64", .json = json_type_int, .get = get_size};

static const Property dimm_props[] = {
    PROP_LINK("memdev", PcDimm, memdev, .type = "link<memory-backend>", .link_type = "memory-backend",
              .help = "the id of its memory"),
    PROP_U32("node", PcDimm, node, .help = "NUMA node"),
    PROP_U64("addr", PcDimm, addr, .help = "where the guest sees it; 0: anywhere"),
    PROP_I32("slot", PcDimm, slot, .def = (uint64_t)-1, .min = (uint64_t)INT32_MIN, .max = INT32_MAX,
             .help = "one of -m slots=; -1: any"),
    PROP_ANY("size", &prop_kind_size_of, PcDimm, memdev, .read_only = true, .help = "bytes"),
    {}};

DEVICE_TYPE(pc_dimm) = {
    .name = "pc-dimm",
    .parent = "device",
    .desc = "DIMM memory module",
    .size = sizeof(PcDimm),
    .category = "misc",
    .props = dimm_props,
    .finalize = dimm_finalize,
    .realize = dimm_realize,
    .unrealize = dimm_unrealize,
};
