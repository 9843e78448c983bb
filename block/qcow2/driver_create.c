/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The block driver "qcow2": how an image is made, measured and amended. */
#include <stdlib.h>

#include "block/crypto.h"
#include "block/dirty_bitmap.h"
#include "block/format.h"
#include "block/qcow2/qcow2.h"

/* ---- create --------------------------------------------------------------------------------- */

const BlockCreateOpt qcow2_create_opts[] = {
    {"size", "size", "Virtual disk size", NULL, true},
    {"compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])", "1.1", true},
    {"backing_file", "str", "File name of a base image", NULL, true},
    {"backing_fmt", "str", "Image format of the base image", NULL, true},
    {"data_file", "str", "File name of an external data file", NULL, true},
    {"data_file_raw", "bool (on/off)", "The external data file must stay valid as a raw image", NULL,
     true},
    {"extended_l2", "bool (on/off)", "Extended L2 tables", "off", false},
    {"cluster_size", "size", "qcow2 cluster size", "65536", false},
    {"preallocation", "str", "Preallocation mode (allowed values: off, metadata, falloc, full)",
     NULL, false},
    {"lazy_refcounts", "bool (on/off)", "Postpone refcount updates", "off", true},
    {"refcount_bits", "num", "Width of a reference count entry in bits", "16", true},
    {"compression_type", "str", "Compression method used for image cluster compression", "zlib",
     false},
    BLOCK_FORMAT_FILE_OPTS,
    {"encrypt.format", "str", "Encrypt the image, format choices: 'luks'", NULL, false},
    {"encrypt.key-secret", "str", "ID of secret providing the LUKS passphrase", NULL, false},
    {"encrypt.cipher-alg", "str", "Name of encryption cipher algorithm", NULL, false},
    {"encrypt.cipher-mode", "str", "Name of encryption cipher mode", NULL, false},
    {"encrypt.ivgen-alg", "str", "Name of IV generator algorithm", NULL, false},
    {"encrypt.ivgen-hash-alg", "str", "Name of IV generator hash algorithm", NULL, false},
    {"encrypt.hash-alg", "str", "Name of encryption hash algorithm", NULL, false},
    {"encrypt.iter-time", "num", "Time to spend in PBKDF in milliseconds", NULL, true},
    {"encrypt.state", "str", "Select new state of affected keyslots (active/inactive)", NULL, true, true},
    {"encrypt.keyslot", "num", "Select a single keyslot to modify explicitly", NULL, true, true},
    {"encrypt.old-secret", "str", "Select all keyslots that match this password", NULL, true, true},
    {"encrypt.new-secret", "str", "New secret to set in the matching keyslots. Empty string to erase", NULL,
     true, true},
    {0},
};

/* The options, and what they point to. */
typedef struct NewQcow2 {
    Qcow2CreateOptions o;
    char *backing_file, *backing_format, *data_file;
    LuksCreate luks;
} NewQcow2;

static void new_clear(NewQcow2 *n)
{
    g_free(n->backing_file);
    g_free(n->backing_format);
    g_free(n->data_file);
    luks_create_clear(&n->luks);
}

static bool take_encryption(BlockOpts *opts, NewQcow2 *n, GError **err)
{
    g_autofree char *format = block_opts_take(opts, "encrypt.format");

    if (!format) {
        return !block_opts_has_prefix(opts, "encrypt") ||
               error_set(err, "Parameter 'encrypt.format' is missing (luks)");
    }
    if (!strcmp(format, "aes")) {
        return error_set(err, "encrypt.format=aes is broken by design and not supported; take luks");
    }
    if (strcmp(format, "luks")) {
        return error_set(err, "Parameter 'encrypt.format' does not accept value '%s' (luks)", format);
    }
    if (n->o.data_file_raw) {
        return error_set(err, "data_file_raw=on: the data of an encrypted image is not readable as a raw image");
    }
    return luks_take_create(opts, "encrypt.", &n->luks, err) && luks_create_size(&n->luks, &n->o.crypto_length, err);
}

