/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The BIOS image: found, checked, copied into a ROM and mapped at the reset vector.
 *
 * Not done: firmware in flash (pflash), which is a device of its own.
 */
#include "hw/i386/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ISA_BIOS_MAX (128 * KIB)
#define TOP_OF_ISA MIB
#define TOP_OF_32BIT (4 * GIB)

/* The size of an open image that can be mapped, or 0 with *err. */
static uint32_t firmware_check_size(int fd, const char *path, GError **err)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        error_set_errno(err, errno, "-bios: cannot read '%s'", path);
        return 0;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(err, "-bios: '%s' is not a regular file; name one", path);
        return 0;
    }
    if (st.st_size == 0) {
        error_set(err, "-bios: firmware image '%s' is empty; name SeaBIOS's bios-256k.bin or another image", path);
        return 0;
    }
    if (st.st_size > (off_t)FIRMWARE_MAX) {
        error_set(err, "-bios: firmware image '%s' has %lld bytes, at most %u (16 MiB) can be mapped; "
                       "name a smaller one", path,
                  (long long)st.st_size, FIRMWARE_MAX);
        return 0;
    }
    if (st.st_size % FIRMWARE_ALIGN) {
        error_set(err, "-bios: firmware image '%s' has %lld bytes, which is not a multiple of 64 KiB; "
                       "is it the right file, and whole?", path,
                  (long long)st.st_size);
        return 0;
    }
    return (uint32_t)st.st_size;
}

static bool read_all(int fd, uint8_t *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = read(fd, buf + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n ? errno : EIO;
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static void firmware_map(PcFirmware *fw, Region *memory, uint32_t size)
{
    uint64_t isa_size = MIN(size, ISA_BIOS_MAX);

    region_add(memory, TOP_OF_32BIT - size, &fw->bios);
    region_init_alias(&fw->isa_bios, "isa-bios", &fw->bios, size - isa_size, isa_size);
    region_set_readonly(&fw->isa_bios, true);
    region_add_overlap(memory, TOP_OF_ISA - isa_size, &fw->isa_bios, 1);
}

bool firmware_load(PcFirmware *fw, Vm *vm, const char *name, Region *memory, GError **err)
{
    const char *wanted = name ? name : FIRMWARE_DEFAULT;
    uint32_t size;
    bool ok = false;
    int fd;

    fw->path = find_firmware(vm, wanted);
    if (!fw->path) {
        return name ? error_set(err, "-bios: firmware image '%s' was not found; name a file, or a directory with -L",
                                name)
                    : error_set(err,
                                "the firmware '%s' was not found; install the package 'seabios', or name an "
                                "image with -bios or its directory with -L",
                                wanted);
    }
    fd = open(fw->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set_errno(err, errno, "-bios: cannot open '%s'", fw->path);
        goto out;
    }
    size = firmware_check_size(fd, fw->path, err);
    if (size && region_init_rom(&fw->bios, vm, "pc.bios", size, err)) {
        ok = read_all(fd, region_host(&fw->bios), size);
        if (ok) {
            firmware_map(fw, memory, size);
        } else {
            error_set_errno(err, errno, "-bios: cannot read '%s'", fw->path);
            region_destroy(&fw->bios);
        }
    }
    close(fd);
out:
    if (!ok) {
        g_clear_pointer(&fw->path, g_free);
    }
    return ok;
}

void firmware_unload(PcFirmware *fw)
{
    if (fw->path) {
        region_remove(&fw->isa_bios);
        region_remove(&fw->bios);
        region_destroy(&fw->isa_bios);
        region_destroy(&fw->bios);
        g_clear_pointer(&fw->path, g_free);
    }
}
