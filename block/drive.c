/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -drive, -hda and its like, -blockdev: from text to nodes, back ends and the list of drives that
 * the board connects.
 *
 * Not yet: snapshot=on, copy-on-read, throttling, detect-zeroes; they are refused by name.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/cdrom.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block_int.h"
#include "util/log.h"

/* Drives per bus; 0: all on one. */
static const struct DriveInterface {
    const char *name;
    int max_units;
} interfaces[] = {
    {"none", 0}, {"ide", 2}, {"scsi", 7},   {"floppy", 0}, {"pflash", 0},
    {"mtd", 0},  {"sd", 0},  {"virtio", 0}, {"xen", 0},
};

static const struct DriveInterface *find_interface(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(interfaces); i++) {
        if (!strcmp(interfaces[i].name, name)) {
            return &interfaces[i];
        }
    }
    return NULL;
}

/* What a -drive asks for besides its node's options. */
typedef struct DriveRequest {
    const struct DriveInterface *interface;
    bool is_cdrom, read_only;
    int bus, unit, index; /* -1: not given */
    char *id;
    char *file;       /* NULL or "": no medium */
    bool write_cache; /* cache.writeback */
    bool has_cache;
    int on_read_error, on_write_error;
} DriveRequest;

/* ---- small options -------------------------------------------------------------------------- */

static bool take_number(BlockOpts *opts, const char *key, int *value, GError **err)
{
    g_autofree char *text = block_opts_take(opts, key);
    gint64 number = -1;

    if (!text) {
        return true;
    }
    if (!g_ascii_string_to_signed(text, 10, 0, 0xffff, &number, NULL)) {
        return error_set(err, "Parameter '%s' expects a number, not '%s'", key, text);
    }
    *value = (int)number;
    return true;
}

/* cache=MODE is three switches. */
static bool take_cache_mode(BlockOpts *opts, DriveRequest *req, GError **err)
{
    static const struct {
        const char *name;
        bool write_cache, direct, no_flush;
    } modes[] = {
        {"none", true, true, false},        {"off", true, true, false},
        {"writeback", true, false, false},  {"writethrough", false, false, false},
        {"directsync", false, true, false}, {"unsafe", true, false, true},
    };
    g_autofree char *text = block_opts_take(opts, "cache");

    for (unsigned i = 0; text && i < G_N_ELEMENTS(modes); i++) {
        if (!strcmp(modes[i].name, text)) {
            req->write_cache = modes[i].write_cache;
            if (!block_opts_peek(opts, "cache.direct")) {
                block_opts_set(opts, "cache.direct", modes[i].direct ? "on" : "off");
            }
            if (!block_opts_peek(opts, "cache.no-flush")) {
                block_opts_set(opts, "cache.no-flush", modes[i].no_flush ? "on" : "off");
            }
            g_clear_pointer(&text, g_free);
        }
    }
    if (text) {
        return error_set(
            err, "invalid cache option '%s' (none, writeback, writethrough, directsync, unsafe)",
            text);
    }
    return block_opts_take_bool(opts, "cache.writeback", &req->write_cache, err);
}

static bool take_error_policy(BlockOpts *opts, DriveRequest *req, GError **err)
{
    static const char *const names[] = {"report", "ignore", "enospc", "stop",
                                        NULL}; /* BlkOnError */
    g_autofree char *read_text = g_strdup(block_opts_peek(opts, "rerror"));
    g_autofree char *write_text = g_strdup(block_opts_peek(opts, "werror"));

    if (!block_opts_take_enum(opts, "werror", names, &req->on_write_error, NULL)) {
        return error_set(err, "'%s' invalid write error action (report, ignore, enospc, stop)",
                         write_text);
    }
    if (!block_opts_take_enum(opts, "rerror", names, &req->on_read_error, NULL) ||
        req->on_read_error == BLK_ON_ERROR_ENOSPC) {
        return error_set(err, "'%s' invalid read error action (report, ignore, stop)", read_text);
    }
    if ((read_text || write_text) && !strcmp(req->interface->name, "floppy")) {
        return error_set(err, "%s is not supported by this bus type (if=floppy)",
                         write_text ? "werror" : "rerror");
    }
    return true;
}

