/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests and replies on the wire. Requests are sent in the order they come, replies may come in any
 * order. What the server sends is checked against what was asked before anything is taken from it; a
 * reply that cannot be right ends the connection, because nothing after it can be trusted.
 */
#include <errno.h>
#include <sys/epoll.h>

#include "nbd/client.h"

#define MAX_IOV 64
#define MAX_ERROR_PAYLOAD (6 + NBD_MAX_NAME + 8)
#define MAX_STATUS_PAYLOAD (4 + 512 * NBD_EXTENT_LEN)
#define MAX_SPANS 1024 /* of a read at once: servers send what lies side by side one after the other */

/* ---- slots ---------------------------------------------------------------------------------- */

static NbdSlot *slot_of_cookie(NbdClient *c, uint64_t cookie)
{
    NbdSlot *slot = (uint32_t)cookie < NBD_SLOTS ? &c->slots[(uint32_t)cookie] : NULL;

    return slot && slot->io && slot->cookie == cookie ? slot : NULL;
}

static uint16_t wire_flags(const NbdClient *c, const BlockIo *io)
{
    bool writes = io->op == BLOCK_WRITE || io->op == BLOCK_ZERO;
    uint16_t flags = writes && io->fua ? NBD_CMD_FLAG_FUA : 0;

    if (io->op == BLOCK_ZERO) {
        flags |= io->may_unmap ? 0 : NBD_CMD_FLAG_NO_HOLE;
        flags |= io->no_fallback && (c->info.flags & NBD_FLAG_SEND_FAST_ZERO) ? NBD_CMD_FLAG_FAST_ZERO
                                                                            : 0;
    }
    return io->op == BLOCK_STATUS ? NBD_CMD_FLAG_REQ_ONE : flags;
}

