/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest server. qtest_server.h has the protocol.
 *
 * It is an object of type "qtest", so -object qtest,id=...,chardev=...,log=... makes one too. A
 * client that writes nonsense gets FAIL and a reason. Only one device's pins can be intercepted per
 * run.
 */
#include "system/qtest_server.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "chardev/char.h"
#include "core/state.h"
#include "system/qtest_dirty.h"
#include "system/qtest_pins.h"
#include "util/log.h"

#define LINE_LIMIT    (64 * MIB)  /* of a request */
#define READ_LIMIT    (4 * MIB)   /* of read and b64read: the reply must fit the output queue */
#define WRITE_LIMIT   (64 * MIB)  /* of write and b64write */
#define MEMSET_LIMIT  GIB
#define MEMSET_CHUNK  65536

typedef struct QtestServer QtestServer;

struct QtestServer {
    Object obj;
    char *chardev, *log_path;   /* properties */
    CharPort *port;
    FILE *log;                  /* NULL: none */
    int64_t opened_at;          /* monotonic ns */
    GString *input;             /* a request that is not complete */
    bool skipping;              /* the rest of a line that was too long */
    GString *deferred;          /* interrupt lines from vCPU threads, for the main loop to write */
    bool deferred_posted;
    QtestPins *pins;            /* intercepted; NULL: none */
};

/* ---- output ----------------------------------------------------------------------------- */

static double since_open(const QtestServer *s)
{
    return (double)(clock_monotonic_ns() - s->opened_at) / NSEC_PER_SEC;
}

static void log_line(QtestServer *s, char kind, const char *text)
{
    if (s->log) {
        fprintf(s->log, "[%c +%.6f] %s\n", kind, since_open(s), text);
        fflush(s->log);
    }
}

static void flush_deferred(QtestServer *s)
{
    if (s->deferred->len) {
        charport_write_all(s->port, s->deferred->str, s->deferred->len);
        g_string_truncate(s->deferred, 0);
    }
}

static void deferred_call(void *opaque)
{
    QtestServer *s = opaque;

    s->deferred_posted = false;
    flush_deferred(s);
    object_unref(s);
}

/* One line, from any thread that has the VM lock; lines leave in the order of the calls. */
static void send_line(QtestServer *s, const char *text)
{
    Loop *loop = s->obj.vm->loop;

    log_line(s, 'S', text);
    g_string_append(s->deferred, text);
    g_string_append_c(s->deferred, '\n');
    if (loop_is_current(loop)) {
        flush_deferred(s);
    } else if (!s->deferred_posted) {
        s->deferred_posted = true;
        object_ref(&s->obj);
        loop_post(loop, deferred_call, s);
    }
}

static G_GNUC_PRINTF(2, 3) void reply(QtestServer *s, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    send_line(s, text);
}

/* ---- arguments -------------------------------------------------------------------------- */

/* 0x.., 0.. and decimal; the whole word. On failure the reply is sent. */
static bool parse_number(QtestServer *s, const char *what, const char *word, uint64_t max,
                         uint64_t *value)
{
    char *end = NULL;

    errno = 0;
    *value = g_ascii_isdigit(*word) ? g_ascii_strtoull(word, &end, 0) : 0;
    if (!end || end == word || *end || errno) {
        reply(s, "FAIL %s '%.64s' is not a number", what, word);
        return false;
    }
    if (*value > max) {
        reply(s, "FAIL %s %.64s is more than 0x%" PRIx64, what, word, max);
        return false;
    }
    return true;
}

/* ADDR SIZE of a block command. */
static bool parse_block(QtestServer *s, char **words, uint64_t limit, uint64_t *addr, uint64_t *len)
{
    return parse_number(s, "address", words[1], UINT64_MAX, addr) &&
           parse_number(s, "size", words[2], limit, len);
}

/* ---- ports and memory ------------------------------------------------------------------- */

