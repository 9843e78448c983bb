/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vhdx: the log (MS-VHDX 2.3). An entry is a header with descriptors, each of 4 KiB of the file, and a sector of data for
 * each of these. It counts when its GUID is the header's. Here an entry is always a sequence of its own: its tail is
 * itself. Two take turns, in the two halves of the log, so that the one that may still count is not written over.
 */
#include <errno.h>

#include "block/formats/vhdx.h"

enum {
    /* An entry's header. */
    L_CHECKSUM = 4,
    L_LENGTH = 8,
    L_TAIL = 12,
    L_SEQUENCE = 16,
    L_DESCRIPTORS = 24,
    L_GUID = 32,
    L_FLUSHED_SIZE = 48, /* of the file: what was on disk when the entry was written */
    L_LAST_SIZE = 56,    /* of the file: what it has to have */
    L_HEADER_SIZE = 64,

    /* A descriptor: of data, or of zeros. */
    D_TRAILING = 4, /* the last four bytes of the sector */
    D_LEADING = 8,  /* its first eight; zeros: their length */
    D_OFFSET = 16,
    D_SEQUENCE = 24,
    DESCRIPTOR_SIZE = 32,

    /* A data sector: without the bytes that its descriptor has. */
    S_SEQUENCE_HIGH = 4,
    S_BYTES = 8,
    S_BYTES_LEN = 4084,
    S_SEQUENCE_LOW = 4092,
};

#define ENTRY_MAX MIB       /* that is written here */
#define ZEROS_MAX 65536     /* ranges of zeros that a log may have */
#define WORK_MAX 8          /* times the log's length: what of it is looked at; entries that claim to be long cost time */

static uint64_t log_offset(const Vhdx *v) { return load64_le(v->header + VHDX_H_LOG_OFFSET); }
static uint32_t log_len(const Vhdx *v) { return load32_le(v->header + VHDX_H_LOG_LENGTH); }

static uint64_t descriptor_sectors(uint64_t descriptors)
{
    return (L_HEADER_SIZE + descriptors * DESCRIPTOR_SIZE + VHDX_LOG_SECTOR - 1) / VHDX_LOG_SECTOR;
}

bool vhdx_log_check(BlockNode *node, GError **err)
{
    const Vhdx *v = node->state;

    if (log_offset(v) < MIB || log_offset(v) % MIB || log_len(v) < MIB || log_len(v) % MIB || log_len(v) > MAPPED_TABLES_MAX) {
        return mapped_damaged(node, err, "its log has %u bytes at %" PRIu64, log_len(v), log_offset(v));
    }
    return true;
}

/* ---- headers -------------------------------------------------------------------------------------- */

/* The next header: over the older one. */
static void make_header(Vhdx *v, const uint8_t *log_guid)
{
    uint8_t *h = v->pending;

    memcpy(h, v->header, VHDX_HEADER_SIZE);
    if (!v->renewed) {
        mapped_make_guid(h + VHDX_H_FILE_GUID);
        mapped_make_guid(h + VHDX_H_DATA_GUID);
        v->renewed = true;
    }
    store64_le(h + VHDX_H_SEQUENCE, load64_le(h + VHDX_H_SEQUENCE) + 1);
    memset(h + VHDX_H_LOG_GUID, 0, 16);
    if (log_guid) {
        memcpy(h + VHDX_H_LOG_GUID, log_guid, 16);
    }
    store32_le(h + VHDX_H_CHECKSUM, vhdx_crc(h, VHDX_HEADER_SIZE));
}

static MappedBytes vhdx_journal_header(BlockNode *node, bool entry)
{
    Vhdx *v = node->state;

    make_header(v, entry ? v->log_guid : NULL);
    if (entry) {
        v->half = !v->half;
    }
    return (MappedBytes){node->file, vhdx_header_at[!v->slot], VHDX_HEADER_SIZE, g_memdup2(v->pending, VHDX_HEADER_SIZE)};
}

static void vhdx_header_done(BlockNode *node)
{
    Vhdx *v = node->state;

    memcpy(v->header, v->pending, VHDX_HEADER_SIZE);
    v->slot = !v->slot;
}

/* ---- writing an entry ------------------------------------------------------------------------------ */

