/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sparse extents that are written: what may be, where new grains go, and their entries in both sets of tables. */
#include <errno.h>

#include "block/formats/vmdk.h"

/* Pieces of headers and tables; new images have all in one or two. */
#define METADATA_MAX 64

/* ---- is it safe? ------------------------------------------------------------------------------- */

static uint64_t table_len(const VmdkSparse *s)
{
    return s->entry_len * (uint64_t)s->gtes;
}

static bool refuse(const BlockNode *node, GError **err, const char *why)
{
    return error_set(err, "Image '%s' can only be read (%s): add read-only=on, or convert the image (kiln-img convert)",
                     node->filename ? node->filename : node->name, why);
}

const char *vmdk_why_only_read(const Vmdk *v)
{
    for (unsigned i = 0; i < v->count; i++) {
        const VmdkExtent *e = &v->extents[i];

        if (e->only_read) {
            return "its descriptor says so of an extent";
        }
        if (!e->child) {
            return "an extent of it is zeros, and in no file";
        }
        if (e->sparse && e->sparse->only_read) {
            return e->sparse->only_read;
        }
        if (e->sparse && (e->sparse->compressed != v->compressed || (v->compressed && v->count > 1))) {
            return "some of its extents are compressed";
        }
        if (e->sparse && table_len(e->sparse) % BLOCK_SECTOR) {
            return "its tables do not fill sectors";
        }
    }
    return NULL;
}

/* Places of the copies of the tables, which must be there for each. */
static bool load_copies(BlockNode *node, VmdkSparse *s, BlockNode *file, GError **err)
{
    g_autofree uint8_t *gd = NULL;

    for (uint64_t i = 0; i < s->count; i++) {
        if (!s->places[i]) {
            return refuse(node, err, "a grain table is missing");
        }
    }
    if (!s->copies_directory || s->copies) {
        return true;
    }
    gd = mapped_read_table(file, s->copies_directory * BLOCK_SECTOR, 4 * s->count, "second grain directory", err);
    if (!gd) {
        return false;
    }
    s->copies = g_new(uint32_t, s->count);
    for (uint64_t i = 0; i < s->count; i++) {
        s->copies[i] = load32_le(gd + 4 * i);
        if (!s->copies[i]) {
            return refuse(node, err, "the copy of a grain table is missing");
        }
    }
    return true;
}

static uint64_t entry_place(BlockNode *node, uint64_t i, const void *opaque)
{
    const VmdkSparse *s = opaque;
    uint32_t sector = load32_le(s->bytes + 4 * i);

    (void)node;
    return !sector || (sector == 1 && s->zeroed) ? MAPPED_NO_PLACE : (uint64_t)sector * BLOCK_SECTOR;
}

typedef struct Range {
    uint64_t offset, len;
} Range;

static void add_range(GArray *list, uint64_t offset, uint64_t len)
{
    if (len) {
        g_array_append_vals(list, &(Range){offset, len}, 1);
    }
}

static int compare_ranges(const void *a, const void *b)
{
    const Range *x = a, *y = b;

    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Headers and tables of the extent. NULL: they lie in each other, or in too many places to look at for each grain. */
static GArray *list_metadata(const BlockNode *node, const VmdkSparse *s, GError **err)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(Range)), joined = g_array_new(FALSE, FALSE, sizeof(Range));

    add_range(all, 0, BLOCK_SECTOR);
    add_range(all, s->descriptor_offset, s->descriptor_len);
    add_range(all, s->directory * BLOCK_SECTOR, 4 * s->count);
    add_range(all, s->copies_directory * BLOCK_SECTOR, s->copies ? 4 * s->count : 0);
    for (uint64_t i = 0; i < s->count; i++) {
        add_range(all, (uint64_t)s->places[i] * BLOCK_SECTOR, table_len(s));
        add_range(all, s->copies ? (uint64_t)s->copies[i] * BLOCK_SECTOR : 0, s->copies ? table_len(s) : 0);
    }
    g_array_sort(all, compare_ranges);
    for (unsigned i = 0; i < all->len; i++) {
        const Range *r = &g_array_index(all, Range, i);
        Range *last = joined->len ? &g_array_index(joined, Range, joined->len - 1) : NULL;

        if (last && last->offset + last->len > r->offset) {
            refuse(node, err, "its headers and tables lie in each other");
            return NULL;
        }
        /* (a directory ends within a sector) */
        if (last && align_up(last->offset + last->len, BLOCK_SECTOR) == r->offset) {
            last->len = r->offset + r->len - last->offset;
        } else {
            g_array_append_vals(joined, r, 1);
        }
    }
    if (joined->len > METADATA_MAX) {
        refuse(node, err, "its tables are scattered over the file");
        return NULL;
    }
    return g_steal_pointer(&joined);
}

static bool check_places(BlockNode *node, VmdkExtent *e, GError **err)
{
    VmdkSparse *s = e->sparse;
    g_autoptr(GArray) metadata = list_metadata(node, s, err);
    MappedPlaces places = {.file = e->child->node,
                           .count = s->count * s->gtes,
                           .at = entry_place,
                           .opaque = s,
                           .len = s->compressed ? BLOCK_SECTOR : s->grain, /* (one that is packed is not written again) */
                           .metadata = metadata ? (const uint64_t(*)[2])(void *)metadata->data : NULL,
                           .metadata_count = metadata ? metadata->len : 0};

    if (!metadata || !mapped_check_places(node, &places, err)) {
        return false;
    }
    s->next = align_up(MAX(block_node_size(e->child->node), places.end), s->compressed ? BLOCK_SECTOR : s->grain);
    return true;
}

