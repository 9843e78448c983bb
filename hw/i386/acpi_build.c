/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FADT, MADT, HPET, SRAT, SLIT, WAET, RSDT and RSDP, in the revisions that QEMU 7.2 gives to a pc, and
 * the fw_cfg files they go to.
 *
 * Not done: TPM2, NVDIMM, DMAR and ERST, whose devices do not exist yet; -acpitable.
 */
#include "hw/i386/acpi_build.h"

#include <malloc.h>

#include "core/state.h"
#include "hw/i386/acpi_dsdt.h"
#include "hw/i386/aml.h"
#include "hw/pci/pci.h"

/* Sizes of the files are part of a migration stream, so they are round. */
#define TABLES_ALIGN 0x20000u
#define LOADER_ALIGN 0x1000u
#define RSDP_SIZE 20u

#define SCI_IRQ 9
#define SMI_PORT 0xb2
#define SMI_ACPI_ENABLE 0xf1
#define SMI_ACPI_DISABLE 0xf0
#define PIIX4_PM_BASE 0x40           /* configuration register of PIIX4's PM function */
#define IOAPIC_ADDRESS 0xfec00000
#define LAPIC_ADDRESS 0xfee00000
#define HPET_ADDRESS 0xfed00000
#define HPET_ID 0x8086a201

/* ---- FACS and FADT, chapters 5.2.9 and 5.2.10 -------------------------------------------- */

static void put_facs(AcpiTables *t)
{
    acpi_put_bytes(t, "FACS", 4);
    acpi_put(t, 64, 4);
    for (unsigned i = 0; i < 7; i++) {
        acpi_put(t, 0, 8);
    }
}

static void put_fadt(const PcInfo *info, AcpiTables *t, uint32_t facs, uint32_t dsdt)
{
    Device *pm = acpi_find_device(info, "PIIX4_PM");
    uint32_t pm_base = 0, at = t->blob->len;
    uint32_t flags = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 15; /* WBINVD, C1, no sleep button, RTC wakes S4,
                                                                    platform clock */

    if (pm) {
        pm_base = load32_le(container_of(pm, PciDevice, dev)->config + PIIX4_PM_BASE) & 0xffc0;
    }
    if (info->max_cpus > 8) {
        flags |= 1 << 18;                /* logical mode cannot address more: cluster model */
    }
    acpi_begin(t, "FACP", 1, true);
    acpi_put(t, facs, 4);
    acpi_put(t, dsdt, 4);
    acpi_put(t, 1, 1);                   /* interrupt model: multiple APICs */
    acpi_put(t, 0, 1);
    acpi_put(t, SCI_IRQ, 2);
    acpi_put(t, info->smm ? SMI_PORT : 0, 4);
    acpi_put(t, info->smm ? SMI_ACPI_ENABLE : 0, 1);
    acpi_put(t, info->smm ? SMI_ACPI_DISABLE : 0, 1);
    acpi_put(t, 0, 2);                   /* S4BIOS, P-states */
    acpi_put(t, pm_base, 4);             /* PM1a event */
    acpi_put(t, 0, 4);
    acpi_put(t, pm_base + 4, 4);         /* PM1a control */
    acpi_put(t, 0, 4);
    acpi_put(t, 0, 4);                   /* PM2 */
    acpi_put(t, pm_base + 8, 4);         /* PM timer */
    acpi_put(t, ACPI_GPE0_PORT, 4);
    acpi_put(t, 0, 4);                   /* GPE1 */
    acpi_put(t, 4, 1);                   /* lengths of PM1 event, PM1 control, PM2, timer, GPE0, GPE1 */
    acpi_put(t, 2, 1);
    acpi_put(t, 0, 1);
    acpi_put(t, 4, 1);
    acpi_put(t, ACPI_GPE0_LENGTH, 1);
    acpi_put(t, 0, 3);                   /* GPE1 length and base, _CST */
    acpi_put(t, 0xfff, 2);               /* no C2 */
    acpi_put(t, 0xfff, 2);               /* no C3 */
    acpi_put(t, 0, 4);                   /* flush size and stride */
    acpi_put(t, 0, 4);                   /* duty cycle, RTC alarm day and month */
    acpi_put(t, 0x32, 1);                /* RTC century */
    acpi_put(t, 0, 3);
    acpi_put(t, flags, 4);
    acpi_loader_pointer(t, ACPI_FILE_TABLES, at + 36, 4, ACPI_FILE_TABLES);
    acpi_loader_pointer(t, ACPI_FILE_TABLES, at + 40, 4, ACPI_FILE_TABLES);
    acpi_end(t);
}

