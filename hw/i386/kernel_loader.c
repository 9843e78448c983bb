/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -kernel, -initrd, -append: opens the files, finds out what the kernel is, and leaves its pieces in
 * fw_cfg together with the option ROM that moves them into memory. Files are not read here beyond
 * their headers: their bytes go from the file to guest memory when the ROM asks for them.
 *
 * Low memory as the ROM uses it for kernels that are entered in protected mode:
 *   0x10000  memory map, filled in by the ROM
 *   0x10c00  boot information (start_info or Multiboot information), module list, strings
 */
#include "hw/i386/kernel_loader.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hw/i386/kernel_image.h"
#include "hw/i386/kernel_rom.h"
#include "hw/i386/multiboot.h"

#define MAP_SEGMENT 0x1000
#define INFO_OFFSET (KERNEL_ROM_MAP_ENTRIES * 24)
#define INFO_ADDR (MAP_SEGMENT * 16 + INFO_OFFSET)
#define INFO_MAX 0x10000u

/* ---- files ------------------------------------------------------------------------ */

typedef struct KernelFile {
    int fd;
    uint64_t size;
} KernelFile;

static bool file_read(void *opaque, uint64_t offset, void *buf, size_t len)
{
    const KernelFile *file = opaque;
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(file->fd, (char *)buf + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

/* option names it in messages. */
static bool file_open(KernelFile *file, const char *option, const char *path, GError **err)
{
    struct stat st;

    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0) {
        return error_set_errno(err, errno, "%s: cannot open '%s'", option, path);
    }
    if (fstat(file->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        error_set(err, "%s: '%s' is not a regular file; name one", option, path);
    } else if (st.st_size == 0) {
        error_set(err, "%s: '%s' is empty; is it the right file, and whole?", option, path);
    } else if (st.st_size > (off_t)UINT32_MAX) {
        error_set(err, "%s: '%s' is larger than 4 GiB; is it the right file?", option, path);
    } else {
        file->size = (uint64_t)st.st_size;
        return true;
    }
    close(file->fd);
    file->fd = -1;
    return false;
}

static void file_close(KernelFile *file)
{
    if (file->fd >= 0) {
        close(file->fd);
        file->fd = -1;
    }
}

/* ---- what all kinds share ------------------------------------------------------------ */

static bool add_rom(PcInfo *info, const KernelRom *rom, GError **err)
{
    GByteArray *image = kernel_rom_build(rom, err);
    char *name;
    bool ok;

    if (!image) {
        return false;
    }
    name = g_strdup_printf("genroms/%s", rom->name);
    ok = fw_cfg_add_file(info->fw_cfg, name, image->data, image->len, err);
    if (ok) {
        if (!info->option_roms) {
            info->option_roms = g_ptr_array_new();
        }
        g_ptr_array_insert(info->option_roms, 0, (gpointer)rom->name);
    }
    g_free(name);
    g_byte_array_unref(image);
    return ok;
}

static void add_initrd(PcInfo *info, KernelRom *rom, const KernelFile *initrd, uint32_t addr)
{
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_INITRD_ADDR, addr);
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_INITRD_SIZE, (uint32_t)initrd->size);
    fw_cfg_add_fd(info->fw_cfg, FW_CFG_INITRD_DATA, initrd->fd, 0, (uint32_t)initrd->size);
    kernel_rom_load(rom, FW_CFG_INITRD_DATA, 0, (uint32_t)initrd->size, addr);
}

static void add_cmdline(PcInfo *info, const char *text, uint32_t addr)
{
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_CMDLINE_ADDR, addr);
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_CMDLINE_SIZE, (uint32_t)strlen(text) + 1);
    fw_cfg_add_string(info->fw_cfg, FW_CFG_CMDLINE_DATA, text);
}

