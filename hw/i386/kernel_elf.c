/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ELF kernels (System V ABI, chapters 4 and 5; Xen's docs/misc/pvh) and Multiboot 1 images
 * (specification 0.6.96, 3.1).
 *
 * Not done: relocations, and segments that go below 1 MiB or above 4 GiB.
 */
#include "hw/i386/kernel_image.h"

#define LOWEST_ADDRESS MIB       /* below are firmware, its data, and our boot information */

/* ---- segments ------------------------------------------------------------------------ */

static bool add_segment(KernelSegments *out, uint64_t file_size_total, uint64_t below_4g, uint64_t offset,
                        uint64_t file_size, uint64_t mem_size, uint64_t addr, GError **err)
{
    if (!mem_size) {
        return true;
    }
    if (file_size > mem_size || !range_fits(offset, file_size, file_size_total)) {
        return error_set(err, "a segment for address 0x%" G_GINT64_MODIFIER "x is not inside the file", addr);
    }
    if (addr < LOWEST_ADDRESS || !range_fits(addr, mem_size, below_4g)) {
        return error_set(err, "a segment of %" G_GUINT64_FORMAT " bytes for address 0x%" G_GINT64_MODIFIER
                         "x does not fit into the guest's memory (1 to %" G_GUINT64_FORMAT " MiB)", mem_size, addr,
                         below_4g / MIB);
    }
    if (out->count == KERNEL_MAX_SEGMENTS) {
        return error_set(err, "the image has more than %d segments", KERNEL_MAX_SEGMENTS);
    }
    out->segments[out->count++] = (KernelSegment){.file_offset = offset, .file_size = (uint32_t)file_size,
                                                  .mem_size = (uint32_t)mem_size, .addr = (uint32_t)addr};
    out->start = out->count == 1 ? (uint32_t)addr : MIN(out->start, (uint32_t)addr);
    out->end = MAX(out->end, (uint32_t)(addr + mem_size));
    return true;
}

/* ---- ELF ------------------------------------------------------------------------------- */

#define ELF_MACHINE_386 3
#define ELF_MACHINE_X86_64 62
#define PT_LOAD 1
#define PT_NOTE 4
#define MAX_PROGRAM_HEADERS 256
#define NOTE_PHYS32_ENTRY 18
#define MAX_NOTE_BYTES 65536u

typedef struct ElfHeader {
    bool is64;
    uint16_t machine;
    uint64_t entry, phoff;
    uint16_t phentsize, phnum;
} ElfHeader;

typedef struct ElfProgram {
    uint32_t type;
    uint64_t offset, paddr, filesz, memsz, align;
} ElfProgram;

static bool elf_header_read(const KernelSource *source, ElfHeader *out, GError **err)
{
    uint8_t raw[64] = {0};
    ElfHeader h = {0};

    if (source->size < 52 || !kernel_source_read(source, 0, raw, (size_t)MIN(sizeof raw, source->size))) {
        return error_set(err, "the file is too short for an ELF image");
    }
    if (raw[4] < 1 || raw[4] > 2 || raw[5] != 1) {
        return error_set(err, "the ELF image is not a little-endian one of 32 or 64 bits");
    }
    h.is64 = raw[4] == 2;
    h.machine = load16_le(raw + 18);
    h.entry = h.is64 ? load64_le(raw + 24) : load32_le(raw + 24);
    h.phoff = h.is64 ? load64_le(raw + 32) : load32_le(raw + 28);
    h.phentsize = load16_le(raw + (h.is64 ? 54 : 42));
    h.phnum = load16_le(raw + (h.is64 ? 56 : 44));
    if (h.machine != ELF_MACHINE_386 && h.machine != ELF_MACHINE_X86_64) {
        return error_set(err, "the ELF image is for machine %u, not for x86", h.machine);
    }
    if (h.phentsize < (h.is64 ? 56 : 32) || h.phnum == 0 || h.phnum > MAX_PROGRAM_HEADERS ||
        !range_fits(h.phoff, (uint64_t)h.phentsize * h.phnum, source->size)) {
        return error_set(err, "the ELF image has no valid program headers");
    }
    *out = h;
    return true;
}

static bool elf_program_read(const KernelSource *source, const ElfHeader *h, unsigned index, ElfProgram *out)
{
    uint8_t raw[56];

    if (!kernel_source_read(source, h->phoff + (uint64_t)index * h->phentsize, raw, h->is64 ? 56 : 32)) {
        return false;
    }
    out->type = load32_le(raw);
    out->offset = h->is64 ? load64_le(raw + 8) : load32_le(raw + 4);
    out->paddr = h->is64 ? load64_le(raw + 24) : load32_le(raw + 12);
    out->filesz = h->is64 ? load64_le(raw + 32) : load32_le(raw + 16);
    out->memsz = h->is64 ? load64_le(raw + 40) : load32_le(raw + 20);
    out->align = h->is64 ? load64_le(raw + 48) : load32_le(raw + 28);
    return true;
}

/* Looks for the entry point in a note segment. */
static bool find_pvh_note(const KernelSource *source, const ElfProgram *p, uint32_t *entry)
{
    uint64_t len = MIN(p->filesz, MAX_NOTE_BYTES), at = 0, align = p->align == 8 ? 8 : 4;
    uint8_t *notes;
    bool found = false;

    if (!range_fits(p->offset, len, source->size)) {
        return false;
    }
    notes = g_malloc(len + 1);
    if (!kernel_source_read(source, p->offset, notes, len)) {
        len = 0;
    }
    while (!found && range_fits(at, 12, len)) {
        uint64_t name_size = load32_le(notes + at), desc_size = load32_le(notes + at + 4);
        uint64_t desc = align_up(at + 12 + name_size, align);

        if (!range_fits(desc, desc_size, len)) {
            break;
        }
        if (load32_le(notes + at + 8) == NOTE_PHYS32_ENTRY && name_size == 4 && !memcmp(notes + at + 12, "Xen", 4) &&
            desc_size >= 4) {
            *entry = load32_le(notes + desc);
            found = true;
        }
        at = align_up(desc + desc_size, align);
    }
    g_free(notes);
    return found;
}

static bool entry_inside(const KernelSegments *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->entry >= s->segments[i].addr && s->entry - s->segments[i].addr < s->segments[i].mem_size) {
            return true;
        }
    }
    return false;
}

