/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Throttle groups, their members, and the object -object throttle-group.
 *
 * The buckets are under the group's lock, which is held for a few additions only; queues and timers
 * are the member's, in its loop. Members whose requests wait stand in a line for each direction. Only the first of
 * them may send something on: one request, then it goes to the end of the line and the next one's loop is told. So
 * members that are always busy get the same number of requests through, whatever their loops are up to. The first
 * one's timer is armed, or a message is on its way to it.
 */
#include <pthread.h>

#include "block/throttle.h"
#include "core/user_object.h"
#include "qapi/qapi-object.h"

#define MAX_RATE UINT64_C(1000000000000000)
#define DEAF_LOOKS_NS (1 * NSEC_PER_MSEC)

typedef struct Bucket {
    double level, burst_level;
} Bucket;

struct ThrottleGroup {
    Vm *vm;
    char *name;
    unsigned refs;
    GPtrArray *members; /* VM lock */
    pthread_mutex_t lock; /* all below */
    ThrottleConfig config;
    Bucket buckets[THROTTLE_BUCKETS];
    int64_t leaked_at; /* monotonic ns */
    GQueue lines[2];   /* of ThrottleMember (places): whose reads, whose writes wait, in the order of their turns */
};

typedef struct IoQueue {
    BlockIo *head, **tail;
} IoQueue;

struct ThrottleMember {
    ThrottleGroup *group;
    BlockLoop *loop;
    void (*go)(void *opaque, BlockIo *io);
    void *opaque;
    unsigned drained;
    IoQueue queues[2]; /* reads, writes */
    BlockTimer *timers[2];
    bool deaf;         /* no message reaches it: it looks again every now and then */
    /* ---- under the group's lock ---- */
    GList places[2];   /* in the group's lines; data NULL: it stands in none */
    BlockMail calls[2]; /* it is the first of a line */
    bool called[2];    /* that message is on its way */
};

const char *const throttle_names[THROTTLE_BUCKETS] = {"bps-total",  "bps-read",  "bps-write",
                                                      "iops-total", "iops-read", "iops-write"};

/* ---- configuration -------------------------------------------------------------------------- */

ThrottleConfig throttle_config_default(void)
{
    ThrottleConfig config = {0};

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        config.length[i] = 1;
    }
    return config;
}

bool throttle_config_is_on(const ThrottleConfig *config)
{
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        if (config->avg[i]) {
            return true;
        }
    }
    return false;
}

static bool both_kinds(const uint64_t *values, unsigned total)
{
    return values[total] && (values[total + 1] || values[total + 2]);
}

static bool check_bucket(const ThrottleConfig *c, unsigned i, GError **err)
{
    if (c->avg[i] > MAX_RATE || c->max[i] > MAX_RATE) {
        return error_set(err, "bps/iops/max values must be within [0, %" PRIu64 "]", MAX_RATE);
    }
    if (!c->length[i]) {
        return error_set(err, "the burst length cannot be 0");
    }
    if (c->length[i] > 1 && !c->max[i]) {
        return error_set(err, "burst length set without burst rate");
    }
    if (c->max[i] && c->length[i] > MAX_RATE / c->max[i]) {
        return error_set(err, "burst length too high for this burst rate");
    }
    if (c->max[i] && !c->avg[i]) {
        return error_set(err, "bps_max/iops_max require corresponding bps/iops values");
    }
    if (c->max[i] && c->max[i] < c->avg[i]) {
        return error_set(err, "bps_max/iops_max cannot be lower than bps/iops");
    }
    return true;
}

