/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel images, parsed by pure functions: they read through a KernelSource, check everything with
 * ranges, and write only their result. Nothing here knows a VM, so it is tested and fuzzed as it is.
 */
#ifndef HW_I386_KERNEL_IMAGE_H
#define HW_I386_KERNEL_IMAGE_H

#include "util/error.h"
#include "util/util.h"

/* An image's bytes. */
typedef struct KernelSource {
    /* False when [offset, offset + len) cannot be read; never asked beyond size. */
    bool (*read)(void *opaque, uint64_t offset, void *buf, size_t len);
    void *opaque;
    uint64_t size;
} KernelSource;

/* As source->read, with the range checked. */
bool kernel_source_read(const KernelSource *source, uint64_t offset, void *buf, size_t len);

/* Bytes between the end of what is loaded at the top of RAM and the end of RAM: firmware puts its
 * tables there. */
#define KERNEL_TOP_RESERVE (512 * KIB)

/* ---- Linux (Documentation/x86/boot.rst) ---------------------------------------------- */

#define LINUX_HEADER_SIZE 0x290u     /* of the first sectors: what is looked at and patched */
#define LINUX_CMDLINE_MAX 65536u

typedef struct LinuxImage {
    uint16_t protocol;               /* 0x020f */
    uint32_t setup_size;             /* bytes of real mode code at the beginning of the file */
    uint32_t kernel_size;            /* bytes behind it */
    uint32_t setup_addr, kernel_addr, cmdline_addr;
    uint32_t cmdline_max;            /* without the terminating NUL */
    uint32_t initrd_max;             /* highest address of a byte of the RAM disk */
    uint64_t run_start, run_end;     /* memory that the kernel uses before it knows the memory map */
} LinuxImage;

/* Is it one at all? (The magic numbers only.) */
bool linux_image_probe(const KernelSource *source);
bool linux_image_parse(const KernelSource *source, uint64_t below_4g, LinuxImage *image, GError **err);
/*
 * Fills in the header of the setup code as a boot loader must. setup: image->setup_size bytes.
 * initrd_size 0: none. append: the command line, whose vga= is for the boot loader.
 */
bool linux_image_patch(const LinuxImage *image, uint8_t *setup, uint32_t initrd_addr, uint32_t initrd_size,
                       const char *append, GError **err);
/* Where a RAM disk of this size goes: as high as possible. */
bool linux_image_place_initrd(const LinuxImage *image, uint64_t below_4g, uint64_t size, uint32_t *addr,
                              GError **err);

/* ---- ELF and Multiboot ----------------------------------------------------------------- */

#define KERNEL_MAX_SEGMENTS 32

/* A piece of the file that goes to memory; the rest of mem_size is zero. */
typedef struct KernelSegment {
    uint64_t file_offset;
    uint32_t file_size, mem_size, addr;
} KernelSegment;

typedef struct KernelSegments {
    unsigned count;
    KernelSegment segments[KERNEL_MAX_SEGMENTS];
    uint32_t entry;
    uint32_t start, end;             /* lowest byte, and the one behind the highest */
} KernelSegments;

bool elf_image_probe(const KernelSource *source);
/* want_pvh: the entry is that of the note XEN_ELFNOTE_PHYS32_ENTRY, and it must be there; else it is
 * the ELF header's, and the image must be a 32-bit one. */
bool elf_image_parse(const KernelSource *source, uint64_t below_4g, bool want_pvh, KernelSegments *segments,
                     GError **err);

#define MULTIBOOT_LOADER_MAGIC 0x2badb002u

/* Is there a Multiboot 1 header? */
bool multiboot_image_probe(const KernelSource *source);
bool multiboot_image_parse(const KernelSource *source, uint64_t below_4g, KernelSegments *segments, GError **err);

#endif
