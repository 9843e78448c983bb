/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: what the machine was given: ROMs, TPMs, memory devices; migration's switches; sums over memory; x-query-roms. */
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "core/device_list.h"
#include "hw/i386/firmware.h"
#include "hw/i386/machine.h"
#include "hw/nvram/fw_cfg.h"
#include "monitor/hmp_internal.h"
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"

/* ---- info roms --------------------------------------------------------------------------------- */

static void print_file(const char *name, uint64_t size, void *opaque)
{
    static const char *const tables[] = {"etc/acpi/tables", "etc/table-loader", "etc/acpi/rsdp", NULL};
    const char *base = strrchr(name, '/');

    if (g_str_has_prefix(name, "genroms/") || g_str_has_prefix(name, "vgaroms/")) {
        hmp_printf(opaque, "fw=%s size=0x%06" PRIx64 " name=\"%s\"\n", name, size, base + 1);
    } else if (g_strv_contains(tables, name)) {
        hmp_printf(opaque, "/rom@%s size=0x%06" PRIx64 " name=\"%s\"\n", name, size, name);
    }
}

/* The BIOS ends at 4 GiB. */
static void print_bios(HmpCall *call)
{
    const FlatRange *range = flat_view_find(address_space_view(&call->vm->memory), UINT32_MAX);
    const char *name = call->vm->machine->config.bios;
    g_autofree char *base = g_path_get_basename(name ? name : FIRMWARE_DEFAULT);

    if (range && range->region->kind == REGION_ROM) {
        hmp_printf(call, "addr=%016" PRIx64 " size=0x%06" PRIx64 " mem=rom name=\"%s\"\n",
                   (UINT64_C(1) << 32) - range->region->size, range->region->size, base);
    }
}

static void info_roms(HmpCall *call)
{
    FwCfg *fw = fw_cfg_find(call->vm);

    if (call->vm->machine) {
        print_bios(call);
    }
    if (fw) {
        fw_cfg_foreach_file(fw, print_file, call);
    }
}

bool qmp_x_query_roms(QmpCall *call, GError **err) { return hmp_text_result(call, info_roms); }

/* ---- lists ------------------------------------------------------------------------ */

static void ask(HmpCall *call, QmpHandler *handler, const QapiType *type)
{
    QmpCall qmp = {.vm = call->vm, .mon = call->mon};

    handler(&qmp, NULL);
    qapi_free(type, qmp.result);
}

static void info_tpm(HmpCall *call) { ask(call, qmp_query_tpm, &qapi_list_TPMInfo); }

static void info_memory_devices(HmpCall *call)
{
    QmpCall qmp = {.vm = call->vm, .mon = call->mon};

    qmp_query_memory_devices(&qmp, NULL);
    const GPtrArray *list = qmp.result;
    for (unsigned i = 0; i < list->len; i++) {
        const PCDIMMDeviceInfo *d = ((const MemoryDeviceInfo *)list->pdata[i])->u.dimm.data;

        hmp_printf(call, "Memory device [dimm]: \"%s\"\n  addr: 0x%" PRIx64 "\n  slot: %" PRId64 "\n  node: %" PRId64
                         "\n  size: %" PRIu64 "\n  memdev: %s\n  hotplugged: %s\n  hotpluggable: %s\n",
                   d->id ? d->id : "", d->addr, d->slot, d->node, d->size, d->memdev, d->hotplugged ? "true" : "false",
                   d->hotpluggable ? "true" : "false");
    }
    qapi_free(&qapi_list_MemoryDeviceInfo, qmp.result);
}

/* ---- migration ------------------------------------------------------------------------------------- */

static void info_migrate_capabilities(HmpCall *call)
{
    QmpCall qmp = {.vm = call->vm};

    qmp_query_migrate_capabilities(&qmp, NULL);
    const GPtrArray *list = qmp.result;
    for (unsigned i = 0; i < list->len; i++) {
        const MigrationCapabilityStatus *status = list->pdata[i];

        hmp_printf(call, "%s: %s\n", qapi_enum_name(&qapi_type_MigrationCapability, (int)status->capability),
                   status->state ? "on" : "off");
    }
    qapi_free(&qapi_list_MigrationCapabilityStatus, qmp.result);
}

static void migrate_set_capability(HmpCall *call)
{
    const char *name = hmp_str(call->args, "capability");
    int capability = qapi_enum_value(&qapi_type_MigrationCapability, name);

    if (capability < 0) {
        hmp_printf(call, "Error: invalid parameter value: %s\n", name);
        return;
    }
    MigrationCapabilityStatus status = {(MigrationCapability)capability, hmp_bool(call->args, "state")};
    void *list[] = {&status};
    GPtrArray capabilities = {.pdata = list, .len = 1};
    MigrateSetCapabilitiesArgs args = {.capabilities = &capabilities};
    hmp_call_qmp(call, qmp_migrate_set_capabilities, &args);
}

/* ---- devices, boot order ------------------------------------------------------------------------------ */

static void info_qdm(HmpCall *call) { device_list(call->out, true); }

static void hmp_boot_set(HmpCall *call)
{
    Machine *machine = call->vm->machine;
    const char *order = hmp_str(call->args, "bootdevice");
    GError *err = NULL;

    if (!machine || !machine->ops->set_boot_order) {
        hmp_printf(call, "no function defined to set boot device list for this architecture\n");
    } else if (!machine->ops->set_boot_order(machine, order, &err)) {
        hmp_printf(call, "%s\n", err->message);
        g_error_free(err);
    } else {
        hmp_printf(call, "boot device list now set to %s\n", order);
    }
}

/* ---- memory ----------------------------------------------------------------------------------------- */

typedef struct RamListing {
    const FlatView *view;
    GPtrArray *blocks;      /* RamBlock *, each once */
} RamListing;

