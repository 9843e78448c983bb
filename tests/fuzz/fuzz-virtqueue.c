/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rings that a driver filled with anything. Byte 0 chooses features, byte 1 the size; the rest is the memory of the rings,
 * descriptors first. The device takes what it is given, then the driver's memory is changed by what is left of the input
 * and it is notified again; at the end it resets. However bad, the device holds no more than the ring has, it ends, and it
 * works after the reset.
 *
 * Built with clang's libFuzzer (meson -Dfuzzing=true) it looks for new input; built without, main() makes inputs of its
 * own: rings with some sense in them.
 */
#include <stdio.h>

#include "tests/unit/virtqueue-fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BIT(n) (UINT64_C(1) << (n))
#define ALL (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) | \
             BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_F_RING_RESET))

static uint64_t features_of(uint8_t byte)
{
    return BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | (byte & 1 ? BIT(VIRTIO_F_RING_PACKED) : 0) |
           (byte & 2 ? BIT(VIRTIO_RING_F_EVENT_IDX) : 0) | (byte & 4 ? BIT(VIRTIO_F_IN_ORDER) : 0);
}

/* A good request goes through. */
static void check_works(Toy *y)
{
    const uint64_t before = y->dev->pushed;

    memset(y->host + TOY_DESC, 0, TOY_DATA - TOY_DESC);
    y->dev->hold = 0;
    toy_start(y, BIT(VIRTIO_F_VERSION_1), 8);
    store64_le(y->host + TOY_DESC, TOY_DATA);
    store32_le(y->host + TOY_DESC + 8, 16);
    store16_le(y->host + TOY_AVAIL + 2, 1);
    virtio_kick(y->vq);
    toy_run(y);
    g_assert_cmpuint(y->dev->pushed, ==, before + 1);
    g_assert_cmpuint(load16_le(y->host + TOY_USED + 2), ==, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Toy y;

    if (size < 4) {
        return 0;
    }
    const unsigned num = 1u << (data[1] % 8);
    toy_open(&y, ALL);
    y.dev->hold = data[2] % 4;
    const size_t first = MIN(size - 3, (size_t)(TOY_DATA - TOY_DESC));
    memcpy(y.host + TOY_DESC, data + 3, first);
    toy_start(&y, features_of(data[0]), num);
    toy_run(&y);
    for (size_t at = 3 + first; at + 4 <= size; at += 4) {
        store16_le(y.host + TOY_DESC + load16_le(data + at), load16_le(data + at + 2));
        virtio_kick(y.vq);
        toy_run(&y);
        g_assert_cmpuint(virtqueue_in_flight(y.vq), <=, num);
    }
    if (data[0] & 8) {
        virtio_queue_reset(y.vq);
    }
    virtio_set_status(&y.dev->vdev, 0);
    g_assert_cmpuint(virtqueue_in_flight(y.vq), ==, 0);
    check_works(&y);
    toy_close(&y);
    return 0;
}

#ifndef FUZZING
#define ROUNDS 3000

/* A descriptor that is mostly sensible. */
static void make_desc(GRand *r, uint8_t *at, unsigned num, bool packed)
{
    const bool odd = g_rand_int_range(r, 0, 12) == 0;
    uint64_t addr = odd ? (uint64_t)g_rand_int(r) << g_rand_int_range(r, 0, 33) : TOY_DESC + (uint64_t)g_rand_int_range(r, 0, 0x18000);
    uint16_t flags = (uint16_t)(g_rand_int_range(r, 0, 4) | (g_rand_int_range(r, 0, 8) ? 0 : 4));
    uint16_t next = (uint16_t)g_rand_int_range(r, 0, (gint32)num + (odd ? 2 : 0));

    if (packed) {
        flags |= g_rand_boolean(r) ? 0x80 : 0x8000;
    }
    store64_le(at, addr);
    store32_le(at + 8, g_rand_int_range(r, 0, 3) ? 16u * (uint32_t)g_rand_int_range(r, 0, 9) : g_rand_int(r) & 0xffff);
    store16_le(at + 12, packed ? next : flags);
    store16_le(at + 14, packed ? flags : next);
}

static void make_input(GRand *r, GByteArray *in)
{
    const unsigned changes = (unsigned)g_rand_int_range(r, 0, 40);

    g_byte_array_set_size(in, 3 + (TOY_DATA - TOY_DESC) + 4 * changes);
    memset(in->data, 0, in->len);
    for (unsigned i = 0; i < 3; i++) {
        in->data[i] = (uint8_t)g_rand_int(r);
    }
    const unsigned num = 1u << (in->data[1] % 8);
    for (unsigned i = 0; i < 512; i++) { /* indirect tables lie behind the ring */
        make_desc(r, in->data + 3 + 16 * i, num, in->data[0] & 1);
    }
    uint8_t *avail = in->data + 3 + TOY_AVAIL - TOY_DESC;
    store16_le(avail + 2, (uint16_t)g_rand_int_range(r, 0, (gint32)num + 2));
    for (unsigned i = 0; i < num; i++) {
        store16_le(avail + 4 + 2 * i, (uint16_t)g_rand_int_range(r, 0, (gint32)num + (g_rand_int_range(r, 0, 20) ? 0 : 3)));
    }
    for (unsigned i = 0; i < changes; i++) {
        uint8_t *change = in->data + 3 + (TOY_DATA - TOY_DESC) + 4 * i;

        store16_le(change, (uint16_t)(g_rand_boolean(r) ? TOY_AVAIL - TOY_DESC + 2 : g_rand_int_range(r, 0, 0x1000)));
        store16_le(change + 2, (uint16_t)g_rand_int_range(r, 0, 64));
    }
}

int main(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(1);
    g_autoptr(GByteArray) in = g_byte_array_new();

    for (unsigned i = 0; i < ROUNDS; i++) {
        make_input(r, in);
        LLVMFuzzerTestOneInput(in->data, in->len);
    }
    printf("1..1\nok 1 fuzz-virtqueue: %u inputs\n", ROUNDS);
    return 0;
}
#endif
