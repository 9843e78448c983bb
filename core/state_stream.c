/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine's sections as QEMU 7.2 puts them into its stream (RAM is migration's, not here). */
#include "core/state_internal.h"
#include "core/vm.h"
#include "core/vm_internal.h"

typedef struct Section {
    char *name;
    int instance;
    const StateDesc *desc;
    void *obj;
} Section;

struct VmStates {
    GArray *sections; /* Section, in the order of saving */
    char *machine;    /* name in the configuration section */
};

static VmStates *states_of(Vm *vm)
{
    if (!vm->states) {
        vm->states = g_new0(VmStates, 1);
        vm->states->sections = g_array_new(false, false, sizeof(Section));
    }
    return vm->states;
}

void vm_states_free(Vm *vm)
{
    if (vm->states) {
        for (unsigned i = 0; i < vm->states->sections->len; i++) {
            g_free(g_array_index(vm->states->sections, Section, i).name);
        }
        g_array_free(vm->states->sections, true);
        g_free(vm->states->machine);
        g_clear_pointer(&vm->states, g_free);
    }
}

void state_set_machine_name(Vm *vm, const char *name)
{
    g_free(states_of(vm)->machine);
    vm->states->machine = g_strdup(name);
}

int state_register(Vm *vm, const char *name, int instance, const StateDesc *desc, void *obj)
{
    GArray *sections = states_of(vm)->sections;
    Section section = {g_strdup(name), instance, desc, obj};
    unsigned at = sections->len;

    for (unsigned i = 0; instance < 0 && i < sections->len; i++) {
        Section *s = &g_array_index(sections, Section, i);

        section.instance = !strcmp(s->name, name) ? MAX(section.instance, s->instance) : section.instance;
    }
    section.instance += instance < 0;
    while (at > 0 && g_array_index(sections, Section, at - 1).desc->priority < desc->priority) {
        at--;
    }
    g_array_insert_val(sections, at, section);
    return section.instance;
}

void state_unregister(Vm *vm, const void *obj)
{
    GArray *sections = states_of(vm)->sections;

    for (unsigned i = sections->len; i-- > 0;) {
        Section *s = &g_array_index(sections, Section, i);

        if (s->obj == obj) {
            g_free(s->name);
            g_array_remove_index(sections, i);
        }
    }
}

/* ---- saving ------------------------------------------------------------------------------- */

static json_object *describe_section(const Section *s)
{
    json_object *json = json_object_new_object();

    json_object_object_add(json, "name", json_object_new_string(s->name));
    json_object_object_add(json, "instance_id", json_object_new_int(s->instance));
    json_object_object_add(json, "vmsd_name", json_object_new_string(s->desc->name));
    json_object_object_add(json, "version", json_object_new_int((int)s->desc->version));
    return json;
}

static void save_section(StateBuf *buf, const Section *s, unsigned id, json_object *json)
{
    state_put_be(buf, STATE_SECTION_FULL, 1);
    state_put_be(buf, id, 4);
    state_put_be(buf, strlen(s->name), 1);
    state_put(buf, s->name, strlen(s->name));
    state_put_be(buf, (uint32_t)s->instance, 4);
    state_put_be(buf, s->desc->version, 4);
    state_save_described(s->desc, s->obj, buf->out, json);
    state_put_be(buf, STATE_FOOTER, 1);
    state_put_be(buf, id, 4);
}

/* All sections into buf; the description is returned. */
static json_object *save_sections(Vm *vm, StateBuf *buf)
{
    GArray *sections = states_of(vm)->sections;
    json_object *root = json_object_new_object(), *devices = json_object_new_array();

    json_object_object_add(root, "page_size", json_object_new_int(4096));
    json_object_object_add(root, "devices", devices);
    for (unsigned i = 0; i < sections->len; i++) {
        Section *s = &g_array_index(sections, Section, i);

        if (!s->desc->needed || s->desc->needed(s->obj)) {
            json_object *json = describe_section(s);

            save_section(buf, s, i + 1, json);
            json_object_array_add(devices, json);
        }
    }
    return root;
}

