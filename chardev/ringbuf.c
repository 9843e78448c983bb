/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ringbuf: the last SIZE bytes of output, in memory, read by management (ringbuf-read). "memory" is
 * its old name.
 */
#include "chardev/backend.h"

#define RINGBUF_DEFAULT 65536
#define RINGBUF_MAX (1 * GIB)

typedef struct RingBuf {
    Chardev chr;
    uint64_t size;           /* bytes, a power of two */
    uint8_t *data;
    uint64_t produced, consumed; /* bytes ever; produced - consumed <= size */
} RingBuf;

static bool ringbuf_open(Chardev *chr, GError **err)
{
    RingBuf *ring = container_of(chr, RingBuf, chr);
    const ChardevRingbuf *options = chr->options->u.ringbuf.data;
    int64_t size = options->has_size ? options->size : RINGBUF_DEFAULT;

    if (size <= 0 || !is_power_of_two((uint64_t)size) || size > (int64_t)RINGBUF_MAX) {
        return error_set(err, "size=%" G_GINT64_FORMAT " must be a power of two, at most 1G", size);
    }
    ring->size = (uint64_t)size;
    ring->data = g_malloc(ring->size);
    chardev_event(chr, CHAR_EVENT_OPENED);
    return true;
}

static void ringbuf_close(Chardev *chr)
{
    g_clear_pointer(&container_of(chr, RingBuf, chr)->data, g_free);
}

static ssize_t ringbuf_put(Chardev *chr, const uint8_t *data, size_t len)
{
    RingBuf *ring = container_of(chr, RingBuf, chr);

    for (size_t i = 0; i < len; i++) {
        ring->data[ring->produced++ & (ring->size - 1)] = data[i];
    }
    if (ring->produced - ring->consumed > ring->size) {
        ring->consumed = ring->produced - ring->size;
    }
    return (ssize_t)len;
}

static RingBuf *find_ringbuf(Vm *vm, const char *id, GError **err)
{
    Chardev *chr = chardev_find(vm, id);

    if (!chr) {
        error_set(err, "there is no character device '%s'", id);
        return NULL;
    }
    if (!object_is_a(&chr->obj, "chardev-ringbuf")) {
        error_set(err, "character device '%s' is no ringbuf", id);
        return NULL;
    }
    return container_of(chr, RingBuf, chr);
}

ssize_t chardev_ringbuf_read(Vm *vm, const char *id, void *data, size_t len, GError **err)
{
    RingBuf *ring = find_ringbuf(vm, id, err);
    uint8_t *out = data;
    size_t n = 0;

    if (!ring) {
        return -1;
    }
    while (n < len && ring->consumed < ring->produced) {
        out[n++] = ring->data[ring->consumed++ & (ring->size - 1)];
    }
    return (ssize_t)n;
}

ssize_t chardev_ringbuf_write(Vm *vm, const char *id, const void *data, size_t len, GError **err)
{
    RingBuf *ring = find_ringbuf(vm, id, err);

    return ring ? ringbuf_put(&ring->chr, data, len) : -1;
}

static const ChardevOps ringbuf_ops = {
    .prompt = true,
    .open = ringbuf_open,
    .close = ringbuf_close,
    .write = ringbuf_put,
    .unqueued = true,
};

KILN_TYPE(chardev_ringbuf) = {
    .name = "chardev-ringbuf",
    .parent = "chardev",
    .desc = "keeps the last bytes of output in memory",
    .size = sizeof(RingBuf),
    .ops = &ringbuf_ops,
};