static bool take_create_opts(BlockOpts *opts, bool exact, NewQcow2 *n, GError **err)
{
    static const char *const compat[] = {"0.10", "v2", "1.1", "v3", NULL};
    static const char *const types[] = {"zlib", "zstd", NULL};
    Qcow2CreateOptions *o = &n->o;
    int version = 2, type = 0, prealloc = 0;
    uint64_t bits = 16;

    qcow2_create_options_init(o);
    if (!block_opts_take_size(opts, "size", &o->size, NULL, err) ||
        !block_opts_take_enum(opts, "compat", compat, &version, err) ||
        !block_opts_take_bool(opts, "data_file_raw", &o->data_file_raw, err) ||
        !block_opts_take_bool(opts, "extended_l2", &o->extended_l2, err) ||
        !block_opts_take_size(opts, "cluster_size", &o->cluster_size, NULL, err) ||
        !block_opts_take_enum(opts, "preallocation", block_prealloc_names, &prealloc, err) ||
        !block_opts_take_bool(opts, "lazy_refcounts", &o->lazy_refcounts, err) ||
        !block_opts_take_size(opts, "refcount_bits", &bits, NULL, err) ||
        !block_opts_take_enum(opts, "compression_type", types, &type, err)) {
        return false;
    }
    o->version = version < 2 ? 2 : 3;
    o->refcount_bits = bits <= 64 ? (unsigned)bits : 0;
    o->compression_type = (unsigned)type;
    o->preallocation = (BlockPrealloc)prealloc;
    o->size = exact ? o->size : align_up(o->size, 512);
    o->backing_file = n->backing_file = block_opts_take(opts, "backing_file");
    o->backing_format = n->backing_format = block_opts_take(opts, "backing_fmt");
    o->data_file = n->data_file = block_opts_take(opts, "data_file");
    return take_encryption(opts, n, err) && qcow2_create_options_check(o, err);
}

bool qcow2_driver_format_prepare(BlockFormat *f, BlockOpts *opts, GError **err)
{
    NewQcow2 *n = f->plan = g_new0(NewQcow2, 1);

    return take_create_opts(opts, f->exact, n, err) &&
           (!n->o.crypto_length || luks_prepare_create(f->vm, &n->luks, "encrypt.", err));
}

/* An external data file that holds something keeps it: it may be a raw image that gets its metadata here. */
static bool lengthen_data(const BlockFormat *f, const Qcow2CreateOptions *o, GError **err)
{
    uint64_t has = f->data ? block_node_size(f->data) : UINT64_MAX;

    return has >= o->size || block_format_zeros(f->data, has, o->size, o->preallocation, err);
}

bool qcow2_driver_format(BlockFormat *f, GError **err)
{
    const NewQcow2 *n = f->plan;
    LuksArea area = {.node = f->file, .size = n->o.crypto_length};

    return lengthen_data(f, &n->o, err) && qcow2_format(f->file, &n->o, &area.base, err) &&
           (!n->o.crypto_length || luks_format(&area, &n->luks, err));
}

void qcow2_driver_format_free(BlockFormat *f)
{
    new_clear(f->plan);
    g_free(f->plan);
}

/* The files, the external data file among them, which has the same wishes to its file system. */
static bool create_files(BlockFormat *f, const char *filename, BlockOpts *opts, GError **err)
{
    const NewQcow2 *n = f->plan;
    g_autofree char *data = n->data_file ? block_path_beside(f->filename, n->data_file) : NULL;

    if (data) {
        BlockOpts *copy = block_opts_new();

        block_opts_merge(copy, opts);
        f->data = block_format_create_file(f->vm, data, copy, err);
        block_opts_free(copy);
    }
    f->file = !data || f->data ? block_format_create_file(f->vm, filename, opts, err) : NULL;
    return f->file != NULL;
}

bool qcow2_driver_create(Vm *vm, const char *filename, BlockOpts *opts, GError **err)
{
    BlockFormat f = {.vm = vm, .filename = block_local_path(filename)};
    bool ok = qcow2_driver_format_prepare(&f, opts, err) && create_files(&f, filename, opts, err) &&
              block_format(&block_driver_qcow2, &f, err);

    block_node_unref(f.file);
    block_node_unref(f.data);
    qcow2_driver_format_free(&f);
    return ok;
}

/* ---- measure, amend --------------------------------------------------------------------------- */

/* Bytes in clusters that hold something else than zeros. */
static int count_data(BlockNode *in, uint64_t cluster, uint64_t *bytes)
{
    uint64_t last = UINT64_MAX;

    *bytes = 0;
    for (uint64_t at = 0; at < in->size;) {
        BlockStatus status;
        int ret = block_pstatus_above(in, NULL, at, in->size - at, BLOCK_FLAG_PRECISE, &status, NULL);

        if (ret < 0) {
            return ret;
        }
        if (status.data && !status.zero) {
            uint64_t first = at / cluster, end = (at + status.bytes - 1) / cluster;

            *bytes += (end - first + (first != last)) * cluster;
            last = end;
        }
        at += MAX(status.bytes, 1);
    }
    return 0;
}

