/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What format the first bytes of an image show. Used to refuse, never to choose anything but raw: a
 * format is taken only when the user names it, because a guest can write any header into a raw
 * image (CVE-2024-4467's family).
 */
#include "block/block_int.h"

static const struct {
    const char *format;
    unsigned offset, len;
    const char *magic;
} magics[] = {
    {"qcow2", 0, 4, "QFI\xfb"},
    {"vmdk", 0, 4, "KDMV"},
    {"vmdk", 0, 4, "COWD"},
    {"vmdk", 0, 21, "# Disk DescriptorFile"},
    {"vpc", 0, 8, "conectix"},
    {"vhdx", 0, 8, "vhdxfile"},
    {"vdi", 0x40, 4, "\x7f\x10\xda\xbe"},
    {"qed", 0, 4, "QED\0"},
    {"luks", 0, 6, "LUKS\xba\xbe"},
    {"parallels", 0, 16, "WithoutFreeSpace"},
    {"parallels", 0, 16, "WithouFreSpacExt"},
    {"bochs", 0, 26, "Bochs Virtual HD Image\0\0\0\0"},
};

const char *block_probe_format(const uint8_t *buf, size_t len, const char *filename)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(magics); i++) {
        if (magics[i].offset + magics[i].len <= len &&
            !memcmp(buf + magics[i].offset, magics[i].magic, magics[i].len)) {
            /* qcow version 1 has the same first four bytes. */
            if (i == 0 && len >= 8 && load32_be(buf + 4) == 1) {
                return "qcow";
            }
            return magics[i].format;
        }
    }
    if (filename && g_str_has_suffix(filename, ".dmg")) {
        return "dmg";
    }
    return "raw";
}

bool block_format_is_planned(const char *name)
{
    static const char *const planned[] = {
        "qcow2",     "qcow",         "vmdk",     "vpc",      "vhdx",   "vdi", "qed",  "luks",
        "parallels", "bochs",        "cloop",    "dmg",      "nbd",    "ssh", "http", "https",
        "throttle",  "copy-on-read", "blkdebug", "null-aio", "quorum", NULL};

    return g_strv_contains(planned, name);
}