/* "outb", "readq": the access size is the last letter. */
static unsigned size_of(const char *command)
{
    switch (command[strlen(command) - 1]) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

static void cmd_out(QtestServer *s, char **words)
{
    uint64_t addr, value;

    if (parse_number(s, "port", words[1], 0xffff, &addr) &&
        parse_number(s, "value", words[2], UINT64_MAX, &value)) {
        address_space_store(&s->obj.vm->io, addr, size_of(words[0]),
                            value & all_ones(size_of(words[0])));
        reply(s, "OK");
    }
}

static void cmd_in(QtestServer *s, char **words)
{
    uint64_t addr, value;

    if (parse_number(s, "port", words[1], 0xffff, &addr)) {
        value = all_ones(size_of(words[0]));
        address_space_load(&s->obj.vm->io, addr, size_of(words[0]), &value);
        reply(s, "OK 0x%04" PRIx64, value);
    }
}

static void cmd_store(QtestServer *s, char **words)
{
    unsigned size = size_of(words[0]);
    uint64_t addr, value;

    if (parse_number(s, "address", words[1], UINT64_MAX, &addr) &&
        parse_number(s, "value", words[2], UINT64_MAX, &value)) {
        address_space_store(&s->obj.vm->memory, addr, size, value & all_ones(size));
        reply(s, "OK");
    }
}

static void cmd_load(QtestServer *s, char **words)
{
    unsigned size = size_of(words[0]);
    uint64_t addr, value = all_ones(size);

    if (parse_number(s, "address", words[1], UINT64_MAX, &addr)) {
        address_space_load(&s->obj.vm->memory, addr, size, &value);
        reply(s, "OK 0x%016" PRIx64, value);
    }
}

static void cmd_read(QtestServer *s, char **words)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t addr, len;
    g_autofree uint8_t *data = NULL;
    g_autofree char *text = NULL;

    if (!parse_block(s, words, READ_LIMIT, &addr, &len)) {
        return;
    }
    if (len == 0) {
        reply(s, "FAIL size is 0");
        return;
    }
    data = g_malloc0(len);
    text = g_malloc(2 * len + 1);
    address_space_read(&s->obj.vm->memory, addr, data, len);
    for (uint64_t i = 0; i < len; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * len] = 0;
    reply(s, "OK 0x%s", text);
}

static void cmd_write(QtestServer *s, char **words)
{
    uint64_t addr, len, digits;
    g_autofree uint8_t *data = NULL;

    if (!parse_block(s, words, WRITE_LIMIT, &addr, &len)) {
        return;
    }
    if (strlen(words[3]) < 3) {
        reply(s, "ERR invalid argument size");
        return;
    }
    data = g_malloc0(len);
    digits = MIN(strlen(words[3]) - 2, 2 * len);
    for (uint64_t i = 0; i < digits; i++) {
        int nibble = g_ascii_xdigit_value(words[3][2 + i]);

        if (nibble < 0) {
            reply(s, "FAIL data has a character that is no hex digit");
            return;
        }
        data[i / 2] |= i & 1 ? nibble : nibble << 4;
    }
    address_space_write(&s->obj.vm->memory, addr, data, len);
    reply(s, "OK");
}

static void cmd_b64read(QtestServer *s, char **words)
{
    uint64_t addr, len;
    g_autofree uint8_t *data = NULL;
    g_autofree char *text = NULL;

    if (!parse_block(s, words, READ_LIMIT, &addr, &len)) {
        return;
    }
    data = g_malloc0(len + 1);
    address_space_read(&s->obj.vm->memory, addr, data, len);
    text = g_base64_encode(data, len);
    reply(s, "OK %s", text);
}

static void cmd_b64write(QtestServer *s, char **words)
{
    uint64_t addr, len;
    gsize got;
    g_autofree uint8_t *data = NULL;

    if (!parse_block(s, words, WRITE_LIMIT, &addr, &len)) {
        return;
    }
    if (strlen(words[3]) < 3) {
        reply(s, "ERR invalid argument size");
        return;
    }
    data = g_base64_decode(words[3], &got);
    if (got < len && s->log) {
        fprintf(s->log, "b64write: %zu bytes of data for a size of %" PRIu64 "\n", (size_t)got,
                len);
    }
    address_space_write(&s->obj.vm->memory, addr, data, MIN(got, len));
    reply(s, "OK");
}

static void cmd_memset(QtestServer *s, char **words)
{
    uint64_t addr, len, value;
    g_autofree uint8_t *data = NULL;

    if (!parse_block(s, words, MEMSET_LIMIT, &addr, &len) ||
        !parse_number(s, "value", words[3], UINT64_MAX, &value)) {
        return;
    }
    data = g_malloc(MEMSET_CHUNK);
    memset(data, (uint8_t)value, MEMSET_CHUNK);
    while (len) {
        uint64_t n = MIN(len, MEMSET_CHUNK);

        address_space_write(&s->obj.vm->memory, addr, data, n);
        addr += n;
        len -= n;
    }
    reply(s, "OK");
}

static void cmd_endianness(QtestServer *s, char **words) { reply(s, "OK little"); }

/* ---- clock ------------------------------------------------------------------------------ */

