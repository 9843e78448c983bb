/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bzImage: setup code of some sectors with a header in the first, then the protected mode kernel. Field
 * offsets are those of Documentation/x86/boot.rst.
 */
#include <stdlib.h>

#include "hw/i386/kernel_image.h"

#define SETUP_SECTS 0x1f1
#define VID_MODE 0x1fa
#define BOOT_FLAG 0x1fe
#define HEADER_MAGIC 0x202
#define PROTOCOL 0x206
#define TYPE_OF_LOADER 0x210
#define LOADFLAGS 0x211
#define RAMDISK_IMAGE 0x218
#define RAMDISK_SIZE 0x21c
#define HEAP_END_PTR 0x224
#define CMD_LINE_PTR 0x228
#define INITRD_ADDR_MAX 0x22c
#define KERNEL_ALIGNMENT 0x230
#define RELOCATABLE 0x234
#define XLOADFLAGS 0x236
#define CMDLINE_SIZE 0x238
#define PREF_ADDRESS 0x258
#define INIT_SIZE 0x260

#define LOADED_HIGH 0x01
#define CAN_USE_HEAP 0x80
#define XLF_CAN_BE_LOADED_ABOVE_4G 0x02
#define LOADER_QEMU 0xb0         /* the number assigned to QEMU's loader, which ours stands in for */

#define SECTOR 512u
#define ZIMAGE_MAX 0x80000u      /* from 0x10000 to 0x90000 */

bool kernel_source_read(const KernelSource *source, uint64_t offset, void *buf, size_t len)
{
    return range_fits(offset, len, source->size) && source->read(source->opaque, offset, buf, len);
}

bool linux_image_probe(const KernelSource *source)
{
    uint8_t flag[2], magic[4];

    return kernel_source_read(source, BOOT_FLAG, flag, 2) && load16_le(flag) == 0xaa55 &&
           kernel_source_read(source, HEADER_MAGIC, magic, 4) && !memcmp(magic, "HdrS", 4);
}

/* Where things go depends on the age of the protocol. */
static void choose_addresses(LinuxImage *image, bool high)
{
    bool recent = high && image->protocol >= 0x202;

    image->setup_addr = recent ? 0x10000 : 0x90000;
    image->cmdline_addr = recent ? 0x20000 : 0x99000;
    image->kernel_addr = high ? 0x100000 : 0x10000;
}

static void choose_limits(LinuxImage *image, const uint8_t *header)
{
    bool above_4g = image->protocol >= 0x20c && (header[XLOADFLAGS] & XLF_CAN_BE_LOADED_ABOVE_4G);

    image->initrd_max = above_4g ? UINT32_MAX : image->protocol >= 0x203 ? load32_le(header + INITRD_ADDR_MAX)
                                                                          : 0x37ffffff;
    image->cmdline_max = image->protocol >= 0x206 ? load32_le(header + CMDLINE_SIZE) : 255;
    if (image->cmdline_max == 0 || image->cmdline_max >= LINUX_CMDLINE_MAX) {
        image->cmdline_max = image->cmdline_max ? LINUX_CMDLINE_MAX - 1 : 255;
    }
    if (image->cmdline_addr != 0x20000) {
        image->cmdline_max = MIN(image->cmdline_max, 0xffe);   /* up to the EBDA */
    }
    image->run_start = image->kernel_addr;
    image->run_end = (uint64_t)image->kernel_addr + image->kernel_size;
    if (image->protocol >= 0x20a) {
        uint64_t pref = load64_le(header + PREF_ADDRESS), size = load32_le(header + INIT_SIZE);
        uint32_t align = load32_le(header + KERNEL_ALIGNMENT);
        uint64_t start = header[RELOCATABLE] && is_power_of_two(align)
                             ? MAX(align_up(image->kernel_addr, align), pref) : pref;

        if (start <= 4 * GIB) {
            image->run_start = MIN(image->run_start, start);
            image->run_end = MAX(image->run_end, start + size);
        }
    }
}