static bool refuse_unsupported(BlockOpts *opts, GError **err)
{
    bool snapshot = false, copy_on_read = false;

    if (!block_opts_take_bool(opts, "snapshot", &snapshot, err) ||
        !block_opts_take_bool(opts, "copy-on-read", &copy_on_read, err)) {
        return false;
    }
    if (snapshot) {
        return error_set(err, "snapshot=on is not supported yet (it comes with the qcow2 format); "
                              "work on a copy of the "
                              "image instead");
    }
    if (copy_on_read) {
        return error_set(err, "copy-on-read=on is not supported yet (it comes with backing files)");
    }
    if (block_opts_has_prefix(opts, "throttling") || block_opts_peek(opts, "bps") ||
        block_opts_peek(opts, "iops")) {
        return error_set(err,
                         "throttling is not supported yet; leave out throttling.*, bps and iops");
    }
    return true;
}

static bool take_interface(BlockOpts *opts, const DriveDefaults *defaults, DriveRequest *req,
                           GError **err)
{
    g_autofree char *name = block_opts_take(opts, "if");
    g_autofree char *media = block_opts_take(opts, "media");

    if (!name) {
        name = g_strdup(defaults->interface ? defaults->interface : "ide");
    }
    req->interface = find_interface(name);
    if (!req->interface) {
        return error_set(
            err, "unsupported bus type '%s' (if=ide, floppy, scsi, virtio, pflash, none)", name);
    }
    req->is_cdrom = defaults->is_cdrom;
    if (media) {
        req->is_cdrom = !strcmp(media, "cdrom");
        if (!req->is_cdrom && strcmp(media, "disk")) {
            return error_set(err, "'%s' invalid media (disk, cdrom)", media);
        }
    }
    return true;
}

static bool parse_request(BlockOpts *opts, const DriveDefaults *defaults, DriveRequest *req,
                          GError **err)
{
    bool has_ro, ok;

    *req = (DriveRequest){.bus = -1,
                          .unit = -1,
                          .index = defaults->index,
                          .write_cache = true,
                          .read_only = defaults->read_only,
                          .on_read_error = BLK_ON_ERROR_REPORT,
                          .on_write_error = BLK_ON_ERROR_ENOSPC};
    if (!refuse_unsupported(opts, err) || !take_interface(opts, defaults, req, err)) {
        return false;
    }
    has_ro = block_opts_peek(opts, "readonly") != NULL;
    if (has_ro && block_opts_peek(opts, "read-only")) {
        return error_set(err,
                         "'read-only' and its alias 'readonly' can't be used at the same time");
    }
    ok = block_opts_take_bool(opts, has_ro ? "readonly" : "read-only", &req->read_only, err) &&
         take_cache_mode(opts, req, err) && take_error_policy(opts, req, err) &&
         take_number(opts, "bus", &req->bus, err) && take_number(opts, "unit", &req->unit, err) &&
         take_number(opts, "index", &req->index, err);
    if (ok && req->index >= 0 && (req->bus >= 0 || req->unit >= 0)) {
        return error_set(err, "index cannot be used with bus and unit");
    }
    req->read_only |= req->is_cdrom;
    req->id = block_opts_take(opts, "id");
    req->file = block_opts_take(opts, "file");
    return ok;
}

/* ---- where it goes -------------------------------------------------------------------------- */

DriveInfo *blk_drive_get(Vm *vm, const char *interface, int bus, int unit)
{
    for (unsigned i = 0; vm->block && i < vm->block->drives->len; i++) {
        DriveInfo *info = g_ptr_array_index(vm->block->drives, i);

        if ((!interface || !strcmp(info->interface, interface)) && info->bus == bus &&
            info->unit == unit) {
            return info;
        }
    }
    return NULL;
}

DriveInfo *blk_drive_nth(Vm *vm, unsigned n)
{
    return vm->block && n < vm->block->drives->len ? g_ptr_array_index(vm->block->drives, n) : NULL;
}

static bool assign_place(Vm *vm, DriveRequest *req, GError **err)
{
    int max = req->interface->max_units;

    if (req->index >= 0) {
        req->bus = max ? req->index / max : 0;
        req->unit = max ? req->index % max : req->index;
    }
    req->bus = MAX(req->bus, 0);
    if (req->unit < 0) {
        for (req->unit = 0; blk_drive_get(vm, req->interface->name, req->bus, req->unit);) {
            if (max && ++req->unit == max) {
                req->unit = 0;
                req->bus++;
            } else if (!max) {
                req->unit++;
            }
        }
    }
    if (max && req->unit >= max) {
        return error_set(err, "unit %d too big (max is %d)", req->unit, max - 1);
    }
    if (blk_drive_get(vm, req->interface->name, req->bus, req->unit)) {
        return error_set(err, "drive with bus=%d, unit=%d (index=%d) exists", req->bus, req->unit,
                         max ? req->bus * max + req->unit : req->unit);
    }
    return true;
}