static void advance_to(QtestServer *s, int64_t ns)
{
    if (ns > clock_now(s->obj.vm, CLOCK_VIRTUAL)) {
        clock_virtual_advance_to(s->obj.vm, ns);
    }
    reply(s, "OK %" PRIi64, clock_now(s->obj.vm, CLOCK_VIRTUAL));
}

static void cmd_clock_step(QtestServer *s, char **words)
{
    int64_t now = clock_now(s->obj.vm, CLOCK_VIRTUAL), deadline;
    uint64_t step;

    if (!words[1]) {
        deadline = clock_virtual_deadline(s->obj.vm);
        advance_to(s, deadline == INT64_MAX ? now : deadline);
    } else if (parse_number(s, "step", words[1], INT64_MAX - now, &step)) {
        advance_to(s, now + (int64_t)step);
    }
}

static void cmd_clock_set(QtestServer *s, char **words)
{
    uint64_t ns;

    if (parse_number(s, "time", words[1], INT64_MAX, &ns)) {
        advance_to(s, (int64_t)ns);
    }
}

/* ---- interrupts ------------------------------------------------------------------------- */

static void pin_changed(void *opaque, unsigned n, bool level)
{
    QtestServer *s = opaque;
    char text[32];

    g_snprintf(text, sizeof text, "IRQ %s %u", level ? "raise" : "lower", n);
    if (charport_is_connected(s->port)) {
        send_line(s, text);
    }
}

static Device *find_device(QtestServer *s, const char *path)
{
    Object *obj = object_resolve(s->obj.vm, path);

    if (!obj || !object_is_a(obj, "device")) {
        reply(s, "FAIL Unknown device");
        return NULL;
    }
    return container_of(obj, Device, obj);
}

static void cmd_intercept(QtestServer *s, char **words)
{
    bool out = g_str_has_suffix(words[0], "_out");
    Device *dev = find_device(s, words[1]);

    if (!dev) {
        return;
    }
    if (s->pins && !qtest_pins_are_of(s->pins, dev, out)) {
        reply(s, "FAIL IRQ intercept already enabled");
        return;
    }
    if (!s->pins) {
        s->pins = qtest_pins_watch(dev, out, pin_changed, s);
    }
    reply(s, "OK");
}

static void cmd_set_irq_in(QtestServer *s, char **words)
{
    Device *dev = find_device(s, words[1]);
    uint64_t n, level;

    if (!dev) {
        return;
    }
    if (strcmp(words[2], "unnamed-gpio-in")) {
        reply(s, "FAIL no inputs are named '%.64s'", words[2]);
    } else if (!parse_number(s, "pin", words[3], UINT32_MAX, &n) ||
               !parse_number(s, "level", words[4], INT32_MAX, &level)) {
        return;
    } else if (n >= dev->n_irq_in) {
        reply(s, "FAIL '%.64s' has %u inputs", words[1], dev->n_irq_in);
    } else {
        irq_set(device_irq_in(dev, n), (int)level);
        reply(s, "OK");
    }
}

/* ---- the machine's state ---------------------------------------------------------------- */

/* Devices finish or set aside what is under way when the machine stops; only then is its state
 * whole. */
static bool pause_vm(QtestServer *s, RunState state)
{
    bool running = run_state_is_running(vm_run_state(s->obj.vm));

    if (running) {
        vm_stop(s->obj.vm, state);
    }
    return running;
}

static void resume_vm(QtestServer *s, bool was_running)
{
    g_autoptr(GError) err = NULL;

    if (was_running && !vm_start(s->obj.vm, &err)) {
        g_warning("qtest: the machine does not go on: %s", err->message);
    }
}

static void cmd_state_save(QtestServer *s, char **words)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(GError) err = NULL;
    bool running = pause_vm(s, RUN_STATE_SAVE_VM);

    state_save_vm(s->obj.vm, bytes);
    resume_vm(s, running);
    if (g_file_set_contents(words[1], (const char *)bytes->data, bytes->len, &err)) {
        reply(s, "OK %u", bytes->len);
    } else {
        reply(s, "FAIL %s", err->message);
    }
}

static void cmd_state_load(QtestServer *s, char **words)
{
    g_autofree char *bytes = NULL;
    g_autoptr(GError) err = NULL;
    gsize len;

    if (g_file_get_contents(words[1], &bytes, &len, &err)) {
        bool running = pause_vm(s, RUN_STATE_RESTORE_VM);

        state_load_vm(s->obj.vm, (const uint8_t *)bytes, len, &err);
        resume_vm(s, running);
    }
    if (err) {
        reply(s, "FAIL %s", err->message);
    } else {
        reply(s, "OK");
    }
}