void state_save_vm(Vm *vm, GByteArray *out)
{
    StateBuf buf = {.out = out};
    const char *machine = states_of(vm)->machine ? vm->states->machine : "none";

    state_put_be(&buf, STATE_MAGIC, 4);
    state_put_be(&buf, STATE_STREAM_VERSION, 4);
    state_put_be(&buf, STATE_CONFIGURATION, 1);
    state_put_be(&buf, strlen(machine), 4);
    state_put(&buf, machine, strlen(machine));
    json_object *json = save_sections(vm, &buf);
    state_put_be(&buf, STATE_EOF, 1);
    const char *text = json_object_to_json_string_ext(json, JSON_C_TO_STRING_SPACED);
    state_put_be(&buf, STATE_DESCRIPTION, 1);
    state_put_be(&buf, strlen(text), 4);
    state_put(&buf, text, strlen(text));
    json_object_put(json);
}

json_object *state_describe_vm(Vm *vm)
{
    g_autoptr(GByteArray) sink = g_byte_array_new();
    StateBuf buf = {.out = sink};

    return save_sections(vm, &buf);
}

/* ---- loading ---------------------------------------------------------------------------------- */

/* Escaped: what is no name of ours ends up in a message. */
static char *get_string(StateBuf *buf, unsigned len_size, size_t limit)
{
    size_t len = state_get_be(buf, len_size);

    if (len > limit || len > buf->in_len - buf->in_pos) {
        buf->failed = true;
        return g_strdup("");
    }
    g_autofree char *raw = g_strndup((const char *)buf->in + buf->in_pos, len);
    buf->in_pos += len;
    return g_strescape(raw, NULL);
}

static bool load_header(Vm *vm, StateBuf *buf, GError **err)
{
    if (state_get_be(buf, 4) != STATE_MAGIC) {
        return error_set(err, "this is not a machine state: it does not begin with 'QEVM'");
    }
    unsigned version = (unsigned)state_get_be(buf, 4);
    if (version != STATE_STREAM_VERSION) {
        return error_set(err, "the state's version is %u, only %u is understood", version, STATE_STREAM_VERSION);
    }
    if (state_get_be(buf, 1) != STATE_CONFIGURATION) {
        return error_set(err, "the state has no configuration section");
    }
    g_autofree char *machine = get_string(buf, 4, 255);
    const char *mine = states_of(vm)->machine ? vm->states->machine : "none";
    return !strcmp(machine, mine) || error_set(err, "the state is of machine '%s', this is '%s'", machine, mine);
}

static Section *find_section(Vm *vm, const char *name, int instance)
{
    GArray *sections = states_of(vm)->sections;

    for (unsigned i = 0; i < sections->len; i++) {
        Section *s = &g_array_index(sections, Section, i);

        if (s->instance == instance && !strcmp(s->name, name)) {
            return s;
        }
    }
    return NULL;
}

static bool load_section(Vm *vm, StateBuf *buf, GError **err)
{
    unsigned id = (unsigned)state_get_be(buf, 4);
    g_autofree char *name = get_string(buf, 1, 255);
    int instance = (int)state_get_be(buf, 4);
    unsigned version = (unsigned)state_get_be(buf, 4);
    Section *s = buf->failed ? NULL : find_section(vm, name, instance);
    size_t used;

    if (!s) {
        return error_set(err, "section '%s' instance %d is of a device that this machine has not", name, instance);
    }
    if (!state_load_prefix(s->desc, s->obj, version, buf->in + buf->in_pos, buf->in_len - buf->in_pos, &used, err)) {
        g_prefix_error(err, "section '%s' instance %d: ", name, instance);
        return false;
    }
    buf->in_pos += used;
    if (state_get_be(buf, 1) != STATE_FOOTER || state_get_be(buf, 4) != id) {
        return error_set(err, "section '%s' instance %d does not end where its fields end", name, instance);
    }
    return true;
}

bool state_load_vm(Vm *vm, const uint8_t *data, size_t len, GError **err)
{
    StateBuf buf = {.in = data, .in_len = len};

    if (!load_header(vm, &buf, err)) {
        return false;
    }
    for (;;) {
        unsigned mark = (unsigned)state_get_be(&buf, 1);

        if (buf.failed) {
            return error_set(err, "the state is cut off");
        }
        if (mark == STATE_EOF) {
            return true;
        }
        if (mark != STATE_SECTION_FULL) {
            return error_set(err, "unknown mark 0x%02x in the state", mark);
        }
        if (!load_section(vm, &buf, err)) {
            return false;
        }
    }
}
