/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A dump's life: stop the VM, collect, write (here or in a thread), go on. */
#include "dump/dump.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "core/event.h"
#include "dump/dump_int.h"
#include "util/error.h"

/* Of a VM: the dump that is written, and how the last one ended. */
typedef struct DumpState {
    Dump *active;
    DumpQueryResult last;
} DumpState;

static DumpState *dump_state(Vm *vm)
{
    if (!vm->dump) {
        vm->dump = g_new0(DumpState, 1);
    }
    return vm->dump;
}

bool dump_is_active(const Vm *vm)
{
    const DumpState *s = vm->dump;

    return s && s->active;
}

DumpQueryResult dump_query(Vm *vm)
{
    DumpState *s = dump_state(vm);

    if (s->active) {
        return (DumpQueryResult){DUMP_STATUS_ACTIVE, (int64_t)s->active->done, (int64_t)s->active->total};
    }
    return s->last;
}

/* ---- writing ------------------------------------------------------------------------------------ */

bool dump_write(Dump *dump, const void *buf, uint64_t len)
{
    const uint8_t *at = buf;

    while (len) {
        ssize_t n = write(dump->fd, at, MIN(len, UINT64_C(1) << 30));

        if (n < 0 && errno != EINTR) {
            dump->error = errno;
            return false;
        }
        at += MAX(n, 0);
        len -= (uint64_t)MAX(n, 0);
    }
    return true;
}

static void write_all(Dump *dump)
{
    bool ok = dump->packer ? dump_write_kdump(dump) : dump_write_elf(dump);

    if (close(dump->fd) && ok) {
        dump->error = errno;
    }
    dump->fd = -1;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void dump_free(Dump *dump)
{
    if (dump->fd >= 0) {
        close(dump->fd);
    }
    for (unsigned i = 0; dump->blocks && i < dump->blocks->len; i++) {
        ram_block_unref(g_array_index(dump->blocks, DumpBlock, i).ram);
    }
    g_clear_pointer(&dump->blocks, g_array_unref);
    g_clear_pointer(&dump->mappings, g_array_unref);
    g_clear_pointer(&dump->notes, g_byte_array_unref);
    g_free(dump);
}

/* In the main thread. False with *err when writing failed. */
static bool finish(Dump *dump, GError **err)
{
    DumpState *s = dump_state(dump->vm);
    int error = dump->error;
    g_autofree char *text = error ? g_strdup_printf("cannot write the dump: %s", g_strerror(error)) : NULL;

    s->active = NULL;
    s->last = (DumpQueryResult){error ? DUMP_STATUS_FAILED : DUMP_STATUS_COMPLETED, (int64_t)dump->done,
                                (int64_t)dump->total};
    DumpCompletedEvent data = {.result = &s->last, .error = text};
    vm_emit_event(dump->vm, &qapi_event_DUMP_COMPLETED, &data);
    if (dump->was_running) {
        vm_start(dump->vm, NULL);
    }
    dump_free(dump);
    return !error || error_set(err, "%s", text);
}

static void on_written(void *opaque) { finish(opaque, NULL); }

static void *write_thread(void *opaque)
{
    Dump *dump = opaque;

    pthread_setname_np(pthread_self(), "dump");
    write_all(dump);
    loop_post(dump->vm->loop, on_written, dump);
    return NULL;
}

/* ---- the beginning -------------------------------------------------------------------------------------- */

static bool collect(Dump *dump, const DumpRequest *request, GError **err)
{
    dump->blocks = dump_find_blocks(dump->vm, request->filter, request->begin, request->length);
    if (!dump->blocks->len) {
        return error_set(err, request->filter ? "there is no memory from 0x%" PRIx64 " on, 0x%" PRIx64 " bytes"
                                              : "the machine has no memory",
                         request->begin, request->length);
    }
    if (!dump_make_notes(dump, err) || (request->paging && !(dump->mappings = dump_find_mappings(dump, err)))) {
        return false;
    }
    for (unsigned i = 0; !dump->mappings && i < dump->blocks->len; i++) {
        dump->total += g_array_index(dump->blocks, DumpBlock, i).len;
    }
    for (unsigned i = 0; dump->mappings && i < dump->mappings->len; i++) {
        dump->total += g_array_index(dump->mappings, DumpMapping, i).len;
    }
    return true;
}

static bool start_thread(Dump *dump, GError **err)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, write_thread, dump);

    if (error) {
        return error_set_errno(err, error, "cannot start a thread for the dump");
    }
    pthread_detach(thread);
    return true;
}

bool dump_start(Vm *vm, const DumpRequest *request, GError **err)
{
    DumpState *s = dump_state(vm);

    if (s->active) {
        close(request->fd);
        return error_set(err, "There is a dump in process, please wait.");
    }
    Dump *dump = g_new0(Dump, 1);
    dump->vm = vm;
    dump->fd = request->fd;
    dump->packer = request->packer;
    dump->detached = request->detach;
    dump->notes = g_byte_array_new();
    dump->was_running = run_state_is_running(vm_run_state(vm));
    if (dump->was_running) {
        vm_stop(vm, RUN_STATE_PAUSED);
    }
    s->active = dump;
    if (collect(dump, request, err) && (!request->detach || start_thread(dump, err))) {
        if (request->detach) {
            return true;
        }
        write_all(dump);
        return finish(dump, err);
    }
    s->active = NULL;
    if (dump->was_running) {
        vm_start(vm, NULL);
    }
    dump_free(dump);
    return false;
}