static void collect_blocks(const Region *region, RamListing *l)
{
    if (region->ram && !g_ptr_array_find(l->blocks, region->ram, NULL)) {
        g_ptr_array_add(l->blocks, region->ram);
    }
    if (region->alias) {
        collect_blocks(region->alias, l);
    }
    for (unsigned i = 0; region->children && i < region->children->len; i++) {
        collect_blocks(region->children->pdata[i], l);
    }
}

/* The first range that shows some of it; NULL: no address does now. */
static const FlatRange *place_of(const RamListing *l, const RamBlock *block)
{
    for (unsigned i = 0; i < l->view->count; i++) {
        if (l->view->ranges[i].region->ram == block) {
            return &l->view->ranges[i];
        }
    }
    return NULL;
}

static void print_block(HmpCall *call, const RamListing *l, const RamBlock *block)
{
    const FlatRange *range = place_of(l, block);
    g_autofree char *place = range ? g_strdup_printf("0x%016" PRIx64, range->start) : g_strdup("-");
    uint64_t page = block->page ? block->page : 4096;
    bool large = page >= 1 << 20;

    hmp_printf(call, "%24s %4" PRIu64 " %s %18s 0x%016" PRIx64 "\n", block->id, large ? page >> 20 : page >> 10,
               large ? "MiB" : "KiB", place, block->size);
}

static void info_ramblock(HmpCall *call)
{
    RamListing l = {address_space_view(&call->vm->memory), g_ptr_array_new()};

    hmp_printf(call, "%24s %8s %18s %18s\n", "Block Name", "PSize", "Guest address", "Total");
    collect_blocks(call->vm->memory.root, &l);
    for (unsigned i = 0; i < l.blocks->len; i++) {
        print_block(call, &l, l.blocks->pdata[i]);
    }
    g_ptr_array_free(l.blocks, true);
}

bool qmp_x_query_ramblock(QmpCall *call, GError **err) { return hmp_text_result(call, info_ramblock); }

/* The sum that QEMU's monitor gives: of 16 bits, rotated right before each byte is added. */
static void hmp_sum(HmpCall *call)
{
    uint64_t start = (uint64_t)hmp_int(call->args, "start"), size = (uint64_t)hmp_int(call->args, "size");
    uint16_t sum = 0;

    for (uint64_t done = 0; done < size;) {
        uint8_t bytes[4096];
        size_t len = (size_t)MIN(size - done, sizeof bytes);

        if (!address_space_read(&call->vm->memory, start + done, bytes, len)) {
            hmp_printf(call, "Error: no memory at 0x%" PRIx64 "\n", start + done);
            return;
        }
        for (size_t i = 0; i < len; i++) {
            sum = (uint16_t)((sum >> 1 | sum << 15) + bytes[i]);
        }
        done += len;
    }
    hmp_printf(call, "%05d\n", sum);
}

/* The frame behind an address of this process; false: the kernel does not say. */
static bool host_frame(const uint8_t *host, uint64_t *frame)
{
    long page = sysconf(_SC_PAGESIZE);
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && pread(fd, frame, sizeof *frame, (off_t)((uintptr_t)host / (uintptr_t)page * sizeof *frame)) ==
                             (ssize_t)sizeof *frame;

    if (fd >= 0) {
        close(fd);
    }
    ok = ok && *frame >> 63; /* present */
    *frame &= (UINT64_C(1) << 55) - 1;
    return ok && *frame;     /* 0: hidden from who may not know it */
}

static void hmp_gpa2hpa(HmpCall *call)
{
    uint64_t addr = (uint64_t)hmp_int(call->args, "addr"), frame = 0, page = (uint64_t)sysconf(_SC_PAGESIZE);
    const FlatRange *range = flat_view_find(address_space_view(&call->vm->memory), addr);

    if (!range) {
        hmp_printf(call, "No memory is mapped at address 0x%" PRIx64 "\n", addr);
    } else if (!range->region->ram) {
        hmp_printf(call, "Memory at address 0x%" PRIx64 " is not RAM\n", addr);
    } else {
        const volatile uint8_t *host = region_host(range->region) + range->offset + (addr - range->start);

        (void)*host; /* so that there is a page */
        if (host_frame((const uint8_t *)(uintptr_t)host, &frame)) {
            hmp_printf(call, "Host physical address for 0x%" PRIx64 " (%s) is 0x%" PRIx64 "\n", addr, range->region->name,
                       frame * page + (uint64_t)(uintptr_t)host % page);
        } else {
            hmp_printf(call, "Error: the kernel does not tell where 0x%" PRIx64 " is; that needs CAP_SYS_ADMIN\n", addr);
        }
    }
}

const HmpCommand hmp_machine_commands[] = {
    {"info roms", .run = info_roms, .help = "ROMs and tables that the firmware gets"},
    {"info tpm", .run = info_tpm, .help = "the trusted platform modules"},
    {"info memory-devices", .run = info_memory_devices, .help = "the memory devices"},
    {"info migrate_capabilities", .run = info_migrate_capabilities, .help = "switches of migration"},
    {"migrate_set_capability", "capability:word,state:bool", NULL, "switches a property of migrations", migrate_set_capability},
    {"info qdm", .run = info_qdm, .help = "the kinds of devices that there are"},
    {"info ramblock", .run = info_ramblock, .help = "blocks of host memory that guests see, and where"},
    {"boot_set", "bootdevice:word", NULL, "what the next boot tries, as -boot order= does", hmp_boot_set},
    {"sum", "start:long,size:int", NULL, "a checksum of physical memory", hmp_sum},
    {"gpa2hpa", "addr:long", NULL, "where a physical address of the guest is in the host's memory", hmp_gpa2hpa},
    {}};
