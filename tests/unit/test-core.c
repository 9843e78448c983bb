/* SPDX-License-Identifier: GPL-2.0-or-later */
/* core/: regions and address spaces, clocks, state tables, properties; util/: loop, keyval, suggestions. */
#include <pthread.h>
#include <unistd.h>

#include "core/dma.h"
#include "core/state.h"
#include "core/vm.h"
#include "util/keyval.h"
#include "util/lock.h"

/* ---- a device to play with ------------------------------------------------------------ */

typedef struct Toy {
    Device dev;
    uint32_t number;
    uint8_t small;
    bool flag;
    char *text;
    uint16_t array[3];
    Timer timer;
    unsigned fired, resets;
    uint64_t last_offset, last_value;
    unsigned last_size;
    Region region;
} Toy;

static const Property toy_props[] = {
    PROP_U32("number", Toy, number, .def = 7, .max = 100, .help = "a number"),
    PROP_BOOL("flag", Toy, flag, .def = true),
    PROP_STRING("text", Toy, text, .def_str = "hello"),
    {}};

static void toy_fire(void *opaque) { ((Toy *)opaque)->fired++; }
static void toy_init(Object *obj)
{
    Toy *toy = (Toy *)(void *)obj;
    timer_init(&toy->timer, obj->vm, CLOCK_VIRTUAL, toy_fire, toy);
}
static void toy_reset(Device *dev) { ((Toy *)(void *)dev)->resets++; }

static bool flag_needed(void *obj) { return ((Toy *)obj)->flag; }
static const StateField toy_flag_fields[] = {STATE_BOOL(Toy, flag), {}};
static const StateDesc toy_flag_state = {.name = "toy/flag", .version = 1, .min_version = 1, .fields = toy_flag_fields,
                                         .needed = flag_needed};
static const StateDesc *const toy_subsections[] = {&toy_flag_state, NULL};
static const StateField toy_fields[] = {
    STATE_U32(Toy, number, .max = 50), STATE_U8(Toy, small), STATE_ARRAY(Toy, array, u16, 3), STATE_TIMER(Toy, timer), {}};
static const StateDesc toy_state = {.name = "toy", .version = 2, .min_version = 1, .fields = toy_fields,
                                    .subsections = toy_subsections};

DEVICE_TYPE(toy) = {.name = "toy", .parent = "device", .size = sizeof(Toy), .props = toy_props, .state = &toy_state,
                    .init = toy_init, .reset = toy_reset};

static uint64_t toy_read(void *opaque, uint64_t offset, unsigned size)
{
    Toy *toy = opaque;
    toy->last_offset = offset;
    toy->last_size = size;
    return 0x8877665544332211u >> (8 * offset);
}
static void toy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Toy *toy = opaque;
    toy->last_offset = offset;
    toy->last_size = size;
    toy->last_value = value;
}

typedef struct Fixture {
    Vm *vm;
    Toy *toy;
} Fixture;

static void setup(Fixture *f, gconstpointer data)
{
    f->vm = vm_new(NULL);
    clock_virtual_detach(f->vm);
    f->toy = (Toy *)(void *)device_new(f->vm, "toy");
    g_assert_true(device_realize(&f->toy->dev, NULL, NULL));
}
static void teardown(Fixture *f, gconstpointer data) { vm_free(f->vm); }

/* ---- regions ------------------------------------------------------------------------------ */

