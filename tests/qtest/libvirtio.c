/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "libvirtio.h"

#include <string.h>

#define HANG_SECONDS 120 /* no assertion about speed: a device that never answers */
#define DESC_NEXT 1
#define DESC_WRITE 2
#define DESC_INDIRECT 4
#define DESC_AVAIL 0x80
#define DESC_USED 0x8000

enum { L_FEATURES = 0, L_GUEST_FEATURES = 4, L_PFN = 8, L_NUM = 12, L_SEL = 14, L_NOTIFY = 16, L_STATUS = 18, L_ISR = 19 };
enum {
    C_DFSELECT = 0,
    C_DF = 4,
    C_GFSELECT = 8,
    C_GF = 12,
    C_STATUS = 20,
    C_SEL = 22,
    C_NUM = 24,
    C_ENABLE = 28,
    C_NOFF = 30,
    C_DESC = 32,
    C_AVAIL = 40,
    C_USED = 48,
};

/* ---- registers ----------------------------------------------------------------------------- */

static void find_windows(QVirtio *v)
{
    uint64_t bar = qpci_map_bar(v->qt, v->devfn, 4, NULL);

    for (uint8_t at = qpci_read_config8(v->qt, v->devfn, 0x34); at; at = qpci_read_config8(v->qt, v->devfn, at + 1)) {
        const uint64_t addr = bar + qpci_read_config32(v->qt, v->devfn, at + 8);

        if (qpci_read_config8(v->qt, v->devfn, at) != 9 || qpci_read_config8(v->qt, v->devfn, at + 4) != 4) {
            continue;
        }
        switch (qpci_read_config8(v->qt, v->devfn, at + 3)) {
        case 1:
            v->common = addr;
            break;
        case 2:
            v->notify = addr;
            v->notify_step = qpci_read_config32(v->qt, v->devfn, at + 16);
            break;
        case 3:
            v->isr = addr;
            break;
        case 4:
            v->device = addr;
            break;
        default:
            break;
        }
    }
    g_assert_true(v->common && v->notify && v->isr && v->device);
}

void qvirtio_open(QVirtio *v, QTest *qt, unsigned devfn, bool modern)
{
    *v = (QVirtio){.qt = qt, .devfn = devfn, .modern = modern};
    if (modern) {
        find_windows(v);
    } else {
        v->io = qpci_map_bar(qt, devfn, 0, NULL);
    }
    qpci_enable(qt, devfn, 7);
    qvirtio_set_status(v, 0);
}

uint8_t qvirtio_status(QVirtio *v)
{
    return v->modern ? qtest_readb(v->qt, v->common + C_STATUS) : qtest_inb(v->qt, (uint16_t)(v->io + L_STATUS));
}

void qvirtio_set_status(QVirtio *v, uint8_t status)
{
    if (v->modern) {
        qtest_writeb(v->qt, v->common + C_STATUS, status);
    } else {
        qtest_outb(v->qt, (uint16_t)(v->io + L_STATUS), status);
    }
}

uint8_t qvirtio_read_isr(QVirtio *v)
{
    return v->modern ? qtest_readb(v->qt, v->isr) : qtest_inb(v->qt, (uint16_t)(v->io + L_ISR));
}

uint64_t qvirtio_features(QVirtio *v)
{
    uint64_t low;

    if (!v->modern) {
        return qtest_inl(v->qt, (uint16_t)(v->io + L_FEATURES));
    }
    qtest_writel(v->qt, v->common + C_DFSELECT, 0);
    low = qtest_readl(v->qt, v->common + C_DF);
    qtest_writel(v->qt, v->common + C_DFSELECT, 1);
    return low | (uint64_t)qtest_readl(v->qt, v->common + C_DF) << 32;
}

bool qvirtio_negotiate(QVirtio *v, uint64_t features)
{
    qvirtio_set_status(v, 0);
    qvirtio_set_status(v, QV_S_ACK);
    qvirtio_set_status(v, QV_S_ACK | QV_S_DRIVER);
    v->features = features;
    if (!v->modern) {
        qtest_outl(v->qt, (uint16_t)(v->io + L_GUEST_FEATURES), (uint32_t)features);
        return true;
    }
    for (unsigned i = 0; i < 2; i++) {
        qtest_writel(v->qt, v->common + C_GFSELECT, i);
        qtest_writel(v->qt, v->common + C_GF, (uint32_t)(features >> (32 * i)));
    }
    qvirtio_set_status(v, QV_S_ACK | QV_S_DRIVER | QV_S_FEATURES_OK);
    return qvirtio_status(v) & QV_S_FEATURES_OK;
}

void qvirtio_driver_ok(QVirtio *v) { qvirtio_set_status(v, qvirtio_status(v) | QV_S_DRIVER_OK); }

