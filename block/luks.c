/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The driver "luks": a disk in a LUKS area, as cryptsetup and QEMU make it. The node is as long as what
 * follows the header; a discard is not handed on (it would show where data was).
 */
#include <errno.h>

#include "block/crypto.h"
#include "block/format.h"
#include "util/error.h"
#include "util/util.h"

#define ZERO_PIECE MIB

typedef struct LuksState {
    Luks luks;
    BlockCrypt *crypt; /* NULL: opened for facts only */
    uint64_t payload;  /* bytes */
} LuksState;

static LuksArea whole_file(const BlockNode *node)
{
    return (LuksArea){.node = node->file->node, .size = UINT64_MAX};
}

static bool luks_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    LuksState *s = node->state;
    g_autofree char *secret = block_opts_take(opts, "key-secret");
    bool no_io = false;
    LuksArea area;

    if (!block_opts_take_bool(opts, "x-no-io", &no_io, err) ||
        !block_open_child(node, opts, "file", BLOCK_ROLE_DATA | BLOCK_ROLE_METADATA | BLOCK_ROLE_PRIMARY, false, err)) {
        return false;
    }
    node->filename = g_strdup(node->file->node->filename);
    area = whole_file(node);
    if (!luks_load(&area, &s->luks, err)) {
        return false;
    }
    s->payload = (uint64_t)s->luks.payload_sector * CRYPT_SECTOR;
    if (s->payload > node->file->node->size) {
        return error_set(err, "'%s' ends before its LUKS header does", node->filename);
    }
    if (!no_io) {
        s->crypt = luks_unlock_secret(&area, &s->luks, "", secret, err);
        if (!s->crypt) {
            return false;
        }
    }
    node->size = align_down(node->file->node->size - s->payload, CRYPT_SECTOR);
    return true;
}

static void luks_close(BlockNode *node)
{
    LuksState *s = node->state;

    block_crypt_free(s->crypt);
    s->crypt = NULL;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Zeros are data like any other: written piece by piece. */
typedef struct Zeros {
    BlockIo io;
    BlockIo *outer;
    BlockNode *node;
    uint64_t done;
    struct iovec iov;
} Zeros;

static void zeros_next(Zeros *z);

static void zeros_done(BlockIo *io, int result)
{
    Zeros *z = container_of(io, Zeros, io);
    BlockIo *outer = z->outer;

    z->done += z->iov.iov_len;
    if (result >= 0 && z->done < outer->len) {
        zeros_next(z);
        return;
    }
    g_free(z->iov.iov_base);
    g_free(z);
    outer->done(outer, result);
}

static void zeros_next(Zeros *z)
{
    LuksState *s = z->node->state;
    uint64_t at = z->outer->offset + z->done;

    z->iov.iov_len = MIN(ZERO_PIECE, z->outer->len - z->done);
    z->io = (BlockIo){.op = BLOCK_WRITE,
                      .fua = z->outer->fua,
                      .offset = s->payload + at,
                      .len = z->iov.iov_len,
                      .iov = &z->iov,
                      .iov_count = 1,
                      .done = zeros_done};
    block_crypt_submit(s->crypt, z->node, z->node->file->node, &z->io, at / CRYPT_SECTOR);
}

static void write_zeros(BlockNode *node, BlockIo *io)
{
    Zeros *z = g_new0(Zeros, 1);

    z->outer = io;
    z->node = node;
    z->iov.iov_base = g_malloc0(MIN(ZERO_PIECE, io->len));
    zeros_next(z);
}

/* Requests that end at once. 1: it goes on. */
static int screen(const BlockNode *node, const BlockIo *io)
{
    const LuksState *s = node->state;
    bool changes = io->op == BLOCK_WRITE || io->op == BLOCK_ZERO;

    return !s->crypt && io->op != BLOCK_STATUS && io->op != BLOCK_FLUSH ? -EIO
           : changes && node->read_only                                 ? -EPERM
           : !range_fits(io->offset, io->len, node->size)               ? -EIO
           : !io->len || io->op == BLOCK_DISCARD                        ? 0
           : io->op == BLOCK_ZERO && io->no_fallback                    ? -ENOTSUP
                                                                        : 1;
}

static void luks_submit(BlockNode *node, BlockIo *io)
{
    LuksState *s = node->state;
    int verdict = io->op == BLOCK_FLUSH ? 1 : screen(node, io);
    uint64_t sector = io->offset / CRYPT_SECTOR;

    if (verdict <= 0 || io->op == BLOCK_STATUS) {
        if (io->op == BLOCK_STATUS) {
            *io->status = (BlockStatus){.bytes = verdict > 0 ? io->len : 0, .allocated = true, .data = true};
        }
        block_io_finish_later(node, io, MIN(verdict, 0));
    } else if (io->op == BLOCK_FLUSH) {
        block_node_submit(node->file->node, io);
    } else if (!block_crypt_take(s->crypt, node, io)) {
        if (io->op == BLOCK_ZERO) {
            write_zeros(node, io);
        } else {
            io->offset += s->payload;
            block_crypt_submit(s->crypt, node, node->file->node, io, sector);
        }
    }
}

/* ---- size and facts --------------------------------------------------------------------------- */

static void luks_child_resized(BlockNode *node, BlockChild *child)
{
    const LuksState *s = node->state;
    uint64_t size = child->node->size;

    block_node_set_size(node, size > s->payload ? align_down(size - s->payload, CRYPT_SECTOR) : 0);
}

static void luks_refresh_limits(BlockNode *node)
{
    node->limits = (BlockLimits){.request_align = CRYPT_SECTOR, .mem_align = 1};
}

static bool luks_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc, GError **err)
{
    const LuksState *s = node->state;

    if (size > INT64_MAX - s->payload) {
        return error_set(err, "The requested file size is too large");
    }
    return block_ptruncate(node->file->node, size + s->payload, exact, prealloc, err);
}

