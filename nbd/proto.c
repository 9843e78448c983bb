/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "nbd/proto.h"

#include <errno.h>

/* ---- headers ------------------------------------------------------------------------------- */

void nbd_put_option(uint8_t *buf, uint32_t option, uint32_t len)
{
    store64_be(buf, NBD_OPTS_MAGIC);
    store32_be(buf + 8, option);
    store32_be(buf + 12, len);
}

bool nbd_get_option(const uint8_t *buf, NbdOption *option)
{
    *option = (NbdOption){load32_be(buf + 8), load32_be(buf + 12)};
    return load64_be(buf) == NBD_OPTS_MAGIC;
}

void nbd_put_option_reply(uint8_t *buf, uint32_t option, uint32_t type, uint32_t len)
{
    store64_be(buf, NBD_REP_MAGIC);
    store32_be(buf + 8, option);
    store32_be(buf + 12, type);
    store32_be(buf + 16, len);
}

bool nbd_get_option_reply(const uint8_t *buf, NbdOptionReply *reply)
{
    *reply = (NbdOptionReply){load32_be(buf + 8), load32_be(buf + 12), load32_be(buf + 16)};
    return load64_be(buf) == NBD_REP_MAGIC;
}

void nbd_put_request(uint8_t *buf, const NbdRequest *r)
{
    store32_be(buf, NBD_REQUEST_MAGIC);
    store16_be(buf + 4, r->flags);
    store16_be(buf + 6, r->type);
    store64_be(buf + 8, r->cookie);
    store64_be(buf + 16, r->offset);
    store32_be(buf + 24, r->len);
}

bool nbd_get_request(const uint8_t *buf, NbdRequest *r)
{
    *r = (NbdRequest){.flags = load16_be(buf + 4),
                      .type = load16_be(buf + 6),
                      .cookie = load64_be(buf + 8),
                      .offset = load64_be(buf + 16),
                      .len = load32_be(buf + 24)};
    return load32_be(buf) == NBD_REQUEST_MAGIC;
}

void nbd_put_simple(uint8_t *buf, uint32_t error, uint64_t cookie)
{
    store32_be(buf, NBD_SIMPLE_MAGIC);
    store32_be(buf + 4, error);
    store64_be(buf + 8, cookie);
}

bool nbd_get_simple(const uint8_t *buf, uint32_t *error, uint64_t *cookie)
{
    *error = load32_be(buf + 4);
    *cookie = load64_be(buf + 8);
    return load32_be(buf) == NBD_SIMPLE_MAGIC;
}

void nbd_put_chunk(uint8_t *buf, const NbdChunk *c)
{
    store32_be(buf, NBD_CHUNK_MAGIC);
    store16_be(buf + 4, c->flags);
    store16_be(buf + 6, c->type);
    store64_be(buf + 8, c->cookie);
    store32_be(buf + 16, c->len);
}

bool nbd_get_chunk(const uint8_t *buf, NbdChunk *c)
{
    *c = (NbdChunk){.flags = load16_be(buf + 4),
                    .type = load16_be(buf + 6),
                    .cookie = load64_be(buf + 8),
                    .len = load32_be(buf + 16)};
    return load32_be(buf) == NBD_CHUNK_MAGIC;
}

/* ---- payloads ------------------------------------------------------------------------------ */

bool nbd_status_payload_ok(const uint8_t *payload, uint32_t len, uint32_t *context)
{
    if (len < 4 + NBD_EXTENT_LEN || (len - 4) % NBD_EXTENT_LEN ||
        (len - 4) / NBD_EXTENT_LEN > NBD_MAX_EXTENTS) {
        return false;
    }
    *context = load32_be(payload);
    for (uint32_t at = 4; at < len; at += NBD_EXTENT_LEN) {
        if (!load32_be(payload + at)) {
            return false;
        }
    }
    return true;
}

bool nbd_get_error_chunk(const NbdChunk *chunk, const uint8_t *payload, uint32_t *error, char **message)
{
    uint32_t trailer = chunk->type == NBD_CHUNK_ERROR_OFFSET ? 8 : 0, n;

    if (chunk->len < 6) {
        return false;
    }
    *error = load32_be(payload);
    n = load16_be(payload + 4);
    if (!*error || n > chunk->len - 6 || chunk->len - 6 - n < trailer) {
        return false;
    }
    *message = nbd_printable(payload + 6, n);
    return true;
}

/* ---- errors -------------------------------------------------------------------------------- */

uint32_t nbd_error_to_wire(int errnum)
{
    switch (errnum) {
    case EPERM:
    case EACCES:
    case EROFS:
        return 1;
    case EIO:
        return 5;
    case ENOMEM:
        return 12;
    case EDQUOT:
    case EFBIG:
    case ENOSPC:
        return 28;
    case EOVERFLOW:
        return 75;
    case ENOTSUP:
        return 95;
    case ESHUTDOWN:
        return 108;
    case EINVAL:
    default:
        return errnum == EINVAL ? 22 : 5;
    }
}

int nbd_error_from_wire(uint32_t error)
{
    switch (error) {
    case 1:
        return EPERM;
    case 12:
        return ENOMEM;
    case 22:
        return EINVAL;
    case 28:
        return ENOSPC;
    case 75:
        return EOVERFLOW;
    case 95:
        return ENOTSUP;
    case 108:
        return ESHUTDOWN;
    default:
        return EIO;
    }
}

/* ---- for messages --------------------------------------------------------------------------- */

const char *nbd_option_name(uint32_t option)
{
    static const char *const names[] = {
        [NBD_OPT_EXPORT_NAME] = "export name",
        [NBD_OPT_ABORT] = "abort",
        [NBD_OPT_LIST] = "list",
        [NBD_OPT_STARTTLS] = "starttls",
        [NBD_OPT_INFO] = "info",
        [NBD_OPT_GO] = "go",
        [NBD_OPT_STRUCTURED_REPLY] = "structured reply",
        [NBD_OPT_LIST_META_CONTEXT] = "list meta context",
        [NBD_OPT_SET_META_CONTEXT] = "set meta context",
    };

    return option < G_N_ELEMENTS(names) && names[option] ? names[option] : "<unknown>";
}

const char *nbd_reply_error_text(uint32_t type)
{
    switch (type) {
    case NBD_REP_ERR_UNSUP:
        return "the server does not know this option";
    case NBD_REP_ERR_POLICY:
        return "denied by the server's policy";
    case NBD_REP_ERR_INVALID:
        return "the server calls the request invalid";
    case NBD_REP_ERR_PLATFORM:
        return "not possible on the server's platform";
    case NBD_REP_ERR_TLS_REQD:
        return "the server wants TLS first (did you forget tls-creds?)";
    case NBD_REP_ERR_UNKNOWN:
        return "the server has no such export";
    case NBD_REP_ERR_SHUTDOWN:
        return "the server is going down";
    case NBD_REP_ERR_BLOCK_SIZE_REQD:
        return "the server wants block sizes to be asked for";
    case NBD_REP_ERR_TOO_BIG:
        return "the server calls the request too big";
    default:
        return "error";
    }
}

char *nbd_printable(const void *text, size_t len)
{
    char *copy = g_utf8_make_valid(text, (gssize)len);

    for (char *p = copy; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 127) {
            *p = '?';
        }
    }
    return copy;
}