static void test_ram_and_priority(Fixture *f, gconstpointer data)
{
    Region low, high, alias;
    uint64_t v;

    g_assert_true(region_init_ram(&low, f->vm, "low", 0x10000, NULL));
    g_assert_true(region_init_ram(&high, f->vm, "high", 0x1000, NULL));
    region_add(&f->vm->system_memory, 0, &low);
    region_add_overlap(&f->vm->system_memory, 0x2000, &high, 1);
    region_init_alias(&alias, "alias", &low, 0x1000, 0x3000);
    region_add(&f->vm->system_memory, 0x100000, &alias);
    g_assert_cmpuint(address_space_view(&f->vm->memory)->count, ==, 4);
    g_assert_true(address_space_store(&f->vm->memory, 0x2000, 4, 0xaabbccdd));
    g_assert_cmphex(load32_le(region_host(&high)), ==, 0xaabbccdd);
    g_assert_cmphex(load32_le(region_host(&low) + 0x2000), ==, 0);
    /* the alias sees low's own memory, not what covers it elsewhere */
    g_assert_true(address_space_store(&f->vm->memory, 0x101000, 4, 0x11223344));
    g_assert_cmphex(load32_le(region_host(&low) + 0x2000), ==, 0x11223344);
    /* across the border of two ranges */
    g_assert_true(address_space_store(&f->vm->memory, 0x1ffc, 8, 0x1122334455667788));
    g_assert_true(address_space_load(&f->vm->memory, 0x1ffc, 8, &v));
    g_assert_cmphex(v, ==, 0x1122334455667788);
    g_assert_cmphex(load32_le(region_host(&high)), ==, 0x11223344);
    region_set_enabled(&high, false);
    g_assert_cmpuint(address_space_view(&f->vm->memory)->count, ==, 2);
    region_set_readonly(&low, true);
    address_space_store(&f->vm->memory, 0, 4, 0x55);
    g_assert_cmphex(load32_le(region_host(&low)), ==, 0);
    g_assert_true(address_space_write_rom(&f->vm->memory, 0, "abcd", 4));
    g_assert_cmpmem(region_host(&low), 4, "abcd", 4);
    g_assert_false(address_space_load(&f->vm->memory, 0x40000000, 4, &v));
    g_assert_cmphex(v, ==, 0);
    g_assert_false(address_space_load(&f->vm->io, 0x10, 2, &v));
    g_assert_cmphex(v, ==, 0xffff);
    region_destroy(&low);
    region_destroy(&high);
    region_remove(&alias);
}

static void test_alias_of_window(Fixture *f, gconstpointer data)
{
    Region box, leaf, window;
    static const RegionOps ops = {.read = toy_read, .write = toy_write};
    uint64_t v;

    region_init_container(&box, "box", UINT64_MAX);
    region_init_io(&leaf, &ops, f->toy, "leaf", 8);
    region_add(&box, 0xc0004, &leaf);
    region_init_alias(&window, "window", &box, 0xc0000, 0x10000);
    region_add(&f->vm->system_memory, 0xc0000, &window);
    g_assert_true(address_space_load(&f->vm->memory, 0xc0005, 1, &v));
    g_assert_cmphex(v, ==, 0x22);
    g_assert_cmphex(f->toy->last_offset, ==, 1);
    /* a window's target may begin below it, and a region may end at the very top */
    region_set_alias_offset(&window, 0xc0006);
    g_assert_true(address_space_load(&f->vm->memory, 0xc0001, 1, &v));
    g_assert_cmphex(f->toy->last_offset, ==, 3);
    region_remove(&window);
    region_init_alias(&window, "all", &box, 0, UINT64_MAX);
    region_add(&f->vm->system_memory, 0, &window);
    region_set_address(&leaf, UINT64_MAX - 7);
    g_assert_true(address_space_load(&f->vm->memory, UINT64_MAX - 6, 1, &v));
    g_assert_cmphex(f->toy->last_offset, ==, 1);
    region_remove(&window);
    region_remove(&leaf);
    region_destroy(&box);
}

static void test_access_sizes(Fixture *f, gconstpointer data)
{
    static const RegionOps narrow = {.read = toy_read, .write = toy_write, .valid = {.max_size = 2}, .impl = {.max_size = 1}};
    static const RegionOps wide = {.read = toy_read, .write = toy_write, .valid = {.min_size = 2}, .impl = {.min_size = 4}};
    Region a, b;
    uint64_t v;

    region_init_io(&a, &narrow, f->toy, "narrow", 8);
    region_init_io(&b, &wide, f->toy, "wide", 8);
    region_add(&f->vm->system_io, 0x100, &a);
    region_add(&f->vm->system_io, 0x200, &b);
    g_assert_true(address_space_load(&f->vm->io, 0x100, 4, &v));
    g_assert_cmphex(v, ==, 0x44332211);
    g_assert_cmpuint(f->toy->last_size, ==, 1);
    g_assert_cmphex(f->toy->last_offset, ==, 3);
    /* unaligned: in aligned pieces */
    g_assert_true(address_space_load(&f->vm->io, 0x101, 2, &v));
    g_assert_cmphex(v, ==, 0x3322);
    /* below the minimum: refused, and 0 is what QEMU 7.2 reads then */
    g_assert_false(address_space_load(&f->vm->io, 0x200, 1, &v));
    g_assert_cmphex(v, ==, 0);
    /* part of a wider register */
    g_assert_true(address_space_load(&f->vm->io, 0x202, 2, &v));
    g_assert_cmphex(v, ==, 0x4433);
    g_assert_cmpuint(f->toy->last_size, ==, 4);
    g_assert_cmphex(f->toy->last_offset, ==, 0);
    /* past the end: what is there, and ones */
    g_assert_false(address_space_load(&f->vm->io, 0x107, 2, &v));
    g_assert_cmphex(v, ==, 0xff88);
    region_remove(&a);
    region_remove(&b);
}