/* The image's segments, out of the whole file as the kernel item. */
static void add_segments(PcInfo *info, KernelRom *rom, const KernelFile *kernel, const KernelSegments *segments)
{
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_KERNEL_ENTRY, segments->entry);
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_KERNEL_ADDR, segments->start);
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_KERNEL_SIZE, (uint32_t)kernel->size);
    fw_cfg_add_fd(info->fw_cfg, FW_CFG_KERNEL_DATA, kernel->fd, 0, (uint32_t)kernel->size);
    for (unsigned i = 0; i < segments->count; i++) {
        const KernelSegment *s = &segments->segments[i];

        kernel_rom_load(rom, FW_CFG_KERNEL_DATA, (uint32_t)s->file_offset, s->file_size, s->addr);
        kernel_rom_zero(rom, s->mem_size - s->file_size, (uint64_t)s->addr + s->file_size);
    }
    rom->entry = segments->entry;
}

/* Boot information for INFO_ADDR. */
static bool add_info(PcInfo *info, KernelRom *rom, const GByteArray *blob, GError **err)
{
    if (blob->len > INFO_MAX) {
        return error_set(err, "-append and the modules' names are too long (%u bytes together, at most %u)", blob->len,
                         INFO_MAX);
    }
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_SETUP_ADDR, INFO_ADDR);
    fw_cfg_set_u32(info->fw_cfg, FW_CFG_SETUP_SIZE, blob->len);
    fw_cfg_add_bytes(info->fw_cfg, FW_CFG_SETUP_DATA, blob->data, blob->len);
    kernel_rom_load(rom, FW_CFG_SETUP_DATA, 0, blob->len, INFO_ADDR);
    rom->entry_ebx = INFO_ADDR;
    rom->map_segment = MAP_SEGMENT;
    return true;
}

/* ---- Linux bzImage --------------------------------------------------------------------- */

static bool load_linux(PcInfo *info, const KernelSource *source, const KernelFile *kernel, KernelFile *initrd,
                       GError **err)
{
    const char *append = info->append ? info->append : "";
    FwCfg *fw = info->fw_cfg;
    uint32_t initrd_addr = 0;
    LinuxImage image;
    uint8_t *setup;
    KernelRom rom;
    bool ok = false;

    if (!linux_image_parse(source, info->below_4g, &image, err)) {
        g_prefix_error(err, "-kernel '%s': ", info->kernel);
        return false;
    }
    if (strlen(append) > image.cmdline_max) {
        return error_set(err, "-append has %zu characters, this kernel takes at most %u", strlen(append),
                         image.cmdline_max);
    }
    if (info->initrd && !linux_image_place_initrd(&image, info->below_4g, initrd->size, &initrd_addr, err)) {
        g_prefix_error(err, "-initrd '%s': ", info->initrd);
        return false;
    }
    setup = g_malloc0(MAX(image.setup_size, LINUX_HEADER_SIZE));
    kernel_rom_init(&rom, "linuxboot_dma.bin");
    if (!kernel_source_read(source, 0, setup, image.setup_size)) {
        error_set(err, "-kernel '%s': cannot read the setup code", info->kernel);
        goto out;
    }
    if (!linux_image_patch(&image, setup, initrd_addr, info->initrd ? (uint32_t)initrd->size : 0, append, err)) {
        goto out;
    }
    fw_cfg_set_u32(fw, FW_CFG_SETUP_ADDR, image.setup_addr);
    fw_cfg_set_u32(fw, FW_CFG_SETUP_SIZE, image.setup_size);
    fw_cfg_add_bytes(fw, FW_CFG_SETUP_DATA, setup, image.setup_size);
    fw_cfg_set_u32(fw, FW_CFG_KERNEL_ADDR, image.kernel_addr);
    fw_cfg_set_u32(fw, FW_CFG_KERNEL_SIZE, image.kernel_size);
    fw_cfg_add_fd(fw, FW_CFG_KERNEL_DATA, kernel->fd, image.setup_size, image.kernel_size);
    add_cmdline(info, append, image.cmdline_addr);
    kernel_rom_load(&rom, FW_CFG_SETUP_DATA, 0, image.setup_size, image.setup_addr);
    kernel_rom_load(&rom, FW_CFG_CMDLINE_DATA, 0, (uint32_t)strlen(append) + 1, image.cmdline_addr);
    kernel_rom_load(&rom, FW_CFG_KERNEL_DATA, 0, image.kernel_size, image.kernel_addr);
    if (info->initrd) {
        add_initrd(info, &rom, initrd, initrd_addr);
    }
    rom.real_segment = (uint16_t)(image.setup_addr >> 4);
    rom.real_sp = (uint16_t)(image.cmdline_addr - image.setup_addr - 16);
    ok = add_rom(info, &rom, err);
out:
    kernel_rom_clear(&rom);
    g_free(setup);
    return ok;
}

