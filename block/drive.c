/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -drive, -hda and its like, -blockdev: from text to nodes, back ends and the list of drives that
 * the board connects.
 */
#include <errno.h>
#include <glib/gstdio.h>
#include <unistd.h>

#include "block/block_int.h"
#include "block/overlay.h"
#include "block/throttle.h"
#include "qapi/qapi-block.h"
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
    bool snapshot, copy_on_read;
    ThrottleConfig limits;
    char *throttle_group; /* NULL: none, or one of its own */
    bool account_failed, account_invalid;
    uint32_t seconds[BLK_INTERVALS_MAX];
    unsigned intervals;
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

/* bps_rd_max and the like are throttling.bps-read-max. */
static void rename_limits(BlockOpts *opts)
{
    static const char *const names[][2] = {
        {"bps", "bps-total"},   {"bps_rd", "bps-read"},   {"bps_wr", "bps-write"},
        {"iops", "iops-total"}, {"iops_rd", "iops-read"}, {"iops_wr", "iops-write"},
    };
    static const char *const suffixes[][2] = {{"", ""}, {"_max", "-max"}, {"_max_length", "-max-length"}};
    g_autofree char *size = block_opts_take(opts, "iops_size");
    g_autofree char *group = block_opts_take(opts, "group");

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(suffixes); j++) {
            g_autofree char *old = g_strconcat(names[i][0], suffixes[j][0], NULL);
            g_autofree char *new =
                g_strconcat("throttling.", names[i][1], suffixes[j][1], NULL);
            g_autofree char *value = block_opts_take(opts, old);

            if (value) {
                block_opts_set(opts, new, value);
            }
        }
    }
    if (size) {
        block_opts_set(opts, "throttling.iops-size", size);
    }
    if (group) {
        block_opts_set(opts, "throttling.group", group);
    }
}

/* stats-intervals.N=SECONDS, from 0 on. */
static bool take_accounting(BlockOpts *opts, DriveRequest *req, GError **err)
{
    req->account_failed = req->account_invalid = true;
    if (!block_opts_take_bool(opts, "stats-account-failed", &req->account_failed, err) ||
        !block_opts_take_bool(opts, "stats-account-invalid", &req->account_invalid, err)) {
        return false;
    }
    for (;;) {
        g_autofree char *key = g_strdup_printf("stats-intervals.%u", req->intervals);
        g_autofree char *text = block_opts_take(opts, key);
        guint64 seconds;

        if (!text) {
            return true;
        }
        if (!g_ascii_string_to_unsigned(text, 10, 1, UINT32_MAX, &seconds, NULL)) {
            return error_set(err, "Invalid interval length: %s=%s; give whole seconds, 1 to %u", key, text, UINT32_MAX);
        }
        if (req->intervals == BLK_INTERVALS_MAX) {
            return error_set(err, "%s is one too many: %u intervals can be kept", key, BLK_INTERVALS_MAX);
        }
        req->seconds[req->intervals++] = (uint32_t)seconds;
    }
}

