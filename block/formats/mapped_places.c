/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the blocks of an image of another program lie, checked before it is written: a table from a stranger
 * may name its own header, or one place twice, which does no harm until somebody writes there.
 */
#include "block/formats/mapped.h"

/* Of memory to find two blocks in the same place. */
#define CHECK_MAX (512 * MIB)

static bool refuse(const BlockNode *node, GError **err, uint64_t i, const char *why)
{
    return error_set(err,
                     "Image '%s' cannot be written without damage: block %" PRIu64 " %s; open it with read-only=on, or "
                     "make a sound copy (kiln-img convert -O qcow2)",
                     node->filename ? node->filename : node->name, i, why);
}

static bool check_place(BlockNode *node, MappedPlaces *p, uint64_t i, uint64_t at, GError **err)
{
    if (at >= block_node_size(p->file)) {
        return refuse(node, err, i, "lies behind the end of the file");
    }
    for (unsigned m = 0; m < p->metadata_count; m++) {
        if (at < p->metadata[m][0] + p->metadata[m][1] && p->metadata[m][0] < at + p->len) {
            return refuse(node, err, i, "lies in the image's own header or table");
        }
    }
    p->end = MAX(p->end, at + p->len);
    return true;
}

/*
 * Blocks cannot begin twice in the same piece of len bytes without lying in each other. When all begin at the same place of
 * a piece, that is enough; else (places are as they come) each is compared with the one of the piece before.
 */
static bool check_each_other(BlockNode *node, const MappedPlaces *p, bool regular, GError **err)
{
    uint64_t pieces = block_node_size(p->file) / p->len + 1, bytes = regular ? pieces / 8 + 1 : 4 * (pieces + 1);
    g_autofree uint8_t *bits = bytes <= CHECK_MAX ? g_try_malloc0(bytes) : NULL;
    uint32_t *begin = (uint32_t *)(void *)bits; /* where in the piece, plus 1; 0: none */

    if (!bits) {
        return error_set(err, "Image '%s' is too large to be checked before it is written: open it with read-only=on, "
                              "and convert it (kiln-img convert -O qcow2)", node->filename ? node->filename : node->name);
    }
    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t at = p->at(node, i, p->opaque), piece = at / p->len;

        if (at == MAPPED_NO_PLACE) {
            continue;
        }
        if (regular ? bits[piece / 8] >> piece % 8 & 1 : begin[piece]) {
            return refuse(node, err, i, "lies where another one lies");
        }
        if (regular) {
            bits[piece / 8] |= (uint8_t)(1 << piece % 8);
        } else {
            begin[piece] = (uint32_t)(at % p->len) + 1;
        }
    }
    for (uint64_t piece = 1; !regular && piece < pieces; piece++) {
        if (begin[piece] && begin[piece - 1] > begin[piece]) {
            return refuse(node, err, piece, "(counted in the file) lies where another one lies");
        }
    }
    return true;
}

static bool check_metadata(BlockNode *node, MappedPlaces *p, GError **err)
{
    for (unsigned m = 0; m < p->metadata_count; m++) {
        const uint64_t *a = p->metadata[m];

        if (!range_fits(a[0], a[1], INT64_MAX)) {
            return error_set(err, "Image '%s' is damaged: a header or table lies beyond any file", node->name);
        }
        for (unsigned n = 0; n < m; n++) {
            const uint64_t *b = p->metadata[n];

            if (a[0] < b[0] + b[1] && b[0] < a[0] + a[1]) {
                return error_set(err, "Image '%s' cannot be written without damage: its headers and tables lie in each other; "
                                      "open it with read-only=on, or make a sound copy (kiln-img convert -O qcow2)",
                                 node->filename ? node->filename : node->name);
            }
        }
        p->end = MAX(p->end, a[0] + a[1]);
    }
    return true;
}

bool mapped_check_places(BlockNode *node, MappedPlaces *p, GError **err)
{
    uint64_t within = 0;
    bool any = false, regular = true;

    p->end = 0;
    if (!check_metadata(node, p, err)) {
        return false;
    }
    for (uint64_t i = 0; i < p->count; i++) {
        uint64_t at = p->at(node, i, p->opaque);

        if (at == MAPPED_NO_PLACE) {
            continue;
        }
        if (!check_place(node, p, i, at, err)) {
            return false;
        }
        regular &= !any || at % p->len == within;
        within = at % p->len;
        any = true;
    }
    return !any || check_each_other(node, p, regular, err);
}