bool throttle_config_check(const ThrottleConfig *c, GError **err)
{
    if (both_kinds(c->avg, THROTTLE_BPS_TOTAL) || both_kinds(c->avg, THROTTLE_IOPS_TOTAL) ||
        both_kinds(c->max, THROTTLE_BPS_TOTAL) || both_kinds(c->max, THROTTLE_IOPS_TOTAL)) {
        return error_set(err, "bps/iops/max total values and read/write values cannot be used at "
                              "the same time");
    }
    if (c->iops_size && !c->avg[THROTTLE_IOPS_TOTAL] && !c->avg[THROTTLE_IOPS_READ] &&
        !c->avg[THROTTLE_IOPS_WRITE]) {
        return error_set(err, "iops size requires an iops value to be set");
    }
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        if (!check_bucket(c, i, err)) {
            return false;
        }
    }
    return true;
}

bool throttle_config_take(ThrottleConfig *config, BlockOpts *opts, const char *prefix, GError **err)
{
    g_autofree char *size_key = g_strconcat(prefix, "iops-size", NULL);

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        g_autofree char *avg = g_strconcat(prefix, throttle_names[i], NULL);
        g_autofree char *max = g_strconcat(avg, "-max", NULL);
        g_autofree char *length = g_strconcat(max, "-length", NULL);

        if (!block_opts_take_size(opts, avg, &config->avg[i], NULL, err) ||
            !block_opts_take_size(opts, max, &config->max[i], NULL, err) ||
            !block_opts_take_size(opts, length, &config->length[i], NULL, err)) {
            return false;
        }
    }
    return block_opts_take_size(opts, size_key, &config->iops_size, NULL, err);
}

/* ---- buckets (group's lock) ----------------------------------------------------------------- */

static void leak(ThrottleGroup *g, int64_t now)
{
    double seconds = (double)(now - g->leaked_at) / NSEC_PER_SEC;

    g->leaked_at = now;
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        Bucket *b = &g->buckets[i];

        b->level = MAX(0, b->level - seconds * (double)g->config.avg[i]);
        b->burst_level = MAX(0, b->burst_level - seconds * (double)g->config.max[i]);
    }
}

/* ns until a request may pass this bucket; 0: now. */
static int64_t bucket_wait(const ThrottleGroup *g, unsigned i)
{
    const Bucket *b = &g->buckets[i];
    double avg = (double)g->config.avg[i], max = (double)g->config.max[i];
    double size = max > 0 ? max * (double)g->config.length[i] : avg / 10;
    double wait = 0;

    if (avg > 0 && b->level > size) {
        wait = (b->level - size) / avg;
    } else if (avg > 0 && g->config.length[i] > 1 && b->burst_level > max / 10) {
        wait = (b->burst_level - max / 10) / max;
    }
    return (int64_t)(wait * NSEC_PER_SEC);
}

static int64_t direction_wait(const ThrottleGroup *g, bool write)
{
    unsigned own = write ? 2 : 1;
    int64_t bytes = MAX(bucket_wait(g, THROTTLE_BPS_TOTAL),
                        bucket_wait(g, THROTTLE_BPS_TOTAL + own));
    int64_t ops = MAX(bucket_wait(g, THROTTLE_IOPS_TOTAL),
                      bucket_wait(g, THROTTLE_IOPS_TOTAL + own));

    return MAX(bytes, ops);
}

static void bucket_add(Bucket *b, double units)
{
    b->level += units;
    b->burst_level += units;
}

static void account(ThrottleGroup *g, bool write, uint64_t len)
{
    unsigned own = write ? 2 : 1;
    double ops = g->config.iops_size && len > g->config.iops_size
                     ? (double)len / (double)g->config.iops_size
                     : 1;

    bucket_add(&g->buckets[THROTTLE_BPS_TOTAL], (double)len);
    bucket_add(&g->buckets[THROTTLE_BPS_TOTAL + own], (double)len);
    bucket_add(&g->buckets[THROTTLE_IOPS_TOTAL], ops);
    bucket_add(&g->buckets[THROTTLE_IOPS_TOTAL + own], ops);
}

/* ---- turns (group's lock) ------------------------------------------------------------------- */

static ThrottleMember *first_of(const ThrottleGroup *g, bool write)
{
    return g->lines[write].head ? g->lines[write].head->data : NULL;
}