/* Accesses in the device's own sizes go there by a short way, which must know each limit. */
static void test_direct_accesses(Fixture *f, gconstpointer data)
{
    static const RegionOps ops = {.read = toy_read, .write = toy_write, .valid = {.max_size = 8, .unaligned = true},
                                  .impl = {.max_size = 8, .unaligned = true}};
    static const RegionOps only_writes = {.write = toy_write};
    static const RegionOps backwards = {.read = toy_read, .big_endian = true};
    Region low, over, other;
    uint64_t v;

    region_init_io(&low, &ops, f->toy, "low", 16);
    region_add(&f->vm->system_io, 0x300, &low);
    for (unsigned size = 1; size <= 8; size *= 2) {
        g_assert_true(address_space_load(&f->vm->io, 0x300, size, &v));
        g_assert_cmphex(v, ==, 0x8877665544332211u & all_ones(size)); /* a device may answer more than was asked */
        g_assert_true(address_space_store(&f->vm->io, 0x308, size, UINT64_MAX));
        g_assert_cmphex(f->toy->last_value, ==, all_ones(size));
        g_assert_cmphex(f->toy->last_offset, ==, 8);
        g_assert_cmpuint(f->toy->last_size, ==, size);
    }
    /* A register whose second byte something else covers keeps its width. */
    region_init_io(&over, &only_writes, f->toy, "over", 1);
    region_add_overlap(&f->vm->system_io, 0x301, &over, 1);
    g_assert_true(address_space_load(&f->vm->io, 0x300, 4, &v));
    g_assert_cmphex(v, ==, 0x44332211);
    g_assert_true(address_space_load(&f->vm->io, 0x301, 1, &v));
    g_assert_cmphex(v, ==, 0xff); /* write only */
    region_remove(&over);
    /* The same place in the same transaction, another device: no answer may come from the old one. */
    region_init_io(&other, &backwards, f->toy, "other", 16);
    region_begin(f->vm);
    region_remove(&low);
    region_add(&f->vm->system_io, 0x300, &other);
    region_commit(f->vm);
    g_assert_true(address_space_load(&f->vm->io, 0x300, 2, &v));
    g_assert_cmphex(v, ==, 0x1122);
    region_begin(f->vm);
    region_remove(&other);
    region_init_io(&other, &only_writes, f->toy, "other", 16); /* and even in the same memory */
    region_add(&f->vm->system_io, 0x300, &other);
    region_commit(f->vm);
    g_assert_true(address_space_load(&f->vm->io, 0x300, 2, &v));
    g_assert_cmphex(v, ==, 0xffff);
    region_remove(&other);
}

static void test_dma_is_ram_only(Fixture *f, gconstpointer data)
{
    static const RegionOps ops = {.read = toy_read, .write = toy_write};
    Region ram, rom, io;
    uint8_t buf[16];
    IoVec vec = {0};

    g_assert_true(region_init_ram(&ram, f->vm, "ram", 0x1000, NULL));
    g_assert_true(region_init_rom(&rom, f->vm, "rom", 0x1000, NULL));
    region_init_io(&io, &ops, f->toy, "io", 0x1000);
    region_add(&f->vm->system_memory, 0, &ram);
    region_add(&f->vm->system_memory, 0x1000, &rom);
    region_add(&f->vm->system_memory, 0x2000, &io);
    g_assert_true(dma_write(&f->toy->dev, 0xff0, "0123456789abcdef", 16));
    g_assert_false(dma_write(&f->toy->dev, 0xff8, "0123456789abcdef", 16));
    g_assert_false(dma_read(&f->toy->dev, 0x2000, buf, 4));
    g_assert_cmphex(load32_le(buf), ==, 0);
    g_assert_false(dma_read(&f->toy->dev, UINT64_MAX - 3, buf, 16));
    g_assert_false(dma_map(&f->toy->dev, 0xff0, 32, true, &vec));
    g_assert_cmpuint(vec.size, ==, 0);
    g_assert_true(dma_map(&f->toy->dev, 0x10, 32, true, &vec));
    ram.ram->dirty = g_new0(unsigned long, 1);
    dma_unmap(&f->toy->dev, &vec, true, 32);
    g_assert_cmphex(ram.ram->dirty[0], ==, 1);
    f->toy->dev.dma_off = true;
    g_assert_false(dma_read(&f->toy->dev, 0, buf, 4));
    region_destroy(&ram);
    region_destroy(&rom);
    region_remove(&io);
}

