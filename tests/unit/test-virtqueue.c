/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rings beside a model driver: laps over all 16-bit indexes, order, notifications and interrupts as they were asked for. */
#include "tests/unit/virtqueue-fixture.h"

#define BIT(n) (UINT64_C(1) << (n))
#define MODERN BIT(VIRTIO_F_VERSION_1)
#define EVENT BIT(VIRTIO_RING_F_EVENT_IDX)
#define PACKED BIT(VIRTIO_F_RING_PACKED)
#define ORDER BIT(VIRTIO_F_IN_ORDER)

typedef struct Driver {
    Toy toy;
    bool packed;
    unsigned num;
    uint16_t avail, used;       /* split: counts */
    unsigned at, used_at;       /* packed */
    bool wrap, used_wrap;
    uint64_t added, taken;
} Driver;

static void driver_open(Driver *d, uint64_t features, unsigned num)
{
    *d = (Driver){.packed = features & PACKED, .num = num, .wrap = true, .used_wrap = true};
    toy_open(&d->toy, features);
    toy_start(&d->toy, features, num);
    toy_run(&d->toy);
}

static void put(Driver *d, uint64_t area, unsigned at, uint64_t value, unsigned size)
{
    store_le(d->toy.host + area + at, value, size);
}

/* One piece out, one in, in descriptors 2k and 2k + 1. */
static void add(Driver *d)
{
    if (!d->packed) {
        const unsigned head = 2 * (d->avail % (d->num / 2));

        for (unsigned i = 0; i < 2; i++) {
            const unsigned at = 16 * (head + i);

            put(d, TOY_DESC, at, TOY_DATA + 64 * (head + i), 8);
            put(d, TOY_DESC, at + 8, 64, 4);
            put(d, TOY_DESC, at + 12, i ? 2 : 1, 2);
            put(d, TOY_DESC, at + 14, head + 1, 2);
        }
        put(d, TOY_AVAIL, 4 + 2 * (d->avail % d->num), head, 2);
        put(d, TOY_AVAIL, 2, ++d->avail, 2);
    } else {
        for (unsigned i = 0; i < 2; i++) {
            put(d, TOY_DESC, 16 * d->at, TOY_DATA + 64 * d->at, 8);
            put(d, TOY_DESC, 16 * d->at + 8, 64, 4);
            put(d, TOY_DESC, 16 * d->at + 12, (d->added * 2) % d->num, 2);
            put(d, TOY_DESC, 16 * d->at + 14, (i ? 2 : 1) | (d->wrap ? 0x80 : 0x8000), 2);
            if (++d->at == d->num) {
                d->at = 0;
                d->wrap = !d->wrap;
            }
        }
    }
    d->added++;
}

static uint64_t get(Driver *d, uint64_t area, unsigned at, unsigned size) { return load_le(d->toy.host + area + at, size); }

/* The next used buffer; they come in order here. False: there is none. */
static bool take(Driver *d)
{
    uint64_t id, len;

    if (!d->packed) {
        if (get(d, TOY_USED, 2, 2) == d->used) {
            return false;
        }
        id = get(d, TOY_USED, 4 + 8 * (d->used % d->num), 4);
        len = get(d, TOY_USED, 8 + 8 * (d->used % d->num), 4);
        g_assert_cmpuint(id, ==, 2 * (d->used % (d->num / 2)));
        d->used++;
    } else {
        const uint16_t flags = (uint16_t)get(d, TOY_DESC, 16 * d->used_at + 14, 2);

        if (!!(flags & 0x80) != d->used_wrap || !!(flags & 0x8000) != d->used_wrap) {
            return false;
        }
        id = get(d, TOY_DESC, 16 * d->used_at + 12, 2);
        len = get(d, TOY_DESC, 16 * d->used_at + 8, 4);
        g_assert_cmpuint(id, ==, (d->taken * 2) % d->num);
        d->used_at += 2;
        if (d->used_at == d->num) {
            d->used_at = 0;
            d->used_wrap = !d->used_wrap;
        }
    }
    g_assert_cmpuint(len, ==, 1);
    d->taken++;
    return true;
}

