/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ELF core file: header, program headers, one PT_NOTE, then memory, one PT_LOAD a mapping. More than 65534 of them
 * are counted in the first section header's sh_info (System V ABI, "Extended numbering").
 */
#include <elf.h>
#include <string.h>

#include "dump/dump_int.h"

#define CHUNK (UINT64_C(1) << 20)

/* What segment n is; a block when there are no mappings. */
static DumpMapping mapping_at(const Dump *dump, unsigned n)
{
    if (dump->mappings) {
        return g_array_index(dump->mappings, DumpMapping, n);
    }
    const DumpBlock *b = &g_array_index(dump->blocks, DumpBlock, n);
    return (DumpMapping){b->start, b->start, b->len};
}

static unsigned mapping_count(const Dump *dump) { return (dump->mappings ? dump->mappings : dump->blocks)->len; }

static bool write_headers(Dump *dump, uint64_t count, uint64_t headers)
{
    bool extended = count >= PN_XNUM;
    Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_CORE,
        .e_machine = dump->long_mode ? EM_X86_64 : EM_386,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof header + (extended ? sizeof(Elf64_Shdr) : 0),
        .e_shoff = extended ? sizeof header : 0,
        .e_ehsize = sizeof header,
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = extended ? PN_XNUM : (uint16_t)count,
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = extended,
    };
    Elf64_Shdr section = {.sh_info = (uint32_t)count};
    Elf64_Phdr note = {.p_type = PT_NOTE, .p_offset = headers, .p_filesz = dump->notes->len, .p_memsz = dump->notes->len};

    return dump_write(dump, &header, sizeof header) && (!extended || dump_write(dump, &section, sizeof section)) &&
           dump_write(dump, &note, sizeof note);
}

static bool write_segments(Dump *dump, uint64_t offset)
{
    for (unsigned i = 0; i < mapping_count(dump); i++) {
        DumpMapping m = mapping_at(dump, i);
        Elf64_Phdr load = {
            .p_type = PT_LOAD,
            .p_offset = offset,
            .p_vaddr = m.virt,
            .p_paddr = m.phys,
            .p_filesz = m.len,
            .p_memsz = m.len,
        };

        if (!dump_write(dump, &load, sizeof load)) {
            return false;
        }
        offset += m.len;
    }
    return true;
}

static bool write_memory(Dump *dump, DumpMapping m)
{
    while (m.len) {
        uint64_t len = MIN(m.len, CHUNK);
        const uint8_t *host = dump_memory(dump, m.phys, &len);

        if (!dump_write(dump, host, len)) {
            return false;
        }
        m.phys += len;
        m.len -= len;
        dump->done += len;
    }
    return true;
}

bool dump_write_elf(Dump *dump)
{
    uint64_t count = mapping_count(dump) + UINT64_C(1);
    uint64_t headers = sizeof(Elf64_Ehdr) + count * sizeof(Elf64_Phdr) + (count >= PN_XNUM ? sizeof(Elf64_Shdr) : 0);

    if (!write_headers(dump, count, headers) || !write_segments(dump, headers + dump->notes->len) ||
        !dump_write(dump, dump->notes->data, dump->notes->len)) {
        return false;
    }
    for (unsigned i = 0; i < count - 1; i++) {
        if (!write_memory(dump, mapping_at(dump, i))) {
            return false;
        }
    }
    return true;
}