static bool assign_id(Vm *vm, DriveRequest *req, GError **err)
{
    const char *medium = "";

    if (req->id) {
        if (!g_regex_match_simple("^[A-Za-z][-A-Za-z0-9._]*$", req->id, 0, 0)) {
            return error_set(err,
                             "Parameter 'id' expects an identifier (letters, digits, '-', '.', "
                             "'_', starting with a "
                             "letter), not '%s'",
                             req->id);
        }
    } else {
        if (!strcmp(req->interface->name, "ide") || !strcmp(req->interface->name, "scsi")) {
            medium = req->is_cdrom ? "-cd" : "-hd";
        }
        req->id =
            req->interface->max_units
                ? g_strdup_printf("%s%d%s%d", req->interface->name, req->bus, medium, req->unit)
                : g_strdup_printf("%s%s%d", req->interface->name, medium, req->unit);
    }
    if (blk_find(vm, req->id) || block_node_find(vm, req->id)) {
        return error_set(err, "Duplicate ID '%s' for drive", req->id);
    }
    return true;
}

/* ---- what it opens -------------------------------------------------------------------------- */

/* "file:x" is x; "nbd://x", "json:{}" and the like are not there yet. A name with '/' before the
 * colon is a path. */
static bool plain_path(char **file, GError **err)
{
    const char *colon = strchr(*file, ':'), *slash = strchr(*file, '/');

    if (!colon || (slash && slash < colon)) {
        return true;
    }
    if (g_str_has_prefix(*file, "file:")) {
        char *path = g_strdup(*file + strlen("file:"));

        g_free(*file);
        *file = path;
        return true;
    }
    return error_set(err,
                     "Could not open '%s': Unknown protocol '%.*s' (only local files and devices "
                     "are supported yet; "
                     "write ./%s for a file of that name)",
                     *file, (int)(colon - *file), *file, *file);
}

static const char *protocol_for(const char *path)
{
    struct stat st;
    int fd, status;

    if (stat(path, &st) != 0 || !S_ISBLK(st.st_mode)) {
        return "file";
    }
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    status = fd >= 0 ? ioctl(fd, CDROM_DRIVE_STATUS, CDSL_CURRENT) : -1;
    if (fd >= 0) {
        close(fd);
    }
    return status >= 0 ? "host_cdrom" : "host_device";
}

/* Reads the image's start to see whether it is something else than raw. */
static bool check_is_raw(const char *path, GError **err)
{
    uint8_t buf[BLOCK_PROBE_SIZE] = {0};
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t len = fd >= 0 ? pread(fd, buf, sizeof buf, 0) : 0;
    const char *format = block_probe_format(buf, len > 0 ? (size_t)len : 0, path);

    if (fd >= 0) {
        close(fd); /* takes no lock, drops none: OFD locks belong to descriptions */
    }
    if (strcmp(format, "raw")) {
        return error_set(
            err,
            "Could not open '%s': format '%s' is not supported yet; convert the image (qemu-img "
            "convert -O raw), or say format=raw if its bytes are what the guest shall see",
            path, format);
    }
    return true;
}

static void set_default(BlockOpts *opts, const char *key, const char *value)
{
    if (!block_opts_peek(opts, key)) {
        block_opts_set(opts, key, value);
    }
}

/* Turns "file=x,format=raw,aio=..." into options of a raw node over a file node. */
static bool compose_options(BlockOpts *opts, DriveRequest *req, bool *probed, GError **err)
{
    g_autofree char *format = block_opts_take(opts, "format");
    g_autofree char *driver = block_opts_take(opts, "driver");
    g_autofree char *aio = block_opts_take(opts, "aio");
    const char *path;

    if (format && driver) {
        return error_set(err, "Cannot specify both 'driver' and 'format'");
    }
    if (driver) {
        format = g_steal_pointer(&driver);
    }
    if (aio && strcmp(aio, "threads") && strcmp(aio, "native") && strcmp(aio, "io_uring")) {
        return error_set(err, "invalid aio option '%s' (threads, native, io_uring)", aio);
    }
    set_default(opts, "read-only", req->read_only ? "on" : "off");
    set_default(opts, "auto-read-only", "on");
    if (format && block_driver_find(format) && !block_driver_find(format)->is_format) {
        block_opts_set(opts, "driver", format);
        if (req->file) {
            block_opts_set(opts, "filename", req->file);
        }
        if (aio) {
            block_opts_set(opts, "aio", aio);
        }
        return true;
    }
    if (req->file && *req->file) {
        if (!plain_path(&req->file, err)) {
            return false;
        }
        block_opts_set(opts, "file.filename", req->file);
    }
    path = block_opts_peek(opts, "file.filename");
    set_default(opts, "file.driver", path ? protocol_for(path) : "file");
    if (aio) {
        block_opts_set(opts, "file.aio", aio);
    }
    *probed = !format;
    block_opts_set(opts, "driver", format ? format : "raw");
    return format || !path || check_is_raw(path, err);
}