/* ---- address spaces --------------------------------------------------------------------- */

/* One line of the reply has all: ranges are separated by semicolons. */
static void cmd_mtree(QtestServer *s, char **words)
{
    Vm *vm = s->obj.vm;
    AddressSpace *as = !strcmp(words[1], vm->memory.name) ? &vm->memory : &vm->io;

    if (strcmp(words[1], as->name)) {
        reply(s, "FAIL '%.64s' is none of the address spaces %s, %s", words[1], vm->memory.name,
              vm->io.name);
        return;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    address_space_print(as, 0, text);
    g_strdelimit(text->str, "\n", ';');
    reply(s, "OK %s", text->str);
}

static void cmd_dirty_log(QtestServer *s, char **words)
{
    const bool on = !strcmp(words[1], "on");

    if (!on && strcmp(words[1], "off")) {
        reply(s, "FAIL usage: dirty_log on|off");
        return;
    }
    qtest_set_dirty_log(s->obj.vm, on);
    reply(s, "OK");
}

static void cmd_dirty_pages(QtestServer *s, char **words)
{
    g_autofree char *pages = qtest_take_dirty_pages(s->obj.vm);

    reply(s, "OK %s", pages);
}

static void cmd_module_load(QtestServer *s, char **words)
{
    reply(s, "FAIL modules cannot be loaded by a test");
}

/* ---- dispatch --------------------------------------------------------------------------- */

typedef struct Command {
    const char *name;
    unsigned n_args;            /* that it needs; more are ignored */
    const char *usage;
    void (*run)(QtestServer *s, char **words);
    bool needs_qtest;           /* the qtest accelerator: the clock is the test's, no CPU runs */
} Command;

static const Command commands[] = {
    {"outb", 2, "PORT VALUE", cmd_out},
    {"outw", 2, "PORT VALUE", cmd_out},
    {"outl", 2, "PORT VALUE", cmd_out},
    {"inb", 1, "PORT", cmd_in},
    {"inw", 1, "PORT", cmd_in},
    {"inl", 1, "PORT", cmd_in},
    {"writeb", 2, "ADDR VALUE", cmd_store},
    {"writew", 2, "ADDR VALUE", cmd_store},
    {"writel", 2, "ADDR VALUE", cmd_store},
    {"writeq", 2, "ADDR VALUE", cmd_store},
    {"readb", 1, "ADDR", cmd_load},
    {"readw", 1, "ADDR", cmd_load},
    {"readl", 1, "ADDR", cmd_load},
    {"readq", 1, "ADDR", cmd_load},
    {"read", 2, "ADDR SIZE", cmd_read},
    {"write", 3, "ADDR SIZE 0xHEX", cmd_write},
    {"b64read", 2, "ADDR SIZE", cmd_b64read},
    {"b64write", 3, "ADDR SIZE BASE64", cmd_b64write},
    {"memset", 3, "ADDR SIZE VALUE", cmd_memset},
    {"endianness", 0, "", cmd_endianness},
    {"clock_step", 0, "[NS]", cmd_clock_step, true},
    {"clock_set", 1, "NS", cmd_clock_set, true},
    {"irq_intercept_in", 1, "PATH", cmd_intercept},
    {"irq_intercept_out", 1, "PATH", cmd_intercept},
    {"set_irq_in", 4, "PATH NAME N LEVEL", cmd_set_irq_in},
    {"state_save", 1, "PATH", cmd_state_save},
    {"state_load", 1, "PATH", cmd_state_load},
    {"mtree", 1, "memory|I/O", cmd_mtree},
    {"dirty_log", 1, "on|off", cmd_dirty_log, true},
    {"dirty_pages", 0, "", cmd_dirty_pages, true},
    {"module_load", 2, "PREFIX NAME", cmd_module_load},
};

static const Command *find_command(QtestServer *s, const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(commands[i].name, name)) {
            return commands[i].needs_qtest && !s->obj.vm->qtest ? NULL : &commands[i];
        }
    }
    return NULL;
}

static void run_line(QtestServer *s, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);
    const char *name = words[0] ? words[0] : "";
    const Command *command = find_command(s, name);

    log_line(s, 'R', line);
    if (!command) {
        reply(s, "FAIL Unknown command '%.64s'", name);
    } else if (g_strv_length(words) < command->n_args + 1) {
        reply(s, "FAIL usage: %s %s", command->name, command->usage);
    } else {
        command->run(s, words);
    }
}