/* ---- MADT, chapter 5.2.12 ------------------------------------------------------------------ */

static void put_override(AcpiTables *t, uint8_t source, uint32_t gsi, uint16_t flags)
{
    acpi_put(t, 2, 1);
    acpi_put(t, 10, 1);
    acpi_put(t, 0, 1);                   /* ISA */
    acpi_put(t, source, 1);
    acpi_put(t, gsi, 4);
    acpi_put(t, flags, 2);
}

static void put_madt(const PcInfo *info, AcpiTables *t)
{
    static const uint8_t pci_irqs[] = {5, 9, 10, 11};
    bool x2apic = false;

    acpi_begin(t, "APIC", 1, true);
    acpi_put(t, LAPIC_ADDRESS, 4);
    acpi_put(t, 1, 4);                   /* there are 8259s, too */
    for (unsigned i = 0; i < info->max_cpus; i++) {
        uint8_t entry[16];
        unsigned size = acpi_madt_cpu_entry(info, i, false, entry);

        x2apic |= size == 16;
        acpi_put_bytes(t, entry, size);
    }
    acpi_put(t, 1, 1);                   /* I/O APIC */
    acpi_put(t, 12, 1);
    acpi_put(t, 0, 2);
    acpi_put(t, IOAPIC_ADDRESS, 4);
    acpi_put(t, 0, 4);
    put_override(t, 0, 2, 0);            /* the timer comes at pin 2 */
    for (unsigned i = 0; i < G_N_ELEMENTS(pci_irqs); i++) {
        put_override(t, pci_irqs[i], pci_irqs[i], 0xd); /* active high, level */
    }
    if (x2apic) {                        /* LINT1 of all processors is NMI */
        acpi_put(t, 0x0a, 1);
        acpi_put(t, 12, 1);
        acpi_put(t, 0, 2);
        acpi_put(t, 0xffffffff, 4);
        acpi_put(t, 1, 1);
        acpi_put(t, 0, 3);
    } else {
        acpi_put(t, 4, 1);
        acpi_put(t, 6, 1);
        acpi_put(t, 0xff, 1);
        acpi_put(t, 0, 2);
        acpi_put(t, 1, 1);
    }
    acpi_end(t);
}

/* ---- HPET (IA-PC HPET specification 1.0a, 3.2.4) and WAET ---------------------------------------- */

static void put_hpet(AcpiTables *t)
{
    acpi_begin(t, "HPET", 1, true);
    acpi_put(t, HPET_ID, 4);
    acpi_put(t, 0, 4);                   /* memory space */
    acpi_put(t, HPET_ADDRESS, 8);
    acpi_put(t, 0, 4);                   /* number, minimum tick, page protection */
    acpi_end(t);
}

/* Windows may read the PM timer once instead of three times. */
static void put_waet(AcpiTables *t)
{
    acpi_begin(t, "WAET", 1, true);
    acpi_put(t, 1 << 1, 4);
    acpi_end(t);
}

/* ---- NUMA: SRAT and SLIT, chapters 5.2.16 and 5.2.17 ----------------------------------------------- */

#define SRAT_ENABLED 1u
#define SRAT_HOTPLUG 2u

static void put_srat_memory(AcpiTables *t, uint64_t base, uint64_t length, uint32_t node, uint32_t flags)
{
    acpi_put(t, 1, 1);
    acpi_put(t, 40, 1);
    acpi_put(t, node, 4);
    acpi_put(t, 0, 2);
    acpi_put(t, base, 8);
    acpi_put(t, length, 8);
    acpi_put(t, 0, 4);
    acpi_put(t, flags, 4);
    acpi_put(t, 0, 8);
}

static void put_srat_cpus(const PcInfo *info, AcpiTables *t)
{
    for (unsigned i = 0; i < info->max_cpus; i++) {
        const PcCpuSlot *cpu = &info->cpus[i];
        uint32_t node = cpu->node < 0 ? 0 : (uint32_t)cpu->node;

        if (cpu->apic_id < 255) {
            acpi_put(t, 0, 1);
            acpi_put(t, 16, 1);
            acpi_put(t, node & 0xff, 1);
            acpi_put(t, cpu->apic_id, 1);
            acpi_put(t, SRAT_ENABLED, 4);
            acpi_put(t, 0, 8);           /* SAPIC id, rest of the node, clock */
        } else {
            acpi_put(t, 2, 1);
            acpi_put(t, 24, 1);
            acpi_put(t, 0, 2);
            acpi_put(t, node, 4);
            acpi_put(t, cpu->apic_id, 4);
            acpi_put(t, SRAT_ENABLED, 4);
            acpi_put(t, 0, 8);           /* clock */
        }
    }
}