static void stand_in_line(ThrottleMember *m, bool write)
{
    if (!m->places[write].data) {
        m->places[write].data = m;
        g_queue_push_tail_link(&m->group->lines[write], &m->places[write]);
    }
}

static void leave_line(ThrottleMember *m, bool write)
{
    if (m->places[write].data) {
        g_queue_unlink(&m->group->lines[write], &m->places[write]);
        m->places[write].data = NULL;
    }
}

/* Tells who is the first now that it is. */
static void call_first(ThrottleGroup *g, bool write)
{
    ThrottleMember *m = first_of(g, write);

    if (m && !m->called[write] && !m->deaf) {
        m->called[write] = true;
        block_loop_send(m->loop, &m->calls[write]);
    }
}

/* ---- groups --------------------------------------------------------------------------------- */

ThrottleGroup *throttle_group_find(Vm *vm, const char *name)
{
    GPtrArray *groups = block_state(vm)->throttle_groups;

    for (unsigned i = 0; i < groups->len; i++) {
        ThrottleGroup *g = g_ptr_array_index(groups, i);

        if (!strcmp(g->name, name)) {
            return g;
        }
    }
    return NULL;
}

ThrottleGroup *throttle_group_get(Vm *vm, const char *name)
{
    ThrottleGroup *g = throttle_group_find(vm, name);

    if (!g) {
        g = g_new0(ThrottleGroup, 1);
        g->vm = vm;
        g->name = g_strdup(name);
        g->members = g_ptr_array_new();
        g->config = throttle_config_default();
        g->leaked_at = clock_monotonic_ns();
        pthread_mutex_init(&g->lock, NULL);
        g_ptr_array_add(block_state(vm)->throttle_groups, g);
    }
    g->refs++;
    return g;
}

void throttle_group_unref(ThrottleGroup *g)
{
    if (g && !--g->refs) {
        if (g->vm->block) {
            g_ptr_array_remove(g->vm->block->throttle_groups, g);
        }
        g_ptr_array_free(g->members, TRUE);
        pthread_mutex_destroy(&g->lock);
        g_free(g->name);
        g_free(g);
    }
}

const char *throttle_group_name(const ThrottleGroup *g)
{
    return g->name;
}

ThrottleConfig throttle_group_config(ThrottleGroup *g)
{
    ThrottleConfig config;

    pthread_mutex_lock(&g->lock);
    config = g->config;
    pthread_mutex_unlock(&g->lock);
    return config;
}

static void member_look_again(void *opaque);

void throttle_group_set_config(ThrottleGroup *g, const ThrottleConfig *config)
{
    pthread_mutex_lock(&g->lock);
    g->config = *config;
    memset(g->buckets, 0, sizeof g->buckets);
    g->leaked_at = clock_monotonic_ns();
    pthread_mutex_unlock(&g->lock);
    for (unsigned i = 0; i < g->members->len; i++) {
        ThrottleMember *m = g_ptr_array_index(g->members, i);

        block_loop_call(m->loop, member_look_again, m);
    }
}

/* ---- members -------------------------------------------------------------------------------- */

static bool is_write(const BlockIo *io)
{
    return io->op != BLOCK_READ;
}

static BlockIo *queue_pop(IoQueue *q)
{
    BlockIo *io = q->head;

    q->head = io->next;
    if (!q->head) {
        q->tail = &q->head;
    }
    return io;
}

/* How long until m may ask again; -1: until it is told that it is the first. The group's lock is held. */
static int64_t turn_wait(const ThrottleMember *m, bool write)
{
    if (first_of(m->group, write) != m) {
        return m->deaf ? DEAF_LOOKS_NS : -1;
    }
    leak(m->group, clock_monotonic_ns());
    return MAX(0, direction_wait(m->group, write));
}

