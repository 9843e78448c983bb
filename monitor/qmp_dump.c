/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP: memory dumps. */
#include <errno.h>
#include <fcntl.h>

#include "dump/dump.h"
#include "dump/pack.h"
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"
#include "util/error.h"

/* A descriptor for "file:PATH" or "fd:NAME"; -1 with *err. */
static int open_protocol(Monitor *mon, const char *protocol, GError **err)
{
    if (g_str_has_prefix(protocol, "fd:")) {
        return monitor_take_fd(mon, protocol + 3, err);
    }
    if (!g_str_has_prefix(protocol, "file:")) {
        error_set(err, "Invalid parameter 'protocol': it is file:PATH or fd:NAME");
        return -1;
    }
    int fd = open(protocol + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR);
    if (fd < 0) {
        error_set_errno(err, errno, "Could not open '%s'", protocol + 5);
    }
    return fd;
}

static bool check_format(DumpGuestMemoryFormat format, DumpRequest *request, GError **err)
{
    if (format != DUMP_GUEST_MEMORY_FORMAT_ELF) {
        request->packer = dump_packer(format, err);
    }
    return request->packer || format == DUMP_GUEST_MEMORY_FORMAT_ELF;
}

static bool check_filter(const DumpGuestMemoryArgs *args, DumpRequest *request, GError **err)
{
    if (args->has_begin != args->has_length) {
        return error_set(err, "Parameter '%s' is missing", args->has_begin ? "length" : "begin");
    }
    if (args->has_begin && (args->begin < 0 || args->length <= 0)) {
        return error_set(err, "Parameter '%s' expects a positive number", args->begin < 0 ? "begin" : "length");
    }
    request->filter = args->has_begin;
    request->begin = (uint64_t)args->begin;
    request->length = (uint64_t)args->length;
    return !request->packer || (!request->filter && !args->paging) ||
           error_set(err, "kdump-compressed format doesn't support paging or filter");
}

bool qmp_dump_guest_memory(QmpCall *call, GError **err)
{
    const DumpGuestMemoryArgs *args = call->args;
    DumpRequest request = {
        .paging = args->paging,
        .detach = args->has_detach && args->detach,
    };

    if (!check_format(args->has_format ? args->format : DUMP_GUEST_MEMORY_FORMAT_ELF, &request, err) ||
        !check_filter(args, &request, err)) {
        return false;
    }
    if (dump_is_active(call->vm)) {
        return error_set(err, "There is a dump in process, please wait.");
    }
    request.fd = open_protocol(call->mon, args->protocol, err);
    return request.fd >= 0 && dump_start(call->vm, &request, err);
}

bool qmp_query_dump(QmpCall *call, GError **err)
{
    DumpQueryResult *result = g_new(DumpQueryResult, 1);

    (void)err;
    *result = dump_query(call->vm);
    call->result = result;
    return true;
}

bool qmp_query_dump_guest_memory_capability(QmpCall *call, GError **err)
{
    DumpGuestMemoryCapability *result = g_new0(DumpGuestMemoryCapability, 1);

    (void)err;
    result->formats = g_array_new(false, false, sizeof(DumpGuestMemoryFormat));
    for (int f = 0; f < (int)qapi_type_DumpGuestMemoryFormat.count; f++) {
        DumpGuestMemoryFormat format = (DumpGuestMemoryFormat)f;

        if (format == DUMP_GUEST_MEMORY_FORMAT_ELF || dump_packer(format, NULL)) {
            g_array_append_val(result->formats, format);
        }
    }
    call->result = result;
    return true;
}