/* ---- state --------------------------------------------------------------------------------- */

typedef struct Keeper {
    Timer timer;
    uint32_t by_default; /* what no subsection would mean: 7 */
    uint32_t value, last;
} Keeper;

static bool keeper_pre_load(void *obj, GError **err)
{
    Keeper *k = obj;

    STATE_KEEP(k->by_default);
    state_cancel_timer(&k->timer);
    k->by_default = 7;
    return true;
}

static bool keeper_post_load(void *obj, unsigned version, GError **err)
{
    return ((Keeper *)obj)->last != 13 || error_set(err, "13");
}

static const StateField keeper_fields[] = {STATE_U32(Keeper, value), STATE_U32(Keeper, last, .max = 99), {}};
static const StateDesc keeper_state = {
    .name = "keeper", .version = 1, .fields = keeper_fields, .pre_load = keeper_pre_load, .post_load = keeper_post_load};

static void ring(void *opaque) {}

/* A refused section changes nothing: neither fields, nor what pre_load set, nor timers. */
static void test_refused_state(Fixture *f, gconstpointer data)
{
    static const uint8_t out_of_range[] = {0, 0, 0, 1, 0, 0, 0, 100}, refused[] = {0, 0, 0, 1, 0, 0, 0, 13},
                         good[] = {0, 0, 0, 1, 0, 0, 0, 14}, cut[] = {0, 0, 0};
    const struct {
        const uint8_t *bytes;
        size_t len;
    } bad[] = {{out_of_range, 8}, {refused, 8}, {cut, 3}, {good, 7}};
    Keeper k = {.by_default = 1, .value = 2, .last = 3};

    timer_init(&k.timer, f->vm, CLOCK_VIRTUAL, ring, NULL);
    timer_arm(&k.timer, 12345);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;

        g_assert_false(state_load_fields(&keeper_state, &k, 1, bad[i].bytes, bad[i].len, &err));
        g_assert_nonnull(err);
        g_assert_cmpuint(k.by_default, ==, 1);
        g_assert_cmpuint(k.value, ==, 2);
        g_assert_cmpuint(k.last, ==, 3);
        g_assert_cmpint(timer_expiry(&k.timer), ==, 12345);
    }
    g_assert_true(state_load_fields(&keeper_state, &k, 1, good, 8, NULL));
    g_assert_cmpuint(k.by_default, ==, 7);
    g_assert_cmpuint(k.last, ==, 14);
    g_assert_false(timer_pending(&k.timer));
}

/* ---- clocks -------------------------------------------------------------------------------- */

static void test_virtual_clock(Fixture *f, gconstpointer data)
{
    g_assert_cmpint(clock_now(f->vm, CLOCK_VIRTUAL), ==, 0);
    timer_arm(&f->toy->timer, 100);
    clock_virtual_advance_to(f->vm, 99);
    g_assert_cmpuint(f->toy->fired, ==, 0);
    g_assert_cmpint(clock_virtual_deadline(f->vm), ==, 100);
    clock_virtual_advance_to(f->vm, 200);
    g_assert_cmpuint(f->toy->fired, ==, 1);
    g_assert_cmpint(clock_now(f->vm, CLOCK_VIRTUAL), ==, 200);
    g_assert_false(timer_pending(&f->toy->timer));
    timer_arm(&f->toy->timer, 300);
    timer_cancel(&f->toy->timer);
    clock_virtual_advance_to(f->vm, 400);
    g_assert_cmpuint(f->toy->fired, ==, 1);
}

/* Another thread reads the clock while the machine stops and goes on: it never goes back. */
typedef struct ClockReader {
    Vm *vm;
    gint over, turns;
} ClockReader;

