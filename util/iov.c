/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/iov.h"

#include "util/util.h"

void iov_vec_add(IoVec *vec, void *base, size_t len)
{
    if (vec->count) {
        struct iovec *last = &vec->iov[vec->count - 1];

        if ((char *)last->iov_base + last->iov_len == base) {
            last->iov_len += len;
            vec->size += len;
            return;
        }
    }
    if (vec->count == vec->capacity) {
        vec->capacity = vec->capacity ? vec->capacity * 2 : 8;
        vec->iov = g_renew(struct iovec, vec->iov, vec->capacity);
    }
    vec->iov[vec->count++] = (struct iovec){.iov_base = base, .iov_len = len};
    vec->size += len;
}

void iov_vec_clear(IoVec *vec)
{
    g_free(vec->iov);
    *vec = (IoVec){0};
}

size_t iov_size(const struct iovec *iov, unsigned count)
{
    size_t total = 0;

    for (unsigned i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    return total;
}

typedef enum IovAction { IOV_FROM, IOV_TO, IOV_FILL } IovAction;

static size_t iov_walk(IovAction action, const struct iovec *iov, unsigned count, size_t offset, void *buf,
                       uint8_t value, size_t len)
{
    size_t done = 0;

    for (unsigned i = 0; i < count && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        char *at = (char *)iov[i].iov_base + offset;
        size_t n = MIN(iov[i].iov_len - offset, len - done);

        if (action == IOV_FROM) {
            memcpy(at, (char *)buf + done, n);
        } else if (action == IOV_TO) {
            memcpy((char *)buf + done, at, n);
        } else {
            memset(at, value, n);
        }
        done += n;
        offset = 0;
    }
    return done;
}

size_t iov_from_buf(const struct iovec *iov, unsigned count, size_t offset, const void *buf, size_t len)
{
    return iov_walk(IOV_FROM, iov, count, offset, (void *)buf, 0, len);
}

size_t iov_to_buf(const struct iovec *iov, unsigned count, size_t offset, void *buf, size_t len)
{
    return iov_walk(IOV_TO, iov, count, offset, buf, 0, len);
}

size_t iov_fill(const struct iovec *iov, unsigned count, size_t offset, uint8_t value, size_t len)
{
    return iov_walk(IOV_FILL, iov, count, offset, NULL, value, len);
}
