/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ATAPI in process: a CD-ROM's packets and reads; the state of the controller and both of its drives. */
#include "tests/unit/ide-fixture.h"

/* ---- packets -------------------------------------------------------------------------------- */

static void expect_reply(Fixture *f, const char *cdb_hex, const char *reply_hex)
{
    uint8_t cdb[12] = {0}, reply[4096], status;
    g_autoptr(GString) text = g_string_new(NULL);
    size_t len;

    for (unsigned i = 0; cdb_hex[2 * i]; i++) {
        cdb[i] = (uint8_t)(g_ascii_xdigit_value(cdb_hex[2 * i]) << 4 |
                           g_ascii_xdigit_value(cdb_hex[2 * i + 1]));
    }
    len = packet(f, 0xfffe, cdb, reply, &status);
    for (size_t i = 0; i < len; i++) {
        g_string_append_printf(text, "%02x", reply[i]);
    }
    if (*reply_hex == '!') {
        /* "!kk": error with this sense key and code. */
        g_assert_cmphex(status, ==, 0x41);
        reply_hex++;
        g_assert_cmphex(inb(f, CD_BASE + 1) >> 4, ==, (unsigned)g_ascii_xdigit_value(*reply_hex));
        return;
    }
    g_assert_cmphex(status, ==, 0x50);
    g_assert_cmpstr(text->str, ==, reply_hex);
}

/* Replies recorded from QEMU 7.2 with a medium of 512 sectors. */
static void test_packets(Fixture *f, const void *data)
{
    static const char *const table[][2] = {
        {"00", ""},
        {"0300000012", "f00000000000000a00000000000000000000"},
        {"1200000024", "058000211f00000051454d552020202051454d55204456442d524f4d20202020322e352b"},
        {"1200000060", "058000211f00000051454d552020202051454d55204456442d524f4d20202020322e352b"},
        {"1201000060", "050000020083"},
        {"1201830060", "0583001802000014514d303030303320202020202020202020202020"},
        {"1201800060", "!5"},
        {"0300000012", "f00005000000000a00000000240000000000"},
        {"25", "000001ff00000800"},
        {"43000000000000004000", "0012010100140100000000000016aa0000000200"},
        {"43020000000000004000", "0012010100140100000002000016aa000000083e"},
        {"430000000000aa004000", "000a01010016aa0000000200"},
        {"43000000000000004040", "000a01010000000000000000"},
        {"43000000000000004080", "002e0101011400a000000000010000011400a100000000010000011400a200000"
                                 "0000002000114000100000000000000"},
        {"5a000100000000008000", "000e7000000000000106000500000000"},
        {"5a002a00000000008000", "001c7000000000002a143b007160290002c00002020002c0000000000000"},
        {"5a003f00000000008000", "!5"},
        {"4a010000100000000800", "0004041000020000"},
        {"4a000000100000000800", "!5"},
        {"4a010000010000000800", "00008010"},
        {"4600000000000000ff00", "0000001000000008000003080010000000080100"},
        {"bd000000000000000008", "0000000000010000"},
        {"51000000000000004000",
         "00200e01010101200000000000000000000000000000000000000000000000000000"},
        {"ad000000000000000040", "!5"},
        {"ad000000000000ff0040", "001200000040080401400008034000c004400804"},
        {"280000000200000001", "!5"},
        {"0300000012", "f00005000000000a00000000210000000000"},
        {"be000000000100000100", ""},
        {"be000000000100000158", "!5"},
        {"2b", ""},
        {"35", "!5"},
        {"1e00000001", ""},
        {"1b00000002", "!2"},
        {"0300000012", "f00002000000000a00000000530000000000"},
        {"1e00000000", ""},
        {"1b00000002", ""},
        {"00", "!2"},
        {"4a010000100000000800", "0004041000010000"},
        {"1b00000003", ""},
        {"00", ""},
        {"55", "!5"},
    };

    (void)data;
    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        g_test_message("%s", table[i][0]);
        expect_reply(f, table[i][0], table[i][1]);
    }
}