/* ---- connection ------------------------------------------------------------------------- */

static size_t server_can_receive(void *opaque) { return 65536; }

static void server_receive(void *opaque, const uint8_t *data, size_t len)
{
    QtestServer *s = opaque;

    while (len) {
        const uint8_t *newline = memchr(data, '\n', len);
        size_t n = newline ? (size_t)(newline - data) : len;

        if (!s->skipping && s->input->len + n > LINE_LIMIT) {
            s->skipping = true;
        }
        if (!s->skipping) {
            g_string_append_len(s->input, (const char *)data, n);
        }
        if (!newline) {
            return;
        }
        if (s->skipping) {
            reply(s, "FAIL line too long (the limit is %" PRIu64 " bytes)", LINE_LIMIT);
        } else {
            run_line(s, s->input->str);
        }
        s->skipping = false;
        g_string_truncate(s->input, 0);
        data += n + 1;
        len -= n + 1;
    }
}

static void server_event(void *opaque, CharEvent event)
{
    QtestServer *s = opaque;

    if (event == CHAR_EVENT_OPENED) {
        s->opened_at = clock_monotonic_ns();
        qtest_pins_forget(s->pins);
        if (s->log) {
            fprintf(s->log, "[I %.6f] OPENED\n", (double)clock_realtime_ns() / NSEC_PER_SEC);
            fflush(s->log);
        }
    } else if (event == CHAR_EVENT_CLOSED) {
        log_line(s, 'I', "CLOSED");
        g_string_truncate(s->input, 0);
        s->skipping = false;
    }
}

static const CharPortOps server_port_ops = {
    .can_receive = server_can_receive,
    .receive = server_receive,
    .event = server_event,
};

/* ---- lifecycle -------------------------------------------------------------------------- */

static bool open_log(QtestServer *s, GError **err)
{
    if (!s->log_path) {
        s->log = stderr;
    } else if (strcmp(s->log_path, "none")) {
        s->log = fopen(s->log_path, "we");
        if (!s->log) {
            return error_set_errno(err, errno, "-qtest-log %s", s->log_path);
        }
    }
    return true;
}

static void server_init(Object *obj)
{
    QtestServer *s = container_of(obj, QtestServer, obj);

    s->input = g_string_new(NULL);
    s->deferred = g_string_new(NULL);
}

static bool server_complete(Object *obj, GError **err)
{
    QtestServer *s = container_of(obj, QtestServer, obj);

    if (!s->chardev) {
        return error_set(err, "qtest: chardev: the character device to listen on is missing");
    }
    if (!open_log(s, err)) {
        return false;
    }
    s->port = charport_open(obj->vm, s->chardev, err);
    if (!s->port) {
        return false;
    }
    charport_set_ops(s->port, &server_port_ops, s);
    return true;
}

static void server_finalize(Object *obj)
{
    QtestServer *s = container_of(obj, QtestServer, obj);

    g_clear_pointer(&s->pins, qtest_pins_free);
    charport_close(s->port);
    if (s->log && s->log != stderr) {
        fclose(s->log);
    }
    g_string_free(s->input, TRUE);
    g_string_free(s->deferred, TRUE);
}

bool qtest_server_start(Vm *vm, const char *chardev_spec, const char *log_path, GError **err)
{
    Object *obj;
    bool none = false, ok;

    if (!chardev_add_legacy(vm, "qtest", chardev_spec, &none, err)) {
        g_prefix_error(err, "-qtest %s: ", chardev_spec);
        return false;
    }
    if (none) {
        return true; /* nobody to talk to */
    }
    obj = object_new(vm, type_find("qtest"), err);
    if (!obj) {
        return false;
    }
    object_set_str(obj, "chardev", "qtest");
    if (log_path) {
        object_set_str(obj, "log", log_path);
    }
    ok = server_complete(obj, err);
    if (ok) {
        object_add_child(object_container(vm->root, "objects"), "qtest", obj);
    }
    object_unref(obj);
    return ok;
}

static const Property server_props[] = {
    PROP_STRING("chardev", QtestServer, chardev,
                .help = "id of the character device that requests come from"),
    PROP_STRING("log", QtestServer, log_path,
                .help = "file for requests and replies; 'none': no log"),
    {}
};

KILN_TYPE(qtest_server) = {
    .name = "qtest",
    .parent = "object",
    .desc = "server of the qtest protocol",
    .size = sizeof(QtestServer),
    .props = server_props,
    .init = server_init,
    .complete = server_complete,
    .finalize = server_finalize,
};