/* 0: it is m's turn and the time has come; the first request is accounted and may go. Else as turn_wait. */
static int64_t take_turn(ThrottleMember *m, bool write)
{
    const BlockIo *io = m->queues[write].head;
    ThrottleGroup *g = m->group;
    int64_t wait;

    pthread_mutex_lock(&g->lock);
    wait = turn_wait(m, write);
    if (!wait) {
        account(g, write, io->len);
        leave_line(m, write);
        if (io->next) {
            stand_in_line(m, write);
        }
        if (first_of(g, write) != m) {
            call_first(g, write);
        }
    }
    pthread_mutex_unlock(&g->lock);
    return wait;
}

/* Nothing of m waits any more. */
static void give_up_turn(ThrottleMember *m, bool write)
{
    ThrottleGroup *g = m->group;
    bool first;

    pthread_mutex_lock(&g->lock);
    first = first_of(g, write) == m;
    leave_line(m, write);
    if (first) {
        call_first(g, write);
    }
    pthread_mutex_unlock(&g->lock);
    block_timer_cancel(m->timers[write]);
}

static void arm(ThrottleMember *m, bool write, int64_t wait_ns)
{
    block_timer_cancel(m->timers[write]);
    if (wait_ns > 0) {
        block_timer_arm(m->timers[write], clock_monotonic_ns() + wait_ns);
    }
}

/* Sends on what may go; arms the timer for the first that may not. */
static void run_queue(ThrottleMember *m, bool write)
{
    IoQueue *q = &m->queues[write];
    int64_t wait;

    while (q->head) {
        wait = m->drained ? 0 : take_turn(m, write);
        if (wait) {
            arm(m, write, wait);
            return;
        }
        m->go(m->opaque, queue_pop(q));
    }
    give_up_turn(m, write);
}

static void reads_due(void *opaque)
{
    run_queue(opaque, false);
}

static void writes_due(void *opaque)
{
    run_queue(opaque, true);
}

static void called(BlockMail *mail, bool write)
{
    ThrottleMember *m = container_of(mail, ThrottleMember, calls[write]);

    pthread_mutex_lock(&m->group->lock);
    m->called[write] = false;
    pthread_mutex_unlock(&m->group->lock);
    run_queue(m, write);
}

static void reads_called(BlockMail *mail)
{
    called(mail, false);
}

static void writes_called(BlockMail *mail)
{
    called(mail, true);
}

static void member_look_again(void *opaque)
{
    run_queue(opaque, false);
    run_queue(opaque, true);
}

/* 0: nobody is before m in the line, and the time has come. Else m stands in line, and as turn_wait. */
static int64_t begin_wait(ThrottleMember *m, bool write, uint64_t len)
{
    ThrottleGroup *g = m->group;
    int64_t wait;

    pthread_mutex_lock(&g->lock);
    stand_in_line(m, write);
    wait = turn_wait(m, write);
    if (!wait) {
        leave_line(m, write);
        account(g, write, len);
    }
    pthread_mutex_unlock(&g->lock);
    return wait;
}

bool throttle_member_pass(ThrottleMember *m, BlockIo *io)
{
    bool write = is_write(io);
    IoQueue *q = &m->queues[write];

    if (io->op == BLOCK_FLUSH || io->op == BLOCK_STATUS || m->drained) {
        return true;
    }
    if (!q->head) {
        int64_t wait = begin_wait(m, write, io->len);

        if (!wait) {
            return true;
        }
        arm(m, write, wait);
    }
    io->next = NULL;
    *q->tail = io;
    q->tail = &io->next;
    return false;
}

bool throttle_member_cancel(ThrottleMember *m, BlockIo *io)
{
    for (unsigned i = 0; i < 2; i++) {
        for (BlockIo **p = &m->queues[i].head; *p; p = &(*p)->next) {
            if (*p == io) {
                *p = io->next;
                if (m->queues[i].tail == &io->next) {
                    m->queues[i].tail = p;
                }
                if (!m->queues[i].head) {
                    give_up_turn(m, i);
                }
                return true;
            }
        }
    }
    return false;
}

