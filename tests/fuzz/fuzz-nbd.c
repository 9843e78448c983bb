/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile NBD peers. An input damages one of two good streams, a client's or a server's: byte 0 says which,
 * bytes 1 and 2 where it is cut (0: not at all), then come changes: 2 bytes position, 1 byte that is
 * combined with what is there by exclusive or; a fourth byte that is odd inserts it instead. The stream is
 * fed to our server, or to our client, which opens a node over it and uses it. Nothing may crash or hang.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/vm.h"
#include "nbd/proto.h"
#include "nbd/server.h"

#define EXPORT_SIZE (64 * KIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Vm *vm;
static NbdServer *server;
static size_t answered; /* bytes, by our server */
static unsigned worked; /* requests of our client */

/* ---- good streams ---------------------------------------------------------------------------- */

static void add(GByteArray *to, const void *data, size_t len) { g_byte_array_append(to, data, (guint)len); }

static void add32(GByteArray *to, uint32_t value)
{
    uint8_t buf[4];

    store32_be(buf, value);
    add(to, buf, 4);
}

static void add_option(GByteArray *to, uint32_t option, const void *data, uint32_t len)
{
    uint8_t head[NBD_OPTION_LEN];

    nbd_put_option(head, option, len);
    add(to, head, sizeof head);
    add(to, data, len);
}

static void add_request(GByteArray *to, uint16_t type, uint64_t offset, uint32_t len)
{
    uint8_t head[NBD_REQUEST_LEN];

    nbd_put_request(head, &(NbdRequest){.type = type, .cookie = 7, .offset = offset, .len = len});
    add(to, head, sizeof head);
}

