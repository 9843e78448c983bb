/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NBD protocol, "fixed newstyle": numbers, and what lies on the wire as structs. Specification:
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 *
 *   server: NBDMAGIC IHAVEOPT flags(16)                client: flags(32)
 *   client: IHAVEOPT option(32) length(32) data        server: magic option type length data, once or more
 *   ... until NBD_OPT_GO or NBD_OPT_EXPORT_NAME, then
 *   client: magic flags type cookie offset length [data], many in flight
 *   server: a simple reply (magic error cookie [data]), or structured ones: chunks
 *           (magic flags type cookie length payload) until one with NBD_REPLY_FLAG_DONE
 *
 * All numbers are big-endian. Not done: oldstyle, NBD_CMD_RESIZE, extended headers.
 */
#ifndef NBD_PROTO_H
#define NBD_PROTO_H

#include "util/error.h"
#include "util/util.h"

#define NBD_PORT "10809"

#define NBD_MAGIC UINT64_C(0x4e42444d41474943)      /* "NBDMAGIC" */
#define NBD_OPTS_MAGIC UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_REP_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC 0x67446698u
#define NBD_CHUNK_MAGIC 0x668e33efu

enum {
    NBD_GREETING_LEN = 18,
    NBD_OPTION_LEN = 16,
    NBD_OPTION_REPLY_LEN = 20,
    NBD_REQUEST_LEN = 28,
    NBD_SIMPLE_LEN = 16,
    NBD_CHUNK_LEN = 20,
    NBD_EXTENT_LEN = 8,
};

#define NBD_MAX_NAME 4096          /* of exports, contexts, descriptions and messages */
#define NBD_MAX_DATA (32 * MIB)    /* of one request or read chunk */
#define NBD_MAX_EXTENTS 131072     /* in one block status chunk */

/* Handshake flags; the server's and the client's have the same numbers. */
enum { NBD_FIXED_NEWSTYLE = 1, NBD_NO_ZEROES = 2 };

enum {
    NBD_OPT_EXPORT_NAME = 1,
    NBD_OPT_ABORT = 2,
    NBD_OPT_LIST = 3,
    NBD_OPT_STARTTLS = 5,
    NBD_OPT_INFO = 6,
    NBD_OPT_GO = 7,
    NBD_OPT_STRUCTURED_REPLY = 8,
    NBD_OPT_LIST_META_CONTEXT = 9,
    NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERR(n) (UINT32_C(0x80000000) | (n))
enum {
    NBD_REP_ACK = 1,
    NBD_REP_SERVER = 2,
    NBD_REP_INFO = 3,
    NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR_UNSUP NBD_REP_ERR(1)
#define NBD_REP_ERR_POLICY NBD_REP_ERR(2)
#define NBD_REP_ERR_INVALID NBD_REP_ERR(3)
#define NBD_REP_ERR_PLATFORM NBD_REP_ERR(4)
#define NBD_REP_ERR_TLS_REQD NBD_REP_ERR(5)
#define NBD_REP_ERR_UNKNOWN NBD_REP_ERR(6)
#define NBD_REP_ERR_SHUTDOWN NBD_REP_ERR(7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERR(8)
#define NBD_REP_ERR_TOO_BIG NBD_REP_ERR(9)

enum { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

/* What an export is like. */
enum {
    NBD_FLAG_HAS_FLAGS = 1 << 0,
    NBD_FLAG_READ_ONLY = 1 << 1,
    NBD_FLAG_SEND_FLUSH = 1 << 2,
    NBD_FLAG_SEND_FUA = 1 << 3,
    NBD_FLAG_ROTATIONAL = 1 << 4,
    NBD_FLAG_SEND_TRIM = 1 << 5,
    NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
    NBD_FLAG_SEND_DF = 1 << 7,
    NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
    NBD_FLAG_SEND_RESIZE = 1 << 9,
    NBD_FLAG_SEND_CACHE = 1 << 10,
    NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

enum {
    NBD_CMD_READ = 0,
    NBD_CMD_WRITE = 1,
    NBD_CMD_DISC = 2,
    NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4,
    NBD_CMD_CACHE = 5,
    NBD_CMD_WRITE_ZEROES = 6,
    NBD_CMD_BLOCK_STATUS = 7,
};
enum {
    NBD_CMD_FLAG_FUA = 1,
    NBD_CMD_FLAG_NO_HOLE = 2,
    NBD_CMD_FLAG_DF = 4,
    NBD_CMD_FLAG_REQ_ONE = 8,
    NBD_CMD_FLAG_FAST_ZERO = 16,
};

enum { NBD_REPLY_FLAG_DONE = 1 };
enum {
    NBD_CHUNK_NONE = 0,
    NBD_CHUNK_DATA = 1,  /* offset(64), then the bytes */
    NBD_CHUNK_HOLE = 2,  /* offset(64), length(32) */
    NBD_CHUNK_STATUS = 5, /* context(32), then extents: length(32), flags(32) */
    NBD_CHUNK_ERROR = 0x8001, /* error(32), message length(16), message */
    NBD_CHUNK_ERROR_OFFSET = 0x8002, /* the same, then offset(64) */
};
#define NBD_CHUNK_IS_ERROR(type) ((type) & 0x8000)

/* Flags of base:allocation's extents. */
enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 };

typedef struct NbdOption {
    uint32_t option, len;
} NbdOption;

typedef struct NbdOptionReply {
    uint32_t option, type, len;
} NbdOptionReply;

typedef struct NbdRequest {
    uint16_t flags, type;
    uint64_t cookie, offset;
    uint32_t len;
} NbdRequest;

typedef struct NbdChunk {
    uint16_t flags, type;
    uint64_t cookie;
    uint32_t len;
} NbdChunk;

/* Each put writes the *_LEN bytes; each get reads them, false when the magic number is wrong. */
void nbd_put_option(uint8_t *buf, uint32_t option, uint32_t len);
bool nbd_get_option(const uint8_t *buf, NbdOption *option);
void nbd_put_option_reply(uint8_t *buf, uint32_t option, uint32_t type, uint32_t len);
bool nbd_get_option_reply(const uint8_t *buf, NbdOptionReply *reply);
void nbd_put_request(uint8_t *buf, const NbdRequest *request);
bool nbd_get_request(const uint8_t *buf, NbdRequest *request);
void nbd_put_simple(uint8_t *buf, uint32_t error, uint64_t cookie);
bool nbd_get_simple(const uint8_t *buf, uint32_t *error, uint64_t *cookie);
void nbd_put_chunk(uint8_t *buf, const NbdChunk *chunk);
bool nbd_get_chunk(const uint8_t *buf, NbdChunk *chunk);

/* What base:allocation's or another context's block status chunk holds: *context, and extents one by
 * one. False: the payload is malformed. */
bool nbd_status_payload_ok(const uint8_t *payload, uint32_t len, uint32_t *context);
/* The message of an error chunk (without control characters; the caller frees) and its number. */
bool nbd_get_error_chunk(const NbdChunk *chunk, const uint8_t *payload, uint32_t *error, char **message);

/* A positive errno as the protocol numbers it, and back (always one of ours, never 0). */
uint32_t nbd_error_to_wire(int errnum);
int nbd_error_from_wire(uint32_t error);

/* For messages. */
const char *nbd_option_name(uint32_t option);
const char *nbd_reply_error_text(uint32_t type);
/* A name from the peer, fit for a terminal; the caller frees. */
char *nbd_printable(const void *text, size_t len);

#endif