/* ---- PVH -------------------------------------------------------------------------------- */

#define PVH_MAGIC 0x336ec578u
#define PVH_INFO_SIZE 56u
#define PVH_MODULE_SIZE 32u

static void pvh_info(GByteArray *blob, uint32_t initrd_addr, uint64_t initrd_size, const char *append)
{
    uint8_t raw[PVH_INFO_SIZE + PVH_MODULE_SIZE] = {0};

    store32_le(raw, PVH_MAGIC);
    store32_le(raw + 4, 1);                                  /* version */
    store32_le(raw + 12, initrd_size ? 1 : 0);               /* modules */
    store64_le(raw + 16, initrd_size ? INFO_ADDR + PVH_INFO_SIZE : 0);
    store64_le(raw + 24, INFO_ADDR + sizeof raw);            /* command line */
    store64_le(raw + 40, MAP_SEGMENT * 16);                  /* memory map */
    store64_le(raw + PVH_INFO_SIZE, initrd_addr);
    store64_le(raw + PVH_INFO_SIZE + 8, initrd_size);
    g_byte_array_append(blob, raw, sizeof raw);
    g_byte_array_append(blob, (const guint8 *)append, (guint)strlen(append) + 1);
}

static bool load_pvh(PcInfo *info, const KernelSource *source, const KernelFile *kernel, KernelFile *initrd,
                     GError **err)
{
    const char *append = info->append ? info->append : "";
    uint64_t top = info->below_4g - MIN(info->below_4g, KERNEL_TOP_RESERVE);
    GByteArray *blob = g_byte_array_new();
    uint32_t initrd_addr = 0;
    KernelSegments segments;
    KernelRom rom;
    bool ok = false;

    kernel_rom_init(&rom, "pvh.bin");
    if (!elf_image_parse(source, info->below_4g, true, &segments, err)) {
        g_prefix_error(err, "-kernel '%s': ", info->kernel);
        goto out;
    }
    if (info->initrd) {
        if (initrd->size > top || align_down(top - initrd->size, 4096) < segments.end) {
            error_set(err, "-initrd '%s': does not fit behind the kernel; give more memory with -m", info->initrd);
            goto out;
        }
        initrd_addr = (uint32_t)align_down(top - initrd->size, 4096);
        add_initrd(info, &rom, initrd, initrd_addr);
    }
    pvh_info(blob, initrd_addr, info->initrd ? initrd->size : 0, append);
    add_segments(info, &rom, kernel, &segments);
    add_cmdline(info, append, INFO_ADDR + PVH_INFO_SIZE + PVH_MODULE_SIZE);
    rom.map_count_at = INFO_OFFSET + 48;
    rom.rsdp_at = INFO_OFFSET + 32;
    ok = add_info(info, &rom, blob, err) && add_rom(info, &rom, err);
out:
    kernel_rom_clear(&rom);
    g_byte_array_unref(blob);
    return ok;
}

/* ---- Multiboot ----------------------------------------------------------------------------- */

