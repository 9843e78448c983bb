/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Buffers in a device's state, in QEMU 7.2's form:
 *
 *   u32 id, out, in; 4 bytes; u64 in_addr[1024], out_addr[1024]; {u64, u64 length} in[1024], out[1024]
 *
 * in the byte order of the host; then, when packed rings are offered, how many descriptors it takes.
 */
#include "hw/virtio/virtio.h"

enum {
    AT_IN_ADDR = 16,
    AT_OUT_ADDR = AT_IN_ADDR + 8 * VIRTQUEUE_MAX_SIZE,
    AT_IN = AT_OUT_ADDR + 8 * VIRTQUEUE_MAX_SIZE,
    AT_OUT = AT_IN + 16 * VIRTQUEUE_MAX_SIZE,
    ELEMENT_SIZE = AT_OUT + 16 * VIRTQUEUE_MAX_SIZE,
};

static bool offers_packed(const VirtioDevice *vdev) { return (vdev->host_features >> VIRTIO_F_RING_PACKED) & 1; }

void virt_element_save(const VirtioDevice *vdev, StateBuf *buf, const VirtElement *e)
{
    g_autofree uint8_t *raw = g_malloc0(ELEMENT_SIZE);

    store32_le(raw, e->id);
    store32_le(raw + 4, e->out_count);
    store32_le(raw + 8, e->in_count);
    for (unsigned i = 0; i < e->out_count; i++) {
        store64_le(raw + AT_OUT_ADDR + 8 * i, e->addrs[i]);
        store64_le(raw + AT_OUT + 16 * i + 8, e->out[i].iov_len);
    }
    for (unsigned i = 0; i < e->in_count; i++) {
        store64_le(raw + AT_IN_ADDR + 8 * i, e->addrs[e->out_count + i]);
        store64_le(raw + AT_IN + 16 * i + 8, e->in[i].iov_len);
    }
    state_put(buf, raw, ELEMENT_SIZE);
    if (offers_packed(vdev)) {
        state_put_be(buf, e->slots, 4);
    }
}

bool virt_element_load(const VirtioDevice *vdev, StateBuf *buf, VirtSavedElement *saved, GError **err)
{
    g_autofree uint8_t *raw = g_malloc0(ELEMENT_SIZE);
    uint64_t slots;
    unsigned out, in;

    state_get(buf, raw, ELEMENT_SIZE);
    slots = offers_packed(vdev) ? state_get_be(buf, 4) : 0;
    out = load32_le(raw + 4);
    in = load32_le(raw + 8);
    if (buf->failed || load32_le(raw) > UINT16_MAX || slots > VIRTQUEUE_MAX_SIZE || out > VIRTQUEUE_MAX_SIZE ||
        in > VIRTQUEUE_MAX_SIZE || out + in > VIRTQUEUE_MAX_SIZE || !(out + in)) {
        return error_set(err, "a request with %u and %u pieces", out, in);
    }
    *saved = (VirtSavedElement){.id = (uint16_t)load32_le(raw), .slots = (uint16_t)slots, .out = out, .in = in};
    saved->addrs = g_new(uint64_t, out + in);
    saved->lens = g_new(uint64_t, out + in);
    for (unsigned i = 0; i < out + in; i++) {
        const unsigned k = i < out ? i : i - out;

        saved->addrs[i] = load64_le(raw + (i < out ? AT_OUT_ADDR : AT_IN_ADDR) + 8 * k);
        saved->lens[i] = load64_le(raw + (i < out ? AT_OUT : AT_IN) + 16 * k + 8);
    }
    return true;
}

void virt_saved_element_clear(VirtSavedElement *saved)
{
    g_free(saved->addrs);
    g_free(saved->lens);
    *saved = (VirtSavedElement){0};
}

VirtElement *virt_saved_element_adopt(VirtQueue *vq, const VirtSavedElement *saved, GError **err)
{
    return virtqueue_adopt(vq, saved->id, saved->slots, saved->addrs, saved->lens, saved->out, saved->in, err);
}
