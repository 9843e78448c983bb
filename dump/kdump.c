/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kdump-compressed format, version 6 (makedumpfile's IMPLEMENTATION), in its flattened form, which can be written to
 * a pipe: records of {offset, size, bytes} that rebuild the file.
 *
 *   block 0                    disk_dump_header
 *   block 1                    kdump_sub_header, then the notes
 *   1 + sub_hdr_size           bitmap of frames that are memory, twice (all of them are dumped)
 *   ... + bitmap_blocks        a page descriptor for each set bit
 *   behind them                pages, compressed where that is shorter; zero pages share one
 */
#include <string.h>

#include "dump/dump_int.h"

#define FLAT_HEADER 4096
#define HEADER_UTSNAME 12
#define HEADER_STATUS (8 + 4 + 390 + 22)
#define UTSNAME_FIELD 65
#define SUB_HEADER_SIZE 104
#define DESCRIPTOR_SIZE 24
#define BUFFER (256 * 1024)

/* Records are gathered: small writes one by one would cost a header each. */
typedef struct Stream {
    Dump *dump;
    uint64_t offset; /* in the rebuilt file, of data's first byte */
    GByteArray *data;
} Stream;

typedef struct Kdump {
    Dump *dump;
    Stream descriptors, pages;
    uint64_t zero_page;  /* where the shared one is; 0: not written yet */
    uint8_t *packed;     /* room for a compressed page */
    void *work;          /* memory that compressing needs */
    uint64_t max_frame;  /* highest frame + 1 */
    uint64_t frames;     /* to write */
    uint64_t bitmap_len; /* bytes of one, a multiple of the page */
    uint64_t sub_blocks; /* of sub-header and notes */
} Kdump;

/* ---- the flattened form --------------------------------------------------------------------------- */

static void store_be64(uint8_t *p, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(p, &value, 8);
}

static bool write_record(Dump *dump, uint64_t offset, const void *data, uint64_t size)
{
    uint8_t header[16];

    store_be64(header, offset);
    store_be64(header + 8, size);
    return dump_write(dump, header, sizeof header) && dump_write(dump, data, size);
}

static bool stream_flush(Stream *s)
{
    bool ok = !s->data->len || write_record(s->dump, s->offset, s->data->data, s->data->len);

    s->offset += s->data->len;
    g_byte_array_set_size(s->data, 0);
    return ok;
}

static bool stream_add(Stream *s, const void *bytes, unsigned len)
{
    g_byte_array_append(s->data, bytes, len);
    return s->data->len < BUFFER || stream_flush(s);
}

static uint64_t stream_tell(const Stream *s) { return s->offset + s->data->len; }

static bool write_start(Dump *dump)
{
    uint8_t header[FLAT_HEADER] = "makedumpfile";

    store_be64(header + 16, 1); /* type: flat */
    store_be64(header + 24, 1); /* version */
    return dump_write(dump, header, sizeof header);
}

static bool write_end(Dump *dump)
{
    uint8_t record[16];

    memset(record, 0xff, sizeof record);
    return dump_write(dump, record, sizeof record);
}

/* ---- headers ------------------------------------------------------------------------------------------ */

static bool write_header(Kdump *k)
{
    uint8_t header[DUMP_PAGE] = "KDUMP   ";
    const uint32_t fields[] = {
        k->dump->packer->flag,
        DUMP_PAGE,
        (uint32_t)k->sub_blocks,
        (uint32_t)(2 * k->bitmap_len / DUMP_PAGE),
        (uint32_t)MIN(k->max_frame, UINT32_MAX),
        0, /* total_ram_blocks */
        0, /* device_blocks */
        0, /* written_blocks */
        0, /* current_cpu */
        k->dump->cpus,
    };

    store_le(header + 8, 6, 4);
    strcpy((char *)header + HEADER_UTSNAME + 4 * UTSNAME_FIELD, "x86_64");
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        store_le(header + HEADER_STATUS + 4 * i, fields[i], 4);
    }
    return write_record(k->dump, 0, header, sizeof header);
}

static bool write_sub_header(Kdump *k)
{
    g_autofree uint8_t *sub = g_malloc0(k->sub_blocks * DUMP_PAGE);
    GByteArray *notes = k->dump->notes;

    store_le(sub + 8, 1, 4);                            /* dump_level: zero pages are left out */
    store_le(sub + 48, DUMP_PAGE + SUB_HEADER_SIZE, 8); /* offset_note */
    store_le(sub + 56, notes->len, 8);
    store_le(sub + 96, k->max_frame, 8);
    memcpy(sub + SUB_HEADER_SIZE, notes->data, notes->len);
    return write_record(k->dump, DUMP_PAGE, sub, k->sub_blocks * DUMP_PAGE);
}

/* ---- pages ------------------------------------------------------------------------------------------------ */

/* Calls fn with each page frame that is memory, in ascending order. A page that only partly is memory
 * (no PC has one) is filled up with zeros. */
