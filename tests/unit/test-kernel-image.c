/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parsers of kernel images: good ones, each way of being bad, and random damage. */
#include "hw/i386/kernel_image.h"
#include "hw/i386/kernel_rom.h"
#include "hw/i386/multiboot.h"

#define BELOW_4G (256 * MIB)

typedef struct Image {
    uint8_t *data;
    size_t size;
    KernelSource source;
} Image;

static bool image_read(void *opaque, uint64_t offset, void *buf, size_t len)
{
    Image *image = opaque;

    g_assert_true(range_fits(offset, len, image->size)); /* parsers never ask beyond the end */
    memcpy(buf, image->data + offset, len);
    return true;
}

static void image_init(Image *image, size_t size)
{
    image->data = g_malloc0(size ? size : 1);
    image->size = size;
    image->source = (KernelSource){.read = image_read, .opaque = image, .size = size};
}

static void image_resize(Image *image, size_t size)
{
    image->size = size;
    image->source.size = size;
}

/* Fails, and says why. */
#define ASSERT_REFUSED(call, word)                                                                 \
    do {                                                                                           \
        GError *why_ = NULL, **why = &why_;                                                        \
        g_assert_false(call);                                                                      \
        g_assert_nonnull(why_);                                                                    \
        if (!strstr(why_->message, word)) {                                                        \
            g_error("'%s' does not contain '%s'", why_->message, word);                            \
        }                                                                                          \
        g_error_free(why_);                                                                        \
    } while (0)

/* ---- Linux ---------------------------------------------------------------------------- */

#define SETUP_SECTORS 30u
#define KERNEL_BYTES 100000u

static void make_bzimage(Image *image)
{
    image_init(image, (SETUP_SECTORS + 1) * 512 + KERNEL_BYTES);
    image->data[0x1f1] = SETUP_SECTORS;
    store16_le(image->data + 0x1fe, 0xaa55);
    memcpy(image->data + 0x202, "HdrS", 4);
    store16_le(image->data + 0x206, 0x20f);
    image->data[0x211] = 1;
    store32_le(image->data + 0x22c, 0x7fffffff);
    store32_le(image->data + 0x230, 0x200000);
    image->data[0x234] = 1;
    store16_le(image->data + 0x236, 0x3f);
    store32_le(image->data + 0x238, 2047);
    store64_le(image->data + 0x258, 0x1000000);
    store32_le(image->data + 0x260, 0x2000000);
}

