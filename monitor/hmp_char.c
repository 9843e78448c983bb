/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: character devices. */
#include "chardev/char.h"
#include "monitor/hmp_internal.h"
#include "qapi/qapi-commands.h"

static char *text(const HmpCall *call, const char *name) { return (char *)(uintptr_t)hmp_str(call->args, name); }

static void print_chardev(const char *id, const char *filename, bool in_use, void *opaque)
{
    hmp_printf(opaque, "%s: filename=%s\n", id, filename);
}

static void info_chardev(HmpCall *call) { chardev_foreach(call->vm, print_chardev, call); }

static void hmp_send_break(HmpCall *call)
{
    ChardevSendBreakArgs args = {.id = text(call, "id")};

    hmp_call_qmp(call, qmp_chardev_send_break, &args);
}

static void hmp_ringbuf_write(HmpCall *call)
{
    RingbufWriteArgs args = {.device = text(call, "device"), .data = text(call, "data")};

    hmp_call_qmp(call, qmp_ringbuf_write, &args);
}

static void hmp_ringbuf_read(HmpCall *call)
{
    RingbufReadArgs args = {.device = text(call, "device"), .size = hmp_int(call->args, "size")};
    QmpCall qmp = {.vm = call->vm, .mon = call->mon, .args = &args};
    GError *err = NULL;

    if (!qmp_ringbuf_read(&qmp, &err)) {
        hmp_error(call, err);
        return;
    }
    hmp_printf(call, "%s\n", (char *)qmp.result);
    g_free(qmp.result);
}

static void chardev_made(void *opaque, const char *id, char *pty, GError *err)
{
    g_autofree char *said = pty ? g_strdup_printf("char device redirected to %s (label %s)\n", pty, id) : NULL;

    g_free(pty);
    hmp_later_end(opaque, said, err);
}

static void hmp_chardev_add(HmpCall *call)
{
    chardev_add_text(call->vm, text(call, "args"), chardev_made, hmp_later(call));
}

static void hmp_chardev_change(HmpCall *call)
{
    chardev_change_text(call->vm, text(call, "id"), text(call, "args"), chardev_made, hmp_later(call));
}

static void hmp_chardev_remove(HmpCall *call)
{
    GError *err = NULL;

    if (!chardev_remove(call->vm, text(call, "id"), &err)) {
        hmp_error(call, err);
    }
}

typedef struct Offer {
    HmpCompletion *c;
    const char *word;
} Offer;

static void offer_id(const char *id, const char *filename, bool in_use, void *opaque)
{
    Offer *offer = opaque;

    hmp_offer(offer->c, offer->word, id);
}

static void complete_id(Vm *vm, HmpCompletion *c, unsigned n, const char *word)
{
    Offer offer = {c, word};

    if (n == 0) {
        chardev_foreach(vm, offer_id, &offer);
    }
}

const HmpCommand hmp_char_commands[] = {
    {"info chardev", .run = info_chardev, .help = "the character devices"},
    {"chardev-add", "args:rest", NULL, "makes a character device, as -chardev does", hmp_chardev_add},
    {"chardev-change", "id:word,args:rest", NULL, "puts another character device in the place of one", hmp_chardev_change,
     complete_id},
    {"chardev-remove", "id:word", NULL, "removes a character device that nobody uses", hmp_chardev_remove, complete_id},
    {"chardev-send-break", "id:word", NULL, "lets the serial port see a break", hmp_send_break, complete_id},
    {"ringbuf_write", "device:word,data:rest", NULL, "writes into a ring buffer", hmp_ringbuf_write, complete_id},
    {"ringbuf_read", "device:word,size:int", NULL, "takes bytes out of a ring buffer", hmp_ringbuf_read, complete_id},
    {}};