static bool each_frame(Kdump *k, bool (*fn)(Kdump *k, uint64_t frame, const uint8_t *page))
{
    GArray *blocks = k->dump->blocks;
    uint64_t next = 0;

    for (unsigned i = 0; i < blocks->len; i++) {
        const DumpBlock *b = &g_array_index(blocks, DumpBlock, i);
        uint64_t last = (b->start + b->len - 1) / DUMP_PAGE;

        for (uint64_t frame = MAX(next, b->start / DUMP_PAGE); frame <= last; frame++) {
            uint64_t len = DUMP_PAGE, at = 0;
            uint8_t copy[DUMP_PAGE] = {0};
            const uint8_t *page = dump_memory(k->dump, frame * DUMP_PAGE, &len);

            if (!page || len < DUMP_PAGE) {
                for (at = 0; at < DUMP_PAGE; at++) {
                    uint64_t one = 1;
                    const uint8_t *byte = dump_memory(k->dump, frame * DUMP_PAGE + at, &one);

                    copy[at] = byte ? *byte : 0;
                }
                page = copy;
            }
            if (!fn(k, frame, page)) {
                return false;
            }
        }
        next = last + 1;
    }
    return true;
}

static bool count_frame(Kdump *k, uint64_t frame, const uint8_t *page)
{
    (void)page;
    k->frames++;
    k->max_frame = frame + 1;
    return true;
}

/* Both bitmaps are the same: no frame is left out. */
static bool write_bitmaps(Kdump *k)
{
    g_autofree uint8_t *bitmap = g_malloc0(k->bitmap_len);
    uint64_t offset = (1 + k->sub_blocks) * DUMP_PAGE, next = 0;

    for (unsigned i = 0; i < k->dump->blocks->len; i++) {
        const DumpBlock *b = &g_array_index(k->dump->blocks, DumpBlock, i);
        uint64_t last = (b->start + b->len - 1) / DUMP_PAGE;

        for (uint64_t frame = MAX(next, b->start / DUMP_PAGE); frame <= last; frame++) {
            bitmap[frame / 8] |= (uint8_t)(1u << frame % 8);
        }
        next = last + 1;
    }
    return write_record(k->dump, offset, bitmap, k->bitmap_len) &&
           write_record(k->dump, offset + k->bitmap_len, bitmap, k->bitmap_len);
}

static bool write_page(Kdump *k, uint64_t frame, const uint8_t *page)
{
    static const uint8_t zeros[DUMP_PAGE];
    uint8_t descriptor[DESCRIPTOR_SIZE] = {0};
    const DumpPacker *packer = k->dump->packer;
    bool zero = !memcmp(page, zeros, DUMP_PAGE), packed;
    uint64_t offset = zero && k->zero_page ? k->zero_page : stream_tell(&k->pages);
    bool ok = true;

    (void)frame;
    const size_t packed_len = zero ? 0 : packer->pack(page, k->packed, k->work);
    packed = packed_len && packed_len < DUMP_PAGE;
    store_le(descriptor, offset, 8);
    store_le(descriptor + 8, packed ? packed_len : DUMP_PAGE, 4);
    store_le(descriptor + 12, packed ? packer->flag : 0, 4);
    if (!zero || !k->zero_page) {
        ok = stream_add(&k->pages, packed ? k->packed : page, packed ? (unsigned)packed_len : DUMP_PAGE);
    }
    if (zero) {
        k->zero_page = offset;
    }
    k->dump->done += DUMP_PAGE;
    return ok && stream_add(&k->descriptors, descriptor, sizeof descriptor);
}

bool dump_write_kdump(Dump *dump)
{
    Kdump k = {.dump = dump};

    each_frame(&k, count_frame);
    k.sub_blocks = (SUB_HEADER_SIZE + dump->notes->len + DUMP_PAGE - 1) / DUMP_PAGE;
    k.bitmap_len = (k.max_frame + DUMP_PAGE * 8 - 1) / (DUMP_PAGE * 8) * DUMP_PAGE;
    k.descriptors = (Stream){dump, (1 + k.sub_blocks) * DUMP_PAGE + 2 * k.bitmap_len, g_byte_array_new()};
    k.pages = (Stream){dump, k.descriptors.offset + k.frames * DESCRIPTOR_SIZE, g_byte_array_new()};
    k.packed = g_malloc(dump->packer->bound);
    k.work = g_malloc0(dump->packer->work);
    bool ok = write_start(dump) && write_header(&k) && write_sub_header(&k) && write_bitmaps(&k) &&
              each_frame(&k, write_page) && stream_flush(&k.descriptors) && stream_flush(&k.pages) && write_end(dump);
    g_byte_array_free(k.descriptors.data, true);
    g_byte_array_free(k.pages.data, true);
    g_free(k.packed);
    g_free(k.work);
    return ok;
}