/* ---- tables ------------------------------------------------------------------------------------ */

static uint64_t sector_at(const MappedRegion *region, uint64_t pos)
{
    const VmdkSparse *s = region->opaque;
    const uint32_t *places = region == s->regions[1] ? s->copies : s->places;

    return (uint64_t)places[pos / table_len(s)] * BLOCK_SECTOR + pos % table_len(s);
}

/* All tables lie one after the other from now on. */
static bool join_tables(VmdkSparse *s, GError **err)
{
    if (s->bytes) {
        return true;
    }
    s->bytes = g_try_malloc(MAX(s->count * table_len(s), 1));
    if (!s->bytes) {
        return error_set(err, "No memory for %" PRIu64 " bytes of grain tables", s->count * table_len(s));
    }
    for (uint64_t i = 0; i < s->count; i++) {
        memcpy(s->bytes + i * table_len(s), s->tables[i], table_len(s));
        g_free(s->tables[i]);
        s->tables[i] = s->bytes + i * table_len(s);
    }
    return true;
}

/* A power cut may have left a copy behind: those that differ are written with the next flush. */
static bool compare_copies(VmdkSparse *s, BlockNode *file, GError **err)
{
    g_autofree uint8_t *copy = g_malloc(table_len(s));

    for (uint64_t i = 0; s->copies && i < s->count; i++) {
        if (!mapped_read(file, (uint64_t)s->copies[i] * BLOCK_SECTOR, copy, table_len(s), "copy of a grain table", err)) {
            return false;
        }
        if (memcmp(copy, s->tables[i], table_len(s))) {
            mapped_dirty(s->regions[1], i * table_len(s), table_len(s));
        }
    }
    return true;
}

static bool start_extent(BlockNode *node, VmdkExtent *e, GError **err)
{
    VmdkSparse *s = e->sparse;

    if (!load_copies(node, s, e->child->node, err) || !join_tables(s, err) || !check_places(node, e, err)) {
        return false;
    }
    for (unsigned i = 0; s->count && i < (s->copies ? 2 : 1); i++) {
        s->regions[i] = mapped_add_region(node, &(MappedRegion){.child = e->child,
                                                                .bytes = s->bytes,
                                                                .len = s->count * table_len(s),
                                                                .sector_at = sector_at,
                                                                .opaque = s});
    }
    return compare_copies(s, e->child->node, err);
}

bool vmdk_start_writing(BlockNode *node, GError **err)
{
    Vmdk *v = node->state;
    const char *why = vmdk_why_only_read(v);

    if (why) {
        return refuse(node, err, why);
    }
    for (unsigned i = 0; i < v->count; i++) {
        if (v->extents[i].sparse && !start_extent(node, &v->extents[i], err)) {
            return false;
        }
    }
    if (v->compressed && !v->stream) {
        v->stream = vmdk_stream_new(node);
    }
    return true;
}

/* ---- grains ------------------------------------------------------------------------------------ */

void vmdk_sparse_enter(VmdkSparse *s, uint64_t grain, uint32_t sector)
{
    store32_le(s->bytes + 4 * grain, sector);
    for (unsigned i = 0; i < G_N_ELEMENTS(s->regions); i++) {
        if (s->regions[i]) {
            mapped_dirty(s->regions[i], 4 * grain, 4);
        }
    }
}

int64_t vmdk_sparse_take(VmdkSparse *s, uint64_t len)
{
    uint64_t at = s->next;

    if (at > (uint64_t)UINT32_MAX * BLOCK_SECTOR) {
        return -ENOSPC;
    }
    s->next += len;
    return (int64_t)at;
}

int vmdk_place(BlockNode *node, uint64_t offset, MappedBlock *block)
{
    Vmdk *v = node->state;
    VmdkExtent *e = &v->extents[vmdk_find_extent(v, offset)];
    VmdkSparse *s = e->sparse;
    uint64_t grain = (offset - e->start) / s->grain;
    int64_t at = vmdk_sparse_take(s, s->grain);

    if (at < 0) {
        return (int)at;
    }
    *block = (MappedBlock){.start = e->start + grain * s->grain,
                           .len = MIN(s->grain, e->len - grain * s->grain),
                           .child = e->child,
                           .offset = (uint64_t)at,
                           .file_len = s->grain,
                           .index = grain};
    return 0;
}

static VmdkSparse *sparse_of(BlockNode *node, const MappedBlock *block)
{
    Vmdk *v = node->state;

    return v->extents[vmdk_find_extent(v, block->start)].sparse;
}

void vmdk_enter(BlockNode *node, const MappedBlock *block)
{
    vmdk_sparse_enter(sparse_of(node, block), block->index, (uint32_t)(block->offset / BLOCK_SECTOR));
}

void vmdk_give_back(BlockNode *node, const MappedBlock *block)
{
    VmdkSparse *s = sparse_of(node, block);

    if (block->offset + s->grain == s->next) {
        s->next = block->offset;
    }
}

void vmdk_enter_zeros(BlockNode *node, const MappedBlock *block)
{
    vmdk_sparse_enter(sparse_of(node, block), block->index, 1);
}