static void *read_clock(void *opaque)
{
    ClockReader *r = opaque;

    for (int64_t last = 0; !g_atomic_int_get(&r->over); g_atomic_int_inc(&r->turns)) {
        const int64_t now = clock_now(r->vm, CLOCK_VIRTUAL);

        g_assert_cmpint(now, >=, last);
        last = now;
    }
    return NULL;
}

static void test_virtual_clock_elsewhere(void)
{
    ClockReader r = {.vm = vm_new(NULL)};
    pthread_t thread;

    g_assert_cmpint(pthread_create(&thread, NULL, read_clock, &r), ==, 0);
    for (unsigned i = 0; i < 20000 || g_atomic_int_get(&r.turns) < 20000; i++) {
        clock_virtual_enable(r.vm, !(i & 1));
    }
    g_atomic_int_set(&r.over, 1);
    pthread_join(thread, NULL);
    vm_free(r.vm);
}

/* ---- state ----------------------------------------------------------------------------------- */

static void test_state_round_trip(Fixture *f, gconstpointer data)
{
    Toy *toy = f->toy;
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) err = NULL;

    toy->number = 42;
    toy->small = 3;
    toy->array[2] = 0x1234;
    timer_arm(&toy->timer, 777);
    state_save_fields(&toy_state, toy, out);
    g_assert_cmpuint(out->len, ==, 4 + 1 + 6 + 8 + (1 + 1 + 8 + 4 + 1));
    toy->number = toy->small = 0;
    toy->array[2] = 0;
    timer_cancel(&toy->timer);
    g_assert_true(state_load_fields(&toy_state, toy, 2, out->data, out->len, &err));
    g_assert_cmpuint(toy->number, ==, 42);
    g_assert_cmphex(toy->array[2], ==, 0x1234);
    g_assert_cmpint(timer_expiry(&toy->timer), ==, 777);
    /* out of range, cut off, left over, wrong version: nothing is changed */
    toy->small = 9;
    out->data[3] = 51;
    g_assert_false(state_load_fields(&toy_state, toy, 2, out->data, out->len, &err));
    g_assert_nonnull(strstr(err->message, "number"));
    g_clear_error(&err);
    out->data[3] = 1;
    for (guint len = 0; len < out->len; len++) {
        if (len != 19) { /* without its subsection it is whole again */
            g_assert_false(state_load_fields(&toy_state, toy, 2, out->data, len, NULL));
            g_assert_cmpuint(toy->number, ==, 42);
            g_assert_cmpuint(toy->small, ==, 9);
        }
    }
    g_assert_false(state_load_fields(&toy_state, toy, 3, out->data, out->len, NULL));
}

static void test_state_stream(Fixture *f, gconstpointer data)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) err = NULL;

    f->toy->number = 5;
    state_set_machine_name(f->vm, "toybox");
    state_save_vm(f->vm, out);
    f->toy->number = 6;
    g_assert_true(state_load_vm(f->vm, out->data, out->len, &err));
    g_assert_cmpuint(f->toy->number, ==, 5);
    state_set_machine_name(f->vm, "other");
    g_assert_false(state_load_vm(f->vm, out->data, out->len, &err));
    g_assert_nonnull(strstr(err->message, "toybox"));
    json_object *json = state_describe_vm(f->vm);
    g_assert_nonnull(strstr(json_object_to_json_string(json), "\"vmsd_name\": \"toy\""));
    json_object_put(json);
}

/* ---- properties and options --------------------------------------------------------------------- */

static void test_properties(Fixture *f, gconstpointer data)
{
    Object *obj = object_new(f->vm, type_find("toy"), NULL);
    Toy *toy = (Toy *)(void *)obj;
    g_autoptr(GError) err = NULL;

    g_assert_cmpuint(toy->number, ==, 7);
    g_assert_cmpstr(toy->text, ==, "hello");
    g_assert_true(object_set(obj, "number", "0x10", NULL));
    g_assert_cmpuint(toy->number, ==, 16);
    g_assert_false(object_set(obj, "number", "101", NULL));
    g_assert_false(object_set(obj, "number", "-1", NULL));
    g_assert_false(object_set(obj, "number", "", NULL));
    g_assert_false(object_set(obj, "numbr", "1", &err));
    g_assert_nonnull(strstr(err->message, "did you mean 'number'"));
    g_clear_error(&err);
    g_assert_true(object_set(obj, "flag", "off", NULL));
    g_assert_false(object_set(obj, "flag", "maybe", NULL));
    json_object *json = json_object_new_string("12");
    g_assert_false(object_set_json(obj, "number", json, NULL));
    json_object_put(json);
    object_unref(obj);
    g_assert_false(object_set(&f->toy->dev.obj, "number", "1", &err)); /* realized */
    g_assert_true(object_resolve(f->vm, "/machine/unattached/device[0]") == &f->toy->dev.obj);
}