bool linux_image_parse(const KernelSource *source, uint64_t below_4g, LinuxImage *image, GError **err)
{
    uint8_t header[LINUX_HEADER_SIZE] = {0};
    LinuxImage found = {0};
    unsigned sectors;
    bool high;

    if (!kernel_source_read(source, 0, header, (size_t)MIN(sizeof header, source->size)) || source->size < 0x264) {
        return error_set(err, "the file is too short for a Linux kernel (%" G_GUINT64_FORMAT " bytes)", source->size);
    }
    found.protocol = load16_le(header + PROTOCOL);
    if (found.protocol < 0x200) {
        return error_set(err, "the Linux boot protocol %u.%02u is too old, 2.00 is needed", found.protocol >> 8,
                         found.protocol & 0xff);
    }
    sectors = header[SETUP_SECTS] ? header[SETUP_SECTS] : 4;
    found.setup_size = (sectors + 1) * SECTOR;
    if (source->size <= found.setup_size) {
        return error_set(err, "the kernel is truncated: %u bytes of setup code, but the file has %" G_GUINT64_FORMAT
                         "; copy it again",
                         found.setup_size, source->size);
    }
    if (source->size - found.setup_size > below_4g) {
        return error_set(err, "the kernel has %" G_GUINT64_FORMAT " bytes and does not fit into the guest's memory "
                         "below 4 GiB (%" G_GUINT64_FORMAT " MiB)", source->size, below_4g / MIB);
    }
    found.kernel_size = (uint32_t)(source->size - found.setup_size);
    high = header[LOADFLAGS] & LOADED_HIGH;
    choose_addresses(&found, high);
    choose_limits(&found, header);
    if (!high && found.kernel_size > ZIMAGE_MAX) {
        return error_set(err, "a kernel that is loaded low may have at most 512 KiB, this one has %u bytes",
                         found.kernel_size);
    }
    if (found.run_end > below_4g) {
        return error_set(err, "the kernel needs memory up to %" G_GUINT64_FORMAT " MiB, the guest has %" G_GUINT64_FORMAT
                         " MiB below 4 GiB; give more with -m", (found.run_end + MIB - 1) / MIB, below_4g / MIB);
    }
    *image = found;
    return true;
}

/* "vga=" is meant for the boot loader. */
static bool parse_vga(const char *append, uint16_t *mode, GError **err)
{
    const char *vga = strstr(append, "vga=");
    char *text, *end;
    unsigned long value;
    bool ok = true;

    *mode = 0;
    if (!vga || (vga != append && vga[-1] != ' ')) {
        return true;
    }
    text = g_strndup(vga + 4, strcspn(vga + 4, " "));
    value = strtoul(text, &end, 0);
    if (!strcmp(text, "normal")) {
        *mode = 0xffff;
    } else if (!strcmp(text, "ext")) {
        *mode = 0xfffe;
    } else if (!strcmp(text, "ask")) {
        *mode = 0xfffd;
    } else if (*text && !*end && value <= 0xffff) {
        *mode = (uint16_t)value;
    } else {
        ok = error_set(err, "-append: vga=%s: must be normal, ext, ask or a number up to 0xffff", text);
    }
    g_free(text);
    return ok;
}

bool linux_image_patch(const LinuxImage *image, uint8_t *setup, uint32_t initrd_addr, uint32_t initrd_size,
                       const char *append, GError **err)
{
    uint16_t vga = 0;

    if (!parse_vga(append, &vga, err)) {
        return false;
    }
    if (vga) {
        store16_le(setup + VID_MODE, vga);
    }
    setup[TYPE_OF_LOADER] = LOADER_QEMU;
    if (image->protocol >= 0x201) {
        setup[LOADFLAGS] |= CAN_USE_HEAP;
        store16_le(setup + HEAP_END_PTR, (uint16_t)(image->cmdline_addr - image->setup_addr - 0x200));
    }
    if (image->protocol >= 0x202) {
        store32_le(setup + CMD_LINE_PTR, image->cmdline_addr);
    } else {
        store16_le(setup + 0x20, 0xa33f);        /* the old way: magic and offset */
        store16_le(setup + 0x22, (uint16_t)(image->cmdline_addr - image->setup_addr));
    }
    if (initrd_size) {
        store32_le(setup + RAMDISK_IMAGE, initrd_addr);
        store32_le(setup + RAMDISK_SIZE, initrd_size);
    }
    return true;
}

bool linux_image_place_initrd(const LinuxImage *image, uint64_t below_4g, uint64_t size, uint32_t *addr,
                              GError **err)
{
    uint64_t top = MIN((uint64_t)image->initrd_max + 1, below_4g - MIN(below_4g, KERNEL_TOP_RESERVE));

    if (size > top || align_down(top - size, 4096) < image->run_end) {
        return error_set(err, "the RAM disk has %" G_GUINT64_FORMAT " bytes and does not fit between the kernel, which "
                         "ends at %" G_GUINT64_FORMAT " MiB, and %" G_GUINT64_FORMAT " MiB; give more memory with -m",
                         size, (image->run_end + MIB - 1) / MIB, top / MIB);
    }
    *addr = (uint32_t)align_down(top - size, 4096);
    return true;
}
