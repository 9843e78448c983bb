/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network back ends and block nodes whose hosts have names, with a resolver of the test's own that answers when it is told to: until then the
 * loop goes on and nothing is made.
 */
#include <netdb.h>

#include <json-c/json.h>

#include "block/block_int.h"
#include "core/vm.h"
#include "monitor/internal.h"
#include "monitor/monitor.h"
#include "net/backend.h"
#include "util/lookup.h"
#include "util/loop.h"

/* ---- the resolver ----------------------------------------------------------------------------- */

static GMutex lock;
static GCond changed;
static unsigned asked, allowed; /* names */

int __real_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found);
int __wrap_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found);

/* "NAME.test" is 127.0.0.1, when the test says so; but "none.test" is not known. */
int __wrap_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
    if (!name || !g_str_has_suffix(name, ".test")) {
        return __real_getaddrinfo(name, port, hints, found);
    }
    g_mutex_lock(&lock);
    unsigned number = asked++;
    while (allowed <= number) {
        g_cond_wait(&changed, &lock);
    }
    g_mutex_unlock(&lock);
    return strcmp(name, "none.test") ? __real_getaddrinfo("127.0.0.1", port, hints, found) : EAI_NONAME;
}

static void allow(unsigned names)
{
    g_mutex_lock(&lock);
    allowed += names;
    g_cond_broadcast(&changed);
    g_mutex_unlock(&lock);
}

/* ---- adding ------------------------------------------------------------------------------------ */

typedef struct Fixture {
    Vm *vm;
    unsigned added;
    GError *err;         /* of the last one */
} Fixture;

static void on_added(void *opaque, GError *err)
{
    Fixture *f = opaque;

    g_clear_error(&f->err);
    f->err = err;
    f->added++;
}

static void count(void *opaque) { ++*(unsigned *)opaque; }

static void setup(Fixture *f, gconstpointer data) { f->vm = vm_new(NULL); }

static void teardown(Fixture *f, gconstpointer data)
{
    NetState *net = f->vm->net;

    net_cleanup(f->vm);
    monitor_cleanup(f->vm);
    vm_free(f->vm);
    net_state_free(net);
    g_clear_error(&f->err);
}

static void add(Fixture *f, const char *text)
{
    GError *err = NULL;
    NetdevOptions *options = netdev_read_option(text, &err);

    g_assert_no_error(err);
    netdev_add_later(f->vm, options, on_added, f);
    qapi_free(&qapi_type_NetdevOptions, options);
}

/* Adds it, sees the loop turn meanwhile, has the names answered, waits. */
static void add_slowly(Fixture *f, const char *text, unsigned names)
{
    unsigned added = f->added, turns = 0;

    add(f, text);
    for (unsigned i = 1; i <= 3; i++) {
        loop_post(f->vm->loop, count, &turns);
        while (turns < i) {
            loop_run_once(f->vm->loop, -1);
        }
    }
    g_assert_cmpuint(f->added, ==, added);
    g_assert_null(netdev_find(f->vm, "n"));
    allow(names);
    while (f->added == added) {
        loop_run_once(f->vm->loop, -1);
    }
}

static void test_names(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *text;
        unsigned names;
        const char *info;
    } good[] = {
        {"stream,id=n,server=on,addr.type=inet,addr.host=a.test,addr.port=0", 1, "listening 127.0.0.1:"},
        {"dgram,id=n,local.type=inet,local.host=a.test,local.port=0,remote.type=inet,remote.host=b.test,remote.port=9", 2,
         "udp=127.0.0.1:0/127.0.0.1:9"},
        {"socket,id=n,listen=a.test:0", 1, "socket: "},
        {"socket,id=n,udp=a.test:9,localaddr=b.test:0", 2, "socket: udp=a.test:9"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        add_slowly(f, good[i].text, good[i].names);
        g_assert_no_error(f->err);
        const Netdev *netdev = netdev_find(f->vm, "n");
        g_assert_nonnull(netdev);
        g_assert_true(strstr(netdev->info, good[i].info) == netdev->info || !strcmp(good[i].info, "socket: "));
        g_assert_true(netdev_del(f->vm, "n", NULL));
    }
    add_slowly(f, "socket,id=n,connect=none.test:1", 1);
    g_assert_nonnull(f->err);
    g_assert_nonnull(strstr(f->err->message, "'none.test' cannot be resolved"));
    g_assert_null(netdev_find(f->vm, "n"));
}

/* What needs no name is made at once, and what is refused anyway asks for none. */
static void test_at_once(Fixture *f, gconstpointer data)
{
    unsigned before = asked;

    add(f, "hubport,id=n,hubid=0");
    g_assert_cmpuint(f->added, ==, 1);
    g_assert_no_error(f->err);
    add(f, "socket,id=n,listen=a.test:0");
    g_assert_cmpuint(f->added, ==, 2);
    g_assert_nonnull(strstr(f->err->message, "Duplicate ID 'n'"));
    g_assert_cmpuint(asked, ==, before);
}

