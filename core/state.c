/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State tables: saving, loading and describing one section.
 *
 * Loading has two phases. The first takes all fields, nested structs and subsections, and keeps a
 * journal of the memory that it overwrites; nothing acts on them yet. The second arms the timers and runs
 * the post_loads, from the innermost struct to the section itself. An error in either puts memory
 * and timers back.
 */
#include "core/state.h"

#include "core/state_internal.h"
#include "core/vm.h"

/* ---- bytes -------------------------------------------------------------------------------- */

void state_put(StateBuf *buf, const void *data, size_t len)
{
    g_byte_array_append(buf->out, data, (guint)len);
}

void state_put_be(StateBuf *buf, uint64_t value, unsigned size)
{
    uint8_t bytes[8];

    store64_be(bytes, value);
    state_put(buf, bytes + 8 - size, size);
}

bool state_get(StateBuf *buf, void *data, size_t len)
{
    if (len > buf->in_len - buf->in_pos) {
        buf->failed = true;
        buf->in_pos = buf->in_len;
        memset(data, 0, len);
        return false;
    }
    memcpy(data, buf->in + buf->in_pos, len);
    buf->in_pos += len;
    return true;
}

uint64_t state_get_be(StateBuf *buf, unsigned size)
{
    uint8_t bytes[8] = {0};

    state_get(buf, bytes + 8 - size, size);
    return load64_be(bytes);
}

/* ---- kinds --------------------------------------------------------------------------------- */

static bool check_range(const StateField *f, uint64_t value, bool is_signed, size_t size, GError **err)
{
    bool ok = true;

    if (is_signed) {
        unsigned shift = 64 - 8 * (unsigned)size;
        int64_t v = (int64_t)(value << shift) >> shift;

        ok = !(f->max || f->min) || (v >= (int64_t)f->min && (!f->max || v <= (int64_t)f->max));
    } else {
        ok = value >= f->min && (!f->max || value <= f->max);
    }
    return ok || error_set(err, "field '%s' is 0x%" G_GINT64_MODIFIER "x, which is out of range", f->name, value);
}

static void put_number(StateBuf *buf, const StateField *f, const void *elem, size_t size)
{
    state_put_be(buf, load_le(elem, (unsigned)size), (unsigned)size);
}

static bool get_number(StateBuf *buf, const StateField *f, void *elem, size_t size, GError **err)
{
    uint64_t v = state_get_be(buf, (unsigned)size);

    if (!check_range(f, v, f->kind->is_signed, size, err)) {
        return false;
    }
    store_le(elem, v, (unsigned)size);
    return true;
}

static bool get_equal(StateBuf *buf, const StateField *f, void *elem, size_t size, GError **err)
{
    uint64_t v = state_get_be(buf, (unsigned)size), mine = load_le(elem, (unsigned)size);

    return v == mine || error_set(err, "field '%s' is 0x%" G_GINT64_MODIFIER "x, this machine has 0x%" G_GINT64_MODIFIER "x",
                                  f->name, v, mine);
}

static void put_i32_le(StateBuf *buf, const StateField *f, const void *elem, size_t size)
{
    state_put_be(buf, load_le(elem, 4), 4); /* "le" is less or equal, not little-endian */
}

static bool get_i32_le(StateBuf *buf, const StateField *f, void *elem, size_t size, GError **err)
{
    int32_t v = (int32_t)state_get_be(buf, 4), mine = (int32_t)load_le(elem, 4);

    if (v < 0 || v > mine) {
        return error_set(err, "field '%s' is %d, at most %d is understood", f->name, v, mine);
    }
    return true; /* what this side understands does not change by what the other side had */
}

static void put_bool(StateBuf *buf, const StateField *f, const void *elem, size_t size)
{
    state_put_be(buf, *(const bool *)elem, 1);
}

