/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The last line of defence: a set of all clusters that hold metadata, asked before data is written
 * and before a cluster is handed out. What hits it proves that the image is corrupt; it is marked
 * so, and not touched again.
 */
#include <stdarg.h>

#include "block/qcow2/qcow2.h"
#include "util/log.h"

void meta_add(Qcow2 *q, uint64_t host, uint64_t len, unsigned kind)
{
    uint64_t first = host >> q->cluster_bits, n = (len + q->cluster - 1) >> q->cluster_bits;

    for (uint64_t i = first; i < first + n; i++) {
        g_hash_table_insert(q->meta, GSIZE_TO_POINTER(i), GUINT_TO_POINTER(kind));
    }
}

void meta_remove(Qcow2 *q, uint64_t host, uint64_t len)
{
    uint64_t first = host >> q->cluster_bits, n = (len + q->cluster - 1) >> q->cluster_bits;

    for (uint64_t i = first; i < first + n; i++) {
        g_hash_table_remove(q->meta, GSIZE_TO_POINTER(i));
    }
}

unsigned meta_kind(const Qcow2 *q, uint64_t host)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(q->meta, GSIZE_TO_POINTER(host >> q->cluster_bits)));
}

const char *meta_name(unsigned kind)
{
    static const char *const names[] = {
        "qcow2_header",   "active L1 table", "active L2 table",   "refcount block", "refcount table",
        "snapshot table", "inactive L1 table", "inactive L2 table", "bitmap directory",
    };
    int bit = g_bit_nth_lsf(kind, -1);

    return bit >= 0 && bit < (int)G_N_ELEMENTS(names) ? names[bit] : "metadata";
}

unsigned meta_on_active_l1(const Qcow2 *q)
{
    for (uint64_t at = 0; at < (uint64_t)q->l1_size * 8; at += q->cluster) {
        unsigned is = meta_kind(q, q->h.l1_offset + at);

        if (is && is != QCOW2_OVERLAP_ACTIVE_L1 && is != QCOW2_OVERLAP_ACTIVE_L2) {
            return is;
        }
    }
    return 0;
}

bool overlap_check_data(Qcow2 *q, uint64_t host, uint64_t len)
{
    uint64_t last = (host + len - 1) >> q->cluster_bits;

    if (q->data != q->file) {
        return true;
    }
    for (uint64_t i = host >> q->cluster_bits; i <= last; i++) {
        unsigned kind = meta_kind(q, i << q->cluster_bits);

        if (kind & q->opt.overlap) {
            qcow2_corrupt(q, "Preventing invalid write on data (overlaps with %s); offset %#" PRIx64,
                          meta_name(kind), host);
            return false;
        }
    }
    return true;
}

/* The corrupt bit goes straight to the header's sector: nothing else of what is in memory may be
 * written any more. */
typedef struct MarkCorrupt {
    BlockIo io;
    Qcow2 *q;
    struct iovec iov;
    uint8_t field[8];
} MarkCorrupt;

static void marked(BlockIo *io, int result)
{
    MarkCorrupt *m = container_of(io, MarkCorrupt, io);

    (void)result;
    m->q->marking = false;
    g_free(m);
}

int qcow2_corrupt(Qcow2 *q, const char *fmt, ...)
{
    va_list ap;

    if (q->broken || q->warned || q->opt.for_check) {
        return -EIO;
    }
    q->warned = true;
    q->broken = !q->read_only; /* what can still be read may be */
    va_start(ap, fmt);
    g_autofree char *why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (q->read_only) {
        report_warning("qcow2: Image '%s' is corrupt: %s; further corruption events will be "
                       "suppressed", q->node->filename ? q->node->filename : q->node->name, why);
    } else {
        report_warning("qcow2: Marking image '%s' as corrupt: %s; further corruption events will "
                       "be suppressed (kiln-img check -r all may repair it)",
                       q->node->filename ? q->node->filename : q->node->name, why);
    }
    if (!q->read_only && q->h.version >= 3) {
        MarkCorrupt *m = g_new0(MarkCorrupt, 1);

        q->h.incompatible |= QCOW2_INCOMPAT_CORRUPT;
        q->marking = true;
        m->q = q;
        store64_be(m->field, q->h.incompatible);
        m->iov = (struct iovec){m->field, sizeof m->field};
        m->io = (BlockIo){.op = BLOCK_WRITE,
                          .offset = QCOW2_H_INCOMPATIBLE,
                          .len = sizeof m->field,
                          .iov = &m->iov,
                          .iov_count = 1,
                          .done = marked};
        block_node_submit(q->file, &m->io);
    }
    return -EIO;
}