static void test_linux_good(void)
{
    LinuxImage linux_image;
    GError *err = NULL;
    uint32_t addr;
    uint8_t *setup;
    Image image;

    make_bzimage(&image);
    g_assert_true(linux_image_probe(&image.source));
    g_assert_true(linux_image_parse(&image.source, BELOW_4G, &linux_image, &err));
    g_assert_cmphex(linux_image.protocol, ==, 0x20f);
    g_assert_cmpint(linux_image.setup_size, ==, (SETUP_SECTORS + 1) * 512);
    g_assert_cmpint(linux_image.kernel_size, ==, KERNEL_BYTES);
    g_assert_cmphex(linux_image.setup_addr, ==, 0x10000);
    g_assert_cmphex(linux_image.cmdline_addr, ==, 0x20000);
    g_assert_cmphex(linux_image.kernel_addr, ==, 0x100000);
    g_assert_cmphex(linux_image.initrd_max, ==, UINT32_MAX);
    g_assert_cmpint(linux_image.cmdline_max, ==, 2047);
    g_assert_cmphex(linux_image.run_end, ==, 0x3000000);
    g_assert_true(linux_image_place_initrd(&linux_image, BELOW_4G, 5000, &addr, &err));
    g_assert_cmphex(addr, ==, (BELOW_4G - KERNEL_TOP_RESERVE - 5000) & ~0xfffu);
    setup = g_memdup2(image.data, linux_image.setup_size);
    g_assert_true(linux_image_patch(&linux_image, setup, addr, 5000, "root=/dev/sda vga=0x317 quiet", &err));
    g_assert_cmphex(setup[0x210], ==, 0xb0);
    g_assert_cmphex(setup[0x211], ==, 0x81);
    g_assert_cmphex(load16_le(setup + 0x1fa), ==, 0x317);
    g_assert_cmphex(load16_le(setup + 0x224), ==, 0xfe00);
    g_assert_cmphex(load32_le(setup + 0x228), ==, 0x20000);
    g_assert_cmphex(load32_le(setup + 0x218), ==, addr);
    g_assert_cmpint(load32_le(setup + 0x21c), ==, 5000);
    ASSERT_REFUSED(linux_image_patch(&linux_image, setup, 0, 0, "vga=purple", why), "purple");
    /* The RAM disk reaches down to the kernel, and no further. */
    g_assert_true(linux_image_place_initrd(&linux_image, BELOW_4G, BELOW_4G - KERNEL_TOP_RESERVE - 0x3000000, &addr, &err));
    ASSERT_REFUSED(linux_image_place_initrd(&linux_image, BELOW_4G, BELOW_4G - KERNEL_TOP_RESERVE - 0x2ffffff, &addr, why),
                   "-m");
    ASSERT_REFUSED(linux_image_place_initrd(&linux_image, BELOW_4G, UINT64_MAX, &addr, why), "-m");
    /* Older protocols have other limits. */
    store16_le(image.data + 0x206, 0x203);
    g_assert_true(linux_image_parse(&image.source, BELOW_4G, &linux_image, &err));
    g_assert_cmphex(linux_image.initrd_max, ==, 0x7fffffff);
    g_assert_cmpint(linux_image.cmdline_max, ==, 255);
    store16_le(image.data + 0x206, 0x201);
    g_assert_true(linux_image_parse(&image.source, BELOW_4G, &linux_image, &err));
    g_assert_cmphex(linux_image.setup_addr, ==, 0x90000);
    g_assert_cmphex(linux_image.initrd_max, ==, 0x37ffffff);
    image.data[0x1f1] = 0;                       /* stands for 4 */
    g_assert_true(linux_image_parse(&image.source, BELOW_4G, &linux_image, &err));
    g_assert_cmpint(linux_image.setup_size, ==, 5 * 512);
    g_free(setup);
    g_free(image.data);
}

static void test_linux_bad(void)
{
    LinuxImage linux_image;
    Image image;

    make_bzimage(&image);
    ASSERT_REFUSED(linux_image_parse(&image.source, 32 * MIB, &linux_image, why), "-m");
    ASSERT_REFUSED(linux_image_parse(&image.source, 0, &linux_image, why), "memory");
    image_resize(&image, 0x263);
    ASSERT_REFUSED(linux_image_parse(&image.source, BELOW_4G, &linux_image, why), "short");
    image_resize(&image, (SETUP_SECTORS + 1) * 512);
    ASSERT_REFUSED(linux_image_parse(&image.source, BELOW_4G, &linux_image, why), "truncated");
    image_resize(&image, 0);
    g_assert_false(linux_image_probe(&image.source));
    g_free(image.data);
    make_bzimage(&image);
    store16_le(image.data + 0x206, 0x105);
    ASSERT_REFUSED(linux_image_parse(&image.source, BELOW_4G, &linux_image, why), "protocol");
    store16_le(image.data + 0x206, 0x20f);
    image.data[0x211] = 0;
    image.source.size = 600000;                  /* a claim only: parsers read the header */
    ASSERT_REFUSED(linux_image_parse(&image.source, BELOW_4G, &linux_image, why), "512 KiB");
    memcpy(image.data + 0x202, "HDRS", 4);
    g_assert_false(linux_image_probe(&image.source));
    g_free(image.data);
}

/* ---- ELF ---------------------------------------------------------------------------------- */