static void test_cd_identify(Fixture *f, const void *data)
{
    uint8_t id[512];

    (void)data;
    g_assert_cmphex(inb(f, 0x174), ==, 0x14);
    g_assert_cmphex(inb(f, 0x175), ==, 0xeb);
    g_assert_cmphex(command(f, CD_BASE, 0xec), ==, 0x41);
    g_assert_cmphex(command(f, CD_BASE, 0xa1), ==, 0x58);
    read_data(f, CD_BASE, id, 512);
    g_assert_cmphex(word(id, 0), ==, 0x85c0);
    g_assert_cmphex(word(id, 49), ==, 0x0300);
    g_assert_true(!memcmp(id + 54, "EQUMD DVR-MO", 12));
    g_assert_cmphex(command(f, CD_BASE, 0x08), ==, 0x00);
    g_assert_cmphex(inb(f, 0x174), ==, 0x14);
}

static void test_cd_read(Fixture *f, const void *data)
{
    uint8_t cdb[12] = {0x28, 0, 0, 0, 0, 7, 0, 0, 100}, status;
    g_autofree uint8_t *buf = g_malloc(300000);

    (void)data;
    /* More than the buffer holds, in odd pieces. */
    g_assert_cmpuint(packet(f, 3001, cdb, buf, &status), ==, 204800);
    g_assert_cmphex(status, ==, 0x50);
    for (unsigned i = 0; i < 100; i++) {
        g_assert_cmpint(buf[i * 2048], ==, (int)i + 8);
        g_assert_cmpint(buf[i * 2048 + 2047], ==, (int)i + 8);
    }
    cdb[8] = 2;
    memset(buf, 0, 4096);
    store_prd(f, 0, BUF, 2048 + 512, false);
    store_prd(f, 1, BUF + 0x2000, 2048 - 512, true);
    send_packet(f, 1, 0, cdb);
    start_dma(f, BM + 8, true);
    wait_dma(f, CD_BASE);
    g_assert_cmphex(inb(f, 0x177), ==, 0x50);
    g_assert_cmphex(inb(f, BM + 8 + 2), ==, 0x04);
    g_assert_cmpint(memory_byte(f, BUF), ==, 8);
    g_assert_cmpint(memory_byte(f, BUF + 0x2000 + 2047 - 512), ==, 9);
    outb(f, BM + 8, 0);
    /* INQUIRY by DMA. */
    memset(cdb, 0, sizeof cdb);
    cdb[0] = 0x12;
    cdb[4] = 36;
    store_prd(f, 0, BUF, 36, true);
    send_packet(f, 1, 0, cdb);
    start_dma(f, BM + 8, true);
    g_assert_cmphex(wait_ready(f, CD_BASE), ==, 0x50);
    g_assert_cmpint(memory_byte(f, BUF + 8), ==, 'Q');
    outb(f, BM + 8, 0);
    /* A raw frame. */
    memset(cdb, 0, sizeof cdb);
    cdb[0] = 0xbe;
    cdb[5] = 1;
    cdb[8] = 1;
    cdb[9] = 0xf8;
    g_assert_cmpuint(packet(f, 0xfffe, cdb, buf, &status), ==, 2352);
    g_assert_true(!memcmp(buf, "\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\2\1\1\2\2", 18));
}

/* ---- state ---------------------------------------------------------------------------------- */

static void save(Fixture *f, GByteArray *out_bytes)
{
    blk_drain_all(f->vm);
    state_save_fields(type_state(f->piix->obj.type), f->piix, out_bytes);
}