uint64_t qvirtio_config(QVirtio *v, unsigned offset, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = v->modern ? qtest_readb(v->qt, v->device + offset + i)
                                 : qtest_inb(v->qt, (uint16_t)(v->io + (v->msix ? 24 : 20) + offset + i));

        value |= (uint64_t)byte << (8 * i);
    }
    return value;
}

void qvirtio_set_config8(QVirtio *v, unsigned offset, uint8_t value)
{
    if (v->modern) {
        qtest_writeb(v->qt, v->device + offset, value);
    } else {
        qtest_outb(v->qt, (uint16_t)(v->io + (v->msix ? 24 : 20) + offset), value);
    }
}

/* ---- queues ------------------------------------------------------------------------------------ */

static bool is_packed(const QVirtq *q) { return q->v->features & QV_BIT(QV_PACKED); }

static void select_queue(QVirtio *v, unsigned index)
{
    if (v->modern) {
        qtest_writew(v->qt, v->common + C_SEL, (uint16_t)index);
    } else {
        qtest_outw(v->qt, (uint16_t)(v->io + L_SEL), (uint16_t)index);
    }
}

unsigned qvirtq_max(QVirtio *v, unsigned index)
{
    select_queue(v, index);
    return v->modern ? qtest_readw(v->qt, v->common + C_NUM) : qtest_inw(v->qt, (uint16_t)(v->io + L_NUM));
}

void qvirtq_setup(QVirtio *v, QVirtq *q, unsigned index, unsigned num)
{
    const unsigned max = qvirtq_max(v, index);
    const size_t legacy_avail = 4 + 2 * (size_t)max + 2;

    memset(q, 0, sizeof *q);
    q->v = v;
    q->index = index;
    q->num = num ? num : max;
    q->wrap = q->used_wrap = true;
    q->desc = qtest_alloc(v->qt, 32768, 4096);
    qtest_memset(v->qt, q->desc, 0, 32768);
    if (!v->modern) {
        q->num = max;
        q->avail = q->desc + 16 * max;
        q->used = (q->avail + legacy_avail + 4095) & ~UINT64_C(4095);
        qtest_outl(v->qt, (uint16_t)(v->io + L_PFN), (uint32_t)(q->desc >> 12));
        return;
    }
    q->avail = q->desc + 16384;
    q->used = q->desc + 20480;
    qtest_writew(v->qt, v->common + C_NUM, (uint16_t)q->num);
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t addr = i == 0 ? q->desc : i == 1 ? q->avail : q->used;

        qtest_writel(v->qt, v->common + C_DESC + 8 * i, (uint32_t)addr);
        qtest_writel(v->qt, v->common + C_DESC + 8 * i + 4, (uint32_t)(addr >> 32));
    }
    qtest_writew(v->qt, v->common + C_ENABLE, 1);
}

/* A descriptor in memory; the packed form has id and flags the other way round. */
static void put_desc(QVirtq *q, uint64_t at, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
    uint8_t raw[16];

    for (unsigned i = 0; i < 8; i++) {
        raw[i] = (uint8_t)(addr >> (8 * i));
    }
    for (unsigned i = 0; i < 4; i++) {
        raw[8 + i] = (uint8_t)(len >> (8 * i));
    }
    for (unsigned i = 0; i < 2; i++) {
        raw[12 + i] = (uint8_t)((is_packed(q) ? next : flags) >> (8 * i));
        raw[14 + i] = (uint8_t)((is_packed(q) ? flags : next) >> (8 * i));
    }
    qtest_memwrite(q->v->qt, at, raw, sizeof raw);
}

static uint16_t piece_flags(const QPiece *p, bool more) { return (p->write ? DESC_WRITE : 0) | (more ? DESC_NEXT : 0); }

static uint64_t put_table(QVirtq *q, const QPiece *pieces, unsigned count)
{
    uint64_t table = qtest_alloc(q->v->qt, 16 * count, 16);

    for (unsigned i = 0; i < count; i++) {
        put_desc(q, table + 16 * i, pieces[i].addr, pieces[i].len,
                 is_packed(q) ? (pieces[i].write ? DESC_WRITE : 0) : piece_flags(&pieces[i], i + 1 < count), (uint16_t)(i + 1));
    }
    return table;
}

static unsigned add_split(QVirtq *q, const QPiece *pieces, unsigned count)
{
    const uint16_t head = q->next_desc;

    for (unsigned i = 0; i < count; i++) {
        const uint16_t next = (uint16_t)((q->next_desc + 1) % q->num);

        put_desc(q, q->desc + 16 * q->next_desc, pieces[i].addr, pieces[i].len,
                 q->indirect ? DESC_INDIRECT : piece_flags(&pieces[i], i + 1 < count), next);
        q->next_desc = next;
    }
    qtest_writew(q->v->qt, q->avail + 4 + 2 * (q->avail_idx % q->num), head);
    qtest_writew(q->v->qt, q->avail + 2, ++q->avail_idx);
    return head;
}