bool elf_image_probe(const KernelSource *source)
{
    uint8_t magic[4];

    return kernel_source_read(source, 0, magic, 4) && !memcmp(magic, "\177ELF", 4);
}

bool elf_image_parse(const KernelSource *source, uint64_t below_4g, bool want_pvh, KernelSegments *segments,
                     GError **err)
{
    KernelSegments found = {0};
    bool has_note = false;
    ElfHeader h = {0};

    if (!elf_header_read(source, &h, err)) {
        return false;
    }
    if (!want_pvh && h.is64) {
        return error_set(err, "a Multiboot image in ELF form must be a 32-bit one, this has 64 bits");
    }
    for (unsigned i = 0; i < h.phnum; i++) {
        ElfProgram p;

        if (!elf_program_read(source, &h, i, &p)) {
            return error_set(err, "the ELF image's program headers cannot be read");
        }
        if (p.type == PT_NOTE && want_pvh) {
            has_note |= find_pvh_note(source, &p, &found.entry);
        } else if (p.type == PT_LOAD && !add_segment(&found, source->size, below_4g, p.offset, p.filesz, p.memsz,
                                                     p.paddr, err)) {
            return false;
        }
    }
    if (want_pvh && !has_note) {
        return error_set(err, "the ELF image has no PVH entry point (note XEN_ELFNOTE_PHYS32_ENTRY); a Linux kernel "
                              "needs CONFIG_PVH, or give its bzImage");
    }
    if (!want_pvh) {
        found.entry = (uint32_t)h.entry;
        if (h.entry > UINT32_MAX) {
            return error_set(err, "the ELF image's entry point is above 4 GiB");
        }
    }
    if (!entry_inside(&found)) {
        return error_set(err, "the image's entry point 0x%x is in none of its segments", found.entry);
    }
    *segments = found;
    return true;
}

