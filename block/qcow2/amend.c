/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Changing what an image was created with: its version, refcount width, lazy refcounts, the name of its data file. Each
 * change takes effect with one write of the header; what cannot be had is found before the first one.
 */
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

#define PIECE (2 * MIB)

static int store_header(Qcow2 *q, const Qcow2Header *before, GError **err)
{
    int ret = qcow2_write_header(q, err);

    if (ret < 0) {
        q->h.version = before->version;
        q->h.incompatible = before->incompatible;
        q->h.compatible = before->compatible;
        q->h.autoclear = before->autoclear;
    }
    return ret;
}

/* ---- version -------------------------------------------------------------------------------- */

static bool check_downgrade(const Qcow2 *q, GError **err)
{
    if (qcow2_has_bitmaps(q)) {
        return error_set(err, "Cannot downgrade an image with persistent dirty bitmaps; remove them");
    }
    if (q->h.incompatible & ~QCOW2_INCOMPAT_DIRTY) {
        return error_set(err, "compat=0.10 knows none of the image's features: external data file, "
                              "zstd compression, extended L2 entries, corrupt bit");
    }
    if (q->snapshots->len) {
        return error_set(err, "Cannot downgrade an image with internal snapshots; delete them");
    }
    return true;
}

/* v2 has no zero flag: such clusters are freed, or written when a backing file would show. */
static int expand_zeros(Qcow2 *q)
{
    g_autofree uint8_t *zeros = q->backing ? g_malloc0(PIECE) : NULL;
    uint64_t at = 0, end = align_up(q->h.size, q->cluster);
    int ret = 0;

    while (at < end && ret >= 0) {
        Mapping m;

        ret = map_lookup_sync(q, at, MIN(PIECE, end - at), &m);
        if (ret > 0 && m.kind == MAP_ZERO) {
            ret = q->backing ? qcow2_do(q, REQ_WRITE, at, zeros, m.len)
                             : qcow2_do(q, REQ_DISCARD, at, NULL, m.len);
        }
        at += m.len;
    }
    ret = ret < 0 ? ret : qcow2_sync_all(q);
    return ret < 0 ? ret : qcow2_set_incompatible(q, 0, QCOW2_INCOMPAT_DIRTY);
}

static bool set_version(Qcow2 *q, unsigned version, GError **err)
{
    Qcow2Header before = q->h;
    int ret = 0;

    if (version == q->h.version) {
        return true;
    }
    if (version < 3) {
        q->lazy = false;
        ret = expand_zeros(q);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not expand zero clusters");
        }
        q->h.compatible = q->h.autoclear = q->h.incompatible = 0;
        q->h.has_bitmaps = false;
    }
    q->h.version = version;
    return store_header(q, &before, err) >= 0;
}

/* ---- the data file --------------------------------------------------------------------------- */

/* Renames it in the header only: the file itself is the caller's to move. */
static bool set_data_file(Qcow2 *q, const Qcow2Amend *a, GError **err)
{
    Qcow2Header before = q->h;

    if (a->data_file) {
        q->h.data_file = *a->data_file ? g_strdup(a->data_file) : NULL;
    }
    if (!a->data_file_raw) {
        q->h.autoclear &= ~(uint64_t)QCOW2_AUTOCLEAR_RAW_DATA_FILE;
    }
    if (store_header(q, &before, err) < 0) {
        if (a->data_file) {
            g_free(q->h.data_file);
            q->h.data_file = before.data_file;
        }
        return false;
    }
    if (a->data_file) {
        g_free(before.data_file);
    }
    return true;
}

/* ---- all ------------------------------------------------------------------------------------ */

static bool set_lazy(Qcow2 *q, bool lazy, GError **err)
{
    Qcow2Header before = q->h;
    int ret;

    if (!lazy) {
        q->lazy = false;
        ret = qcow2_sync_all(q);
        ret = ret < 0 ? ret : qcow2_set_incompatible(q, 0, QCOW2_INCOMPAT_DIRTY);
        if (ret < 0) {
            return error_set_errno(err, -ret, "Could not write out the refcounts");
        }
    }
    q->h.compatible = (q->h.compatible & ~QCOW2_COMPAT_LAZY_REFCOUNTS) |
                      (lazy ? QCOW2_COMPAT_LAZY_REFCOUNTS : 0);
    if (store_header(q, &before, err) < 0) {
        return false;
    }
    q->lazy = lazy;
    return true;
}

static bool check_amend(const Qcow2 *q, const Qcow2Amend *a, GError **err)
{
    unsigned version = a->version ? a->version : q->h.version;
    unsigned refcount_bits = a->refcount_bits ? a->refcount_bits : 1u << q->h.refcount_order;

    if (version < 3 && a->lazy_refcounts > 0) {
        return error_set(err, "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or "
                              "greater)");
    }
    if (version < 3 && refcount_bits != 16) {
        return error_set(err, "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or "
                              "greater)");
    }
    if (a->data_file && !qcow2_has_data_file(&q->h)) {
        return error_set(err, "data-file can only be set for images that use an external data file");
    }
    if (a->data_file_raw > 0 && !qcow2_data_file_is_raw(&q->h)) {
        return error_set(err, "data-file-raw cannot be set on existing images");
    }
    return version == q->h.version || version > 2 || check_downgrade(q, err);
}

static bool amend(Qcow2 *q, const Qcow2Amend *a, GError **err)
{
    bool lazy = a->lazy_refcounts > 0;

    if (!check_amend(q, a, err)) {
        return false;
    }

    /* Up first, down last: what is between needs the newer version. */
    if (a->version == 3 && !set_version(q, 3, err)) {
        return false;
    }
    if (a->refcount_bits && a->refcount_bits != 1u << q->h.refcount_order &&
        !qcow2_set_refcount_bits(q, a->refcount_bits, err)) {
        return false;
    }
    if (a->lazy_refcounts >= 0 &&
        lazy != !!(q->h.compatible & QCOW2_COMPAT_LAZY_REFCOUNTS) && !set_lazy(q, lazy, err)) {
        return false;
    }
    if ((a->data_file || !a->data_file_raw) && qcow2_has_data_file(&q->h) && !set_data_file(q, a, err)) {
        return false;
    }
    return a->version != 2 || set_version(q, 2, err);
}

bool qcow2_amend(Qcow2 *q, const Qcow2Amend *a, GError **err)
{
    bool ok;
    int ret;

    if (q->read_only) {
        return error_set(err, "The image is read-only");
    }
    qcow2_quiesce(q);
    ret = qcow2_sync_all(q);
    ok = ret < 0 ? error_set_errno(err, -ret, "Could not write out the image") : amend(q, a, err);
    qcow2_resume(q);
    return ok;
}