/* In the middle of a PIO read and of a packet reply, into a fresh machine. */
static void test_state(Fixture *f, const void *data)
{
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    uint8_t cdb[12] = {0x12, 0, 0, 0, 36};
    GError *err = NULL;

    (void)data;
    task_file(f, HD_BASE, 0, 2, 5);
    g_assert_cmphex(command(f, HD_BASE, 0x20), ==, 0x58);
    in(f, 0x1f0, 2);
    g_assert_cmphex(send_packet(f, 0, 20, cdb), ==, 0x58);
    in(f, 0x170, 4);
    in(f, 0x170, 4);
    save(f, first);
    free_machine(f);
    setup_machine(f, "index=0");
    state_load_fields(type_state(f->piix->obj.type), f->piix, 3, first->data, first->len, &err);
    g_assert_no_error(err);
    save(f, second);
    g_assert_cmpmem(first->data, first->len, second->data, second->len);
    for (unsigned i = 1; i < 256; i++) {
        g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x0606);
    }
    g_assert_cmphex(wait_ready(f, HD_BASE), ==, 0x58);
    g_assert_cmphex(in(f, 0x1f0, 2), ==, 0x0707);
    g_assert_cmphex(in(f, 0x170, 4), ==, 0x554d4551); /* "QEMU" */
    for (unsigned i = 0; i < 2; i++) {
        in(f, 0x170, 4);
    }
    g_assert_cmphex(wait_ready(f, CD_BASE), ==, 0x58);
    g_assert_cmphex(inb(f, 0x174), ==, 16);
    /* A window that is not in the buffer is refused. */
    {
        uint8_t *p = first->data;

        for (size_t i = 0; i + 4 < first->len; i++) {
            if (load32_be(p + i) == 512 - 2 && load32_be(p + i - 4) == 2) {
                store32_be(p + i - 4, 131076);
            }
        }
        g_assert_false(
            state_load_fields(type_state(f->piix->obj.type), f->piix, 3, p, first->len, &err));
        g_assert_nonnull(err);
        g_clear_error(&err);
    }
}

/* Takes bytes of the reply; each must be the sector's number + 1. *at: the reply's next byte. */
static void take(Fixture *f, uint32_t *at, uint32_t bytes)
{
    for (; bytes; bytes -= 2, *at += 2) {
        if (*at % 2048 == 0) {
            g_assert_cmphex(wait_ready(f, CD_BASE), ==, 0x58);
        }
        g_assert_cmphex(in(f, 0x170, 2), ==, 0x0101u * (uint8_t)(10 + *at / 2048 + 1));
    }
}

/* In the middle of a long read of a CD: Kiln's state knows where to go on; in one of QEMU's, which
 * has a sector and no more, the command fails. */
static void test_state_of_read(Fixture *f, const void *data)
{
    const uint8_t magic[] = {0x61, 0x74, 0x61, 0x70, 0x69, 0x4b, 0x69, 0x6c};
    g_autoptr(GByteArray) state = g_byte_array_new();
    uint8_t read[12] = {0x28, 0, 0, 0, 0, 10, 0, 0, 100}, sense[12] = {0x03, 0, 0, 0, 18};
    uint8_t reply[64], status;
    uint32_t at = 0;
    unsigned notes = 0;
    GError *err = NULL;

    g_assert_cmphex(send_packet(f, 0, 2048, read), ==, 0x58);
    take(f, &at, 2048 + 100);
    save(f, state);
    free_machine(f);
    setup_machine(f, "index=0");
    g_assert_true(state_load_fields(type_state(f->piix->obj.type), f->piix, 3, state->data,
                                    state->len, &err));
    uint32_t later = at;
    take(f, &later, 98 * 2048 + 2048 - 100);
    g_assert_cmphex(wait_ready(f, CD_BASE), ==, 0x50);
    for (size_t i = 0; i + sizeof magic < state->len; i++) {
        if (!memcmp(state->data + i, magic, sizeof magic)) {
            state->data[i] ^= 1;
            notes++;
        }
    }
    g_assert_cmpuint(notes, ==, 1);
    g_assert_true(state_load_fields(type_state(f->piix->obj.type), f->piix, 3, state->data,
                                    state->len, &err));
    take(f, &at, 2048 - 100);
    g_assert_cmphex(wait_ready(f, CD_BASE), ==, 0x41);
    g_assert_cmpuint(packet(f, 0xfffe, sense, reply, &status), ==, 18);
    g_assert_cmphex(reply[2], ==, 3);
    g_assert_cmphex(reply[12], ==, 0x11);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    IDE_ADD("cd-identify", test_cd_identify);
    IDE_ADD("packets", test_packets);
    IDE_ADD("cd-read", test_cd_read);
    IDE_ADD("state", test_state);
    IDE_ADD("state-of-read", test_state_of_read);
    return g_test_run();
}