static void make_elf64(Image *image)
{
    uint8_t *p;

    image_init(image, 0x3000);
    p = image->data;
    memcpy(p, "\177ELF\2\1\1", 7);
    store16_le(p + 16, 2);
    store16_le(p + 18, 62);
    store64_le(p + 24, 0x1000000);
    store64_le(p + 32, 64);
    store16_le(p + 54, 56);
    store16_le(p + 56, 2);
    p += 64;                                     /* PT_LOAD */
    store32_le(p, 1);
    store64_le(p + 8, 0x1000);
    store64_le(p + 24, 0x1000000);
    store64_le(p + 32, 0x1800);
    store64_le(p + 40, 0x9000);
    p += 56;                                     /* PT_NOTE: another note, then the entry's */
    store32_le(p, 4);
    store64_le(p + 8, 0x200);
    store64_le(p + 32, 64);
    store64_le(p + 48, 4);
    p = image->data + 0x200;
    store32_le(p, 4);
    store32_le(p + 4, 6);
    store32_le(p + 8, 6);
    memcpy(p + 12, "Xen", 4);
    p += 24;
    store32_le(p, 4);
    store32_le(p + 4, 8);
    store32_le(p + 8, 18);
    memcpy(p + 12, "Xen", 4);
    store64_le(p + 16, 0x1000850);
}

static void test_pvh(void)
{
    KernelSegments s;
    GError *err = NULL;
    Image image;

    make_elf64(&image);
    g_assert_true(elf_image_probe(&image.source));
    g_assert_true(elf_image_parse(&image.source, BELOW_4G, true, &s, &err));
    g_assert_no_error(err);
    g_assert_cmpint(s.count, ==, 1);
    g_assert_cmphex(s.entry, ==, 0x1000850);
    g_assert_cmphex(s.segments[0].file_offset, ==, 0x1000);
    g_assert_cmphex(s.segments[0].file_size, ==, 0x1800);
    g_assert_cmphex(s.end, ==, 0x1009000);
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, false, &s, why), "32-bit");
    ASSERT_REFUSED(elf_image_parse(&image.source, 16 * MIB, true, &s, why), "memory");
    store64_le(image.data + 64 + 24, 0x90000);           /* below 1 MiB */
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "memory");
    store64_le(image.data + 64 + 24, UINT64_MAX - 0x1000);
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "memory");
    store64_le(image.data + 64 + 24, 0x2000000);         /* the entry is elsewhere now */
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "entry");
    store64_le(image.data + 64 + 24, 0x1000000);
    store64_le(image.data + 64 + 8, 0x2801);             /* past the end of the file */
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "inside the file");
    store64_le(image.data + 64 + 8, UINT64_MAX);
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "inside the file");
    store64_le(image.data + 64 + 8, 0x1000);
    store32_le(image.data + 0x200 + 24 + 8, 17);         /* no PHYS32_ENTRY */
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "PVH");
    store16_le(image.data + 18, 40);
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "machine");
    store16_le(image.data + 18, 62);
    store64_le(image.data + 32, 0x2ff0);
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "program headers");
    image_resize(&image, 40);
    ASSERT_REFUSED(elf_image_parse(&image.source, BELOW_4G, true, &s, why), "short");
    g_free(image.data);
}

/* ---- Multiboot --------------------------------------------------------------------------------- */

static void make_multiboot(Image *image)
{
    uint8_t *p;

    image_init(image, 0x4000);
    p = image->data + 0x40;
    store32_le(p, 0x1badb002);
    store32_le(p + 4, 0x10003);
    store32_le(p + 8, -(0x1badb002u + 0x10003u));
    store32_le(p + 12, 0x100040);
    store32_le(p + 16, 0x100000);
    store32_le(p + 20, 0x103000);
    store32_le(p + 24, 0x110000);
    store32_le(p + 28, 0x100100);
}

static void set_flags(Image *image, uint32_t flags)
{
    store32_le(image->data + 0x44, flags);
    store32_le(image->data + 0x48, -(0x1badb002u + flags));
}

