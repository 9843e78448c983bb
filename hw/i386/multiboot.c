/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Multiboot information; see the header. Loading is in kernel_loader.c, parsing in kernel_elf.c. */
#include "hw/i386/multiboot.h"

#include "util/util.h"

#define INFO_SIZE 88u            /* up to the fields of later revisions, which stay zero */
#define MODULE_SIZE 16u

#define INFO_MEMORY 0x1u
#define INFO_BOOT_DEVICE 0x2u
#define INFO_CMDLINE 0x4u
#define INFO_MODULES 0x8u
#define INFO_MMAP 0x40u
#define INFO_LOADER 0x200u

bool multiboot_modules_parse(const char *text, MultibootModules *modules, GError **err)
{
    MultibootModules found = {0};

    while (*text) {
        GString *item = g_string_new(NULL);
        MultibootModule *module = &found.modules[found.count];

        for (; *text && !(*text == ',' && text[1] != ','); text++) {
            text += *text == ',';
            g_string_append_c(item, *text);
        }
        text += *text == ',';
        if (found.count == MULTIBOOT_MAX_MODULES || !item->len || item->str[0] == ' ') {
            bool full = found.count == MULTIBOOT_MAX_MODULES;

            g_string_free(item, TRUE);
            multiboot_modules_clear(&found);
            return full ? error_set(err, "-initrd: more than %d modules", MULTIBOOT_MAX_MODULES)
                        : error_set(err, "-initrd: a module without a file name");
        }
        module->string = g_string_free(item, FALSE);
        module->path = g_strndup(module->string, strcspn(module->string, " "));
        found.count++;
    }
    *modules = found;
    return true;
}

void multiboot_modules_clear(MultibootModules *modules)
{
    for (unsigned i = 0; i < modules->count; i++) {
        g_free(modules->modules[i].path);
        g_free(modules->modules[i].string);
    }
    modules->count = 0;
}

/* Appends a string; returns its address. */
static uint32_t put_string(GByteArray *out, uint32_t addr, const char *text)
{
    uint32_t at = out->len;

    g_byte_array_append(out, (const guint8 *)text, (guint)strlen(text) + 1);
    return addr + at;
}

void multiboot_info_build(GByteArray *out, uint32_t addr, uint32_t map_addr, uint64_t below_4g, const char *kernel,
                          const char *append, const MultibootModules *modules)
{
    char *cmdline = append && *append ? g_strdup_printf("%s %s", kernel, append) : g_strdup(kernel);
    uint32_t list = INFO_SIZE, string;
    uint8_t *info;

    g_byte_array_set_size(out, INFO_SIZE + modules->count * MODULE_SIZE);
    memset(out->data, 0, out->len);
    for (unsigned i = 0; i < modules->count; i++) {
        string = put_string(out, addr, modules->modules[i].string);
        info = out->data + list + i * MODULE_SIZE;
        store32_le(info, modules->modules[i].start);
        store32_le(info + 4, modules->modules[i].end);
        store32_le(info + 8, string);
    }
    string = put_string(out, addr, cmdline);
    store32_le(out->data + 16, string);
    string = put_string(out, addr, "kiln");
    info = out->data;
    store32_le(info + 64, string);
    store32_le(info, INFO_MEMORY | INFO_BOOT_DEVICE | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER);
    store32_le(info + 4, 640);                               /* KiB below 1 MiB, and above */
    store32_le(info + 8, (uint32_t)((below_4g - MIN(below_4g, MIB)) / KIB));
    store32_le(info + 12, 0x8000ffff);                       /* first disk, no partition */
    store32_le(info + 20, modules->count);
    store32_le(info + 24, addr + list);
    store32_le(info + 48, map_addr);                         /* its length: the ROM's */
    g_free(cmdline);
}