static uint64_t vhdx_journal_room(const BlockNode *node)
{
    uint64_t sectors = MIN(log_len(node->state) / 2, ENTRY_MAX) / VHDX_LOG_SECTOR;

    return (sectors - descriptor_sectors(sectors)) * (VHDX_LOG_SECTOR / BLOCK_SECTOR);
}

static void put_sector(uint8_t *descriptor, uint8_t *sector, const uint8_t *bytes, uint64_t offset, uint64_t sequence)
{
    memcpy(descriptor, "desc", 4);
    memcpy(descriptor + D_TRAILING, bytes + VHDX_LOG_SECTOR - 4, 4);
    memcpy(descriptor + D_LEADING, bytes, 8);
    store64_le(descriptor + D_OFFSET, offset);
    store64_le(descriptor + D_SEQUENCE, sequence);
    memcpy(sector, "data", 4);
    store32_le(sector + S_SEQUENCE_HIGH, (uint32_t)(sequence >> 32));
    memcpy(sector + S_BYTES, bytes + 8, S_BYTES_LEN);
    store32_le(sector + S_SEQUENCE_LOW, (uint32_t)sequence);
}

static MappedBytes vhdx_journal_entry(BlockNode *node, const GPtrArray *runs)
{
    Vhdx *v = node->state;
    uint64_t at = v->half ? log_len(v) / 2 : 0, count = 0, first, len, size = block_node_size(node->file->node);
    uint8_t *entry, *descriptor, *sector;

    for (unsigned i = 0; i < runs->len; i++) {
        count += ((const MappedBytes *)g_ptr_array_index(runs, i))->len / VHDX_LOG_SECTOR;
    }
    first = descriptor_sectors(count);
    len = (first + count) * VHDX_LOG_SECTOR;
    entry = g_malloc0(len);
    v->log_sequence++;
    mapped_make_guid(v->log_guid);
    memcpy(entry, "loge", 4);
    store32_le(entry + L_LENGTH, (uint32_t)len);
    store32_le(entry + L_TAIL, (uint32_t)at);
    store64_le(entry + L_SEQUENCE, v->log_sequence);
    store32_le(entry + L_DESCRIPTORS, (uint32_t)count);
    memcpy(entry + L_GUID, v->log_guid, 16);
    store64_le(entry + L_FLUSHED_SIZE, size);
    store64_le(entry + L_LAST_SIZE, size);
    descriptor = entry + L_HEADER_SIZE;
    sector = entry + first * VHDX_LOG_SECTOR;
    for (unsigned i = 0; i < runs->len; i++) {
        const MappedBytes *run = g_ptr_array_index(runs, i);

        for (uint64_t pos = 0; pos < run->len; pos += VHDX_LOG_SECTOR) {
            put_sector(descriptor, sector, run->bytes + pos, run->offset + pos, v->log_sequence);
            descriptor += DESCRIPTOR_SIZE;
            sector += VHDX_LOG_SECTOR;
        }
    }
    store32_le(entry + L_CHECKSUM, vhdx_crc(entry, len));
    return (MappedBytes){node->file, log_offset(v) + at, len, entry};
}

const MappedJournal vhdx_journal = {
    .room = vhdx_journal_room,
    .entry = vhdx_journal_entry,
    .header = vhdx_journal_header,
    .header_done = vhdx_header_done,
};

/* ---- replay ---------------------------------------------------------------------------------------- */

/* The log in memory, with sectors counted round and round. */
typedef struct Log {
    const uint8_t *bytes;
    uint32_t len;
    const uint8_t *guid;
    uint64_t work; /* bytes that may still be looked at */
} Log;

static const uint8_t *log_sector(const Log *l, uint64_t sector)
{
    return l->bytes + sector * VHDX_LOG_SECTOR % l->len;
}

