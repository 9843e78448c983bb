/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: qemu-io, the commands of kiln-io on a drive or node of the VM. */
#include <stdlib.h>

#include "block/io/shell.h"
#include "monitor/hmp_internal.h"
#include "util/error.h"

/* The drive (or device's) back end, or NULL and *node is a node by its name; neither: *err. */
static BlockBackend *find_backend(HmpCall *call, BlockNode **node, GError **err)
{
    const char *name = hmp_str(call->args, "device");
    bool by_qdev = hmp_bool(call->args, "-d");
    BlockBackend *blk = by_qdev ? blk_by_qdev(call->vm, name) : blk_find(call->vm, name);

    *node = blk ? blk_node(blk) : by_qdev ? NULL : block_node_find(call->vm, name);
    if (blk && !*node) {
        error_set(err, "Device '%s' has no medium", name);
    } else if (!*node) {
        error_set(err, "Cannot find device='%s' nor node-name='%s'", name, name);
    }
    return blk;
}

static void run_on(HmpCall *call, IoShell *shell)
{
    char *text = NULL;
    size_t len;

    shell->out = shell->err = open_memstream(&text, &len);
    if (!shell->out) {
        hmp_printf(call, "Out of memory\n");
        return;
    }
    io_shell_run(shell, hmp_str(call->args, "command"));
    fclose(shell->out);
    hmp_printf(call, "%s", text);
    free(text);
}

static void hmp_qemu_io(HmpCall *call)
{
    GError *err = NULL;
    IoShell shell = {.vm = call->vm};
    BlockBackend *own = NULL;

    shell.blk = find_backend(call, &shell.node, &err);
    if (shell.blk) {
        shell.write_through = !blk_write_cache(shell.blk);
    } else if (shell.node) {
        shell.blk = own = blk_new(call->vm, NULL, shell.node, BLOCK_PERM_CONSISTENT_READ, &err);
    }
    if (err) {
        hmp_error(call, err);
        return;
    }
    run_on(call, &shell);
    blk_free(own);
}

const HmpCommand hmp_io_commands[] = {
    {"qemu-io", "-d:flag,device:word,command:word", "[-d] device command",
     "runs a command of kiln-io (try help) on a drive, a node or (-d) a device's drive", hmp_qemu_io},
    {}};
