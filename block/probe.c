/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What format the first bytes of an image show. Used to refuse, never to choose anything but raw: a
 * format is taken only when the user names it, because a guest can write any header into a raw
 * image (CVE-2024-4467's family).
 */
#include <fcntl.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block_int.h"
#include "qapi/qapi.h"

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
        "qcow",      "qed",
        "parallels", "bochs",        "cloop",    "dmg",      "ssh", "http", "https",
        "quorum",    NULL};

    return g_strv_contains(planned, name);
}

const char *block_probe_path(const char *path)
{
    uint8_t buf[BLOCK_PROBE_SIZE] = {0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t len = fd >= 0 ? pread(fd, buf, sizeof buf, 0) : 0;

    if (fd >= 0) {
        close(fd); /* takes no lock, drops none: OFD locks belong to descriptions */
    }
    return block_probe_format(buf, len > 0 ? (size_t)len : 0, path);
}

BlockNode *block_probe_child(Vm *vm, BlockOpts *opts, const BlockNode *inherit, GError **err)
{
    BlockOpts *sub = block_opts_take_prefix(opts, "file");
    BlockNode *node = block_node_open(vm, sub, inherit, err);
    uint8_t buf[BLOCK_PROBE_SIZE] = {0};
    size_t len;
    int ret;

    block_opts_free(sub);
    if (!node) {
        return NULL;
    }
    len = (size_t)MIN(node->size, sizeof buf);
    ret = block_pread(node, 0, buf, len);
    if (ret < 0) {
        error_set_errno(err, -ret, "Could not read image for determining its format");
        block_node_unref(node);
        return NULL;
    }
    block_opts_set(opts, "driver", block_probe_format(buf, len, NULL));
    block_opts_set(opts, "file", node->name);
    return node;
}

/* ---- names ---------------------------------------------------------------------------------- */

const char *block_path_driver(const char *path)
{
    struct stat st;
    int fd, status;

    if (stat(path, &st) != 0 || !(S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode))) {
        return "file";
    }
    if (S_ISCHR(st.st_mode)) {
        return "host_device";
    }
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    status = fd >= 0 ? ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) : -1;
    if (fd >= 0) {
        close(fd);
    }
    return status >= 0 ? "host_cdrom" : "host_device";
}

static bool set_json_filename(BlockOpts *opts, const char *text, GError **err)
{
    json_object *tree;
    bool ok = false;

    if (!qapi_parse_json(text, strlen(text), &tree, err)) {
        g_prefix_error(err, "Could not parse the JSON options of 'json:%s': ", text);
    } else if (!json_object_is_type(tree, json_type_object)) {
        error_set(err, "The JSON options of 'json:%s' are no object ({\"driver\": ...})", text);
    } else {
        ok = block_opts_add_json(opts, "", tree, err);
    }
    json_object_put(tree);
    return ok;
}

bool block_opts_set_filename(BlockOpts *opts, const char *text, GError **err)
{
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');
    g_autofree char *here = NULL;

    if (g_str_has_prefix(text, "json:")) {
        return set_json_filename(opts, text + strlen("json:"), err);
    }
    if (g_str_has_prefix(text, "file:")) {
        text += strlen("file:");
        colon = strchr(text, ':');
        slash = strchr(text, '/');
        if (colon && !(slash && slash < colon)) { /* a name that is told can be used again */
            here = g_strconcat("./", text, NULL);
            text = here;
        }
    } else if (g_str_has_prefix(text, "blkdebug:") && strchr(text + 9, ':')) {
        g_autofree char *config = g_strndup(text + 9, strcspn(text + 9, ":"));
        const char *image = strchr(text + 9, ':') + 1;

        block_opts_set(opts, "file.driver", "blkdebug");
        block_opts_set(opts, "file.config", config);
        block_opts_set(opts, "file.image.driver", block_path_driver(image));
        block_opts_set(opts, "file.image.filename", image);
        return true;
    } else if (!strcmp(text, "null-co://") || !strcmp(text, "null-aio://")) {
        g_autofree char *driver = g_strndup(text, strcspn(text, ":"));

        block_opts_set(opts, "file.driver", driver);
        return true;
    } else if (block_nbd_is_name(text)) {
        block_opts_set(opts, "file.driver", "nbd");
        return block_nbd_parse_name(opts, "file.", text, err);
    } else if (colon && !(slash && slash < colon)) {
        return error_set(err,
                         "Could not open '%s': Unknown protocol '%.*s' (there are file:, nbd:, nbd://, "
                         "nbd+unix://, json:, blkdebug:, null-co:// and null-aio://; write ./%s for a file of that name)",
                         text, (int)(colon - text), text, text);
    }
    block_opts_set(opts, "file.filename", text);
    return true;
}