static void luks_get_info(BlockNode *node, BlockInfo *info)
{
    *info = (BlockInfo){.encrypted = true};
}

static json_object *luks_specific_info(BlockNode *node)
{
    const LuksState *s = node->state;
    json_object *o = json_object_new_object();

    json_object_object_add(o, "type", json_object_new_string("luks"));
    json_object_object_add(o, "data", luks_info(&s->luks, NULL));
    return o;
}

/* Passphrases may have changed meanwhile; the volume key does not. */
static bool luks_reopen_prepare(BlockReopen *reopen, GError **err)
{
    g_autofree char *secret = block_opts_take(reopen->opts, "key-secret");

    return true;
}

/* ---- create, measure, amend ------------------------------------------------------------------- */

static const BlockCreateOpt luks_create_opts[] = {
    {"size", "size", "Virtual disk size", NULL, false},
    {"key-secret", "str", "ID of the secret that provides the keyslot passphrase", NULL, false},
    {"cipher-alg", "str", "Name of encryption cipher algorithm", NULL, false},
    {"cipher-mode", "str", "Name of encryption cipher mode", NULL, false},
    {"ivgen-alg", "str", "Name of IV generator algorithm", NULL, false},
    {"ivgen-hash-alg", "str", "Name of IV generator hash algorithm", NULL, false},
    {"hash-alg", "str", "Name of encryption hash algorithm", NULL, false},
    {"iter-time", "num", "Time to spend in PBKDF in milliseconds", NULL, true},
    {"preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)", NULL},
    BLOCK_FORMAT_FILE_OPTS,
    {"state", "str", "Select new state of affected keyslots (active/inactive)", NULL, true, true},
    {"keyslot", "num", "Select a single keyslot to modify explicitly", NULL, true, true},
    {"old-secret", "str", "Select all keyslots that match this password", NULL, true, true},
    {"new-secret", "str", "New secret to set in the matching keyslots. Empty string to erase", NULL, true, true},
    {0},
};

typedef struct NewLuks {
    LuksCreate options;
    uint64_t size, header; /* bytes */
    int preallocation;
} NewLuks;

static bool luks_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err)
{
    NewLuks *n = f->plan = g_new0(NewLuks, 1);

    if (!luks_take_create(opts, "", &n->options, err) || !block_opts_take_size(opts, "size", &n->size, NULL, err) ||
        !block_opts_take_enum(opts, "preallocation", block_prealloc_names, &n->preallocation, err) ||
        !luks_create_size(&n->options, &n->header, err)) {
        return false;
    }
    if (n->size > INT64_MAX - n->header - CRYPT_SECTOR) {
        return error_set(err, "The requested file size is too large");
    }
    n->size = align_up(n->size, CRYPT_SECTOR);
    return luks_prepare_create(f->vm, &n->options, "", err);
}

/* The file ends where the disk does. Without preallocation there is no need to clear what was there: it decrypts to noise. */
static bool luks_driver_format(BlockFormat *f, GError **err)
{
    const NewLuks *n = f->plan;
    BlockPrealloc mode = (BlockPrealloc)n->preallocation;
    LuksArea area = {.node = f->file, .size = n->header};

    return block_format_clear(f->file, 0, err) &&
           block_format_zeros(f->file, 0, n->header + (mode < BLOCK_PREALLOC_FALLOC ? 0 : n->size), mode, err) &&
           block_format_grow(f->file, n->header + n->size, err) && luks_format(&area, &n->options, err);
}

static void luks_driver_format_free(BlockFormat *f)
{
    NewLuks *n = f->plan;

    luks_create_clear(&n->options);
    g_free(n);
}

static bool luks_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    return block_format_new_file(vm, &block_driver_luks, filename, opts, err);
}

static bool luks_measure(Vm *vm, BlockOpts *opts, BlockNode *in, BlockMeasure *result, GError **err)
{
    uint64_t size = 0, header;
    LuksCreate o;
    bool ok = luks_take_create(opts, "", &o, err) && block_opts_take_size(opts, "size", &size, NULL, err) &&
              luks_create_size(&o, &header, err);

    (void)vm;
    luks_create_clear(&o);
    if (ok) {
        size = align_up(in ? block_node_size(in) : size, CRYPT_SECTOR) + header;
        *result = (BlockMeasure){.required = size, .fully_allocated = size};
    }
    return ok;
}

static bool luks_driver_amend(BlockNode *node, BlockOpts *opts, bool force, GError **err)
{
    LuksState *s = node->state;
    LuksArea area = whole_file(node);

    if (!s->crypt) {
        return error_set(err, "Parameter 'key-secret' is required for cipher");
    }
    return luks_amend(&area, node->vm, &s->luks, s->crypt, opts, "", force, err);
}

const BlockDriver block_driver_luks = {
    .name = "luks",
    .is_format = true,
    .state_size = sizeof(LuksState),
    .create_opts = luks_create_opts,
    .open = luks_open,
    .close = luks_close,
    .reopen_prepare = luks_reopen_prepare,
    .submit = luks_submit,
    .child_resized = luks_child_resized,
    .refresh_limits = luks_refresh_limits,
    .truncate = luks_truncate,
    .get_info = luks_get_info,
    .specific_info = luks_specific_info,
    .create = luks_create,
    .format_prepare = luks_driver_format_prepare,
    .format = luks_driver_format,
    .format_free = luks_driver_format_free,
    .measure = luks_measure,
    .amend = luks_driver_amend,
};