/* Nodes follow each other in memory; the holes below 1 MiB and below 4 GiB are left out. */
static void put_srat_nodes(const PcInfo *info, AcpiTables *t)
{
    uint64_t next = 0;

    for (unsigned node = 0; node < info->n_nodes; node++) {
        uint64_t base = next, length = info->nodes[node].mem;

        next = base + length;
        if (length && base <= 640 * KIB && next > 640 * KIB) {
            put_srat_memory(t, base, 640 * KIB - base, node, SRAT_ENABLED);
            if (next <= MIB) {
                next = MIB;
                continue;
            }
            base = MIB;
            length = next - base;
        }
        if (base < info->below_4g && next > info->below_4g) {
            put_srat_memory(t, base, info->below_4g - base, node, SRAT_ENABLED);
            length = next - info->below_4g;
            base = info->above_4g_base;
            next = base + length;
        }
        if (length) {
            put_srat_memory(t, base, length, node, SRAT_ENABLED);
        }
        if (next == info->below_4g) {
            next = info->above_4g_base;
        }
    }
}

static void put_srat(const PcInfo *info, AcpiTables *t)
{
    uint32_t start = t->blob->len, used, expected;

    acpi_begin(t, "SRAT", 1, true);
    acpi_put(t, 1, 4);
    acpi_put(t, 0, 8);
    put_srat_cpus(info, t);
    used = t->blob->len;
    put_srat_nodes(info, t);
    /* Room for two more ranges than nodes, as firmware tables of this kind have; unused ones are
     * disabled. */
    used = (t->blob->len - used) / 40;
    expected = info->n_nodes + 2;
    for (; used < expected; used++) {
        put_srat_memory(t, 0, 0, 0, 0);
    }
    if (info->device_memory_size) {
        put_srat_memory(t, info->device_memory_base, info->device_memory_size, info->n_nodes - 1,
                        SRAT_ENABLED | SRAT_HOTPLUG);
    }
    t->open = start;
    acpi_end(t);
}

static void put_slit(const PcInfo *info, AcpiTables *t)
{
    acpi_begin(t, "SLIT", 1, true);
    acpi_put(t, info->n_nodes, 8);
    for (unsigned i = 0; i < info->n_nodes; i++) {
        acpi_put_bytes(t, info->nodes[i].distance, info->n_nodes);
    }
    acpi_end(t);
}

/* ---- root pointers, chapters 5.2.5 and 5.2.7 --------------------------------------------------------- */

static uint32_t put_rsdt(AcpiTables *t)
{
    uint32_t at = t->blob->len;

    acpi_begin(t, "RSDT", 1, false);
    for (unsigned i = 0; i < t->offsets->len; i++) {
        uint32_t pointer = t->blob->len;

        acpi_put(t, g_array_index(t->offsets, uint32_t, i), 4);
        acpi_loader_pointer(t, ACPI_FILE_TABLES, pointer, 4, ACPI_FILE_TABLES);
    }
    acpi_end(t);
    return at;
}

static void put_rsdp(AcpiTables *t, uint32_t rsdt)
{
    uint8_t raw[RSDP_SIZE] = "RSD PTR ";

    memcpy(raw + 9, t->oem_id, 6);
    store32_le(raw + 16, rsdt);
    g_byte_array_append(t->rsdp, raw, sizeof raw);
    acpi_loader_pointer(t, ACPI_FILE_RSDP, 16, 4, ACPI_FILE_TABLES);
    acpi_loader_checksum(t, ACPI_FILE_RSDP, 8, 0, RSDP_SIZE);
}

/* ---- all of it ------------------------------------------------------------------------------------------- */

static void put_dsdt(const PcInfo *info, AcpiTables *t)
{
    GString *text = g_string_new(NULL);

    acpi_dsdt_text(info, text);
    acpi_begin(t, "DSDT", 1, false);
    aml_assemble(text->str, t->blob);
    acpi_end(t);
    g_string_free(text, TRUE);
}

static void pad(GByteArray *array, unsigned align)
{
    unsigned used = array->len;

    g_byte_array_set_size(array, (guint)align_up(used, align));
    memset(array->data + used, 0, array->len - used);
}

/* Short ids are padded with zeros, as QEMU's, not with ACPI's customary blanks. */
static void copy_padded(char *to, const char *from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        to[i] = *from ? *from++ : 0;
    }
}