static const struct {
    const char *name;
    uint64_t features;
} forms[] = {
    {"split", MODERN},
    {"split-event", MODERN | EVENT},
    {"split-order", MODERN | ORDER},
    {"packed", MODERN | PACKED},
    {"packed-event", MODERN | PACKED | EVENT},
    {"packed-order", MODERN | PACKED | ORDER},
};

/* More than 65536 buffers, in bursts of all sizes, some of them held back. */
static void test_laps(const void *data)
{
    const uint64_t features = forms[GPOINTER_TO_UINT(data)].features;
    Driver d;

    driver_open(&d, features, 16);
    for (unsigned round = 0; d.added < 70000; round++) {
        const unsigned burst = 1 + round % 8;

        d.toy.dev->hold = round % 5 == 4 ? 3 : 0;
        for (unsigned i = 0; i < burst && d.added - d.taken < 8; i++) {
            add(&d);
        }
        virtio_kick(d.toy.vq);
        toy_run(&d.toy);
        while (take(&d)) {
        }
        g_assert_false(d.toy.dev->vdev.broken);
        g_assert_cmpuint(d.added - d.taken, ==, virtqueue_in_flight(d.toy.vq));
    }
    virtio_set_status(&d.toy.dev->vdev, 0); /* with some held */
    g_assert_cmpuint(virtqueue_in_flight(d.toy.vq), ==, 0);
    toy_close(&d.toy);
}

/* The device asks for notifications when it rests, and interrupts when it is to, and only then. */
static void test_waking_split(void)
{
    Driver d;
    unsigned before;

    driver_open(&d, MODERN, 16);
    g_assert_cmpuint(get(&d, TOY_USED, 0, 2), ==, 0);
    before = d.toy.dev->interrupts;
    add(&d);
    virtio_kick(d.toy.vq);
    toy_run(&d.toy);
    g_assert_cmpuint(d.toy.dev->interrupts, ==, before + 1);
    put(&d, TOY_AVAIL, 0, 1, 2); /* none */
    for (unsigned i = 0; i < 3; i++) {
        add(&d);
        virtio_kick(d.toy.vq);
        toy_run(&d.toy);
    }
    g_assert_cmpuint(d.toy.dev->interrupts, ==, before + 1);
    toy_close(&d.toy);

    driver_open(&d, MODERN | EVENT, 16);
    for (unsigned i = 0; i < 5; i++) {
        add(&d);
        virtio_kick(d.toy.vq);
        toy_run(&d.toy);
        g_assert_cmpuint(get(&d, TOY_USED, 4 + 8 * 16, 2), ==, d.avail); /* tell of the next one */
    }
    before = d.toy.dev->interrupts;
    put(&d, TOY_AVAIL, 4 + 2 * 16, 7, 2);                               /* when the 8th is used */
    for (unsigned i = 0; i < 5; i++) {
        while (take(&d)) {
        }
        add(&d);
        virtio_kick(d.toy.vq);
        toy_run(&d.toy);
        g_assert_cmpuint(d.toy.dev->interrupts, ==, before + (d.avail >= 8));
    }
    toy_close(&d.toy);
}

static void test_waking_packed(void)
{
    Driver d;
    unsigned before;

    driver_open(&d, MODERN | PACKED | EVENT, 16);
    before = d.toy.dev->interrupts;
    put(&d, TOY_AVAIL, 2, 1, 2); /* none */
    add(&d);
    virtio_kick(d.toy.vq);
    toy_run(&d.toy);
    g_assert_cmpuint(d.toy.dev->interrupts, ==, before);
    g_assert_cmphex(get(&d, TOY_USED, 0, 2), ==, 2 | 0x8000); /* tell when descriptor 2 of this lap is there */
    g_assert_cmpuint(get(&d, TOY_USED, 2, 2), ==, 2);
    put(&d, TOY_AVAIL, 0, 4, 2); /* descriptor 4 of the next lap */
    put(&d, TOY_AVAIL, 2, 2, 2);
    for (unsigned i = 1; i < 8 + 5; i++) {
        while (take(&d)) {
        }
        add(&d);
        virtio_kick(d.toy.vq);
        toy_run(&d.toy);
        g_assert_cmpuint(d.toy.dev->interrupts, ==, before + (i >= 10));
    }
    toy_close(&d.toy);
}

/* ---- bad drivers --------------------------------------------------------------------------------- */

#define FLOOD 20000