/* The entry at a sector, in one piece (g_free); NULL: there is none that is whole and counts. */
static uint8_t *take_entry(Log *l, uint64_t sector)
{
    const uint8_t *h = log_sector(l, sector);
    uint32_t len = load32_le(h + L_LENGTH), count = load32_le(h + L_DESCRIPTORS), data = 0;
    uint64_t sequence = load64_le(h + L_SEQUENCE);
    g_autofree uint8_t *entry = NULL;

    if (memcmp(h, "loge", 4) || memcmp(h + L_GUID, l->guid, 16) || !len || len % VHDX_LOG_SECTOR || len > l->len ||
        !sequence || descriptor_sectors(count) > len / VHDX_LOG_SECTOR || load32_le(h + L_TAIL) % VHDX_LOG_SECTOR ||
        load32_le(h + L_TAIL) >= l->len) {
        return NULL;
    }
    if (l->work < len) {
        return NULL;
    }
    l->work -= len;
    entry = g_malloc(len);
    for (uint32_t pos = 0; pos < len; pos += VHDX_LOG_SECTOR) {
        memcpy(entry + pos, log_sector(l, sector + pos / VHDX_LOG_SECTOR), VHDX_LOG_SECTOR);
    }
    if (load32_le(entry + L_CHECKSUM) != vhdx_crc(entry, len)) {
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *d = entry + L_HEADER_SIZE + i * DESCRIPTOR_SIZE;

        if (load64_le(d + D_SEQUENCE) != sequence || load64_le(d + D_OFFSET) % VHDX_LOG_SECTOR ||
            (memcmp(d, "desc", 4) && (memcmp(d, "zero", 4) || load64_le(d + D_LEADING) % VHDX_LOG_SECTOR))) {
            return NULL;
        }
        data += !memcmp(d, "desc", 4);
    }
    if (descriptor_sectors(count) + data != len / VHDX_LOG_SECTOR) {
        return NULL;
    }
    for (uint32_t i = 0; i < data; i++) {
        const uint8_t *s = entry + (descriptor_sectors(count) + i) * VHDX_LOG_SECTOR;

        if (memcmp(s, "data", 4) || load32_le(s + S_SEQUENCE_HIGH) != (uint32_t)(sequence >> 32) ||
            load32_le(s + S_SEQUENCE_LOW) != (uint32_t)sequence) {
            return NULL;
        }
    }
    return g_steal_pointer(&entry);
}

/* The entries that follow each other from a sector on; NULL: the last one's tail is not the first. */
static GPtrArray *take_sequence(Log *l, uint64_t sector)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    uint64_t at = sector, sequence = 0;
    uint32_t tail = UINT32_MAX;

    while (at - sector < l->len / VHDX_LOG_SECTOR) {
        uint8_t *entry = take_entry(l, at);

        if (!entry || (sequence && load64_le(entry + L_SEQUENCE) != sequence + 1) ||
            at - sector + load32_le(entry + L_LENGTH) / VHDX_LOG_SECTOR > l->len / VHDX_LOG_SECTOR) {
            g_free(entry);
            break;
        }
        sequence = load64_le(entry + L_SEQUENCE);
        tail = load32_le(entry + L_TAIL);
        at += load32_le(entry + L_LENGTH) / VHDX_LOG_SECTOR;
        g_ptr_array_add(list, entry);
    }
    return list->len && tail == sector * VHDX_LOG_SECTOR ? g_steal_pointer(&list) : NULL;
}

static uint64_t last_sequence(const GPtrArray *list)
{
    return load64_le((uint8_t *)g_ptr_array_index(list, list->len - 1) + L_SEQUENCE);
}

static uint64_t entries_len(const GPtrArray *list)
{
    uint64_t len = 0;

    for (unsigned i = 0; i < list->len; i++) {
        len += load32_le((uint8_t *)g_ptr_array_index(list, i) + L_LENGTH);
    }
    return len;
}

/* The sequence that ends with the highest number. */
static GPtrArray *find_sequence(Log *l)
{
    GPtrArray *best = NULL;

    for (uint64_t sector = 0; sector < l->len / VHDX_LOG_SECTOR; sector++) {
        GPtrArray *list = take_sequence(l, sector);

        if (list) { /* what it is made of begins no other one */
            sector += entries_len(list) / VHDX_LOG_SECTOR - 1;
        }
        if (list && (!best || last_sequence(list) > last_sequence(best))) {
            if (best) {
                g_ptr_array_unref(best);
            }
            best = list;
        } else if (list) {
            g_ptr_array_unref(list);
        }
    }
    return best;
}

static bool is_zeros(const uint8_t *d) { return !memcmp(d, "zero", 4); }

