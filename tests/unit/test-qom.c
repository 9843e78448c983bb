/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP's view of types and objects: qom-*, device-list-properties, object-*, device_*, query-memdev, query-iothreads. */
#include <json-c/json.h>

#include "chipset.h"
#include "core/event.h"
#include "monitor/qmp.h"
#include "net/backend.h"
#include "qapi/qapi-commands.h"

#define PCIHP_SELECT 0xae10
#define PCIHP_EJECT 0xae08

typedef struct Fixture {
    Chipset c;
    GPtrArray *events; /* char *: name and data */
} Fixture;

static void on_event(void *opaque, const QapiEvent *event, const void *data)
{
    json_object *json = qapi_write(event->data, data);

    g_ptr_array_add(opaque, g_strdup_printf("%s %s", event->name, json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)));
    json_object_put(json);
}

static void setup(Fixture *f, gconstpointer unused)
{
    chipset_setup(&f->c);
    chipset_reset(&f->c);
    object_container(object_container(f->c.vm->root, "machine"), "peripheral");
    f->events = g_ptr_array_new_with_free_func(g_free);
    vm_on_event(f->c.vm, on_event, f->events);
}

static void teardown(Fixture *f, gconstpointer unused)
{
    vm_off_event(f->c.vm, on_event, f->events);
    g_ptr_array_free(f->events, true);
    NetState *net = f->c.vm->net;

    chipset_teardown(&f->c);
    net_state_free(net);
}

static const QapiCommand *command_named(const char *name)
{
    for (const QapiCommand *const *c = qapi_commands; *c; c++) {
        if (!strcmp((*c)->name, name)) {
            return *c;
        }
    }
    g_error("there is no command %s", name);
}