static void add_more(void *opaque)
{
    Driver *d = opaque;

    if (d->added < FLOOD) {
        add(d);
    }
}

/* A driver that adds as fast as the device takes, and does not care for what comes back, does not keep the device's thread for itself. */
static void test_flood(const void *data)
{
    Driver d;
    uint64_t before = 0;

    driver_open(&d, forms[GPOINTER_TO_UINT(data)].features, 16);
    d.toy.dev->popping = add_more;
    d.toy.dev->popping_opaque = &d;
    add(&d);
    virtio_kick(d.toy.vq);
    while (loop_run_once(d.toy.vm->loop, 0)) {
        g_assert_cmpuint(d.toy.dev->popped - before, <=, 64 * d.num);
        before = d.toy.dev->popped;
    }
    g_assert_cmpuint(d.toy.dev->popped, ==, FLOOD); /* and none is forgotten */
    g_assert_cmpuint(virtqueue_in_flight(d.toy.vq), ==, 0);
    toy_close(&d.toy);
}

/* Where the ring was does not exist any more when it goes on: smaller, or packed all at once. */
static void test_position(const void *data)
{
    const bool was_packed = GPOINTER_TO_UINT(data);
    VirtioDevice *vdev;
    Driver d;

    driver_open(&d, was_packed ? MODERN | PACKED : MODERN, 16);
    vdev = &d.toy.dev->vdev;
    vdev->host_features |= PACKED;
    for (unsigned i = 0; i < (was_packed ? 5 : 100); i++) {
        add(&d);
        virtio_kick(d.toy.vq);
        toy_run(&d.toy);
        g_assert_true(take(&d));
    }
    virtio_set_disabled(vdev, true);
    vdev->status = 0; /* FEATURES_OK was never said */
    virtio_set_features(vdev, MODERN | PACKED);
    virtio_queue_set_num(d.toy.vq, 4);
    virtio_queue_enable(d.toy.vq, (VirtQueueAreas){TOY_RAM - 64, TOY_AVAIL, TOY_USED}); /* the last bytes there are */
    virtio_set_disabled(vdev, false);
    virtio_set_status(vdev, 0xf);
    virtio_kick(d.toy.vq);
    toy_run(&d.toy);
    g_assert_true(vdev->broken);
    toy_start(&d.toy, MODERN | PACKED, 16);
    toy_run(&d.toy);
    g_assert_false(vdev->broken);
    toy_close(&d.toy);
}

/* The first buffer is dropped; those behind it, which were done and waited for it, go with it. */
static void test_drop_in_order(void)
{
    VirtElement *e;
    Driver d;

    driver_open(&d, MODERN | ORDER, 16);
    d.toy.dev->hold = 3;
    for (unsigned i = 0; i < 3; i++) {
        add(&d);
    }
    virtio_kick(d.toy.vq);
    toy_run(&d.toy);
    e = g_queue_pop_head(&d.toy.dev->held);
    toy_give(d.toy.dev);
    g_assert_cmpuint(virtqueue_in_flight(d.toy.vq), ==, 3);
    virtio_set_features(&d.toy.dev->vdev, MODERN); /* too late */
    virtqueue_drop(e);
    g_assert_cmpuint(virtqueue_in_flight(d.toy.vq), ==, 1);
    virtio_set_status(&d.toy.dev->vdev, 0);
    g_assert_cmpuint(virtqueue_in_flight(d.toy.vq), ==, 0);
    toy_close(&d.toy);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
        g_autofree char *name = g_strdup_printf("/virtqueue/laps/%s", forms[i].name);

        g_test_add_data_func(name, GUINT_TO_POINTER(i), test_laps);
        g_autofree char *flood = g_strdup_printf("/virtqueue/flood/%s", forms[i].name);
        g_test_add_data_func(flood, GUINT_TO_POINTER(i), test_flood);
    }
    g_test_add_data_func("/virtqueue/position/smaller", GUINT_TO_POINTER(1), test_position);
    g_test_add_data_func("/virtqueue/position/packed", GUINT_TO_POINTER(0), test_position);
    g_test_add_func("/virtqueue/drop/in-order", test_drop_in_order);
    g_test_add_func("/virtqueue/waking/split", test_waking_split);
    g_test_add_func("/virtqueue/waking/packed", test_waking_packed);
    return g_test_run();
}