static void test_keyval(void)
{
    g_autoptr(GError) err = NULL;
    g_autoptr(KeyVals) kv = keyvals_parse("-x", "first,a=1,,2,flag,nodash,size=1.5K", "name", NULL);
    bool flag = false, dash = true;
    uint64_t size = 0;

    g_assert_cmpstr(keyvals_get(kv, "name"), ==, "first");
    g_assert_cmpstr(keyvals_get(kv, "a"), ==, "1,2");
    g_assert_true(keyvals_bool(kv, "flag", &flag, NULL) && flag);
    g_assert_true(keyvals_bool(kv, "dash", &dash, NULL) && !dash);
    g_assert_false(keyvals_finish(kv, &err));
    g_assert_true(keyvals_size(kv, "size", 1, &size, NULL));
    g_assert_cmpuint(size, ==, 1536);
    g_assert_true(keyvals_finish(kv, NULL));
    g_assert_false(parse_size("99999999999999999999", 1, &size));
    g_assert_false(parse_size("16E", 1, &size));
    g_assert_false(parse_size("-1", 1, &size));
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void count(void *opaque) { ++*(int *)opaque; }

static void test_loop(void)
{
    Loop *loop = loop_new("test", NULL);
    int posts = 0, timers = 0;
    LoopTimer *soon = loop_timer_new(loop, count, &timers), *late = loop_timer_new(loop, count, &timers);

    loop_post(loop, count, &posts);
    loop_post(loop, count, &posts);
    g_assert_true(loop_run_once(loop, -1));
    g_assert_cmpint(posts, ==, 2);
    loop_timer_arm(late, clock_monotonic_ns() + 3600 * NSEC_PER_SEC);
    loop_timer_arm(soon, clock_monotonic_ns());
    while (!timers) {
        loop_run_once(loop, -1);
    }
    g_assert_false(loop_timer_pending(soon));
    g_assert_true(loop_timer_pending(late));
    loop_timer_free(soon);
    loop_timer_free(late);
    loop_kick(loop); /* before the wait begins: it does not block, the one after it does as it is told */
    loop_run_once(loop, -1);
    loop_free(loop);
}

/* A timer that falls due while the loop works out how long to wait for it: the wait ends at once. */
static void test_loop_due(void)
{
    Loop *loop = loop_new("test", NULL);
    unsigned fired = 0;
    LoopTimer *timer = loop_timer_new(loop, count, &fired);

    alarm(60); /* a loop that forgets the timer waits for ever */
    for (unsigned i = 0; i < 100000; i++) {
        loop_timer_arm(timer, clock_monotonic_ns() + i % 400);
        while (loop_timer_pending(timer)) {
            loop_run_once(loop, -1);
        }
    }
    alarm(0);
    g_assert_cmpuint(fired, ==, 100000);
    loop_timer_free(timer);
    loop_free(loop);
}

/* Busy waiting of 20 ms at most, in a loop that is woken after 50. */
typedef struct Watched {
    unsigned looks;
    unsigned left; /* of them that find something */
} Watched;

static bool watched_look(void *opaque)
{
    Watched *w = opaque;

    w->looks++;
    w->left -= w->left > 0;
    return w->left;
}

static void watched_begin(void *opaque) { (void)opaque; }

static bool watched_end(void *opaque)
{
    (void)opaque;
    return false;
}

static unsigned looks_in_a_wait(Loop *loop, LoopTimer *timer, const Watched *w)
{
    const unsigned before = w->looks;

    loop_timer_arm(timer, clock_monotonic_ns() + 50 * NSEC_PER_MSEC);
    while (loop_timer_pending(timer)) {
        loop_run_once(loop, -1);
    }
    return w->looks - before;
}

/* No wait fits into the 20 ms, as where waking takes long: it is tried, kept while it catches something, and given up. */
static void test_loop_polling(void)
{
    static const LoopPollOps ops = {.look = watched_look, .begin = watched_begin, .end = watched_end};
    Loop *loop = loop_new("test", NULL);
    Watched w = {.left = 100};
    LoopPoll *poll = loop_poll_add(loop, &ops, &w);
    unsigned fired = 0;
    LoopTimer *timer = loop_timer_new(loop, count, &fired);

    alarm(120);
    loop_set_polling(loop, (LoopPolling){.max_ns = 20 * NSEC_PER_MSEC});
    while (w.left) {
        looks_in_a_wait(loop, timer, &w);
    }
    g_assert_cmpuint(looks_in_a_wait(loop, timer, &w), >, 0);
    while (looks_in_a_wait(loop, timer, &w)) {
    }
    alarm(0);
    loop_poll_remove(poll);
    loop_timer_free(timer);
    loop_free(loop);
}

/* Two threads arm timers of a loop that sleeps, under its guard, a few for now and most for soon. */
typedef struct Sleeper {
    Loop *loop;
    Lock lock;
    pthread_cond_t fired;
} Sleeper;

typedef struct Waker {
    Sleeper *sleeper;
    bool fired;
} Waker;

static void take_guard(void *opaque) { lock_acquire(&((Sleeper *)opaque)->lock); }
static void leave_guard(void *opaque) { lock_release(&((Sleeper *)opaque)->lock); }

static void tell_waker(void *opaque)
{
    Waker *waker = opaque;

    waker->fired = true;
    pthread_cond_broadcast(&waker->sleeper->fired);
}

static void *arm_and_wait(void *opaque)
{
    Sleeper *s = opaque;
    Waker waker = {s};
    LoopTimer *timer = loop_timer_new(s->loop, tell_waker, &waker);

    for (unsigned i = 0; i < 5000; i++) {
        lock_acquire(&s->lock);
        waker.fired = false;
        loop_timer_arm(timer, i % 7 ? clock_monotonic_ns() + i % 91 * 100 : 0);
        while (!waker.fired) {
            pthread_cond_wait(&s->fired, &s->lock.mutex);
        }
        lock_release(&s->lock);
    }
    loop_timer_free(timer);
    return NULL;
}

static void *run_loop(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

static void test_loop_armed_elsewhere(void)
{
    Sleeper s = {.loop = loop_new("test", NULL), .fired = PTHREAD_COND_INITIALIZER};
    pthread_t runner, wakers[2];

    lock_init(&s.lock, "test", LOCK_RANK_VM);
    loop_set_guard(s.loop, (LoopGuard){take_guard, leave_guard, &s});
    alarm(120); /* a timer that the sleeper does not hear of is waited for for ever */
    g_assert_cmpint(pthread_create(&runner, NULL, run_loop, s.loop), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(wakers); i++) {
        g_assert_cmpint(pthread_create(&wakers[i], NULL, arm_and_wait, &s), ==, 0);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(wakers); i++) {
        pthread_join(wakers[i], NULL);
    }
    loop_quit(s.loop);
    pthread_join(runner, NULL);
    alarm(0);
    loop_free(s.loop);
    lock_destroy(&s.lock);
    pthread_cond_destroy(&s.fired);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(path, fn) g_test_add("/core/" path, Fixture, NULL, setup, fn, teardown)
    ADD("region/priority", test_ram_and_priority);
    ADD("region/window", test_alias_of_window);
    ADD("region/sizes", test_access_sizes);
    ADD("region/direct", test_direct_accesses);
    ADD("dma/ram-only", test_dma_is_ram_only);
    ADD("state/refused", test_refused_state);
    ADD("clock/virtual", test_virtual_clock);
    g_test_add_func("/core/clock/virtual-elsewhere", test_virtual_clock_elsewhere);
    ADD("state/round-trip", test_state_round_trip);
    ADD("state/stream", test_state_stream);
    ADD("property", test_properties);
    g_test_add_func("/util/keyval", test_keyval);
    g_test_add_func("/util/loop", test_loop);
    g_test_add_func("/util/loop/due", test_loop_due);
    g_test_add_func("/util/loop/polling", test_loop_polling);
    g_test_add_func("/util/loop/armed-elsewhere", test_loop_armed_elsewhere);
    return g_test_run();
}