static void test_multiboot(void)
{
    KernelSegments s;
    GError *err = NULL;
    Image image;

    make_multiboot(&image);
    g_assert_true(multiboot_image_probe(&image.source));
    g_assert_true(multiboot_image_parse(&image.source, BELOW_4G, &s, &err));
    g_assert_cmphex(s.segments[0].addr, ==, 0x100000);
    g_assert_cmphex(s.segments[0].file_size, ==, 0x3000);
    g_assert_cmphex(s.segments[0].mem_size, ==, 0x10000);
    store32_le(image.data + 0x40 + 20, 0);               /* the whole file */
    store32_le(image.data + 0x40 + 24, 0);
    g_assert_true(multiboot_image_parse(&image.source, BELOW_4G, &s, &err));
    g_assert_cmphex(s.segments[0].file_size, ==, 0x4000);
    store32_le(image.data + 0x40 + 16, 0x100041);
    ASSERT_REFUSED(multiboot_image_parse(&image.source, BELOW_4G, &s, why), "match");
    store32_le(image.data + 0x40 + 16, 0x100000);
    store32_le(image.data + 0x40 + 20, 0xfffff);
    ASSERT_REFUSED(multiboot_image_parse(&image.source, BELOW_4G, &s, why), "load_end");
    store32_le(image.data + 0x40 + 20, 0xf0000000);
    ASSERT_REFUSED(multiboot_image_parse(&image.source, BELOW_4G, &s, why), "file");
    store32_le(image.data + 0x40 + 20, 0x103000);
    store32_le(image.data + 0x40 + 28, 0x200000);
    ASSERT_REFUSED(multiboot_image_parse(&image.source, BELOW_4G, &s, why), "entry");
    set_flags(&image, 0x10103);
    ASSERT_REFUSED(multiboot_image_parse(&image.source, BELOW_4G, &s, why), "features");
    set_flags(&image, 0x3);
    ASSERT_REFUSED(multiboot_image_parse(&image.source, BELOW_4G, &s, why), "ELF");
    store32_le(image.data + 0x48, 0);
    g_assert_false(multiboot_image_probe(&image.source));
    g_free(image.data);
}

static void test_modules(void)
{
    GByteArray *out = g_byte_array_new();
    MultibootModules m = {0};
    GError *err = NULL;
    uint32_t list;

    g_assert_true(multiboot_modules_parse("a b,,c,d", &m, &err));
    g_assert_cmpint(m.count, ==, 2);
    g_assert_cmpstr(m.modules[0].path, ==, "a");
    g_assert_cmpstr(m.modules[0].string, ==, "a b,c");
    g_assert_cmpstr(m.modules[1].path, ==, "d");
    m.modules[0].start = 0x200000;
    multiboot_info_build(out, 0x10c00, 0x10000, 64 * MIB, "kernel", "x=1", &m);
    g_assert_cmpint(load32_le(out->data + 8), ==, 63 * 1024);
    g_assert_cmpint(load32_le(out->data + 20), ==, 2);
    list = load32_le(out->data + 24) - 0x10c00;
    g_assert_cmphex(load32_le(out->data + list), ==, 0x200000);
    g_assert_cmpstr((char *)out->data + load32_le(out->data + list + 8) - 0x10c00, ==, "a b,c");
    g_assert_cmpstr((char *)out->data + load32_le(out->data + 16) - 0x10c00, ==, "kernel x=1");
    multiboot_modules_clear(&m);
    g_byte_array_unref(out);
    ASSERT_REFUSED(multiboot_modules_parse("a, b", &m, why), "file name");
    ASSERT_REFUSED(multiboot_modules_parse("0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4", &m, why), "more than");
}

/* ---- the ROM -------------------------------------------------------------------------------------- */