/* ---- Multiboot ------------------------------------------------------------------------------ */

#define MULTIBOOT_HEADER_MAGIC 0x1badb002u
#define MULTIBOOT_SEARCH 8192u
#define MULTIBOOT_HEADER_SIZE 32u
#define FLAGS_REQUIRED 0xffffu       /* bits that a loader must know, or refuse */
#define FLAGS_KNOWN 0x0007u          /* aligned modules, memory, video mode (offered as none) */
#define FLAG_ADDRESSES 0x10000u

/* The header's offset in the file, -1 when there is none. header: 32 bytes, missing ones zero. */
static int multiboot_find(const KernelSource *source, uint8_t *header)
{
    size_t len = (size_t)MIN(source->size, MULTIBOOT_SEARCH);
    uint8_t *data = g_malloc0(MULTIBOOT_SEARCH + MULTIBOOT_HEADER_SIZE);
    int at = -1;

    if (kernel_source_read(source, 0, data, len)) {
        for (size_t i = 0; i + 12 <= len && at < 0; i += 4) {
            if (load32_le(data + i) == MULTIBOOT_HEADER_MAGIC &&
                load32_le(data + i) + load32_le(data + i + 4) + load32_le(data + i + 8) == 0) {
                memcpy(header, data + i, MULTIBOOT_HEADER_SIZE);
                at = (int)i;
            }
        }
    }
    g_free(data);
    return at;
}

bool multiboot_image_probe(const KernelSource *source)
{
    uint8_t header[MULTIBOOT_HEADER_SIZE];

    return multiboot_find(source, header) >= 0;
}

/* The header itself says what goes where (the "a.out kludge"). */
static bool parse_addresses(const KernelSource *source, uint64_t below_4g, const uint8_t *header, uint32_t at,
                            KernelSegments *out, GError **err)
{
    uint32_t header_addr = load32_le(header + 12), load_addr = load32_le(header + 16);
    uint32_t load_end = load32_le(header + 20), bss_end = load32_le(header + 24);
    uint64_t offset, file_size, mem_size;

    if (header_addr < load_addr || header_addr - load_addr > at) {
        return error_set(err, "the Multiboot header's addresses do not match the file");
    }
    offset = at - (header_addr - load_addr);
    if (load_end && load_end < load_addr) {
        return error_set(err, "the Multiboot header's load_end_addr is below its load_addr");
    }
    file_size = load_end ? load_end - load_addr : source->size - offset;
    mem_size = bss_end ? (bss_end < load_addr ? 0 : bss_end - load_addr) : file_size;
    if (mem_size < file_size) {
        return error_set(err, "the Multiboot header's bss_end_addr is below the end of its data");
    }
    out->entry = load32_le(header + 28);
    if (!add_segment(out, source->size, below_4g, offset, file_size, mem_size, load_addr, err)) {
        return false;
    }
    return entry_inside(out) || error_set(err, "the Multiboot header's entry 0x%x is not in what is loaded", out->entry);
}

bool multiboot_image_parse(const KernelSource *source, uint64_t below_4g, KernelSegments *segments, GError **err)
{
    uint8_t header[MULTIBOOT_HEADER_SIZE];
    KernelSegments found = {0};
    int at = multiboot_find(source, header);
    uint32_t flags;

    if (at < 0) {
        return error_set(err, "the file has no Multiboot header");
    }
    flags = load32_le(header + 4);
    if (flags & FLAGS_REQUIRED & ~FLAGS_KNOWN) {
        return error_set(err, "the Multiboot header requires features that are not known (flags 0x%x)", flags);
    }
    if (!(flags & FLAG_ADDRESSES)) {
        if (!elf_image_probe(source)) {
            return error_set(err, "the Multiboot image is no ELF file and its header gives no addresses");
        }
        return elf_image_parse(source, below_4g, false, segments, err);
    }
    if (!parse_addresses(source, below_4g, header, (uint32_t)at, &found, err)) {
        return false;
    }
    *segments = found;
    return true;
}