static void slot_fill(NbdClient *c, unsigned index, BlockIo *io)
{
    static const uint16_t types[] = {
        [BLOCK_READ] = NBD_CMD_READ,       [BLOCK_WRITE] = NBD_CMD_WRITE,
        [BLOCK_FLUSH] = NBD_CMD_FLUSH,     [BLOCK_DISCARD] = NBD_CMD_TRIM,
        [BLOCK_ZERO] = NBD_CMD_WRITE_ZEROES, [BLOCK_STATUS] = NBD_CMD_BLOCK_STATUS,
    };
    NbdSlot *slot = &c->slots[index];
    NbdRequest request = {.flags = wire_flags(c, io),
                          .type = types[io->op],
                          .cookie = (uint64_t)++c->serial << 32 | index,
                          .offset = io->op == BLOCK_FLUSH ? 0 : io->offset,
                          .len = io->op == BLOCK_FLUSH ? 0 : (uint32_t)io->len};

    *slot = (NbdSlot){.io = io, .cookie = request.cookie, .received = slot->received};
    if (slot->received) {
        g_array_set_size(slot->received, 0);
    }
    nbd_put_request(slot->header, &request);
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Adds [pos, pos + len) of io's buffers; how much of it was added. */
static uint64_t add_slice(struct iovec *to, unsigned *n, const BlockIo *io, uint64_t pos, uint64_t len)
{
    uint64_t added = 0;

    for (unsigned i = 0; i < io->iov_count && *n < MAX_IOV && added < len; i++) {
        size_t have = io->iov[i].iov_len;

        if (pos >= have) {
            pos -= have;
            continue;
        }
        have = MIN(have - pos, len - added);
        to[(*n)++] = (struct iovec){(char *)io->iov[i].iov_base + pos, have};
        added += have;
        pos = 0;
    }
    return added;
}

static uint64_t tx_size(const NbdSlot *slot)
{
    return NBD_REQUEST_LEN + (slot->io->op == BLOCK_WRITE ? slot->io->len : 0);
}

static unsigned tx_gather(NbdClient *c, struct iovec *iov)
{
    uint64_t skip = c->tx_done;
    unsigned n = 0;

    for (unsigned i = 0; i < c->tx_len && n < MAX_IOV; i++) {
        NbdSlot *slot = &c->slots[c->tx[i]];

        if (skip < NBD_REQUEST_LEN) {
            iov[n++] = (struct iovec){slot->header + skip, NBD_REQUEST_LEN - skip};
            skip = NBD_REQUEST_LEN;
        }
        if (slot->io->op == BLOCK_WRITE) {
            uint64_t pos = skip - NBD_REQUEST_LEN, len = slot->io->len - pos;

            if (add_slice(iov, &n, slot->io, pos, len) < len) {
                break;
            }
        }
        skip = 0;
    }
    return n;
}

static void tx_advance(NbdClient *c, uint64_t sent)
{
    unsigned whole = 0;

    c->tx_done += sent;
    c->moved += sent;
    while (whole < c->tx_len && c->tx_done >= tx_size(&c->slots[c->tx[whole]])) {
        c->tx_done -= tx_size(&c->slots[c->tx[whole++]]);
    }
    c->tx_len -= whole;
    memmove(c->tx, c->tx + whole, c->tx_len * sizeof c->tx[0]);
}

static void update_events(NbdClient *c, bool want_write)
{
    if (c->want_write != want_write) {
        c->want_write = want_write;
        block_fd_set_events(c->source, EPOLLIN | (want_write ? EPOLLOUT : 0));
    }
}

static void transmit(NbdClient *c)
{
    while (c->conn && c->tx_len) {
        struct iovec iov[MAX_IOV];
        ssize_t ret = nbd_conn_writev(c->conn, iov, tx_gather(c, iov));

        if (ret == -EAGAIN) {
            break;
        }
        if (ret < 0) {
            nbd_client_lost(c, g_strerror((int)-ret));
            return;
        }
        tx_advance(c, (uint64_t)ret);
    }
    if (c->conn) {
        update_events(c, c->tx_len != 0);
    }
}

static void wait_for_turn(NbdClient *c, BlockIo *io)
{
    io->next = NULL;
    *c->waiting_tail = io;
    c->waiting_tail = &io->next;
    c->n_waiting++;
}

static BlockIo *next_waiting(NbdClient *c)
{
    BlockIo *io = c->waiting;

    c->waiting = io->next;
    if (!c->waiting) {
        c->waiting_tail = &c->waiting;
    }
    c->n_waiting--;
    return io;
}

static void start_waiting(NbdClient *c)
{
    for (unsigned i = 0; c->waiting && c->in_flight < NBD_SLOTS; i++) {
        if (!c->slots[i].io) {
            slot_fill(c, i, next_waiting(c));
            c->in_flight++;
            c->tx[c->tx_len++] = i;
        }
    }
}

void nbd_client_send(NbdClient *c, BlockIo *io)
{
    if (!c->conn && c->failing) {
        block_io_finish_later(c->node, io, -EIO);
        return;
    }
    wait_for_turn(c, io);
    if (c->conn) {
        start_waiting(c);
        transmit(c);
    }
}

/* ---- what of a read has come ------------------------------------------------------------------ */

/*
 * Adds [from, from + len). False: some of it came before, or there are too many pieces. Each byte comes once, so a read
 * of which all bytes were counted has no byte that nobody wrote.
 */
static bool span_add(NbdSlot *slot, uint64_t from, uint64_t len)
{
    const uint64_t to = from + len;
    NbdSpan *spans;
    unsigned n, at;

    slot->received = slot->received ? slot->received : g_array_new(false, false, sizeof(NbdSpan));
    spans = (NbdSpan *)(void *)slot->received->data;
    n = at = slot->received->len;
    while (at && spans[at - 1].from >= to) {
        at--;
    }
    /* spans[at] begins behind it, spans[at - 1] before its end. */
    if (at && spans[at - 1].to > from) {
        return false;
    }
    const bool before = at && spans[at - 1].to == from, behind = at < n && spans[at].from == to;
    if (before && behind) {
        spans[at - 1].to = spans[at].to;
        g_array_remove_index(slot->received, at);
    } else if (before) {
        spans[at - 1].to = to;
    } else if (behind) {
        spans[at].from = from;
    } else if (n == MAX_SPANS) {
        return false;
    } else {
        g_array_insert_val(slot->received, at, ((NbdSpan){from, to}));
    }
    return true;
}

static bool is_whole(const NbdSlot *slot)
{
    const NbdSpan *span = slot->received && slot->received->len == 1 ? (const NbdSpan *)(const void *)slot->received->data : NULL;

    return span && !span->from && span->to == slot->io->len;
}

/* ---- replies -------------------------------------------------------------------------------- */

static void slot_end(NbdClient *c, NbdSlot *slot)
{
    BlockIo *io = slot->io;
    int result = slot->error;

    if (!result && io->op == BLOCK_READ && !is_whole(slot)) {
        result = -EIO; /* the server left something out */
    }
    if (!result && io->op == BLOCK_STATUS && !slot->got_status) {
        result = -EIO;
    }
    slot->io = NULL;
    c->in_flight--;
    nbd_client_answered(c);
    start_waiting(c);
    transmit(c);
    io->done(io, result);
}

/* A request that is still being sent cannot have been answered. */
static bool is_sent(const NbdClient *c, const NbdSlot *slot)
{
    for (unsigned i = 0; i < c->tx_len; i++) {
        if (&c->slots[c->tx[i]] == slot) {
            return false;
        }
    }
    return true;
}

static const char *rx_simple(NbdClient *c)
{
    uint32_t error;
    uint64_t cookie;
    NbdSlot *slot;

    nbd_get_simple(c->in + c->in_pos, &error, &cookie);
    c->in_pos += NBD_SIMPLE_LEN;
    slot = slot_of_cookie(c, cookie);
    if (!slot || !is_sent(c, slot)) {
        return "a reply to no request";
    }
    if (c->info.structured && slot->io->op == BLOCK_READ) {
        return "a simple reply to a read";
    }
    if (slot->io->op == BLOCK_STATUS && !error) {
        return "a simple reply to a block status request";
    }
    if (error) {
        slot->error = -nbd_error_from_wire(error);
    }
    if (error || slot->io->op != BLOCK_READ) {
        slot_end(c, slot);
        return NULL;
    }
    c->chunk = (NbdChunk){.flags = NBD_REPLY_FLAG_DONE, .type = NBD_CHUNK_DATA};
    c->rx_slot = slot;
    c->rx = NBD_RX_DATA;
    c->rx_pos = 0;
    c->rx_left = slot->io->len;
    return span_add(slot, 0, slot->io->len) ? NULL : "a second reply to a read";
}

static void chunk_end(NbdClient *c)
{
    c->rx = NBD_RX_HEAD;
    if (c->chunk.flags & NBD_REPLY_FLAG_DONE) {
        slot_end(c, c->rx_slot);
    }
}

/* The payload is collected, then rx_payload looks at it. */
static const char *want_payload(NbdClient *c, uint32_t max)
{
    if (c->chunk.len > max) {
        return "a chunk that is too long";
    }
    g_byte_array_set_size(c->payload, 0);
    c->rx = NBD_RX_PAYLOAD;
    c->rx_left = c->chunk.len;
    return NULL;
}

static const char *rx_chunk_head(NbdClient *c)
{
    const NbdChunk *chunk = &c->chunk;
    BlockOp op;

    nbd_get_chunk(c->in + c->in_pos, &c->chunk);
    c->in_pos += NBD_CHUNK_LEN;
    c->rx_slot = slot_of_cookie(c, chunk->cookie);
    if (!c->rx_slot || !is_sent(c, c->rx_slot)) {
        return "a chunk for no request";
    }
    if (!c->info.structured) {
        return "a chunk although none were agreed upon";
    }
    op = c->rx_slot->io->op;
    switch (chunk->type) {
    case NBD_CHUNK_NONE:
        if (chunk->len || !(chunk->flags & NBD_REPLY_FLAG_DONE)) {
            return "a malformed empty chunk";
        }
        chunk_end(c);
        return NULL;
    case NBD_CHUNK_DATA:
        if (op != BLOCK_READ || chunk->len <= 8) {
            return "a malformed data chunk";
        }
        c->rx = NBD_RX_OFFSET;
        return NULL;
    case NBD_CHUNK_HOLE:
        return op == BLOCK_READ && chunk->len == 12 ? want_payload(c, 12) : "a malformed hole chunk";
    case NBD_CHUNK_STATUS:
        return op == BLOCK_STATUS ? want_payload(c, MAX_STATUS_PAYLOAD) : "an unasked status chunk";
    default:
        return NBD_CHUNK_IS_ERROR(chunk->type) ? want_payload(c, MAX_ERROR_PAYLOAD)
                                               : "a chunk of an unknown type";
    }
}

/* Does the read that a chunk belongs to have this range, and has it not come before? It is counted then. */
static bool take_range(NbdSlot *slot, uint64_t offset, uint64_t len)
{
    const BlockIo *io = slot->io;

    return len && offset >= io->offset && range_fits(offset - io->offset, len, io->len) &&
           span_add(slot, offset - io->offset, len);
}

static const char *rx_offset(NbdClient *c)
{
    uint64_t offset = load64_be(c->in + c->in_pos), len = c->chunk.len - 8;

    c->in_pos += 8;
    if (!take_range(c->rx_slot, offset, len)) {
        return "data that were not asked for";
    }
    c->rx = NBD_RX_DATA;
    c->rx_pos = offset - c->rx_slot->io->offset;
    c->rx_left = len;
    return NULL;
}

static const char *take_hole(NbdSlot *slot, const uint8_t *p)
{
    uint64_t offset = load64_be(p), len = load32_be(p + 8);
    const BlockIo *io = slot->io;

    if (!take_range(slot, offset, len)) {
        return "a hole that was not asked for";
    }
    iov_fill(io->iov, io->iov_count, offset - io->offset, 0, len);
    return NULL;
}

static const char *take_status(NbdClient *c, NbdSlot *slot)
{
    const uint8_t *p = c->payload->data;
    BlockIo *io = slot->io;
    uint32_t context, len, flags;

    if (slot->got_status || !nbd_status_payload_ok(p, c->payload->len, &context) ||
        context != c->info.context) {
        return "a malformed status chunk";
    }
    len = load32_be(p + 4);
    flags = load32_be(p + 8);
    if (c->info.min_block && len % c->info.min_block) {
        return "an extent that ends within a block";
    }
    slot->got_status = true;
    *io->status = (BlockStatus){.bytes = MIN(len, io->len),
                                /* neither data nor zeros (what a bitmap calls dirty): as QEMU's driver */
                                .allocated = !(flags & NBD_STATE_HOLE) || flags & NBD_STATE_ZERO,
                                .data = !(flags & NBD_STATE_HOLE),
                                .zero = flags & NBD_STATE_ZERO,
                                .has_offset = !(flags & NBD_STATE_HOLE) || flags & NBD_STATE_ZERO,
                                .host_offset = io->offset,
                                .file = c->node};
    return NULL;
}

static const char *rx_payload(NbdClient *c)
{
    const char *wrong = NULL;
    NbdSlot *slot = c->rx_slot;
    uint32_t error = 0;

    if (c->chunk.type == NBD_CHUNK_HOLE) {
        wrong = take_hole(slot, c->payload->data);
    } else if (c->chunk.type == NBD_CHUNK_STATUS) {
        wrong = take_status(c, slot);
    } else {
        g_autofree char *message = NULL;

        if (!nbd_get_error_chunk(&c->chunk, c->payload->data, &error, &message)) {
            return "a malformed error chunk";
        }
        slot->error = slot->error ? slot->error : -nbd_error_from_wire(error);
    }
    if (!wrong) {
        chunk_end(c);
    }
    return wrong;
}

/* ---- receiving ------------------------------------------------------------------------------ */

/* What the buffered bytes go into; true: something happened. */
static bool rx_step(NbdClient *c, const char **wrong)
{
    const uint8_t *p = c->in + c->in_pos;
    size_t have = c->in_len - c->in_pos;

    switch (c->rx) {
    case NBD_RX_HEAD:
        if (have >= NBD_SIMPLE_LEN && load32_be(p) == NBD_SIMPLE_MAGIC) {
            *wrong = rx_simple(c);
        } else if (have >= NBD_CHUNK_LEN && load32_be(p) == NBD_CHUNK_MAGIC) {
            *wrong = rx_chunk_head(c);
        } else if (have >= 4 && load32_be(p) != NBD_CHUNK_MAGIC && load32_be(p) != NBD_SIMPLE_MAGIC) {
            *wrong = "something that is no reply";
        } else {
            return false;
        }
        return true;
    case NBD_RX_OFFSET:
        if (have >= 8) {
            *wrong = rx_offset(c);
        }
        return have >= 8;
    case NBD_RX_DATA: {
        const BlockIo *io = c->rx_slot->io;
        size_t n = (size_t)MIN(have, c->rx_left);

        iov_from_buf(io->iov, io->iov_count, c->rx_pos, p, n);
        c->in_pos += n;
        c->rx_pos += n;
        c->rx_left -= n;
        if (!c->rx_left) {
            chunk_end(c);
            return true;
        }
        return n > 0;
    }
    case NBD_RX_PAYLOAD:
    default: {
        size_t n = (size_t)MIN(have, c->rx_left);

        g_byte_array_append(c->payload, p, (guint)n);
        c->in_pos += n;
        c->rx_left -= n;
        if (!c->rx_left) {
            *wrong = rx_payload(c);
            return true;
        }
        return n > 0;
    }
    }
}

/* One read from the socket; data of a request go straight to where they belong. */
static ssize_t rx_fill(NbdClient *c)
{
    struct iovec iov[MAX_IOV + 1];
    uint64_t direct = 0;
    unsigned n = 0;
    ssize_t ret;

    memmove(c->in, c->in + c->in_pos, c->in_len - c->in_pos);
    c->in_len -= c->in_pos;
    c->in_pos = 0;
    if (c->rx == NBD_RX_DATA && !c->in_len) {
        direct = add_slice(iov, &n, c->rx_slot->io, c->rx_pos, c->rx_left);
    }
    if (direct == 0 || direct == c->rx_left) {
        iov[n++] = (struct iovec){c->in + c->in_len, NBD_INPUT - c->in_len};
    }
    ret = nbd_conn_readv(c->conn, iov, n);
    if (ret > 0) {
        uint64_t placed = MIN((uint64_t)ret, direct);

        c->rx_pos += placed;
        c->rx_left -= placed;
        c->in_len += (size_t)ret - placed;
        c->moved += (uint64_t)ret;
    }
    return ret;
}

/* The callbacks of a request may submit others and wait for them, which comes back to here. */
static void receive(NbdClient *c)
{
    for (unsigned budget = 64; budget && c->conn; budget--) {
        const NbdConn *conn = c->conn;
        const char *wrong = NULL;
        ssize_t ret;

        while (c->conn == conn && rx_step(c, &wrong) && !wrong) {
        }
        if (c->conn != conn) {
            return;
        }
        if (wrong) {
            g_autofree char *why = g_strdup_printf("it sent %s", wrong);

            nbd_client_lost(c, why);
            return;
        }
        ret = rx_fill(c);
        if (ret == -EAGAIN) {
            return;
        }
        if (ret <= 0) {
            nbd_client_lost(c, ret ? g_strerror((int)-ret) : "it closed the connection");
            return;
        }
    }
}

static void on_socket(void *opaque, uint32_t events)
{
    NbdClient *c = opaque;

    if (events & ~(uint32_t)EPOLLOUT) {
        do {
            receive(c);
        } while (c->conn && nbd_conn_pending(c->conn));
    }
    if (c->conn) {
        transmit(c);
    }
}

/* ---- the connection comes and goes ------------------------------------------------------------ */

void nbd_client_watch(NbdClient *c)
{
    c->want_write = false;
    c->source = block_fd_add(c->node->loop, c->conn->fd, EPOLLIN, on_socket, c);
}

void nbd_client_connected(NbdClient *c)
{
    nbd_client_watch(c);
    start_waiting(c);
    transmit(c);
}

void nbd_client_io_reset(NbdClient *c)
{
    c->tx_len = 0;
    c->tx_done = 0;
    c->rx = NBD_RX_HEAD;
    c->in_pos = c->in_len = 0;
    c->rx_slot = NULL;
    for (unsigned i = 0; i < NBD_SLOTS; i++) {
        if (c->slots[i].io) {
            wait_for_turn(c, c->slots[i].io);
            c->slots[i].io = NULL;
        }
    }
    c->in_flight = 0;
}

void nbd_client_fail_waiting(NbdClient *c)
{
    while (c->waiting) {
        block_io_finish_later(c->node, next_waiting(c), -EIO);
    }
}