static unsigned add_packed(QVirtq *q, const QPiece *pieces, unsigned count)
{
    const uint16_t id = q->next_id, first = q->at;
    uint16_t first_flags = 0;

    q->next_id = (uint16_t)((q->next_id + 1) % q->num);
    q->slots[id] = (uint16_t)count;
    for (unsigned i = 0; i < count; i++) {
        uint16_t flags = (q->indirect ? DESC_INDIRECT : piece_flags(&pieces[i], i + 1 < count)) |
                         (q->wrap ? DESC_AVAIL : DESC_USED);

        /* The first one is the device's when all the others are there. */
        put_desc(q, q->desc + 16 * q->at, pieces[i].addr, pieces[i].len, i ? flags : (uint16_t)(flags ^ DESC_AVAIL ^ DESC_USED), id);
        first_flags = i ? first_flags : flags;
        if (++q->at == q->num) {
            q->at = 0;
            q->wrap = !q->wrap;
        }
    }
    qtest_writew(q->v->qt, q->desc + 16 * first + 14, first_flags);
    return id;
}

unsigned qvirtq_add(QVirtq *q, const QPiece *pieces, unsigned count)
{
    QPiece table;

    if (q->indirect) {
        table = (QPiece){put_table(q, pieces, count), 16 * count, false};
        pieces = &table;
        count = 1;
    }
    return is_packed(q) ? add_packed(q, pieces, count) : add_split(q, pieces, count);
}

void qvirtq_kick(QVirtq *q)
{
    QVirtio *v = q->v;

    if (!v->modern) {
        qtest_outw(v->qt, (uint16_t)(v->io + L_NOTIFY), (uint16_t)q->index);
    } else if (v->features & QV_BIT(QV_NOTIFICATION_DATA)) {
        qtest_writel(v->qt, v->notify + q->index * v->notify_step, q->index | (uint32_t)q->avail_idx << 16);
    } else {
        qtest_writew(v->qt, v->notify + q->index * v->notify_step, (uint16_t)q->index);
    }
}

static bool poll_packed(QVirtq *q, unsigned *id, uint32_t *len)
{
    const uint64_t at = q->desc + 16 * q->used_at;
    const uint16_t flags = qtest_readw(q->v->qt, at + 14);

    if (!!(flags & DESC_AVAIL) != q->used_wrap || !!(flags & DESC_USED) != q->used_wrap) {
        return false;
    }
    *id = qtest_readw(q->v->qt, at + 12);
    *len = qtest_readl(q->v->qt, at + 8);
    g_assert_cmpuint(*id, <, q->num);
    q->used_at = (uint16_t)(q->used_at + q->slots[*id]);
    if (q->used_at >= q->num) {
        q->used_at = (uint16_t)(q->used_at - q->num);
        q->used_wrap = !q->used_wrap;
    }
    return true;
}

bool qvirtq_poll(QVirtq *q, unsigned *id, uint32_t *len)
{
    uint64_t at;

    if (is_packed(q)) {
        return poll_packed(q, id, len);
    }
    if (qtest_readw(q->v->qt, q->used + 2) == q->used_seen) {
        return false;
    }
    at = q->used + 4 + 8 * (q->used_seen++ % q->num);
    *id = qtest_readl(q->v->qt, at);
    *len = qtest_readl(q->v->qt, at + 4);
    return true;
}

/* ---- waiting ------------------------------------------------------------------------------------- */

void qvirtio_wait_for(bool (*condition)(void *opaque), void *opaque)
{
    const int64_t end = g_get_monotonic_time() + HANG_SECONDS * G_USEC_PER_SEC;

    while (!condition(opaque)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(200);
    }
}

typedef struct Wait {
    QVirtq *q;
    unsigned id;
    uint32_t len;
} Wait;

static bool has_used(void *opaque)
{
    Wait *w = opaque;

    return qvirtq_poll(w->q, &w->id, &w->len);
}

uint32_t qvirtq_wait(QVirtq *q, unsigned id)
{
    Wait w = {.q = q};

    qvirtio_wait_for(has_used, &w);
    g_assert_cmpuint(w.id, ==, id);
    return w.len;
}

static bool is_broken(void *opaque) { return qvirtio_status(opaque) & QV_S_NEEDS_RESET; }
void qvirtio_wait_broken(QVirtio *v) { qvirtio_wait_for(is_broken, v); }

void qvirtio_add_tests(const char *device, const QModeTest *tests, size_t test_count, const QMode *modes, size_t mode_count)
{
    for (const QModeTest *test = tests; test < tests + test_count; test++) {
        for (const QMode *mode = modes; mode < modes + mode_count; mode++) {
            g_autofree char *name = g_strdup_printf("/%s/%s/%s", device, test->name, mode->name);

            if (mode->modern || !test->modern_only) {
                g_test_add_data_func(name, mode, test->fn);
            }
        }
    }
}