static BlockNode *open_node(Vm *vm, BlockOpts *opts, DriveRequest *req, GError **err)
{
    bool probed = false;
    BlockNode *node =
        compose_options(opts, req, &probed, err) ? block_node_open(vm, opts, NULL, err) : NULL;

    if (node && probed && !node->read_only) {
        node->probed = true;
        report_warning("Image format was not specified for '%s' and probing guessed raw.\n"
                       "         Automatically detecting the format is dangerous for raw images, "
                       "write operations on "
                       "block 0 will be restricted.\n"
                       "         Specify the 'raw' format explicitly to remove the restrictions.",
                       node->filename);
    }
    return node;
}

/* ---- -drive --------------------------------------------------------------------------------- */

static DriveInfo *new_drive(Vm *vm, DriveRequest *req, BlockNode *node)
{
    DriveInfo *info = g_new0(DriveInfo, 1);

    info->id = g_strdup(req->id);
    info->interface = req->interface->name;
    info->is_cdrom = req->is_cdrom;
    info->bus = req->bus;
    info->unit = req->unit;
    info->blk = blk_new(vm, req->id, node);
    blk_set_drive_info(info->blk, info);
    blk_set_write_cache(info->blk, req->write_cache);
    blk_set_on_error(info->blk, (BlkOnError)req->on_read_error, (BlkOnError)req->on_write_error);
    g_ptr_array_add(vm->block->drives, info);
    return info;
}

static bool add_drive(Vm *vm, BlockOpts *opts, const DriveDefaults *defaults, DriveInfo **info,
                      GError **err)
{
    DriveRequest req = {0};
    BlockNode *node = NULL;
    DriveInfo *drive;
    bool ok = parse_request(opts, defaults, &req, err) && assign_place(vm, &req, err) &&
              assign_id(vm, &req, err);
    bool has_medium = ok && ((req.file && *req.file) || block_opts_has_prefix(opts, "file") ||
                             block_opts_peek(opts, "driver") || block_opts_peek(opts, "format"));

    if (has_medium) {
        node = open_node(vm, opts, &req, err);
        ok = node != NULL && block_node_set_perm(node, BLOCK_PERM_CONSISTENT_READ, 0, err);
    }
    if (ok) {
        drive = new_drive(vm, &req, node);
        if (info) {
            *info = drive;
        }
    }
    block_node_unref(node);
    g_free(req.id);
    g_free(req.file);
    return ok;
}

static const DriveDefaults plain_defaults = {.option = "-drive", .interface = "ide", .index = -1};

bool blk_add_drive(Vm *vm, const char *text, const DriveDefaults *defaults, DriveInfo **info,
                   GError **err)
{
    const DriveDefaults *d = defaults ? defaults : &plain_defaults;
    BlockOpts *opts = block_opts_parse(text, NULL, err);
    bool ok;

    block_state(vm);
    ok = opts && add_drive(vm, opts, d, info, err);
    if (!ok) {
        g_prefix_error(err, "%s %s: ", d->option ? d->option : "-drive", text);
    }
    block_opts_free(opts);
    return ok;
}

bool blk_add_disk(Vm *vm, const char *filename, const DriveDefaults *defaults, DriveInfo **info,
                  GError **err)
{
    const DriveDefaults *d = defaults ? defaults : &plain_defaults;
    BlockOpts *opts = block_opts_new();
    bool ok;

    block_state(vm);
    block_opts_set(opts, "file", filename);
    ok = add_drive(vm, opts, d, info, err);
    if (!ok) {
        g_prefix_error(err, "%s %s: ", d->option ? d->option : "-drive", filename);
    }
    block_opts_free(opts);
    return ok;
}

/* ---- -blockdev ------------------------------------------------------------------------------ */

bool blk_add_blockdev(Vm *vm, const char *text, GError **err)
{
    BlockOpts *opts =
        *text == '{' ? block_opts_parse_json(text, err) : block_opts_parse(text, "driver", err);
    BlockNode *node = NULL;

    if (opts && !block_opts_peek(opts, "node-name")) {
        error_set(err, "'node-name' must be specified for the root node");
    } else if (opts) {
        node = block_node_open(vm, opts, NULL, err);
    }
    block_opts_free(opts);
    if (!node) {
        g_prefix_error(err, "-blockdev %s: ", text);
        return false;
    }
    g_ptr_array_add(block_state(vm)->blockdevs, node);
    return true;
}