static uint64_t descriptor_len(const uint8_t *d) { return is_zeros(d) ? load64_le(d + D_LEADING) : VHDX_LOG_SECTOR; }

/* May all of it be done? Looked at before the first byte is written. Zeros cost an entry nothing: so many of them, and no more. */
static bool may_apply(const GPtrArray *list, uint64_t file_size)
{
    uint64_t end = file_size, zeros = 0, zeroed = 0;

    for (unsigned i = 0; i < list->len; i++) {
        const uint8_t *entry = g_ptr_array_index(list, i);
        uint64_t size = load64_le(entry + L_LAST_SIZE);

        if (load64_le(entry + L_FLUSHED_SIZE) > end || size > 2 * VHDX_DISK_MAX) {
            return false; /* the file was cut */
        }
        end = MAX(end, size);
        for (uint32_t n = 0; n < load32_le(entry + L_DESCRIPTORS); n++) {
            const uint8_t *d = entry + L_HEADER_SIZE + n * DESCRIPTOR_SIZE;
            uint64_t offset = load64_le(d + D_OFFSET);

            /* The identifier and the headers are never in a log: what decides about it would change below it. */
            if (offset < vhdx_region_at[0] || !range_fits(offset, descriptor_len(d), end)) {
                return false;
            }
            zeros += is_zeros(d);
            zeroed += is_zeros(d) ? descriptor_len(d) : 0;
            if (zeros > ZEROS_MAX || zeroed > WORK_MAX * end) {
                return false;
            }
        }
    }
    return true;
}

static int apply_descriptor(BlockNode *file, const uint8_t *d, const uint8_t **sector)
{
    uint64_t offset = load64_le(d + D_OFFSET);
    uint8_t bytes[VHDX_LOG_SECTOR];

    if (is_zeros(d)) {
        return block_pzero(file, offset, descriptor_len(d), 0);
    }
    memcpy(bytes, d + D_LEADING, 8);
    memcpy(bytes + 8, *sector + S_BYTES, S_BYTES_LEN);
    memcpy(bytes + VHDX_LOG_SECTOR - 4, d + D_TRAILING, 4);
    *sector += VHDX_LOG_SECTOR;
    return block_pwrite(file, offset, bytes, sizeof bytes, 0);
}

static int apply(BlockNode *file, const GPtrArray *list)
{
    int ret = may_apply(list, block_node_size(file)) ? 0 : -EINVAL;

    for (unsigned i = 0; i < list->len && ret >= 0; i++) {
        const uint8_t *entry = g_ptr_array_index(list, i), *sector;
        uint32_t count = load32_le(entry + L_DESCRIPTORS);
        uint64_t size = load64_le(entry + L_LAST_SIZE);

        if (size > block_node_size(file) && !block_ptruncate(file, size, false, BLOCK_PREALLOC_OFF, NULL)) {
            return -EIO;
        }
        sector = entry + descriptor_sectors(count) * VHDX_LOG_SECTOR;
        for (uint32_t n = 0; n < count && ret >= 0; n++) {
            ret = apply_descriptor(file, entry + L_HEADER_SIZE + n * DESCRIPTOR_SIZE, &sector);
        }
    }
    return ret < 0 ? ret : block_pflush(file);
}

bool vhdx_log_replay(BlockNode *node, GError **err)
{
    Vhdx *v = node->state;
    BlockNode *file = node->file->node;
    g_autofree uint8_t *bytes = NULL;
    g_autoptr(GPtrArray) list = NULL;
    int ret;

    if (!vhdx_log_check(node, err)) {
        return false;
    }
    bytes = mapped_read_table(file, log_offset(v), log_len(v), "log", err);
    if (!bytes) {
        return false;
    }
    list = find_sequence(&(Log){bytes, log_len(v), v->header + VHDX_H_LOG_GUID, (uint64_t)log_len(v) * WORK_MAX});
    ret = list ? apply(file, list) : 0;
    make_header(v, NULL);
    if (ret >= 0) {
        ret = block_pwrite(file, vhdx_header_at[!v->slot], v->pending, VHDX_HEADER_SIZE, BLOCK_FLAG_FUA);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not replay the log of '%s'", node->filename ? node->filename : node->name);
    }
    vhdx_header_done(node);
    v->replayed = list != NULL;
    return true;
}