/* Modules come one behind the other, on pages, after the kernel: together one item of fw_cfg. */
static bool load_modules(PcInfo *info, KernelRom *rom, MultibootModules *modules, uint32_t after, GError **err)
{
    uint64_t start = align_up(after, 4096), top = info->below_4g - MIN(info->below_4g, KERNEL_TOP_RESERVE);
    GByteArray *data = g_byte_array_new();
    bool ok = true;

    for (unsigned i = 0; i < modules->count && ok; i++) {
        MultibootModule *module = &modules->modules[i];
        uint64_t at = align_up(data->len, 4096), padding = at - data->len;
        KernelFile file;

        if (!file_open(&file, "-initrd", module->path, err)) {
            ok = false;
            break;
        }
        if (!range_fits(start + at, file.size, top)) {
            ok = error_set(err, "-initrd '%s': does not fit into the guest's memory; give more with -m", module->path);
        } else {
            g_byte_array_set_size(data, (guint)(at + file.size));
            memset(data->data + at - padding, 0, padding);
            ok = file_read(&file, 0, data->data + at, file.size) ||
                 error_set(err, "-initrd '%s': cannot be read", module->path);
            module->start = (uint32_t)(start + at);
            module->end = (uint32_t)(start + at + file.size);
        }
        file_close(&file);
    }
    if (ok && data->len) {
        fw_cfg_set_u32(info->fw_cfg, FW_CFG_INITRD_ADDR, (uint32_t)start);
        fw_cfg_set_u32(info->fw_cfg, FW_CFG_INITRD_SIZE, data->len);
        fw_cfg_add_bytes(info->fw_cfg, FW_CFG_INITRD_DATA, data->data, data->len);
        kernel_rom_load(rom, FW_CFG_INITRD_DATA, 0, data->len, start);
    }
    g_byte_array_unref(data);
    return ok;
}

static bool load_multiboot(PcInfo *info, const KernelSource *source, const KernelFile *kernel, GError **err)
{
    GByteArray *blob = g_byte_array_new();
    MultibootModules modules = {0};
    KernelSegments segments;
    KernelRom rom;
    bool ok = false;

    kernel_rom_init(&rom, "multiboot_dma.bin");
    if (!multiboot_image_parse(source, info->below_4g, &segments, err)) {
        g_prefix_error(err, "-kernel '%s': ", info->kernel);
        goto out;
    }
    if (info->initrd && !multiboot_modules_parse(info->initrd, &modules, err)) {
        goto out;
    }
    add_segments(info, &rom, kernel, &segments);
    if (!load_modules(info, &rom, &modules, segments.end, err)) {
        goto out;
    }
    multiboot_info_build(blob, INFO_ADDR, MAP_SEGMENT * 16, info->below_4g, info->kernel, info->append, &modules);
    rom.entry_eax = MULTIBOOT_LOADER_MAGIC;
    rom.map_prefix = 4;
    rom.map_bytes_at = INFO_OFFSET + MULTIBOOT_INFO_MMAP_LENGTH;
    ok = add_info(info, &rom, blob, err) && add_rom(info, &rom, err);
out:
    multiboot_modules_clear(&modules);
    kernel_rom_clear(&rom);
    g_byte_array_unref(blob);
    return ok;
}

/* ---- which is it? ---------------------------------------------------------------------------- */

static bool load_any(PcInfo *info, const KernelFile *kernel, KernelFile *initrd, GError **err)
{
    KernelSource source = {.read = file_read, .opaque = (void *)kernel, .size = kernel->size};
    bool is_linux = linux_image_probe(&source), is_multiboot = !is_linux && multiboot_image_probe(&source);

    if (!is_linux && !is_multiboot && !elf_image_probe(&source)) {
        return error_set(err, "-kernel '%s': is neither a Linux bzImage nor an ELF (PVH) or Multiboot image; name one "
                              "that is",
                         info->kernel);
    }
    if (is_multiboot) {
        return load_multiboot(info, &source, kernel, err);
    }
    if (info->initrd && !file_open(initrd, "-initrd", info->initrd, err)) {
        return false;
    }
    return is_linux ? load_linux(info, &source, kernel, initrd, err) : load_pvh(info, &source, kernel, initrd, err);
}

bool kernel_load(PcInfo *info, GError **err)
{
    KernelFile kernel = {.fd = -1}, initrd = {.fd = -1};
    bool ok;

    if (info->dtb) {
        return error_set(err, "-dtb: a PC describes itself through ACPI; device trees are for machines that have none");
    }
    if (!fw_cfg_has_dma(info->fw_cfg)) {
        return error_set(err, "-kernel needs the DMA interface of fw_cfg, which fw_cfg_io.dma_enabled=off switches off");
    }
    if (!file_open(&kernel, "-kernel", info->kernel, err)) {
        return false;
    }
    ok = load_any(info, &kernel, &initrd, err);
    file_close(&initrd);
    file_close(&kernel);
    return ok;
}