/* As the monitor does it: "NAME {arguments}" gives the reply's text, or "CLASS: message". */
static char *ask(Fixture *f, const char *text)
{
    g_autofree char *name = g_strndup(text, strcspn(text, " "));
    const char *rest = text + strlen(name);
    const QapiCommand *command = command_named(name);
    json_object *json = json_tokener_parse(*rest ? rest : "{}");
    QmpCall call = {.vm = f->c.vm, .command = command};
    void *args = NULL;
    g_autoptr(GError) err = NULL;

    g_assert_nonnull(json);
    bool ok = command->raw || !command->args || qapi_read(command->args, json, 0, &args, &err);
    call.args = command->raw ? (void *)json : args;
    ok = ok && command->handler(&call, &err);
    char *reply;
    if (ok) {
        json_object *result = command->result ? qapi_write(command->result, call.result) : json_object_new_object();

        reply = g_strdup(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(result);
    } else {
        reply = g_strdup_printf("%d: %s", err->code, err->message);
    }
    if (command->result) {
        qapi_free(command->result, call.result);
    }
    if (args) {
        qapi_free(command->args, args);
    }
    json_object_put(json);
    return reply;
}

static void expect(Fixture *f, const char *text, const char *reply)
{
    g_autofree char *got = ask(f, text);

    if (strcmp(got, reply)) {
        g_error("%s: %s, not %s", text, got, reply);
    }
}

static void expect_part(Fixture *f, const char *text, const char *part)
{
    g_autofree char *got = ask(f, text);

    if (!strstr(got, part)) {
        g_error("%s: %s, without %s", text, got, part);
    }
}

static void expect_error(Fixture *f, const char *text, KilnErrorClass class, const char *part)
{
    g_autofree char *got = ask(f, text);
    g_autofree char *prefix = g_strdup_printf("%d: ", class);

    if (!g_str_has_prefix(got, prefix) || !strstr(got, part)) {
        g_error("%s: %s, not %s%s", text, got, prefix, part);
    }
}

/* ---- types ------------------------------------------------------------------------------------- */

/* What libvirt must get an answer for, whatever is built in. */
static void test_types(Fixture *f, gconstpointer unused)
{
    expect(f, "qom-list-types {\"implements\":\"memory-backend\"}",
           "[{\"name\":\"memory-backend-file\",\"parent\":\"memory-backend\"},"
           "{\"name\":\"memory-backend-memfd\",\"parent\":\"memory-backend\"},"
           "{\"name\":\"memory-backend-ram\",\"parent\":\"memory-backend\"}]");
    expect_part(f, "qom-list-types {\"implements\":\"memory-backend\",\"abstract\":true}",
                "{\"name\":\"memory-backend\",\"abstract\":true,\"parent\":\"object\"}");
    expect_part(f, "qom-list-types {\"implements\":\"user-creatable\"}", "\"iothread\"");
    expect(f, "qom-list-types {\"implements\":\"nosuch\"}", "[]");
    expect_part(f, "qom-list-types {}", "{\"name\":\"pc-i440fx-7.2-machine\",\"parent\":\"machine\"}");
    static const char *const asked[][2] = {
        {"none-machine", "{\"name\":\"memory-backend\",\"type\":\"link<memory-backend>\""},
        {"pc-i440fx-7.2-machine", "{\"name\":\"type\",\"type\":\"string\"}"},
        {"host-x86_64-cpu", "{\"name\":\"sse4.1\",\"type\":\"bool\""},
        {"max-x86_64-cpu", "{\"name\":\"unavailable-features\",\"type\":\"strList\""},
        {"memory-backend-file", "{\"name\":\"discard-data\",\"type\":\"bool\""},
        {"memory-backend-memfd", "{\"name\":\"hugetlb\",\"type\":\"bool\""},
        {"isa-serial", "{\"name\":\"realized\",\"type\":\"bool\""},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(asked); i++) {
        g_autofree char *text = g_strdup_printf("qom-list-properties {\"typename\":\"%s\"}", asked[i][0]);
        expect_part(f, text, asked[i][1]);
    }
    expect(f, "qom-list-properties {\"typename\":\"nosuch\"}", "3: Class 'nosuch' not found");
    expect_part(f, "device-list-properties {\"typename\":\"isa-debug-exit\"}",
                "{\"name\":\"iobase\",\"type\":\"uint32\",\"description\":");
    expect_part(f, "device-list-properties {\"typename\":\"isa-debug-exit\"}", "\"default-value\":1281");
    g_autofree char *serial = ask(f, "device-list-properties {\"typename\":\"isa-serial\"}");
    g_assert_null(strstr(serial, "realized"));
    expect(f, "device-list-properties {\"typename\":\"nosuch\"}", "3: Device 'nosuch' not found");
    expect_error(f, "device-list-properties {\"typename\":\"iothread\"}", KILN_ERROR_GENERIC, "expects a non-abstract device");
    expect_error(f, "device-list-properties {\"typename\":\"pci-device\"}", KILN_ERROR_GENERIC, "non-abstract");
}

/* ---- objects -------------------------------------------------------------------------------------- */

static void test_objects(Fixture *f, gconstpointer unused)
{
    expect(f, "object-add {\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":1048576,\"host-nodes\":[0],"
              "\"policy\":\"bind\"}", "{}");
    expect_error(f, "object-add {\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":4096}", KILN_ERROR_GENERIC, "'m'");
    expect_error(f, "object-add {\"qom-type\":\"nosuch\",\"id\":\"x\"}", KILN_ERROR_GENERIC, "'nosuch'");
    expect_error(f, "object-add {\"id\":\"x\"}", KILN_ERROR_GENERIC, "'qom-type' is missing");
    expect_error(f, "object-add {\"qom-type\":\"memory-backend-ram\",\"id\":\"x\"}", KILN_ERROR_GENERIC, "'size' is missing");
    expect(f, "query-memdev", "[{\"id\":\"m\",\"size\":1048576,\"merge\":true,\"dump\":true,\"prealloc\":false,"
                              "\"share\":false,\"reserve\":true,\"host-nodes\":[0],\"policy\":\"bind\"}]");
    expect(f, "qom-get {\"path\":\"/objects/m\",\"property\":\"size\"}", "1048576");
    expect(f, "qom-get {\"path\":\"m\",\"property\":\"type\"}", "\"memory-backend-ram\"");
    expect(f, "qom-get {\"path\":\"/\",\"property\":\"objects\"}", "\"/objects\"");
    expect(f, "qom-get {\"path\":\"/objects/m\",\"property\":\"host-nodes\"}", "[0]");
    expect_error(f, "qom-get {\"path\":\"/objects/m\",\"property\":\"nope\"}", KILN_ERROR_GENERIC, "nope' not found");
    expect(f, "qom-get {\"path\":\"/nope\",\"property\":\"x\"}", "3: Device '/nope' not found");
    expect(f, "qom-list {\"path\":\"\"}", "3: Device '' not found");
    expect_part(f, "qom-list {\"path\":\"/objects\"}", "{\"name\":\"m\",\"type\":\"child<memory-backend-ram>\"}");
    expect_part(f, "qom-list {\"path\":\"/objects/m\"}", "{\"name\":\"policy\",\"type\":\"HostMemPolicy\"}");
    expect_error(f, "qom-set {\"path\":\"/objects/m\",\"property\":\"size\",\"value\":4096}", KILN_ERROR_GENERIC, "size");
    expect_error(f, "qom-set {\"path\":\"/objects/m\",\"property\":\"type\",\"value\":\"x\"}", KILN_ERROR_GENERIC,
                 "is not writable");
    expect(f, "qom-set {\"path\":\"/objects/m\",\"property\":\"merge\",\"value\":false}", "{}");
    expect(f, "qom-get {\"path\":\"/objects/m\",\"property\":\"merge\"}", "false");
    expect_error(f, "qom-set {\"path\":\"/objects/m\",\"property\":\"merge\",\"value\":\"off\"}", KILN_ERROR_GENERIC, "boolean");
    expect(f, "object-del {\"id\":\"m\"}", "{}");
    expect_error(f, "object-del {\"id\":\"m\"}", KILN_ERROR_GENERIC, "object 'm' not found");
    expect(f, "query-memdev", "[]");
    expect(f, "object-add {\"qom-type\":\"iothread\",\"id\":\"io\",\"poll-max-ns\":5}", "{}");
    expect_part(f, "query-iothreads", "\"poll-max-ns\":5,\"poll-grow\":0,\"poll-shrink\":0,\"aio-max-batch\":0}]");
}

/* ---- devices that come and go ------------------------------------------------------------------------- */

static void test_hotplug(Fixture *f, gconstpointer unused)
{
    Chipset *c = &f->c;

    expect_error(f, "device_add {\"id\":\"x\"}", KILN_ERROR_GENERIC, "'driver' is missing");
    expect_error(f, "device_add {\"driver\":\"nosuch\",\"id\":\"x\"}", KILN_ERROR_GENERIC, "not a valid device model name");
    expect_error(f, "device_add {\"driver\":\"isa-debug-exit\",\"id\":\"x\"}", KILN_ERROR_GENERIC,
                 "Bus 'isa.0' does not support hotplugging");
    expect_error(f, "device_add {\"driver\":\"pci-testdev\",\"id\":\"x\",\"foo\":\"1\"}", KILN_ERROR_GENERIC,
                 "Property 'pci-testdev.foo' not found");
    expect_error(f, "device_add {\"driver\":\"pci-testdev\",\"id\":\"x\",\"bus\":\"nope\"}", KILN_ERROR_GENERIC, "'nope' not found");
    expect(f, "qom-list {\"path\":\"/machine/peripheral\"}", "[{\"name\":\"type\",\"type\":\"string\"}]");
    expect(f, "device_add {\"driver\":\"pci-testdev\",\"id\":\"pt\",\"addr\":\"5\"}", "{}");
    expect_error(f, "device_add {\"driver\":\"pci-testdev\",\"id\":\"pt\"}", KILN_ERROR_GENERIC, "Duplicate device ID 'pt'");
    expect(f, "qom-get {\"path\":\"/machine/peripheral/pt\",\"property\":\"hotplugged\"}", "true");
    expect_error(f, "device_del {\"id\":\"nope\"}", KILN_ERROR_DEVICE_NOT_FOUND, "Device 'nope' not found");
    expect_error(f, "device_del {\"id\":\"/machine\"}", KILN_ERROR_DEVICE_NOT_FOUND, "not found");
    expect(f, "device_del {\"id\":\"pt\"}", "{}");
    g_assert_cmpuint(f->events->len, ==, 0); /* the guest has not let it go */
    expect_part(f, "qom-list {\"path\":\"/machine/peripheral\"}", "child<pci-testdev>");
    address_space_store(&c->vm->io, PCIHP_SELECT, 4, 0);
    address_space_store(&c->vm->io, PCIHP_EJECT, 4, 1 << 5);
    g_assert_cmpuint(f->events->len, ==, 1);
    g_assert_cmpstr(f->events->pdata[0], ==, "DEVICE_DELETED {\"device\":\"pt\",\"path\":\"/machine/peripheral/pt\"}");
    expect(f, "qom-list {\"path\":\"/machine/peripheral\"}", "[{\"name\":\"type\",\"type\":\"string\"}]");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/qom/" name, Fixture, NULL, setup, fn, teardown)
    ADD("types", test_types);
    ADD("objects", test_objects);
    ADD("hotplug", test_hotplug);
    return g_test_run();
}