void throttle_member_drain_begin(ThrottleMember *m)
{
    m->drained++;
    member_look_again(m);
}

void throttle_member_drain_end(ThrottleMember *m)
{
    m->drained--;
}

static bool is_called(ThrottleMember *m)
{
    bool called_now;

    pthread_mutex_lock(&m->group->lock);
    called_now = m->called[0] || m->called[1];
    pthread_mutex_unlock(&m->group->lock);
    return called_now;
}

void throttle_member_detach_loop(ThrottleMember *m)
{
    while (is_called(m)) { /* it stands in no line: these are the last */
        block_loop_wait(m->loop);
    }
    block_timer_free(m->timers[0]);
    block_timer_free(m->timers[1]);
    m->timers[0] = m->timers[1] = NULL;
}

void throttle_member_attach_loop(ThrottleMember *m, BlockLoop *loop)
{
    m->loop = loop;
    m->deaf = !block_loop_open_mail(loop, NULL);
    m->timers[0] = block_timer_new(loop, reads_due, m);
    m->timers[1] = block_timer_new(loop, writes_due, m);
}

static void detach_member(void *opaque)
{
    throttle_member_detach_loop(opaque);
}

static void attach_member(void *opaque)
{
    ThrottleMember *m = opaque;

    throttle_member_attach_loop(m, m->loop);
}

ThrottleMember *throttle_member_new(ThrottleGroup *group, BlockLoop *loop,
                                    void (*go)(void *opaque, BlockIo *io), void *opaque)
{
    ThrottleMember *m = g_new0(ThrottleMember, 1);

    group->refs++;
    *m = (ThrottleMember){.group = group, .loop = loop, .go = go, .opaque = opaque};
    m->queues[0].tail = &m->queues[0].head;
    m->queues[1].tail = &m->queues[1].head;
    m->calls[0].fn = reads_called;
    m->calls[1].fn = writes_called;
    block_loop_call(loop, attach_member, m);
    g_ptr_array_add(group->members, m);
    return m;
}

void throttle_member_free(ThrottleMember *m)
{
    if (m) {
        g_ptr_array_remove(m->group->members, m);
        block_loop_call(m->loop, detach_member, m);
        throttle_group_unref(m->group);
        g_free(m);
    }
}

ThrottleGroup *throttle_member_group(const ThrottleMember *m)
{
    return m->group;
}

/* ---- the object ----------------------------------------------------------------------------- */

typedef struct ThrottleObject {
    Object obj;
    ThrottleConfig config;
    ThrottleGroup *group; /* once complete */
} ThrottleObject;

static bool limits_set_json(Object *obj, const Property *prop, void *field, json_object *value,
                            GError **err)
{
    ThrottleObject *t = (ThrottleObject *)(void *)obj;
    ThrottleConfig config = obj->completed ? throttle_group_config(t->group)
                                           : throttle_config_default();
    BlockOpts *opts = block_opts_new();
    const char *left;
    bool ok;

    ok = (json_object_is_type(value, json_type_object) ||
          error_set(err, "Invalid parameter type for 'limits', expected: object")) &&
         block_opts_add_json(opts, "", value, err) &&
         throttle_config_take(&config, opts, "", err) && throttle_config_check(&config, err);
    left = ok ? block_opts_left(opts) : NULL;
    if (left) {
        ok = error_set(err, "Parameter 'limits.%s' is unexpected", left);
    }
    if (ok) {
        t->config = config;
    }
    block_opts_free(opts);
    return ok;
}