static GByteArray *client_stream(void)
{
    static const char context[] = "\0\0\0\0\0\0\0\1\0\0\0\17base:allocation";
    static const uint8_t go[] = {0, 0, 0, 0, 0, 2, 0, 3, 0, 2}, zeros[1000];
    GByteArray *s = g_byte_array_new();

    add32(s, 3);
    add_option(s, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    add_option(s, NBD_OPT_LIST, NULL, 0);
    add_option(s, NBD_OPT_LIST_META_CONTEXT, "\0\0\0\0\0\0\0", 8);
    add_option(s, NBD_OPT_SET_META_CONTEXT, context, sizeof context - 1);
    add_option(s, NBD_OPT_INFO, go, sizeof go);
    add_option(s, NBD_OPT_GO, go, sizeof go);
    add_request(s, NBD_CMD_READ, 4096, 8192);
    add_request(s, NBD_CMD_WRITE, 1, sizeof zeros);
    add(s, zeros, sizeof zeros);
    add_request(s, NBD_CMD_BLOCK_STATUS, 0, EXPORT_SIZE);
    add_request(s, NBD_CMD_WRITE_ZEROES, 512, 512);
    add_request(s, NBD_CMD_TRIM, 0, 512);
    add_request(s, NBD_CMD_CACHE, 0, 512);
    add_request(s, NBD_CMD_FLUSH, 0, 0);
    add_request(s, NBD_CMD_DISC, 0, 0);
    return s;
}

static void add_reply(GByteArray *to, uint32_t option, uint32_t type, const void *data, uint32_t len)
{
    uint8_t head[NBD_OPTION_REPLY_LEN];

    nbd_put_option_reply(head, option, type, len);
    add(to, head, sizeof head);
    add(to, data, len);
}

/* The client numbers its requests from 1; the lower half is the slot. */
static void add_chunk(GByteArray *to, uint32_t serial, uint16_t flags, uint16_t type, const void *data, uint32_t len)
{
    uint8_t head[NBD_CHUNK_LEN];

    nbd_put_chunk(head, &(NbdChunk){.flags = flags, .type = type, .cookie = (uint64_t)serial << 32 | (serial - 1), .len = len});
    add(to, head, sizeof head);
    add(to, data, len);
}

static GByteArray *server_stream(void)
{
    static const uint8_t export[] = {0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x0c, 0xed};
    static const uint8_t blocks[] = {0, 3, 0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0};
    static const uint8_t hole[] = {0, 0, 0, 0, 0, 0, 4, 8, 0, 0, 0x1f, 0xf8};
    static const uint8_t status[] = {0, 0, 0, 9, 0, 0, 0x80, 0, 0, 0, 0, 3};
    static const uint8_t error[] = {0, 0, 0, 5, 0, 3, 'b', 'a', 'd'};
    static const uint8_t piece[] = {0, 0, 0, 0, 0, 0, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    GByteArray *s = g_byte_array_new();
    uint8_t simple[NBD_SIMPLE_LEN];

    add(s, "NBDMAGICIHAVEOPT\0\3", NBD_GREETING_LEN);
    add_reply(s, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL, 0);
    add_reply(s, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\11base:allocation", 19);
    add_reply(s, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, NULL, 0);
    add_reply(s, NBD_OPT_GO, NBD_REP_INFO, export, sizeof export);
    add_reply(s, NBD_OPT_GO, NBD_REP_INFO, blocks, sizeof blocks);
    add_reply(s, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
    add_chunk(s, 1, 0, NBD_CHUNK_DATA, piece, sizeof piece);
    add_chunk(s, 1, NBD_REPLY_FLAG_DONE, NBD_CHUNK_HOLE, hole, sizeof hole);
    nbd_put_simple(simple, 0, UINT64_C(2) << 32 | 1);
    add(s, simple, sizeof simple);
    add_chunk(s, 3, NBD_REPLY_FLAG_DONE, NBD_CHUNK_STATUS, status, sizeof status);
    add_chunk(s, 4, NBD_REPLY_FLAG_DONE, NBD_CHUNK_ERROR, error, sizeof error);
    add_chunk(s, 5, NBD_REPLY_FLAG_DONE, NBD_CHUNK_NONE, NULL, 0);
    return s;
}

static void damage(GByteArray *s, const uint8_t *data, size_t size)
{
    unsigned cut = load16_be(data + 1);

    for (size_t at = 3; size - at >= 4; at += 4) {
        unsigned pos = load16_be(data + at) % s->len;

        if (data[at + 3] & 1) {
            unsigned tail = s->len - pos;

            g_byte_array_set_size(s, s->len + 1);
            memmove(s->data + pos + 1, s->data + pos, tail);
            s->data[pos] = data[at + 2];
        } else {
            s->data[pos] ^= data[at + 2];
        }
    }
    if (cut) {
        g_byte_array_set_size(s, MIN(cut, s->len));
    }
}

/* ---- both sides -------------------------------------------------------------------------------- */

/* One end of a connection that already holds the stream and its end. */
static int prepared(const GByteArray *s, int *other)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ||
        write(fds[1], s->data, s->len) != (ssize_t)s->len) {
        abort();
    }
    shutdown(fds[1], SHUT_WR);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    *other = fds[1];
    return fds[0];
}

static void feed_server(const GByteArray *s)
{
    static uint8_t sink[EXPORT_SIZE];
    int other, fd = prepared(s, &other);
    unsigned rounds = 0;
    ssize_t n;

    nbd_server_add_peer(server, fd);
    while (nbd_server_peers(server)) {
        loop_run_once(vm->loop, 0);
        while ((n = read(other, sink, sizeof sink)) > 0) {
            answered += (size_t)n;
        }
        g_assert_cmpuint(++rounds, <, 100000); /* it waits for something that cannot come */
    }
    close(other);
}

static void request_done(BlockIo *io, int result)
{
    io->result = result;
    io->opaque = NULL;
}

static void feed_client(const GByteArray *s)
{
    static uint8_t buf[EXPORT_SIZE];
    static const int expected[] = {0, 0, 0, -EIO, 0}; /* as the good stream says */
    int other, fd = prepared(s, &other);
    g_autofree char *text = g_strdup_printf("driver=nbd,server.type=fd,server.str=%d,discard=unmap", fd);
    BlockOpts *opts = block_opts_parse(text, NULL, NULL);
    BlockNode *node = block_node_open(vm, opts, NULL, NULL);
    BlockStatus status = {0};
    struct iovec iov[] = {{buf, 8192}, {buf, 512}, {NULL, 0}, {buf, 512}};
    BlockIo ios[] = {
        {.op = BLOCK_READ, .offset = 1024, .len = 8192, .iov = &iov[0], .iov_count = 1},
        {.op = BLOCK_WRITE, .len = 512, .iov = &iov[1], .iov_count = 1, .fua = true},
        {.op = BLOCK_STATUS, .len = EXPORT_SIZE, .status = &status},
        {.op = BLOCK_READ, .len = 512, .iov = &iov[3], .iov_count = 1},
        {.op = BLOCK_FLUSH},
    };

    block_opts_free(opts);
    /* All at once: the answers are there already. */
    for (unsigned i = 0; node && i < G_N_ELEMENTS(ios); i++) {
        ios[i].done = request_done;
        ios[i].opaque = node;
        block_node_submit(node, &ios[i]);
    }
    for (unsigned i = 0; node && i < G_N_ELEMENTS(ios); i++) {
        while (ios[i].opaque) {
            g_assert_true(block_loop_wait(node->loop));
        }
        worked += ios[i].result == expected[i];
    }
    if (node) {
        block_pzero(node, 0, 512, BLOCK_FLAG_MAY_UNMAP);
        block_pdiscard(node, 0, 4096);
        block_node_unref(node);
    }
    close(other);
}

static void begin(void)
{
    BlockOpts *opts = block_opts_parse("driver=null-co,node-name=n,read-zeroes=on,size=65536", NULL, NULL);
    BlockNode *node;

    vm = vm_new(NULL);
    node = block_node_open(vm, opts, NULL, NULL);
    block_opts_free(opts);
    server = nbd_server_new(vm, &(NbdServerConfig){0});
    g_assert_nonnull(nbd_export_add(server, &(NbdExportConfig){.name = "", .description = "of the fuzzer", .node = node,
                                                             .writable = true, .allocation_depth = true}, NULL));
    block_node_unref(node);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    GByteArray *s;

    if (size < 3 || size > 300) {
        return 0;
    }
    if (!vm) {
        begin();
    }
    s = data[0] & 1 ? server_stream() : client_stream();
    damage(s, data, size);
    if (data[0] & 1) {
        feed_client(s);
    } else {
        feed_server(s);
    }
    g_byte_array_unref(s);
    return 0;
}

#ifndef FUZZING

/* The undamaged streams, each cut everywhere; then random damage. */
int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 4000, seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    uint8_t data[3 + 4 * 6];

    /* What damaged connections are called. */
    if (!freopen("/dev/null", "w", stderr)) {
        return 1;
    }
    printf("1..3\n");
    LLVMFuzzerTestOneInput((uint8_t[]){0, 0, 0}, 3);
    LLVMFuzzerTestOneInput((uint8_t[]){1, 0, 0}, 3);
    printf("%sok 1 - the good streams are understood: %u requests, %zu bytes\n",
           worked == 5 && answered > 600 ? "" : "not ", worked, answered);
    for (unsigned cut = 0; cut < 1500; cut++) {
        for (uint8_t side = 0; side < 2; side++) {
            LLVMFuzzerTestOneInput((uint8_t[]){side, (uint8_t)(cut >> 8), (uint8_t)cut}, 3);
        }
    }
    printf("ok 2 - streams that end anywhere\n");
    for (unsigned i = seed; i < seed + rounds; i++) {
        GRand *rand = g_rand_new_with_seed(i);
        size_t n = 3 + 4 * (size_t)g_rand_int_range(rand, 1, 7);

        for (size_t b = 0; b < n; b++) {
            data[b] = (uint8_t)g_rand_int(rand);
        }
        data[1] = data[2] = 0;
        g_rand_free(rand);
        LLVMFuzzerTestOneInput(data, n);
    }
    printf("ok 3 - %u damaged streams\n", rounds);
    nbd_server_free(server);
    blk_cleanup(vm);
    vm_free(vm);
    return worked >= 5 && answered > 600 ? 0 : 1;
}

#endif