void acpi_build(const PcInfo *info, AcpiTables *t)
{
    uint32_t facs, dsdt;

    if (*info->oem_id) {
        copy_padded(t->oem_id, info->oem_id, 6);
    }
    if (*info->oem_table_id) {
        copy_padded(t->oem_table_id, info->oem_table_id, 8);
    }
    acpi_loader_allocate(t, ACPI_FILE_RSDP, 16, ACPI_ZONE_FSEG);
    acpi_loader_allocate(t, ACPI_FILE_TABLES, 64, ACPI_ZONE_HIGH);
    facs = t->blob->len;                 /* first: it must be aligned to 64 bytes */
    put_facs(t);
    dsdt = t->blob->len;
    put_dsdt(info, t);
    put_fadt(info, t, facs, dsdt);
    put_madt(info, t);
    if (info->hpet) {
        put_hpet(t);
    }
    if (info->n_nodes) {
        put_srat(info, t);
        if (info->has_distances) {
            put_slit(info, t);
        }
        if (info->hmat) {
            acpi_put_hmat(info, t);
        }
    }
    put_waet(t);
    put_rsdp(t, put_rsdt(t));
    pad(t->blob, TABLES_ALIGN);
    pad(t->loader, LOADER_ALIGN);
}

/* ---- fw_cfg files -------------------------------------------------------------------------------------------- */

/*
 * The three files belong together, so they are cut from one build: it is made when the first of them is
 * asked for and dropped when all are taken, or at a reset.
 */
typedef struct AcpiFiles {
    Vm *vm;
    const PcInfo *info;
    AcpiTables tables;
    bool built;
    unsigned taken;          /* bits of AcpiPart */
    uint8_t patched;         /* a file was made since the last reset: QEMU's, on the wire only */
} AcpiFiles;

typedef enum AcpiPart { PART_TABLES = 1, PART_RSDP = 2, PART_LOADER = 4, PART_ALL = 7 } AcpiPart;

static void files_forget(void *opaque)
{
    AcpiFiles *files = opaque;

    if (files->built) {
        acpi_tables_clear(&files->tables);
        files->built = false;
        files->taken = 0;
    }
}

static void files_reset(void *opaque)
{
    AcpiFiles *files = opaque;

    files_forget(files);
    files->patched = 0;
}

static void fill_part(AcpiFiles *files, AcpiPart part, GByteArray *out)
{
    GByteArray *from;

    if (files->taken & part) {
        files_forget(files);
    }
    if (!files->built) {
        acpi_tables_init(&files->tables);
        acpi_build(files->info, &files->tables);
        files->built = true;
    }
    from = part == PART_TABLES ? files->tables.blob
                               : part == PART_RSDP ? files->tables.rsdp : files->tables.loader;
    g_byte_array_append(out, from->data, from->len);
    files->taken |= part;
    files->patched = 1;
    if (files->taken == PART_ALL) {
        files_forget(files);
        malloc_trim(0); /* building them took more memory than anything will again */
    }
}

static void fill_tables(void *opaque, GByteArray *out)
{
    fill_part(opaque, PART_TABLES, out);
}

static void fill_rsdp(void *opaque, GByteArray *out)
{
    fill_part(opaque, PART_RSDP, out);
}

static void fill_loader(void *opaque, GByteArray *out)
{
    fill_part(opaque, PART_LOADER, out);
}

/* The item of the tables owns it for all three. */
static void files_free(void *opaque)
{
    AcpiFiles *files = opaque;

    state_unregister(files->vm, files);
    files_forget(files);
    g_free(opaque);
}

static const StateField files_fields[] = {STATE_U8(AcpiFiles, patched, .max = 1), {}};
static const StateDesc files_state = {
    .name = "acpi_build", .version = 1, .min_version = 1, .fields = files_fields};

bool acpi_add_files(PcInfo *info, GError **err)
{
    static const FwCfgSource tables = {.fill = fill_tables, .release = files_free}, rsdp = {.fill = fill_rsdp},
                             loader = {.fill = fill_loader};
    AcpiFiles *files = g_new0(AcpiFiles, 1);

    files->vm = info->vm;
    files->info = info;
    vm_on_reset(info->vm, files_reset, files);
    state_register(info->vm, "acpi_build", 0, &files_state, files);
    return fw_cfg_add_file_source(info->fw_cfg, ACPI_FILE_TABLES, &tables, files, err) &&
           fw_cfg_add_file_source(info->fw_cfg, ACPI_FILE_RSDP, &rsdp, files, err) &&
           fw_cfg_add_file_source(info->fw_cfg, ACPI_FILE_LOADER, &loader, files, err);
}
