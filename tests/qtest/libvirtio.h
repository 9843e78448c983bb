/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small virtio-pci driver for tests: legacy and modern registers, split and packed rings. The device's queues run in
 * threads, so what it did is waited for.
 *
 *     QVirtio v;
 *     QVirtq q;
 *
 *     qvirtio_open(&v, qt, devfn, true);
 *     qvirtio_negotiate(&v, qvirtio_features(&v) & WANTED);
 *     qvirtq_setup(&v, &q, 0, 16);
 *     qvirtio_driver_ok(&v);
 *     id = qvirtq_add(&q, pieces, 3);
 *     qvirtq_kick(&q);
 *     len = qvirtq_wait(&q, id);
 */
#ifndef TESTS_QTEST_LIBVIRTIO_H
#define TESTS_QTEST_LIBVIRTIO_H

#include "libqtest.h"

#define QV_BIT(n) (UINT64_C(1) << (n))
enum {
    QV_NOTIFY_ON_EMPTY = 24,
    QV_ANY_LAYOUT = 27,
    QV_INDIRECT = 28,
    QV_EVENT_IDX = 29,
    QV_VERSION_1 = 32,
    QV_PACKED = 34,
    QV_IN_ORDER = 35,
    QV_NOTIFICATION_DATA = 38,
    QV_RING_RESET = 40,
};
enum { QV_S_ACK = 1, QV_S_DRIVER = 2, QV_S_DRIVER_OK = 4, QV_S_FEATURES_OK = 8, QV_S_NEEDS_RESET = 0x40, QV_S_FAILED = 0x80 };

typedef struct QVirtio {
    QTest *qt;
    unsigned devfn;
    bool modern;
    uint64_t io;             /* legacy: ports */
    uint64_t common, isr, device, notify; /* modern: addresses */
    uint32_t notify_step;
    bool msix;               /* shifts the legacy configuration */
    uint64_t features;       /* negotiated */
} QVirtio;

/* A form that registers and rings can have. */
typedef struct QMode {
    const char *name;
    const char *props;       /* of the device, each with a comma in front */
    bool modern;
    bool indirect;           /* for QVirtq.indirect */
    uint64_t features;       /* to negotiate besides the device's own */
} QMode;

/* A test that is run once a mode. */
typedef struct QModeTest {
    const char *name;
    void (*fn)(const void *mode);
    bool modern_only;
} QModeTest;

typedef struct QPiece {
    uint64_t addr;
    uint32_t len;
    bool write;              /* by the device */
} QPiece;

typedef struct QVirtq {
    QVirtio *v;
    unsigned index, num;
    uint64_t desc, avail, used;
    uint16_t next_desc, avail_idx, used_seen; /* split: counts */
    uint16_t at, used_at;    /* packed */
    bool wrap, used_wrap;
    uint16_t slots[1024];    /* packed: descriptors of each id */
    uint16_t next_id;
    bool indirect;           /* buffers are put into tables */
} QVirtq;

/* Maps its registers, resets it. */
void qvirtio_open(QVirtio *v, QTest *qt, unsigned devfn, bool modern);
uint64_t qvirtio_features(QVirtio *v);
/* Reset, ACKNOWLEDGE, DRIVER, features. False: the device refused them. */
bool qvirtio_negotiate(QVirtio *v, uint64_t features);
void qvirtio_driver_ok(QVirtio *v);
uint8_t qvirtio_status(QVirtio *v);
void qvirtio_set_status(QVirtio *v, uint8_t status);
uint8_t qvirtio_read_isr(QVirtio *v);
uint64_t qvirtio_config(QVirtio *v, unsigned offset, unsigned size);
void qvirtio_set_config8(QVirtio *v, unsigned offset, uint8_t value);
/* Descriptors that the device offers; 0: there is no such queue. */
unsigned qvirtq_max(QVirtio *v, unsigned index);
/* num 0: as many as offered (legacy drivers cannot choose). */
void qvirtq_setup(QVirtio *v, QVirtq *q, unsigned index, unsigned num);
/* Puts a buffer into the ring; returns its id. */
unsigned qvirtq_add(QVirtq *q, const QPiece *pieces, unsigned count);
void qvirtq_kick(QVirtq *q);
/* Takes the next used buffer, if there is one. */
bool qvirtq_poll(QVirtq *q, unsigned *id, uint32_t *len);
/* Waits for the next used buffer, which must have this id. Returns the bytes written. */
uint32_t qvirtq_wait(QVirtq *q, unsigned id);
/* Waits until condition(opaque) holds. */
void qvirtio_wait_for(bool (*condition)(void *opaque), void *opaque);
/* Waits for DEVICE_NEEDS_RESET. */
void qvirtio_wait_broken(QVirtio *v);
/* Registers each test for each mode, as /device/test/mode. Both tables must last as long as the program. */
void qvirtio_add_tests(const char *device, const QModeTest *tests, size_t test_count, const QMode *modes, size_t mode_count);

#endif