/* Two wait for the same id: the first one has it. */
static void test_race(Fixture *f, gconstpointer data)
{
    add(f, "socket,id=n,listen=a.test:0");
    add(f, "socket,id=n,listen=b.test:0");
    allow(2);
    while (f->added < 2) {
        loop_run_once(f->vm->loop, -1);
    }
    g_assert_nonnull(strstr(f->err->message, "Duplicate ID 'n'"));
    g_assert_nonnull(netdev_find(f->vm, "n"));
}

static void test_end(Fixture *f, gconstpointer data)
{
    add(f, "socket,id=n,listen=a.test:0");
    net_cleanup(f->vm);
    g_assert_cmpuint(f->added, ==, 1);
    g_assert_nonnull(strstr(f->err->message, "the machine ends"));
    allow(1); /* the thread ends by itself */
}

/* ---- block nodes -------------------------------------------------------------------------------- */

static unsigned number_asked(void)
{
    g_mutex_lock(&lock);
    unsigned number = asked;
    g_mutex_unlock(&lock);
    return number;
}

/* A command of nobody: it must not answer yet. */
static void command(Fixture *f, const char *text)
{
    json_object *message = json_tokener_parse(text);

    g_assert_nonnull(message);
    g_assert_null(qmp_dispatch(f->vm, NULL, message));
    json_object_put(message);
}

/* Waits until the loop has turned three times, has the names answered, waits until all is done. */
static void answer_slowly(Fixture *f, unsigned names)
{
    const GPtrArray *waiting = f->vm->block->slow_waiting;
    unsigned turns = 0;

    for (unsigned i = 1; i <= 3; i++) {
        loop_post(f->vm->loop, count, &turns);
        while (turns < i) {
            loop_run_once(f->vm->loop, -1);
        }
    }
    g_assert_cmpuint(waiting->len, ==, 1);
    allow(names);
    while (waiting->len) {
        loop_run_once(f->vm->loop, -1);
    }
}

/* No test before this one leaves a thread behind that asks later.
 * The name is asked for once, by the thread: opening the node, which fails since nobody listens, does not ask again (it would
 * wait for ever). */
static void test_node(Fixture *f, gconstpointer data)
{
    static const struct {
        const char *text;
        unsigned names;
    } commands[] = {
        {"{'execute':'blockdev-add','arguments':{'driver':'nbd','node-name':'n',"
         "'server':{'type':'inet','host':'a.test','port':'1'}}}", 1},
        {"{'execute':'blockdev-add','arguments':{'driver':'raw','node-name':'n','file':{'driver':'nbd',"
         "'server':{'type':'inet','host':'a.test','port':'1'}}}}", 1},
        {"{'execute':'blockdev-change-medium','arguments':{'device':'d','filename':'nbd://a.test:1/x'}}", 1},
        {"{'execute':'blockdev-change-medium','arguments':{'device':'d','filename':"
         "'json:{\"driver\":\"nbd\",\"server.type\":\"inet\",\"server.host\":\"a.test\",\"server.port\":\"1\"}'}}", 1},
        {"{'execute':'human-monitor-command','arguments':{'command-line':"
         "'drive_add -n 0 driver=nbd,node-name=n,server.type=inet,server.host=a.test,server.port=1'}}", 1},
        {"{'execute':'human-monitor-command','arguments':{'command-line':'drive_add 0 if=none,id=e,file=nbd:a.test:1'}}", 1},
        {"{'execute':'human-monitor-command','arguments':{'command-line':'change d nbd://a.test:1/x'}}", 1},
    };

    g_assert_nonnull(blk_new(f->vm, "d", NULL, 0, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        unsigned before = number_asked();

        command(f, commands[i].text);
        answer_slowly(f, commands[i].names);
        g_assert_cmpuint(number_asked(), ==, before + commands[i].names);
        g_assert_cmpuint(f->vm->block->nodes->len, ==, 0);
    }
}

static void test_node_end(Fixture *f, gconstpointer data)
{
    command(f, "{'execute':'blockdev-add','arguments':{'driver':'nbd','node-name':'n',"
               "'server':{'type':'inet','host':'a.test','port':'1'}}}");
    blk_cleanup(f->vm);
    allow(1); /* the thread ends by itself */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/net-names/slow", Fixture, NULL, setup, test_names, teardown);
    g_test_add("/net-names/at-once", Fixture, NULL, setup, test_at_once, teardown);
    g_test_add("/net-names/race", Fixture, NULL, setup, test_race, teardown);
    g_test_add("/net-names/node", Fixture, NULL, setup, test_node, teardown);
    g_test_add("/net-names/end", Fixture, NULL, setup, test_end, teardown);
    g_test_add("/net-names/node-end", Fixture, NULL, setup, test_node_end, teardown);
    return g_test_run();
}