static bool get_bool(StateBuf *buf, const StateField *f, void *elem, size_t size, GError **err)
{
    uint64_t v = state_get_be(buf, 1);

    if (v > 1) {
        return error_set(err, "field '%s' is %u, a truth value is 0 or 1", f->name, (unsigned)v);
    }
    *(bool *)elem = v;
    return true;
}

static void put_buffer(StateBuf *buf, const StateField *f, const void *elem, size_t size)
{
    state_put(buf, elem, size);
}

static bool get_buffer(StateBuf *buf, const StateField *f, void *elem, size_t size, GError **err)
{
    return state_get(buf, elem, size) || error_set(err, "field '%s' is cut off", f->name);
}

static void put_unused(StateBuf *buf, const StateField *f, const void *elem, size_t size)
{
    g_autofree uint8_t *zeros = g_malloc0(size);

    state_put(buf, zeros, size);
}

static bool get_unused(StateBuf *buf, const StateField *f, void *elem, size_t size, GError **err)
{
    g_autofree uint8_t *skipped = g_malloc(size);

    return state_get(buf, skipped, size) || error_set(err, "field '%s' is cut off", f->name);
}

static void put_timer(StateBuf *buf, const StateField *f, const void *elem, size_t size)
{
    state_put_be(buf, (uint64_t)timer_expiry(elem), 8);
}

static bool get_timer(StateBuf *buf, const StateField *f, void *elem, size_t size, GError **err)
{
    int64_t deadline = (int64_t)state_get_be(buf, 8);

    if (deadline < -1) {
        return error_set(err, "field '%s' is a time before the clock's begin", f->name);
    }
    state_journal_timer(buf, elem, deadline);
    return true;
}

#define NUMBER(name, type, sign)                                                                   \
    const StateKind state_kind_##name = {type, sign, put_number, get_number}
NUMBER(u8, "uint8", false);
NUMBER(u16, "uint16", false);
NUMBER(u32, "uint32", false);
NUMBER(u64, "uint64", false);
NUMBER(i8, "int8", true);
NUMBER(i16, "int16", true);
NUMBER(i32, "int32", true);
NUMBER(i64, "int64", true);
const StateKind state_kind_bool = {"bool", false, put_bool, get_bool};
const StateKind state_kind_u8_equal = {"uint8 equal", false, put_number, get_equal};
const StateKind state_kind_u16_equal = {"uint16 equal", false, put_number, get_equal};
const StateKind state_kind_u32_equal = {"uint32 equal", false, put_number, get_equal};
const StateKind state_kind_i32_equal = {"int32 equal", true, put_number, get_equal};
const StateKind state_kind_i32_le = {"int32 le", true, put_i32_le, get_i32_le};
const StateKind state_kind_buffer = {"buffer", false, put_buffer, get_buffer};
const StateKind state_kind_unused = {"unused_buffer", false, put_unused, get_unused};
const StateKind state_kind_timer = {"timer", false, put_timer, get_timer};
const StateKind state_kind_struct = {"struct", false, NULL, NULL};

/* ---- walking ------------------------------------------------------------------------------------ */

static unsigned field_count(const StateField *f, const void *obj)
{
    if (f->count_size) {
        uint64_t n = load_le((const char *)obj + f->count_offset, f->count_size);

        return (unsigned)MIN(n, f->count);
    }
    return f->count ? f->count : 1;
}

static bool field_exists(const StateField *f, const void *obj, unsigned version)
{
    return f->since <= version && (!f->exists || f->exists(obj, version));
}

static char *field_elem(const StateField *f, const void *obj, unsigned i)
{
    char *base = (char *)(uintptr_t)obj + f->offset;

    if (f->pointer) {
        base = *(char **)(void *)base;
    }
    return base + (size_t)i * f->stride;
}