/* What in's persistent bitmaps would take, were they copied, too: bits, tables, directory. */
static uint64_t measure_bitmaps(const BlockNode *in, uint64_t cluster)
{
    uint64_t bytes = 0, directory = 0;

    for (unsigned i = 0; in->bitmaps && i < in->bitmaps->len; i++) {
        const DirtyBitmap *b = g_ptr_array_index(in->bitmaps, i);
        uint64_t bits = (in->size + (UINT64_C(1) << b->granularity_bits) - 1) >> b->granularity_bits;
        uint64_t data = align_up((bits + 7) / 8, cluster);

        if (b->persistent) {
            bytes += data + align_up(data / cluster * 8, cluster);
            directory += align_up(24 + strlen(b->name), 8);
        }
    }
    return bytes + align_up(directory, cluster);
}

bool qcow2_driver_measure(Vm *vm, BlockOpts *opts, BlockNode *in, BlockMeasure *result, GError **err)
{
    NewQcow2 n = {0};
    uint64_t data = 0;
    bool ok;
    int ret;

    (void)vm;
    if (in) {
        g_autofree char *size = g_strdup_printf("%" PRIu64, in->size);

        block_opts_set(opts, "size", size);
    }
    ok = take_create_opts(opts, false, &n, err);
    if (ok && in) {
        ret = count_data(in, n.o.cluster_size, &data);
        ok = ret >= 0 || error_set_errno(err, -ret, "Unable to get block status");
    }
    if (ok) {
        *result = (BlockMeasure){0};
        if (n.o.preallocation >= BLOCK_PREALLOC_FALLOC || (in && n.o.backing_file)) {
            data = n.o.size; /* (how much of in the backing file has is not known) */
        }
        qcow2_measure(&n.o, data, &result->required, &result->fully_allocated);
        result->has_bitmaps = in && in->drv == &block_driver_qcow2 && n.o.version >= 3;
        result->bitmaps = result->has_bitmaps ? measure_bitmaps(in, n.o.cluster_size) : 0;
    }
    new_clear(&n);
    return ok;
}

/* The backing file cannot be changed here: its content may differ. Naming what is there does nothing. */
static bool check_same_backing(BlockNode *node, BlockOpts *opts, GError **err)
{
    bool named = block_opts_peek(opts, "backing_file") || block_opts_peek(opts, "backing_fmt");
    g_autofree char *file = block_opts_take(opts, "backing_file");
    g_autofree char *format = block_opts_take(opts, "backing_fmt");
    Qcow2 *q = qcow2_of(node);

    return !named || (!g_strcmp0(file, q->h.backing_file) && !g_strcmp0(format, q->h.backing_format)) ||
           error_set(err, "Cannot amend the backing file\nYou can use 'kiln-img rebase' instead.");
}

static bool amend_encryption(BlockNode *node, BlockOpts *opts, bool force, GError **err)
{
    Qcow2 *q = qcow2_of(node);
    LuksArea area = {q->file, q->h.crypto_offset, q->h.crypto_length};

    if (!block_opts_has_prefix(opts, "encrypt")) {
        return true;
    }
    if (!q->crypto) {
        return error_set(err, "'%s' is not encrypted: convert it", node->filename ? node->filename : node->name);
    }
    return luks_amend(&area, node->vm, q->luks, q->crypto, opts, "encrypt.", force, err);
}

bool qcow2_driver_amend(BlockNode *node, BlockOpts *opts, bool force, GError **err)
{
    static const char *const compat[] = {"0.10", "v2", "1.1", "v3", NULL};
    Qcow2Amend a = {.lazy_refcounts = -1, .data_file_raw = -1};
    bool has_size = false, lazy = false, has_lazy = block_opts_peek(opts, "lazy_refcounts");
    bool raw = false, has_raw = block_opts_peek(opts, "data_file_raw");
    g_autofree char *data_file = block_opts_take(opts, "data_file");
    uint64_t size = 0, bits = 0;
    int version = -1;

    if (!block_opts_take_enum(opts, "compat", compat, &version, err) ||
        !block_opts_take_bool(opts, "lazy_refcounts", &lazy, err) ||
        !block_opts_take_bool(opts, "data_file_raw", &raw, err) ||
        !block_opts_take_size(opts, "refcount_bits", &bits, NULL, err) ||
        !block_opts_take_size(opts, "size", &size, &has_size, err) || !check_same_backing(node, opts, err)) {
        return false;
    }
    if (bits && (!is_power_of_two(bits) || bits > 64)) {
        return error_set(err, "Refcount width must be a power of two and may not exceed 64 bits");
    }
    a.version = version < 0 ? 0 : version < 2 ? 2 : 3;
    a.refcount_bits = (unsigned)bits;
    a.lazy_refcounts = has_lazy ? lazy : -1;
    a.data_file = data_file;
    a.data_file_raw = has_raw ? raw : -1;
    return amend_encryption(node, opts, force, err) && qcow2_amend(qcow2_of(node), &a, err) &&
           (!size || /* 0 is "as it is" to qemu-img, too */ node->drv->truncate(node, size, true, BLOCK_PREALLOC_OFF, err));
}