static json_object *limits_get(Object *obj, const Property *prop, const void *field)
{
    const ThrottleConfig *c = &((ThrottleObject *)(void *)obj)->config;
    json_object *limits = json_object_new_object();

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        g_autofree char *max = g_strconcat(throttle_names[i], "-max", NULL);
        g_autofree char *length = g_strconcat(max, "-length", NULL);

        json_object_object_add(limits, throttle_names[i], json_object_new_int64((int64_t)c->avg[i]));
        json_object_object_add(limits, max, json_object_new_int64((int64_t)c->max[i]));
        json_object_object_add(limits, length, json_object_new_int64((int64_t)c->length[i]));
    }
    json_object_object_add(limits, "iops-size", json_object_new_int64((int64_t)c->iops_size));
    return limits;
}

static bool limits_set(Object *obj, const Property *prop, void *field, const char *text,
                       GError **err)
{
    json_object *value = json_tokener_parse(text);
    bool ok = value ? limits_set_json(obj, prop, field, value, err)
                    : error_set(err, "Invalid parameter type for 'limits', expected: object");

    json_object_put(value);
    return ok;
}

static const PropKind prop_kind_limits = {
    .type = "ThrottleLimits",
    .json = json_type_object,
    .set = limits_set,
    .set_json = limits_set_json,
    .get = limits_get,
    .schema = &qapi_type_ThrottleLimits,
};

static bool throttle_complete(Object *obj, GError **err)
{
    ThrottleObject *t = (ThrottleObject *)(void *)obj;

    if (throttle_group_find(obj->vm, obj->name)) {
        return error_set(err, "A group with this name already exists");
    }
    if (!throttle_config_check(&t->config, err)) {
        return false;
    }
    t->group = throttle_group_get(obj->vm, obj->name);
    throttle_group_set_config(t->group, &t->config);
    return true;
}

static bool throttle_changed(Object *obj, const Property *prop, GError **err)
{
    ThrottleObject *t = (ThrottleObject *)(void *)obj;

    if (strcmp(prop->name, "limits")) {
        return error_set(err, "Property '%s' cannot be set after initialization", prop->name);
    }
    throttle_group_set_config(t->group, &t->config);
    return true;
}

static bool throttle_is_used(const Object *obj)
{
    return ((const ThrottleObject *)(const void *)obj)->group->refs > 1;
}

static void throttle_finalize(Object *obj)
{
    throttle_group_unref(((ThrottleObject *)(void *)obj)->group);
}

#define LIMIT(NAME, INDEX)                                                                         \
    PROP_U64("x-" NAME, ThrottleObject, config.avg[INDEX], .max = MAX_RATE,                        \
             .help = "limit a second; 0: none"),                                                   \
        PROP_U64("x-" NAME "-max", ThrottleObject, config.max[INDEX], .max = MAX_RATE,             \
                 .help = "limit in bursts; 0: none"),                                              \
        PROP_U64("x-" NAME "-max-length", ThrottleObject, config.length[INDEX], .def = 1,          \
                 .help = "seconds that a burst may last")

static const Property throttle_props[] = {
    LIMIT("bps-total", THROTTLE_BPS_TOTAL),
    LIMIT("bps-read", THROTTLE_BPS_READ),
    LIMIT("bps-write", THROTTLE_BPS_WRITE),
    LIMIT("iops-total", THROTTLE_IOPS_TOTAL),
    LIMIT("iops-read", THROTTLE_IOPS_READ),
    LIMIT("iops-write", THROTTLE_IOPS_WRITE),
    PROP_U64("x-iops-size", ThrottleObject, config.iops_size,
             .help = "bytes that count as one operation"),
    PROP_ANY("limits", &prop_kind_limits, ThrottleObject, config, .anytime = true,
             .help = "all limits as one structure"),
    {}};

KILN_TYPE(throttle_group) = {
    .name = "throttle-group",
    .parent = "object",
    .desc = "I/O limits that several disks share",
    .size = sizeof(ThrottleObject),
    .user_object = true,
    .props = throttle_props,
    .complete = throttle_complete,
    .changed = throttle_changed,
    .is_used = throttle_is_used,
    .finalize = throttle_finalize,
};