/* One array_len entry stands for all elements when they are alike whatever their values are. */
static bool is_uniform(const StateField *f)
{
    if (f->exists) {
        return false;
    }
    if (f->kind == &state_kind_struct) {
        if (f->desc->subsections && f->desc->subsections[0]) {
            return false;
        }
        for (const StateField *sub = f->desc->fields; sub->name; sub++) {
            if (!is_uniform(sub)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- saving and describing ------------------------------------------------------------------------ */

static void save_desc(StateBuf *buf, const StateDesc *desc, void *obj, json_object *json);

/* A name that stands several times in a table is shown with a number: "unused[0]", "unused[1]". */
static char *shown_name(const StateDesc *desc, const StateField *f)
{
    unsigned before = 0, all = 0;

    for (const StateField *other = desc->fields; other->name; other++) {
        if (!strcmp(other->name, f->name)) {
            before += other < f;
            all++;
        }
    }
    return all > 1 ? g_strdup_printf("%s[%u]", f->name, before) : g_strdup(f->name);
}

static json_object *describe_elem(const StateDesc *desc, const StateField *f, unsigned i, unsigned n)
{
    json_object *json = json_object_new_object();
    g_autofree char *name = shown_name(desc, f);

    json_object_object_add(json, "name", json_object_new_string(name));
    if (n > 1 && is_uniform(f)) {
        json_object_object_add(json, "array_len", json_object_new_int((int)n));
    } else if (n > 1) {
        json_object_object_add(json, "index", json_object_new_int((int)i));
    }
    json_object_object_add(json, "type", json_object_new_string(f->kind->type));
    return json;
}

static void save_field(StateBuf *buf, const StateDesc *desc, const StateField *f, void *obj, json_object *fields)
{
    unsigned n = field_count(f, obj);

    for (unsigned i = 0; i < n; i++) {
        bool listed = fields && (i == 0 || !is_uniform(f));
        json_object *json = listed ? describe_elem(desc, f, i, n) : NULL;
        guint start = buf->out->len;
        void *elem = field_elem(f, obj, i);

        if (f->kind == &state_kind_struct) {
            json_object *sub = json ? json_object_new_object() : NULL;

            if (sub) {
                json_object_object_add(sub, "vmsd_name", json_object_new_string(f->desc->name));
                json_object_object_add(sub, "version", json_object_new_int((int)f->desc->version));
                json_object_object_add(json, "struct", sub);
            }
            save_desc(buf, f->desc, elem, sub);
        } else {
            f->kind->put(buf, f, elem, f->size);
        }
        if (json) {
            json_object_object_add(json, "size", json_object_new_int((int)(buf->out->len - start)));
            json_object_array_add(fields, json);
        }
    }
}

static void save_subsections(StateBuf *buf, const StateDesc *desc, void *obj, json_object *json)
{
    json_object *list = NULL;

    for (const StateDesc *const *sub = desc->subsections; sub && *sub; sub++) {
        if ((*sub)->needed && !(*sub)->needed(obj)) {
            continue;
        }
        json_object *item = NULL;
        if (json) {
            item = json_object_new_object();
            list = list ? list : json_object_new_array();
            json_object_object_add(item, "vmsd_name", json_object_new_string((*sub)->name));
            json_object_object_add(item, "version", json_object_new_int((int)(*sub)->version));
            json_object_array_add(list, item);
        }
        state_put_be(buf, STATE_SUBSECTION, 1);
        state_put_be(buf, strlen((*sub)->name), 1);
        state_put(buf, (*sub)->name, strlen((*sub)->name));
        state_put_be(buf, (*sub)->version, 4);
        save_desc(buf, *sub, obj, item);
    }
    if (list) {
        json_object_object_add(json, "subsections", list);
    }
}

static void save_desc(StateBuf *buf, const StateDesc *desc, void *obj, json_object *json)
{
    json_object *fields = json ? json_object_new_array() : NULL;

    if (desc->pre_save) {
        desc->pre_save(obj);
    }
    if (json) {
        json_object_object_add(json, "fields", fields);
    }
    for (const StateField *f = desc->fields; f && f->name; f++) {
        if (field_exists(f, obj, desc->version)) {
            save_field(buf, desc, f, obj, fields);
        }
    }
    save_subsections(buf, desc, obj, json);
}

void state_save_described(const StateDesc *desc, void *obj, GByteArray *out, json_object *json)
{
    StateBuf buf = {.out = out};

    save_desc(&buf, desc, obj, json);
}

void state_save_fields(const StateDesc *desc, void *obj, GByteArray *out)
{
    state_save_described(desc, obj, out, NULL);
}

/* ---- loading ----------------------------------------------------------------------------------------- */

typedef struct Undo {
    void *at;
    size_t len;
    void *old;
} Undo;

typedef struct TimerSet {
    Timer *timer;
    int64_t deadline;
} TimerSet;

/* A post_load to be run when all fields are there. */
typedef struct Finish {
    const StateDesc *desc;
    void *obj;
    unsigned version;
} Finish;

struct StateJournal {
    GArray *undo;     /* Undo */
    GArray *timers;   /* TimerSet: the new deadlines; while the post_loads run, the old ones */
    GArray *finishes; /* Finish, innermost first */
};

static void journal(StateBuf *buf, void *at, size_t len)
{
    Undo undo = {at, len, g_memdup2(at, len)};

    g_array_append_val(buf->journal->undo, undo);
}

void state_journal_timer(StateBuf *buf, Timer *timer, int64_t deadline)
{
    TimerSet set = {timer, deadline};

    g_array_append_val(buf->journal->timers, set);
}

/* Of the section that this thread is loading. */
static __thread StateBuf *loading;

void state_keep(void *at, size_t len) { journal(loading, at, len); }
void state_cancel_timer(Timer *timer) { state_journal_timer(loading, timer, -1); }

static bool load_desc(StateBuf *buf, const StateDesc *desc, void *obj, unsigned version, GError **err);

static bool load_field(StateBuf *buf, const StateField *f, void *obj, GError **err)
{
    unsigned n = field_count(f, obj);

    if (f->count_size && load_le((char *)obj + f->count_offset, f->count_size) > f->count) {
        return error_set(err, "field '%s' has more elements than this machine (%u)", f->name, f->count);
    }
    for (unsigned i = 0; i < n; i++) {
        void *elem = field_elem(f, obj, i);
        bool ok;

        if (f->kind == &state_kind_struct) {
            unsigned version = f->desc_version ? f->desc_version : f->desc->version;

            ok = load_desc(buf, f->desc, elem, version, err);
        } else {
            if (f->kind != &state_kind_timer && f->kind != &state_kind_unused) {
                journal(buf, elem, f->kind == &state_kind_buffer || !f->stride ? f->size : f->stride);
            }
            ok = f->kind->get(buf, f, elem, f->size, err);
        }
        if (ok && buf->failed) {
            ok = error_set(err, "field '%s' is cut off", f->name);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

static const StateDesc *find_subsection(const StateDesc *desc, const char *name)
{
    for (const StateDesc *const *sub = desc->subsections; sub && *sub; sub++) {
        if (!strcmp((*sub)->name, name)) {
            return *sub;
        }
    }
    return NULL;
}

/* A subsection follows only if its name begins with ours; "/" comes next, but for old ones ("pckbd_outport"). */
static bool load_subsections(StateBuf *buf, const StateDesc *desc, void *obj, GError **err)
{
    while (buf->in_len - buf->in_pos >= 2 && buf->in[buf->in_pos] == STATE_SUBSECTION) {
        size_t len = buf->in[buf->in_pos + 1];

        if (buf->in_len - buf->in_pos < 2 + len + 4) {
            return true; /* not a subsection after all: the caller sees the rest */
        }
        g_autofree char *name = g_strndup((const char *)buf->in + buf->in_pos + 2, len);
        size_t own = strlen(desc->name);
        const StateDesc *sub = find_subsection(desc, name);
        if (!sub && (strncmp(name, desc->name, own) || name[own] != '/')) {
            return true;
        }
        if (!sub) {
            g_autofree char *shown = g_strescape(name, NULL);
            return error_set(err, "subsection '%s' is not known", shown);
        }
        buf->in_pos += 2 + len;
        unsigned version = (unsigned)state_get_be(buf, 4);
        if (!load_desc(buf, sub, obj, version, err)) {
            g_prefix_error(err, "subsection '%s': ", name);
            return false;
        }
    }
    return true;
}

static bool load_desc(StateBuf *buf, const StateDesc *desc, void *obj, unsigned version, GError **err)
{
    if (version > desc->version || version < desc->min_version) {
        return error_set(err, "'%s' has version %u; %u to %u are understood", desc->name, version, desc->min_version,
                         desc->version);
    }
    if (desc->pre_load && !desc->pre_load(obj, err)) {
        return false;
    }
    for (const StateField *f = desc->fields; f && f->name; f++) {
        if (field_exists(f, obj, version) && !load_field(buf, f, obj, err)) {
            return false;
        }
    }
    if (!load_subsections(buf, desc, obj, err)) {
        return false;
    }
    if (desc->post_load) {
        Finish finish = {desc, obj, version};

        g_array_append_val(buf->journal->finishes, finish);
    }
    return true;
}

/* Sets the timers to the journal's deadlines and notes what they had; back: in the other order. */
static void swap_timers(StateJournal *j, bool back)
{
    for (unsigned i = 0; i < j->timers->len; i++) {
        TimerSet *set = &g_array_index(j->timers, TimerSet, back ? j->timers->len - 1 - i : i);
        int64_t before = timer_expiry(set->timer);

        if (set->deadline == -1) {
            timer_cancel(set->timer);
        } else {
            timer_arm(set->timer, set->deadline);
        }
        set->deadline = before;
    }
}

static bool run_post_loads(StateJournal *j, GError **err)
{
    for (unsigned i = 0; i < j->finishes->len; i++) {
        Finish *finish = &g_array_index(j->finishes, Finish, i);

        if (!finish->desc->post_load(finish->obj, finish->version, err)) {
            g_prefix_error(err, "'%s': ", finish->desc->name);
            return false;
        }
    }
    return true;
}

static void journal_free(StateJournal *j, bool put_back)
{
    for (unsigned i = j->undo->len; i-- > 0;) {
        Undo *undo = &g_array_index(j->undo, Undo, i);

        if (put_back && undo->len) {
            memcpy(undo->at, undo->old, undo->len);
        }
        g_free(undo->old);
    }
    g_array_free(j->undo, true);
    g_array_free(j->timers, true);
    g_array_free(j->finishes, true);
}

static bool load(const StateDesc *desc, void *obj, unsigned version, const uint8_t *data, size_t len, size_t *used,
                 GError **err)
{
    StateJournal j = {g_array_new(false, false, sizeof(Undo)), g_array_new(false, false, sizeof(TimerSet)),
                      g_array_new(false, false, sizeof(Finish))};
    StateBuf buf = {.in = data, .in_len = len, .journal = &j};
    bool ok;

    loading = &buf;
    ok = load_desc(&buf, desc, obj, version, err);
    loading = NULL;
    if (ok && !used && buf.in_pos != len) {
        ok = error_set(err, "%zu bytes are left over", len - buf.in_pos);
    }
    if (used) {
        *used = buf.in_pos;
    }
    if (ok) {
        swap_timers(&j, false);
        ok = run_post_loads(&j, err);
        if (!ok) {
            swap_timers(&j, true);
        }
    }
    journal_free(&j, !ok);
    return ok;
}

bool state_load_prefix(const StateDesc *desc, void *obj, unsigned version, const uint8_t *data, size_t len,
                       size_t *used, GError **err)
{
    return load(desc, obj, version, data, len, used, err);
}

bool state_load_fields(const StateDesc *desc, void *obj, unsigned version, const uint8_t *data, size_t len,
                       GError **err)
{
    return load(desc, obj, version, data, len, NULL, err);
}