static bool take_extras(Vm *vm, BlockOpts *opts, DriveRequest *req, GError **err)
{
    req->snapshot = block_state(vm)->snapshot;
    req->limits = throttle_config_default();
    rename_limits(opts);
    if (!block_opts_take_bool(opts, "snapshot", &req->snapshot, err) ||
        !block_opts_take_bool(opts, "copy-on-read", &req->copy_on_read, err) ||
        !throttle_config_take(&req->limits, opts, "throttling.", err) ||
        !throttle_config_check(&req->limits, err)) {
        return false;
    }
    req->throttle_group = block_opts_take(opts, "throttling.group");
    if (!take_accounting(opts, req, err)) {
        return false;
    }
    if (req->snapshot && !block_driver_find("qcow2")) {
        return error_set(err, "snapshot=on is not supported yet (it comes with the qcow2 format); "
                              "work on a copy of the image instead");
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

static bool parse_request(Vm *vm, BlockOpts *opts, const DriveDefaults *defaults,
                          DriveRequest *req, GError **err)
{
    bool has_ro, ok;

    *req = (DriveRequest){.bus = -1,
                          .unit = -1,
                          .index = defaults->index,
                          .write_cache = true,
                          .read_only = defaults->read_only,
                          .on_read_error = BLK_ON_ERROR_REPORT,
                          .on_write_error = BLK_ON_ERROR_ENOSPC};
    if (!take_extras(vm, opts, req, err) || !take_interface(opts, defaults, req, err)) {
        return false;
    }
    has_ro = block_opts_peek(opts, "readonly") != NULL;
    if (has_ro && block_opts_peek(opts, "read-only")) {
        return error_set(err,
                         "'read-only' and its alias 'readonly' can't be used at the same time; leave one of them out");
    }
    ok = block_opts_take_bool(opts, has_ro ? "readonly" : "read-only", &req->read_only, err) &&
         take_cache_mode(opts, req, err) && take_error_policy(opts, req, err) &&
         take_number(opts, "bus", &req->bus, err) && take_number(opts, "unit", &req->unit, err) &&
         take_number(opts, "index", &req->index, err);
    if (ok && req->index >= 0 && (req->bus >= 0 || req->unit >= 0)) {
        return error_set(err, "index cannot be used with bus and unit; leave it out");
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
        return error_set(err, "drive with bus=%d, unit=%d (index=%d) exists; "
                              "choose another index=", req->bus, req->unit,
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
    return !blk_find(vm, req->id) || block_node_find(vm, req->id) || /* which the next check names */
           error_set(err, "Duplicate ID '%s' for drive; choose another id", req->id);
}

/* Commands take the names of both in one argument. */
static bool check_no_node(Vm *vm, const char *id, GError **err)
{
    return !block_node_find(vm, id) ||
           error_set(err, "Device name '%s' conflicts with an existing node name; choose another id=", id);
}

/* ---- what it opens -------------------------------------------------------------------------- */

/* A format that is known by name only is refused here, with the way out. */
static bool check_format(const char *path, const char *format, GError **err)
{
    return block_driver_find(format) || !block_format_is_planned(format) ||
           error_set(err,
                     "Could not open '%s': format '%s' is not supported yet; convert the image "
                     "(qemu-img convert -O raw), or say format=raw if its bytes are what the guest "
                     "shall see",
                     path, format);
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
        return error_set(err, "Cannot specify both 'driver' and 'format'; leave one of them out");
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
    if (req->file && *req->file && block_opts_peek(opts, "file.filename")) {
        return error_set(err, "Can't specify 'file' and 'filename' options at the same time; leave file= or file.filename= out");
    }
    if (req->file && *req->file && !block_opts_set_filename(opts, req->file, err)) {
        return false;
    }
    if (!format && block_opts_peek(opts, "driver")) {
        return true; /* json: with a tree of its own */
    }
    path = block_opts_peek(opts, "file.filename");
    set_default(opts, "file.driver", path ? block_path_driver(path) : "file");
    if (aio) {
        block_opts_set(opts, "file.aio", aio);
    }
    if (!format) {
        format = g_strdup(path ? block_probe_path(path) : "raw");
        *probed = !strcmp(format, "raw");
    }
    block_opts_set(opts, "driver", format);
    return !path || check_format(path, format, err);
}

static BlockNode *open_node(Vm *vm, BlockOpts *opts, DriveRequest *req, GError **err)
{
    BlockNode inherit = {.read_only = req->read_only, .auto_read_only = true}, *child = NULL, *node;
    const char *discard = block_opts_peek(opts, "discard"), *zeroes = block_opts_peek(opts, "detect-zeroes");
    bool probed = false, unmap_zeroes = zeroes && !strcmp(zeroes, "unmap");

    inherit.discard_unmap = discard && (!strcmp(discard, "unmap") || !strcmp(discard, "on"));
    if (unmap_zeroes && !inherit.discard_unmap) {
        block_opts_set(opts, "detect-zeroes", "on"); /* as in QEMU, a drive may ask for it, is told that it has it, and nothing is unmapped */
    }
    if (!compose_options(opts, req, &probed, err)) {
        return NULL;
    }
    if (probed && !strcmp(block_opts_peek(opts, "file.driver"), "nbd")) {
        child = block_probe_child(vm, opts, &inherit, err);
        if (!child) {
            return NULL;
        }
        probed = !strcmp(block_opts_peek(opts, "driver"), "raw");
    }
    node = block_node_open(vm, opts, NULL, err);
    block_node_unref(child);
    if (node && unmap_zeroes) {
        node->detect_zeroes = BLOCK_DETECT_ZEROES_UNMAP;
    }
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

/* A filter over node, which it takes over; NULL with *err. */
static BlockNode *open_over(Vm *vm, BlockNode *node, BlockOpts *opts, const char *child, GError **err)
{
    BlockNode *top;

    block_opts_set(opts, child, node->name);
    top = block_node_open(vm, opts, NULL, err);
    block_opts_free(opts);
    block_node_unref(node);
    return top;
}

BlockNode *block_add_copy_on_read(Vm *vm, BlockNode *node, GError **err)
{
    BlockOpts *opts;

    if (node->read_only) {
        report_warning("disabling copy-on-read on read-only drive");
        return node;
    }
    opts = block_opts_new();
    block_opts_set(opts, "driver", "copy-on-read");
    node = open_over(vm, node, opts, "file", err);
    if (node) {
        node->implicit = true;
    }
    return node;
}

/* The overlay's name is gone as soon as it is open. */
BlockNode *block_add_snapshot(Vm *vm, BlockNode *node, GError **err)
{
    const char *dir = g_getenv("TMPDIR");
    g_autofree char *path = g_strdup_printf("%s/kiln-snapshot-XXXXXX", dir ? dir : "/var/tmp");
    g_autofree char *size = g_strdup_printf("%" PRIu64, block_node_disk_size(node));
    BlockOpts *opts = block_opts_new();
    int fd = g_mkstemp(path);
    bool ok = fd >= 0 || error_set_errno(err, errno, "Could not create temporary overlay '%s'", path);

    if (ok) {
        close(fd);
        block_opts_set(opts, "size", size);
        ok = block_driver_find("qcow2")->create(vm, path, opts, err);
    }
    block_opts_free(opts);
    if (!ok) {
        block_node_unref(node);
        return NULL;
    }
    opts = block_opts_new();
    block_opts_set(opts, "driver", "qcow2");
    block_opts_set(opts, "cache.no-flush", "on");
    block_opts_set(opts, "discard", "unmap");
    block_opts_set(opts, "file.driver", "file");
    block_opts_set(opts, "file.filename", path);
    node = open_over(vm, node, opts, "backing", err);
    g_unlink(path);
    return node;
}

/* ---- -drive --------------------------------------------------------------------------------- */

static DriveInfo *new_drive(Vm *vm, DriveRequest *req, BlockNode *node, GError **err)
{
    BlockBackend *blk = blk_new(vm, req->id, node, node ? BLOCK_PERM_CONSISTENT_READ : 0, err);
    DriveInfo *info;

    if (!blk) {
        return NULL;
    }
    info = g_new0(DriveInfo, 1);
    info->id = g_strdup(req->id);
    info->interface = req->interface->name;
    info->is_cdrom = req->is_cdrom;
    info->bus = req->bus;
    info->unit = req->unit;
    info->blk = blk;
    blk_set_drive_info(info->blk, info);
    blk_set_write_cache(info->blk, req->write_cache);
    blk_set_on_error(info->blk, (BlkOnError)req->on_read_error, (BlkOnError)req->on_write_error);
    blk_set_account(blk, req->account_failed, req->account_invalid);
    blk_set_intervals(blk, req->seconds, req->intervals);
    g_ptr_array_add(vm->block->drives, info);
    return info;
}

static BlockNode *open_medium(Vm *vm, BlockOpts *opts, DriveRequest *req, GError **err)
{
    bool snapshot = req->snapshot && !req->is_cdrom && !req->read_only;
    BlockNode *node;

    req->read_only |= snapshot;
    node = open_node(vm, opts, req, err);
    if (node && snapshot) {
        node = block_add_snapshot(vm, node, err);
    }
    if (node && req->copy_on_read) {
        node = block_add_copy_on_read(vm, node, err);
    }
    return node;
}

/* A drive without a medium takes what would be its node's options, and no others. */
static bool check_empty(BlockOpts *opts, GError **err)
{
    static const char *const of_nodes[] = {"node-name", "read-only", "auto-read-only", "force-share", "discard",
                                           "detect-zeroes", "cache.direct", "cache.no-flush"};
    const char *left;

    for (unsigned i = 0; i < G_N_ELEMENTS(of_nodes); i++) {
        g_free(block_opts_take(opts, of_nodes[i]));
    }
    g_free(block_opts_take(opts, "aio"));
    left = block_opts_left(opts);
    g_autofree char *hint = left ? block_opts_hint(opts, left) : NULL;
    return !left || error_set(err, "Invalid parameter '%s'%s", left, hint);
}

/* asked: the option as the user gave it. */
static bool add_drive(Vm *vm, BlockOpts *opts, const DriveDefaults *defaults, const char *asked, DriveInfo **info,
                      GError **err)
{
    DriveRequest req = {0};
    BlockNode *node = NULL;
    DriveInfo *drive;
    bool ok = parse_request(vm, opts, defaults, &req, err) && assign_place(vm, &req, err) &&
              assign_id(vm, &req, err) && check_no_node(vm, req.id, err);
    bool has_medium = ok && ((req.file && *req.file) || block_opts_has_prefix(opts, "file") ||
                             block_opts_peek(opts, "driver") || block_opts_peek(opts, "format"));

    if (has_medium) {
        node = open_medium(vm, opts, &req, err);
        ok = node && check_no_node(vm, req.id, err); /* its own nodes' neither */
    } else if (ok) {
        ok = check_empty(opts, err);
    }
    if (ok) {
        drive = new_drive(vm, &req, node, err);
        if (drive) {
            drive->asked = g_strdup(asked);
        }
        ok = drive && blk_set_throttle(drive->blk, req.throttle_group, &req.limits, err);
        if (info && ok) {
            *info = drive;
        }
    }
    block_node_unref(node);
    g_free(req.id);
    g_free(req.file);
    g_free(req.throttle_group);
    return ok;
}

/* Errors of images are in qemu-img's words, which kiln-img says; an option gets its way out besides. */
static void explain(GError **err, const char *option, const char *text)
{
    if (err && g_str_has_suffix((*err)->message, "Image is not in qcow2 format")) {
        g_autofree char *message = (*err)->message;

        (*err)->message = g_strconcat(message, "; is format= right?", NULL);
    }
    g_prefix_error(err, "%s %s: ", option, text);
}

static const DriveDefaults plain_defaults = {.option = "-drive", .interface = "ide", .index = -1};

bool blk_add_drive(Vm *vm, const char *text, const DriveDefaults *defaults, DriveInfo **info,
                   GError **err)
{
    const DriveDefaults *d = defaults ? defaults : &plain_defaults;
    BlockOpts *opts = block_opts_parse(text, NULL, err);
    g_autofree char *asked = g_strdup_printf("%s %s", d->option ? d->option : "-drive", text);
    bool ok;

    block_state(vm);
    ok = opts && add_drive(vm, opts, d, asked, info, err);
    if (!ok) {
        explain(err, d->option ? d->option : "-drive", text);
    }
    block_opts_free(opts);
    return ok;
}

bool blk_add_disk(Vm *vm, const char *filename, const DriveDefaults *defaults, DriveInfo **info,
                  GError **err)
{
    const DriveDefaults *d = defaults ? defaults : &plain_defaults;
    BlockOpts *opts = block_opts_new();
    g_autofree char *asked = g_strdup_printf("%s %s", d->option ? d->option : "-drive", filename);
    bool ok;

    block_state(vm);
    block_opts_set(opts, "file", filename);
    ok = add_drive(vm, opts, d, asked, info, err);
    if (!ok) {
        explain(err, d->option ? d->option : "-drive", filename);
    }
    block_opts_free(opts);
    return ok;
}

/* ---- -blockdev ------------------------------------------------------------------------------ */

bool blk_blockdev_add(Vm *vm, const BlockdevOptions *options, GError **err)
{
    BlockOpts *opts;
    BlockNode *node;

    if (!options->node_name) {
        return error_set(err, "'node-name' must be specified for the root node");
    }
    opts = block_opts_from_schema(options);
    node = block_node_open(vm, opts, NULL, err);
    block_opts_free(opts);
    if (node) {
        g_ptr_array_add(block_state(vm)->blockdevs, node);
    }
    return node != NULL;
}

bool blk_add_blockdev(Vm *vm, const char *text, GError **err)
{
    void *options = NULL;
    bool ok = qapi_read_option(&qapi_type_BlockdevOptions, text, "driver", &options, err) &&
              blk_blockdev_add(vm, options, err);

    qapi_free(&qapi_type_BlockdevOptions, options);
    if (!ok) {
        explain(err, "-blockdev", text);
    }
    return ok;
}

bool blk_add_node(Vm *vm, const char *text, GError **err)
{
    void *options = NULL;
    bool ok = qapi_read_option(&qapi_type_BlockdevOptions, text, NULL, &options, err) &&
              blk_blockdev_add(vm, options, err);

    qapi_free(&qapi_type_BlockdevOptions, options);
    return ok;
}

bool blk_blockdev_del(Vm *vm, const char *name, GError **err)
{
    BlockNode *node = block_node_find(vm, name);

    if (!node) {
        return error_set(err, "Failed to find node with node-name='%s'", name);
    }
    for (unsigned i = 0; i < node->parents->len; i++) {
        const BlockChild *child = g_ptr_array_index(node->parents, i);

        if (child->blk && blk_is_used(child->blk)) {
            return error_set(err, "Node %s is in use", name);
        }
    }
    if (!g_ptr_array_find(vm->block->blockdevs, node, NULL)) {
        return error_set(err, "Node %s is not owned by the monitor", name);
    }
    if (!block_overlay_check_base(node, err)) {
        return false;
    }
    if (node->refs > 1) {
        return error_set(err, "Block device %s is in use", name);
    }
    g_ptr_array_remove(vm->block->blockdevs, node);
    block_node_unref(node);
    return true;
}

bool blk_drive_del(Vm *vm, const char *id, GError **err)
{
    BlockBackend *blk = blk_find(vm, id);
    DriveInfo *info = blk ? blk_drive_info(blk) : NULL;

    if (!info) {
        return error_set(err, "Device '%s' not found", id);
    }
    if (blk_is_used(blk)) {
        blk_drop_medium(blk); /* the device sees its disk fail, and frees the rest when it goes */
        return true;
    }
    g_ptr_array_remove(vm->block->drives, info);
    blk_free(blk);
    g_free(info->id);
    g_free(info->asked);
    g_free(info);
    return true;
}

void blk_set_snapshot(Vm *vm, bool on)
{
    block_state(vm)->snapshot = on;
}