static void test_rom(void)
{
    GByteArray *image;
    GError *err = NULL;
    uint8_t sum = 0;
    KernelRom rom;

    kernel_rom_init(&rom, "x.bin");
    kernel_rom_load(&rom, 0x11, 0, 100, 0x100000);
    kernel_rom_load(&rom, 0x11, 7, 100, 0x200000);
    kernel_rom_load(&rom, 0x11, 7, 0, 0x200000);
    kernel_rom_zero(&rom, 0x5000000, 0x300000);
    image = kernel_rom_build(&rom, &err);
    g_assert_nonnull(image);
    g_assert_cmpint(image->len % 512, ==, 0);
    g_assert_cmpint(image->data[2], ==, image->len / 512);
    for (unsigned i = 0; i < image->len; i++) {
        sum += image->data[i];
    }
    g_assert_cmpint(sum, ==, 0);
    g_assert_cmpint(load16_le(image->data + 0x22), ==, 6);
    g_byte_array_unref(image);
    for (unsigned i = 0; i < 3000; i++) {
        kernel_rom_load(&rom, 0x11, 0, 1, 0);
    }
    g_assert_null(kernel_rom_build(&rom, &err));
    g_assert_nonnull(err);
    g_error_free(err);
    kernel_rom_clear(&rom);
}

/* ---- random damage ---------------------------------------------------------------------------------- */

static void parse_all(Image *image, GRand *rand)
{
    uint64_t below_4g = g_rand_boolean(rand) ? BELOW_4G : g_rand_int(rand);
    LinuxImage linux_image;
    KernelSegments s;
    uint32_t addr;

    if (linux_image_probe(&image->source) && linux_image_parse(&image->source, below_4g, &linux_image, NULL)) {
        uint8_t *setup = g_malloc0(MAX(linux_image.setup_size, LINUX_HEADER_SIZE));

        g_assert_true(kernel_source_read(&image->source, 0, setup, linux_image.setup_size));
        g_assert_cmpint(linux_image.run_end, <=, below_4g);
        if (linux_image_place_initrd(&linux_image, below_4g, g_rand_int(rand), &addr, NULL)) {
            g_assert_cmpint(addr, >=, linux_image.run_end);
            linux_image_patch(&linux_image, setup, addr, 1, "quiet", NULL);
        }
        g_free(setup);
    }
    for (unsigned kind = 0; kind < 3; kind++) {
        bool ok = kind == 2 ? multiboot_image_parse(&image->source, below_4g, &s, NULL)
                            : elf_image_parse(&image->source, below_4g, kind, &s, NULL);

        for (unsigned i = 0; ok && i < s.count; i++) {
            g_assert_true(range_fits(s.segments[i].file_offset, s.segments[i].file_size, image->size));
            g_assert_true(range_fits(s.segments[i].addr, s.segments[i].mem_size, below_4g));
            g_assert_cmpint(s.segments[i].addr, >=, MIB);
        }
    }
}

static void test_damage(void)
{
    static void (*const make[])(Image *image) = {make_bzimage, make_elf64, make_multiboot};
    GRand *rand = g_rand_new_with_seed(7);

    for (unsigned kind = 0; kind < G_N_ELEMENTS(make); kind++) {
        Image good;

        make[kind](&good);
        for (unsigned i = 0; i < 4000; i++) {
            Image bad;

            image_init(&bad, i % 4 ? good.size : (size_t)g_rand_int_range(rand, 0, (gint)good.size));
            memcpy(bad.data, good.data, bad.size);
            for (int n = g_rand_int_range(rand, 1, 8); n > 0 && bad.size; n--) {
                size_t at = (size_t)g_rand_int_range(rand, 0, (gint)MIN(bad.size, 0x280));
                bad.data[at] = g_rand_boolean(rand) ? 0xff : (uint8_t)g_rand_int(rand);
            }
            parse_all(&bad, rand);
            g_free(bad.data);
        }
        g_free(good.data);
    }
    g_rand_free(rand);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kernel-image/linux/good", test_linux_good);
    g_test_add_func("/kernel-image/linux/bad", test_linux_bad);
    g_test_add_func("/kernel-image/pvh", test_pvh);
    g_test_add_func("/kernel-image/multiboot", test_multiboot);
    g_test_add_func("/kernel-image/modules", test_modules);
    g_test_add_func("/kernel-image/rom", test_rom);
    g_test_add_func("/kernel-image/damage", test_damage);
    return g_test_run();
}
